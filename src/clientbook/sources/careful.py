"""Record by record, where a file is not in order: good records are kept, bad ones named, none lost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clientbook.engine import Engine
from clientbook.sources.delivered import Request

# 10 MB in one field is read; a quote that nobody closes ends here, before it has taken the memory.
LONGEST_FIELD = 16 * 1024 * 1024
LONGEST_LINE = 64 * 1024 * 1024
_BLOCK = 1 << 22
_CHUNK_ROWS = 50_000
_CHUNK_LETTERS = 32 * 1024 * 1024
_REJECTED = pa.schema([("_file", pa.string()), ("_row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


@contextmanager
def wide_fields() -> Iterator[None]:
    """How long may a field be? Up to 16 MB while this lasts; Python's own bound of 128 KB is for the whole process."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class Chunks:
    """Where do rows go that come one by one? Into a Parquet file of text columns, a chunk at a time.

    Parameters
    ----------
    path
        The file to write.
    columns
        Its columns, all text; ``_row`` comes after them.
    places
        Where in a row's fields each column stands; all fields in their order by default.
    """

    def __init__(self, path: Path, columns: Sequence[str], places: Sequence[int] | None = None):
        self._schema = pa.schema([(name, pa.string()) for name in columns] + [("_row", pa.int64())])
        self._writer = pq.ParquetWriter(path, self._schema, compression="snappy")
        self._places = range(len(columns)) if places is None else places
        # One flat list: a list for each row would keep Python's garbage collector busy for longer than the reading.
        self._fields: list[str] = []
        self._numbers: list[int] = []

    def add(self, number: int, fields: Sequence[str]) -> None:
        """What does the next row hold?

        Parameters
        ----------
        number
            Its ``_row``.
        fields
            As many as in every row before; empty text becomes null.
        """
        self._fields.extend(fields)
        self._numbers.append(number)
        if len(self._numbers) >= _CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """When does what is held go to the file? Now."""
        if not self._numbers:
            return
        width = len(self._fields) // len(self._numbers)
        texts = [_null_if_empty(pa.array(self._fields[place::width], pa.string())) for place in self._places]
        self._writer.write_table(pa.table([*texts, pa.array(self._numbers, pa.int64())], schema=self._schema))
        self._fields.clear()
        self._numbers.clear()

    def close(self) -> None:
        """When are all rows in the file? Now."""
        self.flush()
        self._writer.close()


class Rejects:
    """Where do records go that have no place in the table?

    Parameters
    ----------
    path
        The Parquet file to write; nothing is written before the first.
    shown
        The file they come from.

    Attributes
    ----------
    rows
        How many there are.
    """

    def __init__(self, path: Path, shown: str):
        self.path, self._shown, self.rows = path, shown, 0
        self._writer: pq.ParquetWriter | None = None
        self._held: list[tuple[int, str, str]] = []
        self._letters = 0

    def add(self, number: int, reason: str, raw: str) -> None:
        """Which record was it, and why?

        Parameters
        ----------
        number
            Its ``_row``.
        reason
            Without anything of what it holds.
        raw
            Its text.
        """
        self.rows += 1
        self._held.append((number, reason, json.dumps(raw, ensure_ascii=False)))
        self._letters += len(raw)
        if len(self._held) >= _CHUNK_ROWS or self._letters >= _CHUNK_LETTERS:
            self._flush()

    def close(self) -> Path | None:
        """Which file holds them? None, if there are none."""
        self._flush()
        if self._writer is None:
            return None
        self._writer.close()
        return self.path

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, _REJECTED, compression="snappy")
        numbers, reasons, raws = zip(*self._held, strict=True)
        files = [self._shown] * len(numbers)
        self._writer.write_table(pa.table([files, numbers, reasons, raws], schema=_REJECTED))
        self._held, self._letters = [], 0


def stage_carefully(
    engine: Engine,
    request: Request,
    path: Path,
    *,
    delimiter: str,
    quote: str,
    names: Sequence[str],
    keep: Sequence[str],
    announced: bool = False,
    open_end: bool = False,
) -> tuple[Path, Path | None, int]:
    """Where do the good records of a disorderly text lie, where the bad ones, and how many are those?

    Parameters
    ----------
    engine
        Whose scratch folder takes both.
    request
        The file, for messages.
    path
        The text in UTF-8.
    delimiter, quote
        One character; no quote where the text knows none.
    names, keep
        All columns, and those to keep.
    announced
        Whether a line ``sep=;`` goes before the header.
    open_end
        Whether the last line has no line end: too short a record there was cut.

    Raises
    ------
    FaultError
        A quote is never closed, or a field is longer than 16 MB.
    """
    staged, rejects = engine.scratch_file(".parquet"), Rejects(engine.scratch_file(".parquet"), request.shown)
    chunks, width = Chunks(staged, keep, [names.index(name) for name in keep]), len(names)
    with path.open(encoding="utf-8", newline="") as stream, wide_fields():
        lines = _Lines(request, stream)
        reader = csv.reader(
            lines.one_by_one(), delimiter=delimiter, strict=True, quotechar=quote or None,
            quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        )  # fmt: skip
        row = _skip_header(lines, reader, announced)
        while True:
            try:
                for fields in reader:
                    row += 1
                    if len(fields) == width:
                        chunks.add(row, fields)
                    elif len(fields) > width and not any(fields[width:]):
                        chunks.add(row, fields[:width])
                    elif fields:
                        if open_end and len(fields) < width and lines.at_end():
                            raise request.fault(
                                f"The file is cut: its last line has {len(fields)} of {width} fields and no end.",
                                "Deliver it again; if it is whole, end its last line.",
                                row=row,
                            )
                        rejects.add(row, f"{len(fields)} fields instead of {width}", lines.text())
                    lines.start = lines.place
                    if lines.fresh:
                        # A chunk is never much more than a block of text, however long its fields are.
                        chunks.flush()
                        lines.fresh = False
                break
            except csv.Error as error:
                row += 1
                _stop_where_hopeless(request, str(error), row)
                # The quote may have swallowed good lines: only the line it stands in is bad, the rest comes again.
                rejects.add(row, "a quote stands where none may stand", lines.give_back())
    chunks.close()
    return staged, rejects.close(), rejects.rows


def _skip_header(lines: _Lines, reader: Iterator[list[str]], announced: bool) -> int:
    row = 0
    for fields in reader:
        row += 1
        if fields and not (announced and row == 1):
            break
    lines.start = lines.place
    return row


class _Lines:
    """The lines of a text, a block at a time; those of the record at hand stay within reach.

    Attributes
    ----------
    start, place
        Where the record at hand begins, and the next line, among the lines held.
    fresh
        Whether a block was read since this was last set to false.
    """

    def __init__(self, request: Request, stream: TextIO):
        self._request, self._stream = request, stream
        self._held: list[str] = []
        self.start = self.place = 0
        self.fresh = False

    def one_by_one(self) -> Iterator[str]:
        """Which line is next?"""
        while self.place < len(self._held) or self._read_block():
            self.place += 1
            yield self._held[self.place - 1]

    def text(self) -> str:
        """What does the record at hand say?"""
        return "".join(self._held[self.start : self.place]).rstrip("\r\n")

    def give_back(self) -> str:
        """What does the first line of the record at hand say? Those after it come again."""
        self.start, self.place = self.start + 1, self.start + 1
        return self._held[self.start - 1].rstrip("\r\n")

    def at_end(self) -> bool:
        """Was that the last line?"""
        return self.place >= len(self._held) and not self._read_block()

    def _read_block(self) -> bool:
        block = self._stream.read(_BLOCK)
        if not block:
            return False
        # Up to the end of a line, which may be far; a carriage return may have its line feed still to come.
        if not block.endswith("\n"):
            end = self._stream.readline(LONGEST_LINE)
            if len(end) >= LONGEST_LINE:
                raise self._request.fault("A line is longer than 64 MB.", "Check how the lines end.")
            block += end
        del self._held[: self.start]
        self.place -= self.start
        self.start = 0
        self._held.extend(io.StringIO(block, newline=""))
        self.fresh = True
        return True


def _stop_where_hopeless(request: Request, error: str, row: int) -> None:
    if "field larger" in error:
        raise request.fault(
            "A field is longer than 16 MB.", "Look for a quote that is never closed, or shorten the field.", row=row
        ) from None
    if "unexpected end" in error:
        raise request.fault(
            "A quote is opened here and never closed.", "Close it, or deliver the file again: it may be cut.", row=row
        ) from None


def _null_if_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), None, texts)
