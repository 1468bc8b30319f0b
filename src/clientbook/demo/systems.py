"""How does each system write its people down, in its own columns, with its own dirt?"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .draw import stream
from .places import cities
from .records import spell
from .spoil import Spoiler
from .text import digits, either, ids, join, letters, only, pick, same, stamp, words
from .world import DAY, PERSONA_NAMES, RECORDS, SPOIL

_INDUSTRY_LABELS = ("Hotellerie", "Luftfahrt", "Bildung", "Einzelhandel", "Gastronomie", "Dienstleistung")


def spoil_people(seed: int, part: int, row: SimpleNamespace) -> Spoiler:
    """Spoil a source's text columns in place; every spoiled cell is in the returned log."""
    rng = stream(seed, part, "spoil " + row.source)
    dirt = Spoiler(rng, row.source, "people", row.key)
    latin = row.script == 0
    _swap(rng, row, dirt, latin)
    whole = row.source in ("pos", "callcentre")
    for name in ("given_name", "family_name"):
        column = getattr(row, name)
        long = np.asarray(pc.fill_null(pc.greater(pc.utf8_length(column), 3), False)) & latin
        kinds = [
            ("typo", long),
            ("phonetic", long),
            ("ocr", long),
            ("case", latin),
            ("blanks", None),
            ("placeholder", None),
        ]
        if name == "given_name":
            kinds[:0] = [("nickname", latin), ("initial", latin), ("title", latin)]
        if not whole:
            kinds.append(("full_width", latin & plain(column)))
        for kind, able in kinds:
            if not (whole and kind in ("blanks", "placeholder", "title", "case")):
                column = dirt.spoil(column, name, kind, able)
        setattr(row, name, column)
    if whole:
        by = ", " if row.source == "pos" else " "
        parts = (row.family_name, row.given_name) if row.source == "pos" else (row.given_name, row.family_name)
        row.full_name = join(*parts, by=by)
        for kind in ("blanks", "case", "placeholder"):
            row.full_name = dirt.spoil(row.full_name, "full_name", kind, np.asarray(_untouched(dirt, row.n)))
    for kind in ("email_case", "email_typo", "plus_address", "placeholder"):
        row.email = dirt.spoil(row.email, "email", kind)
    for kind in ("phone_typo", "phone_old_format", "placeholder"):
        row.phone = dirt.spoil(row.phone, "phone", kind)
    for kind in ("date_typo", "date_placeholder"):
        row.birth_date = dirt.spoil(row.birth_date, "birth_date", kind)
    row.street = dirt.spoil(
        row.street,
        "street",
        "street_abbreviated",
        np.asarray(pc.fill_null(pc.match_substring(row.street, "straße"), False)),
    )
    row.street = dirt.spoil(row.street, "street", "typo")
    row.company = dirt.spoil(row.company_true, "company", "placeholder")
    name, legal = row.company_parts
    free = ~dirt.touched["company"] & np.asarray(pc.is_valid(row.company))
    dirt.chances["company", "company_spelling"] = int(free.sum())
    rows = np.flatnonzero(free & (rng.random(row.n) < SPOIL["company_spelling"]))
    if len(rows):
        at = pa.array(rows)
        new = spell(rng, name.take(at), legal.take(at), np.ones(len(rows), bool))
        row.company = dirt.note(row.company, "company", "company_spelling", rows, row.company.take(at), new)
    return dirt


def _untouched(dirt, n):
    """A full name made of a spoiled part is not spoiled once more."""
    return ~(dirt.touched.get("given_name", np.zeros(n, bool)) | dirt.touched.get("family_name", np.zeros(n, bool)))


def _swap(rng, row, dirt, latin):
    able = latin & np.asarray(pc.and_(pc.is_valid(row.given_name), pc.is_valid(row.family_name)))
    for name in ("given_name", "family_name"):
        dirt.chances[name, "swapped_names"] = int(able.sum())
    rows = np.flatnonzero(able & (rng.random(row.n) < SPOIL["swapped_names"]))
    given, family = row.given_name.take(pa.array(rows)), row.family_name.take(pa.array(rows))
    row.given_name = dirt.note(row.given_name, "given_name", "swapped_names", rows, given, family)
    row.family_name = dirt.note(row.family_name, "family_name", "swapped_names", rows, family, given)


def plain(column: pa.Array) -> np.ndarray:
    """Is the text ASCII?"""
    return np.asarray(pc.fill_null(pc.string_is_ascii(column), False))


_FOLD = np.arange(0x3000, dtype=np.uint32)
for _from, _to in (
    ("ćčč", "c"),
    ("ŁŁ", "L"),
    ("łĺ", "l"),
    ("śşšș", "s"),
    ("ŚŞŠȘ", "S"),
    ("źżž", "z"),
    ("ŹŻŽ", "Z"),
    ("ńňņ", "n"),
    ("ęěē", "e"),
    ("ąăā", "a"),
    ("ğ", "g"),
    ("Ğ", "G"),
    ("ı", "i"),
    ("İ", "I"),
    ("ő", "ö"),
    ("ű", "ü"),
    ("řŕ", "r"),
    ("ŘŔ", "R"),
    ("ťț", "t"),
    ("ďđ", "d"),
    ("ůū", "u"),
    ("ČĆ", "C"),
    ("ō", "o"),
):
    for _letter in _from:
        _FOLD[ord(_letter)] = ord(_to)


def narrowed(column: pa.Array) -> pa.Array:
    """What a system of the nineties keeps of a text: the letters of Latin-1, the others without their marks."""
    wide = np.asarray(pc.fill_null(pc.match_substring_regex(column, "[^\\x{00}-\\x{FF}]"), False))
    if not wide.any():
        return column
    matrix = letters(column.filter(pa.array(wide)))
    matrix = np.where(matrix < 0x3000, _FOLD[np.minimum(matrix, 0x2FFF)], 63)
    matrix = np.where(matrix > 255, 63, matrix)
    return pc.replace_with_mask(column, pa.array(wide), words(matrix))


def deliver_people(
    seed: int, part: int, account, human, row: SimpleNamespace, crm_key: pa.Array | None, loyalty: pa.Array | None
) -> pa.Table:
    """The source's own table.

    Parameters
    ----------
    seed, part : int
        Of the random stream.
    account, human, row : SimpleNamespace
        Who they are, and the records to write.
    crm_key : pa.Array
        For the CRM: the account's number as each record has it.
    loyalty : pa.Array
        For the shop: the loyalty card that the person has typed in.
    """
    rng = stream(seed, part, "deliver " + row.source)
    n, who = row.n, row.human
    changed = row.created_at + (rng.random(n) * 200 * DAY).astype(np.int64)
    changed = np.minimum(changed, human.as_of - 3600)
    if row.source == "crm":
        tag = pick(
            PERSONA_NAMES,
            np.where(rng.random(n) < 0.7, human.persona[who], np.where(rng.random(n) < 0.5, rng.integers(0, 8, n), -1)),
        )
        return pa.table(
            {
                "Kontakt_ID": row.key,
                "Anrede": pick(("Herr", "Frau"), np.where(rng.random(n) < 0.9, human.sex[who], -1)),
                "Vorname": row.given_name,
                "Nachname": row.family_name,
                "E_Mail": row.email,
                "Telefon": row.phone,
                "Geburtstag": row.birth_date,
                "Firma": row.company,
                "Position": row.job_title,
                "Konto_Nr": crm_key,
                "Branche": pick(_INDUSTRY_LABELS, np.where(row.office, account.industry[human.account[who]], -1)),
                "Persona": tag,
                "Strasse": row.street,
                "PLZ": row.postcode,
                "Ort": row.city,
                "Bundesland": row.region,
                "Land": row.country,
                "Follower": pa.array(human.reach[who], mask=rng.random(n) > 0.3),
                "Betreuer": pick(("M. Kern", "S. Vogt", "A. Lindner", "T. Brandl", "n. z."), rng.integers(0, 5, n)),
                "Sprache": pick(("de", "de", "en", "fr"), rng.integers(0, 4, n)),
                "angelegt_am": stamp(row.created_at),
                "geaendert_am": stamp(changed),
            }
        )
    if row.source == "shop":
        return pa.table(
            {
                "customer_no": row.key,
                "first_name": row.given_name,
                "last_name": row.family_name,
                "cust_mail": row.email,
                "mobile": row.phone,
                "dob": row.birth_date,
                "company_name": row.company,
                "street_line": row.street,
                "zip": row.postcode,
                "town": row.city,
                "country_code": row.country,
                "loyalty_card": loyalty,
                "signup_channel": pick(("web", "app", "guest"), rng.integers(0, 3, n)),
                "lang": pick(("de", "en"), rng.integers(0, 2, n)),
                "created": stamp(row.created_at),
                "last_change": stamp(changed),
            }
        )
    if row.source == "pos":
        return pa.table(
            {
                "KartenNr": row.key,
                "Name": narrowed(row.full_name),
                "GebDat": german_date(row.birth_date),
                "Tel": row.phone,
                "EMail": row.email,
                "Str": row.street,
                "Plz": row.postcode,
                "Ort": row.city,
                "Filiale": pick(("Hamburg", "München", "Berlin", "Köln", "Zürich"), rng.integers(0, 5, n)),
                "Ausgestellt": stamp(row.created_at, "%d.%m.%Y %H:%M"),
            }
        )
    if row.source == "callcentre":
        return pa.table(
            {
                "AnruferNr": row.key,
                "Anrufer": narrowed(row.full_name),
                "Rufnummer": row.phone,
                "Mail": row.email,
                "Firma": row.company,
                "PLZ": row.postcode,
                "Ort": row.city,
                "Notiz": pick(
                    ("Rückruf gewünscht", "VIP", "bitte nur vormittags"),
                    np.where(rng.random(n) < 0.08, rng.integers(0, 3, n), -1),
                ),
                "erfasst": stamp(row.created_at, "%d.%m.%Y %H:%M"),
            }
        )
    return pa.table(
        {
            "subscriber": row.key,
            "mail": row.email,
            "firstName": row.given_name,
            "lastName": row.family_name,
            "org": only(row.company, rng.random(n) < 0.5),
            "followers": pa.array(human.reach[who], mask=rng.random(n) > 0.25),
            "list": pick(("main", "events", "fabric club"), rng.integers(0, 3, n)),
            "subscribed": stamp(row.created_at),
        }
    )


def german_date(column: pa.Array) -> pa.Array:
    """2001-12-31 as 31.12.2001."""
    year, month, day = (pc.list_element(pc.split_pattern(column, "-"), i) for i in range(3))
    return join(day, month, year, by=".")


def crm_accounts(
    seed: int, part: int, account: SimpleNamespace, human: SimpleNamespace, row: SimpleNamespace
) -> tuple[pa.Table, pa.Table, pa.Array]:
    """The CRM's accounts, some of them twice, and which account number each contact carries.

    Returns
    -------
    delivered, truth, of_contact
    """
    rng = stream(seed, part, "crm accounts")
    name, legal, domain = account.words
    firms = np.unique(human.account[row.human[row.office]])
    again = firms[(rng.random(len(firms)) < RECORDS["account_duplicate"]) & (account.members[firms] > 0)]
    who = np.concatenate([firms, again])
    copy = np.arange(len(who)) >= len(firms)
    key = ids("F", account.number[who] * 2 + copy, 11)
    at = pa.array(who)
    full = pc.utf8_rtrim_whitespace(join(name.take(at), legal.take(at), by=" "))
    odd = copy | (rng.random(len(who)) < 0.3)
    written = either(odd, spell(rng, name.take(at), legal.take(at), np.ones(len(who), bool)), full)
    place = cities()
    parent = account.parent[who]
    has_parent = np.isin(parent, firms)
    delivered = pa.table(
        {
            "Konto_Nr": key,
            "Kontoname": written,
            "Webseite": only(domain.take(at), rng.random(len(who)) < 0.8),
            "Branche": pick(_INDUSTRY_LABELS, account.industry[who]),
            "Bundesland": pick(place["region"], account.city[who]),
            "Land": pick(place["country"], account.city[who]),
            "Konzern_Nr": only(ids("F", account.number[np.maximum(parent, 0)] * 2, 11), has_parent),
            "ABC": pick(("A", "B", "C"), rng.integers(0, 3, len(who))),
        }
    )
    shuffle = pa.array(rng.permutation(len(who)))
    delivered = delivered.take(shuffle)
    truth = pa.table(
        {
            "source": same("crm", len(who)),
            "source_account_id": key,
            "account_id": pick_account(account, who),
            "delivered_name": written,
            "true_name": full,
        }
    )
    second = np.full(account.n, -1)
    second[again] = np.flatnonzero(copy)
    first = np.full(account.n, -1)
    first[firms] = np.arange(len(firms))
    own = human.account[row.human]
    use = np.where((second[own] >= 0) & (rng.random(row.n) < 0.4), second[own], first[own])
    of_contact = key.take(pa.array(np.where(row.office, use, 0), mask=~row.office))
    account.crm_row, account.crm_key = first, key
    return delivered, truth, of_contact


def pick_account(account: SimpleNamespace, rows: np.ndarray) -> pa.Array:
    """The true id: a- for companies, h- for households."""
    return join(either(account.company[rows], same("a-", len(rows)), same("h-", len(rows))), digits(account.number[rows], 7))
