"""How close does the ranking come to the true one? For a made company alone."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd


def score(value: ir.Table, identities: ir.Table, people: ir.Table | None, truth: ir.Table | None) -> pd.DataFrame:
    """How close does the ranking come to the true one? For a made company alone.

    Parameters
    ----------
    value, identities
        As written.
    people, truth
        The truth on whose each record is, and on what each human brings after `as_of`; None for a real book.

    Returns
    -------
    pandas.DataFrame
        `ranking` (clv, what they spent so far, and what the true parameters would give), `rank_correlation` with the
        true margin of the twelve months after, `top_tenth` (share of that margin held by the best tenth), `customers`.
    """
    columns = ["ranking", "rank_correlation", "top_tenth", "customers"]
    if people is None or truth is None:
        return pd.DataFrame(columns=columns)
    known = identities.inner_join(people.select("source", "person_id", "human_id"), ["source", "person_id"])
    pairs = known.group_by("customer_id", "human_id").agg(records=known.count())
    best = pairs.mutate(rank=ibis.row_number().over(group_by="customer_id", order_by=[ibis.desc("records"), pairs["human_id"]]))
    best = best.filter(best["rank"] == 0).select("customer_id", "human_id")
    rows = value.inner_join(best, "customer_id").inner_join(truth, "human_id")
    frame = rows.order_by("customer_id").select("clv", "gross", "future_margin", "expected_margin_from_history").to_pandas()
    actual = frame["future_margin"]
    top = max(len(frame) // 10, 1)
    told = []
    for name, column in (
        ("clv", "clv"),
        ("what they spent so far", "gross"),
        ("true parameters", "expected_margin_from_history"),
    ):
        chosen = actual[frame[column].sort_values(ascending=False, kind="stable").index[:top]].sum()
        correlation = frame[column].corr(actual, method="spearman")
        told.append((name, round(float(correlation), 4), round(float(chosen / actual.sum()), 4), len(frame)))
    return pd.DataFrame(told, columns=columns)
