"""The MBG/CNBD-k: customers who buy more regularly than by pure chance.

Between two purchases lie k steps of a Poisson process instead of one, so that silence says more: somebody who came
every month and has not come for three is gone. With k = 1 it is the MBG/NBD.

References
----------
Reutterer, Platzer, Schröder (2021), "Leveraging purchase regularity for predicting customer behavior the easy way",
International Journal of Research in Marketing 38 (1).
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv, betaln, digamma, gammaln, logsumexp

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2
# Below this a chance of leaving makes no difference, and differences from 1 lose their digits.
_LEAST = 1e-7


def _log_parts(theta, k: int, x, t_x, T, at_once: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of the likelihood of having left with the last purchase, and of being there still."""
    r, alpha, a, b = theta
    base = r * np.log(alpha) - gammaln(r) - betaln(a, b)
    more = 1 if at_once else 0
    left = base + betaln(a + 1, b + x - 1 + more) + gammaln(r + k * x) - (r + k * x) * np.log(alpha + t_x)
    if not at_once:
        left = np.where(x > 0, left, -np.inf)
    steps = _steps(theta, k, x, t_x, T)
    steps = steps[0] if k == 1 else logsumexp(steps, axis=0)
    return left, base + betaln(a, b + x + more) + steps


def log_likelihood(theta, k: int, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """How likely is each history?

    Parameters
    ----------
    theta
        `r`, `alpha`, `a`, `b`; alpha is for steps, of which k make a purchase.
    k
        Steps to a purchase.
    x, t_x, T
        Frequency, recency and age in one unit of time.

    Returns
    -------
    numpy.ndarray
        Its logarithm, shape (histories,); likelihoods of any k can be compared, and for k = 1 it is the MBG/NBD's.
    """
    return np.logaddexp(*_log_parts(theta, k, x, t_x, T)) + of_the_gaps(k, x, t_x)


def of_the_gaps(k: int, x: np.ndarray, t_x: np.ndarray) -> np.ndarray:
    """What of the likelihood depends on the histories and k alone, and not on the parameters?

    The density of x gaps of k steps each is that of k x steps, times the product of their powers k - 1, over (k - 1)! for
    each. Where the purchases between the first and the last lay, a history does not say: the mean of that over wherever
    they could lie, each place as likely as any, is t_x^((k - 1) x) Γ(x) / Γ(k x).

    Parameters
    ----------
    k, x, t_x
        As for :func:`log_likelihood`.

    Returns
    -------
    numpy.ndarray
        Its logarithm, shape (histories,); 0 for k = 1 and for whoever bought but once.
    """
    again = np.maximum(x, 1)
    told = (k - 1) * x * np.log(np.maximum(t_x, 1e-300)) + gammaln(again) - gammaln(k * again)
    return np.where(x > 0, told, 0.0)


def gradient(theta, k: int, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, at_once: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """How likely is each history, and how does that change with the logarithm of each parameter?

    Parameters
    ----------
    theta, k, x, t_x, T, at_once
        As for :func:`p_alive`.

    Returns
    -------
    log_likelihood : numpy.ndarray
        Shape (histories,).
    slope : numpy.ndarray
        Shape (4, histories).
    """
    r, alpha, a, b = theta
    more = 1 if at_once else 0
    left, here = _log_parts(theta, k, x, t_x, T, at_once)
    whole = np.logaddexp(left, here)
    gone = np.exp(left - whole)
    steps, idle = _steps(theta, k, x, t_x, T), np.log(alpha + T)
    shares = np.exp(steps - logsumexp(steps, axis=0)) * (1 - gone)
    place = np.arange(k)[:, None]
    own = digamma(r + k * x)
    of_r = np.log(alpha) - digamma(r) + gone * (own - np.log(alpha + t_x))
    of_r = of_r + (shares * (digamma(r + k * x + place) - idle)).sum(axis=0)
    of_alpha = r / alpha - gone * (r + k * x) / (alpha + t_x)
    of_alpha = of_alpha - (shares * (r + k * x + place)).sum(axis=0) / (alpha + T)
    stayed = b + x + more
    both = digamma(a + b) - digamma(a + stayed)
    of_a = both + gone / a
    # who bought but once cannot have left with a further purchase, where nobody leaves with the first
    of_b = both - digamma(b) + digamma(stayed) - gone / np.maximum(stayed - 1, 1e-300)
    return whole, np.stack([of_r * r, of_alpha * alpha, of_a * a, of_b * b])


def _steps(theta, k: int, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The logarithms of how likely 0 to k - 1 steps are since the last purchase, but for a factor; shape (k, histories)."""
    r, alpha = theta[:2]
    idle = np.log(np.maximum(T - t_x, 1e-300))
    told = [
        gammaln(r + k * x + j) - (r + k * x + j) * np.log(alpha + T) + (j * idle if j else 0) - gammaln(j + 1) for j in range(k)
    ]
    return np.stack(told)


def p_alive(theta, k: int, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, at_once: bool = True) -> np.ndarray:
    """How probable is it that each is still a customer?

    Parameters
    ----------
    theta, k, x, t_x, T
        As for :func:`log_likelihood`.
    at_once
        Whether somebody may leave with the first purchase; without, it is the BG/NBD.

    Returns
    -------
    numpy.ndarray
        Shape (histories,).
    """
    left, here = _log_parts(theta, k, x, t_x, T, at_once)
    return 1 / (1 + np.exp(np.minimum(left - here, 700)))


def expected_alive(theta, k: int, horizons: list[float], x: np.ndarray, T: np.ndarray, at_once: bool = True) -> list[np.ndarray]:
    """How many purchases lie ahead within each of several times, for somebody who is still a customer?

    With chance p of leaving after each of N purchases, (1 - (1 - p)^N) / p are made. N counts every k-th of a Poisson
    number of steps, from a place between two purchases that is not known; the mean of (1 - p)^N over that place, the
    number of steps and the gamma distributed rate is a sum of k powers, that over p is taken by quadrature.

    Parameters
    ----------
    theta, k, x, T, at_once
        As for :func:`p_alive`.
    horizons
        How far ahead.

    Returns
    -------
    list of numpy.ndarray
        One for each horizon, shape (histories,).
    """
    r, alpha, a, b = theta
    often, which = np.unique(x, return_inverse=True)
    p = np.maximum(betaincinv(a, b + often[:, None] + (1 if at_once else 0), _NODES), _LEAST)
    shape, scale = r + k * x, alpha + T
    told = [np.zeros(len(x)) for _ in horizons]
    for node, weight in enumerate(_WEIGHTS):
        leaves = p[:, node]
        terms = [(factor[which], pace[which]) for factor, pace in _powers(k, leaves)]
        for expected, t in zip(told, horizons, strict=True):
            if k == 1:
                kept = np.expm1(-shape * np.log1p(leaves[which] * t / scale))
            else:
                kept = sum((factor * np.exp(-shape * np.log1p(pace * t / scale))).real for factor, pace in terms) - 1
            expected -= weight * kept / leaves[which]
    return told


def _powers(k: int, p: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The factors and paces by which the mean of (1 - p)^N falls with the steps, one for each root of unity."""
    if k == 1:
        return [(np.ones_like(p), p)]
    stays = np.log1p(-np.minimum(p, 1 - _LEAST)) / k
    place = np.arange(k)
    held = np.exp(-place * stays[:, None]) * (k - place + place * np.exp(k * stays)[:, None]) / k
    told = []
    for j in range(k):
        root = np.exp(2j * np.pi * j / k)
        factor = (held * root**-place).mean(axis=1)
        told.append((factor.real, -np.expm1(stays)) if j == 0 else (factor, 1 - np.exp(stays) * root))
    return told
