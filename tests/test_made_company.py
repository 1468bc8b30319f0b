"""The made company after a whole run: report in a real browser, notebooks, audit beside the truth, lists beside consents."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys

import browser
import duckdb
import ibis
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from clientbook import card, dictionary, forget, runner
from clientbook.book import open_book
from clientbook.faults import ClientbookError
from clientbook.tables import CANONICAL, clean_columns


def test_every_page_is_quiet_accessible_and_small(tailor_outcome):
    pages = browser.open_pages(tailor_outcome.report)
    told = {notebook.name for notebook in runner.notebooks()} | {"index", "glossary", "dictionary"}
    assert {page.name for page in pages} == told
    for page in pages:
        assert page.requests == [], page.name
        assert page.violations == [], (page.name, page.violations)
        assert page.size < 1_000_000, page.name
        assert not page.overflow, page.name
        assert not page.ran, page.name


EXACT = ("no_consent", "open_complaint", "after_close", "over_cap", "over_preference", "duplicate", "wrong_topic")


def test_the_audit_is_the_truth_where_identities_are_right(tailor_outcome, tailor_book):
    """An account is right if its records are those of one true account, and each of its customers is one true human."""
    run, truth = (
        tailor_outcome.run,
        {n: ibis.read_parquet(tailor_book / "truth" / f"{n}.parquet") for n in ("people", "messages")},
    )
    accounts = run.read("customers").select("customer_id", "account_id").to_pandas()
    records = run.read("identities").to_pandas().merge(accounts, on="customer_id")
    true = truth["people"].to_pandas()[["source", "person_id", "human_id", "account_id"]]
    both = records.merge(true, on=["source", "person_id"], how="outer", suffixes=("", "_true"))
    both = both.fillna({name: "nobody" for name in ("customer_id", "account_id", "human_id", "account_id_true")})
    wrong = pd.Series(False, index=both.index)
    for ours, theirs in (("account_id", "account_id_true"), ("customer_id", "human_id")):
        for one, other in ((ours, theirs), (theirs, ours)):
            wrong |= both.groupby(one)[other].transform("nunique") > 1
    right = set(both["account_id"]) - set(both.loc[wrong, "account_id"]) - {"nobody"}
    audited = run.read("message_audit").to_pandas()
    audited = audited[audited["account_id"].isin(right)]
    compared = audited.merge(truth["messages"].to_pandas(), on=["source", "message_id"], suffixes=("", "_true"))
    assert len(compared) == len(audited) > 500
    for reason in EXACT:
        differ = compared[compared[reason].fillna(False).astype(bool) != compared[f"{reason}_true"]]
        assert differ.empty, (reason, len(differ))
    assert compared[[f"{reason}_true" for reason in EXACT]].sum().gt(0).sum() >= 5


STRICT = ["given", "unknown", "expired", "refused", "withdrawn"]


def allowed_by(said: pd.DataFrame, channel: str, now: pd.Timestamp) -> bool:
    """Whether of what a customer said of a channel, or of all, the latest allows marketing; at one instant the strictest."""
    about = said[(said["purpose"] == "marketing") & (said["channel"].isna() | (said["channel"] == channel))]
    latest = about[about["indicated_at"] == about["indicated_at"].max()]
    ran_out = (latest["status"] == "given") & (latest["valid_to"] <= now)
    words = latest["status"].where(~ran_out, "expired")
    return len(words) > 0 and max(words, key=STRICT.index) == "given"


def test_nobody_is_on_a_list_to_be_contacted_without_consent(tailor_outcome, tailor_book):
    run = tailor_outcome.run
    owners = run.read("identities").to_pandas().set_index(["source", "person_id"])["customer_id"]
    consents = run.read("consents").to_pandas()
    consents["customer_id"] = [owners.get(one) for one in zip(consents["person_source"], consents["person_id"], strict=True)]
    said, nothing = dict(iter(consents.groupby("customer_id"))), consents.head(0)
    now, checked = pd.Timestamp(run.info["as_of"]), {}
    for path in sorted((tailor_book / "store" / "lists").glob("*.csv")):
        rows = pd.read_csv(path, dtype="string")
        if "consent" not in rows:
            continue
        for row in rows.to_dict("records"):
            own = said.get(row["customer_id"], nothing)
            if row["consent"] == "not needed":
                # service calls about what went wrong; nobody is written to
                assert row["action"].startswith("call") and pd.isna(row["channel"]), path.name
                continue
            told = row.get("channels", row.get("channel"))
            by = [] if told is None or pd.isna(told) else [one.strip() for one in told.split(",")]
            if by:
                assert row["consent"] == "given" and all(allowed_by(own, channel, now) for channel in by), path.name
                checked[path.name] = checked.get(path.name, 0) + 1
            else:
                assert path.name == "best_customers.csv", path.name
                every = {*consents["channel"].dropna()} or {"any"}
                given = any(allowed_by(own, channel, now) for channel in every)
                assert row["consent"] == ("given" if given else "not given")
    assert {"next_actions.csv", "retargeting.csv", "targets_win.csv"} <= set(checked)


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


def test_every_true_pair_of_columns_is_found_and_none_is_false(tailor_outcome, tailor_book):
    found = tailor_outcome.run.read("correspondences").to_pandas()
    meaning = {"name": "company", "other_person_id": "person_id", "referred_person_id": "person_id"}
    odd = []
    for r in found.itertuples():
        a, b = (meaning.get(c, c) for c in (r.column_a, r.column_b))
        # a card's number names who carries it, and a coupon the piece that it came with
        if a != b and {a, b} not in ({"person_id", "external_id"}, {"campaign", "content_id"}):
            odd.append((r.source_a, r.table_a, r.column_a, r.source_b, r.table_b, r.column_b))
    assert len(odd) <= 1, odd
    people = tailor_outcome.run.read("people").to_pandas()
    pairs = {(r.source_a, r.column_a, r.source_b, r.column_b) for r in found.itertuples() if r.table_a == r.table_b == "people"}
    for column in ("email", "phone", "given_name", "family_name", "city", "postcode", "external_id"):
        held = {s: set(rows[column].dropna().str.lower()) for s, rows in people.groupby("source")}
        for a in held:
            for b in held:
                if a < b and len(held[a] & held[b]) >= 30:
                    assert (a, column, b, column) in pairs, (a, b, column)


def test_notebooks_give_the_committed_outputs(tailor_book, tailor_outcome):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", "-n", "0"]
    command += ["--nbval-cell-timeout=300", str(ROOT / "notebooks")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"CLIENTBOOK_BOOK": str(tailor_book)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_columns_of_a_run_are_those_of_the_dictionary(tailor_outcome):
    wrong, stages = {}, [notebook.stage for notebook in runner.notebooks()]
    for name in tailor_outcome.run.tables:
        found = [c for c in pq.read_schema(tailor_outcome.run.path(name)).names if not c.startswith("x_")]
        if name in CANONICAL:
            expected = [column.name for column in clean_columns(CANONICAL[name])]
        else:
            expected = list(dictionary.described(name, stages).names)
        if found != expected:
            wrong[name] = (found, expected)
    assert wrong == {}


def test_the_dictionary_tells_every_table_and_the_truth_of_a_made_company(tailor_outcome):
    page = (tailor_outcome.report / "dictionary.html").read_text(encoding="utf-8")
    for name in ("people", "messages", "value", "identities", "message_audit"):
        assert f">{name}: " in page, name
    assert "The truth of the made company" in page and "human_id" in page
    assert "How close the made company is to real ones" in page and "<img" in page
