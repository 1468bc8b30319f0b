"""When do they buy, what stops them, what does an order hold, and what comes back?

Not the model's assumption: gaps are gamma distributed in a time that runs faster in season and with the
trend; customers leave after an order for a reason (a late delivery, a badly handled complaint) or when their
need ends, with an ageing hazard; frequent buyers differ from rare ones in what they spend.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .calendar import settled
from .catalogue import PER_TIER, PER_TOPIC
from .draw import choose, logistic, month, spread, stream, working_day
from .world import (
    COMPLAINT,
    COMPLAINT_IF_LATE,
    DAY,
    EFFECTS,
    HANDLED_WELL,
    LATE,
    LATE_IN_DECEMBER,
    SEASONS,
    TREND_PER_YEAR,
    YEAR,
)

COMPANION, MOST_ORDERS = 0.35, 400
LIFE_SHAPE = 1.4
_BEFORE, _AFTER = 5 * 365, 366
_FAR = 1_000.0
_BY_HUMAN = 1 << 33  # more seconds than any history has


class Clock:
    """How fast does demand run? Calendar time to years of demand and back, by seasonal profile."""

    def __init__(self, as_of: int):
        self.start = as_of - _BEFORE * DAY
        days = self.start + DAY * np.arange(_BEFORE + _AFTER)
        growth = np.exp(TREND_PER_YEAR * (days - as_of) / YEAR)
        pace = SEASONS[:, month(days)] / SEASONS.mean(axis=1, keepdims=True) * growth / 365
        self.demand = np.concatenate([np.zeros((len(SEASONS), 1)), np.cumsum(pace, axis=1)], axis=1)
        self.days = self.demand.shape[1]
        shift = np.arange(len(SEASONS))[:, None]
        self._demand_line = (self.demand + _FAR * shift).ravel()
        self._day_line = (np.arange(self.days) + 1e6 * shift).ravel()

    def demand_at(self, times, season):
        """Years of demand since the clock's start."""
        return np.interp((times - self.start) / DAY + 1e6 * season, self._day_line, self._demand_line) - _FAR * season

    def time_at(self, demand, season):
        """The second at which that much demand has passed; beyond the clock's end it stays there."""
        demand = np.minimum(demand, self.demand[season, -1])
        return (self.start + DAY * (np.interp(demand + _FAR * season, self._demand_line, self._day_line) - 1e6 * season)).astype(
            np.int64
        )


def make_orders(
    seed: int, part: int, human: SimpleNamespace, clock: Clock, as_of: int
) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Every order of a part, a year beyond `as_of` included, and how each customer's buying ended.

    Returns
    -------
    orders : SimpleNamespace
        human, at, late, complaint (0 none, 1 badly, 2 well handled), topic, channel (0 shop, 1 pos, 2 erp), carried
        (taken along,
        not delivered), first; sorted by human, time.
    ending : SimpleNamespace
        By human: dropped_at (0 = never bought), dropped_for (code), late_cost and late_count for the effect's size in
        probability.
    """
    rng = stream(seed, part, "orders")
    end = as_of + YEAR
    active = np.flatnonzero(human.buys)
    at = human.found_at[active] + (DAY * rng.exponential(45, len(active))).astype(np.int64)
    life_ends = np.zeros(human.n, np.int64)
    life_ends[active] = at + (human.life[active] * rng.weibull(LIFE_SHAPE, len(active))).astype(np.int64)
    ending = SimpleNamespace(
        dropped_at=life_ends.copy(),
        dropped_for=np.where(human.buys, 1, 0),
        first_at=np.zeros(human.n, np.int64),
        differences={name: [0.0, 0] for name in ("late_delivery", "complaint_handled_badly", "complaint_handled_well")},
    )
    ending.first_at[active] = at
    found = []
    for _ in range(MOST_ORDERS):
        keep = at < end
        active, at = active[keep], at[keep]
        if not len(active):
            break
        topic = choose(rng, human.likes[active] ** 1.3)
        channel = choose(rng, human.mix[active])
        channel = np.where((channel == 2) & ~human.b2b[active] & (topic != 3), 0, channel)
        carried = (channel == 1) & ~np.isin(topic, (3, 5))
        late = ~carried & (rng.random(len(active)) < np.where(month(at) == 11, LATE_IN_DECEMBER, LATE))
        wrong = rng.random(len(active)) < np.where(late, COMPLAINT_IF_LATE, COMPLAINT)
        complaint = np.where(wrong, np.where(rng.random(len(active)) < HANDLED_WELL, 2, 1), 0)
        found.append((active, at, late, complaint, topic, channel, carried))
        base, season = human.quit[active], human.season[active]
        log_odds = (
            base
            + EFFECTS["late_delivery"] * late
            + EFFECTS["complaint_handled_badly"] * (complaint == 1)
            + EFFECTS["complaint_handled_well"] * (complaint == 2)
        )
        gap = rng.gamma(human.shape[active]) / (human.shape[active] * human.rate[active])
        following = np.maximum(clock.time_at(clock.demand_at(at, season) + gap, season), at + DAY // 2)
        would = (following - at < 180 * DAY) & (following < life_ends[active])
        for name, hit in (
            ("late_delivery", late),
            ("complaint_handled_badly", complaint == 1),
            ("complaint_handled_well", complaint == 2),
        ):
            without = logistic(log_odds[hit] - EFFECTS[name])
            ending.differences[name][0] += float(((without - logistic(log_odds[hit])) * would[hit]).sum())
            ending.differences[name][1] += int(hit.sum())
        quits = rng.random(len(active)) < logistic(log_odds)
        early = quits & (at < life_ends[active])
        ending.dropped_at[active[early]] = at[early]
        ending.dropped_for[active[early]] = np.where(complaint[early] == 1, 4, np.where(late[early], 3, 2))
        stays = ~quits & (following < life_ends[active])
        active, at = active[stays], following[stays]
    order = SimpleNamespace()
    for name, column in zip(
        ("human", "at", "late", "complaint", "topic", "channel", "carried"), zip(*found, strict=False), strict=False
    ):
        setattr(order, name, np.concatenate(column))
    order.campaign = np.full(len(order.human), -1)
    set_hours(rng, order)
    set_deliveries(rng, order, as_of)
    arrange(order)
    return order, ending


def arrange(order: SimpleNamespace) -> None:
    """Sort by human and time, and mark each human's first order."""
    by = np.lexsort((order.at, order.human))
    for name, column in vars(order).items():
        if isinstance(column, np.ndarray):
            setattr(order, name, column[by])
    order.first = np.diff(order.human, prepend=-1) != 0


def set_hours(rng, order) -> None:
    """Shops have opening hours, the warehouse works on weekdays, the web shop never sleeps."""
    channel = order.channel
    day = working_day(order.at, saturday=channel != 2)
    day = np.where(channel == 0, order.at, day) // DAY * DAY
    web = np.minimum(7 + np.round(16 * rng.beta(2.6, 1.7, len(day)) * 3600) / 3600, 23.98)
    desk = 8 + 9.5 * rng.beta(1.6, 1.6, len(day))
    order.at = day + (3600 * np.where(channel == 0, web, np.where(channel == 1, desk + 1.5, desk))).astype(np.int64)


def make_lines(
    seed: int, part: int, human: SimpleNamespace, order: SimpleNamespace, shop: SimpleNamespace, as_of: int
) -> SimpleNamespace:
    """What stands on each order, and what of it is sent back.

    Returns
    -------
    SimpleNamespace
        By line: order (its row), product, quantity, price, discount, amount, cost, returned (pieces), returned_at,
        back (money), and
        delivered_at and promised_at of its order.
    """
    rng = stream(seed, part, "lines")
    who = order.human
    line = SimpleNamespace()
    line.order, place = spread(np.minimum(1 + rng.poisson(np.maximum(human.lines[who] - 1, 0.05)), PER_TIER))
    owner = who[line.order]
    topic, tier = order.topic, np.clip(human.tier[who] + choose(rng, np.array([0.15, 0.7, 0.15]), len(who)) - 1, 0, 3)
    shelf = topic * PER_TOPIC + tier * PER_TIER
    line.product = shelf[line.order] + choose(rng, shop.taken, len(owner))
    starts = np.flatnonzero(place == 0)
    beside = (place > 0) & (rng.random(len(owner)) < COMPANION)
    line.product[beside] = shop.companion[line.product[starts[line.order[beside]]]]
    _all_different(line, shelf)
    line.quantity = 1 + rng.poisson(human.pieces[owner] * rng.gamma(1.5, 1 / 1.5, len(owner)))
    years = np.floor((order.at[line.order] - as_of) / YEAR)
    line.price = np.round(shop.price[line.product] * 1.02 ** np.minimum(years + 1, 0), 2)
    reduced = (rng.random(len(who)) < 0.5)[line.order]
    gross = line.quantity * line.price
    line.discount = np.round(np.where(reduced, gross * human.discount[owner], 0), 2)
    line.amount = np.round(gross - line.discount, 2)
    line.cost = shop.cost[line.product] * line.quantity
    _returns(rng, human, order, line, owner)
    return line


def _all_different(line, shelf):
    """No product twice on one order: the second takes the next one on the shelf."""
    while True:
        key = line.order * 1000 + line.product
        by = np.argsort(key, kind="stable")
        again = by[1:][key[by][1:] == key[by][:-1]]
        if not len(again):
            return
        first = shelf[line.order[again]]
        line.product[again] = first + (line.product[again] - first + 1) % PER_TIER


def set_deliveries(rng, order, as_of: int) -> None:
    """When each order was promised, when it came, and whether it is still open."""
    n = len(order.at)
    order.promised_at = (
        order.at // DAY * DAY + DAY * np.where(order.topic == 3, 28, np.where(order.channel == 2, 10, 4)) + 18 * 3600
    )
    delay = np.where(order.late, np.ceil(rng.gamma(1.6, 5, n)) + 1, -np.floor(rng.random(n) * 3))
    order.delivered_at = order.promised_at + (DAY * delay).astype(np.int64) - rng.integers(0, 8 * 3600, n)
    order.delivered_at = np.where(order.carried, order.at, settled(np.maximum(order.delivered_at, order.at + 6 * 3600)))
    order.open = ~order.carried & (order.delivered_at >= as_of) & (order.at < as_of)


def _returns(rng, human, order, line, owner):
    n = len(owner)
    chance = human.returns[owner] * np.where(
        order.channel[line.order] == 2, 0.5, np.where(order.channel[line.order] == 1, 0.6, 1.25)
    )
    back = rng.random(n) < np.minimum(chance, 0.95)
    part = np.where(rng.random(n) < 0.8, line.quantity, np.ceil(line.quantity * rng.random(n)).astype(np.int64))
    line.returned = np.where(back, np.maximum(part, 1), 0)
    lag = np.minimum(np.exp(np.log(8) + 1.6 * rng.standard_normal(n)), 330)
    line.returned_at = working_day(order.delivered_at[line.order] + (DAY * lag).astype(np.int64)) // DAY * DAY + rng.integers(
        9 * 3600, 18 * 3600, n
    )
    storno = (order.channel == 1) & (rng.random(len(order.at)) < 0.008)
    void = storno[line.order]
    line.returned[void] = line.quantity[void]
    line.returned_at[void] = order.at[line.order[void]] + 600
    line.back = np.round(line.amount * line.returned / line.quantity, 2)
    line.cost_back = line.cost * line.returned / line.quantity


def append(order: SimpleNamespace, extra: SimpleNamespace) -> None:
    """Put further orders where they belong."""
    for name, column in vars(extra).items():
        setattr(order, name, np.concatenate([getattr(order, name), column]))
    arrange(order)


def further_orders(rng, human, order, message, test, ending, as_of) -> SimpleNamespace:
    """Orders that there are because of a message: in the shop, with its campaign, of what they bought last."""
    answered = np.flatnonzero((message.orders_at > 0) & (message.orders_at < as_of))
    bought = np.flatnonzero(test.extra)
    extra = SimpleNamespace(
        human=np.concatenate([message.human[answered], test.human[bought]]),
        at=np.concatenate([message.orders_at[answered], test.extra_at[bought]]),
    )
    since = np.concatenate([message.at[answered], np.full(len(bought), test.sent_at)])
    n = len(extra.human)
    extra.late, extra.carried, extra.first = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    extra.complaint, extra.channel = np.zeros(n, int), np.zeros(n, int)
    # each of their orders is on a topic by their likes: the last one is as good as a new draw, and on a journey of theirs
    before = np.searchsorted(order.human * _BY_HUMAN + order.at, extra.human * _BY_HUMAN + since, side="right") - 1
    extra.topic = order.topic[np.maximum(before, np.searchsorted(order.human, extra.human))]
    extra.campaign = np.concatenate([message.piece[answered], np.full(len(bought), -1)])
    # nobody orders at night
    extra.at = np.where(extra.at % DAY < 7 * 3600, extra.at + 7 * 3600, extra.at)
    set_deliveries(rng, extra, as_of)
    return extra
