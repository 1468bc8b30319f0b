"""Whom is it worth to write to again: those with the largest revenue, or those who leave most?"""

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
from clientbook.use_cases.found import Found, bounds, resampled
from clientbook.use_cases.history import YEAR, around, best, foreseen, summed

TREATED, CONTROL = ("_treated", "_treatment"), ("_control", "_holdout")
ANSWER_DAYS, RECENT_DAYS = 30, 180
FEWEST = 200
BY_REVENUE, BY_NET = "by revenue of the last year", "by net value"
# A customer's own margin counts for as much as that of so many orders of everybody.
_PRIOR_ORDERS = 3.0


def trial(lines: ir.Table, events: ir.Table, identities: ir.Table | None, as_of: dt.date, zone: str) -> pd.DataFrame:
    """Who took part in the last mailing that was sent to some by lot, what had they done, and what did they do then?

    Arms are events whose names end in `_treated` (or `_treatment`) and `_control` (or `_holdout`).

    Parameters
    ----------
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    events, identities
        Clean tables; the latter may be None.
    as_of
        The day of the run.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        As from :func:`clientbook.use_cases.history.around`, with `treated` and `in_source` (that delivered the arms).

    Raises
    ------
    NothingToShow
        If the book has no such mailing, or its month is not over.
    """
    name = events["event_name"]
    is_treated = ibis.or_(*[name.endswith(end) for end in TREATED])
    is_arm = is_treated | ibis.or_(*[name.endswith(end) for end in CONTROL])
    arms = with_customer(events.filter(is_arm).mutate(treated=is_treated), identities)
    arms = arms.mutate(
        mailing=arms["event_name"].re_replace("_(treated|treatment|control|holdout)$", ""),
        on=parsing.local(arms["occurred_at"], zone).date(),
    )
    each = arms.group_by("mailing", "customer_id").agg(
        on=arms["on"].min(),
        treated=arms["treated"].any(),
        both=arms["treated"].nunique() > 1,
        in_source=arms["source"].min(),
    )
    latest = ibis.date((as_of - dt.timedelta(days=ANSWER_DAYS)).isoformat())
    over = each.filter((each["on"] <= latest) & ~each["both"])
    counts = over.group_by("mailing").agg(n=over.count(), on=over["on"].max(), arms=over["treated"].nunique()).to_pandas()
    counts = counts[(counts["n"] >= FEWEST) & (counts["arms"] == 2)].sort_values(["on", "mailing"])
    if counts.empty:
        raise NothingToShow(
            f"There is no mailing that was sent to some by lot and kept from others, over {FEWEST} customers and "
            f"{ANSWER_DAYS} days old: events …_treated and …_control would tell what writing adds."
        )
    last = counts.iloc[-1]
    chosen = over.filter(over["mailing"] == last["mailing"]).mutate(key=over["customer_id"])
    asked = chosen.select("key", "customer_id", "on", "treated", "in_source")
    return around(lines, asked, max((as_of - pd.Timestamp(last["on"]).date()).days, ANSWER_DAYS))


def retarget(rows: pd.DataFrame, rates: pd.Series, p, without: str | None = None) -> Found:
    """What would writing to those of the highest net value have brought, beyond those of the highest revenue?

    Parameters
    ----------
    rows
        As from :func:`trial`.
    rates
        As from :func:`clientbook.use_cases.history.active_rates`, of the day of the mailing.
    p
        The parameters.
    without
        A source whose past is not known.
    """
    told = summed(rows, without)
    on = pd.to_datetime(told["on"])
    soon = (pd.to_datetime(told["next"]) - on).dt.days
    ordered = (soon <= ANSWER_DAYS).fillna(False).to_numpy(float)
    recent = ((on - pd.to_datetime(told["last"])).dt.days <= RECENT_DAYS).fillna(False).to_numpy()
    tie = told["key"].rank(method="first").to_numpy()
    everybody = told["earned"].sum() / max(told["purchases"].sum(), 1)
    own = (told["earned"] + _PRIOR_ORDERS * everybody) / (told["purchases"] + _PRIOR_ORDERS)
    rate = foreseen(told.assign(one=1.0), rates, YEAR, "one")
    told["usual"] = best(told["gross"].to_numpy(), tie, p.contact_share)
    told["new"] = best((own * rate).to_numpy(), tie, p.contact_share)
    # what an order leaves is judged by those that came afterwards, not by those that the customers were chosen for
    later = (told["margin"] / told["orders"].where(told["orders"] > 0)).to_numpy(float)
    cell = told["new"].astype(int) * 2 + told["usual"].astype(int)
    each = pd.Series(later).fillna(pd.Series(later).groupby(cell.to_numpy()).transform("mean")).fillna(everybody).to_numpy()
    treated = told["treated"].to_numpy(bool)
    some, none = (told[name].to_numpy(float) for name in ("new", "usual"))
    columns, groups, came = [], (recent, ~recent), ordered > 0
    for group in groups:
        columns += [group & treated, group & treated & came, group & ~treated, group & ~treated & came]
        columns += [group * some * each, group * none * each]
    columns = np.column_stack([np.asarray(column, float) for column in columns])
    base, new = _worth(columns.sum(axis=0)[None, :])
    drawn = resampled(columns, p.draws, np.random.default_rng(p.seed))
    usual, other = _worth(drawn)
    low, high = bounds(other - usual, p.interval)
    share = ((pd.to_datetime(told["first"]) >= on - pd.Timedelta(days=YEAR)) * (some - none) * each).sum()
    all_of_it = ((some - none) * each).sum()
    uplift = (ordered[treated].mean() - ordered[~treated].mean()) if len(told) else 0.0
    method = (
        f"a mailing of {on.iloc[0]:%Y-%m-%d} that was sent to some of {len(told):,} by lot: it brought {uplift:.1%} of those "
        f"written to to a further order within {ANSWER_DAYS} days; {p.contact_share:.0%} are written to; what an order leaves "
        "is taken from the orders that came afterwards; both ways write as many"
    )
    policies = pd.DataFrame(
        [(BY_REVENUE, 0.0, 0.0, 0.0), (BY_NET, new[0] - base[0], low, high)], columns=["policy", "extra", "low", "high"]
    )
    part = float((new[0] - base[0]) * share / all_of_it) if all_of_it else 0.0
    return Found(
        catalogue.RETARGET, float(base[0]), float(new[0]), low, high, len(told), ANSWER_DAYS, method, part, policies, told
    )


def _worth(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What those chosen bring because they are written to, as usual and by net value; of each row of sums."""
    usual, new = np.zeros(len(sums)), np.zeros(len(sums))
    for start in (0, 6):
        n1, y1, n0, y0, some, none = sums[:, start : start + 6].T
        uplift = y1 / np.maximum(n1, 1) - y0 / np.maximum(n0, 1)
        usual, new = usual + uplift * none, new + uplift * some
    return usual, new
