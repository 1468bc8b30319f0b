"""The same company on DuckDB and on Spark: do the tables agree, and what did each notebook and each run take?

By hand: `python tests/benchmarks/spark.py --people 5000`, with the extra `spark` and Java. `SPARK_MASTER` names the
session; two workers on this machine where it names none.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))


# Linux: whoever outlives its parent becomes this process's child, and what it took is told when it ends.
ADOPT = 36


def run(book: Path, engine: str, reports: Path, only: list[str]) -> tuple[Path, float]:
    """Run a book on an engine: the folder of the run, and the processors' seconds of all its processes, Java's too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    chosen = [part for name in only for part in ("--only", name)]
    command = [sys.executable, "-m", "clientbook.cli", "run", str(book), "--engine", engine, "--out", str(reports), "-q", *chosen]
    subprocess.run(command, check=True, env={"SPARK_MASTER": "local-cluster[2,1,1024]"} | os.environ)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return max((book / "store" / "runs").iterdir()), took


def main() -> None:
    """Make a company, run it twice, and print."""
    import pyarrow.parquet as pq
    from alike import differences
    from measuring import show

    from clientbook.book import make_company

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=5000)
    asked.add_argument("--seed", type=int, default=101)
    asked.add_argument("--only", action="append", default=[], metavar="NAME")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch) / "duckdb" / "company"
        make_company(first, people=given.people, seed=given.seed)
        second = Path(scratch) / "spark" / "company"
        shutil.copytree(first, second)
        ctypes.CDLL(None).prctl(ADOPT, 1)
        one, took_one = run(first, "duckdb", Path(scratch) / "reports-duckdb", given.only)
        other, took_other = run(second, "spark", Path(scratch) / "reports-spark", given.only)
        infos = [json.loads((folder / "run.json").read_text()) for folder in (one, other)]
        rows = []
        for table in sorted(path.name for path in (one / "tables").glob("*.parquet")):
            there = (other / "tables" / table).is_file()
            told = differences(one / "tables" / table, other / "tables" / table) if there else ["not written on Spark"]
            told = "; ".join(told) or f"the same {pq.read_metadata(one / 'tables' / table).num_rows:,} rows"
            rows.append((table.removesuffix(".parquet"), told, "the same"))
        show(f"Tables of {given.people:,} people", rows)
        took = [
            (name, f"{step['seconds']:.1f} s on DuckDB, {infos[1]['notebooks'][name]['seconds']:.1f} s",
             f"worked on by {infos[1]['engines'][name]}")
            for name, step in infos[0]["notebooks"].items()
        ]  # fmt: skip
        took.append(("in all", f"{took_one:.0f} and {took_other:.0f} seconds of a processor", ""))
        show("Notebooks, where the run asks for DuckDB and for Spark", took)


if __name__ == "__main__":
    main()
