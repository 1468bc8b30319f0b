"""What had a customer done by a day, and what did they bring afterwards?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.exact import total

YEAR = 365
# Customers who bought on so many days in a year behave alike enough.
LEVELS = (1, 2, 3, 5, 9)
# Who has not been seen for longer than others may be gone: so many days since the last purchase, at least.
LAPSES = (0, 91, 182)
# Few customers say as much as so many who are like all of their level.
_LIKE_LEVEL = 4.0


def order_lines(
    orders: ir.Table,
    returns: ir.Table | None,
    products: ir.Table | None,
    identities: ir.Table | None,
    zone: str = "UTC",
) -> ir.Table:
    """When did each customer pay or get back how much margin?

    Parameters
    ----------
    orders, returns, products, identities
        Clean tables, and who is who; all but the orders may be None. Without the costs of products the margin is what
        was paid, net of returns.
    zone
        The book's, whose days are meant.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `source` (that delivered the order), `day` of the order, `at` (its time), `margin`, `amount`, and
        `returned_on`: the day on which the line, a negative one, came back; null for a purchase.
    """
    known = with_customer(orders, identities)
    bought = known.filter((known["quantity"] > 0) & (known["amount"].isnull() | (known["amount"] >= 0)))
    bought = _with_cost(bought.mutate(amount=bought["amount"].fill_null(0.0)), products)
    lines = bought.select(
        "customer_id", "source", day="ordered_on", at="ordered_at", amount="amount",
        margin=(bought["amount"] - bought["cost"]), returned_on=ibis.null("date"),
    )  # fmt: skip
    if returns is None:
        return lines
    # a return belongs to its order: to whoever placed it, and to the day on which they did
    placed = bought.group_by("order_source", "order_id").agg(
        customer_id=bought["customer_id"].argmin(bought["arrival"]),
        placed_in=bought["source"].argmin(bought["arrival"]),
        day=bought["ordered_on"].min(),
        at=bought["ordered_at"].min(),
    )
    placed = placed.filter(placed["order_id"].notnull())
    back = _with_cost(returns.mutate(amount=returns["amount"].fill_null(0.0)), products)
    back = back.inner_join(placed, ["order_source", "order_id"])
    return lines.union(
        back.select(
            "customer_id", source="placed_in", day="day", at="at", amount=-back["amount"],
            margin=(back["cost"] - back["amount"]), returned_on=parsing.local(back["returned_at"], zone).date(),
        )
    )  # fmt: skip


def _with_cost(rows: ir.Table, products: ir.Table | None) -> ir.Table:
    if products is None:
        return rows.mutate(cost=ibis.literal(0.0))
    costs = products.group_by(product_source="source", product_id="product_id").agg(unit_cost=products["unit_cost"].max())
    joined = rows.left_join(costs, ["product_source", "product_id"])
    names = list(rows.columns)
    return joined.select(*names, cost=(joined["unit_cost"] * joined["quantity"]).fill_null(0.0))


def around(lines: ir.Table, asked: ir.Table, days: int) -> pd.DataFrame:
    """What had each customer done in the year before a day, as far as it was known then, and what came after?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    asked
        `key` (one a row), `customer_id`, `on` (a date): what happened on this day and later is not known. Further
        columns are passed on.
    days
        So many days from `on` are the time after.

    Returns
    -------
    pandas.DataFrame
        The columns of `asked`, and for each source that delivered something a row: `source`, `purchases` (days with one,
        in the year before), `gross`, `spend` (net of what had come back), `earned` (margin), `last` and `first` (days of a
        purchase before), and of the time after `margin`, `orders` (days with one) and `next` (the first of them). A key
        without any line has one row with an empty source and zeros. By key and source.
    """
    first_source = [name for name in asked.columns if name not in ("key", "customer_id", "on")]
    dated = asked.select("key", "customer_id", "on")
    rows = dated.inner_join(lines, "customer_id")
    bought = rows["returned_on"].isnull()
    known = bought | (rows["returned_on"] < rows["on"])
    before = (rows["day"] < rows["on"]) & (rows["day"] >= rows["on"] - ibis.interval(days=YEAR)) & known
    after = (rows["day"] >= rows["on"]) & (rows["day"] < rows["on"] + ibis.interval(days=days))
    each = rows.group_by("key", "source").agg(
        purchases=rows["day"].nunique(where=before & bought),
        gross=total(rows["amount"], before & bought),
        spend=total(rows["amount"], before),
        earned=total(rows["margin"], before),
        last=rows["day"].max(where=bought & (rows["day"] < rows["on"])),
        first=rows["day"].min(where=bought),
        margin=total(rows["margin"], after),
        orders=rows["day"].nunique(where=after & bought),
        next=rows["day"].min(where=after & bought),
    )
    told = asked.select("key", "customer_id", "on", *first_source).left_join(each, "key").drop("key_right")
    frame = told.order_by("key", "source").to_pandas()
    zeros = ["purchases", "gross", "spend", "earned", "margin", "orders"]
    return frame.assign(**{name: frame[name].fillna(0.0) for name in zeros})


def summed(rows: pd.DataFrame, without: str | None = None) -> pd.DataFrame:
    """One row a key: over all sources, or as if one of them were not there.

    Parameters
    ----------
    rows
        As from :func:`around`.
    without
        A source whose past is not known; what came after is what came, whoever delivered it.

    Returns
    -------
    pandas.DataFrame
        By key.
    """
    past = {"purchases": "sum", "gross": "sum", "spend": "sum", "earned": "sum", "last": "max"}
    later = {"first": "min", "margin": "sum", "orders": "sum", "next": "min"}
    more = [name for name in rows.columns if name not in {*past, *later, "key", "source"}]
    each = rows.groupby("key", sort=True).agg({**dict.fromkeys(more, "first"), **past, **later})
    if without is not None:
        kept = rows[rows["source"] != without].groupby("key").agg(past).reindex(each.index)
        each[list(past)] = kept.assign(**{n: kept[n].fillna(0.0) for n in past if n != "last"})
    return each.reset_index()


def active_rates(lines: ir.Table, origin: dt.date, days: int) -> pd.Series:
    """How many of those with so many purchases in a year, the last so long ago, buy again in the days after?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    origin, days
        Nothing on or after the origin is used: the rates are those of as many days before it.

    Returns
    -------
    pandas.Series
        The rate, by the least number of purchases of a level and the least days since the last.
    """
    end, middle = date(origin), date(origin - dt.timedelta(days=days))
    start = date(origin - dt.timedelta(days=days + YEAR))
    bought = lines.filter(lines["returned_on"].isnull() & (lines["day"] >= start) & (lines["day"] < end))
    before = bought["day"] < middle
    each = bought.group_by("customer_id").agg(
        purchases=bought["day"].nunique(where=before), last=bought["day"].max(where=before), again=(~before).any()
    )
    each = each.filter(each["purchases"] > 0)
    each = each.mutate(lapsed=middle.delta(each["last"], unit="day"))
    counted = each.group_by("purchases", "lapsed").agg(n=each.count(), again=each["again"].sum()).to_pandas()
    counted["level"], counted["lapse"] = level(counted["purchases"]), lapse(counted["lapsed"])
    sums = counted.groupby("level")[["n", "again"]].sum()
    # two imagined customers, one of whom comes back, keep a small level from saying all or none
    usual = (sums["again"] + 1) / (sums["n"] + 2)
    sums = counted.groupby(["level", "lapse"])[["n", "again"]].sum()
    cells = pd.MultiIndex.from_product([usual.index, LAPSES], names=["level", "lapse"])
    sums = sums.reindex(cells, fill_value=0).astype(float)
    return (sums["again"] + _LIKE_LEVEL * usual.reindex(cells.get_level_values(0)).to_numpy()) / (sums["n"] + _LIKE_LEVEL)


def lapse(days: pd.Series | np.ndarray) -> np.ndarray:
    """To which of `LAPSES` do so many days since the last purchase belong?

    Parameters
    ----------
    days
        Not known means long ago.
    """
    told = np.nan_to_num(np.asarray(days, float), nan=np.inf)
    return np.asarray(LAPSES)[np.searchsorted(LAPSES, np.maximum(told, 0), side="right") - 1]


def level(purchases: pd.Series | np.ndarray) -> np.ndarray:
    """To which level of `LEVELS` do so many purchases in a year belong?

    Parameters
    ----------
    purchases
        Counts; less than one counts as one.
    """
    return np.asarray(LEVELS)[np.searchsorted(LEVELS, np.maximum(np.asarray(purchases, float), 1), side="right") - 1]


def foreseen(rows: pd.DataFrame, rates: pd.Series, days: int, earned: str = "earned") -> np.ndarray:
    """What will each customer bring in the days ahead, by what they brought in the year before?

    As much a day as in that year, times the share of customers like them who buy again.

    Parameters
    ----------
    rows
        As from :func:`summed`.
    rates
        As from :func:`active_rates`.
    days
        How far ahead.
    earned
        The column with what the year brought.
    """
    lapsed = (pd.to_datetime(rows["on"]) - pd.to_datetime(rows["last"])).dt.days
    cells = pd.MultiIndex.from_arrays([level(rows["purchases"]), lapse(lapsed)])
    rate = rates.reindex(cells).fillna(rates.mean() if len(rates) else 1.0)
    return (rows[earned].to_numpy(float) * rate.to_numpy(float) * days / YEAR).round(6)


def best(score: np.ndarray, tie: np.ndarray, share: float, within: np.ndarray | None = None) -> np.ndarray:
    """Who is chosen, if there is enough for a share of them?

    Parameters
    ----------
    score
        The highest are chosen.
    tie
        Of equals the lowest.
    share
        Of the rows, or of those of each group.
    within
        Groups that are chosen from separately; None means one.

    Returns
    -------
    numpy.ndarray of bool
    """
    within = np.zeros(len(score), int) if within is None else np.asarray(within)
    order = np.lexsort((tie, -np.asarray(score, float), within))
    groups = within[order]
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.array([], int)
    sizes = np.diff(np.r_[starts, len(groups)])
    place = np.arange(len(groups)) - np.repeat(starts, sizes)
    chosen = np.zeros(len(score), bool)
    chosen[order] = place < np.repeat((sizes * share + 1e-9).astype(int), sizes)
    return chosen


def date(day: dt.date) -> ir.DateScalar:
    """A day as an expression.

    Parameters
    ----------
    day
        Such as a run's.
    """
    return ibis.date(day.isoformat())
