"""What both engines are asked for, and what they share."""

from __future__ import annotations

import inspect
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from clientbook.faults import Fault, FaultError

ENGINES = ("duckdb", "spark")
# Fixed, so that the same rows always become the same bytes, whatever the machine.
ROW_GROUP_ROWS = 122_880
# So many rows at a time are given to a Python function.
ROWS_A_PART = 100_000
# What a cell of a table that is held in memory takes, as a rule.
CELL_BYTES = 20


class UnreadableError(Exception):
    """The engine cannot read a file as it was told to; the text of the engine stays inside, as it quotes data."""


class TwiceError(UnreadableError):
    """Two values would have the same column, whose name this is: an object's, and one that is written so."""


@dataclass(frozen=True)
class Part:
    """Which Parquet file holds the rows of which delivered file?

    Parameters
    ----------
    path
        The Parquet file.
    shown
        The delivered file as the user knows it.
    rows
        How many rows the Parquet file holds.
    first_row
        The number of its first row; a column ``_row`` in the file goes before it.
    """

    path: Path
    shown: str
    rows: int
    first_row: int


class Engine(ABC):
    """What can an engine do for us that an Ibis expression cannot say?

    Attributes
    ----------
    name
        One of ``ENGINES``.
    connection
        The Ibis backend.
    scratch
        This engine's own folder for staged files.
    """

    name: str
    connection: Any

    def __init__(self, scratch: Path):
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            self.scratch = Path(tempfile.mkdtemp(prefix=f"engine-{os.getpid()}-", dir=scratch.resolve()))
        except OSError as error:
            raise FaultError(
                Fault(f"The scratch folder cannot be written ({error.strerror}).", "Choose another.", file=str(scratch))
            ) from None
        self._numbers = count(1)

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, scratch={str(self.scratch)!r})"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def scratch_file(self, ending: str) -> Path:
        """Where can the next staged file lie?

        Parameters
        ----------
        ending
            With its dot: ``.parquet``.
        """
        return self.scratch / f"{next(self._numbers):06d}{ending}"

    def read_text(
        self,
        path: Path,
        *,
        delimiter: str,
        columns: Sequence[str],
        encoding: str = "utf-8",
        quote: str = '"',
    ) -> ir.Table:
        """What does a delimited text file hold, as text and in the file's order?

        Nothing is guessed: ``007`` stays ``007``. What is empty or missing is null.

        Parameters
        ----------
        path
            A file whose first record is a header.
        delimiter
            One character.
        columns
            Names, one for each field.
        encoding
            ``utf-8``, ``utf-16`` or ``latin-1``; anything else is transcoded by :mod:`clientbook.sources`.
        quote
            The quoting character, or nothing.

        Raises
        ------
        UnreadableError
            A record has another number of fields, a quote is not closed, a line is over 2 MB, or the bytes are
            not in that encoding.
        """
        staged = self.stage_text(path, delimiter=delimiter, columns=columns, encoding=encoding, quote=quote)
        return self.read_parquet(staged)

    def read_json(self, path: Path, *, layout: str = "newline_delimited") -> ir.Table:
        """What do the records of a JSON file hold?

        A column is boolean, int64 or float64 where all its values are; everything else is text, lists as
        JSON; what objects hold has columns of its own, ``a.b``. Text is never taken for a date or a number.

        Parameters
        ----------
        path
            UTF-8.
        layout
            ``newline_delimited``, ``array`` or ``unstructured`` (objects one after another).

        Raises
        ------
        UnreadableError
            The file is not JSON, or holds something other than objects.
        """
        return self.read_parquet(self.stage_json(path, layout=layout))

    @abstractmethod
    def close(self) -> None:
        """When is the engine done? Now, and its scratch files go."""

    @abstractmethod
    def limit(self, memory: str) -> None:
        """How much of this machine's memory may be taken from now on? What does not get by with less keeps what it has.

        Parameters
        ----------
        memory
            Such as `2GB`.
        """

    @abstractmethod
    def stage_text(self, path: Path, **reading: Any) -> Path:
        """Where does a text file lie as Parquet, row for row?"""

    @abstractmethod
    def stage_json(self, path: Path, *, layout: str = "newline_delimited") -> Path:
        """Where do the records of a JSON file lie as Parquet, row for row?"""

    @abstractmethod
    def parquet_columns(self, path: Path) -> list[str]:
        """Which columns does a Parquet file hold?"""

    @abstractmethod
    def check_parquet(self, path: Path, columns: Sequence[str]) -> None:
        """Can these columns be read to their end?"""

    @abstractmethod
    def parquet_rows(self, path: Path) -> int:
        """How many rows does a Parquet file say it holds?"""

    @abstractmethod
    def read_parquet(self, path: Path | str | Iterable[Path | str]) -> ir.Table:
        """What do Parquet files hold? Columns that a file lacks are null in its rows."""

    @abstractmethod
    def read_numbered(self, parts: Sequence[Part], columns: Sequence[str], *, has_row: bool = False) -> ir.Table:
        """Which file and row does each row come from, and when did it arrive?"""

    @abstractmethod
    def write_parquet(self, expr: ir.Table, path: Path) -> None:
        """Where is this table kept? In one Parquet file, in the order of its rows."""

    @abstractmethod
    def evaluate(self, rows: pa.Table, expression: str) -> np.ndarray:
        """What is a whole number for each row of a table in memory?"""

    @abstractmethod
    def keep(self, expr: ir.Table, *, rows: int | None = None) -> ir.Table:
        """What does this table hold? Computed now, once, and read from then on."""

    @abstractmethod
    def number(self, rows: ir.Table, by: Sequence[str], name: str) -> ir.Table:
        """Which row is the how-manieth? Kept with a column that counts from 0 on, in an order in which no two are equal."""

    @abstractmethod
    def by_values(self, column: ir.StringColumn, work: Callable[[str], tuple], made: Sequence[str]) -> ir.Table:
        """What does a Python function make of each distinct text of a column? Texts `made`, beside the text as `_value`."""

    @abstractmethod
    def in_parts(self, rows: ir.Table, work: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> ir.Table:
        """What does a Python function make of rows, some of them at a time and in any order? Kept, without an order."""


def row_hash(columns: Sequence[ir.Column]) -> ir.IntegerColumn:
    """A number that equal rows share, and others almost never; hashing columns one after another takes thrice as long."""
    return _hash_of(tuple(column.type() for column in columns))(*columns)


@lru_cache(maxsize=1_000)
def _hash_of(types: tuple):
    def hash_(*columns):
        raise NotImplementedError

    places = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for i in range(len(types))]
    hash_.__signature__ = inspect.Signature(places)
    return ibis.udf.scalar.builtin(hash_, name="hash", signature=(types, "uint64"))
