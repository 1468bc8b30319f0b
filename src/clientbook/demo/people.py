"""Who are the humans, in which companies and households?

One part of the company (a few ten thousand humans) at a time; households and companies never span two parts.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .calendar import daytime
from .draw import choose, spread, stream
from .names import CULTURE_SHARES, family_names, given_names
from .places import cities, streets
from .world import CHANNELS, DAY, INDUSTRY_SHARES, PERSONA_NAMES, PERSONAS, RECORDS, TOPICS, YEAR

_B2B_SHARE = 0.36
PACE = 2.3
_NUMBERS = 7_900_000
_PERSONA_BY_INDUSTRY = np.array([[3, 6, 0, 1], [9, 1, 0, 0], [1, 1, 8, 0], [1, 0, 0, 9], [2, 6, 0, 2], [6, 4, 0, 0]], dtype=float)
_TOPIC_BY_INDUSTRY = np.array(
    [
        [6, 0.1, 0.1, 1, 1, 1, 1, 1],
        [0.3, 9, 0.1, 1, 0.5, 1, 1, 1],
        [0.1, 0.1, 9, 0.3, 1, 1, 0.5, 0.5],
        [0.2, 0.1, 0.1, 1, 1, 1, 1, 1],
        [6, 0.1, 0.1, 0.5, 1, 1, 0.5, 1],
        [1, 0.5, 0.2, 3, 1, 1, 0.5, 2],
    ]
)


def persona_column(key: str) -> np.ndarray:
    """One setting of all personas, in the order of their codes."""
    return np.array([PERSONAS[name][key] for name in PERSONA_NAMES])


def make_people(seed: int, part: int, size: int, first: int, first_account: int, as_of: int):
    """Draw the accounts and humans of one part.

    Parameters
    ----------
    seed, part : int
        Where chance starts.
    size : int
        Number of humans.
    first, first_account : int
        Global numbers of the first human and the first account.
    as_of : int
        Local seconds since 1970.

    Returns
    -------
    accounts, humans : SimpleNamespace of arrays
        Humans of one account stand beside each other.
    """
    rng = stream(seed, part, "people")
    companies = _sizes(rng, round(size * _B2B_SHARE), _COMPANY_SIZES)
    households = _sizes(rng, size - round(size * _B2B_SHARE), _HOUSEHOLD_SIZES)
    account = _accounts(rng, companies, households, first_account)
    human = SimpleNamespace(n=size, number=first + np.arange(size))
    human.account, human.place = spread(account.members)
    human.b2b = account.company[human.account]
    _personas(rng, account, human)
    _identity(rng, account, human, as_of)
    _addresses(rng, account, human, as_of, seed)
    _habits(rng, account, human, as_of)
    return account, human


_COMPANY_SIZES = (
    np.array([1, 2, 3, 4, 5, 6, 8, 12, 20, 35]),
    np.array([0.30, 0.27, 0.15, 0.09, 0.06, 0.05, 0.04, 0.025, 0.01, 0.005]),
)
_HOUSEHOLD_SIZES = (np.array([1, 2, 3, 4]), np.array([0.52, 0.29, 0.12, 0.07]))


def _sizes(rng, total, law):
    sizes = law[0][choose(rng, law[1], max(total, 1))]
    upto = np.cumsum(sizes)
    last = int(np.searchsorted(upto, total))
    sizes = sizes[: last + 1].copy()
    sizes[-1] -= upto[last] - total
    return sizes[sizes > 0]


def _accounts(rng, companies, households, first):
    count = len(companies) + len(households)
    account = SimpleNamespace(n=count, number=first + np.arange(count), members=np.concatenate([companies, households]))
    account.company = np.arange(count) < len(companies)
    account.start = np.cumsum(account.members) - account.members
    account.industry = np.where(account.company, choose(rng, np.array(INDUSTRY_SHARES), count), -1)
    place = cities()
    account.city = choose(rng, place["weight"], count)
    account.street, account.house = rng.integers(0, len(streets()), count), rng.integers(1, 140, count)
    account.name_word = rng.integers(0, 1_000_000, count)
    account.legal = choose(rng, np.array([0.45, 0.12, 0.13, 0.12, 0.05, 0.13]), count)
    account.parent = np.full(count, -1)
    chained = np.flatnonzero(account.company & (rng.random(count) < 0.06))
    account.parent[chained] = rng.integers(0, max(len(companies), 1), len(chained))
    account.parent[account.parent == np.arange(count)] = -1
    account.taste = rng.gamma(0.5, 1.0, (count, len(TOPICS))) + 0.02
    return account


def _personas(rng, account, human):
    shares, b2b = persona_column("share"), persona_column("b2b") == 1
    human.persona = 4 + choose(rng, shares[~b2b], human.n)
    office = np.flatnonzero(human.b2b)
    human.persona[office] = choose(rng, _PERSONA_BY_INDUSTRY[account.industry[human.account[office]]])
    human.role = np.where(human.b2b, choose(rng, np.array([0.15, 0.30, 0.15, 0.17, 0.17, 0.06]), human.n), -1)
    liked = persona_column("topics")[human.persona] * account.taste[human.account]
    liked[office] *= _TOPIC_BY_INDUSTRY[account.industry[human.account[office]]]
    liked += 1e-6
    human.likes = liked / liked.sum(axis=1, keepdims=True)


def _identity(rng, account, human, as_of):
    given, family = given_names(), family_names()
    n, place = human.n, human.place
    head = account.start[human.account]
    culture = choose(rng, np.array(CULTURE_SHARES), n)
    human.culture = np.where(human.b2b | (rng.random(n) < 0.05), culture, culture[head])
    human.sex = (rng.random(n) < 0.52).astype(int)
    second = ~human.b2b & (place == 1) & (rng.random(n) < 0.8)
    human.sex[second] = 1 - human.sex[head[second]]
    human.given = _draw_name(rng, given, human.culture, human.sex)
    human.family_base = _draw_place(rng, family, human.culture)
    kin = ~human.b2b & (place > 0) & (rng.random(n) < 0.82) & (human.culture == human.culture[head])
    human.family_base[kin] = human.family_base[head[kin]]
    age = np.clip(rng.normal(persona_column("age")[human.persona], 11), 18, 91)
    human.birth = ((as_of - age * 365.2425 * DAY) // DAY).astype(np.int64)
    partner = ~human.b2b & (place == 1)
    human.birth[partner] = human.birth[head[partner]] + rng.integers(-2500, 2500, partner.sum())
    child = ~human.b2b & (place > 1)
    human.birth[child] = human.birth[head[child]] + rng.integers(8000, 11500, child.sum())
    human.birth = np.minimum(human.birth, as_of // DAY - 17 * 365)
    _kin_with_one_face(rng, account, human, as_of)
    human.family = _family_code(family, human.culture, human.sex, human.family_base)
    changed = (rng.random(n) < RECORDS["name_changed"]) & (human.place < 2)
    human.maiden = np.where(changed, _family_code(family, human.culture, human.sex, _draw_place(rng, family, human.culture)), -1)
    human.double = changed & (rng.random(n) < RECORDS["double_name"])
    human.changed_at = as_of - rng.integers(0, 3 * YEAR, n)
    human.traditional = (human.culture == 6) & (rng.random(n) < RECORDS["traditional"])


def _kin_with_one_face(rng, account, human, as_of):
    """Twins, and a father and son of one name: what tells them apart is little."""
    pair = account.start[(~account.company) & (account.members >= 2)]
    twin = pair[rng.random(len(pair)) < RECORDS["twins"]]
    human.birth[twin + 1] = human.birth[twin]
    human.sex[twin + 1] = human.sex[twin]
    human.culture[twin + 1] = human.culture[twin]
    human.family_base[twin + 1] = human.family_base[twin]
    same = human.given[twin + 1] == human.given[twin]
    given = given_names()
    human.given[twin + 1] = np.where(same, _draw_name(rng, given, human.culture[twin], human.sex[twin]), human.given[twin + 1])
    human.given[twin + 1] = _other_name(given, human.culture[twin], human.sex[twin], human.given[twin + 1], human.given[twin])
    rest = np.setdiff1d(pair, twin)
    namesake = rest[rng.random(len(rest)) < RECORDS["same_name_parent"]]
    for column in (human.sex, human.culture, human.family_base, human.given):
        column[namesake + 1] = column[namesake]
    human.birth[namesake + 1] = human.birth[namesake] + rng.integers(8000, 11500, len(namesake))
    human.birth = np.minimum(human.birth, as_of // DAY - 17 * 365)
    human.twin = np.zeros(human.n, bool)
    human.namesake = np.zeros(human.n, bool)
    human.twin[np.concatenate([twin, twin + 1])] = True
    human.namesake[np.concatenate([namesake, namesake + 1])] = True


def _zipf(rng, sizes):
    """Common names are common: a place in a list, near its beginning more often."""
    return np.minimum((sizes * rng.random(len(sizes)) ** 1.6).astype(np.int64), sizes - 1)


def _draw_name(rng, names, culture, sex):
    start, size = _pool(names, culture, sex)
    return start + _zipf(rng, size)


def _other_name(names, culture, sex, code, taken):
    start, size = _pool(names, culture, sex)
    return np.where(code == taken, start + (code - start + 1) % size, code)


def _pool(names, culture, sex):
    table = np.array([[names.pools[c, s] for s in (0, 1)] for c in range(7)])
    return table[culture, sex, 0], table[culture, sex, 1]


def _draw_place(rng, family, culture):
    return _zipf(rng, _pool(family, culture, np.zeros_like(culture))[1])


def _family_code(family, culture, sex, base):
    start, size = _pool(family, culture, sex)
    return start + base % size


def _addresses(rng, account, human, as_of, seed):
    n, own = human.n, human.account
    home = human.b2b
    place = cities()
    human.city = np.where(
        home, np.where(rng.random(n) < 0.7, account.city[own], choose(rng, place["weight"], n)), account.city[own]
    )
    human.street = np.where(home, rng.integers(0, len(streets()), n), account.street[own])
    human.house = np.where(home, rng.integers(1, 140, n), account.house[own])
    moves = rng.random(account.n) < RECORDS["moved"]
    human.moved_at = np.where(moves[own] & ~home, as_of - rng.integers(30 * DAY, 3 * YEAR, account.n)[own], 0)
    human.old_city = np.where(rng.random(account.n) < 0.6, account.city, choose(rng, place["weight"], account.n))[own]
    human.old_street = rng.integers(0, len(streets()), account.n)[own]
    human.old_house = rng.integers(1, 140, account.n)[own]
    # one number for each human, however many there are
    human.mobile = (human.number * 4_999_999 + int(stream(seed, 0, "phones").integers(_NUMBERS))) % _NUMBERS
    human.mobile_code = rng.integers(0, 6, n)
    human.landline = rng.integers(100_000, 9_999_999, account.n)[own]
    human.mail_style, human.provider = (
        rng.integers(0, 5, n),
        choose(rng, np.array([0.3, 0.22, 0.2, 0.1, 0.08, 0.05, 0.03, 0.02]), n),
    )


def _habits(rng, account, human, as_of):
    n, person = human.n, human.persona
    correlation = np.where(human.b2b, 0.45, -0.3)
    pace, taste = rng.standard_normal(n), rng.standard_normal(n)
    faster = 1.15 * persona_column("spread")[person] * pace
    human.rate = PACE * persona_column("rate")[person] * np.exp(faster)
    human.rate = np.minimum(human.rate, 60.0)
    human.shape = persona_column("shape")[person]
    human.season = persona_column("season")[person]
    worth = correlation * pace + np.sqrt(1 - correlation**2) * taste
    human.pieces = np.exp(persona_column("quantity")[person] + 0.45 * worth)
    wholesale = human.b2b & (rng.random(n) < 0.006)
    human.pieces[wholesale] *= rng.uniform(6, 25, wholesale.sum())
    human.pieces -= np.where(human.b2b, 0.0, 0.75)
    human.pieces = np.maximum(human.pieces, 0.02)
    human.wholesale = wholesale
    human.lines = 1.1 * persona_column("lines")[person] * rng.uniform(0.8, 1.2, n)
    human.tier = np.clip(np.round(persona_column("tier")[person] + 0.6 * worth), 0, 3).astype(int)
    mean = persona_column("returns")[person]
    human.returns = rng.beta(mean * 12, (1 - mean) * 12)
    human.discount = np.where(human.b2b, 0.05, np.where(person == 5, 0.14, 0.04)) * rng.uniform(0.5, 1.5, n)
    human.buys = rng.random(n) < persona_column("buys")[person]
    # who buys often is not as quickly lost by one order
    human.quit = persona_column("quit")[person] - 0.3 - 0.5 * faster + 0.5 * rng.standard_normal(n)
    human.life = persona_column("life")[person] * YEAR
    human.found_at = as_of - 1 - (4 * YEAR * rng.random(n) ** 1.15).astype(np.int64)
    human.found_at = daytime(human.found_at)
    human.mix = persona_column("mix")[person] * rng.gamma(2.0, 0.5, (n, 3)) + 1e-9
    # who is known where, apart from what buying brings: crm, shop, pos, callcentre, newsletter
    known = np.where(human.b2b[:, None], [0.88, 0.25, 0.02, 0.2, 0.72], [0.07, 0.42, 0.12, 0.14, 0.66])
    human.known = rng.random((n, 5)) < known
    human.private_too = human.b2b & (rng.random(n) < RECORDS["private_shopper"])
    human.activity = rng.gamma(1.2, 1 / 1.2, n) + 0.05
    human.reach = np.round(np.exp(rng.normal(4.2, 1.3, n))).astype(np.int64)
    human.best_hour = np.clip(np.round(rng.normal(np.where(human.b2b, 10.5, 19.0), 2.4, n)), 7, 22).astype(int)
    human.best_day = np.where(human.b2b, rng.integers(0, 5, n), rng.integers(0, 7, n))
    human.open_logit = rng.normal(-1.35, 0.8, n)[:, None] + rng.normal([0.25, 0.1, -0.9, 0.3], 0.6, (n, len(CHANNELS)))
    human.night = persona_column("night")[person]
    human.devices = 1 + (rng.random(n) < 0.5) + (rng.random(n) < 0.12)
    human.first_device = (rng.random(n) < np.where(human.b2b, 0.25, 0.65)).astype(int)
    human.resets_at = np.where(rng.random(n) < 0.25, as_of - rng.integers(0, 3 * YEAR, n), np.iinfo(np.int64).max)
