"""The report of a real run in a real browser."""

from __future__ import annotations

import browser


def test_every_page_is_quiet_accessible_and_small(small_outcome):
    pages = browser.open_pages(small_outcome.report)
    assert {page.name for page in pages} >= {"index", "glossary", "00_overview", "01_cleaning", "04_value"}
    for page in pages:
        assert page.requests == [], page.name
        assert page.violations == [], (page.name, page.violations)
        assert page.size < 1_000_000, page.name
        assert not page.overflow, page.name
        assert not page.ran, page.name
