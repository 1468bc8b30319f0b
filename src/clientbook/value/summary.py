"""How often, until when, since when and for how much did each customer buy?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.customers import with_customer
from clientbook.exact import total


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
    return bought.group_by(*key(known), day=bought["ordered_on"]).agg(amount=total(bought["amount"]))


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
    each = seen.group_by(*key(seen)).agg(
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


def compress(summary: ir.Table | pd.DataFrame) -> pd.DataFrame:
    """Which purchase histories are there, and how many customers have each?

    Parameters
    ----------
    summary
        As from :func:`summarise`, or a frame of it.

    Returns
    -------
    pandas.DataFrame
        `frequency`, `recency`, `T` (days), `customers`; sorted, each history once.
    """
    if isinstance(summary, pd.DataFrame):
        return summary.groupby(["frequency", "recency", "T"]).size().rename("customers").reset_index()
    counted = summary.group_by("frequency", "recency", "T").agg(customers=summary.count())
    return counted.order_by("frequency", "recency", "T").to_pandas()


def key(rows: ir.Table) -> tuple[str, ...]:
    """The columns that say whose a row is: the customer, or the person record where nothing was matched."""
    return ("customer_id",) if "customer_id" in rows.columns else ("person_source", "person_id")


def named(rows: ir.Table) -> ir.Table:
    """Rows, one a customer, with their `customer_id` and without the ids that it was made from."""
    if "customer_id" in rows.columns:
        return rows
    return with_customer(rows, None).drop("person_source", "person_id")


def in_one_currency(orders: ir.Table, currency: str) -> tuple[ir.Table, pd.DataFrame]:
    """Which order lines can be added up?

    Amounts in several currencies cannot, and no rate is known here: lines whose code is another than the book's are
    left out, and said. Where no line has the book's code, the commonest is taken for it; a sign such as € is no code.

    Parameters
    ----------
    orders
        Clean orders.
    currency
        The book's, three capitals.

    Returns
    -------
    orders : ibis.expr.types.Table
        Those in one currency, or in none.
    foreign : pandas.DataFrame
        `currency`, `lines`: what was left out.
    """
    nothing = pd.DataFrame({"currency": pd.Series(dtype=str), "lines": pd.Series(dtype="int64")})
    if "currency" not in orders.columns:
        return orders, nothing
    code = _code(orders)
    coded = orders.mutate(_code=code).filter(code.re_search("^[A-Z]{3}$").fill_null(False))
    counted = coded.group_by(currency=coded["_code"]).agg(lines=coded.count())
    found = counted.order_by(ibis.desc("lines"), "currency").to_pandas()
    if len(found) < 2:
        return orders, nothing
    own = currency if (found["currency"] == currency).any() else found["currency"].iloc[0]
    others = found[found["currency"] != own].reset_index(drop=True)
    return without(orders, others), others


def without(orders: ir.Table, foreign: pd.DataFrame) -> ir.Table:
    """Order lines without those in some currencies.

    Parameters
    ----------
    orders
        Clean orders.
    foreign
        As from :func:`in_one_currency`, of the same orders wherever they were read.
    """
    if foreign.empty:
        return orders
    return orders.filter(~_code(orders).isin(foreign["currency"].tolist()).fill_null(False))


def _code(orders: ir.Table) -> ir.StringColumn:
    return orders["currency"].cast("string").strip().upper()
