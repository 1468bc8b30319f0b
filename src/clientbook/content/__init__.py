"""What was sent: was it right? What comes next: to whom, about what, when?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import ibis
import ibis.expr.types as ir
import pandas as pd
from pydantic import Field

from clientbook import charts, clocks, parsing
from clientbook.book import Settings
from clientbook.content import accounts, actions, audit, guess, mapping, outcomes, page, policy, pressure
from clientbook.content.accounts import groups, say_silent
from clientbook.content.actions import counts, left_alone
from clientbook.content.audit import REASONS, VERDICTS, Circumstances
from clientbook.content.guess import say_gap
from clientbook.content.mapping import by_stage, grid, say_grid
from clientbook.content.outcomes import by as outcomes_by
from clientbook.content.outcomes import contradictions, cost, say_contradictions, say_cost
from clientbook.content.page import (
    answer,
    draw,
    draw_grid,
    draw_lanes,
    draw_reach,
    draw_responses,
    key_numbers,
    reasons,
    responses,
    say_doubts,
    say_months,
    say_responses,
    say_shares,
    shares,
    show,
)
from clientbook.content.pressure import reach, say_reach, worst
from clientbook.content.score import score
from clientbook.customers import of_known, with_customer
from clientbook.stage import NothingToShow, Parameters, Stage, Step
from clientbook.tables import CANONICAL, Column, Table

__all__ = [
    "REASONS",
    "STAGE",
    "VERDICTS",
    "Circumstances",
    "ContentParameters",
    "Work",
    "accounts",
    "actions",
    "analyse",
    "answer",
    "asked",
    "audit",
    "buying_groups",
    "by_stage",
    "contradictions",
    "cost",
    "counts",
    "draw",
    "draw_grid",
    "draw_lanes",
    "draw_reach",
    "draw_responses",
    "followed_by",
    "gains",
    "grid",
    "groups",
    "guess",
    "key_numbers",
    "labels_of",
    "left_alone",
    "mapping",
    "outcomes",
    "outcomes_by",
    "page",
    "policies",
    "policy",
    "pressure",
    "reach",
    "reasons",
    "responses",
    "say_contradictions",
    "say_cost",
    "say_doubts",
    "say_gains",
    "say_gap",
    "say_grid",
    "say_months",
    "say_reach",
    "say_responses",
    "say_shares",
    "say_silent",
    "score",
    "shares",
    "show",
    "silence",
    "tested",
    "told_beside",
    "worst",
]


class ContentParameters(Parameters):
    """What an analyst may change in `06_content`."""

    complaint: str = Field("complaint", min_length=1, description="what the name of a case's reason contains that is a complaint")
    share_of_value: float = Field(
        0.01, gt=0, le=1, description="the share of a customer's expected value that one answer is taken to bring"
    )
    fresh_days: int = Field(14, ge=1, description="for how many days a trigger, such as an abandoned cart, is worth following")
    explore: float = Field(
        0.05, ge=0, le=1, description="the share of accounts whose piece is drawn by lot, so that something is learnt"
    )
    seed: int = Field(1, description="what they are drawn with")


_ID = "the customer's id in this book"
_ACCOUNT = "the account's id in this book"

TABLES = (
    Table(
        "content_map",
        "pieces of one stage, topic, role and format, and how they are used by one channel",
        (
            Column("stage", "text", "stage that the pieces are for; empty: not known"),
            Column("topic", "text", "topic; empty: not known"),
            Column("role", "text", "role that they speak to"),
            Column("format", "text", "article, video, …"),
            Column("channel", "text", "channel that they were sent by; empty: not sent"),
            Column("pieces", "number", "how many there are; 0: a stage and topic without any", unit="pieces"),
            Column("sent", "number", "how often they were sent", unit="messages"),
            Column("opened", "number", "how many of these were opened", unit="messages"),
            Column("clicked", "number", "how many of these were clicked", unit="messages"),
            Column("click_rate", "number", "clicked by sent", unit="share"),
            Column("reads", "number", "how often they were read outside messages; in the first channel only", unit="events"),
        ),
    ),
    Table(
        "message_audit",
        "a message with what was wrong with it, as of the time of sending",
        (
            Column("source", "text", "source of the message"),
            Column("message_id", "id", "the message's id in its source"),
            Column("customer_id", "id", _ID),
            Column("account_id", "id", _ACCOUNT),
            Column("sent_at", "time", "when it was sent"),
            Column("channel", "text", "channel"),
            Column("sender", "text", "team that sent it"),
            Column("message_type", "text", "newsletter, offer, …"),
            Column("topic", "text", "the message's topic, else that of its content"),
            Column("stage_at_send", "text", "stage of the account on the topic, as known then; empty: no journey open"),
            Column("verdict", "text", "the first reason that holds, else right; operational messages are not judged"),
            *(Column(name, "flag", page.MEANINGS[name]) for name in REASONS),
        ),
    ),
    Table(
        "pressure",
        "what an account had got in the contact policy's period up to a day on which it got something",
        (
            Column("account_id", "id", _ACCOUNT),
            Column("window_end", "date", "last day of the period, in the book's zone"),
            Column("messages", "number", "messages, without operational ones", unit="messages"),
            Column("contacts", "number", "customers of the account who got one", unit="customers"),
            Column("opens", "number", "how many of them were opened", unit="messages"),
            Column("replies", "number", "how many of them were answered", unit="messages"),
        ),
    ),
    Table(
        "next_actions",
        "the next thing to do with a customer",
        (
            Column("customer_id", "id", _ID),
            Column("account_id", "id", _ACCOUNT),
            Column("action", "text", "send, a trigger's action, call by service, or leave alone"),
            Column("content_source", "text", "source of the piece"),
            Column("content_id", "id", "the piece's id in its source"),
            Column("topic", "text", "what the customer is after"),
            Column("stage", "text", "where they stand on it"),
            Column("channel", "text", "by which channel"),
            Column("weekday", "number", "on which day, 1 is Monday", unit="day of the week"),
            Column("hour", "number", "at which hour, 0 to 23, in the book's zone", unit="hour"),
            Column("reason", "text", "why, in words"),
            Column(
                "expected_margin",
                "money",
                "chance of an answer, by the further orders it brings, by the margin of one, less the cost of sending",
            ),
            Column("consent", "text", "given, none, unknown (no consents in the book), not needed (service)"),
            Column("answer_chance", "number", "how likely a click or a reply is", unit="share"),
            Column("explores", "flag", "the piece was drawn by lot, to learn"),
        ),
    ),
    Table(
        "accounts_view",
        "a contact of an account that has several",
        (
            Column("account_id", "id", _ACCOUNT),
            Column("kind", "text", "company, household"),
            Column("contacts", "number", "how many contacts the account has", unit="customers"),
            Column("customer_id", "id", _ID),
            Column("role", "text", "their role in the latest decision in which they have one"),
            Column("age_group", "text", "below 30, 30 to 44, 45 to 59, 60 and above; empty: not known"),
            Column("topic", "text", "what they are after"),
            Column("stage", "text", "where they stand on it"),
            Column("reads_most", "text", "topic of most of what they read, buy and answer"),
            Column("last_seen", "time", "when they last did something by themselves"),
            Column("last_message", "time", "when they last got a message"),
            Column("messages", "number", "what they got in the contact policy's period", unit="messages"),
            Column("answers", "number", "how many messages they ever clicked or answered", unit="messages"),
            Column("is_silent", "flag", "neither seen nor answering for 90 days"),
            Column("needs", "text", "what somebody at that stage needs, in words"),
        ),
    ),
)

STAGE = Stage(
    name="content",
    uses=(
        "messages", "content", "consents", "preferences", "cases", "opportunities", "opportunity_people", "identities",
        "identity_draws", "customers", "resolved_accounts", "account_identities", "stage_intervals", "value", "events",
        "products", "orders", "deliveries", "responsiveness", "message_audit", "people",
    ),
    writes=("content_map", "message_audit", "pressure", "next_actions", "accounts_view"),
    on_spark=("message_audit", "pressure"),
    shows="which of the messages were right when they were sent, what is wrong with the others, and what to send next",
    parameters=ContentParameters,
    tables=TABLES,
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What the page is made of.

    Attributes
    ----------
    pieces
        What content there is.
    content_map
        The public table.
    audited
        The sendings with their reasons and verdicts; empty in a book without messages.
    pressure
        The public table.
    actions
        Of the public table `next_actions` the rows of known customers: nobody can write to a browser. None in a book
        without messages.
    judged
        The reasons that the book has tables for.
    planned
        What the actions were chosen by; None in a book without messages.
    policy
        What they bring by the truth of a made company.
    after
        How many of the sendings were answered, and followed by what.
    guesses
        What the pieces are about that do not say so.
    asked, beside
        What is asked beside what is offered, and beside the open deals.
    accounts
        The public table `accounts_view`.
    value
        The table `value`.
    """

    pieces: ir.Table
    content_map: ir.Table
    audited: ir.Table
    pressure: ir.Table
    actions: ir.Table | None
    judged: tuple[str, ...]
    planned: actions.Plan | None = None
    policy: pd.DataFrame | None = None
    after: ir.Table | None = None
    guesses: pd.DataFrame | None = None
    asked: pd.DataFrame | None = None
    beside: dict[str, int] | None = None
    accounts: ir.Table | None = None
    value: ir.Table | None = None


def analyse(step: Step) -> Work:
    """What was sent and was it right, how much was it, and what comes next? All tables of the stage are written.

    Parameters
    ----------
    step
        The book and its tables.

    Raises
    ------
    NothingToShow
        If the book has neither messages nor content.
    """
    if not step.has("messages") and not step.has("content"):
        raise NothingToShow(f"This book has no `messages` and no `content`. With them, this page would show {STAGE.shows}.")
    settings, p, engine = step.book.settings, step.parameters, step.engine
    rule, zone = settings.contact_policy, settings.timezone
    found = Circumstances(**{name: step.read(name) for name in Circumstances.__dataclass_fields__})
    messages, content, events = (step.read(name) for name in ("messages", "content", "events"))
    who, sent, audited, windows = _audited(step, found)
    step.hand_over("message_audit", "pressure")
    pieces = audit.keep(engine, mapping.pieces(content, sent, events))
    told = step.write("content_map", mapping.content_map(pieces, sent, events))
    if messages is None:
        return Work(pieces, told, audited, windows, None, (), guesses=guess.guesses(content))
    names = ("value", "orders", "deliveries", "events", "resolved_accounts", "responsiveness", "opportunity_people",
             "products")  # fmt: skip
    facts = actions.Facts(sent, pieces, *(step.read(name) for name in names))
    now = clocks.day_begins(step.as_of, zone)
    rules = actions.Rules(rule, settings.triggers, zone, now, p.share_of_value, p.fresh_days, p.explore, p.seed)
    planned = actions.plan(facts, who, rules, engine)
    chosen = step.write("next_actions", planned.actions)
    step.write_model("response", planned.response.as_model())
    records = audit.keep(engine, actions.records_of_each(messages, who))
    step.write_list("next_actions", actions.to_contact(chosen, records))
    score = policy_score(step, planned, records, sent, who, now)
    signs = planned.signs
    bought = step.read("orders")
    if bought is not None:
        bought = with_customer(bought, who.identities).select("customer_id", at="ordered_at")
    won = None
    if found.opportunities is not None:
        # of a deal won nobody knows when, nothing tells what it followed
        o = found.opportunities.filter(found.opportunities["is_won"].fill_null(False), found.opportunities["closed_at"].notnull())
        won = audit.deals(replace(found, opportunities=o)).select("account_id", at="closed_at")
    seen = None if signs.visits is None else signs.visits.filter(signs.visits["is_visit"])
    after = outcomes.after(audited, seen, bought, won, now, engine)
    counted = sent.filter(~sent["is_operational"])
    view = None
    if who.customers is not None:
        instant = ibis.literal(now, "timestamp")
        view = step.write("accounts_view", accounts.accounts_view(
            who.customers, step.read("resolved_accounts"), chosen, signs, counted, instant, rule.period_days
        ))  # fmt: skip
    known = chosen if who.identities is None else of_known(chosen, who.identities, step.read("people"))
    return Work(
        pieces, told, audited, windows, known, _judged(who, content), planned, score, after,
        guess.guesses(content, guess.readers(audited)), guess.asked_and_offered(signs.visits, counted, who.deals),
        guess.beside_deals(signs.visits, who.customers, who.deals), view, step.read("value"),
    )  # fmt: skip


def _audited(step: Step, found: Circumstances) -> tuple[audit.Known, ir.Table, ir.Table, ir.Table]:
    """What was known, what was sent, what was wrong with it, and how much it was: made where messages are, and then brought.

    `message_audit` and `pressure` are written, in a book with messages.
    """
    settings, engine, rule = step.book.settings, step.large, step.book.settings.contact_policy
    there = {name: step.read(name, engine) for name in (*Circumstances.__dataclass_fields__, "messages", "content")}
    messages, content = there.pop("messages"), there.pop("content")
    who = audit.learn(Circumstances(**there), step.parameters.complaint, engine)
    sent = audit.keep(engine, audit.sendings(_or_none(messages), content, who.identities, who.customers))
    audited = audit.keep(engine, audit.audit(sent, who, rule, engine))
    windows = pressure.windows(sent, rule.period_days, settings.timezone).order_by("account_id", "window_end")
    if messages is None:
        windows = step.bring(audit.keep(engine, windows))
    else:
        step.write("message_audit", public(audited))
        windows = step.write("pressure", windows)
    made = {name: step.bring(getattr(who, name)) for name in ("consents", "wishes", "complaints", "deals", "stages")}
    known = replace(who, **made, identities=found.identities, customers=found.customers)
    return known, step.bring(sent), step.bring(audited), windows


def policy_score(
    step: Step,
    planned: actions.Plan,
    records: ir.Table,
    sent: ir.Table,
    who: audit.Known,
    now: dt.datetime,
    why: bool = False,
) -> pd.DataFrame:
    """What do the next actions bring by the truth of a made company? Empty without one.

    Parameters
    ----------
    step
        The book and its tables.
    who
        Of :func:`clientbook.content.audit.learn`.
    planned, records, sent, now, why
        See :func:`clientbook.content.policy.score_actions`.
    """
    rule, zone = step.book.settings.contact_policy, step.book.settings.timezone
    counted = sent.filter(~sent["is_operational"])
    limits = actions.limits_of_all(planned, counted, who, rule, now)
    return policy.score_actions(planned.actions, records, counted, now, rule.period_days, zone, limits, step.truth, why)


def _judged(known: audit.Known, content: ir.Table | None) -> tuple[str, ...]:
    needs = {
        "no_consent": known.consents,
        "open_complaint": known.complaints,
        "after_close": None if content is None else known.deals,
        "over_preference": known.wishes,
        "wrong_topic": known.deals,
        "wrong_stage": None if content is None else known.stages,
    }
    return tuple(name for name in REASONS if needs.get(name, True) is not None)


def public(audited: ir.Table) -> ir.Table:
    """The public columns of the audit, in the order of sending.

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    """
    names = next(table for table in TABLES if table.name == "message_audit").names
    return audited.order_by("at", "arrival").rename(sent_at="at").select(*names)


def steps(work: Work) -> pd.DataFrame:
    """How many customers is each next action for? Empty in a book without messages.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    if work.actions is None:
        return pd.DataFrame(columns=["action", "channel", "customers", "expected_margin"])
    return counts(work.actions)


def alone(work: Work) -> pd.DataFrame:
    """Why are customers left alone? Empty in a book without messages.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    return pd.DataFrame(columns=["reason", "customers"]) if work.actions is None else left_alone(work.actions)


def labels_of(told: pd.DataFrame) -> dict[str, str]:
    """How are the columns of outcomes called for people?

    Parameters
    ----------
    told
        Of :func:`followed_by`.
    """
    names = {
        "stage_at_send": "stage",
        "message_type": "type",
        "clicked_low": "clicked, low",
        "clicked_high": "clicked, high",
        "ordered_low": "ordered, low",
        "ordered_high": "ordered, high",
        "won": "deal won",
    }
    return {name: words for name, words in names.items() if name in told.columns}


def followed_by(work: Work, name: str) -> pd.DataFrame:
    """What came of the messages, by one of their properties? Empty in a book without messages.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    name
        See :func:`clientbook.content.outcomes.by`.
    """
    return pd.DataFrame(columns=[name, "n"]) if work.after is None else outcomes_by(work.after, name)


def tested(work: Work) -> pd.DataFrame:
    """How well are answers foreseen, beside the naive rule? Empty where there were too few to learn from.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    found = None if work.planned is None else work.planned.response.tested
    return pd.DataFrame(columns=["rule", "n", "answers", "log_loss", "auc", "top_decile"]) if found is None else found


def gains(work: Work) -> pd.DataFrame:
    """How many further orders follow an answer, by stage? Empty where the book cannot say.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    found = None if work.planned is None else work.planned.extra
    columns = ["stage", "answered", "unanswered", "extra", "low", "high"]
    return pd.DataFrame(columns=columns) if found is None else found.by_stage


def say_gains(work: Work) -> str:
    """In a few words: within how many days are orders counted for an answer?

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    found = None if work.planned is None else work.planned.extra
    return "Further orders after an answer, by stage" if found is None else f"Further orders within {found.days} days, by stage"


def policies(work: Work) -> pd.DataFrame:
    """What do the next actions bring by the truth of a made company? Empty without one.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    return pd.DataFrame(columns=list(policy.COLUMNS)) if work.policy is None else work.policy


def buying_groups(work: Work) -> pd.DataFrame:
    """Who takes part in decisions, by role and age? Empty where no account has several contacts.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    columns = ["role", "age_group", "early", "late", "after", "silent", "contacts"]
    return pd.DataFrame(columns=columns) if work.accounts is None else groups(work.accounts)


def silence(work: Work) -> str:
    """In one sentence: how many contacts of accounts with several are silent?

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    return "Who is in which account is not known" if work.accounts is None else say_silent(work.accounts)


def asked(work: Work) -> pd.DataFrame:
    """What is asked beside what is offered? Empty where the book cannot say.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    columns = ["topic", "asked", "offered", "in_deals", "gap"]
    return pd.DataFrame(columns=columns) if work.asked is None else work.asked[columns]


def told_beside(work: Work):
    """How much of what people with an open deal ask is about the deal? A table of one row.

    Parameters
    ----------
    work
        Of :func:`analyse`.
    """
    told = work.beside
    rows = pd.DataFrame([told] if told and told["asked"] else [], columns=["accounts", "asked", "on_topic"])
    share = rows["on_topic"] / rows["asked"].where(rows["asked"] > 0)
    return charts.table(
        rows.assign(share=share), formats={"share": "percent"}, labels={"asked": "visits since", "on_topic": "about it"},
        caption="Accounts with an open deal: what their people look at since it was opened, beside its topic",
    )  # fmt: skip


def cap(settings: Settings) -> str:
    """The book's contact policy in words.

    Parameters
    ----------
    settings
        The book's.
    """
    policy = settings.contact_policy
    if not policy.max_messages:
        return f"no message at all to any {policy.per}: the book's cap is 0"
    return f"at most {policy.max_messages} messages to an {policy.per} in {policy.period_days} days".replace(
        "an customer", "a customer"
    )


def _or_none(messages: ir.Table | None) -> ir.Table:
    """Messages, or a table of the same columns without rows."""
    if messages is not None:
        return messages
    kinds = {"time": "timestamp", "flag": "boolean", "money": "float64", "number": "float64"}
    columns = {column.name: kinds.get(column.kind, "string") for column in CANONICAL["messages"].columns}
    schema = ibis.schema(
        {"source": "string", "person_source": "string", "content_source": "string"} | columns | {"arrival": "int64"}
    )
    return ibis.memtable(schema.to_pyarrow().empty_table()).cast(schema)
