"""What does it do to the total that nobody knows for certain who is who?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.exact import total
from clientbook.value.estimate import discounted_orders
from clientbook.value.intervals import total_bounds
from clientbook.value.ledger import ledger, return_lags, shares_of_all, sums, with_net
from clientbook.value.models import PurchaseModel
from clientbook.value.rules import YEAR
from clientbook.value.spend import SpendModel
from clientbook.value.summary import compress, summarise

if TYPE_CHECKING:
    from clientbook.value import Analysis

_MARK = "\x1f"


@dataclass(frozen=True)
class Drawn:
    """What is the total worth in each way to put the records together?

    Attributes
    ----------
    totals
        A row a draw: `draw`, `total`, `customers` (of the main answer, whose records are others there).
    share
        Of the customers with a purchase, those whom the draws touch on average.
    """

    totals: pd.DataFrame
    share: float

    @property
    def swing(self) -> float:
        """How far the draws' totals are from the one that is reported: root of the mean square of the logarithm."""
        found = self.totals["ratio"].to_numpy(float)
        return float(np.sqrt(np.mean(np.log(found) ** 2))) if len(found) and (found > 0).all() else 0.0


def with_other_identities(
    tables: tuple[ir.Table | None, ...],
    identities: ir.Table | None,
    draws: ir.Table | None,
    analysis: Analysis,
    as_of: dt.date,
    p: Any,
    zone: str = "UTC",
) -> Drawn:
    """What is the total worth if the records belong together in other plausible ways?

    The models stay as they were fitted; customers whom a draw touches get the history that their records have in it.

    Parameters
    ----------
    tables
        Clean orders, returns, products and cases; all but the first may be None.
    identities
        Who is who; None where nothing was matched.
    draws
        The table `identity_draws`, or None.
    analysis
        As from :func:`clientbook.value.analyse`.
    as_of, p
        The day of the run, and the parameters.
    zone
        The book's, whose days are meant.
    """
    nothing = Drawn(pd.DataFrame({"draw": pd.Series(dtype="int64"), "total": [], "ratio": [], "customers": []}), 0.0)
    if identities is None or draws is None:
        return nothing
    scope = _scope(identities, draws).cache()
    if not int(scope.count().to_pandas()):
        return nothing
    orders, returns, products, cases = tables
    # the ledger of the records touched, each by itself; then once for every draw, by whom it belongs to there
    touched = scope.select("source", "person_id").distinct()
    each = touched.mutate(customer_id=touched["source"] + _MARK + touched["person_id"])
    book = ledger(orders, returns, each, products, cases, zone)
    book = book.semi_join(each, "customer_id").rename(record="customer_id")
    owners = scope.select("draw", "owner", record=scope["source"] + _MARK + scope["person_id"])
    rows = book.inner_join(owners, "record")
    rows = rows.mutate(customer_id=rows["draw"].cast("string") + _MARK + rows["owner"])
    columns = ("amount", "cost", "returned", "service")
    rows = rows.group_by("customer_id", "day", "known_on", "is_purchase").agg(**{name: total(rows[name]) for name in columns})
    rows = rows.cache()
    bought = rows.filter(rows["is_purchase"]).group_by("customer_id", "day").agg(amount=total(rows["amount"]))
    main_book = analysis.history[1]
    told = sums(rows, as_of, return_lags(main_book, as_of))
    every = shares_of_all(summarise(analysis.history[0], as_of), sums(main_book, as_of))
    summary = with_net(summarise(bought, as_of), told, every)
    worth = _worth(summary, analysis.models[analysis.chosen], analysis.spend, p)
    worth = worth.mutate(draw=worth["customer_id"].split(_MARK)[0].cast("int64"), owner=worth["customer_id"].split(_MARK)[1])
    # what the main answer makes of the customers that each draw touches
    main = worth.filter(worth["draw"] == 0).select("owner", was="clv")
    sides = scope.filter(scope["draw"] > 0).select("draw", owner="main").distinct().left_join(main, "owner")
    before = sides.group_by("draw").agg(was=total(sides["was"].fill_null(0.0)), customers=sides["was"].count())
    now = worth.filter(worth["draw"] > 0).group_by("draw").agg(now=total(worth["clv"]))
    found = before.left_join(now, "draw").select("draw", "was", "now", "customers").order_by("draw").to_pandas()
    n = int(draws["draws"].max().to_pandas())
    found = found.set_index("draw").reindex(range(1, n + 1)).fillna(0.0).rename_axis("draw").reset_index()
    whole = float(analysis.value.aggregate(clv=total(analysis.value["clv"])).to_pandas()["clv"].iloc[0])
    found["total"] = (whole + found["now"] - found["was"]).round(2)
    found["ratio"] = (found["total"] / whole).round(9) if whole > 0 else 1.0
    customers = max(int(analysis.value.count().to_pandas()), 1)
    return Drawn(found[["draw", "total", "ratio", "customers"]], round(float(found["customers"].mean()) / customers, 6))


def total_with_identities(total_: float, analysis: Analysis, drawn: Drawn, level: float) -> tuple[float, float]:
    """Between what bounds does the total lie, if who is who is uncertain too?

    How far the draws lie from what is reported counts like chance: independent of what forecasts miss.

    Parameters
    ----------
    total_
        What is reported.
    analysis
        As from :func:`clientbook.value.analyse`.
    drawn
        As from :func:`with_other_identities`.
    level
        How often the total shall lie between the bounds.
    """
    errors, chance, swing = analysis.doubts
    low, high = total_bounds(total_, list(errors), float(np.hypot(chance, drawn.swing)), swing, level)
    return round(low, 2), round(high, 2)


def identity_intervals(total_: float, analysis: Analysis, drawn: Drawn, level: float) -> pd.DataFrame:
    """The interval of the total without and with what nobody knows of who is who, and what that makes alone.

    Parameters
    ----------
    total_, analysis, drawn, level
        As for :func:`total_with_identities`.

    Returns
    -------
    pandas.DataFrame
        `what`, `low`, `expected`, `high`; the last row is what the draws alone say, whose expected is their mean.
    """
    rows = [("the forecast, as if who is who were certain", analysis.total_low, total_, analysis.total_high)]
    if len(drawn.totals):
        low, high = total_with_identities(total_, analysis, drawn, level)
        rows.append(("the forecast, with identity uncertainty", low, total_, high))
        rows.append(("who is who alone", *alone(drawn)))
    return pd.DataFrame(rows, columns=["what", "low", "expected", "high"])


def alone(drawn: Drawn) -> tuple[float, float, float]:
    """What do the draws alone say of the total: the lowest, the mean, and the highest.

    Parameters
    ----------
    drawn
        As from :func:`with_other_identities`.
    """
    totals = drawn.totals["total"]
    return float(totals.min()), float(totals.mean().round(2)), float(totals.max())


def say_identities(total_: float, drawn: Drawn, money: Callable[[float], str]) -> str:
    """In a sentence or two: what does it do to the total that nobody knows for certain who is who?

    Parameters
    ----------
    total_
        What is reported.
    drawn
        As from :func:`with_other_identities`.
    money
        How an amount is written.
    """
    if not len(drawn.totals):
        return "Who is who is taken for certain here: no record moves in another plausible way to put them together."
    low, mean, high = alone(drawn)
    side = "more" if mean > total_ else "less"
    if money(low) == money(high) == money(total_):
        return (
            f"In {len(drawn.totals)} other ways to put the records together, which touch {drawn.share:.1%} of the customers at a "
            f"time, the total stays at {money(low)}."
        )
    return (
        f"In {len(drawn.totals)} other ways to put the records together, which touch {drawn.share:.1%} of the customers at a "
        f"time, the total lies between {money(low)} and {money(high)}, on average {abs(mean / total_ - 1):.1%} {side} than here."
    )


def _scope(identities: ir.Table, draws: ir.Table) -> ir.Table:
    """Records of all customers that a draw touches, with whom they belong to there; draw 0 is the main answer."""
    known = identities.select("source", "person_id", main="customer_id")
    moved = draws.inner_join(known, ["source", "person_id"])
    # whoever loses a record, and whoever gains one, with all that is theirs
    sides = moved.select("draw", main="main").union(moved.select("draw", main="customer_id")).distinct()
    held = known.inner_join(sides, "main")
    other = draws.select("draw", "source", "person_id", owner="customer_id")
    rows = held.left_join(other, ["draw", "source", "person_id"])
    rows = rows.select("draw", "source", "person_id", "main", owner=ibis.coalesce(rows["owner"], rows["main"]))
    base = rows.select("source", "person_id", "main").distinct()
    zero = base.select(draw=ibis.literal(0, "int64"), source="source", person_id="person_id", main="main", owner="main")
    return rows.mutate(draw=rows["draw"].cast("int64")).union(zero)


def _worth(summary: ir.Table, model: PurchaseModel, spend: SpendModel, p: Any) -> ir.Table:
    histories = compress(summary)
    steps = max(round(p.horizon_days * 12 / YEAR), 1)
    days = p.horizon_days / steps
    rate = (1 + p.discount_rate) ** (days / YEAR) - 1
    _, discounted = discounted_orders(model, histories, steps=steps, step_days=days, rate_per_step=rate)
    told = histories.drop(columns="customers").assign(discounted=np.round(discounted, 9))
    joined = summary.inner_join(ibis.memtable(told), ["frequency", "recency", "T"])
    margin = spend.mean(joined) * joined["net_rate"] - joined["service_per_order"]
    return joined.select("customer_id", clv=(margin * joined["discounted"]).round(6)).cache()
