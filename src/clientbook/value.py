"""What is each customer worth, and how sure are we?"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import Field

from clientbook.customers import with_customer
from clientbook.exact import exact, total
from clientbook.stage import KeyNumber, NothingToShow, Parameters, Stage
from clientbook.tables import Column, Table

DAYS_PER_WEEK = 7.0
YEAR = 365
# Returns and cost of a customer with few orders lean on everybody's: about this many orders' weight is best.
SHRINKAGE_ORDERS = 3.0
TIERS = ("A", "B", "C", "D", "E")
FEWEST_CUSTOMERS = 50
SMALL_CELL = 5
# Below this the Gamma-Gamma's mean is nothing to rely on; at 1 it is infinite.
LEAST_Q = 1.05
FEWEST_REPEAT_BUYERS = 20

ModelName = Literal["BG/NBD", "MBG/NBD"]
MODELS: tuple[ModelName, ...] = ("BG/NBD", "MBG/NBD")
NAIVE = "same again"


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


STAGE = Stage(
    name="value",
    needs=("orders",),
    uses=("returns", "identities", "products"),
    writes=("value", "value_backtest"),
    shows="what each customer is expected to bring, whom to look after first, and how far such forecasts can be trusted",
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
                Column("p_alive", "number", "probability of buying again at all, by the MBG/NBD", unit="probability"),
                Column("expected_orders", "number", "purchases expected over the horizon", unit="purchases"),
                Column("expected_margin_per_order", "money", "expected from one, net of returns and cost of goods"),
                Column("clv", "money", "expected over the horizon, net, discounted to today"),
                Column("clv_low", "money", "lower bound of what the customer may bring (80 % interval unless asked)"),
                Column("clv_high", "money", "upper bound"),
                Column("tier", "text", "A to E: each holds a fifth of the value, A the best customers"),
                Column("loss_maker", "flag", "sent back more than they bought"),
                Column("purchases", "number", "days with a purchase", unit="days"),
                Column("gross", "money", "all they bought"),
                Column("returned", "money", "all they sent back"),
                Column("cost", "money", "what the goods cost, by the topic's share"),
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
                Column("decile_capture", "number", "share of the money held by the best tenth as chosen", unit="share"),
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
        The backtest by number of earlier purchases.
    models
        The fitted purchase models by name, on the whole history.
    spend
        The fitted model of amounts.
    chosen, reason
        The model that forecasts, and why.
    """

    value: ir.Table
    scores: pd.DataFrame
    bins: pd.DataFrame
    models: dict[str, PurchaseModel]
    spend: SpendModel
    chosen: ModelName
    reason: str


def analyse(
    orders: ir.Table,
    returns: ir.Table | None,
    identities: ir.Table | None,
    products: ir.Table | None,
    as_of: dt.date,
    p: ValueParameters,
) -> Analysis:
    """What is each customer worth, by the model that would have forecast best?

    Parameters
    ----------
    orders, returns, identities, products
        Clean tables; all but the first may be None.
    as_of
        The day of the run.
    p
        The parameters.

    Raises
    ------
    TooFew
        If the history is too short or thin for a model.
    """
    bought = purchases(orders, identities)
    scores, bins, _ = backtest(bought, as_of, p)
    chosen, reason = choose(scores)
    summary = net_rates(summarise(bought, as_of), orders, returns, identities, products)
    histories = compress(summary)
    models = {name: fit_purchases(histories, name) for name in MODELS}
    spend = fit_spend(summary)
    value = estimate(summary, models[chosen], models["MBG/NBD"], spend, p)
    return Analysis(value, scores, frequency_bins(bins), models, spend, chosen, reason)


def purchases(orders: ir.Table, identities: ir.Table | None = None) -> ir.Table:
    """On which days did each customer buy, and for how much?

    A purchase is an order line with a quantity above 0 and an amount of 0 or more; the lines of one customer on one
    day are one purchase.

    Parameters
    ----------
    orders
        Clean orders.
    identities
        Who is who; None means each person record is a customer.

    Returns
    -------
    ibis.expr.types.Table
        `day` (date, in the book's zone), `amount` (the book's currency), and whose: `customer_id`, or `person_source`
        and `person_id` where nothing was matched, whose customer_id is made once a customer and not once a line.
    """
    known = orders if identities is None else with_customer(orders, identities)
    bought = known.filter((known["quantity"] > 0) & (known["amount"].isnull() | (known["amount"] >= 0)))
    return bought.group_by(*_key(known), day=bought["ordered_on"]).agg(amount=total(bought["amount"]))


def summarise(bought: ir.Table, as_of: dt.date) -> ir.Table:
    """How often, until when, since when and for how much did each customer buy?

    Parameters
    ----------
    bought
        As from :func:`purchases`.
    as_of
        The last observed day is the day before.

    Returns
    -------
    ibis.expr.types.Table
        A row a customer: `customer_id`, `frequency` (days with a purchase after the first), `recency` (days from the
        first to the last), `T` (days from the first to the last observed day), `monetary` (mean amount of the
        purchases after the first, 0 where there are none), `gross` (amount of all), `purchases`.

    References
    ----------
    Fader, Hardie, Lee (2005), "Counting your customers the easy way", Marketing Science 24 (2).
    """
    seen = bought.filter(bought["day"] < ibis.date(as_of.isoformat()))
    each = seen.group_by(*_key(seen)).agg(
        purchases=seen.count(),
        first=seen["day"].min(),
        last=seen["day"].max(),
        gross=total(seen["amount"]),
        first_amount=seen["amount"].argmin(seen["day"]).fill_null(0.0),
    )
    last_observed = ibis.date((as_of - dt.timedelta(days=1)).isoformat())
    each = each if "customer_id" in each.columns else with_customer(each, None)
    frequency = each["purchases"] - 1
    return each.select(
        "customer_id",
        frequency=frequency.cast("int64"),
        recency=each["last"].delta(each["first"], unit="day").cast("int64"),
        T=last_observed.delta(each["first"], unit="day").cast("int64"),
        monetary=(frequency > 0).ifelse((each["gross"] - each["first_amount"]) / frequency.nullif(0), 0.0),
        gross=each["gross"],
        purchases=each["purchases"],
    )


def compress(summary: ir.Table) -> pd.DataFrame:
    """Which purchase histories are there, and how many customers have each?

    Returns
    -------
    pandas.DataFrame
        `frequency`, `recency`, `T` (days), `customers`; sorted, each history once.
    """
    counted = summary.group_by("frequency", "recency", "T").agg(customers=summary.count())
    return counted.order_by("frequency", "recency", "T").to_pandas()


@dataclass(frozen=True)
class PurchaseModel:
    """A fitted BG/NBD or MBG/NBD: who will buy again, and how often?

    Parameters
    ----------
    name
        Of the model.
    parameters
        `r`, `alpha` (weeks), `a`, `b`.
    log_likelihood
        Of all customers, for times in weeks.
    customers, rows
        How many it was fitted on, before and after compression.

    References
    ----------
    BG/NBD: Fader, Hardie, Lee (2005). MBG/NBD: Batislam, Denizel, Filiztekin (2007); Wagner, Hoppe (2008).
    """

    name: ModelName
    parameters: Mapping[str, float]
    log_likelihood: float
    customers: int
    rows: int

    @cached_property
    def fitter(self):
        """The `lifetimes` fitter with these parameters; its times are weeks."""
        fitter = _fitters()[self.name]()
        fitter.params_ = pd.Series(dict(self.parameters))
        return fitter

    def expected_orders(self, days: float, histories: pd.DataFrame) -> np.ndarray:
        """How many purchases does each history lead to in so many days?

        Parameters
        ----------
        days
            From the last observed day on.
        histories
            `frequency`, `recency`, `T` in days.

        Returns
        -------
        numpy.ndarray
            Shape (histories,), purchases.
        """
        if days <= 0:
            return np.zeros(len(histories))
        predict = self.fitter.conditional_expected_number_of_purchases_up_to_time
        return _in_parallel(lambda x, t_x, T: predict(days / DAYS_PER_WEEK, x, t_x, T), *_in_weeks(histories))

    def p_alive(self, histories: pd.DataFrame) -> np.ndarray:
        """How probable is it that each will buy again at all? Shape (histories,)."""
        x, t_x, T = _in_weeks(histories)
        return np.asarray(self.fitter.conditional_probability_alive(x, t_x, T), dtype=float)

    def draw_orders(
        self, days: float, histories: pd.DataFrame, draws: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Simulated numbers of purchases in so many days.

        Given that a customer is alive, the posterior of their rate is Gamma(r + x, alpha + T) and that of their
        drop-out probability Beta(a, b + x), with one more success for the MBG/NBD, whose customers may also leave at
        once. Purchases ahead are then the smaller of a Poisson and a geometric number.

        Returns
        -------
        numpy.ndarray
            Shape (histories, draws), purchases.
        """
        x, _, T = _in_weeks(histories)
        r, alpha, a, b = (self.parameters[name] for name in ("r", "alpha", "a", "b"))
        size = (len(histories), draws)
        rate = generator.gamma(np.broadcast_to((r + x)[:, None], size)) / (alpha + T)[:, None]
        stayed = b + x + (1 if self.name == "MBG/NBD" else 0)
        leaves = np.clip(generator.beta(a, np.broadcast_to(stayed[:, None], size)), 1e-12, 1.0)
        bought = np.minimum(generator.poisson(rate * days / DAYS_PER_WEEK), generator.geometric(leaves))
        alive = generator.random(size) < self.p_alive(histories)[:, None]
        return np.where(alive, bought, 0)

    def as_json(self) -> dict[str, Any]:
        """The model as plain data."""
        return {
            "model": self.name,
            "parameters": {name: round(float(value), 10) for name, value in self.parameters.items()},
            "log_likelihood": round(self.log_likelihood, 6),
            "customers": self.customers,
            "rows": self.rows,
            "time_unit": "week",
        }


@dataclass(frozen=True)
class SpendModel:
    """A fitted Gamma-Gamma: how much is a purchase of this customer?

    Parameters
    ----------
    parameters
        `p`, `q`, `v` (the book's currency).
    log_likelihood
        Of all customers with a purchase after the first.
    customers
        How many it was fitted on.
    observed_mean
        Mean of what these customers spent on a purchase, the largest hundredth cut off: stands in for the model's own
        mean where `q` is near 1 or below, and the model has none.

    References
    ----------
    Fader, Hardie (2013), "The Gamma-Gamma model of monetary value".
    """

    parameters: Mapping[str, float]
    log_likelihood: float
    customers: int
    observed_mean: float = float("nan")

    @property
    def has_mean(self) -> bool:
        """Whether amounts differ so little between customers that the model knows their mean."""
        return self.parameters["q"] > LEAST_Q

    def weight(self, frequency: ir.IntegerColumn) -> ir.FloatingColumn:
        """How far is a customer's own mean to be believed? Between 0 and 1."""
        p, q = self.parameters["p"], self.parameters["q"]
        return frequency * p / (frequency * p + max(q, LEAST_Q) - 1)

    @property
    def population_mean(self) -> float:
        """The mean purchase of a customer of whom nothing is known."""
        if not self.has_mean:
            return self.observed_mean
        return self.parameters["v"] * self.parameters["p"] / (self.parameters["q"] - 1)

    def as_json(self) -> dict[str, Any]:
        """The model as plain data."""
        return {
            "model": "Gamma-Gamma",
            "parameters": {name: round(float(value), 10) for name, value in self.parameters.items()},
            "log_likelihood": round(self.log_likelihood, 6),
            "customers": self.customers,
            "rows": self.customers,
            "time_unit": None,
        }


class TooFew(NothingToShow):
    """There are too few customers, or too few who came back, for a model of them."""


def fit_purchases(histories: pd.DataFrame, name: ModelName) -> PurchaseModel:
    """How do these customers buy and leave?

    Parameters
    ----------
    histories
        As from :func:`compress`.
    name
        Which model.

    Raises
    ------
    TooFew
        If there are fewer than 50 customers or 20 who bought again, or the fit does not converge.
    """
    customers = int(histories["customers"].sum())
    repeat = int(histories.loc[histories["frequency"] > 0, "customers"].sum())
    if customers < FEWEST_CUSTOMERS or repeat < FEWEST_REPEAT_BUYERS:
        raise TooFew(
            f"{customers:,} customers, {repeat:,} of whom bought again, are too few for a model; it takes "
            f"{FEWEST_CUSTOMERS} and {FEWEST_REPEAT_BUYERS}."
        )
    x, t_x, T = _in_weeks(histories)
    weights = histories["customers"].to_numpy()
    fitter = _fit(_fitters()[name](), x, t_x, T, weights=weights)
    # lifetimes reports a mean on times of its own scale
    mean = fitter._negative_log_likelihood(np.log(fitter.params_.to_numpy()), x, t_x, T, weights, 0.0)
    return PurchaseModel(name, dict(fitter.params_), -float(mean) * customers, customers, len(histories))


def fit_spend(summary: ir.Table) -> SpendModel:
    """How do purchases differ in amount within and between customers?

    Parameters
    ----------
    summary
        As from :func:`summarise`; those who bought again for more than nothing are used.

    Raises
    ------
    TooFew
        If fewer than 20 did, or the fit does not converge.
    """
    repeat = summary.filter((summary["frequency"] > 0) & (summary["monetary"] > 0))
    known = repeat.order_by("customer_id").select("frequency", "monetary").to_pandas()
    if len(known) < FEWEST_REPEAT_BUYERS:
        raise TooFew(f"{len(known):,} customers who bought again for more than nothing are too few for a model.")
    from lifetimes import GammaGammaFitter

    x, mean = known["frequency"].to_numpy(float), known["monetary"].to_numpy(float)
    # amounts of a few pence and of millions fit alike when the typical one is 1
    scale = float(np.median(mean))
    fitter = _fit(GammaGammaFitter(), x, mean / scale)
    parameters = {"p": fitter.params_["p"], "q": fitter.params_["q"], "v": fitter.params_["v"] * scale}
    weights = np.ones(len(known))
    loss = fitter._negative_log_likelihood(np.log(list(parameters.values())), x, mean, weights, 0.0)
    observed = float(np.minimum(mean, np.quantile(mean, 0.99)).mean())
    return SpendModel(parameters, -float(loss) * len(known), len(known), observed)


def discounted_orders(
    model: PurchaseModel, histories: pd.DataFrame, *, steps: int, step_days: float, rate_per_step: float
) -> tuple[np.ndarray, np.ndarray]:
    """How many purchases lie ahead, and what are they worth today if each brings 1?

    Each step's purchases are paid at its end, as in `lifetimes`; the cumulative number is computed once a step.

    Parameters
    ----------
    model
        Whose forecast.
    histories
        `frequency`, `recency`, `T` in days.
    steps, step_days
        The horizon is their product.
    rate_per_step
        What money loses in a step.

    Returns
    -------
    expected, discounted : numpy.ndarray
        Shape (histories,), purchases.
    """
    before = np.zeros(len(histories))
    discounted = np.zeros(len(histories))
    for step in range(1, steps + 1):
        until = model.expected_orders(step * step_days, histories)
        discounted += (until - before) / (1 + rate_per_step) ** step
        before = until
    return before, discounted


def net_rates(
    summary: ir.Table,
    orders: ir.Table,
    returns: ir.Table | None,
    identities: ir.Table | None = None,
    products: ir.Table | None = None,
) -> ir.Table:
    """What share of what they buy is left after returns and the cost of goods?

    A customer's own share of returns, and of cost, is drawn towards everybody's with the weight of three orders. Goods
    cost what all goods of their topic cost as a share of their price; what comes back costs nothing.

    Parameters
    ----------
    summary
        As from :func:`summarise`.
    orders, returns, identities, products
        Clean tables; all but the first may be None.

    Returns
    -------
    ibis.expr.types.Table
        The summary with `returned` and `cost` (amounts) and `net_rate`.
    """
    joined = _with_sum(summary, None if returns is None else _owners(returns, orders, identities), "returned")
    joined = _with_sum(joined, _costs(orders, products, identities), "cost")
    everybody = joined.aggregate(
        **{name: total(joined[name]) for name in ("returned", "cost", "gross")}, orders=joined["purchases"].sum()
    ).to_pandas()
    returned, cost, gross, count = (float(everybody[n].iloc[0] or 0) for n in ("returned", "cost", "gross", "orders"))
    if not gross:
        return joined.mutate(net_rate=ibis.literal(1.0))
    prior = SHRINKAGE_ORDERS * gross / count
    kept = 1 - (joined["returned"] + prior * returned / gross) / (joined["gross"] + prior)
    earned = 1 - (joined["cost"] + prior * cost / gross) / (joined["gross"] + prior)
    return joined.mutate(net_rate=kept * earned)


def estimate(
    summary: ir.Table, model: PurchaseModel, alive: PurchaseModel, spend: SpendModel, p: ValueParameters
) -> ir.Table:
    """What is each customer worth over the horizon, and between what bounds?

    The interval is of what the customer may really bring: simulated purchases from the model's posterior, and amounts
    from the Gamma-Gamma's. It does not cover a change of season or a model that is wrong.

    Parameters
    ----------
    summary
        As from :func:`net_rates`.
    model
        The model that forecasts purchases.
    alive
        The model for P(alive): never the BG/NBD, for which everybody who bought once is alive for certain.
    spend
        The model of amounts.
    p
        Horizon, discount, interval, draws and seed.

    Returns
    -------
    ibis.expr.types.Table
        The public table `value`, best first.
    """
    histories = compress(summary)
    steps = max(round(p.horizon_days * 12 / YEAR), 1)
    step_days = p.horizon_days / steps
    rate = (1 + p.discount_rate) ** (step_days / YEAR) - 1
    expected, discounted = discounted_orders(model, histories, steps=steps, step_days=step_days, rate_per_step=rate)
    low, high = _spend_bounds(model, spend, histories, p)
    paid = np.divide(discounted, expected, out=np.ones_like(expected), where=expected > 0)
    told = histories.drop(columns="customers").assign(
        p_alive=np.round(alive.p_alive(histories), 9),
        expected_orders=np.round(expected, 9),
        discounted=np.round(discounted, 9),
        unit_low=np.round(low * paid, 9),
        unit_high=np.round(high * paid, 9),
    )
    joined = summary.inner_join(ibis.memtable(told), ["frequency", "recency", "T"])
    weight = spend.weight(joined["frequency"])
    mean = weight * joined["monetary"] + (1 - weight) * spend.population_mean
    evidence = spend.parameters["v"] + joined["frequency"] * joined["monetary"]
    rows = joined.select(
        "customer_id",
        "frequency",
        "recency",
        "T",
        "p_alive",
        "expected_orders",
        expected_margin_per_order=(mean * joined["net_rate"]).round(6),
        clv=(mean * joined["net_rate"] * joined["discounted"]).round(6),
        clv_low=(evidence * joined["net_rate"] * joined["unit_low"]).round(6),
        clv_high=(evidence * joined["net_rate"] * joined["unit_high"]).round(6),
        loss_maker=joined["returned"] > joined["gross"],
        purchases=joined["purchases"],
        gross=joined["gross"].round(6),
        returned=joined["returned"].round(6),
        cost=joined["cost"].round(6),
    )
    return _with_tiers(rows).order_by(ibis.desc("clv"), "customer_id")


def backtest(bought: ir.Table, as_of: dt.date, p: ValueParameters) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Had we forecast from the past, how right would we have been?

    The models are fitted on what was known at the origin, and their forecast of the time after it is laid beside what
    happened, and beside the naive rule that everybody does the same again: as many purchases, and as much money, as in
    the same number of days before the origin. Customers first seen after the origin cannot be forecast and are left out.

    Parameters
    ----------
    bought
        As from :func:`purchases`.
    as_of
        The end of the holdout.
    p
        `holdout_days`; none takes half of the history, and a year at most.

    Returns
    -------
    scores : pandas.DataFrame
        The public table `value_backtest`: a row a model, the naive rule last.
    customers : pandas.DataFrame
        A row a history at the origin and number of purchases in the holdout: `frequency`, `customers`, `actual`, and
        one column a forecast.
    models : dict
        The fitted models at the origin, by name.

    Raises
    ------
    TooFew
        If the history is too short or thin.
    """
    span = bought.aggregate(first=bought["day"].min(), last=bought["day"].max()).to_pandas()
    if span["first"].isna().iloc[0]:
        raise TooFew("there is no purchase.")
    history = (pd.Timestamp(as_of) - pd.Timestamp(span["first"].iloc[0])).days
    days = p.holdout_days or min(history // 2, YEAR)
    origin = as_of - dt.timedelta(days=days)
    if history - days < 2 * DAYS_PER_WEEK or days < DAYS_PER_WEEK:
        raise TooFew(f"a history of {history} days is too short to hold out {days} of them.")
    summary = summarise(bought, origin)
    histories = compress(summary)
    models = {name: fit_purchases(histories, name) for name in MODELS}
    spend = fit_spend(summary)
    forecasts = histories.drop(columns="customers").assign(
        **{name: model.expected_orders(days, histories) for name, model in models.items()}
    )
    joined = _observe(bought, summary, origin, days, as_of).inner_join(
        ibis.memtable(forecasts), ["frequency", "recency", "T"]
    )
    weight = spend.weight(joined["frequency"])
    mean = weight * joined["monetary"] + (1 - weight) * spend.population_mean
    known = joined.mutate(mean=mean).order_by("customer_id").to_pandas()
    rows = []
    for name in models:
        rows.append(_score(name, known[name], known[name] * known["mean"], known))
    rows.append(_score(NAIVE, known["repeat_before"], known["money_before"], known))
    scores = pd.DataFrame(rows)
    scores.insert(0, "origin", pd.Timestamp(origin).date())
    scores.insert(1, "holdout_days", days)
    counted = known.groupby("frequency", as_index=False).agg(
        customers=("actual", "size"), actual=("actual", "mean"), **{name: (name, "mean") for name in models},
        same_again=("repeat_before", "mean"),
    )
    return scores, counted, models


def choose(scores: pd.DataFrame) -> tuple[ModelName, str]:
    """Which model forecasts, and why?

    Returns
    -------
    name, reason : str
        The model with the smaller error on the holdout, and one sentence that says so.
    """
    models = scores[scores["model"] != NAIVE].sort_values(["rmse", "model"], kind="stable")
    best, other = models.iloc[0], models.iloc[1]
    return best["model"], (
        f"{best['model']} missed the purchases of a customer by {best['rmse']:.3f} in the root of the mean square, "
        f"{other['model']} by {other['rmse']:.3f}."
    )


def answer(
    value: pd.DataFrame, scores: pd.DataFrame, p: ValueParameters, money: Callable[[float], str]
) -> str:
    """What are the customers worth, and how far is that to be trusted? In a few sentences of Markdown.

    Parameters
    ----------
    value
        One row: `customers`, `clv`, `top_tenth` (share of the best tenth), `alive`.
    scores
        As from :func:`backtest`.
    p
        The parameters.
    money
        Writes an amount for people.
    """
    totals = value.iloc[0]
    name, _ = choose(scores)
    best = scores.set_index("model").loc[name]
    naive = scores.set_index("model").loc[NAIVE]
    verdict = (
        f"the forecast beat the naive rule that everybody does the same again: its error was "
        f"{1 - best['rmse'] / naive['rmse']:.0%} smaller"
        if best["rmse"] < naive["rmse"]
        else "the naive rule that everybody does the same again was at least as good as the forecast, so trust it no further"
    )
    bias = best["total_expected"] / best["total_actual"] - 1 if best["total_actual"] else 0.0
    short = f"{abs(bias):.0%} too {'few' if bias < 0 else 'many'} purchases in all"
    return (
        f"**{int(totals['customers']):,} customers are expected to bring {money(totals['clv'])} in the next "
        f"{p.horizon_days} days; the best tenth of them brings {totals['top_tenth']:.0%} of it.** "
        f"Tested on the last {int(best['holdout_days'])} days, {verdict}; it foresaw {short}."
    )


def totals(value: ir.Table) -> pd.DataFrame:
    """What do all customers bring together?

    Returns
    -------
    pandas.DataFrame
        One row: `customers`, `clv`, `low`, `high` (bounds of single customers, added up), `alive`, `top_tenth`,
        `loss_makers`.
    """
    ranked = value.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("clv"), "customer_id"]))
    return ranked.aggregate(
        customers=ranked.count(),
        clv=total(ranked["clv"]),
        alive=total(ranked["p_alive"]),
        top_tenth=total(ranked["clv"], ranked["tenth"] == 0) / total(ranked["clv"]).nullif(0),
        loss_makers=ranked["loss_maker"].sum(),
    ).to_pandas()


def concentration(value: ir.Table, points: int = 100) -> pd.DataFrame:
    """How much of the value do the best customers hold?

    Returns
    -------
    pandas.DataFrame
        `customers` and `clv`, cumulative shares from the best down, in so many steps, with the origin first.
    """
    ranked = value.mutate(step=ibis.ntile(points).over(order_by=[ibis.desc("clv"), "customer_id"]))
    each = ranked.group_by("step").agg(customers=ranked.count(), clv=total(ranked["clv"])).order_by("step").to_pandas()
    shares = each[["customers", "clv"]].cumsum() / each[["customers", "clv"]].sum()
    return pd.concat([pd.DataFrame({"customers": [0.0], "clv": [0.0]}), shares], ignore_index=True)


def tiers(value: ir.Table) -> pd.DataFrame:
    """How many customers are in each tier, and what do they bring?

    Returns
    -------
    pandas.DataFrame
        `tier`, `customers`, `share`, `clv`, `mean_clv`, `p_alive` (mean); A first.
    """
    each = value.group_by("tier").agg(
        customers=value.count(), clv=total(value["clv"]), p_alive=total(value["p_alive"]) / value.count()
    )
    told = each.order_by("tier").to_pandas()
    told.insert(2, "share", told["customers"] / told["customers"].sum())
    told.insert(4, "mean_clv", told["clv"] / told["customers"])
    return told


def say_concentration(shares: pd.DataFrame) -> str:
    """In one sentence: who brings half of the value?"""
    half = np.interp(0.5, shares["clv"], shares["customers"])
    return f"Half of the expected value comes from {half:.0%} of the customers"


def say_backtest(scores: pd.DataFrame) -> str:
    """In one sentence: is the forecast better than the naive rule?"""
    name, _ = choose(scores)
    error = scores.set_index("model")["rmse"]
    if error[name] < error[NAIVE]:
        return f"{name} comes closer to what happened than “{NAIVE}”"
    return f"“{NAIVE}” came closer to what happened than {name}"


def describe_models(analysis: Analysis) -> pd.DataFrame:
    """Which models were fitted, with which parameters?

    Returns
    -------
    pandas.DataFrame
        `model`, `parameters` (in words), `log_likelihood`, `customers`, `rows`, `used` (for what).
    """
    used = {"MBG/NBD": ["P(alive)"], "Gamma-Gamma": ["amount of a purchase"]}
    used.setdefault(analysis.chosen, []).insert(0, "number of purchases")
    told = [model.as_json() for model in (*analysis.models.values(), analysis.spend)]
    return pd.DataFrame(
        {
            "model": item["model"],
            "parameters": ", ".join(f"{name} {value:.4g}" for name, value in item["parameters"].items()),
            "log_likelihood": item["log_likelihood"],
            "customers": item["customers"],
            "rows": item["rows"],
            "used": " and ".join(used.get(item["model"], ["comparison"])),
        }
        for item in told
    )


def models_to_keep(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """The fitted models as plain data, by the name of their file."""
    told = {name.replace("/", "_").lower(): model.as_json() for name, model in analysis.models.items()}
    told = {name: model | {"chosen": model["model"] == analysis.chosen} for name, model in told.items()}
    return told | {"gamma_gamma": analysis.spend.as_json() | {"chosen": True}}


def by_recency(value: ir.Table) -> pd.DataFrame:
    """How alive is a customer, by how often and how lately they bought?

    Returns
    -------
    pandas.DataFrame
        Mean P(alive); rows are purchases after the first, columns are the months since the last purchase.
    """
    idle = ((value["T"] - value["recency"]) / 30.4375).floor().cast("int64")
    bins = ibis.cases((idle < 3, "0-2"), (idle < 6, "3-5"), (idle < 12, "6-11"), (idle < 18, "12-17"), else_="18+")
    often = ibis.cases(
        (value["frequency"] == 0, "0"), (value["frequency"] == 1, "1"), (value["frequency"] < 4, "2-3"),
        (value["frequency"] < 8, "4-7"), else_="8+",
    )
    cells = value.group_by(often=often, idle=bins).agg(p_alive=value["p_alive"].mean(), customers=value.count())
    told = cells.filter(cells["customers"] >= SMALL_CELL).to_pandas()
    wide = told.pivot_table(index="often", columns="idle", values="p_alive")
    rows = [name for name in ("0", "1", "2-3", "4-7", "8+") if name in wide.index]
    columns = [name for name in ("0-2", "3-5", "6-11", "12-17", "18+") if name in wide.columns]
    return wide.loc[rows, columns].rename_axis(index=None, columns=None)


def key_numbers(sums: pd.DataFrame, scores: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?"""
    row = sums.iloc[0]
    name, _ = choose(scores)
    best = scores.set_index("model").loc[name]
    n = int(row["customers"])
    return [
        KeyNumber("Customers with a purchase", n, "customers", "up", n=n),
        KeyNumber("Expected value", round(float(row["clv"]), 2), "money", "up", n=n),
        KeyNumber("Share of value in the best tenth", round(float(row["top_tenth"]), 6), "share", "", n=n),
        KeyNumber("Customers still alive", round(float(row["alive"]), 1), "customers", "up", n=n),
        KeyNumber("Forecast error", round(float(best["rmse"]), 6), "purchases", "down", n=int(best["customers"]),
                  note=f"{name}, root of the mean square on held-out time"),
    ]


def best(value: ir.Table, orders: ir.Table, identities: ir.Table | None, customers: int = 100) -> pd.DataFrame:
    """Whom should we look after first?

    Returns
    -------
    pandas.DataFrame
        The customers with the highest clv, with the first of their records (`source`, `person_id`) so that they can be
        found, and `consent`, which is `unknown` here: the list is for service, not for mailings.
    """
    top = value.order_by(ibis.desc("clv"), "customer_id").limit(customers)
    known = with_customer(orders, identities)
    record = known.group_by("customer_id").agg(
        source=known["person_source"].argmin(known["arrival"]), person_id=known["person_id"].argmin(known["arrival"])
    )
    joined = top.inner_join(record, "customer_id").order_by(ibis.desc("clv"), "customer_id").to_pandas()
    lead = ["customer_id", "source", "person_id", "tier", "clv", "clv_low", "clv_high", "p_alive", "expected_orders"]
    return joined[lead].assign(consent="unknown")


def score(value: ir.Table, identities: ir.Table, people: ir.Table | None, truth: ir.Table | None) -> pd.DataFrame:
    """How close does the ranking come to the true one? For a made company alone.

    Parameters
    ----------
    value, identities
        As written.
    people, truth
        The truth on whose each record is, and on what each human brings after `as_of`; None for a real book.

    Returns
    -------
    pandas.DataFrame
        `ranking` (clv, what they spent so far, and what the true parameters would give), `rank_correlation` with the true
        margin of the twelve months after, `top_tenth` (share of that margin held by the best tenth), `customers`.
    """
    columns = ["ranking", "rank_correlation", "top_tenth", "customers"]
    if people is None or truth is None:
        return pd.DataFrame(columns=columns)
    known = identities.inner_join(people.select("source", "person_id", "human_id"), ["source", "person_id"])
    pairs = known.group_by("customer_id", "human_id").agg(records=known.count())
    best = pairs.mutate(
        rank=ibis.row_number().over(group_by="customer_id", order_by=[ibis.desc("records"), pairs["human_id"]])
    )
    best = best.filter(best["rank"] == 0).select("customer_id", "human_id")
    rows = value.inner_join(best, "customer_id").inner_join(truth, "human_id")
    frame = rows.order_by("customer_id").select("clv", "gross", "future_margin", "expected_margin_from_history").to_pandas()
    actual = frame["future_margin"]
    top = max(len(frame) // 10, 1)
    told = []
    for name, column in (("clv", "clv"), ("what they spent so far", "gross"), ("true parameters", "expected_margin_from_history")):
        chosen = actual[frame[column].sort_values(ascending=False, kind="stable").index[:top]].sum()
        correlation = frame[column].corr(actual, method="spearman")
        told.append((name, round(float(correlation), 4), round(float(chosen / actual.sum()), 4), len(frame)))
    return pd.DataFrame(told, columns=columns)


def _fitters() -> dict[str, type]:
    from lifetimes import BetaGeoFitter, ModifiedBetaGeoFitter

    return {"BG/NBD": BetaGeoFitter, "MBG/NBD": ModifiedBetaGeoFitter}


def _fit(fitter, *data: np.ndarray, **options: Any):
    """Fit with lifetimes; a looser tolerance where its default does not converge, as it does not on small samples."""
    from lifetimes.utils import ConvergenceError

    for tolerance in (1e-7, 1e-4):
        with contextlib.suppress(ConvergenceError), contextlib.redirect_stdout(io.StringIO()):
            fitter.fit(*data, tol=tolerance, **options)
            return fitter
    raise TooFew("the model does not converge on these customers.")


def _in_weeks(histories: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        histories["frequency"].to_numpy(float),
        histories["recency"].to_numpy(float) / DAYS_PER_WEEK,
        histories["T"].to_numpy(float) / DAYS_PER_WEEK,
    )


def _in_parallel(function: Callable[..., np.ndarray], *columns: np.ndarray) -> np.ndarray:
    """A function of columns, computed piece by piece on all processors: special functions leave Python's lock free."""

    def piece(some: tuple[np.ndarray, ...]) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.asarray(function(*some), dtype=float)

    pieces = max(1, len(columns[0]) // 20_000)
    split = list(zip(*[np.array_split(column, pieces) for column in columns], strict=True))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(piece, split)))


def _with_sum(summary: ir.Table, amounts: ir.Table | None, name: str) -> ir.Table:
    """The summary with the sum of each customer's amounts; 0 where there are none."""
    if amounts is None:
        return summary.mutate(**{name: ibis.literal(0.0, "float64")})
    each = amounts.group_by("customer_id").agg(**{name: total(amounts["amount"])})
    joined = summary.left_join(each, "customer_id").drop("customer_id_right")
    return joined.mutate(**{name: joined[name].fill_null(0.0)})


def _costs(orders: ir.Table, products: ir.Table | None, identities: ir.Table | None) -> ir.Table | None:
    """What the goods of each order line cost, by the share that cost has in the price of all goods of the topic."""
    if products is None or not products["unit_cost"].notnull().any().to_pandas():
        return None
    known = products.select(
        product_source=products["source"],
        product_id=products["product_id"],
        _topic=products["topic"].fill_null(""),
        _unit_cost=products["unit_cost"],
    )
    bought = orders.filter((orders["quantity"] > 0) & (orders["amount"] >= 0))
    lines = bought.inner_join(known, ["product_source", "product_id"])
    costed = lines.filter(lines["_unit_cost"].notnull())
    rates = costed.group_by("_topic").agg(
        rate=total(costed["quantity"] * costed["_unit_cost"]) / total(costed["amount"]).nullif(0)
    )
    priced = lines.inner_join(rates, "_topic")
    owned = with_customer(priced, identities)
    return owned.select("customer_id", amount=owned["amount"] * owned["rate"])


def _owners(returns: ir.Table, orders: ir.Table, identities: ir.Table | None) -> ir.Table:
    """Returns with the customer whose they are: their own, else that of the order they name."""
    own = returns.filter(returns["person_id"].notnull())
    known = with_customer(own.select("person_source", "person_id", "amount"), identities)
    orphans = returns.filter(returns["person_id"].isnull())
    buyers = with_customer(orders, identities)
    buyers = buyers.group_by("order_source", "order_id").agg(customer_id=buyers["customer_id"].argmin(buyers["arrival"]))
    found = orphans.inner_join(buyers, ["order_source", "order_id"])
    return known.select("customer_id", "amount").union(found.select("customer_id", "amount"))


def _spend_bounds(
    model: PurchaseModel, spend: SpendModel, histories: pd.DataFrame, p: ValueParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of what each history spends, for a customer whose evidence v + x·mean is 1."""
    generator = np.random.default_rng(p.seed)
    tail = (1 - p.interval) / 2
    low, high = np.empty(len(histories)), np.empty(len(histories))
    shape, scale = spend.parameters["p"], spend.parameters["q"]
    chunk = max(1, 4_000_000 // p.draws)
    for start in range(0, len(histories), chunk):
        some = histories.iloc[start : start + chunk]
        bought = model.draw_orders(p.horizon_days, some, p.draws, generator)
        posterior = generator.gamma(np.broadcast_to((shape * some["frequency"].to_numpy() + scale)[:, None], bought.shape))
        spent = generator.gamma(np.maximum(shape * bought, 1e-9)) / posterior
        spent = np.where(bought > 0, spent, 0.0)
        low[start : start + chunk], high[start : start + chunk] = np.quantile(spent, [tail, 1 - tail], axis=1)
    return low, high


def _with_tiers(rows: ir.Table) -> ir.Table:
    """A holds the best customers who bring the first fifth of the value, E those who bring the last."""
    best_first = ibis.window(order_by=[ibis.desc("clv"), "customer_id"], preceding=None, following=0)
    clv = exact(rows["clv"])
    before = (clv.sum().over(best_first) - clv).cast("float64")
    share = before / clv.sum().over(ibis.window()).cast("float64").nullif(0)
    bounds = [(share < (i + 1) / len(TIERS), tier) for i, tier in enumerate(TIERS[:-1])]
    tiered = rows.mutate(tier=ibis.cases(*bounds, else_=TIERS[-1]))
    names = list(rows.columns)
    names.insert(names.index("loss_maker"), "tier")
    return tiered.select(*names)


def _key(rows: ir.Table) -> tuple[str, ...]:
    return ("customer_id",) if "customer_id" in rows.columns else ("person_source", "person_id")


def _observe(bought: ir.Table, summary: ir.Table, origin: dt.date, days: int, as_of: dt.date) -> ir.Table:
    """The customers known at the origin with what they did after it, and in the same time before it."""
    start = ibis.date(origin.isoformat())
    earlier = ibis.date((origin - dt.timedelta(days=days)).isoformat())
    after = (bought["day"] >= start) & (bought["day"] < ibis.date(as_of.isoformat()))
    before = (bought["day"] >= earlier) & (bought["day"] < start)
    done = bought.group_by(*_key(bought)).agg(
        actual=bought.count(where=after),
        money=total(bought["amount"], after),
        count_before=bought.count(where=before),
        money_before=total(bought["amount"], before),
        first=bought["day"].min(),
    )
    done = done if "customer_id" in done.columns else with_customer(done, None).drop("person_source", "person_id")
    # a first purchase is how a customer came, not something to do again
    repeat = done["count_before"] - (done["first"] >= earlier).cast("int64")
    joined = summary.inner_join(done.mutate(repeat_before=repeat), "customer_id")
    return joined


def _score(name: str, orders: pd.Series, money: pd.Series, known: pd.DataFrame) -> dict[str, Any]:
    actual = known["actual"].to_numpy(float)
    forecast = orders.to_numpy(float)
    error = forecast - actual
    top = max(len(known) // 10, 1)
    ranked = known.assign(_money=money.to_numpy()).sort_values(["_money", "customer_id"], ascending=[False, True])
    realised = float(known["money"].sum())
    return {
        "model": name,
        "customers": len(known),
        "rmse": round(float(np.sqrt(np.mean(error**2))), 6),
        "mae": round(float(np.mean(np.abs(error))), 6),
        "bias": round(float(error.mean()), 6),
        "total_expected": round(float(forecast.sum()), 3),
        "total_actual": round(float(actual.sum()), 3),
        "decile_capture": round(float(ranked["money"].head(top).sum()) / realised, 6) if realised else 0.0,
    }


def frequency_bins(counted: pd.DataFrame, most: int = 7) -> pd.DataFrame:
    """The backtest by number of earlier purchases, with the many put together.

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
