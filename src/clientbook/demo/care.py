"""Deals, complaints, calls, surveys and referrals: what sales and service write down."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .calendar import daytime, settled
from .draw import stream, working_day
from .world import DAY

REASONS = (
    "complaint: late delivery",
    "complaint: fit",
    "question: care",
    "question: order status",
    "question: alteration",
    "invoice",
)
REASON_LABELS = (
    "Reklamation Lieferung",
    "Reklamation Passform",
    "Frage Pflege",
    "Frage Lieferstatus",
    "Frage Änderung",
    "Rechnung",
)
_WORDS = (
    (
        "Lieferung zu spät, Kunde verärgert",
        "Ware kam erst nach der Veranstaltung",
        "wartet seit Tagen auf die Lieferung",
    ),
    ("Sakko sitzt an den Schultern nicht", "Ärmel zu lang, Änderung verlangt", "Größe passt nicht, möchte Umtausch"),
    ("fragt nach Waschanleitung", "wie wird der Stoff gereinigt"),
    ("fragt nach Liefertermin", "möchte Sendungsnummer"),
    ("Hose kürzen lassen, wie lange dauert das", "Termin für Änderung"),
    ("Rechnung fehlt", "Rechnungsadresse falsch"),
)
DEAL_STAGES = ("Anfrage", "Angebot", "Bemusterung", "Verhandlung")


def make_deals(
    seed: int,
    part: int,
    account: SimpleNamespace,
    human: SimpleNamespace,
    journeys: SimpleNamespace,
    known: np.ndarray,
    begin: int,
    as_of: int,
) -> SimpleNamespace:
    """Opportunities: most walks of companies that come to decide, and a few private ones for made to measure.

    Returns
    -------
    SimpleNamespace
        journey, account, topic, opened_at, closed_at (0: open), won, amount, contact (a human of it, in the CRM);
        people: (deal, human, role).
    """
    rng = stream(seed, part, "deals")
    company = account.company[journeys.account]
    in_crm = np.add.reduceat(known.astype(int), account.start)[journeys.account] > 0
    chosen = (
        (journeys.decides_at > begin)
        & (journeys.decides_at < as_of)
        & in_crm
        & (rng.random(journeys.n) < np.where(company, 0.8, np.where(journeys.topic == 3, 0.35, 0.02)))
    )
    rows = np.flatnonzero(chosen)
    deal = SimpleNamespace(n=len(rows), journey=rows, account=journeys.account[rows], topic=journeys.topic[rows])
    length = journeys.decided_at[rows] - journeys.decides_at[rows]
    deal.opened_at = journeys.decides_at[rows] + (length * 0.25 * rng.random(len(rows))).astype(np.int64) + 60
    deal.opened_at = np.minimum(deal.opened_at, as_of - 5 * 3600)
    won = journeys.won_at[rows]
    closed = np.where(won > 0, won, journeys.closed_at[rows] + (rng.exponential(3, len(rows)) * DAY).astype(np.int64))
    # the CRM keeps minutes
    deal.opened_at = daytime(deal.opened_at, 8, 18) // 60 * 60
    closed = daytime(np.maximum(closed, deal.opened_at + 3600), 9, 19) // 60 * 60
    deal.closed_at = np.where(closed < as_of, closed, 0)
    deal.won = won > 0
    deal.amount = np.round(np.exp(rng.normal(np.where(company[rows], 8.2, 6.6), 0.9)), -1)
    deal.stage = np.where(deal.closed_at > 0, np.where(deal.won, 4, 5), rng.integers(0, 4, len(rows)))
    _buying_group(rng, account, human, known, deal)
    return deal


def _buying_group(rng, account, human, known, deal):
    members = np.repeat(np.arange(deal.n), account.members[deal.account])
    offset = np.arange(len(members)) - np.repeat(
        np.cumsum(account.members[deal.account]) - account.members[deal.account], account.members[deal.account]
    )
    who = account.start[deal.account][members] + offset
    chance = np.where(np.isin(human.role[who], (3, 4)), 0.85, 0.4)
    keep = known[who] & (rng.random(len(who)) < chance)
    first = np.zeros(len(who), bool)
    usable = np.flatnonzero(known[who])
    first[usable[np.diff(members[usable], prepend=-1) != 0]] = True
    keep |= first
    deal.contact = np.full(deal.n, -1)
    deal.contact[members[first]] = who[first]
    deal.people = (members[keep], who[keep], np.maximum(human.role[who[keep]], 0))


def make_cases(
    seed: int,
    part: int,
    human: SimpleNamespace,
    order: SimpleNamespace,
    stages: SimpleNamespace,
    account: SimpleNamespace,
    known: np.ndarray,
    begin: int,
    as_of: int,
) -> SimpleNamespace:
    """Complaints about orders, and questions in adopt and use.

    Returns
    -------
    SimpleNamespace
        human, at, closed_at (0: open), reason (code), well (2 well handled, 1 badly, 0 no complaint), words, cost,
        score, scored_at.
    """
    rng = stream(seed, part, "cases")
    wrong = np.flatnonzero(order.complaint > 0)
    at = np.where(
        order.late[wrong],
        order.promised_at[wrong] + (DAY * (1 + rng.exponential(2, len(wrong)))).astype(np.int64),
        order.delivered_at[wrong] + (DAY * rng.exponential(4, len(wrong))).astype(np.int64),
    )
    reason = np.where(order.late[wrong], 0, 1)
    handled = order.complaint[wrong]
    days = np.clip(np.where(handled == 2, rng.gamma(2, 0.9, len(wrong)), rng.gamma(2, 7, len(wrong))), 0.05, 80)
    asks = np.flatnonzero(np.isin(stages.stage, (3, 4)) & (rng.random(len(stages.stage)) < 0.07))
    start, end = np.maximum(stages.start[asks], begin), np.minimum(stages.end[asks], as_of)
    asks, start, end = asks[end > start], start[end > start], end[end > start]
    asker = account.start[stages.account[asks]] + (rng.random(len(asks)) * account.members[stages.account[asks]]).astype(int)
    when = start + (rng.random(len(asks)) * (end - start)).astype(np.int64)
    case = SimpleNamespace(
        human=np.concatenate([order.human[wrong], asker]),
        at=np.concatenate([at, when]),
        reason=np.concatenate([reason, rng.integers(2, 6, len(asks))]),
        well=np.concatenate([handled, np.zeros(len(asks), int)]),
    )
    case.at = working_day(case.at) // DAY * DAY + 8 * 3600 + (rng.beta(1.5, 1.5, len(case.at)) * 10 * 3600).astype(np.int64)
    days = np.concatenate([days, np.clip(rng.gamma(1, 0.8, len(asks)), 0.01, 20)])
    keep = (case.at >= begin) & (case.at < as_of) & known[case.human]
    by = np.flatnonzero(keep)[np.argsort(case.at[keep], kind="stable")]
    for name in ("human", "at", "reason", "well"):
        setattr(case, name, getattr(case, name)[by])
    case.n = len(by)
    closed = np.maximum(daytime(case.at + (days[by] * DAY).astype(np.int64), 8, 19), case.at + 300)
    case.closed_at = np.where(closed < as_of, closed, 0)
    texts = [text for group in _WORDS for text in group]
    offset = np.cumsum([0] + [len(group) for group in _WORDS])
    size = np.array([len(group) for group in _WORDS])
    case.texts, case.text = texts, offset[case.reason] + (rng.random(case.n) * size[case.reason]).astype(int)
    case.cost = np.round(np.where(case.well == 2, 24, np.where(case.well == 1, 11, 5)) * rng.uniform(0.6, 1.6, case.n), 2)
    asked = (case.closed_at > 0) & (rng.random(case.n) < 0.35)
    case.scored_at = np.where(asked, case.closed_at + DAY, 0)
    case.scored_at = settled(np.where(case.scored_at < as_of, case.scored_at, 0))
    mean = np.where(case.well == 2, 4.4, np.where(case.well == 1, 1.9, 3.9))
    case.score = np.clip(np.round(rng.normal(mean, 0.8)), 1, 5).astype(int)
    return case


def make_surveys(
    seed: int, part: int, human: SimpleNamespace, order: SimpleNamespace, known: np.ndarray, begin: int, as_of: int
) -> SimpleNamespace:
    """How likely are they to recommend us? Asked some weeks after an order; worse after a late one."""
    rng = stream(seed, part, "surveys")
    asked = np.flatnonzero((rng.random(len(order.at)) < 0.12) & known[order.human])
    at = order.delivered_at[asked] + 21 * DAY
    asked, at = asked[(at >= begin) & (at < as_of)], settled(at[(at >= begin) & (at < as_of)])
    mood = (
        8.3
        - 1.6 * order.late[asked]
        - 2.6 * (order.complaint[asked] == 1)
        + 0.5 * (order.complaint[asked] == 2)
        - 0.25 * (human.quit[order.human[asked]] + 2)
    )
    return SimpleNamespace(human=order.human[asked], at=at, score=np.clip(np.round(rng.normal(mood, 1.6)), 0, 10).astype(int))


def make_referrals(
    seed: int,
    part: int,
    human: SimpleNamespace,
    stages: SimpleNamespace,
    account: SimpleNamespace,
    known: np.ndarray,
    begin: int,
    as_of: int,
) -> SimpleNamespace:
    """Who brought whom: somebody in `recommend`, and somebody found in the weeks after."""
    rng = stream(seed, part, "referrals")
    rows = np.flatnonzero(
        (stages.stage == 5) & (stages.start >= begin) & (stages.start < as_of) & (rng.random(len(stages.stage)) < 0.45)
    )
    rows = rows[np.argsort(stages.start[rows], kind="stable")]
    giver = account.start[stages.account[rows]]
    new = np.flatnonzero(known)[np.argsort(human.found_at[known], kind="stable")]
    first = np.searchsorted(human.found_at[new], stages.start[rows])
    taker = np.minimum(first + rng.integers(0, 12, len(rows)), len(new) - 1)
    taken = new[taker] if len(new) else taker
    good = known[giver] & (human.account[giver] != human.account[taken]) & (human.found_at[taken] >= stages.start[rows])
    good &= np.diff(taken, prepend=-1) != 0
    at = settled(np.minimum(human.found_at[taken], as_of - 3600))
    _, only_first = np.unique(taken[good], return_index=True)
    return SimpleNamespace(giver=giver[good][only_first], taker=taken[good][only_first], at=at[good][only_first])
