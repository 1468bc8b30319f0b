"""What would four teams that do not talk to each other like to send?

Brand writes to everybody, product pushes its topics, sales follows its deals (and goes on when they are over),
service confirms and asks.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .draw import choose, spread, stream, working_day
from .world import DAY, STAGES, TOPICS

TYPES = (
    "newsletter",
    "campaign",
    "sales mail",
    "event invitation",
    "service tip",
    "survey",
    "order confirmation",
    "shipping notice",
    "test mailing",
)


FIELDS = ("row", "at", "team", "kind", "piece", "channel", "purpose", "operational")


def make_campaigns(seed: int, shop: SimpleNamespace, begin: int, as_of: int) -> SimpleNamespace:
    """Which mass mailings went out in three years?

    Parameters
    ----------
    seed : int
    shop : SimpleNamespace
        The pieces of content.
    begin, as_of : int
        Seconds since 1970 in UTC.

    Returns
    -------
    SimpleNamespace
        at, team, kind, piece, channel, reach, audience (0 all, 1 by taste, 2 companies, 3 private), instant.
    """
    rng = stream(seed, 0, "campaigns")
    plan = []
    for month in range((as_of - begin) // (30 * DAY)):
        start = begin + month * 30 * DAY
        # alterations are read about and hardly ever offered
        offered = [topic for topic in range(len(TOPICS)) if topic != 5 or month % 12 == 3]
        plan += [(start, 0, 0, rng.integers(0, len(TOPICS)), 0, 0.50, 0)]
        plan += [
            (start, 1, 1, topic, choose(rng, np.array([0.82, 0.05, 0.1, 0.03]), 1)[0], 0.05, 1)
            for topic in offered
            for _ in range(2)
        ]
        plan += [(start, 2, 2, rng.choice(offered), choose(rng, np.array([0.75, 0, 0.1, 0.15]), 1)[0], 0.06, 2) for _ in range(5)]
        plan += [(start, 1, 3, rng.choice(offered), 0, 0.10, 2)] * (month % 3 == 0)
        plan += [(start, 3, 4, rng.integers(0, len(TOPICS)), 0, 0.10, 0), (start, 3, 5, -1, 0, 0.06, 0)]
    columns = [np.array(column) for column in zip(*plan, strict=False)]
    campaign = SimpleNamespace(
        **dict(zip(("at", "team", "kind", "topic", "channel", "reach", "audience"), columns, strict=False))
    )
    n = len(campaign.at)
    campaign.reach = campaign.reach * rng.uniform(0.4, 1.2, n)
    campaign.piece = np.array([_piece_for(rng, shop, topic) if topic >= 0 else -1 for topic in campaign.topic])
    again = np.flatnonzero(rng.random(n) < 0.1)
    for name, column in list(vars(campaign).items()):
        setattr(campaign, name, np.concatenate([column, column[again]]))
    campaign.at = campaign.at + rng.integers(0, 28, n + len(again)) * DAY
    campaign.at[n:] = campaign.at[again] + rng.integers(4, 12, len(again)) * DAY
    campaign.at = working_day(campaign.at // DAY * DAY, saturday=False) + rng.integers(8 * 4, 19 * 4, len(campaign.at)) * 900
    campaign.instant = rng.random(len(campaign.at)) < 0.5
    keep = campaign.at < as_of
    for name, column in list(vars(campaign).items()):
        setattr(campaign, name, column[keep])
    return campaign


def _piece_for(rng, shop, topic):
    pool = np.flatnonzero(shop.piece_topic == topic)
    return pool[choose(rng, np.array([3, 3, 2, 0.6, 1, 0.5])[shop.piece_stage[pool]], 1)[0]]


def gather(
    seed: int, part: int, rows, human, account, order, stages, deals, campaigns, shop, begin: int, as_of: int
) -> SimpleNamespace:
    """All messages that the teams would like to send, in order of arrival."""
    rng = stream(seed, part, "messages")
    pieces = [
        _mass(rng, rows, human, campaigns),
        _nurture(rng, rows, human, account, stages, shop, begin, as_of),
        _pursuit(rng, rows, human, account, deals, shop, as_of),
        _confirmations(rng, rows, order, begin, as_of),
    ]
    message = SimpleNamespace(**{name: np.concatenate([piece[i] for piece in pieces]) for i, name in enumerate(FIELDS)})
    arrange(message)
    return message


def arrange(message: SimpleNamespace, keep: np.ndarray | None = None) -> None:
    """Order of arrival is order of time; those of one instant stay as they are."""
    chosen = np.arange(len(message.at)) if keep is None else np.flatnonzero(keep)
    by = chosen[np.argsort(message.at[chosen], kind="stable")]
    for name, column in list(vars(message).items()):
        setattr(message, name, column[by])


def columns(row, at, team, kind, piece, channel, purpose=0, operational=False):
    """The columns of some messages, each as long as `row`.

    Parameters
    ----------
    row : array
        The receivers' rows.
    at, team, kind, piece, channel, purpose, operational
        One value, or one for each row.
    """
    size = len(row)
    return [np.broadcast_to(np.asarray(value), size) for value in (row, at, team, kind, piece, channel, purpose, operational)]


def _mass(rng, rows, human, campaign):
    own, office, found = rows.human, human.b2b[rows.human], []
    taste = np.minimum(human.likes * len(TOPICS), 4)[own]
    for i in range(len(campaign.at)):
        chance = np.full(rows.n, campaign.reach[i])
        if campaign.audience[i] == 1:
            chance *= 0.3 + taste[:, campaign.topic[i]] * 1.2
        elif campaign.audience[i] == 2:
            chance = np.where(office, chance * 2.5, chance * 0.12)
        chosen = np.flatnonzero((rng.random(rows.n, dtype=np.float32) < chance) & (rows.created_at < campaign.at[i]))
        delay = 0 if campaign.instant[i] else rng.integers(0, 5400, len(chosen))
        found.append(
            columns(
                chosen,
                campaign.at[i] + delay,
                campaign.team[i],
                campaign.kind[i],
                campaign.piece[i],
                campaign.channel[i],
                2 if campaign.kind[i] == 5 else 0,
            )
        )
    return [np.concatenate(column) for column in zip(*found, strict=False)]


def _nurture(rng, rows, human, account, stages, shop, begin, as_of):
    """Product's automatic mails: what the tool believes of the stage is right three times out of four."""
    start, end = np.maximum(stages.start, begin), np.minimum(stages.end, as_of)
    count = rng.poisson(
        np.maximum(end - start, 0)
        / (30 * DAY)
        * np.array([0.5, 0.6, 0.7, 0.7, 0.22, 0.4])[stages.stage]
        * account.members[stages.account] ** 0.5
    )
    interval, _ = spread(count)
    own = stages.account[interval]
    who = account.start[own] + (rng.random(len(own)) * account.members[own]).astype(int)
    row = rows.first[who]
    at = start[interval] + (rng.random(len(own)) * (end - start)[interval]).astype(np.int64)
    at = working_day(at, saturday=False) // DAY * DAY + rng.integers(8 * 3600, 20 * 3600, len(own))
    believed = np.where(rng.random(len(own)) < 0.75, stages.stage[interval], rng.integers(0, 6, len(own)))
    piece = one_of(rng, shop, stages.topic[interval], believed)
    keep = (row >= 0) & (at < as_of) & (at > rows.created_at[np.maximum(row, 0)])
    return columns(row[keep], at[keep], np.where(believed[keep] >= 3, 3, 1), np.where(believed[keep] >= 3, 4, 1), piece[keep], 0)


def one_of(rng, shop, topic, stage):
    """A piece of the topic and stage; of the topic alone where that cell is empty."""
    result = np.full(len(topic), -1)
    for t in range(len(TOPICS)):
        for s in range(len(STAGES)):
            wanted = np.flatnonzero((topic == t) & (stage == s))
            pool = np.flatnonzero((shop.piece_topic == t) & (shop.piece_stage == s))
            if not len(pool):
                pool = np.flatnonzero(shop.piece_topic == t)
            result[wanted] = pool[rng.integers(0, len(pool), len(wanted))]
    return result


def _pursuit(rng, rows, human, account, deals, shop, as_of):
    """Sales writes about its deals, often also some weeks after they are closed, sometimes about another topic."""
    end = np.where(deals.closed_at > 0, deals.closed_at + 45 * DAY, as_of)
    deal, _ = spread(rng.poisson(np.minimum((end - deals.opened_at) / DAY / 16, 12)))
    own = deals.account[deal]
    who = account.start[own] + (rng.random(len(own)) * account.members[own]).astype(int)
    at = deals.opened_at[deal] + (rng.random(len(deal)) * (end - deals.opened_at)[deal]).astype(np.int64)
    at = working_day(at, saturday=False) // DAY * DAY + rng.integers(8 * 3600, 18 * 3600, len(deal))
    topic = np.where(rng.random(len(deal)) < 0.7, deals.topic[deal], rng.integers(0, len(TOPICS), len(deal)))
    piece = one_of(rng, shop, topic, choose(rng, np.array([0.1, 0.25, 0.5, 0.1, 0.05, 0]), len(deal)))
    row = rows.first[who]
    keep = (row >= 0) & (at < as_of) & (at > rows.created_at[np.maximum(row, 0)])
    return columns(row[keep], at[keep], 2, 2, piece[keep], choose(rng, np.array([0.8, 0.02, 0.03, 0.15]), int(keep.sum())))


def _confirmations(rng, rows, order, begin, as_of):
    known = np.flatnonzero((rows.first[order.human] >= 0) & (order.channel == 0) & (order.at >= begin))
    sent = np.concatenate([known, known])
    kind = np.repeat([6, 7], len(known))
    row = rows.first[order.human[sent]]
    at = np.where(kind == 6, order.at[sent] + 120, order.delivered_at[sent] - DAY)
    keep = (at < as_of) & (at > rows.created_at[row])
    return columns(row[keep], at[keep], 3, kind[keep], -1, 0, 3, True)


def add(message: SimpleNamespace, columns: list[np.ndarray]) -> None:
    """Put further messages where they belong in time."""
    for name, column in zip(FIELDS, columns, strict=False):
        setattr(message, name, np.concatenate([getattr(message, name), column]))
    arrange(message)
