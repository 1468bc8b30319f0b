"""What do messages cost and bring, and what do wrong ones?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.stage import NothingToShow
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found, bounds, resampled
from clientbook.use_cases.history import YEAR, date

# An order comes so soon after a click; after a letter or a call, in which nothing can be clicked, so soon after it was sent.
ORDER_DAYS, UNCLICKED_DAYS = 7, 30
FEWEST_CLICKS = 100
# Half an imagined order in a hundred clicks keeps a stage with few clicks from saying that none ever orders.
IMAGINED_ORDERS, IMAGINED_CLICKS = 0.25, 50
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

    An order belongs to a message if it names its content as its campaign, and the same customer had clicked it in the week
    before; if they clicked none, it belongs to the one that was sent last in the month before.

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
        `cost`, `clicked`, `brought` (orders after a click), `unclicked` (orders without one), `each` (margin that an order of
        the customer leaves; empty: none known).
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
    known = rows.select(*keys, "customer_id", "content_id", "clicked_at", "sent_at")
    met = known.inner_join(named, ["customer_id", "content_id"])
    clicked = met["clicked_at"].notnull()
    since = ibis.ifelse(clicked, met["clicked_at"], met["sent_at"])
    soon = met["ordered_at"] < since + ibis.ifelse(clicked, ibis.interval(days=ORDER_DAYS), ibis.interval(days=UNCLICKED_DAYS))
    met = met.filter((met["ordered_at"] >= since) & soon).mutate(_clicked=clicked, _since=since)
    # of several messages before an order the last clicked one counts, or else the last that was sent
    by = [ibis.desc("_clicked"), ibis.desc("_since"), *keys]
    met = met.mutate(_rank=ibis.row_number().over(group_by=["customer_id", "order"], order_by=by))
    met = met.filter(met["_rank"] == 0)
    brought = met.group_by(keys).agg(
        brought=met["order"].nunique(where=met["_clicked"]), unclicked=met["order"].nunique(where=~met["_clicked"])
    )
    rows = rows.left_join(brought, keys).drop("source_right", "message_id_right")
    rows = rows.left_join(worth, "customer_id").drop("customer_id_right")
    return engine.keep(
        rows.select(
            *keys, "customer_id", "sent_at", "channel", "verdict", *REASONS, stage=rows["stage_at_send"].fill_null("none"),
            cost=rows["cost"].fill_null(0.0), clicked=rows["clicked_at"].notnull().cast("int64"),
            brought=rows["brought"].fill_null(0), unclicked=rows["unclicked"].fill_null(0), each=rows["each"],
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
        unclicked=total(each["wrong"] * each["unclicked"] * each["each"].fill_null(0.0)),
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
    hits, clicks = per_stage["brought"].to_numpy(float), per_stage["clicks"].to_numpy(float)
    rate = (hits + IMAGINED_ORDERS) / (clicks + IMAGINED_CLICKS)
    values = frame[["cost", "unclicked", *[f"clicks_{i}" for i in range(len(stages))]]].to_numpy(float)
    sums = values.sum(axis=0)
    gain = float(sums[0] - sums[1] - (sums[2:] * rate).sum())
    drawn = resampled(values, p.draws, generator)
    rates_drawn = generator.gamma(hits + IMAGINED_ORDERS, 1 / (clicks + IMAGINED_CLICKS), (p.draws, len(stages)))
    low, high = bounds(drawn[:, 0] - drawn[:, 1] - (drawn[:, 2:] * rates_drawn).sum(axis=1), p.interval)
    n = int(frame["wrong"].sum())
    method = (
        f"the messages of the year before {as_of:%Y-%m-%d}; {n:,} of {int(frame['messages'].sum()):,} were wrong as of the "
        f"time of sending and cost {sums[0]:,.0f}; of all wrong ones that were clicked, {hits.sum():,.0f} brought an order of "
        f"their campaign, and orders that followed one without a click left {sums[1]:,.0f}; what customers bear with, and who "
        "leaves the list, is not counted in money"
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
        messages=inside.count(), cost=total(inside["cost"]), clicks=inside["clicked"].sum(),
        orders=(inside["brought"] + inside["unclicked"]).sum(),
    )
    frame = each.to_pandas()
    return frame.sort_values(["cost", "verdict"], ascending=[False, True], ignore_index=True)
