"""What did a run leave? Tables, models, lists and notebooks, each written whole or not at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clientbook.faults import ClientbookError

if TYPE_CHECKING:
    import duckdb

KEEP = 12

_DEAD = ".killed-"
_own = threading.local()
_NAME = re.compile(r"^\d{4}-\d{2}-\d{2}\.\d{3,}$")


@dataclass(frozen=True)
class Run:
    """One execution of a book as of a date.

    Parameters
    ----------
    folder
        Where its tables, models, notebooks and records lie.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The as-of date and a number, such as `2024-06-01.001`."""
        return self.folder.name

    @property
    def as_of(self) -> dt.date:
        """The day before whose beginning everything that the run sees happened."""
        return dt.date.fromisoformat(self.name.partition(".")[0])

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that are there."""
        return tuple(sorted(path.stem for path in (self.folder / "tables").glob("*.parquet")))

    @cached_property
    def info(self) -> dict[str, Any]:
        """What `run.json` says; empty while the run is under way."""
        file = self.folder / "run.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def path(self, table: str) -> Path:
        """Where a table lies.

        Raises
        ------
        ClientbookError
            If the run did not write it.
        """
        file = self.folder / "tables" / f"{table}.parquet"
        if not file.exists():
            there = ", ".join(self.tables) or "none"
            raise ClientbookError(f"run {self.name} has no table {table!r}; its tables: {there}.")
        return file

    def read(self, table: str, connection=None):
        """A table as an Ibis expression.

        Parameters
        ----------
        table
            Its name, such as `customers`.
        connection
            An Ibis backend to read it with; None means an in-memory DuckDB that all tables read so share, so that they
            can be joined.

        Returns
        -------
        ibis.expr.types.Table
            Read lazily; `.to_pandas()` brings it into memory.
        """
        connection = connection or _shared()
        return connection.read_parquet(str(self.path(table)))

    def model(self, name: str) -> dict[str, Any]:
        """A fitted model as plain data.

        Raises
        ------
        ClientbookError
            If the run did not fit it.
        """
        file = self.folder / "models" / f"{name}.json"
        if Path(name).name != name or not file.is_file():
            raise ClientbookError(f"run {self.name} has no model {name!r}.")
        return json.loads(file.read_text(encoding="utf-8"))

    def record(self, stage: str) -> dict[str, Any]:
        """What a stage said of itself: key numbers, inputs, row counts; empty if it did not run."""
        file = self.folder / "records" / f"{stage}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


@dataclass(frozen=True)
class Store:
    """A book's runs and lists.

    Parameters
    ----------
    folder
        `BOOK/store`.
    """

    folder: Path

    def runs(self) -> list[Run]:
        """The whole runs that are kept, oldest first."""
        return [Run(path) for path in _runs_in(self.folder / "runs")]

    def run(self, name: str = "latest") -> Run:
        """A run by its name: a whole one, or the one under way; `latest` for the newest whole one.

        Raises
        ------
        ClientbookError
            If there is no such run.
        """
        whole = self.runs()
        if name == "latest":
            if not whole:
                raise ClientbookError(f"{self.folder.parent} has no run yet; `clientbook run {self.folder.parent}` makes one.")
            return whole[-1]
        for folder in ("runs", "building"):
            if _NAME.match(name) and (self.folder / folder / name).is_dir():
                return Run(self.folder / folder / name)
        known = ", ".join(run.name for run in whole) or "none"
        raise ClientbookError(f"{self.folder.parent} has no run {name!r}; its runs: {known}.")

    def start(self, as_of: dt.date) -> Run:
        """Make room for a new run, out of sight of those who read runs.

        Only whoever holds the book may start one: what else is being built was left by runs that were killed, and a
        killed run's number is free again.
        """
        (self.folder / "building").mkdir(parents=True, exist_ok=True)
        for path in _runs_in(self.folder / "building"):
            path.rename(path.with_name(f"{_DEAD}{secrets.token_hex(4)}-{path.name}"))
        taken = [path for place in ("runs", "failed") for path in _runs_in(self.folder / place)]
        numbers = [_order(path)[1] for path in taken if path.name.startswith(f"{as_of.isoformat()}.")]
        run = Run(self.folder / "building" / f"{as_of.isoformat()}.{max(numbers, default=0) + 1:03d}")
        for part in ("tables", "models", "notebooks", "records"):
            (run.folder / part).mkdir(parents=True)
        return run

    def failed(self) -> list[Run]:
        """The runs that failed and are kept, oldest first."""
        return [Run(path) for path in _runs_in(self.folder / "failed")]

    def abandoned(self) -> list[Run]:
        """What runs left that were killed, as far as they came; only whoever holds the book may ask."""
        return [Run(path) for path in sorted((self.folder / "building").glob(f"{_DEAD}*"))]

    def finish(self, run: Run, *, whole: bool) -> Run:
        """Show a run that ended: among the runs if it is whole, else among the failed ones.

        It stays, and of the others the newest. Of what a killed run left nothing stays.
        """
        if run.folder.name.startswith(_DEAD):
            shutil.rmtree(run.folder, ignore_errors=True)
            return run
        place = self.folder / ("runs" if whole else "failed")
        place.mkdir(parents=True, exist_ok=True)
        run.folder.replace(place / run.name)
        others = [path for path in _runs_in(place) if path.name != run.name]
        for old in others[: -(KEEP - 1)]:
            shutil.rmtree(old)
        return Run(place / run.name)

    def prune(self, tables: Iterable[str]) -> None:
        """Delete tables that nobody but the next run reads, but for the newest whole run that has them.

        Parameters
        ----------
        tables
            Their names.
        """
        for table in tables:
            having = [run for run in self.runs() if table in run.tables]
            # a failed run is gone on from only until a whole one has ended
            for run in having[:-1] + (self.failed() if having else []):
                path = run.folder / "tables" / f"{table}.parquet"
                # what Spark writes is a folder of parts
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def sweep(folder: Path, pattern: str = "*") -> None:
    """Delete what processes that are no more left behind; what belongs to one that is at work, such as JupyterLab, stays.

    Parameters
    ----------
    folder
        Where.
    pattern
        Of the names, whose second part, between hyphens, is the number of the process.
    """
    import psutil

    for path in folder.glob(pattern):
        number = path.name.split("-")[1] if path.name.count("-") > 1 else ""
        if not (number.isdigit() and psutil.pid_exists(int(number))):
            shutil.rmtree(path, ignore_errors=True)


def without_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Draw no bar of progress: it would stand in what is printed, a schedule's log and the JSON of a card too.

    Parameters
    ----------
    connection
        DuckDB's own.
    """
    import duckdb

    # in a notebook without ipywidgets there is none
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")


def _shared():
    """A connection of DuckDB belongs to one thread."""
    import ibis

    if not hasattr(_own, "connection"):
        _own.connection = ibis.duckdb.connect()
        without_bar(_own.connection.con)
    return _own.connection


def _runs_in(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if _NAME.match(path.name)), key=_order)


def _order(path: Path) -> tuple[str, int]:
    # after .999 comes .1000, which as a word would stand before it
    day, _, number = path.name.partition(".")
    return day, int(number)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write a file beside its place and move it there when it is whole.

    Yields
    ------
    Path
        Where to write. If the block raises, nothing is left of it and an earlier file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def clear_drafts(folder: Path) -> None:
    """Delete what whoever was killed while writing left half written; nobody may be writing there.

    Parameters
    ----------
    folder
        Of a run, or of lists.
    """
    for place in (folder, *(part for part in folder.glob("*") if part.is_dir())):
        for path in place.glob(".*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write plain JSON, whole or not at all; NaN is a fault of the caller's."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with whole(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    # numpy's numbers are numbers; days, times and paths are text
    return value.item() if hasattr(value, "item") else str(value)
