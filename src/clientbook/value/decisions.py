"""Whom to serve, whom to call and whom to write to first, and what is that worth?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing, promises
from clientbook.consent import MARKETING, channels, in_force, reachable
from clientbook.customers import with_customer
from clientbook.exact import exact, total
from clientbook.value.backtest import Hindsight
from clientbook.value.rules import LAST_YEAR

# How long after an order a further one is waited for.
RETURN_DAYS = 180
FEWEST_LATE = 50
# Where a book cannot say what a disappointment costs: a share of what lies ahead, as the report states.
ASSUMED_LOSS = 0.1
FIRST_COME, BY_VALUE = "first come, first served", "by value at risk"


@dataclass(frozen=True)
class Loss:
    """What share of further purchases is lost by a late delivery?

    Attributes
    ----------
    share
        Of the customers who would have bought again, those who do not.
    low, high
        95 % interval.
    late, punctual
        Orders that it rests on.
    measured
        False where there were too few, and `share` is an assumption.
    """

    share: float
    low: float
    high: float
    late: int = 0
    punctual: int = 0
    measured: bool = False


def loss_if_late(
    orders: ir.Table, deliveries: ir.Table | None, identities: ir.Table | None, as_of: dt.date, *, zone: str
) -> Loss:
    """How many fewer come back after a late delivery than after a punctual one?

    Orders old enough that a further one could have been seen, by whether the order came later than promised; a
    customer came back if they ordered again within half a year. Lateness is taken for chance: where difficult orders
    are late, and their customers different, this says too much or too little.

    Parameters
    ----------
    orders, deliveries, identities
        Clean tables.
    as_of
        The day of the run.
    zone
        The book's.
    """
    assumed = Loss(ASSUMED_LOSS, 0.0, 3 * ASSUMED_LOSS)
    if deliveries is None or "promised_at" not in deliveries.columns:
        return assumed
    arrived = deliveries.filter(deliveries["promised_at"].notnull() & deliveries["delivered_at"].notnull())
    each = arrived.group_by("order_source", "order_id").agg(late=promises.is_late(arrived, zone).any())
    known = with_customer(orders, identities)
    placed = known.filter(known["order_id"].notnull() & (known["quantity"] > 0))
    placed = placed.group_by("order_source", "order_id").agg(
        customer_id=placed["customer_id"].argmin(placed["arrival"]), day=placed["ordered_on"].min()
    )
    visits = placed.select("customer_id", "day").distinct()
    following = visits["day"].lead().over(group_by="customer_id", order_by="day")
    visits = visits.mutate(following=following)
    latest = ibis.date((as_of - dt.timedelta(days=RETURN_DAYS)).isoformat())
    judged = placed.inner_join(each, ["order_source", "order_id"]).filter(lambda rows: rows["day"] < latest)
    judged = judged.inner_join(visits, ["customer_id", "day"])
    back = (judged["following"].delta(judged["day"], unit="day") <= RETURN_DAYS).fill_null(False)
    told = judged.group_by("late").agg(n=judged.count(), back=back.sum()).to_pandas().set_index("late")
    late, punctual = (int(told["n"].get(which, 0)) for which in (True, False))
    if late < FEWEST_LATE or punctual < FEWEST_LATE or not told["back"].get(False, 0):
        return assumed
    a, b = float(told["back"][True]) / late, float(told["back"][False]) / punctual
    spread = 1.96 * np.sqrt((a * (1 - a) / late + (a / b) ** 2 * b * (1 - b) / punctual) / b**2)
    share = 1 - a / b
    return Loss(round(share, 6), round(share - spread, 6), round(share + spread, 6), late, punctual, True)


def allocations(
    orders: ir.Table, products: ir.Table | None, identities: ir.Table | None, value: ir.Table, loss: Loss
) -> ir.Table | None:
    """Where open orders ask for more than there is: whom to serve first?

    Parameters
    ----------
    orders, products, identities
        Clean tables.
    value
        The table `value`.
    loss
        As from :func:`loss_if_late`: who is not served waits.

    Returns
    -------
    ibis.expr.types.Table or None
        The public table `allocations`, by product and by value at risk for a piece; None where the book has no stock or
        no open orders to look at.
    """
    if products is None or "status" not in orders.columns or not products["stock_quantity"].notnull().any().to_pandas():
        return None
    is_open = (orders["status"].lower() == "open").fill_null(False) & (orders["quantity"] > 0)
    waiting = with_customer(orders.filter(is_open & orders["product_id"].notnull()), identities)
    stock = products.group_by(product_source=products["source"], product_id=products["product_id"]).agg(
        stock=products["stock_quantity"].min(), unit_cost=products["unit_cost"].min()
    )
    lines = waiting.inner_join(stock.filter(stock["stock"].notnull()), ["product_source", "product_id"])
    product = ibis.window(group_by=["product_source", "product_id"])
    lines = lines.mutate(asked=exact(lines["quantity"]).sum().over(product).cast("float64"))
    scarce = lines.filter(lines["asked"] > lines["stock"])
    worth = value.select("customer_id", "clv")
    scarce = scarce.left_join(worth, "customer_id").drop("customer_id_right")
    margin = scarce["amount"].fill_null(0.0) - (scarce["quantity"] * scarce["unit_cost"]).fill_null(0.0)
    at_risk = ibis.greatest(scarce["clv"].fill_null(0.0), 0.0) * max(loss.share, 0.0)
    rows = scarce.mutate(
        line_margin=margin.round(6), value_at_risk=at_risk.round(6),
        per_piece=((ibis.greatest(margin, 0.0) + at_risk) / scarce["quantity"]).round(6),
    )  # fmt: skip
    by = {"first_come": ["ordered_at", "arrival"], "by_value": [ibis.desc("per_piece"), "ordered_at", "arrival"]}
    for name, order in by.items():
        upto = ibis.window(group_by=["product_source", "product_id"], order_by=order, preceding=None, following=0)
        rows = rows.mutate(
            **{
                f"rank_{name}": ibis.row_number().over(
                    group_by=["product_source", "product_id"], order_by=order
                ) + 1,
                f"served_{name}": exact(rows["quantity"]).sum().over(upto).cast("float64") <= rows["stock"],
            }
        )  # fmt: skip
    return rows.select(
        "product_source", "product_id", "order_source", "order_id", "customer_id", "ordered_at", "quantity", "stock",
        "line_margin", "value_at_risk", "rank_first_come", "served_first_come", "rank_by_value", "served_by_value",
        "arrival",
    ).order_by("product_source", "product_id", "rank_by_value")  # fmt: skip


def say_allocations(rows: ir.Table | None) -> pd.DataFrame:
    """What does either way of serving bring?

    Parameters
    ----------
    rows
        The table `allocations`; None where there is none.

    Returns
    -------
    pandas.DataFrame
        `policy`, `served` (open lines), `waiting`, `margin` (of lines served), `value_at_risk` (of those who wait),
        `worth` (margin served less value at risk of who waits).
    """
    if rows is None:
        return pd.DataFrame(columns=["policy", "served", "waiting", "margin", "value_at_risk", "worth"])
    told = []
    for policy, name in ((FIRST_COME, "first_come"), (BY_VALUE, "by_value")):
        served = rows[f"served_{name}"]
        told.append(
            rows.aggregate(
                policy=ibis.literal(policy), served=served.sum(), waiting=(~served).sum(),
                margin=total(rows["line_margin"], served), value_at_risk=total(rows["value_at_risk"], ~served),
            ).to_pandas()
        )  # fmt: skip
    both = pd.concat(told, ignore_index=True)
    return both.assign(worth=both["margin"] - both["value_at_risk"])


def recoveries(
    orders: ir.Table,
    deliveries: ir.Table | None,
    identities: ir.Table | None,
    value: ir.Table,
    as_of: dt.date,
    loss: Loss,
    *,
    zone: str,
) -> ir.Table | None:
    """Whose delivery is late, and whom to call first?

    Parameters
    ----------
    orders, deliveries, identities
        Clean tables.
    value
        The table `value`.
    as_of
        The day of the run.
    loss
        As from :func:`loss_if_late`.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table or None
        The public table `recoveries`, a row a customer, the most at risk first; None where the book has no deliveries.
    """
    if deliveries is None or "promised_at" not in deliveries.columns:
        return None
    now = parsing.day_begins(as_of, zone)
    promised = deliveries.filter(deliveries["delivered_at"].isnull()).mutate(due=promises.due(deliveries["promised_at"], zone))
    late = promised.filter(promised["due"] < now).group_by("order_source", "order_id").agg(due=ibis._["due"].min())
    known = with_customer(orders, identities)
    placed = known.filter(known["order_id"].notnull() & (known["quantity"] > 0))
    placed = placed.group_by("order_source", "order_id").agg(
        customer_id=placed["customer_id"].argmin(placed["arrival"]), amount=total(placed["amount"])
    )
    waiting = late.inner_join(placed, ["order_source", "order_id"])
    each = waiting.group_by("customer_id").agg(orders=waiting.count(), amount=total(waiting["amount"]), due=waiting["due"].min())
    joined = each.inner_join(value.select("customer_id", "clv", "clv_low", "clv_high", "p_alive", "tier"), "customer_id")
    days = ibis.date(as_of.isoformat()).delta(parsing.local(joined["due"], zone).date(), unit="day")
    rows = joined.select(
        "customer_id", "orders", "amount", days_late=days.cast("int64"), clv="clv", clv_low="clv_low",
        clv_high="clv_high", p_alive="p_alive", tier="tier",
        value_at_risk=(ibis.greatest(joined["clv"], 0.0) * max(loss.share, 0.0)).round(6),
    )  # fmt: skip
    first = ibis.row_number().over(order_by=[ibis.desc("value_at_risk"), ibis.desc("days_late"), "customer_id"]) + 1
    waited = ibis.row_number().over(order_by=[ibis.desc("days_late"), "customer_id"]) + 1
    return rows.mutate(call_rank=first, rank_by_lateness=waited).order_by("call_rank")


def say_recoveries(rows: pd.DataFrame, calls: int = 10) -> pd.DataFrame:
    """With so many calls: how much value at risk do they reach, by value and by lateness?

    Parameters
    ----------
    rows
        The table `recoveries`.
    calls
        How many can be made today.

    Returns
    -------
    pandas.DataFrame
        `order` (of calling), `calls`, `value_at_risk`.
    """
    told = []
    for words, column in (("by value at risk", "call_rank"), ("the latest first", "rank_by_lateness")):
        some = rows[rows[column] <= calls]
        told.append((words, len(some), round(float(some["value_at_risk"].sum()), 2)))
    return pd.DataFrame(told, columns=["order", "calls", "value_at_risk"])


def changed_places(back: Hindsight, name: str) -> pd.DataFrame:
    """The best tenth by value beside the best tenth by revenue: who changes places, and what was that worth?

    On the time held out, so that both lists can be judged by what came.

    Parameters
    ----------
    back
        Of one origin.
    name
        The model.

    Returns
    -------
    pandas.DataFrame
        `on` (which list), `customers`, `margin` (that came from them), `each`.
    """
    known = back.known
    top = max(len(known) // 10, 1)
    ids = known["customer_id"].to_numpy()

    def best(score: np.ndarray) -> np.ndarray:
        chosen = np.zeros(len(ids), dtype=bool)
        chosen[np.lexsort((ids, -np.round(score, 6)))[:top]] = True
        return chosen

    value, revenue = best(back.margins[name]), best(back.margins[LAST_YEAR])
    came = known["margin"].to_numpy(float)
    parts = {
        "both lists": value & revenue, "only by value": value & ~revenue, "only by revenue": revenue & ~value,
    }  # fmt: skip
    told = [(words, int(some.sum()), round(float(came[some].sum()), 2)) for words, some in parts.items()]
    frame = pd.DataFrame(told, columns=["on", "customers", "margin"])
    return frame.assign(each=(frame["margin"] / frame["customers"].where(frame["customers"] > 0)).fillna(0.0))


def allowing(consents: ir.Table, identities: ir.Table | None, as_of: dt.date, zone: str) -> ir.Table:
    """Who allows marketing on the day of the run, and by which channels?

    Parameters
    ----------
    consents, identities
        Clean consents, and whose they are.
    as_of, zone
        The day of the run, which begins by the clock of the book's zone.

    Returns
    -------
    ibis.expr.types.Table
        As from :func:`clientbook.consent.reachable`.
    """
    now = parsing.day_begins(as_of, zone)
    return reachable(in_force(consents, identities, now, channels(consents)), MARKETING)


def retargeting(
    value: ir.Table,
    consents: ir.Table | None,
    identities: ir.Table | None,
    as_of: dt.date,
    customers: int = 500,
    *,
    zone: str,
) -> pd.DataFrame:
    """Whom to write to again, by value, with their place by revenue?

    Parameters
    ----------
    value
        The table `value`.
    consents, identities
        Clean consents; with them only those who gave theirs to marketing are listed.
    as_of
        The day of the run.
    customers
        How many.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `rank_by_value`, `rank_by_revenue`, `clv`, `gross`, `p_alive`, `consent`, `channels`.
    """
    ranked = value.mutate(
        rank_by_value=ibis.row_number().over(order_by=[ibis.desc("clv"), "customer_id"]) + 1,
        rank_by_revenue=ibis.row_number().over(order_by=[ibis.desc("gross"), "customer_id"]) + 1,
    )
    ranked = ranked.filter(~ranked["loss_maker"])
    if consents is None:
        told = ranked.mutate(consent=ibis.literal("unknown"), channels=ibis.null("string"))
    else:
        told = ranked.inner_join(allowing(consents, identities, as_of, zone), "customer_id")
        told = told.mutate(consent=ibis.literal("given"))
    columns = ["customer_id", "rank_by_value", "rank_by_revenue", "clv", "gross", "p_alive", "consent", "channels"]
    return told.order_by("rank_by_value").select(*columns).limit(customers).to_pandas()
