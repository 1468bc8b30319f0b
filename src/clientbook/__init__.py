"""Clientbook: one customer view from a company's tables, and decisions from it."""

import os

# Our matrices are small: threads wait for each other longer than they work, and how a sum is split among them changes its
# last digits from machine to machine. Before numpy is there, and whoever runs Clientbook may say otherwise.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from clientbook.book import open_book as open
from clientbook.stage import step

__all__ = ["open", "step"]
__version__ = "0.1.0"
