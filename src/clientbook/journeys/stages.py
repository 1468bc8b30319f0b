"""In which stage was each subject on each topic, and since when?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import ibis
import ibis.expr.types as ir

from clientbook import parsing
from clientbook.engine import Engine
from clientbook.journeys import model as hidden
from clientbook.journeys.declared import STAGE_INTERVALS
from clientbook.journeys.timeline import OPENED, REPLIED, WON
from clientbook.tables import STAGES

METHOD = "filtered"


def has_topics(timeline: ir.Table) -> bool:
    """Whether journeys are parted by topic; if not, a subject has one journey at a time, on everything.

    Where nothing that was bought or offered says its topic, those of visits part nothing: no journey on one would ever end
    in an order.

    Parameters
    ----------
    timeline
        As from :func:`clientbook.journeys.compose`.
    """
    known, sold = timeline["topic"].notnull(), timeline["kind"].isin(("order", "opportunity"))
    told = timeline.aggregate(known=known.any(), sold=sold.any(), of_sold=(known & sold).any()).to_pyarrow().to_pylist()[0]
    return bool(told["of_sold"] if told["sold"] else told["known"])


@dataclass(frozen=True)
class Ways:
    """Which ways did the subjects take? In numbers instead of words, as much is counted from them.

    Attributes
    ----------
    lanes
        A row for each subject and topic: `lane` (a number), `subject_id`, `topic`, `first_order_until` (when the day
        of their first order ended).
    steps
        A row for each event on a journey, by lane and place: `lane`, `number` (of the journey on the lane, from 1),
        `place` (of the row on the lane), `occurred_at`, `code` (of its name, see :func:`clientbook.journeys.as_evidence`),
        `level` (the stage that it left the subject in, as its place among the six; none before the first that is
        known), `told_level` and `told_probability` (what this very event told, if anything), `deals` (how many were
        open once it had happened), `bought` (an order or a won deal), `times_bought` (with it, on the lane), `mark`
        (what it is to the model, see :mod:`clientbook.journeys.model`).
    engine
        Where what is counted from the steps is staged, once it is asked for.
    """

    lanes: ir.Table
    steps: ir.Table
    engine: Engine

    @cached_property
    def changes(self) -> ir.Table:
        """The steps with which a stage begins, with `probability`.

        With hindsight: `next_at`, `next_level` (of the next change on the journey), `last_at` (the journey's last event),
        `held` (whether a deal was then open).
        """
        return self.engine.keep(_changes(self.steps, _ends(self.steps)))

    @cached_property
    def days(self) -> ir.Table:
        """A row for each day on a journey, in the book's zone: `lane`, `number`, `day`, `level`, `since`.

        `level` is where the subject stood in the evening (what changes within a visit is no move), `since` the first day
        of that stay; with hindsight: `next_day`, `next_level` (of the next stay on the journey), `last_day`, `held`.
        """
        return self.engine.keep(_days(self.steps, _ends(self.steps)))


def follow(timeline: ir.Table, evidence: ir.Table, engine: Engine, *, zone: str, gap_days: int) -> Ways:
    """On which journey was each event, and which stage did it leave the subject in?

    A silence of more than `gap_days` on a topic closes a journey, and what comes after it opens the next; a journey
    with an open deal stays open. Hard evidence goes first: the first day with an order and a won deal are `adopt`,
    later orders `use`, a referral `recommend`, and while a deal is open anything else is `decide`. For the rest the
    event's name speaks; where it says nothing, the stage stays what it was. Where the book knows topics, what has none
    belongs to no journey. But for what is said to be hindsight, nothing that comes later changes what a row says.

    Parameters
    ----------
    timeline
        The public table.
    evidence
        As from :func:`clientbook.journeys.as_evidence`.
    engine
        Where the steps are staged.
    zone
        The book's zone, whose days are meant.
    gap_days
        Days of silence.
    """
    apart = has_topics(timeline)
    rows = timeline.filter(timeline["topic"].notnull()) if apart else timeline.mutate(topic=ibis.null("string"))
    lanes = _lanes(rows, zone, engine)
    is_deal = rows["kind"] == "opportunity"
    closes = is_deal & (rows["event_name"] != OPENED)
    rows = rows.mutate(
        # a deal that closes at the instant it opens does so afterwards
        turn=rows["arrival"] * 2 + (closes | (rows["event_name"] == REPLIED)).cast("int64"),
        change=ibis.cases((closes, -1), (is_deal, 1), else_=0).cast("int64"),
        bought=(rows["kind"] == "order") | (is_deal & (rows["event_name"] == WON)),
        topic=rows["topic"].fill_null(""),
        # one number goes along where rows are put in order, not the words it stands for
        mark=_mark(rows),
    ).select("subject_id", "topic", "occurred_at", "event_name", "kind", "turn", "change", "bought", "mark")
    known = lanes.mutate(topic=lanes["topic"].fill_null(""))
    rows = rows.inner_join(known, ["subject_id", "topic"]).inner_join(evidence, ["event_name", "kind"])
    rows = rows.mutate(day=parsing.local(rows["occurred_at"], zone).date())
    steps = _with_journeys(_with_told(rows), gap_days)
    return Ways(lanes, engine.keep(steps.order_by("lane", "place")), engine)


def _ends(steps: ir.Table) -> ir.Table:
    return steps.group_by("lane", "number").agg(
        last_at=steps["occurred_at"].max(), last_day=steps["day"].max(), held=steps["deals"].argmax(steps["place"]) > 0
    )


def intervals(ways: Ways, subject_type: str, as_of: dt.date, *, zone: str, gap_days: int) -> ir.Table:
    """From when to when was each subject in which stage, by the rule of the last event?

    Parameters
    ----------
    ways
        As from :func:`follow`.
    subject_type
        `account` or `customer`.
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
    rows = ways.changes.inner_join(ways.lanes, "lane")
    closes = rows["last_at"] + ibis.interval(days=gap_days)
    closed = ~rows["held"] & (closes < parsing.day_begins(as_of, zone))
    told = rows.mutate(
        subject_type=ibis.literal(subject_type),
        journey_id=rows["subject_id"].concat("|", rows["topic"].fill_null(""), "|", rows["number"].cast("string")),
        stage=stage_of(rows["level"]),
        valid_from=rows["occurred_at"],
        valid_to=ibis.coalesce(rows["next_at"], closed.ifelse(closes, ibis.null("timestamp"))),
        method=ibis.literal(METHOD),
        open_probability=ibis.null("float64"),
        probability_now=ibis.null("float64"),
    )
    return told.order_by("lane", "number", "valid_from").select(*STAGE_INTERVALS.names)


def stage_of(level: ir.IntegerColumn) -> ir.StringColumn:
    """The stage that stands at a place among the six.

    Parameters
    ----------
    level
        From 0, `need`, to 5, `recommend`.
    """
    return ibis.cases(*((level == i, name) for i, name in enumerate(STAGES)), else_=ibis.null("string"))


def _lanes(rows: ir.Table, zone: str, engine: Engine) -> ir.Table:
    each = rows.group_by("subject_id", "topic").agg(first=rows["occurred_at"].min(where=rows["kind"] == "order"))
    next_day = parsing.local(each["first"], zone).truncate("D") + ibis.interval(days=1)
    numbered = each.select(
        "subject_id", "topic",
        first_order_until=parsing.utc(next_day, zone),
        lane=ibis.row_number().over(order_by=[each["subject_id"], each["topic"]]),
    )  # fmt: skip
    return engine.keep(numbered)


def _with_told(rows: ir.Table) -> ir.Table:
    """With what each event tells of the stage, hard evidence before names, and how many deals it leaves open."""
    along = ibis.window(group_by="lane", order_by=["occurred_at", "turn"])
    sofar = ibis.window(group_by="lane", order_by=["occurred_at", "turn"], preceding=None, following=0)
    rows = rows.mutate(
        place=ibis.row_number().over(along),
        deals=rows["change"].sum().over(sofar),
        earlier=rows["occurred_at"].lag().over(along),
    )
    ordered = rows["mark"] == hidden.LATER_ORDER
    first = ordered & (rows["occurred_at"] < rows["first_order_until"])
    rows = rows.mutate(mark=first.ifelse(hidden.FIRST_ORDER, rows["mark"]).cast("int64"))
    place_of = {stage: ibis.literal(place, "int64") for place, stage in enumerate(STAGES)}
    hard = ibis.cases(
        (rows["mark"] == hidden.FIRST_ORDER, place_of["adopt"]),
        (rows["mark"] == hidden.LATER_ORDER, place_of["use"]),
        (rows["mark"] == hidden.WON, place_of["adopt"]),
        (rows["mark"] == hidden.REFERRAL, place_of["recommend"]),
        (rows["deals"] > 0, place_of["decide"]),
        else_=ibis.null("int64"),
    )
    told = rows.mutate(hard=hard)
    return told.mutate(
        told_level=told["hard"].fill_null(told["told_level"]).cast("int64"),
        told_probability=told["hard"].notnull().ifelse(1.0, told["told_probability"]).cast("float64"),
    ).drop("hard", "first_order_until", "turn", "event_name", "kind", "subject_id", "topic")


def _mark(rows: ir.Table) -> ir.IntegerColumn:
    """What kind of evidence each row is to the model; every order is a later one until the first is known."""
    is_deal = rows["kind"] == "opportunity"
    return ibis.cases(
        (rows["kind"] == "order", hidden.LATER_ORDER),
        (is_deal & (rows["event_name"] == OPENED), hidden.OPENED),
        (is_deal & (rows["event_name"] == WON), hidden.WON),
        (is_deal, hidden.LOST),
        (rows["kind"] == "referral", hidden.REFERRAL),
        (rows["kind"].isin(["message", "case", "survey"]), hidden.PASSIVE),
        else_=hidden.VISIT,
    ).cast("int64")


def _with_journeys(rows: ir.Table, gap_days: int) -> ir.Table:
    """With the number of the journey on its lane, and the stage that its latest event to tell one told."""
    # before the event itself
    waited = (rows["deals"] - rows["change"]) > 0
    silent = rows["occurred_at"] > rows["earlier"] + ibis.interval(days=gap_days)
    rows = rows.mutate(opens=rows["earlier"].isnull() | (silent & ~waited))
    sofar = ibis.window(group_by="lane", order_by="place", preceding=None, following=0)
    # a number that grows with the place and carries what was told there: its maximum so far is the latest
    mark = rows["place"] * 8 + rows["told_level"]
    rows = rows.mutate(
        number=rows["opens"].cast("int64").sum().over(sofar),
        begins=rows["opens"].ifelse(rows["place"], ibis.null("int64")).max().over(sofar),
        latest=mark.max().over(sofar),
        times_bought=rows["bought"].cast("int64").sum().over(sofar),
    )
    level = (rows["latest"] >= rows["begins"] * 8).ifelse(rows["latest"] % 8, ibis.null("int64"))
    # who comes back after a silence may have to begin anew with what they buy
    later = rows["mark"] == hidden.LATER_ORDER
    ordered = later | (rows["mark"] == hidden.FIRST_ORDER)
    first_day = rows["day"].min(where=ordered).over(ibis.window(group_by=["lane", "number"]))
    returns = later & (rows["day"] == first_day)
    rows = rows.mutate(level=level.cast("int64"), mark=returns.ifelse(hidden.RETURNING_ORDER, rows["mark"]).cast("int64"))
    return rows.drop("opens", "earlier", "change", "begins", "latest")


def _changes(steps: ir.Table, ends: ir.Table) -> ir.Table:
    along = ibis.window(group_by=["lane", "number"], order_by="place")
    rows = steps.filter(steps["told_level"].notnull()).select(
        "lane", "number", "place", "occurred_at", level="told_level", probability="told_probability"
    )
    rows = rows.mutate(later=rows["occurred_at"].lead().over(along))
    rows = rows.filter(rows["later"].isnull() | (rows["later"] > rows["occurred_at"])).drop("later")
    rows = rows.mutate(before=rows["level"].lag().over(along))
    rows = rows.filter(rows["before"].isnull() | (rows["before"] != rows["level"])).drop("before")
    rows = rows.mutate(next_at=rows["occurred_at"].lead().over(along), next_level=rows["level"].lead().over(along))
    return rows.inner_join(ends.drop("last_day"), ["lane", "number"])


def _days(steps: ir.Table, ends: ir.Table) -> ir.Table:
    known = steps.filter(steps["level"].notnull())
    rows = known.group_by("lane", "number", "day").agg(level=known["level"].argmax(known["place"]))
    along = ibis.window(group_by=["lane", "number"], order_by="day")
    sofar = ibis.window(group_by=["lane", "number"], order_by="day", preceding=None, following=0)
    rows = rows.mutate(before=rows["level"].lag().over(along))
    begins = rows["before"].isnull() | (rows["before"] != rows["level"])
    rows = rows.mutate(since=begins.ifelse(rows["day"], ibis.null("date")).max().over(sofar)).drop("before")
    stays = rows.filter(rows["since"] == rows["day"])
    stays = stays.select(
        "lane", "number", "since", next_day=stays["day"].lead().over(along),
        next_level=stays["level"].lead().over(along),
    )  # fmt: skip
    return rows.inner_join(stays, ["lane", "number", "since"]).inner_join(ends.drop("last_at"), ["lane", "number"])
