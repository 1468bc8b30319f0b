"""What DuckDB alone can do, in this process; its twin for a cluster is :mod:`clientbook.engine.spark`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clientbook import workers
from clientbook.engine.shared import CELL_BYTES, ROW_GROUP_ROWS, ROWS_A_PART, Engine, Part, TwiceError, UnreadableError
from clientbook.faults import Fault, FaultError
from clientbook.memory import MEMORY_VARIABLE, share
from clientbook.store import without_bar

# What does not fit into memory is sorted in slices of so many groups: some six million rows.
SLICE_GROUPS = 48
# Everything below one line of text must fit into a reading buffer several times over.
LONGEST_LINE_BYTES = 2_000_000
LONGEST_OBJECT_BYTES = 64 * 1024 * 1024

# What a cell of a table that is held in memory takes, as a rule; of all memory, tables may take this share.
HELD_SHARE = 0.25


# Deeper objects stay text, and those whose names are data themselves, as a price for each product is.
DEEPEST_OBJECT = 12
MOST_INNER_NAMES = 500


class MemoryFault(FaultError):
    """What was asked does not fit into the memory that the engine may take."""


class DuckDBEngine(Engine):
    """What can DuckDB do for us that an Ibis expression cannot say?

    Everything that is delivered is read by it, whichever engine works on what was read.
    """

    name = "duckdb"

    def __init__(self, *, scratch: Path, memory: str | None = None, threads: int | None = None):
        super().__init__(scratch)
        self.connection = ibis.duckdb.connect(":memory:")
        memory = memory or os.environ.get(MEMORY_VARIABLE) or f"{share()}B"
        settings: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(self.scratch),
            "preserve_insertion_order": True,
            "TimeZone": "UTC",
        }
        if threads is not None:
            settings["threads"] = int(threads)
        for setting, value in settings.items():
            self._run(f"SET {setting} = {_literal(value)}")
        without_bar(self.connection.con)
        try:
            self._run(f"SET memory_limit = {_literal(memory)}")
        except duckdb.Error:
            self.close()
            raise FaultError(
                Fault(f"{memory!r} is not an amount of memory.", f"Set {MEMORY_VARIABLE} to a size such as 4GB.")
            ) from None
        self._held, self._most_held = 0, int(self._memory() * HELD_SHARE)

    def limit(self, memory: str) -> None:
        with suppress(duckdb.OutOfMemoryException):
            self._run(f"SET memory_limit = {_literal(memory)}")

    def close(self) -> None:
        """When is the engine done? Now: the connection ends and its scratch files go."""
        self.connection.disconnect()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def stage_text(
        self,
        path: Path,
        *,
        delimiter: str,
        columns: Sequence[str],
        encoding: str = "utf-8",
        quote: str = '"',
        keep: Sequence[str] | None = None,
    ) -> Path:
        """Where does a text file lie as Parquet, row for row?

        Staged once, so that order and numbers are exact though many threads read: the n-th row of the Parquet
        file is the n-th record.

        Parameters
        ----------
        path, delimiter, columns, encoding, quote
            As for :meth:`read_text`.
        keep
            The columns to stage; all by default.

        Returns
        -------
        Path
            A Parquet file in the scratch folder.

        Raises
        ------
        UnreadableError
            As for :meth:`read_text`.
        """
        types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
        escape = quote
        chosen = ", ".join(_name(name) for name in (columns if keep is None else keep)) or "NULL AS _nothing"
        return self._stage(
            f"SELECT {chosen} FROM read_csv({_literal(_without_glob(str(path)))}, auto_detect = false, header = true, "
            f"delim = {_literal(delimiter)}, quote = {_literal(quote)}, escape = {_literal(escape)}, "
            f"columns = {{{types}}}, nullstr = '', comment = '', strict_mode = true, "
            f"max_line_size = {LONGEST_LINE_BYTES}, encoding = {_literal(encoding)})"
        )

    def stage_json(self, path: Path, *, layout: str = "newline_delimited") -> Path:
        """Where do the records of a JSON file lie as Parquet, row for row?

        Parameters
        ----------
        path, layout
            As for :meth:`read_json`.

        Raises
        ------
        UnreadableError
            As for :meth:`read_json`.
        """
        # Depth 1 gives each value as it stands in the file: deeper, DuckDB would guess dates and lose long numbers.
        cells = self._stage(
            f"SELECT * FROM read_json({_literal(_without_glob(str(path)))}, format = {_literal(layout)}, "
            f"records = true, maximum_depth = 1, sample_size = -1, map_inference_threshold = -1, "
            f"field_appearance_threshold = 0, "
            f"maximum_object_size = {LONGEST_OBJECT_BYTES})"
        )
        cells = self._flattened(cells)
        names = self.parquet_columns(cells)
        source = f"read_parquet({_literal(str(cells))})"
        kinds = self._run(f"SELECT {', '.join(_json_kind(name) for name in names)} FROM {source}").fetchone()
        typed = (_json_cell(name, kind) for name, kind in zip(names, kinds or (), strict=True))
        staged = self._stage(f"SELECT {', '.join(typed)} FROM {source}")
        cells.unlink()
        return staged

    def _flattened(self, cells: Path) -> Path:
        """Objects in columns become columns of their own, ``a.b``; lists, and objects with very many names, stay text.

        A column that holds objects in some rows and other values in others keeps the others.
        """
        for _ in range(DEEPEST_OBJECT):
            source = f"read_parquet({_literal(str(cells))})"
            names = self.parquet_columns(cells)
            asked = ", ".join(f"bool_or({_is_object(name)}), bool_or({_is_other(name)})" for name in names)
            found = self._ask(f"SELECT {asked} FROM {source}")[0] if names else ()
            chosen, deeper = [], False
            for place, name in enumerate(names):
                some, others = found[2 * place], found[2 * place + 1]
                inner = self._keys(source, name) if some else []
                if not inner or len(inner) > MOST_INNER_NAMES:
                    chosen.append((name, _name(name)))
                    continue
                deeper = True
                if others:
                    chosen.append((name, f"CASE WHEN {_is_other(name)} THEN {_name(name)} END"))
                for key in inner:
                    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
                    value = f"json_extract({_name(name)}, {_literal(pointer)})"
                    # A null that is written is no value, as it is none in the outermost object.
                    held = f"CASE WHEN {_is_object(name)} AND json_type({value}) <> 'NULL' THEN {value} END"
                    chosen.append((f"{name}.{key}", held))
            if not deeper:
                return cells
            taken = [name.lower() for name, _ in chosen]
            if len(set(taken)) < len(taken):
                raise TwiceError(next(name for name, _ in chosen if taken.count(name.lower()) > 1))
            before, cells = (
                cells,
                self._stage(f"SELECT {', '.join(f'{value} AS {_name(name)}' for name, value in chosen)} FROM {source}"),
            )
            before.unlink()
        return cells

    def _keys(self, source: str, name: str) -> list[str]:
        column = _name(name)
        # In the order in which they come, as a reader of the file would list them.
        return [
            key
            for key, _ in self._ask(
                f"SELECT key, min(n * 1000000 + place) AS first FROM (SELECT unnest(json_keys({column})) AS key, "
                f"generate_subscripts(json_keys({column}), 1) AS place, file_row_number AS n "
                f"FROM read_parquet({source.removeprefix('read_parquet(').removesuffix(')')}, file_row_number = true) "
                f"WHERE {_is_object(name)}) GROUP BY key ORDER BY first, key LIMIT {MOST_INNER_NAMES + 1}"
            )
        ]

    def read_parquet(self, path: Path | str | Iterable[Path | str]) -> ir.Table:
        """What do Parquet files hold? Columns that a file lacks are null in its rows.

        Parameters
        ----------
        path
            A file or several, in the order that their rows shall have.

        Raises
        ------
        UnreadableError
            A file is not whole.
        """
        paths = [path] if isinstance(path, str | Path) else list(path)
        return self._view(f"SELECT * FROM {_parquet(paths)}")

    def read_numbered(self, parts: Sequence[Part], columns: Sequence[str], *, has_row: bool = False) -> ir.Table:
        """Which file and row does each row come from, and when did it arrive?

        Parameters
        ----------
        parts
            The files in their order.
        columns
            The columns to take.
        has_row
            Whether any part brings its own ``_row``.

        Returns
        -------
        ibis Table
            ``columns``, then ``_file``, ``_row`` and ``_arrival`` (counted from 0 over all files).

        Raises
        ------
        UnreadableError
            A file is not whole, or the files' types cannot be brought together.
        """
        arrivals = [0]
        for part in parts:
            arrivals.append(arrivals[-1] + part.rows)
        shown = _pick([part.shown for part in parts])
        row = f"file_row_number + {_pick([part.first_row for part in parts])}"
        if has_row:
            row = f"coalesce(_row, {row})"
        chosen = [_name(name) for name in columns]
        chosen += [f"{shown} AS _file", f"CAST({row} AS BIGINT) AS _row"]
        chosen += [f"CAST(file_row_number + {_pick(arrivals[:-1])} AS BIGINT) AS _arrival"]
        source = _parquet([part.path for part in parts], numbered=True)
        return self._view(f"SELECT {', '.join(chosen)} FROM {source}")

    def parquet_columns(self, path: Path) -> list[str]:
        """Which columns does a Parquet file hold?

        Raises
        ------
        UnreadableError
            The file is not whole.
        """
        return [row[0] for row in self._ask(f"DESCRIBE SELECT * FROM {_parquet([path])}")]

    def described(self, paths: Sequence[Path]) -> dict[str, str]:
        """Which type has each column of several Parquet files, once they are one table?

        Parameters
        ----------
        paths
            The files.
        """
        return {row[0]: row[1] for row in self._ask(f"DESCRIBE SELECT * FROM {_parquet(paths)}")}

    def recast(self, path: Path, types: Mapping[str, str]) -> Path:
        """A Parquet file with some columns in other types: what no other engine than this one knows becomes text.

        Parameters
        ----------
        path
            The file; it stays as it is.
        types
            By column, as from :meth:`described`.
        """
        cells = ", ".join(f"CAST({_name(name)} AS {_common(kind)}) AS {_name(name)}" for name, kind in types.items())
        return self._stage(f"SELECT * REPLACE ({cells}) FROM {_parquet([path])}")

    def check_parquet(self, path: Path, columns: Sequence[str]) -> None:
        """Can these columns be read to their end? A file may be damaged in the middle and have a whole foot.

        Raises
        ------
        UnreadableError
            They cannot.
        """
        if columns:
            # What is asked must need every value: counts are answered from the file's foot.
            asked = ", ".join(f"max(hash({_name(name)}))" for name in columns)
            self._ask(f"SELECT {asked} FROM {_parquet([path])}")

    def parquet_rows(self, path: Path) -> int:
        """How many rows does a Parquet file say it holds?

        Raises
        ------
        UnreadableError
            The file is not whole.
        """
        return int(self._ask(f"SELECT num_rows FROM parquet_file_metadata({_literal(_without_glob(str(path)))})")[0][0])

    def write_parquet(self, expr: ir.Table, path: Path) -> None:
        """Where is this table kept? In one Parquet file whose bytes depend on its rows and their order alone.

        Parameters
        ----------
        expr
            Order it where the order matters; the order is kept. What does not fit into the memory there is is staged
            before it is sorted, and sorted slice by slice if need be.
        path
            Overwritten if it is there.

        Raises
        ------
        MemoryFault
            There is not enough memory, for slices either.
        """
        # frames that the expression holds are not in the database until this is called
        self.connection._run_pre_execute_hooks(expr)
        self._write(expr, Path(path), "zstd")

    def _write(self, expr: ir.Table, path: Path, compression: str) -> None:
        try:
            self._copy(self.connection.compile(expr), path, compression)
        except MemoryFault:
            if not isinstance(expr.op(), ops.Sort):
                raise
            self._write_staged(expr, path, compression)

    def _write_staged(self, expr: ir.Table, path: Path, compression: str) -> None:
        """Sorted by itself, once the rows are there: with all that they are put together from, it did not fit.

        The same bytes, or, where that does not fit either and rows share the first key, the same rows in the same order.
        """
        sort = expr.op()
        name = f"held_{next(self._numbers)}"
        # a table of its own: what memory has no room for goes to the scratch folder, in half the time of a file
        self._ask(f"CREATE TABLE {_name(name)} AS {self.connection.compile(sort.parent.to_expr())}")
        try:
            rows = self.connection.table(name)
            keys = [key.replace({sort.parent: rows.op()}).to_expr() for key in sort.keys]
            try:
                self._copy(self.connection.compile(rows.order_by(*keys)), path, compression)
            except MemoryFault:
                self._write_slices(rows, keys, path, compression)
        finally:
            self._ask(f"DROP TABLE {_name(name)}")

    def _write_slices(self, rows: ir.Table, order: Sequence[ir.Value], path: Path, compression: str) -> None:
        first = order[0].op()
        key = first.arg.to_expr()
        told = rows.filter(key.notnull()).select(key=key)
        starts = self._starts(told.order_by(ibis.desc("key") if first.descending else "key"))
        slices = []
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            begun = key <= start if first.descending else key >= start
            ended = True if end is None else key > end if first.descending else key < end
            slices.append(begun & ended)
        slices.insert(0 if first.nulls_first else len(slices), key.isnull())
        files = [self._stage(self.connection.compile(rows.filter(one).order_by(*order))) for one in slices]
        self._copy(f"SELECT * FROM {_parquet(files)}", path, compression)
        for file in files:
            file.unlink()

    def _starts(self, keys: ir.Table) -> list[ir.Scalar]:
        """The first key of each slice: slices are cut where groups of rows end, so that groups stay whole."""
        file = self._stage(self.connection.compile(keys))
        every = SLICE_GROUPS * ROW_GROUP_ROWS
        numbered = self._view(f"SELECT key, file_row_number AS n FROM {_parquet([file], numbered=True)}")
        found = numbered.filter(numbered["n"] % every == 0).order_by("n").select("key").to_pyarrow()["key"].to_pylist()
        file.unlink()
        kind = keys["key"].type()
        return [ibis.literal(key, kind) for key in dict.fromkeys(found)]

    def evaluate(self, rows: pa.Table, expression: str) -> np.ndarray:
        """What is a whole number for each row of a table in memory?

        Parameters
        ----------
        rows
            In memory; nothing of it is kept.
        expression
            In the engine's SQL, from the columns of `rows`; of a kind that Ibis has no words for, such as edit distances.
        """
        return _evaluated(self.connection.con, f"rows_{next(self._numbers)}", rows, expression)

    def keep(self, expr: ir.Table, *, rows: int | None = None) -> ir.Table:
        """What does this table hold? Computed now, once, and read from then on from the scratch folder.

        Parameters
        ----------
        expr
            Read several times by what follows; the order is kept.
        rows
            So many rows at most, where that is known: few stay in memory, where they are written in half the time.
        """
        self.connection._run_pre_execute_hooks(expr)
        taken = None if rows is None else rows * len(expr.columns) * CELL_BYTES
        if taken is not None and self._held + taken <= self._most_held:
            self._held += taken
            name = f"held_{next(self._numbers)}"
            self._ask(f"CREATE TABLE {_name(name)} AS {self.connection.compile(expr)}")
            return self.connection.table(name)
        path = self.scratch_file(".parquet")
        self._write(expr, path, "snappy")
        return self.read_parquet(path)

    def number(self, rows: ir.Table, by: Sequence[str], name: str) -> ir.Table:
        """Which row is the how-manieth?

        Parameters
        ----------
        rows
            Any.
        by
            Columns by which they are ordered; no two rows are equal in all.
        name
            Of the column with the number, from 0 on.
        """
        return self.keep(rows.mutate(**{name: ibis.row_number().over(ibis.window(order_by=list(by)))}).order_by(name))

    def by_values(self, column: ir.StringColumn, work: Callable[[str], tuple], made: Sequence[str]) -> ir.Table:
        """What does a Python function make of each distinct text of a column?

        Parameters
        ----------
        column
            Of texts; what is missing is passed over.
        work
            Gives as many texts as are made, or None in their place.
        made
            What these are called; the text itself is `_value`.
        """
        values = column.as_table().filter(column.notnull()).distinct().to_pandas()[column.get_name()].sort_values().tolist()
        told = workers.in_parts(lambda part, _: [work(value) for value in part], values)
        frame = pd.DataFrame(told, columns=list(made), dtype="object")
        frame = frame.where(frame.notna(), None).assign(_value=values)
        return ibis.memtable(frame, schema=dict.fromkeys([*made, "_value"], "string"))

    def in_parts(self, rows: ir.Table, work: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> ir.Table:
        """What does a Python function make of rows, some of them at a time and in any order?

        Parameters
        ----------
        rows
            Any.
        work
            Takes some of them, and gives rows of its own.
        schema
            Of what it gives.
        """
        path = self.scratch_file(".parquet")
        with pq.ParquetWriter(path, schema) as writer:
            for batch in rows.to_pyarrow_batches(chunk_size=ROWS_A_PART):
                if batch.num_rows:
                    writer.write_table(work(pa.Table.from_batches([batch])).cast(schema))
        return self.read_parquet(path)

    def _memory(self) -> int:
        """The bound in bytes, of what the engine says: `5.7 GiB`."""
        ((told,),) = self._ask("SELECT current_setting('memory_limit')")
        number, unit = told.split()
        return int(float(number) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit))

    def _stage(self, query: str) -> Path:
        path = self.scratch_file(".parquet")
        self._copy(query, path, "snappy")
        return path

    def _copy(self, query: str, path: Path, compression: str) -> None:
        try:
            self._ask(
                f"COPY ({query}) TO {_literal(str(path))} "
                f"(FORMAT parquet, COMPRESSION {compression}, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            )
        except (UnreadableError, FaultError):
            path.unlink(missing_ok=True)
            raise

    def _view(self, query: str) -> ir.Table:
        name = f"raw_{next(self._numbers)}"
        self._ask(f"CREATE VIEW {_name(name)} AS {query}")
        return self.connection.table(name)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._run(query).fetchall()
        except duckdb.OutOfMemoryException:
            raise MemoryFault(
                Fault("There is not enough memory.", f"Set {MEMORY_VARIABLE} higher, or free space for scratch files.")
            ) from None
        except duckdb.Error as error:
            if "No space left" in str(error):
                raise FaultError(Fault("The disk is full.", "Free some space.", file=str(self.scratch))) from None
            # The engine's message quotes lines of the file: it must not become the cause that a log prints.
            raise UnreadableError(type(error).__name__) from None

    def _run(self, query: str) -> Any:
        return self.connection.raw_sql(query)


class Evaluator:
    """What do DuckDB's functions say of rows in memory, in a process of another engine's? It keeps nothing."""

    def __init__(self):
        self._con = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "1GB", "temp_directory": ""})
        without_bar(self._con)

    def evaluate(self, rows: pa.Table, expression: str) -> np.ndarray:
        """What is a whole number for each row?

        Parameters
        ----------
        rows, expression
            As for :meth:`DuckDBEngine.evaluate`.
        """
        return _evaluated(self._con, "rows_here", rows, expression)


@lru_cache(maxsize=1)
def evaluator() -> Evaluator:
    """What says of rows in memory what DuckDB says, in whichever process? One for a process."""
    return Evaluator()


def _evaluated(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, expression: str) -> np.ndarray:
    con.register(name, rows.append_column("_row", pa.array(np.arange(rows.num_rows))))
    try:
        told = con.execute(f"SELECT _row, CAST({expression} AS TINYINT) AS told FROM {name}").to_arrow_table()
    finally:
        con.unregister(name)
    found = np.empty(rows.num_rows, "int8")
    found[told["_row"].to_numpy()] = told["told"].to_numpy()
    return found


def _common(kind: str) -> str:
    """The nearest type that Spark has too."""
    if kind.startswith("TIMESTAMP"):
        return "TIMESTAMPTZ" if "TIME ZONE" in kind else "TIMESTAMP"
    if kind == "UBIGINT" or "HUGEINT" in kind:
        return "DECIMAL(38, 0)"
    if kind in ("UINTEGER", "USMALLINT", "UTINYINT"):
        return "BIGINT"
    if kind in ("TIME", "UUID", "INTERVAL", "BIT", "JSON") or kind.startswith(("ENUM", "TIME ")):
        return "VARCHAR"
    return kind


def _literal(value: object) -> str:
    if isinstance(value, bool | int):
        return str(value).lower()
    return "'" + str(value).replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _parquet(paths: Sequence[Path | str], *, numbered: bool = False) -> str:
    # Inside brackets DuckDB would read *, ? and [ as a glob: a file's name is taken letter by letter instead.
    files = ", ".join(_literal(_without_glob(str(path))) for path in paths)
    number = ", file_row_number = true" if numbered else ""
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false{number})"


def _without_glob(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _pick(values: Sequence[str | int]) -> str:
    if len(set(values)) == 1:
        return _literal(values[0])
    return f"list_extract([{', '.join(_literal(value) for value in values)}], CAST(file_index AS BIGINT) + 1)"


def _is_object(name: str) -> str:
    return f"coalesce(json_type({_name(name)}) = 'OBJECT', false)"


def _is_other(name: str) -> str:
    return f"coalesce(json_type({_name(name)}) NOT IN ('OBJECT', 'NULL'), false)"


def _json_kind(name: str) -> str:
    column = _name(name)
    kind = f"json_type({column})"
    text = f"({column} ->> '$')"
    return (
        f"CASE WHEN count({column}) = 0 THEN 'VARCHAR' "
        f"WHEN bool_and({kind} IN ('BIGINT', 'UBIGINT') AND try_cast({text} AS BIGINT) IS NOT NULL) "
        f"FILTER (WHERE {column} IS NOT NULL) THEN 'BIGINT' "
        f"WHEN bool_and({kind} IN ('BIGINT', 'UBIGINT', 'DOUBLE') "
        # A whole number of 16 digits and more may be an id: as a float it would change without a word.
        f"AND NOT regexp_full_match({text}, '-?[0-9]{{16,}}')) THEN 'DOUBLE' "
        f"WHEN bool_and({kind} = 'BOOLEAN') THEN 'BOOLEAN' ELSE 'VARCHAR' END"
    )


def _json_cell(name: str, kind: str) -> str:
    return f"CAST({_name(name)} ->> '$' AS {kind}) AS {_name(name)}"
