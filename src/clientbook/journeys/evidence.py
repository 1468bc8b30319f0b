"""What does an event say about the stage?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.tables import STAGES

# What the usual names of events say, unless the book says otherwise: the share of such events that belong to a stage.
# A name that stands here is taken whole; else the first pattern that is found in it decides.
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
}

BY_PATTERN: tuple[tuple[str, dict[str, float]], ...] = (
    # who sends something back, or leaves, is not on the way to anything
    (r"unsubscri|refund|^return|cancel", {}),
    (r"refer|recommend|invite_?friend|testimonial|advoca", {"recommend": 1.0}),
    (r"review|rating|reference_given", {"recommend": 0.8, "use": 0.2}),
    (r"community|forum|share", {"use": 0.5, "recommend": 0.5}),
    (r"reorder|renew|upgrade|upsell|refill", {"use": 1.0}),
    (r"user_?meeting|user_?group|advanced|course|training|certif", {"use": 0.8, "adopt": 0.2}),
    (r"onboard|first_?steps|getting_?started|setup|install|activat|tutorial|welcome", {"adopt": 0.9, "use": 0.1}),
    (r"manual|support|help|faq|how_?to|ticket|delivery|track", {"adopt": 0.6, "use": 0.4}),
    (r"success_?story|case_?study|customer_?story", {"decide": 0.7, "research": 0.3}),
    (r"pric|quote|offer|proposal|terms|tarif", {"decide": 0.8, "research": 0.2}),
    (r"cart|basket|checkout|payment|wish_?list", {"decide": 1.0}),
    (r"demo|sample|trial|fitting|appointment|sales_?visit|negotiat", {"decide": 0.8, "research": 0.2}),
    (r"^(order|purchase|buy|bought)|_(order|purchase)d?$", {"adopt": 0.6, "use": 0.4}),
    (r"compar|webinar|white_?paper|report|download|guide|brochure|register|sign_?up|ask|inquir|enquir|contact_form",
     {"research": 0.8, "need": 0.2}),
    (r"product|item|article_detail|spec", {"research": 0.5, "decide": 0.4, "use": 0.1}),
    (r"account|login|log_?in|profile|dashboard|invoice", {"use": 0.7, "adopt": 0.3}),
    (r"search|query", {"need": 0.5, "research": 0.4, "decide": 0.1}),
    (r"article|blog|video|news|podcast|landing|social|home|advert|campaign", {"need": 0.7, "research": 0.3}),
)  # fmt: skip

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
    plain = re.sub(r"[\s\-./]+", "_", event_name.strip().lower())
    if event_name in stages:
        row = stages[event_name]
    elif plain in BY_NAME:
        row = BY_NAME[plain]
    else:
        row = next((row for pattern, row in _PATTERNS if pattern.search(plain)), {})
    whole = sum(row.values())
    return {stage: row[stage] / whole for stage in STAGES if row.get(stage)} if whole else {}


def stage_table(
    event_names: Iterable[str], stages: Mapping[str, Mapping[str, float]], composed: Iterable[str] = ()
) -> pd.DataFrame:
    """What does each event that is there say about the stage?

    Parameters
    ----------
    event_names
        The names that occur.
    stages
        The book's own rows.
    composed
        Names that this stage makes from other tables; only the book's own rows speak for them.

    Returns
    -------
    pandas.DataFrame
        A row a name: `event_name`, one column a stage (probability), `stage` (the most probable; of equals the
        earlier one) and `probability` (its own; both none where the name says nothing), `told_by` (`book`, `default`
        or `nobody`); sorted by name.
    """
    composed = set(composed)
    rows = []
    for name in sorted(set(event_names)):
        row = row_of(name, stages) if name in stages or name not in composed else {}
        best = max(row, key=lambda stage: row[stage]) if row else None
        told_by = "nobody" if best is None else "book" if name in stages else "default"
        full = {stage: round(row.get(stage, 0.0), 6) for stage in STAGES}
        rows.append({"event_name": name, **full, "stage": best, "probability": full.get(best), "told_by": told_by})
    return pd.DataFrame(rows, columns=["event_name", *STAGES, "stage", "probability", "told_by"])


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
        As from :func:`stage_table`, with `events` (how many), `with_topic` (of how many the topic is known) and
        `kinds` (joined by commas).
    """
    counted = timeline.group_by("event_name", "kind").agg(events=timeline.count(), with_topic=timeline["topic"].count())
    seen = counted.order_by("event_name", "kind").to_pandas()
    own = set(seen.loc[seen["kind"] == "event", "event_name"])
    told = stage_table(seen["event_name"], stages, set(seen["event_name"]) - own)
    each = seen.groupby("event_name", as_index=False).agg(
        events=("events", "sum"), with_topic=("with_topic", "sum"), kinds=("kind", ",".join)
    )
    return told.merge(each, on="event_name", how="left")


def as_evidence(told: pd.DataFrame) -> ir.Table:
    """The stage table as a table to join: `event_name`, `told_stage`, `told_probability`; names that say nothing left out.

    Parameters
    ----------
    told
        As from :func:`stage_table`.
    """
    known = told.loc[told["stage"].notna(), ["event_name", "stage", "probability"]]
    schema = {"event_name": "string", "told_stage": "string", "told_probability": "float64"}
    return ibis.memtable(known.set_axis(list(schema), axis=1).astype({"told_probability": float}), schema=schema)
