"""What was sent: every reason beside a plain computation by loops, and what may never be proposed."""

from __future__ import annotations

import datetime as dt
import random

import ibis
import pandas as pd
import pytest

from clientbook import content
from clientbook.book import ContactPolicy, Trigger
from clientbook.content import actions, audit, mapping, pressure
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
        row |= (
            {"account_id": f"F{r.randrange(4)}"}
            if owner < 0.5
            else {"person_id": r.choice(records)[0]}
            if owner < 0.8
            else {}
        )
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
        "account_identities": [
            {"source": "crm", "source_account_id": f"F{i}", "account_id": f"a{i}"} for i in range(3)
        ],
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
            owned.append((account, deal["topic"], deal["opened_at"], deal["closed_at"]))
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
        mine = [
            row for row in book["consents"] if who[row["person_id"]] == m["customer"] and row["purpose"] == m["purpose"]
        ]
        said = last([row for row in mine if row["channel"] in (None, m["channel"])], "indicated_at", m)
        allowed = bool(said) and all(
            s["status"] == "given" and (s["valid_to"] is None or s["valid_to"] > t) for s in said
        )
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
            if i["method"] == "filtered"
            and i["subject_id"] == m["account"]
            and i["topic"] == m["topic"]
            and i["valid_from"] < t
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
    policy = ContactPolicy(
        max_messages=r.choice((0, 3, 8)), period_days=r.choice((5, 30)), per=r.choice(("account", "customer"))
    )
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
    later = audited(
        {"messages": [one(t, i) for i, t in enumerate([START] + [START + 30 * DAY] * 8)]}, ContactPolicy(), engine
    )
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
        found = proposals(book, engine, FOUR)
        assert sorted(found["customer_id"]) == [f"c{i}" for i in range(6)]
        sends = found[found["channel"].notna()]
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
