"""Delivered files: every row in its place with its number, and every bad file told plainly."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import warnings
import zipfile
from datetime import date, datetime, time

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clientbook import engine as engines
from clientbook import sources
from clientbook.faults import FaultError
from clientbook.sources import archives, headers

ROWS = [("007", "Ann", "1.50"), ("008", "", "x"), ("9", "Bób", "")]
EXPECTED = [("007", "Ann", "1.50"), ("008", None, "x"), ("9", "Bób", None)]
OURS = ["_file", "_row", "_arrival"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with engines.open(scratch=tmp_path_factory.mktemp("scratch")) as opened:
        yield opened


@pytest.fixture
def read(engine, tmp_path):
    return lambda path, **more: sources.read(engine, tmp_path, path=path, **more)


def rows(table, *columns):
    table = table.select(*columns) if columns else table.drop(*OURS)
    return [tuple(row.values()) for row in table.to_pyarrow().to_pylist()]


def rejects(raw):
    return [] if raw.rejected is None else rows(raw.rejected.order_by("_row"), "_row", "reason", "raw")


def accounted(raw):
    kept = raw.table.count().to_pyarrow().as_py()
    return kept + len(rejects(raw)) == sum(file.rows for file in raw.files)


def faults(call, *args, **more):
    with pytest.raises(FaultError) as caught:
        call(*args, **more)
    assert caught.value.__cause__ is None
    return caught.value.faults


def as_csv(records, delimiter=",", end="\r\n"):
    out = io.StringIO(newline="")
    # Up to Python 3.12 the writer leaves a carriage return bare where lines end in a line feed alone.
    quoting = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(records)
    return out.getvalue().encode()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def as_workbook(sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, records in sheets.items():
        sheet = book.create_sheet(name)
        for record in records:
            sheet.append(record)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def as_parquet(records, names=("id", "name", "price")):
    out = io.BytesIO()
    columns = [list(column) for column in zip(*records, strict=True)]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), out)
    return out.getvalue()


HEADER = ("id", "name", "price")
OBJECTS = [dict(zip(HEADER, row, strict=True)) for row in EXPECTED]
DELIVERIES = {
    "a.csv": (as_csv([HEADER, *ROWS]), 2, ","),
    "a.tsv": (as_csv([HEADER, *ROWS], "\t"), 2, "\t"),
    "a.txt": (as_csv([HEADER, *ROWS], "|"), 2, "|"),
    "a.json": (json.dumps(OBJECTS).encode(), 1, ""),
    "a.jsonl": ("\n".join(map(json.dumps, OBJECTS)).encode(), 1, ""),
    "a.ndjson": ("\n".join(map(json.dumps, OBJECTS)).encode(), 1, ""),
    "a.xlsx": (as_workbook({"One": [HEADER, *ROWS]}), 2, ""),
    "a.parquet": (as_parquet(EXPECTED), 1, ""),
}


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("name", DELIVERIES)
def test_every_format(read, tmp_path, name, zipped):
    content, first_row, delimiter = DELIVERIES[name]
    write(tmp_path / (name + zipped), content)
    raw = read(name + zipped)
    assert rows(raw.table) == EXPECTED
    assert raw.table.columns == (*HEADER, *OURS)
    assert rows(raw.table, *OURS) == [(name + zipped, first_row + i, i) for i in range(3)]
    (facts,) = raw.files
    delivered = (tmp_path / (name + zipped)).read_bytes()
    assert (facts.path, facts.rows, facts.bytes) == (name + zipped, 3, len(delivered))
    assert facts.sha256 == hashlib.sha256(delivered).hexdigest()
    assert (facts.columns, facts.delimiter) == (HEADER, delimiter)
    assert datetime.fromisoformat(facts.modified).timestamp() == int((tmp_path / facts.path).stat().st_mtime)
    assert raw.rejected is None
    assert rows(read(name + zipped, needed=["price", "id"]).table) == [(row[2], row[0]) for row in EXPECTED]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("told", [False, True])
def test_encodings(read, tmp_path, encoding, told):
    text = "id,name\r\n1,Zoë “Q” €5\r\n2,plain words, so that zeros show\r\n".replace("words,", "words")
    write(tmp_path / "a.csv", text.encode(encoding))
    raw = read("a.csv", encoding=encoding if told else None)
    assert rows(raw.table) == [("1", "Zoë “Q” €5"), ("2", "plain words so that zeros show")]
    assert raw.table.columns[0] == "id"


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "shift_jis"])
def test_encodings_that_must_be_told(read, tmp_path, encoding):
    write(tmp_path / "a.csv", "id,name\n1,王\n".encode(encoding))
    assert rows(read("a.csv", encoding=encoding).table) == [("1", "王")]


def test_latin_1_where_windows_has_no_letter(read, tmp_path):
    write(tmp_path / "a.csv", b"id,name\n1,Ren\xe9\x81\n")
    raw = read("a.csv")
    assert (raw.files[0].encoding, rows(raw.table)) == ("latin-1", [("1", "René\x81")])


@pytest.mark.parametrize("tail", ["é", "日本"])
def test_the_first_letter_beyond_ascii_stands_far_down(read, tmp_path, tail):
    body = b"id,name\n" + b"1,abcdefghijklmnopqrstuvwxyz\n" * 400_000
    write(tmp_path / "a.csv", body + f"2,{tail}\n".encode())
    raw = read("a.csv")
    assert raw.files[0].encoding == "utf-8"
    assert rows(raw.table.filter(raw.table.id == "2")) == [("2", tail)]


def test_a_letter_across_two_chunks(read, tmp_path):
    for shift in range(4):
        start = b"id,name\n" + b"1," + b"x" * 1000 + b"\n"
        fill = (1 << 22) - len(start) - 4_000_000 - 6 - shift
        body = start + (b"1," + b"x" * 997 + b"\n") * 4_000 + b"2," + b"x" * (fill - 1)
        write(tmp_path / "a.csv", body + "日日日日".encode() + b"\n")
        raw = read("a.csv")
        assert raw.files[0].encoding == "utf-8"
        assert raw.table.name.right(4).max().to_pyarrow().as_py() == "日日日日"


def test_utf_8_but_for_one_byte_is_not_read_as_something_else(read, tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,Zoë\n2,Bób\n3,Rená\n4,Šà\n".encode() + b"5,\xe9\n")
    (fault,) = faults(read, "a.csv")
    assert (fault.file, fault.row) == ("a.csv", 6)
    assert rows(read("a.csv", encoding="cp1252").table)[-1] == ("5", "é")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(read, tmp_path, delimiter):
    table = [["id", "name, of all", "price"], ["1", "a;b|c\td,e", "1,5"], ["2", "x\ny", "2,5"]]
    write(tmp_path / "a.csv", as_csv(table, delimiter))
    raw = read("a.csv")
    assert raw.files[0].delimiter == delimiter
    assert rows(raw.table) == [tuple(row) for row in table[1:]]


def test_excel_announces_its_delimiter(read, tmp_path):
    write(tmp_path / "a.csv", b"sep=;\r\nid;x\r\n1;2\r\n")
    raw = read("a.csv")
    assert rows(raw.table, "id", "x", "_row") == [("1", "2", 3)]


def test_blanks(read, tmp_path):
    write(tmp_path / "a.txt", b" id  day n   dollars\n 00001 19970101  1   11.77\n00002   19970112 1 12.00   \r\n")
    raw = read("a.txt")
    assert raw.files[0].delimiter == "blanks"
    assert rows(raw.table) == [("00001", "19970101", "1", "11.77"), ("00002", "19970112", "1", "12.00")]
    write(tmp_path / "b.txt", b"id n\n1 2\n3\n\n4 5 6\n7 8")
    raw = read("b.txt", delimiter="blanks")
    assert rows(raw.table, "id", "n", "_row") == [("1", "2", 2), ("7", "8", 6)]
    assert [row for row, _, _ in rejects(raw)] == [3, 5]


def test_a_column_of_sentences_is_one_column(read, tmp_path):
    write(tmp_path / "a.csv", b"full name\nAnn Lee\nBo Day\n")
    assert rows(read("a.csv").table) == [("Ann Lee",), ("Bo Day",)]


def test_a_file_that_a_package_brings(engine, tmp_path):
    raw = sources.read(engine, tmp_path, path="package:lifetimes/datasets/CDNOW_master.txt")
    assert raw.files[0].path == "package:lifetimes/datasets/CDNOW_master.txt"
    assert (raw.files[0].rows, raw.files[0].delimiter) == (69_659, "blanks")
    assert raw.table.columns[:4] == ("customer_id", "date", "number_of_cds", "dollar_value")
    assert rows(raw.table.head(1), "customer_id", "date", "dollar_value", "_row") == [("00001", "19970101", "11.77", 2)]
    assert raw.table.customer_id.nunique().to_pyarrow().as_py() == 23_570


def test_rows_are_numbered_as_records(read, tmp_path):
    write(tmp_path / "a.csv", b'id,note\n1,"two\nlines"\n2,x\n')
    assert rows(read("a.csv").table, "id", "_row") == [("1", 2), ("2", 3)]
    write(tmp_path / "b.csv", b'\nid,note\n\n1,"two\n\nlines"\n\n2,x\n\n\n')
    assert rows(read("b.csv").table, "id", "_row") == [("1", 4), ("2", 6)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(read, tmp_path, end):
    write(tmp_path / "a.csv", end.join(["id,x", "1,2", "3,4", ""]).encode())
    assert rows(read("a.csv").table) == [("1", "2"), ("3", "4")]
    write(tmp_path / "b.csv", f"id,x\n1,2{end}3,4\r\n5,6".encode())
    assert rows(read("b.csv").table, "id", "_row") == [("1", 2), ("3", 3), ("5", 4)]


def test_order_and_numbers_are_exact_in_a_large_file(read, tmp_path):
    count = 600_000
    with (tmp_path / "a.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["n", "note", "filler"])
        writer.writerows((n, f'"{n}"\nsecond, line' if n % 7 == 0 else f"note {n}", "z" * 40) for n in range(count))
    raw = read("a.csv")
    table = raw.table.to_pyarrow()
    expected = pa.array(range(count))
    assert pc.all(pc.equal(table["n"].cast(pa.int64()), expected)).as_py()
    assert pc.all(pc.equal(table["_arrival"], expected)).as_py()
    assert pc.all(pc.equal(table["_row"], pc.add(expected, 2))).as_py()
    assert raw.files[0].rows == count
    assert table["note"][7].as_py() == '"7"\nsecond, line'


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
TRICKY = st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", " ", " x ", "007", "é", "日本", "😀", "NULL", "#", '"a', "\\", "'"])
CELL = st.one_of(TEXT, TRICKY, st.tuples(TRICKY, TRICKY).map("".join))


@st.composite
def tables(draw):
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8)), width


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\r\n", "\n"]))
@example(([[""]], 1), ",", "\n")
def test_any_text_comes_back_as_it_was_written(read, tmp_path, table, delimiter, end):
    records, width = table
    header = [f"c{i}" for i in range(width)]
    write(tmp_path / "a.csv", as_csv([header, *records], delimiter, end))
    raw = read("a.csv", delimiter=delimiter)
    assert rows(raw.table) == [tuple(cell or None for cell in record) for record in records]
    assert rows(raw.table, "_row") == [(i + 2,) for i in range(len(records))]
    assert raw.rejected is None


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(["a", "", "12", 'q"q', "x y"]), min_size=1, max_size=5), max_size=8))
def test_no_row_is_ever_lost(read, tmp_path, records):
    lines = [",".join(record) for record in records]
    write(tmp_path / "a.csv", "\n".join(["x,y,z", *lines, ""]).encode())
    raw = read("a.csv", delimiter=",")
    whole = [r for r in records if len(r) == 3 or (len(r) > 3 and not any(r[3:]))]
    assert rows(raw.table) == [tuple(cell or None for cell in record[:3]) for record in whole]
    assert len(rejects(raw)) == len([line for line in lines if line]) - len(whole)
    assert accounted(raw)


def test_rows_too_wide_or_too_narrow_are_kept_aside(read, tmp_path):
    write(tmp_path / "a.csv", b'id,x\n1,2\n3\n"4,\n5",6,7\n8,9,\n10,11\n')
    raw = read("a.csv")
    assert rows(raw.table, "id", "x", "_row") == [("1", "2", 2), ("8", "9", 5), ("10", "11", 6)]
    assert rejects(raw) == [(3, "1 fields instead of 2", '"3"'), (4, "3 fields instead of 2", '"\\"4,\\n5\\",6,7"')]
    assert rows(raw.rejected, "_file") == [("a.csv",), ("a.csv",)]
    assert accounted(raw)


def test_a_stray_quote_takes_no_other_line_with_it(read, tmp_path):
    write(tmp_path / "a.csv", b'id,x\n1,"oops\n2,b\n3,"c"\n4,"d"e\n5,f\n')
    raw = read("a.csv")
    assert rows(raw.table, "id", "x", "_row") == [("2", "b", 3), ("3", "c", 4), ("5", "f", 6)]
    assert [(row, json.loads(text)) for row, _, text in rejects(raw)] == [(2, '1,"oops'), (5, '4,"d"e')]


def test_types_may_change_halfway(read, tmp_path):
    write(tmp_path / "a.csv", b"id,x\n" + b"1,2\n" * 30_000 + b"one,2024-01-01\n")
    assert rows(read("a.csv").table)[-1] == ("one", "2024-01-01")


def test_a_header_alone_is_no_rows(read, tmp_path):
    for name, content in (("a.csv", b"id,x"), ("b.csv", b"id,x\n"), ("c.xlsx", as_workbook({"S": [("id", "x")]}))):
        write(tmp_path / name, content)
        raw = read(name)
        assert (rows(raw.table), raw.table.columns[:2], raw.files[0].rows) == ([], ("id", "x"), 0)
        assert "no rows" in str(raw.notes[0])
    write(tmp_path / "d.json", b"[ ]\n")
    assert read("d.json", needed=["id"]).table.columns == ("id", *OURS)


def test_ten_megabytes_in_one_field(read, tmp_path):
    big = "x" * 10_000_000
    write(tmp_path / "a.csv", f'id,x\n1,{big}\n2,"{big}\n"\n3,y\n'.encode())
    raw = read("a.csv")
    assert rows(raw.table.mutate(n=raw.table.x.length()), "id", "n", "_row") == [
        ("1", 10_000_000, 2), ("2", 10_000_001, 3), ("3", 1, 4)
    ]  # fmt: skip
    write(tmp_path / "a.jsonl", json.dumps({"id": "1", "x": big}).encode())
    assert rows(read("a.jsonl").table)[0][1] == big
    write(tmp_path / "b.csv", b"id,x\n1," + b"x" * 20_000_000 + b"\n")
    (fault,) = faults(read, "b.csv")
    assert ("16 MB" in fault.message, fault.row) == (True, 2)


# --- Archives --------------------------------------------------------------------------------------------------


def as_zip(members, compression=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, compression)
    return out.getvalue()


def as_tar(members, mode="w", kinds=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.type = (kinds or {}).get(name, tarfile.REGTYPE)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


PACKERS = {".zip": as_zip, ".tar": as_tar, ".tar.gz": lambda m: as_tar(m, "w:gz"), ".tgz": lambda m: as_tar(m, "w:gz")}
TWO = [("in/b.csv", b"id,x\n3,4\n"), ("in/a.csv", b"id,x\n1,2\n"), ("__MACOSX/in/._a.csv", b"?"), ("read.me", b"")]


@pytest.mark.parametrize("ending", PACKERS)
def test_archives(read, engine, tmp_path, ending):
    (tmp_path / f"d{ending}").write_bytes(PACKERS[ending](TWO))
    before = set(engine.scratch.iterdir())
    raw = read(f"d{ending}")
    assert rows(raw.table, "id", "x", "_file", "_row") == [
        ("1", "2", f"d{ending}!in/a.csv", 2), ("3", "4", f"d{ending}!in/b.csv", 2)
    ]  # fmt: skip
    assert [(f.path, f.rows, f.bytes, f.sha256) for f in raw.files] == [
        (f"d{ending}!{name}", 1, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(TWO[:2])
    ]
    assert rows(read(f"d{ending}!in/b.csv").table) == rows(read(f"d{ending}!*b.csv").table) == [("3", "4")]
    (fault,) = faults(read, f"d{ending}!in/c.csv", key="k")
    assert "no member 'in/c.csv'" in fault.message
    assert "in/a.csv, in/b.csv" in fault.remedy
    assert sources.find(tmp_path, f"d{ending}!in/b.csv") == [tmp_path / f"d{ending}"]
    left = {path.suffix for path in set(engine.scratch.iterdir()) - before}
    assert left == {".parquet"}


@pytest.mark.parametrize("name", DELIVERIES)
def test_every_format_in_an_archive(read, tmp_path, name):
    write(tmp_path / "d.zip", as_zip([(name, DELIVERIES[name][0])]))
    write(tmp_path / "e.zip", as_zip([(name + ".gz", gzip.compress(DELIVERIES[name][0]))]))
    assert rows(read("d.zip").table) == rows(read("e.zip").table) == EXPECTED


def test_an_archive_of_several_formats(read, tmp_path):
    write(tmp_path / "d.zip", as_zip([("a.csv", b"id\n1\n"), ("readme.txt", b"Hello\n")]))
    (fault,) = faults(read, "d.zip")
    assert "several formats: csv, txt" in fault.message
    assert "d.zip!*.csv" in fault.remedy
    assert rows(read("d.zip!*.csv").table) == [("1",)]
    write(tmp_path / "b.json", b'[{"id": 1}]')
    assert "several formats" in faults(read, "*", sheet=None)[0].message


def test_archives_and_files_of_one_format_are_one_delivery(read, tmp_path):
    write(tmp_path / "in" / "a.csv", b"id\n1\n")
    write(tmp_path / "in" / "b.zip", as_zip([("x.csv", b"id\n2\n")]))
    assert rows(read("in").table, "id", "_file") == [("1", "in/a.csv"), ("2", "in/b.zip!x.csv")]
    write(tmp_path / "in" / "c.zip", as_zip([("x.json", b'[{"id": 3}]')]))
    assert "several formats are there: csv, json" in faults(read, "in")[0].message


def encrypted():
    content = bytearray(as_zip([("a.csv", b"id\n1\n")]))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def linked():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("a.csv")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def damaged():
    content = bytearray(as_zip([("a.csv", b"id\n" + b"1\n" * 50)], zipfile.ZIP_STORED))
    content[60] ^= 0xFF
    return bytes(content)


WHOLE_TAR = as_tar([("a.csv", b"id\n1\n"), ("b.csv", b"id\n2\n")])
BAD_ARCHIVES = {
    "zip that climbs": ("d.zip", as_zip([("../a.csv", b"id\n1\n")]), "outside of its folder"),
    "zip that climbs in Windows": ("d.zip", as_zip([("..\\a.csv", b"id\n1\n")]), "outside of its folder"),
    "zip from the root": ("d.zip", as_zip([("/etc/a.csv", b"id\n1\n")]), "outside of its folder"),
    "zip with a drive": ("d.zip", as_zip([("C:a.csv", b"id\n1\n")]), "outside of its folder"),
    "zip with a link": ("d.zip", linked(), "a link or a device"),
    "zip with a name twice": ("d.zip", as_zip([("a.csv", b"id\n1\n"), ("a.csv", b"id\n2\n")]), "there twice"),
    "zip encrypted": ("d.zip", encrypted(), "encrypted"),
    "zip cut": ("d.zip", as_zip([("a.csv", os.urandom(9_000))])[:5_000], "cut or damaged"),
    "zip damaged": ("d.zip", damaged(), "cut or damaged"),
    "no zip": ("d.zip", b"id,x\n1,2\n", "cut or damaged"),
    "empty zip": ("d.zip", as_zip([]), "no data file"),
    "zip of nothing": ("d.zip", b"", "empty"),
    "zip with an empty file": ("d.zip", as_zip([("a.csv", b"")]), "empty"),
    "tar that climbs": ("d.tar", as_tar([("a/../../b.csv", b"id\n1\n")]), "outside of its folder"),
    "tar with a link": ("d.tar", as_tar([("a.csv", b"")], kinds={"a.csv": tarfile.SYMTYPE}), "a link or a device"),
    "tar with a device": ("d.tar", as_tar([("a.csv", b"")], kinds={"a.csv": tarfile.CHRTYPE}), "a link or a device"),
    "tar cut between members": ("d.tar", WHOLE_TAR[:1024], "ends too early"),
    "tar cut in a member": ("d.tar", WHOLE_TAR[:1300], "ends too early"),
    "tgz cut": ("d.tgz", gzip.compress(os.urandom(50_000))[:20_000], "ends too early"),
    "no tar": ("d.tar", b"id,x\n1,2\n" * 500, "ends too early"),
    "no tgz": ("d.tgz", b"id,x\n1,2\n", "no gzip"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_archives_are_faults(read, tmp_path, case):
    name, content, words = BAD_ARCHIVES[case]
    (tmp_path / name).write_bytes(content)
    (fault,) = faults(read, name, key="k")
    assert words in fault.message
    assert (fault.file.partition("!")[0], fault.key) == (name, "k")
    assert fault.remedy


@pytest.mark.parametrize("name", ["d.zip", "d.tgz", "d.csv.gz"])
def test_bombs_are_not_unpacked(read, engine, tmp_path, name, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 1 << 20)
    bomb = b"id\n" + b"0" * (16 << 20)
    content = {
        "d.zip": as_zip([("a.csv", bomb)]), "d.tgz": as_tar([("a.csv", bomb)], "w:gz"), "d.csv.gz": gzip.compress(bomb)
    }  # fmt: skip
    (tmp_path / name).write_bytes(content[name])
    (fault,) = faults(read, name)
    assert "more than 200 times its size" in fault.message
    assert "Unpack it yourself" in fault.remedy
    assert max(path.stat().st_size for path in engine.scratch.iterdir()) < 8 << 20


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from(list(PACKERS)))
def test_an_archive_cut_anywhere_is_a_fault(read, tmp_path, cut, ending):
    whole = PACKERS[ending]([("a.csv", b"id,x\n" + b"1,2\n" * 40), ("b.csv", b"id,x\n3,4\n")])
    (tmp_path / f"d{ending}").write_bytes(whole[: cut % len(whole)])
    # Behind the last member come zeros alone: 512 + 512 for each of the two, and the two blocks that end a tar.
    if ending == ".tar" and cut % len(whole) >= 3 * 512 + 9 + 1024:
        assert len(rows(read(f"d{ending}").table)) == 41
        return
    (fault,) = faults(read, f"d{ending}")
    assert fault.remedy


# --- Deliveries ------------------------------------------------------------------------------------------------


def test_a_file_with_the_content_of_another_is_read_once(read, tmp_path):
    content = b"id,x\n1,2\n3\n4,5\n"
    for name in ("in/a.csv", "in/b.csv", "in/c.csv.gz"):
        write(tmp_path / name, content)
    write(tmp_path / "in/d.zip", as_zip([("e.csv", content), ("f.csv", b"id,x\n6,7\n")]))
    raw = read("in")
    assert rows(raw.table) == [("1", "2"), ("4", "5"), ("6", "7")]
    assert [(row, json.loads(text)) for row, _, text in rejects(raw)] == [(3, "3")]
    assert [(facts.path, facts.rows, facts.same_as) for facts in raw.files] == [
        ("in/a.csv", 3, ""), ("in/b.csv", 3, "in/a.csv"), ("in/c.csv.gz", 3, "in/a.csv"),
        ("in/d.zip!e.csv", 3, "in/a.csv"), ("in/d.zip!f.csv", 1, ""),
    ]  # fmt: skip
    told = [str(note) for note in raw.notes if "holds the same as in/a.csv and is read once" in str(note)]
    assert len(told) == 3
    assert "name each as a delivery of its own" in told[0]


def test_the_rows_of_a_twin_are_accounted_for(tmp_path):
    from datetime import date as day

    from clientbook import cleaning
    from clientbook.book import open_book

    (tmp_path / "clientbook.yaml").write_text("name: N\nsources:\n  shop:\n    orders: {path: in}\n")
    for name in ("a.csv", "b.csv"):
        write(tmp_path / "in" / name, b"person_id,ordered_at,amount\n1,2024-01-01,5\n1,2024-01-01,5\n,2024-01-02,5\n")
    with engines.open(scratch=tmp_path / "scratch") as engine:
        cleaned = cleaning.clean(open_book(tmp_path), engine, day(2024, 2, 1))
        told = [(row["file"], row["rows_in"], row["kept"], row["merged"], row["rejected"]) for row in cleaned.rows]
        assert cleaned.tables["orders"].count().to_pyarrow().as_py() == 2
    assert told == [("in/a.csv", 3, 2, 0, 1), ("in/b.csv", 3, 0, 3, 0)]
    assert [(one["file"], one["same_as"]) for one in cleaned.inputs] == [("in/a.csv", ""), ("in/b.csv", "in/a.csv")]


def test_a_workbook_of_several_sheets_twice(read, tmp_path):
    for name in ("a.xlsx", "b.xlsx"):
        write(tmp_path / "in" / name, as_workbook({"One": [["id"], [1]], "Two": [["id"], [2]]}))
    write(tmp_path / "in" / "b.xlsx", (tmp_path / "in" / "a.xlsx").read_bytes())
    raw = read("in")
    assert rows(raw.table) == [("1",), ("2",)]
    assert [(facts.path, facts.same_as) for facts in raw.files] == [
        ("in/a.xlsx!One", ""), ("in/a.xlsx!Two", ""),
        ("in/b.xlsx!One", "in/a.xlsx!One"), ("in/b.xlsx!Two", "in/a.xlsx!Two"),
    ]  # fmt: skip


def test_the_fingerprint_is_that_of_the_file(tmp_path):
    write(tmp_path / "a.csv.gz", b"id\n1\n")
    delivered = (tmp_path / "a.csv.gz").read_bytes()
    assert sources.fingerprint(tmp_path / "a.csv.gz") == hashlib.sha256(delivered).hexdigest()


CUT = {
    "csv": ("a.csv", b"id,x,y\n1,2,3\n4,5,6\n7,8", "last line has 2 of 3 fields", 4),
    "csv in a quote": ("a.csv", b'id,x\n1,2\n3,"se', "never closed", 3),
    "csv in a letter": ("a.csv", "id,x\n1,Zoë\n2,Bé".encode()[:-1], "in the middle of a letter", 3),
    "blanks": ("a.txt", b"id  day  n\n" + b"1  2  3\n" * 20 + b"7", "last line has 1 of 3 fields", 22),
    "utf-16": ("a.csv", "id,x\n1,2\n3,4".encode("utf-16")[:-1], "not utf-16 all through", 3),
    "json lines": ("a.jsonl", b'{"id": 1}\n{"id": 2}\n{"id": ', "last line is half an object", 3),
    "json": ("a.json", b'[{"id": 1}, {"id": 2}, {"i', "damaged or cut", None),
}


@pytest.mark.parametrize("case", CUT)
def test_a_file_cut_in_the_middle_is_a_fault(read, tmp_path, case):
    name, content, words, row = CUT[case]
    write(tmp_path / name, content)
    (fault,) = faults(read, name, key="k")
    assert words in fault.message
    assert (fault.file, fault.row, fault.key) == (name, row, "k")
    assert fault.remedy


def test_a_last_line_without_end_is_told(read, tmp_path):
    write(tmp_path / "a.csv", b"id,x\n1,2\n3,4")
    raw = read("a.csv")
    assert rows(raw.table) == [("1", "2"), ("3", "4")]
    assert "The last line has no end" in str(raw.notes[0])


# --- Other alphabets -------------------------------------------------------------------------------------------

CITIES = {
    "gb18030": "上海 北京 广州 深圳 成都 杭州 武汉 西安 南京 重庆 天津 苏州 长沙 郑州 青岛 沈阳 宁波 昆明 合肥 福州 大连 厦门 哈尔滨",
    "big5": "臺北 高雄 臺中 臺南 新北 桃園 基隆 新竹 嘉義 苗栗 彰化 南投 雲林 屏東 宜蘭 花蓮 臺東 澎湖 金門 馬祖 香港 澳門 九龍",
    "shift_jis": "東京 大阪 名古屋 札幌 福岡 神戸 川崎 京都 さいたま 広島 仙台 千葉 北九州 堺市 新潟 浜松 熊本 相模原 岡山 静岡 船橋 鹿児島",
    "euc_kr": "서울 부산 인천 대구 대전 광주 울산 수원 고양 용인 성남 청주 부천 화성 남양주 전주 천안 안산 안양 김해 평택 포항 제주",
    "cp1251": "Москва Казань Омск Самара Уфа Пермь Воронеж Волгоград Краснодар Саратов Тюмень Тольятти Ижевск Барнаул Иркутск "
              "Ульяновск Хабаровск Ярославль Владивосток Махачкала Томск Оренбург Кемерово",
}  # fmt: skip


@pytest.mark.parametrize("encoding", CITIES)
def test_other_alphabets_are_found_out_and_told(read, tmp_path, encoding):
    cities = CITIES[encoding].split()
    write(tmp_path / "a.csv", as_csv([("id", "city"), *enumerate(cities)]).decode().encode(encoding))
    raw = read("a.csv")
    assert rows(raw.table, "city") == [(city,) for city in cities]
    assert f"read as {raw.files[0].encoding}" in str(raw.notes[0])
    assert "name its encoding" in str(raw.notes[0])


@pytest.mark.parametrize("encoding", CITIES)
def test_too_little_of_another_alphabet_is_a_fault(read, tmp_path, encoding):
    cities = CITIES[encoding].split()[:2]
    write(tmp_path / "a.csv", as_csv([("id", "city"), *enumerate(cities)]).decode().encode(encoding))
    (fault,) = faults(read, "a.csv", key="k")
    assert "its encoding cannot be told; it may be" in fault.message
    assert encoding in fault.message
    assert "encoding: gb18030" in fault.remedy


def test_a_letter_that_stands_alone_is_a_sign_and_makes_no_file_of_another_alphabet(read, tmp_path):
    names = ["Lager Ø 12", "Förderbänder Ø 8"]
    write(tmp_path / "a.csv", as_csv([("id", "name"), *enumerate(names)]).decode().encode("cp1252"))
    assert rows(read("a.csv").table, "name") == [(name,) for name in names]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(["Zoë", "Kraków", "Łódź", "Müller", "Žižka", "Ağrı", "王", "北京", "臺北", "Москва", "Αθήνα", "สวัสดี"]),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["cp1252", "cp1250", "cp1254", "cp1251", "cp1253", "cp874", "gb18030", "big5", "shift_jis", "koi8_r"]),
)
def test_no_encoding_is_guessed_wrong_without_a_word(read, tmp_path, words, encoding):
    content = as_csv([("id", "w"), *enumerate(words)]).decode().encode(encoding, errors="replace")
    expected = [tuple(row) for row in csv.reader(io.StringIO(content.decode(encoding)))][1:]
    write(tmp_path / "a.csv", content)
    try:
        raw = read("a.csv")
    except FaultError as error:
        assert "encoding" in str(error)
        return
    assert rows(raw.table) == expected or "name its encoding" in str(raw.notes[0])


# --- Excel -----------------------------------------------------------------------------------------------------


def test_excel_cells_are_what_a_person_reads(read, tmp_path):
    header = ["text", "whole", "float", "day", "moment", "hour", "flag", "none"]
    cells = ["007", 12345.0, 1.25, date(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5), time(6, 7), True, None]
    write(tmp_path / "a.xlsx", as_workbook({"S": [[], header, cells, [], cells]}))
    raw = read("a.xlsx")
    expected = ("007", "12345", "1.25", "2024-01-02", "2024-01-02T03:04:05", "06:07:00", "true", None)
    assert rows(raw.table) == [expected, expected]
    assert rows(raw.table, "_row") == [(3,), (5,)]


def test_excel_sheets(read, tmp_path):
    write(tmp_path / "a.xlsx", as_workbook({"First": [["a"], [1]], "Orders": [["b"], [2]], "Empty": []}))
    (fault,) = faults(read, "a.xlsx")
    assert "different columns: 'First' has 'a'; 'Orders' has 'b'" in fault.message
    assert "sheet" in fault.remedy
    assert rows(read("a.xlsx", sheet="Orders").table) == rows(read("a.xlsx", sheet=2).table) == [("2",)]
    assert rows(read("a.xlsx", sheet="2").table) == rows(read("a.xlsx!Orders").table) == [("2",)]
    (fault,) = faults(read, "a.xlsx", sheet="orders")
    assert "Did you mean 'Orders'?" in fault.remedy


def test_excel_rows_wider_than_the_header(read, tmp_path):
    write(tmp_path / "a.xlsx", as_workbook({"S": [["a", "b"], [1, 2], [1, 2, 3], [4]]}))
    raw = read("a.xlsx")
    assert rows(raw.table) == [("1", "2"), ("4", None)]
    assert [row for row, _, _ in rejects(raw)] == [3]
    assert accounted(raw)


def test_excel_sheets_of_the_same_columns_are_one_table(read, tmp_path):
    sheets = {"2010": [["id", "x"], [1, 2], [3, 4]], "Notes": [], "2011": [["x", "id"], [6, 5]]}
    write(tmp_path / "a.xlsx", as_workbook(sheets))
    raw = read("a.xlsx")
    assert rows(raw.table, "id", "x", "_file", "_row", "_arrival") == [
        ("1", "2", "a.xlsx!2010", 2, 0), ("3", "4", "a.xlsx!2010", 3, 1), ("5", "6", "a.xlsx!2011", 2, 2)
    ]  # fmt: skip
    assert [(facts.path, facts.rows) for facts in raw.files] == [("a.xlsx!2010", 2), ("a.xlsx!2011", 1)]
    assert "are all read: '2010', '2011'" in str(raw.notes[0])
    assert accounted(raw)


def test_excel_hidden_sheets_are_told(read, tmp_path):
    book = openpyxl.load_workbook(io.BytesIO(as_workbook({"Seen": [["id"], [1]], "Lists": [["code"], [7]]})))
    book["Lists"].sheet_state = "hidden"
    book.save(tmp_path / "a.xlsx")
    raw = read("a.xlsx")
    assert rows(raw.table) == [("1",)]
    assert "Hidden sheets are not read: 'Lists'" in str(raw.notes[0])
    assert rows(read("a.xlsx", sheet="Lists").table) == [("7",)]


def merged_workbook(path, records, merged):
    book = openpyxl.Workbook()
    for record in records:
        book.active.append(record)
    for cells in merged:
        book.active.merge_cells(cells)
    book.save(path)


def test_excel_headers_over_two_rows(read, tmp_path):
    top, below = ["id", "Address", None, "Total"], [None, "Street", "City", None]
    records = [["Customers of 2024"], [], top, below, [7, "Rue 1", "Genf", 2.5], [8, "Weg 2", "Bern", 3]]
    merged_workbook(tmp_path / "a.xlsx", records, ["A1:D1", "A3:A4", "B3:C3", "D3:D4"])
    raw = read("a.xlsx")
    assert raw.table.columns[:4] == ("id", "Address.Street", "Address.City", "Total")
    assert rows(raw.table, "id", "Address.City", "_row") == [("7", "Genf", 5), ("8", "Bern", 6)]
    assert "A title stands above the table" in str(raw.notes[0])
    assert raw.files[0].rows == 2


def test_excel_merged_cells_among_the_rows_are_told(read, tmp_path):
    merged_workbook(tmp_path / "a.xlsx", [["id", "x"], [1, 2], [None, 3]], ["A2:A3"])
    raw = read("a.xlsx")
    assert rows(raw.table) == [("1", "2"), (None, "3")]
    assert "1 merged cells stand among the rows" in str(raw.notes[0])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_headers_over_two_rows_are_what_a_person_reads(data):
    group = st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(1, 4))
    groups = data.draw(st.lists(group, min_size=1, max_size=5))
    down = data.draw(st.integers(0, 3))
    top, below, merged, expected = [], [], [], []
    for name, span in groups:
        first = len(top) + 1
        top += [name] + [""] * (span - 1)
        if span == 1:
            below.append("")
            merged.append(headers.Merge(down + 1, first, down + 2, first))
            expected.append(name)
        else:
            inner = [f"{name}{i}" for i in range(span)]
            below += inner
            merged.append(headers.Merge(down + 1, first, down + 1, first + span - 1))
            expected += [f"{name}.{each}" for each in inner]
    filled = [(down + 1, top), (down + 2, below), (down + 3, ["1"] * len(top))]
    found = headers.find_header(filled, merged)
    if len(groups) == 1:
        # One name over everything is a title, and one column alone has no rows below that are wider.
        return
    assert (found.names, found.row) == (tuple(expected), down + 1)
    assert found.last_row == down + 2


# --- JSON and Parquet ------------------------------------------------------------------------------------------


def test_json_lines_that_are_none(read, tmp_path):
    lines = ['{"id": 1, "o": {"p": [1]}}', "{", "", "[1]", '{"id": 2, "id": 3}', "{}", '{"id": 4} {"id": 5}']
    lines.append('{"id": 6}')
    write(tmp_path / "a.jsonl", "\n".join(lines).encode())
    raw = read("a.jsonl")
    assert rows(raw.table, "id", "o.p", "_row") == [(1, "[1]", 1), (None, None, 5), (6, None, 7)]
    assert [row for row, _, _ in rejects(raw)] == [2, 3, 4, 6]
    assert accounted(raw)


def test_json_objects_in_objects_are_columns(read, tmp_path):
    records = [
        {"id": 1, "a": {"b": {"c": 12345678901234567890123}, "list": [1, {"x": 2}], 'é/~"': "007", "n": 3}},
        {"id": 2, "a": "told", "e": {}},
        {"id": 3, "a": {"b": None, "n": None}},
        {"id": 4},
    ]
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)).encode() + b"\n")
    write(tmp_path / "b.json", json.dumps(records).encode())
    for name in ("a.jsonl", "b.json"):
        table = read(name).table
        assert rows(table, "id", "a", "a.b.c", "a.list", 'a.é/~"', "a.n", "e") == [
            (1, None, "12345678901234567890123", '[1,{"x":2}]', "007", 3, None),
            (2, "told", None, None, None, None, "{}"),
            (3, None, None, None, None, None, None),
            (4, None, None, None, None, None, None),
        ]
        assert "a.b" not in table.columns


def test_json_names_that_would_be_one_column(read, tmp_path):
    write(tmp_path / "a.jsonl", b'{"a.b": 1, "a": {"b": 2}}\n')
    (fault,) = faults(read, "a.jsonl")
    assert (fault.file, fault.column) == ("a.jsonl", "a.b")
    assert "Two values" in fault.message
    assert fault.remedy


def test_json_objects_whose_names_are_data_stay_text(read, tmp_path):
    write(tmp_path / "a.jsonl", json.dumps({"id": 1, "prices": {f"sku{n}": n for n in range(5_000)}}).encode() + b"\n")
    assert read("a.jsonl").table.columns == ("id", "prices", *OURS)


NAME = st.text(st.sampled_from("abcé/~$*[0 \"'"), max_size=3)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.text('ab0é"\\', max_size=4))
OBJECT = st.recursive(
    st.dictionaries(NAME, SCALAR, max_size=3),
    lambda inner: st.dictionaries(NAME, SCALAR | inner, max_size=3),
    max_leaves=6,
)


def flat(record, before=""):
    """The plain way: what stands at the end of each path."""
    found = {}
    for name, value in record.items():
        path = before + name
        if isinstance(value, dict) and value:
            found |= flat(value, path + ".")
        elif value is not None:
            found[path] = value
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OBJECT, min_size=1, max_size=4))
def test_json_comes_back_as_it_was_written(read, tmp_path, objects):
    records = [{"id": n, "o": record} for n, record in enumerate(objects)]
    write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)).encode() + b"\n")
    raw = read("a.jsonl")
    found = raw.table.drop(*OURS).to_pyarrow().to_pylist()
    for record, row in zip(records, found, strict=True):
        expected = {name: value for name, value in flat(record).items() if value != {}}
        told = {name: value for name, value in row.items() if value is not None and value != "{}"}
        assert {k: _text(v) for k, v in told.items()} == {k: _text(v) for k, v in expected.items()}


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_json_by_its_text_not_its_ending(read, tmp_path):
    write(tmp_path / "a.json", b'{"id": 1}\n{"id": 2}\n')
    write(tmp_path / "b.jsonl", b' [{"id": 1}, {"id": 2}]')
    write(tmp_path / "c.json", b'{\n "id": 1\n}\n{\n "id": 2\n}\n')
    for name in ("a.json", "b.jsonl", "c.json"):
        assert rows(read(name).table) == [(1,), (2,)], name
        assert read(name).rejected is None


def test_parquet_keeps_types_and_is_not_copied(read, engine, tmp_path):
    table = pa.table({"id": [1, 2], "x": [1.0, None], "t": pa.array([0, 1], pa.timestamp("us", "UTC"))})
    pq.write_table(table, tmp_path / "a.parquet")
    before = set(engine.scratch.iterdir())
    raw = read("a.parquet")
    assert raw.table.to_pyarrow().select(["id", "x"]).equals(table.select(["id", "x"]))
    assert str(raw.table.schema()["t"]).startswith("timestamp")
    assert set(engine.scratch.iterdir()) == before


def test_parquet_damaged_inside(read, tmp_path):
    out = io.BytesIO()
    pq.write_table(pa.table({"id": [os.urandom(8).hex() for _ in range(20_000)]}), out, compression="zstd")
    content = bytearray(out.getvalue())
    content[1000:60_000] = bytes(59_000)
    (tmp_path / "a.parquet").write_bytes(content)
    assert "damaged" in faults(read, "a.parquet")[0].message


# --- Several files ---------------------------------------------------------------------------------------------


def test_a_folder_and_a_glob(read, tmp_path):
    for name, content in (("b.csv", b"id,y\n3,4\n"), ("a.csv.gz", b"id,x\n1,2\n2,3\n"), (".c.csv", b"!")):
        write(tmp_path / "in" / name, content)
    write(tmp_path / "in" / "readme.md", b"")
    write(tmp_path / "in" / "clientbook.yaml", b"")
    for path in ("in", "in/", "in/*", "i*/*csv*"):
        raw = read(path)
        assert rows(raw.table, "id", "x", "y") == [("1", "2", None), ("2", "3", None), ("3", None, "4")]
        assert rows(raw.table, *OURS) == [("in/a.csv.gz", 2, 0), ("in/a.csv.gz", 3, 1), ("in/b.csv", 2, 2)]
        assert "lacks 'x'" in str(raw.notes[0])
    (fault,) = faults(read, "in", needed=["id", "x"])
    assert (fault.file, fault.column) == ("in/b.csv", "x")
    assert read("in", needed=["id"]).table.columns == ("id", *OURS)


def test_answers_at_the_books_root_are_no_delivery(read, tmp_path):
    write(tmp_path / "a.csv", b"id\n1\n")
    write(tmp_path / "labels.csv", b"source_a,person_id_a\ncrm,1\n")
    write(tmp_path / "in" / "labels.csv", b"id\n2\n")
    for path in (".", "*.csv", "in/../*.csv", str(tmp_path), str(tmp_path / "*.csv")):
        assert [file.path.rsplit("/")[-1] for file in read(path).files] == ["a.csv"], path
    assert [file.path for file in read("in").files] == ["in/labels.csv"]
    assert [file.path for file in read("**/*.csv").files] == ["a.csv", "in/labels.csv"]
    (tmp_path / "a.csv").unlink()
    assert "no data file" in faults(read, ".")[0].message


def test_an_absolute_path_is_shown_as_such_outside_the_book(engine, tmp_path):
    write(tmp_path / "out" / "a.csv", b"id,x\n1,2\n")
    (tmp_path / "book").mkdir()
    raw = sources.read(engine, tmp_path / "book", path=str(tmp_path / "out" / "*.csv"))
    assert raw.files[0].path == str(tmp_path / "out" / "a.csv")
    raw = sources.read(engine, tmp_path / "out", path=str(tmp_path / "out" / "a.csv"))
    assert raw.files[0].path == "a.csv"


def test_one_file_in_order_and_one_not(read, tmp_path):
    write(tmp_path / "a.csv", b"id,x\n1,2\n3,4\n")
    write(tmp_path / "b.csv", b"id,x\n5\n6,7\n")
    raw = read("*.csv")
    assert rows(raw.table, "id", "_row", "_arrival") == [("1", 2, 0), ("3", 3, 1), ("6", 3, 2)]
    assert accounted(raw)


def test_files_of_several_formats(read, tmp_path):
    write(tmp_path / "a.csv", b"id\n1\n")
    write(tmp_path / "b.json", b"[]")
    (fault,) = faults(read, ".")
    assert "csv, json" in fault.message


# --- Names -----------------------------------------------------------------------------------------------------


def test_a_needed_column_is_missing(read, tmp_path):
    write(tmp_path / "a.csv", b"Customer ID,Price\n1,secret\n")
    (fault,) = faults(read, "a.csv", needed=["customer_id", "Price"], key="sources.shop.orders")
    assert (fault.file, fault.column, fault.key) == ("a.csv", "customer_id", "sources.shop.orders")
    assert "Did you mean 'Customer ID'?" in fault.remedy
    assert "'Price'" in fault.remedy
    assert "secret" not in str(fault)


def test_names_that_stand_twice(read, tmp_path):
    write(tmp_path / "a.csv", b"id,x,X\n1,2,3\n")
    (fault,) = faults(read, "a.csv")
    assert (fault.column, fault.row) == ("X", 1)
    assert rows(read("a.csv", needed=["id"]).table) == [("1",)]
    assert rows(read("a.csv", needed=["X"]).table) == [("3",)]
    write(tmp_path / "b.csv", b"id,x,x\n1,2,3\n")
    assert faults(read, "b.csv", needed=["x"])[0].column == "x"


def test_names_that_are_missing_or_ours(read, tmp_path):
    write(tmp_path / "a.csv", b",id, padded \n0,1,2\n")
    raw = read("a.csv")
    assert raw.table.columns == ("column_1", "id", "padded", *OURS)
    assert "Column 1 has no name" in str(raw.notes[0])
    write(tmp_path / "b.csv", b"_row,id\n0,1\n")
    assert faults(read, "b.csv")[0].column == "_row"


def test_too_many_columns(read, tmp_path):
    write(tmp_path / "a.csv", b",".join(b"c%d" % n for n in range(200_000)) + b"\n")
    (fault,) = faults(read, "a.csv")
    assert "200,000" in fault.message


# --- Very much at once ------------------------------------------------------------------------------------------

# What a process may hold, whatever the file: Python with the libraries takes about 250 MB, the engine is bound to 1 GB.
BOUND = 2_000
CHILD = """
import resource, sys
from pathlib import Path
from clientbook import engine, sources
from clientbook.faults import FaultError
folder = Path(sys.argv[1])
with engine.open(scratch=folder / "scratch", memory="1GB") as opened:
    try:
        raw = sources.read(opened, folder, path=sys.argv[2])
        print(raw.table.count().to_pyarrow().as_py(), "rows", len(raw.files), "files")
    except FaultError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
"""


def read_in_a_child(folder, path):
    """What was told, and how many MB the process held at most."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder), path], capture_output=True, text=True, check=True)
    *told, most = done.stdout.splitlines()
    return "\n".join(told), int(most)


def test_ten_megabytes_in_one_field_take_bounded_memory(tmp_path):
    big = "x" * 10_000_000
    write(tmp_path / "a.csv", f"id,x\n1,{big}\n2,y\n".encode())
    write(tmp_path / "a.jsonl", json.dumps({"id": 1, "o": {"x": big}}).encode() + b"\n")
    write(tmp_path / "a.zip", as_zip([("a.csv", f"id,x\n1,{big}\n2,y\n".encode())]))
    for name, told in (("a.csv", "2 rows"), ("a.jsonl", "1 rows"), ("a.zip", "2 rows")):
        answer, most = read_in_a_child(tmp_path, name)
        assert answer.startswith(told)
        assert most < BOUND


MANY = 1_000_000
WIDE = {
    "a.csv": lambda: b",".join(b"c%d" % n for n in range(MANY)) + b"\n" + b"," * (MANY - 1) + b"\n",
    "a.jsonl": lambda: json.dumps(dict.fromkeys(map(str, range(MANY)), 1)).encode() + b"\n",
    "a.json": lambda: b"[" + json.dumps(dict.fromkeys(map(str, range(MANY)), 1)).encode() + b"]",
}


@pytest.mark.parametrize("name", WIDE)
def test_a_million_columns_are_a_fault_in_bounded_memory(tmp_path, name):
    write(tmp_path / name, WIDE[name]())
    answer, most = read_in_a_child(tmp_path, name)
    assert "1,000,000" in answer
    assert "10,000" in answer
    assert most < BOUND


def test_very_many_columns_of_parquet_are_a_fault(tmp_path):
    pq.write_table(pa.table({f"c{n}": [1] for n in range(20_000)}), tmp_path / "a.parquet")
    answer, most = read_in_a_child(tmp_path, "a.parquet")
    assert "20,000 columns" in answer
    assert most < BOUND


def test_two_hundred_files(tmp_path):
    for n in range(200):
        write(tmp_path / "in" / f"{n:03d}.csv", b"id,x\n" + b"".join(b"%d,%d\n" % (n, i) for i in range(100)))
    answer, most = read_in_a_child(tmp_path, "in")
    assert answer == "20000 rows 200 files"
    assert most < BOUND


@pytest.mark.slow
def test_a_gigabyte_of_csv_takes_bounded_memory(tmp_path):
    lines = (f"{n},2024-01-{n % 28 + 1:02d},product {n % 977},{n % 9 + 1},{n / 7:.2f},Zoë\n" for n in range(200_000))
    block, count = "".join(lines).encode(), 0
    file = tmp_path / "a.csv"
    with file.open("wb") as out:
        out.write(b"person_id,ordered_at,product,quantity,price,name\n")
        while out.tell() < 1_000_000_000:
            out.write(block)
            count += 200_000
    try:
        answer, most = read_in_a_child(tmp_path, "a.csv")
    finally:
        file.unlink()
    assert answer == f"{count} rows 1 files"
    assert most < BOUND


# --- Bad input -------------------------------------------------------------------------------------------------


def cut_gzip():
    return gzip.compress(os.urandom(200_000).hex().encode())[:100_000]


def cut_workbook():
    return DELIVERIES["a.xlsx"][0][:3000]


def damaged_workbook():
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(DELIVERIES["a.xlsx"][0])) as whole, zipfile.ZipFile(out, "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, whole.read(name)[: 200 if "sheet1" in name else None])
    return out.getvalue()


BAD = {
    "empty": ("a.csv", b"", "empty", None),
    "empty in gzip": ("a.csv.gz", gzip.compress(b""), "empty", None),
    "line ends only": ("a.csv", b"\n\r\n", "nothing but line ends", None),
    "cut gzip": ("a.csv.gz", cut_gzip(), "ends too early", None),
    "no gzip": ("a.csv.gz", b"id,x\n1,2\n", "no gzip", None),
    "cut parquet": ("a.parquet", DELIVERIES["a.parquet"][0][:500], "Parquet", None),
    "no parquet": ("a.parquet", b"id,x\n1,2\n", "Parquet", None),
    "empty parquet": ("a.parquet", b"", "empty", None),
    "cut workbook": ("a.xlsx", cut_workbook(), "workbook", None),
    "damaged workbook": ("a.xlsx", damaged_workbook(), "workbook", None),
    "no workbook": ("a.xlsx", b"id,x\n", "workbook", None),
    "empty sheet": ("a.xlsx", as_workbook({"S": []}), "empty", None),
    "zero byte": ("a.csv", b"id,x\n1,2\n3,secret\0\n", "zero byte", 3),
    "unclosed quote": ("a.csv", b'id,x\n1,2\n3,"secret\n4,5\n', "never closed", 3),
    "long unclosed quote": ("a.csv", b'id,x\n1,"s\n' + b"3,secret\n" * 2_000_000, "longer than 16 MB", 2),
    "cut json": ("a.json", b'[{"id": "secret"}, {"id":', "JSON", None),
    "json of numbers": ("a.json", b"[1, 2]", "JSON", None),
    "no json": ("a.jsonl", b"secret\n", "JSON", None),
    "no encoding": ("a.csv", b"id,x\n1,2\n", "no encoding", None),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_faults(read, tmp_path, case):
    name, content, words, row = BAD[case]
    (tmp_path / name).write_bytes(content)
    (fault,) = faults(read, name, key="k", encoding="klingon" if case == "no encoding" else None)
    assert words in fault.message
    assert (fault.file, fault.key, fault.row) == (name, "k", row)
    assert fault.remedy
    assert "secret" not in str(fault)


def test_not_in_the_encoding_given(read, tmp_path):
    write(tmp_path / "a.csv", b"id,x\n1,2\n3,\xe9\n")
    for encoding in ("utf-8", "ascii", "big5"):
        (fault,) = faults(read, "a.csv", encoding=encoding)
        assert (encoding in fault.message) or "encoding given" in fault.message
        assert fault.row is not None


@pytest.mark.parametrize("delimiter", ["", '"', ",,", "\n", "é"])
def test_no_delimiter(read, tmp_path, delimiter):
    write(tmp_path / "a.csv", b"id,x\n1,2\n")
    assert "delimiter" in faults(read, "a.csv", delimiter=delimiter)[0].message


def test_nothing_is_there(read, tmp_path):
    write(tmp_path / "data" / "orders.csv", b"id,x\n")
    (tmp_path / "none").mkdir()
    assert "Did you mean orders.csv?" in faults(read, "data/order.csv")[0].remedy
    assert "orders.csv" in faults(read, "data/zzz.parquet")[0].remedy
    assert "Did you mean data?" in faults(read, "dta/orders.csv")[0].remedy
    assert "no data file" in faults(read, "none")[0].message
    assert "pattern" in faults(read, "data/*.parquet")[0].message
    assert "no known format" in faults(lambda: (write(tmp_path / "a.docx", b"x"), read("a.docx")))[0].message
    assert "package" in faults(read, "package:no_such_package/a.csv")[0].message
    assert "Did you mean" in faults(read, "package:lifetimes/datasets/CDNOW_mastr.txt")[0].remedy
    assert "empty" in faults(read, "")[0].message
    assert faults(read, "a\0b.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "no file" in faults(read, "pipe.csv")[0].message
    assert faults(read, "x" * 5000 + ".csv")


def test_an_error_of_the_system_is_a_fault(read, tmp_path, monkeypatch):
    write(tmp_path / "a.csv", b"id,x\n")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("clientbook.sources.fingerprint", refuse)
    assert "may not be read" in faults(read, "a.csv")[0].message


def test_a_file_that_grows_while_it_is_read(read, tmp_path, monkeypatch):
    write(tmp_path / "a.csv", b"id,x\n1,2\n")

    def grow(path):
        path.write_bytes(path.read_bytes() + b"3,4\n")
        return "0" * 64

    monkeypatch.setattr("clientbook.sources.fingerprint", grow)
    assert "changed while" in faults(read, "a.csv")[0].message


def test_every_bad_file_is_told_at_once(read, tmp_path):
    write(tmp_path / "a.csv", b"")
    write(tmp_path / "b.csv", b"id,x\n1,2\n")
    write(tmp_path / "c.csv", b'id,x\n1,"2\n')
    assert [fault.file for fault in faults(read, "*.csv")] == ["a.csv", "c.csv"]


@pytest.mark.parametrize("indent", [None, 2])
def test_records_that_one_object_holds_in_a_list_are_read_as_web_services_answer(read, tmp_path, indent):
    tickets = [{"id": 12345678901234567, "who": {"email": "ann@x.org"}, "tags": ["a"]}, {"id": 2, "who": None, "text": "ü"}]
    answer = {"count": 2, "next_page": None, "tickets": tickets}
    write(tmp_path / "t.json", json.dumps(answer, indent=indent, ensure_ascii=False).encode())
    write(tmp_path / "plain.json", json.dumps(tickets).encode())
    raw, plain = read("t.json"), read("plain.json")
    assert rows(raw.table, "id", "who.email", "text") == [(12345678901234567, "ann@x.org", None), (2, None, "ü")]
    assert rows(raw.table, *plain.files[0].columns) == rows(plain.table, *plain.files[0].columns)
    assert raw.files[0].rows == 2 and ["'tickets'" in str(note) for note in raw.notes] == [True]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ('{"order_id": 1, "lines": [{"n": 1}, {"n": 2}]}', 1),
        ('{"lines": [{"n": 1}, {"n": 2}], "order_id": 1}', 1),
        ('{"lines": [{"n": 1}]}\n{"lines": [{"n": 2}]}\n', 2),
        ('{"count": 3}', 1),
        ('{"tags": ["a", "b"]}', 1),
    ],
)
def test_an_object_that_is_a_record_stays_one(read, tmp_path, content, records):
    write(tmp_path / "o.json", content.encode())
    raw = read("o.json")
    assert raw.table.count().to_pyarrow().as_py() == raw.files[0].rows == records
    assert not [note for note in raw.notes if "in one object" in str(note)]
