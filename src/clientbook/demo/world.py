"""What kind of company is it, and how do its customers behave?

Every number that shapes the made company stands in this file; `rates()` gives those that can be counted in
what is delivered, so that a test can compare what was asked with what was made.
"""

from __future__ import annotations

import numpy as np

DAY = 86_400
YEAR = 365 * DAY
HISTORY_DAYS = 3 * 365 + 1
STAGES = ("need", "research", "decide", "adopt", "use", "recommend")
TOPICS = (
    "hospitality_uniforms",
    "airline_uniforms",
    "school_uniforms",
    "made_to_measure",
    "occasion_wear",
    "alterations",
    "fabric",
    "accessories",
)
TOPIC_LABELS = (
    "Hotel & Gastro",
    "Airline",
    "Schulkleidung",
    "Massanfertigung",
    "Festmode",
    "Änderungen",
    "Stoffe",
    "Accessoires",
)
INDUSTRIES = ("hotel", "airline", "school", "boutique", "restaurant", "office")
INDUSTRY_SHARES = (0.30, 0.05, 0.17, 0.22, 0.18, 0.08)
ROLES = ("initiator", "user", "influencer", "decider", "buyer", "gatekeeper")
CHANNELS = ("email", "sms", "post", "phone")
TEAMS = ("brand", "product", "sales", "service")

# rate: orders a year; shape: regularity of the gaps (1 is random, above is regular, below comes in bursts);
# life: years until a customer just leaves; quit: log-odds of not coming back after an order;
# value: log of the quantity factor; tier: 0 cheap to 3 dear; season: which yearly profile
PERSONAS = {
    "procurement_pro": dict(
        b2b=1,
        share=0.26,
        buys=0.55,
        rate=3.2,
        spread=0.7,
        shape=3.5,
        life=5.0,
        quit=-2.6,
        lines=4.0,
        quantity=1.6,
        tier=1,
        returns=0.02,
        season=0,
        topics=(4, 1, 1, 1, 0, 1, 1, 1),
        mix=(0.35, 0.02, 0.63),
        age=46,
        night=0.0,
    ),
    "house_manager": dict(
        b2b=1,
        share=0.28,
        buys=0.60,
        rate=1.8,
        spread=0.8,
        shape=1.6,
        life=4.0,
        quit=-2.2,
        lines=3.2,
        quantity=1.1,
        tier=1,
        returns=0.04,
        season=1,
        topics=(5, 0, 0, 2, 1, 2, 1, 2),
        mix=(0.55, 0.05, 0.40),
        age=41,
        night=0.1,
    ),
    "school_office": dict(
        b2b=1,
        share=0.18,
        buys=0.65,
        rate=1.4,
        spread=0.5,
        shape=5.0,
        life=7.0,
        quit=-3.0,
        lines=2.6,
        quantity=1.8,
        tier=0,
        returns=0.06,
        season=2,
        topics=(0, 0, 7, 0, 1, 1, 0, 1),
        mix=(0.70, 0.02, 0.28),
        age=49,
        night=0.0,
    ),
    "boutique_owner": dict(
        b2b=1,
        share=0.28,
        buys=0.70,
        rate=2.6,
        spread=0.9,
        shape=0.7,
        life=3.0,
        quit=-1.9,
        lines=4.5,
        quantity=0.8,
        tier=2,
        returns=0.08,
        season=3,
        topics=(0, 0, 0, 1, 4, 1, 5, 5),
        mix=(0.60, 0.10, 0.30),
        age=38,
        night=0.3,
    ),
    "bespoke_client": dict(
        b2b=0,
        share=0.16,
        buys=0.80,
        rate=1.3,
        spread=0.6,
        shape=2.2,
        life=6.0,
        quit=-2.3,
        lines=1.7,
        quantity=0.0,
        tier=3,
        returns=0.02,
        season=3,
        topics=(0, 0, 0, 8, 2, 3, 1, 2),
        mix=(0.25, 0.65, 0.10),
        age=54,
        night=0.1,
    ),
    "bargain_hunter": dict(
        b2b=0,
        share=0.26,
        buys=0.75,
        rate=2.0,
        spread=0.9,
        shape=0.6,
        life=2.0,
        quit=-1.3,
        lines=2.4,
        quantity=0.1,
        tier=0,
        returns=0.30,
        season=3,
        topics=(0, 0, 1, 0, 4, 0, 2, 6),
        mix=(0.90, 0.10, 0.0),
        age=33,
        night=0.8,
    ),
    "occasion_buyer": dict(
        b2b=0,
        share=0.36,
        buys=0.70,
        rate=0.6,
        spread=0.6,
        shape=1.0,
        life=2.5,
        quit=-0.6,
        lines=2.0,
        quantity=0.1,
        tier=2,
        returns=0.14,
        season=1,
        topics=(0, 0, 0, 2, 7, 2, 0, 3),
        mix=(0.65, 0.35, 0.0),
        age=36,
        night=0.6,
    ),
    "home_tailor": dict(
        b2b=0,
        share=0.22,
        buys=0.85,
        rate=2.4,
        spread=0.7,
        shape=1.8,
        life=4.0,
        quit=-2.0,
        lines=3.4,
        quantity=0.3,
        tier=1,
        returns=0.05,
        season=0,
        topics=(0, 0, 0, 0, 1, 2, 8, 3),
        mix=(0.70, 0.30, 0.0),
        age=58,
        night=0.4,
    ),
}
PERSONA_NAMES = tuple(PERSONAS)

# relative demand by month: steady, spring and autumn, late summer, Christmas
SEASONS = np.array(
    [
        [0.95, 0.95, 1.05, 1.0, 1.0, 0.95, 0.85, 0.85, 1.1, 1.1, 1.15, 1.05],
        [0.7, 0.8, 1.2, 1.4, 1.5, 1.2, 0.8, 0.7, 1.2, 1.1, 0.9, 0.5],
        [0.6, 0.6, 0.7, 0.8, 0.9, 1.3, 2.0, 2.3, 1.0, 0.6, 0.6, 0.6],
        [0.8, 0.7, 0.8, 0.9, 0.9, 0.8, 0.8, 0.8, 0.9, 1.1, 1.6, 2.1],
    ]
)
TREND_PER_YEAR = 0.07

# The walk before a first order: from need, research, decide to one of them, to the order ("won") or away ("left").
WALK = np.array([[0.00, 0.62, 0.08, 0.02, 0.28], [0.14, 0.00, 0.56, 0.04, 0.26], [0.04, 0.20, 0.00, 0.52, 0.24]])
WALK_ENTRY = np.array([0.64, 0.26, 0.10])
STAY_SHAPE = np.array([1.3, 1.4, 1.6, 2.0, 1.2, 1.5])
STAY_DAYS = np.array([24.0, 21.0, 13.0, 40.0, 150.0, 35.0])
RECOMMENDS, LOOKS_AGAIN = 0.16, 0.22
CLOSES_AFTER_DAYS = 240
VISITS_PER_MONTH = np.array([1.5, 2.1, 3.2, 1.7, 0.75, 1.5])

# event: source, then how often in each stage (columns as STAGES), then the format of the piece that it shows
EVENTS = {
    "article_view": ("web", (30, 12, 3, 2, 3, 3), "article"),
    "video_play": ("web", (12, 6, 3, 4, 2, 2), "video"),
    "search": ("web", (14, 13, 7, 4, 3, 2), None),
    "home_page": ("web", (18, 9, 6, 5, 7, 6), None),
    "guide_download": ("web", (3, 18, 3, 1, 1, 1), "report"),
    "webinar_registered": ("web", (2, 8, 3, 2, 4, 2), "webinar"),
    "compare_products": ("web", (2, 18, 6, 0, 1, 0), None),
    "product_page": ("web", (7, 13, 20, 4, 7, 5), "product sheet"),
    "success_story": ("web", (3, 6, 11, 1, 2, 5), "case study"),
    "price_page": ("web", (1, 3, 17, 1, 2, 1), "price list"),
    "add_to_cart": ("web", (0, 1, 13, 1, 4, 1), None),
    "checkout_started": ("web", (0, 0, 6, 1, 3, 1), None),
    "sample_requested": ("web", (0, 2, 6, 0, 1, 0), None),
    "fitting_booked": ("web", (0, 1, 5, 5, 2, 1), None),
    "first_steps_page": ("web", (0, 0, 1, 22, 2, 1), "first steps"),
    "care_manual": ("web", (0, 0, 1, 16, 10, 3), "manual"),
    "help_page": ("web", (1, 1, 1, 14, 9, 2), "help"),
    "course_registered": ("web", (0, 0, 0, 2, 11, 3), "course"),
    "user_meeting": ("crm", (0, 0, 0, 1, 5, 6), None),
    "my_account": ("web", (0, 0, 1, 9, 24, 8), None),
    "reorder_list": ("web", (0, 0, 1, 2, 15, 4), None),
    "review_written": ("web", (0, 0, 0, 1, 2, 18), None),
    "reference_given": ("crm", (0, 0, 0, 0, 1, 11), None),
    "community_post": ("web", (0, 0, 0, 5, 7, 9), None),
    "sales_visit": ("crm", (1, 3, 8, 3, 3, 3), None),
    "call_in": ("callcentre", (2, 4, 5, 8, 5, 3), None),
    "call_out": ("callcentre", (2, 3, 5, 2, 2, 2), None),
}
EVENT_NAMES = tuple(EVENTS)
EMISSION = np.array([weights for _, weights, _ in EVENTS.values()], dtype=float)
EMISSION /= EMISSION.sum(axis=0)
FORMATS = (
    ("article", "video"),
    ("report", "webinar"),
    ("case study", "product sheet", "price list"),
    ("first steps", "manual", "help"),
    ("course", "webinar"),
    ("reference request", "focus group"),
)
# who in a company is busy at which stage (rows as ROLES)
ROLE_BY_STAGE = np.array(
    [
        [3, 2, 1, 0.5, 0.5, 1],
        [0.5, 1, 1, 3, 3, 2],
        [1.5, 2, 1.5, 1, 1, 1.5],
        [0.5, 0.7, 3, 0.5, 0.5, 1.5],
        [0.3, 1, 2.5, 1.5, 1.5, 0.5],
        [0.4, 0.4, 0.4, 0.4, 0.4, 0.2],
    ]
)

LATE, LATE_IN_DECEMBER = 0.07, 0.16
COMPLAINT, COMPLAINT_IF_LATE, HANDLED_WELL = 0.022, 0.28, 0.5
# true effects: log-odds of not coming back after an order; the sample's is log-odds of ordering instead of leaving
EFFECTS = {"late_delivery": 0.9, "complaint_handled_badly": 1.2, "complaint_handled_well": -0.7, "sample_sent": 0.8}
SAMPLE_BASE = -1.4
EXPERIMENT = dict(days_before=170, share=0.35, uplift_mean=0.05, uplift_if_recent=0.08, window_days=30)

POLICY = dict(max_messages=8, period_days=30)
PLANTED = dict(messages=30, days=30, contacts=2)

SPOIL = {
    "typo": 0.018,
    "phonetic": 0.010,
    "ocr": 0.006,
    "nickname": 0.03,
    "initial": 0.012,
    "swapped_names": 0.012,
    "case": 0.035,
    "blanks": 0.02,
    "full_width": 0.004,
    "title": 0.015,
    "email_case": 0.03,
    "email_typo": 0.008,
    "plus_address": 0.02,
    "phone_old_format": 0.12,
    "phone_typo": 0.008,
    "placeholder": 0.012,
    "date_typo": 0.012,
    "company_spelling": 0.55,
    "date_placeholder": 0.006,
    "street_abbreviated": 0.10,
}
RECORDS = {
    "crm_duplicate": 0.05,
    "shop_duplicate": 0.06,
    "callcentre_duplicate": 0.05,
    "newsletter_duplicate": 0.04,
    "shared_email": 0.03,
    "shared_phone": 0.10,
    "role_mailbox": 0.05,
    "name_changed": 0.05,
    "double_name": 0.3,
    "moved": 0.12,
    "native_script": 0.6,
    "traditional": 0.3,
    "twins": 0.02,
    "same_name_parent": 0.02,
    "private_shopper": 0.06,
    "account_duplicate": 0.12,
    "no_consent_record": 0.09,
}
REJECTS = {"orders_impossible_date": 0.0008, "orders_without_person": 0.0012, "orders_delivered_twice": 0.002}
# no message is drawn wrong: teams, consents, deals and complaints make it so, about this often
VERDICT_SHARES = {
    "right": 0.50,
    "operational": 0.10,
    "no_consent": 0.104,
    "wrong_stage": 0.076,
    "over_cap": 0.075,
    "after_close": 0.062,
    "duplicate": 0.042,
    "over_preference": 0.025,
    "wrong_topic": 0.010,
    "open_complaint": 0.0015,
}


def rates() -> dict[str, float]:
    """How often should each planted thing occur?

    Returns
    -------
    dict
        Name to rate. ``spoil.*``: share of the cells that this kind could spoil; ``records.*``: share of the
        records (or humans, households, accounts) that it concerns; ``rejects.*``: share of the order lines;
        ``verdicts.*``: about this share of the messages (teams, consents and deals bring it about, nobody draws it).
        `clientbook.demo.dictionary()` says where each is found in the truth.
    """
    groups = {"spoil": SPOIL, "records": RECORDS, "rejects": REJECTS, "verdicts": VERDICT_SHARES}
    return {f"{group}.{name}": rate for group, part in groups.items() for name, rate in part.items()}


def share_won() -> np.ndarray:
    """What share of the walks that stand in need, research, decide ends with an order?"""
    return np.linalg.solve(np.eye(3) - WALK[:, :3], WALK[:, 3])
