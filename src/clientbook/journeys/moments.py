"""What happens before people move on, fall back or fall silent, and when do they answer?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from clientbook import parsing
from clientbook.journeys.declared import MOMENTS, RESPONSIVENESS
from clientbook.journeys.stages import Ways, has_topics, stage_of

# An hour with fewer messages than this is believed less than its channel as a whole; where one in a hundred answers,
# it takes about so many to see any difference between hours.
SHRINKAGE_MESSAGES = 200.0
# These are about no topic, and meet whatever journeys the subject is on.
AT_LARGE = ("case", "survey", "referral")
_KEYS = ("event_name", "kind", "level")
_MET = (*_KEYS, "is_loose", "lane", "day", "next_day", "next_level", "last_day")


def moments(
    timeline: ir.Table, ways: Ways, evidence: ir.Table, as_of: dt.date, *, zone: str, gap_days: int, window_days: int
) -> ir.Table:
    """After which events, at which stage, did people move on, fall back or fall silent?

    A moment is a day on which it happened; its stage is where the subject stood in the evening. What is laid beside
    it, the base, is the same share over all moments at that stage: those on a topic, or those that are about none. It
    was observed, not tried out: who does a thing may differ from who does not.

    Parameters
    ----------
    timeline
        The public table; cases, surveys and referrals without a topic meet all journeys that the subject was on.
    ways
        As from :func:`clientbook.journeys.follow`.
    evidence
        As from :func:`clientbook.journeys.as_evidence`.
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
    met = _on_topic(ways, evidence)
    if has_topics(timeline):
        met = ibis.union(met, _at_large(timeline, ways, zone, gap_days))
    met = met.filter(met["day"] < ibis.date((as_of - dt.timedelta(days=max(gap_days, window_days))).isoformat()))
    soon = (met["next_day"].delta(met["day"], unit="day") <= window_days).fill_null(False)
    met = met.mutate(
        on=soon & (met["next_level"] > met["level"]).fill_null(False),
        back=soon & (met["next_level"] < met["level"]).fill_null(False),
        silent=met["last_day"] <= met["day"],
    )
    each = met.group_by(*_KEYS, "is_loose").agg(
        n=met.count(), subjects=met["lane"].nunique(),
        on=met["on"].sum(), back=met["back"].sum(), silent=met["silent"].sum(),
    )  # fmt: skip
    at_stage = ibis.window(group_by=["level", "is_loose"])
    told = {}
    for name, column in (("moved_on", "on"), ("fell_back", "back"), ("went_silent", "silent")):
        told[name] = (each[column] / each["n"]).round(6)
        told[f"{name}_base"] = (each[column].sum().over(at_stage) / each["n"].sum().over(at_stage)).round(6)
    told["stage"] = stage_of(each["level"])
    return each.mutate(**told).order_by("level", "event_name", "kind").select(*MOMENTS.names)


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


def _on_topic(ways: Ways, evidence: ir.Table) -> ir.Table:
    """Each day on a journey with such an event, with what came after that day."""
    happened = ways.steps.select("lane", "number", "day", "code").distinct()
    met = happened.inner_join(ways.days, ["lane", "number", "day"]).inner_join(evidence, "code")
    return met.mutate(is_loose=ibis.literal(False)).select(*_MET)


def _at_large(timeline: ir.Table, ways: Ways, zone: str, gap_days: int) -> ir.Table:
    """Each day with such an event without a topic, once for each journey that its subject was on."""
    loose = timeline.filter(timeline["kind"].isin(AT_LARGE) & timeline["topic"].isnull())
    on = parsing.local(loose["occurred_at"], zone).date()
    loose = loose.select("subject_id", "event_name", "kind", on=on).distinct()
    stays = ways.days.filter(ways.days["day"] == ways.days["since"]).inner_join(ways.lanes, "lane")
    until = stays["next_day"].fill_null(stays["last_day"] + ibis.interval(days=gap_days))
    met = loose.inner_join(stays.mutate(until=until.cast("date")), "subject_id")
    met = met.filter((met["on"] >= met["day"]) & (met["on"] < met["until"]))
    return met.drop("day").rename(day="on").mutate(is_loose=ibis.literal(True)).select(*_MET)
