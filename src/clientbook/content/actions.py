"""What to do next with each customer, or why to leave them alone?

Service first, then what the marketer's triggers say, then the piece, channel and time of which the most margin is to be
expected: how likely an answer is, by stage, topic, role and history, times what an answer brings. Consent, wishes, the
cap, complaints and late orders are limits that no margin buys.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing, promises
from clientbook.book import ContactPolicy, Trigger
from clientbook.content import audit, response
from clientbook.content.audit import Known, as_count, keep
from clientbook.content.policy import Limits
from clientbook.content.response import Response
from clientbook.customers import is_outbound, with_customer
from clientbook.exact import total
from clientbook.tables import STAGES

PURPOSE = "marketing"
SEND, LEAVE, SERVICE, SALES = "send", "leave alone", "call by service", "call by sales"
CALL, COMPANY = "phone", "company"
CALLING_HOURS = (9, 18)
CART, LATE = "cart_abandoned", "delivery_late"
CART_EVENT = "add_to_cart"
# Pieces tried for each stage of a topic; a library may hold thousands.
PIECES_TRIED = 12
# Journeys of one customer that are weighed against each other.
TOPICS_TRIED = 8
# Of what they read beside their journeys, so many topics.
TOPICS_READ = 3
# An order within so many days of a message may come from it.
ORDER_DAYS = 7
# Where it cannot be learnt, what an account knows is proposed only if it is answered half as often again as what is new.
KNOWN_PIECE = 2 / 3
# The mean order of a kind of account of which few bought is drawn to that of all, with so many buyers' weight.
SHRINKAGE_ORDERS = 20.0
SERVES = {
    "need": "a piece that thinks ahead",
    "research": "a comparison",
    "decide": "a story of others or a price",
    "adopt": "help to get going",
    "use": "a course or a meeting of users",
    "recommend": "an invitation to tell others",
}
# A piece that is read seldom is read like all of its kind, by as many readings' weight.
SHRINKAGE_READS = 5.0
# A channel or piece that was sent seldom answers like all others: about so many sendings' weight is that of all.
SHRINKAGE_SENDINGS = 50.0
_CELL = ("account_id", "topic", "for_stage")
_OFFERED = {"content_source": "string", "content_id": "string", "content_stage": "string", "is_new": "boolean",
            "lift": "float64", "explores": "boolean"}  # fmt: skip
# An asking gets a place in the order of arrival behind everything that was delivered.
_BEHIND = 1 << 61


@dataclass(frozen=True)
class Rules:
    """By what is decided.

    Attributes
    ----------
    policy, triggers, zone
        The book's.
    now
        The instant at which the day of the run begins, UTC.
    share_of_value
        The share of a customer's expected value that one answer is taken to bring.
    fresh_days
        For how long a trigger is worth following.
    explore, seed
        The share of accounts whose piece is drawn by lot, and what it is drawn with.
    """

    policy: ContactPolicy
    triggers: Sequence[Trigger]
    zone: str
    now: dt.datetime
    share_of_value: float
    fresh_days: int
    explore: float = 0.05
    seed: int = 1


@dataclass(frozen=True)
class Facts:
    """What actions are chosen from; every table but `sent` may be missing.

    Attributes
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`, kept.
    pieces
        Of :func:`clientbook.content.mapping.pieces`.
    value, orders, deliveries, events
        The table `value`, and clean tables.
    accounts, times, parts, products
        The tables `resolved_accounts`, `responsiveness`, `opportunity_people` and `products`.
    """

    sent: ir.Table
    pieces: ir.Table | None = None
    value: ir.Table | None = None
    orders: ir.Table | None = None
    deliveries: ir.Table | None = None
    events: ir.Table | None = None
    accounts: ir.Table | None = None
    times: ir.Table | None = None
    parts: ir.Table | None = None
    products: ir.Table | None = None


@dataclass(frozen=True)
class Plan:
    """The next actions, and what they were chosen by.

    Attributes
    ----------
    actions
        See :func:`next_actions`.
    allowed
        `customer_id`, `channel`: what may be used, of those with whom nothing has to be put right first.
    response
        How likely an answer is.
    extra
        The orders that an answer brings, by stage (:class:`clientbook.content.response.Gains`), or None: then an answer
        is taken to bring a share of the value.
    signs
        What spoke for an answer.
    """

    actions: ir.Table
    allowed: ir.Table
    response: Response
    extra: response.Gains | None
    signs: response.Signs


def next_actions(facts: Facts, who: Known, rules: Rules, engine) -> ir.Table:
    """What is the next best thing to do with each customer?

    Parameters
    ----------
    facts, who
        What is known.
    rules
        By what is decided.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        A row for each customer, the largest expected margin first: `customer_id`, `account_id`, `action`,
        `content_source`, `content_id`, `topic`, `stage`, `channel`, `weekday` (1 is Monday), `hour`, `reason`,
        `expected_margin`, `consent` (`given`, `none`, `unknown` in a book without consents, `not needed` for service),
        `answer_chance`, `explores`.
    """
    return plan(facts, who, rules, engine).actions


def plan(facts: Facts, who: Known, rules: Rules, engine) -> Plan:
    """The next best thing to do with each customer, and what it was chosen by.

    Parameters
    ----------
    facts, who, rules, engine
        See :func:`next_actions`.
    """
    now = ibis.literal(rules.now, "timestamp")
    counted = facts.sent.filter(~facts.sent["is_operational"])
    first = keep(engine, service_first(facts, who, rules))
    seen = keep(engine, triggered(facts, who, rules))
    base = keep(engine, everybody(facts, who))
    signs = keep_signs(facts, who, rules, counted, engine)
    channels = channel_rates(counted)
    days = rules.policy.period_days
    answers = response.fit(signs, channels.to_pandas(), days, rules.now, engine)
    extra = response.extra_orders(signs, facts.orders, who.identities, rules.now, ORDER_DAYS, engine)
    may = keep(engine, channels_of_each(base, channels, who, rules))
    # of whom sales can ask is not guessed
    written = may.filter(may["allowed"]).select("customer_id").distinct().anti_join(_to_be_asked(base, may, facts), "customer_id")
    topics = keep(engine, topics_of_each(base, seen, signs, who, now, written))
    offers = keep(engine, offered(topics, facts, counted, answers, who, rules, now))
    best = keep(engine, weigh(topics, may, offers, Weights(answers, extra, rules.share_of_value),
                              worths(base, facts), signs, rules, engine))  # fmt: skip
    drafts = keep(engine, _drafts(best, first, counted, rules, now))
    chosen = keep(engine, _with_piece(drafts, offers))
    faults = keep(engine, _faults(chosen, counted, who, rules, now, engine))
    p = _beside(base, may.group_by("customer_id").agg(consented=(may["consented"]).any()))
    p = _beside(p, best.drop("account_id"))
    pieces = ("content_source", "content_id", "is_new", "lift", "explores")
    leads = keep(engine, too_little(base, topics, may, drafts, first, facts, counted, rules, now))
    times = keep(engine, times_of_each(base, facts, signs))
    for more in (drafts.select("customer_id", "got", "fits"), chosen.select("customer_id", *pieces), faults, first,
                 seen, stated_times(who), leads, times):  # fmt: skip
        p = _beside(p, more)
    told = _timed(_told(p, rules, who), facts.times)
    names = ("customer_id", "account_id", "action", "content_source", "content_id", "topic", "stage", "channel")
    names += ("weekday", "hour", "reason", "expected_margin", "consent", "answer_chance", "explores")
    told = keep(engine, told.select(*names).order_by(ibis.desc("expected_margin"), "customer_id"))
    # an anti-join has no order of its own: what is written is sorted where it is written
    free = may.filter(may["allowed"]).select("customer_id", "channel").anti_join(first, "customer_id")
    return Plan(told.order_by(ibis.desc("expected_margin"), "customer_id"), free, answers, extra, signs)


def keep_signs(facts: Facts, who: Known, rules: Rules, counted: ir.Table, engine) -> response.Signs:
    """What speaks for an answer, of this book.

    Parameters
    ----------
    facts, who, rules, engine
        See :func:`next_actions`.
    counted
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    """
    seen = response.visits(facts.events, who.identities, counted, facts.orders, facts.products)
    roles = piece_roles = None
    if facts.parts is not None and facts.pieces is not None:
        parts = with_customer(facts.parts, who.identities)
        roles = parts.filter(parts["role"].notnull())
        roles = keep(engine, roles.group_by("customer_id").agg(role=roles["role"].argmax(roles["arrival"])))
        piece_roles = facts.pieces.select("content_source", "content_id", for_role="role")
    habits = None
    if seen is not None:
        seen = keep(engine, seen)
        first = counted["at"].min().to_pyarrow().as_py()
        marks = [rules.now] if first is None else [*response.landmarks(first, rules.now), rules.now]
        habits = response.habits(seen, marks, rules.zone, engine, _at_work(facts, who))
    bought = None
    if seen is not None and who.stages is not None and "account_id" in who.stages.columns:
        o = audit.with_account(seen.filter(seen["is_order"], seen["topic"].notnull()), who.customers)
        bought = keep(engine, o.select("account_id", "topic", "at").distinct())
    standings = None if who.stages is None else keep(engine, response.stood(counted, who.stages, bought))
    reads = None if facts.events is None or facts.pieces is None else read_of_pieces(facts.events, facts.pieces, counted)
    return response.Signs(counted, seen, who.stages, roles, piece_roles, rules.zone, standings, habits, bought, reads)


def _kinds(facts: Facts) -> ir.Table | None:
    """Whether an account is a company, `at_work`: somebody alone and somebody of a household are both at home in the evening."""
    if facts.accounts is None or "kind" not in facts.accounts.columns:
        return None
    return facts.accounts.select("account_id", at_work=facts.accounts["kind"] == COMPANY)


def _at_work(facts: Facts, who: Known) -> pd.Series | None:
    kinds = _kinds(facts)
    if kinds is None or who.customers is None:
        return None
    known = who.customers.inner_join(kinds, "account_id").select("customer_id", "at_work").distinct().to_pandas()
    return known.drop_duplicates("customer_id").set_index("customer_id")["at_work"].astype(bool)


def read_of_pieces(events: ir.Table, pieces: ir.Table, counted: ir.Table) -> pd.DataFrame:
    """How much more is each piece read than others of its topic and format, by those to whom it was not sent?

    Parameters
    ----------
    events
        Clean events; those that name a piece count.
    pieces
        Of :func:`clientbook.content.mapping.pieces`.
    counted
        Of :func:`clientbook.content.audit.sendings`, without the operational ones: a click in a message is no reading.

    Returns
    -------
    pandas.DataFrame
        `content_source`, `content_id`, `read`: log of the readings beside the mean, drawn to it where few are expected.
    """
    of = ("content_source", "content_id")
    e = events.filter(events["content_id"].notnull(), ~is_outbound(events))
    reads = e.group_by(*of).agg(reads=e.count())
    clicks = counted.filter(counted["content_id"].notnull())
    clicks = clicks.group_by(*of).agg(clicks=as_count(clicks["clicked"].sum()))
    kind = [name for name in ("topic", "format") if name in pieces.columns]
    each = _beside(_beside(pieces.select(*of, *kind), reads, *of), clicks, *of).order_by(*of).to_pandas()
    own = (each["reads"].astype(float).fillna(0.0) - each["clicks"].astype(float).fillna(0.0)).clip(lower=0)
    usual = own.groupby([each[name] for name in kind], dropna=False).transform("mean")
    told = np.log((own + SHRINKAGE_READS) / (usual + SHRINKAGE_READS))
    return each[[*of]].assign(read=told.round(4))


def everybody(facts: Facts, who: Known) -> ir.Table:
    """Who is there to be thought of?

    Parameters
    ----------
    facts, who
        What is known. Without `customers`, everybody who got a message or ordered something.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `account_id`, each once.
    """
    if who.customers is not None:
        return who.customers.select("customer_id", "account_id").distinct()
    known = facts.sent.select("customer_id")
    if facts.orders is not None:
        known = known.union(with_customer(facts.orders, who.identities).select("customer_id"))
    return audit.with_account(known.distinct(), None)


def service_first(facts: Facts, who: Known, rules: Rules) -> ir.Table:
    """With whom is something to be put right before anything is sent?

    Parameters
    ----------
    facts, who, rules
        What is known, and by what is decided. An order is late when its delivery was due before now (with a trigger
        `delivery_late`, by so many hours; see :func:`clientbook.promises.due`) and has not arrived.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `service_action`, `service_reason`.
    """
    found = [_nobody(service_action="string", service_reason="string", _turn="int64")]
    if who.complaints is not None:
        c = who.complaints
        c = c.filter(c["closed_at"].isnull())
        c = c.group_by("customer_id").agg(at=c["opened_at"].min())
        why = _text("a complaint is open since ", _day(c["at"], rules.zone), ": answer it before anything is sent")
        found.append(_columns(c, service_action=_text(SERVICE), service_reason=why, _turn=_number(0)))
    if facts.orders is not None and facts.deliveries is not None:
        trigger = next((t for t in rules.triggers if t.when == LATE), None)
        limit = _ago(rules, trigger.after_hours if trigger else 0)
        d = facts.deliveries.filter(
            facts.deliveries["delivered_at"].isnull(), promises.due(facts.deliveries["promised_at"], rules.zone) < limit
        )
        d = d.group_by("order_source", "order_id").agg(at=d["promised_at"].min())
        o = facts.orders.select("person_source", "person_id", "order_source", "order_id").distinct()
        d = with_customer(d.inner_join(o, ["order_source", "order_id"]), who.identities)
        d = d.group_by("customer_id").agg(at=d["at"].min())
        why = _text("an order promised for ", _day(d["at"], rules.zone), " has not arrived: tell them when it will")
        action = _text(trigger.action if trigger else SERVICE)
        found.append(_columns(d, service_action=action, service_reason=why, _turn=_number(1)))
    every = _union(*found)
    order = ibis.window(group_by="customer_id", order_by=["_turn", "service_reason"])
    every = every.mutate(_rank=ibis.row_number().over(order))
    return every.filter(every["_rank"] == 0).drop("_rank", "_turn")


def triggered(facts: Facts, who: Known, rules: Rules) -> ir.Table:
    """For whom has a trigger of the book gone off?

    Parameters
    ----------
    facts, who, rules
        What is known, and by what is decided. `cart_abandoned` is a cart without an order since; any other word is the
        name of an event. What happened longer ago than the triggers stay fresh is left alone.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `trigger`, `trigger_action`, `trigger_topic`, `trigger_at`: the book's first that holds.
    """
    found = [_nobody(trigger="string", trigger_action="string", trigger_topic="string", trigger_at="timestamp", _turn="int64")]
    for turn, trigger in enumerate(rules.triggers):
        if facts.events is None or trigger.when == LATE:
            continue
        e = facts.events.filter(
            facts.events["event_name"] == (CART_EVENT if trigger.when == CART else trigger.when),
            facts.events["occurred_at"] > _ago(rules, rules.fresh_days * 24),
        )
        e = with_customer(e.select("person_source", "person_id", "occurred_at", "topic", "arrival"), who.identities)
        last = ibis.window(group_by="customer_id", order_by=[ibis.desc("occurred_at"), ibis.desc("arrival")])
        e = e.mutate(_rank=ibis.row_number().over(last))
        e = e.filter(e["_rank"] == 0, e["occurred_at"] <= _ago(rules, trigger.after_hours))
        if trigger.when == CART and facts.orders is not None:
            o = facts.orders.filter(facts.orders["ordered_at"] > _ago(rules, rules.fresh_days * 24))
            o = with_customer(o.select("person_source", "person_id", "ordered_at"), who.identities)
            o = o.group_by("customer_id").agg(ordered_at=o["ordered_at"].max())
            e = _beside(e, o)
            e = e.filter(e["ordered_at"].isnull() | (e["ordered_at"] < e["occurred_at"]))
        found.append(
            _columns(
                e, trigger=_text(trigger.when), trigger_action=_text(trigger.action), trigger_topic=e["topic"],
                trigger_at=e["occurred_at"].cast("timestamp"), _turn=_number(turn),
            )
        )  # fmt: skip
    every = _union(*found)
    every = every.mutate(_rank=ibis.row_number().over(ibis.window(group_by="customer_id", order_by="_turn")))
    return every.filter(every["_rank"] == 0).drop("_rank", "_turn")


def topics_of_each(
    base: ir.Table, seen: ir.Table, signs: response.Signs, who: Known, now: ir.TimestampValue, guessed: ir.Table | None = None
) -> ir.Table:
    """What may each customer be after, and at which stage are they?

    What the account has an open opportunity on, and what the customer asked for, bind; beside it are the topics of a
    trigger, of open journeys, of what they bought and used, and those they read most of.

    Parameters
    ----------
    base
        Of :func:`everybody`.
    seen
        Of :func:`triggered`.
    signs
        Of :func:`keep_signs`.
    who
        What is known.
    now
        The instant of the run.
    guessed
        `customer_id`: for whom all topics are tried where nothing is known of what they are after.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `account_id`, `topic`, `stage` (null where it is not known), `is_open` (a journey is), `since`,
        `hot` (a trigger is about it), `is_guess`; at most `TOPICS_TRIED` a customer.
    """
    owned = who.deals
    columns = ("customer_id", "topic", "stage", "is_open", "since", "_turn")
    yes, no = ibis.literal(True), ibis.literal(False)
    found = [_nobody(topic="string", stage="string", is_open="boolean", since="timestamp", _turn="int64")]
    if who.stages is not None:
        i = who.stages
        i = i.filter(i["at"] < now)
        subject = "account_id" if "account_id" in i.columns else "customer_id"
        i = i.mutate(topic=i["topic"] if "topic" in i.columns else ibis.null("string"))
        last = ibis.window(group_by=[subject, "topic"], order_by=[ibis.desc("at"), "stage"])
        i = i.mutate(_rank=ibis.row_number().over(last), is_open=i["valid_to"].isnull() | (i["valid_to"] >= now))
        i = i.filter(i["_rank"] == 0, i["is_open"] | i["stage"].isin(response.AFTER_A_SALE))
        i = i.select(subject, "topic", "stage", "is_open", since=i["at"].cast("timestamp"))
        found.append(base.inner_join(i, subject).mutate(_turn=_number(0)).select(*columns))
    decides = ibis.literal("decide")
    carts = seen.filter(seen["trigger"] == CART, seen["trigger_topic"].notnull())
    found.append(
        _columns(carts, topic=carts["trigger_topic"], stage=decides, is_open=yes, since=carts["trigger_at"],
                 _turn=_number(1))
    )  # fmt: skip
    if owned is not None:
        live = owned.filter(owned["closed_at"].isnull()).group_by("account_id", "topic").agg(since=owned["opened_at"].max())
        live = live.mutate(since=live["since"].cast("timestamp"))
        found.append(base.inner_join(live, "account_id").mutate(stage=decides, is_open=yes, _turn=_number(2)).select(*columns))
    likes = response.interests(signs.habits)
    most = ibis.window(group_by="customer_id", order_by=[ibis.desc("share"), "topic"])
    likes = likes.mutate(_rank=ibis.row_number().over(most))
    likes = likes.filter(likes["_rank"] < TOPICS_READ)
    unknown = {"stage": ibis.null("string"), "is_open": no, "since": ibis.null("timestamp")}
    found.append(_columns(likes, topic=likes["topic"], **unknown, _turn=_number(3)))
    every = _union(*found)
    if guessed is not None:
        strangers = guessed.anti_join(every.filter(every["topic"].notnull()), "customer_id")
        offered = signs.sent.filter(signs.sent["topic"].notnull()).select("topic").distinct()
        lot = strangers.cross_join(offered)
        every = _union(every, _columns(lot, topic=lot["topic"], **unknown, _turn=_number(4)))
    every = every.mutate(is_guess=every["_turn"] == 4)
    # an interval knows the stage better than the rule that who has a cart or a deal decides
    closed = ~every["is_open"]
    order = ibis.window(group_by=["customer_id", "topic"], order_by=[closed, "_turn", ibis.desc("since"), "stage"])
    every = every.mutate(_rank=ibis.row_number().over(order))
    every = every.filter(every["_rank"] == 0).drop("_rank", "_turn").inner_join(base, "customer_id")
    if owned is not None:
        live = live.mutate(_open=True)
        held = live.select("account_id", _holds="_open").distinct()
        every = _beside(_beside(every, live.drop("since"), "account_id", "topic"), held, "account_id")
        every = every.filter(every["_holds"].isnull() | every["_open"].notnull())
    if who.wishes is not None:
        asks = every.mutate(arrival=ibis.row_number().over(ibis.window(order_by=["customer_id", "topic"])), at=now)
        every = asks.anti_join(audit.unwanted(asks, who.wishes, "topic"), "arrival")
    every = _beside(every, seen.select("customer_id", "trigger_topic"))
    every = every.mutate(hot=(every["trigger_topic"] == every["topic"]).fill_null(False))
    order = [ibis.desc("hot"), ibis.desc("is_open"), every["stage"].isnull(), ibis.desc("since"), "topic"]
    every = every.mutate(_rank=ibis.row_number().over(ibis.window(group_by="customer_id", order_by=order)))
    every = every.filter(every["_rank"] < TOPICS_TRIED)
    return every.select("customer_id", "account_id", "topic", "stage", "is_open", "since", "hot", "is_guess")


def worths(base: ir.Table, facts: Facts) -> ir.Table:
    """What is each customer worth, and what does an order of theirs leave, as far as one can say?

    Parameters
    ----------
    base
        Of :func:`everybody`.
    facts
        With the table `value`, and `resolved_accounts`: a company's orders are not a household's.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `worth`: the expected value, of somebody who never bought the median of those who did, times the
        share of customers who did; `order_margin`: of an order, of somebody who never bought the mean of those of the
        same kind of account. Null where the book cannot say.
    """
    if facts.value is None:
        return base.select("customer_id", worth=ibis.null("float64"), order_margin=ibis.null("float64"))
    v = facts.value
    margin = v["expected_margin_per_order"] if "expected_margin_per_order" in v.columns else ibis.null("float64")
    known = _beside(base, v.select("customer_id", "clv", margin=margin))
    if facts.accounts is not None and "kind" in facts.accounts.columns:
        known = _beside(known, facts.accounts.select("account_id", "kind"), "account_id")
    else:
        known = known.mutate(kind=ibis.null("string"))
    typical = known.aggregate(
        worth=known["clv"].quantile(0.5) * known["clv"].count() / known.count().nullif(0)
    ).to_pyarrow().to_pylist()[0]["worth"]  # fmt: skip
    usual = known.group_by("kind").agg(
        n=known["margin"].count(), of=total(known["margin"].fill_null(0.0), where=known["margin"].notnull())
    ).to_pandas()  # fmt: skip
    n, of = float(usual["n"].sum()), float(usual["of"].sum())
    overall = of / n if n else None
    means = [] if overall is None else [
        (known["kind"].identical_to(None if pd.isna(kind) else kind),
         round((total_of + SHRINKAGE_ORDERS * overall) / (number + SHRINKAGE_ORDERS), 6))
        for kind, number, total_of in usual.itertuples(index=False)
    ]  # fmt: skip
    guess = ibis.cases(*means, else_=ibis.null("float64")) if means else ibis.null("float64")
    return known.select(
        "customer_id",
        worth=known["clv"].fill_null(ibis.literal(typical and round(float(typical), 6), "float64")),
        order_margin=known["margin"].fill_null(guess),
    )


def channel_rates(counted: ir.Table) -> ir.Table:
    """How often is a message answered, and what does it cost, by channel?

    Parameters
    ----------
    counted
        Of :func:`clientbook.content.audit.sendings`, without the operational ones. A click or a reply is an answer; an
        opening is not, as mail programs open by themselves.

    Returns
    -------
    ibis.expr.types.Table
        `channel`, `n`, `rate` (drawn to that of all where few were sent), `cost` (mean).
    """
    answered = counted.mutate(answered=((counted["clicked"] + counted["replied"]) > 0).cast("int64"))
    all_of = answered["answered"].mean().as_scalar()
    a = answered.filter(answered["channel"].notnull())
    a = a.group_by("channel").agg(n=a.count(), answers=as_count(a["answered"].sum()), cost=total(a["cost"]))
    rate = (a["answers"] + SHRINKAGE_SENDINGS * all_of) / (a["n"] + SHRINKAGE_SENDINGS)
    return a.select("channel", "n", rate=rate.round(6), cost=(a["cost"] / a["n"]).round(6))


def channels_of_each(base: ir.Table, channels: ir.Table, who: Known, rules: Rules) -> ir.Table:
    """Which channels does each customer allow and want?

    Parameters
    ----------
    base
        Of :func:`everybody`.
    channels
        Of :func:`channel_rates`.
    who, rules
        What is known, and by what is decided.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `channel`, `cost`, `rate`, `consented`, `allowed` (consented and not against a wish).
    """
    asks = base.select("customer_id").cross_join(channels.select("channel", "cost", "rate"))
    asks = asks.mutate(
        arrival=ibis.row_number().over(ibis.window(order_by=["customer_id", "channel"])),
        at=ibis.literal(rules.now, "timestamp"), purpose=_text(PURPOSE),
    )  # fmt: skip
    flags = [_nobody("arrival", "int64", why="string")]
    if who.consents is not None:
        flags.append(audit.without_consent(asks, who.consents).mutate(why=_text("refused")))
    if who.wishes is not None:
        flags.append(audit.unwanted(asks, who.wishes, "channel").mutate(why=_text("unwanted")))
    against = _union(*flags)
    against = against.group_by("arrival").agg(refused=(against["why"] == "refused").any())
    asks = _beside(asks, against, "arrival")
    return asks.select(
        "customer_id", "channel", "cost", "rate", consented=~asks["refused"].fill_null(False),
        allowed=asks["refused"].isnull(),
    )  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """What is an answer likely to be, and what does it bring?

    Attributes
    ----------
    response
        How likely an answer is.
    extra
        Of :func:`clientbook.content.response.extra_orders`, or None.
    share_of_value
        What an answer brings where orders do not say it.
    """

    response: Response
    extra: response.Gains | None
    share_of_value: float

    def gain(self, rows: ir.Table) -> ir.FloatingValue:
        """What an answer brings: further orders at a stage times the margin of one, else a share of the value."""
        share = rows["worth"] * self.share_of_value
        if self.extra is None:
            return share
        told = dict(zip(self.extra.by_stage["stage"], self.extra.by_stage["extra"], strict=True))
        at = response.standing(rows).fill_null("none")
        orders = response.looked_up(at, told, float(told.get("none", 0.0)))
        orders = orders * response.looked_up(rows["channel"], self.extra.by_channel, 1.0)
        return ibis.coalesce(orders * rows["order_margin"], share)


def weigh(
    topics: ir.Table, may: ir.Table, offers: ir.Table, weights: Weights, worth: ir.Table, signs, rules: Rules, engine
) -> ir.Table:
    """On which topic, by which channel that a customer allows and wants, is most to be expected?

    Parameters
    ----------
    topics
        Of :func:`topics_of_each`.
    may
        Of :func:`channels_of_each`.
    offers
        Of :func:`offered`: the best piece for each topic says how much more, or less, is to be expected than of a usual one.
    weights
        What an answer is likely to be and to bring.
    worth
        Of :func:`worths`.
    signs, rules, engine
        See :func:`keep_signs`, and :func:`next_actions`.

    Returns
    -------
    ibis.expr.types.Table
        A row for each customer with a topic: `customer_id`, `account_id`, `topic`, `stage`, `is_open`, `since`,
        `for_stage` (whose pieces serve), `channel` (null: none is allowed), `rate` (chance of an answer to a usual
        piece), `gain`, `cost`, `expected_margin` (of the best piece that is left; null where nobody's worth is known).
    """
    now = ibis.literal(rules.now, "timestamp")
    recent = signs.sent.filter(signs.sent["at"] > now - ibis.interval(days=rules.policy.period_days))
    recent = recent.group_by("account_id").agg(recent=recent.count() + 1)
    t = _beside(topics.mutate(for_stage=_serves(topics)), recent, "account_id")
    if signs.bought is None:
        t = t.mutate(bought_days=ibis.null("int64"))
    else:
        last = signs.bought.filter(signs.bought["at"] < now).group_by("account_id", "topic").agg(last=signs.bought["at"].max())
        last = last.mutate(bought_days=(now.epoch_seconds() - last["last"].epoch_seconds()) // 86_400).drop("last")
        t = _beside(t, last, "account_id", "topic")
    top = offers.filter(offers["turn"] == 0).select("account_id", "topic", "for_stage", best="lift")
    t = _beside(t, top, "account_id", "topic", "for_stage")
    nothing = ibis.null("string")
    asks = t.mutate(content_stage=t["for_stage"], content_source=nothing, content_id=nothing, hour=ibis.null("int64"))
    allowed = may.filter(may["allowed"]).select("customer_id", "channel", "cost", channel_rate="rate")
    asks = keep(engine, asks.inner_join(allowed, "customer_id"))
    rows = response.featured(asks, signs, rules.now, engine)
    rows = _beside(rows, worth)
    chance = weights.response.chance(rows)
    gain = weights.gain(rows).cast("float64").round(6)
    answer = (chance * rows["best"].fill_null(1.0)).clip(0.0, 1.0)
    margin = (answer * gain - rows["cost"]).cast("float64")
    rows = rows.mutate(rate=chance, gain=gain, expected_margin=margin.round(6), _none=rows["best"].isnull())
    rows = rows.mutate(score=rows["expected_margin"].fill_null(answer.round(9)))
    order = [ibis.desc("hot"), "_none", ibis.desc("score"), "channel", "topic"]
    rows = rows.mutate(_rank=ibis.row_number().over(ibis.window(group_by="customer_id", order_by=order)))
    names = ("channel", "rate", "gain", "cost", "expected_margin")
    best = rows.filter(rows["_rank"] == 0).select("customer_id", "topic", *names, _on=True)
    # who allows no channel keeps the first of their topics, so that the list says what they are after
    t = _beside(t, best.select("customer_id", _any="_on").distinct())
    order = [ibis.desc("hot"), ibis.desc("is_open"), ibis.desc("since"), "topic"]
    t = t.mutate(_rank=ibis.row_number().over(ibis.window(group_by="customer_id", order_by=order)))
    match = [t["customer_id"] == best["customer_id"], t["topic"].identical_to(best["topic"])]
    both = t.left_join(best, match)
    both = both.filter(both["_on"].notnull() | (both["_any"].isnull() & (both["_rank"] == 0)))
    return both.select("customer_id", "account_id", "topic", "stage", "is_open", "since", "is_guess", "for_stage", *names)


def _serves(topics: ir.Table) -> ir.StringValue:
    """For which stage are pieces looked for: the one they stand at, else the first."""
    return topics["stage"].fill_null(STAGES[0])


def _to_be_asked(base: ir.Table, may: ir.Table, facts: Facts) -> ir.Table:
    """Whom could sales ask: contacts of companies who allow calls."""
    if facts.accounts is None or "kind" not in facts.accounts.columns:
        return _nobody()
    companies = facts.accounts.filter(facts.accounts["kind"] == COMPANY).select("account_id")
    calls = may.filter(may["allowed"], may["channel"] == CALL).select("customer_id")
    return base.semi_join(companies, "account_id").semi_join(calls, "customer_id").select("customer_id")


def too_little(base, topics, may, drafts, first, facts: Facts, counted, rules: Rules, now) -> ir.Table:
    """Of which leads of companies do we know too little to write, so that sales had better ask?

    Parameters
    ----------
    base, topics, may, drafts, first, facts, counted, rules, now
        As :func:`plan` makes them. One lead of an account, who allows calls, of which nobody is written to.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `question`: the one worth asking.
    """
    lead = base.anti_join(topics, "customer_id").semi_join(_to_be_asked(base, may, facts), "customer_id")
    lead = lead.anti_join(first, "customer_id").anti_join(drafts.filter(drafts["fits"]), "account_id")
    group = f"{rules.policy.per}_id"
    recent = counted.filter(counted["at"] > now - ibis.interval(days=rules.policy.period_days))
    recent = recent.group_by(group).agg(_got=recent.count())
    lead = _beside(lead, recent, group)
    lead = lead.filter(lead["_got"].fill_null(0) < rules.policy.max_messages)
    lead = lead.mutate(_rank=ibis.row_number().over(ibis.window(group_by="account_id", order_by="customer_id")))
    lead = lead.filter(lead["_rank"] == 0)
    theirs = topics.filter(topics["topic"].notnull()).group_by("account_id").agg(theirs=topics["topic"].min())
    lead = _beside(lead, theirs, "account_id")
    ask = (
        lead["theirs"]
        .isnull()
        .ifelse(
            "what are you planning, and by when?",
            _text("a colleague is after ", lead["theirs"].fill_null("").replace("_", " "), ": what is your part in it?"),
        )
    )
    return lead.select("customer_id", question=ask)


def times_of_each(base: ir.Table, facts: Facts, signs: response.Signs) -> ir.Table:
    """When is each customer about, by their own visits, else by those of the same kind of account?

    Parameters
    ----------
    base
        Of :func:`everybody`.
    facts, signs
        What is known; without visits nobody's time is.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `active_weekday`, `active_hour`.
    """
    own, kinds = response.active_times(signs.habits), _kinds(facts)
    if kinds is None:
        return own
    each = _beside(_beside(base, kinds, "account_id"), own)
    hours = each.filter(each["at_work"].notnull(), each["active_hour"].notnull())
    hours = hours.group_by("at_work", hour=hours["active_hour"]).agg(n=hours.count())
    usual = response.busiest(hours, "at_work").rename(_hour="busiest")
    each = _beside(each, usual, "at_work")
    return each.select(
        "customer_id",
        active_weekday=each["active_weekday"],
        active_hour=ibis.coalesce(each["active_hour"], each["_hour"]),
    )


def stated_times(who: Known) -> ir.Table:
    """When would each customer like to hear from us, by what they said last?

    Parameters
    ----------
    who
        What is known.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `wanted_weekday`, `wanted_hour`.
    """
    if who.wishes is None:
        return _nobody(wanted_weekday="int64", wanted_hour="int64")
    p = who.wishes
    last = [ibis.desc("at"), ibis.desc("arrival")]
    p = p.filter(p["weekday"].notnull() | p["hour"].notnull())
    p = p.mutate(_rank=ibis.row_number().over(ibis.window(group_by="customer_id", order_by=last)))
    p = p.filter(p["_rank"] == 0)
    return p.select("customer_id", wanted_weekday=p["weekday"].cast("int64"), wanted_hour=p["hour"].cast("int64"))


def _drafts(best: ir.Table, first: ir.Table, counted: ir.Table, rules: Rules, now) -> ir.Table:
    """Who may be written to, the most valuable of an account first, as long as there is room below the cap?"""
    group = f"{rules.policy.per}_id"
    d = best.filter(best["channel"].notnull(), best["expected_margin"].isnull() | (best["expected_margin"] > 0))
    d = d.anti_join(first, "customer_id")
    start = now - ibis.interval(days=rules.policy.period_days)
    recent = counted.filter(counted["at"] > start)
    recent = recent.group_by(group).agg(got=recent.count())
    d = _beside(d.mutate(score=d["expected_margin"].fill_null(d["rate"])), recent, group)
    d = d.mutate(
        got=d["got"].fill_null(0),
        place=ibis.row_number().over(ibis.window(group_by=group, order_by=[ibis.desc("score"), "customer_id"])),
    )
    return d.mutate(fits=d["got"] + d["place"] + 1 <= rules.policy.max_messages)


def _with_piece(drafts: ir.Table, offers: ir.Table) -> ir.Table:
    """Each draft with a piece for its stage or the one after; two contacts of an account never get the same."""
    d = drafts.filter(drafts["fits"])
    d = d.mutate(turn=ibis.row_number().over(ibis.window(group_by=list(_CELL), order_by="place")))
    same = [d[name].identical_to(offers[name]) for name in (*_CELL, "turn")]
    return d.inner_join(offers, same).select(*d.columns, *_OFFERED)


def offered(topics: ir.Table, facts: Facts, counted: ir.Table, answers: Response, who: Known, rules: Rules, now) -> ir.Table:
    """Which pieces are left for each account on each topic, the best first?

    Parameters
    ----------
    topics
        Of :func:`topics_of_each`.
    facts, counted, answers, who, rules, now
        As :func:`plan` makes them.

    Returns
    -------
    ibis.expr.types.Table
        `account_id`, `topic`, `for_stage`, `turn` (0 is the best), the piece, `content_stage`, `is_new`, `lift` (answers
        beside those to a usual piece of the stage), `explores`.
    """
    if facts.pieces is None:
        names = {"account_id": "string", "topic": "string", "for_stage": "string", "turn": "int64"} | _OFFERED
        return _nobody(**names).drop("customer_id")
    owned, of = who.deals, ("content_source", "content_id")
    shelf = _shelf(facts.pieces, counted, answers).rename(_stage="for_stage")
    asked = topics.mutate(for_stage=_serves(topics)).select(*_CELL).distinct()
    # pieces are put in order by a number for each cell and one for each piece: there is nothing slower here than words
    asked = asked.mutate(_cell=ibis.row_number())
    shelf = shelf.mutate(_place=ibis.dense_rank().over(ibis.window(order_by=list(of))))
    # two joins by equal keys: one that lets a missing topic pass would pair every piece of the stage
    about = asked.inner_join(shelf, [shelf["_stage"] == asked["for_stage"], shelf["_topic"] == asked["topic"]])
    any_topic = asked.filter(asked["topic"].isnull())
    about_any = any_topic.inner_join(shelf, shelf["_stage"] == any_topic["for_stage"])
    tried = about.union(about_any.select(*about.columns))
    if owned is not None:
        over = owned.group_by("account_id", "topic").agg(_live=owned["closed_at"].isnull().any())
        tried = _beside(tried, over, "account_id", "topic")
        tried = tried.filter((tried["_live"].fill_null(True)) | ~tried["content_stage"].isin(audit.BEFORE_A_SALE))
    got = counted.filter(counted["content_id"].notnull()).group_by("account_id", *of).agg(got_at=counted["at"].max())
    tried = _beside(tried, got, "account_id", *of)
    tried = tried.filter(tried["got_at"].isnull() | (tried["got_at"] <= now - ibis.interval(days=rules.policy.period_days)))
    if facts.events is not None:
        e = facts.events.filter(facts.events["content_id"].notnull())
        e = e.select("person_source", "person_id", *of).distinct()
        e = audit.with_account(with_customer(e, who.identities), who.customers).select("account_id", *of).distinct()
        tried = _beside(tried, e.mutate(_read=True), "account_id", *of)
    else:
        tried = tried.mutate(_read=ibis.null("boolean"))
    tried = tried.mutate(is_new=tried["got_at"].isnull() & tried["_read"].isnull())
    # whole accounts explore, so that two contacts do not happen on one piece
    draw = _text(f"{rules.seed}\x1f").concat(tried["account_id"])
    explores = response.by_lot(draw, rules.explore)
    luck = explores.ifelse(draw.concat("\x1f", tried["content_id"]).hexdigest("md5"), "")
    known = tried["is_new"].ifelse(1.0, KNOWN_PIECE if answers.known is None else answers.known).cast("float64")
    tried = tried.mutate(explores=explores, _luck=luck, worthy=(tried["lift"] * tried["for_it"] * known).round(6))
    order = ["_luck", ibis.desc("worthy"), "_place"]
    tried = tried.mutate(turn=ibis.row_number().over(ibis.window(group_by="_cell", order_by=order)))
    tried = tried.drop("lift").rename(lift="worthy")
    return tried.select(*_CELL, "turn", *_OFFERED)


def _shelf(pieces: ir.Table, counted: ir.Table, answers: Response) -> ir.Table:
    """The pieces that may be tried for each stage of each topic: those of the stage, and of the one after."""
    of = ("content_source", "content_id")
    p = pieces.filter(pieces["stage"].notnull())
    if answers.pieces is not None and len(answers.pieces):
        lifts = ibis.memtable(answers.pieces[[*of, "lift"]])
    else:
        clicks = counted.filter(counted["content_id"].notnull())
        clicks = clicks.group_by(*of).agg(n=clicks.count(), answers=as_count(clicks["clicked"].sum()))
        overall = counted["clicked"].mean().as_scalar().fill_null(0.0)
        rate = (clicks["answers"] + SHRINKAGE_SENDINGS * overall) / (clicks["n"] + SHRINKAGE_SENDINGS)
        lifts = clicks.select(*of, lift=(rate / overall.nullif(0)).fill_null(1.0).cast("float64").round(6))
    p = _beside(p, lifts, *of)
    p = p.select(*of, _topic="topic", content_stage="stage", lift=p["lift"].fill_null(1.0).cast("float64"))
    after = dict(zip(STAGES[1:], STAGES, strict=False))
    before = ibis.cases(*[(p["content_stage"] == late, early) for late, early in after.items()], else_=ibis.null("string"))
    both = p.mutate(for_stage=p["content_stage"], for_now=True).union(p.mutate(for_stage=before, for_now=False))
    # how much less a piece for the stage after is answered, at each stage
    learnt = answers.weights.get("situation", {})
    step = {stage: math.exp(min(learnt.get(f"{stage}:next", 0.0) - learnt.get(f"{stage}:now", 0.0), 0.0)) for stage in STAGES}
    for_it = both["for_now"].ifelse(1.0, response.looked_up(both["for_stage"], step, 1.0)).cast("float64").round(6)
    both = both.mutate(for_it=for_it, lift_of=(both["lift"] * for_it).round(6))
    # where the stage is the first, nothing comes before it
    order = ibis.window(group_by=["for_stage", "_topic"], order_by=[ibis.desc("lift_of"), *of])
    both = both.filter(both["for_stage"].notnull())
    both = both.mutate(_rank=ibis.row_number().over(order))
    return both.filter(both["_rank"] < 2 * PIECES_TRIED).drop("_rank", "lift_of")


def _faults(chosen: ir.Table, counted: ir.Table, who: Known, rules: Rules, now, engine) -> ir.Table:
    """What the audit would say of each proposal, were it sent now: whatever is not right is not proposed."""
    days = rules.policy.period_days
    if who.wishes is not None:
        longest = who.wishes["period_days"].max().to_pyarrow().as_py()
        days = int(min(max(days, longest or 0), audit.LONGEST_PERIOD_DAYS))
    # what has left every window can no longer speak against anything
    recent = counted.filter(counted["at"] > now - ibis.interval(days=days + 1))
    recent = recent.mutate(at=recent["at"].cast("timestamp"))
    place = ibis.row_number().over(ibis.window(order_by=["place", "customer_id"])) + _BEHIND
    given = {name: chosen[name] for name in ("customer_id", "account_id", "channel", "content_source", "content_id",
                                             "topic", "content_stage")}  # fmt: skip
    given |= {
        "arrival": place.cast("int64"),
        "at": now,
        "purpose": _text(PURPOSE),
        "is_operational": ibis.literal(False),
    }
    rest = {name: ibis.null(kind) for name, kind in recent.schema().items() if name not in given}
    proposed = chosen.select(**{name: (given | rest)[name].cast(recent[name].type()) for name in recent.columns})
    both = keep(engine, recent.union(proposed))
    judged = audit.audit(both, who, rules.policy, engine)
    bad = judged.filter(judged["arrival"] >= _BEHIND, judged["verdict"] != "right")
    return bad.select("customer_id", fault="verdict")


def _told(p: ir.Table, rules: Rules, who: Known) -> ir.Table:
    """The action of each customer, and the reason in words."""
    most, days = rules.policy.max_messages, rules.policy.period_days
    whose = "their account has" if rules.policy.per == "account" else "they have"
    topic = p["topic"].fill_null("").replace("_", " ")
    had = _text(f"{whose} had ", p["got"].cast("string"), f" messages in {days} days, and the cap is {most}")
    nothing = (p["got"] >= most).ifelse(had, _text("others of their account come first: ", had))
    against = [
        (~p["consented"].fill_null(False), _text("they have allowed no channel")),
        (p["for_stage"].isnull(), _text("we do not know what they are after")),
        (p["channel"].isnull(), _text("they asked for other channels than those they allow")),
        ((p["expected_margin"] <= 0).fill_null(False), _text("a message would cost more than it is likely to bring")),
        (~p["fits"].fill_null(True), nothing),
        (p["content_id"].isnull(), _text("nothing is left for the stage ", p["for_stage"], " of ", topic)),
        ((p["fault"] == "over_preference").fill_null(False), _text("they asked for fewer messages")),
        (p["fault"].notnull(), _text("it would be wrong: ", p["fault"].replace("_", " "))),
    ]
    since = _day(p["since"], rules.zone)
    serves = response.looked_up_words(p["for_stage"], SERVES, "a piece")
    stands = ibis.cases(
        (p["is_guess"].fill_null(False), _text("nothing is known of what they are after, and ", topic, " is answered most; ")),
        (p["stage"].isnull(), _text("they read about ", topic, "; ")),
        (p["is_open"].fill_null(False), _text("at the stage ", p["stage"], " of ", topic, " since ", since, "; ")),
        else_=_text("they bought ", topic, " and were last seen at the stage ", p["stage"], " on ", since, "; "),
    )
    why = ibis.cases(
        (p["trigger"] == CART, _text("they left a cart on ", _day(p["trigger_at"], rules.zone), "; ")),
        (
            p["trigger"].notnull(),
            _text(p["trigger"].replace("_", " "), " on ", _day(p["trigger_at"], rules.zone), "; "),
        ),
        else_="",
    ).concat(stands, serves, " helps now; ")
    fresh = p["is_new"].ifelse(_text("nobody there has seen it"), _text("they know it, and it is the best that is left"))
    why = why.concat(fresh, "; ", p["channel"], " is the best channel they allow" if who.consents is not None
                     else " is the best channel")  # fmt: skip
    chance = (p["rate"] * p["lift"].fill_null(1.0)).cast("float64").clip(0.0, 1.0)
    why = why.concat("; of a hundred like it ", (chance * 100).round(0).cast("int64").cast("string"), " are answered")
    why = why.concat(p["explores"].fill_null(False).ifelse("; the piece is drawn by lot, to learn", ""))
    serve, ask = p["service_action"].notnull(), p["question"].notnull()
    leave = ibis.cases((ask, ibis.null("string")), *against, else_=ibis.null("string"))
    action = ibis.cases(
        (serve, p["service_action"]), (ask, _text(SALES)), (leave.notnull(), _text(LEAVE)),
        else_=p["trigger_action"].fill_null(SEND),
    )  # fmt: skip
    proposed = ~serve & ~ask & leave.isnull()
    asked = _text("we know too little of them to write; ask: ", p["question"])
    allowed = _text("unknown") if who.consents is None else p["consented"].fill_null(False).ifelse("given", "none")
    null = {name: ibis.null(p[name].type()) for name in ("content_source", "content_id", "channel")}
    margin = (chance * p["gain"] - p["cost"]).cast("float64").round(2)
    p = p.mutate(
        action=action,
        reason=ibis.coalesce(p["service_reason"], asked, leave, why),
        **{name: proposed.ifelse(p[name], empty) for name, empty in null.items()},
        expected_margin=ibis.cases((proposed, margin), (serve | ask, ibis.null("float64")), else_=ibis.literal(0.0, "float64")),
        answer_chance=proposed.ifelse(chance.round(4), ibis.null("float64")),
        explores=proposed & p["explores"].fill_null(False),
        consent=serve.ifelse("not needed", allowed),
    )
    return p.mutate(channel=(p["action"] == SALES).ifelse(_text(CALL), p["channel"]))


def _timed(p: ir.Table, times: ir.Table | None) -> ir.Table:
    """The day and hour: as a customer asked for, else when they are about, else when the channel is answered most."""
    usual: dict[str, dict[str, float]] = {"weekday": {}, "hour": {}}
    if times is not None:
        times = times.filter(times["channel"].notnull())
        for name, best in usual.items():
            each = times.group_by("channel", name).agg(
                rate=(times["rate"] * times["messages"]).cast("decimal(38, 6)").sum().cast("float64")
                / times["messages"].sum(), n=times["messages"].sum(),
            ).to_pandas()  # fmt: skip
            each = each[each["n"] >= SHRINKAGE_SENDINGS].sort_values(["rate", name], ascending=[False, True])
            best |= {row.channel: int(getattr(row, name)) for row in each.drop_duplicates("channel").itertuples()}
    proposed = p["content_id"].notnull()
    told = {}
    for name, best in usual.items():
        found = [(p["channel"] == channel, ibis.literal(value, "int64")) for channel, value in best.items()]
        typical = ibis.cases(*found, else_=ibis.null("int64")) if found else ibis.null("int64")
        about = p[f"active_{name}"]
        if name == "hour":
            # nobody likes to be rung up at breakfast or late at night
            about = (p["channel"] == CALL).fill_null(False).ifelse(about.clip(*CALLING_HOURS), about)
        best_time = ibis.coalesce(p[f"wanted_{name}"], about, typical)
        told[name] = proposed.ifelse(best_time, ibis.null("int64"))
    return p.mutate(**told)


def counts(actions: ir.Table) -> pd.DataFrame:
    """How many customers is each action for, and what is to be expected of it?

    Parameters
    ----------
    actions
        The table `next_actions`.

    Returns
    -------
    pandas.DataFrame
        `action`, `channel`, `customers`, `expected_margin` (in all), the most frequent first.
    """
    each = actions.group_by("action", "channel").agg(
        customers=actions.count(), expected_margin=total(actions["expected_margin"].fill_null(0.0))
    )
    return each.order_by(ibis.desc("customers"), "action", "channel").to_pandas()


def left_alone(actions: ir.Table) -> pd.DataFrame:
    """Why is nothing sent to those who are left alone?

    Parameters
    ----------
    actions
        The table `next_actions`.

    Returns
    -------
    pandas.DataFrame
        `reason` (without what differs from one customer to the next), `customers`; the most frequent first.
    """
    left = actions.filter(actions["action"] == LEAVE)
    capped = left["reason"].re_search(r"messages in \d+ days, and the cap is \d+$")
    why = left["reason"].re_replace(r" of .*$", "").re_replace(r":.*$", "")
    why = ibis.cases((capped & (why == "others"), "others of their account come first, up to the cap"),
                     (capped, "as many messages were sent as the cap allows"), else_=why)  # fmt: skip
    return left.group_by(reason=why).agg(customers=left.count()).order_by(ibis.desc("customers"), "reason").to_pandas()


def to_contact(actions: ir.Table, records: ir.Table) -> pd.DataFrame:
    """Which list goes to the sending tool and to service?

    Parameters
    ----------
    actions
        The table `next_actions`; those who are left alone are not on the list.
    records
        Of :func:`records_of_each`: the one to write to.

    Returns
    -------
    pandas.DataFrame
        The actions, with `source` and `person_id` of the record, and `consent`.
    """
    listed = _beside(actions.filter(actions["action"] != LEAVE), records)
    lead = ("customer_id", "source", "person_id", "action", "consent")
    rest = [name for name in actions.columns if name not in lead]
    return listed.order_by(ibis.desc("expected_margin"), "customer_id").select(*lead, *rest).to_pandas()


def limits_of_all(plan: Plan, counted: ir.Table, who: Known, policy: ContactPolicy, now: dt.datetime) -> Limits:
    """What may no policy do, be it as clever as it may?

    Parameters
    ----------
    plan
        Of :func:`plan`.
    counted
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    who
        What is known.
    policy
        The book's.
    now
        The instant of the run.
    """
    instant = ibis.literal(now, "timestamp")
    asked = plan.allowed.select("customer_id").distinct()
    unwanted, full = _nobody(topic="string"), _nobody()
    if who.wishes is not None:
        topics = counted.filter(counted["topic"].notnull()).select("topic").distinct()
        asks = asked.cross_join(topics).mutate(at=instant)
        asks = asks.mutate(arrival=ibis.row_number().over(ibis.window(order_by=["customer_id", "topic"])))
        unwanted = asks.semi_join(audit.unwanted(asks, who.wishes, "topic"), "arrival").select("customer_id", "topic")
        w = who.wishes.filter(who.wishes["max_per_period"].notnull())
        last = ibis.window(group_by="customer_id", order_by=[ibis.desc("at"), ibis.desc("arrival")])
        w = w.mutate(_rank=ibis.row_number().over(last))
        w = w.filter(w["_rank"] == 0).select("customer_id", "max_per_period", "period_days")
        had = counted.select("customer_id", "at").inner_join(w, "customer_id")
        days = had["period_days"].fill_null(float(policy.period_days)).clip(0, audit.LONGEST_PERIOD_DAYS)
        inside = had["at"].cast("timestamp") > instant - (days * 86_400).cast("int64").as_interval("s")
        had = had.filter(inside).group_by("customer_id").agg(n=ibis._.count())
        full = _beside(w, had)
        full = full.filter(full["n"].fill_null(0) + 1 > full["max_per_period"]).select("customer_id")
    bound = closed = _nobody("account_id", topic="string")
    if who.deals is not None:
        bound = who.deals.filter(who.deals["closed_at"].isnull()).select("account_id", "topic").distinct()
        closed = who.deals.filter(who.deals["closed_at"].notnull()).select("account_id", "topic").distinct()
        closed = closed.anti_join(bound, ["account_id", "topic"])
    got = counted.filter(counted["at"] > instant - ibis.interval(days=policy.period_days), counted["content_id"].notnull())
    got = got.select("account_id", "content_id").distinct()
    return Limits(plan.allowed, bound, closed, unwanted, full, got, policy.max_messages)


def records_of_each(messages: ir.Table, who: Known) -> ir.Table:
    """Which record of each customer is the one to write to?

    Parameters
    ----------
    messages
        Clean messages: the record that got the last one.
    who
        Who is who; of those who never got one it is the first of their records.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `source`, `person_id`.
    """
    m = with_customer(messages.select("person_source", "person_id", "sent_at", "arrival"), who.identities)
    order = ibis.window(group_by="customer_id", order_by=[ibis.desc("sent_at"), ibis.desc("arrival")])
    m = m.mutate(_rank=ibis.row_number().over(order))
    m = m.filter(m["_rank"] == 0).select("customer_id", source="person_source", person_id="person_id")
    if who.identities is None:
        return m
    i = who.identities.select("customer_id", "source", "person_id").anti_join(m, "customer_id")
    first = ibis.window(group_by="customer_id", order_by=["source", "person_id"])
    i = i.mutate(_rank=ibis.row_number().over(first))
    return m.union(i.filter(i["_rank"] == 0).select(*m.columns))


def _beside(left: ir.Table, right: ir.Table, *keys: str) -> ir.Table:
    """A left join that keeps the left columns and adds the right ones."""
    keys = keys or ("customer_id",)
    more = [name for name in right.columns if name not in keys]
    return left.left_join(right, list(keys)).select(*left.columns, *more)


def _nobody(key: str = "customer_id", kind: str = "string", /, **columns: str) -> ir.Table:
    schema = ibis.schema({key: kind, **columns})
    return ibis.memtable(schema.to_pyarrow().empty_table()).cast(schema)


def _union(*tables: ir.Table) -> ir.Table:
    """Tables under each other, with the types of the first: files tell times in several precisions."""
    first = tables[0]
    same = [rows.select(*first.columns).cast(first.schema()) for rows in tables]
    return ibis.union(*same) if len(same) > 1 else first


def _columns(rows: ir.Table, **columns: ir.Value) -> ir.Table:
    return rows.select("customer_id", **columns)


def _text(first, *rest) -> ir.StringValue:
    first = ibis.literal(first) if isinstance(first, str) else first
    return first.concat(*rest) if rest else first


def _number(value: int) -> ir.IntegerScalar:
    return ibis.literal(value, "int64")


def _day(at: ir.TimestampValue, zone: str) -> ir.StringValue:
    return parsing.local(at, zone).date().cast("string")


def _ago(rules: Rules, hours: float) -> ir.TimestampScalar:
    return ibis.literal(rules.now - dt.timedelta(hours=hours), "timestamp")
