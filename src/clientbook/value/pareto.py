"""The Pareto/NBD, safe for those who bought hundreds of times.

`lifetimes` takes the difference of two hypergeometric functions, which overflow from about a hundred purchases on. The
same integral is taken here by Gauss-Legendre quadrature, on logarithms; parameters and predictions agree with
`lifetimes` wherever that has any.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, logsumexp

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def _log_left(theta: tuple[float, ...], x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The logarithm of the integral of s (alpha + y)^-(r + x) (beta + y)^-(s + 1) over y from t_x to T."""
    r, alpha, s, beta = theta
    k = r + x - 1
    start = np.log(alpha + t_x)
    width = np.log(alpha + T) - start
    # where k is all but 0 there is nothing to straighten out
    flat = np.abs(k) < 1e-8
    safe = np.where(flat, 1.0, k)
    reach = np.where(flat, width, -np.expm1(-safe * width) / safe)
    q = reach[:, None] * _NODES
    u = np.where(flat[:, None], q, -np.log1p(-np.minimum(safe[:, None] * q, 1 - 1e-16)) / safe[:, None])
    y = np.exp(start[:, None] + u) - alpha
    each = -(s + 1) * np.log(beta + y)
    return np.log(s) - k * start + np.log(np.maximum(reach, 1e-300)) + logsumexp(each, b=_WEIGHTS, axis=1)


def _log_here(theta: tuple[float, ...], x: np.ndarray, T: np.ndarray) -> np.ndarray:
    r, alpha, s, beta = theta
    return -(r + x) * np.log(alpha + T) - s * np.log(beta + T)


def log_likelihood(theta: tuple[float, ...], x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """How likely is each history?

    Parameters
    ----------
    theta
        `r`, `alpha`, `s`, `beta`.
    x, t_x, T
        Frequency, recency and age in one unit of time.

    Returns
    -------
    numpy.ndarray
        Its logarithm, shape (histories,).

    References
    ----------
    Fader, Hardie (2005), "A note on deriving the Pareto/NBD model and related expressions", equation 18.
    """
    r, alpha, s, beta = theta
    known = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    return known + np.logaddexp(_log_here(theta, x, T), _log_left(theta, x, t_x, T))


def p_alive(theta: tuple[float, ...], x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """How probable is it that each is still there? Parameters as for :func:`log_likelihood`; shape (histories,)."""
    return 1 / (1 + np.exp(np.minimum(_log_left(theta, x, t_x, T) - _log_here(theta, x, T), 700)))


def expected_alive(theta: tuple[float, ...], t: float, x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """How many purchases lie ahead in a time, for somebody who is still a customer?

    Parameters
    ----------
    theta, x, T
        As for :func:`log_likelihood`.
    t
        How far ahead.

    Returns
    -------
    numpy.ndarray
        Shape (histories,).
    """
    r, alpha, s, beta = theta
    log_ratio = np.log((beta + T) / (beta + T + t))
    power = s - 1
    stays = -log_ratio if abs(power) < 1e-9 else -np.expm1(power * log_ratio) / power
    return (r + x) * (beta + T) / (alpha + T) * stays
