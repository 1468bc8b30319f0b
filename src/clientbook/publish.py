"""The report: executed notebooks as a folder of pages that reads anywhere, and is swapped in whole."""

from __future__ import annotations

import base64
import datetime
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from clientbook.faults import FaultError
from clientbook.site import article, glossary, numbers, swap
from clientbook.site.article import Article
from clientbook.site.display import key_numbers
from clientbook.site.tables import table

logger = logging.getLogger(__name__)

# What a mailbox and a phone take without a murmur.
PAGE_LIMIT = 1_000_000
_RESERVED = frozenset({"index", "glossary", "dictionary"})


@dataclass(frozen=True)
class Page:
    """A page to be: its name, which is its file's, and the executed notebook."""

    name: str
    notebook: Path


@dataclass(frozen=True)
class Site:
    """What the report is of.

    Parameters
    ----------
    title
        The book's name.
    book
        The folder's name below the reports.
    as_of
        The day before which everything was observed.
    run
        Such as ``2024-06-01.001``.
    key_numbers
        Mappings as :func:`clientbook.charts.key_numbers` takes them.
    personal
        Whether pages show personal data; every page is then marked.
    notes
        Lines for the index, such as warnings about the data.
    dictionary
        The groups of the data dictionary, as :func:`clientbook.dictionary.groups` tells them; none leaves it out.
    """

    title: str
    book: str
    as_of: datetime.date
    run: str
    key_numbers: Sequence[dict[str, Any]] = ()
    personal: bool = False
    notes: Sequence[str] = field(default=())
    dictionary: Sequence[Any] = field(default=())


def publish(site: Site, pages: Sequence[Page], out: Path) -> Path:
    """How do executed notebooks become the report?

    Parameters
    ----------
    site
        What the report is of.
    pages
        In the order of reading.
    out
        The folder of all reports.

    Returns
    -------
    pathlib.Path
        ``out/<book>/<as-of>``, whole. ``out/<book>/latest`` leads to the newest.

    Raises
    ------
    FaultError
        With every fault of every page: a picture without alternative text, an output that is an error.
        Nothing is published then, and what was there stays.
    ValueError
        If a name cannot be a file's name.
    """
    _check_names(site, pages)
    articles = _read_all(pages)
    files = {"index.html": _render("index", site, articles, cards=key_numbers(site.key_numbers)._repr_html_())}
    for position, each in enumerate(articles):
        before = articles[position - 1] if position else None
        after = articles[position + 1] if position + 1 < len(articles) else None
        files[f"{each.name}.html"] = _render("article", site, articles, article=each, previous=before, next=after)
    files["glossary.html"] = _render("glossary", site, articles, groups=glossary.GROUPS)
    if site.dictionary:
        files["dictionary.html"] = _render("dictionary", site, articles, groups=_described(site.dictionary))

    parent, name = Path(out) / site.book, site.as_of.isoformat()
    with swap.building(parent, name) as folder:
        for file, html in files.items():
            data = html.encode("utf-8")
            if len(data) > PAGE_LIMIT:
                logger.warning("%s has %s bytes; a page should stay below 1 MB", file, f"{len(data):,}")
            (folder / file).write_bytes(data)
    swap.point_latest(parent)
    return parent / name


def _described(groups: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "title": group.title,
            "lead": group.lead,
            "figures": [{"data": base64.b64encode(png).decode("ascii"), "alt": alt} for png, alt in group.figures],
            "tables": [
                _without_style(table(frame, caption=f"{name}: {meaning}" if meaning else name, limit=None))
                for name, (meaning, frame) in group.tables.items()
            ],
        }
        for group in groups
    ]


def _without_style(shown: Any) -> str:
    # the page has its own style sheet, and its policy allows no other
    return re.sub(r"<style>.*?</style>", "", shown._repr_html_())


def _check_names(site: Site, pages: Sequence[Page]) -> None:
    names = [page.name for page in pages]
    if not re.fullmatch(r"[^\W.][^/\\:\x00]*", site.book) or site.book.strip() != site.book:
        raise ValueError(f"a report's folder cannot be called {site.book!r}")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name, re.ASCII) or name.lower() in _RESERVED:
            raise ValueError(f"a page cannot be called {name!r}")
    if len({name.lower() for name in names}) < len(names):
        raise ValueError("two pages have the same name")


def _read_all(pages: Sequence[Page]) -> list[Article]:
    articles, faults = [], []
    for page in pages:
        try:
            articles.append(article.read(page.name, Path(page.notebook)))
        except FaultError as error:
            faults += error.faults
    if faults:
        raise FaultError(faults)
    return articles


def _render(template: str, site: Site, articles: Sequence[Article], **own: Any) -> str:
    style = (article.HERE / "report.css").read_text("utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    html = (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(site=site, articles=articles, style=style, style_hash=digest, as_of=numbers.date(site.as_of), **own)
    )
    # Lone surrogates come from broken files; no page can be written with them.
    return html.encode("utf-8", "replace").decode("utf-8").strip() + "\n"


@cache
def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(article.HERE / "layout"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
