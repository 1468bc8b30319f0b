"""What does a director need to know, on one page?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.exact import total
from clientbook.stage import LEADING, Stage

STAGE = Stage(
    name="overview",
    uses=("*",),
    writes=(),
    shows="the state of the data, what the customers are worth, and what to do this week",
)

STAGES_SHOWN = ("cleaning", "value")


def key_numbers(records: Mapping[str, Mapping[str, Any]], currency: str) -> list[dict[str, Any]]:
    """The first numbers that each stage watches, with money in the book's currency.

    Parameters
    ----------
    records
        What each stage said of itself, by name.
    currency
        The book's.
    """
    return [
        number | ({"unit": currency} if number.get("unit") == "money" else {})
        for record in records.values()
        for number in record.get("key_numbers", ())[:LEADING]
    ]


def answer(records: Mapping[str, Mapping[str, Any]], money: Callable[[float], str]) -> str:
    """The page in two or three sentences of Markdown; it reads well with any of the stages missing.

    Parameters
    ----------
    records
        What each stage said of itself, by name.
    money
        Writes an amount for people.
    """
    known = {n["name"]: n["value"] for record in records.values() for n in record.get("key_numbers", ())}
    told = []
    if "Expected value" in known:
        told.append(
            f"**We know {known['Customers with a purchase']:,.0f} customers with a purchase; they are expected to bring "
            f"{money(known['Expected value'])} in the time ahead.** The best tenth of them holds "
            f"{known['Share of value in the best tenth']:.0%} of it: look after these first."
        )
    if "Rows that can be used" in known:
        usable = known["Rows that can be used"]
        verdict = "The data is fit for use" if usable >= 0.95 else "The data needs attention"
        told.append(f"{verdict}: {usable:.1%} of {known['Rows delivered']:,.0f} delivered rows could be used.")
    return " ".join(told) or "This book holds nothing that could be shown yet."


def actions(value: ir.Table | None, rejected: ir.Table | None) -> pd.DataFrame:
    """What is there to do this week, and what is it about in money?

    Parameters
    ----------
    value
        The table `value`, or None.
    rejected
        The table `rejected`, or None.

    Returns
    -------
    pandas.DataFrame
        `action`, `why`, `customers`, `money` (expected or past, see `why`), `page`; the largest first.
    """
    rows = []
    if value is not None:
        best = value.order_by(ibis.desc("clv"), "customer_id").limit(100)
        rows.append(_action("Look after the best hundred personally", "their expected value is at stake", best, "clv"))
        good = value.filter((value["frequency"] >= 3) & (value["p_alive"] < 0.5))
        rows.append(
            _action("Win back regular customers who stopped buying", "what they spent so far, net of returns", good, "net")
        )
        losers = value.filter(value["loss_maker"])
        rows.append(_action("Ask those who return more than they buy why", "what they sent back", losers, "returned"))
    told = pd.DataFrame(
        [row for row in rows if row["customers"]], columns=["action", "why", "customers", "money", "page"]
    ).sort_values("money", ascending=False, ignore_index=True, kind="stable")
    if rejected is not None:
        n = int(rejected.count().to_pandas())
        if n:
            repair = {"action": f"Repair {n:,} rows that could not be used", "why": "they count for nobody until then"}
            told = pd.concat([told, pd.DataFrame([repair | {"page": "01_cleaning"}])], ignore_index=True)
    return told


def _action(action: str, why: str, customers: ir.Table, what: str) -> dict[str, Any]:
    money = (customers["gross"] - customers["returned"]) if what == "net" else customers[what]
    sums = customers.aggregate(n=customers.count(), money=total(money)).to_pandas().iloc[0]
    return {"action": action, "why": why, "customers": int(sums["n"]), "money": float(sums["money"]), "page": "04_value"}
