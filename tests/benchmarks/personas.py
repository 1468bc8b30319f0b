"""Are the personas that are found those that were made? The adjusted Rand index on made companies.

By hand: `python tests/benchmarks/personas.py [--seeds 411 …] [--people N] [--folder DIR]`. A company that is in the folder
already, with a run up to the journeys, is scored as it is. The truth is read to score, and for nothing else. Beside it stands
what a classifier reaches that is taught who was made as what, on customers that it was not taught: so much can be told at all
from what is seen of them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import ibis
import numpy as np
from companies import made
from measuring import show
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from clientbook.book import open_book
from clientbook.customers import with_customer
from clientbook.engine import open as open_engine
from clientbook.segments import found

READ = ("orders", "returns", "products", "events", "content", "opportunity_people", "identities", "customers", "resolved_accounts")
FEWEST_ORDERS = (1, 3, 8)


def judged(place: Path) -> tuple[list[str], str]:
    """The index of customers with so many orders and more, and what was found."""
    book = open_book(place)
    run = book.run("latest")
    with tempfile.TemporaryDirectory() as scratch, open_engine("duckdb", scratch=Path(scratch)) as engine:
        tables = {name: engine.read_parquet(run.path(name)) if name in run.tables else None for name in READ}
        cells = engine.keep(found.seen(tables, book.settings.timezone))
        kinds = found.find(cells)
        members = found.belong(cells, kinds)
        people, humans = (engine.read_parquet(place / "truth" / f"{name}.parquet") for name in ("people", "humans"))
        records = people.select(person_source="source", person_id="person_id", human_id="human_id")
        owner = with_customer(records, tables["identities"]).group_by("customer_id").agg(human_id=ibis._["human_id"].mode())
        true = owner.inner_join(humans.select("human_id", true="persona"), "human_id")
        orders = cells.filter(cells["aspect"] == "source").group_by("customer_id").agg(orders=ibis._["n"].sum())
        rows = members.inner_join(true, "customer_id").inner_join(orders, "customer_id").to_pandas()
        counted = cells.to_pandas().pivot_table(index="customer_id", columns=["aspect", "value"], values="n", fill_value=0)
    rows = rows.sort_values("customer_id", ignore_index=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=1)
    pupil = RandomForestClassifier(300, min_samples_leaf=3, random_state=1)
    rows["taught"] = cross_val_predict(pupil, np.asarray(counted.reindex(rows["customer_id"])), rows["true"], cv=folds)
    told = []
    for least in FEWEST_ORDERS:
        part = rows[rows["orders"] >= least]
        scores = [adjusted_rand_score(part["true"], part[by]) for by in ("found_persona", "taught")]
        told.append(f"{scores[0]:.3f}, taught {scores[1]:.3f} (n {len(part):,})")
    return told, f"{len(kinds.names)} kinds, stability {kinds.stability:.2f}"


def main() -> None:
    """Make the companies, find their personas, and print how far they are those that were made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[411, 412, 413])
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--folder", default=None, help="where to make them; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for seed in given.seeds:
            told, words = judged(made(Path(given.folder or temporary) / f"s{seed}", seed, given.people, "matching"))
            lines = [(f"{least} orders and more", one, "0.6") for least, one in zip(FEWEST_ORDERS, told, strict=True)]
            show(f"Company {seed}: {words}", lines)


if __name__ == "__main__":
    main()
