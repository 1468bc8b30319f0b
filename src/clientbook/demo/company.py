"""How do the pieces of the made company come together, part after part?"""

from __future__ import annotations

import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from . import (
    campaigns,
    care,
    consents,
    deliveries,
    events,
    journeys,
    mapping,
    messages,
    purchases,
    records,
    sales,
    systems,
    text,
    truth,
    values,
    verdicts,
)
from .calendar import utc
from .catalogue import make_catalogue
from .dictionary import as_markdown
from .draw import stream
from .people import make_people
from .world import DAY, HISTORY_DAYS, TOPICS, YEAR
from .writing import Folder

PART = 50_000


class Company:
    """One company, drawn and written part after part.

    Parameters
    ----------
    root : Path
        Where to; exists and is empty.
    size, seed, as_of, progress
        As `make` has them.
    """

    def __init__(self, root: Path, size: int, seed: int, as_of: datetime.date, progress):
        self.files, self.size, self.seed, self.date, self.progress = Folder(root), size, seed, as_of, progress
        self.as_of = int(np.datetime64(as_of, "s").astype(np.int64))
        self.begin = self.as_of - HISTORY_DAYS * DAY
        self.shop = make_catalogue(seed)
        self.clock = purchases.Clock(self.as_of)
        self.campaigns = campaigns.make_campaigns(seed, self.shop, self.begin, self.as_of)
        self.effects: dict[str, list[float]] = {}
        self.chances: dict[tuple[str, str], list[int]] = {}
        self.wanted = np.zeros(len(self.shop.price))
        self.test_piece = int(np.flatnonzero((self.shop.piece_stage == 4) & ~self.shop.stage_untold & ~self.shop.topic_untold)[0])
        self.planted: list[tuple[str, str]] = []

    def write(self) -> None:
        """Draw and write everything."""
        first, first_account, part = 0, 0, 0
        parts = max(1, round(self.size / PART))
        sizes = np.diff(np.linspace(0, self.size, parts + 1).astype(int))
        for part, size in enumerate(sizes):
            self.progress("making people", part / parts)
            first_account += self._part(part, int(size), first, first_account)
            first += int(size)
        self.progress("finishing", 0.98)
        self._whole()
        self.files.wait()
        self.progress("done", 1.0)

    def _part(self, part: int, size: int, first: int, first_account: int) -> int:
        seed, as_of, begin, shop, files = self.seed, self.as_of, self.begin, self.shop, self.files
        account, human = make_people(seed, part, size, first, first_account, as_of)
        human.as_of = as_of
        account.words = records.company_names(account)
        human.mails = records.emails(human, account.words[2])
        human.mobiles, human.fixed = (records.phones(human, np.full(size, fixed)) for fixed in (False, True))
        order, ending = purchases.make_orders(seed, part, human, self.clock, as_of)
        stage, walk = journeys.make_journeys(seed, part, account, human, order, ending, as_of)
        made = {
            source: records.make_records(seed, part, account, human, order, source, as_of)
            for source in records.SOURCES
            if source != "shop"
        }
        self._sum(ending.differences)
        known = {source: row.first >= 0 for source, row in made.items()}
        deal = care.make_deals(seed, part, account, human, walk, known["crm"], begin, as_of)
        case = care.make_cases(seed, part, human, order, stage, account, known["callcentre"], begin, as_of)
        happened = events.make_events(seed, part, account, human, stage, walk, shop, begin, as_of)
        extra, message = self._messages(part, account, human, made["newsletter"], order, ending, stage, deal, case)
        events.with_shopping(seed, part, happened, human, order, message, shop, begin, as_of)
        purchases.append(order, extra)
        # a message may bring somebody to the shop who was never there
        made["shop"] = records.make_records(seed, part, account, human, order, "shop", as_of)
        rows = {source: made[source] for source in records.SOURCES}
        self._people(part, account, human, rows)
        self._events(part, account, human, rows, happened)
        line = purchases.make_lines(seed, part, human, order, shop, as_of)
        self._orders(part, account, human, rows, order, line, ending)
        self._care(part, account, human, rows, order, stage, deal, case)
        files.parquet("truth/stages.parquet", truth.stages(account, stage, part * 10_000_000))
        files.parquet("truth/journeys.parquet", truth.journeys(account, walk, part * 10_000_000))
        self._sample(walk)
        files.finish_part(
            tuple(
                f"{folder}/part-{part:03d}.parquet"
                for folder in ("web/events", "newsletter/sendings", "shop/orders", "erp/auftraege")
            )
        )
        return account.n

    def _people(self, part, account, human, rows):
        seed, files = self.seed, self.files
        cards = rows["pos"]
        for source, row in rows.items():
            dirt = systems.spoil_people(seed, part, row)
            account_key = loyalty = None
            if source == "crm":
                delivered, spelt, account_key = systems.crm_accounts(seed, part, account, human, row)
                files.csv("crm/konten.csv", delivered, ";")
                files.parquet("truth/account_records.parquet", spelt)
            if source == "shop":
                has = (cards.first[row.human] >= 0) & (stream(seed, part, "cards").random(row.n) < 0.6)
                loyalty = (
                    text.only(cards.key.take(pa.array(np.maximum(cards.first[row.human], 0))), has)
                    if cards.n
                    else pa.nulls(row.n, pa.string())
                )
            table = systems.deliver_people(seed, part, account, human, row, account_key, loyalty)
            write = {
                "crm": lambda t: files.parquet("crm/kontakte.parquet", t),
                "shop": lambda t: files.csv("shop/customers.csv", t),
                "pos": lambda t: files.csv("pos/karten.csv", t, ";", "latin-1"),
                "callcentre": lambda t: files.csv("callcentre/anrufer.csv", t, ";", "latin-1"),
                "newsletter": lambda t: files.jsonl("newsletter/subscribers.jsonl", t),
            }[source]
            write(table)
            files.parquet("truth/people.parquet", truth.people(account, human, row))
            for log in dirt.log:
                files.parquet("truth/spoiled.parquet", log)
            for (column, kind), able in dirt.chances.items():
                hits = sum(
                    log.num_rows for log in dirt.log if log["kind"][0].as_py() == kind and log["column"][0].as_py() == column
                )
                total = self.chances.setdefault((f"{source}.people.{column}", kind), [0, 0])
                total[0] += able
                total[1] += hits
        files.parquet("truth/humans.parquet", truth.humans(account, human))
        files.parquet("truth/accounts.parquet", truth.accounts(account))

    def _events(self, part, account, human, rows, happened):
        source = np.append(events.SOURCE_OF, "crm")[happened.name]
        web = source == "web"
        table, _ = deliveries.web_events(happened, web, human, part * 100_000_000, part)
        if part == 0:
            table = pa.concat_tables([table, deliveries.robot(table, self.as_of)])
        self.files.parquet(f"web/events/part-{part:03d}.parquet", table)
        linked, seen = deliveries.logins(self.seed, part, happened, web, human, rows, self.as_of)
        self.files.parquet("web/logins.parquet", linked)
        self.files.parquet("truth/people.parquet", truth.cookies(account, human, seen))
        crm = (source == "crm") & (rows["crm"].first[happened.human] >= 0)
        self.files.csv("crm/aktivitaeten.csv", deliveries.crm_events(happened, crm, rows["crm"]), ";")
        phone = (source == "callcentre") & (rows["callcentre"].first[happened.human] >= 0)
        self.files.jsonl("callcentre/anrufe.jsonl", deliveries.calls(happened, phone, rows["callcentre"]))

    def _messages(self, part, account, human, row, order, ending, stage, deal, case):
        seed, shop, as_of, begin, files = self.seed, self.shop, self.as_of, self.begin, self.files
        consent = consents.make_consents(seed, part, row, as_of)
        wishes = consents.make_preferences(seed, part, row, human, as_of)
        message = campaigns.gather(seed, part, row, human, account, order, stage, deal, self.campaigns, shop, begin, as_of)
        allowed = messages.indications(consent, row)
        messages.hold_back(stream(seed, part, "held back"), message, row, allowed)
        test = messages.add_experiment(seed, part, message, row, human, order, ending, allowed, shop, self.test_piece, as_of)
        planted = None
        if part == 0:
            planted = messages.plant(seed, message, row, human, account, deal, stage, shop, as_of)
            if planted is not None:
                consent = consents.allow_everything(consent, row, human, planted.account)
                wishes = consents.say_nothing(wishes, row, human, planted.account)
                self.planted.append(
                    ("thirty_irrelevant_emails", truth.pick_account(account, np.array([planted.account]))[0].as_py())
                )
        messages.answer_all(seed, part, message, row, human, account, stage, shop, planted, ending, as_of)
        consent = messages.with_leavings(consent, messages.only_first_leaving(message, row))
        messages.stop_after_leaving(stream(seed, part, "stopped"), message, row, messages.indications(consent, row))
        message.key = text.join("M", text.digits(part * 10_000_000 + np.arange(len(message.at))))
        message.human = row.human[message.row]
        message.account = human.account[message.human]
        told = message.piece >= 0
        piece = np.maximum(message.piece, 0)
        message.topic = np.where(told & ~shop.topic_untold[piece], shop.piece_topic[piece], -1)
        self._judge(account, human, message, messages.indications(consent, row), wishes, row, case, deal, stage)
        files.parquet(f"newsletter/sendings/part-{part:03d}.parquet", deliveries.messages(message, row, 0))
        files.csv("newsletter/consents.csv", deliveries.consents(consent, row))
        files.jsonl("newsletter/preferences.jsonl", deliveries.preferences(wishes, row))
        arms = truth.experiments(human, row, test)
        files.parquet("truth/experiments.parquet", arms)
        files.csv(
            "newsletter/testgruppen.csv",
            pa.table(
                {
                    "subscriber": arms["person_id"],
                    "gruppe": text.pick(("mailing_test_control", "mailing_test_treated"), test.treated.astype(int)),
                    "zugeteilt": text.stamp(np.full(len(test.human), test.sent_at)),
                }
            ),
        )
        self._sum({"spring_offer": [float(test.uplift.sum()), len(test.human)]})
        return purchases.further_orders(stream(seed, part, "further orders"), human, order, message, test, ending, as_of), message

    def _judge(self, account, human, message, consent, wishes, row, case, deal, stage):
        shop, piece = self.shop, np.maximum(message.piece, 0)
        told = (message.piece >= 0) & ~shop.stage_untold[piece]
        seen = SimpleNamespace(
            account=message.account,
            human=message.human,
            at=utc(message.at),
            channel=message.channel,
            purpose=message.purpose,
            operational=message.operational.astype(bool),
            piece=message.piece,
            piece_stage=np.where(told, shop.piece_stage[piece], -1),
            topic=message.topic,
        )
        stated = SimpleNamespace(
            human=row.human[wishes.row],
            at=utc(wishes.at),
            channel=wishes.channel,
            topic=wishes.topic,
            most=wishes.most,
            period=np.maximum(wishes.period, 0),
        )
        complaints = case.reason < 2
        bad = SimpleNamespace(
            human=case.human[complaints], at=utc(case.at[complaints]), closed_at=utc(case.closed_at[complaints])
        )
        deals = SimpleNamespace(
            account=deal.account, topic=deal.topic, opened_at=utc(deal.opened_at), closed_at=utc(deal.closed_at)
        )
        true = SimpleNamespace(
            account=stage.account, topic=stage.topic, stage=stage.stage, start=utc(stage.start), end=utc(stage.end)
        )
        verdict = verdicts.judge(seen, consent, stated, bad, deals, true, len(TOPICS))
        self.files.parquet("truth/messages.parquet", truth.messages(account, human, message, verdict))

    def _orders(self, part, account, human, rows, order, line, ending):
        files = self.files
        tables = sales.orders(self.seed, part, human, order, line, rows, self.begin, self.as_of, part * 2_000_000)
        files.parquet(f"shop/orders/part-{part:03d}.parquet", tables["shop"])
        files.csv("shop/returns.csv", tables["shop_returns"])
        files.parquet("erp/gutschriften.parquet", tables["erp_returns"])
        files.csv("pos/bons.csv", tables["pos"], ";", "latin-1")
        files.parquet(f"erp/auftraege/part-{part:03d}.parquet", tables["erp"])
        for source in ("shop", "pos", "erp"):
            files.parquet(f"erp/lieferungen_{source}.parquet", tables["deliveries_" + source])
        files.parquet("truth/rejects.parquet", tables["rejects"])
        files.parquet("truth/doubles.parquet", tables["doubles"])
        waiting = order.open[line.order]
        self.wanted += np.bincount(line.product[waiting], line.quantity[waiting], minlength=len(self.wanted))
        worth = values.order_worth(human, self.shop)
        future = values.futures(human, order, ending, worth, self.clock, self.as_of)
        net = line.amount - line.back - (line.cost - line.cost_back)

        def total(mask):
            lines = mask[line.order]
            who = order.human[line.order[lines]]
            return SimpleNamespace(
                orders=np.bincount(order.human[mask], minlength=human.n),
                amount=np.bincount(who, line.amount[lines], minlength=human.n),
                margin=np.bincount(who, net[lines], minlength=human.n),
            )

        past, coming = (
            total((order.at >= self.begin) & (order.at < self.as_of)),
            total((order.at >= self.as_of) & (order.at < self.as_of + YEAR)),
        )
        files.parquet("truth/value.parquet", truth.value(account, human, ending, worth, future, past, coming))
        files.parquet("truth/responsiveness.parquet", truth.responsiveness(account, human, worth))

    def _care(self, part, account, human, rows, order, stage, deal, case):
        seed, files, begin, as_of = self.seed, self.files, self.begin, self.as_of
        deals, group = deliveries.deals(deal, account, rows["crm"], part * 1_000_000)
        files.csv("crm/chancen.csv", deals, ";", "latin-1")
        files.csv("crm/chancen_kontakte.csv", group, ";", "latin-1")
        tickets, scores = deliveries.cases(case, rows["callcentre"], part * 1_000_000)
        files.csv("callcentre/tickets.csv", tickets, ";", "latin-1")
        survey = care.make_surveys(seed, part, human, order, rows["callcentre"].first >= 0, begin, as_of)
        nps = pa.table(
            {
                "AnruferNr": rows["callcentre"].key.take(pa.array(records.row_of(rows["callcentre"], survey.human, survey.at))),
                "gefragt": text.stamp(survey.at),
                "kennzahl": text.same("nps", len(survey.at)),
                "wert": pa.array(survey.score),
            }
        )
        files.csv("callcentre/umfragen.csv", pa.concat_tables([scores, nps]), ";")
        friend = care.make_referrals(seed, part, human, stage, account, rows["shop"].first >= 0, begin, as_of)
        shop = rows["shop"]
        files.csv(
            "shop/referrals.csv",
            pa.table(
                {
                    "customer_no": shop.key.take(pa.array(shop.first[friend.giver])),
                    "friend_no": shop.key.take(pa.array(shop.first[friend.taker])),
                    "since": text.stamp(friend.at),
                }
            ),
        )
        files.parquet(
            "truth/referrals.parquet",
            pa.table(
                {
                    "human_id": truth.human_id(human.number[friend.giver]),
                    "referred_human_id": truth.human_id(human.number[friend.taker]),
                    "referred_at": text.moment(utc(friend.at), True),
                }
            ),
        )
        files.parquet(
            "truth/cases.parquet",
            pa.table(
                {
                    "case_id": case.key,
                    "human_id": truth.human_id(human.number[case.human]),
                    "handled": text.pick(("no complaint", "badly", "well"), case.well),
                }
            ),
        )

    def _sample(self, walk):
        decided = (walk.decides_at > 0) & (walk.opened_at < self.as_of + YEAR // 2)
        sent, won = decided & (walk.sample_at > 0), walk.outcome == 3
        treated = won[sent].mean() if sent.any() else 0.0
        from .world import EFFECTS

        odds = treated / max(1 - treated, 1e-9) / np.exp(EFFECTS["sample_sent"])
        self._sum({"sample_sent": [float((treated - odds / (1 + odds)) * sent.sum()), int(sent.sum())]})

    def _sum(self, found):
        for name, (value, count) in found.items():
            total = self.effects.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += count

    def _whole(self):
        shop, files, rng = self.shop, self.files, stream(self.seed, 0, "stock")
        stock = np.round(3 * self.wanted + rng.integers(20, 400, len(self.wanted)))
        stock[shop.scarce] = np.floor(0.6 * self.wanted[shop.scarce])
        number = np.arange(len(shop.price))
        files.excel(
            "erp/artikel.xlsx",
            pa.table(
                {
                    "ARTNR": sales.article(number),
                    "BEZEICHNUNG": text.pick(shop.name, number),
                    "WARENGRUPPE": text.pick(deliveries.TOPIC_CODES, shop.topic),
                    "EK_PREIS": pa.array(shop.cost),
                    "VK_PREIS": pa.array(shop.price),
                    "BESTAND": pa.array(stock.astype(int)),
                }
            ),
            "Artikel",
        )
        files.excel("newsletter/content.xlsx", mapping.content_table(shop), "Inhalte")
        for name, table in truth.constant_tables(shop).items():
            files.parquet(f"truth/{name}.parquet", table)
        files.parquet("truth/effects.parquet", truth.effects(self.effects))
        from .world import SPOIL

        found = [(where, kind, float(SPOIL[kind]), able, hits) for (where, kind), (able, hits) in self.chances.items()]
        files.parquet(
            "truth/rates.parquet",
            pa.table(
                {
                    name: pa.array(column)
                    for name, column in zip(
                        ("cells", "kind", "asked", "able", "spoiled"), zip(*found, strict=False), strict=False
                    )
                }
            ),
        )
        files.parquet(
            "truth/planted.parquet",
            pa.table(
                {
                    "what": pa.array([what for what, _ in self.planted], pa.string()),
                    "account_id": pa.array([which for _, which in self.planted], pa.string()),
                }
            ),
        )
        (files.root / "clientbook.yaml").write_text(mapping.as_yaml(self.date), encoding="utf-8")
        (files.root / "truth" / "DATA_DICTIONARY.md").write_text(as_markdown(), encoding="utf-8")
