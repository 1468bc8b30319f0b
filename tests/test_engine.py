"""What one engine alone does: order, exact text, the same bytes every time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ibis
import pandas as pd
import pytest

from clientbook import engine as engines
from clientbook.engine import Part, UnreadableError, duckdb, nearest
from clientbook.faults import Fault, FaultError, UsageError


@pytest.fixture
def engine(tmp_path):
    with engines.open(scratch=tmp_path / "scratch") as opened:
        yield opened


def rows(table):
    return [tuple(row.values()) for row in table.to_pyarrow().to_pylist()]


def test_text_is_text(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,name\n007,"a ""b""\nc"\n,\n"",x\n')
    table = engine.read_text(path, delimiter=",", columns=["id", "name"])
    assert rows(table) == [("007", 'a "b"\nc'), (None, None), (None, "x")]
    assert set(table.schema().types) == {ibis.dtype("string")}


def test_text_out_of_order_is_not_read_and_says_nothing_of_it(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,name\n1,secret\n2\n")
    with pytest.raises(UnreadableError) as caught:
        engine.read_text(path, delimiter=",", columns=["id", "name"])
    assert "secret" not in str(caught.value)


def test_json_keeps_whole_columns_types_and_long_numbers(engine, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "007", "n": 1, "x": 1.5, "long": 12345678901234567890123, "day": "2024-01-01", "b": true, '
        '"o": {"p": 1}}\n'
        '{"id": null, "n": 2, "x": 2, "long": 1, "day": "x", "b": false, "o": [1, 2]}\n'
    )
    table = engine.read_json(path)
    kinds = {name: str(kind) for name, kind in table.schema().items()}
    assert kinds == {
        "id": "string", "n": "int64", "x": "float64", "long": "string", "day": "string", "b": "boolean", "o": "string",
        "o.p": "int64",
    }  # fmt: skip
    assert rows(table)[0] == ("007", 1, 1.5, "12345678901234567890123", "2024-01-01", True, None, 1)
    assert rows(table)[1] == (None, 2, 2.0, "1", "x", False, "[1,2]", None)


def test_parquet_written_twice_is_the_same_bytes(tmp_path):
    digests = set()
    for threads in (1, 2, 4, 2, 2):
        with engines.open(scratch=tmp_path / "scratch", threads=threads) as engine:
            numbers = ibis.range(0, 400_000).unnest().name("n").as_table()
            table = numbers.mutate(t=(ibis._.n * 7919 % 10_007).cast("string"), x=ibis._.n / 3)
            engine.connection.create_table("kept", table.order_by("n"))
            engine.write_parquet(engine.connection.table("kept"), tmp_path / "out.parquet")
            assert engine.read_parquet(tmp_path / "out.parquet").n.to_pyarrow().to_pylist() == list(range(400_000))
        digests.add(hashlib.sha256((tmp_path / "out.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_numbered_parts(engine, tmp_path):
    for name, column in (("a", "x"), ("b", "y")):
        (tmp_path / name).write_text(f"k,{column}\n1,2\n3,4\n")
    staged = [engine.stage_text(tmp_path / name, delimiter=",", columns=["k", column]) for name, column in ("ax", "by")]
    parts = [Part(staged[0], "a.csv", 2, 2), Part(staged[1], "it's.csv", 2, 1)]
    assert rows(engine.read_numbered(parts, ["k", "x", "y"])) == [
        ("1", "2", None, "a.csv", 2, 0),
        ("3", "4", None, "a.csv", 3, 1),
        ("1", None, "2", "it's.csv", 1, 2),
        ("3", None, "4", "it's.csv", 2, 3),
    ]


def test_names_that_look_like_globs(engine, tmp_path):
    (tmp_path / "a[1]*?.csv").write_text("k,x\n[,\n")
    (tmp_path / "a1.csv").write_text("k,x\nwrong,\n")
    table = engine.read_text(tmp_path / "a[1]*?.csv", delimiter=",", columns=["k", "x"])
    assert rows(table) == [("[", None)]


def test_settings(tmp_path):
    with engines.open(scratch=tmp_path, memory="1GB", threads=1) as engine:

        def ask(name):
            return engine.connection.raw_sql(f"SELECT current_setting('{name}')").fetchone()[0]

        assert ask("TimeZone") == "UTC"
        assert ask("autoinstall_known_extensions") is False
        assert ask("autoload_known_extensions") is False
        assert ask("threads") == 1
        assert "953" in ask("memory_limit")
        assert Path(ask("temp_directory")).parent == tmp_path.resolve()
        folder = engine.scratch
        assert folder.is_dir()
    assert not folder.exists()


def test_memory_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIENTBOOK_MEMORY", "2GB")
    with engines.open(scratch=tmp_path) as engine:
        assert engine.connection.raw_sql("SELECT current_setting('memory_limit')").fetchone()[0] == "1.8 GiB"
    monkeypatch.setenv("CLIENTBOOK_MEMORY", "plenty")
    with pytest.raises(FaultError, match="plenty"):
        engines.open(scratch=tmp_path)


def test_an_engine_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="duckdb"):
        engines.open("abacus", scratch=tmp_path)


def test_few_rows_are_kept_in_memory_and_many_on_disk_in_the_same_order(tmp_path):
    with engines.open(scratch=tmp_path, memory="256MB", threads=1) as engine:
        numbers = ibis.range(0, 5000).unnest().name("n").as_table().order_by(ibis.desc("n"))
        wanted = rows(numbers)
        small, unknown, large = engine.keep(numbers, rows=5000), engine.keep(numbers), engine.keep(numbers, rows=10**9)
        assert rows(small) == rows(unknown) == rows(large) == wanted
        assert len(list(engine.scratch.glob("*.parquet"))) == 2
        # what is held is counted: in the end another table goes to disk
        many = [engine.keep(numbers, rows=500_000) for _ in range(20)]
        assert 2 < len(list(engine.scratch.glob("*.parquet"))) < 22
        assert all(rows(each) == wanted for each in many)


def _numbers(engine, n=400_000):
    """Rows in no order: a number of their own, one that several share, and one that is missing here and there."""
    query = f"SELECT (i * 7919) % {n} AS own, i % 11 AS shared, CASE WHEN i % 97 = 0 THEN NULL ELSE i % 1000 END AS gap FROM range({n}) t(i)"
    return engine.connection.sql(query)


@pytest.mark.parametrize(
    ("order", "same_bytes"),
    [
        (["own"], True),
        ([ibis.desc("own")], True),
        (["shared", "own"], False),
        (["gap", "own"], False),
        ([ibis.desc("gap"), "own"], False),
        ([ibis.asc("gap", nulls_first=True), "own"], False),
    ],
)
def test_what_is_too_large_to_sort_is_staged_and_sorted_in_slices(engine, tmp_path, monkeypatch, order, same_bytes):
    table = _numbers(engine).order_by(*order)
    whole, staged, sliced = (tmp_path / f"{name}.parquet" for name in ("whole", "staged", "sliced"))
    engine.write_parquet(table, whole)
    copy, tried, fails = duckdb.DuckDBEngine._copy, [], 1

    def too_large_at_first(self, query, path, *rest, **more):
        tried.append(path)
        if len(tried) <= fails:
            raise duckdb.MemoryFault(Fault("There is not enough memory.", "Set more."))
        copy(self, query, path, *rest, **more)

    monkeypatch.setattr(duckdb.DuckDBEngine, "_copy", too_large_at_first)
    engine.write_parquet(table, staged)
    assert len(tried) == 2 and staged.read_bytes() == whole.read_bytes()
    tried.clear()
    assert rows(engine.keep(table)) == rows(engine.read_parquet(whole)) and len(tried) == 2
    tried.clear()
    fails = 2
    monkeypatch.setattr(duckdb, "SLICE_GROUPS", 1)
    engine.write_parquet(table, sliced)
    assert len(tried) > 6
    assert rows(engine.read_parquet(sliced)) == rows(engine.read_parquet(whole))
    if same_bytes:
        assert sliced.read_bytes() == whole.read_bytes()


def test_what_has_no_order_and_is_too_large_is_told(engine, tmp_path, monkeypatch):
    def too_large(self, query, path, *rest, **more):
        raise duckdb.MemoryFault(Fault("There is not enough memory.", "Set more."))

    monkeypatch.setattr(duckdb.DuckDBEngine, "_copy", too_large)
    with pytest.raises(FaultError, match="not enough memory"):
        engine.write_parquet(_numbers(engine), tmp_path / "a.parquet")


@pytest.mark.parametrize("comparison", [">=", "<"])
def test_the_nearest_in_time_by_order_is_that_of_the_join(engine, comparison):
    import random

    draw = random.Random(7)
    keys, times = ["a", "b", "c", None], [*range(12), None]
    left = [{"who": draw.choice(keys), "n": n, "at": draw.choice(times)} for n in range(300)]
    # one row a time: of those that tie either may be taken
    right = [{"who": key, "then": then, "z": draw.choice([None, 1, 2])} for key in keys for then in times if draw.random() < 0.4]
    left, right = (engine.keep(ibis.memtable(pd.DataFrame(rows).convert_dtypes())) for rows in (left, right))
    joined = engines.asof_join(left, right, ("at", comparison, "then"), ["who"])
    ordered = nearest._by_order(left, right, "at", comparison, "then", ["who"])
    assert joined.columns == ordered.columns
    found, told = (rows(each.order_by("n")) for each in (joined, ordered))
    assert len(told) == 300 and any(row[-1] is not None for row in told)
    # DuckDB puts a time that nobody knows after all others; it has no nearest
    assert [row for row in told if row[2] is not None] == [row for row in found if row[2] is not None]
    assert all(row[3] is None for row in told if row[2] is None)
