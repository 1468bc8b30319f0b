"""How likely is an answer to a piece, sent to this customer, by this channel, at this hour?

A logistic regression on what was known at two landmarks: the features of a message are those of the landmark before
it, so that nothing learnt later helps, and the second window tests what the first has taught. A rate that rests on
few messages, of a customer or of a piece, is drawn to that of all by as much as customers, or pieces, differ.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clientbook import parsing
from clientbook.content import audit
from clientbook.content.audit import as_count, keep
from clientbook.customers import is_outbound, with_customer
from clientbook.tables import STAGES

# With fewer answers a regression says nothing that the channel's rate does not.
FEWEST_ANSWERS = 100
WINDOW_DAYS = 180
# A visit says when somebody is about; a few may be chance: what is usual counts for as many visits.
USUAL_VISITS = 5
# Who pays says more of what they are after than who looks.
ORDER_VISITS = 5
NEAR_HOURS = 2
AROUND_HOURS = 6
_AROUND = [(off, AROUND_HOURS - abs(off)) for off in range(1 - AROUND_HOURS, AROUND_HOURS)]
# Cells enough for twelve weights; what is beyond is drawn by a fingerprint, the same every time.
MOST_MESSAGES = 40_000
FOLDS = 2
PENALTIES = (0.05, 0.2, 1.0)
# How often a channel is answered at all is told by its own messages: it is drawn to other channels a hundred times less.
FREE = {"channel": 10.0}
# Finer steps make more cells to fit, and say no more.
STEP = 0.25
# Openings tell more of a piece than few answers do, and an expectation of nothing is one of next to nothing.
OPENINGS = 20.0
# Fewer orders that name a piece may be a habit of some shop; where orders are made anyway says how the rest differ.
FEWEST_NAMED = 20
# An order that names the piece has its reason, even if it took some time.
NAMED_DAYS = 30
# An order so soon after a message says where orders are made, whatever was sent.
ANYWAY_DAYS = 30
# So many messages' weight is that of all, where few were sent.
LIKE_ALL = 50.0
# Channels are too few to learn how much they differ: an order or two more than expected may be chance.
CHANNEL_ORDERS = 5.0
# So many answers' weight says that what is known is answered like what is new.
LIKE_NEW = 20.0
# What is known already goes behind what is new, even where it is answered as often.
AT_MOST_KNOWN = 0.95
AFTER_A_SALE = ("adopt", "use", "recommend")
# Who bought lately is likelier still to use it than who bought long ago: a quarter, half a year, a year.
BOUGHT_DAYS = (91, 182, 365)
NUMBERS = ("own_answers", "own_opens", "interest", "pressure")
WORDS = ("channel", "situation", "timing", "role_fit")
PARTS = ("standing", "fit")


@dataclass(frozen=True)
class Signs:
    """What speaks for an answer.

    Attributes
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`, kept, without the operational ones.
    visits
        `customer_id`, `at`, `topic`, `is_visit`, `is_order`: what customers did by themselves; None in a book without events.
    stages
        Of :func:`clientbook.content.audit.learn`, or None.
    roles
        `customer_id`, `role` in a decision; or None.
    piece_roles
        `content_source`, `content_id`, `for_role`; or None.
    zone
        The book's.
    standings
        Of :func:`stood` for all of `sent`, kept; None: it is found where it is needed.
    habits
        Of :func:`habits`: the visits counted; None without visits.
    bought
        `account_id`, `topic`, `at`: what accounts bought, kept; or None.
    reads
        `content_source`, `content_id`, `read`: how much more than others of their kind pieces are read without being sent;
        or None.
    """

    sent: ir.Table
    visits: ir.Table | None = None
    stages: ir.Table | None = None
    roles: ir.Table | None = None
    piece_roles: ir.Table | None = None
    zone: str = "UTC"
    standings: ir.Table | None = None
    habits: Habits | None = None
    bought: ir.Table | None = None
    reads: pd.DataFrame | None = None

    def stood(self) -> ir.Table:
        """Where the subject of each message stood, of :func:`stood`."""
        return stood(self.sent, self.stages, self.bought) if self.standings is None else self.standings


@dataclass(frozen=True)
class Habits:
    """What customers did by themselves, counted once for all landmarks.

    Attributes
    ----------
    landmarks
        The instants before which is counted, in order; the last is that of the run.
    topics
        `customer_id`, `topic`, `passed` (how many landmarks had passed by then), `n` (an order counts for several visits).
    hours
        `customer_id`, `hour`, `weekday` (1 is Monday), `passed`, `n`: of visits alone, those within one hour counted once.
    at_work
        Whether somebody's usual hours are those of companies, by `customer_id`; None: all are alike.
    """

    landmarks: Sequence[dt.datetime]
    topics: ir.Table
    hours: ir.Table
    at_work: pd.Series | None = None

    def before(self, rows: ir.Table, landmark: dt.datetime | None) -> ir.Table:
        """Those of the counts that were known at a landmark; None is the last."""
        passed = self.landmarks.index(self.landmarks[-1] if landmark is None else landmark)
        return rows.filter(rows["passed"] <= passed)


@dataclass(frozen=True)
class Response:
    """A fitted response; without a model the rate of the channel answers for all.

    Attributes
    ----------
    rates
        `channel`, `n`, `rate`, `cost`: the naive rule, and the fallback.
    base, weights, scales
        Log-odds: the intercept, a weight for each value of each of `WORDS`, and for each of `NUMBERS`.
    pieces
        `content_source`, `content_id`, `lift`: answers beside those expected without knowing the piece.
    known
        How much less, at most 1, a piece is answered that the account has got before.
    tested
        `rule`, `n`, `answers`, `log_loss`, `auc`, `top_decile` (share of answers among the tenth thought best).
    """

    rates: pd.DataFrame
    base: float = 0.0
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    pieces: pd.DataFrame | None = None
    known: float | None = None
    tested: pd.DataFrame | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether there was enough to learn from."""
        return bool(self.weights)

    def chance(self, rows: ir.Table) -> ir.FloatingColumn:
        """The probability of an answer for rows with the features; a rate by channel where nothing was fitted.

        Parameters
        ----------
        rows
            With `WORDS` and `NUMBERS`.
        """
        if not self.is_fitted:
            rates = dict(zip(self.rates["channel"], self.rates["rate"], strict=True))
            return looked_up(rows["channel"], rates, 0.0)
        odds = ibis.literal(self.base)
        for name in WORDS:
            odds = odds + looked_up(rows[name], self.weights.get(name, {}), 0.0)
        for name, weight in self.scales.items():
            odds = odds + rows[name] * weight
        return (1 / (1 + (-odds).exp())).cast("float64").round(9)

    def as_model(self) -> dict:
        """The model as plain JSON."""
        told = {"model": "logistic regression" if self.is_fitted else "rate of the channel", "intercept": self.base}
        tested = None if self.tested is None else self.tested.to_dict("records")
        return told | {"weights": dict(self.weights), "scales": dict(self.scales), "known": self.known, "tested": tested}


@dataclass(frozen=True)
class Gains:
    """What an answer brings.

    Attributes
    ----------
    by_stage
        `stage` (`none`; `after …` where the journey was closed; `bought …` where it was, and how lately they bought),
        `answered`, `unanswered`, `extra` (orders; never below
        0), `low`, `high` (95 %).
    days
        How soon after the message an order had to come: where orders name pieces, it may take longer.
    by_channel
        How many times that an answer by a channel brings; empty where orders do not say it.
    """

    by_stage: pd.DataFrame
    days: int
    by_channel: Mapping[str, float] = field(default_factory=dict)


def looked_up(column: ir.StringColumn, values: Mapping[str, float], otherwise: float) -> ir.FloatingValue:
    """A number for each word.

    Parameters
    ----------
    column
        Words.
    values
        The numbers of those that have one.
    otherwise
        That of all others.
    """
    found = [(column == name, ibis.literal(float(value))) for name, value in values.items()]
    told = ibis.cases(*found, else_=ibis.literal(otherwise)) if found else ibis.literal(otherwise)
    # DuckDB takes a written number for a decimal of as many digits
    return told.cast("float64")


def by_lot(key: ir.StringValue, share: float) -> ir.BooleanValue:
    """Is it among a share that is drawn by the fingerprint of a key, the same every time?

    Parameters
    ----------
    key
        What is drawn by.
    share
        Between 0 and 1.
    """
    if share >= 1:
        return ibis.literal(True)
    return key.hexdigest("md5")[0:6] < f"{int(share * 16**6):06x}"


def looked_up_words(column: ir.StringColumn, values: Mapping[str, str], otherwise: str) -> ir.StringValue:
    """A phrase for each word.

    Parameters
    ----------
    column, values, otherwise
        See :func:`looked_up`.
    """
    return ibis.cases(*[(column == name, ibis.literal(words)) for name, words in values.items()], else_=otherwise)


def situation(rows: ir.Table) -> ir.StringValue:
    """Does a piece fit where the subject stands?

    Parameters
    ----------
    rows
        With `stage` (believed: of the journey that is open, else of the last), `is_open`, `bought_days`, `content_stage`.

    Returns
    -------
    ibis.expr.types.StringValue
        `use:now`, `use:next` (for the stage after), `use:unfit`, `use:untold`, …; `after use:…` where the journey has
        closed after a sale, `bought within 91 days:…` where that is known to be lately; `none`.
    """
    lately = (rows["bought_days"] <= BOUGHT_DAYS[-1]).fill_null(False)
    uses = lately & ~rows["is_open"].fill_null(False) & ~rows["stage"].isin(AFTER_A_SALE).fill_null(False)
    step = audit.position(rows["content_stage"]) - audit.position(uses.ifelse("use", rows["stage"]))
    fits = ibis.cases((step.isnull(), "untold"), (step == 0, "now"), (step == 1, "next"), else_="unfit")
    return ibis.coalesce(standing(rows).concat(":", fits), ibis.literal("none"))


def standing(rows: ir.Table) -> ir.StringValue:
    """Where does a subject stand: `use`; `after use`, whose journey closed after a sale; null, of whom nothing is known?

    Parameters
    ----------
    rows
        With `stage`, `is_open` and `bought_days`, since the account last bought of the topic.
    """
    lately = [((rows["bought_days"] <= days).fill_null(False), ibis.literal(_bought(days))) for days in BOUGHT_DAYS]
    return ibis.cases(
        (rows["is_open"].fill_null(False), rows["stage"]),
        *lately,
        (rows["stage"].isin(AFTER_A_SALE), ibis.literal("after ").concat(rows["stage"])),
        else_=ibis.null("string"),
    )


def _bought(days: int) -> str:
    return f"bought within {days} days"


def stood(asks: ir.Table, stages: ir.Table | None, bought: ir.Table | None = None) -> ir.Table:
    """Where did the subject of each asking stand on its topic, or last stand before the journey closed?

    Parameters
    ----------
    asks
        `arrival`, `at`, `account_id`, `customer_id`, `topic`.
    stages
        Of :func:`clientbook.content.audit.learn`.
    bought
        `account_id`, `topic`, `at`: what accounts bought.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `stage`, `is_open`, `bought_days` (since the account last bought of the topic).
    """
    if stages is None:
        return _empty(arrival="int64", stage="string", is_open="boolean", bought_days="int64")
    keys = [name for name in ("account_id", "customer_id", "topic") if name in stages.columns]
    a = asks.filter(asks["topic"].notnull()) if "topic" in keys else asks
    found = audit.latest(a.select("arrival", "at", *keys), stages.select(*keys, "at", "stage", "valid_to"), keys, strictly=True)
    is_open = found["valid_to"].isnull() | (found["valid_to"] >= found["asked_at"])
    told = found.select("arrival", "stage", is_open=is_open)
    if bought is None:
        return told.mutate(bought_days=ibis.null("int64"))
    topical = asks.filter(asks["topic"].notnull()).select("arrival", "at", "account_id", "topic")
    last = audit.latest(topical, bought, ("account_id", "topic"), strictly=True)
    last = last.select("arrival", bought_days=(last["asked_at"].epoch_seconds() - last["said_at"].epoch_seconds()) // 86_400)
    return _beside(_beside(asks.select("arrival"), told, "arrival"), last, "arrival")


def own_history(sent: ir.Table, before: ir.TimestampValue) -> ir.Table:
    """How much more than all others does each customer answer, and open?

    Parameters
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    before
        What was sent later is not looked at.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `own_answers`, `own_opens`: log of the rate beside that of all, drawn to it as a beta-binomial of
        the customers' own spread would.
    """
    s = sent.filter(sent["at"] < before).mutate(answered=answered(sent))
    each = s.group_by("customer_id").agg(n=s.count(), answers=as_count(s["answered"].sum()), opens=as_count(s["opened"].sum()))
    sums = {"n": each["n"].sum(), "pairs": (each["n"] * (each["n"] - 1)).sum()}
    for name in ("answers", "opens"):
        sums |= {name: each[name].sum(), f"{name}2": (each[name] * (each[name] - 1)).sum()}
    told = {name: float(value or 0) for name, value in each.aggregate(**sums).to_pyarrow().to_pylist()[0].items()}
    logs = {}
    for own, name in (("own_answers", "answers"), ("own_opens", "opens")):
        mean = told[name] / told["n"] if told["n"] else 0.0
        # two answers of one customer beside the square of the rate: how much customers differ
        between = told[f"{name}2"] / told["pairs"] - mean**2 if told["pairs"] else 0.0
        weight = float(np.clip(mean * (1 - mean) / between - 1, 1.0, 1e4)) if between > 0 else 1e4
        rate = (each[name] + weight * mean) / (each["n"] + weight)
        logs[own] = _stepped((rate / mean).ln()) if mean > 0 else ibis.literal(0.0).cast("float64")
    return each.select("customer_id", **logs)


def habits(visits: ir.Table, landmarks: Sequence[dt.datetime], zone: str, engine, at_work: pd.Series | None = None) -> Habits:
    """How often did each customer do something of their own accord, about what and at which hour?

    Parameters
    ----------
    visits
        Of :func:`visits`, kept.
    landmarks
        Before which is counted, in order.
    zone
        The book's.
    engine
        Where the counts are kept.
    at_work
        Who is a contact of a company, by `customer_id`.
    """
    passed = sum((visits["at"] >= _moment(mark)).cast("int64") for mark in landmarks)
    v = visits.mutate(passed=passed)
    v = v.filter(v["passed"] < len(landmarks))
    told = v.filter(v["topic"].notnull())
    topics = told.group_by("customer_id", "topic", "passed").agg(
        n=as_count(told.count() + (ORDER_VISITS - 1) * told["is_order"].cast("int64").sum())
    )
    own = v.filter(v["is_visit"])
    local = parsing.local(own["at"], zone)
    # somebody who looks at ten pages is there once
    own = own.select("customer_id", "passed", day=local.date(), hour=local.hour().cast("int64"),
                     weekday=(local.day_of_week.index() + 1).cast("int64")).distinct()  # fmt: skip
    hours = own.group_by("customer_id", "hour", "weekday", "passed").agg(n=own.count())
    return Habits(tuple(landmarks), keep(engine, topics), keep(engine, hours), at_work)


def interests(counted: Habits | None, landmark: dt.datetime | None = None) -> ir.Table:
    """How much of what each customer did by themselves was about each topic?

    Parameters
    ----------
    counted
        Of :func:`habits`; None in a book without events.
    landmark
        What happened later is not looked at; None is the last landmark.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `topic`, `share`, `interest`: log of the share beside an even one, between -1.5 and 1.5.
    """
    if counted is None:
        return _empty(customer_id="string", topic="string", share="float64", interest="float64")
    v = counted.before(counted.topics, landmark)
    topics = v["topic"].nunique().to_pyarrow().as_py()
    each = v.group_by("customer_id", "topic").agg(n=as_count(v["n"].sum()))
    everything = each["n"].sum().over(ibis.window(group_by="customer_id"))
    share = (each["n"] + 0.5) / (everything + 0.5 * topics)
    return each.select("customer_id", "topic", share=share.round(6), interest=_stepped((share * topics).ln().clip(-1.5, 1.5)))


def active_times(counted: Habits | None, landmark: dt.datetime | None = None) -> ir.Table:
    """When is each customer about, by what they did themselves and, the less that is, by what is usual?

    Parameters
    ----------
    counted
        Of :func:`habits`; None in a book without events.
    landmark
        What happened later is not looked at; None is the last landmark.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `active_weekday` (the most frequent, 1 is Monday), `active_hour` (about which most is done), of those
        with visits.
    """
    if counted is None:
        return _empty(customer_id="string", active_hour="int64", active_weekday="int64")
    rows = counted.before(counted.hours, landmark).to_pyarrow()
    whose = rows["customer_id"].combine_chunks().dictionary_encode()
    person, n, many = whose.indices.to_numpy(), rows["n"].to_numpy().astype(float), len(whose.dictionary)
    hours, days = (
        np.bincount(person * size + rows[name].to_numpy() - first, weights=n, minlength=many * size)
        # of nobody it would count whole numbers
        .reshape(many, size).astype(float)
        for name, size, first in (("hour", 24, 0), ("weekday", 7, 1))
    )  # fmt: skip
    around = sum(weight * np.roll(hours, off, axis=1) for off, weight in _AROUND)
    at_work = np.zeros(many, bool)
    if counted.at_work is not None:
        at_work = counted.at_work.reindex(whose.dictionary.to_pandas()).fillna(False).to_numpy(bool)
    for group in (at_work, ~at_work):
        around[group] += USUAL_VISITS * around[group].sum(axis=0) / max(hours[group].sum(), 1.0)
    return ibis.memtable(pa.table({
        "customer_id": whose.dictionary,
        "active_weekday": days.argmax(axis=1) + 1, "active_hour": np.round(around, 9).argmax(axis=1),
    }))  # fmt: skip


def busiest(hours: ir.Table, key: str) -> ir.Table:
    """Around which hour is most done?

    Parameters
    ----------
    hours
        The key, `hour` (0 to 23) and `n`, how often. Midnight is one hour from 23.
    key
        Whose hours they are.

    Returns
    -------
    ibis.expr.types.Table
        The key, `busiest`: the hour about which most is done, the nearer the more it counts; the earlier of two alike.
    """
    near = ibis.memtable({"off": [off for off, _ in _AROUND], "weight": [weight for _, weight in _AROUND]})
    around = hours.cross_join(near)
    around = around.select(key, hour=(around["hour"] + around["off"] + 24) % 24, n=around["n"] * around["weight"])
    around = around.group_by(key, "hour").agg(n=as_count(around["n"].sum()))
    most = ibis.window(group_by=key, order_by=[ibis.desc("n"), "hour"])
    around = around.mutate(_rank=ibis.row_number().over(most))
    return around.filter(around["_rank"] == 0).select(key, busiest=around["hour"].cast("int64"))


def answered(rows: ir.Table) -> ir.IntegerColumn:
    """Was it answered? A click or a reply; an opening is not, as mail programs open by themselves."""
    return ((rows["clicked"] + rows["replied"]) > 0).cast("int64")


def featured(asks: ir.Table, signs: Signs, landmark: dt.datetime, engine) -> ir.Table:
    """Askings with what is known at a landmark.

    Parameters
    ----------
    asks
        `customer_id`, `channel`, `topic`, `stage`, `is_open`, `content_stage`, `content_source`, `content_id`, `hour`
        (of sending, local; null: at the customer's own), `recent` (messages to the account in the period).
    signs
        What speaks for an answer.
    landmark
        What happened later is not looked at.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        The rows with `WORDS` and `NUMBERS`.
    """
    own = keep(engine, own_history(signs.sent, _moment(landmark)))
    rows = _beside(asks, own, "customer_id")
    rows = _beside(rows, keep(engine, interests(signs.habits, landmark)).drop("share"), "customer_id", "topic")
    rows = _beside(rows, active_times(signs.habits, landmark), "customer_id")
    known = signs.roles is not None and signs.piece_roles is not None
    if known:
        rows = _beside(rows, signs.roles, "customer_id")
        rows = _beside(rows, signs.piece_roles, "content_source", "content_id")
        fits = ibis.cases(
            (rows["role"].isnull() | rows["for_role"].isnull(), "unknown"),
            (rows["role"] == rows["for_role"], "same"),
            else_="other",
        )
    else:
        fits = ibis.literal("unknown")
    off = (rows["hour"] - rows["active_hour"]).abs()
    near = ibis.least(off, 24 - off) <= NEAR_HOURS
    timing = ibis.cases((rows["active_hour"].isnull(), "unknown"), (near.fill_null(True), "near"), else_="off")
    # one who never visited anything of the topic, but something, cares less for it than one of whom nothing is known
    numbers = {name: rows[name].fill_null(0.0).cast("float64") for name in ("own_answers", "own_opens", "interest")}
    rows = rows.mutate(
        channel=rows["channel"], situation=situation(rows), timing=timing, role_fit=fits, **numbers,
        pressure=_stepped((rows["recent"].fill_null(0) + 1.0).ln()),
    )  # fmt: skip
    return rows.drop("role", "for_role") if known else rows


def landmarks(first: dt.datetime, last: dt.datetime) -> list[dt.datetime]:
    """When do the windows begin, in which answers are learnt and tested?

    Parameters
    ----------
    first, last
        The first sending, and the instant of the run.
    """
    length = min(dt.timedelta(days=WINDOW_DAYS), (last - first) / 3)
    return [last - 2 * length, last - length]


def fit(signs: Signs, rates: pd.DataFrame, days: int, now: dt.datetime, engine) -> Response:
    """How do stage, topic, role, time, pressure and a customer's own history tell an answer?

    Parameters
    ----------
    signs
        What speaks for one.
    rates
        `channel`, `n`, `rate`, `cost`: the naive rule.
    days
        The contact policy's period.
    now
        The instant of the run.
    engine
        Where it is computed.

    Returns
    -------
    Response
        Without a model where there are too few answers.
    """
    span = signs.sent.aggregate(first=signs.sent["at"].min(), answers=answered(signs.sent).sum())
    span = span.to_pyarrow().to_pylist()[0]
    if not span["answers"] or span["answers"] < FEWEST_ANSWERS:
        return Response(rates)
    starts = landmarks(span["first"], now)
    parts = []
    asks = keep(engine, _asked(signs, starts[0], days))
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], now], strict=True)):
        inside = asks.filter(asks["at"] >= _moment(start), asks["at"] < _moment(end))
        rows = featured(inside, signs, start, engine)
        parts.append(rows.mutate(window=ibis.literal(number, "int64")))
    rows = keep(engine, ibis.union(*parts))
    n = rows.count().to_pyarrow().as_py()
    drawn = rows
    if n > MOST_MESSAGES:
        drawn = rows.filter(by_lot(rows["arrival"].cast("string"), MOST_MESSAGES / n))
    keys = ["window", "fold", *WORDS, *NUMBERS]
    drawn = drawn.mutate(fold=(drawn["customer_id"].hexdigest("md5")[0:1].find_in_set(list("0123456789abcdef")) % FOLDS))
    cells = drawn.group_by(*keys).agg(n=drawn.count(), answers=as_count(drawn["answered"].sum()))
    cells = cells.order_by(*keys).to_pandas()
    early, late = cells[cells["window"] == 0], cells[cells["window"] == 1]
    if min(early["answers"].sum(), late["answers"].sum()) < FEWEST_ANSWERS / 2:
        return Response(rates)
    penalty = _penalty(early)
    before = _weights(early, penalty)
    tested = _tested(late, before, early)
    base, weights, scales = _weights(cells, penalty)
    lifts, known = piece_lifts(signs, engine)
    return Response(rates, base, weights, scales, lifts, known, tested)


def _asked(signs: Signs, start: dt.datetime, days: int) -> ir.Table:
    """The messages since a time as askings, with where their subjects stood and how much their account had got."""
    s = signs.sent
    number = audit.in_period(s.filter(s["at"] >= _moment(start - dt.timedelta(days=days))), "account_id", days)
    s = s.filter(s["at"] >= _moment(start))
    local = parsing.local(s["at"], signs.zone)
    s = s.mutate(hour=local.hour().cast("int64"), answered=answered(s))
    names = ("arrival", "at", "customer_id", "account_id", "channel", "topic", "content_stage", "content_source",
             "content_id", "hour", "answered")  # fmt: skip
    s = _beside(s.select(*names), number.select("arrival", recent=number["number"]), "arrival")
    return _beside(s, signs.stood(), "arrival")


def _with_parts(cells: pd.DataFrame) -> pd.DataFrame:
    """Beside each situation where they stand and whether the piece fits, so that a rare situation is like its parts."""
    parts = cells["situation"].str.partition(":")
    return cells.assign(standing=parts[0], fit=parts[2])


def _design(cells: pd.DataFrame, columns: list[tuple[str, str]]):
    """A sparse matrix: of the many words each row has but a few."""
    from scipy.sparse import csr_matrix, hstack

    rows = np.arange(len(cells))
    parts = []
    for name in dict.fromkeys(name for name, _ in columns):
        codes = pd.Index([value for word, value in columns if word == name]).get_indexer(cells[name])
        told = codes >= 0
        size = sum(word == name for word, _ in columns)
        ones = np.full(told.sum(), FREE.get(name, 1.0))
        parts.append(csr_matrix((ones, (rows[told], codes[told])), shape=(len(cells), size)))
    return hstack([*parts, csr_matrix(cells[list(NUMBERS)].to_numpy(float))]).tocsr()


def _columns(cells: pd.DataFrame) -> list[tuple[str, str]]:
    return [(name, value) for name in (*WORDS, *PARTS) for value in sorted(cells[name].dropna().unique())]


def _regress(cells: pd.DataFrame, penalty: float):
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    columns = _columns(cells)
    x = _design(cells, columns)
    hits, misses = cells["answers"].to_numpy(float), (cells["n"] - cells["answers"]).to_numpy(float)
    # few columns, many rows: a handful of Newton steps; most cells were answered never
    model = LogisticRegression(C=penalty, solver="newton-cholesky")
    yes, no = hits > 0, misses > 0
    model.fit(
        vstack([x[yes], x[no]]).tocsr(), np.repeat([1, 0], [yes.sum(), no.sum()]),
        sample_weight=np.concatenate([hits[yes], misses[no]]),
    )  # fmt: skip
    return columns, model


def _weights(cells: pd.DataFrame, penalty: float) -> tuple[float, dict, dict]:
    columns, model = _regress(_with_parts(cells), penalty)
    found = model.coef_[0]
    weights: dict[str, dict[str, float]] = {name: {} for name in (*WORDS, *PARTS)}
    for (name, value), weight in zip(columns, found, strict=False):
        weights[name][value] = float(np.round(weight * FREE.get(name, 1.0), 6))
    parts = {f"{at}:{fit}" if fit else at: a + b for at, a in weights.pop("standing").items()
             for fit, b in weights["fit"].items()}  # fmt: skip
    del weights["fit"]
    weights["situation"] = {name: round(weights["situation"].get(name, 0.0) + weight, 6) for name, weight in parts.items()}
    scales = dict(zip(NUMBERS, np.round(found[len(columns) :], 6).tolist(), strict=True))
    return round(float(model.intercept_[0]), 6), weights, scales


def _odds(cells: pd.DataFrame, model: tuple[float, dict, dict]) -> np.ndarray:
    base, weights, scales = model
    odds = np.full(len(cells), base)
    for name in WORDS:
        odds += cells[name].map(weights[name]).fillna(0.0).to_numpy(float)
    for name, weight in scales.items():
        odds += cells[name].to_numpy(float) * weight
    return 1 / (1 + np.exp(-odds))


def _loss(chance: np.ndarray, cells: pd.DataFrame) -> float:
    p, n, hits = np.clip(chance, 1e-6, 1 - 1e-6), cells["n"].to_numpy(float), cells["answers"].to_numpy(float)
    return float(-(hits * np.log(p) + (n - hits) * np.log(1 - p)).sum() / n.sum())


def _penalty(cells: pd.DataFrame) -> float:
    """Which penalty tells customers best that it has not seen?"""
    losses = []
    for penalty in PENALTIES:
        parts = [
            _loss(_odds(cells[cells["fold"] == fold], _weights(cells[cells["fold"] != fold], penalty)),
                  cells[cells["fold"] == fold])
            for fold in range(FOLDS) if (cells["fold"] == fold).any()
        ]  # fmt: skip
        losses.append(np.mean(parts))
    return PENALTIES[int(np.argmin(losses))]


def _tested(late: pd.DataFrame, model: tuple[float, dict, dict], early: pd.DataFrame) -> pd.DataFrame:
    """The model and the channel's rate, learnt in the first window and held against the second."""
    of = early.groupby("channel")[["answers", "n"]].sum()
    naive = late["channel"].map(of["answers"] / of["n"]).fillna(early["answers"].sum() / early["n"].sum())
    rules = {"rate of the channel": naive.to_numpy(float), "logistic regression": _odds(late, model)}
    n, hits = late["n"].to_numpy(float), late["answers"].to_numpy(float)
    rows = []
    for rule, chance in rules.items():
        order = np.argsort(-np.round(chance, 9), kind="stable")
        best = np.cumsum(n[order]) <= n.sum() / 10
        rows.append((rule, int(n.sum()), int(hits.sum()), _loss(chance, late), _auc(chance, n - hits, hits),
                     hits[order][best].sum() / hits.sum()))  # fmt: skip
    return pd.DataFrame(rows, columns=["rule", "n", "answers", "log_loss", "auc", "top_decile"]).round(6)


def _auc(chance: np.ndarray, misses: np.ndarray, hits: np.ndarray) -> float:
    each = pd.DataFrame({"p": np.round(chance, 9), "misses": misses, "hits": hits}).groupby("p").sum()
    below = each["misses"].cumsum() - each["misses"] / 2
    return float((below * each["hits"]).sum() / (each["hits"].sum() * each["misses"].sum()))


def piece_lifts(signs: Signs, engine) -> tuple[pd.DataFrame, float]:
    """Which pieces are answered more than those they went to would have one expect, and are they answered again?

    All that was sent counts. An answer is expected as often as by that channel in that situation; the openings of a piece,
    and how much it is read without being sent, say what to expect of one that few were asked to answer, and its own
    answers what is different about it.

    Parameters
    ----------
    signs
        What speaks for an answer.
    engine
        Where it is computed.

    Returns
    -------
    pandas.DataFrame
        `content_source`, `content_id`, `n`, `lift`.
    float
        Answers to what the account had got before beside those to what was new to it, at most 0.95.
    """
    s = signs.sent.filter(signs.sent["content_id"].notnull())
    s = _beside(s, signs.stood(), "arrival")
    of = ["content_source", "content_id"]
    before = ibis.row_number().over(ibis.window(group_by=["account_id", *of], order_by=["at", "arrival"]))
    s = s.select(*of, "channel", situation=situation(s), again=before > 0, opened="opened", answered=answered(s))
    keys = [*of, "channel", "situation", "again"]
    cells = s.group_by(*keys).agg(n=s.count(), opens=as_count(s["opened"].sum()), answers=as_count(s["answered"].sum()))
    cells = cells.order_by(*keys).to_pandas()
    alike = cells.groupby(["channel", "situation"], dropna=False)[["n", "opens", "answers"]].transform("sum")
    for name in ("opens", "answers"):
        cells[f"expected_{name}"] = cells["n"] * alike[name] / alike["n"]
    each = cells.groupby(of, sort=True)[["n", "opens", "answers", "expected_opens", "expected_answers"]].sum().reset_index()
    hits, expected = each["answers"].to_numpy(float), each["expected_answers"].to_numpy(float)
    says = [np.log((each["opens"] + OPENINGS) / (each["expected_opens"] + OPENINGS)).to_numpy(float)]
    if signs.reads is not None:
        read = each[of].merge(signs.reads, how="left", on=of)["read"]
        says.append(read.fillna(0.0).to_numpy(float))
    likely = expected * np.exp(_log_rates(np.column_stack(says), hits, expected))
    lift = (hits + (weight := _varies(hits, likely))) / (likely + weight) * likely / np.maximum(expected, 1e-9)
    each["lift"] = np.round(np.where(expected > 0, lift, 1.0), 4)
    sums = cells.groupby("again")[["answers", "expected_answers"]].sum().reindex([False, True], fill_value=0.0)
    ratio = (sums["answers"] + LIKE_NEW) / (sums["expected_answers"] + LIKE_NEW)
    known = min(float(ratio[True] / ratio[False]), AT_MOST_KNOWN)
    return each[[*of, "n", "lift"]], round(known, 4)


def _log_rates(x: np.ndarray, hits: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How often is a hit to be expected, by several signs none of which speaks against it? Logs, by Poisson regression."""
    slopes = np.zeros(x.shape[1])
    for _ in range(30):
        for i in range(x.shape[1]):
            rest = np.clip(x @ slopes - x[:, i] * slopes[i], -5, 5)
            slopes[i] = _slope(x[:, i], hits, expected * np.exp(rest))
    return np.clip(x @ slopes, -5, 5)


def _slope(x: np.ndarray, hits: np.ndarray, expected: np.ndarray) -> float:
    """By how much do hits grow with x? A Poisson regression of one weight, a few Newton steps."""
    slope = 0.0
    for _ in range(20):
        rate = expected * np.exp(np.clip(slope * x, -5, 5))
        # a ridge as wide as any slope that can be meant
        slope += float((x * (hits - rate)).sum() - slope) / float((x * x * rate).sum() + 1.0)
    return float(np.clip(slope, 0.0, 5.0))


def _varies(observed: np.ndarray, expected: np.ndarray) -> float:
    """Gamma-Poisson: what answers vary beyond chance is how much pieces differ; the weight of what is expected."""
    spread = ((observed - expected) ** 2 - expected).sum() / max((expected**2).sum(), 1e-9)
    return float(np.clip(1 / spread, 1.0, 1e4)) if spread > 0 else 1e4


def _stepped(column: ir.NumericValue) -> ir.FloatingValue:
    return ((column / STEP).round(0) * STEP).cast("float64")


def _moment(at: dt.datetime) -> ir.TimestampScalar:
    return ibis.literal(at, "timestamp")


def _beside(left: ir.Table, right: ir.Table, *keys: str) -> ir.Table:
    more = [name for name in right.columns if name not in keys]
    return left.left_join(right, list(keys)).select(*left.columns, *more)


def _empty(**columns: str) -> ir.Table:
    schema = ibis.schema(columns)
    return ibis.memtable(schema.to_pyarrow().empty_table()).cast(schema)


def visits(
    events: ir.Table | None,
    identities: ir.Table | None,
    sent: ir.Table | None = None,
    orders: ir.Table | None = None,
    products: ir.Table | None = None,
) -> ir.Table | None:
    """What did customers do by themselves, when, and about what?

    Parameters
    ----------
    events
        Clean events; what the company did (`direction` outbound) is left out.
    identities
        Who is who.
    sent
        Of :func:`clientbook.content.audit.sendings`: what was answered says what somebody is after.
    orders, products
        Clean tables: what was bought says it best.

    Returns
    -------
    ibis.expr.types.Table or None
        `customer_id`, `at`, `topic`, `is_visit` (its hour is the customer's own choice), `is_order`.
    """
    found, yes, no = [], ibis.literal(True), ibis.literal(False)
    if events is not None:
        e = events.filter(~is_outbound(events))
        e = e.select("person_source", "person_id", "topic", at=e["occurred_at"].cast("timestamp"))
        e = with_customer(e, identities)
        found.append(e.select("customer_id", "at", "topic", is_visit=yes, is_order=no))
    if sent is not None and found:
        m = sent.filter(answered(sent) > 0, sent["topic"].notnull())
        found.append(m.select("customer_id", "topic", at=m["at"].cast("timestamp"), is_visit=no, is_order=no))
    if orders is not None and products is not None and "product_source" in orders.columns:
        p = products.filter(products["topic"].notnull())
        p = p.group_by(product_source=p["source"], product_id=p["product_id"]).agg(topic=p["topic"].min())
        o = orders.inner_join(p, ["product_source", "product_id"])
        o = o.select("person_source", "person_id", "topic", at=o["ordered_at"].cast("timestamp")).distinct()
        o = with_customer(o, identities)
        found.append(o.select("customer_id", "at", "topic", is_visit=no, is_order=yes))
    if not found:
        return None
    first = found[0]
    return ibis.union(first, *[rows.select(*first.columns) for rows in found[1:]]) if found[1:] else first


def extra_orders(signs: Signs, orders: ir.Table | None, identities, now: dt.datetime, days: int, engine) -> Gains | None:
    """How many orders does an answer bring, by where the customer stood?

    Parameters
    ----------
    signs
        With what was sent and the stages.
    orders, identities
        Clean orders, and who is who.
    now
        The instant of the run; messages whose days are not over yet are left out.
    days
        How long after the sending an order counts.
    engine
        Where it is computed.

    Returns
    -------
    Gains or None
        Of customers with an order at any time. Where orders name the piece as their campaign, it is the share of answers
        with such an order within 30 days, drawn to what orders that are made anyway would have one expect. Else the
        share that ordered after an answer less that after none, drawn to that of all: it compares those who answer with
        those who do not, and is an upper bound. None without orders.
    """
    if orders is None or signs.stages is None:
        return None
    names = ["customer_id", "content_id", "at"]
    bought = with_customer(orders, identities).rename(at="ordered_at")
    bought = bought.mutate(content_id=bought["campaign"] if "campaign" in bought.columns else ibis.null("string"))
    bought = keep(engine, bought.select(*names).distinct())
    sent = signs.sent
    known = sent.filter(sent["content_id"].notnull()).select("content_id").distinct()
    named = bought.filter(bought["content_id"].notnull()).semi_join(known, "content_id")
    names_piece = named.count().to_pyarrow().as_py() >= FEWEST_NAMED
    days = NAMED_DAYS if names_piece else days
    s = sent.filter(sent["at"] < _moment(now - dt.timedelta(days=days)))
    # whose orders are under no name that is known cannot show one
    s = s.semi_join(bought, "customer_id")
    s = s.select("arrival", "at", "account_id", "customer_id", "topic", "channel", "content_id", answered=answered(s))
    if names_piece:
        hit = s.inner_join(named.rename(ordered="at"), ["customer_id", "content_id"])
        hit = hit.filter(hit["ordered"] > hit["at"], hit["ordered"] <= hit["at"] + ibis.interval(days=days))
        hit = hit.select("arrival").distinct().mutate(followed=ibis.literal(True))
    else:
        hit = audit.followed(s, bought.select("customer_id", "at").distinct(), days)
    s = _beside(_beside(s, hit, "arrival"), signs.stood(), "arrival")
    s = _beside(s, _anyway(s, signs, bought), "arrival") if names_piece else s.mutate(anyway=ibis.literal(False))
    s = s.mutate(name=standing(s).fill_null("none"), followed=s["followed"].fill_null(False).cast("int64"))
    each = s.group_by("name", "channel", "answered").agg(
        n=s.count(), orders=as_count(s["followed"].sum()), anyway=as_count(s["anyway"].fill_null(False).cast("int64").sum())
    ).order_by("name", "channel", "answered").to_pandas()  # fmt: skip
    wide = each.pivot_table(index="name", columns="answered", values=["n", "orders", "anyway"],
                            aggfunc="sum", fill_value=0)  # fmt: skip
    columns = pd.MultiIndex.from_product([["n", "orders", "anyway"], [0, 1]])
    wide = wide.reindex(columns=columns, fill_value=0).sort_index()
    if wide[("n", 1)].sum() < FEWEST_ANSWERS:
        return None
    n0, n1 = (np.maximum(wide[("n", i)].to_numpy(float), 1) for i in (0, 1))
    if names_piece:
        drawn, spread = _drawn_share(wide[("orders", 1)].to_numpy(float), n1, wide[("anyway", 0)].to_numpy(float), n0)
    else:
        p0, p1 = ((wide[("orders", i)].to_numpy(float) + 0.5) / (n + 1) for i, n in ((0, n0), (1, n1)))
        drawn, spread = _drawn_difference(p1 - p0, p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0)
    told = pd.DataFrame({"stage": wide.index, "answered": n1.astype(int), "unanswered": n0.astype(int)})
    told = told.assign(extra=np.maximum(drawn, 0.0), low=drawn - spread, high=drawn + spread).round(6)
    channels = _by_channel(each, told) if names_piece else {}
    closed = [*(_bought(days) for days in BOUGHT_DAYS), *(f"after {name}" for name in AFTER_A_SALE)]
    order = {name: i for i, name in enumerate([*STAGES, *closed, "none"])}
    return Gains(told.sort_values("stage", key=lambda names: names.map(order), ignore_index=True), days, channels)


def _by_channel(messages: pd.DataFrame, told: pd.DataFrame) -> dict[str, float]:
    """How many more orders does an answer by a channel bring than any answer at those stages?

    Who was moved by a letter or a call may order without any answer that is seen: orders count, with an answer or without.
    """
    expected = messages["answered"] * messages["n"] * messages["name"].map(told.set_index("stage")["extra"])
    each = messages.assign(expected=expected).groupby("channel")[["orders", "expected"]].sum()
    hits, expected = (each[name].to_numpy(float) for name in ("orders", "expected"))
    factors = np.round((hits + CHANNEL_ORDERS) / (expected + CHANNEL_ORDERS), 4).tolist()
    return dict(zip(each.index, factors, strict=True))


def _anyway(s: ir.Table, signs: Signs, bought: ir.Table) -> ir.Table:
    """Which messages were soon followed by an order on their topic, with or without an answer?"""
    whose, made = s.select("arrival", "at", key="customer_id"), bought.select("at", key="customer_id")
    if signs.visits is not None:
        topical = signs.visits.filter(signs.visits["is_order"], signs.visits["topic"].notnull())
        if topical.limit(1).to_pyarrow().num_rows:
            whose = s.filter(s["topic"].notnull())
            whose = whose.select("arrival", "at", key=whose["customer_id"].concat("\x1f", whose["topic"]))
            made = topical.select("at", key=topical["customer_id"].concat("\x1f", topical["topic"]))
    return audit.followed(whose, made.distinct(), ANYWAY_DAYS, "key").select("arrival", anyway="followed")


def _drawn_share(hits: np.ndarray, n: np.ndarray, anyway: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rare shares, drawn to what is to be expected as much as they differ no more than chance would have it; and 1.96 errors.

    What is to be expected grows with the share that orders anyway, as much as the shares themselves say.
    """
    overall = max(hits.sum(), 0.5) / n.sum()
    usual = (anyway.sum() + 0.5) / of.sum()
    often = np.log((anyway + LIKE_ALL * usual) / (of + LIKE_ALL) / usual)
    expected = n * overall
    likely = expected * np.exp(_slope(often, hits, expected) * often)
    likely *= max(hits.sum(), 0.5) / likely.sum()
    weight = _varies(hits, likely)
    share = likely / n
    return share * (hits + weight) / (likely + weight), 1.96 * share * np.sqrt(hits + weight) / (likely + weight)


def _drawn_difference(gain: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences, drawn to that of all as much as their error would have it; and 1.96 errors."""
    overall = float((gain / error).sum() / (1 / error).sum())
    between = max(float((((gain - overall) ** 2 - error) / error).sum() / (1 / error).sum()), 1e-8)
    return (gain / error + overall / between) / (1 / error + 1 / between), 1.96 / np.sqrt(1 / error + 1 / between)
