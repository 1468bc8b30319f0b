"""Who is who: hand-made records, independent clusters beside, and the same tables every time."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientbook import matching
from clientbook.book import BLOCKED, COMPARED, TAKEN
from clientbook.book import Matching as Asked
from clientbook.matching import accounts, blocking, clusters, comparing, ids, model, names, scoring, standard
from clientbook.matching import pairs as pairs_
from clientbook.stage import NothingToShow
from clientbook.tables import CANONICAL

P = matching.MatchingParameters()
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


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.floats(0, 1)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_sure_ties_alone_make_the_groups_that_a_plain_search_finds(links):
    seen = {(min(a, b), max(a, b)): p >= 0.5 for a, b, p in links if a != b}
    # pairs that are not there are sure too where a group is whole: close the groups first
    neighbours = {i: {i} for i in range(15)}
    for (a, b), tie in seen.items():
        if tie:
            neighbours[a].add(b)
            neighbours[b].add(a)
    group = {}
    for start in range(15):
        found, ahead = set(), [start]
        while ahead:
            here = ahead.pop()
            if here not in found:
                found.add(here)
                ahead += neighbours[here]
        group[start] = min(found)
    rows = [(a, b, 1.0) for a, b in itertools.combinations(range(15), 2) if group[a] == group[b]]
    edges = pd.DataFrame(rows, columns=["l", "r", "probability"]).astype({"l": "int64", "r": "int64", "probability": float})
    told = clusters.cluster(edges, 15).tied
    assert [group[i] for i in range(15)] == told["first"].tolist()


def edges_of(*rows):
    frame = pd.DataFrame(rows, columns=["l", "r", "probability"])
    return frame.astype({"l": "int64", "r": "int64", "probability": float})


def test_one_false_tie_makes_no_chain():
    inside = [(a, b, 0.99) for part in ((0, 1, 2), (3, 4, 5)) for a, b in itertools.combinations(part, 2)]
    bridge = [(2, 3, 0.9)] + [(a, b, 0.01) for a in (0, 1) for b in (4, 5)]
    told = clusters.cluster(edges_of(*inside, *bridge), 6)
    assert told.tied["first"].tolist() == [0, 0, 0, 3, 3, 3] and told.cut == 1
    assert told.expected["precision"] > 0.95


def test_a_cluster_of_thousands_is_parted_not_believed():
    n = 5_000
    chain = edges_of(*[(i, i + 1, 0.6 + 0.3 * (i % 3 == 0)) for i in range(n - 1)])
    told = clusters.cluster(chain, n).tied
    assert told.groupby("first").size().max() <= 3


def test_a_wanted_precision_is_held():
    rows = [(2 * i, 2 * i + 1, 0.55 + 0.4 * (i % 2)) for i in range(50)]
    best = clusters.cluster(edges_of(*rows), 100)
    held = clusters.cluster(edges_of(*rows), 100, precision=0.94)
    assert best.expected["precision"] < 0.94 <= held.expected["precision"]
    assert held.threshold > best.threshold and "94.0%" in held.why


def test_a_browser_of_two_people_makes_them_not_one():
    tied = pd.DataFrame({"unique_id": range(5), "first": [0, 0, 2, 3, 4], "probability": 1.0})
    links = edges_of((0, 3, 1), (1, 3, 1), (2, 3, 1), (2, 4, 1))
    told, against = clusters.tie(tied, links, pd.array([True, True, True, False, False]).to_numpy(bool))
    assert told["first"].tolist() == [0, 0, 2, 0, 2]
    assert against[["l", "r"]].to_numpy().tolist() == [[2, 3]]


def identified(**customers):
    rows = [("s", person, customer, 1.0) for customer, people in customers.items() for person in people]
    frame = pd.DataFrame(rows, columns=["source", "person_id", "customer_id", "probability"])
    return ibis.memtable(frame.sort_values("person_id"))


def test_ids_last_through_merges_and_splits():
    before = ids.Before("2024-01-01.001", identified(c1=["a", "b", "c"], c2=["d"], c3=["e", "f"]))
    now = identified(p1=["a"], p2=["b", "c", "x"], p3=["d", "e", "f"], p4=["y"])
    known, changed = ids.keep(now, before)
    told = known.to_pandas().set_index("person_id")["customer_id"]
    assert told["b"] == told["c"] == told["x"] == "c1" and told["d"] == told["e"] == "c3"
    assert told["a"] == "p1" and told["y"] == "p4"
    rows = changed.to_pandas()
    assert rows[["customer_id_before", "customer_id", "change", "records"]].to_numpy().tolist() == [
        ["c1", "p1", "split", 1], ["c2", "c3", "merged", 1],
    ]  # fmt: skip
    again, no_more = ids.keep(now, ids.Before("2024-01-02.001", known, changed))
    pd.testing.assert_frame_equal(again.to_pandas(), known.to_pandas())
    pd.testing.assert_frame_equal(no_more.to_pandas(), rows)


def test_an_id_that_another_keeps_is_given_to_nobody_else():
    before = ids.Before("2024-01-01.001", identified(c1=["a", "b", "c"]))
    known, _ = ids.keep(identified(c1=["a"], c9=["b", "c"]), before)
    told = known.to_pandas().set_index("person_id")["customer_id"]
    assert told["b"] == "c1" and told["a"] not in ("c1", "c9")


def test_pairs_are_counted_without_making_them():
    values = ["a", "a", "a", "b", "b", None, "c", None]
    records = ibis.memtable(
        pd.DataFrame({"unique_id": range(len(values)), "last": values}), schema={"unique_id": "int64", "last": "string"}
    )
    expected = sum(x == y and x is not None for x, y in itertools.combinations(values, 2))
    assert blocking.count_pairs(records, ("last",)) == expected == 4


def keyed(rows: pd.DataFrame) -> blocking.Keys:
    rows = rows if "unique_id" in rows else rows.assign(unique_id=range(len(rows)))
    return blocking.keys(ibis.memtable(rows), blocking.atoms(rows.columns))


def test_a_rule_that_makes_too_many_pairs_is_named_and_a_tighter_one_taken():
    rows = pd.DataFrame({"last": ["berg"] * 40, "zip": [f"{10000 + i // 2}" for i in range(40)], "mail": ["a@b.de"] * 40})
    told = blocking.choose_rules(keyed(rows), per_rule=100, most=1_000)
    said = told.assign(rule=told["rule"].map(blocking.say_rule)).set_index("rule")
    assert not said.loc["same e-mail", "used"] and said.loc["same e-mail", "pairs"] == 780
    assert "more than 100 pairs" in said.loc["same e-mail", "why"] and not said.loc["same surname", "used"]
    assert said.loc["same postcode", "used"] and said["pairs"][said["used"]].sum() <= 1_000


def test_ten_thousand_with_one_phone_are_counted_and_not_compared():
    rows = pd.DataFrame({"dialled": ["+49301234567"] * 10_000, "last": [f"n{i // 2}" for i in range(10_000)]})
    told = blocking.choose_rules(keyed(rows), per_rule=100_000, most=600_000)
    said = told.assign(rule=told["rule"].map(blocking.say_rule)).set_index("rule")
    assert said.loc["same phone", "pairs"] == 49_995_000 and "more than 100,000 pairs" in said.loc["same phone", "why"]
    left, right = blocking.blocked(keyed(rows), list(told["rule"][told["used"]]))
    assert len(left) <= told["pairs"][told["used"]].sum() <= 600_000
    # short surnames too, of which the rule's first four characters are all there is
    assert {(2 * i, 2 * i + 1) for i in range(5_000)} <= set(zip(left.tolist(), right.tolist(), strict=True))
    scored = pairs_.nothing("", told.assign(rule=told["rule"].map(blocking.say_rule)))
    assert "`same phone` with 49,995,000" in matching.say_bound(scored)


def test_a_single_giant_block_is_never_missed(monkeypatch):
    """However few blocks are counted, the bound holds: the one block that breaks it may be in none of them."""
    monkeypatch.setattr(blocking, "COUNT_ALL", 100)
    for giant in range(12):
        rows = pd.DataFrame({"mail": [f"{giant}@x.de"] * 200 + [f"p{i}@x.de" for i in range(1_800)]})
        told = blocking.choose_rules(keyed(rows), per_rule=5_000, most=30_000)
        assert not told["used"].any()


@pytest.mark.parametrize(("per_rule", "most"), [(500, 700), (5_000, 5_000)])
def test_no_more_pairs_are_made_than_were_allowed(per_rule, most):
    rng = random.Random(4)
    rows = pd.DataFrame(
        {"unique_id": range(300)} | {name: [f"{name}{rng.randrange(k)}" for _ in range(300)]
                                     for name, k in (("last", 9), ("first_sound", 12), ("born", 40), ("mail", 100))}
    )  # fmt: skip
    told = blocking.choose_rules(keyed(rows), per_rule=per_rule, most=most)
    used = told[told["used"]]
    left, right = blocking.blocked(keyed(rows), list(used["rule"]))
    assert used["pairs"].max() <= per_rule and len(left) <= most
    plain = {
        (a, b)
        for rule in used["rule"]
        for a, b in itertools.combinations(range(300), 2)
        if all(_piece(rows, a, text) == _piece(rows, b, text) is not None for text in rule)
    }
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == plain and len(left) == len(plain)


def test_where_all_rules_are_too_many_those_go_first_that_give_few_a_partner():
    # an e-mail address is shared by two, a surname by ten: that makes more pairs, and every one of them is less likely right
    n, name = 2_000, "same first 4 characters of surname"
    rows = pd.DataFrame({"mail": [f"m{i // 2}" for i in range(n)], "last": [f"{i % 200:04d}" for i in range(n)]})
    for most, is_used in ((10**9, True), (10_001, True), (9_999, False)):
        told = blocking.choose_rules(keyed(rows), per_rule=20_000, most=most)
        told = told.assign(rule=told["rule"].map(blocking.say_rule)).set_index("rule")
        assert told.loc["same e-mail", "used"] and told.loc[name, "used"] == is_used
    assert "all rules together" in told.loc[name, "why"]


def test_a_pair_that_several_rules_find_counts_once(monkeypatch):
    n = 4_000
    rows = pd.DataFrame({name: [f"{name}{i // 2}" for i in range(n)] for name in ("mail", "dialled", "number")})
    told = blocking.choose_rules(keyed(rows), per_rule=n, most=n // 2)
    assert told["used"].sum() == 3 and told["pairs"].sum() == 3 * n // 2
    # counted on a share of the records, nearly so
    monkeypatch.setattr(blocking, "COUNT_ALL", 1_000)
    told = blocking.choose_rules(keyed(rows), per_rule=n, most=n * 0.6)
    assert told["used"].sum() == 3


def _piece(rows, at, text):
    value = rows.at[at, blocking.column_of(text)]
    if text.startswith("substr"):
        start, length = (int(part) for part in text.rstrip(")").split(",")[1:])
        value = value[start - 1 : start - 1 + length]
        return value if start == 1 or len(value) == length else None
    return value


@pytest.mark.parametrize(
    ("one", "other"),
    [("Müller", "Mueller"), ("Łukasz", "Lukasz"), ("陳偉強", "陈伟强"), ("Ёлкин", "Elkin"), ("Søren", "Soren")],
)
def test_a_name_is_the_same_in_any_spelling(one, other):
    assert names.spelled(names.latin(one)) == names.spelled(names.latin(other))


@pytest.mark.parametrize(("sign", "reading"), [("单", "shan"), ("曾", "zeng"), ("解", "xie"), ("區", "ou"), ("欧阳", "ouyang")])
def test_surnames_are_read_as_surnames(sign, reading):
    assert names.latin(sign, surname=True) == reading


def test_short_forms_and_sounds():
    assert names.whole_form("willy") == names.whole_form("bill") == "william" and names.whole_form("ada") == "ada"
    assert names.sound("mohammed") == names.sound(names.latin("محمد")) and names.sound(None) is None
    assert names.chinese_parts("欧阳修") == ("欧阳", "修") and names.chinese_parts("Anna") is None


@given(st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_text_becomes_a_key_of_latin_letters(text):
    key = names.spelled(names.latin(text, surname=True))
    assert names.sound(key) is None or names.sound(key).isascii() or not key.isascii()


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


def test_where_no_model_can_be_trained_the_same_address_is_one_however_many_have_it(engine):
    """Through one address and through another, seven and twelve records; none is taken apart, and no draw parts them."""
    rows = [{"source": "shop", "person_id": f"a{i}", "full_name": "Ann Alt", "email": "ann.alt@posteo.de"} for i in range(7)]
    rows += [{"source": "crm", "person_id": f"b{i}", "full_name": "Bo Bach", "email": "bo@bach.de" if i < 6 else None,
              "external_id": "K1" if i > 4 else None} for i in range(12)]  # fmt: skip
    matched = matching.match({"people": table("people", rows)}, engine, "DE", P)
    assert matched.scored.method == "exact rules"
    told = frames(matched)
    assert told["identities"].groupby("customer_id").size().sort_values().tolist() == [7, 12]
    assert told["identity_draws"].empty


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
    assert "**2 customers can be told apart by their ids alone.**" in matching.answer(counted, matched.scored.method, 0)


def test_a_browser_that_never_logged_in_is_neither_customer_nor_record():
    identities = ibis.memtable(
        pd.DataFrame(
            [("shop", "1", "c1"), ("web", "cookie 1", "c1"), ("crm", "7", "c2"), ("web", "cookie 2", "c3")],
            columns=["source", "person_id", "customer_id"],
        )
    )
    customers = ibis.memtable(pd.DataFrame({"customer_id": ["c1", "c2", "c3"], "sources": ["shop,web", "crm", "web"]}))
    people = table("people", [{"source": "shop", "person_id": "1"}, {"source": "crm", "person_id": "7"}])
    told = matching.counts(identities, customers, people)
    assert told == {"customers": 3, "known": 2, "several": 1, "records": 3, "systems": 3}
    assert "**3 records of 3 systems are 2 customers**" in matching.answer(told, "model", 0)


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


def test_an_account_that_is_only_named_is_an_account(engine):
    def person(number: int, account: str | None, **more: str) -> dict[str, str | None]:
        told = {"source": "crm", "person_id": str(number), "email": f"p{number}@gmail.com", "account_source": "crm"}
        return told | {"account_id": account} | more

    people = [
        person(1, "X"), person(2, "X"), person(3, None),
        person(4, "Y", company="Hotel Adler"), person(5, "Y", company="Hotel Adler GmbH"), person(6, "Y", company="Post"),
        person(7, None, company="Hotel Adler"), person(8, None, company="Post"), person(9, "A1"), person(10, "A1"),
        # a number of one's own, in two records of one human
        person(11, "N", external_id="5", full_name="Ida Rau"), person(11, "N", external_id="5", full_name="Ida Rau") | {"source": "shop"},
    ]  # fmt: skip
    deals = [{"source": "crm", "opportunity_id": str(i), "account_source": "crm", "account_id": id} for i, id in enumerate("XZ")]
    tables = {"people": table("people", people), "opportunities": table("opportunities", deals)}
    told = frames(matching.match(tables, engine, "DE", P))
    account = told["identities"].merge(told["customers"], on="customer_id").set_index("person_id")["account_id"]
    ids = told["account_identities"].set_index("source_account_id")["account_id"]
    assert sorted(ids.index) == ["A1", "X", "Y", "Z"] and ids.is_unique
    assert account["1"] == account["2"] == ids["X"] != account["3"]
    assert account["4"] == account["5"] == account["6"] == account["7"] == ids["Y"] != account["8"]
    rows = told["resolved_accounts"].set_index("account_id")
    assert rows.loc[ids[["X", "Y", "Z"]], "customers"].tolist() == [2, 4, 0] and rows.loc[ids["X"], "kind"] == "company"
    one = told["customers"].set_index("account_id")["records"][account["11"].unique()]
    assert one.tolist() == [2] and rows.loc[one.index, "kind"].tolist() == ["single"]
    # what an account is called, who delivers it says
    listed = table("accounts", [{"source": "crm", "account_id": "A1", "name": "Hotel Krone"}])
    told = frames(matching.match({**tables, "accounts": listed}, engine, "DE", P))
    ids = told["account_identities"].set_index("source_account_id")["account_id"]
    assert sorted(ids.index) == ["A1", "X", "Y", "Z"]
    assert told["resolved_accounts"].set_index("account_id").loc[ids["A1"], "name"] == "Hotel Krone"


def test_a_deal_alone_names_an_account(engine):
    deals = [{"source": "crm", "opportunity_id": "1", "account_source": "crm", "account_id": "Z", "person_source": "crm"}]
    orders = [{"source": "shop", "person_source": "shop", "person_id": "1"}]
    tables = {"opportunities": table("opportunities", deals), "orders": table("orders", orders)}
    told = frames(matching.match(tables, engine, "DE", P))
    assert told["account_identities"]["source_account_id"].tolist() == ["Z"] and len(told["resolved_accounts"]) == 2


def test_a_mail_provider_is_no_company():
    employed = pd.DataFrame({"domain": ["x.de"], "firm": ["adler"]})
    assert accounts.companies(accounts.delivered(None), ["adler", "post"], employed).groupby("company").size().tolist() == [2, 1]


def written(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["domain", "firm"])


def test_words_that_several_domains_write_shorter_are_learned():
    hotels = [(f"{town}.de", f"{word} {town}") for town in ("adler", "post", "krone") for word in ("htl", "hotel")]
    assert accounts.abbreviations(written(*hotels)) == {"htl": "hotel"}
    assert accounts.abbreviations(written(*hotels[:4])) == {}, "two domains are no custom"
    assert accounts.abbreviations(written(*hotels, *hotels[:1])) == {"htl": "hotel"}, "said twice is said once"
    assert accounts.in_full(pd.Series(["htl adler", "outhtl htl", "hotel", None]), {"htl": "hotel"}).tolist()[:3] == [
        "hotel adler", "outhtl hotel", "hotel",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"), [("nord", "sued"), ("h", "hotel"), ("tel", "hotel"), ("hlt", "hotel"), ("htl west", "hotel ost")]
)
def test_other_words_are_not_taken_for_short_ones(one, other):
    pairs = [(f"{town}.de", f"{word} {town}") for town in ("adler", "post", "krone", "linde") for word in (one, other)]
    assert accounts.abbreviations(written(*pairs)) == {}


def test_a_word_that_is_short_for_several_stands_for_the_one_that_has_half():
    def told(n: int, whole: str) -> list[tuple[str, str]]:
        return [(f"{whole}{i}.de", f"{word} {whole}{i}") for i in range(n) for word in ("rest", whole)]

    assert accounts.abbreviations(written(*told(5, "restaurant"), *told(3, "resthaus"))) == {"rest": "restaurant"}
    three = [*told(3, "restaurant"), *told(3, "resthaus"), *told(3, "restposten")]
    assert accounts.abbreviations(written(*three)) == {}


def test_a_company_that_is_abbreviated_is_one_account(engine):
    towns = ("Adler", "Post", "Krone")
    staff = [
        {"source": "crm", "person_id": f"{town}{i}", "company": f"{word} {town}", "email": f"p{i}@{town.lower()}.de"}
        for town in towns for i, word in enumerate(("Hotel", "Htl."))
    ]  # fmt: skip
    # neither has a domain: only the name tells where they work
    lone = [
        {"source": "shop", "person_id": f"s{i}", "company": f"{word} Linde"} for i, word in enumerate(("Hotel", "Htl.", "Haus"))
    ]  # fmt: skip
    told = frames(matching.match({"people": table("people", [*staff, *lone])}, engine, "DE", P))
    account = told["identities"].merge(told["customers"], on="customer_id").set_index("person_id")["account_id"]
    assert account["s0"] == account["s1"] != account["s2"]
    assert account.nunique() == len(towns) + 2


def test_a_household_is_one_though_its_street_is_misspelt(engine):
    def person(number: int, name: str, street: str) -> dict[str, str]:
        return {"source": "shop", "person_id": str(number), "full_name": name, "street": street, "postcode": "10115"}

    people = [
        person(1, "Eva Holm", "Kastanienweg 3"), person(2, "Jan Holm", "Kastaneinweg 3"),
        person(3, "Ole Holm", "Kastaneinweg 4"), person(4, "Ida Holm", "Lindenweg 3"), person(5, "Udo Wirt", "Kastanienwge 3"),
    ]  # fmt: skip
    told = frames(matching.match({"people": table("people", people)}, engine, "DE", P))
    account = told["identities"].merge(told["customers"], on="customer_id").set_index("person_id")["account_id"]
    assert account["1"] == account["2"] and account.nunique() == 4


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
            row["birth_date"] = f"{1950 + human % 50}-{1 + human % 12:02d}-{1 + human % 28:02d}" if rng.random() < 0.6 else None
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
    assert told["identities"]["probability"].between(0.2, 1).all()
    expected = matched.clustered.expected
    assert abs(expected["precision"] - row["precision"]) < 0.03


def test_two_runs_give_the_same_tables_whatever_the_number_of_threads(splinked):
    (_, one, _, model), (_, other, _, again) = splinked
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name])
    assert model == again


def test_what_hundreds_share_ties_nobody(splinked):
    matched, _, _, _ = splinked[0]
    mail = matched.left_out.set_index("what").loc["e-mail"]
    assert mail["left_out"] > 60
    assert matched.scored.looked_at.loc[matched.scored.looked_at["used"], "pairs"].max() <= 10 * 1_500


def test_close_calls_give_reasons_and_no_values(splinked):
    _, told, _, _ = splinked[0]
    review = told["review_pairs"]
    assert review["turn"].tolist() == list(range(1, len(review) + 1))
    assert set(review["asked_for"]) == {"gain", "estimate"}
    words = "; ".join([*review["reasons_for"], *review["reasons_against"]])
    assert "@" not in words and "Berg" not in words
    gain = review[review["asked_for"] == "gain"]
    assert (gain["expected_gain"] - gain["changes"] * gain["chance"]).abs().max() < 1e-3
    # each customer is asked about before any is for the second time
    first = gain[~gain.duplicated("customer_a") & ~gain.duplicated("customer_b")]
    assert first["expected_gain"].head(5).is_monotonic_decreasing


def test_written_tables_have_the_columns_of_the_dictionary(splinked):
    _, told, _, _ = splinked[0]
    # the others are made of several systems' customers, and looked at in test_overlap.py
    for described in (table for table in matching.STAGE.tables if table not in matching.overlap.TABLES):
        assert list(told[described.name].columns) == list(described.names), described.name


def test_kinds_of_pairs_are_found_where_they_are_known():
    """Patterns drawn from known probabilities: the model finds how many pairs are of one human."""
    import numpy as np

    from clientbook.matching.comparing import Compared, Level

    rng = np.random.default_rng(2)
    compared = [Compared(name, name, (name,), (Level("", "same"), Level("", "near"))) for name in "abcd"]
    m, u = np.array([0.85, 0.1, 0.05]), [np.array([p, 0.05, 0.95 - p]) for p in (0.02, 0.05, 0.1, 0.01)]
    same, other = 2_000, 60_000
    drawn = np.concatenate([np.stack([rng.choice(3, n, p=p) for p in ps], axis=1) for n, ps in ((same, [m] * 4), (other, u))])
    patterns, counts = np.unique(drawn, axis=0, return_counts=True)
    known = [float(same + other)] * 4
    shares = [np.bincount(drawn[:, i], minlength=3) / len(drawn) for i in range(4)]
    fitted = model.fit(patterns, counts.astype(float), compared, shares, known, same + other)
    assert fitted.converged and abs(fitted.pairs["same"] - same) < 0.1 * same
    assert np.allclose(fitted.probabilities["same"][0], m, atol=0.05)
    _, probability = model.score(fitted, patterns)
    assert abs((probability * counts).sum() - same) < 0.1 * same


def test_levels_are_those_that_splink_finds(engine):
    """Splink reads the model and the records itself, and finds the same level of each pair."""
    from splink import DuckDBAPI, Linker

    from clientbook.matching import levels

    people, _ = made_people(300, 4)
    rows = standard.records(people, engine, "DE", 25)
    records = engine.keep(rows.mutate(unique_id=ibis.row_number().over(order_by=["source", "person_id"])).order_by("unique_id"))
    compared = comparing.comparisons(pairs_.filled_of(records), 300)
    sizes = [len(one.levels) + 1 for one in compared]
    even = [pd.Series(1 / size, index=range(size)).to_numpy() for size in sizes]
    fitted = model.Model(
        tuple(compared), dict.fromkeys(model.KINDS, even), dict.fromkeys(model.KINDS, 10.0), iterations=1, converged=True
    )
    settings_ = pairs_.splink_settings(fitted) | {
        "blocking_rules_to_generate_predictions": ["l.last_sound = r.last_sound", "l.mail = r.mail"],
        "retain_matching_columns": True, "retain_intermediate_calculation_columns": False,
    }  # fmt: skip
    api = DuckDBAPI()
    frame = records.drop("birth_date").to_pandas()
    linker = Linker(api.register(frame), settings_, log_level=None)
    told = linker.inference.predict(warning_mode="never").as_pandas_dataframe()
    assert len(told) > 500
    left, right = (told[f"unique_id_{side}"].to_numpy() for side in "lr")
    coded = levels.Coded(records, engine, compared)
    ours = levels.unpacked(coded.patterns(left, right), compared)
    for i, (one, size) in enumerate(zip(compared, sizes, strict=True)):
        gamma = told[f"gamma_{one.name}"].to_numpy()
        assert (ours[:, i] == pd.Series(gamma).where(gamma < 0, size - 1 - gamma)).all(), one.name


@pytest.mark.parametrize("k", [2, 3, 7, 12])
def test_groups_are_joined_as_scipy_joins_them(k):
    import numpy as np
    from scipy.cluster.hierarchy import cophenet, linkage

    rng = np.random.default_rng(k)
    alike = rng.random((40, k, k))
    alike = (alike + alike.transpose(0, 2, 1)) / 2
    low, high = np.triu_indices(k, 1)
    told = clusters.average_linkage(alike)[:, low, high]
    far = [1 - one[low, high] for one in alike]
    plain = [1 - (cophenet(linkage(one, "average")) if k > 2 else one) for one in far]
    assert np.allclose(told, plain)


def apart(n: int, clean=None, born=None) -> clusters.Apart:
    import numpy as np

    told = [np.full(n, -1), np.zeros(n, "int64")]
    for values, into in zip((clean or {}, born or {}), told, strict=True):
        for at, value in values.items():
            into[at] = value
    return clusters.Apart(*told)


def test_two_records_of_a_source_without_doubles_are_two_people():
    sure = edges_of(*[(a, b, 0.99) for a, b in itertools.combinations(range(4), 2)])
    assert clusters.cluster(sure, 4).tied["first"].nunique() == 1
    told = clusters.cluster(sure, 4, apart=apart(4, clean={0: 2, 3: 2})).tied["first"]
    assert told[0] != told[3] and told.nunique() == 2


def test_two_sure_birth_dates_are_two_people_and_a_slip_is_not():
    sure = edges_of(*[(a, b, 0.99) for a, b in itertools.combinations(range(4), 2)])
    father = apart(4, born={0: 19610412, 1: 19610412, 2: 19920830, 3: 19920830})
    assert clusters.cluster(sure, 4, apart=father).tied["first"].tolist() == [0, 0, 2, 2]
    for slip in (19611204, 19610422, 19610421):
        slips = apart(4, born={0: 19610412, 1: 19610412, 2: slip})
        assert clusters.cluster(sure, 4, apart=slips).tied["first"].nunique() == 1


def test_a_book_asks_in_words_that_matching_knows():
    assert set(blocking.ASKED) == set(BLOCKED)
    assert {blocking.ASKED[name] for name in COMPARED} == {one.name for one in comparing.COMPARISONS}
    assert set(clusters.UNIT_OF) == set(TAKEN)


def test_the_book_goes_before_what_the_data_say(engine):
    people, _ = made_people(300, 5)
    asked = Asked(
        compare=("first_name", "surname", "email"), blocking_rules=(("email",), ("surname", "postcode")), threshold=0.6,
        clean_sources=("crm",),
    )  # fmt: skip
    matched = matching.match({"people": people}, engine, "DE", P, asked=asked)
    assert set(matched.scored.looked_at["rule"]) == {"same e-mail", "same surname, postcode"}
    assert [one.name for one in matched.scored.model.compared] == ["first", "last", "mail"]
    assert matched.clustered.threshold == 0.6
    told = frames(matched)["identities"]
    assert told[told["source"] == "crm"].groupby("customer_id").size().max() == 1
    given = matching.match({"people": people}, engine, "DE", matching.MatchingParameters(threshold=0.7), asked=asked)
    assert given.clustered.threshold == 0.7


def test_golden_columns_follow_their_rules_and_conflicts_are_told(engine):
    rows = [
        {"source": "crm", "person_id": "1", "given_name": "Anna", "family_name": "Berg", "email": "a@x.de",
         "birth_date": "1970-05-03", "company": "Adler", "updated_at": "2020-01-01"},
        {"source": "shop", "person_id": "1", "given_name": "Anna", "family_name": "Berg", "email": "a@x.de",
         "birth_date": "1970-05-03", "company": "Hotel Adler am Markt", "updated_at": "2021-01-01"},
        {"source": "pos", "person_id": "1", "given_name": "Anna", "family_name": "Berger", "email": "a@x.de",
         "birth_date": "1970-05-30", "company": "Adler", "updated_at": "2022-01-01"},
    ]  # fmt: skip
    people = table("people", rows)

    def told(**golden):
        matched = matching.match({"people": people}, engine, "DE", P, asked=Asked(golden=golden))
        return matched, frames(matched)["customers"].iloc[0]

    matched, one = told()
    assert (one["records"], one["family_name"], one["name_from"]) == (3, "Berger", "pos")
    assert (str(one["birth_date"])[:10], one["birth_date_from"]) == ("1970-05-03", "shop")
    assert one["conflicts"] == "name,birth_date,company"
    shown = matched.conflicts.set_index("column")
    assert shown.loc["birth date", "conflicts"] == 1 and shown.loc["email", "conflicts"] == 0
    assert "contradict" in matching.say_conflicts(matched.conflicts)
    _, other = told(name=("crm", "shop"), company="longest", birth_date="newest")
    assert (other["name_from"], other["company"]) == ("crm", "Hotel Adler am Markt")
    assert (str(other["birth_date"])[:10], other["birth_date_from"]) == ("1970-05-30", "pos")


def test_a_whole_name_goes_before_a_newer_part_of_one(engine):
    rows = [
        {"source": "crm", "person_id": "1", "given_name": "Anna", "email": "a@x.de", "phone": "030 1234567", "updated_at": "2022-01-01"},
        {"source": "shop", "person_id": "1", "given_name": "Anna", "family_name": "Berg", "email": "a@x.de", "phone": "030 1234567",
         "updated_at": "2020-01-01"},
        {"source": "pos", "person_id": "1", "family_name": "Berg", "email": "a@x.de", "phone": "030 1234567", "updated_at": "2021-01-01"},
    ]  # fmt: skip
    aliases = table("aliases", [{"source": "crm", "person_id": "1", "other_source": other, "other_person_id": "1"} for other in ("shop", "pos")])
    one = frames(matching.match({"people": table("people", rows), "aliases": aliases}, engine, "DE", P))["customers"].iloc[0]
    assert (one["records"], one["full_name"], one["given_name"], one["family_name"], one["name_from"]) == (3, "Anna Berg", "Anna", "Berg", "shop")


def test_what_no_rule_finds_is_estimated_from_what_several_find():
    """Two kinds of rule find pairs independently of each other: the share that neither finds is known."""
    import numpy as np

    rng = np.random.default_rng(3)
    n = 6_000
    seen = rng.random((2, n)) < [[0.7], [0.6]]
    hashes = {
        name: np.where(np.repeat(one, 2), np.repeat(np.arange(1, n + 1), 2), np.arange(2 * n) + 10 * n).astype("uint64")
        for name, one in zip(("mail", "dialled"), seen, strict=True)
    }
    found = blocking.Keys(np.arange(2 * n), hashes)
    left, right = blocked = blocking.blocked(found, [("mail",), ("dialled",)])
    told = pairs_.finds(found, [("mail",), ("dialled",)], *blocked, np.ones(len(left)))
    assert (right == left + 1).all() and told["finds"] == seen.sum(axis=1).tolist()
    assert told["alone"] == [float((seen[0] & ~seen[1]).sum()), float((seen[1] & ~seen[0]).sum())]
    # Chao's is a lower bound of what is missed
    assert seen.any(axis=0).mean() - 0.01 <= told["recall"] <= 1


def test_strangers_of_one_name_are_no_humans_of_one_name():
    """Two languages with names of their own: strangers share whole names far oftener than each name by itself says."""
    import numpy as np

    from clientbook.matching.comparing import Compared, Level

    rng = np.random.default_rng(7)
    compared = [Compared(name, name, (name,), (Level("", "same"),)) for name in ("first", "last", "mail")]
    total, same = 4_000_000.0, 2_000
    # of one human, and of all others: 40,000 with one name where 0.05 * 0.05 of all would be 10,000
    human = np.stack([rng.random(same) > p for p in (0.95, 0.95, 0.9)], axis=1).astype(int)
    stranger = np.concatenate([
        np.stack([np.zeros(40_000), np.zeros(40_000), np.ones(40_000)], axis=1),
        np.stack([rng.integers(0, 2, 20_000), np.ones(20_000), np.ones(20_000)], axis=1),
    ]).astype(int)  # fmt: skip
    patterns, counts = np.unique(np.concatenate([human, stranger]), axis=0, return_counts=True)
    shares = [np.array([0.05, 0.95]), np.array([0.05, 0.95]), np.array([0.0005, 0.9995])]
    one_name = (40_000 + float(((human[:, 0] == 0) & (human[:, 1] == 0)).sum()), total)

    def fitted(**more):
        return model.fit(patterns, counts.astype(float), compared, shares, [total] * 3, total, **more)

    naive, aware = fitted(), fitted(one_name=one_name)
    assert aware.namesakes["strangers"] == pytest.approx(4, rel=0.1)
    assert abs(aware.pairs["same"] - same) < 0.15 * same < abs(naive.pairs["same"] - same)


def neighbours() -> pd.DataFrame:
    """Few names and few towns: whoever has one name in one town is mostly somebody else. In `who`, who it is."""
    import numpy as np

    rng = np.random.default_rng(11)
    humans = 6_000
    drawn = {
        "first": rng.integers(0, 60, humans), "last": rng.integers(0, 60, humans), "town": rng.integers(0, 6, humans),
        "mail": np.arange(humans), "way": rng.integers(0, 5_000, humans),
    }  # fmt: skip
    who = np.concatenate([np.arange(humans), rng.choice(humans, 2_000, replace=False)])
    n = len(who)
    frame = pd.DataFrame({
        "source": np.where(np.arange(n) < humans, "a", "b"), "person_id": [str(i) for i in range(n)],
        "given_name": [f"Gi{_spelled(x)}" for x in drawn["first"][who]],
        "family_name": [f"Fa{_spelled(x)}" for x in drawn["last"][who]],
        "email": [f"{_spelled(x)}@mail.example" for x in drawn["mail"][who]],
        "street": [f"{_spelled(x)}way {x % 97 + 1}" for x in drawn["way"][who]],
        "city": [f"Town{_spelled(x)}" for x in drawn["town"][who]],
        "postcode": [f"{10000 + 1111 * x}" for x in drawn["town"][who]], "who": who,
    })  # fmt: skip
    # half of the second records have moved within the town, and half have no address to write to
    moved, mute = np.arange(n) >= n - 1_000, (np.arange(n) >= humans) & (np.arange(n) % 2 == 0)
    frame.loc[moved, "street"] = [f"{_spelled(i)}lane 3" for i in range(int(moved.sum()))]
    frame.loc[mute, "email"] = None
    return frame


def matched_neighbours(frame, engine):
    """The matching, and the pairs of records that it takes for one human."""
    rows = frame.astype("object").where(frame.notna(), None).to_dict("records")
    done = matching.match({"people": table("people", rows)}, engine, "GB", P)
    known = done.tables["identities"].to_pandas().merge(frame[["source", "person_id", "who"]])
    implied = known.merge(known, on="customer_id")
    return done, implied[implied["person_id_x"] < implied["person_id_y"]]


def test_neighbours_of_one_name_are_no_humans_of_one_name(engine):
    frame = neighbours()
    done, implied = matched_neighbours(frame, engine)
    sizes = frame.groupby("postcode").size().to_numpy(float)
    # nearly all pairs of a town are neighbours, whatever was picked
    assert done.scored.model.pairs["area"] == pytest.approx((sizes * (sizes - 1)).sum() / 2, rel=0.05)
    precision = (implied["who_x"] == implied["who_y"]).mean()
    # without neighbours, near half of the customers would be two namesakes of a town
    assert precision > 0.98 and len(implied) > 0.7 * 2_000
    assert done.clustered.expected["precision"] == pytest.approx(precision, abs=0.02)


def test_one_system_with_few_doubles_is_not_matched_by_name_and_town(engine):
    """A street that begins with its town, common names, one column for the town: nearly all who look alike are several."""
    rng = random.Random(4)
    humans, names, towns = 3_000, [_spelled(i).title() for i in range(80)], [_spelled(900 + i).title() for i in range(5)]
    rows = []
    for i in range(humans):
        town = rng.choice(towns)
        rows.append({
            "source": "members", "person_id": f"m{i}", "full_name": f"{rng.choice(names[:12])} {rng.choice(names[6:])}", "city": town,
            "street": f"{town}gasse {rng.randrange(1, 990)}", "who": i,
            "phone": f"+4915{rng.randrange(10**8, 10**9)}", "birth_date": dt.date(rng.randrange(1950, 2004), rng.randrange(1, 13), 7),
        })  # fmt: skip
    for i in rng.sample(range(humans), 120):
        rows.append(rows[i] | {"person_id": f"again{i}", "street": None, "birth_date": None})
    _, implied = matched_neighbours(pd.DataFrame(rows), engine)
    # by name and town it would be over a thousand
    assert 80 <= len(implied) <= 125
    assert (implied["who_x"] == implied["who_y"]).mean() > 0.95


@pytest.mark.parametrize("n", [900, 1_500])
def test_a_group_too_large_to_be_held_is_parted_by_its_weakest_ties(n):
    """Hundreds of threes that all hang together by weak ties: each three stays, and whoever is alone is alone."""
    import numpy as np

    rng = np.random.default_rng(n)
    at = np.arange(n)
    threes = [(i, i + k, 0.99) for i in range(0, n, 3) for k in (1, 2)] + [(i + 1, i + 2, 0.99) for i in range(0, n, 3)]
    chain = [(i, i + 3, 0.55 + 0.1 * rng.random()) for i in range(0, n - 3, 3)]
    alone = [(i, n + j, 0.52) for j, i in enumerate(range(0, n, 30))]
    edges = pd.DataFrame(sorted(threes + chain + alone), columns=["l", "r", "probability"])
    told = clusters.cluster(edges, n + len(alone), threshold=0.5).tied.set_index("unique_id")["first"]
    assert (told[:n] == at // 3 * 3).all()
    assert (told[n:] == np.arange(n, n + len(alone))).all()


def test_what_is_learned_on_a_share_of_the_pairs_finds_the_same_people_with_fewer_rules(engine, monkeypatch):
    frame = neighbours()
    done, implied = matched_neighbours(frame, engine)
    monkeypatch.setattr(pairs_, "TRAINED_ON", int(done.scored.looked_at.loc[done.scored.looked_at["used"], "pairs"].sum()) // 3)
    fewer, found = matched_neighbours(frame, engine)
    assert len(fewer.scored.rules) < len(done.scored.rules) and len(fewer.scored.edges) < len(done.scored.edges)
    assert "of one record in 3;" in fewer.scored.note and "one record in" not in done.scored.note
    told = fewer.scored.looked_at
    assert told["used"].sum() == len(fewer.scored.rules)
    assert told.loc[~told["used"], "why"].str.contains("that it adds|pairs").all()
    ends = ["person_id_x", "person_id_y"]
    both = implied[ends].merge(found[ends])
    assert 2 * len(both) / (len(implied) + len(found)) > 0.98


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=25),
    st.lists(st.floats(0, 1), min_size=300, max_size=300),
)
def test_rules_worth_their_pairs_are_those_of_a_plain_reading(rows, chances):
    import numpy as np

    names = ("a", "b", "c")
    keyed = blocking.Keys(np.arange(len(rows)), {name: np.array([row[i] for row in rows], "uint64") for i, name in enumerate(names)})
    rules = [("a",), ("b",), ("c",), ("a", "b"), ("b", "c")]
    left, right = blocking.blocked(keyed, rules)
    chance = np.array(chances[: len(left)]) ** 40
    told = blocking.worth_their_pairs(keyed, rules, left, right, chance)

    def agreeing(rule):
        places = [names.index(name) for name in rule]
        return {(i, j) for i, j in zip(left, right, strict=True) if all(rows[i][p] == rows[j][p] != 0 for p in places)}

    held = dict(zip(zip(left, right, strict=True), chance, strict=True))
    rate = [sum(held[pair] for pair in agreeing(rule)) / max(len(agreeing(rule)), 1) for rule in rules]
    seen: set = set()
    for place in sorted(range(len(rules)), key=lambda place: (-round(rate[place], 12), place)):
        new = agreeing(rules[place]) - seen
        expected = blocking.PAIRS_A_FIND * sum(held[pair] for pair in new) > len(new)
        assert told[place] == expected, (place, rate)
        if expected:
            seen |= new


def _spelled(number):
    """A number as letters that look like no other's."""
    rng = random.Random(int(number))
    return "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(5))


def skewed(n, **columns):
    rng = random.Random(8)
    given, family = ["Anna", "Bernd", "Carla", "Dora", "Emil"], ["Berg", "Stein", "Wald", "Feld", "Moos", "Hag"]
    rows = []
    for i in range(n):
        row = {"source": "crm" if i % 2 else "shop", "person_id": str(i), "given_name": rng.choice(given),
               "family_name": rng.choice(family) + rng.choice("abcdefgh") + rng.choice("mnopqr"),
               "birth_date": f"{1950 + rng.randrange(50)}-{1 + rng.randrange(12):02d}-{1 + rng.randrange(28):02d}"}  # fmt: skip
        rows.append(row | {name: make(i) for name, make in columns.items()})
    return table("people", rows)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"email": lambda i: "x@y.de" if i % 2 else f"p{i}@y.de"},
        {"phone": lambda i: "+49 30 1234567"},
        {"postcode": lambda i: "10115", "city": lambda i: "Berlin"},
    ],
    ids=["no e-mail", "one value fills half", "all with one phone", "one town"],
)
def test_what_all_share_makes_no_giant(engine, columns):
    matched = matching.match({"people": skewed(900, **columns)}, engine, "DE", P)
    told = frames(matched)
    assert told["customers"]["records"].max() <= 5
    looked_at = matched.scored.looked_at
    assert all(pairs <= 10 * 900 for pairs in looked_at.loc[looked_at["used"].astype(bool), "pairs"])
    assert len(told["identities"]) == 900


def test_two_columns_swapped_in_one_file_are_found_to_be(engine):
    people, _ = made_people(500, 6)
    frame = people.to_pandas()
    turned = frame["source"] == "pos"
    frame.loc[turned, ["given_name", "family_name"]] = frame.loc[turned, ["family_name", "given_name"]].to_numpy()
    schema = people.schema()
    rows = ibis.memtable(frame.astype("object").where(frame.notna(), None), schema=schema)
    standardised = standard.records(rows, engine, "DE", 25).to_pandas().set_index(["source", "person_id"])
    straight = standard.records(people, engine, "DE", 25).to_pandas().set_index(["source", "person_id"])
    assert (standardised["first"] == straight["first"].loc[standardised.index]).mean() > 0.9


def test_a_whole_name_in_chinese_signs_is_no_further_name_of_itself(engine):
    people, _ = made_people(6, 3)
    whole = itertools.cycle(["杨明勇", "欧阳娜娜", "张磊", "Anna Maria Berg"])
    frame = people.to_pandas().assign(given_name=None, family_name=None)
    frame["full_name"] = [name for name, _ in zip(whole, frame.index, strict=False)]
    schema = people.schema() if "full_name" in people.columns else ibis.schema(dict(people.schema()) | {"full_name": "string"})
    rows = ibis.memtable(frame.astype("object").where(frame.notna(), None)[list(schema)], schema=schema)
    told = standard.records(rows, engine, "CN", 25).select("first", "last", "extra").to_pyarrow().to_pylist()
    found = {tuple(one.values()) for one in told}
    assert found == {("mingyong", "yang", None), ("nana", "ouyang", None), ("lei", "zhang", None), ("anna", "berg", "maria")}


def test_a_source_that_shares_nobody_is_matched_with_nobody(engine):
    people, _ = made_people(400, 9)
    alone = skewed(300).mutate(source=ibis.literal("partner"))
    told = frames(matching.match({"people": people.union(alone)}, engine, "DE", P))
    sources = told["customers"]["sources"].str.split(",")
    assert sum("partner" in one and len(one) > 1 for one in sources) <= 3


def test_pair_scores_agree_with_all_pairs():
    rng = random.Random(5)
    rows = [(rng.randrange(6), rng.randrange(6)) for _ in range(60)]
    both = sum(a == c and b == d for (a, b), (c, d) in itertools.combinations(rows, 2))
    guessed = sum(b == d for (_, b), (_, d) in itertools.combinations(rows, 2))
    true = sum(a == c for (a, _), (c, _) in itertools.combinations(rows, 2))
    told = scoring.pair_scores(ibis.memtable(pd.DataFrame(rows, columns=["t", "g"])), "t", "g")
    assert (told["pairs"], told["true_pairs"]) == (guessed, true)
    assert told["precision"] == pytest.approx(both / guessed, abs=1e-6) and told["recall"] == pytest.approx(both / true, abs=1e-6)


def test_without_a_truth_nothing_is_scored():
    none = matching.score(ibis.memtable({"a": [1]}), ibis.memtable({"a": [1]}), None, None)
    assert none.empty and "No truth" in matching.say_score(none)


def test_overlap_adds_up(splinked):
    _, told, _, _ = splinked[0]
    overlap = told["system_overlap"]
    assert overlap["customers"].sum() == len(told["customers"]) and overlap["share"].sum() == pytest.approx(1, abs=1e-4)
    shares = matching.together(overlap)
    assert all(shares.loc[name, name] == 1 for name in shares.index)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("matching: {compre: [surname, email]}", "Did you mean `compare`?"),
        ("matching: {compare: [surname, shoe_size]}", "matching.compare.1"),
        ("matching: {blocking_rules: [[email], [shoe_size]]}", "matching.blocking_rules.1.0"),
        ("matching: {blocking_rules: []}", "needs at least one"),
        ("matching: {threshold: 2}", "matching.threshold"),
        ("matching: {clean_sources: [crn]}", "is not a source of this book"),
        ("matching: {golden: {name: [shop, crn]}}", "matching.golden.name"),
    ],
)
def test_what_a_book_may_not_say_of_matching_is_named(tmp_path, said, told):
    from clientbook.book import read_settings
    from clientbook.faults import FaultError

    file = tmp_path / "clientbook.yaml"
    file.write_text("name: X\nsources: {shop: {orders: {path: a.csv}}}\n" + said + "\n")
    with pytest.raises(FaultError) as caught:
        read_settings(file)
    assert told in str(caught.value)


def test_close_calls_name_two_customers_once_and_their_systems():
    pairs = pd.DataFrame(
        [(1, "c1", "c1", "crm", "shop", "gain"), (2, "c1", "c2", "crm", "pos", "gain"), (3, "c1", "c2", "crm", "web", "gain"),
         (4, "c3", "c4", "crm", "web", "estimate")],
        columns=["turn", "customer_a", "customer_b", "source_a", "source_b", "asked_for"],
    ).assign(person_id_a="1", person_id_b="2", match_weight=1.0, stratum="s", chance=0.5, probability=0.8, reasons_for="same name",
             reasons_against="", changes=1, expected_gain=0.5)  # fmt: skip
    told = matching.close_calls(ibis.memtable(pairs))
    assert told[["customers", "systems"]].to_numpy().tolist() == [["c1", "crm, shop"], ["c1, c2", "crm, pos"]]
    assert not {"person_id_a", "customer_a", "source_a"} & set(told.columns)
    assert matching.close_calls(ibis.memtable(pairs.assign(asked_for="estimate"))).empty


def test_companies_of_one_name_and_several_domains_in_one_system_stay_apart(engine):
    held = [
        {"source": "crm", "account_id": "1", "name": "Adler GmbH", "domain": "adler-berlin.example"},
        {"source": "crm", "account_id": "2", "name": "Adler AG", "domain": "www.adler-wien.example"},
        {"source": "crm", "account_id": "3", "name": "Falke GmbH", "domain": "falke.example"},
        {"source": "erp", "account_id": "F9", "name": "Falke", "domain": "falke-group.example"},
    ]
    rows = [
        {"source": "crm", "person_id": "a", "full_name": "Ann Berg", "account_id": "1", "account_source": "crm"},
        {"source": "shop", "person_id": "b", "full_name": "Bo Wald", "company": "Adler", "email": "bo@adler-wien.example"},
        {"source": "shop", "person_id": "c", "full_name": "Cy Moos", "company": "Adler", "email": "cy@gmail.com"},
        {"source": "shop", "person_id": "d", "full_name": "Di Hag", "company": "Falke"},
    ]
    told = frames(matching.match({"people": table("people", rows), "accounts": table("accounts", held)}, engine, "DE", P))
    same = told["account_identities"].set_index(["source", "source_account_id"])["account_id"]
    assert same["crm", "1"] != same["crm", "2"] and same["crm", "3"] == same["erp", "F9"]
    whose = told["identities"].merge(told["customers"], on="customer_id").set_index("person_id")["account_id"]
    assert whose["a"] == same["crm", "1"] and whose["b"] == same["crm", "2"] and whose["d"] == same["crm", "3"]
    # which of the two a mere name means, nobody can say
    assert whose["c"] not in set(same)
