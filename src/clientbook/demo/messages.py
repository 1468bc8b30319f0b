"""What was sent in the end, and what came back?

Most messages without consent are held back by the sending tool, not all; one mailing is randomised; one company
gets far too much.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from . import verdicts
from .calendar import utc
from .campaigns import add, arrange, columns, one_of
from .consents import WITHDRAWN
from .draw import stream, weekday, working_day
from .responses import is_customer, probabilities
from .world import DAY, EXPERIMENT, PLANTED, POLICY, TOPICS

HELD_BACK = 0.78


def add_experiment(
    seed: int, part: int, message, rows, human, order, ending, consents, shop, piece: int, as_of: int
) -> SimpleNamespace:
    """One mailing, sent to half of those drawn for it; some of them order who would not have.

    Returns
    -------
    SimpleNamespace
        human, row, treated, uplift (true probability of a further order because of it), extra (it did), sent_at,
        extra_at.
    """
    rng = stream(seed, part, "experiment")
    sent_at = (as_of - EXPERIMENT["days_before"] * DAY) // DAY * DAY
    sent_at = int(working_day(np.array([sent_at]), saturday=False)[0]) + 10 * 3600
    last = np.zeros(human.n, np.int64)
    before = (order.at < sent_at) & (order.channel == 0)
    np.maximum.at(last, order.human[before], order.at[before])
    able = (rows.first >= 0) & (last > 0)
    able &= rows.created_at[np.maximum(rows.first, 0)] < sent_at
    drawn = np.flatnonzero(able & (rng.random(human.n) < EXPERIMENT["share"]))
    zero = np.zeros(len(drawn), np.int64)
    refused = verdicts.without_consent(drawn, zero, zero, np.full(len(drawn), utc(np.array([sent_at]))[0]), consents)
    drawn = drawn[~refused]
    test = SimpleNamespace(human=drawn, row=rows.first[drawn], treated=rng.random(len(drawn)) < 0.5, sent_at=sent_at)
    recent = last[drawn] > sent_at - 180 * DAY
    here = ending.dropped_at[drawn] > sent_at
    test.uplift = np.where(here, np.where(recent, EXPERIMENT["uplift_if_recent"], EXPERIMENT["uplift_mean"]), 0.0)
    test.extra = test.treated & (rng.random(len(drawn)) < test.uplift)
    test.extra_at = sent_at + (DAY * EXPERIMENT["window_days"] * rng.beta(1, 2.5, len(drawn))).astype(np.int64)
    some = np.flatnonzero(test.treated)
    add(message, columns(test.row[some], sent_at, 0, 8, piece, 0))
    return test


def plant(seed: int, message, rows, human, account, deals, stages, shop, as_of: int) -> SimpleNamespace | None:
    """The company whose two contacts got thirty irrelevant e-mails in thirty days and opened none."""
    rng = stream(seed, 0, "planted")
    pairs = np.flatnonzero(account.company & (account.members == PLANTED["contacts"]))
    known = (rows.first[account.start[pairs]] >= 0) & (rows.first[account.start[pairs] + 1] >= 0)
    begin = as_of - PLANTED["days"] * DAY
    sure = [account.start[pairs] + i for i in (0, 1)]
    known &= np.all([rows.created_at[np.maximum(rows.first[who], 0)] < begin - 60 * DAY for who in sure], axis=0)
    known &= np.all([rows.second[who] < 0 for who in sure], axis=0)
    open_deal = np.isin(pairs, deals.account[(deals.closed_at == 0) & (deals.opened_at < begin)])
    best = np.flatnonzero(known & open_deal) if (known & open_deal).any() else np.flatnonzero(known)
    if not len(best):
        return None
    own = int(pairs[best[0]])
    walks = stages.topic[stages.account == own]
    foreign = np.setdiff1d(np.arange(len(TOPICS)), np.concatenate([walks, deals.topic[deals.account == own]]))
    foreign = (
        foreign
        if len(foreign)
        else np.setdiff1d(np.arange(len(TOPICS)), deals.topic[(deals.account == own) & (deals.closed_at == 0)])
    )
    keep = ~((human.account[rows.human[message.row]] == own) & (message.at >= begin) & ~message.operational)
    arrange(message, keep)
    number = np.arange(PLANTED["messages"])
    at = (
        begin
        + (number * PLANTED["days"] * DAY) // PLANTED["messages"] // DAY * DAY
        + rng.integers(9 * 3600, 17 * 3600, len(number))
    )
    row = rows.first[account.start[own] + number % 2]
    piece = one_of(rng, shop, foreign[rng.integers(0, len(foreign), len(number))], rng.integers(0, 3, len(number)))
    add(message, columns(row, at, np.where(number % 3 == 0, 2, np.where(number % 3 == 1, 1, 0)), 1, piece, 0))
    return SimpleNamespace(account=own, begin=begin)


def indications(consents, rows):
    """What was indicated, with the human who did.

    Parameters
    ----------
    consents : SimpleNamespace
        As delivered, by row.
    rows : SimpleNamespace
        The records, each with its human.
    """
    return SimpleNamespace(
        human=rows.human[consents.row],
        purpose=consents.purpose,
        channel=consents.channel,
        status=consents.status,
        at=utc(consents.at),
        valid_to=utc(consents.valid_to),
    )


def hold_back(rng, message, rows, indications) -> None:
    """The tool stops most messages that nobody has allowed."""
    refused = (
        verdicts.without_consent(rows.human[message.row], message.channel, message.purpose, utc(message.at), indications)
        & ~message.operational
    )
    arrange(message, ~(refused & (rng.random(len(message.at)) < HELD_BACK)))


def answer_all(seed: int, part: int, message, rows, human, account, stages, shop, planted, ending, as_of: int) -> None:
    """Opens, clicks, replies and unsubscriptions; and which customers will order because of it."""
    rng = stream(seed, part, "answers")
    who = rows.human[message.row]
    own, n = human.account[who], len(who)
    piece = np.maximum(message.piece, 0)
    topic = np.where(message.piece >= 0, shop.piece_topic[piece], -1)
    message.stage = verdicts.stage_at(own, topic, message.at, stages, len(TOPICS))
    recent = verdicts.in_window(own, message.at, POLICY["period_days"] * DAY, ~message.operational)
    chance = probabilities(
        human.open_logit[who, message.channel],
        np.where(topic >= 0, human.likes[who, np.maximum(topic, 0)] * len(TOPICS), 1.0),
        human.best_day[who],
        human.best_hour[who],
        message.stage,
        np.where(message.piece >= 0, shop.piece_stage[piece], -1),
        np.where(message.piece >= 0, shop.appeal[piece], 0),
        weekday(message.at),
        message.at % DAY / 3600,
        recent,
        message.channel == 3,
    )
    opens = rng.random(n) < np.where(message.operational, 0.62, chance.opens)
    # who left before that month would not have got thirty e-mails in it
    theirs = np.zeros(n, bool) if planted is None else own == planted.account
    deaf = theirs if planted is None else theirs & (message.at >= planted.begin)
    opens &= ~deaf
    clicks = opens & (rng.random(n) < chance.clicks) & (message.piece >= 0)
    replies = opens & (rng.random(n) < chance.replies) & ~message.operational
    leaves = (rng.random(n) < chance.unsubscribes) & ~message.operational & ~theirs
    # a first order ends a walk, and who has left has left: a message brings further orders of customers
    customer = (ending.dropped_for[who] > 0) & is_customer(ending.first_at[who], ending.dropped_at[who], message.at)
    orders = clicks & customer & (rng.random(n) < chance.orders)
    # mail programs fetch pictures before anybody looks: an open that is none
    fetched = ~opens & ~deaf & (message.channel == 0) & (rng.random(n) < 0.07)
    wait = np.minimum(np.exp(rng.normal(8.6, 1.5, n)), 12 * DAY).astype(np.int64) + 20
    shown = (message.channel == 0) & (opens | fetched)
    opened = message.at + np.where(fetched, rng.integers(2, 90, n), wait)
    message.opened_at = _before(as_of, shown, opened)
    clicked = opened + rng.integers(5, 300, n)
    message.clicked_at = _before(as_of, clicks & (message.channel < 2), clicked)
    message.replied_at = _before(as_of, replies, opened + rng.integers(300, 2 * DAY, n))
    message.unsubscribed_at = _before(as_of, leaves, opened + rng.integers(5, 600, n))
    # who was moved by a letter or a call clicks nowhere, and orders all the same
    moved_at = _before(as_of, orders, clicked)
    message.orders_at = np.where(moved_at > 0, moved_at + rng.integers(600, 3 * DAY, n), 0)


def _before(as_of, happens, at):
    from .calendar import settled

    at = settled(at)
    return np.where(happens & (at < as_of), at, 0)


def only_first_leaving(message, rows) -> SimpleNamespace:
    """Nobody unsubscribes twice; each unsubscription is an indication: row, at."""
    left = np.flatnonzero(message.unsubscribed_at > 0)
    who = rows.human[message.row[left]]
    by = left[np.lexsort((message.unsubscribed_at[left], who))]
    first = np.diff(rows.human[message.row[by]], prepend=-1) != 0
    message.unsubscribed_at[by[~first]] = 0
    return SimpleNamespace(row=message.row[by[first]], at=message.unsubscribed_at[by[first]])


def with_leavings(consents: SimpleNamespace, left: SimpleNamespace) -> SimpleNamespace:
    """The indications and the unsubscriptions, in order of time."""
    size = len(left.row)
    extra = dict(
        row=left.row,
        purpose=np.zeros(size, int),
        channel=np.full(size, -1),
        status=np.full(size, WITHDRAWN),
        at=left.at,
        valid_to=np.zeros(size, int),
    )
    joined = SimpleNamespace(**{name: np.concatenate([getattr(consents, name), extra[name]]) for name in extra})
    by = np.lexsort((np.arange(len(joined.at)), joined.at))
    for name, column in list(vars(joined).items()):
        setattr(joined, name, column[by])
    return joined


def stop_after_leaving(rng, message, rows, indications) -> None:
    """Who has unsubscribed gets nothing any more, as a rule."""
    left = np.full(int(rows.human.max(initial=0)) + 1, np.iinfo(np.int64).max)
    gone = message.unsubscribed_at > 0
    np.minimum.at(left, rows.human[message.row[gone]], message.unsubscribed_at[gone])
    who = rows.human[message.row]
    after = message.at > left[who]
    refused = (
        after
        & verdicts.without_consent(who, message.channel, message.purpose, utc(message.at), indications)
        & ~message.operational
    )
    arrange(message, ~(refused & (rng.random(len(message.at)) < HELD_BACK)))
