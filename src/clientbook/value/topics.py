"""What is a customer likely to buy beyond what they have?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import with_customer
from clientbook.exact import total

# Of more topics only the most sold are looked at: each is a model of its own.
MOST_TOPICS = 24
FEWEST_FIRSTS = 30
ACTIVE_DAYS = 183
MOST_SOLD = "the most sold"
MODEL = "by what they have"


def topic_history(orders: ir.Table, products: ir.Table | None, identities: ir.Table | None) -> ir.Table | None:
    """On which day did each customer buy on each topic?

    Parameters
    ----------
    orders, products, identities
        Clean tables; None, or no topics, where the book has none.

    Returns
    -------
    ibis.expr.types.Table or None
        `customer_id`, `topic`, `day`, `amount`, `cost`.
    """
    if products is None or not products["topic"].notnull().any().to_pandas():
        return None
    known = products.group_by(product_source=products["source"], product_id=products["product_id"]).agg(
        topic=products["topic"].min(), unit_cost=products["unit_cost"].max()
    )
    bought = orders.filter((orders["quantity"] > 0) & (orders["amount"] >= 0))
    lines = bought.inner_join(known.filter(known["topic"].notnull()), ["product_source", "product_id"])
    lines = with_customer(lines, identities)
    each = lines.group_by("customer_id", "topic", day=lines["ordered_on"]).agg(
        amount=total(lines["amount"]), cost=total(lines["quantity"] * lines["unit_cost"].fill_null(0.0))
    )
    sold = each.group_by("topic").agg(n=each.count()).order_by(ibis.desc("n"), "topic").limit(MOST_TOPICS)
    return each.semi_join(sold, "topic").cache()


def holdings(history: ir.Table, day: dt.date) -> ir.Table:
    """What did each customer have on a day, how often had they bought, and lately?

    Parameters
    ----------
    history
        As from :func:`topic_history`.
    day
        Before which is seen.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `has` (topics, joined), `often` (1, 2 or 4: days with a purchase), `active`.
    """
    seen = history.filter(history["day"] < ibis.date(day.isoformat()))
    since = ibis.date((day - dt.timedelta(days=ACTIVE_DAYS)).isoformat())
    each = seen.group_by("customer_id").agg(
        has=seen["topic"].collect(distinct=True).sort().join("\x1f"), days=seen["day"].nunique(), last=seen["day"].max()
    )
    often = ibis.cases((each["days"] < 2, 1), (each["days"] < 4, 2), else_=4)
    return each.select("customer_id", "has", often=often.cast("int64"), active=each["last"] >= since)


def firsts(history: ir.Table, day: dt.date, until: dt.date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many customers of each kind bought for the first time on each topic between two days?

    Returns
    -------
    kinds : pandas.DataFrame
        `has`, `often`, `active`, `customers`.
    new : pandas.DataFrame
        The same with `topic` and how many bought on it first.
    """
    held = holdings(history, day)
    counted = held.group_by("has", "often", "active").agg(customers=held.count())
    started = history.group_by("customer_id", "topic").agg(first=history["day"].min())
    begin, end = ibis.date(day.isoformat()), ibis.date(until.isoformat())
    started = started.filter((started["first"] >= begin) & (started["first"] < end))
    joined = held.inner_join(started, "customer_id")
    new = joined.group_by("has", "often", "active", "topic").agg(n=joined.count())
    order = ["has", "often", "active"]
    return counted.order_by(order).to_pandas(), new.order_by([*order, "topic"]).to_pandas()


@dataclass(frozen=True)
class TopicModel:
    """For each topic: how probable is a first purchase on it, given what a customer has?

    Attributes
    ----------
    topics
        In order.
    learners
        By topic, a logistic regression, or a plain share where too few bought.
    """

    topics: tuple[str, ...]
    learners: dict[str, object]

    def probabilities(self, kinds: pd.DataFrame) -> np.ndarray:
        """Shape (kinds, topics); 0 for what they have already."""
        features = _features(kinds, self.topics)
        told = np.zeros((len(kinds), len(self.topics)))
        for i, topic in enumerate(self.topics):
            learner = self.learners[topic]
            told[:, i] = learner if isinstance(learner, float) else learner.predict_proba(features)[:, 1]
        return np.where(features[:, : len(self.topics)] > 0, 0.0, told)


def fit_topics(kinds: pd.DataFrame, new: pd.DataFrame, topics: tuple[str, ...]) -> TopicModel:
    """Learn from an earlier time who starts with which topic.

    Parameters
    ----------
    kinds, new
        As from :func:`firsts`.
    topics
        All of them, in order.
    """
    from sklearn.linear_model import LogisticRegression

    features = _features(kinds, topics)
    order = ["has", "often", "active"]
    learners: dict[str, object] = {}
    for i, topic in enumerate(topics):
        began = kinds[order].merge(new[new["topic"] == topic], how="left", on=order)["n"].fillna(0).to_numpy(float)
        without = features[:, i] == 0
        n = kinds["customers"].to_numpy(float)
        yes, no = began[without], (n - began)[without]
        if yes.sum() < FEWEST_FIRSTS or no.sum() < FEWEST_FIRSTS:
            learners[topic] = float(yes.sum() / max(yes.sum() + no.sum(), 1.0))
            continue
        rows = np.concatenate([features[without]] * 2)
        target = np.repeat([1, 0], without.sum())
        weights = np.concatenate([yes, no])
        learners[topic] = LogisticRegression(C=1.0, max_iter=500).fit(rows, target, sample_weight=weights)
    return TopicModel(topics, learners)


def topic_margins(history: ir.Table, until: dt.date) -> pd.DataFrame:
    """What does a day's purchase on each topic leave, and how often is there one?

    Returns
    -------
    pandas.DataFrame
        `topic`, `purchases`, `margin`; by topic.
    """
    seen = history.filter(history["day"] < ibis.date(until.isoformat()))
    each = seen.group_by("topic").agg(purchases=seen.count(), amount=total(seen["amount"]), cost=total(seen["cost"]))
    told = each.order_by("topic").to_pandas()
    # a cost above the price is a slip in the register more often than a gift
    told["margin"] = (told["amount"] - np.minimum(told["cost"], told["amount"])) / told["purchases"]
    return told[["topic", "purchases", "margin"]]


def with_next_topic(value: ir.Table, history: ir.Table | None, as_of: dt.date, horizon_days: int) -> ir.Table:
    """The customers with the topic that is most worth offering to them.

    Parameters
    ----------
    value
        The table `value` as far as it is.
    history
        As from :func:`topic_history`; None leaves the columns empty.
    as_of, horizon_days
        The day of the run; how far ahead a first purchase counts. It is learned from as long a time before, or half
        of the history.
    """
    nothing = {
        "next_topic": ibis.null("string"),
        "next_topic_probability": ibis.null("float64"),
        "next_topic_margin": ibis.null("float64"),
    }
    span = _span(history, as_of, horizon_days)
    if span is None:
        return value.mutate(**nothing)
    margins = topic_margins(history, as_of)
    topics = tuple(margins["topic"])
    model = fit_topics(*firsts(history, as_of - dt.timedelta(days=span), as_of), topics)
    held = holdings(history, as_of)
    kinds = held.select("has", "often", "active").distinct().order_by("has", "often", "active").to_pandas()
    # over a longer horizon than was learned from, as many more begin
    chances = 1 - (1 - model.probabilities(kinds)) ** (horizon_days / span)
    worth = chances * margins["margin"].to_numpy()
    pick = worth.argmax(axis=1)
    rows = np.arange(len(kinds))
    told = kinds.assign(
        next_topic=np.asarray(topics, dtype=object)[pick],
        next_topic_probability=np.round(chances[rows, pick], 6),
        next_topic_margin=np.round(worth[rows, pick], 6),
    )
    told.loc[told["next_topic_probability"] <= 0, list(nothing)] = None
    told["next_topic_probability"] = told["next_topic_probability"].astype(float)
    told["next_topic_margin"] = told["next_topic_margin"].astype(float)
    offered = held.inner_join(ibis.memtable(told), ["has", "often", "active"]).select("customer_id", *nothing)
    return value.left_join(offered, "customer_id").drop("customer_id_right")


def backtest_topics(history: ir.Table | None, as_of: dt.date, horizon_days: int) -> pd.DataFrame:
    """Had we offered one topic to each customer, how often would it have been one that they began to buy?

    Learned on the time before the origin, and judged on the customers who began with any topic after it.

    Parameters
    ----------
    history, as_of, horizon_days
        As for :func:`with_next_topic`.

    Returns
    -------
    pandas.DataFrame
        `rule` (`by what they have`, `the most sold`), `customers` who began with a topic, `right` (share for whom it
        was
        the one offered), `margin` (of a first purchase on it, those who were right, in all); empty where too little is
        known.
    """
    columns = ["rule", "customers", "right", "margin"]
    span = _span(history, as_of, horizon_days)
    if span is None:
        return pd.DataFrame(columns=columns)
    span = span if _span(history, as_of, span * 2) == span * 2 else max(span * 2 // 3, 14)
    origin = as_of - dt.timedelta(days=span)
    margins = topic_margins(history, origin)
    topics = tuple(margins["topic"])
    kinds, new = firsts(history, origin - dt.timedelta(days=span), origin)
    if not topics or not len(kinds):
        return pd.DataFrame(columns=columns)
    model = fit_topics(kinds, new, topics)
    kinds, new = firsts(history, origin, as_of)
    each = margins["margin"].to_numpy()
    has = _features(kinds, topics)[:, : len(topics)] > 0
    picks = {
        MODEL: np.where(has, -1.0, model.probabilities(kinds) * each).argmax(axis=1),
        MOST_SOLD: np.where(has, -1.0, margins["purchases"].to_numpy(float)).argmax(axis=1),
    }
    began = _starters(history, origin, as_of)
    told = []
    for rule, pick in picks.items():
        offered = kinds[["has", "often", "active"]].assign(topic=np.asarray(topics, dtype=object)[pick], each=each[pick])
        hits = offered.merge(new, on=["has", "often", "active", "topic"])
        share = float(hits["n"].sum()) / began if began else 0.0
        told.append((rule, began, round(share, 6), round(float((hits["n"] * hits["each"]).sum()), 2)))
    return pd.DataFrame(told, columns=columns)


def _starters(history: ir.Table, day: dt.date, until: dt.date) -> int:
    held = holdings(history, day)
    started = history.group_by("customer_id", "topic").agg(first=history["day"].min())
    started = started.filter((started["first"] >= ibis.date(day.isoformat())) & (started["first"] < ibis.date(until.isoformat())))
    return int(held.semi_join(started, "customer_id").count().to_pandas())


def _span(history: ir.Table | None, as_of: dt.date, horizon_days: int) -> int | None:
    """From how long a time before can be learned? A third of the history at the most; None where it is too short."""
    if history is None:
        return None
    first = history.aggregate(first=history["day"].min()).to_pandas()["first"].iloc[0]
    if pd.isna(first):
        return None
    span = min(horizon_days, (pd.Timestamp(as_of) - pd.Timestamp(first)).days // 2)
    return span if span >= 28 else None


def _features(kinds: pd.DataFrame, topics: tuple[str, ...]) -> np.ndarray:
    held = kinds["has"].fillna("").map(lambda words: set(words.split("\x1f")))
    owns = np.array([[topic in some for topic in topics] for some in held], dtype=float).reshape(len(kinds), len(topics))
    often = kinds["often"].to_numpy()
    return np.column_stack([owns, often == 2, often == 4, kinds["active"].to_numpy(bool)]).astype(float)
