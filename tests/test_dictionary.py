"""Tables and data dictionary say the same."""

from __future__ import annotations

import pytest

from clientbook import runner
from clientbook.tables import CANONICAL

STAGES = [notebook.stage for notebook in runner.notebooks()]


def test_every_table_that_a_stage_writes_is_described():
    described = {table.name for stage in STAGES for table in stage.tables} | set(CANONICAL)
    written = {name for stage in STAGES for name in stage.writes}
    assert written - described == set()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_descriptions_are_of_tables_that_the_stage_writes(stage):
    assert {table.name for table in stage.tables} <= set(stage.writes)
    for table in stage.tables:
        assert len(set(table.names)) == len(table.names), table.name
        assert all(column.meaning for column in table.columns), table.name


def test_a_real_book_has_no_truth_on_its_page(small_outcome):
    page = (small_outcome.report / "dictionary.html").read_text(encoding="utf-8")
    assert "What the notebooks write" in page
    assert "truth" not in page
