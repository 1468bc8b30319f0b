"""Our own words where no Markdown is read: inline code as HTML, or without its marks."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"`([^`\n]+)`")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`“])")


def inline(text: str) -> str:
    """How do these words stand in HTML, what is between backticks as code?

    Parameters
    ----------
    text
        Plain words; every character of HTML in them comes out as itself.
    """
    return _CODE.sub(r"<code>\1</code>", html.escape(str(text)))


def plain(text: str) -> str:
    """How do these words stand where nothing can be set as code: in a picture, and where a voice reads them?

    Parameters
    ----------
    text
        Plain words; the backticks around code go.
    """
    return _CODE.sub(r"\1", str(text))


def first_sentence(text: str) -> tuple[str, str]:
    """What is said first, and what is added to it?

    Parameters
    ----------
    text
        One sentence or several.
    """
    first, *rest = _SENTENCE.split(str(text).strip(), maxsplit=1)
    return first, rest[0] if rest else ""
