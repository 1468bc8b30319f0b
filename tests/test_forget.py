"""Somebody forgotten: in no table and no list, not back with the next delivery, and everybody else as before."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import stat

import duckdb
import ibis
import pandas as pd
import pytest

from clientbook import card, cleaning, cli, forget, runner, suppression
from clientbook.book import open_book
from clientbook.engine import open as open_engine
from clientbook.faults import ClientbookError, FaultError
from clientbook.matching import labels

SETTINGS = """
name: Made
country: DE
as_of: 2026-07-01
sources:
  shop:
    people: {path: people.csv}
    orders: {path: orders.csv}
    returns: {path: returns.csv}
    referrals: {path: referrals.csv}
  news:
    people: {path: readers.csv}
    consents: {path: consents.csv}
  web:
    events: {path: events.csv}
    aliases: {path: aliases.csv}
"""
FILES = {
    "people__csv": "person_id,full_name,email,phone,birth_date\n007,Ann Other,ann@x.org,0170 2345678,\n"
    "8,Bob Stays,bob@x.org,0228 555666,1990-02-30\n9,Cid Shares,cid@x.org,0228 555666,\n",
    "orders__csv": "person_id,ordered_at,order_id,quantity,amount\n007,2026-01-05,o1,1,5\n007,2026-01-06,o2,-1,5\n"
    "007,never,o9,1,5\n8,2026-02-01,o3,1,7\n",
    "returns__csv": "order_id,returned_at,amount\no1,2026-02-01,5\no3,2026-02-03,7\n",
    "referrals__csv": "person_id,referred_person_id,referred_at\n8,007,2026-01-01\n8,9,2026-01-01\n",
    "readers__csv": "person_id,email\nn1,Ann@X.org\nn2,bob@x.org\n",
    "consents__csv": "person_id,purpose,status,indicated_at\nn1,marketing,given,2026-01-01\nn2,marketing,given,2026-01-01\n",
    "events__csv": "person_id,event_name,occurred_at\nk1,visit,2026-01-01\nk2,visit,2026-01-02\n",
    "aliases__csv": "person_id,other_source,other_person_id,linked_at\nk1,shop,007,2026-01-01\nk2,shop,8,2026-01-01\n",
}
WHO_IS_WHO = [("shop", "007", "c1"), ("shop", "8", "c2"), ("shop", "9", "c3"), ("news", "n1", "c1"),
              ("news", "n2", "c2"),
              ("web", "k1", "c1"), ("web", "k2", "c2")]  # fmt: skip
TRACES = ("007", "Ann", "ann@x.org", "2345678", "n1", "k1", "c1", "o1", "o2", "o9")


def run(book, name: str) -> cleaning.Cleaned:
    """What cleaning writes, and tables as later stages write them."""
    folder = book.store.folder / "runs" / name
    (folder / "tables").mkdir(parents=True)
    with open_engine(scratch=book.folder / "scratch") as engine:
        cleaned = cleaning.clean(book, engine, dt.date(2026, 7, 1))
        for table, rows in cleaned.tables.items():
            engine.write_parquet(rows, folder / "tables" / f"{table}.parquet")
        cleaning.quality(cleaned, cleaned.tables, book).to_parquet(folder / "tables" / "quality.parquet")
    seen = {(r["source"], r["person_id"]) for r in rows_of(folder, "people")} | {
        ("web", r["person_id"]) for r in rows_of(folder, "events")
    }
    who = pd.DataFrame([w for w in WHO_IS_WHO if w[:2] in seen], columns=["source", "person_id", "customer_id"])
    numbers = range(len(who))
    made = {"matching_records": who[["source", "person_id"]].assign(record_number=numbers, mail="x"),
            "matching_edges": pd.DataFrame([(a, b, 0.5) for a in numbers for b in numbers if a < b],
                                           columns=["record_number_a", "record_number_b", "probability"]),
            "identities": who.assign(probability=1.0), "customers": who[["customer_id"]].drop_duplicates(),
            "stage_intervals": pd.DataFrame({"subject_type": "customer", "subject_id": who["customer_id"],
                                             "stage": "need"}),
            "review_pairs": pd.DataFrame({"source_l": ["shop"], "person_id_l": ["8"], "source_r": ["shop"],
                                          "person_id_r": ["007" if len(who) > 5 else "9"]})}  # fmt: skip
    for table, rows in made.items():
        ibis.memtable(rows).to_parquet(folder / "tables" / f"{table}.parquet")
    for place in (folder / "lists", book.store.folder / "lists"):
        place.mkdir(parents=True, exist_ok=True)
        who.to_csv(place / "all.csv", index=False)
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "04_value.ipynb").write_text(json.dumps({"text": list(who["customer_id"])}))
    return cleaned


def rows_of(folder, table) -> list[dict]:
    file = folder / "tables" / f"{table}.parquet"
    return duckdb.sql(f"SELECT * FROM '{file}'").to_arrow_table().to_pylist() if file.is_file() else []


def everything(store) -> str:
    """All that the store holds, as text."""
    told = []
    for path in sorted(store.rglob("*")):
        if path.suffix == ".parquet":
            told += [f"{path.stem}: {row}" for row in rows_of(path.parents[1], path.stem)]
        elif path.is_file() and path.name != suppression.KEY:
            told.append(f"{path.name}: {path.read_text(encoding='utf-8')}")
    return "\n".join(told)


def without_hashes(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not any(len(w.strip('",')) == 64 for w in line.split()))


@pytest.fixture
def book(make_book):
    opened = open_book(make_book(SETTINGS, **FILES))
    run(opened, "2026-07-01.001")
    return opened


def words(book) -> list[str]:
    text = without_hashes(everything(book.store.folder))
    return [word for word in TRACES if f"'{word}" in text or f'"{word}' in text or f",{word}" in text or f"{word}," in text]


def test_forgotten_in_every_table_list_and_run(book):
    run(book, "2026-07-01.002")
    run(book, "2026-07-01.003")
    # older runs lack what only the next one reads
    book.store.prune(["matching_records", "matching_edges"])
    run(book, "2026-07-01.004")
    assert set(words(book)) >= {"007", "Ann", "c1", "o1", "o9", "k1", "n1"}
    person = forget.look_up(book, "ann@x.org")
    assert person.customer_id == "c1" and len(person.records) == 3
    receipt = forget.forget(book, person, dt.date(2026, 7, 2))
    assert words(book) == []
    assert set(receipt["removed"]) == {*(f"2026-07-01.00{i}" for i in (1, 2, 3, 4)), "lists"}
    told = receipt["removed"]["2026-07-01.001"]
    assert told["orders"] == 1 and told["returns"] == 2 and told["rejected"] == 1 and told["review_pairs"] == 1
    assert "matching_records" not in told and receipt["removed"]["2026-07-01.003"]["matching_records"] == 3
    for name in ("2026-07-01.003", "2026-07-01.004"):
        folder = book.store.folder / "runs" / name
        held = {row["record_number"] for row in rows_of(folder, "matching_records")}
        named = {row[f"record_number_{side}"] for row in rows_of(folder, "matching_edges") for side in "ab"}
        assert named == held and len(held) == 4
    assert told["people"] == 2 and told["events"] == told["aliases"] == told["referrals"] == 1
    text = (book.store.folder / "receipts" / f"{receipt['receipt']}.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(receipt)) and not [w for w in TRACES if f'"{w}"' in text]


RENEWED = {
    "people__csv": "person_id,full_name,email,phone,updated_at\n007,Ann Leeson,ann.old@x.org,0228 555666,2024-01-01\n"
    "007,Ann Muster,ann@x.org,,2024-02-01\n8,Bob Stays,bob.old@x.org,,2024-01-01\n8,Bob Stays,bob@x.org,,2024-02-01\n"
    "9,Cid Shares,cid@x.org,0228 555666,2024-01-01\n9,Cid Shares,cid@x.org,,2024-02-01\n",
    "orders__csv": "person_id,ordered_at,order_id,quantity,amount\n007,2024-01-06,o2,-1,much\n8,2024-01-07,o3,-1,more\n",
    "cases__csv": "case_id,person_id,opened_at,text\nk1,007,2024-01-01,ring Ann\nk1,007,2024-01-02,ring\n"
    "k2,8,2024-01-01,ring Bob\nk2,8,2024-01-02,ring\nk3,007,2024-01-01,all one\nk3,8,2024-01-01,all two\n"
    "k3,8,2024-01-02,all three\n",
    "deals__csv": "opportunity_id,person_id,opened_at\nd1,007,2024-01-01\nd1,8,2024-01-02\n",
}


@pytest.fixture
def renewed(make_book):
    """Records that were delivered twice, with other words each time."""
    settings, _, _ = SETTINGS.partition("    returns:")
    opened = open_book(
        make_book(f"{settings}    cases: {{path: cases.csv}}\n    opportunities: {{path: deals.csv}}\n", **RENEWED)
    )
    run(opened, "2026-07-01.001")
    return opened


def changed(book) -> set[tuple]:
    rows = rows_of(book.store.folder / "runs" / "2026-07-01.001", "changes")
    return {(row["table"], row["id"], row["column"], row["before"]) for row in rows}


def test_what_older_rows_of_somebody_said_is_forgotten(renewed):
    before = changed(renewed)
    assert {("people", "007", "email", "ann.old@x.org"), ("cases", "k1", "text", "ring Ann"), ("orders", "o2", "amount", "much"),
            ("opportunities", "d1", "person_id", "007")} < before  # fmt: skip
    forget.forget(renewed, forget.look_up(renewed, "shop:007"), dt.date(2026, 7, 2))
    gone = before - changed(renewed)
    assert {row[:2] for row in gone} == {("people", "007"), ("cases", "k1"), ("orders", "o2"), ("opportunities", "d1")}
    assert [row for row in gone if row[0] == "opportunities"] == [("opportunities", "d1", "person_id", "007")]
    assert words(renewed) == [] and not [row for row in changed(renewed) if "Ann" in str(row) or "Leeson" in str(row)]


def test_an_address_of_an_older_row_is_suppressed_where_it_is_nobody_elses(renewed):
    person = forget.look_up(renewed, "shop:007")
    # the number stood in an older row of another too, and would take them along
    assert (person.emails, person.phones, person.shared) == (("ann.old@x.org", "ann@x.org"), (), 1)
    forget.forget(renewed, person, dt.date(2026, 7, 2))
    with (renewed.folder / "people.csv").open("a") as file:
        file.write("55,Ann Again,ann.old@x.org,,2026-01-01\n")
    run(renewed, "2026-07-01.002")
    people = rows_of(renewed.store.folder / "runs" / "2026-07-01.002", "people")
    assert [row["person_id"] for row in people] == ["8", "9"]


def test_names_that_pages_showed_are_forgotten(make_book):
    people = FILES["people__csv"].replace("Ann Other", "Ann O'Ther-Li").replace("Bob Stays", "Joann O'Ther-Li")
    book = open_book(make_book(SETTINGS, **FILES | {"people__csv": people}))
    data = {
        "text/html": ["<td>c1</td><td>Ann O&#x27;Ther-Li</td>\n", "<td>c2</td><td>Joann O&#x27;Ther-Li</td>"],
        "text/plain": "c1  Ann O'Ther-Li\nc2  Joann O'Ther-Li",
        "text/markdown": "First is Ann O&#39;Ther&#45;Li.",
        "image/png": "/Ann O'Ther-Li/",
    }
    shown = json.dumps({"cells": [{"source": "x", "outputs": [{"data": data}]}]})
    told = {
        "2026-07-01.001": {"shows_personal_data": True},
        "2026-07-01.002": {"shows_personal_data": False},
        "2026-07-01.003": {},
    }
    for name, info in told.items():
        run(book, name)
        folder = book.store.folder / "runs" / name
        (folder / "run.json").write_text(json.dumps(info))
        (folder / "notebooks" / "04_value.ipynb").write_text(shown)
    # of a run that failed with a full disk the notebooks alone are left, and half of one
    failed = book.store.folder / "failed" / "2026-07-01.004" / "notebooks"
    failed.mkdir(parents=True)
    (failed / "04_value.ipynb").write_text(shown[:200])
    receipt = forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    for name in ("2026-07-01.001", "2026-07-01.003"):
        text = (book.store.folder / "runs" / name / "notebooks" / "04_value.ipynb").read_text(encoding="utf-8")
        assert json.loads(text)["cells"][0]["outputs"][0]["data"] == {
            "text/html": ["<td>[forgotten]</td><td>[forgotten]</td>\n", "<td>c2</td><td>Joann O&#x27;Ther-Li</td>"],
            "text/plain": "[forgotten]  [forgotten]\nc2  Joann O'Ther-Li",
            "text/markdown": "First is [forgotten].",
            "image/png": "/Ann O'Ther-Li/",
        }
    untold = book.store.folder / "runs" / "2026-07-01.002" / "notebooks" / "04_value.ipynb"
    assert untold.read_text() == shown.replace("c1", "[forgotten]"), "which showed none has the same words by chance alone"
    assert ">Ann" not in (failed / "04_value.ipynb").read_text() and receipt["notebooks_cleaned"] == 4
    assert receipt["runs_that_showed_names"] == ["2026-07-01.001"]
    assert not [word for word in receipt["not_touched"] if "at most; the next run" in word]


def test_what_was_half_written_goes(book):
    store, draft = book.store.folder, ".people.parquet.0a1b2c3d"
    places = [store / "lists", *(store / name / "tables" for name in (
        "runs/2026-07-01.001", "failed/2026-07-01.002", "building/.killed-0a1b2c3d-2026-07-01.003", "lab"
    ))]  # fmt: skip
    places += [store / "failed" / "2026-07-01.002", store / "scratch" / "engine-999999999-x"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / draft).write_text("half of Ann")
    forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    assert list(store.rglob(draft)) == []


def test_answers_about_somebody_forgotten_go_with_them(book):
    answers = book.folder / "labels.csv"
    head = "source_a,person_id_a,source_b,person_id_b,answer\n"
    answers.write_text(head + "shop,8,news,n1,no\nshop,8,news,n2,yes\n", encoding="utf-8")
    receipt = forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    assert labels.read(book.folder)[["person_id_a", "person_id_b", "answer"]].to_numpy().tolist() == [["8", "n2", "yes"]]
    assert receipt["removed"]["labels"] == {"labels.csv": 1}


def test_answers_are_found_as_they_are_read(book):
    answers = book.folder / "labels.csv"
    answers.write_text("source_a, person_id_a, source_b, person_id_b, answer\nshop, 8, news, n1, no\nshop, 8, news, n2, yes\n")
    forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    assert "n1" not in answers.read_text() and len(labels.read(book.folder)) == 1


@pytest.mark.parametrize(
    "text", [b"shop,8,news,n1\n", "shop,8,news,n1,n\u00e4\n".encode("latin-1"), b'shop,8,news,"n1,no\n'],
)  # fmt: skip
def test_a_faulty_file_of_answers_is_told_before_anything_is_removed(book, text):
    (book.folder / "labels.csv").write_bytes(b"source_a,person_id_a,source_b,person_id_b,answer\n" + text)
    person = forget.look_up(book, "c1")
    before = words(book)
    with pytest.raises(FaultError, match=r"labels\.csv"):
        forget.forget(book, person, dt.date(2026, 7, 2))
    assert words(book) == before and not (book.store.folder / forget.RECEIPTS).exists()
    assert not (book.store.folder / suppression.LIST).exists()


def test_everybody_else_stays_as_they_were(book):
    tables = book.store.folder / "runs" / "2026-07-01.001" / "tables"
    names = [path.stem for path in tables.glob("*.parquet")]
    before = {name: rows_of(tables.parent, name) for name in names}
    theirs = {str(row["record_number"]) for row in before["matching_records"] if row["person_id"] in TRACES}
    untouched = (tables / "quality.parquet").read_bytes()
    forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    for name in names:
        after = rows_of(tables.parent, name)
        gone = [row for row in before[name] if row not in after]
        assert after == [row for row in before[name] if row not in gone], "the order is kept"
        words = theirs if name == "matching_edges" else TRACES
        assert all(any(word in str(row) for word in words) for row in gone), (name, gone)
    assert (tables / "quality.parquet").read_bytes() == untouched
    assert [row["person_id"] for row in rows_of(tables.parent, "people")] == ["8", "9", "n2"]
    assert {row["id"] for row in rows_of(tables.parent, "changes")} <= {"8", "9", "n2"}, "those of others"


def test_the_next_delivery_of_the_same_data_is_suppressed(book):
    forget.forget(book, forget.look_up(book, "shop:007"), dt.date(2026, 7, 2))
    cleaned = run(book, "2026-07-01.002")
    assert words(book) == []
    counts = {(row["source"], row["table"]): row["suppressed"] for row in cleaned.rows}
    assert counts == {
        ("shop", "people"): 1, ("shop", "orders"): 3, ("shop", "returns"): 1, ("shop", "referrals"): 1,
        ("news", "people"): 1, ("news", "consents"): 1, ("web", "events"): 1, ("web", "aliases"): 1,
    }  # fmt: skip


def test_a_new_record_with_the_same_address_or_number_is_suppressed_with_its_orders(book):
    forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    (book.folder / "people.csv").write_text("person_id,email,phone\n55,ANN@x.org,\n56,,+49 (170) 234-5678\n8,bob@x.org,\n")
    (book.folder / "orders.csv").write_text(
        "person_id,ordered_at,order_id\n55,2026-03-01,p1\n56,2026-03-01,p2\n8,2026-03-01,p3\n"
    )
    (book.folder / "returns.csv").write_text("order_id,returned_at\np1,2026-03-02\np3,2026-03-02\n")
    with open_engine(scratch=book.folder / "scratch") as engine:
        tables = cleaning.clean(book, engine, dt.date(2026, 7, 1)).tables
        assert tables["orders"].to_pandas()["order_id"].tolist() == ["p3"]
        assert tables["returns"].to_pandas()["order_id"].tolist() == ["p3"]


def test_what_is_shared_with_others_keeps_nobody_else_out(book):
    person = forget.look_up(book, "shop:9")
    assert (person.emails, person.phones, person.shared) == (("cid@x.org",), (), 1)
    forget.forget(book, person, dt.date(2026, 7, 2))
    run(book, "2026-07-01.002")
    people = rows_of(book.store.folder / "runs" / "2026-07-01.002", "people")
    assert [row["person_id"] for row in people] == ["007", "8", "n1", "n2"]


def test_the_list_holds_hashes_alone_and_its_key_is_the_owners(book):
    forget.forget(book, forget.look_up(book, "c1"), dt.date(2026, 7, 2))
    store = book.store.folder
    assert stat.S_IMODE((store / suppression.KEY).stat().st_mode) == 0o600
    hashes = json.loads((store / suppression.LIST).read_text())["hashes"]
    assert len(hashes) == 5 and hashes == sorted(hashes) and all(len(one) == 64 for one in hashes)
    forget.forget(book, forget.look_up(book, "c2"), dt.date(2026, 7, 2))
    assert set(hashes) < set(json.loads((store / suppression.LIST).read_text())["hashes"])
    (store / suppression.KEY).unlink()
    with pytest.raises(ClientbookError, match="Restore the key"):
        suppression.read(store, "DE")


def test_without_a_list_nothing_is_read_for_it(book, monkeypatch):
    monkeypatch.setattr(cleaning, "_distinct", None)
    with open_engine(scratch=book.folder / "scratch") as engine:
        rows = cleaning.clean(book, engine, dt.date(2026, 7, 1)).rows
    assert not any(row["suppressed"] for row in rows)


def test_what_was_cut_short_is_finished_by_the_same_command(book, monkeypatch):
    run(book, "2026-07-01.002")
    person = forget.look_up(book, "c1")
    monkeypatch.setattr(forget, "_clean_lists", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        forget.forget(book, person, dt.date(2026, 7, 2))
    monkeypatch.undo()
    assert words(book)
    forget.forget(book, forget.look_up(book, "ann@x.org"), dt.date(2026, 7, 2))
    assert words(book) == []


@pytest.mark.parametrize("spelling", ["0170 2345678", "+49 170 2345678", "+49(0)170-2345678", "0049 170 2345678"])
def test_a_number_is_the_same_in_every_spelling(spelling):
    assert suppression.normal_phone(spelling, "DE") == "+491702345678"


def test_the_command_asks_first(book, monkeypatch, capsys):
    def call(*told):
        monkeypatch.setattr("sys.argv", ["clientbook", "forget", str(book.folder), *told])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert call("c1")[0] == 130 and words(book)
    code, out, _ = call("nobody@x.org")
    assert (code, out) == (1, "")
    head = "source_a,person_id_a,source_b,person_id_b,answer\n"
    (book.folder / "labels.csv").write_text(head + "shop,8,news,n1,no\nshop,8,news,n2,yes\n")
    code, out, _ = call("c1", "--yes")
    assert "1 of them answers in the book's labels.csv" in out
    assert code == 0 and "rows removed" in out and not [w for w in ("Ann", "ann@x.org", "007") if w in out]
    assert words(book) == []


# --- The made company ------------------------------------------------------------------------------------------------


def somebody_everywhere(book) -> forget.Person:
    """A customer of several systems, with an address of their own, who is on lists and gets messages."""
    run = book.store.run("latest")
    listed = "".join(path.read_text(encoding="utf-8") for path in sorted((book.store.folder / "lists").glob("*.csv")))
    several = run.read("customers").order_by("customer_id").to_pandas()
    several = several[(several["sources"].str.count(",") >= 2) & several["email"].notna() & several["phone"].notna()]
    told = set(run.read("value").to_pandas()["customer_id"])
    for who in several["customer_id"]:
        if who in told and listed.count(who) >= 2:
            person = forget.look_up(book, who)
            if person.emails and person.phones and not person.shared:
                return person
    raise AssertionError("nobody is everywhere")


def places(folder, traces) -> set[str]:
    """The files below a folder in which a trace is found: every cell of every table, and every text."""
    pattern, found = "|".join(re.escape(trace) for trace in traces), set()
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            asked = "SELECT count(*) FROM read_parquet(?) AS t WHERE regexp_matches(CAST(t AS VARCHAR), ?)"
            hit = duckdb.execute(asked, [str(path), pattern]).fetchone()[0]
        else:
            hit = path.is_file() and re.search(pattern, path.read_bytes().decode("utf-8", "replace"))
        if hit:
            found.add(path.relative_to(folder).as_posix())
    return found


def test_somebody_forgotten_is_nowhere_after_the_next_run_nor_back_with_the_next_delivery(
    tailor_outcome, tailor_book, tmp_path, monkeypatch
):
    # cards are read from sorted copies, as those of large books are
    monkeypatch.setattr(card, "INDEXED_ROWS", 0)
    folder = tmp_path / "tailor"
    shutil.copytree(tailor_book, folder)
    book = open_book(folder)
    person, store = somebody_everywhere(book), book.store.folder
    reader = card.RunReader(book.store.run("latest"))
    assert card.card(reader, card.find_one(reader, person.emails[0], "DE"), reveal=True)["customer_id"] == person.customer_id
    people = book.store.run("latest").read("people").to_pandas()
    mine = people[[(s, i) in person.records for s, i in zip(people["source"], people["person_id"], strict=True)]]
    traces = {person.customer_id, *person.emails, *person.phones, *mine["email"].dropna(), *mine["phone"].dropna()}
    traces |= {person_id for _, person_id in person.records if len(person_id) >= 6}
    before = places(store, traces)
    for kind in ("/tables/", "/index/", "lists/"):
        assert [name for name in before if kind in f"/{name}"], f"nothing of them in {kind}, so nothing is tested"

    forget.forget(book, person, dt.date(2026, 7, 2))
    assert places(store, traces) == set()
    # what is delivered next has them again, and once more under another number
    customers = folder / "shop" / "customers.csv"
    head, *_ = customers.read_text(encoding="utf-8").splitlines()
    again = dict.fromkeys((name.strip('"') for name in head.split(",")), "")
    again |= {"customer_no": "999000111", "first_name": "Wieder", "last_name": "Da", "cust_mail": person.emails[0].upper()}
    with customers.open("a", encoding="utf-8") as file:
        file.write(",".join(f'"{value}"' for value in again.values()) + "\n")
    outcome = runner.run(open_book(folder), out=tmp_path / "reports")
    assert outcome.run.name != tailor_outcome.run.name
    reader = card.RunReader(outcome.run)
    other = outcome.run.read("customers").order_by("customer_id").limit(1).to_pandas()["customer_id"].iloc[0]
    card.card(reader, card.find_one(reader, other, "DE"))
    for who in (person.emails[0], person.phones[0], person.customer_id, ":".join(person.records[0])):
        with pytest.raises(ClientbookError, match="knows nobody"):
            card.find_one(reader, who, "DE")
    assert places(store, traces | {"999000111"}) == places(tmp_path / "reports", traces | {"999000111"}) == set()
    assert list((outcome.run.folder / card.INDEX).glob("people.*.parquet")), "searched above"
    left = outcome.run.read("people").to_pandas()
    assert len(left) == len(people) - len(mine), "everybody else is there"
