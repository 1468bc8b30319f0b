"""The Pareto/NBD, safe for those who bought hundreds of times.

`lifetimes` takes the difference of two hypergeometric functions, which overflow from about a hundred purchases on. The
same integral is taken here by Gauss-Legendre quadrature, on logarithms; parameters and predictions agree with
`lifetimes` wherever that has any.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def _log_left(theta: tuple[float, ...], x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The logarithm of the integral of s (alpha + y)^-(r + x) (beta + y)^-(s + 1) over y from t_x to T."""
    return _parts_left(theta, x, t_x, T)[0]


def _parts_left(theta, x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """That, the times y that it is summed over, and the logarithm of what each adds; shape (histories, nodes)."""
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
    each = -(s + 1) * np.log(beta + y) + np.log(_WEIGHTS)
    top = each.max(axis=1)
    whole = top + np.log(np.exp(each - top[:, None]).sum(axis=1))
    return np.log(s) - k * start + np.log(np.maximum(reach, 1e-300)) + whole, y, each - whole[:, None]


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


def gradient(theta: tuple[float, ...], x: np.ndarray, t_x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How likely is each history, and how does that change with the logarithm of each parameter?

    Parameters
    ----------
    theta, x, t_x, T
        As for :func:`log_likelihood`.

    Returns
    -------
    log_likelihood : numpy.ndarray
        Shape (histories,).
    slope : numpy.ndarray
        Shape (4, histories).
    """
    r, alpha, s, beta = theta
    left, y, parts = _parts_left(theta, x, t_x, T)
    here = _log_here(theta, x, T)
    either = np.logaddexp(here, left)
    gone = np.exp(left - either)
    share = np.exp(parts)
    stays, a, b = 1 - gone, np.log(alpha + T), np.log(beta + T)
    of_r = digamma(r + x) - digamma(r) + np.log(alpha) - stays * a - gone * (share * np.log(alpha + y)).sum(axis=1)
    of_alpha = r / alpha - (r + x) * (stays / (alpha + T) + gone * (share / (alpha + y)).sum(axis=1))
    of_s = np.log(beta) - stays * b + gone * (1 / s - (share * np.log(beta + y)).sum(axis=1))
    of_beta = s / beta - stays * s / (beta + T) - gone * (s + 1) * (share / (beta + y)).sum(axis=1)
    known = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    return known + either, np.stack([of_r * r, of_alpha * alpha, of_s * s, of_beta * beta])


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
