"""For each row of one table, the row of another that comes last before it, or first after it."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir


def asof_join(left: ir.Table, right: ir.Table, on: tuple[str, str, str], by: Sequence[str]) -> ir.Table:
    """Which row of another table is the nearest in time to each row?

    DuckDB has a join for it. Spark has none, and a join on a range would compare all with all: there the rows of both are
    put in one order, and a running maximum tells whom each is to be joined with.

    Parameters
    ----------
    left
        Every row of it stays, once.
    right
        Of rows that tie in time one is taken: which, is not told.
    on
        A column of `left`, `>=` (the last at or before it) or `<` (the first after it), and a column of `right`, of another
        name.
    by
        Columns of both that must be equal.

    Returns
    -------
    ibis.expr.types.Table
        The columns of `left`, and those of `right` that have other names; null where there is no such row.
    """
    at, comparison, then = on
    if comparison not in (">=", "<"):
        raise ValueError(f"no comparison {comparison!r}")
    if "pyspark" not in {backend.name for table in (left, right) for backend in table._find_backends()[0]}:
        both = left.asof_join(right, on=left[at] >= right[then] if comparison == ">=" else left[at] < right[then], predicates=by)
        return both.select(*left.columns, *[name for name in right.columns if name not in left.columns])
    return _by_order(left, right, at, comparison, then, list(by))


def _by_order(left: ir.Table, right: ir.Table, at: str, comparison: str, then: str, by: list[str]) -> ir.Table:
    others = [name for name in right.columns if name not in (*by, then)]
    # of those that tie one, so that no row is met twice
    first = ibis.row_number().over(group_by=[*by, then], order_by=others or [then])
    right = right.mutate(_first=first).filter(lambda t: t["_first"] == 0).drop("_first")
    stamp = left[at].type()
    mine = left.mutate(_at=left[at].cast(stamp), _side=ibis.literal(1))
    theirs = right.select(
        **{name: right[name] if name in by else ibis.null(kind) for name, kind in left.schema().items()},
        _at=right[then].cast(stamp), _side=ibis.literal(0),
    )  # fmt: skip
    both = mine.union(theirs)
    marked = (both["_side"] == 0).ifelse(both["_at"], ibis.null(stamp))
    if comparison == ">=":
        found = marked.max().over(ibis.window(group_by=by, order_by=["_at", "_side"], preceding=None, following=0))
    else:
        order = [ibis.desc("_at"), ibis.desc("_side")]
        found = marked.min().over(ibis.window(group_by=by, order_by=order, preceding=None, following=0))
    # a row without a time has no nearest
    found = both["_at"].notnull().ifelse(found, ibis.null(stamp))
    told = both.mutate(_then=found).filter(both["_side"] == 1).drop("_at", "_side")
    named = right.select(
        **{f"_by{i}": right[name] for i, name in enumerate(by)}, _key=right[then].cast(stamp),
        **{name: right[name] for name in right.columns if name not in left.columns},
    )  # fmt: skip
    met = [told[name] == named[f"_by{i}"] for i, name in enumerate(by)]
    joined = told.left_join(named, [*met, told["_then"] == named["_key"]])
    return joined.select(*left.columns, *[name for name in right.columns if name not in left.columns])
