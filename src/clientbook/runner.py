"""How does a book become a run: which notebooks, in which order, and what became of each?"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from clientbook.book import BOOK_VARIABLE, Book
from clientbook.faults import ClientbookError, UsageError
from clientbook.privacy import redact
from clientbook.stage import LEADING, Stage, check_parameters, load_stage
from clientbook.store import Run, whole, write_json

_NOTEBOOK = re.compile(r"^(\d{2})_(\w+)$")
_VERSIONED = ("clientbook", "pandas", "ibis-framework", "duckdb", "lifetimes", "scikit-learn", "splink", "papermill")
# what a step tells of itself and run.json repeats
_RECORDED = ("inputs", "rows", "key_numbers", "notes")


class NotebookFailed(ClientbookError):
    """A notebook ended with an exception, and the run with it."""

    exit_code = 3


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
) -> Outcome:
    """Execute a book's notebooks as of a day, and publish the report if all of them end well.

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

    Raises
    ------
    FaultError
        If the book or its data is at fault.
    NotebookFailed
        If a notebook ends with an exception. Nothing is published then, and an earlier report stays.
    UsageError
        If a notebook or parameter is not known.
    """
    from clientbook import publish

    known = notebooks(folder)
    chosen = select(known, only)
    values = {n.stage.name: check_parameters(n.stage, (parameters or {}).get(n.stage.name, {})) for n in chosen}
    as_of = as_of or book.settings.as_of or _newest(book)
    began = dt.datetime.now(dt.UTC)
    shutil.rmtree(book.store.folder / "scratch", ignore_errors=True)
    under_way = book.store.start(as_of)
    steps = [Progress(notebook.name) for notebook in chosen]
    info: dict[str, Any] = {
        "run": under_way.name,
        "book": book.name,
        "name": book.settings.name,
        "as_of": as_of.isoformat(),
        "timezone": book.settings.timezone,
        "currency": book.settings.currency,
        "engine": "duckdb",
        "started": began.isoformat(timespec="seconds"),
        "parameters": {name: value.model_dump(mode="json") for name, value in values.items()},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _VERSIONED},
    }
    try:
        for notebook, progress in zip(chosen, steps, strict=True):
            _execute(notebook, book, under_way, values[notebook.stage.name], progress, lambda: watch(steps))
        report = publish.publish(*_site(book, under_way, known, chosen, steps), out)
    except BaseException as error:
        info["message"] = str(error) if isinstance(error, ClientbookError) else f"stopped by {type(error).__name__}"
        _close(under_way, info, steps, began, "failed")
        book.store.finish(under_way, whole=False)
        raise
    _close(under_way, info, steps, began, "done")
    for file in sorted((under_way.folder / "lists").glob("*.csv")):
        with whole(book.store.folder / "lists" / file.name) as draft:
            shutil.copy(file, draft)
    return Outcome(book.store.finish(under_way, whole=True), report)


def describe_parameters(known: Sequence[Notebook]) -> list[tuple[str, str, str, str]]:
    """Every parameter as (`value.horizon_days`, type, default, meaning)."""
    return [
        (f"{n.stage.name}.{name}", _type_name(f.annotation), "none" if f.default is None else str(f.default), f.description)
        for n in known
        for name, f in n.stage.parameters.model_fields.items()
    ]


def _execute(notebook, book, under_way, values, progress: Progress, changed: Callable[[], None]) -> None:
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    _register_engine()
    progress.state, progress.began = "running", time.monotonic()
    changed()
    target = under_way.folder / "notebooks" / f"{notebook.name}.ipynb"
    draft = under_way.folder / "notebooks" / f".{notebook.name}.ipynb"
    try:
        papermill.execute_notebook(
            str(notebook.path),
            str(draft),
            # the book's path is nobody's business on a page, so it goes by the environment
            parameters={"run": under_way.name, **values.model_dump(mode="json")},
            environment=os.environ | {BOOK_VARIABLE: str(book.folder)},
            engine_name="clientbook",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(book.folder),
            autosave_cell_every=0,
            progress=progress,
            changed=changed,
        )
        progress.state = "done"
    except PapermillExecutionError as error:
        if error.ename in _nothing_to_show():
            progress.state, progress.message = "skipped", error.evalue
            _shorten(draft, error.evalue)
        else:
            progress.state = "failed"
            progress.message = f"{error.ename}: {_first_line(error.evalue)}"
            raise NotebookFailed(
                f"{notebook.name} failed in cell {progress.cell} of {progress.cells}. {progress.message}\n"
                f"Nothing was published. The notebook is kept: "
                f"{book.store.folder / 'failed' / under_way.name / 'notebooks' / target.name}"
            ) from None
    except KeyboardInterrupt:
        progress.state, progress.message = "failed", "stopped by hand"
        raise
    except Exception as error:
        # whatever else nbclient raises (a dead kernel, a time-out) leaves a notebook that looks whole
        progress.state = "failed"
        progress.message = _plainly(error)
        raise NotebookFailed(
            f"{notebook.name} failed in cell {progress.cell} of {progress.cells}. {progress.message}\n"
            f"Nothing was published."
        ) from error
    finally:
        progress.took = round(time.monotonic() - progress.began, 3)
        if draft.is_file():
            draft.replace(target)
        changed()
    _forget_times(nbformat, target)


def _plainly(error: Exception) -> str:
    name = type(error).__name__
    if name == "DeadKernelError":
        return "Its kernel died: it was killed, most often because memory ran out."
    if name == "CellTimeoutError":
        return "A cell took longer than is allowed."
    return f"{name}: {_first_line(str(error))}"


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
    import nbformat

    from clientbook import charts

    notebook = nbformat.read(path, as_version=4)
    at = next(
        i
        for i, cell in enumerate(notebook.cells)
        if any(output["output_type"] == "error" for output in cell.get("outputs", ()))
    )
    data, shown = charts.answer(message)._repr_mimebundle_()
    notebook.cells[at].outputs = [nbformat.v4.new_output("display_data", data=data, metadata=shown)]
    # papermill puts a cell of its own on top that says where it failed
    notebook.cells = [
        cell for cell in notebook.cells[: at + 1] if "papermill-error-cell-tag" not in cell.metadata.get("tags", ())
    ]
    nbformat.write(notebook, path)


def _forget_times(nbformat, path: Path) -> None:
    """Two runs of the same book leave the same notebooks: when a cell ran is in run.json, not in it."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    with whole(path) as draft:
        nbformat.write(notebook, draft)


def _made(book: Book) -> Path | None:
    """The folder of a made company, which brings its truth; None for any other book."""
    return book.folder if (book.folder / "truth" / "DATA_DICTIONARY.md").is_file() else None


def _site(
    book: Book, under_way: Run, known: Sequence[Notebook], chosen: Sequence[Notebook], steps: Sequence[Progress]
):
    from clientbook import dictionary
    from clientbook.publish import Page, Site

    states = {step.name: step.state for step in steps}
    read_first = sorted(chosen, key=lambda notebook: notebook.name)
    numbers = [
        number | ({"unit": book.settings.currency} if number.get("unit") == "money" else {})
        for notebook in read_first
        for number in under_way.record(notebook.stage.name).get("key_numbers", ())[:LEADING]
        if states[notebook.name] == "done"
    ]
    notes = [note for n in read_first for note in under_way.record(n.stage.name).get("notes", ())]
    site = Site(
        title=book.settings.name,
        book=book.name,
        as_of=under_way.as_of,
        run=under_way.name,
        key_numbers=numbers,
        notes=notes,
        dictionary=dictionary.groups([n.stage for n in known], _made(book)),
    )
    pages = [Page(n.name, under_way.folder / "notebooks" / f"{n.name}.ipynb") for n in read_first]
    return site, pages


def _close(under_way: Run, info: dict[str, Any], steps: Sequence[Progress], began: dt.datetime, state: str) -> None:
    recorded: dict[str, Any] = {}
    for step in steps:
        record = under_way.record(_NOTEBOOK.match(step.name)[2])
        for name in _RECORDED:
            recorded.setdefault(name, []).extend(record.get(name, ()))
    ended = dt.datetime.now(dt.UTC)
    told = {
        "state": state,
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - began).total_seconds(), 3),
        "notebooks": {
            step.name: {"state": step.state, "seconds": step.seconds, "cells": step.cells, "message": step.message}
            for step in steps
        },
        "tables": _sizes(under_way),
    }
    write_json(under_way.folder / "run.json", info | told | recorded)


def _sizes(under_way: Run) -> dict[str, dict[str, int]]:
    import pyarrow.parquet as pq

    told = {}
    for table in under_way.tables:
        path = under_way.path(table)
        told[table] = {"rows": pq.read_metadata(path).num_rows, "bytes": path.stat().st_size}
    return told


def _newest(book: Book) -> dt.date:
    from clientbook import cleaning
    from clientbook.engine import open as open_engine

    today = dt.datetime.now(ZoneInfo(book.settings.timezone)).date()
    with open_engine("duckdb", scratch=book.store.folder / "scratch") as engine:
        return cleaning.default_as_of(cleaning.load(book, engine), today, book.settings.timezone)


def _before(notebook: Notebook, known: Sequence[Notebook]) -> list[Notebook]:
    read = {*notebook.stage.needs, *notebook.stage.uses}
    return [
        other
        for other in known
        if other.name != notebook.name and ("*" in read and "*" not in other.stage.uses or read & set(other.stage.writes))
    ]


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


def _first_line(text: str) -> str:
    return redact(next((line.strip() for line in str(text).splitlines() if line.strip()), ""))[:400]


def _type_name(annotation: Any) -> str:
    names = {"int": "whole number", "float": "number", "str": "text", "bool": "yes or no", "NoneType": "none"}
    kinds = getattr(annotation, "__args__", None) or (annotation,)
    return " or ".join(names.get(getattr(kind, "__name__", ""), str(kind)) for kind in kinds)


def _register_engine() -> None:
    from papermill.engines import papermill_engines

    if "clientbook" in papermill_engines._engines:
        return
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from papermill.engines import NBClientEngine

    class OwnKernel(AsyncKernelManager):
        """The Python that runs Clientbook, whatever kernels a user has installed, over sockets that nobody else sees."""

        environment: Mapping[str, str] = {}

        def __init__(self, **options: Any):
            if sys.platform != "win32":
                self._sockets = tempfile.mkdtemp(prefix="clientbook-")
                options |= {"transport": "ipc", "ip": f"{self._sockets}/kernel"}
            super().__init__(**options)

        async def _async_start_kernel(self, **options: Any) -> None:
            # what a kernel mutters belongs neither on the terminal nor in a log: it may quote data
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            await super()._async_start_kernel(**options | quiet | {"env": self.environment})

        start_kernel = _async_start_kernel

        async def _async_cleanup_resources(self, restart: bool = False) -> None:
            await super()._async_cleanup_resources(restart)
            if not restart and sys.platform != "win32":
                shutil.rmtree(self._sockets, ignore_errors=True)

        cleanup_resources = _async_cleanup_resources

        @property
        def kernel_spec(self) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="Clientbook", language="python")

    class WatchedEngine(NBClientEngine):
        """Papermill's own engine, telling which cell runs."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, *, progress, changed, environment, **options):
            code = [cell for cell in nb_man.nb.cells if cell.cell_type == "code"]
            progress.cells = len(code)
            begin = nb_man.cell_start

            def cell_start(cell, cell_index=None, **more):
                if cell.cell_type == "code":
                    progress.cell += 1
                    changed()
                return begin(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            options["kernel_manager_class"] = type("Kernel", (OwnKernel,), {"environment": environment})
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("clientbook", WatchedEngine)

