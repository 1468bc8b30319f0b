"""How does a book become a run: which notebooks, in which order, and what became of each?"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import queue
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from clientbook import cache, failure, forkserver, history, ipynb, kernels, lock
from clientbook.book import BOOK_VARIABLE, LABELS, Book
from clientbook.failure import Failure
from clientbook.faults import ClientbookError, UsageError
from clientbook.memory import MEMORY_VARIABLE, SHARED_VARIABLE, share
from clientbook.sources.delivered import fingerprint
from clientbook.stage import (
    ENGINE_VARIABLE,
    FRESH_VARIABLE,
    LEADING,
    PERSONAL_VARIABLE,
    RUN_VARIABLE,
    Stage,
    check_parameters,
    engines_of,
    load_stage,
)
from clientbook.store import Run, clear_drafts, sweep, whole, write_json

_NOTEBOOK = re.compile(r"^(\d{2})_(\w+)$")
_VERSIONED = ("clientbook", "pandas", "ibis-framework", "duckdb", "lifetimes", "scikit-learn", "splink", "papermill")
# how often it is looked whether a notebook has handed over
_LOOK_SECONDS = 0.25
# who stops a run waits five seconds at most for it to end
_PATIENCE_SECONDS = 3.0
# what a step tells of itself and run.json repeats
_RECORDED = ("inputs", "rows", "key_numbers", "notes")


class NotebookFailed(ClientbookError):
    """A notebook ended with an exception, and the run with it.

    Attributes
    ----------
    failure
        How.
    """

    exit_code = 3

    def __init__(self, message: str, how: Failure):
        super().__init__(message)
        self.failure = how


class Stopped(ClientbookError):
    """Somebody ended the run.

    Parameters
    ----------
    number
        Of the signal.
    """

    def __init__(self, number: int):
        super().__init__("Stopped. What was done is kept: the next run goes on from there.")
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Notebook:
    """A notebook and the stage that it tells of.

    Parameters
    ----------
    name
        Such as `04_value`.
    path
        Where it lies.
    stage
        What it reads and writes.
    """

    name: str
    path: Path
    stage: Stage


@dataclass
class Progress:
    """How far is a notebook?

    Attributes
    ----------
    name
        Of the notebook.
    state
        `waiting`, `running`, `done`, `skipped` (the book lacks what it needs) or `failed`.
    reused
        The run whose result still holds and was taken over; None where the notebook was executed.
    cell, cells
        The code cell that runs, and how many there are.
    seconds
        Since it began.
    message
        Why it was skipped, or how it failed.
    """

    name: str
    state: str = "waiting"
    cell: int = 0
    cells: int = 0
    message: str = ""
    reused: str | None = None
    began: float | None = None
    took: float | None = field(default=None)

    @property
    def seconds(self) -> float:
        if self.took is not None:
            return self.took
        return time.monotonic() - self.began if self.began is not None else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a run left: the run itself, and where its report is."""

    run: Run
    report: Path


def notebooks_folder() -> Path:
    """Where the notebooks are: in an installed package, else beside `src`."""
    package = Path(__file__).parent
    inside = package / "notebooks"
    return inside if inside.is_dir() else package.parents[1] / "notebooks"


def notebooks(folder: Path | None = None) -> list[Notebook]:
    """Every notebook, in the order in which they can be executed: each after those whose tables it reads.

    Raises
    ------
    ClientbookError
        If a notebook has no module, or two wait for each other.
    """
    folder = folder or notebooks_folder()
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        match = _NOTEBOOK.match(path.stem)
        if match:
            found.append(Notebook(path.stem, path, load_stage(match[2])))
    return _in_order(found)


def select(known: Sequence[Notebook], only: Iterable[str]) -> list[Notebook]:
    """The named notebooks and those whose tables they read, in order; all if none is named.

    Raises
    ------
    UsageError
        If a name is not that of a notebook.
    """
    names = {alias: notebook for notebook in known for alias in (notebook.name, notebook.stage.name)}
    wanted, waiting = set(), []
    for name in only:
        if name not in names:
            raise UsageError(f"There is no notebook {name!r}. There are: {', '.join(n.name for n in known)}.")
        waiting.append(names[name])
    if not waiting:
        return list(known)
    while waiting:
        notebook = waiting.pop()
        if notebook.name not in wanted:
            wanted.add(notebook.name)
            waiting += _before(notebook, known)
    return [notebook for notebook in known if notebook.name in wanted]


def check_engine(engine: str) -> None:
    """Is there such an engine, and is what it needs installed?

    Parameters
    ----------
    engine
        `duckdb` or `spark`.

    Raises
    ------
    FaultError
        PySpark or Java is not installed.
    UsageError
        There is no such engine.
    """
    from clientbook.engine import ENGINES

    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}. There are: {', '.join(ENGINES)}.")
    if engine == "spark":
        from clientbook.engine.session import check_installed

        check_installed()


def on_spark(known: Iterable[Notebook]) -> dict[str, tuple[str, ...]]:
    """Which tables of which notebook does Spark make where that is asked for? `*` means all; the rest is DuckDB's."""
    return {each.name: each.stage.on_spark for each in sorted(known, key=lambda each: each.name)}


def parse_parameters(given: Iterable[str], known: Sequence[Notebook]) -> dict[str, dict[str, str]]:
    """Parameters as the command line has them, `value.horizon_days=180`, by stage.

    Raises
    ------
    UsageError
        If one is not of that form, or names no notebook or no parameter of it, or has a value out of its range.
    """
    stages = {alias: notebook.stage for notebook in known for alias in (notebook.name, notebook.stage.name)}
    told: dict[str, dict[str, str]] = {}
    for item in given:
        name, equals, value = item.partition("=")
        stage, dot, parameter = name.partition(".")
        if not (equals and dot and parameter):
            raise UsageError(f"{item!r} is not a parameter; write it as value.horizon_days=180.")
        if stage not in stages:
            raise UsageError(f"There is no notebook {stage!r}. There are: {', '.join(n.name for n in known)}.")
        told.setdefault(stages[stage].name, {})[parameter] = value
    for name, values in told.items():
        check_parameters(stages[name], values)
    return told


def run(
    book: Book,
    *,
    as_of: dt.date | None = None,
    only: Iterable[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    out: Path = Path("reports"),
    watch: Callable[[list[Progress]], None] = lambda steps: None,
    folder: Path | None = None,
    fresh: bool = False,
    jobs: int = 1,
    timeout: int | None = None,
    personal: bool = False,
    engine: str = "duckdb",
) -> Outcome:
    """Execute a book's notebooks as of a day, and publish the report if all of them end well.

    A notebook that an earlier run executed on the very same things is not executed again, and a run that was killed goes on
    where it stood.

    Parameters
    ----------
    book
        Whose.
    as_of
        Default: the book's, else the day after the newest thing seen.
    only
        Notebooks; none means all.
    parameters
        By stage name.
    out
        Where reports are.
    watch
        Called with the progress of every notebook whenever it changes.
    folder
        Where the notebooks are; default: Clientbook's own.
    fresh
        Execute every notebook, whatever is known.
    jobs
        How many notebooks that do not wait for each other run side by side.
    timeout
        Seconds that one cell may take; none means as long as it likes.
    personal
        Show names on the pages; every page is then marked.
    engine
        `duckdb` or `spark`. With Spark, notebooks run one after the other, each on a session of its own; those whose stage
        does not run on Spark work on this machine's DuckDB, from the tables that Spark wrote.

    Raises
    ------
    FaultError
        If the book or its data is at fault.
    HeldError
        If another run holds the book.
    NotebookFailed
        If a notebook ends with an exception. An earlier report stays then, and says that it is not the newest.
    Stopped
        On SIGINT or SIGTERM, within seconds, with no kernel left.
    UsageError
        If a notebook or parameter is not known.
    """
    if fresh or not (book.store.runs() or book.store.failed()):
        # nothing can be taken over: kernels import while this process does
        kernels.prepare()
    known = notebooks(folder)
    chosen = select(known, only)
    values = {n.stage.name: check_parameters(n.stage, (parameters or {}).get(n.stage.name, {})) for n in chosen}
    if jobs < 1 or (timeout is not None and timeout < 1):
        raise UsageError("jobs and timeout are whole numbers of 1 or more.")
    check_engine(engine)
    if any(LABELS in notebook.stage.book_files for notebook in chosen):
        from clientbook.matching import labels

        # what people wrote is read before an hour is spent on the rest
        labels.read(book.folder)
    with _signals(), lock.hold(book.store.folder, "run"):
        kernels.sweep()
        sweep(book.store.folder / "scratch")
        try:
            return _Execution(book, known, chosen, values, out, watch, fresh, jobs, timeout, personal, engine).run(as_of)
        finally:
            # what kernels staged is as large as the tables, and as personal
            sweep(book.store.folder / "scratch")


class _Execution:
    """A run under way."""

    def __init__(self, book, known, chosen, values, out, watch, fresh, jobs, timeout, personal, engine="duckdb"):
        self.book, self.known, self.chosen, self.values = book, known, chosen, values
        self.out, self.fresh, self.jobs, self.timeout, self.personal = out, fresh, jobs, timeout, personal
        self.engines = {notebook.name: "+".join(engines_of(notebook.stage, engine)) for notebook in chosen}
        self.engine, self.jobs = engine, self.jobs if engine == "duckdb" else 1
        self.steps = {notebook.name: Progress(notebook.name) for notebook in chosen}
        self.began = dt.datetime.now(dt.UTC)
        self.fingerprints = cache.Fingerprints.of(book.store.folder)
        self._watch, self._telling = watch, threading.Lock()
        self._threads: list[threading.Thread] = []
        self._alone: set[str] = set()
        # by notebook, by the one that began before it had ended: the tables that are read, with what is in them
        self._early: dict[str, dict[str, dict[str, str | None]]] = {}
        self._ending = False

    def run(self, as_of: dt.date | None) -> Outcome:
        store = self.book.store
        as_of = as_of or self.book.settings.as_of or self._newest()
        self.newest = next(iter(reversed(store.runs())), None)
        self.under_way = store.start(as_of)
        self._remember_killed()
        # what a killed run left stands first: it is the newest
        self.earlier = [] if self.fresh else [*store.abandoned(), *reversed(store.failed()), *reversed(store.runs())]
        self.info = self._info(as_of)
        write_json(self.under_way.folder / "run.json", {"state": "running", **self.info})
        try:
            self._execute_all()
            report = self._publish()
            self._close("done")
            self._replace_lists()
            ended = store.finish(self.under_way, whole=True)
            history.add(store.folder, self.entry)
        except BaseException as error:
            self._end_steps()
            self._fail(error)
            if failure.is_disk_full(error) and not isinstance(error, ClientbookError):
                raise ClientbookError(f"{failure.disk_full().what} {failure.disk_full().remedy}") from error
            raise
        for former in store.abandoned():
            store.finish(former, whole=False)
        with contextlib.suppress(OSError):
            store.prune(table.name for notebook in self.known for table in notebook.stage.tables if table.for_next)
        with contextlib.suppress(OSError):
            self.fingerprints.save()
        return Outcome(ended, report)

    def _replace_lists(self) -> None:
        """The lists to act on are the newest run's, and none stands that its notebooks no longer write."""
        store = self.book.store
        if self.newest is not None and self.newest.as_of > self.under_way.as_of:
            # a look back: nobody acts on how things stood
            return
        written = sorted((self.under_way.folder / "lists").glob("*.csv"))
        for file in written:
            with whole(store.folder / "lists" / file.name) as draft:
                shutil.copy(file, draft)
        former = {file for run in store.runs() for notebook in self.chosen for file in _lists_of(run, notebook.stage)}
        for name in sorted(former - {file.name for file in written}):
            (store.folder / "lists" / name).unlink(missing_ok=True)

    def _remember_killed(self) -> None:
        """A run that was killed could not say so itself."""
        for former in self.book.store.abandoned():
            told = former.info
            if told.get("state") == "running":
                told |= {"state": "killed", "message": "The run was killed, or the machine went down."}
                history.add(self.book.store.folder, history.entry(told, code={}, settings={}))
                write_json(former.folder / "run.json", told)

    def _newest(self) -> dt.date:
        """The day after the newest thing seen; looked up once for the same files."""
        today = dt.datetime.now(ZoneInfo(self.book.settings.timezone)).date()
        told = cache.delivered(self.book, self.fingerprints)
        settings = self.book.settings.model_dump(mode="json")
        wanted = told and cache.digest([told, settings, today.isoformat(), cache.code_of("cleaning")])
        file = self.book.store.folder / "as_of.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(file.read_text(encoding="utf-8"))
            if wanted and known["key"] == wanted:
                return dt.date.fromisoformat(known["as_of"])
        found = _newest(self.book, today)
        if wanted:
            write_json(file, {"key": wanted, "as_of": found.isoformat()})
        return found

    def _info(self, as_of: dt.date) -> dict[str, Any]:
        versioned = _VERSIONED if self.engine == "duckdb" else (*_VERSIONED, "pyspark")
        return {
            "run": self.under_way.name,
            "book": self.book.name,
            "name": self.book.settings.name,
            "as_of": as_of.isoformat(),
            "timezone": self.book.settings.timezone,
            "currency": self.book.settings.currency,
            "engine": self.engine,
            "shows_personal_data": self.personal,
            **({} if self.engine == "duckdb" else {"engines": self.engines, "made_on_spark": on_spark(self.chosen)}),
            "started": self.began.isoformat(timespec="seconds"),
            "parameters": {name: value.model_dump(mode="json") for name, value in self.values.items()},
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in versioned},
        }

    def _execute_all(self) -> None:
        """Every notebook as soon as those before it are done, in threads: signals reach the main one alone."""
        # before there are threads: two that import the same packages at one moment may each find half of them
        kernels.register()
        for notebook in self.chosen:
            cache.code_of_step(notebook.stage.name, notebook.path)
        cache.code_of("publish")
        before = _all_before(self.chosen)
        waiting = _by_followers(self.chosen, before)
        ended: queue.SimpleQueue = queue.SimpleQueue()
        over: set[str] = set()
        while len(over) < len(self.chosen):
            running = len(self.chosen) - len(waiting) - len(over)
            for notebook in [each for each in waiting if self._may_begin(each, over)][: self.jobs - running]:
                waiting.remove(notebook)
                if not running and all(notebook.name in before[each.name] for each in waiting):
                    self._alone.add(notebook.name)
                # a daemon: if a kernel cannot be ended, its thread must not keep the process
                thread = threading.Thread(target=self._step, args=(notebook, ended), daemon=True)
                self._threads.append(thread)
                thread.start()
            # neither signals nor what a notebook hands over may wait for its end
            with contextlib.suppress(queue.Empty):
                name, error = ended.get(timeout=_LOOK_SECONDS)
                if error is not None:
                    raise error
                over.add(name)

    def _may_begin(self, notebook: Notebook, over: set[str]) -> bool:
        """Have all notebooks whose tables it reads ended, or handed over what it reads of them?"""
        return all(
            before.name in over
            or (_reads_tables_alone(notebook, before) and _read_of(before, notebook) <= self._handed_over(before))
            for before in _before(notebook, self.chosen)
        )

    def _handed_over(self, notebook: Notebook) -> set[str]:
        return set(self.under_way.record(notebook.stage.name).get("handed_over", ()))

    def _step(self, notebook: Notebook, ended: queue.SimpleQueue) -> None:
        try:
            self._execute(notebook)
        except BaseException as error:
            ended.put((notebook.name, error))
        else:
            ended.put((notebook.name, None))
            executed = self.steps[notebook.name].reused is None
            if executed and any(step.state in ("waiting", "running") for step in self.steps.values()):
                self._ready(notebook)

    def _changed(self) -> None:
        with self._telling:
            self._watch(list(self.steps.values()))

    def _execute(self, notebook: Notebook) -> None:
        progress, run = self.steps[notebook.name], self.under_way
        progress.state, progress.began = "running", time.monotonic()
        self._changed()
        values = self.values[notebook.stage.name].model_dump(mode="json")
        digests = self._digests(notebook)
        wanted = cache.key(
            notebook.stage, notebook.path, run,
            book=self.book, parameters=values, fingerprints=self.fingerprints, digests=digests, personal=self.personal,
            engine=self.engines[notebook.name],
        )  # fmt: skip
        folders = [earlier.folder for earlier in self.earlier]
        remembers = notebook.stage.remembers
        found = cache.find_done(notebook.name, wanted, folders, self.newest, remembers=remembers)
        if found is not None:
            done, source = found
            cache.take_over(done, source, run.folder, notebook.name)
            progress.cells, progress.message, progress.reused = done.cells, done.message, done.run
            progress.took = round(time.monotonic() - progress.began, 3)
            progress.state = done.state
            self._changed()
            return
        try:
            progress.state = self._papermill(notebook, progress, values)
        finally:
            progress.took = round(time.monotonic() - progress.began, 3)
            self._changed()
        files = [f"notebooks/{notebook.name}.ipynb", *run.record(notebook.stage.name).get("written", ())]
        record = f"records/{notebook.stage.name}.json"
        done = cache.keep(
            run.folder, notebook.name, wanted, files + [record] * (run.folder / record).is_file(),
            state=progress.state, message=progress.message, cells=progress.cells, seconds=progress.took, run=run.name,
            past=self.newest.name if self.newest else "",
        )  # fmt: skip
        self._check_handed_over(notebook, done)

    def _check_handed_over(self, notebook: Notebook, done: cache.Done) -> None:
        """Is what others read before a notebook had ended what they would have read then?"""
        for after, read in list(self._early.get(notebook.name, {}).items()):
            for table in sorted(read):
                file = f"tables/{table}.parquet"
                if read[table] != (done.files[file][2] if file in done.files else None):
                    raise ClientbookError(f"{notebook.name} wrote {table!r} when it had handed over to {after}; hand over later.")

    def _ready(self, notebook: Notebook) -> None:
        """Make its page while other notebooks run: one after the other at the end they take as long as a notebook."""
        from clientbook import publish

        page = publish.Page(notebook.name, self.under_way.folder / "notebooks" / f"{notebook.name}.ipynb")
        publish.prepare(page, self.book.store.folder / "pages")

    def _digests(self, notebook: Notebook) -> dict[str, str]:
        """What the steps before left, and of those that still run the tables that this one reads."""
        early: dict[str, str] = {}
        for before in _before(notebook, self.chosen):
            if cache.read_done(self.under_way.folder, before.name) is None:
                files = {name: self.under_way.folder / "tables" / f"{name}.parquet" for name in _read_of(before, notebook)}
                read = {name: fingerprint(file) if file.is_file() else None for name, file in files.items()}
                self._early.setdefault(before.name, {})[notebook.name] = read
                early |= {f"tables/{name}.parquet": digest for name, digest in read.items() if digest}
        return early | {file: seen[2] for name in self.steps for file, seen in self._done(name)}

    def _done(self, name: str):
        done = cache.read_done(self.under_way.folder, name)
        return done.files.items() if done is not None else ()

    def _papermill(self, notebook: Notebook, progress: Progress, values: Mapping[str, Any]) -> str:
        """Execute a notebook; its state comes from the exception, since the file looks whole after a killed kernel too."""
        engine = kernels.register()
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        target = self.under_way.folder / "notebooks" / f"{notebook.name}.ipynb"
        draft = target.with_name(f".{target.name}")
        kernel: list[Any] = []
        try:
            papermill.execute_notebook(
                str(notebook.path),
                str(draft),
                parameters=values,
                # the book's path and the run's name are nobody's business on a page, so they go by the environment
                environment=self._environment(notebook),
                engine_name=engine,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                # papermill's own `cwd` moves the whole process, and with it the thread beside this one
                folder=str(self.book.folder),
                autosave_cell_every=0,
                execution_timeout=self.timeout,
                progress=progress,
                changed=self._changed,
                started=kernel.append,
                later=[n.stage.name for n in self.chosen if self.steps[n.name].state == "waiting"],
            )
            _settle(draft, target)
            return "done"
        except PapermillExecutionError as error:
            if error.ename in _nothing_to_show():
                progress.message = error.evalue
                _shorten(draft, error.evalue)
                _settle(draft, target)
                return "skipped"
            how = failure.of_exception(error.ename, error.evalue, error.traceback)
        except DeadKernelError:
            how = failure.of_kernel(kernels.exit_status(kernel[-1]) if kernel else None)
        except CellTimeoutError:
            how = failure.of_time(self.timeout)
        except Exception as error:
            how = failure.of_exception(type(error).__name__, str(error))
        if self._ending:
            # its kernel was ended because the run ends for another reason, which is the one to tell
            how = failure.stopped("with the run")
            progress.state, progress.message = "waiting", "stopped"
        else:
            progress.state, progress.message = "failed", how.what
        with contextlib.suppress(OSError):
            draft.replace(target)
        raise NotebookFailed(
            f"{notebook.name} failed in cell {progress.cell} of {progress.cells}. {how.what}\n{how.remedy}\n"
            f"Nothing was published. The notebook is kept: "
            f"{self.book.store.folder / 'failed' / self.under_way.name / 'notebooks' / target.name}",
            how,
        )

    def _environment(self, notebook: Notebook) -> dict[str, str]:
        told = forkserver.ONE_THREAD | os.environ
        for name in (PERSONAL_VARIABLE, FRESH_VARIABLE):
            told.pop(name, None)
        told |= {BOOK_VARIABLE: str(self.book.folder), RUN_VARIABLE: self.under_way.name, ENGINE_VARIABLE: self.engine}
        if MEMORY_VARIABLE not in told:
            # what one notebook alone may take is shared by those that run side by side
            told[MEMORY_VARIABLE] = shared = f"{share(min(self.jobs, len(self.chosen)))}B"
            if notebook.name in self._alone:
                told |= {MEMORY_VARIABLE: f"{share()}B", SHARED_VARIABLE: shared}
        asked = {PERSONAL_VARIABLE: self.personal, FRESH_VARIABLE: self.fresh}
        return told | {name: "1" for name, is_so in asked.items() if is_so}

    def _end_steps(self) -> None:
        """No kernel is left, and no thread that would write where others read by then."""
        self._ending = True
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < deadline:
            # one that was about to start has its kernel only now
            kernels.kill_all()
            time.sleep(0.05)

    def _publish(self) -> Path:
        from clientbook import publish

        self._tell("done")
        return publish.publish(*_site(self), self.out)

    def _tell(self, state: str, message: str = "") -> None:
        """Gather what `run.json` says and what is remembered of the run."""
        recorded: dict[str, Any] = {}
        for name in self.steps:
            stage = _NOTEBOOK.match(name)[2]
            record = self.under_way.record(stage)
            for part in _RECORDED:
                rows = record.get(part, ())
                recorded.setdefault(part, []).extend({"stage": stage, **row} if part == "key_numbers" else row for row in rows)
        ended = dt.datetime.now(dt.UTC)
        self.told = {
            **self.info,
            "state": state,
            **({"message": message} if message else {}),
            "ended": ended.isoformat(timespec="seconds"),
            "seconds": round((ended - self.began).total_seconds(), 3),
            "notebooks": {
                step.name: {
                    "state": step.state, "seconds": round(step.seconds, 3), "cells": step.cells, "message": step.message,
                    "reused": step.reused,
                }
                for step in self.steps.values()
            },
            "tables": _sizes(self.under_way),
            **recorded,
        }  # fmt: skip
        code = {n.name: cache.digest([cache.cells_of(n.path), cache.code_of_step(n.stage.name, n.path)]) for n in self.chosen}
        settings = self.book.settings.model_dump(mode="json")
        self.entry = history.entry(self.told, code=code, settings={k: cache.digest(v) for k, v in settings.items()})

    def _close(self, state: str, message: str = "") -> None:
        self._tell(state, message)
        write_json(self.under_way.folder / "run.json", self.told)

    def _fail(self, error: BaseException) -> None:
        """Leave everything as a morning's reader needs it; with a full disk, as much of it as there is room for."""
        store = self.book.store
        if isinstance(error, NotebookFailed):
            how = error.failure
        elif isinstance(error, Stopped):
            how = failure.stopped("by hand" if error.exit_code == 130 else "by a signal")
        elif failure.is_disk_full(error):
            how = failure.disk_full()
        else:
            how = failure.of_exception(type(error).__name__, str(error))
        told = isinstance(error, (NotebookFailed, Stopped))
        for step in self.steps.values():
            if step.state == "running":
                step.state, step.message = ("waiting", "stopped") if told else ("failed", how.what)
                step.took = round(step.seconds, 3)
        if how.kind == "disk":
            # what was computed could be computed again; the room that it takes is needed to say so
            for part in ("tables", "models", "lists"):
                shutil.rmtree(self.under_way.folder / part, ignore_errors=True)
        # a kernel that was killed may have been writing
        with contextlib.suppress(OSError):
            clear_drafts(self.under_way.folder)
        with contextlib.suppress(OSError):
            self._close("failed", how.what)
        with contextlib.suppress(OSError):
            store.finish(self.under_way, whole=False)
        with contextlib.suppress(OSError):
            history.add(store.folder, self.entry)
            if how.kind != "stopped":
                self._publish_failure(how)

    def _publish_failure(self, how: Failure) -> None:
        from clientbook import publish
        from clientbook.site import numbers

        past = history.read(self.book.store.folder)
        bad = []
        for each in reversed(past):
            if each["state"] == "done":
                break
            bad.append(each)
        good = history.whole_runs(past)
        zone = ZoneInfo(self.book.settings.timezone)
        since = dt.datetime.fromisoformat(bad[-1]["started"]).astimezone(zone) if bad else self.began.astimezone(zone)
        step = next((name for name, one in self.steps.items() if one.state == "failed"), "")
        notebook = self.book.store.folder / "failed" / self.under_way.name / "notebooks" / f"{step}.ipynb"
        told = publish.Failed(
            failure=how,
            step=step.partition("_")[2].replace("_", " "),
            since=f"{numbers.date(since.date())}, {since:%H:%M}",
            times=max(len(bad), 1),
            last_good=numbers.date(dt.date.fromisoformat(good[-1]["as_of"])) if good else None,
            kept=notebook.relative_to(self.book.folder).as_posix() if step and notebook.is_file() else None,
        )
        site = publish.Site(
            title=self.book.settings.name, book=self.book.name, as_of=self.under_way.as_of, run=self.under_way.name
        )
        publish.publish_failure(site, told, self.out)


def describe_parameters(known: Sequence[Notebook]) -> list[tuple[str, str, str, str]]:
    """Every parameter as (`value.horizon_days`, type, default, meaning)."""
    return [
        (f"{n.stage.name}.{name}", _type_name(f.annotation), "none" if f.default is None else str(f.default), f.description)
        for n in known
        for name, f in n.stage.parameters.model_fields.items()
    ]


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM end a run in order; outside the main thread they are not ours to take."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [signal.SIGINT, signal.SIGTERM]

    def stop(number: int, frame: Any) -> None:
        raise Stopped(number)

    former = [(number, signal.signal(number, stop)) for number in taken]
    try:
        yield
    finally:
        for number, handler in former:
            signal.signal(number, handler)


def _nothing_to_show() -> set[str]:
    from clientbook.stage import NothingToShow

    names, waiting = set(), [NothingToShow]
    while waiting:
        kind = waiting.pop()
        names.add(kind.__name__)
        waiting += kind.__subclasses__()
    return names


def _shorten(path: Path, message: str) -> None:
    """A page that says what is missing, in place of the cell that found it and of all that would follow."""
    from nbformat.v4 import new_output

    from clientbook import charts

    notebook = ipynb.read(path)
    at = next(
        i for i, cell in enumerate(notebook.cells) if any(output["output_type"] == "error" for output in cell.get("outputs", ()))
    )
    data, shown = charts.answer(message)._repr_mimebundle_()
    notebook.cells[at].outputs = [new_output("display_data", data=data, metadata=shown)]
    # papermill puts a cell of its own on top that says where it failed
    notebook.cells = [
        cell for cell in notebook.cells[: at + 1] if "papermill-error-cell-tag" not in cell.metadata.get("tags", ())
    ]
    ipynb.write(notebook, path)


def _settle(draft: Path, target: Path) -> None:
    """Show an executed notebook; two runs of the same book leave the same: when a cell ran is in run.json, not in it."""
    notebook = ipynb.read(draft)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    with whole(target) as place:
        ipynb.write(notebook, place)
    draft.unlink()


def _made(book: Book) -> Path | None:
    """The folder of a made company, which brings its truth; None for any other book."""
    return book.folder if (book.folder / "truth" / "DATA_DICTIONARY.md").is_file() else None


def _site(run: _Execution):
    from clientbook.publish import Page, Site

    book, under_way = run.book, run.under_way
    read_first = sorted(run.chosen, key=lambda notebook: notebook.name)
    past = [*history.read(book.store.folder), run.entry]
    numbers = [
        number
        | ({"unit": book.settings.currency} if number.get("unit") == "money" else {})
        | {"past": history.series(past, notebook.stage.name, number["name"])}
        for notebook in read_first
        for number in under_way.record(notebook.stage.name).get("key_numbers", ())[:LEADING]
        if run.steps[notebook.name].state == "done"
    ]
    notes = [note for n in read_first for note in under_way.record(n.stage.name).get("notes", ())]
    pages = book.store.folder / "pages"
    site = Site(
        title=book.settings.name,
        book=book.name,
        as_of=under_way.as_of,
        run=under_way.name,
        key_numbers=numbers,
        notes=notes,
        dictionary=_dictionary(run, pages),
        changes=_changes(run, past[:-1]),
        personal=run.personal,
        pages=pages,
    )
    return site, [Page(n.name, under_way.folder / "notebooks" / f"{n.name}.ipynb") for n in read_first]


def _changes(run: _Execution, past: Sequence[Mapping[str, Any]]):
    from clientbook.publish import since
    from clientbook.site import numbers

    told = []
    last, year = history.before(past, run.entry), history.a_year_before(past, run.entry)
    for words, then in (("the last run", last), ("the same day last year", year)):
        if then is None or (words != "the last run" and then is last):
            continue
        day = numbers.date(dt.date.fromisoformat(then["as_of"]))
        title = f"What changed since {words}, as of {day}"
        found = history.changes([*past, run.entry], run.entry, then)
        told.append(since(title, found, history.reasons(run.entry, then), run.book.settings.currency))
    return told


def _dictionary(run: _Execution, kept: Path) -> list[dict[str, Any]]:
    """The data dictionary; drawing the made company beside real ones takes a second, so it is kept."""
    from clientbook import dictionary, publish

    made = _made(run.book)
    truth = [run.fingerprints[path] for path in sorted((made / "truth").glob("*"))] if made else []
    stages = [cache.code_of(n.stage.name) for n in run.known]
    file = kept / f"dictionary-{cache.digest([truth, stages, cache.code_of('dictionary'), cache.packages()])}.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8"))["groups"]
    told = publish.described(dictionary.groups([n.stage for n in run.known], made))
    for old in kept.glob("dictionary-*.json"):
        old.unlink()
    write_json(file, {"groups": told})
    return told


def _lists_of(run: Run, stage: Stage) -> list[str]:
    """The names of the lists that a stage left in a run."""
    files = run.record(stage.name).get("written", ())
    return [file.removeprefix("lists/") for file in files if file.startswith("lists/")]


def _sizes(under_way: Run) -> dict[str, dict[str, int]]:
    import pyarrow.parquet as pq

    told = {}
    for table in under_way.tables:
        path = under_way.path(table)
        told[table] = {"rows": pq.read_metadata(path).num_rows, "bytes": path.stat().st_size}
    return told


def _newest(book: Book, today: dt.date) -> dt.date:
    from clientbook import cleaning
    from clientbook.engine import open as open_engine

    with open_engine("duckdb", scratch=book.store.folder / "scratch") as engine:
        return cleaning.default_as_of(cleaning.load(book, engine), today, book.settings.timezone)


def _before(notebook: Notebook, known: Sequence[Notebook]) -> list[Notebook]:
    read = {*notebook.stage.needs, *notebook.stage.uses}
    return [
        other
        for other in known
        if other.name != notebook.name and (("*" in read and "*" not in other.stage.uses) or read & set(other.stage.writes))
    ]


def _read_of(before: Notebook, after: Notebook) -> set[str]:
    """Which tables does one notebook read of another?"""
    return {*after.stage.needs, *after.stage.uses} & set(before.stage.writes)


def _reads_tables_alone(after: Notebook, before: Notebook) -> bool:
    """Are named tables all that one notebook reads of another, so that it need not wait for the other's end?"""
    return "*" not in (*after.stage.needs, *after.stage.uses) and not {"*", before.stage.name} & set(after.stage.hears)


def _all_before(chosen: Sequence[Notebook]) -> dict[str, set[str]]:
    """For which others does each notebook wait, also by way of others?"""
    before = {notebook.name: {each.name for each in _before(notebook, chosen)} for notebook in chosen}
    for notebook in chosen:
        # in order, so that what stands before those before is known
        before[notebook.name] |= {name for each in before[notebook.name] for name in before[each]}
    return before


def _by_followers(chosen: Sequence[Notebook], before: Mapping[str, set[str]]) -> list[Notebook]:
    """Those first for which the most others wait, also by way of others; else in order."""
    return sorted(chosen, key=lambda each: -sum(each.name in others for others in before.values()))


def _in_order(found: Sequence[Notebook]) -> list[Notebook]:
    from graphlib import CycleError, TopologicalSorter

    by_name = {notebook.name: notebook for notebook in found}
    sorter = TopologicalSorter({n.name: sorted(b.name for b in _before(n, found)) for n in found})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ClientbookError(f"These notebooks wait for each other: {', '.join(sorted(set(error.args[1])))}.") from error
    order = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += [by_name[name] for name in ready]
        sorter.done(*ready)
    return order


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _type_name(annotation: Any) -> str:
    names = {"int": "whole number", "float": "number", "str": "text", "bool": "yes or no", "NoneType": "none"}
    kinds = getattr(annotation, "__args__", None) or (annotation,)
    return " or ".join(names.get(getattr(kind, "__name__", ""), str(kind)) for kind in kinds)
