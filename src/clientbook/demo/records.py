"""What does each system hold about a human?

A record is a human as one source once wrote them down: with the name, address and number of that day, the
script that its software could hold, and the gaps of its form. Spoiling comes after.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .calendar import daytime
from .draw import stream
from .names import family_names, given_names
from .places import COMPANY_KINDS, FREE_MAIL, LEGAL_FORMS, cities, house_names, streets
from .text import capitals, digits, either, ids, join, only, pick
from .world import DAY, RECORDS

SOURCES = ("crm", "shop", "pos", "callcentre", "newsletter")
PREFIX = {"crm": "K-", "shop": "", "pos": "29", "callcentre": "A", "newsletter": "nl-"}
_NARROW = ("pos", "callcentre")
_MOBILE = (
    ("+49", "151", 8),
    ("+49", "160", 7),
    ("+49", "170", 7),
    ("+49", "171", 7),
    ("+49", "176", 8),
    ("+49", "172", 7),
)
_TITLES_OF_ROLE = (
    ("Assistenz der Geschäftsleitung", "Projektleitung"),
    ("Hausdame", "Schichtleitung", "Sekretariat"),
    ("F&B Manager", "Stilberaterin"),
    ("Geschäftsführer", "Inhaberin", "Direktor"),
    ("Einkauf", "Leiter Einkauf", "Purchasing Manager"),
    ("Empfang", "Office Manager"),
)


def company_names(account: SimpleNamespace) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Name without legal form, legal form, and domain of each account (nothing for households)."""
    place, family, houses = cities(), family_names(), house_names()
    owners = family.latin[slice(*np.cumsum(family.pools[0, 0]))]
    sights = (
        "",
        "",
        "",
        " am See",
        " am Markt",
        " am Park",
        " an der Oper",
        " am Dom",
        " im Tal",
        " am Tor",
        " am Kai",
        " Altstadt",
    )
    words = np.array([word + sight for base in (houses, owners) for sight in sights for word in base], dtype=object)
    named = len(houses) * len(sights)
    drawn = account.name_word // 10
    word = np.where(account.name_word % 10 < 3, drawn % named, named + drawn % (len(words) - named))
    name = join(pick(COMPANY_KINDS, account.industry), pick(words, word), pick(place["city"], account.city), by=" ")
    _, first = np.unique(account.industry * 10_000_000 + word * 100 + account.city, return_index=True)
    name = either(np.isin(np.arange(account.n), first), name, join(name, " II"))
    plain = pc.utf8_lower(name)
    for old, new in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), (" ", "-"), (".", "")):
        plain = pc.replace_substring(plain, old, new)
    # names repeat across a large country, domains do not
    plain = either(account.number < 12_000, plain, join(plain, digits(account.number // 12_000), by="-"))
    domain = join(plain, ".de")
    return name, pick(LEGAL_FORMS, np.where(account.company, account.legal, -1)), only(domain, account.company)


def spell(rng, name: pa.Array, legal: pa.Array, able: np.ndarray) -> pa.Array:
    """The five ways in which a company's name gets written."""
    kind = rng.integers(0, 5, len(name))
    short = pc.replace_substring(
        pc.replace_substring(pc.replace_substring(name, "Hotel ", "Htl. "), "Restaurant ", "Rest. "),
        "Boutique ",
        "Btq. ",
    )
    ways = [
        name,
        capitals(name),
        short,
        join(name, pc.replace_substring(legal, " & ", " und "), by=", "),
        pc.replace_substring(join(name, legal, by=" "), " ", "  ", max_replacements=1),
    ]
    full = pc.utf8_rtrim_whitespace(join(name, legal, by=" "))
    result = full
    for number, way in enumerate(ways):
        result = either(able & (kind == number), way, result)
    return pc.if_else(pc.or_(pc.is_null(result), pc.equal(result, full)), capitals(full), result)


def phones(human: SimpleNamespace, shared: np.ndarray) -> pa.Array:
    """Mobile numbers, or the household's landline, written +49 170 2345678."""
    place = cities()
    country = place["country"][human.city]
    codes = [("+49", code, size) for _, code, size in _MOBILE] + [("+41", "79", 7), ("+43", "664", 7)]
    code = np.where(country == "CH", 6, np.where(country == "AT", 7, human.mobile_code))
    size = np.array([s for _, _, s in codes])[code]
    number = np.where(size == 8, 20_000_000 + human.mobile * 7, 2_000_000 + human.mobile)
    mobile = join(pick([c for c, _, _ in codes], code), pick([a for _, a, _ in codes], code), digits(number), by=" ")
    prefix = {"DE": "+49", "CH": "+41", "AT": "+43"}
    prefix = pick(np.array([prefix[c] for c in place["country"]], dtype=object), human.city)
    fixed = join(prefix, pick(place["area"], human.city), digits(2_000_000 + human.landline % 7_900_000), by=" ")
    return either(shared, fixed, mobile)


def emails(human: SimpleNamespace, domain: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Private and business addresses."""
    given, family = pick(given_names().ascii, human.given), pick(family_names().ascii, human.family)
    number = digits((human.number * 7919 + 13) % 9973)
    provider = pick(FREE_MAIL, human.provider)
    first = pc.utf8_slice_codeunits(given, 0, 1)
    local = join(given, ".", family, number)
    for style, way in enumerate(
        (
            join(first, ".", family, number),
            join(given, number),
            join(family, ".", given, number),
            join(given, "_", family, number),
        ),
        start=1,
    ):
        local = either(human.mail_style == style, way, local)
    return join(local, "@", provider), join(join(given, ".", family), pc.take(domain, pa.array(human.account)), by="@")


def make_records(seed: int, part: int, account, human, order, source: str, as_of: int) -> SimpleNamespace:
    """The rows of one source's people, before spoiling.

    Returns
    -------
    SimpleNamespace
        human, copy, created_at, key (text); the canonical text columns; and how each was formed (name_form, script,
        address_form, email_kind, phone_kind); row of each human's first record and of the second (-1: none).
    """
    rng = stream(seed, part, "records " + source)
    number = SOURCES.index(source)
    channel = {"crm": 2, "shop": 0, "pos": 1}.get(source)
    present, first_seen = (
        human.known[:, number].copy(),
        human.found_at + (rng.exponential(20, human.n) * DAY).astype(np.int64),
    )
    past = order.at < as_of
    if channel is not None:
        bought = np.full(human.n, np.iinfo(np.int64).max)
        mine = past & (order.channel == channel)
        np.minimum.at(bought, order.human[mine], order.at[mine])
        present |= bought < as_of
        first_seen = np.where(bought < as_of, np.minimum(first_seen, bought - 600), first_seen)
    if source == "callcentre":
        complained = np.unique(order.human[past & (order.complaint > 0)])
        present[complained] = True
    if source == "shop":
        nowhere = ~human.known.any(axis=1) & ~np.isin(np.arange(human.n), order.human[past])
        present |= nowhere & (rng.random(human.n) < 0.6)
    first_seen = np.minimum(first_seen, as_of - 3600)
    twice = present & (rng.random(human.n) < RECORDS.get(source + "_duplicate", 0))
    who = np.concatenate([np.flatnonzero(present), np.flatnonzero(twice)])
    row = SimpleNamespace(source=source, human=who, copy=np.arange(len(who)) >= present.sum())
    row.created_at = np.where(
        row.copy, first_seen[who] + ((as_of - first_seen[who]) * rng.random(len(who))).astype(np.int64), first_seen[who]
    )
    shuffle = rng.permutation(len(who))
    row.human, row.copy, row.created_at = row.human[shuffle], row.copy[shuffle], daytime(row.created_at[shuffle])
    row.n = len(who)
    row.key = ids(PREFIX[source], human.number[row.human] * 2 + row.copy, number + 1)
    row.first, row.second = np.full(human.n, -1), np.full(human.n, -1)
    row.first[row.human[~row.copy]] = np.flatnonzero(~row.copy)
    row.second[row.human[row.copy]] = np.flatnonzero(row.copy)
    row.second_at = np.where(row.second >= 0, row.created_at[row.second], np.iinfo(np.int64).max)
    _names(rng, human, row)
    _contacts(rng, account, human, row)
    return row


def row_of(row: SimpleNamespace, human: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Under which of their records does a human act at that time?"""
    return np.where(at >= row.second_at[human], row.second[human], row.first[human])


def _names(rng, human, row):
    given, family, who = given_names(), family_names(), row.human
    before = (human.maiden[who] >= 0) & (row.created_at < human.changed_at[who])
    double = human.double[who] & ~before
    row.name_form = np.where(before, 1, np.where(double, 2, 0))
    native = np.isin(human.culture[who], (4, 5, 6)) & (rng.random(row.n) < RECORDS["native_script"]) & (row.source not in _NARROW)
    traditional = native & (human.culture[who] == 6) & (human.traditional[who] ^ (rng.random(row.n) < 0.2))
    row.script = np.where(traditional, 2, np.where(native, 1, 0))

    def written(names, code):
        return either(
            row.script == 2,
            pick(names.other, code),
            either(row.script == 1, pick(names.native, code), pick(names.latin, code)),
        )

    current = written(family, human.family[who])
    maiden = written(family, human.maiden[who])
    row.given_name = written(given, human.given[who])
    row.family_name = either(before, maiden, either(double, join(current, maiden, by="-"), current))
    row.true_family = pick(family.latin, human.family[who])


def _contacts(rng, account, human, row):
    who, n = row.human, row.n
    office = human.b2b[who] & ~(human.private_too[who] & (row.source in ("shop", "pos", "newsletter")))
    row.office = office
    name, legal, domain = account.words
    private, business = human.mails
    head = account.start[human.account[who]]
    own = pc.take(either(np.zeros(human.n, bool), private, private), pa.array(who))
    email = either(office, pc.take(business, pa.array(who)), own)
    shared = ~human.b2b[who] & (head != who) & (rng.random(n) < RECORDS["shared_email"])
    mailbox = office & (rng.random(n) < RECORDS["role_mailbox"])
    box = join(
        pick(("info", "einkauf", "office", "rezeption"), rng.integers(0, 4, n) * (rng.random(n) < 0.4)),
        pc.take(domain, pa.array(human.account[who])),
        by="@",
    )
    row.email = either(mailbox, box, either(shared, pc.take(private, pa.array(head)), email))
    row.email_kind = np.where(mailbox, 3, np.where(shared, 2, np.where(office, 1, 0)))
    family_phone = ~human.b2b[who] & (rng.random(n) < RECORDS["shared_phone"])
    row.phone_kind = family_phone.astype(int)
    row.phone = either(family_phone, pc.take(human.fixed, pa.array(who)), pc.take(human.mobiles, pa.array(who)))
    row.birth_date = pc.strftime(pa.array(human.birth[who].astype("datetime64[D]")), "%Y-%m-%d")
    old = (human.moved_at[who] > row.created_at) & (rng.random(n) < 0.75)
    row.address_form = old.astype(int)
    place, company = cities(), office & (row.source in ("crm", "shop", "callcentre"))
    own = human.account[who]
    city = np.where(company, account.city[own], np.where(old, human.old_city[who], human.city[who]))
    street = np.where(company, account.street[own], np.where(old, human.old_street[who], human.street[who]))
    house = np.where(company, account.house[own], np.where(old, human.old_house[who], human.house[who]))
    row.street = join(pick(streets(), street), digits(house), by=" ")
    for column in ("postcode", "city", "region", "country"):
        setattr(row, column, pick(place[column], city))
    row.company_true = only(pc.take(pc.utf8_rtrim_whitespace(join(name, legal, by=" ")), pa.array(own)), office)
    row.company_parts = (only(pc.take(name, pa.array(own)), office), only(pc.take(legal, pa.array(own)), office))
    titles = [title for group in _TITLES_OF_ROLE for title in group]
    offset = np.cumsum([0] + [len(group) for group in _TITLES_OF_ROLE])
    role = np.maximum(human.role[who], 0)
    row.job_title = pick(titles, np.where(office, offset[role] + rng.integers(0, 2, n), -1))
    gap_contact, gap_address, gap_name = rng.random(n), rng.random(n), rng.random(n)
    fill = {
        "crm": (0.82, 0.80, 0.97, 0.2),
        "shop": (0.7, 0.93, 1, 0.75),
        "pos": (0.85, 0.75, 1, 1),
        "callcentre": (0.97, 0.4, 0.94, 0),
        "newsletter": (0, 0, 0.72, 0),
    }[row.source]
    # gaps come together: who gives no number gives no birth date either, and an address is whole or not there
    for column in ("phone", "birth_date"):
        setattr(row, column, only(getattr(row, column), gap_contact < fill[0] * (1 if column == "phone" else fill[3])))
    for column in ("street", "postcode", "city", "region"):
        setattr(row, column, only(getattr(row, column), gap_address < fill[1]))
    for column in ("given_name", "family_name"):
        setattr(row, column, only(getattr(row, column), gap_name < fill[2]))
    mail = {"crm": 0.93, "shop": 1, "pos": 0.35, "callcentre": 0.5, "newsletter": 1}[row.source]
    row.email = only(row.email, rng.random(n) < mail)
