"""What does a delivered value mean: as an id, a number, a time, a flag?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.datatypes as dtypes
import ibis.expr.operations as ops
import ibis.expr.types as ir

from clientbook import clocks
from clientbook.faults import Fault
from clientbook.tables import Kind

# A price or a count beyond this is a slip of the keyboard, and would drown every sum.
LARGEST = 1e12
EARLIEST = dt.date(1900, 1, 1)
# Days of birth go further back, as far as people in books of history, but not to the year 1, which is how systems write
# that they know none.
OLDEST = dt.date(1000, 1, 1)
LATEST = dt.date(2200, 1, 1)

_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DAY_FIRST = ("%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y")
_MONTH_FIRST = ("%m.%d.%Y", "%m/%d/%Y", "%m-%d-%Y")
_OTHER_DAYS = ("%Y%m%d", "%Y/%m/%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
_MORE = ("%Y%m%d%H%M%S", "%Y%m%dT%H%M%S")
# Counted from 1970, in seconds, thousandths, millionths or less: as programs write a time. Of the years 2001 to 2030
# alone, so that no day of eight digits and hour is taken for a count.
EPOCH = "epoch"
_EPOCH = r"^1[0-8]\d{8}((\d{3}){0,3}|\.\d{1,9})$"

# DuckDB's own cast takes more than ISO 8601: `epoch`, `01-02-24` for a day of the year 1, an offset of 99 hours.
_WALL = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?"
_OFFSET = r"Z|z|UTC|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?"
_ISO = rf"^({_WALL}) ?({_OFFSET})?$"
_PLAIN = rf"^{_WALL}$"
_DIGITS = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
_BARE = r"^[+-]?[\d.,]+$"
# What stands for a currency beside an amount; the dollar's is that of many.
_SIGNS = {
    "EUR": ("€",), "GBP": ("£",), "JPY": ("¥", "円"), "CNY": ("¥", "元"), "CHF": ("Fr", "SFr"), "INR": ("₹",), "KRW": ("₩",),
    "PLN": ("zł",), "TRY": ("₺",), "ILS": ("₪",), "CZK": ("Kč",), "UAH": ("₴",), "VND": ("₫",), "NGN": ("₦",), "PHP": ("₱",),
    **dict.fromkeys(("SEK", "NOK", "DKK", "ISK"), ("kr",)), "BRL": (r"R\$",), "ZAR": ("R",),
    **dict.fromkeys(("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "CLP", "COP", "ARS", "TWD"), (r"\$",)),
}  # fmt: skip
# every blank that Unicode knows, and two that show nothing at all: spreadsheets and web pages leave them around ids
_WIDE = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF)
BLANKS = "".join(map(chr, (*range(9, 14), *range(28, 33), *_WIDE)))
_BLANK = "[" + "".join(rf"\x{{{ord(letter):x}}}" for letter in BLANKS) + "]"
_AT_THE_EDGE = f"^{_BLANK}|{_BLANK}$"
_TRUE = ("true", "t", "yes", "y", "1", "ja", "j", "oui", "si", "sí", "x")
_FALSE = ("false", "f", "no", "n", "0", "nein", "non")


# DuckDB's own functions; Spark calls them to_utc_timestamp, from_utc_timestamp and try_to_timestamp.
_to_instant = ibis.udf.scalar.builtin(
    lambda zone, wall: None, name="timezone", signature=((str, "timestamp"), "timestamp('UTC')")
)
_to_wall = ibis.udf.scalar.builtin(
    lambda zone, instant: None, name="timezone", signature=((str, "timestamp('UTC')"), "timestamp")
)
_try_strptime = ibis.udf.scalar.builtin(lambda text, pattern: None, name="try_strptime", signature=((str, str), "timestamp"))
# the same function; where the format takes an offset, DuckDB tells an instant
_try_strptime_zoned = ibis.udf.scalar.builtin(
    lambda text, pattern: None, name="try_strptime", signature=((str, str), "timestamp('UTC')")
)
# To UTC and back without asking a calendar: a wall clock of UTC is a count of microseconds.
_count = ibis.udf.scalar.builtin(lambda instant: None, name="epoch_us", signature=(("timestamp('UTC')",), "int64"))
_count_wall = ibis.udf.scalar.builtin(lambda wall: None, name="epoch_us", signature=(("timestamp",), "int64"))
_wall_of = ibis.udf.scalar.builtin(lambda n: None, name="make_timestamp", signature=(("int64",), "timestamp"))
_instant_of = ibis.udf.scalar.builtin(lambda n: None, name="make_timestamptz", signature=(("int64",), "timestamp('UTC')"))
_trim = ibis.udf.scalar.builtin(lambda text, letters: None, name="trim", signature=((str, str), str))


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
        The `strptime` formats of text times, tried in order before ISO 8601.
    currency
        The code of the money that amounts are in; its sign or code may stand beside them, that of another may not.
    """

    decimal: str = "."
    zone: str = "UTC"
    formats: tuple[str, ...] = ()
    currency: str = ""


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
    for step in _steps(column.type(), kind, reading):
        column = step(column)
    return column


def parse_all(rows: ir.Table, columns: Mapping[str, tuple[ir.Column, Kind, Reading]], tidy: Collection[str] = ()) -> ir.Table:
    """What does each of several columns mean?

    Parameters
    ----------
    rows
        Where the columns are.
    columns
        By the name that the meaning is to have: the column, as delivered, and the rest as for :func:`parse`.
    tidy
        Names of columns of text without :func:`is_untidy` values.

    Returns
    -------
    ibis.expr.types.Table
        The rows with what :func:`parse` gives of each column. What a value needs twice is worked out once for it, as it
        is a column of its own on the way.
    """
    steps = {name: _steps(column.type(), kind, reading, name in tidy) for name, (column, kind, reading) in columns.items()}
    rows = rows.mutate(**{name: steps[name][0](column) for name, (column, _, _) in columns.items()})
    for level in range(1, max(map(len, steps.values()), default=0)):
        rows = rows.mutate(**{name: step[level](rows[name]) for name, step in steps.items() if len(step) > level})
    return rows


def _steps(
    delivered: dtypes.DataType, kind: Kind, reading: Reading, tidy: bool = False
) -> list[Callable[[ir.Column], ir.Column]]:
    """One after another they turn a delivered column into what it means; each needs what is before it several times."""
    read = _as_it_is if tidy else text
    if kind in ("id", "text"):
        return [read]
    if kind == "money" and delivered.is_string():
        first, *rest = _number(delivered, reading.decimal, read)
        return [first, lambda said: _without_sign(said, reading.currency), *rest, _fitting]
    if kind in ("number", "money"):
        return [*_number(delivered, reading.decimal, read), _fitting]
    if kind == "flag":
        return [_as_it_is] if delivered.is_boolean() else [lambda column: read(column).lower(), _flag]
    said = [] if delivered.is_timestamp() or delivered.is_date() else [read]
    if kind == "date":
        # a day of birth has no zone: it is what the form says
        return [*said, lambda column: _wall_clock(column, reading), lambda column: _within(column, OLDEST).date()]
    return [*said, lambda column: _instant(column, reading), lambda column: _within(column, EARLIEST)]


def _as_it_is(column: ir.Column) -> ir.Column:
    return column


def is_untidy(column: ir.StringColumn) -> ir.BooleanColumn:
    """Has a text blanks around it, or is it empty? Of any other :func:`text` makes nothing but itself."""
    return column.re_search(_AT_THE_EDGE) | (column == "")


def text(column: ir.Column) -> ir.StringColumn:
    """A value as text without blanks around it; null where nothing is left. Whole numbers lose their `.0`."""
    if column.type().is_floating():
        # what is not a number at all is how a table of floats says that nothing is there
        whole = (column.isnan() | (column.abs() >= 2**53)).ifelse(ibis.null("float64"), column).round(0)
        plain = column.isnan().ifelse(ibis.null("string"), column.cast("string"))
        column = (whole == column).fill_null(False).ifelse(whole.cast("int64").cast("string"), plain)
    elif column.type().is_decimal():
        column = column.cast("string").re_replace(r"\.0+$", "")
    elif not column.type().is_string():
        column = column.cast("string")
    # trimming so many kinds of blank takes forty times as long as seeing that there is none
    return column.re_search(_AT_THE_EDGE).ifelse(_trim(column, BLANKS), column).nullif("")


def local(column: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """What the clock of a zone showed at a UTC time."""
    if zone == "UTC":
        return column
    told = _to_wall(zone, _instant_of(_count_wall(column)))
    # what is worked out on the way would be worked out anew for each comparison
    return _compared(column, clocks.to_wall(zone), told) if _is_stored(column.op()) else told


def utc(column: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """The UTC time at which the clock of a zone showed this."""
    return column if zone == "UTC" else _wall_of(_count(_to_instant(zone, column)))


def _compared(column: ir.TimestampColumn, turns: Sequence[clocks.Turn], otherwise: ir.TimestampColumn) -> ir.TimestampColumn:
    """By when clocks were turned, halved until one turn is left; a calendar is asked of years long past or ahead alone."""

    def among(some: Sequence[clocks.Turn]) -> ir.IntegerValue:
        if len(some) == 1:
            return ibis.literal(some[0].microseconds, "int64")
        half = len(some) // 2
        return (column < some[half].begins).ifelse(among(some[:half]), among(some[half:]))

    beyond = (column < clocks.BEGIN) | (column >= clocks.END)
    return beyond.ifelse(otherwise, _wall_of(_count_wall(column) + among(turns)))


def _is_stored(value: ops.Node) -> bool:
    """Is this a column as it lies in a table, under whatever name?"""
    while isinstance(value, ops.Field):
        rows = value.rel
        if isinstance(rows, ops.Project | ops.JoinChain):
            value = rows.values[value.name]
        elif isinstance(rows, ops.Filter | ops.Sort | ops.Limit | ops.Distinct | ops.JoinReference):
            value = ops.Field(rows.parent, value.name)
        else:
            return isinstance(rows, ops.PhysicalTable)
    return False


def detect_formats(column: ir.StringColumn) -> tuple[tuple[str, ...], Fault | None]:
    """In which formats are the times of a text column written?

    ISO 8601 needs no format; a count from 1970 is `epoch`. Whether the day or the month stands first is decided by the
    whole column: the order that reads more of its distinct values, with or without a time of day.

    Parameters
    ----------
    column
        Text, as delivered.

    Returns
    -------
    formats : tuple of str
        `strptime` formats that read at least one value, those that read most first.
    fault : Fault or None
        Where both orders read as many values, and differently: the column cannot be decided without the book.
    """
    values = text(column).name("_value").as_table().distinct()
    values = values.filter(_iso(values._value).isnull() & values._value.notnull())
    if not values.limit(1).to_pyarrow().num_rows:
        # as in most columns; to try every format would take longer than all the rest
        return (), None
    candidates = [day + time for day in (*_DAY_FIRST, *_MONTH_FIRST, *_OTHER_DAYS) for time in _TIMES] + list(_MORE)
    counts = values.aggregate(
        **{f"f{i}": _try_strptime(values._value, pattern).notnull().sum() for i, pattern in enumerate(candidates)},
        counted=values._value.re_search(_EPOCH).sum(),
        all=values.count(),
    )
    counts = counts.to_pyarrow().to_pylist()[0]
    read = {pattern: counts[f"f{i}"] or 0 for i, pattern in enumerate(candidates)} | {EPOCH: counts["counted"] or 0}
    found = {pattern: n for pattern, n in read.items() if n}
    fault = None
    for day_first, month_first in zip(_DAY_FIRST, _MONTH_FIRST, strict=True):
        times = [time for time in _TIMES if read[day_first + time] and read[month_first + time]]
        day, month = (sum(read[order + time] for time in _TIMES) for order in (day_first, month_first))
        for time in times:
            found.pop(day_first + time if month > day else month_first + time)
            if day == month and _differ(values, day_first + time, month_first + time):
                fault = Fault(
                    f"as many values read as {day_first}{time} as do as {month_first}{time}, with different days.",
                    "Say which it is under `dates`.",
                )
    return tuple(sorted(found, key=lambda pattern: (-found[pattern], pattern))), fault


def _differ(values: ir.Table, one: str, other: str) -> bool:
    a, b = _try_strptime(values._value, one), _try_strptime(values._value, other)
    return bool((~a.identical_to(b)).any().to_pyarrow().as_py())


def _number(delivered: dtypes.DataType, decimal: str, read: Callable) -> list[Callable[[ir.Column], ir.Column]]:
    if delivered.is_numeric():
        return [lambda column: column.cast("float64")]
    if delivered.is_boolean():
        return [lambda column: column.cast("int64").cast("float64")]
    return [
        lambda column: read(column).re_replace(r"[\s'’\x{00A0}\x{202F}]", ""),
        lambda said: _ungrouped(said, decimal),
        lambda said: said.re_search(_DIGITS).ifelse(said, ibis.null("string")).try_cast("float64"),
    ]


def _without_sign(said: ir.StringColumn, currency: str) -> ir.StringColumn:
    """An amount as a bare number: without the sign or code of its money, and with a minus in front where it is negative.

    Accountants write less than nothing in brackets, and some systems a minus behind.
    """
    signs = "|".join((*_SIGNS.get(currency, ()), *([f"(?i:{currency})"] if currency else []), ""))
    money = rf"([+-]?({signs})[+-]?[\d.,]+({signs})-?|\(({signs})[\d.,]+({signs})\))"
    odd = said.re_search(f"^{money}$") & ~said.re_search(_BARE) & ~said.re_search(r"[+-][+-]")
    minus = said.re_search(r"[-(]").ifelse("-", "")
    return odd.ifelse(minus + said.re_replace(r"[^\d.,]", ""), said)


def _ungrouped(said: ir.StringColumn, decimal: str) -> ir.StringColumn:
    if decimal == ",":
        grouped = said.re_search(r"^[+-]?\d{1,3}(\.\d{3})+(,\d*)?$")
        said = grouped.ifelse(said.replace(".", ""), said)
        # with a decimal comma, a point that does not part thousands makes the number unreadable
        return said.contains(".").ifelse(ibis.null("string"), said.replace(",", "."))
    grouped = said.re_search(r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
    return grouped.ifelse(said.replace(",", ""), said)


def _fitting(value: ir.FloatingColumn) -> ir.FloatingColumn:
    return (value.abs() <= LARGEST).ifelse(value, ibis.null("float64"))


def _flag(word: ir.StringColumn) -> ir.BooleanColumn:
    return ibis.cases((word.isin(_TRUE), True), (word.isin(_FALSE), False), else_=ibis.null("boolean"))


def _wall_clock(column: ir.Column, reading: Reading) -> ir.TimestampColumn:
    kind = column.type()
    if kind.is_timestamp():
        naive = column.try_cast("timestamp")
        return naive if kind.timezone is None else local(naive, reading.zone)
    if kind.is_date():
        return column.try_cast("timestamp")
    return ibis.coalesce(*[_formatted(column, pattern) for pattern in reading.formats], _iso(column))


def _instant(column: ir.Column, reading: Reading) -> ir.TimestampColumn:
    kind = column.type()
    if kind.is_timestamp() and kind.timezone is not None:
        return column.try_cast("timestamp")
    if kind.is_timestamp() or kind.is_date():
        return utc(_wall_clock(column, reading), reading.zone)
    written = [
        _formatted(column, pattern) if _tells_offset(pattern) else utc(_formatted(column, pattern), reading.zone)
        for pattern in reading.formats
    ]
    # most are a wall clock and no more; to take a text apart takes longer than to see that
    offset = column.re_extract(_ISO, 2).nullif("")
    # a plain cast would drop the offset without a word
    offset = offset.isin(("Z", "z", "UTC")).ifelse("+00", offset)
    wall = column.re_extract(_ISO, 1).try_cast("timestamp")
    zoned = (wall.cast("string") + offset).try_cast("timestamp('UTC')").cast("timestamp")
    plain = utc(column.try_cast("timestamp"), reading.zone)
    told = column.re_search(_PLAIN).ifelse(plain, offset.notnull().ifelse(zoned, utc(wall, reading.zone)))
    return ibis.coalesce(*written, told) if written else told


def _iso(value: ir.StringColumn) -> ir.TimestampColumn:
    """What the clock shows in a text of ISO 8601, whatever its offset; null for any other text."""
    return value.re_search(_PLAIN).ifelse(value, value.re_extract(_ISO, 1)).try_cast("timestamp")


def _formatted(value: ir.StringColumn, pattern: str) -> ir.TimestampColumn:
    if pattern == EPOCH:
        counted = value.re_search(_EPOCH).ifelse(value, ibis.null("string"))
        return _wall_of((counted.replace(".", "") + "000000").substr(0, 16).try_cast("int64"))
    if _tells_offset(pattern):
        return _try_strptime_zoned(value, pattern).cast("timestamp")
    return _try_strptime(value, pattern)


def _tells_offset(pattern: str) -> bool:
    # a count is one of UTC
    return pattern == EPOCH or "%z" in pattern.lower()


def _within(value: ir.TimestampColumn, earliest: dt.date) -> ir.TimestampColumn:
    fits = (value >= midnight(earliest)) & (value < midnight(LATEST))
    return fits.ifelse(value, ibis.null("timestamp"))


def day_begins(day: dt.date, zone: str) -> ir.TimestampScalar:
    """The UTC time at which a day begins in a zone; as a value, :func:`clientbook.clocks.day_begins` has it."""
    return utc(midnight(day), zone)


def midnight(day: dt.date) -> ir.TimestampScalar:
    """The time at which a day begins, without a zone."""
    return ibis.timestamp(day.year, day.month, day.day, 0, 0, 0)
