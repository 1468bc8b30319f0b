"""What do we hold, where is it from, who answers for it, who uses it, and what do customers allow?"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import consent, parsing
from clientbook.book import Source
from clientbook.customers import with_customer
from clientbook.faults import ClientbookError
from clientbook.stage import KeyNumber, Stage, load_stage
from clientbook.tables import CANONICAL, CONSENT_STATUSES, Column, Table, clean_columns

# Whose declarations tell what is read and written; those that are not installed are left out.
DESCRIBED = (
    "cleaning", "profiling", "matching", "value", "journeys", "content", "segments", "use_cases",
    "governance", "overview",
)  # fmt: skip
_DERIVED = (
    "changes", "rejected", "quality", "quality_history", "column_profiles", "overlaps", "correspondences", "drift",
    "bad_data_cost", "customers", "identities", "resolved_accounts",
    "account_identities", "identity_changes", "review_pairs", "system_overlap", "value", "value_backtest", "allocations", "recoveries",
    "timeline", "stage_intervals", "event_transitions", "variants", "moments", "responsiveness", "best_times",
    "content_map", "accounts_view", "message_audit", "pressure", "next_actions", "segments", "personas", "targets", "use_cases",
    "source_worth", "column_use",
)  # fmt: skip
# Columns that every clean table has, and that are nobody's personal data.
_PLACE = ("source", "file", "row", "arrival")

STAGE = Stage(
    name="governance",
    uses=(*CANONICAL, *_DERIVED),
    hears=("cleaning",),
    writes=("catalogue", "consent_coverage", "lineage"),
    shows="what is held, who owns and uses it, and how many customers may be written to",
    tables=(
        Table(
            "catalogue",
            "a column of a table, from one source",
            (
                Column("table", "text", "the table"),
                Column("column", "text", "the column"),
                Column("source", "text", "the source that delivers it; empty for what the notebooks make"),
                Column("owner", "text", "who answers for the source; empty where nobody does"),
                Column("made_by", "text", "the stage that writes the table"),
                Column("kind", "text", "what stands in it: id, text, number, money, time, date or flag"),
                Column("meaning", "text", "what it means"),
                Column("personal", "text", "the kind of personal data; empty where it is none"),
                Column("rows", "number", "rows of the table from this source", unit="rows"),
                Column("filled", "number", "of these with a value", unit="share"),
                Column("used_by", "text", "stages that read the table, joined by commas"),
            ),
        ),
        Table(
            "consent_coverage",
            "a purpose and a channel, and what customers allow for it on the day of the run",
            (
                Column("purpose", "text", "what consent is for"),
                Column("channel", "text", "the channel; `any` where the book names none"),
                Column("customers", "number", "customers who can be addressed or said something", unit="customers"),
                *(Column(name, "number", f"of these, {name}", unit="customers") for name in CONSENT_STATUSES),
                Column("reachable", "number", "share of these who allow it", unit="share"),
            ),
        ),
        Table(
            "lineage",
            "what a table is made from",
            (
                Column("from_kind", "text", "file or table", allowed=("file", "table")),
                Column("from_name", "text", "the delivered file, or the table that a stage reads"),
                Column("to_table", "text", "the table that is made from it"),
                Column("stage", "text", "the stage that makes it"),
            ),
        ),
    ),
)


def declarations(names: Iterable[str] = DESCRIBED) -> list[Stage]:
    """What does each stage say that it reads and writes?

    Parameters
    ----------
    names
        Of stages; one that there is none of is left out.
    """
    found = []
    for name in names:
        with contextlib.suppress(ClientbookError):
            found.append(load_stage(name))
    return found


def catalogue(tables: Mapping[str, ir.Table], sources: Mapping[str, Source], stages: Sequence[Stage]) -> pd.DataFrame:
    """Which columns are held, from whom, how well filled, and who uses them?

    Parameters
    ----------
    tables
        Every table of the run, by name.
    sources
        The book's, by name.
    stages
        As from :func:`declarations`.

    Returns
    -------
    pandas.DataFrame
        The public table `catalogue`, ordered by table, source and the column's place.
    """
    described = {table.name: table.columns for stage in stages for table in stage.tables}
    described |= {name: clean_columns(table) for name, table in CANONICAL.items()}
    maker = {name: stage.name for stage in stages for name in stage.writes}
    rows = []
    for name, table in sorted(tables.items()):
        known = {column.name: column for column in described.get(name, ())}
        readers = ", ".join(
            sorted(stage.name for stage in stages if _reads(stage, name) and stage.name != maker.get(name))
        )
        for source, count, filled in _filled(table):
            owner = sources[source].owner if source in sources else None
            for column in table.columns:
                told = known.get(column)
                rows.append(
                    {
                        "table": name,
                        "column": column,
                        "source": source,
                        "owner": owner,
                        "made_by": maker.get(name),
                        "kind": told.kind if told else _kind(table[column]),
                        "meaning": told.meaning if told else _meaning(column),
                        "personal": _personal(column, told) or None,
                        "rows": count,
                        "filled": round(filled[column] / count, 6) if count else None,
                        "used_by": readers or None,
                    }
                )
    return pd.DataFrame(rows, columns=list(STAGE.tables[0].names))


def _filled(table: ir.Table) -> list[tuple[str | None, int, dict[str, int]]]:
    """Rows and values of each source; of all rows, where a table does not come from one."""
    counts = {f"n_{i}": table[name].count() for i, name in enumerate(table.columns)}
    delivered = "source" in table.columns and "arrival" in table.columns
    if delivered:
        each = table.group_by("source").agg(_rows=table.count(), **counts).order_by("source")
    else:
        each = table.aggregate(_rows=table.count(), **counts)
    told = [
        (
            row.get("source") if delivered else None,
            int(row["_rows"]),
            {name: int(row[f"n_{i}"]) for i, name in enumerate(table.columns)},
        )
        for row in each.to_pyarrow().to_pylist()
    ]
    return told or [(None, 0, dict.fromkeys(table.columns, 0))]


def _reads(stage: Stage, table: str) -> bool:
    # who looks at whatever there is uses no table for its own sake
    return table in stage.needs or (table in stage.uses and stage.name != STAGE.name)


def _kind(column: ir.Column) -> str:
    kind = column.type()
    if kind.is_boolean():
        return "flag"
    if kind.is_numeric():
        return "number"
    return "time" if kind.is_timestamp() else "date" if kind.is_date() else "text"


def _meaning(column: str) -> str | None:
    return "a column that the book maps and no table knows" if column.startswith("x_") else None


def _personal(column: str, told: Column | None) -> str:
    if told and told.personal:
        return told.personal
    known = {
        c.name: c.personal for table in CANONICAL.values() for c in table.columns if c.personal and c.name != "text"
    }
    return known.get(column, "") if column not in _PLACE else ""


def consent_coverage(
    consents: ir.Table | None,
    identities: ir.Table | None,
    customers: ir.Table | None,
    messages: ir.Table | None,
    as_of: dt.date,
    zone: str,
) -> pd.DataFrame:
    """How many customers allow what, by which channel?

    Parameters
    ----------
    consents
        Clean consents; None where the book has none.
    identities
        Who is who; None means each person record is a customer.
    customers
        Those with an e-mail address, a telephone number or a street count; with None, those who said anything.
    messages
        For the channels that are used; None without.
    as_of, zone
        What holds when this day begins in the book's zone.

    Returns
    -------
    pandas.DataFrame
        The public table `consent_coverage`, by purpose and channel; empty without consents. Who said nothing is
        `unknown`.
    """
    columns = list(STAGE.tables[1].names)
    if consents is None:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in zip(columns, _COVERAGE, strict=True)})
    instant = parsing.utc(ibis.timestamp(*as_of.timetuple()[:6]), zone)
    by = consent.channels(consents, messages)
    allowed = consent.in_force(consents, identities, instant, by)
    said = with_customer(consents, identities).select("customer_id").distinct()
    if customers is not None:
        addressed = customers["email"].notnull() | customers["phone"].notnull() | customers["street"].notnull()
        said = said.union(customers.filter(addressed).select("customer_id"), distinct=True)
    everybody = int(said.count().to_pandas())
    counted = allowed.group_by("purpose", "channel", "status").agg(n=allowed.count()).to_pandas()
    wide = counted.pivot_table(index=["purpose", "channel"], columns="status", values="n", aggfunc="sum", fill_value=0)
    purposes = sorted(set(counted["purpose"]))
    wide = wide.reindex(pd.MultiIndex.from_product([purposes, by], names=["purpose", "channel"]), fill_value=0)
    wide = wide.reindex(columns=list(CONSENT_STATUSES), fill_value=0).astype("int64")
    wide["unknown"] += everybody - wide.sum(axis=1)
    wide.insert(0, "customers", everybody)
    wide["reachable"] = (wide["given"] / max(everybody, 1)).round(6)
    return wide.reset_index().rename_axis(columns=None)[columns]


_COVERAGE = ("str", "str", "int64", *["int64"] * len(CONSENT_STATUSES), "float64")


def lineage(inputs: Sequence[Mapping[str, Any]], there: Iterable[str], stages: Sequence[Stage]) -> pd.DataFrame:
    """What is each table made from?

    A stage's tables are taken to be made from all that it reads: finer than that nobody has written it down.

    Parameters
    ----------
    inputs
        What cleaning recorded of each file: `file`, `table`.
    there
        The tables of the run.
    stages
        As from :func:`declarations`.

    Returns
    -------
    pandas.DataFrame
        The public table `lineage`, files first.
    """
    there = set(there)
    made = {name: stage.name for stage in stages for name in stage.writes}
    delivered = {(item["file"], item["table"]) for item in inputs}
    rows = [("file", file, table, made.get(table, "cleaning")) for file, table in sorted(delivered)]
    for stage in stages:
        reads = sorted(there & {*stage.needs, *stage.uses})
        rows += [
            ("table", one, table, stage.name)
            for table in sorted(there & set(stage.writes))
            for one in reads
            if one != table
        ]
    return pd.DataFrame(rows, columns=list(STAGE.tables[2].names))


def ownerless(sources: Mapping[str, Source], catalogue: pd.DataFrame) -> pd.DataFrame:
    """For which sources does nobody answer, and what do they hold?

    Parameters
    ----------
    sources
        The book's, by name.
    catalogue
        As from :func:`catalogue`.

    Returns
    -------
    pandas.DataFrame
        `source`, `tables`, `personal_columns`, `fault`; empty where everybody is accounted for.
    """
    rows = []
    for name, source in sources.items():
        if not source.owner:
            held = catalogue[catalogue["source"] == name]
            personal = held[held["personal"].notna()]
            rows.append((name, ", ".join(sorted(set(held["table"]))), len(personal), "nobody answers for it"))
    return pd.DataFrame(rows, columns=["source", "tables", "personal_columns", "fault"])


def by_table(catalogue: pd.DataFrame) -> pd.DataFrame:
    """What is in each table, from whom, and who reads it?

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.

    Returns
    -------
    pandas.DataFrame
        `table`, `made_by`, `rows`, `columns`, `personal` (kinds), `sources`, `owners`, `used_by`; delivered tables
        first.
    """
    rows = []
    for name, part in catalogue.groupby("table", sort=True):
        first = part.drop_duplicates("source")
        rows.append(
            {
                "table": name,
                "made_by": part["made_by"].iloc[0],
                "rows": int(first["rows"].sum()),
                "columns": part["column"].nunique(),
                "personal": _joined(part["personal"].str.replace("_", " ")),
                "sources": _joined(first["source"]),
                "owners": _joined(first["owner"]),
                "used_by": part["used_by"].iloc[0],
            }
        )
    told = pd.DataFrame(
        rows, columns=["table", "made_by", "rows", "columns", "personal", "sources", "owners", "used_by"]
    )
    delivered = ~told["table"].isin(list(CANONICAL))
    return told.assign(_made=delivered).sort_values(["_made", "table"], ignore_index=True).drop(columns="_made")


def _joined(values: pd.Series) -> str | None:
    return ", ".join(sorted(set(values.dropna()))) or None


def personal_data(catalogue: pd.DataFrame) -> pd.DataFrame:
    """Which kinds of personal data do the sources deliver, in how many values?

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.

    Returns
    -------
    pandas.DataFrame
        `kind`, `values`, `sources`, `owners`; the most frequent first.
    """
    held = catalogue[
        catalogue["source"].notna() & catalogue["personal"].notna() & catalogue["table"].isin(list(CANONICAL))
    ]
    held = held.assign(values=(held["rows"] * held["filled"].fillna(0)).round().astype("int64"))
    each = (
        held[held["values"] > 0]
        .groupby("personal", as_index=False)
        .agg(values=("values", "sum"), sources=("source", _joined), owners=("owner", _joined))
    )
    each["personal"] = each["personal"].str.replace("_", " ")
    return each.rename(columns={"personal": "kind"}).sort_values(
        ["values", "kind"], ascending=[False, True], ignore_index=True
    )


def steps(lineage: pd.DataFrame) -> pd.DataFrame:
    """What does each stage read, and what does it write?

    Parameters
    ----------
    lineage
        As from :func:`lineage`.

    Returns
    -------
    pandas.DataFrame
        `stage`, `reads`, `writes`.
    """
    rows = []
    for stage, part in lineage.groupby("stage", sort=False):
        files = part.loc[part["from_kind"] == "file", "from_name"].nunique()
        tables = _joined(part.loc[part["from_kind"] == "table", "from_name"])
        reads = f"{files:,} delivered {'file' if files == 1 else 'files'}" if files else tables
        rows.append((stage, reads, _joined(part["to_table"])))
    return pd.DataFrame(rows, columns=["stage", "reads", "writes"])


def unused(catalogue: pd.DataFrame) -> pd.DataFrame:
    """Which delivered columns are hardly ever filled, so that their collection should be asked about?

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.

    Returns
    -------
    pandas.DataFrame
        `table`, `column`, `source`, `owner`, `filled`, `personal`; columns with some values, but in fewer than a
        twentieth of the rows.
    """
    held = catalogue[
        catalogue["table"].isin(list(CANONICAL)) & (catalogue["filled"] > 0) & (catalogue["filled"] < 0.05)
    ]
    told = held[["table", "column", "source", "owner", "filled", "personal"]]
    return told.sort_values(["filled", "table", "column"], ignore_index=True, kind="stable")


def marketing(coverage: pd.DataFrame) -> pd.DataFrame:
    """The rows of `consent_coverage` for marketing, the widest channel first.

    Parameters
    ----------
    coverage
        As from :func:`consent_coverage`.
    """
    told = coverage[coverage["purpose"] == consent.MARKETING]
    return told.sort_values(["reachable", "channel"], ascending=[False, True], ignore_index=True)


def say_coverage(coverage: pd.DataFrame) -> str:
    """In one sentence: by which channel can most customers be reached?"""
    told = marketing(coverage)
    if told.empty:
        return "This book does not say what customers allow"
    first, last = told.iloc[0], told.iloc[-1]
    if len(told) == 1:
        return f"{first['reachable']:.0%} of the customers allow marketing"
    return (
        f"Marketing may reach {first['reachable']:.0%} of the customers by {first['channel']}, and "
        f"{last['reachable']:.0%} by {last['channel']}"
    )


def say_personal(told: pd.DataFrame) -> str:
    """In one sentence: which kind of personal data is held most?"""
    if told.empty:
        return "The sources deliver no personal data"
    first = told.iloc[0]
    n = len(told)
    return f"The sources deliver {n} {'kind' if n == 1 else 'kinds'} of personal data, most often {first['kind']}"


def answer(catalogue: pd.DataFrame, coverage: pd.DataFrame, faults: pd.DataFrame) -> str:
    """What is held, who answers for it, and who may be written to? In a few sentences of Markdown.

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.
    coverage
        As from :func:`consent_coverage`.
    faults
        As from :func:`ownerless`.
    """
    tables, personal = catalogue["table"].nunique(), catalogue[catalogue["personal"].notna()]
    columns = len(personal.drop_duplicates(["table", "column"]))
    sources = catalogue["source"].dropna().nunique()
    owned = (
        f"**For {len(faults)} of {sources} {'source' if sources == 1 else 'sources'} nobody answers "
        f"({', '.join(faults['source'])}): name an owner for each.**"
        if len(faults)
        else f"**All {sources} sources have an owner.**"
        if sources > 1
        else "**The source has an owner.**"
    )
    told = say_coverage(coverage)
    allowed = (
        f"{told}."
        if not coverage.empty
        else "This book does not say what customers allow, so that every list says `unknown`: ask them before writing."
    )
    return f"{owned} {tables} tables are held; {columns} of their columns are personal data. {allowed}"


def key_numbers(catalogue: pd.DataFrame, coverage: pd.DataFrame, faults: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.
    coverage
        As from :func:`consent_coverage`.
    faults
        As from :func:`ownerless`.
    """
    numbers = []
    told = marketing(coverage)
    if not told.empty:
        best = told.iloc[0]
        numbers.append(
            KeyNumber("Customers who allow marketing", float(best["reachable"]), "share", "up",
                      n=int(best["customers"]), note=f"by {best['channel']}, the channel that most allow")
        )  # fmt: skip
    sources = int(catalogue["source"].dropna().nunique())
    numbers.append(KeyNumber("Sources without an owner", len(faults), "sources", "down", n=sources))
    return numbers
