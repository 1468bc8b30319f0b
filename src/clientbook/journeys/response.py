"""When do they answer, and by which channel, weekday and hour is each of them best reached?"""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import parsing
from clientbook.customers import is_outbound, with_customer
from clientbook.journeys.declared import BEST_TIMES, RESPONSIVENESS, typed

# An hour with fewer messages than this is believed less than its channel as a whole; where one in a hundred answers,
# it takes about so many to see any difference between hours.
SHRINKAGE_MESSAGES = 200.0
_FEWEST_ANSWERS = 20
# What people have in common is learned of so many of a segment.
_LEARNED_FROM = 5_000
# EM ends when a round changes no share by more.
_STILL = 1e-4


def responsiveness(messages: ir.Table | None, zone: str) -> ir.Table:
    """On which channel, weekday and hour are messages answered?

    Parameters
    ----------
    messages
        Clean messages; operational ones are left out. None gives an empty table.
    zone
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        The public table `responsiveness`. The rate of an hour with few messages is drawn towards its channel's.
    """
    if messages is None:
        kinds = {"channel": "string", "rate": "float64"}
        return ibis.memtable([], schema={name: kinds.get(name, "int64") for name in RESPONSIVENESS.names})
    sent = messages.filter(~messages["is_operational"].fill_null(False))
    local = parsing.local(sent["sent_at"], zone)
    sent = sent.mutate(
        weekday=(local.day_of_week.index() + 1).cast("int64"),
        hour=local.hour().cast("int64"),
        answered=sent["clicked_at"].notnull() | sent["replied_at"].notnull(),
    )
    each = sent.group_by("channel", "weekday", "hour").agg(
        messages=sent.count(), opens=sent["opened_at"].count(), clicks=sent["clicked_at"].count(),
        replies=sent["replied_at"].count(), answers=sent["answered"].sum(),
    )  # fmt: skip
    channel = ibis.window(group_by="channel")
    overall = each["answers"].sum().over(channel) / each["messages"].sum().over(channel)
    each = each.mutate(overall=overall)
    rate = (each["answers"] + SHRINKAGE_MESSAGES * each["overall"]) / (each["messages"] + SHRINKAGE_MESSAGES)
    return each.mutate(rate=rate.round(6)).select(*RESPONSIVENESS.names).order_by("channel", "weekday", "hour")


def best_times(tables: Mapping[str, ir.Table | None], timeline: ir.Table, zone: str) -> pd.DataFrame:
    """By which channel, on which weekday and at which hour is each person best written to?

    The channel is the one with the highest share answered, the person's own drawn towards their segment's; how far,
    the spread between people says (empirical Bayes). The hour and weekday are those at which they are active: visits
    and calls of their own accord, and where there are few, what is common in the segment; what they said themselves goes
    before both. A segment is companies' contacts or private people.

    Parameters
    ----------
    tables
        The clean tables and those of matching: `messages`, and `events`, `preferences`, `identities`, `customers`,
        `resolved_accounts` where there are.
    timeline
        The public table.
    zone
        The book's.

    Returns
    -------
    pandas.DataFrame
        The public table `best_times`, a row for each customer who ever got a message.
    """
    messages = tables.get("messages")
    if messages is None:
        return typed(pd.DataFrame(), BEST_TIMES)
    sent = with_customer(messages.filter(~messages["is_operational"].fill_null(False)), tables.get("identities"))
    sent = sent.mutate(
        channel=sent["channel"].fill_null("not known"),
        answered=sent["clicked_at"].notnull() | sent["replied_at"].notnull(),
    )
    each = sent.group_by("customer_id", "channel").agg(messages=sent.count(), answers=sent["answered"].sum())
    each = each.order_by("customer_id", "channel").to_pandas()
    if each.empty:
        return typed(pd.DataFrame(), BEST_TIMES)
    people = pd.Index(each["customer_id"].unique())
    company = people.isin(_at_companies(tables))
    person = people.get_indexer(each["customer_id"])
    channels = sorted(each["channel"].unique())
    channel = pd.Index(channels).get_indexer(each["channel"])
    n, hits = np.zeros((len(people), len(channels))), np.zeros((len(people), len(channels)))
    n[person, channel], hits[person, channel] = each["messages"], each["answers"]
    rate = np.zeros_like(n)
    for segment in (False, True):
        mine = company == segment
        if mine.any():
            rate[mine] = _rates(hits[mine], n[mine], hits.sum(axis=0) / np.maximum(n.sum(axis=0), 1))
    best = rate.argmax(axis=1)
    hours, days = _activity(people, timeline, tables.get("events"), zone)
    active = hours.sum(axis=1)
    tried = _tried(people, sent, zone)
    hour, weekday, own = np.zeros(len(people), int), np.zeros(len(people), int), np.zeros(len(people))
    for segment in (False, True):
        mine = company == segment
        if mine.any():
            hour[mine] = _own_hour(hours[mine], tried["hn"][mine], tried["hy"][mine])
            weekday[mine], own[mine] = _own_day(days[mine], tried["dn"][mine], tried["dy"][mine])
    # who said so knows best
    stated = _stated(people, tables)
    weekday, hour = (np.where(told >= 0, told, found) for told, found in zip(stated.T, (weekday, hour), strict=True))
    own[stated[:, 0] >= 0] = 1.0
    rows = np.arange(len(people))
    return pd.DataFrame(
        {
            "customer_id": people, "channel": np.array(channels, dtype=object)[best], "weekday": weekday + 1,
            "hour": hour,
            "rate": rate[rows, best].round(6), "messages": n[rows, best].astype(int), "active": active.astype(int),
            "own_probability": own.round(6),
        }
    )[list(BEST_TIMES.names)].sort_values("customer_id", ignore_index=True)  # fmt: skip


def reached(best: pd.DataFrame, who: ir.Table, truth: Mapping[str, ir.Table | None]) -> pd.DataFrame:
    """What share of the answers that full knowledge would get do the best times get, in a made company?

    Parameters
    ----------
    best
        As from :func:`best_times`.
    who
        As from :func:`clientbook.journeys.who_is_who`.
    truth
        `people`, `responsiveness` and `response_model`.

    Returns
    -------
    pandas.DataFrame
        `choice`, `answered` (true share, to a neutral piece), `of_best` (share of what full knowledge gets), `n`.
        Without a truth no row.
    """
    names = ["choice", "answered", "of_best", "n"]
    if any(truth.get(name) is None for name in ("people", "responsiveness", "response_model")) or best.empty:
        return pd.DataFrame(columns=names)
    people = truth["people"].select("person_id", "human_id", person_source="source")
    owned = who.inner_join(people, ["person_source", "person_id"])
    counted = owned.group_by("customer_id", "human_id").agg(k=owned.count()).to_pandas()
    counted = counted.sort_values(["k", "human_id"], ascending=[False, True]).drop_duplicates("customer_id")
    both = best.merge(counted, on="customer_id").merge(truth["responsiveness"].to_pandas(), on="human_id")
    c = truth["response_model"].to_pandas().set_index("parameter")["value"]
    channels = ["email", "sms", "post", "phone"]
    logit = both[[f"open_{name}" for name in channels]].to_numpy()
    curve = lambda score: 1 / (1 + np.exp(-score))  # noqa: E731
    clicks = np.array([1.0, 1.0, 0.0, 0.0]) * curve(c["click.base"])
    replies = curve(c["reply.base"] + c["reply.phone"] * (np.arange(4) == 3))
    given = 1 - (1 - clicks) * (1 - replies)

    def answered(channel, weekday, hour):
        off = np.abs(hour + 0.5 - both["best_hour"].to_numpy())
        off = np.minimum(off, 24 - off)
        good = c["open.best_day"] * (weekday - 1 == both["best_weekday"].to_numpy())
        good = good + c["open.best_hour"] * np.exp(-((off / c["open.hour_width"]) ** 2))
        return curve(logit[np.arange(len(both)), channel] + good) * given[channel]

    full = np.max([answered(np.full(len(both), k), both["best_weekday"] + 1, both["best_hour"] - 0.5) for k in range(4)], axis=0)
    own = pd.Index(channels).get_indexer(both["channel"])
    usual = both["channel"].mode().iloc[0]
    day, hour = both["weekday"].mode().iloc[0], both["hour"].mode().iloc[0]
    rest = np.full(len(both), channels.index(usual) if usual in channels else 0)
    choices = {
        "best of each person": answered(np.maximum(own, 0), both["weekday"].to_numpy(), both["hour"].to_numpy()),
        "one channel, weekday and hour for all": answered(rest, np.full(len(both), day), np.full(len(both), hour)),
        "e-mail on Tuesday at ten": answered(np.zeros(len(both), int), np.full(len(both), 2), np.full(len(both), 10)),
        "full knowledge": full,
    }
    rows = [[name, value.mean(), value.mean() / full.mean(), len(both)] for name, value in choices.items()]
    return pd.DataFrame(rows, columns=names)


def _at_companies(tables: Mapping[str, ir.Table | None]) -> list[str]:
    customers, accounts = tables.get("customers"), tables.get("resolved_accounts")
    if customers is None or accounts is None or "kind" not in accounts.columns:
        return []
    companies = accounts.filter(accounts["kind"] == "company").select("account_id")
    return customers.semi_join(companies, "account_id").select("customer_id").to_pandas()["customer_id"].tolist()


def _rates(hits: np.ndarray, n: np.ndarray, overall: np.ndarray) -> np.ndarray:
    """Share answered by person and channel. Who answers more by one channel answers more by all; what remains is the
    channel's. Both are drawn to the usual as far as people differ no more than chance would have them."""
    # the segment itself is drawn to everybody, or one lucky letter would make a channel
    mean = (hits.sum(axis=0) + _FEWEST_ANSWERS * overall) / (n.sum(axis=0) + _FEWEST_ANSWERS)
    expected = n * mean
    keen = _shrunk(hits.sum(axis=1), expected.sum(axis=1))
    expected = expected * keen[:, None]
    own = np.column_stack([_shrunk(hits[:, place], expected[:, place]) for place in range(hits.shape[1])])
    return np.minimum(mean * keen[:, None] * own, 0.95)


def _shrunk(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How many times what was expected, drawn to once (gamma-Poisson, by moments)."""
    between = (((seen - expected) ** 2).sum() - expected.sum()) / max((expected**2).sum(), 1e-12)
    prior = 1 / np.clip(between, 1e-6, 10.0)
    return (seen + prior) / (expected + prior)


def _activity(people: pd.Index, timeline: ir.Table, events: ir.Table | None, zone: str):
    """How often was each active at each hour and on each weekday, and in all?"""
    # when they come of their own accord; an order at a till says when we are open
    seen = timeline.filter((timeline["kind"] == "event") & timeline["customer_id"].notnull())
    if events is not None:
        # when they are called, we are at work
        seen = seen.anti_join(events.filter(is_outbound(events)).select("source", "arrival"), ["source", "arrival"])
    rows = seen.select("customer_id", at="occurred_at")
    local = parsing.local(rows["at"], zone)
    # whatever else they do on that day, they came at the hour of the first
    rows = rows.group_by("customer_id", day=local.date()).agg(hour=local.hour().min())
    counted = rows.group_by("customer_id", h="hour", d=rows["day"].day_of_week.index()).agg(k=rows.count())
    counted = counted.order_by("customer_id", "h", "d").to_pandas()
    person = people.get_indexer(counted["customer_id"])
    counted, person = counted[person >= 0], person[person >= 0]
    hours, days = np.zeros((len(people), 24)), np.zeros((len(people), 7))
    np.add.at(hours, (person, counted["h"].to_numpy(dtype=int)), counted["k"].to_numpy())
    np.add.at(days, (person, counted["d"].to_numpy(dtype=int)), counted["k"].to_numpy())
    return hours, days


def _tried(people: pd.Index, sent: ir.Table, zone: str) -> dict[str, np.ndarray]:
    """How often was each written to at each hour and weekday, and how often was that opened by hand or answered?"""
    # what opens within a minute and a half is a mail program
    by_hand = (sent["opened_at"] > sent["sent_at"] + ibis.interval(seconds=90)).fill_null(False)
    local = parsing.local(sent["sent_at"], zone)
    rows = sent.select("customer_id", good=by_hand | sent["answered"], h=local.hour(), d=local.day_of_week.index())
    counted = rows.group_by("customer_id", "h", "d").agg(n=rows.count(), y=rows["good"].sum()).order_by("customer_id", "h", "d")
    counted = counted.to_pandas()
    person = people.get_indexer(counted["customer_id"])
    told = {}
    for part, size in (("h", 24), ("d", 7)):
        for column in ("n", "y"):
            told[part + column] = np.zeros((len(people), size))
            np.add.at(told[part + column], (person, counted[part].to_numpy(dtype=int)), counted[column].to_numpy())
    return told


def _usual(n: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many answers would everybody's own rate give at each hour or on each day?"""
    return n * ((y.sum(axis=1) + 1) / (n.sum(axis=1) + 5))[:, None]


def _lifts(usual: np.ndarray, y: np.ndarray, whose: np.ndarray, off: np.ndarray, size: int) -> np.ndarray:
    """How much more is answered so far from somebody's own hour or day than is usual for them?"""
    found = np.bincount(off.ravel(), weights=(y.T @ whose).ravel(), minlength=size)
    expected = np.bincount(off.ravel(), weights=(usual.T @ whose).ravel(), minlength=size)
    # drawn to 1, which says nothing
    return (found + 50.0) / (expected + 50.0)


def _normed(log: np.ndarray) -> np.ndarray:
    whose = np.exp(log - log.max(axis=1, keepdims=True))
    return whose / whose.sum(axis=1, keepdims=True)


def _learners(many: int) -> np.ndarray:
    """Of whom is learned what all have in common: of some thousands, drawn at random, as well as of all."""
    return np.sort(np.random.default_rng(1).permutation(many)[:_LEARNED_FROM])


def _own_hour(counts: np.ndarray, n: np.ndarray, y: np.ndarray, rounds: int = 60) -> np.ndarray:
    """At which hour is each person most active, when a few times to be active say little?

    What somebody does falls into a bell about an hour of their own, or comes at an hour at which anybody in the segment
    comes, as when the doors open. How wide the bell is, how much falls into it, how common each own hour is and how
    much better letters sent near it are answered are found by EM; a person of little history gets the hour that suits
    the likely own hours best.
    """
    hours = np.arange(24)
    away = np.abs(hours[:, None] - hours)
    away = np.minimum(away, 24 - away)
    common, lift, usual = np.full(24, 1 / 24), np.ones(13), _usual(n, y)
    anybody = (counts.sum(axis=0) + 1.0) / (counts.sum() + 24.0)
    spread, own = 3.0, 0.7
    some = _learners(len(counts))
    seen, answers, expected = counts[some], y[some], usual[some]
    for _ in range(rounds):
        before = spread
        bell = np.exp(-0.5 * (away / spread) ** 2)
        bell /= bell.sum(axis=0)
        clock = own * bell + (1 - own) * anybody[:, None]
        # answers are Poisson about what is usual for the person
        whose = _normed(seen @ np.log(clock) + answers @ np.log(lift)[away] - expected @ lift[away] + np.log(common))
        # by hour and own hour: what was done there, and how much of that the bell made
        done = seen.T @ whose
        made = done * own * bell / clock
        spread = float(np.sqrt(((made * away**2).sum() + 9.0) / (made.sum() + 1.0)))
        own = float(np.clip((made.sum() + 7.0) / (done.sum() + 10.0), 0.05, 0.99))
        anybody = (done - made).sum(axis=1) + 1.0
        anybody /= anybody.sum()
        common = whose.sum(axis=0) + 1e-3
        common /= common.sum()
        lift = _lifts(expected, answers, whose, away, 13)
        if abs(spread - before) < _STILL:
            break
    whose = _normed(counts @ np.log(clock) + y @ np.log(lift)[away] - usual @ lift[away] + np.log(common))
    return (whose @ bell).argmax(axis=1)


def _own_day(counts: np.ndarray, n: np.ndarray, y: np.ndarray, rounds: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Which weekday is each person's own, and how probably?

    A share of what anybody does falls on a day of their own, the rest as the week of the segment has it; the share and
    how common each day is are found by EM. That a segment catches up on Mondays makes Monday nobody's own.
    """
    week = (counts.sum(axis=0) + 1.0) / (counts.sum() + 7.0)
    share, common, lift = 0.2, np.full(7, 1 / 7), np.ones(2)
    other = 1 - np.eye(7, dtype=int)
    # what the segment answers more on some weekday is nobody's own
    week_rate = (y.sum(axis=0) + 1) / (n.sum(axis=0) + 1) / max((y.sum() + 1) / (n.sum() + 1), 1e-12)
    usual = _usual(n * week_rate, y)
    some = _learners(len(counts))
    seen, answers, expected = counts[some], y[some], usual[some]

    def read(seen: np.ndarray, answers: np.ndarray, expected: np.ndarray) -> np.ndarray:
        special = np.log((1 - share) * week + share) - np.log((1 - share) * week)
        return _normed(seen * special + answers @ np.log(lift)[other] - expected @ lift[other] + np.log(common))

    for _ in range(rounds):
        before = share
        whose = read(seen, answers, expected)
        on = (whose * seen * (share / ((1 - share) * week + share))).sum()
        share = float(np.clip(on / max(seen.sum(), 1.0), 0.01, 0.9))
        common = (whose.sum(axis=0) + 1.0) / (len(seen) + 7.0)
        lift = _lifts(expected, answers, whose, other, 2)
        if abs(share - before) < _STILL:
            break
    whose = read(counts, y, usual)
    return whose.argmax(axis=1), whose.max(axis=1)


def _stated(people: pd.Index, tables: Mapping[str, ir.Table | None]) -> np.ndarray:
    """The weekday (from 0) and hour that each said they want to be written to at, the latest word; -1 where none did."""
    out = np.full((len(people), 2), -1)
    stated = tables.get("preferences")
    if stated is None:
        return out
    stated = with_customer(stated.filter(stated["weekday"].notnull() | stated["hour"].notnull()), tables.get("identities"))
    rows = stated.select("customer_id", "stated_at", "arrival", "weekday", "hour").to_pandas()
    rows = rows.sort_values(["stated_at", "arrival"], kind="stable", na_position="first")
    for place, (column, first, last) in enumerate((("weekday", 1, 7), ("hour", 0, 23))):
        known = rows[rows[column].between(first, last)].drop_duplicates("customer_id", keep="last")
        person = people.get_indexer(known["customer_id"])
        out[person[person >= 0], place] = known[column].to_numpy(dtype=int)[person >= 0] - first
    return out
