"""Files as companies deliver them, read into tables: every row counted, none lost, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import ibis

from clientbook.engine import Engine, UnreadableError
from clientbook.faults import Fault, FaultError
from clientbook.sources.archives import contents
from clientbook.sources.databases import read as query
from clientbook.sources.delivered import OUR_COLUMNS, FileFacts, Raw, Request, Staged, closest, fingerprint
from clientbook.sources.finding import find, format_of, is_archive, shown_as, split
from clientbook.sources.records import stage_parquet, stage_records
from clientbook.sources.sheets import stage_sheet
from clientbook.sources.stores import fetch, is_address
from clientbook.sources.text import stage_text

__all__ = ["FileFacts", "Raw", "find", "fingerprint", "query", "read"]

_STAGE = {
    "csv": stage_text,
    "tsv": stage_text,
    "txt": stage_text,
    "json": stage_records,
    "jsonl": stage_records,
    "xlsx": stage_sheet,
    "parquet": stage_parquet,
}


def read(
    engine: Engine,
    folder: Path,
    *,
    path: str,
    sheet: str | int | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    key: str = "",
    needed: Collection[str] | None = None,
) -> Raw:
    """What was delivered, row by row?

    Parameters
    ----------
    engine
        Where the table lives; what is staged for it lasts until the engine is closed.
    folder
        The book's folder, which ``path`` is relative to.
    path
        A file, a folder or a glob; absolute paths and ``package:name/path`` too. csv, tsv, txt, json, jsonl,
        ndjson, xlsx and parquet, each also with ``.gz`` or in an archive (zip, tar, tar.gz, tgz), of which
        ``archive.zip!member`` is one member or a glob of them, or an address in a store (``s3://bucket/*.parquet``).
        Files of the same content are read once.
    sheet
        An Excel sheet's name or number (from 1). Default: all visible ones, where they have the same columns.
    encoding
        Any that Python knows. Default: found out, and told with a note where it is no UTF-8 or UTF-16.
    delimiter
        One character, ``tab`` or ``blanks``. Default: found out (comma, semicolon, tab, bar, runs of blanks).
    key
        The place in ``clientbook.yaml``, for messages.
    needed
        The columns to take, all of which every file must have. Default: all columns of all files; what a file
        lacks is null in its rows.

    Returns
    -------
    Raw
        The table with ``_file``, ``_row`` and ``_arrival``, each file's facts, and what could not be read.
        ``_row`` counts records, not physical lines: the header is 1 (csv, tsv, txt, xlsx), a record over three
        lines counts one, an empty line counts one though it is no record, as in a spreadsheet. Parquet and JSON
        count records from 1.

    Raises
    ------
    FaultError
        Naming every file that cannot be read, and what to do.
    """
    _, inside = split(path)
    delivery = _Delivery(engine)
    for file, shown in _found(engine, folder, path, key):
        request = Request(
            path=file,
            shown=shown,
            format=str(format_of(file)),
            key=key,
            sheet=sheet,
            encoding=encoding,
            delimiter=delimiter,
            needed=None if needed is None else tuple(dict.fromkeys(needed)),
        )
        delivery.take(request, inside)
    delivery.check_unchanged()
    if delivery.faults:
        raise FaultError(delivery.faults)
    _check_formats(delivery.staged, path, key)
    raw = _together(engine, delivery.staged, needed, key)
    return replace(raw, files=delivery.facts(), notes=[*raw.notes, *delivery.notes])


def _found(engine: Engine, folder: Path, path: str, key: str) -> list[tuple[Path, str]]:
    if is_address(path):
        return [(one.path, one.shown) for one in fetch(engine, path, key)]
    return [(file, shown_as(folder, path, file)) for file in find(folder, path, key)]


class _Delivery:
    """What has been read of a delivery so far, and what is wrong with it?

    Attributes
    ----------
    staged
        What is to be put together.
    faults, notes
        What is wrong, and what is odd.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self.staged: list[Staged] = []
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []
        self._files: list[tuple[Request, str]] = []
        self._first: dict[str, Request] = {}
        self._watched: list[tuple[Request, tuple]] = []

    def take(self, request: Request, inside: str | None) -> None:
        """What does the next file hold? All its members, where it is an archive."""
        try:
            before = request.path.stat()
            self._watched.append((request, _state(request.path)))
            hashed = fingerprint(request.path)
            request = replace(request, sha256=hashed, content=hashed, bytes=before.st_size, modified=before.st_mtime)
            if not is_archive(request.path) and inside is not None and request.sheet is None:
                request = replace(request, sheet=inside)
            for content in contents(self._engine, request, inside):
                self._take_one(content, request.path)
        except FaultError as error:
            self.faults += error.faults
        except PermissionError:
            self.faults.append(request.note("The file may not be read.", "Give the user who runs this the right to."))
        except FileNotFoundError:
            self.faults.append(_gone(request))
        except OSError as error:
            if error.errno == 28:
                raise FaultError(Fault("The disk is full.", "Free some space.", file=str(self._engine.scratch))) from None
            told = f"The file cannot be read ({error.strerror or 'input/output error'})."
            self.faults.append(request.note(told, "Deliver it again, or look after the disk."))

    def check_unchanged(self) -> None:
        """Is every file still what it was when its reading began?"""
        named = {fault.file for fault in self.faults}
        for request, before in self._watched:
            try:
                changed = _state(request.path) != before
            except OSError:
                if request.shown not in named:
                    self.faults.append(_gone(request))
                continue
            if changed:
                # Whatever else is wrong with it is so because it was not whole yet.
                self.faults = [fault for fault in self.faults if fault.file.partition("!")[0] != request.shown]
                told = "The file changed while it was read."
                self.faults.append(request.note(told, "Run again when the delivery is whole."))

    def facts(self) -> list[FileFacts]:
        """What is known of every file, those that were the same as another among them?"""
        read = {one.facts.path: one.facts for one in self.staged}
        found = []
        for request, same_as in self._files:
            # Where a workbook has several sheets, each has its own facts.
            name = same_as or request.shown
            one = read.get(name)
            mine = [one] if one else [facts for path, facts in read.items() if path.startswith(f"{name}!")]
            for facts in mine:
                if same_as:
                    path = request.shown + facts.path.removeprefix(same_as)
                    facts = replace(
                        request.facts(rows=facts.rows, columns=facts.columns, encoding=facts.encoding,
                                      delimiter=facts.delimiter),
                        path=path, same_as=facts.path,
                    )  # fmt: skip
                found.append(facts)
        return found

    def _take_one(self, request: Request, delivered: Path) -> None:
        first = self._first.setdefault(request.content, request)
        kept: set[Path] = set()
        if first is request:
            try:
                staged = _STAGE[request.format](self._engine, request)
                for one in staged:
                    _check_names(request, one)
                self.staged += staged
                kept = {one.part.path for one in staged}
                self._files.append((request, ""))
            except FaultError as error:
                self.faults += error.faults
        else:
            self._files.append((request, first.shown))
            self.notes.append(
                request.note(
                    f"The file holds the same as {first.shown} and is read once.",
                    "If both count, name each as a delivery of its own.",
                )
            )
        if request.path != delivered and request.path not in kept:
            request.path.unlink(missing_ok=True)


def _state(path: Path) -> tuple:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _gone(request: Request) -> Fault:
    return request.note("The file went away while it was read.", "Run again when the delivery is whole.")


def _check_formats(staged: list[Staged], path: str, key: str) -> None:
    formats = sorted({one.facts.format for one in staged})
    if len(formats) > 1:
        told = f"Files of several formats are there: {', '.join(formats)}."
        raise FaultError(Fault(told, "Name one by a glob such as *.csv, or archive.zip!*.csv.", key=key, file=path))


def _check_names(request: Request, staged: Staged) -> None:
    names = staged.facts.columns
    faults = [
        Fault(
            "The name is one that Clientbook gives itself.",
            "Rename the column in the file.",
            key=request.key,
            file=request.shown,
            column=name,
        )
        for name in names
        if name.lower() in OUR_COLUMNS
    ]
    # A delivery without records, as an empty JSON array is, cannot say which columns it has.
    told = bool(names) or request.format not in ("json", "jsonl")
    for name in request.needed or () if told else ():
        if name not in names:
            near = closest(name, names)
            hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
            listed = ", ".join(map(repr, names[:40])) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
            faults.append(
                Fault(
                    "The file has no such column.",
                    f"{hint}It has: {listed}.",
                    key=request.key,
                    file=request.shown,
                    column=name,
                )
            )
    if faults:
        raise FaultError(faults)


def _together(engine: Engine, staged: list[Staged], needed: Collection[str] | None, key: str) -> Raw:
    present = list(dict.fromkeys(name for one in staged for name in one.columns))
    columns = present if needed is None else [name for name in dict.fromkeys(needed) if name in present]
    by_lower: dict[str, str] = {}
    for name in columns:
        if by_lower.setdefault(name.lower(), name) != name:
            raise FaultError(
                Fault(
                    f"One file calls a column {by_lower[name.lower()]!r}, another {name!r}.",
                    "Give the files one spelling, or make them two sources.",
                    key=key,
                )
            )
    try:
        table = engine.read_numbered([one.part for one in staged], columns, has_row=any(one.has_row for one in staged))
    except UnreadableError:
        raise FaultError(
            Fault(
                "The types of the files' columns cannot be brought together.",
                "Give each file a table of its own.",
                key=key,
                file=", ".join(one.facts.path for one in staged[:5]),
            )
        ) from None
    absent = [name for name in dict.fromkeys(needed or ()) if name not in present]
    if absent:
        nothing = {name: ibis.null("string") for name in absent}
        table = table.mutate(**nothing).select(*dict.fromkeys(needed or ()), *OUR_COLUMNS)
    rejected = [one.rejected for one in staged if one.rejected is not None]
    return Raw(
        table=table,
        files=[one.facts for one in staged],
        rejected=engine.read_parquet(rejected) if rejected else None,
        notes=[note for one in staged for note in one.notes] + _differences(staged, key),
    )


def _differences(staged: list[Staged], key: str) -> list[Fault]:
    first = set(staged[0].facts.columns)
    notes = []
    for one in staged[1:]:
        missing, more = first - set(one.facts.columns), set(one.facts.columns) - first
        if missing or more:
            told = [f"it lacks {', '.join(map(repr, sorted(missing)))}"] if missing else []
            told += [f"it adds {', '.join(map(repr, sorted(more)))}"] if more else []
            notes.append(
                Fault(
                    f"Its columns differ from those of {staged[0].facts.path}: {'; '.join(told)}.",
                    "What a file lacks is empty in its rows.",
                    key=key,
                    file=one.facts.path,
                )
            )
    return notes
