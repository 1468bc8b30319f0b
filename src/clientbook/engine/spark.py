"""What Spark alone can do, on one machine or many; its twin is :mod:`clientbook.engine.duckdb`.

What is delivered is read by the driver's own DuckDB into Parquet, byte for byte as it is without Spark: text, JSON, Excel
and databases. Delivered Parquet goes to Spark as it is. Everything after that is Spark's: the same Ibis expressions,
compiled with the few functions whose meaning differs written so that they mean what DuckDB means.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dtypes
import ibis.expr.operations as ops
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot.expressions as sge
from ibis.backends.duckdb.converter import DuckDBPandasData, DuckDBPyArrowData
from ibis.backends.pyspark import Backend
from ibis.backends.sql.compilers.base import NULL
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from ibis.expr.operations.udf import InputType

from clientbook.engine import session as sessions
from clientbook.engine.duckdb import DuckDBEngine
from clientbook.engine.session import MOST_TO_DRIVER
from clientbook.engine.shared import ROW_GROUP_ROWS, ROWS_A_PART, Engine, Part, UnreadableError
from clientbook.faults import Fault, FaultError

MOST_ROWS_TO_DRIVER = 20_000_000

# They agree with DuckDB, and hold for our own session alone.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # a division by zero and a cast that fails are null, as where DuckDB is asked with TRY
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.compression.codec": "snappy",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.mapKeyDedupPolicy": "LAST_WIN",
    # plans are long: in error texts and logs they would tell of the data
    "spark.sql.maxPlanStringLength": "1000",
    "spark.sql.debug.maxToStringFields": "5",
}
# strptime's words, and java.time's for the same; one letter takes one digit or two, as DuckDB does.
_JAVA = {
    "%Y": "yyyy", "%m": "M", "%d": "d", "%H": "H", "%M": "m", "%S": "s", "%I": "h", "%p": "a", "%b": "MMM", "%B": "MMMM",
    "%y": "yy", "%f": "SSSSSS", "%z": "[XXX][XX][X]", "%-d": "d", "%-m": "M", "%-H": "H", "%-I": "h", "%-M": "m", "%-S": "s",
    "%a": "EEE", "%A": "EEEE", "%j": "DDD", "%%": "%",
}  # fmt: skip
_WIDE = {"M": "MM", "d": "dd", "H": "HH", "m": "mm", "s": "ss", "h": "hh"}


def java_format(pattern: str) -> str:
    """Which pattern of java.time reads what this one of strptime reads?

    Parameters
    ----------
    pattern
        Such as ``%d.%m.%Y``.

    Raises
    ------
    FaultError
        It has a word that java.time has no like of.
    """
    parts = re.findall(r"%-?[A-Za-z%]|[^%]+", pattern)
    told = []
    for place, part in enumerate(parts):
        if not part.startswith("%"):
            told.append("".join(f"'{letter}'" if letter.isalpha() else letter for letter in part))
            continue
        if part not in _JAVA:
            raise FaultError(Fault(f"Spark cannot read times written as {pattern!r}.", "Use --engine duckdb."))
        word = _JAVA[part]
        # digits that touch are told apart by their number alone
        touching = any(0 <= at < len(parts) and parts[at].startswith("%") for at in (place - 1, place + 1))
        told.append(_WIDE.get(word, word) if touching else word)
    return "".join(told)


def _strptime(f, text, pattern):
    return f.try_to_timestamp(text, sge.convert(java_format(pattern.this)))


# DuckDB's functions that expressions name; what Spark has in their place.
_TWINS: Mapping[str, Callable] = {
    "hash": lambda f, *columns: f.xxhash64(*columns),
    "epoch_us": lambda f, at: f.unix_micros(at),
    "make_timestamp": lambda f, n: f.timestamp_micros(n),
    "make_timestamptz": lambda f, n: f.timestamp_micros(n),
    "try_strptime": _strptime,
    "trim": lambda f, text, letters: f.btrim(text, letters),
}


class _Compiler(PySparkCompiler):
    """Ibis' own, with DuckDB's meaning where Spark's is another."""

    __slots__ = ()

    def visit_ScalarUDF(self, op, **kw):
        if op.__input_type__ != InputType.BUILTIN:
            return super().visit_ScalarUDF(op, **kw)
        name, values = op.__func_name__, list(kw.values())
        if name == "timezone":
            zone, at = values
            to_wall = op.args[1].dtype.timezone is not None
            return self.f.from_utc_timestamp(at, zone) if to_wall else self.f.to_utc_timestamp(at, zone)
        if name not in _TWINS:
            raise NotImplementedError(f"{name} has no twin on Spark")
        return _TWINS[name](self.f.anon, *values)

    def visit_Strip(self, op, *, arg):
        # Ibis' own would take the letters v and f off too: \v and \f are written with a backslash
        return self.f.anon.btrim(arg, self._text(string.whitespace))

    def visit_NonNullLiteral(self, op, *, value, dtype):
        # of what is written with a backslash, Spark takes \a, \f and \v for the bare letters
        if dtype.is_string() and set(value) & set("\a\f\v"):
            return self._text(value)
        return super().visit_NonNullLiteral(op, value=value, dtype=dtype)

    def _text(self, value: str):
        pieces = [piece for piece in re.split("([\a\f\v])", value) if piece]
        return self.f.anon.concat(*(self.f.anon.char(ord(one)) if one in "\a\f\v" else one for one in pieces))

    def visit_TimestampFromYMDHMS(self, op, *, year, month, day, hours, minutes, seconds):
        return self.f.anon.make_timestamp(year, month, day, hours, minutes, seconds)

    def visit_Hash(self, op, *, arg):
        return self.f.anon.xxhash64(arg)

    def visit_Round(self, op, *, arg, digits):
        # Spark rounds the number as it is written, 2.675 up; DuckDB the number itself, 2.67499…
        if op.arg.dtype.is_floating() and isinstance(op.digits, ops.Literal) and op.digits.value:
            power = sge.convert(float(10**op.digits.value))
            power = self.cast(power, dtypes.float64)
            return self.f.anon.round(arg * power, sge.convert(0)) / power
        return super().visit_Round(op, arg=arg, digits=digits)

    def visit_IsNull(self, op, *, arg):
        return arg.is_(NULL)

    def visit_NotNull(self, op, *, arg):
        return arg.is_(sge.not_(NULL))

    def visit_Cast(self, op, *, arg, to):
        return self._cast(op, arg, to, super().visit_Cast)

    def visit_TryCast(self, op, *, arg, to):
        return self._cast(op, arg, to, super().visit_TryCast)

    def _cast(self, op, arg, to, plain):
        held = op.arg.dtype
        if held.is_string() and to.is_timestamp():
            # Spark knows no day with strokes, and takes a year alone for a day
            arg = self.f.anon.regexp_replace(arg, sge.convert(r"^(\d{4})/(\d{1,2})/"), sge.convert("$1-$2-"))
            arg = self.if_(self.f.anon.rlike(arg, sge.convert(r"^\d{4}-\d{1,2}-\d{1,2}")), arg, NULL)
        if held.is_struct() and to.is_json():
            return self.f.anon.to_json(arg, self.f.anon.map("ignoreNullFields", "false"))
        if held.is_floating() and to.is_integer():
            # DuckDB rounds to even, and does not cut
            arg = self.f.anon.bround(arg, sge.convert(0))
        return plain(op, arg=arg, to=to)

    def visit_RegexSearch(self, op, *, arg, pattern):
        return super().visit_RegexSearch(op, arg=arg, pattern=_for_java(pattern))

    def visit_RegexExtract(self, op, *, arg, pattern, index):
        return super().visit_RegexExtract(op, arg=arg, pattern=_for_java(pattern), index=index)

    def visit_RegexReplace(self, op, *, arg, pattern, replacement):
        return super().visit_RegexReplace(op, arg=arg, pattern=_for_java(pattern), replacement=replacement)


def _for_java(pattern):
    """A regular expression whose `$` is the end, and not also what stands before a last line break."""
    if not isinstance(pattern, sge.Literal):
        return pattern
    text, inside, told = pattern.this, False, []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            told.append(text[place : place + 2])
            place += 2
            continue
        if letter in "[]":
            inside = letter == "["
        told.append(r"\z" if letter == "$" and not inside else letter)
        place += 1
    return sge.convert("".join(told))


class _Backend(Backend):
    """Ibis' own, that brings tables as Arrow, takes them as Arrow, and reads files of several layouts as one table."""

    compiler = _Compiler()
    scratch: Path
    driver: DuckDBEngine

    def to_pyarrow(self, expr, /, *, params=None, limit=None, **kwargs):
        table = self._brought(expr, params, limit)
        return expr.__pyarrow_result__(table, data_mapper=DuckDBPyArrowData)

    def execute(self, expr, /, *, params=None, limit=None, **kwargs):
        import pandas as pd

        table = self._brought(expr, params, limit)
        columns = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            plain = not (pa.types.is_nested(column.type) or column.null_count)
            columns[name] = column.to_pandas() if plain else column.to_pylist()
        frame = DuckDBPandasData.convert_table(pd.DataFrame(columns), expr.as_table().schema())
        return expr.__pandas_result__(frame)

    def _brought(self, expr, params=None, limit=None) -> pa.Table:
        self._run_pre_execute_hooks(expr)
        table = expr.as_table()
        with told():
            brought = self._session.sql(self.compile(table, params=params, limit=limit)).toArrow()
        if brought.num_rows > MOST_ROWS_TO_DRIVER:
            raise _too_much()
        return brought.cast(_schema(table, brought.schema))

    def _register_udfs(self, expr) -> None:
        # of DuckDB's own functions Spark need not be told, and would not know their types
        if any(udf.__input_type__ != InputType.BUILTIN for udf in expr.op().find(ops.ScalarUDF)):
            super()._register_udfs(expr)

    def _register_in_memory_table(self, op) -> None:
        rows = op.data.to_pyarrow(op.schema)
        schema = pa.schema([pa.field(field.name, _fitting(_plain(field.type))) for field in rows.schema])
        rows = rows.cast(schema)
        with told():
            frame = self._session.createDataFrame(rows) if rows.num_rows else self._session.createDataFrame([], _ddl(schema))
            frame.createOrReplaceTempView(op.name)

    def read_parquet(self, path, /, *, table_name=None, **kwargs):
        paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
        return self.view(self.loaded(paths)[0])

    def view(self, frame) -> ir.Table:
        """A data frame as an Ibis table."""
        name = ibis.util.gen_name("rows")
        frame.createOrReplaceTempView(name)
        return self.table(name)

    def loaded(self, paths: Sequence[Path]):
        """Parquet files as one data frame, and the files that it reads: one of a layout that Spark cannot read, or that
        differs from the others', is laid out anew first."""
        with told():
            return self._loaded(paths)

    def _loaded(self, paths: Sequence[Path]):
        schemas = [_layout(path) for path in paths]
        types: dict[str, pa.DataType] = {}
        for schema in schemas:
            for name, kind in schema.items():
                types[name] = kind if name not in types or types[name].equals(kind) else None
        odd = {name for name, kind in types.items() if kind is None or not _fitting(kind).equals(kind)}
        if odd:
            paths, schemas = self._laid_out_anew(paths, schemas, odd)
            types = {name: kind for schema in schemas for name, kind in schema.items()}
        reader = self._session.read.schema(_ddl(pa.schema(list(types.items()))))
        return reader.parquet(*(_address(path) for path in paths)), paths

    def _laid_out_anew(self, paths, schemas, odd):
        told_ = self.driver.described(paths)
        made = []
        for path, schema in zip(paths, schemas, strict=True):
            names = {name: told_[name] for name in schema if name in odd}
            made.append(self.driver.recast(path, names) if names else path)
        return made, [_layout(path) for path in made]


def _address(path: Path) -> str:
    """Where Spark finds a file whose name is taken letter by letter: `*`, `?`, `[` and `{` would be a pattern."""
    return "file://" + re.sub(r"([*?\[\]{}\\])", r"\\\1", str(path.resolve()))


def _layout(path: Path) -> dict[str, pa.DataType]:
    try:
        if path.is_dir():
            path = next(iter(sorted(path.glob("*.parquet"))))
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid, StopIteration) as error:
        raise UnreadableError(type(error).__name__) from None
    return {field.name: _plain(field.type) for field in schema}


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type without what Arrow alone knows of it: in the file it is the same."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def _fitting(kind: pa.DataType) -> pa.DataType:
    """The type that a column must have for Spark to read it: it knows neither unsigned numbers nor times of day."""
    if pa.types.is_timestamp(kind):
        return kind if kind.unit in ("us", "ms") else pa.timestamp("us", kind.tz)
    if pa.types.is_unsigned_integer(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_null(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return pa.string()
    return kind


def _ddl(schema: pa.Schema):
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema, prefer_timestamp_ntz=False)


def _schema(table: ir.Table, brought: pa.Schema) -> pa.Schema:
    """What was asked for, in the types that the expression promises; times lose the zone, which is UTC's."""
    wanted = table.schema().to_pyarrow()
    kinds = []
    for promised, came in zip(wanted, brought, strict=True):
        kind = promised.type
        if pa.types.is_timestamp(came.type):
            kind = pa.timestamp("us")
        elif pa.types.is_decimal(came.type) or pa.types.is_nested(came.type) or pa.types.is_null(kind):
            kind = _without_zone(came.type)
        kinds.append(pa.field(promised.name, kind))
    return pa.schema(kinds)


def _without_zone(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    if pa.types.is_list(kind):
        return pa.list_(_without_zone(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _without_zone(field.type)) for field in kind])
    return kind


@contextlib.contextmanager
def told():
    """Spark's own words quote data: a fault says what kind of error it was, and no more."""
    from pyspark.errors import PySparkException

    try:
        yield
    except (FaultError, UnreadableError):
        raise
    except PySparkException as error:
        text = str(error)
        if "maxResultSize" in text or "RESULT_SIZE" in text:
            raise _too_much() from None
        if "No space left" in text:
            raise FaultError(Fault("The disk is full.", "Free some space.")) from None
        if "No module named" in text:
            raise FaultError(
                Fault(
                    "Spark's Python workers lack clientbook.",
                    "Install the same version of it, with its packages, on every worker.",
                )
            ) from None
        if "OutOfMemory" in text or "Java heap space" in text:
            raise FaultError(
                Fault("Spark has not enough memory.", "Give it more: spark.driver.memory and spark.executor.memory.")
            ) from None
        name = getattr(error, "getCondition", lambda: None)() or type(error).__name__
        raise UnreadableError(str(name)) from None
    except Exception as error:
        # py4j's, when the JVM is gone or a task failed
        if type(error).__module__.startswith("py4j"):
            raise UnreadableError(type(error).__name__) from None
        raise


def _too_much() -> FaultError:
    return FaultError(
        Fault(
            f"A step would bring more than {MOST_ROWS_TO_DRIVER:,} rows or {MOST_TO_DRIVER} of data to the driver.",
            "Raise spark.driver.maxResultSize if the driver has the memory, or run a smaller book.",
        )
    )


class SparkEngine(Engine):
    """What can Spark do for us that an Ibis expression cannot say?

    The session is the one that ``SPARK_REMOTE`` (Spark Connect) or ``SPARK_MASTER`` names, else what Spark's own defaults
    name (``spark.master``), else all cores of this machine. The book's folder must be seen by the driver and all workers
    under the same path.
    """

    name = "spark"

    def __init__(self, *, scratch: Path, memory: str | None = None, threads: int | None = None):
        super().__init__(scratch)
        self._driver = DuckDBEngine(scratch=self.scratch, memory=memory, threads=threads)
        try:
            self._stops, session = sessions.start(self.scratch)
            for name, value in _SETTINGS.items():
                session.conf.set(name, value)
            # what Ibis knows of its own backend it knows once that has been named
            _ = ibis.pyspark
            self.connection = _Backend()
            self.connection.do_connect(session)
            self.connection.driver, self.connection.scratch = self._driver, self.scratch
            self._session = session
            self._check()
        except BaseException:
            self._driver.close()
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise

    def _check(self) -> None:
        """Is what comes to the driver bounded, and do the workers write where the driver reads?"""
        if self._session.conf.get("spark.driver.maxResultSize", "1g") in ("0", "-1"):
            raise FaultError(
                Fault("This Spark does not bound what comes to its driver.", "Set spark.driver.maxResultSize, to 2g for example.")
            )
        place = self.scratch_file("")
        with told():
            self._session.range(1).write.parquet(f"file://{place}")
        if not list(place.glob("*.parquet")):
            raise FaultError(
                Fault(
                    "Spark's workers do not write where this machine reads.",
                    "Put the book where the driver and all workers see it under the same path, such as a shared drive.",
                    file=str(self.scratch),
                )
            )

    def close(self) -> None:
        with contextlib.suppress(Exception):
            if self._stops:
                self._session.stop()
        self._driver.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def limit(self, memory: str) -> None:
        # the session's own memory is given out by whoever started it
        self._driver.limit(memory)

    def stage_text(self, path: Path, **reading: Any) -> Path:
        return self._driver.stage_text(path, **reading)

    def stage_json(self, path: Path, *, layout: str = "newline_delimited") -> Path:
        return self._driver.stage_json(path, layout=layout)

    def parquet_columns(self, path: Path) -> list[str]:
        return self._driver.parquet_columns(path)

    def check_parquet(self, path: Path, columns: Sequence[str]) -> None:
        self._driver.check_parquet(path, columns)

    def parquet_rows(self, path: Path) -> int:
        return self._driver.parquet_rows(path)

    def read_parquet(self, path: Path | str | Iterable[Path | str]) -> ir.Table:
        return self.connection.read_parquet(path)

    def read_numbered(self, parts: Sequence[Part], columns: Sequence[str], *, has_row: bool = False) -> ir.Table:
        from pyspark.sql import functions as f

        frame, paths = self.connection.loaded([part.path for part in parts])
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + part.rows)
        number = f.col("_metadata.row_index")
        # written as an address, in which some letters are encoded
        file = f.url_decode(f.replace(f.regexp_replace(f.col("_metadata.file_path"), "^file:/+", "/"), f.lit("+"), f.lit("%2B")))
        names = [str(path.resolve()) for path in paths]
        facts = [[part.shown for part in parts], [part.first_row for part in parts], starts[:-1]]
        shown, first, start = (_pick(f, file, names, values) for values in facts)
        row = number + first
        if has_row:
            row = f.coalesce(f.col("_row"), row)
        chosen = [f.col(_quoted(name)) for name in columns]
        with told():
            rows = frame.select(
                *chosen, shown.alias("_file"), row.cast("long").alias("_row"), (number + start).cast("long").alias("_arrival")
            )
            return self.connection.view(rows)

    def write_parquet(self, expr: ir.Table, path: Path) -> None:
        folder = self._written(expr)
        schema = _schema(expr, pq.read_schema(next(iter(sorted(folder.glob("*.parquet"))))))
        _join(sorted(folder.glob("*.parquet")), Path(path), schema)
        shutil.rmtree(folder, ignore_errors=True)

    def evaluate(self, rows: pa.Table, expression: str) -> np.ndarray:
        return self._driver.evaluate(rows, expression)

    def keep(self, expr: ir.Table, *, rows: int | None = None) -> ir.Table:
        return self.connection.read_parquet(self._written(expr))

    def number(self, rows: ir.Table, by: Sequence[str], name: str) -> ir.Table:
        # a window over all rows would be one worker's; sorted parts follow each other by the names of their files
        folder = self._written(rows.order_by(*by))
        parts = [Part(path, "", self.parquet_rows(path), 0) for path in sorted(folder.glob("*.parquet"))]
        return self.read_numbered(parts, rows.columns).drop("_file", "_row").rename({name: "_arrival"})

    def by_values(self, column: ir.StringColumn, work: Callable[[str], tuple], made: Sequence[str]) -> ir.Table:
        rows = column.name("_value").as_table()
        schema = pa.schema([(name, pa.string()) for name in (*made, "_value")])
        return self.in_parts(rows.filter(rows["_value"].notnull()).distinct(), _each_value(work, schema), schema)

    def in_parts(self, rows: ir.Table, work: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> ir.Table:
        self.connection._run_pre_execute_hooks(rows)
        folder = self.scratch_file("")
        with told():
            frame = self._session.sql(self.connection.compile(rows))
            frame.mapInArrow(_batches_of(work, schema), _ddl(schema)).write.parquet(f"file://{folder}")
        return self.connection.read_parquet(folder)

    def _written(self, expr: ir.Table) -> Path:
        self.connection._run_pre_execute_hooks(expr)
        folder = self.scratch_file("")
        with told():
            self._session.sql(self.connection.compile(expr)).write.parquet(f"file://{folder}")
        return folder


def _each_value(work: Callable[[str], tuple], schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    def told_of(rows: pa.Table) -> pa.Table:
        values = rows["_value"].to_pylist()
        columns = [list(made) for made in zip(*map(work, values), strict=True)]
        return pa.table([*columns, values], schema=schema)

    return told_of


def _batches_of(work: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> Callable[[Iterator], Iterator]:
    """What one of Spark's workers does with the rows that it has, as many at a time as the function is to be given."""

    def worked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            if sum(one.num_rows for one in waiting) >= ROWS_A_PART:
                yield from work(pa.Table.from_batches(waiting)).cast(schema).to_batches()
                waiting = []
        if sum(one.num_rows for one in waiting):
            yield from work(pa.Table.from_batches(waiting)).cast(schema).to_batches()

    return worked


def _pick(f, file, names: Sequence[str], values: Sequence[str | int]):
    if len(set(values)) == 1:
        return f.lit(values[0])
    pairs = [f.lit(one) for pair in zip(names, values, strict=True) for one in pair]
    return f.element_at(f.create_map(*pairs), file)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _join(parts: Sequence[Path], path: Path, schema: pa.Schema) -> None:
    """Parts below each other in one file, a row group at a time, so that memory does not grow with the table."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(ROW_GROUP_ROWS):
                waiting.append(pa.Table.from_batches([batch]).cast(schema))
                while sum(rows.num_rows for rows in waiting) >= ROW_GROUP_ROWS:
                    every = pa.concat_tables(waiting)
                    writer.write_table(every.slice(0, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
                    waiting = [every.slice(ROW_GROUP_ROWS)]
        rest = pa.concat_tables(waiting) if waiting else schema.empty_table()
        if rest.num_rows or not parts:
            writer.write_table(rest, row_group_size=ROW_GROUP_ROWS)
