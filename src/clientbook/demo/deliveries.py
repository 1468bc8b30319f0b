"""What else does each system know: pages, calls, deals, tickets, messages, consents?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .calendar import utc
from .campaigns import TYPES
from .care import DEAL_STAGES, REASON_LABELS
from .consents import PURPOSES
from .draw import mixed, stream
from .records import row_of
from .sales import GERMAN
from .text import cents, coded, digits, hexadecimal, ids, join, moment, only, pick, same, stamp
from .world import CHANNELS, DAY, EVENT_NAMES, TEAMS, TOPIC_LABELS, TOPICS

STATUS_LABELS = ("erteilt", "abgelehnt", "widerrufen", "abgelaufen", "unbekannt")


ROLE_LABELS = ("Initiator", "Anwender", "Beeinflusser", "Entscheider", "Einkäufer", "Türöffner")


TOPIC_CODES = ("HOTEL", "AIR", "SCHULE", "MASS", "FEST", "AEND", "STOFF", "ACC")


_CRAWLER = "r0b0t" * 3 + "1"


DEVICES = ("desktop", "mobile", "tablet")


_PIECES = tuple(f"C{i + 100}" for i in range(1000))


_SEARCHES = (
    "uniform hotel",
    "kochjacke",
    "blazer damen",
    "maßanzug preis",
    "brautkleid",
    "stoff leinen",
    "änderung hose",
    "krawatte",
    "schulpullover",
    "crew uniform",
    "lieferzeit",
    "größentabelle",
    "xxl",
    "veganes leder",
    "smoking leihen",
    "kimono",
    "reitkleidung",
    "hemd bügelfrei",
)


def web_events(event, keep: np.ndarray, human, base: int, part: int) -> tuple[pa.Table, np.ndarray]:
    """Page views under cookies, in UTC; and the cookie's number of each."""
    at = np.flatnonzero(keep)
    cookie = human.number[event.human[at]] * 8 + event.cookie[at]
    search = event.name[at] == EVENT_NAMES.index("search")
    words = coded(
        _SEARCHES,
        np.where(search, np.where(event.hits[at] == 0, 12 + event.session[at] % 6, event.session[at] % 14), -1),
    )
    return pa.table(
        {
            "event_id": join("e", digits(base + np.arange(len(at)))),
            "cookie": cookie_id(cookie),
            "ts": moment(utc(event.at[at])),
            "action": coded(EVENT_NAMES, event.name[at]),
            "device": coded(DEVICES, event.device[at]),
            "area": coded(TOPICS, event.told_topic[at]),
            "asset": coded(_PIECES, event.piece[at]),
            "visit": hexadecimal(mixed(event.session[at] + (part << 32), 9)),
            "query": words,
            "hits": pa.array(event.hits[at], mask=event.hits[at] < 0),
        }
    ), cookie


def cookie_id(cookie: np.ndarray) -> pa.Array:
    """What a browser shows."""
    return hexadecimal(mixed(cookie, 3))


def logins(seed: int, part: int, event, keep, human, rows: dict, as_of: int) -> pa.Table:
    """Cookies that signed in to the shop, or came by a link of the newsletter."""
    rng = stream(seed, part, "logins")
    slots = human.n * 6
    slot = event.human[keep] * 6 + event.cookie[keep]
    first, last = np.full(slots, np.iinfo(np.int64).max), np.zeros(slots, np.int64)
    np.minimum.at(first, slot, event.at[keep])
    np.maximum.at(last, slot, event.at[keep])
    seen = np.flatnonzero(last > 0)
    found = []
    for source, share in (("shop", 0.55), ("newsletter", 0.25)):
        row = rows[source]
        some = seen[(row.first[seen // 6] >= 0) & (rng.random(len(seen)) < share)]
        at = first[some] + ((last[some] - first[some]) * rng.random(len(some)) ** 2).astype(np.int64)
        some, at = some[at > row.created_at[row.first[some // 6]]], at[at > row.created_at[row.first[some // 6]]]
        key = row.key.take(pa.array(row_of(row, some // 6, at)))
        found.append(
            pa.table(
                {
                    "cookie": cookie_id(human.number[some // 6] * 8 + some % 6),
                    "known_in": same(source, len(some)),
                    "known_as": key,
                    "ts": moment(utc(at)),
                }
            )
        )
    return pa.concat_tables(found), seen


def messages(message, rows, base: int) -> pa.Table:
    """The sending tool's log."""
    topic_told = (np.arange(len(message.at)) * 7919 % 10) < 7
    return pa.table(
        {
            "message_id": message.key,
            "subscriber": rows.key.take(pa.array(message.row)),
            "sent": moment(message.at),
            "medium": coded(CHANNELS, message.channel),
            "kind": coded(TYPES, message.kind),
            "team": coded(TEAMS, message.team),
            "asset": coded(_PIECES, message.piece),
            "topic": coded(TOPICS, np.where(topic_told, message.topic, -1)),
            "purpose": coded(PURPOSES, message.purpose),
            "transactional": pa.array(message.operational),
            "open_ts": moment(message.opened_at),
            "click_ts": moment(message.clicked_at),
            "reply_ts": moment(message.replied_at),
            "unsub_ts": moment(message.unsubscribed_at),
            "cost_eur": pa.array(np.array([0.002, 0.07, 0.95, 4.2])[message.channel]),
        }
    )


def consents(consent, rows) -> pa.Table:
    """Indications, in German."""
    return pa.table(
        {
            "subscriber": rows.key.take(pa.array(consent.row)),
            "zweck": pick(PURPOSES, consent.purpose),
            "stand": pick(STATUS_LABELS, consent.status),
            "kanal": pick(CHANNELS, consent.channel),
            "am": stamp(consent.at),
            "gueltig_bis": stamp(consent.valid_to),
            "nachweis": pick(("double opt-in", "formular", "telefon"), consent.row % 3),
        }
    )


def preferences(stated, rows) -> pa.Table:
    """Wishes, as the preference page stores them."""
    whole = {
        name: pa.array(getattr(stated, name), mask=getattr(stated, name) < 0) for name in ("weekday", "hour", "most", "period")
    }
    return pa.table(
        {
            "subscriber": rows.key.take(pa.array(stated.row)),
            "saved": stamp(stated.at),
            "medium": pick(CHANNELS, stated.channel),
            "topic": pick(TOPICS, stated.topic),
            # as people number them: 1 is Monday
            "day": pc.add(whole["weekday"], 1),
            "hour": whole["hour"],
            "max_mails": whole["most"],
            "per_days": whole["period"],
        }
    )


def deals(deal, account, rows, base: int) -> tuple[pa.Table, pa.Table]:
    """Opportunities and who is in them."""
    key = ids("O", base + np.arange(deal.n), 21)
    in_crm = account.crm_row[deal.account] >= 0
    own = (
        only(account.crm_key.take(pa.array(np.maximum(account.crm_row[deal.account], 0))), in_crm)
        if len(account.crm_key)
        else pa.nulls(deal.n, pa.string())
    )
    contact = rows.key.take(pa.array(rows.first[deal.contact]))
    table = pa.table(
        {
            "Chance": key,
            "Konto_Nr": own,
            "Kontakt_ID": contact,
            "Thema": pick(TOPIC_LABELS, deal.topic),
            "Phase": pick((*DEAL_STAGES, "Gewonnen", "Verloren"), deal.stage),
            "eroeffnet": stamp(deal.opened_at, GERMAN),
            "abgeschlossen": stamp(deal.closed_at, GERMAN),
            "gewonnen": pick(("nein", "ja"), np.where(deal.closed_at > 0, deal.won.astype(int), -1)),
            "Volumen": cents(deal.amount, True),
        }
    )
    which, who, role = deal.people
    return table, pa.table(
        {
            "Chance": key.take(pa.array(which)),
            "Kontakt_ID": rows.key.take(pa.array(rows.first[who])),
            "Rolle": pick(ROLE_LABELS, role),
        }
    )


def crm_events(event, keep, rows) -> pa.Table:
    """What sales enters by hand."""
    at = np.flatnonzero(keep)
    names = (*EVENT_NAMES, "sample_sent")
    return pa.table(
        {
            "Kontakt_ID": rows.key.take(pa.array(row_of(rows, event.human[at], event.at[at]))),
            "Aktivitaet": pick(names, event.name[at]),
            "Zeitpunkt": stamp(event.at[at], GERMAN),
            "Thema": pick(TOPIC_LABELS, event.told_topic[at]),
        }
    )


def calls(event, keep, rows) -> pa.Table:
    """The telephone system's log."""
    at = np.flatnonzero(keep)
    incoming = event.name[at] == EVENT_NAMES.index("call_in")
    return pa.table(
        {
            "caller": rows.key.take(pa.array(row_of(rows, event.human[at], event.at[at]))),
            "what": pick(("call_out", "call_in"), incoming.astype(int)),
            "started": stamp(event.at[at]),
            "direction": pick(("outbound", "inbound"), incoming.astype(int)),
            "subject": pick(TOPICS, event.told_topic[at]),
            "seconds": pa.array(30 + (event.at[at] * 7919) % 900),
        }
    )


def cases(case, rows, base: int) -> tuple[pa.Table, pa.Table]:
    """Tickets and what people said of them afterwards."""
    key = ids("T", base + np.arange(case.n), 31)
    who = rows.key.take(pa.array(row_of(rows, case.human, case.at)))
    case.key = key
    table = pa.table(
        {
            "Ticket": key,
            "AnruferNr": who,
            "eroeffnet": stamp(case.at, "%d.%m.%Y %H:%M:%S"),
            "geschlossen": stamp(case.closed_at, "%d.%m.%Y %H:%M:%S"),
            "Weg": pick(("Telefon", "E-Mail"), case.at % 2),
            "Grund": pick(REASON_LABELS, case.reason),
            "Notiz": pick(case.texts, case.text),
            "Aufwand": cents(case.cost, True),
        }
    )
    asked = np.flatnonzero(case.scored_at > 0)
    return table, pa.table(
        {
            "AnruferNr": who.take(pa.array(asked)),
            "gefragt": stamp(case.scored_at[asked]),
            "kennzahl": same("csat", len(asked)),
            "wert": pa.array(case.score[asked]),
        }
    )


def robot(table: pa.Table, as_of: int) -> pa.Table:
    """A crawler: thousands of pages by night and day, from one cookie."""
    n = 3000
    at = as_of - 40 * DAY + np.arange(n) * 7
    number = np.arange(n)
    columns = {
        "event_id": join("e", digits(900_000_000_000 + number)),
        "cookie": same(_CRAWLER, n),
        "ts": moment(at),
        "action": pick(("home_page", "product_page", "article_view"), number % 3),
        "device": same("desktop", n),
        "area": pick(TOPICS, number % 8),
        "asset": pa.nulls(n, pa.string()),
        "visit": same(_CRAWLER, n),
        "query": pa.nulls(n, pa.string()),
        "hits": pa.nulls(n, pa.int32()),
    }
    return pa.table(
        {
            name: columns[name].cast(pa.string()).dictionary_encode()
            if pa.types.is_dictionary(table.schema.field(name).type)
            else columns[name].cast(table.schema.field(name).type)
            for name in table.column_names
        }
    )
