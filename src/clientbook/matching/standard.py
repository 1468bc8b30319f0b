"""How are records written so that they can be compared? What is made here is for comparison only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching.names import chinese_parts, latin, sound, spelled, whole_form
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

# Mailboxes of a function, which several people read.
_ROLES = """
    accounting admin anfrage backoffice bestellung booking buchhaltung buero contact contabilidad einkauf empfang
    events finance hallo hello help hr info infos kontakt mail marketing newsletter noreply office order orders
    postmaster praxis presse purchasing reception rechnung reservation reservierung rezeption sales sekretariat
    service shop support team verkauf verwaltung vertrieb webmaster zentrale
"""
ROLES = frozenset(_ROLES.split())
# A name's part is taken for the other part where the records' own usage says so by odds of so much to one.
_TURNED = 20.0

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
    parts = chinese_parts(full_name.strip())
    if parts:
        return parts[1], parts[0]
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


# What is made of a record for comparison, and kept for the next run; the rest is read from the clean table again.
DERIVED = (
    "domain", "given", "family", "first", "last", "root", "first_sound", "last_sound", "initials", "extra", "name_key",
    "guessed", "turned", "mail", "local", "role", "work", "dialled", "born", "zip", "place", "way", "house", "firm",
    "number", "job", "crowd_mail", "crowd_dialled", "crowd_number",
)  # fmt: skip
# Values that nobody's own are when people of more names than so many have them.
CROWDED = ("mail", "dialled", "number")


def newest(people: ir.Table) -> ir.Table:
    """Of each person record what was said last.

    Parameters
    ----------
    people
        The clean table.

    Returns
    -------
    ibis.expr.types.Table
        A row a person record: `source`, `person_id`, the golden columns as delivered, `account_source`, `account_id`,
        `created_at`, `changed_at`.
    """
    rows = people.mutate(changed_at=ibis.coalesce(people["updated_at"], people["created_at"]))
    rows = rows.select(
        "source", "person_id", *GOLDEN, "account_source", "account_id", "created_at", "changed_at", "arrival"
    )  # fmt: skip
    return last_said(rows).drop("arrival")


def last_said(rows: ir.Table) -> ir.Table:
    """Of each person record the row that was changed last; of equals the last to arrive.

    Parameters
    ----------
    rows
        `source`, `person_id`, `changed_at`, `arrival` and whatever else.
    """
    last = ibis.window(
        group_by=["source", "person_id"], order_by=[ibis.desc("changed_at", nulls_first=False), ibis.desc("arrival")]
    )
    return rows.mutate(_newest=ibis.row_number().over(last)).filter(lambda t: t["_newest"] == 0).drop("_newest")


def records(
    people: ir.Table, engine: Engine, country: str, most_sharing: int, numbered: ir.Table | None = None,
    known: ir.Table | None = None,
) -> ir.Table:  # fmt: skip
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
        A value of an e-mail, phone or shared number that people of more names have is nobody's own; it is left out.
    numbered
        `source`, `person_id`, `unique_id`: the records are given their numbers, and stand in that order.
    known
        Records beside these that were written so before: which part of a name is which, and what too many share, is
        judged with them in view.

    Returns
    -------
    ibis.expr.types.Table
        A row a person record, the newest where it was delivered twice: `source`, `person_id`, the golden columns as
        delivered, `changed_at`, `domain`, `given` and `family` (folded), and for comparison, all text: `first`, `last`
        (parts of the name in bare Latin letters), `root` (what the first name is short for), `first_sound`,
        `last_sound`, `initials`, `extra` (further words of the whole name), `name_key` (both parts in alphabetical
        order), `guessed` (the name was read from the e-mail address), `mail`, `local` (what stands
        before the @, where it is more than a name), `role` (the address is a function's), `work` (its domain, unless it
        gives addresses to anybody), `dialled`, `born` (eight
        digits), `zip`, `place`, `way`, `house`, `firm`, `number`, `job`; `turned` (the parts of the name were put the
        other way round); and `crowd_mail` and so on, the value that was left out as too many share it.
    """
    base = engine.keep(_by_columns(newest(people)))
    lookups = [(column, engine.by_values(base[column], function, made)) for column, function, made in _by_values(country)]
    rows = base
    for column, lookup in lookups:
        rows = rows.left_join(lookup, rows[column] == lookup["_value"]).drop("_value")
    named = rows["_given"].notnull() | rows["_family"].notnull()
    whole = rows["_first"].notnull() | rows["_last"].notnull()
    read = ~named & ~whole & (rows["_mg"].notnull() | rows["_mf"].notnull())
    rows = rows.mutate(
        given=named.ifelse(rows["_given"], rows["_first"]),
        family=named.ifelse(rows["_family"], rows["_last"]),
        first=named.ifelse(rows["_g"], whole.ifelse(rows["_wg"], rows["_mg"])),
        last=named.ifelse(rows["_f"], whole.ifelse(rows["_wf"], rows["_mf"])),
        guessed=read,
        # what is a name and no more says nothing beside the name
        local=(rows["local"].re_search(r"[0-9]") & ~rows["role"]).ifelse(rows["local"], ibis.null("string")),
    )
    rows = engine.keep(rows.drop("_given", "_family", "_first", "_last", "_g", "_f", "_wg", "_wf", "_mg", "_mf"))
    rows = engine.keep(_turned(rows, known))
    both = rows["first"].notnull() & rows["last"].notnull()
    key = ibis.least(rows["first"], rows["last"]) + " " + ibis.greatest(rows["first"], rows["last"])
    # an engine may take the lesser of a word and nothing for the word
    rows = rows.mutate(name_key=both.ifelse(key, ibis.null("string")))
    crowded = []
    for column in CROWDED:
        holders = _holders(rows, column, rows[column])
        if known is not None:
            others = _holders(known, column, ibis.coalesce(known[column], known[f"crowd_{column}"]))
            holders = holders.union(others.semi_join(holders, column))
        held = holders.group_by(column).agg(_holders=holders["holder"].nunique())
        crowded.append((column, held.filter(held["_holders"] > most_sharing).select(_crowded=column)))
    sounds = [
        ("first", engine.by_values(rows["first"], lambda word: (sound(word), _root(word)), ("first_sound", "root"))),
        ("last", engine.by_values(rows["last"], lambda word: (sound(word),), ("last_sound",))),
    ]
    for column, lookup in sounds:
        rows = rows.left_join(lookup, rows[column] == lookup["_value"]).drop("_value")
    for column, values in crowded:
        rows = rows.left_join(values, rows[column] == values["_crowded"])
        own = rows["_crowded"].isnull().ifelse(rows[column], ibis.null("string"))
        rows = rows.mutate(**{column: own, f"crowd_{column}": rows["_crowded"]}).drop("_crowded")
    words = rows["_words"].split(" ")
    rows = rows.mutate(
        initials=rows["first"].substr(0, 1) + rows["last"].substr(0, 1),
        extra=words.filter(
            lambda word: (word.length() > 2)
            & (word != rows["first"].fill_null(""))
            & ~rows["last"].fill_null("").split(" ").contains(word)
        ).unique().sort().join(" ").nullif(""),
    ).drop("_words")  # fmt: skip
    if numbered is not None:
        rows = rows.inner_join(numbered, ["source", "person_id"]).order_by("unique_id")
    return engine.keep(rows)


def _by_columns(rows: ir.Table) -> ir.Table:
    """What can be read from a column as it stands."""
    rows = rows.select(*rows.columns, **_as_delivered(rows))
    rows = rows.mutate(local=rows["mail"].split("@")[0], domain=rows["mail"].split("@")[1])
    return rows.mutate(
        role=rows["local"].isin(sorted(ROLES)).fill_null(False),
        work=rows["domain"].notin(sorted(FREE_MAIL)).ifelse(rows["domain"], ibis.null("string")),
    )


def _as_delivered(rows: ir.Table) -> dict[str, ir.StringColumn]:
    return {
        "mail": _mail(rows["email"]), "zip": rows["postcode"].upper().re_replace(r"[^0-9A-Z]", "").nullif(""),
        "born": rows["birth_date"].strftime("%Y%m%d"), "number": rows["external_id"].strip().nullif(""),
    }  # fmt: skip


def _by_values(country: str) -> list[tuple[str, Callable[[str], tuple], tuple[str, ...]]]:
    """What a Python function makes of each value: the column, the function, and what its results are called."""
    return [
        ("given_name", _given, ("_given", "_g")),
        ("family_name", _family, ("_family", "_f")),
        ("full_name", _whole, ("_first", "_last", "_wg", "_wf", "_words")),
        ("phone", _one(lambda number: e164(number, country)), ("dialled",)),
        ("local", _from_mail, ("_mg", "_mf")),
        ("city", _one(_place), ("place",)),
        ("street", _way, ("way", "house")),
        ("company", _one(clean_company), ("firm",)),
        ("job_title", _one(_place), ("job",)),
    ]


def few(people: ir.Table, engine: Engine, country: str, numbered: ir.Table, known: ir.Table) -> pd.DataFrame:
    """The same as :func:`records` for so few that they fit into memory, in a fraction of its time.

    Parameters
    ----------
    people
        The clean table.
    engine, country, known
        As for :func:`records`.
    numbered
        Of the few, `source`, `person_id`, `unique_id`.

    Returns
    -------
    pandas.DataFrame
        `unique_id`, `source`, and what is made for comparison; in the order of their numbers. What too many share is still
        there: :func:`without_crowds` takes it out.
    """
    rows = people.inner_join(numbered, ["source", "person_id"])
    read = {column for column, _, _ in _by_values(country)}
    rows = rows.select(
        "unique_id", "source", *sorted(read - {"local"}), "arrival",
        changed_at=ibis.coalesce(rows["updated_at"], rows["created_at"]), **_as_delivered(rows),
    ).to_pandas()  # fmt: skip
    # as :func:`last_said`
    rows = rows.sort_values(["changed_at", "arrival"], ascending=False, na_position="last").drop_duplicates("unique_id")
    rows = rows.sort_values("unique_id", ignore_index=True).drop(columns=["changed_at", "arrival"])
    parts = [mail.split("@") if isinstance(mail, str) else (None, None) for mail in rows["mail"]]
    for place, name in enumerate(("local", "domain")):
        rows[name] = pd.Series([part[place] for part in parts], index=rows.index, dtype="object")
    rows["role"] = rows["local"].isin(ROLES)
    rows["work"] = rows["domain"].where(~rows["domain"].isin(FREE_MAIL))
    for column, function, made in _by_values(country):
        _put(rows, column, function, made)
    named = rows["_given"].notna() | rows["_family"].notna()
    whole = rows["_first"].notna() | rows["_last"].notna()
    rows["given"] = rows["_given"].where(named, rows["_first"])
    rows["family"] = rows["_family"].where(named, rows["_last"])
    rows["first"] = rows["_g"].where(named, rows["_wg"].where(whole, rows["_mg"]))
    rows["last"] = rows["_f"].where(named, rows["_wf"].where(whole, rows["_mf"]))
    rows["guessed"] = ~named & ~whole & (rows["_mg"].notna() | rows["_mf"].notna())
    digits = rows["local"].str.contains("[0-9]", na=False).astype(bool)
    rows["local"] = rows["local"].where(digits & ~rows["role"].astype(bool))
    rows["turned"] = _are_turned(rows, known, engine)
    rows["first"], rows["last"] = (rows[a].where(~rows["turned"], rows[b]) for a, b in (("first", "last"), ("last", "first")))
    both = rows["first"].notna() & rows["last"].notna()
    rows["name_key"] = [" ".join(sorted(pair)) if whole else None for *pair, whole in
                        zip(rows["first"], rows["last"], both, strict=True)]  # fmt: skip
    for column in CROWDED:
        rows[f"crowd_{column}"] = None
    _put(rows, "first", lambda word: (sound(word), _root(word)), ("first_sound", "root"))
    _put(rows, "last", lambda word: (sound(word),), ("last_sound",))
    rows["initials"] = [f[:1] + l[:1] if whole else None for f, l, whole in
                        zip(rows["first"], rows["last"], both, strict=True)]  # fmt: skip
    rows["extra"] = [_further(*told) for told in zip(rows["_words"], rows["first"], rows["last"], strict=True)]
    told = rows[["unique_id", "source", *DERIVED]].astype("object")
    told = told.where(told.notna(), None)
    return told.astype({"unique_id": "int64", "guessed": bool, "turned": bool, "role": bool})


def without_crowds(rows: pd.DataFrame, too_many: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The same without the values that too many share.

    Parameters
    ----------
    rows
        As from :func:`few`.
    too_many
        By column, of each row whether its value is one.
    """
    told = {}
    for column, flags in too_many.items():
        told |= {column: rows[column].where(~flags, None), f"crowd_{column}": rows[column].where(flags, None)}
    return rows.assign(**told)


def _put(rows: pd.DataFrame, column: str, function: Callable[[str], tuple], made: Iterable[str]) -> None:
    """What a function makes of each distinct value of a column, as further columns."""
    told = {value: function(value) for value in rows[column].dropna().unique()}
    for place, name in enumerate(made):
        one = {value: results[place] for value, results in told.items()}
        rows[name] = pd.Series([one.get(value) for value in rows[column]], index=rows.index, dtype="object")


def _further(words: str | None, first: str | None, last: str | None) -> str | None:
    if not isinstance(words, str):
        return None
    names = {first, *(last.split(" ") if isinstance(last, str) else ())}
    return " ".join(sorted({word for word in words.split(" ") if len(word) > 2 and word not in names})) or None


def _are_turned(rows: pd.DataFrame, known: ir.Table, engine: Engine) -> pd.Series:
    """As :func:`_turned`, of a few records with all that is known in view."""
    named = rows[~rows["guessed"]]
    parts = [
        pd.DataFrame({"source": named["source"], "word": named[part], "f": sign, "l": 1 - sign}).dropna()
        for part, sign in (("first", 1), ("last", 0))
    ]
    words = pd.concat([rows["first"], rows["last"]]).dropna().unique()
    asked = engine.keep(ibis.memtable({"word": words}, schema={"word": "string"}), rows=len(words))
    before = _usage(_as_written(known)).semi_join(asked, "word")
    before = before.group_by("source", "word").agg(f=before["f"].sum(), l=before["l"].sum()).to_pandas()
    usage = pd.concat([*parts, before]).groupby(["source", "word"], as_index=False)[["f", "l"]].sum()
    elsewhere = usage.groupby("word")[["f", "l"]].transform("sum") - usage[["f", "l"]]
    usage[["f", "l"]] = usage[["f", "l"]].where((elsewhere.sum(axis=1) == 0), elsewhere)
    seen = usage.set_index(["source", "word"])
    odds = {}
    for part in ("first", "last"):
        at = seen.reindex(pd.MultiIndex.from_arrays([rows["source"], rows[part]]))
        odds[part] = ((at["l"].fillna(0) + 0.5) / (at["f"].fillna(0) + 0.5)).to_numpy()
    first, last = rows["first"].notna(), rows["last"].notna()
    both = first & last & (odds["first"] / odds["last"] > _TURNED)
    return both | (first & ~last & (odds["first"] > 2.0)) | (last & ~first & (odds["last"] < 0.5))


def _holders(rows: ir.Table, column: str, value: ir.StringColumn) -> ir.Table:
    holder = ibis.coalesce(rows["name_key"], rows["source"] + "\x1f" + rows["person_id"])
    return rows.select(**{column: value}, holder=holder).filter(lambda t: t[column].notnull())


def _usage(rows: ir.Table) -> ir.Table:
    """Which word stands in which part of a name, a row a record and part."""
    told = []
    for part, sign in (("first", 1), ("last", 0)):
        words = rows.filter(rows[part].notnull() & ~rows["guessed"])
        told.append(words.select("source", word=part, f=ibis.literal(sign), l=ibis.literal(1 - sign)))
    return told[0].union(told[1])


def _as_written(rows: ir.Table) -> ir.Table:
    """The parts of names as they stood before they were turned."""
    first, last = (rows["turned"].ifelse(rows[a], rows[b]) for a, b in (("last", "first"), ("first", "last")))
    return rows.select("source", "guessed", first=first, last=last)


def _turned(rows: ir.Table, others: ir.Table | None = None) -> ir.Table:
    """Parts of names put where the records' own usage has them: columns are swapped, and one word may be either part."""
    usage = _usage(rows)
    if others is not None:
        usage = usage.union(_usage(_as_written(others)).semi_join(usage, "word"))
    usage = usage.group_by("source", "word").agg(f=usage["f"].sum(), l=usage["l"].sum())
    every = ibis.window(group_by="word")
    elsewhere = {name: usage[name].sum().over(every) - usage[name] for name in "fl"}
    # a file whose columns are swapped is no witness of its own: what the others say goes before
    alone = elsewhere["f"] + elsewhere["l"] == 0
    usage = usage.select("source", "word", **{name: alone.ifelse(usage[name], elsewhere[name]) for name in "fl"})
    for part, letter in (("first", "a"), ("last", "b")):
        known = usage.select(**{f"_{letter}s": "source", f"_{letter}": "word", f"_{letter}f": "f", f"_{letter}l": "l"})
        rows = rows.left_join(known, [rows["source"] == known[f"_{letter}s"], rows[part] == known[f"_{letter}"]])
    odds = {letter: (rows[f"_{letter}l"].fill_null(0) + 0.5) / (rows[f"_{letter}f"].fill_null(0) + 0.5) for letter in "ab"}
    # a: how much rather the first part is a surname; b: the same of the second
    both = rows["first"].notnull() & rows["last"].notnull()
    # a part that is nobody's but this record's own was counted where it stands
    turn = ibis.cases(
        (both, odds["a"] / odds["b"] > _TURNED),
        (rows["last"].isnull() & rows["first"].notnull(), odds["a"] > 2.0),
        (rows["first"].isnull() & rows["last"].notnull(), odds["b"] < 0.5),
        else_=False,
    )
    turn = turn.fill_null(False)
    first, last = turn.ifelse(rows["last"], rows["first"]), turn.ifelse(rows["first"], rows["last"])
    rows = rows.mutate(first=first, last=last, turned=turn)
    return rows.drop("_a", "_af", "_al", "_as", "_b", "_bf", "_bl", "_bs")


def _bare(text: str, surname: bool = False) -> list[str]:
    words = re.sub(r"[^\w]|_", " ", spelled(latin(text, surname))).split()
    return [word for word in words if word not in _TITLES]


def _given(text: str) -> tuple[str | None, str | None]:
    folded = fold(text)
    return folded, (" ".join(_bare(text)) or None) if folded else None


def _family(text: str) -> tuple[str | None, str | None]:
    folded = fold(text)
    return folded, (" ".join(_bare(text, surname=True)) or None) if folded else None


def _whole(text: str) -> tuple[str | None, ...]:
    given, family = split_name(text)
    first = " ".join(_bare(given)) or None if given else None
    last = " ".join(_bare(family, surname=True)) or None if family else None
    # Chinese signs stand without a blank: as one word the whole name would be a further one, and count three times
    every = " ".join(part for part in (first, last) if part) if chinese_parts(text.strip()) else " ".join(_bare(text))
    return given, family, first, last, every or None


def _from_mail(local: str) -> tuple[str | None, str | None]:
    if local in ROLES:
        return None, None
    words = [word for word in re.split(r"[._\-+0-9]+", local) if word]
    if not 0 < len(words) < 3 or any(not word.isalpha() for word in words) or max(map(len, words)) < 3:
        return None, None
    first, last = (spelled(latin(word)) for word in (words if len(words) > 1 else [*words, ""]))
    return first, last or None


def _place(text: str) -> str | None:
    return fold(spelled(latin(text)))


def _way(text: str) -> tuple[str | None, str | None]:
    words = (fold(spelled(latin(text))) or "").split()
    numbers = [word for word in words if any(sign.isdigit() for sign in word)]
    names = [re.sub(r"(str|strasse)$", "str", word) for word in words if word not in numbers]
    return " ".join([*names, *numbers]) or None, numbers[0] if numbers else None


def _root(first: str) -> str | None:
    return whole_form(first.split(" ")[0])


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
        {"what": what, "records": int(row[f"{what}|a"]), "left_out": int(row[f"{what}|a"] - row[f"{what}|b"])} for what in pairs
    ]
    return pd.DataFrame([line for line in told if line["records"]], columns=["what", "records", "left_out"])


def _name_words(text: str) -> list[str]:
    return [word for word in (fold(text) or "").split() if word not in _TITLES]


def _mail(column: ir.StringColumn) -> ir.StringColumn:
    # what follows a plus is the owner's own mark in one mailbox
    lowered = column.strip().lower().re_replace(r"\+[^@]*@", "@")
    return lowered.re_search(r"^[^@\s]+@[^@\s]+\.[^@\s.]+$").ifelse(lowered, ibis.null("string"))


def _one(function: Callable[[str], str | None]) -> Callable[[str], tuple[str | None]]:
    return lambda value: (function(value),)


def _person_columns(name: str, rows: ir.Table) -> list[tuple[str, str]]:
    owner = "source" if CANONICAL[name].is_register_of("person_id") else "person_source"
    pairs = [(owner, "person_id"), (owner, "referred_person_id"), ("other_source", "other_person_id")]
    return [(source, person) for source, person in pairs if {source, person} <= set(rows.columns)]
