"""What is each customer worth, and how sure are we?"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import Field

from clientbook.exact import total as exact_total
from clientbook.stage import Parameters, Stage
from clientbook.tables import Column, Table
from clientbook.value.backtest import (
    MOST_CUSTOMERS,
    NAIVE,
    TRIED_WITH,
    Hindsight,
    by_frequency,
    by_tenth,
    choose,
    coverage,
    daily_purchases,
    frequency_bins,
    hindsight,
    holdout,
    look_back,
    origins,
    settle_spend,
    tracking,
    try_season,
    with_season,
)
from clientbook.value.decisions import (
    BY_VALUE,
    FIRST_COME,
    Loss,
    allocations,
    changed_places,
    loss_if_late,
    recoveries,
    retargeting,
    say_allocations,
    say_recoveries,
)
from clientbook.value.estimate import TIERS, ahead, discounted_orders, estimate, worth
from clientbook.value.identity import before_matching
from clientbook.value.intervals import LEVELS, Bounds, calibrated_level, resampled, spending, total_bounds
from clientbook.value.ledger import ledger, net_rates, return_lags, sums, with_net
from clientbook.value.models import MODELS, ModelName, PurchaseModel, TooFew, fit_purchases
from clientbook.value.recommending import recommenders, with_recommendations
from clientbook.value.report import (
    answer,
    best,
    by_recency,
    concentration,
    describe,
    describe_models,
    diagnostics,
    frequency_recency,
    key_numbers,
    listed,
    models_to_keep,
    movement,
    newest_scores,
    one_history,
    origins_table,
    regularity,
    run_before,
    say_backtest,
    say_concentration,
    say_currency,
    say_level,
    say_loss,
    say_movement,
    say_rules,
    say_tenths,
    say_topics,
    say_tracking,
    seasons,
    tiers,
    totals,
)
from clientbook.value.rules import YEAR
from clientbook.value.scoring import score
from clientbook.value.season import Season, Trial, season_by, trial_span
from clientbook.value.spend import SpendModel, fit_spend, with_first_purchase
from clientbook.value.summary import compress, in_one_currency, key, purchases, summarise, without
from clientbook.value.topics import backtest_topics, topic_history, with_next_topic
from clientbook.value.uncertain import (
    Drawn,
    alone,
    identity_intervals,
    say_identities,
    total_with_identities,
    with_other_identities,
)

__all__ = [
    "BY_VALUE",
    "FIRST_COME",
    "LEVELS",
    "MODELS",
    "NAIVE",
    "STAGE",
    "TIERS",
    "TOTAL_LEVEL",
    "YEAR",
    "Analysis",
    "Bounds",
    "Drawn",
    "Hindsight",
    "Loss",
    "ModelName",
    "PurchaseModel",
    "Season",
    "SpendModel",
    "TooFew",
    "Trial",
    "ValueParameters",
    "ahead",
    "allocations",
    "alone",
    "analyse",
    "answer",
    "backtest",
    "backtest_topics",
    "before_matching",
    "best",
    "by_frequency",
    "by_recency",
    "by_tenth",
    "calibrated_level",
    "changed_places",
    "choose",
    "compress",
    "concentration",
    "coverage",
    "daily_purchases",
    "describe",
    "describe_models",
    "diagnostics",
    "discounted_orders",
    "estimate",
    "fit_purchases",
    "fit_spend",
    "frequency_bins",
    "frequency_recency",
    "hindsight",
    "holdout",
    "identity_intervals",
    "in_one_currency",
    "key",
    "key_numbers",
    "ledger",
    "listed",
    "look_back",
    "look_back_often",
    "loss_if_late",
    "models_to_keep",
    "movement",
    "net_rates",
    "newest_scores",
    "one_history",
    "origins",
    "origins_table",
    "purchases",
    "recommenders",
    "recoveries",
    "regularity",
    "resampled",
    "retargeting",
    "return_lags",
    "run_before",
    "say_allocations",
    "say_backtest",
    "say_concentration",
    "say_currency",
    "say_identities",
    "say_level",
    "say_loss",
    "say_movement",
    "say_recoveries",
    "say_rules",
    "say_tenths",
    "say_topics",
    "say_tracking",
    "score",
    "season_by",
    "seasons",
    "settle_spend",
    "spending",
    "summarise",
    "sums",
    "tiers",
    "topic_history",
    "total_bounds",
    "total_with_identities",
    "totals",
    "tracking",
    "try_season",
    "with_first_purchase",
    "with_net",
    "with_next_topic",
    "with_other_identities",
    "with_recommendations",
    "without",
    "worth",
]

# The interval of the total holds so often; that of a single customer as often as asked.
TOTAL_LEVEL = 0.95


class ValueParameters(Parameters):
    """What an analyst may change in `04_value`."""

    horizon_days: int = Field(YEAR, ge=7, le=5 * YEAR, description="how far ahead customers are valued, in days")
    discount_rate: float = Field(0.10, ge=0, lt=1, description="what money loses in a year")
    holdout_days: int | None = Field(
        None, ge=7, description="how much of the history the backtest holds out; none: half of it, a year at most"
    )
    interval: float = Field(0.80, gt=0, lt=1, description="how often a customer's value shall lie in its interval")
    draws: int = Field(500, ge=100, le=20_000, description="simulated futures for each purchase history")
    seed: int = Field(1, ge=0, description="seed of the simulated futures")
    origins: int = Field(3, ge=1, le=12, description="from how many earlier days the backtest forecasts, at the most")


STAGE = Stage(
    name="value",
    remembers=True,
    on_spark=("ledger",),
    needs=("orders",),
    uses=("returns", "customers", "identities", "products", "cases", "referrals", "deliveries", "consents", "identity_draws"),
    writes=("value", "value_backtest", "allocations", "recoveries"),
    shows=("what each customer is expected to bring, whom to look after first, and how far such forecasts can be trusted"),
    parameters=ValueParameters,
    tables=(
        Table(
            "value",
            "a customer with a purchase, best first",
            (
                Column("customer_id", "id", "the customer"),
                Column("frequency", "number", "days with a purchase after the first", unit="days"),
                Column("recency", "number", "from the first to the last purchase", unit="days"),
                Column("T", "number", "from the first purchase to the last observed day", unit="days"),
                Column("p_alive", "number", "probability of buying again at all, never by the BG/NBD", unit="probability"),
                Column("expected_orders", "number", "purchases expected over the horizon", unit="purchases"),
                Column("expected_margin_per_order", "money", "expected from one, net of returns and cost of goods"),
                Column("clv", "money", "expected over the horizon, net, discounted to today"),
                Column("clv_low", "money", "lower bound of what the customer may bring (80 % interval unless asked)"),
                Column("clv_high", "money", "upper bound"),
                Column("tier", "text", "A to E: each holds a fifth of the value, A the best customers"),
                Column("loss_maker", "flag", "cost more so far than they brought, net of returns"),
                Column("purchases", "number", "days with a purchase", unit="days"),
                Column("gross", "money", "all they bought"),
                Column("returned", "money", "all they sent back"),
                Column("cost", "money", "what the goods cost, by the topic's share"),
                Column("service_cost", "money", "what cases of theirs cost, where known"),
                Column("margin", "money", "all they brought so far, net of returns, cost of goods and service"),
                Column("recommended", "number", "customers whom they brought", unit="customers"),
                Column("recommendation_value", "money", "expected from customers whom they will bring; not in clv"),
                Column("next_topic", "text", "the topic they do not have yet that is most worth offering; empty: none"),
                Column("next_topic_probability", "number", "of a first purchase on it over the horizon", unit="probability"),
                Column("next_topic_margin", "money", "that probability times what a purchase on the topic leaves"),
            ),
        ),
        Table(
            "value_backtest",
            "a model's or rule's forecast beside what came",
            (
                Column("origin", "date", "the day up to which the model saw"),
                Column("holdout_days", "number", "how long after it is forecast", unit="days"),
                Column("model", "text", "model or rule"),
                Column("customers", "number", "customers known at the origin", unit="customers"),
                Column("rmse", "number", "root of the mean square error of a customer's purchases", unit="purchases"),
                Column("mae", "number", "mean absolute error", unit="purchases"),
                Column("bias", "number", "mean error", unit="purchases"),
                Column("total_expected", "number", "purchases foreseen in all", unit="purchases"),
                Column("total_actual", "number", "purchases that came", unit="purchases"),
                Column("rank_correlation", "number", "of margins foreseen and come, by ranks (Spearman)"),
                Column("decile_capture", "number", "share of the margin held by the best tenth as chosen", unit="share"),
                Column("margin_expected", "money", "margin foreseen in all; of last year's revenue, that revenue"),
                Column("margin_actual", "money", "margin that came in all"),
                Column("season", "flag", "whether the models counted with the season, as an earlier day showed it helps"),
                Column("coverage", "number", "of the chosen model: share of customers inside their interval", unit="share"),
                Column(
                    "total_low",
                    "money",
                    "of the chosen model: lower end of the total's 95 % interval, by earlier origins",
                ),
                Column("total_high", "money", "upper end"),
            ),
        ),
        Table(
            "allocations",
            "an open order line of a product of which there is less than is asked for, the first to serve first",
            (
                Column("product_source", "text", "the source that the product_id belongs to"),
                Column("product_id", "id", "the product"),
                Column("order_source", "text", "the source that the order_id belongs to"),
                Column("order_id", "id", "the order"),
                Column("customer_id", "id", "the customer who waits"),
                Column("ordered_at", "time", "when it was ordered"),
                Column("quantity", "number", "pieces asked for", unit="pieces"),
                Column("stock", "number", "pieces there are", unit="pieces"),
                Column("line_margin", "money", "what the line leaves when it is served"),
                Column("value_at_risk", "money", "share of the customer's value that waiting is expected to cost"),
                Column("rank_first_come", "number", "place by time of order", unit="place"),
                Column("served_first_come", "flag", "served when who came first is served first"),
                Column("rank_by_value", "number", "place by margin and value at risk of a piece", unit="place"),
                Column("served_by_value", "flag", "served when the most at risk is served first"),
                Column("arrival", "number", "the order of arrival of the line"),
            ),
        ),
        Table(
            "recoveries",
            "a customer whose delivery is late, the first to call first",
            (
                Column("customer_id", "id", "the customer"),
                Column("orders", "number", "orders that are late", unit="orders"),
                Column("amount", "money", "what they come to"),
                Column("days_late", "number", "since the oldest promise", unit="days"),
                Column("clv", "money", "expected value of the customer"),
                Column("clv_low", "money", "lower bound"),
                Column("clv_high", "money", "upper bound"),
                Column("p_alive", "number", "probability of buying again at all", unit="probability"),
                Column("tier", "text", "A to E"),
                Column("value_at_risk", "money", "share of the value that late deliveries were seen to cost"),
                Column("call_rank", "number", "place by value at risk", unit="place"),
                Column("rank_by_lateness", "number", "place by days late", unit="place"),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Analysis:
    """What does a book's history say about the value of its customers?

    Attributes
    ----------
    value
        The public table, best customers first.
    scores
        The public table `value_backtest`.
    bins
        The backtest at the newest origin by number of earlier purchases.
    models
        The fitted purchase models by name, on the whole history.
    spend
        The fitted model of amounts.
    chosen, reason
        The model that forecasts, and why.
    backs
        What was foreseen and came at each origin, the newest first.
    level
        Share of futures that a customer's interval holds so that it covers as often as asked.
    total_low, total_high
        Between which the value of all lies, 95 times of 100.
    data_hash
        Of the histories that the models were fitted on.
    doubts
        What the interval of the total rests on: errors of earlier totals, chance, and the swing by resampling.
    history
        `purchases` and `ledger` tables that all of it was computed from.
    topics
        Who bought on which topic when; None where the book has no topics.
    season
        Whether the forecast counts with the season, and why.
    """

    value: ir.Table
    scores: pd.DataFrame
    bins: pd.DataFrame
    models: dict[str, PurchaseModel]
    spend: SpendModel
    chosen: str
    reason: str
    backs: tuple[Hindsight, ...]
    level: float
    total_low: float
    total_high: float
    data_hash: str
    history: tuple[ir.Table, ir.Table]
    topics: ir.Table | None = None
    season: Trial = field(default_factory=Trial)
    doubts: tuple[tuple[float, ...], float, float] = ((), 0.0, 0.0)

    @property
    def alive(self) -> PurchaseModel:
        """The model for P(alive): never the BG/NBD."""
        return self.models["MBG/NBD" if self.chosen == "BG/NBD" else self.chosen]


def analyse(
    orders: ir.Table,
    returns: ir.Table | None,
    identities: ir.Table | None,
    products: ir.Table | None,
    as_of: dt.date,
    p: ValueParameters,
    *,
    cases: ir.Table | None = None,
    referrals: ir.Table | None = None,
    book: ir.Table | None = None,
    zone: str = "UTC",
) -> Analysis:
    """What is each customer worth, by the model that would have forecast best?

    Parameters
    ----------
    orders, returns, identities, products, cases, referrals
        Clean tables; all but the first may be None.
    as_of
        The day of the run: what came later is not looked at.
    p
        The parameters.
    book
        As from :func:`ledger`, of the same tables, where it was made elsewhere; None makes it.
    zone
        The book's, whose days are meant.

    Raises
    ------
    TooFew
        If the history is too short or thin for a model; it tells what can be said without one.
    """
    book = (ledger(orders, returns, identities, products, cases, zone) if book is None else book).cache()
    whose = key(book)
    bought = book.filter(book["is_purchase"] & (book["known_on"] < ibis.date(as_of.isoformat())))
    bought = bought.select(*whose, "day", "amount").cache()
    try:
        return _analyse(book, bought, orders, identities, products, referrals, as_of, p, zone)
    except TooFew as error:
        raise TooFew(f"{error} {describe(bought, book, as_of)}".strip()) from None


def _analyse(
    book: ir.Table, bought: ir.Table, orders: ir.Table, identities: ir.Table | None, products: ir.Table | None,
    referrals: ir.Table | None, as_of: dt.date, p: ValueParameters, zone: str,
) -> Analysis:  # fmt: skip
    backs = look_back_often(book, as_of, p)
    scores = pd.concat([back.scores for back in backs], ignore_index=True)
    chosen, reason = choose(scores)
    scores, level, errors = _covered(scores, backs, chosen, p)
    summary = with_net(summarise(bought, as_of), sums(book, as_of)).cache()
    histories = compress(summary)
    tried = _season(book, backs, histories, as_of)
    models = {}
    for name in MODELS:
        with contextlib.suppress(TooFew):
            models[name] = fit_purchases(histories, name, _begin(name, backs[0].models), season=tried.season, today=as_of)
    if chosen not in models:
        raise TooFew("the model does not converge on these customers.")
    spend = settle_spend(fit_spend(summary), backs[0].known)
    alive = models.get("MBG/NBD", models[chosen]) if chosen == "BG/NBD" else models[chosen]
    told, bounds = ahead(histories, models[chosen], alive, spend, p, level)
    value = worth(summary, told, spend).cache()
    value = with_recommendations(value, referrals, identities, as_of, p.horizon_days, zone=zone)
    topics = topic_history(orders, products, identities)
    value = with_next_topic(value, topics, as_of, p.horizon_days)
    value = value.order_by(ibis.desc("clv"), "customer_id")
    total, chance = _total(summary, histories, told, bounds, spend)
    swing = resampled(models[chosen], histories, p.horizon_days, p.seed)
    low, high = total_bounds(total, errors, chance, swing, TOTAL_LEVEL)
    digest = hashlib.sha256(histories.to_csv(index=False).encode()).hexdigest()
    return Analysis(
        value, scores, frequency_bins(by_frequency(backs[0])), models, spend, chosen, reason, tuple(backs), level,
        round(low, 2), round(high, 2), digest, (bought, book), topics, tried,
        (tuple(errors), chance, swing),
    )  # fmt: skip


def _begin(name: ModelName, models: dict[str, PurchaseModel]) -> PurchaseModel | None:
    """From where does the fit of a model that is reported begin? Those that `lifetimes` has are fitted by it."""
    return None if name in ("BG/NBD", "MBG/NBD") else models.get(name)


def _season(book: ir.Table, backs: list[Hindsight], histories: pd.DataFrame, as_of: dt.date) -> Trial:
    """Does the forecast count with the season? As it would have helped on the newest time that can show it."""
    newest = backs[0]
    first = as_of - dt.timedelta(days=int(histories["T"].max()) + 1)
    span = trial_span(first, as_of, newest.days)
    if span is None:
        return Trial()
    past = newest.known if span == (newest.origin, newest.days) else look_back(book, [span])[span]
    daily = daily_purchases(book)
    tried = try_season(past, span, daily, newest.models.get(TRIED_WITH))
    everybody = daily if len(past) < MOST_CUSTOMERS else daily_purchases(book, int(histories["customers"].sum()))
    return with_season(tried, everybody, histories, as_of)


def look_back_often(book: ir.Table, as_of: dt.date, p: ValueParameters) -> list[Hindsight]:
    """What would have been foreseen at each day from which we could have forecast? The newest first.

    Parameters
    ----------
    book
        As from :func:`ledger`.
    as_of
        The end of the newest holdout.
    p
        The parameters.

    Raises
    ------
    TooFew
        If the history is too short or thin at the newest of them.
    """
    first = book.aggregate(first=book["day"].min(where=book["is_purchase"])).to_pandas()["first"].iloc[0]
    history, days = holdout(first, as_of, p.holdout_days)
    return hindsight(book, [(origin, days) for origin in origins(history, days, as_of, p.origins)], seed=p.seed)


def backtest(bought: ir.Table, as_of: dt.date, p: ValueParameters) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Had we forecast from the past, how right would we have been?

    The models are fitted on what was known at the origin, and their forecast of the time after it is laid beside what
    happened, and beside naive rules. Customers first seen after the origin cannot be forecast and are left out.

    Parameters
    ----------
    bought
        As from :func:`purchases`; amounts stand for margins.
    as_of
        The end of the holdout.
    p
        `holdout_days`; none takes half of the history, and a year at most.

    Returns
    -------
    scores : pandas.DataFrame
        The public table `value_backtest` at the newest origin: a row a model, then a row a rule.
    customers : pandas.DataFrame
        A row a number of purchases at the origin: `frequency`, `customers`, `actual`, and one column a forecast.
    models : dict
        The fitted models at the origin, by name.

    Raises
    ------
    TooFew
        If the history is too short or thin.
    """
    seen = bought.filter(bought["day"] < ibis.date(as_of.isoformat()))
    nothing = ibis.literal(0.0)
    book = seen.mutate(known_on=seen["day"], cost=nothing, returned=nothing, service=nothing, is_purchase=ibis.literal(True))
    back = look_back_often(book, as_of, p.model_copy(update={"origins": 1}))[0]
    return back.scores, by_frequency(back), back.models


def _covered(
    scores: pd.DataFrame, backs: list[Hindsight], chosen: str, p: ValueParameters
) -> tuple[pd.DataFrame, float, list[float]]:
    """The scores with the coverage of intervals, each by what its own origin knew; the level; and the errors."""
    scores = scores.assign(coverage=np.nan, total_low=np.nan, total_high=np.nan)
    covered: list[tuple[Hindsight, np.ndarray]] = []
    for back in reversed(backs):
        if chosen not in back.models:
            continue
        # only what had ended by then could be learned from
        ended = [(b, c) for b, c in covered if b.origin + dt.timedelta(days=b.days) <= back.origin]
        level = calibrated_level(LEVELS, [c for _, c in ended], p.interval)
        found, chance = coverage(back, chosen, draws=p.draws, seed=p.seed)
        errors = [e for b, _ in ended if (e := b.error(chosen)) is not None]
        low, high = total_bounds(float(back.margins[chosen].sum()), errors, chance, 0.0, TOTAL_LEVEL)
        row = (scores["origin"] == back.origin) & (scores["model"] == chosen)
        held = round(float(np.interp(level, LEVELS, found)), 4)
        scores.loc[row, ["coverage", "total_low", "total_high"]] = (held, round(low, 2), round(high, 2))
        covered.append((back, found))
    level = calibrated_level(LEVELS, [c for _, c in covered], p.interval)
    return scores, level, [e for b, _ in covered if (e := b.error(chosen)) is not None]


def _total(
    summary: ir.Table, histories: pd.DataFrame, told: pd.DataFrame, bounds: Bounds, spend: SpendModel
) -> tuple[float, float]:
    """The value of all, and the relative standard deviation of what they bring by chance."""
    each = told[["frequency", "recency", "T", "discounted"]].assign(
        mean=np.round(bounds.mean, 9), variance=np.round(bounds.variance, 12)
    )
    joined = summary.inner_join(ibis.memtable(each), ["frequency", "recency", "T"])
    mean = spend.mean(joined)
    margin = mean * joined["net_rate"] - joined["service_per_order"]
    unit = spend.evidence(joined) * ibis.ifelse(mean > 0, margin / mean.nullif(0), joined["net_rate"])
    found = joined.aggregate(
        clv=exact_total(margin * joined["discounted"]), mean=exact_total(unit * joined["mean"]),
        variance=exact_total(unit * unit * joined["variance"]),
    ).to_pandas().iloc[0]  # fmt: skip
    whole = abs(float(found["mean"]))
    return float(found["clv"]), float(np.sqrt(max(found["variance"], 0.0))) / whole if whole else 0.0
