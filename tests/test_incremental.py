"""A day's records: only what came is compared, and the same customers come out; what is kept, and who vanishes from it."""

from __future__ import annotations

import ibis
import numpy as np
import pandas as pd
import pytest
from test_matching import P, frames, made_people

from clientbook import matching
from clientbook.engine import open as open_engine
from clientbook.matching import ids, incremental, labels, standard


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
    # what was told before, at no time that is known
    older = frame.assign(given_name="Alt", phone=None, updated_at=None, created_at=None, arrival=frame["arrival"] + len(frame))
    whole = of(pd.concat([frame, older[older.index % 3 == 0]], ignore_index=True), people)
    numbered = engine.number(whole.select("source", "person_id").distinct(), ["source", "person_id"], "unique_id")
    new = numbered.filter(numbered["unique_id"] % 10 == 3)
    old = numbered.filter(numbered["unique_id"] % 10 != 3)
    known = standard.records(whole.semi_join(old, ["source", "person_id"]), engine, "DE", 25, old)
    theirs = engine.keep(whole.semi_join(new, ["source", "person_id"]))
    # some of those that are known are gone
    expected = standard.records(theirs, engine, "DE", 25, new, known.filter(known["unique_id"] % 23 != 0))
    expected = expected.select("unique_id", "source", *standard.DERIVED).order_by("unique_id").to_pandas()
    left = known.mutate(record_number="unique_id", first_number="unique_id", together=1, probability=1.0)
    left = incremental.Kept({"averages": {"last": 0.1}}, left, known)
    at = np.arange(int(numbered.count().to_pandas()))
    chosen = new.select("source", "person_id", "unique_id").order_by("unique_id").to_pyarrow()
    found, _ = incremental.written_of(
        left, incremental.known_of(left, [("mail", "first")]), np.where(at % 23 != 0, at, -1), whole, chosen, engine, "DE", 25
    )
    found = found.to_pandas()
    assert len(found) > 50 and found["turned"].any() and found["crowd_mail"].notna().any()
    expected, found = (one.astype("object").where(one.notna(), None) for one in (expected, found))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


@pytest.fixture(scope="module")
def company(engine):
    """Seven hundred humans; a fortieth of their records come a day later. What the first run left, and the whole."""
    people, truth = made_people(700, 3)
    frame = people.to_pandas()
    early = frame[frame.index % 40 != 7]
    return people, truth, frame, early, left_by(matching.match({"people": of(early, people)}, engine, "DE", P), engine)


def left_by(matched, engine) -> ids.Before:
    """What a run leaves, as the next one reads it."""
    tables = {name: engine.keep(matched.tables[name]) for name in ("identities", "matching_records", "matching_edges")}
    kept = incremental.Kept(dict(matched.training), tables["matching_records"], tables["matching_edges"])
    return ids.Before("2024-01-01.001", tables["identities"], None, kept)


def customers(matched) -> pd.Series:
    told = matched.tables["identities"].to_pandas()
    return told.set_index(["source", "person_id"])["customer_id"].sort_index()


def one_to_one(a: pd.Series, b: pd.Series) -> bool:
    pairs = pd.DataFrame({"a": a, "b": b}).drop_duplicates()
    return len(pairs) == a.nunique() == b.nunique()


def test_a_day_delivered_twice_changes_nothing(engine, company):
    people, _, _, early, before = company
    again = matching.match({"people": of(early, people)}, engine, "DE", P, before)
    assert again.day.carried and (again.day.new, again.day.changed, again.day.gone) == (0, 0, 0)
    assert again.day.compared == again.day.regrouped == 0 and again.training["since"] == 0
    first = matching.match({"people": of(early, people)}, engine, "DE", P)
    for name, rows in frames(first).items():
        pd.testing.assert_frame_equal(frames(again)[name], rows)
    twice = pd.concat([early, early.assign(arrival=early["arrival"] + 10_000)])
    told = matching.match({"people": of(twice, people)}, engine, "DE", P, before)
    assert told.day.changed == 0 and customers(told).equals(customers(first))


def test_a_day_makes_the_customers_of_a_full_run(engine, company):
    people, truth, frame, early, before = company
    day = matching.match({"people": people}, engine, "DE", P, before)
    full = matching.match({"people": people}, engine, "DE", P)
    assert day.day.carried and day.day.new == len(frame) - len(early) and not full.day.carried
    assert 0 < day.day.compared < 0.2 * full.scored.looked_at["pairs"][full.scored.looked_at["used"]].sum()
    human = truth.set_index(["source", "person_id"])["human_id"]
    scores = []
    for matched in (day, full):
        told = pd.DataFrame({"t": human, "g": customers(matched)}).astype(str)
        scores.append(matching.scoring.pair_scores(ibis.memtable(told), "t", "g")["f1"])
    assert scores[0] >= scores[1] - 0.005
    # nobody's id is another, but for those whom a new record brought together
    was = before.identities.to_pandas().set_index(["source", "person_id"])["customer_id"]
    assert (customers(day)[was.index] == was).mean() > 0.99
    assert "Only what came was compared" in matching.say_day(day.day)
    assert matching.day_table(day.day).set_index("what").loc["records that are new", "number"] == day.day.new
    again = matching.match({"people": people}, engine, "DE", P, before)
    pd.testing.assert_frame_equal(frames(again)["identities"], frames(day)["identities"])


def test_what_came_is_scored_as_if_all_were_compared_by_the_same_model(engine, company, monkeypatch):
    """Beside it: nothing is taken over, and all records are new to the same model."""
    people, _, _, early, before = company
    day = matching.match({"people": people}, engine, "DE", P, before)
    monkeypatch.setattr(incremental, "MOST_SINCE", 10)
    kept = before.kept
    nobody = incremental.Kept(kept.training, kept.records.filter(kept.records["source"] == "?"), kept.edges.limit(0))
    plain = matching.match({"people": people}, engine, "DE", P, ids.Before("x", before.identities, None, nobody))
    assert plain.day.carried and plain.day.same == 0
    numbered = engine.number(people.select("source", "person_id").distinct(), ["source", "person_id"], "unique_id").to_pandas()
    known = set(zip(early["source"], early["person_id"], strict=True))
    new = numbered.loc[[pair not in known for pair in zip(numbered["source"], numbered["person_id"], strict=True)], "unique_id"]

    def theirs(matched):
        edges = matched.scored.edges.assign(weight=matched.scored.match_weight, pattern=matched.scored.patterns)
        return edges[edges["l"].isin(new) | edges["r"].isin(new)].reset_index(drop=True)

    assert len(theirs(day)) > 20
    pd.testing.assert_frame_equal(theirs(day), theirs(plain))


def test_a_record_delivered_with_another_persons_content_is_compared_anew(engine, company):
    people, _, _, early, before = company
    was = before.identities.to_pandas().set_index(["source", "person_id"])["customer_id"]
    several = was[was.map(was.value_counts()) == 2]
    one, other = several.index[0], several[several != several.iloc[0]].index[0]
    frame = early.copy()
    at = {key: i for i, key in enumerate(zip(frame["source"], frame["person_id"], strict=True))}
    for name in incremental.CONTENT:
        frame[name] = [frame[name].iloc[at[other] if i == at[one] else i] for i in range(len(frame))]
    told = matching.match({"people": of(frame, people)}, engine, "DE", P, before)
    now = customers(told)
    assert told.day.carried and (told.day.changed, told.day.new) == (1, 0)
    partner = next(record for record in was[was == was[one]].index if record != one)
    assert now[one] == now[other] and now[one] != now[partner]


def test_who_is_gone_takes_their_pairs_along(engine, company):
    people, _, _, early, before = company
    was = before.identities.to_pandas().set_index(["source", "person_id"])["customer_id"]
    gone = was[was.map(was.value_counts()) == 3].index[:5]
    left = early.set_index(["source", "person_id"]).drop(gone).reset_index()[list(early.columns)]
    told = matching.match({"people": of(left, people)}, engine, "DE", P, before)
    full = matching.match({"people": of(left, people)}, engine, "DE", P)
    assert told.day.carried and told.day.gone == 5 and told.day.new == told.day.changed == 0
    assert one_to_one(customers(told), customers(full))
    # and back again a day later
    back = matching.match({"people": of(early, people)}, engine, "DE", P, left_by(told, engine))
    assert back.day.new == 5 and one_to_one(customers(back), was.sort_index())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": 2}, "settings"),
        ({"threshold": 0.7}, "settings"),
        ({}, "a blocking rule would make more pairs"),
    ],
)
def test_what_asks_for_all_to_be_compared_again(engine, company, monkeypatch, change, why):
    people, _, _, _, before = company
    if not change:
        monkeypatch.setattr(matching.pairs, "bound", lambda n, each: 10)
    told = incremental.carry_on(
        before.kept, people, *numbers(people, engine), engine, "DE", P.model_copy(update=change), (),
        incremental.settings_of("DE", P.model_copy(update=change), matching.Asked()),
    )  # fmt: skip
    assert isinstance(told, incremental.Day) and why in told.why
    assert "anew, as" in matching.say_day(told)


def numbers(people, engine):
    numbered = engine.number(people.select("source", "person_id").distinct(), ["source", "person_id"], "unique_id")
    return numbered, int(numbered.count().to_pandas())


def test_so_many_that_it_is_trained_again(engine, company):
    people, _, frame, _, before = company
    more, _ = made_people(260, 11)
    later = of(more.to_pandas().assign(source=lambda f: f["source"], person_id=lambda f: "n" + f["person_id"]), people)
    told = matching.match({"people": people.union(later)}, engine, "DE", P, before)
    assert not told.day.carried and "since the last training" in told.day.why and told.training["since"] == 0
    assert told.day.new > 0.2 * len(frame)


def test_too_few_to_train_leave_nothing_to_go_on_from(engine):
    people, _ = made_people(40, 2)
    told = matching.match({"people": people}, engine, "DE", P)
    assert told.training["model"] is None and "matching_records" not in told.tables


def test_pairs_with_a_fresh_record_are_those_of_all_that_hold_one():
    from clientbook.matching import blocking

    rng = np.random.default_rng(5)
    hashes = {name: rng.integers(0, k, 400).astype("uint64") * np.uint64(2**40 + 7) for name, k in (("mail", 90), ("last", 30))}
    found = blocking.Keys(np.arange(400), hashes)
    fresh = rng.random(400) < 0.1
    rules = [("mail",), ("mail", "last"), ("last",)]
    left, right = blocking.blocked(found, rules)
    mine = fresh[left] | fresh[right]
    told = blocking.blocked_with(found, rules, fresh, per_rule=1e9, most=1e9)
    assert (told[0] == left[mine]).all() and (told[1] == right[mine]).all() and mine.any()
    assert blocking.blocked_with(found, rules, fresh, per_rule=50, most=1e9) is None
    none = blocking.blocked_with(found, rules, np.zeros(400, bool), per_rule=1, most=1)
    assert len(none[0]) == len(none[1]) == 0


def test_what_is_kept_is_described_and_holds_no_other_column(engine, company):
    _, _, _, _, before = company
    for table, rows in zip(incremental.TABLES, (before.kept.records, before.kept.edges), strict=True):
        assert tuple(rows.columns) == table.names
    import json

    assert "@" not in json.dumps(before.kept.training["model"])


def test_an_answer_holds_through_later_days_and_goes_when_it_is_taken_back(engine, company):
    people, _, _, early, before = company
    was = before.identities.to_pandas()
    together = was[was["customer_id"].map(was["customer_id"].value_counts()) == 2].sort_values(
        ["customer_id", "source", "person_id"]
    )
    one, other = together.head(2).itertuples(index=False)
    answer = (one.source, one.person_id, other.source, other.person_id, "no", "", "", "")
    no = pd.DataFrame([answer], columns=[*labels.REQUIRED, *labels.OPTIONAL]).assign(row=2)
    today = matching.match({"people": of(early, people)}, engine, "DE", P, before, labels=no)
    later = matching.match({"people": people}, engine, "DE", P, left_by(today, engine), labels=no)
    assert today.day.carried and later.day.carried
    for told in (today, later):
        found = customers(told)
        assert found[one.source, one.person_id] != found[other.source, other.person_id]
    again = matching.match({"people": people}, engine, "DE", P, left_by(later, engine))
    found = customers(again)
    assert again.day.carried and found[one.source, one.person_id] == found[other.source, other.person_id]
    # with the answer gone, the customers are those that came out had nobody ever said it
    never = matching.match({"people": people}, engine, "DE", P, before)
    assert one_to_one(customers(again), customers(never))


def test_with_answers_a_run_that_goes_on_makes_what_a_full_one_does(engine, company):
    people, _, _, early, before = company
    was = before.identities.to_pandas().sort_values(["customer_id", "source", "person_id"])
    one, other = was.iloc[[0, 40]].itertuples(index=False)
    answer = (one.source, one.person_id, other.source, other.person_id, "yes", "", "", "")
    yes = pd.DataFrame([answer], columns=[*labels.REQUIRED, *labels.OPTIONAL]).assign(row=2)
    full = matching.match({"people": of(early, people)}, engine, "DE", P, labels=yes)
    again = matching.match({"people": of(early, people)}, engine, "DE", P, left_by(full, engine), labels=yes)
    assert again.day.carried and again.clustered.why == full.clustered.why != "so it was asked for"
    assert customers(full)[one.source, one.person_id] == customers(full)[other.source, other.person_id]
    for name in ("identities", "customers", "identity_draws"):
        pd.testing.assert_frame_equal(frames(again)[name], frames(full)[name])
