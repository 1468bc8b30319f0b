"""What does a company's `clientbook.yaml` say? Typed, validated, and with every fault named."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
import shutil
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clientbook.faults import Fault, FaultError
from clientbook.tables import CANONICAL, OWNED_IDS, STAGES

SETTINGS = "clientbook.yaml"
DEFAULT = "data/cdnow"
BOOK_VARIABLE = "CLIENTBOOK_BOOK"

Share = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Goal(_Settings):
    """What does the company want, and who answers for it?"""

    goal: str
    owner: str
    target: float | None = None


class ContactPolicy(_Settings):
    """How many messages are too many?"""

    max_messages: int = Field(8, ge=0)
    period_days: int = Field(30, ge=1)
    per: Literal["account", "customer"] = "account"


class Journeys(_Settings):
    """Whose journeys are followed, and what does an event say about the stage?"""

    subject: Literal["account", "customer"] | None = None
    stages: dict[str, dict[Literal[STAGES], Share]] = {}


class Trigger(_Settings):
    """When this is seen, what is proposed?"""

    when: str
    action: str
    after_hours: float = Field(0, ge=0)


_CANCELLED = re.compile(r"^(?P<column>\S+) (?P<how>starts with|ends with|contains|is) (?P<what>.+)$")


class Cancelled(_Settings):
    """Which orders are cancellations? Written as `order_id starts with C`."""

    column: str
    how: Literal["starts with", "ends with", "contains", "is"]
    what: str

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _CANCELLED.match(value.strip())
        if not match:
            raise ValueError(
                "not a rule for cancellations; write a column, then `starts with`, `ends with`, `contains` or `is`, "
                "then the text: `order_id starts with C`."
            )
        return match.groupdict()


class Delivery(_Settings):
    """Where is a table of a source, and which of its columns is which?

    Parameters
    ----------
    path
        A file, a folder or a glob, relative to the book; `package:name/file` is a file that an installed package brings.
    sql, connection
        A query, and `env:NAME` for the environment variable that holds the database's URL.
    columns
        Canonical name to delivered name; others are kept as `x_name`.
    ids
        Whose ids stand in a column, where it is not this source: `{person_id: crm}`.
    cancelled
        Which orders are cancellations.
    sheet, encoding, delimiter
        How the file is read, where it cannot be found out.
    decimal
        The decimal mark, `.` or `,`.
    dates
        A `strptime` format for the times and dates of the table, or one for each column.
    timezone
        What the clock of the source shows, where it is not the source's or the book's zone.
    values
        Delivered value to canonical value, for each column.
    """

    path: str | None = None
    sql: str | None = None
    connection: Annotated[str, Field(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    columns: dict[str, str] = {}
    ids: dict[Literal[OWNED_IDS], str] = {}
    cancelled: Cancelled | None = None
    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    dates: str | dict[str, str] = {}
    timezone: str | None = None
    values: dict[str, dict[str, str | None]] = {}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return _zone(value)

    @model_validator(mode="after")
    def _one_origin(self) -> Delivery:
        if (self.path is None) == (self.sql is None):
            raise ValueError("give `path`, or `sql` with `connection`; one of the two.")
        if (self.sql is None) != (self.connection is None):
            raise ValueError("`sql` and `connection` go together.")
        return self

    def date_format(self, column: str) -> str | None:
        """The `strptime` format that the book gives for a column, or None."""
        return self.dates if isinstance(self.dates, str) else self.dates.get(column)


class Source(_Settings):
    """Which system is it, who owns it, and which tables does it bring?"""

    owner: str | None = None
    cost_per_year: float | None = Field(None, ge=0)
    timezone: str | None = None
    tables: dict[str, tuple[Delivery, ...]] = {}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return _zone(value)


class Settings(_Settings):
    """Everything that `clientbook.yaml` says."""

    name: str
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    timezone: str = "UTC"
    as_of: dt.date | None = None
    goals: tuple[Goal, ...] = ()
    sources: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Source], Field(min_length=1)]
    journeys: Journeys = Journeys()
    contact_policy: ContactPolicy = ContactPolicy()
    triggers: tuple[Trigger, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return _zone(value)


@dataclass(frozen=True)
class Book:
    """One company's folder: its settings, its data files and its store.

    Parameters
    ----------
    folder
        Absolute path of the folder that holds `clientbook.yaml`.
    settings
        What the file says.
    """

    folder: Path
    settings: Settings = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name; reports of the book are filed under it."""
        return self.folder.name

    @cached_property
    def store(self):
        """What the book's runs left."""
        from clientbook.store import Store

        return Store(self.folder / "store")

    def run(self, name: str = "latest"):
        """A past run by its name, `latest` for the newest whole one.

        Raises
        ------
        ClientbookError
            If there is no such run.
        """
        return self.store.run(name)

    def deliveries(self) -> Iterable[tuple[str, str, int, Delivery]]:
        """Every (source, table, position, delivery) of the book, in the order of the file."""
        for source, spec in self.settings.sources.items():
            for table, deliveries in spec.tables.items():
                for position, delivery in enumerate(deliveries):
                    yield source, table, position, delivery

    def zone(self, source: str, delivery: Delivery) -> str:
        """The time zone that a delivery's clock shows."""
        return delivery.timezone or self.settings.sources[source].timezone or self.settings.timezone


def open_book(folder: str | Path | None = None) -> Book:
    """Which book is meant, and what do its settings say?

    Parameters
    ----------
    folder
        The book's folder. None means the folder that the environment variable `CLIENTBOOK_BOOK` names, else the
        default book below the current folder, which is made if it is not there.

    Raises
    ------
    FaultError
        If there is no `clientbook.yaml`, or it says what it may not; all faults at once.
    """
    if folder is None:
        folder = os.environ.get(BOOK_VARIABLE) or _default_book()
    folder = Path(folder).expanduser().resolve()
    if folder.name == SETTINGS and folder.is_file():
        folder = folder.parent
    file = folder / SETTINGS
    if not folder.is_dir():
        raise FaultError(Fault("there is no such folder.", "A book is a folder with a clientbook.yaml.", file=str(folder)))
    if not file.is_file():
        raise FaultError(
            Fault("there is no clientbook.yaml in this folder.", "Write one, as the README shows.", file=str(folder))
        )
    return Book(folder, read_settings(file))


def read_settings(file: Path) -> Settings:
    """Read and validate a `clientbook.yaml`.

    Raises
    ------
    FaultError
        With every fault that was found, each naming its key and what is allowed there.
    """
    try:
        raw = yaml.load(file.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except OSError as error:
        raise FaultError(Fault(f"cannot be read: {error.strerror}.", file=file.name)) from error
    except UnicodeDecodeError as error:
        raise FaultError(Fault("is not UTF-8 text.", "Save it as UTF-8.", file=file.name)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not valid YAML: {error.problem}."
        raise FaultError(Fault(message, file=file.name, row=mark.line + 1 if mark else None)) from error
    except yaml.YAMLError as error:
        raise FaultError(Fault("is not valid YAML: it holds characters that may not stand there.", file=file.name)) from error
    if not isinstance(raw, Mapping):
        raise FaultError(Fault("holds no settings.", "It needs at least `name` and `sources`.", file=file.name))
    faults, raw = _lift_tables(raw)
    try:
        settings = Settings.model_validate(raw)
    except pydantic.ValidationError as error:
        faults += _explain(error)
        settings = None
    if settings is not None:
        faults += _cross_check(settings)
    if faults:
        raise FaultError(faults)
    return settings


def _default_book() -> Path:
    folder = Path(DEFAULT)
    if not (folder / SETTINGS).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_shipped(DEFAULT) / SETTINGS, folder / SETTINGS)
    return folder


def _shipped(folder: str) -> Path:
    # an installed package carries the folder in itself; an editable install leaves it beside src
    package = Path(__file__).parent
    inside = package / "books" / Path(folder).name
    return inside if inside.is_dir() else package.parents[1] / folder


class _Loader(yaml.SafeLoader):
    """YAML without its traps: `country: NO` is Norway, a day that does not exist is told by name, a key stands once."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if isinstance(key, (list, dict)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _lift_tables(raw: Mapping) -> tuple[list[Fault], dict]:
    """Canonical tables stand beside `owner` in the file, and below `tables` in the model."""
    faults: list[Fault] = []
    raw = dict(raw)
    sources = raw.get("sources")
    if not isinstance(sources, Mapping):
        return faults, raw
    raw["sources"] = {}
    own = [name for name in Source.model_fields if name != "tables"]
    for source, spec in sources.items():
        if not isinstance(spec, Mapping):
            raw["sources"][source] = spec
            continue
        lifted: dict[str, Any] = {name: spec[name] for name in own if name in spec}
        lifted["tables"] = {}
        for key, value in spec.items():
            if key in CANONICAL:
                lifted["tables"][key] = value if isinstance(value, list) else [value]
            elif key not in own:
                faults.append(_unknown(key, f"sources.{source}", [*own, *CANONICAL], "is neither a setting nor a table"))
        raw["sources"][source] = lifted
    return faults, raw


def _unknown(key: Any, where: str, allowed: Iterable[str], what: str = "is not a setting") -> Fault:
    allowed = list(allowed)
    close = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f"Did you mean `{close[0]}`? " if close else ""
    return Fault(f"`{key}` {what}.", f"{hint}Allowed: {', '.join(allowed)}.", key=where or SETTINGS)


def _explain(error: pydantic.ValidationError) -> list[Fault]:
    faults = []
    for item in error.errors():
        in_source = item["loc"][:1] == ("sources",)
        path = [part for part in item["loc"] if not in_source or part not in ("tables", 0)]
        key = ".".join(str(part) for part in path)
        kind, context = item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            faults.append(_unknown(path[-1], ".".join(map(str, path[:-1])), _allowed_at(item["loc"][:-1])))
            continue
        if kind == "missing":
            faults.append(Fault("is required.", key=key))
            continue
        if kind == "value_error":
            faults.append(Fault(str(context["error"]), key=key))
            continue
        given = item["input"]
        shown = f" It says {given!r}." if isinstance(given, (str, int, float, bool)) and len(repr(given)) < 60 else ""
        faults.append(Fault(f"{_plain(kind, context, item['msg'])}.{shown}", key=key.replace(".[key]", "")))
    return faults


def _plain(kind: str, context: Mapping, message: str) -> str:
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        patterns = {
            r"^[A-Z]{3}$": "must be a currency of three capitals, such as EUR",
            r"^[A-Z]{2}$": "must be a country of two capitals, such as CH",
            r"^[a-z][a-z0-9_]*$": "the name of a source is lower-case letters, digits and _",
            r"^env:[A-Za-z_][A-Za-z0-9_]*$": "must be `env:` and the name of an environment variable",
        }
        return patterns.get(context["pattern"], message)
    if kind == "string_type":
        return "must be text; put it in quotes"
    return message[:1].lower() + message[1:]


def _allowed_at(path: tuple) -> list[str]:
    models = {"goals": Goal, "contact_policy": ContactPolicy, "journeys": Journeys, "triggers": Trigger}
    if not path:
        return list(Settings.model_fields)
    if path[0] in models:
        return list(models[path[0]].model_fields)
    return list(Delivery.model_fields) if len(path) > 2 else list(Source.model_fields)


def _cross_check(settings: Settings) -> list[Fault]:
    faults = []
    if not any(spec.tables for spec in settings.sources.values()):
        faults.append(Fault("no source has a table.", f"Tables: {', '.join(CANONICAL)}.", key="sources"))
    for source, spec in settings.sources.items():
        for table, deliveries in spec.tables.items():
            for position, delivery in enumerate(deliveries):
                key = f"sources.{source}.{table}" + (f".{position}" if len(deliveries) > 1 else "")
                faults += _check_delivery(settings, table, delivery, key)
    return faults


def _check_delivery(settings: Settings, table: str, delivery: Delivery, key: str) -> list[Fault]:
    canonical = CANONICAL[table]
    faults = []
    for id_column, owner in delivery.ids.items():
        if owner not in settings.sources:
            faults.append(_unknown(owner, f"{key}.ids.{id_column}", settings.sources, "is not a source of this book"))
        if id_column not in canonical.names:
            faults.append(_unknown(id_column, f"{key}.ids", canonical.owned_ids, f"is not an id of {table}"))
    for where, names in (("dates", () if isinstance(delivery.dates, str) else delivery.dates), ("values", delivery.values)):
        known = [*canonical.names, *delivery.columns]
        faults += [_unknown(n, f"{key}.{where}", known, f"is not a column of {table}") for n in names if n not in known]
    if delivery.cancelled:
        if table != "orders":
            faults.append(Fault("only orders have cancellations.", key=f"{key}.cancelled"))
        elif delivery.cancelled.column not in (*canonical.names, *delivery.columns):
            faults.append(_unknown(delivery.cancelled.column, f"{key}.cancelled", canonical.names, "is not a column of orders"))
    return faults


def _zone(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        close = difflib.get_close_matches(value, zoneinfo.available_timezones(), n=1)
        hint = f"Did you mean {close[0]}?" if close else "One is Europe/London."
        raise ValueError(f"{value!r} is not a time zone. {hint}") from None
    return value
