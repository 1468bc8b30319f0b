"""Which use cases are there, what does each need, and what would it take to run it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from clientbook.book import Source
from clientbook.tables import CANONICAL, owner_column

STOCK = "serve scarce stock by value"
RETARGET = "retarget by net value, not by revenue"
WRONG = "stop wrong messages"
LATE = "recover late orders in order of value"
REACH = "reach people by their own channel and hour"
VIEW = "act on the one customer view, not on the silos"

_BOUGHT = {
    "orders": ("person_id", "ordered_at", "order_id", "product_id", "quantity", "unit_price", "amount"),
    "returns": ("order_id", "returned_at", "product_id", "quantity", "amount"),
    "products": ("product_id", "unit_cost"),
}
_PROMISED = {"deliveries": ("order_id", "promised_at", "delivered_at")}
_SENT = {
    "messages": ("message_id", "person_id", "sent_at", "channel", "content_id", "is_operational", "clicked_at", "cost"),
}
# What one customer is told by: matching reads these, and everything stands on it.
VIEW_COLUMNS = {
    "people": (
        "person_id", "full_name", "given_name", "family_name", "email", "phone", "birth_date", "street", "city", "postcode",
        "country", "company", "external_id", "account_id",
    ),
    "aliases": ("person_id", "other_source", "other_person_id"),
    "accounts": ("account_id", "name", "domain", "country", "parent_account_id"),
}  # fmt: skip
_JUDGED = {
    "messages": ("message_id", "person_id", "sent_at", "channel", "content_id", "topic", "purpose", "is_operational"),
    "content": ("content_id", "topic", "stage"),
    "consents": ("person_id", "purpose", "status", "indicated_at", "channel", "valid_to"),
    "preferences": ("person_id", "stated_at", "channel", "topic", "max_per_period", "period_days"),
    "cases": ("person_id", "opened_at", "closed_at", "reason"),
    "opportunities": ("opportunity_id", "opened_at", "account_id", "person_id", "topic", "closed_at", "is_won"),
    "opportunity_people": ("opportunity_id", "person_id"),
    "events": ("person_id", "event_name", "occurred_at", "topic", "content_id"),
}


def _with(*parts: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    told: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for table, columns in part.items():
            told[table] = tuple(dict.fromkeys([*told.get(table, ()), *columns]))
    return told


@dataclass(frozen=True)
class UseCase:
    """A decision that customer data can improve.

    Parameters
    ----------
    name
        What is decided.
    campaign
        The goal that it serves, one of `goals.CAMPAIGNS`.
    team
        Who would run it.
    usual, new
        The usual policy and the new one.
    needs
        The columns that it reads, by table; those of the one customer view come on top.
    must
        The tables without which it cannot be computed.
    effort
        What it would take to run it.
    weeks
        About how long until it runs, for the ranking.
    """

    name: str
    campaign: str
    team: str
    usual: str
    new: str
    needs: Mapping[str, tuple[str, ...]]
    must: tuple[str, ...]
    effort: str
    weeks: int


USE_CASES = (
    UseCase(
        STOCK, "keep", "sales", "first come, first served", "the largest loss by waiting first",
        _with(_BOUGHT, _PROMISED), ("orders",),
        "a nightly rank in the order system, and the right of sales to overrule it", 4,
    ),
    UseCase(
        RETARGET, "expand", "marketing", "the largest revenue of the last year", "the largest expected net margin",
        _with(_BOUGHT, {"events": ("person_id", "event_name", "occurred_at")}), ("orders", "events"),
        "another sort order of a list that is sent anyway, and a tenth left out by lot to go on measuring", 1,
    ),
    UseCase(
        WRONG, "expand", "marketing", "each team sends what it planned", "what is wrong as of the time of sending is not sent",
        _with(_SENT, _JUDGED, _BOUGHT, {"orders": ("campaign",)}), ("orders", "messages", "message_audit"),
        "one gate before all senders that asks for consent, open cases, deals and the cap of the account", 8,
    ),
    UseCase(
        LATE, "keep", "service", "who has waited longest is called first", "who is the largest loss is called first",
        _with(_BOUGHT, _PROMISED), ("orders", "deliveries"),
        "a list for service each morning; as many calls as today, in another order", 2,
    ),
    UseCase(
        REACH, "expand", "marketing", "the channel and the hour that the sender chose", "each customer's own channel and hour",
        _with(_SENT, _BOUGHT, {"orders": ("campaign",), "events": ("person_id", "event_name", "occurred_at", "direction")}),
        ("orders", "messages", "message_audit"),
        "a channel and a send time per receiver, which most mailing systems can do", 3,
    ),
    UseCase(
        VIEW, "keep", "service", "each system ranks by what it knows", "one rank by all that is known",
        _with(_BOUGHT, _PROMISED, VIEW_COLUMNS), ("orders", "identities"),
        "this book, run every night, and its customer_id in the systems that decide", 12,
    ),
)  # fmt: skip
BY_NAME = {case.name: case for case in USE_CASES}


def say_needs(case: UseCase) -> str:
    """In words: which tables and columns does a use case read?

    Parameters
    ----------
    case
        Which.
    """
    return "; ".join(f"{table}: {', '.join(columns)}" for table, columns in case.needs.items())


def column_use(catalogue: Mapping[str, pd.DataFrame], sources: Mapping[str, Source]) -> pd.DataFrame:
    """Which delivered columns does a decision use, and which does none?

    Parameters
    ----------
    catalogue
        By canonical table how well each column is filled by each source: `source`, `column`, `rows`, `filled` (share).
    sources
        The book's.

    Returns
    -------
    pandas.DataFrame
        The public table `column_use`: those that no decision uses first, personal data before others.
    """
    used: dict[tuple[str, str], list[str]] = {}
    for case in USE_CASES:
        for table, columns in case.needs.items():
            for column in columns:
                used.setdefault((table, column), []).append(case.name)
    for table, columns in VIEW_COLUMNS.items():
        for column in columns:
            used.setdefault((table, column), [VIEW])
    rows = []
    for table, filled in catalogue.items():
        known = CANONICAL[table]
        owners = {owner_column(name) for name in known.owned_ids}
        meanings = {column.name: column for column in known.columns}
        for one in filled.itertuples():
            if one.column in owners or one.filled == 0 or (one.column not in meanings and not one.column.startswith("x_")):
                continue
            cases = used.get((table, one.column), [])
            column = meanings.get(one.column)
            rows.append(
                {
                    "table": table, "column": one.column, "source": one.source,
                    "owner": (sources[one.source].owner or None) if one.source in sources else None,
                    "personal": (column.personal or None) if column else None,
                    "filled": round(float(one.filled), 6), "decisions": len(cases), "used_by": ", ".join(cases) or None,
                    "required": bool(column and column.required),
                }
            )  # fmt: skip
    columns = ["table", "column", "source", "owner", "personal", "filled", "decisions", "used_by", "required"]
    told = pd.DataFrame(rows, columns=columns)
    order = told.assign(_none=told["decisions"] > 0, _other=told["personal"].isna())
    order = order.sort_values(["_none", "_other", "table", "column", "source"], ignore_index=True, kind="stable")
    return order.drop(columns=["_none", "_other", "required"])[
        ["table", "column", "source", "owner", "personal", "filled", "decisions", "used_by"]
    ]
