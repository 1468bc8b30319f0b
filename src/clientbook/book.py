"""What does a company's `clientbook.yaml` say? Typed, validated, and with every fault named."""

from __future__ import annotations

import datetime as dt
import difflib
import os
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clientbook.faults import Fault, FaultError, UsageError
from clientbook.tables import CANONICAL, OWNED_IDS, STAGES

SETTINGS = "clientbook.yaml"
# What people said about pairs of records; kept by hand or from JupyterLab.
LABELS = "labels.csv"
DEFAULT = "data/demo"
BOOK_VARIABLE = "CLIENTBOOK_BOOK"


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no.")
    return value


def _day(value: Any) -> Any:
    # pydantic would take 0 for a day too, and count seconds from 1970
    if isinstance(value, dt.date) or value is None:
        return value
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"must be a day that there is, written as 2024-06-01. It says {value!r}.")


_Number = pydantic.BeforeValidator(_number)
Words = Annotated[str, Field(pattern=r"\S")]
Count = Annotated[int, _Number]
Amount = Annotated[float, _Number, Field(allow_inf_nan=False)]
Share = Annotated[Amount, Field(ge=0, le=1)]

# what DuckDB's strptime knows
_DIRECTIVE = re.compile(r"%(-?[dmyHIMSj]|[aAbBcfgGnpuUVwWxXYzZ%])")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Goal(_Settings):
    """What does the company want, and who answers for it?"""

    goal: str
    owner: str
    target: Amount | None = None


class ContactPolicy(_Settings):
    """How many messages are too many?"""

    max_messages: Count = Field(8, ge=0)
    period_days: Count = Field(30, ge=1)
    per: Literal["account", "customer"] = "account"


class Journeys(_Settings):
    """Whose journeys are followed, and what does an event say about the stage?"""

    subject: Literal["account", "customer"] | None = None
    stages: dict[str, dict[Literal[STAGES], Share]] = {}


class Trigger(_Settings):
    """When this is seen, what is proposed?"""

    when: str
    action: str
    after_hours: Amount = Field(0, ge=0)


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

    @field_validator("dates", mode="before")
    @classmethod
    def _known_formats(cls, value: Any) -> Any:
        formats = value.values() if isinstance(value, Mapping) else [value]
        for each in formats:
            if not isinstance(each, str):
                raise ValueError("must be a `strptime` format in quotes, such as '%d/%m/%Y', or one for each column.")
            letters = {match.lstrip("-") for match in _DIRECTIVE.findall(each)}
            if "%" in _DIRECTIVE.sub("", each) or not letters & set("YyGcx"):
                raise ValueError(f"{each!r} is not a `strptime` format of a day; write it as '%d/%m/%Y'.")
        return value

    def date_format(self, column: str) -> str | None:
        """The `strptime` format that the book gives for a column, or None."""
        return self.dates if isinstance(self.dates, str) else self.dates.get(column)


_Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
_Worth = Annotated[float, _Number, Field(gt=0, allow_inf_nan=False)]
_End = dt.date | Amount | None


def _range(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or all(end is None for end in value):
        raise ValueError("must be two ends, such as [0, 100] or [1920-01-01, ]; one of them may be null.")
    ends = [_day(end) if isinstance(end, str) else end for end in value]
    told = [end for end in ends if end is not None]
    if len({isinstance(end, dt.date) for end in told}) > 1 or (len(told) == 2 and told[0] > told[1]):
        raise ValueError("the first end must not lie after the second, and both are numbers or both days.")
    return ends


class Cleaning(_Settings):
    """What does the company itself say of its data? Columns are written as `table.column`, or `column` for all tables.

    Parameters
    ----------
    placeholders
        More words that stand for nothing, for each column; those under `*` in every one.
    keep
        Words that are no placeholders here, for each column.
    values
        Delivered value to canonical value, for each column of every source.
    ranges
        The smallest and the largest value that a column may hold; others are emptied.
    required
        Columns of a table without which a row is rejected.
    allowed
        The only values that a column may hold; others are emptied.
    same_id
        Of rows of one id with different content: `newest` stays (the default), `oldest`, or `all`.
    rates
        What one of another currency is worth in the book's; or by the day from which it holds.
    """

    placeholders: dict[str, tuple[str, ...]] = {}
    keep: dict[str, tuple[str, ...]] = {}
    values: dict[str, dict[str, str | None]] = {}
    ranges: dict[str, Annotated[tuple[_End, _End], pydantic.BeforeValidator(_range)]] = {}
    required: dict[Literal[tuple(CANONICAL)], tuple[str, ...]] = {}
    allowed: dict[str, tuple[str, ...]] = {}
    same_id: dict[Literal[tuple(CANONICAL)], Literal["newest", "oldest", "all"]] = {}
    rates: dict[_Currency, _Worth | dict[Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")], _Worth]] = {}


# What records can be compared by, and what a blocking rule may ask for beside these.
COMPARED = (
    "first_name", "surname", "further_names", "birth_date", "email", "phone", "shared_number", "postcode", "city", "street",
    "company", "job_title",
)  # fmt: skip
BLOCKED = (
    *COMPARED, "first_name_sound", "short_first_name", "surname_sound", "surname_start", "birth_year", "birthday",
    "email_local", "email_company", "postcode_start", "house_number",
)  # fmt: skip
# What a customer's record takes from one of their records together.
TAKEN = (
    "name", "email", "phone", "address", "birth_date", "company", "job_title", "industry", "persona", "social_reach",
    "external_id",
)  # fmt: skip


class Matching(_Settings):
    """Who is who: what does the company know better than its data? What is not said is found in the data.

    Parameters
    ----------
    compare
        What records are compared by.
    blocking_rules
        Which records are compared at all: those that agree on everything in one of these lists. They are held to the
        same bound on pairs as rules that are found.
    threshold
        From this mean probability on records are put together.
    precision
        So much of what is put together shall be right, as far as is known.
    clean_sources
        Systems that hold nobody twice: two of their records are never one customer.
    golden
        Which record a customer's name, address or other column is taken from: the `newest`, the one with the
        `most_frequent` value, the one with the `longest`, or a list of systems, the most trusted first.
    """

    compare: Annotated[tuple[Literal[COMPARED], ...], Field(min_length=2)] | None = None
    blocking_rules: (
        Annotated[tuple[Annotated[tuple[Literal[BLOCKED], ...], Field(min_length=1)], ...], Field(min_length=1)] | None
    ) = None
    threshold: Annotated[float, _Number, Field(gt=0, lt=1)] | None = None
    precision: Annotated[float, _Number, Field(gt=0, lt=1)] | None = None
    clean_sources: tuple[str, ...] = ()
    golden: dict[Literal[TAKEN], Literal["newest", "most_frequent", "longest"] | tuple[str, ...]] = {}


RULES = (
    "every source has an owner", "every source has a purpose", "nothing is kept longer than it may be",
    "messages without consent", "personal data that no decision uses", "customers who allow marketing",
    "rows that can be used",
)  # fmt: skip


class Rule(_Settings):
    """What must hold at every run? A breach stands on the overview.

    Parameters
    ----------
    rule
        One of `RULES`.
    at_most, at_least
        The limit, for a rule that counts: messages without consent and usable rows as shares of all, customers who allow
        marketing as a share of those who can be addressed, columns as their number.
    """

    rule: Literal[RULES]
    at_most: Amount | None = None
    at_least: Amount | None = None


class Source(_Settings):
    """Which system is it, who owns it, for what is it kept and how long, and which tables does it bring?"""

    owner: str | None = None
    purpose: str | None = None
    retention_days: Count | None = Field(None, ge=1)
    cost_per_year: Amount | None = Field(None, ge=0)
    timezone: str | None = None
    tables: dict[str, tuple[Delivery, ...]] = {}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return _zone(value)


class Settings(_Settings):
    """Everything that `clientbook.yaml` says."""

    name: Words
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    timezone: str = "UTC"
    as_of: Annotated[dt.date | None, pydantic.BeforeValidator(_day)] = None
    goals: tuple[Goal, ...] = ()
    sources: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Source], Field(min_length=1)]
    journeys: Journeys = Journeys()
    contact_policy: ContactPolicy = ContactPolicy()
    policy: tuple[Rule, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    cleaning: Cleaning = Cleaning()
    matching: Matching = Matching()

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
        folder = os.environ.get(BOOK_VARIABLE) or default_book()
    folder = Path(folder).expanduser().resolve()
    if folder.name == SETTINGS and folder.is_file():
        folder = folder.parent
    file = folder / SETTINGS
    if not folder.is_dir():
        told = "is a file, and no folder." if folder.exists() else "there is no such folder."
        raise FaultError(Fault(told, "A book is a folder with a clientbook.yaml.", file=str(folder)))
    if not file.is_file():
        raise FaultError(
            Fault("there is no clientbook.yaml in this folder.", "`clientbook init` drafts one from its files.", file=str(folder))
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
    except RecursionError as error:
        raise FaultError(Fault("is nested too deeply.", "Close the brackets.", file=file.name)) from error
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
        faults += _explain(error, raw)
        settings = None
    if settings is not None:
        faults += _cross_check(settings)
    if faults:
        raise FaultError(faults)
    return settings


def make_company(folder: Path, progress: Callable[[str, float], None] | None = None, **options: Any) -> None:
    """Make the made company, as the `demo` command does.

    Parameters
    ----------
    folder
        Empty, absent, or an earlier made company.
    progress
        Called with what is being made and a fraction.
    **options
        `people`, `seed`, `as_of`.

    Raises
    ------
    UsageError
        If the folder holds something else or cannot be written, or there are too few people.
    """
    from clientbook import demo

    try:
        demo.make(folder, progress=progress, **options)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}. Name another folder.") from error


def default_book(progress: Callable[[str, float], None] | None = None) -> Path:
    """The default book below the current folder, made on the spot if it is not there.

    Parameters
    ----------
    progress
        Called with what is being made and a fraction.
    """
    folder = Path(DEFAULT)
    if not (folder / SETTINGS).is_file():
        make_company(folder, progress)
    return folder


class _Loader(yaml.SafeLoader):
    """YAML without its traps: `country: NO` is Norway, a day that does not exist is told by name, a key stands once.

    `007` and `12:30` are text; YAML itself would take them for 7 and for 750.
    """


_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_OWN = {_TAG + name for name in ("bool", "timestamp", "int", "float", "value")}
_DIGITS = list("-+.0123456789")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(_TAG + "int", re.compile(r"^[-+]?(?:0|[1-9]\d*)$", re.ASCII), _DIGITS)
_Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"^[-+]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+|[1-9]\d*(?=[eE]))(?:[eE][-+]?\d+)?$", re.ASCII), _DIGITS
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
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


def _explain(error: pydantic.ValidationError, raw: Mapping) -> list[Fault]:
    faults = []
    for item in error.errors():
        path = _as_written(item["loc"], raw)
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
        # what stands where the name of a variable is wanted may be the secret itself
        tellable = isinstance(given, (str, int, float, bool)) and len(repr(given)) < 60 and path[-1] != "connection"
        shown = f" It says {given!r}." if tellable else ""
        allowed = f" Allowed: {', '.join(_allowed_at(item['loc']))}." if kind == "model_type" else ""
        faults.append(Fault(f"{_plain(kind, context, item['msg'])}.{allowed}{shown}", key=key.replace(".[key]", "")))
    return faults


def _as_written(path: tuple, raw: Mapping) -> list:
    """A place in the model as it is called in the file, where tables stand in their source, one without a number."""
    if path[:1] != ("sources",) or path[2:3] != ("tables",):
        return list(path)
    source, table = path[1], path[3]
    alone = len(raw["sources"][source]["tables"][table]) == 1
    return ["sources", source, table, *path[5 if alone else 4 :]]


def _plain(kind: str, context: Mapping, message: str) -> str:
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        patterns = {
            r"^[A-Z]{3}$": "must be a currency of three capitals, such as EUR",
            r"^[A-Z]{2}$": "must be a country of two capitals, such as CH",
            r"^[a-z][a-z0-9_]*$": "the name of a source is lower-case letters, digits and _",
            r"^env:[A-Za-z_][A-Za-z0-9_]*$": "must be `env:` and the name of an environment variable",
            r"\S": "must not be empty",
        }
        return patterns.get(context["pattern"], message)
    if kind == "too_short":
        return "needs at least one"
    plainly = {
        "string_type": "must be text; put it in quotes",
        "invalid_key": "a key must be text; put it in quotes",
        "model_type": "must be a mapping, a setting a line",
        "dict_type": "must be a mapping, a setting a line",
        "tuple_type": "must be a list, a dash before each",
        "greater_than_equal": f"must be {context.get('ge')} or more",
        "less_than_equal": f"must be {context.get('le')} or less",
        "finite_number": "must be a number with an end",
    }
    if kind in plainly:
        return plainly[kind]
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith("float_"):
        return "must be a number"
    return message[:1].lower() + message[1:]


def _allowed_at(path: tuple) -> list[str]:
    models = {"goals": Goal, "contact_policy": ContactPolicy, "journeys": Journeys, "triggers": Trigger, "cleaning": Cleaning,
              "matching": Matching}  # fmt: skip
    if not path:
        return list(Settings.model_fields)
    if path[0] in models:
        return list(models[path[0]].model_fields)
    if path[-1] == "cancelled":
        return list(Cancelled.model_fields)
    if len(path) > 2:
        return list(Delivery.model_fields)
    return [*(name for name in Source.model_fields if name != "tables"), *CANONICAL]


def _cross_check(settings: Settings) -> list[Fault]:
    faults = []
    if not any(spec.tables for spec in settings.sources.values()):
        faults.append(Fault("no source has a table.", f"Tables: {', '.join(CANONICAL)}.", key="sources"))
    for source, spec in settings.sources.items():
        for table, deliveries in spec.tables.items():
            if not deliveries:
                faults.append(Fault("the list is empty.", "Give each file a `path`.", key=f"sources.{source}.{table}"))
            for position, delivery in enumerate(deliveries):
                key = f"sources.{source}.{table}" + (f".{position}" if len(deliveries) > 1 else "")
                faults += _check_delivery(settings, table, delivery, key)
    asked, known = settings.matching, settings.sources
    trusted = {f"matching.golden.{name}": rule for name, rule in asked.golden.items() if not isinstance(rule, str)}
    for where, names in {"matching.clean_sources": asked.clean_sources, **trusted}.items():
        faults += [_unknown(n, where, known, "is not a source of this book") for n in names if n not in known]
    return faults + _check_cleaning(settings.cleaning)


def _check_cleaning(cleaning: Cleaning) -> list[Fault]:
    """Does every column that the section names stand in a table, and is it of a kind that the setting can speak of?"""
    known = {f"{table.name}.{column.name}": column for table in CANONICAL.values() for column in table.columns}
    known |= {column.name: column for column in known.values()}
    faults = []
    for where in ("placeholders", "keep", "values", "ranges", "allowed"):
        for name in getattr(cleaning, where):
            key = f"cleaning.{where}"
            if name == "*" and where == "placeholders":
                continue
            if name not in known:
                faults.append(_unknown(name, key, known, "is not a column"))
            elif where == "ranges" and known[name].kind in ("id", "text", "flag"):
                faults.append(Fault(f"`{name}` holds no numbers or days, and has no range.", key=key))
            elif where == "ranges":
                days = any(isinstance(end, dt.date) for end in cleaning.ranges[name])
                if days != (known[name].kind in ("date", "time")):
                    wanted = "numbers" if days else "days, such as 1920-01-01"
                    faults.append(Fault(f"the ends must be {wanted}.", key=f"{key}.{name}"))
            elif where != "values" and known[name].kind not in ("id", "text"):
                faults.append(Fault(f"`{name}` holds no words.", "`ranges` is for numbers and days.", key=key))
    for table, names in cleaning.required.items():
        where = f"cleaning.required.{table}"
        faults += [
            _unknown(n, where, CANONICAL[table].names, f"is not a column of {table}")
            for n in names
            if n not in CANONICAL[table].names
        ]
    return faults


def _check_delivery(settings: Settings, table: str, delivery: Delivery, key: str) -> list[Fault]:
    canonical = CANONICAL[table]
    faults = []
    for id_column, owner in delivery.ids.items():
        if owner not in settings.sources:
            faults.append(_unknown(owner, f"{key}.ids.{id_column}", settings.sources, "is not a source of this book"))
        if id_column not in canonical.owned_ids:
            faults.append(_unknown(id_column, f"{key}.ids", canonical.owned_ids, f"is not another source's id in {table}"))
    times = [column.name for column in canonical.columns if column.kind in ("time", "date")]
    for where, names, known in (
        ("dates", () if isinstance(delivery.dates, str) else delivery.dates, times),
        ("values", delivery.values, [*canonical.names, *delivery.columns]),
    ):
        faults += [_unknown(n, f"{key}.{where}", known, f"is not a column of {table}") for n in names if n not in known]
    spelled: dict[str, str] = {}
    for name in delivery.columns:
        if not name.strip():
            faults.append(Fault("a column has no name.", "Give it one before the colon.", key=f"{key}.columns"))
        elif spelled.setdefault(name.lower(), name) != name:
            told = f"`{spelled[name.lower()]}` and `{name}` differ in capitals alone."
            faults.append(Fault(told, "Give them different names.", key=f"{key}.columns"))
    if delivery.cancelled:
        if table != "orders":
            faults.append(Fault("only orders have cancellations.", key=f"{key}.cancelled"))
        elif delivery.cancelled.column not in (*canonical.names, *delivery.columns):
            faults.append(_unknown(delivery.cancelled.column, f"{key}.cancelled", canonical.names, "is not a column of orders"))
    return faults


def _zone(value: str | None) -> str | None:
    if value is None:
        return None
    # `localtime` is another zone on each machine, and `Factory` is none
    if value not in _zones():
        close = difflib.get_close_matches(value, _zones(), n=1)
        hint = f"Did you mean {close[0]}?" if close else "One is Europe/London."
        raise ValueError(f"{value!r} is not a time zone. {hint}")
    return value


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - {"localtime", "Factory"})
