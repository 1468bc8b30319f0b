"""What a book may say, and how it is told what it may not."""

from __future__ import annotations

import datetime as dt
from functools import partial

import pytest

import clientbook
from clientbook import book as books
from clientbook import demo
from clientbook.book import open_book, read_settings
from clientbook.faults import ClientbookError, FaultError
from clientbook.tables import CANONICAL

LEAST = "name: X\nsources: {shop: {orders: {path: a.csv}}}\n"


@pytest.fixture
def read(tmp_path):
    def written(content):
        file = tmp_path / "clientbook.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_settings(file)

    return written


@pytest.fixture
def faults(read):
    def told(content):
        with pytest.raises(FaultError) as caught:
            read(content)
        return caught.value.faults

    return told


def orders(delivery):
    return f"name: X\nsources: {{shop: {{orders: {delivery}}}}}\n"


def test_defaults(read):
    settings = read(LEAST)
    assert (settings.currency, settings.country, settings.timezone, settings.as_of) == ("EUR", "US", "UTC", None)
    policy = settings.contact_policy
    assert (policy.max_messages, policy.period_days, policy.per) == (8, 30, "account")
    assert (settings.goals, settings.triggers, settings.journeys.stages) == ((), (), {})
    (delivery,) = settings.sources["shop"].tables["orders"]
    assert (delivery.path, delivery.columns, delivery.ids, delivery.decimal) == ("a.csv", {}, {}, ".")
    assert delivery.date_format("ordered_at") is None


def test_everything_that_the_design_shows_can_be_said(read):
    settings = read("""
name: Online Retail
currency: GBP
country: GB
timezone: Europe/London
as_of: 2011-12-10
goals:
  - {goal: retain, owner: service, target: 0.9}
sources:
  shop:
    owner: e-commerce
    cost_per_year: 12000
    timezone: Europe/Paris
    orders:
      - path: transactions/*.parquet
        columns: {order_id: Invoice, person_id: Customer ID}
        cancelled: order_id starts with C 9
        ids: {person_id: crm}
      - {path: old.csv, decimal: ",", dates: "%d/%m/%Y", timezone: Asia/Tokyo}
  crm:
    people: {sql: select * from contacts, connection: "env:CRM_URL", dates: {birth_date: "%-d.%-m.%y"}}
journeys: {subject: account, stages: {price_page: {decide: 0.7, research: 0.3}}}
contact_policy: {max_messages: 0, period_days: 7, per: customer}
triggers:
  - {when: cart_abandoned, after_hours: 24, action: remind}
""")
    assert settings.as_of == dt.date(2011, 12, 10)
    first, second = settings.sources["shop"].tables["orders"]
    assert (first.cancelled.column, first.cancelled.how, first.cancelled.what) == ("order_id", "starts with", "C 9")
    assert (second.decimal, second.date_format("ordered_at")) == (",", "%d/%m/%Y")
    book = books.Book(None, settings)
    assert [book.zone(s, d) for s, _, _, d in book.deliveries()] == ["Europe/Paris", "Asia/Tokyo", "Europe/London"]
    assert [(s, t, p) for s, t, p, _ in book.deliveries()] == [
        ("shop", "orders", 0), ("shop", "orders", 1), ("crm", "people", 0)
    ]  # fmt: skip


WRONG = {
    "as_of: 2011-02-30": ("as_of", "2024-06-01"),
    "as_of: 20111210": ("as_of", "2024-06-01"),
    "as_of: 0": ("as_of", "2024-06-01"),
    "as_of: '1700006400'": ("as_of", "2024-06-01"),
    "as_of: 2011-12-10T10:00": ("as_of", "2024-06-01"),
    "country: no": ("country", "two capitals"),
    "country: DEU": ("country", "two capitals"),
    "currency: eur": ("currency", "three capitals"),
    "currency: 5": ("currency", "text"),
    "timezone: Europe/Berln": ("timezone", "Did you mean Europe/Berlin"),
    "timezone: localtime": ("timezone", "not a time zone"),
    "timezone: ../UTC": ("timezone", "not a time zone"),
    "timezone: ''": ("timezone", "Europe/London"),
    "currrency: EUR": ("clientbook.yaml", "Did you mean `currency`?"),
    "5: x": ("5", "key must be text"),
    "goals: {goal: a}": ("goals", "list"),
    "goals: [x]": ("goals.0", "Allowed: goal, owner, target"),
    "goals: [{goal: a}]": ("goals.0.owner", "required"),
    "goals: [{goal: a, owner: b, target: .inf}]": ("goals.0.target", "number"),
    "goals: [{goal: a, owner: b, target: yes}]": ("goals.0.target", "number"),
    "journeys: {subject: acount}": ("journeys.subject", "'account' or 'customer'"),
    "journeys: {stages: {p: {desire: 1}}}": ("journeys.stages.p.desire", "'need', 'research'"),
    "journeys: {stages: {p: {need: 1.5}}}": ("journeys.stages.p.need", "1 or less"),
    "contact_policy: []": ("contact_policy", "Allowed: max_messages, period_days, per"),
    "contact_policy: {max_message: 1}": ("contact_policy", "Did you mean `max_messages`?"),
    "contact_policy: {max_messages: -1}": ("contact_policy.max_messages", "0 or more"),
    "contact_policy: {max_messages: 1.5}": ("contact_policy.max_messages", "whole number"),
    "contact_policy: {max_messages: true}": ("contact_policy.max_messages", "not yes or no"),
    "contact_policy: {period_days: 1:30}": ("contact_policy.period_days", "whole number"),
    "triggers: [{when: a, action: b, after_hours: -1}]": ("triggers.0.after_hours", "0 or more"),
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_setting_is_told_with_its_key_and_what_is_allowed(faults, line):
    key, allowed = WRONG[line]
    (fault,) = faults(LEAST + line)
    assert fault.key == key
    assert allowed in str(fault)


WRONG_DELIVERIES = {
    "a.csv": ("", "Allowed: path, sql"),
    "null": ("", "Allowed: path, sql"),
    "[]": ("", "list is empty"),
    "{}": ("", "`path`"),
    "{path: a.csv, pth: b}": ("", "Did you mean `path`?"),
    "{path: a.csv, sql: x, connection: 'env:A'}": ("", "one of the two"),
    "{sql: x}": ("", "go together"),
    "{path: 5}": (".path", "quotes"),
    "{path: a.csv, decimal: ';'}": (".decimal", "'.' or ','"),
    "{path: a.csv, timezone: Mars/Olympus}": (".timezone", "not a time zone"),
    "{path: a.csv, columns: [a]}": (".columns", "mapping"),
    "{path: a.csv, columns: {order_id: 1}}": (".columns.order_id", "quotes"),
    "{path: a.csv, columns: {order_id: }}": (".columns.order_id", "text"),
    "{path: a.csv, columns: {'': a}}": (".columns", "no name"),
    "{path: a.csv, columns: {note: a, Note: b}}": (".columns", "`note` and `Note`"),
    "{path: a.csv, ids: {person_id: crm}}": (".ids.person_id", "Allowed: shop"),
    "{path: a.csv, ids: {persn_id: shop}}": (".ids.persn_id", "'person_id'"),
    "{path: a.csv, ids: {content_id: shop}}": (".ids", "Allowed: person_id, order_id, product_id"),
    "{path: a.csv, cancelled: no}": (".cancelled", "`order_id starts with C`"),
    "{path: a.csv, cancelled: state is x}": (".cancelled", "Did you mean `status`?"),
    "{path: a.csv, cancelled: {column: order_id, how: is, what: x, wht: y}}": (".cancelled", "Allowed: column, how, what"),
    "{path: a.csv, dates: 5}": (".dates", "'%d/%m/%Y'"),
    "{path: a.csv, dates: DD/MM/YYYY}": (".dates", "'%d/%m/%Y'"),
    "{path: a.csv, dates: {ordered_at: '%Q %Y'}}": (".dates", "'%d/%m/%Y'"),
    "{path: a.csv, dates: {quantity: '%Y'}}": (".dates", "Allowed: ordered_at"),
    "{path: a.csv, values: {status: {1: x}}}": (".values.status.1", "quotes"),
    "{path: a.csv, values: {state: {a: b}}}": (".values", "Did you mean `status`?"),
}


@pytest.mark.parametrize("delivery", WRONG_DELIVERIES)
def test_a_wrong_delivery_is_told_with_its_key_and_what_is_allowed(faults, delivery):
    key, allowed = WRONG_DELIVERIES[delivery]
    (fault,) = faults(orders(delivery))
    assert fault.key == f"sources.shop.orders{key}"
    assert allowed in str(fault)


@pytest.mark.parametrize(
    ("sources", "key", "allowed"),
    [
        ("[]", "sources", "mapping"),
        ("{}", "sources", "at least one"),
        ("{shop: }", "sources.shop", "orders"),
        ("{Shop: {orders: {path: a}}}", "sources.Shop", "lower-case"),
        ("{shop: {cost_per_year: .nan, orders: {path: a}}}", "sources.shop.cost_per_year", "number"),
        ("{shop: {owner: x}}", "sources", ", ".join(CANONICAL)),
        ("{crm: {people: {path: a, ids: {person_id: crm}}}}", "sources.crm.people.ids", "Allowed: account_id"),
        ("{crm: {people: {path: a, cancelled: person_id is x}}}", "sources.crm.people.cancelled", "only orders"),
        ("{tables: {orders: {path: 5}}}", "sources.tables.orders.path", "text"),
    ],
)
def test_a_wrong_source_is_told_with_its_key_and_what_is_allowed(faults, sources, key, allowed):
    (fault,) = faults(f"name: X\nsources: {sources}")
    assert fault.key == key
    assert allowed in str(fault)


def test_a_misspelt_table_is_told_beside_those_that_there_are(faults):
    told = faults("name: X\nsources: {shop: {ordrs: {path: a}, orders: {path: b}}}")
    assert [(fault.key, "Did you mean `orders`?" in fault.remedy) for fault in told] == [("sources.shop", True)]


def test_of_several_deliveries_the_wrong_one_is_told_by_its_number(faults):
    assert [f.key for f in faults(orders("[{path: a}, {pth: b}]"))] == ["sources.shop.orders.1"]
    assert [f.key for f in faults(orders("[{path: 1}, {path: b}]"))] == ["sources.shop.orders.0.path"]
    told = faults(orders("[{path: a, ids: {person_id: crm}}, {path: b}]"))
    assert [f.key for f in told] == ["sources.shop.orders.0.ids.person_id"]


def test_every_fault_is_told_at_once(faults):
    text = "nme: X\ncurrency: e\nsources: {shop: {ordrs: {path: a}, orders: {path: 5}}, crm: {owner: 1}}\n"
    assert sorted(f.key for f in faults(text)) == [
        "clientbook.yaml", "currency", "name", "sources.crm.owner", "sources.shop", "sources.shop.orders.path"
    ]  # fmt: skip


def test_a_secret_in_the_place_of_a_variable_is_not_repeated(faults):
    (fault,) = faults(orders("{sql: x, connection: 'postgres://ann:secret@db/x'}"))
    assert fault.key == "sources.shop.orders.connection"
    assert "env:" in str(fault) and "secret" not in str(fault)


def test_words_that_yaml_takes_for_something_else_stay_words(read):
    settings = read(
        "name: 2024-01-01\ncountry: NO\nsources: {shop: {owner: off, orders: {path: a.csv, "
        "values: {status: {yes: y, no: n, 007: open, 12:30: noon}}}}}\n"
    )
    assert (settings.name, settings.country, settings.sources["shop"].owner) == ("2024-01-01", "NO", "off")
    (delivery,) = settings.sources["shop"].tables["orders"]
    assert delivery.values["status"] == {"yes": "y", "no": "n", "007": "open", "12:30": "noon"}


def test_numbers_are_numbers(read):
    policy = "contact_policy: {max_messages: 10}\ntriggers: [{when: a, action: b, after_hours: 1.5e1}]\n"
    settings = read(LEAST + policy + "goals: [{goal: g, owner: o, target: 2e-1}]\n")
    assert settings.contact_policy.max_messages == 10
    assert (settings.triggers[0].after_hours, settings.goals[0].target) == (15.0, 0.2)


def test_a_setting_can_be_reused_and_changed(read):
    settings = read("name: X\nsources: {shop: {orders: &all {path: a.csv, decimal: ','}, returns: {<<: *all, path: b.csv}}}")
    (returns,) = settings.sources["shop"].tables["returns"]
    assert (returns.path, returns.decimal) == ("b.csv", ",")


@pytest.mark.parametrize(
    ("content", "told", "row"),
    [
        (b"", "no settings", None),
        (b"# only a comment\n", "no settings", None),
        (b"- a\n- b\n", "no settings", None),
        (b"just words", "no settings", None),
        (LEAST.encode() + b"name: Y\n", "'name' stands twice", 3),
        (b"name: X\n\tcountry: DE\n", "'\\t'", 2),
        (b"name: X\nsources: [\n", "not valid YAML", 3),
        (b"name: X\nsources: *gone\n", "undefined alias", 2),
        (b"a: &a {b: *a}", "not valid YAML", 1),
        (b"? [a]\n: b\n", "a key must be a word", 1),
        (b"name: !!python/object:os.system x\n", "not valid YAML", 1),
        (b"name: X\n---\nname: Y\n", "not valid YAML", 2),
        (b"name: Caf\xe9\n", "not UTF-8", None),
        (LEAST.encode("utf-16"), "not UTF-8", None),
        (LEAST.encode("utf-16-le"), "characters that may not stand there", None),
        (b"x: " + b"[" * 5_000, "nested too deeply", None),
    ],
)
def test_what_is_no_book_is_told_with_the_file_and_the_row(faults, content, told, row):
    (fault,) = faults(content)
    assert told in fault.message
    assert (fault.file, fault.row) == ("clientbook.yaml", row)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + LEAST.encode(), LEAST.replace("\n", "\r\n").encode()])
def test_windows_writes_books_too(read, content):
    assert read(content).name == "X"


def test_a_book_is_opened_by_its_folder_its_file_or_the_environment(make_book, tmp_path, monkeypatch):
    folder = make_book(LEAST)
    assert open_book(folder).folder == open_book(folder / "clientbook.yaml").folder == folder.resolve()
    monkeypatch.setenv("CLIENTBOOK_BOOK", str(folder))
    assert clientbook.open().name == open_book().name == "book"
    with pytest.raises(ClientbookError, match="has no run yet"):
        open_book().run()


def test_a_folder_without_a_book_is_told(tmp_path):
    for path, told in ((tmp_path, "no clientbook.yaml"), (tmp_path / "gone", "no such folder")):
        with pytest.raises(FaultError, match=told):
            open_book(path)


def test_the_default_book_is_made_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIENTBOOK_BOOK", raising=False)
    monkeypatch.setattr("clientbook.demo.make", partial(demo.make, people=200))
    book = open_book()
    assert book.folder == (tmp_path / "data" / "demo").resolve()
    file = book.folder / "clientbook.yaml"
    file.write_text(LEAST)
    assert open_book().settings.name == "X"


@pytest.mark.parametrize("name", ["cdnow", "online_retail"])
def test_the_books_that_come_along_are_sound(name):
    from conftest import ROOT

    assert open_book(ROOT / "data" / name).settings.sources["shop"].tables["orders"]
