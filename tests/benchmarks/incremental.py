"""Does a day of new records cost what it brings, and do the same customers come out as from a full run?

    python tests/benchmarks/incremental.py BOOK [--days 30] [--share 0.01] [--by created_at|chance] [--every 10]

BOOK is a made company that was cleaned once (`clientbook run BOOK --only cleaning`) and has its `truth/`. Its newest
records, or some by chance, come day by day, so many of all a day; of each day a twentieth are records that were there
before and are told with another telephone number. Every so many days, and on the last, all is matched anew beside. The
seconds are of matching itself: records written for comparison, pairs found, scored and put into groups; reading and
cleaning, golden records, accounts and what is written to disk come on top of either, and are told beside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
from matching import pair_scores

from clientbook import engine as engines
from clientbook import matching
from clientbook.book import Matching as Asked
from clientbook.matching import incremental, standard
from clientbook.store import Run, write_json


def arrivals(people: pd.DataFrame, days: int, share: float, by: str, seed: int) -> np.ndarray:
    """On which day each record is first there; 0 for those known from the beginning."""
    n = len(people)
    order = np.random.default_rng(seed).permutation(n)
    if by == "created_at":
        order = order[np.argsort(people["created_at"].to_numpy("datetime64[ns]")[order], kind="stable")]
    day = np.zeros(n, "int64")
    first = n - round(days * share * n)
    day[order[first:]] = 1 + np.arange(n - first) * days // max(n - first, 1)
    return day


def of_day(people: pd.DataFrame, day: np.ndarray, today: int, share: float, seed: int) -> pd.DataFrame:
    """What is delivered on a day: all that has come, some of it with other numbers than when it came."""
    rows = people[day <= today].copy()
    for passed in range(1, today + 1):
        rng = np.random.default_rng([seed, passed])
        known = np.flatnonzero((day[day <= today] < passed) & rows["phone"].notna().to_numpy())
        changed = rng.choice(known, max(round(share * len(people) / 20), 1), replace=False)
        numbers = rng.integers(10**6, 10**7, len(changed))
        rows.iloc[changed, rows.columns.get_loc("phone")] = [f"+49 30 {number}" for number in numbers]
    return rows


def leave(matched: matching.Matched, folder: Path, engine) -> Run:
    """What a run leaves for the next, on disk as a run has it."""
    run = Run(folder)
    for name in (*(table.name for table in incremental.TABLES), "identities"):
        run.folder.joinpath("tables").mkdir(parents=True, exist_ok=True)
        engine.write_parquet(matched.tables[name], run.folder / "tables" / f"{name}.parquet")
    write_json(run.folder / "models" / f"{incremental.MODEL}.json", matched.training)
    return run


def itself(people, engine, p, left: incremental.Kept | None):
    """The matching itself, and its seconds."""
    asked, persons = Asked(), [("people", people)]
    numbered = engine.number(standard.persons(persons), ["source", "person_id"], "unique_id")
    n = int(numbered.count().to_pyarrow().as_py())
    settings = incremental.settings_of("DE", p, asked)
    began = time.perf_counter()
    if left is None:
        told = matching._all_anew(people, numbered, n, engine, "DE", p, asked)
        told = told[1], told[2], None
    else:
        told = incremental.carry_on(left, people, numbered, n, engine, "DE", p, (), settings)
        if isinstance(told, incremental.Day):
            return time.perf_counter() - began, told
        told = told.scored, told.clustered, told.day
    return time.perf_counter() - began, told


def f1(identities: ibis.Table, truth: pd.DataFrame) -> float:
    known = identities.select("source", "person_id", "customer_id").to_pandas().merge(truth, on=["source", "person_id"])
    return pair_scores(known["human_id"], known["customer_id"])["f1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("book", type=Path)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--by", choices=("created_at", "chance"), default="created_at")
    parser.add_argument("--every", type=int, default=10, help="all is matched anew beside every so many days")
    parser.add_argument("--most-since", type=float, default=incremental.MOST_SINCE, help="the share at which it trains anew")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    incremental.MOST_SINCE = options.most_since
    p = matching.MatchingParameters()
    tables = sorted((options.book / "store" / "runs").iterdir())[-1] / "tables"
    truth = pd.read_parquet(options.book / "truth" / "people.parquet")[["source", "person_id", "human_id"]]
    with tempfile.TemporaryDirectory() as scratch, engines.open(scratch=Path(scratch)) as engine:
        delivered = engine.read_parquet(tables / "people.parquet")
        schema, people = delivered.schema(), delivered.order_by("source", "person_id", "arrival").to_pandas()
        day = arrivals(people, options.days, options.share, options.by, options.seed)
        earlier = None
        print(f"{len(people):,} records; {options.share:.1%} a day, by {options.by}")
        print(f"{'day':>4} {'records':>10} {'new':>7} {'other':>6} {'itself':>8} {'anew':>8} {'times':>6} {'whole':>8} {'F1':>8} "
              f"{'F1 anew':>8} how")  # fmt: skip
        for today in range(options.days + 1):
            frame = of_day(people, day, today, options.share, options.seed)
            rows = engine.keep(ibis.memtable(frame.astype("object").where(frame.notna(), None), schema=schema))
            began = time.perf_counter()
            matched = matching.match({"people": rows}, engine, "DE", p, earlier)
            run = leave(matched, Path(scratch) / "runs" / f"2026-01-01.{today + 1:03d}", engine)
            whole = time.perf_counter() - began
            compare = today and (today % options.every == 0 or today in (1, options.days))
            seconds = anew = full = np.nan
            if compare:
                if matched.day.carried:
                    seconds = min(itself(rows, engine, p, earlier.kept)[0] for _ in range(3))
                anew, _ = itself(rows, engine, p, None)
                full = f1(matching.match({"people": rows}, engine, "DE", p).tables["identities"], truth)
            found, told = f1(matched.tables["identities"], truth), matched.day
            print(f"{today:4} {len(frame):10,} {told.new:7,} {told.changed:6,} {seconds:8.2f} {anew:8.2f} {anew / seconds:6.1f} "
                  f"{whole:8.2f} {found:8.4f} {full:8.4f} {'carried on' if told.carried else told.why}", flush=True)  # fmt: skip
            identities = engine.read_parquet(run.folder / "tables" / "identities.parquet")
            earlier = matching.Before(run.name, identities, None, incremental.kept(run, engine.connection))


if __name__ == "__main__":
    sys.exit(main())
