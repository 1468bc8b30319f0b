"""In which stage was each subject on each topic, and since when?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir

from clientbook import parsing
from clientbook.engine import Engine
from clientbook.journeys.declared import STAGE_INTERVALS
from clientbook.journeys.timeline import CLOSED, LOST, OPENED, WON
from clientbook.tables import STAGES

METHOD = "filtered"


def instant_of(day: dt.date, zone: str) -> ir.TimestampScalar:
    """The UTC time at which a day begins in a zone.

    Parameters
    ----------
    day
        The day.
    zone
        The book's.
    """
    return parsing.utc(ibis.timestamp(day.year, day.month, day.day, 0, 0, 0), zone)


def has_topics(timeline: ir.Table) -> bool:
    """Whether the topic of anything is known; if not, a subject has one journey at a time, on everything.

    Parameters
    ----------
    timeline
        As from :func:`clientbook.journeys.compose`.
    """
    return bool(timeline.filter(timeline["topic"].notnull()).limit(1).count().to_pyarrow().as_py())


def walk(timeline: ir.Table, evidence: ir.Table, engine: Engine, *, zone: str, gap_days: int) -> ir.Table:
    """On which journey was each event, and which stage did it leave the subject in?

    A silence of more than `gap_days` on a topic closes a journey, and what comes after it opens the next; a journey
    with an open deal stays open. Hard evidence goes first: the first day with an order and a won deal are `adopt`,
    later orders `use`, a referral `recommend`, and while a deal is open anything else is `decide`. For the rest the
    event's name speaks; where it says nothing, the stage stays what it was. Where the book knows topics, what has none
    belongs to no journey. Nothing that comes later changes what a row says, but for the columns that say so.

    Parameters
    ----------
    timeline
        The public table.
    evidence
        As from :func:`clientbook.journeys.as_evidence`.
    engine
        Where the walk is staged, as much reads it.
    zone
        The book's zone, whose days are meant.
    gap_days
        Days of silence.

    Returns
    -------
    ibis.expr.types.Table
        The rows of the timeline that belong to a journey, with `journey_id`, `stage` and `level` (its place among the
        six), none before the first that is known; `probability` of the stage; `told` (whether this very event told
        it); `place` (0 for the first row of a journey, 1 for the next, …); with hindsight: `last_at` (of the journey)
        and `held` (whether a deal was open at its end).
    """
    rows = timeline.filter(timeline["topic"].notnull()) if has_topics(timeline) else timeline
    rows = _with_deals(rows.left_join(evidence, "event_name").drop("event_name_right"))
    rows = _with_journeys(_with_told(rows, zone), gap_days)
    rows = _with_stage(rows)
    path = engine.scratch_file(".parquet")
    engine.write_parquet(rows, path)
    return engine.read_parquet(path)


def intervals(steps: ir.Table, as_of: dt.date, *, zone: str, gap_days: int) -> ir.Table:
    """From when to when was each subject in which stage, as far as was known then?

    Parameters
    ----------
    steps
        As from :func:`walk`.
    as_of
        The day of the run.
    zone
        The book's.
    gap_days
        Days of silence that close a journey.

    Returns
    -------
    ibis.expr.types.Table
        The public table `stage_intervals`. Of several events at one instant the last to arrive counts; a stage that
        goes on is one interval; its probability is that of the event it begins with.
    """
    rows = changes(steps)
    closes = rows["last_at"] + ibis.interval(days=gap_days)
    closed = ~rows["held"] & (closes < instant_of(as_of, zone))
    end = ibis.coalesce(rows["next_at"], closed.ifelse(closes, ibis.null("timestamp")))
    told = rows.mutate(valid_from=rows["occurred_at"], valid_to=end, method=ibis.literal(METHOD))
    return told.select(*STAGE_INTERVALS.names).order_by("subject_id", "topic", "valid_from", "journey_id")


def changes(steps: ir.Table) -> ir.Table:
    """Which events changed the stage of a journey, and what was the next to do so?

    Parameters
    ----------
    steps
        As from :func:`walk`.

    Returns
    -------
    ibis.expr.types.Table
        Rows of `steps` with which a stage begins, and, with hindsight, `next_at`, `next_stage` and `next_level`
        (none for the last of a journey).
    """
    rows = steps.filter(steps["told"])
    along = ibis.window(group_by="journey_id", order_by="place")
    rows = rows.mutate(later=rows["occurred_at"].lead().over(along))
    rows = rows.filter(rows["later"].isnull() | (rows["later"] > rows["occurred_at"])).drop("later")
    rows = rows.mutate(before=rows["level"].lag().over(along))
    rows = rows.filter(rows["before"].isnull() | (rows["before"] != rows["level"])).drop("before")
    return rows.mutate(
        next_at=rows["occurred_at"].lead().over(along),
        next_stage=rows["stage"].lead().over(along),
        next_level=rows["level"].lead().over(along),
    )


def _order(rows: ir.Table) -> list:
    # a deal that closes at the instant it opens does so afterwards
    return [rows["occurred_at"], rows["arrival"], rows["closes"], rows["event_name"], rows["customer_id"]]


def _with_deals(rows: ir.Table) -> ir.Table:
    """With `deals`: how many are open on the topic once the event has happened."""
    is_deal = rows["kind"] == "opportunity"
    rows = rows.mutate(closes=(is_deal & (rows["event_name"] != OPENED)).cast("int8"))
    change = ibis.cases(
        (is_deal & (rows["event_name"] == OPENED), 1), (rows["event_name"].isin([WON, LOST, CLOSED]) & is_deal, -1), else_=0
    )
    rows = rows.mutate(change=change.cast("int64"))
    topic = ["subject_id", "topic"]
    sofar = ibis.window(group_by=topic, order_by=_order(rows), preceding=None, following=0)
    whole = ibis.window(group_by=topic)
    return rows.mutate(
        deals=rows["change"].sum().over(sofar),
        earlier=rows["occurred_at"].lag().over(ibis.window(group_by=topic, order_by=_order(rows))),
        first_order=rows["occurred_at"].min(where=rows["kind"] == "order").over(whole),
    )


def _with_told(rows: ir.Table, zone: str) -> ir.Table:
    """With `told_stage`, `told_probability` and `told_level`, hard evidence before names."""
    is_order = rows["kind"] == "order"
    first_day = parsing.local(rows["occurred_at"], zone).date() == parsing.local(rows["first_order"], zone).date()
    hard = ibis.cases(
        (is_order, first_day.ifelse("adopt", "use")),
        ((rows["kind"] == "opportunity") & (rows["event_name"] == WON), "adopt"),
        (rows["kind"] == "referral", "recommend"),
        (rows["deals"] > 0, "decide"),
        else_=ibis.null("string"),
    )
    rows = rows.mutate(hard=hard)
    stage = rows["hard"].fill_null(rows["told_stage"])
    probability = rows["hard"].notnull().ifelse(1.0, rows["told_probability"])
    rows = rows.mutate(told_stage=stage, told_probability=probability.cast("float64"))
    level = ibis.cases(*((rows["told_stage"] == name, i) for i, name in enumerate(STAGES)), else_=ibis.null("int8"))
    return rows.mutate(told_level=level.cast("int8")).drop("hard", "first_order")


def _with_journeys(rows: ir.Table, gap_days: int) -> ir.Table:
    """With `journey_id`, `place`, `last_at` and `held`."""
    # before the event itself
    waited = (rows["deals"] - rows["change"]) > 0
    silent = rows["occurred_at"] > rows["earlier"] + ibis.interval(days=gap_days)
    rows = rows.mutate(opens=(rows["earlier"].isnull() | (silent & ~waited)).cast("int64"))
    sofar = ibis.window(group_by=["subject_id", "topic"], order_by=_order(rows), preceding=None, following=0)
    rows = rows.mutate(number=rows["opens"].sum().over(sofar))
    name = rows["subject_id"].concat("|", rows["topic"].fill_null(""), "|", rows["number"].cast("string"))
    return rows.mutate(journey_id=name)


def _with_stage(rows: ir.Table) -> ir.Table:
    along = ibis.window(group_by=["subject_id", "topic", "number"], order_by=_order(rows))
    sofar = ibis.window(group_by=["subject_id", "topic", "number"], order_by=_order(rows), preceding=None, following=0)
    whole = ibis.window(group_by=["subject_id", "topic", "number"])
    rows = rows.mutate(
        place=ibis.row_number().over(along),
        tells=rows["told_level"].count().over(sofar),
        last_at=rows["occurred_at"].max().over(whole),
    )
    # what the last event that tells a stage told
    since = ibis.window(group_by=["journey_id", "tells"])
    level = rows["told_level"].max().over(since)
    rows = rows.mutate(
        told=rows["told_level"].notnull(),
        level=level,
        probability=rows["told_probability"].max().over(since),
        held=rows["deals"].argmax(rows["place"]).over(ibis.window(group_by="journey_id")) > 0,
    )
    stage = ibis.cases(*((rows["level"] == i, name) for i, name in enumerate(STAGES)), else_=ibis.null("string"))
    dropped = ["change", "deals", "earlier", "closes", "opens", "number", "tells"]
    dropped += ["told_stage", "told_probability", "told_level"]
    return rows.mutate(stage=stage).drop(*dropped)
