"""Who are the contacts of each account, who of them is silent, and what does each need?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.content import response
from clientbook.content.audit import as_count
from clientbook.tables import STAGES

SILENT_DAYS = 90
EARLY = ("need", "research")
AGES = (30, 45, 60)
NEEDS = {
    "need": "to see that there is a problem, and a way",
    "research": "to compare what would solve it",
    "decide": "proof, prices and terms",
    "adopt": "help to get going",
    "use": "to get more out of it",
    "recommend": "somebody to tell it to",
}


def accounts_view(
    customers: ir.Table, accounts: ir.Table | None, actions: ir.Table, signs: response.Signs, sent: ir.Table, now, days: int
) -> ir.Table:
    """Who is there in each account with several contacts, and what do they need?

    Parameters
    ----------
    customers
        `customer_id`, `account_id` and, where it is known, `birth_date`.
    accounts
        The table `resolved_accounts`, or None.
    actions
        The table `next_actions`: the topic and stage of each.
    signs
        What they did by themselves, and their roles in decisions.
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    now
        The instant of the run.
    days
        The contact policy's period.

    Returns
    -------
    ibis.expr.types.Table
        A row for each contact: `account_id`, `kind`, `contacts`, `customer_id`, `role`, `age_group`, `topic`, `stage`,
        `reads_most` (topic), `last_seen`, `last_message`, `messages` (in the period), `answers` (ever), `is_silent`
        (neither seen nor answering for 90 days), `needs`.
    """
    c = customers.select(
        "customer_id", "account_id",
        birth_date=customers["birth_date"].cast("date") if "birth_date" in customers.columns else ibis.null("date"),
    )  # fmt: skip
    several = c.group_by("account_id").agg(contacts=c["customer_id"].nunique())
    c = c.inner_join(several.filter(several["contacts"] > 1), "account_id")
    if accounts is not None and "kind" in accounts.columns:
        c = _beside(c, accounts.select("account_id", "kind"), "account_id")
    else:
        c = c.mutate(kind=ibis.null("string"))
    c = c.mutate(role=ibis.null("string")) if signs.roles is None else _beside(c, signs.roles, "customer_id")
    c = _beside(c, actions.select("customer_id", "topic", "stage"), "customer_id")
    likes = response.interests(signs.habits)
    most = ibis.window(group_by="customer_id", order_by=[ibis.desc("share"), "topic"])
    likes = likes.mutate(_rank=ibis.row_number().over(most))
    c = _beside(c, likes.filter(likes["_rank"] == 0).select("customer_id", reads_most="topic"), "customer_id")
    s = sent.mutate(answered=response.answered(sent), at=sent["at"].cast("timestamp"))
    start = now - ibis.interval(days=days)
    got = s.group_by("customer_id").agg(
        last_message=s["at"].max(), messages=(s["at"] > start).cast("int64").sum(),
        answers=as_count(s["answered"].sum()), last_answer=s["at"].max(where=s["answered"] == 1),
    )  # fmt: skip
    c = _beside(c, got, "customer_id")
    if signs.visits is not None:
        v = signs.visits
        seen = v.filter(v["at"] < now).group_by("customer_id").agg(last_seen=v["at"].max())
        c = _beside(c, seen, "customer_id")
    else:
        c = c.mutate(last_seen=ibis.null("timestamp"))
    heard = ibis.greatest(c["last_seen"].fill_null(c["last_answer"]), c["last_answer"].fill_null(c["last_seen"]))
    silent = (heard <= now - ibis.interval(days=SILENT_DAYS)).fill_null(True)
    age = now.year() - c["birth_date"].year()
    group = ibis.cases(
        (age.isnull(), ibis.null("string")),
        *[(age < limit, f"below {limit}" if limit == AGES[0] else f"{AGES[i - 1]} to {limit - 1}")
          for i, limit in enumerate(AGES)],
        else_=f"{AGES[-1]} and above",
    )  # fmt: skip
    ask = ibis.literal("a question: what are they after?")
    needs = response.looked_up_words(c["stage"], NEEDS, "")
    told = c.mutate(
        age_group=group, is_silent=silent, needs=(c["stage"].isnull()).ifelse(ask, needs),
        messages=as_count(c["messages"]).fill_null(0), answers=c["answers"].fill_null(0),
    )  # fmt: skip
    names = ("account_id", "kind", "contacts", "customer_id", "role", "age_group", "topic", "stage", "reads_most")
    names += ("last_seen", "last_message", "messages", "answers", "is_silent", "needs")
    return told.select(*names).order_by("account_id", "customer_id")


def groups(view: ir.Table) -> pd.DataFrame:
    """Who takes part in decisions early and late, by role and age?

    Parameters
    ----------
    view
        Of :func:`accounts_view`.

    Returns
    -------
    pandas.DataFrame
        `role`, `age_group`, `early` (contacts at the stages need and research), `late` (decide), `after` (a sale),
        `silent` (share), `contacts`; contacts whose role is known.
    """
    v = view.filter(view["role"].notnull()).mutate(age_group=view["age_group"].fill_null("not known"))
    each = v.group_by("role", "age_group").agg(
        early=v["stage"].isin(EARLY).fill_null(False).cast("int64").sum(),
        late=(v["stage"] == "decide").fill_null(False).cast("int64").sum(),
        after=v["stage"].isin(STAGES[3:]).fill_null(False).cast("int64").sum(),
        silent=v["is_silent"].cast("int64").sum(), contacts=v.count(),
    ).order_by("role", "age_group").to_pandas()  # fmt: skip
    return each.assign(silent=each["silent"] / each["contacts"].where(each["contacts"] > 0))


def say_silent(view: ir.Table) -> str:
    """In one sentence: how many contacts of accounts with several are silent?

    Parameters
    ----------
    view
        Of :func:`accounts_view`.
    """
    told = view.aggregate(n=view.count(), silent=view["is_silent"].cast("int64").sum(),
                          accounts=view["account_id"].nunique()).to_pyarrow().to_pylist()[0]  # fmt: skip
    if not told["n"]:
        return "No account has several contacts"
    return (
        f"{told['silent'] / told['n']:.0%} of {told['n']:,} contacts in {told['accounts']:,} accounts with several were "
        f"neither seen nor answered anything for {SILENT_DAYS} days"
    )


def _beside(left: ir.Table, right: ir.Table, *keys: str) -> ir.Table:
    more = [name for name in right.columns if name not in keys]
    return left.left_join(right, list(keys)).select(*left.columns, *more)
