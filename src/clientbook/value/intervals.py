"""Between what bounds? For one customer, and for all together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clientbook.value.models import PurchaseModel, coarse, curvature, log_likelihoods
from clientbook.value.spend import SpendModel

# The levels among which the backtest finds the one that covers as often as asked.
LEVELS = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975)
# What is commonly missed of a total in this trade: Fader and Hardie's examples lie between 4 and 19 %. It counts as
# much as two origins of the book's own.
COMMON_ERROR, COMMON_ERROR_ORIGINS = 0.15, 2.0
RESAMPLES, RESAMPLED_ROWS = 20, 1_000
_AGES, _CHANCES = 16, 24
# Up to so many purchases each number is drawn for by itself.
_EACH = 12


@dataclass(frozen=True)
class Bounds:
    """What a history may spend, for somebody whose evidence v + n·mean is 1.

    Attributes
    ----------
    low, high
        Shape (levels, histories).
    variance, mean
        Of the same; shape (histories,).
    """

    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    mean: np.ndarray


def spending(
    model: PurchaseModel,
    spend: SpendModel,
    histories: pd.DataFrame,
    p_alive: np.ndarray,
    days: float,
    *,
    levels: tuple[float, ...],
    draws: int,
    seed: int,
) -> Bounds:
    """Between what bounds does the spending of each history lie?

    Histories that are alike in number of purchases, age and P(alive), on which alone the future depends, are drawn
    for together. An interval is the shortest that holds as many futures as asked: who will probably not come back has
    one from 0 to 0.

    Parameters
    ----------
    model, spend
        Fitted.
    histories
        `frequency`, `recency`, `T`.
    p_alive
        By the model; shape (histories,).
    days
        How far ahead.
    levels
        Shares of futures.
    draws
        Futures for each kind of history.
    seed
        Of the random numbers.
    """
    x, T = histories["frequency"].to_numpy(float), histories["T"].to_numpy(float)
    often = np.where(x <= _EACH, x, _EACH + np.round(8 * np.log(np.maximum(x, 1) / _EACH)))
    age = np.floor(T / max(T.max(initial=0) + 1, 1) * _AGES)
    chance = np.round(p_alive * _CHANCES)
    cells, which = np.unique(np.stack([often, age, chance]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    count = np.bincount(which)
    middle = {name: np.bincount(which, weights=column) / count for name, column in (("frequency", x), ("T", T), ("p", p_alive))}
    generator = np.random.default_rng(seed)
    shape, scale = spend.parameters["p"], spend.parameters["q"]
    n = cells.shape[1]
    low, high = np.empty((len(levels), n)), np.empty((len(levels), n))
    variance, mean = np.empty(n), np.empty(n)
    chunk = max(1, 2_000_000 // draws)
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        some = pd.DataFrame({"frequency": middle["frequency"][part], "recency": 0.0, "T": middle["T"][part]})
        bought = model.draw_orders(days, some, draws, generator, middle["p"][part])
        seen = some["frequency"].to_numpy() + (1 if spend.with_first else 0)
        posterior = generator.gamma(np.broadcast_to((shape * seen + scale)[:, None], bought.shape))
        spent = np.where(bought > 0, generator.gamma(np.maximum(shape * bought, 1e-9)) / posterior, 0.0)
        spent.sort(axis=1)
        for i, level in enumerate(levels):
            low[i, part], high[i, part] = _shortest(spent, level)
        # a mean without bounds, where q is small, is cut off
        capped = np.minimum(spent, np.quantile(spent, 0.995, axis=1)[:, None])
        variance[part], mean[part] = capped.var(axis=1), capped.mean(axis=1)
    return Bounds(low[:, which], high[:, which], variance[which], mean[which])


def _shortest(ordered: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The shortest stretch of each row that holds so large a share of it; of equal ones the lowest."""
    draws = ordered.shape[1]
    held = min(max(int(np.ceil(level * draws)), 1), draws)
    width = ordered[:, held - 1 :] - ordered[:, : draws - held + 1]
    first = width.argmin(axis=1)
    rows = np.arange(len(ordered))
    return ordered[rows, first], ordered[rows, first + held - 1]


def resampled(model: PurchaseModel, histories: pd.DataFrame, days: float, seed: int) -> float:
    """How far does the total swing when other customers had come by chance? Relative standard deviation.

    The compressed table is resampled, the model fitted again by one step of Newton's from where it is, which is where
    a whole fit would end but for what vanishes faster than the swing itself, and the total taken for the customers as
    they are.

    Parameters
    ----------
    model
        Fitted.
    histories
        As from :func:`clientbook.value.compress`.
    days, seed
        How far ahead; seed of the resampling.

    References
    ----------
    Davidson, MacKinnon (1999), "Bootstrap testing in nonlinear models", International Economic Review 40 (2).
    """
    generator = np.random.default_rng(seed)
    rows = coarse(histories, most=RESAMPLED_ROWS)
    weights = rows["customers"].to_numpy(float)
    total = int(weights.sum())
    own = model.by_its_clock(rows)
    slope, matrix = log_likelihoods(model.name, model.theta, own)[1], curvature(model.name, model.theta, own)
    # the top for weeks is not quite that for days: only what the resampling moves counts
    drawn = generator.multinomial(total, weights / total, size=RESAMPLES) - weights
    # a direction that the data say nothing of does not make the total swing, and would blow up here
    moved = -(drawn / total) @ slope.T @ np.linalg.pinv(matrix, rcond=1e-6)
    found = []
    for step in moved:
        theta = np.exp(np.log(model.theta) + np.clip(step, -1.0, 1.0))
        told = replace(model, parameters=dict(zip(model.parameters, map(float, theta), strict=True)))
        found.append(float((told.expected_orders(days, rows) * weights).sum()))
    if not np.isfinite(found).all():
        return COMMON_ERROR
    return float(np.std(found, ddof=1) / max(np.mean(found), 1e-12))


def total_bounds(expected: float, errors: list[float], chance: float, resampling: float, level: float) -> tuple[float, float]:
    """Between what bounds does the total lie?

    The error of totals at the backtest's origins, with what is commonly missed counting as much as two of them, and,
    independent of it, chance and resampling; a Student's t with as many degrees of freedom as there are errors.

    Parameters
    ----------
    expected
        The total foreseen.
    errors
        Of earlier totals: the logarithm of what came over what was foreseen.
    chance, resampling
        Relative standard deviations.
    level
        How often the total shall lie between the bounds.
    """
    from scipy.stats import t

    n = COMMON_ERROR_ORIGINS + len(errors)
    missed = (COMMON_ERROR_ORIGINS * COMMON_ERROR**2 + sum(error**2 for error in errors)) / n
    spread = float(np.sqrt(missed + chance**2 + resampling**2) * t.ppf((1 + level) / 2, n + 1))
    ends = sorted((expected * np.exp(-spread), expected * np.exp(spread)))
    return float(ends[0]), float(ends[1])


def calibrated_level(levels: tuple[float, ...], covered: list[np.ndarray], asked: float) -> float:
    """Which level covers as often as asked, by the backtest?

    Parameters
    ----------
    levels
        Those tried.
    covered
        For each origin how often each level covered; shape (levels,).
    asked
        The share of customers whose actual value shall lie between the bounds.
    """
    if not covered:
        return asked
    mean = np.maximum.accumulate(np.mean(covered, axis=0))
    return float(round(np.clip(np.interp(asked, mean, levels), levels[0], levels[-1]), 4))
