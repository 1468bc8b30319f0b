"""JSON and Parquet, whose records bring their names and types along."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clientbook.engine import Engine, Part, TwiceError, UnreadableError
from clientbook.sources.careful import LONGEST_LINE, Chunks, Rejects
from clientbook.sources.delivered import MOST_COLUMNS, Request, Staged
from clientbook.sources.encodings import Plain, plain_text

_LONGEST_SPACE = 1 << 16
# What interfaces of web services write beside the list that holds the records.
_BESIDE = frozenset((
    "after_cursor", "after_url", "before_cursor", "before_url", "count", "cursor", "end_of_stream", "end_time", "has_more",
    "limit", "links", "meta", "next", "next_cursor", "next_page", "next_url", "offset", "ok", "page", "page_size", "pages",
    "pagination", "paging", "per_page", "previous", "previous_page", "status", "success", "total", "total_count", "url",
))  # fmt: skip
# Such a file is read whole; a page of a service's answer is far smaller.
_LARGEST_ANSWER = 1 << 30


def stage_records(engine: Engine, request: Request) -> list[Staged]:
    """Where do the records of a JSON file lie now?

    An array of objects, an object a line, objects one after another, or one object that holds them in a list, as web
    services answer: told from the text, as file endings often lie. Where a line is no object it is rejected; an array that
    is damaged cannot be read at all.

    Parameters
    ----------
    engine
        Takes the staged rows.
    request
        The file.

    Raises
    ------
    FaultError
        The file is no JSON.
    """
    plain = plain_text(engine, request)
    try:
        return _stage(engine, request, plain)
    except TwiceError as error:
        raise request.fault(
            "Two values of a record would have this column: one in an object, and one whose name has a point.",
            "Rename one in the file.",
            column=str(error),
        ) from None


def _stage(engine: Engine, request: Request, plain: Plain) -> list[Staged]:
    _check_names(request, plain)
    rejected, bad_rows, careful = None, 0, False
    answered = _answered(plain.path)
    if answered is not None:
        name, records = answered
        unwrapped = engine.scratch_file(".jsonl")
        with unwrapped.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        note = request.note(f"The records are those of the list {name!r} in one object.")
        if plain.copied:
            plain.path.unlink()
        plain = replace(plain, path=unwrapped, copied=True, notes=(*plain.notes, note))
    if _starts_with_bracket(plain.path):
        if _is_empty_array(plain.path):
            return _nothing(engine, request, plain)
        try:
            staged = engine.stage_json(plain.path, layout="array")
        except TwiceError:
            raise
        except UnreadableError:
            raise request.fault("The file is no array of JSON objects, or it is damaged or cut.", "Deliver it again.") from None
    else:
        try:
            staged = engine.stage_json(plain.path)
        except TwiceError:
            raise
        except UnreadableError:
            staged, rejected, bad_rows = _objects(engine, request, plain)
            careful = rejected is not None
    if plain.copied:
        plain.path.unlink()
    columns = [name for name in engine.parquet_columns(staged) if name != "_row" or not careful]
    if len(columns) > MOST_COLUMNS:
        raise request.fault(f"The records have {len(columns):,} names.", f"At most {MOST_COLUMNS:,} can be read.")
    keep = tuple(name for name in columns if request.needed is None or name in request.needed)
    rows = engine.parquet_rows(staged)
    return [
        Staged(
            facts=request.facts(rows=rows + bad_rows, columns=columns, encoding=plain.encoding),
            part=Part(path=staged, shown=request.shown, rows=rows, first_row=1),
            columns=keep,
            has_row=careful,
            rejected=rejected,
            notes=plain.notes,
        )
    ]


def stage_parquet(engine: Engine, request: Request) -> list[Staged]:
    """Where do a Parquet file's rows lie? Where they were delivered: nothing is copied unless it is gzipped.

    Parameters
    ----------
    engine
        Looks into the file.
    request
        The file.

    Raises
    ------
    FaultError
        The file is not whole.
    """
    path = request.path
    try:
        # The foot alone tells it; the engine would bind each column first.
        width = pq.read_metadata(path).num_columns
        if width > MOST_COLUMNS:
            raise request.fault(f"The file has {width:,} columns.", f"At most {MOST_COLUMNS:,} can be read.")
        columns = engine.parquet_columns(path)
        keep = tuple(name for name in columns if request.needed is None or name in request.needed)
        engine.check_parquet(path, keep)
        rows = engine.parquet_rows(path)
    except (UnreadableError, pa.ArrowException, OSError) as error:
        # What the disk says has a number, what Arrow says of a damaged foot has none.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise request.fault("The file is no Parquet, or it is damaged or cut.", "Deliver it again.") from None
    return [
        Staged(
            facts=request.facts(rows=rows, columns=columns),
            part=Part(path=path, shown=request.shown, rows=rows, first_row=1),
            columns=keep,
            notes=() if rows else (request.note("The file has no rows."),),
        )
    ]


def _objects(engine: Engine, request: Request, plain: Plain) -> tuple[Path, Path | None, int]:
    try:
        staged, rejected, bad_rows = _line_by_line(engine, request, plain)
        if staged is not None:
            return staged, rejected, bad_rows
        # One object over many lines, or several: no line stands for itself.
        return engine.stage_json(plain.path, layout="unstructured"), None, 0
    except TwiceError:
        raise
    except UnreadableError:
        raise request.fault("The file holds no JSON objects, or it is damaged.", "Deliver it again.") from None


def _line_by_line(engine: Engine, request: Request, plain: Plain) -> tuple[Path | None, Path | None, int]:
    good, rejects = engine.scratch_file(".jsonl"), Rejects(engine.scratch_file(".parquet"), request.shown)
    number = kept = 0
    with plain.path.open(encoding="utf-8") as stream, good.open("w", encoding="utf-8") as out:
        while line := stream.readline(LONGEST_LINE):
            if len(line) >= LONGEST_LINE:
                raise request.fault("A line is longer than 64 MB.", "Check how the lines end.")
            if not line.strip():
                continue
            number += 1
            reason = _what_is_wrong(line)
            if reason and not line.endswith("\n") and line.lstrip().startswith("{") and number > 1:
                raise request.fault("The file is cut: its last line is half an object.", "Deliver it again.", row=number)
            if reason:
                rejects.add(number, reason, line.rstrip("\n"))
                continue
            kept += 1
            rest = line.strip()[1:].lstrip()
            out.write(f'{{"_row":{number}{"" if rest == "}" else ","}{rest}\n')
    rejected = rejects.close()
    staged = engine.stage_json(good) if kept else None
    good.unlink()
    return staged, rejected, rejects.rows


def _what_is_wrong(line: str) -> str:
    try:
        value = json.loads(line, object_pairs_hook=_once_each)
    except _TwiceError:
        return "a name stands twice in the object"
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(value, dict):
        return "not an object"
    return "" if "_row" not in value else "the name _row is Clientbook's own"


class _TwiceError(Exception):
    pass


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError
    return found


def _check_names(request: Request, plain: Plain) -> None:
    """Does the first record say that there are too many names? The engine would take minutes over them."""
    with plain.path.open("rb") as stream:
        start = stream.read(LONGEST_LINE).lstrip()
    line = start.partition(b"\n")[0]
    # Few enough that a look at them is not worth its while; names inside of lists count here, which decides nothing.
    if line.count(b'":') <= MOST_COLUMNS and start.count(b'":', 0, 1 << 20) <= MOST_COLUMNS:
        return
    text = start.decode(errors="replace").lstrip("[ \r\n\t")
    try:
        first, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return
    if isinstance(first, dict) and len(first) > MOST_COLUMNS:
        raise request.fault(f"The first record has {len(first):,} names.", f"At most {MOST_COLUMNS:,} can be read.", row=1)


def _answered(path: Path) -> tuple[str, list[dict]] | None:
    """The list of records that one object holds, with its name; None where the file is something else."""
    if path.stat().st_size > _LARGEST_ANSWER:
        return None
    with path.open("rb") as stream:
        start = stream.read(_LONGEST_SPACE).decode(errors="replace")
    first = re.match(r'\s*\{\s*"([^"\\]*)"\s*:\s*(\[\s*\{)?', start)
    # the first name tells most files from such a one, unread
    if not first or not (first[2] or first[1] in _BESIDE):
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once_each)
    except (ValueError, RecursionError, _TwiceError):
        return None
    lists = [name for name, value in told.items() if name not in _BESIDE]
    records = told[lists[0]] if len(lists) == 1 else None
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        return None
    return lists[0], records


def _starts_with_bracket(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(_LONGEST_SPACE).lstrip()[:1] == b"["


def _is_empty_array(path: Path) -> bool:
    return path.stat().st_size <= _LONGEST_SPACE and path.read_bytes().split() in ([b"[]"], [b"[", b"]"])


def _nothing(engine: Engine, request: Request, plain: Plain) -> list[Staged]:
    staged = engine.scratch_file(".parquet")
    Chunks(staged, ()).close()
    return [
        Staged(
            facts=request.facts(rows=0, columns=(), encoding=plain.encoding),
            part=Part(path=staged, shown=request.shown, rows=0, first_row=1),
            columns=(),
            has_row=True,
            notes=(request.note("The file has no records."),),
        )
    ]
