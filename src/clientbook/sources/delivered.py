"""What is known about a delivered file, and how the reading of one is asked for and answered."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import ibis.expr.types as ir

from clientbook.engine import Part
from clientbook.faults import Fault, FaultError

OUR_COLUMNS = ("_file", "_row", "_arrival")
# DuckDB takes 67 s for 200,000 columns; no delivery that a person can map has more than this.
MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class FileFacts:
    """Which file was it, and in what shape did it come?

    Parameters
    ----------
    path
        As shown to the user: relative to the book where it lies in it, ``package:…`` as written, else absolute. A
        member of an archive, or one of several sheets, stands after a ``!``.
    rows
        Records delivered, the rejected ones too; no header, no empty lines.
    bytes
        The size of the file, or of the member, as delivered.
    sha256
        Of the file, or of the member, as delivered.
    modified
        In ISO format, UTC; the archive's for a member.
    format
        ``csv``, ``tsv``, ``txt``, ``json``, ``jsonl``, ``xlsx`` or ``parquet``.
    encoding
        Of text formats, as Python calls it; else empty.
    delimiter
        One character or ``blanks``; empty where there is none.
    columns
        The delivered names.
    same_as
        The file of the same delivery that holds the same: that one is in the table, this one is not read.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    modified: str
    format: str
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    same_as: str = ""


@dataclass(frozen=True)
class Raw:
    """What was delivered, and what could not be read of it?

    Parameters
    ----------
    table
        The delivered columns, then ``_file``, ``_row`` and ``_arrival``.
    files
        Every file's facts, in the order read. Their rows, without those of files that are the same as another, add
        up to those of ``table`` and ``rejected``.
    rejected
        ``_file``, ``_row``, ``reason`` and ``raw`` (the text as a JSON string) of each record that has no place in
        the table; nothing if there is none.
    notes
        What is worth telling and stops nothing: unnamed columns, columns that differ between files, no rows.
    """

    table: ir.Table
    files: list[FileFacts]
    rejected: ir.Table | None = None
    notes: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """Which file shall be read, and what does the book say about it?

    Parameters
    ----------
    path
        Where it lies, without its gzip and out of its archive.
    shown, format
        How the user knows it, and what its name promises.
    key, sheet, encoding, delimiter, needed
        As for :func:`clientbook.sources.read`.
    sha256, bytes
        Of the file or member as delivered.
    modified
        When, in seconds since 1970.
    content
        The SHA-256 of what ``path`` holds.
    """

    path: Path
    shown: str
    format: str
    key: str = ""
    sheet: str | int | None = None
    encoding: str | None = None
    delimiter: str | None = None
    needed: tuple[str, ...] | None = None
    sha256: str = ""
    bytes: int = 0
    modified: float = 0.0
    content: str = ""

    def fault(self, message: str, remedy: str = "", *, row: int | None = None, column: str = "") -> FaultError:
        """How does the user learn what is wrong with this file?"""
        return FaultError(self.note(message, remedy, row=row, column=column))

    def note(self, message: str, remedy: str = "", *, row: int | None = None, column: str = "") -> Fault:
        """How does the user learn what is odd about this file, though it can be read?"""
        return Fault(message, remedy, key=self.key, file=self.shown, row=row, column=column)

    def facts(self, *, rows: int, columns: Iterable[str], encoding: str = "", delimiter: str = "") -> FileFacts:
        """What is worth keeping about the file now that it is read?"""
        return FileFacts(
            path=self.shown,
            rows=rows,
            bytes=self.bytes,
            sha256=self.sha256,
            modified=datetime.fromtimestamp(self.modified, UTC).isoformat(timespec="seconds"),
            format=self.format,
            encoding=encoding,
            delimiter=delimiter,
            columns=tuple(columns),
        )


@dataclass(frozen=True)
class Staged:
    """Where do a file's rows lie now, ready for the engine?

    Parameters
    ----------
    facts
        The file's facts.
    part
        Its rows as Parquet.
    columns
        The columns that ``part`` holds, without Clientbook's own.
    has_row
        Whether ``part`` brings a column ``_row``.
    rejected
        A Parquet file of the records that have no place in the table.
    notes
        What is odd about the file.
    """

    facts: FileFacts
    part: Part
    columns: tuple[str, ...]
    has_row: bool = False
    rejected: Path | None = None
    notes: tuple[Fault, ...] = ()


def closest(name: str, names: Iterable[str]) -> list[str]:
    """Which of these names may have been meant?

    Parameters
    ----------
    name
        As written.
    names
        Those that there are.

    Returns
    -------
    list of str
        At most three, the nearest first; letter case does not count.
    """
    by_lower = {other.lower().strip(): other for other in names}
    return [by_lower[near] for near in difflib.get_close_matches(name.lower().strip(), by_lower, n=3, cutoff=0.6)]


def fingerprint(path: Path) -> str:
    """What tells this file's content from any other's? Its SHA-256, as in :attr:`FileFacts.sha256`.

    Parameters
    ----------
    path
        A file, or an archive as it is; it is read once, a block at a time, and nothing is parsed.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
