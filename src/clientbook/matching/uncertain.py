"""Who else could be who? Several plausible ways to put the records together, drawn from the probabilities.

Within each group that hangs together even by weak ties, two parts are one human with the mean probability of the pairs
between them; it is the same mean that, at the threshold, decides in the main answer. For each such group and draw a number
between 0 and 1 is drawn, and whatever reaches it is one customer. So each pair of parts is put together as often as it is
probable; within a group all draws are consistent (where a loose part joins, the tighter ones have joined before), and
different groups know nothing of each other. Known links, sure birth dates and clean sources hold in every draw, as they do in the
main answer.

What was never compared, because no blocking rule picked it, is uncertain too, and no draw can show it.
"""

from __future__ import annotations

from collections.abc import Iterator

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching import clusters
from clientbook.tables import Column, Table

# Ties below are no doubt: so weak that two customers of them are two.
WEAK = 0.05
# A group all of whose pairs reach this is no doubt either.
CERTAIN = 0.98
TABLES = (
    Table(
        "identity_draws",
        "a record that would be another customer's, if the probabilities had fallen another way; a draw is one such way",
        (
            Column("draw", "number", "which of the ways, from 1 on"),
            Column("draws", "number", "how many ways were drawn, those among them in which nothing moves"),
            Column("source", "text", "the system"),
            Column("person_id", "id", "the person's id in its source", personal="id"),
            Column("customer_id", "id", "the customer in that draw; one that is in no other table is nobody in the main answer"),
        ),
    ),
)


def draw(
    edges: pd.DataFrame, tied: pd.DataFrame, *, unseen: float, apart: clusters.Apart | None, draws: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ways to put records together, each as plausible as its probabilities say.

    Parameters
    ----------
    edges
        `l`, `r`, `probability`; each pair once.
    tied
        As in :class:`clientbook.matching.clusters.Clustered`: the main answer.
    unseen
        What a pair that was never compared counts.
    apart
        What rules out that two records are one human.
    draws
        How many ways.
    seed
        Of the random numbers.

    Yields
    ------
    doubtful, first
        Of each record whether its group is in doubt, the same in every draw; and the smallest number of those that it is
        put together with.
    """
    n = len(tied)
    left, right = edges["l"].to_numpy("int64"), edges["r"].to_numpy("int64")
    p = edges["probability"].to_numpy(float)
    if apart is not None:
        left, right, p = apart.answered(left, right, p)
    group, one, other, until, looked = clusters.linked(left, right, p, n, WEAK, CERTAIN, unseen, apart)
    main = tied["first"].to_numpy("int64")
    doubtful = looked[group]
    number = np.random.default_rng(seed)
    for _ in range(draws):
        at = number.random(len(looked))
        first = np.where(doubtful, np.arange(n), main)
        far = until >= at[group[one]]
        # a member's pairs with all before it are there: the smallest it is joined with is the smallest of its part
        np.minimum.at(first, other[far], one[far])
        yield doubtful, first


def identity_draws(
    numbered: ir.Table, known: ir.Table, edges: pd.DataFrame, clustered: clusters.Clustered, links: pd.DataFrame,
    with_data: np.ndarray, engine: Engine, *, apart: clusters.Apart | None, draws: int, seed: int,
) -> ir.Table:  # fmt: skip
    """Which records would be another customer's in each draw?

    Parameters
    ----------
    numbered
        Records with their `unique_id`.
    known
        The table `identities`.
    edges, clustered
        What the main answer was made of.
    links
        Known links, `l`, `r`.
    with_data
        Of each record whether more than its id is known.
    engine
        Where intermediate results are staged.
    apart, draws, seed
        As for :func:`draw`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `identity_draws`. In a draw a customer keeps the id of the main one that holds most of its
        records, if it holds most of that one's too; of equals the smaller number goes first.
    """
    empty = {"draw": "int64", "draws": "int64", "source": "string", "person_id": "string", "customer_id": "string"}
    if not len(edges) or not draws:
        return ibis.memtable({name: [] for name in empty}, schema=empty)
    rows = numbered.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
    final = rows.select("unique_id", label=ibis.dense_rank().over(order_by="customer_id")).to_pyarrow()
    n = len(clustered.tied)
    label = np.empty(n, "int64")
    label[final["unique_id"].to_numpy()] = final["label"].to_numpy()
    told = []
    for i, (doubtful, first) in enumerate(
        draw(edges, clustered.tied, unseen=clustered.unseen, apart=apart, draws=draws, seed=seed), start=1
    ):
        if i == 1:
            # customers, as links have them, of whom any record is in doubt
            mine = np.flatnonzero(np.isin(label, np.unique(label[doubtful])))
            at = np.full(n, -1)
            at[mine] = np.arange(len(mine))
            here = links[(at[links["l"].to_numpy("int64")] >= 0) & (at[links["r"].to_numpy("int64")] >= 0)]
            own = pd.DataFrame({side: at[here[side].to_numpy("int64")] for side in "lr"})
            theirs = None if apart is None else apart.of(mine)
        heads = pd.DataFrame({"unique_id": np.arange(len(mine)), "first": at[first[mine]]})
        joined, _ = clusters.tie(heads, own, with_data[mine], theirs)
        head = joined["first"].to_numpy("int64")
        name = _renamed(head, label[mine])
        other = np.where(name >= 0, name, -1 - mine[head])
        moved = np.flatnonzero(other != label[mine])
        told.append(pd.DataFrame({"draw": i, "unique_id": mine[moved], "label": other[moved]}))
    frame = engine.keep(ibis.memtable(pd.concat(told, ignore_index=True)), rows=sum(map(len, told)))
    names = rows.select("customer_id", label=ibis.dense_rank().over(order_by="customer_id")).distinct()
    found = frame.inner_join(numbered, "unique_id").left_join(names, "label")
    heads = numbered.select(head="unique_id", h_source="source", h_person="person_id")
    found = found.mutate(head=ibis.greatest(-found["label"] - 1, 0)).inner_join(heads, "head")
    # the id of somebody whom the main answer does not know; it tells nothing of the record that it is made of
    own = "c" + ("draw\x1f" + found["h_source"] + "\x1f" + found["h_person"]).hexdigest("sha256")[:16]
    found = found.mutate(draws=ibis.literal(draws, "int64"), customer_id=ibis.coalesce(found["customer_id"], own))
    return found.select(*empty).order_by("draw", "source", "person_id")


def _renamed(first: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each record the label that its group had in the main answer if the two are each other's largest part, else -1."""
    pairs, counts = np.unique(np.stack([first, label]), axis=1, return_counts=True)
    frame = pd.DataFrame({"first": pairs[0], "label": pairs[1], "n": counts})
    best = frame.sort_values(["n", "label"], ascending=[False, True], kind="stable").drop_duplicates("first")
    most = frame.sort_values(["n", "first"], ascending=[False, True], kind="stable").drop_duplicates("label")
    both = best.merge(most[["first", "label"]], on=["first", "label"])
    name = np.full(len(first), -1, "int64")
    name[both["first"].to_numpy()] = both["label"].to_numpy()
    return name[first]


def say_draws(rows: ir.Table, customers: ir.Table) -> str:
    """In a sentence: how many customers would be others, had the probabilities fallen another way?

    Parameters
    ----------
    rows
        The table `identity_draws`.
    customers
        Of the table `customers` the known ones.
    """
    facts = rows.aggregate(draws=rows["draws"].max(), moved=rows.count()).to_pandas().iloc[0]
    if not facts["moved"]:
        return "No other way to put these records together is plausible."
    every = int(customers.count().to_pandas())
    each = facts["moved"] / facts["draws"]
    ever = int(rows.select("source", "person_id").distinct().count().to_pandas())
    return (
        f"In {int(facts['draws'])} other ways to put the records together, each as plausible as its probabilities say, "
        f"{each:,.0f} records on average belong to another customer than here, out of {every:,} known customers; "
        f"{ever:,} records ever do. Later pages show what that does to their numbers."
    )
