"""How right are the customers, by what people said about pairs that were drawn?

Every fourth question is a draw from all pairs, by strata of what the clustering says and how probable the pair is: only from
these can be said without bias how right the customers are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clientbook.matching.asking import Seen, groups, logistic, logit
from clientbook.matching.clusters import best_paths
from clientbook.matching.labels import Settled

# Edges of the strata, in how probable a pair is one human by all that hangs together with it.
EDGES = (0.0, 0.01, 0.05, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97, 0.995)
ESTIMATED = ("what", "estimated", "low", "high", "answers")
# The odds may be off from what is believed by so much, as standard deviations of their logarithm: in all strata of pairs that
# are one customer, or of pairs that are not, and in one stratum beside its like.
_OFF, _OFF_ALONE = 1.0, 0.5
_DRAWS = 4_000
_COVER = 0.95


@dataclass(frozen=True)
class Population:
    """All pairs of which something is known, by stratum.

    Attributes
    ----------
    l, r
        Pairs: those that were compared, and those that are one customer by others in between.
    believed
        How probable each is one human, by all that hangs together with it.
    together
        Whether the two are one customer.
    compared
        Whether the two were compared.
    stratum
        Of each pair a number, in `names`.
    names
        Such as `together 0.9`.
    """

    l: np.ndarray
    r: np.ndarray
    believed: np.ndarray
    together: np.ndarray
    compared: np.ndarray
    stratum: np.ndarray
    names: tuple[str, ...]

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each stratum how many pairs it holds, and what share of them is believed to be one human."""
        n = np.bincount(self.stratum, minlength=len(self.names))
        return n, np.bincount(self.stratum, weights=self.believed, minlength=len(self.names)) / np.maximum(n, 1)


def population(seen: Seen) -> Population:
    """Of which pairs are draws made?

    Two records of one customer are believed to be one human as the best path between them says, the product of the
    probabilities along it; two of different customers as the pairs between these customers say on average.

    Parameters
    ----------
    seen
        What is known.
    """
    both = seen.known[seen.left] & seen.known[seen.right]
    l, r, believed = seen.left[both], seen.right[both], seen.p[both].copy()
    a, b = seen.customer[l], seen.customer[r]
    together = a == b
    sizes = seen.sizes()
    code, sums = np.minimum(a, b).astype("int64") * len(sizes) + np.maximum(a, b), believed.copy()
    _, inverse = np.unique(code, return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=sums)[inverse.ravel()]
    believed[~together] = np.minimum(sums / np.maximum(sizes[a] * sizes[b], 1), 1.0)[~together]
    n = len(seen.known)
    keys = np.minimum(l, r) * n + np.maximum(l, r)
    order = np.argsort(keys, kind="stable")
    never = [np.empty((3, 0))]
    for members, alike in groups(seen):
        low, high = np.triu_indices(members.shape[1], 1)
        path = np.maximum(alike, best_paths(alike))[:, low, high].ravel()
        one, other = members[:, low].ravel(), members[:, high].ravel()
        wanted = np.minimum(one, other) * n + np.maximum(one, other)
        at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))]
        there = keys[at] == wanted
        believed[at[there]] = path[there]
        never.append(np.stack([*np.divmod(wanted[~there], n), path[~there]]))
    unseen = np.concatenate(never, axis=1)
    compared = np.arange(len(l) + unseen.shape[1]) < len(l)
    l, r = (np.concatenate([one, more.astype("int64")]) for one, more in zip((l, r), unseen[:2], strict=True))
    believed, together = np.concatenate([believed, unseen[2]]), np.concatenate([together, ~compared[~compared]])
    stratum = np.searchsorted(EDGES, believed, side="right") - 1 + together * len(EDGES)
    names = tuple(f"{what} {edge:g}" for what in ("apart", "together") for edge in EDGES)
    return Population(l, r, believed, together, compared, stratum, names)


def draws(pairs: Population, most: int, seed: int, asked: pd.DataFrame | None = None) -> pd.DataFrame:
    """Which pairs are drawn, so that the answers say how right the customers are?

    A stratum is drawn from in proportion to its size and to how unsure the model is in it (Neyman 1934), each of its pairs with
    equal chance.

    Parameters
    ----------
    pairs
        As from :func:`population`.
    most
        How many.
    seed
        Of the draws.
    asked
        `l`, `r` of pairs that were answered.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `stratum`, in the order in which they are to be asked.
    """
    n, believed = pairs.sizes()
    unsure = n * np.sqrt(np.clip(believed, 0.002, 0.998) * (1 - np.clip(believed, 0.002, 0.998)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs.l))
    order = order[np.argsort(pairs.stratum[order], kind="stable")]
    stratum = pairs.stratum[order]
    rank = np.arange(len(order)) - np.searchsorted(stratum, stratum)
    turn = (rank + 0.5) / unsure[stratum]
    order = order[np.lexsort((stratum, turn))]
    if asked is not None and len(asked):
        size = int(max(pairs.r.max(initial=0), asked["r"].max())) + 1
        order = order[~np.isin(pairs.l[order] * size + pairs.r[order], asked["l"].to_numpy() * size + asked["r"].to_numpy())]
    order = order[:most]
    names = np.array(pairs.names, dtype=object)[pairs.stratum[order]]
    return pd.DataFrame({"l": pairs.l[order], "r": pairs.r[order], "stratum": names})


def estimate(
    before: Seen, customer: np.ndarray, settled: Settled, taught: pd.DataFrame, reached: float | None, seed: int
) -> pd.DataFrame:
    """How right are the customers, by what people said about the pairs that were drawn?

    In each stratum the logarithm of the odds that a pair is one human is taken to be off from what is believed by a normal
    error, a part of which is that of all like strata (a model is too sure, or not sure enough, everywhere), and the answers about
    pairs drawn from them say by how much (a posterior, worked out on a grid). That says how right the
    customers were without the answers. Following them changed pairs: those that were parted are taken for wrong, and of those
    that were made one as many for right as of those that stayed one, less those that were expected to be wrong where nobody
    answered and what was taught decided.

    Parameters
    ----------
    before
        What is known without the answers, and the customers that there would be without them.
    customer
        The customers that there are.
    settled
        As from :func:`clientbook.matching.labels.settle`.
    taught
        As from :func:`clientbook.matching.reviewing.learned`: what was followed of it.
    reached
        Of all pairs of one human the share that some blocking rule finds, as in :class:`clientbook.matching.pairs.Scored`.
    seed
        Of the draws from the distributions.

    Returns
    -------
    pandas.DataFrame
        `what` (`precision`, `recall`), `estimated`, `low`, `high` (95 %), `answers`; empty where no drawn pair was answered.
    """
    pairs = population(before)
    drawn = _drawn(pairs, settled, seed)
    n, believed = pairs.sizes()
    unseen = np.bincount(pairs.stratum[~pairs.compared], minlength=len(n))
    parted = np.bincount(pairs.stratum[pairs.together & (customer[pairs.l] != customer[pairs.r])], minlength=len(n))
    size = len(before.known)
    where = pd.Series(pairs.stratum, index=pairs.l.astype("int64") * size + pairs.r)
    found = where.reindex(drawn["l"].to_numpy("int64") * size + drawn["r"].to_numpy("int64"))
    inside = found.notna().to_numpy()
    if not inside.any():
        return pd.DataFrame(columns=list(ESTIMATED))
    stratum, yes = found[inside].astype(int).to_numpy(), (drawn["answer"] == "yes").to_numpy()[inside]
    right = np.bincount(stratum, weights=yes, minlength=len(n))
    wrong = np.bincount(stratum, weights=~yes, minlength=len(n))
    share = _shares(believed, right, wrong, seed)
    together = np.arange(len(n)) >= len(EDGES)
    is_, both = (implied(before.known, *keys) for keys in ((customer,), (before.customer, customer)))
    doubtful = float(((1 - taught["chance"]) * taught["changes"] * (taught["answer"] == "yes")).sum())
    told = []
    for theta in (share, share.mean(axis=0, keepdims=True)):
        kept = both - np.maximum((1 - theta) * np.where(together, n, 0) - parted, 0).sum(axis=1)
        apart = theta @ np.where(together, 0, n)
        never = theta @ unseen
        missed = np.maximum((kept + apart - never) * (1 / reached - 1) - never, 0) if reached else 0.0
        now = np.maximum(kept + ((is_ - both) - doubtful) * kept / max(both, 1), 0)
        every = np.maximum(kept + apart + missed, now)
        told.append((np.minimum(now / max(is_, 1), 1), now / np.maximum(every, 1)))
    rows = []
    for what, draw, at in zip(("precision", "recall"), told[0], told[1], strict=True):
        low, high = np.quantile(draw, [(1 - _COVER) / 2, (1 + _COVER) / 2])
        rows.append((what, round(float(at[0]), 6), round(float(low), 6), round(float(high), 6), int(inside.sum())))
    return pd.DataFrame(rows, columns=list(ESTIMATED))


def _drawn(pairs: Population, settled: Settled, seed: int) -> pd.DataFrame:
    """Answers about pairs that were drawn, those among them that were asked for another reason before their turn came."""
    told = settled.used[settled.used["answer"].isin(["yes", "no"])]
    known = told["stratum"] != ""
    if not known.any():
        return told[known]
    order = draws(pairs, len(pairs.l), seed)
    turn = pd.Series(np.arange(len(order)), index=pd.MultiIndex.from_frame(order[["l", "r"]]))
    at = turn.reindex(pd.MultiIndex.from_frame(told[["l", "r"]].astype("int64"))).to_numpy(float)
    last = np.nanmax(np.where(known, at, np.nan), initial=-1)
    return told[known | (at <= last)]


def _shares(believed: np.ndarray, right: np.ndarray, wrong: np.ndarray, seed: int) -> np.ndarray:
    """Draws of the share of right pairs in each stratum, a column each."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-4, 4, 121)
    alike, alone = _OFF * grid, _OFF_ALONE * grid
    prior = -(grid**2) / 2
    drawn = np.empty((_DRAWS, len(believed)))
    for side in np.split(np.arange(len(believed)), 2):
        # strata, how far off all of them are, how far one alone
        odds = logit(believed[side])[:, None, None] + alike[:, None] + alone
        told = right[side, None, None] * -np.logaddexp(0, -odds) + wrong[side, None, None] * -np.logaddexp(0, odds) + prior
        each = np.logaddexp.reduce(told, axis=2)
        whole = each.sum(axis=0) + prior
        chance = np.exp(whole - whole.max())
        common = rng.choice(len(grid), _DRAWS, p=chance / chance.sum())
        sums = np.cumsum(np.exp(told - each[:, :, None]), axis=2)
        for k, stratum in enumerate(side):
            # how many points of the grid lie below a chance
            own = (sums[k, common] < rng.random(_DRAWS)[:, None]).sum(axis=1)
            drawn[:, stratum] = odds[k, common, np.minimum(own, len(grid) - 1)]
    return logistic(drawn)


def implied(known: np.ndarray, *keys: np.ndarray) -> int:
    """How many pairs of records with data are one in all of these?"""
    n = np.unique(np.stack([key[known] for key in keys]), axis=1, return_counts=True)[1]
    return int((n * (n - 1) // 2).sum())
