"""How much does each account get, whoever of it gets it?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import parsing
from clientbook.book import ContactPolicy
from clientbook.content.audit import as_count, in_period


def windows(sent: ir.Table, days: int, zone: str) -> ir.Table:
    """How many messages had each account got in the days up to each day on which it got one?

    Parameters
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`; operational messages press nobody.
    days
        The length of a window.
    zone
        The book's, in which days begin.

    Returns
    -------
    ibis.expr.types.Table
        `account_id`, `window_end` (the window's last day), `messages`, `contacts` (customers who got one), `opens`,
        `replies` (messages of the window that were opened or answered by now).
    """
    m = sent.filter(~sent["is_operational"])
    m = m.select("account_id", "customer_id", "opened", "replied", day=parsing.local(m["at"], zone).date())
    each = m.group_by("account_id", "customer_id", "day").agg(
        messages=m.count(), opens=as_count(m["opened"].sum()), replies=as_count(m["replied"].sum())
    )
    order = ibis.window(group_by=["account_id", "customer_id"], order_by="day")
    length = ibis.interval(days=days)
    each = each.mutate(left=each["day"] + length, before=each["day"].lag().over(order), after=each["day"].lead().over(order))
    # somebody counts once, however many messages of theirs overlap: they come with the first and go with the last
    comes = each["before"].isnull() | (each["before"] + length <= each["day"])
    goes = each["after"].isnull() | (each["after"] >= each["left"])
    sums = ("messages", "opens", "replies")
    added = each.select(
        "account_id", day=each["day"].cast("date"), **{n: each[n] for n in sums}, contacts=comes.cast("int64"),
        sent=ibis.literal(1, "int64"),
    )  # fmt: skip
    taken = each.select(
        "account_id", day=each["left"].cast("date"), **{n: -each[n] for n in sums}, contacts=-goes.cast("int64"),
        sent=ibis.literal(0, "int64"),
    )  # fmt: skip
    both = added.union(taken.select(*added.columns))
    daily = both.group_by("account_id", "day").agg(
        **{name: as_count(both[name].sum()) for name in (*sums, "contacts")}, sent=both["sent"].max()
    )
    so_far = ibis.window(group_by="account_id", order_by="day", preceding=None, following=0)
    rolling = daily.mutate(**{name: as_count(daily[name].sum().over(so_far)) for name in (*sums, "contacts")})
    ends = rolling.filter(rolling["sent"] == 1).rename(window_end="day")
    # a day and an interval make a time of DuckDB's, and a day of Spark's: the table has one of them
    ends = ends.mutate(window_end=ends["window_end"].cast("timestamp"))
    return ends.select("account_id", "window_end", "messages", "contacts", "opens", "replies")


def worst(pressure: ir.Table, audited: ir.Table, accounts: int = 15) -> pd.DataFrame:
    """Which accounts got the most that nobody wanted?

    Parameters
    ----------
    pressure
        Of :func:`windows`.
    audited
        Of :func:`clientbook.content.audit.audit`.
    accounts
        How many to name.

    Returns
    -------
    pandas.DataFrame
        `account_id`, its worst window: `window_end`, `messages`, `contacts`, `opens`, `replies`, `each` (messages a
        contact), and `right` (share of all its messages that were). Windows in which nothing was opened or answered
        and which reached more than one contact, those with the most messages a contact first.
    """
    p = pressure.filter(pressure["contacts"] > 1, pressure["opens"] == 0, pressure["replies"] == 0)
    p = p.mutate(each=p["messages"] / p["contacts"])
    worst_first = [ibis.desc("each"), ibis.desc("messages")]
    order = ibis.window(group_by="account_id", order_by=[*worst_first, "window_end"])
    p = p.mutate(_rank=ibis.row_number().over(order))
    p = p.filter(p["_rank"] == 0).order_by(*worst_first, "account_id").limit(accounts)
    counted = audited.filter(~audited["is_operational"])
    right = counted.group_by("account_id").agg(right=(counted["verdict"] == "right").cast("float64").mean())
    names = ["account_id", "window_end", "messages", "contacts", "opens", "replies", "each", "right"]
    return p.left_join(right, "account_id").order_by(*worst_first, "account_id").select(*names).to_pandas()


def reach(sent: ir.Table, days: int) -> pd.DataFrame:
    """How many messages did each get in its busiest time: accounts beside single contacts?

    Parameters
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`; operational messages press nobody.
    days
        How long a time.

    Returns
    -------
    pandas.DataFrame
        `messages` from 0 up, with `contacts` and `accounts`: the share that never got more than so many.
    """
    counted = sent.filter(~sent["is_operational"])
    shares = {}
    for name, group in (("contacts", "customer_id"), ("accounts", "account_id")):
        number = in_period(counted, group, days)
        busiest = number.group_by(group).agg(messages=number["number"].max())
        counts = busiest.group_by("messages").agg(n=busiest.count()).to_pandas().set_index("messages")["n"]
        shares[name] = counts.sort_index().cumsum() / counts.sum()
    most = int(max((share.index.max() for share in shares.values() if len(share)), default=0))
    told = pd.DataFrame(shares).reindex(range(most + 1)).ffill().fillna(0.0)
    return told.rename_axis("messages").reset_index()


def say_reach(told: pd.DataFrame, policy: ContactPolicy) -> str:
    """In one sentence: what does a cap per contact hide?

    Parameters
    ----------
    told
        Of :func:`reach`.
    policy
        The book's.
    """
    below = told.loc[told["messages"] <= policy.max_messages]
    if len(told) < 2:
        return "Nothing was sent"
    accounts, contacts = 1 - below["accounts"].iloc[-1], 1 - below["contacts"].iloc[-1]
    much = f"more than {policy.max_messages} messages in {policy.period_days} days"
    if accounts <= contacts + 0.005:
        return f"{contacts:.0%} of the contacts got {much}, and as many of the accounts"
    return f"{accounts:.0%} of the accounts, but {contacts:.0%} of the contacts, got {much}"
