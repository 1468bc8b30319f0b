"""How much of a table rests on who is who, counted a second time by loops."""

from __future__ import annotations

import ibis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clientbook import content, journeys
from clientbook.doubts import Doubts, doubts, say

RECORDS = [f"r{i}" for i in range(8)]
KINDS = {"draw": "int64", "draws": "int64", "source": "string", "person_id": "string", "customer_id": "string"}


def table(rows: list[dict], kinds: dict[str, str]) -> ibis.Table:
    return ibis.memtable({name: [row[name] for row in rows] for name in kinds}, schema=kinds)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 7), st.integers(0, 5))),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_rows_of_customers_with_other_records_are_counted_draw_by_draw(main, moves, rows):
    of = {record: f"c{customer}" for record, customer in zip(RECORDS, main, strict=True)}
    moved = {(draw, RECORDS[record]): f"c{to}" for draw, record, to in moves if f"c{to}" != of[RECORDS[record]]}
    draws = table(
        [{"draw": d, "draws": 5, "source": "s", "person_id": r, "customer_id": to} for (d, r), to in moved.items()], KINDS
    )
    identities = table([{"source": "s", "person_id": r, "customer_id": c} for r, c in of.items()], dict(list(KINDS.items())[2:]))
    seen = ibis.memtable({"customer_id": [f"c{i}" for i in rows]}, schema={"customer_id": "string"})
    found = doubts(seen, draws, identities)
    if not moved:
        assert found is None
        return
    n = 5
    touched = [{c for (d, r), to in moved.items() if d == draw for c in (of[r], to)} for draw in range(1, n + 1)]
    each = sum(sum(f"c{i}" in one for i in rows) for one in touched) / n / len(rows)
    ever = sum(any(f"c{i}" in one for one in touched) for i in rows) / len(rows)
    assert found.draws == n and abs(found.each - each) < 1e-12 and abs(found.ever - ever) < 1e-12


def test_it_is_said_in_words_and_nothing_where_nothing_was_matched():
    assert say(None, "messages") == "" == content.say_doubts(None, None, None)
    assert journeys.say_doubts(ibis.memtable({"customer_id": ["c1"]}), {}) == ""
    assert say(Doubts(20, 0.012, 0.05), "messages") == (
        "Who is who is not certain: in 20 other plausible ways to put records together, 1.2% of the messages on average belong "
        "to a customer who has other records there, and 5.0% ever do."
    )
    assert say(Doubts(20, 0.0, 0.0), "events").endswith("none of these events is another customer's.")
