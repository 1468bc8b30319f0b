"""What does a customer bring by recommending? Apart from what they buy, and never mixed in."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.value.rules import YEAR

# How often somebody recommends leans on everybody's with the weight of so many years.
SHRINKAGE_YEARS = 3.0
FEWEST_REFERRED = 20


def brought(referrals: ir.Table, identities: ir.Table | None) -> ir.Table:
    """Who brought whom?

    Parameters
    ----------
    referrals, identities
        Clean referrals, and who is who.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `referred_id`: each pair once, nobody brings themselves.
    """
    told = with_customer(referrals, identities).select("person_source", "referred_person_id", by="customer_id")
    other = with_customer(told.rename(person_id="referred_person_id"), identities)
    pairs = other.select(customer_id=other["by"], referred_id=other["customer_id"]).distinct()
    return pairs.filter(pairs["customer_id"] != pairs["referred_id"])


def with_recommendations(
    value: ir.Table,
    referrals: ir.Table | None,
    identities: ir.Table | None,
    as_of: dt.date,
    horizon_days: int,
    *,
    zone: str,
) -> ir.Table:
    """The customers with how many others they brought, and what those whom they will bring are worth.

    How often somebody recommends in a year, drawn towards everybody's, times what a customer who was brought is
    expected to bring.

    Parameters
    ----------
    value
        The table `value` as far as it is.
    referrals, identities
        Clean tables; None where there are none: then both columns are empty.
    as_of, horizon_days
        The day of the run, and how far ahead.
    zone
        The book's, by whose clock that day begins.
    """
    if referrals is None:
        return value.mutate(recommended=ibis.null("int64"), recommendation_value=ibis.null("float64"))
    seen = referrals.filter(referrals["referred_at"] < parsing.day_begins(as_of, zone))
    pairs = brought(seen, identities)
    new = pairs.select("referred_id").distinct().inner_join(value, [("referred_id", "customer_id")])
    years = ibis.greatest(value["T"], 1) / float(YEAR)
    joined = value.left_join(
        pairs.group_by("customer_id").agg(recommended=pairs.count()), "customer_id"
    ).drop("customer_id_right")  # fmt: skip
    joined = joined.mutate(recommended=joined["recommended"].fill_null(0))
    facts = joined.aggregate(n=joined["recommended"].sum(), years=total(ibis.greatest(joined["T"], 1) / float(YEAR))).to_pandas()
    worth = new.aggregate(n=new.count(), clv=total(new["clv"])).to_pandas()
    everybody = value.aggregate(n=value.count(), clv=total(value["clv"])).to_pandas()
    told = worth if int(worth["n"].iloc[0]) >= FEWEST_REFERRED else everybody
    each = float(told["clv"].iloc[0]) / max(int(told["n"].iloc[0]), 1)
    rate = float(facts["n"].iloc[0] or 0) / max(float(facts["years"].iloc[0]), 1.0)
    years = ibis.greatest(joined["T"], 1) / float(YEAR)
    own = (joined["recommended"] + SHRINKAGE_YEARS * rate) / (years + SHRINKAGE_YEARS)
    return joined.mutate(recommendation_value=(own * (horizon_days / YEAR) * each * joined["p_alive"]).round(6))


def recommenders(value: ir.Table, customers: int = 10) -> pd.DataFrame:
    """Who brings most by recommending?

    Parameters
    ----------
    value
        The table `value`.
    customers
        How many.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `recommended`, `recommendation_value`, `clv`, `tier`; empty where nothing is known of it.
    """
    known = value.filter(value["recommended"] > 0).order_by(ibis.desc("recommendation_value"), "customer_id")
    return known.select("customer_id", "recommended", "recommendation_value", "clv", "tier").limit(customers).to_pandas()
