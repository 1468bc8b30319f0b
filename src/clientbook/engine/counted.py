"""How often does each value stand in each of many columns?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ibis
import ibis.expr.types as ir


def count_values(rows: ir.Table, values: Sequence[ir.StringColumn], by: Mapping[str, ir.Column]) -> ir.Table:
    """How often does each value stand in each of many columns of one table?

    DuckDB reads one column after the other and counts it, as its files allow. Spark would plan a job for each and read the
    file as often: there every row becomes as many as it has values, and all are counted at once.

    Parameters
    ----------
    rows
        The table.
    values
        What is counted: columns of it, or what is made from them.
    by
        Columns within which it is counted, by name.

    Returns
    -------
    ibis.expr.types.Table
        The columns of `by`, `place` (of the column in `values`, from 0), `value`, `n`; nulls are not counted.
    """
    if "pyspark" in {backend.name for backend in rows._find_backends()[0]}:
        every = rows.select(**by, value=ibis.array(list(values))).unnest("value", offset="place")
        every = every.filter(every["value"].notnull()).mutate(place=every["place"].cast("int16"))
        return every.group_by(*by, "place", "value").agg(n=every.count())
    parts = []
    for place, value in enumerate(values):
        held = rows.select(**by, place=ibis.literal(place, "int16"), value=value)
        parts.append(held.filter(held["value"].notnull()).group_by(*by, "place", "value").agg(n=lambda t: t.count()))
    return ibis.union(*parts) if len(parts) > 1 else parts[0]
