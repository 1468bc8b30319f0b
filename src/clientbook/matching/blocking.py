"""Which pairs of records are worth a look? All would be too many; what is never compared is never found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Protocol

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clientbook.engine import row_hash

# What a rule may ask for, by what it tells; within each, the loosest first.
ATOMS: dict[str, tuple[str, ...]] = {
    "contact": ("mail", "dialled", "number", "local"),
    "first": ("first_sound", "root", "first"),
    "last": ("substr(last, 1, 4)", "last_sound", "last"),
    "born": ("substr(born, 1, 4)", "substr(born, 5, 4)", "born"),
    "where": ("substr(zip, 1, 3)", "place", "zip"),
    "way": ("way",),
    "house": ("house",),
    "firm": ("firm", "work"),
    "extra": ("extra",),
    "job": ("job",),
}
# Whatever agrees on the second agrees on the first.
_IMPLIED = {
    "first": ("first_sound", "root", "substr(first, 1, 1)"), "last": ("last_sound", "substr(last, 1, 4)"),
    "born": ("substr(born, 1, 4)", "substr(born, 5, 4)"), "zip": ("substr(zip, 1, 3)",), "mail": ("local",),
    "way": ("house",),
}  # fmt: skip
MOST_ATOMS = 3
# A rule that makes fewer times the pairs that chance would make finds next to nobody.
LEAST_LIFT = 2.0
# Above so many records, pairs are counted on a share of the blocks.
COUNT_ALL = 200_000
# A rule may look at so many pairs that no other looks at for one more pair of one human.
PAIRS_A_FIND = 1_000
# Pairs are made one once so many are waiting.
SORTED_AT_ONCE = 20_000_000
# An odd number whose bits are well mixed (2 to the 64 by the golden ratio).
_MIX = np.uint64(0x9E3779B97F4A7C15)

WORDS = {
    "name_key": "name", "first": "first name", "last": "surname", "root": "first name or its short form",
    "first_sound": "sound of first name", "last_sound": "sound of surname", "mail": "e-mail",
    "local": "e-mail before the @", "dialled": "phone", "born": "birth date", "zip": "postcode", "place": "city",
    "way": "street", "house": "house number", "firm": "company", "work": "e-mail's company",
    "number": "shared number", "extra": "further names",
    "job": "job title", "name": "name",
}  # fmt: skip
# As a book writes them.
ASKED = {
    "first_name": "first", "surname": "last", "further_names": "extra", "birth_date": "born", "email": "mail",
    "phone": "dialled", "shared_number": "number", "postcode": "zip", "city": "place", "street": "way", "company": "firm",
    "job_title": "job", "first_name_sound": "first_sound", "short_first_name": "root", "surname_sound": "last_sound",
    "surname_start": "substr(last, 1, 4)", "birth_year": "substr(born, 1, 4)", "birthday": "substr(born, 5, 4)",
    "email_local": "local", "email_company": "work", "postcode_start": "substr(zip, 1, 3)", "house_number": "house",
}  # fmt: skip
_PARTS = {"substr(born, 1, 4)": "birth year", "substr(born, 5, 4)": "birthday"}


class Counts(Protocol):
    """What rules are chosen by: how many pairs they would make, wherever the records lie.

    Attributes
    ----------
    n
        How many records there are.
    asks
        What rules may ask for.
    at_once
        So many rules are counted together.
    """

    n: int
    asks: Iterable[str]
    at_once: int

    def count(self, rules: Sequence[Sequence[str]], share: int) -> list[tuple[int, int]]:
        """Of each rule the pairs that agree, told from one block in `share`, and the records that have all it asks for."""

    def partnered(self, rules: Sequence[Sequence[str]]) -> list[int]:
        """Of each rule the records that agree with at least one other."""

    def one_too_many(self, rules: Sequence[Sequence[str]], most: float, share: int) -> list[int]:
        """Places of those rules that, taken in their order, would make more pairs than `most` with the ones before."""


@dataclass(frozen=True)
class Keys:
    """What rules ask for, as numbers in memory: of each record a hash of each thing, 0 where it is missing.

    Attributes
    ----------
    ids
        `unique_id` of each record.
    hashes
        By expression, such as `substr(last, 1, 4)`.
    """

    ids: np.ndarray
    hashes: dict[str, np.ndarray]
    at_once = 1

    @property
    def n(self) -> int:
        """How many records there are."""
        return len(self.ids)

    @property
    def asks(self) -> Iterable[str]:
        """What rules may ask for."""
        return self.hashes

    def count(self, rules: Sequence[Sequence[str]], share: int) -> list[tuple[int, int]]:
        """As in :class:`Counts`."""
        return [_count(*self.of(rule), share) for rule in rules]

    def partnered(self, rules: Sequence[Sequence[str]]) -> list[int]:
        """As in :class:`Counts`."""
        return [_partnered(*self.of(rule)) for rule in rules]

    def one_too_many(self, rules: Sequence[Sequence[str]], most: float, share: int) -> list[int]:
        """As in :class:`Counts`."""
        chosen = _drawn(self.n, share)
        made, over = np.empty(0, "int64"), []
        for place, rule in enumerate(rules):
            more = _once(np.concatenate([made, _pairs_of(self, rule, chosen)]))
            if len(more) * share > most:
                over.append(place)
            else:
                made = more
        return over

    def of(self, rule: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """One number for all that a rule asks for, and whether a record has all of it."""
        key = self.hashes[rule[0]]
        whole = key != 0
        for text in rule[1:]:
            key = (key * _MIX) ^ self.hashes[text]
            whole = whole & (self.hashes[text] != 0)
        return key, whole

    def agree(self, rule: Sequence[str], left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of pairs of places, whether the two agree on all that a rule asks for."""
        told = np.ones(len(left), dtype=bool)
        for text in rule:
            column = self.hashes[text]
            one = column[left]
            told &= (one == column[right]) & (one != 0)
        return told


def keys(records: ir.Table, expressions: Sequence[str]) -> Keys:
    """What do rules see of each record?

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with `unique_id`; their order is kept.
    expressions
        What rules may ask for.
    """
    told = records.select("unique_id", **hashed(records, expressions)).to_pyarrow()
    return Keys(told["unique_id"].to_numpy().astype("int64"), read_hashes(told, expressions))


def hashed(records: ir.Table, expressions: Sequence[str]) -> dict[str, ir.Column]:
    """The columns that :func:`read_hashes` reads.

    Parameters
    ----------
    records, expressions
        As for :func:`keys`.
    """
    # an engine gives what is missing a hash too: it is read once, as that is told in a fraction of the time
    nothing = {"h": row_hash([ibis.null("string")])}
    return nothing | {f"h{i}": row_hash([expression(records, text)]) for i, text in enumerate(expressions)}


def read_hashes(told: pa.Table, expressions: Sequence[str]) -> dict[str, np.ndarray]:
    """Hashes by expression, 0 where it is missing.

    Parameters
    ----------
    told
        What came of the columns.
    expressions
        As for :func:`hashed`.
    """
    nothing = told["h"].to_numpy()[:1]
    found = {text: told[f"h{i}"].to_numpy() for i, text in enumerate(expressions)}
    return {text: np.where(column == nothing, np.uint64(0), column) for text, column in found.items()}


def choose_rules(found: Counts, *, per_rule: float, most: float, given: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:
    """Which blocking rules reach furthest at a bounded number of pairs?

    A rule asks for up to three things. It is used where it makes no more pairs than it may and no looser one is used:
    every rule that is, is as loose as it can be. All is counted before a pair is made.

    Parameters
    ----------
    found
        As from :func:`keys`, or what else counts pairs.
    per_rule
        Bound on the pairs of one rule.
    most
        Bound on the pairs of all, each counted once. Where it would be broken, rules are taken by how many records they
        give a partner for a pair: an e-mail address before a birthday and a city, however many pairs either makes.
    given
        The rules that a book asks for; they are held to the same bounds, but not to others' being looser.

    Returns
    -------
    pandas.DataFrame
        `rule` (a tuple of expressions), `pairs`, `used`, `why`; the rules used, then those that would break a bound.
    """
    rows: list[tuple[tuple[str, ...], int, bool, str]] = []
    used: list[tuple[str, ...]] = []
    share = max(1, found.n // COUNT_ALL)
    chance: dict[str, float] = {}
    rules = _candidates(set(found.asks)) if given is None else [tuple(rule) for rule in given]

    def is_open(rule: Sequence[str]) -> bool:
        return given is not None or not any(_implies(rule, other) for other in used)

    for rule, pairs, filled in _counted(found, rules, is_open, share, per_rule):
        every = max(filled * (filled - 1) / 2, 1)
        expected = every
        for text in rule:
            expected *= chance.get(text, 0.0)
        if len(rule) == 1:
            chance[rule[0]] = pairs / every
        why = ""
        if pairs > per_rule:
            why = f"more than {per_rule:,.0f} pairs"
        elif len(rule) > 1 and given is None and pairs < LEAST_LIFT * expected:
            why = "hardly more pairs than chance makes"
        rows.append((rule, pairs, not why, why))
        if not why and pairs:
            used.append(rule)
    told = pd.DataFrame(rows, columns=["rule", "pairs", "used", "why"])
    told = told[told["pairs"] > 0]
    over = _too_many(found, told.loc[told["used"], "rule"], told.loc[told["used"], "pairs"], most)
    told.loc[over, "used"] = False
    told.loc[over, "why"] = f"all rules together would make more than {most:,.0f} pairs"
    return told.sort_values(["used", "pairs"], ascending=[False, False], kind="stable", ignore_index=True)


def _counted(
    found: Counts, rules: Iterable[tuple[str, ...]], is_open: Callable[[Sequence[str]], bool], share: int, per_rule: float
) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Rules that are open still when their turn comes, with their pairs and the records that have all they ask for."""
    waiting = iter(rules)
    while some := list(islice(filter(is_open, waiting), found.at_once)):
        counts = found.count(some, share)
        # the one block that makes too many pairs may not be in the share
        again = [place for place, (pairs, _) in enumerate(counts) if share > 1 and pairs <= per_rule]
        exact = found.count([some[place] for place in again], 1) if again else []
        counts = {**dict(enumerate(counts)), **dict(zip(again, exact, strict=True))}
        yield from ((rule, *counts[place]) for place, rule in enumerate(some) if is_open(rule))


def blocked(found: Keys, rules: Sequence[Sequence[str]], share: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Every pair that agrees on a rule, once.

    Parameters
    ----------
    found
        As from :func:`keys`.
    rules
        Each a choice of expressions.
    share
        Of the pairs only those whose first record is one in so many, drawn by their places.

    Returns
    -------
    left, right
        Places of records in `found`, the smaller first; ordered by both.
    """
    n = len(found.ids)
    chosen = _drawn(n, share)
    made = np.empty(0, "int64")
    waiting: list[np.ndarray] = []
    for rule in rules:
        waiting.append(_pairs_of(found, rule, chosen))
        if sum(map(len, waiting)) > SORTED_AT_ONCE:
            made, waiting = _once(np.concatenate([made, *waiting])), []
    made = _once(np.concatenate([made, *waiting]))
    return np.divmod(made, n)


def worth_their_pairs(
    found: Keys, rules: Sequence[Sequence[str]], left: np.ndarray, right: np.ndarray, probability: np.ndarray
) -> np.ndarray:
    """Which rules find people whom the others do not, for the pairs that they make?

    The rules are gone through from the one whose pairs are most often of one human on. One that adds fewer of them than one
    in `PAIRS_A_FIND` of the pairs that it adds is not worth them.

    Parameters
    ----------
    found, rules
        As for :func:`blocked`.
    left, right
        All pairs that agree on any of the rules, or a share of them, by place.
    probability
        How probable it is that each is one human.

    Returns
    -------
    numpy.ndarray
        Of each rule, whether it is.
    """
    return worth([found.agree(rule, left, right) for rule in rules], np.ones(len(left)), probability)


def worth(agree: Sequence[np.ndarray], count: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The same of groups of pairs that agree on the same rules.

    Parameters
    ----------
    agree
        Of each rule, which groups agree on it.
    count, probability
        Of each group, how many pairs it has, and how many of them are expected to be of one human.
    """
    often = np.array([probability[one].sum() / max(count[one].sum(), 1) for one in agree])
    told, left_over = np.zeros(len(agree), dtype=bool), np.ones(len(count), dtype=bool)
    for place in np.argsort(-often.round(12), kind="stable"):
        new = agree[place] & left_over
        if PAIRS_A_FIND * probability[new].sum() > count[new].sum():
            told[place] = True
            left_over &= ~new
    return told


def blocked_with(
    found: Keys, rules: Sequence[Sequence[str]], fresh: np.ndarray, *, per_rule: float, most: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Every pair that agrees on a rule and of which at least one record is fresh, once.

    Parameters
    ----------
    found
        As from :func:`keys`.
    rules
        Each a choice of expressions.
    fresh
        Of each record, whether it is.
    per_rule, most
        Bounds on the pairs of one rule, and of all.

    Returns
    -------
    left, right
        Places of records in `found`, the smaller first; ordered by both. None where a bound would be broken; nothing is
        made then.
    """
    n, made, so_far = len(found.ids), [np.empty(0, "int64")], 0
    for rule in rules:
        key, whole = found.of(rule)
        at = members(key, whole, np.unique(key[fresh & whole]))
        at = at[np.argsort(key[at], kind="stable")]
        sizes = _runs(key[at])
        ends = np.cumsum(sizes)
        block = np.repeat(np.arange(len(sizes)), sizes)
        new = np.flatnonzero(fresh[at])
        mine = sizes[block[new]]
        count = int((mine - 1).sum())
        so_far += count
        if count > per_rule or so_far > most:
            return None
        # each fresh one with all of its block, itself too
        one = np.repeat(new, mine)
        other = np.repeat(ends[block[new]] - mine, mine) + np.arange(len(one)) - np.repeat(np.cumsum(mine) - mine, mine)
        a, b = at[one], at[other]
        made.append((np.minimum(a, b) * n + np.maximum(a, b))[a != b])
    return np.divmod(_once(np.concatenate(made)), max(n, 1))


def members(key: np.ndarray, whole: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which places have one of these keys?

    Parameters
    ----------
    key, whole
        As from :meth:`Keys.of`.
    wanted
        Sorted, each once; few beside all.
    """
    if not len(wanted):
        return np.empty(0, "int64")
    # most places are ruled out by a table that stays in the processor's cache
    table = np.zeros(1 << 20, dtype=bool)
    table[(wanted * _MIX) >> np.uint64(44)] = True
    at = np.flatnonzero(table[(key * _MIX) >> np.uint64(44)] & whole)
    nearest = np.minimum(np.searchsorted(wanted, key[at]), len(wanted) - 1)
    return at[wanted[nearest] == key[at]]


def count_pairs(records: ir.Table, rule: Sequence[str]) -> int:
    """How many pairs agree on a rule? Counted without making them.

    Parameters
    ----------
    records
        As for :func:`keys`.
    rule
        Expressions, such as `("last", "substr(zip, 1, 2)")`.
    """
    return _count(*keys(records, rule).of(rule), 1)[0]


def say_rule(rule: Sequence[str]) -> str:
    """A blocking rule in words.

    Parameters
    ----------
    rule
        Expressions.
    """
    said = []
    for text in rule:
        if text in _PARTS:
            said.append(_PARTS[text])
            continue
        word = WORDS[column_of(text)]
        if text.startswith("substr"):
            length = text.rstrip(")").rsplit(",", 1)[1].strip()
            word = f"first letter of {word}" if length == "1" else f"first {length} characters of {word}"
        said.append(word)
    return "same " + ", ".join(said)


def family_of(rule: Sequence[str]) -> str:
    """By what a rule knows somebody: what is theirs alone, else what goes with the name.

    Parameters
    ----------
    rule
        Expressions.
    """
    groups = {group: [text for text in rule if text in choices] for group, choices in ATOMS.items()}
    if groups["contact"]:
        return groups["contact"][0].replace("local", "mail")
    for group in ("born", "where", "way", "house", "firm"):
        if groups[group]:
            return {"way": "where", "house": "where"}.get(group, group)
    return "name"


def column_of(text: str) -> str:
    """The column that an expression reads.

    Parameters
    ----------
    text
        `last`, or `substr(last, 1, 4)`.
    """
    return text.partition("(")[2].partition(",")[0] if "(" in text else text


def atoms(there: Iterable[str]) -> list[str]:
    """What may rules ask for, where these columns are filled?

    Parameters
    ----------
    there
        Names of columns.
    """
    there = set(there)
    return [text for choices in ATOMS.values() for text in choices if column_of(text) in there]


def _candidates(there: set[str]) -> list[tuple[str, ...]]:
    """Rules by how much they ask for, the loosest first."""
    groups = {name: [text for text in choices if text in there] for name, choices in ATOMS.items()}
    groups = {name: choices for name, choices in groups.items() if choices}
    made: list[tuple[tuple[int, int], tuple[str, ...]]] = []
    for size in range(1, MOST_ATOMS + 1):
        for names in combinations(groups, size):
            for choice in product(*(enumerate(groups[name]) for name in names)):
                made.append(((size, sum(i for i, _ in choice)), tuple(text for _, text in choice)))
    made.sort(key=lambda item: item[0])
    return [rule for _, rule in made]


def _implies(rule: Sequence[str], other: Sequence[str]) -> bool:
    """Whether all pairs that agree on one rule agree on the other too."""
    told = {text for part in rule for text in (part, *_IMPLIED.get(part, ()))}
    return set(other) <= told


def _count(key: np.ndarray, whole: np.ndarray, share: int) -> tuple[int, int]:
    """Pairs that agree, and the records that have all that is asked for."""
    key = key[whole]
    filled = len(key)
    if share > 1:
        # a share of the blocks, whole
        key = key[((key * _MIX) >> np.uint64(33)) % np.uint64(share) == 0]
    sizes = _runs(np.sort(key))
    return int((sizes * (sizes - 1)).sum()) // 2 * share, filled


def _too_many(found: Counts, rules: pd.Series, pairs: pd.Series, most: float) -> list[int]:
    """Which rules are one too many for a bound on the pairs of all? By their index."""
    if pairs.sum() <= most:
        return []
    # pairs a record with a partner: near one half where two records of a thing are one human
    partnered = dict(zip(rules.index, found.partnered(list(rules)), strict=True))
    spread = {place: pairs[place] / max(partnered[place], 1) for place in rules.index}
    order = sorted(rules.index, key=lambda place: (spread[place], place))
    share = max(1, found.n // COUNT_ALL)
    return [order[at] for at in found.one_too_many([rules[place] for place in order], most, share)]


def _drawn(n: int, share: int) -> np.ndarray | None:
    """One place in so many, the same ones each time; None for all."""
    return None if share == 1 else is_drawn(np.arange(n, dtype="uint64"), share)


def is_drawn(places: np.ndarray, share: int) -> np.ndarray:
    """Of places, whether each is the one in so many that is drawn by lot; the same ones each time.

    Parameters
    ----------
    places
        Whole numbers.
    share
        One in how many.
    """
    return (places.astype("uint64") * _MIX >> np.uint64(33)) % np.uint64(share) == 0


def _partnered(key: np.ndarray, whole: np.ndarray) -> int:
    """Records that agree with at least one other."""
    sizes = _runs(np.sort(key[whole]))
    return int(sizes[sizes > 1].sum())


def _pairs_of(found: Keys, rule: Sequence[str], chosen: np.ndarray | None = None) -> np.ndarray:
    """Pairs that agree on a rule, as numbers; only those whose first record is among the chosen, where some are."""
    key, whole = found.of(rule)
    at = np.flatnonzero(whole)
    at = at[np.argsort(key[at], kind="stable")]
    sizes = _runs(key[at])
    ends = np.repeat(np.cumsum(sizes), sizes)
    several = np.repeat(sizes > 1, sizes)
    here = np.flatnonzero(several if chosen is None else several & chosen[at])
    made, away = [np.empty(0, "int64")], 1
    while len(here := here[here + away < ends[here]]):
        # places within a block are in order, so that the first is the smaller
        made.append(at[here] * len(found.ids) + at[here + away])
        away += 1
    return np.concatenate(made)


def _once(values: np.ndarray) -> np.ndarray:
    """Each value once, in order. For tens of millions numpy's own takes many times as long."""
    values.sort()
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def _runs(ordered: np.ndarray) -> np.ndarray:
    """How often each value stands in a sorted array."""
    if not len(ordered):
        return np.empty(0, "int64")
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return np.diff(np.concatenate([begins, [len(ordered)]]))


def expression(records: ir.Table, text: str) -> ir.StringColumn:
    """What does a rule see of records where it asks for this?

    Parameters
    ----------
    records
        As for :func:`keys`.
    text
        `last`, or `substr(last, 1, 4)`.
    """
    column = records[column_of(text)]
    if text.startswith("substr"):
        start, length = (int(part) for part in text.rstrip(")").split(",")[1:])
        # a beginning that is shorter is the whole (surnames such as Li), so that the whole always implies its beginning
        piece = column.substr(start - 1, length)
        return piece if start == 1 else (piece.length() == length).ifelse(piece, ibis.null("string"))
    return column
