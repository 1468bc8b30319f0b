"""How right, how well calibrated and how fast is `05_journeys`? By hand:

    python tests/benchmarks/journeys.py seeds BOOK …     # made companies, each with a run: stages, effects, best times
    python tests/benchmarks/journeys.py speed            # a million journeys, fifty million events
    python tests/benchmarks/journeys.py pm4py PYTHON     # the same counts by pm4py, which a Python of its own has

The truth is read here alone, to score.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from measuring import measure_python, show

from clientbook import engine as engines
from clientbook import journeys
from clientbook.book import open_book

SPAN = {"gap_days": 90}
EFFECTS = {"mailing_test": "spring_offer"}
PLANTED = ("late_delivery", "complaint_handled_badly", "complaint_handled_well", "mailing_test", "sample_sent")


def opened(folder: Path, engine):
    """A book's last run, read for journeys."""
    book = open_book(folder)
    run = book.store.run("latest")
    tables = {name: run.read(name, engine.connection) if name in run.tables else None for name in journeys.READS}
    subject = journeys.choose_subject(book.settings.journeys.subject, tables["resolved_accounts"])
    who = journeys.who_is_who(tables, engine)
    timeline = engine.keep(journeys.compose(tables, subject, engine, who))
    told = journeys.stage_table_of(timeline, book.settings.journeys.stages)
    evidence = journeys.as_evidence(told)
    ways = journeys.follow(timeline, evidence, engine, zone=book.settings.timezone, **SPAN)
    return book, run.as_of, tables, subject, who, timeline, told, evidence, ways


def truth_of(book, engine, names) -> dict:
    files = {name: book.folder / "truth" / f"{name}.parquet" for name in names}
    return {name: engine.read_parquet(path) if path.is_file() else None for name, path in files.items()}


def judged(folder: Path) -> tuple[dict, pd.DataFrame]:
    """One made company: how right stages, foresight and best times are; and its planted effects, found and true."""
    with tempfile.TemporaryDirectory() as scratch, engines.open(scratch=Path(scratch)) as engine:
        book, as_of, tables, subject, who, timeline, told, evidence, ways = opened(folder, engine)
        zone, seen = book.settings.timezone, journeys.seen_of(ways)
        reading = journeys.read_stages(seen, told, as_of, engine, zone=zone)
        truth = truth_of(book, engine, journeys.TRUTH)
        found = journeys.score(ways, seen, reading, told, who, subject, as_of, truth, zone=zone)
        right = found.set_index("rule")["right"]
        ahead = journeys.foresight(seen, told, as_of, zone=zone, window_days=30)["table"]
        best = journeys.best_times(tables, timeline, zone)
        row = {
            "book": folder.name, "stage": right.iloc[0], "last event": right["stage of the last event"],
            "true model": right.iloc[4], "off by": found["calibration_error"].iloc[0],
            "AUC": ahead["auc"].iloc[0], "AUC last event": ahead["auc"].iloc[1],
            "AUC off by": ahead["calibration_error"].iloc[0],
            "best times": journeys.reached(best, who, truth)["of_best"].iloc[0],
        }  # fmt: skip
        moved = journeys.moments(
            timeline, journeys.restaged(ways, reading, engine), evidence, as_of, zone=zone, window_days=30,
            engine=engine, known=journeys.acquaintance(tables, who, subject),
            others=journeys.next_order_effects(tables, timeline, who, as_of, zone=zone), **SPAN,
        )  # fmt: skip
        # of effects on what comes after a purchase, those on the next order: referrals have rows of their own
        own = moved["stage"].isna() & moved["outcome"].fillna("order").str.contains("order")
        moved = moved[moved["event_name"].isin(PLANTED) & (own | (moved["stage"] == "decide"))]
        true = truth_of(book, engine, ["effects"])["effects"].to_pandas().set_index("effect")["difference"]
        moved = moved.assign(book=folder.name, true=moved["event_name"].replace(EFFECTS).map(true))
        return row, moved[["book", "event_name", "n", "true", "ordered_effect", "ordered_low", "ordered_high"]]


def seeds(folders: list[Path]) -> None:
    """Several made companies: every number that is asked of each, and over all of them."""
    rows, moved = [], []
    for folder in folders:
        row, effects = judged(folder)
        rows.append(row)
        moved.append(effects)
        print(pd.DataFrame([row]).round(4).to_string(index=False), effects.round(4).to_string(index=False), sep="\n", flush=True)
    table, told = pd.DataFrame(rows), pd.concat(moved)
    told["held"] = (told["ordered_low"] <= told["true"]) & (told["true"] <= told["ordered_high"])
    told["off"] = told["ordered_effect"] - told["true"]
    print(told.groupby("event_name").agg(books=("held", "size"), held=("held", "mean"), off=("off", "mean")))
    order = told.groupby("book")[["true", "ordered_effect"]].apply(lambda t: t["true"].rank().equals(t["ordered_effect"].rank()))
    least = told.groupby("event_name")["held"].mean().min()
    low, high, mean = table.min(numeric_only=True), table.max(numeric_only=True), table.mean(numeric_only=True)
    ahead, behind = 100 * (table["stage"] - table["last event"]), 100 * (table["true model"] - table["stage"])
    show(f"{len(table)} made companies", [
        ("points above the last event", f"{ahead.min():.1f} to {ahead.max():.1f}", "at least 5"),
        ("points below the true model", f"{behind.min():.1f} to {behind.max():.1f}", "at most 2"),
        ("expected calibration error", f"{low['off by']:.3f} to {high['off by']:.3f}", "at most 0.05"),
        ("orders in 30 days: AUC, and by the last event", f"{mean['AUC']:.3f}, {mean['AUC last event']:.3f}", ""),
        ("answers by best times, of full knowledge's", f"{low['best times']:.1%} to {high['best times']:.1%}", "at least 80 %"),
        ("true effects within the interval", f"{told['held'].mean():.0%} of {len(told)}; the worst {least:.0%}", "at least 90 %"),
        ("order of all effects found", f"{order.sum()} of {len(order)} books", "found"),
    ])  # fmt: skip


READING = """
import datetime as dt, tempfile, time
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet as pq
from clientbook import engine as engines, journeys
from clientbook.journeys import model as hidden
from clientbook.journeys.stages import Ways
from clientbook.tables import STAGES
rng = np.random.default_rng(1)
ways = {ways}
size = 1 + rng.geometric(0.1, ways)
lane = np.repeat(np.arange(ways), size)
n = len(lane)
at = rng.integers(0, 1000 * 86_400, n) * 1_000_000
at = at[np.lexsort((at, lane))]
mark = rng.choice([hidden.VISIT] * 18 + [hidden.PASSIVE, hidden.LATER_ORDER], n)
steps = dict(lane=lane, place=np.arange(n), occurred_at=at.astype("datetime64[us]"), code=rng.integers(0, 28, n), mark=mark,
             deals=np.zeros(n, np.int64), told_level=np.zeros(n, np.int64), level=np.zeros(n, np.int64),
             bought=mark == hidden.LATER_ORDER)
table = pd.DataFrame(rng.dirichlet(np.ones(6) * 0.3, 28), columns=list(STAGES)).assign(events=1000.0, event_name="e")
with engines.open(scratch=Path(tempfile.mkdtemp()), memory="3GB") as engine:
    path = engine.scratch_file(".parquet")
    pq.write_table(pa.table(steps), path, row_group_size=122_880)
    del lane, at, mark, steps
    began, cpu = time.perf_counter(), time.process_time()
    seen = journeys.seen_of(Ways(None, engine.read_parquet(path), engine))
    journeys.read_stages(seen, table, dt.date(1972, 10, 1), engine, zone="UTC")
    print(n, time.perf_counter() - began, time.process_time() - cpu)
"""

EVENTS = """
import ibis, time, resource
from pathlib import Path
import tempfile
from clientbook import engine as engines, journeys
scratch = tempfile.mkdtemp()
with engines.open(scratch=Path(scratch), memory="4GB") as engine:
    path = Path("{path}") if "{path}" else engine.scratch_file(".parquet")
    if not path.is_file():
        engine._ask(f\"\"\"COPY (SELECT 's' || lpad((hash(i) % {subjects})::VARCHAR, 8, '0') AS subject_id,
            TIMESTAMP '2024-01-01' + INTERVAL (hash(i + 1) % 63072000) SECOND AS occurred_at,
            'event_' || (hash(i + 2) % 25)::VARCHAR AS event_name, i AS arrival, 'event' AS kind
            FROM range({events}) AS t(i)) TO '{{path}}' (FORMAT parquet)\"\"\")
    events = engine.read_parquet(path)
    began, cpu = time.perf_counter(), time.process_time()
    # pm4py writes no timeline: beside it the events are counted as they came
    ordered = engine.keep(events.order_by("subject_id", "occurred_at", "arrival")) if not "{path}" else events
    a = time.perf_counter()
    done = journeys.sequences(ordered)
    pairs = engine.keep(journeys.event_transitions(done))
    b = time.perf_counter()
    ways = engine.keep(journeys.variants(done))
    c = time.perf_counter()
    cpu = time.process_time() - cpu
    told = [pairs.count(), pairs["n"].sum(), ways.count(), ways["n"].max()]
    print(*(each.to_pyarrow().as_py() for each in told))
print(a - began, b - a, c - b, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""

# run by another Python, which has pm4py: the frame is read before the clock starts
PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd, pm4py
rows = pd.read_parquet(sys.argv[1], columns=["subject_id", "event_name", "occurred_at", "arrival"])
began = time.process_time()
rows = rows.sort_values(["subject_id", "occurred_at", "arrival"], kind="stable")
rows = pm4py.format_dataframe(rows, case_id="subject_id", activity_key="event_name", timestamp_key="occurred_at")
pairs, _, _ = pm4py.discover_dfg(rows)
ways = pm4py.get_variants(rows)
cpu = time.process_time() - began
sizes = [v if isinstance(v, int) else len(v) for v in ways.values()]
print(len(pairs), sum(pairs.values()), len(sizes), max(sizes))
print(cpu)
"""


def peer(python: Path, events: int) -> None:
    """The same transitions and variants of the same events, by us and by pm4py, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        own = measure_python(EVENTS.format(events=events, subjects=max(events // 50, 1), path=path)).printed.split()
        run = subprocess.run([str(python), "-c", PEER, str(path)], capture_output=True, text=True, check=True)
        theirs = run.stdout.split()[-5:]
    show(f"{events:,} events, beside pm4py", [
        ("CPU seconds", f"{float(own[-2]):.1f} and {float(theirs[-1]):.1f}", ""),
        ("times less", f"{float(theirs[-1]) / float(own[-2]):.1f}", "at least 5"),
        ("the same counts", str(own[:4] == theirs[:4]), "True"),
    ])  # fmt: skip


def speed(ways: int, events: int) -> None:
    """A million journeys read, fifty million events in order, their transitions and variants."""
    run = measure_python(READING.format(ways=ways))
    n, seconds, cpu = (float(word) for word in run.printed.split()[-3:])
    show(f"{ways:,} journeys, {n:,.0f} steps", [
        ("seconds to fit and read them", f"{seconds:.0f} (CPU {cpu:.0f})", "under 120 for a million"),
        ("peak memory, GB", f"{run.megabytes / 1e3:.1f}", "6"),
    ])  # fmt: skip
    run = measure_python(EVENTS.format(events=events, subjects=max(events // 50, 1), path=""))
    line, pairs, ways_, cpu, _ = (float(word) for word in run.printed.split()[-5:])
    show(f"{events:,} events", [
        ("timeline, transitions, variants: seconds", f"{line:.0f} + {pairs:.0f} + {ways_:.0f}", "under 120"),
        ("CPU seconds", f"{cpu:.0f}", ""),
        ("peak memory, GB", f"{run.megabytes / 1e3:.1f}", "6"),
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("seeds", "speed", "pm4py"))
    parser.add_argument("books", nargs="*", type=Path)
    parser.add_argument("--ways", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=50_000_000)
    given = parser.parse_args()
    began = time.perf_counter()
    if given.what == "seeds":
        seeds(given.books)
    elif given.what == "pm4py":
        peer(given.books[0], min(given.events, 10_000_000))
    else:
        speed(given.ways, given.events)
    print(f"{time.perf_counter() - began:.0f} s")
