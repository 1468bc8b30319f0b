"""What would be told of another customer, if records had been put together in another plausible way?"""

from __future__ import annotations

from typing import NamedTuple

import ibis.expr.types as ir

from clientbook.site import numbers


class Doubts(NamedTuple):
    """How much of a table rests on who is who?

    Attributes
    ----------
    draws
        How many other ways were drawn.
    each
        Share of the rows whose customer has other records in a draw, on average over the draws.
    ever
        Share of the rows whose customer has other records in any of them.
    """

    draws: int
    each: float
    ever: float


def doubts(rows: ir.Table, draws: ir.Table | None, identities: ir.Table | None) -> Doubts | None:
    """How much of a table rests on who is who?

    Parameters
    ----------
    rows
        With `customer_id`.
    draws
        The table `identity_draws`; None where nothing was matched.
    identities
        `source`, `person_id`, `customer_id`: the main answer.

    Returns
    -------
    Doubts or None
        None where nothing moves in any draw, or there are no rows.
    """
    if draws is None or identities is None:
        return None
    n_draws = draws["draws"].max().to_pyarrow().as_py()
    counted = rows.filter(rows["customer_id"].notnull()).group_by("customer_id").agg(n=lambda t: t.count())
    total = counted["n"].sum().to_pyarrow().as_py()
    if not n_draws or not total:
        return None
    # a record that moves makes another customer of the one it leaves, and of the one it comes to
    moved = draws.inner_join(identities.select("source", "person_id", left="customer_id"), ["source", "person_id"])
    touched = moved.select("draw", customer_id="left").union(moved.select("draw", "customer_id")).distinct()
    each = touched.inner_join(counted, "customer_id")
    ever = each.select("customer_id", "n").distinct()
    sums = each["n"].sum().to_pyarrow().as_py() or 0, ever["n"].sum().to_pyarrow().as_py() or 0
    return Doubts(int(n_draws), sums[0] / n_draws / total, sums[1] / total)


def say(found: Doubts | None, what: str) -> str:
    """In one sentence: how much of it rests on who is who? Empty where nobody can say.

    Parameters
    ----------
    found
        As from :func:`doubts`.
    what
        The rows, in the plural.
    """
    if found is None:
        return ""
    if not found.ever:
        return f"In {found.draws} other plausible ways to put records together, none of these {what} is another customer's."
    return (
        f"Who is who is not certain: in {found.draws} other plausible ways to put records together, "
        f"{numbers.share(found.each)} of the {what} on average belong to a customer who has other records there, and "
        f"{numbers.share(found.ever)} ever do."
    )
