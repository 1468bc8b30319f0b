"""What do a late delivery, a complaint, how it was handled, and a return do to the next order and to recommendation?

And what did a trial mailing do?

Observed effects compare like with like by a logistic regression (g-computation: everybody to whom it happened is
foretold with and without it); the interval clusters by customer. A randomised mailing needs no such help.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import clocks, parsing, promises

AFTER_ORDER_DAYS = 180
TRIAL_DAYS = 30
# What goes back later was used.
RETURN_DAYS = 60
# A complaint belongs to the latest order that had come by then, or should have, if that is not longer ago.
_CASE_DAYS = 90
FEWEST = 30
_Z = 1.959964
_ARM = re.compile(r"^(?P<name>.+)_(?P<arm>treated|treatment|control|holdout)$")
_COLUMNS = ["event_name", "outcome", "design", "n", "subjects", "rate", "base", "effect", "low", "high", "p_value"]


def next_order_effects(
    tables: Mapping[str, ir.Table | None], timeline: ir.Table, who: ir.Table, as_of: dt.date, *, zone: str
) -> pd.DataFrame:
    """All that is known of what moves the next order, observed and tried out, as :func:`experiments`.

    Parameters
    ----------
    tables, timeline, who, as_of, zone
        As for :func:`after_purchase` and :func:`experiments`.
    """
    found = [after_purchase(tables, who, as_of, zone=zone), experiments(timeline, as_of, zone=zone)]
    found = [rows for rows in found if len(rows)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_COLUMNS)


def after_purchase(
    tables: Mapping[str, ir.Table | None], who: ir.Table, as_of: dt.date, *, zone: str, complaint: str = "complaint"
) -> pd.DataFrame:
    """After a late delivery, a complaint well or badly handled, a return: how many fewer order again, or recommend?

    Parameters
    ----------
    tables
        `orders`, `deliveries`, `cases`, `surveys`, `returns` and `referrals`; of what is not there nothing is told.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    as_of
        The day of the run; orders of the last 180 days are left out, as nobody knows yet.
    zone
        The book's.
    complaint
        A case is a complaint if its reason contains this.

    Returns
    -------
    pandas.DataFrame
        A row an effect and an outcome, as :func:`experiments`, with `design` `observed`. What a return does is told
        beside orders as late and as complained about; a return itself may be what a late delivery does, so the other
        effects are told with returns among them.
    """
    orders = _orders(tables, who, as_of, zone, complaint)
    if orders is None or len(orders) < 10 * FEWEST:
        return pd.DataFrame(columns=_COLUMNS)
    rows = []
    for outcome, words in _OUTCOMES.items():
        if outcome not in orders or orders[outcome].sum() < FEWEST or orders[outcome].nunique() < 2:
            continue
        went_wrong = _treatments(orders)
        rows += _adjusted(orders, went_wrong, list(went_wrong), outcome, words)
        if "returned" in orders:
            returned = {"returned": orders["returned"].to_numpy(dtype=float)}
            rows += _adjusted(orders, went_wrong | returned, list(returned), outcome, words)
    return pd.DataFrame(rows, columns=_COLUMNS)


_OUTCOMES = {"again": f"another order in {AFTER_ORDER_DAYS} days", "referred": f"a referral in {AFTER_ORDER_DAYS} days"}


def _adjusted(orders: pd.DataFrame, treated: dict[str, np.ndarray], told: list[str], outcome: str, words: str) -> list[list]:
    """The effects of some of the things that happened, of orders alike in all else, those that happened beside among it."""
    names = [name for name, share in treated.items() if share.sum() >= FEWEST and (share < 0.5).sum() >= FEWEST]
    if not set(names) & set(told):
        return []
    happened = np.column_stack([treated[name] for name in names])
    design = _design(happened, orders)
    followed = orders[outcome].to_numpy(dtype=float)
    whose = orders["customer"].to_numpy()
    weights, spread = _logistic(design, followed, whose)
    score = design @ weights
    rows = []
    for place, name in enumerate(names):
        if name not in told:
            continue
        share = treated[name]
        # what everybody to whom it happened had, had it happened for sure, and not at all
        with_it, without = happened.copy(), happened.copy()
        with_it[:, place], without[:, place] = 1.0, 0.0
        # who was handled well was not handled badly
        for other, also in enumerate(names):
            if other != place and {name, also} <= {"complaint_handled_well", "complaint_handled_badly"}:
                with_it[:, other] = without[:, other] = 0.0
        one, none = (_curve(score + (had - happened) @ weights[: len(names)]) for had in (with_it, without))
        whole = share.sum()
        effect = float((share * (one - none)).sum() / whole)
        slope = np.zeros(len(weights))
        for sign, had, chance in ((1, with_it, one), (-1, without, none)):
            each = sign * share * chance * (1 - chance)
            slope += design.T @ each
            slope[: len(names)] += each @ (had - happened)
        error = float(np.sqrt(max(slope @ spread @ slope, 0.0)) / whole)
        rate = float((share * followed).sum() / whole)
        subjects = len(np.unique(whose[share > 0.5]))
        rows.append(
            [name, words, "observed", round(whole), subjects, rate, rate - effect, effect, effect - _Z * error,
             effect + _Z * error, _p_value(effect, error)]
        )  # fmt: skip
    return rows


def experiments(timeline: ir.Table, as_of: dt.date, *, zone: str) -> pd.DataFrame:
    """What did each trial do? Customers that chance put into one of two arms, and who ordered in the 30 days after.

    Parameters
    ----------
    timeline
        The public table. Arms are events whose names end in `_treated` (or `_treatment`) and `_control` (or
        `_holdout`); who stands in both counts in neither.
    as_of
        The day of the run; trials that began less than 30 days before are left out.
    zone
        The book's, by whose clock that day begins.

    Returns
    -------
    pandas.DataFrame
        A row a trial: `event_name`, `outcome`, `design` (`randomised`), `n` (treated), `subjects` (both arms), `rate`
        (of the treated), `base` (of the others), `effect`, `low`, `high` (95 %), `p_value`.
    """
    names = timeline.filter(timeline["kind"] == "event").select("event_name").distinct().to_pandas()["event_name"]
    arms = [(found["name"], name, found["arm"] in ("treated", "treatment")) for name in names if (found := _ARM.match(name))]
    latest = parsing.day_begins(as_of - dt.timedelta(days=TRIAL_DAYS), zone)
    rows = []
    for trial in sorted({name for name, _, _ in arms}):
        inside = {full: treated for name, full, treated in arms if name == trial}
        if len(set(inside.values())) < 2:
            continue
        given = timeline.filter(timeline["event_name"].isin(list(inside)))
        given = given.mutate(treated=given["event_name"].isin([full for full, yes in inside.items() if yes]))
        each = given.group_by("customer_id").agg(
            at=given["occurred_at"].min(), treated=given["treated"].any(), arms=given["treated"].nunique()
        )
        each = each.filter(each["arms"] == 1)
        orders = timeline.filter(timeline["kind"] == "order").select("customer_id", ordered_at="occurred_at")
        both = each.left_join(orders, "customer_id")
        soon = (both["ordered_at"] >= both["at"]) & (both["ordered_at"] < both["at"] + ibis.interval(days=TRIAL_DAYS))
        told = both.group_by("customer_id", "treated", "at").agg(ordered=soon.fill_null(False).any())
        told = told.filter(told["at"] < latest)
        counts = told.group_by("treated").agg(n=told.count(), ordered=told["ordered"].sum()).to_pandas().set_index("treated")
        if len(counts) < 2 or counts["n"].min() < FEWEST:
            continue
        share = counts["ordered"] / counts["n"]
        # one more of each kind in each arm (Agresti and Caffo): a share of 0 is not a sure thing
        kind = (counts["ordered"] + 1) / (counts["n"] + 2)
        error = float(np.sqrt((kind * (1 - kind) / (counts["n"] + 2)).sum()))
        effect = float(share[True] - share[False])
        rows.append(
            [trial, f"an order in {TRIAL_DAYS} days", "randomised", int(counts.loc[True, "n"]), int(counts["n"].sum()),
             float(share[True]), float(share[False]), effect, effect - _Z * error, effect + _Z * error,
             _p_value(effect, error)]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def _orders(tables, who: ir.Table, as_of: dt.date, zone: str, complaint: str) -> pd.DataFrame | None:
    """Each order that had to be delivered, with what came before it, went wrong with it and followed."""
    lines = tables.get("orders")
    if lines is None:
        return None
    bought = lines.filter(
        (lines["quantity"] > 0) & lines["order_id"].notnull() & (lines["amount"].isnull() | (lines["amount"] >= 0))
    )
    rows = bought.inner_join(who, ["person_source", "person_id"])
    each = rows.group_by("customer_id", "account_id", "order_source", "order_id").agg(
        at=rows["ordered_at"].min(), amount=rows["amount"].sum().round(2), product=rows["product_id"].min()
    )
    day = parsing.local(each["at"], zone).date()
    each = each.mutate(day=day)
    along = ibis.window(group_by="customer_id", order_by=["at", "order_source", "order_id"])
    each = each.mutate(
        number=ibis.row_number().over(along), before=each["day"].lag().over(along), after=each["day"].lead().over(along)
    )
    deliveries = tables.get("deliveries")
    if deliveries is None:
        each = each.mutate(late=ibis.literal(False), due=each["at"], judged=ibis.literal(True))
    else:
        came = deliveries.filter(deliveries["promised_at"].notnull())
        end = parsing.day_begins(as_of, zone)
        came = came.mutate(due=promises.due(came["promised_at"], zone), there=came["delivered_at"].fill_null(end))
        came = came.group_by("order_source", "order_id").agg(
            late=(came["there"] > came["due"]).any(),
            due=ibis.least(came["there"], came["due"]).min(),
            judged=ibis.literal(True),
        )
        each = each.left_join(came, ["order_source", "order_id"]).select(*each.columns, *came.columns[2:])
        # what was taken along can be complained about at once; whether it was late, nobody can say
        each = each.mutate(due=each["due"].fill_null(each["at"]), judged=each["judged"].fill_null(False))
    happened = []
    if tables.get("returns") is not None:
        back = tables["returns"].filter(tables["returns"]["order_id"].notnull())
        back = back.group_by("order_source", "order_id").agg(_back=back["returned_at"].min())
        each = each.left_join(back, ["order_source", "order_id"]).select(*each.columns, "_back")
        soon = each["_back"] < each["at"] + ibis.interval(days=RETURN_DAYS)
        each = each.mutate(returned=soon.fill_null(False))
        happened.append("returned")
    if tables.get("referrals") is not None:
        told = tables["referrals"].inner_join(who, ["person_source", "person_id"]).select("customer_id", "referred_at")
        met = each.inner_join(told, "customer_id")
        until = met["at"] + ibis.interval(days=AFTER_ORDER_DAYS)
        met = met.filter((met["referred_at"] >= met["at"]) & (met["referred_at"] < until))
        met = met.select("order_source", "order_id", "customer_id").distinct().mutate(_told=True)
        each = each.left_join(met, ["order_source", "order_id", "customer_id"]).select(*each.columns, "_told")
        each = each.mutate(referred=each["_told"].fill_null(False))
        happened.append("referred")
    names = ("customer_id", "account_id", "at", "day", "number", "before", "after", "late", "due", "judged", "amount", *happened)
    found = each.select(*names).to_pandas()
    found = found.sort_values(["customer_id", "at", "number"], ignore_index=True)
    found["share_bad"] = found["share_well"] = 0.0
    cases = tables.get("cases")
    if cases is not None:
        _with_complaints(found, cases, tables.get("surveys"), who, complaint, clocks.day_begins(as_of, zone))
    found = found[found["judged"]].reset_index(drop=True)
    day = pd.to_datetime(found["day"])
    found["again"] = (pd.to_datetime(found["after"]) - day).dt.days.le(AFTER_ORDER_DAYS)
    found["waited"] = (day - pd.to_datetime(found["before"])).dt.days
    found["month"] = day.dt.month
    found["customer"] = pd.factorize(found["customer_id"])[0]
    members = found.groupby("account_id")["customer_id"].transform("nunique")
    found["shared"] = members > 1
    return found[day < pd.Timestamp(as_of) - pd.Timedelta(days=AFTER_ORDER_DAYS)].reset_index(drop=True)


def _with_complaints(
    orders: pd.DataFrame, cases: ir.Table, surveys: ir.Table | None, who: ir.Table, complaint: str, now: dt.datetime
) -> None:
    """How probably the complaint about each order, if there was one, was handled well or badly."""
    told = cases.filter(cases["reason"].lower().contains(complaint.lower())).inner_join(who, ["person_source", "person_id"])
    told = told.select("customer_id", "case_id", "opened_at", "closed_at").to_pandas()
    if told.empty:
        return
    told = told.sort_values(["opened_at", "case_id"], ignore_index=True)
    open_days = (told["closed_at"].fillna(pd.Timestamp(now)) - told["opened_at"]).dt.total_seconds() / 86_400
    told["well"] = _handled_well(open_days.to_numpy(), _scores(told, surveys, who))
    told["opened_at"] = told["opened_at"].astype("datetime64[us]")
    # an order placed since, and not there yet, is not what they complain about: were it taken for that, those who soon
    # ordered again would seem not to have complained
    when = orders[["customer_id"]].assign(due=orders["due"].astype("datetime64[us]"), row=np.arange(len(orders)))
    met = pd.merge_asof(
        told, when.sort_values("due", kind="stable"), left_on="opened_at", right_on="due", by="customer_id",
        tolerance=pd.Timedelta(days=_CASE_DAYS),
    ).dropna(subset="row")  # fmt: skip
    row = met["row"].astype(int).to_numpy()
    orders.loc[orders.index[row], "share_well"] = met["well"].to_numpy()
    orders.loc[orders.index[row], "share_bad"] = 1 - met["well"].to_numpy()


def _scores(cases: pd.DataFrame, surveys: ir.Table | None, who: ir.Table) -> np.ndarray:
    """The customer's score in the two weeks after each case was closed; none where nobody asked."""
    nobody = np.full(len(cases), np.nan)
    if surveys is None:
        return nobody
    content = surveys.filter(surveys["score"].notnull() & surveys["metric"].lower().isin(["csat", "ces", "satisfaction"]))
    given = content.inner_join(who, ["person_source", "person_id"]).select("customer_id", "asked_at", "score").to_pandas()
    if given.empty:
        return nobody
    given["asked_at"] = given["asked_at"].astype("datetime64[us]")
    closed = cases[["customer_id", "closed_at"]].assign(row=np.arange(len(cases))).dropna()
    closed["closed_at"] = closed["closed_at"].astype("datetime64[us]")
    met = pd.merge_asof(
        closed.sort_values(["closed_at", "row"]), given.sort_values(["asked_at", "customer_id", "score"]),
        by="customer_id",
        left_on="closed_at", right_on="asked_at", direction="forward", tolerance=pd.Timedelta(days=14),
    ).dropna(subset="score")  # fmt: skip
    nobody[met["row"].to_numpy()] = met["score"].to_numpy(dtype=float)
    return nobody


def _handled_well(days: np.ndarray, score: np.ndarray) -> np.ndarray:
    """How probably was each case handled well? By how long it was open and, where asked, how content they were.

    Two kinds of cases are told apart by EM: times are gamma distributed, scores normal; the quicker kind is the good
    one. Nobody writes down which is which.
    """
    days = np.maximum(days, 0.01)
    if len(days) < 2 * FEWEST:
        return (days <= np.median(days)).astype(float)
    from scipy.special import gammaln

    asked = np.isfinite(score)
    good = np.clip((np.quantile(days, 0.75) - days) / max(np.ptp(np.quantile(days, [0.25, 0.75])), 1e-9), 0.05, 0.95)
    whose = np.column_stack([good, 1 - good])
    for _ in range(300):
        n = whose.sum(axis=0)
        mean = (whose * days[:, None]).sum(axis=0) / n
        spread = np.maximum((whose * (days[:, None] - mean) ** 2).sum(axis=0) / n, 1e-4)
        shape = np.clip(mean**2 / spread, 0.5, 20.0)
        log = np.log(n / n.sum()) + (shape - 1) * np.log(days)[:, None] - days[:, None] * shape / mean
        log += shape * np.log(shape / mean) - gammaln(shape)
        if asked.sum() >= 2 * FEWEST:
            told = whose[asked]
            middle = (told * score[asked, None]).sum(axis=0) / told.sum(axis=0)
            off = np.maximum((told * (score[asked, None] - middle) ** 2).sum(axis=0) / told.sum(axis=0), 0.05)
            log[asked] += -0.5 * (score[asked, None] - middle) ** 2 / off - 0.5 * np.log(off)
        fresh = np.exp(log - log.max(axis=1, keepdims=True))
        fresh /= fresh.sum(axis=1, keepdims=True)
        still = np.abs(fresh - whose).max() < 1e-6
        whose = fresh
        if still:
            break
    return whose[:, mean.argmin()]


def _treatments(orders: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        "late_delivery": orders["late"].fillna(False).to_numpy(dtype=float),
        "complaint_handled_badly": orders["share_bad"].to_numpy(),
        "complaint_handled_well": orders["share_well"].to_numpy(),
    }


def _design(happened: np.ndarray, orders: pd.DataFrame):
    """What happened, and what makes two orders alike: how many came before, the last wait, size, month, account.

    Sparse: of the hundred columns of an order all but a handful are 0.
    """
    from scipy.sparse import csr_array, hstack

    cut = lambda column, edges: np.searchsorted(edges, column.fillna(-1).to_numpy(), side="right")  # noqa: E731
    number = np.searchsorted([1, 2, 3, 5, 8, 13, 21], orders["number"].to_numpy(), side="right")
    waited = cut(orders["waited"], [0, 15, 30, 60, 90, 120, 180, 365])
    fifth = pd.qcut(orders["amount"].rank(method="first"), 5, labels=False).to_numpy()
    shared = orders["shared"].to_numpy().astype(int)
    columns = [csr_array(happened), csr_array(np.ones((len(orders), 1)))]
    for kind in (number, waited, orders["month"].to_numpy(), fifth, shared, number * 10 + waited):
        values, place, counts = np.unique(kind, return_inverse=True, return_counts=True)
        # the first is what the others are compared with
        common = np.flatnonzero((counts >= 50) & (np.arange(len(values)) > 0))
        column = np.full(len(values), -1)
        column[common] = np.arange(len(common))
        rows = np.flatnonzero(column[place] >= 0)
        columns.append(csr_array(
            (np.ones(len(rows)), (rows, column[place][rows])), shape=(len(orders), len(common))
        ))  # fmt: skip
    return hstack(columns, format="csr")


def _curve(score: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(score, -30, 30)))


def _logistic(design, outcome: np.ndarray, whose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and their covariance when the rows of one customer go together (a sandwich)."""
    from scipy.sparse import csr_array, diags_array

    ridge = 1e-3 * np.eye(design.shape[1])
    weights = np.zeros(design.shape[1])

    def bread(p: np.ndarray) -> np.ndarray:
        return (design.T @ (diags_array(p * (1 - p)) @ design)).toarray() + ridge

    for _ in range(25):
        p = _curve(design @ weights)
        move = np.linalg.solve(bread(p), design.T @ (outcome - p) - ridge @ weights)
        weights = weights + move
        if np.abs(move).max() < 1e-8:
            break
    p = _curve(design @ weights)
    inverse = np.linalg.inv(bread(p))
    places, row = np.unique(whose, return_inverse=True)
    of = csr_array((outcome - p, (row, np.arange(len(row)))), shape=(len(places), len(row)))
    sums = of @ design
    return weights, inverse @ (sums.T @ sums).toarray() @ inverse


def _p_value(effect: float, error: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.sf(abs(effect) / error)) if error > 0 else 1.0
