"""What acting on the data would have earned: computed a second time, and never with what came later."""

from __future__ import annotations

import datetime as dt

import ibis
import numpy as np
import pandas as pd
import pytest

from clientbook import use_cases
from clientbook.book import Goal, Settings, Source
from clientbook.customers import record_id
from clientbook.tables import CANONICAL
from clientbook.use_cases import catalogue, found, history, losses, messages, reach, retarget, waiting, worth

AS_OF = dt.date(2026, 7, 1)
P = use_cases.UseCasesParameters(holdout_days=100, window_days=20, draws=200)
GOAL = Goal(goal="retain", owner="service")
ORIGIN = AS_OF - dt.timedelta(days=100)


def made(seed: int, customers: int = 200, lines: int = 2400) -> dict[str, pd.DataFrame]:
    draw = np.random.default_rng(seed)
    days = pd.Timestamp(AS_OF) - pd.Timedelta(days=1) - pd.to_timedelta(draw.integers(0, 600, lines), unit="D")
    orders = pd.DataFrame(
        {
            "source": draw.choice(["shop", "pos"], lines),
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
            "source": "shop",
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


def test_years_back_are_years_of_the_calendar():
    days = ["2023-06-30", "2023-07-01", "2024-02-29", "2024-06-30", "2024-07-01", "2026-06-30", "2026-07-01"]
    lines = pd.DataFrame({"customer_id": list("abcdeaf"), "day": pd.to_datetime(days), "returned_on": None, "margin": 1.0})
    lines = ibis.memtable(lines, schema={"customer_id": "string", "day": "date", "returned_on": "date", "margin": "float64"})
    told = worth.new_and_known(lines, AS_OF)
    assert told["year_to"].tolist() == [dt.date(2024, 7, 1), dt.date(2025, 7, 1), dt.date(2026, 7, 1)]
    assert told["won"].tolist() == [3, 1, 0] and told["buyers"].tolist() == [3, 1, 1]


def order_lines(data) -> ibis.Table:
    tables = [ibis.memtable(data[name]) if name in data else None for name in ("orders", "returns", "products")]
    return use_cases.order_lines(*tables, None)


def plain_lines(data) -> list[tuple]:
    """Person, source, day, amount, margin, day of return, by a loop over rows."""
    cost = dict(zip(data["products"]["product_id"], data["products"]["unit_cost"], strict=True))
    told, orders = [], {}
    for row in data["orders"].itertuples():
        if row.quantity > 0:
            orders[row.order_id] = row
            margin = row.amount - cost.get(row.product_id, 0.0) * row.quantity
            told.append((row.person_id, row.source, row.ordered_on, row.amount, margin, None))
    for row in data["returns"].itertuples():
        if row.order_id in orders:
            order = orders[row.order_id]
            margin = cost.get(row.product_id, 0.0) * row.quantity - row.amount
            told.append((order.person_id, order.source, order.ordered_on, -row.amount, margin, row.returned_at.date()))
    return told


def plain_around(lines, who, on, days):
    """Purchases, gross, spend, earned before, margin after, of one person in one source."""
    before = [x for x in lines if x[0] == who and on - dt.timedelta(days=365) <= x[2] < on and (x[5] is None or x[5] < on)]
    after = [x for x in lines if x[0] == who and on <= x[2] < on + dt.timedelta(days=days)]
    bought = [x for x in before if x[5] is None]
    return (
        len({x[2] for x in bought}), sum(x[3] for x in bought), sum(x[3] for x in before), sum(x[4] for x in before),
        sum(x[4] for x in after),
    )  # fmt: skip


def named(ids) -> pd.Series:
    rows = ibis.memtable(pd.DataFrame({"s": "shop", "p": list(ids)}))
    return rows.select("p", c=record_id(rows["s"], rows["p"])).to_pandas().set_index("p")["c"]


@pytest.mark.parametrize("seed", range(2))
def test_what_was_known_and_what_came_equal_a_plain_computation(seed):
    data = made(seed)
    rows = waiting.queue(order_lines(data), ORIGIN, P.window_days, P.holdout_days)
    lines = plain_lines(data)
    start = ORIGIN - dt.timedelta(days=P.window_days)
    people = sorted({x[0] for x in lines if x[5] is None and start <= x[2] < ORIGIN})
    ids = named(people)
    assert set(rows["customer_id"]) == set(ids)
    assert rows["key"].is_unique is False, "a row for each source"
    columns = ["purchases", "gross", "spend", "earned", "margin"]
    for source in ("shop", "pos"):
        inside = [x for x in lines if x[1] == source]
        part = rows[rows["source"] == source].set_index("customer_id")
        for who in people[::5]:
            if ids[who] in part.index:
                expected = plain_around(inside, who, ORIGIN, P.holdout_days)
                assert part.loc[ids[who], columns].tolist() == pytest.approx(expected, abs=1e-4)
    whole = history.summed(rows).set_index("customer_id")
    less = history.summed(rows, "pos").set_index("customer_id")
    for who in people[::7]:
        assert whole.loc[ids[who], "earned"] == pytest.approx(plain_around(lines, who, ORIGIN, 1)[3], abs=1e-4)
        alone = plain_around([x for x in lines if x[1] == "shop"], who, ORIGIN, 1)
        assert less.loc[ids[who], "earned"] == pytest.approx(alone[3], abs=1e-4)
        assert less.loc[ids[who], "margin"] == whole.loc[ids[who], "margin"], "what came is what came"


def test_nothing_after_the_decision_is_used_for_it():
    data = made(4)
    later = data["orders"]["ordered_on"] >= ORIGIN
    changed = {**data, "orders": data["orders"].assign(amount=data["orders"]["amount"] * np.where(later, 50.0, 1.0))}
    changed["returns"] = data["returns"][data["returns"]["returned_at"].dt.date < ORIGIN]
    loss = losses.assumed(0.2)
    served = []
    for each in (data, changed):
        lines = order_lines(each)
        rows, rates = waiting.queue(lines, ORIGIN, 20, 100), history.active_rates(lines, ORIGIN, 100)
        served.append(waiting.serve(rows, rates, loss, stock_share=0.6, days=100))
    known = ["customer_id", "came", "spend", "at_risk", waiting.BY_VALUE, waiting.BY_SPEND, waiting.ONE_SYSTEM]
    pd.testing.assert_frame_equal(served[0][known], served[1][known])


def test_the_best_are_chosen_within_their_group_and_equals_in_their_order():
    score, tie = np.array([3.0, 1, 3, 2, 5, 5, 1, 1]), np.arange(8)
    assert history.best(score, tie, 0.5).tolist() == [True, False, True, False, True, True, False, False]
    week = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert history.best(score, tie, 0.5, week).tolist() == [True, False, True, False, True, True, False, False]
    assert history.best(np.ones(4), np.array([3, 2, 1, 0]), 0.5).tolist() == [False, False, True, True]
    assert history.best(np.array([]), np.array([]), 0.5).tolist() == []


def waited(share: float, seed: int = 0, orders: int = 60_000) -> pd.DataFrame:
    """Orders whose customers come back less often, by a known share, when they were late."""
    draw = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "day": [dt.date(2025, 1, 1) + dt.timedelta(days=int(d)) for d in draw.integers(0, 300, orders)],
            "purchases": draw.integers(1, 12, orders), "size": draw.integers(2, 8, orders),
        }
    )  # fmt: skip
    december = pd.to_datetime(rows["day"]).dt.month == 12
    rows["late"] = draw.random(orders) < np.where(december, 0.3, 0.1)
    usual = np.where(december, 0.2, 0.6)
    rows["back"] = (draw.random(orders) < usual * np.where(rows["late"], 1 - share, 1.0)).astype(int)
    return rows.assign(n=1)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_lateness_costs_is_found_in_spite_of_christmas(share):
    found_one = losses.measure(ibis.memtable(waited(share)), AS_OF, 0.9)
    cells = losses.cell(np.array([1, 5, 11]), np.array([30.0, 300.0, 3000.0]))
    assert found_one.measured and found_one.share(cells) == pytest.approx([share] * 3, abs=0.06)
    drawn = found_one.share(cells, found_one.drawn(500, np.random.default_rng(0)))
    low, high = np.quantile(drawn, [0.005, 0.995], axis=0)
    assert (low <= share + 1e-9).all() and (share <= high + 1e-9).all()


def test_with_too_few_late_orders_the_loss_is_assumed():
    few = waited(0.3, orders=200)
    loss = losses.measure(ibis.memtable(few), AS_OF, 0.25)
    assert not loss.measured and loss.share(np.array([100, 905])) == pytest.approx([0.25, 0.25])


def test_what_came_on_the_day_it_was_promised_for_was_not_late(engine):
    orders = ibis.memtable(pd.DataFrame({
        "order_source": "shop", "order_id": ["o0", "o1"], "person_source": "shop", "person_id": ["a", "b"], "arrival": [0, 1],
        "ordered_on": AS_OF, "quantity": 1.0, "amount": 9.0,
    }))  # fmt: skip
    day = pd.Timestamp("2024-05-01 22:00")  # 2 May begins in Berlin
    came = pd.DataFrame({"order_source": "shop", "order_id": ["o0", "o1"], "promised_at": day})
    came["delivered_at"] = [day + pd.Timedelta(hours=14), day + pd.Timedelta(hours=24)]
    told = losses.counted(orders, ibis.memtable(came), None, engine, "Europe/Berlin").to_pandas()
    assert sorted(told["late"]) == [False, True]


def served(margin=(5.0, 1.0, 9.0, 2.0, 7.0, 3.0, 8.0, 4.0, 6.0, 0.0)) -> pd.DataFrame:
    n = len(margin)
    rows = pd.DataFrame({"margin": margin, "purchases": 1.0, "gross": 10.0, "first": AS_OF, "customer_id": "c"})
    came, value = np.arange(n), np.array(margin)
    rows[waiting.FIRST_COME] = history.best(-came, came, 0.6)
    return rows.assign(**{waiting.BY_VALUE: history.best(value, came, 0.6)})


def test_margin_and_gain_by_hand():
    loss = losses.assumed(0.5)
    by = dict(draws=200, interval=0.9, seed=1)
    gain, low, high = waiting.compared(served(), loss, waiting.FIRST_COME, waiting.BY_VALUE, **by)
    assert waiting.earned(served(), loss, waiting.FIRST_COME) == pytest.approx(27 + 0.5 * 18)
    assert gain == pytest.approx((39 + 0.5 * 6) - (27 + 0.5 * 18)) and low < gain < high
    assert waiting.compared(served(), loss, waiting.FIRST_COME, waiting.FIRST_COME, **by) == (0.0, 0.0, 0.0)
    assert waiting.compared(served(), losses.assumed(0.0), waiting.FIRST_COME, waiting.BY_VALUE, **by)[0] == 0


@pytest.mark.parametrize("n", [600, 5000])
def test_the_interval_is_that_of_a_plain_bootstrap_and_seeded(n):
    draw = np.random.default_rng(0)
    x = draw.gamma(0.6, 100.0, (n, 2)) * np.array([1.0, -0.3])
    sums = found.resampled(x, 4000, np.random.default_rng(1)).sum(axis=1)
    plain = [x[draw.integers(0, n, n)].sum() for _ in range(2000)]
    spread = np.quantile(plain, 0.95) - np.quantile(plain, 0.05)
    assert np.quantile(sums, [0.05, 0.95]) == pytest.approx(np.quantile(plain, [0.05, 0.95]), abs=0.2 * spread)
    assert (sums == found.resampled(x, 4000, np.random.default_rng(1)).sum(axis=1)).all()


def mailing(uplift: float, n: int = 6000, seed: int = 3):
    """A trial among customers of whom half leave four times as much for the same revenue."""
    draw = np.random.default_rng(seed)
    dear, treated = np.arange(n) % 2 == 0, draw.random(n) < 0.5
    on = pd.Timestamp("2026-01-10")
    ordered = draw.random(n) < 0.2 + uplift * treated
    return pd.DataFrame(
        {
            "key": [f"c{i:05d}" for i in range(n)], "customer_id": [f"c{i:05d}" for i in range(n)], "on": on,
            "treated": treated, "in_source": "news", "source": "shop", "purchases": 2.0,
            "gross": draw.gamma(4, 50, n), "spend": 200.0, "earned": np.where(dear, 160.0, 40.0),
            "last": on - pd.to_timedelta(draw.integers(1, 300, n), unit="D"), "first": pd.Timestamp("2024-01-01"),
            "margin": np.where(dear, 80.0, 20.0), "orders": 1.0,
            "next": np.where(ordered, on + pd.Timedelta(days=9), on + pd.Timedelta(days=99)),
        }
    )  # fmt: skip


def test_retargeting_by_net_value_is_paid_by_the_trial():
    rates = pd.Series({(2, 0): 0.5, (2, 91): 0.5, (2, 182): 0.5})
    one = retarget.retarget(mailing(0.1), rates, P)
    chosen = one.units
    assert chosen["new"].sum() == chosen["usual"].sum() == int(6000 * P.contact_share)
    assert (chosen.loc[chosen["new"], "earned"] == 160).all()
    true = 0.1 * (chosen["margin"] * (chosen["new"].astype(int) - chosen["usual"].astype(int))).sum()
    assert one.low < true < one.high and one.low > 0
    none = retarget.retarget(mailing(0.0), rates, P)
    assert none.low < 0 < none.high


def test_who_has_not_been_seen_for_long_comes_back_less_often():
    """By hand: three who bought once and lately, of whom two come back, and two who bought once and long ago, of whom none."""
    bought = {"a": (1, 200), "b": (1, 200), "c": (200,), "d": (400,), "e": (450,)}
    rows = pd.DataFrame(
        [
            {"customer_id": who, "day": ORIGIN - dt.timedelta(days=n), "returned_on": None}
            for who, days in bought.items() for n in days
        ]
    )  # fmt: skip
    schema = {"customer_id": "string", "day": "date", "returned_on": "date"}
    rates = history.active_rates(ibis.memtable(rows, schema=schema), ORIGIN, 180)
    usual = 3 / 7
    assert rates.loc[(1, 0)] == pytest.approx((2 + 4 * usual) / 7)
    assert rates.loc[(1, 182)] == pytest.approx((0 + 4 * usual) / 6) and rates.loc[(1, 91)] == pytest.approx(usual)
    who = pd.DataFrame({"on": ORIGIN, "last": [ORIGIN - dt.timedelta(days=d) for d in (5, 300)], "purchases": 1, "earned": 100.0})
    soon, late = history.foreseen(who, rates, 365)
    assert soon == pytest.approx(100 * rates.loc[(1, 0)], abs=1e-5) and late < soon
    assert history.lapse(np.array([0, 90, 91, 500, np.nan])).tolist() == [0, 0, 91, 182, 182]


def post(n: int = 4000, seed: int = 5) -> pd.DataFrame:
    """Messages of which a third is wrong; two in a hundred clicks of customers in use bring an order."""
    draw = np.random.default_rng(seed)
    stage, wrong = draw.choice(["need", "use"], n), draw.random(n) < 0.33
    clicked = (draw.random(n) < 0.3).astype(int)
    days = pd.to_timedelta(draw.integers(1, 700, n), unit="D")
    rows = pd.DataFrame(
        {
            "source": "news", "message_id": [f"m{i}" for i in range(n)],
            "customer_id": [f"c{i % 500}" for i in range(n)], "sent_at": pd.Timestamp(AS_OF) - days, "channel": "email",
            "verdict": np.where(wrong, "over_cap", "right"), "stage": stage, "cost": 0.5, "clicked": clicked,
            "brought": clicked * (stage == "use") * (draw.random(n) < 0.05), "unclicked": 0, "each": 40.0,
        }
    )  # fmt: skip
    return rows.assign(**{name: wrong & (name == "over_cap") for name in messages.REASONS})


def test_wrong_messages_cost_what_they_cost_and_bring_what_they_bring():
    rows = post()
    one = messages.stop_wrong(ibis.memtable(rows), AS_OF, P)
    inside = rows[(rows["sent_at"] >= pd.Timestamp(AS_OF) - pd.Timedelta(days=365)) & (rows["verdict"] != "right")]
    assert one.n == len(inside) and one.policy == 0
    true = 0.5 * len(inside) - 0.05 * 40 * (inside["clicked"] * (inside["stage"] == "use")).sum()
    assert one.low < true < one.high
    assert messages.stop_wrong(ibis.memtable(rows), AS_OF, P, frozenset({"over_cap"})).n == 0, "what is not seen is sent"
    letters = rows.assign(unclicked=(rows.index % 50 == 0).astype(int))
    fewer = messages.stop_wrong(ibis.memtable(letters), AS_OF, P)
    assert one.gain - fewer.gain == pytest.approx(40.0 * letters.loc[inside.index, "unclicked"].sum())


def test_an_order_belongs_to_the_last_message_clicked_or_else_to_the_last_sent(engine):
    """Of a campaign: two e-mails and a letter to somebody who ordered three times."""
    at = pd.Timestamp
    sent = [
        ("m1", "email", "2026-03-01", "2026-03-02"), ("m2", "email", "2026-03-03", None), ("m3", "letter", "2026-04-01", None),
        ("m4", "email", "2026-05-01", None),
    ]  # fmt: skip
    post = pd.DataFrame(
        {
            "source": "news", "message_id": [one[0] for one in sent], "customer_id": "c", "channel": [one[1] for one in sent],
            "sent_at": [at(one[2]) for one in sent], "verdict": "right", "stage_at_send": "use",
            **{name: False for name in messages.REASONS},
        }
    )  # fmt: skip
    clean = post[["source", "message_id"]].assign(
        cost=0.1, clicked_at=[at(one[3]) if one[3] else pd.NaT for one in sent], content_id="spring"
    )
    orders = pd.DataFrame(
        {
            "person_source": "shop", "person_id": "c", "campaign": ["spring"] * 4 + ["other"], "order_id": list("vwxyz"),
            "ordered_at": [at("2026-03-04"), at("2026-04-20"), at("2026-06-20"), at("2026-05-01"), at("2026-04-02")],
        }
    )  # fmt: skip
    bought = {"customer_id": ["c"], "margin": [30.0], "day": [dt.date(2026, 1, 1)], "returned_on": [None]}
    lines = ibis.memtable(pd.DataFrame(bought), schema={"customer_id": "string", "margin": "float64", "day": "date", "returned_on": "date"})
    who = pd.DataFrame({"source": ["shop"], "person_id": ["c"], "customer_id": ["c"]})
    told = messages.sent(
        ibis.memtable(clean), ibis.memtable(post), lines, ibis.memtable(orders), ibis.memtable(who), AS_OF, engine
    )
    rows = told.order_by("message_id").select("message_id", "brought", "unclicked").to_pandas()
    assert rows.to_numpy().tolist() == [["m1", 1, 0], ["m2", 0, 0], ["m3", 0, 1], ["m4", 0, 1]]


def test_a_source_is_worth_what_is_lost_without_it():
    whole = {
        name: found.Found(name, 0.0, gain, 0.0, 1.0, 10, 365, "")
        for name, gain in ((catalogue.STOCK, 100.0), (catalogue.WRONG, 50.0), (catalogue.VIEW, 1000.0))
    }
    left = {"shop": {catalogue.STOCK: 10.0, catalogue.WRONG: 50.0}, "news": {catalogue.STOCK: 100.0}}
    sources = {"shop": Source(owner="e", cost_per_year=60), "news": Source(owner="m"), "web": Source()}
    told = worth.leave_one_out(whole, lambda name: left.get(name, dict(zip(whole, (100.0, 50.0), strict=False))), sources)
    told = told.set_index("source")
    assert told["lost"].to_dict() == {"shop": 90.0, "news": 50.0, "web": 0.0}
    assert told.loc["shop", "net"] == 30.0 and pd.isna(told.loc["news", "net"])
    assert told.loc["news", "most_lost_in"] == catalogue.WRONG and pd.isna(told.loc["web", "most_lost_in"])
    assert "shop earns its" in use_cases.say_sources(told.reset_index())


def test_every_declared_need_is_a_canonical_column():
    for case in catalogue.USE_CASES:
        for table, columns in case.needs.items():
            assert set(columns) <= set(CANONICAL[table].names), (case.name, table)
        assert case.campaign and case.team and case.effort and case.weeks > 0


def whole_book(seed: int = 2) -> dict:
    data = made(seed, customers=150, lines=3000)
    tables = {name: ibis.memtable(data[name]) for name in ("orders", "returns")}
    products = data["products"].assign(name="n", topic="t", stock_quantity=1.0)
    return tables | {"products": ibis.memtable(products)}


SETTINGS = Settings(name="b", sources={"shop": {"cost_per_year": 1, "tables": {}}, "pos": {}}, goals=[GOAL])


def test_only_what_can_be_computed_is_and_the_rest_says_what_it_takes(engine):
    done = use_cases.study(whole_book(), SETTINGS, AS_OF, P, engine)
    assert [one.use_case for one in done.found] == [catalogue.STOCK]
    assert set(done.missing["use_case"]) == {catalogue.RETARGET, catalogue.WRONG, catalogue.LATE, catalogue.REACH}
    assert not done.loss.measured and "assumed, not measured" in done.found[0].method
    written = use_cases.table(done.found, SETTINGS.goals)
    assert list(written.columns) == list(use_cases.STAGE.tables[0].names)
    row = written.iloc[0]
    assert (row["goal"], row["owner"], row["team"]) == ("retain", "service", "sales")
    assert row["incremental_margin"] == pytest.approx(row["policy_margin"] - row["baseline_margin"], abs=0.02)
    assert row["low"] <= row["incremental_margin"] <= row["high"]
    counts = dict(use_cases.what_it_takes(written)["needs"].str.extractall(r"(\w+) \((\d+) column").to_numpy())
    assert {name: int(n) for name, n in counts.items()} == {
        one.split(": ")[0]: len(one.split(": ")[1].split(", ")) for one in row["needs"].split("; ")
    }  # fmt: skip
    told = use_cases.answer(done, written, lambda amount: f"{amount:.0f} EUR")
    # what the new bring is a share of the whole only where neither loses
    shares = {each: use_cases.answer(done, written.assign(incremental_margin=10.0, from_new=each), str) for each in (4.0, -3.0, 12.0)}
    assert [each for each, said in shares.items() if "comes from customers won" in said] == [4.0] and "40%" in shares[4.0]
    waits = pd.DataFrame({"policy": [use_cases.waiting.BY_VALUE, use_cases.waiting.BY_SPEND, use_cases.waiting.FORESIGHT],
                          "extra": [5.0, 4.0, 10.0], "low": [1.0, 1.0, 1.0]})  # fmt: skip
    assert use_cases.say_waiting(waits).endswith("50% of what knowing the future would")
    assert use_cases.say_waiting(waits.assign(low=-1.0)).endswith("would, which may be chance")
    assert "4 more could not be computed" in told and use_cases.key_numbers(written)[0].n == 1
    assert list(done.sources.columns) == list(use_cases.STAGE.tables[1].names)
    assert list(done.columns.columns) == list(use_cases.STAGE.tables[2].names)
    idle = set(done.columns.loc[done.columns["decisions"] == 0, "column"])
    assert {"name", "topic", "stock_quantity"} <= idle and "unit_cost" not in idle
    assert done.known["won"].sum() > 0 and done.reasons is None


def test_what_no_decision_uses_changes_no_decision(engine):
    tables = whole_book()
    done = use_cases.study(tables, SETTINGS, AS_OF, P, engine)
    idle = set(done.columns.loc[done.columns["decisions"] == 0, ["table", "column"]].itertuples(index=False, name=None))
    cut = {name: rows.drop(*[column for table, column in idle if table == name]) for name, rows in tables.items()}
    again = use_cases.study(cut, SETTINGS, AS_OF, P, engine)
    pd.testing.assert_frame_equal(use_cases.table(done.found, ()), use_cases.table(again.found, ()))


def test_too_few_are_told(engine):
    done = use_cases.study(whole_book(), SETTINGS, AS_OF + dt.timedelta(days=500), P, engine)
    assert not done.found and "it takes 30" in done.missing["why"].iloc[0]
    assert "too little" in use_cases.answer(done, use_cases.table([], ()), str)


def test_without_a_truth_nothing_is_scored(engine):
    done = use_cases.study(whole_book(), SETTINGS, AS_OF, P, engine)
    assert use_cases.score(done, None, {}, P, AS_OF, "UTC").empty


def test_the_first_come_first_and_the_surest_gain_leads():
    cases = [(catalogue.STOCK, 100.0, 40.0), (catalogue.LATE, 60.0, 50.0), (catalogue.RETARGET, 500.0, -1.0)]
    rows = [found.Found(name, 0.0, gain, low, gain * 2, 9, 365, "m") for name, gain, low in cases]
    told = use_cases.table(rows, ())
    assert told["use_case"].tolist() == [catalogue.LATE, catalogue.STOCK, catalogue.RETARGET]
    assert told["start"].tolist() == [True, True, False] and told["place"].tolist() == [1, 2, 3]
    assert "2 of 3 use cases are sure to pay; the largest is to retarget" in use_cases.say_best(told)
    assert use_cases.to_start_with(told)["use_case"].tolist() == [catalogue.LATE, catalogue.STOCK]


def sendings(seed: int, n: int = 24_000, people: int = 600) -> pd.DataFrame:
    """Mail and text messages to people who differ in the channel that they click, whatever they are sent."""
    draw = np.random.default_rng(seed)
    who = draw.integers(0, people, n)
    taste = np.random.default_rng(seed + 1000).normal(0, 0.9, people)
    channel, hour = draw.random(n) < 0.5, draw.integers(7, 22, n)
    own = 8 + who % 12
    off = np.minimum(np.abs(hour - own), 24 - np.abs(hour - own))
    chance = 1 / (1 + np.exp(1.6 - taste[who] * np.where(channel, 1, -1) - 0.8 * (off <= 2)))
    clicked = (draw.random(n) < chance).astype(int)
    days = draw.integers(1, 720, n)
    rows = pd.DataFrame(
        {
            "source": "news", "message_id": [f"m{i}" for i in range(n)], "customer_id": [f"c{i:04d}" for i in who],
            "sent_at": pd.Timestamp(AS_OF) - pd.to_timedelta(days, unit="D") + pd.to_timedelta(hour, unit="h"),
            "channel": np.where(channel, "sms", "email"), "verdict": "right", "stage": "use",
            "cost": np.where(channel, 0.05, 0.01), "clicked": clicked, "brought": clicked * (draw.random(n) < 0.05), "unclicked": 0,
            "each": 40.0, "taste": taste[who], "off": off, "own_hour": own,
        }
    )  # fmt: skip
    return rows.assign(**dict.fromkeys(messages.REASONS, False))


def reached(rows: pd.DataFrame, engine, p=P):
    day, none = pd.Timestamp("2024-01-01"), pd.Series([None], dtype="datetime64[us]")
    lines = pd.DataFrame({"customer_id": ["c0001"], "day": [day], "margin": [40.0], "returned_on": none})
    told = ibis.memtable(rows.drop(columns=["taste", "off", "own_hour"]))
    until = AS_OF - dt.timedelta(days=p.holdout_days)
    channels = reach.own_channels(told, ibis.memtable(lines), until)
    times = ibis.memtable(rows.groupby("customer_id", as_index=False)["own_hour"].first().assign(seen=9.0))
    return (*reach.reached(told, times, channels, AS_OF, p, "UTC", engine), channels.to_pandas())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_own_channel_and_hour_bring_what_they_truly_bring(engine, seed):
    rows = sendings(seed)
    one, held, channels = reached(rows, engine)
    # what is learned before the time held out is what people are like
    like = rows.groupby("customer_id")["taste"].first()
    own = channels.set_index("customer_id")["own_channel"]
    assert ((own == "sms") == (like[own.index] > 0)).mean() > 0.8
    held = held.to_pandas().merge(rows[["message_id", "taste", "off"]], on="message_id")
    assert len(held) == one.n == (rows["sent_at"] >= pd.Timestamp(AS_OF) - pd.Timedelta(days=P.holdout_days)).sum()

    def clicks(channel, off):
        return 1 / (1 + np.exp(1.6 - held["taste"] * np.where(channel == "sms", 1, -1) - 0.8 * (off <= 2)))

    better = clicks(held["own_channel"], 0 * held["off"]) - clicks(held["channel"], held["off"])
    dearer = 0.04 * ((held["own_channel"] == "sms").astype(int) - (held["channel"] == "sms"))
    true = (better * 0.05 * 40 - dearer).sum()
    assert one.low < true < one.high and one.low > 0
    extra = one.policies.set_index("policy")["extra"]
    assert extra["as sent"] == 0 < extra["at their own hour"] < extra["by their own channel, at their own hour"]
    assert extra.iloc[-1] == pytest.approx(one.gain) and "would have gone by another channel" in one.method


def test_who_was_written_to_by_one_channel_alone_keeps_it(engine):
    rows = sendings(4)
    rows.loc[rows["customer_id"] < "c0300", "channel"] = "email"
    _, held, channels = reached(rows, engine)
    assert channels["customer_id"].min() == "c0300"
    held = held.to_pandas()
    assert not held.loc[held["customer_id"] < "c0300", "moves"].any() and held["moves"].any()


def test_what_is_clicked_alike_by_every_channel_goes_by_the_cheap_one(engine):
    rows = sendings(5)
    draw = np.random.default_rng(6)
    rows["clicked"] = (draw.random(len(rows)) < 0.17).astype(int)
    rows["cost"] = np.where(rows["channel"] == "sms", 3.0, 0.01)
    one, held, _ = reached(rows, engine)
    held = held.to_pandas()
    assert (held.loc[held["moves"], "own_channel"] == "email").all() and held["moves"].any()
    saved = 2.99 * held["moves"].sum()
    assert one.low < saved < one.high


def test_what_the_company_did_and_trials_are_not_of_their_own_accord():
    words = ["inbound", None, "outbound", "Outgoing", None]
    names = ["visit", "visit", "call", "call", "letter_control"]
    events = ibis.memtable({"source": ["web"] * 5, "event_name": names, "direction": words})
    assert reach._of_their_own(events).count().to_pandas() == 2


def test_the_ratio_is_that_of_mantel_and_haenszel():
    cells = pd.DataFrame({"n": [100, 80, 50, 200], "clicks": [20, 8, 20, 40], "which": [1, 0, 1, 0], "hour": [1, 1, 2, 2]})
    effect, error = reach.ratio(cells, cells["which"] == 1, ["hour"])
    assert np.exp(effect) == pytest.approx((20 * 80 / 180 + 20 * 200 / 250) / (8 * 100 / 180 + 40 * 50 / 250))
    assert 0 < error < 0.5
    nobody = cells.assign(clicks=[0, 8, 0, 40])
    assert np.isnan(reach.ratio(nobody, cells["which"] == 1, ["hour"])[0])
    few, wide = reach.ratio(nobody.assign(n=[3, 5, 1, 2], clicks=0), cells["which"] == 1, ["hour"], imagined=0.5)
    assert few == pytest.approx(0.0) and wide > 1
