"""What came out of one use case, and between what bounds does its extra margin lie?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

_MANY = 2_000


@dataclass(frozen=True)
class Found:
    """A decision taken in the past, as usual and with the customer data.

    Parameters
    ----------
    use_case
        Its name, one of `catalogue.USE_CASES`.
    baseline, policy
        Margin under either, in the time held out.
    low, high
        Bounds of the difference.
    n
        Customers, or messages, whom the decision is about.
    days
        The time in which the money is counted.
    method
        How it was computed, and what is assumed.
    new
        The part of the difference that comes from customers won within a year.
    policies
        Extra margin beside the baseline by way of deciding: `policy`, `extra`, `low`, `high`; for the figure.
    units
        What was decided for whom, for scoring.
    """

    use_case: str
    baseline: float
    policy: float
    low: float
    high: float
    n: int
    days: int
    method: str
    new: float = 0.0
    policies: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    units: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    @property
    def gain(self) -> float:
        """What the new policy brings beyond the usual one."""
        return self.policy - self.baseline

    @property
    def a_year(self) -> float:
        """The gain of a year, if it were decided so all the time."""
        return self.gain * 365 / self.days


def resampled(columns: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Sums of columns, had chance sent other customers.

    Each customer comes as often as a Poisson number with mean 1 says, which is the bootstrap without the need to hold the
    number of customers. Sums over thousands of customers are normal by then, with the very same mean and covariance.

    Parameters
    ----------
    columns
        A row a customer.
    draws
        How often.
    generator
        Of chance.

    Returns
    -------
    numpy.ndarray
        A row a draw.
    """
    columns = np.asarray(columns, float)
    some = columns[(columns != 0).any(axis=1)]
    if len(some) <= _MANY:
        return generator.poisson(1.0, (draws, len(some))) @ some
    # the covariance of few columns, of which some may be empty or follow from others
    values, vectors = np.linalg.eigh(some.T @ some)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return some.sum(axis=0) + generator.standard_normal((draws, columns.shape[1])) @ root.T


def bounds(drawn: np.ndarray, interval: float) -> tuple[float, float]:
    """Between what bounds do so many of the draws lie?

    Parameters
    ----------
    drawn
        Differences in margin.
    interval
        The share.
    """
    low, high = np.quantile(drawn, [(1 - interval) / 2, (1 + interval) / 2])
    return float(low), float(high)


def by_group(values: np.ndarray, groups: np.ndarray, names: Mapping | list | tuple) -> np.ndarray:
    """A column a group, in which those of other groups have 0.

    Parameters
    ----------
    values, groups
        A row a customer.
    names
        The groups, in the order of the columns.
    """
    return np.asarray(values, float)[:, None] * (np.asarray(groups)[:, None] == np.asarray(list(names))[None, :])
