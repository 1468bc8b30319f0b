"""A query's rows as a delivery: read without writing, streamed to the scratch folder, and never a word of a password."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from clientbook.engine import Engine, Part
from clientbook.faults import Fault, FaultError
from clientbook.sources.delivered import MOST_COLUMNS, OUR_COLUMNS, FileFacts, Raw, fingerprint

_BATCH_ROWS = 50_000
_TRIES = 3
_FIRST_PAUSE_SECONDS = 1.0
_SCHEME = "env:"

# What a database says may quote rows, and who asked: it is told by its code alone, in our words.
_BY_CODE: Mapping[str, tuple[str, str]] = {
    "28": ("The database refuses the user or the password.", "Check what the variable holds."),
    "3D": ("There is no such database on that server.", "Check what the variable holds."),
    "42P01": ("The query names a table that is not there.", "Check its name, and its schema."),
    "42703": ("The query names a column that is not there.", "Check its names."),
    "42501": ("The user may not read what the query names.", "Grant it the right to read, and no other."),
    "42601": ("The query is not valid SQL.", "Try it in the database's own client."),
    "25006": ("The query would write.", "A source is read only: write a SELECT."),
    "57014": ("The database ended the query: it took too long.", "Ask for less, or raise its statement timeout."),
    "connect": ("The server does not let this user into that database.", "Check what the variable holds, and the server's log."),
    "driver": ("No driver for such a URL is installed.", "Install the one that SQLAlchemy names for that database."),
    # MySQL and MariaDB
    "1044": ("The user may not use that database.", "Grant it the right to read, and no other."),
    "1045": ("The database refuses the user or the password.", "Check what the variable holds."),
    "1049": ("There is no such database on that server.", "Check what the variable holds."),
    "1054": ("The query names a column that is not there.", "Check its names."),
    "1064": ("The query is not valid SQL.", "Try it in the database's own client."),
    "1142": ("The user may not read what the query names.", "Grant it the right to read, and no other."),
    "1146": ("The query names a table that is not there.", "Check its name, and its schema."),
    "1792": ("The query would write.", "A source is read only: write a SELECT."),
}
# The server is away, or went away: worth another try.
_LOST = ("08", "57P", "53300", "1040", "2002", "2003", "2006", "2013")


class LostError(Exception):
    """The connection could not be made, or broke."""


class RefusedError(Exception):
    """The database will not answer, however often it is asked; its code is the argument."""


# From a query to its batches of rows, all of one schema, of which the first may be empty; raises `LostError` or `RefusedError`.
_Reader = Callable[[str], contextlib.AbstractContextManager[Iterator[pa.RecordBatch]]]


def read(
    engine: Engine,
    folder: Path,
    *,
    sql: str,
    connection: str,
    number: int = 0,
    key: str = "",
    pause: Callable[[float], None] = time.sleep,
) -> Raw:
    """What does a query answer?

    Parameters
    ----------
    engine
        Where the rows are staged; they last until the engine is closed.
    folder
        The book's folder, which the path of an SQLite or DuckDB file is relative to.
    sql
        A SELECT. Rows that tie in time keep its order, so an ORDER BY makes runs repeat exactly.
    connection
        `env:NAME` for the environment variable that holds the URL: `postgresql://`, `mysql://`, `mariadb://`, `sqlite:///`,
        `duckdb:///`, or any other that an installed SQLAlchemy driver opens.
    number
        Which of several deliveries of one table it is.
    key
        The place in ``clientbook.yaml``, for messages.
    pause
        Waits for some seconds before the next try.

    Returns
    -------
    Raw
        As for a file; ``_row`` counts the query's rows from 1. The URL is in none of it.

    Raises
    ------
    FaultError
        If the variable is not set, its URL cannot be opened, the database refuses, the connection is lost three times, or
        the query's columns cannot be told apart. What the database said is not quoted: it may hold rows or credentials.
    """
    shown = connection + (f"[{number + 1}]" if number else "")

    def fault(message: str, remedy: str = "", column: str = "") -> FaultError:
        return FaultError(Fault(message, remedy, key=key, file=shown, column=column))

    variable = connection.removeprefix(_SCHEME)
    url = os.environ.get(variable, "").strip()
    if not url:
        raise fault(
            f"The environment has no {variable}.",
            "Set it to the database's URL, such as postgresql://user:password@host/database; never write it into the book.",
        )
    reader = _reader(url, folder, fault)
    staged, wait = engine.scratch_file(".parquet"), _FIRST_PAUSE_SECONDS
    for tried in range(1, _TRIES + 1):
        try:
            rows, columns = _stage(reader, sql, staged, fault)
            break
        except RefusedError as refused:
            staged.unlink(missing_ok=True)
            raise _told(str(refused), fault) from None
        except LostError:
            staged.unlink(missing_ok=True)
            if tried == _TRIES:
                told = f"The database cannot be reached, or the connection broke; tried {_TRIES} times."
                raise fault(told, "Check that it is up, and what the variable holds.") from None
            pause(wait)
            wait *= 2
    facts = FileFacts(
        path=shown, rows=rows, bytes=staged.stat().st_size, sha256=fingerprint(staged),
        modified=datetime.now(UTC).isoformat(timespec="seconds"), format="sql", encoding="", delimiter="", columns=tuple(columns),
    )  # fmt: skip
    notes = [] if rows else [Fault("The query answers no rows.", key=key, file=shown)]
    table = engine.read_numbered([Part(staged, shown, rows, 1)], columns)
    return Raw(table=table, files=[facts], notes=notes)


def _stage(reader: _Reader, sql: str, staged: Path, fault: Callable[..., FaultError]) -> tuple[int, list[str]]:
    """Write what comes, a batch at a time: however many rows there are, a batch is held."""
    rows, writer = 0, None
    with contextlib.ExitStack() as closing:
        for batch in closing.enter_context(reader(sql.strip().rstrip(";"))):
            if writer is None:
                _check_columns(batch.schema.names, fault)
                schema = pa.schema(
                    [(name, _plain_type(kind)) for name, kind in zip(batch.schema.names, batch.schema.types, strict=True)]
                )
                writer = closing.enter_context(pq.ParquetWriter(staged, schema, compression="snappy"))
            columns = [_plain(column, kind) for column, kind in zip(batch.columns, schema.types, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += batch.num_rows
    if writer is None:
        raise fault("The query answers nothing.", "A source is read only: write a SELECT.")
    return rows, schema.names


def _check_columns(names: list[str], fault: Callable[..., FaultError]) -> None:
    if len(names) > MOST_COLUMNS:
        raise fault(f"The query answers {len(names):,} columns.", f"Select those that matter; at most {MOST_COLUMNS:,}.")
    seen: set[str] = set()
    for name in names:
        if name.lower() in OUR_COLUMNS:
            raise fault("The name is one that Clientbook gives itself.", "Rename the column with AS.", column=name)
        if not name or name.lower() in seen:
            raise fault("The query answers two columns of one name, or one without a name.", "Name each with AS.", column=name)
        seen.add(name.lower())


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """What DuckDB reads as it stands; everything else becomes text."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    plain = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_date, pa.types.is_timestamp,
        pa.types.is_decimal,
    )  # fmt: skip
    return kind if any(test(kind) for test in plain) else pa.string()


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == pa.uuid():
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], kind)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.type == kind:
        return column
    if pa.types.is_string(kind) and not (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
        with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return column.cast(kind)
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in column.to_pylist()], kind)
    return column.cast(kind)


def _text(value: Any) -> str | None:
    """A value as a person would write it: times in ISO format, bytes in hex, lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=_text)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


def _told(code: str, fault: Callable[..., FaultError]) -> FaultError:
    for known, (message, remedy) in _BY_CODE.items():
        if code.startswith(known):
            return fault(message, remedy)
    named = f" (its error {code})" if code else ""
    return fault(f"The database does not answer the query{named}.", "Try the query in the database's own client.")


def _reader(url: str, folder: Path, fault: Callable[..., FaultError]) -> _Reader:
    scheme, marked, rest = url.partition("://")
    if not marked:
        raise fault("The variable holds no URL.", "Write it as postgresql://user:password@host/database.")
    scheme = scheme.lower()
    if scheme in ("postgres", "postgresql"):
        return lambda sql: _from_postgresql(f"postgresql://{rest}", sql)
    if scheme in ("sqlite", "duckdb"):
        # as SQLAlchemy has it: three strokes for a file below the folder, four for any
        path = folder / unquote(rest.partition("?")[0].removeprefix("/"))
        if not path.is_file():
            told = f"Write {scheme}:///file.db for one in the book's folder, {scheme}:////folder/file.db for any."
            raise fault("There is no such database file.", told)
        return lambda sql: (_from_sqlite if scheme == "sqlite" else _from_duckdb)(path, sql)
    return lambda sql: _from_sqlalchemy(url, sql)


@contextlib.contextmanager
def _from_postgresql(url: str, sql: str) -> Iterator[Iterator[pa.RecordBatch]]:
    """By COPY in binary form, into Arrow: no value becomes a Python object."""
    import adbc_driver_manager
    from adbc_driver_postgresql import dbapi

    try:
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            cursor.execute(sql)
            yield _with_schema(cursor.fetch_record_batch())
    except adbc_driver_manager.Error as error:
        raise _failure(error.sqlstate or _code_of(str(error)), lost=False) from None
    except OSError as error:
        # what goes wrong while rows stream comes from Arrow, without a code
        raise _failure(_code_of(str(error)), lost=False) from None


def _code_of(message: str) -> str:
    """PostgreSQL's client gives no code where it was not let in, or the connection broke; what it says is not translated."""
    away = ("Connection refused", "closed the connection", "timeout expired", "could not translate host name",
            "No route to host", "Network is unreachable", "Connection reset", "terminating connection",
            "not yet accepting", "starting up")  # fmt: skip
    if any(words in message for words in away):
        return "08"
    if "authentication" in message or "password" in message:
        return "28"
    return "connect" if "connection to server" in message else ""


def _with_schema(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches, of which the first is empty and tells the columns of an answer without rows."""
    yield pa.RecordBatch.from_pylist([], schema=reader.schema)
    yield from reader


@contextlib.contextmanager
def _from_duckdb(path: Path, sql: str) -> Iterator[Iterator[pa.RecordBatch]]:
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True, config={"autoinstall_known_extensions": "false"}) as connection:
            yield _with_schema(connection.sql(sql).to_arrow_reader(_BATCH_ROWS))
    except duckdb.CatalogException:
        raise RefusedError("42P01") from None
    except duckdb.BinderException:
        raise RefusedError("42703") from None
    except duckdb.ParserException:
        raise RefusedError("42601") from None
    except duckdb.IOException:
        raise LostError from None
    except (duckdb.Error, AttributeError) as error:
        raise RefusedError("25006" if "read-only" in str(error) else "") from None


@contextlib.contextmanager
def _from_sqlite(path: Path, sql: str) -> Iterator[Iterator[pa.RecordBatch]]:
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            cursor = connection.execute(sql)
            yield _in_text([name for name, *_ in cursor.description or ()], lambda: cursor.fetchmany(_BATCH_ROWS))
    except sqlite3.Error as error:
        told = str(error)
        known = {"no such table": "42P01", "no such column": "42703", "syntax error": "42601", "readonly": "25006"}
        raise RefusedError(next((code for words, code in known.items() if words in told), "")) from None


@contextlib.contextmanager
def _from_sqlalchemy(url: str, sql: str) -> Iterator[Iterator[pa.RecordBatch]]:
    """Whatever else SQLAlchemy opens: as text, since only the driver knows what its types are."""
    import sqlalchemy
    from sqlalchemy import exc

    scheme, _, rest = url.partition("://")
    scheme = {"mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}.get(scheme.lower(), scheme)
    try:
        engine = sqlalchemy.create_engine(f"{scheme}://{rest}", poolclass=sqlalchemy.NullPool)
    except (exc.ArgumentError, exc.NoSuchModuleError, ModuleNotFoundError, ValueError):
        raise RefusedError("driver") from None
    reads_only = {"mysql": "SET SESSION TRANSACTION READ ONLY", "mariadb": "SET SESSION TRANSACTION READ ONLY"}
    try:
        with engine.connect().execution_options(stream_results=True, max_row_buffer=_BATCH_ROWS) as connection:
            if engine.dialect.name in reads_only:
                connection.exec_driver_sql(reads_only[engine.dialect.name])
                connection.commit()
            result = connection.exec_driver_sql(sql)
            names = list(result.keys()) if result.returns_rows else []
            yield _in_text(names, lambda: result.fetchmany(_BATCH_ROWS))
    except exc.DBAPIError as error:
        given = error.orig.args[0] if error.orig and error.orig.args else ""
        code = str(given) if isinstance(given, int | str) and len(str(given)) < 8 else ""
        raise _failure(code, lost=error.connection_invalidated) from None
    except exc.SQLAlchemyError:
        raise RefusedError("") from None
    finally:
        engine.dispose()


def _in_text(names: list[str], fetch: Callable[[], list[Any]]) -> Iterator[pa.RecordBatch]:
    if not names:
        return
    schema = pa.schema([(name, pa.string()) for name in names])
    yield pa.RecordBatch.from_pylist([], schema=schema)
    while rows := fetch():
        columns = zip(*rows, strict=True)
        yield pa.record_batch([pa.array([_text(value) for value in column], pa.string()) for column in columns], schema=schema)


def _failure(code: str, *, lost: bool) -> Exception:
    if code.startswith(_LOST) or (lost and not code):
        return LostError()
    return RefusedError(code)
