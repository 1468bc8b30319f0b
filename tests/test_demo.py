"""Is the made company what its documentation says, and is its truth true?"""

import ast
import datetime
import hashlib
import multiprocessing
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from clientbook import demo

BERLIN = ZoneInfo("Europe/Berlin")
REASONS = [
    "no_consent",
    "open_complaint",
    "after_close",
    "over_cap",
    "over_preference",
    "duplicate",
    "wrong_topic",
    "wrong_stage",
]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "book"
    demo.make(folder, people=6000, seed=7)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "small"
    demo.make(folder, people=500, seed=3)
    return folder


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "default"
    demo.make(folder)
    return folder


def truth(book, table):
    return pd.read_parquet(book / "truth" / f"{table}.parquet")


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def near(count, tries, asked, sigmas=4.5):
    """Is a count what a rate makes of so many tries, but for chance?"""
    return abs(count - tries * asked) <= sigmas * np.sqrt(max(tries * asked * (1 - asked), 1)) + 1


def test_one_seed_repeats_and_two_differ(small, tmp_path):
    demo.make(tmp_path / "again", people=500, seed=3)
    demo.make(tmp_path / "other", people=500, seed=4)
    assert hashes(small) == hashes(tmp_path / "again")
    same, other = hashes(small), hashes(tmp_path / "other")
    differing = {name for name in same if same[name] != other.get(name)}
    assert {"crm/kontakte.parquet", "truth/messages.parquet", "pos/bons.csv", "erp/artikel.xlsx"} <= differing


def test_imports_nothing_of_the_rest():
    for path in Path(demo.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, path
                names = [node.module or ""] if node.level == 0 else []
            assert not any(name.split(".")[0] == "clientbook" for name in names), path


def test_files_and_dictionary_agree(book):
    described = defaultdict(list)
    for table, column, kind, _, meaning in demo.dictionary():
        assert meaning
        described[table].append((column, kind))
    files = {path.stem: path for path in (book / "truth").glob("*.parquet")}
    assert set(files) == set(described)
    kinds = {
        "large_string": "text",
        "string": "text",
        "bool": "bool",
        "double": "number",
        "date32[day]": "date",
        "timestamp[us, tz=UTC]": "timestamp",
    }
    for table, path in files.items():
        found = [
            (
                field.name,
                kinds.get(
                    str(field.type),
                    "text" if "dictionary" in str(field.type) else "integer" if "int" in str(field.type) else str(field.type),
                ),
            )
            for field in pq.read_schema(path)
        ]
        assert found == described[table], table
    page = (book / "truth" / "DATA_DICTIONARY.md").read_text(encoding="utf-8")
    assert all(f"## {table}.parquet" in page for table in described)


def test_every_path_and_column_of_the_yaml_is_there(book):
    description = yaml.safe_load((book / "clientbook.yaml").read_text(encoding="utf-8"))
    assert set(description["sources"]) == {"crm", "shop", "pos", "web", "callcentre", "newsletter", "erp"}
    for source in description["sources"].values():
        for name, tables in source.items():
            for table in tables if isinstance(tables, list) else [tables] if isinstance(tables, dict) else []:
                found = list(book.glob(table["path"]))
                assert found, (name, table["path"])
                assert set(table["columns"].values()) <= set(header(found[0], table)), table["path"]


def header(path, table):
    if path.suffix == ".parquet":
        return pq.read_schema(path).names
    if path.suffix == ".csv":
        return pd.read_csv(path, sep=table.get("delimiter", ","), encoding=table.get("encoding", "utf-8"), nrows=5).columns
    if path.suffix == ".xlsx":
        return pd.read_excel(path, sheet_name=table["sheet"], nrows=5).columns
    return pd.read_json(path, lines=True, nrows=5).columns


def test_refuses_a_folder_that_is_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(ValueError, match="not empty"):
        demo.make(tmp_path, people=300)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="200"):
        demo.make(tmp_path / "tiny", people=10)


def test_replaces_an_earlier_one(tmp_path):
    demo.make(tmp_path / "book", people=200, seed=1)
    before = hashes(tmp_path / "book")
    demo.make(tmp_path / "book", people=200, seed=2)
    assert hashes(tmp_path / "book") != before
    assert [path.name for path in tmp_path.iterdir()] == ["book"]


def test_a_failed_make_leaves_nothing(tmp_path):
    def stop(label, fraction):
        if fraction > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.make(tmp_path / "book", people=300, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_make_leaves_no_half_book(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=demo.make, args=(tmp_path / "book",), kwargs={"people": 20_000})
    process.start()
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "book").exists()
    demo.make(tmp_path / "book", people=200)
    assert [path.name for path in tmp_path.iterdir()] == ["book"], "what the killed one left is swept up"


def test_spoilings_are_as_often_as_asked(book):
    rates = truth(book, "rates").groupby("kind").agg(asked=("asked", "first"), able=("able", "sum"), spoiled=("spoiled", "sum"))
    asked = {name.removeprefix("spoil."): rate for name, rate in demo.rates().items() if name.startswith("spoil.")}
    assert asked == rates["asked"].to_dict()
    for kind, row in rates.iterrows():
        assert near(row["spoiled"], row["able"], row["asked"]), (kind, row.to_dict())
    assert len(truth(book, "spoiled")) == rates["spoiled"].sum()


def test_spoiled_cells_are_delivered_so(book):
    spoiled = truth(book, "spoiled")
    assert not spoiled.duplicated(["source", "table", "row_key", "column"]).any()
    crm = pd.read_parquet(book / "crm/kontakte.parquet").set_index("Kontakt_ID")
    names = {
        "given_name": "Vorname",
        "family_name": "Nachname",
        "email": "E_Mail",
        "phone": "Telefon",
        "birth_date": "Geburtstag",
        "street": "Strasse",
        "company": "Firma",
    }
    mine = spoiled[spoiled["source"] == "crm"]
    for column, part in mine.groupby("column"):
        assert (crm.loc[part["row_key"], names[column]].to_numpy() == part["delivered"].to_numpy()).all(), column
    assert (spoiled["delivered"] != spoiled["true_value"]).all()
    cured = spoiled[spoiled["cured_value"].notna()]
    assert (cured["cured_value"] == cured["true_value"]).all() and cured["curable"].all()


def test_records_are_made_at_their_rates(book):
    rates, people, humans = demo.rates(), truth(book, "people"), truth(book, "humans")
    for source in ("crm", "shop", "callcentre", "newsletter"):
        own = people[people["source"] == source]
        assert near(own["is_duplicate"].sum(), own["human_id"].nunique(), rates[f"records.{source}_duplicate"]), source
    private = people[people["source"].isin(["shop", "pos"]) & people["account_id"].str.startswith("h-")]
    assert near(private["phone_is_shared"].sum(), len(private), rates["records.shared_phone"])
    business = people[people["email_kind"].isin(["business", "role_mailbox"])]
    assert near((business["email_kind"] == "role_mailbox").sum(), len(business), rates["records.role_mailbox"])
    wide = people.merge(humans[humans["culture"].isin(["cyrillic", "arabic", "chinese"])], on="human_id")
    wide = wide[wide["source"].isin(["crm", "shop", "newsletter"])]
    assert near((wide["script"] != "latin").sum(), len(wide), rates["records.native_script"])
    homes = (
        humans[~humans["is_business"]]
        .groupby("account_id")
        .agg(
            moved=("moved_at", "max"),
            twin=("is_twin", "max"),
            namesake=("is_namesake", "max"),
            size=("human_id", "size"),
        )
    )
    assert near(homes["moved"].notna().sum(), len(homes), rates["records.moved"])
    pairs = homes[homes["size"] >= 2]
    assert near(pairs["twin"].sum(), len(pairs), rates["records.twins"])
    assert near(pairs["namesake"].sum(), len(pairs), rates["records.same_name_parent"])
    records = truth(book, "account_records")
    twice = records.groupby("account_id").size()
    assert near((twice > 1).sum(), len(twice), rates["records.account_duplicate"])
    consents = pd.read_csv(book / "newsletter/consents.csv")
    silent = people[(people["source"] == "newsletter") & ~people["person_id"].isin(consents["subscriber"])]
    assert near(len(silent), (people["source"] == "newsletter").sum(), rates["records.no_consent_record"], 6)


def test_rejects_and_doubles_are_there_and_no_others(book):
    rejects, doubles, rates = truth(book, "rejects"), truth(book, "doubles"), demo.rates()
    shop = pd.read_parquet(book / "shop/orders")
    pos = pd.read_csv(book / "pos/bons.csv", sep=";", encoding="latin-1", dtype=str)
    shop_bad = shop[pd.to_datetime(shop["placed"], errors="coerce").isna() | shop["customer_no"].isna()]
    pos_bad = pos[pd.to_datetime(pos["Zeit"], format="%d.%m.%Y %H:%M", errors="coerce").isna() | pos["KartenNr"].isna()]
    assert sorted(shop_bad["order_no"]) == sorted(rejects[rejects["source"] == "shop"]["row_key"])
    assert sorted(pos_bad["BonNr"]) == sorted(rejects[rejects["source"] == "pos"]["row_key"])
    for kind, part in rejects.groupby("kind"):
        assert near(len(part), len(shop) + len(pos), rates[f"rejects.{kind}"], 6), kind
    erp = pd.read_parquet(book / "erp/auftraege")
    for source, table in (("shop", shop), ("pos", pos), ("erp", erp)):
        again = table[table.duplicated()]
        mine = doubles[doubles["source"] == source]
        assert sorted(zip(again.iloc[:, 0], again.iloc[:, 3], strict=False)) == sorted(
            zip(mine["row_key"], mine["product_id"], strict=False)
        ), source
    assert near(len(doubles), len(shop) + len(pos) + len(erp), rates["rejects.orders_delivered_twice"])


def test_every_person_has_one_human(book):
    people = truth(book, "people")
    assert not people.duplicated(["source", "person_id"]).any()
    known = {source: set(part["person_id"]) for source, part in people.groupby("source")}
    assert set(pd.read_parquet(book / "crm/kontakte.parquet")["Kontakt_ID"]) == known["crm"]
    assert set(pd.read_csv(book / "shop/customers.csv", dtype=str)["customer_no"]) == known["shop"]
    assert set(pd.read_parquet(book / "shop/orders")["customer_no"].dropna()) <= known["shop"]
    assert set(pd.read_parquet(book / "erp/auftraege")["KONTAKT"]) <= known["crm"]
    assert set(pd.read_parquet(book / "newsletter/sendings")["subscriber"]) <= known["newsletter"]
    cookies = set(pd.read_parquet(book / "web/events", columns=["cookie"])["cookie"])
    assert len(cookies - known["web"]) == 1, "only the crawler is nobody"
    linked = pd.read_parquet(book / "web/logins.parquet")
    for row in linked.groupby("known_in"):
        assert set(row[1]["known_as"]) <= known[row[0]]
    humans = people.set_index(["source", "person_id"])["human_id"]
    cookie = humans.loc[list(zip(["web"] * len(linked), linked["cookie"], strict=False))].to_numpy()
    other = humans.loc[list(zip(linked["known_in"], linked["known_as"], strict=False))].to_numpy()
    assert (cookie == other).all()


def test_latin_1_files_hold_names_and_no_question_marks(book):
    text = (book / "pos/karten.csv").read_bytes().decode("latin-1")
    assert "ü" in text and sum(line.count("?") for line in text.splitlines()) == 0


def test_money_of_the_files_is_the_truth(book):
    """Past margin from the delivered rows, customer by customer, by plain arithmetic."""
    people = truth(book, "people").set_index(["source", "person_id"])["human_id"]
    rejects = set(truth(book, "rejects")["row_key"])
    cost = pd.read_excel(book / "erp/artikel.xlsx").set_index("ARTNR")["EK_PREIS"]
    shop = pd.read_parquet(book / "shop/orders").drop_duplicates()
    shop = shop[~shop["order_no"].isin(rejects)]
    margin = defaultdict(float)
    owner = {}
    for order, who, article, pieces, total in zip(
        shop["order_no"], shop["customer_no"], shop["article"], shop["pieces"], shop["total"], strict=False
    ):
        owner[order] = people["shop", who]
        margin[owner[order]] += total - pieces * cost[article]
    back = pd.read_csv(book / "shop/returns.csv")
    for order, article, pieces, refund in zip(back["order_no"], back["article"], back["pieces"], back["refund"], strict=False):
        margin[owner[order]] -= refund - pieces * cost[article]
    pos = pd.read_csv(
        book / "pos/bons.csv", sep=";", encoding="latin-1", decimal=",", dtype={"KartenNr": str, "BonNr": str}
    ).drop_duplicates()
    pos = pos[~pos["BonNr"].isin(rejects)]
    for who, article, pieces, total in zip(pos["KartenNr"], pos["Artikel"], pos["Menge"], pos["Betrag"], strict=False):
        margin[people["pos", who]] += total - pieces * cost[article]
    erp = pd.read_parquet(book / "erp/auftraege").drop_duplicates()
    for who, article, pieces, total in zip(erp["KONTAKT"], erp["ARTNR"], erp["MENGE"], erp["WERT"], strict=False):
        margin[people["crm", who]] += total - pieces * cost[article]
    buyer = dict(zip(erp["AUFTRAG"], erp["KONTAKT"], strict=True))
    back = pd.read_parquet(book / "erp/gutschriften.parquet")
    for order, article, pieces, refund in zip(back["AUFTRAG"], back["ARTNR"], back["MENGE"], back["GUTSCHRIFT"], strict=True):
        margin[people["crm", buyer[order]]] -= refund - pieces * cost[article]
    value = truth(book, "value").set_index("human_id")["past_margin"]
    # what comes back after `as_of` only the truth knows
    found = pd.Series(margin).reindex(value.index).fillna(0)
    assert abs(found.sum() / value.sum() - 1) < 0.03
    assert ((found - value).abs() < 0.02).mean() > 0.97


def test_true_parameters_foresee_the_future(book):
    value = truth(book, "value")
    assert 0.8 < value["expected_orders"].sum() / value["future_orders"].sum() < 1.25
    assert 0.8 < value["expected_orders_from_history"].sum() / value["future_orders"].sum() < 1.25
    begun = value[value["first_order_at"] < pd.Timestamp(demo.AS_OF, tz="UTC")]
    assert abs(begun["p_alive"].mean() - begun["is_alive"].mean()) < 0.03
    by_tenth = begun.groupby(pd.qcut(begun["p_alive"], 5))[["p_alive", "is_alive"]].mean()
    assert (by_tenth["p_alive"] - by_tenth["is_alive"]).abs().max() < 0.08
    rank = value[["future_margin", "expected_margin", "expected_margin_from_history"]].rank().corr()["future_margin"]
    assert rank["expected_margin"] > rank["expected_margin_from_history"] > 0.4


def test_stages_walk_the_stated_chain(book):
    stages = truth(book, "stages").sort_values(["subject_id", "topic", "valid_from"])
    later = stages.groupby(["subject_id", "topic"], sort=False, observed=True)["valid_from"].shift(-1)
    assert (later.isna() | (later >= stages["valid_to"])).all(), "one journey at a time"
    walks = truth(book, "journeys")
    decided = walks[walks["decides_at"].notna()]
    sample = decided["sample_at"].notna()
    table = pd.crosstab(sample, decided["is_won"]).to_numpy() + 0.5
    found = np.log(table[1, 1] * table[0, 0] / table[0, 1] / table[1, 0])
    error = np.sqrt((1 / table).sum())
    stated = truth(book, "effects").set_index("effect").loc["sample_sent", "log_odds"]
    assert abs(found - stated) < 4 * error
    lost = walks[~walks["is_won"]]["journey_id"]
    path = stages[stages["journey_id"].isin(lost)]
    step = path.assign(following=path.groupby("journey_id")["stage"].shift(-1)).dropna(subset=["following"])
    assert set(step["stage"]) == {"need", "research", "decide"}
    back = step[(step["stage"] == "decide") & (step["following"] != "decide")]
    assert len(back) > 100, "they go back too"


def test_the_experiment_has_its_effect(book):
    arms = truth(book, "experiments")
    treated = arms[arms["arm"] == "treated"]
    assert near(len(treated), len(arms), 0.5)
    assert near(treated["is_extra_order"].sum(), len(treated), treated["uplift"].mean())
    assert not arms[arms["arm"] == "control"]["is_extra_order"].any()
    listed = pd.read_csv(book / "newsletter/testgruppen.csv")
    assert dict(zip(listed["subscriber"], listed["gruppe"].str.removeprefix("mailing_test_"), strict=False)) == dict(
        zip(arms["person_id"], arms["arm"], strict=False)
    )


@pytest.mark.parametrize("which", ["book", "small", "default"])
def test_the_planted_company(request, which):
    folder = request.getfixturevalue(which)
    planted = truth(folder, "planted")
    account = planted.loc[planted["what"] == "thirty_irrelevant_emails", "account_id"].item()
    sent = pd.read_parquet(folder / "newsletter/sendings")
    judged = truth(folder, "messages").merge(sent, on="message_id")
    end = pd.Timestamp(demo.AS_OF)
    mine = judged[(judged["account_id"] == account) & (judged["sent"] >= end - pd.Timedelta(days=30)) & ~judged["transactional"]]
    assert len(mine) == 30 and mine["human_id"].nunique() == 2
    assert mine["open_ts"].isna().all() and (mine["medium"] == "email").all()
    assert not mine["no_consent"].any()
    assert mine["wrong_topic"].all() or mine["stage_at_send"].isna().all()
    assert (truth(folder, "humans")["account_id"] == account).sum() == 2


def test_verdicts_come_about_as_often_as_documented(book):
    share = truth(book, "messages")["verdict"].value_counts(normalize=True)
    asked = {name.removeprefix("verdicts."): rate for name, rate in demo.rates().items() if name.startswith("verdicts.")}
    assert set(share.index) == set(asked) == {*REASONS, "right", "operational"}
    assert sum(asked.values()) == pytest.approx(1, abs=0.01)
    for name, rate in asked.items():
        assert abs(share[name] / rate - 1) < (0.8 if rate < 0.005 else 0.35), (name, share[name], rate)


def plain_verdicts(folder):
    """DESIGN.md's definitions, read word by word, one message after the other."""

    def utc(text, layout="%Y-%m-%d %H:%M:%S"):
        if text is None or text is pd.NaT or text != text:
            return None
        local = text.to_pydatetime() if isinstance(text, pd.Timestamp) else datetime.datetime.strptime(text, layout)
        return local.replace(tzinfo=BERLIN).astimezone(datetime.UTC)

    people = truth(folder, "people").set_index(["source", "person_id"])
    human, account = people["human_id"].to_dict(), people["account_id"].to_dict()
    account_of_crm = truth(folder, "account_records").set_index("source_account_id")["account_id"].to_dict()
    labels = yaml.safe_load((folder / "clientbook.yaml").read_text(encoding="utf-8"))["sources"]
    news, crm, calls = labels["newsletter"], labels["crm"], labels["callcentre"]
    content = pd.read_excel(folder / "newsletter/content.xlsx").set_index("Nr")
    topic_of = content["Thema"].map(news["content"]["values"]["topic"]).dropna().to_dict()
    stage_of = content["Phase"].map(news["content"]["values"]["stage"]).dropna().to_dict()
    said = defaultdict(list)
    table = pd.read_csv(folder / "newsletter/consents.csv")
    for row in table.itertuples():
        status = news["consents"]["values"]["status"][row.stand]
        said[human["newsletter", row.subscriber]].append(
            (utc(row.am), row.zweck, row.kanal if isinstance(row.kanal, str) else None, status, utc(row.gueltig_bis))
        )
    wishes = defaultdict(list)
    for row in pd.read_json(folder / "newsletter/preferences.jsonl", lines=True, dtype=False).itertuples():
        wishes[human["newsletter", row.subscriber]].append((utc(row.saved), row.medium, row.topic, row.max_mails, row.per_days))
    complaints = defaultdict(list)
    for row in pd.read_csv(folder / "callcentre/tickets.csv", sep=";", encoding="latin-1").itertuples():
        if "complaint" in calls["cases"]["values"]["reason"][row.Grund]:
            layout = "%d.%m.%Y %H:%M:%S"
            complaints[human["callcentre", row.AnruferNr]].append((utc(row.eroeffnet, layout), utc(row.geschlossen, layout)))
    deals = defaultdict(list)
    for row in pd.read_csv(folder / "crm/chancen.csv", sep=";", encoding="latin-1").itertuples():
        own = account_of_crm[row.Konto_Nr] if isinstance(row.Konto_Nr, str) else account["crm", row.Kontakt_ID]
        layout = "%d.%m.%Y %H:%M"
        deals[own].append(
            (
                crm["opportunities"]["values"]["topic"][row.Thema],
                utc(row.eroeffnet, layout),
                utc(row.abgeschlossen, layout),
            )
        )
    stages = defaultdict(list)
    for row in truth(folder, "stages").itertuples():
        stages[row.subject_id, row.topic].append((row.valid_from, row.valid_to, row.stage))
    order = ["need", "research", "decide", "adopt", "use", "recommend"]
    month = datetime.timedelta(days=30)
    sent_to_account, sent_to_human = defaultdict(list), defaultdict(list)
    result = {}
    for row in pd.read_parquet(folder / "newsletter/sendings").itertuples():
        t, who, own = utc(row.sent), human["newsletter", row.subscriber], account["newsletter", row.subscriber]
        if row.transactional:
            result[row.message_id] = dict.fromkeys(REASONS, False) | {"verdict": "operational"}
            continue
        piece = row.asset if isinstance(row.asset, str) else None
        topic = row.topic if isinstance(row.topic, str) else topic_of.get(piece)
        stage = stage_of.get(piece)
        sent_to_account[own].append((t, piece))
        sent_to_human[who].append(t)
        why = {}
        heard = [s for s in said[who] if s[0] <= t and s[1] == row.purpose and s[2] in (None, row.medium)]
        last = [s for s in heard if s[0] == max(x[0] for x in heard)]
        why["no_consent"] = not last or any(s[3] != "given" or (s[4] is not None and s[4] <= t) for s in last)
        why["open_complaint"] = any(a <= t and (b is None or b > t) for a, b in complaints[who])
        on_topic = [d for d in deals[own] if d[0] == topic]
        is_open = [d for d in deals[own] if d[1] <= t and (d[2] is None or d[2] > t)]
        closed = any(d[2] is not None and d[2] <= t for d in on_topic)
        why["after_close"] = topic is not None and stage in order[:3] and closed and not any(d in is_open for d in on_topic)
        why["over_cap"] = sum(t - month < at for at, _ in sent_to_account[own]) > 8
        wrong = False
        for place, value in ((1, row.medium), (2, topic)):
            stated = [w for w in wishes[who] if w[0] <= t and isinstance(w[place], str)]
            newest = {w[place] for w in stated if w[0] == max(x[0] for x in stated)}
            wrong |= bool(newest) and value is not None and value not in newest
        stated = [w for w in wishes[who] if w[0] <= t and w[3] == w[3] and w[3] is not None]
        for w in [w for w in stated if w[0] == max(x[0] for x in stated)]:
            wrong |= sum(t - datetime.timedelta(days=w[4]) < at for at in sent_to_human[who]) > w[3]
        why["over_preference"] = wrong
        why["duplicate"] = piece is not None and sum(t - month < at and what == piece for at, what in sent_to_account[own]) > 1
        why["wrong_topic"] = topic is not None and bool(is_open) and not any(d[0] == topic for d in is_open)
        now = [s for a, b, s in stages[own, topic] if a <= t < b]
        why["wrong_stage"] = bool(now) and stage is not None and order.index(stage) - order.index(now[0]) not in (0, 1)
        result[row.message_id] = why | {"verdict": next((name for name in REASONS if why[name]), "right")}
    return pd.DataFrame.from_dict(result, orient="index")


def test_verdicts_equal_a_plain_reading(small):
    judged = truth(small, "messages").set_index("message_id")
    plain = plain_verdicts(small).loc[judged.index]
    for name in REASONS:
        assert judged[name].any(), name
        differing = judged.index[judged[name] != plain[name].astype(bool)]
        assert not len(differing), (name, list(differing[:5]))
    assert (judged["verdict"].astype(str) == plain["verdict"]).all()


def test_answers_rank_as_the_truth_does(book):
    people, content = truth(book, "responsiveness").head(300), truth(book, "content")
    piece = content["content_id"].iloc[5]
    best = demo.answer(book, people["human_id"], piece, "email", people["best_weekday"], people["best_hour"])
    worst = demo.answer(
        book, people["human_id"], piece, "email", (people["best_weekday"] + 3) % 7, (people["best_hour"] + 12) % 24
    )
    assert (best["p_open"] > worst["p_open"]).all() and len(best) == 300
    tired = demo.answer(book, people["human_id"], piece, "email", people["best_weekday"], people["best_hour"], recent=30)
    assert (tired["p_open"] < best["p_open"]).all() and (tired["p_unsubscribe"] > best["p_unsubscribe"]).all()
    stage = content["stage"].iloc[5]
    fits = demo.answer(book, people["human_id"], piece, "email", 1, 10, stage=stage)
    assert (
        (fits["stage"] == stage).all()
        and (fits["p_order"] <= fits["p_click"]).all()
        and (fits["p_click"] <= fits["p_open"]).all()
    )
    with pytest.raises(KeyError, match="nobody"):
        demo.answer(book, "nobody", piece, "email", 1, 10)


def test_answers_are_what_history_was_made_with(book):
    """Clicks predicted by `answer` at the time of sending, against those that came."""
    judged = truth(book, "messages").merge(pd.read_parquet(book / "newsletter/sendings"), on="message_id")
    some = judged[
        (judged["medium"] == "email") & judged["asset"].notna() & ~judged["transactional"] & (judged["verdict"] != "operational")
    ].sample(8000, random_state=1)
    told = demo.answer(
        book,
        some["human_id"],
        some["asset"].astype(str),
        "email",
        some["sent"].dt.day_of_week,
        some["sent"].dt.hour + some["sent"].dt.minute / 60,
        at=some["sent_at"],
    )
    assert abs(told["p_click"].mean() - some["click_ts"].notna().mean()) < 0.012
    high = told["p_click"].to_numpy() > told["p_click"].median()
    assert some["click_ts"].notna()[high].mean() > 1.5 * some["click_ts"].notna()[~high].mean()


def test_messages_bring_the_orders_that_the_truth_states(book):
    """Orders that name a piece, against the sum of the chances at the times of sending, by stage and channel."""
    sent = truth(book, "messages").merge(pd.read_parquet(book / "newsletter/sendings"), on="message_id")
    sent = sent[sent["asset"].notna() & ~sent["transactional"]].sort_values("sent_at", ignore_index=True)
    at = sent["sent_at"].dt.tz_localize(None).to_numpy("datetime64[s]")
    recent = np.zeros(len(sent))
    for rows in sent.groupby("account_id").indices.values():
        recent[rows] = np.arange(len(rows)) + 1 - np.searchsorted(at[rows], at[rows] - np.timedelta64(30, "D"), side="right")
    clock = sent["sent"].dt.hour + sent["sent"].dt.minute / 60
    pieces, media = sent["asset"].astype(str), sent["medium"].astype(str)
    told = demo.answer(
        book, sent["human_id"], pieces, media, sent["sent"].dt.day_of_week, clock, at=sent["sent_at"], recent=recent
    )
    shop = pd.read_parquet(book / "shop/orders")
    named = shop[shop["coupon_campaign"].notna()].drop_duplicates("order_no")
    expected = told["p_order"].sum()
    assert abs(len(named) - expected) < 4.5 * np.sqrt(expected)
    people = truth(book, "people")
    whose = people[people["source"] == "shop"].set_index("person_id")["human_id"]
    sent["stage"], sent["p"] = told["stage"].astype(str), told["p_order"]
    both = named.assign(human_id=named["customer_no"].map(whose), placed=pd.to_datetime(named["placed"], errors="coerce"))
    both = both.merge(sent, left_on=["human_id", "coupon_campaign"], right_on=["human_id", "asset"])
    both = both[both["sent"] < both["placed"]].sort_values("sent").drop_duplicates("order_no", keep="last")
    assert len(both) > 0.95 * len(named[~pd.to_datetime(named["placed"], errors="coerce").isna()])
    assert (both["p"] > 0).all(), "of customers alone"
    early = ~both["stage"].isin(["adopt", "use", "recommend"])
    of_early = sent.loc[~sent["stage"].isin(["adopt", "use", "recommend"]), "p"].sum()
    assert abs(early.sum() - of_early) < 4.5 * np.sqrt(of_early) and early.any()


def test_events_know_their_time_and_order(book):
    with duckdb.connect() as connection:
        first, last, night = connection.execute(
            f"SELECT min(ts), max(ts), avg((hour(ts) < 4)::INT) FROM read_parquet('{book}/web/events/*.parquet')"
        ).fetchone()
    assert last < datetime.datetime.combine(demo.AS_OF, datetime.time()) and first > datetime.datetime(2023, 6, 29)
    assert night < 0.08


def test_command_makes_a_company_and_refuses_what_it_must(tmp_path, capsys, monkeypatch):
    from clientbook import cli

    def call(*words):
        monkeypatch.setattr("sys.argv", ["clientbook", "demo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    assert call(tmp_path / "made", "--people", 200, "--seed", 3, "--as-of", "2025-01-01") == 0
    assert (tmp_path / "made" / "clientbook.yaml").is_file()
    assert "as_of: 2025-01-01" in (tmp_path / "made" / "clientbook.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert call(tmp_path / "mine", "--people", 200) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert call(tmp_path / "few", "--people", 5) == 2
    assert call(tmp_path / "day", "--as-of", "tomorrow") == 2


def test_default_book_is_made_on_the_spot(tmp_path, monkeypatch):
    from clientbook import book

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(book.BOOK_VARIABLE, raising=False)
    monkeypatch.setattr(book, "make_company", lambda folder, progress=None: demo.make(folder, people=200))
    assert book.open_book().name == "demo"
    assert (tmp_path / "data" / "demo" / "truth").is_dir()


def test_likeness_puts_the_made_company_beside_real_ones(tmp_path):
    from clientbook.demo import likeness

    demo.make(tmp_path / "made", people=400)
    found = likeness.likeness(tmp_path / "made")
    assert set(found["company"]) == {"made company", "CDNOW", "Online Retail II"}
    assert list(found["measure"].unique()) == list(likeness.MEASURES)
    assert (found.drop(columns=["measure", "company"]).diff(axis=1).iloc[:, 1:] >= 0).all().all()
    assert 0 < likeness.returned(tmp_path / "made") < 0.5
