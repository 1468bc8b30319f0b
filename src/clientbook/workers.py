"""Much that is worked out value by value, in several processes where there is enough of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

# Below so many values a process would take longer to start than to read them.
MANY_VALUES = 60_000
# A part is small enough that the last one to end keeps nobody waiting for long.
VALUES_A_PART = 15_000
MOST_PROCESSES = 8

V = TypeVar("V")
T = TypeVar("T")


def in_parts(work: Callable[[Sequence[V], int], list[T]], values: Sequence[V]) -> list[T]:
    """What comes of many values, part by part?

    Parameters
    ----------
    work
        Takes some of the values, and the place of the first of them among all.
    values
        All of them.

    Returns
    -------
    list
        What came of every part, in the order of the values: the same however many processes there are.
    """
    if len(values) < MANY_VALUES:
        return work(values, 0)
    # it needs no guard in the script that calls, as the standard library's processes would
    from joblib import Parallel, cpu_count, delayed

    processes = min(cpu_count(), MOST_PROCESSES)
    if processes == 1:
        return work(values, 0)
    starts = range(0, len(values), VALUES_A_PART)
    parts = (delayed(work)(values[start : start + VALUES_A_PART], start) for start in starts)
    told = Parallel(n_jobs=processes, batch_size=1, pre_dispatch="2*n_jobs")(parts)
    return [one for part in told for one in part]
