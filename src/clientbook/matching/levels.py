"""On which level of likeness is each pair? Worked out once for every two values, not once for every two records."""

from __future__ import annotations

from collections.abc import Sequence

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clientbook.engine import Engine
from clientbook.matching.comparing import Compared, level_of, reads

# Pairs that are worked on at once.
AT_ONCE = 2_000_000


class Coded:
    """The records' values as numbers, and what is asked of two of them.

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, in the order of `unique_id`; a few may be in memory.
    engine
        Which says how alike two values are.
    compared
        The comparisons.
    """

    def __init__(self, records: ir.Table | pa.Table, engine: Engine, compared: Sequence[Compared]):
        self.engine, self.compared = engine, tuple(compared)
        self.codes: dict[str, np.ndarray] = {}
        self._values: dict[str, pa.Table] = {}
        rare = {level.rare for one in compared for level in one.levels if level.rare}
        for one in compared:
            columns = reads(one)
            told = _read(records, columns)
            self.codes[one.name], first = _coded(told[one.name])
            # the other columns that levels read follow from the first
            self._values[one.name] = told.take(pa.array(first)).combine_chunks()
            for name in rare & set(columns) - {one.name}:
                self.codes[name], _ = _coded(told[name])
        names = set(records.column_names if isinstance(records, pa.Table) else records.columns)
        needed = ["mail", *(["name_key"] if {"first", "last"} <= {one.name for one in compared} else [])]
        for name in needed:
            if name not in self.codes and name in names:
                self.codes[name], _ = _coded(_read(records, [name])[name])
        flags = _read(records, ["guessed"])["guessed"] if "guessed" in names else None
        n = len(next(iter(self.codes.values())))
        self.guessed = np.zeros(n, dtype=bool) if flags is None else flags.fill_null(False).to_numpy().astype(bool)

    def patterns(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The levels of pairs, all of a pair as one number.

        Parameters
        ----------
        left, right
            Places of records.

        Returns
        -------
        numpy.ndarray
            As :func:`unpacked` reads it.
        """
        told = np.zeros(len(left), dtype="int64")
        for begin in range(0, len(left), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            place = 1
            for one in self.compared:
                told[part] += (self._levels(one, left[part], right[part]).astype("int64") + 1) * place
                place *= len(one.levels) + 2
        return told

    def _levels(self, one: Compared, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        a, b = self.codes[one.name][left], self.codes[one.name][right]
        both = (a >= 0) & (b >= 0)
        if one.missing:
            # a name that was read from an e-mail address says nothing beside that address
            mail = self.codes["mail"][left]
            both &= ~((self.guessed[left] | self.guessed[right]) & (mail == self.codes["mail"][right]) & (mail >= 0))
        told = np.full(len(left), -1, dtype="int8")
        values = self._values[one.name]
        low, high = np.minimum(a[both], b[both]).astype("int64"), np.maximum(a[both], b[both])
        which, pairs = pd.factorize(low * max(values.num_rows, 1) + high)
        first, second = np.divmod(pairs, max(values.num_rows, 1))
        columns = {f"{name}_{side}": values[name].take(pa.array(at))
                   for side, at in (("l", first), ("r", second)) for name in values.column_names}  # fmt: skip
        told[both] = self.engine.evaluate(pa.table(columns), level_of(one))[which] if len(pairs) else 0
        return told


def _read(records: ir.Table | pa.Table, columns: Sequence[str]) -> pa.Table:
    if isinstance(records, pa.Table):
        return records.select(list(columns))
    return records.select(*columns).to_pyarrow()


def unpacked(pattern: np.ndarray, compared: Sequence[Compared]) -> np.ndarray:
    """The levels that a number stands for.

    Parameters
    ----------
    pattern
        As from :meth:`Coded.patterns`.
    compared
        The comparisons.

    Returns
    -------
    numpy.ndarray
        Shape (pairs, comparisons): how many levels down from the most alike, -1 where nothing can be said.
    """
    rest, told = pattern.astype("int64"), np.empty((len(pattern), len(compared)), dtype=np.int8)
    for i, one in enumerate(compared):
        rest, level = np.divmod(rest, len(one.levels) + 2)
        told[:, i] = level - 1
    return told


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each distinct value in the order of their coming, -1 where there is none; and where each comes first."""
    coded = column.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = pa.concat_arrays(coded.chunks)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype("int32")
    known = np.flatnonzero(codes >= 0)
    _, first = np.unique(codes[known], return_index=True)
    return codes, known[first]
