"""What did each subject do, from all sources, in the order of time?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import ibis
import ibis.expr.types as ir

from clientbook.customers import record_id, with_customer
from clientbook.engine import Engine
from clientbook.journeys.declared import SEEN, STAGE, TIMELINE
from clientbook.stage import NothingToShow

Subject = Literal["account", "customer"]
Tables = Mapping[str, ir.Table | None]

# In these tables a row is about a person.
_PERSONAL = (
    "events",
    "orders",
    "messages",
    "cases",
    "opportunities",
    "opportunity_people",
    "referrals",
    "surveys",
)
_PIECE = TIMELINE.names[2:]
# Who a row's person is, is looked up in all of them at once: a table for each would fill the memory.
_NAMED = ("person_source", "person_id", *(name for name in _PIECE if name not in ("customer_id", "account_id")))
OPENED, WON, LOST, CLOSED = "opportunity_opened", "opportunity_won", "opportunity_lost", "opportunity_closed"
# Of a deal that closes at the instant at which it opens, the opening goes first.
ENDINGS = (WON, LOST, CLOSED)
CLICKED, REPLIED = "message_clicked", "message_replied"


def choose_subject(wanted: Subject | None, resolved_accounts: ir.Table | None) -> Subject:
    """Whose journeys are followed, accounts' or customers'?

    Parameters
    ----------
    wanted
        What the book says; none leaves it to the data.
    resolved_accounts
        The accounts that matching found, or None.

    Returns
    -------
    str
        `account` where anybody shares a company or a household with others, else `customer`.
    """
    if wanted:
        return wanted
    if resolved_accounts is None or "kind" not in resolved_accounts.columns:
        return "customer"
    shared = resolved_accounts.filter(resolved_accounts["kind"].isin(["company", "household"]))
    return "account" if shared.limit(1).count().to_pyarrow().as_py() else "customer"


def _need_something_seen(tables: Tables) -> None:
    if all(tables.get(name) is None for name in SEEN):
        missing = " nor ".join(f"`{name}`" for name in SEEN)
        raise NothingToShow(f"This book has neither {missing}. With one of them, this page would show {STAGE.shows}.")


def who_is_who(tables: Tables, engine: Engine) -> ir.Table:
    """Which customer and account is each person that did something?

    Parameters
    ----------
    tables
        Clean tables and those of matching, by name; None for what the book does not have.
    engine
        Where the answer is staged, as much reads it.

    Returns
    -------
    ibis.expr.types.Table
        `person_source`, `person_id`, `customer_id`, `account_id`; each person once. Who is unknown to matching is a
        customer and an account of their own.

    Raises
    ------
    NothingToShow
        If the book has neither events nor orders nor messages.
    """
    _need_something_seen(tables)
    seen = [rows.select("person_source", "person_id") for name in _PERSONAL if (rows := tables.get(name)) is not None]
    people = ibis.union(*seen, distinct=True) if len(seen) > 1 else seen[0].distinct()
    people = with_customer(people.filter(people["person_id"].notnull()), tables.get("identities"))
    customers = tables.get("customers")
    if customers is None:
        people = people.mutate(account_id="a" + people["customer_id"].substr(1))
    else:
        known = customers.select("customer_id", known="account_id")
        people = _left(people, known, ["customer_id"])
        alone = "a" + people["customer_id"].substr(1)
        people = people.mutate(account_id=people["known"].fill_null(alone)).drop("known")
    return engine.keep(people)


def compose(tables: Tables, subject: Subject, engine: Engine, who: ir.Table | None = None) -> ir.Table:
    """What did each subject do, in the order of time?

    Events stand under their own name; orders, one for each order and topic, as `order`; cases as `case`; deals as
    `opportunity_opened`, `_won`, `_lost` and, where how it ended is not known, `_closed`; messages that were answered
    as `message_clicked` and `message_replied`, as an open alone is weak evidence; referrals as `referral`; surveys
    that were answered as `survey`.

    Parameters
    ----------
    tables
        Clean tables and those of matching, by name; None for what the book does not have.
    subject
        Whose timeline: `account` or `customer`.
    engine
        Where what is read twice is staged.
    who
        As from :func:`who_is_who`; None makes it.

    Returns
    -------
    ibis.expr.types.Table
        The public table `timeline`, by subject and time.

    Raises
    ------
    NothingToShow
        If the book has neither events nor orders nor messages.
    """
    _need_something_seen(tables)
    who = who_is_who(tables, engine) if who is None else who
    topics = _content_topics(tables.get("content"))
    parts = {
        "events": lambda rows: _events(rows, topics),
        "orders": lambda rows: _orders(rows, tables.get("products")),
        "messages": lambda rows: _messages(rows, topics),
        "cases": lambda rows: _plain(rows, "case", "case", "opened_at"),
        "surveys": _surveys,
        "referrals": lambda rows: _plain(rows, "referral", "referral", "referred_at"),
    }
    pieces = [make(tables[name]) for name, make in parts.items() if tables.get(name) is not None]
    rows = _whose(ibis.union(*pieces) if len(pieces) > 1 else pieces[0], who).select(*_PIECE)
    if (deals := tables.get("opportunities")) is not None:
        rows = ibis.union(rows, _opportunities(deals, who, tables, subject))
    rows = rows.mutate(subject_type=ibis.literal(subject), subject_id=rows[f"{subject}_id"])
    rows = rows.filter(rows["subject_id"].notnull()).select(*TIMELINE.names)
    ends = rows["event_name"].isin(ENDINGS)
    return rows.order_by("subject_id", "occurred_at", "arrival", ends, "event_name", "topic", "customer_id")


def _whose(rows: ir.Table, who: ir.Table) -> ir.Table:
    return rows.inner_join(who, ["person_source", "person_id"])


def _piece(rows: ir.Table, names: Sequence[str], **columns) -> ir.Table:
    """These columns of the timeline; what is not given is not known."""
    kinds = {"occurred_at": "timestamp", "arrival": "int64"}
    return rows.select(
        **{
            name: (columns[name] if name in columns else ibis.null(kinds.get(name, "string"))).cast(kinds.get(name, "string"))
            for name in names
        }
    )


def _plain(
    rows: ir.Table, name: str | ir.StringColumn, kind: str, at: str, *, names: Sequence[str] = _NAMED, **more
) -> ir.Table:
    shared = ("person_source", "person_id", "customer_id", "account_id", "source", "channel", "arrival")
    columns = {column: rows[column] for column in shared if column in rows.columns}
    columns |= {"occurred_at": rows[at], "event_name": ibis.literal(name) if isinstance(name, str) else name}
    columns |= {"kind": ibis.literal(kind)}
    return _piece(rows, names, **(columns | more))


def _content_topics(content: ir.Table | None) -> ir.Table | None:
    if content is None:
        return None
    return content.group_by(content_source=content["source"], content_id=content["content_id"]).agg(
        content_topic=content["topic"].max()
    )


def _with_topic(rows: ir.Table, topics: ir.Table | None) -> ir.Table:
    """Rows whose topic is their own, else their content's."""
    if topics is None:
        return rows
    joined = _left(rows, topics, ["content_source", "content_id"])
    return joined.mutate(topic=joined["topic"].fill_null(joined["content_topic"])).drop("content_topic")


def _events(events: ir.Table, topics: ir.Table | None) -> ir.Table:
    rows = _with_topic(events, topics)
    return _piece(rows, _NAMED, kind=ibis.literal("event"), **{name: rows[name] for name in _NAMED if name != "kind"})


def _orders(orders: ir.Table, products: ir.Table | None) -> ir.Table:
    """One row for each order and topic; what was not bought is no order."""
    bought = orders.filter((orders["quantity"] > 0) & (orders["amount"].isnull() | (orders["amount"] >= 0)))
    if products is None:
        bought = bought.mutate(topic=ibis.null("string"))
    else:
        of = products.group_by(product_source=products["source"], product_id=products["product_id"]).agg(
            topic=products["topic"].max()
        )
        bought = bought.left_join(of, ["product_source", "product_id"])
    # a line without an order's id is an order of its own
    alone = bought["order_id"].isnull().ifelse(bought["arrival"], ibis.null("int64"))
    keys = ["source", "order_source", "order_id", "person_source", "person_id", "topic"]
    each = bought.group_by(*keys, alone=alone).agg(
        ordered_at=bought["ordered_at"].min(), channel=bought["channel"].min(), arrival=bought["arrival"].min()
    )
    return _plain(each, "order", "order", "ordered_at", topic=each["topic"])


def _messages(messages: ir.Table, topics: ir.Table | None) -> ir.Table:
    answered = messages.filter(messages["clicked_at"].notnull() | messages["replied_at"].notnull())
    rows = _with_topic(answered, topics)
    parts = []
    for name, at in ((CLICKED, "clicked_at"), (REPLIED, "replied_at")):
        some = rows.filter(rows[at].notnull())
        carried = {column: some[column] for column in ("topic", "content_source", "content_id")}
        parts.append(_plain(some, name, "message", at, **carried))
    return ibis.union(*parts)


def _surveys(surveys: ir.Table) -> ir.Table:
    answered = surveys.filter(surveys["score"].notnull() | surveys["text"].notnull())
    return _plain(answered, "survey", "survey", "asked_at")


def _opportunities(deals: ir.Table, who: ir.Table, tables: Tables, subject: Subject) -> ir.Table:
    """A row when a deal was opened, and one when it was closed."""
    owned = _with_parties(deals, who, tables, subject)
    ended = owned["closed_at"].notnull() | owned["is_won"].notnull()
    # a deal that ended nobody knows when was not open for any time that is known
    closed_at = ibis.greatest(owned["closed_at"].fill_null(owned["opened_at"]), owned["opened_at"])
    outcome = ibis.cases((owned["is_won"], WON), (~owned["is_won"], LOST), else_=CLOSED)
    rows = owned.mutate(ends_at=ended.ifelse(closed_at, ibis.null("timestamp")), outcome=outcome)
    opened = _plain(rows, OPENED, "opportunity", "opened_at", names=_PIECE, topic=rows["topic"])
    closed = rows.filter(rows["ends_at"].notnull())
    closed = _plain(closed, closed["outcome"], "opportunity", "ends_at", names=_PIECE, topic=closed["topic"])
    return ibis.union(opened, closed)


def _with_parties(deals: ir.Table, who: ir.Table, tables: Tables, subject: Subject) -> ir.Table:
    """Deals with `customer_id` and `account_id`: once for each account, or for each customer that has a part in it."""
    keys = ["source", "opportunity_id"]
    deals = deals.rename(delivered_account="account_id")
    people = _people_of(deals, who, tables.get("opportunity_people"))
    known = tables.get("account_identities")
    if known is None:
        deals = deals.mutate(resolved=ibis.null("string"))
    else:
        known = known.select(account_source="source", delivered_account="source_account_id", resolved="account_id")
        deals = _left(deals, known, ["account_source", "delivered_account"])
    if subject == "customer":
        joined = deals.inner_join(people, keys)
        joined = joined.drop([name for name in joined.columns if name.endswith("_right")])
        account = joined["resolved"].fill_null(joined["party_account"])
        return joined.mutate(account_id=account, customer_id=joined["party"])
    first = people.group_by(*keys).agg(
        party_account=people["party_account"].min(), own_account=people["party_account"].min(where=people["is_own"]),
        customer_id=people["party"].min(where=people["is_own"]),
    )  # fmt: skip
    joined = _left(deals, first, keys)
    nobody = "a" + record_id(joined["account_source"], joined["delivered_account"]).substr(1)
    return joined.mutate(account_id=ibis.coalesce(joined["resolved"], joined["own_account"], joined["party_account"], nobody))


def _people_of(deals: ir.Table, who: ir.Table, roles: ir.Table | None) -> ir.Table:
    """Who has a part in each deal, each customer once: `party`, `party_account`, `is_own` (named on the deal)."""
    own = deals.filter(deals["person_id"].notnull()).select(
        "source", "opportunity_id", "person_source", "person_id", is_own=ibis.literal(True)
    )
    parts = [own]
    if roles is not None:
        parts.append(
            roles.select(
                "opportunity_id", "person_source", "person_id", source="opportunity_source", is_own=ibis.literal(False)
            ).select(*own.columns)
        )
    parties = _whose(ibis.union(*parts) if len(parts) > 1 else own, who)
    return parties.group_by("source", "opportunity_id", party=parties["customer_id"]).agg(
        party_account=parties["account_id"].min(), is_own=parties["is_own"].any()
    )


def _left(rows: ir.Table, others: ir.Table, keys: Sequence[str]) -> ir.Table:
    joined = rows.left_join(others, list(keys))
    return joined.drop([name for name in joined.columns if name.endswith("_right")])
