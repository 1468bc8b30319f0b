"""When are clocks turned, and by how much do they then differ from UTC?

DuckDB's calendar is asked once for each zone: to ask it for each row takes twenty times as long as to compare with when
clocks were turned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import duckdb

from clientbook.store import without_bar

# The years that most of a book's times are of; a calendar is asked of all others.
BEGIN, END = dt.datetime(2005, 1, 1), dt.datetime(2035, 1, 1)


class Turn(NamedTuple):
    """From when on does a clock differ by how much?

    Parameters
    ----------
    begins
        A UTC time.
    microseconds
        To be added to it.
    """

    begins: dt.datetime
    microseconds: int


@lru_cache(maxsize=64)
def to_wall(zone: str) -> tuple[Turn, ...]:
    """What is added to a UTC time for what the clock of a zone showed?

    Parameters
    ----------
    zone
        A name of the IANA database.

    Returns
    -------
    tuple of Turn
        In order; the first begins with `BEGIN`.
    """
    query = "SELECT epoch_us(timezone($zone, timezone('UTC', t))) - epoch_us(t) FROM (SELECT unnest($times) AS t)"
    with _calendar() as con:

        def changes(times: Sequence[dt.datetime]) -> list[tuple[dt.datetime, Turn]]:
            if not times:
                return []
            off = [row[0] for row in con.execute(query, {"zone": zone, "times": times}).fetchall()]
            beside = zip(times, times[1:], off, off[1:], strict=False)
            return [(before, Turn(after, now)) for before, after, was, now in beside if now != was]

        first = con.execute(query, {"zone": zone, "times": [BEGIN]}).fetchall()[0][0]
        spans = [(BEGIN, Turn(END, 0))]
        # clocks are turned at whole minutes: days on which something changed are looked at by the hour, then by the minute
        for step in (dt.timedelta(days=1), dt.timedelta(hours=1), dt.timedelta(minutes=1)):
            # between two of these spans nothing changes
            spans = changes([time for start, turn in spans for time in _every(start, turn.begins, step)])
    return (Turn(BEGIN, first), *(turn for _, turn in spans))


@lru_cache(maxsize=64)
def day_begins(day: dt.date, zone: str) -> dt.datetime:
    """When does a day begin in a zone?

    Parameters
    ----------
    day
        By the clock of the zone.
    zone
        A name of the IANA database.

    Returns
    -------
    datetime.datetime
        UTC, as :func:`clientbook.parsing.utc` has it: the second midnight where clocks are turned back to it, and the
        first instant of the day where they are turned ahead from it.
    """
    query = "SELECT make_timestamp(epoch_us(timezone($zone, $wall)))"
    with _calendar() as con:
        return con.execute(query, {"zone": zone, "wall": dt.datetime.combine(day, dt.time())}).fetchall()[0][0]


@contextmanager
def _calendar() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        without_bar(con)
        con.execute("SET TimeZone = 'UTC'")
        yield con


def _every(start: dt.datetime, end: dt.datetime, step: dt.timedelta) -> list[dt.datetime]:
    return [start + i * step for i in range((end - start) // step + 1)]
