"""Which encoding may text be in that is no UTF-8? Told with a note or a fault, never silently."""

from __future__ import annotations

import re
from collections.abc import Iterable

from charset_normalizer import from_bytes

from clientbook.faults import Fault
from clientbook.sources.delivered import Request

# More than a person would read to find out; what follows says nothing new.
_SAMPLE = 1 << 18
# Below that many different words the statistics of two alphabets cannot be told apart (measured: half are wrong at 1).
_FEWEST_WORDS = 20
_TO_UTF_8 = "Name it by encoding, or have the file exported as UTF-8."
_LINE = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*")
_WORD = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_HIGH = re.compile(rb"[\x80-\xff]+")
# Quotes, dashes, currencies: they say nothing about letters.
_MARKS = bytes([0x80, 0x82, *range(0x84, 0x88), 0x89, 0x8B, *range(0x91, 0x98), 0x99, 0x9B, 0xA0, 0xA9, 0xAB, 0xAE,
                0xB0, 0xB4, 0xB7, 0xBB])  # fmt: skip
# Inside a word these are letters of Polish, Czech or Hungarian; in Windows-1252 they would be a £ or a ³.
_EASTERN = re.compile(rb"[A-Za-z][\xa3\xa5\xb3\xb9\xbc\xbe\xbf\x9d]|[\xa3\xa5\xb3\xb9\xbc\xbe\xbf\x9d][a-z]")
_OTHERS = (
    "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874",
)  # fmt: skip


def guess(request: Request, chunks: Iterable[bytes]) -> tuple[str, Fault]:
    """Which encoding is this most probably, and what must the user know of the guess?

    Latin letters show by standing singly among ASCII letters: they are read as Windows-1252, or as Windows-1250 where
    that alone makes letters of them. Other alphabets are told apart by their statistics.

    Parameters
    ----------
    request
        For messages.
    chunks
        The text, which is not UTF-8.

    Raises
    ------
    FaultError
        There is too little text to tell, or nothing fits.
    """
    sample = _sample(chunks)
    words = set(_WORD.findall(sample))
    # a letter that stands alone, as the sign for a diameter does, is a word of no alphabet: beside others it says nothing
    words = {word for word in words if len(word) > 1} or words
    foreign = [word for word in words if not _is_latin(word)]
    possible = [name for name in _OTHERS if _decodes(sample, name)]
    if len(foreign) * 10 <= len(words) or not possible:
        eastern = sum(bool(_EASTERN.search(word)) for word in words)
        latin = ["cp1250", "cp1252", "latin-1"] if eastern * 10 > len(words) else ["cp1252", "latin-1"]
        found = next(name for name in latin if _decodes(sample, name))
    else:
        found = _by_statistics(request, sample, words, possible)
    others = ", ".join(name for name in ("cp1252", "cp1250", "cp1254", "gb18030", "big5") if name != found)
    return found, request.note(
        f"The file is not UTF-8; it is read as {found}.",
        f"If letters look wrong, name its encoding (such as {others}).",
    )


def _by_statistics(request: Request, sample: bytes, words: set[bytes], possible: list[str]) -> str:
    best = None
    if len(words) >= _FEWEST_WORDS:
        best = from_bytes(sample, cp_isolation=possible, threshold=0.4, enable_fallback=False).best()
    if best is None:
        raise request.fault(
            f"The file is not UTF-8, and its encoding cannot be told; it may be {', '.join(possible)}.",
            f"{_TO_UTF_8} For Chinese, encoding: gb18030 or encoding: big5.",
        )
    return best.encoding


def _sample(chunks: Iterable[bytes]) -> bytes:
    lines: list[bytes] = []
    size, rest = 0, b""
    for chunk in chunks:
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        if not end and len(rest) > 4 * _SAMPLE:
            whole, rest = rest, b""
        for line in _LINE.findall(whole):
            lines.append(line)
            size += len(line)
            if size > _SAMPLE:
                return b"\n".join(lines)
    return b"\n".join([*lines, *_LINE.findall(rest)])


def _is_latin(word: bytes) -> bool:
    high = len(word.translate(None, _MARKS + bytes(range(0x80))))
    runs = _HIGH.findall(word.translate(None, _MARKS))
    letters = len(word) - sum(map(len, _HIGH.findall(word)))
    return high == 0 or (high <= letters and max(map(len, runs)) <= 2)


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
