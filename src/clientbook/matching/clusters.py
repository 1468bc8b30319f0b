"""Which records are one customer, and what do we know of that customer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.customers import record_id
from clientbook.matching.standard import GOLDEN

# Ties from here on are rather right than wrong.
LOOSE = 0.5
# A group all of whose pairs reach this is not looked at again.
SURE = 0.9
# Thresholds that are tried.
GRID = tuple(round(0.2 + 0.025 * i, 3) for i in range(25))
# Groups of more records are first parted by their weakest ties.
LARGEST = 400
# So many pairs of groups are worked on at once.
CELLS = 2_000_000
# What outweighs any mean: two that cannot be one human, and two that are.
NEVER, ALWAYS = -1e9, 1e9
_NOBODY: frozenset[int] = frozenset()
GOLDEN_TYPES = {"birth_date": "date", "social_reach": "float64"}
# What is taken from one record together.
UNIT_OF: dict[str, tuple[str, ...]] = {
    "name": ("full_name", "given_name", "family_name"),
    "email": ("email",), "phone": ("phone",),
    "address": ("street", "city", "postcode", "region", "country"),
    **{name: (name,) for name in ("birth_date", "company", "job_title", "industry", "persona", "social_reach", "external_id")},
}  # fmt: skip
ORIGINS = tuple(f"{what}_from" for what in UNIT_OF)
_USABLE = {"email": "mail", "phone": "dialled", "external_id": "number"}
DEFAULT_RULES = {"birth_date": "most_frequent"}
# What records of one customer may say differently, and by which column that is seen.
CONFLICTS = {
    "x_name": "name_key", "x_email": "mail", "x_phone": "dialled", "x_address": "way", "x_birth_date": "born",
    "x_company": "firm", "x_job_title": "job", "x_external_id": "number",
}  # fmt: skip


def alias_edges(aliases: ir.Table | None, numbered: ir.Table) -> pd.DataFrame:
    """Which records are known to be one human?

    Parameters
    ----------
    aliases
        The clean table, or None.
    numbered
        Person records with `unique_id`, counted from 0 in the order of source and id.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `probability` 1; each pair once, ordered.
    """
    if aliases is None:
        empty = {"l": pd.Series(dtype="int64"), "r": pd.Series(dtype="int64"), "probability": pd.Series(dtype=float)}
        return pd.DataFrame(empty)
    one = numbered.select(person_source="source", person_id="person_id", a="unique_id")
    other = numbered.select(other_source="source", other_person_id="person_id", b="unique_id")
    known = aliases.select("person_source", "person_id", "other_source", "other_person_id").distinct()
    pairs = known.inner_join(one, ["person_source", "person_id"]).inner_join(other, ["other_source", "other_person_id"])
    pairs = pairs.select(l=ibis.least(pairs["a"], pairs["b"]), r=ibis.greatest(pairs["a"], pairs["b"])).distinct()
    pairs = pairs.filter(pairs["l"] != pairs["r"]).order_by("l", "r").to_pandas()
    return pairs.assign(probability=1.0)


@dataclass(frozen=True)
class Clustered:
    """Which records are one customer, and how sure is that?

    Attributes
    ----------
    tied
        A row a record: `unique_id`, `first` (the smallest number of its customer), `probability` (of its strongest tie
        to the customer's others; 1 where it stands alone).
    threshold
        From this mean probability on two groups of records were put together.
    expected
        `precision`, `recall` and `f1` of pairs, as the probabilities say; nothing where nothing was compared.
    cut
        How many groups that hang together by ties were taken apart.
    impossible
        How many groups held two records that cannot be one human.
    tried
        `threshold`, `precision`, `recall`, `f1` of those that were tried.
    why
        Why this threshold, in words.
    unseen
        What a pair that was never compared counts.
    """

    tied: pd.DataFrame
    threshold: float
    expected: dict[str, float]
    cut: int = 0
    impossible: int = 0
    tried: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["threshold", "precision", "recall", "f1"]))
    why: str = ""
    unseen: float = 0.0


@dataclass(frozen=True)
class Apart:
    """What do we know of records that rules out that two are one human?

    Attributes
    ----------
    clean
        Of each record the number of its source, where the book says that the source holds nobody twice; else -1.
    born
        Of each record the birth date as a number of eight digits, where more than one system says so; else 0.
    group, parted
        Who is one and who is not by the answers of people, which go before all else: as in
        :class:`clientbook.matching.labels.Settled`; None where nobody answered.
    """

    clean: np.ndarray
    born: np.ndarray
    group: np.ndarray | None = None
    parted: np.ndarray | None = None

    def of(self, some: np.ndarray) -> Apart:
        """The same of some records alone, numbered in their order."""
        if self.group is None:
            return Apart(self.clean[some], self.born[some])
        names, group = np.unique(self.group[some], return_inverse=True)
        group = np.where(self.group[some] >= 0, group.ravel() - int(names[0] < 0), -1)
        names = names[names >= 0]
        inside = np.isin(self.parted, names).all(axis=1)
        # the names stand in their order, so that of two the smaller stays first
        return Apart(self.clean[some], self.born[some], group, np.searchsorted(names, self.parted[inside]))

    def impossible(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of records by number, in any shape: can the two not be one human?"""
        twice = (self.clean[one] >= 0) & (self.clean[one] == self.clean[other]) & (one != other)
        told = twice | _other_day(self.born[one], self.born[other])
        return told if self.group is None else (told & ~self.certain(one, other)) | self.refused(one, other)

    def certain(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of records by number: did people say that the two are one human?"""
        if self.group is None:
            return np.zeros(np.broadcast(one, other).shape, dtype=bool)
        a, b = self.group[one], self.group[other]
        return (a >= 0) & (a == b) & (one != other)

    def refused(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of records by number: did people say that the two are not one human?"""
        told = np.zeros(np.broadcast(one, other).shape, dtype=bool)
        if self.group is None or not len(self.parted):
            return told
        a, b = np.broadcast_arrays(self.group[one], self.group[other])
        asked = (a >= 0) & (b >= 0)
        low, high = np.minimum(a[asked], b[asked]), np.maximum(a[asked], b[asked])
        n = len(self.group)
        told[asked] = np.isin(low * n + high, self.parted[:, 0] * n + self.parted[:, 1])
        return told

    def answered(self, left: np.ndarray, right: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs and their probability, 1 or 0 where people answered; those who are one are all among them."""
        if self.group is None:
            return left, right, p
        p = np.where(self.certain(left, right), 1.0, np.where(self.refused(left, right), 0.0, p))
        known = np.flatnonzero(self.group >= 0)
        known = known[np.argsort(self.group[known], kind="stable")]
        same = self.group[known[1:]] == self.group[known[:-1]]
        a, b = known[:-1][same], known[1:][same]
        n = len(self.group)
        new = ~np.isin(a * n + b, left * n + right)
        return np.concatenate([left, a[new]]), np.concatenate([right, b[new]]), np.concatenate([p, np.ones(new.sum())])

    def held(self, labels: np.ndarray) -> np.ndarray:
        """Labels of records with those who are one by an answer under one: where a group was too large to be looked at
        whole and parted them, they are a customer of their own."""
        if self.group is None:
            return labels
        known = np.flatnonzero(self.group >= 0)
        seen = np.unique(np.stack([self.group[known], labels[known]]), axis=1)[0]
        several = np.unique(seen[1:][seen[1:] == seen[:-1]])
        torn = known[np.isin(self.group[known], several)]
        told = labels.copy()
        told[torn] = labels.max() + 1 + self.group[torn]
        return told

    def within(self, group: np.ndarray, n: int) -> np.ndarray:
        """Of each group, whether two of its records may be ruled out."""
        told = np.zeros(n, dtype=bool)
        for values, known in ((self.clean, self.clean >= 0), (self.born, self.born > 0)):
            at = np.flatnonzero(known)
            if self.clean is values:
                seen, often = np.unique(np.stack([group[at], values[at]]), axis=1, return_counts=True)
                told[seen[0][often > 1]] = True
            else:
                seen = np.unique(np.stack([group[at], values[at]]), axis=1)
                told |= np.bincount(seen[0], minlength=n) > 1
        if self.group is not None:
            told |= np.bincount(group[self.group >= 0], minlength=n) > 1
        return told


def ruled_out(records: ir.Table, edges: pd.DataFrame, clean_sources: Sequence[str], n: int) -> Apart:
    """Which records can we know not to be one human?

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with `unique_id`.
    edges
        `l`, `r`, `probability`: a birth date is sure where a record of another system that is surely the same human
        has it too.
    clean_sources
        Systems that the book says hold nobody twice.
    n
        How many records there are, numbered from 0.
    """
    day = records["born"].cast("int64") if "born" in records.columns else ibis.literal(0, "int64")
    rows = records.select("unique_id", "source", day=day.fill_null(0)).to_pyarrow()
    at = rows["unique_id"].to_numpy()
    source = np.full(n, None, dtype=object)
    days = np.zeros(n, "int64")
    source[at], days[at] = rows["source"].to_numpy(zero_copy_only=False), rows["day"].to_numpy()
    return apart_by(source, days, edges, clean_sources)


def apart_by(source: np.ndarray, days: np.ndarray, edges: pd.DataFrame, clean_sources: Sequence[str]) -> Apart:
    """The same from what is in memory.

    Parameters
    ----------
    source
        Of each record its system, None for a mere id.
    days
        Of each record the birth date as a number of eight digits, 0 where there is none.
    edges, clean_sources
        As for :func:`ruled_out`.
    """
    n, said = len(source), pd.notna(source)
    names, which = np.unique(source[said].astype(str), return_inverse=True)
    held = np.full(n, -1)
    held[said] = which
    sure = edges["probability"].to_numpy() >= SURE
    left, right = edges["l"].to_numpy()[sure], edges["r"].to_numpy()[sure]
    agree = (days[left] == days[right]) & (days[left] > 0) & (held[left] != held[right])
    born = np.zeros(n, "int64")
    for ends in (left[agree], right[agree]):
        born[ends] = days[ends]
    chosen = np.isin(names, list(clean_sources))
    return Apart(np.where((held >= 0) & np.concatenate([chosen, [False]])[held], held, -1), born)


def answered(apart: Apart | None, group: np.ndarray, parted: np.ndarray) -> Apart:
    """What is known of records, with what people said.

    Parameters
    ----------
    apart
        As from :func:`ruled_out`, or None.
    group, parted
        As in :class:`clientbook.matching.labels.Settled`.
    """
    nothing = np.full(len(group), -1), np.zeros(len(group), "int64")
    clean, born = nothing if apart is None else (apart.clean, apart.born)
    return Apart(clean, born, group, parted)


def _other_day(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Are two birth dates too different for slips: three digits and more, and not day and month the other way round?"""
    digits, a, b = np.zeros(np.broadcast(one, other).shape, dtype=np.int8), one.copy(), other.copy()
    for _ in range(8):
        digits += (a % 10) != (b % 10)
        a, b = a // 10, b // 10
    turned = other // 10_000 * 10_000 + other % 100 * 100 + other % 10_000 // 100
    return (one > 0) & (other > 0) & (digits >= 3) & (one != turned)


def cluster(
    edges: pd.DataFrame, n: int, *, threshold: float | None = None, precision: float | None = None,
    apart: Apart | None = None, unseen: float | None = None,
) -> Clustered:  # fmt: skip
    """Which records are one customer?

    Records that hang together by ties that are rather right than wrong are taken apart again where the ties do not
    hold: within each such group, records are joined from the surest tie on, and two parts become one only where the
    mean probability over all pairs between them reaches the threshold. A pair that was never compared counts with the
    mean of those in such groups that were compared and are no tie. The threshold is the one with the best expected F1,
    by :func:`expect`.

    Parameters
    ----------
    edges
        `l`, `r`, `probability`; each pair once.
    n
        How many records there are, numbered from 0.
    threshold
        Of the mean probability; None finds the one with the best expected F1.
    precision
        Where the expected precision stays below, the threshold is raised until it does not.
    apart
        What rules out that two records are one human: they are never put into one customer.
    unseen
        What a pair that was never compared counts; None takes the mean of the weak ties.
    """
    left, right = edges["l"].to_numpy("int64"), edges["r"].to_numpy("int64")
    p = edges["probability"].to_numpy(float)
    compared = len(left) > 0
    if apart is not None:
        left, right, p = apart.answered(left, right, p)
    if not len(left):
        return Clustered(_alone(n), threshold or 0.5, {})
    loose = _connected(left[p >= LOOSE], right[p >= LOOSE], n)
    inside = loose[left] == loose[right]
    weak = inside & (p < LOOSE)
    if unseen is None:
        unseen = float(p[weak].mean()) if weak.any() else 0.0
    one, other, until, joins, looked = _pairs(left[inside], right[inside], p[inside], loose, unseen, apart)
    outside = float(p[~inside].sum())
    # the highest of equals: what says nothing either way stays apart
    scores = {at: expect(joins, outside, at) for at in GRID}
    why = "that has the best expected F1"
    at = max((round(told["f1"], 6), at) for at, told in scores.items())[1]
    if threshold is not None:
        at, why = threshold, "so it was asked for"
    if precision is not None and expect(joins, outside, at)["precision"] < precision:
        why = f"so that {precision:.1%} of what is put together is expected to be right"
        while expect(joins, outside, at)["precision"] < precision and at < 0.999:
            at += (1 - at) / 8
    at = round(at, 6)
    expected = expect(joins, outside, at)
    never = apart.impossible(one, other) if apart is not None else np.zeros(len(one), dtype=bool)
    impossible = len(np.unique(loose[one[never]]))
    # groups that were looked at hang together by what reaches the threshold, the others by any tie
    far = until >= at
    whole = inside & (p >= LOOSE) & ~looked[loose[left]]
    labels = _connected(np.concatenate([one[far], left[whole]]), np.concatenate([other[far], right[whole]]), n)
    labels = labels if apart is None else apart.held(labels)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    strongest = np.zeros(n)
    own = labels[left] == labels[right]
    for ends in (left[own], right[own]):
        np.maximum.at(strongest, ends, p[own])
    strongest[strongest == 0] = 1.0
    parts = pd.DataFrame({"loose": loose, "label": labels}).drop_duplicates().groupby("loose").size()
    tied = pd.DataFrame({"unique_id": np.arange(n), "first": first[inverse], "probability": strongest.round(6)})
    if not compared:
        # answers alone are no probabilities: nothing is expected of them
        return Clustered(tied, at, {}, impossible=impossible, unseen=unseen)
    scores[at] = expected
    tried = pd.DataFrame([{"threshold": at, **told} for at, told in sorted(scores.items())]).round(6)
    rounded = {name: round(value, 6) for name, value in expected.items()}
    return Clustered(tied, at, rounded, int((parts > 1).sum()), impossible, tried, why, unseen)


def tie(
    tied: pd.DataFrame, links: pd.DataFrame, known: np.ndarray, apart: Apart | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What do links that are known change?

    A link between two records of which something is known makes their customers one. An id of which nothing else is
    known, such as a browser's, follows its links, and where they lead to several customers it follows the most of them
    and the smallest of equals: a browser that two people use does not make them one human. An id that an answer ties to
    a record of which something is known is that record's customer, whatever its links say; ids that lead to it follow it.

    Parameters
    ----------
    tied
        As in :class:`Clustered`.
    links
        `l`, `r`, each pair once.
    known
        Of each record whether more than its id is known.
    apart
        What people said goes before any link.

    Returns
    -------
    tied, contradictions
        The records, and the links that were not followed, `l`, `r`.
    """
    n = len(tied)
    first = tied["first"].to_numpy("int64")
    left, right = links["l"].to_numpy("int64"), links["r"].to_numpy("int64")
    said = apart is not None and apart.group is not None
    # where a record stands before any link: with its customer, or alone
    place = np.where(known, first, np.arange(n))
    settled = known
    if said:
        left, right, place, settled = _answered_first(left, right, place, known, apart)
    free = ~settled
    alike = (known[left] & known[right]) | (free[left] & free[right])
    label = _connected(np.concatenate([np.arange(n), left[alike]]), np.concatenate([place, right[alike]]), n)
    if said:
        label = _unlinked(label, place, left[alike], right[alike], apart)
    led = free[left] != free[right]
    here, there = np.where(free[left], left, right)[led], np.where(free[left], right, left)[led]
    votes = pd.DataFrame({"bare": label[here], "label": label[there], "head": place[there]})
    counted = votes.groupby(["bare", "label"], as_index=False).agg(n=("head", "size"), head=("head", "min"))
    ranked = counted.sort_values(["n", "head", "bare"], ascending=[False, True, True], ignore_index=True)
    if said:
        ranked = ranked[_allowed(ranked, label, apart)]
    best = ranked.drop_duplicates("bare")
    follows = np.arange(n)
    follows[best["bare"].to_numpy("int64")] = best["label"].to_numpy("int64")
    joined = follows[label]
    _, head, inverse = np.unique(joined, return_index=True, return_inverse=True)
    against = joined[links["l"].to_numpy("int64")] != joined[links["r"].to_numpy("int64")]
    return tied.assign(first=head[inverse.ravel()]), links[against][["l", "r"]].reset_index(drop=True)


def _answered_first(left, right, place, known, apart: Apart) -> tuple[np.ndarray, ...]:
    """The links that no answer refuses; where each record stands by the answers; and whether it is settled: something is
    known of it, or an answer ties it to such a record."""
    kept = ~apart.refused(left, right)
    at = np.flatnonzero(apart.group >= 0)
    # of those who are one by an answer, the first of whom something is known speaks for the others
    at = at[np.lexsort((at, ~known[at], apart.group[at]))]
    _, begins, which = np.unique(apart.group[at], return_index=True, return_inverse=True)
    heads = at[begins][which.ravel()]
    place, settled = place.copy(), known.copy()
    # a customer of their own each may be what cutting a group too large to be looked at whole made of them
    one = known[at]
    left, right = np.concatenate([heads[one], left[kept]]), np.concatenate([at[one], right[kept]])
    place[at[~one]] = place[heads[~one]]
    settled[at] = known[heads]
    return left, right, place, settled


def _unlinked(label, place, left, right, apart: Apart) -> np.ndarray:
    """Labels of what links hold together, without the links that lead from one side of a `no` to the other: where they
    do, links are followed in their order, each where nobody said no to what would become one."""
    inside, never = _members(apart, label), _refusals(apart)
    torn = {side for a, b in apart.parted.tolist() for side in inside[a] & inside[b]}
    label = label.copy()
    for one in sorted(torn):
        here = np.flatnonzero(label == one)
        heads = np.unique(place[here]).tolist()
        groups = {h: set(apart.group[here[place[here] == h]].tolist()) - {-1} for h in heads}
        at = dict(zip(heads, heads, strict=True))
        for i in np.flatnonzero(label[left] == one):
            a, b = at[int(place[left[i]])], at[int(place[right[i]])]
            if a != b and not any(never.get(x, _NOBODY) & groups[b] for x in groups[a]):
                groups[a] |= groups.pop(b)
                at = {h: a if to == b else to for h, to in at.items()}
        fresh = label.max() + 1
        number = {to: fresh + i for i, to in enumerate(sorted(set(at.values())))}
        label[here] = [number[at[h]] for h in place[here].tolist()]
    return np.unique(label, return_inverse=True)[1].ravel()


def _allowed(ranked: pd.DataFrame, label, apart: Apart) -> np.ndarray:
    """Which votes of ids for a customer may be followed? None that brings together two of whom people said that they are
    not one; where two ids that they said so of are led to one customer, the one with more links goes there."""
    never, groups = _refusals(apart), {}
    for group, labels in _members(apart, label).items():
        for one in labels:
            groups.setdefault(one, set()).add(group)
    told = np.ones(len(ranked), dtype=bool)
    asked = np.flatnonzero(ranked["bare"].isin(list(groups)))
    gone: set[int] = set()
    for i, bare, to in zip(asked, ranked["bare"].to_numpy()[asked].tolist(), ranked["label"].to_numpy()[asked].tolist(),
                           strict=True):  # fmt: skip
        there = groups.setdefault(to, set())
        told[i] = bare not in gone and not any(never.get(x, _NOBODY) & there for x in groups[bare])
        if told[i]:
            gone.add(bare)
            there |= groups[bare]
    return told


def _refusals(apart: Apart) -> dict[int, set[int]]:
    """Of each group of answers, those that it is not one with."""
    told: dict[int, set[int]] = {}
    for a, b in apart.parted.tolist():
        told.setdefault(a, set()).add(b)
        told.setdefault(b, set()).add(a)
    return told


def _members(apart: Apart, label: np.ndarray) -> dict[int, set[int]]:
    """By the number of a group of answers: the labels that its records have."""
    told: dict[int, set[int]] = {}
    known = np.flatnonzero(apart.group >= 0)
    for group, one in zip(apart.group[known].tolist(), label[known].tolist(), strict=True):
        told.setdefault(group, set()).add(one)
    return told


def _connected(left: np.ndarray, right: np.ndarray, n: int) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype("int64")


def _alone(n: int) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": np.arange(n), "first": np.arange(n), "probability": 1.0})


def expect(joins: np.ndarray, outside: float, threshold: float) -> dict[str, float]:
    """How right are customers made with a threshold, as far as the probabilities say?

    Two records of one customer may be one human by what they tell themselves, and by what others in between tell. The
    probability of the pair alone leaves out the second, that of the best path (the product along it) leaves out what
    speaks against. On public data sets with known truth the path came within .002 to .007 of the true precision: precision
    and recall are told by it. F1, by which a threshold is chosen, is more cautious: it is taken in the middle of both.

    Parameters
    ----------
    joins
        A row a pair of records that hang together: the threshold up to which they are one customer, the probability of
        the pair alone, that of the best path, and how many such pairs there are.
    outside
        The sum of the probabilities of all other pairs.
    threshold
        Of the mean probability.
    """
    up_to, alone, path, n = joins
    one = up_to >= threshold
    implied = n[one].sum()
    apart = outside + (alone * n)[~one].sum()
    told = []
    for right in ((alone * n)[one].sum(), (path * n)[one].sum()):
        every = right + apart
        told.append((
            right / implied if implied else 1.0, right / every if every else 1.0,
            2 * right / (implied + every) if implied + every else 1.0,
        ))  # fmt: skip
    middle = np.mean(told, axis=0)
    return {"precision": float(told[1][0]), "recall": float(told[1][1]), "f1": float(middle[2])}


def linked(
    left: np.ndarray, right: np.ndarray, p: np.ndarray, n: int, weak: float, certain: float, unseen: float,
    apart: Apart | None,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Within groups that hang together by ties that may be weak: up to which mean probability are two records joined?

    Parameters
    ----------
    left, right, p
        The ties: their ends, and how probable it is that each is one human.
    n
        How many records there are, numbered from 0.
    weak
        Weaker ties hold nothing together.
    certain
        Groups all of whose pairs reach this are not looked at.
    unseen, apart
        As for :func:`cluster`.

    Returns
    -------
    group, one, other, until, looked
        The group of each record; of each pair within the groups that were looked at the two records, the smaller first,
        and the mean; and of each group whether it was looked at.
    """
    group = _connected(left[p >= weak], right[p >= weak], n)
    inside = group[left] == group[right]
    one, other, until, _, looked = _pairs(left[inside], right[inside], p[inside], group, unseen, apart, certain)
    return group, one, other, until, looked


def _pairs(left, right, p, loose, unseen: float, apart: Apart | None, certain: float = SURE) -> tuple[np.ndarray, ...]:
    """All pairs within groups that are not surely one: both ends, the threshold up to which they are one customer; of
    all pairs within groups what :func:`expect` asks for; and of each group whether it was looked at."""
    size = np.bincount(loose)
    group = loose[left]
    sure = np.bincount(group, weights=p >= certain, minlength=len(size))
    open_ = (size > 1) & (2 * sure < size * (size - 1.0))
    if apart is not None:
        open_ |= apart.within(loose, len(size)) & (size > 1)
    settled = ~open_[group]
    # groups all of whose pairs are sure are one whatever the threshold; they are counted together
    certain = float(p[settled].mean()) if settled.any() else 1.0
    joins = [np.array([[1.0], [certain], [certain], [float(settled.sum())]])]
    one, other, until = [], [], []
    for members, edges in _by_size(loose, size, open_, left, right, p):
        k = members.shape[1]
        low, high = np.triu_indices(k, 1)
        step = max(1, CELLS // (k * k))
        for begin in range(0, len(members), step):
            part = members[begin : begin + step]
            here = (edges[0] >= begin) & (edges[0] < begin + step)
            at, a, b, q = edges[0][here] - begin, *(column[here] for column in edges[1:])
            alone = np.full((len(part), k, k), unseen)
            alone[at, a, b] = alone[at, b, a] = q
            tied = np.zeros((len(part), k, k))
            tied[at, a, b] = tied[at, b, a] = np.where(q >= LOOSE, q, 0.0)
            if apart is not None:
                never = apart.impossible(part[:, :, None], part[:, None, :])
                alone[never], tied[never] = NEVER, 0.0
                always = apart.certain(part[:, :, None], part[:, None, :])
                alone[always], tied[always] = ALWAYS, 1.0
            up_to = average_linkage(alone)[:, low, high].ravel()
            alone = np.clip(alone[:, low, high].ravel(), 0.0, 1.0)
            path = np.maximum(alone, best_paths(tied)[:, low, high].ravel())
            joins.append(np.stack([up_to + 1e-12, alone, path, np.ones(len(alone))]))
            one.append(part[:, low].ravel())
            other.append(part[:, high].ravel())
            until.append(up_to + 1e-12)
    if not one:
        return np.empty(0, "int64"), np.empty(0, "int64"), np.empty(0), np.concatenate(joins, axis=1), open_
    return np.concatenate(one), np.concatenate(other), np.concatenate(until), np.concatenate(joins, axis=1), open_


def _by_size(loose, size, open_, left, right, p):
    """The groups that are open, those of one size together: their members, a row a group; and their ties as the number
    of the group, the two places in it, and the probability."""
    members = np.argsort(loose, kind="stable")
    begins = np.concatenate([[0], np.cumsum(size)])
    place = np.empty(len(loose), "int64")
    place[members] = np.arange(len(loose)) - begins[loose[members]]
    group = loose[left]
    of_size = size[group]
    number = np.zeros(len(size), "int64")
    for k in np.unique(size[open_]):
        chosen = np.flatnonzero(open_ & (size == k))
        if k > LARGEST:
            for c in chosen:
                mine = np.flatnonzero(group == c)
                yield from _parted(members[begins[c] : begins[c + 1]], left[mine], right[mine], p[mine])
            continue
        number[chosen] = np.arange(len(chosen))
        mine = np.flatnonzero((of_size == k) & open_[group])
        edges = (number[group[mine]], place[left[mine]], place[right[mine]], p[mine])
        yield members[begins[chosen][:, None] + np.arange(k)], edges


def _parted(members, left, right, p):
    """A group that is too large in parts, those of one size together."""
    parts = [part for part in _bounded(members, left, right, p) if len(part[0]) > 1]
    for k in sorted({len(part) for part, *_ in parts}):
        alike = [part for part in parts if len(part[0]) == k]
        number = np.repeat(np.arange(len(alike)), [len(l) for _, l, _, _ in alike])
        places = [(np.searchsorted(part, l), np.searchsorted(part, r)) for part, l, r, _ in alike]
        ends = (np.concatenate([side[i] for side in places]) for i in (0, 1))
        yield np.stack([part for part, *_ in alike]), (number, *ends, np.concatenate([q for *_, q in alike]))


def average_linkage(alike: np.ndarray) -> np.ndarray:
    """Up to which mean likeness are two members of a group joined? Of many groups of one size at once.

    Parameters
    ----------
    alike
        Shape (groups, k, k), symmetric.

    Returns
    -------
    numpy.ndarray
        The same shape: the mean likeness at which average linkage (UPGMA) joins the two.
    """
    groups, k, _ = alike.shape
    if k == 2:
        return alike.copy()
    left, told = alike.copy(), np.full(alike.shape, np.inf)
    left[:, np.arange(k), np.arange(k)] = -np.inf
    held = np.broadcast_to(np.eye(k, dtype=bool), alike.shape).copy()
    sizes, g = np.ones((groups, k)), np.arange(groups)
    before = np.full(groups, np.inf)
    for _ in range(k - 1):
        i, j = np.divmod(left.reshape(groups, -1).argmax(axis=1), k)
        # never above the join before, whatever the last bits say
        before = np.minimum(before, left[g, i, j])
        both = held[g, i][:, :, None] & held[g, j][:, None, :]
        both |= both.transpose(0, 2, 1)
        told = np.where(both, before[:, None, None], told)
        a, b = sizes[g, i][:, None], sizes[g, j][:, None]
        mean = (a * left[g, i] + b * left[g, j]) / (a + b)
        left[g, i] = left[g, :, i] = mean
        left[g, j] = left[g, :, j] = left[g, i, i] = -np.inf
        held[g, i] |= held[g, j]
        sizes[g, i] += sizes[g, j]
    return told


def best_paths(tied: np.ndarray) -> np.ndarray:
    """The highest product of probabilities along a path, of each pair of each group."""
    if tied.shape[1] == 2:
        return tied
    told = tied.copy()
    for via in range(tied.shape[1]):
        np.maximum(told, told[:, :, via, None] * told[:, None, via, :], out=told)
    return told


def _bounded(members, left, right, p):
    """A group in parts that can be held in memory: while it is too large, its weakest ties are let go. Whoever is left alone
    then is in none."""
    if len(members) <= LARGEST:
        yield members, left, right, p
        return
    at = LOOSE
    while True:
        at = at + (1 - at) / 2
        a, b = np.searchsorted(members, left), np.searchsorted(members, right)
        label = _connected(a[p >= at], b[p >= at], len(members))
        if label.max() > 0 or at > 1 - 1e-7:
            break
    if label.max() == 0:
        # thousands that agree in everything are one value, not one human
        return
    inside = np.flatnonzero(label[a] == label[b])
    inside = inside[np.argsort(label[a][inside], kind="stable")]
    order = np.argsort(label, kind="stable")
    every = np.arange(label.max() + 1)
    begin, end = (np.searchsorted(label[order], every, side) for side in ("left", "right"))
    first, last = (np.searchsorted(label[a][inside], every, side) for side in ("left", "right"))
    for c in np.flatnonzero(end - begin > 1):
        own = inside[first[c] : last[c]]
        yield from _bounded(members[order[begin[c] : end[c]]], left[own], right[own], p[own])


def touched(edges: pd.DataFrame, n: int, some: np.ndarray) -> np.ndarray:
    """Which records hang together, by ties that are rather right than wrong, with some of these? Their numbers, in order.

    Parameters
    ----------
    edges
        `l`, `r`, `probability`.
    n
        How many records there are, numbered from 0.
    some
        Numbers of records.
    """
    tie = edges["probability"].to_numpy() >= LOOSE
    loose = _connected(edges["l"].to_numpy()[tie], edges["r"].to_numpy()[tie], n)
    found = np.zeros(n, dtype=bool)
    found[loose[some]] = True
    return np.flatnonzero(found[loose])


def with_data(records: ir.Table | None, n: int) -> np.ndarray:
    """Of each record, whether more than its id is known.

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with `unique_id`, or None.
    n
        How many there are.
    """
    told = np.zeros(n, dtype=bool)
    if records is not None:
        told[records.select("unique_id").to_pyarrow()["unique_id"].to_numpy()] = True
    return told


def identities(numbered: ir.Table, tied: pd.DataFrame) -> ir.Table:
    """Which customer does every person record belong to?

    Parameters
    ----------
    numbered
        Person records with `unique_id`, counted from 0 in the order of source and id.
    tied
        As from :func:`components`.

    Returns
    -------
    ibis.expr.types.Table
        `source`, `person_id`, `customer_id`, `probability`, ordered by source and id. The id is made of the customer's
        smallest record, so that somebody who is matched with nobody keeps the id that they have without matching.
    """
    joined = numbered.inner_join(ibis.memtable(tied), "unique_id")
    heads = numbered.select(first="unique_id", customer_id=record_id(numbered["source"], numbered["person_id"]))
    return (
        joined.inner_join(heads, "first")
        .select("source", "person_id", "customer_id", "probability")
        .order_by("source", "person_id")
    )


def golden(known: ir.Table, records: ir.Table | None, asked: Mapping[str, str | Sequence[str]] | None = None) -> ir.Table:
    """What do we know of each customer?

    Of each column the value that its rule picks: that of the record that was changed last (the default), the most
    frequent one (the default of birth dates, which do not change), the longest, or that of the most trusted system; ties
    go to what was changed last, then by source and id. The parts of a name, and those of an address, are taken from one
    record, a whole name before a part of one.

    Parameters
    ----------
    known
        As from :func:`identities`.
    records
        As from :func:`clientbook.matching.standard.records`; None where the book has no people.
    asked
        Rules of the book by column, or `name` and `address`: `newest`, `most_frequent`, `longest`, or systems, the most
        trusted first.

    Returns
    -------
    ibis.expr.types.Table
        A row a customer: `customer_id`, the golden columns (none without people), `sources`, `records`, `first_seen`;
        where each was taken from in `name_from` and so on; and `x_name` and so on: whether the records contradict each
        other.
    """
    counted = known.group_by("customer_id").agg(
        sources=known["source"].collect().unique().sort().join(","), records=known.count()
    )
    if records is None:
        nothing = {name: ibis.null(GOLDEN_TYPES.get(name, "string")) for name in (*GOLDEN, *ORIGINS)}
        none = {name: ibis.literal(False) for name in CONFLICTS}
        return counted.mutate(**nothing, **none, conflicts=ibis.literal(""), first_seen=ibis.null("timestamp"))
    rows = known.inner_join(records, ["source", "person_id"])
    newest = ibis.window(group_by="customer_id", order_by=[ibis.desc("changed_at", nulls_first=False), "source", "person_id"])
    rows = _whole_names(rows).mutate(_rank=ibis.row_number().over(newest))
    rules = DEFAULT_RULES | dict(asked or {})
    often = {what: UNIT_OF.get(what, (what,))[0] for what, rule in rules.items() if rule == "most_frequent"}
    rows = rows.mutate(**{
        f"_n_{what}": rows.count().over(ibis.window(group_by=["customer_id", column])) for what, column in often.items()
    })  # fmt: skip
    taken = {}
    for what, columns in UNIT_OF.items():
        some = rows[columns[0]].notnull()
        for column in columns[1:]:
            some = some | rows[column].notnull()
        if what in _USABLE:
            # what cannot be written to, and what hundreds have, is nobody's
            some = rows[_USABLE[what]].notnull()
        leading = "full_name" if what == "name" else "street" if what == "address" else None
        # a record with the leading part goes before one without
        rank = _ranked(rows, what, columns[0], rules.get(what, "newest"))
        if leading is not None:
            rank = rank + rows[leading].notnull().ifelse(0, 2**58)
        if what == "name":
            # and a whole name before a part of one
            parts = rows["given_name"].notnull() & rows["family_name"].notnull()
            rank = rank + (parts | rows["full_name"].contains(" ").fill_null(False)).ifelse(0, 2**57)
        taken[f"{what}_from"] = rows["source"].argmin(rank, where=some)
        for column in columns:
            if len(columns) > 1:
                taken[column] = rows[column].fill_null("").argmin(rank, where=some).nullif("")
            else:
                taken[column] = rows[column].argmin(rank, where=some)
    for name, column in CONFLICTS.items():
        taken[name] = (rows[column].min() != rows[column].max()).fill_null(False)
    best = rows.group_by("customer_id").agg(**taken, first_seen=rows["created_at"].min())
    told = counted.left_join(best, "customer_id").drop("customer_id_right")
    told = told.mutate(**{name: told[name].fill_null(False) for name in CONFLICTS})
    words = [told[name].ifelse(name.removeprefix("x_"), ibis.null("string")) for name in CONFLICTS]
    return told.mutate(conflicts=ibis.array(words).filter(lambda word: word.notnull()).join(","))


def _ranked(rows: ir.Table, what: str, column: str, rule: str | Sequence[str]) -> ir.IntegerColumn:
    """The smaller, the better."""
    if rule == "newest":
        return rows["_rank"]
    if rule == "most_frequent":
        first = -rows[f"_n_{what}"]
    elif rule == "longest":
        first = -rows[column].cast("string").length().fill_null(0)
    else:
        first = ibis.cases(*[(rows["source"] == name, i) for i, name in enumerate(rule)], else_=len(rule))
    return first.cast("int64") * 2**40 + rows["_rank"]


def _whole_names(rows: ir.Table) -> ir.Table:
    parts = rows["given_name"].notnull() & rows["family_name"].notnull()
    both = rows["given_name"] + " " + rows["family_name"]
    words = rows["full_name"].split(",")
    turned = words[1].strip() + " " + words[0].strip()
    straight = (words.length() == 2).ifelse(turned, rows["full_name"])
    named = ibis.coalesce(straight, parts.ifelse(both, ibis.coalesce(rows["family_name"], rows["given_name"])))
    return rows.mutate(
        full_name=named.strip().nullif(""),
        given_name=ibis.coalesce(rows["given_name"], rows["given"].capitalize()),
        family_name=ibis.coalesce(rows["family_name"], rows["family"].capitalize()),
    )
