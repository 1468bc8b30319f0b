"""By which channels and devices do they come, where do they begin, switch and stop, and how far is a piece?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.engine import Engine
from clientbook.journeys.friction import VISIT_MINUTES
from clientbook.journeys.stages import Ways
from clientbook.tables import STAGES

NOT_TOLD = "not told"
BY = ("topic", "region", "industry", "role")


def touchpoint(rows: ir.Table) -> ir.StringColumn:
    """Where did something happen: on which channel, else in which system, and on which device?

    Parameters
    ----------
    rows
        With `channel`, `source` and `device`, as the public table `timeline`.
    """
    where = rows["channel"].fill_null(rows["source"]).fill_null(NOT_TOLD)
    return rows["device"].isnull().ifelse(where, where.concat(" ", rows["device"]))


def touch_use(timeline: ir.Table, told: pd.DataFrame) -> pd.DataFrame:
    """Which channel and device do people use for what?

    Parameters
    ----------
    timeline
        The public table.
    told
        As from :func:`clientbook.journeys.stage_table_of`: what is done tells what for.

    Returns
    -------
    pandas.DataFrame
        `touchpoint`, `events`, of those that tell a stage the share for each stage, `mostly` (the commonest event); the
        busiest first. Orders are `adopt`, opened deals `decide`, referrals `recommend`.
    """
    counted = timeline.group_by("event_name", "kind", touchpoint=touchpoint(timeline)).agg(n=timeline.count())
    each = counted.order_by("touchpoint", "event_name", "kind").to_pandas()
    each = each.merge(told[["event_name", "kind", "stage"]], on=["event_name", "kind"], how="left")
    hard = {"order": "adopt", "opportunity": "decide", "referral": "recommend"}
    each["stage"] = each["kind"].map(hard).fillna(each["stage"])
    rows = []
    for name, some in each.groupby("touchpoint", sort=True):
        known = some.dropna(subset="stage").groupby("stage")["n"].sum()
        shares = {stage: known.get(stage, 0) / known.sum() if known.sum() else float("nan") for stage in STAGES}
        rows.append({"touchpoint": name, "events": int(some["n"].sum()), **shares,
                     "mostly": some.loc[some["n"].idxmax(), "event_name"]})  # fmt: skip
    table = pd.DataFrame(rows, columns=["touchpoint", "events", *STAGES, "mostly"])
    return table.sort_values(["events", "touchpoint"], ascending=[False, True], ignore_index=True)


def visits(timeline: ir.Table, engine: Engine) -> ir.Table:
    """Everything that was done of somebody's own accord, with the touchpoint before it and its place in its visit.

    Parameters
    ----------
    timeline
        The public table; messages that were answered stand for their channel.
    engine
        Where it is staged.

    Returns
    -------
    ibis.expr.types.Table
        `touchpoint`, `before` (the one before, of the same subject), `hours` (since then), `place` (in the visit, from 1: a
        visit ends with half an hour in which nothing is done), `content_source`, `content_id`.
    """
    rows = timeline.filter(~timeline["kind"].isin(["survey", "opportunity"]))
    rows = rows.select(
        "occurred_at", "arrival", "content_source", "content_id",
        who=rows["subject_id"].hash(), touchpoint=touchpoint(rows),
    )  # fmt: skip
    along = ibis.window(group_by="who", order_by=["occurred_at", "arrival", "touchpoint"])
    rows = rows.mutate(
        row=ibis.row_number().over(along), before=rows["touchpoint"].lag().over(along),
        earlier=rows["occurred_at"].lag().over(along),
    )  # fmt: skip
    fresh = rows["earlier"].isnull() | (rows["occurred_at"] > rows["earlier"] + ibis.interval(minutes=VISIT_MINUTES))
    begins = fresh.ifelse(rows["row"], ibis.null("int64"))
    begun = begins.max().over(ibis.window(group_by="who", order_by="row", preceding=None, following=0))
    return engine.keep(rows.select(
        "touchpoint", "before", "content_source", "content_id",
        hours=rows["occurred_at"].delta(rows["earlier"], unit="minute") / 60,
        place=rows["row"] - begun + 1,
    ))  # fmt: skip


def switches(walked: ir.Table, limit: int = 12) -> pd.DataFrame:
    """Where do they switch from one channel or device to another, and how soon?

    Parameters
    ----------
    walked
        As from :func:`visits`.
    limit
        Switches to show, the most frequent first.

    Returns
    -------
    pandas.DataFrame
        `touchpoint_from`, `touchpoint_to`, `n`, `share` (of all that follows the first), `median_hours`.
    """
    known = walked.filter(walked["before"].notnull())
    each = known.group_by(touchpoint_from=known["before"], touchpoint_to=known["touchpoint"]).agg(
        n=known.count(), median_hours=known["hours"].median().round(2)
    )
    told = each.order_by(ibis.desc("n"), "touchpoint_from", "touchpoint_to").to_pandas()
    told["share"] = told["n"] / told.groupby("touchpoint_from")["n"].transform("sum")
    told = told[told["touchpoint_from"] != told["touchpoint_to"]]
    columns = ["touchpoint_from", "touchpoint_to", "n", "share", "median_hours"]
    return told[columns].head(limit).reset_index(drop=True)


def steps_to(walked: ir.Table, content: ir.Table | None, limit: int = 10) -> pd.DataFrame:
    """How far is a piece: how many things does a visit hold before it is reached?

    Parameters
    ----------
    walked
        As from :func:`visits`.
    content
        Clean content; None gives no row.
    limit
        Kinds of pieces to show, the farthest first.

    Returns
    -------
    pandas.DataFrame
        `stage` (that the pieces are for), `format`, `reached` (how often), `at_once` (share with which the visit began),
        `median_steps`, `far` (share reached after more than five steps).
    """
    names = ["stage", "format", "reached", "at_once", "median_steps", "far"]
    if content is None:
        return pd.DataFrame(columns=names)
    pieces = content.group_by(content_source="source", content_id="content_id").agg(
        stage=content["stage"].max(), format=content["format"].max()
    )
    rows = walked.filter(walked["content_id"].notnull()).inner_join(pieces, ["content_source", "content_id"])
    each = rows.group_by(stage=rows["stage"].fill_null(NOT_TOLD), format=rows["format"].fill_null(NOT_TOLD)).agg(
        reached=rows.count(), at_once=(rows["place"] == 1).mean(), median_steps=rows["place"].median(),
        far=(rows["place"] > 6).mean(),
    )  # fmt: skip
    return each.order_by(ibis.desc("far"), ibis.desc("reached"), "stage", "format").limit(limit).to_pandas()[names]


def entries_and_exits(ways: Ways, told: pd.DataFrame, limit: int = 10) -> dict[str, pd.DataFrame]:
    """With what do journeys begin, with what do they end, and how many of each order?

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow`; journeys are those of the gap rule.
    told
        As from :func:`clientbook.journeys.stage_table_of`.
    limit
        Events to show, the most frequent first.

    Returns
    -------
    dict
        `entries` and `exits` (of journeys without an order or a won deal: where people drop out); each `event_name`,
        `journeys`, `share`, and `entries` with `ordered` (share with an order or a won deal on the journey).
    """
    steps = ways.steps
    each = steps.group_by("lane", "number").agg(
        first=steps["code"].argmin(steps["place"]), last=steps["code"].argmax(steps["place"]), bought=steps["bought"].any()
    )
    counted = each.group_by("first", "last", "bought").agg(n=each.count()).order_by("first", "last", "bought").to_pandas()
    counted["ordered"] = counted["n"] * counted["bought"]
    found = {}
    for name, column, rows in (("entries", "first", counted), ("exits", "last", counted[~counted["bought"].astype(bool)])):
        table = rows.groupby(column, as_index=False)[["n", "ordered"]].sum()
        table["event_name"] = told["event_name"].reindex(table[column].astype(int)).to_numpy()
        table = table.sort_values(["n", "event_name"], ascending=[False, True], ignore_index=True)
        share = table["n"] / max(table["n"].sum(), 1)
        table = table.assign(journeys=table["n"], share=share, ordered=table["ordered"] / table["n"])
        columns = ["event_name", "journeys", "share", *(["ordered"] if name == "entries" else [])]
        found[name] = table[columns].head(limit)
    return found


def loops(transitions: ir.Table, limit: int = 10) -> pd.DataFrame:
    """What is done over and over, and between which two do they go back and forth?

    Parameters
    ----------
    transitions
        The public table `event_transitions`.
    limit
        Loops to show, the most frequent first.

    Returns
    -------
    pandas.DataFrame
        `loop` (`again: a` or `a ⇄ b`), `n` (pairs in either direction), `share` (of all pairs).
    """
    back = transitions.select(event_from="event_to", event_to="event_from", n_back="n")
    both = transitions.inner_join(back, ["event_from", "event_to"])
    both = both.filter(both["event_from"] <= both["event_to"])
    same = both["event_from"] == both["event_to"]
    # of two directions the rarer tells how often they came back
    times = same.ifelse(both["n"], 2 * ibis.least(both["n"], both["n_back"]))
    words = same.ifelse(ibis.literal("again: ").concat(both["event_from"]), both["event_from"].concat(" ⇄ ", both["event_to"]))
    told = both.select(loop=words, n=times).order_by(ibis.desc("n"), "loop").limit(limit).to_pandas()
    whole = transitions["n"].sum().to_pyarrow().as_py()
    return told.assign(share=told["n"] / max(whole or 0, 1))


def funnel_by(ways: Ways, tables: Mapping[str, ir.Table | None], who: ir.Table, subject: str, few: int = 30) -> pd.DataFrame:
    """How far do journeys get, by topic, region, industry and role?

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow` or :func:`clientbook.journeys.restaged`.
    tables
        `customers`, `resolved_accounts` and `opportunity_people`, where there are.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    subject
        `account` or `customer`.
    few
        Groups with fewer journeys become `all others`.

    Returns
    -------
    pandas.DataFrame
        `by`, `group`, `journeys`, and of these the share that ever was in research or decide (`looked`), in decide
        (`decided`) and that ordered or won a deal (`bought`). An account has the commonest role of its people in deals.
    """
    names = ["by", "group", "journeys", "looked", "decided", "bought"]
    steps = ways.steps
    place = {stage: i for i, stage in enumerate(STAGES)}
    each = steps.group_by("lane", "number").agg(
        looked=steps["level"].isin([place["research"], place["decide"]]).any(),
        decided=(steps["level"] == place["decide"]).any(), bought=steps["bought"].any(),
    )  # fmt: skip
    rows = each.inner_join(ways.lanes.select("lane", "subject_id", "topic"), "lane")
    for found in _attributes(tables, who, subject):
        rows = rows.left_join(found, "subject_id").drop("subject_id_right")
    present = [name for name in BY if name in rows.columns]
    counted = rows.group_by(*present).agg(
        journeys=rows.count(), **{name: rows[name].fill_null(False).sum() for name in names[3:]}
    ).order_by(*present).to_pandas()  # fmt: skip
    parts = []
    for name in present:
        if counted[name].isna().all():
            continue
        group = counted[name].fillna(NOT_TOLD)
        size = counted.groupby(group)["journeys"].transform("sum")
        table = counted.groupby(group.where(size >= few, "all others"))[names[2:]].sum().rename_axis("group").reset_index()
        table[names[3:]] = table[names[3:]].div(table["journeys"], axis=0)
        parts.append(table.assign(by=name).sort_values(["journeys", "group"], ascending=[False, True]).head(12))
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def _attributes(tables: Mapping[str, ir.Table | None], who: ir.Table, subject: str) -> Sequence[ir.Table]:
    """Region and industry, and role, each once for each subject."""
    found = []
    owners = tables.get("customers") if subject == "customer" else tables.get("resolved_accounts")
    if owners is not None:
        known = [name for name in ("region", "industry") if name in owners.columns]
        if known:
            keyed = owners.mutate(subject_id=owners[f"{subject}_id"])
            found.append(keyed.group_by("subject_id").agg(**{name: keyed[name].max() for name in known}))
    roles = tables.get("opportunity_people")
    if roles is not None and "role" in roles.columns:
        rows = roles.filter(roles["role"].notnull()).inner_join(who, ["person_source", "person_id"])
        each = rows.group_by("role", subject_id=rows[f"{subject}_id"]).agg(n=rows.count())
        best = ibis.row_number().over(group_by="subject_id", order_by=[ibis.desc("n"), "role"])
        found.append(each.mutate(best=best).filter(lambda t: t["best"] == 0).select("subject_id", "role"))
    return found
