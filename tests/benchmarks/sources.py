"""Deliveries that are too much of something: what is answered, how soon, and in how much memory.

By hand: `python tests/benchmarks/sources.py [FOLDER]`. It writes up to 1 GB at a time
into FOLDER, and takes it away again.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import measure, show

CODE = """
import sys
from pathlib import Path
from clientbook import engine, sources
from clientbook.faults import FaultError
folder = Path(sys.argv[1])
with engine.open(scratch=folder / "scratch", memory="1GB") as opened:
    try:
        raw = sources.read(opened, folder, path="in")
        print(f"{sum(facts.rows for facts in raw.files):,} rows")
    except FaultError as error:
        print(f"fault: {error.faults[0].message[:48]}")
"""
GIGABYTE = 1_000_000_000
MILLION = 1_000_000
HEADER = "person_id,ordered_at,product,quantity,price,name\n"


def lines(name: str = "Zoë") -> str:
    """A block of order lines."""
    days = [f"2024-01-{day:02d}" for day in range(1, 29)]
    return "".join(f"{n},{days[n % 28]},product {n % 977},{n % 9 + 1},{n / 7:.2f},{name}\n" for n in range(200_000))


def large(path: Path, size: int, *, encoding: str = "utf-8", name: str = "Zoë", tail: str = "") -> None:
    """A file of that size."""
    block = (lines(name) + tail).encode(encoding)
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as out:
        out.write(HEADER.encode(encoding))
        for _ in range(size // len(block) + 1):
            out.write(block)


def wide_csv(path: Path) -> None:
    """A million columns and one row."""
    path.write_bytes(b",".join(b"c%d" % n for n in range(MILLION)) + b"\n" + b"," * (MILLION - 1) + b"\n")


def many(folder: Path) -> None:
    """200 files of 10,000 rows."""
    for n in range(200):
        rows = "".join(f"{n}-{i},{i}\n" for i in range(10_000))
        (folder / f"{n:03d}.csv").write_text("id,x\n" + rows)


CASES: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("nothing but a header", lambda d: (d / "a.csv").write_text("id,x\n")),
    ("10 MB in one field, csv", lambda d: (d / "a.csv").write_text(f"id,x\n1,{'x' * 10_000_000}\n")),
    ("10 MB in one field, jsonl", lambda d: (d / "a.jsonl").write_text(json.dumps({"x": "x" * 10_000_000}) + "\n")),
    ("20 MB in one field, csv", lambda d: (d / "a.csv").write_text(f"id,x\n1,{'x' * 20_000_000}\n")),
    ("a million columns, csv", lambda d: wide_csv(d / "a.csv")),
    ("a million names, jsonl", lambda d: (d / "a.jsonl").write_text(json.dumps(dict.fromkeys(range(MILLION), 1)) + "\n")),
    ("200 files", many),
    ("1 GB of csv", lambda d: large(d / "a.csv", GIGABYTE)),
    ("1 GB of csv, gzip", lambda d: large(d / "a.csv.gz", GIGABYTE)),
    ("1 GB of csv, a bad line in 200,000", lambda d: large(d / "a.csv", GIGABYTE, tail="cut,short\n")),
    ("0.2 GB of csv in GB18030", lambda d: large(d / "a.csv", GIGABYTE // 5, encoding="gb18030", name="王小明")),
)


def main() -> None:
    """Measure and print."""
    told = []
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for name, make in CASES:
            delivered = Path(folder) / "in"
            delivered.mkdir()
            make(delivered)
            took = measure([sys.executable, "-c", CODE, folder])
            answer = took.printed.strip().splitlines()[-1]
            # Said at once too: the whole takes minutes.
            print(f"{name}: {took.seconds:.1f} s, {took.megabytes:.0f} MB, {answer}", flush=True)
            told.append((name, f"{took.seconds:5.1f} s {took.megabytes:5.0f} MB", f"a clear answer, bounded: {answer}"))
            for file in delivered.iterdir():
                file.unlink()
            delivered.rmdir()
    show("Reading, the engine bound to 1 GB", told)


if __name__ == "__main__":
    main()
