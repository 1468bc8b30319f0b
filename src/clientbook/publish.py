"""The report: executed notebooks as a folder of pages that reads anywhere, and is swapped in whole."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache as remembered
from html import escape
from pathlib import Path
from typing import Any

from clientbook import cache
from clientbook.failure import Failure
from clientbook.faults import FaultError
from clientbook.history import Change
from clientbook.site import article, glossary, numbers, swap, words
from clientbook.site.article import Article
from clientbook.site.display import key_numbers
from clientbook.site.tables import table
from clientbook.sources.delivered import fingerprint
from clientbook.store import whole, write_json

logger = logging.getLogger(__name__)

# What a mailbox and a phone take without a murmur.
PAGE_LIMIT = 1_000_000
_RESERVED = frozenset({"index", "glossary", "dictionary", "failure"})
FAILURE = "failure.html"
# Between these stands, on every page, what became of the runs after it.
_BEGIN, _END, _STATE = "<!-- state -->", "<!-- /state -->", "<!-- not the newest -->"


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
        The data dictionary, as :func:`described` tells it; none leaves it out.
    changes
        Sections of the index on what changed, as :func:`since` makes them.
    pages
        A folder in which what was made of a notebook is kept, so that the same notebook is not made into a page twice; none
        keeps nothing.
    """

    title: str
    book: str
    as_of: datetime.date
    run: str
    key_numbers: Sequence[dict[str, Any]] = ()
    personal: bool = False
    notes: Sequence[str] = field(default=())
    dictionary: Sequence[Mapping[str, Any]] = field(default=())
    changes: Sequence[Since] = field(default=())
    pages: Path | None = None


@dataclass(frozen=True)
class Since:
    """What changed since another run, for the index."""

    title: str
    table: str
    reasons: tuple[str, ...]
    changed: bool


@dataclass(frozen=True)
class Failed:
    """What a reader is told when a run failed.

    Parameters
    ----------
    failure
        How, as :mod:`clientbook.failure` tells it.
    step
        The notebook; empty where it was none of them.
    since
        The time of the first failure since the last whole run, for people.
    times
        How many runs in a row.
    last_good
        The day of the report that still stands, for people; None without one.
    kept
        Where the notebook is kept, within the book.
    """

    failure: Failure
    step: str
    since: str
    times: int
    last_good: str | None
    kept: str | None


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
    articles = _read_all(pages, site.pages)
    files = {"index.html": _render("index", site, articles, cards=key_numbers(site.key_numbers)._repr_html_())}
    for position, each in enumerate(articles):
        before = articles[position - 1] if position else None
        after = articles[position + 1] if position + 1 < len(articles) else None
        files[f"{each.name}.html"] = _render("article", site, articles, article=each, previous=before, next=after)
    files["glossary.html"] = _render("glossary", site, articles, groups=glossary.GROUPS)
    if site.dictionary:
        files["dictionary.html"] = _render("dictionary", site, articles, groups=site.dictionary)

    parent, name = Path(out) / site.book, site.as_of.isoformat()
    with swap.building(parent, name) as folder:
        for file, html in files.items():
            data = html.encode("utf-8")
            if len(data) > PAGE_LIMIT:
                logger.warning("%s has %s bytes; a page should stay below 1 MB", file, f"{len(data):,}")
            (folder / file).write_bytes(data)
    swap.point_latest(parent)
    (parent / FAILURE).unlink(missing_ok=True)
    for former in parent.glob("*/index.html"):
        if not former.parent.is_symlink() and _STATE in former.read_text(encoding="utf-8"):
            _tell_state(former.parent, "")
    return parent / name


def publish_failure(site: Site, told: Failed, out: Path) -> Path:
    """How does a reader learn that the last run failed?

    The last good report stays as it is but for a banner on each of its pages, which leads to a page that says what failed,
    why, and what to do.

    Parameters
    ----------
    site
        What the run was of; it has no pages.
    told
        What is told.
    out
        The folder of all reports.

    Returns
    -------
    pathlib.Path
        The failure page, ``out/<book>/failure.html``.
    """
    _check_names(site, ())
    parent = Path(out) / site.book
    parent.mkdir(parents=True, exist_ok=True)
    html = _render("failure", site, (), told=told, alone=True, home="latest/index.html" if told.last_good else FAILURE)
    with whole(parent / FAILURE) as draft:
        draft.write_text(html, encoding="utf-8")
    latest = parent / "latest"
    if (latest / "index.html").is_file():
        _tell_state(
            latest.resolve(),
            '<aside class="state" aria-label="State of this report"><strong>Not the newest.</strong> '
            f"Runs have failed since {escape(told.since)}; "
            f"this is the last good report, with data as of {escape(told.last_good or 'an earlier day')}. "
            f'<a href="../{FAILURE}">What went wrong</a></aside>',
        )
    return parent / FAILURE


def since(title: str, changes: Sequence[Change], reasons: Sequence[str], currency: str) -> Since:
    """What changed since another run, as a section of the index.

    Parameters
    ----------
    title
        Such as "Since the last run, as of 30 June 2026".
    changes, reasons
        As from :mod:`clientbook.history`.
    currency
        Of amounts.
    """
    import pandas as pd

    rows = []
    for change in changes:
        unit = currency if change.unit == "money" else change.unit
        beyond = {None: "cannot be told", True: "yes", False: "no"}[change.is_beyond_noise]
        rows.append(
            {
                "number": change.name,
                "before": _told(change.before, unit),
                "now": _told(change.now, unit),
                "change": _told(change.difference, unit, sign=True),
                "more than chance": "" if change.difference is None else beyond,
                "verdict": change.verdict,
            }
        )
    shown = table(pd.DataFrame(rows), caption="Key numbers that changed", limit=None)
    html = _without_style(shown) if rows else "<p>No key number changed.</p>"
    return Since(title, html, tuple(reasons), bool(rows))


def _told(value: float | None, unit: str, *, sign: bool = False) -> str:
    if value is None:
        return numbers.MISSING
    if sign and unit == "share":
        return f"{100 * value:+.1f} points"
    return ("+" if sign and value > 0 else "") + numbers.quantity(value, unit)


def _tell_state(folder: Path, banner: str) -> None:
    """Write the same words on every page of a report that stands, and swap it in at once."""
    with swap.building(folder.parent, folder.name) as draft:
        for file in folder.iterdir():
            text = file.read_text(encoding="utf-8")
            before, mark, rest = text.partition(_BEGIN)
            _, _, after = rest.partition(_END)
            told = before + _BEGIN + (_STATE + banner if banner else "") + _END + after if mark else text
            (draft / file.name).write_text(told, encoding="utf-8")


def described(groups: Sequence[Any]) -> list[dict[str, Any]]:
    """The data dictionary as plain data that a page is made of.

    Parameters
    ----------
    groups
        As from :func:`clientbook.dictionary.groups`.
    """
    return [
        {
            "title": group.title,
            "lead": group.lead,
            "figures": [{"data": base64.b64encode(png).decode("ascii"), "alt": alt} for png, alt in group.figures],
            "tables": [
                _without_style(
                    table(
                        frame,
                        caption=f"{name}: {meaning}" if meaning else name,
                        formats={"meaning": "prose"} if "meaning" in frame else None,
                        limit=None,
                    )
                )
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


def prepare(page: Page, kept: Path) -> None:
    """Which pages can be made ready while other notebooks still run?

    What is at fault with one is told when the report is published.

    Parameters
    ----------
    page
        One whose notebook has been executed.
    kept
        The folder that :attr:`Site.pages` will name.
    """
    with contextlib.suppress(FaultError, OSError):
        _read(page, kept)


def _read_all(pages: Sequence[Page], kept: Path | None) -> list[Article]:
    articles, faults = [], []
    for page in pages:
        try:
            articles.append(_read(page, kept))
        except FaultError as error:
            faults += error.faults
    if faults:
        raise FaultError(faults)
    if kept:
        used = {_kept_as(page, kept) for page in pages}
        for old in set(kept.glob("page-*.json")) - used:
            old.unlink(missing_ok=True)
    return articles


def _read(page: Page, kept: Path | None) -> Article:
    file = _kept_as(page, kept) if kept else None
    if file:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            return Article(**json.loads(file.read_text(encoding="utf-8")))
    found = article.read(page.name, Path(page.notebook))
    if file:
        write_json(file, asdict(found))
    return found


def _kept_as(page: Page, kept: Path) -> Path:
    return kept / f"page-{_page_key(page)}.json"


def _page_key(page: Page) -> str:
    code = cache.code_of("publish")
    return hashlib.sha256(f"{page.name} {fingerprint(Path(page.notebook))} {code}".encode()).hexdigest()


def _render(template: str, site: Site, articles: Sequence[Article], **own: Any) -> str:
    style = (article.HERE / "report.css").read_text("utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    shared = {"site": site, "articles": articles, "style": style, "style_hash": digest, "alone": False}
    html = _environment().get_template(f"{template}.html.j2").render(as_of=numbers.date(site.as_of), **shared | own)
    # Lone surrogates come from broken files; no page can be written with them.
    return html.encode("utf-8", "replace").decode("utf-8").strip() + "\n"


@remembered
def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(article.HERE / "layout"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda text: Markup(words.inline(text))
    return environment
