"""How probable is each stage, given everything that was seen and every silence between?

A customer moves between the six stages and `away` in continuous time. In each stage they are seen at a rate of its
own and do what belongs to the stage; when nothing is seen, that tells too, and in the end that they have left. This
is a hidden Markov model in continuous time with marked arrivals (a Markovian arrival process; Neuts 1979, Asmussen,
Nerman and Olsson 1996 for the EM). The emissions begin with the book's written table of events and stages, and are
refined by EM; orders and deals are hard evidence that leads into a stage.

All that grows with the book is vectorised over the ways, which are sorted by length: a Python step is taken once for
the n-th thing that anybody did, never for a subject.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from clientbook.tables import STAGES

AWAY = len(STAGES)
SIZE = len(STAGES) + 1
# what a step can be: the first event of a visit, a later one, what tells nothing (an answer to us), hard evidence
# (of orders: the first of all, the first after a silence that had closed a journey, any other), the day asked for
VISIT, PAGE, PASSIVE, FIRST_ORDER, RETURNING_ORDER, LATER_ORDER, OPENED, WON, LOST, REFERRAL, END = range(11)
ORDERS = (FIRST_ORDER, RETURNING_ORDER, LATER_ORDER)
_MARKS = (*ORDERS, OPENED, WON, LOST, REFERRAL)
# What comes within half an hour belongs to the same visit: how many pages somebody turns says little of how often
# they come.
VISIT_DAYS = 1 / 48
# A longer way is read in pieces; who does more than this is a crawler, or forgets its beginning long before.
LONGEST = 2_000
# Days between two steps are read to about a tenth: finer changes no stage, and each length needs a matrix of its own.
_SHORTEST_DAYS, _LONGEST_DAYS, _LENGTHS = 0.02, 4_000.0, 96
# Nothing that can happen is believed impossible because it was not seen yet.
_FLOOR = 1e-6

# Where EM begins, in days and shares: anybody's guess of an ordinary book, a month in a stage, half a year of use, a
# year away.
_STAY_DAYS = (30.0, 30.0, 30.0, 30.0, 180.0, 30.0, 365.0)
_MOVES = (
    (0.0, 0.5, 0.1, 0.0, 0.0, 0.0, 0.4),
    (0.1, 0.0, 0.5, 0.0, 0.0, 0.0, 0.4),
    (0.1, 0.2, 0.0, 0.0, 0.2, 0.0, 0.5),
    (0.0, 0.0, 0.0, 0.0, 0.8, 0.1, 0.1),
    (0.0, 0.2, 0.1, 0.0, 0.0, 0.2, 0.5),
    (0.0, 0.1, 0.0, 0.0, 0.8, 0.0, 0.1),
    (0.5, 0.3, 0.1, 0.0, 0.1, 0.0, 0.0),
)
_MONTH = 1 / 30
# an ordinary customer is seen once or twice a month, who is away once in some years
_VISITS_A_DAY = (_MONTH, _MONTH, 2 * _MONTH, _MONTH, _MONTH, _MONTH, _MONTH / 30)
# How often a month hard evidence comes from each stage, and where it leads; the columns are the stages and `away`.
_MARKS_A_MONTH = {
    FIRST_ORDER: (0.02, 0.1, 1.0, 0.1, 0.1, 0.1, 0.02),
    RETURNING_ORDER: (0.02, 0.1, 1.0, 0.1, 0.1, 0.1, 0.02),
    LATER_ORDER: (0.02, 0.1, 1.0, 0.1, 0.3, 0.3, 0.02),
    OPENED: (0.01, 0.02, 0.3, 0.01, 0.02, 0.01, 0.01),
    WON: (0.01, 0.02, 0.3, 0.01, 0.02, 0.01, 0.01),
    LOST: (0.01, 0.02, 0.3, 0.01, 0.02, 0.01, 0.05),
    REFERRAL: (0.01, 0.01, 0.01, 0.02, 0.05, 0.3, 0.01),
}
_LEADS_TO = {
    FIRST_ORDER: (0, 0, 0, 1, 0, 0, 0),
    RETURNING_ORDER: (0, 0, 0, 0.5, 0.5, 0, 0),
    LATER_ORDER: (0, 0, 0, 0.1, 0.9, 0, 0),
    OPENED: (0, 0, 1, 0, 0, 0, 0),
    WON: (0, 0, 0, 0.7, 0.3, 0, 0),
    LOST: (0.02, 0.06, 0.06, 0.01, 0.04, 0.01, 0.8),
    REFERRAL: (0, 0, 0, 0, 0, 1, 0),
}
# The guess weighs a quarter of what was seen: a stage stays what the company calls by its name, and the data says how
# it looks.
SHARE_OF_GUESS = 0.25
# In a small book it weighs at least so many visits in each stage.
LEAST_STEPS = 60.0


@dataclass(frozen=True)
class Steps:
    """What was seen of each way (a subject and topic), coded, in the order of time.

    Attributes
    ----------
    first
        Where each way begins among the steps, and how many there are in all: one longer than the ways. Every way ends
        with a step of the kind `END`, at the time as of which is asked.
    days
        When each step was, in days since any beginning.
    kind
        What each step was: `VISIT`, …
    deal
        Whether a deal was open at each step.
    code
        The row in the stage table of what each step was; -1 where none speaks.
    """

    first: np.ndarray
    days: np.ndarray
    kind: np.ndarray
    deal: np.ndarray
    code: np.ndarray

    def take(self, ways: np.ndarray) -> Steps:
        """The steps of some ways."""
        rows = _ranges(self.first[ways], self.first[ways + 1])
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[ways])])
        return Steps(first, self.days[rows], self.kind[rows], self.deal[rows], self.code[rows])

    def since(self) -> np.ndarray:
        """Days since the step before on the same way; 0 for the first."""
        since = np.diff(self.days, prepend=self.days[:1])
        since[self.first[:-1]] = 0.0
        return np.maximum(since, 0.0)


@dataclass(frozen=True)
class Model:
    """With which rates do customers move, are seen, and do what?

    Attributes
    ----------
    entry
        Where ways begin, by state.
    moves
        Rates a day from state to state; the diagonal is 0.
    visits
        Visits a day in each state.
    emission
        Of the events in each state, the share of each code; the first half are a visit's first events, the second
        its later ones. Rows add up to 1 for each half.
    marks
        For each kind of hard evidence: rates a day from state to state.
    deal
        The share of each state's visits at which a deal is open; none where they have left. That no deal is open tells
        nothing: few books hold all of them.
    loglik
        Of the ways that it was fitted to, after each round of EM.
    """

    entry: np.ndarray
    moves: np.ndarray
    visits: np.ndarray
    emission: np.ndarray
    marks: dict[int, np.ndarray]
    deal: np.ndarray
    loglik: list[float] = field(default_factory=list)

    def generator(self) -> np.ndarray:
        """The rates with which states change while nothing is seen; rows add up to less than 0."""
        out = self.moves.sum(axis=1) + self.visits + sum(rates.sum(axis=1) for rates in self.marks.values())
        return self.moves - np.diag(out)

    def as_dict(self, names: list[str]) -> dict:
        """As plain numbers, to be kept with the run."""
        states = [*STAGES, "away"]
        rows = lambda table: {a: {b: round(float(v), 8) for b, v in zip(states, row, strict=True)}  # noqa: E731
                              for a, row in zip(states, table, strict=True)}  # fmt: skip
        half = self.emission.shape[1] // 2
        return {
            "model": "Markovian arrival process with hidden stages, rates a day",
            "entry": dict(zip(states, np.round(self.entry, 8).tolist(), strict=True)),
            "moves": rows(self.moves),
            "visits": dict(zip(states, np.round(self.visits, 8).tolist(), strict=True)),
            "emission": {
                name: dict(zip(states, np.round(self.emission[:, i], 8).tolist(), strict=True))
                for i, name in enumerate(names[:half])
            },
            "log_likelihood": [round(value, 3) for value in self.loglik],
        }


def start(told: np.ndarray, counts: np.ndarray) -> Model:
    """The model before anything was learned: the written table, and a guess of how long stages last.

    Parameters
    ----------
    told
        For each code the share of each of the six stages; rows of 0 where the name says nothing.
    counts
        How many events there are of each code.
    """
    says = told.sum(axis=1) > 0
    share = np.where(says[:, None], told, 1 / len(STAGES))
    # no table is so sure: a tenth of every event is somebody who only looks around
    share = 0.9 * share + 0.1 / len(STAGES)
    weight = share * np.maximum(counts, 1.0)[:, None]
    # who is away is seen by chance
    table = np.concatenate([weight, weight.sum(axis=1, keepdims=True)], axis=1).T
    table = table / table.sum(axis=1, keepdims=True)
    stay = np.array(_STAY_DAYS)
    marks = {kind: np.outer(np.array(_MARKS_A_MONTH[kind]) * _MONTH, np.array(_LEADS_TO[kind], dtype=float)) for kind in _MARKS}
    moves = np.array(_MOVES) / np.array(_MOVES).sum(axis=1, keepdims=True) / stay[:, None]
    return Model(
        entry=np.array([0.35, 0.2, 0.1, 0.1, 0.2, 0.04, 0.01]), moves=moves, visits=np.array(_VISITS_A_DAY),
        emission=np.concatenate([table, table], axis=1), marks=marks,
        # while a deal is open nobody has left
        deal=np.array([0.005, 0.03, 0.6, 0.01, 0.01, 0.01, 0.0]),
    )  # fmt: skip


def fit(model: Model, steps: Steps, rounds: int = 15, tolerance: float = 1e-5, prior: Model | None = None) -> Model:
    """Which rates and emissions make what was seen most probable, staying near the written table?

    Parameters
    ----------
    model
        Where EM begins.
    steps
        What was seen.
    rounds
        Of EM, at most.
    tolerance
        It ends when a round raises the log-likelihood by less than this share.
    prior
        As from :func:`start`; what is rarely seen stays near it. None takes the model that EM begins with.
    """
    prior, batch = prior or model, _Batch(steps)
    model = replace(model, loglik=[])
    for _ in range(rounds):
        model, loglik = _round(model, prior, batch)
        history = [*model.loglik, loglik]
        model = replace(model, loglik=history)
        if len(history) > 1 and abs(history[-1] - history[-2]) < tolerance * abs(history[-2]):
            break
    return model


def filtered(model: Model, steps: Steps) -> np.ndarray:
    """How probable was each state at each step, from what had been seen up to it?

    Returns
    -------
    numpy.ndarray
        Steps by states; rows add up to 1.
    """
    batch = _Batch(steps)
    return batch.back(_forward(model, batch)[0])


def smoothed(model: Model, steps: Steps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How probable was each state at each step, from what was seen before it and after?

    Returns
    -------
    filtered, smoothed, into : numpy.ndarray
        Steps by states; rows add up to 1. `into`: how well each state just before the step explains it and all after.
    """
    batch = _Batch(steps)
    alpha, _, weights = _forward(model, batch)
    beta, into = _backward(model, batch, weights)
    both = alpha * beta
    both /= np.maximum(both.sum(axis=1, keepdims=True), 1e-300)
    return batch.back(alpha), batch.back(both), batch.back(into)


def after_silence(model: Model, state: np.ndarray, days: float) -> np.ndarray:
    """How probable is each state after so many days in which nothing was seen?

    Parameters
    ----------
    model
        The rates.
    state
        Probabilities before, any number of rows.
    days
        Of silence.
    """
    from scipy.linalg import expm

    later = state @ expm(model.generator() * days)
    return later / np.maximum(later.sum(axis=1, keepdims=True), 1e-300)


def between(model: Model, before: np.ndarray, into: np.ndarray, days: np.ndarray, share: float) -> np.ndarray:
    """How probable was each state within a silence, from what came before it and after?

    Parameters
    ----------
    model
        The rates.
    before
        Filtered, at its beginning.
    into
        As from :func:`smoothed`, of the step at its end.
    days
        How long each lasted.
    share
        Of the silence that has gone by.
    """
    through = _through(model.generator())
    gone = np.matmul(before[:, None, :], through[_length_of(share * days)])[:, 0]
    still = np.matmul(through[_length_of((1 - share) * days)], into[:, :, None])[:, :, 0]
    both = gone * still
    return both / np.maximum(both.sum(axis=1, keepdims=True), 1e-300)


class _Batch:
    """The steps in the order in which they are worked on: everybody's first, everybody's second, …"""

    def __init__(self, steps: Steps):
        self.steps = steps
        length = np.diff(steps.first)
        order = np.argsort(-length, kind="stable")
        length = length[order]
        longest = int(length[0]) if len(length) else 0
        # how many ways have an n-th step
        self.active = np.searchsorted(-length, -np.arange(longest), side="left")
        self.offset = np.concatenate([[0], np.cumsum(self.active)])
        step = np.repeat(np.arange(longest), self.active)
        way = _ranges(np.zeros(longest, dtype=np.int64), self.active)
        self.row = steps.first[:-1][order][way] + step
        self.length = len(self.row)
        self.kind = steps.kind[self.row]
        self.since = _length_of(steps.since()[self.row])
        self.deal, self.code = steps.deal[self.row], steps.code[self.row]
        # while a deal is open silence does not tell that they left: until they come again they are where they were
        self.since[self.deal & ((self.kind == PASSIVE) | (self.kind == END))] = 0

    def waited(self) -> np.ndarray:
        """Which steps came after a wait: a way's first step is where it begins, and tells nothing of how often they come."""
        out = np.ones(self.length, bool)
        out[: self.active[0] if len(self.active) else 0] = False
        return out

    def back(self, table: np.ndarray) -> np.ndarray:
        """Rows in the order of the steps again."""
        out = np.empty_like(table)
        out[self.row] = table
        return out


def _length_of(days: np.ndarray) -> np.ndarray:
    ratio = np.log(_LONGEST_DAYS / _SHORTEST_DAYS) / (_LENGTHS - 2)
    with np.errstate(divide="ignore"):
        place = 1 + np.floor(np.log(np.maximum(days, 1e-12) / _SHORTEST_DAYS) / ratio)
    return np.where(days < _SHORTEST_DAYS, 0, np.clip(place, 1, _LENGTHS - 1)).astype(np.int16)


def _lengths() -> np.ndarray:
    ratio = np.log(_LONGEST_DAYS / _SHORTEST_DAYS) / (_LENGTHS - 2)
    return np.concatenate([[0.0], _SHORTEST_DAYS * np.exp(ratio * (np.arange(1, _LENGTHS) - 0.5))])


def _through(generator: np.ndarray) -> np.ndarray:
    """From state to state over each length of silence."""
    values, left = np.linalg.eig(generator)
    grown = left * np.exp(values * _lengths()[:, None])[:, None, :]
    return np.maximum((grown @ np.linalg.inv(left)).real, 0.0)


def _stays(generator: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """How long was everybody in each state, and between which two did they move, over all silences?

    The integral over each silence of exp(Gu)' S exp(G(d - u))', in the eigenvectors' coordinates.
    """
    values, left = np.linalg.eig(generator)
    right, days = np.linalg.inv(left), _lengths()
    grown = np.exp(values[None] * days[:, None])
    apart = values[:, None] - values[None, :]
    same = np.abs(apart) < 1e-9
    each = (grown[:, :, None] - grown[:, None, :]) / np.where(same, 1.0, apart)
    each = np.where(same, days[:, None, None] * grown[:, :, None], each)
    inner = (left.T @ pairs @ right.T) * each
    return (right.T @ inner.sum(axis=0) @ left.T).real


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All whole numbers from each start to before its end, one after the other."""
    size = ends - starts
    total = np.cumsum(size)
    every = np.arange(total[-1] if len(total) else 0)
    return every + np.repeat(starts - (total - size), size)


def _weights(model: Model, batch: _Batch) -> np.ndarray:
    """How probable is what was seen at each step, in each state? In the batch's order, up to a factor."""
    half = model.emission.shape[1] // 2
    table = np.concatenate([np.maximum(model.emission, _FLOOR).T, np.ones((1, SIZE))])
    out = table[_row_of_table(batch, half)]
    visit = batch.kind == VISIT
    out[visit & batch.waited()] *= model.visits
    out[visit & batch.deal] *= model.deal
    return out


def _row_of_table(batch: _Batch, half: int) -> np.ndarray:
    """Each step's column of the emissions; those that tell nothing point behind the last."""
    speaks = (batch.code >= 0) & (batch.kind <= PAGE)
    return np.where(speaks, batch.code + half * (batch.kind == PAGE), 2 * half)


def _forward(model: Model, batch: _Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    through = _through(model.generator())
    weights = _weights(model, batch)
    alpha = np.empty((batch.length, SIZE))
    scale = np.empty(batch.length)
    marks = _mark_rows(batch)
    for n in range(len(batch.active)):
        rows = slice(batch.offset[n], batch.offset[n + 1])
        size = batch.active[n]
        if n:
            before = alpha[batch.offset[n - 1] : batch.offset[n - 1] + size]
            now = np.matmul(before[:, None, :], through[batch.since[rows]])[:, 0]
        else:
            now = np.broadcast_to(model.entry, (size, SIZE))
        now = now * weights[rows]
        for kind, places in marks[n]:
            now[places] = now[places] @ model.marks[kind]
        whole = now.sum(axis=1)
        scale[rows] = whole
        alpha[rows] = now / np.maximum(whole, 1e-300)[:, None]
    return alpha, scale, weights


def _backward(model: Model, batch: _Batch, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What comes after each step, and what that means just before the step itself."""
    through = _through(model.generator()).transpose(0, 2, 1).copy()
    beta, into = np.ones((batch.length, SIZE)), np.empty((batch.length, SIZE))
    marks = _mark_rows(batch)
    for n in range(len(batch.active) - 1, -1, -1):
        rows = slice(batch.offset[n], batch.offset[n + 1])
        now = beta[rows].copy()
        for kind, places in marks[n]:
            now[places] = now[places] @ model.marks[kind].T
        now *= weights[rows]
        now /= np.maximum(now.sum(axis=1, keepdims=True), 1e-300)
        into[rows] = now
        if n:
            before = slice(batch.offset[n - 1], batch.offset[n - 1] + batch.active[n])
            beta[before] = np.matmul(now[:, None, :], through[batch.since[rows]])[:, 0]
    return beta, into


def _mark_rows(batch: _Batch) -> list[list[tuple[int, np.ndarray]]]:
    """For each n, which of the n-th steps are hard evidence, by kind."""
    where = np.flatnonzero((batch.kind >= FIRST_ORDER) & (batch.kind < END))
    n = np.searchsorted(batch.offset, where, side="right") - 1
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(len(batch.active))]
    for kind in _MARKS:
        mine = batch.kind[where] == kind
        places, turns = where[mine], n[mine]
        if len(places):
            cuts = np.flatnonzero(np.diff(turns)) + 1
            for some, turn in zip(np.split(places, cuts), turns[np.concatenate([[0], cuts])], strict=True):
                found[turn].append((kind, some - batch.offset[turn]))
    return found


def _round(model: Model, prior: Model, batch: _Batch) -> tuple[Model, float]:
    """One round of EM."""
    alpha, scale, weights = _forward(model, batch)
    beta, into = _backward(model, batch, weights)
    n_first = batch.active[0] if len(batch.active) else 0
    later = np.arange(n_first, batch.length)
    # the row of the step before: a way keeps its place among the active
    turn = np.searchsorted(batch.offset, later, side="right") - 1
    before = batch.offset[turn - 1] + (later - batch.offset[turn])
    generator = model.generator()
    span = batch.since[later]
    reach = np.matmul(alpha[before][:, None, :], _through(generator)[span])[:, 0]
    whole = (reach * into[later]).sum(axis=1)
    right = into[later] / np.maximum(whole, 1e-300)[:, None]
    by = np.argsort(span, kind="stable")
    cuts = np.searchsorted(span[by], np.arange(_LENGTHS + 1))
    pairs = np.zeros((_LENGTHS, SIZE, SIZE))
    for k in range(_LENGTHS):
        some = by[cuts[k] : cuts[k + 1]]
        pairs[k] = alpha[before[some]].T @ right[some]
    stays = np.maximum(_stays(generator, pairs), 0.0)
    # who was where just before and at each step
    prob_before = np.empty((batch.length, SIZE))
    prob_before[later] = reach * right
    first = np.broadcast_to(model.entry, (n_first, SIZE)) * into[:n_first]
    prob_before[:n_first] = first / np.maximum(first.sum(axis=1, keepdims=True), 1e-300)
    time = np.maximum(np.diag(stays), 1e-9)
    # in days: as long as the guess would take for as many visits
    prior_time = SHARE_OF_GUESS * time + LEAST_STEPS / prior.visits
    jumps = model.moves * stays
    moves = (jumps + prior.moves * prior_time[:, None]) / (time + prior_time)[:, None]
    np.fill_diagonal(moves, 0.0)
    seen = batch.waited()
    visits = prob_before[(batch.kind == VISIT) & seen].sum(axis=0)
    visits = (visits + prior.visits * prior_time) / (time + prior_time)
    marks = {}
    for kind in _MARKS:
        rows = np.flatnonzero(batch.kind == kind)
        # from state to state at the mark itself
        start_of = np.empty((len(rows), SIZE))
        waited = seen[rows]
        if len(rows):
            place = np.searchsorted(later, rows[waited])
            start_of[waited] = reach[place] * weights[rows[waited]]
            start_of[~waited] = model.entry * weights[rows[~waited]]
            after = start_of[:, :, None] * model.marks[kind][None] * beta[rows][:, None, :]
            after /= np.maximum(after.sum(axis=(1, 2), keepdims=True), 1e-300)
            told = after.sum(axis=0)
        else:
            told = np.zeros((SIZE, SIZE))
        marks[kind] = (told + prior.marks[kind] * prior_time[:, None]) / (time + prior_time)[:, None]
    emission, deal = _emissions(prior, batch, prob_before)
    entry = first / np.maximum(first.sum(axis=1, keepdims=True), 1e-300)
    entry = entry.sum(axis=0) + (LEAST_STEPS + SHARE_OF_GUESS * n_first) * prior.entry
    fresh = Model(entry / entry.sum(), moves, visits, emission, marks, deal, model.loglik)
    return fresh, float(np.log(np.maximum(scale, 1e-300)).sum())


def _emissions(prior: Model, batch: _Batch, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = prior.emission.shape[1] // 2
    column = _row_of_table(batch, half)
    counts = np.stack([np.bincount(column, weights=prob[:, state], minlength=2 * half + 1) for state in range(SIZE)])
    counts = counts[:, :-1]
    for part in (slice(0, half), slice(half, 2 * half)):
        counts[:, part] += _guess(counts[:, part].sum(axis=1))[:, None] * prior.emission[:, part]
        counts[:, part] /= counts[:, part].sum(axis=1, keepdims=True)
    visit = batch.kind == VISIT
    at, open_at = prob[visit].sum(axis=0), prob[visit & batch.deal].sum(axis=0)
    return counts, (open_at + _guess(at) * prior.deal) / (at + _guess(at))


def _guess(seen: np.ndarray) -> np.ndarray:
    """How many observations the guess counts for, beside so many that were seen."""
    return LEAST_STEPS + SHARE_OF_GUESS * seen
