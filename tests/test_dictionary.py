"""Tables and data dictionary say the same."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from clientbook import dictionary, runner
from clientbook.tables import CANONICAL, clean_columns

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


def test_columns_of_a_run_are_those_of_the_dictionary(tailor_outcome):
    wrong = {}
    for name in tailor_outcome.run.tables:
        found = [c for c in pq.read_schema(tailor_outcome.run.path(name)).names if not c.startswith("x_")]
        if name in CANONICAL:
            expected = [column.name for column in clean_columns(CANONICAL[name])]
        else:
            expected = list(dictionary.described(name, STAGES).names)
        if found != expected:
            wrong[name] = (found, expected)
    assert wrong == {}


def test_the_page_tells_every_table_and_the_truth_of_a_made_company(tailor_outcome):
    page = (tailor_outcome.report / "dictionary.html").read_text(encoding="utf-8")
    for name in ("people", "messages", "value", "identities", "message_audit"):
        assert f">{name}: " in page, name
    assert "The truth of the made company" in page and "human_id" in page
    assert "How close the made company is to real ones" in page and "<img" in page


def test_a_real_book_has_no_truth_on_its_page(small_outcome):
    page = (small_outcome.report / "dictionary.html").read_text(encoding="utf-8")
    assert "What the notebooks write" in page
    assert "truth" not in page
