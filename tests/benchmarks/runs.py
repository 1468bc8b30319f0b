"""Whole runs: seconds, memory, and what a browser makes of the report.

By hand: `python tests/benchmarks/runs.py`. Online Retail II is measured where its file is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from measuring import measure, show

ROOT = Path(__file__).resolve().parents[2]
RETAIL = ROOT.parent / "shared" / "data" / "online_retail_II.parquet"

sys.path.insert(0, str(ROOT / "tests"))


def run(book: Path, reports: Path):
    """Run a book in a process of its own."""
    return measure([sys.executable, "-m", "clientbook.cli", "run", str(book), "--out", str(reports)])


def main() -> None:
    """Measure and print."""
    import browser

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        rows = []
        cdnow = scratch / "cdnow"
        shutil.copytree(ROOT / "data" / "cdnow", cdnow, ignore=shutil.ignore_patterns("store"))
        took = run(cdnow, scratch / "reports")
        rows.append(("CDNOW, whole run", f"{took.seconds:.1f} s, {took.megabytes:.0f} MB", "under 60 s"))
        if RETAIL.is_file():
            retail = scratch / "online_retail"
            shutil.copytree(ROOT / "data" / "online_retail", retail, ignore=shutil.ignore_patterns("store"))
            (retail / RETAIL.name).symlink_to(RETAIL)
            took = run(retail, scratch / "reports")
            rows.append(("Online Retail II, whole run", f"{took.seconds:.1f} s, {took.megabytes:.0f} MB", "under 120 s, 3000 MB"))
        show("Runs", rows)
        seen = []
        for report in sorted((scratch / "reports").glob("*/latest")):
            for page in browser.open_pages(report):
                told = f"{len(page.requests)} req, {len(page.violations)} axe, {page.size / 1000:.0f} KB"
                seen.append((f"{report.parent.name}/{page.name}", told, "0 requests, 0 violations, under 1000 KB"))
        show("Pages", seen)


if __name__ == "__main__":
    main()
