"""Which event follows which, and which ways do subjects take?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from clientbook.journeys.timeline import ENDINGS

# A way of so many events is a robot's or a crowd's; the rest of it is cut, or one subject could fill the memory.
LONGEST_VARIANT = 1_000
JOIN, CUT = " > ", "…"
# So many events are held at once beside the codes themselves.
_BLOCK = 1 << 20
# Up to so many pairs of names each has a counter of its own, which is faster than to sort.
_MOST_COUNTERS = 1 << 22


@dataclass(frozen=True)
class Sequences:
    """What did each subject do, one after the other? In numbers, as much is counted from them.

    Attributes
    ----------
    names
        The events' names, in the order of the alphabet; those with which deals end stand last.
    first
        Where each subject begins among the codes, and how many there are in all: one longer than the subjects.
    codes
        Each event's place among the names.
    """

    names: list[str]
    first: np.ndarray
    codes: np.ndarray

    def blocks(self) -> Iterator[tuple[int, int]]:
        """From which subject to before which other are about as many events as fit into memory at once?"""
        begin, last = 0, len(self.first) - 1
        while begin < last:
            end = int(np.searchsorted(self.first, self.first[begin] + _BLOCK, side="right")) - 1
            end = min(max(end, begin + 1), last)
            yield begin, end
            begin = end


def raw_events(timeline: ir.Table) -> ir.Table:
    """The events that were delivered as such; the whole timeline where there are none.

    Parameters
    ----------
    timeline
        The public table.
    """
    events = timeline.filter(timeline["kind"] == "event")
    return events if events.limit(1).count().to_pyarrow().as_py() else timeline


def sequences(events: ir.Table) -> Sequences:
    """In which order did each subject do what?

    Parameters
    ----------
    events
        `subject_id`, `event_name`, `occurred_at`, `arrival`; equal times keep the order of arrival. What stands in that
        order already, as the public table `timeline` does, is not sorted again.
    """
    names = events.filter(events["event_name"].notnull()).select("event_name").distinct().to_pyarrow()["event_name"]
    # codes decide between equal times and arrivals, as the timeline does
    names = sorted(names.to_pylist(), key=lambda name: (name in ENDINGS, name))
    small = np.min_scalar_type(len(names))
    known = pa.table({"event_name": pa.array(names, pa.string()), "code": np.arange(len(names), dtype=small)})
    rows = events.inner_join(ibis.memtable(known), "event_name")
    rows = rows.select("code", "arrival", who=rows["subject_id"].hash(), at=rows["occurred_at"].cast("timestamp"))
    found = _read(rows, small, check=True)
    if found is None:
        found = _read(rows.order_by("who", "at", "arrival", "code"), small, check=False)
    return Sequences(names, *found)


def _read(rows: ir.Table, small: np.dtype, *, check: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Where each subject begins, and the codes; None where they are not in order."""
    codes, starts, whose, place, before = [], [], [], 0, None
    for batch in rows.to_pyarrow_batches(chunk_size=_BLOCK):
        code, who = (batch[name].to_numpy(zero_copy_only=False) for name in ("code", "who"))
        if not len(code):
            continue
        codes.append(code.astype(small))
        fresh = np.append(before is None or who[0] != before[0], who[1:] != who[:-1])
        if check:
            at, arrival = batch["at"].cast(pa.int64()).to_numpy(), batch["arrival"].to_numpy(zero_copy_only=False)
            keys = (at, arrival, code)
            last = before[1:] if before else [key[0] for key in keys]
            keys = [np.append(one, key) for one, key in zip(last, keys, strict=True)]
            falls = np.zeros(len(code), bool)
            # the first of the three that differs decides
            for key in reversed(keys):
                falls = (key[1:] < key[:-1]) | ((key[1:] == key[:-1]) & falls)
            if (falls & ~fresh).any():
                return None
            before = (who[-1], at[-1], arrival[-1], code[-1])
        else:
            before = (who[-1],)
        begins = np.flatnonzero(fresh)
        starts.append(begins + place)
        whose.append(who[begins])
        place += len(code)
    first = np.concatenate([*starts, [place]]).astype(np.int64)
    if check and len(np.unique(np.concatenate(whose or [[]]))) < len(first) - 1:
        return None
    return first, np.concatenate(codes or [np.empty(0, small)])


def event_transitions(done: Sequences) -> ir.Table:
    """How often does one event directly follow another of the same subject?

    Parameters
    ----------
    done
        As from :func:`sequences`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `event_transitions`, most frequent first.
    """
    size = len(done.names)
    dense = size * size <= _MOST_COUNTERS
    pairs = np.arange(size * size if dense else 0)
    counts = np.zeros(len(pairs), np.int64)
    for begin, end in done.blocks():
        code = done.codes[done.first[begin] : done.first[end]].astype(np.int64)
        pair = code[:-1] * size + code[1:]
        inside = np.ones(len(pair), bool)
        inside[done.first[begin + 1 : end] - done.first[begin] - 1] = False
        if dense:
            counts += np.bincount(pair[inside], minlength=size * size)
        else:
            some, n = np.unique(pair[inside], return_counts=True)
            pairs, place = np.unique(np.append(pairs, some), return_inverse=True)
            counts = np.bincount(place, weights=np.append(counts, n)).astype(np.int64)
    seen = np.flatnonzero(counts)
    pair, names = pairs[seen], pa.array(done.names, pa.string())
    rows = ibis.memtable(pa.table({
        "event_from": names.take(pa.array(pair // max(size, 1))), "event_to": names.take(pa.array(pair % max(size, 1))),
        "n": counts[seen],
    }))  # fmt: skip
    return rows.order_by(ibis.desc("n"), "event_from", "event_to")


def variants(done: Sequences, longest: int = LONGEST_VARIANT) -> ir.Table:
    """Which ways did subjects take, from their first event to their last, and how many took each?

    Parameters
    ----------
    done
        As from :func:`sequences`.
    longest
        Ways of more events are cut there, and end in ` > …`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `variants`, most frequent first.
    """
    length = np.diff(done.first)
    # two ways are the same if 128 bits of theirs are: two that differ share them less often than memory errs
    marks = np.empty((len(length), 2), np.uint64)
    for begin, end in done.blocks():
        code, starts, place = _tokens(done, np.arange(begin, end), longest)
        token = (place.astype(np.uint64) << np.uint64(32)) | (code.astype(np.uint64) + np.uint64(1))
        for side, seed in enumerate((0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)):
            marks[begin:end, side] = np.add.reduceat(_mixed(token, seed), starts) if len(starts) else 0
    order = np.lexsort((marks[:, 1], marks[:, 0]))
    fresh = np.append(True, (np.diff(marks[order], axis=0) != 0).any(axis=1)) if len(order) else np.empty(0, bool)
    at = np.flatnonzero(fresh)
    n = np.diff(np.append(at, len(order)))
    # a stable sort: the first of those who took a way tells it
    tells = order[at]
    words = pa.array([*done.names, CUT], pa.string())
    texts = []
    room = np.cumsum(np.minimum(length[tells], longest + 1))
    for some in np.split(tells, np.searchsorted(room, np.arange(_BLOCK, room[-1] if len(room) else 0, _BLOCK))):
        code, starts, _ = _tokens(done, some, longest)
        ways = pa.ListArray.from_arrays(pa.array(np.append(starts, len(code)), pa.int32()), words.take(pa.array(code)))
        texts.append(pc.binary_join(ways, JOIN))
    rows = pa.table({"variant": pa.chunked_array(texts, pa.string()), "n": n})
    return ibis.memtable(rows).order_by(ibis.desc("n"), "variant")


def _tokens(done: Sequences, subjects: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What these subjects did, what is too long cut; where each of them begins; and the place of each on its way."""
    length = np.minimum(done.first[subjects + 1] - done.first[subjects], longest + 1)
    starts = np.cumsum(length) - length
    place = np.arange(length.sum()) - np.repeat(starts, length)
    code = done.codes[np.repeat(done.first[subjects], length) + place].astype(np.int64)
    code[place == longest] = len(done.names)
    return code, starts, place


def _mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """Sixty-four bits that look like chance, always the same for the same value (splitmix64)."""
    x = values + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def funnel(events: ir.Table, names: Sequence[str]) -> pd.DataFrame:
    """How many subjects did the first of these, how many then the second, and so on, in this order?

    Parameters
    ----------
    events
        As for :func:`event_transitions`.
    names
        Of the events, in order; other events may come between.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `subjects`, `share` (of those who did the first), `of_before` (of those at the step before).
    """
    rows = events.filter(events["event_name"].isin(list(names)))
    ends = rows["event_name"].isin(ENDINGS)
    along = ibis.window(group_by="subject_id", order_by=["occurred_at", "arrival", ends, "event_name"])
    rows = rows.select("subject_id", "event_name", place=ibis.row_number().over(along))
    reached, counts = None, []
    for name in names:
        some = rows.filter(rows["event_name"] == name)
        if reached is not None:
            some = some.inner_join(reached, "subject_id")
            some = some.filter(some["place"] > some["after"])
        reached = some.group_by("subject_id").agg(after=some["place"].min())
        counts.append(int(reached.count().to_pyarrow().as_py()))
    told = pd.DataFrame({"event_name": list(names), "subjects": counts})
    before = told["subjects"].shift(fill_value=counts[0] if counts else 0)
    return told.assign(
        share=told["subjects"] / max(counts[0] if counts else 0, 1), of_before=told["subjects"] / before.clip(lower=1)
    )
