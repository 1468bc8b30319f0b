"""Which lines of an order say who ordered and when only once for all of them, as the exports of shops do?"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import replace

import ibis
import ibis.expr.types as ir

from clientbook import parsing
from clientbook.engine import Engine
from clientbook.faults import Fault, FaultError
from clientbook.sources import Raw

# What holds for an order as a whole. What is lacking in a line of one of the first is lacking because it stands above.
_TELLING = ("person_id", "ordered_at", "currency", "status")
# Of the lines that leave nothing out, so many must have an amount for it to be an order's.
_HEADS = 0.7
_OF_THE_ORDER = (*_TELLING, "channel", "campaign")


def gathered(raw: Raw, mapping: Mapping[str, str], engine: Engine, key: str) -> Raw:
    """What do the lines of each order say, where one of them speaks for all?

    Parameters
    ----------
    raw
        A delivery of orders.
    mapping
        Canonical to delivered name.
    engine
        Where it is kept.
    key
        The place in ``clientbook.yaml``, for messages.

    Returns
    -------
    Raw
        The same rows. A cell that is empty, in a column that holds for a whole order, has what the order's other lines
        say, if they say one thing; a note tells how many.

    Raises
    ------
    FaultError
        If the sum of a whole order would be added to the prices of its lines.
    """
    rows = raw.table
    whole = list(dict.fromkeys(mapping[name] for name in _OF_THE_ORDER if name in mapping))
    telling = list(dict.fromkeys(mapping[name] for name in _TELLING if name in mapping))
    if "order_id" not in mapping or mapping["order_id"] in whole or not _any(rows, telling):
        return raw
    rows = rows.mutate(_order=parsing.text(rows[mapping["order_id"]]))
    said = {name: _is_empty(rows[name]).ifelse(ibis.null(rows[name].type()), rows[name]) for name in whole}
    orders = rows.group_by("_order").agg(
        **{f"n{i}": value.nunique() for i, value in enumerate(said.values())},
        **{f"v{i}": value.max() for i, value in enumerate(said.values())},
    )
    joined = rows.left_join(orders.filter(orders["_order"].notnull()), "_order")
    filled = {name: (_is_empty(joined[name]) & (joined[f"n{i}"] == 1)).fill_null(False) for i, name in enumerate(whole)}
    known = functools.reduce(operator.or_, (filled[name] for name in telling))
    table = joined.select(
        **{
            name: (filled[name] & known).ifelse(joined[f"v{whole.index(name)}"], joined[name]) if name in filled else joined[name]
            for name in raw.table.columns
        },
        _filled=known,
    )
    table = engine.keep(table, rows=sum(facts.rows for facts in raw.files))
    _refuse_sums(table, mapping, raw, key)
    lines = int(table["_filled"].sum().to_pyarrow().as_py() or 0)
    if not lines:
        return raw
    note = Fault(
        f"{lines:,} lines leave out what their order says in another line ({', '.join(map(repr, telling))}); "
        "they have it from there.",
        key=key,
        file=", ".join(facts.path for facts in raw.files[:3]),
    )
    return replace(raw, table=table.drop("_filled"), notes=[*raw.notes, note])


def _is_empty(column: ir.Column) -> ir.BooleanColumn:
    return column.isnull() | (column == "") if column.type().is_string() else column.isnull()


def _any(rows: ir.Table, names: list[str]) -> bool:
    counted = rows.aggregate(**{str(i): _is_empty(rows[name]).sum() for i, name in enumerate(names)}, rows=rows.count())
    told = counted.to_pyarrow().to_pylist()[0]
    # a column that holds nothing at all has nothing to say of any order
    return any(0 < (told[str(i)] or 0) < told["rows"] for i in range(len(names)))


def _refuse_sums(table: ir.Table, mapping: Mapping[str, str], raw: Raw, key: str) -> None:
    """An amount that stands where the order's buyer stands is the order's; beside prices of lines it would count twice."""
    if "amount" not in mapping or "unit_price" not in mapping:
        return
    lacking = _is_empty(table[mapping["amount"]])
    told = table.aggregate(
        lines=table["_filled"].sum(),
        without=(table["_filled"] & lacking).sum(),
        heads=(~table["_filled"] & ~lacking).sum(),
        rows=table.count(),
    )
    told = told.to_pyarrow().to_pylist()[0]
    others = told["rows"] - (told["lines"] or 0)
    if told["lines"] and told["without"] == told["lines"] and told["heads"] >= _HEADS * others:
        raise FaultError(
            Fault(
                "the amount stands in one line of each order alone: it is the whole order's, and would be counted beside the "
                "prices of the other lines.",
                "Leave `amount` away; a line's amount is then its quantity times `unit_price`.",
                key=f"{key}.columns.amount",
                file=", ".join(facts.path for facts in raw.files[:3]),
                column=mapping["amount"],
            )
        )
