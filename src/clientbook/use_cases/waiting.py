"""Who is served when there is not enough, and who is called when a delivery is late?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.stage import NothingToShow
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found, bounds, by_group, resampled
from clientbook.use_cases.history import (
    YEAR,
    around,
    best,
    date,
    foreseen,
    summed,
)
from clientbook.use_cases.losses import Loss, cell

FEWEST = 30
FIRST_COME, BY_SPEND, BY_VALUE = "first come, first served", "by spend of the last year", "by value at risk"
ONE_SYSTEM, FORESIGHT = "by value at risk, as one system sees it", "knowing the future"


def queue(lines: ir.Table, origin: dt.date, window_days: int, days: int) -> pd.DataFrame:
    """Who waits for a unit, in which order did they come, what had they done, and what did they bring afterwards?

    Parameters
    ----------
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    origin
        The day of the decision.
    window_days
        Whoever ordered in so many days before it waits.
    days
        The time after.

    Returns
    -------
    pandas.DataFrame
        As from :func:`clientbook.use_cases.history.around`, with `at` and `placed_in` (the source) of their first order.
    """
    start = date(origin - dt.timedelta(days=window_days))
    recent = lines.filter(lines["returned_on"].isnull() & (lines["day"] >= start) & (lines["day"] < date(origin)))
    waiting = recent.group_by("customer_id").agg(at=recent["at"].min(), placed_in=recent["source"].argmin(recent["at"]))
    asked = waiting.mutate(key=waiting["customer_id"], on=date(origin))
    return around(lines, asked, days)


def serve(rows: pd.DataFrame, rates: pd.Series, seen: Loss, *, stock_share: float, days: int, without: str | None = None):
    """Whom does each policy serve, by what was known on the day?

    Parameters
    ----------
    rows
        As from :func:`queue`.
    rates
        As from :func:`clientbook.use_cases.history.active_rates`.
    seen
        What waiting costs, as far as was known.
    stock_share
        Share of them for whom there is a unit.
    days
        For which margin is foreseen.
    without
        A source whose past is not known.

    Returns
    -------
    pandas.DataFrame
        A row a customer, with a column a policy; of equals the first come is served.
    """
    told = summed(rows, without)
    own = rows.assign(**{n: rows[n].where(rows["source"] == rows["placed_in"], 0.0) for n in ("purchases", "earned", "gross")})
    alone = summed(own, without)
    told["came"] = np.lexsort((told["key"], told["at"])).argsort()
    told["at_risk"] = foreseen(told, rates, days) * seen.share(cell(told["purchases"], told["gross"]))
    told["at_risk_alone"] = foreseen(alone, rates, days) * seen.share(cell(alone["purchases"], alone["gross"]))
    came = told["came"].to_numpy()
    scores = {
        FIRST_COME: -came, BY_SPEND: told["spend"], BY_VALUE: told["at_risk"], ONE_SYSTEM: told["at_risk_alone"],
        FORESIGHT: told["margin"] * seen.share(cell(told["purchases"], told["gross"])),
    }  # fmt: skip
    return told.assign(**{name: best(np.asarray(score), came, stock_share) for name, score in scores.items()})


def compared(
    served: pd.DataFrame, loss: Loss, usual: str, new: str, *, draws: int, interval: float, seed: int
) -> tuple[float, float, float]:
    """What does one way of serving bring beyond another, and between what bounds?

    Parameters
    ----------
    served
        As from :func:`serve`.
    loss
        What waiting costs, as far as is known today.
    usual, new
        The policies.
    draws, interval, seed
        Of the bounds: other customers might have waited, and the loss might be another.

    Returns
    -------
    gain, low, high : float
    """
    cells = cell(served["purchases"], served["gross"])
    differ = (served[new].astype(float) - served[usual].astype(float)).to_numpy() * served["margin"].to_numpy(float)
    gain = float((differ * loss.share(cells)).sum())
    generator = np.random.default_rng(seed)
    groups = np.unique(cells)
    sums = resampled(by_group(differ, cells, groups), draws, generator)
    lost = loss.share(groups, loss.drawn(draws, generator))
    return gain, *bounds((sums * lost).sum(axis=1), interval)


def earned(served: pd.DataFrame, loss: Loss, policy: str) -> float:
    """What do the customers bring, if those who are not served lose a share of their further purchases?

    Parameters
    ----------
    served
        As from :func:`serve`.
    loss
        That share.
    policy
        Who is served.
    """
    kept = np.where(served[policy], 1.0, 1.0 - loss.share(cell(served["purchases"], served["gross"])))
    return float((served["margin"] * kept).sum())


def scarce(
    rows: pd.DataFrame, rates: pd.Series, losses: tuple[Loss, Loss], origin: dt.date, p, without: str | None = None
) -> tuple[Found, Found]:
    """Had stock been scarce, what would serving by value have brought, and what of that the one customer view?

    Parameters
    ----------
    rows, rates
        As from :func:`queue` and :func:`clientbook.use_cases.history.active_rates`.
    losses
        What waiting costs, as known on the day of the decision, and as known today.
    origin
        The day of the decision.
    p
        The parameters.
    without
        A source whose past is not known.

    Returns
    -------
    by_value, one_view : Found

    Raises
    ------
    NothingToShow
        If too few customers ordered in the days before the decision.
    """
    seen, loss = losses
    n = rows["key"].nunique()
    if n < FEWEST:
        raise NothingToShow(
            f"{n:,} customers ordered in the {p.window_days} days before {origin:%Y-%m-%d}; it takes {FEWEST} to compare "
            "two ways of serving them."
        )
    served = serve(rows, rates, seen, stock_share=p.stock_share, days=p.holdout_days, without=without)
    by = dict(draws=p.draws, interval=p.interval, seed=p.seed)
    names = (FIRST_COME, BY_SPEND, ONE_SYSTEM, BY_VALUE, FORESIGHT) if without is None else ()
    told = [(name, *compared(served, loss, FIRST_COME, name, **by)) for name in names]
    policies = pd.DataFrame(told, columns=["policy", "extra", "low", "high"])
    scene = (
        f"backtest from {origin:%Y-%m-%d} over {p.holdout_days} days; stock for {p.stock_share:.0%} of those who ordered "
        f"in the {p.window_days} days before; {say_loss(loss, served)}"
    )
    found = []
    for case, usual in ((catalogue.STOCK, FIRST_COME), (catalogue.VIEW, ONE_SYSTEM)):
        gain, low, high = compared(served, loss, usual, BY_VALUE, **by)
        base = earned(served, loss, usual)
        differ = (served[BY_VALUE].astype(float) - served[usual].astype(float)) * served["margin"]
        recent = pd.to_datetime(served["first"]) >= pd.Timestamp(origin - dt.timedelta(days=YEAR))
        new = float((differ * loss.share(cell(served["purchases"], served["gross"])))[recent].sum())
        found.append(Found(case, base, base + gain, low, high, n, p.holdout_days, scene, new, policies, served))
    return found[0], found[1]


def say_loss(loss: Loss, rows: pd.DataFrame) -> str:
    """What is said to be lost by waiting, and from where that is known?

    Parameters
    ----------
    loss
        The one that is used.
    rows
        Those who wait, with `purchases` and `gross`.
    """
    share = float(loss.share(cell(rows["purchases"], rows["gross"])).mean())
    if loss.measured:
        return (
            f"who waits buys {share:.0%} less afterwards, who comes seldom or for little more than others; measured on "
            f"{loss.late:,} late orders beside {loss.punctual:,} punctual ones"
        )
    return f"assumed, not measured: who waits loses {share:.0%} of their further purchases"


def late_orders(
    lines: ir.Table, orders: ir.Table, deliveries: ir.Table, identities: ir.Table | None, as_of: dt.date, p, zone: str
) -> pd.DataFrame:
    """Whose order had not come on the day after it was promised, what had they done, and what did they bring afterwards?

    Parameters
    ----------
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    orders, deliveries, identities
        Clean tables; the last may be None.
    as_of
        The day of the run: the calls were due in as many days as are held out, before those.
    p
        The parameters.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        As from :func:`clientbook.use_cases.history.around`, with `promised_at`; the key is customer and week, for somebody
        is called once a week.
    """
    end = as_of - dt.timedelta(days=p.holdout_days)
    start = end - dt.timedelta(days=p.holdout_days)
    each = deliveries.filter(deliveries["promised_at"].notnull()).group_by("order_source", "order_id")
    each = each.agg(
        promised_at=deliveries["promised_at"].min(),
        delivered_at=deliveries["delivered_at"].fill_null(ibis.timestamp("9999-01-01 00:00:00")).max(),
    )
    each = each.mutate(on=parsing.local(each["promised_at"], zone).date() + ibis.interval(days=1))
    late = each.filter((each["on"] >= date(start)) & (each["on"] < date(end)))
    late = late.filter(parsing.local(late["delivered_at"], zone).date() >= late["on"])
    known = with_customer(orders.filter(orders["order_id"].notnull()), identities)
    placed = known.group_by("order_source", "order_id").agg(customer_id=known["customer_id"].argmin(known["arrival"]))
    waiting = late.inner_join(placed, ["order_source", "order_id"])
    waiting = waiting.mutate(week=(waiting["on"].delta(date(start), unit="day") / 7).floor().cast("int64"))
    once = waiting.group_by("customer_id", "week").agg(on=waiting["on"].min(), promised_at=waiting["promised_at"].min())
    key = once["customer_id"].concat(" ", once["week"].cast("string"))
    return around(lines, once.mutate(key=key), p.holdout_days)


def recover(
    rows: pd.DataFrame, rates: pd.Series, losses: tuple[Loss, Loss], as_of: dt.date, p, without: str | None = None
) -> Found:
    """With calls for some of those who wait, what would calling by value have brought beyond calling who waits longest?

    Parameters
    ----------
    rows
        As from :func:`late_orders`.
    rates
        As from :func:`clientbook.use_cases.history.active_rates`, of the day before the first call.
    losses
        What waiting costs, as known on that day, and as known today.
    as_of
        The day of the run.
    p
        The parameters.
    without
        A source whose past is not known.

    Raises
    ------
    NothingToShow
        If too few orders were late.
    """
    if rows["key"].nunique() < FEWEST:
        raise NothingToShow(f"{rows['key'].nunique():,} orders were late in the time looked at; it takes {FEWEST}.")
    seen, loss = losses
    told = summed(rows, without)
    cells = cell(told["purchases"], told["gross"])
    came = np.lexsort((told["key"], told["promised_at"])).argsort()
    value = foreseen(told, rates, p.holdout_days) * seen.share(cells)
    week = told["week"].to_numpy()
    told["usual"], told["new"] = best(-came, came, p.call_share, week), best(value, came, p.call_share, week)
    lost = loss.share(cells)
    # what came after is what those brought who stayed in spite of it: those who left would have brought as much
    each = told["margin"].to_numpy(float) * p.saved_by_call
    saved = each * lost / (1 - lost)
    differ = told["new"].astype(float).to_numpy() - told["usual"].astype(float).to_numpy()
    generator = np.random.default_rng(p.seed)
    groups = np.unique(cells)
    sums = resampled(by_group(differ * each, cells, groups), p.draws, generator)
    drawn = loss.share(groups, loss.drawn(p.draws, generator))
    low, high = bounds((sums * drawn / (1 - drawn)).sum(axis=1), p.interval)
    recent = pd.to_datetime(told["first"]) >= pd.to_datetime(told["on"]) - pd.Timedelta(days=YEAR)
    end = as_of - dt.timedelta(days=p.holdout_days)
    method = (
        f"backtest of calls in the {p.holdout_days} days before {end:%Y-%m-%d}, each over the {p.holdout_days} days after "
        f"it; {p.call_share:.0%} of those late in a week are called the day after the promise; {say_loss(loss, told)}; "
        f"assumed: a call on that day undoes {p.saved_by_call:.0%} of it; both ways make as many calls"
    )
    base, new = float((saved * told["usual"]).sum()), float((saved * told["new"]).sum())
    policies = pd.DataFrame(
        [("who waits longest", 0.0, 0.0, 0.0), (BY_VALUE, new - base, low, high)], columns=["policy", "extra", "low", "high"]
    )
    return Found(
        catalogue.LATE, base, new, low, high, len(told), p.holdout_days, method,
        float((saved * differ)[recent].sum()), policies, told,
    )  # fmt: skip
