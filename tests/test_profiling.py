"""What stands in the columns: counted by hand beside what the module counts."""

from __future__ import annotations

import datetime as dt
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


# --- Columns that hold the same thing, drift, freshness and cost ----------------------------------------------------------


@pytest.fixture
def systems():
    """Two systems: people with addresses in common, a card whose number the other keeps, numbers that say nothing."""
    crm = [
        {"source": "crm", "person_id": str(n), "email": f"anna.{n}@example-mail.de", "given_name": f"Name{n % 30}", "country": "DE" if n % 2 else "CH",
         "birth_date": f"19{50 + n % 40}-03-{1 + n % 27:02d}", "x_shirt": "S" if n % 2 else "XL"}
        for n in range(1, 201)
    ]  # fmt: skip
    till = [
        {
            "source": "pos",
            "person_id": f"29{n:08d}",
            "full_name": f"Name{n % 30} Berg",
            "country": "CH" if n % 3 else "AT",
        }
        for n in range(1, 101)
    ]
    shop = [
        {"source": "shop", "person_id": str(n), "email": f" ANNA.{n + 150}@example-mail.de", "given_name": f"Name{n % 25}", "country": "DE" if n % 2 else "CH",
         "external_id": f"29{n:08d}" if n <= 40 else None, "x_size": "XL" if n % 2 else "S", "birth_date": None}
        for n in range(1, 301)
    ]  # fmt: skip
    return {"people": table("people", crm + till + shop)}


def test_columns_that_hold_the_same_are_found_whatever_they_are_called(systems, engine):
    found = profiling.correspondences(systems, engine, P)
    pairs = {(r.source_a, r.column_a, r.source_b, r.column_b): r.evidence for r in found.itertuples()}
    assert pairs == {
        ("crm", "email", "shop", "email"): "own",
        ("crm", "given_name", "shop", "given_name"): "most",
        ("crm", "country", "shop", "country"): "few",
        ("crm", "x_shirt", "shop", "x_size"): "few",
        ("pos", "person_id", "shop", "external_id"): "most",
    }  # 1 to 200 and 1 to 300 are the same numbers, and not the same people
    card = found[found["column_b"] == "external_id"].iloc[0]
    assert (card["shared"], card["rows_a_in_b"], card["rows_b_in_a"]) == (40, 0.4, 1.0)
    assert list(profiling.same_things(found)["first"][:2]) == ["pos people.person_id", "crm people.x_shirt"]
    assert profiling.correspondences({}, engine, P).empty
    # a book whose returns are empty has the table, and nobody in it
    empty = {"returns": table("returns", [{"source": "crm"}]).filter(ibis.literal(False))}
    assert profiling.correspondences(empty, engine, P).empty and profiling.bad_data_cost(empty).empty
    assert profiling.freshness(empty, dt.date(2024, 1, 1)).empty


def test_shares_agree_with_counting_row_by_row(systems, engine):
    people = systems["people"].to_pandas()
    found = profiling.correspondences(systems, engine, P)
    for r in found.itertuples():
        a = people.loc[people["source"] == r.source_a, r.column_a].dropna().str.strip().str.lower()
        b = people.loc[people["source"] == r.source_b, r.column_b].dropna().str.strip().str.lower()
        assert r.shared == len(set(a) & set(b))
        assert r.rows_a_in_b == pytest.approx(a.isin(set(b)).mean(), abs=1e-6)
        assert r.rows_b_in_a == pytest.approx(b.isin(set(a)).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("header", "values", "kind"),
    [
        ("x_contact", ["a@b.de", "c@d.org", "e@f.ch"], "email"), ("x_nr2", ["+49 30 123456", "0041 44 1234567", "+43 1 9876543"], "phone"),
        ("x_wohnung", ["Am Tor 1", "Lange Straße 22a", "Weg 5"], "address"), ("x_d", ["1961-05-04", "1975-01-01", "1999-02-02"], "birth_date"),
        ("x_Nachname", ["Berg", "Li", "Roux"], "name"), ("x_KundenNr", ["K1", "K2", "K3"], "id"), ("x_PLZ", ["10115", "8001", "75001"], "address"),
        ("x_colour", ["red", "blue", "red"], None), ("x_total", ["5", "6", "7"], None), ("x_order_date", ["2023-05-01", "2024-05-01", "2022-01-01"], None),
    ],
)  # fmt: skip
def test_personal_data_in_columns_of_the_companys_own_is_told(engine, header, values, kind):
    people = table("people", [{"source": "crm", "person_id": f"p{n}", header: value} for n, value in enumerate(values)])
    found = row(profiling.column_profiles({"people": people}, engine, P), "people", "crm", header)["personal"]
    assert (found if isinstance(found, str) else None) == kind


def test_drift_names_the_column_that_lost_its_values(engine):
    def profiles(filled, extra):
        rows = [
            {
                "source": "crm",
                "person_id": f"p{n}",
                "email": f"a{n}@b.de" if n < filled else None,
                **({"x_new": "a"} if extra else {}),
            }
            for n in range(100)
        ]
        return profiling.column_profiles({"people": table("people", rows)}, engine, P)

    before, now = profiles(90, False), profiles(60, True)
    moved = profiling.drift(now, before)
    assert [tuple(r) for r in moved[["column_name", "measure", "before", "now"]].to_numpy() if r[1] != "shape"] == [
        ("x_new", "the column itself", 0.0, 1.0), ("email", "filled", 0.9, 0.6)
    ]  # fmt: skip
    assert profiling.drift(now, None).empty and profiling.drift(now, now).empty
    by_day = profiling.fill_by_day([(dt.date(2024, 1, 1), before), (dt.date(2024, 2, 1), now)])
    assert by_day["crm"].tolist() == pytest.approx([0.95, 260 / 300])
    assert profiling.say_drift(moved, 2) == "crm people.x_new is new since the day before"


def test_how_fresh_and_how_dear(engine):
    people = [
        {"source": "crm", "person_id": "1", "email": "a@b.de", "email_key": "a@b.de", "full_name_key": "ann berg"},
        {"source": "crm", "person_id": "2", "email": "A+x@b.de", "email_key": "a@b.de", "full_name_key": "ann berg"},
        {"source": "crm", "person_id": "3", "email": "c@@d", "email_key": None, "full_name_key": "cy"},
    ]
    messages = [
        {
            "source": "mail",
            "person_source": "crm",
            "message_id": str(n),
            "person_id": str(1 + n % 3),
            "channel": "email",
            "cost": 0.1 * n,
            "sent_at": dt.datetime(2024, 5, n),
        }
        for n in range(1, 10)
    ]
    orders = [
        {"source": "shop", "person_source": "crm", "person_id": "1", "amount": a, "ordered_at": dt.datetime(2024, 3, 1)}
        for a in (10.0, 20.0)
    ]
    rejected = ibis.memtable(
        pd.DataFrame(
            {
                "source": ["shop"] * 3,
                "table": ["orders"] * 3,
                "reason": ["person_id is missing"] * 2 + ["ordered_at is missing"],
            }
        )
    )
    tables = {
        name: table(name, [{**row, "email_key": row.get("email_key")} if name == "people" else row for row in rows])
        for name, rows in (("people", people), ("messages", messages), ("orders", orders))
    } | {"rejected": rejected}  # fmt: skip
    tables["people"] = tables["people"].mutate(given_name_key=ibis.null("string"), family_name_key=ibis.null("string"))
    costs = profiling.bad_data_cost(tables).set_index("what")
    assert costs.loc["messages that cannot arrive", ["source", "rows", "money"]].tolist() == [
        "mail",
        3,
        pytest.approx(0.2 + 0.5 + 0.8),
    ]
    assert costs.loc["customers counted twice", ["source", "rows", "money"]].tolist() == [
        "crm",
        1,
        pytest.approx(0.1 + 0.4 + 0.7),
    ]
    assert costs.loc["orders that nobody can assign", ["source", "rows", "money"]].tolist() == ["shop", 2, 30.0]
    assert profiling.say_cost(costs.reset_index()) == "Orders that nobody can assign cost most: 30 of 32.70 in all"
    fresh = profiling.freshness(tables, dt.date(2024, 6, 1))
    assert fresh[["source", "days"]].to_numpy().tolist() == [["shop", 91], ["mail", 22]]
    assert profiling.bad_data_cost({}).empty and profiling.say_cost(profiling.bad_data_cost({})).startswith("No loss")
