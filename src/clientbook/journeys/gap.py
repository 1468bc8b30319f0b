"""Where does what we do depart from where they are?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import consent, parsing
from clientbook.engine import Engine, asof_join
from clientbook.journeys.inference import FILTERED
from clientbook.tables import STAGES

NO_JOURNEY = "no journey"
SILENT_DAYS = 30


def plan_and_actual(tables: Mapping[str, ir.Table | None], who: ir.Table, intervals: ir.Table, subject: str) -> pd.DataFrame:
    """For which stage was each message, and in which stage was who got it?

    What a message is for is what its content is for; where they were is what was known when it was sent.

    Parameters
    ----------
    tables
        `messages` and `content`.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    intervals
        The public table `stage_intervals`.
    subject
        `account` or `customer`.

    Returns
    -------
    pandas.DataFrame
        `channel`, `planned` (the content's stage), `actual` (theirs on its topic, or `no journey`), `messages`. Empty
        without messages that carry content whose stage is known.
    """
    names = ["channel", "planned", "actual", "messages"]
    messages, content = tables.get("messages"), tables.get("content")
    if messages is None or content is None:
        return pd.DataFrame(columns=names)
    pieces = content.filter(content["stage"].isin(list(STAGES)))
    pieces = pieces.group_by(content_source=pieces["source"], content_id=pieces["content_id"]).agg(
        planned=pieces["stage"].min(), piece_topic=pieces["topic"].max()
    )
    sent = messages.filter(~messages["is_operational"].fill_null(False)).inner_join(pieces, ["content_source", "content_id"])
    sent = sent.mutate(topic=sent["topic"].fill_null(sent["piece_topic"]), channel=sent["channel"].fill_null("not known"))
    sent = sent.inner_join(who, ["person_source", "person_id"])
    sent = sent.select("channel", "planned", "topic", "sent_at", subject_id=sent[f"{subject}_id"])
    sent = sent.filter(sent["topic"].notnull())
    on = intervals.filter(intervals["method"] == FILTERED).select("subject_id", "topic", "stage", "valid_from", "valid_to")
    # what was known last by then: a join on a range would compare all with all
    there = asof_join(sent, on, on=("sent_at", ">=", "valid_from"), by=["subject_id", "topic"])
    still = there["valid_to"].isnull() | (there["valid_to"] > there["sent_at"])
    there = there.mutate(stage=still.ifelse(there["stage"], ibis.null("string")))
    counted = there.group_by("channel", "planned", actual=there["stage"].fill_null(NO_JOURNEY)).agg(messages=there.count())
    return counted.order_by("channel", "planned", "actual").to_pandas()


def misfit(plan: pd.DataFrame) -> float:
    """The gap as a number: of the messages to people on a journey, the share for neither their stage nor the next.

    Parameters
    ----------
    plan
        As from :func:`plan_and_actual`.
    """
    plan = plan[plan["actual"] != NO_JOURNEY]
    if plan.empty:
        return float("nan")
    place = {stage: i for i, stage in enumerate(STAGES)}
    ahead = plan["planned"].map(place) - plan["actual"].map(place)
    return float(plan.loc[~ahead.isin([0, 1]), "messages"].sum() / plan["messages"].sum())


def plan_table(plan: pd.DataFrame) -> pd.DataFrame:
    """Of the messages for each stage, what share met whom where? Rows the plan, columns the actual stage.

    Parameters
    ----------
    plan
        As from :func:`plan_and_actual`.
    """
    wide = plan.pivot_table(index="planned", columns="actual", values="messages", aggfunc="sum", fill_value=0)
    rows = [stage for stage in STAGES if stage in wide.index]
    wide = wide.reindex(index=rows, columns=[*STAGES, NO_JOURNEY], fill_value=0)
    return wide.div(wide.sum(axis=1), axis=0)


def say_plan(plan: pd.DataFrame) -> str:
    """In one sentence: how wide is the gap?"""
    if plan.empty:
        return "Nothing was sent whose stage and receiver's stage are known"
    nobody = plan.loc[plan["actual"] == NO_JOURNEY, "messages"].sum() / plan["messages"].sum()
    return (
        f"{nobody:.0%} of the messages meet people who are on no journey on their topic; of the others "
        f"{misfit(plan):.0%} are for neither their stage nor the next"
    )


def by_channel(plan: pd.DataFrame) -> pd.DataFrame:
    """How wide is the gap on each channel?

    Parameters
    ----------
    plan
        As from :func:`plan_and_actual`.

    Returns
    -------
    pandas.DataFrame
        `channel`, `messages`, `nobody` (share to people on no journey on its topic), `misfit` (of the others, the share
        for neither their stage nor the next).
    """
    rows = []
    for channel, some in plan.groupby("channel", sort=True):
        sent = int(some["messages"].sum())
        nobody = some.loc[some["actual"] == NO_JOURNEY, "messages"].sum() / sent
        rows.append([channel, sent, float(nobody), misfit(some)])
    return pd.DataFrame(rows, columns=["channel", "messages", "nobody", "misfit"]).sort_values(
        ["messages", "channel"], ascending=[False, True], ignore_index=True
    )


def standing(
    tables: Mapping[str, ir.Table | None],
    who: ir.Table,
    timeline: ir.Table,
    intervals: ir.Table,
    subject: str,
    as_of: dt.date,
    engine: Engine,
    *,
    zone: str,
) -> dict[str, ir.Table]:
    """How does every open journey stand: when was anything last seen of it, and did anybody there hear from us?

    Parameters
    ----------
    tables
        `messages`.
    who, timeline, intervals
        As above.
    subject
        `account` or `customer`.
    as_of
        The day of the run; the month before it is looked at.
    engine
        Where it is staged, as it is read twice.
    zone
        The book's, by whose clock that day begins.

    Returns
    -------
    dict
        `journeys`: a row an open journey, `subject_id`, `topic`, `stage`, `probability_now`, `last` (seen in the last 30
        days), `active`, `silent` (active, and nobody there got a message), `first` (silent, in decide or research, and back
        within the last week: to be approached first). `others`: `subject_id` and `written_to` (messages in that month) of
        those on none.
    """
    since, lately = (parsing.day_begins(as_of - dt.timedelta(days=n), zone) for n in (SILENT_DAYS, 7))
    now = intervals.filter((intervals["method"] == FILTERED) & intervals["valid_to"].isnull())
    now = now.select("subject_id", "stage", "probability_now", topic=now["topic"].fill_null(""))
    seen = timeline.filter((timeline["occurred_at"] >= since) & (timeline["kind"] != "message"))
    seen = seen.group_by("subject_id", topic=seen["topic"].fill_null("")).agg(last=seen["occurred_at"].max())
    messages = tables.get("messages")
    if messages is None:
        written = ibis.memtable([], schema={"subject_id": "string", "written_to": "int64"})
    else:
        sent = messages.filter((messages["sent_at"] >= since) & ~messages["is_operational"].fill_null(False))
        sent = sent.inner_join(who, ["person_source", "person_id"])
        written = sent.group_by(subject_id=sent[f"{subject}_id"]).agg(written_to=sent.count())
    both = (
        now.left_join(seen, ["subject_id", "topic"])
        .drop("subject_id_right", "topic_right")
        .left_join(written, "subject_id")
        .drop("subject_id_right")
    )
    active = both["last"].notnull()
    silent = active & both["written_to"].isnull()
    first = silent & (both["last"] >= lately) & both["stage"].isin(["research", "decide"])
    gone = timeline.select("subject_id").distinct().anti_join(now.select("subject_id").distinct(), "subject_id")
    gone = gone.left_join(written, "subject_id").drop("subject_id_right")
    return {
        "journeys": engine.keep(both.mutate(active=active, silent=silent, first=first.fill_null(False))),
        "others": engine.keep(gone),
    }


def silence_and_push(stands: Mapping[str, ir.Table]) -> pd.DataFrame:
    """Where are we silent while they search, and where do we push while they are gone?

    Parameters
    ----------
    stands
        As from :func:`standing`.

    Returns
    -------
    pandas.DataFrame
        A row a stage of the open journeys: `stage`, `journeys`, `active`, `silent`, `approach_first` (how many are
        `first`); and `no journey`, whose `journeys` are subjects on none, and `pushed` those of them that got four
        messages or more.
    """
    each, gone = stands["journeys"], stands["others"]
    told = each.group_by("stage").agg(
        journeys=each.count(), active=each["active"].sum(), silent=each["silent"].sum(),
        approach_first=each["first"].sum()
    ).to_pandas().set_index("stage").reindex(list(STAGES)).dropna(how="all").reset_index()  # fmt: skip
    counted = gone.aggregate(journeys=gone.count(), pushed=(gone["written_to"] >= 4).sum()).to_pandas()
    return pd.concat([told, counted.assign(stage=NO_JOURNEY)], ignore_index=True)


def allowing(
    tables: Mapping[str, ir.Table | None], who: ir.Table, subject: str, as_of: dt.date, zone: str
) -> ir.Table | None:  # fmt: skip
    """Who may be written to for marketing on the day of the run, and by which channels?

    Parameters
    ----------
    tables
        `consents`, `messages`, `identities` and `customers`.
    who, subject
        As above; an account may be written to where one of its customers may.
    as_of, zone
        The day of the run, in the book's zone.

    Returns
    -------
    ibis.expr.types.Table or None
        `subject_id`, `channels` (sorted, joined by commas); those who allow none are not there. None where the book has no
        consents.
    """
    consents, customers = tables.get("consents"), tables.get("customers")
    if consents is None:
        return None
    instant = parsing.day_begins(as_of, zone)
    by = consent.channels(consents, tables.get("messages"))
    allowed = consent.in_force(consents, tables.get("identities"), instant, by)
    if subject == "account":
        people = (who if customers is None else customers).select("customer_id", "account_id").distinct()
        allowed = allowed.inner_join(people, "customer_id").select("purpose", "channel", "status", customer_id="account_id")
    return consent.reachable(allowed.distinct()).rename(subject_id="customer_id")


def to_approach(stands: Mapping[str, ir.Table], allowed: ir.Table | None, *, zone: str) -> pd.DataFrame:
    """Who should be approached first, of our own accord, and why now?

    Parameters
    ----------
    stands
        As from :func:`standing`.
    allowed
        As from :func:`allowing`.
    zone
        The book's, whose days are told.

    Returns
    -------
    pandas.DataFrame
        `subject_id`, `topic`, `stage`, `probability` (of the stage), `last_seen`, `why_now`, `consent` to marketing
        (`given`, `none`, `unknown` in a book without consents), `channels` (that they allow); who decides goes before who
        still compares, then the surest stage, then who was seen last. Who allows nothing stands there too, and it is
        told.
    """
    rows = stands["journeys"]
    rows = rows.filter(rows["first"])
    if allowed is None:
        rows = rows.mutate(consent=ibis.literal("unknown"), channels=ibis.null("string"))
    else:
        rows = rows.left_join(allowed, "subject_id").drop("subject_id_right")
        rows = rows.mutate(consent=rows["channels"].isnull().ifelse("none", "given"))
    told = rows.select(
        "subject_id", "topic", "stage", "consent", "channels", probability="probability_now", last_seen="last",
        day=parsing.local(rows["last"], zone).date().cast("string"),
    ).to_pandas()  # fmt: skip
    order = told["stage"].map({stage: -i for i, stage in enumerate(STAGES)})
    told = told.assign(order=order).sort_values(
        ["order", "probability", "last_seen", "subject_id", "topic"], ascending=[True, False, False, True, True]
    ).drop(columns="order")  # fmt: skip
    day = told.pop("day")
    does = told["stage"].map({"decide": "decides", "research": "compares"})
    why = does + ", was last seen on " + day + f", and has heard nothing from us for {SILENT_DAYS} days"
    names = ["subject_id", "topic", "stage", "probability", "last_seen", "why_now", "consent", "channels"]
    return told.assign(why_now=why.astype("str"))[names].reset_index(drop=True)
