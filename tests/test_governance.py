"""What is held, whose it is, who uses it, what customers allow: and what is missing is said."""

from __future__ import annotations

import datetime as dt

import ibis
import pandas as pd
import pytest

from clientbook import governance
from clientbook.book import Source
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
