"""Does the interval of total value with identity uncertainty hold the total that true identities would give?

    python tests/benchmarks/identity_coverage.py [--seeds 101 102 …] [--people 5000]

Of each seed a company is made, cleaned and matched; the total is computed with the identities found and with the true
ones, each with models fitted on its own. Told beside: what the draws alone say, without what forecasts miss, which is a
far harder question.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import ibis
import numpy as np
import pandas as pd

from clientbook import value
from clientbook.store import Store


def judge(folder: Path) -> dict:
    run, engine = Store(folder / "store").run("latest"), ibis.duckdb.connect()
    names = ("orders", "returns", "products", "cases", "identities", "identity_draws")
    orders, returns, products, cases, identities, draws = (
        run.read(name, engine) if name in run.tables else None for name in names
    )
    p = value.ValueParameters()
    truth = engine.read_parquet(str(folder / "truth" / "people.parquet"))
    true = truth.select("source", "person_id", customer_id="human_id")
    found = value.analyse(orders, returns, identities, products, run.as_of, p, cases=cases)
    other = value.analyse(orders, returns, true, products, run.as_of, p, cases=cases)
    total, came = (float(one.value["clv"].sum().to_pandas()) for one in (found, other))
    drawn = value.with_other_identities((orders, returns, products, cases), identities, draws, found, run.as_of, p)
    low, high = value.total_with_identities(total, found, drawn, value.TOTAL_LEVEL)
    least, mean, most = value.alone(drawn)
    # the true identities as one more draw, with the same models: what the draws are of
    here = identities.select("source", "person_id").left_join(true, ["source", "person_id"])
    as_one = here.select("source", "person_id", draw=ibis.literal(1, "int64"), customer_id="customer_id", draws=ibis.literal(1, "int64"))
    as_one = as_one.filter(as_one["customer_id"].notnull())
    same_models = value.with_other_identities((orders, returns, products, cases), identities, as_one, found, run.as_of, p)
    exact = float(same_models.totals["total"].iloc[0])
    return {
        "total": round(total), "true": round(came), "off": round(came / total - 1, 4), "low": round(low), "high": round(high),
        "held": low <= came <= high, "swing": round(drawn.swing, 5), "touched": drawn.share,
        "draws_low": round(least), "draws_mean": round(mean), "draws_high": round(most), "same_models": round(exact),
        "alone_held": least <= exact <= most,
        "sigmas": round((exact - mean) / max(float(drawn.totals["total"].std()), 1e-9), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(101, 111)))
    parser.add_argument("--people", type=int, default=5_000)
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            book = Path(folder) / "book"
            cli = [sys.executable, "-m", "clientbook.cli"]
            for asked in (
                ["demo", book, "--seed", str(seed), "--people", str(options.people)],
                ["run", book, "--only", "matching", "--out", Path(folder) / "reports"],
            ):
                subprocess.run([*cli, *map(str, asked)], check=True, capture_output=True)
            rows.append({"seed": seed, **judge(book)})
        print(pd.DataFrame(rows).tail(1).to_string(index=False, header=len(rows) == 1), flush=True)
    frame = pd.DataFrame(rows)
    print(f"\nwith identity uncertainty held {frame['held'].mean():.0%}, the draws alone {frame['alone_held'].mean():.0%} "
          f"of {len(frame)} companies; true totals are {np.mean(frame['off']):+.2%} beside on average")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
