"""What does a customer allow, for which purpose, by which channel, at a time?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # one customer's card does without it, and is there at once
    import ibis.expr.types as ir

# At one instant the strictest of what was said wins.
STRICTNESS = {"given": 0, "unknown": 1, "expired": 2, "refused": 3, "withdrawn": 4}
# What stands for every channel where a book names none.
ANY_CHANNEL = "any"
MARKETING = "marketing"


def channels(consents: ir.Table, messages: ir.Table | None = None) -> list[str]:
    """By which channels are customers written to?

    Parameters
    ----------
    consents
        Clean consents.
    messages
        Clean messages; None where a book has none.

    Returns
    -------
    list of str
        Sorted; the one word `any` where neither names a channel.
    """
    named = consents.select("channel").distinct()
    if messages is not None:
        operational = messages["is_operational"].fill_null(False)
        named = named.union(messages.filter(~operational).select("channel").distinct(), distinct=True)
    found = sorted(named.filter(named["channel"].notnull()).to_pandas()["channel"])
    return found or [ANY_CHANNEL]


def in_force(consents: ir.Table, identities: ir.Table | None, instant: ir.TimestampScalar, by: Iterable[str]) -> ir.Table:
    """What does each customer allow at an instant?

    Of the customer's indications for a purpose and a channel, or for all channels, up to then, the latest counts; of
    several at one instant the strictest. One that has run out is `expired`. Records of one human may contradict each
    other: they are one customer's indications, so the latest counts there too.

    Parameters
    ----------
    consents
        Clean consents.
    identities
        Who is who; None means each person record is a customer.
    instant
        UTC.
    by
        The channels that are asked for, as from :func:`channels`.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `purpose`, `channel`, `status`; a row for each of which something was said.
    """
    import ibis

    from clientbook.customers import with_customer

    known = with_customer(consents, identities)
    known = known.filter(known["indicated_at"] < instant)
    ended = (known["status"] == "given") & (known["valid_to"] <= instant).fill_null(False)
    said = known.select(
        "customer_id",
        "purpose",
        "indicated_at",
        said_of=known["channel"],
        status=ended.ifelse("expired", known["status"]),
    )
    parts = [said.filter(said["said_of"].isnull() | (said["said_of"] == name)).mutate(channel=ibis.literal(name)) for name in by]
    wide = ibis.union(*parts) if len(parts) > 1 else parts[0]
    strictness = ibis.cases(*[(wide["status"] == status, n) for status, n in STRICTNESS.items()], else_=len(STRICTNESS))
    last = ibis.row_number().over(
        group_by=["customer_id", "purpose", "channel"],
        order_by=[ibis.desc("indicated_at"), ibis.desc("strictness"), "status"],
    )
    ranked = wide.mutate(strictness=strictness).mutate(_rank=last)
    return ranked.filter(ranked["_rank"] == 0).select("customer_id", "purpose", "channel", "status")


def reachable(allowed: ir.Table, purpose: str = MARKETING) -> ir.Table:
    """Who may be written to for a purpose, and by which channels?

    Parameters
    ----------
    allowed
        As from :func:`in_force`.
    purpose
        Such as `marketing`.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `channels` (sorted, joined by commas); those who allow none are not there.
    """
    given = allowed.filter((allowed["purpose"] == purpose) & (allowed["status"] == "given"))
    named = given.group_by("customer_id").agg(channels=given["channel"].collect())
    return named.select("customer_id", channels=named["channels"].sort().join(", "))


def settle(said: Iterable[Mapping[str, Any]], instant: dt.datetime, channel: str) -> str:
    """What does one customer allow for one purpose by one channel, from their few indications?

    The rule of :func:`in_force`, for one customer at a time.

    Parameters
    ----------
    said
        Indications with `status`, `indicated_at`, `channel`, `valid_to`.
    instant
        UTC.
    channel
        Which is asked for.

    Returns
    -------
    str
        A status; `unknown` where nothing was said.
    """
    spoken = []
    for one in said:
        if one["indicated_at"] < instant and one["channel"] in (None, channel):
            over = one["status"] == "given" and one["valid_to"] is not None and one["valid_to"] <= instant
            status = "expired" if over else one["status"]
            spoken.append((one["indicated_at"], STRICTNESS.get(status, len(STRICTNESS)), status))
    return max(spoken)[2] if spoken else "unknown"
