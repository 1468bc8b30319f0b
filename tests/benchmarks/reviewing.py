"""What do answers bring? Questions chosen by the tool and answered from the truth, on made companies of fresh seeds.

    python tests/benchmarks/reviewing.py SEED [SEED ...] [--people 20000] [--labels 300] [--at-once 50] [--folder DIR]

A company of each seed is made and cleaned in DIR. The truth answers what is asked and scores what comes of it, and nothing else
reads it. A run takes some two minutes a seed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd
from matching import book_tables, pair_scores

from clientbook import cleaning, matching
from clientbook import engine as engines
from clientbook.book import make_company, open_book
from clientbook.matching import labels as told


def cleaned(folder: Path, seed: int, people: int) -> Path:
    """A made company whose tables are cleaned as a run does it."""
    book = folder / f"seed{seed}"
    tables = book / "store" / "runs" / "bench" / "tables"
    if not tables.is_dir():
        make_company(book, people=people, seed=seed)
        opened = open_book(book)
        with engines.open(scratch=book / "store" / "scratch") as engine:
            loaded = cleaning.load(opened, engine)
            made = cleaning.clean(opened, engine, opened.settings.as_of or pd.Timestamp("2026-07-01").date(), loaded)
            tables.mkdir(parents=True)
            for name in matching.STAGE.uses:
                if made.tables.get(name) is not None:
                    engine.write_parquet(made.tables[name], tables / f"{name}.parquet")
    return book


def scores(matched, tables, truth: pd.DataFrame) -> dict[str, float]:
    """Of records with data, the pairs that are right."""
    known = tables["people"].select("source", "person_id").to_pandas()
    known = known.merge(matched.tables["identities"].to_pandas(), on=["source", "person_id"])
    known = known.merge(truth[["source", "person_id", "human_id"]], on=["source", "person_id"])
    return pair_scores(known["human_id"], known["customer_id"])


def answered(rows: pd.DataFrame, human: dict, already: int) -> pd.DataFrame:
    """What the truth says of questions."""
    ends = [list(zip(rows[f"source_{side}"], rows[f"person_id_{side}"], strict=True)) for side in "ab"]
    yes = [human[a] == human[b] for a, b in zip(*ends, strict=True)]
    rows = rows.assign(answer=["yes" if one else "no" for one in yes], labelled_at="", note="")
    return rows[[*told.REQUIRED, *told.OPTIONAL]].assign(row=range(already + 2, already + 2 + len(rows)))


def measure(book: Path, asked: int, at_once: int) -> dict[str, float]:
    """One company: before, after so many answers, and what the answers say of it."""
    truth = pd.read_parquet(book / "truth" / "people.parquet")
    human = {(s, i): h for s, i, h in truth[["source", "person_id", "human_id"]].itertuples(index=False)}
    parameters = matching.MatchingParameters()
    labels = told.read(None)
    row: dict[str, float] = {}
    while True:
        with engines.open(scratch=book / "store" / "scratch") as engine:
            tables = book_tables(book, engine)
            matched = matching.match(tables, engine, "DE", parameters, labels=labels)
            found = scores(matched, tables, truth)
            rows = matched.tables["review_pairs"].order_by("turn").to_pandas()
        row.setdefault("before", found["f1"])
        row[f"f1_{len(labels)}"] = found["f1"]
        if len(labels) >= asked:
            break
        rows = rows.head(min(at_once, asked - len(labels)))
        labels = pd.concat([labels, answered(rows, human, len(labels))], ignore_index=True)
    row |= {"brought": (found["f1"] - row["before"]) / (1 - row["before"])}
    for one in matched.followed.estimated.itertuples():
        true = found[one.what]
        row |= {one.what: true, f"{one.what}_estimated": one.estimated, f"{one.what}_low": one.low, f"{one.what}_high": one.high,
                f"{one.what}_covered": one.low <= true <= one.high}  # fmt: skip
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/reviewing"))
    parser.add_argument("--keep", action="store_true", help="keep the companies")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        book = cleaned(options.folder, seed, options.people)
        rows.append({"seed": seed, **measure(book, options.labels, options.at_once)})
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
        if not options.keep:
            shutil.rmtree(book)
    told_ = pd.DataFrame(rows)
    brought = told_["brought"]
    print(f"\nBrought of what was missing: {brought.mean():.1%} ({brought.min():.1%} to {brought.max():.1%})")
    for what in ("precision", "recall"):
        print(f"{what}: covered in {told_[f'{what}_covered'].sum()} of {len(told_)}")


if __name__ == "__main__":
    main()
