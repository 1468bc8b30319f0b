"""Which cells of a delivery are not as they should be, and what should stand there?

Every distinct value is looked at once, in Python; what it becomes is joined back, so that the rows stay in the engine.
What has to be known of a delivery first (its distinct values, how many lie outside a range) is asked in one query.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from clientbook import parsing
from clientbook.book import Book
from clientbook.cleaning import standards
from clientbook.cleaning.readers import NO_IDS, Reader, changed
from clientbook.faults import Fault, FaultError
from clientbook.tables import DERIVED, Column, Table

# The oldest human whose age is beyond doubt was 122; nobody alive is 118 today, and systems write 1900 for nothing.
OLDEST_AGE = 118
# What programs write for no day at all: the first days that they can count.
NO_DAYS = tuple(dt.date.fromisoformat(day) for day in ("1900-01-01", "1899-12-30", "1899-12-31", "1901-01-01", "1111-11-11"))
_RANGES = {"preferences.weekday": (1, 7), "preferences.hour": (0, 23), "people.social_reach": (0, None)}

_PROSE = ("text", "title", "url", "name")


@dataclass(frozen=True)
class Looked:
    """Rows with standard values, and what was found.

    Parameters
    ----------
    rows
        With `typed:` columns put right, `rules:` columns (null where nothing was found), and `typed:` columns beside.
    columns
        Canonical columns that have a `rules:` column.
    notes
        Columns that were left alone, a sentence each.
    """

    rows: ir.Table
    columns: tuple[str, ...]
    notes: tuple[str, ...]


def asked(rows: ir.Table, typed_of: Callable[[str], ir.Column], table: Table, mapping: Mapping[str, str],
          substituted: Sequence[str], book: Book, as_of: dt.date) -> dict[str, ir.Scalar]:  # fmt: skip
    """What has to be known of a delivery before its cells can be put right? As aggregates, for one query.

    Parameters
    ----------
    rows
        With `raw:` columns alone.
    typed_of
        What a canonical column means.
    table, mapping, substituted, book, as_of
        As for :func:`put_right`.
    """
    told: dict[str, ir.Scalar] = {}
    for name, delivered in mapping.items():
        column = table[name] if name in table.names else None
        raw = rows[f"raw:{delivered}"]
        plain = raw.type().is_string() and name not in substituted
        looked_up = column is not None and _is_looked_up(table, column, book)
        if looked_up:
            # as delivered: to take blanks off the distinct values is less work than off all
            values = said = raw if plain else typed_of(name)
            wanted = values.notnull()
            if column.kind == "id":
                # ids are as many as rows, and few words stand for none
                wanted = values.lower().isin(_no_ids(table, column, book))
                wanted = wanted | parsing.is_untidy(raw) if plain else wanted
            if contexts := _contexts(name, mapping):
                parts = {str(i): typed_of(other) for i, other in enumerate(contexts, 1)}
                values = ibis.struct({"0": values, **parts})
            told[f"values:{name}"] = values.collect(where=wanted, distinct=True)
        elif plain:
            told[f"untidy:{name}"] = parsing.is_untidy(raw).any()
        if column is None:
            continue
        if name == "street":
            told["sharp"] = said.lower().contains("straße").sum()
            told["double"] = said.lower().contains("strasse").sum()
        out, _ = _outside(typed := typed_of(name), table, column, book, as_of)
        if out is not None and setting(book.settings.cleaning.ranges, table, name) is None:
            told[f"out:{name}"], told[f"of:{name}"] = out.sum(), typed.count()
    return told


def tidy(seen: pa.Table, rows: ir.Table, mapping: Mapping[str, str], substituted: Sequence[str]) -> tuple[str, ...]:
    """Which columns of text hold no value with blanks around it, and no empty one?

    Parameters
    ----------
    seen
        The one row that the query of what is :func:`asked` gave.
    rows, mapping, substituted
        As for :func:`put_right`.
    """
    found = []
    for name, delivered in mapping.items():
        if not rows[f"raw:{delivered}"].type().is_string() or name in substituted:
            continue
        if f"untidy:{name}" in seen.column_names:
            untidy = seen[f"untidy:{name}"][0].as_py()
        else:
            values = _distinct(seen, name)[0]
            untidy = any(one is not None and (not one or one.strip(parsing.BLANKS) != one) for one in values)
        found += [] if untidy else [name]
    return tuple(found)


def _distinct(seen: pa.Table, name: str) -> list[list[str | None]]:
    """The distinct values of a column, as delivered, and what stands in each column that they are read with."""
    values = seen[f"values:{name}"].combine_chunks().flatten()
    if pa.types.is_struct(values.type):
        return [values.field(i).to_pylist() for i in range(values.type.num_fields)]
    return [values.to_pylist()]


def _cells(seen: pa.Table, name: str) -> list[tuple[str | None, ...]]:
    """The same without blanks around them, each once."""
    columns = [[one.strip(parsing.BLANKS) or None if one else None for one in column] for column in _distinct(seen, name)]
    return [cell for cell in dict.fromkeys(zip(*columns, strict=True)) if cell[0] is not None]


def put_right(rows: ir.Table, seen: pa.Table, table: Table, mapping: Mapping[str, str], substituted: Sequence[str], book: Book,
              as_of: dt.date, where: str) -> Looked:  # fmt: skip
    """Put every cell right that can be put right from itself.

    Parameters
    ----------
    rows
        Delivered rows: `typed:` values by canonical name, `raw:` by delivered name, `bad:` where one could not be read.
    seen
        The one row that the query of what is :func:`asked` gave.
    table
        The canonical table.
    mapping
        Canonical to delivered name.
    substituted
        Columns whose values the book maps; a mapped value is not told as changed.
    book
        Its country, currency and `cleaning` settings.
    as_of
        Nobody is born on it or later.
    where
        The source and table, for notes.
    """
    told: dict[str, list[tuple[ir.BooleanValue, ir.StringValue]]] = {}
    notes: list[str] = []
    columns = [column for column in table.columns if column.name in mapping]
    beside_names = DERIVED.get(table.name, ())
    made: dict[str, list[str]] = {column.name: [] for column in beside_names}
    parts: list[_Part] = []
    for column in columns:
        if f"values:{column.name}" in seen.column_names:
            reader = _reader(table, column, book, seen)
            part = _look_up(rows, column, mapping, reader, _cells(seen, column.name), made)
            parts += [part] if part is not None else []
    if parts:
        joined = rows
        for part in parts:
            joined = joined.left_join(part.table, part.on)
        rows = joined.select(*rows.columns, *[name for part in parts for name in part.brings])
    changed: dict[str, ir.Value] = {}
    for column in columns:
        name, rules = column.name, []
        typed = rows[f"typed:{name}"]
        if f"found:{name}" in rows.columns:
            hit = rows[f"hit:{name}"].fill_null(False)
            to = hit.ifelse(rows[f"to:{name}"], typed)
            # without it the row would be lost, and a name like Select may be one
            to = ibis.coalesce(to, typed) if column.required else to
            typed = to
            rules.append(rows[f"found:{name}"])
        raw = rows[f"raw:{mapping[name]}"]
        if column.kind == "text" and raw.type().is_string() and name not in substituted and f"found:{name}" in rows.columns:
            blank = (raw != rows[f"typed:{name}"]).fill_null(False) & rows[f"typed:{name}"].notnull()
            noted = rows[f"found:{name}"].fill_null("").contains("blanks")
            rules.insert(0, (blank & ~noted).ifelse(ibis.literal("blanks"), ibis.null("string")))
        if f"bad:{name}" in rows.columns:
            rules.append(rows[f"bad:{name}"].ifelse(ibis.literal(f"not {KIND_IN_WORDS[column.kind]}"), ibis.null("string")))
        typed, more, left = _within(seen, table, column, typed, book, as_of)
        if left:
            notes.append(f"{where}: {left}")
        rules += more
        if rules:
            changed[f"typed:{name}"] = typed
            changed[f"rules:{name}"] = _together(rules)
            told[name] = rules
    for column in beside_names:
        if made[column.name]:
            changed[f"typed:{column.name}"] = ibis.coalesce(*[rows[name] for name in made[column.name]])
    for part in ("given_name", "family_name"):
        spare = [name for name in made.get(f"+{part}", []) if name in rows.columns]
        if spare and table.name == "people":
            own = changed.get(f"typed:{part}", rows[f"typed:{part}"] if f"typed:{part}" in rows.columns else None)
            changed[f"typed:{part}"] = ibis.coalesce(own, rows[spare[0]]) if own is not None else rows[spare[0]]
    rows = rows.mutate(**changed)
    rows = rows.drop(*[c for c in rows.columns if c.partition(":")[0] in ("to", "hit", "found", "made")])
    notes_of_money: tuple[str, ...] = ()
    if "values:currency" in seen.column_names and _has_foreign(seen, table, book):
        rows, notes_of_money = _converted(rows, table, mapping, book, where)
    return Looked(rows, tuple(told), tuple(notes) + notes_of_money)


KIND_IN_WORDS = {
    "id": "an id",
    "text": "one of the values that are allowed",
    "number": "a number",
    "money": "an amount",
    "time": "a valid time",
    "date": "a valid date",
    "flag": "yes or no",
}


def setting(settings: Mapping, table: Table, name: str):
    """What the book says of a column: under `table.column`, else under `column`, else None."""
    return settings.get(f"{table.name}.{name}", settings.get(name))


def _own(table: Table, column: Column, book: Book) -> frozenset[str]:
    """The book's own placeholders for a column, in small letters."""
    given = book.settings.cleaning.placeholders
    words = (*(setting(given, table, column.name) or ()), *given.get("*", ()))
    return frozenset(word.strip().lower() for word in words)


def _is_looked_up(table: Table, column: Column, book: Book) -> bool:
    """Whether a text can be wrong in a way that its own letters tell."""
    if column.kind == "id":
        return True
    if column.kind != "text" or column.allowed:
        return False
    plain = column.name in _PROSE and not (column.name == "name" and table.name == "accounts")
    return not plain or bool(_own(table, column, book))


def _contexts(name: str, mapping: Mapping[str, str]) -> list[str]:
    """Which other columns a value has to be read with."""
    return ["country"] if name in ("phone", "street") and "country" in mapping else []


def _reader(table: Table, column: Column, book: Book, seen: pa.Table) -> Reader:
    """What is done with a value of this column."""
    home = book.settings.country
    return Reader(
        table=table.name,
        column=column.name,
        kind=column.kind,
        own=_own(table, column, book),
        kept=frozenset(word.strip().lower() for word in setting(book.settings.cleaning.keep, table, column.name) or ()),
        country=home,
        currency=book.settings.currency,
        sharp=_is_sharp(seen, home) if column.name == "street" else True,
    )


def _no_ids(table: Table, column: Column, book: Book) -> list[str]:
    return sorted({*NO_IDS, *_own(table, column, book)})


def _is_sharp(seen: pa.Table, country: str) -> bool:
    """How does this system write it itself? Where it never does, as in the book's country: without sz in Switzerland."""
    sharp, double = (int(seen[name][0].as_py() or 0) for name in ("sharp", "double"))
    return sharp > double if sharp or double else country not in ("CH", "LI")


@dataclass(frozen=True)
class _Part:
    """What the values of one column become: a small table, how the rows meet it, and what it brings."""

    table: ir.Table
    on: list[ir.BooleanValue]
    brings: list[str]


def _look_up(
    rows: ir.Table,
    column: Column,
    mapping: Mapping[str, str],
    reader: Reader,
    cells: Sequence[tuple],
    made: dict[str, list[str]],
) -> _Part | None:
    name = column.name
    contexts = _contexts(name, mapping)
    found = changed(reader, cells)
    kept = [[cells[one.position][place] or "" for one in found] for place in range(len(contexts) + 1)]
    to, rules, beside = ([getattr(one, part) for one in found] for part in ("to", "rules", "beside"))
    if not to:
        return None
    names = sorted({key for more in beside for key in more})
    keys = {f"key:{name}:{i}": pa.array(part, pa.string()) for i, part in enumerate(kept)}
    columns = {f"to:{name}": pa.array(to, pa.string()), f"found:{name}": pa.array(rules, pa.string())}
    columns[f"hit:{name}"] = pa.array([True] * len(to))
    columns |= {f"made:{name}:{key}": pa.array([more.get(key) for more in beside], pa.string()) for key in names}
    for key in names:
        # a part of a whole name fills its own column where nobody delivered it
        made.setdefault(key if key in made else f"+{key}", []).append(f"made:{name}:{key}")
    table = ibis.memtable(pa.table(keys | columns))
    on = [rows[f"typed:{name}"] == table[f"key:{name}:0"]]
    # where no country is told there is one reading more, of its own
    on += [rows[f"typed:{c}"].fill_null("") == table[f"key:{name}:{i}"] for i, c in enumerate(contexts, 1)]
    return _Part(table, on, list(columns))


def _outside(typed: ir.Value, table: Table, column: Column, book: Book, as_of: dt.date):
    """Does a value lie outside the range of its column, and is it a day that stands for none? None where there is none."""
    name = column.name
    given = setting(book.settings.cleaning.ranges, table, name)
    low, high = given or _RANGES.get(f"{table.name}.{name}", (None, None))
    no_day = None
    if name == "birth_date" and column.kind == "date":
        no_day = typed.isin([ibis.literal(day) for day in NO_DAYS])
        if given is None:
            low = as_of.replace(year=as_of.year - OLDEST_AGE, day=min(as_of.day, 28))
            high = as_of - dt.timedelta(days=1)
    if low is None and high is None:
        return None, None
    if column.kind in ("date", "time"):
        ends = [ibis.literal(end) if end is not None else None for end in (_day(low), _day(high))]
        value = typed.date() if column.kind == "time" else typed
    else:
        ends, value = [None if end is None else float(end) for end in (low, high)], typed
    out = ibis.literal(False)
    if ends[0] is not None:
        out = out | (value < ends[0])
    if ends[1] is not None:
        out = out | (value > ends[1])
    return (out | no_day if no_day is not None else out).fill_null(False), no_day


def _within(seen: pa.Table, table: Table, column: Column, typed: ir.Value, book: Book, as_of: dt.date):
    """Is a value one that the book allows, and in its usual range? The value, what was wrong, and why it was left alone."""
    name = column.name
    allowed = setting(book.settings.cleaning.allowed, table, name)
    rules: list[ir.StringValue] = []
    if allowed is not None:
        out = typed.notnull() & ~typed.isin(list(allowed))
        rules.append(out.ifelse(ibis.literal("not allowed"), ibis.null("string")))
        typed = out.ifelse(ibis.null(typed.type()), typed)
    out, no_day = _outside(typed, table, column, book, as_of)
    if out is None:
        return typed, rules, ""
    if f"out:{name}" in seen.column_names:
        outside, of = (int(seen[f"{what}:{name}"][0].as_py() or 0) for what in ("out", "of"))
        if outside * 2 > of:
            left = (
                f"most of {name} lies outside its usual range ({outside:,} of {of:,}): it was left as it is. "
                f"`cleaning: {{ranges: {{{table.name}.{name}: [from, to]}}}}` sets another."
            )
            return typed, rules, left
    word = ibis.literal("out of range")
    if no_day is not None:
        word = no_day.fill_null(False).ifelse(ibis.literal("placeholder"), word)
    rules.append(out.ifelse(word, ibis.null("string")))
    return out.ifelse(ibis.null(typed.type()), typed), rules, ""


def _day(value):
    return dt.date.fromisoformat(value) if isinstance(value, str) else value


def _together(rules: Sequence[ir.StringValue]) -> ir.StringValue:
    if len(rules) == 1:
        return rules[0]
    both = rules[0]
    for rule in rules[1:]:
        both = ibis.cases((both.isnull(), rule), (rule.isnull(), both), else_=both + ", " + rule)
    return both


def _has_foreign(seen: pa.Table, table: Table, book: Book) -> bool:
    """Whether any distinct currency of a delivery is another than the book's."""
    home = book.settings.currency
    reader = _reader(table, table["currency"], book, seen)
    codes = {reader(value).value for (value,) in _cells(seen, "currency")}
    return any(code and code.upper() != home and code.upper() in standards.currencies() for code in codes)


def _converted(
    rows: ir.Table, table: Table, mapping: Mapping[str, str], book: Book, where: str
) -> tuple[ir.Table, tuple[str, ...]]:
    """Money in the book's currency, where the row says that it is in another."""
    if table.name != "orders" or "typed:currency" not in rows.columns:
        return rows, ()
    home, rates = book.settings.currency, book.settings.cleaning.rates
    # what is no currency at all says nothing; the quality tells of it
    code = rows["typed:currency"].upper()
    code = code.isin(sorted(standards.currencies())).ifelse(code, ibis.null("string")).fill_null(home)
    counted = rows.group_by(code=code).agg(n=rows.count()).order_by("code").to_pandas()
    foreign = counted[counted["code"] != home]
    if foreign.empty:
        return rows, ()
    day = rows["typed:ordered_at"].date()
    cases, lacking = [], []
    for one in foreign["code"]:
        given = rates.get(one)
        if given is None:
            lacking.append(one)
        elif isinstance(given, Mapping):
            # the newest rate of that day or before; before the first, the first
            days = sorted(given)
            rate = ibis.literal(float(given[days[0]]))
            for when in days[1:]:
                rate = (day >= ibis.literal(_day(when))).ifelse(ibis.literal(float(given[when])), rate)
            cases.append((code == one, rate))
        else:
            cases.append((code == one, ibis.literal(float(given))))
    without = ibis.null("float64")
    rate = ibis.cases((code == home, ibis.literal(1.0, "float64")), *[(a, b.cast("float64")) for a, b in cases], else_=without)
    changed: dict[str, ir.Value] = {}
    for name in ("unit_price", "amount", "discount"):
        if f"typed:{name}" in rows.columns:
            value = rows[f"typed:{name}"]
            rule = ibis.cases(
                (value.isnull() | (code == home), ibis.null("string")),
                (rate.isnull(), ibis.literal("no rate")),
                else_=ibis.literal("converted"),
            )
            changed[f"typed:{name}"] = (code == home).ifelse(value, (value * rate).round(6)).cast("float64")
            earlier = [rows[f"rules:{name}"]] if f"rules:{name}" in rows.columns else []
            changed[f"rules:{name}"] = _together([*earlier, rule])
    notes = ()
    if lacking:
        remedy = (
            f"Say what one is worth in {home}: `cleaning: {{rates: {{{lacking[0]}: 1.05}}}}`, or which `currency` the book is in."
        )
        n = int(foreign[foreign["code"].isin(lacking)]["n"].sum())
        if n * 2 > int(counted["n"].sum()):
            told = f"{n:,} of {int(counted['n'].sum()):,} lines are in {', '.join(lacking)}, and the book is in {home}."
            raise FaultError(Fault(told, remedy, key=f"sources.{where}", column=mapping["currency"]))
        notes = (f"{where}: {n:,} lines are in {', '.join(lacking)}: their money was emptied. {remedy}",)
    return rows.mutate(**changed), notes
