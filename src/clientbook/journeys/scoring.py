"""How right are the stages of a made company, whose truth is known?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.journeys.stages import Ways, instant_of, stage_of

RULES = {
    "last": "stage of the last event",
    "furthest": "furthest stage reached",
    "frequent": "stage told most often on the journey",
    "commonest": "the truly commonest stage, for everybody",
}
_COLUMNS = ["rule", "right", "n", "right_of_all", "all"]


def score(
    ways: Ways,
    who: ir.Table,
    subject: str,
    as_of: dt.date,
    truth_people: ir.Table | None,
    truth_stages: ir.Table | None,
    *,
    zone: str,
    gap_days: int,
) -> pd.DataFrame:
    """In how many cases is the current stage right, by which rule?

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow`.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    subject
        `account` or `customer`; each belongs to the true account that most of its person records are of.
    as_of
        The day of the run.
    truth_people, truth_stages
        The truth of the made company, or None.
    zone
        The book's.
    gap_days
        Days of silence that close a journey.

    Returns
    -------
    pandas.DataFrame
        A row a rule: `right`, of the `n` true journeys that are seen as open too; `right_of_all`, of `all` that are
        truly open. The last rule could not be followed without the truth, and is the bar for all. Without a truth no
        row.
    """
    if truth_people is None or truth_stages is None:
        return pd.DataFrame(columns=_COLUMNS)
    now = instant_of(as_of, zone)
    guesses = _guesses(ways, now, gap_days).inner_join(_true_accounts(who, truth_people, subject), "subject_id")
    stages = truth_stages.mutate(**{c: truth_stages[c].cast("timestamp") for c in ("valid_from", "valid_to")})
    stages = stages.filter((stages["valid_from"] < now) & (stages["valid_to"] >= now))
    stages = stages.select("topic", true_account="subject_id", true_stage="stage")
    guesses = guesses.to_pandas().sort_values(["last_at", "subject_id"], kind="stable")
    guesses = guesses.drop_duplicates(["true_account", "topic"], keep="last")
    both = stages.to_pandas().merge(guesses, on=["true_account", "topic"], how="left")
    if both.empty:
        return pd.DataFrame(columns=_COLUMNS)
    both["commonest"] = both["true_stage"].mode().iloc[0]
    seen = both["last"].notna()
    rows = []
    for column, rule in RULES.items():
        right = (both[column] == both["true_stage"]) & seen
        rows.append([rule, right[seen].mean(), int(seen.sum()), right.mean(), len(both)])
    return pd.DataFrame(rows, columns=_COLUMNS)


def say_score(scores: pd.DataFrame) -> str:
    """In one sentence: is the rule that is used better than the others?

    Parameters
    ----------
    scores
        As from :func:`score`.
    """
    if scores.empty:
        return "This book has no truth to score against; only made companies have one"
    right = scores.set_index("rule")["right"]
    own, others = right[RULES["last"]], right.drop(RULES["last"])
    verdict = "and beats" if own > others.max() else "but does not beat"
    return (
        f"Against the truth, the last event is right in {own:.1%} of the journeys, {verdict} the best of the other "
        f"rules, {others.idxmax()}: {others.max():.1%}"
    )


def _true_accounts(who: ir.Table, people: ir.Table, subject: str) -> ir.Table:
    records = who.inner_join(
        people.select("person_id", person_source="source", true_account="account_id"), ["person_source", "person_id"]
    )
    each = records.group_by("true_account", subject_id=records[f"{subject}_id"]).agg(n=records.count())
    best = ibis.row_number().over(group_by="subject_id", order_by=[ibis.desc("n"), "true_account"])
    return each.mutate(best=best).filter(lambda t: t["best"] == 0).select("subject_id", "true_account")


def _guesses(ways: Ways, now: ir.TimestampScalar, gap_days: int) -> ir.Table:
    """What each rule says of each open journey."""
    steps = ways.steps.filter(ways.steps["told_level"].notnull())
    told = steps.group_by("lane", "number", "told_level").agg(n=steps.count())
    frequent = told.group_by("lane", "number").agg(frequent=(told["n"] * 8 + told["told_level"]).max() % 8)
    each = ways.changes.group_by("lane", "number").agg(
        last=ways.changes["level"].argmax(ways.changes["place"]), last_at=ways.changes["last_at"].max(),
        held=ways.changes["held"].any(),
    )  # fmt: skip
    furthest = steps.group_by("lane", "number").agg(furthest=steps["told_level"].max())
    rows = each.inner_join(frequent, ["lane", "number"]).inner_join(furthest, ["lane", "number"])
    rows = rows.filter(rows["held"] | (rows["last_at"] + ibis.interval(days=gap_days) >= now))
    rows = rows.inner_join(ways.lanes, "lane")
    names = {rule: stage_of(rows[rule]) for rule in ("last", "furthest", "frequent")}
    return rows.select("subject_id", "topic", "last_at", **names)
