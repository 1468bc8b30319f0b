"""What would anybody answer to any piece, by any channel, at any hour?"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .responses import is_customer, probabilities
from .world import CHANNELS, STAGES, TOPICS


def answer(
    directory: str | os.PathLike, human_id, content_id, channel, weekday, hour, *, at=None, stage=None, recent=0
) -> pd.DataFrame:
    """What would these people answer to these pieces?

    Any argument may be one value or an array; all arrays have one length.

    Parameters
    ----------
    directory : path
        A made company.
    human_id, content_id : text
        As in truth/people and truth/content.
    channel : text
        email, sms, post or phone.
    weekday, hour : number
        Of sending, local time; Monday is 0.
    at : timestamp, optional
        UTC; the stage is the true one at that time, and customers are those of that time: who has ordered, and has not
        left (truth/value). Nobody else orders because of a message. Default: the end of the history.
    stage : text, optional
        Instead of `at`: the stage of the account on the piece's topic; empty text or None for no journey.
    recent : number
        Messages to the account in the 30 days up to it.

    Returns
    -------
    pandas.DataFrame
        p_open, p_click, p_reply, p_unsubscribe, p_order (all unconditional), cost and expected_margin (EUR: p_order
        times the
        human's margin of an order, less the cost of sending), stage.

    Raises
    ------
    KeyError
        For an unknown human, piece or channel.
    """
    truth = Path(directory) / "truth"
    columns = np.broadcast_arrays(
        *[np.atleast_1d(np.asarray(value)) for value in (human_id, content_id, channel, weekday, hour, recent)]
    )
    human_id, content_id, channel, weekday, hour, recent = columns
    people = pd.read_parquet(truth / "responsiveness.parquet").set_index("human_id")
    pieces = pd.read_parquet(truth / "content.parquet").set_index("content_id")
    who, what = _place(people.index, human_id, "human"), _place(pieces.index, content_id, "piece")
    medium = _place(pd.Index(CHANNELS), channel, "channel")
    topic = pd.Index(TOPICS).get_indexer(pieces["topic"])[what]
    moments = _moments(truth, at, len(who))
    if stage is None:
        stage_code = _stages(truth, people["account_id"].to_numpy()[who], topic, moments)
    else:
        stage_code = pd.Index(STAGES).get_indexer(np.broadcast_to(np.atleast_1d(np.asarray(stage, dtype=object)), human_id.shape))
    likes = people[[f"likes_{name}" for name in TOPICS]].to_numpy()[who, topic] * len(TOPICS)
    open_logit = people[[f"open_{name}" for name in CHANNELS]].to_numpy()[who, medium]
    model = pd.read_parquet(truth / "response_model.parquet").set_index("parameter")["value"].to_dict()
    chance = probabilities(
        open_logit,
        likes,
        people["best_weekday"].to_numpy()[who],
        people["best_hour"].to_numpy()[who],
        stage_code,
        pd.Index(STAGES).get_indexer(pieces["stage"])[what],
        pieces["appeal"].to_numpy()[what],
        weekday,
        hour,
        recent,
        medium == 3,
        model,
    )
    cost = np.array([model["cost." + name] for name in CHANNELS])[medium]
    clicks = chance.opens * chance.clicks
    orders = clicks * chance.orders * _is_customer(truth, human_id, moments)
    return pd.DataFrame(
        {
            "human_id": human_id,
            "content_id": content_id,
            "channel": channel,
            "stage": np.array([*STAGES, ""], dtype=object)[stage_code],
            "p_open": chance.opens,
            "p_click": clicks,
            "p_reply": chance.opens * chance.replies,
            "p_unsubscribe": chance.unsubscribes,
            "p_order": orders,
            "cost": cost,
            "expected_margin": orders * people["order_margin"].to_numpy()[who] - cost,
        }
    )


def _place(index: pd.Index, wanted: np.ndarray, kind: str) -> np.ndarray:
    found = index.get_indexer(wanted)
    if (found < 0).any():
        raise KeyError(f"no {kind} {wanted[found < 0][0]!r} in the made company")
    return found


def _moments(truth: Path, at, size: int) -> pd.Series:
    """Each moment asked for, in UTC; none: the end of the history."""
    if at is None:
        text = (truth.parent / "clientbook.yaml").read_text(encoding="utf-8")
        at = pd.Timestamp(re.search(r"^as_of: (\S+)", text, re.M)[1], tz="Europe/Berlin") - pd.Timedelta(seconds=1)
    every = pd.Series(np.broadcast_to(np.atleast_1d(np.asarray(at, dtype=object)), size))
    return pd.to_datetime(every, utc=True).dt.tz_localize(None)


def _is_customer(truth: Path, human_id: np.ndarray, at: pd.Series) -> np.ndarray:
    columns = ["human_id", "first_order_at", "dropped_at"]
    value = pd.read_parquet(truth / "value.parquet", columns=columns).set_index("human_id").reindex(human_id)
    first, left = (value[name].dt.tz_localize(None).to_numpy() for name in columns[1:])
    return is_customer(first, left, at.to_numpy())


def _stages(truth: Path, account: np.ndarray, topic: np.ndarray, at: pd.Series) -> np.ndarray:
    import duckdb

    wanted = pd.DataFrame(
        {
            "place": np.arange(len(account)),
            "account": account.astype(object),
            "topic": np.array(TOPICS, dtype=object)[topic],
            "at": at.to_numpy(),
        }
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("wanted", wanted)
        found = connection.execute(
            """SELECT place, stage FROM wanted JOIN read_parquet($stages) AS s
            ON s.subject_id = wanted.account AND s.topic = wanted.topic
            AND s.valid_from::TIMESTAMP <= wanted.at AND wanted.at < s.valid_to::TIMESTAMP""",
            {"stages": str(truth / "stages.parquet")},
        ).df()
    result = np.full(len(account), -1)
    result[found["place"].to_numpy()] = pd.Index(STAGES).get_indexer(found["stage"])
    return result
