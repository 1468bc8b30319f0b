"""Had we forecast from the past, how right would we have been?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.value import rules
from clientbook.value.intervals import LEVELS, spending
from clientbook.value.ledger import DAYS_PER_WEEK, LONGEST_LAG_WEEKS, return_lags_at, with_net_of
from clientbook.value.models import MODELS, PurchaseModel, TooFew, fit_purchases
from clientbook.value.rules import LAST_YEAR, RULES, SAME_AGAIN, YEAR
from clientbook.value.season import Trial, season_by, trial_span
from clientbook.value.spend import SpendModel, amount_error, correct, fit_spend, with_first_purchase
from clientbook.value.summary import compress, key, named

NAIVE = SAME_AGAIN
SHORTEST_HISTORY = 14
# The backtest looks at so many customers at the most, chosen by their ids alone.
MOST_CUSTOMERS = 200_000
# The season is tried with the simplest model that lets people leave at any time.
TRIED_WITH = "MBG/NBD"
# Amounts and rates are taken for independent unless their rank correlation is at least this.
DEPENDENT = 0.1


@dataclass(frozen=True)
class Hindsight:
    """What was foreseen at one origin, and what came?

    Attributes
    ----------
    origin, days
        The day up to which was seen, and how long after it was forecast.
    known
        The customers known at the origin: as from :func:`look_back`.
    models, spend
        Fitted on what was known.
    orders, margins
        Forecasts by model or rule, shape (customers,).
    scores
        The rows of `value_backtest` of this origin.
    trial
        Whether the season was counted with, and why.
    """

    origin: dt.date
    days: int
    known: pd.DataFrame
    models: dict[str, PurchaseModel]
    spend: SpendModel
    orders: dict[str, np.ndarray]
    margins: dict[str, np.ndarray]
    scores: pd.DataFrame
    trial: Trial = field(default_factory=Trial)

    def error(self, name: str) -> float | None:
        """The logarithm of the margin that came over the one foreseen; None where either is not positive."""
        came, foreseen = float(self.known["margin"].sum()), float(self.margins[name].sum())
        return float(np.log(came / foreseen)) if came > 0 and foreseen > 0 else None


def holdout(first: dt.date | None, as_of: dt.date, holdout_days: int | None) -> tuple[int, int]:
    """How long is the history, and how much of it is held out?

    Raises
    ------
    TooFew
        If there is no purchase, or the history is too short.
    """
    if first is None or pd.isna(first):
        raise TooFew("there is no purchase.")
    history = (pd.Timestamp(as_of) - pd.Timestamp(first)).days
    days = holdout_days or min(history // 2, YEAR)
    if history - days < SHORTEST_HISTORY or days < 7:
        raise TooFew(f"a history of {history} days is too short to hold out {days} of them.")
    return history, days


def origins(history: int, days: int, as_of: dt.date, most: int = 3) -> list[dt.date]:
    """At which days could we have stood? The newest first.

    The first leaves just the time held out. The others lie a year or a quarter of a year before each other: with a
    whole year held out every origin sees every season, else those a year apart see the same one. Each leaves at least
    as much history as half of what is held out.

    Parameters
    ----------
    history
        Days from the first purchase to `as_of`.
    days
        Held out.
    as_of
        The day of the run.
    most
        How many.
    """
    latest = as_of - dt.timedelta(days=days)
    seen = history - days
    least = max(days // 2, SHORTEST_HISTORY)
    step = YEAR if seen - YEAR >= least else YEAR // 4
    return [latest] + [latest - dt.timedelta(days=step * i) for i in range(1, most) if seen - step * i >= least]


def look_back(
    book: ir.Table, spans: Sequence[tuple[dt.date, int]], most: int = MOST_CUSTOMERS
) -> dict[tuple[dt.date, int], pd.DataFrame]:
    """Who was known at each of several days, what was known of them, and what came? At one look at the book.

    Parameters
    ----------
    book
        As from :func:`clientbook.value.ledger.ledger`.
    spans
        The day before which all is known, and how many days after it what came is counted.
    most
        Customers; of more, those whose ids come first.

    Returns
    -------
    dict
        For each of `spans` a frame with a row a customer, by id: the summary, `net_rate`, `service_per_order`, and
        `actual` (purchases), `money`, `margin` after the day; `repeat_before`, `margin_before` in the same time before
        it, `count_year` and `gross_year` in the year before it.
    """
    spans = list(dict.fromkeys(spans))
    whose = list(key(book))
    lags = return_lags_at(book, [origin for origin, _ in spans])
    shares = pd.DataFrame(
        {"span": i, "week": week, "share": share} for i, each in enumerate(lags) for week, share in enumerate(each)
    )
    days = {
        name: [origin + dt.timedelta(days=sign * (YEAR if name == "year" else days)) for origin, days in spans]
        for name, sign in (("start", 0), ("end", 1), ("earlier", -1), ("year", -1))
    }
    rows = book.semi_join(_some(book, whose, most), whose).cross_join(
        ibis.memtable(pd.DataFrame({"span": np.arange(len(spans)), **days}))
    )
    rows = rows.filter(rows["day"] < rows["end"])
    day, start, bought = rows["day"], rows["start"], rows["is_purchase"]
    seen = rows["known_on"] < start
    week = ibis.least(start.delta(day, unit="day") // DAYS_PER_WEEK, LONGEST_LAG_WEEKS + 1).cast("int64")
    rows = rows.mutate(week=week, known=seen)
    if shares["share"].lt(1).any():
        rows = rows.left_join(ibis.memtable(shares), ["span", "week"])
        rows = rows.drop("span_right", "week_right").mutate(share=rows["share"].fill_null(1.0))
    else:
        rows = rows.mutate(share=ibis.literal(1.0))
    day, start, seen, bought = rows["day"], rows["start"], rows["known"], rows["is_purchase"]
    was = {
        "purchases": rows.count(where=seen & bought), "first": day.min(where=seen & bought),
        "last": day.max(where=seen & bought), "gross": total(rows["amount"], seen),
        "first_amount": rows["amount"].argmin(day, where=seen & bought).fill_null(0.0),
        "cost": total(rows["cost"], seen), "returned": total(rows["returned"], seen),
        "service": total(rows["service"], seen), "matured": total(rows["amount"] * rows["share"], seen),
        "count_year": rows.count(where=seen & bought & (day >= rows["year"])),
        "gross_year": total(rows["amount"], (day >= rows["year"]) & (day < start)),
    }  # fmt: skip
    for when, there in (("after", day >= start), ("before", (day >= rows["earlier"]) & (day < start) & seen)):
        was[f"count_{when}"] = rows.count(where=there & bought)
        for name, column in (("money", "amount"), ("cost", "cost"), ("returned", "returned"), ("service", "service")):
            was[f"{name}_{when}"] = total(rows[column], there)
    told = rows.group_by(*whose, "span").agg(**was)
    found = named(told.filter(told["purchases"] > 0)).order_by("span", "customer_id").to_pandas()
    return {
        span: _known(found[found["span"] == i].drop(columns="span").reset_index(drop=True), *span) for i, span in enumerate(spans)
    }


def daily_purchases(book: ir.Table, most: int = MOST_CUSTOMERS) -> pd.DataFrame:
    """How many of the customers that are looked at bought on each day?

    Parameters
    ----------
    book, most
        As for :func:`look_back`.

    Returns
    -------
    pandas.DataFrame
        `day`, `bought`.
    """
    whose = list(key(book))
    some = book.filter(book["is_purchase"]).semi_join(_some(book, whose, most), whose)
    return some.group_by("day").agg(bought=some.count()).order_by("day").to_pandas()


def _some(book: ir.Table, whose: list[str], most: int) -> ir.Table:
    """Of whom to look at the history: everybody, or those whose ids come first."""
    everybody = book.select(*whose).distinct()
    if int(everybody.count().to_pandas()) <= most:
        return everybody
    mixed = everybody if "customer_id" in whose else with_customer(everybody, None)
    return mixed.order_by("customer_id").limit(most).select(*whose)


def _known(found: pd.DataFrame, origin: dt.date, days: int) -> pd.DataFrame:
    """One of the frames of :func:`look_back`, from sums by customer."""
    first, last = (pd.to_datetime(found[name]) for name in ("first", "last"))
    frequency = found["purchases"].to_numpy(int) - 1
    later = (found["gross"] - found["first_amount"]).to_numpy(float)
    known = found[["customer_id", "purchases", "gross", "cost", "returned", "service", "matured"]].assign(
        frequency=frequency,
        recency=(last - first).dt.days.to_numpy(int),
        T=(pd.Timestamp(origin) - first).dt.days.to_numpy(int) - 1,
        monetary=np.divide(later, frequency, out=np.zeros(len(found)), where=frequency > 0),
        count_year=found["count_year"], gross_year=found["gross_year"],
    )  # fmt: skip
    known = with_net_of(known)
    # a first purchase is how a customer came, not something to do again
    known["repeat_before"] = found["count_before"] - (known["T"] < days) * (found["count_before"] > 0)
    for when, name in (("after", "margin"), ("before", "margin_before")):
        money, back = found[f"money_{when}"].to_numpy(float), found[f"returned_{when}"].to_numpy(float)
        share = np.divide(found[f"cost_{when}"].to_numpy(float), money, out=np.zeros(len(found)), where=money > 0)
        known[name] = (money - back) * (1 - share) - found[f"service_{when}"].to_numpy(float)
    return known.assign(count_before=found["count_before"], actual=found["count_after"], money=found["money_after"])


def past_days(first: dt.date, origin: dt.date, days: int) -> int:
    """How long a time before an origin can show what comes after an earlier one? At most half of the history."""
    return min(days, (pd.Timestamp(origin) - pd.Timestamp(first)).days // 2)


def hindsight(
    book: ir.Table,
    spans: Sequence[tuple[dt.date, int]],
    *,
    names: Sequence[str] = MODELS,
    boosting: bool = True,
    seed: int = 1,
) -> list[Hindsight]:
    """What would the models and the rules have said at each of several days, and what came?

    Parameters
    ----------
    book
        As from :func:`clientbook.value.ledger.ledger`.
    spans
        The days, the newest first, and how long after each what came is counted; days at which no model can be fitted
        end the list.
    names
        The models.
    boosting
        Whether gradient boosting is asked too.
    seed
        Of the boosting.

    Raises
    ------
    TooFew
        If no model can be fitted at the first of them.
    """
    first = book.aggregate(first=book["day"].min(where=book["is_purchase"])).to_pandas()["first"].iloc[0]
    if pd.isna(first):
        raise TooFew("there is no purchase.")
    before = {}
    for origin, days in spans:
        length = past_days(first, origin, days)
        if length >= 7:
            before[origin, days] = (origin - dt.timedelta(days=length), length)
    tries = {span: there for span in spans if (there := trial_span(first, *span)) is not None}
    looked = look_back(book, [*spans, *before.values(), *tries.values()])
    daily = daily_purchases(book) if tries else pd.DataFrame()
    backs: list[Hindsight] = []
    start: dict[str, PurchaseModel] = {}
    for span in spans:
        past_span = before.get(span, (span[0], 0))
        past = looked[past_span] if span in before else looked[span].head(0)
        try:
            tried = tries.get(span)
            found = Trial() if tried is None else try_season(looked[tried], tried, daily, start.get(TRIED_WITH))
            found = with_season(found, daily, compress(looked[span]), span[0])
            back = _judge(looked[span], past, past_span[1], *span, names, boosting, seed, start, found)
        except TooFew:
            if not backs:
                raise
            break
        start = back.models
        backs.append(back)
    return backs


def _judge(
    known: pd.DataFrame, past: pd.DataFrame, length: int, origin: dt.date, days: int, names: Sequence[str],
    boosting: bool, seed: int, start: dict[str, PurchaseModel], trial: Trial,
) -> Hindsight:  # fmt: skip
    told = compress(known)
    models, reasons = {}, [TooFew("there is no purchase.")]
    for name in names:
        try:
            models[name] = fit_purchases(told, name, start.get(name), season=trial.season, today=origin)
        except TooFew as error:
            reasons.append(error)
    if not models:
        raise reasons[-1]
    # what was known before the origin decides, or this would be no backtest
    spend = settle_spend(fit_spend(known), past)
    orders, margins = {}, {}
    where = _place(known, told)
    worth = spend.mean_of(known) * known["net_rate"].to_numpy() - known["service_per_order"].to_numpy()
    for name, model in models.items():
        orders[name] = model.expected_orders(days, told)[where]
        margins[name] = orders[name] * worth
    for name, (often, margin) in rules.naive_forecasts(known, days).items():
        orders[name], margins[name] = often, margin
    if boosting and len(past) >= 50:
        orders[rules.BOOSTING], margins[rules.BOOSTING] = rules.boosted_forecasts(past, length, known, days, seed)
    scores = pd.DataFrame([_score(name, orders[name], margins[name], known) for name in orders])
    scores.insert(0, "origin", pd.Timestamp(origin).date())
    scores.insert(1, "holdout_days", days)
    scores["season"] = trial.season is not None
    return Hindsight(origin, days, known, models, spend, orders, margins, scores, trial)


def try_season(past: pd.DataFrame, span: tuple[dt.date, int], daily: pd.DataFrame, start: PurchaseModel | None = None) -> Trial:
    """Would counting with the season have made the forecast better at an earlier day?

    Both the error of a customer's purchases and that of the total have to be smaller with it.

    Parameters
    ----------
    past, span
        Customers at that earlier day and what came after, as from :func:`look_back`.
    daily
        As :func:`clientbook.value.season.season_by` takes it, of the same customers.
    start
        A model from which the fit may begin.

    Returns
    -------
    Trial
        With the season as it was seen at the earlier day, if it would have helped.
    """
    origin, days = span
    told, actual = compress(past), past["actual"].to_numpy(float)
    if not actual.sum() > 0:
        return Trial()
    where = _place(past, told)
    try:
        plain = fit_purchases(told, TRIED_WITH, start)
        season = season_by(daily, told, origin)
        seasonal = fit_purchases(told, TRIED_WITH, plain, season=season, today=origin)
    except TooFew:
        return Trial()
    errors = []
    for model in (plain, seasonal):
        expected = model.expected_orders(days, told)[where]
        errors.append(round(float(np.sqrt(np.mean((expected - actual) ** 2))), 6))
        errors.append(round(float(expected.sum() / actual.sum() - 1), 6))
    one, off_one, other, off_other = errors
    helps = other < one and abs(off_other) < abs(off_one)
    return Trial(season if helps else None, origin, days, one, other, off_one, off_other)


def with_season(trial: Trial, daily: pd.DataFrame, histories: pd.DataFrame, today: dt.date) -> Trial:
    """The trial with the season as it is seen today, where counting with it helped."""
    return trial if trial.season is None else replace(trial, season=season_by(daily, histories, today))


def _place(known: pd.DataFrame, told: pd.DataFrame) -> np.ndarray:
    """In which row of the histories is each customer's?"""
    columns = ["frequency", "recency", "T"]
    numbered = told[columns].assign(place=np.arange(len(told)))
    return known[columns].merge(numbered, how="left", on=columns)["place"].to_numpy()


def settle_spend(spend: SpendModel, past: pd.DataFrame) -> SpendModel:
    """Does the first purchase tell of those to come, and are rate and amount independent? As an earlier time shows.

    Parameters
    ----------
    spend
        Fitted, as published.
    past
        Customers at an earlier origin and what came after it; as from :func:`look_back`.
    """
    if not len(past) or not (past["actual"] > 0).any():
        return spend
    spend = min((with_first_purchase(spend, yes) for yes in (True, False)), key=lambda one: amount_error(one, past))
    if abs(spend.correlation) < DEPENDENT:
        return spend
    # half of the customers say by how much, the other half whether it helps
    half = np.arange(len(past)) % 2 == 0
    tried = correct(spend, past[half])
    return correct(spend, past) if amount_error(tried, past[~half]) < amount_error(spend, past[~half]) else spend


def coverage(
    back: Hindsight, name: str, *, draws: int, seed: int, levels: tuple[float, ...] = LEVELS
) -> tuple[np.ndarray, float]:
    """How often do intervals for single customers hold what came, and how far may the total stray by chance?

    Parameters
    ----------
    back
        Of one origin.
    name
        Of the model.
    draws, seed
        Of the simulated futures.
    levels
        Shares of futures that the intervals hold.

    Returns
    -------
    covered : numpy.ndarray
        Share of customers, shape (levels,).
    chance : float
        Relative standard deviation of the total.
    """
    known, spend, model = back.known, back.spend, back.models[name]
    told = compress(known)
    where = _place(known, told)
    mean = spend.mean_of(known)
    worth = mean * known["net_rate"].to_numpy() - known["service_per_order"].to_numpy()
    evidence = spend.evidence_of(known) * worth / np.maximum(mean, 1e-12)
    bounds = spending(model, spend, told, model.p_alive(told), back.days, levels=levels, draws=draws, seed=seed)
    low, high = bounds.low[:, where] * evidence, bounds.high[:, where] * evidence
    low, high = np.minimum(low, high), np.maximum(low, high)
    came = known["margin"].to_numpy(float)
    room = 1e-6 + 1e-9 * np.abs(came)
    covered = np.mean((came >= low - room) & (came <= high + room), axis=1)
    whole = abs(float((bounds.mean[where] * evidence).sum()))
    chance = float(np.sqrt((bounds.variance[where] * evidence**2).sum())) / whole if whole else 0.0
    return np.round(covered, 6), round(chance, 6)


def _score(name: str, orders: np.ndarray, margin: np.ndarray, known: pd.DataFrame) -> dict[str, Any]:
    actual, came = known["actual"].to_numpy(float), known["margin"].to_numpy(float)
    error = orders - actual
    top = max(len(known) // 10, 1)
    best = np.lexsort((known["customer_id"].to_numpy(), -np.round(margin, 6)))[:top]
    realised = float(np.round(came, 6).sum())
    rank = pd.Series(np.round(margin, 6)).corr(pd.Series(came), method="spearman")
    return {
        "model": name,
        "customers": len(known),
        "rmse": round(float(np.sqrt(np.mean(error**2))), 6),
        "mae": round(float(np.mean(np.abs(error))), 6),
        "bias": round(float(error.mean()), 6),
        "total_expected": round(float(orders.sum()), 3),
        "total_actual": round(float(actual.sum()), 3),
        "rank_correlation": 0.0 if np.isnan(rank) else round(float(rank), 6),
        "decile_capture": round(float(came[best].sum()) / realised, 6) if realised > 0 else 0.0,
        "margin_expected": round(float(margin.sum()), 2),
        "margin_actual": round(realised, 2),
    }


def choose(scores: pd.DataFrame) -> tuple[str, str]:
    """Which model forecasts, and why?

    Parameters
    ----------
    scores
        The table `value_backtest`.

    Returns
    -------
    name, reason : str
        The model that is closest to the best in error and in ranking, on the mean over all origins, and why in words.
    """
    models = scores[~scores["model"].isin(RULES)]
    # an origin with more purchases to miss shall not outvote the others
    best = models.groupby("origin")[["rmse", "rank_correlation"]].agg({"rmse": "min", "rank_correlation": "max"})
    best = best.loc[models["origin"]].set_axis(models.index)
    missed = models["rmse"] / best["rmse"].replace(0, 1.0) - 1
    misplaced = 1 - models["rank_correlation"] / best["rank_correlation"].where(best["rank_correlation"] > 0)
    # sums rest on the error, lists on the ranking: a hundredth of either counts alike
    worse = (missed + misplaced.fillna(0.0)).round(6)
    behind = worse.groupby(models["model"]).agg(["mean", "count"])
    behind = behind[behind["count"] == behind["count"].max()]["mean"]
    ranked = behind.reset_index().sort_values(["mean", "model"], kind="stable")["model"].tolist()
    latest = models[models["origin"] == models["origin"].max()].set_index("model")["rmse"]
    name = ranked[0]
    times = models["origin"].nunique()
    others = ", ".join(f"{other} by {latest[other]:.3f}" for other in ranked[1:] if other in latest.index)
    beside = f"; {others}" if others else ""
    where = "" if times == 1 else f" on the mean over {times} earlier days"
    return name, (
        f"{name} missed the purchases of a customer by {latest[name]:.3f} in the root of the mean square{beside}. "
        f"In error and in ranking together it was the closest to the best{where}."
    )


def better_rules(scores: pd.DataFrame, name: str) -> list[tuple[str, str]]:
    """On which measures does a rule without a model do better than the model, on the mean over all origins?

    Returns
    -------
    list of (measure, rule)
        In the words of the report; the measures are the error, the bias, the ranking and the share of the margin
        held by the best tenth.
    """
    some = scores.assign(missed=(scores["total_expected"] / scores["total_actual"].where(scores["total_actual"] > 0) - 1).abs())
    told = []
    for words, column, sign in (
        ("the error of a customer's purchases", "rmse", 1), ("the total", "missed", 1),
        ("the ranking", "rank_correlation", -1), ("the best tenth", "decile_capture", -1),
    ):  # fmt: skip
        mean = (some.groupby("model")[column].mean() * sign).dropna()
        # revenue does not forecast purchases, it ranks
        known = [rule for rule in RULES if rule in mean.index and not (rule == LAST_YEAR and sign == 1)]
        if name in mean.index and known:
            best = min(known, key=lambda rule: mean[rule])
            if mean[best] < mean[name] - 1e-9:
                told.append((words, best))
    return told


def frequency_bins(counted: pd.DataFrame, most: int = 7) -> pd.DataFrame:
    """The backtest by number of earlier purchases, with the many put together.

    Parameters
    ----------
    counted
        `frequency`, `customers`, `actual` and the forecasts, means a customer.
    most
        From so many on they are put together.

    Returns
    -------
    pandas.DataFrame
        `frequency` (text; the last is `7+`), `customers`, `actual` and the forecasts, means a customer.
    """
    columns: Sequence[str] = [c for c in counted.columns if c not in ("frequency", "customers")]
    told = counted.assign(bin=counted["frequency"].clip(upper=most))
    weighted = told[columns].mul(told["customers"], axis=0).assign(bin=told["bin"], customers=told["customers"])
    each = weighted.groupby("bin").sum()
    each[columns] = each[columns].div(each["customers"], axis=0)
    each = each.reset_index()
    each["frequency"] = [f"{b}+" if b == most else str(b) for b in each["bin"]]
    return each[["frequency", "customers", *columns]]


def by_frequency(back: Hindsight) -> pd.DataFrame:
    """What came and what was foreseen, by the number of purchases before; as :func:`frequency_bins` takes it."""
    frame = pd.DataFrame({"frequency": back.known["frequency"], "actual": back.known["actual"]})
    frame = frame.assign(**{name: back.orders[name] for name in back.models}, same_again=back.orders[NAIVE])
    each = frame.groupby("frequency", as_index=False).mean()
    each.insert(1, "customers", frame.groupby("frequency").size().to_numpy())
    return each


def by_tenth(back: Hindsight, name: str) -> pd.DataFrame:
    """What margin was foreseen and came, by tenths of the customers as the model ranked them?

    Returns
    -------
    pandas.DataFrame
        `tenth` (1 is the best), `customers`, `expected`, `actual`, `low`, `high` (95 % of the mean of what came), and
        `same_again`; means a customer.
    """
    order = np.lexsort((back.known["customer_id"].to_numpy(), -np.round(back.margins[name], 6)))
    tenth = np.empty(len(order), dtype=int)
    tenth[order] = np.arange(len(order)) * 10 // max(len(order), 1) + 1
    frame = pd.DataFrame(
        {"tenth": tenth, "expected": back.margins[name], "actual": back.known["margin"].to_numpy(float),
         "same_again": back.margins[NAIVE]}
    )  # fmt: skip
    told = frame.groupby("tenth").agg(
        customers=("actual", "size"), expected=("expected", "mean"), actual=("actual", "mean"),
        same_again=("same_again", "mean"), spread=("actual", "std"),
    )  # fmt: skip
    half = 1.96 * told["spread"].fillna(0.0) / np.sqrt(told["customers"])
    return told.assign(low=told["actual"] - half, high=told["actual"] + half).drop(columns="spread").reset_index()


def tracking(bought: ir.Table, back: Hindsight, name: str, points: int = 13) -> pd.DataFrame:
    """How did purchases add up over the time held out, and how were they foreseen to?

    Returns
    -------
    pandas.DataFrame
        `day`, `actual`, `expected`: cumulative purchases of the customers known at the origin.
    """
    steps = np.unique(np.linspace(0, back.days, points).round().astype(int))
    told = back.known.groupby(["frequency", "recency", "T"], as_index=False).size()
    path = back.models[name].expected_path([float(step) for step in steps], told)
    start, end = (ibis.date((back.origin + dt.timedelta(days=int(shift))).isoformat()) for shift in (0, back.days))
    # of many customers some were drawn to look back at, and theirs alone were foreseen
    theirs = ibis.memtable(back.known[["customer_id"]])
    after = named(bought.filter((bought["day"] >= start) & (bought["day"] < end))).semi_join(theirs, "customer_id")
    daily = after.group_by("day").agg(n=after.count()).order_by("day").to_pandas()
    since = (pd.to_datetime(daily["day"]) - pd.Timestamp(back.origin)).dt.days.to_numpy()
    actual = [int(daily["n"].to_numpy()[since < step].sum()) for step in steps]
    days = [pd.Timestamp(back.origin) + pd.Timedelta(days=int(step)) for step in steps]
    return pd.DataFrame({"day": days, "actual": actual, "expected": path @ told["size"].to_numpy(float)})
