"""What is held, whose it is, who uses it, what customers allow: and what is missing is said."""

from __future__ import annotations

import datetime as dt

import ibis
import pandas as pd
import pytest

from clientbook import governance
from clientbook.book import Rule, Settings, Source
from clientbook.stage import Stage
from clientbook.tables import CANONICAL, Column, Table

AS_OF = dt.date(2026, 7, 1)
SOURCES = {"crm": Source(owner="sales"), "shop": Source()}
STAGES = [
    Stage("cleaning", (*CANONICAL, "rejected"), "rows"),
    Stage(
        "matching",
        ("customers",),
        "customers",
        needs=("people",),
        tables=(Table("customers", "a customer", (Column("customer_id", "id", "the customer"),)),),
    ),
    Stage("overview", (), "all", uses=("*",)),
]


def tables() -> dict[str, ibis.Table]:
    people = pd.DataFrame(
        {
            "source": ["crm", "crm", "shop"], "person_id": ["1", "2", "1"], "email": ["a@x.org", None, None],
            "x_shoe": ["42", "43", None], "file": "p.csv", "row": [1, 2, 1], "arrival": [0, 1, 2],
        }
    )  # fmt: skip
    customers = pd.DataFrame({"customer_id": ["c1", "c2"], "email": ["a@x.org", None]})
    return {"people": ibis.memtable(people), "customers": ibis.memtable(customers)}


def test_catalogue_tells_owner_personal_data_filled_and_use():
    told = governance.catalogue(tables(), SOURCES, STAGES).set_index(["table", "column", "source"])
    email = told.loc[("people", "email", "crm")]
    assert (email["owner"], email["personal"], email["filled"], email["used_by"]) == ("sales", "email", 0.5, "matching")
    assert told.loc[("people", "email", "shop"), "filled"] == 0.0
    assert told.loc[("people", "x_shoe", "crm"), "meaning"].startswith("a column that the book maps")
    derived = told.xs("customers").droplevel("source").loc["email"]
    assert (derived["made_by"], derived["personal"], derived["rows"]) == ("matching", "email", 2)
    assert pd.isna(told.loc[("people", "file", "crm"), "personal"])
    frame = told.reset_index()
    assert set(frame.columns) == set(governance.STAGE.tables[0].names)
    assert not governance.by_table(frame).empty
    by_id = frame.head(1).assign(table="value", column="customer_id", personal=None)
    assert governance.by_table(by_id)["personal"].tolist() == ["about customers, by id"]
    assert governance.personal_data(frame)["kind"].tolist() == ["id", "email"]


def test_an_empty_table_is_in_the_catalogue():
    none = ibis.memtable([], schema={"source": "string", "reason": "string", "arrival": "int64"})
    told = governance.catalogue({"rejected": none}, SOURCES, STAGES)
    assert told["rows"].tolist() == [0, 0, 0] and told["filled"].isna().all()


def test_missing_owners_are_faults_and_numbers():
    told = governance.catalogue(tables(), SOURCES, STAGES)
    faults = governance.ownerless(SOURCES, told)
    assert faults.values.tolist() == [["shop", "people", 2, "nobody answers for it"]]
    coverage = governance.consent_coverage(None, None, None, None, AS_OF, "UTC")
    assert "For 1 of 2 sources nobody answers (shop)" in governance.answer(told, coverage, faults)
    assert governance.key_numbers(told, coverage, faults)[-1].value == 1
    owned = {"crm": Source(owner="sales")}
    assert governance.ownerless(owned, told).empty


def consents(rows) -> ibis.Table:
    names = ["person_source", "person_id", "purpose", "status", "indicated_at", "channel", "valid_to"]
    kinds = dict.fromkeys(names, "string") | {"indicated_at": "timestamp", "valid_to": "timestamp"}
    return ibis.memtable(pd.DataFrame(rows, columns=names), schema=kinds)


def test_coverage_counts_every_customer_once_a_purpose_and_channel():
    day = [dt.datetime(2026, 1, n) for n in range(1, 9)]
    said = consents(
        [
            ("news", "1", "marketing", "given", day[0], None, None),
            ("news", "1", "marketing", "refused", day[1], "phone", None),
            ("crm", "9", "marketing", "given", day[2], None, dt.datetime(2026, 6, 30, 22)),
            ("news", "2", "marketing", "given", day[3], "email", None),
            ("news", "3", "surveys", "withdrawn", day[3], None, None),
        ]
    )
    who = [("news", "1", "c1"), ("crm", "9", "c2"), ("news", "2", "c3"), ("news", "3", "c4")]
    identities = ibis.memtable(pd.DataFrame(who, columns=["source", "person_id", "customer_id"]))
    known = pd.DataFrame({"customer_id": ["c1", "c5", "c6"], "email": ["a@x.org", "b@x.org", None],
                          "phone": [None] * 3, "street": [None] * 3}).astype("object")  # fmt: skip
    kinds = dict.fromkeys(known.columns, "string")
    customers = ibis.memtable(known, schema=kinds)
    told = governance.consent_coverage(said, identities, customers, None, AS_OF, "Europe/Berlin")
    rows = told.set_index(["purpose", "channel"])
    assert list(told.columns) == list(governance.STAGE.tables[1].names)
    assert (rows["customers"] == 5).all(), "c6 can be addressed by nothing and said nothing"
    statuses = ["given", "refused", "withdrawn", "expired", "unknown"]
    assert (rows[statuses].sum(axis=1) == 5).all()
    # the consent of c2 ran out at midnight in Berlin
    assert rows.loc[("marketing", "email"), statuses].tolist() == [2, 0, 0, 1, 2]
    assert rows.loc[("marketing", "phone"), statuses].tolist() == [0, 1, 0, 1, 3]
    assert rows.loc[("surveys", "email"), statuses].tolist() == [0, 0, 1, 0, 4]
    assert governance.say_coverage(told) == "Marketing may reach 40% of the customers by email, and 0% by phone"
    assert governance.key_numbers(governance.catalogue(tables(), SOURCES, STAGES), told, pd.DataFrame())[0].value == 0.4


def test_without_consents_coverage_is_empty_and_said():
    told = governance.consent_coverage(None, None, None, None, AS_OF, "UTC")
    assert told.empty and list(told.columns) == list(governance.STAGE.tables[1].names)
    schema = ibis.memtable(told).schema()
    assert schema["given"].is_integer() and schema["purpose"].is_string()
    assert "does not say" in governance.say_coverage(told)


def test_lineage_leads_from_files_to_tables_to_tables():
    inputs = [{"file": "p.csv", "table": "people"}, {"file": "p.csv", "table": "people"}]
    told = governance.lineage(inputs, ["people", "customers", "orders"], STAGES)
    assert told.values.tolist() == [
        ["file", "p.csv", "people", "cleaning"],
        ["table", "people", "customers", "matching"],
    ]
    assert governance.steps(told).values.tolist() == [
        ["cleaning", "1 delivered file", "people"], ["matching", "people", "customers"],
    ]  # fmt: skip


def test_declarations_of_stages_that_are_there():
    told = governance.declarations(("cleaning", "no_such_stage", "value"))
    assert [stage.name for stage in told] == ["cleaning", "value"]


def test_it_is_executed_after_all_whose_tables_it_describes():
    others = {name for stage in governance.declarations() for name in stage.writes if stage.name != "governance"}
    missing = others - set(governance.STAGE.uses)
    assert not missing, f"governance does not say that it reads {sorted(missing)}"


@pytest.mark.parametrize("filled", [0.0, 0.01, 0.5])
def test_hardly_filled_columns_are_asked_about(filled):
    row = {
        "table": "people",
        "column": "phone",
        "source": "crm",
        "owner": "sales",
        "filled": filled,
        "personal": "phone",
    }
    assert len(governance.unused(pd.DataFrame([row]))) == (filled == 0.01)


def said(rows) -> ibis.Table:
    """`person_id`, `status`, day of 2026, `channel`, day on which it runs out."""
    frame = pd.DataFrame(rows, columns=["person_id", "status", "day", "channel", "until"])
    start = pd.Timestamp("2026-01-01")
    frame["indicated_at"] = start + pd.to_timedelta(frame.pop("day"), unit="D")
    frame["valid_to"] = start + pd.to_timedelta(frame.pop("until").astype(float), unit="D")
    frame = frame.assign(source="crm", person_source="crm", purpose="marketing", arrival=range(len(frame)))
    kinds = {name: "timestamp" if name in ("indicated_at", "valid_to") else "string" for name in frame} | {"arrival": "int64"}
    return ibis.memtable(frame, schema=kinds)


SAID = [
    ("1", "given", 10, "email", None), ("1", "withdrawn", 100, None, None), ("2", "given", 20, None, 60),
    ("3", "refused", 5, "email", None), ("4", "given", 170, "post", None), ("4", "refused", 170, "post", None),
]  # fmt: skip


def test_consent_history_is_what_was_in_force_on_each_day():
    told = governance.consent_history(said(SAID), None, None, AS_OF, "UTC", quarters=2)
    assert sorted(set(told["on"].dt.date)) == [AS_OF - dt.timedelta(days=91), AS_OF], "before that nobody had said anything"
    for day, part in told.groupby("on"):
        for row in part.itertuples():
            status = {}
            for who, what, at, channel, until in SAID:
                when = dt.date(2026, 1, 1) + dt.timedelta(days=at)
                if when < day.date() and channel in (None, row.channel):
                    over = what == "given" and until and dt.date(2026, 1, 1) + dt.timedelta(days=until) <= day.date()
                    word = "expired" if over else what
                    strict = ["given", "unknown", "expired", "refused", "withdrawn"].index(word)
                    status[who] = max(status.get(who, (dt.date.min, 0, "")), (when, strict, word))
            words = [word for *_, word in status.values()]
            assert (row.given, row.expired) == (words.count("given"), words.count("expired")), (day, row.channel)
            assert row.withdrawn == words.count("refused") + words.count("withdrawn")
    assert governance.consent_history(None, None, None, AS_OF, "UTC").empty
    # there, this day has no midnight, or two
    for zone, day in (("Africa/Cairo", dt.date(2026, 4, 24)), ("America/Havana", dt.date(2026, 11, 1))):
        assert set(governance.consent_history(said(SAID), None, None, day, zone)["on"].dt.date) >= {day}
    wide = governance.history_of(told)
    assert list(wide.columns) == ["email", "post"] and "allow marketing, after" in governance.say_history(wide)


def test_what_records_say_against_each_other_is_counted_with_what_it_is_taken_for():
    who = ibis.memtable(pd.DataFrame({"source": "crm", "person_id": ["1", "3"], "customer_id": "c9"}))
    told = governance.contradictions(said([("1", "given", 10, "email", None), ("3", "refused", 5, "email", None)]), who, AS_OF)
    assert told[["said", "customers", "settled_as"]].values.tolist() == [["given and refused", 1, "given"]]
    assert governance.contradictions(said(SAID[:1]), who, AS_OF).empty


def test_a_stricter_rule_loses_whom_it_would():
    rows = said([("1", "given", 10, "email", None), ("2", "given", 10, None, None), ("3", "given", -900, "email", None)])
    told = governance.stricter(rows, None, None, AS_OF, "UTC").set_index("rule")["customers"]
    assert told.tolist() == [3, 2, 2]
    assert governance.stricter(None, None, None, AS_OF, "UTC").empty


def test_rows_kept_too_long_and_repaired_values_stand_in_the_catalogue():
    held = tables()
    held["people"] = held["people"].mutate(created_at=ibis.timestamp("2020-01-01 00:00:00"))
    held["changes"] = ibis.memtable(pd.DataFrame({"source": ["crm"], "table": ["people"], "column": ["email"]}))
    sources = {"crm": Source(owner="sales", retention_days=365, purpose="to serve"), "shop": Source()}
    told = governance.catalogue(held, sources, STAGES, AS_OF).set_index(["table", "column", "source"])
    email = told.loc[("people", "email", "crm")]
    assert (email["overdue"], email["repaired"], email["purpose"]) == (2, 0.5, "to serve")
    assert pd.isna(told.loc[("people", "email", "shop"), "overdue"])
    rules = governance.policy(
        settings(sources), told.reset_index(), governance.consent_coverage(None, None, None, None, AS_OF, "UTC")
    )
    assert rules["holds"].tolist() == [False, False]
    assert rules.set_index("rule").loc["nothing is kept longer than it may be", "what"] == "people of crm"
    assert governance.say_policy(rules).startswith("2 of 2 rules are broken")


def settings(sources, *rules) -> Settings:
    return Settings(name="b", sources=sources, policy=rules)


def test_the_rules_of_the_book_are_checked_and_what_cannot_be_told_is_said():
    audit = ibis.memtable(pd.DataFrame({"verdict": ["right", "no_consent", "operational"], "no_consent": [False, True, False]}))
    asked = [
        Rule(rule="messages without consent", at_most=0.5), Rule(rule="messages without consent", at_most=0.4),
        Rule(rule="customers who allow marketing", at_least=0.2), Rule(rule="every source has an owner"),
        Rule(rule="rows that can be used", at_least=0.9),
    ]  # fmt: skip
    frame = governance.catalogue(tables(), {"crm": Source(owner="x")}, STAGES, AS_OF)
    coverage = governance.consent_coverage(None, None, None, None, AS_OF, "UTC")
    cleaned = {"key_numbers": [{"name": "Rows that can be used", "value": 0.95}, {"name": "Rows delivered", "value": 9}]}
    told = governance.policy(settings({"crm": Source(owner="x")}, *asked), frame, coverage, audit=audit, cleaned=cleaned)
    assert list(told.columns) == list(governance.STAGE.tables[3].names)
    assert told["holds"].tolist()[0] is False and told.iloc[0]["limit"] == "at most 0.4"
    assert told.set_index("rule")["holds"].loc["messages without consent"].tolist() == [False, True]
    assert pd.isna(told.set_index("rule").loc["customers who allow marketing", "holds"])
    assert bool(
        told.set_index("rule").loc["rows that can be used", "holds"]
    ) and "1 of 5 rules is broken" in governance.say_policy(told)
    with pytest.raises(ValueError, match="rule"):
        Rule(rule="be nice")
