"""What do answers bring? Questions chosen by the tool and answered from the truth, on made companies of fresh seeds.

    python tests/benchmarks/reviewing.py SEED [SEED ...] [--people 20000] [--labels 300] [--at-once 10] [--folder DIR]

A company of each seed is made and cleaned in DIR. The truth answers what is asked and scores what comes of it, and nothing else
reads it. A run takes some two minutes a seed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from matching import book_tables, pair_scores

from clientbook import cleaning, matching
from clientbook import engine as engines
from clientbook.book import make_company, open_book
from clientbook.matching import labels as told
from clientbook.matching import sitting


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


def missing(matched, tables, truth: pd.DataFrame, answers: int) -> dict[str, float]:
    """What is wrong, as pairs of records with data, and how much of it so many answers put right that are chosen with hindsight?

    A `yes` joins two customers, a `no` cuts one human's records off a customer; each counts by itself, the largest first. Once
    any two customers may be asked about, once only those of which two records were compared.
    """
    known = matched.numbered.select("source", "person_id", "unique_id").to_pandas()
    known = known.merge(matched.tables["identities"].to_pandas(), on=["source", "person_id"])
    known = known.merge(tables["people"].select("source", "person_id").distinct().to_pandas(), on=["source", "person_id"])
    known = known.merge(truth[["source", "person_id", "human_id"]], on=["source", "person_id"])
    known["c"] = pd.factorize(known["customer_id"])[0]
    size, n = known.groupby("c").size().to_numpy(), int(known["c"].max()) + 1
    parts = known.groupby(["c", "human_id"]).size().rename("n").reset_index()
    torn = parts.merge(parts, on="human_id", suffixes=("", "_other"))
    torn = torn[torn["c"] < torn["c_other"]]
    torn["key"], torn["pairs"] = torn["c"] * n + torn["c_other"], torn["n"] * torn["n_other"]
    at = known.set_index("unique_id")["c"]
    edges = matched.scored.edges
    a, b = at.reindex(edges["l"]).to_numpy(), at.reindex(edges["r"]).to_numpy()
    there = ~np.isnan(a) & ~np.isnan(b)
    keys = np.unique(np.minimum(a, b)[there] * n + np.maximum(a, b)[there])
    torn["compared"] = np.isin(torn["key"], keys)
    torn["gain"] = 2 * torn["pairs"] - size[torn["c"]] * size[torn["c_other"]]
    mixed = parts.sort_values(["c", "n", "human_id"])
    mixed["gain"] = mixed["n"] * (mixed.groupby("c")["n"].transform("sum") - mixed.groupby("c")["n"].cumsum())
    wrong = {"apart": torn["pairs"].sum(), "never": torn.loc[~torn["compared"], "pairs"].sum(), "together": mixed["gain"].sum()}
    every = wrong["apart"] + wrong["together"]
    told = {f"wrong_{name}": float(value) for name, value in wrong.items()}
    for name, some in (("bound", torn[torn["compared"]]), ("bound_of_all", torn)):
        gains = np.sort(np.r_[some["gain"], mixed["gain"]])[::-1]
        told[name] = float(gains[:answers].clip(min=0).sum() / max(every, 1))
    return told


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
    with engines.open(scratch=book / "store" / "scratch") as engine:
        tables = book_tables(book, engine)
        matched = matching.match(tables, engine, "DE", parameters)
        found = scores(matched, tables, truth)
        row = {"before": found["f1"], **missing(matched, tables, truth, asked)}
        rows = matched.tables["review_pairs"].order_by("turn").to_pandas()
        while len(labels) < asked:
            # as the widget does it
            rows = rows.head(min(at_once, asked - len(labels)))
            labels = pd.concat([labels, answered(rows, human, len(labels))], ignore_index=True)
            rows = matched.again(labels)[2]
        matched = matching.match(tables, engine, "DE", parameters, labels=labels)
        found = scores(matched, tables, truth)
    row |= {"after": found["f1"]}
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
    parser.add_argument("--at-once", type=int, default=sitting.AFRESH, help="so many answers, and it is asked anew")
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
