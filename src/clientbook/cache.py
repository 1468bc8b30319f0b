"""What of earlier runs still holds, so that it need not be computed again?

A step is known by everything that it could have looked at: its notebook, the code that the notebook leads to, its
parameters, the day, the book's settings, the packages, and the content of what it reads. A step with the same key leaves
the same tables, so those of the earlier run are taken over. Whatever cannot be told for certain is computed again.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache as remembered
from pathlib import Path
from typing import Any

from clientbook.book import Book
from clientbook.faults import ClientbookError
from clientbook.sources.delivered import fingerprint
from clientbook.sources.finding import find, shown_as
from clientbook.stage import Stage
from clientbook.store import Run, whole, write_json
from clientbook.suppression import LIST as SUPPRESSED

PACKAGE = Path(__file__).parent
FOLDER = "steps"
FINGERPRINTS = "fingerprints.json"
# A file that changed just before it was hashed may change again within the same tick of its clock.
_SETTLED_SECONDS = 2.0
_IMPORT = re.compile(r"^[ \t]*((?:from[ \t]+[.\w]+[ \t]+)?import[ \t]+(?:\([^()]*\)|[\w., \t*]+|[(\\]))", re.MULTILINE)
# CPython 3.11 counts the depth of a tree for all threads together, and fails if two parse at once (python/cpython#106905)
_parser = threading.Lock()


@dataclass(frozen=True)
class Done:
    """A step that ended well, as the run that executed it tells it.

    Parameters
    ----------
    key
        What it was computed from.
    state
        `done` or `skipped`.
    message
        Why it was skipped.
    cells
        How many code cells it has.
    seconds
        What it took when it was executed.
    run
        The run that executed it.
    past
        The newest whole run there was by then; empty where there was none.
    files
        By the path in the run's folder: size, time of change (nanoseconds), SHA-256.
    """

    key: str
    state: str
    message: str
    cells: int
    seconds: float
    run: str
    past: str
    files: Mapping[str, tuple[int, int, str]]

    def is_whole(self, folder: Path) -> bool:
        """Whether all that the step left is there as it was left; an erasure, for one, changes it."""
        for name, (size, changed, _) in self.files.items():
            try:
                found = (folder / name).stat()
            except OSError:
                return False
            if (found.st_size, found.st_mtime_ns) != (size, changed):
                return False
        return True


@dataclass
class Fingerprints:
    """The content of files by SHA-256; what did not change since it was last read is not read again.

    Parameters
    ----------
    file
        Where they are kept.
    """

    file: Path
    known: dict[str, list] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Path) -> Fingerprints:
        """Those of a book's store; a list that cannot be read is as good as none."""
        file = store / FINGERPRINTS
        try:
            return cls(file, json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return cls(file)

    def __getitem__(self, path: Path) -> str:
        found = path.stat()
        seen = [found.st_size, found.st_mtime_ns, found.st_ino]
        known = self.known.get(str(path))
        if known is not None and known[:3] == seen:
            return known[3]
        content = fingerprint(path)
        if time.time() - found.st_mtime > _SETTLED_SECONDS:
            self.known[str(path)] = [*seen, content]
        return content

    def save(self) -> None:
        """Keep them for the next run."""
        write_json(self.file, self.known)


def key(
    stage: Stage,
    notebook: Path,
    run: Run,
    *,
    book: Book,
    parameters: Mapping[str, Any],
    fingerprints: Fingerprints,
    digests: Mapping[str, str],
    personal: bool = False,
    engine: str = "duckdb",
) -> str:
    """What tells this step from any other?

    Parameters
    ----------
    stage
        What it reads.
    notebook
        As the analyst left it.
    run
        The run under way, with the tables of the steps before.
    book
        Its settings count, and for a stage that reads the delivered files their content.
    parameters
        Of the stage, plain.
    fingerprints
        Of the book's files.
    digests
        Of what the steps before left, by the path in the run's folder.
    personal
        Whether names are shown.
    engine
        That works on its tables.

    Returns
    -------
    str
        A SHA-256; empty where it cannot be told, and the step has to be executed.
    """
    files = delivered(book, fingerprints) if stage.reads_files else []
    if files is None:
        return ""
    tables = run.tables if "*" in stage.uses else sorted({*stage.needs, *stage.uses} & set(run.tables))
    told = {
        "notebook": cells_of(notebook),
        "code": code_of_step(stage.name, notebook),
        # who tells of the other stages may look at how they declare themselves
        "stages": [code_of(path.stem[3:]) for path in sorted(notebook.parent.glob("*.ipynb")) if stage.hears],
        "packages": packages(),
        "parameters": dict(parameters),
        "as_of": run.as_of.isoformat(),
        "personal": personal,
        "engine": engine,
        "book": book.settings.model_dump(mode="json"),
        "tables": {name: digests[f"tables/{name}.parquet"] for name in tables},
        "heard": {name: digests[name] for name in sorted(digests) if _hears(stage, name)},
        "truth": [[path.name, fingerprints[path]] for path in sorted((book.folder / "truth").glob("*"))],
        "files": files,
    }
    kept = [book.folder / name for name in stage.book_files]
    told["book_files"] = [[path.name, fingerprints[path]] for path in kept if path.is_file()]
    return digest(told)


def find_done(
    name: str, wanted: str, folders: Iterable[Path], newest: Run | None, *, remembers: bool
) -> tuple[Done, Path] | None:
    """Where was this very step executed before, and what did it leave?

    Parameters
    ----------
    name
        The notebook's.
    wanted
        The step's key.
    folders
        Of runs, those to be preferred first.
    newest
        The newest whole run, if there is one.
    remembers
        Whether the step looks at earlier runs. Its result then holds if those are the same, or if it is the newest run's own:
        a run on the very same things is no new observation.
    """
    past = newest.name if newest else ""
    for folder in folders if wanted else ():
        done = read_done(folder, name)
        if done is None or done.key != wanted or not done.is_whole(folder):
            continue
        if not remembers or done.past == past or (newest and folder == newest.folder):
            return done, folder
    return None


def read_done(folder: Path, name: str) -> Done | None:
    """What a run's folder says of a step; None if it did not end well there."""
    try:
        told = json.loads((folder / FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        return Done(**told | {"files": {file: tuple(seen) for file, seen in told["files"].items()}})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def take_over(done: Done, source: Path, target: Path, name: str) -> None:
    """Put what a step left into another run's folder.

    The two share the files on disk where the file system can; every writer of the store writes beside and renames, so
    that neither sees what becomes of the other.
    """
    # a record says what is handed over: whoever waits for that begins as soon as it is there, and needs the tables by then
    for file in sorted(done.files, key=lambda file: (file.startswith("records/"), file)):
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(source / file, place)
        except OSError:
            with whole(place) as draft:
                shutil.copy2(source / file, draft)
    kept = {file: _seen(target / file, digest) for file, (_, _, digest) in done.files.items()}
    write_json(target / FOLDER / f"{name}.json", asdict(done) | {"files": kept})


def keep(folder: Path, name: str, wanted: str, files: Sequence[str], **told: Any) -> Done:
    """Write down that a step ended well, and what it left.

    Parameters
    ----------
    folder
        The run's.
    name
        The notebook's.
    wanted
        The step's key.
    files
        What it wrote, as paths in the run's folder.
    **told
        The other fields of :class:`Done`.
    """
    seen = {file: _seen(folder / file, fingerprint(folder / file)) for file in sorted(set(files))}
    done = Done(key=wanted, files=seen, **told)
    write_json(folder / FOLDER / f"{name}.json", asdict(done))
    return done


def delivered(book: Book, fingerprints: Fingerprints) -> list[list[str]] | None:
    """Which files does the book read, and what is in them?

    Returns
    -------
    list of list of str
        Source, table, path and SHA-256 of each, and the list of those to be forgotten; None where something is missing or
        comes out of a database, whose content nobody can tell beforehand.
    """
    told = []
    try:
        for source, table, _, delivery in book.deliveries():
            if delivery.path is None:
                return None
            told += [
                [source, table, shown_as(book.folder, delivery.path, path), fingerprints[path]]
                for path in find(book.folder, delivery.path)
            ]
        for path in (book.store.folder / SUPPRESSED,):
            if path.is_file():
                told.append(["", "", path.name, fingerprints[path]])
    except (OSError, ClientbookError):
        return None
    return told


@remembered
def packages() -> str:
    """Which packages are installed, in which versions, below which Python?"""
    names = {path.name for entry in sys.path for path in Path(entry or ".").glob("*.dist-info")}
    return digest([platform.python_version(), platform.machine(), *sorted(names)])


@remembered
def code_of(module: str, *others: str) -> str:
    """The code of a module of this package and of all that it leads to.

    Parameters
    ----------
    module
        Its name below `clientbook`.
    others
        Modules beside it, by their whole names, such as those :func:`imported_by` a notebook.
    """
    seen: set[Path] = set()
    waiting = [f"clientbook.{module}", "clientbook.stage", "clientbook.charts", *others]
    while waiting:
        name = waiting.pop()
        for file in _files(name):
            if file not in seen:
                seen.add(file)
                waiting += _imported(file, name)
    return digest([[file.relative_to(PACKAGE).as_posix(), _code(file)] for file in sorted(seen)])


@remembered
def _code(file: Path) -> str:
    return fingerprint(file)


@remembered
def _files(module: str) -> list[Path]:
    """A module's file, those of the packages that it lies in, and what lies beside it as data."""
    place, found = PACKAGE.parent, []
    for part in module.split("."):
        place = place / part
        if place.is_dir():
            found += _beside(place)
            found.append(place / "__init__.py")
        elif place.with_suffix(".py").is_file():
            found.append(place.with_suffix(".py"))
    return [file for file in found if file.is_file()]


@remembered
def _beside(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file() and file.suffix not in (".py", ".pyc")]


@remembered
def _imported(file: Path, module: str) -> tuple[str, ...]:
    """Which modules of this package does a file import, at its head or within a function?"""
    if file.suffix != ".py":
        return ()
    package = ("clientbook", *file.relative_to(PACKAGE).parts[:-1])
    return _ours(_imports(file.read_text(encoding="utf-8")), package)


def code_of_step(stage: str, notebook: Path) -> str:
    """The code of a stage and of what its notebook imports beside it.

    Parameters
    ----------
    stage
        Its name.
    notebook
        As the analyst left it.
    """
    return code_of(stage, *imported_by(notebook))


def imported_by(notebook: Path) -> tuple[str, ...]:
    """Which modules of this package does a notebook import itself, be it of its stage or not?

    Parameters
    ----------
    notebook
        As the analyst left it.
    """
    told = json.loads(notebook.read_text(encoding="utf-8"))
    names: set[str] = set()
    for cell in told["cells"]:
        # what is no Python alone, such as a cell of magic, is part of the notebook's own text
        with contextlib.suppress(SyntaxError):
            names.update(_ours(_imports("".join(cell["source"])), ()) if cell["cell_type"] == "code" else ())
    return tuple(sorted(names))


def _ours(nodes: Iterable[ast.AST], package: tuple[str, ...]) -> tuple[str, ...]:
    """The modules of this package, and perhaps what is in them, that imports within a package name."""
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.partition(".")[0] == "clientbook")


def _imports(text: str) -> list[ast.AST]:
    """Every import of a module that stands on lines of its own, and perhaps what reads like one in its words.

    To parse a whole module takes twenty times as long as the lines that begin like an import; it is done where one of them
    makes no sense alone.
    """
    with _parser:
        try:
            return [node for found in _IMPORT.finditer(text) for node in ast.parse(found[1]).body]
        except SyntaxError:
            return [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def cells_of(notebook: Path) -> str:
    """What tells a notebook's text from any other: its cells, without outputs."""
    told = json.loads(notebook.read_text(encoding="utf-8"))
    return digest([[c["cell_type"], "".join(c["source"]), c.get("metadata", {})] for c in told["cells"]])


def _hears(stage: Stage, file: str) -> bool:
    place, _, name = file.partition("/")
    return place == "records" and ("*" in stage.hears or name.removesuffix(".json") in stage.hears)


def _seen(file: Path, content: str) -> tuple[int, int, str]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns, content


def digest(value: Any) -> str:
    """The SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
