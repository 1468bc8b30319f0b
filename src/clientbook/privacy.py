"""What may be told outside the book, and what has to be hidden first?"""

from __future__ import annotations

import re

_HIDDEN = (
    (re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+"), "[address]"),
    (re.compile(r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"(?<![\w.])\+?\d[\d ()/.-]{6,}\d(?!\w)"), "[number]"),
)


def redact(text: str) -> str:
    """A message without what could be an e-mail address, a telephone number, an id of many digits or a URL.

    Parameters
    ----------
    text
        Such as the message of an exception, which may quote a value.
    """
    for pattern, word in _HIDDEN:
        text = pattern.sub(word, text)
    return text
