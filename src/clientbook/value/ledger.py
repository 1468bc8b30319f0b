"""What was sold to whom, what did it cost, and what came back?"""

from __future__ import annotations

import datetime as dt
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.value.summary import key, named

DAYS_PER_WEEK = 7
# What has not come back after a year stays.
LONGEST_LAG_WEEKS = 52
# Fewer returns say too little of how long they take.
FEWEST_RETURNS = 30
# Returns and cost of a customer with few orders lean on everybody's: about this many orders' weight is best.
SHRINKAGE_ORDERS = 3.0
_NET_OF = ("cost", "returned", "service", "matured")
_LONG_AGO = dt.date(1900, 1, 1)


def ledger(
    orders: ir.Table,
    returns: ir.Table | None = None,
    identities: ir.Table | None = None,
    products: ir.Table | None = None,
    cases: ir.Table | None = None,
    zone: str = "UTC",
) -> ir.Table:
    """What did each customer bring and cost, on which day, and when was it known?

    Parameters
    ----------
    orders, returns, identities, products, cases
        Clean tables; all but the first may be None.
    zone
        The book's, whose days are meant.

    Returns
    -------
    ibis.expr.types.Table
        Whose (see :func:`clientbook.value.purchases`); `day` (of the purchase that it belongs to), `known_on` (the day
        on which it was seen), `amount` (of purchases), `cost` (of the goods, by their topic's share of cost in price),
        `returned`, `service` (cost of service cases), `is_purchase`.
    """
    known = orders if identities is None else with_customer(orders, identities)
    whose = key(known)
    rate = _cost_rates(orders, products)
    bought = known.filter((known["quantity"] > 0) & (known["amount"].isnull() | (known["amount"] >= 0)))
    nothing = ibis.literal(0.0)
    daily = {"amount": total(bought["amount"])}
    if rate is not None:
        bought = bought.left_join(rate, ["product_source", "product_id"])
        cost = total(bought["amount"] * bought["rate"].fill_null(0.0))
        daily = {"amount": total(bought["amount"]), "cost": cost}
    sold = bought.group_by(*whose, day=bought["ordered_on"]).agg(**daily)
    sold = sold if rate is not None else sold.mutate(cost=nothing)
    parts = [sold.mutate(known_on=sold["day"], returned=nothing, service=nothing, is_purchase=ibis.literal(True))]
    if returns is not None:
        back = _returned(returns, known, identities, whose, zone)
        parts.append(
            back.group_by(*whose, "day", "known_on")
            .agg(returned=total(back["amount"]))
            .mutate(amount=nothing, cost=nothing, service=nothing, is_purchase=ibis.literal(False))
        )
    if cases is not None and "cost" in cases.columns:
        dealt = cases.filter(cases["cost"].notnull()).mutate(day=parsing.local(cases["opened_at"], zone).date())
        dealt = dealt if identities is None else with_customer(dealt, identities)
        parts.append(
            dealt.group_by(*whose, "day")
            .agg(service=total(dealt["cost"]))
            .mutate(known_on=ibis._.day, amount=nothing, cost=nothing, returned=nothing, is_purchase=ibis.literal(False))
        )
    columns = (*whose, "day", "known_on", "amount", "cost", "returned", "service", "is_purchase")
    parts = [part.select(*columns) for part in parts]
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def return_lags(book: ir.Table, as_of: dt.date) -> np.ndarray:
    """How long does it take until goods come back?

    Of what was sold at least so many weeks ago, the share that came back in each week after the sale; the sum over
    weeks is what comes back in the end. Young sales count for the weeks that they have seen, and for no more.

    Parameters
    ----------
    book
        As from :func:`ledger`.
    as_of
        What was known before this day.

    Returns
    -------
    numpy.ndarray
        Shape (53,): share of all returns that are there after 0 to 52 whole weeks. All 1 where too few returns name
        their order to say.
    """
    return return_lags_at(book, [as_of])[0]


def return_lags_at(book: ir.Table, days: list[dt.date]) -> list[np.ndarray]:
    """The same as of several days, at one look at the book; see :func:`return_lags`."""
    at = ibis.memtable(pd.DataFrame({"at": np.arange(len(days)), "today": list(days)}))
    aged = book.cross_join(at).filter(lambda rows: rows["known_on"] < rows["today"])
    aged = aged.mutate(
        age=ibis.least((aged["today"].delta(aged["day"], unit="day") // DAYS_PER_WEEK), LONGEST_LAG_WEEKS + 1),
        lag=aged["known_on"].delta(aged["day"], unit="day") // DAYS_PER_WEEK,
    )
    back = (aged["returned"] > 0) & (aged["lag"] >= 0) & (aged["lag"] <= LONGEST_LAG_WEEKS)
    told = aged.group_by("at", "age", lag=ibis.ifelse(back, aged["lag"], -1)).agg(
        amount=total(aged["amount"]), returned=total(aged["returned"], back), n=aged.count(where=back)
    )
    found = told.order_by("at", "age", "lag").to_pandas()
    return [_lags(found[found["at"] == i]) for i in range(len(days))]


def _lags(found: pd.DataFrame) -> np.ndarray:
    """From what was sold (`amount`) and came back (`returned`, `n`) by `age` and `lag` in weeks."""
    # a return on the day of its sale, or of an unknown sale, says nothing of how long it takes
    if found.loc[found["lag"] > 0, "n"].sum() < FEWEST_RETURNS:
        return np.ones(LONGEST_LAG_WEEKS + 1)
    weeks = np.arange(LONGEST_LAG_WEEKS + 1)
    sold = found.groupby("age")["amount"].sum()
    amounts = sold.reindex(np.arange(LONGEST_LAG_WEEKS + 2), fill_value=0.0).to_numpy()
    # sold at least lag + 1 weeks ago: the whole week was seen
    exposed = amounts[::-1].cumsum()[::-1]
    whole = found[found["age"] > found["lag"]].groupby("lag")["returned"].sum().reindex(weeks, fill_value=0.0)
    rate = np.divide(whole.to_numpy(), exposed[1:], out=np.zeros(len(weeks)), where=exposed[1:] > 0)
    if not rate.sum() > 0:
        return np.ones(LONGEST_LAG_WEEKS + 1)
    # what was sold w weeks ago has seen all weeks before w
    seen_by = np.concatenate([[0.0], rate.cumsum()[:-1]]) / rate.sum()
    return np.round(np.maximum(seen_by, 1e-3), 9)


def sums(book: ir.Table, as_of: dt.date, lags: np.ndarray | None = None) -> ir.Table:
    """What did each customer bring and cost until a day?

    Parameters
    ----------
    book
        As from :func:`ledger`.
    as_of
        What was known before this day.
    lags
        As from :func:`return_lags`, which is asked for it if None.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `gross`, `cost`, `returned`, `service`, `matured`: the sales whose returns are there by now.
    """
    lags = return_lags(book, as_of) if lags is None else lags
    seen = book.filter(book["known_on"] < ibis.date(as_of.isoformat()))
    if (lags >= 1).all():
        seen = seen.mutate(share=ibis.literal(1.0))
    else:
        week = (ibis.date(as_of.isoformat()).delta(seen["day"], unit="day") // DAYS_PER_WEEK).cast("int64")
        table = ibis.memtable(pd.DataFrame({"week": np.arange(len(lags)), "share": lags}))
        seen = seen.mutate(week=week).left_join(table, "week")
        seen = seen.mutate(share=seen["share"].fill_null(1.0))
    told = seen.group_by(*key(seen)).agg(
        gross=total(seen["amount"]),
        cost=total(seen["cost"]),
        returned=total(seen["returned"]),
        service=total(seen["service"]),
        matured=total(seen["amount"] * seen["share"]),
    )
    return named(told)


def with_net(summary: ir.Table, told: ir.Table, every: pd.Series | None = None) -> ir.Table:
    """What share of what each customer buys is left, and what does serving them cost?

    A customer's own shares of returns and of cost are drawn towards everybody's with the weight of three orders; so is
    what service costs an order. Returns are measured against sales old enough to have had them: a fresh order does not
    make its customer look better than they are.

    Parameters
    ----------
    summary
        As from :func:`clientbook.value.summarise`.
    told
        As from :func:`sums`.
    every
        As from :func:`shares_of_all`: everybody's, where these customers are a few of them; None takes these.

    Returns
    -------
    ibis.expr.types.Table
        The summary with `returned`, `cost`, `service` (amounts), `net_rate` and `service_per_order`.
    """
    joined = _with_sums(summary, told).cache()
    kept, earned, served = _shares(joined, _of_all(joined) if every is None else every)
    # who sends back more than they buy costs no goods on what they keep
    net = ibis.ifelse(kept > 0, kept * earned, kept)
    return joined.mutate(net_rate=net, service_per_order=served)


def shares_of_all(summary: ir.Table, told: ir.Table) -> pd.Series:
    """What did all of them buy, keep and cost: that towards which a customer's own shares are drawn?

    Parameters
    ----------
    summary, told
        As for :func:`with_net`.
    """
    return _of_all(_with_sums(summary, told))


def _with_sums(summary: ir.Table, told: ir.Table) -> ir.Table:
    some = told.select("customer_id", "cost", "returned", "service", "matured")
    joined = summary.left_join(some, "customer_id").drop("customer_id_right")
    return joined.mutate(**{name: joined[name].fill_null(0.0) for name in _NET_OF})


def _of_all(joined: ir.Table) -> pd.Series:
    every = joined.aggregate(**{name: total(joined[name]) for name in (*_NET_OF, "gross")}, purchases=joined["purchases"].sum())
    return every.to_pandas().fillna(0.0).iloc[0]


def with_net_of(known: pd.DataFrame) -> pd.DataFrame:
    """The same for a frame that has `cost`, `returned`, `service` and `matured` already."""
    kept, earned, served = _shares(known, known[[*_NET_OF, "gross", "purchases"]].sum())
    return known.assign(net_rate=np.where(kept > 0, kept * earned, kept), service_per_order=served)


def _shares(rows: Any, every: pd.Series) -> tuple[Any, Any, Any]:
    """What share of what each customer buys is kept, and is earned of that, and what service costs an order."""
    orders = max(float(every["purchases"]), 1.0)
    prior = SHRINKAGE_ORDERS * float(every["gross"]) / orders
    if not every["gross"] or not every["matured"]:
        return rows["gross"] * 0.0 + 1.0, rows["gross"] * 0.0 + 1.0, rows["gross"] * 0.0
    kept = 1 - (rows["returned"] + prior * float(every["returned"] / every["matured"])) / (rows["matured"] + prior)
    earned = 1 - (rows["cost"] + prior * float(every["cost"] / every["gross"])) / (rows["gross"] + prior)
    usual = SHRINKAGE_ORDERS * float(every["service"]) / orders
    return kept, earned, (rows["service"] + usual) / (rows["purchases"] + SHRINKAGE_ORDERS)


def net_rates(
    summary: ir.Table,
    orders: ir.Table,
    returns: ir.Table | None,
    identities: ir.Table | None = None,
    products: ir.Table | None = None,
    cases: ir.Table | None = None,
    as_of: dt.date | None = None,
    zone: str = "UTC",
) -> ir.Table:
    """What share of what they buy is left after returns and the cost of goods?

    Parameters
    ----------
    summary
        As from :func:`clientbook.value.summarise`.
    orders, returns, identities, products, cases
        Clean tables; all but the first may be None.
    as_of
        What was known before this day; None means everything.
    zone
        The book's, whose days are meant.

    Returns
    -------
    ibis.expr.types.Table
        As from :func:`with_net`.
    """
    book = ledger(orders, returns, identities, products, cases, zone)
    return with_net(summary, sums(book, as_of or dt.date(9999, 1, 1)))


def _cost_rates(orders: ir.Table, products: ir.Table | None) -> ir.Table | None:
    """The share of each product's price that its topic's goods cost; None where no cost is known."""
    if products is None or not products["unit_cost"].notnull().any().to_pandas():
        return None
    known = products.select(
        product_source=products["source"],
        product_id=products["product_id"],
        _topic=products["topic"].fill_null(""),
        _unit_cost=products["unit_cost"],
    )
    bought = orders.filter((orders["quantity"] > 0) & (orders["amount"] >= 0))
    lines = bought.inner_join(known.filter(known["_unit_cost"].notnull()), ["product_source", "product_id"])
    rates = lines.group_by("_topic").agg(rate=total(lines["quantity"] * lines["_unit_cost"]) / total(lines["amount"]).nullif(0))
    joined = known.inner_join(rates, "_topic")
    # an id that stands twice in a register shall not double its sales
    return joined.group_by("product_source", "product_id").agg(rate=joined["rate"].max())


def _returned(
    returns: ir.Table, known: ir.Table, identities: ir.Table | None, whose: tuple[str, ...], zone: str
) -> ir.Table:
    """Returns with whose they are (their own person, else the order's), the day of the order, and their own day."""
    day = parsing.local(returns["returned_at"], zone).date() if "returned_at" in returns.columns else ibis.null("date")
    some = returns.mutate(_day=day).select(
        "order_source", order_id=returns["order_id"].cast("string"), person_source=returns["person_source"],
        person_id=returns["person_id"], amount=returns["amount"], _day=ibis._._day,
    )  # fmt: skip
    placed = known.filter(known["order_id"].notnull())
    buyer = placed.group_by("order_source", "order_id").agg(
        **{f"_{name}": placed[name].argmin(placed["arrival"]) for name in whose}, _ordered=placed["ordered_on"].min()
    )
    if identities is not None:
        own = some.filter(some["person_id"].notnull())
        orphans = some.filter(some["person_id"].isnull()).mutate(customer_id=ibis.null("string"))
        own = with_customer(own, identities)
        some = own.select(*orphans.columns).union(orphans)
    joined = some.left_join(buyer, ["order_source", "order_id"])
    found = {name: ibis.coalesce(joined[name], joined[f"_{name}"]) for name in whose}
    long_ago = ibis.date(_LONG_AGO.isoformat())
    told = joined.select(
        **found,
        amount=joined["amount"].fill_null(0.0),
        day=ibis.coalesce(joined["_ordered"], joined["_day"], long_ago),
        known_on=ibis.coalesce(joined["_day"], joined["_ordered"], long_ago),
    )
    return told.filter(told[whose[-1]].notnull())
