"""Who is this customer, what are they worth, where are they, and what shall we say to them?"""

from __future__ import annotations

import datetime as dt
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from clientbook.faults import ClientbookError
from clientbook.store import Run, whole, without_bar
from clientbook.suppression import normal_email, normal_id, normal_phone
from clientbook.tables import CANONICAL

_MASK = "…"
_SHOWN_HITS = 20
_LATEST = 5
# A table of more rows than this is read from a copy that is sorted by what is asked for; its pieces tell what they hold.
INDEX, INDEXED_ROWS, _PIECE = "index", 200_000, 30_000
_DIGITS = "right(regexp_replace(phone, '[^0-9]', '', 'g'), 6)"
# What rows are asked for by: the order of the copy, and which rows and further columns it has.
_ORDERS = {
    "customer_id": ("customer_id", "*", ""), "account_id": ("account_id", "*", ""), "subject_id": (
        "subject_id", "*", "WHERE method = 'filtered' AND valid_to IS NULL"
    ), "record": ("{owner}, person_id", "*", ""),
    "email": ("mail", "source, person_id, email, lower(trim(email)) AS mail", "WHERE email IS NOT NULL"),
    "phone": ("ending", f"source, person_id, phone, {_DIGITS} AS ending", "WHERE phone IS NOT NULL"),
}  # fmt: skip
_PERSONAL = {column.name: column.personal for column in CANONICAL["people"].columns if column.personal}
_PHONE = re.compile(r"^\+?[\d\s()/.-]{6,}$")


@dataclass(frozen=True, order=True)
class Hit:
    """Who may be meant.

    Parameters
    ----------
    kind
        `customer` or `account`.
    id
        A customer_id or account_id.
    """

    kind: str
    id: str


class RunReader:
    """A run's tables, a few rows at a time.

    Parameters
    ----------
    run
        Whose tables.
    """

    def __init__(self, run: Run):
        self.run = run
        self._there = set(run.tables)
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": False})
        without_bar(self._connection)
        # what a file holds where is asked for its columns, its rows and itself: read once
        self._connection.execute("SET parquet_metadata_cache = true")
        self._columns: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._focus: set[tuple[str, str]] = set()
        self._customers: list[str] = []
        self._held: dict[str, dict[Any, list[dict[str, Any]]]] = {}

    def focus(self, customers: Iterable[str]) -> None:
        """Read the rows of all these customers at once when the first of them is asked for.

        Parameters
        ----------
        customers
            Their ids.
        """
        self._customers, self._focus, self._held = list(customers), set(), {}
        self._focus = {record for one in self._customers for record in records_of(self, one)}

    def of_customer(self, table: str, customer_id: str) -> list[dict[str, Any]]:
        """The rows of a table that belong to a customer.

        Parameters
        ----------
        table
            Its name.
        customer_id
            Theirs.
        """
        if customer_id not in self._customers:
            return self.rows(table, "customer_id = ?", [customer_id], by="customer_id")
        if table not in self._held:
            held: dict[Any, list[dict[str, Any]]] = {}
            for row in self.rows(table, "customer_id IN (SELECT unnest(?))", [self._customers], by="customer_id"):
                held.setdefault(row["customer_id"], []).append(row)
            self._held[table] = held
        return self._held[table].get(customer_id, [])

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table is there, with these columns.

        Parameters
        ----------
        table
            Its name.
        *columns
            Theirs.
        """
        return table in self._there and set(columns) <= set(self.columns(table))

    def columns(self, table: str) -> list[str]:
        """The columns of a table.

        Parameters
        ----------
        table
            Its name.
        """
        if table not in self._columns:
            asked = self._connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(self.run.path(table))])
            self._columns[table] = [row[0] for row in asked.fetchall()]
        return self._columns[table]

    def rows(self, table: str, where: str, values: Sequence[Any] = (), what: str = "*", by: str = "") -> list[dict[str, Any]]:
        """The rows of a table for which something holds.

        Parameters
        ----------
        table
            Its name; one that is not there has no rows.
        where
            A condition in SQL, with a question mark for each value.
        values
            In their order.
        what
            The columns, in SQL.
        by
            What the condition asks for, a key of the sorted copies of large tables; nothing reads the table itself.
        """
        if table not in self._there:
            return []
        source, place = "read_parquet(?)", self.run.path(table)
        if by and self._count(table) > INDEXED_ROWS:
            place = self._sorted(table, by)
        elif by:
            _, columns, chosen = _ORDERS[by]
            source = f"(SELECT {columns} FROM read_parquet(?) {chosen})"
        asked = self._connection.execute(f"SELECT {what} FROM {source} WHERE {where}", [str(place), *values])
        names = [column[0] for column in asked.description]
        return [dict(zip(names, row, strict=True)) for row in asked.fetchall()]

    def _sorted(self, table: str, by: str) -> Path:
        """Where a table lies in the order of what is asked for; made when it is asked for the first time."""
        path = self.run.path(table)
        place = self.run.folder / INDEX / f"{table}.{by}.parquet"
        if place.is_file() and place.stat().st_mtime_ns >= path.stat().st_mtime_ns:
            return place
        order, columns, chosen = _ORDERS[by]
        order = order.format(owner=owner_of(table))
        spill = self.run.folder / INDEX
        spill.mkdir(parents=True, exist_ok=True)
        self._connection.execute(f"SET temp_directory = '{str(spill).replace(chr(39), chr(39) * 2)}'")
        with whole(place) as draft:
            self._connection.execute(
                f"COPY (SELECT {columns} FROM read_parquet(?) {chosen} ORDER BY {order}) TO "
                f"'{str(draft).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, ROW_GROUP_SIZE {_PIECE})",
                [str(path)],
            )
        return place

    def _count(self, table: str) -> int:
        if table not in self._counts:
            asked = self._connection.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(self.run.path(table))])
            self._counts[table] = int(asked.fetchone()[0])
        return self._counts[table]

    def of_records(self, table: str, records: Iterable[tuple[str, str]], what: str = "*") -> list[dict[str, Any]]:
        """The rows of a clean table that belong to person records.

        Parameters
        ----------
        table
            Its name.
        records
            Pairs of source and person_id.
        what
            The columns, in SQL.
        """
        owner = owner_of(table)
        records = list(records)
        if what == "*" and len(self._focus) > len(records) and self._focus.issuperset(records):
            kept = f"{table} by record"
            if kept not in self._held:
                held: dict[Any, list[dict[str, Any]]] = {}
                for row in self.of_records(table, self._focus):
                    held.setdefault((row[owner], row["person_id"]), []).append(row)
                self._held[kept] = held
            found = [row for record in records for row in self._held[kept].get(record, ())]
            return sorted(found, key=lambda row: row["arrival"]) if found and "arrival" in found[0] else found
        if not records or not self.has(table, owner, "person_id"):
            return []
        # a join, of which DuckDB knows the least and the greatest key, reads a few pieces of a sorted copy; alternatives joined
        # by OR read all of it
        where = f'("{owner}", person_id) IN (SELECT unnest(?), unnest(?))'
        values = [list(column) for column in zip(*records, strict=True)]
        order = " ORDER BY arrival" if what == "*" and "arrival" in self.columns(table) else ""
        return self.rows(table, f"{where}{order}", values, what, by="record")


def owner_of(table: str) -> str:
    """The column that says whose person ids stand in a table.

    Parameters
    ----------
    table
        Its name.
    """
    return "source" if table in ("people", "identities") else "person_source"


def record_id(source: str, person_id: str) -> str:
    """The customer_id of a record that stands for itself, as :func:`clientbook.customers.record_id` makes it.

    Parameters
    ----------
    source, person_id
        The key of the record.
    """
    return "c" + hashlib.sha256(f"{source}\x1f{person_id}".encode()).hexdigest()[:16]


_PERSON_TABLES = ("people", "orders", "cases", "consents", "surveys", "messages", "events")


def customer_of(reader: RunReader, records: Iterable[tuple[str, str]]) -> set[str]:
    """Which customers do person records belong to?

    Parameters
    ----------
    reader
        A run's tables.
    records
        Pairs of source and person_id.
    """
    records = list(records)
    known = {(row["source"], row["person_id"]): row["customer_id"] for row in reader.of_records("identities", records)}
    return {known.get(record, record_id(*record)) for record in records}


def records_of(reader: RunReader, customer_id: str) -> list[tuple[str, str]]:
    """Which person records is a customer made of?

    Parameters
    ----------
    reader
        A run's tables.
    customer_id
        Theirs.
    """
    if reader.has("identities"):
        rows = reader.of_customer("identities", customer_id)
        return sorted((row["source"], row["person_id"]) for row in rows)
    found: set[tuple[str, str]] = set()
    for table in _PERSON_TABLES:
        owner = "source" if table == "people" else "person_source"
        if not found and reader.has(table, owner, "person_id"):
            where = f"'c' || substr(sha256({owner} || chr(31) || person_id), 1, 16) = ?"
            rows = reader.rows(table, where, [customer_id], f"DISTINCT {owner} AS source, person_id")
            found |= {(row["source"], row["person_id"]) for row in rows}
    return sorted(found)


def find(reader: RunReader, who: str, country: str) -> list[Hit]:
    """Who may be meant: by customer_id, account_id, e-mail address, telephone number, or `source:person_id`?

    Parameters
    ----------
    reader
        The newest run's tables.
    who
        What was asked for.
    country
        Default for telephone numbers.

    Returns
    -------
    list of Hit
        Sorted; none where nobody fits.
    """
    who = who.strip()
    for table in ("customers", "identities", "value", "segments"):
        if reader.has(table, "customer_id") and reader.rows(
            table, "customer_id = ? LIMIT 1", [who], "1 AS one", by="customer_id"
        ):
            return [Hit("customer", who)]
    for table in ("resolved_accounts", "customers"):
        if reader.has(table, "account_id") and reader.rows(table, "account_id = ? LIMIT 1", [who], "1 AS one", by="account_id"):
            return [Hit("account", who)]
    rows = reader.rows("account_identities", "source_account_id = ?", [who], "DISTINCT account_id")
    if rows:
        return sorted(Hit("account", row["account_id"]) for row in rows)
    if not reader.has("identities") and records_of(reader, who):
        return [Hit("customer", who)]
    found = {Hit("customer", one) for one in customer_of(reader, _records(reader, who, country))}
    if "@" in who and reader.has("customers", "email"):
        rows = reader.rows("customers", "lower(trim(email)) = ?", [normal_email(who)], "customer_id") if not found else []
        found |= {Hit("customer", row["customer_id"]) for row in rows}
    return sorted(found)


def _records(reader: RunReader, who: str, country: str) -> list[tuple[str, str]]:
    """The person records with this key, this address or this number."""
    source, colon, person_id = who.partition(":")
    person_id = normal_id(person_id)
    if colon and person_id:
        for table in ("identities", *_PERSON_TABLES):
            if reader.of_records(table, [(source, person_id)], "1 AS one"):
                return [(source, person_id)]
    if "@" in who and reader.has("people", "email"):
        rows = reader.rows("people", "mail = ?", [normal_email(who)], "source, person_id", by="email")
    elif _PHONE.match(who) and reader.has("people", "phone"):
        # however it is spelt, a number ends in the same digits; what is left is compared in full
        number = normal_phone(who, country)
        ending = "".join(letter for letter in number if letter.isdigit())[-6:]
        rows = reader.rows("people", "ending = ?", [ending], "source, person_id, phone", by="phone")
        rows = [row for row in rows if normal_phone(row["phone"], country) == number]
    else:
        rows = []
    return [(row["source"], row["person_id"]) for row in rows]


def find_one(reader: RunReader, who: str, country: str) -> Hit:
    """Who is meant.

    Parameters
    ----------
    reader, who, country
        As for :func:`find`.

    Raises
    ------
    ClientbookError
        If nobody fits, or several do: they are listed, masked, and nobody is guessed.
    """
    hits = find(reader, who, country)
    if len(hits) == 1:
        return hits[0]
    if not hits:
        raise ClientbookError(
            f"Run {reader.run.name} knows nobody like that. Ask for a customer_id, an account_id, an e-mail address, "
            "a telephone number, or source:person_id."
        )
    lines = [f"{hit.kind} {hit.id}  {_in_short(reader, hit)}".rstrip() for hit in hits[:_SHOWN_HITS]]
    more = [f"… and {len(hits) - _SHOWN_HITS:,} more"] if len(hits) > _SHOWN_HITS else []
    raise ClientbookError("\n".join([f"{len(hits):,} fit. Ask for one of them by its id:", *lines, *more]))


def _in_short(reader: RunReader, hit: Hit) -> str:
    rows = reader.rows("customers", "customer_id = ?", [hit.id], by="customer_id") if hit.kind == "customer" else []
    told = [mask(rows[0].get(name), _PERSONAL[name]) for name in ("full_name", "email", "phone")] if rows else []
    return ", ".join(word for word in told if word)


def describe(reader: RunReader, hit: Hit) -> str:
    """A customer in a few masked words, to be recognised by who asked for them.

    Parameters
    ----------
    reader
        The newest run's tables.
    hit
        Who.
    """
    return f"{hit.kind} {hit.id} {_in_short(reader, hit)}".rstrip()


def mask(value: Any, kind: str) -> str | None:
    """So much of a value that who knows it recognises it, and nobody else does.

    Parameters
    ----------
    value
        Such as an e-mail address; None stays None.
    kind
        The kind of personal data, one of `tables.PERSONAL_KINDS`.
    """
    if value is None:
        return None
    text = str(value)
    if kind == "name":
        return " ".join(word[0] + _MASK for word in text.split())
    if kind == "email":
        local, _, domain = text.partition("@")
        return f"{local[:1]}{_MASK}@{domain[:1]}{_MASK}"
    if kind in ("phone", "id"):
        return _MASK + text[-2:] if len(text) > 4 else _MASK
    return _MASK


def card(reader: RunReader, hit: Hit, *, reveal: bool = False) -> dict[str, Any]:
    """Everything that is to be known before talking to a customer, or to one of an account's contacts.

    Parameters
    ----------
    reader
        The newest run's tables.
    hit
        Who.
    reveal
        Show personal data as it is.

    Returns
    -------
    dict
        Plain data; a part whose table is not there is None.
    """
    if hit.kind == "customer":
        return {"kind": "customer", **_origin(reader), **_customer(reader, hit.id, reveal)}
    account = reader.rows("resolved_accounts", "account_id = ?", [hit.id], by="account_id")
    members = reader.rows("customers", "account_id = ? ORDER BY customer_id", [hit.id], "customer_id", by="account_id")
    reader.focus(row["customer_id"] for row in members)
    stages = _stages(reader, [("account", hit.id)])
    facts = dict(account[0]) if account else {"account_id": hit.id}
    if facts.get("kind") != "company" and not reveal:
        # the name of a household is its people's
        facts["name"] = mask(facts.get("name"), "name")
    return {
        "kind": "account",
        **_origin(reader),
        "account": facts,
        "stages": stages,
        "contacts": [_customer(reader, row["customer_id"], reveal) for row in members],
    }


def _origin(reader: RunReader) -> dict[str, Any]:
    return {"run": reader.run.name, "as_of": reader.run.as_of}


def _customer(reader: RunReader, customer_id: str, reveal: bool) -> dict[str, Any]:
    records = records_of(reader, customer_id)
    golden = reader.of_customer("customers", customer_id)
    if golden:
        who = golden[0]
    else:
        people = reader.of_records("people", records)
        who = {name: people[0].get(name) for name in CANONICAL["people"].names if name != "person_id"} if people else {}
    account_id = who.get("account_id") if golden else None
    if not reveal:
        who = {name: mask(value, _PERSONAL[name]) if name in _PERSONAL else value for name, value in who.items()}
    known = {(row["source"], row["person_id"]): row for row in reader.of_records("identities", records)}
    identities = [
        {
            "source": source,
            "person_id": person_id if reveal else mask(person_id, "id"),
            "probability": known.get((source, person_id), {}).get("probability"),
        }
        for source, person_id in records
    ]
    subjects = [("customer", customer_id), *([("account", account_id)] if account_id else [])]
    return {
        "customer_id": customer_id,
        "who": {name: value for name, value in who.items() if value is not None and name != "customer_id"},
        "identities": identities,
        "value": _first(reader, "value", customer_id),
        "segment": _first(reader, "segments", customer_id),
        "orders": _orders(reader, records),
        "open_cases": _open_cases(reader, records, reveal),
        "stages": _stages(reader, subjects),
        "consent": _consent(reader, records),
        "preferences": _plain(reader, "preferences", records, "stated_at"),
        "messages": _messages(reader, records),
        "next_actions": reader.of_customer("next_actions", customer_id) if reader.has("next_actions") else None,
    }


def _first(reader: RunReader, table: str, customer_id: str) -> dict[str, Any] | None:
    rows = reader.of_customer(table, customer_id)
    return {name: value for name, value in rows[0].items() if name != "customer_id"} if rows else None


def _orders(reader: RunReader, records: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    if not reader.has("orders"):
        return None
    lines = reader.of_records("orders", records)
    keys = {(row["order_source"], row["order_id"] or f"row {row['arrival']}") for row in lines}
    return {
        "orders": len(keys),
        "amount": round(sum(row["amount"] or 0.0 for row in lines), 2),
        "first": min((row["ordered_on"] for row in lines), default=None),
        "last": max((row["ordered_on"] for row in lines), default=None),
        "open": len({(row["order_source"], row["order_id"]) for row in lines if row["status"] == "open"}),
    }


def _open_cases(reader: RunReader, records: Sequence[tuple[str, str]], reveal: bool) -> list[dict[str, Any]] | None:
    if not reader.has("cases"):
        return None
    rows = [row for row in reader.of_records("cases", records) if row["closed_at"] is None]
    told = [{name: row[name] for name in ("opened_at", "channel", "reason", "text")} for row in rows]
    return told if reveal else [{**row, "text": mask(row["text"], "words")} for row in told]


def _stages(reader: RunReader, subjects: Sequence[tuple[str, str]]) -> list[dict[str, Any]] | None:
    if not reader.has("stage_intervals"):
        return None
    where = " OR ".join("(subject_type = ? AND subject_id = ?)" for _ in subjects)
    rows = reader.rows(
        "stage_intervals",
        f"method = 'filtered' AND valid_to IS NULL AND ({where}) ORDER BY valid_from DESC, topic",
        [value for subject in subjects for value in subject],
        by="subject_id",
    )
    return [{name: row[name] for name in ("topic", "stage", "valid_from", "probability")} for row in rows]


def _consent(reader: RunReader, records: Sequence[tuple[str, str]]) -> list[dict[str, Any]] | None:
    if not reader.has("consents"):
        return None
    from clientbook.consent import ANY_CHANNEL, settle

    said = reader.of_records("consents", records)
    channels = sorted({row["channel"] for row in said if row["channel"]}) or [ANY_CHANNEL]
    rest = [] if channels == [ANY_CHANNEL] else ["others"]
    # what was seen ended before the run's day in the book's zone; nothing later is in the tables
    instant = dt.datetime.combine(reader.run.as_of + dt.timedelta(days=1), dt.time())
    return [
        {
            "purpose": purpose,
            "channel": channel,
            "status": settle([row for row in said if row["purpose"] == purpose], instant, channel),
        }
        for purpose in sorted({row["purpose"] for row in said})
        for channel in [*channels, *rest]
    ]


def _plain(reader: RunReader, table: str, records: Sequence[tuple[str, str]], at: str) -> list[dict[str, Any]] | None:
    if not reader.has(table):
        return None
    names = [column.name for column in CANONICAL[table].columns if not column.personal]
    rows = sorted(reader.of_records(table, records), key=lambda row: (row[at], row["arrival"]), reverse=True)
    return [{name: row[name] for name in names if row.get(name) is not None} for row in rows[:_LATEST]]


def _messages(reader: RunReader, records: Sequence[tuple[str, str]]) -> list[dict[str, Any]] | None:
    names = ("sent_at", "channel", "message_type", "topic", "opened_at", "clicked_at")
    told = _plain(reader, "messages", records, "sent_at")
    return None if told is None else [{name: row[name] for name in names if name in row} for row in told]


def as_json(told: dict[str, Any]) -> str:
    """A card as JSON.

    Parameters
    ----------
    told
        As from :func:`card`.
    """
    return json.dumps(told, indent=2, ensure_ascii=False, default=str)


_TITLES = {
    "who": "Who", "identities": "Known as", "value": "Value", "segment": "Segment", "orders": "Orders",
    "open_cases": "Open cases", "stages": "Stage", "consent": "Allows", "preferences": "Prefers",
    "messages": "Last messages", "next_actions": "What to do next", "account": "Account",
}  # fmt: skip


def _parts(told: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(title, told[name]) for name, title in _TITLES.items() if name in told]


def _written(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
    return str(value)


def as_text(told: dict[str, Any]) -> str:
    """A card for a terminal.

    Parameters
    ----------
    told
        As from :func:`card`.
    """
    lines = [f"{told['kind'].capitalize()} {_id(told)}, as of {told['as_of']}; times are in UTC"]
    for title, part in _parts(told):
        lines += ["", title, *_lines(part)]
    for contact in told.get("contacts", ()):
        lines += ["", "", f"Contact {contact['customer_id']}"]
        for title, part in _parts(contact):
            lines += ["", title, *_lines(part)]
    return "\n".join(lines)


def _lines(part: Any) -> list[str]:
    if not part:
        return ["  not known" if part is None else "  none"]
    if isinstance(part, dict):
        return [f"  {name.replace('_', ' ')}: {_written(value)}" for name, value in part.items()]
    return ["  " + ", ".join(_written(value) for value in row.values() if value is not None) for row in part]


def _id(told: dict[str, Any]) -> str:
    return told["customer_id"] if told["kind"] == "customer" else told["account"]["account_id"]


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2933}"
    "h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem}h3{font-size:1rem;margin:1.5rem 0 .3rem}"
    "table{border-collapse:collapse}th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #e3e8ed;"
    "vertical-align:top}th{font-weight:600}.mark{background:#fff3c4;padding:.4rem .6rem}"
)


def as_html(told: dict[str, Any], *, revealed: bool = False) -> str:
    """A card as a page that needs nothing else.

    Parameters
    ----------
    told
        As from :func:`card`.
    revealed
        Whether it shows personal data; the page says so.
    """
    title = f"{told['kind'].capitalize()} {_id(told)}"
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>As of {told['as_of']}, run {html.escape(told['run'])}.</p>"]
    if revealed:
        body.append('<p class="mark">This page shows personal data.</p>')
    body += [_section(name, part) for name, part in _parts(told)]
    for contact in told.get("contacts", ()):
        body.append(f"<h2>Contact {html.escape(contact['customer_id'])}</h2>")
        body += [_section(name, part) for name, part in _parts(contact)]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _section(title: str, part: Any) -> str:
    head = f"<h3>{html.escape(title)}</h3>"
    if not part:
        return f"{head}<p>{'Not known.' if part is None else 'None.'}</p>"
    if isinstance(part, dict):
        told = [(html.escape(name.replace("_", " ")), html.escape(_written(value))) for name, value in part.items()]
        rows = [f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in told]
        return f"{head}<table>{''.join(rows)}</table>"
    names = [name for name in dict.fromkeys(name for row in part for name in row)]
    heads = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in names)
    rows = ["".join(f"<td>{html.escape(_written(row.get(name)))}</td>" for name in names) for row in part]
    return f"{head}<table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
