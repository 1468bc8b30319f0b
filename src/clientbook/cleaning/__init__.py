"""What was delivered, what of it can be used, and what became of the rest?"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import operator
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import parsing, sources, suppression
from clientbook.book import Book, Delivery
from clientbook.cleaning import cells, repeats, spread
from clientbook.cleaning.cells import KIND_IN_WORDS as _KIND_IN_WORDS
from clientbook.cleaning.repeats import Judged
from clientbook.cleaning.scoring import score
from clientbook.cleaning.sense import sense
from clientbook.cleaning.standards import RULES
from clientbook.consent import MARKETING
from clientbook.engine import Engine, row_hash
from clientbook.faults import Fault, FaultError
from clientbook.site import numbers
from clientbook.stage import KeyNumber, Parameters, Stage
from clientbook.tables import CANONICAL, DERIVED, OBSERVED_AT, Column, Table, owner_column

_QUALITY = (
    Column("source", "text", "the system"),
    Column("owner", "text", "who answers for it"),
    Column("table", "text", "the canonical table"),
    Column("column", "text", "the canonical column; empty where the rule is of the whole row"),
    Column("rule", "text", "what a row should be"),
    Column("check", "text", "the rule without its column, the same in all tables"),
    Column("failed", "number", "rows that are not", unit="rows"),
    Column("of", "number", "rows that it was asked of", unit="rows"),
    Column("severity", "text", "error (the row or its money is lost), warning (look at it), note (it was put right)"),
)

STAGE = Stage(
    name="cleaning",
    reads_files=True,
    remembers=True,
    on_spark=("*",),
    writes=(*CANONICAL, "changes", "rejected", "quality", "quality_history"),
    shows="what was delivered, and what of it can be used",
    parameters=Parameters,
    tables=(
        Table(
            "rejected",
            "a delivered row that could not be used",
            (
                Column("source", "text", "the system it came from"),
                Column("table", "text", "the canonical table it was meant for"),
                Column("column", "text", "the column at fault, as delivered; empty where the row could not be read"),
                Column("reason", "text", "what is wrong"),
                Column("raw", "text", "the mapped columns as delivered, as JSON", personal="words"),
                Column("file", "text", "its file"),
                Column("row", "number", "its number in the file, as a spreadsheet shows it", unit="rows"),
                Column("arrival", "number", "the order of arrival"),
            ),
        ),
        Table(
            "changes",
            "a cell that was changed",
            (
                Column("source", "text", "the system it came from"),
                Column("table", "text", "the canonical table"),
                Column("id", "id", "the row's own id in its source, where the table has one", personal="id"),
                Column("column", "text", "the canonical column"),
                Column("before", "text", "what was delivered", personal="words"),
                Column("after", "text", "what stands there now; empty where it was emptied", personal="words"),
                Column("rule", "text", "why; several with a comma between"),
                Column("file", "text", "its file"),
                Column("row", "number", "its row's number in the file, as a spreadsheet shows it", unit="rows"),
                Column("arrival", "number", "the order of arrival"),
            ),
        ),
        Table("quality", "a rule, and how many rows of a source's table fail it", _QUALITY),
        Table(
            "quality_history",
            "the same, for each day that a run was made for",
            (Column("as_of", "date", "the day of the run"), *_QUALITY),
        ),
    ),
)

_SEVERITIES = ["error", "warning", "note"]
ROW_COUNTS = ("rows_in", "kept", "merged", "returns", "later", "suppressed", "rejected")

# So many days of the quality's history are carried from run to run.
HISTORY_DAYS = 400

# Rows of a delivery stay together and in order when deliveries are put one below the other.
_DELIVERY_STRIDE = 2**40

# These tables are there even where nothing was rejected or changed.
_PLACE = {"file": "string", "row": "int64", "arrival": "int64"}
_ALWAYS = {
    "rejected": dict.fromkeys(("source", "table", "column", "reason", "raw"), "string") | _PLACE,
    "changes": dict.fromkeys(("source", "table", "id", "column", "before", "after", "rule"), "string") | _PLACE,
}

_IBIS_TYPES = {
    "id": "string",
    "text": "string",
    "number": "float64",
    "money": "float64",
    "time": "timestamp",
    "date": "date",
    "flag": "boolean",
}


@dataclass
class Cleaned:
    """What came out of cleaning a book?

    Attributes
    ----------
    tables
        Clean canonical tables by name, each ordered by arrival, and `rejected`, `changes` and `quality`.
    rows
        One mapping a source, table and file: `rows_in` and what became of them, named as in `ROW_COUNTS`.
    inputs
        One mapping a file: what it is and its hash.
    notes
        What a reader should know of the deliveries, a sentence each.
    cells
        How many cells fail each rule, a row each source, table, column and rule of a delivery.
    """

    tables: dict[str, ir.Table] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    inputs: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class _Loaded:
    """One delivery, read but not yet judged."""

    source: str
    table: Table
    position: int
    delivery: Delivery
    raw: sources.Raw
    mapping: dict[str, str]
    readings: dict[str, parsing.Reading]
    values: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


def clean(book: Book, engine: Engine, as_of: dt.date, loaded: Sequence[_Loaded] | None = None) -> Cleaned:
    """What of the delivered rows can be used, and what became of each of the rest?

    Every row that was delivered is kept, merged with an equal one, moved to returns, later than `as_of`, or rejected
    with its reason; the sum is checked.

    Parameters
    ----------
    book
        Whose deliveries are read.
    engine
        Where they are read and judged.
    as_of
        Rows of this day in the book's zone, and after, are set apart.
    loaded
        The book's deliveries as :func:`load` tells them, where they are read already.

    Raises
    ------
    FaultError
        If a file cannot be read, a mapped column is not there, or the order of day and month cannot be decided.
    """
    loaded = load(book, engine) if loaded is None else loaded
    cleaned = Cleaned()
    forgotten = _forgotten(loaded, book)
    repeated = _delivered_again(loaded, cleaned.notes)
    judged: list[Judged] = []
    for number, item in enumerate(loaded):
        cleaned.inputs += [_describe(item, facts) for facts in item.raw.files]
        cleaned.notes += [str(note) for note in item.raw.notes]
        looked = _judge(item, engine, book, as_of, number, forgotten, repeated[number])
        cleaned.notes += looked.notes
        owners = {name: _owner(item, name) for name in item.table.owned_ids if name in item.mapping}
        judged.append(Judged(looked.rows, item.mapping, owners))
    parts: dict[str, list[ir.Table]] = {}
    quality: list[pd.DataFrame] = []
    for places in _by_table(loaded).values():
        parts_of_table = [judged[number] for number in places]
        table, rule = (
            loaded[places[0]].table,
            book.settings.cleaning.same_id.get(loaded[places[0]].table.name, "newest"),
        )
        settled, changes = _settle(table, parts_of_table, rule, loaded[places[0]].source, engine)
        if changes is not None:
            parts.setdefault("changes", []).append(changes)
        for number, rows in zip(places, settled, strict=True):
            item = loaded[number]
            seen = _count(rows, item)
            for name, part in _split(rows, item, number, seen).items():
                parts.setdefault(name, []).append(part)
            quality.append(_failed(seen, item))
            cleaned.rows += _account(seen, item)
    none = {name: ibis.memtable(pd.DataFrame(columns=list(kinds)), schema=kinds) for name, kinds in _ALWAYS.items()}
    cleaned.tables = none | {name: _stack(rows) for name, rows in parts.items()}
    for row in cleaned.rows:
        if row["rows_in"] != sum(row[name] for name in ROW_COUNTS[1:]):
            raise AssertionError(f"rows of {row['file']} are not accounted for: {row}")
    cleaned.notes += _other_purposes(cleaned.tables.get("consents"))
    cleaned.cells = pd.concat(quality, ignore_index=True) if quality else pd.DataFrame()
    # what reads the tables again reads them as they are written, once they are: the quality is asked for by itself
    return cleaned


_FOR_MARKETING = re.compile(r"marketing|newsletter|werb|advert|promo|mailing|publicit|pubblicit|reclame|营销|推广")


def _other_purposes(consents: ir.Table | None) -> list[str]:
    """What is said where no consent is for marketing, as the book names that in its own words.

    Only words that speak of marketing are repeated: what else stands in the column may be anything.
    """
    if consents is None:
        return []
    counted = consents.group_by("purpose").agg(n=consents.count()).order_by(ibis.desc("n"), "purpose").limit(100).to_pandas()
    if counted.empty or MARKETING in set(counted["purpose"]):
        return []
    meant = [name for name in counted["purpose"] if _FOR_MARKETING.search(name.lower())][:3]
    told = f"consents: none is for the purpose {MARKETING}, which messages have that name no other, so that nobody allows it."
    pairs = ", ".join(f"{name}: {MARKETING}" for name in meant)
    said = f" Is {' and '.join(map(repr, meant))} that?" if meant else " If one of its purposes is that, say which."
    return [f"{told}{said} Below the table in clientbook.yaml: values: {{purpose: {{{pairs or f'…: {MARKETING}'}}}}}."]


def quality(cleaned: Cleaned, tables: Mapping[str, ir.Table], book: Book) -> pd.DataFrame:
    """How many of how many rows fail each rule, and who answers for it?

    Parameters
    ----------
    cleaned
        As from :func:`clean`.
    tables
        Its clean tables, as they were written or as they are.
    book
        Who owns which source.

    Returns
    -------
    pandas.DataFrame
        The public table, by source, table and rule.
    """
    counts = summary(cleaned.rows).groupby(["source", "table"], as_index=False, sort=True)[list(ROW_COUNTS)].sum()
    counts = counts.assign(of=counts["rows_in"], column=None)
    superseded = _superseded(tables.get("changes", cleaned.tables["changes"]))
    merged = counts.merge(superseded, on=["source", "table"], how="left")
    older = merged["superseded"].fillna(0).astype("int64")
    told = [
        merged.assign(rule="delivered once", check="delivered once", failed=merged["merged"] - older, severity="note"),
        counts.assign(rule="complete and readable", check="complete and readable", failed=counts["rejected"], severity="error"),
        merged.assign(rule="the newest of its id", check="superseded", failed=older, severity="note")[older > 0],
        # of no rule that can fail: what had not happened on that day
        counts.assign(rule="before the day of the report", check="later", failed=counts["later"], severity="note")[
            counts["later"] > 0
        ],
    ]
    told += [cleaned.cells] if len(cleaned.cells) else []
    told.append(sense(tables))
    names = [column.name for column in _QUALITY]
    frame = pd.concat([part for part in told if len(part)], ignore_index=True)
    frame = frame.assign(
        owner=[book.settings.sources[name].owner for name in frame["source"]],
        failed=frame["failed"].astype("int64"), of=frame["of"].astype("int64"),
        **{name: frame[name].astype("object").where(frame[name].notna(), None) for name in ("column",)},
    )[names]  # fmt: skip
    frame["owner"] = frame["owner"].astype("object").where(frame["owner"].notna(), None)
    return frame.sort_values(["source", "table", "rule"], ignore_index=True)


def history(now: pd.DataFrame, as_of: dt.date, earlier: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """How did each rule fare, day by day?

    Parameters
    ----------
    now
        The public table `quality`.
    as_of
        Its day.
    earlier
        `quality_history` of earlier runs, in any order. Of one day the last one counts; days after `as_of` do not.

    Returns
    -------
    pandas.DataFrame
        The public table, by day, source, table and rule; the last `HISTORY_DAYS` days.
    """
    # a day is one however often it was run, so that a run made again says the same again
    parts = [part.assign(as_of=pd.to_datetime(part["as_of"]).dt.date) for part in earlier if len(part)]
    parts = [part[part["as_of"] < as_of] for part in parts]
    days: dict[dt.date, pd.DataFrame] = {}
    for part in parts:
        for day, rows in part.groupby("as_of"):
            days[day] = rows
    days[as_of] = now.assign(as_of=as_of)
    names = ["as_of", *(column.name for column in _QUALITY)]
    frame = pd.concat([days[day] for day in sorted(days)[-HISTORY_DAYS:]], ignore_index=True)[names]
    for name in ("owner", "column"):
        frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
    return frame.sort_values(["as_of", "source", "table", "rule"], ignore_index=True)


def earlier_quality(runs: Iterable) -> list[pd.DataFrame]:
    """What earlier runs that are kept say of their own quality and of that before them.

    Parameters
    ----------
    runs
        Whole runs, oldest first. The newest of them knows most; one from before there was a history knows nothing.
    """
    return [run.read("quality_history").to_pandas() for run in runs if "quality_history" in run.tables]


def _delivered_again(loaded: Sequence[_Loaded], notes: list[str]) -> list[frozenset[str]]:
    """By delivery, the files that are byte for byte one that came before for the same table."""
    seen: dict[tuple, str] = {}
    told = []
    for item in loaded:
        again = set()
        for facts in item.raw.files:
            key = (
                item.source,
                item.table.name,
                tuple(sorted(item.mapping.items())),
                tuple(sorted(item.delivery.ids.items())),
                facts.sha256,
            )
            # the same file under two of the book's paths is one file
            if key in seen:
                again.add(facts.path)
                notes.append(f"{facts.path} was delivered before, as {seen[key]}: all its rows were merged.")
            seen.setdefault(key, facts.path)
        told.append(frozenset(again))
    return told


def _by_table(loaded: Sequence[_Loaded]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for number, item in enumerate(loaded):
        groups.setdefault((item.source, item.table.name), []).append(number)
    return groups


def _settle(
    table: Table, parts: Sequence[Judged], rule: str, source: str, engine: Engine
) -> tuple[list[ir.Table], ir.Table | None]:
    """The rows of each delivery of one table, once those that another one holds too are merged; what was superseded."""
    settled = list(parts)
    found = repeats.again(table, settled, engine) if len(settled) > 1 else None
    if found is not None:
        settled = [_merge(part, found, engine) for part in settled]
    older = repeats.superseded(table, settled, rule, engine)
    if older is None:
        return [part.rows for part in settled], None
    changes = _superseded_cells(table, settled, older, source, engine)
    return [_merge(part, older, engine).rows for part in settled], changes


def _merge(part: Judged, found: ir.Table, engine: Engine) -> Judged:
    joined = part.rows.left_join(found.select(_again="arrival"), part.rows["arrival"] == found["arrival"])
    fate = joined["_again"].notnull().ifelse(ibis.literal("merged"), joined["_fate"])
    rows = engine.keep(joined.mutate(_fate=fate).select(*part.rows.columns))
    return Judged(rows, part.mapping, part.owners)


def _superseded_cells(table: Table, parts: Sequence[Judged], older: ir.Table, source: str, engine: Engine) -> ir.Table:
    """What the older row said where the newer one says something else; one line at least for each row."""
    told = []
    names = [n for n in table.names if all(f"typed:{n}" in part.rows.columns for part in parts)]
    key = repeats.SAME[table.name][0]
    stacked = [
        part.rows.select(
            **{n: part.rows[f"typed:{n}"].cast("string") for n in names},
            file=part.rows["file"], row=part.rows["row"], arrival=part.rows["arrival"],
        )
        for part in parts
    ]  # fmt: skip
    every = ibis.union(*stacked) if len(stacked) > 1 else stacked[0]
    old = engine.keep(every.inner_join(older, "arrival"))
    new = engine.keep(every.semi_join(older.select(arrival="winner"), "arrival").rename({f"new:{c}": c for c in every.columns}))
    both = engine.keep(old.inner_join(new, old["winner"] == new["new:arrival"]))
    for name in names:
        differs = ~both[name].identical_to(both[f"new:{name}"])
        # a row that differs in nothing that all deliveries bring is told by its key
        rows = both.filter(differs) if name != key else both
        told.append(
            rows.select(
                source=ibis.literal(source), table=ibis.literal(table.name), file=rows["file"], row=rows["row"], id=rows[key],
                column=ibis.literal(name), before=rows[name], after=rows[f"new:{name}"], rule=ibis.literal("superseded"),
                arrival=rows["arrival"],
            )
        )  # fmt: skip
    return ibis.union(*told) if len(told) > 1 else told[0]


def _superseded(changes: ir.Table) -> pd.DataFrame:
    rows = changes.filter(changes["rule"] == "superseded")
    counted = rows.group_by("source", "table").agg(superseded=rows["arrival"].nunique()).to_pandas()
    return counted if len(counted) else pd.DataFrame({"source": [], "table": [], "superseded": []}, dtype="object")


def _failed(counted: pd.DataFrame, item: _Loaded) -> pd.DataFrame:
    """How many cells of a delivery fail each rule?"""
    used = counted[counted["_fate"].isin(["kept", "returns"])]
    told = []
    for name in (c.removeprefix("filled:") for c in counted.columns if c.startswith("filled:")):
        # a column that a default or another column fills is asked of no cell
        filled = used.groupby(used[f"rules:{name}"].fillna(""))[f"filled:{name}"].sum()
        totals: dict[str, int] = {}
        for rules, n in filled.items():
            for rule in rules.split(", ") if rules else ():
                totals[rule] = totals.get(rule, 0) + int(n)
        for rule, n in sorted(totals.items()):
            phrase, severity = RULES.get(rule, ("can be read", "warning"))
            check = "can be read" if rule.startswith("not ") and rule != "not allowed" else rule
            told.append(
                {
                    "source": item.source, "table": item.table.name, "column": name, "rule": f"{name} {phrase}", "check": check,
                    "failed": n, "of": int(filled.sum()), "severity": severity,
                }
            )  # fmt: skip
    return pd.DataFrame(told)


def load(book: Book, engine: Engine) -> list[_Loaded]:
    """Read every delivery of a book and settle which column is which and how it is read.

    Raises
    ------
    FaultError
        With every fault of every delivery.
    """
    loaded, faults = [], []
    for source, name, position, delivery in book.deliveries():
        key = f"sources.{source}.{name}"
        try:
            raw = _read(book, engine, delivery, position, key)
            mapping = _map_columns(CANONICAL[name], delivery, raw, key)
            if name == "orders":
                raw = spread.gathered(raw, mapping, engine, key)
            readings = _read_times(book, source, CANONICAL[name], delivery, raw, mapping, key)
            loaded.append(
                _Loaded(source, CANONICAL[name], position, delivery, raw, mapping, readings, book.settings.cleaning.values)
            )
        except FaultError as error:
            faults += error.faults
    if faults:
        raise FaultError(faults)
    return loaded


def _read(book: Book, engine: Engine, delivery: Delivery, position: int, key: str) -> sources.Raw:
    if delivery.path is None:
        return sources.query(engine, book.folder, sql=delivery.sql, connection=delivery.connection, number=position, key=key)
    return sources.read(
        engine,
        book.folder,
        path=delivery.path,
        sheet=delivery.sheet,
        encoding=delivery.encoding,
        delimiter=delivery.delimiter,
        key=key,
    )


def default_as_of(loaded: Iterable[_Loaded], today: dt.date, zone: str) -> dt.date:
    """The day after the newest thing seen that is not after today; with nothing seen, today.

    Parameters
    ----------
    loaded
        The deliveries.
    today
        Whatever is dated after this day is no observation.
    zone
        The book's time zone, whose days are meant.
    """
    newest = []
    tomorrow = parsing.midnight(today + dt.timedelta(days=1))
    for item in loaded:
        for column in item.table.columns:
            if column.name in OBSERVED_AT and column.name in item.mapping:
                delivered = item.raw.table[item.mapping[column.name]]
                seen = parsing.local(parsing.parse(delivered, "time", item.readings[column.name]), zone)
                last = seen.max(where=seen < tomorrow).to_pyarrow().as_py()
                newest += [last.date()] if last else []
    return max(newest) + dt.timedelta(days=1) if newest else today


def summary(rows: Sequence[dict]) -> pd.DataFrame:
    """What became of the rows of each file?

    Parameters
    ----------
    rows
        As in :attr:`Cleaned.rows`.

    Returns
    -------
    pandas.DataFrame
        A row a source, table and file; `source`, `table`, `file` and the `ROW_COUNTS`.
    """
    return pd.DataFrame(list(rows), columns=["source", "table", "file", *ROW_COUNTS])


def accounts(rows: Sequence[dict]) -> pd.DataFrame:
    """The summary without the fates that no row met, for reading."""
    told = summary(rows)
    empty = [name for name in ROW_COUNTS[2:] if not told[name].any()]
    words = {"rows_in": "delivered", "later": "after this report's day", "suppressed": "forgotten on request"}
    return told.drop(columns=empty).rename(columns=words)


def reasons(rejected: ir.Table) -> pd.DataFrame:
    """Why were rows rejected, how many each?

    Returns
    -------
    pandas.DataFrame
        `source`, `table`, `column`, `reason`, `rows`; the most frequent first.
    """
    counted = rejected.group_by("source", "table", "column", "reason").agg(rows=rejected.count())
    return counted.order_by(ibis.desc("rows"), "source", "table", "column", "reason").to_pandas()


def fates(rows: Sequence[dict]) -> pd.DataFrame:
    """How many rows were kept, merged, and so on, in all files?

    Returns
    -------
    pandas.DataFrame
        `fate` in words, `rows`; those that happened, in the order of `ROW_COUNTS`.
    """
    told = pd.DataFrame({"fate": ROW_COUNTS[1:], "rows": [sum(row[name] for row in rows) for name in ROW_COUNTS[1:]]})
    words = {
        "later": "after this report's day",
        "suppressed": "forgotten on request",
        "merged": "merged with an equal one",
    }
    told["fate"] = told["fate"].replace(words)
    return told[told["rows"] > 0].reset_index(drop=True)


def say_fates(fates: pd.DataFrame) -> str:
    """In one sentence: what became of most rows?"""
    if fates.empty:
        return "No row was delivered"
    most = fates.loc[fates["rows"].idxmax()]
    return f"{numbers.share(most['rows'] / fates['rows'].sum(), 0)} of the rows were {most['fate']}"


def quality_shares(quality: pd.DataFrame) -> pd.DataFrame:
    """The rules that some row fails, with its share, the worst first: errors before warnings before notes.

    Parameters
    ----------
    quality
        As from :func:`quality`.
    """
    told = quality[quality["failed"] > 0]
    told = told.assign(share=told["failed"] / told["of"].where(told["of"] > 0), rank=told["severity"].map(_SEVERITIES.index))
    told = told.sort_values(
        ["rank", "share", "source", "table", "rule"], ascending=[True, False, True, True, True], ignore_index=True
    )
    return told[["severity", "source", "owner", "table", "rule", "failed", "of", "share"]]


def changed_cells(changes: ir.Table) -> pd.DataFrame:
    """What was changed, and why, how often?

    Parameters
    ----------
    changes
        The public table.

    Returns
    -------
    pandas.DataFrame
        `source`, `table`, `column`, `rule`, `cells`, `emptied` of them; the most frequent first.
    """
    counted = changes.group_by("source", "table", "column", "rule").agg(
        cells=changes.count(), emptied=changes["after"].isnull().sum()
    )
    return counted.order_by(ibis.desc("cells"), "source", "table", "column", "rule").to_pandas()


def explain(changes: ir.Table, source: str, table: str, row_id: str) -> pd.DataFrame:
    """Why does this row say what it says?

    Parameters
    ----------
    changes
        The public table.
    source, table, row_id
        Which row: its system, its canonical table, its own id.

    Returns
    -------
    pandas.DataFrame
        `column`, `before`, `after`, `rule`, `file`, `row`; what was delivered, and what became of it.
    """
    rows = changes.filter((changes["source"] == source) & (changes["table"] == table) & (changes["id"] == row_id))
    return rows.order_by("column", "arrival").select("column", "before", "after", "rule", "file", "row").to_pandas()


def undo(rows: ir.Table, changes: ir.Table, table: str, column: str, rules: Sequence[str] | None = None) -> ir.Table:
    """A clean table with one column as it was delivered, where cleaning changed it.

    Parameters
    ----------
    rows
        The clean table.
    changes
        The public table.
    table, column
        Canonical names. Of a column that is no text, what could not be read stays empty.
    rules
        Undo only these; None means all but `superseded`, whose rows are others.
    """
    theirs = changes.filter((changes["table"] == table) & (changes["column"] == column) & (changes["rule"] != "superseded"))
    if rules is not None:
        theirs = theirs.filter(theirs["rule"].isin(list(rules)))
    before = theirs.select(_arrival="arrival", _before="before")
    joined = rows.left_join(before, rows["arrival"] == before["_arrival"])
    was = joined["_before"].try_cast(rows[column].type()) if not rows[column].type().is_string() else joined["_before"]
    return joined.mutate(**{column: joined["_arrival"].notnull().ifelse(was, joined[column])}).select(*rows.columns)


def failing(quality: pd.DataFrame, most: int = 12) -> pd.DataFrame:
    """Where does quality fail most: sources' tables against kinds of rule?

    Parameters
    ----------
    quality
        As from :func:`quality`.
    most
        So many of the worst tables and kinds.

    Returns
    -------
    pandas.DataFrame
        Shares: a row a source's table, a column a kind of rule, warnings and errors alone. Empty where nothing fails.
    """
    rows = quality[(quality["severity"] != "note") & (quality["failed"] > 0)]
    if rows.empty:
        return pd.DataFrame()
    rows = rows.assign(name=rows["source"] + " " + rows["table"], share=rows["failed"] / rows["of"].where(rows["of"] > 0))
    wide = rows.pivot_table(index="name", columns="check", values="share", aggfunc="max").fillna(0.0)
    worst = wide.max(axis=1).sort_values(ascending=False, kind="stable").index[:most]
    kinds = wide.max().sort_values(ascending=False, kind="stable").index[:most]
    return wide.loc[sorted(worst), list(kinds)].rename_axis(index=None, columns=None)


def say_failing(shares: pd.DataFrame) -> str:
    """In one sentence: where is it worst?

    Parameters
    ----------
    shares
        As from :func:`failing`.
    """
    if shares.empty:
        return "No rule fails in a way that loses anything"
    name, kind = max(((a, b) for a in shares.index for b in shares.columns), key=lambda at: (shares.loc[at], at))
    told = {"reference": "name something that its register does not know", "placeholder": "are placeholders",
            "complete and readable": "cannot be used", "can be read": "cannot be read",
            "order of time": "are out of order in time"}  # fmt: skip
    what = told.get(kind, f"fail on {kind!r}")
    rows = "rows" if kind == "complete and readable" else "cells of one column"
    return f"In {name} {shares.loc[name, kind]:.1%} of the {rows} {what}, the most of all tables"


def draw_failing(shares: pd.DataFrame):
    """The same as a heat map.

    Parameters
    ----------
    shares
        As from :func:`failing`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    if shares.empty:
        return charts.bars(["rules that fail"], [0], finding=say_failing(shares), detail="warnings and errors")
    return charts.heatmap(shares, finding=say_failing(shares), detail="worst share of rows or cells that fail", format="percent")


def told(notes: Sequence[str]) -> pd.DataFrame:
    """The notes as a table.

    Parameters
    ----------
    notes
        As in :attr:`Cleaned.notes`.
    """
    return pd.DataFrame({"note": list(dict.fromkeys(notes)) or ["Nothing: every file was read as it is."]})


def scored(tables: Mapping[str, ir.Table], spoiled: ir.Table | None, rejects: ir.Table | None, country: str) -> pd.DataFrame:
    """The score of a made company; a book without truth, or without people, has none.

    Parameters
    ----------
    tables
        Clean tables by name.
    spoiled, rejects
        The truth, or None.
    country
        The book's.

    Returns
    -------
    pandas.DataFrame
        `what`, `right`, `of`, `share`.
    """
    if spoiled is None or "people" not in tables:
        return pd.DataFrame([("no truth to score against", 0, 0, None)], columns=["what", "right", "of", "share"])
    return score(tables, spoiled, rejects, country)


def trend(history: pd.DataFrame) -> pd.DataFrame:
    """Does quality get better: of all that was asked, what share failed, day by day?

    Parameters
    ----------
    history
        As from :func:`history`.

    Returns
    -------
    pandas.DataFrame
        A row a day, a column a source; the share of failed warnings and errors. A day that a source did not deliver on
        is empty.
    """
    rows = history[history["severity"] != "note"]
    sums = rows.groupby(["as_of", "source"])[["failed", "of"]].sum()
    shares = (sums["failed"] / sums["of"].where(sums["of"] > 0)).unstack("source")
    return shares.rename_axis(index=None, columns=None)


def say_trend(shares: pd.DataFrame) -> str:
    """In one sentence: better or worse than on the day before?

    Parameters
    ----------
    shares
        As from :func:`trend`.
    """
    if len(shares) < 2:
        return "This is the first day that quality was measured on; the next run has something to compare with"
    change = (shares.iloc[-1] - shares.iloc[-2]).dropna()
    if change.empty or change.abs().max() < 0.00005:
        return "Quality is as it was on the day before"
    worst, best = change.idxmax(), change.idxmin()
    if change[worst] >= 0.00005:
        better = f", while {best} got better" if change[best] <= -0.00005 else ""
        before, now = shares[worst].iloc[-2:]
        return f"Quality got worse most in {worst}: from {before:.2%} to {now:.2%} that fail{better}"
    return f"Quality got better most in {best}: from {shares[best].iloc[-2]:.2%} to {shares[best].iloc[-1]:.2%} that fail"


def draw_trend(shares: pd.DataFrame):
    """The same as lines, or as bars while there is one day alone.

    Parameters
    ----------
    shares
        As from :func:`trend`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    detail = "share of what was asked that fails, warnings and errors"
    if len(shares) < 2:
        now = shares.iloc[-1].dropna().sort_values(ascending=False, kind="stable") if len(shares) else pd.Series(dtype=float)
        return charts.bars(list(now.index), list(now), finding=say_trend(shares), detail=detail, format="percent")
    shares = shares.set_axis(pd.to_datetime(shares.index))
    return charts.lines(shares, finding=say_trend(shares), detail=detail, format="percent")


def usable(rows: Sequence[dict]) -> float:
    """Which share of the delivered rows can be used?

    Parameters
    ----------
    rows
        As in :attr:`Cleaned.rows`.
    """
    return sum(row["kept"] + row["returns"] for row in rows) / max(sum(row["rows_in"] for row in rows), 1)


def key_numbers(cleaned_rows: Sequence[dict], quality: pd.DataFrame | None = None) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    cleaned_rows
        As in :attr:`Cleaned.rows`.
    quality
        As from :func:`quality`, where it was asked for.
    """
    total = {name: sum(row[name] for row in cleaned_rows) for name in ROW_COUNTS}
    watched = [
        KeyNumber("Rows that can be used", round(usable(cleaned_rows), 6), "share", "up", n=total["rows_in"]),
        KeyNumber("Rows rejected", total["rejected"], "rows", "down", n=total["rows_in"]),
        KeyNumber("Rows delivered", total["rows_in"], "rows", n=total["rows_in"]),
    ]
    if quality is not None and len(quality):
        asked = quality[quality["severity"] != "note"]
        failed, of = int(asked["failed"].sum()), int(asked["of"].sum())
        note = "warnings and errors, of all rows that a rule was asked of"
        watched.append(KeyNumber("Rules failed", round(failed / max(of, 1), 6), "share", "down", n=of, note=note))
    return watched


def answer(rows: Sequence[dict]) -> str:
    """Are the delivered rows fit for use? In two sentences of Markdown."""
    total = {name: sum(row[name] for row in rows) for name in ROW_COUNTS}
    files = len(rows)
    share = usable(rows)
    rest = [
        (total["rejected"], "could not be used and were set aside with their reason"),
        (total["merged"], "had been delivered twice"),
        (total["later"], "lie after the day this report is for"),
    ]
    told = [f"{n:,} {what}" for n, what in rest if n]
    tail = f" Of the rest, {'; '.join(told)}." if told else " Nothing had to be set aside."
    returned = f", {total['returns']:,} of them as returns" if total["returns"] else ""
    return (
        f"**{numbers.share(share)} of {total['rows_in']:,} delivered rows can be used**{returned}. "
        f"They came in {files:,} {'file' if files == 1 else 'files'}, and every row is accounted for.{tail}"
    )


def _map_columns(table: Table, delivery: Delivery, raw: sources.Raw, key: str) -> dict[str, str]:
    there = [name for name in raw.table.columns if name not in ("_file", "_row", "_arrival")]
    if not there:
        told = "the file holds no record, so that nobody knows its columns."
        raise FaultError(Fault(told, "Deliver it again, or take it out of the book.", key=key, file=raw.files[0].path))
    # a column that the book gives another name has that one alone
    claimed = set(delivery.columns.values())
    mapping = {name: name for name in table.names if name in there and name not in claimed}
    mapping |= delivery.columns
    files = ", ".join(facts.path for facts in raw.files[:3]) + (" …" if len(raw.files) > 3 else "")
    faults = []
    for canonical, delivered in delivery.columns.items():
        if delivered not in there:
            close = difflib.get_close_matches(delivered, there, n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            faults.append(
                Fault(
                    "the file has no such column.",
                    f"{hint}It has: {', '.join(there)}.",
                    key=f"{key}.columns.{canonical}",
                    file=files,
                    column=delivered,
                )
            )
    for name in table.required:
        if name not in mapping:
            faults.append(
                Fault(
                    f"{table.name} need a `{name}`, and no column is mapped to it.",
                    f"Map one under `columns`. The file has: {', '.join(there)}.",
                    key=key,
                    file=files,
                )
            )
    rule = delivery.cancelled
    if rule and rule.column not in mapping:
        faults.append(
            Fault(
                f"the rule asks for a `{rule.column}`, and no column is mapped to it.",
                f"Map one under `columns`. The file has: {', '.join(there)}.",
                key=f"{key}.cancelled",
                file=files,
            )
        )
    if faults:
        raise FaultError(faults)
    return mapping


def _read_times(book, source, table, delivery, raw, mapping, key) -> dict[str, parsing.Reading]:
    readings = {}
    faults = []
    zone = book.zone(source, delivery)
    for column in table.columns:
        if column.name not in mapping:
            continue
        formats: tuple[str, ...] = ()
        delivered = raw.table[mapping[column.name]]
        kind = delivered.type()
        if column.kind in ("time", "date") and not (kind.is_timestamp() or kind.is_date()):
            given = delivery.date_format(column.name)
            if given:
                formats = (given,)
            else:
                formats, fault = parsing.detect_formats(delivered)
                # a day of birth is never counted in seconds, and is no moment in any zone
                formats = tuple(one for one in formats if column.kind == "time" or one != parsing.EPOCH)
                if fault:
                    where = ", ".join(facts.path for facts in raw.files[:3])
                    remedy = f"{fault.remedy} `dates: {{{column.name}: '%d/%m/%Y'}}` has the day first."
                    faults.append(Fault(fault.message, remedy, key=key, file=where, column=mapping[column.name]))
        # only text has a decimal mark of its own
        decimal = delivery.decimal if kind.is_string() else "."
        readings[column.name] = parsing.Reading(decimal, zone, formats, book.settings.currency)
    if faults:
        raise FaultError(faults)
    return readings


def _describe(item: _Loaded, facts: sources.FileFacts) -> dict:
    return {
        "source": item.source,
        "table": item.table.name,
        "file": facts.path,
        "rows": facts.rows,
        "bytes": facts.bytes,
        "sha256": facts.sha256,
        "modified": facts.modified,
        "format": facts.format,
        "encoding": facts.encoding,
        "delimiter": facts.delimiter,
        "columns": list(facts.columns),
        "same_as": facts.same_as,
    }


def _judge(
    item: _Loaded,
    engine: Engine,
    book: Book,
    as_of: dt.date,
    number: int,
    forgotten: _Forgotten | None,
    repeated: frozenset[str],
) -> cells.Looked:
    """Every delivered row with its typed values put right, and `_fate`: what becomes of it."""
    table, raw = item.table, item.raw.table
    delivered = sorted(set(item.mapping.values()))
    mapped = [column for column in table.columns if column.name in item.mapping]
    wide = raw.select(
        **{f"raw:{name}": raw[name] for name in delivered},
        file=raw["_file"],
        row=raw["_row"],
        arrival=raw["_arrival"] + number * _DELIVERY_STRIDE,
    )
    substituted = [name for name in item.mapping if _given(item, name)]
    # one query for all that has to be known of the delivery first; each more would be built, compiled and read again
    asked = cells.asked(wide, lambda name: _typed(wide, item, table[name]), table, item.mapping, substituted, book, as_of)
    # rows that differ in the column that names them differ, and one column is hashed sooner than all
    named = [item.mapping[table.key]] if table.key in item.mapping and table.name != "orders" else delivered
    seen = wide.aggregate(**asked, rows=wide.count(), digests=_digest(wide, named).nunique()).to_pyarrow()
    tidy = cells.tidy(seen, wide, item.mapping, substituted)
    wide = _understood(wide, item, mapped, tidy)
    alone = seen["rows"][0].as_py() == seen["digests"][0].as_py()
    wide = _with_merged(wide, item, delivered, engine, repeated, alone)
    wide = wide.mutate(**{f"bad:{c.name}": _is_bad(wide, item, c) for c in mapped if _can_be_bad(c)})
    where = f"{item.source}.{table.name}"
    looked = cells.put_right(wide, seen, table, item.mapping, substituted, book, as_of, where)
    wide = looked.rows
    column, reason = _rejection(wide, item, book)
    dated = table.at and table.at in item.mapping
    later = wide[f"typed:{table.at}"] >= parsing.day_begins(as_of, book.settings.timezone) if dated else ibis.literal(False)
    back = _is_return(wide, item) if table.name == "orders" else ibis.literal(False)
    fate = ibis.cases(
        # before all others, so that nothing of them is kept with a reason
        *([(_is_forgotten(wide, item, forgotten), "suppressed")] if forgotten else []),
        (wide["_merged"], "merged"),
        (column.notnull(), "rejected"),
        (later.fill_null(False), "later"),
        (back.fill_null(False), "returns"),
        else_="kept",
    )
    judged = wide.mutate(_fate=fate, _column=column, _reason=reason)
    judged = judged.mutate(**_unseen(judged, table, as_of, book.settings.timezone), **_derived(judged, item, book))
    spent = [c for c in judged.columns if c.startswith("bad:")]
    judged = _without_doubles(judged, item, substituted).drop("_merged", *spent)
    # what follows reads the rows several times
    rows = sum(facts.rows for facts in item.raw.files)
    return replace(looked, rows=engine.keep(judged, rows=rows))


def _digest(wide: ir.Table, delivered: Sequence[str]) -> ir.IntegerColumn:
    return row_hash([wide[f"raw:{name}"] for name in delivered])


def _without_doubles(judged: ir.Table, item: _Loaded, substituted: Sequence[str]) -> ir.Table:
    """The rows without what was delivered in cells that are good: what they say stands in the `typed:` column beside.

    It stays in rows that are rejected, and where a cell says nothing, or something that a rule speaks of. A column that
    another or a default may fill keeps all of it, so that it can be told what was delivered.
    """
    needed: dict[str, list[ir.BooleanValue]] = {}
    for name, delivered in item.mapping.items():
        tests = needed.setdefault(delivered, [])
        typed = f"typed:{name}" if f"typed:{name}" in judged.columns else f"typed:x_{name}"
        if name in (*_FILLED, *substituted):
            tests.append(ibis.literal(True))
        else:
            tests.append(judged[typed].isnull())
            tests += [judged[f"rules:{name}"].notnull()] if f"rules:{name}" in judged.columns else []
    rejected = judged["_column"].notnull() & (judged["_fate"] == "rejected")
    kept = {}
    for delivered, tests in needed.items():
        raw = judged[f"raw:{delivered}"]
        kept[f"raw:{delivered}"] = functools.reduce(operator.or_, tests, rejected).ifelse(raw, ibis.null(raw.type()))
    return judged.mutate(**kept)


# What a default, a whole name or a price times a quantity may fill.
_FILLED = ("given_name", "family_name", "quantity", "amount", "purpose")


@dataclass
class _Forgotten:
    """What the deliveries hold of those who asked to be forgotten: ids and order ids by owner, and contacts."""

    people: dict[str, set[str]] = field(default_factory=dict)
    orders: dict[str, set[str]] = field(default_factory=dict)
    contacts: dict[str, set[str]] = field(default_factory=lambda: {"email": set(), "phone": set()})


def _forgotten(loaded: Sequence[_Loaded], book: Book) -> _Forgotten | None:
    """Who of those delivered is on the list? By their keys, and people by e-mail address and telephone number too.

    None where nobody is on it, so that nothing is read for it.
    """
    listed = suppression.read(book.store.folder, book.settings.country)
    if listed is None:
        return None
    found = _Forgotten()
    for item in loaded:
        for owner, name in _person_ids(item):
            ids = {one for (one,) in _distinct(item, name) if one is not None and listed.record(owner, one) in listed}
            found.people.setdefault(owner, set()).update(ids)
        for name in found.contacts if item.table.name == "people" else ():
            if name in item.mapping:
                hashed = listed.email if name == "email" else listed.phone
                values = {value for (value,) in _distinct(item, name) if value is not None and hashed(value) in listed}
                found.contacts[name] |= values
                ids = {one for one, value in _distinct(item, "person_id", name) if value in values} if values else set()
                found.people.setdefault(item.source, set()).update(ids - {None})
    for item in loaded:
        if item.table.name == "aliases":
            # whoever logged in as them is them
            ids = found.people.setdefault(_owner(item, "person_id"), set())
            names = ("person_id", "other_source", "other_person_id")
            linked = _distinct(item, *names) if any(found.people.values()) else []
            ids |= {one for one, source, other in linked if one and other in found.people.get(source, ())}
    for item in loaded:
        if item.table.name == "orders" and "order_id" in item.mapping:
            people = found.people.get(_owner(item, "person_id"))
            rows = _distinct(item, "person_id", "order_id") if people else []
            theirs = {order for person, order in rows if person in people and order}
            found.orders.setdefault(_owner(item, "order_id"), set()).update(theirs)
    return found


def _owner(item: _Loaded, name: str) -> str:
    return item.source if item.table.is_register_of(name) else item.delivery.ids.get(name, item.source)


def _person_ids(item: _Loaded) -> list[tuple[str, str]]:
    """The columns of person ids with the one source whose they are."""
    return [(_owner(item, "person_id"), name) for name in ("person_id", "referred_person_id") if name in item.mapping]


def _distinct(item: _Loaded, *names: str) -> list[tuple]:
    raw = item.raw.table
    values = raw.select(**{name: _typed(raw, item, item.table[name]) for name in names}).distinct().to_pyarrow()
    return list(zip(*(column.to_pylist() for column in values.columns), strict=True))


def _is_forgotten(wide: ir.Table, item: _Loaded, forgotten: _Forgotten) -> ir.BooleanValue:
    name = item.table.name
    tests = [wide[f"typed:{ids}"].isin(sorted(forgotten.people.get(owner, ()))) for owner, ids in _person_ids(item)]
    if name == "aliases":
        other = [(wide["typed:other_source"] == owner, sorted(ids)) for owner, ids in sorted(forgotten.people.items())]
        tests += [mine & wide["typed:other_person_id"].isin(ids) for mine, ids in other]
    if name == "people":
        known = [(column, sorted(values)) for column, values in forgotten.contacts.items() if column in item.mapping]
        tests += [wide[f"typed:{column}"].isin(values) for column, values in known]
    if name in ("deliveries", "returns"):
        tests.append(wide["typed:order_id"].isin(sorted(forgotten.orders.get(_owner(item, "order_id"), ()))))
    held = ibis.literal(False)
    for test in tests:
        held |= test.fill_null(False)
    return held


def _value(rows: ir.Table, table: Table, name: str) -> ir.Column:
    """A typed column, null where the delivery does not bring it."""
    typed = f"typed:{name}"
    return rows[typed] if typed in rows.columns else ibis.null(_IBIS_TYPES[table[name].kind])


def _can_be_bad(column: Column) -> bool:
    # whatever is delivered is an id or a text
    return column.kind not in ("id", "text") or bool(column.allowed)


def _understood(wide: ir.Table, item: _Loaded, mapped: Sequence[Column], tidy: Collection[str] = ()) -> ir.Table:
    """The rows with what every mapped column means, `typed:`; extra columns are text. None of `tidy` has stray blanks."""
    told = {
        f"typed:{c.name}": (_meant(wide[f"raw:{item.mapping[c.name]}"], item, c.name), c.kind, item.readings[c.name])
        for c in mapped
    }
    extras = [name for name in item.mapping if name not in item.table.names]
    told |= {f"typed:x_{n}": (_meant(wide[f"raw:{item.mapping[n]}"], item, n), "text", parsing.Reading()) for n in extras}
    wide = parsing.parse_all(wide, told, [f"typed:{n}" if n in item.table.names else f"typed:x_{n}" for n in tidy])
    listed = {f"typed:{column.name}": _allowed(wide[f"typed:{column.name}"], column) for column in mapped if column.allowed}
    listed |= {f"typed:{column.name}": _as_address(wide[f"typed:{column.name}"]) for column in mapped if column.name in _NAMING}
    return wide.mutate(**listed) if listed else wide


# Ids of people; where a system names them by their e-mail address, capitals make no other of it.
_NAMING = ("person_id", "other_person_id", "referred_person_id")


def _as_address(ids: ir.StringColumn) -> ir.StringColumn:
    return ids.contains("@").ifelse(ids.lower(), ids)


def _allowed(value: ir.Column, column: Column) -> ir.Column:
    return value.isin(column.allowed).ifelse(value, ibis.null("string")) if column.allowed else value


def _typed(raw: ir.Table, item: _Loaded, column: Column) -> ir.Column:
    delivered = item.mapping[column.name]
    there = f"raw:{delivered}" if f"raw:{delivered}" in raw.columns else delivered
    value = parsing.parse(_meant(raw[there], item, column.name), column.kind, item.readings[column.name])
    return _as_address(value) if column.name in _NAMING else _allowed(value, column)


def _meant(delivered: ir.Column, item: _Loaded, name: str) -> ir.Column:
    given = _given(item, name)
    if not given:
        return delivered
    value = parsing.text(delivered)
    cases = [(value == old.strip() if old.strip() else value.isnull(), ibis.literal(new, "string")) for old, new in given.items()]
    return ibis.cases(*cases, else_=value)


def _given(item: _Loaded, name: str) -> Mapping[str, str | None]:
    """What the book says that a column's values mean: of this delivery, else of every one."""
    return {**(cells.setting(item.values, item.table, name) or {}), **item.delivery.values.get(name, {})}


def _is_bad(wide: ir.Table, item: _Loaded, column: Column) -> ir.BooleanColumn:
    said = parsing.text(_meant(wide[f"raw:{item.mapping[column.name]}"], item, column.name)).notnull()
    # what was said is asked only where nothing was understood
    return wide[f"typed:{column.name}"].isnull().ifelse(said, False)


def _with_merged(
    wide: ir.Table, item: _Loaded, delivered: Sequence[str], engine: Engine, repeated: frozenset[str], alone: bool
) -> ir.Table:
    """The rows with `_merged`: an earlier one is equal in all mapped columns, or the whole file is."""
    # where no two rows share a digest, none is compared
    wide = wide.mutate(_merged=ibis.literal(False)) if alone else _with_equal(wide, item, delivered, engine)
    return wide.mutate(_merged=wide["_merged"] | wide["file"].isin(sorted(repeated))) if repeated else wide


def _with_equal(wide: ir.Table, item: _Loaded, delivered: Sequence[str], engine: Engine) -> ir.Table:
    key = item.table.key
    optional = bool(key) and not item.table[key].required
    if optional and key not in item.mapping:
        # without its key a row is one of its own
        return wide.mutate(_merged=ibis.literal(False))
    # to compare whole rows takes long; few are left once their digests have been compared
    wide = wide.mutate(_digest=_digest(wide, delivered))
    shared = wide.group_by("_digest").agg(rows=wide.count())
    alike = wide.semi_join(shared.filter(shared["rows"] > 1), "_digest")
    same = [alike[f"raw:{name}"] for name in delivered]
    if optional:
        same.append(alike[f"typed:{key}"].isnull().ifelse(alike["arrival"], ibis.null("int64")))
    ranked = alike.select("arrival", rank=ibis.row_number().over(group_by=same, order_by=alike["arrival"]))
    merged = engine.keep(ranked.filter(ranked["rank"] > 0).select("arrival"))
    joined = wide.left_join(merged.mutate(_merged=ibis.literal(True)), "arrival")
    return joined.select(*wide.drop("_digest").columns, _merged=joined["_merged"].fill_null(False))


def _rejection(wide: ir.Table, item: _Loaded, book: Book) -> tuple[ir.StringColumn, ir.StringColumn]:
    """The first required column, as delivered, that is missing or bad, and why; null for a good row."""
    table, columns, why = item.table, [], []
    for name in dict.fromkeys((*table.required, *book.settings.cleaning.required.get(table.name, ()))):
        missing = wide[f"typed:{name}"].isnull() if f"typed:{name}" in wide.columns else ibis.literal(True)
        columns.append((missing, item.mapping.get(name, name)))
        if f"bad:{name}" in wide.columns:
            why.append((missing & wide[f"bad:{name}"], f"{name} is not {_KIND_IN_WORDS[table[name].kind]}"))
        if f"rules:{name}" in wide.columns:
            said = wide[f"rules:{name}"].fill_null("")
            told = {
                "placeholder": "is a placeholder",
                "out of range": "lies outside its range",
                "not allowed": "is none of the values allowed",
            }
            why += [(missing & said.contains(rule), f"{name} {words}") for rule, words in told.items()]
        why.append((missing, f"{name} is missing"))
    return ibis.cases(*columns, else_=ibis.null("string")), ibis.cases(*why, else_=ibis.null("string"))


def _is_return(wide: ir.Table, item: _Loaded) -> ir.BooleanColumn:
    negative = ibis.literal(False)
    for name in ("quantity", "amount", "unit_price"):
        negative |= (_value(wide, item.table, name) < 0).fill_null(False)
    rule = item.delivery.cancelled
    if rule is None:
        return negative
    name = rule.column if f"typed:{rule.column}" in wide.columns else f"x_{rule.column}"
    value = parsing.text(wide[f"typed:{name}"])
    held = {
        "starts with": lambda: value.startswith(rule.what),
        "ends with": lambda: value.endswith(rule.what),
        "contains": lambda: value.contains(rule.what),
        "is": lambda: value == rule.what,
    }[rule.how]()
    return negative | held.fill_null(False)


def _unseen(judged: ir.Table, table: Table, as_of: dt.date, zone: str) -> dict[str, ir.Column]:
    """What had not happened yet is not known yet: an opening, an answer, a close."""
    limit = parsing.day_begins(as_of, zone)
    changed = {}
    for column in table.columns:
        here = f"typed:{column.name}" in judged.columns
        if here and column.kind == "time" and not column.planned and column.name != table.at:
            value = judged[f"typed:{column.name}"]
            changed[f"typed:{column.name}"] = (value >= limit).fill_null(False).ifelse(ibis.null("timestamp"), value)
    if table.name == "opportunities":
        ahead = (_value(judged, table, "closed_at") >= limit).fill_null(False)
        changed["typed:is_won"] = ahead.ifelse(ibis.null("boolean"), _value(judged, table, "is_won"))
    return changed


def _derived(judged: ir.Table, item: _Loaded, book: Book) -> dict[str, ir.Column]:
    """Defaults that the design gives: quantity, amount, purpose, and the local day of an order."""
    table = item.table
    if table.name == "orders":
        quantity = _value(judged, table, "quantity")
        # a bare 1.0 is a decimal to DuckDB, and would be staged as one
        one = ibis.literal(1.0, "float64")
        if "quantity" in item.mapping:
            quantity = (quantity.isnull() & ~judged["bad:quantity"]).ifelse(one, quantity)
        else:
            quantity = quantity.fill_null(one)
        priced = (quantity * _value(judged, table, "unit_price")).round(6)
        if "amount" in item.mapping:
            # an amount that could not be read is another one than quantity times price for all we know
            priced = judged["bad:amount"].ifelse(ibis.null("float64"), priced)
        return {
            "typed:quantity": quantity.cast("float64"),
            "typed:amount": ibis.coalesce(_value(judged, table, "amount"), priced).cast("float64"),
            "typed:ordered_on": parsing.local(judged["typed:ordered_at"], book.settings.timezone).date(),
        }
    if table.name == "messages":
        return {"typed:purpose": _value(judged, table, "purpose").fill_null("marketing")}
    return {}


def _split(judged: ir.Table, item: _Loaded, number: int, seen: pd.DataFrame) -> dict[str, ir.Table]:
    """The canonical rows, the returns that orders hold, what was rejected and what was changed; what there is of it."""
    table, fates = item.table, set(seen["_fate"])
    parts = {table.name: _canonical(judged.filter(judged["_fate"] == "kept"), item)}
    if table.name == "orders":
        parts["returns"] = _returned(judged.filter(judged["_fate"] == "returns"), item)
    rejected = [_rejected(judged.filter(judged["_fate"] == "rejected"), item, number)] if "rejected" in fates else []
    rejected += [_unread(item, number)] if item.raw.rejected is not None else []
    if rejected:
        parts["rejected"] = ibis.union(*rejected) if len(rejected) > 1 else rejected[0]
    used = seen[seen["_fate"].isin(["kept", "returns"])]
    bad = [name.removeprefix("rules:") for name in seen.columns if name.startswith("rules:") and used[name].notna().any()]
    if bad:
        parts["changes"] = _changes(judged.filter(judged["_fate"].isin(["kept", "returns"])), item, bad)
    return parts


def _canonical(rows: ir.Table, item: _Loaded) -> ir.Table:
    table = item.table
    columns: dict[str, ir.Column] = {"source": ibis.literal(item.source)}
    for name in table.names:
        if name in table.owned_ids:
            columns[owner_column(name)] = ibis.literal(item.delivery.ids.get(name, item.source))
        columns[name] = _value(rows, table, name)
        if name == "ordered_at":
            columns["ordered_on"] = rows["typed:ordered_on"]
    for column in DERIVED.get(table.name, ()):
        there = f"typed:{column.name}" in rows.columns
        columns[column.name] = rows[f"typed:{column.name}"] if there else ibis.null("string")
    extras = [c for c in rows.columns if c.startswith("typed:x_")]
    columns |= {name.removeprefix("typed:"): rows[name] for name in extras}
    return rows.select(**columns, file=rows["file"], row=rows["row"], arrival=rows["arrival"])


def _returned(rows: ir.Table, item: _Loaded) -> ir.Table:
    owner = item.delivery.ids
    return rows.select(
        source=ibis.literal(item.source),
        order_source=ibis.literal(owner.get("order_id", item.source)),
        order_id=_value(rows, item.table, "order_id"),
        returned_at=rows["typed:ordered_at"],
        product_source=ibis.literal(owner.get("product_id", item.source)),
        product_id=_value(rows, item.table, "product_id"),
        quantity=rows["typed:quantity"].abs(),
        amount=rows["typed:amount"].abs(),
        # orders know whose they are, returns of their own do not
        person_source=ibis.literal(owner.get("person_id", item.source)),
        person_id=rows["typed:person_id"],
        file=rows["file"],
        row=rows["row"],
        arrival=rows["arrival"],
    )


def _rejected(rows: ir.Table, item: _Loaded, number: int) -> ir.Table:
    raw = {c.removeprefix("raw:"): rows[c].cast("string") for c in rows.columns if c.startswith("raw:")}
    return rows.select(
        source=ibis.literal(item.source),
        table=ibis.literal(item.table.name),
        file=rows["file"],
        row=rows["row"],
        column=rows["_column"],
        reason=rows["_reason"],
        raw=ibis.struct(raw).cast("json").cast("string"),
        arrival=rows["arrival"],
    )


def _unread(item: _Loaded, number: int) -> ir.Table:
    rows = item.raw.rejected
    return rows.select(
        source=ibis.literal(item.source),
        table=ibis.literal(item.table.name),
        file=rows["_file"],
        row=rows["_row"],
        column=ibis.null("string"),
        reason=rows["reason"],
        raw=rows["raw"],
        arrival=rows["_row"] + number * _DELIVERY_STRIDE,
    )


def _changes(rows: ir.Table, item: _Loaded, names: Sequence[str]) -> ir.Table:
    parts = []
    key = item.table.key
    for name in names:
        before, after = rows[f"raw:{item.mapping[name]}"].cast("string"), rows[f"typed:{name}"].cast("string")
        # what fails a rule and stays as it is was not changed
        bad = rows.filter(rows[f"rules:{name}"].notnull() & (before != after).fill_null(True))
        parts.append(
            bad.select(
                source=ibis.literal(item.source),
                table=ibis.literal(item.table.name),
                id=_value(bad, item.table, key) if key else ibis.null("string"),
                file=bad["file"],
                row=bad["row"],
                column=ibis.literal(name),
                before=bad[f"raw:{item.mapping[name]}"].cast("string"),
                after=bad[f"typed:{name}"].cast("string"),
                rule=bad[f"rules:{name}"],
                arrival=bad["arrival"],
            )
        )
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _count(judged: ir.Table, item: _Loaded) -> pd.DataFrame:
    """How many rows of each file met each fate and fail the same rules, and how many of their cells were filled?"""
    names = [name.removeprefix("rules:") for name in judged.columns if name.startswith("rules:")]
    filled = {f"filled:{name}": _is_filled(judged, item, name).sum() for name in names}
    keys = ["file", "_fate", *(f"rules:{name}" for name in names)]
    return judged.group_by(*keys).agg(n=judged.count(), **filled).to_pandas()


def _is_filled(judged: ir.Table, item: _Loaded, name: str) -> ir.BooleanValue:
    """Whether anything was delivered, seen from either column: a good cell stands in one of them alone."""
    filled = judged[f"raw:{item.mapping[name]}"].notnull()
    return filled if name in _FILLED or _given(item, name) else filled | judged[f"typed:{name}"].notnull()


def _account(seen: pd.DataFrame, item: _Loaded) -> list[dict]:
    unread: dict[str, int] = {}
    if item.raw.rejected is not None:
        rows = item.raw.rejected
        unread = dict(rows.group_by("_file").agg(n=rows.count()).to_pandas().itertuples(index=False))
    told = []
    for facts in item.raw.files:
        fates = dict(seen[seen["file"] == facts.path].groupby("_fate")["n"].sum())
        # a file that holds what another does is not read: all its rows are equal to that one's
        fates |= {"merged": facts.rows} if facts.same_as else {}
        fates["rejected"] = fates.get("rejected", 0) + unread.get(facts.path, 0)
        row = {"source": item.source, "table": item.table.name, "file": facts.path, "rows_in": facts.rows}
        told.append(row | {name: int(fates.get(name, 0)) for name in ROW_COUNTS[1:]})
    return told


def _stack(parts: Sequence[ir.Table]) -> ir.Table:
    """Deliveries one below the other, in the order of arrival; a column that one lacks is null there.

    They are sorted though most stand so already: the bytes of what is not depend on the number of threads.
    """
    types: dict[str, object] = {}
    for part in parts:
        for name, kind in part.schema().items():
            types.setdefault(name, kind)
    tail = [name for name in ("file", "row", "arrival") if name in types]
    names = [name for name in types if name not in tail] + tail
    aligned = [
        # a time that is nowhere there is read back in another precision than one that is
        part.select(**{n: part[n].cast(types[n]) if n in part.columns else ibis.null(types[n]) for n in names})
        for part in parts
    ]
    stacked = ibis.union(*aligned) if len(aligned) > 1 else aligned[0]
    order = ["arrival", "column"] if "column" in names else ["arrival"]
    return stacked.order_by(*order)
