"""Is the draft of a folder that nobody described right, and does it say where it is not sure?"""

from __future__ import annotations

import csv
import io
import random
import shutil

import pytest
import yaml
from conftest import shared_data

from clientbook import cleaning, cli, drafting
from clientbook import engine as engines
from clientbook.book import open_book
from clientbook.drafting import words
from clientbook.faults import FaultError, UsageError
from clientbook.tables import CANONICAL


def wanted(folder) -> dict[tuple[str, str, str], set[str]]:
    """Of each file and column of a described book, what it is: by source, path and column, canonical names."""
    told: dict = {}
    book = open_book(folder)
    with engines.open(scratch=folder / "store" / "scratch") as engine:
        for item in cleaning.load(book, engine):
            for name in item.raw.table.columns:
                if not name.startswith("_"):
                    known = {c for c, d in item.mapping.items() if d == name and c in CANONICAL[item.table.name].names}
                    told[item.source, item.delivery.path, name] = {f"{item.table.name}.{c}" for c in known}
    return told


def score(expected, placed) -> tuple[float, list]:
    """The share of columns that are right, and those that are wrong without a word to check them."""
    right, silent = 0, []
    found = {(one.source, one.path): one for one in placed}
    for (source, path, name), names in expected.items():
        one = found.get((source, path))
        mapped = {c for c, d in one.mapping.items() if d == name} if one else set()
        if {f"{one.table}.{c}" for c in mapped} == names if one else not names:
            right += 1
        elif mapped and not any(c in one.checks for c in mapped) and not one.notes:
            silent.append((path, name, mapped, names))
    return right / len(expected), silent


@pytest.mark.slow
def test_the_seven_sources_of_the_made_company_are_placed_and_the_draft_runs(tmp_path):
    from clientbook import demo

    made, bare = tmp_path / "made", tmp_path / "bare"
    demo.make(made, people=500, seed=90210)
    shutil.copytree(made, bare, ignore=shutil.ignore_patterns("truth", "clientbook.yaml", "store"))
    target, placed = drafting.init(bare)
    share, silent = score(wanted(made), placed)
    assert share >= 0.9 and silent == []
    book = open_book(target.parent)
    with engines.open(scratch=tmp_path / "scratch") as engine:
        loaded = cleaning.load(book, engine)
        cleaned = cleaning.clean(book, engine, cleaning.default_as_of(loaded, open_book(made).settings.as_of, "UTC"), loaded)
    kept = sum(row["kept"] + row["returns"] + row["merged"] for row in cleaned.rows)
    assert kept > 0.95 * sum(row["rows_in"] for row in cleaned.rows)
    assert book.settings.sources["erp"].tables["orders"][0].ids == {"person_id": "crm"}
    assert {d.path.rpartition("_")[2]: d.ids for d in book.settings.sources["erp"].tables["deliveries"]} == {
        "erp.parquet": {}, "pos.parquet": {"order_id": "pos"}, "shop.parquet": {"order_id": "shop"}
    }  # fmt: skip
    assert not (bare / "store").exists()


@pytest.mark.slow
def test_online_retail_is_placed_as_its_book_says(tmp_path):
    (tmp_path / "online_retail_II.parquet").symlink_to(shared_data("online_retail_II.parquet"))
    text, (placed,) = drafting.draft(tmp_path)
    assert placed.table == "orders" and placed.mapping == {
        "person_id": "Customer ID", "ordered_at": "InvoiceDate", "order_id": "Invoice", "product_id": "StockCode",
        "quantity": "Quantity", "unit_price": "Price",
    }  # fmt: skip
    assert "cancelled: order_id starts with C" in text


def as_csv(header, records):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header, *records])
    return out.getvalue()


@pytest.fixture
def shop(tmp_path):
    """A French shop and the export of a till, in words that no other book here uses."""
    rng = random.Random(3)
    people = sorted({f"C{rng.randrange(10**6):06d}" for _ in range(120)})
    orders = [f"CMD-{n}" for n in range(1000, 1200)]
    files = {
        "boutique/clients.csv": (
            ["N° client", "Prénom", "Nom", "Courriel", "Téléphone", "Adresse", "Code postal", "Ville"],
            [(p, "Léa", "Petit", f"{p.lower()}@free.fr", f"+33 6 12 34 {n:02d} 56", f"{n} rue du Lac", "75001", "Paris") for n, p in enumerate(people[:90], 1)],
        ),
        "boutique/commandes.csv": (
            ["Numéro commande", "N° client", "Date commande", "Référence", "Quantité", "Prix unitaire", "Montant", "Devise"],
            [(o, rng.choice(people[:90]), f"{1 + n % 28:02d}/03/2023", f"REF{n % 40}", 1, "12,50", "12,50", "EUR") for n, o in enumerate(orders)],
        ),
        "pos/SalesExport.csv": (
            ["TransactionID", "Timestamp", "Bearer", "SKU", "Qty", "Net", "Cashier"],
            [(f"T{n}", f"2023-05-11 10:{n % 60:02d}", rng.choice(people[:90]), f"REF{n % 40}", 1, "5.5", "A") for n in range(120)],
        ),
        "pos/late.csv": (["order no", "delivered"], [(rng.choice(orders), f"0{1 + n % 9}/0{1 + (n * 5) % 9}/2023") for n in range(60)]),
        "pos/mystery.csv": (["a", "b"], [(n, n / 7) for n in range(50)]),
    }  # fmt: skip
    for path, (header, records) in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(as_csv(header, records), encoding="utf-8")
    return tmp_path


def test_what_is_not_sure_is_a_comment_and_never_a_guess(shop):
    text, placed = drafting.draft(shop)
    by_path = {one.path: one for one in placed}
    assert (
        by_path["boutique/clients.csv"].mapping["family_name"] == "Nom"
        and by_path["boutique/clients.csv"].mapping["email"] == "Courriel"
    )
    sales = by_path["pos/SalesExport.csv"]
    assert sales.table == "orders" and sales.mapping["person_id"] == "Bearer" and sales.ids == {"person_id": "boutique"}
    assert sales.checks["person_id"] == "told by its values alone"
    assert "person_id: Bearer  # check: told by its values alone" in text
    assert "# not placed: Net, Cashier" in text and "# pos: pos/mystery.csv: no table fits." in text
    assert "# delivered_at: delivered: as many values read as %d/%m/%Y as do as %m/%d/%Y" in text
    settings = yaml.safe_load(text)
    assert settings["currency"] == "EUR" and settings["sources"]["boutique"]["orders"]["decimal"] == ","


def test_the_draft_is_read_and_a_book_that_is_there_is_never_touched(shop, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["clientbook", "init", str(shop)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and "pos/mystery.csv: not placed" in capsys.readouterr().out
    before = (shop / "clientbook.yaml").read_bytes()
    assert open_book(shop).settings.name == shop.name
    with pytest.raises(UsageError, match="left as it is"):
        drafting.init(shop)
    assert (shop / "clientbook.yaml").read_bytes() == before


def test_answers_about_records_are_no_table(tmp_path):
    (tmp_path / "labels.csv").write_text("source_a,person_id_a,source_b,person_id_b,answer\ncrm,1,shop,2,yes\n")
    with pytest.raises(FaultError, match="holds no file"):
        drafting.draft(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "labels.csv").rename(tmp_path / "shop" / "labels.csv")
    assert "shop/labels.csv" in drafting.draft(tmp_path)[0]


def test_a_folder_without_anything_is_a_fault_and_one_without_a_table_a_comment(tmp_path):
    with pytest.raises(FaultError, match="holds no file"):
        drafting.draft(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        drafting.draft(tmp_path / "nowhere")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    text, _ = drafting.draft(tmp_path)
    assert "broken.parquet could not be read" in text and "No file could be placed" in text


def test_odd_names_of_columns_and_folders_are_quoted(tmp_path):
    header = ["Customer: ID", "e-mail #", "no", "true", 'Tag "x"\\', "first name"]
    (tmp_path / "1 Ä: b").mkdir()
    (tmp_path / "1 Ä: b" / "customers # 1.csv").write_text(
        as_csv(header, [(n, f"a{n}@b.de", 1, 2, 3, "Ann") for n in range(30)]), encoding="utf-8"
    )
    target, _ = drafting.init(tmp_path)
    (source,) = open_book(target.parent).settings.sources.values()
    assert source.tables["people"][0].columns["person_id"] == "Customer: ID"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("KundenNr", "kunden nr"),
        ("kunden_nr.", "kunden nr"),
        ("E-Mail", "e mail"),
        ("geändert am", "geaendert am"),
        ("CustomerID", "customer id"),
        ("Prénom", "prenom"),
        ("GEBDAT", "gebdat"),
    ],
)
def test_headers_are_folded(name, wanted):
    assert words.fold(name) == wanted


def drafted(folder, **files) -> dict:
    """What the draft of such files says, by source."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    text, _ = drafting.draft(folder)
    return yaml.safe_load(text)["sources"]


def lines(header, records) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header.split(","), *records])
    return out.getvalue()


def test_the_orders_of_a_shop_with_a_line_a_row_are_orders_and_their_sums_are_left_out(tmp_path):
    people = [(f"'61{i}", f"Ann{i}", "Barlow", f"ann{i}@mailhaus.net", 0, "vip") for i in range(40)]
    orders = []
    for i in range(60):
        orders.append((f"#{1001 + i}", f"ann{i % 40}@mailhaus.net", "paid", "USD", "30.50", f"2024-02-{i % 28 + 1:02d} 10:00:00 -0500",
                       "2", "Blue mug", "10.25", "MG-1", 5000 + 13 * i, "Ann Barlow", "1 Oak St", "+12025550101"))  # fmt: skip
        orders.append((f"#{1001 + i}", "", "", "", "", "", "1", "Lamp", "10.00", "MG-2", "", "", "", ""))
    header = ("Name,Email,Financial Status,Currency,Total,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Id,"
              "Billing Name,Billing Street,Phone")  # fmt: skip
    activity = [("News", f"ann{i % 40}@mailhaus.net", "open", f"02/{i % 28 + 1:02d}/2024 10:00 AM") for i in range(90)]
    told = drafted(tmp_path, **{
        "shop/customers_export.csv": lines("Customer ID,First Name,Last Name,Email,Total Orders,Tags", people),
        "shop/orders_export.csv": lines(header, orders),
        "mail/audience.csv": lines("Email Address,First Name,MEMBER_RATING,UNSUB_CAMPAIGN_TITLE",
                                   [(f"Ann{i}@mailhaus.net", "Ann", i % 5 + 1, "News") for i in range(40)]),
        "mail/campaign_activity.csv": lines("Campaign Title,Email Address,Action,Timestamp", activity),
    })  # fmt: skip
    assert told["shop"]["orders"]["columns"] == {
        "person_id": "Email", "ordered_at": "Created at", "order_id": "Name", "product_id": "Lineitem sku",
        "quantity": "Lineitem quantity", "unit_price": "Lineitem price", "currency": "Currency", "status": "Financial Status",
    }  # fmt: skip
    # the orders name people by their address, so the people are named by it
    assert told["shop"]["people"]["columns"]["person_id"] == "Email"
    assert told["mail"]["people"]["columns"] == {
        "person_id": "Email Address", "given_name": "First Name", "email": "Email Address"}  # fmt: skip
    assert told["mail"]["events"]["columns"] == {
        "person_id": "Email Address", "event_name": "Action", "occurred_at": "Timestamp"}  # fmt: skip
    assert "ids" not in told["mail"]["events"], "its own people carry these addresses"


def test_the_sheets_of_a_workbook_are_tables_of_their_own_and_stages_say_who_won(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    contacts, deals = book.active, book.create_sheet("Deals")
    contacts.title = "Kontakte"
    contacts.append(["Kontakt-ID", "Vorname", "Nachname", "E-Mail", "Firma-ID"])
    deals.append(["Deal-ID", "Ansprechpartner", "Phase", "Wert (EUR)", "Angelegt", "Abgeschlossen am"])
    for i in range(30):
        contacts.append([f"CON-{i}", "Uwe", "Höfer", f"u{i}@mailhaus.net", f"ACC-{i % 7}"])
        deals.append([f"D-{i}", f"CON-{i}", ["Gewonnen", "Verloren", "Angebot"][i % 3], 1000 + i, "2024-01-05", None])
    (tmp_path / "crm").mkdir()
    book.save(tmp_path / "crm" / "crm.xlsx")
    told = drafted(tmp_path)["crm"]
    assert told["people"]["sheet"] == "Kontakte" and told["people"]["columns"]["account_id"] == "Firma-ID"
    assert told["opportunities"]["sheet"] == "Deals"
    mapped = told["opportunities"]["columns"]
    assert (mapped["person_id"], mapped["amount"], mapped["is_won"]) == ("Ansprechpartner", "Wert (EUR)", "Phase")
    assert told["opportunities"]["values"]["is_won"] == {"Gewonnen": "true", "Verloren": "false", "Angebot": None}


def test_people_who_stand_in_tickets_and_consents_alone_are_people_too(tmp_path):
    import json

    tickets = [{"id": i, "subject": "Rechnung", "requester": {"id": 880 + 17 * (i % 40), "name": "Uwe Höfer", "email": f"u{i % 40}@mailhaus.net"},
                "created_at": "2024-02-01T10:00:00Z"} for i in range(80)]  # fmt: skip
    told = drafted(tmp_path, **{
        "service/tickets.jsonl": "\n".join(map(json.dumps, tickets)),
        "consent/einwilligungen.csv": lines("E-Mail,Zweck,Einwilligung,Datum", [(f"u{i}@mailhaus.net", "Newsletter", "ja", f"{i % 28 + 1}.5.2024")
                                                                                 for i in range(40)]),
    })  # fmt: skip
    assert told["service"]["people"]["columns"] == {
        "person_id": "requester.id", "full_name": "requester.name", "email": "requester.email"}  # fmt: skip
    assert told["service"]["cases"]["columns"]["person_id"] == "requester.id"
    assert told["consent"]["people"]["columns"] == {"person_id": "E-Mail", "email": "E-Mail"}
    assert told["consent"]["consents"]["values"]["status"] == {"ja": "given"}


def test_chinese_headers_and_times_counted_from_1970_are_known(tmp_path):
    import json

    members = "会员编号,姓名,手机号,生日,积分\n" + "".join(f"VIP{i},王芳,+86 138 0000 {i:04d},1990/01/02,{i}\n" for i in range(40))
    events = [{"event": "view", "ts": 1_717_200_000_000 + i, "user": {"member_id": f"VIP{i % 40}"}} for i in range(60)]
    told = drafted(tmp_path, **{"crm/会员.csv": members, "app/events.jsonl": "\n".join(map(json.dumps, events))})
    assert told["crm"]["people"]["columns"] == {
        "person_id": "会员编号", "full_name": "姓名", "phone": "手机号", "birth_date": "生日"}  # fmt: skip
    assert told["app"]["events"]["columns"] == {"person_id": "user.member_id", "event_name": "event", "occurred_at": "ts"}
    assert told["app"]["events"]["ids"] == {"person_id": "crm"}
