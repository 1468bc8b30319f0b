"""What stands in the columns: counted by hand beside what the module counts."""

from __future__ import annotations

import re
from collections import Counter

import ibis
import pandas as pd
import pytest

from clientbook import profiling
from clientbook.stage import NothingToShow
from clientbook.tables import CANONICAL

P = profiling.ProfilingParameters()
_TYPES = {
    "id": "string", "text": "string", "number": "float64", "money": "float64", "time": "timestamp", "date": "date",
    "flag": "boolean",
}  # fmt: skip


def table(name: str, rows: list[dict]) -> ibis.Table:
    """A clean table with all its columns, null where a row does not say."""
    schema = {"source": "string"} | {c.name: _TYPES[c.kind] for c in CANONICAL[name].columns}
    schema |= {key: "string" for row in rows for key in row if key not in schema}
    made = {key: [row.get(key) for row in rows] for key in schema} | {"arrival": list(range(len(rows)))}
    return ibis.memtable(pd.DataFrame(made), schema=schema | {"arrival": "int64"})


@pytest.fixture
def book():
    people = [
        {"source": "crm", "person_id": "K-1", "email": "Ann@x.org", "social_reach": 3.0, "x_note": "ann@x.org"},
        {"source": "crm", "person_id": "K-2", "email": "bob@x.org ", "social_reach": 9.0, "x_note": "bob@x.org"},
        {"source": "crm", "person_id": "K-33", "email": None, "x_note": "none"},
        {"source": "shop", "person_id": "7", "email": " ann@X.org", "phone": "+49 30 1"},
        {"source": "shop", "person_id": "8", "email": "eve@x.org"},
    ]
    orders = [
        {"source": "shop", "person_source": "shop", "person_id": "7", "amount": 5.0},
        {"source": "shop", "person_source": "shop", "person_id": "9", "amount": 2.5},
    ]
    return {"people": table("people", people), "orders": table("orders", orders), "events": None}


def row(profiles: pd.DataFrame, name: str, source: str, column: str) -> pd.Series:
    here = profiles.set_index(["table_name", "source", "column_name"])
    found = here.loc[[(name, source, column)]]
    assert len(found) == 1
    return found.iloc[0]


def test_columns_are_counted(book, engine):
    profiles = profiling.column_profiles(book, engine, P)
    mail = row(profiles, "people", "crm", "email")
    assert (mail["rows"], mail["filled"], mail["distinct_values"], mail["personal"]) == (3, 2, 2, "email")
    reach = row(profiles, "people", "crm", "social_reach")
    assert (float(reach["smallest"]), float(reach["largest"])) == (3.0, 9.0)
    assert row(profiles, "people", "crm", "person_id")["shape"] == "A-9"
    assert row(profiles, "people", "crm", "person_id")["shape_share"] == pytest.approx(2 / 3, abs=1e-6)
    assert "birth_date" not in set(profiles["column_name"])
    assert list(profiles.columns) == [column.name for column in profiling.TABLES[0].columns]


def test_no_value_of_a_personal_column_is_written(book, engine):
    profiles = profiling.column_profiles(book, engine, P)
    assert "x.org" not in profiles.to_csv()
    personal = profiles[profiles["personal"].notna()]
    assert personal[["smallest", "largest"]].isna().all(axis=None)


def test_an_extra_column_that_looks_like_addresses_is_personal(book, engine):
    profiles = profiling.column_profiles(book, engine, P)
    assert row(profiles, "people", "crm", "x_note")["personal"] == "email"


def test_overlaps_agree_with_sets(book, engine):
    found = profiling.overlaps(book, engine, P)
    held: dict[tuple, set] = {}
    for name, rows in book.items():
        for line in rows.to_pandas().to_dict("records") if rows is not None else ():
            for column in profiling.LINKING:
                value = line.get(column)
                if isinstance(value, str) and value.strip():
                    value = value.strip().lower()
                    value = re.sub(r"[^0-9+]", "", value) if column == "phone" else value
                    held.setdefault((line["source"], name, column), set()).add(value)
    expected = Counter()
    for a in held:
        for b in held:
            if a < b and held[a] & held[b]:
                expected[a + b] = len(held[a] & held[b])
    names = list(found.columns[:6])
    assert {tuple(line[n] for n in names): line["shared"] for line in found.to_dict("records")} == dict(expected)
    mail = found[(found["column_a"] == "email") & (found["column_b"] == "email")].iloc[0]
    assert (mail["shared"], mail["a_in_b"], mail["b_in_a"]) == (1, 0.5, 0.5)


def test_ids_that_lead_nowhere_come_first(book, engine):
    told = profiling.references(profiling.overlaps(book, engine, P))
    worst = told.iloc[0][["source", "table_name", "column_name", "found_in"]]
    assert worst.tolist() == ["shop", "orders", "person_id", "shop people"]
    assert told.iloc[0]["found"] == 0.5


def test_links_and_sentences(book, engine):
    profiles, found = profiling.column_profiles(book, engine, P), profiling.overlaps(book, engine, P)
    column, shares = profiling.links(found)
    assert column == "email" and shares.loc["crm", "shop"] == 0.5
    assert "e-mail" in profiling.answer(profiles, found)
    assert profiling.fill(profiles).loc["email", "crm"] == pytest.approx(2 / 3)


def test_one_system_alone_and_none(engine):
    orders = table("orders", [{"source": "shop", "person_source": "shop", "person_id": "1"}])
    found = profiling.overlaps({"orders": orders}, engine, P)
    assert found.empty and profiling.links(found)[1].empty and profiling.references(found).empty
    profiles = profiling.column_profiles({"orders": orders}, engine, P)
    assert "1 system " in profiling.answer(profiles, found)
    assert profiling.draw_links(*profiling.links(found)) is not None
    with pytest.raises(NothingToShow):
        profiling.column_profiles({"orders": None}, engine, P)


def test_written_tables_have_the_columns_of_the_dictionary(book, engine):
    assert list(profiling.overlaps(book, engine, P).columns) == [column.name for column in profiling.TABLES[1].columns]
