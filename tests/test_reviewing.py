"""People in the loop: answers that hold, what they contradict, what is asked next, and what it tells of the errors."""

from __future__ import annotations

from dataclasses import replace

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_matching import edges_of, frames, made_people, table

from clientbook import matching
from clientbook.book import LABELS
from clientbook.faults import FaultError
from clientbook.matching import asking, clusters, estimating, explaining, reviewing, sitting
from clientbook.matching import labels as told

P = matching.MatchingParameters()
HEADER = "source_a,person_id_a,source_b,person_id_b,answer,labelled_at"


def answers(*rows, n=6):
    """Settled answers about records by number: (l, r, answer[, labelled_at])."""
    made = [(min(a, b), max(a, b), answer, *at, i) for i, (a, b, answer, *at) in enumerate(((*r, "")[:4] for r in rows), 2)]
    frame = pd.DataFrame(made, columns=["l", "r", "answer", "labelled_at", "row"])
    return told.settle_numbers(frame.assign(stratum=""), n)


def test_the_newest_answer_about_a_pair_holds_and_the_older_is_shown():
    settled = answers((0, 1, "yes"), (1, 0, "no"), (2, 3, "no", "2025-01-01"), (2, 3, "yes"))
    assert settled.used[["l", "r", "answer"]].to_numpy().tolist() == [[2, 3, "no"], [0, 1, "no"]]
    assert settled.left_out[["row", "answer"]].to_numpy().tolist() == [[2, "yes"], [5, "yes"]]
    assert "row 3 says no of the same two records" in settled.left_out["why"][0]


def test_unknown_takes_an_answer_back():
    settled = answers((0, 1, "yes"), (0, 1, "unknown"))
    assert not settled and settled.left_out["row"].tolist() == [2]


def test_a_chain_that_a_no_contradicts_is_told_with_its_rows():
    older = answers((0, 2, "no"), (0, 1, "yes"), (1, 2, "yes"))
    assert set(older.used["answer"]) == {"yes"}
    assert older.left_out.to_numpy().tolist() == [[2, "no", "by rows 3, 4, newer and yes, the two are one"]]
    newer = answers((0, 1, "yes"), (1, 2, "yes"), (0, 2, "no"))
    assert newer.left_out.to_numpy().tolist() == [[2, "yes", "row 4, newer and no, keeps apart whom it would make one"]]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from(["yes", "no", "unknown"])), max_size=25))
@settings(max_examples=80, deadline=None)
def test_what_is_followed_is_free_of_contradictions_and_nothing_is_lost(rows):
    rows = [row for row in rows if row[0] != row[1]]
    settled = answers(*rows, n=8)
    group = {i: {i} for i in range(8)}
    for one in settled.used[settled.used["answer"] == "yes"].itertuples():
        whole = group[one.l] | group[one.r]
        group |= dict.fromkeys(whole, whole)
    for one in settled.used[settled.used["answer"] == "no"].itertuples():
        assert one.r not in group[one.l]
    newest = {(min(a, b), max(a, b)): answer for a, b, answer in rows}
    assert len(settled.used) + sum(settled.left_out["why"].str.contains("newer and")) == len(newest)


def group_by(rows, n):
    """The smallest of those that each is one with, by a search that tries every pair again until nothing changes."""
    told = list(range(n))
    while True:
        before = list(told)
        for a, b in rows:
            told[a] = told[b] = min(told[a], told[b])
        if told == before:
            return told


def plainly_held(rows, n):
    """Of answers, oldest first: those that no newer one contradicts."""
    held: list = []
    for a, b, answer in reversed(rows):
        if any({a, b} == {x, y} for x, y, _ in held):
            continue
        one = group_by([(x, y) for x, y, said in [*held, (a, b, answer)] if said == "yes"], n)
        if all(one[x] != one[y] for x, y, said in [*held, (a, b, answer)] if said == "no"):
            held.append((a, b, answer))
    return held


PAIRS = st.tuples(st.integers(0, 7), st.integers(0, 7))
BARE = st.sets(st.integers(0, 7), min_size=2, max_size=6)
SAID = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from(["yes", "no"])), max_size=10)
TIES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.floats(0.05, 1)), max_size=12)


@given(SAID, TIES, st.lists(PAIRS, max_size=12), BARE)
@settings(max_examples=100, deadline=None)
def test_answers_hold_whatever_the_data_and_the_links_say(rows, ties, aliases, bare):
    rows = [row for row in rows if row[0] != row[1]]
    settled = answers(*rows, n=8)
    # of an id that is named by events alone nothing was ever compared
    seen = {(min(a, b), max(a, b)): p for a, b, p in ties if a != b and not {a, b} & bare}
    apart = clusters.answered(None, settled.group, settled.parted)
    tied = clusters.cluster(edges_of(*[(*key, p) for key, p in seen.items()]), 8, apart=apart).tied
    links = edges_of(*[(*pair, 1) for pair in sorted({(min(a, b), max(a, b)) for a, b in aliases if a != b})])
    known = ~np.isin(np.arange(8), list(bare))
    told, against = clusters.tie(tied, links, known, apart)
    first = told["first"]
    for a, b, answer in plainly_held(rows, 8):
        assert (first[a] == first[b]) == (answer == "yes")
    crossing = [pair for pair in links[["l", "r"]].itertuples(index=False, name=None) if first[pair[0]] != first[pair[1]]]
    assert list(against.itertuples(index=False, name=None)) == crossing


@given(TIES, st.lists(PAIRS, max_size=20), BARE)
@settings(max_examples=60, deadline=None)
def test_links_lead_as_a_plain_count_of_them_says(ties, aliases, bare):
    seen = {(min(a, b), max(a, b)): p for a, b, p in ties if a != b and not {a, b} & bare}
    tied = clusters.cluster(edges_of(*[(*key, p) for key, p in seen.items()]), 8).tied
    pairs = sorted({(min(a, b), max(a, b)) for a, b in aliases if a != b})
    customers = [*enumerate(tied["first"]), *[pair for pair in pairs if not {*pair} & bare]]
    group, lone = group_by(customers, 8), group_by([pair for pair in pairs if {*pair} <= bare], 8)
    told = list(group)
    for one in bare:
        heads: dict = {}
        for pair in pairs:
            for a, b in (pair, pair[::-1]):
                if a in bare and b not in bare and lone[a] == lone[one]:
                    heads.setdefault(group[b], []).append(tied["first"][b])
        best = sorted(heads, key=lambda name: (-len(heads[name]), min(heads[name])))
        told[one] = best[0] if best else 8 + lone[one]
    first = clusters.tie(tied, edges_of(*[(*pair, 1) for pair in pairs]), ~np.isin(np.arange(8), list(bare)))[0]["first"]
    assert len({*zip(told, first, strict=True)}) == len({*told}) == len({*first})


def test_two_browsers_that_link_to_each_other_go_where_answers_say():
    """Two records, their browsers 2 and 3, and a browser 4 of which nobody said anything."""
    links = edges_of((0, 3, 1), (1, 2, 1), (2, 3, 1), (2, 4, 1))
    known = np.arange(5) < 2
    tied = clusters.cluster(edges_of((0, 1, 0.01)), 5).tied
    settled = answers((0, 2, "yes"), (1, 3, "yes"), n=5)
    told, against = clusters.tie(tied, links, known, clusters.answered(None, settled.group, settled.parted))
    assert told["first"].tolist() == [0, 1, 0, 1, 0]
    assert against.to_numpy().tolist() == [[0, 3], [1, 2], [2, 3]]
    # one record, and two browsers that are not one human: the one with more links goes to it
    links = edges_of((0, 2, 1), (0, 3, 1), (1, 3, 1))
    settled = answers((2, 3, "no"), n=4)
    tied = clusters.cluster(edges_of((0, 1, 0.99)), 4).tied
    told, _ = clusters.tie(tied, links, np.arange(4) < 2, clusters.answered(None, settled.group, settled.parted))
    assert told["first"].tolist() == [0, 0, 2, 0]


def test_an_answer_goes_before_a_sure_birth_date_and_a_clean_system():
    sure = edges_of((0, 1, 0.99))
    ruled = clusters.Apart(np.array([1, 1]), np.array([19610412, 19920830]))
    assert clusters.cluster(sure, 2, apart=ruled).tied["first"].nunique() == 2
    settled = answers((0, 1, "yes"), n=2)
    ruled = clusters.answered(ruled, settled.group, settled.parted)
    assert clusters.cluster(sure, 2, apart=ruled).tied["first"].nunique() == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER.replace("answer", "verdict"), ["row 1, column 'answer': the column is missing", "column 'verdict': no such"]),
        (HEADER.replace(",", ";"), ["row 1: its cells are not parted by commas"]),
        (HEADER + "\ncrm,1,shop,2,maybe,", ["row 2, column 'answer': is no answer. Write yes, no or unknown"]),
        (HEADER + "\n\ncrm,1,shop,2,yes,yesterday", ["row 3, column 'labelled_at': is no time"]),
        (HEADER + "\ncrm,1,crm,1,yes,", ["row 2, column 'person_id_b': is a record paired with itself"]),
        (HEADER + "\ncrm,,shop,2,yes,\ncrm,1,shop,2,yes", ["row 2, column 'person_id_a': is empty", "row 3: has 5 cells"]),
        (HEADER + '\ncrm,1,shop,2,yes,"', ["a quotation mark is not closed"]),
        (HEADER.encode("utf-16"), ["is not UTF-8"]),
    ],
)  # fmt: skip
def test_every_fault_of_the_file_is_told_with_its_place(tmp_path, text, said):
    (tmp_path / LABELS).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FaultError) as caught:
        told.read(tmp_path)
    for words in said:
        assert words in str(caught.value)
    assert all(fault.file == LABELS for fault in caught.value.faults)


def test_what_is_written_is_read_again(tmp_path):
    assert told.read(tmp_path).empty
    rows = pd.DataFrame([["crm", "007", "shop", "1,5", "yes", "2025-01-01T10:00:00", 'said "yes"', "s1"]],
                        columns=[*told.REQUIRED, *told.OPTIONAL])  # fmt: skip
    told.write(tmp_path, rows)
    pd.testing.assert_frame_equal(told.read(tmp_path).drop(columns="row"), rows)


def test_blanks_around_a_cell_are_none_of_its_words(tmp_path):
    file = tmp_path / LABELS
    file.write_text('source_a, person_id_a, source_b ,person_id_b, answer, note\ncrm, 17, shop , 3, Yes , "by phone, twice"\n')
    row = told.read(tmp_path).iloc[0]
    assert row[[*told.REQUIRED]].tolist() == ["crm", "17", "shop", "3", "yes"] and row["note"] == "by phone, twice"
    file.write_text(HEADER + "\ncrm, ,shop,2,yes,\ncrm,1, crm, 1 ,yes,\n")
    with pytest.raises(FaultError) as caught:
        told.read(tmp_path)
    assert [(fault.row, fault.column) for fault in caught.value.faults] == [(2, "person_id_a"), (3, "person_id_b")]


def labelled(*rows):
    columns = [*told.REQUIRED, *told.OPTIONAL]
    made = pd.DataFrame([(*row, "", "", "") for row in rows], columns=columns)
    return made.assign(row=range(2, 2 + len(made)))


def test_an_answer_about_an_id_that_is_an_address_is_about_it_however_it_is_spelt(tmp_path):
    (tmp_path / "labels.csv").write_text("source_a,person_id_a,source_b,person_id_b,answer\nnl,Jane@Example.net,shop,K-7,yes\n")
    answers = told.read(tmp_path)
    assert answers[["person_id_a", "person_id_b"]].to_numpy().tolist() == [["jane@example.net", "K-7"]]
    assert told.about(answers, [("nl", "jane@example.net")]).tolist() == [True]


def test_a_book_follows_its_answers_in_every_run(engine):
    people = table(
        "people",
        [
            {"source": "crm", "person_id": "1", "full_name": "Anna Berg", "email": "a@x.de"},
            {"source": "shop", "person_id": "9", "full_name": "Anna Berg", "email": "a@x.de"},
            {"source": "pos", "person_id": "5", "full_name": "A. Bergmann"},
        ],
    )
    asked = labelled(("shop", "9", "crm", "1", "no"), ("pos", "5", "crm", "1", "yes"), ("crm", "gone", "crm", "1", "yes"))
    plain = matching.match({"people": people}, engine, "DE", P)
    matched = matching.match({"people": people}, engine, "DE", P, labels=asked)
    now = frames(matched)["identities"].set_index("person_id")["customer_id"]
    before = frames(plain)["identities"].set_index("person_id")["customer_id"]
    assert before["1"] == before["9"] != before["5"]
    assert now["1"] == now["5"] != now["9"]
    assert matched.settled.gone == 1 and "1 of them name a record that is not there" in told.say(matched.settled)
    # the next run, with ids that last, still follows them
    again = matching.match(
        {"people": people}, engine, "DE", P, matching.Before("2024-01-01.001", plain.tables["identities"]), labels=asked
    )
    later = frames(again)["identities"].set_index("person_id")["customer_id"]
    assert later["1"] == later["5"] != later["9"]


def test_where_nothing_could_be_compared_an_answer_is_followed_and_called_no_probability(engine):
    people = [{"source": "crm", "person_id": "1", "full_name": "Anna Berg"},
              {"source": "shop", "person_id": "9", "full_name": "Zoe Quist"}]  # fmt: skip
    orders = [{"source": "shop", "person_source": "shop", "person_id": i} for i in ("7", "8", "9")]
    tables = {"people": table("people", people), "orders": table("orders", orders)}
    two, ids = labelled(("crm", "1", "shop", "9", "yes")), labelled(("shop", "7", "shop", "8", "yes"))
    for there, said, left, changed in (
        (tables, two, 3, "With them 1 pair of records more is one customer, and 0 are one no more."),
        (tables, ids, 3, "They change nothing about records of which more than an id is known."),
        ({"orders": tables["orders"]}, ids, 2, "They change nothing about records of which more than an id is known."),
    ):
        matched = matching.match(there, engine, "DE", P, labels=said)
        told = frames(matched)
        assert len(told["customers"]) == left and matched.clustered.expected == {} and matched.clustered.tried.empty
        assert matching.say_threshold(matched.clustered) == "Nothing was compared, so that there is no threshold."
        assert matching.thresholds(matched.clustered).empty
        counted = matching.counts(matched.tables["identities"], matched.tables["customers"], there.get("people"))
        words = matching.answer(counted, matched.scored.method, 0, matched.clustered.expected)
        assert f"**{left} customers can be told apart by their ids alone.**" in words and "probabilities" not in words
        rated = matching.estimates(matched.clustered.expected, matched.followed)
        assert rated.empty and "nothing to estimate" in matching.say_estimates(rated)
        assert matching.say_labels(matched.settled) == "1 answer in labels.csv."
        assert matching.say_followed(matched.followed) == changed


def test_an_answer_is_part_of_what_a_run_is_known_by(small_book):
    from clientbook import cache, runner
    from clientbook.book import open_book
    from clientbook.store import Run

    book = open_book(small_book)
    notebook = next(one for one in runner.notebooks() if one.name == "03_matching")

    def key():
        return cache.key(
            # a run that nobody made: the book is shared, and others may have run it
            notebook.stage, notebook.path, Run(book.store.folder / "runs" / "2099-01-01.001"), book=book, parameters={},
            fingerprints=cache.Fingerprints(book.store.folder / "f.json"), digests={},
        )  # fmt: skip

    before = key()
    (book.folder / LABELS).write_text(HEADER + "\n")
    try:
        assert key() != before
    finally:
        (book.folder / LABELS).unlink()
    assert key() == before


def test_a_run_and_a_check_name_what_is_wrong_with_the_answers_before_anything_is_done(small_book):
    from clientbook import checking, runner
    from clientbook.book import open_book

    file = small_book / LABELS
    file.write_text(HEADER + "\ncrm,1,shop,2,perhaps,\n")
    try:
        with pytest.raises(FaultError) as caught:
            runner.run(open_book(small_book))
        assert "labels.csv, row 2, column 'answer'" in str(caught.value)
        report = checking.check(open_book(small_book))
        assert [fault.row for fault in report.faults if fault.file == LABELS] == [2]
    finally:
        file.unlink()


def made_seen(n_humans: int, seed: int):
    """Humans with one to four records, and probabilities that are right on average: of every hundred pairs of .3 thirty."""
    rng = np.random.default_rng(seed)
    human = np.repeat(np.arange(n_humans), rng.integers(1, 5, n_humans))
    n = len(human)
    left, right = np.triu_indices(n, 1)
    same = human[left] == human[right]
    stranger = rng.random(len(left)) < 4 / n
    z = np.where(same, rng.normal(2.6, 1.6, len(left)), rng.normal(-2.6, 1.6, len(left)))
    looked_at = same | stranger
    odds = 5.2 / 1.6**2 * z + np.log(same.sum() / (stranger & ~same).sum())
    p = 1 / (1 + np.exp(-odds))
    edges = edges_of(*zip(left[looked_at], right[looked_at], p[looked_at].round(6), strict=True))
    return human, edges


def seen_of(edges, human, source=None):
    first = clusters.cluster(edges, len(human)).tied["first"].to_numpy()
    known, system = np.ones(len(human), dtype=bool), np.zeros(len(human), "int64") if source is None else source
    left, right, p = (edges[name].to_numpy() for name in ("l", "r", "probability"))
    return asking.Seen(left, right, p, first, known, system)


def f1(human, customer) -> float:
    truth, guess = (one[:, None] == one[None, :] for one in (human, customer))
    upper = np.triu(np.ones_like(truth), 1)
    return 2 * (truth & guess & upper).sum() / ((truth & upper).sum() + (guess & upper).sum())


def test_a_question_says_how_many_pairs_its_answer_changes():
    human, edges = made_seen(60, 1)
    seen = seen_of(edges, human)
    for one in asking.questions(seen).head(40).itertuples():
        said = answers((one.l, one.r, "no" if one.together else "yes"), n=len(human))
        apart = clusters.answered(None, said.group, said.parted)
        if one.together:
            first = clusters.cluster(edges, len(human), apart=apart, threshold=1e-6).tied["first"].to_numpy()
            assert first[one.l] != first[one.r]
        else:
            sizes = np.bincount(seen.customer)
            assert one.changes == sizes[seen.customer[one.l]] * sizes[seen.customer[one.r]]
        assert (seen.customer[one.l] == seen.customer[one.r]) == one.together


def test_nothing_is_asked_twice_and_each_customer_once_before_any_again():
    human, edges = made_seen(80, 2)
    seen = seen_of(edges, human)
    nobody = answers(n=len(human))
    first = reviewing.ask(seen, seen.customer, nobody, None, 40, 1)
    assert list(first.columns) == list(reviewing.ASKED) and not first.duplicated(["l", "r"]).any()
    assert (first["asked_for"].to_numpy()[3::4][:5] == "estimate").all()
    said = answers(*[(a, b, "unknown") for a, b in zip(first["l"], first["r"], strict=True)], n=len(human))
    again = reviewing.ask(seen, seen.customer, said, None, 40, 1)
    pairs = set(zip(first["l"], first["r"], strict=True))
    assert not pairs & set(zip(again["l"], again["r"], strict=True))
    gain = first[first["asked_for"] == "gain"].head(8)
    customers = [c for a, b in zip(gain["l"], gain["r"], strict=True) for c in {seen.customer[a], seen.customer[b]}]
    assert len(customers) == len(set(customers))


def test_draws_are_fair_within_a_stratum():
    human, edges = made_seen(60, 3)
    pairs = estimating.population(seen_of(edges, human))
    n = np.bincount(pairs.stratum, minlength=len(pairs.names))
    big = int(n.argmax())
    hits = np.zeros(len(pairs.l))
    place = {pair: i for i, pair in enumerate(zip(pairs.l, pairs.r, strict=True))}
    drawn = 0
    for seed in range(150):
        told = estimating.draws(pairs, 60, seed)
        at = [place[pair] for pair in zip(told["l"], told["r"], strict=True)]
        hits[at] += 1
        drawn += (pairs.stratum[at] == big).sum()
    inside = hits[pairs.stratum == big]
    assert inside.sum() == drawn > 0
    # as equal draws would be: the variance of counts is about their mean
    assert inside.var() < 1.6 * inside.mean()


def test_answers_from_the_truth_make_customers_better_and_say_how_right_they_are():
    covered, better = 0, []
    for seed in range(5):
        human, edges = made_seen(120, 10 + seed)
        n, seen = len(human), seen_of(edges, human)

        def put(apart, edges=edges, n=n):
            return clusters.cluster(edges, n, apart=apart).tied["first"].to_numpy()

        said, followed, customer = answers(n=n), None, seen.customer
        rows: list = []
        for _ in range(3):
            asked = reviewing.ask(seen, customer, said, followed, 25, seed)
            rows += [
                (one.l, one.r, "yes" if human[one.l] == human[one.r] else "no", one.stratum, "", len(rows))
                for one in asked.itertuples()
            ]
            frame = pd.DataFrame(rows, columns=["l", "r", "answer", "stratum", "labelled_at", "row"])
            said = told.settle_numbers(frame, n)
            followed = reviewing.follow(seen, said, None, put, None, seed)
            customer = put(followed.apart)
        better.append(f1(human, customer) - f1(human, seen.customer))
        truth, guess = (one[:, None] == one[None, :] for one in (human, customer))
        both = (truth & guess).sum() - n
        right = np.array([both / (guess.sum() - n), both / (truth.sum() - n)])
        estimated = followed.estimated
        covered += ((estimated["low"] <= right) & (right <= estimated["high"] + 0.005)).sum()
    assert min(better) > 0 and np.mean(better) > 0.01, better
    assert covered >= 8, covered


def test_what_is_taught_is_the_model_without_answers_and_the_answers_with_many():
    human, edges = made_seen(150, 5)
    seen = seen_of(edges, human)
    rows = asking.questions(seen)
    nothing = reviewing.teach(rows, seen, answers(n=len(human)))
    assert np.allclose(nothing.coefficients, [[0, 1, 0]] * 2) and nothing.answers == (0, 0)
    open_ = rows[~rows["together"] & (rows["chance"] > 0.001)]
    said = answers(*[(a, b, "yes") for a, b in zip(open_["l"], open_["r"], strict=True)], n=len(human))
    assert reviewing.teach(rows, seen, said).chance(open_).mean() > open_["chance"].mean()


def test_pairs_of_one_system_are_seldom_one_human_where_they_are_not():
    rng = np.random.default_rng(4)
    human = np.repeat(np.arange(200), 2)
    source = np.tile([0, 1], 200)
    same = [(2 * i, 2 * i + 1, 0.9) for i in range(200)]
    wrong = {(min(a, b), max(a, b)) for a, b in rng.integers(0, 200, (300, 2)) * 2 if a != b}
    edges = edges_of(*same, *[(*pair, 0.2) for pair in sorted(wrong)])
    within, between = asking.same_system(seen_of(edges, human, source))
    assert within < 0 < between


def made_sitting(folder, again=None):
    rows = [("crm", "1", "shop", "9", "c1", "c2", 0.4), ("crm", "2", "shop", "8", "c3", "c3", 0.9),
            ("crm", "3", "shop", "7", "c5", "c6", np.nan)]  # fmt: skip
    names = ["source_a", "person_id_a", "source_b", "person_id_b", "customer_a", "customer_b", "probability"]
    questions = pd.DataFrame(rows, columns=names).assign(
        match_weight=1.0, reasons_for="same e-mail; same surname", reasons_against="", stratum=["", "apart 0.2", ""]
    )
    people = table(
        "people",
        [{"source": s, "person_id": i, "full_name": f"Zebulon Quist {i}", "email": f"z{i}@quist.example"} for s, i in
         [("crm", "1"), ("shop", "9"), ("crm", "2"), ("shop", "8"), ("crm", "3")]],
    )  # fmt: skip
    return sitting.Sitting(folder, questions, sitting.values_of(people), again)


def test_answers_are_kept_at_once_and_taken_back(tmp_path):
    told.write(tmp_path, labelled(("crm", "0", "shop", "0", "no")))
    here = made_sitting(tmp_path)
    assert here.shown()["pair"]["rows"] == [
        ["name", "Zebulon Quist 1", "Zebulon Quist 9"], ["e-mail", "z1@quist.example", "z9@quist.example"],
    ]  # fmt: skip
    here.hear("yes")
    here.hear("no")
    here.hear("nonsense")
    rows = told.read(tmp_path)
    assert rows["answer"].tolist() == ["no", "yes", "no"] and rows["stratum"].tolist() == ["", "", "apart 0.2"]
    assert "2 answered (1 yes, 1 no, 0 don't know), 1 to go. 2 of the answers go against" in here.progress()
    assert here.shown()["pair"]["score"] == "never compared; two customers now"
    here.hear("undo")
    here.hear("undo")
    here.hear("undo")
    assert told.read(tmp_path)["answer"].tolist() == ["no"] and here.pair["person_id_a"] == "1"
    for answer in ("unknown", "unknown", "unknown", "yes"):
        here.hear(answer)
    assert here.shown()["pair"] is None and len(told.read(tmp_path)) == 4


def test_an_answer_that_cannot_be_kept_leaves_the_pair_open_and_says_why(tmp_path, monkeypatch):
    here = made_sitting(tmp_path)
    box = sitting.widget(here)
    sent = []
    monkeypatch.setattr(box, "send", sent.append)

    def press(what):
        box._heard(box, {"what": what, "turn": here.turn}, [])
        return sent[-1]["fault"], sent[-1]["pair"]["systems"][0]

    (tmp_path / LABELS).write_text(HEADER + "\ncrm,1,shop,2,perhaps,\n")
    fault, first = press("yes")
    assert fault.startswith("This was not kept. labels.csv, row 2, column 'answer': is no answer") and first == "crm, 1"
    (tmp_path / LABELS).unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sitting, "write", full)
        fault, first = press("yes")
        assert fault == "This was not kept. labels.csv cannot be read or written: No space left on device." and first == "crm, 1"
    assert here.turn == 0 and told.read(tmp_path).empty
    assert press("no") == ("", "crm, 2")
    with monkeypatch.context() as patch:
        patch.setattr(sitting, "write", full)
        assert "No space left" in press("undo")[0] and here.turn == 1
    assert told.read(tmp_path)[["person_id_a", "answer"]].to_numpy().tolist() == [["1", "no"]]
    assert press("undo") == ("", "crm, 1") and told.read(tmp_path).empty


def test_of_a_record_delivered_twice_what_was_compared_is_shown():
    people = table(
        "people",
        [
            {"source": "crm", "person_id": "1", "full_name": "Anna Neu", "updated_at": "2025-03-01"},
            {"source": "crm", "person_id": "1", "full_name": "Anna Alt", "phone": "1", "updated_at": "2024-03-01"},
            {"source": "shop", "person_id": "1", "full_name": "Bea Alt"},
            {"source": "shop", "person_id": "1", "full_name": "Bea Neu"},
        ],
    )
    known = sitting.values_of(people)([("crm", "1"), ("shop", "1"), ("shop", "gone")])
    assert known == {
        ("crm", "1"): {"full_name": "Anna Neu", "updated_at": "2025-03-01"}, ("shop", "1"): {"full_name": "Bea Neu"},
    }  # fmt: skip


def test_what_the_answers_teach_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sitting, "AFRESH", 2)
    seen = []

    def again(labels):
        seen.append(labels["answer"].tolist())
        followed = reviewing.Followed(asking.UNTAUGHT, pd.DataFrame(), None, 12, 3, pd.DataFrame())
        return None, followed, made_sitting(tmp_path)._ahead and pd.DataFrame(made_sitting(tmp_path)._ahead[2:])

    here = made_sitting(tmp_path, again)
    here.hear("yes")
    here.hear("no")
    assert seen == [["yes", "no"]] and here.pair["person_id_a"] == "3"
    assert "12 pairs of records more are one customer, 3 are one no more" in here.progress()


def test_nothing_is_asked_in_a_run(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert sitting.review_here(None, None, None) is None
    monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    monkeypatch.setenv("CLIENTBOOK_RUN", "2024-01-01.001")
    assert sitting.review_here(None, None, None) is None


CELL = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import test_reviewing
from clientbook.matching import sitting
assert sitting.is_live()
sitting.widget(test_reviewing.made_sitting(Path({folder!r})))
"""


def _outputs(file) -> list:
    """Of the first cell; none while the file is being written."""
    import nbformat

    text = file.read_text(encoding="utf-8")
    return nbformat.reads(text, as_version=4).cells[0].outputs if text.rstrip().endswith("}") else []


def _has_kernel(tab, port: int) -> bool:
    """Whether the one notebook open in JupyterLab has a kernel which waits for what there is to execute."""
    kernels = [session["kernel"] for session in tab.request.get(f"http://127.0.0.1:{port}/api/sessions?token=t").json()]
    return any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels)


def test_somebody_answers_by_keyboard_in_jupyterlab_and_nothing_of_people_is_saved(tmp_path):
    """A real server, a real kernel and a real browser; the notebook is saved with all that JupyterLab keeps of widgets."""
    import json
    import os
    import subprocess
    import sys
    import time
    from pathlib import Path

    import nbformat
    from browser import chromium
    from servers import free_port

    here = str(Path(__file__).parent)
    book, desk, settings_ = tmp_path / "book", tmp_path / "desk", tmp_path / "settings"
    for folder in (book, desk, settings_ / "@jupyter-widgets" / "jupyterlab-manager"):
        folder.mkdir(parents=True)
    (settings_ / "@jupyter-widgets" / "jupyterlab-manager" / "plugin.jupyterlab-settings").write_text('{"saveState": true}')
    file = desk / "review.ipynb"
    cell = nbformat.v4.new_code_cell(CELL.format(tests=here, folder=str(book)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), file)
    port = free_port()
    log = tmp_path / "server.log"
    with chromium() as browser, log.open("wb") as words:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", f"--ServerApp.root_dir={desk}",
             "--IdentityProvider.token=t", "--ServerApp.port_retries=0", f"--LabApp.user_settings_dir={settings_}",
             f"--LabApp.workspaces_dir={tmp_path / 'w'}"],
            stdout=words, stderr=subprocess.STDOUT, env=os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"},
        )  # fmt: skip
        try:
            tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            outside = []
            tab.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
            deadline = time.monotonic() + 240
            while True:
                try:
                    tab.goto(f"http://127.0.0.1:{port}/lab/tree/review.ipynb?token=t")
                    break
                except Exception:
                    assert server.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
                    time.sleep(0.3)
            first = tab.locator(".jp-Notebook .jp-CodeCell").first
            prompt = first.locator(".jp-InputPrompt")
            # A key that is pressed before the notebook has its kernel executes nothing: JupyterLab asks for a kernel then.
            deadline = time.monotonic() + 240
            while not _has_kernel(tab, port):
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.3)
            while not set(prompt.inner_text()) & set("*123456789"):
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                if (dialog := tab.locator(".jp-Dialog .jp-mod-accept")).count():
                    dialog.click()
                first.locator(".cm-content").click()
                tab.keyboard.press("Shift+Enter")
                tab.wait_for_timeout(1_000)
            box = tab.locator(".clientbook-review")
            try:
                box.get_by_text("Zebulon Quist 9").wait_for(timeout=240_000)
            except Exception as error:
                raise AssertionError(f"{first.inner_text()}\n{log.read_text(encoding='utf-8')}") from error
            box.focus()
            for key, turn in (("y", 1), ("n", 2), ("u", 1), ("d", 2)):
                tab.keyboard.press(key)
                tab.locator(f".clientbook-review[data-turn='{turn}']").wait_for(timeout=10_000)
            assert "The score is hidden" in box.inner_text()
            tab.keyboard.press("s")
            assert "never compared" in box.inner_text()
            assert "2 answered (1 yes, 0 no, 1 don't know), 1 to go" in box.inner_text()
            assert told.read(book)["answer"].tolist() == ["yes", "unknown"]
            sound = (book / LABELS).read_bytes()
            (book / LABELS).write_bytes(sound + b"crm,1,shop,2,perhaps,,,\n")
            tab.keyboard.press("y")
            box.get_by_text("This was not kept. labels.csv, row 4, column 'answer': is no answer").wait_for(timeout=10_000)
            assert box.get_attribute("data-turn") == "2"
            (book / LABELS).write_bytes(sound)
            tab.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='save']").click()
            deadline = time.monotonic() + 20
            while not _outputs(file) and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:
            server.terminate()
            server.wait(30)
    saved = file.read_text(encoding="utf-8")
    output = nbformat.read(file, as_version=4).cells[0].outputs[0]
    assert "application/vnd.jupyter.widget-view+json" in output["data"]
    assert "Zebulon" not in saved and "quist.example" not in saved
    kept = json.dumps(nbformat.read(file, as_version=4).metadata.get("widgets", {}))
    assert "clientbook-review" in kept, "the state was to be saved"
    assert not [url for url in outside if url.startswith("http")]


@pytest.fixture(scope="module")
def matched_book(tmp_path_factory):
    from clientbook import engine as engines

    people, truth = made_people(500, 12)
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as engine:
        yield matching.match({"people": people}, engine, "DE", P), engine, truth


def test_a_model_scores_from_its_file_as_it_did_in_the_run(matched_book):
    import json

    from clientbook.matching import saved

    matched, engine, _ = matched_book
    text = json.dumps(matching.model_to_keep(matched.scored))
    assert ".de" not in text and "bergau" not in text.lower()
    loaded = saved.load(json.loads(text))
    edges = matched.scored.edges
    some = edges.iloc[:: max(len(edges) // 300, 1)]
    records = saved.frequencies(matched.records, loaded.model)
    told = loaded.score(records, some, engine)
    at = some.index.to_numpy()
    assert np.allclose(told["probability"], some["probability"], atol=2e-6)
    assert np.allclose(told["match_weight"], matched.scored.match_weight[at], atol=1e-4)
    assert (np.stack(told["levels"]) == matched.scored.levels[at]).all()
    # two records with how common their values are, and nothing else of the book
    pair = some.iloc[[5]]
    two = records.filter(records["unique_id"].isin(pair[["l", "r"]].iloc[0].tolist()))
    assert loaded.score(two, pair, engine)["probability"].iloc[0] == pytest.approx(pair["probability"].iloc[0], abs=2e-6)
    # counted of a few alone they are as common as among all
    few = matched.records.filter(matched.records["unique_id"].isin(some.iloc[:40][["l", "r"]].to_numpy().ravel().tolist()))
    alone = saved.frequencies(matched.records, loaded.model, few).order_by("unique_id").to_pandas()
    known = records.semi_join(few, "unique_id").order_by("unique_id").to_pandas()
    pd.testing.assert_frame_equal(alone, known[alone.columns])
    # without: no value is rarer than another, but for names that go together
    bare = loaded.score(matched.records, some, engine)
    assert (bare["rarity"].abs() <= np.abs(told["rarity"]).max() + 1).all() and bare["probability"].between(0, 1).all()
    with pytest.raises(ValueError, match="no model of matching"):
        saved.load({"method": "exact rules"})


def test_why_two_records_are_one_customer_adds_up(matched_book):
    matched, engine, _ = matched_book
    edges = matched.scored.edges
    key = matched.numbered.to_pandas().set_index("unique_id")[["source", "person_id"]].apply(tuple, axis=1)
    for at in (0, len(edges) // 2, len(edges) - 1):
        l, r, p = edges.iloc[at]
        shown = explaining.explain(matched, engine, key[l], key[r])
        assert shown.probability == pytest.approx(p, abs=2e-6)
        assert shown.steps["bits"].sum() == pytest.approx(shown.match_weight, abs=1e-4)
        assert shown.match_weight == pytest.approx(matched.scored.match_weight[at], abs=1e-4)
        words = explaining.say(shown)
        assert words.startswith("One customer" if shown.together else "Two customers") and "@" not in words
    figure = explaining.draw(shown)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[0] == "two records at random" and labels[-1] == "match weight" and len(labels) == len(shown.steps) + 1
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1], abs=1e-4)
    with pytest.raises(ValueError, match="no such record"):
        explaining.explain(matched, engine, ("crm", "nobody"), key[0])
    with pytest.raises(ValueError, match="same record"):
        explaining.explain(matched, engine, key[0], key[0])


def test_the_weakest_link_parts_the_customer(matched_book):
    matched, _, _ = matched_book
    known = matched.tables["identities"].to_pandas()
    sizes = known.groupby("customer_id").size()
    customer = sizes[sizes >= 3].index[0]
    shown = explaining.ties(matched, customer)
    assert len(shown) == sizes[customer] - 1 and shown["probability"].is_monotonic_increasing
    assert all(sum(map(int, parts.split(" | "))) == sizes[customer] for parts in shown["parts"])
    assert "weakest link is between" in explaining.say_ties(shown)
    assert explaining.ties(matched, sizes[sizes == 1].index[0]).empty


def test_few_answers_decide_nothing_but_their_own_pairs():
    rows = pd.DataFrame({"l": [0, 2], "r": [1, 3], "together": [False, True], "changes": [1, 1], "chance": [0.9, 0.9]})
    few = asking.Taught(asking.UNTAUGHT.coefficients, (reviewing.LEAST_TAUGHT, reviewing.LEAST_TAUGHT - 1))
    assert reviewing.learned(rows, asking.UNTAUGHT).empty
    assert reviewing.learned(rows, few)["answer"].tolist() == ["yes"]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 30), max_size=14), st.randoms(use_true_random=False))
def test_the_sides_of_a_tie_are_what_hangs_together_without_it(parents, chance):
    tree = [(i + 1, parent % (i + 1)) for i, parent in enumerate(parents)]
    tree = [tie if chance.random() < 0.5 else tie[::-1] for tie in tree]
    chance.shuffle(tree)
    wanted = []
    for at, (one, _) in enumerate(tree):
        here = {one}
        for _ in tree:
            here |= {end for i, tie in enumerate(tree) if i != at and here & {*tie} for end in tie}
        wanted.append(len(here))
    assert explaining.sides(tree) == wanted


def test_ids_of_which_nothing_is_known_hold_nothing_together(matched_book):
    matched, _, _ = matched_book
    known = matched.tables["identities"]
    sizes = known.to_pandas().groupby("customer_id").size()
    customer, n = sizes[sizes >= 3].index[0], sizes.sum()
    seen = pd.DataFrame({"source": "web", "person_id": ["k1", "k2"]})
    bare = known.to_pandas().head(2).assign(source="web", person_id=["k1", "k2"], customer_id=customer)
    numbers = matched.numbered.to_pandas()
    tracked = replace(
        matched, tables={**matched.tables, "identities": ibis.memtable(pd.concat([known.to_pandas(), bare]))},
        numbered=ibis.memtable(pd.concat([numbers, seen.assign(unique_id=[n, n + 1])])),
    )  # fmt: skip
    people = matched.records.to_pandas()[["unique_id"]]
    expected = explaining.ties(matched, customer)
    pd.testing.assert_frame_equal(explaining.ties(replace(tracked, records=ibis.memtable(people)), customer), expected)


def with_taught(matched, *rows):
    """As if answers had taught this of pairs of records by number."""
    every = answers(*rows, n=int(matched.numbered.count().to_pyarrow().as_py()))
    held = clusters.answered(matched.apart, every.group, every.parted)
    return replace(matched, followed=reviewing.Followed(asking.UNTAUGHT, pd.DataFrame(), held, 1, 1, pd.DataFrame()))


def test_what_answers_taught_is_the_reason_where_it_decided(matched_book):
    matched, engine, _ = matched_book
    rows = matched.numbered.to_pandas().merge(matched.tables["identities"].to_pandas(), on=["source", "person_id"])
    rows = rows.sort_values("unique_id", ignore_index=True)
    key, customer = rows[["source", "person_id"]].apply(tuple, axis=1), rows["customer_id"]
    edges = matched.scored.edges
    same = customer[edges["l"]].to_numpy() == customer[edges["r"]].to_numpy()
    l, r = edges.loc[same, ["l", "r"]].iloc[0]
    taught = with_taught(matched, (l, r, "yes"))
    assert explaining.explain(matched, engine, key[l], key[r]).why.endswith("%.")
    assert explaining.explain(taught, engine, key[l], key[r]).why == "By what answers taught they are one."
    tied = explaining.ties(taught, customer[l])
    assert tied.iloc[-1][["probability", "reasons_for", "reasons_against"]].tolist() == [1.0, "", ""]
    said = replace(taught, settled=answers((l, r, "yes"), n=len(rows)))
    assert explaining.explain(said, engine, key[l], key[r]).why == "People said that they are one."
    l, r = edges.loc[~same, ["l", "r"]].iloc[0]
    taught = with_taught(matched, (l, r, "no"))
    assert explaining.explain(taught, engine, key[l], key[r]).why == "By what answers taught they are not one."
    # of another pair of the same two customers
    sizes = customer.value_counts()
    a, b = (customer[customer == name].index for name in sizes.index[:2])
    likely = replace(matched, clustered=replace(matched.clustered, threshold=0.0), apart=None)
    likely = replace(likely, scored=replace(likely.scored, edges=edges_of((min(a[0], b[0]), max(a[0], b[0]), 0.9))))
    assert "speak against it" in explaining.explain(likely, engine, key[a[0]], key[b[0]]).why
    taught = with_taught(likely, (a[1], b[1], "no"))
    why = explaining.explain(taught, engine, key[a[0]], key[b[0]]).why
    assert "what they taught, keep records of their customers apart" in why
    alone = replace(matched, clustered=replace(matched.clustered, threshold=1.1))
    l, r = edges.loc[same & edges["l"].isin(a), ["l", "r"]].iloc[0]
    third = next(i for i in a if i not in (l, r))
    assert explaining.explain(alone, engine, key[l], key[r]).why.endswith(": other records of the customer hold them together.")
    taught = with_taught(alone, (l, third, "yes"))
    assert "or what answers taught, hold them together" in explaining.explain(taught, engine, key[l], key[r]).why
