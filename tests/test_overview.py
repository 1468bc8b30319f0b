"""The page a director reads, whole and with parts missing."""

from __future__ import annotations

import datetime as dt

import ibis
import pandas as pd
import pytest

from clientbook import overview

AS_OF = dt.date(2024, 1, 1)
RECORDS = {
    "cleaning": {
        "key_numbers": [
            {"name": "Rows that can be used", "value": 0.9},
            {"name": "Rows rejected", "value": 100},
            {"name": "Rows delivered", "value": 1000},
        ]
    },
    "value": {"key_numbers": [{"name": "Expected value", "value": 5000.0, "unit": "money", "note": "in the next 12 months"}]},
}
TABLES = {
    "identities": {"source": ["crm", "shop", "shop"], "person_id": ["1", "7", "8"], "customer_id": ["a", "a", "b"]},
    "value": {
        "customer_id": ["a", "b", "c"],
        "clv": [100.0, 10.0, 1.0],
        "frequency": [9, 5, 0],
        "T": [364, 729, 20],
        "p_alive": [0.9, 0.1, 0.5],
        "gross": [900.0, 500.0, 20.0],
        "returned": [0.0, 100.0, 60.0],
        "loss_maker": [False, False, True],
    },
    "stage_intervals": {
        "stage": ["decide", "use", "use", "need"],
        "method": ["filtered", "filtered", "filtered", "smoothed"],
        "valid_to": pd.to_datetime([None, None, "2023-05-01", None]),
    },
    "message_audit": {
        "customer_id": ["a", "a", "b", "b"],
        "sent_at": pd.to_datetime(["2023-12-20", "2023-12-21", "2023-12-22", "2023-01-01"]),
        "verdict": ["right", "over_cap", "operational", "no_consent"],
        "cost": [1.0, 2.0, 4.0, 8.0],
    },
    "next_actions": {"customer_id": ["a", "b"], "action": ["call", "leave alone"], "expected_margin": [7.0, 0.0]},
    "rejected": {"row": [1, 2]},
    "use_cases": {
        "use_case": ["recover late orders", "stop wrong messages"],
        "team": ["service", "marketing"],
        "place": [1, 2],
        "start": [True, False],
        "a_year": [90.0, 50.0],
        "n": [20, 30],
    },
    "policy": {"rule": ["every source has an owner", "messages without consent"], "holds": [True, False]},
}


def reader(*names: str):
    """Gives the named tables, and none else."""
    return lambda name: ibis.memtable(pd.DataFrame(TABLES[name])) if name in names else None


def money(amount: float) -> str:
    return f"{amount:.0f} EUR"


def test_facts_are_of_what_is_there():
    found = overview.facts(reader(*TABLES), AS_OF)
    assert found["customers"] == 2 and found["records"] == 3 and found["several_systems"] == 0.5
    assert found["buyers"] == 3 and found["clv"] == 111.0
    assert found["open_journeys"] == 2 and found["deciding"] == 1
    assert found["messages"] == 2 and found["wrong"] == 0.5
    assert overview.facts(reader(), AS_OF) == {}


def test_answer_tells_all_of_it():
    told = overview.answer(overview.facts(reader(*TABLES), AS_OF), RECORDS, money)
    assert "in the next 12 months" in told
    for words in ("3 customers with a purchase", "111 EUR", "3 records", "50% are known", "2 journeys", "50% should not"):
        assert words in told
    assert "needs attention" in told and "90.0% of 1,000" in told


@pytest.mark.parametrize("missing", TABLES)
def test_everything_reads_well_without_any_one_table(missing):
    read = reader(*[name for name in TABLES if name != missing])
    told = overview.answer(overview.facts(read, AS_OF), RECORDS, money)
    assert "nan" not in told.lower() and "None" not in told
    overview.actions(read, AS_OF)
    page = overview.at_a_glance(overview.facts(read, AS_OF), RECORDS, read, money)
    assert len(page) == 7 and page["page"].notna().all()
    assert not page["answer"].str.contains("nan|None|False").any()
    assert len(overview.journeys_by_stage(read)) == 6


def test_answer_of_an_empty_book():
    assert overview.answer({}, {}, money) == "This book holds nothing that could be shown yet."


def test_key_numbers_are_in_the_currency_of_the_book():
    units = {n["name"]: n.get("unit") for n in overview.key_numbers(RECORDS, "CHF")}
    assert units["Expected value"] == "CHF"
    assert "Rows delivered" not in units


def test_actions_say_who_and_how_much():
    told = overview.actions(reader(*TABLES), AS_OF, most=9).set_index("action")
    assert told.loc["Win back regular customers who stopped buying", ["customers", "money"]].tolist() == [1, 10.0]
    assert told.loc["Look after the best hundred personally", ["customers", "money"]].tolist() == [3, 111.0]
    assert told.loc["Ask those who return more than they buy why", "money"] == 60.0
    assert told.loc["Stop the messages that should not be sent", ["customers", "money"]].tolist() == [1, 2.0]
    assert told.loc["Do what is planned: call", "money"] == 7.0
    assert told.loc["Begin to recover late orders (service)", ["customers", "money", "page"]].tolist() == [
        20,
        90.0,
        "08_use_cases",
    ]
    assert not any("stop wrong" in action for action in told.index)
    assert told.index[-1] == "Repair 2 rows that could not be used"


def test_actions_are_few_and_the_largest_first():
    told = overview.actions(reader(*TABLES), AS_OF, most=2)
    assert told["money"].tolist()[:2] == [111.0, 90.0]
    assert len(told) == 3


def test_journeys_by_stage_are_in_the_order_of_the_journey():
    found = overview.journeys_by_stage(reader("stage_intervals"))
    assert found["stage"].tolist() == ["need", "research", "decide", "adopt", "use", "recommend"]
    assert found["journeys"].tolist() == [0, 0, 1, 0, 1, 0]
    assert "50%" in overview.say_stages(found)
    assert overview.say_stages(overview.journeys_by_stage(reader())) == "No journey is under way"


def test_every_question_has_an_answer_and_its_evidence():
    page = overview.at_a_glance(overview.facts(reader(*TABLES), AS_OF), RECORDS, reader(*TABLES), money).set_index("page")
    assert page.loc["09_governance", "answer"] == "broken: messages without consent"
    assert page.loc["08_use_cases", "answer"] == "recover late orders: 90 EUR a year"
    assert "111 EUR" in page.loc["04_value", "answer"]
    nothing = overview.at_a_glance({}, {}, reader(), money)
    assert set(nothing["answer"]) == {"this book does not hold what it takes to tell"}


def test_what_changed_is_told_with_its_reason_and_the_first_run_says_so():
    delivered = {"source": "shop", "table": "orders", "file": "o.csv", "rows": 10, "bytes": 1, "sha256": "a"}
    then = {
        "run": "2023-12-01.001", "state": "done", "as_of": "2023-12-01", "settings": {}, "code": {}, "parameters": {},
        "versions": {}, "inputs": [delivered],
        "key_numbers": [{"stage": "cleaning", "name": "Rows that can be used", "value": 0.5, "unit": "share", "better": "up",
                         "n": 1000, "low": None, "high": None}],
    }  # fmt: skip
    number = {"name": "Rows that can be used", "value": 0.9, "unit": "share", "better": "up", "n": 1000}
    records = {"cleaning": {"key_numbers": [number], "inputs": [{**delivered, "rows": 30, "sha256": "b"}]}}
    changes, why = overview.changed([then], records, "2024-01-01.001", AS_OF)
    row = changes.iloc[0]
    assert (row["before"], row["now"], row["more_than_chance"], row["verdict"]) == (0.5, 0.9, "yes", "better")
    assert row["page"] == "01_cleaning" and "shop delivered 30 rows of orders after 10." in why
    told = overview.say_changes(changes, why)
    assert "1 of them by more than chance" in told and "31 days more" in told
    # the same run, looked at again by hand, compares itself with what was before it
    again = {**then, "run": "2024-01-01.001"}
    pd.testing.assert_frame_equal(overview.changed([then, again], records, "2024-01-01.001", AS_OF)[0], changes)
    none, nothing = overview.changed([], records, "2024-01-01.001", AS_OF)
    assert none.empty and "first run" in overview.say_changes(none, nothing)
