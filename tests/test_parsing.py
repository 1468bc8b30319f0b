"""What a delivered value means, and that no value is ever too odd to be judged."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clientbook import engine as engines
from clientbook import parsing
from clientbook.parsing import Reading

KINDS = ("id", "text", "number", "money", "time", "date", "flag")
BERLIN = Reading(zone="Europe/Berlin")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch"), threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def parse(engine):
    def read(values, kind, reading=None, arrow=None):
        reading = reading or Reading()
        table = ibis.memtable(pa.table({"v": pa.array(values, arrow)}))
        parsed = parsing.parse(table.v, kind, reading).name("v").as_table()
        return engine.connection.to_pyarrow(parsed)["v"].to_pylist()

    return read


@pytest.fixture(scope="module")
def detect(engine):
    def formats(*values, arrow=None):
        arrow = arrow or pa.string()
        name = f"given_{abs(hash(values))}"
        table = engine.connection.create_table(name, pa.table({"v": pa.array(values, arrow)}), overwrite=True)
        return parsing.detect_formats(table.v)

    return formats


ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=15),
    st.text("0123456789-+.,:/TZ eE'%", max_size=22),
    st.sampled_from(["infinity", "-infinity", "epoch", "nan", "now", "2024-02-30", "0001-01-01", "9999-12-31", "1e400", "\0"]),
)
FORMATS = ("%d.%m.%Y %H:%M", "%d/%m/%Y", "%Y%m%d", "%d.%m.%Y %H:%M %z", "%b %d, %Y")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, max_size=80))
def test_no_text_is_too_odd_for_any_kind(engine, values):
    table = ibis.memtable(pa.table({"v": pa.array(values, pa.string())}))
    readings = (Reading(), Reading(",", "America/New_York", FORMATS))
    asked = {f"{kind}{i}": parsing.parse(table.v, kind, readings[i]) for kind in KINDS for i in (0, 1)}
    parsed = engine.connection.to_pyarrow(table.select(**asked)).to_pydict()
    assert {len(column) for column in parsed.values()} == {len(values)}
    for name, column in parsed.items():
        for value in (v for v in column if v is not None):
            match name[:-1]:
                case "id" | "text":
                    assert value and value == value.strip()
                case "number" | "money":
                    assert math.isfinite(value) and abs(value) <= parsing.LARGEST
                case "time":
                    assert parsing.EARLIEST <= value.date() < parsing.LATEST
                case "date":
                    assert parsing.OLDEST <= value < parsing.LATEST


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, max_size=80))
def test_what_was_read_once_reads_the_same_again(parse, values):
    texts = parse(values, "text", arrow=pa.string())
    assert parse(texts, "text", arrow=pa.string()) == texts
    numbers = parse(values, "number", arrow=pa.string())
    assert parse([None if n is None else repr(n) for n in numbers], "number", arrow=pa.string()) == numbers
    times = parse(values, "time", BERLIN, pa.string())
    assert parse([None if t is None else f"{t.isoformat()}Z" for t in times], "time", BERLIN, pa.string()) == times
    flags = parse(values, "flag", arrow=pa.string())
    assert parse([None if f is None else str(f) for f in flags], "flag", arrow=pa.string()) == flags


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2199, 12, 30)), max_size=30), st.integers(-14, 14))
def test_a_time_with_an_offset_is_the_instant_that_python_says(parse, times, hours):
    zone = dt.timezone(dt.timedelta(hours=hours, minutes=30 if 0 < hours < 14 else 0))
    texts = [t.replace(tzinfo=zone).isoformat(sep=" " if hours % 2 else "T") for t in times]
    expected = [t.replace(tzinfo=zone).astimezone(dt.UTC).replace(tzinfo=None) for t in times]
    assert parse(texts, "time", BERLIN, pa.string()) == expected


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(10**14), 10**14).map(lambda n: n / 100), max_size=30))
@example([0.1, -1234.56, 999999999999.99])
def test_money_written_in_either_way_is_the_same_money(parse, amounts):
    english, german = [f"{a:,.2f}" for a in amounts], []
    for text in english:
        german.append(text.replace(",", " ").replace(".", ",").replace(" ", "."))
    expected = [a if abs(a) <= parsing.LARGEST else None for a in amounts]
    assert parse(english, "money", arrow=pa.string()) == expected
    assert parse(german, "money", Reading(","), pa.string()) == expected


@pytest.mark.parametrize(
    ("values", "arrow", "ids"),
    [
        (["007", " 7 ", "7.0", "1e3", "", "  ", None], pa.string(), ["007", "7", "7.0", "1e3", None, None, None]),
        (["\u00a0A1\u00a0", "\ufeffB", "\u3000", "a b"], pa.string(), ["A1", "B", None, "a b"]),
        ([7, None, 2**53 + 1], pa.int64(), ["7", None, "9007199254740993"]),
        ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
        ([12345.0, None, 1.5, -0.0], pa.float64(), ["12345", None, "1.5", "0"]),
        ([7.0, float("nan")], pa.float32(), ["7", None]),
        ([decimal.Decimal("7.00"), decimal.Decimal("7.10")], pa.decimal128(10, 2), ["7", "7.10"]),
        (["a", "a", None], pa.dictionary(pa.int8(), pa.string()), ["a", "a", None]),
        ([True, None], pa.bool_(), ["true", None]),
        ([None, None], pa.null(), [None, None]),
    ],
)
def test_ids_stay_what_they_were(parse, values, arrow, ids):
    assert parse(values, "id", arrow=arrow) == ids


def test_floats_that_are_no_ids_do_not_stop_the_others(parse):
    parsed = parse([float("inf"), 1e300, 3.0, float("nan")], "id", arrow=pa.float64())
    assert parsed[2:] == ["3", None]


NUMBERS = {
    "5": (5, 5), "+5": (5, 5), "-5": (-5, -5), " 5 ": (5, 5), "1e5": (1e5, 1e5), "1e12": (1e12, 1e12),
    "1.5": (1.5, None), "1,5": (None, 1.5), ".5": (0.5, None), ",5": (None, 0.5),
    "1,234.5": (1234.5, None), "1.234,5": (None, 1234.5), "1,234": (1234, 1.234), "1.234": (1.234, 1234),
    "1 234": (1234, 1234), "1'234": (1234, 1234), "1’234": (1234, 1234), "1\u00a0234": (1234, 1234),
    "1\u202f234": (1234, 1234), "1.234.567": (None, 1234567), "12,34,567": (None, None),
}  # fmt: skip
NO_NUMBERS = ("", " ", "nan", "NaN", "inf", "-inf", "Infinity", "1e400", "1e13", "-1e13", "1.2.3", "1,2,3", "--5", "5-",
              "(5)", "€5", "5 %", "0x10", "1_000", "1e", "e5", ".", ",", "-", "١٢", "five", "<b>5</b>")  # fmt: skip


@pytest.mark.parametrize("place", [0, 1], ids=["point", "comma"])
def test_numbers_as_people_write_them(parse, place):
    reading = Reading(".,"[place])
    assert parse(list(NUMBERS), "number", reading, pa.string()) == [both[place] for both in NUMBERS.values()]
    assert parse(list(NO_NUMBERS), "number", reading, pa.string()) == [None] * len(NO_NUMBERS)


def test_numbers_that_come_as_numbers(parse):
    assert parse([1, None, 2**62], "number", arrow=pa.int64()) == [1.0, None, None]
    assert parse([1.5, float("nan"), float("inf"), 1e13], "money", arrow=pa.float64()) == [1.5, None, None, None]
    assert parse([decimal.Decimal("1.10")], "money", arrow=pa.decimal128(10, 2)) == [1.1]
    assert parse([True, False, None], "number", arrow=pa.bool_()) == [1.0, 0.0, None]


def test_flags(parse):
    assert parse(["yes", "JA", " x ", "1", "True"], "flag", arrow=pa.string()) == [True] * 5
    assert parse(["no", "Nein", "0", "false"], "flag", arrow=pa.string()) == [False] * 4
    assert parse(["", "maybe", "2", None], "flag", arrow=pa.string()) == [None] * 4
    assert parse([1, 0, 2, None], "flag", arrow=pa.int64()) == [True, False, None, None]
    assert parse([True, None], "flag", arrow=pa.bool_()) == [True, None]


at = dt.datetime
TIMES = {
    "2024-01-05": at(2024, 1, 4, 23), "2024-1-5": at(2024, 1, 4, 23), "2024/07/05": at(2024, 7, 4, 22),
    "2024-01-05T10:00": at(2024, 1, 5, 9), "2024-07-05 10:00:00.5": at(2024, 7, 5, 8, 0, 0, 500000),
    "2024-01-05T10:00:00Z": at(2024, 1, 5, 10), "2024-01-05T10:00Z": at(2024, 1, 5, 10),
    "2024-01-05 10:00:00 UTC": at(2024, 1, 5, 10), "2024-01-05 10:00:00z": at(2024, 1, 5, 10),
    "2024-01-05T10:00:00+02": at(2024, 1, 5, 8), "2024-01-05T10:00:00-0530": at(2024, 1, 5, 15, 30),
    "2024-01-05 10:00:00 +05:30": at(2024, 1, 5, 4, 30), "2024-01-05T24:00:00": at(2024, 1, 5, 23),
    "1900-01-02": at(1900, 1, 1, 23), "2199-12-31": at(2199, 12, 30, 23),
}  # fmt: skip
NO_TIMES = ("2024-02-30", "2024-13-01", "0001-01-01", "9999-12-31", "1899-12-30", "2024-01-05T25:00", "2024-01-05 10:61",
            "2024-01-05T10:00:00+99:00", "2024-01-05T10:00:00-05:00:00", "2024-01-05 10:00 Mars/Olympus", "24-01-05",
            "01-02-24", "epoch", "infinity", "today", "44-03-15 (BC)", "2024", "", "10:00", "31.02.2024")  # fmt: skip


def test_iso_times_are_read_in_the_zone_of_the_clock_unless_they_say_another(parse):
    assert parse(list(TIMES), "time", BERLIN, pa.string()) == list(TIMES.values())


def test_a_count_from_1970_is_found_out_and_is_no_day_and_hour(parse, detect):
    counts = {
        "1717200000": at(2024, 6, 1),
        "1717200000123": at(2024, 6, 1, 0, 0, 0, 123_000),
        "1717200000123456": at(2024, 6, 1, 0, 0, 0, 123_456),
        "1717200000123456789": at(2024, 6, 1, 0, 0, 0, 123_456),
        "1717200000.25": at(2024, 6, 1, 0, 0, 0, 250_000),
        "2024060112": None,
        "171720000012": None,
        "2717200000": None,
    }
    assert detect(*list(counts)[:5]) == ((parsing.EPOCH,), None)
    assert detect("20240601", "20240602") == (("%Y%m%d",), None)
    # whatever the clock of the source shows, a count is one of UTC
    reading = Reading(zone="Europe/Berlin", formats=(parsing.EPOCH,))
    assert parse(list(counts), "time", reading, pa.string()) == list(counts.values())


def test_what_is_no_time_is_none_whatever_the_database_would_make_of_it(parse):
    found = parse(list(NO_TIMES), "time", Reading(zone="Europe/Berlin", formats=("%d.%m.%Y",)), pa.string())
    assert dict(zip(NO_TIMES, found, strict=True)) == dict.fromkeys(NO_TIMES)


@pytest.mark.parametrize("text", ["2024-03-31T02:30:00", "31.03.2024 02:30"])
def test_an_hour_that_the_clock_left_out_is_the_one_after(parse, text):
    # 02:30 was not shown in Berlin that day; the clock went from 02:00 to 03:00
    reading = Reading(zone="Europe/Berlin", formats=("%d.%m.%Y %H:%M",))
    assert parse([text], "time", reading, pa.string()) == [at(2024, 3, 31, 1, 30)]


def test_an_hour_that_the_clock_showed_twice_is_one_of_the_two_and_always_the_same(parse):
    texts = ["2024-10-27T02:30:00", "2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00"]
    unsaid, summer, winter = parse(texts, "time", BERLIN, pa.string())
    assert (summer, winter) == (at(2024, 10, 27, 0, 30), at(2024, 10, 27, 1, 30))
    assert unsaid == winter


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_that_come_as_times(parse, unit):
    noon = [at(2024, 7, 5, 12), None]
    assert parse(noon, "time", BERLIN, pa.timestamp(unit)) == [at(2024, 7, 5, 10), None]
    assert parse(noon, "time", BERLIN, pa.timestamp(unit, "UTC")) == noon
    late = [at(2024, 7, 4, 23, 30)]
    assert parse(late, "date", BERLIN, pa.timestamp(unit, "UTC")) == [dt.date(2024, 7, 5)]
    assert parse(late, "date", BERLIN, pa.timestamp(unit)) == [dt.date(2024, 7, 4)]
    assert parse([dt.date(2024, 7, 5), dt.date(9999, 12, 31)], "time", BERLIN, pa.date32()) == [at(2024, 7, 4, 22), None]


def test_a_birth_date_has_no_zone_and_a_plausible_year(parse):
    texts = ["1980-02-29", "1981-02-29", "1980-02-29T23:30:00-08:00", "0001-01-01", "0999-12-31", "1000-01-01", "29.02.1980"]
    leap = dt.date(1980, 2, 29)
    assert parse(texts, "date", Reading(zone="Asia/Tokyo", formats=("%d.%m.%Y",)), pa.string()) == [
        leap, None, leap, None, None, dt.date(1000, 1, 1), leap
    ]  # fmt: skip


def test_a_format_that_the_book_gives_goes_before_iso(parse):
    assert parse(["2024-02-01"], "time", Reading(formats=("%Y-%d-%m",)), pa.string()) == [at(2024, 1, 2)]
    assert parse(["10:30 01-02-2024"], "time", Reading(formats=("%H:%M %d-%m-%Y",)), pa.string()) == [at(2024, 2, 1, 10, 30)]


def test_a_format_with_an_offset_tells_an_instant(parse):
    reading = Reading(zone="Europe/Berlin", formats=("%d.%m.%Y %H:%M %z",))
    assert parse(["05.01.2024 10:00 +0500"], "time", reading, pa.string()) == [at(2024, 1, 5, 5)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_utc_and_local_undo_each_other(engine, zone):
    times = [at(2024, 1, 5, 12), at(2024, 7, 5, 12), at(1950, 1, 1), None]
    table = ibis.memtable(pa.table({"v": pa.array(times, pa.timestamp("us"))}))
    there = parsing.local(table.v, zone)
    back = engine.connection.to_pyarrow(table.select(there=there, back=parsing.utc(there, zone)))
    assert back["back"].to_pylist() == times
    assert (back["there"].to_pylist() == times) == (zone == "UTC")


def test_the_column_decides_whether_the_day_or_the_month_stands_first(detect):
    assert detect("01/02/2024", "13/02/2024") == (("%d/%m/%Y",), None)
    assert detect("01/02/2024", "02/13/2024") == (("%m/%d/%Y",), None)
    assert detect("01.02.2024 10:00", "13.02.2024 10:00") == (("%d.%m.%Y %H:%M",), None)
    # a value that reads in no order, and one that is ISO 8601, decide nothing
    assert detect("01/02/2024", "13/02/2024", "45/45/2024", "2024-01-02", None, "") == (("%d/%m/%Y",), None)
    assert detect("2024-01-02", "2024-01-02T10:00:00Z", None) == ((), None)
    # the same day either way
    assert detect("01/01/2024", "02/02/2024")[1] is None


def test_values_with_a_time_of_day_decide_for_those_without(detect):
    formats, fault = detect("01/02/2024", "03/04/2024", "13/02/2024 10:00", "14/02/2024 10:00")
    assert (set(formats), fault) == ({"%d/%m/%Y", "%d/%m/%Y %H:%M"}, None)


def test_a_column_that_reads_both_ways_is_told_with_both_readings(detect):
    for values in (("01/02/2024", "03/04/2024"), ("13/02/2024", "02/13/2024")):
        _, fault = detect(*values)
        assert "%d/%m/%Y" in fault.message and "%m/%d/%Y" in fault.message
        assert "dates" in fault.remedy
        assert not re.search(r"2024", str(fault)), "a message holds no value"


def test_days_written_as_whole_numbers_or_with_names_of_months_are_found(detect):
    assert detect(20240131, 20240201, arrow=pa.int64()) == (("%Y%m%d",), None)
    formats, fault = detect("19970101", "5 Jan 2024", "Jan 5, 2024", "20240105T101500", "01/31/2024 10:00 PM")
    assert fault is None
    assert set(formats) >= {"%Y%m%d", "%d %b %Y", "%b %d, %Y", "%Y%m%dT%H%M%S", "%m/%d/%Y %I:%M %p"}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, min_size=1, max_size=30))
def test_columns_read_together_are_what_each_is_by_itself(engine, values):
    table = ibis.memtable(pa.table({"v": pa.array(values, pa.string()), "n": list(range(len(values)))}))
    readings = dict.fromkeys(KINDS, Reading(decimal=",", zone="Europe/Berlin", formats=("%d.%m.%Y",)))
    apart = table.select("n", **{kind: parsing.parse(table.v, kind, readings[kind]) for kind in KINDS}).order_by("n")
    together = parsing.parse_all(table, {kind: (table.v, kind, readings[kind]) for kind in KINDS}).drop("v").order_by("n")
    assert engine.connection.to_pyarrow(together).to_pylist() == engine.connection.to_pyarrow(apart).to_pylist()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, min_size=1, max_size=30))
def test_a_column_without_untidy_values_may_skip_the_tidying(engine, values):
    table = ibis.memtable(pa.table({"v": pa.array(values, pa.string())}))
    untidy = engine.connection.to_pyarrow(parsing.is_untidy(table.v).name("u").as_table())["u"].to_pylist()
    clean = [value for value, is_untidy in zip(values, untidy, strict=True) if not is_untidy]
    table = ibis.memtable(pa.table({"v": pa.array(clean, pa.string()), "n": list(range(len(clean)))}))
    read = [parsing.parse_all(table, {"text": (table.v, "text", BERLIN)}, tidy).order_by("n") for tidy in ((), ("text",))]
    first, second = (engine.connection.to_pyarrow(each)["text"].to_pylist() for each in read)
    assert first == second


def plain_amount(said: str, signs: tuple[str, ...]) -> float | None:
    """With a decimal point, in so many plain steps."""
    said = said.replace(" ", "").replace("\xa0", "")
    negative = False
    if said.startswith("(") and said.endswith(")"):
        said, negative = said[1:-1], True
    for minus in ("-", ""):
        if minus and said.endswith(minus):
            said, negative = said[:-1], True
    for _ in range(2):
        if said[:1] in ("-", "+"):
            negative, said = negative or said[0] == "-", said[1:]
        for sign in signs:
            said = said.removeprefix(sign).removesuffix(sign)
    said = re.sub(r"^(\d{1,3})((,\d{3})+)(\.\d*)?$", lambda m: m[1] + m[2].replace(",", "") + (m[4] or ""), said)
    return None if not re.fullmatch(r"\d+\.?\d*|\.\d+", said) else (-1 if negative else 1) * float(said)


@pytest.mark.parametrize(
    ("currency", "said"),
    [("USD", "$67.00"), ("USD", "$67,391.00"), ("GBP", "£1,234.50"), ("GBP", "£5"), ("EUR", "€9.99"), ("EUR", "9.99€"), ("EUR", "9.99 €"),
     ("USD", "12.50 USD"), ("EUR", "EUR 9.99"), ("USD", "usd 1,200"), ("USD", "(123.45)"), ("USD", "-$12.00"), ("USD", "$-12.00"),
     ("USD", "12-"), ("USD", "($1,200.50)"), ("CHF", "CHF 5"), ("SEK", "120kr"), ("BRL", "R$ 12.50"), ("CAD", "$5")],
)  # fmt: skip
def test_amounts_are_read_with_the_sign_of_their_money(parse, currency, said):
    signs = {"USD": ("$", "USD", "usd"), "CAD": ("$",), "BRL": ("R$",), "SEK": ("kr",)}.get(currency, ("€", "£", currency))
    expected = plain_amount(said, signs)
    assert expected is not None and parse([said], "money", Reading(currency=currency)) == [expected]
    # a count has no money
    assert parse([said], "number", Reading(currency=currency)) == [None]


def test_an_amount_of_other_money_or_none_at_all_is_not_read(parse):
    said = ["£5", "USD 5", "5 $", "€", "()", "1-2", "EUR", "--5", "(-5)", "€5€€", "5 EURO"]
    assert parse(said, "money", Reading(currency="EUR")) == [None] * len(said)
    assert parse(["12,00 €", "1.234,56 €", "-3,5"], "money", Reading(",", currency="EUR")) == [12.0, 1234.56, -3.5]
    assert parse(["€5", "5"], "money") == [None, 5.0]
