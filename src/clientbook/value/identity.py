"""What does knowing who is who do to value?"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.customers import record_id
from clientbook.exact import total
from clientbook.value.estimate import expected_value
from clientbook.value.ledger import ledger, sums, with_net
from clientbook.value.models import TooFew, fit_purchases
from clientbook.value.spend import fit_spend, with_first_purchase
from clientbook.value.summary import compress, key, summarise

if TYPE_CHECKING:
    from clientbook.value import Analysis


def before_matching(
    tables: tuple[ir.Table | None, ...],
    identities: ir.Table | None,
    value: ir.Table,
    analysis: Analysis,
    as_of: dt.date,
    p: Any,
    zone: str = "UTC",
) -> pd.DataFrame:
    """The same model on person records, each by itself: what did that view see, and what did it misplace?

    Parameters
    ----------
    tables
        Clean orders, returns, products and cases; all but the first may be None.
    identities
        Who is who; without it there is nothing to compare.
    value
        The table `value`, after matching.
    analysis
        As from :func:`clientbook.value.analyse`: the models chosen after matching are fitted again on the records.
    as_of, p
        The day of the run, and the parameters.
    zone
        The book's, whose days are meant.

    Returns
    -------
    pandas.DataFrame
        `what`, `before`, `after`: customers, those with one purchase, expected value, value of the best hundred; then
        the customers whom the old view split, their records, the value that it did not see in one place, and how
        many of the best tenth it did not have there. Empty where nothing was matched.
    """
    columns = ["what", "before", "after", "unit"]
    if identities is None:
        return pd.DataFrame(columns=columns)
    orders, returns, products, cases = tables
    model, spend = analysis.models[analysis.chosen], analysis.spend
    book = ledger(orders, returns, None, products, cases, zone).cache()
    bought = book.filter(book["is_purchase"]).select(*key(book), "day", "amount")
    summary = with_net(summarise(bought, as_of), sums(book, as_of)).cache()
    histories = compress(summary)
    try:
        old_model, old_spend = (
            fit_purchases(histories, model.name, start=model, season=model.season, today=model.today),
            fit_spend(summary),
        )
    except TooFew:
        return pd.DataFrame(columns=columns)
    old_spend = with_first_purchase(old_spend, spend.with_first)
    old = expected_value(summary, histories, old_model, old_spend, p).cache()
    owner = identities.select(record=record_id(identities["source"], identities["person_id"]), owner="customer_id")
    held = old.left_join(owner, [("customer_id", "record")])
    held = held.mutate(owner=held["owner"].fill_null(held["customer_id"]))
    ranked = held.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("clv"), "customer_id"]))
    each = ranked.group_by("owner").agg(
        records=ranked.count(), largest=ranked["clv"].max(), best_tenth=(ranked["tenth"] == 0).any()
    )
    new = value.select("customer_id", "clv", "frequency")
    new = new.mutate(tenth=ibis.ntile(10).over(order_by=[ibis.desc("clv"), "customer_id"]))
    both = new.left_join(each, [("customer_id", "owner")])
    split = (both["records"] > 1).fill_null(False)
    missed = ibis.greatest(both["clv"] - both["largest"].fill_null(0.0), 0.0)
    facts = both.aggregate(
        customers=both.count(), once=(both["frequency"] == 0).sum(), clv=total(both["clv"]), split=split.sum(),
        records=both["records"].sum(where=split), missed=total(missed, split), best=(both["tenth"] == 0).sum(),
        unseen=((both["tenth"] == 0) & ~both["best_tenth"].fill_null(False)).sum(),
    ).to_pandas().fillna(0).iloc[0]  # fmt: skip
    was = old.aggregate(customers=old.count(), once=(old["frequency"] == 0).sum(), clv=total(old["clv"])).to_pandas().iloc[0]
    rows = [
        ("customers with a purchase", was["customers"], facts["customers"], "customers"),
        ("who bought once", was["once"], facts["once"], "customers"),
        ("expected value of all", was["clv"], facts["clv"], "money"),
        ("customers whom the old view split", facts["records"], facts["split"], "records, customers"),
        ("value that it did not see in one place", facts["missed"], 0.0, "money"),
        ("in the best tenth: unseen by the old view, and all", facts["unseen"], facts["best"], "customers"),
    ]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(before=frame["before"].astype(float).round(2), after=frame["after"].astype(float).round(2))
