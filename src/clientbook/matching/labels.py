"""What did people say about pairs of records, and what follows from it?

A book keeps the answers in `labels.csv`, beside `clientbook.yaml`. They hold by written rules:

1. Of answers about the same two records the newest holds. An answer without a time is older than any that has one; of equals
   the one further down in the file is newer. A newest answer `unknown` takes back those before it.
2. The answers that are left are followed from the newest to the oldest. One that contradicts what newer ones say together (a
   `yes` between two that a `no` keeps apart, a `no` between two that a chain of `yes` makes one) is left out and shown.
3. What is followed holds whatever the data say: `yes` makes two records one customer, `no` keeps them apart, in this run and
   in those to come. So a wrong merge is undone by a `no`, for as long as it stands in the file.
4. A pair of which one record is not there any more says nothing, and is counted; it holds again when the record comes back.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.book import LABELS
from clientbook.faults import Fault, FaultError
from clientbook.store import whole
from clientbook.suppression import normal_id

REQUIRED = ("source_a", "person_id_a", "source_b", "person_id_b", "answer")
OPTIONAL = ("labelled_at", "note", "stratum")
ANSWERS = ("yes", "no", "unknown")
LEFT_OUT = ("row", "answer", "why")


@dataclass(frozen=True)
class Settled:
    """Which answers are followed, and which are not?

    Attributes
    ----------
    used
        `l`, `r` (record numbers, the smaller first), `answer`, `row`, `stratum`: the newest answer about each pair, without
        those left out, from the newest to the oldest; `unknown` too.
    left_out
        `row`, `answer`, `why`, in the order of the file.
    gone
        How many answers are about a record that is not there.
    total
        How many answers the file holds.
    group
        Of each record a number of those that `yes` makes one, -1 where nobody asked about it.
    parted
        Two columns: numbers of groups that `no` keeps apart, the smaller first.
    """

    used: pd.DataFrame
    left_out: pd.DataFrame
    gone: int = 0
    total: int = 0
    group: np.ndarray = field(default_factory=lambda: np.empty(0, "int64"))
    parted: np.ndarray = field(default_factory=lambda: np.empty((0, 2), "int64"))

    def __bool__(self) -> bool:
        """Whether anything is followed."""
        return bool(self.used["answer"].isin(["yes", "no"]).any())

    def ties(self) -> pd.DataFrame:
        """The pairs that are one: `l`, `r`."""
        return self.used.loc[self.used["answer"] == "yes", ["l", "r"]].reset_index(drop=True)


def read(folder: Path | None) -> pd.DataFrame:
    """What does the book's `labels.csv` say?

    Parameters
    ----------
    folder
        The book's; None for a book in which nobody has answered.

    Returns
    -------
    pandas.DataFrame
        The columns of the file, and `row` as a spreadsheet numbers it; empty where there is no such file.

    Raises
    ------
    FaultError
        With every fault of the file. An id is never quoted.
    """
    columns = [*REQUIRED, *OPTIONAL]
    file = folder / LABELS if folder else None
    if file is None or not file.is_file():
        return pd.DataFrame(columns=[*columns, "row"])
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = list(csv.reader(opened, strict=True, skipinitialspace=True))
    except UnicodeDecodeError:
        raise FaultError(Fault("is not UTF-8.", "Save it as CSV in UTF-8.", file=LABELS)) from None
    except csv.Error:
        raise FaultError(Fault("a quotation mark is not closed.", "Put it right in an editor.", file=LABELS)) from None
    if not lines:
        return pd.DataFrame(columns=[*columns, "row"])
    header = [name.strip() for name in lines[0]]
    faults = _faults_of_header(header)
    if faults:
        raise FaultError(faults)
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            told = f"has {len(line)} cells where the header has {len(header)}."
            faults.append(Fault(told, "Put a text that holds a comma between quotation marks.", file=LABELS, row=number))
            continue
        row = dict(zip(header, line, strict=True))
        row |= {name: normal_id(row[name]) if "person_id" in name else row[name].strip() for name in REQUIRED}
        found = list(_faults_of_row(row, number))
        faults += found
        if not found:
            row["answer"] = row["answer"].lower()
            rows.append({**dict.fromkeys(OPTIONAL, ""), **row, "row": number})
    if faults:
        raise FaultError(faults)
    return pd.DataFrame(rows, columns=[*columns, "row"])


def _faults_of_header(header: Sequence[str]) -> list[Fault]:
    known = ", ".join([*REQUIRED, *OPTIONAL])
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        return [Fault("its cells are not parted by commas.", "Save it as CSV with commas.", file=LABELS, row=1)]
    faults = [
        Fault("the column is missing.", f"The header holds {known}; the last {len(OPTIONAL)} may be missing.",
              file=LABELS, row=1, column=name)
        for name in REQUIRED if name not in header
    ]  # fmt: skip
    for name in dict.fromkeys(header):
        if name not in (*REQUIRED, *OPTIONAL):
            faults.append(Fault("no such column is known.", f"There are: {known}.", file=LABELS, row=1, column=name))
        elif header.count(name) > 1:
            faults.append(Fault("the column is there twice.", "Take one out.", file=LABELS, row=1, column=name))
    return faults


def _faults_of_row(row: Mapping[str, str], number: int) -> Iterable[Fault]:
    for name in REQUIRED[:4]:
        if not row[name]:
            remedy = "Give both records by system and id, as in `review_pairs`."
            yield Fault("is empty.", remedy, file=LABELS, row=number, column=name)
    if row["answer"].lower() not in ANSWERS:
        yield Fault("is no answer.", f"Write {', '.join(ANSWERS[:2])} or {ANSWERS[2]}.", file=LABELS, row=number, column="answer")
    if (row["source_a"], row["person_id_a"]) == (row["source_b"], row["person_id_b"]):
        yield Fault("is a record paired with itself.", "Take the row out.", file=LABELS, row=number, column="person_id_b")
    if row.get("labelled_at", "").strip():
        try:
            _time(row["labelled_at"])
        except ValueError:
            remedy = "Write it as 2024-06-01T14:30:00, or leave it empty."
            yield Fault("is no time.", remedy, file=LABELS, row=number, column="labelled_at")


def _time(text: str) -> dt.datetime:
    told = dt.datetime.fromisoformat(text.strip())
    return told.replace(tzinfo=dt.UTC) if told.tzinfo is None else told


def about(labels: pd.DataFrame, records: Iterable[tuple[str, str]]) -> pd.Series:
    """Which answers are about one of these records?

    Parameters
    ----------
    labels
        As from :func:`read`.
    records
        Pairs of source and person_id.

    Returns
    -------
    pandas.Series
        A flag for each answer.
    """
    wanted = set(records)
    told = [(a, b) in wanted or (c, d) in wanted for a, b, c, d in labels[[*REQUIRED[:4]]].itertuples(index=False, name=None)]
    return pd.Series(told, index=labels.index, dtype=bool)


def write(folder: Path, labels: pd.DataFrame) -> None:
    """Write the book's `labels.csv`, whole or not at all.

    Parameters
    ----------
    folder
        The book's.
    labels
        With the columns of :func:`read`; others are not written.
    """
    with whole(folder / LABELS) as draft:
        labels.reindex(columns=[*REQUIRED, *OPTIONAL]).fillna("").to_csv(draft, index=False, encoding="utf-8")


def settle(labels: pd.DataFrame, numbered: ir.Table) -> Settled:
    """Which answers are followed?

    Parameters
    ----------
    labels
        As from :func:`read`.
    numbered
        `source`, `person_id`, `unique_id` of every record, numbered from 0.
    """
    n = int(numbered.count().to_pyarrow().as_py())
    if labels.empty:
        return settle_numbers(labels.assign(l=pd.Series(dtype="int64"), r=pd.Series(dtype="int64")), n)
    ends = labels[["source_a", "person_id_a"]].set_axis(["source", "person_id"], axis=1)
    ends = pd.concat([ends, labels[["source_b", "person_id_b"]].set_axis(["source", "person_id"], axis=1)]).drop_duplicates()
    asked = ibis.memtable(ends, schema={"source": "string", "person_id": "string"})
    found = numbered.inner_join(asked, ["source", "person_id"]).select("source", "person_id", "unique_id").to_pandas()
    number = found.set_index(["source", "person_id"])["unique_id"].to_dict()
    at = [[number.get(key, -1) for key in zip(labels[f"source_{s}"], labels[f"person_id_{s}"], strict=True)] for s in "ab"]
    low, high = np.minimum(*at), np.maximum(*at)
    return settle_numbers(labels.assign(l=low, r=high), n)


def settle_numbers(labels: pd.DataFrame, n: int) -> Settled:
    """The same, with records by number: `l` and `r`, of which -1 is a record that is not there.

    Parameters
    ----------
    labels
        As from :func:`read`, with `l` and `r`, the smaller first.
    n
        How many records there are.
    """
    there = labels[labels["l"] >= 0]
    aged = there.assign(_at=[_time(t) if t.strip() else dt.datetime.min.replace(tzinfo=dt.UTC) for t in there["labelled_at"]])
    aged = aged.sort_values(["_at", "row"], ascending=False, kind="stable")
    newest = aged.drop_duplicates(["l", "r"])
    out = list(_superseded(aged, newest))
    follow = _Followed()
    kept = []
    for pair in newest.itertuples():
        against = follow.add(pair.l, pair.r, pair.answer, pair.row)
        if against:
            out.append((pair.row, pair.answer, against))
        else:
            kept.append(pair.Index)
    used = newest.loc[kept, ["l", "r", "answer", "row", "stratum"]].reset_index(drop=True)
    left_out = pd.DataFrame(sorted(out), columns=list(LEFT_OUT))
    group, parted = follow.groups(n)
    return Settled(used, left_out, len(labels) - len(there), len(labels), group, parted)


def _superseded(aged: pd.DataFrame, newest: pd.DataFrame) -> Iterable[tuple[int, str, str]]:
    """Older answers about the same two records that say something else."""
    both = aged.merge(newest[["l", "r", "answer", "row"]], on=["l", "r"], suffixes=("", "_new"))
    for one in both[(both["answer"] != both["answer_new"])].itertuples():
        yield one.row, one.answer, f"row {one.row_new} says {one.answer_new} of the same two records, and is newer"


class _Followed:
    """Answers followed so far: who is one by `yes`, and who is kept apart by `no`."""

    def __init__(self):
        self.head: dict[int, int] = {}
        self.apart: dict[int, dict[int, int]] = {}
        self.links: dict[int, list[tuple[int, int]]] = {}

    def find(self, one: int) -> int:
        self.head.setdefault(one, one)
        while self.head[one] != one:
            self.head[one] = self.head[self.head[one]]
            one = self.head[one]
        return one

    def add(self, left: int, right: int, answer: str, row: int) -> str:
        """Follow an answer; what speaks against it in words, or nothing."""
        if answer not in ("yes", "no"):
            return ""
        a, b = self.find(left), self.find(right)
        if answer == "no":
            if a == b:
                rows = self._chain(left, right)
                told = f"row {rows[0]}" if len(rows) == 1 else "rows " + ", ".join(map(str, rows))
                return f"by {told}, newer and yes, the two are one"
            for one, other in ((a, b), (b, a)):
                self.apart.setdefault(one, {}).setdefault(other, row)
            return ""
        if b in self.apart.get(a, {}):
            return f"row {self.apart[a][b]}, newer and no, keeps apart whom it would make one"
        self.links.setdefault(left, []).append((right, row))
        self.links.setdefault(right, []).append((left, row))
        if a != b:
            self.head[b] = a
            for other, why in self.apart.pop(b, {}).items():
                self.apart[other].pop(b)
                self.apart[other].setdefault(a, why)
                self.apart.setdefault(a, {}).setdefault(other, why)
        return ""

    def _chain(self, left: int, right: int) -> list[int]:
        """The rows of the shortest chain of `yes` from one record to the other."""
        came: dict[int, tuple[int, int]] = {left: (left, 0)}
        ahead = [left]
        for here in ahead:
            for there, row in self.links.get(here, ()):
                if there not in came:
                    came[there] = (here, row)
                    ahead.append(there)
        rows = []
        while right != left:
            right, row = came[right]
            rows.append(row)
        return sorted(rows)

    def groups(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        group = np.full(n, -1, "int64")
        for one in list(self.head):
            group[one] = self.find(one)
        parted = sorted({(min(a, b), max(a, b)) for a, others in self.apart.items() for b in others})
        return group, np.array(parted, dtype="int64").reshape(-1, 2)


def counts(settled: Settled) -> pd.DataFrame:
    """How many answers are there of each kind, and what became of them?

    Parameters
    ----------
    settled
        As from :func:`settle`.

    Returns
    -------
    pandas.DataFrame
        `answer`, `followed`, `left_out`.
    """
    rows = [
        (answer, int((settled.used["answer"] == answer).sum()), int((settled.left_out["answer"] == answer).sum()))
        for answer in ANSWERS
    ]
    return pd.DataFrame(rows, columns=["answer", "followed", "left_out"])


def left_out(settled: Settled) -> pd.DataFrame:
    """Which answers are not followed, and why?

    Parameters
    ----------
    settled
        As from :func:`settle`.
    """
    return settled.left_out


def say(settled: Settled) -> str:
    """What do the answers in the book come to? In a sentence or more.

    Parameters
    ----------
    settled
        As from :func:`settle`.
    """
    if not settled.total:
        return f"Nobody has answered yet: `clientbook lab` asks, and keeps the answers in the book's {LABELS}."
    told = f"{settled.total:,} {'answer' if settled.total == 1 else 'answers'} in {LABELS}."
    if settled.gone:
        told += f" {settled.gone:,} of them name a record that is not there any more, and say nothing."
    if len(settled.left_out):
        told += f" {len(settled.left_out):,} contradict newer ones and are left out."
    return told
