"""How right, how well calibrated and how fast is `05_journeys`? By hand:

    python tests/benchmarks/journeys.py stages BOOK      # a made company with a run
    python tests/benchmarks/journeys.py effects BOOK …   # several, each with a run: the planted effects
    python tests/benchmarks/journeys.py speed            # a million journeys, fifty million events

The truth is read here alone, to score.
"""

from __future__ import annotations

import argparse
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


def stages(folder: Path) -> None:
    """The current stage against the truth, and against what came next."""
    with tempfile.TemporaryDirectory() as scratch, engines.open(scratch=Path(scratch)) as engine:
        book, as_of, tables, subject, who, timeline, told, _, ways = opened(folder, engine)
        zone, seen = book.settings.timezone, journeys.seen_of(ways)
        reading = journeys.read_stages(seen, told, as_of, engine, zone=zone)
        truth = truth_of(book, engine, journeys.TRUTH)
        found = journeys.score(ways, seen, reading, told, who, subject, as_of, truth, zone=zone)
        print(found.round(4).to_string(index=False))
        if len(found):
            right = found.set_index("rule")["right"]
            own, last, best = right.iloc[0], right["stage of the last event"], right.iloc[4]
            show(f"Current stage, {folder.name}", [
                ("points above the last event", f"{100 * (own - last):.1f}", "at least 5"),
                ("points below the true model", f"{100 * (best - own):.1f}", "at most 2"),
                ("expected calibration error", f"{found['calibration_error'].iloc[0]:.3f}", "at most 0.05"),
            ])  # fmt: skip
        ahead = journeys.foresight(seen, told, as_of, zone=zone, window_days=30)
        print(ahead["table"].round(4).to_string(index=False))
        print(journeys.reached(journeys.best_times(tables, timeline, zone), who, truth).round(4).to_string(index=False))


def effects(folders: list[Path]) -> None:
    """The planted effects: is their order found, and does each interval hold the true one?"""
    rows = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch, engines.open(scratch=Path(scratch)) as engine:
            book, as_of, tables, subject, who, timeline, told, evidence, ways = opened(folder, engine)
            zone = book.settings.timezone
            reading = journeys.read_stages(journeys.seen_of(ways), told, as_of, engine, zone=zone)
            found = journeys.moments(
                timeline, journeys.restaged(ways, reading, engine), evidence, as_of, zone=zone, window_days=30,
                engine=engine, known=journeys.acquaintance(tables, who, subject),
                others=journeys.next_order_effects(tables, timeline, who, as_of, zone=zone), **SPAN,
            )  # fmt: skip
            found = found[found["stage"].isna() | (found["event_name"] + found["stage"] == "sample_sentdecide")]
            truth = truth_of(book, engine, ["effects"])["effects"].to_pandas().set_index("effect")["difference"]
            found = found.assign(book=folder.name, true=found["event_name"].replace(EFFECTS).map(truth))
            rows.append(found[["book", "event_name", "n", "true", "ordered_effect", "ordered_low", "ordered_high"]])
            print(rows[-1].round(4).to_string(index=False), flush=True)
    told = pd.concat(rows)
    told["held"] = (told["ordered_low"] <= told["true"]) & (told["true"] <= told["ordered_high"])
    told["off"] = told["ordered_effect"] - told["true"]
    print(told.groupby("event_name").agg(books=("held", "size"), held=("held", "mean"), off=("off", "mean")))
    order = told.groupby("book")[["true", "ordered_effect"]].apply(
        lambda t: t["true"].rank().equals(t["ordered_effect"].rank())
    )
    show("Planted effects", [
        ("true effect within the interval", f"{told['held'].mean():.0%} of {len(told)}", "at least 90 %"),
        ("order of all effects found", f"{order.sum()} of {len(order)} books", "found"),
    ])  # fmt: skip


READING = """
import time, numpy as np, pandas as pd
from clientbook.journeys import model as hidden, inference
from clientbook.tables import STAGES
rng = np.random.default_rng(1)
ways = {ways}
size = 1 + rng.geometric(0.1, ways)
lane = np.repeat(np.arange(ways), size)
n = len(lane)
at = np.sort(rng.integers(0, 1000 * 86_400, n)) * 1_000_000
at = at[np.lexsort((rng.random(n), np.zeros(n)))]
at = at[np.lexsort((at, lane))]
mark = rng.choice([hidden.VISIT] * 18 + [hidden.PASSIVE, hidden.LATER_ORDER], n).astype(np.int8)
seen = inference.Seen(lane, np.arange(n), at, rng.integers(0, 28, n).astype(np.int32), mark, np.zeros(n, np.int32),
                      np.zeros(n, np.int8), mark == hidden.LATER_ORDER)
table = pd.DataFrame(rng.dirichlet(np.ones(6) * 0.3, 28), columns=list(STAGES)).assign(events=1000.0, event_name="e")
class Keep:
    def scratch_file(self, ending):
        import tempfile
        from pathlib import Path
        return Path(tempfile.mkdtemp()) / ("x" + ending)
    def read_parquet(self, path):
        return path
import datetime as dt
began, cpu = time.perf_counter(), time.process_time()
inference.read_stages(seen, table, dt.date(1972, 10, 1), Keep(), zone="UTC")
print(n, time.perf_counter() - began, time.process_time() - cpu)
"""

EVENTS = """
import ibis, time, resource
from pathlib import Path
import tempfile
from clientbook import engine as engines, journeys
scratch = tempfile.mkdtemp()
with engines.open(scratch=Path(scratch), memory="4GB") as engine:
    path = engine.scratch_file(".parquet")
    engine._ask(f\"\"\"COPY (SELECT 's' || lpad((hash(i) % {subjects})::VARCHAR, 8, '0') AS subject_id,
        TIMESTAMP '2024-01-01' + INTERVAL (hash(i + 1) % 63072000) SECOND AS occurred_at,
        'event_' || (hash(i + 2) % 25)::VARCHAR AS event_name, i AS arrival, 'event' AS kind
        FROM range({events}) AS t(i)) TO '{{path}}' (FORMAT parquet)\"\"\")
    events = engine.read_parquet(path)
    began, cpu = time.perf_counter(), time.process_time()
    ordered = engine.keep(events.order_by("subject_id", "occurred_at", "arrival"))
    a = time.perf_counter()
    engine.keep(journeys.event_transitions(ordered))
    b = time.perf_counter()
    engine.keep(journeys.variants(ordered))
    c = time.perf_counter()
print(a - began, b - a, c - b, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def speed(ways: int, events: int) -> None:
    """A million journeys read, fifty million events in order, their transitions and variants."""
    run = measure_python(READING.format(ways=ways))
    n, seconds, cpu = (float(word) for word in run.printed.split()[-3:])
    show(f"{ways:,} journeys, {n:,.0f} steps", [
        ("seconds to fit and read them", f"{seconds:.0f} (CPU {cpu:.0f})", "under 120 for a million"),
        ("peak memory, GB", f"{run.megabytes / 1e3:.1f}", "6"),
    ])  # fmt: skip
    run = measure_python(EVENTS.format(events=events, subjects=max(events // 50, 1)))
    line, pairs, ways_, cpu, _ = (float(word) for word in run.printed.split()[-5:])
    show(f"{events:,} events", [
        ("timeline, transitions, variants: seconds", f"{line:.0f} + {pairs:.0f} + {ways_:.0f}", "under 120"),
        ("CPU seconds", f"{cpu:.0f}", ""),
        ("peak memory, GB", f"{run.megabytes / 1e3:.1f}", "6"),
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("stages", "effects", "speed"))
    parser.add_argument("books", nargs="*", type=Path)
    parser.add_argument("--ways", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=50_000_000)
    given = parser.parse_args()
    began = time.perf_counter()
    if given.what == "stages":
        for each in given.books:
            stages(each)
    elif given.what == "effects":
        effects(given.books)
    else:
        speed(given.ways, given.events)
    print(f"{time.perf_counter() - began:.0f} s")
