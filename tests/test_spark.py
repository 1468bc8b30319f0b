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

from clientbook import cleaning, content, journeys, matching, parsing, profiling, stage, value
from clientbook import engine as engines
from clientbook.book import make_company, open_book
from clientbook.content import audit, pressure
from clientbook.faults import FaultError
from clientbook.store import Run

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
    "20240105", "1 234", "-", "0012", "1.5", "x\u200b", " of five", "even  ", "vf", "five of\v", "€ 9.99",
    "9,99 €", "eur 5", "($5)", "(1.234,50)", "(5)", "12-", "-€5", "€-5", "--5", "5 Euro", None,
]  # fmt: skip


# For a book as small as this, compiling each question takes longer than answering it: for Spark, and for Java once more.
SMALL = """
spark.sql.codegen.wholeStage      false
spark.sql.codegen.factoryMode     NO_CODEGEN
spark.sql.adaptive.enabled        false
spark.driver.extraJavaOptions     -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
spark.executor.extraJavaOptions   -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A folder of Spark's settings for small books."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "spark-defaults.conf").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def cluster(settings, tmp_path_factory):
    """A session on two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings))
        patch.setenv(session.MASTER_VARIABLE, "local-cluster[2,1,1024]")
        with engines.open("spark", scratch=tmp_path_factory.mktemp("cluster")) as opened:
            opened._session.conf.set("spark.sql.shuffle.partitions", "2")
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


@pytest.mark.parametrize("kind", ["text", "id", "number", "money", "flag", "time", "date"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_every_text_means_the_same(cluster, alone, texts, kind, decimal):
    reading = parsing.Reading(decimal, "Europe/Berlin", ("%d.%m.%Y", "%Y%m%d"), "EUR")

    def read(engine):
        rows = engine.read_parquet(texts)
        return rows.select("n", value=parsing.parse(rows["text"], kind, reading)).order_by("n").to_pyarrow().to_pylist()

    assert read(cluster) == read(alone)


def test_functions_of_the_same_name_do_the_same(cluster, alone, texts):
    def read(engine):
        rows = engine.read_parquet(texts)
        short = rows["number"].round(2)
        told = rows.mutate(
            bare=rows["text"].strip(), short=short, whole=(rows["number"] * 2).cast("int64"), text=rows["text"].fill_null("").length(),
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


def test_python_functions_do_the_same_where_the_rows_lie(cluster, alone, texts):
    def length(text):
        return (str(len(text)), None if text.strip() else "blank")

    def read(engine):
        told = engine.by_values(engine.read_parquet(texts)["text"], length, ("length", "kind"))
        return sorted(told.to_pyarrow().to_pylist(), key=lambda row: row["_value"])

    assert read(cluster) == read(alone)
    assert {(row["length"], row["kind"]) for row in read(cluster)} >= {("0", "blank"), ("1", None)}


def test_rows_are_counted_in_their_order(cluster, alone, tmp_path):
    pq.write_table(pa.table({"a": [f"{i % 7}" for i in range(50)], "b": [str(i) for i in range(50)]}), tmp_path / "t.parquet")

    def read(engine):
        return engine.number(engine.read_parquet(tmp_path / "t.parquet"), ["a", "b"], "n").order_by("n").to_pyarrow().to_pylist()

    assert read(cluster) == read(alone)
    assert [row["n"] for row in read(cluster)] == list(range(50))


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


def write_clean(engine, company: Path, folder: Path) -> Path:
    """The clean tables of a company as an engine makes them."""
    found = cleaning.clean(open_book(company), engine, DAY)
    for name, rows in found.tables.items():
        engine.write_parquet(rows, folder / f"{name}.parquet")
    (folder / "rows.json").write_text(json.dumps(found.rows))
    return folder


@pytest.fixture(scope="module")
def cleaned(alone, company, tmp_path_factory):
    return write_clean(alone, company, tmp_path_factory.mktemp("cleaned"))


def test_every_clean_table_is_the_same(cluster, cleaned, company, tmp_path):
    other = write_clean(cluster, company, tmp_path)
    names = sorted(path.name for path in other.glob("*.parquet"))
    assert len(names) > 15
    assert {n: d for n in names if (d := differences(cleaned / n, other / n))} == {}
    assert (cleaned / "rows.json").read_text() == (other / "rows.json").read_text()


@pytest.fixture(scope="module")
def found(alone, company, cleaned):
    """A folder of clean tables, of who is who, and of where everybody stands, all made by DuckDB; and the book."""
    folder, book = cleaned, open_book(company)
    read = reader(alone, folder)
    tables = {name: read(name) for name in matching.STAGE.uses}
    made = matching.match(tables, alone, book.settings.country, matching.MatchingParameters())
    for name, rows in made.tables.items():
        alone.write_parquet(rows, folder / f"{name}.parquet")
    tables = {name: read(name) for name in journeys.READS}
    subject = journeys.choose_subject(None, tables["resolved_accounts"])
    timeline = alone.keep(journeys.compose(tables, subject, alone))
    told, zone = journeys.stage_table_of(timeline, book.settings.journeys.stages), book.settings.timezone
    ways = journeys.follow(timeline, journeys.as_evidence(told), alone, zone=zone, gap_days=90)
    reading = journeys.read_stages(journeys.seen_of(ways), told, DAY, alone, zone=zone)
    alone.write_parquet(journeys.stage_intervals(reading, ways, subject), folder / "stage_intervals.parquet")
    return folder, book


def reader(engine, folder):
    return lambda name: engine.read_parquet(folder / f"{name}.parquet") if (folder / f"{name}.parquet").is_file() else None


@pytest.fixture
def same(cluster, alone, found, tmp_path):
    """Whether what is made on both engines from the same tables differs, and how many rows it has."""

    def compared(make):
        made = []
        for engine in (alone, cluster):
            for name, rows in make(engine, reader(engine, found[0]), found[1]).items():
                file = tmp_path / engine.name / f"{name}.parquet"
                file.parent.mkdir(exist_ok=True)
                (engine if isinstance(rows, ibis.Table) else alone).write_parquet(
                    rows if isinstance(rows, ibis.Table) else ibis.memtable(rows), file
                )
                made.append(name)
        names = dict.fromkeys(made)
        files = {name: [tmp_path / engine.name / f"{name}.parquet" for engine in (alone, cluster)] for name in names}
        assert {name: d for name, (one, other) in files.items() if (d := differences(one, other))} == {}
        for one, other in files.values():
            # a table that Spark made is read like any other
            assert pq.read_schema(one).remove_metadata().equals(pq.read_schema(other).remove_metadata())
        return {name: pq.read_metadata(one).num_rows for name, (one, _) in files.items()}

    return compared


def test_what_stands_in_the_columns_is_the_same(same):
    def make(engine, read, book):
        tables = {name: read(name) for name in ("people", "aliases", "orders", "messages", "rejected")}
        p = profiling.ProfilingParameters(shape_rows=300)
        made = (profiling.column_profiles, profiling.overlaps, profiling.correspondences)
        return {function.__name__: function(tables, engine, p) for function in made} | {
            "cost": profiling.bad_data_cost(tables), "fresh": profiling.freshness(tables, DAY),
        }  # fmt: skip

    assert all(same(make).values())


def test_the_timeline_is_the_same(same):
    def make(engine, read, book):
        tables = {name: read(name) for name in journeys.READS}
        who = journeys.who_is_who(tables, engine)
        return {"who": who} | {subject: journeys.compose(tables, subject, engine, who) for subject in ("account", "customer")}

    assert all(same(make).values())


def test_the_audit_of_messages_is_the_same(same):
    def make(engine, read, book):
        policy = book.settings.contact_policy
        who = audit.learn(audit.Circumstances(**{n: read(n) for n in audit.Circumstances.__dataclass_fields__}), "complaint", engine)
        sent = audit.keep(engine, audit.sendings(read("messages"), read("content"), who.identities, who.customers))
        audited = audit.keep(engine, audit.audit(sent, who, policy, engine))
        windows = pressure.windows(sent, policy.period_days, book.settings.timezone)
        known = {name: getattr(who, name) for name in ("consents", "wishes", "complaints", "deals", "stages")}
        return {"message_audit": content.public(audited), "pressure": windows, "sent": sent, "audited": audited, **known}

    assert all(same(make).values())


def test_what_customers_brought_is_the_same(same):
    def make(engine, read, book):
        orders, _ = value.in_one_currency(read("orders"), book.settings.currency)
        others = (read(name) for name in ("returns", "identities", "products", "cases"))
        return {"ledger": value.ledger(orders, *others, "America/New_York")}

    assert all(same(make).values())


def test_who_is_who_is_the_same(cluster, alone, found, tmp_path):
    """Records are written for comparison, blocked and compared on Spark, and put into customers by DuckDB."""
    folder, book = found

    def bring(rows):
        if rows is None:
            return None
        path = cluster.scratch_file(".parquet")
        cluster.write_parquet(rows, path)
        return alone.read_parquet(path)

    read = reader(cluster, folder)
    tables = {name: read(name) for name in matching.STAGE.uses}
    p = matching.MatchingParameters()
    made = matching.match(tables, alone, book.settings.country, p, large=cluster, bring=bring)
    assert made.scored.method == "splink" and len(made.scored.edges) > 300
    for name, rows in made.tables.items():
        alone.write_parquet(rows, tmp_path / f"{name}.parquet")
    assert {"matching_records", "matching_edges", "identities", "review_pairs"} <= made.tables.keys()
    assert {name: d for name in made.tables if (d := differences(folder / f"{name}.parquet", tmp_path / f"{name}.parquet"))} == {}


def test_a_step_works_on_both(cluster, found, monkeypatch):
    """What grows is made on Spark; what is written or brought is on the driver, and of a size that it takes."""
    monkeypatch.setenv(stage.ENGINE_VARIABLE, "spark")
    folder = found[0].parent / "step"
    (folder / "tables").mkdir(parents=True)
    shutil.copy(found[0] / "orders.parquet", folder / "tables")
    declared = stage.Stage("value", ("value", "sums"), "", uses=("orders",), on_spark=("sums",))
    step = stage.Step(declared, found[1], Run(folder), folder, stage.Parameters())
    assert step.engine.name == "duckdb" and step.large.name == "spark"
    orders = step.read("orders", step.large)
    sums = orders.group_by("source").agg(n=orders.count(), last=orders["ordered_at"].max())
    own = step.read("orders")
    here = own.group_by("source").agg(n=own.count(), last=own["ordered_at"].max()).order_by("source").to_pandas()
    for told in (step.bring(sums), step.write("sums", sums.order_by("source"))):
        assert told._find_backends()[0][0].name == "duckdb"
        assert told.order_by("source").to_pandas().equals(here)
    # what the driver made goes through the driver
    assert step.write("value", own.select("order_id")).count().to_pyarrow().as_py() == own.count().to_pyarrow().as_py()
    monkeypatch.setattr(stage, "MOST_ROWS_ON_DRIVER", len(here) - 1)
    with pytest.raises(FaultError, match="orders"):
        step.read("orders")
    with pytest.raises(FaultError, match="this machine takes"):
        step.bring(sums)


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
    # what matching asks of a session: Python functions where the rows lie, and rows counted in their order
    twice = engine.by_values(told["text"], lambda text: (text * 2,), ("twice",))
    assert {(row["_value"], row["twice"]) for row in twice.to_pyarrow().to_pylist()} == {("7", "77"), ("x", "xx")}
    counted = engine.number(told.select("n"), ["n"], "place").order_by("n").to_pyarrow().to_pylist()
    assert [row["place"] for row in counted] == [0, 1, 2]
    print(engine.read_parquet(Path(sys.argv[1]) / "t.parquet")["number"].sum().to_pyarrow().as_py())
"""


def test_spark_connect_is_a_session_as_any_other(settings, tmp_path):
    pytest.importorskip("grpc", reason="Spark Connect needs grpcio")
    environment = os.environ | {session.REMOTE_VARIABLE: "local[1]", "SPARK_CONF_DIR": str(settings)}
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


def run(settings: Path, book: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    environment = os.environ | {session.MASTER_VARIABLE: "local[2]", "SPARK_CONF_DIR": str(settings)}
    command = [sys.executable, "-m", "clientbook.cli", "run", str(book), "--out", str(out), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_a_run_on_spark_says_what_worked_on_what(settings, make_book, tmp_path):
    lines = [f"o{i},c{i % 40},2026-0{1 + i % 6}-1{i % 9},{10 + i % 7}.5" for i in range(400)]
    book = make_book(
        "name: Small\ncurrency: EUR\ncountry: DE\ntimezone: Europe/Berlin\nas_of: 2026-07-01\n"
        "sources:\n  shop:\n    orders:\n      path: orders.csv\n",
        orders__csv="\n".join(["order_id,person_id,ordered_at,amount", *lines]),
    )
    done = run(settings, book, tmp_path / "reports", "--engine", "spark", "--only", "value")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "On Spark: 01_cleaning" in done.stdout
    (folder,) = (book / "store" / "runs").iterdir()
    told = json.loads((folder / "run.json").read_text())
    assert told["engine"] == "spark" and told["engines"]["01_cleaning"] == "spark" and told["engines"]["04_value"] == "spark+duckdb"
    assert told["engines"]["03_matching"] == "spark+duckdb" and told["made_on_spark"]["04_value"] == ["ledger"]
    assert told["versions"]["pyspark"].startswith("4.")
    assert pq.read_metadata(folder / "tables" / "orders.parquet").num_rows == 400
    assert not list((book / "store" / "scratch").iterdir())
