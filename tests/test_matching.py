"""Who is who: hand-made records, independent clusters beside, and the same tables every time."""

from __future__ import annotations

import itertools
import random

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientbook import matching
from clientbook.matching import accounts, clusters, pairs, scoring, standard
from clientbook.stage import NothingToShow
from clientbook.tables import CANONICAL

P = matching.MatchingParameters(max_training_pairs=100_000)
_TYPES = {
    "id": "string", "text": "string", "number": "float64", "money": "float64", "time": "timestamp", "date": "date",
    "flag": "boolean",
}  # fmt: skip


def table(name: str, rows: list[dict]) -> ibis.Table:
    """A clean table with all its columns, null where a row does not say."""
    schema = {"source": "string"} | {c.name: _TYPES[c.kind] for c in CANONICAL[name].columns}
    schema |= {f"{kind}_source": "string" for kind in ("person", "account") if name != "people" or kind == "account"}
    made = pd.DataFrame({key: pd.Series([row.get(key) for row in rows], dtype="object") for key in schema})
    for key, kind in schema.items():
        if kind in ("timestamp", "date"):
            made[key] = pd.to_datetime(made[key])
    return ibis.memtable(made.assign(arrival=range(len(rows))), schema=schema | {"arrival": "int64"})


def frames(matched: matching.Matched) -> dict[str, pd.DataFrame]:
    return {name: rows.to_pandas() for name, rows in matched.tables.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Anna Berg", ("anna", "berg")),
        ("Berg, Anna", ("anna", "berg")),
        ("Dr. Anna-Maria Møller", ("anna", "moller")),
        ("BERG", (None, "berg")),
        ("Frau Prof. Dr. Zoë Çelik", ("zoe", "celik")),
        ("-", (None, None)),
    ],
)
def test_names_are_split(name, expected):
    assert standard.split_name(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "Hotel Adler GmbH & Co. KG",
        "HOTEL ADLER",
        "Hotel  Adler, GmbH",
        "Hotel Adler e.K.",
        "Hotel Adler S.p.A.",
        "Hôtel Adler AG",
    ],
)
def test_a_company_is_the_same_with_any_legal_form(name):
    assert standard.clean_company(name) == "hotel adler"


def test_fillers_are_no_company_and_no_legal_form_is_left_alone():
    assert standard.clean_company("n/a") is None and standard.clean_company("-") is None
    assert standard.clean_company("AG") == "ag"


def test_telephone_numbers_are_written_one_way():
    assert {standard.e164(n, "DE") for n in ("030 1234567", "+49 30 1234567", "0049-30-1234567")} == {"+49301234567"}
    assert standard.e164("0000000000", "DE") is None and standard.e164("n/a", "DE") is None


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.floats(0, 1)), max_size=30), st.floats(0.1, 0.9))
@settings(max_examples=60, deadline=None)
def test_components_agree_with_a_plain_search(links, threshold):
    edges = pd.DataFrame(links, columns=["l", "r", "probability"]).astype(
        {"l": "int64", "r": "int64", "probability": float}
    )
    told = clusters.components(edges, 15, threshold)
    neighbours = {i: {i} for i in range(15)}
    for a, b, p in links:
        if p >= threshold:
            neighbours[a].add(b)
            neighbours[b].add(a)
    for start in range(15):
        seen, ahead = set(), [start]
        while ahead:
            here = ahead.pop()
            if here not in seen:
                seen.add(here)
                ahead += neighbours[here]
        assert told["first"][start] == min(seen)


def test_pairs_are_counted_without_making_them(engine):
    values = ["a", "a", "a", "b", "b", None, "c", None]
    records = ibis.memtable(pd.DataFrame({"family": values}), schema={"family": "string"})
    expected = sum(x == y and x is not None for x, y in itertools.combinations(values, 2))
    assert pairs.count_pairs(records, ("family",)) == expected == 4


def test_a_rule_that_makes_too_many_pairs_is_narrowed_or_left_out():
    rows = pd.DataFrame(
        {"name_key": ["anna berg"] * 40, "zip": [str(i // 2) for i in range(40)], "mail": ["a@b.de"] * 40}
    )
    rows = rows.assign(given="anna", family="berg")
    told = pairs.choose_rules(ibis.memtable(rows), {"name_key", "zip", "mail"}, 100).set_index("rule")
    assert not told.loc[[("mail",)], "used"].any() and told.loc[[("mail",)], "pairs"].item() == 780
    assert not told.loc[[("name_key",)], "used"].any() and told.loc[[("name_key", "zip")], "used"].all()
    assert "more than" in told.loc[[("mail",)], "why"].item()


def test_a_handful_is_tied_by_exact_rules(engine):
    people = table(
        "people",
        [
            {"source": "crm", "person_id": "1", "given_name": "Anna", "family_name": "Berg", "email": "ANNA@x.de",
             "updated_at": "2024-01-01"},
            {"source": "shop", "person_id": "9", "full_name": "Berg, Anna", "email": "anna@X.de ",
             "phone": "030 1234567", "updated_at": "2025-01-01"},
            {"source": "pos", "person_id": "5", "full_name": "Anna Berg", "phone": "+49 30 1234567"},
            {"source": "pos", "person_id": "6", "full_name": "Carl Berg", "phone": "+49 30 1234567"},
        ],
    )  # fmt: skip
    aliases = table(
        "aliases",
        [{"source": "web", "person_source": "web", "person_id": "ck", "other_source": "pos", "other_person_id": "6"}],
    )
    orders = table("orders", [{"source": "shop", "person_source": "shop", "person_id": "77"}])
    matched = matching.match({"people": people, "aliases": aliases, "orders": orders, "events": None}, engine, "DE", P)
    assert matched.scored.method == "exact rules" and "too few" in matched.scored.note
    told = frames(matched)
    customer = told["identities"].set_index(["source", "person_id"])["customer_id"]
    anna = {customer["crm", "1"], customer["shop", "9"], customer["pos", "5"]}
    assert len(anna) == 1
    assert customer["web", "ck"] == customer["pos", "6"] not in anna
    assert customer.nunique() == 3 and len(customer) == 6
    golden = told["customers"].set_index("customer_id").loc[anna.pop()]
    assert (golden["full_name"], golden["given_name"], golden["email"]) == ("Anna Berg", "Anna", "anna@X.de ")
    assert (golden["sources"], golden["records"], golden["phone"]) == ("crm,pos,shop", 3, "030 1234567")


def test_a_customer_keeps_the_id_that_an_unmatched_record_has(engine):
    from clientbook.customers import record_id

    orders = table("orders", [{"source": "shop", "person_source": "shop", "person_id": i} for i in ("1", "2", "2")])
    matched = matching.match({"orders": orders}, engine, "DE", P)
    told = frames(matched)
    own = matched.tables["identities"].mutate(own=lambda t: record_id(t["source"], t["person_id"])).to_pandas()
    assert (own["own"] == own["customer_id"]).all() and len(own) == 2
    assert (told["customers"]["account_id"] == "a" + told["customers"]["customer_id"].str[1:]).all()
    assert set(told["resolved_accounts"]["kind"]) == {"single"}
    assert told["review_pairs"].empty and matched.scored.method == "none"
    counted = matching.counts(matched.tables["identities"], matched.tables["customers"], None)
    assert "Each of 2 ids" in matching.answer(counted, matched.scored.method, 0)


def test_a_book_that_names_nobody_has_nothing_to_show(engine):
    with pytest.raises(NothingToShow):
        matching.match({"people": None, "orders": None}, engine, "DE", P)


def test_accounts_by_id_name_and_domain(engine):
    delivered = table(
        "accounts",
        [
            {"source": "crm", "account_id": "A1", "name": "Hotel Adler GmbH", "domain": "www.adler.de"},
            {"source": "crm", "account_id": "A2", "name": "HOTEL ADLER"},
            {"source": "crm", "account_id": "A3", "name": "Bad Post AG", "parent_account_id": "A2"},
        ],
    )
    people = table(
        "people",
        [
            {
                "source": "crm",
                "person_id": "1",
                "email": "a@adler.de",
                "account_source": "crm",
                "account_id": "A2",
                "company": "Hotel Adler",
            },
            {"source": "shop", "person_id": "2", "email": "b@adler.de"},
            {"source": "shop", "person_id": "3", "email": "c@gmail.com", "company": "Bad Post"},
            {"source": "shop", "person_id": "4", "full_name": "Eva Holm", "street": "Am Weg 3", "postcode": "10115"},
            {"source": "shop", "person_id": "5", "full_name": "Jan Holm", "street": "am weg 3", "postcode": "10115"},
            {"source": "shop", "person_id": "6", "full_name": "Ole Holm", "street": "Am Weg 4", "postcode": "10115"},
        ],
    )
    told = frames(matching.match({"people": people, "accounts": delivered}, engine, "DE", P))
    account = told["identities"].merge(told["customers"], on="customer_id").set_index("person_id")["account_id"]
    kinds = told["resolved_accounts"].set_index("account_id")["kind"]
    assert account["1"] == account["2"] != account["3"]
    assert account["4"] == account["5"] != account["6"]
    assert [kinds[account[i]] for i in "123456"] == ["company"] * 3 + ["household"] * 2 + ["single"]
    ids = told["account_identities"].set_index("source_account_id")["account_id"]
    assert ids["A1"] == ids["A2"] == account["1"] and ids["A3"] == account["3"]
    rows = told["resolved_accounts"].set_index("account_id")
    assert rows.loc[ids["A3"], "parent_account_id"] == ids["A1"] and rows.loc[ids["A1"], "customers"] == 2


def test_a_mail_provider_is_no_company():
    employed = pd.DataFrame({"domain": ["x.de"], "firm": ["adler"]})
    assert accounts.companies(accounts.delivered(None), ["adler", "post"], employed).groupby(
        "company"
    ).size().tolist() == [2, 1]


def made_people(n: int, seed: int) -> tuple[ibis.Table, pd.DataFrame]:
    """Humans with one to three records each, some of them with slips, and an e-mail that sixty of them share."""
    rng = random.Random(seed)
    given = ["Anna", "Bernd", "Carla", "Dora", "Emil", "Franz", "Greta", "Hugo", "Ida", "Jan", "Klara", "Leo"]
    family = [
        a + b
        for a in ("Berg", "Stein", "Wald", "Feld", "Moos", "Hag", "Roth", "Linden")
        for b in ("er", "mann", "hof", "au", "bach")
    ]
    rows, truth = [], []
    for human in range(n):
        first, last = rng.choice(given), rng.choice(family)
        mail = "info@gross.de" if human < 60 else f"{first}.{last}{human}@mail{rng.randrange(9)}.de".lower()
        number, code = f"+49 30 {2000000 + human}", f"{10000 + rng.randrange(200)}"
        for source in rng.sample(["crm", "shop", "pos"], rng.choice([1, 2, 2, 3])):
            key = f"{human}"
            row = {"source": source, "person_id": key, "given_name": first, "family_name": last, "postcode": code}
            row["email"] = mail if rng.random() < 0.8 else None
            row["phone"] = number if rng.random() < 0.7 else None
            row["birth_date"] = (
                f"{1950 + human % 50}-{1 + human % 12:02d}-{1 + human % 28:02d}" if rng.random() < 0.6 else None
            )
            if rng.random() < 0.1:
                row["family_name"] = last[:-1]
            rows.append(row)
            truth.append({"source": source, "person_id": key, "human_id": str(human), "account_id": str(human)})
    return table("people", rows), pd.DataFrame(truth)


@pytest.fixture(scope="module")
def splinked(tmp_path_factory):
    from clientbook import engine as engines

    people, truth = made_people(700, 3)
    runs = []
    for i in range(2):
        with engines.open(scratch=tmp_path_factory.mktemp(f"scratch{i}"), threads=1 + i) as engine:
            matched = matching.match({"people": people}, engine, "DE", P)
            told = frames(matched)
            scored = matching.score(
                ibis.memtable(told["identities"]), ibis.memtable(told["customers"][["customer_id", "account_id"]]),
                None, ibis.memtable(truth),
            )  # fmt: skip
            runs.append((matched, told, scored, matching.model_to_keep(matched.scored)))
    return runs


def test_splink_finds_most_and_puts_few_wrong(splinked):
    matched, told, scored, model = splinked[0]
    assert matched.scored.method == "splink" and model["settings"]["comparisons"]
    row = scored[scored["what"] == "customers, all ids"].iloc[0]
    assert row["precision"] > 0.97 and row["recall"] > 0.85
    assert told["identities"]["probability"].between(0.95, 1).all()


def test_two_runs_give_the_same_tables_whatever_the_number_of_threads(splinked):
    (_, one, _, model), (_, other, _, again) = splinked
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name])
    assert model == again


def test_what_hundreds_share_ties_nobody(splinked):
    matched, _, _, _ = splinked[0]
    mail = matched.left_out.set_index("what").loc["e-mail"]
    assert mail["left_out"] > 60
    assert matched.scored.looked_at.set_index("rule").loc["same e-mail", "pairs"] < 5_000


def test_close_calls_give_reasons_and_no_values(splinked):
    _, told, _, _ = splinked[0]
    review = told["review_pairs"]
    assert review["probability"].between(0.5, 0.95, inclusive="left").all()
    assert review["probability"].is_monotonic_decreasing
    words = "; ".join([*review["reasons_for"], *review["reasons_against"]])
    assert "@" not in words and "Berg" not in words
    assert (review["customer_a"] != review["customer_b"]).all()


def test_written_tables_have_the_columns_of_the_dictionary(splinked):
    _, told, _, _ = splinked[0]
    for described in matching.STAGE.tables:
        assert list(told[described.name].columns) == list(described.names), described.name


def test_pair_scores_agree_with_all_pairs():
    rng = random.Random(5)
    rows = [(rng.randrange(6), rng.randrange(6)) for _ in range(60)]
    both = sum(a == c and b == d for (a, b), (c, d) in itertools.combinations(rows, 2))
    guessed = sum(b == d for (_, b), (_, d) in itertools.combinations(rows, 2))
    true = sum(a == c for (a, _), (c, _) in itertools.combinations(rows, 2))
    told = scoring.pair_scores(ibis.memtable(pd.DataFrame(rows, columns=["t", "g"])), "t", "g")
    assert (told["pairs"], told["true_pairs"]) == (guessed, true)
    assert told["precision"] == pytest.approx(both / guessed, abs=1e-6) and told["recall"] == pytest.approx(
        both / true, abs=1e-6
    )


def test_without_a_truth_nothing_is_scored():
    none = matching.score(ibis.memtable({"a": [1]}), ibis.memtable({"a": [1]}), None, None)
    assert none.empty and "No truth" in matching.say_score(none)


def test_overlap_adds_up(splinked):
    _, told, _, _ = splinked[0]
    overlap = told["system_overlap"]
    assert overlap["customers"].sum() == len(told["customers"]) and overlap["share"].sum() == pytest.approx(1, abs=1e-4)
    shares = matching.together(overlap)
    assert all(shares.loc[name, name] == 1 for name in shares.index)
