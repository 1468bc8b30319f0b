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
from clientbook.journeys import inference

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
    turns, second = clocks.to_wall(zone), dt.timedelta(seconds=1)
    times = [turn.begins + step for turn in turns[1:] for step in (-second, 0 * second, second)]
    times += [clocks.BEGIN, clocks.END - second]
    query = "SELECT epoch_us(timezone($zone, timezone('UTC', t))) - epoch_us(t) FROM (SELECT unnest($times) AS t)"
    told = calendar.execute(query, {"zone": zone, "times": times}).fetchall()
    assert [_off(turns, time) for time in times] == [off for (off,) in told]
    assert [turn.begins for turn in turns] == sorted({turn.begins for turn in turns})


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(st.none() | st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2090, 1, 1)), min_size=1, max_size=30),
)
@example("Europe/Berlin", [clocks.BEGIN, clocks.END, clocks.BEGIN - dt.timedelta(microseconds=1), None])
def test_what_is_compared_is_what_a_calendar_says(calendar, zone, times):
    rows = ibis.memtable(pa.table({"n": range(len(times)), "at": pa.array(times, pa.timestamp("us"))}))
    told = rows.select("n", wall=parsing.local(rows["at"], zone)).order_by("n").to_pyarrow()
    said = calendar.execute(
        "SELECT timezone($zone, timezone('UTC', t)) FROM (SELECT unnest($times) AS t)", {"zone": zone, "times": times}
    ).fetchall()
    assert told["wall"].to_pylist() == [time for (time,) in said]


def test_what_is_worked_out_on_the_way_is_worked_out_once():
    """Each comparison would repeat it, and what is worked out from that would repeat the repeated."""
    rows = ibis.table({"text": "string", "at": "timestamp"}, name="rows")
    read = rows.mutate(at=rows["text"].try_cast("timestamp"), stored=rows["at"])
    joined = read.filter(read["text"] != "").inner_join(rows.select("text"), "text")
    for zone in ("Europe/Berlin", "Asia/Tokyo"):
        assert str(ibis.to_sql(joined.select(there=parsing.local(joined["at"], zone)))).upper().count("TRY_CAST") == 1
        there = str(ibis.to_sql(joined.select(there=parsing.local(joined["stored"], zone))))
        assert there.count("CASE") == len(clocks.to_wall(zone))


@pytest.mark.parametrize("zone", [*ZONES, "Africa/Cairo", "America/Havana", "America/Santiago", "Asia/Beirut", "America/Asuncion"])
def test_a_day_begins_when_parsing_says_so(calendar, zone):
    # days on which clocks are turned, the day before and the day after
    turned = [turn.begins.date() for turn in clocks.to_wall(zone)]
    days = [day + dt.timedelta(days=off) for day in turned for off in (-1, 0, 1)]
    rows = ibis.memtable(pa.table({"n": range(len(days)), "at": pa.array([dt.datetime(*d.timetuple()[:3]) for d in days])}))
    told = rows.select("n", begins=parsing.utc(rows["at"], zone)).order_by("n").to_pyarrow()["begins"].to_pylist()
    assert [clocks.day_begins(day, zone) for day in days] == told
    assert inference.microseconds(days[0], zone) == (told[0] - dt.datetime(1970, 1, 1)).total_seconds() * 1e6


def test_engines_side_by_side_share_what_one_may_take():
    assert memory.share(2) == max(memory.share() // 2, memory.LEAST_BYTES)
    assert memory.share(10_000) == memory.LEAST_BYTES
