"""Where does each account stand on each topic, and since when?

A walk leads from need, research, decide to the first order on a topic, or away. Walks are drawn from one
semi-Markov chain (`world.WALK`, gamma distributed stays). Those that end with an order are drawn from the chain
given that it ends so (Doob's transform), backwards fitted to the order's time: exactly as if all walks had
been drawn forward and the order had come out. After the order come adopt, use, recommend, and looks back.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .draw import choose, choose_by, logistic, stream
from .world import (
    CLOSES_AFTER_DAYS,
    DAY,
    EFFECTS,
    LOOKS_AGAIN,
    RECOMMENDS,
    SAMPLE_BASE,
    STAY_DAYS,
    STAY_SHAPE,
    TOPICS,
    WALK,
    WALK_ENTRY,
    YEAR,
    share_won,
)

_LONGEST = 24
_MORE = 1.9  # lost walks drawn for each that is needed: those that meet another journey are dropped
WON, LEFT = 3, 4


def given_outcome(outcome: int) -> tuple[np.ndarray, np.ndarray]:
    """Entry and transition probabilities of the walks that end this way."""
    chance = share_won() if outcome == WON else 1 - share_won()
    moves = np.zeros((3, 5))
    moves[:, :3] = WALK[:, :3] * chance / chance[:, None]
    moves[:, outcome] = WALK[:, outcome] / chance
    entry = WALK_ENTRY * chance
    return entry / entry.sum(), moves


def draw_walks(rng: np.random.Generator, count: int, outcome: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stages and stays of `count` walks that end with `outcome`.

    Returns
    -------
    walk, stage : ndarray
        Which walk, which stage, in the order of the walk.
    stay : ndarray
        Seconds.
    """
    entry, moves = given_outcome(outcome)
    at, walk = choose(rng, entry, count), np.arange(count)
    parts = []
    for step in range(_LONGEST):
        parts.append((walk, at, np.full(len(walk), step)))
        following = choose_by(rng, moves, at)
        goes = following < 3
        walk, at = walk[goes], following[goes]
        if not len(walk):
            break
    walk, stage, step = (np.concatenate(column) for column in zip(*parts, strict=False))
    by = np.lexsort((step, walk))
    walk, stage = walk[by], stage[by]
    stay = rng.gamma(STAY_SHAPE[stage], STAY_DAYS[stage] / STAY_SHAPE[stage]) * DAY
    return walk, stage, np.maximum(stay.astype(np.int64), 3600)


def make_journeys(
    seed: int,
    part: int,
    account: SimpleNamespace,
    human: SimpleNamespace,
    order: SimpleNamespace,
    ending: SimpleNamespace,
    as_of: int,
) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Stage intervals and journeys of the part's accounts.

    Returns
    -------
    stages : SimpleNamespace
        journey, account, topic, stage, start, end; sorted by account, topic, start.
    journeys : SimpleNamespace
        account, topic, opened_at, closed_at, outcome (3 won, 4 left), won_at, sample_at (0 = none sent), decides_at.
    """
    rng = stream(seed, part, "journeys")
    horizon = as_of + YEAR
    key = human.account[order.human] * len(TOPICS) + order.topic
    by = np.lexsort((order.at, key))
    key, at, who = key[by], order.at[by], order.human[by]
    gap = np.diff(at, append=horizon)
    last = np.diff(key, append=-1) != 0
    apart = ~last & (gap > CLOSES_AFTER_DAYS * DAY)
    opens = np.concatenate([[True], last[:-1] | apart[:-1]])
    won = SimpleNamespace(key=key[opens], at=at[opens])
    after, journey_of = _after_orders(rng, key, at, who, gap, last, apart, opens, ending, horizon)
    walk, stage, stay = draw_walks(rng, len(won.key), WON)
    before = _backwards(walk, stage, stay, won.at)
    room = _room(won, after, journey_of, before, walk)
    kept = room[walk] <= before[0]
    lost = _lost(rng, account, human, len(won.key), won, as_of)
    count = len(won.key)
    pieces = [
        (walk[kept], won.key[walk[kept]], stage[kept], before[0][kept], before[1][kept]),
        (journey_of, won.key[journey_of], *after),
        (lost.walk + count, lost.key[lost.walk], lost.stage, lost.start, lost.end),
    ]
    journey, keys, stages, start, end = (np.concatenate(column) for column in zip(*pieces, strict=False))
    lasts = end > start
    by = np.lexsort((start[lasts], journey[lasts]))
    result = SimpleNamespace(journey=journey[lasts][by], stage=stages[lasts][by], start=start[lasts][by], end=end[lasts][by])
    result.account, result.topic = np.divmod(keys[lasts][by], len(TOPICS))
    return _without_overlap(
        rng, result, count + len(lost.key), np.concatenate([won.at, np.zeros(len(lost.key), np.int64)]), count
    )


def _after_orders(rng, key, at, who, gap, last, apart, opens, ending, horizon):
    """From each order to the next on its topic: adopt (after the first), use, sometimes recommend or another look."""
    until = np.where(
        last | apart, np.minimum(at + (DAY * (60 + rng.gamma(2.0, 45, len(at)))).astype(np.int64), horizon), at + gap
    )
    until = np.where(apart, np.minimum(until, at + gap - 60 * DAY), until)
    length = np.where(last | apart, np.maximum(until - at, 2 * 3600), until - at)
    adopt = np.where(opens, rng.gamma(STAY_SHAPE[3], STAY_DAYS[3] / STAY_SHAPE[3], len(at)) * DAY, 0)
    adopt = np.minimum(adopt, np.where(last | apart, 0.6, 1.0) * length).astype(np.int64)
    use = at + adopt
    left = at + length - use
    recommends = (rng.random(len(at)) < RECOMMENDS) & (left > 30 * DAY)
    shift = rng.uniform(0.1, 0.5, len(at))
    first = np.where(recommends, use + (shift * left).astype(np.int64), at + length)
    talk = np.minimum(rng.gamma(STAY_SHAPE[5], STAY_DAYS[5] / STAY_SHAPE[5], len(at)) * DAY, 0.4 * left).astype(np.int64)
    second = np.where(recommends, first + talk, first)
    looks = (rng.random(len(at)) < LOOKS_AGAIN) & (left > 40 * DAY) & ~last & ~apart
    search = np.minimum(rng.gamma(1.5, 14, len(at)) * DAY, 0.3 * left).astype(np.int64)
    third = np.maximum(np.where(looks, at + length - search, at + length), second)
    fourth = np.where(looks, third + ((at + length - third) * rng.uniform(0.3, 0.8, len(at))).astype(np.int64), third)
    number = np.cumsum(opens) - 1
    edges = [
        (3, at, use),
        (4, use, first),
        (5, first, second),
        (4, second, third),
        (1, third, fourth),
        (2, fourth, at + length),
    ]
    stage = np.concatenate([np.full(len(at), s) for s, _, _ in edges])
    start, end = np.concatenate([a for _, a, _ in edges]), np.concatenate([b for _, _, b in edges])
    return (stage, start, end), np.tile(number, len(edges))


def _backwards(walk, stage, stay, arrives):
    total = np.cumsum(stay)
    ends = np.flatnonzero(np.diff(walk, append=-1) != 0)
    remaining = total[ends][walk] - total
    end = arrives[walk] - remaining
    return end - stay, end


def _room(won, after, journey_of, before, walk):
    """A walk may not begin before the account's journey before it, on the same topic, has closed."""
    closed = np.zeros(len(won.key), np.int64)
    np.maximum.at(closed, journey_of, after[2])
    same = np.concatenate([[False], won.key[1:] == won.key[:-1]])
    return np.where(same, np.concatenate([[0], closed[:-1]]), 0)


def _lost(rng, account, human, count, won, as_of):
    """Walks that led away: as many as the chain says there must be for those that were won."""
    win = float(WALK_ENTRY @ share_won())
    number = rng.poisson(_MORE * count * (1 - win) / win)
    weight = np.cumsum(human.activity)
    who = np.searchsorted(weight, rng.random(number) * weight[-1])
    topic = choose(rng, 0.6 * human.likes[who] + 0.05)
    opened = human.found_at[who] - 20 * DAY + ((as_of + YEAR // 2 - human.found_at[who]) * rng.random(number)).astype(np.int64)
    opened = opened // DAY * DAY + rng.integers(7 * 3600, 22 * 3600, number)
    walk, stage, stay = draw_walks(rng, number, LEFT)
    total = np.cumsum(stay)
    first = np.flatnonzero(np.diff(walk, prepend=-1) != 0)
    begun = total - stay
    start = opened[walk] + begun - begun[first][walk]
    return SimpleNamespace(key=human.account[who] * len(TOPICS) + topic, walk=walk, stage=stage, start=start, end=start + stay)


def _without_overlap(rng, stages, count, won_at, won):
    """One journey at a time for an account and topic: a lost walk that meets another journey is not walked."""
    first = np.flatnonzero(np.diff(stages.journey, prepend=-1) != 0)
    span = SimpleNamespace(
        journey=stages.journey[first],
        key=stages.account[first] * len(TOPICS) + stages.topic[first],
        start=stages.start[first],
        end=np.maximum.reduceat(stages.end, first),
    )
    lost = span.journey >= won
    clash = np.zeros(len(first), bool)
    by = np.lexsort((span.start, span.key))
    while True:
        by = by[~clash[by]]
        meets = (span.key[by][1:] == span.key[by][:-1]) & (span.start[by][1:] < span.end[by][:-1])
        if not meets.any():
            break
        a, b = by[:-1][meets], by[1:][meets]
        clash[np.where(lost[b], b, a)] = True
    good = np.zeros(count, bool)
    good[span.journey[~clash]] = True
    win = float(WALK_ENTRY @ share_won())
    spare = np.flatnonzero(good[won:]) + won
    wanted = round(good[:won].sum() * (1 - win) / win)
    good[rng.permutation(spare)[wanted:]] = False
    keep = good[stages.journey]
    renumber = np.cumsum(good) - 1
    for name in ("journey", "account", "topic", "stage", "start", "end"):
        setattr(stages, name, getattr(stages, name)[keep])
    outcome = np.where(np.arange(count) < won, WON, LEFT)[good]
    stages.journey = renumber[stages.journey]
    journeys = _journeys(rng, stages, outcome, won_at[good])
    by = np.lexsort((stages.start, stages.topic, stages.account))
    for name in ("journey", "account", "topic", "stage", "start", "end"):
        setattr(stages, name, getattr(stages, name)[by])
    return _joined(stages), journeys


def _joined(stages):
    """Two intervals of one stage that touch are one."""
    touches = (
        (stages.journey[1:] == stages.journey[:-1])
        & (stages.stage[1:] == stages.stage[:-1])
        & (stages.start[1:] == stages.end[:-1])
    )
    first = np.flatnonzero(np.concatenate([[True], ~touches]))
    stages.end = np.maximum.reduceat(stages.end, first)
    for name in ("journey", "account", "topic", "stage", "start"):
        setattr(stages, name, getattr(stages, name)[first])
    return stages


def _journeys(rng, stages, outcome, won_at):
    count = len(outcome)
    first = np.flatnonzero(np.diff(stages.journey, prepend=-1) != 0)
    walks = SimpleNamespace(
        n=count,
        account=stages.account[first],
        topic=stages.topic[first],
        opened_at=stages.start[first],
        closed_at=np.maximum.reduceat(stages.end, first),
        outcome=outcome,
        won_at=won_at,
    )
    before = (stages.stage == 2) & ((outcome[stages.journey] == LEFT) | (stages.start < won_at[stages.journey]))
    walks.decides_at, walks.decided_at = np.zeros(count, np.int64), np.zeros(count, np.int64)
    deciding, where = np.flatnonzero(before), stages.journey[before]
    walks.decides_at[where[::-1]] = stages.start[deciding][::-1]
    walks.decided_at[where] = stages.end[deciding]
    # given how the walk ends, a sample is drawn with the log-odds that make its effect on the end exactly the stated
    # one
    chance = logistic(SAMPLE_BASE + EFFECTS["sample_sent"] * (outcome == WON))
    sent = (walks.decides_at > 0) & (rng.random(count) < chance)
    within = walks.decides_at + (rng.random(count) * 0.5 * (walks.decided_at - walks.decides_at)).astype(np.int64)
    walks.sample_at = np.where(sent, within // DAY * DAY + 14 * 3600, 0)
    walks.sample_at = np.where(sent, np.maximum(walks.sample_at, walks.decides_at + 60), 0)
    return walks
