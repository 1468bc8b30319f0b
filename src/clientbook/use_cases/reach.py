"""What would the same messages have brought by each customer's own channel and at their own hour?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import is_outbound, with_customer
from clientbook.exact import total
from clientbook.stage import NothingToShow
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found, bounds, resampled
from clientbook.use_cases.history import date
from clientbook.use_cases.messages import FEWEST_CLICKS, IMAGINED_CLICKS, IMAGINED_ORDERS, RIGHT, order_rates

NEAR_HOURS = 2
# A customer's own rate is drawn towards their channel's as far as people differ, within these bounds, in messages.
LEAST_SHRUNK, MOST_SHRUNK = 2.0, 1_000.0


def own_times(
    events: ir.Table | None, told: ir.Table, messages: ir.Table, identities: ir.Table | None, until: dt.date, zone: str
) -> ir.Table:
    """At which hour is each customer about by themselves, as far as was known on a day?

    The hour around which most of what they do of their own accord lies, answers to messages included; two hours to either
    side count half as much.

    Parameters
    ----------
    events, messages, identities
        Clean tables; the first and the last may be None.
    told
        As from :func:`sent`.
    until
        Nothing on or after this day is used.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `own_hour`, `seen` (what it rests on).
    """
    opened = messages.filter(messages["clicked_at"].notnull())
    parts = [with_customer(opened, identities).select("customer_id", at="clicked_at")]
    if events is not None:
        parts.append(with_customer(_of_their_own(events), identities).select("customer_id", at="occurred_at"))
    acts = ibis.union(*parts) if len(parts) > 1 else parts[0]
    acts = acts.filter(acts["at"] < date(until).cast("timestamp"))
    acts = acts.semi_join(told.select("customer_id").distinct(), "customer_id")
    hours = acts.mutate(hour=parsing.local(acts["at"], zone).hour().cast("int64"))
    counted = hours.group_by("customer_id", "hour").agg(n=hours.count())
    shifted = [
        counted.select("customer_id", hour=(counted["hour"] + step + 24) % 24, weight=counted["n"] * weight)
        for step, weight in ((-2, 1), (-1, 2), (0, 3), (1, 2), (2, 1))
    ]
    wide = ibis.union(*shifted)
    smooth = wide.group_by("customer_id", "hour").agg(weight=wide["weight"].sum())
    most = smooth.group_by("customer_id").agg(
        own_hour=smooth["hour"].argmax(smooth["weight"] * 100 - smooth["hour"]), seen=smooth["weight"].sum() / 9
    )
    return most.filter(most["seen"] >= 3)


def own_channels(told: ir.Table, lines: ir.Table, until: dt.date) -> ir.Table:
    """By which channel is each customer worth writing to, as far as was known on a day?

    The one by which a message was expected to leave most: how often this customer clicks what comes by it, drawn towards
    what is usual by that channel as far as people differ (a beta distribution by the method of moments), times the orders
    that follow a click, times what an order of theirs leaves, less what sending costs.

    Parameters
    ----------
    told
        As from :func:`clientbook.use_cases.messages.sent`.
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    until
        Nothing on or after this day is used.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `own_channel`, of those who were rightly written to by several channels whose answers are seen: by
        any other they may not be written to, or nobody would know whether they answer.
    """
    answered = answered_channels(told, until)
    before = told.filter((told["sent_at"] < date(until).cast("timestamp")) & (told["verdict"] == RIGHT))
    before = before.filter(before["channel"].isin(answered) if answered else ibis.literal(False))
    each = before.group_by("customer_id", "channel").agg(n=before.count(), clicks=before["clicked"].sum())
    by_channel = ibis.window(group_by="channel")
    each = each.mutate(usual=each["clicks"].sum().over(by_channel) / each["n"].sum().over(by_channel))
    chance = each["n"] * each["usual"] * (1 - each["usual"])
    beyond = ((each["clicks"] - each["n"] * each["usual"]) ** 2 - chance).sum().over(by_channel)
    between = beyond / (each["n"] * (each["n"] - 1)).sum().over(by_channel).nullif(0)
    shrunk = (each["usual"] * (1 - each["usual"]) / ibis.greatest(between, 1e-9) - 1).fill_null(MOST_SHRUNK)
    each = each.mutate(shrunk=shrunk.clip(LEAST_SHRUNK, MOST_SHRUNK))
    each = each.mutate(rate=(each["clicks"] + each["shrunk"] * each["usual"]) / (each["n"] + each["shrunk"]))

    then = lines.filter(lines["day"] < date(until))
    bought = then["returned_on"].isnull()
    worth = then.group_by("customer_id").agg(margin=total(then["margin"]), days=then["day"].nunique(where=bought))
    worth = worth.filter(worth["days"] > 0).select("customer_id", worth=worth["margin"] / worth["days"])
    facts = before.aggregate(clicks=before["clicked"].sum(), orders=before["brought"].sum())
    sums = facts.cross_join(worth.aggregate(mean=total(worth["worth"]) / worth.count().nullif(0))).to_pandas()
    sums = sums.astype(float).fillna(0.0).iloc[0]
    follows = (sums["orders"] + IMAGINED_ORDERS) / (sums["clicks"] + IMAGINED_CLICKS)
    costs = before.group_by("channel").agg(price=total(before["cost"]) / before.count())
    rows = each.inner_join(costs, "channel").left_join(worth, "customer_id")
    leaves = rows["rate"] * follows * rows["worth"].fill_null(sums["mean"]) - rows["price"]
    rows = rows.select("customer_id", "channel", leaves=leaves.round(9))
    # of two that leave the same the first by name
    order = ibis.window(group_by="customer_id", order_by=[ibis.desc("leaves"), "channel"])
    several = rows.count().over(ibis.window(group_by="customer_id"))
    rows = rows.mutate(several=several, place=ibis.row_number().over(order))
    return rows.filter((rows["several"] > 1) & (rows["place"] == 0)).select("customer_id", own_channel="channel")


def _of_their_own(events: ir.Table) -> ir.Table:
    return events.filter(~(events["event_name"].re_search("_(treated|treatment|control|holdout)$") | is_outbound(events)))


def told_by(events: ir.Table | None) -> pd.Series:
    """Which share of what customers do of their own accord does each source tell?

    Parameters
    ----------
    events
        Clean events; None without.

    Returns
    -------
    pandas.Series
        The share, by source.
    """
    if events is None:
        return pd.Series(dtype=float)
    own = _of_their_own(events)
    counted = own.group_by("source").agg(n=own.count()).to_pandas().set_index("source")["n"]
    return counted / counted.sum()


def answered_channels(told: ir.Table, until: dt.date) -> list[str]:
    """By which channels are answers seen?

    Parameters
    ----------
    told
        As from :func:`sent`.
    until
        Nothing on or after this day is used.

    Returns
    -------
    list of str
        Those with enough clicks, sorted.
    """
    before = told.filter(told["sent_at"] < date(until).cast("timestamp"))
    each = before.group_by("channel").agg(clicks=before["clicked"].sum()).to_pandas()
    return sorted(each.loc[each["clicks"] >= FEWEST_CLICKS, "channel"])


def reached(
    told: ir.Table, times: ir.Table, channels: ir.Table, as_of: dt.date, p, zone: str, engine
) -> tuple[Found, ir.Table]:
    """What would the same messages have brought, sent by each customer's own channel and at their own hour?

    Both were learned before the time held out. In it, messages that happened to be sent near a customer's own hour are
    compared with others of the same hour of the day and channel, and messages that happened to go by the channel of those
    customers whose own it is with those that went to such customers by another: nobody chose for the customer's sake.

    Parameters
    ----------
    told
        As from :func:`clientbook.use_cases.messages.sent`.
    times, channels
        As from :func:`own_times` and :func:`own_channels`, of the day on which the time held out begins.
    as_of
        The day of the run.
    p
        The parameters.
    zone
        The book's.
    engine
        Where it is computed.

    Returns
    -------
    found : Found
        The use case.
    rows : ibis.expr.types.Table
        The messages of the time held out with `own_hour` and `own_channel`; empty where none is known.

    Raises
    ------
    NothingToShow
        If too few messages were clicked.
    """
    start = as_of - dt.timedelta(days=p.holdout_days)
    answered = answered_channels(told, start)
    rows = _held_out(told, times, channels, answered, start, zone, engine)
    cells = rows.group_by("channel", "hour", "stage", "own_channel", "near").agg(
        n=rows.count(), clicks=rows["clicked"].sum(), cost=total(rows["cost"])
    ).to_pandas()  # fmt: skip
    timed = cells[cells["near"].notna()]
    if timed["clicks"].sum() < FEWEST_CLICKS:
        raise NothingToShow(f"Fewer than {FEWEST_CLICKS} messages were clicked in the time held out.")
    hour = ratio(timed, timed["near"] == 1, ["channel", "hour"])
    if not np.isfinite(hour[0]):
        raise NothingToShow("Nobody clicked a message that was sent at their own hour, or nobody another.")
    moved = cells[cells["own_channel"].notna() & (cells["own_channel"] != cells["channel"])]
    pairs = {pair: _of_pair(cells, *pair) for pair in sorted(set(zip(moved["channel"], moved["own_channel"], strict=True)))}
    prices = cells.groupby("channel")["cost"].sum() / cells.groupby("channel")["n"].sum()

    rates = order_rates(told, told["verdict"] != RIGHT)
    stages = list(dict.fromkeys(sorted(rates["stage"])))
    right = rates[~rates["wrong"]].set_index("stage").reindex(stages).fillna(0)
    hits, clicks = right["brought"].to_numpy(float) + IMAGINED_ORDERS, right["clicks"].to_numpy(float) + IMAGINED_CLICKS
    each = _sums(rows, list(pairs), stages)
    columns = each.drop(columns=["customer_id", "n"]).to_numpy(float)
    known = columns.sum(axis=0, keepdims=True)
    won = _Won(list(pairs), len(stages), np.array([prices[to] - prices[by] for by, to in pairs]))
    best = {which: np.exp(effect) for which, (effect, _) in {None: hour, **pairs}.items()}
    generator = np.random.default_rng(p.seed)
    sums = resampled(columns, p.draws, generator)
    rate = generator.gamma(hits, 1 / clicks, (p.draws, len(stages)))
    lifts = {
        which: np.exp(effect + error * generator.standard_normal(p.draws))
        for which, (effect, error) in {None: hour, **pairs}.items()
    }
    ways = [("as sent", 0.0, 0.0, 0.0)]
    for words, channel in (("at their own hour", False), ("by their own channel, at their own hour", True)):
        gain = float(won.of(known, hits / clicks, best, channel=channel)[0])
        ways.append((words, gain, *bounds(won.of(sums, rate, lifts, channel=channel), p.interval)))
    _, gain, low, high = ways[-1]
    base, n, switched = won.as_sent(known, hits / clicks), int(each["n"].sum()), int(known[0, won.brought :].sum())
    told_of = "".join(f", {by} to {to}: clicked {_said(*pairs[by, to])}" for by, to in pairs)
    method = (
        f"{n:,} right messages of the {p.holdout_days} days before {as_of:%Y-%m-%d} by {' and '.join(answered)}; hour and "
        f"channel learned before; sent within {NEAR_HOURS} hours of the customer's own hour they were clicked {_said(*hour)} as "
        "others of the same hour of the day; "
        + (f"{switched:,} would have gone by another channel{told_of}" if switched else "nobody has a better channel")
    )
    policies = pd.DataFrame(ways, columns=["policy", "extra", "low", "high"])
    return Found(catalogue.REACH, base, base + gain, low, high, n, p.holdout_days, method, 0.0, policies), rows


def _said(effect: float, error: float) -> str:
    low, high = np.exp(effect - 1.96 * error), np.exp(effect + 1.96 * error)
    return f"{np.exp(effect):.2f} times as often ({low:.2f} to {high:.2f})"


def _held_out(told, times, channels, answered: list[str], start: dt.date, zone: str, engine) -> ir.Table:
    """The right messages of the time held out, each beside its receiver's own hour and channel."""
    inside = told.filter((told["sent_at"] >= date(start).cast("timestamp")) & (told["verdict"] == RIGHT))
    inside = inside.filter(inside["channel"].isin(answered) if answered else ibis.literal(False))
    rows = inside.left_join(times, "customer_id").drop("customer_id_right")
    rows = rows.left_join(channels, "customer_id").drop("customer_id_right")
    hour = parsing.local(rows["sent_at"], zone).hour().cast("int64")
    apart = (hour - rows["own_hour"]).abs()
    near = ibis.least(apart, 24 - apart) <= NEAR_HOURS
    return engine.keep(
        rows.select(
            "source", "message_id", "customer_id", "channel", "stage", "clicked", "each", "brought", "cost", "own_hour",
            "own_channel", "sent_at", hour=hour, near=near.cast("int64"),
            moves=(rows["own_channel"] != rows["channel"]).fill_null(False),
        )
    )  # fmt: skip


def _sums(rows: ir.Table, pairs: list[tuple[str, str]], stages: list[str]) -> pd.DataFrame:
    """Of each customer what an order after each of their clicks would leave, by what would change and stage; and the moves."""
    worth, far = rows["clicked"] * rows["each"].fill_null(0.0), (rows["near"] == 0).fill_null(False)
    stay = [~rows["moves"]]
    go = [rows["moves"] & (rows["channel"] == by) & (rows["own_channel"] == to) for by, to in pairs]
    groups = [which & hour for which in stay + go for hour in (far, ~far)]
    each = rows.group_by("customer_id").agg(
        n=rows.count(),
        **{f"w_{g}_{i}": total(worth, which & (rows["stage"] == name))
           for g, which in enumerate(groups) for i, name in enumerate(stages)},
        **{f"m_{k}": which.sum() for k, which in enumerate(go)},
    )  # fmt: skip
    return each.order_by("customer_id").to_pandas()


class _Won:
    """What is won by the moves, from the columns of :func:`_sums`.

    Parameters
    ----------
    pairs
        From which channel to which.
    stages
        How many there are.
    dearer
        What a message costs more by the other channel, by pair.
    """

    def __init__(self, pairs: list[tuple[str, str]], stages: int, dearer: np.ndarray):
        self.pairs, self.stages, self.dearer = pairs, stages, dearer
        self.brought = 2 * (1 + len(pairs)) * stages

    def as_sent(self, sums: np.ndarray, rate: np.ndarray) -> float:
        """The margin of the orders that follow the clicks there were."""
        return float((sums[:, : self.brought].reshape(-1, self.stages) * rate).sum())

    def of(self, sums: np.ndarray, rate: np.ndarray, lifts: dict, *, channel: bool) -> np.ndarray:
        """By draw: the margin beside that of the same messages as sent, with or without another channel.

        `lifts` tells how many times as often is clicked what is sent at the own hour (None) or by the other channel.
        """
        whole = np.zeros(len(sums))
        for g, (pair, is_far) in enumerate((pair, is_far) for pair in (None, *self.pairs) for is_far in (True, False)):
            orders = (sums[:, g * self.stages : (g + 1) * self.stages] * rate).sum(axis=1)
            more = (lifts[None] if is_far else 1.0) * (lifts[pair] if channel and pair else 1.0)
            whole += orders * (more - 1.0)
        return whole - (sums[:, self.brought :] @ self.dearer if channel and self.pairs else 0.0)


def ratio(cells: pd.DataFrame, with_it: pd.Series, alike: list[str], imagined: float = 0.0) -> tuple[float, float]:
    """How many times as often is a message clicked with something as without it, among those alike?

    The rate ratio of Mantel and Haenszel, with the variance of Greenland and Robins (1985).

    Parameters
    ----------
    cells
        `n`, `clicks` and the columns of `alike`.
    with_it
        Which of them have it.
    alike
        What they are compared within.
    imagined
        Clicks on as many imagined messages, one with and one without it, so that few real ones claim little.

    Returns
    -------
    effect, error : float
        Of the logarithm; not finite where nobody clicked on one side.
    """
    sides = cells.assign(_with=np.asarray(with_it, bool)).groupby([*alike, "_with"])[["n", "clicks"]].sum()
    wanted = pd.MultiIndex.from_product([["n", "clicks"], [False, True]])
    sides = sides.unstack("_with", fill_value=0).reindex(columns=wanted, fill_value=0).astype(float)
    n0, n1, c0, c1 = (sides[which].to_numpy() for which in wanted)
    if imagined:
        n0, n1 = np.append(n0, 1.0), np.append(n1, 1.0)
        c0, c1 = np.append(c0, imagined), np.append(c1, imagined)
    size = np.maximum(n0 + n1, 1)
    more, fewer = (c1 * n0 / size).sum(), (c0 * n1 / size).sum()
    if min(more, fewer) <= 0:
        return np.nan, np.nan
    spread = ((c0 + c1) * n1 * n0 / size**2 - c0 * c1 / size).sum()
    return float(np.log(more / fewer)), float(np.sqrt(spread / (more * fewer)))


def _of_pair(cells: pd.DataFrame, by: str, to: str) -> tuple[float, float]:
    """What a channel does to those whose own it is, beside another by which they were written to."""
    theirs = cells[(cells["own_channel"] == to) & cells["channel"].isin([by, to])]
    return ratio(theirs, theirs["channel"] == to, ["stage"], imagined=0.5)
