"""How long does a card take, and how does that grow with the number of customers?

By hand: `python tests/benchmarks/card.py BOOK [--times 1 10 50]`. The tables of the book's newest run are written to a
temporary book so many times over, with other ids and addresses, so that a book of 20,000 customers stands for a million.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
from measuring import show

from clientbook.book import open_book

ASKED = 30
# What a card reads, and the columns that tell one copy of somebody from another.
READ = (
    "people", "identities", "customers", "resolved_accounts", "account_identities", "value", "segments", "orders", "cases",
    "stage_intervals", "consents", "preferences", "messages", "next_actions", "surveys", "events",
)  # fmt: skip
OWN = ("customer_id", "account_id", "source_account_id", "subject_id", "person_id", "order_id", "message_id", "phone")


def multiplied(run, times: int, folder: Path) -> None:
    """A run's tables so many times over."""
    place = folder / "store" / "runs" / run.name / "tables"
    place.mkdir(parents=True)
    for table in set(READ) & set(run.tables):
        source = str(run.path(table))
        columns = [row[0] for row in duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [source]).fetchall()]
        told = [f"{name} || '-' || copy AS {name}" for name in OWN if name in columns]
        told += ["replace(email, '@', '-' || copy || '@') AS email"] if "email" in columns else []
        replaced = f" REPLACE ({', '.join(told)})" if told else ""
        duckdb.execute(
            f"COPY (SELECT * EXCLUDE (copy){replaced} FROM read_parquet(?), (SELECT unnest(range({times})) AS copy)) "
            f"TO '{place / table}.parquet' (FORMAT parquet)", [source],
        )  # fmt: skip
    (place.parent / "run.json").write_text(json.dumps(run.info, default=str), encoding="utf-8")
    settings = (run.folder.parents[2] / "clientbook.yaml").read_text(encoding="utf-8")
    (folder / "clientbook.yaml").write_text(settings, encoding="utf-8")


WORK = """
import sys, time
began = time.perf_counter()
# DuckDB does so with the first question: it is start-up, as other imports are
import pandas
from clientbook import card
from clientbook.book import open_book
book = open_book(sys.argv[1])
run = book.store.run("latest")
started = time.perf_counter()
reader = card.RunReader(run)
told = card.as_json(card.card(reader, card.find(reader, sys.argv[2], "DE")[0]))
print(started - began, time.perf_counter() - started, len(told))
"""


def asked(book: Path, who: str) -> float:
    """Milliseconds of a card beyond start-up, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", WORK, str(book), who], capture_output=True, text=True, check=True)
    return 1000 * float(done.stdout.split()[1])


def measured(run, times: int) -> list[tuple[str, str, str]]:
    """Cards of customers drawn by lot, by their id and by their address."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        multiplied(run, times, folder)
        rows = duckdb.execute(
            "SELECT customer_id, email FROM read_parquet(?) WHERE email IS NOT NULL ORDER BY hash(customer_id) LIMIT ?",
            [str(folder / "store" / "runs" / run.name / "tables" / "customers.parquet"), ASKED],
        ).fetchall()
        count = f"SELECT count(*) FROM read_parquet('{folder}/store/runs/{run.name}/tables/customers.parquet')"
        n = duckdb.execute(count).fetchone()[0]
        began = time.perf_counter()
        asked(folder, rows[0][0])
        asked(folder, rows[0][1])
        first = time.perf_counter() - began
        told = [(f"{n:,} customers, the first two, which sort copies", f"{first:.1f} s", "once a run")]
        for by, column in (("customer_id", 0), ("e-mail address", 1)):
            took = [asked(folder, row[column]) for row in rows]
            words = f"median {np.median(took):.0f} ms, worst {max(took):.0f} ms"
            told.append((f"{n:,} customers, by {by}", words, "300 ms"))
        return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("book", type=Path)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 50])
    given = parser.parse_args()
    run = open_book(given.book).store.run("latest")
    for times in given.times:
        show(f"Cards, {ASKED} each", measured(run, times))


if __name__ == "__main__":
    main()
