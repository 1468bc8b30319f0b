"""Clientbook: one customer view from a company's tables, and decisions from it."""

from clientbook.book import open_book as open
from clientbook.stage import step

__all__ = ["open", "step"]
__version__ = "0.1.0"
