"""How are records written so that they can be compared? What is made here is for comparison only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.engine import Engine
from clientbook.tables import CANONICAL

GOLDEN = (
    "full_name", "given_name", "family_name", "email", "phone", "birth_date", "street", "city", "postcode", "region",
    "country", "company", "job_title", "industry", "persona", "social_reach", "external_id",
)  # fmt: skip

# Legal forms stand at the end of a name, each as its letters with everything else taken out.
_LEGAL_FORMS = """
    ab ag aps as asa bv bvba cokg corp corporation cv doo eg ei eirl ek ekfm ekfr eu eurl ev gbr gesmbh ggmbh
    gie gmbh gmbhco gmbhcokg gmbhcokgaa inc incorporated kft kg kgaa kk limited llc llp lp ltd ltda mbh nv ohg
    ou oy oyj partg partgmbb plc pllc pte pteltd pty ptyltd pvt pvtltd sa sarl sas sasu sca scs se sl slu snc
    soc spa spj spolsro spzoo srl srls sro stiftung sua ug ughaftungsbeschraenkt ughaftungsbeschrankt vof zoo
"""
LEGAL_FORMS = frozenset(_LEGAL_FORMS.split())
_LEGAL_WORDS = {"und", "and", "co", "company", "&", "haftungsbeschrankt", "haftungsbeschraenkt"}
_LEGAL_SIGNS = ("有限责任公司", "股份有限公司", "有限公司", "株式会社", "有限会社", "合同会社", "주식회사")

# Whoever gives out addresses to anybody: their domain says nothing of an employer.
_FREE_MAIL = """
    126.com 163.com 1und1.de aol.com aol.de arcor.de bluemail.ch bluewin.ch btinternet.com chello.at email.de
    fastmail.com free.fr freenet.de gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net googlemail.com hey.com
    hotmail.ch hotmail.co.uk hotmail.com hotmail.de hotmail.fr hotmail.it icloud.com inbox.ru kabelmail.de
    laposte.net libero.it live.com live.de mac.com mail.com mail.de mail.ru mailbox.org me.com msn.com naver.com
    o2.pl online.de orange.fr outlook.com outlook.de pm.me posteo.de posteo.net proton.me protonmail.com qq.com
    rocketmail.com seznam.cz sfr.fr sunrise.ch t-online.de tiscali.it tutanota.com vodafone.de wanadoo.fr web.de
    wp.pl yahoo.co.jp yahoo.co.uk yahoo.com yahoo.de yahoo.fr yandex.ru ymail.com ziggo.nl
"""
FREE_MAIL = frozenset(_FREE_MAIL.split())

_TITLES = {"dr", "prof", "herr", "frau", "hr", "fr", "mr", "mrs", "ms", "miss", "sir", "dipl", "ing", "mag", "med"}
_NOT_A_NAME = {"", "na", "n a", "none", "null", "unknown", "unbekannt", "select", "test", "keine", "x", "xx", "xxx"}
# Letters that carry no accent which could be taken off.
_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ı": "i"})


def fold(text: str) -> str | None:
    """What is left of a name without case, accents and signs?

    Parameters
    ----------
    text
        A name as delivered.

    Returns
    -------
    str or None
        Lower-case words with one blank between them; None where nothing, or nothing but a filler, is left.
    """
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    bare = "".join(c for c in unicodedata.normalize("NFKD", lowered) if not unicodedata.combining(c))
    words = " ".join(re.sub(r"[^\w]|_", " ", bare).split())
    return None if words in _NOT_A_NAME else unicodedata.normalize("NFC", words)


def split_name(full_name: str) -> tuple[str | None, str | None]:
    """Which part of a whole name is the first name, which the surname?

    Parameters
    ----------
    full_name
        `Anna Berg`, `Berg, Anna` or one word alone, which is taken for a surname.

    Returns
    -------
    tuple
        First name and surname, folded as by :func:`fold`; titles are left out.
    """
    before, comma, after = full_name.partition(",")
    first, last = (_name_words(part) for part in (before, after))
    if comma and 0 < len(first) <= 2 and 0 < len(last) <= 3:
        return " ".join(last), " ".join(first)
    words = first or last
    if not words:
        return None, None
    return (words[0] if len(words) > 1 else None), words[-1]


def clean_company(name: str) -> str | None:
    """What is a company's name without its legal form?

    Parameters
    ----------
    name
        As delivered: `Hotel Adler GmbH & Co. KG`.

    Returns
    -------
    str or None
        Folded: `hotel adler`. None where nothing but a filler is there.
    """
    for sign in _LEGAL_SIGNS:
        name = name.replace(sign, " ")
    # an abbreviation is one word: e.K., S.p.A.
    joined = re.sub(r"\b(?:\w\.\s?){2,}", lambda m: re.sub(r"[.\s]", "", m[0]) + " ", name + " ")
    words = (fold(joined) or "").split()
    while len(words) > 1 and (words[-1] in LEGAL_FORMS or words[-1] in _LEGAL_WORDS):
        words.pop()
    return fold(" ".join(words))


def e164(number: str, country: str) -> str | None:
    """How is a telephone number dialled from anywhere?

    Parameters
    ----------
    number
        As delivered.
    country
        Two letters; whose numbers they are that have no country code.

    Returns
    -------
    str or None
        `+49301234567`; None where it is no number that can exist.
    """
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def persons(tables: Iterable[tuple[str, ir.Table]]) -> ir.Table:
    """Which person records does the book know at all?

    Parameters
    ----------
    tables
        Clean tables by name; those without a person are passed over.

    Returns
    -------
    ibis.expr.types.Table
        `source`, `person_id`, each once: of people, and of whoever is only named by an event, an order or an alias.
    """
    found = []
    for name, rows in tables:
        for source, person in _person_columns(name, rows):
            found.append(rows.select(source=rows[source], person_id=rows[person]).distinct())
    stacked = ibis.union(*found) if len(found) > 1 else found[0]
    return stacked.filter(stacked["source"].notnull() & stacked["person_id"].notnull()).distinct()


def records(people: ir.Table, engine: Engine, country: str, most_sharing: int) -> ir.Table:
    """How are people written so that two records of one human look alike?

    Parameters
    ----------
    people
        The clean table.
    engine
        Where the result is staged.
    country
        The book's, for telephone numbers.
    most_sharing
        A value of an e-mail, phone or shared number that more records have is nobody's own; it is left out.

    Returns
    -------
    ibis.expr.types.Table
        A row a person record, the newest where it was delivered twice: `source`, `person_id`, the golden columns as
        delivered, `changed_at`, and for comparison `given`, `family`, `name`, `name_key` (the words of the name in
        alphabetical order), `mail`, `domain`, `dialled`, `born`, `place`, `zip`, `way`, `firm`, `number`.
    """
    rows = people.mutate(changed_at=ibis.coalesce(people["updated_at"], people["created_at"]))
    newest = ibis.window(
        group_by=["source", "person_id"], order_by=[ibis.desc("changed_at", nulls_first=False), ibis.desc("arrival")]
    )
    rows = rows.mutate(_newest=ibis.row_number().over(newest)).filter(lambda t: t["_newest"] == 0)
    rows = rows.select(
        "source", "person_id", *GOLDEN, "account_source", "account_id", "created_at", "changed_at",
        mail=_mail(rows["email"]), zip=rows["postcode"].upper().re_replace(r"[^0-9A-Z]", "").nullif(""),
    )  # fmt: skip
    base = stage(engine, rows)
    lookups = [
        _lookup(base["given_name"], _one(fold), {"_given": "string"}),
        _lookup(base["family_name"], _one(fold), {"_family": "string"}),
        _lookup(base["full_name"], split_name, {"_first": "string", "_last": "string"}),
        _lookup(base["phone"], _one(lambda number: e164(number, country)), {"dialled": "string"}),
        _lookup(base["city"], _one(fold), {"place": "string"}),
        _lookup(base["street"], _one(fold), {"way": "string"}),
        _lookup(base["company"], _one(clean_company), {"firm": "string"}),
    ]
    rows = base
    for column, lookup in lookups:
        rows = rows.left_join(lookup, rows[column] == lookup["_value"]).drop("_value")
    named = rows["_given"].notnull() | rows["_family"].notnull()
    rows = rows.mutate(
        given=named.ifelse(rows["_given"], rows["_first"]),
        family=named.ifelse(rows["_family"], rows["_last"]),
        born=rows["birth_date"],
        number=rows["external_id"].strip().nullif(""),
    ).drop("_given", "_family", "_first", "_last")
    rows = rows.mutate(
        name=rows["given"] + " " + rows["family"],
        name_key=ibis.least(rows["given"], rows["family"]) + " " + ibis.greatest(rows["given"], rows["family"]),
        domain=rows["mail"].split("@")[1],
        # as the British write it, with its blank
        uk=rows["zip"].re_replace(r"^([A-Z]{1,2}[0-9][0-9A-Z]?)([0-9][A-Z]{2})$", r"\1 \2"),
    )
    # an engine may take the lesser of a word and nothing for the word
    rows = rows.mutate(name_key=rows["name"].notnull().ifelse(rows["name_key"], ibis.null("string")))
    rows = stage(engine, rows)
    for column in ("mail", "dialled", "number"):
        held = rows.group_by(column).agg(_holders=rows.count())
        crowded = held.filter(held["_holders"] > most_sharing).select(_crowded=column)
        rows = rows.left_join(crowded, rows[column] == crowded["_crowded"])
        rows = rows.mutate(**{column: rows["_crowded"].isnull().ifelse(rows[column], ibis.null("string"))}).drop(
            "_crowded"
        )
    return stage(engine, rows)


def left_out(standard: ir.Table) -> pd.DataFrame:
    """Which values could not be used to tell people apart?

    Parameters
    ----------
    standard
        As from :func:`records`.

    Returns
    -------
    pandas.DataFrame
        `what`, `records` that have a value, `left_out` of them; sorted by what.
    """
    pairs = {"e-mail": ("email", "mail"), "phone": ("phone", "dialled"), "shared number": ("external_id", "number")}
    counts = standard.aggregate(
        **{
            f"{what}|{kind}": standard[column].count()
            for what, both in pairs.items()
            for kind, column in zip("ab", both, strict=True)
        }
    )
    row = counts.to_pandas().iloc[0]
    told = [
        {"what": what, "records": int(row[f"{what}|a"]), "left_out": int(row[f"{what}|a"] - row[f"{what}|b"])}
        for what in pairs
    ]
    return pd.DataFrame([line for line in told if line["records"]], columns=["what", "records", "left_out"])


def _name_words(text: str) -> list[str]:
    return [word for word in (fold(text) or "").split() if word not in _TITLES]


def _mail(column: ir.StringColumn) -> ir.StringColumn:
    lowered = column.strip().lower()
    return lowered.re_search(r"^[^@\s]+@[^@\s]+\.[^@\s.]+$").ifelse(lowered, ibis.null("string"))


def _one(function: Callable[[str], str | None]) -> Callable[[str], tuple[str | None]]:
    return lambda value: (function(value),)


def _lookup(column: ir.StringColumn, function: Callable[[str], tuple], made: dict[str, str]) -> tuple[str, ir.Table]:
    """What a Python function makes of each distinct value of a column."""
    values = column.as_table().filter(column.notnull()).distinct().to_pandas()[column.get_name()].sort_values().tolist()
    frame = pd.DataFrame([function(value) for value in values], columns=list(made), dtype="object")
    frame = frame.where(frame.notna(), None).assign(_value=values)
    return column.get_name(), ibis.memtable(frame, schema={**made, "_value": "string"})


def _person_columns(name: str, rows: ir.Table) -> list[tuple[str, str]]:
    owner = "source" if CANONICAL[name].is_register_of("person_id") else "person_source"
    pairs = [(owner, "person_id"), (owner, "referred_person_id"), ("other_source", "other_person_id")]
    return [(source, person) for source, person in pairs if {source, person} <= set(rows.columns)]


def stage(engine: Engine, rows: ir.Table) -> ir.Table:
    """Work out a table once that is read several times.

    Parameters
    ----------
    engine
        In whose scratch it is kept.
    rows
        An expression.
    """
    path = engine.scratch_file(".parquet")
    engine.write_parquet(rows, path)
    return engine.read_parquet(path)
