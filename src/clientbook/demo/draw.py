"""How is chance drawn, so that the same seed makes the same company?"""

from __future__ import annotations

import numpy as np

from .world import DAY


def stream(seed: int, part: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each part of the company and each purpose: one does not disturb another."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(part, *purpose.encode()))))


def choose(rng: np.random.Generator, weights: np.ndarray, size: int | None = None) -> np.ndarray:
    """Draw a column for each row of `weights`, or `size` columns where `weights` is one row."""
    weights = np.asarray(weights, dtype=float)
    if weights.ndim == 1:
        total = np.cumsum(weights)
        return np.minimum(np.searchsorted(total / total[-1], rng.random(size), side="right"), len(weights) - 1)
    total = np.cumsum(weights, axis=1)
    return np.minimum((rng.random(len(weights)) * total[:, -1] >= total.T).sum(axis=0), weights.shape[1] - 1)


def choose_by(rng: np.random.Generator, weights: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Draw a column of `weights` for each number of its row; fast where there are few rows."""
    result = np.empty(len(row), np.int64)
    for number, law in enumerate(weights):
        rows = np.flatnonzero(row == number)
        if len(rows) and law.any():
            result[rows] = choose(rng, law, len(rows))
    return result


def logistic(x: np.ndarray) -> np.ndarray:
    """Log-odds to probability."""
    return 1.0 / (1.0 + np.exp(-x))


def spread(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts per row: the row of each piece, and the piece's place within its row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


def mixed(numbers: np.ndarray, salt: int) -> np.ndarray:
    """Scatter 64-bit numbers one to one (splitmix64), so that an id tells nothing of its neighbours."""
    x = np.asarray(numbers).astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def working_day(times: np.ndarray, saturday: np.ndarray | bool = True) -> np.ndarray:
    """Move Sundays (and Saturdays where `saturday` is false) to the Monday after."""
    weekday = (times // DAY + 3) % 7
    return times + DAY * np.where(weekday == 6, 1, np.where((weekday == 5) & ~np.asarray(saturday), 2, 0))


def weekday(times: np.ndarray) -> np.ndarray:
    """Monday is 0."""
    return (times // DAY + 3) % 7


def month(times: np.ndarray) -> np.ndarray:
    """January is 0."""
    return times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12
