"""Do customers buy more in some months than in others, and does counting with it make the forecast better?

The models know one pace of time. With a season their clock runs faster in strong months and slower in weak ones: a
December may be as long as six weeks of spring. Silence in a weak month then says less, and a horizon holds as many
purchases as its months.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from clientbook.value.rules import YEAR

# A month's own count weighs against as many purchases that know no season.
CAUTION_PURCHASES = 100.0
# Each month has to be seen once before, and this many days after tell whether knowing them helps.
FEWEST_TEST_DAYS = 56
_LAST_YEAR = 2200
_MONTH_DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class Season:
    """How fast does the customers' clock run in each month of the year? 1 is the mean.

    Parameters
    ----------
    index
        January to December.
    """

    index: tuple[float, ...]

    @cached_property
    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        months = np.arange("1970-01", f"{_LAST_YEAR}-01", dtype="datetime64[M]")
        starts = months.astype("datetime64[D]").astype(float)
        pace = np.asarray(self.index)[months.astype(int) % 12]
        return starts, np.concatenate([[0.0], np.cumsum(np.diff(starts) * pace[:-1])])

    def elapsed(self, day: Any) -> np.ndarray:
        """What does the clock show on a day (days since 1970, fractions allowed)?"""
        return np.interp(day, *self._clock)

    def histories(self, histories: pd.DataFrame, today: Any) -> pd.DataFrame:
        """The same histories by this clock.

        Parameters
        ----------
        histories
            `recency`, `T` in days.
        today
            The day after the last observed one; one for all, or one for each.
        """
        end = _number(today) - 1.0
        first = end - histories["T"].to_numpy(float)
        start = self.elapsed(first)
        recency = self.elapsed(first + histories["recency"].to_numpy(float)) - start
        return histories.assign(recency=recency, T=np.maximum(self.elapsed(end) - start, recency))

    def ahead(self, days: float, today: Any) -> float:
        """How long are so many days from today on?"""
        end = float(_number(today)) - 1.0
        return float(self.elapsed(end + days) - self.elapsed(end))


@dataclass(frozen=True)
class Trial:
    """Would counting with the season have made an earlier forecast better?

    Attributes
    ----------
    season
        As it is by now; None where it is not counted with.
    origin, days
        From which day it was tried, and on how long a time after; None where the history is too short to try.
    plain, seasonal
        Errors (root of the mean square) of a customer's purchases, without and with.
    off_plain, off_seasonal
        What the totals missed, as a share of what came.
    """

    season: Season | None = None
    origin: dt.date | None = None
    days: int = 0
    plain: float = float("nan")
    seasonal: float = float("nan")
    off_plain: float = float("nan")
    off_seasonal: float = float("nan")


def trial_span(first: dt.date, today: dt.date, days: int) -> tuple[dt.date, int] | None:
    """From which earlier day can be tried whether the season helps? None where no month was seen twice by then."""
    origin = max(today - dt.timedelta(days=days), pd.Timestamp(first).date() + dt.timedelta(days=YEAR))
    span = (today - origin).days
    return (origin, span) if span >= FEWEST_TEST_DAYS else None


def season_by(daily: pd.DataFrame, histories: pd.DataFrame, today: dt.date) -> Season:
    """In which months do customers come back more often than if they came evenly?

    Between a customer's first and last purchase they were there for certain, and without a season the purchases in
    between lie evenly. So neither growth nor people who leave look like a season. The months' paces are found by
    dividing what came by what was expected, again and again, until nothing changes any more.

    Parameters
    ----------
    daily
        `day` and `bought`: customers who bought on it.
    histories
        `frequency`, `recency`, `T`, `customers` of the same customers as of today.
    today
        What was before it counts.
    """
    end = _number(today) - 1.0
    first = end - histories["T"].to_numpy(float)
    last = first + histories["recency"].to_numpy(float)
    n = histories["customers"].to_numpy(float)
    between = np.where(last > first + 1, np.maximum(histories["frequency"].to_numpy(float) - 1, 0.0) * n, 0.0)
    start, size = first.min(), int(end - first.min()) + 1
    from_day, to_day = (first - start).astype(int), (last - start).astype(int)
    again = histories["frequency"].to_numpy() > 0
    bought = np.zeros(size + 1)
    day = _number(pd.to_datetime(daily["day"]).to_numpy()) - start
    inside = (day >= 0) & (day < size)
    bought[day[inside].astype(int)] = daily["bought"].to_numpy(float)[inside]
    bought -= np.bincount(from_day, weights=n, minlength=size + 1)
    bought -= np.bincount(to_day[again], weights=n[again], minlength=size + 1)
    month = (start + np.arange(size)).astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12
    came = np.bincount(month, weights=bought[:size], minlength=12)
    index = np.ones(12)
    for _ in range(30):
        pace = np.concatenate([[0.0], np.cumsum(index[month])])
        # the days strictly between
        width = pace[to_day] - pace[np.minimum(from_day + 1, to_day)]
        each = np.divide(between, width, out=np.zeros(len(width)), where=width > 0)
        open_ = np.bincount(np.minimum(from_day + 1, size), weights=each, minlength=size + 1)
        shut = np.bincount(to_day, weights=each, minlength=size + 1)
        foreseen = np.bincount(month, weights=index[month] * np.cumsum(open_ - shut)[:size], minlength=12)
        # as if as many purchases more had been seen, and expected at a pace of 1
        index = (came + CAUTION_PURCHASES) / (foreseen / index + CAUTION_PURCHASES)
        index = np.clip(index * _MONTH_DAYS.sum() / (index * _MONTH_DAYS).sum(), 0.05, 20.0)
    return Season(tuple(float(one) for one in np.round(index, 6)))


def _number(day: Any) -> Any:
    if isinstance(day, dt.date):
        return float(np.datetime64(day, "D").astype(int))
    return np.asarray(day, dtype="datetime64[D]").astype(float)
