"""What is each customer truly worth, and what could be known of it?"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
from scipy.special import gammaincc

from .catalogue import expected_piece
from .draw import logistic
from .people import persona_column
from .purchases import LIFE_SHAPE, Clock
from .world import COMPLAINT, COMPLAINT_IF_LATE, DAY, EFFECTS, HANDLED_WELL, LATE, YEAR

_STEPS = 12


def leaving_chance(quit_log_odds: np.ndarray) -> np.ndarray:
    """Probability of not coming back after an order, over all that may happen with it."""
    total = np.zeros(len(quit_log_odds))
    for late, share in ((0, 1 - LATE), (1, LATE)):
        wrong = COMPLAINT_IF_LATE if late else COMPLAINT
        base = quit_log_odds + EFFECTS["late_delivery"] * late
        total += share * (
            (1 - wrong) * logistic(base)
            + wrong * HANDLED_WELL * logistic(base + EFFECTS["complaint_handled_well"])
            + wrong * (1 - HANDLED_WELL) * logistic(base + EFFECTS["complaint_handled_badly"])
        )
    return total


def order_worth(human: SimpleNamespace, shop: SimpleNamespace) -> SimpleNamespace:
    """Expected gross amount, product cost, returned share and margin of one order under the true parameters."""
    price, cost = expected_piece(shop)
    weight = human.likes**1.3
    weight = weight / weight.sum(axis=1, keepdims=True)
    tiers = np.stack([np.clip(human.tier + step, 0, 3) for step in (-1, 0, 1)])
    shares = np.array([0.15, 0.7, 0.15])
    worth = []
    for table in (price, cost):
        each = sum(
            share * table[:, tier, :] for share, tier in zip(shares, tiers, strict=False)
        )  # topics, humans, (first, further)
        each = np.einsum("ht,thl->hl", weight, each)
        further = np.maximum(human.lines - 1, 0.05)
        worth.append((each[:, 0] + further * each[:, 1]) * (1 + human.pieces))
    gross, product_cost = worth
    mix = human.mix / human.mix.sum(axis=1, keepdims=True)
    back = np.minimum(human.returns * (1.25 * mix[:, 0] + 0.6 * mix[:, 1] + 0.5 * mix[:, 2]), 0.95) * 0.92
    net = gross * (1 - 0.5 * human.discount)
    return SimpleNamespace(amount=net, cost=product_cost, back=back, margin=(net - product_cost) * (1 - back))


def _life_left(human, age):
    """Chance that the need has outlived `age` seconds since the first order."""
    return np.exp(-((np.maximum(age, 0) / human.life) ** LIFE_SHAPE))


def futures(
    human: SimpleNamespace,
    order: SimpleNamespace,
    ending: SimpleNamespace,
    worth: SimpleNamespace,
    clock: Clock,
    as_of: int,
) -> SimpleNamespace:
    """Expected orders of the next twelve months.

    Returns
    -------
    SimpleNamespace
        alive (truly, at `as_of`), p_alive (from their history and true parameters), orders_if_alive, expected_orders
        (knowing who is
        alive), expected_orders_history (not knowing).
    """
    n, quits = human.n, leaving_chance(human.quit)
    edges = as_of + (np.arange(_STEPS + 1) * YEAR) // _STEPS
    demand = np.stack([clock.demand_at(np.full(n, edge), human.season) for edge in edges])
    passed = np.diff(demand, axis=0)
    middle = (demand[1:] + demand[:-1]) / 2 - demand[0]
    age = as_of - ending.first_at
    alive_now = np.maximum(_life_left(human, age), 1e-9)
    survive = np.stack([_life_left(human, (edges[i] + edges[i + 1]) / 2 - ending.first_at) for i in range(_STEPS)]) / alive_now
    future = SimpleNamespace()
    future.orders_if_alive = (human.rate * passed * np.exp(-human.rate * quits * middle) * survive).sum(axis=0)
    began = human.buys & (ending.first_at < as_of)
    soon = human.buys & ~began
    future.alive = human.buys & (ending.dropped_at >= as_of)
    past = np.flatnonzero(order.at < as_of)
    last = np.zeros(n, np.int64)
    last[order.human[past]] = past
    future.p_alive = np.where(began, _alive_from_history(human, order, last, ending, clock, as_of), 0.0)
    first = soon * 1.0
    future.expected_orders = np.where(future.alive & began, future.orders_if_alive, 0) + first * (1 + future.orders_if_alive)
    # who has not bought yet may still be a buyer: less likely with every week since the first contact
    share = persona_column("buys")[human.persona]
    waiting = share * np.exp(-(as_of - human.found_at) / (45 * DAY))
    future.p_alive = np.where(began, future.p_alive, waiting / (waiting + 1 - share))
    future.expected_orders_history = future.p_alive * (future.orders_if_alive + ~began)
    return future


def _alive_from_history(human, order, last, ending, clock, as_of):
    """Bayes: still there and quiet since the last order, against gone since then."""
    at = order.at[last]
    log_odds = (
        human.quit
        + EFFECTS["late_delivery"] * order.late[last]
        + EFFECTS["complaint_handled_badly"] * (order.complaint[last] == 1)
        + EFFECTS["complaint_handled_well"] * (order.complaint[last] == 2)
    )
    quits = logistic(log_odds)
    start = clock.demand_at(at, human.season)
    alive_then = np.maximum(_life_left(human, at - ending.first_at), 1e-9)

    def quiet(moment):
        return gammaincc(human.shape, human.shape * human.rate * np.maximum(clock.demand_at(moment, human.season) - start, 0))

    here = (1 - quits) * _life_left(human, as_of - ending.first_at) / alive_then * quiet(np.full(human.n, as_of))
    gone = quits.copy()
    edges = [at + (as_of - at) * i / 8 for i in range(9)]
    for low, high in pairwise(edges):
        ended = (_life_left(human, low - ending.first_at) - _life_left(human, high - ending.first_at)) / alive_then
        gone += (1 - quits) * ended * quiet((low + high) / 2)
    return here / np.maximum(here + gone, 1e-12)
