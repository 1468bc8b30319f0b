"""What does an event say about the stage?"""

from __future__ import annotations

import re
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.tables import STAGES

# What the usual names of events say in English and German (umlauts as ae, oe, ue), unless the book says otherwise: the share
# of such events that belong to a stage. A name that stands here is taken whole; else the first pattern that is found in it
# decides.
BY_NAME: dict[str, dict[str, float]] = {
    "view": {"need": 0.5, "research": 0.5},
    "page_view": {"need": 0.5, "research": 0.5},
    "pageview": {"need": 0.5, "research": 0.5},
    "visit": {"need": 0.6, "research": 0.4},
    "catalog": {"research": 0.6, "need": 0.4},
    "main": {"need": 1.0},
    "home": {"need": 0.6, "use": 0.4},
    "purchase": {"adopt": 0.6, "use": 0.4},
    "transaction": {"adopt": 0.6, "use": 0.4},
    "call": {"research": 0.4, "decide": 0.3, "use": 0.3},
    "visit_in_store": {"research": 0.5, "decide": 0.5},
    "ansicht": {"need": 0.5, "research": 0.5},
    "seitenaufruf": {"need": 0.5, "research": 0.5},
    "seitenansicht": {"need": 0.5, "research": 0.5},
    "katalog": {"research": 0.6, "need": 0.4},
    "besuch": {"research": 0.5, "decide": 0.5},
    "anruf": {"research": 0.4, "decide": 0.3, "use": 0.3},
    "telefonat": {"research": 0.4, "decide": 0.3, "use": 0.3},
}

BY_PATTERN: tuple[tuple[str, dict[str, float]], ...] = (
    # who sends something back, or leaves, is not on the way to anything
    (r"unsubscri|refund|^return|cancel|abmeld|abbestell|kuendig|storn|retoure|rueckgabe|ruecksend|erstatt", {}),
    (r"refer|recommend|invite_?friend|testimonial|advoca|empfehl|empfohlen", {"recommend": 1.0}),
    (r"review|rating|reference_given|bewert|rezension", {"recommend": 0.8, "use": 0.2}),
    (r"community|forum|share|geteilt|stammtisch", {"use": 0.5, "recommend": 0.5}),
    (r"reorder|renew|upgrade|upsell|refill|nachbestell|nachkauf|verlaenger", {"use": 1.0}),
    (r"user_?meeting|user_?group|advanced|course|training|certif|anwendertreffen|schulung|(^|_)kurs",
     {"use": 0.8, "adopt": 0.2}),
    (r"onboard|first_?steps|getting_?started|setup|install|activat|tutorial|welcome|erste_?schritte|inbetriebnahme|einrichtung|"
     r"aktivier|willkommen", {"adopt": 0.9, "use": 0.1}),
    (r"manual|support|help|faq|how_?to|ticket|delivery|track|handbuch|anleitung|hilfe|liefer|sendungsverfolg|"
     r"kundendienst|stoerung", {"adopt": 0.6, "use": 0.4}),
    (r"success_?story|case_?study|customer_?story|erfolgsgeschichte|fallstudie|anwenderbericht",
     {"decide": 0.7, "research": 0.3}),
    (r"pric|quote|offer|proposal|terms|tarif|preis|angebot|kostenvoranschlag|konditionen", {"decide": 0.8, "research": 0.2}),
    (r"cart|basket|checkout|payment|wish_?list|warenkorb|(^|_)kasse|zahlung|merkzettel|merkliste|wunschliste", {"decide": 1.0}),
    (r"demo|sample|trial|fitting|appointment|sales_?visit|negotiat|vorfuehrung|muster|anprobe|termin(?!at)|"
     r"(kunden|vertriebs|vor_ort_)besuch|verhandl", {"decide": 0.8, "research": 0.2}),
    (r"^(order|purchase|buy|bought|bestell|kauf|gekauft|auftrag)|_(order|purchase)d?$|_(bestellung|bestellt|kauf|gekauft)$",
     {"adopt": 0.6, "use": 0.4}),
    (r"compar|webinar|white_?paper|report|download|guide|brochure|register|sign_?up|ask|inquir|enquir|contact_form|"
     r"vergleich|bericht|herunter_?(ge)?lad|leitfaden|broschuere|prospekt|registrier|anmeld|anfrage|(^|_)messe(besuch|_|$)",
     {"research": 0.8, "need": 0.2}),
    (r"product|item|article_detail|spec|produkt|artikel", {"research": 0.5, "decide": 0.4, "use": 0.1}),
    (r"account|login|log_?in|profile|dashboard|invoice|konto|einlog|eingeloggt|rechnung", {"use": 0.7, "adopt": 0.3}),
    (r"search|query|suche", {"need": 0.5, "research": 0.4, "decide": 0.1}),
    (r"article|blog|video|news|podcast|landing|social|home|advert|campaign|beitrag|startseite|werb|"
     r"kampagne", {"need": 0.7, "research": 0.3}),
)  # fmt: skip

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_PATTERNS = tuple((re.compile(pattern), row) for pattern, row in BY_PATTERN)


def row_of(event_name: str, stages: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Which stages does an event of this name belong to, and how probably each?

    Parameters
    ----------
    event_name
        As delivered.
    stages
        The book's own rows, by event name; they go before the default.

    Returns
    -------
    dict
        Stage to probability, which add up to 1; empty where the name says nothing.
    """
    plain = re.sub(r"[\s\-./]+", "_", event_name.strip().lower().translate(_UMLAUTS))
    if event_name in stages:
        row = stages[event_name]
    elif plain in BY_NAME:
        row = BY_NAME[plain]
    else:
        row = next((row for pattern, row in _PATTERNS if pattern.search(plain)), {})
    whole = sum(row.values())
    return {stage: row[stage] / whole for stage in STAGES if row.get(stage)} if whole else {}


def stage_table(seen: pd.DataFrame, stages: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """What does each event that is there say about the stage?

    Parameters
    ----------
    seen
        `event_name` and `kind`, each pair once. For what is made from other tables (any kind but `event`) only the
        book's own rows speak.
    stages
        The book's own rows, by event name.

    Returns
    -------
    pandas.DataFrame
        `seen` with one column a stage (probability), `stage` (the most probable; of equals the earlier one) and
        `probability` (its own; both none where the name says nothing), `told_by` (`book`, `default` or `nobody`);
        sorted by name and kind.
    """
    seen = seen.sort_values(["event_name", "kind"], ignore_index=True)
    rows = [
        row_of(name, stages) if name in stages or kind == "event" else {}
        for name, kind in zip(seen["event_name"], seen["kind"], strict=True)
    ]
    full = [{stage: round(row.get(stage, 0.0), 6) for stage in STAGES} for row in rows]
    told = pd.DataFrame(full, columns=list(STAGES))
    best = [max(row, key=row.__getitem__) if row else None for row in rows]
    return seen.join(told).assign(
        stage=pd.Series(best, dtype="str"),
        probability=[round(row[stage], 6) if stage else None for row, stage in zip(rows, best, strict=True)],
        told_by=[
            "nobody" if stage is None else "book" if name in stages else "default"
            for name, stage in zip(seen["event_name"], best, strict=True)
        ],
    )


def stage_table_of(timeline: ir.Table, stages: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """What do the events of a timeline say about the stage, and how many are there of each?

    Parameters
    ----------
    timeline
        As from :func:`clientbook.journeys.compose`.
    stages
        The book's own rows.

    Returns
    -------
    pandas.DataFrame
        As from :func:`stage_table`, with `events` (how many) and `with_topic` (of how many the topic is known).
    """
    counted = timeline.group_by("event_name", "kind").agg(events=timeline.count(), with_topic=timeline["topic"].count())
    return stage_table(counted.order_by("event_name", "kind").to_pandas(), stages)


def as_evidence(told: pd.DataFrame) -> ir.Table:
    """The stage table as a table to join.

    Parameters
    ----------
    told
        As from :func:`stage_table`.

    Returns
    -------
    ibis.expr.types.Table
        `event_name`, `kind`, `code` (the row's number), `told_level` (the stage's place among the six) and
        `told_probability`; both none where the name says nothing.
    """
    levels = [STAGES.index(stage) if isinstance(stage, str) else None for stage in told["stage"]]
    rows = [
        {"event_name": name, "kind": kind, "code": code, "told_level": level,
         "told_probability": None if level is None else float(probability)}
        for code, (name, kind, level, probability) in enumerate(
            zip(told["event_name"], told["kind"], levels, told["probability"], strict=True)
        )
    ]  # fmt: skip
    kinds = {"code": "int64", "told_level": "int64", "told_probability": "float64"}
    return ibis.memtable(rows, schema={"event_name": "string", "kind": "string", **kinds})
