"""What value makes of too little, too much and plainly wrong data."""

from __future__ import annotations

import datetime as dt

import ibis
import numpy as np
import pandas as pd
import pytest

from clientbook import value

AS_OF = dt.date(2024, 1, 1)
P = value.ValueParameters(draws=100, origins=1)


def book_of(rows: list[tuple[str, dt.date, float]], **more) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["person_id", "ordered_on", "amount"])
    return frame.assign(
        source="shop", person_source="shop", quantity=1.0, arrival=np.arange(len(frame)), order_source="shop",
        order_id=[f"o{i}" for i in range(len(frame))],
    ).assign(**more)  # fmt: skip


def made(customers: int = 150, days: int = 360, seed: int = 3) -> list[tuple[str, dt.date, float]]:
    draw = np.random.default_rng(seed)
    rows = []
    for person in range(customers):
        day, rate, leave = int(draw.integers(0, days // 2)), draw.gamma(1.5, 1 / 40), draw.beta(1, 4)
        while day < days:
            rows.append((f"{person:05d}", AS_OF - dt.timedelta(days=days - day), round(draw.gamma(3, 10), 2)))
            if draw.random() < leave:
                break
            day += max(1, int(draw.exponential(1 / rate)))
    return rows


def analysed(frame: pd.DataFrame, returns: pd.DataFrame | None = None, **more):
    return value.analyse(ibis.memtable(frame), None if returns is None else ibis.memtable(returns), None, None, AS_OF, P, **more)


def said(frame: pd.DataFrame) -> str:
    with pytest.raises(value.TooFew) as caught:
        analysed(frame)
    return str(caught.value)


@pytest.fixture(scope="module")
def usual() -> pd.DataFrame:
    return book_of(made())


def test_nobody_bought_again():
    words = said(book_of([(f"{i:03d}", AS_OF - dt.timedelta(days=1 + i), 10.0) for i in range(200)]))
    assert "too few" in words
    assert "200 customers bought on 200 days in all, for 2,000" in words and "0 bought again" in words


def test_one_customer():
    words = said(book_of([("1", AS_OF - dt.timedelta(days=i), 10.0) for i in range(1, 300, 30)]))
    assert "too few" in words and "One customer bought on 10 days" in words


def test_all_on_one_day():
    words = said(book_of([(f"{i:03d}", AS_OF - dt.timedelta(days=100), 10.0) for i in range(200)]))
    assert "too few" in words and "200 customers" in words


def test_forty_customers_are_described_but_not_modelled():
    words = said(book_of(made(customers=40)))
    assert "too few for a model" in words
    assert "40 customers bought on" in words and "the best tenth of them" in words


def test_two_weeks():
    words = said(book_of([row for row in made() if row[1] >= AS_OF - dt.timedelta(days=14)]))
    assert "too short" in words and "bought on" in words


def test_an_empty_book():
    assert "no purchase" in said(book_of(made()).assign(quantity=0.0))


def test_a_customer_with_three_thousand_orders():
    rows = [("99999", AS_OF - dt.timedelta(days=i), 20.0) for i in range(1, 3001)]
    # the others came early enough that the backtest sees them
    others = [(who, day - dt.timedelta(days=700), amount) for who, day, amount in made()]
    found = analysed(book_of(rows + others))
    best = found.value.to_pandas().set_index("frequency").loc[2999]
    assert np.isfinite(best[["clv", "clv_low", "clv_high", "expected_orders", "p_alive"]].astype(float)).all()
    assert 250 < best["expected_orders"] < 366
    for model in found.models.values():
        heavy = pd.DataFrame({"frequency": [2999, 400], "recency": [2999, 3000], "T": [2999, 3000]})
        assert np.isfinite(model.expected_orders(365, heavy)).all(), model.name
        assert (model.p_alive(heavy) > 0.8).all(), model.name


def test_orders_in_the_future_are_not_seen(usual):
    late = book_of([("00000", AS_OF + dt.timedelta(days=i), 1e6) for i in range(30)])
    both = pd.concat([usual, late.assign(order_id=[f"z{i}" for i in range(len(late))])], ignore_index=True)
    pd.testing.assert_frame_equal(analysed(both).value.to_pandas(), analysed(usual).value.to_pandas())


def test_zero_and_negative_amounts(usual):
    odd = usual.assign(amount=usual["amount"].where(usual.index % 7 > 0, 0.0))
    refunds = book_of([("00001", AS_OF - dt.timedelta(days=5), -40.0), ("00002", AS_OF - dt.timedelta(days=5), -1.0)])
    found = analysed(pd.concat([odd, refunds], ignore_index=True)).value.to_pandas()
    days = odd.groupby(["person_id", "ordered_on"]).ngroups
    assert found["purchases"].sum() == days, "free goods are purchases, negative amounts are none"
    assert found["gross"].sum() == pytest.approx(odd["amount"].sum())


def test_everything_for_nothing_is_too_little():
    frame = book_of(made())
    assert "too few" in said(frame.assign(amount=0.0))


def test_ids_that_differ_by_case_or_leading_zeros_are_different_people(usual):
    rows = [(name, AS_OF - dt.timedelta(days=50 + i), 10.0) for i, name in enumerate(("7", "07", "007", "a", "A", " a"))]
    extra = book_of(rows).assign(order_id=[f"y{i}" for i in range(len(rows))])
    found = analysed(pd.concat([usual, extra], ignore_index=True)).value.to_pandas()
    assert len(found) == usual["person_id"].nunique() + 6


def test_two_currencies_are_not_added_up(usual):
    mixed = usual.assign(currency=np.where(usual.index % 5 == 0, "USD", "EUR"))
    kept, foreign = value.in_one_currency(ibis.memtable(mixed), "EUR")
    assert foreign.to_dict("records") == [{"currency": "USD", "lines": int((mixed["currency"] == "USD").sum())}]
    assert kept.count().to_pandas() == (mixed["currency"] == "EUR").sum()
    assert "in USD" in value.say_currency(foreign, "EUR")


@pytest.mark.parametrize("delivered", [None, "€", "GBP"])
def test_one_currency_is_left_alone_however_it_is_written(usual, delivered):
    frame = ibis.memtable(usual.assign(currency=pd.array([delivered] * len(usual), dtype="string")))
    kept, foreign = value.in_one_currency(frame, "EUR")
    assert foreign.empty and kept.count().to_pandas() == len(usual)
    assert value.say_currency(foreign, "EUR") == ""


def test_returns_of_unknown_orders_and_people_change_nothing(usual):
    lost = pd.DataFrame(
        {
            "order_source": ["shop"], "order_id": ["nowhere"], "person_source": [None], "person_id": [None],
            "amount": [500.0], "returned_at": [pd.Timestamp("2023-12-01")],
        }
    ).astype({"person_source": "string", "person_id": "string"})  # fmt: skip
    pd.testing.assert_frame_equal(analysed(usual, lost).value.to_pandas(), analysed(usual).value.to_pandas())


def test_somebody_who_sent_back_more_than_they_bought_is_kept_and_flagged(usual):
    spent = usual.groupby("person_id")["amount"].sum()
    back = pd.DataFrame(
        {
            "order_source": "shop", "order_id": [None], "person_source": ["shop"], "person_id": ["00003"],
            "amount": [spent["00003"] * 3], "returned_at": [pd.Timestamp("2023-12-01")],
        }
    ).astype({"order_id": "string"})  # fmt: skip
    found = analysed(usual, back).value.to_pandas()
    assert len(found) == usual["person_id"].nunique()
    loser = found[found["loss_maker"]]
    assert len(loser) == 1 and loser["margin"].iloc[0] < 0
    assert loser["clv_low"].iloc[0] <= loser["clv"].iloc[0] <= max(loser["clv_high"].iloc[0], 0)
