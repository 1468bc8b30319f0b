"""What happens before people move on, fall back, fall silent, order or complain?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.engine import Engine, asof_join
from clientbook.journeys.declared import MOMENTS, typed
from clientbook.journeys.stages import Ways, has_topics
from clientbook.tables import STAGES

# These are about no topic, and meet whatever journeys the subject is on.
AT_LARGE = ("case", "survey", "referral")
# An order counts as following if it comes within so many days: as long as a usual way to one takes.
ORDER_DAYS = 90
# A case counts as following if it is opened within so many days.
CASE_DAYS = 30
OUTCOMES = ("moved_on", "fell_back", "went_silent", "ordered", "complained")
_KEYS = ("event_name", "kind", "level")
# What makes two days alike: the stage, how sure it is, for how long, how many orders came before, in how many systems
# they
# are known (who is a cookie alone cannot be seen to order), whether a deal is open.
_ALIKE = ("waited", "orders", "sure", "systems", "deal")
_MET = (*_KEYS, "is_loose", "lane", "number", "day", *_ALIKE, "next_day", "next_level", "last_day")
_Z = 1.959964
_FEWEST = 30


def moments(
    timeline: ir.Table,
    ways: Ways,
    evidence: ir.Table,
    as_of: dt.date,
    *,
    zone: str,
    gap_days: int,
    window_days: int,
    engine: Engine | None = None,
    others: pd.DataFrame | None = None,
    known: ir.Table | None = None,
) -> pd.DataFrame:
    """After which events, at which stage, did people move on, fall back, fall silent, order or complain?

    A moment is a day on which it happened; its stage is where the subject stood in the evening. Beside its share stands
    the base, over all days at that stage. The effect compares like with like: days at the same stage, as sure, for as
    long, with as many orders before, on journeys on which it had not happened up to then, weighted as the moments are.
    It was observed, not tried out: who does a thing may differ from who does not in what nobody wrote down.

    Parameters
    ----------
    timeline
        The public table; cases, surveys and referrals without a topic meet all journeys that the subject was on.
    ways
        As from :func:`clientbook.journeys.follow` or :func:`clientbook.journeys.restaged`.
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
    engine
        Where what is read twice is staged.
    others
        Effects found otherwise, as from :func:`clientbook.journeys.after_purchase` and
        :func:`clientbook.journeys.experiments`; they stand first, and count among those looked at.

    known
        As from :func:`acquaintance`; who is known by events alone is left out, as they cannot be seen to order.

    Returns
    -------
    pandas.DataFrame
        The public table `moments`, by stage and event. `q_value` is corrected for all effects that were looked at
        (Benjamini and Hochberg).
    """
    keep = (lambda rows: rows) if engine is None else engine.keep
    days = keep(_described(ways, known))
    met = keep(_on_topic(ways, days, evidence))
    before = met
    if has_topics(timeline):
        met = ibis.union(met, _at_large(timeline, days, ways, zone, gap_days))
    last = ibis.date((as_of - dt.timedelta(days=max(gap_days, window_days, ORDER_DAYS))).isoformat())
    bought, cases = _later(ways, timeline, zone)
    met, days = (keep(_followed(rows.filter(rows["day"] < last), bought, cases, window_days)) for rows in (met, days))
    each = _counted(met, [*_KEYS, "is_loose"], subjects=met["lane"].nunique()).to_pandas()
    if each.empty and (others is None or others.empty):
        return typed(pd.DataFrame(), MOMENTS)
    strata = _counted(met, [*_KEYS, "is_loose", *_ALIKE]).to_pandas()
    loose = met.filter(met["is_loose"])
    every = pd.concat([
        _counted(days, ["level", *_ALIKE]).to_pandas().assign(is_loose=False),
        _counted(loose, ["level", *_ALIKE]).to_pandas().assign(is_loose=True),
    ])  # fmt: skip
    since = before.group_by(*_KEYS, "lane", "number").agg(first=before["day"].min())
    after = since.drop("level").inner_join(days, ["lane", "number"])
    after = after.filter(after["day"] >= after["first"])
    # at how many stages it happened on one journey is all the same
    spent = after.select("event_name", "kind", "lane", "number", "day", "level", *_ALIKE, *OUTCOMES).distinct()
    spent = _counted(spent, [*_KEYS, *_ALIKE]).to_pandas().assign(is_loose=False)
    own = strata[strata["is_loose"]]
    return _told(each, strata, every, pd.concat([spent, own]), others)


def _described(ways: Ways, known: ir.Table | None) -> ir.Table:
    """Each day on a journey with what makes it like others, and when the next order on the topic came."""
    steps = ways.steps
    sure = steps["stage_probability"] if "stage_probability" in steps.columns else ibis.literal(1.0)
    steps = steps.mutate(sure=sure)
    each = steps.group_by("lane", "number", "day").agg(
        so_far=steps["times_bought"].max(), sure=steps["sure"].argmax(steps["place"]),
        deal=(steps["deals"].max() > 0).cast("int64"),
    )  # fmt: skip
    days = ways.days.inner_join(each, ["lane", "number", "day"])
    if known is None:
        days = days.mutate(systems=ibis.literal(1, "int64"))
    else:
        days = days.inner_join(ways.lanes.select("lane", "subject_id").inner_join(known, "subject_id"), "lane")
        days = days.filter(days["systems"] > 0).drop("subject_id")
    waited = days["day"].delta(days["since"], unit="day")
    return days.mutate(
        waited=ibis.cases((waited < 1, 0), (waited < 8, 1), (waited < 31, 2), (waited < 91, 3), else_=4).cast("int64"),
        orders=ibis.least(days["so_far"], 3).cast("int64"),
        sure=ibis.cases((days["sure"] < 0.5, 0), (days["sure"] < 0.7, 1), (days["sure"] < 0.9, 2), else_=3).cast("int64"),
    ).drop("so_far")


def acquaintance(tables: Mapping[str, ir.Table | None], who: ir.Table, subject: str) -> ir.Table:
    """In how many systems is each subject known, by more than what they looked at?

    Parameters
    ----------
    tables
        The clean tables.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    subject
        `account` or `customer`.

    Returns
    -------
    ibis.expr.types.Table
        `subject_id`, `systems` (3 stands for more, too): sources that they have orders, messages, deals, cases or
        surveys in; 0 for who is known by events alone. In a book of events alone everybody is 1.
    """
    from_them = [
        rows.select("person_source") for name in ("orders", "messages", "opportunities", "cases", "surveys")
        if (rows := tables.get(name)) is not None
    ]  # fmt: skip
    rows = who.mutate(subject_id=who[f"{subject}_id"])
    if not from_them:
        return rows.select("subject_id", systems=ibis.literal(1, "int64")).distinct()
    told = ibis.union(*from_them) if len(from_them) > 1 else from_them[0]
    sources = told.filter(told["person_source"].notnull()).distinct().mutate(tells=ibis.literal(1))
    rows = rows.left_join(sources, "person_source")
    told_by = (rows["tells"] == 1).ifelse(rows["person_source"], ibis.null("string"))
    each = rows.group_by("subject_id").agg(systems=told_by.nunique())
    return each.mutate(systems=ibis.least(each["systems"], 3).cast("int64"))


def _later(ways: Ways, timeline: ir.Table, zone: str) -> tuple[ir.Table, ir.Table]:
    """The days with an order, and those with a case, of each lane: `lane`, `next_order` or `next_case`."""
    steps = ways.steps
    bought = steps.filter(steps["bought"]).select("lane", next_order="day").distinct()
    cases = timeline.filter(timeline["kind"] == "case")
    cases = cases.select("subject_id", next_case=parsing.local(cases["occurred_at"], zone).date()).distinct()
    return bought, ways.lanes.select("lane", "subject_id").inner_join(cases, "subject_id").select("lane", "next_case")


def _followed(rows: ir.Table, bought: ir.Table, cases: ir.Table, window_days: int) -> ir.Table:
    """With what followed each day."""
    for later, column in ((bought, "next_order"), (cases, "next_case")):
        rows = asof_join(rows, later, on=("day", "<", column), by=["lane"])
    soon = (rows["next_day"].delta(rows["day"], unit="day") <= window_days).fill_null(False)
    return rows.mutate(
        moved_on=soon & (rows["next_level"] > rows["level"]).fill_null(False),
        fell_back=soon & (rows["next_level"] < rows["level"]).fill_null(False),
        went_silent=rows["last_day"] <= rows["day"],
        ordered=(rows["next_order"].delta(rows["day"], unit="day") <= ORDER_DAYS).fill_null(False),
        complained=(rows["next_case"].delta(rows["day"], unit="day") <= CASE_DAYS).fill_null(False),
    )


def _counted(rows: ir.Table, keys: list[str], **more) -> ir.Table:
    return rows.group_by(*keys).agg(n=rows.count(), **{name: rows[name].sum() for name in OUTCOMES}, **more).order_by(*keys)


def _told(each, strata, every, spent, others) -> pd.DataFrame:
    keys, alike = [*_KEYS, "is_loose"], ["level", "is_loose", *_ALIKE]
    whole = every.groupby(["level", "is_loose"], as_index=False)[["n", *OUTCOMES]].sum()
    each = each.merge(whole, on=["level", "is_loose"], how="left", suffixes=("", "_whole"))
    beside = strata.merge(every, on=alike, how="left", suffixes=("", "_all"))
    beside = beside.merge(spent, on=[*keys, *_ALIKE], how="left", suffixes=("", "_spent")).fillna(0.0)
    rest = beside["n_all"] - beside["n_spent"]
    met = (beside["n"] > 0) & (rest >= 1)
    beside, rest = beside[met], rest[met]
    place = beside[keys].merge(each[keys].assign(place=np.arange(len(each))), on=keys, how="left")["place"].to_numpy()
    n = beside["n"].to_numpy(dtype=float)
    whole_n = np.bincount(place, weights=n, minlength=len(each))
    # days of one subject go together: the error is as if each subject counted once
    once = np.sqrt(each["n"] / each["subjects"]).to_numpy()
    told = {}
    for name in OUTCOMES:
        told[name] = (each[name] / each["n"]).round(6)
        told[f"{name}_base"] = (each[f"{name}_whole"] / each["n_whole"]).round(6)
        one = beside[name].to_numpy() / n
        none = np.clip((beside[f"{name}_all"] - beside[f"{name}_spent"]).to_numpy() / rest.to_numpy(), 0, 1)
        gap = np.bincount(place, weights=n * (one - none), minlength=len(each)) / np.maximum(whole_n, 1)
        share = lambda hits, size: (hits + 0.5) / (size + 1)  # noqa: E731
        p, q = share(one * n, n), share(none * rest, rest)
        variance = n**2 * (p * (1 - p) / n + q * (1 - q) / rest)
        error = np.sqrt(np.bincount(place, weights=variance, minlength=len(each))) / np.maximum(whole_n, 1) * once
        known = (each["subjects"].to_numpy() >= _FEWEST) & (whole_n >= 0.5 * each["n"].to_numpy())
        told[f"{name}_effect"] = np.where(known, gap.round(6), np.nan)
        told[f"{name}_low"] = np.where(known, (gap - _Z * error).round(6), np.nan)
        told[f"{name}_high"] = np.where(known, (gap + _Z * error).round(6), np.nan)
        told[f"{name}_p"] = np.where(known, [_p_value(g, e) for g, e in zip(gap, error, strict=True)], np.nan)
    table = each.assign(**told, stage=[STAGES[level] for level in each["level"]], design="observed")
    if others is not None and len(others):
        table = pd.concat([_as_moments(others), table], ignore_index=True)
    p = table[[f"{name}_p" for name in OUTCOMES]].to_numpy(dtype=float)
    table["q_value"] = np.nanmin(np.where(np.isnan(p), np.inf, corrected(p)), axis=1, initial=np.inf).round(6)
    table["q_value"] = table["q_value"].replace(np.inf, np.nan)
    order = {stage: i for i, stage in enumerate(STAGES)}
    table = table.assign(_place=table["stage"].map(order).fillna(-1)).sort_values(["_place", "event_name", "kind"], kind="stable")
    return typed(table, MOMENTS).reset_index(drop=True)


def corrected(p_values: np.ndarray) -> np.ndarray:
    """How sure is each of many, when so many were looked at? Q values after Benjamini and Hochberg.

    Parameters
    ----------
    p_values
        Of any shape; missing ones stay missing and do not count.

    Returns
    -------
    numpy.ndarray
        Of the same shape.
    """
    flat = np.asarray(p_values, dtype=float).ravel()
    out = np.full(len(flat), np.nan)
    known = np.flatnonzero(np.isfinite(flat))
    by = known[np.argsort(flat[known], kind="stable")]
    q = flat[by] * len(by) / np.arange(1, len(by) + 1)
    out[by] = np.minimum(np.minimum.accumulate(q[::-1])[::-1], 1.0)
    return out.reshape(np.shape(p_values))


def _as_moments(others: pd.DataFrame) -> pd.DataFrame:
    """Effects on the next order as rows of the table; they stand at no stage."""
    rows = others.rename(columns={
        "rate": "ordered", "base": "ordered_base", "effect": "ordered_effect", "low": "ordered_low",
        "high": "ordered_high",
        "p_value": "ordered_p",
    })  # fmt: skip
    numbers = ["ordered", "ordered_base", "ordered_effect", "ordered_low", "ordered_high"]
    return rows.assign(kind="order", stage=None, **{name: rows[name].round(6) for name in numbers})


def _on_topic(ways: Ways, days: ir.Table, evidence: ir.Table) -> ir.Table:
    """Each day on a journey with such an event, with what came after that day."""
    happened = ways.steps.select("lane", "number", "day", "code").distinct()
    met = happened.inner_join(days, ["lane", "number", "day"]).inner_join(evidence, "code")
    return met.mutate(is_loose=ibis.literal(False)).select(*_MET)


def _at_large(timeline: ir.Table, days: ir.Table, ways: Ways, zone: str, gap_days: int) -> ir.Table:
    """Each day with such an event without a topic, once for each journey that its subject was on."""
    loose = timeline.filter(timeline["kind"].isin(AT_LARGE) & timeline["topic"].isnull())
    on = parsing.local(loose["occurred_at"], zone).date()
    loose = loose.select("subject_id", "event_name", "kind", on=on).distinct()
    stays = days.filter(days["day"] == days["since"]).inner_join(ways.lanes, "lane")
    until = stays["next_day"].fill_null(stays["last_day"] + ibis.interval(days=gap_days))
    met = loose.inner_join(stays.mutate(until=until.cast("date")), "subject_id")
    met = met.filter((met["on"] >= met["day"]) & (met["on"] < met["until"]))
    return met.drop("day").rename(day="on").mutate(is_loose=ibis.literal(True)).select(*_MET)


def _p_value(effect: float, error: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.sf(abs(effect) / error)) if error > 0 else 1.0
