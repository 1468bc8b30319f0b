"""What have they allowed, and what would they like?"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .calendar import settled
from .draw import choose, stream
from .world import DAY, RECORDS, TOPICS, YEAR

PURPOSES = ("marketing", "profiling", "surveys", "service")
STATUSES = ("given", "refused", "withdrawn", "expired", "unknown")
GIVEN, REFUSED, WITHDRAWN, EXPIRED, UNKNOWN = range(5)


def make_consents(seed: int, part: int, rows: SimpleNamespace, as_of: int) -> SimpleNamespace:
    """Indications of each newsletter record: row, purpose, channel (-1: all), status, at, valid_to (0: none)."""
    rng = stream(seed, part, "consents")
    n, made = rows.n, rows.created_at
    found = []

    def say(who, purpose, channel, status, at, valid_to=0):
        who = np.asarray(who)
        full = [np.broadcast_to(np.asarray(value), who.shape) for value in (purpose, channel, status, at, valid_to)]
        found.append((who, *full))

    everybody = np.arange(n)
    kind = choose(rng, np.array([RECORDS["no_consent_record"], 0.76, 0.06, 0.09]), n)
    # a second record's owner has often said something else under the first
    kind = np.where(rows.copy & (rng.random(n) < 0.3), 2, kind)
    narrow = (kind == 1) & (rng.random(n) < 0.22)
    runs_out = np.where(rng.random(n) < 0.1, made + 2 * YEAR, 0)
    wide = everybody[(kind == 1) & ~narrow]
    say(wide, 0, -1, GIVEN, made[wide], runs_out[wide])
    some = everybody[narrow]
    say(some, 0, 0, GIVEN, made[some], runs_out[some])
    for channel, status in (
        (1, choose(rng, np.array([0.3, 0.6, 0, 0, 0.1]), len(some))),
        (2, choose(rng, np.array([0.7, 0.3]), len(some))),
        (3, choose(rng, np.array([0.2, 0.7, 0, 0, 0.1]), len(some))),
    ):
        say(some, 0, channel, status, made[some])
    say(everybody[kind == 2], 0, -1, REFUSED, made[kind == 2])
    say(everybody[kind == 3], 0, -1, UNKNOWN, made[kind == 3])
    for purpose, share in ((1, 0.5), (2, 0.35)):
        who = everybody[(kind > 0) & (rng.random(n) < share)]
        say(who, purpose, -1, choose(rng, np.array([0.7, 0.3]), len(who)), made[who])
    leaves = everybody[(kind == 1) & (rng.random(n) < 0.07)]
    gone = made[leaves] + ((as_of - 3600 - made[leaves]) * rng.random(len(leaves))).astype(np.int64)
    say(leaves, 0, -1, WITHDRAWN, gone)
    back = rng.random(len(leaves)) < 0.25
    quick = rng.random(len(leaves)) < 0.3
    again = np.minimum(
        gone + np.where(quick, rng.integers(5, 60, len(leaves)), (DAY * rng.exponential(60, len(leaves))).astype(np.int64)),
        as_of - 60,
    )
    say(leaves[back], 0, -1, GIVEN, again[back])
    torn = everybody[(kind == 1) & (rng.random(n) < 0.01)]
    at = made[torn] + ((as_of - 3600 - made[torn]) * rng.random(len(torn))).astype(np.int64)
    say(torn, 0, -1, GIVEN, at)
    say(torn, 0, -1, WITHDRAWN, at)
    row, purpose, channel, status, at, valid_to = (
        np.concatenate(column).astype(np.int64) for column in zip(*found, strict=False)
    )
    by = np.lexsort((np.arange(len(row)), at))
    return SimpleNamespace(
        row=row[by],
        purpose=purpose[by],
        channel=channel[by],
        status=status[by],
        at=settled(at[by]),
        valid_to=settled(valid_to[by]),
    )


def make_preferences(seed: int, part: int, rows: SimpleNamespace, human: SimpleNamespace, as_of: int) -> SimpleNamespace:
    """Statements: row, at, channel, topic, weekday, hour, most, period (-1: not stated)."""
    rng = stream(seed, part, "preferences")
    speakers = np.flatnonzero(rng.random(rows.n) < 0.11)
    speakers = np.concatenate([speakers, speakers[rng.random(len(speakers)) < 0.15]])
    at = rows.created_at[speakers] + ((as_of - 3600 - rows.created_at[speakers]) * rng.random(len(speakers))).astype(np.int64)
    lines = np.where(rng.random(len(speakers)) < 0.4, 2, 1)
    of = np.repeat(np.arange(len(speakers)), lines)
    second = np.diff(of, prepend=-1) == 0
    n = len(of)
    who = rows.human[speakers[of]]
    # a second line of one statement names a second topic, so both name one
    names_topic = (np.repeat(rng.random(len(speakers)) < 0.6, lines)) | (lines[of] == 2)
    likes = choose(rng, human.likes[who] + 0.05)
    likes = np.where(second, (np.roll(likes, 1) + 1 + rng.integers(0, len(TOPICS) - 1, n)) % len(TOPICS), likes)
    stated = SimpleNamespace(row=speakers[of], at=settled(at[of]), topic=np.where(names_topic, likes, -1))
    stated.channel = np.where(~second & (rng.random(n) < 0.45), choose(rng, np.array([0.8, 0.05, 0.1, 0.05]), n), -1)
    timed = ~second & (rng.random(n) < 0.3)
    stated.weekday, stated.hour = np.where(timed, human.best_day[who], -1), np.where(timed, human.best_hour[who], -1)
    often = ~second & (rng.random(n) < 0.35)
    stated.most, stated.period = np.where(often, rng.integers(1, 5, n), -1), np.where(often, 30, -1)
    by = np.lexsort((np.arange(n), stated.at))
    for name, column in vars(stated).items():
        setattr(stated, name, column[by])
    return stated


def allow_everything(consents: SimpleNamespace, rows, human, account: int) -> SimpleNamespace:
    """The planted company has allowed what it gets: what is wrong there is something else."""
    mine = human.account[rows.human[consents.row]] == account
    keep = SimpleNamespace(**{name: column[~mine] for name, column in vars(consents).items()})
    members = np.flatnonzero(human.account[rows.human] == account)
    size = len(members)
    extra = dict(
        row=members,
        purpose=np.zeros(size, int),
        channel=np.full(size, -1),
        status=np.full(size, GIVEN),
        at=rows.created_at[members],
        valid_to=np.zeros(size, int),
    )
    joined = SimpleNamespace(**{name: np.concatenate([getattr(keep, name), extra[name]]) for name in extra})
    by = np.lexsort((np.arange(len(joined.at)), joined.at))
    return SimpleNamespace(**{name: column[by] for name, column in vars(joined).items()})


def say_nothing(stated: SimpleNamespace, rows, human, account: int) -> SimpleNamespace:
    """The planted company has stated no wishes."""
    keep = human.account[rows.human[stated.row]] != account
    return SimpleNamespace(**{name: column[keep] for name, column in vars(stated).items()})
