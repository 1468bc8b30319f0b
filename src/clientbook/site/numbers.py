"""Numbers as people read them: three significant digits, thousands apart, the unit beside them."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

MISSING = "–"
NO_BREAK = "\u00a0"
MINUS = "\u2212"
SMALL_N = 30
LEAST_SHARE = 0.001

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥", "INR": "₹", "KRW": "₩"}
_STEPS = ((1e12, "tn"), (1e9, "bn"), (1e6, "M"))

Format = str | Callable[[Any], str]


def number(x: Any, digits: int = 3) -> str:
    """How is this number said to a person?

    Parameters
    ----------
    x
        Any real number. Whole numbers below a million are counts and stay exact; everything else is
        rounded.
    digits
        Significant digits to keep.

    Returns
    -------
    str
        Such as ``23,570``, ``1.07 M`` or ``0.243``; a dash where there is no value.

    Examples
    --------
    >>> number(23570), number(1234.5678), number(0.24263)
    ('23,570', '1,230', '0.243')
    """
    value = _real(x)
    if value is None:
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value.is_integer() and abs(value) < 1e6:
        return _signed(f"{value:,.0f}")
    rounded = _round(value, digits)
    for size, name in _STEPS:
        if abs(rounded) >= size:
            return f"{_plain(rounded / size, digits)}{NO_BREAK}{name}"
    return _plain(rounded, digits)


def money(x: Any, currency: str | None = None, digits: int = 3) -> str:
    """How is this amount said to a person?

    Parameters
    ----------
    x
        The amount in units of the currency.
    currency
        An ISO 4217 code; without one the amount stands alone.
    digits
        Significant digits from 100 units on; below, cents are shown.

    Returns
    -------
    str
        Such as ``£35.17``, ``€1,230`` or ``CHF 1.2 M``.
    """
    value = _real(x)
    if value is None:
        return MISSING
    if abs(value) < 100 and not float(value).is_integer():
        text = f"{abs(value):,.2f}"
    else:
        # An amount is measured, not counted: it is rounded even where it happens to be whole.
        text = number(_round(abs(value), digits), digits)
    sign = MINUS if value < 0 and text.strip("0.,") else ""
    if not currency:
        return sign + text
    symbol = _SYMBOLS.get(currency.upper())
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{currency.upper()}{NO_BREAK}{text}"


def percent(x: Any, digits: int = 3, least: float = LEAST_SHARE) -> str:
    """How is this share said to a person?

    Parameters
    ----------
    x
        A fraction: 0.25 is a quarter.
    digits
        Significant digits to keep.
    least
        What is less than this share, and not nothing, is said to be less: its digits would promise what few cases cannot hold.

    Returns
    -------
    str
        Such as ``25 %`` or ``<0.1 %``. What is not quite all is never said to be 100 %.
    """
    value = _real(x)
    if value is None:
        return MISSING
    if math.isinf(value):
        return number(value)
    if 0 < value < least:
        return f"<{_plain(least * 100, digits)}{NO_BREAK}%"
    rounded = _round(value * 100, digits)
    if value < 1 and rounded >= 100:
        return f">99.9{NO_BREAK}%"
    return f"{_plain(rounded, digits)}{NO_BREAK}%"


def points(x: Any) -> str:
    """How is a difference of two shares said to a person?

    Parameters
    ----------
    x
        Of fractions: -0.086 is 8.6 percentage points less.

    Returns
    -------
    str
        Such as ``+4.0 points`` or ``−8.6 points``.
    """
    value = _real(x)
    if value is None:
        return MISSING
    return f"{_signed(f'{value * 100:+,.1f}')}{NO_BREAK}points"


def share(x: float, places: int = 1) -> str:
    """How is this share said within a sentence? What is not quite all is never said to be 100%, nor a little to be nothing.

    Parameters
    ----------
    x
        A fraction.
    places
        Behind the point.

    Returns
    -------
    str
        Such as ``25.0%``, ``>99.9%`` or ``<0.1%``.
    """
    least = max(LEAST_SHARE, 10.0 ** -(places + 2))
    if 0 < x < least:
        return f"<{least:.{places}%}"
    told = f"{x:.{places}%}"
    return f">{1 - 10.0 ** -(places + 2):.{places}%}" if x < 1 and told == f"{1:.{places}%}" else told


def date(day: datetime.date) -> str:
    """How is this day said to a person, in a way that no country misreads?"""
    return f"{day.day} {day:%B} {day.year}"


def quantity(x: Any, unit: str = "") -> str:
    """How is a value said together with its unit?

    Parameters
    ----------
    x
        The value.
    unit
        An ISO 4217 code makes it money; ``share``, ``percent`` or ``%`` a percentage of a fraction;
        any other unit follows the number.
    """
    if re.fullmatch(r"[A-Z]{3}", unit or ""):
        return money(x, unit)
    if unit in {"share", "percent", "%"}:
        return percent(x)
    text = number(x)
    return f"{text}{NO_BREAK}{unit}" if unit and text != MISSING else text


def formatter(kind: Format, currency: str | None = None) -> Callable[[Any], str]:
    """Which function writes values of this kind?

    Parameters
    ----------
    kind
        ``number``, ``money``, ``percent``, ``points`` (of percent), ``text``, or a function of one value.
    currency
        For ``money``.

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    if callable(kind):
        return kind
    kinds = {"number": number, "money": lambda x: money(x, currency), "percent": percent, "points": points, "text": text}
    if kind not in kinds:
        raise ValueError(f"no format {kind!r}: use one of {', '.join(kinds)} or a function of one value")
    return kinds[kind]


def on_axis(kind: Format, currency: str | None = None) -> Callable[[Any], str]:
    """Which function writes the ticks of an axis of this kind? There also small shares are told apart.

    Parameters
    ----------
    kind, currency
        See :func:`formatter`.
    """
    return (lambda x: percent(x, least=0.0)) if kind == "percent" else formatter(kind, currency)


def column(values: Sequence[Any], kind: Format, currency: str | None = None) -> list[str]:
    """How are these written below each other?

    Parameters
    ----------
    values
        The values of one column.
    kind, currency
        See :func:`formatter`.

    Returns
    -------
    list of str
        Numbers and percentages get as many decimals as most of them need, so that the eye compares their
        lengths; what would then be nothing keeps its own, and what is said to be less or more than a bound stays so.
    """
    written = [formatter(kind, currency)(value) for value in values]
    if kind not in ("number", "percent") or len(values) < 2:
        return written
    unit, factor = (f"{NO_BREAK}%", 100) if kind == "percent" else ("", 1)
    reals = [None if (value := _real(x)) is None else value * factor for x in values]
    known = [abs(x) for x, as_is in zip(reals, written, strict=True) if x and abs(x) < 1e6 and as_is[:1] not in "<>"]
    if all(round(x, 9).is_integer() for x in known):
        return written
    wanted = sorted(min(6, max(0, 2 - math.floor(math.log10(x)))) for x in known)
    # no share of what is counted here is known to a thousandth of a percent
    decimals = min(wanted[len(wanted) // 2], 2) if unit else wanted[len(wanted) // 2]
    return [
        f"{_signed(f'{x:,.{decimals}f}')}{unit}"
        if x is not None and abs(x) < 1e6 and (x == 0 or abs(x) >= 0.5 * 10**-decimals) and as_is[:1] not in "<>"
        # what is not quite all is never said to be all
        and not (unit and x < 100 <= round(x, decimals))
        else as_is
        for x, as_is in zip(reals, written, strict=True)
    ]


def text(x: Any) -> str:
    """How is any single value written: days as days, truth as yes or no, nothing as a dash?"""
    if _is_missing(x):
        return MISSING
    if isinstance(x, datetime.datetime):
        day_only = (x.hour, x.minute, x.second, x.microsecond) == (0, 0, 0, 0)
        return f"{x:%Y-%m-%d}" if day_only else f"{x:%Y-%m-%d %H:%M}"
    if isinstance(x, datetime.date):
        return x.isoformat()
    if type(x).__name__ in {"bool", "bool_"}:
        return "yes" if x else "no"
    return str(x)


def _is_missing(x: Any) -> bool:
    if x is None or type(x).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(x, float) and math.isnan(x)


def _real(x: Any) -> float | None:
    if _is_missing(x):
        return None
    value = float(x)
    return None if math.isnan(value) else value


def _round(value: float, digits: int) -> float:
    if value == 0 or math.isinf(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def _plain(value: float, digits: int) -> str:
    """Write a rounded value without an exponent and without zeros that say nothing."""
    if value == 0:
        return "0"
    decimals = min(12, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    out = f"{value:,.{decimals}f}"
    return _signed(out.rstrip("0").rstrip(".") if "." in out else out)


def _signed(out: str) -> str:
    return out.replace("-", MINUS) if out.strip("-0.,") else out.lstrip("-")
