"""What do the numbers say? Tables and sentences of the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.stage import KeyNumber
from clientbook.value.backtest import NAIVE, better_rules, choose
from clientbook.value.decisions import allowing
from clientbook.value.estimate import TIERS
from clientbook.value.rules import YEAR
from clientbook.value.summary import key, summarise

if TYPE_CHECKING:
    from clientbook.store import Run
    from clientbook.value import Analysis

SMALL_CELL = 5
DAYS_PER_MONTH = 30.4375


def answer(value: pd.DataFrame, analysis: Analysis, p: Any, money: Callable[[float], str]) -> str:
    """What are the customers worth, and how far is that to be trusted? In a few sentences of Markdown.

    Parameters
    ----------
    value
        One row, as from :func:`totals`.
    analysis
        As from :func:`clientbook.value.analyse`.
    p
        The parameters.
    money
        Writes an amount for people.
    """
    row = value.iloc[0]
    scores, name = analysis.scores, analysis.chosen
    newest = scores[scores["origin"] == scores["origin"].max()].set_index("model")
    best, naive = newest.loc[name], newest.loc[NAIVE]
    better = better_rules(scores, name)
    warning = "".join(
        f" **On {words}, the rule “{rule}” did better than any model here, on the mean over all days tried.**"
        for words, rule in better
    )
    if best["rmse"] < naive["rmse"]:
        verdict = f"its error was {1 - best['rmse'] / naive['rmse']:.0%} smaller than that of “{NAIVE}”"
    else:
        verdict = f"the naive rule “{NAIVE}” was at least as good, so trust no single forecast further than that rule"
    bias = best["total_expected"] / best["total_actual"] - 1 if best["total_actual"] else 0.0
    short = f"{abs(bias):.0%} too {'few' if bias < 0 else 'many'} purchases in all"
    held = f" The interval for a single customer held {best['coverage']:.0%} of them." if np.isfinite(best["coverage"]) else ""
    return (
        f"**{int(row['customers']):,} customers are expected to bring {money(row['clv'])} in "
        f"{span(p.horizon_days)}, between {money(analysis.total_low)} and {money(analysis.total_high)} with 95 % "
        f"confidence; the best tenth of them brings {row['top_tenth']:.0%} of it.**{warning} "
        f"Tested on the last {int(best['holdout_days'])} days, {name} was asked for what came: {verdict}; it foresaw "
        f"{short}.{held}"
    )


def totals(value: ir.Table) -> pd.DataFrame:
    """What do all customers bring together?

    Returns
    -------
    pandas.DataFrame
        One row: `customers`, `clv`, `low`, `high` (bounds of single customers, added up), `alive`, `top_tenth`,
        `loss_makers`.
    """
    ranked = value.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("clv"), "customer_id"]))
    return ranked.aggregate(
        customers=ranked.count(),
        clv=total(ranked["clv"]),
        alive=total(ranked["p_alive"]),
        top_tenth=total(ranked["clv"], ranked["tenth"] == 0) / total(ranked["clv"]).nullif(0),
        loss_makers=ranked["loss_maker"].sum(),
    ).to_pandas()


def concentration(value: ir.Table, points: int = 100) -> pd.DataFrame:
    """How much of the value do the best customers hold?

    Returns
    -------
    pandas.DataFrame
        `customers` and `clv`, cumulative shares from the best down, in so many steps, with the origin first.
    """
    ranked = value.mutate(step=ibis.ntile(points).over(order_by=[ibis.desc("clv"), "customer_id"]))
    each = ranked.group_by("step").agg(customers=ranked.count(), clv=total(ranked["clv"])).order_by("step").to_pandas()
    shares = each[["customers", "clv"]].cumsum() / each[["customers", "clv"]].sum()
    return pd.concat([pd.DataFrame({"customers": [0.0], "clv": [0.0]}), shares], ignore_index=True)


def tiers(value: ir.Table) -> pd.DataFrame:
    """How many customers are in each tier, and what do they bring?

    Returns
    -------
    pandas.DataFrame
        `tier`, `customers`, `share`, `clv`, `mean_clv`, `p_alive` (mean); A first.
    """
    each = value.group_by("tier").agg(
        customers=value.count(), clv=total(value["clv"]), p_alive=total(value["p_alive"]) / value.count()
    )
    told = each.order_by("tier").to_pandas()
    told.insert(2, "share", told["customers"] / told["customers"].sum())
    told.insert(4, "mean_clv", told["clv"] / told["customers"])
    return told


def say_concentration(shares: pd.DataFrame) -> str:
    """In one sentence: who brings half of the value?"""
    half = np.interp(0.5, shares["clv"], shares["customers"])
    return f"Half of the expected value comes from {half:.0%} of the customers"


def say_backtest(scores: pd.DataFrame) -> str:
    """In one sentence: is the forecast better than the naive rule?"""
    name, _ = choose(scores)
    error = scores[scores["origin"] == scores["origin"].max()].set_index("model")["rmse"]
    if error[name] < error[NAIVE]:
        return f"{name} comes closer to what happened than “{NAIVE}”"
    return f"“{NAIVE}” came closer to what happened than {name}"


def newest_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """The backtest at the newest origin, the best first, without the columns that are the same in every row."""
    newest = scores[scores["origin"] == scores["origin"].max()]
    told = newest.sort_values(["rmse", "model"], kind="stable")
    return told[["model", "rmse", "bias", "total_expected", "total_actual", "rank_correlation", "decile_capture"]]


def origins_table(scores: pd.DataFrame, chosen: str) -> pd.DataFrame:
    """How did the chosen model do at each origin, and did its intervals hold?

    Parameters
    ----------
    scores
        The table `value_backtest`.
    chosen
        The model.

    Returns
    -------
    pandas.DataFrame
        `origin`, `customers`, `rmse`, `naive_rmse`, `decile_capture`, `margin_expected`, `margin_actual`, `total_low`,
        `total_high`, `held` (yes or no), `coverage`.
    """
    own = scores[scores["model"] == chosen].set_index("origin")
    naive = scores[scores["model"] == NAIVE].set_index("origin")
    told = own[
        [
            "customers",
            "rmse",
            "decile_capture",
            "margin_expected",
            "margin_actual",
            "total_low",
            "total_high",
            "coverage",
        ]
    ]
    told = told.assign(naive_rmse=naive["rmse"])
    inside = (told["margin_actual"] >= told["total_low"]) & (told["margin_actual"] <= told["total_high"])
    told = told.assign(held=np.where(inside, "yes", "no")).reset_index()
    return told[
        [
            "origin",
            "customers",
            "rmse",
            "naive_rmse",
            "decile_capture",
            "margin_expected",
            "total_low",
            "total_high",
            "margin_actual",
            "held",
            "coverage",
        ]
    ]


def say_rules(scores: pd.DataFrame, chosen: str) -> str:
    """In one or two sentences: where does another rule, or a learner that knows no theory, do better?"""
    better = better_rules(scores, chosen)
    if not better:
        return f"No rule did better than {chosen} on any of these measures, on the mean over all origins."
    told = "; ".join(f"on {words}, “{rule}”" for words, rule in better)
    return (
        f"On the mean over all origins (the table shows the newest alone), something plainer did better than {chosen}: "
        f"{told}."
    )


def describe_models(analysis: Analysis) -> pd.DataFrame:
    """Which models were fitted, with which parameters?

    Returns
    -------
    pandas.DataFrame
        `model`, `parameters` (in words), `log_likelihood`, `customers`, `rows`, `used` (for what).
    """
    used = {analysis.alive.name: ["P(alive)"], "Gamma-Gamma": ["amount of a purchase"]}
    used.setdefault(analysis.chosen, []).insert(0, "number of purchases")
    told = [model.as_json() for model in (*analysis.models.values(), analysis.spend)]
    return pd.DataFrame(
        {
            "model": item["model"],
            "parameters": ", ".join(f"{name} {value:.4g}" for name, value in item["parameters"].items()),
            "log_likelihood": item["log_likelihood"],
            "customers": item["customers"],
            "rows": item["rows"],
            "used": " and ".join(used.get(item["model"], ["comparison"])),
        }
        for item in told
    )


def models_to_keep(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """The fitted models as plain data, by the name of their file."""
    from importlib.metadata import version

    told = {name.replace("/", "_").replace("-", "_").lower(): model.as_json() for name, model in analysis.models.items()}
    told = {name: model | {"chosen": model["model"] == analysis.chosen} for name, model in told.items()}
    told |= {"gamma_gamma": analysis.spend.as_json() | {"chosen": True}}
    made = {
        "data_hash": analysis.data_hash,
        "versions": {name: version(name) for name in ("lifetimes", "numpy", "scipy")},
    }
    return {name: model | made for name, model in told.items()}


def by_recency(value: ir.Table) -> pd.DataFrame:
    """How alive is a customer, by how often and how lately they bought?

    Returns
    -------
    pandas.DataFrame
        Mean P(alive); rows are purchases after the first, columns are the months since the last purchase.
    """
    idle = ((value["T"] - value["recency"]) / 30.4375).floor().cast("int64")
    bins = ibis.cases((idle < 3, "0-2"), (idle < 6, "3-5"), (idle < 12, "6-11"), (idle < 18, "12-17"), else_="18+")
    often = ibis.cases(
        (value["frequency"] == 0, "0"),
        (value["frequency"] == 1, "1"),
        (value["frequency"] < 4, "2-3"),
        (value["frequency"] < 8, "4-7"),
        else_="8+",
    )
    cells = value.group_by(often=often, idle=bins).agg(p_alive=value["p_alive"].mean(), customers=value.count())
    told = cells.filter(cells["customers"] >= SMALL_CELL).to_pandas()
    wide = told.pivot_table(index="often", columns="idle", values="p_alive")
    rows = [name for name in ("0", "1", "2-3", "4-7", "8+") if name in wide.index]
    columns = [name for name in ("0-2", "3-5", "6-11", "12-17", "18+") if name in wide.columns]
    return wide.loc[rows, columns].rename_axis(index=None, columns=None).round(3)


def frequency_recency(value: ir.Table) -> pd.DataFrame:
    """How many purchases lie ahead, by how often and until when somebody bought?

    Parameters
    ----------
    value
        The table `value`.

    Returns
    -------
    pandas.DataFrame
        Mean expected purchases; rows are purchases after the first, columns the share of their time with us after
        which the last one lay: who bought until just now stands on the right.
    """
    share = ibis.ifelse(value["T"] > 0, value["recency"] / value["T"].nullif(0), 0.0)
    late = ibis.cases(
        (share < 0.2, "first fifth"),
        (share < 0.4, "second"),
        (share < 0.6, "third"),
        (share < 0.8, "fourth"),
        else_="last fifth",
    )
    often = ibis.cases(
        (value["frequency"] == 1, "1"), (value["frequency"] < 4, "2-3"), (value["frequency"] < 8, "4-7"),
        (value["frequency"] < 16, "8-15"), else_="16+",
    )  # fmt: skip
    again = value.mutate(late=late, often=often).filter(value["frequency"] > 0)
    cells = again.group_by("often", "late").agg(expected=total(again["expected_orders"]) / again.count(), customers=again.count())
    wide = (
        cells.filter(cells["customers"] >= SMALL_CELL).to_pandas().pivot_table(index="often", columns="late", values="expected")
    )
    rows = [name for name in ("1", "2-3", "4-7", "8-15", "16+") if name in wide.index]
    columns = [name for name in ("first fifth", "second", "third", "fourth", "last fifth") if name in wide.columns]
    return wide.loc[rows, columns].rename_axis(index=None, columns=None).round(2)


def movement(value: ir.Table, previous: Run | None) -> pd.DataFrame:
    """Who moved between tiers since the last run?

    Parameters
    ----------
    value
        The table `value`.
    previous
        The run before; None where there is none.

    Returns
    -------
    pandas.DataFrame
        Customers: rows are the tier then (`new` for those who were not there), columns the tier now.
    """
    if previous is None or "value" not in previous.tables:
        return pd.DataFrame()
    import pyarrow.parquet as pq

    then = ibis.memtable(pq.read_table(previous.path("value"), columns=["customer_id", "tier"])).rename(then="tier")
    both = value.select("customer_id", "tier").left_join(then, "customer_id")
    both = both.mutate(then=both["then"].fill_null("new"))
    counted = both.group_by("then", "tier").agg(customers=both.count()).to_pandas()
    wide = counted.pivot_table(index="then", columns="tier", values="customers", fill_value=0)
    rows = [name for name in (*TIERS, "new") if name in wide.index]
    return wide.loc[rows, [t for t in TIERS if t in wide.columns]].rename_axis(index=None, columns=None)


def say_movement(moved: pd.DataFrame) -> str:
    """In one sentence: how many customers changed tiers?"""
    if moved.empty:
        return "This is the first run of the book: there is nothing to compare tiers with."
    known = moved.drop(index="new", errors="ignore")
    same = sum(known.loc[tier, tier] for tier in known.index if tier in known.columns)
    n = int(known.to_numpy().sum())
    return f"Of {n:,} customers known at the last run, {n - int(same):,} are in another tier now."


def one_history(bought: ir.Table, value: ir.Table, analysis: Analysis, as_of: dt.date, points: int = 60) -> pd.DataFrame:
    """How did P(alive) of one customer rise and fall with their purchases?

    The one with the most value among those who are in doubt: P(alive) below 0.8, and at least five purchases.

    Parameters
    ----------
    bought, value, analysis, as_of
        As from :func:`clientbook.value.analyse`.
    points
        Days at which it is looked at.

    Returns
    -------
    pandas.DataFrame
        `day`, `p_alive`, `purchases` so far; empty where there is no such customer.
    """
    some = value.filter((value["p_alive"] < 0.8) & (value["frequency"] >= 4)).order_by(ibis.desc("clv"), "customer_id").limit(1)
    whose = some.to_pandas()
    if whose.empty:
        return pd.DataFrame(columns=["day", "p_alive", "purchases"])
    if "customer_id" in bought.columns:
        own = bought.filter(bought["customer_id"] == whose["customer_id"].iloc[0])
    else:
        known = with_customer(bought, None)
        own = known.filter(known["customer_id"] == whose["customer_id"].iloc[0])
    days = np.sort(pd.to_datetime(own.select("day").to_pandas()["day"]).to_numpy())
    end = pd.Timestamp(as_of) - pd.Timedelta(days=1)
    grid = pd.date_range(days[0], end, periods=points).normalize()
    grid = pd.DatetimeIndex(np.unique(np.concatenate([grid.to_numpy(), days]))).as_unit("ns")
    n = np.searchsorted(days, grid.to_numpy(), side="right")
    last = days[n - 1]
    one = pd.DataFrame(
        {
            "frequency": n - 1,
            "recency": (last - days[0]) / np.timedelta64(1, "D"),
            "T": (grid.to_numpy() - days[0]) / np.timedelta64(1, "D"),
        }
    )
    on = grid + pd.Timedelta(days=1)
    return pd.DataFrame({"day": grid, "p_alive": analysis.alive.p_alive(one, on), "purchases": n})


def diagnostics(bought: ir.Table, analysis: Analysis, as_of: dt.date, p: Any) -> pd.DataFrame:
    """Are buyers regular, is there a season, do frequent buyers spend more; and what does each do to the forecast?

    Parameters
    ----------
    bought, analysis, as_of, p
        As for :func:`clientbook.value.analyse`.

    Returns
    -------
    pandas.DataFrame
        `question`, `found`, `means`.
    """
    k = regularity(bought)
    rows = []
    if k is not None:
        words = "more regular than chance" if k > 1.3 else "in bursts" if k < 0.8 else "about as chance would have it"
        means = (
            "silence says more than the BG/NBD and its kin believe; the MBG/CNBD-k, which counts with it, was tried"
            if k > 1.3 else "the models with gaps by pure chance fit"
        )  # fmt: skip
        rows.append(("Do customers buy regularly?", f"{words}: gaps have a shape of {k:.2f} (1 is chance)", means))
    season = seasons(bought, as_of)
    if season is not None:
        peak, low = int(season.idxmax()), int(season.idxmin())
        strong = season.max() / max(season.min(), 1e-9)
        month = lambda n: dt.date(2000, n, 1).strftime("%B")  # noqa: E731
        found = f"{month(peak)} has {strong:.1f} times the purchases a day of {month(low)}"
        rows.append(("Is there a season?", found, say_season(analysis, p)))
    else:
        found = "the history is shorter than two years: each month was seen once at most"
        rows.append(("Is there a season?", found, say_season(analysis, p)))
    spend = analysis.spend
    corrected = any(one != 1 for one in spend.correction)
    rows.append(
        (
            "Do those who buy often spend more each time?",
            f"rank correlation {spend.correlation:+.2f}",
            "amounts are corrected by how often somebody buys" if corrected
            else "no correction: it would not have helped, or there is nothing to correct",
        )
    )  # fmt: skip
    rows.append(
        (
            "Does the first purchase tell of the later ones?",
            "yes" if spend.with_first else "no",
            "it counts as evidence of what a customer spends"
            if spend.with_first
            else "it is left out, as in the published model",
        )
    )
    return pd.DataFrame(rows, columns=["question", "found", "means"])


def say_season(analysis: Analysis, p: Any) -> str:
    """In one sentence: does the forecast count with the season, and why?

    Parameters
    ----------
    analysis, p
        As for :func:`diagnostics`.
    """
    tried = analysis.season
    if tried.origin is None:
        return (
            "the forecast counts with none: whether that helps cannot be tried before a year and eight weeks have been "
            "seen; the interval of the total allows for it"
        )
    missed = (
        f"from {tried.origin:%d %B %Y} on the error was {tried.seasonal:.3f} with it and {tried.plain:.3f} without, the "
        f"total off by {tried.off_seasonal:+.0%} and {tried.off_plain:+.0%}"
    )
    if tried.season is None:
        whole = p.horizon_days % 365 == 0
        evened = "in a horizon of whole years it evens out" if whole else "the horizon is too high or low by its season"
        return f"the forecast counts with none, as that did not help: {missed}; {evened}"
    ahead = tried.season.ahead(p.horizon_days, analysis.models[analysis.chosen].today) / p.horizon_days - 1
    return f"the forecast counts with it, as that helped: {missed}; the time ahead is {ahead:+.0%} by its months"


def regularity(bought: ir.Table) -> float | None:
    """How regular are gaps between purchases? The shape k of their gamma distribution, 1 for pure chance.

    Of two gaps of one customer that follow each other, the share of the first in their sum has variance 1 / (4 (2k +
    1)), whatever the customer's rate.

    Parameters
    ----------
    bought
        As from :func:`clientbook.value.purchases`.

    Returns
    -------
    float or None
        None where fewer than 100 such pairs are there.

    References
    ----------
    Wheat, Morrison (1990), "Estimating purchase regularity with two interpurchase times".
    """
    whose = list(key(bought))
    at = ibis.window(group_by=whose, order_by="day")
    gaps = bought.mutate(gap=bought["day"].delta(bought["day"].lag().over(at), unit="day"))
    pairs = gaps.mutate(before=gaps["gap"].lag().over(ibis.window(group_by=whose, order_by="day")))
    number = ibis.row_number().over(group_by=whose, order_by="day")
    # pairs that share no gap: the third purchase, the fifth, …
    pairs = pairs.mutate(number=number).filter(lambda t: t["before"].notnull() & (t["number"] % 2 == 0))
    share = (pairs["gap"] / (pairs["gap"] + pairs["before"])).cast("float64")
    facts = pairs.aggregate(n=pairs.count(), one=total(share), two=total(share * share)).to_pandas().iloc[0]
    n = int(facts["n"])
    if n < 100:
        return None
    variance = facts["two"] / n - (facts["one"] / n) ** 2
    return float(max((1 / (4 * variance) - 1) / 2, 0.0)) if variance > 0 else None


def seasons(bought: ir.Table, as_of: dt.date) -> pd.Series | None:
    """How many purchases a day does each month of the year have, beside the mean of its year?

    The last whole years before `as_of`, so that every month counts as often as the others.

    Parameters
    ----------
    bought, as_of
        As for :func:`clientbook.value.analyse`.

    Returns
    -------
    pandas.Series or None
        By month, 1 to 12; None where there are fewer than two years.
    """
    daily = bought.group_by("day").agg(n=bought.count()).order_by("day").to_pandas()
    daily["day"] = pd.to_datetime(daily["day"])
    ago = (pd.Timestamp(as_of) - daily["day"]).dt.days
    years = int(ago.max() + 7) // 365 if len(daily) else 0
    if years < 2:
        return None
    daily = daily.assign(year=(ago - 1) // 365, month=daily["day"].dt.month)
    daily = daily[daily["year"] < years]
    share = daily["n"] / daily.groupby("year")["n"].transform("sum")
    days = pd.date_range(pd.Timestamp(as_of) - pd.Timedelta(days=365), periods=365).month.value_counts()
    return (share.groupby(daily["month"]).sum() / years * 365 / days.sort_index()).reindex(range(1, 13)).fillna(0.0)


def describe(bought: ir.Table, book: ir.Table, as_of: dt.date) -> str:
    """What can be said of a book without any model? In a few sentences.

    Parameters
    ----------
    bought, book
        As from :func:`clientbook.value.purchases` and :func:`clientbook.value.ledger`.
    as_of
        The day of the run.
    """
    summary = summarise(bought, as_of)
    ranked = summary.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("gross"), "customer_id"]))
    facts = ranked.aggregate(
        customers=ranked.count(), again=(ranked["frequency"] > 0).sum(), days=ranked["purchases"].sum(),
        gross=total(ranked["gross"]), best=total(ranked["gross"], ranked["tenth"] == 0), most=ranked["purchases"].max(),
    ).to_pandas().fillna(0).iloc[0]  # fmt: skip
    n = int(facts["customers"])
    if not n:
        return ""
    back = float(
        book.filter(book["known_on"] < ibis.date(as_of.isoformat())).aggregate(b=total(book["returned"])).to_pandas()["b"].iloc[0]
    )
    gross = float(facts["gross"])
    best = f"; the best tenth of them for {facts['best'] / gross:.0%} of it" if gross and n >= 10 else ""
    kept = f" {back / gross:.0%} of it came back." if gross and back else ""
    who = "One customer" if n == 1 else f"{n:,} customers"
    return (
        f"What can be said without one: {who} bought on {int(facts['days']):,} days in all, "
        f"for {gross:,.0f}{best}.{kept} "
        f"{int(facts['again']):,} bought again, the most frequent on {int(facts['most']):,} days."
    )


def span(horizon_days: int) -> str:
    """The time ahead in words: a customer's value without it says nothing."""
    years, rest = divmod(horizon_days, YEAR)
    return f"the next {12 * years} months" if years and not rest else f"the next {horizon_days} days"


def key_numbers(sums: pd.DataFrame, analysis: Analysis, p: Any) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?"""
    row = sums.iloc[0]
    scores = analysis.scores
    best = scores[(scores["origin"] == scores["origin"].max()) & (scores["model"] == analysis.chosen)].iloc[0]
    n = int(row["customers"])
    return [
        KeyNumber("Customers with a purchase", n, "customers", "up", n=n),
        KeyNumber("Expected value", round(float(row["clv"]), 2), "money", "up", n=n, low=analysis.total_low,
                  high=analysis.total_high, note=f"in {span(p.horizon_days)}"),
        KeyNumber("Share of value in the best tenth", round(float(row["top_tenth"]), 6), "share", "", n=n),
        KeyNumber("Customers still alive", round(float(row["alive"]), 1), "customers", "up", n=n),
        KeyNumber("Forecast error", round(float(best["rmse"]), 6), "purchases", "down", n=int(best["customers"]),
                  note=f"{analysis.chosen}, root of the mean square on held-out time"),
    ]  # fmt: skip


def best(
    value: ir.Table,
    orders: ir.Table,
    identities: ir.Table | None,
    consents: ir.Table | None,
    as_of: dt.date,
    customers: int = 100,
    *,
    zone: str,
) -> pd.DataFrame:
    """Whom should we look after first?

    Parameters
    ----------
    value
        The table `value`.
    orders, identities
        Clean orders, and whose they are.
    consents
        Clean consents; None where the book has none.
    as_of
        The day of the run.
    customers
        How many.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        The customers with the highest clv, with the first of their records (`source`, `person_id`) so that they can be
        found, and `consent` to marketing by any channel: `given`, `not given`, or `unknown` in a book without consents.
        The list is for service, which needs none.
    """
    top = value.order_by(ibis.desc("clv"), "customer_id").limit(customers)
    known = with_customer(orders, identities)
    record = known.group_by("customer_id").agg(
        source=known["person_source"].argmin(known["arrival"]), person_id=known["person_id"].argmin(known["arrival"])
    )
    joined = top.inner_join(record, "customer_id").order_by(ibis.desc("clv"), "customer_id").to_pandas()
    lead = ["customer_id", "source", "person_id", "tier", "clv", "clv_low", "clv_high", "p_alive", "expected_orders"]
    if consents is None:
        return joined[lead].assign(consent="unknown")
    given = set(allowing(consents, identities, as_of, zone).semi_join(top, "customer_id").to_pandas()["customer_id"])
    return joined[lead].assign(consent=["given" if one in given else "not given" for one in joined["customer_id"]])


def run_before(runs: list[Run], this: Run | None) -> Run | None:
    """The newest whole run that is not this one; None where there is none.

    Parameters
    ----------
    runs
        The whole runs that are kept, oldest first.
    this
        The run under way.
    """
    others = [run for run in runs if this is None or run.name != this.name]
    return others[-1] if others else None


def say_tracking(path: pd.DataFrame) -> str:
    """In one sentence: did purchases add up as foreseen?

    Parameters
    ----------
    path
        `actual` and `expected`, cumulative.
    """
    came, foreseen = float(path["actual"].iloc[-1]), float(path["expected"].iloc[-1])
    if not came:
        return "Nobody came back in the time held out"
    off = foreseen / came - 1
    return f"By the end {abs(off):.0%} too {'few' if off < 0 else 'many'} purchases were foreseen"


def say_tenths(tenths: pd.DataFrame) -> str:
    """In one sentence: for how many tenths of the customers was the margin foreseen within chance?

    Parameters
    ----------
    tenths
        As from :func:`clientbook.value.by_tenth`.
    """
    inside = ((tenths["expected"] >= tenths["low"]) & (tenths["expected"] <= tenths["high"])).sum()
    return f"In {int(inside)} of {len(tenths)} tenths the margin foreseen is within chance of what came"


def say_level(analysis: Analysis, p: Any) -> str:
    """In one sentence: at which level do the intervals of single customers hold as often as asked?"""
    return f"Bounds that hold {analysis.level:.0%} of the simulated futures held {p.interval:.0%} of the customers."


def say_loss(loss: Any) -> str:
    """In one sentence: what does a late delivery cost?

    Parameters
    ----------
    loss
        As from :func:`clientbook.value.loss_if_late`.
    """
    if not loss.measured:
        return (
            f"**The book cannot say what a late delivery costs; {loss.share:.0%} of what a customer is expected to "
            "bring is assumed.** It takes 50 late and 50 punctual deliveries, with what was promised."
        )
    return (
        f"**After a late delivery {loss.share:.0%} fewer customers come back within half a year than after a punctual "
        "one** "
        f"(between {loss.low:.0%} and {loss.high:.0%}; {loss.late:,} late and {loss.punctual:,} punctual orders)."
    )


def listed(rows: ir.Table | None) -> pd.DataFrame:
    """A list as a frame, with or without a customer in it.

    Parameters
    ----------
    rows
        The table `recoveries`; None where the book has no deliveries.
    """
    if rows is None:
        return pd.DataFrame(columns=["customer_id", "call_rank", "rank_by_lateness", "value_at_risk"])
    return rows.order_by("call_rank").to_pandas()


def say_currency(foreign: pd.DataFrame, currency: str) -> str:
    """In one sentence: which order lines were left out because they are in another currency? Nothing where none were.

    Parameters
    ----------
    foreign
        As from :func:`clientbook.value.in_one_currency`.
    currency
        The book's.
    """
    if foreign.empty:
        return ""
    told = ", ".join(f"{int(row.lines):,} in {row.currency}" for row in foreign.itertuples())
    return (
        f"\n\n**Order lines in another currency than {currency} are left out ({told}): no rate is known.** "
        "Deliver all amounts in one currency."
    )


def say_topics(tried: pd.DataFrame) -> str:
    """In one or two sentences: is the next topic a better offer than the most sold one?

    Parameters
    ----------
    tried
        As from :func:`clientbook.value.backtest_topics`.
    """
    if tried.empty or not tried["customers"].iloc[0]:
        return "The book has no topics, or too short a history, to try an offer on."
    model, rule = (row for row in tried.itertuples())
    often = "more often" if rule.right > model.right else "no more often"
    brings = "more" if rule.margin > model.margin else "less"
    first = f"Offering {rule.rule} would have been right {often} ({rule.right:.0%} against {model.right:.0%})"
    return f"{first}, and would have brought {brings} margin from those who were offered the right topic."
