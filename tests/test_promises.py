"""Until when is what was promised in time?"""

import datetime as dt

import ibis
import pytest

from clientbook import parsing, promises

LAST = dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    "zone, day, hours",
    [
        ("UTC", dt.date(2024, 3, 1), 24),
        ("Europe/Berlin", dt.date(2024, 3, 1), 24),
        ("Europe/Berlin", dt.date(2024, 3, 31), 23),
        ("America/New_York", dt.date(2024, 11, 3), 25),
        # there is no midnight on the first, and there are two on the second
        ("Africa/Cairo", dt.date(2024, 4, 26), 23),
        ("America/Havana", dt.date(2024, 11, 3), 24),
    ],
)
def test_a_day_is_kept_until_its_end_and_an_hour_until_then(zone, day, hours):
    begins = ibis.memtable({"n": [0]}).select(at=parsing.utc(parsing.midnight(day), zone)).to_pyarrow()["at"][0].as_py()
    noon = begins + dt.timedelta(hours=12)
    rows = ibis.memtable({"n": [0, 1, 2], "at": [begins, noon, None]}, schema={"n": "int64", "at": "timestamp"})
    told = rows.select("n", due=promises.due(rows["at"], zone)).order_by("n").to_pyarrow()["due"].to_pylist()
    assert told == [begins + dt.timedelta(hours=hours) - LAST, noon, None]
