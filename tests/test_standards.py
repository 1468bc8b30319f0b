"""Is a cell written as it should be, whatever stood in it; and does looking twice change nothing?"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clientbook.cleaning import standards

ODD = st.text(st.characters(codec="utf-8"), max_size=30) | st.from_regex(
    r"[A-ZÄÖÜa-zäöüßışİ.,'’ \-0-9+@()/ｆ　]{0,25}", fullmatch=True
)
WAYS = {
    "given": lambda text: standards.person_name(text, "given"),
    "family": lambda text: standards.person_name(text, "family"),
    "whole": standards.person_name,
    "email": standards.email,
    "phone": lambda text: standards.phone(text, "", "DE"),
    "street": lambda text: standards.street(text, "DE"),
    "postcode": standards.postcode,
    "country": standards.country,
    "company": standards.company,
    "job": standards.job,
    "currency": standards.currency,
    "domain": standards.domain,
    "words": standards.words,
}


@pytest.mark.parametrize("way", WAYS)
@given(text=ODD)
@example("ＭＲ．　İŞIK，Ｏ’ＮＥＩＬＬ")
@example("mailto:<a@b.de>")
@example("Dr. Dr. , PhD, jr.")
@example("\u200b \ufeff")
@example("ALİ̇ ALİ")
@settings(max_examples=150, deadline=None)
def test_cleaning_twice_changes_nothing_and_nothing_is_too_odd(way, text):
    once = WAYS[way](text)
    assert once.value is None or once.value
    assert all(rule in standards.RULES for rule in once.rules)
    if once.value is not None:
        again = WAYS[way](once.value)
        assert again.value == once.value or (way == "phone" and again.value == once.value)
        assert not set(again.rules) - {"no address", "no number", "no country", "no currency"}
    else:
        assert once.rules == ("placeholder",)


@pytest.mark.parametrize(
    ("text", "part", "wanted"),
    [
        ("markus", "given", "Markus"), ("MÜLLER", "family", "Müller"), ("AL-MASRI", "family", "Al-Masri"), ("O'NEILL", "family", "O'Neill"),
        ("LI", "family", "Li"), ("TJ", "given", "TJ"), ("J.R.", "given", "J.R."), ("McDonald", "family", "McDonald"),
        ("vincent van gogh", "whole", "Vincent van Gogh"), ("YAĞMUR IŞIK", "whole", "Yağmur Işık"), ("ALİ", "given", "Ali"),
        ("Prof. Dr. Martina", "given", "Martina"), ("Dipl.-Ing. Leon", "given", "Leon"), ("Herr Guojun", "given", "Guojun"),
        ("Frau", "family", "Frau"), ("Drew", "given", "Drew"), ("Herrmann", "family", "Herrmann"), ("Mark Hill, MBA", "whole", "Mark Hill"),
        ("Ｆｌｏｒｉａｎ", "given", "Florian"), ("  Anna\u00a0 Maria ", "given", "Anna Maria"), ("Berg, Dr. Anna", "whole", "Anna Berg"),
        ("Müller, Schmidt & Partner", "whole", "Müller, Schmidt & Partner"), ("陳偉強", "whole", "陳偉強"), ("Na", "family", "Na"),
        ("Null", "family", "Null"), ("null", "family", None), ("N/A", "given", None), ("Test", "family", None), ("unbekannt", "whole", None),
    ],
)  # fmt: skip
def test_names(text, part, wanted):
    assert standards.person_name(text, part).value == wanted


def test_a_turned_name_gives_its_parts_and_a_title_is_kept_beside():
    turned = standards.person_name("VON DER HEIDE, PROF. ANNA MARIA")
    assert turned.value == "Anna Maria Von Der Heide" and dict(turned.beside)["family_name"] == "Von Der Heide"
    assert dict(standards.person_name("Dr. Sabine", "given").beside) == {"name_title": "Dr."}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("陈", "陳"),
        ("张伟", "張偉"),
        ("Дмитрий", "Dmitriy"),
        ("Müller", "MULLER"),
        ("Strauß", "Strauss"),
        ("O’Neill", "oneill"),
    ],
)
def test_the_latin_key_is_the_same_in_every_script(one, other):
    assert standards.latin_key(one) == standards.latin_key(other)


def test_surnames_are_read_as_surnames():
    assert standards.latin_key("单", True) == "shan" and standards.latin_key("曾", True) == "zeng"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ANNA@X.DE", "anna@x.de"), (" mailto:anna@x.de ", "anna@x.de"), ("Anna Berg <anna@x.de>", "anna@x.de"), ("anna+shop@x.de", "anna+shop@x.de"),
        ("anna@@x.de", "anna@@x.de"), ("anna", "anna"), ("test@test.com", None), ("keine@email.de", None), ("n/a", None), ("a@example.com", None),
        ("test@hotel-adler.de", "test@hotel-adler.de"), ("info@test-gmbh.de", "info@test-gmbh.de"), ("用户@例子.公司", "用户@例子.公司"),
    ],
)  # fmt: skip
def test_addresses(text, wanted):
    assert standards.email(text).value == wanted


def test_an_address_that_can_be_none_says_so_and_has_no_key():
    for text in ("anna@@x.de", "anna@x.d", "anna@x,de", "anna"):
        found = standards.email(text)
        assert found.rules == ("no address",) and not found.beside, text
    assert dict(standards.email("A.nna+news@googlemail.com").beside) == {"email_key": "anna@gmail.com"}


@pytest.mark.parametrize(
    ("text", "country", "wanted"),
    [
        ("+49 170 2345678", "", "+491702345678"), ("0170/2345678", "", "+491702345678"), ("(0170) 2345678", "", "+491702345678"),
        ("0049 170 2345678", "CH", "+491702345678"), ("+49 (0)170 2345678", "", "+491702345678"), ("Tel.: 0170 2345678", "", "+491702345678"),
        ("079 123 45 67", "CH", "+41791234567"), ("0664 1234567", "AT", "+436641234567"), ("0170 2345678", "AT", "+491702345678"),
        ("0000000000", "", None), ("000", "", None), ("1234567890", "", None), ("+49 0000000", "", None), ("n/a", "", None), ("111111111", "", None),
        ("12", "", None), ("call me", "", "call me"), ("+49 170", "", "+49 170"),
    ],
)  # fmt: skip
def test_telephone_numbers(text, country, wanted):
    assert standards.phone(text, country, "DE").value == wanted


@pytest.mark.parametrize(
    ("text", "country", "sharp", "wanted"),
    [
        ("Schulstr. 41", "DE", True, "Schulstraße 41"), ("Hauptstr.5", "DE", True, "Hauptstraße 5"), ("Lange Str. 7", "DE", True, "Lange Straße 7"),
        ("Bahnhofstr. 1", "CH", False, "Bahnhofstrasse 1"), ("Dorfstr 3", "AT", True, "Dorfstraße 3"), ("Main Str. 4", "US", True, "Main Str. 4"),
        ("Strandweg 2", "DE", True, "Strandweg 2"), ("HAUPTSTR. 9", "DE", True, "HAUPTSTRASSE 9"),
    ],
)  # fmt: skip
def test_streets(text, country, sharp, wanted):
    assert standards.street(text, country, sharp).value == wanted


def test_house_numbers_stand_beside():
    assert dict(standards.street("Am Tor 12 a", "DE").beside) == {"street_name": "Am Tor", "house_number": "12a"}
    assert dict(standards.street("221b Baker Street", "GB").beside) == {
        "street_name": "Baker Street",
        "house_number": "221b",
    }
    assert standards.street("Postfach", "DE").beside == ()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Deutschland", "DE"),
        ("germany", "DE"),
        ("DEU", "DE"),
        ("de", "DE"),
        ("Suisse", "CH"),
        ("UK", "GB"),
        ("D", "DE"),
        ("a", "AT"),
        ("SLO", "SI"),
        ("N", "N"),
        ("中国", "CN"),
        ("Atlantis", "Atlantis"),
        ("N/A", None),
    ],
)
def test_countries(text, wanted):
    assert standards.country(text).value == wanted


@pytest.mark.parametrize(
    ("text", "name", "form"),
    [
        ("Hotel Adler GmbH & Co. KG", "Hotel Adler", "GmbH & Co. KG"), ("Hotel Adler, e.K.", "Hotel Adler", "e.K."), ("Acme S.p.A.", "Acme", "S.p.A."),
        ("北京科技有限公司", "北京科技", "有限公司"), ("株式会社トヨタ", "トヨタ", "株式会社"), ("AG Weser", "AG Weser", None), ("Limited", "Limited", None),
    ],
)  # fmt: skip
def test_legal_forms_are_split_off(text, name, form):
    beside = dict(standards.company(text).beside)
    assert (beside["company_name"], beside.get("legal_form")) == (name, form)


def test_what_the_company_says_of_its_own_words_goes_first():
    assert standards.person_name("Test", "family", kept=("test",)).value == "Test"
    assert standards.company("Privatkunde", own=("privatkunde",)).value is None
    assert standards.email("keine@email.de", kept=("keine@email.de",)).value == "keine@email.de"
    assert standards.currency("$", "USD").value == "USD" and standards.currency("€").value == "EUR"
