"""What would somebody without a model say? The naive rules, and a learner that knows no theory."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Days.
YEAR = 365
SAME_AGAIN = "same again"
LAST_YEAR = "last year's revenue"
HIATUS = "recency and frequency"
BOOSTING = "gradient boosting"
RULES = (SAME_AGAIN, LAST_YEAR, HIATUS, BOOSTING)
# Silent for longer than this is gone: the rule of thumb of the trade (Wübben, von Wangenheim 2008).
HIATUS_DAYS = 183
_FEATURES = (
    "frequency",
    "recency",
    "T",
    "idle",
    "gap",
    "overdue",
    "gross",
    "mean",
    "count_before",
    "margin_before",
    "net_rate",
)


def naive_forecasts(known: pd.DataFrame, days: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What do the rules of thumb say of each customer?

    Everybody buys as often as in the same time before (the first purchase is how they came, and is none to do again);
    everybody brings the revenue of the last year; everybody who bought within the last half year goes on at the rate
    so far, the others are gone.

    Parameters
    ----------
    known
        As from :func:`clientbook.value.backtest.look_back`.
    days
        How far ahead.

    Returns
    -------
    dict
        Rule to purchases and margin, shape (customers,) each.
    """
    age = known["T"].to_numpy(float)
    idle = age - known["recency"].to_numpy(float)
    quiet = min(HIATUS_DAYS, max(float(age.max()) / 2, 1.0)) if len(age) else HIATUS_DAYS
    going = np.where(idle <= quiet, known["frequency"].to_numpy(float) / np.maximum(age, 28.0) * days, 0.0)
    mean = (known["gross"] / known["purchases"] * known["net_rate"]).to_numpy(float)
    return {
        SAME_AGAIN: (known["repeat_before"].to_numpy(float), known["margin_before"].to_numpy(float)),
        LAST_YEAR: (
            known["count_year"].to_numpy(float) * days / YEAR,
            known["gross_year"].to_numpy(float) * days / YEAR,
        ),
        HIATUS: (going, going * mean),
    }


def boosted_forecasts(
    past: pd.DataFrame, past_days: int, known: pd.DataFrame, days: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """What does gradient boosting say, that learned on the time before?

    Parameters
    ----------
    past, past_days
        The customers at an earlier origin with what came after it, up to the origin at the latest; and how long that
        is.
    known, days
        The customers at the origin, and how far ahead.
    seed
        Of the learner.

    Returns
    -------
    purchases, margin : numpy.ndarray
        Shape (customers,).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    common = {
        "max_iter": 60,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 20,
        "early_stopping": False,
        "random_state": seed,
    }
    told = []
    for loss, column in (("poisson", "actual"), ("squared_error", "margin")):
        learner = HistGradientBoostingRegressor(loss=loss, **common)
        target = past[column].to_numpy(float)
        if loss == "poisson" and not target.sum() > 0:
            told.append(np.zeros(len(known)))
            continue
        # threads that wait for each other cost more than they bring on so few rows
        with threadpool_limits(1 if len(past) < 50_000 else None):
            learner.fit(_features(past), target)
            told.append(learner.predict(_features(known)) * days / past_days)
    return told[0], told[1]


def _features(known: pd.DataFrame) -> np.ndarray:
    x, t_x, T = (known[name].to_numpy(float) for name in ("frequency", "recency", "T"))
    idle, gap = T - t_x, t_x / np.maximum(x, 1)
    own = known.assign(idle=idle, gap=gap, overdue=idle / (gap + 7), mean=known["gross"] / known["purchases"])
    return own[list(_FEATURES)].to_numpy(float)
