"""Which rows of a table are the same row again, in another delivery or with newer content?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from clientbook.engine import Engine, row_hash
from clientbook.tables import Table

# What names a row for good, where the table's key alone does not: one message may go to many people under one id.
SAME = {
    "people": ("person_id",),
    "accounts": ("account_id",),
    "products": ("product_id",),
    "content": ("content_id",),
    "opportunities": ("opportunity_id",),
    "cases": ("case_id", "person_id"),
    "messages": ("message_id", "person_id"),
}


@dataclass(frozen=True)
class Judged:
    """One delivery, row by row.

    Parameters
    ----------
    rows
        With `typed:` and `raw:` columns, `_fate`, `file`, `row` and `arrival`.
    mapping
        Canonical to delivered name.
    owners
        Whose ids stand in a column.
    """

    rows: ir.Table
    mapping: dict[str, str]
    owners: dict[str, str]


def again(table: Table, parts: Sequence[Judged], engine: Engine) -> ir.Table | None:
    """Which rows of later deliveries are equal, in all their columns, to one that came before?

    Parameters
    ----------
    table
        The canonical table.
    parts
        Its deliveries from one source, in the order of the book.
    engine
        Where they are compared.

    Returns
    -------
    ibis.expr.types.Table or None
        `arrival` of each; None where there is none. Deliveries that bring different columns, or ids of different
        owners, hold no equal rows. Rows without an optional key are rows of their own.
    """
    optional = bool(table.key) and not table[table.key].required
    groups: dict[tuple, list[Judged]] = {}
    for part in parts:
        if not (optional and table.key not in part.mapping):
            groups.setdefault((tuple(sorted(part.mapping)), tuple(sorted(part.owners.items()))), []).append(part)
    found = []
    for (names, _), group in groups.items():
        if len(group) < 2:
            continue
        stacked = []
        for part in group:
            rows = part.rows.filter(part.rows["_fate"] != "merged")
            if optional:
                rows = rows.filter(rows[f"typed:{table.key}"].notnull())
            cells = {f"c{i}": _cell(rows, name, part.mapping[name]) for i, name in enumerate(names)}
            stacked.append(rows.select(**cells, digest=row_hash(list(cells.values())), arrival=rows["arrival"]))
        every = engine.keep(ibis.union(*stacked))
        shared = every.group_by("digest").agg(n=every.count())
        alike = every.semi_join(shared.filter(shared["n"] > 1), "digest")
        cells = [c for c in alike.columns if c not in ("digest", "arrival")]
        ranked = alike.select("arrival", rank=ibis.row_number().over(group_by=cells, order_by="arrival"))
        found.append(ranked.filter(ranked["rank"] > 0).select("arrival"))
    return _some(found, engine)


def _cell(rows: ir.Table, name: str, delivered: str) -> ir.StringValue:
    """What it means, however it is written; where it means nothing, what is written."""
    typed = f"typed:{name}" if f"typed:{name}" in rows.columns else f"typed:x_{name}"
    return ibis.coalesce(rows[typed].cast("string"), rows[f"raw:{delivered}"].cast("string"))


def superseded(table: Table, parts: Sequence[Judged], rule: str, engine: Engine) -> ir.Table | None:
    """Which rows have another of the same id that is kept in their place?

    Parameters
    ----------
    table
        The canonical table.
    parts
        Its deliveries from one source, in the order of the book.
    rule
        `newest`, `oldest` or `all`. When a row was changed decides, else when it was made, else its arrival.
    engine
        Where they are compared.

    Returns
    -------
    ibis.expr.types.Table or None
        `arrival` of each and `winner`, the arrival of the row that is kept; None where there is none.
    """
    names = SAME.get(table.name)
    if not names or rule == "all":
        return None
    stacked = []
    for part in parts:
        rows = part.rows.filter(part.rows["_fate"] == "kept")
        times = [rows[f"typed:{name}"] for name in ("updated_at", table.at) if name and f"typed:{name}" in rows.columns]
        times = [time for time in times if time.type().is_timestamp()]
        changed = ibis.coalesce(*times) if times else ibis.null("timestamp")
        stacked.append(
            rows.select(**{n: rows[f"typed:{n}"] for n in names}, changed=changed.cast("timestamp"), arrival=rows["arrival"])
        )
    every = ibis.union(*stacked) if len(stacked) > 1 else stacked[0]
    shared = every.group_by(*names).agg(n=every.count())
    shared = engine.keep(shared.filter(shared["n"] > 1))
    if not shared.count().to_pyarrow().as_py():
        return None
    alike = every.semi_join(shared, list(names))
    order = [ibis.desc("changed", nulls_first=False), ibis.desc("arrival")]
    if rule == "oldest":
        order = [ibis.asc("changed", nulls_first=False), ibis.asc("arrival")]
    window = ibis.window(group_by=list(names), order_by=order)
    ranked = alike.select("arrival", rank=ibis.row_number().over(window), winner=alike["arrival"].first().over(window))
    return engine.keep(ranked.filter(ranked["rank"] > 0).select("arrival", "winner"))


def _some(found: Sequence[ir.Table], engine: Engine) -> ir.Table | None:
    if not found:
        return None
    every = engine.keep(ibis.union(*found) if len(found) > 1 else found[0])
    return every if every.count().to_pyarrow().as_py() else None
