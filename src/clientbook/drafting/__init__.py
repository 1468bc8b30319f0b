"""What is in a folder that nobody described? A draft of its `clientbook.yaml`, with what is not sure as a comment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from clientbook import parsing, sources
from clientbook.book import LABELS
from clientbook.drafting import words
from clientbook.engine import Engine
from clientbook.engine import open as open_engine
from clientbook.faults import Fault, FaultError, UsageError
from clientbook.store import whole
from clientbook.tables import CANONICAL, REGISTERS, Table

ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx", ".parquet")
_LEFT_OUT = {"store", "reports", "truth", "__pycache__"}
# So many rows of a file are looked at to tell what its columns hold; ids are compared whole.
SAMPLE_ROWS = 5_000
# Of the values of a column, so many must be of a kind for the column to be: exports have a few slips.
MOST = 0.9
# Of the ids that a column holds, so many must stand in the register that they are said to be of.
FOUND = 0.8
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
_PHONE = re.compile(r"^(\+|00?)[\d\s()/.-]{6,}$")
_NUMBER = re.compile(r"^[+-]?(\d+|\d{1,3}([.,'’ ]\d{3})+)([.,]\d+)?$")
_FLAGS = {
    "true",
    "false",
    "yes",
    "no",
    "y",
    "n",
    "t",
    "f",
    "0",
    "1",
    "ja",
    "nein",
    "oui",
    "non",
    "si",
    "sí",
    "x",
    "wahr",
    "falsch",
}
_TRUE = {"ja": "true", "nein": "false", "oui": "true", "wahr": "true", "falsch": "false"}


@dataclass(frozen=True)
class Seen:
    """What a column of a file holds.

    Parameters
    ----------
    name
        As delivered.
    values
        Some of its distinct values, as text.
    filled, distinct, rows
        In the rows looked at.
    kinds
        `number`, `time`, `flag`, `email`, `phone`, `id`: what its values can be.
    decimal
        The decimal mark of its numbers.
    undecided
        The fault of a date column whose order of day and month cannot be told.
    """

    name: str
    values: tuple[str, ...]
    filled: int
    distinct: int
    rows: int
    kinds: frozenset[str]
    decimal: str = "."
    undecided: str = ""


@dataclass
class Placed:
    """One delivery, and what was made of it.

    Parameters
    ----------
    source, path
        The system (its folder) and the file or glob.
    columns
        What was seen of each column.
    sheet
        Of a workbook whose sheets hold different things.
    table
        The canonical table; None where none fits.
    mapping
        Canonical to delivered name.
    checks
        By canonical name, why somebody should look at it.
    ids
        Whose ids stand in a column, where they are another source's.
    notes
        Of the delivery as a whole.
    """

    source: str
    path: str
    columns: tuple[Seen, ...]
    raw: object = field(repr=False, default=None)
    sheet: str | None = None
    table: str | None = None
    mapping: dict[str, str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> Seen:
        """What was seen of a delivered column."""
        return next(seen for seen in self.columns if seen.name == name)


def draft(folder: Path) -> tuple[str, list[Placed]]:
    """What could the `clientbook.yaml` of this folder say?

    Parameters
    ----------
    folder
        With the files that a company delivered; a folder in it is a source.

    Returns
    -------
    text, placed
        The draft, and what was made of each delivery. A column is mapped where its name says what it is and its values
        can be that, or where its values say it alone, with a word to check it; all others are comments.

    Raises
    ------
    UsageError
        If there is no such folder.
    FaultError
        If no file in it could be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    deliveries, unread = [], []
    with open_engine("duckdb", scratch=folder / "store" / "scratch") as engine:
        for source, path in _files(folder):
            for sheet in _sheets(folder / path):
                try:
                    deliveries.append(_look(engine, folder, source, path, sheet))
                except FaultError as error:
                    unread.append((path if sheet is None else f"{path}, sheet {sheet}", str(error.faults[0].message)))
        # the parts of a table are looked at as the one that they are
        deliveries = [_look(engine, folder, p.source, p.path) if "*" in p.path else p for p in _gather(deliveries)]
        for placed in deliveries:
            _place(placed)
        _name_by_email(deliveries)
        deliveries = _with_people_beside(deliveries)
        _link(deliveries)
        text = _write(folder, deliveries, unread)
    for name in ("scratch", "."):
        leftover = folder / "store" / name
        if leftover.is_dir() and not any(leftover.iterdir()):
            leftover.rmdir()
    if not deliveries:
        told = "no file in it could be read as a table." if unread else "holds no file that could be a table."
        raise FaultError(Fault(told, f"Put {', '.join(ENDINGS)} files there.", file=str(folder)))
    return text, deliveries


def init(folder: Path) -> tuple[Path, list[Placed]]:
    """Draft the settings of a folder, and write them beside the files.

    Parameters
    ----------
    folder
        As for :func:`draft`.

    Raises
    ------
    UsageError
        If there is a `clientbook.yaml` already; it is never touched.
    """
    from clientbook.book import SETTINGS

    target = Path(folder) / SETTINGS
    if target.exists():
        raise UsageError(f"{target} is there already, and is left as it is. Move it away to have a draft made.")
    text, placed = draft(folder)
    with whole(target) as file:
        file.write_text(text, encoding="utf-8")
    return target, placed


def _files(folder: Path) -> list[tuple[str, str]]:
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        name = path.name.lower().removesuffix(".gz")
        if (
            path.is_file()
            and name.endswith(ENDINGS)
            and not any(p.startswith(".") or p.lower() in _LEFT_OUT for p in parts[:-1])
            and not path.name.startswith((".", "~$"))
            and parts != (LABELS,)
        ):
            found.append((_slug(parts[0] if len(parts) > 1 else folder.resolve().name), "/".join(parts)))
    return found


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", words.fold(name)).strip("_")
    return slug if re.match(r"[a-z]", slug) else f"source_{slug}".rstrip("_")


def _sheets(file: Path) -> list[str | None]:
    """Which sheets of a workbook are each a table of their own? None where all are one, or there are none."""
    if not file.name.lower().endswith(".xlsx"):
        return [None]
    import openpyxl

    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except Exception:  # whatever a damaged archive makes of itself; reading it says what is wrong
        return [None]
    try:
        filled, headers = [], set()
        for sheet in book.worksheets:
            sheet.reset_dimensions()
            first = next((row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row)), None)
            if sheet.sheet_state == "visible" and first is not None:
                filled.append(sheet.title)
                headers.add(frozenset(str(cell).strip().lower() for cell in first if cell is not None))
        return [None] if len(headers) < 2 else [*filled]
    finally:
        book.close()


def _look(engine: Engine, folder: Path, source: str, path: str, sheet: str | None = None) -> Placed:
    raw = sources.read(engine, folder, path=path, sheet=sheet)
    names = [name for name in raw.table.columns if name not in ("_file", "_row", "_arrival")]
    some = engine.keep(raw.table.filter(raw.table["_arrival"] % max(1, raw.files[0].rows // SAMPLE_ROWS) == 0).limit(SAMPLE_ROWS))
    texts = some.select(**{str(i): parsing.text(some[name]) for i, name in enumerate(names)}).to_pyarrow()
    seen = tuple(_seen(raw, name, texts.column(str(i)).to_pylist()) for i, name in enumerate(names))
    return Placed(source, path, seen, raw, sheet)


def _seen(raw, name: str, cells: list) -> Seen:
    filled = [cell for cell in cells if cell is not None]
    counted = Counter(filled)
    values = tuple(value for value, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:2_000])
    kinds, decimal, undecided = set(), ".", ""
    delivered = raw.table[name]

    def most(test) -> bool:
        return bool(values) and sum(1 for value in values if test(value)) >= MOST * len(values)

    type_ = delivered.type()
    if type_.is_timestamp() or type_.is_date():
        kinds.add("time")
    elif type_.is_boolean():
        kinds |= {"flag"}
    elif type_.is_numeric():
        kinds |= {"number"} | ({"id"} if not any("." in value for value in values) else set())
    elif values:
        if most(_NUMBER.match):
            kinds.add("number")
            comma = sum(1 for value in values if re.search(r",\d{1,2}$|,\d{4,}$|\.\d{3},", value))
            point = sum(1 for value in values if re.search(r"\.\d{1,2}$|\.\d{4,}$|,\d{3}\.", value))
            decimal = "," if comma > point else "."
        if most(_is_time):
            kinds.add("time")
            _, fault = parsing.detect_formats(delivered)
            undecided = fault.message if fault else ""
    if values and most(_COUNTED.match) and set(words.fold(name).split()) & words.TIMES:
        kinds = {"time"}
    if values and {value.lower() for value in values} <= _FLAGS and len(values) <= 2:
        kinds.add("flag")
    if most(_EMAIL.match) or (sum(1 for v in values if _EMAIL.match(v)) >= 0.6 * max(len(values), 1) and values):
        kinds.add("email")
    if (
        sum(1 for v in values if _PHONE.match(v) and 7 <= sum(c.isdigit() for c in v) <= 15) >= 0.6 * max(len(values), 1)
        and values
    ):
        kinds.add("phone")
    if (
        values
        and not kinds & {"time", "email"}
        and most(lambda v: len(v) <= 40 and not re.search(r"\s\S+\s", v) and not re.fullmatch(r"[+-]?\d+[.,]\d+", v))
    ):
        kinds.add("id")
    return Seen(name, values, len(filled), len(counted), len(cells), frozenset(kinds), decimal, undecided)


_DAY = re.compile(
    r"^(\d{1,2}[./-]\d{1,2}[./-]\d{4}|\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{4}"
    r"|[A-Za-z]{3,9} \d{1,2}, \d{4}|(19|20)\d{6}(T?\d{6})?)([T ].*)?$"
)


# Seconds or thousandths since 1970, which many a number could be: the name has to say that it is a time.
_COUNTED = re.compile(r"^1[0-8]\d{8}(\d{3}){0,3}$")


def _is_time(value: str) -> bool:
    return bool(_DAY.match(value))


def _gather(deliveries: list[Placed]) -> list[Placed]:
    """Files of one folder and one shape are one delivery."""
    groups: dict[tuple, list[Placed]] = {}
    for placed in deliveries:
        at, _, name = placed.path.rpartition("/")
        ending = re.sub(r"^[^.]*", "", name)
        groups.setdefault((placed.source, at, ending, tuple(seen.name for seen in placed.columns)), []).append(placed)
    told = []
    for (_, at, ending, _), group in groups.items():
        alone = sum(1 for p in deliveries if p.path.rpartition("/")[0] == at and p.path.endswith(ending)) == len(group)
        # in a folder of their own they are parts of one table; beside others, each may be another one's
        own_folder = at.count("/") >= 1 or (len(group) > 1 and alone)
        if (len(group) > 1 and alone and own_folder) or (at.count("/") >= 1 and alone):
            told.append(replace(group[0], path=f"{at}/*{ending}" if at else f"*{ending}"))
        else:
            told += group
    return told


# --- Which table, which column --------------------------------------------------------------------------------------------


def _place(placed: Placed) -> float:
    """The table whose required columns are all there, and which explains most columns; how much it explains."""
    scored = []
    folder, _, _ = placed.path.rpartition("/")
    called = folder.rpartition("/")[2] if "*" in placed.path else placed.path.rpartition(".")[0]
    file = set(words.fold(placed.sheet or called).split())
    for table in CANONICAL.values():
        mapping = _assign(table, placed)
        hint = bool(file & set(words.FILES[table.name].split()))
        missing = [name for name in table.required if name not in mapping]
        exact = sum(score for _, score in mapping.values())
        own = sum(score for name, (_, score) in mapping.items() if name in _TELLING.get(table.name, ()))
        scored.append((-len(missing), exact + 2 * hint + own, table, mapping, missing, hint))
    fitting = [one for one in scored if not one[0]]
    # who has a quantity and a price is a line of an order, whatever else is said of its buyer
    lines = {one[2].name for one in fitting if {"quantity", "unit_price"} <= one[3].keys()}
    fitting = [one for one in fitting if not lines or one[2].name != "people"]
    if not fitting:
        return 0.0
    best = max(fitting, key=lambda one: (one[1], one[2].name))
    runner_up = max((one[1] for one in fitting if one is not best), default=0.0)
    _take(placed, best[2], best[3])
    _without_sums(placed)
    _won_by_stage(placed)
    if best[1] - runner_up < 0.5 and not best[5]:
        placed.notes.append(f"could be another table as well as {best[2].name}")
    elif not best[5] and not set(_TELLING.get(best[2].name, ())) & placed.mapping.keys():
        placed.notes.append(f"neither the file's name nor a column of its own says that these are {best[2].name}")
    return best[1]


# Columns that no other table has: they tell it from tables whose required columns are few.
_TELLING = {
    "people": ("email", "phone", "birth_date", "given_name", "family_name", "full_name", "street", "postcode"),
    "orders": ("unit_price", "quantity", "amount", "discount", "currency"),
    "deliveries": ("promised_at", "delivered_at"),
    "products": ("unit_cost", "stock_quantity"),
    "events": ("session_id", "event_id", "device"),
    "messages": ("opened_at", "clicked_at", "sender"),
    "opportunities": ("is_won", "stage_name"),
    "cases": ("reason",),
    "surveys": ("score", "metric"),
    "referrals": ("referred_person_id",),
    "consents": ("purpose", "status"),
    "preferences": ("max_per_period", "weekday", "hour"),
    "accounts": ("domain", "parent_account_id"),
    "content": ("title", "stage"),
    "aliases": ("other_person_id", "other_source"),
    "opportunity_people": ("role",),
}


def _take(placed: Placed, table: Table, mapping: Mapping[str, tuple[str, float]]) -> None:
    placed.table = table.name
    placed.mapping = {name: mapping[name][0] for name in table.names if name in mapping}
    placed.checks = {name: "its name is not plain" for name, (_, score) in mapping.items() if score < _SURE}
    if table.name == "people" and "email" not in placed.mapping and "email" in placed.column(placed.mapping["person_id"]).kinds:
        placed.mapping["email"] = placed.mapping["person_id"]
    if table.name == "people" and "external_id" not in placed.mapping:
        # a card's number names the card and whoever carries it
        of = placed.mapping.get("person_id")
        if of and words.compact(words.fold(of)) in words.SYNONYMS["people", "external_id"]:
            placed.mapping["external_id"] = of


def _won_by_stage(placed: Placed) -> None:
    """Where the sales team's own stage says which deals are won, no column need say it again."""
    of = placed.mapping
    if placed.table == "opportunities" and "is_won" not in of and "stage_name" in of:
        ends = {words.compact(words.fold(value)) for value in placed.column(of["stage_name"]).values}
        if ends & words.WON and ends & words.LOST:
            of["is_won"] = of["stage_name"]


def _without_sums(placed: Placed) -> None:
    """An amount that stands in one line of each order alone is the order's, and would count beside the lines' prices."""
    of = placed.mapping
    if placed.table != "orders" or not {"amount", "unit_price"} <= of.keys():
        return
    if placed.column(of["amount"]).filled < MOST * placed.column(of["unit_price"]).filled:
        placed.notes.append(f"{of.pop('amount')} stands in some lines alone and is left out: it may be the sum of a whole order")
        placed.checks.pop("amount", None)


_SURE = 0.75


def _assign(table: Table, placed: Placed) -> dict[str, tuple[str, float]]:
    """For each canonical column the delivered one that fits it best, each used once, and how well."""
    offers = []
    times = [seen for seen in placed.columns if "time" in seen.kinds]
    for place, seen in enumerate(placed.columns):
        for order, column in enumerate(table.columns):
            score = _fit(table, column.name, column.kind, seen, len(times))
            if score:
                offers.append((-score, order, place, column.name, seen.name))
    taken: dict[str, tuple[str, float]] = {}
    used: set[str] = set()
    for score, _, _, name, delivered in sorted(offers):
        if name not in taken and delivered not in used:
            taken[name] = (delivered, -score)
            used.add(delivered)
    if table.name == "people" and "person_id" not in taken and "email" in taken:
        # where no number is given, people are named by their address, each in a row or two
        address = placed.column(taken["email"][0])
        if address.distinct >= 0.5 * address.filled:
            taken["person_id"] = (address.name, _BY_EMAIL)
    if table.name == "people" and {"given_name", "family_name"} <= taken.keys():
        taken.pop("full_name", None)
    return taken


def _fit(table: Table, name: str, kind: str, seen: Seen, times: int) -> float:
    if not _can_be(kind, name, seen):
        return 0.0
    tokens = words.fold(seen.name).split()
    if kind == "money":
        if "%" in seen.name:
            return 0.0
        tokens = tokens[:-1] if len(tokens) > 1 and tokens[-1] in _CURRENCIES else tokens
    said = "".join(tokens)
    if name == "person_id":
        return _fit_person(table, tokens, said, seen)
    if said == words.compact(words.fold(name)):
        return 1.1
    if said in words.SYNONYMS[table.name, name]:
        return 1.0
    if table.name == "orders" and name == "order_id" and said in {*words.IDS, "name"}:
        # the number of the receipt stands in each of its lines
        return 0.6 * seen.filled / max(seen.rows, 1) if said not in words.PERSONS and _numbered(seen) else 0.0
    own = table.key == name or table.required[:1] == (name,)
    if own and kind == "id" and said in words.IDS:
        return 0.9
    if kind == "time" and name == table.at and times == 1 and set(tokens) & words.TIMES:
        return 0.8
    if kind == "time" and name in table.required and times == 1:
        return 0.6
    # the last word is what it is, those before say whose
    titled = name == "job_title" and tokens[-1] == "title"
    if len(tokens) > 1 and tokens[-1] not in words.IDS and tokens[-1] in words.SYNONYMS[table.name, name] and not titled:
        return 0.7
    if name in ("email", "phone") and name in seen.kinds and table.name == "people":
        return 0.65
    return 0.0


_CURRENCIES = {"eur", "euro", "usd", "gbp", "chf", "cny", "jpy"}
_RECEIPT = re.compile(r"^#?[A-Za-z]{0,4}[-/]?\d+$")
# People may be named by their e-mail address, where nothing else names them.
_BY_EMAIL = 0.55


def _numbered(seen: Seen) -> bool:
    return bool(seen.values) and sum(1 for value in seen.values if _RECEIPT.match(value)) >= MOST * len(seen.values)


def _fit_person(table: Table, tokens: Sequence[str], said: str, seen: Seen) -> float:
    if said in (
        "personid",
        "customerid",
        "customerno",
        "kundennr",
        "kundennummer",
        "contactid",
        "userid",
        "clientid",
        "memberid",
        "会员编号",
        "客户编号",
        "用户id",
        "会员id",
    ):
        return 1.1
    if table.name != "people" and "email" in seen.kinds and set(tokens) & {"email", "mail", "邮箱"}:
        return _BY_EMAIL
    person = bool(set(tokens) & words.PERSONS)
    given = bool(set(tokens) & words.IDS)
    if table.name == "people" and seen.distinct < 0.5 * seen.filled:
        # what many share is said of people, and names none of them
        return 0.0
    plural = [w for w in words.IDS if said.endswith(w) and said.removesuffix(w) in words.PERSONS]
    if (person and given) or plural:
        return 1.0
    if person and not set(tokens) & _SAID_OF_PEOPLE:
        return 0.85
    if table.name == "people" and said in words.IDS:
        return 0.9
    if table.name == "people" and said in words.SYNONYMS["people", "external_id"] and seen.distinct == seen.filled == seen.rows:
        return 0.6
    return 0.0


_SAID_OF_PEOPLE = frozenset("name names type rating segment group level status since region city country tags note notes".split())


def _can_be(kind: str, name: str, seen: Seen) -> bool:
    """Can the values be that? An empty column can be anything that its name says."""
    if not seen.values:
        return True
    if name == "email":
        return "email" in seen.kinds
    if name == "phone":
        return "phone" in seen.kinds
    if kind in ("time", "date"):
        return "time" in seen.kinds
    if kind in ("number", "money"):
        return "number" in seen.kinds and "time" not in seen.kinds
    if kind == "flag":
        return "flag" in seen.kinds or (len(seen.values) <= 2 and {v.lower() for v in seen.values} <= _FLAGS)
    if name == "person_id" and "email" in seen.kinds:
        return True
    if kind == "id":
        return "id" in seen.kinds
    if name in ("full_name", "given_name", "family_name"):
        return not seen.kinds & {"time", "email", "number"} and not _numbered(seen)
    if name == "currency":
        return all(re.fullmatch(r"[A-Za-z]{3}|[€$£¥]", value) for value in seen.values)
    return not seen.kinds & {"time", "email"} and not (
        seen.kinds & {"number"} and name not in ("postcode", "external_id", "stage_name", "status", "channel")
    )


# --- Whose ids --------------------------------------------------------------------------------------------------------------


def _name_by_email(deliveries: Sequence[Placed]) -> None:
    """Where all that a source says of people names them by their address, its people are named by it too."""
    for source in dict.fromkeys(placed.source for placed in deliveries):
        mine = [p for p in deliveries if p.source == source and p.table and "person_id" in p.mapping]
        others = [p for p in mine if p.table != "people"]
        if not others or not all("email" in p.column(p.mapping["person_id"]).kinds for p in others):
            continue
        for people in (p for p in mine if p.table == "people" and "email" in p.mapping):
            if people.mapping["person_id"] != people.mapping["email"]:
                own = people.mapping["person_id"]
                people.mapping["person_id"] = people.mapping["email"]
                people.checks["person_id"] = f"{source} names people by their address elsewhere; the file has {own} too"


def _with_people_beside(deliveries: Sequence[Placed]) -> list[Placed]:
    """The deliveries, with people told from what stands of them in others, where nobody else says who they are."""
    known = {p.source for p in deliveries if p.table == "people"}
    registers = [_values(p, p.mapping["person_id"]) for p in deliveries if p.table == "people"]
    told = []
    for placed in deliveries:
        found = _people_in(placed) if placed.table and "person_id" in placed.mapping and placed.source not in known else None
        if found and not any(_share(_values(placed, placed.mapping["person_id"]), ids) >= FOUND for ids in registers):
            told.append(found)
        told.append(placed)
    return told


_SAID_BESIDE = ("given_name", "family_name", "full_name", "email", "phone", "company")


def _people_in(placed: Placed) -> Placed | None:
    of = placed.mapping["person_id"]
    if placed.table == "people" or "person_id" not in CANONICAL[placed.table].required:
        return None
    found = {name: said for name, said in _assign(CANONICAL["people"], placed).items() if name in _SAID_BESIDE}
    mapping = {"person_id": of} | {name: delivered for name, (delivered, _) in found.items() if delivered != of}
    if "email" in placed.column(of).kinds:
        mapping["email"] = of
    if not {"email", "phone"} & mapping.keys():
        return None
    beside = Placed(placed.source, placed.path, placed.columns, placed.raw, placed.sheet, "people", mapping)
    beside.checks["person_id"] = f"told from what stands of people beside these {placed.table}"
    return beside


def _link(deliveries: list[Placed]) -> None:
    """Ids by their values: a column of which nearly all stand in a register is of that register, however it is called."""
    for placed in deliveries:
        if placed.table is None or placed.notes:
            _place_by_ids(placed, deliveries)
    registers = []
    for placed in deliveries:
        for column, table in (*REGISTERS.items(), ("order_id", "orders")):
            if placed.table == table and column in placed.mapping:
                registers.append((placed.source, column, placed, _values(placed, placed.mapping[column])))
    for placed in deliveries:
        table = CANONICAL.get(placed.table or "")
        if table is None:
            continue
        for name in table.owned_ids:
            if name in placed.mapping and (placed.table, name) != ("orders", "order_id"):
                _owner_of(placed, name, registers)
        for name in table.owned_ids:
            if name not in placed.mapping:
                _by_values(placed, name, registers)


def _place_by_ids(placed: Placed, deliveries: Sequence[Placed]) -> None:
    """A file whose names say too little: the person's column found by its values, then placed again."""
    people = [(other, _values(other, other.mapping["person_id"])) for other in deliveries if other.table == "people"]
    for seen in placed.columns:
        if "id" not in seen.kinds or seen.distinct < 20:
            continue
        values = _values(placed, seen.name)
        if any(_share(values, known) >= FOUND for _, known in people):
            as_person = tuple(replace(one, name="person_id") if one.name == seen.name else one for one in placed.columns)
            trial, now = (
                Placed(placed.source, placed.path, as_person, sheet=placed.sheet),
                Placed(placed.source, placed.path, placed.columns, sheet=placed.sheet),
            )
            if _place(trial) > _place(now):
                placed.table, placed.notes = trial.table, trial.notes
                placed.mapping = {n: seen.name if d == "person_id" else d for n, d in trial.mapping.items()}
                placed.checks = trial.checks | {"person_id": "told by its values alone"}
                return


def _values(placed: Placed, name: str) -> frozenset[str]:
    column = placed.raw.table[name]
    found = placed.raw.table.select(v=parsing.text(column)).distinct().limit(200_000).to_pyarrow()
    said = (value for value in found.column("v").to_pylist() if value is not None)
    # capitals make no other person of an e-mail address
    return frozenset(value.lower() if "@" in value else value for value in said)


def _share(values: frozenset[str], known: frozenset[str]) -> float:
    return len(values & known) / len(values) if values else 0.0


def _small_numbers(values: frozenset[str]) -> bool:
    """Whole numbers that lie close together are found in any register of such numbers, and say nothing."""
    if not values or not all(value.isdigit() and len(value) < 10 for value in values):
        return False
    numbers = [int(value) for value in values]
    return len(numbers) > 0.05 * (max(numbers) - min(numbers) + 1)


def _owner_of(placed: Placed, name: str, registers) -> None:
    values = _values(placed, placed.mapping[name])
    found = sorted(
        ((_share(values, known), owner) for owner, column, other, known in registers if column == name and other is not placed),
        reverse=True,
    )
    # what a source keeps in several files is one register
    others = [one for one in registers if one[2] is not placed and one[:2] == (placed.source, name)]
    own = _share(values, frozenset().union(*(known for _, _, _, known in others)))
    if not found or not values:
        return
    share, owner = found[0]
    if owner != placed.source and share >= FOUND and own < share:
        placed.ids[name] = owner
        if _small_numbers(values):
            placed.checks[name] = f"its ids are found in {owner}, but are small numbers"
    elif own < FOUND <= 1 and share < FOUND and max(own, share) < 0.5:
        told = "few of its ids are found where such ids are kept"
        if any(column == name for _, column, _, _ in registers):
            placed.checks.setdefault(name, told)


def _by_values(placed: Placed, name: str, registers) -> None:
    used = set(placed.mapping.values())
    for seen in placed.columns:
        if seen.name in used or "id" not in seen.kinds or seen.distinct < 10:
            continue
        values = _values(placed, seen.name)
        if _small_numbers(values):
            continue
        for owner, column, other, known in registers:
            if column == name and other is not placed and _share(values, known) >= FOUND:
                placed.mapping[name] = seen.name
                placed.checks[name] = "told by its values alone"
                if owner != placed.source:
                    placed.ids[name] = owner
                return


# --- The draft -------------------------------------------------------------------------------------------------------------


def _write(folder: Path, deliveries: Sequence[Placed], unread: Sequence[tuple[str, str]]) -> str:
    name = folder.resolve().name
    currencies = {
        v.upper()
        for p in deliveries
        if p.table == "orders" and "currency" in p.mapping
        for v in p.column(p.mapping["currency"]).values
    }
    lines = [
        "# A draft, made from the files and from nothing else. Read it once; what is not sure says `check`.",
        f"name: {_quoted(name)}",
    ]
    known = sorted(code for code in currencies if re.fullmatch(r"[A-Z]{3}", code))
    lines += (
        [f"currency: {known[0]}"]
        if len(known) == 1
        else ["# currency: EUR        # check: which one is the money in? EUR unless you say so"]
    )
    lines += [
        "# country: DE          # check: whose telephone numbers need no code? US unless you say so",
        "# timezone: UTC        # check: what does the clock of the systems show? UTC unless you say so",
        "sources:",
    ]
    loose: list[str] = []
    for source in dict.fromkeys(p.source for p in deliveries):
        mine = [p for p in deliveries if p.source == source]
        usable = [p for p in mine if p.table and not _lost(p)]
        for placed in mine:
            if placed not in usable:
                loose += _left_out(placed)
        if not usable:
            continue
        lines.append(f"  {source}:")
        for table in dict.fromkeys(p.table for p in usable):
            same = [p for p in usable if p.table == table]
            lines.append(f"    {table}:")
            for placed in same:
                lines += _entry(placed, "      - " if len(same) > 1 else "      ")
    if not any(line.startswith("    ") for line in lines):
        lines += ["  {}", "# No file could be placed, so that this draft cannot run yet."]
    lines += [f"# {path} could not be read: {message}" for path, message in unread] + loose
    return "\n".join(lines) + "\n"


def _lost(placed: Placed) -> str:
    """Why a delivery cannot stand in a draft that runs."""
    table = CANONICAL[placed.table]
    for name in table.required:
        if placed.column(placed.mapping[name]).undecided:
            return f"{placed.mapping[name]}: {placed.column(placed.mapping[name]).undecided}"
    return ""


def _left_out(placed: Placed) -> list[str]:
    why = f"{_lost(placed)} Say which under `dates`." if placed.table else "no table fits."
    where = placed.path + (f", sheet {placed.sheet}" if placed.sheet else "")
    told = [f"# {placed.source}: {where}: {why} It has: {', '.join(seen.name for seen in placed.columns)}."]
    if placed.table:
        told.append(f"#   It looks like {placed.table}: {', '.join(f'{a}: {b}' for a, b in placed.mapping.items())}")
    return told


def _entry(placed: Placed, lead: str) -> list[str]:
    blank = " " * len(lead)
    notes = [f"{blank}# check: {note}" for note in placed.notes]
    at = f"{lead}path: {_quoted(placed.path)}"
    # the dash of a list stands before the path
    lines = [at, *notes] if lead.strip() else [*notes, at]
    lines += [f"{blank}sheet: {_quoted(placed.sheet)}"] if placed.sheet else []
    mapped = dict(placed.mapping)
    undecided = [name for name, d in mapped.items() if placed.column(d).undecided]
    for name in undecided:
        lines.append(f"{blank}# {name}: {mapped[name]}: {placed.column(mapped.pop(name)).undecided} Say which under `dates`.")
    if mapped:
        lines.append(f"{blank}columns:")
        for name, delivered in mapped.items():
            check = f"  # check: {placed.checks[name]}" if name in placed.checks else ""
            lines.append(f"{blank}  {name}: {_quoted(delivered)}{check}")
    if placed.ids:
        lines.append(f"{blank}ids: {{{', '.join(f'{a}: {b}' for a, b in placed.ids.items())}}}")
    numbers = [placed.column(d) for n, d in mapped.items() if CANONICAL[placed.table][n].kind in ("number", "money")]
    marks = {seen.decimal for seen in numbers if any(re.search(r"[.,]", v) for v in seen.values)}
    if marks == {","}:
        lines.append(f'{blank}decimal: ","')
    elif len(marks) > 1:
        lines.append(f"{blank}# check: some columns have a decimal comma, some a point")
    lines += _values_lines(placed, mapped, blank)
    if placed.table == "orders" and "order_id" in mapped:
        lines += _cancelled(placed, mapped, blank)
    spare = [seen.name for seen in placed.columns if seen.name not in placed.mapping.values()]
    if spare:
        lines.append(f"{blank}# not placed: {', '.join(spare)}")
    return lines


def _values_lines(placed: Placed, mapped: Mapping[str, str], blank: str) -> list[str]:
    told, unknown = {}, []
    if placed.table == "opportunities" and mapped.get("is_won") == mapped.get("stage_name") is not None:
        ends = {v: words.compact(words.fold(v)) for v in placed.column(mapped["is_won"]).values}
        told["is_won"] = {v: "true" if w in words.WON else "false" if w in words.LOST else None for v, w in ends.items()}
    for name, delivered in mapped.items():
        if name in told:
            continue
        column, given = CANONICAL[placed.table][name], words.VALUES.get(f"{placed.table}.{name}", {})
        seen = placed.column(delivered)
        if column.kind == "flag":
            found = {v: _TRUE[v.lower()] for v in seen.values if v.lower() in _TRUE}
            told |= {name: found} if found else {}
        elif column.allowed:
            known = {word: value for value, text in given.items() for word in text.split()}
            found = {v: known[words.compact(words.fold(v))] for v in seen.values if words.compact(words.fold(v)) in known}
            found = {v: to for v, to in found.items() if v != to}
            told |= {name: found} if found else {}
            unknown += [f"{name} {v!r}" for v in seen.values if v not in found and v not in column.allowed]
    lines = []
    if told:
        lines.append(f"{blank}values:")
        lines += [
            f"{blank}  {name}: {{{', '.join(f'{_quoted(a, True)}: {_quoted_or_null(b)}' for a, b in found.items())}}}"
            for name, found in told.items()
        ]
    if unknown:
        lines.append(f"{blank}# check: not known what these mean: {', '.join(unknown[:10])}")
    return lines


def _cancelled(placed: Placed, mapped: Mapping[str, str], blank: str) -> list[str]:
    """Order ids with letters of their own, all of whose quantities or amounts are negative, are cancellations."""
    raw = placed.raw.table
    amounts = [name for name in ("quantity", "amount") if name in mapped]
    if not amounts:
        return []
    reading = parsing.Reading(placed.column(mapped[amounts[0]]).decimal)
    rows = raw.select(
        lead=parsing.text(raw[mapped["order_id"]]).re_extract(r"^([A-Za-z]{0,3})", 1),
        value=parsing.parse(
            raw[mapped[amounts[0]]],
            "number",
            reading if raw[mapped[amounts[0]]].type().is_string() else parsing.Reading(),
        ),
    )
    rows = rows.filter(rows["value"].notnull())
    counted = rows.group_by("lead").agg(n=rows.count(), below=(rows["value"] < 0).sum()).order_by("lead").to_pandas()
    leads = [row.lead for row in counted.itertuples() if row.lead and row.n >= 5 and row.below >= MOST * row.n]
    rest = counted[~counted["lead"].isin(leads)]
    if len(leads) == 1 and len(rest) and not any(other.startswith(leads[0]) for other in rest["lead"]):
        return [f"{blank}cancelled: order_id starts with {leads[0]}  # check: nearly all of them are negative"]
    return []


def _quoted(text: str, always: bool = False) -> str:
    """As YAML writes it; in quotes where it would be anything but this text."""
    if (
        not always
        and re.fullmatch(r"[A-Za-z_ÄÖÜäöüß][\w ./&()*-]*", text)
        and yaml.safe_load(f"x: {text}") == {"x": text}
        and ": " not in text
        and " #" not in text
    ):
        return text if text == text.strip() else f'"{text}"'
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def _quoted_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text, True)


def say(placed: Sequence[Placed]) -> list[str]:
    """What was made of each delivery, a line each.

    Parameters
    ----------
    placed
        As from :func:`draft`.
    """
    told = []
    for one in placed:
        where = one.path + (f", sheet {one.sheet}" if one.sheet else "")
        if one.table is None or _lost(one):
            told.append(f"{where}: not placed; it is a comment in the draft.")
            continue
        checks = f", {len(one.checks) + len(one.notes)} to check" if one.checks or one.notes else ""
        told.append(f"{where}: {one.table}; {len(set(one.mapping.values()))} of {len(one.columns)} columns placed{checks}.")
    return told
