"""When clocks were turned: the same as a calendar says, of any zone, at any time."""

import bisect
import datetime as dt

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clientbook import clocks, memory, parsing

# By half an hour, at a minute past midnight, a day left out, turned back for a month each year, and never turned.
ZONES = ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "Asia/Kolkata"]


@pytest.fixture(scope="module")
def calendar():
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def _off(turns, time):
    return turns[bisect.bisect_right([turn.begins for turn in turns], time) - 1].microseconds


@pytest.mark.parametrize("zone", ZONES)
def test_each_turn_is_where_a_calendar_sees_it_to_the_second(calendar, zone):
    second = dt.timedelta(seconds=1)
    for turns, said in (
        (clocks.to_wall(zone), "epoch_us(timezone($zone, timezone('UTC', t)))"),
        (clocks.to_utc(zone), "epoch_us(timezone($zone, t))"),
    ):
        times = [turn.begins + step for turn in turns[1:] for step in (-second, 0 * second, second)]
        times += [clocks.BEGIN, clocks.END - second]
        told = calendar.execute(f"SELECT {said} - epoch_us(t) FROM (SELECT unnest($times) AS t)", {"zone": zone, "times": times})
        assert [_off(turns, time) for time in times] == [off for (off,) in told.fetchall()]
        assert [turn.begins for turn in turns] == sorted({turn.begins for turn in turns})


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(st.none() | st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1)), min_size=1, max_size=30),
)
@example("Europe/Berlin", [clocks.BEGIN, clocks.END, clocks.BEGIN - dt.timedelta(microseconds=1), None])
@example("Europe/Berlin", [dt.datetime(2024, 3, 31, 2, 30), dt.datetime(2024, 10, 27, 2, 30)])
def test_what_is_compared_is_what_a_calendar_says(calendar, zone, times):
    rows = ibis.memtable(pa.table({"n": range(len(times)), "at": pa.array(times, pa.timestamp("us"))}))
    told = rows.select("n", wall=parsing.local(rows["at"], zone), utc=parsing.utc(rows["at"], zone)).order_by("n").to_pyarrow()
    said = calendar.execute(
        "SELECT timezone($zone, timezone('UTC', t)), timezone('UTC', timezone($zone, t)) FROM (SELECT unnest($times) AS t)",
        {"zone": zone, "times": times},
    ).fetchall()
    assert list(zip(told["wall"].to_pylist(), told["utc"].to_pylist(), strict=True)) == said


def test_engines_side_by_side_share_what_one_may_take():
    assert memory.share(2) == max(memory.share() // 2, memory.LEAST_BYTES)
    assert memory.share(10_000) == memory.LEAST_BYTES
