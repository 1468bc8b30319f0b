"""Do two tables hold the same rows? What two engines write may differ in a number's last digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# What is rounded to six decimals may be rounded to either side.
ABSOLUTE = 2e-6
RELATIVE = 1e-9


def differences(one: Path, other: Path, most: int = 5) -> list[str]:
    """In what do two Parquet files differ? Rows are compared in the order of their own columns' values.

    Parameters
    ----------
    one, other
        The files.
    most
        So many differing rows are told.

    Returns
    -------
    list of str
        Nothing where they hold the same.
    """
    a, b = pq.read_table(one), pq.read_table(other)
    if a.column_names != b.column_names:
        return [f"columns: {sorted(set(a.column_names) ^ set(b.column_names)) or 'in another order'}"]
    if a.num_rows != b.num_rows:
        return [f"rows: {a.num_rows} and {b.num_rows}"]
    order = [(name, "ascending") for name in a.column_names]
    if not any(pa.types.is_nested(field.type) for field in a.schema) and a.sort_by(order).equals(b.sort_by(order)):
        return []
    told = []
    for x, y in zip(*(sorted(table.to_pylist(), key=_place) for table in (a, b)), strict=True):
        # a row's own values may be of a person; which column differs is all that is told
        differing = [name for name in x if not _same(x[name], y[name])]
        told += [", ".join(differing)] if differing else []
    return told[:most] + ([f"{len(told)} of {a.num_rows} rows differ"] if told else [])


def _place(row: Mapping[str, Any]) -> list[tuple]:
    # numbers last: they may differ by a rounding, and would then sort rows apart
    plain = [(value is None, str(value)) for value in row.values() if not isinstance(value, float)]
    return plain + [(value is None, f"{value:.4g}") for value in row.values() if isinstance(value, float)]


def _same(x: Any, y: Any) -> bool:
    if isinstance(x, float) and isinstance(y, float):
        return math.isclose(x, y, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (math.isnan(x) and math.isnan(y))
    return x == y
