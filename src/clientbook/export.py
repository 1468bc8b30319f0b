"""What do we hold on somebody? All of it, for the person who asks."""

from __future__ import annotations

import json
from typing import Any

from clientbook.book import Book
from clientbook.forget import LATE, Person, remember, rows_in_list, rows_of, traces_in


def export(book: Book, person: Person) -> dict[str, Any]:
    """Everything that the newest run and the lists hold on one person.

    Parameters
    ----------
    book
        Whose.
    person
        As from :func:`clientbook.forget.look_up`.

    Returns
    -------
    dict
        `customer_id`, `records` (the keys in each source), `run`, `as_of`, `tables` and `lists`, each by name with the
        person's rows, and `answers`, what people said about their records in `labels.csv`. Rows that name others too, such as
        a referral, are the person's as well, and others stand in them by the key of their record alone. Plain data that
        JSON can hold; times are in UTC.
    """
    from clientbook.engine import open as open_engine
    from clientbook.matching import labels

    run = book.run("latest")
    traces = traces_in(run.folder, person)
    tables: dict[str, list[dict[str, Any]]] = {}
    with open_engine("duckdb", scratch=book.store.folder / "scratch") as engine:
        for name in sorted(run.tables, key=lambda name: (name in LATE, name)):
            rows = engine.read_parquet(run.path(name))
            theirs = rows_of(rows, traces, name)
            found = rows.filter(theirs).to_pyarrow().to_pylist() if theirs is not None else []
            if found:
                tables[name] = [{key: value for key, value in row.items() if value is not None} for row in found]
                remember(rows, theirs, traces, name)
    lists = {}
    for path in sorted((book.store.folder / "lists").glob("*.csv")):
        rows, theirs = rows_in_list(path, person, traces.customers)
        if theirs.any():
            lists[path.name] = rows[theirs].to_dict("records")
    answers = labels.read(book.folder)
    answers = answers[labels.about(answers, person.records)].drop(columns="row")
    told = {
        "customer_id": person.customer_id,
        "records": [{"source": source, "person_id": one} for source, one in person.records],
        "run": run.name,
        "as_of": run.as_of.isoformat(),
        "tables": dict(sorted(tables.items())),
        "lists": lists,
        "answers": [{name: value for name, value in row.items() if value} for row in answers.to_dict("records")],
    }
    return json.loads(json.dumps(told, default=str))
