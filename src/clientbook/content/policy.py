"""What would the next actions bring, by the truth of a made company, beside the best that could be done?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.content.audit import BEFORE_A_SALE
from clientbook.tables import STAGES

COLUMNS = ["policy", "messages", "margin", "a_message", "of_best"]
TRUTH = ("responsiveness", "content", "stages", "response_model", "people", "messages", "value")


@dataclass(frozen=True)
class Limits:
    """What no policy may do: the best possible one is held by the same limits as ours.

    Attributes
    ----------
    allowed
        `customer_id`, `channel`: what may be used.
    bound
        `account_id`, `topic`: accounts that may be written to on these topics alone, as they have deals open on them.
    closed
        `account_id`, `topic`: a deal is over and none is open, so what helps to decide is of no use.
    unwanted
        `customer_id`, `topic`: against a stated wish.
    full
        `customer_id`: had as many messages as they asked for at most.
    got
        `account_id`, `content_id`: sent to somebody of the account in the period.
    most
        The cap of an account in the period.
    """

    allowed: ir.Table
    bound: ir.Table
    closed: ir.Table
    unwanted: ir.Table
    full: ir.Table
    got: ir.Table
    most: int


class Made:
    """What anybody of a made company would answer to anything, by its truth.

    Parameters
    ----------
    told
        The tables of the truth that `TRUTH` names.
    now
        The instant whose stages count.
    """

    def __init__(self, told: Mapping[str, ir.Table], now: dt.datetime):
        people, self.pieces = told["responsiveness"].to_pandas(), told["content"].to_pandas()
        self.model = told["response_model"].to_pandas().set_index("parameter")["value"].to_dict()
        self.topics = [name.removeprefix("likes_") for name in people.columns if name.startswith("likes_")]
        self.media = [name.removeprefix("open_") for name in people.columns if name.startswith("open_")]
        self.likes = people[[f"likes_{name}" for name in self.topics]].to_numpy()
        self.opens = people[[f"open_{name}" for name in self.media]].to_numpy()
        self.humans = pd.Index(people["human_id"])
        self.margin, self.day, self.hour = (people[n].to_numpy() for n in ("order_margin", "best_weekday", "best_hour"))
        self.topic_of = pd.Index(self.topics).get_indexer(self.pieces["topic"])
        self.stage_of = pd.Index(STAGES).get_indexer(self.pieces["stage"])
        self.appeal = self.pieces["appeal"].to_numpy()
        self.costs = np.array([self.model[f"cost.{name}"] for name in self.media])
        self.stage_now = _stages(told["stages"], people["account_id"], self.topics, now)
        value = told["value"].select("human_id", "first_order_at", "dropped_at").to_pandas().set_index("human_id")
        span = value.reindex(self.humans).apply(lambda at: pd.to_datetime(at, utc=True).dt.tz_localize(None))
        self.first, self.left = span["first_order_at"].to_numpy(), span["dropped_at"].to_numpy()
        self.now = now

    def worth(self, who, topic, stage, step, liked, channel, weekday, at, recent, when=None) -> np.ndarray:
        """The expected margin of messages, less their cost.

        Parameters
        ----------
        who, topic, channel
            Places in `humans`, `topics` and `media`.
        stage, step
            Where they stand, and what the piece is for: places in the six stages; -1: no journey.
        liked
            The piece's appeal.
        weekday, at, recent
            When, and what the account has got in the period with it.
        when
            At which instant; at that of the run. Who has not ordered yet, or has left, orders nothing.
        """
        from clientbook.demo.responses import is_customer, probabilities

        chance = probabilities(
            self.opens[who, channel], self.likes[who, topic] * len(self.topics), self.day[who], self.hour[who], stage,
            step, liked, weekday, at, recent, np.asarray(channel) == self.media.index("phone"), self.model,
        )  # fmt: skip
        when = np.datetime64(self.now) if when is None else when
        here = is_customer(self.first[who], self.left[who], when)
        return chance.opens * chance.clicks * chance.orders * here * self.margin[who] - self.costs[channel]


def possible(made: Made, limits: Limits, whose: ir.Table, actions: ir.Table, got: ir.Table) -> pd.DataFrame:
    """What could be sent to whom, with the best piece that is allowed, at their best day and hour?

    Parameters
    ----------
    made, limits
        What is true, and what no policy may do.
    whose
        `customer_id`, `human_id`.
    actions
        The table `next_actions`: whose account each customer is of.
    got
        `account_id`, `got`: messages in the period.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `account_id`, `recent`, `channel`, `topic`, `step` (places; what the piece is for), `margin`.
    """
    reach = limits.allowed.inner_join(whose, "customer_id").anti_join(limits.full, "customer_id")
    reach = reach.left_join(actions.select("customer_id", "account_id"), "customer_id")
    reach = reach.select("customer_id", "account_id", "channel", "human_id")
    reach = reach.left_join(got, "account_id").select(*reach.columns, "got").order_by("customer_id", "channel").to_pandas()
    reach["recent"] = reach["got"].fillna(0).astype(int) + 1
    reach = reach[reach["recent"] <= limits.most].reset_index(drop=True)
    who, channel = made.humans.get_indexer(reach["human_id"]), pd.Index(made.media).get_indexer(reach["channel"])
    reach, who, channel = (x[(who >= 0) & (channel >= 0)] for x in (reach, who, channel))
    account, recent = pd.Index(reach["account_id"]), reach["recent"].to_numpy()
    held = {name: getattr(limits, name).distinct().to_pandas() for name in ("bound", "closed", "unwanted", "got")}
    binds = account.isin(held["bound"]["account_id"])
    had = held["got"].groupby("content_id")["account_id"].agg(set).to_dict()
    found = []
    for topic, name in enumerate(made.topics):
        here = {key: rows[rows["topic"] == name] for key, rows in held.items() if key != "got"}
        free = ~binds | account.isin(here["bound"]["account_id"])
        free &= ~reach["customer_id"].isin(here["unwanted"]["customer_id"]).to_numpy()
        over = account.isin(here["closed"]["account_id"])
        for step in range(len(STAGES)):
            may = free & ~over if STAGES[step] in BEFORE_A_SALE else free
            liked = np.full(len(reach), np.nan)
            of_cell = np.flatnonzero((made.topic_of == topic) & (made.stage_of == step))
            for piece in of_cell[np.argsort(-made.appeal[of_cell], kind="stable")]:
                content = made.pieces["content_id"].iloc[piece]
                open_ = np.isnan(liked) & ~(account.isin(had[content]) if content in had else False)
                liked[open_] = made.appeal[piece]
            rows = np.flatnonzero(may & ~np.isnan(liked))
            w = who[rows]
            gain = made.worth(w, topic, made.stage_now[w, topic], step, liked[rows], channel[rows], made.day[w],
                              made.hour[w], recent[rows])  # fmt: skip
            told = reach.iloc[rows][["customer_id", "account_id", "recent"]]
            found.append(told.assign(channel=channel[rows], topic=topic, step=step, margin=gain)[gain > 0])
    return pd.concat(found, ignore_index=True)


def one_each(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """The best of what could be sent: one message to each, the most valuable first, as long as the cap has room.

    Parameters
    ----------
    rows
        Of :func:`possible`.
    most
        The cap of an account.
    """
    best = rows.sort_values(["margin", "customer_id"], ascending=[False, True], kind="stable")
    best = best.drop_duplicates("customer_id")
    return best[best.groupby("account_id").cumcount() + best["recent"] <= most]


def score_actions(
    actions: ir.Table,
    records: ir.Table,
    sent: ir.Table,
    now: dt.datetime,
    days: int,
    zone: str,
    limits: Limits,
    truth: Callable[[str], ir.Table | None],
    why: bool = False,
) -> pd.DataFrame:
    """What do the next actions bring, beside the best possible policy and what the company did?

    Parameters
    ----------
    actions
        The table `next_actions`.
    records
        `customer_id`, `source`, `person_id`: the record that is written to, whose human answers.
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    now, days, zone
        The instant of the run, the contact policy's period, the book's zone.
    limits
        What no policy may do.
    truth
        Gives a table of the truth by its name, or None.
    why
        Whether rows are added that tell what ours would bring, were one estimated part of it replaced by the truth.

    Returns
    -------
    pandas.DataFrame
        `policy`, `messages`, `margin` (true expected margin of all of them), `a_message`, `of_best`: the best possible
        one message to each (any piece, allowed channel, at the best day and hour), the next actions, the company's last
        message to each of the same customers in the period, all its messages to them in the period. Empty without truth.
    """
    told = {name: truth(name) for name in TRUTH}
    if any(rows is None for rows in told.values()):
        return pd.DataFrame(columns=COLUMNS)
    made = Made(told, now)
    pieces, media, humans = made.pieces, made.media, made.humans
    t = told["people"].select("source", "person_id", "human_id")
    whose = records.inner_join(t, ["source", "person_id"]).select("customer_id", "human_id")
    whose = whose.group_by("customer_id").agg(human_id=whose["human_id"].min())
    start = ibis.literal(now - dt.timedelta(days=days), "timestamp")
    got = sent.filter(sent["at"] > start)
    got = got.group_by("account_id").agg(got=got.count())
    could = possible(made, limits, whose, actions, got)
    top = one_each(could, limits.most)

    ours = actions.filter(actions["content_id"].notnull()).inner_join(whose, "customer_id")
    ours = ours.left_join(got, "account_id").select(*ours.columns, "got").order_by("customer_id").to_pandas()
    h, piece = humans.get_indexer(ours["human_id"]), _at(pieces["content_id"], ours["content_id"])
    topic, channel = made.topic_of[piece], _at(media, ours["channel"])
    given = {"topic": topic, "stage": made.stage_now[h, topic], "step": made.stage_of[piece], "liked": made.appeal[piece],
             "channel": channel, "weekday": (ours["weekday"].fillna(1) - 1).to_numpy(),
             "at": ours["hour"].fillna(12).to_numpy(), "recent": ours["got"].fillna(0).to_numpy() + 1}  # fmt: skip
    mine = made.worth(h, **given)

    local = parsing.local(sent["at"], zone)
    past = sent.mutate(weekday=local.day_of_week.index(), hour=local.hour() + local.minute() / 60)
    past = past.filter(past["at"] > start).semi_join(limits.allowed, "customer_id")
    true = told["messages"].select("source", "message_id", "human_id", stage="stage_at_send")
    past = past.inner_join(true, ["source", "message_id"]).order_by("at", "arrival")
    names = ("customer_id", "account_id", "at", "human_id", "stage", "content_id", "channel", "weekday", "hour")
    past = past.select(*names).to_pandas()
    past = past[past["content_id"].isin(set(pieces["content_id"]))]
    whom, what = humans.get_indexer(past["human_id"]), _at(pieces["content_id"], past["content_id"])
    recent = past.groupby("account_id").cumcount().to_numpy() + 1
    past["margin"] = made.worth(
        whom, made.topic_of[what], pd.Index(STAGES).get_indexer(past["stage"]), made.stage_of[what], made.appeal[what],
        _at(media, past["channel"]), past["weekday"].to_numpy(), past["hour"].to_numpy(), recent, past["at"].to_numpy(),
    )  # fmt: skip
    last = past.drop_duplicates("customer_id", keep="last")
    rows = [
        ("the best possible", len(top), top["margin"].sum()),
        ("next actions", len(ours), mine.sum()),
        ("the company's last message to each", len(last), last["margin"].sum()),
        ("all the company sent them in the period", len(past), past["margin"].sum()),
    ]
    if why:
        rows += _replaced(made, could, ours.assign(topic=topic, step=given["step"], channel=channel), top, h, given, piece)
    found = pd.DataFrame(rows, columns=COLUMNS[:3])
    found["a_message"] = found["margin"] / found["messages"].where(found["messages"] > 0)
    found["of_best"] = found["margin"] / (found["margin"].iloc[0] or np.nan)
    return found.round(6)


def _replaced(made: Made, could: pd.DataFrame, ours: pd.DataFrame, top: pd.DataFrame, h, given, piece) -> list[tuple]:
    """What ours would bring, were one part after the other replaced by the truth."""
    best = pd.Series(made.appeal).groupby([made.topic_of, made.stage_of]).transform("max").to_numpy()[piece]
    time = {"weekday": made.day[h], "at": made.hour[h]}
    changed = {"hour": {"at": time["at"]}, "weekday": {"weekday": time["weekday"]}, "hour and weekday": time,
               "piece of the same cell": {"liked": best}, "piece, hour and weekday": {"liked": best, **time}}  # fmt: skip
    rows = [(f"ours with the best {name}", len(ours), made.worth(h, **(given | more)).sum()) for name, more in changed.items()]
    both = could.merge(ours[["customer_id", "topic", "step", "channel"]], on="customer_id", suffixes=("", "_ours"))
    kept = {"topic and channel of ours, the rest true": ("topic", "channel"), "topic of ours, the rest true": ("topic",),
            "channel of ours, the rest true": ("channel",), "customers of ours, the rest true": ()}  # fmt: skip
    for name, keys in kept.items():
        same = np.logical_and.reduce([both[key] == both[f"{key}_ours"] for key in keys] or [np.full(len(both), True)])
        each = both[same].groupby("customer_id")["margin"].max()
        rows.append((name, len(each), each.sum()))
    alone = top[~top["customer_id"].isin(ours["customer_id"])]
    drawn = ours["explores"].fillna(False).to_numpy(bool)
    each = both.groupby("customer_id")["margin"].max().reindex(ours["customer_id"]).to_numpy()
    rows += [("ours whose piece is drawn by lot", int(drawn.sum()), made.worth(h, **given)[drawn].sum()),
             ("the best possible of these", int(drawn.sum()), np.nansum(each[drawn]))]  # fmt: skip
    return [*rows, ("the best possible of those whom ours leaves alone", len(alone), alone["margin"].sum())]


def lost_by(found: pd.DataFrame) -> pd.DataFrame:
    """By which choice is the margin lost that the best possible policy makes more than ours?

    One choice after the other is taken over from the best, whom to write to first and the hour last; the steps add up.

    Parameters
    ----------
    found
        Of :func:`score_actions`, with `why`.

    Returns
    -------
    pandas.DataFrame
        `lost_by`, `margin`, `of_best`: whom to leave alone, the channel, the topic, the stage of the piece, the piece of
        that stage, the weekday, the hour; and `in all`.
    """
    margin = found.set_index("policy")["margin"]
    names = [name for name, _ in _STEPS]
    left = margin[["the best possible", *(policy for _, policy in _STEPS)]].to_numpy(float)
    rows = pd.DataFrame({"lost_by": [*names, "in all"], "margin": [*(left[:-1] - left[1:]), left[0] - left[-1]]})
    return rows.assign(of_best=rows["margin"] / (left[0] or np.nan)).round(6)


_STEPS = (
    ("whom to leave alone", "customers of ours, the rest true"),
    ("channel", "channel of ours, the rest true"),
    ("topic", "topic and channel of ours, the rest true"),
    ("stage of the piece", "ours with the best piece, hour and weekday"),
    ("piece of that stage", "ours with the best hour and weekday"),
    ("weekday", "ours with the best hour"),
    ("hour", "next actions"),
)


def _at(index, wanted) -> np.ndarray:
    return pd.Index(index).get_indexer(wanted)


def _stages(stages: ir.Table, account: pd.Series, topics: list[str], now: dt.datetime) -> np.ndarray:
    """The true stage of each human's account on each topic just before an instant; -1 where none is open."""
    before = ibis.literal(now - dt.timedelta(seconds=1), "timestamp")
    s = stages.filter(stages["valid_from"].cast("timestamp") <= before, before < stages["valid_to"].cast("timestamp"))
    s = s.select("subject_id", "topic", "stage").to_pandas()
    known = pd.Index(account.unique())
    at = np.full((len(known), len(topics)), -1)
    rows = known.get_indexer(s["subject_id"].astype(str))
    columns = pd.Index(topics).get_indexer(s["topic"].astype(str))
    here = (rows >= 0) & (columns >= 0)
    at[rows[here], columns[here]] = pd.Index(STAGES).get_indexer(s["stage"].astype(str))[here]
    return at[known.get_indexer(account)]
