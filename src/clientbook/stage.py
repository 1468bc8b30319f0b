"""What does a notebook read and write, with which parameters, and where?"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from clientbook.book import Book, open_book
from clientbook.engine import Engine
from clientbook.engine import open as open_engine
from clientbook.faults import ClientbookError, Fault, FaultError, UsageError
from clientbook.memory import SHARED_VARIABLE
from clientbook.store import Run, whole, write_json
from clientbook.tables import Table

RUN_VARIABLE = "CLIENTBOOK_RUN"
PERSONAL_VARIABLE = "CLIENTBOOK_SHOW_PERSONAL_DATA"
FRESH_VARIABLE = "CLIENTBOOK_FRESH"
ENGINE_VARIABLE = "CLIENTBOOK_ENGINE"

# A table of more rows is not read on the driver where the run asks for Spark; a machine of 12 GB takes as many.
MOST_ROWS_ON_DRIVER = 60_000_000

# So many key numbers of each stage, its first, stand on the index and on the overview.
LEADING = 2


class Parameters(BaseModel):
    """What an analyst may change in a notebook; each stage has its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Stage:
    """What does a notebook read and write?

    Parameters
    ----------
    name
        Of the module and the notebook, without its number.
    needs
        Tables without which it has nothing to show.
    uses
        Tables that it uses where they are there; `*` means whatever the others write.
    hears
        Stages whose records (key numbers, inputs, row counts) it reads; `*` means all.
    reads_files
        Whether it reads what was delivered, and not only tables.
    remembers
        Whether it reads what earlier runs left.
    on_spark
        Tables of `writes` that Spark makes where the run asks for Spark, from what grows with the book; `*` means all of
        them. The others are made by this machine's DuckDB, from the tables that Spark wrote.
    book_files
        Files beside `clientbook.yaml` that people keep and that it reads where they are there.
    writes
        Tables that it writes.
    shows
        What it would show, for a book that lacks what it needs.
    parameters
        Its parameters, with their defaults.
    tables
        What the columns of the tables that it writes mean, for the data dictionary.
    """

    name: str
    writes: tuple[str, ...]
    shows: str
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    reads_files: bool = False
    remembers: bool = False
    on_spark: tuple[str, ...] = ()
    book_files: tuple[str, ...] = ()
    parameters: type[Parameters] = Parameters
    tables: tuple[Table, ...] = ()


class NothingToShow(ClientbookError):
    """The book lacks what a notebook needs, or has too little of it; the run goes on without this page."""

    def _render_traceback_(self) -> list[str]:
        # JupyterLab shows these lines in place of a traceback
        return [str(self)]


@dataclass(frozen=True)
class KeyNumber:
    """A number that is watched from run to run.

    Parameters
    ----------
    name
        What it is, for a reader.
    value
        The number.
    unit
        `customers`, `money`, `share`, `days`, …
    better
        Which way is better: `up`, `down`, or nothing where neither is.
    n
        How many it rests on.
    low, high
        Its interval, where it has one.
    note
        One phrase that says what it does or does not mean.
    """

    name: str
    value: float
    unit: str
    better: str = ""
    n: int | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


class Step:
    """What a notebook holds in its hand: the book, the tables before it, and the place for its own.

    Made by :func:`step`.
    """

    def __init__(self, stage: Stage, book: Book, source: Run | None, target: Path, parameters: Parameters):
        self.stage, self.book, self.parameters = stage, book, parameters
        self._source, self._target = source, target
        self._written: list[str] = []
        missing = " and ".join(f"`{name}`" for name in stage.needs if not self.has(name))
        if missing:
            raise NothingToShow(f"This book has no {missing}. With it, this page would show {stage.shows}.")
        self.engine_names = engines_of(stage, os.environ.get(ENGINE_VARIABLE) or "duckdb")

    @cached_property
    def engine(self):
        """Where tables are worked on."""
        return self._opened(self.engine_names[-1])

    @cached_property
    def large(self):
        """Where those tables are made that the stage says can be made on Spark: there, if the run asks for it.

        Elsewhere it is `engine` itself. What is made on it is written, or brought to `engine` by :meth:`bring`.
        """
        return self.engine if len(self.engine_names) == 1 else self._opened(self.engine_names[0])

    def _opened(self, name: str):
        engine = open_engine(name, scratch=self.book.store.folder / "scratch")
        atexit.register(engine.close)
        return engine

    @property
    def as_of(self):
        """The run's day; what happened on it or later is not seen."""
        if self._source is None:
            raise ClientbookError(f"{self.book.folder} has no run yet; `clientbook run {self.book.folder}` makes one.")
        return self._source.as_of

    @property
    def run(self) -> Run | None:
        """The run that is read."""
        return self._source

    @property
    def shows_personal_data(self) -> bool:
        """Whether whoever started the run asked for names on its pages; every page is marked then."""
        return bool(os.environ.get(PERSONAL_VARIABLE))

    @property
    def is_fresh(self) -> bool:
        """Whether whoever started the run asked for all to be computed again; ids and what was seen before stay known."""
        return bool(os.environ.get(FRESH_VARIABLE))

    def named(self, frame):
        """Who are these customers, where names may be shown?

        Parameters
        ----------
        frame : pandas.DataFrame
            With a column `customer_id`; few rows, since it is for a page.

        Returns
        -------
        pandas.DataFrame
            With `full_name` after `customer_id` if personal data is to be shown and there are customers; else as it came.
        """
        if not self.shows_personal_data or not self.has("customers") or not len(frame):
            return frame
        customers = self._source.read("customers", self.engine.connection)
        wanted = customers.filter(customers["customer_id"].isin(list(frame["customer_id"])))
        names = wanted.select("customer_id", "full_name").to_pandas().set_index("customer_id")["full_name"]
        told = frame.copy()
        told.insert(told.columns.get_loc("customer_id") + 1, "full_name", told["customer_id"].map(names))
        return told

    def has(self, table: str) -> bool:
        """Whether a table is there to be read."""
        return self._source is not None and table in self._source.tables

    def read(self, table: str, engine: Engine | None = None):
        """A table of the stages before, as an Ibis expression; None where an optional one is not there.

        Parameters
        ----------
        table
            Its name; the stage must say that it reads it.
        engine
            Where it is read: `large` for what the stage makes there; None means `engine`.

        Raises
        ------
        FaultError
            The run asks for Spark, and the table is too large for this machine's DuckDB.
        """
        if table not in (*self.stage.needs, *self.stage.uses, *self.stage.writes) and "*" not in self.stage.uses:
            raise ClientbookError(f"{self.stage.name} does not say that it reads {table!r}; add it to its STAGE.")
        if not self.has(table):
            return None
        engine = engine or self.engine
        if engine.name == "duckdb" and (os.environ.get(ENGINE_VARIABLE) or "duckdb") != "duckdb":
            check_size(self.stage, table, self._source.path(table))
        return self._source.read(table, engine.connection)

    def bring(self, rows):
        """What was made on `large`, on `engine`; the same where they are one.

        Parameters
        ----------
        rows
            An Ibis expression, or None.

        Raises
        ------
        FaultError
            It is too large for this machine's DuckDB.
        """
        if rows is None or self.large is self.engine:
            return rows
        path = self.engine.scratch_file(".parquet")
        self.large.write_parquet(rows, path)
        check_size(self.stage, "what it works on", path)
        return self.engine.read_parquet(path)

    def heard(self, stage: str) -> dict[str, Any]:
        """What another stage said of itself: key numbers, inputs, row counts; empty if it did not run."""
        if stage not in self.stage.hears and "*" not in self.stage.hears:
            raise ClientbookError(f"{self.stage.name} does not say that it hears {stage!r}; add it to its STAGE.")
        return self._source.record(stage) if self._source is not None else {}

    def truth(self, table: str):
        """A table of the truth that a made book brings, to score against and for nothing else; None without one."""
        file = self.book.folder / "truth" / f"{table}.parquet"
        return self.engine.read_parquet(file) if file.is_file() else None

    def write(self, table: str, rows):
        """Write a table of this stage, whole or not at all, and read it back.

        Parameters
        ----------
        table
            One of the tables that the stage says it writes.
        rows
            An Ibis expression or a pandas frame, in the order in which they are to stand.

        Returns
        -------
        ibis.expr.types.Table
            What was written: what is counted from it now is not computed again.
        """
        if table not in self.stage.writes:
            raise ClientbookError(f"{self.stage.name} does not say that it writes {table!r}; add it to its STAGE.")
        import ibis

        rows = rows if isinstance(rows, ibis.Table) else ibis.memtable(rows)
        # frames belong to no engine
        there = {backend.name for backend in rows._find_backends()[0]}
        maker = self.large if there and self.engine.connection.name not in there else self.engine
        path = self._target / "tables" / f"{table}.parquet"
        with whole(path) as draft:
            maker.write_parquet(rows, draft)
        self._wrote(path)
        return self.engine.read_parquet(path)

    def write_all(self, tables: Mapping[str, Any]) -> None:
        """Write several tables of this stage, by name."""
        for name, rows in tables.items():
            self.write(name, rows)

    def write_model(self, name: str, model: Mapping[str, Any]) -> None:
        """Write a fitted model as plain JSON."""
        path = self._target / "models" / f"{name}.json"
        write_json(path, model)
        self._wrote(path)

    def write_list(self, name: str, rows) -> None:
        """Write a list to act on, a pandas frame, to the book's `store/lists`; in JupyterLab to `store/lab/lists`."""
        path = self._target / "lists" / f"{name}.csv"
        with whole(path) as draft:
            rows.to_csv(draft, index=False, encoding="utf-8")
        self._wrote(path)

    def record(self, **facts: Any) -> None:
        """Keep facts of this step for `run.json` and the report: `key_numbers`, `rows`, `inputs`, …"""
        known = Run(self._target).record(self.stage.name)
        told = {
            name: [vars(item) if isinstance(item, KeyNumber) else item for item in value] if isinstance(value, list) else value
            for name, value in facts.items()
        }
        write_json(self._target / "records" / f"{self.stage.name}.json", {**known, **told})

    def hand_over(self, *tables: str) -> None:
        """Which tables of this stage are as they will be, written or not? Who reads no others of it begins now.

        Whom none are handed over to waits until this notebook has ended, with all its figures.

        Parameters
        ----------
        *tables
            Their names.
        """
        unknown = ", ".join(sorted({*tables} - {*self.stage.writes}))
        if unknown:
            raise ClientbookError(f"{self.stage.name} does not say that it writes {unknown}, which it hands over.")
        # whoever begins now takes memory of its own
        if shared := os.environ.get(SHARED_VARIABLE):
            self.engine.limit(shared)
        self.record(handed_over=sorted(tables))

    def _wrote(self, path: Path) -> None:
        """The runner takes over, next time, what is on this list."""
        self._written.append(path.relative_to(self._target).as_posix())
        self.record(written=sorted(set(self._written)))


def engines_of(stage: Stage, asked: str) -> tuple[str, ...]:
    """Which engines work on a stage's tables? One, or Spark and then this machine's DuckDB.

    Parameters
    ----------
    stage
        Which.
    asked
        The engine that the run asks for.
    """
    if asked == "duckdb" or not stage.on_spark:
        return ("duckdb",)
    return (asked,) if "*" in stage.on_spark or set(stage.on_spark) >= set(stage.writes) else (asked, "duckdb")


def check_size(stage: Stage, told: str, path: Path) -> None:
    """Can the driver's DuckDB take a table that Spark wrote?

    Parameters
    ----------
    stage
        Which reads it.
    told
        What it is.
    path
        Where it is.

    Raises
    ------
    FaultError
        It has more than `MOST_ROWS_ON_DRIVER` rows.
    """
    import pyarrow.parquet as pq

    rows = pq.read_metadata(path).num_rows
    if rows > MOST_ROWS_ON_DRIVER:
        raise FaultError(
            Fault(
                f"{stage.name} brings `{told}` to this machine, and it has {rows:,} rows; this machine takes "
                f"{MOST_ROWS_ON_DRIVER:,}.",
                "Leave it out with --only, or run the book on a machine with more memory with --engine duckdb.",
            )
        )


def load_stage(name: str) -> Stage:
    """The declaration of the stage that a module of this name makes.

    Raises
    ------
    ClientbookError
        If there is no such module, or it declares none.
    """
    try:
        return import_module(f"clientbook.{name}").STAGE
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != f"clientbook.{name}":
            # the module is there; what it imports is not
            raise
        raise ClientbookError(f"notebook {name!r} has no module clientbook.{name} with a STAGE.") from error


def step(name: str, book: str | None = None, run: str | None = None, **parameters: Any) -> Step:
    """Where does this notebook read, where does it write, and are its parameters right?

    Parameters
    ----------
    name
        The stage, such as `value`.
    book
        The book's folder; None means the environment variable `CLIENTBOOK_BOOK`, else the default book.
    run
        The run whose tables are read; None means that of the environment variable `CLIENTBOOK_RUN`, which the runner sets,
        else the newest whole run. Only what the runner executes writes to its run: by hand it goes to `store/lab`.
    **parameters
        The stage's own; they are validated.

    Raises
    ------
    FaultError
        If the book is at fault.
    NothingToShow
        If the book lacks what the stage needs.
    UsageError
        If a parameter is unknown or out of its range.
    """
    stage = load_stage(name)
    opened = open_book(book)
    values = check_parameters(stage, parameters)
    under_way = os.environ.get(RUN_VARIABLE)
    if under_way is not None and run in (None, under_way):
        source = opened.store.run(under_way)
        return Step(stage, opened, source, source.folder, values)
    lab = opened.store.folder / "lab"
    if run is not None:
        return Step(stage, opened, opened.store.run(run), lab, values)
    source = None
    with contextlib.suppress(ClientbookError):
        source = opened.store.run("latest")
    return Step(stage, opened, source, lab, values)


def check_parameters(stage: Stage, given: Mapping[str, Any]) -> Parameters:
    """Validate a stage's parameters.

    Raises
    ------
    UsageError
        Naming each that is unknown or out of its range, with what is allowed.
    """
    try:
        return stage.parameters(**given)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"])
            if item["type"] == "extra_forbidden":
                known = ", ".join(stage.parameters.model_fields) or "none"
                lines.append(f"{stage.name} has no parameter {name!r}; it has: {known}.")
            else:
                lines.append(f"{stage.name}.{name}: {item['msg'][:1].lower()}{item['msg'][1:]}. It says {item['input']!r}.")
        raise UsageError("\n".join(lines)) from error
