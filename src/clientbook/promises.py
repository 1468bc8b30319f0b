"""When is what was promised late?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from clientbook import parsing


def is_late(deliveries: ir.Table, zone: str) -> ir.BooleanColumn:
    """Did it arrive after it was :func:`due`? Null where either is not known.

    Parameters
    ----------
    deliveries
        Clean deliveries, with `promised_at` and `delivered_at`.
    zone
        The book's.
    """
    return deliveries["delivered_at"] > due(deliveries["promised_at"], zone)


def due(promised_at: ir.TimestampColumn, zone: str) -> ir.TimestampColumn:
    """Until when is what was promised in time?

    Parameters
    ----------
    promised_at
        UTC.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.TimestampColumn
        UTC. What was promised for the very beginning of a day was promised for that day, as a day without a clock is read
        so, and is in time until its last microsecond; all else is in time until the instant that was said.
    """
    day = parsing.local(promised_at, zone).truncate("D")
    last = parsing.utc(day + ibis.interval(days=1), zone) - ibis.interval(microseconds=1)
    # not every day begins at 0:00 where clocks are turned then
    return (parsing.utc(day, zone) == promised_at).ifelse(last, promised_at)
