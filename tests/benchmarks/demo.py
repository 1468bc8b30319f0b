"""How fast is the made company made, and how close is its buying to that of real customers?

    python tests/benchmarks/demo.py [--million] [--figure FILE] [--keep FOLDER]

Prints seconds and peak memory of `demo.make` (each size in a process of its own), then quantiles of orders per
customer, days between orders, order value and returns beside CDNOW and, where it lies beside the repository,
Online Retail II. With --figure the same as a picture. Nothing here asserts; it is run by hand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from clientbook.demo.likeness import QUANTILES, cdnow, made_orders, returned, shape

RETAIL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "online_retail_II.parquet"


def measure(people: int, folder: Path, queue) -> None:
    """Make one company; put its seconds, peak memory and sizes into the queue."""
    from clientbook import demo

    start = time.perf_counter()
    demo.make(folder, people=people)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
    queue.put((people, seconds, peak, size))


def rows(folder: Path) -> dict[str, int]:
    """How many records, lines, events and messages were written?"""
    count = duckdb.connect()
    number = lambda sql: count.execute(sql).fetchone()[0]  # noqa: E731
    text = str(folder)
    return {
        "person records": number(f"SELECT count(*) FROM read_parquet('{text}/truth/people.parquet') WHERE source <> 'web'"),
        "cookies": number(f"SELECT count(*) FROM read_parquet('{text}/truth/people.parquet') WHERE source = 'web'"),
        "order lines": sum(
            number(f"SELECT count(*) FROM read_parquet('{text}/{part}/*.parquet')") for part in ("shop/orders", "erp/auftraege")
        )
        + number(f"SELECT count(*) FROM read_csv('{text}/pos/bons.csv', delim=';', encoding='latin-1', all_varchar=true)"),
        "events": number(f"SELECT count(*) FROM read_parquet('{text}/web/events/*.parquet')"),
        "messages": number(f"SELECT count(*) FROM read_parquet('{text}/newsletter/sendings/*.parquet')"),
    }


def retail() -> pd.DataFrame:
    """The gift wholesaler's orders."""
    return (
        duckdb.connect()
        .execute(f"""
        SELECT "Customer ID" AS customer, InvoiceDate::DATE AS day, sum(Quantity * Price) AS value
        FROM (SELECT DISTINCT Invoice, "Customer ID", InvoiceDate, StockCode, Quantity, Price FROM read_parquet('{RETAIL}'))
        WHERE "Customer ID" IS NOT NULL AND Quantity > 0 GROUP BY ALL HAVING value > 0 ORDER BY customer, day""")
        .df()
    )


def retail_returns() -> float:
    """Share of money that came back at the wholesaler."""
    good, bad = (
        duckdb.connect()
        .execute(f"""
        SELECT sum(Quantity * Price) FILTER (Quantity > 0), -sum(Quantity * Price) FILTER (Quantity < 0)
        FROM (SELECT DISTINCT Invoice, "Customer ID", InvoiceDate, StockCode, Quantity, Price FROM read_parquet('{RETAIL}')) WHERE "Customer ID" IS NOT NULL""")
        .fetchone()
    )
    return bad / good


def main() -> None:
    """Measure, compare, print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--million", action="store_true", help="also make one million people (about ten minutes, 4 GB of disk)")
    options.add_argument("--figure", type=Path, help="draw the distributions into this file")
    options.add_argument("--keep", type=Path, help="keep the companies in this folder")
    chosen = options.parse_args()
    root = chosen.keep or Path(tempfile.mkdtemp(prefix="clientbook-demo-"))
    context = multiprocessing.get_context("spawn")
    print(f"{'people':>10} {'seconds':>9} {'peak GB':>8} {'GB on disk':>11}  rows")
    for people in (20_000, 1_000_000) if chosen.million else (20_000,):
        queue = context.Queue()
        process = context.Process(target=measure, args=(people, root / f"people-{people}", queue))
        process.start()
        _, seconds, peak, size = queue.get()
        process.join()
        found = ", ".join(f"{count:,} {name}" for name, count in rows(root / f"people-{people}").items())
        print(f"{people:>10,} {seconds:>9.1f} {peak:>8.2f} {size:>11.2f}  {found}")
    folder = root / "people-20000"
    orders = made_orders(folder)
    business = pd.read_parquet(folder / "truth/humans.parquet").set_index("human_id")["is_business"]
    is_business = orders["customer"].map(business).to_numpy(bool)
    sets = {
        "made, all": orders,
        "made, private": orders[~is_business],
        "made, business": orders[is_business],
        "CDNOW": cdnow(),
    }
    if RETAIL.exists():
        sets["Online Retail II"] = retail()
    shapes = {name: shape(table) for name, table in sets.items()}
    for measure_name in ("orders per customer", "days between orders", "order value / median"):
        print(f"\n{measure_name:<24}" + "".join(f"{q:>9.0%}" for q in QUANTILES) + f"{'mean':>9}{'max':>10}")
        for name, found in shapes.items():
            values = found[measure_name]
            print(
                f"{name:<24}"
                + "".join(f"{v:>9.2f}" for v in np.quantile(values, QUANTILES))
                + f"{values.mean():>9.2f}{values.max():>10.1f}"
            )
    print(
        "\none order only: "
        + ", ".join(f"{name} {np.mean(found['orders per customer'] == 1):.0%}" for name, found in shapes.items())
    )
    print(
        f"returned money: made shop {returned(folder):.1%}"
        + (f", Online Retail II {retail_returns():.1%}" if RETAIL.exists() else "")
    )
    if chosen.figure:
        draw(shapes, chosen.figure)
    if not chosen.keep:
        shutil.rmtree(root)


def draw(shapes: dict, path: Path) -> None:
    """Each measure as a share of customers or orders above it, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for axis, measure_name in zip(axes, next(iter(shapes.values())), strict=False):
        for name, found in shapes.items():
            values = np.sort(found[measure_name])
            axis.plot(values, 1 - np.arange(len(values)) / len(values), label=name)
        axis.set(xscale="log", yscale="log", xlabel=measure_name, ylabel="share at or above")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
