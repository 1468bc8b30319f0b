"""What do they do on the way, through which channel, on which device?

Each stage interval emits visits at the stage's own pace; a visit is one touchpoint or a session of several
pages, all by one human of the account. Visits emit events with the stage's probabilities (`world.EMISSION`).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .calendar import daytime, settled
from .draw import choose, choose_by, spread, stream, weekday
from .world import DAY, EMISSION, EVENT_NAMES, EVENTS, FORMATS, ROLE_BY_STAGE, STAGES, TOPICS, VISITS_PER_MONTH

SOURCE_OF = np.array([EVENTS[name][0] for name in EVENT_NAMES])
ONLINE = SOURCE_OF == "web"


def make_events(
    seed: int,
    part: int,
    account: SimpleNamespace,
    human: SimpleNamespace,
    stages: SimpleNamespace,
    journeys: SimpleNamespace,
    shop: SimpleNamespace,
    begin: int,
    as_of: int,
) -> SimpleNamespace:
    """All touchpoints of a part between `begin` and `as_of`.

    Returns
    -------
    SimpleNamespace
        human, at, name (code), topic (-1 where the event tells none), piece (-1: none), device (0 desktop, 1 mobile, 2
        tablet, -1),
        cookie (0.. per human, -1), session, stage, hits (-1: no search), journey; sorted by time.
    """
    rng = stream(seed, part, "events")
    start, end = np.maximum(stages.start, begin), np.minimum(stages.end, as_of)
    length = np.maximum(end - start, 0) / (30 * DAY)
    heads = np.add.reduceat(human.activity, account.start)
    pace = VISITS_PER_MONTH[stages.stage] * (heads / account.members)[stages.account] * account.members[stages.account] ** 0.35
    visits = rng.poisson(pace * length)
    interval, _ = spread(visits)
    who = _who(rng, account, human, stages.account[interval], stages.stage[interval])
    at = _when(rng, human, who, start[interval], end[interval])
    stage, topic = stages.stage[interval], stages.topic[interval]
    first = choose_by(rng, EMISSION.T, stage)
    pages = np.where(ONLINE[first], 1 + rng.poisson(1.5, len(first)), 1)
    visit, place = spread(pages)
    event = SimpleNamespace(
        human=who[visit],
        stage=stage[visit].astype(np.int8),
        topic=topic[visit].astype(np.int8),
        session=visit,
        journey=stages.journey[interval][visit],
    )
    event.name = first[visit]
    later = place > 0
    event.name[later] = _online(rng, event.stage[later])
    event.at = at[visit] + np.where(later, place * rng.integers(15, 200, len(visit)), 0)
    event.at = np.minimum(event.at, as_of - 1)
    _add_samples(event, journeys, account, human, begin, as_of)
    _details(rng, human, shop, event)
    by = np.argsort(event.at, kind="stable")
    for name, column in vars(event).items():
        setattr(event, name, column[by])
    return event


def _online(rng, stage):
    weights = np.where(ONLINE[:, None], EMISSION, 0).T
    return choose_by(rng, weights, stage)


def _who(rng, account, human, own, stage):
    """Somebody of the account: the busier, and at companies those whose role has its turn."""
    weight = human.activity[:, None] * np.where(human.b2b[:, None], ROLE_BY_STAGE[np.maximum(human.role, 0)], 1.0)
    upto = np.concatenate([np.zeros((1, len(STAGES))), np.cumsum(weight, axis=0)])
    result = np.empty(len(own), np.int64)
    for s in range(len(STAGES)):
        rows = np.flatnonzero(stage == s)
        low, high = upto[account.start[own[rows]], s], upto[account.start[own[rows]] + account.members[own[rows]], s]
        result[rows] = np.searchsorted(upto[:, s], low + rng.random(len(rows)) * (high - low), side="right") - 1
    last = account.start[own] + account.members[own] - 1
    return np.clip(result, account.start[own], last)


def _when(rng, human, who, start, end):
    """Any time of the interval, moved to the person's own weekday and hour where the interval leaves room."""
    at = start + (rng.random(len(who)) * (end - start)).astype(np.int64)
    day = at // DAY
    shift = (human.best_day[who] - weekday(at) + 3) % 7 - 3
    office = human.b2b[who] & (weekday(at) >= 5)
    day = day + np.where(rng.random(len(who)) < 0.25, shift, np.where(office, rng.choice([-2, 2, 3], len(who)), 0))
    hour = np.clip(human.best_hour[who] + rng.normal(0, 2.6, len(who)), 6.0, 23.98)
    wanted = day * DAY + (hour * 3600).astype(np.int64)
    fits = (wanted >= start) & (wanted < end)
    awake = daytime(at, 7.5, 23.5)
    awake = np.where((awake >= start) & (awake < end), awake, at)
    return settled(np.where(fits, wanted, awake))


def _add_samples(event, journeys, account, human, begin, as_of):
    sent = np.flatnonzero((journeys.sample_at >= begin) & (journeys.sample_at > 0) & (journeys.sample_at < as_of))
    extra = dict(
        human=account.start[journeys.account[sent]],
        stage=np.full(len(sent), 2, np.int8),
        topic=journeys.topic[sent].astype(np.int8),
        session=np.full(len(sent), -1),
        journey=sent,
        name=np.full(len(sent), len(EVENT_NAMES)),
        at=journeys.sample_at[sent],
    )
    for name, column in extra.items():
        setattr(event, name, np.concatenate([getattr(event, name), column]))


def _details(rng, human, shop, event):
    n = len(event.at)
    web = np.append(ONLINE, False)[event.name]
    first = human.first_device[event.human]
    turn = rng.random(n)
    # one device a session: the draw is the session's
    if n:
        turn = rng.random(event.session.max() + 2)[event.session]
    device = np.where(
        (turn < 0.7) | (human.devices[event.human] == 1),
        first,
        np.where((turn < 0.92) | (human.devices[event.human] == 2), 1 - first, 2),
    )
    event.device = np.where(web, device, -1).astype(np.int8)
    event.cookie = np.where(web, device + 3 * (event.at >= human.resets_at[event.human]), -1).astype(np.int8)
    event.piece = _pieces(rng, shop, event)
    event.hits = np.full(n, -1, np.int32)
    search = event.name == EVENT_NAMES.index("search")
    event.hits[search] = np.where(rng.random(search.sum()) < 0.17, 0, 1 + rng.poisson(9, search.sum()))
    untold = np.append(np.isin(EVENT_NAMES, ("home_page", "community_post", "call_out")), False)[event.name] | (
        rng.random(n) < 0.04
    )
    event.told_topic = np.where(untold, -1, event.topic).astype(np.int8)


def _pieces(rng, shop, event):
    """A piece of the format that the event shows, of the topic and, where there is one, of the stage."""
    formats = sorted({kind for group in FORMATS for kind in group})
    shows = np.array([formats.index(EVENTS[name][2]) if EVENTS[name][2] in formats else -1 for name in EVENT_NAMES] + [-1])
    kind = np.array([formats.index(f) for f in shop.format])
    piece = np.full(len(event.at), -1, np.int32)
    wanted = shows[event.name]
    for topic in range(len(TOPICS)):
        for code in range(len(formats)):
            pool = np.flatnonzero((kind == code) & (shop.piece_topic == topic))
            rows = np.flatnonzero((wanted == code) & (event.topic == topic))
            if len(pool):
                piece[rows] = pool[choose(rng, np.exp(2 * shop.appeal[pool]), len(rows))]
    return piece


def with_shopping(
    seed: int, part: int, event: SimpleNamespace, human, order, message, shop, begin: int, as_of: int
) -> SimpleNamespace:
    """Add the pages before an order in the web shop, and the visits that follow a click in a message."""
    rng = stream(seed, part, "shopping")
    bought = np.flatnonzero((order.channel == 0) & (order.at >= begin) & (order.at < as_of) & (rng.random(len(order.at)) < 0.85))
    names = [EVENT_NAMES.index(name) for name in ("product_page", "add_to_cart", "checkout_started")]
    which, place = np.repeat(bought, 3), np.tile(np.arange(3), len(bought))
    clicked = np.flatnonzero((message.clicked_at > 0) & (message.piece >= 0))
    formats = {event_format: number for number, (_, _, event_format) in enumerate(EVENTS.values()) if event_format}
    shown = np.array([formats.get(kind, EVENT_NAMES.index("home_page")) for kind in shop.format])[message.piece[clicked]]
    first = int(event.session.max(initial=0)) + 1
    session = np.concatenate([first + np.repeat(np.arange(len(bought)), 3), first + len(bought) + np.arange(len(clicked))])
    who = np.concatenate([order.human[which], message.human[clicked]])
    at = np.concatenate(
        [
            np.maximum(order.at[which] - (3 - place) * rng.integers(40, 300, len(which)), begin),
            np.minimum(message.clicked_at[clicked] + 4, as_of - 1),
        ]
    )
    topic = np.concatenate([order.topic[which], shop.piece_topic[message.piece[clicked]]])
    turn = rng.random(len(session) and int(session.max()) + 1)[session] if len(session) else np.zeros(0)
    device = np.where((turn < 0.7) | (human.devices[who] == 1), human.first_device[who], 1 - human.first_device[who])
    n = len(who)
    extra = dict(
        human=who,
        stage=np.full(n, -1),
        topic=topic,
        told_topic=topic,
        session=session,
        journey=np.full(n, -1),
        name=np.concatenate([np.tile(names, len(bought)), shown]),
        at=at,
        device=device,
        cookie=device + 3 * (at >= human.resets_at[who]),
        piece=np.concatenate([np.full(len(which), -1), message.piece[clicked]]),
        hits=np.full(n, -1),
    )
    for name, column in vars(event).items():
        setattr(event, name, np.concatenate([column, extra[name].astype(column.dtype)]))
    by = np.argsort(event.at, kind="stable")
    for name, column in vars(event).items():
        setattr(event, name, column[by])
    return event
