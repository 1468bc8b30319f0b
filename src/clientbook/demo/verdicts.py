"""What was wrong with a message, judged by the true persons, accounts and stages?

Everything is as of the time of sending. Times are UTC seconds; keys are (who, time) in one number, so that
looking back is one search in a sorted array.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .world import DAY, POLICY

_BIG = np.int64(1) << np.int64(32)
REASONS = (
    "no_consent",
    "open_complaint",
    "after_close",
    "over_cap",
    "over_preference",
    "duplicate",
    "wrong_topic",
    "wrong_stage",
)
GIVEN = 0


def _key(group, at):
    return np.asarray(group, np.int64) * _BIG + np.asarray(at, np.int64)


def _ordered(keys):
    return np.sort(keys, kind="stable")


def without_consent(human, channel, purpose, at, consents: SimpleNamespace, channels: int = 4, purposes: int = 4) -> np.ndarray:
    """Is no consent in force: is the latest indication not `given`, has it run out, or is there none?

    Parameters
    ----------
    human, channel, purpose, at : array
        Of each message.
    channels, purposes : int
        How many there are.
    consents : SimpleNamespace
        human, purpose, channel (-1: all), status (0: given), at, valid_to (0: no end).
    """
    every = consents.channel < 0
    wide = np.flatnonzero(every)
    rows = np.concatenate([np.flatnonzero(~every), np.repeat(wide, channels)])
    by_channel = np.concatenate([consents.channel[~every], np.tile(np.arange(channels), len(wide))])
    key = _key((consents.human[rows] * purposes + consents.purpose[rows]) * channels + by_channel, consents.at[rows])
    order = np.argsort(key, kind="stable")
    key, rows = key[order], rows[order]
    first = np.flatnonzero(np.diff(key, prepend=-1) != 0)
    if not len(first):
        return np.ones(len(human), bool)
    end = np.where(consents.valid_to[rows] > 0, consents.valid_to[rows], np.iinfo(np.int64).max)
    end = np.minimum.reduceat(np.where(consents.status[rows] == GIVEN, end, 0), first)
    key = key[first]
    group = (np.asarray(human, np.int64) * purposes + purpose) * channels + channel
    found = np.searchsorted(key, _key(group, at), side="right") - 1
    known = (found >= 0) & (key[found] // _BIG == group)
    return ~known | (end[found] <= at)


def open_at(group, at, groups, opened, closed) -> tuple[np.ndarray, np.ndarray]:
    """How many of a group's things are open, and how many have been closed, at a time (closed 0: still open)."""
    query = _key(group, at)
    low = _key(group, 0)
    begun, ended = _ordered(_key(groups, opened)), _ordered(_key(groups[closed > 0], closed[closed > 0]))
    opened_count = np.searchsorted(begun, query, side="right") - np.searchsorted(begun, low)
    closed_count = np.searchsorted(ended, query, side="right") - np.searchsorted(ended, low)
    return opened_count - closed_count, closed_count


def in_window(group, at, period, counted) -> np.ndarray:
    """How many counted messages had the group in the period up to each message, it included?

    Parameters
    ----------
    group, at : array
        Of each message, in order of arrival, which parts those of one instant.
    period : int
        Seconds.
    counted : array of bool
        Which messages count.
    """
    order = np.lexsort((np.arange(len(at)), at, group))
    keys = _key(group, at)[order]
    upto = np.concatenate([[0], np.cumsum(counted[order])])
    result = np.empty(len(at), np.int64)
    start = np.searchsorted(keys, _key(group, np.asarray(at) - period)[order], side="right")
    result[order] = upto[1:] - upto[start]
    return result


def _stated(human, at, preferences, has, mask):
    """For each message: was the attribute stated by then, and the union of what was stated last?"""
    rows = np.flatnonzero(has)
    if not len(rows):
        return np.zeros(len(human), bool), np.zeros(len(human), np.int64)
    key = _key(preferences.human[rows], preferences.at[rows])
    order = np.argsort(key, kind="stable")
    key, value = key[order], mask[rows][order]
    first = np.flatnonzero(np.diff(key, prepend=-1) != 0)
    value, key = np.bitwise_or.reduceat(value, first), key[first]
    found = np.searchsorted(key, _key(human, at), side="right") - 1
    known = (found >= 0) & (key[found] // _BIG == human)
    return known, np.where(known, value[found], 0)


def against_preference(human, at, channel, topic, counted, preferences: SimpleNamespace) -> np.ndarray:
    """Against the channels, topics or frequency that the customer stated last (for each of the three apart)?"""
    one = np.int64(1)
    said, channels = _stated(
        human, at, preferences, preferences.channel >= 0, one << np.maximum(preferences.channel, 0).astype(np.int64)
    )
    wrong = said & ((channels >> channel) & 1 == 0)
    said, topics = _stated(
        human, at, preferences, preferences.topic >= 0, one << np.maximum(preferences.topic, 0).astype(np.int64)
    )
    wrong |= said & (topic >= 0) & ((topics >> np.maximum(topic, 0)) & 1 == 0)
    limit = preferences.most * 1000 + preferences.period
    said, most = _stated(human, at, preferences, preferences.most >= 0, limit.astype(np.int64))
    number = in_window(human, at, (most % 1000) * DAY, counted)
    return wrong | (said & (number > most // 1000))


def repeated(account, piece, at, counted, period) -> np.ndarray:
    """Did the same piece go to the account in the period before?"""
    rows = np.flatnonzero(counted & (piece >= 0))
    order = rows[np.lexsort((rows, at[rows], piece[rows], account[rows]))]
    result = np.zeros(len(at), bool)
    same = (
        (account[order][1:] == account[order][:-1])
        & (piece[order][1:] == piece[order][:-1])
        & (at[order][1:] - at[order][:-1] < period)
    )
    result[order[1:][same]] = True
    return result


def stage_at(account, topic, at, stages: SimpleNamespace, topics: int) -> np.ndarray:
    """The true stage of an account on a topic at a time; -1 where no journey is open.

    Parameters
    ----------
    account, topic, at : array
        What is asked for.
    stages : SimpleNamespace
        account, topic, start, end, stage; sorted by account, topic, start.
    topics : int
        How many there are.
    """
    key = _key(stages.account * topics + stages.topic, stages.start)
    group = account * topics + np.maximum(topic, 0)
    found = np.searchsorted(key, _key(group, at), side="right") - 1
    if not len(key):
        return np.full(len(group), -1)
    inside = (found >= 0) & (key[found] // _BIG == group) & (stages.end[found] > at) & (topic >= 0)
    return np.where(inside, stages.stage[found], -1)


def judge(message: SimpleNamespace, consents, preferences, cases, deals, stages, topics: int) -> dict[str, np.ndarray]:
    """Every reason for every message, and the verdict: the first reason that holds.

    Parameters
    ----------
    message : SimpleNamespace
        account, human, at, channel, purpose, operational, piece (-1: none), piece_stage (-1: untold), topic (-1:
        none), in order of arrival.
    cases : SimpleNamespace
        human, at, closed_at: complaints only.
    deals : SimpleNamespace
        account, topic, opened_at, closed_at.
    consents, preferences, stages : SimpleNamespace
        As :func:`without_consent` and :func:`stage_at` take them.
    topics : int
        How many there are.
    """
    # account by account, so that one search after the other looks in the same place; arrival stays the order within
    by = np.argsort(message.account, kind="stable")
    m = SimpleNamespace(**{name: np.asarray(column)[by] for name, column in vars(message).items()})
    counted = ~m.operational
    period = POLICY["period_days"] * DAY
    named = np.maximum(m.topic, 0)
    result = {"no_consent": without_consent(m.human, m.channel, m.purpose, m.at, consents)}
    result["open_complaint"] = open_at(m.human, m.at, cases.human, cases.at, cases.closed_at)[0] > 0
    here, over = open_at(m.account * topics + named, m.at, deals.account * topics + deals.topic, deals.opened_at, deals.closed_at)
    anywhere = open_at(m.account, m.at, deals.account, deals.opened_at, deals.closed_at)[0]
    result["after_close"] = (m.topic >= 0) & (m.piece_stage >= 0) & (m.piece_stage < 3) & (over > 0) & (here == 0)
    result["over_cap"] = in_window(m.account, m.at, period, counted) > POLICY["max_messages"]
    result["over_preference"] = against_preference(m.human, m.at, m.channel, m.topic, counted, preferences)
    result["duplicate"] = repeated(m.account, m.piece, m.at, counted, period)
    result["wrong_topic"] = (m.topic >= 0) & (anywhere > 0) & (here == 0)
    stage = stage_at(m.account, m.topic, m.at, stages, topics)
    result["wrong_stage"] = (stage >= 0) & (m.piece_stage >= 0) & (m.piece_stage != stage) & (m.piece_stage != stage + 1)
    code = np.full(len(m.at), len(REASONS))
    for number, name in reversed(list(enumerate(REASONS))):
        result[name] &= counted
        code[result[name]] = number
    result["verdict"] = np.where(m.operational, len(REASONS) + 1, code)
    result["stage_at_send"] = stage
    back = np.empty_like(by)
    back[by] = np.arange(len(by))
    return {name: column[back] for name, column in result.items()}


VERDICTS = (*REASONS, "right", "operational")
