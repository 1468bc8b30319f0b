"""How is somebody forgotten: taken out of every run and list, and kept out of those to come?"""

from __future__ import annotations

import datetime as dt
import hashlib
import html
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clientbook import suppression
from clientbook.book import LABELS, Book
from clientbook.card import INDEX, RunReader, customer_of, describe, find_one, records_of
from clientbook.faults import ClientbookError
from clientbook.store import Run, clear_drafts, sweep, whole, write_json

RECEIPTS = "receipts"
_FORGOTTEN = "[forgotten]"
# Tables of which a whole row is about somebody else too, if two of them are named in it, go with the first.
_CUSTOMER = re.compile(r"(^|_)customer_id(_|$)")
_NUMBER = re.compile(r"^record_number_[ab]$")
_PERSON = re.compile(r"^(.*?)person_id(.*)$")
# What was rejected or changed is found by the rows that it came from, so it comes last.
LATE = ("changes", "rejected")
# What the older rows of people said, of whom a newer one is kept.
_OLDER = "\"table\" = 'people' AND \"column\" = ? AND rule = 'superseded' AND before IS NOT NULL"


@dataclass(frozen=True)
class Person:
    """Who is to be forgotten.

    Parameters
    ----------
    customer_id
        In the newest run that knows them.
    records
        Pairs of source and person_id.
    emails, phones
        Theirs alone.
    shared
        How many addresses and numbers they share with others, who stay.
    told
        A few masked words, to be recognised by who asked.
    """

    customer_id: str
    records: tuple[tuple[str, str], ...]
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    shared: int = 0
    told: str = ""


@dataclass
class _Traces:
    """What leads to rows of a person in one run's tables."""

    records: Mapping[str, list[str]]
    customers: set[str]
    accounts: set[str]
    words: set[str]
    orders: dict[str, list[str]] = field(default_factory=dict)
    places: set[tuple[str, str, str, int]] = field(default_factory=set)
    # by which pairs of records name them
    numbers: set[int] = field(default_factory=set)
    # by source and table, of which older rows may have been superseded
    keys: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    # with the sources of opportunities that name people by these ids
    partners: list[tuple[str, list[str]]] = field(default_factory=list)
    # as pages show them where personal data may be shown
    names: set[str] = field(default_factory=set)


def look_up(book: Book, who: str) -> Person:
    """Who is meant, and what of them is held?

    Parameters
    ----------
    book
        Whose.
    who
        A customer_id, an e-mail address, a telephone number or `source:person_id`.

    Raises
    ------
    ClientbookError
        If nobody fits, or several do, or an account is meant.
    """
    runs = book.store.runs()
    if not runs:
        # says what to do
        book.store.run("latest")
    country = book.settings.country
    # a removal that was cut short has left them in older runs
    for run in reversed(runs):
        reader = RunReader(run)
        try:
            hit = find_one(reader, who, country)
            break
        except ClientbookError as error:
            if run is runs[0] or "fit. Ask" in str(error):
                raise
    if hit.kind == "account":
        raise ClientbookError("An account is not forgotten, its contacts are: ask for each by its customer_id.")
    records = records_of(reader, hit.id)
    emails, phones, shared = _contacts(reader, records, country)
    return Person(hit.id, tuple(records), tuple(emails), tuple(phones), shared, describe(reader, hit))


def _contacts(reader: RunReader, records: list[tuple[str, str]], country: str) -> tuple[list[str], list[str], int]:
    own, shared = {"email": set(), "phone": set()}, 0
    if not records:
        return [], [], 0
    mine = set(records)
    rows = reader.of_records("people", records)
    keys = [list(column) for column in zip(*records, strict=True)]
    for name, normal in (
        ("email", suppression.normal_email),
        ("phone", lambda n: suppression.normal_phone(n, country)),
    ):
        older = reader.rows("changes", f"{_OLDER} AND (source, id) IN (SELECT unnest(?), unnest(?))", [name, *keys], "before")
        for value in {row[name] for row in rows if row.get(name)} | {row["before"] for row in older}:
            # a household's number or a company's mailbox would keep the others out as well
            ending = normal(value)[-6:]
            like = "regexp_replace({}, '[^0-9]', '', 'g') LIKE ?" if name == "phone" else "lower(trim({})) LIKE ?"
            others = reader.rows("people", like.format(name), [f"%{ending}"], f"source, person_id, {name}")
            # so would one that another's older row brings: all rows are delivered again
            others += reader.rows(
                "changes", f"{_OLDER} AND {like.format('before')}", [name, f"%{ending}"],
                f"source, id AS person_id, before AS {name}",
            )  # fmt: skip
            theirs = [o for o in others if (o["source"], o["person_id"]) not in mine and normal(o[name]) == normal(value)]
            if theirs:
                shared += 1
            else:
                own[name].add(normal(value))
    return sorted(own["email"]), sorted(own["phone"]), shared


def forget(book: Book, person: Person, on: dt.date) -> dict[str, Any]:
    """Take a person out of everything that the book's store holds, and keep them out of what is delivered next.

    The list of those forgotten is written first: whatever happens then, no run takes them up again, and the same
    command finishes what was cut short. Of the company's own files only the answers in `labels.csv` are touched.

    Parameters
    ----------
    book
        Whose.
    person
        As from :func:`look_up`.
    on
        The day, for the receipt.

    Returns
    -------
    dict
        The receipt, without personal data; it lies in the store's `receipts`.

    Raises
    ------
    FaultError
        If `labels.csv` is faulty, so that nobody can tell whose answers it holds; before anything is removed.
    """
    from clientbook.engine import open as open_engine
    from clientbook.matching import labels

    store = book.store.folder
    answers = labels.read(book.folder)
    answered = labels.about(answers, person.records)
    listed = suppression.open_list(store, book.settings.country)
    hashes = [listed.record(*record) for record in person.records]
    hashes += [listed.email(address) for address in person.emails]
    hashes += [listed.phone(number) for number in person.phones]
    suppression.add(store, listed, hashes)
    removed: dict[str, dict[str, int]] = {}
    if answered.any():
        labels.write(book.folder, answers[~answered])
        removed["labels"] = {LABELS: int(answered.sum())}
    # what was being written when a kernel or a whole run was killed is no table, and holds people as one does
    for folder in (store / "lists", *(folder for _, folder in _folders(store))):
        clear_drafts(folder)
    sweep(store / "scratch")
    held = [(name, folder, traces_in(folder, person)) for name, folder in _folders(store)]
    # what is shown is cleaned before what leads to it: names are looked up in the tables, of one run or another
    names = set().union(*(traces.names for *_, traces in held))
    notebooks = 0
    for _, folder, traces in held:
        shown = Run(folder).info.get("shows_personal_data", True)
        notebooks += _clean_notebooks(folder / "notebooks", traces, names if shown else ())
    with open_engine("duckdb", scratch=store / "scratch") as engine:
        for name, folder, traces in held:
            counts = _clean_tables(engine, folder / "tables", traces) | _clean_lists(folder / "lists", person, traces)
            # sorted copies for cards are made anew from what is left
            shutil.rmtree(folder / INDEX, ignore_errors=True)
            if counts:
                removed[name] = counts
    # pages name customers by the book's own id; they are made anew from the notebooks
    shutil.rmtree(store / "pages", ignore_errors=True)
    counts = _clean_lists(store / "lists", person, _Traces({}, {person.customer_id}, set(), set()))
    if counts:
        removed["lists"] = counts
    receipt = {
        "receipt": hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:16],
        "forgotten_on": on.isoformat(),
        "suppressed": {
            "records": len(person.records),
            "emails": len(person.emails),
            "phones": len(person.phones),
            "shared_with_others_and_not_listed": person.shared,
        },
        "removed": removed,
        "notebooks_cleaned": notebooks,
        # their reports may name them, and lie where nobody here knows
        "runs_that_showed_names": [run.name for run in book.store.runs() if run.info.get("shows_personal_data")],
        "not_touched": [
            f"the company's own files, but for the answers about them in {LABELS}",
            "models and sums, which hold no row of anybody; nor row counts in run.json, which tell how many there were then "
            "and not who, and by which earlier reports are checked",
            "published reports, which name customers by the book's own id at most; those of runs that showed names are marked "
            "on every page and name people: delete them, or make them anew",
        ],
    }
    write_json(store / RECEIPTS / f"{receipt['receipt']}.json", receipt)
    return receipt


def _folders(store: Path) -> Iterator[tuple[str, Path]]:
    """Every run, whole, failed or under way, and what was made by hand."""
    for place in ("runs", "failed", "building"):
        for folder in sorted((store / place).glob("*")):
            if folder.is_dir():
                yield (folder.name if place == "runs" else f"{place}/{folder.name}"), folder
    if (store / "lab").is_dir():
        yield "lab", store / "lab"


def traces_in(folder: Path, person: Person) -> _Traces:
    """What leads to a person's rows in one run's tables?

    Parameters
    ----------
    folder
        The run's.
    person
        As from :func:`look_up`.
    """
    reader = RunReader(Run(folder))
    # a run matches anew, so the same human may have had another customer_id in it
    customers = {person.customer_id} | customer_of(reader, person.records)
    members = (
        reader.rows("resolved_accounts", "kind = 'single'", (), "account_id") if reader.has("resolved_accounts", "kind") else []
    )
    singles = {"a" + one[1:] for one in customers}
    accounts = singles & {row["account_id"] for row in members} if members else singles
    by_source: dict[str, list[str]] = {}
    for source, person_id in person.records:
        by_source.setdefault(source, []).append(person_id)
    words = {person_id for _, person_id in person.records} | set(person.emails)
    people = reader.of_records("people", person.records)
    words |= {str(row[name]) for row in people for name in ("email", "phone") if row.get(name)}
    traces = _Traces(by_source, customers, accounts, words)
    golden = [row for one in sorted(customers) if reader.has("customers") for row in reader.of_customer("customers", one)]
    for row in (*people, *golden):
        traces.names |= {row.get("full_name"), " ".join(filter(None, (row.get("given_name"), row.get("family_name"))))}
    traces.names -= {None, ""}
    for source, ids in by_source.items():
        # also where a removal that was cut short has taken them out of the people already
        traces.keys[source, "people"] = set(ids)
        if reader.has("opportunities", "person_source"):
            named = reader.rows("opportunities", "person_source = ?", [source], "DISTINCT source")
            traces.partners += [(row["source"], ids) for row in named]
    if reader.has("matching_records", "record_number"):
        for source, ids in by_source.items():
            where = "source = ? AND person_id IN (SELECT unnest(?))"
            rows = reader.rows("matching_records", where, [source, ids], "record_number")
            traces.numbers |= {int(row["record_number"]) for row in rows}
    for row in reader.of_records("orders", person.records):
        if row["order_id"] is not None:
            traces.orders.setdefault(row["order_source"], []).append(row["order_id"])
    return traces


def _clean_tables(engine, folder: Path, traces: _Traces) -> dict[str, int]:
    """Write each table anew without the person's rows; those that they are not in stay as they are, to the byte."""
    counts = {}
    for path in sorted(folder.glob("*.parquet"), key=lambda path: (path.stem in LATE, path.name)):
        rows = engine.read_parquet(path)
        theirs = rows_of(rows, traces, path.stem)
        if theirs is None:
            continue
        n = int(rows.filter(theirs).count().to_pyarrow().as_py())
        if not n:
            continue
        remember(rows, theirs, traces, path.stem)
        with whole(path) as draft:
            engine.write_parquet(rows.filter(~theirs), draft)
        counts[path.stem] = n
    return counts


def remember(rows, theirs, traces: _Traces, table: str) -> None:
    """Note where a person's rows came from and which ids are theirs alone: what was rejected or changed is found by them.

    Parameters
    ----------
    rows
        A table, as an Ibis expression.
    theirs
        As from :func:`rows_of`.
    traces
        As from :func:`traces_in`; they are added to.
    table
        Its name.
    """
    from clientbook.cleaning.repeats import SAME

    if table in LATE or not {"source", "file", "row"} <= set(rows.columns):
        return
    found = rows.filter(theirs)
    # what came back among the orders is a return, and what was changed in it stands with the orders
    names = (table, "orders") if table == "returns" else (table,)
    for row in found.select("source", "file", "row").to_pyarrow().to_pylist():
        traces.places |= {(row["source"], name, row["file"], row["row"]) for name in names}
    if table in SAME:
        key = SAME[table][0]
        # one message may go to many, of whom an older row does not say which it went to
        alone = found.select("source", key).distinct().anti_join(rows.filter(~theirs), ["source", key])
        for row in alone.to_pyarrow().to_pylist():
            traces.keys.setdefault((row["source"], table), set()).add(row[key])


def rows_of(rows, traces: _Traces, table: str):
    """Which rows of a table are the person's?

    Parameters
    ----------
    rows
        The table, as an Ibis expression.
    traces
        As from :func:`traces_in`.
    table
        Its name.

    Returns
    -------
    ibis.expr.types.BooleanColumn or None
        None where the table can hold none.
    """
    columns = set(rows.columns)
    tests = []
    for owner, name in _person_columns(columns):
        tests += [(rows[owner] == source) & rows[name].isin(ids) for source, ids in traces.records.items()]
    tests += [rows[name].isin(sorted(traces.customers)) for name in columns if _CUSTOMER.search(name)]
    tests += [rows[name].isin(sorted(traces.numbers)) for name in sorted(columns) if _NUMBER.match(name) and traces.numbers]
    if {"subject_type", "subject_id"} <= columns:
        tests.append(rows["subject_id"].isin(sorted(traces.customers | traces.accounts)))
    if "account_id" in columns and traces.accounts and "account_source" not in columns:
        tests.append(rows["account_id"].isin(sorted(traces.accounts)))
    if {"order_source", "order_id"} <= columns:
        tests += [(rows["order_source"] == source) & rows["order_id"].isin(ids) for source, ids in traces.orders.items()]
    if table == "rejected" and traces.records:
        quoted = [word.replace("\\", "\\\\").replace('"', '\\"') for word in sorted(traces.words)]
        tests += [rows["raw"].contains(f'"{word}"') for word in quoted]
        # a line that could not be read at all is no JSON; a short id in it may be anything
        tests += [rows["raw"].contains(word) for word in sorted(traces.words) if len(word) > 5]
    if table == "changes":
        # of an older row of theirs no table holds where it came from
        tests += [
            (rows["source"] == source) & (rows["table"] == name) & rows["id"].isin(sorted(ids))
            for (source, name), ids in sorted(traces.keys.items())
        ]
        with_whom = (rows["table"] == "opportunities") & (rows["column"] == "person_id")
        tests += [with_whom & (rows["source"] == source) & rows["before"].isin(ids) for source, ids in traces.partners]
    if table in LATE:
        for source, name, file in sorted({place[:3] for place in traces.places}):
            numbers = sorted(row for *place, row in traces.places if tuple(place) == (source, name, file))
            tests.append(
                (rows["source"] == source) & (rows["table"] == name) & (rows["file"] == file) & rows["row"].isin(numbers)
            )
    if not tests:
        return None
    held = tests[0].fill_null(False)
    for test in tests[1:]:
        held |= test.fill_null(False)
    return held


def _person_columns(columns: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each column of person ids with the column that says whose they are."""
    columns = set(columns)
    for name in sorted(columns):
        match = _PERSON.match(name)
        if match:
            before, after = match.groups()
            owners = (f"{before}person_source{after}", f"{before}source{after}", "person_source", "source")
            owner = next((one for one in owners if one in columns), None)
            if owner:
                yield owner, name


def rows_in_list(path: Path, person: Person, customers: set[str]):
    """A list, and which of its rows are the person's.

    Returns
    -------
    tuple of pandas.DataFrame and pandas.Series
        All rows as text, and a flag for each.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except pd.errors.EmptyDataError:
        rows = pd.DataFrame()
    theirs = pd.Series(False, index=rows.index)
    for name in rows.columns:
        if _CUSTOMER.search(name):
            theirs |= rows[name].isin(customers)
    for owner, name in _person_columns(rows.columns):
        keys = pd.Series(list(zip(rows[owner], rows[name], strict=True)), index=rows.index, dtype=object)
        theirs |= keys.isin(list(person.records))
    if "email" in rows.columns:
        theirs |= rows["email"].map(suppression.normal_email).isin(person.emails)
    return rows, theirs


def _clean_lists(folder: Path, person: Person, traces: _Traces) -> dict[str, int]:
    counts = {}
    for path in sorted(folder.glob("*.csv")):
        rows, theirs = rows_in_list(path, person, traces.customers)
        if theirs.any():
            with whole(path) as draft:
                rows[~theirs].to_csv(draft, index=False, encoding="utf-8")
            counts[path.name] = int(theirs.sum())
    return counts


def _clean_notebooks(folder: Path, traces: _Traces, names: Iterable[str]) -> int:
    """Executed notebooks name customers by the book's own id, and by name where whoever started the run asked for that."""
    cleaned = 0
    for path in sorted(folder.glob("*.ipynb")):
        text = before = path.read_text(encoding="utf-8")
        for one in sorted(traces.customers):
            text = text.replace(one, _FORGOTTEN)
        if names:
            text = _without_names(text, names)
        if text != before:
            with whole(path) as draft:
                draft.write_text(text, encoding="utf-8")
            cleaned += 1
    return cleaned


def _without_names(text: str, names: Iterable[str]) -> str:
    """A notebook whose outputs show none of these names; what it says by itself, which may hold the same words, stays."""
    spelt = "|".join(r"\s+".join(map(_spelt, name.split())) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{spelt})(?!\w)")
    try:
        notebook = json.loads(text)
    except ValueError:
        # half of one, whose kernel was killed
        return pattern.sub(_FORGOTTEN, text)
    found = False
    for cell in notebook.get("cells", ()):
        outputs = cell.get("outputs", [])
        cleaned = _without(outputs, pattern)
        if cleaned != outputs:
            cell["outputs"], found = cleaned, True
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" if found else text


def _without(shown: Any, pattern: re.Pattern) -> Any:
    if isinstance(shown, dict):
        # letters that stand for the bytes of a picture are no words
        return {name: part if name == "image/png" else _without(part, pattern) for name, part in shown.items()}
    if isinstance(shown, list):
        return [_without(part, pattern) for part in shown]
    return pattern.sub(_FORGOTTEN, shown) if isinstance(shown, str) else shown


def _spelt(word: str) -> str:
    """A word, however HTML and Markdown write what is no letter in it."""
    return "".join(
        letter if letter.isalnum() else f"(?:{re.escape(letter)}|{re.escape(html.escape(letter))}|&#{ord(letter)};)"
        for letter in word
    )
