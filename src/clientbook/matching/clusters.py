"""Which records are one customer, and what do we know of that customer?"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import record_id
from clientbook.matching.standard import GOLDEN

GOLDEN_TYPES = {"birth_date": "date", "social_reach": "float64"}
ORIGINS = ("name_from", "email_from", "phone_from", "address_from")
UNITS = {
    "name": ("full_name", "given_name", "family_name"),
    "address": ("street", "city", "postcode", "region", "country"),
}


def number(persons: ir.Table) -> ir.Table:
    """Person records with a number each, in the order of source and id.

    Parameters
    ----------
    persons
        `source`, `person_id`, each once.

    Returns
    -------
    ibis.expr.types.Table
        With `unique_id`, from 0 on.
    """
    order = ibis.window(order_by=["source", "person_id"])
    return persons.mutate(unique_id=ibis.row_number().over(order)).order_by("unique_id")


def alias_edges(aliases: ir.Table | None, numbered: ir.Table) -> pd.DataFrame:
    """Which records are known to be one human?

    Parameters
    ----------
    aliases
        The clean table, or None.
    numbered
        As from :func:`number`.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `probability` 1; each pair once, ordered.
    """
    if aliases is None:
        empty = {"l": pd.Series(dtype="int64"), "r": pd.Series(dtype="int64"), "probability": pd.Series(dtype=float)}
        return pd.DataFrame(empty)
    one = numbered.select(person_source="source", person_id="person_id", a="unique_id")
    other = numbered.select(other_source="source", other_person_id="person_id", b="unique_id")
    known = aliases.select("person_source", "person_id", "other_source", "other_person_id").distinct()
    pairs = known.inner_join(one, ["person_source", "person_id"]).inner_join(other, ["other_source", "other_person_id"])
    pairs = pairs.select(l=ibis.least(pairs["a"], pairs["b"]), r=ibis.greatest(pairs["a"], pairs["b"])).distinct()
    pairs = pairs.filter(pairs["l"] != pairs["r"]).order_by("l", "r").to_pandas()
    return pairs.assign(probability=1.0)


def components(edges: pd.DataFrame, n: int, threshold: float) -> pd.DataFrame:
    """Which records hang together?

    Parameters
    ----------
    edges
        `l`, `r`, `probability`.
    n
        How many records there are, numbered from 0.
    threshold
        Edges below it do not tie.

    Returns
    -------
    pandas.DataFrame
        A row a record: `unique_id`, `first` (the smallest number of its component), `probability` (of its strongest
        tie; 1 where it stands alone).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ties = edges[edges["probability"] >= threshold]
    left, right = ties["l"].to_numpy("int64"), ties["r"].to_numpy("int64")
    graph = coo_matrix((np.ones(len(ties), dtype=np.int8), (left, right)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    strongest = np.zeros(n)
    for ends in (left, right):
        np.maximum.at(strongest, ends, ties["probability"].to_numpy(float))
    strongest[strongest == 0] = 1.0
    return pd.DataFrame({"unique_id": np.arange(n), "first": first[inverse], "probability": strongest.round(6)})


def identities(numbered: ir.Table, tied: pd.DataFrame) -> ir.Table:
    """Which customer does every person record belong to?

    Parameters
    ----------
    numbered
        As from :func:`number`.
    tied
        As from :func:`components`.

    Returns
    -------
    ibis.expr.types.Table
        `source`, `person_id`, `customer_id`, `probability`, ordered by source and id. The id is made of the customer's
        smallest record, so that somebody who is matched with nobody keeps the id that they have without matching.
    """
    joined = numbered.inner_join(ibis.memtable(tied), "unique_id")
    heads = numbered.select(first="unique_id", customer_id=record_id(numbered["source"], numbered["person_id"]))
    return (
        joined.inner_join(heads, "first")
        .select("source", "person_id", "customer_id", "probability")
        .order_by("source", "person_id")
    )


def golden(known: ir.Table, records: ir.Table | None) -> ir.Table:
    """What do we know of each customer?

    Of each column the value that was changed last, ties by source and then id. The parts of a name, and those of an
    address, are taken from one record.

    Parameters
    ----------
    known
        As from :func:`identities`.
    records
        As from :func:`clientbook.matching.standard.records`; None where the book has no people.

    Returns
    -------
    ibis.expr.types.Table
        A row a customer: `customer_id`, the golden columns (none without people), `sources`, `records`, `first_seen`;
        and the source of four of them in `name_from`, `email_from`, `phone_from`, `address_from`.
    """
    counted = known.group_by("customer_id").agg(
        sources=known["source"].collect().unique().sort().join(","), records=known.count()
    )
    if records is None:
        nothing = {name: ibis.null(GOLDEN_TYPES.get(name, "string")) for name in (*GOLDEN, *ORIGINS)}
        return counted.mutate(**nothing, first_seen=ibis.null("timestamp"))
    rows = known.inner_join(records, ["source", "person_id"])
    newest = ibis.window(
        group_by="customer_id", order_by=[ibis.desc("changed_at", nulls_first=False), "source", "person_id"]
    )
    rows = _whole_names(rows).mutate(_rank=ibis.row_number().over(newest))
    taken = {}
    for column in ("birth_date", "company", "job_title", "industry", "persona", "social_reach"):
        taken[column] = rows[column].argmin(rows["_rank"], where=rows[column].notnull())
    for column, own in (("email", "mail"), ("phone", "dialled"), ("external_id", "number")):
        # what cannot be written to, and what hundreds have, is nobody's
        taken[column] = rows[column].argmin(rows["_rank"], where=rows[own].notnull())
        if own != "number":
            taken[f"{column}_from"] = rows["source"].argmin(rows["_rank"], where=rows[own].notnull())
    for unit, columns in UNITS.items():
        leading = "full_name" if unit == "name" else "street"
        best = rows[leading].notnull()
        some = rows[columns[0]].notnull()
        for column in columns[1:]:
            some = some | rows[column].notnull()
        # a record with the leading part goes before one without
        rank = rows["_rank"] + best.ifelse(0, 2**40)
        taken[f"{unit}_from"] = rows["source"].argmin(rank, where=some)
        for column in columns:
            taken[column] = rows[column].fill_null("").argmin(rank, where=some).nullif("")
    best = rows.group_by("customer_id").agg(**taken, first_seen=rows["created_at"].min())
    return counted.left_join(best, "customer_id").drop("customer_id_right")


def _whole_names(rows: ir.Table) -> ir.Table:
    parts = rows["given_name"].notnull() & rows["family_name"].notnull()
    both = rows["given_name"] + " " + rows["family_name"]
    words = rows["full_name"].split(",")
    turned = words[1].strip() + " " + words[0].strip()
    straight = (words.length() == 2).ifelse(turned, rows["full_name"])
    named = ibis.coalesce(straight, parts.ifelse(both, ibis.coalesce(rows["family_name"], rows["given_name"])))
    return rows.mutate(
        full_name=named.strip().nullif(""),
        given_name=ibis.coalesce(rows["given_name"], rows["given"].capitalize()),
        family_name=ibis.coalesce(rows["family_name"], rows["family"].capitalize()),
    )
