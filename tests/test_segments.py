"""Who the customers are, whom they may be addressed for, and that nobody is who does not allow it."""

from __future__ import annotations

import datetime as dt

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientbook import consent, segments
from clientbook.book import Goal
from clientbook.goals import best_fit
from clientbook.segments import found, market
from clientbook.stage import NothingToShow

P = segments.SegmentsParameters()
AS_OF = dt.date(2026, 7, 1)
NOON = dt.datetime(2026, 7, 1, 12)


def buyers(rows) -> ibis.Table:
    """`customer_id`, `frequency`, `recency`, `T`, `p_alive`, `clv`, `tier`, `loss_maker`."""
    names = ["customer_id", "frequency", "recency", "T", "p_alive", "clv", "tier", "loss_maker"]
    return ibis.memtable(pd.DataFrame(rows, columns=names))


def people(rows, columns=("customer_id", "email", "phone", "persona", "account_id", "first_seen")) -> ibis.Table:
    types = {"customer_id": "string", "email": "string", "phone": "string", "persona": "string", "account_id": "string",
             "first_seen": "timestamp"}  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(columns))
    return ibis.memtable(frame, schema={name: types[name] for name in columns})


VALUE = [
    ("c1", 9, 350, 360, 0.9, 900.0, "A", False),
    ("c2", 4, 300, 700, 0.1, 90.0, "C", False),
    ("c3", 0, 0, 20, 0.6, 50.0, "D", False),
    ("c4", 2, 100, 300, 0.2, 40.0, "D", False),
    ("c5", 5, 500, 510, 0.9, 70.0, "B", True),
    ("c6", 3, 290, 300, 0.8, 80.0, "C", False),
]


def everybody():
    known = [(f"c{i}", f"c{i}@x.org", None, None, f"a{i}", dt.datetime(2025, 1, 1)) for i in range(1, 9)]
    return people(known)


def test_lifecycle_follows_silence_and_probability():
    told = segments.segment(everybody(), buyers(VALUE), None, P).to_pandas().set_index("customer_id")
    assert told["lifecycle"].to_dict() == {
        "c1": "active", "c2": "lapsed", "c3": "new", "c4": "at risk", "c5": "active", "c6": "active",
        "c7": "prospect", "c8": "prospect",
    }  # fmt: skip
    assert told.loc["c7", "segment"] == segments.PROSPECTS and pd.isna(told.loc["c7", "rf"])
    assert list(told.reset_index().columns) == list(segments.STAGE.tables[0].names[:-4])


def test_who_is_an_id_alone_is_a_visitor_unless_they_buy():
    known = [("c1", "a@x.org", None, None, "a1", dt.datetime(2025, 1, 1)), *(
        (f"c{i}", None, None, None, f"a{i}", dt.datetime(2025, 1, 1)) for i in (2, 3))]  # fmt: skip
    bought = [("c3", 0, 0, 20, 0.6, 50.0, "D", False)]
    told = segments.segment(people(known), buyers(bought), None, P)
    assert told.to_pandas().set_index("customer_id")["lifecycle"].to_dict() == {"c1": "prospect", "c2": "visitor", "c3": "new"}
    counted = segments.by_lifecycle(told)
    assert counted["lifecycle"].tolist() == ["visitor", "prospect", "new"]
    goals = segments.campaigns(
        *[segments.choose_targets(told, {"customers": people(known)}, AS_OF, "UTC", (), P)] * 2, None, None
    )
    said = segments.answer(counted, goals, consents=True, money=str)
    assert said.startswith("**Of 2 customers, 1 have not bought yet, 1 are new.** Of 1 visitors beside them")
    assert segments.say_lifecycle(counted) == "100% of those who ever bought are new or active"


def plain_fifth(values: list[float], *, falling: bool) -> list[int]:
    """A fifth by the share of the others that are worse; equals together."""
    worse = [sum((b > a) if falling else (b < a) for b in values) / max(len(values) - 1, 1) for a in values]
    return [min(int(np.floor(share * 5 + 1e-12)) + 1, 5) for share in worse]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=40))
def test_scores_equal_a_plain_computation(histories):
    rows = [(f"c{i:03d}", f, r, r + s, 0.5, 1.0, "A", False) for i, (f, r, s) in enumerate(histories)]
    told = segments.segment(None, buyers(rows), None, P).to_pandas().sort_values("customer_id")
    assert told["recency_score"].tolist() == plain_fifth([s for _, _, s in histories], falling=True)
    assert told["frequency_score"].tolist() == plain_fifth([f for f, _, _ in histories], falling=False)
    named = {(r, f): name for name, (r1, r2), (f1, f2) in segments.SEGMENTS for r in range(r1, r2 + 1) for f in range(f1, f2 + 1)}
    for row in told.itertuples():
        assert row.segment == named[(row.recency_score, row.frequency_score)]


def test_every_cell_of_the_grid_has_exactly_one_name():
    cells = [(r, f) for _, (r1, r2), (f1, f2) in segments.SEGMENTS for r in range(r1, r2 + 1) for f in range(f1, f2 + 1)]
    assert sorted(cells) == [(r, f) for r in range(1, 6) for f in range(1, 6)]


def test_customers_alone_and_value_alone_and_nothing():
    alone = segments.analyse({"customers": everybody()}, AS_OF, P).to_pandas()
    assert set(alone["lifecycle"]) == {"prospect"} and len(alone) == 8
    assert len(segments.analyse({"value": buyers(VALUE)}, AS_OF, P).to_pandas()) == 6
    with pytest.raises(NothingToShow, match="customers"):
        segments.analyse({}, AS_OF, P)


def test_orders_without_a_value_still_make_buyers():
    orders = ibis.memtable(
        pd.DataFrame(
            {
                "person_source": ["shop"] * 4, "person_id": ["1", "1", "1", "2"], "quantity": [1.0, 1.0, 0.0, 1.0],
                "amount": [5.0, 5.0, 5.0, 5.0],
                "ordered_on": pd.to_datetime(["2026-01-01", "2026-03-02", "2026-04-01", "2026-06-30"]).date,
            }
        )
    )  # fmt: skip
    told = segments.analyse({"orders": orders}, AS_OF, P).to_pandas()
    assert sorted(zip(told["purchases"], told["days_silent"], told["lifecycle"], strict=True)) == [
        (1, 0, "new"), (2, 120, "active"),
    ]  # fmt: skip


def intervals(rows) -> ibis.Table:
    names = ["subject_type", "subject_id", "topic", "stage", "valid_from", "valid_to", "method"]
    kinds = dict.fromkeys(names, "string") | {"valid_from": "timestamp", "valid_to": "timestamp"}
    return ibis.memtable(pd.DataFrame(rows, columns=names), schema=kinds)


def test_the_stage_is_that_of_the_open_filtered_journey_that_moved_last():
    day = [dt.datetime(2026, 1, n) for n in range(1, 9)]
    rows = intervals(
        [
            ("account", "a1", "suits", "need", day[0], None, "filtered"),
            ("account", "a1", "coats", "decide", day[3], None, "filtered"),
            ("account", "a1", "hats", "use", day[5], day[6], "filtered"),
            ("account", "a1", "ties", "recommend", day[7], None, "smoothed"),
            ("customer", "c2", "suits", "need", day[2], None, "filtered"),
            ("customer", "c2", "coats", "adopt", day[2], None, "filtered"),
        ]
    )
    told = segments.current_stages(rows, everybody()).to_pandas().set_index("customer_id")
    assert told.loc["c1"].tolist() == ["decide", "coats"]
    assert told.loc["c2"].tolist() == ["adopt", "coats"]


STATUSES = list(consent.STRICTNESS)
INDICATIONS = st.lists(
    st.tuples(
        st.sampled_from(["1", "2"]),
        st.sampled_from(STATUSES),
        st.integers(0, 4),
        st.sampled_from([None, "email", "phone"]),
        st.sampled_from([None, -1, 0, 1]),
    ),
    min_size=1,
    max_size=12,
)


def consents(said) -> ibis.Table:
    rows = [
        ("news", person, "marketing", status, NOON - dt.timedelta(days=4 - at), channel,
         None if ends is None else NOON + dt.timedelta(hours=ends))
        for person, status, at, channel, ends in said
    ]  # fmt: skip
    names = ["person_source", "person_id", "purpose", "status", "indicated_at", "channel", "valid_to"]
    kinds = dict.fromkeys(names, "string") | {"indicated_at": "timestamp", "valid_to": "timestamp"}
    return ibis.memtable(pd.DataFrame(rows, columns=names), schema=kinds)


def plain_status(said, person, channel) -> str | None:
    """The latest indication for the channel or all, the strictest of those at one instant, run out at its end."""
    spoken = [s for s in said if s[0] == person and s[3] in (None, channel) and s[2] < 4]
    latest = [s for s in spoken if s[2] == max(t[2] for t in spoken)]
    told = ["expired" if s[1] == "given" and s[4] is not None and s[4] <= 0 else s[1] for s in latest]
    return max(told, key=STATUSES.index) if told else None


@settings(max_examples=15, deadline=None)
@given(INDICATIONS)
def test_consent_in_force_equals_a_plain_computation(said):
    by = ["email", "phone"]
    settled = consent.in_force(consents(said), None, ibis.timestamp(NOON.isoformat()), by).to_pandas()
    ids = segments.with_customer(consents(said), None).select("person_id", "customer_id").distinct().to_pandas()
    person = dict(zip(ids["customer_id"], ids["person_id"], strict=True))
    got = {(person[r.customer_id], r.channel): r.status for r in settled.itertuples()}
    expected = {(who, c): plain_status(said, who, c) for who in ("1", "2") for c in by}
    assert got == {key: status for key, status in expected.items() if status}
    for (who, channel), status in expected.items():
        rows = [
            {"status": s[1], "indicated_at": NOON - dt.timedelta(days=4 - s[2]), "channel": s[3],
             "valid_to": None if s[4] is None else NOON + dt.timedelta(hours=s[4])}
            for s in said if s[0] == who
        ]  # fmt: skip
        assert consent.settle(rows, NOON, channel) == (status or "unknown")


def chosen(allowed=None, open_cases=None, opinions=None, stages=None, goals=()):
    rows = segments.segment(everybody(), buyers(VALUE), stages, P)
    told = segments.targets(
        rows, allowed=allowed, value=buyers(VALUE), open_cases=open_cases, opinions=opinions, prospect_margin=3.0,
        goals=goals,
    )  # fmt: skip
    return told.to_pandas()


def test_targets_without_consents_say_unknown():
    told = chosen()
    assert set(told["consent"]) == {"unknown"} and told["channels"].isna().all()
    by_goal = {goal: set(part["customer_id"]) for goal, part in told.groupby("goal")}
    assert by_goal["win"] == {"c7", "c8"}
    assert by_goal["keep"] == {"c1", "c6"}, "c3 is of too small a tier, c5 sends back more than they buy"
    assert by_goal["win back"] == {"c2", "c4"}
    assert "c5" not in set(told["customer_id"])
    assert told.loc[told["goal"] == "win", "expected_margin"].tolist() == [3.0, 3.0]


def test_nobody_without_consent_and_nobody_who_complains_is_on_a_list():
    allowed = ibis.memtable(pd.DataFrame({"customer_id": ["c1", "c2", "c7"], "channels": ["email", "email, post", "post"]}))
    cases = ibis.memtable(pd.DataFrame({"customer_id": ["c2"], "complaint": [True]}))
    told = chosen(allowed=allowed, open_cases=cases)
    assert set(told["customer_id"]) == {"c1", "c7"} and set(told["consent"]) == {"given"}
    lists = segments.lists(ibis.memtable(told), everybody(), P)
    assert lists["targets_keep"]["email"].tolist() == ["c1@x.org"]
    assert lists["targets_win"]["email"].isna().all(), "an address for a channel that was not allowed"
    assert lists["targets_win_back"].empty and "email" in lists["targets_win_back"].columns


def test_prospects_are_won_where_they_search_and_references_asked_of_the_content():
    stages = ibis.memtable(pd.DataFrame({"customer_id": ["c7", "c8"], "stage": ["decide", "need"], "topic": ["x", "x"]}))
    opinions = ibis.memtable(pd.DataFrame({"customer_id": ["c1", "c6"], "score": [9.0, 3.0]}))
    told = chosen(stages=stages, opinions=opinions)
    assert set(told.loc[told["goal"] == "win", "customer_id"]) == {"c7"}
    asked = told[told["goal"] == "ask for a reference"]
    assert "c6" not in set(asked["customer_id"])


def test_a_whole_book_keeps_to_its_consents():
    said = [("1", "given", 1, "email", None), ("2", "given", 1, None, None), ("2", "withdrawn", 2, None, None)]
    rows = segments.with_customer(consents(said), None).select("person_id", "customer_id").distinct().to_pandas()
    ids = dict(zip(rows["person_id"], rows["customer_id"], strict=True))
    known = people([(one, "x@x.org", None, None, None, None) for one in ids.values()])
    tables = {"customers": known, "consents": consents(said)}
    everyone = segments.analyse(tables, AS_OF, P)
    told = segments.choose_targets(everyone, tables, AS_OF, "UTC", (), P).to_pandas()
    assert told[["customer_id", "channels", "consent"]].values.tolist() == [[ids["1"], "email", "given"]]


def test_prospects_are_worth_what_those_before_them_became():
    rows = segments.segment(everybody(), buyers(VALUE), None, P)
    share, n = segments.conversion(rows, everybody(), AS_OF, P)
    assert (share, n) == (pytest.approx(1 / 3), 3)
    assert segments.conversion(rows, None, AS_OF, P) is None


def test_goals_of_the_book_and_their_owners_are_found():
    goals = (
        Goal(goal="Win back", owner="sales"),
        Goal(goal="retain", owner="service"),
        Goal(goal="acquire", owner="ads"),
    )
    served = {name: best_fit(goals, name) for name in ("win", "keep", "win back", "expand")}
    assert [served[n].owner for n in ("win", "keep", "win back", "expand")] == ["ads", "service", "sales", ""]
    told = chosen(goals=goals)
    assert set(told.loc[told["goal"] == "keep", "owner"]) == {"service"}
    assert told.loc[told["goal"] == "expand", "owner"].isna().all()


def shown(customers) -> ibis.Table:
    return segments.described(segments.segment(customers, buyers(VALUE), None, P), None, customers)


def test_personas_count_all_and_keep_those_without_one_apart():
    rows = [("c1", None, None, "tailor", None, None), ("c7", None, None, "tailor", None, None),
            ("c2", None, None, None, None, None)]  # fmt: skip
    told = segments.personas(shown(people(rows)))
    assert told["persona"].tolist() == ["tailor", "not given"]
    assert told.loc[0, ["customers", "buyers", "mean_clv", "mean_orders"]].tolist() == [2, 1, 900.0, 10.0]
    # of a visitor nothing is known that could be given
    visitors = [(f"v{i}", None, None, None, None, None) for i in range(3)]
    assert segments.personas(shown(people([*rows, *visitors]))).equals(told)
    assert told["share"].sum() == pytest.approx(1.0, abs=1e-5)
    # nor where something was found in what they did
    found = shown(people([*rows, *visitors]))
    found = found.mutate(found_persona=(found["lifecycle"] == "visitor").ifelse("reader", found["found_persona"].cast("string")))
    readers = found.filter(found["found_persona"] == "reader").to_pandas()["customer_id"]
    assert {name for name, *_ in visitors} <= set(readers)
    both = segments.personas(found).set_index("persona")["customers"]
    assert both.drop("reader").to_dict() == told.set_index("persona")["customers"].to_dict()
    assert list(segments.personas(shown(None)).columns) == list(told.columns)


def test_answer_numbers_and_figures_read_well_when_parts_are_missing():
    rows = segments.segment(everybody(), None, None, P)
    lifecycle = segments.by_lifecycle(rows)
    nobody = segments.targets(
        rows, allowed=people([], ("customer_id",)).mutate(channels=ibis.literal("")), value=None, open_cases=None,
        opinions=None, prospect_margin=None,
    )  # fmt: skip
    none = segments.campaigns(nobody, nobody, None, None)
    told = segments.answer(lifecycle, none, consents=True, money=str)
    assert "8 have not bought yet" in told and "Nobody can be put on a list" in told
    assert segments.say_lifecycle(lifecycle) == "Nobody has bought yet"
    assert segments.key_numbers(lifecycle, none)[0].value == 0
    some = none.assign(customers=2, expected_margin=5.0)
    notes = [segments.key_numbers(lifecycle, some, consents=known)[1].note for known in (True, False)]
    assert notes[0].endswith("who may be written to") and "does not say" in notes[1]
    assert segments.say_segments(segments.by_segment(rows)) == "How many customers each segment holds"
    assert segments.grid(rows).shape == (5, 5) and "0%" in segments.say_grid(segments.grid(rows))


def test_the_truth_is_only_scored():
    rows = segments.segment(everybody(), buyers(VALUE), None, P)
    assert segments.score(rows, None, None, None, None, None).empty


def test_a_campaign_tells_who_is_meant_who_allows_it_and_what_it_costs():
    allowed = ibis.memtable(pd.DataFrame({"customer_id": ["c1", "c2", "c7"], "channels": ["email, post", "email", "post"]}))
    value = buyers(VALUE).mutate(clv_low=ibis._["clv"] - 30, clv_high=ibis._["clv"] + 50)
    sent = ibis.memtable(pd.DataFrame({"channel": ["email", "post", "phone"], "cost": [0.01, 1.0, None]}))
    told = segments.campaigns(ibis.memtable(chosen(allowed)), ibis.memtable(chosen()), value, sent).set_index("goal")
    keep, win = told.loc["keep"], told.loc["win"]
    assert (keep["eligible"], keep["customers"], keep["ready"]) == (2, 1, 0.5)
    assert (keep["expected_margin"], keep["low"], keep["high"]) == (900.0, 860.0, 940.0)
    assert keep["cost_to_reach"] == 0.01 and win["cost_to_reach"] == 1.0, "by the cheapest channel that they allow"
    assert pd.isna(win["low"]), "what a prospect brings has no interval"
    assert list(told.reset_index().columns) == list(segments.STAGE.tables[3].names)


def kinds_of(seed: int = 1, n: int = 900):
    """Cells of three made kinds of customers, and which each is of."""
    draw = np.random.default_rng(seed)
    kind = draw.integers(0, 3, n)
    rows = []
    for aspect, names in (("buys", ["coats", "hats", "shoes"]), ("source", ["shop", "pos", "erp"])):
        for _ in range(5):
            usual = np.where(draw.random(n) < 0.85, kind, draw.integers(0, 3, n))
            rows.append(pd.DataFrame({"customer_id": [f"c{i}" for i in range(n)], "aspect": aspect,
                                      "value": np.array(names)[usual], "n": 1.0}))  # fmt: skip
    cells = pd.concat(rows).groupby(["customer_id", "aspect", "value"], as_index=False)["n"].sum()
    return ibis.memtable(cells), pd.Series(kind, index=[f"c{i}" for i in range(n)])


def test_kinds_that_are_there_are_found_named_and_stable(monkeypatch):
    from sklearn.metrics import adjusted_rand_score

    monkeypatch.setattr(found, "KINDS", (2, 3, 5))
    cells, kind = kinds_of()
    kinds = found.find(cells)
    assert len(kinds.names) == 3 and kinds.stability > 0.8
    assert {name.split(", ")[0] for name in kinds.names} <= {
        "buys coats", "buys hats", "buys shoes", "orders through shop", "orders through pos", "orders through erp"
    }  # fmt: skip
    members = found.belong(cells, kinds).to_pandas().set_index("customer_id")
    assert adjusted_rand_score(kind.loc[members.index], members["found_persona"]) > 0.9
    assert found.find(cells).names == kinds.names
    wide = cells.to_pandas().pivot_table(index="customer_id", columns=["aspect", "value"], values="n", fill_value=0.0)
    counts = wide[kinds.chances.index].to_numpy().copy()
    for aspect, rho in kinds.alike.items():
        some = wide[kinds.chances.index].columns.get_level_values(0) == aspect
        counts[:, some] /= 1 + rho * np.maximum(counts[:, some].sum(axis=1, keepdims=True) - 1, 0)
    logs = np.log(kinds.shares) + counts @ np.log(kinds.chances.to_numpy())
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    plain = pd.Series((odds / odds.sum(axis=1, keepdims=True)).max(axis=1), index=wide.index)
    assert np.allclose(plain.loc[members.index], members["found_probability"], atol=1e-5)
    few = cells.filter(cells["customer_id"].isin([f"c{i}" for i in range(100)]))
    assert found.find(few) is None


def test_what_one_customer_does_again_and_again_counts_for_less(monkeypatch):
    """Who always buys the same says with five purchases no more than with one; who draws each anew says five things."""
    monkeypatch.setattr(found, "_TRIED", 1)
    draw, n = np.random.default_rng(1), 2000
    stuck = np.eye(3)[draw.integers(0, 3, n)] * 5
    fresh = draw.multinomial(5, [0.5, 0.3, 0.2], n).astype(float)
    halfway = np.where(np.arange(n)[:, None] % 2, stuck, draw.multinomial(5, [1 / 3] * 3, n))
    aspect = np.repeat(["buys", "source", "tier"], 3)
    counts, alike = found._as_it_counts(np.hstack([stuck, fresh, halfway]), aspect, 1)
    assert alike["buys"] == pytest.approx(1.0, abs=0.01) and alike["source"] == pytest.approx(0.0, abs=0.03)
    assert alike["tier"] == pytest.approx(0.5, abs=0.05)
    assert counts[:, aspect == "buys"].sum(axis=1) == pytest.approx(1.0, abs=0.05)
    assert counts[:, aspect == "source"].sum(axis=1).min() > 4.3
    assert counts[:, aspect == "tier"].sum(axis=1) == pytest.approx(5 / (1 + 0.5 * 4), abs=0.15)


def test_the_ideal_customer_is_who_we_win_and_somebody_is_missing():
    n = 120
    rows = pd.DataFrame(
        {"opportunity_source": "crm", "opportunity_id": [f"o{i}" for i in range(n)], "account_id": [f"a{i % 40}" for i in range(n)],
         "is_won": [i % 2 == 0 or i % 5 == 0 for i in range(n)], "region": "north",
         "industry": ["hotel" if i % 2 == 0 else "school" for i in range(n)]}
    )  # fmt: skip
    roles = pd.DataFrame({"opportunity_source": "crm", "opportunity_id": [f"o{i}" for i in range(n) if i % 40],
                          "role": ["buyer" if i % 3 else "decider" for i in range(n) if i % 40]})  # fmt: skip
    told = market.ideal(ibis.memtable(rows), ibis.memtable(roles), None).set_index("value")
    assert told.loc["hotel", "won"] == 1.0 and told.loc["hotel", "verdict"] == "wins more"
    assert told.loc["school", "verdict"] == "wins less" and told.loc["north", "verdict"] == "as usual"
    assert (told["low"] <= told["won"] + 1e-9).all() and (told["won"] <= told["high"] + 1e-9).all()
    missing = market.missing_roles(ibis.memtable(rows), ibis.memtable(roles)).set_index("account_id")
    assert missing.loc["a0", "missing"] == "buyer, decider" and missing.loc["a0", "known"] == ""
    for account, part in rows.groupby("account_id"):
        at_table = set(roles.loc[roles["opportunity_id"].isin(part["opportunity_id"]), "role"])
        gone = {"buyer", "decider"} - at_table
        assert (account in missing.index) == bool(gone)
        assert not gone or set(missing.loc[account, "missing"].split(", ")) == gone
