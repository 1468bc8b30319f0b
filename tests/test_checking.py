"""What is at fault in a book is told before it is run, and nothing is left behind by looking."""

from __future__ import annotations

import pytest

from clientbook import checking
from clientbook.book import open_book
from clientbook.faults import FaultError

ORDERS = "name: Made\nas_of: 2024-06-01\nsources:\n  shop:\n    orders: {path: o.csv, columns: {person_id: Kunde}}\n"


def check(folder, **more):
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    try:
        return checking.check(open_book(folder), **more)
    finally:
        assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_sound_book_has_no_fault_and_tells_what_was_read(make_book):
    report = check(make_book(ORDERS, o__csv="Kunde,ordered_at,amount\na,2024-01-05,5\nb,2024-06-01,5\nb,2024-01-05,-1\n"))
    assert (report.faults, report.wrong) == ([], 0)
    assert report.notes == ["o.csv (shop.orders): 3 rows: 1 kept, 1 returns, 1 later."]


def test_every_faulty_row_is_told_with_its_place_and_without_what_it_holds(make_book):
    content = "Kunde,ordered_at\nAnn Lee,2024-02-30\n,2024-01-05\nBo Day,2024-01-05\n<script>alert(1)</script>,soon\nBo\n"
    report = check(make_book(ORDERS, o__csv=content))
    assert sorted((f.key, f.file, f.row, f.column) for f in report.faults) == [
        ("sources.shop.orders", "o.csv", 2, "ordered_at"),
        ("sources.shop.orders", "o.csv", 3, "Kunde"),
        ("sources.shop.orders", "o.csv", 5, "ordered_at"),
        ("sources.shop.orders", "o.csv", 6, ""),
    ]
    assert report.wrong == 4
    text = "\n".join(map(str, [*report.faults, *report.notes]))
    assert not [word for word in ("Ann", "Lee", "Bo", "script", "02-30", "soon") if word in text]


def test_very_many_rows_with_one_fault_are_told_as_ranges_unless_each_is_asked_for(make_book):
    bad = [n for n in range(2, 102) if n % 10]
    content = "Kunde,ordered_at\n" + "".join(f"a,{'never' if n in bad else '2024-01-05'}\n" for n in range(2, 102))
    folder = make_book(ORDERS, o__csv=content)
    (fault,) = check(folder).faults
    assert "in 90 rows: 2-9, 11-19, 21-29" in fault.message and fault.message.endswith("91-99 and more.")
    report = check(folder, every_row=True)
    assert [fault.row for fault in report.faults] == bad
    assert report.wrong == check(folder).wrong == 90


def test_cells_that_will_be_emptied_are_told_by_the_name_that_the_file_has(make_book):
    settings = ORDERS.replace("Kunde}", "Kunde, unit_price: Preis}")
    report = check(make_book(settings, o__csv="Kunde,ordered_at,Preis\na,2024-01-05,gratis\nb,2024-01-05,frei\n"))
    assert report.faults == []
    assert "o.csv, column 'Preis': 2 cells will be emptied: not an amount; the first is in row 2." in report.notes
    assert "gratis" not in str(report)


def test_what_was_odd_about_a_file_is_told(make_book):
    settings = ORDERS.replace("o.csv", "o*.csv")
    report = check(make_book(settings, o1__csv="Kunde,ordered_at,amount\na,2024-01-05,5\n", o2__csv="Kunde,ordered_at\n"))
    text = "\n".join(report.notes)
    assert "o2.csv: The file has a header and no rows." in text
    assert "it lacks 'amount'" in text


def test_a_file_that_serves_two_tables_is_told_of_twice_over(make_book):
    settings = "name: X\nsources:\n  crm:\n    people: {path: c.csv}\n    accounts: {path: c.csv}\n"
    report = check(make_book(settings, c__csv="person_id,account_id,name\n,1,A\n2,,B\n"))
    assert {(fault.key, fault.row, fault.column) for fault in report.faults} == {
        ("sources.crm.people", 2, "person_id"), ("sources.crm.accounts", 3, "account_id")
    }  # fmt: skip


def test_files_that_cannot_be_read_are_all_told_and_nothing_stays(make_book):
    settings = (
        "name: X\nsources:\n  crm:\n    people: {path: gone.csv}\n    accounts: {path: empty.csv}\n    cases: {path: c.xlsx}\n"
    )
    with pytest.raises(FaultError) as caught:
        check(make_book(settings, empty__csv=b"", c__xlsx=b"junk"))
    assert [fault.file for fault in caught.value.faults] == ["gone.csv", "empty.csv", "c.xlsx"]


def test_faulty_answers_are_told_with_all_else(make_book):
    head = "source_a,person_id_a,source_b,person_id_b,answer\n"
    sound = "Kunde,ordered_at\na,2024-01-05\n"
    book = make_book(ORDERS, o__csv=sound, labels__csv=head + "shop,a,shop,b,perhaps\nshop,a,shop,a,no\n")
    report = check(book)
    assert [(one.file, one.row) for one in report.faults] == [("labels.csv", 2), ("labels.csv", 3)] and report.wrong == 2
    (book / "o.csv").unlink()
    with pytest.raises(FaultError) as caught:
        check(book)
    assert [one.file for one in caught.value.faults] == ["o.csv", "labels.csv", "labels.csv"]


def test_a_store_that_is_there_stays_as_it_is(make_book):
    folder = make_book(ORDERS, o__csv="Kunde,ordered_at\na,2024-01-05\n")
    other = folder / "store" / "scratch" / "engine-of-another"
    other.mkdir(parents=True)
    check(folder)
    assert other.is_dir()


def test_a_column_of_which_most_cannot_be_read_is_at_fault(make_book):
    rows = [f"o{i},c{i},2024-01-{1 + i % 28:02},{'12.00 XYZ' if i % 4 else '12.00 €'}" for i in range(40)]
    text = "\n".join(["order_id,person_id,ordered_at,Betrag", *rows])
    report = checking.check(open_book(make_book(BOOK.replace("AMOUNT", "Betrag"), orders__csv=text)))
    (fault,) = report.faults
    assert (fault.file, fault.column) == ("orders.csv", "Betrag") and "30 of 40 cells cannot be read" in fault.message
    assert report.wrong == 1 and "decimal" in fault.remedy


def test_a_book_of_a_day_before_all_that_happened_is_at_fault(make_book):
    text = "order_id,person_id,ordered_at,amount\no1,c1,2025-02-01,5\no2,c1,2025-03-01,5\n"
    report = checking.check(open_book(make_book(BOOK.replace("AMOUNT", "amount"), orders__csv=text)))
    (fault,) = report.faults
    assert fault.message.startswith("all 2 rows are of 2024-12-31 or later") and "as_of" in fault.remedy


def test_a_time_that_cannot_be_read_names_the_setting_that_says_how_it_is_written(make_book):
    rows = [f"o{i},c{i},04/{1 + i:02}/24,5" for i in range(25)]
    text = "\n".join(["order_id,person_id,ordered_at,amount", "o,c,2024-03-01,5", *rows])
    report = checking.check(open_book(make_book(BOOK.replace("AMOUNT", "amount"), orders__csv=text)))
    (fault,) = report.faults
    assert "not a valid time" in fault.message and "dates" in fault.remedy and "ordered_at" in fault.remedy


def test_ids_none_of_which_its_register_knows_are_at_fault(make_book):
    people = "\n".join(["person_id,email", *[f"{i:06},p{i}@example.net" for i in range(30)]])
    settings = BOOK.replace("columns: {amount: AMOUNT}", "ids: {person_id: crm}") + "  crm:\n    people: {path: people.csv}\n"
    for written, at_fault in (("{:06}", False), ("{}", True)):
        lines = [f"o{i},{written.format(i)},2024-01-{1 + i % 28:02},5" for i in range(30)]
        orders = "\n".join(["order_id,person_id,ordered_at,amount", *lines])
        report = checking.check(open_book(make_book(settings, orders__csv=orders, people__csv=people)))
        assert [fault.key for fault in report.faults] == (["sources.shop.orders.person_id"] if at_fault else [])
        assert not at_fault or ("none of 30 rows" in report.faults[0].message and "leading zeros" in report.faults[0].remedy)


BOOK = """name: Check
currency: EUR
country: DE
timezone: UTC
as_of: 2024-12-31
sources:
  shop:
    orders:
      path: orders.csv
      columns: {amount: AMOUNT}
"""
