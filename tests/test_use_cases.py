"""What acting on the data would have earned: computed a second time, and never with what came later."""

from __future__ import annotations

import datetime as dt

import ibis
import numpy as np
import pandas as pd
import pytest

from clientbook import use_cases
from clientbook.book import Goal
from clientbook.customers import record_id
from clientbook.stage import NothingToShow

AS_OF = dt.date(2026, 7, 1)
P = use_cases.UseCasesParameters(holdout_days=100, window_days=20, draws=200)
ORIGIN = AS_OF - dt.timedelta(days=100)


def made(seed: int, customers: int = 200, lines: int = 2400) -> dict[str, pd.DataFrame]:
    draw = np.random.default_rng(seed)
    days = pd.Timestamp(AS_OF) - pd.Timedelta(days=1) - pd.to_timedelta(draw.integers(0, 600, lines), unit="D")
    orders = pd.DataFrame(
        {
            "person_source": "shop",
            "person_id": [f"{int(n):03d}" for n in draw.gamma(1.0, customers / 4, lines) % customers],
            "ordered_at": pd.to_datetime(days) + pd.to_timedelta(draw.integers(0, 86_000, lines), unit="s"),
            "ordered_on": pd.to_datetime(days).date,
            "order_source": "shop",
            "order_id": [f"o{i}" for i in range(lines)],
            "product_source": "erp",
            "product_id": draw.choice(["p1", "p2", "p3"], lines),
            "quantity": draw.choice([1.0, 2.0, 0.0], lines, p=[0.6, 0.3, 0.1]),
            "amount": np.round(draw.gamma(2.0, 40.0, lines), 2),
            "arrival": np.arange(lines),
        }
    )
    picked = orders.iloc[::7]
    returns = pd.DataFrame(
        {
            "order_source": "shop",
            "order_id": picked["order_id"],
            "product_source": "erp",
            "product_id": picked["product_id"],
            "quantity": 1.0,
            "amount": np.round(picked["amount"] / 2, 2),
            "returned_at": picked["ordered_at"] + pd.to_timedelta(draw.integers(1, 90, len(picked)), unit="D"),
        }
    )
    products = pd.DataFrame({"source": "erp", "product_id": ["p1", "p2"], "unit_cost": [10.0, 20.0]})
    return {"orders": orders, "returns": returns.reset_index(drop=True), "products": products}


def order_lines(data) -> ibis.Table:
    tables = [ibis.memtable(data[name]) if name in data else None for name in ("orders", "returns", "products")]
    return use_cases.order_lines(*tables, None)


def plain(data, p) -> dict[str, tuple[float, float, float]]:
    """Predicted margin, spend, and margin afterwards of everybody who waits, by loops over rows."""
    cost = dict(zip(data["products"]["product_id"], data["products"]["unit_cost"], strict=True))
    lines = []
    orders = {}
    for row in data["orders"].itertuples():
        if row.quantity > 0:
            orders[row.order_id] = row
            margin = row.amount - cost.get(row.product_id, 0.0) * row.quantity
            lines.append((row.person_id, row.ordered_on, row.amount, margin, None))
    for row in data["returns"].itertuples():
        if row.order_id in orders:
            order = orders[row.order_id]
            margin = cost.get(row.product_id, 0.0) * row.quantity - row.amount
            lines.append((order.person_id, order.ordered_on, -row.amount, margin, row.returned_at.date()))

    def history(day):
        told = {}
        for who, on, amount, margin, back in lines:
            if day - dt.timedelta(days=365) <= on < day and (back is None or back < day):
                days, spend, earned = told.get(who, (set(), 0.0, 0.0))
                told[who] = (days | ({on} if back is None else set()), spend + amount, earned + margin)
        return told

    def level(n):
        return max(b for b in (1, 2, 3, 5, 9) if b <= max(n, 1))

    origin = AS_OF - dt.timedelta(days=p.holdout_days)
    earlier = origin - dt.timedelta(days=p.holdout_days)
    again = {who for who, on, _, _, back in lines if back is None and earlier <= on < origin}
    tally: dict[int, list[int]] = {}
    for who, (days, _, _) in history(earlier).items():
        tally.setdefault(level(len(days)), []).append(who in again)
    rates = {n: (sum(came) + 1) / (len(came) + 2) for n, came in tally.items()}
    waiting = {
        who
        for who, on, _, _, back in lines
        if back is None and origin - dt.timedelta(days=p.window_days) <= on < origin
    }
    after = {}
    for who, on, _, margin, _ in lines:
        if on >= origin:
            after[who] = after.get(who, 0.0) + margin
    told = {}
    for who, (days, spend, earned) in history(origin).items():
        if who in waiting:
            rate = rates.get(level(len(days)), np.mean(list(rates.values())))
            told[who] = (earned * rate * p.holdout_days / 365, spend, after.get(who, 0.0))
    return told


@pytest.mark.parametrize("seed", range(3))
def test_candidates_and_margins_equal_a_plain_computation(seed):
    data = made(seed)
    found = use_cases.scarce_stock(order_lines(data), AS_OF, P)
    expected = plain(data, P)
    ids = ibis.memtable(pd.DataFrame({"s": "shop", "p": list(expected)}))
    ids = ids.select("p", c=record_id(ids["s"], ids["p"])).to_pandas().set_index("p")["c"]
    rows = found.candidates.set_index("customer_id")
    assert set(rows.index) == set(ids)
    for who, values in expected.items():
        assert rows.loc[ids[who], ["predicted", "spend", "margin"]].tolist() == pytest.approx(values, abs=1e-4)
    served = sorted(expected, key=lambda who: (-expected[who][0], rows.loc[ids[who], "came"]))
    stock = int(len(served) * P.stock_share)
    margin = sum(expected[who][2] * (1.0 if n < stock else 0.7) for n, who in enumerate(served))
    assert found.margins[use_cases.POLICY] == pytest.approx(margin, abs=0.01)


def test_nothing_after_the_decision_is_used_for_it():
    data = made(4)
    later = data["orders"]["ordered_on"] >= ORIGIN
    changed = {**data, "orders": data["orders"].assign(amount=data["orders"]["amount"] * np.where(later, 50.0, 1.0))}
    changed["returns"] = data["returns"][data["returns"]["returned_at"].dt.date < ORIGIN]
    one, other = (use_cases.candidates(order_lines(d), ORIGIN, P) for d in (data, changed))
    pd.testing.assert_frame_equal(one, other)


def waiting(n: int = 10) -> pd.DataFrame:
    margin = np.array([5.0, 1.0, 9.0, 2.0, 7.0, 3.0, 8.0, 4.0, 6.0, 0.0])[:n]
    return pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(n)],
            "came": range(n),
            "spend": 1.0,
            "predicted": margin,
            "margin": margin,
        }
    )


def test_each_policy_serves_as_many_and_equals_come_in_their_order():
    rows = use_cases.serve(waiting(), 0.6)
    assert rows[list(use_cases.POLICIES)].sum().tolist() == [6] * 4
    assert rows[use_cases.BASELINE].tolist() == rows[use_cases.NAIVE].tolist() == [True] * 6 + [False] * 4
    assert set(rows.loc[rows[use_cases.POLICY], "margin"]) == {4.0, 5.0, 6.0, 7.0, 8.0, 9.0}


def test_margin_and_gain_by_hand():
    rows = use_cases.serve(waiting(), 0.6)
    told = use_cases.margins(rows, 0.5)
    assert told[use_cases.BASELINE] == 27 + 0.5 * 18
    assert told[use_cases.POLICY] == 39 + 0.5 * 6
    assert use_cases.margins(rows, 0.0)[use_cases.POLICY] == use_cases.margins(rows, 0.0)[use_cases.BASELINE]


def test_interval_is_that_of_a_plain_bootstrap_and_seeded():
    draw = np.random.default_rng(0)
    n = 600
    margin = draw.gamma(0.6, 100.0, n)
    rows = pd.DataFrame(
        {"customer_id": [f"c{i:04d}" for i in range(n)], "came": range(n), "spend": 1.0,
         "predicted": margin * draw.gamma(2, 1, n), "margin": margin}
    )  # fmt: skip
    rows = use_cases.serve(rows, 0.6)
    p = use_cases.UseCasesParameters(draws=4000)
    low, high = use_cases.bounds(rows, p)
    each = (rows[use_cases.POLICY].astype(int) - rows[use_cases.BASELINE].astype(int)).to_numpy() * margin * 0.3
    sums = [each[draw.integers(0, n, n)].sum() for _ in range(4000)]
    assert [low, high] == pytest.approx(np.quantile(sums, [0.05, 0.95]), rel=0.06)
    assert (low, high) == use_cases.bounds(rows, p)
    assert use_cases.bounds(rows, p, use_cases.BASELINE) == (0.0, 0.0)


def test_table_names_goal_owner_and_assumption():
    found = use_cases.scarce_stock(order_lines(made(1)), AS_OF, P)
    row = use_cases.table(found, (Goal(goal="retain", owner="service"),), P).iloc[0]
    assert (row["goal"], row["owner"], row["n"]) == ("retain", "service", len(found.candidates))
    assert row["incremental_margin"] == pytest.approx(row["policy_margin"] - row["baseline_margin"], abs=1e-5)
    assert row["low"] <= row["incremental_margin"] <= row["high"]
    assert "loses 30%" in row["method"]
    assert use_cases.table(found, (), P).iloc[0]["goal"] == "keep"
    told = use_cases.answer(found, P, lambda amount: f"{amount:.0f} EUR")
    assert "assumption" in told and "30%" in told
    simpler = found.margins[use_cases.NAIVE] >= found.margins[use_cases.POLICY]
    assert ("use that one" in told) == simpler
    assert use_cases.by_assumption(found)["extra"].iloc[-1] == pytest.approx(found.gain / 0.3, rel=1e-9)
    assert use_cases.key_numbers(found)[0].n == len(found.candidates)


def test_orders_alone_are_enough_and_too_few_are_told():
    data = made(2)
    alone = use_cases.order_lines(ibis.memtable(data["orders"]), None, None, None)
    found = use_cases.scarce_stock(alone, AS_OF, P)
    assert found.margins[use_cases.CEILING] >= found.margins[use_cases.POLICY]
    assert len(use_cases.policies(found, P)) == 4
    with pytest.raises(NothingToShow, match="it takes 30"):
        use_cases.scarce_stock(alone, AS_OF + dt.timedelta(days=400), P)


def test_without_a_truth_nothing_is_scored():
    assert use_cases.score(order_lines(made(3)), AS_OF, P, None, {}).empty
