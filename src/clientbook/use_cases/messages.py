"""What do wrong messages cost, and what would the right hour bring?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.stage import NothingToShow
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found, bounds, resampled
from clientbook.use_cases.history import YEAR, date

ORDER_DAYS = 7
NEAR_HOURS = 2
FEWEST_ORDERS = 10
FEWEST_CLICKS = 100
OPERATIONAL, RIGHT = "operational", "right"
# Whose absence keeps a reason from being seen.
REASONS = {
    "no_consent": "consents", "open_complaint": "cases", "after_close": "opportunities", "over_cap": "messages",
    "over_preference": "preferences", "duplicate": "messages", "wrong_topic": "opportunities", "wrong_stage": "events",
}  # fmt: skip


def sent(
    messages: ir.Table,
    audit: ir.Table,
    lines: ir.Table,
    orders: ir.Table,
    identities: ir.Table | None,
    as_of: dt.date,
    engine,
) -> ir.Table:
    """What did each message cost, was it answered, and did it bring an order?

    An order belongs to a message if it names its content as its campaign, and the same customer had clicked it in the
    week before.

    Parameters
    ----------
    messages, orders, identities
        Clean tables; the last may be None.
    audit
        As `06_content` writes it.
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    as_of
        The day of the run.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        A row a message that is not operational: `customer_id`, `sent_at`, `channel`, `stage`, `verdict` and its reasons,
        `cost`, `clicked`, `brought` (orders), `each` (margin that an order of the customer leaves; empty: none known).
    """  # fmt: skip
    judged = audit.filter(audit["verdict"] != OPERATIONAL)
    keys = ["source", "message_id"]
    more = messages.select(*keys, "cost", "clicked_at", "content_id")
    rows = judged.inner_join(more, keys)
    bought = lines["returned_on"].isnull()
    worth = lines.group_by("customer_id").agg(margin=total(lines["margin"]), days=lines["day"].nunique(where=bought))
    worth = worth.filter(worth["days"] > 0)
    worth = worth.select("customer_id", each=worth["margin"] / worth["days"])
    named = with_customer(orders.filter(orders["campaign"].notnull()), identities)
    named = named.select("customer_id", content_id="campaign", ordered_at="ordered_at", order=named["order_id"])
    clicks = rows.filter(rows["clicked_at"].notnull()).select(*keys, "customer_id", "content_id", "clicked_at")
    met = clicks.inner_join(named, ["customer_id", "content_id"])
    met = met.filter(
        (met["ordered_at"] >= met["clicked_at"]) & (met["ordered_at"] < met["clicked_at"] + ibis.interval(days=ORDER_DAYS))
    )
    # of several clicks before an order the last one counts
    last = ibis.row_number().over(group_by=["customer_id", "order"], order_by=[ibis.desc("clicked_at"), *keys])
    met = met.mutate(_rank=last).filter(lambda t: t["_rank"] == 0)
    brought = met.group_by(keys).agg(brought=met["order"].nunique())
    rows = rows.left_join(brought, keys).drop("source_right", "message_id_right")
    rows = rows.left_join(worth, "customer_id").drop("customer_id_right")
    return engine.keep(
        rows.select(
            *keys, "customer_id", "sent_at", "channel", "verdict", *REASONS, stage=rows["stage_at_send"].fill_null("none"),
            cost=rows["cost"].fill_null(0.0), clicked=rows["clicked_at"].notnull().cast("int64"),
            brought=rows["brought"].fill_null(0), each=rows["each"],
        )
    )  # fmt: skip


def order_rates(told: ir.Table, wrong: ir.BooleanValue) -> pd.DataFrame:
    """How many of the clicks on messages, wrong ones and others, were followed by an order of their campaign?

    Parameters
    ----------
    told
        As from :func:`sent`.
    wrong
        Which of them are wrong.

    Returns
    -------
    pandas.DataFrame
        `stage`, `wrong`, `clicks`, `brought`, `worth` (margin of an order, over those who clicked).
    """
    clicks = told.mutate(wrong=wrong).filter(lambda t: t["clicked"] == 1)
    each = clicks.group_by("stage", "wrong").agg(
        clicks=clicks.count(), brought=clicks["brought"].sum(), worth=total(clicks["each"].fill_null(0.0))
    )
    return each.order_by("stage", "wrong").to_pandas()


def stop_wrong(told: ir.Table, as_of: dt.date, p, unseen: frozenset[str] = frozenset()) -> Found:
    """What would not sending the wrong messages have saved, less what they brought?

    Parameters
    ----------
    told
        As from :func:`sent`.
    as_of
        The day of the run; the year before it is looked at.
    p
        The parameters.
    unseen
        Reasons that cannot be seen.

    Raises
    ------
    NothingToShow
        If nothing was sent in that year.
    """
    reasons = [name for name in REASONS if name not in unseen]
    held = ibis.or_(*[told[name].fill_null(False) for name in reasons]) if reasons else ibis.literal(False)
    rates = order_rates(told, held)
    inside = told.filter(told["sent_at"] >= date(as_of - dt.timedelta(days=YEAR)).cast("timestamp"))
    each = inside.mutate(wrong=held.cast("int64"))
    stages = sorted(rates["stage"])
    stages = list(dict.fromkeys(stages))
    counted = each.group_by("customer_id").agg(
        messages=each.count(),
        wrong=each["wrong"].sum(),
        cost=total(each["cost"], each["wrong"] == 1),
        # what a click is worth depends on where the customer stands
        **{
            f"clicks_{i}": total((each["clicked"] * each["wrong"] * each["each"].fill_null(0.0)), each["stage"] == name)
            for i, name in enumerate(stages)
        },
    )
    frame = counted.order_by("customer_id").to_pandas()
    if frame.empty:
        raise NothingToShow("No message was sent in the year before the run.")
    generator = np.random.default_rng(p.seed)
    per_stage = rates[rates["wrong"]].set_index("stage").reindex(stages).fillna(0)
    # half an imagined order in a hundred clicks keeps a stage with few clicks from saying none
    hits, clicks = per_stage["brought"].to_numpy(float), per_stage["clicks"].to_numpy(float)
    rate = (hits + 0.25) / (clicks + 50)
    values = frame[["cost", *[f"clicks_{i}" for i in range(len(stages))]]].to_numpy(float)
    sums = values.sum(axis=0)
    gain = float(sums[0] - (sums[1:] * rate).sum())
    drawn = resampled(values, p.draws, generator)
    rates_drawn = generator.gamma(hits + 0.25, 1 / (clicks + 50), (p.draws, len(stages)))
    low, high = bounds(drawn[:, 0] - (drawn[:, 1:] * rates_drawn).sum(axis=1), p.interval)
    n = int(frame["wrong"].sum())
    method = (
        f"the messages of the year before {as_of:%Y-%m-%d}; {n:,} of {int(frame['messages'].sum()):,} were wrong as of the "
        f"time of sending and cost {sums[0]:,.0f}; of all wrong ones that were clicked, {hits.sum():,.0f} brought an order of "
        "their campaign; what customers bear with, and who leaves the list, is not counted in money"
    )
    policies = pd.DataFrame(
        [("send them", 0.0, 0.0, 0.0), ("do not send them", gain, low, high)], columns=["policy", "extra", "low", "high"]
    )
    return Found(catalogue.WRONG, -gain, 0.0, low, high, n, YEAR, method, 0.0, policies, frame)


def by_reason(told: ir.Table, as_of: dt.date) -> pd.DataFrame:
    """What did wrong messages cost and bring, by why they are wrong?

    Parameters
    ----------
    told
        As from :func:`sent`.
    as_of
        The day of the run; the year before it is looked at.

    Returns
    -------
    pandas.DataFrame
        `verdict`, `messages`, `cost`, `clicks`, `orders`; the dearest first.
    """
    inside = told.filter(told["sent_at"] >= date(as_of - dt.timedelta(days=YEAR)).cast("timestamp"))
    each = inside.group_by("verdict").agg(
        messages=inside.count(), cost=total(inside["cost"]), clicks=inside["clicked"].sum(), orders=inside["brought"].sum()
    )
    frame = each.to_pandas()
    return frame.sort_values(["cost", "verdict"], ascending=[False, True], ignore_index=True)


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


def _of_their_own(events: ir.Table) -> ir.Table:
    outbound = (events["direction"] == "outbound").fill_null(False) if "direction" in events.columns else False
    return events.filter(~(events["event_name"].re_search("_(treated|treatment|control|holdout)$") | outbound))


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


def at_their_time(told: ir.Table, times: ir.Table, as_of: dt.date, p, zone: str, engine) -> tuple[Found, ir.Table]:
    """What would the same messages have brought, sent at each customer's own hour?

    Messages that happened to be sent near a customer's own hour are compared with others of the same hour of the day,
    and channel: nobody chose the hour for the customer's sake.

    Parameters
    ----------
    told
        As from :func:`sent`.
    times
        As from :func:`own_times`, of the day on which the time held out begins.
    as_of
        The day of the run.
    p
        The parameters.
    zone
        The book's.
    engine
        Where it is computed.

    Raises
    ------
    NothingToShow
        If too few messages were clicked.
    """
    start = as_of - dt.timedelta(days=p.holdout_days)
    answered = answered_channels(told, start)
    inside = told.filter((told["sent_at"] >= date(start).cast("timestamp")) & (told["verdict"] == RIGHT))
    inside = inside.filter(inside["channel"].isin(answered) if answered else ibis.literal(False))
    rows = inside.inner_join(times, "customer_id")
    hour = parsing.local(rows["sent_at"], zone).hour().cast("int64")
    apart = (hour - rows["own_hour"]).abs()
    near = ibis.least(apart, 24 - apart) <= NEAR_HOURS
    rows = engine.keep(
        rows.select(
            "source", "message_id", "customer_id", "channel", "stage", "clicked", "each", "brought", "own_hour", "sent_at",
            hour=hour, near=near.cast("int64"),
        )
    )  # fmt: skip
    cells = rows.group_by("channel", "hour", "near").agg(n=rows.count(), clicks=rows["clicked"].sum()).to_pandas()
    if cells.empty or cells["clicks"].sum() < FEWEST_CLICKS:
        raise NothingToShow(f"Fewer than {FEWEST_CLICKS} messages were clicked in the time held out.")
    wide = cells.pivot_table(index=["channel", "hour"], columns="near", values=["n", "clicks"], aggfunc="sum", fill_value=0)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([["n", "clicks"], [0, 1]]), fill_value=0).astype(float)
    n0, n1, c0, c1 = (wide[which].to_numpy() for which in (("n", 0), ("n", 1), ("clicks", 0), ("clicks", 1)))
    size = np.maximum(n0 + n1, 1)
    with_it, without = (c1 * n0 / size).sum(), (c0 * n1 / size).sum()
    spread = ((c0 + c1) * n1 * n0 / size**2 - c0 * c1 / size).sum()
    if min(with_it, without) <= 0:
        raise NothingToShow("Nobody clicked a message that was sent at their own hour, or nobody another.")
    effect, error = np.log(with_it / without), np.sqrt(spread / (with_it * without))
    rates = order_rates(told, told["verdict"] != RIGHT)
    stages = list(dict.fromkeys(sorted(rates["stage"])))
    right = rates[~rates["wrong"]].set_index("stage").reindex(stages).fillna(0)
    hits, clicks = right["brought"].to_numpy(float), right["clicks"].to_numpy(float)
    rate = (hits + 0.25) / (clicks + 50)
    worth = rows["clicked"] * rows["each"].fill_null(0.0)
    each = rows.group_by("customer_id").agg(
        n=rows.count(),
        **{f"far_{i}": total(worth, (rows["stage"] == name) & (rows["near"] == 0)) for i, name in enumerate(stages)},
        **{f"all_{i}": total(worth, rows["stage"] == name) for i, name in enumerate(stages)},
    )
    frame = each.order_by("customer_id").to_pandas()
    far = frame[[f"far_{i}" for i in range(len(stages))]].to_numpy(float)
    whole = frame[[f"all_{i}" for i in range(len(stages))]].to_numpy(float)
    gain = float((far.sum(axis=0) * rate).sum() * np.expm1(effect))
    base = float((whole.sum(axis=0) * rate).sum())
    generator = np.random.default_rng(p.seed)
    sums = resampled(far, p.draws, generator)
    drawn = generator.gamma(hits + 0.25, 1 / (clicks + 50), (p.draws, len(stages)))
    lifts = np.expm1(effect + error * generator.standard_normal(p.draws))
    low, high = bounds((sums * drawn).sum(axis=1) * lifts, p.interval)
    method = (
        f"{int(frame['n'].sum()):,} right messages of the {p.holdout_days} days before {as_of:%Y-%m-%d} by "
        f"{' and '.join(answered)}; sent within {NEAR_HOURS} hours of the customer's own hour, learned before, they were "
        f"clicked {np.exp(effect):.2f} times as often ({np.exp(effect - 1.96 * error):.2f} to "
        f"{np.exp(effect + 1.96 * error):.2f}) as others of the same hour of the day"
    )
    policies = pd.DataFrame(
        [("as sent", 0.0, 0.0, 0.0), ("at their own hour", gain, low, high)], columns=["policy", "extra", "low", "high"]
    )
    found = Found(catalogue.TIMES, base, base + gain, low, high, int(frame["n"].sum()), p.holdout_days, method, 0.0, policies)
    return found, rows
