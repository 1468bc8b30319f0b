"""Where is an answer worth most, what do the answers teach, and how right are the customers by them?

A question is asked about two groups of records: two customers that may be one, or the two parts of a customer that hold
together least. An answer that goes against what the clustering says changes all pairs between the two groups, so that its
expected gain is their number times the chance that it does. The chance comes from the pair probabilities, from what is known of
the systems (two records of one system are seldom one human), and from the other customers that one of the groups may belong to.

Every fourth question is a draw from all pairs, by strata of what the clustering says and how probable the pair is: only from
these can be said without bias how right the customers are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.matching.clusters import CELLS, Apart, answered, average_linkage, best_paths
from clientbook.matching.labels import Settled, settle_numbers

# Edges of the strata, in how probable a pair is one human by all that hangs together with it.
EDGES = (0.0, 0.01, 0.05, 0.2, 0.35, 0.5, 0.7, 0.9, 0.97, 0.995)
# One in so many questions is a draw.
DRAWN = 4
# An answer that is expected to change less is not asked for.
LEAST_GAIN = 0.002
# What was taught is followed from this chance on; early on, with few answers, half would be too bold.
FOLLOWED = 0.6
# What fewer answers of a kind taught is not followed: it would be the belief that they were to correct.
LEAST_TAUGHT = 20
# A customer of more records is not asked about part by part.
MOST_RECORDS = 40
# The odds in a stratum may be off from what is believed by so much, as a standard deviation of their logarithm.
_OFF = 1.0
_DRAWS = 4_000
# So often what was taught is asked again.
_ROUNDS = 2
ESTIMATED = ("what", "estimated", "low", "high", "answers")
ASKED = ("l", "r", "asked_for", "stratum", "changes", "chance", "expected_gain")
_COVER = 0.95
_CLIP = 1e-6
# How far answers may move the chances, as standard deviations of a normal prior: the intercept, the slope on the odds, and that
# on how many pairs change.
_SPREAD = (1.0, 0.25, 0.25)


@dataclass(frozen=True)
class Seen:
    """What is known of records and pairs when questions are chosen.

    Attributes
    ----------
    left, right, p
        The pairs that were compared, by record number, and how probable it is that each is one human.
    customer
        Of each record a number of its customer.
    known
        Of each record whether more than its id is known; only those are asked about, and counted.
    source
        Of each record a number of its system.
    """

    left: np.ndarray
    right: np.ndarray
    p: np.ndarray
    customer: np.ndarray
    known: np.ndarray
    source: np.ndarray

    def sizes(self) -> np.ndarray:
        """Of each customer how many records with data."""
        return np.bincount(self.customer[self.known], minlength=int(self.customer.max(initial=0)) + 1)


def see(edges: pd.DataFrame, tied: pd.DataFrame, known: np.ndarray, numbered: ir.Table) -> Seen:
    """What is known of records and pairs?

    Parameters
    ----------
    edges
        As in :class:`clientbook.matching.pairs.Scored`.
    tied
        As from :func:`clientbook.matching.clusters.tie`.
    known
        Of each record whether more than its id is known.
    numbered
        `source` and `unique_id` of every record.
    """
    rows = numbered.select("unique_id", "source").to_pyarrow()
    source = np.zeros(len(known), "int64")
    source[rows["unique_id"].to_numpy()] = pd.factorize(rows["source"].to_pandas(), sort=True)[0]
    return Seen(
        edges["l"].to_numpy("int64"), edges["r"].to_numpy("int64"), edges["probability"].to_numpy(float),
        tied["first"].to_numpy("int64"), known, source,
    )  # fmt: skip


def ask(seen: Seen, customer: np.ndarray, settled: Settled, followed: Followed | None, most: int, seed: int) -> pd.DataFrame:
    """What is to be asked next?

    Parameters
    ----------
    seen
        What is known without the answers.
    customer
        Of each record a number of its customer.
    settled
        The answers.
    followed
        What they changed and taught; None where there are none.
    most
        How many questions.
    seed
        Of the draws.

    Returns
    -------
    pandas.DataFrame
        As from :func:`in_turn`.
    """
    if not most or not len(seen.p):
        return pd.DataFrame(columns=list(ASKED))
    now = replace(seen, customer=customer)
    apart, taught = (None, None) if followed is None else (followed.apart, followed.taught)
    rows = questions(now, apart, settled.used, taught)
    return in_turn(rows, draws(population(seen), most // DRAWN + 1, seed, settled.used), now, most)


def same_system(seen: Seen) -> tuple[float, float]:
    """How much less, or more, probable is it that two records are one human where both are of one system, and where not?

    The share of pairs that are one human is found for both kinds by expectation maximisation, with all else as the model says.

    Returns
    -------
    tuple of float
        What is added to the logarithm of the odds for pairs of one system, and for others.
    """
    n = np.bincount(seen.source[seen.known]).astype(float)
    total = n.sum()
    within = (n * (n - 1) / 2).sum()
    between = total * (total - 1) / 2 - within
    if not within or not between or not len(seen.p):
        return 0.0, 0.0
    same = seen.source[seen.left] == seen.source[seen.right]
    odds = _logit(seen.p)
    share = max(seen.p.sum(), 1.0) / (within + between)
    add = np.zeros(2)
    for _ in range(30):
        told = _logistic(odds + np.where(same, add[0], add[1]))
        last, add = add, np.log(np.maximum([told[same].sum() / within, told[~same].sum() / between], 1e-12) / share)
        if np.abs(add - last).max() < 1e-4:
            break
    return float(add[0]), float(add[1])


def questions(
    seen: Seen, apart: Apart | None = None, asked: pd.DataFrame | None = None, taught: Taught | None = None
) -> pd.DataFrame:
    """About which two groups of records would an answer change most?

    Parameters
    ----------
    seen
        What is known.
    apart
        What people said before.
    asked
        `l`, `r` of pairs that were answered; nothing is asked twice.
    taught
        What earlier answers taught; nothing where there were none.

    Returns
    -------
    pandas.DataFrame
        `l`, `r` (the pair to show, the likeliest of those between the groups), `together` (whether they are one customer now),
        `changes` (pairs that change if the answer goes against it), `chance` (that it does), `gain` (their product), `mean`,
        `most` (of the probabilities between the groups), `shared` (systems that both groups have); the largest gain first.
    """
    left, right, p = seen.left, seen.right, seen.p
    if apart is not None:
        left, right, p = apart.answered(left, right, p)
    seen = Seen(left, right, p, seen.customer, seen.known, seen.source)
    add = same_system(seen)
    told = pd.concat([_between(seen, apart, add), _within(seen, add)], ignore_index=True)
    if asked is not None and len(asked):
        told = told[~_answered_before(told, asked, seen)]
    told = told.assign(chance=(taught or UNTAUGHT).chance(told))
    told = told.assign(gain=told["changes"] * told["chance"])
    return told.sort_values(["gain", "l", "r"], ascending=[False, True, True], ignore_index=True)


def _between(seen: Seen, apart: Apart | None, add: tuple[float, float]) -> pd.DataFrame:
    """Customers that may be one."""
    one, other = seen.customer[seen.left], seen.customer[seen.right]
    at = np.flatnonzero((one != other) & seen.known[seen.left] & seen.known[seen.right] & (seen.p > 0.005))
    a, b = np.minimum(one, other)[at], np.maximum(one, other)[at]
    # the likeliest pair of two customers comes first
    order = np.lexsort((at, -seen.p[at], b, a))
    at, a, b = at[order], a[order], b[order]
    first = np.flatnonzero(np.r_[True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])][: len(a)])
    sizes = seen.sizes()
    rows = pd.DataFrame({"l": seen.left[at[first]], "r": seen.right[at[first]], "a": a[first], "b": b[first]})
    rows["changes"] = sizes[rows["a"]] * sizes[rows["b"]]
    sums = np.add.reduceat(seen.p[at], first) if len(first) else np.empty(0)
    rows["mean"] = np.minimum(sums / rows["changes"], 1.0)
    rows["most"] = seen.p[at[first]]
    rows["shared"] = _shared(seen, rows["a"].to_numpy(), rows["b"].to_numpy())
    odds = np.exp(_logit(rows["mean"].to_numpy()) + rows["shared"].to_numpy() * (add[0] - add[1]) + add[1])
    # whoever belongs to one customer does not belong to another: those that one of the two may be share what chance there is
    every = np.bincount(np.r_[rows["a"], rows["b"]], weights=np.r_[odds, odds], minlength=len(sizes))
    rows["chance"] = odds / (1 + np.maximum(every[rows["a"]], every[rows["b"]]))
    if apart is not None and apart.group is not None and len(rows):
        rows = rows[~_refused(seen, apart, rows)]
    return rows.assign(together=False).drop(columns=["a", "b"])


def _refused(seen: Seen, apart: Apart, rows: pd.DataFrame) -> np.ndarray:
    """Two customers of whom people said that they are not one."""
    known = np.flatnonzero(apart.group >= 0)
    held: dict[int, set[int]] = {}
    for group, customer in zip(apart.group[known].tolist(), seen.customer[known].tolist(), strict=True):
        held.setdefault(group, set()).add(customer)
    n = int(seen.customer.max(initial=0)) + 1
    never = [min(a, b) * n + max(a, b) for one, other in apart.parted.tolist() for a in held[one] for b in held[other]]
    return np.isin(rows["a"].to_numpy("int64") * n + rows["b"].to_numpy("int64"), np.array(never, dtype="int64"))


def _shared(seen: Seen, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many systems do both customers of a pair have?"""
    customers, place = np.unique(seen.customer[seen.known], return_inverse=True)
    has = np.zeros((len(customers), int(seen.source.max(initial=0)) + 1), dtype=bool)
    has[place.ravel(), seen.source[seen.known]] = True
    return (has[np.searchsorted(customers, a)] & has[np.searchsorted(customers, b)]).sum(axis=1)


def _within(seen: Seen, add: tuple[float, float]) -> pd.DataFrame:
    """The two parts of a customer that hold together least."""
    kinds = {"l": "int64", "r": "int64", "changes": "int64", "mean": float, "most": float, "shared": "int64"}
    found = [pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})]
    n = int(seen.source.max(initial=0)) + 1
    for members, alike in groups(seen):
        size, k = members.shape
        up_to = average_linkage(alike)
        diagonal = np.arange(k)
        up_to[:, diagonal, diagonal] = np.inf
        least = up_to.min(axis=(1, 2))
        side = up_to[:, 0, :] > least[:, None] + 1e-12
        # where all hold together alike, the first record stands against the rest
        side[side.all(axis=1)] = diagonal == 0
        across = side[:, :, None] & ~side[:, None, :]
        cells = across.sum(axis=(1, 2))
        between = np.where(across, alike, -1.0).reshape(size, -1)
        best = between.argmax(axis=1)
        one, other = np.divmod(best, k)
        g = np.arange(size)
        systems = np.eye(n, dtype=bool)[seen.source[members]]
        shared = ((side[:, :, None] & systems).any(axis=1) & (~side[:, :, None] & systems).any(axis=1)).sum(axis=1)
        l, r = members[g, one], members[g, other]
        found.append(pd.DataFrame({
            "l": np.minimum(l, r), "r": np.maximum(l, r), "changes": cells,
            "mean": np.where(across, alike, 0.0).sum(axis=(1, 2)) / cells, "most": between[g, best], "shared": shared,
        }))  # fmt: skip
    rows = pd.concat(found, ignore_index=True)
    # both have to be wrong: what the pairs say on average, and what the best of them says
    wrong = np.clip((1 - rows["mean"]) * (1 - rows["most"]), 1e-12, 1 - 1e-12)
    odds = np.log(wrong / (1 - wrong)) - rows["shared"] * (add[0] - add[1]) - add[1]
    return rows.assign(chance=np.where(rows["most"] >= 1, 0.0, _logistic(odds)), together=True)


def groups(seen: Seen) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Customers of several records with data, those of one size together.

    Yields
    ------
    tuple of numpy.ndarray
        Record numbers, a row a customer; how probable each two of them are one human, 0 where they were never compared.
    """
    records = np.flatnonzero(seen.known)
    records = records[np.argsort(seen.customer[records], kind="stable")]
    of = seen.customer[records]
    first = np.flatnonzero(np.r_[True, of[1:] != of[:-1]][: len(of)])
    size = np.diff(np.r_[first, len(of)])
    place, number = np.full(len(seen.known), -1), np.full(len(seen.known), -1)
    place[records] = np.arange(len(records)) - np.repeat(first, size)
    number[records] = np.repeat(np.arange(len(first)), size)
    inside = np.flatnonzero(
        (seen.customer[seen.left] == seen.customer[seen.right]) & seen.known[seen.left] & seen.known[seen.right]
    )
    group = number[seen.left[inside]]
    for k in range(2, min(int(size.max(initial=0)), MOST_RECORDS) + 1):
        chosen = np.flatnonzero(size == k)
        step = max(1, CELLS // (k * k))
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            at = np.full(len(first), -1)
            at[part] = np.arange(len(part))
            mine = inside[at[group] >= 0]
            g, a, b = at[number[seen.left[mine]]], place[seen.left[mine]], place[seen.right[mine]]
            alike = np.zeros((len(part), k, k))
            alike[g, a, b] = alike[g, b, a] = seen.p[mine]
            yield records[first[part][:, None] + np.arange(k)], alike


def _answered_before(rows: pd.DataFrame, asked: pd.DataFrame, seen: Seen) -> np.ndarray:
    """Questions about two groups of whom a pair was answered, or could not be."""
    n = int(seen.customer.max(initial=0)) + 1
    keys = [_question(frame["l"].to_numpy("int64"), frame["r"].to_numpy("int64"), seen, n) for frame in (rows, asked)]
    return np.isin(*keys)


@dataclass(frozen=True)
class Population:
    """All pairs of which something is known, by stratum.

    Attributes
    ----------
    l, r
        Pairs: those that were compared, and those that are one customer by others in between.
    believed
        How probable each is one human, by all that hangs together with it.
    together
        Whether the two are one customer.
    compared
        Whether the two were compared.
    stratum
        Of each pair a number, in `names`.
    names
        Such as `together 0.9`.
    """

    l: np.ndarray
    r: np.ndarray
    believed: np.ndarray
    together: np.ndarray
    compared: np.ndarray
    stratum: np.ndarray
    names: tuple[str, ...]

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each stratum how many pairs it holds, and what share of them is believed to be one human."""
        n = np.bincount(self.stratum, minlength=len(self.names))
        return n, np.bincount(self.stratum, weights=self.believed, minlength=len(self.names)) / np.maximum(n, 1)


def population(seen: Seen) -> Population:
    """Of which pairs are draws made?

    Two records of one customer are believed to be one human as the best path between them says, the product of the
    probabilities along it; two of different customers as the pairs between these customers say on average.

    Parameters
    ----------
    seen
        What is known.
    """
    both = seen.known[seen.left] & seen.known[seen.right]
    l, r, believed = seen.left[both], seen.right[both], seen.p[both].copy()
    a, b = seen.customer[l], seen.customer[r]
    together = a == b
    sizes = seen.sizes()
    code, sums = np.minimum(a, b).astype("int64") * len(sizes) + np.maximum(a, b), believed.copy()
    _, inverse = np.unique(code, return_inverse=True)
    sums = np.bincount(inverse.ravel(), weights=sums)[inverse.ravel()]
    believed[~together] = np.minimum(sums / np.maximum(sizes[a] * sizes[b], 1), 1.0)[~together]
    n = len(seen.known)
    keys = np.minimum(l, r) * n + np.maximum(l, r)
    order = np.argsort(keys, kind="stable")
    never = [np.empty((3, 0))]
    for members, alike in groups(seen):
        low, high = np.triu_indices(members.shape[1], 1)
        path = np.maximum(alike, best_paths(alike))[:, low, high].ravel()
        one, other = members[:, low].ravel(), members[:, high].ravel()
        wanted = np.minimum(one, other) * n + np.maximum(one, other)
        at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))]
        there = keys[at] == wanted
        believed[at[there]] = path[there]
        never.append(np.stack([*np.divmod(wanted[~there], n), path[~there]]))
    unseen = np.concatenate(never, axis=1)
    compared = np.arange(len(l) + unseen.shape[1]) < len(l)
    l, r = (np.concatenate([one, more.astype("int64")]) for one, more in zip((l, r), unseen[:2], strict=True))
    believed, together = np.concatenate([believed, unseen[2]]), np.concatenate([together, ~compared[~compared]])
    stratum = np.searchsorted(EDGES, believed, side="right") - 1 + together * len(EDGES)
    names = tuple(f"{what} {edge:g}" for what in ("apart", "together") for edge in EDGES)
    return Population(l, r, believed, together, compared, stratum, names)


def draws(pairs: Population, most: int, seed: int, asked: pd.DataFrame | None = None) -> pd.DataFrame:
    """Which pairs are drawn, so that the answers say how right the customers are?

    A stratum is drawn from in proportion to its size and to how unsure the model is in it (Neyman 1934), each of its pairs with
    equal chance.

    Parameters
    ----------
    pairs
        As from :func:`population`.
    most
        How many.
    seed
        Of the draws.
    asked
        `l`, `r` of pairs that were answered.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `stratum`, in the order in which they are to be asked.
    """
    n, believed = pairs.sizes()
    unsure = n * np.sqrt(np.clip(believed, 0.002, 0.998) * (1 - np.clip(believed, 0.002, 0.998)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pairs.l))
    order = order[np.argsort(pairs.stratum[order], kind="stable")]
    stratum = pairs.stratum[order]
    rank = np.arange(len(order)) - np.searchsorted(stratum, stratum)
    turn = (rank + 0.5) / unsure[stratum]
    order = order[np.lexsort((stratum, turn))]
    if asked is not None and len(asked):
        size = int(max(pairs.r.max(initial=0), asked["r"].max())) + 1
        order = order[~np.isin(pairs.l[order] * size + pairs.r[order], asked["l"].to_numpy() * size + asked["r"].to_numpy())]
    order = order[:most]
    names = np.array(pairs.names, dtype=object)[pairs.stratum[order]]
    return pd.DataFrame({"l": pairs.l[order], "r": pairs.r[order], "stratum": names})


def in_turn(asked: pd.DataFrame, drawn: pd.DataFrame, seen: Seen, most: int) -> pd.DataFrame:
    """In which order are questions asked? Three for their gain, then one that was drawn, and so on.

    No customer is asked about twice for gain before the others were: an answer may settle the second question.

    Parameters
    ----------
    asked
        As from :func:`questions`.
    drawn
        As from :func:`draws`.
    seen
        What is known.
    most
        How many.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `asked_for` (`gain` or `estimate`), `stratum`, `changes`, `chance`, `expected_gain`.
    """
    asked = asked[asked["gain"] >= LEAST_GAIN].head(20 * most)
    customers: set[int] = set()
    first = []
    for one in asked.itertuples():
        ends = {int(seen.customer[one.l]), int(seen.customer[one.r])}
        first.append(not ends & customers)
        customers |= ends
    asked = asked.assign(_later=~np.array(first, dtype=bool)).sort_values("_later", kind="stable").drop(columns="_later")
    asked = asked.assign(asked_for="gain", stratum="", turn=[i + i // (DRAWN - 1) for i in range(len(asked))])
    drawn = drawn.assign(asked_for="estimate", turn=[DRAWN * i + DRAWN - 1 for i in range(len(drawn))])
    told = pd.concat([asked, drawn], ignore_index=True).sort_values("turn", kind="stable")
    # who was drawn counts for the estimate, whatever they are asked for first
    told["stratum"] = told.groupby(["l", "r"])["stratum"].transform("max")
    told = told.drop_duplicates(["l", "r"])
    return told.rename(columns={"gain": "expected_gain"}).head(most)[list(ASKED)].reset_index(drop=True)


@dataclass(frozen=True)
class Taught:
    """What the answers taught about the chance that a question's answer goes against what the clustering says.

    Attributes
    ----------
    coefficients
        For customers that may be one, and for parts of one: intercept, slope on the logarithm of the odds, and on that of the
        number of pairs that change.
    answers
        How many answers each rests on.
    """

    coefficients: np.ndarray
    answers: tuple[int, int]

    def chance(self, rows: pd.DataFrame) -> np.ndarray:
        """The chance by what was taught, of questions as from :func:`questions`."""
        x = _features(rows)
        kind = rows["together"].to_numpy(dtype=bool).astype(int)
        return np.where(rows["chance"] <= 0, 0.0, _logistic((x * self.coefficients[kind]).sum(axis=1)))


UNTAUGHT = Taught(np.array([[0.0, 1.0, 0.0]] * 2), (0, 0))


def _features(rows: pd.DataFrame) -> np.ndarray:
    odds = _logit(rows["chance"].to_numpy(float))
    return np.stack([np.ones(len(rows)), odds, np.log(np.maximum(rows["changes"].to_numpy(float), 1.0))], axis=1)


def teach(rows: pd.DataFrame, seen: Seen, settled: Settled) -> Taught:
    """What do the answers teach?

    Of the questions that the model alone would ask, some were answered. A logistic regression of whether the answer went
    against the clustering, on the model's own chance and on how much would change, says what the chance of the others is; a
    normal prior holds it to the model as long as answers are few.

    Parameters
    ----------
    rows
        All questions, as from :func:`questions` without any answer.
    seen
        What is known without the answers.
    settled
        As from :func:`clientbook.matching.labels.settle`.
    """
    told = settled.used[settled.used["answer"].isin(["yes", "no"])]
    l, r = told["l"].to_numpy("int64"), told["r"].to_numpy("int64")
    yes = (told["answer"] == "yes").to_numpy()
    n = int(seen.customer.max(initial=0)) + 1
    key = _question(rows["l"].to_numpy("int64"), rows["r"].to_numpy("int64"), seen, n)
    found = pd.Series(np.arange(len(rows)), index=key).reindex(_question(l, r, seen, n))
    there = found.notna().to_numpy()
    answered = rows.iloc[found[there].astype(int)]
    against = yes[there] != answered["together"].to_numpy(dtype=bool)
    x, kind = _features(answered), answered["together"].to_numpy(dtype=bool)
    told = []
    for together in (False, True):
        mine = kind == together
        told.append(_fit(x[mine], against[mine].astype(float), np.array([0.0, 1.0, 0.0]), np.array(_SPREAD)))
    return Taught(np.array(told), (int((~kind).sum()), int(kind.sum())))


def _question(l: np.ndarray, r: np.ndarray, seen: Seen, n: int) -> np.ndarray:
    """A number for what a pair asks: two customers, whichever of their records they are, or two records of one."""
    a, b = seen.customer[l].astype("int64"), seen.customer[r].astype("int64")
    size = len(seen.known)
    return np.where(a == b, -1 - (np.minimum(l, r) * size + np.maximum(l, r)), np.minimum(a, b) * n + np.maximum(a, b))


def learned(rows: pd.DataFrame, taught: Taught) -> pd.DataFrame:
    """Which questions does nobody have to answer, since by what was taught the answer goes against the clustering?

    Parameters
    ----------
    rows
        As from :func:`questions`, by what was taught.
    taught
        As from :func:`teach`: where few answers of a kind stand behind it, nothing is decided by it.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `answer`, `changes`, `chance`, the surest first.
    """
    enough = np.array(taught.answers) >= LEAST_TAUGHT
    rows = rows[(rows["chance"] > FOLLOWED) & enough[rows["together"].to_numpy(dtype=bool).astype(int)]].sort_values(
        ["chance", "l", "r"], ascending=[False, True, True], ignore_index=True
    )
    told = rows[["l", "r", "changes", "chance"]].assign(answer=np.where(rows["together"], "no", "yes"))
    return told[["l", "r", "answer", "changes", "chance"]]


def _fit(x: np.ndarray, y: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The mode of a logistic regression under a normal prior, by Newton's method with halved steps."""
    at = centre.copy()

    def loss(beta):
        z = x @ beta
        return np.logaddexp(0, z).sum() - y @ z + (((beta - centre) / spread) ** 2).sum() / 2

    for _ in range(50):
        p = _logistic(x @ at)
        slope = x.T @ (p - y) + (at - centre) / spread**2
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(1 / spread**2), slope)
        size = 1.0
        while loss(at - size * step) > loss(at) + 1e-12 and size > 1e-4:
            size /= 2
        at = at - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return at


@dataclass(frozen=True)
class Followed:
    """What did the answers, and what they taught, make of the customers?

    Attributes
    ----------
    taught
        As from :func:`teach`.
    learned
        What was decided by it, as from :func:`learned`.
    apart
        What holds for records by the answers and by what they taught.
    joined, parted
        How many pairs of records with data are one customer now that were not without the answers, and the other way round.
    estimated
        As from :func:`estimate`.
    """

    taught: Taught
    learned: pd.DataFrame
    apart: Apart
    joined: int
    parted: int
    estimated: pd.DataFrame


def follow(
    seen: Seen, settled: Settled, apart: Apart | None, put_together: Callable[[Apart], np.ndarray], reached: float | None,
    seed: int,
) -> Followed:  # fmt: skip
    """Which customers are there once the answers, and what they teach, are followed?

    What the answers teach is asked for again once it was followed, as another customer may be the likeliest then. An answer
    goes before whatever was taught.

    Parameters
    ----------
    seen
        What is known without the answers.
    settled
        The answers.
    apart
        What rules out that records are one human, without the answers.
    put_together
        Makes customers: of each record a number.
    reached
        As for :func:`estimate`.
    seed
        As there.
    """
    n = len(seen.known)
    taught = teach(questions(seen), seen, settled)
    held = answered(apart, settled.group, settled.parted)
    customer = put_together(held)
    rules = learned(questions(seen).head(0), taught)
    for _ in range(_ROUNDS):
        now = replace(seen, customer=customer)
        rules = pd.concat([rules, learned(questions(now, held, settled.used, taught), taught)], ignore_index=True)
        rules = rules.drop_duplicates(["l", "r"], ignore_index=True)
        # the surest goes first, and all of it is older than any answer
        older = rules.assign(row=-np.arange(len(rules)), stratum="", labelled_at="")
        newer = settled.used.iloc[::-1].assign(row=np.arange(1, len(settled.used) + 1), labelled_at="")
        every = settle_numbers(pd.concat([older, newer], ignore_index=True), n)
        held = answered(apart, every.group, every.parted)
        customer = put_together(held)
    was, is_, both = (_implied(seen.known, *keys) for keys in ((seen.customer,), (customer,), (seen.customer, customer)))
    told = estimate(seen, customer, settled, rules, reached, seed)
    return Followed(taught, rules, held, is_ - both, was - both, told)


def estimate(
    before: Seen, customer: np.ndarray, settled: Settled, taught: pd.DataFrame, reached: float | None, seed: int
) -> pd.DataFrame:
    """How right are the customers, by what people said about the pairs that were drawn?

    In each stratum the logarithm of the odds that a pair is one human is taken to be off from what is believed by a normal
    error, and the answers about pairs drawn from it say by how much (a posterior, worked out on a grid). That says how right the
    customers were without the answers. Following them changed pairs: those that were parted are taken for wrong, and of those
    that were made one as many for right as of those that stayed one, less those that were expected to be wrong where nobody
    answered and what was taught decided.

    Parameters
    ----------
    before
        What is known without the answers, and the customers that there would be without them.
    customer
        The customers that there are.
    settled
        As from :func:`clientbook.matching.labels.settle`.
    taught
        As from :func:`learned`: what was followed of it.
    reached
        Of all pairs of one human the share that some blocking rule finds, as in :class:`clientbook.matching.pairs.Scored`.
    seed
        Of the draws from the distributions.

    Returns
    -------
    pandas.DataFrame
        `what` (`precision`, `recall`), `estimated`, `low`, `high` (95 %), `answers`; empty where no drawn pair was answered.
    """
    pairs = population(before)
    drawn = _drawn(pairs, settled, seed)
    n, believed = pairs.sizes()
    unseen = np.bincount(pairs.stratum[~pairs.compared], minlength=len(n))
    parted = np.bincount(pairs.stratum[pairs.together & (customer[pairs.l] != customer[pairs.r])], minlength=len(n))
    size = len(before.known)
    where = pd.Series(pairs.stratum, index=pairs.l.astype("int64") * size + pairs.r)
    found = where.reindex(drawn["l"].to_numpy("int64") * size + drawn["r"].to_numpy("int64"))
    inside = found.notna().to_numpy()
    if not inside.any():
        return pd.DataFrame(columns=list(ESTIMATED))
    stratum, yes = found[inside].astype(int).to_numpy(), (drawn["answer"] == "yes").to_numpy()[inside]
    right = np.bincount(stratum, weights=yes, minlength=len(n))
    wrong = np.bincount(stratum, weights=~yes, minlength=len(n))
    share = _shares(believed, right, wrong, seed)
    together = np.arange(len(n)) >= len(EDGES)
    is_, both = (_implied(before.known, *keys) for keys in ((customer,), (before.customer, customer)))
    doubtful = float(((1 - taught["chance"]) * taught["changes"] * (taught["answer"] == "yes")).sum())
    told = []
    for theta in (share, share.mean(axis=0, keepdims=True)):
        kept = both - np.maximum((1 - theta) * np.where(together, n, 0) - parted, 0).sum(axis=1)
        apart = theta @ np.where(together, 0, n)
        never = theta @ unseen
        missed = np.maximum((kept + apart - never) * (1 / reached - 1) - never, 0) if reached else 0.0
        now = np.maximum(kept + ((is_ - both) - doubtful) * kept / max(both, 1), 0)
        every = np.maximum(kept + apart + missed, now)
        told.append((np.minimum(now / max(is_, 1), 1), now / np.maximum(every, 1)))
    rows = []
    for what, draw, at in zip(("precision", "recall"), told[0], told[1], strict=True):
        low, high = np.quantile(draw, [(1 - _COVER) / 2, (1 + _COVER) / 2])
        rows.append((what, round(float(at[0]), 6), round(float(low), 6), round(float(high), 6), int(inside.sum())))
    return pd.DataFrame(rows, columns=list(ESTIMATED))


def _drawn(pairs: Population, settled: Settled, seed: int) -> pd.DataFrame:
    """Answers about pairs that were drawn, those among them that were asked for another reason before their turn came."""
    told = settled.used[settled.used["answer"].isin(["yes", "no"])]
    known = told["stratum"] != ""
    if not known.any():
        return told[known]
    order = draws(pairs, len(pairs.l), seed)
    turn = pd.Series(np.arange(len(order)), index=pd.MultiIndex.from_frame(order[["l", "r"]]))
    at = turn.reindex(pd.MultiIndex.from_frame(told[["l", "r"]].astype("int64"))).to_numpy(float)
    last = np.nanmax(np.where(known, at, np.nan), initial=-1)
    return told[known | (at <= last)]


def _shares(believed: np.ndarray, right: np.ndarray, wrong: np.ndarray, seed: int) -> np.ndarray:
    """Draws of the share of right pairs in each stratum, a column each."""
    off = np.linspace(-5 * _OFF, 5 * _OFF, 801)
    odds = _logit(believed)[:, None] + off
    told = right[:, None] * -np.logaddexp(0, -odds) + wrong[:, None] * -np.logaddexp(0, odds) - (off / _OFF) ** 2 / 2
    weight = np.exp(told - told.max(axis=1, keepdims=True))
    sums = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    chance = np.random.default_rng(seed).random((len(believed), _DRAWS))
    at = np.stack([np.searchsorted(one, drawn) for one, drawn in zip(sums, chance, strict=True)])
    return _logistic(np.take_along_axis(odds, np.minimum(at, len(off) - 1), axis=1)).T


def _implied(known: np.ndarray, *keys: np.ndarray) -> int:
    """How many pairs of records with data are one in all of these?"""
    n = np.unique(np.stack([key[known] for key in keys]), axis=1, return_counts=True)[1]
    return int((n * (n - 1) // 2).sum())


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return np.log(p / (1 - p))


def _logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -500, 500)))


def estimates(expected: Mapping[str, float], followed: Followed | None) -> pd.DataFrame:
    """How right are the customers, as the model expects and as the answers say?

    Parameters
    ----------
    expected
        As in :class:`clientbook.matching.clusters.Clustered`.
    followed
        As from :func:`follow`; None where nobody answered.

    Returns
    -------
    pandas.DataFrame
        `what`, `expected`, `estimated`, `low`, `high`, `answers`; empty where nothing was compared.
    """
    if not expected:
        return pd.DataFrame(columns=["what", "expected", *ESTIMATED[1:]])
    rows = pd.DataFrame({"what": ["precision", "recall"], "expected": [expected["precision"], expected["recall"]]})
    told = pd.DataFrame(columns=list(ESTIMATED)) if followed is None else followed.estimated
    rows = rows.merge(told, on="what", how="left").astype(dict.fromkeys(("estimated", "low", "high"), float))
    return rows.assign(answers=rows["answers"].fillna(0).astype(int))


def say_estimates(rows: pd.DataFrame) -> str:
    """What do the answers say of the errors, and what do they not cover? In a sentence or two.

    Parameters
    ----------
    rows
        As from :func:`estimates`.
    """
    if rows.empty:
        return "Nothing was compared, so that there is nothing to estimate."
    n = int(rows["answers"].max())
    if not n:
        return "Right pairs, as the model expects: no answer about a drawn pair is there yet to judge it by."
    return (
        f"Right pairs, as the model expects and as {n:,} answers about drawn pairs say, with intervals of 95 %. They cover the "
        "chance of the draw, and not that people err, nor that the pairs which were never compared are more than the rules say."
    )


def say_followed(followed: Followed | None) -> str:
    """What did the answers change? In a sentence.

    Parameters
    ----------
    followed
        As from :func:`follow`; None where nobody answered.
    """
    if followed is None:
        return ""
    told = f"With them {followed.joined:,} pairs of records more are one customer, and {followed.parted:,} are one no more"
    n = len(followed.learned)
    more = f"; {n:,} groups of records were decided by what {sum(followed.taught.answers):,} answers taught."
    return told + (more if n else ".")
