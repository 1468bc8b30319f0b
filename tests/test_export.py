"""All that is held on one person, and nothing of anybody else."""

from __future__ import annotations

import json

import pytest
from test_forget import FILES, SETTINGS, TRACES, renewed, run  # noqa: F401

from clientbook import cli
from clientbook.book import open_book
from clientbook.export import export
from clientbook.faults import ClientbookError
from clientbook.forget import look_up


@pytest.fixture
def book(make_book):
    opened = open_book(make_book(SETTINGS, **FILES))
    run(opened, "2026-07-01.001")
    return opened


def test_everything_of_theirs_and_nothing_of_others(book):
    told = export(book, look_up(book, "c1"))
    assert told["customer_id"] == "c1" and told["run"] == "2026-07-01.001"
    assert {(r["source"], r["person_id"]) for r in told["records"]} == {("shop", "007"), ("news", "n1"), ("web", "k1")}
    text = json.dumps(told)
    for trace in TRACES:
        assert trace in text, trace
    for other in ("Bob", "Cid", "bob@x.org", "cid@x.org", "o3"):
        assert other not in text, other
    assert {"people", "orders", "returns", "consents", "events", "aliases", "referrals", "rejected", "identities"} <= set(
        told["tables"]
    )
    assert list(told["lists"]) == ["all.csv"] and told["answers"] == []


def test_what_older_rows_said_is_in_it(renewed):  # noqa: F811
    told = export(renewed, look_up(renewed, "shop:007"))["tables"]["changes"]
    said = {(row["table"], row["id"], row["before"]) for row in told if "before" in row}
    assert {("people", "007", "ann.old@x.org"), ("people", "007", "Ann Leeson"), ("cases", "k1", "ring Ann")} < said
    assert not [word for word in ("Bob", "Cid", "bob", "cid", "all two") if word in json.dumps(told)]


def test_what_people_said_about_them_is_in_it(book):
    head = "source_a,person_id_a,source_b,person_id_b,answer,note\n"
    (book.folder / "labels.csv").write_text(head + "shop,8,news,n1,no,rang them\nshop,8,news,n2,yes,\n")
    said = {"source_a": "shop", "person_id_a": "8", "source_b": "news", "person_id_b": "n1", "answer": "no", "note": "rang them"}
    assert export(book, look_up(book, "c1"))["answers"] == [said]
    (book.folder / "labels.csv").write_text(head + "shop,8,news,n1,perhaps,\n")
    with pytest.raises(ClientbookError, match=r"labels\.csv, row 2"):
        export(book, look_up(book, "c1"))


def test_the_command_writes_it_or_says_what_is_wrong(book, tmp_path, capsys, monkeypatch):
    def call(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["clientbook", "export", str(book.folder), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    assert call("shop:007", "--out", str(tmp_path / "them.json")) == 0
    assert json.loads((tmp_path / "them.json").read_text(encoding="utf-8"))["customer_id"] == "c1"
    assert "personal data" in capsys.readouterr().out
    assert call("shop:007") == 0
    assert json.loads(capsys.readouterr().out)["customer_id"] == "c1"
    assert call("shop:none") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_nobody_is_guessed(book):
    with pytest.raises(ClientbookError):
        look_up(book, "ada@example.org")
