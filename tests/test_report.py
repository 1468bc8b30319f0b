"""The report of the made company in a real browser, and its audit beside the truth."""

from __future__ import annotations

import browser
import ibis
import pandas as pd

from clientbook import runner


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
