"""Does a customer keep their id from run to run? By written rules, with a history of merges and splits.

1. Of the customers of the run before, one and only one customer of now may keep an id: the one that holds most of the
   records that had it, if that id is also the one that most of its own records had. Of equals the smallest id wins.
2. Whoever keeps none gets an id made of the smallest of their records' ids, or, where the run before gave that one to
   somebody else, one made of it.
3. Records that are new, or gone, change no id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from clientbook.matching.incremental import Kept, kept
from clientbook.store import Run, Store

_CHANGES = {"run_before": "string", "customer_id_before": "string", "customer_id": "string", "change": "string",
            "records": "int64"}  # fmt: skip


@dataclass(frozen=True)
class Before:
    """What a run before said.

    Attributes
    ----------
    name
        Of the run.
    identities
        Its table.
    changes
        Its table `identity_changes`, or None.
    kept
        What it left for the next run to go on from, or None.
    """

    name: str
    identities: ir.Table
    changes: ir.Table | None = None
    kept: Kept | None = None


def before(store: Store, run: Run | None, connection: Any, anew: bool = False) -> Before | None:
    """The newest whole run before this one that says who is who; None where there is none.

    Parameters
    ----------
    store
        The book's.
    run
        This run; None means that the newest is asked for.
    connection
        Of the engine that reads the tables.
    anew
        Customers keep their ids, but all records are compared again.
    """
    earlier = [one for one in store.runs() if "identities" in one.tables and (run is None or _order(one) < _order(run))]
    if not earlier:
        return None
    newest = max(earlier, key=_order)
    changes = newest.read("identity_changes", connection) if "identity_changes" in newest.tables else None
    left = None if anew else kept(newest, connection)
    return Before(newest.name, newest.read("identities", connection), changes, left)


def keep(identities: ir.Table, earlier: Before | None) -> tuple[ir.Table, ir.Table]:
    """Give customers the ids that they had.

    Parameters
    ----------
    identities
        `source`, `person_id`, `customer_id`, `probability`, with ids made of the smallest record.
    earlier
        As from :func:`before`.

    Returns
    -------
    identities, identity_changes
        The same with ids that last, and the public table of what was merged and split: a row for every two ids that
        records went between, those of this run after those of the runs before.
    """
    if earlier is None:
        return identities, _no_changes()
    known = earlier.identities.select("source", "person_id", old="customer_id")
    moved = identities.inner_join(known, ["source", "person_id"])
    moved = moved.group_by("customer_id", "old").agg(n=moved.count())
    of_new = ibis.window(group_by="customer_id", order_by=[ibis.desc("n"), "old"])
    of_old = ibis.window(group_by="old", order_by=[ibis.desc("n"), "customer_id"])
    moved = moved.mutate(_a=ibis.row_number().over(of_new), _b=ibis.row_number().over(of_old))
    kept = moved.filter((moved["_a"] == 0) & (moved["_b"] == 0)).select("customer_id", kept="old")
    olds = known.select(taken="old").distinct()
    rows = identities.left_join(kept, "customer_id").drop("customer_id_right")
    rows = rows.left_join(olds, rows["customer_id"] == olds["taken"])
    another = "c" + ("again\x1f" + rows["customer_id"]).hexdigest("sha256")[:16]
    own = rows["taken"].isnull().ifelse(rows["customer_id"], another)
    lasting = rows.mutate(customer_id=ibis.coalesce(rows["kept"], own), _was=rows["customer_id"])
    final = lasting.select("source", "person_id", "customer_id", "probability").order_by("source", "person_id")
    renamed = lasting.select("_was", _now="customer_id").distinct()
    went = moved.inner_join(renamed, moved["customer_id"] == renamed["_was"])
    went = went.filter(went["old"] != went["_now"])
    alive = lasting.select(alive="customer_id").distinct()
    went = went.left_join(alive, went["old"] == alive["alive"])
    there = olds.select(there="taken")
    went = went.left_join(there, went["_now"] == there["there"])
    split = went["alive"].notnull() | went["there"].isnull()
    changes = went.select(
        run_before=ibis.literal(earlier.name), customer_id_before="old", customer_id="_now",
        change=split.ifelse("split", "merged"), records=went["n"].cast("int64"),
    )  # fmt: skip
    if earlier.changes is not None:
        changes = earlier.changes.select(*_CHANGES).union(changes)
    return final, changes.order_by("run_before", "customer_id_before", "customer_id")


def _no_changes() -> ir.Table:
    return ibis.memtable({name: [] for name in _CHANGES}, schema=_CHANGES)


def _order(run: Run) -> tuple[str, int]:
    day, _, number = run.name.partition(".")
    return day, int(number)
