"""What is our customer data worth: what would we have earned by acting on it?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import Field

from clientbook import parsing
from clientbook.book import Goal
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.goals import best_fit
from clientbook.stage import KeyNumber, NothingToShow, Parameters, Stage
from clientbook.tables import Column, Table

YEAR = 365
FEWEST = 30
SCARCE_STOCK = "serve scarce stock by value"
# Customers who bought on so many days in a year behave alike enough.
_BINS = (1, 2, 3, 5, 9)
POLICIES = ("first come, first served", "by spend of the last year", "by expected margin", "knowing the future")
BASELINE, NAIVE, POLICY, CEILING = POLICIES


class UseCasesParameters(Parameters):
    """What an analyst may change in `08_use_cases`."""

    holdout_days: int = Field(
        180, ge=14, description="how long before the run's day the decision would have been taken"
    )
    window_days: int = Field(
        30, ge=1, description="whoever ordered in so many days before the decision waits for a unit"
    )
    stock_share: float = Field(0.6, gt=0, lt=1, description="share of them for whom there is one")
    loss_if_unserved: float = Field(
        0.3, ge=0, le=1, description="assumed share of further purchases lost when a customer is not served"
    )
    interval: float = Field(0.9, gt=0, lt=1, description="how often the true extra margin shall lie in the interval")
    draws: int = Field(1000, ge=100, le=20_000, description="resampled sets of customers")
    seed: int = Field(1, ge=0, description="seed of the resampling")


STAGE = Stage(
    name="use_cases",
    needs=("orders",),
    uses=("returns", "products", "identities"),
    writes=("use_cases",),
    shows="what acting on the customer data would have earned, tested on time already past",
    parameters=UseCasesParameters,
    tables=(
        Table(
            "use_cases",
            "a decision taken with customer data, beside the same decision without it",
            (
                Column("use_case", "text", "what is decided"),
                Column("goal", "text", "the goal that it serves, as the book calls it"),
                Column("owner", "text", "who answers for it; empty where nobody does"),
                Column("baseline_margin", "money", "margin in the time held out under the usual policy"),
                Column("policy_margin", "money", "the same under the new policy"),
                Column("incremental_margin", "money", "the difference"),
                Column("low", "money", "lower end of its interval"),
                Column("high", "money", "upper end of its interval"),
                Column("n", "number", "customers whom the decision is about", unit="customers"),
                Column("method", "text", "how it was computed and what is assumed"),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Backtest:
    """What would two policies have brought?

    Attributes
    ----------
    candidates
        A row a customer: `customer_id`, `came` (rank by arrival), `spend`, `predicted`, `margin` (in the holdout), and
        whether each policy serves them, a column by its name.
    margins
        Margin of each policy, by name.
    low, high
        The interval of the difference between the new policy and the first come.
    origin
        The day of the decision.
    """

    candidates: pd.DataFrame
    margins: dict[str, float]
    low: float
    high: float
    origin: dt.date

    @property
    def gain(self) -> float:
        """What the new policy brings beyond the usual one."""
        return self.margins[POLICY] - self.margins[BASELINE]


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
        `customer_id`, `day` of the order, `at` (its time), `margin`, `amount`, and `returned_on`: the day on which the
        line, a negative one, came back; null for a purchase.
    """
    known = with_customer(orders, identities)
    bought = known.filter((known["quantity"] > 0) & (known["amount"].isnull() | (known["amount"] >= 0)))
    bought = _with_cost(bought.mutate(amount=bought["amount"].fill_null(0.0)), products)
    lines = bought.select(
        "customer_id", day="ordered_on", at="ordered_at", amount="amount",
        margin=(bought["amount"] - bought["cost"]), returned_on=ibis.null("date"),
    )  # fmt: skip
    if returns is None:
        return lines
    # a return belongs to its order: to whoever placed it, and to the day on which they did
    placed = bought.group_by("order_source", "order_id").agg(
        customer_id=bought["customer_id"].argmin(bought["arrival"]),
        day=bought["ordered_on"].min(),
        at=bought["ordered_at"].min(),
    )
    placed = placed.filter(placed["order_id"].notnull())
    back = _with_cost(returns.mutate(amount=returns["amount"].fill_null(0.0)), products)
    back = back.inner_join(placed, ["order_source", "order_id"])
    return lines.union(
        back.select(
            "customer_id", "day", "at", amount=-back["amount"], margin=(back["cost"] - back["amount"]),
            returned_on=parsing.local(back["returned_at"], zone).date(),
        )
    )  # fmt: skip


def _with_cost(rows: ir.Table, products: ir.Table | None) -> ir.Table:
    if products is None:
        return rows.mutate(cost=ibis.literal(0.0))
    costs = products.group_by(product_source="source", product_id="product_id").agg(
        unit_cost=products["unit_cost"].max()
    )
    joined = rows.left_join(costs, ["product_source", "product_id"])
    names = list(rows.columns)
    return joined.select(*names, cost=(joined["unit_cost"] * joined["quantity"]).fill_null(0.0))


def history(lines: ir.Table, origin: dt.date) -> ir.Table:
    """What had each customer done in the year before a day, as far as it was known then?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    origin
        What happened on this day and later is not known.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `purchases` (days with one), `spend` (net of what had come back), `earned` (margin).
    """
    start, end = _date(origin - dt.timedelta(days=YEAR)), _date(origin)
    seen = lines.filter((lines["day"] >= start) & (lines["day"] < end))
    seen = seen.filter(seen["returned_on"].isnull() | (seen["returned_on"] < end))
    return seen.group_by("customer_id").agg(
        purchases=seen["day"].nunique(where=seen["returned_on"].isnull()),
        spend=total(seen["amount"]),
        earned=total(seen["margin"]),
    )


def outcome(lines: ir.Table, origin: dt.date, days: int) -> ir.Table:
    """What did each customer bring in the days after?

    Parameters
    ----------
    lines
        As from :func:`order_lines`; a return counts with the order that it belongs to.
    origin, days
        Orders from this day on, for so many days.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `margin`.
    """
    after = lines.filter((lines["day"] >= _date(origin)) & (lines["day"] < _date(origin + dt.timedelta(days=days))))
    return after.group_by("customer_id").agg(margin=total(after["margin"]))


def active_rates(lines: ir.Table, origin: dt.date, days: int) -> pd.DataFrame:
    """How many of those with so many purchases in a year buy again in the days after?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    origin, days
        Nothing on or after the origin is used: the rates are those of as many days before it.

    Returns
    -------
    pandas.DataFrame
        `bin` (the least number of purchases), `customers`, `rate`.
    """
    earlier = origin - dt.timedelta(days=days)
    past = history(lines.filter(lines["returned_on"].isnull() | (lines["returned_on"] < _date(origin))), earlier)
    bought = lines.filter(
        lines["returned_on"].isnull() & (lines["day"] >= _date(earlier)) & (lines["day"] < _date(origin))
    )
    again = bought.select("customer_id").distinct().mutate(again=1)
    joined = past.left_join(again, "customer_id").drop("customer_id_right")
    joined = joined.mutate(bin=_bin(joined["purchases"]))
    each = joined.group_by("bin").agg(customers=joined.count(), again=joined["again"].sum().fill_null(0))
    told = each.order_by("bin").to_pandas()
    # two imagined customers, one of whom comes back, keep a small bin from saying all or none
    told["rate"] = (told["again"] + 1) / (told["customers"] + 2)
    return told[["bin", "customers", "rate"]]


def candidates(lines: ir.Table, origin: dt.date, p: UseCasesParameters) -> pd.DataFrame:
    """Who waits for a unit, in which order did they come, and what was expected of them then?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    origin
        The day of the decision; nothing on or after it is used.
    p
        The parameters.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `came` (rank), `purchases`, `spend`, `predicted` (margin of the days after: that of the year
        before, for as many days, times the share of the likes of them who buy again); first come first.
    """
    start = _date(origin - dt.timedelta(days=p.window_days))
    recent = lines.filter(lines["returned_on"].isnull() & (lines["day"] >= start) & (lines["day"] < _date(origin)))
    waiting = recent.group_by("customer_id").agg(at=recent["at"].min())
    known = waiting.inner_join(history(lines, origin), "customer_id").order_by("at", "customer_id")
    told = known.select("customer_id", "purchases", "spend", "earned").to_pandas()
    rates = active_rates(lines, origin, p.holdout_days).set_index("bin")["rate"]
    bins = np.asarray(_BINS)[np.searchsorted(_BINS, told["purchases"].clip(lower=1), side="right") - 1]
    rate = pd.Series(bins).map(rates).fillna(rates.mean() if len(rates) else 1.0).to_numpy()
    told["predicted"] = (told["earned"] * rate * p.holdout_days / YEAR).round(6)
    told.insert(1, "came", np.arange(len(told)))
    return told.drop(columns="earned")


def serve(rows: pd.DataFrame, stock_share: float) -> pd.DataFrame:
    """Whom does each policy serve?

    Parameters
    ----------
    rows
        With `customer_id`, `came`, `spend`, `predicted`, `margin`.
    stock_share
        Share of them for whom there is a unit.

    Returns
    -------
    pandas.DataFrame
        The rows with a column a policy, whether it serves them; of equals the first come is served.
    """
    stock = int(len(rows) * stock_share)
    order = {BASELINE: rows["came"], NAIVE: -rows["spend"], POLICY: -rows["predicted"], CEILING: -rows["margin"]}
    told = rows.copy()
    for name, key in order.items():
        ranks = np.lexsort((rows["customer_id"].to_numpy(), rows["came"].to_numpy(), key.to_numpy()))
        told[name] = False
        told.iloc[ranks[:stock], told.columns.get_loc(name)] = True
    return told


def margins(rows: pd.DataFrame, loss_if_unserved: float) -> dict[str, float]:
    """What does each policy bring, if those who are not served lose a share of their further purchases?

    Parameters
    ----------
    rows
        As from :func:`serve`.
    loss_if_unserved
        That share.

    Returns
    -------
    dict of str to float
        Margin by policy.
    """
    return {
        name: float((rows["margin"] * np.where(rows[name], 1.0, 1.0 - loss_if_unserved)).sum()) for name in POLICIES
    }


def bounds(rows: pd.DataFrame, p: UseCasesParameters, policy: str = POLICY) -> tuple[float, float]:
    """Between what bounds does the extra margin lie?

    Customers are drawn with replacement, so often as there are; whom a policy serves stays as it is.

    Parameters
    ----------
    rows
        As from :func:`serve`.
    p
        Interval, draws, seed, and the assumed loss.
    policy
        Which is compared with first come, first served.

    Returns
    -------
    low, high : float
        Of the difference in margin.
    """
    each = (rows[policy].astype(float) - rows[BASELINE].astype(float)) * rows["margin"] * p.loss_if_unserved
    # those whom both policies treat alike add nothing whatever is drawn: only how many others are drawn matters
    differing = each.to_numpy()[rows[policy].to_numpy() != rows[BASELINE].to_numpy()]
    generator = np.random.default_rng(p.seed)
    n = len(rows)
    if not len(differing):
        return 0.0, 0.0
    counts = generator.binomial(n, len(differing) / n, size=p.draws)
    sums = np.array([differing[generator.integers(0, len(differing), count)].sum() for count in counts])
    tail = (1 - p.interval) / 2
    low, high = np.quantile(sums, [tail, 1 - tail])
    return float(low), float(high)


def scarce_stock(lines: ir.Table, as_of: dt.date, p: UseCasesParameters) -> Backtest:
    """Had stock been scarce, what would serving by value have brought beyond first come, first served?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    as_of
        The day of the run; the decision lies `holdout_days` before it.
    p
        The parameters.

    Raises
    ------
    NothingToShow
        If too few customers ordered in the days before the decision.
    """
    origin = as_of - dt.timedelta(days=p.holdout_days)
    waiting = candidates(lines, origin, p)
    if len(waiting) < FEWEST:
        raise NothingToShow(
            f"{len(waiting):,} customers ordered in the {p.window_days} days before {origin:%Y-%m-%d}; it takes "
            f"{FEWEST} to compare two ways of serving them."
        )
    brought = outcome(lines, origin, p.holdout_days).to_pandas().set_index("customer_id")["margin"]
    rows = waiting.assign(margin=waiting["customer_id"].map(brought).fillna(0.0))
    rows = serve(rows, p.stock_share)
    low, high = bounds(rows, p)
    return Backtest(rows, margins(rows, p.loss_if_unserved), low, high, origin)


def table(found: Backtest, goals: Sequence[Goal], p: UseCasesParameters) -> pd.DataFrame:
    """The public table `use_cases`.

    Parameters
    ----------
    found
        As from :func:`scarce_stock`.
    goals
        The book's.
    p
        The parameters.
    """
    served = best_fit(goals, "keep")
    method = (
        f"backtest from {found.origin:%Y-%m-%d} over {p.holdout_days} days; stock for {p.stock_share:.0%} of those who "
        f"ordered in the {p.window_days} days before; assumed: who is not served loses {p.loss_if_unserved:.0%} of "
        f"their further purchases; {p.interval:.0%} interval by bootstrap over customers"
    )
    row = {
        "use_case": SCARCE_STOCK,
        "goal": served.goal,
        "owner": served.owner or None,
        "baseline_margin": round(found.margins[BASELINE], 6),
        "policy_margin": round(found.margins[POLICY], 6),
        "incremental_margin": round(found.gain, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "n": len(found.candidates),
        "method": method,
    }
    return pd.DataFrame([row], columns=list(STAGE.tables[0].names))


def policies(found: Backtest, p: UseCasesParameters) -> pd.DataFrame:
    """What would each way of serving have brought beyond first come, first served?

    Parameters
    ----------
    found
        As from :func:`scarce_stock`.
    p
        The parameters.

    Returns
    -------
    pandas.DataFrame
        `policy`, `margin`, `extra`, `low`, `high`, `also_served` (share of those served first come that it serves too).
    """
    rows = found.candidates
    told = []
    for name in POLICIES:
        low, high = bounds(rows, p, name)
        told.append(
            {
                "policy": name,
                "margin": found.margins[name],
                "extra": found.margins[name] - found.margins[BASELINE],
                "low": low,
                "high": high,
                "also_served": float((rows[name] & rows[BASELINE]).sum() / max(rows[BASELINE].sum(), 1)),
            }
        )
    return pd.DataFrame(told)


def by_assumption(found: Backtest, shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 1.0)) -> pd.DataFrame:
    """What if those who are not served lose more, or less, than assumed?

    Parameters
    ----------
    found
        As from :func:`scarce_stock`.
    shares
        Assumed losses.

    Returns
    -------
    pandas.DataFrame
        `loss`, `extra`.
    """
    gains = [margins(found.candidates, share) for share in shares]
    return pd.DataFrame({"loss": list(shares), "extra": [gain[POLICY] - gain[BASELINE] for gain in gains]})


def say_policies(told: pd.DataFrame) -> str:
    """In one sentence: does expected margin beat the spend of the last year?"""
    extra = told.set_index("policy")["extra"]
    if extra[POLICY] <= 0:
        return "Serving by expected margin would have brought no more than first come, first served"
    share = f" and {extra[POLICY] / extra[CEILING]:.0%} of what knowing the future would" if extra[CEILING] > 0 else ""
    compared = "more than" if extra[POLICY] > extra[NAIVE] else "no more than"
    return f"Expected margin would have brought {compared} last year's spend{share}"


def answer(found: Backtest, p: UseCasesParameters, money: Callable[[float], str]) -> str:
    """What would acting on the data have earned? In a few sentences of Markdown.

    Parameters
    ----------
    found
        As from :func:`scarce_stock`.
    p
        The parameters.
    money
        Writes an amount for people.
    """
    share = found.gain / abs(found.margins[BASELINE]) if found.margins[BASELINE] else 0.0
    verdict = (
        "The interval excludes zero, so it would have paid."
        if found.low > 0
        else "The interval includes zero, so it cannot be said that it would have paid."
    )
    if found.margins[NAIVE] >= found.margins[POLICY]:
        verdict += " The simpler rule, to serve by last year's spend, would have brought as much or more: use that one."
    return (
        f"**Serving scarce stock by value instead of first come, first served would have brought {money(found.gain)} "
        f"more margin in {p.holdout_days} days** ({money(found.low)} to {money(found.high)}; {share:+.1%}), from "
        f"{len(found.candidates):,} customers who waited on {found.origin:%Y-%m-%d} for stock that was enough for "
        f"{p.stock_share:.0%} of them. {verdict} It rests on one assumption, that a customer who is not served loses "
        f"{p.loss_if_unserved:.0%} of their further purchases: nobody has measured it here."
    )


def key_numbers(found: Backtest) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?"""
    n = len(found.candidates)
    bought = float((found.candidates["margin"] > 0).mean())
    return [
        KeyNumber("Extra margin from serving by value", round(found.gain, 2), "money", "up", n=n,
                  low=round(found.low, 2), high=round(found.high, 2), note="tested on time already past"),
        KeyNumber("Customers waiting who bought again", round(bought, 6), "share", "", n=n),
    ]  # fmt: skip


def score(
    lines: ir.Table,
    as_of: dt.date,
    p: UseCasesParameters,
    identities: ir.Table | None,
    truth: Mapping[str, ir.Table | None],
) -> pd.DataFrame:
    """On a made company: what will the same decision, taken today, truly bring?

    Parameters
    ----------
    lines
        As from :func:`order_lines`.
    as_of
        The day of the decision.
    p
        The parameters.
    identities
        Who is who, by our own matching; None without.
    truth
        `people` and `value` of the truth, None where there is none.

    Returns
    -------
    pandas.DataFrame
        `policy`, `true_extra` (margin in the 12 months after, beyond first come, first served), `n`; empty without a
        truth.
    """
    columns = ["policy", "true_extra", "n"]
    people, worth = truth.get("people"), truth.get("value")
    if people is None or worth is None:
        return pd.DataFrame(columns=columns)
    records = with_customer(
        people.select(person_source="source", person_id="person_id", human_id="human_id"), identities
    )
    owner = records.group_by("human_id").agg(customer_id=records["customer_id"].mode())
    ahead = owner.inner_join(worth.select("human_id", "future_margin"), "human_id")
    margin = ahead.group_by("customer_id").agg(margin=total(ahead["future_margin"])).to_pandas()
    waiting = candidates(lines, as_of, p)
    true = waiting["customer_id"].map(margin.set_index("customer_id")["margin"]).fillna(0.0)
    rows = serve(waiting.assign(margin=true), p.stock_share)
    brought = margins(rows, p.loss_if_unserved)
    told = [(name, brought[name] - brought[BASELINE], len(rows)) for name in POLICIES]
    return pd.DataFrame(told, columns=columns)


def _bin(purchases: ir.IntegerColumn) -> ir.IntegerColumn:
    return ibis.cases(*[(purchases >= least, least) for least in reversed(_BINS)], else_=_BINS[0])


def _date(day: dt.date) -> ir.DateScalar:
    return ibis.date(day.isoformat())
