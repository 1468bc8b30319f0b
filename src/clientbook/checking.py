"""Is anything at fault in a book, before it is run?"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import cleaning
from clientbook.book import Book
from clientbook.cleaning.sense import references
from clientbook.engine import open as open_engine
from clientbook.faults import Fault, FaultError
from clientbook.matching import labels

# So many rows with the same fault are listed one by one; more are told as ranges.
LISTED = 20
# Where more of a column's rows than this cannot be read, it is not the cells that are at fault but how they are read.
MOST_UNREAD = 0.5


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
    warnings
        Rows that are rejected, where the book's policy says how many rows must be usable, and so many are.
    set_aside
        How many rows that stands for.
    rejects
        Are there rejected rows among the faults?
    """

    faults: list[Fault] = field(default_factory=list)
    wrong: int = 0
    notes: list[str] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    set_aside: int = 0
    rejects: bool = False

    @property
    def verdict(self) -> str:
        """How did it end?"""
        rows = f"{self.set_aside:,} {'row' if self.set_aside == 1 else 'rows'} rejected"
        if self.faults:
            told = f"{self.wrong:,} {'fault' if self.wrong == 1 else 'faults'}"
            if self.set_aside:
                return f"{told}; {rows} beside, no more than the book's policy bears."
            hint = "\nA book that can do without such rows says so in its policy: {rule: rows that can be used, at_least: 0.98}."
            return f"{told}.{hint if self.rejects else ''}"
        return f"Nothing is at fault: {rows}, no more than the book's policy bears." if self.set_aside else "Nothing is at fault."


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
    with _scratch(book) as scratch, open_engine("duckdb", scratch=scratch) as engine:
        try:
            labels.read(book.folder)
        except FaultError as error:
            report.faults += error.faults
        try:
            loaded = cleaning.load(book, engine)
        except FaultError as error:
            raise FaultError([*error.faults, *report.faults]) from None
        today = dt.datetime.now(ZoneInfo(book.settings.timezone)).date()
        as_of = book.settings.as_of or cleaning.default_as_of(loaded, today, book.settings.timezone)
        cleaned = cleaning.clean(book, engine, as_of, loaded)
        report.notes += cleaned.notes
        for row in cleaned.rows:
            told = ", ".join(f"{row[name]:,} {name}" for name in cleaning.ROW_COUNTS[1:] if row[name])
            report.notes.append(f"{row['file']} ({row['source']}.{row['table']}): {row['rows_in']:,} rows: {told or 'none'}.")
        if "changes" in cleaned.tables:
            delivered = {(item.source, item.table.name, f.path): item.mapping for item in loaded for f in item.raw.files}
            cells = _changed(cleaned.tables["changes"])
            report.notes += _in_words(cells, delivered)
            report.faults += _unread(cells, cleaned.rows, delivered)
        report.faults += _all_later(cleaned.rows, as_of) + _leading_nowhere(references(cleaned.tables, engine))
        report.wrong += len(report.faults)
        rejected = cleaned.tables["rejected"]
        groups = rejected.group_by("source", "table", "file", "column", "reason").agg(rows=rejected.count())
        borne = _borne(book, cleaned.rows)
        for group in groups.order_by("file", "source", "table", "column", "reason").to_pandas().itertuples():
            found = _faults(rejected, group, every_row)
            if borne:
                report.warnings += found
                report.set_aside += int(group.rows)
            else:
                report.faults += found
                report.wrong += int(group.rows)
                report.rejects = True
    return report


def _borne(book: Book, rows: Sequence[dict]) -> bool:
    """Does the policy say how many rows must be usable, and are so many?"""
    rules = [rule for rule in book.settings.policy if rule.rule == "rows that can be used"]
    limits = [rule.at_least for rule in rules if rule.at_least is not None]
    return bool(limits) and cleaning.usable(rows) >= max(limits)


@contextlib.contextmanager
def _scratch(book: Book) -> Iterator[Path]:
    """A folder in the book, as its data may lie nowhere else; it goes again, unless others work there."""
    folder = book.store.folder / "scratch"
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
            book.store.folder.rmdir()


def _faults(rejected: ir.Table, group, every_row: bool) -> list[Fault]:
    key = f"sources.{group.source}.{group.table}"
    column = group.column if isinstance(group.column, str) else ""
    same = (rejected["source"] == group.source) & (rejected["table"] == group.table)
    same &= (rejected["file"] == group.file) & (rejected["reason"] == group.reason)
    same &= (rejected["column"] == column) if column else rejected["column"].isnull()
    if group.rows <= LISTED or every_row:
        rows = rejected.filter(same).order_by("row").select("row").to_pandas()["row"]
        return [Fault(f"{group.reason}.", key=key, file=group.file, row=int(row), column=column) for row in rows]
    told = f"{group.reason} in {group.rows:,} rows: {_ranges(rejected.filter(same))}."
    hint = ""
    if group.reason.endswith(("not a valid time", "not a valid date")):
        hint = f"Say how it is written under `dates`: {{{group.reason.split()[0]}: '%m/%d/%y'}}, for example."
    return [Fault(told, f"{hint} --all lists each.".strip(), key=key, file=group.file, column=column)]


def _ranges(rows: ir.Table, most: int = 10) -> str:
    """Rows as `3, 7-9, 12`, the first few ranges."""
    numbered = rows.select("row", island=rows["row"] - ibis.row_number().over(order_by=rows["row"]))
    islands = numbered.group_by("island").agg(low=numbered["row"].min(), high=numbered["row"].max())
    some = islands.order_by("low").limit(most + 1).to_pandas()
    told = [str(low) if low == high else f"{low}-{high}" for low, high in zip(some["low"], some["high"], strict=True)]
    return ", ".join(told[:most]) + (" and more" if len(told) > most else "")


def _changed(changes: ir.Table) -> pd.DataFrame:
    """How many cells of each column of each file are emptied, or put right, by which rule."""
    changes = changes.filter(changes["rule"] != "superseded")
    places = ["source", "table", "file", "column", "rule"]
    counted = changes.mutate(emptied=changes["after"].isnull())
    counted = counted.group_by(*places, "emptied").agg(cells=counted.count(), first=counted["row"].min())
    return counted.order_by("file", "column", "rule", "emptied", "source", "table").to_pandas()


def _unread(
    cells: pd.DataFrame, rows: Sequence[dict], delivered: Mapping[tuple[str, str, str], Mapping[str, str]]
) -> list[Fault]:
    """Columns most of whose cells do not mean what they should."""
    counted = {(row["source"], row["table"], row["file"]): row["rows_in"] for row in rows}
    faults = []
    for row in cells[cells["emptied"] & cells["rule"].str.startswith("not ")].itertuples():
        of = counted[row.source, row.table, row.file]
        if of >= LISTED and row.cells > MOST_UNREAD * of:
            told = f"{row.cells:,} of {of:,} cells cannot be read: {row.rule}."
            remedy = "Say how they are written (`decimal`, `dates`), or map another column."
            column = delivered[row.source, row.table, row.file][row.column]
            faults.append(Fault(told, remedy, key=f"sources.{row.source}.{row.table}", file=row.file, column=column))
    return faults


def _all_later(rows: Sequence[dict], as_of: dt.date) -> list[Fault]:
    """Tables of which nothing is left, as the day of the run stands before all of it."""
    each = pd.DataFrame(rows, columns=["source", "table", "rows_in", "later"]).groupby(["source", "table"]).sum()
    return [
        Fault(f"all {row.rows_in:,} rows are of {as_of} or later, and are left out.",
              "Put `as_of` right, or the column of times.", key=f"sources.{source}.{table}")
        for (source, table), row in each[(each["rows_in"] > 0) & (each["later"] == each["rows_in"])].iterrows()
    ]  # fmt: skip


def _leading_nowhere(asked: pd.DataFrame) -> list[Fault]:
    """Columns of ids none of which is known where it should be: one writes them as the other does not."""
    told = asked[(asked["of"] >= LISTED) & (asked["failed"] == asked["of"])]
    told = told.sort_values(["source", "table", "column"])
    remedy = "Compare how both write an id (leading zeros, `.0`, a prefix), or say under `ids` whose it is."
    return [
        Fault(f"none of {int(row.of):,} rows meets its rule: {row.rule}.", remedy,
              key=f"sources.{row.source}.{row.table}.{row.column}")
        for row in told.itertuples()
    ]  # fmt: skip


def _in_words(cells: pd.DataFrame, delivered: Mapping[tuple[str, str, str], Mapping[str, str]]) -> list[str]:
    told = []
    for row in cells.itertuples():
        column = delivered[row.source, row.table, row.file][row.column]
        what = "emptied" if row.emptied else "put right"
        many = f"{row.cells:,} {'cell' if row.cells == 1 else 'cells'} will be {what}"
        told.append(f"{row.file}, column {column!r}: {many}: {row.rule}; the first is in row {row.first}.")
    return told
