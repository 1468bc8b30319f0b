"""HTML of a notebook made fit for the page: nothing runs, nothing is fetched, tables and headings in order.

BeautifulSoup takes out what must go with its contents and puts the rest in order; bleach parses the way
browsers do and lets only what stands on the list below pass. It has the last word.
"""

from __future__ import annotations

import re
from functools import cache

from bs4 import BeautifulSoup
from bs4.element import Tag

_GONE_WITH_CONTENTS = [
    "script",
    "style",
    "iframe",
    "frame",
    "frameset",
    "object",
    "embed",
    "applet",
    "template",
    "noscript",
    "svg",
    "math",
    "head",
    "title",
    "meta",
    "link",
    "base",
    "form",
    "button",
    "input",
    "select",
    "textarea",
    "audio",
    "video",
    "canvas",
    "dialog",
    "slot",
    "portal",
    "xmp",
    "plaintext",
    "noembed",
    "noframes",
]

_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "time",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
        "wbr",
    ]
)
_EVERYWHERE = frozenset({"class", "lang", "dir", "title"})
_PER_TAG = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "th": {"scope", "colspan", "rowspan"},
    "td": {"colspan", "rowspan"},
    "col": {"span"},
    "div": {"role", "tabindex", "aria-label"},
    "ol": {"start"},
    "time": {"datetime"},
    **{f"h{level}": {"id"} for level in range(2, 7)},
}
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+", re.I)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.I)
_NUMERIC = re.compile(r"[-+−]?[£€$]?[\d.,]*\d(e[-+]?\d+)?\s?%?|nan|NaN|<NA>|–", re.I)


class Tidier:
    """Makes every piece of HTML of one page fit for it, in the order of reading.

    It remembers the page's headings: the first h1 becomes the title, later ones are moved below it and no
    level is skipped.
    """

    def __init__(self) -> None:
        self.title = ""
        self._level = 1
        self._ids: set[str] = set()

    def tidy(self, html: str) -> str:
        """What of this HTML may stand on the page?"""
        soup = BeautifulSoup(html, "html.parser")
        for tag in soup.find_all(_GONE_WITH_CONTENTS):
            tag.decompose()
        # Read as browsers read it, with what was left open closed: only then can it be put in order.
        soup = BeautifulSoup(_cleaner().clean(str(soup)), "html.parser")
        for tag in soup.find_all(attrs={"id": True}):
            del tag["id"]
        for picture in soup.find_all("img"):
            if not _PICTURE.fullmatch(_attribute(picture, "src")):
                # A picture that lies elsewhere is never fetched; its words remain.
                picture.replace_with(_attribute(picture, "alt"))
        for heading in soup.find_all(re.compile(r"^h[1-6]$")):
            self._place(heading)
        for table in soup.find_all("table"):
            _repair(table, soup)
        return _cleaner().clean(str(soup))

    def _place(self, heading: Tag) -> None:
        words = " ".join(heading.get_text().split())
        if not words:
            heading.decompose()
            return
        level = int(heading.name[1])
        if level == 1 and not self.title:
            self.title = words
            heading.decompose()
            return
        self._level = min(max(level, 2), self._level + 1)
        heading.name = f"h{self._level}"
        heading["id"] = self._unique(re.sub(r"\W+", "-", words.lower()).strip("-") or "section")

    def _unique(self, wanted: str) -> str:
        name, again = wanted, 2
        while name in self._ids:
            name, again = f"{wanted}-{again}", again + 1
        self._ids.add(name)
        return name


def pictures_without_words(html: str) -> int:
    """How many embedded pictures of this HTML have no alternative text?"""
    if "<img" not in html.lower():
        return 0
    pictures = BeautifulSoup(html, "html.parser").find_all("img")
    return sum(bool(_PICTURE.fullmatch(_attribute(p, "src"))) and not _attribute(p, "alt").strip() for p in pictures)


def plain(html: str) -> str:
    """What are the words of this HTML?"""
    return " ".join(BeautifulSoup(html, "html.parser").get_text().split())


def _attribute(tag: Tag, name: str) -> str:
    value = tag.get(name, "")
    return value if isinstance(value, str) else " ".join(value or [])


def _repair(table: Tag, soup: BeautifulSoup) -> None:
    for cell in table.find_all(["th", "td"]):
        words = cell.get_text(strip=True)
        in_head = cell.find_parent("thead") is not None
        if cell.name == "th" and not words:
            cell.name = "td"
            cell.attrs.pop("scope", None)
        elif cell.name == "th" and not cell.get("scope"):
            cell["scope"] = "col" if in_head else "row"
        if cell.name == "td" and not cell.get("class") and words and _NUMERIC.fullmatch(words):
            cell["class"] = ["number"]
    _align_heads(table)
    holder = table.find_parent("div", class_="scroll")
    if holder is None:
        caption = table.find("caption")
        label = caption.get_text(" ", strip=True) if caption else "Table"
        wide = {"class": "scroll", "role": "group", "tabindex": "0", "aria-label": label}
        table.wrap(soup.new_tag("div", attrs=wide))


def _align_heads(table: Tag) -> None:
    """A heading stands over its numbers."""
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.find_all("tr")]
    body = next((row for row in rows if any(cell.name == "td" and cell.get("class") for cell in row)), None)
    if body is None or "report-table" in (table.get("class") or []):
        return
    for row in rows:
        if len(row) != len(body) or row is body:
            continue
        for head, below in zip(row, body, strict=True):
            if head.name == "th" and head.get("scope") == "col" and "number" in (below.get("class") or []):
                head["class"] = ["number"]


def _allowed(tag: str, name: str, value: str) -> bool:
    if name in {"src", "href"}:
        squeezed = re.sub(r"[\s\x00-\x20\x7f-\xa0]+", "", value)
        if tag == "img":
            return name == "src" and bool(_PICTURE.fullmatch(value))
        scheme = _SCHEME.match(squeezed)
        # "%3a" and the like are left to no browser's mercy: a link has a known scheme or none at all.
        return tag == "a" and (scheme[1].lower() in {"http", "https", "mailto"} if scheme else ":" not in squeezed)
    return name in _EVERYWHERE or name in _PER_TAG.get(tag, ())


@cache
def _cleaner():
    from bleach.sanitizer import Cleaner

    return Cleaner(
        tags=_TAGS,
        attributes=_allowed,
        protocols=frozenset({"http", "https", "mailto", "data"}),
        strip=True,
        strip_comments=True,
    )
