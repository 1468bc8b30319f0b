"""What stands in the columns, and which columns of different systems speak of the same things?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations

import ibis
import ibis.expr.types as ir
import pandas as pd
from pydantic import Field

from clientbook.engine import Engine
from clientbook.stage import KeyNumber, NothingToShow, Parameters, Stage
from clientbook.tables import CANONICAL, OWNED_IDS, PERSONAL_KINDS, REGISTERS, Column, Table, owner_column

# Columns of a clean table that say where a row comes from, and nothing of what was delivered.
_ORIGIN = {"source", "file", "row", "arrival", "ordered_on", *(owner_column(name) for name in OWNED_IDS)}
# What one system's column may share with another's; keys of events and the like are nobody else's.
LINKING = (*OWNED_IDS, "other_person_id", "referred_person_id", "parent_account_id", "external_id", "email", "phone")
_PROSE = ("text", "title", "url")
_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_PHONE = r"^(\+|00?)[0-9][0-9 ()/.-]{6,}$"
WORDS = {
    "email": "e-mail addresses",
    "phone": "telephone numbers",
    "external_id": "shared numbers",
    "person_id": "person ids",
}


class ProfilingParameters(Parameters):
    """What an analyst may change in `02_profiling`."""

    exact_rows: int = Field(200_000, ge=0, description="above so many rows distinct values are estimated, not counted")
    shape_rows: int = Field(
        20_000, ge=100, description="about so many rows of a table are looked at for its commonest shapes"
    )
    most_columns: int = Field(80, ge=2, description="so many columns at most are compared with each other")


TABLES = (
    Table(
        "column_profiles",
        "a column of a table, as one system delivered it",
        (
            Column("table_name", "text", "the clean table"),
            Column("source", "text", "the system"),
            Column("column_name", "text", "the column; `x_` leads one that is not canonical"),
            Column("type", "text", "id, text, number, money, time, date or flag"),
            Column("rows", "number", "rows of the table from this system", unit="rows"),
            Column("filled", "number", "rows in which it holds a value", unit="rows"),
            Column("distinct_values", "number", "different values; estimated in very large tables", unit="values"),
            Column("smallest", "text", "the smallest value of a number, time or date that is not personal"),
            Column("largest", "text", "the largest value of the same"),
            Column("personal", "text", "the kind of personal data that it holds", allowed=PERSONAL_KINDS),
            Column("shape", "text", "the commonest shape: 9 a digit, A and a letters, runs of letters as one"),
            Column("shape_share", "number", "of the values looked at that have this shape", unit="share"),
        ),
    ),
    Table(
        "overlaps",
        "two columns that share values, in lower case and without blanks around them",
        (
            Column("source_a", "text", "the first column's system"),
            Column("table_a", "text", "the first column's table"),
            Column("column_a", "text", "the first column"),
            Column("source_b", "text", "the second column's system"),
            Column("table_b", "text", "the second column's table"),
            Column("column_b", "text", "the second column"),
            Column("shared", "number", "different values that both hold", unit="values"),
            Column("distinct_a", "number", "different values of the first", unit="values"),
            Column("distinct_b", "number", "different values of the second", unit="values"),
            Column("a_in_b", "number", "of the first column's values that the second holds too", unit="share"),
            Column("b_in_a", "number", "of the second column's values that the first holds too", unit="share"),
        ),
    ),
)

STAGE = Stage(
    name="profiling",
    uses=tuple(CANONICAL),
    writes=tuple(table.name for table in TABLES),
    shows="what stands in each column, and which columns of different systems share values",
    parameters=ProfilingParameters,
    tables=TABLES,
)


def column_profiles(tables: Mapping[str, ir.Table | None], engine: Engine, p: ProfilingParameters) -> pd.DataFrame:
    """What stands in each column of each system?

    Parameters
    ----------
    tables
        Clean tables by name; None where the book lacks one.
    engine
        Where some rows of each table are staged.
    p
        The parameters.

    Returns
    -------
    pandas.DataFrame
        The public table, by table, source and column in the order of the table. Columns that no system filled are not
        in it.

    Raises
    ------
    NothingToShow
        If there is no table.
    """
    parts = [_profile(name, rows, engine, p) for name, rows in _there(tables)]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise NothingToShow(f"This book has no table. With one, this page would show {STAGE.shows}.")
    return pd.concat(parts, ignore_index=True)


def overlaps(tables: Mapping[str, ir.Table | None], engine: Engine, p: ProfilingParameters) -> pd.DataFrame:
    """Which columns hold the same values?

    Ids, e-mail addresses and telephone numbers are compared; of the last only digits and a leading plus.

    Parameters
    ----------
    tables
        Clean tables by name; None where the book lacks one.
    engine
        Where the values are staged.
    p
        The parameters.

    Returns
    -------
    pandas.DataFrame
        The public table, ordered by its first six columns; each pair once, in that order, and only pairs that share a
        value. Every value is looked at once: how many columns it stands in, not how many pairs of rows it makes.
    """
    columns, parts = [], []
    for name, rows in _there(tables):
        sources = rows.select("source").distinct().order_by("source").to_pandas()["source"].tolist()
        if not sources:
            continue
        for column in (each for each in LINKING if each in CANONICAL[name].names):
            value = rows[column].strip().lower()
            if column == "phone":
                value = value.re_replace(r"[^0-9+]", "")
            first = len(columns)
            columns += [(source, name, column) for source in sources]
            if len(columns) > p.most_columns:
                columns = columns[:first]
                break
            number = ibis.cases(*[(rows["source"] == source, first + i) for i, source in enumerate(sources)])
            held = rows.select(number=number.cast("int16"), value=value)
            parts.append(held.filter(held["value"].notnull() & (held["value"] != "")).distinct())
    names = [column.name for column in TABLES[1].columns]
    if not parts:
        return pd.DataFrame(columns=names)
    path = engine.scratch_file(".parquet")
    engine.write_parquet(ibis.union(*parts) if len(parts) > 1 else parts[0], path)
    held = engine.read_parquet(path)
    # what is counted is sets of columns, of which there are few, not pairs of values
    where = held.group_by("value").agg(
        numbers=held["number"].collect().sort().map(lambda n: n.cast("string")).join(",")
    )
    patterns = where.group_by("numbers").agg(n=where.count()).to_pandas()
    each, both = Counter(), Counter()
    for numbers, n in zip(patterns["numbers"], patterns["n"], strict=True):
        standing = [int(number) for number in numbers.split(",")]
        each.update(dict.fromkeys(standing, n))
        both.update(dict.fromkeys(combinations(standing, 2), n))
    told = []
    for (a, b), shared in both.items():
        a, b = sorted((a, b), key=lambda number: columns[number])
        told.append(
            (*columns[a], *columns[b], shared, each[a], each[b], round(shared / each[a], 6), round(shared / each[b], 6))
        )
    return pd.DataFrame(told, columns=names).sort_values(names[:6], ignore_index=True)


def fill(profiles: pd.DataFrame, table_name: str = "people") -> pd.DataFrame:
    """Of one table, what share of each column does each system fill?

    Parameters
    ----------
    profiles
        As from :func:`column_profiles`.
    table_name
        The table; where it is not there, the one with the most columns.

    Returns
    -------
    pandas.DataFrame
        A row a column, a column a system.
    """
    if table_name not in set(profiles["table_name"]):
        table_name = profiles["table_name"].value_counts().sort_index().idxmax()
    rows = profiles[profiles["table_name"] == table_name]
    shares = rows.assign(share=rows["filled"] / rows["rows"])
    wide = shares.pivot_table(index="column_name", columns="source", values="share", aggfunc="first")
    wide = wide.loc[rows["column_name"].drop_duplicates()]
    return wide.rename_axis(index=None, columns=None)


def say_fill(shares: pd.DataFrame) -> str:
    """In one sentence: which system tells the most of each person or thing?

    Parameters
    ----------
    shares
        As from :func:`fill`.
    """
    means = shares.fillna(0).mean().sort_index()
    if len(means) < 2:
        return f"{means.index[0]} fills {means.iloc[0]:.0%} of the cells"
    return f"{means.idxmax()} fills {means.max():.0%} of the cells, {means.idxmin()} {means.min():.0%}"


def by_table(profiles: pd.DataFrame) -> pd.DataFrame:
    """How many rows and columns has each table of each system, how much of it is filled, what of it is personal?

    Parameters
    ----------
    profiles
        As from :func:`column_profiles`.

    Returns
    -------
    pandas.DataFrame
        `table_name`, `source`, `rows`, `columns` (that the system fills), `filled` (share of their cells), `personal`
        (kinds of personal data).
    """
    rows = profiles[profiles["filled"] > 0]
    told = [
        {
            "table_name": name,
            "source": source,
            "rows": int(part["rows"].iloc[0]),
            "columns": len(part),
            "filled": part["filled"].sum() / part["rows"].sum(),
            "personal": ", ".join(kind.replace("_", " ") for kind in PERSONAL_KINDS if kind in set(part["personal"])),
        }
        for (name, source), part in rows.groupby(["table_name", "source"], sort=False)
    ]
    return pd.DataFrame(told, columns=["table_name", "source", "rows", "columns", "filled", "personal"])


def links(overlapping: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """By which column do the systems' people meet most, and how far?

    Parameters
    ----------
    overlapping
        As from :func:`overlaps`.

    Returns
    -------
    column, shares
        The column (`email`, `phone` or `external_id`) with most values shared between systems' people, and of the row's
        values the share that the column's system holds too; empty where no two systems share any.
    """
    a, b = overlapping["source_a"], overlapping["source_b"]
    rows = overlapping[(a != b) & (overlapping["column_a"] == overlapping["column_b"])]
    rows = rows[(rows["table_a"] == "people") & (rows["table_b"] == "people")]
    rows = rows[rows["column_a"].isin(["email", "phone", "external_id"])]
    if rows.empty:
        return "", pd.DataFrame()
    totals = rows.groupby("column_a")["shared"].sum()
    column = totals.idxmax()
    rows = rows[rows["column_a"] == column]
    names = sorted({*rows["source_a"], *rows["source_b"]})
    shares = pd.DataFrame(0.0, index=names, columns=names)
    for name in names:
        shares.loc[name, name] = 1.0
    for row in rows.to_dict("records"):
        shares.loc[row["source_a"], row["source_b"]] = row["a_in_b"]
        shares.loc[row["source_b"], row["source_a"]] = row["b_in_a"]
    return column, shares


def say_links(column: str, shares: pd.DataFrame) -> str:
    """In one sentence: where do two systems meet most?

    Parameters
    ----------
    column, shares
        As from :func:`links`.
    """
    if shares.empty:
        return "No two systems share an e-mail address, a telephone number or a number of their own"
    pairs = [(shares.loc[a, b], a, b) for a in shares.index for b in shares.columns if a != b]
    share, a, b = max(pairs, key=lambda item: (item[0], item[1], item[2]))
    return f"{b} holds {share:.0%} of the {WORDS[column]} of {a}"


def draw_links(column: str, shares: pd.DataFrame):
    """How far do the systems meet, as a figure?

    Parameters
    ----------
    column, shares
        As from :func:`links`; where no two systems meet, a figure that says so.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    if shares.empty:
        return charts.bars(
            ["shared values"], [0], finding=say_links(column, shares), detail="values in more than one system"
        )
    detail = f"share of the {WORDS[column]} of a row's system that the column's system holds too"
    return charts.heatmap(shares, finding=say_links(column, shares), detail=detail, format="percent")


def strongest(overlapping: pd.DataFrame) -> pd.DataFrame:
    """Which columns of different systems share most?

    Parameters
    ----------
    overlapping
        As from :func:`overlaps`.

    Returns
    -------
    pandas.DataFrame
        `first`, `second` (system, table and column), `shared`, `a_in_b`, `b_in_a`; most shared values first.
    """
    rows = overlapping[overlapping["source_a"] != overlapping["source_b"]]
    first, second = (
        rows[f"source_{side}"] + " " + rows[f"table_{side}"] + "." + rows[f"column_{side}"] for side in "ab"
    )
    told = rows[["shared", "a_in_b", "b_in_a"]].assign(first=first, second=second)
    told = told[["first", "second", "shared", "a_in_b", "b_in_a"]]
    return told.sort_values(["shared", "first", "second"], ascending=[False, True, True], ignore_index=True)


def in_words(profiles: pd.DataFrame) -> pd.DataFrame:
    """The columns that hold something, for reading.

    Parameters
    ----------
    profiles
        As from :func:`column_profiles`.

    Returns
    -------
    pandas.DataFrame
        With `filled` as a share; smallest and largest as one text.
    """
    rows = profiles[profiles["filled"] > 0].reset_index(drop=True)
    ends = rows["smallest"].str.slice(0, 16) + " to " + rows["largest"].str.slice(0, 16)
    told = rows.assign(filled=rows["filled"] / rows["rows"], range=ends.fillna(""))
    told = told.fillna({"personal": "", "shape": ""})
    return told[
        [
            "table_name",
            "source",
            "column_name",
            "rows",
            "filled",
            "distinct_values",
            "range",
            "personal",
            "shape",
            "shape_share",
        ]
    ]


def references(overlapping: pd.DataFrame) -> pd.DataFrame:
    """How many of the ids that a table names are found where such ids are kept?

    Parameters
    ----------
    overlapping
        As from :func:`overlaps`.

    Returns
    -------
    pandas.DataFrame
        `source`, `table_name`, `column_name`, `found_in` (system and table that keep most of them), `ids`, `found`
        (share); the worst first.
    """
    columns = ["source", "table_name", "column_name", "found_in", "ids", "found"]
    told: dict[tuple, dict] = {}
    turned = {
        f"{what}_{a}": f"{what}_{b}" for what in ("source", "table", "column", "distinct") for a, b in ("ab", "ba")
    }
    flipped = overlapping.rename(columns=turned | {"a_in_b": "b_in_a", "b_in_a": "a_in_b"})
    for row in pd.concat([overlapping, flipped]).to_dict("records"):
        kept = REGISTERS.get(row["column_b"])
        if row["column_a"] != row["column_b"] or row["table_b"] != kept or row["table_a"] == kept:
            continue
        key = (row["source_a"], row["table_a"], row["column_a"])
        if key not in told or (row["a_in_b"], row["source_b"]) > (told[key]["found"], told[key]["found_in"]):
            told[key] = {
                "source": key[0], "table_name": key[1], "column_name": key[2],
                "found_in": f"{row['source_b']} {row['table_b']}", "ids": row["distinct_a"], "found": row["a_in_b"],
            }  # fmt: skip
    rows = pd.DataFrame(list(told.values()), columns=columns)
    return rows.sort_values(["found", *columns[:3]], ignore_index=True)


def answer(profiles: pd.DataFrame, overlapping: pd.DataFrame) -> str:
    """What is in the data? In two or three sentences of Markdown.

    Parameters
    ----------
    profiles, overlapping
        Public tables.
    """
    used = profiles[profiles["filled"] > 0]
    share = used["filled"].sum() / max(used["rows"].sum(), 1)
    systems, tables = used["source"].nunique(), used["table_name"].nunique()
    told = (
        f"**{len(used):,} columns of {tables} table{'s' if tables != 1 else ''} from {systems} "
        f"system{'s' if systems != 1 else ''} are {share:.0%} filled.** "
        f"{int(used['personal'].notna().sum()):,} of them hold personal data."
    )
    column, shares = links(overlapping)
    if column:
        told += f" Systems meet most by {WORDS[column]}: {say_links(column, shares)}."
    elif systems > 1:
        told += f" {say_links(column, shares)}."
    return told


def key_numbers(profiles: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    profiles
        As from :func:`column_profiles`.
    """
    used = profiles[profiles["filled"] > 0]
    share = round(float(used["filled"].sum() / max(used["rows"].sum(), 1)), 6)
    return [
        KeyNumber(
            "Cells filled",
            share,
            "share",
            "up",
            n=int(used["rows"].sum()),
            note="of the columns that a system delivers",
        ),
        KeyNumber("Columns with personal data", int(used["personal"].notna().sum()), "columns", n=len(used)),
        KeyNumber("Columns delivered", len(used), "columns"),
    ]


def _there(tables: Mapping[str, ir.Table | None]) -> Iterator[tuple[str, ir.Table]]:
    yield from ((name, tables[name]) for name in CANONICAL if tables.get(name) is not None)


def _profile(name: str, rows: ir.Table, engine: Engine, p: ProfilingParameters) -> pd.DataFrame:
    """One query for what is filled, one for the values of what is, and one for the shapes of some of them."""
    canonical = {column.name: column for column in CANONICAL[name].columns}
    known = [
        c
        for c in (*canonical, *(c for c in rows.columns if c not in canonical))
        if c not in _ORIGIN and c in rows.columns
    ]
    filled = rows.group_by("source").agg(
        n=rows.count(), **{f"{i}:filled": rows[c].count() for i, c in enumerate(known)}
    )
    filled = filled.order_by("source").to_pandas()
    n = int(filled["n"].sum())
    delivered = [i for i in range(len(known)) if filled[f"{i}:filled"].sum() > 0]
    sums: dict[str, ir.Value] = {}
    for i in delivered:
        value, declared = rows[known[i]], canonical.get(known[i])
        sums[f"{i}:distinct"] = value.nunique() if n <= p.exact_rows else value.approx_nunique()
        if (value.type().is_numeric() or value.type().is_temporal()) and not (declared and declared.personal):
            sums[f"{i}:smallest"], sums[f"{i}:largest"] = value.min().cast("string"), value.max().cast("string")
    if not sums:
        return pd.DataFrame()
    counted = filled.merge(rows.group_by("source").agg(**sums).to_pandas(), on="source")
    texts = [known[i] for i in delivered if rows[known[i]].type().is_string() and known[i] not in _PROSE]
    shapes, found = _shapes(rows, texts, n // p.shape_rows + 1, engine)
    told = []
    for row in counted.to_dict("records"):
        for i in delivered:
            column = known[i]
            here, filled = (row["source"], column), row[f"{i}:filled"]
            kind, personal = _kind(rows, column, canonical), _personal(filled, canonical.get(column), found.get(here))
            counts = (row["n"], filled, row[f"{i}:distinct"])
            ends = (row.get(f"{i}:smallest"), row.get(f"{i}:largest"))
            told.append((name, row["source"], column, kind, *counts, *ends, personal, *shapes.get(here, (None, None))))
    frame = pd.DataFrame(told, columns=[column.name for column in TABLES[0].columns])
    texts = ["smallest", "largest", "personal", "shape"]
    return frame.assign(
        **{c: frame[c].astype("object").where(frame[c].notna(), None) for c in texts},
        **{c: frame[c].astype("int64") for c in ("rows", "filled", "distinct_values")},
        shape_share=frame["shape_share"].astype(float),
    )


def _personal(filled: int, declared: Column | None, found: str | None) -> str | None:
    """What the column is known to hold, else what half of its values look like."""
    if not filled:
        return None
    return declared.personal if declared is not None and declared.personal else found


def _kind(rows: ir.Table, column: str, canonical: Mapping[str, Column]) -> str:
    if column in canonical:
        return canonical[column].kind
    kind = rows[column].type()
    named = ((kind.is_boolean, "flag"), (kind.is_numeric, "number"), (kind.is_date, "date"), (kind.is_temporal, "time"))
    return next((word for is_it, word in named if is_it()), "text")


def _shapes(rows: ir.Table, columns: list[str], every: int, engine: Engine) -> tuple[dict, dict]:
    """By source and column the commonest shape and its share (of equals the first), and what most look like."""
    if not columns:
        return {}, {}
    path = engine.scratch_file(".parquet")
    engine.write_parquet(rows.filter(rows["arrival"] % every == 0).select("source", *columns), path)
    some = engine.read_parquet(path)
    parts = []
    for column in columns:
        value = some[column].substr(0, 60)
        shape = (
            value.re_replace(r"[\p{Ll}\p{Lo}\p{Lm}\p{Lt}]+", "a").re_replace(r"\p{Lu}+", "A").re_replace(r"\p{N}", "9")
        )
        looks = ibis.cases((value.re_search(_EMAIL), "email"), (value.re_search(_PHONE), "phone"))
        part = some.select("source", column=ibis.literal(column), shape=shape, looks=looks)
        parts.append(part.filter(part["shape"].notnull()))
    told = ibis.union(*parts) if len(parts) > 1 else parts[0]
    counted = told.group_by("source", "column", "shape", "looks").agg(n=told.count()).to_pandas()
    keys = ["source", "column"]
    totals = counted.groupby(keys)["n"].sum()
    by_shape = counted.groupby([*keys, "shape"], as_index=False)["n"].sum()
    best = by_shape.sort_values([*keys, "n", "shape"], ascending=[True, True, False, True]).groupby(keys).first()
    shapes = {
        key: (shape, round(n / totals[key], 6))
        for key, shape, n in zip(best.index, best["shape"], best["n"], strict=True)
    }
    looks = counted.groupby([*keys, "looks"])["n"].sum()
    return shapes, {key[:2]: key[2] for key, n in looks.items() if n > totals[key[:2]] / 2}
