"""What stands in the columns, and which columns of different systems speak of the same things?"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import ibis
import ibis.expr.types as ir
import pandas as pd
from pydantic import Field

from clientbook.drafting import words as headers
from clientbook.engine import Engine
from clientbook.exact import total
from clientbook.stage import KeyNumber, NothingToShow, Parameters, Stage
from clientbook.tables import CANONICAL, DERIVED, OWNED_IDS, PERSONAL_KINDS, REGISTERS, Column, Table, owner_column

# Columns of a clean table that say where a row comes from, and nothing of what was delivered.
_ORIGIN = {"source", "file", "row", "arrival", "ordered_on", *(owner_column(name) for name in OWNED_IDS)}
# What cleaning split off a column is not delivered.
_SPLIT_COLUMNS = {(table, column.name): column for table, columns in DERIVED.items() for column in columns}
_SPLIT = {column for _, column in _SPLIT_COLUMNS}
# What one system's column may share with another's; keys of events and the like are nobody else's.
LINKING = (*OWNED_IDS, "other_person_id", "referred_person_id", "parent_account_id", "external_id", "email", "phone")
_LINKING_IDS = LINKING.index("external_id")
_PROSE = ("text", "title", "url")
_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_STREET = r"^\p{L}[\p{L} .'-]{3,}[ .]\d{1,4} ?[a-zA-Z]?$"
_STREET += r"|^\d{1,5}[a-zA-Z]?,? \p{L}[\p{L} .'-]+ (?i:street|st|road|rd|avenue|ave|lane|drive|rue)\.?$"
# a day long before there were such systems; what a system dates itself lies after
_BORN = r"^(19[0-7]\d-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]19[0-7]\d)$"
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
    shape_rows: int = Field(20_000, ge=100, description="about so many rows of a table are looked at for its commonest shapes")
    most_columns: int = Field(80, ge=2, description="so many columns at most are compared with each other")
    same_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of one column's rows, so many must hold a value of the other's for the two to hold the same",
    )


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

TABLES += (
    Table(
        "correspondences",
        "two columns of different systems that hold the same thing, whatever they are called",
        (
            Column("source_a", "text", "the first column's system"),
            Column("table_a", "text", "the first column's table"),
            Column("column_a", "text", "the first column"),
            Column("source_b", "text", "the second column's system"),
            Column("table_b", "text", "the second column's table"),
            Column("column_b", "text", "the second column"),
            Column("shared", "number", "different values that both hold", unit="values"),
            Column(
                "rows_a_in_b",
                "number",
                "of the first column's filled rows, those whose value the second holds",
                unit="share",
            ),
            Column(
                "rows_b_in_a",
                "number",
                "of the second column's filled rows, those whose value the first holds",
                unit="share",
            ),
            Column(
                "evidence",
                "text",
                "most: of one, most rows stand in the other; own: values that nobody has by chance; few: the same few values; "
                "name: some, and the same name",
            ),
        ),
    ),
    Table(
        "drift",
        "a column that is not as it was in the run for an earlier day",
        (
            Column("table_name", "text", "the clean table"),
            Column("source", "text", "the system"),
            Column("column_name", "text", "the column"),
            Column("measure", "text", "filled, distinct values for each filled row, commonest shape, or the column itself"),
            Column(
                "before",
                "number",
                "the share on the earlier day; of the column itself 1 where it was there",
                unit="share",
            ),
            Column("now", "number", "the share now", unit="share"),
            Column("change", "number", "now less before", unit="share"),
        ),
    ),
    Table(
        "bad_data_cost",
        "what bad data costs: a kind of loss",
        (
            Column("what", "text", "what was lost"),
            Column("source", "text", "the system it was lost in"),
            Column("rows", "number", "how many rows", unit="rows"),
            Column("money", "money", "what that is worth; empty where the book has no prices for it"),
            Column("how", "text", "how the money was worked out"),
        ),
    ),
)

STAGE = Stage(
    name="profiling",
    remembers=True,
    on_spark=("*",),
    uses=(*CANONICAL, "rejected"),
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
    columns, parts, delivering = [], [], _delivering(tables)
    for name, rows in _there(tables):
        sources = delivering.get(name)
        if not sources:
            continue
        for column in (each for each in LINKING if each in CANONICAL[name].names):
            if len(columns) + len(sources) > p.most_columns:
                break
            parts.append(_held(rows, column, sources, len(columns)).select("number", "value").distinct())
            columns += [(source, name, column) for source in sources]
    names = [column.name for column in TABLES[1].columns]
    if not parts:
        return pd.DataFrame(columns=names)
    held = engine.keep(ibis.union(*parts) if len(parts) > 1 else parts[0])
    # what is counted is sets of columns, of which there are few, not pairs of values
    where = held.group_by("value").agg(numbers=held["number"].collect().sort().map(lambda n: n.cast("string")).join(","))
    patterns = where.group_by("numbers").agg(n=where.count()).to_pandas()
    each, both = Counter(), Counter()
    for numbers, n in zip(patterns["numbers"], patterns["n"], strict=True):
        standing = [int(number) for number in numbers.split(",")]
        each.update(dict.fromkeys(standing, n))
        both.update(dict.fromkeys(combinations(standing, 2), n))
    told = []
    for (a, b), shared in both.items():
        a, b = sorted((a, b), key=lambda number: columns[number])
        told.append((*columns[a], *columns[b], shared, each[a], each[b], round(shared / each[a], 6), round(shared / each[b], 6)))
    return pd.DataFrame(told, columns=names).sort_values(names[:6], ignore_index=True)


# Keys that no other system can know, and words: what they share is chance.
_NEVER = {"event_id", "session_id", "message_id", "case_id", "name_title"}
# A column of fewer different values is a list to choose from; two such hold the same if their lists do.
_FEW = 20
# A value of so many letters and digits is not met twice by chance; a name or a town is.
_LONG = 8
# Of long values so many at least, and such a share of the rows, must be shared.
_OWN_VALUES, _OWN_SHARE = 20, 0.02
_NAMED_SHARE = 0.1


def correspondences(tables: Mapping[str, ir.Table | None], engine: Engine, p: ProfilingParameters) -> pd.DataFrame:
    """Which columns of different systems hold the same thing, also where their names differ?

    Only the values speak: text, ids and dates, in lower case and without blanks around them. Numbers and times are left
    out, as equal ones say nothing; so are whole numbers that lie close together, such as 1 to 20,000 in two systems.

    Parameters
    ----------
    tables
        Clean tables by name; None where the book lacks one.
    engine
        Where the distinct values are staged.
    p
        The parameters.

    Returns
    -------
    pandas.DataFrame
        The public table, each pair once.
    """
    columns, parts, delivering = [], [], _delivering(tables)
    for name, rows in _there(tables):
        sources = delivering.get(name)
        if not sources:
            continue
        for column in rows.columns:
            kind = rows[column].type()
            told = CANONICAL[name][column] if column in CANONICAL[name].names else None
            if column in _ORIGIN | _NEVER or column in _PROSE or column.endswith("_key") or column in _SPLIT:
                continue
            if not (kind.is_string() or kind.is_date()) or (told is not None and told.personal == "words"):
                continue
            held = _held(rows, column, sources, len(columns))
            parts.append(held.group_by("number", "value").agg(n=held["n"].sum()))
            columns += [(source, name, column, kind.is_date()) for source in sources]
    names = [column.name for column in TABLES[2].columns]
    if not parts:
        return pd.DataFrame(columns=names)
    held = engine.keep(ibis.union(*parts) if len(parts) > 1 else parts[0])
    whole = held["value"].re_search(r"^[0-9]{1,9}$").ifelse(held["value"], ibis.null("string")).try_cast("int64")
    each = held.group_by("number").agg(
        distinct=held.count(), rows=held["n"].sum(), whole=whole.count(), low=whole.min(), high=whole.max(),
        length=held["value"].length().median(),
    ).to_pandas().set_index("number")  # fmt: skip
    dense = (each["whole"] == each["distinct"]) & (each["distinct"] > 0.05 * (each["high"] - each["low"] + 1))
    other = held.view()
    pairs = held.inner_join(other, [held["value"] == other["value"], held["number"] < other["number"]])
    met = pairs.group_by(a=held["number"], b=other["number"]).agg(
        shared=pairs.count(), n_a=pairs["n"].sum(), n_b=pairs["n_right"].sum()
    )
    told = []
    for row in met.to_pandas().itertuples(index=False):
        (source_a, _, column_a, date_a), (source_b, _, column_b, date_b) = columns[row.a], columns[row.b]
        if source_a == source_b or date_a != date_b:
            continue
        if (dense[row.a] or dense[row.b]) and (column_a != column_b or column_a in LINKING[:_LINKING_IDS]):
            continue
        a, b = each.loc[row.a], each.loc[row.b]
        in_b, in_a = row.n_a / a["rows"], row.n_b / b["rows"]
        evidence = _evidence(row.shared, in_b, in_a, a, b, date_a, p.same_share)
        if not evidence and column_a == column_b and column_a not in LINKING[:_LINKING_IDS] and row.shared >= 5:
            # an id of the same name may count other things; a column of the same meaning need not overlap by half
            evidence = "name" if max(in_a, in_b) >= _NAMED_SHARE else ""
        if evidence:
            sides = sorted((columns[row.a][:3], columns[row.b][:3]))
            shares = (in_b, in_a) if sides[0] == columns[row.a][:3] else (in_a, in_b)
            told.append((*sides[0], *sides[1], int(row.shared), *(round(float(share), 6) for share in shares), evidence))
    return pd.DataFrame(told, columns=names).sort_values(names[:6], ignore_index=True)


def _held(rows: ir.Table, column: str, sources: list[str], first: int) -> ir.Table:
    """A column's values as they are compared, with the `number` of the system: in lower case, without blanks; telephones' digits.

    Systems are numbered from `first`, in their order. A value that is written in several ways comes once for each, with
    the `n` of its rows.
    """
    # many rows say the same, and to count them takes less than to put each in lower case
    told = rows.filter(rows[column].notnull())
    written = told.group_by("source", written=told[column]).agg(n=told.count())
    value = written["written"].cast("string").strip().lower()
    if column == "phone":
        value = value.re_replace(r"[^0-9+]", "")
    number = ibis.cases(*[(written["source"] == source, first + i) for i, source in enumerate(sources)])
    held = written.select(number=number.cast("int16"), value=value, n=written["n"].cast("float64"))
    return held.filter(held["value"].notnull() & (held["value"] != ""))


def _evidence(shared: int, in_b: float, in_a: float, a: pd.Series, b: pd.Series, dates: bool, most: float) -> str:
    fewest, union = min(a["distinct"], b["distinct"]), a["distinct"] + b["distinct"] - shared
    if fewest < _FEW:
        # a list within a longer one, such as five shops among a thousand towns, is not the same list
        return "few" if shared >= 2 and max(in_a, in_b) >= most and shared >= union / 2 else ""
    if max(in_a, in_b) >= most:
        return "most"
    long = not dates and min(a["length"], b["length"]) >= _LONG
    return "own" if long and shared >= _OWN_VALUES and max(in_a, in_b) >= _OWN_SHARE else ""


# A share that moves by less is noise of who came by; a form that lost a field moves it by much more.
DRIFTED = 0.05


def drift(profiles: pd.DataFrame, earlier: pd.DataFrame | None) -> pd.DataFrame:
    """Which columns are not as they were?

    Parameters
    ----------
    profiles
        As from :func:`column_profiles`.
    earlier
        The same of the newest run for an earlier day; None where there is none.

    Returns
    -------
    pandas.DataFrame
        The public table: what moved by `DRIFTED` or more, the most first. Empty without an earlier run.
    """
    names = [column.name for column in TABLES[3].columns]
    if earlier is None or earlier.empty:
        return pd.DataFrame(
            {name: pd.Series(dtype="float64" if name in ("before", "now", "change") else "object") for name in names}
        )
    keys = ["table_name", "source", "column_name"]
    both = _measures(earlier).merge(_measures(profiles), on=keys, how="outer", suffixes=("_before", "_now"))
    told = []
    for row in both.to_dict("records"):
        there = [not pd.isna(row[f"filled_{when}"]) for when in ("before", "now")]
        if not all(there):
            told.append((*(row[k] for k in keys), "the column itself", float(there[0]), float(there[1])))
            continue
        for measure in ("filled", "distinct", "shape"):
            before, now = row[f"{measure}_before"], row[f"{measure}_now"]
            if not pd.isna(before) and not pd.isna(now) and abs(now - before) >= DRIFTED:
                told.append((*(row[k] for k in keys), measure, round(before, 6), round(now, 6)))
    frame = pd.DataFrame(told, columns=names[:-1])
    frame["change"] = (frame["now"] - frame["before"]).round(6)
    order = frame["change"].abs().sort_values(ascending=False, kind="stable").index
    return frame.sort_values([*keys, "measure"]).loc[lambda f: order.intersection(f.index, sort=False)].reset_index(drop=True)


def _measures(profiles: pd.DataFrame) -> pd.DataFrame:
    rows = profiles[profiles["filled"] > 0]
    return rows[["table_name", "source", "column_name"]].assign(
        filled=rows["filled"] / rows["rows"],
        # of what nearly every row has one of its own; that of a list falls as rows come in, and means nothing
        distinct=(rows["distinct_values"] / rows["filled"]).where(rows["distinct_values"] > 0.5 * rows["filled"]),
        shape=rows["shape_share"],
    )


def earlier_profiles(runs: Iterable, as_of: dt.date) -> list[tuple[dt.date, pd.DataFrame]]:
    """The column profiles of kept runs for earlier days, the last run of each day, oldest first.

    Parameters
    ----------
    runs
        Whole runs, oldest first.
    as_of
        The day of this run.
    """
    found = {run.as_of: run for run in runs if run.as_of < as_of and "column_profiles" in run.tables}
    return [(day, found[day].read("column_profiles").to_pandas()) for day in sorted(found)]


def fill_by_day(days: Sequence[tuple[dt.date, pd.DataFrame]]) -> pd.DataFrame:
    """How full were the columns of each system, day by day?

    Parameters
    ----------
    days
        Days and their column profiles, oldest first.

    Returns
    -------
    pandas.DataFrame
        A row a day, a column a system: the share of cells filled in the columns that it delivers.
    """
    told = {}
    for day, profiles in days:
        rows = profiles[profiles["filled"] > 0]
        sums = rows.groupby("source")[["filled", "rows"]].sum()
        told[pd.Timestamp(day)] = sums["filled"] / sums["rows"]
    return pd.DataFrame(told).T.sort_index().rename_axis(index=None, columns=None)


def say_drift(moved: pd.DataFrame, days: int) -> str:
    """In one sentence: what changed most since the earlier day?

    Parameters
    ----------
    moved
        As from :func:`drift`.
    days
        How many days there are to compare, this one among them.
    """
    if days < 2:
        return "This is the first day that was looked at; the next run has something to compare with"
    if moved.empty:
        return "No column changed by five points or more since the day before"
    row = moved.iloc[0]
    place = f"{row['source']} {row['table_name']}.{row['column_name']}"
    if row["measure"] == "the column itself":
        return f"{place} {'is new' if row['now'] else 'is gone'} since the day before"
    return f"{place} changed most since the day before: {row['measure']} from {row['before']:.0%} to {row['now']:.0%}"


def draw_drift(by_day: pd.DataFrame, moved: pd.DataFrame):
    """How full each system's columns were, day by day, as lines; as bars while there is one day alone.

    Parameters
    ----------
    by_day
        As from :func:`fill_by_day`.
    moved
        As from :func:`drift`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    finding, detail = say_drift(moved, len(by_day)), "share of cells filled in the columns that a system delivers"
    if len(by_day) < 2:
        now = by_day.iloc[-1].dropna().sort_values(ascending=False, kind="stable")
        return charts.bars(list(now.index), list(now), finding=finding, detail=detail, format="percent")
    return charts.lines(by_day, finding=finding, detail=detail, format="percent")


def freshness(tables: Mapping[str, ir.Table | None], as_of: dt.date) -> pd.DataFrame:
    """How fresh is each source: when did something last happen in it?

    Parameters
    ----------
    tables
        Clean tables by name; None where the book lacks one.
    as_of
        Days are counted back from here.

    Returns
    -------
    pandas.DataFrame
        `source`, `table_name`, `newest` (a day), `days`; the stalest first. Tables without a time are not in it.
    """
    dated = [(name, rows[CANONICAL[name].at], rows) for name, rows in _there(tables) if CANONICAL[name].at]
    parts = [
        rows.group_by(table_name=ibis.literal(name), source=rows["source"]).agg(newest=at.max().cast("timestamp"))
        for name, at, rows in dated
    ]
    told = []
    if parts:
        seen = (ibis.union(*parts) if len(parts) > 1 else parts[0]).to_pandas()
        told = [(one.source, one.table_name, one.newest.date()) for one in seen.itertuples() if not pd.isna(one.newest)]
    frame = pd.DataFrame(told, columns=["source", "table_name", "newest"])
    frame["days"] = [max((as_of - day).days - 1, 0) for day in frame["newest"]]
    return frame.sort_values(["days", "source", "table_name"], ascending=[False, True, True], ignore_index=True)


def bad_data_cost(tables: Mapping[str, ir.Table | None]) -> pd.DataFrame:
    """What did bad data cost, in rows, and in money where the book has prices?

    Parameters
    ----------
    tables
        Clean tables and `rejected` by name; None where the book lacks one.

    Returns
    -------
    pandas.DataFrame
        The public table. Customers counted twice are records of one system with one address and one name; matching,
        which comes later, finds more.
    """
    parts = [_lost_messages(tables), _counted_twice(tables), _lost_orders(tables)]
    told = [row for part in parts for row in part]
    frame = pd.DataFrame(told, columns=[column.name for column in TABLES[4].columns])
    frame["money"] = frame["money"].astype(float)
    return frame.sort_values(["what", "source"], ignore_index=True)


def _lost_messages(tables):
    messages, people = tables.get("messages"), tables.get("people")
    if messages is None or people is None or "email_key" not in people.columns:
        return
    known = people.select(owner="source", id="person_id", reached=people["email_key"].notnull())
    mails = messages.filter(messages["channel"].lower().isin(["email", "e-mail", "mail"]))
    joined = mails.inner_join(known, [mails["person_source"] == known["owner"], mails["person_id"] == known["id"]])
    lost = joined.filter(~joined["reached"])
    counted = lost.group_by("source").agg(rows=lost.count(), money=total(lost["cost"]), priced=lost["cost"].count())
    for row in counted.order_by("source").to_pandas().itertuples():
        yield ("messages that cannot arrive", row.source, row.rows, row.money if row.priced else None,
               "their cost" if row.priced else "the messages have no cost")  # fmt: skip


def _counted_twice(tables):
    people, messages = tables.get("people"), tables.get("messages")
    if people is None or "email_key" not in people.columns:
        return
    name = ibis.coalesce(people["full_name_key"], people["given_name_key"] + " " + people["family_name_key"])
    rows = people.select("source", "person_id", key=people["email_key"], name=name, arrival=people["arrival"])
    rows = rows.filter(rows["key"].notnull() & rows["name"].notnull())
    again = rows.mutate(rank=ibis.row_number().over(group_by=["source", "key", "name"], order_by="arrival"))
    again = again.filter(again["rank"] > 0)
    counted = again.group_by("source").agg(rows=again.count()).order_by("source").to_pandas()
    costs: dict[str, float] = {}
    if messages is not None:
        twice = again.select(person_source="source", person_id="person_id")
        theirs = messages.semi_join(twice, ["person_source", "person_id"])
        spent = theirs.group_by("person_source").agg(money=total(theirs["cost"]), priced=theirs["cost"].count()).to_pandas()
        costs = {row.person_source: row.money for row in spent.itertuples() if row.priced}
    for row in counted.itertuples():
        how = "cost of the messages to the second record" if row.source in costs else "nothing was sent that has a cost"
        yield ("customers counted twice", row.source, row.rows, costs.get(row.source), how)


def _lost_orders(tables):
    orders, rejected = tables.get("orders"), tables.get("rejected")
    if orders is None or rejected is None:
        return
    lost = rejected.filter((rejected["table"] == "orders") & rejected["reason"].startswith("person_id "))
    counted = lost.group_by("source").agg(rows=lost.count()).order_by("source").to_pandas()
    known = orders.group_by("source").agg(money=total(orders["amount"]), lines=orders["amount"].count()).to_pandas()
    mean = {row.source: row.money / row.lines for row in known.itertuples() if row.lines}
    for row in counted.itertuples():
        money = round(row.rows * mean[row.source], 2) if row.source in mean else None
        yield (
            "orders that nobody can assign",
            row.source,
            row.rows,
            money,
            "rows at the mean amount of a line" if money is not None else "no prices",
        )


def say_cost(costs: pd.DataFrame, currency: str | None = None) -> str:
    """In one sentence: what costs most?

    Parameters
    ----------
    costs
        As from :func:`bad_data_cost`.
    currency
        The book's.
    """
    priced = costs[costs["money"].notna()]
    if costs.empty:
        return "No loss was found of the kinds that are looked for"
    if priced.empty:
        return f"{int(costs['rows'].sum()):,} rows are lost in one way or another; the book has no prices to say what for"
    by_kind = priced.groupby("what")["money"].sum().sort_index()
    from clientbook import charts

    most, whole = (charts.money(amount, currency) for amount in (by_kind.max(), by_kind.sum()))
    return f"{by_kind.idxmax().capitalize()} cost most: {most} of {whole} in all"


def draw_cost(costs: pd.DataFrame, currency: str):
    """What each kind of loss costs, as a figure; in rows where the book has no prices.

    Parameters
    ----------
    costs
        As from :func:`bad_data_cost`.
    currency
        The book's.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    if not costs["money"].notna().any():
        sums = costs.groupby("what")["rows"].sum().sort_values(ascending=False, kind="stable")
        return charts.bars(list(sums.index) or ["losses"], list(sums) or [0], finding=say_cost(costs), detail="rows")
    sums = costs.groupby("what")["money"].sum().sort_values(ascending=False, kind="stable")
    return charts.bars(
        list(sums.index),
        list(sums),
        finding=say_cost(costs, currency),
        detail="what each kind of loss costs, at the prices in this book",
        format="money",
        currency=currency,
    )


def same_things(found: pd.DataFrame) -> pd.DataFrame:
    """The correspondences, for reading: one line for each pair of systems and columns' names.

    Parameters
    ----------
    found
        As from :func:`correspondences`.

    Returns
    -------
    pandas.DataFrame
        `first`, `second`, `shared`, `first_in_second`, `second_in_first`, `evidence`; where names differ first.
    """
    first, second = (found[f"source_{side}"] + " " + found[f"table_{side}"] + "." + found[f"column_{side}"] for side in "ab")
    told = found.assign(first=first, second=second, same=found["column_a"] == found["column_b"])
    told = told.rename(columns={"rows_a_in_b": "first_in_second", "rows_b_in_a": "second_in_first"})
    told = told.sort_values(["same", "shared", "first", "second"], ascending=[True, False, True, True], ignore_index=True)
    return told[["first", "second", "shared", "first_in_second", "second_in_first", "evidence"]]


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
        return charts.bars(["shared values"], [0], finding=say_links(column, shares), detail="values in more than one system")
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
    first, second = (rows[f"source_{side}"] + " " + rows[f"table_{side}"] + "." + rows[f"column_{side}"] for side in "ab")
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
        With `filled` as a share; smallest and largest as one text, times to the day.
    """
    rows = profiles[profiles["filled"] > 0].reset_index(drop=True)
    # a page has room for days, not for their hours
    low, high = (rows[end].str.replace(r"^(\d{4}-\d\d-\d\d) .*", r"\1", regex=True) for end in ("smallest", "largest"))
    ends = low.str.slice(0, 16) + " to " + high.str.slice(0, 16)
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
    turned = {f"{what}_{a}": f"{what}_{b}" for what in ("source", "table", "column", "distinct") for a, b in ("ab", "ba")}
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


def _delivering(tables: Mapping[str, ir.Table | None]) -> dict[str, list[str]]:
    """Which systems have rows in which table? In one query for all tables."""
    parts = [rows.select(name=ibis.literal(name), source=rows["source"]).distinct() for name, rows in _there(tables)]
    told: dict[str, list[str]] = {}
    if parts:
        every = (ibis.union(*parts) if len(parts) > 1 else parts[0]).to_pandas()
        for row in every.sort_values(["name", "source"]).itertuples():
            told.setdefault(row.name, []).append(row.source)
    return told


def _profile(name: str, rows: ir.Table, engine: Engine, p: ProfilingParameters) -> pd.DataFrame:
    """One query for what is filled, one for the values of what is, and one for the shapes of some of them."""
    canonical = {column.name: column for column in CANONICAL[name].columns}
    known = [c for c in (*canonical, *(c for c in rows.columns if c not in canonical)) if c not in _ORIGIN and c in rows.columns]
    filled = rows.group_by("source").agg(n=rows.count(), **{f"{i}:filled": rows[c].count() for i, c in enumerate(known)})
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
    shapes, found = _shapes(rows, texts, n, n // p.shape_rows + 1, engine)
    told = []
    for row in counted.to_dict("records"):
        for i in delivered:
            column = known[i]
            here, filled = (row["source"], column), row[f"{i}:filled"]
            kind, personal = (
                _kind(rows, column, canonical),
                _personal(column, filled, canonical.get(column) or _SPLIT_COLUMNS.get((name, column)), found.get(here)),
            )
            # many values are counted in about, and there are never more of them than rows
            counts = (row["n"], filled, min(row[f"{i}:distinct"], filled))
            ends = (row.get(f"{i}:smallest"), row.get(f"{i}:largest"))
            told.append((name, row["source"], column, kind, *counts, *ends, personal, *shapes.get(here, (None, None))))
    frame = pd.DataFrame(told, columns=[column.name for column in TABLES[0].columns])
    texts = ["smallest", "largest", "personal", "shape"]
    return frame.assign(
        **{c: frame[c].astype("object").where(frame[c].notna(), None) for c in texts},
        **{c: frame[c].astype("int64") for c in ("rows", "filled", "distinct_values")},
        shape_share=frame["shape_share"].astype(float),
    )


def _personal(column: str, filled: int, declared: Column | None, found: str | None) -> str | None:
    """What the column is known to hold, else what half of its values look like."""
    if not filled:
        return None
    if declared is not None and declared.personal:
        return declared.personal
    # a canonical column that is not personal holds what it says; one of the company's own may hold anything
    return guess_personal(column.removeprefix("x_"), found) if declared is None else found


# Of what a header says, only that which speaks of a person everywhere.
_TELLING = {
    canonical: CANONICAL["people"][canonical].personal
    for canonical in (
        "given_name",
        "family_name",
        "full_name",
        "birth_date",
        "street",
        "city",
        "postcode",
        "external_id",
        "email",
        "phone",
    )
}
_TELLING["full_name"] = "name"


def guess_personal(header: str, found: str | None) -> str | None:
    """Which kind of personal data does a column of the company's own hold?

    Parameters
    ----------
    header
        Its name as delivered.
    found
        What most of its values look like.

    Returns
    -------
    str or None
        What the values say; else what the header says in one of five languages; None where neither says anything.
    """
    if found:
        return found
    said = headers.compact(headers.fold(header))
    for canonical, kind in _TELLING.items():
        if said in headers.SYNONYMS["people", canonical]:
            return kind
    tokens = set(headers.fold(header).split())
    if (
        (tokens & headers.PERSONS and tokens & headers.IDS)
        or said in headers.PERSONS
        or said in ("kundennr", "kundennummer", "customerno")
    ):
        return "id"
    joined = next((w for w in sorted(headers.IDS) if said.endswith(w) and said.removesuffix(w) in headers.PERSONS), None)
    return "id" if joined else None


def _kind(rows: ir.Table, column: str, canonical: Mapping[str, Column]) -> str:
    if column in canonical:
        return canonical[column].kind
    kind = rows[column].type()
    named = ((kind.is_boolean, "flag"), (kind.is_numeric, "number"), (kind.is_date, "date"), (kind.is_temporal, "time"))
    return next((word for is_it, word in named if is_it()), "text")


def _shapes(rows: ir.Table, columns: list[str], n: int, every: int, engine: Engine) -> tuple[dict, dict]:
    """By source and column the commonest shape and its share (of equals the first), and what most look like."""
    if not columns:
        return {}, {}
    some = engine.keep(rows.filter(rows["arrival"] % every == 0).select("source", *columns), rows=n // every + 1)
    parts = []
    for column in columns:
        # a value that stands in many rows is looked at once
        held = some.group_by("source", value=some[column].substr(0, 60)).agg(n=some.count())
        parts.append(held.filter(held["value"].notnull()).select("source", "value", "n", column=ibis.literal(column)))
    every_value = ibis.union(*parts) if len(parts) > 1 else parts[0]
    value = every_value["value"]
    shape = value.re_replace(r"[\p{Ll}\p{Lo}\p{Lm}\p{Lt}]+", "a").re_replace(r"\p{Lu}+", "A").re_replace(r"\p{N}", "9")
    looks = ibis.cases(
        (value.re_search(_EMAIL), "email"), (value.re_search(_PHONE), "phone"), (value.re_search(_STREET), "address"),
        (value.re_search(_BORN), "birth_date"),
    )  # fmt: skip
    told = every_value.select("source", "n", "column", shape=shape, looks=looks)
    counted = told.group_by("source", "column", "shape", "looks").agg(n=told["n"].sum()).to_pandas()
    keys = ["source", "column"]
    totals = counted.groupby(keys)["n"].sum()
    by_shape = counted.groupby([*keys, "shape"], as_index=False)["n"].sum()
    best = by_shape.sort_values([*keys, "n", "shape"], ascending=[True, True, False, True]).groupby(keys).first()
    shapes = {key: (shape, round(n / totals[key], 6)) for key, shape, n in zip(best.index, best["shape"], best["n"], strict=True)}
    looks = counted.groupby([*keys, "looks"])["n"].sum()
    # those born before 1980 are only a part of those who live
    enough = {"birth_date": 0.25}
    return shapes, {key[:2]: key[2] for key, n in looks.items() if n > totals[key[:2]] * enough.get(key[2], 0.5)}
