"""How probable is it that two records are one human? Fellegi and Sunter's model, with kin and neighbours beside strangers.

Pairs that were picked because they agree on something are of several kinds: records of one human, of people who live
together, of people who live or work near, and of strangers. Each kind agrees on each column with probabilities of its
own. Those of strangers are counted on random pairs, the others are found by expectation maximisation on the counts of
all patterns of levels; people who are not the same agree on first name and birth date as strangers do.

First names and surnames go together: a language has its own of both, so that strangers of one whole name are more than
each name by itself would say. How many pairs of one whole name there are is counted, and what those of one human do not
explain are namesakes.

So do a name and a town. Pairs of one town are too many to be looked at, and those that are were picked because they agree
on more; what they agree on, and how often they are namesakes, is counted on all of them, and what those of one human, home
or house do not explain is of people of one area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clientbook.matching.comparing import Compared

KIN = ("home", "place", "area")
KINDS = ("same", *KIN, "strangers")
# What is counted of each level before anything is seen, so that no level is impossible.
_PRIOR = 0.5
_CLOSE = 1e-5
# Of the pairs that agree on something at least so many are strangers: the others are not known so well that none is.
_LEAST_LEFT = 0.02
# What people of one area have in common more than others, though they do not share it.
_LOCAL = ("first", "last", "way")
# Fewer of a sample say too little.
_SEEN = 10


@dataclass(frozen=True)
class Near:
    """What do pairs of one town agree on, whether they were picked or not?

    Attributes
    ----------
    name
        The comparison that says that two records are of one town: they are alike in it, to the highest level.
    pairs, of
        How many pairs are, and of how many both sides say their town.
    patterns, counts
        As for :func:`fit`, of pairs drawn by lot from them.
    one_name
        As there, of pairs of one town alone; counted.
    """

    name: str
    pairs: float
    of: float
    patterns: np.ndarray
    counts: np.ndarray
    one_name: tuple[float, float] | None = None


@dataclass(frozen=True)
class Model:
    """A fitted model.

    Attributes
    ----------
    compared
        The comparisons.
    probabilities
        By kind, a row a comparison: the probability of each level, from most to least alike.
    pairs
        How many pairs of each kind there are.
    iterations
        Until nothing changed by more than a hundred-thousandth; the limit where that was not reached.
    converged
        Whether it was.
    starts
        The share of pairs that are of one human by each further start, for the check that all agree.
    namesakes
        By kind: how many times as many have one whole name as first names and surnames by themselves would say; of one human
        and of people who live together nothing is told, as they have one surname anyway.
    town
        The comparison by which people are of one area, where all of them were counted.
    """

    compared: tuple[Compared, ...]
    probabilities: dict[str, list[np.ndarray]]
    pairs: dict[str, float]
    iterations: int
    converged: bool
    starts: tuple[float, ...] = ()
    namesakes: dict[str, float] = field(default_factory=dict)
    town: str = ""

    def weights(self, kind: str) -> list[np.ndarray]:
        """Match weights: the logarithm to base 2 of how much more often one human than a kind shows each level."""
        return [np.log2(m / u) for m, u in zip(self.probabilities["same"], self.probabilities[kind], strict=True)]


def fit(
    patterns: np.ndarray, counts: np.ndarray, compared: Sequence[Compared], random: Sequence[np.ndarray], known: Sequence[float],
    total: float, *, iterations: int = 200, start: float = 0.9, one_name: tuple[float, float] | None = None,
    near: Near | None = None,
) -> Model:  # fmt: skip
    """Find the kinds of pairs by expectation maximisation.

    Parameters
    ----------
    patterns
        Shape (patterns, comparisons): how many levels down from the most alike, -1 where missing.
    counts
        How many pairs show each.
    compared
        The comparisons.
    random
        How often each level of each comparison is seen among all pairs that there are.
    known
        Of how many of those pairs both sides have a value, by comparison.
    total
        How many pairs there are at all, compared or not.
    iterations
        The limit.
    start
        What is first believed of how often two records of one human agree.
    one_name
        How many pairs have one whole name, and of how many both have one, compared or not; None where names are not
        compared in two parts.
    near
        What all pairs of one town agree on; None where records name none.
    """
    sizes = [len(one.levels) + 1 for one in compared]
    raw = [np.asarray(u, dtype=float) for u in random]
    kin: dict[str, list[np.ndarray]] = {
        kind: [_first_guess(size, 0.8) if kind in one.shared_by else u for one, size, u in zip(compared, sizes, raw, strict=True)]
        for kind in KIN
    }
    probabilities = {"same": [_first_guess(size, start) for size in sizes], **kin, "strangers": raw}
    shared = {kind: [kind in one.shared_by for one in compared] for kind in KIN}
    n = counts.sum()
    pairs = {"same": 0.2 * n, "home": 0.02 * n, "place": 0.05 * n, "area": 0.1 * n, "strangers": float(total)}
    for kind, least in (("home", 3), ("place", 3), ("area", 2)):
        # whoever shares hardly anything that is there cannot be told from strangers
        if sum(shared[kind]) < least:
            pairs[kind] = 0.0
    if near is not None:
        in_all = total / near.of
        pairs["area"] = near.pairs * in_all
    order = [one.name for one in compared]
    named = one_name is not None
    whole = _one_name(patterns, order) if named else np.zeros(len(patterns), dtype=bool)
    town = patterns[:, order.index(near.name)] == 0 if near is not None else np.zeros(len(patterns), dtype=bool)
    near_whole = whole[:0] if near is None else _one_name(near.patterns, order) & named
    namesakes: dict[str, float] = {}
    converged, step = False, 0
    for step in range(1, iterations + 1):  # noqa: B007
        parts = _responsible(patterns, probabilities, pairs, whole, namesakes)
        moved = 0.0
        explained = [np.zeros(size) for size in sizes]
        for kind in ("same", *KIN):
            if pairs[kind] == 0 or (kind == "area" and near is not None):
                continue
            weight = parts[kind] * counts
            moved = max(moved, abs(weight.sum() - pairs[kind]) / n)
            pairs[kind] = float(weight.sum())
            updated = []
            for i, (size, old) in enumerate(zip(sizes, probabilities[kind], strict=True)):
                seen = patterns[:, i] >= 0
                told = np.bincount(patterns[seen, i], weights=weight[seen], minlength=size)
                explained[i] += told
                if kind == "same" or shared[kind][i]:
                    old = (told + _PRIOR) / (told + _PRIOR).sum()
                updated.append(old)
            probabilities[kind] = updated
        if near is not None:
            told = _responsible(near.patterns, probabilities, pairs, near_whole, namesakes)
            probabilities["area"], share, more = _area(near, compared, raw, told)
            pairs["area"] = max(near.pairs * share * in_all, 1.0)
            explained = [one + other for one, other in zip(explained, more, strict=True)]
        # all pairs that there are hold those of one human too; what is left is the strangers'
        probabilities["strangers"] = [
            _left(u * pairs_known, told, u) for u, pairs_known, told in zip(raw, known, explained, strict=True)
        ]
        for kind in KIN if near is None else KIN[:-1]:
            probabilities[kind] = [
                own if is_shared else u
                for own, is_shared, u in zip(probabilities[kind], shared[kind], probabilities["strangers"], strict=True)
            ]
        if named:
            akin = (parts["same"] + parts["home"]) * counts
            of_one, near_often = max(one_name[0] - akin[whole].sum(), _LEAST_LEFT * one_name[0]), None
            if near is not None and near.one_name is not None:
                of_near = max(near.one_name[0] - akin[whole & town].sum(), 0.0)
                near_often = _together(of_near / max(near.one_name[1] * share, 1.0), probabilities["area"], order)
                of_one = max(of_one - of_near, _LEAST_LEFT * one_name[0])
            often = _together(of_one / max(one_name[1], 1.0), probabilities["strangers"], order)
            namesakes = {"place": often, "area": near_often or often, "strangers": often}
        if moved < _CLOSE:
            converged = True
            break
    return Model(
        tuple(compared), probabilities, pairs, step, converged, town="" if near is None else near.name,
        namesakes={kind: float(often) for kind, often in namesakes.items()},
    )  # fmt: skip


def score(
    model: Model, patterns: np.ndarray, rarity: np.ndarray | None = None, kin_rarity: dict[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Match weight and probability of pairs.

    Parameters
    ----------
    model
        As from :func:`fit`.
    patterns
        As there.
    rarity
        By how many bits the values that a pair agrees on are rarer than values are on average.
    kin_rarity
        The same for people who live together or near, of the columns that they do not share.

    Returns
    -------
    match_weight, probability
        The weight is the logarithm to base 2 of the odds.
    """
    whole = _one_name(patterns, [one.name for one in model.compared])
    logs = _logs(patterns, model.probabilities, model.pairs, whole, model.namesakes)
    if rarity is not None:
        logs["strangers"] = logs["strangers"] - rarity * np.log(2)
    for kind, bits in (kin_rarity or {}).items():
        logs[kind] = logs[kind] - bits * np.log(2)
    other = logs["strangers"]
    for kind in KIN:
        other = np.logaddexp(other, logs[kind])
    weight = (logs["same"] - other) / np.log(2)
    return weight, 1 / (1 + np.exp2(-np.clip(weight, -200, 200)))


def _area(
    near: Near, compared: Sequence[Compared], raw: Sequence[np.ndarray], parts: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], float, list[np.ndarray]]:
    """What people of one area agree on, what share of all pairs of one town they are, and how many pairs that explains."""
    weight = parts["area"] * near.counts
    levels, explained = [], []
    for i, (one, u) in enumerate(zip(compared, raw, strict=True)):
        seen = near.patterns[:, i] >= 0
        told = np.bincount(near.patterns[seen, i], weights=weight[seen], minlength=len(u))
        explained.append(told * near.pairs / near.counts.sum())
        if "area" not in one.shared_by and one.name not in _LOCAL:
            levels.append(u)
            continue
        # of what hardly any were seen to agree on, what is known of strangers says more
        of = max(told.sum(), 1.0)
        level = np.where(told < _SEEN, np.minimum(u, _SEEN / of), told / of)
        levels.append(level / level.sum())
    return levels, float(weight.sum() / near.counts.sum()), explained


def _together(rate: float, levels: Sequence[np.ndarray], order: Sequence[str]) -> float:
    """How many times as often do two have one whole name as both parts of it by themselves would say? Never less often."""
    first, last = (levels[order.index(name)][0] for name in ("first", "last"))
    return max(rate / (first * last), 1.0)


def _left(every: np.ndarray, explained: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Probabilities of levels among strangers: what is left of all pairs, and never less than a share of what was seen."""
    left = np.maximum(every - explained, _LEAST_LEFT * every) + _PRIOR
    return left / left.sum() if left.sum() > 0 else raw


def _first_guess(size: int, start: float) -> np.ndarray:
    rest = (1 - start) * 0.5 ** np.arange(1, size)
    rest = rest / rest.sum() * (1 - start)
    return np.concatenate([[start], rest])


def _one_name(patterns: np.ndarray, order: list[str]) -> np.ndarray:
    """Whether a pattern says that both have one first name and one surname."""
    if not {"first", "last"} <= set(order):
        return np.zeros(len(patterns), dtype=bool)
    return (patterns[:, order.index("first")] == 0) & (patterns[:, order.index("last")] == 0)


def _logs(
    patterns: np.ndarray, probabilities: dict[str, list[np.ndarray]], pairs: dict[str, float], whole: np.ndarray,
    namesakes: dict[str, float],
) -> dict[str, np.ndarray]:  # fmt: skip
    told = {}
    for kind in KINDS:
        if pairs[kind] <= 0:
            told[kind] = np.full(len(patterns), -1e9)
            continue
        sums = np.full(len(patterns), np.log(pairs[kind]))
        for i, levels in enumerate(probabilities[kind]):
            # the last entry stands for what is missing, which index -1 takes
            sums += np.concatenate([np.log(levels), [0.0]])[patterns[:, i]]
        told[kind] = sums + np.where(whole, np.log(namesakes.get(kind, 1.0)), 0.0)
    return told


def _responsible(
    patterns: np.ndarray, probabilities: dict[str, list[np.ndarray]], pairs: dict[str, float], whole: np.ndarray,
    namesakes: dict[str, float],
) -> dict[str, np.ndarray]:  # fmt: skip
    logs = _logs(patterns, probabilities, pairs, whole, namesakes)
    most = np.max(np.stack(list(logs.values())), axis=0)
    shares = {kind: np.exp(values - most) for kind, values in logs.items()}
    total = sum(shares.values())
    return {kind: values / total for kind, values in shares.items()}


def parameter_table(model: Model) -> pd.DataFrame:
    """What the model has learned, a row a level: `comparison`, `level`, `m`, `u`, `match_weight`."""
    rows = []
    for one, m, u in zip(model.compared, model.probabilities["same"], model.probabilities["strangers"], strict=True):
        words = [*(level.words for level in one.levels), f"different {one.word}"]
        for text, a, b in zip(words, m, u, strict=True):
            rows.append((one.word, text, float(a), float(b), float(np.log2(a / b))))
    return pd.DataFrame(rows, columns=["comparison", "level", "m", "u", "match_weight"])
