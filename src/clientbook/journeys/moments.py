"""What happens before people move on, fall back or fall silent, and when do they answer?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from clientbook import parsing
from clientbook.journeys.declared import MOMENTS, RESPONSIVENESS
from clientbook.journeys.stages import changes, instant_of

# A channel's hour with fewer messages than this is believed less than the channel as a whole.
SHRINKAGE_MESSAGES = 200.0
# These are about no topic, and meet whatever journeys the subject is on.
AT_LARGE = ("case", "survey", "referral")
_KEYS = ("event_name", "kind", "stage")


def moments(
    timeline: ir.Table, steps: ir.Table, as_of: dt.date, *, zone: str, gap_days: int, window_days: int
) -> ir.Table:
    """After which events, at which stage, did people move on, fall back or fall silent?

    What is laid beside it, the base, is the same share over all events at that stage. It was observed, not tried out:
    who does a thing may differ from who does not.

    Parameters
    ----------
    timeline
        The public table; cases, surveys and referrals without a topic meet all journeys that the subject was on.
    steps
        As from :func:`clientbook.journeys.walk`.
    as_of
        The day of the run; events so late that what followed is not fully known are left out.
    zone
        The book's.
    gap_days
        Days of silence that close a journey.
    window_days
        How soon a move counts as following.

    Returns
    -------
    ibis.expr.types.Table
        The public table `moments`, by stage and event.
    """
    known = instant_of(as_of, zone) - ibis.interval(days=max(gap_days, window_days))
    met = ibis.union(_on_topic(steps), _at_large(timeline, steps))
    met = met.filter(met["occurred_at"] < known)
    soon = (met["next_at"] <= met["occurred_at"] + ibis.interval(days=window_days)).fill_null(False)
    met = met.mutate(
        on=soon & (met["next_level"] > met["level"]).fill_null(False),
        back=soon & (met["next_level"] < met["level"]).fill_null(False),
        silent=met["last_at"] <= met["occurred_at"],
    )
    each = met.group_by(*_KEYS).agg(
        n=met.count(), subjects=met["subject_id"].nunique(),
        on=met["on"].sum(), back=met["back"].sum(), silent=met["silent"].sum(),
    )  # fmt: skip
    at_stage = ibis.window(group_by="stage")
    told = {}
    for name, column in (("moved_on", "on"), ("fell_back", "back"), ("went_silent", "silent")):
        told[name] = (each[column] / each["n"]).round(6)
        told[f"{name}_base"] = (each[column].sum().over(at_stage) / each["n"].sum().over(at_stage)).round(6)
    return each.mutate(**told).select(*MOMENTS.names).order_by("stage", "event_name", "kind")


def responsiveness(messages: ir.Table | None, zone: str) -> ir.Table:
    """On which channel, weekday and hour are messages answered?

    Parameters
    ----------
    messages
        Clean messages; operational ones are left out. None gives an empty table.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        The public table `responsiveness`. The rate of an hour with few messages is drawn towards its channel's.
    """
    if messages is None:
        kinds = {"channel": "string", "rate": "float64"}
        return ibis.memtable([], schema={name: kinds.get(name, "int64") for name in RESPONSIVENESS.names})
    sent = messages.filter(~messages["is_operational"].fill_null(False))
    local = parsing.local(sent["sent_at"], zone)
    sent = sent.mutate(
        weekday=(local.day_of_week.index() + 1).cast("int64"),
        hour=local.hour().cast("int64"),
        answered=sent["clicked_at"].notnull() | sent["replied_at"].notnull(),
    )
    each = sent.group_by("channel", "weekday", "hour").agg(
        messages=sent.count(), opens=sent["opened_at"].count(), clicks=sent["clicked_at"].count(),
        replies=sent["replied_at"].count(), answers=sent["answered"].sum(),
    )  # fmt: skip
    channel = ibis.window(group_by="channel")
    overall = each["answers"].sum().over(channel) / each["messages"].sum().over(channel)
    each = each.mutate(overall=overall)
    rate = (each["answers"] + SHRINKAGE_MESSAGES * each["overall"]) / (each["messages"] + SHRINKAGE_MESSAGES)
    return each.mutate(rate=rate.round(6)).select(*RESPONSIVENESS.names).order_by("channel", "weekday", "hour")


def _on_topic(steps: ir.Table) -> ir.Table:
    """Each event on a journey, with the next change of its stage."""
    rows = steps.filter(steps["level"].notnull())
    begun = changes(steps).select("journey_id", "place", "next_at", "next_level")
    begins = rows.left_join(begun, ["journey_id", "place"])
    begins = begins.drop([name for name in begins.columns if name.endswith("_right")])
    # the change that a row lives in is the latest one up to it
    sofar = ibis.window(group_by="journey_id", order_by="place", preceding=None, following=0)
    begins = begins.mutate(since=begins["next_known"].max().over(sofar)) if "next_known" in begins.columns else begins
    return begins.select(*_KEYS, "subject_id", "occurred_at", "level", "next_at", "next_level", "last_at")


def _at_large(timeline: ir.Table, steps: ir.Table) -> ir.Table:
    rows = timeline.filter(timeline["kind"].isin(AT_LARGE) & timeline["topic"].isnull())
    return rows
