"""What was sent: every reason beside a plain computation by loops, and what may never be proposed."""

from __future__ import annotations

import datetime as dt
import random

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clientbook import content
from clientbook.book import ContactPolicy, Trigger
from clientbook.content import accounts, actions, audit, guess, mapping, outcomes, pressure, response
from clientbook.engine import open as open_engine
from clientbook.tables import STAGES

DAY = dt.timedelta(days=1)
START = dt.datetime(2024, 1, 1)
NOW = dt.datetime(2024, 3, 1)
TOPICS = ("shirts", "suits", "hats")
CHANNELS = ("email", "post", "phone")
FOUR = ContactPolicy(max_messages=4)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with open_engine("duckdb", scratch=tmp_path_factory.mktemp("scratch")) as engine:
        yield engine


def table(rows: list[dict], **types: str) -> ibis.Table:
    """Rows with these columns, as the clean tables have them: text unless said otherwise, and a place of arrival."""
    types = types | {"arrival": "int64"}
    rows = [row | {"arrival": row.get("arrival", i)} for i, row in enumerate(rows)]
    frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in types})
    for name, kind in types.items():
        if kind == "timestamp":
            frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    return ibis.memtable(frame, schema=types)


PERSON = {"source": "string", "person_source": "string", "person_id": "string"}
MESSAGE = PERSON | {
    "message_id": "string",
    "sent_at": "timestamp",
    "channel": "string",
    "message_type": "string",
    "sender": "string",
    "content_source": "string",
    "content_id": "string",
    "topic": "string",
    "purpose": "string",
    "is_operational": "boolean",
    "opened_at": "timestamp",
    "clicked_at": "timestamp",
    "replied_at": "timestamp",
    "unsubscribed_at": "timestamp",
    "cost": "float64",
}
PIECE = {name: "string" for name in ("source", "content_id", "title", "topic", "stage", "format", "role")}
CONSENT = PERSON | {
    "purpose": "string",
    "status": "string",
    "indicated_at": "timestamp",
    "channel": "string",
    "valid_to": "timestamp",
}
WISH = PERSON | {
    "stated_at": "timestamp",
    "channel": "string",
    "topic": "string",
    "weekday": "float64",
    "hour": "float64",
    "max_per_period": "float64",
    "period_days": "float64",
}
CASE = PERSON | {"case_id": "string", "opened_at": "timestamp", "closed_at": "timestamp", "reason": "string"}
DEAL = PERSON | {
    "opportunity_id": "string",
    "opened_at": "timestamp",
    "closed_at": "timestamp",
    "is_won": "boolean",
    "topic": "string",
    "account_source": "string",
    "account_id": "string",
}
PART = PERSON | {"opportunity_source": "string", "opportunity_id": "string", "role": "string"}
INTERVAL = {
    "subject_type": "string",
    "subject_id": "string",
    "topic": "string",
    "journey_id": "string",
    "stage": "string",
    "valid_from": "timestamp",
    "valid_to": "timestamp",
    "probability": "float64",
    "method": "string",
}
EVENT = PERSON | {
    "event_name": "string",
    "occurred_at": "timestamp",
    "topic": "string",
    "content_source": "string",
    "content_id": "string",
}
ORDER = PERSON | {"order_source": "string", "order_id": "string", "ordered_at": "timestamp"}
DELIVERY = {"order_source": "string", "order_id": "string", "promised_at": "timestamp", "delivered_at": "timestamp"}
LINK = {"source": "string", "person_id": "string", "customer_id": "string"}


def made_book(seed: int, messages: int = 120) -> dict[str, list[dict]]:
    """A small book in which everything happens at few instants, so that much of it happens at once."""
    r = random.Random(seed)
    customers = [f"c{i}" for i in range(6)]
    account = {customer: f"a{i // 2}" for i, customer in enumerate(customers)}
    records = [(f"p{i}", customers[i % len(customers)]) for i in range(9)]
    when = lambda days=60: START + r.randrange(days * 2) * DAY / 2  # noqa: E731
    maybe = lambda value, chance=0.8: value if r.random() < chance else None  # noqa: E731
    person = lambda: {"source": "crm", "person_source": "crm", "person_id": r.choice(records)[0]}  # noqa: E731
    pieces = [
        {
            "source": "web",
            "content_id": f"x{i}",
            "title": "t",
            "topic": maybe(r.choice(TOPICS)),
            "stage": maybe(r.choice(STAGES)),
            "format": "article",
        }
        for i in range(8)
    ]
    sent = [
        person()
        | {
            "message_id": f"m{i}",
            "sent_at": when(),
            "channel": maybe(r.choice(CHANNELS), 0.9),
            "sender": "brand",
            "content_source": "web",
            "content_id": maybe(f"x{r.randrange(9)}"),
            "topic": maybe(r.choice(TOPICS), 0.3),
            "purpose": r.choice(("marketing", "marketing", "surveys")),
            "is_operational": maybe(r.random() < 0.15),
            "opened_at": maybe(NOW, 0.2),
            "cost": 0.01,
        }
        for i in range(messages)
    ]
    # delivered again, with an opening that was not known before
    sent += [row | {"opened_at": NOW} for row in r.sample(sent, 6)]
    for i, row in enumerate(sent):
        row["arrival"] = i
    consents = [
        person()
        | {
            "purpose": r.choice(("marketing", "surveys", "gossip")),
            "status": r.choice(("given", "given", "refused", "unknown")),
            "indicated_at": when(),
            "channel": maybe(r.choice(CHANNELS), 0.5),
            "valid_to": maybe(when(), 0.3),
        }
        for _ in range(40)
    ]
    wishes = [
        person()
        | {
            "stated_at": when(),
            "channel": maybe(r.choice(CHANNELS), 0.4),
            "topic": maybe(r.choice(TOPICS), 0.4),
            "max_per_period": maybe(float(r.randrange(3)), 0.4),
            "period_days": maybe(float(r.choice((3, 10, 30)))),
        }
        for _ in range(12)
    ]
    cases = [
        person()
        | {
            "case_id": f"k{i}",
            "opened_at": when(),
            "closed_at": maybe(when(70), 0.7),
            "reason": r.choice(("Complaint: fit", "complaint", "invoice", None)),
        }
        for i in range(10)
    ]
    deals = []
    for i in range(12):
        owner = r.random()
        row = {
            "source": "crm",
            "opportunity_id": f"o{i}",
            "opened_at": when(),
            "closed_at": maybe(when(70), 0.6),
            "topic": maybe(r.choice(TOPICS), 0.9),
            "account_source": "crm",
            "person_source": "crm",
        }
        # some were won or lost nobody knows when
        row["is_won"] = i % 2 == 0 if row["closed_at"] or i % 3 == 0 else None
        row |= {"account_id": f"F{r.randrange(4)}"} if owner < 0.5 else {"person_id": r.choice(records)[0]} if owner < 0.8 else {}
        deals.append(row)
    parts = [person() | {"opportunity_source": "crm", "opportunity_id": f"o{r.randrange(12)}"} for _ in range(10)]
    intervals = [
        {
            "subject_type": "account",
            "subject_id": f"a{r.randrange(3)}",
            "topic": r.choice(TOPICS),
            "journey_id": f"j{i}",
            "stage": r.choice(STAGES),
            "valid_from": when(),
            "valid_to": maybe(when(80), 0.7),
            "probability": r.choice((0.4, 0.6)),
            "method": r.choice(("filtered", "filtered", "smoothed")),
        }
        for i in range(30)
    ]
    return {
        "messages": sent,
        "content": pieces,
        "consents": consents,
        "preferences": wishes,
        "cases": cases,
        "opportunities": deals,
        "opportunity_people": parts,
        "stage_intervals": intervals,
        "identities": [{"source": "crm", "person_id": p, "customer_id": c} for p, c in records],
        "customers": [{"customer_id": c, "account_id": a} for c, a in account.items()],
        "account_identities": [{"source": "crm", "source_account_id": f"F{i}", "account_id": f"a{i}"} for i in range(3)],
    }


TYPES = {
    "messages": MESSAGE,
    "content": PIECE,
    "consents": CONSENT,
    "preferences": WISH,
    "cases": CASE,
    "opportunities": DEAL,
    "opportunity_people": PART,
    "stage_intervals": INTERVAL,
    "identities": LINK,
    "events": EVENT,
    "orders": ORDER,
    "customers": {"customer_id": "string", "account_id": "string"},
    "deliveries": DELIVERY,
    "account_identities": {"source": "string", "source_account_id": "string", "account_id": "string"},
    "value": {"customer_id": "string", "clv": "float64"},
}


def as_tables(book: dict[str, list[dict]]) -> dict[str, ibis.Table]:
    return {name: table(rows, **TYPES[name]) for name, rows in book.items()}


def circumstances(tables: dict[str, ibis.Table], engine) -> audit.Known:
    given = audit.Circumstances(**{n: tables.get(n) for n in audit.Circumstances.__dataclass_fields__})
    return audit.learn(given, "complaint", engine)


def audited(book: dict[str, list[dict]], policy: ContactPolicy, engine) -> pd.DataFrame:
    tables = as_tables(book)
    sent = audit.sendings(tables["messages"], tables.get("content"), tables.get("identities"), tables.get("customers"))
    found = audit.audit(audit.keep(engine, sent), circumstances(tables, engine), policy, engine)
    return found.to_pandas().set_index("message_id").sort_index()


def plain(book: dict[str, list[dict]], policy: ContactPolicy) -> dict[str, dict]:
    """The same by loops, from the words of the design."""
    who = {row["person_id"]: row["customer_id"] for row in book["identities"]}
    where = {row["customer_id"]: row["account_id"] for row in book["customers"]}
    named = {row["source_account_id"]: row["account_id"] for row in book["account_identities"]}
    pieces = {row["content_id"]: row for row in book["content"]}
    sent: dict[str, dict] = {}
    for row in book["messages"]:
        if row["message_id"] in sent:
            continue
        piece = pieces.get(row["content_id"], {})
        customer = who[row["person_id"]]
        sent[row["message_id"]] = row | {
            "customer": customer,
            "account": where[customer],
            "topic": row["topic"] or piece.get("topic"),
            "stage": piece.get("stage"),
            "operational": bool(row["is_operational"]),
        }
    owned = []
    for i, deal in enumerate(book["opportunities"]):
        parts = [p for p in book["opportunity_people"] if p["opportunity_id"] == f"o{i}"]
        account = named.get(deal.get("account_id")) or where.get(who.get(deal.get("person_id")))
        account = account or (where[who[parts[0]["person_id"]]] if parts else None)
        if account and deal["topic"]:
            over = deal["closed_at"] or (deal["opened_at"] if deal["is_won"] is not None else None)
            owned.append((account, deal["topic"], deal["opened_at"], over))
    counted = [m for m in sent.values() if not m["operational"]]

    def before(m: dict, other: dict) -> bool:
        return (other["sent_at"], other["arrival"]) <= (m["sent_at"], m["arrival"])

    def got(m: dict, key: str, days: float) -> int:
        start = m["sent_at"] - dt.timedelta(days=days)
        return sum(o[key] == m[key] and o["sent_at"] > start and before(m, o) for o in counted)

    def last(rows: list[dict], at: str, m: dict) -> list[dict]:
        rows = [row for row in rows if row[at] <= m["sent_at"]]
        return [row for row in rows if row[at] == max(r[at] for r in rows)]

    told = {}
    for key, m in sent.items():
        t = m["sent_at"]
        mine = [row for row in book["consents"] if who[row["person_id"]] == m["customer"] and row["purpose"] == m["purpose"]]
        said = last([row for row in mine if row["channel"] in (None, m["channel"])], "indicated_at", m)
        allowed = bool(said) and all(s["status"] == "given" and (s["valid_to"] is None or s["valid_to"] > t) for s in said)
        complaint = any(
            who[c["person_id"]] == m["customer"]
            and "complaint" in (c["reason"] or "").lower()
            and c["opened_at"] <= t
            and (c["closed_at"] is None or c["closed_at"] > t)
            for c in book["cases"]
        )
        known = [d for d in owned if d[0] == m["account"] and d[2] <= t]
        live = [d for d in known if d[3] is None or d[3] > t]
        here = [d for d in known if d[1] == m["topic"]]
        open_here = [d for d in live if d[1] == m["topic"]]
        wishes = [row for row in book["preferences"] if who[row["person_id"]] == m["customer"]]
        against = False
        for name in ("channel", "topic"):
            stated = last([w for w in wishes if w[name]], "stated_at", m)
            against |= bool(stated) and m[name] is not None and m[name] not in [w[name] for w in stated]
        for wish in last([w for w in wishes if w["max_per_period"] is not None], "stated_at", m):
            days = wish["period_days"] if wish["period_days"] is not None else policy.period_days
            against |= not m["operational"] and got(m, "customer", days) > wish["max_per_period"]
        again = any(
            o is not m
            and o["account"] == m["account"]
            and o["content_id"]
            and o["content_id"] == m["content_id"]
            and o["sent_at"] > t - policy.period_days * DAY
            and before(m, o)
            for o in counted
        )
        stood = [
            i
            for i in book["stage_intervals"]
            if i["method"] == "filtered" and i["subject_id"] == m["account"] and i["topic"] == m["topic"] and i["valid_from"] < t
        ]
        stood.sort(key=lambda i: (-i["valid_from"].timestamp(), -i["probability"], i["stage"], i["journey_id"]))
        stage = stood[0]["stage"] if stood and (stood[0]["valid_to"] is None or stood[0]["valid_to"] >= t) else None
        step = STAGES.index(m["stage"]) - STAGES.index(stage) if m["stage"] and stage else 0
        found = {
            "no_consent": not allowed,
            "open_complaint": complaint,
            "after_close": m["stage"] in STAGES[:3] and len(here) > 0 and not open_here,
            "over_cap": got(m, policy.per, policy.period_days) > policy.max_messages,
            "over_preference": against,
            "duplicate": again,
            "wrong_topic": m["topic"] is not None and len(live) > 0 and not open_here,
            "wrong_stage": step not in (0, 1),
        }
        if m["operational"]:
            found = dict.fromkeys(found, False)
        verdict = "operational" if m["operational"] else next((n for n in audit.REASONS if found[n]), "right")
        told[key] = found | {"verdict": verdict, "stage_at_send": stage}
    return told


@pytest.mark.parametrize("seed", range(4))
def test_every_reason_equals_a_plain_computation(seed, engine):
    r = random.Random(seed)
    policy = ContactPolicy(max_messages=r.choice((0, 3, 8)), period_days=r.choice((5, 30)), per=r.choice(("account", "customer")))
    book = made_book(seed)
    # a deal that was closed before it was opened is closed when it opens; such a case was never open
    for deal in book["opportunities"]:
        if deal["closed_at"] and deal["closed_at"] < deal["opened_at"]:
            deal["closed_at"] = deal["opened_at"]
    found, expected = audited(book, policy, engine), pd.DataFrame(plain(book, policy)).T.sort_index()
    assert len(found) == len(expected) == 120
    for name in (*audit.REASONS, "verdict", "stage_at_send"):
        ours = found[name].astype(object).where(found[name].notna(), None)
        wrong = [key for key in expected.index if ours[key] != expected.loc[key, name]]
        assert not wrong, (name, wrong, found.loc[wrong[:3]].T, expected.loc[wrong[:3], name])


def test_the_random_books_hold_every_reason():
    told = [row for seed in range(4) for row in plain(made_book(seed), ContactPolicy(max_messages=8)).values()]
    assert {name for name in audit.REASONS if any(row[name] for row in told)} == set(audit.REASONS)
    assert {"right", "operational"} <= {row["verdict"] for row in told}


def one(at: dt.datetime = START, i: int = 0, **more) -> dict:
    return {
        "source": "crm",
        "person_source": "crm",
        "person_id": "p0",
        "message_id": f"m{i}",
        "sent_at": at,
        "channel": "email",
        "purpose": "marketing",
        "arrival": i,
        "is_operational": None,
        "content_id": None,
        "topic": None,
    } | more


def test_a_book_without_consents_does_not_judge_them(engine):
    found = audited({"messages": [one()]}, ContactPolicy(), engine)
    assert found["no_consent"].isna().all()
    assert list(found["verdict"]) == ["right"]


def test_a_cap_of_nothing_allows_nothing(engine):
    found = audited({"messages": [one(), one(i=1, is_operational=True)]}, ContactPolicy(max_messages=0), engine)
    assert list(found["verdict"]) == ["over_cap", "operational"]


def test_the_ninth_of_thirty_days_is_over_the_cap_and_one_that_left_is_not(engine):
    at = [START, *[START + 10 * DAY] * 8, START + 30 * DAY]
    found = audited({"messages": [one(t, i) for i, t in enumerate(at)]}, ContactPolicy(), engine)
    assert list(found["over_cap"]) == [*[False] * 8, True, True]
    later = audited({"messages": [one(t, i) for i, t in enumerate([START] + [START + 30 * DAY] * 8)]}, ContactPolicy(), engine)
    assert not later["over_cap"].any()


def test_a_consent_withdrawn_and_given_again_within_a_minute(engine):
    said = [
        {"purpose": "marketing", "status": status, "indicated_at": START + dt.timedelta(seconds=s)}
        for s, status in ((0, "given"), (100, "withdrawn"), (130, "given"))
    ]
    book = {
        "messages": [one(START + dt.timedelta(seconds=s), i) for i, s in enumerate((-1, 0, 100, 129, 130))],
        "consents": [{"source": "crm", "person_source": "crm", "person_id": "p0"} | row for row in said],
    }
    assert list(audited(book, ContactPolicy(), engine)["no_consent"]) == [True, False, True, True, False]


def test_a_deal_lost_nobody_knows_when_is_not_open(engine):
    deal = {"opportunity_id": "o1", "account_source": "crm", "account_id": "F0", "topic": "hats", "opened_at": START}
    book = {
        "messages": [one(START + DAY, 0, topic="hats", content_source="web", content_id="x1"), one(START + 2 * DAY, 1, topic="coats")],
        "content": [{"source": "web", "content_id": "x1", "topic": "hats", "stage": "decide", "format": "sheet"}],
        "opportunities": [deal | {"source": "crm", "person_source": "crm", "is_won": False}],
        "account_identities": [{"source": "crm", "source_account_id": "F0", "account_id": "a0"}],
        "identities": [{"source": "crm", "person_id": "p0", "customer_id": "c0"}],
        "customers": [{"customer_id": "c0", "account_id": "a0"}],
    }
    told = audited(book, ContactPolicy(), engine)
    assert told["after_close"].tolist() == [True, False] and not told["wrong_topic"].any()
    book["opportunities"][0]["is_won"] = None
    told = audited(book, ContactPolicy(), engine)
    assert not told["after_close"].any() and told["wrong_topic"].tolist() == [False, True]


def test_nothing_learnt_later_counts(engine):
    for seed in (5,):
        book = made_book(seed)
        middle = START + 30 * DAY
        at = {
            "messages": "sent_at",
            "consents": "indicated_at",
            "preferences": "stated_at",
            "cases": "opened_at",
            "opportunities": "opened_at",
            "stage_intervals": "valid_from",
        }
        early = {n: [row for row in rows if n not in at or row[at[n]] <= middle] for n, rows in book.items()}
        for name, end in (("cases", "closed_at"), ("opportunities", "closed_at"), ("stage_intervals", "valid_to")):
            early[name] = [row | {end: row[end] if row[end] and row[end] <= middle else None} for row in early[name]]
        # how it ended is not known before it did
        ended = {row["opportunity_id"] for row in early["opportunities"] if row["closed_at"]}
        late = {row["opportunity_id"] for row in book["opportunities"] if row["closed_at"]} - ended
        early["opportunities"] = [
            row | ({"is_won": None} if row["opportunity_id"] in late else {}) for row in early["opportunities"]
        ]
        names = [*audit.REASONS, "verdict", "stage_at_send"]
        then, now = (audited(each, ContactPolicy(), engine)[names] for each in (early, book))
        pd.testing.assert_frame_equal(then, now.loc[then.index])


def test_windows_equal_a_plain_count(engine):
    for seed in range(2):
        book = made_book(seed)
        tables = as_tables(book)
        sent = audit.sendings(tables["messages"], None, tables["identities"], tables["customers"])
        found = pressure.windows(sent, 10, "UTC").to_pandas()
        who = {row["person_id"]: row["customer_id"] for row in book["identities"]}
        where = {row["customer_id"]: row["account_id"] for row in book["customers"]}
        opened = {row["message_id"] for row in book["messages"] if row["opened_at"]}
        once = {row["message_id"]: row for row in reversed(book["messages"]) if not row["is_operational"]}.values()
        expected = set()
        for end in {(where[who[m["person_id"]]], m["sent_at"].date()) for m in once}:
            inside = [
                m
                for m in once
                if where[who[m["person_id"]]] == end[0] and dt.timedelta(0) <= end[1] - m["sent_at"].date() < 10 * DAY
            ]
            opens = sum(m["message_id"] in opened for m in inside)
            expected.add((*end, len(inside), len({who[m["person_id"]] for m in inside}), opens))
        columns = ["account_id", "window_end", "messages", "contacts", "opens"]
        found["window_end"] = pd.to_datetime(found["window_end"]).dt.date
        assert set(found[columns].itertuples(index=False, name=None)) == expected
        assert found["messages"].dtype == "int64"


def test_content_map_counts_each_piece_and_names_empty_cells():
    pieces = [
        {"source": "web", "content_id": "x1", "topic": "hats", "stage": "need", "format": "video"},
        {"source": "web", "content_id": "x2", "topic": "hats", "stage": "use", "format": "course"},
    ]
    sent = [
        one(i=0, content_source="web", content_id="x1", clicked_at=NOW),
        one(i=1, content_source="web", content_id="x1", channel="post"),
        one(i=2, content_source="web", content_id="gone"),
    ]
    messages, register = table(sent, **MESSAGE), table(pieces, **PIECE)
    reads = table([{"content_source": "web", "content_id": "x1", "event_name": "view"}] * 3, **EVENT)
    known = audit.sendings(messages, register)
    all_pieces = mapping.pieces(register, known, reads)
    found = mapping.content_map(all_pieces, known, reads).to_pandas()
    assert found["sent"].sum() == 3 and found["clicked"].sum() == 1 and found["reads"].sum() == 3
    empty = found[found["pieces"] == 0]
    assert set(empty["stage"]) == set(STAGES) - {"need", "use"} and set(empty["topic"]) == {"hats"}
    grid = mapping.grid(all_pieces)
    assert grid.loc["hats", "use"] == 1 and int((grid == 0).sum().sum()) == 4
    by_stage = mapping.by_stage(mapping.content_map(all_pieces, known, reads), all_pieces).set_index("stage")
    assert by_stage.loc["need", "pieces"] == 1 and by_stage.loc["not known", "sent"] == 1


def proposals(book: dict[str, list[dict]], engine, policy=FOUR, triggers=()) -> pd.DataFrame:
    tables = as_tables(book)
    who = circumstances(tables, engine)
    sent = audit.keep(engine, audit.sendings(tables["messages"], tables["content"], who.identities, who.customers))
    events = tables.get("events")
    pieces = mapping.pieces(tables["content"], sent, events)
    facts = actions.Facts(sent, pieces, *(tables.get(n) for n in ("value", "orders", "deliveries", "events")))
    rules = actions.Rules(policy, triggers, "UTC", NOW, 0.5, 14)
    return audit.keep(engine, actions.next_actions(facts, who, rules, engine)).to_pandas()


def allowing(seed: int) -> dict[str, list[dict]]:
    """A made book in which everybody has allowed everything once, so that something can be proposed."""
    book = made_book(seed, messages=10)
    book["messages"] = [row | {"clicked_at": NOW} for row in book["messages"]]
    book["consents"] = [
        {
            "source": "crm",
            "person_source": "crm",
            "person_id": row["person_id"],
            "purpose": "marketing",
            "status": "given",
            "channel": None,
            "valid_to": None,
            "indicated_at": START,
        }
        for row in book["identities"]
    ] + book["consents"][:4]
    book["cases"] = book["cases"][:3]
    for i in range(40, 80):
        book["content"].append(
            {
                "source": "web",
                "content_id": f"x{i}",
                "topic": TOPICS[i % 3],
                "stage": STAGES[i % 6],
                "format": "article",
            }
        )
    book["value"] = [{"customer_id": f"c{i}", "clv": 100.0 * (i + 1)} for i in range(4)]
    return book


def test_no_proposal_would_be_wrong(engine):
    made = 0
    for seed in (0, 1):
        book = allowing(seed)
        gone = {"content_source": "web", "content_id": "deleted", "topic": TOPICS[0], "clicked_at": START}
        book["messages"] += [one(START, 900 + i, **gone) for i in range(20)]
        found = proposals(book, engine, FOUR)
        assert sorted(found["customer_id"]) == [f"c{i}" for i in range(6)]
        sends = found[found["channel"].notna()]
        assert set(sends["content_id"].dropna()) <= {row["content_id"] for row in book["content"]}
        person = {row["customer_id"]: row["person_id"] for row in book["identities"]}
        sent_now = [
            one(NOW, 10_000 + i, person_id=person[row.customer_id], channel=row.channel, content_id=row.content_id)
            | {"content_source": row.content_source, "topic": row.topic}
            for i, row in enumerate(sends.itertuples())
        ]
        told = plain(book | {"messages": book["messages"] + sent_now}, FOUR)
        assert {told[row["message_id"]]["verdict"] for row in sent_now} <= {"right"}
        assert (found["expected_margin"].fillna(0) >= 0).all() and found["reason"].notna().all()
        assert set(sends["consent"]) <= {"given"}
        made += len(sends)
    assert made


def test_service_comes_first_and_a_cart_is_remembered(engine):
    book = {
        "messages": [one(START, i, person_id=f"p{i}") for i in range(4)],
        "content": [{"source": "web", "content_id": "x1", "topic": "hats", "stage": "decide", "format": "sheet"}],
        "identities": [{"source": "crm", "person_id": f"p{i}", "customer_id": f"c{i}"} for i in range(4)],
        "customers": [{"customer_id": f"c{i}", "account_id": f"a{i}"} for i in range(4)],
        "cases": [{"person_source": "crm", "person_id": "p0", "opened_at": START, "reason": "complaint"}],
        "orders": [
            {"person_source": "crm", "person_id": f"p{i}", "order_source": "crm", "order_id": f"o{i}", "ordered_at": at}
            for i, at in ((1, START), (3, NOW - DAY))
        ],
        "deliveries": [{"order_source": "crm", "order_id": "o1", "promised_at": NOW - 2 * DAY}],
        "events": [
            {
                "person_source": "crm",
                "person_id": f"p{i}",
                "event_name": "add_to_cart",
                "topic": "hats",
                "occurred_at": NOW - 2 * DAY,
            }
            for i in (0, 2, 3)
        ],
        "value": [{"customer_id": f"c{i}", "clv": 1000.0} for i in range(4)],
    }
    for row in book["messages"]:
        row["clicked_at"] = START
    triggers = (
        Trigger(when="cart_abandoned", after_hours=24, action="remind"),
        Trigger(when="delivery_late", after_hours=4, action="call"),
    )
    found = proposals(book, engine, triggers=triggers).set_index("customer_id")
    assert found.loc["c0", "action"] == "call by service" and found.loc["c0", "consent"] == "not needed"
    assert found.loc["c1", "action"] == "call"
    assert found.loc["c2", "action"] == "remind" and found.loc["c2", "content_id"] == "x1"
    assert found.loc["c2", "consent"] == "unknown" and "cart" in found.loc["c2", "reason"]
    # who ordered since is to be reminded of nothing
    assert found.loc["c3", "action"] == "leave alone"


def test_an_order_promised_for_a_day_is_late_when_the_day_is_over(engine):
    book = {
        "messages": [one(START, i, person_id=f"p{i}") for i in range(2)],
        "content": [{"source": "web", "content_id": "x1", "topic": "hats", "stage": "decide", "format": "sheet"}],
        "identities": [{"source": "crm", "person_id": f"p{i}", "customer_id": f"c{i}"} for i in range(2)],
        "customers": [{"customer_id": f"c{i}", "account_id": f"a{i}"} for i in range(2)],
        "orders": [
            {"person_source": "crm", "person_id": f"p{i}", "order_source": "crm", "order_id": f"o{i}", "ordered_at": START}
            for i in range(2)
        ],
        # by the day of the run: its own day, and the day before
        "deliveries": [{"order_source": "crm", "order_id": f"o{i}", "promised_at": NOW - i * DAY} for i in range(2)],
        "value": [{"customer_id": f"c{i}", "clv": 1000.0} for i in range(2)],
    }
    late = Trigger(when="delivery_late", after_hours=0, action="call")
    found = proposals(book, engine, triggers=(late,)).set_index("customer_id")["action"]
    assert found["c0"] != "call" and found["c1"] == "call"
    late = Trigger(when="delivery_late", after_hours=1, action="call")
    assert "call" not in set(proposals(book, engine, triggers=(late,))["action"])


def test_page_reads_without_messages(engine):
    tables = as_tables({"content": made_book(0)["content"]})
    sent = audit.keep(engine, audit.sendings(content._or_none(None), tables["content"]))
    found = audit.keep(engine, audit.audit(sent, audit.Known(), ContactPolicy(), engine))
    overall, reasons = content.shares(found), content.reasons(found)
    assert overall.empty and (reasons["messages"] == 0).all()
    assert content.draw(content.shares(found, "sender"), "nothing") is None
    assert content.responses(found).empty and content.say_months(content.shares(found, "month"))
    assert "no messages" in content.answer(overall, reasons, pd.DataFrame(), str)
    assert content.key_numbers(overall, reasons, pd.DataFrame()) == []
    assert content.draw_reach(content.reach(found, 30), ContactPolicy()) is None
    assert content.draw_grid(mapping.grid(mapping.pieces(tables["content"].filter(False), sent, None))) is None
    assert (content.reasons(found, ("over_cap",))["n"] == 0).all()
    assert pressure.worst(pressure.windows(sent, 30, "UTC"), found).empty


def test_score_of_the_truth_itself_is_perfect(engine):
    found = audited(made_book(1), ContactPolicy(), engine).reset_index()
    truth = ibis.memtable(found[["source", "message_id", *audit.REASONS, "verdict", "stage_at_send"]])
    told = content.score(truth, truth).set_index("reason")
    assert (told["agreement"] == 1).all() and (told["naive"] < 1).any()
    assert content.score(truth, None).empty


def test_every_written_column_is_described(engine):
    book = allowing(0)
    described = {item.name: list(item.names) for item in content.STAGE.tables}
    assert set(described) == set(content.STAGE.writes)
    assert list(proposals(book, engine).columns) == described["next_actions"]
    tables = as_tables(book)
    sent = audit.keep(engine, audit.sendings(tables["messages"], tables["content"], tables["identities"]))
    found = audit.audit(sent, circumstances(tables, engine), ContactPolicy(), engine)
    assert list(content.public(found).columns) == described["message_audit"]
    assert list(pressure.windows(sent, 30, "UTC").columns) == described["pressure"]
    pieces = mapping.pieces(tables["content"], sent, None)
    assert list(mapping.content_map(pieces, sent, None).columns) == described["content_map"]
    signs = response.Signs(sent.filter(~sent["is_operational"]))
    view = accounts.accounts_view(
        tables["customers"], None, ibis.memtable(proposals(book, engine)), signs, signs.sent, ibis.literal(NOW), 30
    )
    assert list(view.columns) == described["accounts_view"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(100, 10_000), most=st.integers(0, 9), days=st.sampled_from((1, 7, 30)), per=st.sampled_from(
    ("account", "customer")))  # fmt: skip
def test_any_small_book_is_audited_as_by_loops(seed, most, days, per, engine):
    book, policy = made_book(seed, messages=60), ContactPolicy(max_messages=most, period_days=days, per=per)
    for deal in book["opportunities"]:
        if deal["closed_at"] and deal["closed_at"] < deal["opened_at"]:
            deal["closed_at"] = deal["opened_at"]
    found, expected = audited(book, policy, engine), plain(book, policy)
    for name in audit.REASONS:
        assert int(found[name].sum()) == sum(bool(row[name]) for row in expected.values()), name
    assert found["verdict"].to_dict() == {key: row["verdict"] for key, row in expected.items()}


def test_messages_without_content_and_content_without_topic_are_not_wrong_for_that(engine):
    deal = {"source": "crm", "opportunity_id": "o", "opened_at": START - DAY, "topic": "hats", "person_source": "crm"}
    book = {
        "messages": [one(), one(i=1, content_source="web", content_id="x1"), one(i=2, content_source="web",
                                                                                 content_id="deleted")],
        "content": [{"source": "web", "content_id": "x1", "stage": "need", "format": "article"}],
        "opportunities": [deal | {"person_id": "p0"}],
    }  # fmt: skip
    found = audited(book, ContactPolicy(), engine)
    assert not found[["wrong_topic", "wrong_stage", "after_close", "duplicate"]].to_numpy().any()
    assert found["topic"].isna().all()
    # a piece that is gone from the register still counts as sent
    tables = as_tables(book)
    known = audit.sendings(tables["messages"], tables["content"])
    register = mapping.pieces(tables["content"], known, None).to_pandas()
    assert set(register["content_id"]) == {"x1", "deleted"}


def test_consents_for_purposes_that_nobody_named_allow_nothing_else(engine):
    said = {"source": "crm", "person_source": "crm", "person_id": "p0", "status": "given", "indicated_at": START}
    book = {"messages": [one(START + DAY)], "consents": [said | {"purpose": "gossip"}]}
    assert list(audited(book, ContactPolicy(), engine)["no_consent"]) == [True]
    book["consents"].append(said | {"purpose": "marketing", "indicated_at": START + 2 * DAY})
    # a message before the first consent has none
    assert list(audited(book, ContactPolicy(), engine)["no_consent"]) == [True]


def test_an_account_of_ten_thousand_contacts(engine):
    n = 10_000
    book = {
        "messages": [one(START + dt.timedelta(seconds=i), i, person_id=f"p{i}") for i in range(n)],
        "identities": [{"source": "crm", "person_id": f"p{i}", "customer_id": f"c{i}"} for i in range(n)],
        "customers": [{"customer_id": f"c{i}", "account_id": "a"} for i in range(n)],
    }
    found = audited(book, ContactPolicy(max_messages=8), engine)
    assert int(found["over_cap"].sum()) == n - 8


def test_a_cap_of_nothing_is_said(engine):
    from types import SimpleNamespace

    words = content.cap(SimpleNamespace(contact_policy=ContactPolicy(max_messages=0)))
    assert "no message at all" in words
    found = proposals(allowing(0), engine, ContactPolicy(max_messages=0))
    assert found["content_id"].isna().all()


def test_what_follows_a_message_is_counted_as_by_loops(engine):
    book = made_book(3)
    tables = as_tables(book)
    sent = audit.keep(engine, audit.sendings(tables["messages"], None, tables["identities"], tables["customers"]))
    r = random.Random(3)
    happened = [{"customer_id": f"c{r.randrange(6)}", "at": START + r.randrange(100) * DAY / 2} for _ in range(30)]
    known = table(happened, customer_id="string", at="timestamp")
    found = audit.followed(sent, known, 7).to_pandas().set_index("arrival")["followed"]
    for row in sent.to_pandas().itertuples():
        expected = any(h["customer_id"] == row.customer_id and dt.timedelta(0) < h["at"] - row.at <= 7 * DAY for h in happened)
        assert found[row.arrival] == expected


def test_outcomes_leave_out_what_cannot_be_known_yet(engine):
    book = {"messages": [one(NOW - 30 * DAY, 0, clicked_at=NOW), one(NOW - DAY, 1, unsubscribed_at=NOW, cost=2.0)]}
    tables = as_tables(book)
    sent = audit.keep(engine, audit.sendings(tables["messages"], None))
    found = audit.audit(sent, audit.Known(), ContactPolicy(max_messages=0), engine)
    customer = sent.to_pandas()["customer_id"].iloc[0]
    bought = table([{"customer_id": customer, "at": NOW - 28 * DAY}], customer_id="string", at="timestamp")
    after = outcomes.after(found, None, bought, None, NOW, engine)
    told = outcomes.by(after, "verdict")
    assert list(told["verdict"]) == ["over_cap"] and told["n"].iloc[0] == 2
    assert told["ordered"].iloc[0] == 1 and np.isnan(told["visited"].iloc[0])
    assert told["clicked_low"].iloc[0] < 0.5 < told["clicked_high"].iloc[0]
    value = table([{"customer_id": customer, "clv": 100.0}], customer_id="string", clv="float64")
    costs = outcomes.cost(found, value)
    assert costs["sending"].iloc[0] == 2.0 and costs["lost"].iloc[0] == 100.0
    assert "€" in outcomes.say_cost(costs, lambda amount: f"{amount:.0f} €")
    free = outcomes.cost(found.mutate(cost=ibis.null("float64")), value)
    assert np.isnan(free["sending"].iloc[0]) and free["in_all"].iloc[0] == 100.0
    assert "does not say, and customers worth up to 100 €" in outcomes.say_cost(free, lambda amount: f"{amount:.0f} €")


def test_wilson_is_that_of_the_books():
    low, high = outcomes.wilson(np.array([0.0, 5.0, 1.0]), np.array([10.0, 10.0, 0.0]))
    assert low[0] == pytest.approx(0, abs=1e-12) and high[0] == pytest.approx(0.27753, abs=1e-4)
    assert (low[1], high[1]) == (pytest.approx(0.23659, abs=1e-4), pytest.approx(0.76341, abs=1e-4))
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_teams_contradict_each_other_within_a_week(engine):
    sent = [one(START, 0, sender="brand", topic="hats"), one(START + DAY, 1, sender="sales", topic="suits"),
            one(START + 2 * DAY, 2, sender="sales", topic="hats"), one(START + 20 * DAY, 3, sender="brand",
                                                                       topic="suits")]  # fmt: skip
    known = audit.sendings(table(sent, **MESSAGE), None)
    told = outcomes.contradictions(audit.audit(audit.keep(engine, known), audit.Known(), ContactPolicy(), engine))
    # a team may change its own topic, and after a week a customer has forgotten
    assert told[["team", "then", "pairs", "other_topic"]].values.tolist() == [["brand", "sales", 1, 1]]
    assert "about another topic, or for another stage" in outcomes.say_contradictions(told)
    assert "No team" in outcomes.say_contradictions(told.iloc[:0])


def test_a_guess_is_told_with_its_probability_and_known_pieces_are_left_alone():
    words = {"need": "signs that you need", "decide": "prices and samples of", "use": "course for users of"}
    rows = [
        {"source": "web", "content_id": f"x{i}", "title": f"{text} {topic} {i}", "stage": stage, "topic": topic}
        for i, (stage, text, topic) in enumerate(
            (stage, text, topic) for stage, text in words.items() for topic in TOPICS for _ in range(3)
        )
    ]
    rows.append({"source": "web", "content_id": "new", "title": "prices and samples of hats", "format": "sheet"})
    told = guess.guesses(table(rows, **PIECE)).set_index("what")
    assert set(told["content_id"]) == {"new"}
    assert told.loc["stage", "guess"] == "decide" and told.loc["topic", "guess"] == "hats"
    assert (told["probability"] > 1 / 3).all() and (told["accuracy"] > told["naive"]).all()
    assert guess.guesses(table(rows[:2], **PIECE)).empty and guess.guesses(None).empty


def many(seed: int, n: int = 4000) -> list[dict]:
    """Messages of customers half of whom answer, on e-mail more than by post."""
    r = random.Random(seed)
    rows = []
    for i in range(n):
        who, channel = r.randrange(80), r.choice(("email", "post"))
        chance = (0.35 if who % 2 else 0.05) * (1 if channel == "email" else 0.4)
        at = START + i * 300 * DAY / n
        rows.append(one(at, i, person_id=f"p{who}", channel=channel, clicked_at=at if r.random() < chance else None))
    return rows


def test_the_response_beats_the_rate_of_the_channel_on_time_it_has_not_seen(engine):
    sent = audit.keep(engine, audit.sendings(table(many(1), **MESSAGE), None))
    rates = actions.channel_rates(sent).to_pandas()
    fitted = [response.fit(response.Signs(sent), rates, 30, START + 300 * DAY, engine) for _ in range(2)]
    assert fitted[0].as_model() == fitted[1].as_model() and fitted[0].is_fitted
    told = fitted[0].tested.set_index("rule")
    assert told.loc["logistic regression", "auc"] > told.loc["rate of the channel", "auc"] + 0.1
    assert told.loc["logistic regression", "log_loss"] < told.loc["rate of the channel", "log_loss"]
    few = audit.keep(engine, audit.sendings(table(many(1, 50), **MESSAGE), None))
    bare = response.fit(response.Signs(few), rates, 30, START + 300 * DAY, engine)
    assert not bare.is_fitted and bare.as_model()["model"] == "rate of the channel"


def test_own_history_is_drawn_to_all_and_looks_at_nothing_later(engine):
    sent = audit.keep(engine, audit.sendings(table(many(2), **MESSAGE), None))
    middle = ibis.literal(START + 150 * DAY)
    told = response.own_history(sent, middle).to_pandas().set_index("customer_id").sort_index()
    early = sent.filter(sent["at"] < middle)
    again = response.own_history(early, ibis.literal(NOW + 900 * DAY)).to_pandas().set_index("customer_id").sort_index()
    pd.testing.assert_frame_equal(told, again)
    rates = early.to_pandas().groupby("customer_id")["clicked"].mean()
    assert np.corrcoef(told["own_answers"], rates[told.index])[0, 1] > 0.8
    assert told["own_answers"].abs().max() < 3


def test_exploration_is_seeded_and_of_its_share():
    keys = ibis.memtable({"key": [f"a{i}" for i in range(4000)]})
    drawn = keys.mutate(hit=response.by_lot(keys["key"], 0.05)).to_pandas()["hit"]
    assert 0.03 < drawn.mean() < 0.07
    assert keys.mutate(hit=response.by_lot(keys["key"], 1.0)).to_pandas()["hit"].all()
    assert not keys.mutate(hit=response.by_lot(keys["key"], 0.0)).to_pandas()["hit"].any()


def test_the_busiest_hour_goes_round_midnight():
    rows = [("late", 23, 3), ("late", 0, 2), ("late", 12, 4), ("early", 9, 1), ("early", 11, 1), ("early", 20, 1)]
    hours = ibis.memtable(pd.DataFrame(rows, columns=["who", "hour", "n"]))
    told = response.busiest(hours, "who").to_pandas().set_index("who")["busiest"].to_dict()

    def plain(mine):
        near = lambda a, b: max(response.AROUND_HOURS - min(abs(a - b), 24 - abs(a - b)), 0)  # noqa: E731
        counts = [sum(n * near(hour, at) for at, n in mine) for hour in range(24)]
        return counts.index(max(counts))

    assert told == {who: plain([(h, n) for w, h, n in rows if w == who]) for who in ("late", "early")}


def test_in_a_book_that_knows_nobody_s_visits_nobody_has_a_time(engine):
    rows = pd.DataFrame({"customer_id": ["a"], "at": [dt.datetime(2024, 3, 4)], "topic": "hats", "is_visit": False, "is_order": True})
    counted = response.habits(audit.keep(engine, ibis.memtable(rows)), [dt.datetime(2024, 6, 1)], "UTC", engine)
    assert response.active_times(counted).count().to_pandas() == 0


def test_messages_that_name_no_channel_have_no_best_time():
    p = {"customer_id": "a", "content_id": "x", "channel": None, "wanted_weekday": None, "wanted_hour": None, "active_weekday": None,
         "active_hour": 9}  # fmt: skip
    whole = dict.fromkeys(("wanted_weekday", "wanted_hour", "active_weekday", "active_hour"), "int64")
    people = ibis.memtable([p], schema={"customer_id": "string", "content_id": "string", "channel": "string", **whole})
    times = pd.DataFrame({"channel": [None, None], "weekday": [1, 2], "hour": [8, 9], "messages": 900, "rate": [0.1, 0.2]})
    told = actions._timed(people, ibis.memtable(times.astype({"channel": "str"}))).to_pandas().iloc[0]
    assert told["hour"] == 9 and pd.isna(told["weekday"])


def test_pages_of_one_hour_are_one_visit_and_the_usual_hour_draws_those_seldom_seen(engine):
    day = dt.datetime(2024, 3, 4)  # a Monday
    at = [("often", day + dt.timedelta(days=i, hours=20)) for i in range(30)]
    at += [("pages", day + dt.timedelta(hours=9, minutes=i)) for i in range(40)]
    at += [("pages", day + dt.timedelta(days=7 * i + 1, hours=15)) for i in range(3)]
    at += [("once", day + dt.timedelta(days=2, hours=14))]
    rows = pd.DataFrame(at, columns=["customer_id", "at"]).assign(topic="hats", is_visit=True, is_order=False)
    counted = response.habits(audit.keep(engine, ibis.memtable(rows)), [day + dt.timedelta(days=99)], "UTC", engine)
    told = response.active_times(counted).to_pandas().set_index("customer_id")
    assert told.loc["pages", "active_weekday"] == 2, "three Tuesdays are more than one Monday, however many pages"
    assert told.loc["often", "active_hour"] == 20
    assert 14 < told.loc["once", "active_hour"] <= 20, "one visit says little beside what is usual"
    apart = pd.Series({"often": False, "pages": True, "once": True})
    counted = response.habits(audit.keep(engine, ibis.memtable(rows)), [day + dt.timedelta(days=99)], "UTC", engine, apart)
    assert response.active_times(counted).to_pandas().set_index("customer_id").loc["once", "active_hour"] <= 15


def test_who_bought_lately_stands_apart_from_who_bought_long_ago(engine):
    now = dt.datetime(2024, 6, 1)
    asks = [("a1", "hats", 10), ("a2", "hats", 100), ("a3", "hats", 300), ("a4", "hats", 900), ("a5", "hats", 10), ("a6", "hats", None)]
    asks += [("a1", "coats", None)]
    asked = pd.DataFrame(asks, columns=["account_id", "topic", "ago"]).assign(at=now, customer_id="c").reset_index(names="arrival")
    bought = asked[asked["ago"].notna()].assign(at=lambda r: now - pd.to_timedelta(r["ago"], "D"))
    later = bought.assign(at=now + dt.timedelta(days=1))
    bought = pd.concat([bought, later])[["account_id", "topic", "at"]]
    past, soon = now - dt.timedelta(days=800), now + dt.timedelta(days=80)
    rows = [(a, "hats", "use", past, now - dt.timedelta(days=5)) for a in ("a1", "a2", "a3", "a4", "a6")]
    stages = pd.DataFrame([*rows, ("a5", "hats", "use", past, soon)], columns=["account_id", "topic", "stage", "at", "valid_to"])
    tables = [audit.keep(engine, ibis.memtable(rows)) for rows in (asked.drop(columns="ago"), stages, bought)]
    told = response.stood(*tables)
    told = told.mutate(standing=response.standing(told)).to_pandas().set_index("arrival")["standing"]
    names = [f"bought within {days} days" for days in response.BOUGHT_DAYS]
    assert told.iloc[:6].tolist() == [*names, "after use", "use", "after use"]
    assert told.isna().tolist() == [False] * 6 + [True]


def test_what_is_read_without_being_sent_speaks_for_a_piece(engine):
    of = {"content_source": "n", "topic": "hats", "format": "article"}
    pieces = ibis.memtable(pd.DataFrame([of | {"content_id": f"x{i}"} for i in range(4)]))
    reads = {"x0": 60, "x1": 20, "x2": 20}
    events = pd.DataFrame([of | {"content_id": name, "direction": "in"} for name, n in reads.items() for _ in range(n)])
    sent = pd.DataFrame([of | {"content_id": "x1", "clicked": 1}] * 10 + [of | {"content_id": "x2", "clicked": 0}] * 10)
    told = actions.read_of_pieces(ibis.memtable(events), pieces, ibis.memtable(sent)).set_index("content_id")["read"]
    plain = {"x0": 60, "x1": 10, "x2": 20, "x3": 0}
    mean = sum(plain.values()) / 4
    few = actions.SHRINKAGE_READS
    assert told.to_dict() == pytest.approx({name: np.log((n + few) / (mean + few)) for name, n in plain.items()}, abs=1e-3)
    # what the company did is no reading
    calls = pd.DataFrame([of | {"content_id": "x3", "direction": "outbound"}] * 30)
    again = actions.read_of_pieces(ibis.memtable(pd.concat([events, calls])), pieces, ibis.memtable(sent))
    assert again.set_index("content_id")["read"].to_dict() == told.to_dict()


def test_what_the_company_did_is_no_visit():
    words = ["inbound", "in", None, "outbound", "Outgoing", "OUT"]
    events = table(
        [{"person_source": "crm", "person_id": str(i), "occurred_at": START, "direction": word} for i, word in enumerate(words)],
        person_source="string", person_id="string", topic="string", direction="string", occurred_at="timestamp",
    )  # fmt: skip
    identities = table(
        [{"source": "crm", "person_id": str(i), "customer_id": f"c{i}"} for i in range(len(words))],
        source="string", person_id="string", customer_id="string",
    )  # fmt: skip
    assert sorted(response.visits(events, identities).to_pandas()["customer_id"]) == ["c0", "c1", "c2"]
    assert len(response.visits(events.drop("direction"), identities).to_pandas()) == len(words)


def pieces_sent(seed: int, n: int = 6000) -> list[dict]:
    """Messages with four pieces; the first is answered three times as often as the last, which is never new."""
    r = random.Random(seed)
    rows = []
    for i in range(n):
        piece = r.randrange(4)
        hit = r.random() < (0.24, 0.16, 0.12, 0.08)[piece]
        at = START + i * 300 * DAY / n
        more = {"clicked_at": at, "opened_at": at} if hit else {"opened_at": at if r.random() < 0.2 else None}
        rows.append(one(at, i, person_id=f"p{r.randrange(3000)}", content_source="n", content_id=f"x{piece}", **more))
    return rows


def test_a_piece_is_judged_by_its_answers_drawn_to_those_expected(engine):
    sent = audit.keep(engine, audit.sendings(table(pieces_sent(3), **MESSAGE), None))
    lifts, known = response.piece_lifts(response.Signs(sent), engine)
    lifts = lifts.set_index("content_id")
    plain = sent.to_pandas().assign(hit=lambda s: s["clicked"]).groupby("content_id")["hit"].mean()
    ratio = plain / sent.to_pandas()["clicked"].mean()
    assert list(lifts["lift"].sort_values().index) == ["x3", "x2", "x1", "x0"]
    # drawn to one, or to what the openings say
    assert ((lifts["lift"] - 1).abs() <= (ratio - 1).abs() + 0.15).all()
    assert np.corrcoef(lifts["lift"], ratio)[0, 1] > 0.98
    assert 0.5 < known <= response.AT_MOST_KNOWN


def test_an_order_counts_for_the_answer_whose_piece_it_names(engine):
    rows = pieces_sent(4, 3000)
    sent = audit.keep(engine, audit.sendings(table(rows, **MESSAGE), None))
    answered = [row for row in rows if row.get("clicked_at")]
    buys = answered[::4]
    orders = [
        dict(
            person_source=row["person_source"],
            person_id=row["person_id"],
            ordered_at=row["clicked_at"] + DAY,
            campaign=row["content_id"],
            arrival=i,
        )
        for i, row in enumerate(buys)
    ]
    # orders that name nothing, a day after messages that nobody answered, are nobody's doing
    quiet = [row for row in rows if not row.get("clicked_at")]
    orders += [dict(orders[0], person_id=row["person_id"], ordered_at=row["sent_at"] + DAY, campaign=None) for row in quiet]
    bought = table(orders, **ORDER, campaign="string")
    stages = ibis.memtable(
        [("a1", "hats", "use", START - 900 * DAY, None)],
        schema={"account_id": "string", "topic": "string", "stage": "string", "at": "timestamp", "valid_to": "timestamp"},
    )
    signs = response.Signs(sent, stages=stages)
    gains = response.extra_orders(signs, bought, None, START + 400 * DAY, 7, engine)
    told = gains.by_stage.set_index("stage")
    buyers, named = {row["person_id"] for row in orders}, {}
    for row in orders:
        named.setdefault((row["person_id"], row["campaign"]), []).append(row["ordered_at"])
    theirs = [row for row in answered if row["person_id"] in buyers]
    named_by = [named.get((row["person_id"], row["content_id"]), ()) for row in theirs]
    followed = [
        any(row["sent_at"] < at <= row["sent_at"] + 30 * DAY for at in orders_of)
        for row, orders_of in zip(theirs, named_by, strict=True)
    ]
    assert told.loc["none", "answered"] == len(theirs)
    assert abs(told.loc["none", "extra"] - np.mean(followed)) < 0.002
    unnamed = [dict(row, campaign=None) for row in orders]
    naive = response.extra_orders(signs, table(unnamed, **ORDER, campaign="string"), None, START + 400 * DAY, 7, engine)
    assert naive.by_stage.set_index("stage").loc["none", "extra"] < told.loc["none", "extra"]


def test_what_is_lost_adds_up_to_the_distance_from_the_best():
    names = ["the best possible", "customers of ours, the rest true", "channel of ours, the rest true",
             "topic and channel of ours, the rest true", "ours with the best piece, hour and weekday",
             "ours with the best hour and weekday", "ours with the best hour", "next actions"]  # fmt: skip
    found = pd.DataFrame({"policy": names, "margin": [100.0, 90.0, 84.0, 70.0, 66.0, 61.0, 58.0, 50.0]})
    told = content.policy.lost_by(found.sample(frac=1, random_state=1)).set_index("lost_by")
    assert told["margin"].to_dict() == {
        "whom to leave alone": 10.0, "channel": 6.0, "topic": 14.0, "stage of the piece": 4.0,
        "piece of that stage": 5.0, "weekday": 3.0, "hour": 8.0, "in all": 50.0,
    }  # fmt: skip
    assert told["of_best"]["in all"] == 0.5


def test_a_stage_that_no_order_was_seen_at_is_valued_by_the_orders_made_anyway():
    hits, n, of = np.array([30.0, 0.0, 0.0]), np.array([1000.0, 1000.0, 40.0]), np.full(3, 10_000.0)
    share, spread = response._drawn_share(hits, n, np.array([1500.0, 150.0, 1500.0]), of)
    # few answers without an order speak little against a stage at which much is bought, many speak against it
    assert share[0] > share[2] > 5 * share[1] and (spread > 0).all()
    even, _ = response._drawn_share(hits, n, np.zeros(3), of)
    assert share[2] > even[2] and abs((share * n).sum() / hits.sum() - 1) < 0.35


def test_reasons_to_leave_alone_are_counted_without_what_differs():
    full = "their account has had 9 messages in 30 days, and the cap is 8"
    rows = [full, full.replace("9", "11"), f"others of their account come first: {full.replace('9', '3')}",
            "nothing is left for the stage need of coats", "it would be wrong: over cap"]  # fmt: skip
    told = actions.left_alone(ibis.memtable(pd.DataFrame({"action": "leave alone", "reason": rows})))
    assert dict(told.itertuples(index=False)) == {
        "as many messages were sent as the cap allows": 2, "others of their account come first, up to the cap": 1,
        "nothing is left for the stage need": 1, "it would be wrong": 1,
    }  # fmt: skip
