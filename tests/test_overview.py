"""The page a director reads, whole and with parts missing."""

from __future__ import annotations

import ibis
import pandas as pd

from clientbook import overview

CLEANING = {"key_numbers": [{"name": "Rows delivered", "value": 1000}, {"name": "Rows that can be used", "value": 0.9}]}
VALUE = {
    "key_numbers": [
        {"name": "Customers with a purchase", "value": 120},
        {"name": "Expected value", "value": 5000.0, "unit": "money"},
        {"name": "Share of value in the best tenth", "value": 0.6},
    ]
}


def money(amount: float) -> str:
    return f"{amount:.0f} EUR"


def test_answer_tells_value_and_data():
    told = overview.answer({"cleaning": CLEANING, "value": VALUE}, money)
    assert "120 customers" in told and "5000 EUR" in told and "60%" in told
    assert "needs attention" in told and "90.0% of 1,000" in told


def test_answer_reads_well_with_parts_missing():
    assert "customers" not in overview.answer({"cleaning": CLEANING, "value": {}}, money)
    assert "delivered" not in overview.answer({"cleaning": {}, "value": VALUE}, money)
    assert overview.answer({}, money) == "This book holds nothing that could be shown yet."


def test_key_numbers_are_in_the_currency_of_the_book():
    units = {n["name"]: n.get("unit") for n in overview.key_numbers({"value": VALUE}, "CHF")}
    assert units["Expected value"] == "CHF"


def customers() -> ibis.Table:
    return ibis.memtable(
        pd.DataFrame(
            {
                "customer_id": ["a", "b", "c"], "clv": [100.0, 10.0, 1.0], "frequency": [9, 5, 0],
                "p_alive": [0.9, 0.1, 0.5], "gross": [900.0, 500.0, 20.0], "returned": [0.0, 100.0, 60.0],
                "loss_maker": [False, False, True],
            }
        )
    )  # fmt: skip


def test_actions_say_who_and_how_much():
    told = overview.actions(customers(), None).set_index("action")
    assert told.loc["Win back regular customers who stopped buying", ["customers", "money"]].tolist() == [1, 400.0]
    assert told.loc["Look after the best hundred personally", ["customers", "money"]].tolist() == [3, 111.0]
    assert told.loc["Ask those who return more than they buy why", "money"] == 60.0


def test_actions_without_value_still_name_repairs():
    rejected = ibis.memtable(pd.DataFrame({"row": [1, 2]}))
    told = overview.actions(None, rejected)
    assert told["action"].tolist() == ["Repair 2 rows that could not be used"]
    assert overview.actions(None, None).empty
