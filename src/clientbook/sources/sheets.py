"""Excel sheets as text: a cell is what a person reads in it, and never a float by accident."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

from clientbook.engine import Engine, Part
from clientbook.faults import Fault, FaultError
from clientbook.sources.careful import Chunks, Rejects
from clientbook.sources.delivered import MOST_COLUMNS, Request, Staged, closest
from clientbook.sources.headers import Header, find_header, merges
from clientbook.sources.text import name_columns


def stage_sheet(engine: Engine, request: Request) -> list[Staged]:
    """Where do the rows of an Excel workbook lie now, as text?

    One sheet is read where one is named, or where only one has anything in it; several where all have the same
    columns, each with its own row numbers. Titles above a table are left out; a header whose cells are merged goes over
    as many rows as they say, and its names are joined by a point: ``Address.City``. Formulas count with the value that
    Excel last computed. Rows with nothing in them are no records, but keep their number.

    Parameters
    ----------
    engine
        Takes the staged rows.
    request
        The file, and perhaps the sheet.

    Raises
    ------
    FaultError
        The file is no workbook, is damaged, has no such sheet, or has sheets of different columns.
    """
    import openpyxl

    try:
        book = openpyxl.load_workbook(request.path, read_only=True, data_only=True)
    except Exception:  # whatever a damaged archive makes of itself: zip, XML, keys, values
        raise request.fault(
            "The file is damaged, cut, or no Excel workbook.", "Deliver it again, or save it as .xlsx in Excel."
        ) from None
    try:
        return _stage_all(engine, request, book)
    except (FaultError, OSError):
        raise
    except Exception:
        raise request.fault("The workbook is damaged.", "Open it in Excel and save it as .xlsx again.") from None
    finally:
        book.close()


def _stage_all(engine: Engine, request: Request, book: Any) -> list[Staged]:
    sheets, notes = _sheets(request, book)
    headers = []
    for sheet in sheets:
        # Some programs write a wrong extent into the file; without it all rows are read.
        sheet.reset_dimensions()
        headers.append(find_header(_filled(sheet), merges(request.path, sheet)))
    if request.sheet is not None and headers[0] is None:
        raise request.fault(f"The sheet {sheets[0].title!r} is empty.", "Name another sheet, or deliver it again.")
    tables = [(sheet, header) for sheet, header in zip(sheets, headers, strict=True) if header is not None]
    if not tables:
        listed = ", ".join(repr(sheet.title) for sheet in sheets)
        raise request.fault(f"The workbook is empty. Its sheets: {listed}.", "Deliver it again.")
    if len({frozenset(name.strip().lower() for name in header.names if name.strip()) for _, header in tables}) > 1:
        told = "; ".join(f"{sheet.title!r} has {_some(header.names)}" for sheet, header in tables)
        told = f"The workbook's {len(tables)} sheets have different columns: {told}."
        raise request.fault(told, "Name one by sheet.")
    if len(tables) == 1:
        return [_stage(engine, request, *tables[0], notes)]
    titles = ", ".join(repr(sheet.title) for sheet, _ in tables)
    notes.append(request.note(f"{len(tables)} sheets have the same columns and are all read: {titles}."))
    staged = []
    for sheet, header in tables:
        each = replace(request, shown=f"{request.shown}!{sheet.title}")
        staged.append(_stage(engine, each, sheet, header, notes if not staged else []))
    return staged


def _stage(engine: Engine, request: Request, sheet: Any, header: Header, notes: list[Fault]) -> Staged:
    if len(header.names) > MOST_COLUMNS:
        raise request.fault(
            f"The header has {len(header.names):,} columns.", f"At most {MOST_COLUMNS:,} can be read.", row=header.row
        )
    names, unnamed = name_columns(request, header.names, row=header.row)
    notes = [*notes, *(request.note(note, row=header.row) for note in header.notes)]
    keep = tuple(name for name in names if request.needed is None or name in request.needed)
    staged, rejects = engine.scratch_file(".parquet"), Rejects(engine.scratch_file(".parquet"), request.shown)
    chunks, width, kept = Chunks(staged, keep, [names.index(name) for name in keep]), len(names), 0
    for number, cells in _filled(sheet):
        if number <= header.last_row:
            continue
        if len(cells) > width:
            rejects.add(number, f"{len(cells)} cells instead of {width}", "\t".join(cells))
            continue
        chunks.add(number, cells + [""] * (width - len(cells)))
        kept += 1
    chunks.close()
    rejected = rejects.close()
    total = kept + rejects.rows
    if not total:
        notes.append(request.note("The sheet has a header and no rows."))
    return Staged(
        facts=request.facts(rows=total, columns=names),
        part=Part(path=staged, shown=request.shown, rows=kept, first_row=header.last_row + 1),
        columns=keep,
        has_row=True,
        rejected=rejected,
        notes=(*notes, *unnamed),
    )


def _sheets(request: Request, book: Any) -> tuple[list[Any], list[Fault]]:
    names = [sheet.title for sheet in book.worksheets]
    listed = ", ".join(map(repr, names))
    if not names:
        raise request.fault("The workbook has no sheet with cells.", "Deliver it again.")
    wanted = request.sheet
    if wanted is None:
        hidden = [sheet.title for sheet in book.worksheets if sheet.sheet_state != "visible"]
        if not hidden or len(hidden) == len(names):
            return list(book.worksheets), []
        told = f"Hidden sheets are not read: {', '.join(map(repr, hidden))}."
        visible = [sheet for sheet in book.worksheets if sheet.title not in hidden]
        return visible, [request.note(told, "Name one by sheet if it is meant.")]
    if wanted in names:
        return [book[wanted]], []
    number = int(wanted) if isinstance(wanted, int) or (wanted.isascii() and wanted.isdigit()) else 0
    if 1 <= number <= len(names):
        return [book.worksheets[number - 1]], []
    near = closest(str(wanted), names)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise request.fault(f"The workbook has no sheet {wanted!r}.", f"{hint}It has: {listed}.")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:8])) + (" …" if len(names) > 8 else "")


def _filled(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [_as_read(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield number, cells


def _as_read(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    if isinstance(value, datetime):
        # Excel knows no plain dates: a day is its midnight.
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat(timespec="auto")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return str(value)
