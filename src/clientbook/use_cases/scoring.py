"""On a made company: what would each use case truly have brought?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import with_customer
from clientbook.tables import STAGES
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found
from clientbook.use_cases.waiting import BY_VALUE, FIRST_COME, ONE_SYSTEM

_AT_A_TIME = 200_000
COLUMNS = ["use_case", "extra", "low", "high", "true_extra", "inside", "n"]


def score(
    found: Sequence[Found],
    messages: ir.Table | None,
    told: ir.Table | None,
    timed: ir.Table | None,
    coupons: ir.Table | None,
    identities: ir.Table | None,
    truth: Mapping[str, ir.Table | None],
    *,
    wrong: ir.BooleanValue | None = None,
    as_of=None,
    saved_by_call: float = 0.5,
    zone: str = "UTC",
) -> pd.DataFrame:
    """What would each use case truly have brought, and does its interval hold that?

    The same decisions in the same time, paid by the true chance that each human leaves because of waiting, buys because
    of the mailing, or opens, clicks and orders because of a message.

    Parameters
    ----------
    found
        The use cases as computed.
    messages, told, timed
        Clean messages; as from :func:`clientbook.use_cases.messages.sent`; and the messages by their own channel and hour; None
        where there are none.
    coupons
        `customer_id` of those who order where campaigns are told: nobody else can follow one.
    identities
        Who is who, by our own matching.
    truth
        Tables of the truth by name, None for what is not there.
    wrong
        Which messages are not sent.
    as_of
        The day of the run.
    saved_by_call
        What a call is assumed to undo: nobody knows, so the truth takes the same.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        `use_case`, `extra`, `low`, `high`, `true_extra`, `inside`, `n`; empty without a truth.
    """
    names = ("people", "value", "effects", "experiments", "messages", "responsiveness", "content", "response_model")
    if any(truth.get(name) is None for name in names):
        return pd.DataFrame(columns=COLUMNS)
    people = truth["people"]
    records = people.select(person_source="source", person_id="person_id", human_id="human_id")
    owner = with_customer(records, identities).group_by("customer_id").agg(human_id=ibis._["human_id"].mode())
    columns = ["human_id", "quit_log_odds", "order_margin", "dropped_at", "first_order_at"]
    humans = owner.inner_join(truth["value"].select(*columns), "human_id").to_pandas().set_index("customer_id")
    effects = truth["effects"].to_pandas().set_index("effect")["log_odds"]
    true = {}
    for one in found:
        if one.use_case in (catalogue.STOCK, catalogue.VIEW, catalogue.LATE):
            rows = one.units
            q = rows["customer_id"].map(humans["quit_log_odds"]).to_numpy(float)
            stays, late = 1 / (1 + np.exp(q)), 1 / (1 + np.exp(q + effects["late_delivery"]))
            share = np.nan_to_num(1 - late / stays)
            if one.use_case == catalogue.LATE:
                differ = rows["new"].astype(float) - rows["usual"].astype(float)
                worth = rows["margin"] * saved_by_call * share / (1 - share)
            else:
                usual = FIRST_COME if one.use_case == catalogue.STOCK else ONE_SYSTEM
                differ = rows[BY_VALUE].astype(float) - rows[usual].astype(float)
                worth = rows["margin"] * share
            true[one.use_case] = float((differ * worth).sum())
        elif one.use_case == catalogue.RETARGET:
            uplift = truth["experiments"].to_pandas().drop_duplicates("human_id").set_index("human_id")["uplift"]
            who = one.units["customer_id"].map(humans["human_id"])
            worth = who.map(uplift).fillna(0.0) * one.units["customer_id"].map(humans["order_margin"]).fillna(0.0)
            true[one.use_case] = float(((one.units["new"].astype(float) - one.units["usual"].astype(float)) * worth).sum())
    if told is not None and messages is not None:
        every = _true_messages(messages, truth, zone)
        if coupons is not None:
            every = every.semi_join(owner.semi_join(coupons, "customer_id"), "human_id")
        true |= _true_of_messages(told, timed, every, truth, wrong, as_of)
    rows = [
        (one.use_case, one.gain, one.low, one.high, true[one.use_case], one.low <= true[one.use_case] <= one.high, one.n)
        for one in found
        if one.use_case in true
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _true_messages(messages: ir.Table, truth: Mapping[str, ir.Table], zone: str) -> ir.Table:
    """Every message that is not operational, with all that its receiver's answer depends on."""
    t = truth["messages"]
    t = t.filter(t["verdict"].cast("string") != "operational")
    month = ibis.window(group_by="account_id", order_by="sent_at", preceding=ibis.interval(days=30), following=0)
    t = t.mutate(recent=t["message_id"].count().over(month))
    t = t.select("message_id", "human_id", "recent", true_stage=t["stage_at_send"].cast("string"))
    content = truth["content"].select(
        "content_id", "appeal", piece_topic=truth["content"]["topic"], piece_stage=truth["content"]["stage"]
    )
    sent = messages.select("message_id", "content_id", "channel", "clicked_at", at="sent_at")
    rows = sent.inner_join(t, "message_id").left_join(content, "content_id").drop("content_id_right")
    rows = rows.inner_join(truth["responsiveness"].drop("account_id", "order_margin"), "human_id")
    worth = truth["value"].select("human_id", "order_margin", "dropped_at", "first_order_at")
    rows = rows.inner_join(worth, "human_id")
    wall = parsing.local(rows["at"], zone)
    return rows.mutate(weekday=wall.day_of_week.index(), clock=wall.hour() + wall.minute() / 60.0)


def _chances(rows: pd.DataFrame, c: Mapping[str, float], clock: np.ndarray) -> np.ndarray:
    """The true chance that a message, sent at these hours, is opened and clicked and brings an order."""
    # how a made company answers is said once, by what made it; no other book comes here
    from clientbook.demo.responses import probabilities

    stages, topics = pd.Index(STAGES), sum(name.startswith("likes_") for name in rows.columns)
    chance = probabilities(
        _of_own_column(rows, "channel", "open_", 0.0),
        _of_own_column(rows, "piece_topic", "likes_", 1 / topics) * topics,
        rows["best_weekday"].to_numpy(),
        rows["best_hour"].to_numpy(float),
        stages.get_indexer(rows["true_stage"]),
        stages.get_indexer(rows["piece_stage"]),
        rows["appeal"].fillna(0.0).to_numpy(float),
        rows["weekday"].to_numpy(),
        clock,
        rows["recent"].to_numpy(float),
        (rows["channel"] == "phone").to_numpy(),
        c,
    )
    return chance.opens * chance.clicks * _orders(rows, c)


def _of_own_column(rows: pd.DataFrame, word: str, prefix: str, otherwise: float) -> np.ndarray:
    """The value of each row in the column that its word names."""
    names = [name for name in rows.columns if name.startswith(prefix)]
    place = pd.Index(names).get_indexer(prefix + rows[word].fillna("").astype(str))
    values = rows[names].to_numpy(float)[np.arange(len(rows)), place]
    return np.where(place < 0, otherwise, values)


def _orders(rows: pd.DataFrame, c: Mapping[str, float]) -> np.ndarray:
    """The true chance that a click brings an order: of a customer, who has ordered and has not left."""
    from clientbook.demo.responses import is_customer

    stages = {name.removeprefix("order."): chance for name, chance in c.items() if name.startswith("order.")}
    chance = rows["true_stage"].fillna("none").map(stages)
    at = pd.to_datetime(rows["at"])
    first, left = (pd.to_datetime(rows[name]).dt.tz_localize(None) for name in ("first_order_at", "dropped_at"))
    return chance.to_numpy(float) * is_customer(first, left, at).to_numpy()


def _true_of_messages(told, timed, every, truth, wrong, as_of) -> dict[str, float]:
    c = truth["response_model"].to_pandas().set_index("parameter")["value"].to_dict()
    start = ibis.timestamp((pd.Timestamp(as_of) - pd.Timedelta(days=365)).to_pydatetime())
    stopped = told.filter(wrong & (told["sent_at"] >= start))
    # a letter or a call cannot be clicked: what it brings is not known beforehand
    clicks = told.group_by("channel").agg(clicks=told["clicked"].sum()).to_pandas().set_index("channel")["clicks"]
    silent = stopped["channel"].isin(clicks.index[clicks == 0].tolist())
    known = stopped.select("message_id", lost=stopped["clicked"] == 1, unseen=silent)
    asked = every.left_join(known, "message_id").drop("message_id_right")
    names = ["lost", "unseen"]
    if timed is not None:
        moved = timed.select("message_id", "own_hour", "own_channel", timed=ibis.literal(True))
        asked, names = asked.left_join(moved, "message_id").drop("message_id_right"), [*names, "timed"]
    asked = asked.mutate(**{name: asked[name].fill_null(False) for name in names})
    asked = asked.filter(ibis.or_(*(asked[name] for name in names)))
    lost = extra = 0.0
    # the messages of a large company do not fit into memory with all that their answers depend on
    for batch in asked.to_pyarrow_batches(chunk_size=_AT_A_TIME):
        rows = batch.to_pandas()
        of = {name: rows[rows[name]] for name in names}
        lost += float((_orders(of["lost"], c) * of["lost"]["order_margin"]).sum())
        unseen = _chances(of["unseen"], c, of["unseen"]["clock"].to_numpy(float))
        lost += float((unseen * of["unseen"]["order_margin"]).sum())
        if timed is not None:
            extra += _more_by_moving(of["timed"], c)
    true = {catalogue.WRONG: float(stopped["cost"].sum().to_pandas() or 0.0) - lost}
    if timed is not None:
        sent = timed.filter(timed["moves"]).group_by("channel", "own_channel").agg(n=timed["moves"].count()).to_pandas()
        dearer = sum(row.n * (c[f"cost.{row.own_channel}"] - c[f"cost.{row.channel}"]) for row in sent.itertuples())
        true[catalogue.REACH] = extra - dearer
    return true


def _more_by_moving(rows: pd.DataFrame, c: Mapping[str, float]) -> float:
    """What the orders are truly worth that come because messages go by the own channel at the own hour."""
    clock = (rows["own_hour"].astype(float) + 0.5).fillna(rows["clock"]).to_numpy(float)
    moved = rows.assign(channel=rows["own_channel"].fillna(rows["channel"]))
    more = _chances(moved, c, clock) - _chances(rows, c, rows["clock"].to_numpy(float))
    return float((more * rows["order_margin"]).sum())
