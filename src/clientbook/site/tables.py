"""Tables for readers: captioned, aligned, escaped, and honest about what is left out."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clientbook.site import numbers, words

if TYPE_CHECKING:
    import pandas as pd

# JupyterLab aligns every cell to the right; the report has a style sheet of its own and drops this.
_IN_LAB = (
    "<style>.report-table .text{text-align:left!important}.report-table .words{min-width:13rem;white-space:normal}"
    ".report-table .small{color:#697580}.report-table caption{text-align:left;font-weight:600}"
    ".report-table .added{font-weight:400}</style>"
)
# Up to so many characters a value stands on one line; longer ones are words to read, and from the second number on sentences.
SHORT, SENTENCE = 24, 60


_PAGE = re.compile(r"^\d{2}_\w+$")


@dataclass(frozen=True)
class Table:
    """A table ready for reading; the values are formatted already."""

    caption: str
    labels: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    small: list[bool]
    more: int = 0
    notes: list[str] = field(default_factory=list)
    links: list[bool] = field(default_factory=list)
    prose: list[bool] = field(default_factory=list)

    def _repr_html_(self) -> str:
        if not self.labels:
            return f'<p class="table-note">{words.inline(self.caption.removesuffix("."))}.</p>'
        kinds = self._kinds()
        head = "".join(
            f'<th scope="col" class="{kind}">{html.escape(label)}</th>' if label else "<td></td>"
            for label, kind in zip(self.labels, kinds, strict=True)
        )
        body = "".join(self._row(row, small, kinds) for row, small in zip(self.rows, self.small, strict=True))
        foot = "".join(f'<p class="table-note">{words.inline(note)}</p>' for note in self._notes())
        first, added = words.first_sentence(self.caption)
        more = f' <span class="added">{words.inline(added)}</span>' if added else ""
        return (
            f'{_IN_LAB}<div class="scroll" role="group" tabindex="0" aria-label="{html.escape(words.plain(first))}">'
            f'<table class="report-table"><caption><span>{words.inline(first)}{more}</span></caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{foot}"
        )

    def _kinds(self) -> list[str]:
        """How wide is each column? Numbers as narrow as they are; what has to be read gets the room for it."""
        lengths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        return [
            "number" if is_number else "text" + (" short" if n <= SHORT else " words" if n <= SENTENCE else " words long")
            for is_number, n in zip(self.numeric, lengths, strict=True)
        ]

    def _row(self, row: list[str], small: bool, kinds: list[str]) -> str:
        cells = []
        for i, (value, kind) in enumerate(zip(row, kinds, strict=True)):
            is_header = i == 0 and kind != "number" and value.strip()
            tag, scope = ("th", ' scope="row"') if is_header else ("td", "")
            text = words.inline(value) if self.prose and self.prose[i] else html.escape(value)
            if self.links and self.links[i] and _PAGE.match(value):
                text = f'<a href="{text}.html">{html.escape(_page_label(value))}</a>'
            cells.append(f'<{tag}{scope} class="{kind}">{text}</{tag}>')
        start = '<tr class="small">' if small else "<tr>"
        return f"{start}{''.join(cells)}</tr>"

    def _notes(self) -> list[str]:
        more = [f"… and {numbers.number(self.more)} more rows"] if self.more else []
        return more + self.notes

    def __repr__(self) -> str:
        lines = [self.labels, *self.rows] if self.labels else []
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.labels))]
        text = [
            "  ".join(
                cell.rjust(width) if is_number else cell.ljust(width)
                for cell, width, is_number in zip(line, widths, self.numeric, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([words.plain(self.caption), *text, *self._notes()])


def table(
    frame: pd.DataFrame,
    *,
    caption: str,
    formats: Mapping[str, numbers.Format] | None = None,
    labels: Mapping[str, str] | None = None,
    n: str | None = None,
    currency: str | None = None,
    limit: int | None = 50,
) -> Table:
    """How is a frame shown so that a person can read it?

    Parameters
    ----------
    frame
        What to show; an index other than 0, 1, 2, … becomes the first columns.
    caption
        What the table is, in a few words; what follows its first sentence is set smaller. Backticks mark code.
    formats
        Per column ``number``, ``money``, ``percent``, ``text``, ``page`` (a page's name, such as ``04_value``,
        becomes a link to it), ``prose`` (our own words, in which backticks mark code) or a function of one value to a
        text. Columns that are not named are written by their type; ids are best given as text.
    labels
        Column to heading; other columns show their names with blanks for underscores.
    n
        The column that counts what a row rests on: rows below 30 are greyed.
    currency
        ISO 4217 code for ``money``.
    limit
        Rows to show; the table says how many more there are. None shows all.

    Returns
    -------
    Table
        Displays as an accessible HTML table, prints as text.

    Raises
    ------
    KeyError
        If ``formats``, ``labels`` or ``n`` names a column that is not there.
    """
    formats, labels = formats or {}, labels or {}
    frame = _with_index(frame)
    unknown = ({*formats, *labels} | ({n} if n else set())) - set(frame.columns)
    if unknown:
        raise KeyError(f"no such column in the table {caption!r}: {', '.join(sorted(map(str, unknown)))}")
    shown = frame if limit is None else frame.head(limit)
    kinds = [formats.get(column) or _kind(frame.iloc[:, i]) for i, column in enumerate(frame.columns)]
    written = ["text" if kind in ("page", "prose") else kind for kind in kinds]
    columns = [numbers.column(shown.iloc[:, i].tolist(), kind, currency) for i, kind in enumerate(written)]
    small = [bool(count < numbers.SMALL_N) for count in shown[n].tolist()] if n else [False] * len(shown)
    if shown.empty:
        return Table(caption=caption if caption.endswith(".") else f"{caption}: none", labels=[], rows=[], numeric=[], small=[])
    notes = [f"Grey rows rest on fewer than {numbers.SMALL_N}: read them as hints."] if any(small) else []
    return Table(
        caption=caption,
        labels=[str(labels.get(column, str(column).replace("_", " "))) for column in frame.columns],
        rows=[list(row) for row in zip(*columns, strict=True)] if columns else [],
        numeric=[_is_numeric(frame.iloc[:, i], kind) for i, kind in enumerate(kinds)],
        small=small,
        more=len(frame) - len(shown),
        notes=notes,
        links=[kind == "page" for kind in kinds],
        prose=[kind == "prose" for kind in kinds],
    )


def _page_label(name: str) -> str:
    return name.partition("_")[2].replace("_", " ").capitalize()


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    plain = isinstance(frame.index, pd.RangeIndex) or (
        frame.index.name is None and frame.index.nlevels == 1 and pd.api.types.is_integer_dtype(frame.index)
    )
    if plain:
        return frame
    names = ["" if name is None else name for name in frame.index.names]
    # Whoever names an index like a column still gets both.
    return frame.reset_index(names=names, allow_duplicates=True)


def _kind(column: pd.Series) -> numbers.Format:
    import pandas as pd

    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return "number" if is_number else "text"


def _is_numeric(column: pd.Series, kind: numbers.Format) -> bool:
    return _kind(column) == "number" if callable(kind) else kind in {"number", "money", "percent", "points"}
