"""The same tables from a cluster: two workers on this machine, and Spark Connect."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from alike import differences

from clientbook import cleaning, parsing
from clientbook import engine as engines
from clientbook.book import make_company, open_book
from clientbook.faults import FaultError

pytest.importorskip("pyspark", reason="PySpark is not installed")
if shutil.which("java") is None:
    told = "Java is not installed"
    pytest.fail(told) if os.environ.get("CI") else pytest.skip(told, allow_module_level=True)

from clientbook.engine import session
from clientbook.engine import spark as sparks

DAY = dt.date(2026, 7, 1)
TEXTS = [
    "2024/01/05 10:00", "2024-1-5", "2024-02-30", "2024", "05.03.2024", "5.3.2024", "31.02.2024", " x ", "1.234,5", "1,234.5",
    "2024-01-05T10:00:00+02:00", "2024-01-05T10:00Z", "2024-03-31 02:30", "yes", "NEIN", "", "\u00a0a", "12\n", "1e3",
    "20240105", "1 234", "-", "0012", "1.5", "x\u200b", " of five", "even  ", None,
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A session on two workers; for a book as small as this, compiling each question takes longer than answering it."""
    settings = tmp_path_factory.mktemp("settings")
    (settings / "spark-defaults.conf").write_text(
        "spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\nspark.sql.adaptive.enabled false\n"
        "spark.sql.shuffle.partitions 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings))
        patch.setenv(session.MASTER_VARIABLE, "local-cluster[2,1,1024]")
        with engines.open("spark", scratch=tmp_path_factory.mktemp("cluster")) as opened:
            yield opened


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    with engines.open("duckdb", scratch=tmp_path_factory.mktemp("alone")) as opened:
        yield opened


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "it's [one] of {many}.parquet"
    numbers = [1.0, 2.5, -0.5, 2.675, 1e6, None] + [0.125] * (len(TEXTS) - 6)
    pq.write_table(pa.table({"n": range(len(TEXTS)), "text": TEXTS, "number": numbers}), file)
    return file


@pytest.mark.parametrize("kind", ["text", "id", "number", "flag", "time", "date"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_every_text_means_the_same(cluster, alone, texts, kind, decimal):
    reading = parsing.Reading(decimal, "Europe/Berlin", ("%d.%m.%Y", "%Y%m%d"))

    def read(engine):
        rows = engine.read_parquet(texts)
        return rows.select("n", value=parsing.parse(rows["text"], kind, reading)).order_by("n").to_pyarrow().to_pylist()

    assert read(cluster) == read(alone)


def test_functions_of_the_same_name_do_the_same(cluster, alone, texts):
    def read(engine):
        rows = engine.read_parquet(texts)
        short = rows["number"].round(2)
        told = rows.mutate(
            short=short, whole=(rows["number"] * 2).cast("int64"), text=rows["text"].fill_null("").length(),
        )  # fmt: skip
        best = rows.aggregate(best=rows["text"].argmax(rows["n"], where=rows["n"] < 6), first=rows["text"].argmin(rows["n"]))
        return told.order_by("n").to_pyarrow().to_pylist(), best.to_pyarrow().to_pylist()

    assert read(cluster) == read(alone)


def test_rows_know_their_file_and_number(cluster, alone, tmp_path):
    parts = []
    for name, rows in (("b [1].parquet", 3), ("a+b c.parquet", 2)):
        pq.write_table(pa.table({"x": [f"{name}{i}" for i in range(rows)], "big": pa.array(range(rows), pa.uint64())}), tmp_path / name)
        parts.append(engines.Part(tmp_path / name, name, rows, 2))

    def read(engine):
        return engine.read_numbered(parts, ["x", "big"]).order_by("_arrival").to_pyarrow().to_pylist()

    assert read(cluster) == read(alone)
    assert [row["_row"] for row in read(cluster)] == [2, 3, 4, 2, 3]


def test_the_nearest_in_time_is_the_same(cluster, alone, tmp_path):
    pq.write_table(pa.table({"who": ["a", "a", "b", None], "at": [1, 5, 5, 5]}), tmp_path / "left.parquet")
    pq.write_table(pa.table({"who": ["a", "a", "a", "c"], "then": [1, 4, 9, 1], "z": [None, 2, 3, 4]}), tmp_path / "right.parquet")
    for comparison in (">=", "<"):
        found = []
        for engine in (cluster, alone):
            left, right = (engine.read_parquet(tmp_path / f"{name}.parquet") for name in ("left", "right"))
            joined = engines.asof_join(left, right, ("at", comparison, "then"), ["who"]).order_by("who", "at")
            found.append(joined.to_pyarrow().to_pylist())
        assert found[0] == found[1]


def test_a_table_is_one_file_in_its_order(cluster, tmp_path):
    rows = ibis.memtable(pa.table({"n": range(1000)}))
    kept = cluster.keep(rows)
    cluster.write_parquet(kept.order_by(ibis.desc("n")), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["n"].to_pylist() == list(range(999, -1, -1))


def test_what_comes_to_the_driver_is_bounded(cluster, monkeypatch):
    monkeypatch.setattr(sparks, "MOST_ROWS_TO_DRIVER", 10)
    with pytest.raises(FaultError, match="driver"):
        cluster.keep(ibis.memtable(pa.table({"n": range(11)}))).to_pyarrow()


def test_an_error_quotes_no_data(cluster, texts):
    rows = cluster.read_parquet(texts)
    with pytest.raises(engines.UnreadableError) as caught:
        rows.mutate(bad=rows["text"].re_extract("(", 1)).to_pyarrow()
    assert not any(text in str(caught.value) for text in TEXTS if text and len(text) > 4) and caught.value.__cause__ is None


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    folder = tmp_path_factory.mktemp("company") / "book"
    make_company(folder, people=200, seed=17)
    return folder


@pytest.fixture(scope="module")
def cleaned(cluster, alone, company, tmp_path_factory):
    """The folders of both engines' clean tables."""
    folders = {}
    for engine in (cluster, alone):
        folder = folders[engine.name] = tmp_path_factory.mktemp(engine.name)
        found = cleaning.clean(open_book(company), engine, DAY)
        for name, rows in found.tables.items():
            engine.write_parquet(rows, folder / f"{name}.parquet")
        (folder / "rows.json").write_text(json.dumps(found.rows))
    return folders


def test_every_clean_table_is_the_same(cleaned):
    names = sorted(path.name for path in cleaned["duckdb"].glob("*.parquet"))
    assert len(names) > 15
    assert {n: d for n in names if (d := differences(cleaned["duckdb"] / n, cleaned["spark"] / n))} == {}
    assert (cleaned["duckdb"] / "rows.json").read_text() == (cleaned["spark"] / "rows.json").read_text()


CONNECT = """
import sys
from pathlib import Path
import ibis, pyarrow as pa
from clientbook import engine as engines, parsing
with engines.open("spark", scratch=Path(sys.argv[1])) as engine:
    assert "connect" in type(engine._session).__module__
    rows = engine.keep(ibis.memtable(pa.table({"n": [1, 2, 3], "text": ["7", "x", None]})))
    told = rows.mutate(number=parsing.parse(rows["text"], "number")).order_by("n")
    engine.write_parquet(told, Path(sys.argv[1]) / "t.parquet")
    print(engine.read_parquet(Path(sys.argv[1]) / "t.parquet")["number"].sum().to_pyarrow().as_py())
"""


def test_spark_connect_is_a_session_as_any_other(tmp_path):
    pytest.importorskip("grpc", reason="Spark Connect needs grpcio")
    environment = os.environ | {session.REMOTE_VARIABLE: "local[1]"}
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout.strip().endswith("7.0"), done.stderr[-2000:]


def test_formats_of_time_are_written_as_java_has_them():
    assert sparks.java_format("%d.%m.%Y %H:%M") == "d.M.yyyy H:m"
    assert sparks.java_format("%Y%m%d%H%M%S") == "yyyyMMddHHmmss"
    assert sparks.java_format("%Y%m%dT%H%M%S") == "yyyyMMdd'T'HHmmss"
    with pytest.raises(FaultError, match="duckdb"):
        sparks.java_format("%U")


def test_without_java_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for name in ("JAVA_HOME", session.REMOTE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FaultError, match="Java 17"):
        session.check_installed()


def run(book: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {session.MASTER_VARIABLE: "local[2]"}
    command = [sys.executable, "-m", "clientbook.cli", "run", str(book), "--out", str(out), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_a_run_on_spark_says_what_worked_on_what(make_book, tmp_path):
    lines = [f"o{i},c{i % 40},2026-0{1 + i % 6}-1{i % 9},{10 + i % 7}.5" for i in range(400)]
    book = make_book(
        "name: Small\ncurrency: EUR\ncountry: DE\ntimezone: Europe/Berlin\nas_of: 2026-07-01\n"
        "sources:\n  shop:\n    orders:\n      path: orders.csv\n",
        orders__csv="\n".join(["order_id,person_id,ordered_at,amount", *lines]),
    )
    done = run(book, tmp_path / "reports", "--engine", "spark", "--only", "value")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "On Spark: 01_cleaning" in done.stdout
    (folder,) = (book / "store" / "runs").iterdir()
    told = json.loads((folder / "run.json").read_text())
    assert told["engine"] == "spark" and told["engines"]["01_cleaning"] == "spark" and told["engines"]["04_value"] == "duckdb"
    assert told["versions"]["pyspark"].startswith("4.")
    assert pq.read_metadata(folder / "tables" / "orders.parquet").num_rows == 400
    assert not list((book / "store" / "scratch").iterdir())
