"""What does a reader see of the journeys?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import doubts, parsing
from clientbook.journeys.inference import FILTERED, SMOOTHED, emission_change
from clientbook.journeys.model import Model
from clientbook.journeys.paths import JOIN
from clientbook.journeys.stages import Ways, stage_of
from clientbook.site.numbers import percent
from clientbook.stage import KeyNumber
from clientbook.tables import STAGES

LEFT = "left"
# What rests on fewer is chance more often than not.
FEWEST = 30
MONTHS = 36
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def totals(timeline: ir.Table, intervals: ir.Table, told: pd.DataFrame) -> dict[str, float]:
    """How many are on their way, and of how much of what they do is the stage known?

    Parameters
    ----------
    timeline, intervals
        The public tables `timeline` and `stage_intervals`.
    told
        As from :func:`clientbook.journeys.stage_table_of`.

    Returns
    -------
    dict
        `subjects` (on the timeline), `events` (in all), `delivered` (as events of their own), `telling` (share of
        these whose name tells a stage), `on_their_way` (subjects with an open journey), `stays` (in a stage, ever),
        `open` (journeys), and how many of them are in each stage.
    """
    seen = timeline.aggregate(subjects=timeline["subject_id"].nunique(), events=timeline.count()).to_pandas().iloc[0]
    intervals = intervals.filter(intervals["method"] == FILTERED)
    now = intervals.filter(intervals["valid_to"].isnull())
    each = now.group_by("stage").agg(n=now.count()).to_pandas().set_index("stage")["n"]
    own = told[told["kind"] == "event"]
    telling = own.loc[own["stage"].notna(), "events"].sum() / max(own["events"].sum(), 1)
    return {
        "subjects": int(seen["subjects"]),
        "events": int(seen["events"]),
        "delivered": int(own["events"].sum()),
        "telling": float(telling),
        "on_their_way": int(now.aggregate(n=now["subject_id"].nunique()).to_pandas()["n"].iloc[0]),
        "open": int(each.sum()),
        "stays": int(intervals.count().to_pyarrow().as_py()),
        **{stage: int(each.get(stage, 0)) for stage in STAGES},
    }


def key_numbers(total: Mapping[str, float]) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    total
        As from :func:`totals`.
    """
    numbers = [
        KeyNumber("Journeys open now", total["open"], "journeys", n=total["subjects"]),
        KeyNumber("Journeys in decide now", total["decide"], "journeys", n=total["open"]),
        KeyNumber("Journeys in recommend now", total["recommend"], "journeys", n=total["open"]),
    ]
    if total["delivered"]:
        share = round(total["telling"], 6)
        numbers.append(KeyNumber("Events that tell a stage", share, "share", "up", n=total["delivered"]))
    return numbers


def answer(total: Mapping[str, float], subject: str) -> str:
    """Where are the customers on their way? In a few sentences of Markdown.

    Parameters
    ----------
    total
        As from :func:`totals`.
    subject
        `account` or `customer`.
    """
    if not total["events"]:
        return "**Nobody has done anything that could be followed yet**: no event, no order, no answered message."
    if not total["stays"]:
        return (
            f"**{total['subjects']:,} {subject}s were seen in {total['events']:,} events, none of which tells a "
            "stage.** The ways through the events stand below; to see stages, say in the book, under "
            "`journeys: stages:`, which event belongs to which."
        )
    known = f" Of the delivered events, {percent(total['telling'])} tell a stage." if total["delivered"] else ""
    rule = (
        "The stage is the most probable one after all that was seen and every silence; a journey has ended when it is "
        f"more probable than not that they left.{known}"
    )
    if not total["open"]:
        return f"**None of {total['subjects']:,} {subject}s is on a journey now.** {rule}"
    most = max(STAGES, key=lambda stage: total[stage])
    early = total["need"] + total["research"]
    late = total["adopt"] + total["use"] + total["recommend"]
    return (
        f"**{total['on_their_way']:,} of {total['subjects']:,} {subject}s are on a journey now; of their "
        f"{total['open']:,} journeys, most are in {most}: {total[most]:,}.** On {early:,} they still look for whether "
        f"and what, on {total['decide']:,} they decide, on {late:,} they have bought. {rule}"
    )


def say_doubts(timeline: ir.Table, tables: Mapping[str, ir.Table | None]) -> str:
    """In one sentence: how much of what is told here rests on who is who? Empty where nothing was matched.

    Parameters
    ----------
    timeline
        The public table.
    tables
        `identities` and `identity_draws`.
    """
    return doubts.say(doubts.doubts(timeline, tables.get("identity_draws"), tables.get("identities")), "events")


def open_now(intervals: ir.Table, limit: int = 15) -> pd.DataFrame:
    """On which topic are how many journeys in which stage now?

    Parameters
    ----------
    intervals
        The public table `stage_intervals`.
    limit
        Topics to show, the busiest first; the rest become one row.

    Returns
    -------
    pandas.DataFrame
        `topic`, one column a stage, `journeys`.
    """
    now = intervals.filter(intervals["valid_to"].isnull() & (intervals["method"] == FILTERED))
    counts = {stage: now.count(where=now["stage"] == stage) for stage in STAGES}
    each = now.group_by("topic").agg(**counts, journeys=now.count())
    told = each.order_by(ibis.desc("journeys"), "topic").to_pandas()
    told["topic"] = told["topic"].fillna("any")
    if len(told) > limit:
        rest = told.iloc[limit:].drop(columns="topic").sum().to_frame().T.assign(topic="all other topics")
        told = pd.concat([told.head(limit), rest[told.columns]], ignore_index=True)
    return told


def moves(intervals: ir.Table) -> pd.DataFrame:
    """Where do journeys go from each stage, and how long does it take? With hindsight.

    Parameters
    ----------
    intervals
        The public table `stage_intervals`; stays that still last are left out.

    Returns
    -------
    pandas.DataFrame
        `stage`, `next` (`left`: the journey ended), `n`, `median_days`; in the order of the stages.
    """
    rows = intervals.filter(intervals["method"] == SMOOTHED)
    along = ibis.window(group_by="journey_id", order_by="valid_from")
    rows = rows.mutate(after=rows["stage"].lead().over(along).fill_null(LEFT))
    rows = rows.filter(rows["valid_to"].notnull())
    rows = rows.mutate(stayed=rows["valid_to"].delta(rows["valid_from"], unit="hour") / 24)
    each = rows.group_by("stage", next=rows["after"]).agg(n=rows.count(), median_days=rows["stayed"].median().round(3))
    told = each.to_pandas()
    place = {stage: i for i, stage in enumerate((*STAGES, LEFT))}
    order = [told["stage"].map(place), told["next"].map(place)]
    return told.iloc[np.lexsort(order[::-1])].reset_index(drop=True) if len(told) else told


def transition_shares(moved: pd.DataFrame) -> pd.DataFrame:
    """Of the journeys in a stage, what share goes where next?

    Parameters
    ----------
    moved
        As from :func:`moves`.

    Returns
    -------
    pandas.DataFrame
        Rows are the stage, columns the next one and `left`; rows add up to 1.
    """
    wide = moved.pivot_table(index="stage", columns="next", values="n", aggfunc="sum")
    rows = [stage for stage in STAGES if stage in wide.index]
    columns = [stage for stage in (*STAGES, LEFT) if stage in wide.columns]
    wide = wide.reindex(index=rows, columns=columns)
    return wide.div(wide.sum(axis=1), axis=0)


def time_in_stage(moved: pd.DataFrame) -> pd.DataFrame:
    """How long do journeys stay in a stage, and how do they leave it?

    Parameters
    ----------
    moved
        As from :func:`moves`.

    Returns
    -------
    pandas.DataFrame
        `stage`, `n`, `on`, `back`, `left` (shares), `days_to_next` (median of the usual way), `usual_next`.
    """
    place = {stage: i for i, stage in enumerate((*STAGES, LEFT))}
    rows = []
    for stage, some in moved.groupby("stage", sort=False):
        ways = some["next"].map(place)
        n = int(some["n"].sum())
        stayed = some[some["next"] != LEFT]
        usual = stayed.loc[stayed["n"].idxmax()] if len(stayed) else None
        rows.append(
            {
                "stage": stage,
                "n": n,
                "on": some.loc[(ways > place[stage]) & (ways < len(STAGES)), "n"].sum() / n,
                "back": some.loc[ways < place[stage], "n"].sum() / n,
                "left": some.loc[some["next"] == LEFT, "n"].sum() / n,
                "usual_next": usual["next"] if usual is not None else None,
                "days_to_next": usual["median_days"] if usual is not None else None,
            }
        )
    return pd.DataFrame(rows, columns=["stage", "n", "on", "back", "left", "usual_next", "days_to_next"])


def say_moves(moved: pd.DataFrame) -> str:
    """In one sentence: how much of the moving goes backwards?

    Parameters
    ----------
    moved
        As from :func:`moves`.
    """
    place = {stage: i for i, stage in enumerate(STAGES)}
    within = moved[moved["next"] != LEFT]
    if within.empty:
        return "No journey has moved from one stage to another yet"
    back = within.loc[within["next"].map(place) < within["stage"].map(place), "n"].sum() / within["n"].sum()
    if not back:
        return "No move goes back to an earlier stage"
    return f"{percent(back, 2)} of the moves go back to an earlier stage: a journey is no funnel"


def stage_share(intervals: ir.Table, as_of: dt.date) -> pd.DataFrame:
    """How were the open journeys spread over the stages, month by month?

    Parameters
    ----------
    intervals
        The public table `stage_intervals`.
    as_of
        The day of the run; three years before it are told at most.

    Returns
    -------
    pandas.DataFrame
        A row a beginning of a month, a column a stage: shares, adding up to 1.
    """
    count = {}
    intervals = intervals.filter(intervals["method"] == FILTERED)
    for end in ("valid_from", "valid_to"):
        known = intervals.filter(intervals[end].notnull())
        each = known.group_by("stage", month=known[end].truncate("M")).agg(n=known.count()).to_pandas()
        count[end] = each.pivot_table(index="month", columns="stage", values="n", aggfunc="sum", fill_value=0)
    if count["valid_from"].empty:
        return pd.DataFrame(columns=list(STAGES))
    months = pd.date_range(count["valid_from"].index.min(), pd.Timestamp(as_of), freq="MS")
    begun, ended = (count[end].reindex(index=months, columns=list(STAGES)).fillna(0).cumsum() for end in count)
    # what began or ended in a month is seen at the beginning of the next
    lasting = (begun - ended).shift(1).iloc[1:]
    shares = lasting.div(lasting.sum(axis=1).where(lambda n: n > 0), axis=0).dropna().tail(MONTHS)
    return shares.loc[:, shares.max() > 0]


def say_share(shares: pd.DataFrame) -> str:
    """In one sentence: in which stage are most, and how did that change?

    Parameters
    ----------
    shares
        As from :func:`stage_share`.
    """
    if len(shares) < 2:
        return "There is too little history to see the stages move"
    last = shares.iloc[-1]
    most = last.idxmax()
    then = max(len(shares) - 13, 0)
    before = shares[most].iloc[then]
    way = "up" if last[most] >= before else "down"
    return f"Most open journeys are in {most}: {last[most]:.0%}, {way} from {before:.0%} in {shares.index[then]:%B %Y}"


def follow_up(ways: Ways, as_of: dt.date, *, zone: str, gap_days: int, window_days: int) -> pd.DataFrame:
    """Did the stages mean anything: who ordered, or won a deal, after having been found in them?

    Every open journey is looked at as it stood `window_days` before the run, from what was known then.

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow`.
    as_of
        The day of the run.
    zone
        The book's.
    gap_days
        Days of silence that close a journey.
    window_days
        How far back to stand.

    Returns
    -------
    pandas.DataFrame
        `stage`, `journeys`, `bought` (share that was followed by an order or a won deal on the topic), with the row
        `all` last; empty where nothing was ever bought.
    """
    then = parsing.day_begins(as_of, zone) - ibis.interval(days=window_days)
    rows = ways.steps.filter(ways.steps["occurred_at"] < then)
    # the latest step on each lane is where the subject stood; later ones of the same lane do not speak
    stood = rows.group_by("lane").agg(
        level=rows["level"].argmax(rows["place"]),
        last=rows["occurred_at"].max(),
        deals=rows["deals"].argmax(rows["place"]),
    )
    still = (stood["deals"] > 0) | (stood["last"] + ibis.interval(days=gap_days) >= then)
    stood = stood.filter(stood["level"].notnull() & still)
    after = ways.steps.filter((ways.steps["occurred_at"] >= then) & ways.steps["bought"])
    bought = after.select("lane").distinct().mutate(bought=ibis.literal(1))
    joined = stood.left_join(bought, "lane")
    each = joined.group_by("level").agg(journeys=joined.count(), bought=joined["bought"].count())
    told = each.order_by("level").select("journeys", "bought", stage=stage_of(each["level"])).to_pandas()
    told = told[["stage", "journeys", "bought"]]
    if not told["bought"].sum():
        return told.head(0)
    whole = pd.DataFrame({"stage": ["all"], "journeys": [told["journeys"].sum()], "bought": [told["bought"].sum()]})
    told = pd.concat([told, whole], ignore_index=True)
    return told.assign(bought=told["bought"] / told["journeys"])


def top_transitions(transitions: ir.Table, limit: int = 15) -> pd.DataFrame:
    """Which event follows which most often?

    Parameters
    ----------
    transitions
        The public table `event_transitions`.
    limit
        How many to show.

    Returns
    -------
    pandas.DataFrame
        `event_from`, `event_to`, `n`, `share` (of what follows `event_from`).
    """
    follows = transitions["n"].sum().over(ibis.window(group_by="event_from"))
    shares = transitions.mutate(share=transitions["n"] / follows)
    return shares.order_by(ibis.desc("n"), "event_from", "event_to").limit(limit).to_pandas()


def top_variants(variants: ir.Table, limit: int = 12, shown: int = 6) -> pd.DataFrame:
    """Which ways are the commonest?

    Parameters
    ----------
    variants
        The public table `variants`.
    limit
        How many to show.
    shown
        Events to show of each.

    Returns
    -------
    pandas.DataFrame
        `way` (its first events), `events` (how many), `subjects`, `share` (of all subjects).
    """
    shares = variants.mutate(share=variants["n"] / variants["n"].sum().over(ibis.window()))
    told = shares.order_by(ibis.desc("n"), "variant").limit(limit).to_pandas()
    steps = told["variant"].str.split(JOIN, regex=False)
    more = steps.str.len() - shown
    way = steps.str[:shown].str.join(" → ")
    return pd.DataFrame(
        {
            "way": [f"{text} → … {n} more" if n > 0 else text for text, n in zip(way, more, strict=True)],
            "events": steps.str.len(),
            "subjects": told["n"],
            "share": told["share"],
        }
    )


def say_variants(variants: ir.Table) -> str:
    """In one sentence: how many ways are there for how many subjects?

    Parameters
    ----------
    variants
        The public table `variants`.
    """
    counted = variants.aggregate(ways=variants.count(), subjects=variants["n"].sum()).to_pandas().iloc[0]
    if not counted["ways"]:
        return "The commonest ways from the first event to the last"
    return f"The commonest of {int(counted['ways']):,} ways that {int(counted['subjects']):,} subjects took"


def stage_rows(told: pd.DataFrame) -> pd.DataFrame:
    """Which stage does each event tell, the most frequent event first?

    Parameters
    ----------
    told
        As from :func:`clientbook.journeys.stage_table_of`.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `stage`, `probability`, `told_by`, `events`, of the events that tell one.
    """
    known = told[told["stage"].notna()].sort_values(["events", "event_name"], ascending=[False, True], kind="stable")
    return known[["event_name", "stage", "probability", "told_by", "events"]].reset_index(drop=True)


def unmapped(told: pd.DataFrame, model: Model | None = None) -> pd.DataFrame:
    """Which delivered events tell no stage, the most frequent first, and which does their company suggest?

    Parameters
    ----------
    told
        As from :func:`clientbook.journeys.stage_table_of`.
    model
        As fitted; it has seen in whose company they come.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `events`, `share` (of all delivered events), and with a model `suggested` (a stage) and
        `probability` (of it, all stages alike).
    """
    own = told[told["kind"] == "event"]
    some = own[own["stage"].isna()].sort_values(["events", "event_name"], ascending=[False, True], kind="stable")
    share = some["events"] / max(own["events"].sum(), 1)
    listed = some[["event_name", "events"]].assign(share=share).reset_index(drop=True)
    if model is None:
        return listed
    learned = emission_change(model, told).set_index("event_name")
    suggested = learned.loc[listed["event_name"], ["learned", "probability"]].reset_index(drop=True)
    return listed.assign(suggested=suggested["learned"], probability=suggested["probability"])


def telling_moments(moments: ir.Table | pd.DataFrame, outcome: str = "ordered", limit: int = 16) -> pd.DataFrame:
    """After which moments does most more, or most less, follow than for others like them?

    Parameters
    ----------
    moments
        The public table `moments`.
    outcome
        `moved_on`, `fell_back`, `went_silent`, `ordered` or `complained`.
    limit
        How many to show.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `stage` (`after an order` where it is none), `n`, the outcome's share, `effect`, `low`, `high`,
        `design`, `q_value`; of those that are sure after correction for many (`q_value` at most 0.05, the interval
        without 0), the largest effect first.
    """
    known = moments.to_pandas() if isinstance(moments, ir.Table) else moments
    known = known[(known["q_value"] <= 0.05) & known[f"{outcome}_effect"].notna()]
    # what it does to recommendation is told by itself
    known = known[~known["outcome"].fillna("").str.contains("referral")]
    known = known[(known[f"{outcome}_low"] > 0) | (known[f"{outcome}_high"] < 0)]
    known = known.rename(columns={f"{outcome}_{end}": end for end in ("effect", "low", "high")})
    known["stage"] = known["stage"].fillna("after an order")
    ranked = known.assign(off=known["effect"].abs()).sort_values(["off", "stage", "event_name"], ascending=[False, True, True])
    return ranked[["event_name", "stage", "n", outcome, "effect", "low", "high", "q_value"]].head(limit).reset_index(drop=True)


def planned_effects(moments: ir.Table | pd.DataFrame) -> pd.DataFrame:
    """What did late deliveries, complaints, returns and trials do to the next order, and to recommendation?

    Parameters
    ----------
    moments
        The public table `moments`.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `outcome`, `design`, `n`, `ordered`, `ordered_base`, `effect`, `low`, `high`.
    """
    rows = moments.to_pandas() if isinstance(moments, ir.Table) else moments
    rows = rows[rows["stage"].isna()]
    rows = rows.rename(columns={f"ordered_{end}": end for end in ("effect", "low", "high")})
    rows = rows.sort_values(["effect", "event_name"], ignore_index=True)
    return rows[["event_name", "outcome", "design", "n", "ordered", "ordered_base", "effect", "low", "high"]]


def say_effects(found: pd.DataFrame) -> str:
    """In one sentence: what costs the most next orders?"""
    sure = found[(found["high"] < 0) & found["outcome"].str.contains("order")]
    if sure.empty:
        return "Nothing that went wrong is seen to have cost orders"
    worst = sure.iloc[0]
    between = f"between {abs(worst['high']) * 100:.0f} and {abs(worst['low']) * 100:.0f}"
    many = f"{abs(worst['effect']) * 100:.0f} of 100 fewer"
    return f"{worst['event_name']}: {many} order again than would have otherwise ({between})"


def usual_best(best: pd.DataFrame) -> pd.DataFrame:
    """By which channel, and when, are people best reached? A row a channel.

    Parameters
    ----------
    best
        As from :func:`clientbook.journeys.best_times`.

    Returns
    -------
    pandas.DataFrame
        `channel`, `customers`, `rate` (mean), `morning`, `midday`, `evening` (share whose hour is before 12, before
        17, later), `own_history` (share that were active on more than five days).
    """
    rows = []
    for channel, some in best.groupby("channel", sort=True):
        hour = some["hour"]
        rows.append([channel, len(some), some["rate"].mean(), (hour < 12).mean(), ((hour >= 12) & (hour < 17)).mean(),
                     (hour >= 17).mean(), (some["active"] > 5).mean()])  # fmt: skip
    names = ["channel", "customers", "rate", "morning", "midday", "evening", "own_history"]
    return pd.DataFrame(rows, columns=names).sort_values(["customers", "channel"], ascending=[False, True], ignore_index=True)


def best_hours(responsiveness: ir.Table) -> pd.DataFrame:
    """When is each channel answered best?

    Parameters
    ----------
    responsiveness
        The public table.

    Returns
    -------
    pandas.DataFrame
        A row a channel: `channel`, `weekday`, `hour`, `messages`, `rate` at its best hour, `channel_messages`,
        `channel_rate`.
    """
    rows = responsiveness.order_by("channel", "weekday", "hour").to_pandas()
    rows["channel"] = rows["channel"].fillna("not known")
    sums = {"channel_messages": ("messages", "sum"), "answers": ("answers", "sum")}
    whole = rows.groupby("channel", as_index=False).agg(**sums)
    whole["channel_rate"] = whole["answers"] / whole["channel_messages"]
    best = rows.loc[rows.groupby("channel")["rate"].idxmax(), ["channel", "weekday", "hour", "messages", "rate"]]
    best = best.assign(weekday=[_WEEKDAYS[day - 1] for day in best["weekday"]])
    told = best.merge(whole.drop(columns="answers"), on="channel")
    return told.sort_values("channel_messages", ascending=False, kind="stable", ignore_index=True)


def hours_of(responsiveness: ir.Table) -> pd.DataFrame:
    """At which hour of the week is the busiest channel answered?

    Parameters
    ----------
    responsiveness
        The public table.

    Returns
    -------
    pandas.DataFrame
        Rates; rows are weekdays, columns hours; `attrs["channel"]` names the channel. Empty without messages.
    """
    rows = responsiveness.to_pandas()
    rows["channel"] = rows["channel"].fillna("not known")
    if rows.empty:
        return pd.DataFrame()
    channel = rows.groupby("channel")["messages"].sum().idxmax()
    wide = rows[rows["channel"] == channel].pivot_table(index="weekday", columns="hour", values="rate").sort_index()
    wide.index = [_WEEKDAYS[day - 1] for day in wide.index]
    wide.attrs["channel"] = channel
    return wide
