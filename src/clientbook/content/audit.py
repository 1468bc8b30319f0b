"""What was wrong with each message, judged by what was known when it was sent?

An instant asks, and changes answer: for every message the latest change of its customer, account or topic up to its
sending is found by one running maximum over both, so nothing learnt later can slip in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from clientbook.book import ContactPolicy
from clientbook.customers import with_customer
from clientbook.engine import asof_join
from clientbook.tables import STAGES

REASONS = (
    "no_consent",
    "open_complaint",
    "after_close",
    "over_cap",
    "over_preference",
    "duplicate",
    "wrong_topic",
    "wrong_stage",
)
VERDICTS = (*REASONS, "right", "operational")
# What helps to decide is of no use to somebody whose deal is over.
BEFORE_A_SALE = ("need", "research", "decide")
LONGEST_PERIOD_DAYS = 36_500
_SECONDS = 86_400
# What is said at the instant of an asking is known before it, or after it.
_TURN = tuple(ibis.literal(turn, "int8") for turn in (0, 1, 2))


@dataclass(frozen=True)
class Circumstances:
    """What was known about customers beside the messages; every table may be missing.

    Attributes
    ----------
    consents, preferences, cases, opportunities, opportunity_people
        Clean tables.
    identities, customers, account_identities
        Who is who, and which account they belong to.
    stage_intervals
        Where each subject stood; the filtered ones are used.
    """

    consents: ir.Table | None = None
    preferences: ir.Table | None = None
    cases: ir.Table | None = None
    opportunities: ir.Table | None = None
    opportunity_people: ir.Table | None = None
    identities: ir.Table | None = None
    customers: ir.Table | None = None
    account_identities: ir.Table | None = None
    stage_intervals: ir.Table | None = None


@dataclass(frozen=True)
class Known:
    """The same put in order: whose each row is, once and for all.

    Attributes
    ----------
    consents
        `customer_id`, `purpose`, `channel`, `status`, `valid_to`, `at`.
    wishes
        `customer_id`, `at`, `arrival` and what was stated.
    complaints
        `customer_id`, `opened_at`, `closed_at`.
    deals
        `account_id`, `topic`, `opened_at`, `closed_at`.
    stages
        `account_id` or `customer_id`, `topic` (where journeys have topics), `stage`, `probability`, `at`, `valid_to`:
        filtered, one for each instant.
    identities, customers
        As they came.
    """

    consents: ir.Table | None = None
    wishes: ir.Table | None = None
    complaints: ir.Table | None = None
    deals: ir.Table | None = None
    stages: ir.Table | None = None
    identities: ir.Table | None = None
    customers: ir.Table | None = None


def learn(circumstances: Circumstances, complaint: str, engine) -> Known:
    """Whose is each consent, wish, complaint, deal and stage?

    Parameters
    ----------
    circumstances
        What was known.
    complaint
        What the name of a case's reason contains that is a complaint.
    engine
        Where it is computed and kept.
    """
    c = circumstances
    told: dict[str, ir.Table | None] = {
        "consents": _owned(c.consents, c.identities, "indicated_at", "purpose", "channel", "status", "valid_to"),
        "wishes": _owned(c.preferences, c.identities, "stated_at", *_STATED, "arrival"),
        "complaints": None if c.cases is None else complaints(c.cases, c.identities, complaint),
        "deals": deals(c),
        "stages": None if c.stage_intervals is None else _stages(c.stage_intervals),
    }
    kept = {name: rows if rows is None else keep(engine, rows) for name, rows in told.items()}
    return Known(**kept, identities=c.identities, customers=c.customers)


_STATED = ("channel", "topic", "weekday", "hour", "max_per_period", "period_days")


def _owned(rows: ir.Table | None, identities: ir.Table | None, at: str, *columns: str) -> ir.Table | None:
    return None if rows is None else with_customer(rows, identities).select("customer_id", *columns, at=at)


def _stages(intervals: ir.Table) -> ir.Table:
    i = intervals.filter(intervals["method"] == "filtered")
    facts = i.aggregate(account=(i["subject_type"] == "account").any(), topics=i["topic"].count())
    facts = facts.to_pyarrow().to_pylist()[0]
    subject = "customer" if facts["account"] is False else "account"
    i = i.filter(i["subject_type"] == subject).rename({f"{subject}_id": "subject_id", "at": "valid_from"})
    keys = [f"{subject}_id", "topic"] if facts["topics"] else [f"{subject}_id"]
    # several at one instant: the most probable
    first = ibis.window(group_by=[*keys, "at"], order_by=[ibis.desc("probability"), "stage", "journey_id"])
    i = i.mutate(_rank=ibis.row_number().over(first))
    return i.filter(i["_rank"] == 0).select(*keys, "stage", "probability", "at", "valid_to")


def keep(engine, rows: ir.Table) -> ir.Table:
    """A table computed once, whoever reads it how often.

    Parameters
    ----------
    engine
        Where it is computed; its scratch folder holds it.
    rows
        What is to be kept.
    """
    return engine.keep(rows)


def with_account(rows: ir.Table, customers: ir.Table | None) -> ir.Table:
    """Rows with the account of their customer.

    Parameters
    ----------
    rows
        With `customer_id`.
    customers
        `customer_id`, `account_id`; None, or a customer whom it does not know: an account of one.
    """
    own = lambda customer: ibis.literal("a") + customer.substr(1)  # noqa: E731
    if customers is None:
        return rows.mutate(account_id=own(rows["customer_id"]))
    known = customers.select("customer_id", _account=customers["account_id"])
    names = [name for name in rows.columns if name != "account_id"]
    joined = rows.left_join(known, "customer_id").select(*names, "_account")
    return joined.mutate(account_id=joined["_account"].fill_null(own(joined["customer_id"]))).drop("_account")


_SENT = ("channel", "sender", "message_type", "content_source", "content_id", "topic", "purpose")
_ANSWERS = {"opened": "opened_at", "clicked": "clicked_at", "replied": "replied_at", "unsubscribed": "unsubscribed_at"}


def sendings(
    messages: ir.Table, content: ir.Table | None, identities: ir.Table | None = None, customers: ir.Table | None = None
) -> ir.Table:
    """What was sent, to whom, about what?

    A message that was delivered again, with an opening that was not known before, is one sending: its place in the
    order of arrival is that of the first delivery, its answers are all that are known.

    Parameters
    ----------
    messages, content
        Clean tables; without content the stage of what was sent is not known.
    identities, customers
        Who is who, and whose account is whose; None where nothing was matched.

    Returns
    -------
    ibis.expr.types.Table
        A row for each sending, `arrival` is its key: source, message_id, customer_id, account_id, at, channel, sender,
        message_type, content_source, content_id, topic (the message's, else its content's), content_stage, purpose,
        is_operational, opened, clicked, replied, unsubscribed (0 or 1), cost.
    """
    m = messages.rename(at="sent_at").mutate(
        is_operational=messages["is_operational"].fill_null(False),
        **{name: messages[at].notnull().cast("int64") for name, at in _ANSWERS.items()},
    )
    key = ("source", "message_id", "person_source", "person_id", "at")
    m = m.select(*key, *_SENT, "is_operational", *_ANSWERS, "cost", "arrival")
    counted = m.group_by("source", "message_id").agg(deliveries=m.count())
    repeated = counted.filter(counted["deliveries"] > 1).drop("deliveries")
    # to put together what was delivered twice is dear, and most books have none
    if repeated.limit(1).to_pyarrow().num_rows:
        twice = m.semi_join(repeated, ["source", "message_id"])
        once = twice.group_by(*key).agg(
            **{name: twice[name].argmin(twice["arrival"]) for name in _SENT},
            is_operational=twice["is_operational"].any(),
            **{name: twice[name].max() for name in _ANSWERS},
            cost=twice["cost"].argmin(twice["arrival"]),
            first=twice["arrival"].min(),
        )
        m = m.anti_join(repeated, ["source", "message_id"]).union(once.rename(arrival="first").select(*m.columns))
    known = with_account(with_customer(m, identities).drop("person_source", "person_id"), customers)
    if content is None:
        return known.mutate(content_stage=ibis.null("string"))
    c = content
    pieces = c.group_by(content_source=c["source"], content_id=c["content_id"]).agg(
        _topic=c["topic"].argmax(c["arrival"]), content_stage=c["stage"].argmax(c["arrival"])
    )
    joined = known.left_join(pieces, ["content_source", "content_id"])
    joined = joined.select(*known.columns, "_topic", "content_stage")
    return joined.mutate(topic=ibis.coalesce(joined["topic"], joined["_topic"])).drop("_topic")


def latest(asked: ir.Table, known: ir.Table, keys: Sequence[str], carry: Sequence[str] = (), strictly: bool = False) -> ir.Table:
    """What was the latest that was known at each asking?

    Parameters
    ----------
    asked
        `arrival` (its key), `at`, the keys and what is carried.
    known
        `at`, the keys and what was said then; several rows may say something at one instant.
    keys
        The columns that must be equal.
    carry
        Columns of `asked` to be had beside what was said.
    strictly
        Whether what was said at the very instant of asking is not known yet.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `asked_at`, the keys, the carried columns, `said_at` and the other columns of `known`: every row said
        at the latest instant; nothing for an asking before which nothing was said.
    """
    # files tell times in several precisions, and what is to be put together must be of one type
    asked, known = (rows.mutate(at=rows["at"].cast("timestamp")) for rows in (asked, known))
    # one number in place of several words: there is nothing that costs more here than to sort
    codes = known.select(*keys).distinct()
    codes = codes.mutate(_key=ibis.row_number().over(ibis.window(order_by=list(keys))))
    rest = [name for name in known.columns if name not in (*keys, "at")]
    said = known.inner_join(codes, list(keys)).select("_key", *keys, *rest, said_at="at")
    asks = asked.inner_join(codes, list(keys)).select(
        "_key", "at", "arrival", *carry, said_at=ibis.null("timestamp"), turn=_TURN[1]
    )
    marks = said.select("_key", "said_at").distinct()
    marks = marks.mutate(
        at=marks["said_at"],
        arrival=ibis.null("int64"),
        turn=_TURN[2] if strictly else _TURN[0],
        **{name: ibis.null(asks[name].type()) for name in carry},
    )
    both = asks.union(marks.select(*asks.columns))
    so_far = ibis.window(group_by="_key", order_by=["at", "turn"], preceding=None, following=0)
    both = both.mutate(said_at=both["said_at"].max().over(so_far))
    hits = both.filter(both["arrival"].notnull(), both["said_at"].notnull()).rename(asked_at="at")
    found = hits.inner_join(said, ["_key", "said_at"])
    return found.select("arrival", "asked_at", *keys, *carry, "said_at", *rest)


def without_consent(sent: ir.Table, consents: ir.Table) -> ir.Table:
    """Which messages had no consent in force?

    Of the customer's indications for the purpose and channel (or all channels) up to the sending, those of the latest
    instant count, the strictest first; one that is not `given` or has run out is no consent, nor is none at all. A
    message whose channel is not known needs one for all channels.

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    consents
        Of :func:`learn`.

    Returns
    -------
    ibis.expr.types.Table
        `arrival` of each such message.
    """
    m = sent.select("arrival", "at", "customer_id", "purpose", channel=sent["channel"].fill_null(""))
    c = consents.rename(_on="channel")
    kinds = m.select("customer_id", "purpose", "channel").distinct()
    said = kinds.inner_join(c, ["customer_id", "purpose"])
    said = said.filter(said["_on"].isnull() | (said["_on"] == said["channel"])).drop("_on")
    # what was said at one instant is put together before it is asked for, once and not for each message
    said = said.group_by("customer_id", "purpose", "channel", "at").agg(
        given=(said["status"] == "given").all(), until=said["valid_to"].cast("timestamp").min()
    )
    found = latest(m, said, ("customer_id", "purpose", "channel"))
    allows = found["given"] & (found["until"].isnull() | (found["until"] > found["asked_at"]))
    return m.anti_join(found.filter(allows), "arrival").select("arrival")


def under_complaint(sent: ir.Table, complaints: ir.Table) -> ir.Table:
    """Which messages went to a customer with an open complaint?

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    complaints
        Of :func:`learn`; one that was closed before it was opened was never open.

    Returns
    -------
    ibis.expr.types.Table
        `arrival` of each such message.
    """
    found = latest(sent, _running(complaints, ("customer_id",)), ("customer_id",))
    return found.filter(found["open"] > 0).select("arrival")


def complaints(cases: ir.Table, identities: ir.Table | None, complaint: str) -> ir.Table:
    """Whose complaints were opened and closed when?

    Parameters
    ----------
    cases, identities
        Clean cases, and who is who.
    complaint
        What the name of a reason contains that is a complaint; upper and lower case are alike.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `opened_at`, `closed_at` (null while it is open).
    """
    named = cases.filter(cases["reason"].lower().contains(complaint.lower()))
    return with_customer(named, identities).select("customer_id", "opened_at", "closed_at")


def deals(circumstances: Circumstances) -> ir.Table | None:
    """Which account has or had which opportunity?

    Parameters
    ----------
    circumstances
        With opportunities and who is who. A deal is the account's that it names, else of its person's account, else of
        the account of the first of its people. One whose topic nobody wrote down proves nothing and is left out. One that
        was won or lost nobody knows when was not open for any time that is known: it was closed when it was opened.

    Returns
    -------
    ibis.expr.types.Table or None
        `account_id`, `topic`, `opened_at`, `closed_at` (null while it is open); None without opportunities.
    """
    who = circumstances
    if who.opportunities is None:
        return None
    o = who.opportunities.filter(who.opportunities["topic"].notnull())
    o = o.select(
        "source",
        "opportunity_id",
        "account_source",
        _named="account_id",
        **{name: o[name] for name in ("person_source", "person_id", "topic", "opened_at")},
        closed_at=o["is_won"].notnull().ifelse(ibis.coalesce(o["closed_at"], o["opened_at"]), o["closed_at"]),
    )
    o = with_account(with_customer(o, who.identities), who.customers).rename(_person="account_id")
    o = o.mutate(_person=o["person_id"].isnull().ifelse(ibis.null("string"), o["_person"]))
    if who.account_identities is not None:
        a = who.account_identities
        a = a.group_by(account_source=a["source"], _named=a["source_account_id"]).agg(_account=a["account_id"].min())
        o = o.left_join(a, ["account_source", "_named"]).select(*o.columns, "_account")
    else:
        o = o.mutate(_account=ibis.null("string"))
    if who.opportunity_people is not None:
        p = with_account(with_customer(who.opportunity_people, who.identities), who.customers)
        p = p.group_by(source=p["opportunity_source"], opportunity_id=p["opportunity_id"]).agg(
            _part=p["account_id"].argmin(p["arrival"])
        )
        o = o.left_join(p, ["source", "opportunity_id"]).select(*o.columns, "_part")
    else:
        o = o.mutate(_part=ibis.null("string"))
    o = o.mutate(account_id=ibis.coalesce(o["_account"], o["_person"], o["_part"]))
    return o.filter(o["account_id"].notnull()).select("account_id", "topic", "opened_at", "closed_at")


def against_deals(sent: ir.Table, owned: ir.Table) -> ir.Table:
    """Which messages ignored the deals of the account?

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    owned
        Of :func:`deals`.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `reason`: `after_close` or `wrong_topic`. A message whose topic is not known is neither.
    """
    m = sent.filter(sent["topic"].notnull()).select("arrival", "at", "account_id", "topic", "content_stage")
    anywhere = latest(m, _running(owned, ("account_id",)), ("account_id",), carry=("content_stage",))
    here = latest(m, _running(owned, ("account_id", "topic")), ("account_id", "topic"))
    here = here.select("arrival", here="open", ended="closed")
    both = anywhere.left_join(here, "arrival").select("arrival", "content_stage", "open", "here", "ended")
    here, closed = both["here"].fill_null(0), both["ended"].fill_null(0)
    early = both["content_stage"].isin(BEFORE_A_SALE).fill_null(False)
    over = both.filter(early & (closed > 0) & (here == 0)).select("arrival").mutate(reason=_said("after_close"))
    other = both.filter((both["open"] > 0) & (here == 0)).select("arrival").mutate(reason=_said("wrong_topic"))
    return over.union(other)


def in_period(sent: ir.Table, group: str, days: int) -> ir.Table:
    """How many messages did each of them make, in the days up to it?

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    group
        `account_id` or `customer_id`.
    days
        The period; what was sent exactly so long ago has left it.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, the group, `number` (the message included; at one instant, those that arrived before it).
    """
    so_far = ibis.window(group_by=group, order_by=["at", "arrival"], preceding=None, following=0)
    gone = ibis.range_window(group_by=group, order_by="at", preceding=(None, ibis.interval(days=days)))
    return sent.select("arrival", group, number=sent["arrival"].count().over(so_far) - sent["arrival"].count().over(gone))


def followed(sent: ir.Table, happened: ir.Table, days: int, key: str = "customer_id") -> ir.Table:
    """Which messages were followed by something within some days?

    Parameters
    ----------
    sent
        `arrival`, the key and `at`.
    happened
        The key and `at`.
    days
        How many; what happens at the very instant of the sending was not caused by it.
    key
        Whose it must be.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `followed`.
    """
    asks = sent.select(key, "arrival", at=sent["at"].cast("timestamp"))
    marks = happened.select(key, then=happened["at"].cast("timestamp"))
    # the next one alone: if that is too late, all others are
    both = asof_join(asks, marks, on=("at", "<", "then"), by=[key])
    soon = both["then"] <= both["at"] + ibis.interval(days=days)
    return both.select("arrival", followed=soon.fill_null(False))


def beyond_wish(asked: ir.Table, sent: ir.Table) -> ir.Table:
    """Which messages were more than their customer wished for in a period of their own?

    Parameters
    ----------
    asked
        `arrival`, `customer_id`, `at`, and the wish: `most` in `period_days`. A message may be held against several.
    sent
        Of :func:`sendings`, without the operational ones; `asked` is some of it.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`.
    """
    nobody = ibis.null("float64")
    m = sent.semi_join(asked, "customer_id").select(
        "customer_id", at=sent["at"].cast("timestamp"), arrival="arrival", most=nobody, own=1, turn=0
    )
    seconds = (asked["period_days"].clip(0, LONGEST_PERIOD_DAYS) * _SECONDS).round(0).cast("int64")
    starts = asked.select("customer_id", "arrival", at=asked["at"] - seconds.as_interval("s"), most="most", own=0, turn=1)
    both = m.union(starts.select(*m.columns))
    so_far = ibis.window(group_by="customer_id", order_by=["at", "turn", "arrival"], preceding=None, following=0)
    both = both.mutate(number=both["own"].sum().over(so_far))
    upto = both.filter(both["own"] == 1).select("arrival", "number")
    before = both.filter(both["own"] == 0).select("arrival", "most", before="number")
    found = before.inner_join(upto, "arrival")
    return found.filter(found["number"] - found["before"] > found["most"]).select("arrival")


def against_preference(sent: ir.Table, wishes: ir.Table, policy: ContactPolicy) -> ir.Table:
    """Which messages went against a stated channel, topic or frequency?

    The three are judged apart: of each, what was stated at the latest instant that names it is in force. Day and hour
    are wishes that no message is judged by.

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    wishes
        Of :func:`learn`.
    policy
        Its period is that of a frequency without one.

    Returns
    -------
    ibis.expr.types.Table
        `arrival` of each such message. One whose channel or topic is not known is not against one.
    """
    often = wishes.filter(wishes["max_per_period"].notnull())
    often = often.select(
        "customer_id", "at", most="max_per_period",
        period_days=often["period_days"].fill_null(float(policy.period_days)).cast("float64"),
    )  # fmt: skip
    wished = latest(sent, often, ("customer_id",)).select("arrival", "customer_id", "most", "period_days", at="asked_at")
    against = [unwanted(sent, wishes, name) for name in ("channel", "topic")]
    return ibis.union(*against, beyond_wish(wished.distinct(), sent))


def unwanted(sent: ir.Table, wishes: ir.Table, name: str) -> ir.Table:
    """Which messages went by another channel, or were about another topic, than was stated last?

    Parameters
    ----------
    sent
        Of :func:`sendings`; those where it is not known are left out.
    wishes
        Of :func:`learn`.
    name
        `channel` or `topic`. Several that were stated at one instant are all wanted.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`.
    """
    m = sent.filter(sent[name].notnull()).select("arrival", "at", "customer_id", sent=name)
    said = wishes.filter(wishes[name].notnull()).select("customer_id", "at", wanted=name).distinct()
    found = latest(m, said, ("customer_id",), carry=("sent",))
    judged = found.group_by("arrival").agg(fits=(found["sent"] == found["wanted"]).any())
    return judged.filter(~judged["fits"]).select("arrival")


def repeated(sent: ir.Table, days: int) -> ir.Table:
    """Which messages brought a piece that somebody of the account had got already?

    Parameters
    ----------
    sent
        Of :func:`sendings`, without the operational ones.
    days
        For how long a piece counts as got; what was sent exactly so long ago no longer does.

    Returns
    -------
    ibis.expr.types.Table
        `arrival` of each such message.
    """
    m = sent.filter(sent["content_id"].notnull()).select("arrival", "at", "account_id", "content_source", "content_id")
    order = ibis.window(group_by=["account_id", "content_source", "content_id"], order_by=["at", "arrival"])
    m = m.mutate(before=m["at"].lag().over(order))
    return m.filter(m["before"] > m["at"] - ibis.interval(days=days)).select("arrival")


def stages_at(sent: ir.Table, stages: ir.Table) -> ir.Table:
    """Where did the subject of each message stand on its topic, by what was known before the sending?

    A stage that began at the very instant of sending was not known yet when it was decided to send.

    Parameters
    ----------
    sent
        Of :func:`sendings`.
    stages
        Of :func:`learn`. Where journeys have no topic, there is one stage for all topics.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `stage_at_send`, for those messages on whose topic a journey was open.
    """
    keys = [name for name in ("account_id", "customer_id", "topic") if name in stages.columns]
    m = sent.filter(sent["topic"].notnull()) if "topic" in keys else sent
    found = latest(m.select("arrival", "at", *keys), stages.select(*keys, "at", "stage", "valid_to"), keys, strictly=True)
    found = found.filter(found["valid_to"].isnull() | (found["valid_to"] >= found["asked_at"]))
    return found.select("arrival", stage_at_send="stage")


def audit(sent: ir.Table, known: Known, policy: ContactPolicy, engine) -> ir.Table:
    """What was wrong with each message, as of the time of sending?

    Parameters
    ----------
    sent
        Of :func:`sendings`, kept.
    known
        Of :func:`learn`.
    policy
        The book's: how many messages in how many days, to an account or a customer.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        The sendings with `stage_at_send`, the reasons (boolean; `no_consent` is null in a book without consents) and
        `verdict`: the first reason that holds, else `right`, or `operational`.
    """
    counted, found = sent.filter(~sent["is_operational"]), {}
    if known.consents is not None:
        found["no_consent"] = without_consent(counted, known.consents)
    if known.complaints is not None:
        found["open_complaint"] = under_complaint(counted, known.complaints)
    if known.deals is not None:
        found["deals"] = against_deals(counted, known.deals)
    number = in_period(counted, f"{policy.per}_id", policy.period_days)
    found["over_cap"] = number.filter(number["number"] > policy.max_messages)
    if known.wishes is not None:
        found["over_preference"] = against_preference(counted, known.wishes, policy)
    found["duplicate"] = repeated(counted, policy.period_days)
    # kept one by one: a plan of all of them together takes longer to make than to follow
    kept = [
        keep(engine, rows if "reason" in rows.columns else rows.select("arrival").mutate(reason=_said(reason)))
        for reason, rows in found.items()
    ]
    told = ibis.union(*kept)
    flags = told.group_by("arrival").agg(**{name: (told["reason"] == _said(name)).any() for name in REASONS[:-1]})
    judged = sent.left_join(flags, "arrival").select(*sent.columns, *REASONS[:-1])
    judged = judged.mutate(**{name: judged[name].fill_null(False) for name in REASONS[:-1]})
    if known.consents is None:
        judged = judged.mutate(no_consent=ibis.null("boolean"))
    if known.stages is not None:
        stages = keep(engine, stages_at(sent, known.stages))
        judged = judged.left_join(stages, "arrival").select(*judged.columns, "stage_at_send")
    else:
        judged = judged.mutate(stage_at_send=ibis.null("string"))
    step = position(judged["content_stage"]) - position(judged["stage_at_send"])
    judged = judged.mutate(wrong_stage=(~judged["is_operational"] & ~step.isin([0, 1])).fill_null(False))
    held = [(judged[name].fill_null(False), name) for name in REASONS]
    return judged.mutate(verdict=ibis.cases((judged["is_operational"], "operational"), *held, else_="right"))


def as_count(column: ir.NumericValue) -> ir.IntegerValue:
    """A sum of counts as a count.

    Parameters
    ----------
    column
        A sum of integers, none beyond 2^53: DuckDB makes numbers of 128 bits of them, which Parquet would hold as floats,
        and by a decimal of as many it takes three times as long to get back.
    """
    return column.cast("float64").cast("int64")


def position(stage: ir.StringColumn) -> ir.IntegerColumn:
    """Which of the six stages is it, counted from 0?

    Parameters
    ----------
    stage
        Names of stages; null, or no stage, gives null.
    """
    return ibis.cases(*[(stage == name, i) for i, name in enumerate(STAGES)], else_=ibis.null("int64"))


def _running(spells: ir.Table, keys: Sequence[str]) -> ir.Table:
    """How many spells are open, and how many were closed, from each instant at which that changes?"""
    closed = (spells["closed_at"] < spells["opened_at"]).ifelse(spells["opened_at"], spells["closed_at"])
    one, none = ibis.literal(1, "int64"), ibis.literal(0, "int64")
    spells = spells.mutate(opened_at=spells["opened_at"].cast("timestamp"), closed_at=closed.cast("timestamp"))
    begins = spells.select(*keys, at="opened_at", opens=one, closes=none)
    ends = spells.filter(spells["closed_at"].notnull())
    ends = ends.select(*keys, at="closed_at", opens=none, closes=one)
    changes = begins.union(ends)
    each = changes.group_by(*keys, "at").agg(opens=changes["opens"].sum(), closes=changes["closes"].sum())
    so_far = ibis.window(group_by=list(keys), order_by="at", preceding=None, following=0)
    closed = each["closes"].sum().over(so_far)
    return each.select(*keys, "at", open=each["opens"].sum().over(so_far) - closed, closed=closed)


def _said(reason: str) -> ir.StringScalar:
    return ibis.literal(reason)
