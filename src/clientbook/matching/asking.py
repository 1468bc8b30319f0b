"""About which two groups of records would an answer change most?

A question is asked about two groups of records: two customers that may be one, or the two parts of a customer that hold
together least. An answer that goes against what the clustering says changes all pairs between the two groups, so that its
expected gain is their number times the chance that it does. The chance comes from the pair probabilities, from what is known of
the systems (two records of one system are seldom one human), and from the other customers that one of the groups may belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.matching.clusters import CELLS, Apart, average_linkage

# A customer of more records is not asked about part by part.
MOST_RECORDS = 40
_CLIP = 1e-6


@dataclass(frozen=True)
class Seen:
    """What is known of records and pairs when questions are chosen.

    Attributes
    ----------
    left, right, p
        The pairs that were compared, by record number, and how probable it is that each is one human.
    customer
        Of each record a number of its customer.
    known
        Of each record whether more than its id is known; only those are asked about, and counted.
    source
        Of each record a number of its system.
    """

    left: np.ndarray
    right: np.ndarray
    p: np.ndarray
    customer: np.ndarray
    known: np.ndarray
    source: np.ndarray

    def sizes(self) -> np.ndarray:
        """Of each customer how many records with data."""
        return np.bincount(self.customer[self.known], minlength=int(self.customer.max(initial=0)) + 1)


def see(edges: pd.DataFrame, tied: pd.DataFrame, known: np.ndarray, numbered: ir.Table) -> Seen:
    """What is known of records and pairs?

    Parameters
    ----------
    edges
        As in :class:`clientbook.matching.pairs.Scored`.
    tied
        As from :func:`clientbook.matching.clusters.tie`.
    known
        Of each record whether more than its id is known.
    numbered
        `source` and `unique_id` of every record.
    """
    rows = numbered.select("unique_id", "source").to_pyarrow()
    source = np.zeros(len(known), "int64")
    source[rows["unique_id"].to_numpy()] = pd.factorize(rows["source"].to_pandas(), sort=True)[0]
    return Seen(
        edges["l"].to_numpy("int64"), edges["r"].to_numpy("int64"), edges["probability"].to_numpy(float),
        tied["first"].to_numpy("int64"), known, source,
    )  # fmt: skip


def same_system(seen: Seen) -> tuple[float, float]:
    """How much less, or more, probable is it that two records are one human where both are of one system, and where not?

    The share of pairs that are one human is found for both kinds by expectation maximisation, with all else as the model says.

    Returns
    -------
    tuple of float
        What is added to the logarithm of the odds for pairs of one system, and for others.
    """
    n = np.bincount(seen.source[seen.known]).astype(float)
    total = n.sum()
    within = (n * (n - 1) / 2).sum()
    between = total * (total - 1) / 2 - within
    if not within or not between or not len(seen.p):
        return 0.0, 0.0
    same = seen.source[seen.left] == seen.source[seen.right]
    odds = logit(seen.p)
    share = max(seen.p.sum(), 1.0) / (within + between)
    add = np.zeros(2)
    for _ in range(30):
        told = logistic(odds + np.where(same, add[0], add[1]))
        last, add = add, np.log(np.maximum([told[same].sum() / within, told[~same].sum() / between], 1e-12) / share)
        if np.abs(add - last).max() < 1e-4:
            break
    return float(add[0]), float(add[1])


@dataclass(frozen=True)
class Taught:
    """What the answers taught about the chance that a question's answer goes against what the clustering says.

    Attributes
    ----------
    coefficients
        For customers that may be one, and for parts of one: intercept, slope on the logarithm of the odds, and on that of the
        number of pairs that change.
    answers
        How many answers each rests on.
    """

    coefficients: np.ndarray
    answers: tuple[int, int]

    def chance(self, rows: pd.DataFrame) -> np.ndarray:
        """The chance by what was taught, of questions as from :func:`questions`."""
        x = features(rows)
        kind = rows["together"].to_numpy(dtype=bool).astype(int)
        return np.where(rows["chance"] <= 0, 0.0, logistic((x * self.coefficients[kind]).sum(axis=1)))


UNTAUGHT = Taught(np.array([[0.0, 1.0, 0.0]] * 2), (0, 0))


def features(rows: pd.DataFrame) -> np.ndarray:
    """What does the chance of a question go by? A one, the logarithm of the odds, and that of how many pairs change.

    Parameters
    ----------
    rows
        As from :func:`questions`.
    """
    odds = logit(rows["chance"].to_numpy(float))
    return np.stack([np.ones(len(rows)), odds, np.log(np.maximum(rows["changes"].to_numpy(float), 1.0))], axis=1)


def questions(
    seen: Seen, apart: Apart | None = None, asked: pd.DataFrame | None = None, taught: Taught | None = None
) -> pd.DataFrame:
    """About which two groups of records would an answer change most?

    Parameters
    ----------
    seen
        What is known.
    apart
        What people said before.
    asked
        `l`, `r` of pairs that were answered; nothing is asked twice.
    taught
        What earlier answers taught; nothing where there were none.

    Returns
    -------
    pandas.DataFrame
        `l`, `r` (the pair to show, the likeliest of those between the groups), `together` (whether they are one customer now),
        `changes` (pairs that change if the answer goes against it), `chance` (that it does), `gain` (their product), `mean`,
        `most` (of the probabilities between the groups), `shared` (systems that both groups have); the largest gain first.
    """
    left, right, p = seen.left, seen.right, seen.p
    if apart is not None:
        left, right, p = apart.answered(left, right, p)
    seen = Seen(left, right, p, seen.customer, seen.known, seen.source)
    add = same_system(seen)
    told = pd.concat([_between(seen, apart, add), _within(seen, add)], ignore_index=True)
    if asked is not None and len(asked):
        told = told[~_answered_before(told, asked, seen)]
    told = told.assign(chance=(taught or UNTAUGHT).chance(told))
    told = told.assign(gain=told["changes"] * told["chance"])
    return told.sort_values(["gain", "l", "r"], ascending=[False, True, True], ignore_index=True)


def _between(seen: Seen, apart: Apart | None, add: tuple[float, float]) -> pd.DataFrame:
    """Customers that may be one."""
    one, other = seen.customer[seen.left], seen.customer[seen.right]
    at = np.flatnonzero((one != other) & seen.known[seen.left] & seen.known[seen.right] & (seen.p > 0.005))
    a, b = np.minimum(one, other)[at], np.maximum(one, other)[at]
    # the likeliest pair of two customers comes first
    order = np.lexsort((at, -seen.p[at], b, a))
    at, a, b = at[order], a[order], b[order]
    first = np.flatnonzero(np.r_[True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])][: len(a)])
    sizes = seen.sizes()
    rows = pd.DataFrame({"l": seen.left[at[first]], "r": seen.right[at[first]], "a": a[first], "b": b[first]})
    rows["changes"] = sizes[rows["a"]] * sizes[rows["b"]]
    sums = np.add.reduceat(seen.p[at], first) if len(first) else np.empty(0)
    rows["mean"] = np.minimum(sums / rows["changes"], 1.0)
    rows["most"] = seen.p[at[first]]
    rows["shared"] = _shared(seen, rows["a"].to_numpy(), rows["b"].to_numpy())
    odds = np.exp(logit(rows["mean"].to_numpy()) + rows["shared"].to_numpy() * (add[0] - add[1]) + add[1])
    # whoever belongs to one customer does not belong to another: those that one of the two may be share what chance there is
    every = np.bincount(np.r_[rows["a"], rows["b"]], weights=np.r_[odds, odds], minlength=len(sizes))
    rows["chance"] = odds / (1 + np.maximum(every[rows["a"]], every[rows["b"]]))
    if apart is not None and apart.group is not None and len(rows):
        rows = rows[~_refused(seen, apart, rows)]
    return rows.assign(together=False).drop(columns=["a", "b"])


def _refused(seen: Seen, apart: Apart, rows: pd.DataFrame) -> np.ndarray:
    """Two customers of whom people said that they are not one."""
    known = np.flatnonzero(apart.group >= 0)
    held: dict[int, set[int]] = {}
    for group, customer in zip(apart.group[known].tolist(), seen.customer[known].tolist(), strict=True):
        held.setdefault(group, set()).add(customer)
    n = int(seen.customer.max(initial=0)) + 1
    never = [min(a, b) * n + max(a, b) for one, other in apart.parted.tolist() for a in held[one] for b in held[other]]
    return np.isin(rows["a"].to_numpy("int64") * n + rows["b"].to_numpy("int64"), np.array(never, dtype="int64"))


def _shared(seen: Seen, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many systems do both customers of a pair have?"""
    customers, place = np.unique(seen.customer[seen.known], return_inverse=True)
    has = np.zeros((len(customers), int(seen.source.max(initial=0)) + 1), dtype=bool)
    has[place.ravel(), seen.source[seen.known]] = True
    return (has[np.searchsorted(customers, a)] & has[np.searchsorted(customers, b)]).sum(axis=1)


def _within(seen: Seen, add: tuple[float, float]) -> pd.DataFrame:
    """The two parts of a customer that hold together least."""
    kinds = {"l": "int64", "r": "int64", "changes": "int64", "mean": float, "most": float, "shared": "int64"}
    found = [pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})]
    n = int(seen.source.max(initial=0)) + 1
    for members, alike in groups(seen):
        size, k = members.shape
        up_to = average_linkage(alike)
        diagonal = np.arange(k)
        up_to[:, diagonal, diagonal] = np.inf
        least = up_to.min(axis=(1, 2))
        side = up_to[:, 0, :] > least[:, None] + 1e-12
        # where all hold together alike, the first record stands against the rest
        side[side.all(axis=1)] = diagonal == 0
        across = side[:, :, None] & ~side[:, None, :]
        cells = across.sum(axis=(1, 2))
        between = np.where(across, alike, -1.0).reshape(size, -1)
        best = between.argmax(axis=1)
        one, other = np.divmod(best, k)
        g = np.arange(size)
        systems = np.eye(n, dtype=bool)[seen.source[members]]
        shared = ((side[:, :, None] & systems).any(axis=1) & (~side[:, :, None] & systems).any(axis=1)).sum(axis=1)
        l, r = members[g, one], members[g, other]
        found.append(pd.DataFrame({
            "l": np.minimum(l, r), "r": np.maximum(l, r), "changes": cells,
            "mean": np.where(across, alike, 0.0).sum(axis=(1, 2)) / cells, "most": between[g, best], "shared": shared,
        }))  # fmt: skip
    rows = pd.concat(found, ignore_index=True)
    # both have to be wrong: what the pairs say on average, and what the best of them says
    wrong = np.clip((1 - rows["mean"]) * (1 - rows["most"]), 1e-12, 1 - 1e-12)
    odds = np.log(wrong / (1 - wrong)) - rows["shared"] * (add[0] - add[1]) - add[1]
    return rows.assign(chance=np.where(rows["most"] >= 1, 0.0, logistic(odds)), together=True)


def groups(seen: Seen) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Customers of several records with data, those of one size together.

    Yields
    ------
    tuple of numpy.ndarray
        Record numbers, a row a customer; how probable each two of them are one human, 0 where they were never compared.
    """
    records = np.flatnonzero(seen.known)
    records = records[np.argsort(seen.customer[records], kind="stable")]
    of = seen.customer[records]
    first = np.flatnonzero(np.r_[True, of[1:] != of[:-1]][: len(of)])
    size = np.diff(np.r_[first, len(of)])
    place, number = np.full(len(seen.known), -1), np.full(len(seen.known), -1)
    place[records] = np.arange(len(records)) - np.repeat(first, size)
    number[records] = np.repeat(np.arange(len(first)), size)
    inside = np.flatnonzero(
        (seen.customer[seen.left] == seen.customer[seen.right]) & seen.known[seen.left] & seen.known[seen.right]
    )
    group = number[seen.left[inside]]
    for k in range(2, min(int(size.max(initial=0)), MOST_RECORDS) + 1):
        chosen = np.flatnonzero(size == k)
        step = max(1, CELLS // (k * k))
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            at = np.full(len(first), -1)
            at[part] = np.arange(len(part))
            mine = inside[at[group] >= 0]
            g, a, b = at[number[seen.left[mine]]], place[seen.left[mine]], place[seen.right[mine]]
            alike = np.zeros((len(part), k, k))
            alike[g, a, b] = alike[g, b, a] = seen.p[mine]
            yield records[first[part][:, None] + np.arange(k)], alike


def _answered_before(rows: pd.DataFrame, asked: pd.DataFrame, seen: Seen) -> np.ndarray:
    """Questions about two groups of whom a pair was answered, or could not be."""
    n = int(seen.customer.max(initial=0)) + 1
    keys = [question(frame["l"].to_numpy("int64"), frame["r"].to_numpy("int64"), seen, n) for frame in (rows, asked)]
    return np.isin(*keys)


def question(l: np.ndarray, r: np.ndarray, seen: Seen, n: int) -> np.ndarray:
    """What does a pair ask? A number: of two customers, whichever of their records they are, or of two records of one.

    Parameters
    ----------
    l, r
        The pairs.
    seen
        What is known.
    n
        More than the number of any customer.
    """
    a, b = seen.customer[l].astype("int64"), seen.customer[r].astype("int64")
    size = len(seen.known)
    return np.where(a == b, -1 - (np.minimum(l, r) * size + np.maximum(l, r)), np.minimum(a, b) * n + np.maximum(a, b))


def logit(p: np.ndarray) -> np.ndarray:
    """The logarithm of the odds, none of them certain."""
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return np.log(p / (1 - p))


def logistic(z: np.ndarray) -> np.ndarray:
    """The probability of which this is the logarithm of the odds."""
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))
