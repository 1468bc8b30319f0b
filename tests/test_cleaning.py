"""What of the delivered rows can be used, and what became of each of the rest: counted a second time in plain Python."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import shutil
from collections import Counter
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, shared_data
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clientbook import cleaning, workers
from clientbook import engine as engines
from clientbook.book import open_book
from clientbook.cleaning import readers
from clientbook.faults import FaultError
from clientbook.tables import CANONICAL, owner_column

AS_OF = dt.date(2024, 6, 1)
FATES = cleaning.ROW_COUNTS[1:]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


@pytest.fixture
def clean(make_book, engine):
    """Cleans a made book; the settings are those below `sources`."""

    def cleaned(sources, as_of=AS_OF, zone="Europe/Berlin", **files):
        folder = make_book(f"name: Made\ntimezone: {zone}\nsources:\n{sources}", **files)
        return cleaning.clean(open_book(folder), engine, as_of)

    return cleaned


def rows(table, *columns):
    table = table.select(*columns) if columns else table
    return [tuple(row.values()) for row in table.to_pyarrow().to_pylist()]


def told_quality(cleaned):
    return cleaning.quality(cleaned, cleaned.tables, SimpleNamespace(settings=SimpleNamespace(sources=Owners())))


class Owners(dict):
    """Sources that nobody owns."""

    def __missing__(self, name):
        return SimpleNamespace(owner=None)


def counts(cleaned):
    """What became of the rows, without the fates that none met."""
    return [{name: row[name] for name in ("source", "table", "file", *cleaning.ROW_COUNTS) if row[name]} for row in cleaned.rows]


def as_csv(header, records, delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([header, *records])
    return out.getvalue()


# --- A second count, in plain Python -----------------------------------------------------------------------------

HEADER = ("Nr", "Kunde", "Datum", "Artikel", "Menge", "Preis", "amount", "Notiz", "unread")
ORDER_IDS = ("A1", "A2", "C1", "", " ")
PERSONS = ("007", "7", "b", "<script>alert(1)</script>", "")
TIMES = {
    "2024-01-05": dt.datetime(2024, 1, 4, 23),
    "2024-05-31T23:59:59": dt.datetime(2024, 5, 31, 21, 59, 59),
    "2024-06-01": dt.datetime(2024, 5, 31, 22),
    "2024-05-31T22:30:00Z": dt.datetime(2024, 5, 31, 22, 30),
    "2024-05-31 21:30:00+00": dt.datetime(2024, 5, 31, 21, 30),
    "2024-02-30": None,
    "soon": None,
    "": None,
}
NUMBERS = {"2": 2.0, "1": 1.0, "0": 0.0, "-1": -1.0, "1,234.50": 1234.5, " 3 ": 3.0, "x": None, "1e400": None, "": None}


def one_of(values):
    return st.sampled_from(list(values))


RECORD = st.tuples(
    one_of(ORDER_IDS), one_of(PERSONS), one_of(TIMES), one_of(["p", ""]), one_of(NUMBERS), one_of(NUMBERS),
    one_of(["", "", "-2", "5", "y"]), one_of(["", "n"]), one_of(["1", "2"]),
)  # fmt: skip


@st.composite
def deliveries(draw):
    """Files of order lines, in which many are alike."""
    pool = draw(st.lists(RECORD, min_size=1, max_size=30))
    return [draw(st.lists(one_of(pool), max_size=40)) for _ in range(3)]


def count_again(files, cancelled):
    """The accounting rules of orders, row by row.

    Parameters
    ----------
    files
        Name to records.
    cancelled
        Whether an order whose id starts with C is a cancellation.
    """
    limit = dt.datetime(2024, 6, 1, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(dt.UTC).replace(tzinfo=None)
    seen, fates, orders, returns, rejected, changes = set(), {}, [], [], [], []
    whole = []
    for file, records in files.items():
        fates[file] = Counter()
        if records in whole and records:
            # the same content again is one delivery, packed or not, also where its rows have no number of their own
            fates[file]["merged"] = len(records)
            continue
        whole.append(records)
        for number, record in enumerate(records, 2):
            order_id, person, when, product, quantity, price, amount, note, _ = record
            mapped = record[:8]
            if order_id.strip():
                if mapped in seen:
                    fates[file]["merged"] += 1
                    continue
                seen.add(mapped)
            time = TIMES[when]
            if not person:
                fates[file]["rejected"] += 1
                rejected.append((file, number, "Kunde", "person_id is missing"))
                continue
            if time is None:
                fates[file]["rejected"] += 1
                reason = "ordered_at is not a valid time" if when else "ordered_at is missing"
                rejected.append((file, number, "Datum", reason))
                continue
            if time >= limit:
                fates[file]["later"] += 1
                continue
            n, p, a = NUMBERS[quantity], NUMBERS[price], {"": None, "y": None}.get(amount, amount)
            a = None if a is None else float(a)
            back = any(value is not None and value < 0 for value in (n, p, a)) or (cancelled and order_id.startswith("C"))
            n = 1.0 if quantity == "" else n
            if a is None and amount != "y" and n is not None and p is not None:
                a = n * p
            fates[file]["returns" if back else "kept"] += 1
            line = (person, time, order_id.strip() or None, product or None)
            if back:
                returns.append((*line, None if n is None else abs(n), None if a is None else abs(a), file, number))
            else:
                orders.append((*line, n, a, note or None, file, number))
            for name, before, bad in (
                ("quantity", quantity, quantity in ("x", "1e400")),
                ("unit_price", price, price in ("x", "1e400")),
                ("amount", amount, amount == "y"),
            ):
                if bad:
                    changes.append((name, before, file, number))
    return fates, orders, returns, rejected, changes


def gather_again(files):
    """The records with what their order says of its buyer and its time in another line, if it says one thing."""
    said = {}
    for record in (record for records in files.values() for record in records):
        for place in (1, 2):
            said.setdefault((record[0].strip(), place), set()).update({record[place]} - {""})

    def told(record, place):
        known = said[record[0].strip(), place] if record[0].strip() else set()
        return min(known) if not record[place] and len(known) == 1 else record[place]

    return {file: [(r[0], told(r, 1), told(r, 2), *r[3:]) for r in records] for file, records in files.items()}


PLAIN = ("", "007", "2024-01-05", "p", "2", "2", "", "", "1")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(deliveries(), st.booleans())
@example([[("A1", "007", "2024-01-05", "p", "2", "1", "", "", "1")] * 3, [], []], True)
@example([[PLAIN], [], [PLAIN]], True)
@example([[], [PLAIN, PLAIN], [PLAIN, PLAIN]], False)
def test_every_row_is_accounted_for_as_a_second_count_says(engine, tmp_path_factory, given_files, cancelled):
    folder = tmp_path_factory.mktemp("book")
    files = dict(zip(("orders_1.csv", "orders_2.csv.gz", "orders_3.csv"), given_files, strict=True))
    for name, records in files.items():
        content = as_csv(HEADER, records).encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    rule = "cancelled: order_id starts with C" if cancelled else ""
    (folder / "clientbook.yaml").write_text(f"""
name: Made
timezone: Europe/Berlin
sources:
  shop:
    orders:
      path: orders_*
      columns: {{order_id: Nr, person_id: Kunde, ordered_at: Datum, product_id: Artikel, quantity: Menge,
                unit_price: Preis, note: Notiz}}
      {rule}
""")
    gathered = gather_again(files)
    try:
        cleaned = cleaning.clean(open_book(folder), engine, AS_OF)
    except FaultError as error:
        # no line that left out its buyer or its time has an amount, and some other line has
        left_out = [a for f in files for a, b in zip(files[f], gathered[f], strict=True) if a != b]
        assert "whole order's" in str(error) and left_out and not any(record[6] for record in left_out)
        assert any(record[6] for records in files.values() for record in records)
        return
    files = gathered
    fates, orders, returns, rejected, changes = count_again(files, cancelled)

    assert [(row["file"], row["rows_in"]) for row in cleaned.rows] == [(f, len(records)) for f, records in files.items()]
    assert {row["file"]: {k: row[k] for k in FATES if row[k]} for row in cleaned.rows} == {f: dict(c) for f, c in fates.items()}
    names = ("person_id", "ordered_at", "order_id", "product_id", "quantity", "amount")
    assert rows(cleaned.tables["orders"], *names, "x_note", "file", "row") == orders
    names = ("person_id", "returned_at", "order_id", "product_id", "quantity", "amount")
    assert rows(cleaned.tables["returns"], *names, "file", "row") == returns
    assert rows(cleaned.tables["rejected"], "file", "row", "column", "reason") == rejected
    told = rows(cleaned.tables["changes"], "column", "before", "file", "row")
    assert Counter(told) == Counter(changes)
    for file, number, raw in rows(cleaned.tables["rejected"], "file", "row", "raw"):
        delivered = {name: value or None for name, value in zip(HEADER, files[file][number - 2], strict=True)}
        assert json.loads(raw) == {name: value for name, value in delivered.items() if name != "unread"}


# --- What counts -------------------------------------------------------------------------------------------------

ORDERS = "  shop:\n    orders: {path: o.csv}\n"


def test_rows_without_an_order_id_are_never_merged(clean):
    content = as_csv(("person_id", "ordered_at", "amount"), [("1", "2024-01-05", "5")] * 3)
    assert counts(clean(ORDERS, o__csv=content)) == [
        {"source": "shop", "table": "orders", "file": "o.csv", "rows_in": 3, "kept": 3}
    ]


SPREAD = """  shop:
    orders:
      path: o.csv
      columns: {order_id: Name, person_id: Email, ordered_at: Created at, product_id: sku, quantity: n, unit_price: price,
                status: Status, campaign: Code}
      cancelled: status is voided
"""
SPREAD_HEADER = ("Name", "Email", "Created at", "Status", "Code", "Total", "sku", "n", "price")
SPREAD_ROWS = [
    ("#1", "a@b.org", "2024-02-01 10:00:00 -0500", "paid", "SPRING", "40", "p", "2", "5"),
    ("#1", "", "", "", "", "", "q", "1", "30"),
    ("#2", "c@d.org", "2024-02-02 10:00:00 -0500", "voided", "", "9", "p", "1", "5"),
    ("#2", "", "", "", "", "", "r", "1", "4"),
    # two buyers under one number: whose the third line is, nobody knows
    ("#3", "a@b.org", "2024-02-03 10:00:00 -0500", "paid", "", "5", "p", "1", "5"),
    ("#3", "c@d.org", "", "", "", "", "q", "1", "30"),
    ("#3", "", "", "", "", "", "r", "1", "4"),
    # no number: nobody knows whose it is
    ("", "", "", "", "", "", "r", "1", "4"),
]


def test_lines_that_leave_out_what_stands_once_for_their_order_have_it_from_there(clean):
    cleaned = clean(SPREAD, **{"o.csv": as_csv(SPREAD_HEADER, SPREAD_ROWS)})
    assert rows(cleaned.tables["orders"], "order_id", "person_id", "product_id", "amount", "status", "campaign") == [
        ("#1", "a@b.org", "p", 10.0, "paid", "SPRING"),
        ("#1", "a@b.org", "q", 30.0, "paid", "SPRING"),
        ("#3", "a@b.org", "p", 5.0, "paid", None),
        ("#3", "c@d.org", "q", 30.0, "paid", None),
    ]
    # the second line of a cancelled order is cancelled too
    assert rows(cleaned.tables["returns"], "order_id", "product_id", "amount") == [("#2", "p", 5.0), ("#2", "r", 4.0)]
    assert rows(cleaned.tables["rejected"], "row", "reason") == [(8, "person_id is missing"), (9, "person_id is missing")]
    assert [note for note in cleaned.notes if note.startswith("sources.shop.orders, o.csv: 4 lines leave out")]


def test_the_sum_of_an_order_in_its_first_line_is_a_fault_beside_prices_of_lines(clean):
    with pytest.raises(FaultError, match="whole order's") as told:
        clean(SPREAD.replace("status: Status", "status: Status, amount: Total"), **{"o.csv": as_csv(SPREAD_HEADER, SPREAD_ROWS)})
    assert "Leave `amount` away" in str(told.value)
    # where no line has a price of its own, the sum is all there is
    alone = SPREAD.replace("unit_price: price", "amount: Total")
    cleaned = clean(alone, **{"o.csv": as_csv(SPREAD_HEADER, SPREAD_ROWS[:2])})
    assert rows(cleaned.tables["orders"], "order_id", "amount") == [("#1", 40.0), ("#1", None)]


def test_an_address_that_names_people_is_one_however_it_is_written(clean):
    cleaned = clean(
        "  list:\n    people: {path: p.csv, columns: {person_id: mail, email: mail}}\n    events: {path: e.csv}\n",
        **{"p.csv": "mail\nAnn@Mailhaus.net\n", "e.csv": "person_id,event_name,occurred_at\nann@mailhaus.net,open,2024-05-01\nA7,open,2024-05-01\n"},
    )
    assert rows(cleaned.tables["people"], "person_id") == [("ann@mailhaus.net",)]
    # any other id stays as it is
    assert rows(cleaned.tables["events"], "person_id") == [("ann@mailhaus.net",), ("A7",)]


def test_times_counted_from_1970_are_read_as_such(clean, tmp_path):
    noon = 1_717_200_000
    pq.write_table(pa.table({"p": ["a", "b"], "t": [noon, noon + 1], "e": ["x", "x"]}), tmp_path / "whole.parquet")
    columns = "columns: {person_id: p, occurred_at: t, event_name: e}"
    cleaned = clean(
        f"  web:\n    events:\n      - {{path: e.jsonl, {columns}}}\n      - {{path: {tmp_path / 'whole.parquet'}, {columns}}}\n",
        as_of=dt.date(2024, 6, 2),
        **{"e.jsonl": f'{{"p": "c", "t": {noon}123, "e": "x"}}\n{{"p": "d", "t": "{noon}.5", "e": "x"}}\n'},
    )
    at = dt.datetime(2024, 6, 1)
    assert rows(cleaned.tables["events"], "person_id", "occurred_at") == [
        ("c", at.replace(microsecond=123_000)),
        ("d", at.replace(microsecond=500_000)),
        ("a", at),
        ("b", at.replace(second=1)),
    ]


def test_events_without_an_event_id_are_never_merged_and_those_with_one_are(clean):
    header = ("event_id", "person_id", "event_name", "occurred_at")
    content = as_csv(header, [("", "1", "visit", "2024-01-05")] * 2 + [("e", "1", "visit", "2024-01-05")] * 2)
    cleaned = clean("  web:\n    events: {path: e.csv}\n", e__csv=content)
    assert [(row["kept"], row["merged"]) for row in cleaned.rows] == [(3, 1)]
    assert rows(cleaned.tables["events"], "event_id", "row") == [(None, 2), (None, 3), ("e", 4)]


def test_rows_are_alike_in_the_columns_that_the_book_maps(clean):
    content = as_csv(
        ("order_id", "person_id", "ordered_at", "who"), [("1", "a", "2024-01-05", "x"), ("1", "a", "2024-01-05", "y")]
    )
    assert counts(clean(ORDERS, o__csv=content))[0]["merged"] == 1
    mapped = "  shop:\n    orders: {path: o.csv, columns: {clerk: who}}\n"
    cleaned = clean(mapped, o__csv=content)
    assert counts(cleaned)[0]["kept"] == 2
    assert rows(cleaned.tables["orders"], "x_clerk") == [("x",), ("y",)]


def test_a_copy_of_a_rejected_row_is_merged_and_told_once(clean):
    content = as_csv(("order_id", "person_id", "ordered_at"), [("1", "", "2024-01-05")] * 2)
    cleaned = clean(ORDERS, o__csv=content)
    assert counts(cleaned)[0] == {
        "source": "shop", "table": "orders", "file": "o.csv", "rows_in": 2, "merged": 1, "rejected": 1
    }  # fmt: skip
    assert rows(cleaned.tables["rejected"], "row", "column", "reason") == [(2, "person_id", "person_id is missing")]


def test_the_day_begins_in_the_zone_of_the_book_and_clocks_show_the_zone_of_the_source(clean):
    header = ("person_id", "ordered_at")
    # 23:30 in New York is half past five the next morning in Berlin
    content = as_csv(header, [("a", "2024-05-31 17:59"), ("b", "2024-05-31 18:00"), ("c", "2024-05-31 23:30")])
    sources = "  shop:\n    timezone: America/New_York\n    orders: {path: o.csv}\n"
    cleaned = clean(sources, o__csv=content)
    assert rows(cleaned.tables["orders"], "person_id", "ordered_at", "ordered_on") == [
        ("a", dt.datetime(2024, 5, 31, 21, 59), dt.date(2024, 5, 31))
    ]
    assert cleaned.rows[0]["later"] == 2
    assert clean(sources, zone="America/New_York", o__csv=content).rows[0]["kept"] == 3
    sources = "  shop:\n    timezone: America/New_York\n    orders: {path: o.csv, timezone: Europe/Berlin}\n"
    assert clean(sources, o__csv=content).rows[0]["kept"] == 3


def test_cancellations_of_every_kind_become_returns(clean):
    header = ("order_id", "person_id", "ordered_at", "quantity", "amount", "status")
    line = ("a", "2024-01-05")
    records = [
        ("C1", *line, "1", "5", ""),
        ("1C", *line, "2", "5", "void"),
        ("XCX", *line, "-3", "-5", "VOID"),
        ("c9", *line, "0", "0", "0"),
    ]
    held = {
        "order_id starts with C": ["C1", "XCX"], "order_id ends with C": ["1C", "XCX"], "order_id contains C": ["C1", "1C", "XCX"],
        "order_id is c9": ["XCX", "c9"], "status is void": ["1C", "XCX"], "quantity is 0": ["XCX", "c9"],
    }  # fmt: skip
    for rule, expected in held.items():
        cleaned = clean(f"  shop:\n    orders: {{path: o.csv, cancelled: {rule}}}\n", o__csv=as_csv(header, records))
        assert [row[0] for row in rows(cleaned.tables["returns"], "order_id")] == expected, rule
        assert min(rows(cleaned.tables["returns"], "quantity", "amount")) >= (0, 0)


def test_a_rule_for_cancellations_can_ask_for_an_extra_column_but_for_none_that_is_not_there(clean):
    content = as_csv(("person_id", "ordered_at", "Storno"), [("a", "2024-01-05", "ja"), ("b", "2024-01-05", "")])
    sources = "  shop:\n    orders: {path: o.csv, columns: {void: Storno}, cancelled: void is ja}\n"
    assert rows(clean(sources, o__csv=content).tables["returns"], "person_id") == [("a",)]
    with pytest.raises(FaultError, match=r"sources\.shop\.orders\.cancelled.*`status`.*no column"):
        clean("  shop:\n    orders: {path: o.csv, cancelled: status is void}\n", o__csv=content)


def test_quantity_and_amount_have_defaults_and_a_bad_quantity_has_none(clean):
    header = ("person_id", "ordered_at", "quantity", "unit_price", "amount")
    line = ("a", "2024-01-05")
    records = [
        (*line, "", "1.1", ""),
        (*line, "3", "1.1", ""),
        (*line, "3", "1.1", "9"),
        (*line, "x", "1.1", ""),
        (*line, "2", "", ""),
    ]
    cleaned = clean(ORDERS, o__csv=as_csv(header, records))
    assert rows(cleaned.tables["orders"], "quantity", "amount") == [(1, 1.1), (3, 3.3), (3, 9), (None, None), (2, None)]
    assert rows(cleaned.tables["changes"], "column", "before", "after", "row") == [("quantity", "x", None, 5)]
    without = as_csv(("person_id", "ordered_at", "amount"), [("a", "2024-01-05", "7")])
    assert rows(clean(ORDERS, o__csv=without).tables["orders"], "quantity", "amount") == [(1, 7)]


def test_an_amount_that_cannot_be_read_is_not_made_of_price_and_quantity(clean):
    content = as_csv(
        ("person_id", "ordered_at", "quantity", "unit_price", "amount"),
        [("a", "2024-01-05", "2", "10", "12.00 XYZ"), ("b", "2024-01-05", "2", "10", ""), ("c", "2024-01-05", "2", "10", "12.00 EUR")],
    )
    cleaned = clean(ORDERS, o__csv=content)
    assert rows(cleaned.tables["orders"], "amount") == [(None,), (20,), (12,)]
    assert rows(cleaned.tables["changes"], "column", "before", "after", "row") == [("amount", "12.00 XYZ", None, 2)]


def test_a_delivered_column_that_the_book_gives_a_name_has_that_name_alone(clean):
    content = as_csv(("person_id", "ordered_at", "quantity", "amount"), [("a", "2024-01-05", "3", "2")])
    sources = "  shop:\n    orders: {path: o.csv, columns: {unit_price: amount}}\n"
    assert rows(clean(sources, o__csv=content).tables["orders"], "unit_price", "amount") == [(2, 6)]


def test_rows_that_tie_in_time_keep_the_order_of_arrival(clean):
    records = [(f"{n * 7919 % 100:03d}", "visit", "2024-01-05") for n in range(100)]
    content = as_csv(("person_id", "event_name", "occurred_at"), records)
    sources = "  web:\n    events:\n      - {path: b.csv}\n      - {path: a.csv}\n  app:\n    events: {path: a.csv}\n"
    # the same rows in other bytes: the same file again would be one that was delivered again
    cleaned = clean(sources, a__csv=content, b__csv=content.replace("\r\n", "\n"))
    assert [row[0] for row in rows(cleaned.tables["events"], "person_id")] == [record[0] for record in records] * 3
    assert [row["file"] for row in cleaned.rows] == ["b.csv", "a.csv", "a.csv"]
    arrivals = [row[0] for row in rows(cleaned.tables["events"], "arrival")]
    assert arrivals == sorted(set(arrivals))


def test_several_sources_stand_in_one_table_each_with_its_own_columns(clean):
    sources = """
  shop:
    orders: {path: o.csv, ids: {person_id: crm, product_id: erp}, columns: {loud: Laut}}
  pos:
    orders: {path: p.csv, decimal: ",", dates: "%d/%m/%Y"}
    returns: {path: r.csv, ids: {order_id: shop}}
  crm:
    people: {path: c.csv}
  erp:
    products: {path: e.csv}
"""
    cleaned = clean(
        sources,
        o__csv="person_id,ordered_at,amount,Laut\n007,2024-01-05,1.5,!\n",
        p__csv="person_id;ordered_at;amount\n007;01/02/2024;1,5\n008;02/02/2024;-2,5\n",
        r__csv="order_id,returned_at\n9,2024-02-05\n",
        c__csv="person_id,full_name\n007,Ann\n",
        e__csv="product_id,name\np,Pen\n",
    )
    assert rows(cleaned.tables["orders"], "source", "person_source", "product_source", "person_id", "amount", "x_loud") == [
        ("shop", "crm", "erp", "007", 1.5, "!"), ("pos", "pos", "pos", "007", 1.5, None)
    ]  # fmt: skip
    assert rows(cleaned.tables["returns"], "source", "order_source", "person_id", "amount") == [
        ("pos", "pos", "008", 2.5), ("pos", "shop", None, None)
    ]  # fmt: skip
    assert rows(cleaned.tables["orders"], "ordered_on")[1] == (dt.date(2024, 2, 1),)


def test_consents_that_name_marketing_by_another_word_are_told_with_the_remedy(clean):
    header = ("person_id", "purpose", "status", "indicated_at")

    def notes(*purposes, more=""):
        sources = f"\n  crm:\n    consents: {{path: c.csv{more}}}\n"
        told = clean(sources, c__csv=as_csv(header, [(str(n), name, "given", "2024-01-05") for n, name in enumerate(purposes)]))
        return [note for note in told.notes if note.startswith("consents:")]

    (note,) = notes("Newsletter", "ann@example.org")
    assert "Is 'Newsletter' that?" in note and "values: {purpose: {Newsletter: marketing}}" in note and "ann" not in note
    (note,) = notes("service")
    assert "service" not in note and "values: {purpose: {…: marketing}}" in note
    assert notes("Newsletter", "marketing") == notes("Newsletter", more=", values: {purpose: {Newsletter: marketing}}") == []


def test_values_are_translated_blanks_and_extra_columns_too(clean):
    sources = """
  crm:
    consents:
      path: c.csv
      columns: {level: Stufe}
      values: {status: {ja: given, nein: refused, "": unknown, x: null}, level: {A: gold}}
"""
    header = ("person_id", "purpose", "status", "indicated_at", "Stufe")
    records = [
        ("1", "marketing", status, "2024-01-05", level)
        for status, level in (("ja", "A"), (" nein ", "B"), ("", ""), ("given", ""))
    ]
    records += [("1", "marketing", status, "2024-01-05", "") for status in ("maybe", "x", "Given")]
    cleaned = clean(sources, c__csv=as_csv(header, records))
    assert rows(cleaned.tables["consents"], "status", "x_level") == [
        ("given", "gold"), ("refused", "B"), ("unknown", None), ("given", None)
    ]  # fmt: skip
    assert rows(cleaned.tables["rejected"], "row", "column", "reason") == [
        (6, "status", "status is not one of the values that are allowed"),
        (7, "status", "status is missing"),
        (8, "status", "status is not one of the values that are allowed"),
    ]


def test_numbers_of_a_file_with_types_need_no_decimal_mark(clean):
    content = json.dumps([{"person_id": 7, "ordered_at": 20240105, "unit_price": 1.5, "quantity": 2}]).encode()
    sources = "  shop:\n    orders: {path: o.json, decimal: ',', values: {unit_price: {'9': '0'}}}\n"
    cleaned = clean(sources, o__json=content)
    assert rows(cleaned.tables["orders"], "person_id", "ordered_on", "amount") == [("7", dt.date(2024, 1, 5), 3.0)]


def test_ids_of_parquet_keep_what_they_were(clean, tmp_path):
    table = pa.table({
        "person_id": pa.array([7, None, 2**53 + 1], pa.int64()),
        "order_id": pa.array([1.0, 2.0, float("nan")], pa.float64()),
        "product_id": ["007", "7", None],
        "ordered_at": pa.array([dt.datetime(2024, 1, 5)] * 3, pa.timestamp("ns")),
    })  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out)
    cleaned = clean("  shop:\n    orders: {path: o.parquet}\n", o__parquet=out.getvalue())
    assert rows(cleaned.tables["orders"], "person_id", "order_id", "product_id") == [
        ("7", "1", "007"), ("9007199254740993", None, None)
    ]  # fmt: skip
    assert rows(cleaned.tables["rejected"], "row", "column") == [(2, "person_id")]


def test_what_had_not_happened_yet_is_not_known_yet(clean):
    sources = """
  crm:
    messages: {path: m.csv}
    opportunities: {path: o.csv}
    deliveries: {path: d.csv}
    consents: {path: c.csv}
    people: {path: p.csv}
"""
    cleaned = clean(
        sources,
        m__csv="message_id,person_id,sent_at,opened_at,clicked_at\n1,a,2024-05-31,2024-05-31 12:00,2024-06-01\n2,a,2024-06-01,,\n",
        o__csv="opportunity_id,opened_at,closed_at,is_won\n1,2024-05-01,2024-06-02,yes\n2,2024-05-01,2024-05-30,no\n3,2024-06-03,,\n",
        d__csv="order_id,promised_at,delivered_at\n1,2024-07-01,2024-07-02\n2,2024-05-01,2024-05-02\n",
        c__csv="person_id,purpose,status,indicated_at,valid_to\n1,x,given,2024-05-01,2025-05-01\n1,x,given,2024-06-01,\n",
        p__csv="person_id,created_at,updated_at\n1,2024-05-01,2024-06-05\n2,2024-06-05,\n3,,\n",
    )
    assert rows(cleaned.tables["messages"], "message_id", "opened_at", "clicked_at", "purpose") == [
        ("1", dt.datetime(2024, 5, 31, 10), None, "marketing")
    ]
    assert rows(cleaned.tables["opportunities"], "opportunity_id", "is_won", "closed_at") == [
        ("1", None, None), ("2", False, dt.datetime(2024, 5, 29, 22))
    ]  # fmt: skip
    assert [(p is None, d is None) for p, d in rows(cleaned.tables["deliveries"], "promised_at", "delivered_at")] == [
        (False, True), (False, False)
    ]  # fmt: skip
    assert rows(cleaned.tables["consents"], "valid_to") == [(dt.datetime(2025, 4, 30, 22),)]
    assert rows(cleaned.tables["people"], "person_id", "updated_at") == [("1", None), ("3", None)]
    assert {row["table"]: row["later"] for row in cleaned.rows} == {
        "messages": 1, "opportunities": 1, "deliveries": 0, "consents": 1, "people": 1
    }  # fmt: skip
    # what is emptied because it lies ahead is no fault of the data
    assert rows(cleaned.tables["changes"]) == []


def test_bad_cells_that_may_be_empty_are_emptied_and_kept_in_changes(clean):
    content = "person_id,birth_date,social_reach,created_at\n1,1980-02-30,many,2024-13-01\n2,1980-02-29,5,2024-01-01\n"
    cleaned = clean("  crm:\n    people: {path: p.csv}\n", p__csv=content)
    assert rows(cleaned.tables["people"], "person_id", "birth_date", "social_reach") == [
        ("1", None, None), ("2", dt.date(1980, 2, 29), 5)
    ]  # fmt: skip
    assert sorted(rows(cleaned.tables["changes"], "column", "before", "after", "rule", "row")) == [
        ("birth_date", "1980-02-30", None, "not a valid date", 2),
        ("created_at", "2024-13-01", None, "not a valid time", 2),
        ("social_reach", "many", None, "not a number", 2),
    ]
    quality = told_quality(cleaned).set_index("rule")[["failed", "of"]].to_dict("index")
    assert quality["birth_date can be read"] == {"failed": 1, "of": 2}


def test_a_rejected_row_is_kept_as_it_was_delivered(clean):
    content = 'Nr;Kunde;"Tag ""x"""\n\' ;"Zoë ""Q""; \\ <b>\n2";never\n'
    sources = "  shop:\n    orders: {path: o.csv, columns: {order_id: Nr, person_id: Kunde, ordered_at: 'Tag \"x\"'}}\n"
    cleaned = clean(sources, o__csv=content)
    ((file, number, column, reason, raw),) = rows(cleaned.tables["rejected"], "file", "row", "column", "reason", "raw")
    assert (file, number, column, reason) == ("o.csv", 2, 'Tag "x"', "ordered_at is not a valid time")
    assert json.loads(raw) == {"Nr": "' ", "Kunde": 'Zoë "Q"; \\ <b>\n2', 'Tag "x"': "never"}


def test_a_rejected_row_of_people_keeps_the_good_cells_the_tidied_and_the_emptied(clean):
    header = ("person_id", "given_name", "phone", "email", "birth_date", "country")
    delivered = (None, " anna ", "000", "ANNA@X.DE", "1980-02-30", "Germany")
    beside = ("2", "Zo", "0170/2345678", "zo@x.de", "1980-02-29", "DE")
    cleaned = clean(PEOPLE, p__csv=as_csv(header, [[value or "" for value in row] for row in (delivered, beside)]))
    ((number, column, raw),) = rows(cleaned.tables["rejected"], "row", "column", "raw")
    assert (number, column) == (2, "person_id")
    assert json.loads(raw) == dict(zip(header, delivered, strict=True))
    # what became of the cells of a row that is not used is no change
    assert rows(cleaned.tables["changes"], "row", "column", "before") == [(3, "phone", "0170/2345678")]


def test_rows_that_cannot_be_cut_into_fields_are_rejected_too(clean):
    cleaned = clean(ORDERS, o__csv="person_id,ordered_at\n1,2024-01-05\n2\n3,2024-01-05,x\n")
    assert counts(cleaned)[0] == {
        "source": "shop", "table": "orders", "file": "o.csv", "rows_in": 3, "kept": 1, "rejected": 2
    }  # fmt: skip
    assert [row for row, *_ in rows(cleaned.tables["rejected"], "row", "raw")] == [3, 4]
    assert json.loads(rows(cleaned.tables["rejected"], "raw")[0][0]) == "2"


@pytest.mark.parametrize("name", CANONICAL)
def test_every_table_takes_a_whole_row_and_one_that_lacks_what_it_needs(clean, name):
    table = CANONICAL[name]
    good = {
        "id": "007",
        "text": "Words",
        "number": "5",
        "money": "5.50",
        "time": "2024-01-05",
        "date": "1980-02-29",
        "flag": "yes",
    }
    whole_row = [column.allowed[0] if column.allowed else good[column.kind] for column in table.columns]
    missing = ["" if column.required else cell for column, cell in zip(table.columns, whole_row, strict=True)]
    if name == "orders":
        # in another order: else the order's other line says what is missing
        missing[table.names.index("order_id")] = "008"
    cleaned = clean(f"  crm:\n    {name}: {{path: t.csv}}\n", t__csv=as_csv(table.names, [whole_row, missing]))
    (kept,) = cleaned.tables[name].to_pyarrow().to_pylist()
    expected = {
        "id": "007", "text": "Words", "number": 5.0, "money": 5.5, "time": dt.datetime(2024, 1, 4, 23),
        "date": dt.date(1980, 2, 29), "flag": True,
    }  # fmt: skip
    for column in table.columns:
        assert kept[column.name] == (column.allowed[0] if column.allowed else expected[column.kind]), column.name
    assert {owner_column(column): kept[owner_column(column)] for column in table.owned_ids} == dict.fromkeys(
        map(owner_column, table.owned_ids), "crm"
    )
    assert next(iter(kept)) == "source" and kept["source"] == "crm"
    assert rows(cleaned.tables["rejected"], "row", "column", "reason") == [
        (3, table.required[0], f"{table.required[0]} is missing")
    ]


# --- Faults of the delivery --------------------------------------------------------------------------------------


def test_every_delivery_that_cannot_be_used_is_told_at_once(clean):
    sources = """
  shop:
    orders: {path: o.csv, columns: {order_id: Nr, person_id: who}}
    returns: {path: gone.csv}
  web:
    events: {path: e.csv}
  erp:
    products: {sql: select 1, connection: "env:ERP"}
    content: {path: c.json}
"""
    with pytest.raises(FaultError) as caught:
        clean(
            sources, o__csv="Who,ordered_at\nSECRET,2024-01-05\n", c__json="[]",
            e__csv="person_id,event_name,occurred_at\nSECRET,x,01/02/2024\n",
        )  # fmt: skip
    told = {(fault.key, fault.column) for fault in caught.value.faults}
    assert told == {
        ("sources.shop.orders.columns.order_id", "Nr"), ("sources.shop.orders.columns.person_id", "who"),
        ("sources.shop.returns", ""), ("sources.web.events", "occurred_at"), ("sources.erp.products", ""),
        ("sources.erp.content", ""),
    }  # fmt: skip
    text = str(caught.value)
    assert "Did you mean 'Who'?" in text and "%d/%m/%Y" in text and "%m/%d/%Y" in text
    assert "SECRET" not in text and "01/02/2024" not in text


# --- Cells, ids, deliveries and what the tables say of each other -------------------------------------------------------

PEOPLE = "  crm:\n    owner: sales\n    people: {path: p.csv}\n"


def failed(cleaned, tables=None):
    frame = told_quality(cleaned)
    return {(row.source, row.table, row.rule): int(row.failed) for row in frame.itertuples() if row.failed}


def test_every_change_is_told_with_its_row_and_can_be_taken_back(clean):
    content = "person_id,given_name,phone,email,country\n1, anna ,0170/2345678,ANNA@X.DE,Germany\n2,N/A,000,x@@y.de,CH\n"
    cleaned = clean(PEOPLE, p__csv=content)
    assert rows(cleaned.tables["people"], "person_id", "given_name", "phone", "email", "country") == [
        ("1", "Anna", "+491702345678", "anna@x.de", "DE"), ("2", None, None, "x@@y.de", "CH")
    ]  # fmt: skip
    assert sorted(rows(cleaned.tables["changes"], "id", "column", "before", "after", "rule")) == sorted([
        ("1", "given_name", " anna ", "Anna", "blanks, case"), ("1", "phone", "0170/2345678", "+491702345678", "form"),
        ("1", "email", "ANNA@X.DE", "anna@x.de", "case"), ("1", "country", "Germany", "DE", "form"),
        ("2", "given_name", "N/A", None, "placeholder"), ("2", "phone", "000", None, "placeholder"),
    ])  # fmt: skip
    assert rows(cleaned.tables["people"], "email_key", "given_name_key") == [("anna@x.de", "anna"), (None, None)]
    assert failed(cleaned)["crm", "people", "email can be an address"] == 1
    told = cleaning.explain(cleaned.tables["changes"], "crm", "people", "2")
    assert list(told["column"]) == ["given_name", "phone"] and list(told["row"]) == [3, 3]
    back = cleaning.undo(cleaned.tables["people"], cleaned.tables["changes"], "people", "phone", ["form"]).order_by("arrival")
    assert rows(back, "phone") == [("0170/2345678",), (None,)]


def test_days_of_birth_that_nobody_has_are_emptied_but_not_those_of_history(clean):
    content = "person_id,birth_date\n" + "".join(
        f"{n},{day}\n"
        for n, day in enumerate(
            ["1900-01-01", "1890-05-05", "2025-01-01", "1980-02-29", "1975-01-01", "1990-01-01", "2001-01-01"]
        )
    )
    cleaned = clean(PEOPLE, p__csv=content)
    assert [row[0] for row in rows(cleaned.tables["people"], "birth_date")][:3] == [None] * 3
    assert dict(rows(cleaned.tables["changes"], "before", "rule")) == {
        "1900-01-01": "placeholder",
        "1890-05-05": "out of range",
        "2025-01-01": "out of range",
    }
    kept = clean(PEOPLE, p__csv="person_id,birth_date\n1,1749-08-28\n2,1770-12-16\n3,1990-01-01\n4,1900-01-01\n")
    assert None not in [row[0] for row in rows(kept.tables["people"], "birth_date")] and not rows(kept.tables["changes"])
    assert "birth_date lies outside its usual range (3 of 4)" in kept.notes[0]


def test_the_book_extends_it_without_code(make_book, engine):
    settings = """
name: Made
sources:
  crm: {people: {path: p.csv}}
cleaning:
  placeholders: {company: [Privatkunde], "*": [zzz]}
  keep: {family_name: [Test]}
  values: {industry: {Hotellerie: hotel}}
  allowed: {people.industry: [hotel, school]}
  ranges: {birth_date: [1950-01-01, null], social_reach: [0, 1000]}
  required: {people: [email]}
"""
    content = (
        "person_id,family_name,company,industry,birth_date,social_reach,email\n"
        "1,Test,Privatkunde,Hotellerie,1949-12-31,5,a@b.de\n2,zzz,Acme,Zoo,1950-01-01,1001,c@d.de\n3,Berg,,,,,\n4,Berg,,,,,n/a\n"
    )
    cleaned = cleaning.clean(open_book(make_book(settings, p__csv=content)), engine, AS_OF)
    assert rows(cleaned.tables["people"], "person_id", "family_name", "company", "industry", "birth_date", "social_reach") == [
        ("1", "Test", None, "hotel", None, 5.0), ("2", None, "Acme", None, dt.date(1950, 1, 1), None)
    ]  # fmt: skip
    assert rows(cleaned.tables["rejected"], "reason", "row") == [("email is missing", 4), ("email is a placeholder", 5)]


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ("placeholders: {compny: [x]}", "cleaning.placeholders"), ("ranges: {birth_date: [1, 2]}", "cleaning.ranges.birth_date"),
        ("ranges: {quantity: [5, 1]}", "cleaning.ranges"), ("ranges: {email: [1, 2]}", "cleaning.ranges"), ("required: {people: [emial]}", "cleaning.required.people"),
        ("rates: {francs: 1}", "cleaning.rates"), ("rates: {CHF: 0}", "cleaning.rates"), ("same_id: {people: last}", "cleaning.same_id"),
        ("allowed: {quantity: [x]}", "cleaning.allowed"), ("plceholders: {}", "cleaning"),
    ],
)  # fmt: skip
def test_a_slip_in_the_section_is_a_fault_that_names_it(make_book, told, where):
    with pytest.raises(FaultError) as error:
        open_book(make_book(f"name: Made\nsources:\n  crm: {{people: {{path: p.csv}}}}\ncleaning: {{{told}}}\n"))
    assert any(fault.key.startswith(where) for fault in error.value.faults), error.value.faults


def test_of_one_id_with_different_content_the_newest_wins_or_what_the_book_says(make_book, engine):
    content = "person_id,given_name,updated_at\n1,Ann,2024-01-05\n1,Anna,2024-03-01\n1,Anja,2024-02-01\n2,Bob,\n2,Bert,\n3,Cy,2024-01-01\n"
    wanted = {
        "newest": ["Anna", "Bert", "Cy"],
        "oldest": ["Ann", "Bob", "Cy"],
        "all": ["Ann", "Anna", "Anja", "Bob", "Bert", "Cy"],
    }
    for rule, names in wanted.items():
        settings = f"name: Made\nsources:\n  crm: {{people: {{path: p.csv}}}}\ncleaning: {{same_id: {{people: {rule}}}}}\n"
        cleaned = cleaning.clean(open_book(make_book(settings, p__csv=content)), engine, AS_OF)
        assert [row[0] for row in rows(cleaned.tables["people"], "given_name")] == names, rule
        assert cleaned.rows[0]["merged"] == 6 - len(names)
        if rule == "newest":
            told = rows(
                cleaned.tables["changes"].filter(cleaned.tables["changes"]["column"] == "given_name"),
                "id",
                "before",
                "after",
                "rule",
            )
            assert sorted(told) == [
                ("1", "Anja", "Anna", "superseded"),
                ("1", "Ann", "Anna", "superseded"),
                ("2", "Bob", "Bert", "superseded"),
            ]
            assert failed(cleaned)["crm", "people", "the newest of its id"] == 3


def test_equal_rows_are_one_across_the_deliveries_of_a_table(clean):
    sources = """
  shop:
    orders:
      - {path: a.csv, dates: '%d.%m.%Y'}
      - {path: b.csv, columns: {person_id: who, ordered_at: day, order_id: nr, amount: sum}}
      - {path: c.csv}
"""
    a = "person_id,ordered_at,order_id,amount\n7,05.01.2024,A1,5.0\n7,05.01.2024,A2,5\n7,05.01.2024,,5\n"
    b = "who,day,nr,sum\n7,2024-01-05,A1,5\n7,2024-01-06,A2,5\n7,2024-01-05,,5\n"
    c = "person_id,ordered_at,order_id\n7,2024-01-05,A1\n"
    cleaned = clean(sources, a__csv=a, b__csv=b, c__csv=c)
    assert [(row["file"], row["kept"], row["merged"]) for row in cleaned.rows] == [
        ("a.csv", 3, 0),
        ("b.csv", 2, 1),
        ("c.csv", 1, 0),
    ]


def test_a_file_that_is_delivered_again_counts_once(clean, make_book):
    content = "person_id,ordered_at,amount\n7,2024-01-05,5\n8,2024-01-05,6\n"
    cleaned = clean("  shop:\n    orders: [{path: a.csv}, {path: b.csv}]\n", a__csv=content, b__csv=content)
    assert [(row["kept"], row["merged"]) for row in cleaned.rows] == [(2, 0), (0, 2)]
    assert "b.csv was delivered before, as a.csv" in cleaned.notes[0]


def test_two_sources_may_use_one_id_for_different_people(clean):
    sources = "  crm:\n    people: {path: a.csv}\n  shop:\n    people: {path: b.csv}\n"
    cleaned = clean(sources, a__csv="person_id,given_name\n1,Ann\n", b__csv="person_id,given_name\n1,Bob\n")
    assert rows(cleaned.tables["people"], "source", "person_id", "given_name") == [("crm", "1", "Ann"), ("shop", "1", "Bob")]


WHOLE = "person_id,ordered_at,order_id,amount\n" + "".join(
    f"{n},2024-01-05,A{n},{n if n < 50 else 'n/a EUR'}\n" for n in range(100)
)


def test_a_file_cut_in_the_middle_is_a_fault_at_its_last_row(clean):
    with pytest.raises(FaultError, match="The file is cut: its last line has 3 of 4 fields") as error:
        clean("  shop:\n    orders: {path: o.csv}\n", o__csv=WHOLE[:-9])
    assert (error.value.faults[0].file, error.value.faults[0].row) == ("o.csv", 101)


def test_a_column_that_changes_its_kind_halfway_loses_only_the_cells_that_cannot_be_read(clean):
    cleaned = clean("  shop:\n    orders: {path: o.csv}\n", o__csv=WHOLE)
    (row,) = cleaned.rows
    assert row["rows_in"] == 100 == row["kept"] and row["rejected"] == 0
    assert failed(cleaned)["shop", "orders", "amount can be read"] == 50
    assert len([amount for (amount,) in rows(cleaned.tables["orders"], "amount") if amount is not None]) == 50


MONEY = "person_id,ordered_at,order_id,amount,currency\n1,2024-01-05,A,10,€\n1,2024-02-05,B,10,chf\n1,2024-01-05,C,10,USD\n1,2024-01-05,D,-10,CHF\n1,2024-01-05,E,10,beans\n1,2024-01-05,F,10,\n"


def test_money_comes_out_in_the_currency_of_the_book(make_book, engine):
    settings = "name: Made\nsources:\n  shop: {orders: {path: o.csv}}\ncleaning: {rates: {CHF: {'2024-01-01': 1.1, '2024-02-01': 1.2}}}\n"
    cleaned = cleaning.clean(open_book(make_book(settings, o__csv=MONEY)), engine, AS_OF)
    assert rows(cleaned.tables["orders"], "order_id", "amount", "currency") == [
        ("A", 10.0, "EUR"), ("B", 12.0, "CHF"), ("C", None, "USD"), ("E", 10.0, "beans"), ("F", 10.0, None)
    ]  # fmt: skip
    assert rows(cleaned.tables["returns"], "amount") == [(11.0,)]
    assert ("10", "12.0", "converted") in rows(cleaned.tables["changes"], "before", "after", "rule")
    told = failed(cleaned)
    assert (
        told["shop", "orders", "amount has a rate for its currency"] == 1
        and told["shop", "orders", "currency is a currency"] == 1
    )
    assert "1 lines are in USD" in cleaned.notes[0]


def test_a_book_in_the_wrong_currency_is_a_fault_with_its_remedy(clean):
    content = "person_id,ordered_at,amount,currency\n1,2024-01-05,10,GBP\n"
    with pytest.raises(FaultError, match="1 of 1 lines are in GBP, and the book is in EUR") as error:
        clean("  shop:\n    orders: {path: o.csv}\n", o__csv=content)
    assert "rates: {GBP: 1.05}" in str(error.value) and error.value.faults[0].column == "currency"


def test_tables_that_contradict_each_other_are_told_and_kept(clean):
    sources = """
  shop:
    people: {path: p.csv}
    orders: {path: o.csv}
    deliveries: {path: d.csv}
    returns: {path: r.csv}
    consents: {path: c.csv}
  web:
    events: {path: e.csv}
"""
    cleaned = clean(
        sources,
        p__csv="person_id,email\n1,a@b.de\n2,c@d.de\n",
        o__csv="person_id,ordered_at,order_id,product_id,quantity,amount\n1,2024-01-05,A,p,2,5\n9,2024-01-06,B,p,1,5\n",
        d__csv="order_id,delivered_at\nA,2024-01-04\nB,2024-01-06\nZ,2024-01-07\n",
        r__csv="order_id,returned_at,product_id,quantity\nA,2024-01-09,p,3\nB,2024-01-03,p,1\n",
        c__csv="person_id,purpose,status,indicated_at\n8,marketing,given,2024-01-01\n2,marketing,given,2024-01-01\n",
        e__csv="person_id,event_name,occurred_at\nnobody,visit,2024-01-01\nx,visit,2025-01-01\n",
    )
    told = failed(cleaned)
    assert told == {
        ("shop", "orders", "person_id is one that the people know"): 1,
        ("shop", "consents", "person_id is one that the people know"): 1,
        ("shop", "deliveries", "order_id is one that the orders know"): 1,
        ("shop", "deliveries", "delivered_at is not before the order"): 1,
        ("shop", "returns", "returned_at is not before the order"): 1,
        ("shop", "returns", "no more of a product comes back than was bought"): 1,
        ("web", "events", "before the day of the report"): 1,
    }
    assert [row["kept"] for row in cleaned.rows] == [2, 2, 3, 2, 2, 1]


def test_a_value_that_stands_suspiciously_often_is_told_and_never_emptied(clean):
    content = "person_id,birth_date\n" + "".join(
        f"{n},{'1970-01-01' if n % 4 == 0 else dt.date(1960, 1, 1) + dt.timedelta(n * 37)}\n" for n in range(100)
    )
    cleaned = clean(PEOPLE, p__csv=content)
    assert failed(cleaned) == {("crm", "people", "birth_date does not stand suspiciously often"): 25}
    assert None not in [row[0] for row in rows(cleaned.tables["people"], "birth_date")]


def test_quality_has_owners_and_a_history_of_days(make_book, engine):
    book = open_book(make_book(f"name: Made\nsources:\n{PEOPLE}", p__csv="person_id,email\n1,n/a\n2,a@b.de\n"))
    cleaned = cleaning.clean(book, engine, AS_OF)
    quality = cleaning.quality(cleaned, cleaned.tables, book)
    assert set(quality["owner"]) == {"sales"} and set(quality["severity"]) <= {"error", "warning", "note"}
    first = cleaning.history(quality, dt.date(2024, 5, 1), [])
    better = quality.assign(failed=0)
    second = cleaning.history(better, AS_OF, [first])
    assert sorted(set(second["as_of"])) == [dt.date(2024, 5, 1), AS_OF]
    # a run made again for the same day says the same again, and one for an earlier day does not see later ones
    assert cleaning.history(better, AS_OF, [first, second]).equals(second)
    assert cleaning.history(quality, dt.date(2024, 5, 1), [second]).equals(first)
    trend = cleaning.trend(second)
    assert trend["crm"].iloc[0] > 0 == trend["crm"].iloc[1] and cleaning.say_trend(trend).startswith(
        "Quality got better most in crm"
    )
    assert "first day" in cleaning.say_trend(cleaning.trend(first))


@pytest.mark.slow
def test_the_made_company_is_put_right(tmp_path, monkeypatch):
    from clientbook import demo
    from clientbook.cleaning import scoring

    folder = tmp_path / "made"
    demo.make(folder, people=600, seed=4711)
    book = open_book(folder)
    with engines.open(scratch=tmp_path / "scratch") as engine:
        cleaned = cleaning.clean(book, engine, book.settings.as_of)
        spoiled, rejects = (engine.read_parquet(folder / "truth" / f"{name}.parquet") for name in ("spoiled", "rejects"))
        whole = cleaning.score(cleaned.tables, spoiled, rejects, "DE").set_index("what")
        monkeypatch.setattr(scoring, "MOST_RECORDS", 400)
        some = cleaning.score(cleaned.tables, spoiled, rejects, "DE").set_index("what")
    told = whole["share"]
    # of a large book some records are scored, cells and all, and every reject
    cells = ["cells that can be put right from themselves", "good cells left as good as they were"]
    assert (some["of"][cells] < 0.8 * whole["of"][cells]).all() and (some["of"][cells] > 0).all()
    assert some["share"][cells].min() > 0.98
    assert some["of"]["planted rejects found"] == whole["of"]["planted rejects found"]
    assert told["cells that can be put right from themselves"] >= 0.99
    assert told["good cells left as good as they were"] > 0.999
    assert told["planted rejects found"] == told["rejected rows that were planted"] == 1


def test_the_default_day_is_the_one_after_the_newest_thing_seen(make_book, engine):
    def newest(zone, today, **files):
        sources = "sources:\n  crm:\n    orders: {path: o.csv}\n    surveys: {path: s.csv}\n    people: {path: p.csv}\n"
        folder = make_book(f"name: X\ntimezone: {zone}\n{sources}", **files)
        return cleaning.default_as_of(cleaning.load(open_book(folder), engine), today, zone)

    files = {
        "o__csv": "person_id,ordered_at\n1,2024-01-05\n2,2024-02-30\n3,2099-01-01\n",
        "s__csv": "person_id,asked_at\n1,2024-03-31T22:30:00Z\n",
        "p__csv": "person_id,created_at\n1,2024-05-05\n",
    }
    assert newest("Europe/Berlin", dt.date(2024, 6, 1), **files) == dt.date(2024, 4, 2)
    assert newest("UTC", dt.date(2024, 6, 1), **files) == dt.date(2024, 4, 1)
    assert newest("UTC", dt.date(2024, 3, 1), **files) == dt.date(2024, 1, 6)
    nothing = {name: content.splitlines()[0] + "\n" for name, content in files.items()}
    assert newest("UTC", dt.date(2024, 6, 1), **nothing) == dt.date(2024, 6, 1)


# --- What is told of it ------------------------------------------------------------------------------------------


def test_the_answer_tells_the_share_and_what_became_of_the_rest(clean):
    content = as_csv(
        ("order_id", "person_id", "ordered_at", "amount"),
        [("1", "a", "2024-01-05", "1"), ("1", "a", "2024-01-05", "1"), ("2", "a", "2024-01-05", "-1"), ("3", "", "2024-01-05", "1"), ("4", "a", "2024-07-05", "1")],
    )  # fmt: skip
    told = cleaning.answer(clean(ORDERS, o__csv=content).rows)
    assert "40.0% of 5 delivered rows can be used" in told and "1 of them as returns" in told and "1 file," in told
    numbers = {n.name: n.value for n in cleaning.key_numbers(clean(ORDERS, o__csv=content).rows)}
    assert numbers == {"Rows delivered": 5, "Rows that can be used": 0.4, "Rows rejected": 1}
    nothing = clean(ORDERS, o__csv="person_id,ordered_at\n").rows
    assert "0.0% of 0" in cleaning.answer(nothing)
    assert cleaning.say_fates(cleaning.fates(nothing)) == "No row was delivered"


# --- Real data ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_online_retail_is_accounted_for_row_by_row(tmp_path):
    data = shared_data("online_retail_II.parquet")
    folder = tmp_path / "online_retail"
    folder.mkdir()
    shutil.copy(ROOT / "data" / "online_retail" / "clientbook.yaml", folder)
    (folder / data.name).symlink_to(data)
    book = open_book(folder)
    with engines.open(scratch=tmp_path / "scratch") as engine:
        cleaned = cleaning.clean(book, engine, book.settings.as_of)
        (row,) = cleaned.rows
        assert {name: row[name] for name in cleaning.ROW_COUNTS} == {
            "rows_in": 1_067_370, "kept": 779_492, "merged": 34_337, "returns": 18_390,
            "later": 0, "suppressed": 0, "rejected": 235_151,
        }  # fmt: skip
        # each question reads the file once more: one a table
        orders, returns, rejected = (cleaned.tables[name] for name in ("orders", "returns", "rejected"))
        bought = orders.filter((orders.quantity > 0) & (orders.amount >= 0))
        days = bought.group_by("person_id", "ordered_on").agg(lines=bought.count())
        assert rows(days.aggregate(customers=days.person_id.nunique(), days=days.count())) == [(5_881, 5_881 + 27_231)]
        ((why, unknown),) = rows(
            rejected.group_by("column", "reason").agg(n=rejected.raw.contains('"Invoice":"C').sum()).select("reason", "n")
        )
        assert why == "person_id is missing"
        assert unknown + returns.order_id.startswith("C").sum().to_pyarrow().as_py() == 19_104

@pytest.mark.parametrize("column", ["given_name", "family_name", "full_name", "email", "phone", "street", "city", "person_id"])
def test_values_read_in_several_processes_are_those_read_in_one(column, monkeypatch):
    kind = "id" if column == "person_id" else "text"
    reader = readers.Reader("people", column, kind, frozenset({"nobody"}), frozenset(), "DE", "EUR")
    words = ("ann MEIER", "n/a", "nobody", "Dr. Eva von Stein", "a@b.de", "0170 1234567", "+49 30 123456", "Hauptstr. 5", " ", "李 伟")
    cells = [(f"{word}{'x' * n}", "DE") if column in ("phone", "street") else (f"{word}{'x' * n}",) for n in range(6) for word in words]
    one = readers.changed(reader, cells)
    monkeypatch.setattr(workers, "MANY_VALUES", 1)
    monkeypatch.setattr(workers, "VALUES_A_PART", 7)
    # a machine with one processor must not read in one process here
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    several = readers.changed(reader, cells)
    assert several == one
    plain = {n: reader(*cell) for n, cell in enumerate(cells)}
    assert {found.position: found.to for found in one} == {
        n: found.value
        for n, found in plain.items()
        if found.value != cells[n][0] or found.rules or found.beside or column.endswith("name")
    }
