"""What is remembered of runs, and what is said to have changed between them."""

from __future__ import annotations

import json

import pytest

from clientbook import history


def run(name, numbers=(), inputs=(), state="done", **more):
    """A remembered run; numbers as (name, value) or with further fields, inputs as (source, table, file, rows, sha256)."""
    return {
        "run": name, "state": state, "as_of": name.partition(".")[0], "started": "2026-01-01T02:30:00+00:00", "seconds": 60.0,
        "message": None, "failed": None, "versions": {}, "parameters": {}, "code": {}, "settings": {}, "reused": 0,
        "notebooks": 1,
        "key_numbers": [
            {"stage": "value", "unit": "money", "better": "up", "n": None, "low": None, "high": None} | dict(number)
            for number in numbers
        ],
        "inputs": [dict(zip(("source", "table", "file", "rows", "sha256"), one, strict=True)) for one in inputs],
    } | more  # fmt: skip


def number(value, **more):
    return {"name": "Expected value", "value": value} | more


def test_what_is_added_is_read_back_also_after_half_a_line(tmp_path):
    history.add(tmp_path, run("2026-01-01.001"))
    with (tmp_path / history.FILE).open("a") as file:
        file.write('{"run": "2026-01-02.001", "sta')
    history.add(tmp_path, run("2026-01-03.001"))
    assert [each["run"] for each in history.read(tmp_path)] == ["2026-01-01.001", "2026-01-03.001"]
    assert history.read(tmp_path / "nowhere") == []


def test_before_is_the_last_whole_run_and_a_year_before_the_nearest():
    past = [run("2025-06-20.001"), run("2025-07-02.001"), run("2026-06-29.001"), run("2026-06-30.001", state="failed")]
    now = run("2026-07-01.001")
    assert history.before([*past, now], now)["run"] == "2026-06-29.001"
    assert history.a_year_before([*past, now], now)["run"] == "2025-07-02.001"
    assert history.a_year_before(past[2:], now) is None
    assert history.before([now], now) is None


def test_equal_numbers_are_no_change():
    assert history.changes([], run("2026-01-02.001", [number(5.0)]), run("2026-01-01.001", [number(5.0)])) == []


@pytest.mark.parametrize(("now", "beyond"), [(130.0, True), (112.0, False)])
def test_two_intervals_say_whether_a_change_is_more_than_chance(now, beyond):
    a = run("2026-01-01.001", [number(100.0, low=90.0, high=110.0)])
    b = run("2026-01-02.001", [number(now, low=now - 10, high=now + 10)])
    (change,) = history.changes([a, b], b, a)
    assert change.noise == pytest.approx(200**0.5) and change.is_beyond_noise is beyond
    assert change.verdict == ("better" if beyond else "")


def test_a_share_varies_with_its_n():
    a = run("2026-01-01.001", [number(0.50, unit="share", n=400)])
    b = run("2026-01-02.001", [number(0.53, unit="share", n=400)])
    assert history.changes([a, b], b, a)[0].is_beyond_noise is False
    a["key_numbers"][0]["n"] = b["key_numbers"][0]["n"] = 40_000
    assert history.changes([a, b], b, a)[0].is_beyond_noise is True


def test_steady_growth_is_no_news_and_a_jump_is():
    past = [run(f"2026-01-{day:02d}.001", [number(100.0 + 10 * day + day % 2)]) for day in range(1, 11)]
    usual = run("2026-01-11.001", [number(211.0)])
    jump = run("2026-01-11.001", [number(300.0)])
    assert history.changes([*past, usual], usual, past[-1])[0].is_beyond_noise is False
    assert history.changes([*past, jump], jump, past[-1])[0].is_beyond_noise is True
    few = history.changes([*past[-2:], jump], jump, past[-1])[0]
    assert few.is_beyond_noise is None


def test_a_number_that_only_one_run_tells_has_no_difference():
    (change,) = history.changes([], run("2026-01-02.001", [number(5.0)]), run("2026-01-01.001"))
    assert (change.before, change.now, change.difference, change.is_beyond_noise) == (None, 5.0, None, None)


OLD = [("shop", "orders", "a.csv", 1_000, "1"), ("crm", "people", "p.csv", 50, "2")]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (
            [("shop", "orders", "a.csv", 1_200, "3"), OLD[1]],
            ["shop delivered 1,200 rows of orders after 1,000.", "crm delivered for people what"],
        ),
        ([("shop", "orders", "a.csv", 400, "3"), ("crm", "people", "p.csv", 50, "4")], ["half a delivery", "as many rows (50)"]),
        ([*OLD, ("erp", "products", "x.csv", 5, "9")], ["The source erp is new."]),
        ([OLD[0]], ["The source crm is gone."]),
        ([*OLD, ("crm", "accounts", "k.csv", 5, "9")], ["crm now delivers accounts."]),
        ([("shop", "orders", "b.csv", 1_000, "1"), OLD[1]], ["shop delivered for orders what it had delivered before"]),
    ],
)
def test_reasons_tell_what_was_delivered(inputs, words):
    told = " ".join(history.reasons(run("2026-01-02.001", inputs=inputs), run("2026-01-01.001", inputs=OLD)))
    assert "1 day more" in told
    for word in words:
        assert word in told


def test_reasons_tell_rules_notebooks_parameters_and_versions():
    a = run(
        "2026-01-01.001",
        settings={"goals": "1", "name": "1"},
        code={"04_value": "1"},
        parameters={"value": {"h": 1}},
        versions={"pandas": "3"},
    )
    b = run(
        "2026-01-01.002",
        settings={"goals": "2", "name": "1"},
        code={"04_value": "2"},
        parameters={"value": {"h": 2}},
        versions={"pandas": "4"},
    )
    told = history.reasons(b, a)
    assert told == [
        "In clientbook.yaml changed: goals.", "Changed in the notebook or its code: 04_value.", "Other parameters: value.h.",
        "Other versions: pandas.",
    ]  # fmt: skip
    assert history.reasons(a, a) == []


def test_series_has_the_last_run_of_each_day():
    past = [run("2026-01-01.001", [number(1.0)]), run("2026-01-01.002", [number(2.0)]), run("2026-01-02.001", [number(3.0)])]
    past.append(run("2026-01-03.001", [number(9.0)], state="failed"))
    assert history.series(past, "value", "Expected value") == [("2026-01-01", 2.0), ("2026-01-02", 3.0)]


def test_lines_for_people():
    past = [run("2026-01-01.001", [number(1.0)]), run("2026-01-02.001", [number(2.0)]), run("2026-01-03.001", state="failed")]
    past[2] |= {"failed": "04_value", "message": "Memory ran out."}
    lines = history.lines(past, "Europe/Berlin")
    assert lines[0] == ("2026-01-01.001", "2026-01-01 03:30", "60", "done", "the first")
    assert lines[1][4] == "1 key number changed. The run sees 1 day more."
    assert lines[2][3:] == ("failed", "04_value Memory ran out.")


def test_an_entry_is_plain_json():
    told = history.entry({"run": "2026-01-01.001", "state": "done", "key_numbers": [], "notebooks": {}}, code={}, settings={})
    assert json.loads(json.dumps(told))["run"] == "2026-01-01.001"
