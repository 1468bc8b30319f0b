"""Sums that come out the same, to the last bit, whatever the order of rows and the number of threads."""

from __future__ import annotations

import ibis.expr.types as ir

# Money and shares are kept to the sixth decimal; 38 digits hold any sum of what parsing lets through.
_EXACT = "decimal(38, 6)"


def exact(column: ir.NumericColumn) -> ir.DecimalColumn:
    """A column as exact decimals, to be summed.

    Parameters
    ----------
    column
        Numbers; the seventh decimal and beyond are rounded away.
    """
    return column.cast(_EXACT)


def total(column: ir.NumericColumn, where: ir.BooleanValue | None = None) -> ir.FloatingScalar:
    """The exact sum of a column, as a float.

    Parameters
    ----------
    column
        Numbers.
    where
        Which rows count; None means all.

    Returns
    -------
    ibis.expr.types.FloatingScalar
        0 where no row counts. A sum of floats depends on the order of the rows, which an engine with several threads
        does not keep.
    """
    return exact(column).sum(where=where).cast("float64").fill_null(0.0)
