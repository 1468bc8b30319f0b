"""Excel sheets as text: a cell is what a person reads in it, and never a float by accident."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from clientbook.engine import Engine, Part
from clientbook.faults import FaultError
from clientbook.sources.careful import Chunks, Rejects
from clientbook.sources.delivered import MOST_COLUMNS, Request, Staged, closest, fingerprint
from clientbook.sources.encodings import unzipped
from clientbook.sources.text import name_columns


def stage_sheet(engine: Engine, request: Request) -> Staged:
    """Where do the rows of an Excel sheet lie now, as text?

    The first row with anything in it is the header. Formulas count with the value that Excel last computed. Rows
    with nothing in them are no records, but keep their number.

    Parameters
    ----------
    engine
        Takes the staged rows.
    request
        The file, and perhaps the sheet.

    Raises
    ------
    FaultError
        The file is no workbook, is damaged, or has no such sheet.
    """
    import openpyxl

    sha256 = fingerprint(request.path)
    path = unzipped(engine, request)
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception:  # whatever a damaged archive makes of itself: zip, XML, keys, values
        raise request.fault(
            "The file is damaged or no Excel workbook.", "Open it in Excel and save it as .xlsx again."
        ) from None
    try:
        staged = _stage(engine, request, book, sha256)
    except (FaultError, OSError):
        raise
    except Exception:
        raise request.fault("The workbook is damaged.", "Open it in Excel and save it as .xlsx again.") from None
    finally:
        book.close()
        if path != request.path:
            path.unlink()
    return staged


def _stage(engine: Engine, request: Request, book: Any, sha256: str) -> Staged:
    sheet, notes = _sheet(request, book)
    # Some programs write a wrong extent into the file; without it all rows are read.
    sheet.reset_dimensions()
    rows = _filled(sheet)
    header_row, header = next(rows, (0, []))
    if not header:
        raise request.fault(f"The sheet {sheet.title!r} is empty.", "Name another sheet, or deliver it again.")
    if len(header) > MOST_COLUMNS:
        raise request.fault(f"The header has {len(header):,} columns.", f"At most {MOST_COLUMNS:,} can be read.", row=1)
    names, unnamed = name_columns(request, tuple(header))
    keep = tuple(name for name in names if request.needed is None or name in request.needed)
    staged, rejects = engine.scratch_file(".parquet"), Rejects(engine.scratch_file(".parquet"), request.shown)
    chunks, width, kept = Chunks(staged, keep, [names.index(name) for name in keep]), len(names), 0
    for number, cells in rows:
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
        facts=request.facts(rows=total, columns=names, sha256=sha256),
        part=Part(path=staged, shown=request.shown, rows=kept, first_row=header_row + 1),
        columns=keep,
        has_row=True,
        rejected=rejected,
        notes=(*notes, *unnamed),
    )


def _sheet(request: Request, book: Any) -> tuple[Any, list]:
    names = [sheet.title for sheet in book.worksheets]
    listed = ", ".join(map(repr, names))
    if not names:
        raise request.fault("The workbook has no sheet with cells.", "Deliver it again.")
    if request.sheet is None:
        note = request.note(f"Of {len(names)} sheets the first is read: {listed}.", "Name one by sheet.")
        return book.worksheets[0], [note] if len(names) > 1 else []
    if isinstance(request.sheet, int) and 1 <= request.sheet <= len(names):
        return book.worksheets[request.sheet - 1], []
    if request.sheet in names:
        return book[request.sheet], []
    near = closest(str(request.sheet), names)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise request.fault(f"The workbook has no sheet {request.sheet!r}.", f"{hint}It has: {listed}.")


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
