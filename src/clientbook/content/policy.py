"""What would the next actions bring, by the truth of a made company, beside the best that could be done?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.tables import STAGES

COLUMNS = ["policy", "messages", "margin", "a_message", "of_best"]
TRUTH = ("responsiveness", "content", "stages", "response_model", "people", "messages")


def score_actions(
    actions: ir.Table, allowed: ir.Table, records: ir.Table, sent: ir.Table, now: dt.datetime, days: int, zone: str,
    most: int, bound: ir.Table, truth: Callable[[str], ir.Table | None],
) -> pd.DataFrame:
    """What do the next actions bring, beside the best possible policy and what the company did?

    Parameters
    ----------
    actions
        The table `next_actions`.
    allowed
        `customer_id`, `channel`: what may be used; the best policy is bound by it, and by the cap, as ours is.
    records
        `customer_id`, `source`, `person_id`: the record that is written to, whose human answers.
    sent
        Of :func:`clientbook.content.audit.sendings`, without the operational ones.
    now, days, zone, most
        The instant of the run, the contact policy's period, the book's zone, and the cap of an account.
    bound
        `account_id`, `topic`: accounts that may be written to on these topics alone, as they have deals open on them.
    truth
        Gives a table of the truth by its name, or None.

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
    from clientbook.demo.responses import probabilities

    people = told["responsiveness"].to_pandas()
    pieces = told["content"].to_pandas()
    model = told["response_model"].to_pandas().set_index("parameter")["value"].to_dict()
    topics = [name.removeprefix("likes_") for name in people.columns if name.startswith("likes_")]
    media = [name.removeprefix("open_") for name in people.columns if name.startswith("open_")]
    likes, opens = (people[[f"{kind}_{n}" for n in names]].to_numpy() for kind, names in (("likes", topics), ("open", media)))
    margin, day, hour = (people[n].to_numpy() for n in ("order_margin", "best_weekday", "best_hour"))
    topic_of, stage_of = pd.Index(topics).get_indexer(pieces["topic"]), pd.Index(STAGES).get_indexer(pieces["stage"])
    appeal = pieces["appeal"].to_numpy()
    costs = np.array([model[f"cost.{name}"] for name in media])
    stage_now = _stages(told["stages"], people["account_id"], topics, now)

    def worth(who, topic, stage, step, liked, channel, weekday, at, recent):
        chance = probabilities(
            opens[who, channel], likes[who, topic] * len(topics), day[who], hour[who], stage, step, liked, weekday, at,
            recent, np.asarray(channel) == media.index("phone"), model,
        )  # fmt: skip
        return chance.opens * chance.clicks * chance.orders * margin[who] - costs[channel]

    t = told["people"].select("source", "person_id", "human_id")
    whose = records.inner_join(t, ["source", "person_id"]).select("customer_id", "human_id")
    whose = whose.group_by("customer_id").agg(human_id=whose["human_id"].min())
    start = ibis.literal(now - dt.timedelta(days=days), "timestamp")
    got = sent.filter(sent["at"] > start)
    got = got.group_by("account_id").agg(got=got.count())
    reach = allowed.inner_join(whose, "customer_id")
    reach = reach.left_join(actions.select("customer_id", "account_id"), "customer_id")
    reach = reach.select("customer_id", "account_id", "channel", "human_id")
    reach = reach.left_join(got, "account_id").select(*reach.columns, "got").order_by("customer_id", "channel").to_pandas()
    reach["recent"] = reach["got"].fillna(0) + 1
    reach = reach[reach["recent"] <= most].reset_index(drop=True)
    who = pd.Index(people["human_id"]).get_indexer(reach["human_id"])
    channel = pd.Index(media).get_indexer(reach["channel"])
    reach, who, channel = (x[(who >= 0) & (channel >= 0)] for x in (reach, who, channel))
    cells = pieces.assign(t=topic_of, s=stage_of).groupby(["t", "s"])["appeal"].max()
    best = np.full(len(reach), -np.inf)
    held = bound.select("account_id", "topic").distinct().to_pandas()
    binds = reach["account_id"].isin(set(held["account_id"])).to_numpy()
    fits = {n: reach["account_id"].isin(set(held.loc[held["topic"] == name, "account_id"])).to_numpy()
            for n, name in enumerate(topics)}  # fmt: skip
    for (topic, step), liked in cells.items():
        gain = worth(who, topic, stage_now[who, topic], step, liked, channel, day[who], hour[who],
                     reach["recent"].to_numpy())  # fmt: skip
        best = np.maximum(best, np.where(binds & ~fits[topic], -np.inf, gain))
    top = reach.assign(best=best).groupby("customer_id").agg(best=("best", "max"), account_id=("account_id", "first"),
                                                             recent=("recent", "first"))  # fmt: skip
    top = top[top["best"] > 0].sort_values("best", ascending=False)
    top = top[top.groupby("account_id").cumcount() + top["recent"] <= most]

    ours = actions.filter(actions["content_id"].notnull()).inner_join(whose, "customer_id")
    ours = ours.left_join(got, "account_id").select(*ours.columns, "got").order_by("customer_id").to_pandas()
    h, piece = _at(people["human_id"], ours["human_id"]), _at(pieces["content_id"], ours["content_id"])
    weekday, at = ours["weekday"].fillna(1) - 1, ours["hour"].fillna(12)
    mine = worth(h, topic_of[piece], stage_now[h, topic_of[piece]], stage_of[piece], appeal[piece],
                 _at(media, ours["channel"]), weekday.to_numpy(), at.to_numpy(), ours["got"].fillna(0).to_numpy() + 1)  # fmt: skip

    local = parsing.local(sent["at"], zone)
    past = sent.mutate(weekday=local.day_of_week.index(), hour=local.hour() + local.minute() / 60)
    past = past.filter(past["at"] > start).semi_join(allowed, "customer_id")
    true = told["messages"].select("source", "message_id", "human_id", stage="stage_at_send")
    past = past.inner_join(true, ["source", "message_id"]).order_by("at", "arrival")
    names = ("customer_id", "account_id", "at", "human_id", "stage", "content_id", "channel", "weekday", "hour")
    past = past.select(*names).to_pandas()
    past = past[past["content_id"].isin(set(pieces["content_id"]))]
    h, piece = _at(people["human_id"], past["human_id"]), _at(pieces["content_id"], past["content_id"])
    recent = past.groupby("account_id").cumcount().to_numpy() + 1
    past["margin"] = worth(h, topic_of[piece], pd.Index(STAGES).get_indexer(past["stage"]), stage_of[piece],
                           appeal[piece], _at(media, past["channel"]), past["weekday"].to_numpy(),
                           past["hour"].to_numpy(), recent)  # fmt: skip
    last = past.drop_duplicates("customer_id", keep="last")
    rows = [
        ("the best possible", len(top), top["best"].sum()),
        ("next actions", len(ours), mine.sum()),
        ("the company's last message to each", len(last), last["margin"].sum()),
        ("all the company sent them in the period", len(past), past["margin"].sum()),
    ]
    found = pd.DataFrame(rows, columns=COLUMNS[:3])
    found["a_message"] = found["margin"] / found["messages"].where(found["messages"] > 0)
    found["of_best"] = found["margin"] / (found["margin"].iloc[0] or np.nan)
    return found.round(6)


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
