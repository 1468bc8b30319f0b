"""What came after the messages, what did the wrong ones cost, and where do teams contradict each other?"""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.content import audit
from clientbook.content.audit import VERDICTS, as_count, keep
from clientbook.exact import total

VISIT_DAYS, ORDER_DAYS, WON_DAYS, CLASH_DAYS = 3, 7, 90, 7
ANSWERS = ("opened", "clicked", "replied", "unsubscribed")
LATER = ("visited", "ordered", "won")
PROPERTIES = ("verdict", "stage_at_send", "message_type")
_Z = 1.959964


def after(
    audited: ir.Table, visits: ir.Table | None, orders: ir.Table | None, won: ir.Table | None, now: dt.datetime, engine
) -> ir.Table:
    """What followed each message?

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    visits, orders
        `customer_id`, `at`; None where the book has none.
    won
        `account_id`, `at` of the deals that were won; or None.
    now
        The instant of the run: where the days after a message are not over, what follows it is not known yet.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        A row for each `verdict`, `stage_at_send` and `message_type`: `n` (messages, without the operational ones), how
        many of them were `opened`, `clicked`, `replied`, `unsubscribed`, and were followed by a visit within 3 days
        (`visited`), an order (`ordered`, 7) or a deal that was won (`won`, 90), out of `visited_n`, `ordered_n`, `won_n` of
        which that is known.
    """
    a = audited.filter(~audited["is_operational"])
    found = a.select("arrival", *PROPERTIES, *ANSWERS)
    for name, happened, days, key in (
        ("visited", visits, VISIT_DAYS, "customer_id"),
        ("ordered", orders, ORDER_DAYS, "customer_id"),
        ("won", won, WON_DAYS, "account_id"),
    ):
        if happened is None:
            found = found.mutate(**{name: ibis.null("int64")})
            continue
        over = a.filter(a["at"] < ibis.literal(now - dt.timedelta(days=days), "timestamp"))
        hit = keep(engine, audit.followed(over, happened.select(key, "at"), days, key))
        hit = hit.select("arrival", **{name: hit["followed"].cast("int64")})
        found = found.left_join(hit, "arrival").select(*found.columns, name)
    return keep(engine, found.group_by(*PROPERTIES).agg(
        n=found.count(), **{each: as_count(found[each].sum()) for each in (*ANSWERS, *LATER)},
        **{f"{each}_n": found[each].count() for each in LATER},
    ))  # fmt: skip


def by(followed: ir.Table, name: str) -> pd.DataFrame:
    """How were messages answered, and what followed, by one of their properties?

    Parameters
    ----------
    followed
        Of :func:`after`.
    name
        `verdict`, `stage_at_send` or `message_type`.

    Returns
    -------
    pandas.DataFrame
        The property, `n`, the shares `opened`, `clicked`, `replied`, `unsubscribed`, `visited`, `ordered`, `won` (empty
        where it is not known), and of `clicked` and `ordered` `…_low` and `…_high` (95 %, Wilson). Verdicts in their
        order, all else by `n`.
    """
    f = followed.mutate(group=followed[name].fill_null("not known"))
    sums = {each: as_count(f[each].sum()).fill_null(0) for each in ("n", *ANSWERS, *LATER, *(f"{each}_n" for each in LATER))}
    told = f.group_by("group").agg(**sums).order_by("group").to_pandas()
    for each in (*ANSWERS, *LATER):
        n = told.get(f"{each}_n", told["n"]).to_numpy(float)
        hits = told[each].to_numpy(float)
        told[each] = np.divide(hits, n, out=np.full(len(n), np.nan), where=n > 0)
        if each in ("clicked", "ordered"):
            told[f"{each}_low"], told[f"{each}_high"] = wilson(hits, n)
    if name == "verdict":
        order = {verdict: i for i, verdict in enumerate(VERDICTS)}
        told = told.sort_values("group", key=lambda names: names.map(order), ignore_index=True)
    else:
        told = told.sort_values(["n", "group"], ascending=[False, True], ignore_index=True)
    names = ["group", "n", "opened", "clicked", "clicked_low", "clicked_high", "replied", "unsubscribed", "visited",
             "ordered", "ordered_low", "ordered_high", "won"]  # fmt: skip
    return told[names].rename(columns={"group": name})


def wilson(hits: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between which shares may the true one lie? Wilson's interval, 95 %; not known where n is 0.

    Parameters
    ----------
    hits, n
        Counts.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        middle, spread = hits + _Z * _Z / 2, _Z * np.sqrt(hits * (n - hits) / n + _Z * _Z / 4)
        low, high = (middle - spread) / (n + _Z * _Z), (middle + spread) / (n + _Z * _Z)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def cost(audited: ir.Table, value: ir.Table | None) -> pd.DataFrame:
    """What did the wrong messages cost?

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    value
        The table `value`; without it an unsubscription has no price.

    Returns
    -------
    pandas.DataFrame
        `verdict`, `messages`, `sending` (their cost, where the book knows it), `unsubscribed` (how many left with one),
        `lost` (expected value of those who left beyond the rate at which customers leave right messages), `in_all`. An
        unsubscription costs the whole value of its customer only if they are lost with it: an upper bound.
    """
    a = audited.filter(~audited["is_operational"])
    if value is not None:
        v = value.select("customer_id", clv=value["clv"].clip(0, None))
        a = a.left_join(v, "customer_id").select(*a.columns, "clv")
    else:
        a = a.mutate(clv=ibis.null("float64"))
    left = a["unsubscribed"] == 1
    each = a.group_by("verdict").agg(
        messages=a.count(), sending=total(a["cost"]), priced=a["cost"].count(), unsubscribed=as_count(a["unsubscribed"].sum()),
        worth=total(a["clv"].fill_null(0.0), where=left),
    ).to_pandas()  # fmt: skip
    each = each.set_index("verdict").reindex([name for name in VERDICTS if name in set(each["verdict"])]).reset_index()
    right = each[each["verdict"] == "right"]
    usual = float(right["unsubscribed"].sum() / right["messages"].sum()) if right["messages"].sum() else 0.0
    n, gone = each["messages"].to_numpy(float), each["unsubscribed"].to_numpy(float)
    beyond = np.clip(np.divide(gone - usual * n, gone, out=np.zeros(len(n)), where=gone > 0), 0, 1)
    each["lost"] = np.round(each.pop("worth").to_numpy(float) * beyond, 2)
    if value is None:
        each["lost"] = np.nan
    if not each.pop("priced").sum():
        # a book that does not say what messages cost has not sent them for nothing
        each["sending"] = np.nan
    each = each[each["verdict"] != "right"].reset_index(drop=True)
    return each.assign(in_all=each[["sending", "lost"]].sum(axis=1, min_count=1))


def say_cost(told: pd.DataFrame, money) -> str:
    """In one sentence: what did the wrong ones cost?

    Parameters
    ----------
    told
        Of :func:`cost`.
    money
        Writes an amount for people.
    """
    if told.empty:
        return "No message was wrong"
    sending, lost = float(told["sending"].sum()), float(told["lost"].sum())
    more = f", and customers worth up to {money(lost)} left with them" if lost > 0 else ""
    if told["sending"].isna().all():
        return f"What it cost to send the wrong messages this book does not say{more}"
    return f"The wrong messages cost {money(sending)} to send{more}"


def contradictions(audited: ir.Table, days: int = CLASH_DAYS) -> pd.DataFrame:
    """Which teams tell the same account different things within a week?

    Two messages contradict each other when different teams sent them to one account within so many days, and they are
    about different topics, or about one topic for stages that are more than a step apart.

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    days
        How close together.

    Returns
    -------
    pandas.DataFrame
        `team`, `then` (the team that wrote next), `pairs` (neighbours in time of one account), `other_topic`,
        `other_stage`, `accounts`, `share` (of the pairs that contradict); the most contradicting first.
    """
    a = audited.filter(~audited["is_operational"], audited["sender"].notnull(), audited["topic"].notnull())
    order = ibis.window(group_by="account_id", order_by=["at", "arrival"])
    a = a.select(
        "account_id", "at", "sender", "topic", "content_stage",
        **{f"_{name}": a[name].lag().over(order) for name in ("at", "sender", "topic", "content_stage")},
    )  # fmt: skip
    near = a.filter(a["_at"] > a["at"] - ibis.interval(days=days), a["sender"] != a["_sender"])
    other_topic = near["topic"] != near["_topic"]
    step = audit.position(near["content_stage"]) - audit.position(near["_content_stage"])
    other_stage = (~other_topic & (step.abs() > 1)).fill_null(False)
    near = near.mutate(other_topic=other_topic, other_stage=other_stage, clash=other_topic | other_stage)
    each = near.group_by(team="_sender", then="sender").agg(
        pairs=near.count(), other_topic=near["other_topic"].cast("int64").sum(),
        other_stage=near["other_stage"].cast("int64").sum(), accounts=near["account_id"].nunique(where=near["clash"]),
    ).order_by("team", "then").to_pandas()  # fmt: skip
    each["share"] = (each["other_topic"] + each["other_stage"]) / each["pairs"].where(each["pairs"] > 0)
    clashes = each["other_topic"] + each["other_stage"]
    return each.assign(_n=clashes).sort_values(["_n", "team", "then"], ascending=[False, True, True]).drop(
        columns="_n"
    ).reset_index(drop=True)  # fmt: skip


def say_contradictions(told: pd.DataFrame) -> str:
    """In one sentence: which teams contradict each other most?

    Parameters
    ----------
    told
        Of :func:`contradictions`.
    """
    if told.empty or not (told["other_topic"] + told["other_stage"]).sum():
        return "No team contradicted another within a week"
    row = told.iloc[0]
    return (
        f"“{row['then']}” wrote within a week of “{row['team']}” {row['pairs']:,} times, "
        f"{row['share']:.0%} of them about another topic, or for another stage"
    )
