"""In which stage was each subject, how sure is that, and when had they left?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clientbook import clocks, workers
from clientbook.engine import Engine
from clientbook.engine.shared import ROW_GROUP_ROWS
from clientbook.journeys import model as hidden
from clientbook.journeys.declared import STAGE_INTERVALS
from clientbook.journeys.model import AWAY, Model, Steps
from clientbook.journeys.stages import Ways, stage_of
from clientbook.tables import STAGES

FILTERED, SMOOTHED = "filtered", "smoothed"
# In a silence the stage is looked at after so many days: often at first, when much may change; and as of the run.
LOOKS = (7, 14, 30, 45, 60, 90, 120, 180, 270, 365, 540, 730)
# With hindsight a silence is looked at in its quarters, if it is longer than this.
_LONG_DAYS = 14.0
# So many ways are enough to fit a few hundred numbers; fitting more of them changes no digit that is shown.
FIT_WAYS = 8_000
# The way there is gone with fewer, which is as good for all rounds but the last ones.
_FIRST_WAYS, _LAST_ROUNDS = 2_000, 5
# Ways are worked on in lots of about so many steps, which bounds the memory.
LOT_STEPS = 500_000
_DAY = 86_400_000_000
_SPANS = pa.schema(
    {
        "lane": pa.int64(), "method": pa.string(), "number": pa.int64(), "level": pa.int64(),
        "since": pa.timestamp("us"), "until": pa.timestamp("us"), "probability": pa.float64(),
        "open_probability": pa.float64(), "probability_now": pa.float64(),
    }
)  # fmt: skip
_NOW = pa.schema({"lane": pa.int64(), "level": pa.int64(), "probability": pa.float64(), "open_probability": pa.float64()})


@dataclass(frozen=True)
class Reading:
    """What was read of the ways.

    Attributes
    ----------
    model
        As fitted.
    names
        The events that its emissions are of.
    spans
        A row for each time in a stage, in numbers: `lane`, `method`, `number`, `level`, `since`, `until`,
        `probability`, `open_probability`, `probability_now` (of that stage at the end, where it lasts).
    now
        A row a lane, as of the run: `lane`, `level` (the most probable of the six), `probability` (of it, if they are
        still on the way), `open_probability`.
    steps
        As they were seen, with the most probable stage of each, as it was known then, in place of the `level` that the
        last event told (none where they were away), and with `stage_probability`.
    """

    model: Model
    names: list[str]
    spans: ir.Table
    now: ir.Table
    steps: ir.Table


@dataclass(frozen=True)
class Part:
    """The steps of some ways as columns of numbers, by lane and place."""

    lane: np.ndarray
    when: np.ndarray
    code: np.ndarray
    mark: np.ndarray
    deals: np.ndarray
    told_level: np.ndarray
    bought: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What was seen on the ways; it stays where it is staged, and is read in lots that memory has room for.

    Attributes
    ----------
    steps
        By lane and place, as from :func:`clientbook.journeys.follow`.
    lanes
        Those that have any, in order.
    size
        How many steps each has.
    """

    steps: ir.Table
    lanes: np.ndarray
    size: np.ndarray

    def of(self, lanes: np.ndarray) -> Seen:
        """What was seen on some of the ways.

        Parameters
        ----------
        lanes
            Which, in any order.
        """
        mine = np.isin(self.lanes, lanes)
        return Seen(self.steps.semi_join(ibis.memtable({"lane": self.lanes[mine]}), "lane"), self.lanes[mine], self.size[mine])

    def lots(self) -> Iterator[pa.Table]:
        """The steps of ways in lots of about as many steps, whole ways each; by lane and place."""
        lot = np.cumsum(self.size) // LOT_STEPS
        for lanes in np.split(self.lanes, np.flatnonzero(np.diff(lot)) + 1):
            if len(lanes):
                rows = self.steps.filter(self.steps["lane"].between(int(lanes[0]), int(lanes[-1])))
                yield rows.order_by("lane", "place").to_pyarrow()

    def part(self) -> Part:
        """All of it in memory: of ways so few that there is room."""
        return part_of(self.steps.order_by("lane", "place").to_pyarrow())


def seen_of(ways: Ways) -> Seen:
    """What was seen, and how much of it on each way?

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow`.
    """
    each = ways.steps.group_by("lane").agg(size=ways.steps.count()).order_by("lane").to_pyarrow()
    return Seen(ways.steps, each["lane"].to_numpy(), each["size"].to_numpy())


def part_of(rows: pa.Table) -> Part:
    """Steps as columns of numbers.

    Parameters
    ----------
    rows
        Of the steps of :func:`clientbook.journeys.follow`, by lane and place.
    """
    kinds = {"lane": "int64", "code": "int32", "mark": "int8", "deals": "int32", "told_level": "int8", "bought": "bool"}
    told = rows.set_column(rows.column_names.index("told_level"), "told_level", pc.fill_null(rows["told_level"], -1))
    columns = {name: told[name].to_numpy().astype(kind) for name, kind in kinds.items()}
    return Part(when=rows["occurred_at"].to_numpy().astype("datetime64[us]").astype(np.int64), **columns)


def read_stages(seen: Seen, told: pd.DataFrame, as_of: dt.date, engine: Engine, *, zone: str, seed: int = 1) -> Reading:
    """Where was everybody at every time, and where are they now?

    Parameters
    ----------
    seen
        As from :func:`seen_of`.
    told
        The written table, as from :func:`clientbook.journeys.stage_table_of`: there the emissions begin.
    as_of
        The day of the run.
    engine
        Where what is read is staged.
    zone
        The book's.
    seed
        For the choice of the ways that the model is fitted to.

    Returns
    -------
    Reading
    """
    now = microseconds(as_of, zone)
    model = _fitted(told, seen, now, seed)
    schema = seen.steps.schema().to_pyarrow()
    kinds = {"spans": _SPANS, "now": _NOW, "steps": schema.append(pa.field("stage_probability", pa.float64()))}
    files = {name: engine.scratch_file(".parquet") for name in kinds}
    with ExitStack() as opened:
        writers = {name: opened.enter_context(pq.ParquetWriter(files[name], kinds[name])) for name in kinds}
        for read in workers.in_turn(lambda lot: _read(model, lot, now), seen.lots()):
            for name, rows in zip(kinds, read, strict=True):
                writers[name].write_table(rows.select(kinds[name].names).cast(kinds[name]), ROW_GROUP_ROWS)
    tables = {name: engine.read_parquet(path) for name, path in files.items()}
    return Reading(model, told["event_name"].tolist(), **tables)


def _read(model: Model, rows: pa.Table, end: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The times in a stage, where each way is now, and the steps with their stages, of the ways of one lot."""
    steps, lanes, is_end = _coded(part_of(rows), end)
    known, both, into = hidden.smoothed(model, steps)
    of = np.repeat(lanes, np.diff(steps.first))
    spans = [
        _spans_table(*_filtered_spans(model, steps, of, known)),
        _spans_table(*_smoothed_spans(model, steps, of, known, both, into)),
    ]
    level, probability = most_probable(known)
    left = known[:, AWAY]
    now = pa.table(
        {"lane": of[is_end], "level": level[is_end], "probability": np.round(probability[is_end], 6),
         "open_probability": np.round(1 - left[is_end], 6)}
    )  # fmt: skip
    here = ~is_end
    # who is away is in no stage
    rows = rows.set_column(rows.column_names.index("level"), "level", pa.array(level[here], mask=left[here] > 0.5))
    return pa.concat_tables(spans), now, rows.append_column("stage_probability", pa.array(np.round(probability[here], 6)))


@dataclass(frozen=True)
class Stood:
    """How did each way stand at the beginning of a day, and what came after?

    Attributes
    ----------
    lane
        Which ways: those of which anything had been seen.
    state
        Ways by states: how probable each was, from what had been seen before.
    last
        The stage that the last event to tell one told, as its place; -1 for none.
    quiet
        Days since anything was seen.
    ordered
        Whether there had been an order.
    bought
        Whether an order or a won deal came within the days after.
    """

    lane: np.ndarray
    state: np.ndarray
    last: np.ndarray
    quiet: np.ndarray
    ordered: np.ndarray
    bought: np.ndarray


def stood(seen: Part, model: Model, day: dt.date, *, zone: str, window_days: int = 1) -> Stood:
    """How did the ways stand when a day began, from what had been seen before?

    Parameters
    ----------
    seen
        As from :func:`part_of`.
    model
        As fitted.
    day
        The day.
    zone
        The book's.
    window_days
        How soon an order must come to count as bought.
    """
    then = microseconds(day, zone)
    known = _some(seen, seen.when < then)
    steps, _, is_end = _coded(known, then)
    state = hidden.filtered(model, steps)[is_end] if len(known.lane) else np.empty((0, AWAY + 1))
    own = np.unique(known.lane)
    last, quiet = np.full(len(own), -1), np.zeros(len(own))
    # of what is written several times to one place, the last stays
    quiet[np.searchsorted(own, known.lane)] = (then - known.when) / _DAY
    speaks = known.told_level >= 0
    last[np.searchsorted(own, known.lane[speaks])] = known.told_level[speaks]
    ordered, bought = np.zeros(len(own), bool), np.zeros(len(own), bool)
    ordered[np.searchsorted(own, known.lane[np.isin(known.mark, hidden.ORDERS)])] = True
    soon = seen.lane[(seen.when >= then) & (seen.when < then + window_days * _DAY) & seen.bought]
    bought[np.searchsorted(own, soon[np.isin(soon, own)])] = True
    return Stood(own, state, last, quiet, ordered, bought)


def recent(seen: Part, day: dt.date, *, zone: str, days: int) -> Part:
    """The ways of which anything was seen in the days before one; all their steps.

    Parameters
    ----------
    seen
        As from :func:`part_of`.
    day
        The day.
    zone
        The book's.
    days
        So many before it.
    """
    then = microseconds(day, zone)
    lately = (seen.when < then) & (seen.when >= then - days * _DAY)
    return _some(seen, np.isin(seen.lane, seen.lane[lately]))


def fitted_before(seen: Part, told: pd.DataFrame, day: dt.date, *, zone: str, seed: int = 1) -> Model:
    """The model as it would have been fitted when a day began.

    Parameters
    ----------
    seen
        As from :func:`part_of`.
    told
        The written table.
    day
        The day.
    zone
        The book's.
    seed
        For the choice of the ways that the model is fitted to.
    """
    then = microseconds(day, zone)
    steps, lanes, _ = _coded(_some(seen, seen.when < then), then)
    return _learned(told, len(lanes), steps.take, seed)


def _some(seen: Part, rows: np.ndarray) -> Part:
    return Part(**{name: column[rows] for name, column in vars(seen).items()})


def stage_intervals(reading: Reading, ways: Ways, subject_type: str) -> ir.Table:
    """From when to when was each subject in which stage, as known then and with hindsight?

    Parameters
    ----------
    reading
        As from :func:`read_stages`.
    ways
        As from :func:`clientbook.journeys.follow`.
    subject_type
        `account` or `customer`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `stage_intervals`. A journey ends where it becomes more probable than not that the subject has
        left; journeys are numbered within each method, as hindsight may join two, or part one.
    """
    rows = reading.spans.inner_join(ways.lanes, "lane")
    told = rows.mutate(
        subject_type=ibis.literal(subject_type),
        journey_id=rows["subject_id"].concat("|", rows["topic"].fill_null(""), "|", rows["number"].cast("string")),
        stage=stage_of(rows["level"]),
        valid_from=rows["since"],
        valid_to=rows["until"],
    )
    return told.order_by("method", "lane", "number", "valid_from").select(*STAGE_INTERVALS.names)


def restaged(ways: Ways, reading: Reading, engine: Engine) -> Ways:
    """The ways with the stages that were read in place of those that the last event told.

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.follow`.
    reading
        As from :func:`read_stages`.
    engine
        Where the steps are staged.
    """
    return Ways(ways.lanes, reading.steps, engine)


def emission_change(model: Model, told: pd.DataFrame) -> pd.DataFrame:
    """What did the data teach about the events: which stage does each tell now?

    Parameters
    ----------
    model
        As fitted.
    told
        The written table.

    Returns
    -------
    pandas.DataFrame
        `event_name`, `events`, `written` (the stage that the table says), `learned` (the stage whose visits show it
        most, all stages alike; none where it is seen in all alike), `probability` (of that, all stages alike); the most
        frequent first.
    """
    half = model.emission.shape[1] // 2
    share = model.emission[:AWAY, :half]
    share = share / np.maximum(share.sum(axis=0), 1e-300)
    best = share.argmax(axis=0)
    # an event that is seen as much in one stage as in any other tells none
    tells = share.max(axis=0) - share.min(axis=0) > 1e-6
    table = pd.DataFrame(
        {
            "event_name": told["event_name"], "kind": told["kind"], "events": told["events"],
            "written": told["stage"],
            "learned": [STAGES[i] if one else None for i, one in zip(best, tells, strict=True)],
            "probability": np.where(tells, share[best, np.arange(half)], np.nan),
        }
    )  # fmt: skip
    table = table[table["kind"] == "event"].drop(columns="kind")
    return table.sort_values(["events", "event_name"], ascending=[False, True], ignore_index=True)


def _coded(seen: Part, end: int):
    """The steps of all ways, with an `END` for each; and of each way its lane, of each step whether it is that end."""
    lane, at, mark, deals, code = seen.lane, seen.when, seen.mark, seen.deals, seen.code
    n = len(lane)
    starts = np.flatnonzero(np.diff(lane, prepend=-1)) if n else np.empty(0, np.int64)
    size = np.diff(np.append(starts, n))
    place = np.arange(n) - np.repeat(starts, size)
    # what somebody does within half an hour after the last thing is the same visit
    speaks = mark == hidden.VISIT
    last = np.where(speaks, np.arange(n), -1)
    last = np.maximum.accumulate(last) if n else last
    before = np.concatenate([[-1], last[:-1]]) if n else last
    same = (before >= 0) & (lane[np.maximum(before, 0)] == lane) if n else speaks
    page = speaks & same & (at - at[np.maximum(before, 0)] <= hidden.VISIT_DAYS * _DAY) if n else speaks
    kind = np.where(page, hidden.PAGE, mark)
    # who loses one of several deals has the others still
    kind = np.where((mark == hidden.LOST) & (deals > 0), hidden.PASSIVE, kind)
    # a way too long is read in pieces; only the last of them is asked where they are now
    begins = place % hidden.LONGEST == 0
    own = np.repeat(np.arange(len(starts)), size)
    row = np.arange(n) + own
    total = n + len(starts)
    days, kinds = np.full(total, end / _DAY), np.full(total, hidden.END, np.int8)
    is_deal, codes, is_end = np.zeros(total, bool), np.full(total, -1, np.int32), np.ones(total, bool)
    days[row], kinds[row], is_deal[row], is_end[row] = at / _DAY, kind, deals > 0, False
    # what is open after the last step is so at the end
    ends = np.flatnonzero(is_end)
    is_deal[ends] = is_deal[ends - 1]
    codes[row] = np.where(kind <= hidden.PAGE, code, -1)
    first = np.append(row[begins], total) if n else np.zeros(1, np.int64)
    return Steps(first, days, kinds, is_deal, codes), lane[begins], is_end


def microseconds(day: dt.date, zone: str) -> int:
    """When does a day begin in a zone, as the timeline counts time?

    Parameters
    ----------
    day
        The day.
    zone
        The book's.
    """
    return (clocks.day_begins(day, zone) - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)


def _fitted(told: pd.DataFrame, seen: Seen, end: int, seed: int) -> Model:
    """The model, fitted to ways drawn from all; these alone are read."""
    pieces = -(-seen.size // hidden.LONGEST)
    of = np.repeat(seen.lanes, pieces)

    def taken(chosen: np.ndarray) -> Steps:
        mine = seen.of(of[chosen])
        steps, _, _ = _coded(mine.part(), end)
        return steps.take(np.searchsorted(np.flatnonzero(np.isin(of, mine.lanes)), chosen))

    return _learned(told, len(of), taken, seed)


def _learned(told: pd.DataFrame, ways: int, taken: Callable[[np.ndarray], Steps], seed: int) -> Model:
    guess = hidden.start(told[list(STAGES)].to_numpy(dtype=float), told["events"].to_numpy(dtype=float))
    if not ways:
        return guess
    order = np.random.default_rng(seed).permutation(ways)
    model = hidden.fit(guess, taken(np.sort(order[:_FIRST_WAYS])))
    if ways <= _FIRST_WAYS:
        return model
    return hidden.fit(model, taken(np.sort(order[:FIT_WAYS])), rounds=_LAST_ROUNDS, prior=guess)


def most_probable(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable of the six stages, and how probable it is for somebody who is on the way.

    Parameters
    ----------
    state
        Any number of rows, by states.
    """
    on = state[:, :AWAY]
    level = on.argmax(axis=1)
    return level, on[np.arange(len(on)), level] / np.maximum(on.sum(axis=1), 1e-300)


def _spoken(state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    level, probability = most_probable(state)
    return np.where(state[:, AWAY] > 0.5, AWAY, level), probability, 1 - state[:, AWAY]


def _filtered_spans(model: Model, steps: Steps, of: np.ndarray, known: np.ndarray) -> tuple:
    """Each change of the stage as it was known then: at what was seen, and in the silences."""
    alone = np.flatnonzero(steps.kind != hidden.END)
    follows = np.append(of[1:] == of[:-1], False)
    after = np.append(steps.days[1:], np.inf)
    wait = np.where(follows, after - steps.days, np.inf)
    # of several at one instant the last one speaks
    alone = alone[wait[alone] > 0]
    level, probability, is_open = _spoken(known)
    rows, at = [alone], [np.round(steps.days[alone] * _DAY).astype(np.int64)]
    found = [(level[alone], probability[alone], is_open[alone])]
    # while a deal is open no silence tells that the stage is another
    rest = alone[~steps.deal[alone]]
    state, held = known[rest], level[rest]
    for days, step in zip(LOOKS, np.diff(LOOKS, prepend=0), strict=True):
        still = wait[rest] > days
        rest, state, held = rest[still], hidden.after_silence(model, state[still], float(step)), held[still]
        if not len(rest):
            break
        now, likely, openly = _spoken(state)
        new = now != held
        rows.append(rest[new])
        at.append(np.round((steps.days[rest[new]] + days) * _DAY).astype(np.int64))
        found.append((now[new], likely[new], openly[new]))
        held = now
    return FILTERED, *_spans(steps, of, known, rows, at, found)


def _smoothed_spans(model: Model, steps: Steps, of: np.ndarray, known, both, into) -> tuple:
    """Each change of the stage with hindsight; in long silences it is looked for in the quarters."""
    follows = np.append(of[1:] == of[:-1], False)
    wait = np.where(follows, np.append(steps.days[1:], 0.0) - steps.days, 0.0)
    alone = np.flatnonzero((steps.kind != hidden.END) & follows)
    alone = alone[(wait[alone] > 0)]
    rows, at = [alone], [np.round(steps.days[alone] * _DAY).astype(np.int64)]
    found = [_spoken(both[alone])]
    silent = alone[(wait[alone] > _LONG_DAYS) & ~steps.deal[alone]]
    for share in (0.25, 0.5, 0.75):
        state = hidden.between(model, known[silent], into[silent + 1], wait[silent], share)
        rows.append(silent)
        at.append(np.round((steps.days[silent] + share * wait[silent]) * _DAY).astype(np.int64))
        found.append(_spoken(state))
    return SMOOTHED, *_spans(steps, of, known, rows, at, found)


def _spans(steps: Steps, of: np.ndarray, known: np.ndarray, rows: list, at: list, found: list) -> tuple:
    """Times in a stage, from what was found on each row of the steps at each time; and, last, as of the run."""
    ends = np.flatnonzero(steps.kind == hidden.END)
    row = np.concatenate([*rows, ends])
    # the last instant that the run sees: what ends with it has ended as of the run
    at = np.concatenate([*at, np.round(steps.days[ends] * _DAY).astype(np.int64) - 1])
    level, probability, is_open = (np.concatenate(column) for column in zip(*found, _spoken(known[ends]), strict=True))
    by = np.lexsort((at, row))
    row, at, level, probability, is_open = (column[by] for column in (row, at, level, probability, is_open))
    lane, before = of[row], np.arange(len(row)) - 1
    goes_on = np.append(False, lane[1:] == lane[:-1]) & (at > at[before])
    # the silence up to the run may end a journey, and begins none
    speaks = goes_on & ((level == AWAY) | (level[before] != AWAY))
    stays = (steps.kind[row] != hidden.END) | speaks
    columns = (column[stays] for column in (lane, at, level, probability, is_open))
    return *_joined(*columns), of[ends], known[ends]


def _joined(lane, at, level, probability, is_open):
    """Neighbours of one stage are one; who is away is in none."""
    fresh = np.append(True, (lane[1:] != lane[:-1]) | (level[1:] != level[:-1])) if len(lane) else np.empty(0, bool)
    lane, at, level, probability, is_open = (column[fresh] for column in (lane, at, level, probability, is_open))
    follows = np.append(lane[1:] == lane[:-1], False) if len(lane) else fresh
    until = np.where(follows, np.append(at[1:], 0), -1) if len(lane) else at
    on = level != AWAY
    new_lane = np.append(True, lane[1:] != lane[:-1]) if len(lane) else fresh
    opens = on & (new_lane | np.append(True, ~on[:-1])) if len(lane) else on
    number = np.cumsum(opens)
    first = np.maximum.accumulate(np.where(new_lane, np.arange(len(lane)), 0)) if len(lane) else at
    number = number - (number[first] - opens[first]) if len(lane) else at
    return tuple(column[on] for column in (lane, number, level, at, until, probability, is_open))


def _spans_table(method, lane, number, level, since, until, probability, is_open, ends, known) -> pa.Table:
    lasts = until < 0
    place = np.minimum(np.searchsorted(ends, lane), max(len(ends) - 1, 0))
    on = known[:, :AWAY] / np.maximum(known[:, :AWAY].sum(axis=1, keepdims=True), 1e-300)
    now = on[place, level] if len(ends) else np.empty(0)
    return pa.table(
        {
            "lane": lane, "method": pa.repeat(method, len(lane)), "number": number, "level": level,
            "since": since.astype("datetime64[us]"), "until": pa.array(until.astype("datetime64[us]"), mask=lasts),
            "probability": np.round(probability, 6), "open_probability": np.round(is_open, 6),
            "probability_now": pa.array(np.round(now, 6), mask=~lasts),
        }
    )  # fmt: skip


def as_model(reading: Reading) -> Mapping:
    """The model as plain numbers, to be kept with the run."""
    return reading.model.as_dict(reading.names)
