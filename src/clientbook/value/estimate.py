"""What is each customer worth over the time ahead?"""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.exact import exact
from clientbook.value.intervals import Bounds, spending
from clientbook.value.models import PurchaseModel
from clientbook.value.rules import YEAR
from clientbook.value.spend import SpendModel
from clientbook.value.summary import compress

TIERS = ("A", "B", "C", "D", "E")


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
    path = model.expected_path([step * step_days for step in range(1, steps + 1)], histories)
    each = np.diff(path, axis=0, prepend=0.0)
    factors = (1 + rate_per_step) ** -np.arange(1.0, steps + 1)
    # summed step by step: a product of matrices may add up in another order on another machine
    discounted = np.zeros(len(histories))
    for row, factor in zip(each, factors, strict=True):
        discounted += row * factor
    return path[-1], discounted


def estimate(
    summary: ir.Table, model: PurchaseModel, alive: PurchaseModel, spend: SpendModel, p: Any, level: float | None = None
) -> ir.Table:
    """What is each customer worth over the horizon, and between what bounds?

    The interval is of what the customer may really bring: simulated purchases from the model's posterior, and amounts
    from the Gamma-Gamma's.

    Parameters
    ----------
    summary
        As from :func:`clientbook.value.net_rates`.
    model
        The model that forecasts purchases.
    alive
        The model for P(alive): never the BG/NBD, for which everybody who bought once is alive for certain.
    spend
        The model of amounts.
    p
        Horizon, discount, interval, draws and seed.
    level
        Share of futures that the interval holds, by which the backtest covered as often as asked; None means as asked.

    Returns
    -------
    ibis.expr.types.Table
        The public table `value`, best first.
    """
    histories = compress(summary)
    told, _ = ahead(histories, model, alive, spend, p, level)
    return worth(summary, told, spend)


def ahead(
    histories: pd.DataFrame, model: PurchaseModel, alive: PurchaseModel, spend: SpendModel, p: Any, level: float | None
) -> tuple[pd.DataFrame, Bounds]:
    """What does each history lead to?

    Parameters
    ----------
    histories
        As from :func:`clientbook.value.compress`.
    model, alive, spend, p, level
        As for :func:`estimate`.

    Returns
    -------
    told : pandas.DataFrame
        The histories with `p_alive`, `expected_orders`, `discounted`, `unit_low`, `unit_high`.
    bounds : Bounds
        Of the same histories, not discounted.
    """
    expected, discounted = _orders_ahead(histories, model, p)
    chance = alive.p_alive(histories)
    own = chance if alive is model else model.p_alive(histories)
    bounds = spending(model, spend, histories, own, p.horizon_days, levels=(level or p.interval,), draws=p.draws, seed=p.seed)
    paid = np.divide(discounted, expected, out=np.ones_like(expected), where=expected > 0)
    told = histories.drop(columns="customers").assign(
        p_alive=np.round(chance, 9),
        expected_orders=np.round(expected, 9),
        discounted=np.round(discounted, 9),
        unit_low=np.round(bounds.low[0] * paid, 9),
        unit_high=np.round(bounds.high[0] * paid, 9),
    )
    return told, bounds


def _orders_ahead(histories: pd.DataFrame, model: PurchaseModel, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """How many purchases does each history lead to, as they are and paid back to today?"""
    steps = max(round(p.horizon_days * 12 / YEAR), 1)
    step_days = p.horizon_days / steps
    rate = (1 + p.discount_rate) ** (step_days / YEAR) - 1
    return discounted_orders(model, histories, steps=steps, step_days=step_days, rate_per_step=rate)


def _margins(summary: ir.Table, told: pd.DataFrame, spend: SpendModel) -> tuple[ir.Table, ir.Value, ir.Value]:
    """Each customer beside what their history leads to, their mean amount, and the margin that an order leaves."""
    joined = summary.inner_join(ibis.memtable(told), ["frequency", "recency", "T"])
    mean = spend.mean(joined)
    # what serving an order costs lowers what is left of it
    return joined, mean, mean * joined["net_rate"] - joined["service_per_order"]


def expected_value(
    summary: ir.Table, histories: pd.DataFrame, model: PurchaseModel, spend: SpendModel, p: Any
) -> ir.Table:
    """What is each customer expected to be worth, without the bounds of it?

    Parameters
    ----------
    summary, histories, model, spend, p
        As for :func:`estimate`.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `frequency`, `clv`, as in the public table `value`.
    """
    told = histories.drop(columns="customers").assign(discounted=np.round(_orders_ahead(histories, model, p)[1], 9))
    joined, _, margin = _margins(summary, told, spend)
    return joined.select("customer_id", "frequency", clv=(margin * joined["discounted"]).round(6))


def worth(summary: ir.Table, told: pd.DataFrame, spend: SpendModel) -> ir.Table:
    """What is each customer worth, given what their history leads to?

    Parameters
    ----------
    summary
        As from :func:`clientbook.value.net_rates`.
    told
        As from :func:`ahead`.
    spend
        The model of amounts.

    Returns
    -------
    ibis.expr.types.Table
        The public table `value`, best first.
    """
    joined, mean, margin = _margins(summary, told, spend)
    unit = spend.evidence(joined) * ibis.ifelse(mean > 0, margin / mean.nullif(0), joined["net_rate"])
    ends = (unit * joined["unit_low"], unit * joined["unit_high"])
    kept = joined["gross"] - joined["returned"]
    so_far = kept - ibis.greatest(kept, 0.0) * (joined["cost"] / joined["gross"].nullif(0)).fill_null(0.0) - joined["service"]
    rows = joined.select(
        "customer_id",
        "frequency",
        "recency",
        "T",
        "p_alive",
        "expected_orders",
        expected_margin_per_order=margin.round(6),
        clv=(margin * joined["discounted"]).round(6),
        clv_low=ibis.least(*ends).round(6),
        clv_high=ibis.greatest(*ends).round(6),
        loss_maker=so_far < 0,
        purchases=joined["purchases"],
        gross=joined["gross"].round(6),
        returned=joined["returned"].round(6),
        cost=joined["cost"].round(6),
        service_cost=joined["service"].round(6),
        margin=so_far.round(6),
    )
    return _with_tiers(rows).order_by(ibis.desc("clv"), "customer_id")


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
