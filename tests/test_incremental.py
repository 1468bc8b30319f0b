"""A day's records: only what came is compared, and the same customers come out; what is kept, and who vanishes from it."""

from __future__ import annotations

import ibis
import pandas as pd
import pytest
from test_matching import P, frames, made_people

from clientbook import matching
from clientbook.engine import open as open_engine
from clientbook.matching import ids, incremental, standard


def of(frame: pd.DataFrame, like: ibis.Table) -> ibis.Table:
    return ibis.memtable(frame.astype("object").where(frame.notna(), None), schema=like.schema())


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with open_engine("duckdb", scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


def test_a_few_records_are_written_as_many_are(engine):
    """The one in memory stands beside the one in the database: on odd names, shared values and swapped parts."""
    people, _ = made_people(400, 3)
    frame = people.to_pandas().astype("object")
    frame.loc[frame.index % 9 == 0, "full_name"] = "Dr. Zoë van der Berg-Çelik"
    frame.loc[frame.index % 9 == 0, ["given_name", "family_name"]] = None
    frame.loc[frame.index % 11 == 0, ["given_name", "family_name", "full_name"]] = None
    frame.loc[frame.index % 7 == 0, "email"] = "info@adler.de"
    frame.loc[frame.index % 13 == 0, "email"] = "Carl.Moos+x@gmx.de"
    frame.loc[frame.index % 17 == 0, ["given_name", "family_name"]] = ["欧阳", "Ångström"]
    frame.loc[frame.index % 5 == 0, "family_name"] = None
    turned = frame.index % 19 == 0
    frame.loc[turned, ["given_name", "family_name"]] = frame.loc[turned, ["family_name", "given_name"]].to_numpy()
    whole = of(frame, people)
    numbered = engine.keep(matching.clusters.number(whole.select("source", "person_id").distinct()))
    new = numbered.filter(numbered["unique_id"] % 10 == 3)
    old = numbered.filter(numbered["unique_id"] % 10 != 3)
    known = standard.records(whole.semi_join(old, ["source", "person_id"]), engine, "DE", 25, old)
    theirs = engine.keep(whole.semi_join(new, ["source", "person_id"]))
    expected = standard.records(theirs, engine, "DE", 25, new, known)
    expected = expected.select("unique_id", "source", *standard.DERIVED).order_by("unique_id").to_pandas()
    found = standard.few(theirs, "DE", 25, new, known)
    assert len(found) > 50 and found["turned"].any() and found["crowd_mail"].notna().any()
    expected, found = (one.astype("object").where(one.notna(), None) for one in (expected, found))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
