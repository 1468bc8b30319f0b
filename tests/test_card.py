"""One customer's page: found by what people have at hand, whole, fast, and masked."""

from __future__ import annotations

import datetime as dt
import json

import ibis
import pandas as pd
import pytest

from clientbook import card, cli
from clientbook import customers as keys
from clientbook.faults import ClientbookError
from clientbook.store import Run

NASTY = "<script>alert(1)</script>"
DAY = dt.datetime(2026, 5, 1, 12)


def tables() -> dict[str, pd.DataFrame]:
    people = pd.DataFrame(
        [
            ("crm", "K-1001", "Sabine Koch", "sabine@koch.de", "+49 170 2345678", "Bonn"),
            ("shop", "1:2", NASTY, "Sabine@Koch.de", None, "Bonn"),
            ("shop", "3", "Max Muster", "haus@muster.de", "0228 555666", "Köln"),
            ("shop", "4", "Mia Muster", "haus@muster.de", "0228 555666", "Köln"),
        ],
        columns=["source", "person_id", "full_name", "email", "phone", "city"],
    ).assign(file="p.csv", row=range(4), arrival=range(4))
    identities = people[["source", "person_id"]].assign(customer_id=["c1", "c1", "c3", "c4"], probability=0.97)
    customers = pd.DataFrame(
        {
            "customer_id": ["c1", "c3", "c4"], "full_name": ["Sabine Koch", "Max Muster", "Mia Muster"],
            "email": ["sabine@koch.de", "haus@muster.de", "haus@muster.de"], "phone": ["+49 170 2345678", None, None],
            "account_id": ["a1", "a9", "a9"],
        }
    )  # fmt: skip
    orders = pd.DataFrame(
        [("crm", "K-1001", "o1", 10.0, "open", 0), ("shop", "1:2", "o2", 5.0, "delivered", 1),
         ("shop", "1:2", "o2", 7.0, "delivered", 2), ("shop", "3", "o3", 9.0, None, 3)],
        columns=["person_source", "person_id", "order_id", "amount", "status", "arrival"],
    ).assign(source="shop", order_source="shop", ordered_on=DAY.date(), ordered_at=DAY)  # fmt: skip
    consents = pd.DataFrame(
        [("crm", "K-1001", "given", None, 0), ("shop", "1:2", "refused", "phone", 1)],
        columns=["person_source", "person_id", "status", "channel", "arrival"],
    ).assign(source="crm", purpose="marketing", indicated_at=DAY, valid_to=pd.Series([None, None], dtype="datetime64[us]"))
    cases = pd.DataFrame(
        {"source": "crm", "person_source": "crm", "person_id": ["K-1001"], "opened_at": [DAY], "channel": ["phone"],
         "closed_at": pd.Series([None], dtype="datetime64[us]"), "reason": ["late"], "text": ["my own words"],
         "arrival": [0]}
    )  # fmt: skip
    return {
        "people": people, "identities": identities, "customers": customers, "orders": orders, "consents": consents,
        "cases": cases,
        "value": pd.DataFrame({"customer_id": ["c1"], "clv": [12.5], "clv_low": [1.0], "clv_high": [30.0]}),
        "resolved_accounts": pd.DataFrame({"account_id": ["a1", "a9"], "name": ["Koch", "Muster"],
                                           "kind": ["single", "household"]}),
    }  # fmt: skip


def write(store, frames, run="2026-07-01.001"):
    folder = store / "runs" / run / "tables"
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        ibis.memtable(frame).to_parquet(folder / f"{name}.parquet")
    return Run(folder.parent)


@pytest.fixture
def book(make_book):
    folder = make_book("name: Made\ncountry: DE\nsources: {shop: {orders: {path: o.csv}}}\n", o__csv="person_id,ordered_at\n")
    write(folder / "store", tables())
    return folder


@pytest.fixture
def reader(book):
    return card.RunReader(Run(book / "store" / "runs" / "2026-07-01.001"))


@pytest.mark.parametrize("who", ["c1", " c1 ", "SABINE@koch.de", "+491702345678", "0170 234 56 78", "crm:K-1001", "shop:1:2"])
def test_customers_are_found_by_what_is_at_hand(reader, who):
    assert card.find_one(reader, who, "DE") == card.Hit("customer", "c1")


@pytest.mark.parametrize("who", ["shop:Jane@Example.net", "shop: jane@example.net "])
def test_an_id_that_is_an_address_is_found_however_it_is_spelt(tmp_path, who):
    run = write(tmp_path, {name: rows.replace("1:2", "jane@example.net") for name, rows in tables().items()})
    assert card.find_one(card.RunReader(run), who, "DE") == card.Hit("customer", "c1")


def test_accounts_are_found_and_nobody_is(reader):
    assert card.find_one(reader, "a9", "DE") == card.Hit("account", "a9")
    for who in ("nobody@x.org", "shop:77", "+49 1", "", "c2", "' OR 1=1 --"):
        with pytest.raises(ClientbookError, match="nobody like that"):
            card.find_one(reader, who, "DE")


@pytest.mark.parametrize("who", ["haus@muster.de", "0228 555666"])
def test_several_are_listed_masked_and_never_guessed(reader, who):
    with pytest.raises(ClientbookError, match="2 fit") as told:
        card.find_one(reader, who, "DE")
    assert "c3" in str(told.value) and "c4" in str(told.value)
    assert "Muster" not in str(told.value) and "haus@" not in str(told.value)


def test_the_card_tells_all_that_is_there_and_what_is_not(reader):
    told = card.card(reader, card.Hit("customer", "c1"))
    assert told["orders"] == {"orders": 2, "amount": 22.0, "first": DAY.date(), "last": DAY.date(), "open": 1}
    assert told["value"]["clv"] == 12.5 and told["segment"] is None and told["stages"] is None
    assert {(row["channel"], row["status"]) for row in told["consent"]} == {("phone", "refused"), ("others", "given")}
    assert [row["reason"] for row in told["open_cases"]] == ["late"]
    assert len(told["identities"]) == 2 and told["messages"] is None


def test_personal_data_is_masked_unless_asked_for(reader):
    hit = card.Hit("customer", "c1")
    personal = ("Sabine", "Koch", "koch.de", "2345678", "K-1001", "my own words")
    for page in (card.as_json, card.as_html, card.as_text):
        masked, shown = page(card.card(reader, hit)), page(card.card(reader, hit, reveal=True))
        assert not [word for word in personal if word in masked]
        assert all(word in shown for word in ("Sabine Koch", "sabine@koch.de", "K-1001", "my own words"))
    assert "shows personal data" in card.as_html(card.card(reader, hit, reveal=True), revealed=True)


def test_html_is_escaped_and_needs_nothing_else(reader):
    told = card.card(reader, card.Hit("customer", "c1"), reveal=True)
    told["who"]["full_name"] = NASTY
    page = card.as_html(told)
    assert NASTY not in page and "&lt;script&gt;" in page
    assert "://" not in page and "<script" not in page and "default-src 'none'" in page


def test_an_account_has_all_its_contacts_each_as_on_their_own(reader, book):
    told = card.card(reader, card.Hit("account", "a9"))
    assert [row["customer_id"] for row in told["contacts"]] == ["c3", "c4"]
    assert told["account"]["name"] == "M…", "a household's name is its people's"
    alone = card.RunReader(reader.run)
    for contact in told["contacts"]:
        one = card.card(alone, card.Hit("customer", contact["customer_id"]))
        assert {name: one[name] for name in contact} == contact
    assert json.loads(card.as_json(told))["contacts"][0]["orders"]["amount"] == 9.0
    assert "Contact c3" in card.as_html(told) and "Contact c4" in card.as_text(told)


def test_without_identities_each_record_is_a_customer(tmp_path):
    frames = {"orders": tables()["orders"]}
    run = write(tmp_path, frames)
    rows = ibis.memtable(pd.DataFrame({"s": ["shop"], "p": ["3"]}))
    own = rows.select(c=keys.record_id(rows["s"], rows["p"])).to_pandas()["c"].iloc[0]
    assert card.record_id("shop", "3") == own
    reader = card.RunReader(run)
    assert card.find_one(reader, "shop:3", "DE") == card.find_one(reader, own, "DE") == card.Hit("customer", own)
    assert card.card(reader, card.Hit("customer", own))["orders"]["amount"] == 9.0


def test_the_command_prints_and_writes(book, monkeypatch, capsys, tmp_path):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["clientbook", "card", str(book), *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    code, out, _ = call("c1", "--json")
    assert code == 0 and json.loads(out)["customer_id"] == "c1"
    page = tmp_path / "card.html"
    assert call("c1", "--out", page)[0] == 0 and page.read_text(encoding="utf-8").startswith("<!doctype html>")
    code, out, complaint = call("haus@muster.de")
    assert (code, out) == (1, "") and "2 fit" in complaint and "haus@" not in complaint


def test_large_tables_are_read_from_sorted_copies_and_say_the_same(tmp_path, monkeypatch):
    run = write(tmp_path, tables())
    plain = {who: card.card(card.RunReader(run), card.find_one(card.RunReader(run), who, "DE"))
             for who in ("c1", "c3", "sabine@koch.de", "0170 2345678", "a9", "shop:4")}  # fmt: skip
    assert not (run.folder / card.INDEX).exists()
    monkeypatch.setattr(card, "INDEXED_ROWS", 0)
    for _ in range(2):
        for who, told in plain.items():
            reader = card.RunReader(run)
            assert card.card(reader, card.find_one(reader, who, "DE")) == told, who
    made = sorted(path.name for path in (run.folder / card.INDEX).glob("*.parquet"))
    assert {"orders.record.parquet", "people.email.parquet", "customers.customer_id.parquet"} <= set(made)
    # a table that was written anew is sorted anew
    orders = run.path("orders")
    rows = pd.read_parquet(orders)
    ibis.memtable(rows[rows["person_id"] != "K-1001"]).to_parquet(orders)
    assert card.card(card.RunReader(run), card.Hit("customer", "c1"))["orders"]["orders"] == 1
