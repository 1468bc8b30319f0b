"""Delimited text: which delimiter, which columns, and every record in its place."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from clientbook.engine import Engine, Part, UnreadableError
from clientbook.faults import Fault, FaultError
from clientbook.sources.careful import LONGEST_LINE, stage_carefully, wide_fields
from clientbook.sources.delivered import MOST_COLUMNS, Request, Staged
from clientbook.sources.encodings import CHUNK, Plain, plain_text

BLANKS = "blanks"
_CANDIDATES = (",", ";", "\t", "|")
_SPELLED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", " ": BLANKS, BLANKS: BLANKS}
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class Shape:
    """How is a text cut into fields?

    Parameters
    ----------
    delimiter
        One character or ``blanks``.
    header
        The delivered names.
    spread
        Whether the header goes over several lines.
    announced
        Whether a first line ``sep=;``, as Excel writes it, stands before the header.
    """

    delimiter: str
    header: tuple[str, ...]
    spread: bool
    announced: bool


def stage_text(engine: Engine, request: Request) -> list[Staged]:
    """Where do the records of a delimited text lie now?

    DuckDB reads a file in which everything is in order. In one where something is not, each record is looked at by
    itself, so that the bad ones are named and the good ones kept. The two agree on every record but one kind: blanks
    between a delimiter and a quote, which DuckDB drops, and which the other takes for text or rejects.

    Parameters
    ----------
    engine
        Takes the staged rows.
    request
        The file.

    Raises
    ------
    FaultError
        The file is no text, its header cannot be used, or a quote is never closed.
    """
    plain = plain_text(engine, request)
    shape = find_shape(request, plain.path)
    separator, quote = shape.delimiter, '"'
    if shape.delimiter == BLANKS:
        plain = _one_tab_each(engine, plain)
        separator, quote = "\t", ""
    names, notes = name_columns(request, shape.header)
    keep = tuple(name for name in names if request.needed is None or name in request.needed)

    staged, rejected, bad_rows = None, None, 0
    # What a spreadsheet counts as a row is then the same as what DuckDB counts.
    if not (plain.gaps or shape.spread or shape.announced or len(names) == 1):
        try:
            staged = engine.stage_text(plain.path, delimiter=separator, columns=names, quote=quote, keep=keep)
        except UnreadableError:
            staged = None
    careful = staged is None
    if staged is None:
        staged, rejected, bad_rows = stage_carefully(
            engine, request, plain.path, delimiter=separator, quote=quote, names=names, keep=keep,
            announced=shape.announced, open_end=plain.open_end,
        )  # fmt: skip
    if plain.copied:
        plain.path.unlink()
    rows = engine.parquet_rows(staged)
    if rows + bad_rows == 0:
        notes.append(request.note("The file has a header and no rows."))
    facts = request.facts(rows=rows + bad_rows, columns=names, encoding=plain.encoding, delimiter=shape.delimiter)
    part = Part(path=staged, shown=request.shown, rows=rows, first_row=2)
    if plain.open_end and rows > 1:
        notes.append(request.note("The last line has no end: if the file was cut, its last value is not whole."))
    told = (*plain.notes, *notes)
    return [Staged(facts=facts, part=part, columns=keep, has_row=careful, rejected=rejected, notes=told)]


def find_shape(request: Request, path: Path) -> Shape:
    """How is this text cut into fields?

    The delimiter is the one by which most records are as wide as the header, and of several such the one that gives
    the widest header.

    Parameters
    ----------
    request
        Perhaps with a delimiter, and for messages.
    path
        The text in UTF-8.

    Raises
    ------
    FaultError
        The delimiter given is none, or the header is too wide.
    """
    given = _given(request)
    with path.open(encoding="utf-8", newline="") as stream:
        first = stream.readline(LONGEST_LINE)
        announced = first[:4].lower() == "sep=" and len(first.rstrip("\r\n")) == 5
        if announced:
            given = given or _SPELLED.get(first[4], first[4])
            first = stream.readline(LONGEST_LINE)
        while first and not first.strip("\r\n"):
            first = stream.readline(LONGEST_LINE)
        rest = stream.read(_SAMPLE)
        whole = not stream.read(1)
    if len(first) >= LONGEST_LINE:
        raise request.fault("The first line is too long for a header.", "Check how the lines end.", row=1)
    if not whole:
        # The last line may be cut: it says nothing about widths.
        rest = rest[: rest.rfind("\n") + 1]
    lines = list(io.StringIO(first + rest, newline=""))
    delimiter = given or _best(request, lines)
    header, spread = _header(lines, delimiter)
    if len(header) > MOST_COLUMNS:
        raise request.fault(
            f"The header has {len(header):,} columns; {MOST_COLUMNS:,} are the most that can be read.",
            "Deliver the columns that matter, or a long table instead of a wide one.",
            row=1,
        )
    return Shape(delimiter=delimiter, header=tuple(header), spread=spread, announced=announced)


def name_columns(request: Request, header: tuple[str, ...], *, row: int = 1) -> tuple[tuple[str, ...], list[Fault]]:
    """What are the columns called, so that each name means one?

    Blanks around a name go: ``a, b`` names ``b``. A column without a name becomes ``column_3`` after its place, which
    is noted. Names that stand twice (upper and
    lower case are one to the engine) are a fault where they are needed; elsewhere the later ones get a number.

    Parameters
    ----------
    request
        Says which columns are needed.
    header
        The delivered names.
    row
        Where they stand.

    Returns
    -------
    names : tuple of str
        As many as ``header`` has.
    notes : list of Fault
        Which columns got a name.

    Raises
    ------
    FaultError
        A needed name stands twice.
    """
    notes = []
    needed = header if request.needed is None else request.needed
    faults, names = [], []
    taken = {name.lower() for name in request.needed or ()}
    for place, name in enumerate(header, 1):
        plain = name.strip() or f"column_{place}"
        if not name.strip():
            notes.append(request.note(f"Column {place} has no name; it is called {plain!r}.", row=row))
        again = any(plain.lower() == other.lower() for other in names)
        if again and (request.needed is None or plain in needed):
            faults.append(request.note("Two columns have this name.", "Rename one in the file.", row=row, column=plain))
        if again or (plain.lower() in taken and plain not in needed):
            plain = f"{plain} ({place})"
        names.append(plain)
    if faults:
        raise FaultError(faults)
    return tuple(names), notes


def _given(request: Request) -> str | None:
    if request.delimiter is None:
        return None
    given = _SPELLED.get(request.delimiter, request.delimiter)
    if given != BLANKS and (len(given) != 1 or given in '"\r\n' or not given.isascii()):
        raise request.fault(
            f"{request.delimiter!r} cannot be a delimiter.", "Give one character, tab or blanks, or leave it away."
        )
    return given


def _best(request: Request, lines: list[str]) -> str:
    candidates = ("\t", *_CANDIDATES) if request.format == "tsv" else _CANDIDATES
    best, best_score = "", (0.0, 1)
    for candidate in candidates:
        share, width = _agreement(lines, candidate)
        if width > 1 and (round(share, 1), width) > best_score:
            best, best_score = candidate, (round(share, 1), width)
    if best:
        return best
    share, width = _agreement(lines, BLANKS)
    runs = any("  " in line.strip("\r\n") or line.startswith(" ") for line in lines[:200])
    # A column of sentences has blanks too; runs of them, or a .txt, are what a table set in columns looks like.
    if width > 1 and share > 0.9 and (runs or request.format == "txt"):
        return BLANKS
    return candidates[0]


def _agreement(lines: list[str], delimiter: str) -> tuple[float, int]:
    with wide_fields():
        widths = [len(record) for record in islice(_records(lines, delimiter), 200) if record]
    if not widths:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]


def _header(lines: list[str], delimiter: str) -> tuple[list[str], bool]:
    if delimiter == BLANKS:
        return next(_records(lines, BLANKS)), False
    with wide_fields():
        reader = _records(lines, delimiter)
        return next(reader), reader.line_num > 1


def _records(lines: list[str], delimiter: str):
    if delimiter == BLANKS:
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter)


def _one_tab_each(engine: Engine, plain: Plain) -> Plain:
    """Where does the text lie with one tab for each run of blanks, and none at the ends of lines?"""
    copy = engine.scratch_file(".txt")
    gaps, rest, before = False, b"", b"\n"
    with plain.path.open("rb") as stream, copy.open("wb") as out:
        while chunk := stream.read(CHUNK):
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            lines = b"\n".join(b"\t".join(line.split()) for line in whole.split(b"\n")) + end if end else b""
            out.write(lines)
            gaps = gaps or b"\n\n" in before + lines
            before = lines[-1:] or before
        out.write(b"\t".join(rest.split()))
    if plain.copied:
        plain.path.unlink()
    return replace(plain, path=copy, gaps=gaps, copied=True)
