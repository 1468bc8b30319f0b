"""How much is a purchase of this customer?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.value.models import FEWEST_REPEAT_BUYERS, TooFew, fit_with_lifetimes

# Below this the Gamma-Gamma's mean is nothing to rely on; at 1 it is infinite.
LEAST_Q = 1.05
# Customers who bought so often after the first time are taken together: from the first number on.
OFTEN = (0, 1, 2, 4, 8, 16)
# A group's own error counts as much as this many purchases' of no error at all.
CAUTION_PURCHASES = 30.0


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
    with_first
        Whether a customer's first purchase tells what they spend later, as the others do. The published model leaves
        it out; the backtest decides.
    correction
        What the amounts are multiplied with for customers who bought 0, 1, 2, 4, 8, 16 and more times after the first:
        the model takes amounts and rates for independent of each other, and where they are not, this puts it right.
    correlation
        Of the number of purchases and their mean amount, by ranks.

    References
    ----------
    Fader, Hardie (2013), "The Gamma-Gamma model of monetary value".
    """

    parameters: Mapping[str, float]
    log_likelihood: float
    customers: int
    observed_mean: float = float("nan")
    with_first: bool = False
    correction: tuple[float, ...] = (1.0,) * len(OFTEN)
    correlation: float = 0.0

    @property
    def has_mean(self) -> bool:
        """Whether amounts differ so little between customers that the model knows their mean."""
        return self.parameters["q"] > LEAST_Q

    def weight(self, frequency: ir.IntegerColumn) -> ir.FloatingColumn:
        """How far is a customer's own mean of so many purchases to be believed? Between 0 and 1."""
        p, q = self.parameters["p"], self.parameters["q"]
        return frequency * p / (frequency * p + max(q, LEAST_Q) - 1)

    @property
    def population_mean(self) -> float:
        """The mean purchase of a customer of whom nothing is known."""
        if not self.has_mean:
            return self.observed_mean
        return self.parameters["v"] * self.parameters["p"] / (self.parameters["q"] - 1)

    def seen(self, rows: Any) -> tuple[Any, Any]:
        """On how many purchases does the customer's own mean rest, and what is their sum?

        Parameters
        ----------
        rows
            A frame or an Ibis table with `frequency`, `monetary`, `purchases`, `gross`.
        """
        if self.with_first:
            return rows["purchases"], rows["gross"]
        return rows["frequency"], rows["frequency"] * rows["monetary"]

    def mean(self, rows: ir.Table) -> ir.FloatingColumn:
        """What is a purchase of each of these customers expected to be?"""
        n, amount = self.seen(rows)
        own = (n > 0).ifelse(amount / n.nullif(0), 0.0)
        weight = self.weight(n)
        return (weight * own + (1 - weight) * self.population_mean) * self.factor(rows["frequency"])

    def mean_of(self, rows: pd.DataFrame) -> np.ndarray:
        """The same for a frame; shape (rows,)."""
        n, amount = (np.asarray(item, dtype=float) for item in self.seen(rows))
        own = np.divide(amount, n, out=np.zeros(len(n)), where=n > 0)
        weight = self.weight(n)
        groups = np.searchsorted(OFTEN, rows["frequency"].to_numpy(), side="right") - 1
        return (weight * own + (1 - weight) * self.population_mean) * np.asarray(self.correction)[groups]

    def evidence_of(self, rows: pd.DataFrame) -> np.ndarray:
        """What a customer's spending is drawn in units of; shape (rows,)."""
        _, amount = self.seen(rows)
        groups = np.searchsorted(OFTEN, rows["frequency"].to_numpy(), side="right") - 1
        return (self.parameters["v"] + np.asarray(amount, dtype=float)) * np.asarray(self.correction)[groups]

    def evidence(self, rows: ir.Table) -> ir.FloatingColumn:
        """The same of an Ibis table."""
        return (self.parameters["v"] + self.seen(rows)[1]) * self.factor(rows["frequency"])

    def factor(self, frequency: ir.IntegerColumn) -> ir.FloatingValue:
        """What is the amount of somebody who bought so often multiplied with?"""
        if all(one == 1 for one in self.correction):
            return ibis.literal(1.0)
        bounds = [(frequency < after, one) for after, one in zip(OFTEN[1:], self.correction, strict=False)]
        return ibis.cases(*bounds, else_=self.correction[-1])

    def as_json(self) -> dict[str, Any]:
        """The model as plain data."""
        return {
            "model": "Gamma-Gamma",
            "parameters": {name: round(float(value), 10) for name, value in self.parameters.items()},
            "log_likelihood": round(self.log_likelihood, 6),
            "customers": self.customers,
            "rows": self.customers,
            "time_unit": None,
            "with_first_purchase": self.with_first,
            "correction": [round(one, 6) for one in self.correction],
        }


def fit_spend(summary: ir.Table | pd.DataFrame) -> SpendModel:
    """How do purchases differ in amount within and between customers?

    Parameters
    ----------
    summary
        As from :func:`clientbook.value.summarise`, or a frame of it; those who bought again for more than nothing are
        used.

    Raises
    ------
    TooFew
        If fewer than 20 did, or the fit does not converge.
    """
    bought_again = (summary["frequency"] > 0) & (summary["monetary"] > 0)
    # equal histories are one row, and the order of rows changes no sum
    rounded, by = summary["monetary"].round(6), ["frequency", "monetary"]
    if isinstance(summary, pd.DataFrame):
        repeat = summary[bought_again].assign(monetary=rounded)
        known = repeat.groupby(by).size().rename("customers").reset_index()
    else:
        repeat = summary.filter(bought_again).mutate(monetary=rounded)
        known = repeat.group_by(by).agg(customers=repeat.count()).order_by(by).to_pandas()
    customers = int(known["customers"].sum())
    if customers < FEWEST_REPEAT_BUYERS:
        raise TooFew(f"{customers:,} customers who bought again for more than nothing are too few for a model.")
    from lifetimes import GammaGammaFitter

    x, mean = known["frequency"].to_numpy(float), known["monetary"].to_numpy(float)
    weights = known["customers"].to_numpy(float)
    # amounts of a few pence and of millions fit alike when the typical one is 1
    scale = float(np.median(mean))
    fitter = fit_with_lifetimes(GammaGammaFitter(), x, mean / scale, weights=weights)
    parameters = {"p": fitter.params_["p"], "q": fitter.params_["q"], "v": fitter.params_["v"] * scale}
    loss = fitter._negative_log_likelihood(np.log(list(parameters.values())), x, mean, weights, 0.0)
    cut = np.quantile(mean, 0.99)
    observed = float((np.minimum(mean, cut) * weights).sum() / weights.sum())
    correlation = known["frequency"].corr(known["monetary"], method="spearman")
    return SpendModel(
        parameters, -float(loss) * customers, customers, observed,
        correlation=0.0 if np.isnan(correlation) else round(float(correlation), 4),
    )  # fmt: skip


def with_first_purchase(spend: SpendModel, yes: bool) -> SpendModel:
    """The same model that takes a customer's first purchase as evidence too, or does not."""
    return replace(spend, with_first=yes)


def correct(spend: SpendModel, known: pd.DataFrame) -> SpendModel:
    """Where rate and amount are not independent: by how much does the model miss the amounts of those who buy often?

    Parameters
    ----------
    spend
        Fitted at an origin.
    known
        The customers at that origin, with `actual` (purchases after it) and `money` (what they came to).

    Returns
    -------
    SpendModel
        With a factor for each group of customers, drawn towards 1.
    """
    plain = replace(spend, correction=(1.0,) * len(OFTEN))
    groups = np.searchsorted(OFTEN, known["frequency"].to_numpy(), side="right") - 1
    forecast = known["actual"].to_numpy(float) * plain.mean_of(known)
    factors = []
    for group in range(len(OFTEN)):
        some = groups == group
        money, expected = float(known["money"].to_numpy()[some].sum()), float(forecast[some].sum())
        orders = float(known["actual"].to_numpy()[some].sum())
        caution = CAUTION_PURCHASES * expected / orders if orders else 1.0
        factors.append(round((money + caution) / (expected + caution), 6) if expected > 0 else 1.0)
    return replace(spend, correction=tuple(factors))


def amount_error(spend: SpendModel, known: pd.DataFrame) -> float:
    """How far are the amounts of those who came back from what was expected? The mean, in shares of their mean."""
    came = known[known["actual"] > 0]
    if came.empty or not came["money"].sum() > 0:
        return float("inf")
    mean = came["money"].to_numpy(float) / came["actual"].to_numpy(float)
    return round(float(np.abs(spend.mean_of(came) - mean).mean() / mean.mean()), 6)
