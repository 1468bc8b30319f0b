"""Is anything at fault in a book, before it is run?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from clientbook import cleaning
from clientbook.book import Book
from clientbook.engine import open as open_engine
from clientbook.faults import Fault

# So many rows with the same fault are listed one by one; more are told as ranges.
LISTED = 20


@dataclass
class Report:
    """What was found?

    Attributes
    ----------
    faults
        What is wrong, with file, row and column.
    wrong
        How many faults that stands for.
    notes
        What was read, and cells that will be emptied.
    """

    faults: list[Fault] = field(default_factory=list)
    wrong: int = 0
    notes: list[str] = field(default_factory=list)


def check(book: Book, *, every_row: bool = False) -> Report:
    """Read and validate everything, and write nothing.

    Parameters
    ----------
    book
        Whose files are read.
    every_row
        Name every faulty row, also where very many have the same fault.

    Raises
    ------
    FaultError
        If a file cannot be read or a column is not there; with every such fault.
    """
    report = Report()
    with open_engine("duckdb", scratch=book.store.folder / "scratch") as engine:
        loaded = cleaning.load(book, engine)
        today = dt.datetime.now(ZoneInfo(book.settings.timezone)).date()
        as_of = book.settings.as_of or cleaning.default_as_of(loaded, today, book.settings.timezone)
        cleaned = cleaning.clean(book, engine, as_of)
        for row in cleaned.rows:
            told = ", ".join(f"{row[name]:,} {name}" for name in cleaning.ROW_COUNTS[1:] if row[name])
            report.notes.append(f"{row['file']} ({row['source']}.{row['table']}): {row['rows_in']:,} rows: {told or 'none'}.")
        if "changes" in cleaned.tables:
            report.notes += _emptied(cleaned.tables["changes"])
        rejected = cleaned.tables["rejected"]
        groups = rejected.group_by("file", "column", "reason").agg(rows=rejected.count())
        for group in groups.order_by("file", "column", "reason").to_pandas().itertuples():
            report.wrong += int(group.rows)
            report.faults += _faults(rejected, group, every_row)
    return report


def _faults(rejected: ir.Table, group, every_row: bool) -> list[Fault]:
    column = group.column if isinstance(group.column, str) else ""
    same = (rejected["file"] == group.file) & (rejected["reason"] == group.reason)
    same &= (rejected["column"] == column) if column else rejected["column"].isnull()
    if group.rows <= LISTED or every_row:
        rows = rejected.filter(same).order_by("row").select("row").to_pandas()["row"]
        return [Fault(f"{group.reason}.", file=group.file, row=int(row), column=column) for row in rows]
    first = _ranges(rejected.filter(same))
    return [Fault(f"{group.reason} in {group.rows:,} rows: {first}.", "--all lists each.", file=group.file, column=column)]


def _ranges(rows: ir.Table, most: int = 10) -> str:
    """Rows as `3, 7-9, 12`, the first few ranges."""
    numbered = rows.select("row", island=rows["row"] - ibis.row_number().over(order_by=rows["row"]))
    islands = numbered.group_by("island").agg(low=numbered["row"].min(), high=numbered["row"].max())
    some = islands.order_by("low").limit(most + 1).to_pandas()
    told = [str(low) if low == high else f"{low}-{high}" for low, high in zip(some["low"], some["high"], strict=True)]
    return ", ".join(told[:most]) + (" and more" if len(told) > most else "")


def _emptied(changes: ir.Table) -> list[str]:
    counted = changes.group_by("file", "column", "rule").agg(cells=changes.count(), first=changes["row"].min())
    return [
        f"{row.file}, column {row.column!r}: {row.cells:,} cells will be emptied: {row.rule}; the first is in row {row.first}."
        for row in counted.order_by("file", "column", "rule").to_pandas().itertuples()
    ]
