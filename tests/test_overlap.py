"""Through which systems do customers come and go? On made books, beside plain loops."""

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientbook import engine as engines
from clientbook import matching
from clientbook.matching import overlap
from clientbook.tables import Table


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


PEOPLE = ("source", "person_id", "full_name", "given_name", "family_name", "street", "postcode", "birth_date", "email_key",
          "phone", "external_id", "created_at")  # fmt: skip


def people(*rows):
    kinds = dict.fromkeys(PEOPLE, "string") | {"created_at": "timestamp"}
    frame = pd.DataFrame(list(rows), columns=list(PEOPLE)).astype({name: "object" for name in PEOPLE if name != "created_at"})
    return ibis.memtable(frame.where(frame.notna(), None), schema=kinds)


def identities(pairs):
    return ibis.memtable(pd.DataFrame([(s, p, c) for (s, p), c in pairs.items()], columns=["source", "person_id", "customer_id"]))


def customers(pairs):
    told = {}
    for (source, _), customer in pairs.items():
        told.setdefault(customer, set()).add(source)
    return ibis.memtable(pd.DataFrame([(c, ",".join(sorted(s))) for c, s in told.items()], columns=["customer_id", "sources"]))


def day(n):
    return pd.Timestamp(2024, 1, 1) + pd.Timedelta(days=n)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=25)
)
def test_the_flow_is_that_of_a_loop(engine, seen):
    """(system, person, customer, day) in any order: each customer's systems by their first day, then by name."""
    whose = {(s, f"{p}"): f"c{c}" for s, p, c, _ in seen}
    rows = pd.DataFrame(
        [(s, s, f"{p}", "visit", day(d)) for s, p, _, d in seen],
        columns=["source", "person_source", "person_id", "event_name", "occurred_at"],
    )
    flow = overlap.system_flow(identities(whose), {"events": ibis.memtable(rows), "people": None}, engine)
    first = {}
    for s, p, _, d in seen:
        key = whose[s, f"{p}"], s
        first[key] = min(d, first.get(key, d))
    wanted = {}
    for customer in {c for c, _ in first}:
        way = sorted((d, s) for (c, s), d in first.items() if c == customer)
        for step, ((d, s), on) in enumerate(zip(way, [*way[1:], None], strict=True), 1):
            wanted.setdefault((step, s, on[1] if on else None), []).append(on[0] - d if on else None)
    found = {(r.step, r.system_from, r.system_to): (r.customers, r.days) for r in flow.itertuples()}
    assert {key: n for key, (n, _) in found.items()} == {key: len(days) for key, days in wanted.items()}
    for key, days in wanted.items():
        if key[2] is not None:
            assert found[key][1] == pytest.approx(pd.Series(days).median())
    everybody = len({c for c, _ in first})
    assert flow.loc[flow["step"] == 1, "customers"].sum() == everybody
    assert flow.loc[flow["step"] == 1, "share"].sum() == pytest.approx(1, abs=1e-5)


def test_a_record_appears_with_the_first_thing_that_any_table_tells_of_it(engine):
    whose = {("crm", "1"): "c", ("web", "x"): "c"}
    held = people(("crm", "1", *[None] * 9, day(5)))
    events = ibis.memtable(
        pd.DataFrame(
            {"source": ["web"], "person_source": ["web"], "person_id": ["x"], "event_name": ["v"], "occurred_at": [day(2)]}
        )
    )
    flow = overlap.system_flow(identities(whose), {"people": held, "events": events}, engine)
    on = overlap.commonest(flow)
    assert on[["system_from", "system_to", "customers", "days"]].to_numpy().tolist() == [["web", "crm", 1, 3.0]]
    assert "from web to crm" in overlap.say_flow(flow)
    # the crm is where this way ends
    assert flow.iloc[-1][["step", "system_from", "system_to"]].tolist() == [2, "crm", None]


def test_what_stops_a_customer_is_the_nearest_reason(engine):
    nobody, named, alone, met, joined = "c1", "c2", "c3", "c4", "c5"
    whose = {("web", "1"): nobody, ("pos", "1"): named, ("pos", "2"): alone, ("crm", "1"): met, ("shop", "1"): joined,
             ("crm", "2"): joined, ("pos", "3"): met + "x"}  # fmt: skip
    held = people(
        ("web", "1", *[None] * 10),
        ("pos", "1", "Anna Berg", *[None] * 9),
        ("pos", "2", "Bo Lund", *[None] * 5, "bo@lund.test", None, None, None),
        ("crm", "1", "Cy Ek", *[None] * 5, "house@ek.test", None, None, None),
        ("shop", "1", "Di Ek", *[None] * 5, "house@ek.test", None, None, None),
        ("crm", "2", "Di Ek", *[None] * 9),
        # the number is the same, however many blanks stand around it
        ("pos", "3", None, *[None] * 5, None, None, " 77 ", None),
    )
    told = overlap.stopped(identities(whose), customers(whose), held, engine).set_index("reason")
    assert told["customers"].tolist() == [1, 1, 2, 1]
    assert told["share"].sum() == pytest.approx(1)
    assert told.loc[overlap.REASONS[2], "pos"] == 2
    assert told.loc[overlap.REASONS[3], "crm"] == 1
    assert "40%" in overlap.say_stopped(told.reset_index())


def test_a_book_of_ids_alone_knows_only_ids(engine):
    whose = {("shop", "1"): "a", ("shop", "2"): "b"}
    told = overlap.stopped(identities(whose), customers(whose), None, engine)
    assert told["customers"].tolist() == [2, 0, 0, 0]


def test_a_customer_who_appeared_nowhere_makes_no_flow(engine):
    flow = overlap.system_flow(identities({("shop", "1"): "a"}), {"people": None}, engine)
    assert flow.empty
    assert "No table tells" in overlap.say_flow(flow)
    assert overlap.draw_flow(flow).axes


def test_views_count_down_from_all():
    frame = pd.DataFrame(
        {"systems": ["a", "b", "a,b,c"], "n_systems": [1, 1, 3], "customers": [5, 3, 2], "share": [0.5, 0.3, 0.2]}
    )
    views = overlap.one_view(frame)
    assert views["customers"].tolist() == [8, 0, 2]
    assert views["at_least"].tolist() == pytest.approx([1, 0.2, 0.2])
    assert overlap.say_one_view(views).startswith("20%")
    assert "one system alone" in overlap.say_one_view(overlap.one_view(frame.head(2)))


def test_the_map_has_a_band_for_each_way_as_wide_as_its_customers():
    from matplotlib.patches import PathPatch, Rectangle

    flow = pd.DataFrame(
        [(1, "shop", "web", 30, 0.3, 4.0), (1, "shop", None, 70, 0.7, None), (2, "web", None, 30, 0.3, None)],
        columns=["step", "system_from", "system_to", "customers", "share", "days"],
    )
    ax = overlap.draw_flow(flow).axes[0]
    bands = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert len(bands) == 1
    left = [y for x, y in bands[0].get_path().vertices if x == pytest.approx(0.09)]
    assert max(left) - min(left) == pytest.approx(30)
    assert sorted(patch.get_height() for patch in ax.patches if isinstance(patch, Rectangle)) == [30, 100]
    assert "shop is where more customers appear first than anywhere else (100%)" in overlap.say_flow(flow)


def test_the_table_declares_what_it_writes():
    table: Table = overlap.TABLES[0]
    flow = overlap.system_flow(identities({("a", "1"): "c"}), {"people": None}, None)
    assert list(flow.columns) == [column.name for column in table.columns]


def test_visitors_are_told_apart_from_known_customers():
    frame = pd.DataFrame({"systems": ["crm", "crm,shop", "pos"], "n_systems": [1, 2, 1], "customers": [3, 6, 1], "share": [0.3, 0.6, 0.1]})
    told = matching.by_systems(frame, 40)
    assert told["systems"].tolist() == ["1 system", "2 systems", "visitors: only an id"]
    assert told["customers"].tolist() == [4, 6, 40] and told["share"].head(2).tolist() == [0.4, 0.6] and told["share"].isna().iloc[2]
    assert matching.say_systems(told) == "40% of the known customers are known to one system alone; 40 visitors beside them are ids alone"
    assert matching.say_systems(matching.by_systems(frame)).endswith("one system alone")
    nobody = matching.by_systems(frame.head(0), 5)
    assert nobody["customers"].tolist() == [5] and overlap.one_view(frame.head(0)).empty
