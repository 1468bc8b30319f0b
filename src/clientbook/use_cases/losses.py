"""What does a customer who was left waiting buy less, and how sure is that?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import promises
from clientbook.customers import with_customer
from clientbook.exact import exact
from clientbook.use_cases.history import LEVELS, YEAR, date, level

RETURN_DAYS = 180
FEWEST_LATE = 50


@dataclass(frozen=True)
class Loss:
    """Which share of a customer's further purchases is lost when they are left waiting?

    The log-odds that somebody comes back are a straight line over the logarithms of the purchases and of the spend of a
    year, and waiting shifts them: who comes often, or for much, comes back in spite of it more often, never for certain.

    Parameters
    ----------
    line
        The log-odds after a punctual order: where they begin, and their slopes over purchases and spend; then the same three
        of what waiting adds.
    covariance
        Of the six.
    late, punctual
        Orders that it rests on; none where it is an assumption.
    """

    line: np.ndarray
    covariance: np.ndarray
    late: int = 0
    punctual: int = 0

    @property
    def measured(self) -> bool:
        """Whether the book says it, or nobody."""
        return self.late > 0

    def share(self, cells: np.ndarray, line: np.ndarray | None = None) -> np.ndarray:
        """The share that is lost, for cells of purchases and spend.

        Parameters
        ----------
        cells
            As from :func:`cell`.
        line
            One or several other lines, such as drawn ones: then a row each.
        """
        line = self.line if line is None else line
        usual = line[..., :3] @ design(cells).T
        waiting = usual + line[..., 3:] @ design(cells).T
        # 1 - p(waiting) / p(usual), in logarithms
        kept = np.logaddexp(0, -usual) - np.logaddexp(0, -waiting)
        return np.clip(1 - np.exp(kept), 0.0, 0.95)

    def drawn(self, draws: int, generator: np.random.Generator) -> np.ndarray:
        """Lines as they might as well be, a row each.

        Parameters
        ----------
        draws
            How many.
        generator
            Of chance.
        """
        root = np.linalg.cholesky(self.covariance + 1e-15 * np.eye(6))
        return self.line + generator.standard_normal((draws, 6)) @ root.T


def cell(purchases: np.ndarray | pd.Series, spend: np.ndarray | pd.Series) -> np.ndarray:
    """To which cell of like customers do so many purchases and so much spend in a year belong?

    Parameters
    ----------
    purchases
        Days with one.
    spend
        In the book's currency; a cell is half a power of ten wide.

    Returns
    -------
    numpy.ndarray of int
    """
    size = np.floor(2 * np.log10(np.maximum(np.nan_to_num(np.asarray(spend, float)), 1.0))).astype(int)
    return level(purchases) * 100 + np.minimum(size, 99)


def design(cells: np.ndarray) -> np.ndarray:
    """What the loss of a cell depends on: 1, the logarithm of purchases, and powers of ten of spend.

    Parameters
    ----------
    cells
        As from :func:`cell`.
    """
    cells = np.asarray(cells)
    return np.column_stack([np.ones(len(cells)), np.log(cells // 100), cells % 100 / 2])


def assumed(share: float) -> Loss:
    """The loss that is assumed where a book cannot say it; its own uncertainty is not known.

    Parameters
    ----------
    share
        Of the further purchases.
    """
    # of those who hardly ever come back, odds and shares are one
    line = np.array([-50.0, 0.0, 0.0, np.log(1 - min(share, 0.95)), 0.0, 0.0])
    return Loss(line, np.zeros((6, 6)))


def counted(orders: ir.Table, deliveries: ir.Table, identities: ir.Table | None, engine, zone: str) -> ir.Table:
    """How many came back within half a year, after late orders and after punctual ones?

    Parameters
    ----------
    orders, deliveries, identities
        Clean tables; the last may be None.
    engine
        Where it is computed.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        `day` of the order, `purchases` (days with one in the year up to it), `size` (half powers of ten of what was spent
        then), `late`, `n`, `back`.
    """
    arrived = deliveries.filter(deliveries["promised_at"].notnull() & deliveries["delivered_at"].notnull())
    each = arrived.group_by("order_source", "order_id").agg(late=promises.is_late(arrived, zone).any())
    known = with_customer(orders, identities)
    placed = known.filter(known["quantity"] > 0)
    visits = placed.group_by("customer_id", day="ordered_on").agg(spent=exact(placed["amount"].fill_null(0.0)).sum())
    year = ibis.window(group_by="customer_id", order_by="day", preceding=ibis.interval(days=YEAR), following=0)
    visits = visits.mutate(
        purchases=visits["day"].count().over(year),
        spend=visits["spent"].sum().over(year).cast("float64"),
        following=visits["day"].lead().over(group_by="customer_id", order_by="day"),
    )
    placed = placed.filter(placed["order_id"].notnull())
    placed = placed.group_by("order_source", "order_id").agg(
        customer_id=placed["customer_id"].argmin(placed["arrival"]), day=placed["ordered_on"].min()
    )
    judged = placed.inner_join(each, ["order_source", "order_id"]).inner_join(visits, ["customer_id", "day"])
    back = (judged["following"].delta(judged["day"], unit="day") <= RETURN_DAYS).fill_null(False)
    judged = judged.mutate(size=(ibis.greatest(judged["spend"], 1.0).log10() * 2).floor().cast("int64"), back=back)
    each = judged.group_by("day", "purchases", "size", "late")
    return engine.keep(each.agg(n=judged.count(), back=judged["back"].sum().cast("int64")))


def measure(waited: ir.Table, until: dt.date, otherwise: float) -> Loss:
    """Which share of further purchases did late deliveries cost, as far as could be seen on a day?

    A logistic regression of whether a customer came back: with an intercept for each calendar month, the customer's purchases
    and spend, and what lateness shifts, so that neither Christmas nor the customers of Christmas are taken for the effect of
    lateness. An odds ratio carries from those who seldom come back to those who nearly always do, of whom there are too few
    late orders to say anything by themselves; a ratio of the shares would not.

    Parameters
    ----------
    waited
        As from :func:`counted`.
    until
        Orders whose half-year was over by then are used.
    otherwise
        The share that is assumed where there are too few.
    """
    latest = date(until - dt.timedelta(days=RETURN_DAYS))
    old = waited.filter(waited["day"] < latest)
    told = old.group_by("purchases", "size", "late", month=old["day"].month()).agg(n=old["n"].sum(), back=old["back"].sum())
    frame = told.to_pandas()
    late = frame["late"].to_numpy(bool)
    n, back = frame["n"].to_numpy(float), frame["back"].to_numpy(float)
    if min(n[late].sum(), n[~late].sum()) < FEWEST_LATE or not 0 < back[late].sum() < n[late].sum():
        return assumed(otherwise)
    x = design(level(frame["purchases"]) * 100 + frame["size"].to_numpy())
    months = (frame["month"].to_numpy()[:, None] == np.unique(frame["month"])).astype(float)
    columns = np.hstack([months, x[:, 1:], x * late[:, None]])
    k = months.shape[1]
    # weak beliefs that the shift differs little keep a few late orders of the best customers from deciding it
    weak = np.concatenate([np.full(k, 1 / 5.0**2), [0, 0, 0], np.full(2, 1 / 0.2**2)])
    told, covariance = _logistic(columns, n, back, weak)
    # an average month
    average = np.zeros((6, k + 5))
    average[0, :k], average[1:, k:] = months.T @ n / n.sum(), np.eye(5)
    return Loss(average @ told, average @ covariance @ average.T, int(n[late].sum()), int(n[~late].sum()))


def _logistic(x: np.ndarray, n: np.ndarray, y: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a logistic regression on counts, by Newton's method, and their covariance."""
    told = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ told))
        hessian = x.T @ (x * (n * p * (1 - p))[:, None]) + np.diag(precision + 1e-9)
        step = np.linalg.solve(hessian, x.T @ (y - n * p) - precision * told)
        # far from the end a whole step may leap over it
        told = told + step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    return told, np.linalg.inv(hessian)


def by_level(found: Loss, rows: pd.DataFrame) -> pd.DataFrame:
    """Which share is lost, by how often a customer buys?

    Parameters
    ----------
    found
        As from :func:`measure`.
    rows
        Customers with `purchases` and `gross` of a year, whose mean is shown.

    Returns
    -------
    pandas.DataFrame
        `purchases` (in a year), `lost`, `low`, `high` (95 %), `customers`.
    """
    lines = found.drawn(400, np.random.default_rng(1))
    told = []
    for start, end in zip(LEVELS, [*LEVELS[1:], None], strict=True):
        some = rows[level(rows["purchases"]) == start]
        if not len(some):
            continue
        cells, n = np.unique(cell(some["purchases"], some["gross"]), return_counts=True)
        drawn = found.share(cells, lines) @ n / n.sum()
        words = f"{start} and more" if end is None else str(start) if end - start == 1 else f"{start} to {end - 1}"
        told.append((words, float(found.share(cells) @ n / n.sum()), *np.quantile(drawn, [0.025, 0.975]), len(some)))
    return pd.DataFrame(told, columns=["purchases", "lost", "low", "high", "customers"])
