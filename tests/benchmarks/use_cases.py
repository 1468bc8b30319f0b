"""Does each use case's interval hold what the decision truly brings? On made companies whose truth is known.

By hand: `python tests/benchmarks/use_cases.py [--seeds 101 …] [--people N] [--folder DIR]`. A company that is in the folder
already, with a run up to the audit of messages, is scored as it is. The truth is read to score, and for nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from companies import made
from measuring import show

from clientbook import use_cases
from clientbook.book import open_book
from clientbook.engine import open as open_engine

ASKED = 0.9
TRUTH = ("people", "value", "effects", "experiments", "messages", "responsiveness", "content", "response_model")


def judged(place: Path) -> pd.DataFrame:
    """Each use case's extra margin, its interval and what it truly is."""
    book = open_book(place)
    run, p = book.run("latest"), use_cases.UseCasesParameters()
    with tempfile.TemporaryDirectory() as scratch, open_engine("duckdb", scratch=Path(scratch)) as engine:
        names = (*use_cases.STAGE.needs, *use_cases.STAGE.uses)
        tables = {name: engine.read_parquet(run.path(name)) if name in run.tables else None for name in names}
        done = use_cases.study(tables, book.settings, run.as_of, p, engine)
        truth = {name: engine.read_parquet(place / "truth" / f"{name}.parquet") for name in TRUTH}
        return use_cases.score(done, tables["identities"], truth, p, run.as_of, book.settings.timezone)


def main() -> None:
    """Make the companies, score them, and show how often each interval holds the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(101, 111)))
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--folder", default=None, help="where to make them; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        rows = []
        for seed in given.seeds:
            rows.append(judged(made(folder / f"s{seed}", seed, given.people, "content")).assign(seed=seed))
            print(rows[-1].round(0).to_string(index=False, header=len(rows) == 1), flush=True)
    told = pd.concat(rows, ignore_index=True)
    for name, part in told.groupby("use_case", sort=False):
        print(f"\n{name}")
        part = part.assign(interval=["inside" if one else "OUTSIDE" for one in part["inside"]])
        print(part[["seed", "true_extra", "extra", "low", "high", "interval"]].round(0).to_string(index=False))
    each = told.groupby("use_case", sort=False).agg(inside=("inside", "sum"), seeds=("inside", "size"))
    lines = [(name, f"{row.inside} of {row.seeds}", f"{ASKED:.0%}") for name, row in each.iterrows()]
    show("Made companies in which the interval holds the true extra margin", lines)


if __name__ == "__main__":
    main()
