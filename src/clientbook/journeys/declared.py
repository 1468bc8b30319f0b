"""What does this stage read and write, and what do its columns mean?"""

from __future__ import annotations

import pandas as pd
from pydantic import Field

from clientbook.stage import Parameters, Stage
from clientbook.tables import Column, Table

# Without any of these nobody did anything.
SEEN = ("events", "orders", "messages")
READS = (
    "events",
    "orders",
    "messages",
    "cases",
    "opportunities",
    "opportunity_people",
    "referrals",
    "surveys",
    "preferences",
    "consents",
    "deliveries",
    "returns",
    "products",
    "content",
    "identities",
    "identity_draws",
    "customers",
    "resolved_accounts",
    "account_identities",
)


class JourneysParameters(Parameters):
    """What an analyst may change in `05_journeys`."""

    gap_days: int = Field(90, ge=1, le=3650, description="so many days of silence on a topic close a journey")
    window_days: int = Field(30, ge=1, le=365, description="how soon after a day a move counts as following")


def typed(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The columns of a public table in their order and kinds, with rows or without.

    Parameters
    ----------
    frame
        Has them all; without rows it may have none.
    table
        The table.
    """
    kinds = {column.name: "float64" if column.kind == "number" else "str" for column in table.columns}
    frame = frame.reindex(columns=list(kinds))
    whole = {name for name in frame if kinds[name] == "float64" and pd.api.types.is_integer_dtype(frame[name])}
    return frame.astype({name: kind for name, kind in kinds.items() if name not in whole})


TIMELINE = Table(
    "timeline",
    "something that a subject did, or that was done with it, in the order of time",
    (
        Column("subject_type", "text", "whose journeys the book follows: account or customer"),
        Column("subject_id", "id", "the account or customer"),
        Column("customer_id", "id", "the customer; none where a deal is known of the account alone"),
        Column("account_id", "id", "the account the customer belongs to"),
        Column("topic", "text", "product line or solution, its own or its content's; none if neither is known"),
        Column("occurred_at", "time", "when it happened"),
        Column("event_name", "text", "what happened"),
        Column("kind", "text", "event, order, case, opportunity, message, referral or survey"),
        Column("channel", "text", "channel"),
        Column("device", "text", "device"),
        Column("source", "text", "the system that tells of it"),
        Column("content_source", "text", "the source that the content's id belongs to"),
        Column("content_id", "id", "the piece that was seen or answered"),
        Column("arrival", "number", "order of arrival, which decides between equal times"),
    ),
    at="occurred_at",
)

STAGE_INTERVALS = Table(
    "stage_intervals",
    "a time in which a subject was in one stage on one topic",
    (
        Column("subject_type", "text", "account or customer"),
        Column("subject_id", "id", "the account or customer"),
        Column("topic", "text", "product line or solution; none in a book without topics"),
        Column("journey_id", "id", "the journey: subject, topic and its number"),
        Column("stage", "text", "need, research, decide, adopt, use or recommend"),
        Column("valid_from", "time", "from then"),
        Column("valid_to", "time", "to then, exclusive; none where it still lasts"),
        Column("probability", "number", "of this stage when it began, had they not left", unit="probability"),
        Column("method", "text", "filtered: from what was known then; smoothed: with hindsight"),
        Column("open_probability", "number", "that they had not left, when it began", unit="probability"),
        Column("probability_now", "number", "of the stage that is the most probable now; none where it has ended",
               unit="probability"),
    ),
    at="valid_from",
)  # fmt: skip

EVENT_TRANSITIONS = Table(
    "event_transitions",
    "an event that directly follows another of the same subject",
    (
        Column("event_from", "text", "the event before"),
        Column("event_to", "text", "the event after it"),
        Column("n", "number", "how often", unit="pairs"),
    ),
)

VARIANTS = Table(
    "variants",
    "a way that subjects took, from their first event to their last",
    (
        Column("variant", "text", "event names joined by ` > `; very long ones are cut and end in ` > …`"),
        Column("n", "number", "how many took it", unit="subjects"),
    ),
)

MOMENTS = Table(
    "moments",
    "an event at a stage, and what followed it; where observed, no proof that it was the cause",
    (
        Column("event_name", "text", "the event"),
        Column("kind", "text", "event, order, case, opportunity, message, referral or survey"),
        Column("stage", "text", "of the journey in the evening of that day; none for effects on the next order"),
        Column("n", "number", "on how many days it happened, long enough ago to know what followed", unit="days"),
        Column("subjects", "number", "to how many accounts or customers, each counted once a topic", unit="subjects"),
        *(
            Column(f"{name}{ending}", "number", f"{what}{more}", unit="share")
            for name, what in (
                ("moved_on", "share whose next move came soon and led to a later stage"),
                ("fell_back", "share whose next move came soon and led to an earlier stage"),
                ("went_silent", "share after whose day nothing further happened on the journey"),
                ("ordered", "share that ordered or won a deal on the topic in the 90 days after"),
                ("complained", "share that opened a case in the 30 days after"),
            )
            for ending, more in (
                ("", ""),
                ("_base", "; the same over all days at the stage"),
                ("_effect", ": more than of days alike on which it had not happened"),
                ("_low", ": lower end of the effect's 95 % interval"),
                ("_high", ": upper end of it"),
            )
        ),
        Column("design", "text", "observed: like days compared; randomised: chance decided who got it"),
        Column("outcome", "text", "of effects found otherwise: what counted, an order or a referral; none for the others"),
        Column("q_value", "number", "of the surest of the five effects, corrected for all that were looked at",
               unit="probability"),
    ),
)  # fmt: skip

RESPONSIVENESS = Table(
    "responsiveness",
    "how messages of one channel, sent at one hour of the week, were answered; operational ones left out",
    (
        Column("channel", "text", "channel; none where it is not known"),
        Column("weekday", "number", "day of sending in the book's zone, 1 is Monday", unit="day of the week"),
        Column("hour", "number", "hour of sending in the book's zone, 0 to 23", unit="hour"),
        Column("messages", "number", "sent", unit="messages"),
        Column("opens", "number", "opened; weak, as mail programs open by themselves", unit="messages"),
        Column("clicks", "number", "clicked", unit="messages"),
        Column("replies", "number", "replied to", unit="messages"),
        Column("answers", "number", "clicked or replied to", unit="messages"),
        Column("rate", "number", "share answered, drawn towards the channel's where few were sent", unit="share"),
    ),
)

BEST_TIMES = Table(
    "best_times",
    "how each customer who ever got a message is best reached, a little history drawn towards their segment's",
    (
        Column("customer_id", "id", "the customer"),
        Column("channel", "text", "the channel that they answer most"),
        Column(
            "weekday",
            "number",
            "the weekday that they named, else the one on which they are most active, 1 is Monday",
            unit="day of the week",
        ),
        Column(
            "hour",
            "number",
            "the hour that they named, else that at which they are most active, 0 to 23, in the book's zone",
            unit="hour",
        ),
        Column("rate", "number", "share that they answer by that channel, drawn towards their segment's", unit="share"),
        Column("messages", "number", "sent to them by that channel", unit="messages"),
        Column("active", "number", "days on which they were active: what weekday and hour rest on", unit="days"),
        Column(
            "own_probability",
            "number",
            "how probably the weekday is their own, and not only their segment's; 1 where they named it",
            unit="probability",
        ),
    ),
)

STAGE = Stage(
    name="journeys",
    uses=READS,
    on_spark=("timeline",),
    writes=("timeline", "stage_intervals", "event_transitions", "variants", "moments", "responsiveness", "best_times"),
    shows="where each customer is on their way, how they got there, and what came before they moved on or fell silent",
    parameters=JourneysParameters,
    tables=(TIMELINE, STAGE_INTERVALS, EVENT_TRANSITIONS, VARIANTS, MOMENTS, RESPONSIVENESS, BEST_TIMES),
)
