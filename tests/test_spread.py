"""Pairs made and compared where the records lie are those that are made and compared in memory."""

from __future__ import annotations

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_matching import made_people, neighbours, table

from clientbook import engine as engines
from clientbook.faults import FaultError
from clientbook.matching import blocking, pairs, spread, standard


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


@pytest.fixture(scope="module")
def records(engine):
    """Records of several systems, and of one whose towns hold many of one name."""
    rows = neighbours()
    several = rows.astype("object").where(rows.notna(), None).to_dict("records")
    made = {}
    for name, people in (("systems", made_people(700, 3)[0]), ("towns", table("people", several))):
        numbers = engine.number(standard.persons([("people", people)]), ["source", "person_id"], "unique_id")
        # gaps, as records that are mere ids leave
        numbers = numbers.mutate(unique_id=numbers["unique_id"] * 3)
        made[name] = standard.records(people, engine, "DE", 25, numbers)
    return made


def both(rows, engine, **asked):
    asked = {"pairs_per_record": 10, "seed": 1, **asked}
    return pairs.compare(rows, engine, **asked), spread.compare(rows, engine, bring=lambda rows: rows, **asked)


def assert_same(near: pairs.Scored, far: pairs.Scored) -> None:
    pd.testing.assert_frame_equal(near.edges, far.edges)
    # expected pairs are added up in another order
    pd.testing.assert_frame_equal(near.looked_at, far.looked_at, rtol=1e-9)
    pd.testing.assert_frame_equal(near.starts, far.starts)
    assert near.rules == far.rules and near.recall == far.recall and near.note == far.note and near.oddities == far.oddities
    assert near.averages == far.averages and near.settings == far.settings
    for one, other in ((near.patterns, far.patterns), (near.match_weight, far.match_weight), (near.levels, far.levels)):
        assert (one is None and other is None) or np.array_equal(one, other)


@pytest.mark.parametrize("name", ["systems", "towns"])
def test_pairs_are_the_same_with_the_same_weights(records, engine, name):
    near, far = both(records[name], engine)
    assert near.method == "splink" and len(near.edges) > 500
    assert_same(near, far)


def test_what_is_drawn_by_lot_is_the_same(records, engine, monkeypatch):
    """Fewer pairs of strangers and of neighbours than there are, and a model trained on one pair in three."""
    monkeypatch.setattr(pairs, "RANDOM_PAIRS", 5_000)
    monkeypatch.setattr(pairs, "TRAINED_ON", 4_000)
    near, far = both(records["towns"], engine)
    assert "of one record in" in near.note and not near.looked_at["used"].all()
    assert_same(near, far)


def test_a_bound_on_all_rules_leaves_the_same_ones_out(records, engine, monkeypatch):
    monkeypatch.setattr(pairs, "RULES_TOGETHER", 0.2)
    near, far = both(records["systems"], engine)
    assert near.looked_at["why"].str.contains("all rules together").any() and len(near.rules)
    assert_same(near, far)


@pytest.mark.parametrize(
    "asked",
    [{"columns": ["last", "mail"], "asked": [("mail",), ("last", "first")]}, {"columns": ["mail"]}, {"asked": [("job",)]}],
)
def test_what_a_book_asks_for_is_done(records, engine, asked):
    assert_same(*both(records["systems"], engine, **asked))


def test_few_records_are_tied_by_exact_rules(records, engine):
    rows = records["systems"]
    assert_same(*both(engine.keep(rows.filter(rows["unique_id"] < 900)), engine))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([None, "", "ab", "abcde", "abcdx", "b"])] * 3), min_size=1, max_size=30))
def test_rules_make_the_pairs_of_a_plain_reading(engine, rows):
    frame = pd.DataFrame(rows, columns=["last", "first", "zip"]).assign(unique_id=range(len(rows)), mail=None, name_key=None)
    held = ibis.memtable(frame.assign(guessed=False), schema=dict.fromkeys(("last", "first", "zip", "mail", "name_key"), "string")
                         | {"unique_id": "int64", "guessed": "boolean"})  # fmt: skip
    rules = [("last",), ("substr(last, 1, 4)", "first"), ("first", "zip"), ("zip",)]
    far = spread.Spread(held, engine, [], sorted({text for rule in rules for text in rule}), len(rows))
    made = far.pairs(rules).order_by("l", "r").to_pandas()
    sees = {"last": lambda row: row[0], "first": lambda row: row[1], "zip": lambda row: row[2],
            "substr(last, 1, 4)": lambda row: None if row[0] is None else row[0][:4]}  # fmt: skip
    expected = {}
    for i, rule in enumerate(rules):
        for l in range(len(rows)):
            for r in range(l + 1, len(rows)):
                if all(sees[text](rows[l]) is not None and sees[text](rows[l]) == sees[text](rows[r]) for text in rule):
                    expected.setdefault((l, r), set()).add(i)
    ends = list(zip(made["l"], made["r"], strict=True))
    told = {pair: set() for pair in ends}
    for i, agree in enumerate(spread.agreeing(made, len(rules))):
        for at in np.flatnonzero(agree):
            told[ends[at]].add(i)
    assert told == expected
    counted = far.count(rules, 1)
    assert [n for n, _ in counted] == [sum(i in found for found in expected.values()) for i in range(len(rules))]
    assert [n for n, _ in counted] == [blocking.count_pairs(held, rule) for rule in rules]


def test_more_rules_than_a_number_has_bits_are_told_apart(engine, records):
    rows = records["systems"]
    near = blocking.keys(rows, ["mail", "dialled", "zip"])
    rules = [("mail",), *[("zip",)] * 55, ("dialled",)]
    far = spread.Spread(rows, engine, [], ["mail", "dialled", "zip"], len(near.ids))
    made = far.pairs(rules).order_by("l", "r").to_pandas()
    left, right = blocking.blocked(near, rules)
    assert made["l"].tolist() == left.tolist() and made["r"].tolist() == right.tolist()
    for rule, agree in zip(rules, spread.agreeing(made, len(rules)), strict=True):
        assert (agree == near.agree(rule, left, right)).all()


def test_too_many_pairs_for_one_machine_are_told(records, engine, monkeypatch):
    monkeypatch.setattr(spread, "MOST_EDGES", 100)
    with pytest.raises(FaultError, match=r"this machine puts 100 into customers.*"):
        spread.compare(records["systems"], engine, pairs_per_record=10, seed=1, bring=lambda rows: rows)
