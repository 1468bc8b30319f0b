"""Cleaning, profiling and drafting: seconds, memory, and how much of the truth they find.

By hand: `python tests/benchmarks/cleaning.py [--people N] [--book DIR]`. DIR is a made company that is there already, whose
files are linked to and never written; else one of N people (20,000 unless told) is made with a seed that nothing was
developed on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measuring import measure, measure_python, show

ROOT = Path(__file__).resolve().parents[2]

SCORE = """
import sys
from pathlib import Path
from clientbook import cleaning, engine
from clientbook.book import open_book
book = open_book({book!r})
with engine.open(scratch=Path({scratch!r})) as opened:
    run = book.run("latest")
    tables = {{name: run.read(name, opened.connection) for name in ("people", "changes", "rejected")}}
    truth = [opened.read_parquet(book.folder / "truth" / f"{{name}}.parquet") for name in ("spoiled", "rejects")]
    told = cleaning.scored(tables, *truth, book.settings.country)
    for row in told[told["what"].str.contains("cells|rejects|rejected")].itertuples():
        print(row.what, "|", f"{{row.share:.4%}} of {{row.of:,}}")
"""
ASKED = {
    "cells that can be put right from themselves": "99 % or more",
    "good cells left as good as they were": "over 99.9 %",
    "planted rejects found": "100 %",
    "rejected rows that were planted": "100 %",
}


def notebooks(book: Path, reports: Path, name: str):
    """Run a notebook and what it needs, in a process of its own."""
    return measure([sys.executable, "-m", "clientbook.cli", "run", str(book), "--only", name, "--out", str(reports)])


def linked(book: Path, to: Path, leave: set[str]) -> None:
    """A folder whose files are another's: a million people are not copied."""
    to.mkdir()
    for one in sorted(book.iterdir()):
        if one.name in leave:
            continue
        # folders are made, as nothing that looks for files follows a link to a folder
        if one.is_dir():
            linked(one, to / one.name, leave=set())
        else:
            (to / one.name).symlink_to(one.resolve())


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="Cleaning, profiling and drafting: seconds, memory and scores")
    asked.add_argument("--people", type=int, default=20_000)
    asked.add_argument("--book", type=Path, help="a made company that is there already")
    asked.add_argument("--scratch", type=Path, help="where there is room for the book's store")
    given = asked.parse_args()
    people = given.people
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        scratch = Path(scratch)
        book = scratch / "book"
        if given.book:
            linked(given.book.resolve(), book, leave={"store"})
        else:
            measure([sys.executable, "-m", "clientbook.cli", "demo", str(book), "--people", str(people), "--seed", "2718"])
        took = notebooks(book, scratch / "reports", "profiling")
        rows = [
            (
                "01_cleaning and 02_profiling",
                f"{took.seconds:.1f} s, {took.megabytes:.0f} MB",
                "1M people: 600 s, 8000 MB",
            )
        ]
        rows += [(line.strip(), "", "") for line in took.printed.splitlines() if line.startswith(("01_", "02_"))]
        told = measure_python(SCORE.format(book=str(book), scratch=str(scratch / "engine"))).printed
        for line in told.splitlines():
            what, _, share = line.partition(" | ")
            if share:
                rows.append((what, share, ASKED.get(what, "")))
        linked(book, scratch / "bare", leave={"store", "truth", "clientbook.yaml"})
        show(f"Cleaning, {people:,} people", rows)
        drafted = measure([sys.executable, "-m", "clientbook.cli", "init", str(scratch / "bare")])
        show("Drafting", [("clientbook init", f"{drafted.seconds:.1f} s, {drafted.megabytes:.0f} MB", "")])


if __name__ == "__main__":
    main()
