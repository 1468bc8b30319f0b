# ruff: noqa: E501 (tables of text, a row a line)
"""How would the company describe its files? The book's `clientbook.yaml`."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from .care import REASON_LABELS, REASONS
from .consents import STATUSES
from .deliveries import ROLE_LABELS, STATUS_LABELS, TOPIC_CODES
from .sales import piece_id
from .text import pick
from .world import ROLES, STAGES, TOPIC_LABELS, TOPICS

STAGE_LABELS = ("Bedarf", "Recherche", "Entscheidung", "Einstieg", "Nutzung", "Empfehlung")
_INDUSTRIES = {
    "Hotellerie": "hotel",
    "Luftfahrt": "airline",
    "Bildung": "school",
    "Einzelhandel": "boutique",
    "Gastronomie": "restaurant",
    "Dienstleistung": "office",
}

# what marketing believes that an event tells of the stage: good sense, not the truth
_BELIEF = """article_view: {need: 0.6, research: 0.3, use: 0.1}
video_play: {need: 0.5, research: 0.3, adopt: 0.2}
search: {need: 0.4, research: 0.4, decide: 0.2}
home_page: {need: 0.45, research: 0.2, use: 0.35}
my_account: {use: 0.7, adopt: 0.3}
reorder_list: {use: 1.0}
guide_download: {research: 0.8, need: 0.2}
webinar_registered: {research: 0.7, use: 0.3}
compare_products: {research: 0.7, decide: 0.3}
product_page: {decide: 0.5, research: 0.3, use: 0.2}
success_story: {decide: 0.7, research: 0.3}
price_page: {decide: 0.7, research: 0.3}
add_to_cart: {decide: 0.7, use: 0.3}
checkout_started: {decide: 0.7, use: 0.3}
sample_requested: {decide: 1.0}
sample_sent: {decide: 1.0}
fitting_booked: {decide: 0.6, adopt: 0.4}
first_steps_page: {adopt: 0.9, use: 0.1}
care_manual: {adopt: 0.6, use: 0.4}
help_page: {adopt: 0.6, use: 0.4}
course_registered: {use: 0.8, adopt: 0.2}
user_meeting: {use: 0.5, recommend: 0.5}
review_written: {recommend: 0.9, use: 0.1}
reference_given: {recommend: 1.0}
community_post: {use: 0.5, recommend: 0.4, adopt: 0.1}
sales_visit: {decide: 0.6, research: 0.2, use: 0.2}
call_in: {adopt: 0.4, decide: 0.4, need: 0.2}
call_out: {decide: 0.4, use: 0.3, need: 0.3}"""


def content_table(shop) -> pa.Table:
    """The pieces as the content team lists them; some without stage or topic."""
    number = np.arange(len(shop.title))
    return pa.table(
        {
            "Nr": piece_id(number),
            "Titel": pa.array(shop.title, pa.string()),
            "Thema": pick(TOPIC_LABELS, np.where(shop.topic_untold, -1, shop.piece_topic)),
            "Phase": pick(STAGE_LABELS, np.where(shop.stage_untold, -1, shop.piece_stage)),
            "Format": pa.array(shop.format, pa.string()),
            "Rolle": pick(ROLE_LABELS, shop.role),
            "Adresse": pa.array([f"/inhalte/{i + 100}" for i in number]),
            "Anriss": pa.array(_teaser(shop), pa.string()),
        }
    )


def _teaser(shop):
    words = (
        "Was man früh wissen sollte: Anzeichen, Fragen, erste Wege.",
        "Vergleich von Anbietern, Kosten, Nutzen, unabhängige Stimmen.",
        "Referenzen, Preise, Muster, Termin zur Anprobe.",
        "So gelingt der Anfang: Maße, Pflege, Ansprechpartner.",
        "Mehr aus der Ausstattung holen: Kurse, Technik, Nachbestellung.",
        "Erzählen Sie davon: Podium, Referenz, Testkreis.",
    )
    return [f"{TOPIC_LABELS[t]}: {words[s]}" for t, s in zip(shop.piece_topic, shop.piece_stage, strict=False)]


def _pairs(names, values) -> str:
    return "{" + ", ".join(f'"{a}": "{b}"' for a, b in zip(names, values, strict=False)) + "}"


def as_yaml(as_of: datetime.date) -> str:
    """The text of `clientbook.yaml`."""
    topics, codes = _pairs(TOPIC_LABELS, TOPICS), _pairs(TOPIC_CODES, TOPICS)
    industries = _pairs(_INDUSTRIES, _INDUSTRIES.values())
    belief = "\n".join("    " + line for line in _BELIEF.split("\n"))
    return f"""name: Nadel & Söhne
currency: EUR
country: DE
timezone: Europe/Berlin
as_of: {as_of.isoformat()}
goals:
  - {{goal: win, owner: sales, target: 0.35}}
  - {{goal: retain, owner: service, target: 0.8}}
  - {{goal: expand, owner: marketing, target: 0.25}}
  - {{goal: margin, owner: finance, target: 0.4}}
sources:
  crm:
    owner: sales
    cost_per_year: 48000
    people:
      path: crm/kontakte.parquet
      columns: {{person_id: Kontakt_ID, given_name: Vorname, family_name: Nachname, email: E_Mail, phone: Telefon, birth_date: Geburtstag, company: Firma,
                job_title: Position, account_id: Konto_Nr, industry: Branche, persona: Persona, street: Strasse, postcode: PLZ, city: Ort, region: Bundesland,
                country: Land, social_reach: Follower, created_at: angelegt_am, updated_at: geaendert_am}}
      values: {{industry: {industries}}}
    accounts:
      path: crm/konten.csv
      delimiter: ";"
      columns: {{account_id: Konto_Nr, name: Kontoname, domain: Webseite, industry: Branche, region: Bundesland, country: Land, parent_account_id: Konzern_Nr}}
      values: {{industry: {industries}}}
    events:
      path: crm/aktivitaeten.csv
      delimiter: ";"
      dates: "%d.%m.%Y %H:%M"
      columns: {{person_id: Kontakt_ID, event_name: Aktivitaet, occurred_at: Zeitpunkt, topic: Thema}}
      values: {{topic: {topics}}}
    opportunities:
      path: crm/chancen.csv
      delimiter: ";"
      encoding: latin-1
      decimal: ","
      dates: "%d.%m.%Y %H:%M"
      columns: {{opportunity_id: Chance, account_id: Konto_Nr, person_id: Kontakt_ID, topic: Thema, stage_name: Phase, opened_at: eroeffnet, closed_at: abgeschlossen,
                is_won: gewonnen, amount: Volumen}}
      values: {{topic: {topics}, is_won: {{"ja": "true", "nein": "false"}}}}
    opportunity_people:
      path: crm/chancen_kontakte.csv
      delimiter: ";"
      encoding: latin-1
      columns: {{opportunity_id: Chance, person_id: Kontakt_ID, role: Rolle}}
      values: {{role: {_pairs(ROLE_LABELS, ROLES)}}}
  shop:
    owner: e-commerce
    cost_per_year: 36000
    people:
      path: shop/customers.csv
      columns: {{person_id: customer_no, given_name: first_name, family_name: last_name, email: cust_mail, phone: mobile, birth_date: dob, company: company_name,
                street: street_line, postcode: zip, city: town, country: country_code, external_id: loyalty_card, created_at: created, updated_at: last_change}}
    orders:
      path: shop/orders/*.parquet
      columns: {{order_id: order_no, person_id: customer_no, ordered_at: placed, product_id: article, quantity: pieces, unit_price: price_each, discount: rebate,
                amount: total, currency: curr, status: state, campaign: coupon_campaign}}
      ids: {{product_id: erp}}
      values: {{status: {{"in Bearbeitung": "open", "versendet": "delivered"}}}}
    returns:
      path: shop/returns.csv
      columns: {{order_id: order_no, product_id: article, quantity: pieces, amount: refund, returned_at: received}}
      ids: {{product_id: erp}}
    referrals:
      path: shop/referrals.csv
      columns: {{person_id: customer_no, referred_person_id: friend_no, referred_at: since}}
  pos:
    owner: retail
    cost_per_year: 22000
    people:
      path: pos/karten.csv
      delimiter: ";"
      encoding: latin-1
      dates: {{created_at: "%d.%m.%Y %H:%M", birth_date: "%d.%m.%Y"}}
      columns: {{person_id: KartenNr, external_id: KartenNr, full_name: Name, birth_date: GebDat, phone: Tel, email: EMail, street: Str, postcode: Plz, city: Ort, created_at: Ausgestellt}}
    orders:
      path: pos/bons.csv
      delimiter: ";"
      encoding: latin-1
      decimal: ","
      dates: "%d.%m.%Y %H:%M"
      columns: {{order_id: BonNr, person_id: KartenNr, ordered_at: Zeit, product_id: Artikel, quantity: Menge, unit_price: Einzelpreis, discount: Nachlass, amount: Betrag}}
      ids: {{product_id: erp}}
      cancelled: order_id starts with ST
  web:
    owner: marketing
    cost_per_year: 18000
    timezone: UTC
    events:
      path: web/events/*.parquet
      columns: {{person_id: cookie, occurred_at: ts, event_name: action, topic: area, content_id: asset, session_id: visit, text: query, results: hits}}
      ids: {{content_id: newsletter}}
    aliases:
      path: web/logins.parquet
      columns: {{person_id: cookie, other_source: known_in, other_person_id: known_as, linked_at: ts}}
  callcentre:
    owner: service
    cost_per_year: 64000
    people:
      path: callcentre/anrufer.csv
      delimiter: ";"
      encoding: latin-1
      dates: "%d.%m.%Y %H:%M"
      columns: {{person_id: AnruferNr, full_name: Anrufer, phone: Rufnummer, email: Mail, company: Firma, postcode: PLZ, city: Ort, created_at: erfasst}}
    cases:
      path: callcentre/tickets.csv
      delimiter: ";"
      encoding: latin-1
      decimal: ","
      dates: "%d.%m.%Y %H:%M:%S"
      columns: {{case_id: Ticket, person_id: AnruferNr, opened_at: eroeffnet, closed_at: geschlossen, channel: Weg, reason: Grund, text: Notiz, cost: Aufwand}}
      values: {{reason: {_pairs(REASON_LABELS, REASONS)}, channel: {{"Telefon": "phone", "E-Mail": "email"}}}}
    surveys:
      path: callcentre/umfragen.csv
      delimiter: ";"
      columns: {{person_id: AnruferNr, asked_at: gefragt, metric: kennzahl, score: wert}}
    events:
      path: callcentre/anrufe.jsonl
      columns: {{person_id: caller, event_name: what, occurred_at: started, topic: subject}}
  newsletter:
    owner: marketing
    cost_per_year: 15000
    people:
      path: newsletter/subscribers.jsonl
      columns: {{person_id: subscriber, email: mail, given_name: firstName, family_name: lastName, company: org, social_reach: followers, created_at: subscribed}}
    messages:
      path: newsletter/sendings/*.parquet
      columns: {{person_id: subscriber, sent_at: sent, channel: medium, message_type: kind, sender: team, content_id: asset, is_operational: transactional,
                opened_at: open_ts, clicked_at: click_ts, replied_at: reply_ts, unsubscribed_at: unsub_ts, cost: cost_eur}}
    consents:
      path: newsletter/consents.csv
      columns: {{person_id: subscriber, purpose: zweck, status: stand, channel: kanal, indicated_at: am, valid_to: gueltig_bis}}
      values: {{status: {_pairs(STATUS_LABELS, STATUSES)}}}
    preferences:
      path: newsletter/preferences.jsonl
      columns: {{person_id: subscriber, stated_at: saved, channel: medium, weekday: day, max_per_period: max_mails, period_days: per_days}}
    content:
      path: newsletter/content.xlsx
      sheet: Inhalte
      columns: {{content_id: Nr, title: Titel, topic: Thema, stage: Phase, format: Format, role: Rolle, url: Adresse, text: Anriss}}
      values: {{topic: {topics}, stage: {_pairs(STAGE_LABELS, STAGES)}, role: {_pairs(ROLE_LABELS, ROLES)}}}
    events:
      path: newsletter/testgruppen.csv
      columns: {{person_id: subscriber, event_name: gruppe, occurred_at: zugeteilt}}
  erp:
    owner: finance
    cost_per_year: 90000
    products:
      path: erp/artikel.xlsx
      sheet: Artikel
      columns: {{product_id: ARTNR, name: BEZEICHNUNG, topic: WARENGRUPPE, unit_cost: EK_PREIS, stock_quantity: BESTAND}}
      values: {{topic: {codes}}}
    orders:
      path: erp/auftraege/*.parquet
      columns: {{order_id: AUFTRAG, person_id: KONTAKT, ordered_at: DATUM, product_id: ARTNR, quantity: MENGE, unit_price: PREIS, discount: RABATT, amount: WERT, status: STATUS}}
      ids: {{person_id: crm}}
      values: {{status: {{"offen": "open", "fakturiert": "delivered"}}}}
    returns:
      path: erp/gutschriften.parquet
      columns: {{order_id: AUFTRAG, product_id: ARTNR, quantity: MENGE, amount: GUTSCHRIFT, returned_at: DATUM}}
    deliveries:
      - path: erp/lieferungen_shop.parquet
        columns: {{order_id: AUFTRAG, promised_at: ZUGESAGT, delivered_at: GELIEFERT}}
        ids: {{order_id: shop}}
      - path: erp/lieferungen_pos.parquet
        columns: {{order_id: AUFTRAG, promised_at: ZUGESAGT, delivered_at: GELIEFERT}}
        ids: {{order_id: pos}}
      - path: erp/lieferungen_erp.parquet
        columns: {{order_id: AUFTRAG, promised_at: ZUGESAGT, delivered_at: GELIEFERT}}
journeys:
  subject: account
  stages:
{belief}
contact_policy: {{max_messages: 8, period_days: 30, per: account}}
triggers:
  - {{when: cart_abandoned, after_hours: 24, action: remind}}
  - {{when: delivery_late, after_hours: 4, action: call}}
"""
