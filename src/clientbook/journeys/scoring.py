"""How right are the stages: against the truth of a made company, and against what came next in any?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.journeys.inference import Reading, Seen, Stood, fitted_before, most_probable, part_of, recent, stood
from clientbook.journeys.model import AWAY, Model
from clientbook.journeys.stages import Ways
from clientbook.tables import STAGES

MODEL, TRUE_MODEL, LAST = "hidden Markov model", "the same with the truth's own rates", "stage of the last event"
RULES = {
    "model": MODEL,
    "last": LAST,
    "furthest": "furthest stage reached",
    "frequent": "stage told most often on the journey",
    "true_model": TRUE_MODEL,
    "commonest": "the truly commonest stage, for everybody",
}
# Neither could be followed without the truth.
KNOWING = ("true_model", "commonest")
TRUTH = ("people", "stages", "journeys", "emissions", "stays", "responsiveness", "response_model")
_COLUMNS = ["rule", "right", "n", "right_of_all", "all", "calibration_error"]
_BINS = 10
RECENT_DAYS = 90


def score(
    ways: Ways,
    seen: Seen,
    reading: Reading,
    told: pd.DataFrame,
    who: ir.Table,
    subject: str,
    as_of: dt.date,
    truth: Mapping[str, ir.Table | None],
    *,
    zone: str,
) -> pd.DataFrame:
    """In how many cases is the current stage right, by which rule?

    Parameters
    ----------
    ways, seen, reading, told
        As from :func:`clientbook.journeys.follow`, :func:`clientbook.journeys.seen_of`,
        :func:`clientbook.journeys.read_stages` and :func:`clientbook.journeys.stage_table_of`.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    subject
        `account` or `customer`; each belongs to the true account that most of its person records are of.
    as_of
        The day of the run.
    truth
        `people`, `stages`, `journeys`, `emissions` and `stays` of the made company; None without one.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        A row a rule: `right`, of the `n` truly open journeys of which anything was seen since they opened;
        `right_of_all`, of `all` that are truly open; `calibration_error`, where the rule gives a probability: the
        expected calibration error over ten bins, of those `n`. All rules answer for the same journeys. Without a
        truth no row.
    """
    if any(truth.get(name) is None for name in ("people", "stages")):
        return pd.DataFrame(columns=_COLUMNS)
    now = parsing.day_begins(as_of, zone)
    guesses = _guesses(ways, reading).merge(_true_accounts(who, truth["people"], subject), on="subject_id")
    open_truly = _open_truly(truth, now)
    true_model = _true_model(reading.model, told, truth)
    if true_model is not None:
        asked = guesses.merge(open_truly[["true_account", "topic"]], on=["true_account", "topic"])["lane"]
        best = [_best_of(stood(part_of(lot), true_model, as_of, zone=zone)) for lot in seen.of(asked.unique()).lots()]
        if best:
            guesses = guesses.merge(pd.concat(best), on="lane", how="left")
    both = open_truly.merge(
        guesses.sort_values(["last_at", "lane"], kind="stable").drop_duplicates(["true_account", "topic"], keep="last"),
        on=["true_account", "topic"], how="left",
    )  # fmt: skip
    if both.empty:
        return pd.DataFrame(columns=_COLUMNS)
    stage = both["true_stage"].map({name: i for i, name in enumerate(STAGES)}).to_numpy()
    known = (both["last_at"] >= both["opened_at"]).to_numpy() & both["model"].notna().to_numpy()
    both["commonest"] = np.bincount(stage).argmax()
    rows = []
    for column, rule in RULES.items():
        if column not in both:
            continue
        right = (both[column] == stage).to_numpy()
        sure = {"model": "probability", "true_model": "true_probability"}.get(column)
        error = calibration_error(both.loc[known, sure].to_numpy(), right[known]) if sure and known.any() else None
        rows.append([rule, right[known].mean() if known.any() else np.nan, int(known.sum()), right.mean(), len(both), error])
    return pd.DataFrame(rows, columns=_COLUMNS)


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """By how much do the probabilities miss, on average? The expected calibration error over ten equal bins.

    Parameters
    ----------
    probability
        What was said.
    right
        Whether it was so.
    """
    place = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    n = np.bincount(place, minlength=_BINS)
    gap = np.abs(np.bincount(place, weights=probability - right, minlength=_BINS))
    return float(gap.sum() / max(n.sum(), 1))


def say_score(scores: pd.DataFrame) -> str:
    """In one sentence: is the model better than the rules, and how near to the best that could be?

    Parameters
    ----------
    scores
        As from :func:`score`.
    """
    if scores.empty:
        return "This book has no truth to score against; only made companies have one"
    right = scores.set_index("rule")["right"]
    own = right[MODEL]
    others = right.drop([MODEL, *(RULES[name] for name in KNOWING if RULES[name] in right.index)])
    verdict = "and beats" if own > others.max() else "but does not beat"
    told = (
        f"Against the truth, the model is right in {own:.1%} of the journeys, {verdict} the best rule, "
        f"{others.idxmax()}: {others.max():.1%}"
    )
    return f"{told}. Knowing the true rates gives {right[TRUE_MODEL]:.1%}" if TRUE_MODEL in right.index else told


def foresight(seen: Seen, told: pd.DataFrame, as_of: dt.date, *, zone: str, window_days: int, most: int = 30_000) -> dict:
    """Does the stage say who buys next? Fitted before, tried on the last days of the book.

    Two windows before the run are taken: what the stages mean for buying is learned on the earlier, and tried on the
    later. The model beneath was fitted to what came before both. Only ways of which something was seen in the 90 days
    before are asked about: that the long silent do not buy is no art.

    Parameters
    ----------
    seen
        As from :func:`clientbook.journeys.seen_of`.
    told
        The written table.
    as_of
        The day of the run.
    zone
        The book's.
    window_days
        How soon an order or a won deal must come.
    most
        Of more ways, so many drawn at random are looked at.

    Returns
    -------
    dict
        `table`: a row a way of foretelling: `by`, `auc`, `calibration_error`, `n`, `bought` (share); `tenths`: mean
        `foretold` and `bought` share of each tenth by the model; `decide`: the share that bought of those most
        probably in decide, and `others`: of all others. Empty tables where too little was bought.
    """
    days = [as_of - dt.timedelta(days=window_days * 2), as_of - dt.timedelta(days=window_days)]
    drawn = _drawn(seen, most).part()
    model = fitted_before(drawn, told, days[0], zone=zone)
    # to read those of which nothing was seen lately would be for nothing
    lately = [recent(drawn, day, zone=zone, days=RECENT_DAYS) for day in days]
    before, after = (
        stood(part, model, day, zone=zone, window_days=window_days) for part, day in zip(lately, days, strict=True)
    )
    names = ["by", "auc", "calibration_error", "n", "bought"]
    empty = {"table": pd.DataFrame(columns=names), "tenths": pd.DataFrame(columns=["foretold", "bought", "n"])}
    if min(before.bought.sum(), after.bought.sum(), (~before.bought.astype(bool)).sum()) < 20:
        return empty | {"decide": np.nan, "others": np.nan}
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    def by_stage(one):
        return np.column_stack([np.eye(AWAY + 1)[one.last], one.ordered])

    def by_model(one):
        # what a stage means for the next order is another thing for those who have ordered before
        return np.column_stack([one.state, one.state * one.ordered[:, None]])

    rows, tenths = [], None
    for name, make in ((MODEL, by_model), (LAST, by_stage)):
        foretold = LogisticRegression(C=100.0, max_iter=500).fit(make(before), before.bought).predict_proba(make(after))[:, 1]
        foretold = np.round(foretold, 9)
        auc = roc_auc_score(after.bought, foretold)
        rows.append([name, auc, calibration_error(foretold, after.bought), len(foretold), after.bought.mean()])
        if tenths is None:
            tenths = _tenths(foretold, after.bought)
    decide = after.state[:, STAGES.index("decide")]
    rows.append(
        [
            "probability of decide alone",
            roc_auc_score(after.bought, np.round(decide, 9)),
            np.nan,
            len(decide),
            after.bought.mean(),
        ]
    )
    now = after.state.argmax(axis=1) == STAGES.index("decide")
    return {
        "table": pd.DataFrame(rows, columns=names), "tenths": tenths,
        "decide": after.bought[now].mean() if now.any() else np.nan, "others": after.bought[~now].mean(),
    }  # fmt: skip


def say_foresight(found: Mapping) -> str:
    """In one sentence: does decide mean that somebody buys?

    Parameters
    ----------
    found
        As from :func:`foresight`.
    """
    if found["table"].empty:
        return "Too little was bought in the last weeks to try the stages on"
    auc = found["table"].set_index("by")["auc"]
    better = "better than" if auc[MODEL] > auc[LAST] else "no better than"
    ranked = f"the model ranks {better} the last event"
    if np.isnan(found["decide"]):
        return f"Nobody was read as deciding then; {ranked}"
    times = found["decide"] / max(found["others"], 1e-9)
    return f"Who is read as deciding buys {times:.1f} times as often as others; {ranked}"


def _drawn(seen: Seen, most: int) -> Seen:
    if len(seen.lanes) <= most:
        return seen
    return seen.of(np.random.default_rng(1).choice(seen.lanes, most, replace=False))


def _best_of(knowing: Stood) -> pd.DataFrame:
    level, probability = most_probable(knowing.state)
    return pd.DataFrame({"lane": knowing.lane, "true_model": level, "true_probability": probability})


def _tenths(foretold: np.ndarray, bought: np.ndarray) -> pd.DataFrame:
    place = np.argsort(np.argsort(foretold, kind="stable"), kind="stable") * 10 // len(foretold)
    n = np.bincount(place, minlength=10)
    mean = lambda values: np.bincount(place, weights=values, minlength=10) / np.maximum(n, 1)  # noqa: E731
    return pd.DataFrame({"foretold": mean(foretold), "bought": mean(bought), "n": n})


def _open_truly(truth: Mapping[str, ir.Table | None], now: ir.TimestampScalar) -> pd.DataFrame:
    """What is truly open: `true_account`, `topic`, `true_stage`, `opened_at`."""
    stages = truth["stages"]
    stages = stages.mutate(**{c: stages[c].cast("timestamp") for c in ("valid_from", "valid_to")})
    stages = stages.filter((stages["valid_from"] < now) & (stages["valid_to"] >= now))
    stages = stages.select("topic", true_account="subject_id", true_stage="stage", since="valid_from")
    journeys = truth.get("journeys")
    if journeys is None:
        return stages.rename(opened_at="since").to_pandas()
    opened = journeys.mutate(**{c: journeys[c].cast("timestamp") for c in ("opened_at", "closed_at")})
    opened = opened.filter((opened["opened_at"] < now) & (opened["closed_at"] >= now))
    both = stages.left_join(opened.select("topic", "opened_at", true_account="subject_id"), ["true_account", "topic"])
    return both.select("topic", "true_account", "true_stage", opened_at=both["opened_at"].fill_null(both["since"])).to_pandas()


def _true_accounts(who: ir.Table, people: ir.Table, subject: str) -> pd.DataFrame:
    records = who.inner_join(
        people.select("person_id", person_source="source", true_account="account_id"), ["person_source", "person_id"]
    )
    each = records.group_by("true_account", subject_id=records[f"{subject}_id"]).agg(n=records.count())
    best = ibis.row_number().over(group_by="subject_id", order_by=[ibis.desc("n"), "true_account"])
    best = each.mutate(best=best).filter(lambda t: t["best"] == 0)
    return best.select("subject_id", "true_account").to_pandas()


def _guesses(ways: Ways, reading: Reading) -> pd.DataFrame:
    """What each rule says of each lane: of its latest journey, as its place among the six."""
    steps = ways.steps.filter(ways.steps["told_level"].notnull())
    told = steps.group_by("lane", "number", "told_level").agg(n=steps.count())
    frequent = told.group_by("lane", "number").agg(frequent=(told["n"] * 8 + told["told_level"]).max() % 8)
    each = steps.group_by("lane", "number").agg(
        last=steps["told_level"].argmax(steps["place"]), furthest=steps["told_level"].max()
    )
    rows = each.inner_join(frequent, ["lane", "number"])
    latest = rows.group_by("lane").agg(number=rows["number"].max())
    rows = rows.inner_join(latest, ["lane", "number"])
    seen = ways.steps.group_by("lane").agg(last_at=ways.steps["occurred_at"].max())
    lanes = ways.lanes.select("lane", "subject_id", "topic").inner_join(seen, "lane")
    lanes = lanes.inner_join(reading.now.select("lane", "probability", model="level"), "lane")
    joined = lanes.left_join(rows.drop("number"), "lane")
    return joined.drop([name for name in joined.columns if name.endswith("_right")]).to_pandas()


def _true_model(fitted: Model, told: pd.DataFrame, truth: Mapping[str, ir.Table | None]) -> Model | None:
    """The model with the truth's own emissions, visits, stays and moves; the rest as fitted."""
    if any(truth.get(name) is None for name in ("emissions", "stays")):
        return None
    share = truth["emissions"].to_pandas().pivot_table(index="stage", columns="event_name", values="probability", fill_value=0)
    share = share.reindex(STAGES)
    emission = fitted.emission.copy()
    half = emission.shape[1] // 2
    for code, (name, kind) in enumerate(zip(told["event_name"], told["kind"], strict=True)):
        if kind == "event" and name in share:
            emission[:AWAY, code] = emission[:AWAY, code + half] = share[name].to_numpy()
    stays = truth["stays"].to_pandas().set_index("stage").reindex(STAGES)
    visits = np.append(stays["visits_per_month"].to_numpy() / 30, fitted.visits[AWAY])
    stages = truth["stages"].select("journey_id", "stage", "valid_from", "valid_to").to_pandas()
    stages = stages.sort_values(["journey_id", "valid_from"])
    level = stages["stage"].map({name: i for i, name in enumerate(STAGES)}).to_numpy()
    lasts = np.append(stages["journey_id"].to_numpy()[1:] == stages["journey_id"].to_numpy()[:-1], False)
    after = np.where(lasts, np.append(level[1:], 0), AWAY)
    days = (stages["valid_to"] - stages["valid_from"]).dt.total_seconds().to_numpy() / 86_400
    # an order that ends a stage is a mark, not a move
    moves = np.zeros((AWAY + 1, AWAY + 1))
    np.add.at(moves, (level, after), 1.0)
    moves[:3, 3:5] = 0.0
    time = np.bincount(level, weights=days, minlength=AWAY)
    moves[:AWAY] /= np.maximum(time, 1e-9)[:, None]
    moves[AWAY] = fitted.moves[AWAY]
    np.fill_diagonal(moves, 0.0)
    return replace(fitted, moves=moves, visits=visits, emission=emission)
