"""How do tables become files, part after part, without ever holding the whole company?"""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


class Folder:
    """Writes tables below one folder; repeated writes to one name append.

    One thread writes, in the order of the calls, while the next tables are drawn; `wait` lets it catch up.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path):
        self.root = root
        self._parquet: dict[str, pq.ParquetWriter] = {}
        self._begun: set[str] = set()
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._waiting: list[Future] = []

    def _path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def parquet(self, name: str, table: pa.Table) -> None:
        """Append to one Parquet file."""
        self._waiting.append(self._writer.submit(self._write_parquet, name, table))

    def _write_parquet(self, name, table):
        if name not in self._parquet:
            plain = [field.name for field in table.schema if not pa.types.is_string(field.type)]
            coded = [field.name for field in table.schema if field.name not in plain and not field.name.endswith("_id")]
            self._parquet[name] = pq.ParquetWriter(
                self._path(name), table.schema, compression="zstd", compression_level=1, use_dictionary=coded or False
            )
        self._parquet[name].write_table(table.combine_chunks(), row_group_size=500_000)

    def csv(self, name: str, table: pa.Table, delimiter: str = ",", encoding: str = "utf-8") -> None:
        """Append to one CSV file; every column is text or a whole number already."""
        self._waiting.append(self._writer.submit(self._write_csv, name, table, delimiter, encoding))

    def _write_csv(self, name, table, delimiter, encoding):
        first = name not in self._begun
        self._begun.add(name)
        buffer = io.BytesIO()
        options = pyarrow.csv.WriteOptions(
            include_header=first, delimiter=delimiter, quoting_style="needed", quoting_header="needed"
        )
        pyarrow.csv.write_csv(table, buffer, options)
        data = buffer.getvalue()
        with self._path(name).open("ab") as file:
            file.write(data if encoding == "utf-8" else data.decode("utf-8").encode(encoding))

    def jsonl(self, name: str, table: pa.Table) -> None:
        """Append to one file of JSON lines."""
        self._waiting.append(self._writer.submit(self._write_jsonl, name, table))

    def _write_jsonl(self, name, table):
        path = self._path(name)
        piece = path.with_suffix(".piece")
        with duckdb.connect() as connection:
            connection.register("piece", table)
            connection.execute(f"COPY (SELECT * FROM piece) TO '{str(piece).replace(chr(39), chr(39) * 2)}' (FORMAT json)")
        with path.open("ab") as file:
            file.write(piece.read_bytes())
        piece.unlink()

    def excel(self, name: str, table: pa.Table, sheet: str) -> None:
        """A small table as a workbook of one sheet, dated so that the same table makes the same bytes."""
        import datetime
        import zipfile

        from openpyxl import Workbook

        book = Workbook(write_only=True)
        book.properties.creator = "Warenwirtschaft"
        page = book.create_sheet(sheet)
        page.append(table.column_names)
        for row in zip(*(column.to_pylist() for column in table.columns), strict=False):
            page.append(row)
        raw = io.BytesIO()
        book.save(raw)
        moment = datetime.datetime(2000, 1, 1)
        with zipfile.ZipFile(raw) as old, zipfile.ZipFile(self._path(name), "w", zipfile.ZIP_DEFLATED) as new:
            for item in old.infolist():
                data = old.read(item.filename)
                if item.filename == "docProps/core.xml":
                    data = _dateless(data, moment)
                new.writestr(zipfile.ZipInfo(item.filename, (2000, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

    def wait(self) -> None:
        """Until all is written; a failed write raises here."""
        for write in self._waiting:
            write.result()
        self._waiting.clear()

    def finish_part(self, names: tuple[str, ...]) -> None:
        """Close the files that no later part adds to."""
        self.wait()
        for name in names:
            self._parquet.pop(name).close()

    def close(self) -> None:
        """Finish every file; after a failure, at least let go of them."""
        self._writer.shutdown(cancel_futures=True)
        for writer in self._parquet.values():
            writer.close()
        self._parquet.clear()


def _dateless(data: bytes, moment) -> bytes:
    import re

    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), data)
