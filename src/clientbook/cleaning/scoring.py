"""Were the cells of a made company put right? Scored against its truth, which nothing else here reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import ibis.expr.types as ir
import pandas as pd

# Above so many records every second, third … of them is scored.
MOST_RECORDS = 300_000


def score(tables: Mapping[str, ir.Table], spoiled: ir.Table, rejects: ir.Table | None, default: str) -> pd.DataFrame:
    """Of the cells that can be put right, how many were; how many good ones were made worse; were all rejects found?

    Parameters
    ----------
    tables
        Clean `people`, `changes` and `rejected`.
    spoiled
        The truth: every spoiled cell, what it was, whether it can be put right from itself, and what it is then.
    rejects
        The truth: every row that can be used for nothing; None where there is none.
    default
        The book's country, for telephone numbers.

    Returns
    -------
    pandas.DataFrame
        `what`, `right`, `of`, `share`. A telephone number is right in any spelling of it, and a whole name in either
        order. What the truth tells of a column that the book does not map is left out.
    """
    # a share is known well enough from so many; a plain reading of each number takes long
    tables = dict(tables)
    every = int(tables["people"].count().to_pyarrow().as_py()) // MOST_RECORDS + 1
    if every > 1:
        sampled = tables["people"].filter(tables["people"]["arrival"] % every == 0)
        tables["people"] = sampled
        tables["changes"] = tables["changes"].filter(tables["changes"]["arrival"] % every == 0)
        told_of = sampled.select(source="source", row_key="person_id")
        spoiled = spoiled.filter(spoiled["table"] == "people").semi_join(told_of, ["source", "row_key"])
    told = [*_cured(tables["people"], spoiled, default), _worsened(tables, spoiled, default)]
    if rejects is not None:
        told += _rejected(tables["rejected"], rejects)
    frame = pd.DataFrame(told, columns=["what", "right", "of"])
    return frame.assign(share=frame["right"] / frame["of"].where(frame["of"] > 0))


def wrong(tables: Mapping[str, ir.Table], spoiled: ir.Table, default: str) -> pd.DataFrame:
    """Which cells that can be put right were not? For whoever works on the rules; it holds made people's data."""
    rows = _compared(tables["people"], spoiled, default)
    return rows[~rows["right"]]


def _compared(people: ir.Table, spoiled: ir.Table, default: str) -> pd.DataFrame:
    truth = spoiled.filter(spoiled["curable"] & (spoiled["table"] == "people")).to_pandas()
    names = sorted(set(truth["column"]) & set(people.columns))
    keys = people.inner_join(spoiled.select(source="source", person_id="row_key").distinct(), ["source", "person_id"])
    clean = keys.select("source", "person_id", *[keys[n].cast("string").name(n) for n in names]).to_pandas()
    filled = clean.groupby("source")[names].count()
    clean = clean.melt(["source", "person_id"], names, "column", "clean").drop_duplicates(["source", "person_id", "column"])
    truth = truth.rename(columns={"row_key": "person_id"}).merge(clean, on=["source", "person_id", "column"])
    # a column that a source does not deliver, or the book does not map
    mapped = [filled.loc[source, column] > 0 for source, column in zip(truth["source"], truth["column"], strict=True)]
    truth = truth[mapped].reset_index(drop=True)
    same = [
        _same(column, a, b, default) for column, a, b in zip(truth["column"], truth["clean"], truth["cured_value"], strict=True)
    ]
    return truth.assign(right=same)


def _same(column: str, found, wanted, default: str) -> bool:
    if not isinstance(found, str) or not isinstance(wanted, str):
        return not isinstance(found, str) and not isinstance(wanted, str)
    if found == wanted:
        return True
    if column == "phone":
        return _number(found, default) == _number(wanted, default)
    if column == "full_name":
        return _turned(found) == _turned(wanted)
    return False


@lru_cache(maxsize=500_000)
def _number(text: str, default: str) -> str:
    import phonenumbers

    try:
        return phonenumbers.format_number(phonenumbers.parse(text, default), phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        return text


def _turned(name: str) -> str:
    family, comma, given = name.partition(", ")
    return f"{given} {family}" if comma else name


def _cured(people: ir.Table, spoiled: ir.Table, default: str) -> list[tuple[str, int, int]]:
    rows = _compared(people, spoiled, default)
    told = [("cells that can be put right from themselves", int(rows["right"].sum()), len(rows))]
    for kind, part in rows.groupby("kind"):
        told.append((f"{kind}".replace("_", " "), int(part["right"].sum()), len(part)))
    return told


def _worsened(tables: Mapping[str, ir.Table], spoiled: ir.Table, default: str) -> tuple[str, int, int]:
    """A good cell is one that is not spoiled; it is worse where it says something else than before."""
    people, changes = tables["people"], tables["changes"]
    names = [c for c in people.columns if c in set(spoiled.select("column").distinct().to_pandas()["column"])]
    filled = int(people.aggregate(**{n: people[n].count() for n in names}).to_pandas().iloc[0].sum())
    theirs = changes.filter((changes["table"] == "people") & changes["column"].isin(names) & (changes["rule"] != "superseded"))
    bad = spoiled.select("source", "column", id=spoiled["row_key"]).distinct()
    # what is spoiled in a part of a whole name is spoiled in the whole
    parts = bad.filter(bad["column"].isin(["given_name", "family_name"]))
    bad = bad.union(parts.mutate(column=parts["column"].substitute({"given_name": "full_name", "family_name": "full_name"})))
    good = theirs.anti_join(bad, ["source", "column", "id"]).select("column", "before", "after").to_pandas()
    worse = [not _same(c, a, b.strip(), default) for c, a, b in zip(good["column"], good["after"], good["before"], strict=True)]
    n = sum(worse)
    spoiled_filled = int(spoiled.filter(spoiled["table"] == "people").count().to_pandas())
    of = max(filled - spoiled_filled, 0)
    return "good cells left as good as they were", of - n, of


def _rejected(rejected: ir.Table, rejects: ir.Table) -> list[tuple[str, int, int]]:
    """Rows of the planted tables: found, and found alone."""
    planted = set(rejects.select("source", "table", "row_key").to_pandas().itertuples(index=False, name=None))
    frame = rejected.select("source", "table", "raw").to_pandas()
    ids = {key for _, _, key in planted}
    found, others = set(), 0
    for row in frame.itertuples(index=False):
        import json

        try:
            values = json.loads(row.raw).values()
        except (ValueError, AttributeError):
            values = ()
        hit = {(row.source, row.table, v) for v in values if isinstance(v, str) and v in ids} & planted
        found |= hit
        others += not hit
    return [
        ("planted rejects found", len(found), len(planted)),
        ("rejected rows that were planted", len(frame) - others, len(frame)),
    ]
