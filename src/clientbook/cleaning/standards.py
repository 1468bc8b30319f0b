"""What does one cell say, once it is written as it should be?

Functions from one text to a :class:`Standard`: pure, never raising, and idempotent (what came out goes in unchanged).
They look at the cell alone; what a whole column says is weighed in :mod:`clientbook.cleaning.cells`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple


class Standard(NamedTuple):
    """A cell as it should be.

    Parameters
    ----------
    value
        What should stand there; None where nothing should.
    rules
        What was wrong, in the order in which it was found, of those in `RULES`.
    beside
        What was split off, by the name of the column that it goes to.
    """

    value: str | None
    rules: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()


# What is told of a cell, how it reads as a rule that a cell should keep, and how much it matters.
RULES = {
    "blanks": ("has no stray blanks", "note"),
    "characters": ("is in plain characters", "note"),
    "case": ("is in its usual case", "note"),
    "title": ("has no title in it", "note"),
    "order": ("has the first name first", "note"),
    "abbreviation": ("is written in full", "note"),
    "form": ("is in its usual form", "note"),
    "placeholder": ("is no placeholder", "warning"),
    "no address": ("can be an address", "warning"),
    "no number": ("can be dialled", "warning"),
    "no country": ("is a country", "warning"),
    "no currency": ("is a currency", "warning"),
    "out of range": ("lies in its usual range", "warning"),
    "not allowed": ("is one of the values allowed", "warning"),
    "no rate": ("has a rate for its currency", "error"),
    "converted": ("is in the book's currency", "note"),
    "superseded": ("is the newest of its id", "note"),
}

# Zero-width and directional marks, and controls. The joiners 200C and 200D stay: Persian and Indic names need them.
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_BLANKS = re.compile(r"\s+")

# Forms and exports write these where they know nothing. Only what cannot be a name: Null and Na are surnames.
_NOTHING = frozenset(
    """
    n/a #n/a n.a. n.a n/v n.v. k.a. k.a - -- --- . .. ... ? ?? ??? / * ** *** _ __ #name? #null! #ref! #value!
    select --select-- -select- choose unbekannt unknown inconnu inconnue desconocido desconocida sconosciuto onbekend
    nieznany neznámý неизвестно 不明 未知 不详 なし 없음 undefined xxx xxxx xxxxx dummy fehlt leer empty tbd t.b.d. tba
    """.split()
) | {
    "please select", "bitte wählen", "bitte auswählen", "select one", "keine angabe", "keine angaben", "not available",
    "not applicable", "not known", "ohne angabe", "non renseigné", "sin datos", "nicht bekannt", "nicht angegeben",
}  # fmt: skip
# Written in small letters alone they are a program's nothing; with a capital they may be somebody's name.
_SMALL_NOTHING = frozenset({"null", "none", "nil", "nan", "(null)", "(none)", "<null>", "\\n"})
_NAME_NOTHING = frozenset(
    {"test", "test test", "testkunde", "test kunde", "test user", "testuser", "tester test", "asdf", "qwertz", "qwerty", "xyz",
     "x", "xx", "aaa", "abc", "max mustermann", "erika mustermann", "mustermann, max", "john doe", "jane doe", "kein name", "no name"}
)  # fmt: skip


def tidy(text: str) -> tuple[str, list[str]]:
    """A text in NFKC, without marks that nobody sees and with single blanks; and what was wrong.

    Parameters
    ----------
    text
        Any text.
    """
    rules = []
    if text.isascii() and _BLANKS.search(text) is None and _UNSEEN.search(text) is None:
        return text, rules
    # twice: what is taken away may have kept apart what belongs together
    plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", unicodedata.normalize("NFKC", text)))
    plain = unicodedata.normalize("NFKC", _UNSEEN.sub("", plain))
    once = _BLANKS.sub(" ", plain).strip()
    if _BLANKS.sub("", plain) != _BLANKS.sub("", text):
        rules.append("characters")
    if once != plain or _BLANKS.sub(" ", text).strip() != text:
        rules.append("blanks")
    return once, rules


def is_placeholder(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> bool:
    """Does a tidy text say that nothing is known?

    Parameters
    ----------
    text
        As from :func:`tidy`.
    own, kept
        The book's own placeholders, and what it says is none; in small letters.
    """
    small = text.lower()
    if small in kept:
        return False
    return small in own or small in _NOTHING or text in _SMALL_NOTHING or not small


def words(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """Plain words, such as a city or an industry.

    Parameters
    ----------
    text
        As delivered.
    own, kept
        As for :func:`is_placeholder`.
    """
    plain, rules = tidy(text)
    if is_placeholder(plain, own, kept):
        return Standard(None, ("placeholder",))
    return Standard(plain, tuple(rules))


# --- Names -------------------------------------------------------------------------------------------------------------

# They stand before a name and are none. With a dot, or as a whole word of these.
_TITLE = re.compile(
    r"""^(?:
        (?:dr|prof|dipl|ing|mag|med|rer|nat|phil|jur|oec|pol|theol|habil|lic|hr|fr|mr|mrs|ms|mme|mlle|sr|sra|srta|sig|dott|doc|mudr|judr|rndr|phdr|bc|mgr|inż|h\.\s?c)\.[-\s]*(?:(?:ing|kfm|kff|inf|psych|med|phys|chem|biol|math|päd|wirt|betriebsw|vw|bw)\.[-\s]*)?
        |(?:dr|prof|professor|herr|herrn|frau|mr|mrs|ms|mister|monsieur|madame|señor|señora|signor|signora)\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SUFFIX = re.compile(
    r"(?:,\s*|\s+)(?:(ph\.?\s?d|m\.?\s?sc|b\.?\s?sc|ll\.?\s?m|mba|m\.?\s?a|b\.?\s?a|esq|cpa|dds)\.?|(jr|sr)\.|(?:(?<=,)|(?<=,\s))\s*(jr|sr|ii|iii|iv))$",
    re.IGNORECASE,
)
_PARTICLES = frozenset(
    "von van der den de del della di da dos das du la le el ter ten zu zum zur af av bin ibn al y e und".split()
)
_ROMAN = frozenset({"II", "III", "IV", "VI", "VII", "VIII"})
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_VOWELS = frozenset("aeiouyäöüåæøàáâãèéêëìíîïòóôõùúûýıąęő")
_TURKISH = frozenset("ğĞİı")


def person_name(text: str, part: str = "whole", own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A name, or a part of one.

    Parameters
    ----------
    text
        As delivered.
    part
        `given`, `family` or `whole`; only a whole name is turned where it is written `Berg, Anna`.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        Beside it `name_title` where one was taken off, and of a turned name `given_name` and `family_name`.
    """
    plain, rules = tidy(text)
    small = plain.lower()
    if is_placeholder(plain, own, kept) or (small in _NAME_NOTHING and small not in kept):
        return Standard(None, ("placeholder",))
    beside: list[tuple[str, str]] = []
    bare, title = _without_titles(plain)
    given = family = None
    # without a comma nobody knows which word is the surname
    before, comma, after = bare.partition(",")
    if part == "whole" and comma and "," not in after:
        family, (given, inner) = before.strip(), _without_titles(after.strip())
        fits = 0 < len(family.split()) <= 4 and 0 < len(given.split()) <= 4 and not re.search(r"[\d&/@]", bare)
        if fits and given.lower().rstrip(".") not in {"jr", "sr", "ii", "iii"}:
            bare, title = f"{given} {family}", " ".join(filter(None, (title, inner)))
            rules.append("order")
        else:
            given = family = None
    if title:
        rules.append("title")
        beside.append(("name_title", title))
    cased = _cased(bare)
    if cased != bare:
        rules.append("case")
        given, family = (_cased(given, bare), _cased(family, bare)) if given else (None, None)
        cased = f"{given} {family}" if given else cased
    if given:
        beside += [("given_name", given), ("family_name", family)]
    return Standard(cased, tuple(rules), tuple(beside))


def _without_titles(text: str) -> tuple[str, str]:
    """A name without what stands before and after it, and that."""
    bare, titles = text, []
    while (found := _TITLE.match(bare)) and _WORD.search(bare[found.end() :]):
        titles.append(found[0].strip())
        bare = bare[found.end() :].lstrip(" -.")
    while (found := _SUFFIX.search(bare)) and _WORD.search(bare[: found.start()]):
        titles.append(found[0].strip(" ,"))
        bare = bare[: found.start()].rstrip(" ,")
    return (bare, " ".join(titles)) if bare else (text, "")


def _cased(text: str, whole: str | None = None) -> str:
    """A name that is all capitals, or has none, in title case; any other as it is."""
    whole = whole or text
    letters = [c for c in whole if c.isalpha()]
    if not any(c.lower() != c.upper() for c in letters) or len(letters) < 2:
        return text
    if whole != whole.upper() and whole != whole.lower():
        # one letter that is no capital is enough: somebody meant it
        return text
    if whole == whole.upper() and ((len(letters) == 2 and not {c.lower() for c in letters} & _VOWELS) or "." in whole):
        # initials
        return text
    turkish = bool(_TURKISH & set(whole))
    several = len(whole.split()) > 1

    def word(found: re.Match) -> str:
        one = found[0]
        if several and one.lower() in _PARTICLES and one == one.lower() and found.start() != 0:
            return one
        if one in _ROMAN and found.start() > 0:
            return one
        return "".join(
            _title(piece, turkish) if i == 0 or (i % 2 == 0 and len(piece) > 1) else piece
            for i, piece in enumerate(re.split(r"(['’])", one))
        )

    return unicodedata.normalize("NFC", _WORD.sub(word, text))


def _title(word: str, turkish: bool) -> str:
    first, rest = word[:1], word[1:]
    if turkish:
        first = "İ" if first == "i" else first
        rest = rest.replace("I", "ı").replace("İ", "i")
    # Python leaves a dot over the small i of a Turkish capital
    rest = rest.lower().replace("i\u0307", "i")
    return (first.upper() if len(first.upper()) == 1 else first.title()) + rest


# Read as surnames these are said differently from what a dictionary of single characters says.
_SURNAMES = {
    "单": "shan", "單": "shan", "曾": "zeng", "仇": "qiu", "解": "xie", "区": "ou", "區": "ou", "朴": "piao", "查": "zha",
    "盖": "ge", "蓋": "ge", "任": "ren", "华": "hua", "尉": "wei", "翟": "zhai", "缪": "miao", "繆": "miao", "乐": "yue", "樂": "yue",
}  # fmt: skip


@lru_cache(maxsize=200_000)
def latin_key(text: str, surname: bool = False) -> str | None:
    """A name in small Latin letters, to be compared: without marks, whatever its script.

    Parameters
    ----------
    text
        A name.
    surname
        Chinese surnames have readings of their own.

    Returns
    -------
    str or None
        Words with one blank between; simplified and traditional characters give the same. Japanese kanji are read as
        Chinese, which is the same for every record but is not how the name sounds. None where no letter is left.
    """
    if not text.isascii():
        if surname and text[:1] in _SURNAMES:
            text = _SURNAMES[text[0]] + text[1:]
        from anyascii import anyascii

        text = anyascii(unicodedata.normalize("NFKC", text).casefold())
    return " ".join(re.sub(r"[^0-9a-z]+", " ", re.sub(r"['`’]", "", text.lower())).split()) or None


# --- E-mail addresses and telephone numbers -------------------------------------------------------------------------------

_ADDRESS = re.compile(
    r"^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]{2,58})$"
)
_NOBODY = frozenset(
    """
    none noemail no-email no.email nomail no-mail keine kein keineemail keine-email keinemail keine.email unknown unbekannt
    noreply-placeholder nobody notavailable nichtvorhanden ohne dummy fake n/a na xxx xxxx asdf
    """.split()
)
_NOWHERE = frozenset("example test invalid localhost domain email nomail noemail none keine mail dummy fake xxx abc asdf".split())


def email(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """An e-mail address in small letters.

    Parameters
    ----------
    text
        As delivered; `mailto:`, angle brackets and a name before them are taken off.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        What can be no address stays as it is, and says so. Beside it `email_key`, where it can be one.
    """
    plain, rules = tidy(text)
    bare = plain.strip(" \t<>;,'\"")
    inner = re.search(r"<\s*([^<>\s]+@[^<>\s]+)\s*>?$", plain)
    bare = inner[1] if inner else bare
    while (shorter := re.sub(r"^mailto:\s*", "", bare, flags=re.IGNORECASE)) != bare:
        bare = shorter
    bare = re.sub(r"\s*@\s*", "@", bare).rstrip(".")
    if bare.lower() != plain.lower():
        rules.append("form")
    address = bare.lower()
    if address != bare:
        rules.append("case")
    if is_placeholder(address, own, kept) or (address not in kept and _is_nobody(address)):
        return Standard(None, ("placeholder",))
    if not _is_address(address):
        # as it was: nobody can say what is wrong with it
        stays, rules = tidy(text)
        return Standard(stays, (*rules, "no address"))
    return Standard(address, tuple(rules), (("email_key", email_key(address)),))


def _is_nobody(address: str) -> bool:
    local, _, domain = address.partition("@")
    labels = domain.split(".")
    if domain in ("example.com", "example.org", "example.net") or labels[-1] in ("example", "invalid", "localhost"):
        return True
    if local in _NOBODY and domain:
        return True
    site = labels[-2] if len(labels) > 1 else domain
    return bool(domain) and (
        (local == site and site in _NOWHERE) or (local in ("test", "a", "x") and (site in _NOWHERE or site == local))
    )


def _is_address(address: str) -> bool:
    if len(address) > 254 or len(address.partition("@")[0]) > 64:
        return False
    if _ADDRESS.match(address):
        return True
    if address.isascii():
        return False
    from email_validator import EmailNotValidError, validate_email

    try:
        validate_email(address, check_deliverability=False)
    except (EmailNotValidError, ValueError, IndexError):
        return False
    return True


def email_key(address: str) -> str:
    """What tells an address from others: without a tag after `+`, and at Google without dots.

    Parameters
    ----------
    address
        An address in small letters.
    """
    local, _, domain = address.rpartition("@")
    local = local.partition("+")[0] or local
    if domain in ("gmail.com", "googlemail.com"):
        local, domain = local.replace(".", "") or local, "gmail.com"
    return f"{local}@{domain}"


_ONE_DIGIT = re.compile(r"^(\d)\1{2,}$")
_COUNTED = frozenset("0123456789"[i:j] for i in range(2) for j in range(i + 6, 11)) | {
    "1234567890",
    "01234567890",
    "987654321",
}


@lru_cache(maxsize=300_000)
def phone(
    text: str,
    country: str = "",
    default: str = "US",
    own: frozenset[str] = frozenset(),
    kept: frozenset[str] = frozenset(),
) -> Standard:
    """A telephone number as it is dialled from anywhere: E.164.

    Parameters
    ----------
    text
        As delivered.
    country
        Where its owner lives, two letters; empty where nobody knows.
    default
        The book's country.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        A number that reads as one of the book's country and as one of the owner's is the mobile one of the two, as few
        numbers are mobile ones by chance; else the owner's. What cannot be dialled stays as it is, and says so.
    """
    import phonenumbers

    plain, rules = tidy(text)
    digits = "".join(c for c in plain if c.isdigit())
    if is_placeholder(plain, own, kept) or (plain.lower() not in kept and _is_no_number(plain, digits)):
        return Standard(None, ("placeholder",))
    bare = re.sub(r"^(?:tel|telefon|phone|fon|mobil|mobile|handy|fax)\.?:?\s*", "", plain, flags=re.IGNORECASE).removeprefix(
        "tel:"
    )
    # +49 (0) 170 …: the nought is dialled at home alone
    bare = re.sub(r"^((?:\+|00)\s?\d{1,3}[\s./-]*)\(0\)", r"\1", bare)
    readings = []
    for place in dict.fromkeys(place for place in (country, default) if place):
        try:
            parsed = phonenumbers.parse(bare, place)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            readings.append(parsed)
            if parsed.country_code_source != phonenumbers.CountryCodeSource.UNSPECIFIED or bare.startswith(("+", "00")):
                break
    if not readings:
        return Standard(plain, (*rules, "no number"))
    best = readings[0]
    if len(readings) > 1:
        mobile = [one for one in readings if phonenumbers.number_type(one) == phonenumbers.PhoneNumberType.MOBILE]
        best = mobile[0] if len(mobile) == 1 else readings[0]
    written = phonenumbers.format_number(best, phonenumbers.PhoneNumberFormat.E164)
    if best.extension:
        written += f" ext. {best.extension}"
    return Standard(written, tuple(rules) + (("form",) if written != plain else ()))


def _is_no_number(plain: str, digits: str) -> bool:
    if re.search(r"[^\d\s()+./-]", plain):
        return False
    local = digits.lstrip("0") if set(digits) != {"0"} else digits
    after_code = re.sub(r"^(?:\+|00)\s*\d{1,3}[\s./-]+", "", plain)
    after_code = "".join(c for c in after_code if c.isdigit())
    if not digits or len(digits) < 3 or set(digits) == {"0"} or (set(after_code) == {"0"} and len(after_code) > 2):
        return True
    return bool(len(digits) >= 6 and _ONE_DIGIT.match(digits)) or digits in _COUNTED or (local in _COUNTED and len(local) >= 9)


# --- Places and companies -----------------------------------------------------------------------------------------------

_GERMAN = frozenset({"DE", "AT", "CH", "LI", "LU"})
_ABBREVIATED = re.compile(
    r"(?<=\w)(str|Str|STR)\.(?=\s*\d|\s*$|\s*[,(])|(?<![\w.])(Str|str|STR)\.(?=\s|\d|$)|(?<=\w)(str)(?=\s+\d+\s*\w?$)"
)
_HOUSE = re.compile(r"^(?P<way>.*\D)\s+(?P<house>\d{1,5}(?:\s?[-/]\s?\d{1,5})?\s?[a-zA-Z]?)$")
_HOUSE_FIRST = re.compile(r"^(?P<house>\d{1,5}(?:\s?[-/]\s?\d{1,5})?[a-zA-Z]?),?\s+(?P<way>[^\W\d_].*)$")


def street(text: str, country: str = "", sharp: bool = True, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A street with its house number.

    Parameters
    ----------
    text
        As delivered.
    country
        Two letters. Where German is spoken `str.` is written in full.
    sharp
        Whether it is then a `Straße` or a `Strasse`.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        Beside it `street_name` and `house_number`, where it ends in one (or, elsewhere, begins with one).
    """
    plain, rules = tidy(text)
    if is_placeholder(plain, own, kept):
        return Standard(None, ("placeholder",))
    full = plain
    if country in _GERMAN:
        end = "traße" if sharp else "trasse"

        def spell(found: re.Match) -> str:
            written = found[1] or found[2] or found[3]
            tail = "TRASSE" if written == "STR" else end
            # Hauptstr.5
            gap = " " if full[found.end() : found.end() + 1].isdigit() else ""
            return written[0] + tail + gap

        spelled = _ABBREVIATED.sub(spell, full)
        full, rules = (spelled, [*rules, "abbreviation"]) if spelled != full else (full, rules)
    found = _HOUSE.match(full) or _HOUSE_FIRST.match(full)
    beside = (("street_name", found["way"].strip(" ,")), ("house_number", re.sub(r"\s", "", found["house"]))) if found else ()
    return Standard(full, tuple(rules), beside)


def postcode(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A postcode without the country before it; 0s at its front stay.

    Parameters
    ----------
    text
        As delivered.
    own, kept
        As for :func:`is_placeholder`.
    """
    plain, rules = tidy(text)
    if is_placeholder(plain, own, kept) or re.fullmatch(r"0{3,}|9{5,}|x+", plain.lower()):
        return Standard(None, ("placeholder",))
    bare = re.sub(r"^(?:D|DE|A|AT|CH|F|FR|NL|B|BE|L|LU|I|IT|PL|CZ|DK|SE)\s?[-–]\s?(?=\d)", "", plain)
    upper = bare.upper() if any(c.isdigit() for c in bare) else bare
    return Standard(upper, tuple(rules) + (("form",) if upper != plain else ()))


_SYNONYMS = {
    "UK": "GB", "U.K.": "GB", "ENGLAND": "GB", "SCOTLAND": "GB", "WALES": "GB", "GREAT BRITAIN": "GB", "GROSSBRITANNIEN": "GB",
    "USA": "US", "U.S.A.": "US", "U.S.": "US", "AMERICA": "US", "BRD": "DE", "EIRE": "IE", "HOLLAND": "NL", "SUISSE": "CH", "SVIZZERA": "CH",
    "EL": "GR", "RUSSIA": "RU", "KOREA": "KR", "SOUTH KOREA": "KR", "CZECH REPUBLIC": "CZ", "TURKEY": "TR", "TÜRKEI": "TR", "RSA": "ZA", "UAE": "AE",
}  # fmt: skip
# The signs of cars (as registered under the Vienna Convention) that are not the two letters as well, and that stand for
# nothing else in a form: J, M, N and V may be a yes, a gender, a no and a tick.
_PLATES = {
    "A": "AT", "B": "BE", "D": "DE", "E": "ES", "F": "FR", "H": "HU", "I": "IT", "L": "LU", "P": "PT", "S": "SE", "FL": "LI",
    "SLO": "SI", "RSM": "SM", "SRB": "RS", "MNE": "ME", "BIH": "BA", "EST": "EE", "IRL": "IE", "FIN": "FI", "GBZ": "GI",
}  # fmt: skip


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    """Names of countries in many languages, and their codes, in capitals, to two letters."""
    from babel import Locale
    from babel.core import get_global

    known: dict[str, str] = {}
    codes = {
        code
        for code in Locale("en").territories
        if re.fullmatch(r"[A-Z]{2}", code) and code not in ("ZZ", "EU", "UN", "XA", "XB", "EZ", "QO")
    }
    for language in (
        "en",
        "de",
        "fr",
        "it",
        "es",
        "nl",
        "pt",
        "pl",
        "cs",
        "da",
        "sv",
        "tr",
        "ru",
        "zh",
        "zh_Hant",
        "ja",
        "ko",
    ):
        for code, name in Locale.parse(language).territories.items():
            if code in codes:
                known.setdefault(name.upper(), code)
    for three, two in get_global("territory_aliases").items():
        if re.fullmatch(r"[A-Z]{3}", three) and len(two) == 1 and two[0] in codes:
            known.setdefault(three, two[0])
    return known | _SYNONYMS | _PLATES | {code: code for code in codes}


def country(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A country in the two letters of ISO 3166.

    Parameters
    ----------
    text
        A name in one of seventeen languages, a code of two or three letters, or the sign of its cars.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        What is no country that is known stays, and says so.
    """
    plain, rules = tidy(text)
    code = _countries().get(plain.upper())
    if code is None and is_placeholder(plain, own, kept):
        return Standard(None, ("placeholder",))
    if code is None:
        return Standard(plain, (*rules, "no country"))
    return Standard(code, tuple(rules) + (("form",) if code != plain else ()))


# Forms as they are written, each as its letters with all else taken out, longest first where they are tried.
_FORMS = frozenset(
    """
    ab ag aps as asa bv bvba cokg corp corporation cv doo eg ei eirl ek ekfm ekfr eurl ev gbr gesmbh ggmbh gie gmbh gmbhco
    gmbhcokg gmbhcokgaa gmbhundcokg inc incorporated kft kg kgaa kk limited llc llp lp ltd ltda mbh nv ohg ou oy oyj partg partgmbb
    plc pllc pteltd ptyltd pvtltd sarl sas sasu sca scs se sl slu snc spa spzoo spolsro sro srl srls stiftung ug ughaftungsbeschränkt vof
    """.split()
)
_SIGNS = (
    "股份有限公司",
    "有限责任公司",
    "有限責任公司",
    "有限公司",
    "株式会社",
    "有限会社",
    "合同会社",
    "주식회사",
    "(주)",
    "(株)",
)


def company(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A company's name as it is written, its legal form split off beside it.

    Parameters
    ----------
    text
        As delivered.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        Beside it `company_name` (without its legal form) and `legal_form`.
    """
    plain, rules = tidy(text)
    small = plain.lower()
    if is_placeholder(plain, own, kept) or (
        small in ("test", "privat", "private", "testfirma", "test company") and small not in kept
    ):
        return Standard(None, ("placeholder",))
    name, form = _split_form(plain)
    beside = (("company_name", name),) + ((("legal_form", form),) if form else ())
    return Standard(plain, tuple(rules), beside)


def _split_form(name: str) -> tuple[str, str]:
    for sign in _SIGNS:
        if name.endswith(sign) and len(name) > len(sign):
            return name.removesuffix(sign).strip(), sign
        if name.startswith(sign) and len(name) > len(sign):
            return name.removeprefix(sign).strip(), sign
    parts = name.split(" ")
    # the longest tail that is a form, and leaves a name
    for start in range(1, len(parts)):
        tail = " ".join(parts[start:])
        if re.sub(r"[^\w]|_", "", tail).lower() in _FORMS:
            return " ".join(parts[:start]).rstrip(" ,"), tail
    return name, ""


# --- Work ----------------------------------------------------------------------------------------------------------------

_SENIORITIES = (
    ("assistant", r"assist|sekret|trainee|praktik|intern\b|azubi|werkstudent|stagiaire|junior"),
    ("owner", r"inhaber|owner|eigentümer|propriétaire|titolare|gründer|founder|gesellschafter\b"),
    (
        "executive",
        r"geschäftsführ|\bceo\b|\bcfo\b|\bcoo\b|\bcto\b|\bcmo\b|vorstand|chief .* officer|managing director|président|president|direktor|directeur général|amministratore",
    ),
    ("director", r"\bdirector|directeur|directrice|bereichsleit|head of|\bvp\b|vice president|prokurist"),
    (
        "manager",
        r"manager|leiter|leitung|lead\b|supervisor|teamleit|projektleit|responsable|jefe|responsabile|hausdame|chef",
    ),
)
_ROLES = (
    ("purchasing", r"einkauf|einkäufer|purchas|procure|buyer|beschaffung|achats|acquisti|compras"),
    ("sales", r"vertrieb|sales|verkauf|account manager|commercial|ventes|vendite"),
    ("marketing", r"marketing|brand|werbung|kommunikation|communication"),
    ("finance", r"finan|buchhalt|account(?:ing|ant)|controll|\bcfo\b|comptab"),
    ("it", r"\bit\b|informati|software|develop|entwickl|\bcto\b|engineer|system"),
    ("people", r"personal|human resources|\bhr\b|recruit"),
    ("service", r"service|empfang|rezeption|reception|kunden|support|hausdame|f&b|gastro|office|sekret|assist"),
    ("operations", r"betrieb|operation|produktion|production|logist|lager|schicht|projekt|\bcoo\b"),
    ("management", r"geschäftsführ|inhaber|owner|direktor|director|vorstand|\bceo\b|gründer|founder|managing"),
)


def job(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A job title, with what the person does and how high up beside it.

    Parameters
    ----------
    text
        As delivered.
    own, kept
        As for :func:`is_placeholder`.

    Returns
    -------
    Standard
        Beside it `job_role` and `seniority`, where words of the title say so.
    """
    plain, rules = tidy(text)
    if is_placeholder(plain, own, kept):
        return Standard(None, ("placeholder",))
    small = plain.lower()
    beside = []
    for column, table in (("job_role", _ROLES), ("seniority", _SENIORITIES)):
        found = next((name for name, pattern in table if re.search(pattern, small)), None)
        beside += [(column, found)] if found else []
    return Standard(plain, tuple(rules), tuple(beside))


_SIGNS_OF_MONEY = {
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "EURO": "EUR",
    "EUROS": "EUR",
    "SFR": "CHF",
    "SFR.": "CHF",
    "FR.": "CHF",
    "STG": "GBP",
    "RMB": "CNY",
    "US$": "USD",
    "YEN": "JPY",
    "ZŁ": "PLN",
}


@lru_cache(maxsize=1)
def currencies() -> frozenset[str]:
    """The codes of ISO 4217, past ones too."""
    from babel import Locale

    return frozenset(Locale("en").currencies)


def currency(text: str, default: str = "EUR", own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A currency in the three letters of ISO 4217.

    Parameters
    ----------
    text
        As delivered.
    default
        The book's; a bare dollar is its own, where that is a dollar.
    own, kept
        As for :func:`is_placeholder`.
    """
    plain, rules = tidy(text)
    upper = plain.upper()
    code = _SIGNS_OF_MONEY.get(upper, upper)
    if code == "$":
        code = default if default.endswith("D") else "USD"
    if code not in currencies():
        if is_placeholder(plain, own, kept):
            return Standard(None, ("placeholder",))
        return Standard(plain, (*rules, "no currency"))
    return Standard(code, tuple(rules) + (("form",) if code != plain else ()))


def domain(text: str, own: Collection[str] = (), kept: Collection[str] = ()) -> Standard:
    """A web domain without `https://`, `www.` and what follows it.

    Parameters
    ----------
    text
        As delivered.
    own, kept
        As for :func:`is_placeholder`.
    """
    plain, rules = tidy(text)
    if is_placeholder(plain, own, kept):
        return Standard(None, ("placeholder",))
    bare = re.sub(r"^[a-z]+://", "", plain.lower())
    while bare.startswith("www."):
        bare = bare.removeprefix("www.")
    bare = re.split(r"[/?#]", bare)[0].rstrip(".")
    if "." not in bare or " " in bare:
        return Standard(plain, tuple(rules))
    return Standard(bare, tuple(rules) + (("form",) if bare != plain else ()))
