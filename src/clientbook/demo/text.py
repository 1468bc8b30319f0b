"""Columns of text, without a loop over rows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def pick(values, codes) -> pa.Array:
    """The text for each code; a negative code is no text."""
    codes = np.asarray(codes)
    return pa.array(values, pa.string()).take(pa.array(codes, pa.int64(), mask=codes < 0))


def same(value: str, size: int) -> pa.Array:
    """One text in every row."""
    return pa.array([value] * size, pa.string())


def join(*parts, by: str = "") -> pa.Array:
    """Parts put together; texts alone stand for every row."""
    return pc.binary_join_element_wise(*parts, by)


def digits(numbers, width: int = 0) -> pa.Array:
    """Whole numbers as text, with leading zeros."""
    text = pc.cast(pa.array(numbers), pa.string())
    return pc.utf8_lpad(text, width, "0") if width else text


def ids(prefix: str, numbers: np.ndarray, salt: int, width: int = 9) -> pa.Array:
    """Ids that look drawn at random, one for each number below a thousand million."""
    scattered = (np.asarray(numbers, np.uint64) * np.uint64(387_420_489 + 2 * salt) + np.uint64(97_531 * salt)) % np.uint64(
        999_999_937
    )
    return join(prefix, digits(scattered.astype(np.int64), width))


_HEX = np.array([f"{byte:02x}".encode() for byte in range(256)], dtype="S2")


def hexadecimal(numbers: np.ndarray) -> pa.Array:
    """64-bit numbers as 16 hexadecimal digits."""
    numbers = np.ascontiguousarray(numbers, dtype=">u8")
    text = _HEX[numbers.view(np.uint8)].view("S16") if len(numbers) else np.zeros(0, "S16")
    return pa.Array.from_buffers(
        pa.string(),
        len(numbers),
        [None, pa.py_buffer(np.arange(0, 16 * len(numbers) + 1, 16, dtype=np.int32)), pa.py_buffer(text.tobytes())],
    )


def only(column: pa.Array, keep: np.ndarray) -> pa.Array:
    """Empty the cells that are not kept."""
    return pc.if_else(pa.array(keep), column, pa.scalar(None, column.type))


def either(condition: np.ndarray, yes: pa.Array, no: pa.Array) -> pa.Array:
    """Cell by cell, one column or the other."""
    return pc.if_else(pa.array(condition), yes, no)


def cents(amounts: np.ndarray, comma: bool = False) -> pa.Array:
    """Money as text with two decimals."""
    whole = np.round(np.asarray(amounts) * 100).astype(np.int64)
    text = join(digits(np.abs(whole) // 100), digits(np.abs(whole) % 100, 2), by="," if comma else ".")
    return either(whole < 0, join("-", text), text)


@lru_cache(maxsize=4)
def _day_times(layout: str) -> pa.Array:
    return pa.array(
        [
            layout.replace("%H", f"{i // 3600:02d}").replace("%M", f"{i // 60 % 60:02d}").replace("%S", f"{i % 60:02d}")
            for i in range(86_400)
        ],
        pa.string(),
    )


def stamp(times: np.ndarray, layout: str = "%Y-%m-%d %H:%M:%S") -> pa.Array:
    """Local seconds as text, a date layout, a blank and a time layout; 0 and below is no time."""
    times = np.asarray(times)
    dates, clock = layout.split(" ")
    days, which = np.unique(times // 86_400, return_inverse=True)
    written = pc.strftime(pa.array(days * 86_400, pa.int64()).cast(pa.timestamp("s")), dates)
    return only(join(written.take(pa.array(which)), _day_times(clock).take(pa.array(times % 86_400)), by=" "), times > 0)


def coded(values, codes) -> pa.DictionaryArray:
    """Like `pick`, but kept as codes: for columns of few values and many rows."""
    codes = np.asarray(codes)
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=codes < 0), pa.array(values, pa.string()))


def moment(times: np.ndarray, utc: bool = False, unknown: int = 0) -> pa.Array:
    """Seconds as a timestamp column; `unknown` is no time."""
    return (
        pa.array(np.asarray(times), pa.int64(), mask=np.asarray(times) <= unknown)
        .cast(pa.timestamp("s"))
        .cast(pa.timestamp("us", "UTC" if utc else None))
    )


def letters(column: pa.Array) -> np.ndarray:
    """Text as a matrix of code points, a row a text, zeros behind its end."""
    words = np.array(column.to_numpy(zero_copy_only=False), dtype=str)
    width = max(words.dtype.itemsize // 4, 1)
    return np.ascontiguousarray(words).view(np.uint32).reshape(len(words), width)


def words(matrix: np.ndarray) -> pa.Array:
    """The inverse of `letters`."""
    matrix = np.ascontiguousarray(matrix.astype(np.uint32))
    return pa.array(matrix.view(f"U{matrix.shape[1]}").ravel().astype(object), pa.string())


def capitals(column: pa.Array) -> pa.Array:
    """As people write them: ß is SS."""
    return pc.replace_substring(pc.utf8_upper(column), "\u1e9e", "SS")
