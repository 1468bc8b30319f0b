"""The report of a real run in a real browser."""

from __future__ import annotations

import browser

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
