"""Where a table in a sheet begins: titles above it, and a header over several rows."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

# So far down a header begins; a sheet whose first cells stand alone for longer is one of a single column.
_DEEPEST = 10
_MERGE = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=\"\$?([A-Z]+)\$?(\d+):\$?([A-Z]+)\$?(\d+)\"")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Merge:
    """Which cells are one? Rows and columns count from 1, both ends belong to it."""

    first_row: int
    first_column: int
    last_row: int
    last_column: int


@dataclass(frozen=True)
class Header:
    """What are a sheet's columns called, and where do its records begin?

    Parameters
    ----------
    names
        One for each column, those over several rows joined by a point.
    row, last_row
        Where the header begins and ends.
    notes
        What was taken for something else than a record, and cells merged below.
    """

    names: tuple[str, ...]
    row: int
    last_row: int
    notes: tuple[str, ...] = ()


def find_header(filled: Iterable[tuple[int, list[str]]], merged: list[Merge]) -> Header | None:
    """Where is the header of this sheet? Nothing, if the sheet is empty.

    Rows above the table with a single cell are titles, where a wider row follows within ten. The header goes over more
    than one row only where merged cells say so: one over several columns has names below it, one over several rows
    reaches down to the header's end.

    Parameters
    ----------
    filled
        The rows with anything in them, numbered, without empty cells at their ends.
    merged
        The sheet's merged cells.

    Examples
    --------
    >>> find_header([(1, ["id", "Address"]), (2, ["", "Street", "City"])], [Merge(1, 2, 1, 3)]).names
    ('id', 'Address.Street', 'Address.City')
    """
    rows = list(islice(filled, _DEEPEST + _DEEPEST))
    if not rows:
        return None
    start, notes = 0, []
    for place, (_, cells) in enumerate(rows[:_DEEPEST]):
        if _count(cells) > 1:
            start = place
            break
    if start:
        titles = ", ".join(str(number) for number, _ in rows[:start])
        notes.append(f"A title stands above the table and is left out (row {titles}).")
    top = rows[start][0]
    last = _last_row(top, merged)
    lines = {number: cells for number, cells in rows if top <= number <= last}
    width = max(len(cells) for cells in lines.values())
    width = max([width, *(one.last_column for one in merged if top <= one.first_row <= last)])
    names = []
    for column in range(1, width + 1):
        parts = []
        for row in range(top, last + 1):
            part = _cell(lines, merged, row, column).strip()
            if part and (not parts or parts[-1] != part):
                parts.append(part)
        names.append(".".join(parts))
    while names and not names[-1]:
        names.pop()
    below = sum(one.first_row > last for one in merged)
    if below:
        notes.append(f"{below:,} merged cells stand among the rows; each counts for its first row and column alone.")
    return Header(tuple(names), top, last, tuple(notes))


def merges(path: Path, sheet: Any) -> list[Merge]:
    """Which cells of this sheet are merged?

    A workbook that is read row by row does not say; in the sheet's XML they stand behind the rows.

    Parameters
    ----------
    path
        The workbook.
    sheet
        One of its sheets, as openpyxl reads it row by row.
    """
    found = []
    with zipfile.ZipFile(path) as archive, archive.open(sheet._worksheet_path.lstrip("/")) as stream:
        rest, behind = b"", False
        while chunk := stream.read(_CHUNK):
            text = rest + chunk
            if not behind and (end := text.rfind(b"sheetData>")) >= 0 and b"/" in text[max(0, end - 12) : end]:
                text, behind = text[end:], True
            if behind:
                last = 0
                for match in _MERGE.finditer(text):
                    a, b, c, d = match.groups()
                    found.append(Merge(int(b), _column(a), int(d), _column(c)))
                    last = match.end()
                rest = text[max(last, len(text) - 256) :]
            else:
                rest = text[-32:]
    return sorted(found, key=lambda one: (one.first_row, one.first_column))


def _last_row(top: int, merged: list[Merge]) -> int:
    last = top
    for one in merged:
        if top <= one.first_row <= last:
            wide = one.last_column > one.first_column
            last = max(last, one.last_row + wide)
    return last


def _cell(lines: dict[int, list[str]], merged: list[Merge], row: int, column: int) -> str:
    for one in merged:
        if one.first_row <= row <= one.last_row and one.first_column <= column <= one.last_column:
            row, column = one.first_row, one.first_column
            break
    cells = lines.get(row, [])
    return cells[column - 1] if column <= len(cells) else ""


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _count(cells: list[str]) -> int:
    return sum(bool(cell) for cell in cells)
