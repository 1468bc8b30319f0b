"""What to do next with each customer, or why to leave them alone?

A plain rule: service first, then what the marketer's triggers say, then a piece for the stage they are at, within what
they allow and what their account can bear.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook import parsing
from clientbook.book import ContactPolicy, Trigger
from clientbook.content import audit
from clientbook.content.audit import Known, as_count, keep
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.tables import STAGES

PURPOSE = "marketing"
SEND, LEAVE, SERVICE = "send", "leave alone", "call by service"
CART, LATE = "cart_abandoned", "delivery_late"
CART_EVENT = "add_to_cart"
# Pieces tried for each stage of a topic; a library may hold thousands.
PIECES_TRIED = 12
# A channel or piece that was sent seldom answers like all others: about so many sendings' weight is that of all.
SHRINKAGE_SENDINGS = 50.0
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
    """

    policy: ContactPolicy
    triggers: Sequence[Trigger]
    zone: str
    now: dt.datetime
    share_of_value: float
    fresh_days: int


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
    """

    sent: ir.Table
    pieces: ir.Table | None = None
    value: ir.Table | None = None
    orders: ir.Table | None = None
    deliveries: ir.Table | None = None
    events: ir.Table | None = None


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
        `expected_margin`, `consent` (`given`, `none`, `unknown` in a book without consents, `not needed` for service).
    """
    now = ibis.literal(rules.now, "timestamp")
    counted = facts.sent.filter(~facts.sent["is_operational"])
    first = keep(engine, service_first(facts, who, rules))
    owned = who.deals
    seen = keep(engine, triggered(facts, who, rules))
    base = keep(engine, everybody(facts, who))
    topics = keep(engine, topic_of_each(base, seen, owned, who, now))
    best = keep(engine, best_channel(topics, values(base, facts.value), channel_rates(counted), who, rules))
    drafts = keep(engine, _drafts(topics, best, first, counted, rules, now))
    chosen = keep(engine, _with_piece(drafts, facts, counted, owned, who, rules, now))
    faults = keep(engine, _faults(chosen, counted, who, rules, now, engine))
    p = _beside(topics, best)
    for more in (drafts.select("customer_id", "got", "fits"), chosen.select("customer_id", "content_source",
                 "content_id", "is_new"), faults, first, seen, stated_times(who)):  # fmt: skip
        p = _beside(p, more)
    told = _timed(_told(p, rules, who), counted, rules.zone)
    names = ("customer_id", "account_id", "action", "content_source", "content_id", "topic", "stage", "channel")
    names += ("weekday", "hour", "reason", "expected_margin", "consent")
    return told.select(*names).order_by(ibis.desc("expected_margin"), "customer_id")


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
        What is known, and by what is decided. An order is late when its delivery was promised for before now (with a
        trigger `delivery_late`, by so many hours) and has not arrived.

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
        d = facts.deliveries.filter(facts.deliveries["delivered_at"].isnull(), facts.deliveries["promised_at"] < limit)
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
    found = [
        _nobody(
            trigger="string", trigger_action="string", trigger_topic="string", trigger_at="timestamp", _turn="int64"
        )
    ]
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


def topic_of_each(
    base: ir.Table, seen: ir.Table, owned: ir.Table | None, who: Known, now: ir.TimestampValue
) -> ir.Table:
    """What is each customer after now, and at which stage are they?

    What the account has an open opportunity on, and what the customer asked for, bind; else it is the topic of a
    trigger, or the one on which the account moved last.

    Parameters
    ----------
    base
        Of :func:`everybody`.
    seen
        Of :func:`triggered`.
    owned
        The deals of `who`, or None.
    who
        What is known.
    now
        The instant of the run.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `account_id`, `topic`, `stage`, `since`; the stage is null where nothing is known.
    """
    columns = ("customer_id", "topic", "stage", "since", "_turn")
    found = [_nobody(topic="string", stage="string", since="timestamp", _turn="int64")]
    if who.stages is not None:
        i = who.stages
        i = i.filter(i["at"] < now, i["valid_to"].isnull() | (i["valid_to"] >= now))
        i = i.select(
            *[name for name in ("account_id", "customer_id") if name in i.columns],
            "stage",
            topic=i["topic"] if "topic" in i.columns else ibis.null("string"),
            since=i["at"].cast("timestamp"),
        )
        subject = "account_id" if "account_id" in i.columns else "customer_id"
        found.append(base.inner_join(i, subject).mutate(_turn=_number(0)).select(*columns))
    decides = ibis.literal("decide")
    carts = seen.filter(seen["trigger"] == CART, seen["trigger_topic"].notnull())
    found.append(
        _columns(carts, topic=carts["trigger_topic"], stage=decides, since=carts["trigger_at"], _turn=_number(1))
    )
    if owned is not None:
        live = (
            owned.filter(owned["closed_at"].isnull())
            .group_by("account_id", "topic")
            .agg(since=owned["opened_at"].max())
        )
        live = live.mutate(since=live["since"].cast("timestamp"))
        found.append(base.inner_join(live, "account_id").mutate(stage=decides, _turn=_number(2)).select(*columns))
    every = _union(*found)
    # an interval knows the stage better than the rule that who has a cart or a deal decides
    order = ibis.window(group_by=["customer_id", "topic"], order_by=["_turn", ibis.desc("since"), "stage"])
    every = every.mutate(_rank=ibis.row_number().over(order))
    every = _beside(every.filter(every["_rank"] == 0).drop("_rank", "_turn"), base)
    if owned is not None:
        live = live.mutate(_open=True)
        held = live.select("account_id", _holds="_open").distinct()
        every = _beside(_beside(every, live.drop("since"), "account_id", "topic"), held, "account_id")
        every = every.filter(every["_holds"].isnull() | every["_open"].notnull())
    if who.wishes is not None:
        asks = every.mutate(arrival=ibis.row_number().over(ibis.window(order_by=["customer_id", "topic"])), at=now)
        every = asks.anti_join(audit.unwanted(asks, who.wishes, "topic"), "arrival")
    every = _beside(every, seen.select("customer_id", "trigger_topic"))
    hot = (every["trigger_topic"] == every["topic"]).fill_null(False)
    order = ibis.window(group_by="customer_id", order_by=[ibis.desc(hot), ibis.desc("since"), "topic"])
    every = every.mutate(_rank=ibis.row_number().over(order))
    every = every.filter(every["_rank"] == 0).select("customer_id", "topic", "stage", "since")
    return _beside(base, every)


def values(base: ir.Table, value: ir.Table | None) -> ir.Table:
    """What is each customer worth, as far as one can say?

    Parameters
    ----------
    base
        Of :func:`everybody`.
    value
        The table `value`, or None: then nobody's worth is known.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `worth`: the expected value; of somebody who never bought, the median of those who did, times the
        share of customers who did.
    """
    if value is None:
        return base.select("customer_id", worth=ibis.null("float64"))
    known = _beside(base.select("customer_id"), value.select("customer_id", "clv"))
    typical = known.aggregate(
        worth=known["clv"].quantile(0.5) * known["clv"].count() / known.count().nullif(0)
    ).to_pyarrow().to_pylist()[0]["worth"]  # fmt: skip
    return known.select(
        "customer_id", worth=known["clv"].fill_null(ibis.literal(typical and round(float(typical), 6), "float64"))
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


def best_channel(topics: ir.Table, worth: ir.Table, channels: ir.Table, who: Known, rules: Rules) -> ir.Table:
    """By which of the channels that a customer allows and wants is most to be expected?

    Parameters
    ----------
    topics
        Of :func:`topic_of_each`.
    worth
        Of :func:`values`.
    channels
        Of :func:`channel_rates`.
    who, rules
        What is known, and by what is decided.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `channel` (null: none), `expected_margin` (null where nobody's worth is known), `rate`,
        `consented` (whether any channel is allowed).
    """
    now = ibis.literal(rules.now, "timestamp")
    asks = _beside(topics.select("customer_id", "topic"), worth).cross_join(channels)
    asks = asks.mutate(
        arrival=ibis.row_number().over(ibis.window(order_by=["customer_id", "channel"])), at=now, purpose=_text(PURPOSE)
    )
    flags = [_nobody("arrival", "int64", why="string")]
    if who.consents is not None:
        flags.append(audit.without_consent(asks, who.consents).mutate(why=_text("refused")))
    if who.wishes is not None:
        flags.append(audit.unwanted(asks, who.wishes, "channel").mutate(why=_text("unwanted")))
    against = _union(*flags)
    against = against.group_by("arrival").agg(refused=(against["why"] == "refused").any())
    asks = _beside(asks, against, "arrival")
    margin = (asks["rate"] * rules.share_of_value * asks["worth"] - asks["cost"]).round(2)
    asks = asks.mutate(expected_margin=margin, allowed=asks["refused"].isnull(), score=margin.fill_null(asks["rate"]))
    order = ibis.window(
        group_by="customer_id",
        order_by=[ibis.desc("allowed"), ibis.desc("score"), "channel"],
    )
    asks = asks.mutate(
        _rank=ibis.row_number().over(order),
        consented=(~asks["refused"].fill_null(False)).cast("int64").max().over(ibis.window(group_by="customer_id")) > 0,
    )
    top = asks.filter(asks["_rank"] == 0)
    nothing = ibis.null("float64")
    return top.select(
        "customer_id", "rate", "consented",
        channel=top["allowed"].ifelse(top["channel"], ibis.null("string")),
        expected_margin=top["allowed"].ifelse(top["expected_margin"], nothing),
    )  # fmt: skip


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


def _drafts(topics: ir.Table, best: ir.Table, first: ir.Table, counted: ir.Table, rules: Rules, now) -> ir.Table:
    """Who may be written to, the most valuable of an account first, as long as there is room below the cap?"""
    group = f"{rules.policy.per}_id"
    d = _beside(topics, best)
    d = d.filter(
        d["stage"].notnull(), d["channel"].notnull(), d["expected_margin"].isnull() | (d["expected_margin"] > 0)
    )
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


def _with_piece(drafts, facts: Facts, counted, owned, who: Known, rules: Rules, now) -> ir.Table:
    """Each draft with a piece for its stage or the one after; two contacts of an account never get the same."""
    d = drafts.filter(drafts["fits"])
    nothing = {"content_source": "string", "content_id": "string", "content_stage": "string", "is_new": "boolean"}
    if facts.pieces is None:
        return d.filter(False).mutate(**{name: ibis.null(kind) for name, kind in nothing.items()})
    cell = ("account_id", "topic", "stage")
    d = d.mutate(turn=ibis.row_number().over(ibis.window(group_by=list(cell), order_by="place")))
    of = ("content_source", "content_id")
    shelf = _shelf(facts.pieces, counted)
    asked = d.select(*cell).distinct()
    fitting = (shelf["for_stage"] == asked["stage"]) & (asked["topic"].isnull() | (shelf["_topic"] == asked["topic"]))
    tried = asked.inner_join(shelf, fitting)
    if owned is not None:
        over = owned.group_by("account_id", "topic").agg(_live=owned["closed_at"].isnull().any())
        tried = _beside(tried, over, "account_id", "topic")
        tried = tried.filter((tried["_live"].fill_null(True)) | ~tried["content_stage"].isin(audit.BEFORE_A_SALE))
    got = counted.filter(counted["content_id"].notnull()).group_by("account_id", *of).agg(got_at=counted["at"].max())
    tried = _beside(tried, got, "account_id", *of)
    tried = tried.filter(
        tried["got_at"].isnull() | (tried["got_at"] <= now - ibis.interval(days=rules.policy.period_days))
    )
    if facts.events is not None:
        e = facts.events.filter(facts.events["content_id"].notnull())
        e = e.select("person_source", "person_id", *of).distinct()
        e = audit.with_account(with_customer(e, who.identities), who.customers).select("account_id", *of).distinct()
        tried = _beside(tried, e.mutate(_read=True), "account_id", *of)
    else:
        tried = tried.mutate(_read=ibis.null("boolean"))
    tried = tried.mutate(is_new=tried["got_at"].isnull() & tried["_read"].isnull())
    order = [ibis.desc("is_new"), ibis.desc("for_now"), ibis.desc("piece_rate"), *of]
    tried = tried.mutate(turn=ibis.row_number().over(ibis.window(group_by=list(cell), order_by=order)))
    same = [d[name].identical_to(tried[name]) for name in (*cell, "turn")]
    joined = d.inner_join(tried.select(*cell, "turn", *nothing), same)
    return joined.select(*d.columns, *nothing)


def _shelf(pieces: ir.Table, counted: ir.Table) -> ir.Table:
    """The pieces that may be tried for each stage of each topic: those of the stage, and of the one after."""
    of = ("content_source", "content_id")
    clicks = counted.filter(counted["content_id"].notnull())
    clicks = clicks.group_by(*of).agg(n=clicks.count(), answers=as_count(clicks["clicked"].sum()))
    overall = counted["clicked"].mean().as_scalar().fill_null(0.0)
    p = _beside(pieces.filter(pieces["stage"].notnull()), clicks, *of)
    rate = (p["answers"].fill_null(0) + SHRINKAGE_SENDINGS * overall) / (p["n"].fill_null(0) + SHRINKAGE_SENDINGS)
    p = p.select(*of, _topic="topic", content_stage="stage", piece_rate=rate.round(6))
    after = dict(zip(STAGES[1:], STAGES, strict=False))
    before = ibis.cases(
        *[(p["content_stage"] == late, early) for late, early in after.items()], else_=ibis.null("string")
    )
    both = p.mutate(for_stage=p["content_stage"], for_now=True).union(p.mutate(for_stage=before, for_now=False))
    # where the stage is the first, nothing comes before it
    order = ibis.window(group_by=["for_stage", "_topic", "for_now"], order_by=[ibis.desc("piece_rate"), *of])
    both = both.filter(both["for_stage"].notnull())
    both = both.mutate(_rank=ibis.row_number().over(order))
    return both.filter(both["_rank"] < PIECES_TRIED).drop("_rank")


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
        (p["stage"].isnull(), _text("we do not know what they are after")),
        (p["channel"].isnull(), _text("they asked for other channels than those they allow")),
        ((p["expected_margin"] <= 0).fill_null(False), _text("a message would cost more than it is likely to bring")),
        (~p["fits"].fill_null(True), nothing),
        (p["content_id"].isnull(), _text("nothing is left for the stage ", p["stage"], " of ", topic)),
        ((p["fault"] == "over_preference").fill_null(False), _text("they asked for fewer messages")),
        (p["fault"].notnull(), _text("it would be wrong: ", p["fault"].replace("_", " "))),
    ]
    why = ibis.cases(
        (p["trigger"] == CART, _text("they left a cart on ", _day(p["trigger_at"], rules.zone), "; ")),
        (
            p["trigger"].notnull(),
            _text(p["trigger"].replace("_", " "), " on ", _day(p["trigger_at"], rules.zone), "; "),
        ),
        else_="",
    ).concat("at the stage ", p["stage"], " of ", topic, " since ", _day(p["since"], rules.zone))
    fresh = p["is_new"].ifelse(
        _text("nobody there has seen the piece"), _text("the piece is the least recent that fits")
    )
    why = why.concat("; ", fresh, "; ", p["channel"], " is the best channel they allow" if who.consents is not None
                     else " is the best channel")  # fmt: skip
    serve = p["service_action"].notnull()
    leave = ibis.cases(*against, else_=ibis.null("string"))
    action = ibis.cases(
        (serve, p["service_action"]), (leave.notnull(), _text(LEAVE)), else_=p["trigger_action"].fill_null(SEND)
    )
    proposed = ~serve & leave.isnull()
    allowed = _text("unknown") if who.consents is None else p["consented"].fill_null(False).ifelse("given", "none")
    null = {name: ibis.null(p[name].type()) for name in ("content_source", "content_id", "channel")}
    return p.mutate(
        action=action,
        reason=ibis.coalesce(p["service_reason"], leave, why),
        **{name: proposed.ifelse(p[name], empty) for name, empty in null.items()},
        expected_margin=ibis.cases(
            (proposed, p["expected_margin"]), (serve, ibis.null("float64")), else_=ibis.literal(0.0, "float64")
        ),
        consent=serve.ifelse("not needed", allowed),
    )


def _timed(p: ir.Table, counted: ir.Table, zone: str) -> ir.Table:
    """The day and hour at which most is answered; what a customer asked for comes first."""
    local = parsing.local(counted["at"], zone)
    m = counted.select(
        answered=((counted["clicked"] + counted["replied"]) > 0).cast("float64"),
        weekday=(local.day_of_week.index() + 1).cast("int64"), hour=local.hour().cast("int64"),
    )  # fmt: skip
    overall = m["answered"].mean().to_pyarrow().as_py() or 0.0
    usual = {}
    for name in ("weekday", "hour"):
        each = m.group_by(name).agg(n=m.count(), answers=m["answered"].sum()).to_pandas()
        each["rate"] = ((each["answers"] + SHRINKAGE_SENDINGS * overall) / (each["n"] + SHRINKAGE_SENDINGS)).round(9)
        top = each.sort_values(["rate", name], ascending=[False, True])
        usual[name] = int(top[name].iloc[0]) if len(top) else None
    proposed = p["content_id"].notnull()
    times = {
        name: proposed.ifelse(ibis.coalesce(p[f"wanted_{name}"], ibis.literal(best, "int64")), ibis.null("int64"))
        for name, best in usual.items()
    }
    return p.mutate(**times)


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
        `reason` (with its numbers, topics and stages left out), `customers`; the most frequent first.
    """
    left = actions.filter(actions["action"] == LEAVE)
    why = left["reason"].re_replace(r" of .*$", "").re_replace(r":.*$", "").re_replace(r"\d+", "n")
    return left.group_by(reason=why).agg(customers=left.count()).order_by(ibis.desc("customers"), "reason").to_pandas()


def to_contact(actions: ir.Table, messages: ir.Table, who: Known) -> pd.DataFrame:
    """Which list goes to the sending tool and to service?

    Parameters
    ----------
    actions
        The table `next_actions`; those who are left alone are not on the list.
    messages
        Clean messages: the record that got the last one is the one to write to.
    who
        Who is who.

    Returns
    -------
    pandas.DataFrame
        The actions, with `source` and `person_id` of the record, and `consent`.
    """
    m = with_customer(messages.select("person_source", "person_id", "sent_at", "arrival"), who.identities)
    order = ibis.window(group_by="customer_id", order_by=[ibis.desc("sent_at"), ibis.desc("arrival")])
    m = m.mutate(_rank=ibis.row_number().over(order))
    m = m.filter(m["_rank"] == 0).select("customer_id", source="person_source", person_id="person_id")
    listed = _beside(actions.filter(actions["action"] != LEAVE), m)
    if who.identities is not None:
        i = who.identities.group_by("customer_id").agg(
            _key=(who.identities["source"].concat("\x1f", who.identities["person_id"])).min()
        )
        listed = _beside(listed, i)
        source, person = listed["_key"].split("\x1f")[0], listed["_key"].split("\x1f")[1]
        listed = listed.mutate(
            source=listed["source"].fill_null(source),
            person_id=listed["source"].isnull().ifelse(person, listed["person_id"]),
        ).drop("_key")
    lead = ("customer_id", "source", "person_id", "action", "consent")
    rest = [name for name in actions.columns if name not in lead]
    return listed.order_by(ibis.desc("expected_margin"), "customer_id").select(*lead, *rest).to_pandas()


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
