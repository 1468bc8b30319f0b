"""Order lines out of PostgreSQL beside the same out of Parquet: `01_cleaning`, seconds and peak memory.

By hand: `python tests/benchmarks/databases.py [--lines N ...] [--scratch DIR]`. A server of Debian's is started on a free port
and stopped afterwards; the lines are made by DuckDB, the same for both. Memory is asked to be constant: with two sizes, it may
not grow as the lines do. The server's own memory and processor time are not counted, its part of the seconds is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
from measuring import measure, show

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import servers

SETTINGS = """
name: Made
timezone: Europe/Berlin
currency: EUR
as_of: 2025-01-01
sources:
  shop:
    orders:
      {where}
      columns: {{order_id: nr, person_id: who, ordered_at: placed, product_id: piece, quantity: pieces, amount: amount}}
"""
LINES = """
COPY (
    SELECT
        'A' || lpad((i // 3)::VARCHAR, 9, '0') AS nr,
        'P' || ((i // 3) * 7919 % 400009)::VARCHAR AS who,
        TIMESTAMP '2021-01-01' + INTERVAL 1 SECOND * ((i // 3) * 12 + 5) AS placed,
        'G' || (i * 31 % 1999)::VARCHAR AS piece,
        (i % 4 + 1)::INTEGER AS pieces,
        ((i * 37 % 19997) / 100)::DECIMAL(12, 2) AS amount
    FROM range({lines}) AS made(i)
) TO '{path}' {form}
"""
TABLE = (
    "create table orders (nr text, who text, placed timestamp, piece text, pieces integer, amount numeric(12, 2))",
    "copy orders from stdin (format csv)",
)


def filled(url: str, lines: int, scratch: Path) -> None:
    """Load the lines into the server's table, through its own client."""
    path = scratch / "lines.csv"
    duckdb.execute(LINES.format(lines=lines, path=path, form="(FORMAT csv, HEADER false)"))
    subprocess.run(["psql", url, "-q", "-c", "set client_min_messages = warning; drop table if exists orders; " + TABLE[0]], check=True)
    with path.open("rb") as rows:
        subprocess.run(["psql", url, "-q", "-c", TABLE[1]], stdin=rows, check=True)
    path.unlink()


def book(folder: Path, where: str) -> Path:
    """A book of one source."""
    folder.mkdir(parents=True)
    (folder / "clientbook.yaml").write_text(SETTINGS.format(where=where), encoding="utf-8")
    return folder


def cleaned(folder: Path, url: str):
    """Clean a book in a process of its own, and count what came out."""
    command = [sys.executable, "-m", "clientbook.cli", "run", str(folder), "--only", "cleaning", "--out", str(folder / "reports")]
    took = measure(command, env=os.environ | {"SHOP_URL": url})
    path = next((folder / "store" / "runs").glob("*/tables/orders.parquet"))
    counted = f"SELECT count(*), round(sum(amount), 2), count(DISTINCT person_id), max(ordered_at) FROM read_parquet('{path}')"
    return took, duckdb.execute(counted).fetchone()


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--lines", type=int, nargs="+", default=[2_000_000, 10_000_000])
    asked.add_argument("--scratch", type=Path, help="where there is room: some 300 bytes a line")
    given = asked.parse_args()
    for lines in given.lines:
        with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
            scratch = Path(scratch)
            files = book(scratch / "files", "path: orders.parquet")
            duckdb.execute(LINES.format(lines=lines, path=files / "orders.parquet", form="(FORMAT parquet)"))
            with servers.postgresql(scratch) as url:
                filled(url, lines, scratch)
                served = book(scratch / "served", "sql: select * from orders\n      connection: env:SHOP_URL")
                of_files, rows = cleaned(files, url)
                of_server, answered = cleaned(served, url)
        show(f"01_cleaning of {lines:,} order lines", [
            ("from Parquet", f"{of_files.seconds:.1f} s, {of_files.megabytes:,.0f} MB", ""),
            ("from PostgreSQL", f"{of_server.seconds:.1f} s, {of_server.megabytes:,.0f} MB", "constant memory"),
            ("times as long", f"{of_server.seconds / of_files.seconds:.2f}", "at most 2"),
            ("the same rows", f"{rows == answered}: {rows[0]:,}", "True"),
        ])  # fmt: skip


if __name__ == "__main__":
    main()
