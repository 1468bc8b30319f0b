"""What may be told outside the book, and what has to be hidden first?"""

from __future__ import annotations

import re

_HIDDEN = (
    # bounded at their beginning, or a long text without a match would take its length squared
    (re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+"), "[address]"),
    (re.compile(r"(?<![\w.+%'-])[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    # how Python, pandas and DuckDB quote a value that they could not convert
    (re.compile(r"(?i)\b(string|value|time data|to float:|base \d+:) (['\"]).*?\2"), r"\1 [value]"),
    (re.compile(r"(?<![\w.])\+?\d[\d ()/.-]{6,}\d(?!\w)"), "[number]"),
)


def redact(text: str) -> str:
    """A message without what could be an e-mail address, a telephone number, an id of many digits, a URL or a value.

    Parameters
    ----------
    text
        Such as the message of an exception, which may quote a value.
    """
    for pattern, word in _HIDDEN:
        text = pattern.sub(word, text)
    return text
