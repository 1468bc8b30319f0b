"""A made company with its truth: realistic enough to try everything on, known enough to score it.

`make` writes a book; `answer` tells what any of its people would answer; `rates` and `dictionary` describe it.
Nothing here imports a stage, and no stage knows how this is made.
"""

from .answers import answer
from .dictionary import dictionary
from .make import AS_OF, make
from .world import rates

__all__ = ["AS_OF", "answer", "dictionary", "make", "rates"]
