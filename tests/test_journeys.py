"""Where each customer is on their way: counts on real data, and an independent walk in plain Python."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import ibis
import numpy as np
import pandas as pd
import pytest
from conftest import shared_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from clientbook import cleaning, journeys
from clientbook import engine as engines
from clientbook.book import open_book
from clientbook.customers import with_customer
from clientbook.journeys import inference
from clientbook.journeys import model as hidden
from clientbook.stage import NothingToShow
from clientbook.tables import CANONICAL, STAGES

AS_OF = dt.date(2024, 7, 1)
GAP = 90
SPAN = {"zone": "Europe/Berlin", "gap_days": GAP}
ROWS = {
    "read": {"need": 0.6, "research": 0.4},
    "compare": {"research": 0.7, "decide": 0.3},
    "price": {"decide": 0.7, "research": 0.3},
    "manual": {"adopt": 0.6, "use": 0.4},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


_KINDS = {"time": "timestamp", "number": "float64", "money": "float64", "flag": "boolean", "date": "date"}


def table(name: str, rows: list[dict]) -> ibis.Table:
    """A clean table: what a row does not say is null, ids belong to its own source."""
    schema = {"source": "string", "arrival": "int64", "ordered_on": "date"}
    for column in CANONICAL[name].columns:
        schema[column.name] = _KINDS.get(column.kind, "string")
        if column.name.endswith("_id"):
            schema[column.name.removesuffix("_id") + "_source"] = "string"
    defaults = {column: "web" for column in schema if column.endswith("source")}
    full = [{column: None for column in schema} | defaults | {"arrival": i} | row for i, row in enumerate(rows)]
    return ibis.memtable(full, schema=schema)


def events(*rows: tuple) -> ibis.Table:
    names = ("person_id", "occurred_at", "event_name", "topic")
    return table("events", [dict(zip(names, (p, at(t), *rest), strict=False)) for p, t, *rest in rows])


def follow(engine, tables, subject="customer", rows=ROWS):
    path = engine.scratch_file(".parquet")
    engine.write_parquet(journeys.compose(tables, subject, engine), path)
    timeline = engine.read_parquet(path)
    told = journeys.stage_table_of(timeline, rows)
    evidence = journeys.as_evidence(told)
    return timeline, evidence, journeys.follow(timeline, evidence, engine, **SPAN)


def intervals(engine, tables, subject="customer"):
    _, _, ways = follow(engine, tables, subject)
    return journeys.intervals(ways, subject, AS_OF, **SPAN).to_pandas()


def told(frame: pd.DataFrame) -> list[tuple]:
    return [
        (row.stage, str(row.valid_from), None if pd.isna(row.valid_to) else str(row.valid_to), row.probability)
        for row in frame.itertuples()
    ]


# --- Real data ---------------------------------------------------------------------------------------------------


def book_of(make_book, path: Path, columns: str) -> Path:
    delivery = f"{{path: {path.name}, columns: {columns}}}"
    folder = make_book(f"name: Real\nsources:\n  log:\n    events: {delivery}\n")
    (folder / path.name).symlink_to(path)
    return folder


def paths_of(folder: Path, engine):
    book = open_book(folder)
    tables = cleaning.clean(book, engine, dt.date(2030, 1, 1)).tables
    timeline = journeys.compose(tables, journeys.choose_subject(None, None), engine)
    seen = journeys.sequences(journeys.raw_events(timeline))
    return journeys.event_transitions(seen).to_pandas(), journeys.variants(seen).to_pandas()


def test_bpi_challenge_2012_exactly(make_book, engine):
    columns = "{person_id: 'case:concept:name', event_name: 'concept:name', occurred_at: 'time:timestamp'}"
    folder = book_of(make_book, shared_data("bpic2012.parquet"), columns)
    transitions, variants = paths_of(folder, engine)
    assert len(set(transitions["event_from"]) | set(transitions["event_to"])) == 24
    assert (len(transitions), transitions["n"].sum()) == (125, 249_113)
    assert (len(variants), variants["n"].max(), variants["n"].sum()) == (4_366, 3_429, 13_087)


def test_ecom_edges_by_user_exactly(make_book, engine):
    columns = "{person_id: user_id, event_name: event, occurred_at: timestamp}"
    transitions, _ = paths_of(book_of(make_book, shared_data("ecom.csv.gz"), columns), engine)
    assert len(transitions) == 338


# --- Paths, counted a second time --------------------------------------------------------------------------------

logs = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["x", "y", "z w"])), max_size=25)


@settings(max_examples=8, deadline=None)
@given(log=logs, longest=st.integers(1, 6))
def test_transitions_and_variants_equal_a_plain_count(log, longest):
    start = at("2024-01-01")
    rows = [
        {"subject_id": who, "occurred_at": start + dt.timedelta(hours=hour), "event_name": name, "arrival": i}
        for i, (who, hour, name) in enumerate(log)
    ]
    schema = {"subject_id": "string", "occurred_at": "timestamp", "event_name": "string", "arrival": "int64"}
    seen = journeys.sequences(ibis.memtable(rows, schema=schema))
    ways = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["occurred_at"], row["arrival"])):
        ways[row["subject_id"]].append(row["event_name"])
    pairs = Counter(pair for way in ways.values() for pair in itertools.pairwise(way))
    found = journeys.event_transitions(seen).to_pandas()
    assert dict(zip(zip(found["event_from"], found["event_to"], strict=True), found["n"], strict=True)) == pairs
    short = Counter(" > ".join(way[:longest] + ["…"] * (len(way) > longest)) for way in ways.values())
    cut = journeys.variants(seen, longest).to_pandas()
    assert dict(zip(cut["variant"], cut["n"], strict=True)) == short
    assert cut["n"].is_monotonic_decreasing


# --- Stages, walked a second time --------------------------------------------------------------------------------


def plain_walk(log: list[tuple[dt.datetime, str]]) -> list[tuple]:
    """The stage intervals of one subject and topic, event by event; no orders, no deals."""
    out: list[list] = []
    last = None
    for i, (time, name) in enumerate(log):
        if last is not None and time - last > dt.timedelta(days=GAP):
            if out and out[-1][2] is None:
                out[-1][2] = last + dt.timedelta(days=GAP)
            out.append(["gap", None, time, None])
        last = time
        overtaken = (
            i + 1 < len(log) and log[i + 1][0] == time and any(then == time and after in ROWS for then, after in log[i + 1 :])
        )
        if name not in ROWS or overtaken:
            continue
        stage = max(ROWS[name], key=ROWS[name].get)
        if out and out[-1][0] == stage and out[-1][2] is None:
            continue
        if out and out[-1][2] is None:
            out[-1][2] = time
        out.append([stage, time, None, ROWS[name][stage]])
    if out and out[-1][2] is None and last + dt.timedelta(days=GAP) < at("2024-06-30T22:00"):
        out[-1][2] = last + dt.timedelta(days=GAP)
    return [
        (stage, str(begin), None if end is None else str(end), probability)
        for stage, begin, end, probability in out
        if stage != "gap"
    ]


walks = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 20, 90, 91, 150]), st.sampled_from([*ROWS, "nothing"])), min_size=1, max_size=14
)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(walks, min_size=10, max_size=25))
def test_intervals_equal_a_plain_walk(engine, several):
    logs = {}
    for i, walk in enumerate(several):
        time, logs[f"t{i:02d}"] = at("2023-01-01T10:00"), []
        for days, name in walk:
            time += dt.timedelta(days=days)
            if time < at("2024-06-30T22:00"):
                logs[f"t{i:02d}"].append((time, name))
    rows = [("p", str(time), name, topic) for topic, log in logs.items() for time, name in log]
    found = intervals(engine, {"events": events(*rows)})
    for topic, log in logs.items():
        assert told(found[found["topic"] == topic]) == plain_walk(log)


def test_hard_evidence_goes_before_names(engine):
    tables = {
        "events": events(
            ("p", "2024-05-01", "read", "suits"),
            ("p", "2024-05-03", "manual", "suits"),
            ("p", "2024-05-20", "price", "suits"),
        ),
        "opportunities": table(
            "opportunities",
            [
                {"opportunity_id": "o", "opened_at": at("2024-05-02"), "closed_at": at("2024-05-05"), "is_won": True,
                 "person_id": "p", "topic": "suits"},
            ],
        ),
        "orders": table(
            "orders",
            [
                {"person_id": "p", "order_id": o, "ordered_at": at(t), "product_id": "s", "quantity": 1.0}
                for o, t in (("1", "2024-05-06T08:00"), ("2", "2024-05-06T20:00"), ("3", "2024-05-10T08:00"))
            ],
        ),
        "products": table("products", [{"product_id": "s", "name": "suit", "topic": "suits"}]),
    }  # fmt: skip
    found = intervals(engine, tables)
    # the manual is read while the deal is open; both orders of one day are the first; what follows is use
    assert told(found) == [
        ("need", "2024-05-01 00:00:00", "2024-05-02 00:00:00", 0.6),
        ("decide", "2024-05-02 00:00:00", "2024-05-05 00:00:00", 1.0),
        ("adopt", "2024-05-05 00:00:00", "2024-05-10 08:00:00", 1.0),
        ("use", "2024-05-10 08:00:00", "2024-05-20 00:00:00", 1.0),
        ("decide", "2024-05-20 00:00:00", None, 0.7),
    ]


def test_an_open_deal_keeps_a_journey_open(engine):
    deal = {"opportunity_id": "o", "opened_at": at("2023-01-02"), "person_id": "p", "topic": "suits"}
    seen = events(("p", "2023-01-01", "read", "suits"), ("p", "2023-12-01", "read", "suits"))
    found = intervals(engine, {"events": seen, "opportunities": table("opportunities", [deal])})
    assert list(found["stage"]) == ["need", "decide"]
    assert len(set(found["journey_id"])) == 1 and pd.isna(found["valid_to"].iloc[-1])


def test_what_comes_later_changes_no_past_stage(engine):
    """Filtered: intervals that were known before an instant are the same whatever follows it."""
    rows = [("p", f"2024-0{m}-0{d}", name, "suits") for m in (1, 2, 3) for d, name in enumerate(ROWS, 1)]
    early = intervals(engine, {"events": events(*rows[:7])})
    whole = intervals(engine, {"events": events(*rows)})
    assert told(early)[:-1] == told(whole)[: len(early) - 1]
    assert told(early)[-1][:2] == told(whole)[len(early) - 1][:2]


def test_topics_are_walked_apart_and_what_has_none_changes_no_stage(engine):
    seen = events(
        ("p", "2024-06-01", "read", "suits"),
        ("p", "2024-06-02", "price", "shirts"),
        ("p", "2024-06-03", "manual", None),
    )
    found = intervals(engine, {"events": seen})
    assert dict(zip(found["topic"], found["stage"], strict=True)) == {"suits": "need", "shirts": "decide"}


def test_a_book_without_topics_has_one_journey_at_a_time(engine):
    found = intervals(engine, {"events": events(("p", "2024-06-01", "read"), ("p", "2024-06-02", "price"))})
    assert list(found["stage"]) == ["need", "decide"] and found["topic"].isna().all()


def test_topics_of_visits_alone_part_no_journey_that_could_end_in_an_order(engine):
    seen = events(("p", "2024-06-01", "read", "/suits"), ("p", "2024-06-02", "price", "/shirts"))
    bought = table("orders", [{"person_id": "p", "ordered_at": at("2024-06-03"), "order_id": "o1", "quantity": 1.0}])
    found = intervals(engine, {"events": seen, "orders": bought})
    assert list(found["stage"]) == ["need", "decide", "adopt"] and found["topic"].isna().all()
    assert not journeys.has_topics(follow(engine, {"events": seen, "orders": bought})[0])


# --- The timeline ------------------------------------------------------------------------------------------------


def test_the_timeline_takes_from_every_table(engine):
    tables = {
        "events": events(("p", "2024-06-01", "read", "suits"))
        .mutate(content_id=ibis.literal("c"), topic=ibis.null("string")),
        "content": table("content", [{"content_id": "c", "title": "t", "topic": "shirts"}]),
        "messages": table("messages", [
            {"message_id": "m", "person_id": "p", "sent_at": at("2024-06-02"), "opened_at": at("2024-06-02"),
             "clicked_at": at("2024-06-03"), "replied_at": at("2024-06-03"), "content_id": "c"},
            {"message_id": "n", "person_id": "p", "sent_at": at("2024-06-02"), "opened_at": at("2024-06-02")},
        ]),
        "cases": table("cases", [{"case_id": "k", "person_id": "p", "opened_at": at("2024-06-04")}]),
        "surveys": table("surveys", [
            {"person_id": "p", "asked_at": at("2024-06-05"), "score": score} for score in (9.0, None)
        ]),
        "referrals": table("referrals", [
            {"person_id": "p", "referred_person_id": "q", "referred_at": at("2024-06-06")},
        ]),
        "orders": table("orders", [
            {"person_id": "p", "order_id": "1", "ordered_at": at("2024-06-07"), "product_id": product, "quantity": q}
            for product, q in (("a", 1.0), ("b", 2.0), ("c", 1.0), ("a", -1.0))
        ]),
        "products": table("products", [
            {"product_id": product, "name": product, "topic": topic}
            for product, topic in (("a", "suits"), ("b", "suits"), ("c", "shirts"))
        ]),
    }  # fmt: skip
    found = journeys.compose(tables, "customer", engine).to_pandas()
    assert list(zip(found["event_name"], found["topic"].fillna("-"), strict=True)) == [
        ("read", "shirts"), ("message_clicked", "shirts"), ("message_replied", "shirts"), ("case", "-"),
        ("survey", "-"), ("referral", "-"), ("order", "suits"), ("order", "shirts"),
    ]  # fmt: skip
    assert len(set(found["subject_id"])) == 1
    assert tuple(found.columns) == journeys.STAGE.tables[0].names


def test_an_account_walks_with_all_its_heads_and_its_deals(engine):
    identities = ibis.memtable(
        {"source": ["web", "web"], "person_id": ["p", "q"], "customer_id": ["cp", "cq"], "probability": [1.0, 1.0]}
    )
    tables = {
        "events": events(("p", "2024-06-01", "read", "suits"), ("q", "2024-06-02", "price", "suits")),
        "identities": identities,
        "customers": ibis.memtable({"customer_id": ["cp", "cq"], "account_id": ["a1", "a1"]}),
        "account_identities": ibis.memtable({"source": ["web"], "source_account_id": ["K"], "account_id": ["a1"]}),
        "opportunities": table("opportunities", [
            {"opportunity_id": o, "opened_at": at("2024-06-03"), "account_id": account, "topic": "suits"}
            for o, account in (("1", "K"), ("2", None), ("3", "unknown"))
        ]),
        "opportunity_people": table("opportunity_people", [
            {"opportunity_id": o, "person_id": person} for o in "12" for person in "pq"
        ]),
    }  # fmt: skip
    found = journeys.compose(tables, "account", engine).to_pandas()
    assert Counter(found["subject_id"] == "a1") == {True: 4, False: 1}
    by_customer = journeys.compose(tables, "customer", engine).to_pandas()
    assert Counter(by_customer["subject_id"]) == {"cp": 3, "cq": 3}


@pytest.mark.parametrize("outcome", [True, False, None], ids=["won", "lost", "closed"])
def test_a_deal_that_ends_at_the_instant_it_begins_opens_first(engine, outcome):
    instant = at("2024-06-03")
    deals = [{"opportunity_id": "o", "opened_at": instant, "closed_at": instant, "person_id": "p", "is_won": outcome}]
    timeline = journeys.compose(
        {"events": events(("p", "2024-06-01", "read")), "opportunities": table("opportunities", deals)}, "customer", engine
    )
    timeline = engine.keep(timeline)
    found = timeline.to_pandas()["event_name"].tolist()
    ending = {True: "opportunity_won", False: "opportunity_lost", None: "opportunity_closed"}[outcome]
    assert found == ["read", "opportunity_opened", ending]
    # however the rows come, they are walked so
    for rows in (timeline, timeline.order_by("event_name")):
        assert journeys.variants(journeys.sequences(rows)).to_pandas()["variant"].tolist() == [" > ".join(found)]
    assert journeys.funnel(timeline, found)["subjects"].tolist() == [1, 1, 1]


def test_the_book_goes_first_in_choosing_the_subject():
    accounts = ibis.memtable({"account_id": ["a"], "kind": ["company"]})
    singles = ibis.memtable({"account_id": ["a"], "kind": ["single"]})
    assert journeys.choose_subject("customer", accounts) == "customer"
    assert journeys.choose_subject(None, accounts) == "account"
    assert journeys.choose_subject(None, singles) == journeys.choose_subject(None, None) == "customer"


def test_a_book_where_nobody_does_anything_has_nothing_to_show(engine):
    with pytest.raises(NothingToShow, match="neither `events` nor `orders` nor `messages`"):
        journeys.compose({"cases": table("cases", [])}, "customer", engine)


# --- What an event says ------------------------------------------------------------------------------------------


def test_the_book_goes_before_the_default_and_rows_add_up_to_one():
    assert journeys.row_of("price_page", {}) == pytest.approx({"research": 0.2, "decide": 0.8})
    assert journeys.row_of("price_page", {"price_page": {"use": 0.5}}) == {"use": 1.0}
    assert journeys.row_of("A_SUBMITTED", {}) == journeys.row_of("unsubscribed", {}) == {}
    for name in ("Add to Cart", "guide-download", "search", "home", "review_written", "reorder", "first_steps"):
        assert sum(journeys.row_of(name, {}).values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("german", "english"),
    [
        ("Angebot versendet", "offer sent"), ("Anruf", "call"), ("Messe", "brochure"), ("In den Warenkorb", "add_to_cart"),
        ("Bestellung", "order"), ("Kündigung", "cancelled"), ("Rücksendung", "return"), ("Weiterempfehlung", "recommended"),
        ("Bewertung", "review"), ("Nachbestellung", "reorder"), ("Produkt angesehen", "product_viewed"), ("Suche", "search"),
        ("Probe-Termin", "appointment"), ("Preisliste", "prices"), ("Störung gemeldet", "ticket"), ("Schulung", "training"),
        ("terminated", "message_read"),
    ],
)  # fmt: skip
def test_german_names_say_what_the_english_ones_do(german, english):
    assert journeys.row_of(german, {}) == journeys.row_of(english, {})


def test_names_made_from_other_tables_speak_only_where_the_book_says_so():
    seen = pd.DataFrame({"event_name": ["survey", "case", "zzz"], "kind": ["survey", "case", "event"]})
    found = journeys.stage_table(seen, {"case": {"use": 1.0}}).set_index("event_name")
    assert found.loc["case", ["stage", "told_by"]].tolist() == ["use", "book"]
    assert found.loc[["survey", "zzz"], "told_by"].tolist() == ["nobody", "nobody"]


# --- Moments and answers -----------------------------------------------------------------------------------------


def test_moments_count_what_followed(engine):
    seen = events(
        ("a", "2024-01-01", "read", "suits"), ("a", "2024-01-10", "price", "suits"),
        ("b", "2024-01-01", "read", "suits"), ("b", "2024-03-20", "price", "suits"),
        ("c", "2024-01-01", "read", "suits"),
        ("d", "2024-01-01", "price", "suits"), ("d", "2024-01-05", "read", "suits"),
    )  # fmt: skip
    timeline, evidence, ways = follow(engine, {"events": seen})
    found = journeys.moments(timeline, ways, evidence, AS_OF, **SPAN, window_days=30)
    found = found.set_index(["event_name", "stage"])
    # a moved on in time, b too late, c and d fell silent after it
    assert found.loc[("read", "need"), ["n", "subjects"]].tolist() == [4, 4]
    assert found.loc[("read", "need"), ["moved_on", "went_silent"]].tolist() == [0.25, 0.5]
    assert found.loc[("price", "decide"), "fell_back"] == pytest.approx(1 / 3, abs=1e-6)


def test_cases_meet_the_journeys_that_are_on(engine):
    tables = {
        "events": events(("a", "2024-01-01", "read", "suits"), ("a", "2024-01-01", "price", "shirts")),
        "cases": table("cases", [
            {"case_id": t, "person_id": "a", "opened_at": at(t)} for t in ("2024-01-05", "2024-06-05")
        ]),
    }  # fmt: skip
    timeline, evidence, ways = follow(engine, tables)
    found = journeys.moments(timeline, ways, evidence, AS_OF, **SPAN, window_days=30)
    cases = found[found["kind"] == "case"]
    assert sorted(zip(cases["stage"], cases["n"], strict=True)) == [("decide", 1), ("need", 1)]


def test_responsiveness_is_drawn_towards_the_channel():
    rows = [
        {"message_id": str(i), "person_id": "p", "channel": "email", "sent_at": at("2024-06-03T08:30"),
         "clicked_at": at("2024-06-04") if i == 0 else None}
        for i in range(100)
    ]  # fmt: skip
    rows += [{**rows[0], "message_id": "x", "sent_at": at("2024-06-04T08:30")}]
    rows += [{**rows[0], "message_id": "y", "is_operational": True}]
    found = journeys.responsiveness(table("messages", rows), "Europe/Berlin").to_pandas()
    assert found[["weekday", "hour", "messages", "clicks", "answers"]].to_numpy().tolist() == [
        [1, 10, 100, 1, 1],
        [2, 10, 1, 1, 1],
    ]
    overall = 2 / 101
    assert found["rate"].iloc[0] < overall < found["rate"].iloc[1] < 0.1
    assert journeys.responsiveness(None, "UTC").count().to_pyarrow().as_py() == 0


# --- What a reader sees ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["read", "nothing"], ids=["stages known", "no stage known"])
def test_a_page_reads_well_with_little(engine, name):
    timeline, evidence, ways = follow(engine, {"events": events(("p", "2024-06-01", name, "suits"))})
    stages = journeys.intervals(ways, "customer", AS_OF, **SPAN)
    rows = journeys.stage_table_of(timeline, ROWS)
    total = journeys.totals(timeline, stages, rows)
    assert journeys.answer(total, "customer").startswith("**")
    assert journeys.key_numbers(total)[0].value == (name == "read")
    moved = journeys.moves(stages)
    for frame in (
        journeys.open_now(stages), journeys.transition_shares(moved), journeys.time_in_stage(moved),
        journeys.stage_share(stages, AS_OF), journeys.follow_up(ways, AS_OF, **SPAN, window_days=30),
        journeys.top_transitions(journeys.event_transitions(journeys.sequences(timeline))), journeys.unmapped(rows),
    ):  # fmt: skip
        assert isinstance(frame, pd.DataFrame)
    assert len(journeys.unmapped(rows)) == (name == "nothing")
    moments = journeys.moments(timeline, ways, evidence, AS_OF, **SPAN, window_days=30)
    assert journeys.telling_moments(moments).empty


def test_monthly_shares_add_up(engine):
    seen = events(
        ("a", "2024-01-15", "read", "suits"),
        ("b", "2024-02-15", "price", "suits"),
        ("a", "2024-03-15", "price", "suits"),
    )
    _, _, ways = follow(engine, {"events": seen})
    found = journeys.stage_share(journeys.intervals(ways, "customer", AS_OF, **SPAN), AS_OF)
    assert found.sum(axis=1).round(9).eq(1).all()
    assert found.loc["2024-03-01", "need"] == 0.5 and found.loc["2024-04-01", "decide"] == 1


def test_scores_compare_rules_on_true_accounts(engine):
    seen = events(
        ("a", "2024-06-01", "price", "suits"),
        ("a", "2024-06-02", "read", "suits"),
        ("b", "2024-06-01", "read", "suits"),
    )
    tables = {"events": seen}
    _, _, ways = follow(engine, tables)
    people = ibis.memtable({"source": ["web", "web"], "person_id": ["a", "b"], "account_id": ["A", "B"]})
    truth = ibis.memtable(
        {
            "subject_id": ["A", "B", "C"], "topic": ["suits"] * 3, "stage": ["need", "decide", "use"],
            "valid_from": [at("2024-01-01")] * 3, "valid_to": [at("2025-01-01")] * 3,
        }
    )  # fmt: skip
    who = journeys.who_is_who(tables, engine)
    rows = journeys.stage_table_of(journeys.compose(tables, "customer", engine, who), ROWS)
    seen = journeys.seen_of(ways)
    reading = journeys.read_stages(seen, rows, AS_OF, engine, zone="Europe/Berlin")
    given = {"people": people, "stages": truth}
    found = journeys.score(ways, seen, reading, rows, who, "customer", AS_OF, given, zone="Europe/Berlin").set_index("rule")
    assert found.loc["stage of the last event", ["right", "n", "right_of_all", "all"]].tolist() == [0.5, 2, 1 / 3, 3]
    assert found.loc["furthest stage reached", "right"] == 0
    assert found.loc["hidden Markov model", "n"] == 2
    assert journeys.say_score(found.reset_index()).startswith("Against the truth")
    assert journeys.score(ways, seen, reading, rows, who, "customer", AS_OF, {}, zone="Europe/Berlin").empty


# --- Stages, read by the model ------------------------------------------------------------------------------------

NAMES = ("read", "compare", "price", "manual")


def made_steps(seed: int, ways: int = 60, longest: int = 9) -> hidden.Steps:
    """Ways drawn at random, of every kind of step."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, longest, ways)
    first = np.concatenate([[0], np.cumsum(size + 1)])
    n = first[-1]
    kind = rng.choice(
        [hidden.VISIT, hidden.VISIT, hidden.PAGE, hidden.PASSIVE, hidden.RETURNING_ORDER, hidden.OPENED, hidden.LOST], n
    )
    kind[first[1:] - 1] = hidden.END
    days = np.concatenate([np.sort(rng.uniform(0, 300, k + 1)) for k in size])
    code = np.where(kind <= hidden.PAGE, rng.integers(0, len(NAMES), n), -1)
    return hidden.Steps(first, days, kind, rng.random(n) < 0.1, code)


def guess() -> hidden.Model:
    table = pd.DataFrame([ROWS[name] for name in NAMES]).reindex(columns=list(STAGES)).fillna(0).to_numpy()
    return hidden.start(table, np.array([10.0, 5.0, 5.0, 3.0]))


def plain_forward(model: hidden.Model, steps: hidden.Steps, way: int) -> tuple[list[np.ndarray], float]:
    """One way, step by step, by the textbook; and the logarithm of how probable it is."""
    out, state, before, loglik = [], model.entry, None, 0.0
    half = model.emission.shape[1] // 2
    lengths = hidden._lengths()
    for i in range(steps.first[way], steps.first[way + 1]):
        kind = steps.kind[i]
        if before is not None:
            # a silence of those with a deal tells nothing, nor does what it ends with
            held = steps.deal[i] and kind in (hidden.PASSIVE, hidden.END)
            wait = 0.0 if held else lengths[hidden._length_of(np.array([steps.days[i] - before]))[0]]
            state = state @ expm(model.generator() * wait)
            # where a way begins nobody waited for a visit
            state = state * (model.visits if kind == hidden.VISIT else 1)
        before = steps.days[i]
        if kind <= hidden.PAGE:
            state = state * model.emission[:, steps.code[i] + half * (kind == hidden.PAGE)]
        if kind == hidden.VISIT and steps.deal[i]:
            state = state * model.deal
        if kind in model.marks:
            state = state @ model.marks[kind]
        loglik += np.log(state.sum())
        state = state / state.sum()
        out.append(state)
    return out, loglik


@pytest.mark.parametrize("seed", [1, 2])
def test_the_model_reads_as_a_plain_walk_does(seed):
    steps, model = made_steps(seed), guess()
    found = hidden.filtered(model, steps)
    plain = [plain_forward(model, steps, way) for way in range(len(steps.first) - 1)]
    assert np.allclose(found, np.concatenate([states for states, _ in plain]), atol=1e-9)
    # what EM climbs is how probable all of them are
    assert hidden.fit(model, steps, rounds=1).loglik == pytest.approx([sum(loglik for _, loglik in plain)], rel=1e-9)
    known, both, _ = hidden.smoothed(model, steps)
    assert np.allclose(known, found)
    # at the end hindsight knows no more
    assert np.allclose(both[steps.first[1:] - 1], found[steps.first[1:] - 1], atol=1e-9)
    assert np.allclose(both.sum(axis=1), 1)


def test_hindsight_is_what_all_paths_together_say():
    steps, model = made_steps(5, ways=1, longest=3), guess()
    while np.diff(steps.first)[0] < 3:
        steps = made_steps(int(steps.days[0] * 1000), ways=1, longest=4)
    n = steps.first[1]
    lengths, generator = hidden._lengths(), model.generator()
    weight = np.zeros((n, hidden.SIZE))

    # every path of states before and after each step, one by one: the state at a step is the one after it
    def walk(i, state, mass, path):
        if i == n:
            for at, where in enumerate(path):
                weight[at, where] += mass
            return
        one = np.zeros(hidden.SIZE)
        one[state] = 1
        held = steps.deal[i] and steps.kind[i] in (hidden.PASSIVE, hidden.END)
        if i:
            wait = lengths[hidden._length_of(np.array([steps.days[i] - steps.days[i - 1]]))[0]]
            reach = one if held else one @ expm(generator * wait)
        else:
            reach = model.entry
        kind, half = steps.kind[i], model.emission.shape[1] // 2
        if kind <= hidden.PAGE:
            reach = reach * model.emission[:, steps.code[i] + half * (kind == hidden.PAGE)]
        if kind == hidden.VISIT:
            reach = reach * (model.visits if i else 1) * (model.deal if steps.deal[i] else 1)
        if kind in model.marks:
            reach = reach @ model.marks[kind]
        for after in np.flatnonzero(reach > 0):
            walk(i + 1, after, mass * reach[after], [*path, after])

    walk(0, 0, 1.0, [])
    assert np.allclose(hidden.smoothed(model, steps)[1], weight / weight.sum(axis=1, keepdims=True), atol=1e-8)


def test_em_never_makes_what_was_seen_less_probable_and_keeps_the_sums():
    steps = made_steps(3, ways=400)
    fitted = hidden.fit(guess(), steps, rounds=8, tolerance=0)
    # the guess has a say in it, so a round may lose a little of the likelihood, never much
    assert all(b > a - 1e-3 * abs(a) for a, b in itertools.pairwise(fitted.loglik))
    assert fitted.loglik[-1] > fitted.loglik[0]
    half = fitted.emission.shape[1] // 2
    assert np.allclose(fitted.emission[:, :half].sum(axis=1), 1) and np.allclose(fitted.entry.sum(), 1)
    again = hidden.fit(guess(), steps, rounds=8, tolerance=0)
    assert np.array_equal(fitted.moves, again.moves)


def test_em_climbs_the_likelihood_where_the_guess_has_no_say(monkeypatch):
    """Each round: what is counted is what is evaluated, on a way's first step too."""
    monkeypatch.setattr(hidden, "SHARE_OF_GUESS", 0.0)
    monkeypatch.setattr(hidden, "LEAST_STEPS", 1e-6)
    # short ways, of which the first steps are many
    fitted = hidden.fit(guess(), made_steps(3, ways=300, longest=4), rounds=15, tolerance=0)
    assert all(b > a for a, b in itertools.pairwise(fitted.loglik))


def read(engine, tables, rows=ROWS, day=AS_OF):
    timeline, _, ways = follow(engine, tables, rows=rows)
    stage_rows = journeys.stage_table_of(timeline, rows)
    reading = journeys.read_stages(journeys.seen_of(ways), stage_rows, day, engine, zone="Europe/Berlin")
    return ways, reading, journeys.stage_intervals(reading, ways, "customer").to_pandas()


def crowd(n: int = 60) -> list[tuple]:
    rng = np.random.default_rng(7)
    rows = []
    for who in range(n):
        days = np.sort(rng.uniform(0, 300, rng.integers(1, 8)))
        rows += [
            (
                f"p{who}",
                (at("2023-08-01") + dt.timedelta(days=float(d))).isoformat()[:19],
                NAMES[rng.integers(0, 4)],
                "suits",
            )
            for d in days
        ]
    return rows


def test_nothing_of_the_future_changes_what_was_known(engine):
    """The same model, asked on an earlier day, tells the same of every time before it."""
    rows = crowd()
    _, whole, _ = read(engine, {"events": events(*rows)})
    cut = dt.date(2024, 2, 1)
    early = [row for row in rows if row[1] < "2024-01-31T23:00:00"]
    ways = follow(engine, {"events": events(*early)})[2]
    told = {}
    for name, day, some in (("early", cut, ways), ("late", AS_OF, follow(engine, {"events": events(*rows)})[2])):
        seen = journeys.seen_of(some)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(inference, "_fitted", lambda *_: whole.model)
            stage_rows = journeys.stage_table_of(journeys.compose({"events": events(*rows)}, "customer", engine), ROWS)
            reading = journeys.read_stages(seen, stage_rows, day, engine, zone="Europe/Berlin")
        frame = journeys.stage_intervals(reading, some, "customer").to_pandas()
        # at its own last instant each run looks once more
        frame = frame[(frame["method"] == "filtered") & (frame["valid_from"] < pd.Timestamp("2024-01-31T22:59:59"))]
        told[name] = frame[["subject_id", "stage", "valid_from", "probability", "open_probability"]]
    assert len(told["early"]) > 40
    pd.testing.assert_frame_equal(
        *(told[name].sort_values(["subject_id", "valid_from"], ignore_index=True) for name in ("early", "late"))
    )


def test_what_is_read_does_not_depend_on_the_lots_it_is_read_in(engine, monkeypatch):
    tables = {"events": events(*crowd())}
    ways, whole, intervals = read(engine, tables)
    # some ways are longer than a lot
    monkeypatch.setattr(inference, "LOT_STEPS", 5)
    seen = journeys.seen_of(ways)
    lots = [lot.to_pandas() for lot in seen.lots()]
    assert len(lots) > 20 and sum(len(lot) for lot in lots) == seen.size.sum()
    assert all(set(a["lane"]).isdisjoint(b["lane"]) for a, b in itertools.pairwise(lots))
    _, parted, again = read(engine, tables)
    pd.testing.assert_frame_equal(again, intervals)
    pd.testing.assert_frame_equal(parted.steps.to_pandas(), whole.steps.to_pandas())
    pd.testing.assert_frame_equal(parted.now.to_pandas(), whole.now.to_pandas())


def test_a_model_is_fitted_to_the_same_ways_whether_all_are_read_or_these_alone(engine, monkeypatch):
    timeline, _, ways = follow(engine, {"events": events(*crowd())})
    told = journeys.stage_table_of(timeline, ROWS)
    monkeypatch.setattr(inference, "_FIRST_WAYS", 12)
    monkeypatch.setattr(inference, "FIT_WAYS", 25)
    # so that some ways are several pieces, of which only some are drawn
    monkeypatch.setattr(hidden, "LONGEST", 3)
    seen = journeys.seen_of(ways)
    drawn = inference._fitted(told, seen, inference.microseconds(AS_OF, "Europe/Berlin"), 1)
    everything = inference.fitted_before(seen.part(), told, AS_OF, zone="Europe/Berlin")
    assert np.array_equal(drawn.moves, everything.moves) and np.array_equal(drawn.emission, everything.emission)


def test_intervals_follow_one_another_and_end_in_silence(engine):
    _, _, found = read(engine, {"events": events(*crowd())})
    assert set(found["method"]) == {"filtered", "smoothed"} and set(found["stage"]) <= set(STAGES)
    ended = found["valid_to"].notna()
    assert (found.loc[ended, "valid_to"] > found.loc[ended, "valid_from"]).all()
    for _, some in found.groupby(["method", "subject_id", "topic"]):
        some = some.sort_values("valid_from")
        assert (some["valid_to"].iloc[:-1].to_numpy() <= some["valid_from"].iloc[1:].to_numpy()).all()
        assert some["valid_to"].iloc[:-1].notna().all()
    assert found["probability"].between(0, 1).all() and found.loc[~ended, "probability_now"].notna().all()
    # who was last seen in August has left by July
    silent = read(engine, {"events": events(*crowd(), ("quiet", "2023-08-01", "read", "suits"))})[2]
    quiet = silent[silent["subject_id"] == silent.loc[silent["valid_from"].idxmin(), "subject_id"]]
    assert quiet["valid_to"].notna().any()


def spans_of(model: hidden.Model, rows: list[tuple], end: float) -> tuple[pd.DataFrame, np.ndarray]:
    """What is read of steps told as lane, day, mark and deals open after them; and the states as of the end."""
    lane, day, mark, deals = (np.array(column) for column in zip(*rows, strict=True))
    none = np.zeros(len(lane), int)
    part = inference.Part(
        lane, (day * inference._DAY).astype(np.int64), none, mark.astype(np.int8), deals, none - 1, none.astype(bool)
    )
    steps, lanes, is_end = inference._coded(part, int(end * inference._DAY))
    known, both, into = hidden.smoothed(model, steps)
    of = np.repeat(lanes, np.diff(steps.first))
    found = [inference._filtered_spans(model, steps, of, known), inference._smoothed_spans(model, steps, of, known, both, into)]
    spans = pd.concat([inference._spans_table(*some).to_pandas() for some in found], ignore_index=True)
    days = lambda column: (spans[column] - pd.Timestamp(0)) / pd.Timedelta(days=1)  # noqa: E731
    return spans.assign(since=days("since"), until=days("until")), known[is_end]


@pytest.mark.parametrize("end", [20, 29.9, 30.1, 44, 46, 89, 91, 400])
def test_who_has_left_by_the_day_of_the_run_is_on_no_journey(end):
    """Whenever it is asked, not only on the days on which silences are looked at."""
    spans, now = spans_of(guess(), [(1, 0, hidden.VISIT, 0)], end)
    last = spans.groupby("method").tail(1)
    left = now[0, hidden.AWAY] > 0.5
    assert last["until"].notna().tolist() == [left, left] and spans["since"].max() < end
    # one that ends has ended before the day began
    assert not (spans["until"] >= end).any()


def test_what_is_open_is_what_is_probable_as_of_the_run(engine):
    rows = [row for row in crowd() if row[1] < "2024-04-30T22:00:00"]
    ways, reading, found = read(engine, {"events": events(*rows)}, day=dt.date(2024, 5, 1))
    lanes = ways.lanes.select("lane", "subject_id").inner_join(reading.now, "lane").to_pandas().set_index("subject_id")
    there = lanes[lanes["open_probability"] >= 0.5]
    assert 0 < len(there) < len(lanes)
    for _, some in found[found["valid_to"].isna()].groupby("method"):
        stages = some.set_index("subject_id")[["stage", "probability_now"]].reindex(lanes.index).dropna()
        assert set(stages.index) == set(there.index) and len(stages) == len(there)
        assert stages["stage"].tolist() == [STAGES[level] for level in there.loc[stages.index, "level"]]
        assert stages["probability_now"].tolist() == there.loc[stages.index, "probability"].tolist()


def test_while_a_deal_is_open_nobody_has_left_whatever_else_they_do():
    rows = [
        # answered once in more than a year, silent, one of two deals lost, and the last one lost
        (1, 0, hidden.OPENED, 1), (1, 400, hidden.PASSIVE, 1),
        (2, 0, hidden.OPENED, 1),
        (3, 0, hidden.OPENED, 1), (3, 5, hidden.OPENED, 2), (3, 300, hidden.LOST, 1),
        (4, 0, hidden.OPENED, 1), (4, 410, hidden.LOST, 0),
    ]  # fmt: skip
    spans, now = spans_of(guess(), rows, 420)
    assert spans.groupby("method")["lane"].agg(list).tolist() == [[1, 2, 3, 4]] * 2
    assert set(spans["level"]) == {STAGES.index("decide")} and spans["since"].eq(0).all() and spans["number"].eq(1).all()
    assert spans["until"].isna().equals(spans["lane"] != 4) and spans["until"].dropna().eq(410).all()
    assert spans["open_probability"].eq(1).all()
    assert (now[:3, hidden.AWAY] < 1e-9).all() and now[3, hidden.AWAY] > 0.5


def test_an_open_deal_is_decide_as_of_the_run(engine):
    deal = {"opportunity_id": "o", "opened_at": at("2023-05-01"), "person_id": "b", "topic": "suits"}
    click = {"message_id": "m", "person_id": "b", "sent_at": at("2024-06-01"), "clicked_at": at("2024-06-01"), "topic": "suits"}
    tables = {
        "events": events(*crowd()), "opportunities": table("opportunities", [deal]), "messages": table("messages", [click]),
    }  # fmt: skip
    _, reading, found = read(engine, tables)
    own = found[found["subject_id"] == found.loc[found["valid_from"].idxmin(), "subject_id"]]
    assert own[["stage", "valid_from"]].to_numpy().tolist() == [["decide", at("2023-05-01")]] * 2
    assert own["valid_to"].isna().all() and own["probability_now"].gt(0.5).all()
    assert reading.now.filter(reading.now["open_probability"] == 1).count().to_pyarrow().as_py() == 1


def test_hard_evidence_is_believed(engine):
    tables = {
        "events": events(*crowd(), ("b", "2024-06-20", "read", "suits")),
        "orders": table("orders", [
            {"person_id": "b", "order_id": "1", "ordered_at": at("2024-06-21"), "product_id": "x", "quantity": 1.0,
             "amount": 5.0},
        ]),
        "products": table("products", [{"product_id": "x", "topic": "suits"}]),
    }  # fmt: skip
    _, _, found = read(engine, tables)
    now = found[found["valid_to"].isna() & (found["method"] == "filtered") & (found["valid_from"] == at("2024-06-21"))]
    assert now["stage"].tolist() == ["adopt"] and now["probability"].iloc[0] > 0.99


def test_the_first_order_after_a_closed_journey_may_begin_anew(engine):
    """Of several orders on one day each is the first; one within the same journey is a further one."""
    bought = {"first": "2023-01-10", "further": "2023-02-10", "back": "2024-06-20", "with": "2024-06-20", "again": "2024-06-28"}
    orders = [
        {"person_id": "b", "order_id": name, "ordered_at": at(day) + dt.timedelta(hours=9 + i), "product_id": "x",
         "quantity": 1.0, "amount": 5.0}
        for i, (name, day) in enumerate(bought.items())
    ]  # fmt: skip
    late = {"person_id": "late", "order_id": "l", "ordered_at": at("2024-06-20"), "product_id": "x", "quantity": 1.0, "amount": 5.0}
    later = late | {"order_id": "m", "ordered_at": at("2024-06-25")}
    tables = {
        "events": events(*crowd(), ("b", "2024-06-18", "read", "suits"), ("late", "2023-06-18", "read", "suits")),
        "orders": table("orders", [*orders, late, later]),
        "products": table("products", [{"product_id": "x", "topic": "suits"}]),
    }  # fmt: skip
    ways, _, found = read(engine, tables)
    rows = ways.steps.inner_join(ways.lanes, "lane").filter(lambda t: t["mark"].isin(hidden.ORDERS))
    rows = rows.order_by("occurred_at").select("subject_id", "mark").to_pandas()
    marks = [part["mark"].tolist() for _, part in rows.groupby("subject_id", sort=False)]
    first, again, further = hidden.ORDERS
    assert sorted(marks) == sorted([[first, further, again, again, further], [first, further]])
    # at once it may be either, while who only buys on goes on using
    of = rows["subject_id"].iloc[0]
    known = found[(found["subject_id"] == of) & (found["method"] == "filtered")].set_index("valid_from")["stage"]
    assert known[:"2023-02-11"].tolist() == ["adopt", "use"]
    assert set(known["2024-06-20":"2024-06-21"]) <= {"adopt", "use"}


# --- Bad input ---------------------------------------------------------------------------------------------------


def test_events_without_topic_at_one_time_alone_or_running_ahead_are_read(engine):
    rows = [
        ("solo", "2024-06-01", "read", "suits"), ("tie", "2024-06-01", "read", "suits"),
        ("tie", "2024-06-01", "price", "suits"), ("lost", "2024-06-01", "read", None),
        ("ahead", "2024-07-05", "read", "suits"), ("odd", "2024-06-02", "never_mapped", "suits"),
    ]  # fmt: skip
    _, reading, found = read(engine, {"events": events(*rows)})
    assert len(reading.now.to_pandas()) == 4 and found["probability"].notna().all()
    tied = found[(found["valid_from"] == at("2024-06-01")) & (found["method"] == "filtered")]
    assert not tied.duplicated(["subject_id", "topic", "valid_from"]).any()
    told = journeys.stage_table_of(journeys.compose({"events": events(*rows)}, "customer", engine), ROWS)
    suggested = journeys.unmapped(told, reading.model)
    assert suggested["event_name"].tolist() == ["never_mapped"] and suggested["suggested"].iloc[0] in STAGES


def test_a_robot_and_topics_that_only_messages_know(engine):
    start = at("2024-01-01")
    robot = [("robot", (start + dt.timedelta(minutes=40 * i)).isoformat(), NAMES[i % 4], "suits") for i in range(4_500)]
    tables = {
        "events": events(*robot, ("a", "2024-06-01", "read", "suits")),
        "messages": table("messages", [
            {"message_id": "1", "person_id": "a", "topic": "capes", "sent_at": at("2024-06-01"),
             "clicked_at": at("2024-06-02")},
        ]),
    }  # fmt: skip
    _, reading, found = read(engine, tables)
    # read in pieces, but one way
    assert len(reading.now.to_pandas()) == 3
    assert set(found["topic"]) == {"suits", "capes"}
    assert not found[found["method"] == "filtered"].duplicated(["journey_id", "valid_from"]).any()


def test_a_book_of_orders_alone_has_stages(engine):
    rows = [
        {"person_id": f"p{i % 9}", "order_id": str(i), "ordered_at": at("2024-01-01") + dt.timedelta(days=7 * i),
         "product_id": "x", "quantity": 1.0, "amount": 5.0}
        for i in range(24)
    ]  # fmt: skip
    _, _, found = read(engine, {"orders": table("orders", rows)})
    assert set(found["stage"]) <= set(STAGES) and len(found)


# --- Effects -----------------------------------------------------------------------------------------------------


def test_a_trial_is_compared_by_arms(engine):
    rows, orders = [], []
    for i in range(400):
        treated = i % 2 == 0
        rows.append((f"p{i}", "2024-04-01", "letter_treated" if treated else "letter_control", None))
        if i % (4 if treated else 8) < 2 and i % 3 == 0:
            orders.append(
                {
                    "person_id": f"p{i}",
                    "order_id": str(i),
                    "ordered_at": at("2024-04-10"),
                    "quantity": 1.0,
                    "amount": 1.0,
                }
            )
    timeline = journeys.compose({"events": events(*rows), "orders": table("orders", orders)}, "customer", engine)
    found = journeys.experiments(timeline, AS_OF, zone="Europe/Berlin").iloc[0]
    share = {arm: np.mean([any(o["person_id"] == f"p{i}" for o in orders) for i in range(arm, 400, 2)]) for arm in (0, 1)}
    assert found["effect"] == pytest.approx(share[0] - share[1]) and found["low"] < found["effect"] < found["high"]
    assert (found["design"], found["n"], found["subjects"]) == ("randomised", 200, 400)
    # an hour into 1 June in Berlin: thirty days are not over there
    young = events(*((p, "2024-05-31T23:00", name, topic) for p, _, name, topic in rows))
    young = journeys.compose({"events": young, "orders": table("orders", orders)}, "customer", engine)
    assert [len(journeys.experiments(young, AS_OF, zone=zone)) for zone in ("Europe/Berlin", "UTC")] == [0, 1]


def test_the_correction_for_many_is_benjamini_and_hochberg():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.5])
    assert journeys.corrected(p).tolist()[:2] == pytest.approx([0.04, 0.16 / 3])
    assert np.isnan(journeys.corrected(p)[2])


def test_the_funnel_counts_in_order(make_book, engine):
    columns = "{person_id: user_id, event_name: event, occurred_at: timestamp}"
    folder = book_of(make_book, shared_data("ecom.csv.gz"), columns)
    tables = cleaning.clean(open_book(folder), engine, dt.date(2030, 1, 1)).tables
    seen = journeys.raw_events(journeys.compose(tables, "customer", engine))
    found = journeys.funnel(seen, ["catalog", "product_view", "add_to_cart", "purchase"])
    assert found["subjects"].tolist() == [600, 596, 502, 274]


def test_best_times_follow_a_persons_own_hours(engine):
    rng = np.random.default_rng(1)
    rows, sent = [], []
    for i in range(60):
        own = 8 if i % 2 else 19
        for _ in range(12):
            day = at("2024-03-01") + dt.timedelta(days=int(rng.integers(0, 90)), hours=own, minutes=int(rng.integers(0, 50)))
            rows.append((f"p{i}", day.isoformat(), "read", "suits"))
        sent.append({"message_id": str(i), "person_id": f"p{i}", "channel": "email", "sent_at": at("2024-04-01T09:00")})
    tables = {"events": events(*rows), "messages": table("messages", sent)}
    best = journeys.best_times(tables, journeys.compose(tables, "customer", engine), "UTC")
    assert len(best) == 60 and set(best["hour"]) == {8, 19} and best["channel"].eq("email").all()
    assert journeys.best_times({"messages": None}, None, "UTC").empty
    # what somebody said goes before what they did, and the latest word before the others
    who = journeys.who_is_who(tables, engine).to_pandas().set_index("person_id")["customer_id"]
    tables["preferences"] = table("preferences", [
        {"person_id": "p1", "stated_at": at(t), "weekday": day, "hour": hour}
        for t, day, hour in (("2024-02-01", 2.0, 14.0), ("2024-03-01", None, 15.0), ("2024-04-01", None, None))
    ])  # fmt: skip
    told = journeys.best_times(tables, journeys.compose(tables, "customer", engine), "UTC").set_index("customer_id")
    assert told.loc[who["p1"], ["weekday", "hour", "own_probability"]].tolist() == [2, 15, 1.0]
    same = told.drop(who["p1"])
    assert same[["weekday", "hour"]].equals(best.set_index("customer_id").loc[same.index, ["weekday", "hour"]])


def test_when_somebody_is_called_is_not_their_own_hour(engine):
    visits = [{"person_id": f"p{i}", "occurred_at": at(f"2024-03-{d:02d}T19:10")} for i in range(20) for d in range(1, 9)]
    calls = [{"person_id": f"p{i}", "occurred_at": at(f"2024-04-{d:02d}T09:10")} for i in range(20) for d in range(1, 25)]
    did = [row | {"event_name": "visit", "direction": "inbound"} for row in visits]
    did += [row | {"event_name": "call_out", "direction": "outbound"} for row in calls]
    sent = [{"message_id": str(i), "person_id": f"p{i}", "sent_at": at("2024-05-01T12:00")} for i in range(20)]
    tables = {"events": table("events", did), "messages": table("messages", sent)}
    best = journeys.best_times(tables, journeys.compose(tables, "customer", engine), "UTC")
    assert set(best["hour"]) == {19}


def test_when_the_doors_open_is_nobodys_own_hour(engine):
    """Half of all come at eight, whatever their own hour is; it is seen all the same."""
    rng = np.random.default_rng(2)
    rows, sent, own = [], [], {}
    for i in range(200):
        own[f"p{i}"] = int(rng.integers(12, 21))
        for d in range(14):
            hour = 8 if rng.random() < 0.5 else int(np.clip(round(rng.normal(own[f"p{i}"], 1.5)), 8, 23))
            rows.append((f"p{i}", (at("2024-03-01") + dt.timedelta(days=5 * d, hours=hour)).isoformat(), "read", "suits"))
        sent.append({"message_id": str(i), "person_id": f"p{i}", "channel": "email", "sent_at": at("2024-04-01T09:00")})
    tables = {"events": events(*rows), "messages": table("messages", sent)}
    best = journeys.best_times(tables, journeys.compose(tables, "customer", engine), "UTC").set_index("customer_id")
    who = journeys.who_is_who(tables, engine).to_pandas().set_index("person_id")["customer_id"]
    off = best.loc[[who[name] for name in own], "hour"].to_numpy() - np.array(list(own.values()))
    assert np.abs(off).mean() < 1.0


def test_carts_and_searches(engine):
    seen = events(("a", "2024-05-01", "add_to_cart", "suits"), ("b", "2024-05-01", "add_to_cart", "suits"))
    orders = table(
        "orders", [{"person_id": "a", "order_id": "1", "ordered_at": at("2024-05-03"), "quantity": 1.0, "amount": 1.0}]
    )
    tables = {"events": seen, "orders": orders}
    who = journeys.who_is_who(tables, engine)
    known = journeys.acquaintance(tables, who, "customer")
    found = journeys.carts(journeys.compose(tables, "customer", engine, who), known, AS_OF)
    assert found.iloc[-1][["carts", "left_standing"]].tolist() == [2, 1]
    looked = [
        {"person_id": f"p{i}", "event_name": "search", "occurred_at": at("2024-05-01"), "text": word, "results": hits}
        for i in range(6) for word, hits in (("Capes", 0.0), ("secret" + str(i), 0.0), ("suits", 9.0))
    ]  # fmt: skip
    told = journeys.searches(table("events", looked))
    # what one person alone searched for is told to nobody
    assert told["words"].tolist() == ["capes", "all with hits", "all without a hit"]
    assert told["searches"].tolist() == [6, 6, 12]


def test_own_words_hide_what_few_people_say():
    cases = [
        {"case_id": str(i), "person_id": f"p{i}", "opened_at": at("2024-05-01"), 
         "text": f"Delivery late again Xaver{i}" if i % 2
         else f"Jacket sleeves wrong Xaver{i}"}
        for i in range(40)
    ]  # fmt: skip
    found = journeys.own_words({"cases": table("cases", cases)})
    assert found["texts"].sum() == 40 and not found.astype(str).apply(lambda c: c.str.contains("(?i)xaver")).any().any()


def test_every_stage_word_is_one_of_the_six():
    for _, row in (*journeys.evidence.BY_NAME.items(), *journeys.evidence.BY_PATTERN):
        assert set(row) <= set(STAGES)


# --- Touchpoints, and who is to be approached ---------------------------------------------------------------------


def touched(*rows: tuple) -> ibis.Table:
    """Events with a device, a source that tells of them and a piece."""
    names = ("person_id", "occurred_at", "event_name", "topic", "device", "content_id")
    return table("events", [dict(zip(names, (p, at(t), *rest), strict=False)) for p, t, *rest in rows])


def test_touchpoints_switches_and_steps_to_a_piece_are_counted(engine):
    seen = touched(
        ("p", "2024-05-01T10:00", "read", "suits", "mobile", None),
        ("p", "2024-05-01T10:10", "compare", "suits", "mobile", "piece"),
        # forty minutes later it is another visit
        ("p", "2024-05-01T10:50", "price", "suits", "desktop", "piece"),
        ("q", "2024-05-01T09:00", "read", "suits", "mobile", None),
    )
    content = table("content", [{"content_id": "piece", "title": "t", "stage": "decide", "format": "story"}])
    timeline = engine.keep(journeys.compose({"events": seen}, "customer", engine))
    told = journeys.stage_table_of(timeline, ROWS)
    use = journeys.touch_use(timeline, told).set_index("touchpoint")
    assert use.loc["web mobile", ["events", "need", "research", "mostly"]].tolist() == [3, 2 / 3, 1 / 3, "read"]
    walked = journeys.visits(timeline, engine)
    found = journeys.switches(walked).iloc[0]
    assert found[["touchpoint_from", "touchpoint_to", "n", "share"]].tolist() == ["web mobile", "web desktop", 1, 0.5]
    assert found["median_hours"] == pytest.approx(0.67)
    far = journeys.steps_to(walked, content).iloc[0]
    assert far[["stage", "format", "reached", "at_once", "median_steps"]].tolist() == ["decide", "story", 2, 0.5, 1.5]
    assert journeys.steps_to(walked, None).empty


def test_entries_exits_loops_and_the_funnel_by_group(engine):
    seen = events(
        ("a", "2024-05-01", "read", "suits"), ("a", "2024-05-02", "read", "suits"), ("a", "2024-05-03", "price", "suits"),
        ("b", "2024-05-01", "read", "shirts"), ("b", "2024-05-04", "compare", "shirts"),
        ("b", "2024-05-05", "read", "shirts"),
    )  # fmt: skip
    orders = table("orders", [
        {"person_id": "a", "order_id": "1", "ordered_at": at("2024-05-04"), "product_id": "s", "quantity": 1.0}
    ])  # fmt: skip
    tables = {"events": seen, "orders": orders, "products": table("products", [{"product_id": "s", "topic": "suits"}])}
    timeline, _, ways = follow(engine, tables)
    ends = journeys.entries_and_exits(ways, journeys.stage_table_of(timeline, ROWS))
    assert ends["entries"].to_numpy().tolist() == [["read", 2, 1.0, 0.5]]
    assert ends["exits"].to_numpy().tolist() == [["read", 1, 1.0]]
    found = journeys.loops(journeys.event_transitions(journeys.sequences(journeys.raw_events(timeline))))
    assert dict(zip(found["loop"], found["n"], strict=True)) == {"again: read": 1, "compare ⇄ read": 2}
    tables["opportunity_people"] = table("opportunity_people", [{"opportunity_id": "o", "person_id": "a", "role": "buyer"}])
    who = journeys.who_is_who(tables, engine)
    told = journeys.funnel_by(ways, tables, who, "customer", few=1).set_index(["by", "group"])
    assert told.loc[("topic", "suits"), ["journeys", "looked", "decided", "bought"]].tolist() == [1, 1, 1, 1]
    assert told.loc[("topic", "shirts"), ["looked", "decided", "bought"]].tolist() == [1, 0, 0]
    assert told.loc[("role", "buyer"), "bought"] == 1 and told.loc[("role", "not told"), "bought"] == 0


def test_the_step_matrix_adds_up_to_all_journeys():
    rows = [(1, "need", "decide", 6), (1, "need", "left", 4), (2, "decide", "left", 3), (2, "decide", "still there", 1),
            (2, "decide", "use", 2), (3, "use", "still there", 2)]  # fmt: skip
    found = journeys.step_matrix(pd.DataFrame(rows, columns=["step", "stage", "next", "n"]))
    assert found.sum().round(9).eq(1).all()
    assert found.loc["left"].round(9).tolist() == [0, 0.4, 0.7] and found.loc["still there", 3] == pytest.approx(0.1)


def test_who_came_back_unasked_is_approached_first_and_told_why(engine):
    seen = events(
        ("a", "2024-06-28", "price", "suits"), ("b", "2024-06-28", "price", "suits"), ("c", "2024-06-10", "price", "suits"),
        ("d", "2024-06-29", "compare", "suits"), ("e", "2024-06-29", "manual", "suits"),
    )  # fmt: skip
    sent = table("messages", [
        {"message_id": str(i), "person_id": p, "sent_at": at("2024-06-20")} for i, p in enumerate(["b", *["z"] * 4])
    ])  # fmt: skip
    tables = {"events": seen, "messages": sent}
    timeline, _, ways = follow(engine, tables)
    found = journeys.intervals(ways, "customer", AS_OF, **SPAN)
    who = journeys.who_is_who(tables, engine)
    stands = journeys.standing(tables, who, timeline, found, "customer", AS_OF, engine, zone="Europe/Berlin")
    of = who.to_pandas().set_index("person_id")["customer_id"]
    first = journeys.to_approach(stands, journeys.allowing(tables, who, "customer", AS_OF, "UTC"), zone="Europe/Berlin")
    assert first["subject_id"].tolist() == [of["a"], of["d"]]
    assert first["why_now"].iloc[0].startswith("decides, was last seen on 2024-06-28")
    assert first["consent"].tolist() == ["unknown"] * 2 and first["channels"].isna().all()
    told = journeys.silence_and_push(stands).set_index("stage")
    assert told.loc["decide", ["journeys", "active", "silent", "approach_first"]].tolist() == [3, 3, 2, 1]


def test_who_is_approached_first_is_told_with_what_they_allow(engine):
    seen = events(*((p, "2024-06-28", "price", "suits") for p in "abcd"))
    said = [("a", "given", "email", "2024-01-01"), ("a", "given", "phone", "2024-01-01"), ("b", "given", "email", "2024-01-01"),
            ("b", "withdrawn", None, "2024-06-30"), ("c", "given", "email", "2024-06-30 23:30"), ("e", "given", "post", "2024-01-01"),
    ]  # fmt: skip
    consents = [
        {"person_id": p, "purpose": "marketing", "status": s, "channel": c, "indicated_at": at(t)} for p, s, c, t in said
    ]  # fmt: skip
    tables = {"events": seen, "consents": table("consents", consents)}
    who = journeys.who_is_who(tables, engine)

    def told(subject: str, zone: str, **more) -> dict[str, tuple]:
        timeline, _, ways = follow(engine, tables | more, subject)
        found = journeys.intervals(ways, subject, AS_OF, **SPAN)
        people = journeys.who_is_who(tables | more, engine)
        stands = journeys.standing(tables | more, people, timeline, found, subject, AS_OF, engine, zone=zone)
        first = journeys.to_approach(stands, journeys.allowing(tables | more, people, subject, AS_OF, zone), zone=zone)
        assert list(first.columns[-2:]) == ["consent", "channels"] and first["consent"].isin(["given", "none"]).all()
        return first.set_index("subject_id")["channels"].fillna("").to_dict()

    of = who.to_pandas().set_index("person_id")["customer_id"]
    assert told("customer", "UTC") == {of["a"]: "email, phone", of["b"]: "", of["c"]: "email", of["d"]: ""}
    # in Berlin the day of the run had begun by then
    assert told("customer", "Europe/Berlin")[of["c"]] == ""
    # whoever was never seen may allow it for the account
    unseen = ibis.memtable({"person_source": ["web"], "person_id": ["e"]})
    unseen = with_customer(unseen, None).to_pandas()["customer_id"].item()
    members = ibis.memtable({"customer_id": [*of[[*"abcd"]], unseen], "account_id": [*"xxyzz"]})
    assert told("account", "UTC", customers=members) == {"x": "email, phone", "y": "email", "z": "post"}


def test_the_last_week_begins_with_a_day_of_the_book(engine):
    tables = {"events": events(("a", "2024-06-23T23:00", "price", "suits"))}
    timeline, _, ways = follow(engine, tables)
    found, who = journeys.intervals(ways, "customer", AS_OF, **SPAN), journeys.who_is_who(tables, engine)
    for zone, why in (("Europe/Berlin", ["decides, was last seen on 2024-06-24"]), ("UTC", [])):
        stands = journeys.standing(tables, who, timeline, found, "customer", AS_OF, engine, zone=zone)
        told = journeys.to_approach(stands, None, zone=zone)["why_now"]
        assert [words.partition(",")[0] + "," + words.split(",")[1] for words in told] == why, zone


def test_the_gap_by_channel():
    rows = [("email", "need", "need", 3), ("email", "need", "use", 1), ("email", "need", "no journey", 4),
            ("post", "need", "no journey", 2)]  # fmt: skip
    found = journeys.by_channel(pd.DataFrame(rows, columns=["channel", "planned", "actual", "messages"]))
    assert found.iloc[0].tolist() == ["email", 8, 0.5, 0.25] and np.isnan(found["misfit"].iloc[1])


def test_a_case_soon_after_is_a_complaint_and_an_order_before_a_case_does_not_follow_it(engine):
    tables = {
        "events": events(*((p, "2024-01-01", "read", "suits") for p in "ab"), ("b", "2024-01-12", "read", "suits")),
        "cases": table("cases", [{"case_id": "1", "person_id": "a", "opened_at": at("2024-01-10")},
                                 {"case_id": "2", "person_id": "b", "opened_at": at("2024-01-11")}]),
        "orders": table("orders", [
            {"person_id": "a", "order_id": "1", "ordered_at": at("2024-01-12"), "product_id": "s", "quantity": 1.0},
            {"person_id": "b", "order_id": "2", "ordered_at": at("2024-01-05"), "product_id": "s", "quantity": 1.0},
        ]),
        "products": table("products", [{"product_id": "s", "topic": "suits"}]),
    }  # fmt: skip
    timeline, evidence, ways = follow(engine, tables)
    found = journeys.moments(timeline, ways, evidence, AS_OF, **SPAN, window_days=30)
    found = found.set_index(["event_name", "stage"])
    # both a case after the first day, and none after the third
    assert found.loc[("read", "need"), ["n", "complained"]].tolist() == [3, pytest.approx(2 / 3, abs=1e-6)]
    cases = found.loc["case"]
    assert cases["n"].sum() == 2 and (cases["n"] * cases["ordered"]).sum() == 1


def test_a_journey_map_has_its_five_lanes(engine):
    tables = {
        "events": events(*crowd()), "customers": ibis.memtable({"customer_id": ["x"], "persona": ["the planner"]}),
        "surveys": table("surveys", [{"person_id": "p1", "asked_at": at("2024-03-01"), "metric": "CSAT", "score": 4.0}]),
    }  # fmt: skip
    assert journeys.commonest_persona(tables) == "the planner" and journeys.commonest_persona({}) is None
    ways, _, _ = read(engine, {name: tables[name] for name in ("events", "surveys")})
    timeline = journeys.compose({"events": tables["events"]}, "customer", engine)
    told = journeys.stage_table_of(timeline, ROWS)
    found = journeys.persona_map(
        journeys.of_persona(ways, tables, "customer", None), told, journeys.moments(
            timeline, ways, journeys.as_evidence(told), AS_OF, **SPAN, window_days=30), journeys.touch_use(timeline, told),
        pd.Series({"need": "csat 4.0 (n 1)"}),
    )  # fmt: skip
    assert found["lane"].tolist() == ["doing", "touchpoint", "feeling", "pain", "opportunity"]
    assert found["need"].iloc[1] == "web" and found["need"].iloc[2] == "csat 4.0 (n 1)"
    assert journeys.of_persona(ways, tables, "customer", "the planner").count().to_pyarrow().as_py() == 0


def test_events_of_nobody_are_no_ones_and_one_subject_may_do_very_much(engine):
    start = at("2024-01-01")
    crawler = [("robot", (start + dt.timedelta(minutes=i)).isoformat(), NAMES[i % 4], "suits") for i in range(3_000)]
    tables = {"events": events(*crawler, (None, "2024-06-01", "read", "suits"), ("one", "2024-06-01", "read", "suits"))}
    timeline = engine.keep(journeys.compose(tables, "customer", engine))
    assert timeline.count().to_pyarrow().as_py() == 3_001
    ways = journeys.variants(journeys.sequences(timeline)).to_pandas()
    assert sorted(ways["variant"].str.count(" > ")) == [0, 1_000] and ways["variant"].str.endswith("…").sum() == 1


def test_one_subject_with_a_million_events_is_counted_and_cut(engine):
    n = 1_000_000
    place = ibis.range(n).unnest().name("arrival").as_table()
    seen = engine.keep(place.mutate(
        subject_id=ibis.literal("a"), event_name=ibis.literal("e").concat((place["arrival"] % 3).cast("string")),
        occurred_at=ibis.timestamp("2024-01-01 00:00:00") + (place["arrival"] // 2).cast("int64").as_interval("s"),
    ))  # fmt: skip
    done = journeys.sequences(seen)
    pairs = journeys.event_transitions(done).to_pandas()
    assert pairs["n"].sum() == n - 1 and set(zip(pairs["event_from"], pairs["event_to"], strict=True)) == {
        ("e0", "e1"), ("e1", "e2"), ("e2", "e0")}  # fmt: skip
    way = journeys.variants(done, 4).to_pandas()
    assert way.values.tolist() == [["e0 > e1 > e2 > e0 > …", 1]]


def test_what_late_deliveries_and_returns_do_to_the_next_order_and_to_recommendation(engine):
    draw = np.random.default_rng(5)
    n = 4_000
    late, back = draw.random(n) < 0.3, draw.random(n) < 0.2
    # chance decides to whom it happens, so that shares may be compared as they are
    again = draw.random(n) < 0.6 - 0.2 * late - 0.1 * back
    told = draw.random(n) < 0.3 - 0.15 * back
    first = at("2023-06-01")
    orders, deliveries, returns, referrals = [], [], [], []
    for i in range(n):
        person, day = {"person_id": f"p{i}"}, first + dt.timedelta(days=i % 60)
        line = {"product_id": "s", "quantity": 1.0, "amount": 10.0}
        orders.append(person | line | {"order_id": f"a{i}", "ordered_at": day})
        promised = day + dt.timedelta(days=5)
        deliveries.append({"order_id": f"a{i}", "promised_at": promised,
                           "delivered_at": promised + dt.timedelta(days=2 if late[i] else -1)})  # fmt: skip
        if back[i]:
            returns.append({"order_id": f"a{i}", "returned_at": day + dt.timedelta(days=20)})
        if again[i]:
            orders.append(person | line | {"order_id": f"b{i}", "ordered_at": day + dt.timedelta(days=100)})
        if told[i]:
            referrals.append(person | {"referred_person_id": f"r{i}", "referred_at": day + dt.timedelta(days=50)})
    # what comes long after is what it is, and no return of the order
    returns.append({"order_id": "a0", "returned_at": first + dt.timedelta(days=300)})
    tables = {name: table(name, rows) for name, rows in (
        ("orders", orders), ("deliveries", deliveries), ("returns", returns), ("referrals", referrals))}  # fmt: skip
    who = ibis.memtable({"person_source": ["web"] * n, "person_id": [f"p{i}" for i in range(n)],
                         "customer_id": [f"c{i}" for i in range(n)], "account_id": [f"a{i}" for i in range(n)]})  # fmt: skip
    found = journeys.after_purchase(tables, who, AS_OF, zone="Europe/Berlin").set_index(["event_name", "outcome"])
    assert set(found.index) == {(name, outcome) for name in ("late_delivery", "returned")
                                for outcome in ("another order in 180 days", "a referral in 180 days")}  # fmt: skip
    for name, happened in (("late_delivery", late), ("returned", back)):
        for outcome, followed in (("another order in 180 days", again), ("a referral in 180 days", told)):
            one = found.loc[name, outcome]
            assert one["low"] < one["effect"] < one["high"]
            assert one["effect"] == pytest.approx(followed[happened].mean() - followed[~happened].mean(), abs=0.025)
            # the orders with which customers came back count too, and none of those is late or goes back
            assert one["n"] == happened.sum() and one["subjects"] == happened.sum()
    assert found.loc["returned", "a referral in 180 days"]["high"] < 0
    few = {name: rows for name, rows in tables.items() if name in ("orders", "deliveries")}
    assert set(journeys.after_purchase(few, who, AS_OF, zone="Europe/Berlin")["event_name"]) == {"late_delivery"}


def test_what_came_on_the_day_it_was_promised_for_was_not_late(engine):
    who = ibis.memtable(
        {name: ["web" if name == "person_source" else "p"] for name in ("person_source", "person_id", "customer_id")}
    )
    day = at("2024-05-01T22:00")  # 2 May begins in Berlin
    came, asked = day + dt.timedelta(hours=14), day + dt.timedelta(days=3)
    tables = {
        "orders": table("orders", [{"person_id": "p", "order_id": "o", "ordered_at": at("2024-04-20")}]),
        "deliveries": table("deliveries", [{"order_id": "o", "promised_at": day, "delivered_at": came}]),
        "surveys": table("surveys", [{"person_id": "p", "asked_at": asked, "metric": "csat", "score": 5.0}]),
    }
    told = journeys.contentment(tables, who, zone="Europe/Berlin")
    assert set(told["after"]) == {"any", "a delivery in time"}
    assert set(journeys.contentment(tables, who, zone="UTC")["after"]) == {"any", "a late delivery"}
    orders = tables["orders"].mutate(quantity=1.0)
    both = who.mutate(account_id=ibis.literal("a"))
    late = journeys.effects._orders(tables | {"orders": orders}, both, dt.date(2025, 1, 1), "Europe/Berlin", "complaint")["late"]
    assert not late.any()


def test_an_event_that_is_seen_in_all_stages_alike_tells_none_and_nobody_deciding_buys_no_share():
    emission = np.full((7, 4), 0.25)
    emission[:6, 1] = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    written = pd.DataFrame({"event_name": ["Anruf", "Messe"], "kind": "event", "events": [5, 4], "stage": None})
    told = journeys.emission_change(SimpleNamespace(emission=emission), written).set_index("event_name")
    assert told["learned"].isna().tolist() == told["probability"].isna().tolist() == [True, False]
    assert told.loc["Messe", "learned"] == "need"
    table = pd.DataFrame({"by": ["hidden Markov model", "stage of the last event"], "auc": [0.7, 0.5]})
    said = journeys.say_foresight({"table": table, "decide": np.nan, "others": 0.3})
    assert said == "Nobody was read as deciding then; the model ranks better than the last event"
