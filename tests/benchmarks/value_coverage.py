"""Do the intervals of value hold what came? On real books and on made companies, from several days each.

By hand: `python tests/benchmarks/value_coverage.py [--retail BOOK] [--cdnow BOOK] [--seeds 11 12 …] [--people N]`. A
book is a
folder with a run that has cleaning and matching. Everything that an interval rests on is learned from before its day.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
from companies import made

from clientbook import value
from clientbook.store import Store

CDNOW = [
    ("1997-07-01", 182),
    ("1997-08-01", 273),
    ("1997-10-01", 273),
    ("1997-12-01", 182),
    ("1998-01-01", 181),
    ("1998-03-01", 122),
]
RETAIL = [
    ("2010-06-07", 182),
    ("2010-09-07", 182),
    ("2010-12-07", 182),
    ("2011-03-07", 182),
    ("2011-06-07", 182),
    ("2010-12-10", 365),
]
MADE = [("2024-07-01", 365), ("2024-10-01", 365), ("2025-01-01", 365), ("2025-04-01", 365), ("2025-07-01", 365)]
TOTAL, ONE = 0.95, 0.80


def judge(book: ibis.Table, origin: dt.date, days: int) -> dict:
    """What would a run of that day have foreseen of so many days, and what came?"""
    p = value.ValueParameters(holdout_days=None)
    start = ibis.date(origin.isoformat())
    seen = book.filter(book["known_on"] < start)
    whose = value.key(book)
    bought = book.filter(book["is_purchase"]).select(*whose, "day", "amount")
    try:
        backs = value.look_back_often(seen, origin, p)
        scores = pd.concat([back.scores for back in backs], ignore_index=True)
        chosen, _ = value.choose(scores)
        covered = [value.coverage(back, chosen, draws=200, seed=1)[0] for back in backs if chosen in back.models]
        level = value.calibrated_level(value.LEVELS, covered, ONE)
        errors = [e for back in backs if chosen in back.models and (e := back.error(chosen)) is not None]
    except value.TooFew:
        chosen, level, errors = "MBG/NBD", ONE, []
    back = value.hindsight(book, [(origin, days)], names=(chosen,), boosting=False)[0]
    found, chance = value.coverage(back, chosen, draws=200, seed=1)
    swing = value.resampled(back.models[chosen], value.compress(value.summarise(bought, origin)), days, 1)
    foreseen, came = float(back.margins[chosen].sum()), float(back.known["margin"].sum())
    low, high = value.total_bounds(foreseen, errors, chance, swing, TOTAL)
    own = back.scores.set_index("model").loc[chosen]
    return {
        "origin": origin, "days": days, "model": chosen, "origins_before": len(errors), "rmse": own["rmse"],
        "same_again": back.scores.set_index("model").loc[value.NAIVE, "rmse"], "capture": own["decile_capture"],
        "foreseen": round(foreseen), "came": round(came), "low": round(low), "high": round(high),
        "held": low <= came <= high, "one": round(float(np.interp(level, value.LEVELS, found)), 4), "level": level,
        "as_asked": round(float(np.interp(ONE, value.LEVELS, found)), 4),
    }  # fmt: skip


def table(run, engine, name: str):
    """A table of a run, or None."""
    return run.read(name, engine) if name in run.tables else None


def ledger_of(folder: Path) -> ibis.Table:
    """The ledger of the newest run of a book."""
    run, engine = Store(folder / "store").run("latest"), ibis.duckdb.connect()
    names = ("orders", "returns", "identities", "products", "cases")
    return value.ledger(*(table(run, engine, name) for name in names)).cache()


def truth_of(folder: Path) -> dict:
    """The made company at the day of its run: its total and its ranking beside the true ones."""
    run, engine = Store(folder / "store").run("latest"), ibis.duckdb.connect()
    orders, returns, identities, products, cases = (
        table(run, engine, name) for name in ("orders", "returns", "identities", "products", "cases")
    )
    p = value.ValueParameters(discount_rate=0.0)
    found = value.analyse(orders, returns, identities, products, run.as_of, p, cases=cases)
    people = engine.read_parquet(str(folder / "truth" / "people.parquet"))
    truth = engine.read_parquet(str(folder / "truth" / "value.parquet"))
    customers = found.value.cache()
    score = value.score(customers, identities, people, truth).set_index("ranking")
    known = people.semi_join(orders, [("source", "person_source"), "person_id"]).select("human_id").distinct()
    came = float(truth.semi_join(known, "human_id")["future_margin"].sum().to_pandas())
    return {
        "model": found.chosen, "rank": score.loc["clv", "rank_correlation"],
        "true": score.loc["true parameters", "rank_correlation"],
        "ratio": round(score.loc["clv", "rank_correlation"] / score.loc["true parameters", "rank_correlation"], 4),
        "spent": score.loc["what they spent so far", "rank_correlation"],
        "top_tenth": score.loc["clv", "top_tenth"], "foreseen": round(float(customers["clv"].sum().to_pandas())),
        "came": round(came), "low": round(found.total_low), "high": round(found.total_high),
        "held": found.total_low <= came <= found.total_high,
    }  # fmt: skip


def say(name: str, rows: pd.DataFrame) -> None:
    """Print what was measured beside what was asked for."""
    print(f"\n{name}\n{rows.to_string(index=False)}")
    if "one" in rows:
        print(
            f"total inside its {TOTAL:.0%} interval: {rows['held'].mean():.0%} of {len(rows)} (asked: 85 %); "
            f"single customers inside their {ONE:.0%} interval: {rows['one'].mean():.1%}, "
            f"{rows['one'].min():.1%} to {rows['one'].max():.1%} (asked: 75 to 85 %)"
        )
    else:
        print(
            f"rank correlation as a share of what the true parameters reach: {rows['ratio'].mean():.3f}, "
            f"{rows['ratio'].min():.3f} to {rows['ratio'].max():.3f} (asked: 0.9); "
            f"total inside its interval: {rows['held'].mean():.0%} of {len(rows)}"
        )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--cdnow", type=Path)
    options.add_argument("--retail", type=Path)
    options.add_argument("--seeds", type=int, nargs="*", default=[])
    options.add_argument("--people", type=int, default=5000)
    options.add_argument("--folder", type=Path, help="where made companies are, or are put")
    given = options.parse_args()
    for folder, days in ((given.cdnow, CDNOW), (given.retail, RETAIL)):
        if folder:
            book = ledger_of(folder)
            say(folder.name, pd.DataFrame([judge(book, dt.date.fromisoformat(day), span) for day, span in days]))
    told, true = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in given.seeds:
            folder = (given.folder or Path(scratch)) / str(seed)
            made(folder, seed, given.people, "matching")
            book = ledger_of(folder)
            told += [{"seed": seed} | judge(book, dt.date.fromisoformat(day), span) for day, span in MADE]
            true.append({"seed": seed} | truth_of(folder))
    if told:
        say("made companies, tested on their own past", pd.DataFrame(told))
        say("made companies, against the truth", pd.DataFrame(true))


if __name__ == "__main__":
    main()
