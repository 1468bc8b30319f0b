"""What each customer is worth: published figures, an independent computation, and what must never happen."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pytest

from clientbook import value
from clientbook.value import erlang
from clientbook.value.models import log_likelihoods

P = value.ValueParameters(origins=1, draws=100)


def installed(name: str) -> Path:
    return Path(importlib.util.find_spec("lifetimes").submodule_search_locations[0]) / "datasets" / name


@pytest.fixture(scope="module")
def cdnow_sample() -> ibis.Table:
    """The published 1/10 sample: 2,357 customers, as days and amounts."""
    frame = pd.read_csv(installed("CDNOW_sample.txt"), sep=r"\s+", header=None, dtype=str)
    frame = frame.set_axis(["master", "customer_id", "day", "units", "amount"], axis=1)
    frame = frame.assign(day=pd.to_datetime(frame["day"]).dt.date, amount=frame["amount"].astype(float))
    lines = ibis.memtable(frame[["customer_id", "day", "amount"]])
    return lines.group_by("customer_id", "day").agg(amount=lines["amount"].sum())


@pytest.fixture(scope="module")
def histories(cdnow_sample) -> pd.DataFrame:
    return value.compress(value.summarise(cdnow_sample, dt.date(1997, 10, 1)))


PUBLISHED = {
    "BG/NBD": ({"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}, -9582.429),
    "Pareto/NBD": ({"r": 0.5532, "alpha": 10.576, "s": 0.6063, "beta": 11.672}, -9594.976),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_likelihood(histories, name):
    parameters, log_likelihood = PUBLISHED[name]
    model = value.fit_purchases(histories, name)
    assert model.customers == 2357
    assert model.rows < model.customers
    for key, published in parameters.items():
        assert model.parameters[key] == pytest.approx(published, abs=5e-4 * max(1, published)), key
    assert model.log_likelihood == pytest.approx(log_likelihood, abs=0.05)


def test_published_gamma_gamma(cdnow_sample):
    spend = value.fit_spend(value.summarise(cdnow_sample, dt.date(1997, 10, 1)))
    assert spend.customers == 946
    assert spend.parameters["p"] == pytest.approx(6.25, abs=0.005)
    assert spend.parameters["q"] == pytest.approx(3.74, abs=0.005)
    assert spend.parameters["v"] == pytest.approx(15.44, abs=0.01)
    assert spend.log_likelihood == pytest.approx(-4055.92, abs=0.05)


def test_published_cumulative_sales_after_78_weeks(cdnow_sample, histories):
    # the paper's own test: what all customers bought again in twice the time that the model was fitted on
    model = value.fit_purchases(histories, "BG/NBD")
    days = cdnow_sample.to_pandas()
    first = pd.to_datetime(days.groupby("customer_id")["day"].min())
    again = len(days) - len(first)
    weeks = (pd.Timestamp("1998-06-30") - first).dt.days / 7
    assert weeks.max() == pytest.approx(78, abs=0.3)
    expected = model.fitter.expected_number_of_purchases_up_to_time(weeks.to_numpy()).sum()
    assert expected / again - 1 == pytest.approx(-0.04, abs=0.01)


def test_cdnow_master_backtest_matches_the_papers():
    frame = pd.read_csv(installed("CDNOW_master.txt"), sep=r"\s+", dtype=str)
    frame = frame.set_axis(["customer_id", "day", "units", "amount"], axis=1)
    frame = frame.assign(day=pd.to_datetime(frame["day"]).dt.date, amount=frame["amount"].astype(float))
    lines = ibis.memtable(frame[["customer_id", "day", "amount"]])
    bought = lines.group_by("customer_id", "day").agg(amount=lines["amount"].sum())
    scores, _, _ = value.backtest(bought, dt.date(1998, 7, 1), value.ValueParameters(holdout_days=273))
    scores = scores.set_index("model")
    assert scores["customers"].unique() == [23570]
    assert scores.loc["BG/NBD", "rmse"] == pytest.approx(1.733, abs=0.001)
    assert scores.loc["MBG/NBD", "rmse"] == pytest.approx(1.740, abs=0.001)
    assert scores.loc[value.NAIVE, "rmse"] == pytest.approx(1.936, abs=0.001)
    assert scores.loc["BG/NBD", "decile_capture"] >= 0.515
    assert scores.loc["Pareto/NBD", "rmse"] == pytest.approx(1.726, abs=0.001)
    chosen = value.choose(scores.reset_index())[0]
    assert scores.loc[chosen, "rmse"] <= 1.735
    assert scores.loc[chosen, "decile_capture"] >= 0.516


def random_lines(seed: int, customers: int = 40, lines: int = 300) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    days = pd.Timestamp("2023-01-01") + pd.to_timedelta(draw.integers(0, 400, lines), unit="D")
    return pd.DataFrame(
        {
            "source": "shop",
            "person_source": "shop",
            "person_id": [f"{i:04d}" for i in draw.integers(0, customers, lines)],
            "ordered_on": days.date,
            "quantity": draw.choice([1.0, 2.0, 0.0], lines, p=[0.6, 0.3, 0.1]),
            "amount": draw.choice([0.0, 10.25, 99.9], lines),
            "arrival": np.arange(lines),
        }
    )


def plain_summary(lines: pd.DataFrame, as_of: dt.date) -> dict[str, tuple]:
    """The same by loops over rows."""
    days: dict[str, dict[dt.date, float]] = {}
    for row in lines.itertuples():
        if row.quantity > 0 and row.amount >= 0 and row.ordered_on < as_of:
            days.setdefault(row.person_id, {}).setdefault(row.ordered_on, 0.0)
            days[row.person_id][row.ordered_on] += row.amount
    told = {}
    for person, bought in days.items():
        first, last = min(bought), max(bought)
        later = [amount for day, amount in bought.items() if day != first]
        told[person] = (
            len(bought) - 1,
            (last - first).days,
            (as_of - dt.timedelta(days=1) - first).days,
            sum(later) / len(later) if later else 0.0,
            sum(bought.values()),
        )
    return told


@pytest.mark.parametrize("seed", range(5))
def test_summary_equals_a_plain_computation(seed):
    lines, as_of = random_lines(seed), dt.date(2023, 12, 1)
    found = value.summarise(value.purchases(ibis.memtable(lines)), as_of).to_pandas()
    expected = sorted(plain_summary(lines, as_of).values())
    columns = ["frequency", "recency", "T", "monetary", "gross"]
    ours = sorted(map(tuple, found[columns].astype(float).to_numpy()))
    np.testing.assert_allclose(np.array(ours), np.array(expected), rtol=0, atol=1e-9)


def test_summary_equals_lifetimes_on_whole_days(cdnow_sample):
    from lifetimes.utils import summary_data_from_transaction_data

    frame = cdnow_sample.to_pandas()
    theirs = summary_data_from_transaction_data(frame, "customer_id", "day", "amount", observation_period_end="1998-06-30")
    ours = value.summarise(cdnow_sample, dt.date(1998, 7, 1)).to_pandas().set_index("customer_id").loc[theirs.index]
    for column, name in [
        ("frequency", "frequency"),
        ("recency", "recency"),
        ("T", "T"),
        ("monetary", "monetary_value"),
    ]:
        np.testing.assert_allclose(ours[column].to_numpy(float), theirs[name].to_numpy(float), rtol=0, atol=1e-9)


def test_discounted_orders_equal_lifetimes(cdnow_sample, histories):
    from lifetimes.utils import _customer_lifetime_value

    model = value.fit_purchases(histories, "BG/NBD")
    _, discounted = value.discounted_orders(model, histories, steps=12, step_days=30, rate_per_step=0.01)
    in_days = {"r": 1.0, "alpha": 7.0, "a": 1.0, "b": 1.0}
    fitter = type(model.fitter)()
    fitter.params_ = pd.Series({name: model.parameters[name] * factor for name, factor in in_days.items()})
    fitter.predict = fitter.conditional_expected_number_of_purchases_up_to_time
    theirs = _customer_lifetime_value(
        fitter, histories["frequency"], histories["recency"], histories["T"], pd.Series(1.0, index=histories.index)
    )
    np.testing.assert_allclose(discounted, theirs.to_numpy(), rtol=1e-6, atol=1e-9)


def test_simulated_purchases_agree_with_the_expectation(histories):
    some = histories.sample(40, random_state=1)
    for name in value.MODELS:
        model = value.fit_purchases(histories, name)
        drawn = model.draw_orders(273, some, 20_000, np.random.default_rng(3))
        error = drawn.std(axis=1) / np.sqrt(drawn.shape[1])
        assert (np.abs(drawn.mean(axis=1) - model.expected_orders(273, some)) < 5 * error + 1e-3).all(), name


def analysed(bought_lines: pd.DataFrame, returns: pd.DataFrame | None = None, as_of=dt.date(2024, 1, 1)):
    orders = ibis.memtable(bought_lines.assign(order_source="shop", order_id=[f"o{i}" for i in range(len(bought_lines))]))
    return value.analyse(orders, None if returns is None else ibis.memtable(returns), None, None, as_of, P)


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return made_lines()


def made_lines() -> pd.DataFrame:
    """Made customers who buy at their own rate and leave for good."""
    draw = np.random.default_rng(11)
    rows = []
    for person in range(300):
        day, rate, leave = draw.integers(0, 200), draw.gamma(1.5, 1 / 40), draw.beta(1, 4)
        while day < 364:
            rows.append((f"{person:05d}", dt.date(2023, 1, 1) + dt.timedelta(days=int(day)), round(draw.gamma(3, 10), 2)))
            if draw.random() < leave:
                break
            day += max(1, int(draw.exponential(1 / rate)))
    frame = pd.DataFrame(rows, columns=["person_id", "ordered_on", "amount"])
    return frame.assign(source="shop", person_source="shop", quantity=1.0, arrival=np.arange(len(frame)))


@pytest.fixture(scope="module")
def returned(lines) -> pd.DataFrame:
    """The first person sends back more than they bought, the second half of it."""
    spent = lines.groupby("person_id")["amount"].sum()
    return pd.DataFrame(
        {
            "person_source": "shop", "person_id": ["00000", "00001"], "order_source": "shop", "order_id": [None, None],
            "amount": [spent["00000"] * 1.5, spent["00001"] * 0.5],
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(lines):
    return analysed(lines)


@pytest.fixture(scope="module")
def net(lines, returned):
    return analysed(lines, returned)


def test_a_row_for_every_customer_with_a_purchase_and_no_nan(lines, net):
    found = net.value.to_pandas()
    assert len(found) == lines["person_id"].nunique()
    assert found["customer_id"].is_unique
    empty = ["recommended", "recommendation_value", "next_topic", "next_topic_probability", "next_topic_margin"]
    assert found[empty].isna().all().all(), "a book without referrals and topics"
    assert not found.drop(columns=empty).isna().any().any()
    assert ((found["p_alive"] >= 0) & (found["p_alive"] <= 1)).all()
    assert (found["expected_orders"] >= 0).all()
    assert (found["clv_low"] <= found["clv_high"]).all() or (found["expected_margin_per_order"] < 0).any()
    assert found["clv"].is_monotonic_decreasing


def test_returns_lower_the_value_and_flag_loss_makers(plain, net):
    without = plain.value.to_pandas().set_index("customer_id")
    with_returns = net.value.to_pandas().set_index("customer_id")
    assert not without["loss_maker"].any()
    assert with_returns["loss_maker"].sum() == 1
    changed = with_returns["returned"] > 0
    assert changed.sum() == 2
    assert (with_returns.loc[changed, "clv"] < without["clv"].loc[with_returns.index[changed]]).all()


def test_tiers_each_hold_a_fifth_of_the_value(plain):
    found = value.tiers(plain.value)
    assert list(found["tier"]) == list("ABCDE")
    largest = plain.value.to_pandas()["clv"].max()
    assert found["clv"].to_numpy() == pytest.approx(found["clv"].sum() / 5, abs=largest)
    assert found["customers"].is_monotonic_increasing


def test_two_analyses_give_the_same_numbers(lines, returned, net):
    one, other = net.value.to_pandas(), analysed(lines, returned).value.to_pandas()
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_the_backtest_does_not_see_the_holdout(lines):
    """Changing what happens after the origin changes no forecast."""
    origin = dt.date(2024, 1, 1) - dt.timedelta(days=100)
    p = value.ValueParameters(holdout_days=100)
    bought = value.purchases(ibis.memtable(lines))
    tripled = lines.assign(amount=lines["amount"].where(lines["ordered_on"] < origin, lines["amount"] * 3))
    one = value.backtest(bought, dt.date(2024, 1, 1), p)
    other = value.backtest(value.purchases(ibis.memtable(tripled)), dt.date(2024, 1, 1), p)
    assert one[0]["total_expected"].tolist() == other[0]["total_expected"].tolist()
    assert {n: m.parameters for n, m in one[2].items()} == {n: m.parameters for n, m in other[2].items()}


@pytest.mark.parametrize(
    "customers, days",
    [(1, 300), (10, 300), (300, 10)],
    ids=["one customer", "ten customers", "ten days"],
)
def test_too_little_is_said_in_words(lines, customers, days):
    some = lines[lines["person_id"].astype(int) < customers]
    some = some[some["ordered_on"] >= dt.date(2024, 1, 1) - dt.timedelta(days=days)]
    with pytest.raises(value.TooFew, match=r"too (few|short)"):
        analysed(some)


def test_amounts_of_nothing_count_as_purchases(lines):
    free = lines.assign(amount=lines["amount"].where(lines.index % 3 > 0, 0.0))
    found = analysed(free).value.to_pandas()
    assert found["purchases"].sum() == lines.groupby(["person_id", "ordered_on"]).ngroups


def test_a_heavy_buyer_has_a_value(lines):
    daily = pd.DataFrame(
        {
            "person_id": "99999", "ordered_on": [dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in range(364)],
            "amount": 20.0, "source": "shop", "person_source": "shop", "quantity": 1.0, "arrival": 10_000 + np.arange(364),
        }
    )  # fmt: skip
    found = analysed(pd.concat([lines, daily], ignore_index=True)).value.to_pandas()
    assert found.iloc[0]["frequency"] == 363
    assert np.isfinite(found.iloc[0][["clv", "clv_low", "clv_high"]].astype(float)).all()


def test_models_as_json_say_what_they_are(plain):
    kept = value.models_to_keep(plain)
    assert set(kept) == {"bg_nbd", "mbg_nbd", "pareto_nbd", "mbg_cnbd_2", "mbg_cnbd_3", "gamma_gamma"}
    assert all(len(model["data_hash"]) == 64 and "lifetimes" in model["versions"] for model in kept.values())
    assert set(kept["bg_nbd"]["parameters"]) == {"r", "alpha", "a", "b"}
    assert kept["bg_nbd"]["time_unit"] == "week"
    assert set(kept["gamma_gamma"]["parameters"]) == {"p", "q", "v"}
    assert sum(model["chosen"] for name, model in kept.items() if name != "gamma_gamma") == 1


@pytest.mark.parametrize("name", value.MODELS)
def test_slopes_of_the_likelihood_are_its_differences(histories, name):
    from scipy.optimize import approx_fprime

    some, theta = histories.sample(200, random_state=5), (0.7, 5.0, 0.8, 2.5)

    def total(logs):
        return log_likelihoods(name, tuple(np.exp(logs)), some)[0].sum()

    _, slope = log_likelihoods(name, theta, some)
    np.testing.assert_allclose(slope.sum(axis=1), approx_fprime(np.log(theta), total, 1e-6), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["BG/NBD", "MBG/NBD"])
def test_the_likelihood_is_that_of_lifetimes(histories, name):
    model = value.fit_purchases(histories, name)
    x, t_x, T = (histories[column].to_numpy(float) / unit for column, unit in (("frequency", 1), ("recency", 7), ("T", 7)))
    loss = type(model.fitter)._negative_log_likelihood(
        np.log(model.theta), x, t_x, T, histories["customers"].to_numpy(float), 0.0
    )
    assert model.log_likelihood == pytest.approx(-loss * model.customers, rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_likelihoods_can_be_compared_whatever_the_steps_to_a_purchase(k):
    from scipy import integrate, special, stats

    theta = r, alpha, a, b = 0.8, 3.0, 1.2, 4.0

    def plain(gaps: list[float], T: float) -> float:
        """Of these very gaps: for each rate the density of every gap, and then either leaving or no purchase since."""
        x, idle = len(gaps), T - sum(gaps)
        leaves, stays = (special.beta(a + one, b + x + 1 - one) / special.beta(a, b) for one in (1, 0))

        def at(rate: float) -> float:
            each = np.prod([stats.gamma.pdf(gap, k, scale=1 / rate) for gap in gaps])
            return stats.gamma.pdf(rate, r, scale=1 / alpha) * each * (leaves + stays * stats.gamma.sf(idle, k, scale=1 / rate))

        return integrate.quad(at, 0, np.inf, epsabs=1e-12, limit=200)[0]

    # where the second of three purchases lay nobody knows
    apart = [integrate.quad(lambda gap: plain([gap, 6.0 - gap], 15.0), 0, 6.0, epsabs=1e-11)[0] / 6.0]
    expected = np.log([plain([], 9.0), plain([2.5], 20.0), *apart])
    x, t_x, T = np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.5, 6.0]), np.array([9.0, 20.0, 15.0])
    np.testing.assert_allclose(erlang.log_likelihood(theta, k, x, t_x, T), expected, rtol=1e-5)
    if k == 1:
        told = pd.DataFrame({"frequency": x, "recency": 7 * t_x, "T": 7 * T})
        np.testing.assert_allclose(log_likelihoods("MBG/NBD", theta, told)[0], expected, rtol=1e-5)
        assert np.log(plain([1.0, 2.0, 3.0], 15.0)) == pytest.approx(
            erlang.log_likelihood(theta, 1, np.array([3.0]), np.array([6.0]), np.array([15.0])).item(), rel=1e-5
        )


def test_a_regular_model_is_as_likely_as_its_histories(histories, plain):
    x, t_x, T = (histories[column].to_numpy(float) / unit for column, unit in (("frequency", 1), ("recency", 7), ("T", 7)))
    for k in (2, 3):
        model = value.fit_purchases(histories, f"MBG/CNBD-{k}")
        each = erlang.log_likelihood(model.theta, k, x, t_x, T)
        assert model.log_likelihood == pytest.approx(float(each @ histories["customers"]), rel=1e-9)
    assert value.describe_models(plain)["log_likelihood"].notna().all()


@pytest.mark.parametrize("name", value.MODELS)
def test_where_a_fit_begins_does_not_matter(histories, name):
    cold = value.fit_purchases(histories, name)
    elsewhere = dataclasses.replace(cold, parameters={key: at * 1.3 for key, at in cold.parameters.items()})
    warm = value.fit_purchases(histories, name, elsewhere)
    assert warm.log_likelihood == pytest.approx(cold.log_likelihood, abs=0.01)
    expected = (model.expected_orders(273, histories) for model in (cold, warm))
    np.testing.assert_allclose(*expected, rtol=5e-3, atol=1e-4)


def test_one_step_of_the_resampling_swings_as_far_as_whole_fits(histories):
    model = value.fit_purchases(histories, "MBG/NBD")
    draw, totals = np.random.default_rng(7), []
    n = int(histories["customers"].sum())
    for _ in range(20):
        drawn = histories.assign(customers=draw.multinomial(n, histories["customers"] / n))
        again = value.fit_purchases(drawn[drawn["customers"] > 0].reset_index(drop=True), "MBG/NBD", model)
        totals.append((again.expected_orders(273, histories) * histories["customers"]).sum())
    # two standard deviations from 20 and 20 draws
    assert value.resampled(model, histories, 273, 1) == pytest.approx(np.std(totals, ddof=1) / np.mean(totals), rel=0.6)


def test_what_came_is_of_those_of_whom_it_was_foreseen():
    """Of many customers some are drawn: the purchases of the others must not stand beside the forecast."""
    bought = seasonal_buyers(1.0, customers=900)
    nothing = {"cost": 0.0, "returned": 0.0, "service": 0.0, "is_purchase": True}
    draw = np.random.default_rng(1)
    amount = draw.gamma(6, 1, 900)[bought["customer_id"].str[1:].astype(int)] * draw.gamma(9, 1, len(bought))
    book = ibis.memtable(bought.assign(known_on=bought["day"], amount=amount, **nothing)).cache()
    span = (dt.date(2022, 6, 1), 150)
    back = value.hindsight(book, [span], names=("BG/NBD",), boosting=False)[0]
    for known in (back.known, back.known.head(50)):
        path = value.tracking(book, dataclasses.replace(back, known=known), "BG/NBD")
        assert path["actual"].iloc[-1] == known["actual"].sum() > 0
        assert path["actual"].is_monotonic_increasing and path["actual"].iloc[0] == 0


def test_looking_back_equals_a_plain_computation(lines, returned):
    told = returned.assign(returned_at=[pd.Timestamp("2023-06-01"), pd.Timestamp("2023-11-20")])
    orders = lines.assign(order_source="shop", order_id=[f"o{i}" for i in range(len(lines))])
    book = value.ledger(ibis.memtable(orders), ibis.memtable(told)).cache()
    spans = [(dt.date(2023, 10, 1), 80), (dt.date(2023, 7, 1), 60)]
    found = value.look_back(book, spans)
    owner = lines_of(orders).to_pandas().set_index("person_id")["customer_id"]
    for origin, days in spans:
        frame = found[origin, days].set_index("customer_id")
        end = origin + dt.timedelta(days=days)
        before = plain_summary(lines, origin)
        assert set(frame.index) == {owner[person] for person in before}
        for person, (frequency, recency, age, monetary, gross) in before.items():
            row = frame.loc[owner[person]]
            own = lines[lines["person_id"] == person]
            after = own[(own["ordered_on"] >= origin) & (own["ordered_on"] < end)]
            sent = told[told["person_id"] == person]
            back = sent.loc[(sent["returned_at"].dt.date >= origin) & (sent["returned_at"].dt.date < end), "amount"].sum()
            assert (row["frequency"], row["recency"], row["T"]) == (frequency, recency, age)
            assert row["monetary"] == pytest.approx(monetary) and row["gross"] == pytest.approx(gross)
            assert row["actual"] == after["ordered_on"].nunique()
            assert row["margin"] == pytest.approx(after["amount"].sum() - back)


def lines_of(orders: pd.DataFrame) -> ibis.Table:
    """Each person once, with the id that they get where nothing was matched."""
    from clientbook.customers import with_customer

    people = ibis.memtable(orders[["person_source", "person_id"]].drop_duplicates())
    return with_customer(people, None)


def seasonal_buyers(strength: float, seed: int = 3, customers: int = 3000) -> pd.DataFrame:
    """Days on which made customers bought: more and more come, each leaves some day, and November is so much stronger."""
    draw = np.random.default_rng(seed)
    days = pd.date_range("2020-01-01", "2022-12-31")
    pace = np.where(days.month == 11, strength, 1.0)
    clock = np.concatenate([[0.0], np.cumsum(pace)])
    rows = []
    for person in range(customers):
        first = int(len(days) * np.sqrt(draw.random()))
        at, stay, rate = clock[first], first + draw.exponential(500), draw.gamma(1.5, 1 / 60)
        bought = {first}
        while True:
            at += draw.exponential(1 / rate)
            day = int(np.searchsorted(clock, at, side="right")) - 1
            if day >= len(days) or day > stay:
                break
            bought.add(day)
        rows += [(f"c{person:05d}", days[day].date()) for day in bought]
    return pd.DataFrame(rows, columns=["customer_id", "day"]).sort_values(["customer_id", "day"])


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_a_season_is_found_and_growth_and_leaving_are_none(strength):
    bought = seasonal_buyers(strength)
    today = dt.date(2023, 1, 1)
    summary = value.summarise(ibis.memtable(bought.assign(amount=1.0)), today)
    daily = bought.groupby("day").size().rename("bought").reset_index()
    season = value.season_by(daily, value.compress(summary), today)
    others = np.delete(np.array(season.index), 10)
    assert season.index[10] / others.mean() == pytest.approx(strength, rel=0.12)
    assert np.abs(others / others.mean() - 1).max() < 0.15


@pytest.mark.parametrize("strength, helps", [(1.0, False), (4.0, True)])
def test_a_season_is_counted_with_where_an_earlier_day_shows_that_it_helps(strength, helps):
    bought = seasonal_buyers(strength, seed=5)
    nothing = {"cost": 0.0, "returned": 0.0, "service": 0.0, "is_purchase": True, "amount": 10.0}
    book = ibis.memtable(bought.assign(known_on=bought["day"], **nothing)).cache()
    span = (dt.date(2022, 10, 1), 91)
    tried = value.try_season(value.look_back(book, [span])[span], span, value.daily_purchases(book))
    if helps:
        assert tried.season is not None
        assert tried.seasonal < tried.plain and abs(tried.off_seasonal) < abs(tried.off_plain) / 2
    else:
        # nothing to gain: with it or without, the forecast is the same but for noise
        assert abs(tried.off_seasonal - tried.off_plain) < 0.1


def test_an_even_season_changes_nothing(histories):
    even = value.Season((1.0,) * 12)
    same = even.histories(histories, dt.date(1997, 10, 1))
    np.testing.assert_allclose(same[["recency", "T"]], histories[["recency", "T"]], atol=1e-6)
    assert even.ahead(273, dt.date(1997, 10, 1)) == pytest.approx(273)
    strong = value.Season((1.0,) * 11 + (2.0,))
    assert strong.ahead(31, dt.date(1997, 12, 2)) > strong.ahead(31, dt.date(1997, 3, 2)) == pytest.approx(31)
    assert (strong.histories(histories, dt.date(1997, 10, 1))["recency"] <= same["T"] + 31).all()


def test_the_expected_value_needs_no_bounds(lines, returned, net):
    """Without simulated futures each customer is worth the very same."""
    from clientbook.value.estimate import estimate, expected_value

    as_of, orders = dt.date(2024, 1, 1), ibis.memtable(lines.assign(order_source="shop", order_id=lines["arrival"].astype(str)))
    book = value.ledger(orders, ibis.memtable(returned), None, None, None)
    bought = book.filter(book["is_purchase"]).select(*value.key(book), "day", "amount")
    summary = value.with_net(value.summarise(bought, as_of), value.sums(book, as_of))
    model = net.models[net.chosen]
    whole = estimate(summary, model, model, net.spend, P).to_pandas().set_index("customer_id").sort_index()
    alone = expected_value(summary, value.compress(summary), model, net.spend, P)
    alone = alone.to_pandas().set_index("customer_id").sort_index()
    pd.testing.assert_frame_equal(alone[["frequency", "clv"]], whole[["frequency", "clv"]], check_exact=True)


def rows_of(rows: list[dict], **types: str) -> ibis.Table:
    frame = pd.DataFrame([[row.get(name) for name in types] for row in rows], columns=list(types))
    return ibis.memtable(
        frame.astype({name: "datetime64[us]" for name, kind in types.items() if kind == "timestamp"}), schema=types
    )


CONSENT = dict.fromkeys(("person_source", "person_id", "purpose", "status", "channel"), "string") | {
    "indicated_at": "timestamp", "valid_to": "timestamp"}  # fmt: skip
ORDER = dict.fromkeys(("person_source", "person_id", "order_source", "order_id", "product_id"), "string") | {
    "ordered_on": "date", "ordered_at": "timestamp", "quantity": "float64", "amount": "float64", "arrival": "int64"}  # fmt: skip
WORTH = {"customer_id": "string", "clv": "float64", "clv_low": "float64", "clv_high": "float64", "p_alive": "float64",
         "gross": "float64", "expected_orders": "float64", "tier": "string", "loss_maker": "bool"}  # fmt: skip
CALLED = {"source": "string", "person_id": "string", "customer_id": "string"}


@pytest.mark.parametrize("zone, listed", [("America/New_York", ["B"]), ("UTC", ["A", "B"])])
def test_who_may_be_written_to_is_judged_when_the_books_day_begins(zone, listed):
    identities = rows_of([{"source": "shop", "person_id": one, "customer_id": one.upper()} for one in "ab"], **CALLED)
    said = {"person_source": "shop", "purpose": "marketing", "status": "given", "indicated_at": pd.Timestamp("2024-01-01")}
    # in the evening of 29 February, in New York
    over = said | {"person_id": "a", "status": "withdrawn", "indicated_at": pd.Timestamp("2024-03-01 02:30")}
    consents = rows_of([said | {"person_id": "a"}, said | {"person_id": "b"}, over], **CONSENT)
    orders = rows_of([{"person_source": "shop", "person_id": one} for one in "ab"], **ORDER)
    worth = rows_of([{"customer_id": one, "clv": 1.0, "gross": 1.0, "loss_maker": False} for one in "AB"], **WORTH)
    as_of = dt.date(2024, 3, 1)
    assert sorted(value.retargeting(worth, consents, identities, as_of, zone=zone)["customer_id"]) == listed
    best = value.best(worth, orders, identities, consents, as_of, zone=zone)
    assert sorted(best.loc[best["consent"] == "given", "customer_id"]) == listed


PROMISE = {"order_source": "string", "order_id": "string", "promised_at": "timestamp", "delivered_at": "timestamp"}


def test_whose_delivery_is_late_is_told_by_the_books_days():
    promised = {
        "over": "2024-02-28 23:00", "today": "2024-02-29 23:00", "noon": "2024-02-29 11:00", "tonight": "2024-02-29 23:30",
    }  # fmt: skip
    deliveries = rows_of([{"order_id": one, "promised_at": pd.Timestamp(at)} for one, at in promised.items()], **PROMISE)
    orders = [{"person_id": one, "order_id": one, "quantity": 1.0, "amount": 5.0, "arrival": 1} for one in promised]
    identities = rows_of([{"person_id": one, "customer_id": one} for one in promised], **CALLED)
    # ids of this table have no source to tell them apart
    orders, deliveries, identities = (
        rows.mutate(**{name: ibis.literal("shop") for name in rows.columns if name.endswith("source")})
        for rows in (rows_of(orders, **ORDER), deliveries, identities)
    )
    worth = rows_of([{"customer_id": one, "clv": 1.0, "tier": "A"} for one in promised], **WORTH)
    as_of, loss = dt.date(2024, 3, 1), value.Loss(0.1, 0.0, 0.3)
    told = value.recoveries(orders, deliveries, identities, worth, as_of, loss, zone="Europe/Berlin").to_pandas()
    assert told.set_index("customer_id")["days_late"].to_dict() == {"over": 1, "noon": 1}


def test_what_came_on_the_day_it_was_promised_for_was_not_late():
    n, first = 200, pd.Timestamp("2023-01-01")
    orders = ibis.memtable(pd.DataFrame({
        "order_source": "shop", "order_id": [f"o{i}" for i in range(2 * n)], "person_source": "shop",
        "person_id": [f"c{i}" for i in range(2 * n)], "arrival": range(2 * n), "ordered_on": first.date(), "quantity": 1.0,
    }))  # fmt: skip
    came = pd.DataFrame({"order_source": "shop", "order_id": [f"o{i}" for i in range(2 * n)]})
    # half of them on the day, half on the day after
    came = came.assign(promised_at=first, delivered_at=[first + pd.Timedelta(hours=14 + 24 * (i % 2)) for i in range(2 * n)])
    back = orders.filter(orders["order_id"].endswith("0")).mutate(
        ordered_on=ibis.date("2023-03-01"), order_id=orders["order_id"] + "b"
    )
    found = value.loss_if_late(orders.union(back), ibis.memtable(came), None, dt.date(2024, 6, 1), zone="UTC")
    assert found.measured and (found.late, found.punctual) == (n, n)


CAME = dict.fromkeys(("person_source", "person_id", "order_source", "order_id"), "string") | {
    "amount": "float64", "cost": "float64", "returned_at": "timestamp", "opened_at": "timestamp"}  # fmt: skip


def test_what_comes_back_in_the_last_evening_is_known_in_the_books_zone():
    person, evening = {"person_source": "shop", "person_id": "a"}, pd.Timestamp("2024-03-01 01:00")
    order = person | {"order_source": "shop", "order_id": "1"}
    orders = rows_of([order | {"ordered_on": dt.date(2024, 2, 1), "quantity": 1.0, "amount": 100.0, "arrival": 1}], **ORDER)
    returns = rows_of([order | {"amount": 40.0, "returned_at": evening}], **CAME)
    cases = rows_of([person | {"cost": 7.0, "opened_at": evening}], **CAME)
    for zone, day in (("America/New_York", dt.date(2024, 2, 29)), ("UTC", dt.date(2024, 3, 1))):
        book = value.ledger(orders, returns, None, None, cases, zone)
        assert set(book.filter(~book["is_purchase"]).to_pandas()["known_on"].astype("datetime64[us]").dt.date) == {day}
        told = value.sums(book, dt.date(2024, 3, 1)).to_pandas().iloc[0]
        assert (told["returned"], told["service"]) == ((40.0, 7.0) if zone != "UTC" else (0.0, 0.0))


def test_a_recommendation_of_the_day_of_the_run_is_not_known_yet():
    worth = rows_of([{"customer_id": one, "clv": 1.0, "p_alive": 1.0} for one in "AB"], **WORTH).mutate(T=ibis.literal(365))
    identities = rows_of([{"source": "shop", "person_id": one, "customer_id": one.upper()} for one in "ab"], **CALLED)
    referrals = rows_of(
        [{"person_source": "shop", "person_id": "a", "referred_person_id": "b", "referred_at": pd.Timestamp("2024-02-29 23:30")}],
        **dict.fromkeys(("person_source", "person_id", "referred_person_id"), "string"), referred_at="timestamp",
    )  # fmt: skip
    for zone, n in (("Europe/Berlin", 0), ("UTC", 1)):
        told = value.with_recommendations(worth, referrals, identities, dt.date(2024, 3, 1), 365, zone=zone)
        assert told.to_pandas()["recommended"].sum() == n
