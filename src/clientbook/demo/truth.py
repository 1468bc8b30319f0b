"""What is true, in tables."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from .calendar import utc
from .deliveries import cookie_id
from .names import CULTURES, family_names, given_names
from .responses import COEFFICIENTS
from .sales import piece_id
from .systems import pick_account
from .text import coded, digits, join, moment, only, pick, same
from .verdicts import REASONS, VERDICTS
from .world import (
    CHANNELS,
    EFFECTS,
    EMISSION,
    EVENT_NAMES,
    INDUSTRIES,
    PERSONA_NAMES,
    ROLES,
    STAGES,
    STAY_DAYS,
    STAY_SHAPE,
    TOPICS,
    VISITS_PER_MONTH,
    WALK,
    WALK_ENTRY,
)

NAME_FORMS = ("current", "maiden", "double")
SCRIPTS = ("latin", "native", "traditional")
EMAIL_KINDS = ("private", "business", "household", "role_mailbox")
ENDINGS = ("never bought", "need ended", "left after an order", "left after a late delivery", "left after a complaint")


def human_id(numbers: np.ndarray) -> pa.Array:
    """The true id of a human."""
    return join("p-", digits(np.maximum(numbers, 0), 7))


def people(account, human, row: SimpleNamespace) -> pa.Table:
    """A source's records: whose they are, and in which form."""
    n, who = row.n, row.human
    email = pick(EMAIL_KINDS, row.email_kind)
    return pa.table(
        {
            "source": same(row.source, n),
            "person_id": row.key,
            "human_id": human_id(human.number[who]),
            "account_id": pick_account(account, human.account[who]),
            "created_at": moment(utc(row.created_at), True),
            "is_duplicate": pa.array(row.copy),
            "name_form": pick(NAME_FORMS, row.name_form),
            "script": pick(SCRIPTS, row.script),
            "address_is_old": pa.array(row.address_form == 1),
            "email_kind": email,
            "phone_is_shared": pa.array(row.phone_kind == 1),
        }
    )


def cookies(account, human, slots: np.ndarray) -> pa.Table:
    """Browsers: whose they are."""
    who, n = slots // 6, len(slots)
    return pa.table(
        {
            "source": same("web", n),
            "person_id": cookie_id(human.number[who] * 8 + slots % 6),
            "human_id": human_id(human.number[who]),
            "account_id": pick_account(account, human.account[who]),
            "created_at": pa.nulls(n, pa.timestamp("us", "UTC")),
            "is_duplicate": pa.array(np.zeros(n, bool)),
            "name_form": pa.nulls(n, pa.string()),
            "script": pa.nulls(n, pa.string()),
            "address_is_old": pa.array(np.zeros(n, bool)),
            "email_kind": pa.nulls(n, pa.string()),
            "phone_is_shared": pa.array(np.zeros(n, bool)),
        }
    )


def humans(account, human) -> pa.Table:
    """Who they are."""
    given, family = given_names(), family_names()
    native = np.isin(human.culture, (4, 5, 6))
    return pa.table(
        {
            "human_id": human_id(human.number),
            "account_id": pick_account(account, human.account),
            "is_business": pa.array(human.b2b),
            "persona": pick(PERSONA_NAMES, human.persona),
            "role": pick(ROLES, human.role),
            "given_name": pick(given.latin, human.given),
            "family_name": pick(family.latin, human.family),
            "maiden_name": pick(family.latin, human.maiden),
            "given_name_native": only(pick(given.native, human.given), native),
            "family_name_native": only(pick(family.native, human.family), native),
            "given_name_traditional": only(pick(given.other, human.given), human.culture == 6),
            "family_name_traditional": only(pick(family.other, human.family), human.culture == 6),
            "culture": pick(CULTURES, human.culture),
            "sex": pick(("m", "f"), human.sex),
            "birth_date": pa.array(human.birth.astype("datetime64[D]")),
            "email": human.mails[0],
            "business_email": human.mails[1],
            "phone": human.mobiles,
            "is_twin": pa.array(human.twin),
            "is_namesake": pa.array(human.namesake),
            "name_changed_at": moment(np.where(human.maiden >= 0, utc(human.changed_at), 0), True),
            "moved_at": moment(utc(human.moved_at), True),
            "found_at": moment(utc(human.found_at), True),
            "social_reach": pa.array(human.reach),
        }
    )


def accounts(account) -> pa.Table:
    """Companies and households."""
    name, legal, domain = account.words
    parent = only(pick_account(account, np.maximum(account.parent, 0)), account.parent >= 0)
    return pa.table(
        {
            "account_id": pick_account(account, np.arange(account.n)),
            "kind": pick(("household", "company"), account.company.astype(int)),
            "name": name,
            "legal_form": legal,
            "domain": domain,
            "industry": pick(INDUSTRIES, account.industry),
            "members": pa.array(account.members),
            "parent_account_id": parent,
        }
    )


def value(account, human, ending, worth, future, past, coming) -> pa.Table:
    """Rates, leaving, order value, returns, cost, and what the next twelve months will bring."""
    r = lambda column, places=4: pa.array(np.round(np.asarray(column, float), places))  # noqa: E731
    return pa.table(
        {
            "human_id": human_id(human.number),
            "account_id": pick_account(account, human.account),
            "ever_buys": pa.array(human.buys),
            "orders_per_year": r(human.rate),
            "regularity": r(human.shape),
            "season": pick(("steady", "spring and autumn", "late summer", "christmas"), human.season),
            "is_wholesale": pa.array(human.wholesale),
            "quit_log_odds": r(human.quit),
            "first_order_at": moment(utc(ending.first_at), True),
            "dropped_at": moment(utc(ending.dropped_at), True),
            "dropped_for": pick(ENDINGS, ending.dropped_for),
            "order_amount": r(worth.amount, 2),
            "order_cost": r(worth.cost, 2),
            "return_share": r(worth.back),
            "order_margin": r(worth.margin, 2),
            "is_alive": pa.array(future.alive),
            "p_alive": r(future.p_alive),
            "expected_orders": r(future.expected_orders),
            "expected_margin": r(future.expected_orders * worth.margin, 2),
            "expected_orders_from_history": r(future.expected_orders_history),
            "expected_margin_from_history": r(future.expected_orders_history * worth.margin, 2),
            "past_orders": pa.array(past.orders),
            "past_margin": r(past.margin, 2),
            "future_orders": pa.array(coming.orders),
            "future_amount": r(coming.amount, 2),
            "future_margin": r(coming.margin, 2),
        }
    )


def stages(account, stage, base: int) -> pa.Table:
    """Where each account stood on each topic."""
    return pa.table(
        {
            "subject_type": same("account", len(stage.stage)).dictionary_encode(),
            "subject_id": pick_account(account, stage.account),
            "topic": coded(TOPICS, stage.topic),
            "journey_id": join("j-", digits(base + stage.journey)),
            "stage": coded(STAGES, stage.stage),
            "valid_from": moment(utc(stage.start), True),
            "valid_to": moment(utc(stage.end), True),
        }
    )


def journeys(account, walk, base: int) -> pa.Table:
    """Each journey from its opening to its close."""
    return pa.table(
        {
            "journey_id": join("j-", digits(base + np.arange(walk.n))),
            "subject_id": pick_account(account, walk.account),
            "topic": pick(TOPICS, walk.topic),
            "opened_at": moment(utc(walk.opened_at), True),
            "closed_at": moment(utc(walk.closed_at), True),
            "is_won": pa.array(walk.outcome == 3),
            "won_at": moment(utc(walk.won_at), True),
            "decides_at": moment(utc(walk.decides_at), True),
            "sample_at": moment(utc(walk.sample_at), True),
        }
    )


def messages(account, human, message, verdict: dict) -> pa.Table:
    """Every reason and the verdict of each message."""
    n = len(message.at)
    columns = {
        "message_id": message.key,
        "source": same("newsletter", n).dictionary_encode(),
        "human_id": human_id(human.number[message.human]),
        "account_id": pick_account(account, message.account),
        "sent_at": moment(utc(message.at), True),
        "stage_at_send": coded(STAGES, verdict["stage_at_send"]),
    }
    columns |= {name: pa.array(verdict[name]) for name in REASONS}
    return pa.table(columns | {"verdict": coded(VERDICTS, verdict["verdict"])})


def experiments(human, rows, test) -> pa.Table:
    """The randomised mailing, human by human."""
    n = len(test.human)
    return pa.table(
        {
            "experiment": same("spring_offer", n),
            "human_id": human_id(human.number[test.human]),
            "source": same("newsletter", n),
            "person_id": rows.key.take(pa.array(test.row)),
            "arm": pick(("control", "treated"), test.treated.astype(int)),
            "sent_at": moment(utc(np.full(n, test.sent_at)), True),
            "uplift": pa.array(test.uplift),
            "is_extra_order": pa.array(test.extra),
            "extra_order_at": moment(utc(np.where(test.extra, test.extra_at, 0)), True),
        }
    )


def responsiveness(account, human, worth) -> pa.Table:
    """How each person answers, by channel, weekday, hour and topic."""
    columns = {
        "human_id": human_id(human.number),
        "account_id": pick_account(account, human.account),
        "best_weekday": pa.array(human.best_day),
        "best_hour": pa.array(human.best_hour),
        "order_margin": pa.array(np.round(worth.margin, 2)),
    }
    columns |= {f"open_{name}": pa.array(np.round(human.open_logit[:, i], 4)) for i, name in enumerate(CHANNELS)}
    return pa.table(columns | {f"likes_{name}": pa.array(np.round(human.likes[:, i], 5)) for i, name in enumerate(TOPICS)})


def constant_tables(shop) -> dict[str, pa.Table]:
    """What is the same for everybody: pieces, the walk's chain, emissions, answers' coefficients."""
    pieces = np.arange(len(shop.title))
    moves = [(STAGES[i], (*STAGES[:4], "left")[j], float(WALK[i, j])) for i in range(3) for j in range(5)] + [
        ("", STAGES[i], float(WALK_ENTRY[i])) for i in range(3)
    ]
    emissions = [(STAGES[s], name, round(float(EMISSION[e, s]), 6)) for s in range(6) for e, name in enumerate(EVENT_NAMES)]

    def table(rows, *names):
        return pa.table({name: pa.array(column) for name, column in zip(names, zip(*rows, strict=False), strict=False)})

    return {
        "content": pa.table(
            {
                "content_id": piece_id(pieces),
                "topic": pick(TOPICS, shop.piece_topic),
                "stage": pick(STAGES, shop.piece_stage),
                "appeal": pa.array(shop.appeal),
                "is_stage_untold": pa.array(shop.stage_untold),
                "is_topic_untold": pa.array(shop.topic_untold),
            }
        ),
        "transitions": table(moves, "stage_from", "stage_to", "probability"),
        "stays": table(
            [(STAGES[s], float(STAY_SHAPE[s]), float(STAY_DAYS[s]), float(VISITS_PER_MONTH[s])) for s in range(6)],
            "stage",
            "shape",
            "mean_days",
            "visits_per_month",
        ),
        "emissions": table(emissions, "stage", "event_name", "probability"),
        "response_model": table(list(COEFFICIENTS.items()), "parameter", "value"),
    }


def effects(sums: dict[str, list[float]]) -> pa.Table:
    """The planted effects, in log-odds and in probability."""
    says = {
        "late_delivery": "no further order after this one",
        "complaint_handled_badly": "no further order after this one",
        "complaint_handled_well": "no further order after this one",
        "sample_sent": "an order instead of leaving, for walks that came to decide",
        "spring_offer": "a further order within 30 days of the mailing (randomised)",
    }
    measure = {
        name: "difference in the probability of a further order within 180 days, for those it happened to" for name in says
    }
    measure["sample_sent"] = "difference in the probability of an order, for those it happened to"
    measure["spring_offer"] = "difference in the probability of a further order within 30 days, over both arms"
    names = list(says)
    total = [sums.get(name, [0.0, 0]) for name in names]
    return pa.table(
        {
            "effect": names,
            "outcome": [says[name] for name in names],
            "log_odds": pa.array([EFFECTS.get(name) for name in names], pa.float64()),
            "difference": [round(float(a) / max(n, 1), 5) for a, n in total],
            "difference_is": [measure[name] for name in names],
            "n": [int(n) for _, n in total],
        }
    )
