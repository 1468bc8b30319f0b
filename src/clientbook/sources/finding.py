"""Which files does a path in ``clientbook.yaml`` mean?"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath

from clientbook.book import LABELS
from clientbook.faults import Fault, FaultError
from clientbook.sources.delivered import closest

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "txt",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".parquet": "parquet",
    ".pq": "parquet",
}
KNOWN = "csv, tsv, txt, json, jsonl, ndjson, xlsx or parquet, each also with .gz, or in a .zip, .tar, .tar.gz or .tgz"
ARCHIVE = "archive"
_PACKAGE = "package:"
_INSIDE = re.compile(r"^(?P<file>.*?\.(?:zip|tar|tar\.gz|tgz|xlsx|xlsm))!(?P<inside>.+)$", re.IGNORECASE | re.DOTALL)


def find(folder: Path, path: str, key: str = "") -> list[Path]:
    """Which files does this path mean, in the order in which they are read?

    Parameters
    ----------
    folder
        The book's folder.
    path
        A file, a folder (all its data files, of one format), a glob (``**`` goes down folders), or
        ``package:name/path`` for a file that an installed package brings. What follows a ``!`` lies inside the file,
        and is not looked for here. Hidden files, those whose name starts
        with ``_``, and ``clientbook.yaml`` and ``labels.csv`` in the book's folder do not count.
    key
        The place in ``clientbook.yaml``, for messages.

    Returns
    -------
    list of Path
        Sorted by name, at least one. An archive is one file, whatever it holds.

    Raises
    ------
    FaultError
        Nothing is there, or files of several formats are.
    """

    def fault(message: str, remedy: str) -> FaultError:
        return FaultError(Fault(message, remedy, key=key, file=path))

    if not path.strip():
        raise fault("The path is empty.", "Name a file, a folder or a glob.")
    path, _ = split(path)
    base, inside = _base(Path(folder), path, fault)
    target = base / inside
    try:
        if target.is_dir():
            files = sorted(file for file in target.iterdir() if _counts(file, folder))
            return _one_format(files, fault, "The folder holds no data file.")
        if target.exists() and not target.is_file():
            raise fault("This is no file: reading it might never end.", "Name a file, a folder or a glob.")
        if target.exists():
            return _one_format([target], fault, f"{target.suffix or 'A name without an ending'} is no known format.")
    except PermissionError:
        raise fault("The folder may not be read.", "Give the user who runs this the right to.") from None
    except (OSError, ValueError) as error:
        raise fault("No file can have this name.", f"Check the path ({type(error).__name__}).") from None
    if glob.has_magic(inside):
        # pathlib's glob takes no pattern that goes up (../) and goes down hidden folders.
        hits = glob.glob(inside, root_dir=base, recursive=True)  # noqa: PTH207
        files = sorted(base / hit for hit in hits if _counts(base / hit, folder))
        return _one_format(files, fault, "No data file fits this pattern.")
    raise fault("The file is not there.", _there_is(target))


def split(path: str) -> tuple[str, str | None]:
    """Which file is meant, and what inside it? ``a.zip!b.csv`` is ``b.csv`` in ``a.zip``.

    Parameters
    ----------
    path
        As in ``clientbook.yaml``.
    """
    match = _INSIDE.match(path)
    return (match["file"], match["inside"]) if match else (path, None)


def is_archive(path: PurePath) -> bool:
    """Does a file's name promise an archive of files?"""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def format_of(path: PurePath) -> str | None:
    """Which format does a file's name promise, without ``.gz``?

    Parameters
    ----------
    path
        The file; it is not opened.
    """
    if is_archive(path):
        return ARCHIVE
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def shown_as(folder: Path, path: str, file: Path) -> str:
    """How does the user know this file?

    Parameters
    ----------
    folder, path
        As for :func:`find`.
    file
        One of the files found.
    """
    path, _ = split(path)
    if path.startswith(_PACKAGE):
        package = path.removeprefix(_PACKAGE).partition("/")[0]
        base = _package_folder(package)
        return f"{_PACKAGE}{package}/{file.relative_to(base).as_posix()}" if base else path
    relative = Path(os.path.relpath(file, folder))
    return file.as_posix() if relative.parts[:1] == ("..",) and Path(path).is_absolute() else relative.as_posix()


def _base(folder: Path, path: str, fault: Callable[[str, str], FaultError]) -> tuple[Path, str]:
    if not path.startswith(_PACKAGE):
        return (Path("/"), path.lstrip("/")) if Path(path).is_absolute() else (folder, path)
    package, _, inside = path.removeprefix(_PACKAGE).partition("/")
    base = _package_folder(package)
    if base is None:
        raise fault(f"No package {package!r} is installed.", f"Install it: pip install {package}.")
    return base, inside


def _package_folder(package: str) -> Path | None:
    # Found, never imported: a data file needs none of the package's code.
    if not package.isidentifier() or (spec := importlib.util.find_spec(package)) is None:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec.submodule_search_locations else None


def counts(path: PurePath) -> bool:
    """May a file of this name be data? Hidden files and what macOS puts into archives may not."""
    hidden = path.name.startswith((".", "_", "~$")) or "__MACOSX" in path.parts
    return not hidden and format_of(path) is not None


def _counts(path: Path, book: Path) -> bool:
    # what people said about the book's records is no delivery, however the folder is reached
    answers = path.name == LABELS and path.parent.resolve() == Path(book).resolve()
    return path.is_file() and counts(path) and not answers


def _one_format(files: list[Path], fault: Callable[[str, str], FaultError], nothing: str) -> list[Path]:
    found = {str(format_of(file)) for file in files} - {"None"}
    # What an archive holds is known when it is opened.
    formats = sorted(found - {ARCHIVE})
    if not found:
        raise fault(nothing, f"Deliver {KNOWN}.")
    if len(formats) > 1:
        raise fault(f"Files of several formats are there: {', '.join(formats)}.", "Name one by a glob such as *.csv.")
    return files


def _there_is(target: Path) -> str:
    parent = target.parent
    while not parent.is_dir():
        target, parent = parent, parent.parent
    try:
        names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        return f"The folder {parent.name} may not be read."
    near = closest(target.name, names)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"{parent.name or parent} holds {listed or 'nothing'}."
