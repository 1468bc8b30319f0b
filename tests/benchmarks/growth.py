"""How do runs grow? Seconds of each notebook and memory on made companies of several sizes, and time per row beside the smallest.

By hand: `python tests/benchmarks/growth.py [--people 10000 100000] [--book DIR ...] [--ran DIR ...] [--kept FILE] [--figure FILE]`.
The books are made with a seed that nothing was developed on, or are those of `--book`, whose files are linked to and never
written. Of a book under `--ran` nothing is run: what its store says of earlier runs is shown, each notebook as it was executed
last. `--kept` is a table of what was measured before (`growth.csv` beside this file): it is shown too, and what is measured now is
added to it, in place of what it says of as many rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cleaning import linked
from measuring import measure

SEED = 2718
ASKED_RATIO = 1.5


@dataclass(frozen=True)
class Grown:
    """What one book took.

    Parameters
    ----------
    rows
        Delivered, in all files.
    records
        Of people, in all sources.
    seconds
        Of each notebook.
    whole
        Seconds of the run by the wall clock; None where it was not run here.
    megabytes
        The most that all processes of the run held at one time; None where it was not run here.
    """

    rows: int
    records: int
    seconds: dict[str, float]
    whole: float | None = None
    megabytes: float | None = None


def told_by(book: Path) -> Grown:
    """What do a book's runs say of themselves?"""
    rows, records, seconds = 0, 0, {}
    for file in sorted((book / "store" / "runs").glob("*/run.json")):
        told = json.loads(file.read_text())
        rows = sum(one["rows_in"] for one in told.get("rows", [])) or rows
        records = told.get("tables", {}).get("people", {}).get("rows", records)
        for name, one in told["notebooks"].items():
            if one["state"] == "done" and not one["reused"]:
                seconds[name] = one["seconds"]
    return Grown(rows, records, seconds)


def ran(book: Path, reports: Path) -> Grown:
    """Run a book and measure it."""
    took = measure([sys.executable, "-m", "clientbook.cli", "run", str(book), "--fresh", "--out", str(reports)])
    told = told_by(book)
    return Grown(told.rows, told.records, told.seconds, took.seconds, took.megabytes)


_HEAD = ("rows", "records", "notebook", "seconds")


def kept(file: Path) -> list[Grown]:
    """What was measured before; none where there is no such file."""
    by_size: dict[tuple[int, int], dict[str, float]] = {}
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                size = int(row["rows"]), int(row["records"])
                by_size.setdefault(size, {})[row["notebook"]] = float(row["seconds"])
    return [Grown(*size, seconds) for size, seconds in by_size.items()]


def keep(grown: list[Grown], file: Path) -> None:
    """Write it down for the next time."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(_HEAD)
        writer.writerows((one.rows, one.records, *each) for one in grown for each in sorted(one.seconds.items()))


def show(grown: list[Grown]) -> None:
    """Print seconds, and microseconds a row, a column a book."""
    names = sorted({name for one in grown for name in one.seconds}, key=lambda name: (name.startswith("00"), name))
    print(f"\n{'rows delivered':20}" + "".join(f"{one.rows:>26,}" for one in grown))
    print(f"{'records of people':20}" + "".join(f"{one.records:>26,}" for one in grown))
    first = grown[-2] if len(grown) > 1 else grown[0]
    for name in names:
        cells = []
        for one in grown:
            if name not in one.seconds:
                cells.append(f"{'-':>26}")
                continue
            each = one.seconds[name] / one.rows
            beside = f"{each * first.rows / first.seconds[name]:.2f}x" if name in first.seconds else ""
            cells.append(f"{one.seconds[name]:>10.1f} s {each * 1e6:>6.2f} us {beside:>5}")
        print(f"{name:20}" + "".join(cells))
    for what, asked in (("whole", "1,800 s"), ("megabytes", "12,000 MB")):
        told = [getattr(one, what) for one in grown]
        print(f"{what:20}" + "".join(f"{'-' if one is None else f'{one:,.0f}':>26}" for one in told) + f"   1M people: {asked}")
    print(f"The ratio is time per row beside {first.rows:,} rows; asked at 1M people beside 100,000: at most {ASKED_RATIO}x")


def draw(grown: list[Grown], file: Path) -> None:
    """Draw seconds by rows, a line a notebook, beside the slope at which time per row stays the same."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from clientbook.site import palette

    with palette.look():
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        ends = {}
        for name in sorted({name for one in grown for name in one.seconds}):
            points = [(one.rows, one.seconds[name]) for one in grown if name in one.seconds]
            (line,) = axes.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.4)
            ends[name] = (*points[-1], line.get_color())
        least = min(one.rows for one in grown)
        most = max(one.rows for one in grown)
        base = min(second for one in grown for second in one.seconds.values())
        axes.plot([least, most], [base, base * most / least], color="0.6", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="rows delivered", ylabel="seconds")
        axes.xaxis.set_major_formatter(lambda rows, _: f"{rows / 1e6:,.0f} million")
        axes.yaxis.set_major_formatter(lambda seconds, _: f"{seconds:,.0f}")
        for name, (x, y, color) in _apart(ends, axes).items():
            axes.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", color=color, va="center", fontsize=9)
        axes.set_xlim(right=most * 3.2)
        axes.set_title("Seconds of each notebook by rows delivered (dotted: the same time per row)", loc="left", fontsize=11)
        figure.savefig(file)


def _apart(ends: dict, axes) -> dict:
    """Names that would be written over one another are moved up, in steps of a line of text on the logarithmic axis."""
    moved, last = {}, 0.0
    for name, (x, y, color) in sorted(ends.items(), key=lambda one: one[1][1]):
        last = max(y, last * 1.22)
        moved[name] = (x, last, color)
    return moved


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="How runs grow with their book")
    asked.add_argument("--people", type=int, nargs="*", default=[])
    asked.add_argument("--book", type=Path, nargs="*", default=[], help="made companies that are there already")
    asked.add_argument("--ran", type=Path, nargs="*", default=[], help="books whose store says what their runs took")
    asked.add_argument("--scratch", type=Path, help="where there is room for the books' stores")
    asked.add_argument("--kept", type=Path, help="a table of what was measured before; what is measured now is added")
    asked.add_argument("--figure", type=Path, help="draw it into this file")
    given = asked.parse_args()
    if not (given.people or given.book or given.ran or given.kept):
        given.people = [10_000, 100_000]
    grown = [told_by(book) for book in given.ran]
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        books = []
        for people in given.people:
            books.append(Path(scratch) / f"made-{people}")
            made = ["demo", str(books[-1]), "--people", str(people), "--seed", str(SEED)]
            measure([sys.executable, "-m", "clientbook.cli", *made])
        for number, book in enumerate(given.book):
            books.append(Path(scratch) / f"linked-{number}")
            linked(book.resolve(), books[-1], leave={"store"})
        for book in books:
            grown.append(ran(book, Path(scratch) / "reports"))
            show(sorted(grown, key=lambda one: one.rows))
    if given.kept:
        now = {one.rows for one in grown}
        grown += [one for one in kept(given.kept) if one.rows not in now]
    grown.sort(key=lambda one: one.rows)
    if given.kept or not books:
        show(grown)
    if given.kept:
        keep(grown, given.kept)
    if given.figure:
        draw(grown, given.figure)


if __name__ == "__main__":
    main()
