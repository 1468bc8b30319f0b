"""Which event follows which, and which ways do subjects take?"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

# A way of so many events is a robot's or a crowd's; the rest of it is cut, or one subject could fill the memory.
LONGEST_VARIANT = 1_000
JOIN = " > "


def raw_events(timeline: ir.Table) -> ir.Table:
    """The events that were delivered as such; the whole timeline where there are none.

    Parameters
    ----------
    timeline
        The public table.
    """
    events = timeline.filter(timeline["kind"] == "event")
    return events if events.limit(1).count().to_pyarrow().as_py() else timeline


def event_transitions(events: ir.Table) -> ir.Table:
    """How often does one event directly follow another of the same subject?

    Parameters
    ----------
    events
        `subject_id`, `event_name`, `occurred_at`, `arrival`; equal times keep the order of arrival.

    Returns
    -------
    ibis.expr.types.Table
        The public table `event_transitions`, most frequent first.
    """
    along = ibis.window(group_by="subject_id", order_by=["occurred_at", "arrival", "event_name"])
    pairs = events.mutate(event_from=events["event_name"].lag().over(along))
    pairs = pairs.filter(pairs["event_from"].notnull())
    counted = pairs.group_by("event_from", event_to=pairs["event_name"]).agg(n=pairs.count())
    return counted.order_by(ibis.desc("n"), "event_from", "event_to")


def variants(events: ir.Table, longest: int = LONGEST_VARIANT) -> ir.Table:
    """Which ways did subjects take, from their first event to their last, and how many took each?

    Parameters
    ----------
    events
        As for :func:`event_transitions`.
    longest
        Ways of more events are cut there, and end in ` > …`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `variants`, most frequent first.
    """
    order = ["occurred_at", "arrival", "event_name"]
    counted = events.group_by("subject_id").agg(length=events.count())
    ways = [events]
    if (counted["length"].max().to_pyarrow().as_py() or 0) > longest:
        # only what is too long has to be numbered
        long = counted.filter(counted["length"] > longest)
        along = ibis.window(group_by="subject_id", order_by=order)
        placed = events.semi_join(long, "subject_id").mutate(place=ibis.row_number().over(along))
        placed = placed.filter(placed["place"] <= longest)
        cut = placed.mutate(event_name=(placed["place"] < longest).ifelse(placed["event_name"], "…")).drop("place")
        ways = [events.anti_join(long, "subject_id"), cut]
    each = [
        way.group_by("subject_id").agg(variant=way["event_name"].group_concat(JOIN, order_by=[way[c] for c in order]))
        for way in ways
    ]
    each = ibis.union(*each) if len(each) > 1 else each[0]
    counts = each.group_by("variant").agg(n=each.count())
    return counts.order_by(ibis.desc("n"), "variant")


def funnel(events: ir.Table, names: Sequence[str]) -> pd.DataFrame:
    """How many subjects did the first of these, how many then the second, and so on, in this order?

    Parameters
    ----------
    events
        As for :func:`event_transitions`.
    names
        Of the events, in order; other events may come between.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `subjects`, `share` (of those who did the first), `of_before` (of those at the step before).
    """
    along = ibis.window(group_by="subject_id", order_by=["occurred_at", "arrival", "event_name"])
    rows = events.filter(events["event_name"].isin(list(names)))
    rows = rows.select("subject_id", "event_name", place=ibis.row_number().over(along))
    reached, counts = None, []
    for name in names:
        some = rows.filter(rows["event_name"] == name)
        if reached is not None:
            some = some.inner_join(reached, "subject_id")
            some = some.filter(some["place"] > some["after"])
        reached = some.group_by("subject_id").agg(after=some["place"].min())
        counts.append(int(reached.count().to_pyarrow().as_py()))
    told = pd.DataFrame({"event_name": list(names), "subjects": counts})
    before = told["subjects"].shift(fill_value=counts[0] if counts else 0)
    return told.assign(
        share=told["subjects"] / max(counts[0] if counts else 0, 1), of_before=told["subjects"] / before.clip(lower=1)
    )
