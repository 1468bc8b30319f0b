"""Rows out of databases: the same as out of files, read only, and no word of a password anywhere."""

from __future__ import annotations

import json
import sqlite3

import duckdb
import pytest
import servers

from clientbook import checking, cleaning, runner, sources
from clientbook.book import open_book
from clientbook.faults import FaultError

SETTINGS = """
name: Made
timezone: Europe/Berlin
currency: EUR
as_of: 2024-06-01
sources:
  shop:
    orders:
      sql: select who, placed, nr, amount, note from orders order by nr
      connection: env:SHOP_URL
      columns: {person_id: who, ordered_at: placed, order_id: nr, amount: amount}
"""
ROWS = [
    ("007", "2024-01-05 10:00:00", "A1", "12.50", "größer"),
    ("007", "2024-02-05 11:00:00", "A2", "-3.10", None),
    ("8", "2024-02-06 12:30:00", "A3", "99999999.99", "陳; \"x\""),
    (None, "2024-02-06 12:30:00", "A4", "1.00", ""),
]  # fmt: skip
KINDS = {"sqlite": "text", "duckdb": "varchar", "postgresql": "text", "mariadb": "varchar(80)"}


def create(kind: str, text: str) -> str:
    stamp = {"sqlite": "text", "mariadb": "datetime"}.get(kind, "timestamp")
    return f"create table orders (who {text}, placed {stamp}, nr {text}, amount numeric(12, 2), note {text})"


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory):
    with servers.postgresql(tmp_path_factory.mktemp("servers")) as url:
        yield url


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    with servers.mariadb(tmp_path_factory.mktemp("servers")) as url:
        yield url


def fill(kind: str, url: str, folder) -> str:
    """Put the rows into a database; its URL."""
    script = create(kind, KINDS[kind])
    if kind == "sqlite":
        with sqlite3.connect(folder / "shop.db") as db:
            db.execute(script)
            db.executemany("insert into orders values (?, ?, ?, ?, ?)", ROWS)
        return "sqlite:///shop.db"
    if kind == "duckdb":
        with duckdb.connect(str(folder / "shop.duckdb")) as db:
            db.execute(script)
            db.executemany("insert into orders values (?, ?, ?, ?, ?)", ROWS)
        return "duckdb:///shop.duckdb"
    if kind == "postgresql":
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(url, autocommit=True) as db, db.cursor() as cursor:
            cursor.execute("drop table if exists orders")
            cursor.execute(script)
            for row in ROWS:
                cursor.execute("insert into orders values ($1, $2::text::timestamp, $3, $4::text::numeric, $5)", row)
        return url
    import sqlalchemy

    engine = sqlalchemy.create_engine(url.replace("mysql://", "mysql+pymysql://"))
    with engine.begin() as db:
        db.exec_driver_sql("drop table if exists orders")
        db.exec_driver_sql(script)
        db.exec_driver_sql("insert into orders values (%s, %s, %s, %s, %s)", ROWS)
    engine.dispose()
    return url


@pytest.fixture(params=list(KINDS))
def served(request, tmp_path, make_book, monkeypatch):
    """A book whose orders come out of a database of each kind; its folder, the kind and the URL."""
    folder = make_book(SETTINGS)
    url = fill(
        request.param, request.getfixturevalue(request.param) if request.param in ("postgresql", "mariadb") else "", folder
    )
    monkeypatch.setenv("SHOP_URL", url)
    return folder, request.param, url


def ask(engine, folder, sql, **more):
    return sources.query(engine, folder, sql=sql, connection="env:SHOP_URL", pause=lambda seconds: None, **more)


def test_a_database_gives_what_a_file_gives(served, engine, make_book):
    folder, kind, _ = served
    cleaned = cleaning.clean(open_book(folder), engine, open_book(folder).settings.as_of)
    lines = "\n".join(",".join(f'"{v.replace(chr(34), chr(34) * 2)}"' if v else "" for v in row) for row in ROWS)
    settings = SETTINGS.replace("sql: select who, placed, nr, amount, note from orders order by nr", "path: o.csv")
    settings = settings.replace("      connection: env:SHOP_URL\n", "")
    make_book(settings, o__csv=f"who,placed,nr,amount,note\n{lines}\n")
    expected = cleaning.clean(open_book(folder), engine, open_book(folder).settings.as_of)
    for name in ("orders", "returns"):
        ours, theirs = (each.tables[name].order_by("order_id").to_pandas() for each in (cleaned, expected))
        assert len(ours) == {"orders": 2, "returns": 1}[name]
        ours, theirs = ours.drop(columns=["file", "row"]), theirs.drop(columns=["file", "row"])
        assert ours.astype(str).to_dict("list") == theirs.astype(str).to_dict("list"), (kind, name)
    (row,) = cleaned.rows
    assert (row["rows_in"], row["kept"], row["returned"] if "returned" in row else row["returns"], row["rejected"]) == (
        4,
        2,
        1,
        1,
    )


def test_nothing_is_written_to_a_source(served, engine):
    folder, _, _ = served
    for sql in ("delete from orders", "create table mine (a integer)", "insert into orders (nr) values ('B')"):
        with pytest.raises(FaultError) as error:
            ask(engine, folder, sql)
        assert "read only" in str(error.value) or "does not answer" in str(error.value), (sql, str(error.value))
    assert ask(engine, folder, "select * from orders").files[0].rows == len(ROWS)
    assert ask(engine, folder, "select * from orders where 1 = 0").notes[0].message == "The query answers no rows."


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select * from missing", "a table that is not there"),
        ("select missing from orders", "a column that is not there"),
        ("selekt 1", "not valid SQL"),
        ("select who as a, nr as a from orders", "two columns of one name"),
    ],
)
def test_a_wrong_query_is_told_in_words(served, engine, sql, word):
    folder, kind, _ = served
    with pytest.raises(FaultError) as error:
        ask(engine, folder, sql, key="sources.shop.orders")
    (told,) = error.value.faults
    assert word in told.message and told.key == "sources.shop.orders" and told.file == "env:SHOP_URL", (kind, told)


@pytest.mark.parametrize("served", ["postgresql"], indirect=True)
def test_credentials_and_hosts_stand_nowhere(served, tmp_path):
    folder, _, url = served
    outcome = runner.run(open_book(folder), out=tmp_path / "reports", only=["cleaning"])
    told = [
        path.read_bytes() for place in (folder / "store", tmp_path / "reports") for path in place.rglob("*") if path.is_file()
    ]
    assert told and not any(servers.PASSWORD.encode() in each or url.encode() in each for each in told)
    assert [each["file"] for each in outcome.run.info["inputs"]] == ["env:SHOP_URL"]
    assert json.dumps(outcome.run.info["rows"]).count("env:SHOP_URL") == 1


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_wrong_password_is_refused_at_once_and_a_server_that_is_away_is_tried_again(
    kind, request, engine, tmp_path, monkeypatch
):
    url = request.getfixturevalue(kind)
    monkeypatch.setenv("SHOP_URL", url.replace(servers.PASSWORD, "wrong-word"))
    with pytest.raises(FaultError, match="refuses the user or the password") as error:
        ask(engine, tmp_path, "select 1 as a")
    assert "wrong-word" not in str(error.value)
    waited: list[float] = []
    port = url.partition("@")[2].partition(":")[2].partition("/")[0]
    monkeypatch.setenv("SHOP_URL", url.replace(port, str(servers.free_port())))
    with pytest.raises(FaultError, match="cannot be reached, or the connection broke; tried 3 times") as error:
        sources.query(engine, tmp_path, sql="select 1 as a", connection="env:SHOP_URL", pause=waited.append)
    assert waited == [1.0, 2.0] and servers.PASSWORD not in str(error.value) and "127.0.0.1" not in str(error.value)


def test_a_connection_that_breaks_in_the_middle_begins_anew(postgresql, engine, tmp_path, monkeypatch):
    """Another session ends ours while its rows stream; the second try reads all of them."""
    from adbc_driver_postgresql import dbapi

    from clientbook.sources import databases

    monkeypatch.setenv("SHOP_URL", postgresql)
    broke, checked = [], databases._check_columns

    def check_and_break(*given):
        if not broke:
            with dbapi.connect(postgresql, autocommit=True) as db, db.cursor() as cursor:
                cursor.execute(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and query like '%generate_series%'"
                )
                broke.append(cursor.fetchone()[0])
        return checked(*given)

    monkeypatch.setattr(databases, "_check_columns", check_and_break)
    raw = ask(engine, tmp_path, "select n, repeat('x', 200) as filling from generate_series(1, 300000) as n")
    assert broke == [1]
    assert raw.files[0].rows == 300_000 == raw.table.n.nunique().execute()


def test_types_that_only_a_database_has_become_text(postgresql, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_URL", postgresql)
    sql = """select 12345678901234567890.123456789::numeric as n, '{"a": [1]}'::jsonb as j, array[1, 2] as l, '\\x00ff'::bytea as b,
        'c0ffee00-0000-4000-8000-000000000001'::uuid as u, null::text as nothing, true as yes, date '2024-02-29' as d"""
    (row,) = ask(engine, tmp_path, sql).table.drop("_file", "_row", "_arrival").to_pyarrow().to_pylist()
    assert {k: str(v) for k, v in row.items()} == {
        "n": "12345678901234567890.123456789", "j": '{"a": [1]}', "l": "[1, 2]", "b": "00ff",
        "u": "c0ffee00-0000-4000-8000-000000000001", "nothing": "None", "yes": "True", "d": "2024-02-29",
    }  # fmt: skip


def test_what_the_environment_lacks_or_gets_wrong_is_told(engine, tmp_path, monkeypatch):
    monkeypatch.delenv("SHOP_URL", raising=False)
    for url, word in (
        (None, "The environment has no SHOP_URL."),
        ("reader:secret@host", "The variable holds no URL."),
        ("sqlite:///none.db", "There is no such database file."),
        ("nosuch://reader:secret@host/db", "No driver for such a URL is installed."),
    ):
        if url:
            monkeypatch.setenv("SHOP_URL", url)
        with pytest.raises(FaultError) as error:
            ask(engine, tmp_path, "select 1 as a")
        assert error.value.faults[0].message == word and "secret" not in str(error.value)


def test_check_reads_a_database_too(served):
    folder, _, _ = served
    report = checking.check(open_book(folder))
    assert report.wrong == 1 and report.faults[0].file == "env:SHOP_URL" and report.faults[0].row == 4
