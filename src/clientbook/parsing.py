"""What does a delivered value mean: as an id, a number, a time, a flag?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from clientbook.faults import Fault
from clientbook.tables import Kind

# A price or a count beyond this is a slip of the keyboard, and would drown every sum.
LARGEST = 1e12
EARLIEST = dt.date(1900, 1, 1)
LATEST = dt.date(2200, 1, 1)

_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DAY_FIRST = ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y")
_MONTH_FIRST = ("%m.%d.%Y", "%m/%d/%Y", "%m-%d-%Y")
_OTHER_DAYS = ("%Y%m%d", "%Y/%m/%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
_MORE = ("%Y%m%d%H%M%S", "%Y%m%dT%H%M%S")

_ZONED = r"\d{1,2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2}|[+-]\d{2})$"
_TRUE = ("true", "t", "yes", "y", "1", "ja", "j", "oui", "si", "sí", "x")
_FALSE = ("false", "f", "no", "n", "0", "nein", "non")


# DuckDB's own functions; Spark calls them to_utc_timestamp, from_utc_timestamp and try_to_timestamp.
_to_instant = ibis.udf.scalar.builtin(
    lambda zone, wall: None, name="timezone", signature=((str, "timestamp"), "timestamp('UTC')")
)
_to_wall = ibis.udf.scalar.builtin(
    lambda zone, instant: None, name="timezone", signature=((str, "timestamp('UTC')"), "timestamp")
)
_try_strptime = ibis.udf.scalar.builtin(
    lambda text, pattern: None, name="try_strptime", signature=((str, str), "timestamp")
)


@dataclass(frozen=True)
class Reading:
    """How are a column's values to be read?

    Parameters
    ----------
    decimal
        The decimal mark of text numbers.
    zone
        What the clock of text and naive times shows.
    formats
        The `strptime` formats of text times, tried in order after ISO 8601.
    """

    decimal: str = "."
    zone: str = "UTC"
    formats: tuple[str, ...] = ()


def parse(column: ir.Column, kind: Kind, reading: Reading = Reading()) -> ir.Column:
    """What does each delivered value mean?

    Parameters
    ----------
    column
        As delivered, of any type.
    kind
        What the canonical column holds.
    reading
        How its values are to be read.

    Returns
    -------
    ibis.expr.types.Column
        string for `id` and `text`, float64 for `number` and `money`, timestamp (UTC) for `time`, date, boolean.
        Null where the value is blank or does not mean such a thing.
    """
    if kind in ("id", "text"):
        return text(column)
    if kind in ("number", "money"):
        return _number(column, reading.decimal)
    if kind == "flag":
        return _flag(column)
    if kind == "date":
        # a day of birth has no zone: it is what the form says
        return _within(_wall_clock(column, reading), dt.date(1, 1, 1)).date()
    return _within(_instant(column, reading), EARLIEST)


def text(column: ir.Column) -> ir.StringColumn:
    """A value as text without blanks around it; null where nothing is left. Whole floats lose their `.0`."""
    if column.type().is_floating():
        whole = column.round(0)
        fits = (whole == column) & (column.abs() < 2**53)
        column = fits.ifelse(column.cast("int64").cast("string"), column.cast("string"))
    if not column.type().is_string():
        column = column.cast("string")
    return column.strip().nullif("")


def local(column: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """What the clock of a zone showed at a UTC time."""
    return column if zone == "UTC" else _to_wall(zone, _to_instant("UTC", column))


def utc(column: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """The UTC time at which the clock of a zone showed this."""
    return column if zone == "UTC" else _to_wall("UTC", _to_instant(zone, column))


def detect_formats(column: ir.StringColumn) -> tuple[tuple[str, ...], Fault | None]:
    """In which formats are the times of a text column written?

    ISO 8601 needs no format. Whether the day or the month stands first is decided by the whole column: the order
    that reads more of it.

    Parameters
    ----------
    column
        Text, as delivered.

    Returns
    -------
    formats : tuple of str
        `strptime` formats that read at least one value, those that read most first.
    fault : Fault or None
        Where both orders read every value, and differently: the column cannot be decided without the book.
    """
    cleaned = text(column)
    odd = cleaned.try_cast("timestamp").isnull() & cleaned.notnull()
    values = cleaned.as_table().mutate(_odd=odd, _value=cleaned).filter(ibis._._odd).select("_value").distinct()
    candidates = [day + time for day in (*_DAY_FIRST, *_MONTH_FIRST, *_OTHER_DAYS) for time in _TIMES] + list(_MORE)
    counts = values.aggregate(
        **{f"f{i}": _try_strptime(values._value, pattern).notnull().sum() for i, pattern in enumerate(candidates)},
        all=values.count(),
    )
    counts = counts.to_pyarrow().to_pylist()[0]
    read = {pattern: counts[f"f{i}"] or 0 for i, pattern in enumerate(candidates)}
    found = {pattern: n for pattern, n in read.items() if n}
    fault = None
    for day_first, month_first in zip(_DAY_FIRST, _MONTH_FIRST, strict=True):
        for time in _TIMES:
            day, month = read[day_first + time], read[month_first + time]
            if day and month:
                found.pop(day_first + time if month > day else month_first + time)
                if day == month and _differ(values, day_first + time, month_first + time):
                    fault = Fault(
                        f"every value reads as {day_first}{time} and as {month_first}{time}, with different days.",
                        "Say which it is under `dates`.",
                    )
    return tuple(sorted(found, key=lambda pattern: (-found[pattern], pattern))), fault


def _differ(values: ir.Table, one: str, other: str) -> bool:
    a, b = _try_strptime(values._value, one), _try_strptime(values._value, other)
    return bool((a != b).any().to_pyarrow().as_py())


def _number(column: ir.Column, decimal: str) -> ir.FloatingColumn:
    if column.type().is_numeric():
        value = column.cast("float64")
    elif column.type().is_boolean():
        value = column.cast("int64").cast("float64")
    else:
        cleaned = text(column).re_replace(r"[\s'’\x{00A0}\x{202F}]", "")
        if decimal == ",":
            grouped = cleaned.re_search(r"^[+-]?\d{1,3}(\.\d{3})+(,\d*)?$")
            cleaned = grouped.ifelse(cleaned.replace(".", ""), cleaned)
            # with a decimal comma, a point that does not part thousands makes the number unreadable
            cleaned = cleaned.contains(".").ifelse(ibis.null("string"), cleaned.replace(",", "."))
        else:
            grouped = cleaned.re_search(r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
            cleaned = grouped.ifelse(cleaned.replace(",", ""), cleaned)
        plain = cleaned.re_search(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$")
        value = plain.ifelse(cleaned, ibis.null("string")).try_cast("float64")
    return (value.abs() <= LARGEST).ifelse(value, ibis.null("float64"))


def _flag(column: ir.Column) -> ir.BooleanColumn:
    if column.type().is_boolean():
        return column
    word = text(column).lower()
    return ibis.cases((word.isin(_TRUE), True), (word.isin(_FALSE), False), else_=ibis.null("boolean"))


def _wall_clock(column: ir.Column, reading: Reading) -> ir.TimestampColumn:
    kind = column.type()
    if kind.is_timestamp():
        return column.cast("timestamp") if kind.timezone is None else local(column.cast("timestamp"), reading.zone)
    if kind.is_date():
        return column.cast("timestamp")
    return _from_text(text(column), reading.formats)


def _from_text(value: ir.StringColumn, formats: Sequence[str]) -> ir.TimestampColumn:
    plain = ibis.coalesce(value.try_cast("timestamp"), *[_try_strptime(value, pattern) for pattern in formats])
    return plain


def _instant(column: ir.Column, reading: Reading) -> ir.TimestampColumn:
    if column.type().is_timestamp() and column.type().timezone is not None:
        return column.cast("timestamp")
    wall = utc(_wall_clock(column, reading), reading.zone)
    if not column.type().is_string():
        return wall
    value = text(column)
    # a plain cast would drop the offset without a word
    zoned = value.re_search(_ZONED)
    return zoned.ifelse(value.try_cast("timestamp('UTC')").cast("timestamp"), wall)


def _within(value: ir.TimestampColumn, earliest: dt.date) -> ir.TimestampColumn:
    fits = (value >= _midnight(earliest)) & (value < _midnight(LATEST))
    return fits.ifelse(value, ibis.null("timestamp"))


def _midnight(day: dt.date) -> ir.TimestampScalar:
    return ibis.timestamp(day.year, day.month, day.day, 0, 0, 0)
