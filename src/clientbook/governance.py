"""What do we hold, where is it from, who answers for it, who uses it, and what do customers allow?"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import clocks, consent, parsing
from clientbook.book import Rule, Settings, Source
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
    "account_identities", "identity_changes", "identity_draws", "matching_records", "matching_edges", "review_pairs",
    "system_overlap", "system_flow", "value", "value_backtest", "allocations", "recoveries",
    "timeline", "stage_intervals", "event_transitions", "variants", "moments", "responsiveness", "best_times",
    "content_map", "accounts_view", "message_audit", "pressure", "next_actions", "segments", "personas", "targets", "use_cases",
    "source_worth", "column_use", "campaigns", "ideal_customer", "missing_roles",
)  # fmt: skip
# Columns that every clean table has, and that are nobody's personal data.
_PLACE = ("source", "file", "row", "arrival")

STAGE = Stage(
    name="governance",
    uses=(*CANONICAL, *_DERIVED),
    hears=("cleaning",),
    writes=("catalogue", "consent_coverage", "consent_history", "lineage", "policy"),
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
                Column("purpose", "text", "what the source is kept for, as the book says; empty where it does not"),
                Column(
                    "retention_days", "number", "how long its rows may be kept; empty where the book does not say", unit="days"
                ),
                Column("oldest", "time", "the oldest row, by the time that the table goes by"),
                Column("overdue", "number", "rows older than they may be", unit="rows"),
                Column("made_by", "text", "the stage that writes the table"),
                Column("kind", "text", "what stands in it: id, text, number, money, time, date or flag"),
                Column("meaning", "text", "what it means"),
                Column("personal", "text", "the kind of personal data; empty where it is none"),
                Column("rows", "number", "rows of the table from this source", unit="rows"),
                Column("filled", "number", "of these with a value", unit="share"),
                Column("repaired", "number", "values that cleaning changed or emptied, by row", unit="share"),
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
            "consent_history",
            "a purpose and a channel at the end of a quarter, and how many could be reached then",
            (
                Column("on", "time", "the beginning of the day"),
                Column("purpose", "text", "what consent is for"),
                Column("channel", "text", "the channel; `any` where the book names none"),
                Column("given", "number", "customers who allowed it", unit="customers"),
                Column("expired", "number", "whose consent had run out", unit="customers"),
                Column("withdrawn", "number", "who had refused or withdrawn it", unit="customers"),
            ),
        ),
        Table(
            "policy",
            "a rule of the book, and whether it holds",
            (
                Column("rule", "text", "what must hold"),
                Column("limit", "text", "within which limit"),
                Column("found", "number", "what was found", unit="as the rule says"),
                Column("n", "number", "of how many", unit="as the rule says"),
                Column("holds", "flag", "whether it holds; empty where the book cannot tell"),
                Column("what", "text", "what is wrong, in words"),
                Column("page", "text", "the page with the evidence"),
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


def catalogue(
    tables: Mapping[str, ir.Table], sources: Mapping[str, Source], stages: Sequence[Stage], as_of: dt.date | None = None
) -> pd.DataFrame:
    """Which columns are held, from whom, how well filled, and who uses them?

    Parameters
    ----------
    tables
        Every table of the run, by name.
    sources
        The book's, by name.
    stages
        As from :func:`declarations`.
    as_of
        The day of the run, from which the age of rows is counted; None asks for none.

    Returns
    -------
    pandas.DataFrame
        The public table `catalogue`, ordered by table, source and the column's place.
    """
    described = {table.name: table.columns for stage in stages for table in stage.tables}
    described |= {name: clean_columns(table) for name, table in CANONICAL.items()}
    maker = {name: stage.name for stage in stages for name in stage.writes}
    rows, repairs = [], _repairs(tables.get("changes"))
    for name, table in sorted(tables.items()):
        at = CANONICAL[name].at if name in CANONICAL and CANONICAL[name].at in table.columns else None
        ages = _ages(table, at, sources, as_of) if at and as_of and "source" in table.columns else {}
        known = {column.name: column for column in described.get(name, ())}
        readers = ", ".join(sorted(stage.name for stage in stages if _reads(stage, name) and stage.name != maker.get(name)))
        for source, count, filled in _filled(table):
            settings = sources.get(source)
            owner = settings.owner if settings else None
            oldest, overdue = ages.get(source, (None, None))
            for column in table.columns:
                told = known.get(column)
                rows.append(
                    {
                        "table": name,
                        "column": column,
                        "source": source,
                        "owner": owner,
                        "purpose": settings.purpose if settings else None,
                        "retention_days": settings.retention_days if settings else None,
                        "oldest": oldest,
                        "overdue": overdue,
                        "made_by": maker.get(name),
                        "kind": told.kind if told else _kind(table[column]),
                        "meaning": told.meaning if told else _meaning(column),
                        "personal": _personal(column, told) or None,
                        "rows": count,
                        "filled": round(filled[column] / count, 6) if count else None,
                        "repaired": round(repairs.get((source, name, column), 0) / count, 6) if count and source else None,
                        "used_by": readers or None,
                    }
                )
    told = pd.DataFrame(rows, columns=list(STAGE.tables[0].names))
    numbers = {name: "float64" for name in ("retention_days", "overdue", "repaired")}
    return told.astype(numbers).assign(oldest=pd.to_datetime(told["oldest"]).astype("datetime64[us]"))


def _repairs(changes: ir.Table | None) -> dict[tuple[str, str, str], int]:
    if changes is None or not {"source", "table", "column"} <= set(changes.columns):
        return {}
    each = changes.group_by("source", "table", "column").agg(n=changes.count()).to_pandas()
    return {(row.source, row.table, row.column): int(row.n) for row in each.itertuples()}


def _ages(table: ir.Table, at: str, sources: Mapping[str, Source], as_of: dt.date) -> dict[str, tuple[Any, int | None]]:
    """The oldest row of each source, and how many are older than they may be."""
    late = [
        (table["source"] == name) & (table[at] < ibis.timestamp(*(as_of - dt.timedelta(days=days)).timetuple()[:6]))
        for name, source in sources.items()
        if (days := source.retention_days)
    ]
    overdue = ibis.or_(*late).cast("int64").sum() if late else ibis.literal(0)
    each = table.group_by("source").agg(oldest=table[at].min(), overdue=overdue)
    asked = {name for name, source in sources.items() if source.retention_days}
    return {
        row["source"]: (row["oldest"], int(row["overdue"] or 0) if row["source"] in asked else None)
        for row in each.to_pyarrow().to_pylist()
    }


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
    known = {c.name: c.personal for table in CANONICAL.values() for c in table.columns if c.personal and c.name != "text"}
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


def consent_history(
    consents: ir.Table | None,
    identities: ir.Table | None,
    messages: ir.Table | None,
    as_of: dt.date,
    zone: str,
    quarters: int = 8,
) -> pd.DataFrame:
    """How did it develop, how many allow what by which channel?

    Parameters
    ----------
    consents, identities, messages
        Clean tables, and who is who; None for what is not there.
    as_of, zone
        The day of the run, the last that is looked at, in the book's zone.
    quarters
        How many quarters back.

    Returns
    -------
    pandas.DataFrame
        The public table `consent_history`, by purpose, channel and day; empty without consents.
    """
    columns = list(STAGE.tables[2].names)
    if consents is None:
        kinds = dict(zip(columns, ("datetime64[us]", "str", "str", "int64", "int64", "int64"), strict=True))
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})
    days = [as_of - dt.timedelta(days=91 * back) for back in range(quarters, -1, -1)]
    instants = ibis.memtable(
        pd.DataFrame({"on": pd.to_datetime(days), "instant": pd.to_datetime([clocks.day_begins(day, zone) for day in days])}),
        schema={"on": "timestamp", "instant": "timestamp"},
    )
    by = ibis.memtable(pd.DataFrame({"by": consent.channels(consents, messages)}))
    known = with_customer(consents, identities).cross_join(instants).cross_join(by)
    known = known.filter(known["indicated_at"] < known["instant"])
    known = known.filter(known["channel"].isnull() | (known["channel"] == known["by"]))
    ended = (known["status"] == "given") & (known["valid_to"] <= known["instant"]).fill_null(False)
    known = known.mutate(settled=ended.ifelse("expired", known["status"]))
    strict = ibis.cases(
        *[(known["settled"] == status, n) for status, n in consent.STRICTNESS.items()], else_=len(consent.STRICTNESS)
    )
    # the later one, and at one instant the stricter, in one number that can be compared
    order = known["indicated_at"].epoch_seconds() * 10 + strict
    last = (
        known.mutate(order=order)
        .group_by("on", "purpose", "by", "customer_id")
        .agg(settled=ibis._["settled"].argmax(ibis._["order"]))
    )
    each = last.group_by("on", "purpose", channel="by").agg(
        given=(last["settled"] == "given").sum(), expired=(last["settled"] == "expired").sum(),
        withdrawn=last["settled"].isin(("refused", "withdrawn")).sum(),
    )  # fmt: skip
    return each.order_by("purpose", "channel", "on").to_pandas()[columns]


def contradictions(consents: ir.Table | None, identities: ir.Table | None, as_of: dt.date) -> pd.DataFrame:
    """How many customers have said different things in different records, and how is that settled?

    Parameters
    ----------
    consents, identities
        Clean consents, and who is who; None for what is not there.
    as_of
        The day of the run.

    Returns
    -------
    pandas.DataFrame
        `purpose`, `said` (the last word of each record, in order), `customers`, `settled_as`; the most frequent first.
    """
    columns = ["purpose", "said", "customers", "settled_as"]
    if consents is None or identities is None:
        return pd.DataFrame(columns=columns)
    rows = with_customer(consents, identities)
    ended = (rows["status"] == "given") & (rows["valid_to"] <= ibis.timestamp(*as_of.timetuple()[:6])).fill_null(False)
    rows = rows.mutate(status=ended.ifelse("expired", rows["status"]), place=rows["channel"].fill_null(consent.ANY_CHANNEL))
    keys = ["customer_id", "purpose", "place"]
    last = rows.group_by(*keys, "person_source", "person_id").agg(
        status=rows["status"].argmax(rows["indicated_at"]), at=rows["indicated_at"].max()
    )
    each = last.group_by(keys).agg(
        kinds=last["status"].nunique(),
        said=last["status"].collect().unique().sort().join(" and "),
        settled_as=last["status"].argmax(last["at"]),
    )
    each = each.filter(each["kinds"] > 1)
    told = each.group_by("purpose", "said", "settled_as").agg(customers=each["customer_id"].nunique()).to_pandas()
    return told.sort_values(["customers", "purpose", "said", "settled_as"], ascending=[False, True, True, True],
                            ignore_index=True)[columns]  # fmt: skip


def stricter(
    consents: ir.Table | None, identities: ir.Table | None, messages: ir.Table | None, as_of: dt.date, zone: str
) -> pd.DataFrame:
    """How many could still be reached for marketing under a stricter rule?

    Parameters
    ----------
    consents, identities, messages
        Clean tables, and who is who; None for what is not there.
    as_of, zone
        The day of the run, in the book's zone.

    Returns
    -------
    pandas.DataFrame
        `rule`, `customers`, `lost` (share of those reached today); empty without consents.
    """
    if consents is None:
        return pd.DataFrame(columns=["rule", "customers", "lost"])
    instant = parsing.utc(ibis.timestamp(*as_of.timetuple()[:6]), zone)
    by = consent.channels(consents, messages)
    old = ibis.timestamp(*(as_of - dt.timedelta(days=730)).timetuple()[:6])
    given = consents["status"] == "given"
    rules = {
        "as today": consents,
        "consents older than two years no longer count": consents.filter(~given | (consents["indicated_at"] >= old)),
        "only consents that name the channel count": consents.filter(~given | consents["channel"].notnull()),
    }
    counts = {
        rule: int(consent.reachable(consent.in_force(rows, identities, instant, by)).count().to_pandas())
        for rule, rows in rules.items()
    }
    told = pd.DataFrame({"rule": list(counts), "customers": list(counts.values())})
    return told.assign(lost=(1 - told["customers"] / max(told["customers"].iloc[0], 1)).round(6))


def policy(
    settings: Settings,
    catalogue: pd.DataFrame,
    coverage: pd.DataFrame,
    *,
    audit: ir.Table | None = None,
    columns: ir.Table | None = None,
    cleaned: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Which rules does the book set, and which are broken?

    Parameters
    ----------
    settings
        The book's. One without rules is held to owners and retention.
    catalogue, coverage
        As from :func:`catalogue` and :func:`consent_coverage`.
    audit, columns
        The tables `message_audit` and `column_use`; None where they are not there.
    cleaned
        What cleaning said of itself.

    Returns
    -------
    pandas.DataFrame
        The public table `policy`, broken rules first.
    """
    rules = settings.policy or (Rule(rule="every source has an owner"), Rule(rule="nothing is kept longer than it may be"))
    rows = []
    for rule in rules:
        found, n, what, page = _found(rule.rule, settings, catalogue, coverage, audit, columns, cleaned or {})
        most = rule.at_most if rule.at_most is not None or rule.at_least is not None else _LIMITS.get(rule.rule)
        holds = None
        if found is not None:
            holds = (most is None or found <= most) and (rule.at_least is None or found >= rule.at_least)
        ends = [f"at most {most:g}"] if most is not None else []
        ends += [f"at least {rule.at_least:g}"] if rule.at_least is not None else []
        rows.append((rule.rule, " and ".join(ends) or None, found, n, holds, what, page))
    told = pd.DataFrame(rows, columns=list(STAGE.tables[3].names))
    told = told.astype({"found": "float64", "n": "float64", "holds": "boolean"})
    order = told["holds"].map({False: 0, True: 2}).fillna(1)
    return told.assign(_order=order).sort_values("_order", kind="stable", ignore_index=True).drop(columns="_order")


_LIMITS = {
    "every source has an owner": 0.0, "every source has a purpose": 0.0, "nothing is kept longer than it may be": 0.0,
    "messages without consent": 0.0, "personal data that no decision uses": 0.0,
}  # fmt: skip


def _found(rule, settings, catalogue, coverage, audit, columns, cleaned) -> tuple[float | None, float | None, str | None, str]:
    """What a rule is about, of how many, what is wrong in words, and where the evidence is."""
    sources = settings.sources
    if rule in ("every source has an owner", "every source has a purpose"):
        part = "owner" if "owner" in rule else "purpose"
        without = [name for name, source in sources.items() if not getattr(source, part)]
        return len(without), len(sources), f"without: {', '.join(without)}" if without else None, "09_governance"
    if rule == "nothing is kept longer than it may be":
        late = catalogue[catalogue["overdue"] > 0].drop_duplicates(["table", "source"])
        asked = catalogue[catalogue["overdue"].notna()].drop_duplicates(["table", "source"])
        if asked.empty:
            return None, None, "no source says how long it is kept (`retention_days`)", "09_governance"
        words = ", ".join(f"{row.table} of {row.source}" for row in late.itertuples())
        return float(late["overdue"].sum()), float(asked["rows"].sum()), words or None, "09_governance"
    if rule == "messages without consent" and audit is not None:
        judged = audit.filter((audit["verdict"] != "operational") & audit["no_consent"].notnull())
        sums = judged.aggregate(n=judged.count(), bad=judged["no_consent"].sum()).to_pandas().iloc[0]
        if sums["n"]:
            return float(sums["bad"]) / float(sums["n"]), float(sums["n"]), f"{int(sums['bad']):,} messages", "06_content"
    if rule == "personal data that no decision uses" and columns is not None:
        frame = columns.filter(columns["personal"].notnull()).to_pandas()
        idle = frame[frame["decisions"] == 0]
        words = ", ".join(sorted({f"{row.table}.{row.column}" for row in idle.itertuples()}))
        return float(len(idle)), float(len(frame)), words or None, "08_use_cases"
    if rule == "customers who allow marketing" and len(marketing(coverage)):
        best = marketing(coverage).iloc[0]
        return float(best["reachable"]), float(best["customers"]), f"by {best['channel']}", "09_governance"
    if rule == "rows that can be used":
        known = {number["name"]: number["value"] for number in cleaned.get("key_numbers", ())}
        if "Rows that can be used" in known:
            return float(known["Rows that can be used"]), float(known.get("Rows delivered", 0)), None, "01_cleaning"
    return None, None, "the book has not what it takes to tell", "09_governance"


def say_policy(told: pd.DataFrame) -> str:
    """In one sentence: which rules are broken?

    Parameters
    ----------
    told
        As from :func:`policy`.
    """
    broken = told.loc[told["holds"].eq(False).fillna(False), "rule"]
    if broken.empty:
        every = {1: "The one rule of the book holds", 2: "Both rules of the book hold"}
        every = every.get(len(told), f"All {len(told)} rules of the book hold")
        return every if told["holds"].notna().all() else "No rule of the book is broken, and some cannot be tested"
    return f"{len(broken)} of {len(told)} rules {'is' if len(broken) == 1 else 'are'} broken: {'; '.join(broken)}"


def history_of(told: pd.DataFrame, purpose: str = consent.MARKETING) -> pd.DataFrame:
    """The customers who allowed a purpose, a column a channel, a row a day.

    Parameters
    ----------
    told
        As from :func:`consent_history`.
    purpose
        Such as `marketing`.
    """
    some = told[told["purpose"] == purpose]
    wide = some.pivot_table(index="on", columns="channel", values="given", aggfunc="sum", fill_value=0)
    return wide.rename_axis(index=None, columns=None)


def say_history(wide: pd.DataFrame) -> str:
    """In one sentence: are there more who allow marketing than two years ago?

    Parameters
    ----------
    wide
        As from :func:`history_of`.
    """
    if len(wide) < 2:
        return "How consent developed cannot be said"
    name = wide.iloc[-1].sort_values(ascending=False, kind="stable").index[0]
    first, last = int(wide[name].iloc[0]), int(wide[name].iloc[-1])
    return f"By {name}, {last:,} customers allow marketing, after {first:,} on {wide.index[0]:%Y-%m-%d}"


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
            ("table", one, table, stage.name) for table in sorted(there & set(stage.writes)) for one in reads if one != table
        ]
    return pd.DataFrame(rows, columns=list(STAGE.tables[4].names))


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


def _by_id(columns: pd.Series) -> str | None:
    """What is told of customers by the book's own ids is about them too, though it names nobody."""
    return "about customers, by id" if columns.isin(("customer_id", "subject_id", "account_id", "person_id")).any() else None


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
                "personal": _joined(part["personal"].str.replace("_", " ")) or _by_id(part["column"]),
                "sources": _joined(first["source"]),
                "owners": _joined(first["owner"]),
                "used_by": part["used_by"].iloc[0],
            }
        )
    told = pd.DataFrame(rows, columns=["table", "made_by", "rows", "columns", "personal", "sources", "owners", "used_by"])
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
    held = catalogue[catalogue["source"].notna() & catalogue["personal"].notna() & catalogue["table"].isin(list(CANONICAL))]
    held = held.assign(values=(held["rows"] * held["filled"].fillna(0)).round().astype("int64"))
    each = (
        held[held["values"] > 0]
        .groupby("personal", as_index=False)
        .agg(values=("values", "sum"), sources=("source", _joined), owners=("owner", _joined))
    )
    each["personal"] = each["personal"].str.replace("_", " ")
    return each.rename(columns={"personal": "kind"}).sort_values(["values", "kind"], ascending=[False, True], ignore_index=True)


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
    held = catalogue[catalogue["table"].isin(list(CANONICAL)) & (catalogue["filled"] > 0) & (catalogue["filled"] < 0.05)]
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


def say_counted() -> str:
    """In one sentence: which customers are those who may allow something?"""
    return "Counted is who has an e-mail address, a telephone number or a street, or said what they allow."


def say_personal(told: pd.DataFrame) -> str:
    """In one sentence: which kind of personal data is held most?"""
    if told.empty:
        return "The sources deliver no personal data"
    first = told.iloc[0]
    n = len(told)
    return f"The sources deliver {n} {'kind' if n == 1 else 'kinds'} of personal data, most often {first['kind']}"


def answer(catalogue: pd.DataFrame, coverage: pd.DataFrame, faults: pd.DataFrame, rules: pd.DataFrame | None = None) -> str:
    """What is held, who answers for it, and who may be written to? In a few sentences of Markdown.

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.
    coverage
        As from :func:`consent_coverage`.
    faults
        As from :func:`ownerless`.
    rules
        As from :func:`policy`.
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
    held = f" {say_policy(rules)}." if rules is not None else ""
    return f"{owned}{held} {tables} tables are held; {columns} of their columns are personal data. {allowed}"


def key_numbers(
    catalogue: pd.DataFrame, coverage: pd.DataFrame, faults: pd.DataFrame, rules: pd.DataFrame | None = None
) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    catalogue
        As from :func:`catalogue`.
    coverage
        As from :func:`consent_coverage`.
    faults
        As from :func:`ownerless`.
    rules
        As from :func:`policy`.
    """
    numbers = []
    told = marketing(coverage)
    if not told.empty:
        best = told.iloc[0]
        numbers.append(
            KeyNumber("Customers who allow marketing", float(best["reachable"]), "share", "up", n=int(best["customers"]),
                      note=f"by {best['channel']}, the channel that most allow; of those with an e-mail address, a "
                           "telephone number or a street, or who said what they allow")
        )  # fmt: skip
    sources = int(catalogue["source"].dropna().nunique())
    numbers.append(KeyNumber("Sources without an owner", len(faults), "sources", "down", n=sources))
    if rules is not None:
        broken = int(rules["holds"].eq(False).sum())
        numbers.append(KeyNumber("Rules of the book that are broken", broken, "rules", "down", n=len(rules)))
    return numbers
