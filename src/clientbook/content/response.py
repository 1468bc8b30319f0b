"""How likely is an answer to a piece, sent to this customer, by this channel, at this hour?

A logistic regression on what was known at two landmarks: the features of a message are those of the landmark before
it, so that nothing learnt later helps, and the second window tests what the first has taught. A rate that rests on
few messages, of a customer or of a piece, is drawn to that of all by as much as customers, or pieces, differ.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.content import audit
from clientbook.content.audit import as_count, keep
from clientbook.customers import with_customer
from clientbook.tables import STAGES

# With fewer answers a regression says nothing that the channel's rate does not.
FEWEST_ANSWERS = 100
WINDOW_DAYS = 180
# A visit says when somebody is about; a few may be chance.
FEWEST_VISITS = 5
# Who pays says more of what they are after than who looks.
ORDER_VISITS = 5
NEAR_HOURS = 2
# Cells enough for twelve weights; what is beyond is drawn by a fingerprint, the same every time.
MOST_MESSAGES = 40_000
FOLDS = 2
PENALTIES = (0.05, 1.0)
# Finer steps make more cells to fit, and say no more.
STEP = 0.25
AFTER_A_SALE = ("adopt", "use", "recommend")
NUMBERS = ("own_answers", "own_opens", "interest", "pressure")
WORDS = ("channel", "situation", "timing", "role_fit")


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
    """

    sent: ir.Table
    visits: ir.Table | None = None
    stages: ir.Table | None = None
    roles: ir.Table | None = None
    piece_roles: ir.Table | None = None
    zone: str = "UTC"


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
    tested
        `rule`, `n`, `answers`, `log_loss`, `auc`, `top_decile` (share of answers among the tenth thought best).
    """

    rates: pd.DataFrame
    base: float = 0.0
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    pieces: pd.DataFrame | None = None
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
        return told | {"weights": dict(self.weights), "scales": dict(self.scales), "tested": tested}


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
        With `stage` (believed: of the journey that is open, else of the last), `is_open`, `content_stage`.

    Returns
    -------
    ibis.expr.types.StringValue
        `use:now`, `use:next` (for the stage after), `use:unfit`, `use:untold`, …; `after use:…` where the journey has
        closed after a sale; `none`.
    """
    step = audit.position(rows["content_stage"]) - audit.position(rows["stage"])
    fits = ibis.cases((step.isnull(), "untold"), (step == 0, "now"), (step == 1, "next"), else_="unfit")
    return ibis.coalesce(standing(rows).concat(":", fits), ibis.literal("none"))


def standing(rows: ir.Table) -> ir.StringValue:
    """Where does a subject stand: `use`; `after use`, whose journey closed after a sale; null, of whom nothing is known?

    Parameters
    ----------
    rows
        With `stage` and `is_open`.
    """
    return ibis.cases(
        (rows["is_open"].fill_null(False), rows["stage"]),
        (rows["stage"].isin(AFTER_A_SALE), ibis.literal("after ").concat(rows["stage"])),
        else_=ibis.null("string"),
    )


def stood(asks: ir.Table, stages: ir.Table | None) -> ir.Table:
    """Where did the subject of each asking stand on its topic, or last stand before the journey closed?

    Parameters
    ----------
    asks
        `arrival`, `at`, `account_id`, `customer_id`, `topic`.
    stages
        Of :func:`clientbook.content.audit.learn`.

    Returns
    -------
    ibis.expr.types.Table
        `arrival`, `stage`, `is_open`, `since`.
    """
    if stages is None:
        return asks.select(
            "arrival", stage=ibis.null("string"), is_open=ibis.literal(False), since=ibis.null("timestamp")
        ).limit(0)
    keys = [name for name in ("account_id", "customer_id", "topic") if name in stages.columns]
    a = asks.filter(asks["topic"].notnull()) if "topic" in keys else asks
    found = audit.latest(
        a.select("arrival", "at", *keys), stages.select(*keys, "at", "stage", "valid_to"), keys, strictly=True
    )
    is_open = found["valid_to"].isnull() | (found["valid_to"] >= found["asked_at"])
    return found.select("arrival", "stage", is_open=is_open, since="said_at")


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
    each = s.group_by("customer_id").agg(
        n=s.count(), answers=as_count(s["answered"].sum()), opens=as_count(s["opened"].sum())
    )
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


def interests(visits: ir.Table | None, before: ir.TimestampValue) -> ir.Table:
    """How much of what each customer did by themselves was about each topic?

    Parameters
    ----------
    visits
        `customer_id`, `at`, `topic`.
    before
        What happened later is not looked at.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `topic`, `share`, `interest`: log of the share beside an even one, between -1.5 and 1.5.
    """
    if visits is None:
        return _empty(customer_id="string", topic="string", share="float64", interest="float64")
    v = visits.filter(visits["at"] < before, visits["topic"].notnull())
    topics = v.select("topic").distinct().count().as_scalar()
    bought = v["is_order"].cast("int64").sum()
    each = v.group_by("customer_id", "topic").agg(n=as_count(v.count() + (ORDER_VISITS - 1) * bought))
    everything = each["n"].sum().over(ibis.window(group_by="customer_id"))
    share = (each["n"] + 0.5) / (everything + 0.5 * topics)
    return each.select(
        "customer_id", "topic", share=share.round(6), interest=_stepped((share * topics).ln().clip(-1.5, 1.5))
    )


def active_times(visits: ir.Table | None, before: ir.TimestampValue, zone: str) -> ir.Table:
    """When is each customer about, by what they did themselves?

    Parameters
    ----------
    visits
        `customer_id`, `at`.
    before
        What happened later is not looked at.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `active_hour` (median, 0 to 23), `active_weekday` (the most frequent, 1 is Monday), of those with
        enough visits.
    """
    if visits is None:
        return _empty(customer_id="string", active_hour="int64", active_weekday="int64")
    v = visits.filter(visits["at"] < before, visits["is_visit"])
    local = parsing.local(v["at"], zone)
    v = v.select(
        "customer_id", hour=local.hour() + local.minute() / 60, weekday=(local.day_of_week.index() + 1).cast("int64")
    )
    hours = v.group_by("customer_id").agg(n=v.count(), median=v["hour"].quantile(0.5))
    hours = hours.filter(hours["n"] >= FEWEST_VISITS)
    days = v.group_by("customer_id", "weekday").agg(n=v.count())
    first = ibis.window(group_by="customer_id", order_by=[ibis.desc("n"), "weekday"])
    days = days.mutate(_rank=ibis.row_number().over(first))
    days = days.filter(days["_rank"] == 0).select("customer_id", active_weekday="weekday")
    both = hours.inner_join(days, "customer_id")
    return both.select(
        "customer_id", "active_weekday", active_hour=both["median"].round(0).cast("int64").clip(0, 23)
    )


def answered(rows: ir.Table) -> ir.IntegerColumn:
    """Was it answered? A click or a reply; an opening is not, as mail programs open by themselves."""
    return ((rows["clicked"] + rows["replied"]) > 0).cast("int64")


def featured(asks: ir.Table, signs: Signs, before: ir.TimestampValue, engine) -> ir.Table:
    """Askings with what is known at a landmark.

    Parameters
    ----------
    asks
        `customer_id`, `channel`, `topic`, `stage`, `is_open`, `content_stage`, `content_source`, `content_id`, `hour`
        (of sending, local; null: at the customer's own), `recent` (messages to the account in the period).
    signs
        What speaks for an answer.
    before
        The landmark.
    engine
        Where it is computed.

    Returns
    -------
    ibis.expr.types.Table
        The rows with `WORDS` and `NUMBERS`.
    """
    own = keep(engine, own_history(signs.sent, before))
    rows = _beside(asks, own, "customer_id")
    rows = _beside(rows, keep(engine, interests(signs.visits, before)).drop("share"), "customer_id", "topic")
    rows = _beside(rows, keep(engine, active_times(signs.visits, before, signs.zone)), "customer_id")
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
    timing = ibis.cases(
        (rows["active_hour"].isnull(), "unknown"), (near.fill_null(True), "near"), else_="off"
    )
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
        rows = featured(inside, signs, _moment(start), engine)
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
    bare = Response(rates, base, weights, scales)
    return Response(rates, base, weights, scales, _lifts(rows, bare), tested)


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
    return _beside(s, stood(s, signs.stages).drop("since"), "arrival")


def _design(cells: pd.DataFrame, columns: list[tuple[str, str]]) -> np.ndarray:
    marks = [(cells[name] == value).to_numpy(float) for name, value in columns]
    return np.column_stack([*marks, *[cells[name].to_numpy(float) for name in NUMBERS]])


def _columns(cells: pd.DataFrame) -> list[tuple[str, str]]:
    return [(name, value) for name in WORDS for value in sorted(cells[name].dropna().unique())]


def _regress(cells: pd.DataFrame, penalty: float):
    from sklearn.linear_model import LogisticRegression

    columns = _columns(cells)
    x = _design(cells, columns)
    hits, misses = cells["answers"].to_numpy(float), (cells["n"] - cells["answers"]).to_numpy(float)
    # few columns, many rows: a handful of Newton steps
    model = LogisticRegression(C=penalty, solver="newton-cholesky")
    model.fit(np.vstack([x, x]), np.repeat([1, 0], len(x)), sample_weight=np.concatenate([hits, misses]))
    return columns, model


def _weights(cells: pd.DataFrame, penalty: float) -> tuple[float, dict, dict]:
    columns, model = _regress(cells, penalty)
    found = np.round(model.coef_[0], 6)
    weights: dict[str, dict[str, float]] = {name: {} for name in WORDS}
    for (name, value), weight in zip(columns, found, strict=False):
        weights[name][value] = float(weight)
    scales = dict(zip(NUMBERS, found[len(columns) :].tolist(), strict=True))
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


def _lifts(rows: ir.Table, model: Response) -> pd.DataFrame:
    """Which pieces are answered more than those they went to would have one expect?"""
    told = rows.filter(rows["content_id"].notnull()).mutate(expected=model.chance(rows).cast("decimal(38, 9)"))
    each = told.group_by("content_source", "content_id").agg(
        n=told.count(), answers=as_count(told["answered"].sum()), expected=told["expected"].sum().cast("float64")
    )
    each = each.order_by("content_source", "content_id").to_pandas()
    observed, expected = each["answers"].to_numpy(float), each["expected"].to_numpy(float)
    # gamma-Poisson: what answers vary beyond chance is how much pieces differ
    spread = ((observed - expected) ** 2 - expected).sum() / max((expected**2).sum(), 1e-9)
    weight = float(np.clip(1 / spread, 1.0, 1e4)) if spread > 0 else 1e4
    each["lift"] = np.round((observed + weight) / (expected + weight), 4)
    return each[["content_source", "content_id", "n", "lift"]]


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
        Clean events; what the company did (`direction` out) is left out.
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
        e = events
        if "direction" in e.columns:
            e = e.filter(~(e["direction"] == "out").fill_null(False))
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


def extra_orders(
    sent: ir.Table, orders: ir.Table | None, stages: ir.Table | None, identities, now: dt.datetime, days: int, engine
) -> pd.DataFrame | None:
    """How many more orders follow an answered message than one that was not, by where the customer stood?

    Parameters
    ----------
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    orders, stages, identities
        Clean orders, the stages of :func:`clientbook.content.audit.learn`, who is who.
    now
        The instant of the run; messages whose days are not over yet are left out.
    days
        How long after the sending an order counts.
    engine
        Where it is computed.

    Returns
    -------
    pandas.DataFrame or None
        `stage` (`none`; `after …` where the journey was closed), `answered`, `unanswered`, `extra` (difference of the
        shares that ordered, drawn to that of all by its error, never below 0), `low`, `high` (95 %). Of customers with an
        order at any time. It compares those who answer with those who do not: an upper bound of what the answer brings.
        None without orders.
    """
    if orders is None or stages is None:
        return None
    s = sent.filter(sent["at"] < _moment(now - dt.timedelta(days=days)))
    bought = keep(engine, with_customer(orders, identities).select("customer_id", at="ordered_at").distinct())
    # whose orders are under no name that is known cannot show one
    s = s.semi_join(bought, "customer_id")
    hit = audit.followed(s, bought, days)
    s = _beside(s.select("arrival", "at", "account_id", "customer_id", "topic", answered=answered(s)), hit, "arrival")
    s = _beside(s, keep(engine, stood(s, stages)), "arrival")
    s = s.mutate(name=standing(s).fill_null("none"))
    each = s.group_by("name", "answered").agg(n=s.count(), orders=as_count(s["followed"].cast("int64").sum()))
    wide = each.to_pandas().pivot_table(index="name", columns="answered", values=["n", "orders"], fill_value=0)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([["n", "orders"], [0, 1]]), fill_value=0).sort_index()
    if wide[("n", 1)].sum() < FEWEST_ANSWERS:
        return None
    n0, n1 = (np.maximum(wide[("n", i)].to_numpy(float), 1) for i in (0, 1))
    p0, p1 = ((wide[("orders", i)].to_numpy(float) + 0.5) / (n + 1) for i, n in ((0, n0), (1, n1)))
    gain, error = p1 - p0, p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0
    overall = float((gain / error).sum() / (1 / error).sum())
    between = max(float((((gain - overall) ** 2 - error) / error).sum() / (1 / error).sum()), 1e-8)
    drawn = (gain / error + overall / between) / (1 / error + 1 / between)
    spread = 1.96 / np.sqrt(1 / error + 1 / between)
    told = pd.DataFrame({"stage": wide.index, "answered": n1.astype(int), "unanswered": n0.astype(int)})
    told = told.assign(extra=np.maximum(drawn, 0.0), low=drawn - spread, high=drawn + spread).round(6)
    order = {name: i for i, name in enumerate([*STAGES, *[f"after {name}" for name in AFTER_A_SALE], "none"])}
    return told.sort_values("stage", key=lambda names: names.map(order), ignore_index=True)
