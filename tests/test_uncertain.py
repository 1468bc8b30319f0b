"""Other plausible ways to put records together: as often as they are probable, and consistent."""

from __future__ import annotations

import ibis
import numpy as np
import pandas as pd
import pytest
from test_matching import P, edges_of, frames, made_people, table

from clientbook import matching
from clientbook.matching import clusters, uncertain


def drawn(edges, n, draws, apart=None):
    main = clusters.cluster(edges, n, apart=apart)
    return [first.copy() for _, first in uncertain.draw(
        edges, main.tied, unseen=main.unseen, apart=apart, draws=draws, seed=7
    )]  # fmt: skip


def test_a_pair_is_one_as_often_as_it_is_probable():
    edges = edges_of(*[(2 * i, 2 * i + 1, p) for i, p in enumerate((0.1, 0.3, 0.5, 0.9, 0.01, 1.0))])
    told = np.mean([first[1::2] == first[::2] for first in drawn(edges, 12, 3_000)], axis=0)
    assert told[:4] == pytest.approx([0.1, 0.3, 0.5, 0.9], abs=0.03)
    # what is as good as certain is the same in every draw
    assert told[4] == 0 and told[5] == 1


def test_draws_are_consistent_and_agree_with_the_mean_between_parts():
    """A sure pair and a third: it joins both or none, as often as its mean probability with the two."""
    edges = edges_of((0, 1, 0.999), (0, 2, 0.8), (1, 2, 0.4))
    firsts = np.array(drawn(edges, 3, 4_000))
    assert (firsts[:, 1] == 0).mean() > 0.99
    assert (firsts[:, 2] == 0).mean() == pytest.approx(0.6, abs=0.03)


def test_what_is_impossible_is_so_in_every_draw():
    born = np.array([19700503, 19811224, 0])
    apart = clusters.Apart(np.full(3, -1), born)
    firsts = np.array(drawn(edges_of((0, 1, 0.9), (1, 2, 0.5)), 3, 200, apart))
    assert (firsts[:, 1] == 1).all() and 0 < (firsts[:, 2] == 1).mean() < 1


def test_groups_know_nothing_of_each_other():
    edges = edges_of(*[(2 * i, 2 * i + 1, 0.5) for i in range(200)])
    together = np.array([(first[1::2] == first[::2]).mean() for first in drawn(edges, 400, 300)])
    # the share of 200 independent tosses
    assert together.std() == pytest.approx(np.sqrt(0.25 / 200), rel=0.2)


def test_the_table_holds_what_differs_and_nothing_else(engine):
    people, _ = made_people(500, 4)
    aliases = table(
        "aliases",
        [{"source": "web", "person_source": "web", "person_id": f"k{i}", "other_source": "crm", "other_person_id": str(i)}
         for i in range(0, 500, 3)],
    )  # fmt: skip
    given = {"people": people, "aliases": aliases}
    matched = matching.match(given, engine, "DE", P)
    told = frames(matched)
    rows, main = told["identity_draws"], told["identities"].set_index(["source", "person_id"])["customer_id"]
    assert len(rows) and set(rows["draw"]) <= set(range(1, 21))
    assert not rows.duplicated(["draw", "source", "person_id"]).any()
    before = main[pd.MultiIndex.from_frame(rows[["source", "person_id"]])].to_numpy()
    assert (before != rows["customer_id"].to_numpy()).all()
    # a browser goes with whom it logged in as
    for _, one in rows.groupby("draw"):
        now = main.copy()
        now[pd.MultiIndex.from_frame(one[["source", "person_id"]])] = one["customer_id"].to_numpy()
        for i in range(0, 500, 3):
            if ("crm", str(i)) in now.index:
                assert now["web", f"k{i}"] == now["crm", str(i)]
    again = matching.match(given, engine, "DE", P)
    pd.testing.assert_frame_equal(frames(again)["identity_draws"], rows)
    assert "other ways" in matching.say_draws(ibis.memtable(rows), matched.tables["customers"])


def test_without_doubt_there_is_nothing_to_draw(engine):
    orders = table("orders", [{"source": "shop", "person_source": "shop", "person_id": i} for i in ("1", "2")])
    matched = matching.match({"orders": orders}, engine, "DE", P)
    rows = matched.tables["identity_draws"]
    assert rows.count().to_pandas() == 0
    assert "No other way" in matching.say_draws(rows, matched.tables["customers"])


@pytest.fixture(scope="module")
def sold():
    """A made shop whose every third person has a second record; in draw 1 two of them are put together and one is parted."""
    from test_value import made_lines

    lines = made_lines()
    people = sorted(lines["person_id"].unique())
    whose = {person: f"c{int(person) // 3 * 3 if int(person) % 3 == 1 else int(person):05d}" for person in people}
    known = pd.DataFrame({"source": "shop", "person_id": people, "customer_id": [whose[p] for p in people], "probability": 1.0})
    moves = [
        (1, "00002", "c00005"),
        (1, "00007", "cnew"),
        (2, "00010", "c00005"), (2, "00011", "c00005"), (2, "00009", "c00005"),
    ]  # fmt: skip
    moves = [move for move in moves if move[1] in whose]
    n = max(d for d, _, _ in moves)
    draws = pd.DataFrame(
        [(d, n, "shop", p, c) for d, p, c in moves], columns=["draw", "draws", "source", "person_id", "customer_id"]
    )
    returns = pd.DataFrame({
        "person_source": "shop", "person_id": ["00007", "00020", "00002"], "order_source": "shop", "order_id": [None] * 3,
        "amount": [25.0, 40.0, 10.0],
    })  # fmt: skip
    return lines, known, draws, returns


def test_totals_of_draws_equal_a_plain_computation(sold):
    """Beside it: the whole book put together as each draw says, with the same models."""
    import datetime as dt

    from clientbook import value
    from clientbook.value.ledger import shares_of_all
    from clientbook.value.uncertain import _worth

    lines, known, draws, returns = sold
    as_of, p = dt.date(2024, 1, 1), value.ValueParameters(draws=100)
    orders = ibis.memtable(lines.assign(order_source="shop", order_id=pd.Series([None] * len(lines), dtype="string")))
    back = ibis.memtable(returns, schema=dict.fromkeys(returns.columns, "string") | {"amount": "float64"})
    found = value.analyse(orders, back, ibis.memtable(known), None, as_of, p)
    drawn = value.with_other_identities(
        (orders, back, None, None), ibis.memtable(known), ibis.memtable(draws), found, as_of, p
    )  # fmt: skip
    model, spend = found.models[found.chosen], found.spend
    every = shares_of_all(value.summarise(found.history[0], as_of), value.sums(found.history[1], as_of))

    def plain(identities):
        book = value.ledger(orders, back, ibis.memtable(identities))
        bought = book.filter(book["is_purchase"]).select("customer_id", "day", "amount")
        summary = value.with_net(value.summarise(bought, as_of), value.sums(book, as_of), every)
        return float(_worth(summary, model, spend, p)["clv"].sum().to_pandas())

    base, told = plain(known), []
    for number in (1, 2):
        now = known.set_index("person_id")
        mine = draws[draws["draw"] == number].set_index("person_id")["customer_id"]
        now.loc[mine.index, "customer_id"] = mine
        told.append(plain(now.reset_index()) - base)
    total = float(found.value["clv"].sum().to_pandas())
    assert total == pytest.approx(base, rel=1e-6)
    assert abs(told[0]) > 0.01 and abs(told[1]) > 0.01
    assert (drawn.totals["total"] - total).tolist() == pytest.approx(told, abs=0.02)
    assert drawn.totals["customers"].tolist() == [3, 3] and 0 < drawn.share < 0.1
    rows = value.identity_intervals(total, found, drawn, 0.95)
    assert rows["low"][1] <= rows["low"][0] < total < rows["high"][0] <= rows["high"][1]
    assert "lies between" in value.say_identities(total, drawn, lambda amount: f"{amount:.4f}")
    assert value.say_identities(total, drawn, lambda amount: "CNY 3 M").endswith("the total stays at CNY 3 M.")


def test_without_draws_the_interval_is_the_forecasts_own(sold):
    import datetime as dt

    from clientbook import value

    lines, known, draws, _ = sold
    orders, as_of, p = ibis.memtable(lines), dt.date(2024, 1, 1), value.ValueParameters(draws=100)
    found = value.analyse(orders, None, ibis.memtable(known), None, as_of, p)
    for none in (None, ibis.memtable(draws.head(0))):
        drawn = value.with_other_identities((orders, None, None, None), ibis.memtable(known), none, found, as_of, p)
        assert drawn.swing == 0 and len(value.identity_intervals(1.0, found, drawn, 0.95)) == 1
        assert "taken for certain" in value.say_identities(1.0, drawn, str)


def test_what_people_said_holds_in_every_draw():
    edges = pd.DataFrame([(0, 1, 0.5), (2, 3, 0.6), (3, 4, 0.5)], columns=["l", "r", "probability"])
    group = np.array([0, -1, 1, 2, 0, -1])
    apart = clusters.Apart(np.full(6, -1), np.zeros(6, "int64"), group, np.array([[1, 2]]))
    seen = drawn(edges, 6, 200, apart)
    assert all(first[0] == first[4] for first in seen), "two whom no pair ties"
    assert all(first[2] != first[3] for first in seen)
    assert 0 < sum(first[0] == first[1] for first in seen) < 200
    some = apart.of(np.array([2, 3, 5]))
    assert some.group.tolist() == [0, 1, -1] and some.parted.tolist() == [[0, 1]]
