"""The made company after a whole run: report in a real browser, audit beside the truth, lists beside consents."""

from __future__ import annotations

import browser
import ibis
import pandas as pd
import pyarrow.parquet as pq

from clientbook import dictionary, runner
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
        assert page.cut == [], (page.name, page.cut)
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
    members = run.read("customers").to_pandas().groupby("account_id")["customer_id"].agg(list)
    now, checked = pd.Timestamp(run.info["as_of"]), {}
    for path in sorted((tailor_book / "store" / "lists").glob("*.csv")):
        rows = pd.read_csv(path, dtype="string")
        if "consent" not in rows:
            continue
        for row in rows.to_dict("records"):
            if path.name == "approach_first.csv":
                # an account allows what anybody there allows; who allows nothing stands there too
                by = [] if pd.isna(row["channels"]) else row["channels"].split(", ")
                each = [said.get(one, nothing) for one in members[row["subject_id"]]]
                assert row["consent"] == ("given" if by else "none")
                assert all(any(allowed_by(own, channel, now) for own in each) for channel in by)
                continue
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
