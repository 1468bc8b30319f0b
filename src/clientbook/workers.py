"""Much that is worked out value by value, in several processes where there is enough of it, or lot by lot in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def in_turn(work: Callable[[V], T], lots: Iterable[V]) -> Iterator[T]:
    """What comes of each lot, in their order, some of them worked on at once?

    Parameters
    ----------
    work
        What numpy does for the most part: it leaves the processors to other threads meanwhile.
    lots
        Taken one after the other, and only as they are worked on, as memory has room for few.
    """
    from joblib import cpu_count

    most = min(cpu_count(), MOST_PROCESSES)
    with ThreadPoolExecutor(most) as pool:
        begun: deque = deque()
        for lot in lots:
            begun.append(pool.submit(work, lot))
            if len(begun) == most:
                yield begun.popleft().result()
        yield from (each.result() for each in begun)
