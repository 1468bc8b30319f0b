"""Delivered bytes made plain: in UTF-8, without ever holding a file in memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clientbook.engine import Engine
from clientbook.faults import Fault
from clientbook.sources.delivered import Request
from clientbook.sources.guessing import guess

CHUNK = 1 << 22
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # The longer mark first: UTF-32's begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LETTER_OF_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class Plain:
    """Where does the text lie in UTF-8?

    Parameters
    ----------
    path
        The delivered file itself, or a copy in scratch.
    encoding
        In which it was delivered.
    gaps
        Whether empty lines stand between lines.
    copied
        Whether ``path`` may be deleted.
    open_end
        Whether the last line has no line end, as when a transfer was cut.
    notes
        What is odd about the text.
    """

    path: Path
    encoding: str
    gaps: bool
    copied: bool
    open_end: bool = False
    notes: tuple[Fault, ...] = ()


def plain_text(engine: Engine, request: Request) -> Plain:
    """Where does this delivery lie as UTF-8 text, and what was it in?

    Parameters
    ----------
    engine
        Whose scratch folder takes the copy, where one is needed.
    request
        The file, and perhaps its encoding.

    Raises
    ------
    FaultError
        The file is empty, cut, not text, or not in the encoding given.
    """
    path = request.path
    encoding, notes = _given(request), ()
    if encoding is None:
        encoding, notes = find_encoding(request, path)
    if encoding not in ("utf-8", "ascii"):
        copy = engine.scratch_file(".txt")
        _transcode(request, path, copy, encoding)
        path = copy
    elif request.encoding:
        _check_utf8(request, path)
    gaps, open_end = _look_through(request, path)
    copied = path != request.path
    return Plain(path=path, encoding=encoding, gaps=gaps, copied=copied, open_end=open_end, notes=notes)


def find_encoding(request: Request, path: Path) -> tuple[str, tuple[Fault, ...]]:
    """Which encoding is this text in, and what must be told of it?

    UTF-8 and UTF-16 prove themselves. Everything else is a guess, and comes with a note.

    Parameters
    ----------
    request
        For messages.
    path
        The unzipped file. All of it is looked at: its first letter that is not ASCII may stand at its end.

    Raises
    ------
    FaultError
        The text is UTF-8 almost everywhere: to read it as anything else would spoil every name in it. Or the
        encoding cannot be told.
    """
    with path.open("rb") as stream:
        start = stream.read(4096)
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding, ()
    if len(start) > 3 and start.count(0) * 3 > len(start):
        # Without a mark, UTF-16 of Western text shows by a zero at every second place.
        return ("utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"), ()
    wrong, cut = _first_wrong(path)
    if wrong is None:
        return "utf-8", ()
    letters = bytes_in_letters = high = 0
    for chunk in _chunks(path):
        found = _LETTER_OF_UTF8.findall(chunk)
        letters += len(found)
        bytes_in_letters += sum(map(len, found))
        high += len(_HIGH.findall(chunk))
    if cut and letters:
        raise request.fault("The file is cut: it ends in the middle of a letter.", "Deliver it again.", row=wrong)
    if letters > 1 and bytes_in_letters > 0.8 * high:
        raise request.fault(
            "The file is UTF-8 nearly everywhere, but not here.",
            "Have it exported anew, or give its encoding (encoding: cp1252 reads every byte as one letter).",
            row=wrong,
        )
    encoding, note = guess(request, _chunks(path))
    return encoding, (note,)


def _given(request: Request) -> str | None:
    if request.encoding is None:
        return None
    try:
        found = codecs.lookup(request.encoding)
        if not found._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError):
        raise request.fault(
            f"There is no encoding {request.encoding!r}.", "Python's names are known: utf-8, cp1252, gb18030, big5."
        ) from None
    with request.path.open("rb") as stream:
        marked = stream.read(3) == codecs.BOM_UTF8
    return "utf-8-sig" if found.name == "utf-8" and marked else found.name


def _check_utf8(request: Request, path: Path) -> None:
    row, _ = _first_wrong(path)
    if row is not None:
        raise request.fault("The file is not in the encoding given.", "Leave encoding away to have it found.", row=row)


def _first_wrong(path: Path) -> tuple[int | None, bool]:
    """Which line is the first that is no UTF-8, and is that because the file ends in the middle of a letter?"""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 1
    for chunk in _chunks(path):
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return lines + error.object[: error.start].count(b"\n"), False
        lines += chunk.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return lines, True
    return None, False


def _transcode(request: Request, path: Path, copy: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    with copy.open("wb") as out:
        try:
            for chunk in _chunks(path):
                text = decoder.decode(chunk)
                out.write(text.encode("utf-8"))
                lines += text.count("\n")
            out.write(decoder.decode(b"", final=True).encode("utf-8"))
        except UnicodeError:
            raise request.fault(
                f"The file is not {encoding} all through.",
                "Give another encoding, or have it exported anew.",
                row=lines,
            ) from None


def _look_through(request: Request, path: Path) -> tuple[bool, bool]:
    """Is it text at all, do empty lines stand in it, and does it end without a line end?"""
    gaps, lines, ends, anything = False, 1, b"\n", False
    for chunk in _chunks(path):
        if b"\0" in chunk:
            row = lines + chunk[: chunk.index(b"\0")].count(b"\n")
            raise request.fault(
                "The file holds a zero byte: it is damaged, or no text.",
                "Have it exported anew. If it is UTF-16, say so (encoding: utf-16-le).",
                row=row,
            )
        lines += chunk.count(b"\n")
        # Line ends at the very end of the file are no gap: they wait until something follows.
        text = ends + chunk
        body = text.rstrip(b"\r\n")
        gaps = gaps or b"\n\n" in body or b"\n\r\n" in body or b"\r\r" in body
        anything = anything or bool(body.strip())
        ends = text[len(body) :] if len(body) else text[-8:]
    if not anything:
        raise request.fault("The file holds nothing but line ends.", "Deliver it again; at least the header is needed.")
    return gaps, not ends.endswith((b"\n", b"\r"))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
