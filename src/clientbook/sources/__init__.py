"""Files as companies deliver them, read into tables: every row counted, none lost, nothing guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import ibis

from clientbook.engine import Engine, UnreadableError
from clientbook.faults import Fault, FaultError
from clientbook.sources.delivered import OUR_COLUMNS, FileFacts, Raw, Request, Staged, closest
from clientbook.sources.finding import find, format_of, shown_as
from clientbook.sources.records import stage_parquet, stage_records
from clientbook.sources.sheets import stage_sheet
from clientbook.sources.text import stage_text

__all__ = ["FileFacts", "Raw", "find", "read"]

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
        ndjson, xlsx and parquet, each also with ``.gz``.
    sheet
        An Excel sheet's name or number (from 1). Default: the first.
    encoding
        Any that Python knows. Default: found out (UTF-8, UTF-16, else Windows-1252).
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
    staged: list[Staged] = []
    faults: list[Fault] = []
    for file in find(folder, path, key):
        request = Request(
            path=file,
            shown=shown_as(folder, path, file),
            format=format_of(file),
            key=key,
            sheet=sheet,
            encoding=encoding,
            delimiter=delimiter,
            needed=None if needed is None else tuple(dict.fromkeys(needed)),
        )
        try:
            staged.append(_stage(engine, request))
        except FaultError as error:
            faults += error.faults
    if faults:
        raise FaultError(faults)
    return _together(engine, staged, needed, key)


def _stage(engine: Engine, request: Request) -> Staged:
    try:
        before = request.path.stat()
        staged = _STAGE[request.format](engine, request)
        after = request.path.stat()
    except PermissionError:
        raise request.fault("The file may not be read.", "Give the user who runs this the right to.") from None
    except FileNotFoundError:
        raise request.fault("The file went away while it was read.", "Run again when the delivery is whole.") from None
    except OSError as error:
        if error.errno == 28:
            raise FaultError(Fault("The disk is full.", "Free some space.", file=str(engine.scratch))) from None
        raise request.fault(f"The file cannot be read ({error.strerror or 'input/output error'}).") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise request.fault("The file changed while it was read.", "Run again when the delivery is whole.")
    _check_names(request, staged)
    return staged


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
        table = engine.read_numbered(
            [one.part for one in staged], columns, has_row=any(one.has_row for one in staged)
        )
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
