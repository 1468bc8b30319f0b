"""Which pairs of records are worth a look, and how probable is it that each is one human?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching import model as models
from clientbook.matching.blocking import (
    PAIRS_A_FIND,
    WORDS,
    Counts,
    Keys,
    atoms,
    blocked,
    choose_rules,
    count_pairs,
    family_of,
    keys,
    say_rule,
    worth_their_pairs,
)
from clientbook.matching.comparing import Compared, as_splink, comparisons
from clientbook.matching.levels import Coded, unpacked

FEWEST_RECORDS = 500
# All rules together may make so many times the pairs of one.
RULES_TOGETHER = 6
# However many records there are, one rule makes no more.
MOST_PAIRS = 4_000_000
# So many random pairs say how often strangers agree.
RANDOM_PAIRS = 300_000
# Of so many pairs, counted once for each rule, a model learns all that it can.
TRAINED_ON = 4_000_000
# What says that two records are of one town, the finest first.
TOWNS = ("zip", "place")
# Odds against of over a thousand to one are not looked at again, however rare the values.
_HOPELESS = -10.0
# Starts of the training that must agree.
_STARTS = (0.9, 0.7, 0.98)

NO_RULE = "No two records agree on anything that few others agree on too."
TOO_FEW_SAME = "So few records are the same human that no model can be trained"
# Of more that hang together by exact rules not every two are told.
MOST_CLOSED = 400
# How many records of one name one human has, and how many records have a whole name.
OF_ALL = ("own", "named")
_ENDS = {"source": "source", "person_id": "person_id", "customer": "customer_id"}
REVIEW = (
    "turn", "customer_a", "customer_b", "source_a", "person_id_a", "source_b", "person_id_b", "probability", "match_weight",
    "reasons_for", "reasons_against", "asked_for", "stratum", "changes", "chance", "expected_gain",
)  # fmt: skip
_TOO_FEW_TO_TRAIN = (("mail",), ("number",), ("dialled", "name_key"))


@dataclass(frozen=True)
class Scored:
    """Which pairs were compared, and what came of it?

    Attributes
    ----------
    edges
        `l`, `r` (record numbers), `probability`, ordered by both; pairs that are hopeless are not there.
    looked_at
        A row a blocking rule: `rule` in words, `pairs` it would make, `used`, `why`.
    levels
        As `edges`: the level of likeness of each comparison, 0 the most alike, -1 where nothing can be said; the bits
        that the rarity of the values adds in the last column.
    match_weight
        As `edges`.
    model
        The model, or None.
    settings
        The Splink model as plain data; empty where none was trained.
    method
        `splink`, `exact rules` or `none`.
    note
        A sentence for the reader.
    oddities
        What is odd about the training, a sentence each.
    recall
        Of all pairs of one human the expected share that some blocking rule finds; None where it cannot be said.
    starts
        What the training found from each start.
    patterns
        As `edges`: the levels of each pair as one number, which :func:`clientbook.matching.levels.unpacked` reads.
    rules
        The blocking rules that were used.
    averages
        By column how often strangers agree on it, beside which it is told how rare a value is, and the two numbers of
        `OF_ALL`, as for :func:`rarity`.
    """

    edges: pd.DataFrame
    looked_at: pd.DataFrame
    levels: np.ndarray | None = None
    match_weight: np.ndarray | None = None
    model: models.Model | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    method: str = "none"
    note: str = ""
    oddities: tuple[str, ...] = ()
    recall: float | None = None
    starts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["start", "rounds", "settled", "pairs"]))
    patterns: np.ndarray | None = None
    rules: tuple[tuple[str, ...], ...] = ()
    averages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Common:
    """How common is each record's value, by column?

    Attributes
    ----------
    counts
        Of each record how many records have its value; 1 where it has none.
    filled
        How many records have a value.
    averages
        How often strangers agree.
    """

    counts: dict[str, np.ndarray]
    filled: dict[str, int]
    averages: dict[str, float]


def nothing(note: str = "", looked_at: pd.DataFrame | None = None) -> Scored:
    """What is known where no records can be compared.

    Parameters
    ----------
    note
        Why.
    looked_at
        The blocking rules, if any.
    """
    return Scored(
        _no_edges(),
        pd.DataFrame(columns=["rule", "pairs", "used", "why"], dtype="object") if looked_at is None else looked_at,
        note=note,
    )


def compare(
    records: ir.Table, engine: Engine, *, pairs_per_record: int, seed: int, columns: Sequence[str] = (),
    asked: Sequence[Sequence[str]] | None = None,
) -> Scored:  # fmt: skip
    """How probable is it that two records are one human?

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with a number in `unique_id`, from 0 on or with gaps.
    engine
        Splink works on its DuckDB.
    pairs_per_record
        A blocking rule that makes more pairs than so many a record is left out for tighter ones; all together may make
        six times as many.
    seed
        Of the random pairs that say how often strangers agree.
    columns
        The comparisons that the book asks for; all for which there are columns where it does not.
    asked
        The blocking rules that the book asks for; None finds them.

    Returns
    -------
    Scored
        With fewer than 500 records nothing can be trained: then equal e-mail, shared number, or phone and name tie two
        records.
    """
    filled = filled_of(records)
    n = filled.pop("unique_id")
    compared = [one for one in comparisons(filled, n) if not columns or one.name in columns]
    if why := too_little(n, compared):
        return by_exact_rules(records, filled, why)
    keyed = keys(records, asked_for(filled, n, asked))
    rules, told = rules_of(keyed, pairs_per_record, asked)
    if not rules:
        return nothing(NO_RULE, told)
    return _trained(records, engine, keyed, rules, compared, told, seed)


def too_little(n: int, compared: Sequence[Compared]) -> str:
    """Why is there too little to train a model? Nothing where there is enough.

    Parameters
    ----------
    n
        How many records there are.
    compared
        The comparisons that can be made.
    """
    if n < FEWEST_RECORDS:
        return f"{n:,} records are too few to train a model"
    return "One column alone trains no model" if len(compared) < 2 else ""


def asked_for(filled: Mapping[str, int], n: int, asked: Sequence[Sequence[str]] | None) -> list[str]:
    """What may blocking rules ask for?

    Parameters
    ----------
    filled
        How many records have a value, by column.
    n
        How many records there are.
    asked
        The rules of the book; None finds them.
    """
    if asked is not None:
        return sorted({text for rule in asked for text in rule})
    return atoms({name for name, count in filled.items() if count >= max(2, 0.01 * n)})


def rules_of(
    counts: Counts, pairs_per_record: int, asked: Sequence[Sequence[str]] | None
) -> tuple[list[tuple[str, ...]], pd.DataFrame]:
    """Which blocking rules are used, and which were looked at?

    Parameters
    ----------
    counts
        What counts pairs.
    pairs_per_record, asked
        As for :func:`compare`.

    Returns
    -------
    rules, looked_at
        The second as in :class:`Scored`; the rules used come first.
    """
    per_rule = bound(counts.n, pairs_per_record)
    looked_at = choose_rules(counts, per_rule=per_rule, most=RULES_TOGETHER * per_rule, given=asked)
    rules = [rule for rule, used in zip(looked_at["rule"], looked_at["used"], strict=True) if used]
    return rules, looked_at.assign(rule=[say_rule(rule) for rule in looked_at["rule"]])


def bound(n: int, pairs_per_record: int) -> int:
    """How many pairs may a rule make?

    Parameters
    ----------
    n
        How many records there are.
    pairs_per_record
        As for :func:`compare`.
    """
    return min(max(pairs_per_record * n, 5_000), MOST_PAIRS)


def by_exact_rules(
    records: ir.Table, filled: Mapping[str, int], why: str, count: Callable[[ir.Table, Sequence[str]], int] = count_pairs
) -> Scored:
    """Which records are one, where no model can be trained?

    Parameters
    ----------
    records
        As for :func:`compare`.
    filled
        How many records have a value, by column.
    why
        None can be, in words.
    count
        What counts the pairs of a rule.
    """
    rules = [rule for rule in _TOO_FEW_TO_TRAIN if all(filled.get(name, 0) >= 2 for name in rule)]
    told = [(say_rule(rule), count(records, rule), True, "") for rule in rules]
    looked_at = pd.DataFrame(told, columns=["rule", "pairs", "used", "why"])
    if not rules:
        return nothing(f"{why}, and no column is there by which two records could be tied for certain.", looked_at)
    return Scored(
        exact_pairs(records, rules), looked_at, method="exact rules",
        note=f"{why}: records with the same e-mail, the same shared number, or the same phone and name are one.",
    )  # fmt: skip


def exact_pairs(records: ir.Table, rules: Iterable[Sequence[str]]) -> pd.DataFrame:
    """Which records are tied because they agree on all of a rule's columns?

    Parameters
    ----------
    records
        As for :func:`compare`.
    rules
        Each a choice of columns.

    Returns
    -------
    pandas.DataFrame
        `l`, `r`, `probability` 1: every two records that agree, or that others tie, as what was not compared would speak
        against them; of very many that hang together each with the first.
    """
    found = [_no_edges()]
    for rule in rules:
        rows = records.select("unique_id", *rule)
        for name in rule:
            rows = rows.filter(rows[name].notnull())
        first = rows.mutate(l=rows["unique_id"].min().over(ibis.window(group_by=list(rule))))
        tied = first.filter(first["l"] < first["unique_id"])
        found.append(tied.select(l=tied["l"], r=tied["unique_id"], probability=ibis.literal(1.0)).to_pandas())
    edges = pd.concat(found, ignore_index=True).drop_duplicates(["l", "r"])
    return _closed(edges).sort_values(["l", "r"], ignore_index=True)


def _closed(edges: pd.DataFrame) -> pd.DataFrame:
    """Every two of those that hang together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if edges.empty:
        return edges
    ends, where = np.unique(edges[["l", "r"]].to_numpy("int64"), return_inverse=True)
    where = where.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(where)), (where[:, 0], where[:, 1])), shape=(len(ends),) * 2)
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    size = np.bincount(label)
    begin = np.cumsum(size) - size
    whole = size <= MOST_CLOSED
    told = [edges[~whole[label[where[:, 0]]]]]
    for n in np.unique(size[whole]):
        groups = order[begin[whole & (size == n)][:, None] + np.arange(n)]
        low, high = np.triu_indices(n, 1)
        told.append(pd.DataFrame({"l": ends[groups[:, low].ravel()], "r": ends[groups[:, high].ravel()], "probability": 1.0}))
    return pd.concat(told, ignore_index=True)


def review(scored: Scored, asked: pd.DataFrame, numbered: ir.Table, known: ir.Table) -> ir.Table:
    """Which pairs should a person look at, in which order?

    Parameters
    ----------
    scored
        As from :func:`compare`.
    asked
        As from :func:`clientbook.matching.reviewing.in_turn`.
    numbered
        Records with their `unique_id`.
    known
        The table `identities`.

    Returns
    -------
    ibis.expr.types.Table
        The public table `review_pairs`; its reasons are words, no values.
    """
    kinds = {name: "float64" for name in ("probability", "match_weight", "chance", "expected_gain")}
    schema = {name: kinds.get(name, "int64" if name in ("turn", "changes") else "string") for name in REVIEW}
    if scored.model is None or scored.levels is None or asked.empty:
        empty = {name: pd.Series(dtype="object" if kind == "string" else kind) for name, kind in schema.items()}
        return ibis.memtable(pd.DataFrame(empty), schema=schema)
    ids = pd.DataFrame({"unique_id": np.unique(asked[["l", "r"]].to_numpy("int64"))})
    ends = numbered.inner_join(ibis.memtable(ids), "unique_id")
    ends = ends.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
    frame = ends.select("unique_id", "source", "person_id", "customer_id").to_pandas().set_index("unique_id")
    rows: dict[str, Any] = {"turn": np.arange(1, len(asked) + 1)}
    for side, end in (("a", "l"), ("b", "r")):
        for kind, name in _ENDS.items():
            rows[f"{kind}_{side}"] = frame[name].reindex(asked[end]).to_numpy()
    at = places(scored.edges, asked["l"].to_numpy("int64"), asked["r"].to_numpy("int64"))
    found = at >= 0
    probability, weight = scored.edges["probability"].to_numpy()[at], scored.match_weight[at].round(6)
    rows["probability"], rows["match_weight"] = (np.where(found, one, np.nan) for one in (probability, weight))
    told = [reasons(scored.model, scored.levels[i]) if i >= 0 else ("other records of the customer", "") for i in at]
    rows["reasons_for"], rows["reasons_against"] = ([one[i] for one in told] for i in (0, 1))
    made = pd.DataFrame(rows).assign(**{name: asked[name].to_numpy() for name in REVIEW[-5:]})
    made = made.assign(chance=made["chance"].astype(float).round(6), expected_gain=made["expected_gain"].astype(float).round(6))
    made["changes"] = made["changes"].astype("Int64")
    return ibis.memtable(made[list(REVIEW)].astype({"stratum": "object"}), schema=schema)


def places(edges: pd.DataFrame, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where is each pair among those that were compared? -1 where it was not.

    Parameters
    ----------
    edges
        As in :class:`Scored`, in its order.
    left, right
        Record numbers, the smaller first.
    """
    if edges.empty:
        return np.full(len(left), -1)
    n = int(max(edges["r"].max(), right.max(initial=0))) + 1
    keys = edges["l"].to_numpy("int64") * n + edges["r"].to_numpy("int64")
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, left * n + right, sorter=order), len(keys) - 1)]
    return np.where(keys[at] == left * n + right, at, -1)


def reasons(model: models.Model, levels: np.ndarray) -> tuple[str, str]:
    """What speaks for and against two records being one human, in words, the strongest first.

    Parameters
    ----------
    model
        The model.
    levels
        As one row of :attr:`Scored.levels`.
    """
    told = []
    for one, level, weights in zip(model.compared, levels, model.weights("strangers"), strict=False):
        if level >= 0:
            words = one.levels[level].words if level < len(one.levels) else f"different {one.word}"
            told.append((float(weights[level]), words))
    told.sort(key=lambda item: (-abs(item[0]), item[1]))
    pro, contra = ("; ".join(text for weight, text in told if (weight > 0) == sign) for sign in (True, False))
    return pro, contra


def _trained(
    records: ir.Table, engine: Engine, keyed: Keys, rules: Sequence[Sequence[str]], compared: Sequence[Compared],
    told: pd.DataFrame, seed: int,
) -> Scored:  # fmt: skip
    n = len(keyed.ids)
    coded = Coded(records, engine, compared)
    of_strangers = _strangers(coded, n, seed)
    share = share_of(told, rules)
    left, right = blocked(keyed, rules, share)
    code = coded.patterns(left, right)
    names = _whole_names(coded)
    beside = {"one_name": None if names is None else _pairs_of_one(names), "near": _of_one_town(coded, names, seed)}
    fitted = fit(*np.unique(code, return_counts=True), compared, *of_strangers, n, share, **beside)
    model = fitted[0]
    if model.pairs["same"] < 1:
        return by_exact_rules(records, filled_of(records), TOO_FEW_SAME)
    common = _common(coded)
    drawn = left, right
    left, right, code, shown, weight, probability = hopeful(model, common, left, right, code, n)
    found = finds(keyed, rules, left, right, probability)
    told = with_finds(told, found, share)
    if share > 1:
        chances = np.zeros(len(drawn[0]))
        chances[np.searchsorted(drawn[0] * n + drawn[1], left * n + right)] = probability
        told, rules = only_worth(told, rules, worth_their_pairs(keyed, rules, *drawn, chances))
        left, right = blocked(keyed, rules)
        left, right, code, shown, weight, probability = hopeful(model, common, left, right, coded.patterns(left, right), n)
    edges = pd.DataFrame({"l": keyed.ids[left], "r": keyed.ids[right], "probability": probability.round(6)})
    return scored_by(fitted, edges, told, shown, weight, code, rules, of_all(model, common, n), found["recall"], share)


def share_of(looked_at: pd.DataFrame, rules: Sequence[Sequence[str]]) -> int:
    """Of how many pairs one is learned from?

    Parameters
    ----------
    looked_at, rules
        As from :func:`rules_of`.
    """
    return max(1, round(looked_at["pairs"][: len(rules)].sum() / TRAINED_ON))


def fit(
    codes: np.ndarray, counts: np.ndarray, compared: Sequence[Compared], strangers: Sequence[np.ndarray],
    known: Sequence[float], n: int, share: int, *, one_name: tuple[float, float] | None, near: models.Near | None,
) -> list[models.Model]:  # fmt: skip
    """The model, and the same from other starts.

    Parameters
    ----------
    codes, counts
        Distinct levels of the pairs that rules picked, as from :meth:`clientbook.matching.levels.Coded.patterns`, in order;
        how many pairs have each.
    compared
        The comparisons.
    strangers, known, one_name, near
        What is known of all pairs, as for :func:`clientbook.matching.model.fit`.
    n
        How many records there are.
    share
        As from :func:`share_of`.
    """
    patterns, total = unpacked(codes, compared), n * (n - 1) / 2
    seen = patterns, counts * float(share), compared, strangers, known, total
    return [models.fit(*seen, start=start, one_name=one_name, near=near) for start in _STARTS]


def with_finds(looked_at: pd.DataFrame, found: Mapping[str, Any], share: int) -> pd.DataFrame:
    """The rules that were looked at, with what each finds.

    Parameters
    ----------
    looked_at, share
        As from :func:`rules_of` and :func:`share_of`.
    found
        As from :func:`finds`.
    """
    return looked_at.assign(**{name: pd.Series(found[name], dtype=float) * share for name in ("finds", "alone")})


def only_worth(
    looked_at: pd.DataFrame, rules: Sequence[tuple[str, ...]], is_worth: np.ndarray
) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """The rules that are worth their pairs, and why the others are not used.

    Parameters
    ----------
    looked_at, rules
        As from :func:`rules_of`.
    is_worth
        Of each rule, whether it is.
    """
    told = looked_at.copy()
    told.loc[: len(rules) - 1, "used"] = is_worth
    told.loc[np.flatnonzero(~is_worth), "why"] = f"of {PAIRS_A_FIND:,} pairs that it adds fewer than one is of one human"
    return told, [rule for rule, used in zip(rules, is_worth, strict=True) if used]


def scored_by(
    fitted: Sequence[models.Model], edges: pd.DataFrame, looked_at: pd.DataFrame, shown: np.ndarray, weight: np.ndarray,
    code: np.ndarray, rules: Sequence[Sequence[str]], averages: Mapping[str, float], recall: float | None, share: int,
) -> Scored:  # fmt: skip
    """What came of a trained model.

    Parameters
    ----------
    fitted
        As from :func:`fit`.
    edges, looked_at, shown, weight, code, rules, averages, recall
        As in :class:`Scored`.
    share
        As from :func:`share_of`.
    """
    model = fitted[0]
    note = (
        "Two records are compared on Splink's levels of likeness, column by column; a model trained on this book's own "
        "records says how probable it is that two are one human, and not kin or neighbours."
    )
    if share > 1:
        note += (
            f" It learned from the pairs of one record in {share:,}; then only the rules that find somebody whom others do not "
            "made all of theirs."
        )
    return Scored(
        edges, looked_at, shown, weight, model, splink_settings(model), "splink", note, odd(model, fitted[1:]), recall,
        pd.DataFrame(
            [(start, one.iterations, "yes" if one.converged else "no", round(one.pairs["same"]))
             for start, one in zip(_STARTS, fitted, strict=True)],
            columns=["start", "rounds", "settled", "pairs"],
        ),
        code, tuple(tuple(rule) for rule in rules), dict(averages),
    )  # fmt: skip


def hopeful(
    model: models.Model, common: Common, left: np.ndarray, right: np.ndarray, code: np.ndarray, n: int
) -> tuple[np.ndarray, ...]:
    """Which pairs may be one human at all, and how probable is it?

    Parameters
    ----------
    model
        Trained.
    common
        How common the values of all records are.
    left, right
        Places of records.
    code
        The pairs' levels, as from :meth:`clientbook.matching.levels.Coded.patterns`.
    n
        How many records there were when the model was trained.

    Returns
    -------
    left, right, code, levels, match_weight, probability
        Of those pairs that are not hopeless.
    """
    kept = np.isin(code, not_hopeless(model, np.unique(code)))
    left, right, code = left[kept], right[kept], code[kept]
    shown = unpacked(code, model.compared)
    averages = of_all(model, common, n)
    shares = {name: count / max(common.filled[name], 1) for name, count in common.counts.items()}
    bits = rarity(model, shown, left, right, shares, common.counts, averages, averages["own"])
    weight, probability = models.score(model, shown, bits["strangers"], {kind: bits[kind] for kind in models.KIN})
    return left, right, code, shown, weight, probability


def not_hopeless(model: models.Model, codes: np.ndarray) -> np.ndarray:
    """With which levels may two records be one human at all, however common their values are?

    Parameters
    ----------
    model
        Trained.
    codes
        Distinct ones, in order.
    """
    return codes[models.score(model, unpacked(codes, model.compared))[0] > _HOPELESS]


def of_all(model: models.Model, common: Common, n: int) -> dict[str, float]:
    """How often strangers agree, and what else is known of all records: the two numbers of `OF_ALL`.

    Parameters
    ----------
    model
        Trained.
    common
        How common values are; of whose is no matter.
    n
        How many records there were when the model was trained.
    """
    own, named = 1 + 2 * model.pairs["same"] / n, common.filled.get("name_key", 0)
    return {**common.averages, **dict(zip(OF_ALL, (own, float(named)), strict=True))}


def finds(keyed: Keys, rules: Sequence[Sequence[str]], left: np.ndarray, right: np.ndarray, probability: np.ndarray) -> dict:
    """How many pairs of one human does each rule find, and how many may no rule have found?

    Rules are taken for the occasions of a capture and recapture: of pairs that exactly one rule found and those that
    two did, Chao's lower bound says how many none did (Chao 1987, Biometrics 43). Rules that ask for the same thing
    find the same pairs, so that they count as one occasion: the families are e-mail, phone, shared number, and the
    names with a date, with a place, or with something else.

    Parameters
    ----------
    keyed, rules
        As for :func:`clientbook.matching.blocking.blocked`.
    left, right, probability
        The pairs, by place, and how probable it is that each is one human.

    Returns
    -------
    dict
        `finds` and `alone` (expected pairs of one human that a rule finds, and that no other does) a rule; `recall`, of
        all pairs of one human the expected share that some rule finds.
    """
    likely = probability >= 0.01
    left, right, p = left[likely], right[likely], probability[likely]
    return found_by(rules, (keyed.agree(rule, left, right) for rule in rules), p)


def found_by(rules: Sequence[Sequence[str]], agreeing: Iterable[np.ndarray], p: np.ndarray) -> dict:
    """The same, where it is known which pairs agree on which rule.

    Parameters
    ----------
    rules
        As for :func:`finds`.
    agreeing
        Of each rule, which pairs agree on it.
    p
        How probable it is that each pair is one human, none of them hopeless.
    """
    often = np.zeros(len(p), dtype="int16")
    by_family: dict[str, np.ndarray] = {}
    agreed = []
    for rule, agree in zip(rules, agreeing, strict=True):
        often += agree
        agreed.append(np.packbits(agree))
        family = family_of(rule)
        by_family[family] = by_family.get(family, False) | agree
    told: dict[str, Any] = {"finds": [], "alone": []}
    for bits in agreed:
        agree = np.unpackbits(bits, count=len(p)).astype(bool)
        told["finds"].append(round(float(p[agree].sum()), 1))
        told["alone"].append(round(float(p[agree & (often == 1)].sum()), 1))
    families = sum((seen.astype("int16") for seen in by_family.values()), np.zeros(len(p), "int16"))
    once, twice = float(p[families == 1].sum()), float(p[families == 2].sum())
    seen, k = float(p.sum()), len(by_family)
    missed = (k - 1) / k * once**2 / (2 * twice) if k > 1 and twice else 0.0
    told["recall"] = round(seen / (seen + missed), 6) if k > 1 and twice else None
    return told


def odd(model: models.Model, others: Iterable[models.Model] = ()) -> tuple[str, ...]:
    """What is odd about a trained model? A sentence each, none where all is well.

    Parameters
    ----------
    model
        The model.
    others
        The same trained from other starts.
    """
    told = []
    if not model.converged:
        told.append(f"The training stopped at its limit of {model.iterations} rounds before it had settled.")
    same = model.pairs["same"]
    if any(abs(other.pairs["same"] - same) > 0.02 * same for other in others):
        told.append("From another start the training finds another number of pairs: take its probabilities with care.")
    for one, weights in zip(model.compared, model.weights("strangers"), strict=True):
        if weights[0] <= 0:
            told.append(f"The {one.word} speaks against two records where it is the same: look at what the column holds.")
        elif weights[-1] > 0:
            told.append(f"The {one.word} speaks for two records where it differs: look at what the column holds.")
    return tuple(told)


def _strangers(coded: Coded, n: int, seed: int) -> tuple[list[np.ndarray], list[float]]:
    """How often each level is seen among all pairs: equal values counted exactly, the others on random pairs."""
    code = coded.patterns(*random_pairs(n, seed))
    return strangers(*np.unique(code, return_counts=True), [_pairs_of_one(coded.codes[one.name]) for one in coded.compared],
                     coded.compared)  # fmt: skip


def random_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places drawn by lot, each once, the smaller first.

    Parameters
    ----------
    n
        How many places there are.
    seed
        Of the lot.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, n, (RANDOM_PAIRS, 2))
    drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
    return drawn[:, 0], drawn[:, 1]


def strangers(
    codes: np.ndarray, counts: np.ndarray, of_one: Sequence[tuple[float, float]], compared: Sequence[Compared]
) -> tuple[list[np.ndarray], list[float]]:
    """How often is each level seen among all pairs, and of how many pairs are both values there?

    Parameters
    ----------
    codes, counts
        Distinct levels of random pairs, and how many have each.
    of_one
        By comparison, how many of all pairs have one value, and how many have one at all.
    compared
        The comparisons.
    """
    patterns = unpacked(codes, compared)
    shares, known = [], []
    for i, (one, (equal, pairs)) in enumerate(zip(compared, of_one, strict=True)):
        seen = patterns[:, i] >= 0
        told = np.bincount(patterns[seen, i], weights=counts[seen], minlength=len(one.levels) + 1) + 0.5
        same = max(equal, 0.5) / max(pairs, 0.5)
        share = told / told.sum()
        share[1:] *= (1 - same) / share[1:].sum()
        share[0] = same
        shares.append(share)
        known.append(pairs)
    return shares, known


def town_of(filled: Mapping[str, int]) -> str | None:
    """By which column are two records of one town? The finer one, unless few have it; None where nothing tells.

    Parameters
    ----------
    filled
        How many records have a value, by column that is compared.
    """
    towns = {name: filled[name] for name in TOWNS if name in filled}
    return next((name for name, count in towns.items() if 2 * count >= max(towns.values())), None)


def _of_one_town(coded: Coded, names: np.ndarray | None, seed: int) -> models.Near | None:
    """What pairs of one town agree on, drawn by lot from all of them; None where no two records name the same."""
    name = town_of({name: int((coded.codes[name] >= 0).sum()) for name in TOWNS if name in coded.codes})
    if name is None:
        return None
    town = coded.codes[name].astype("int64")
    same, of = _pairs_of_one(town)
    if same < 1:
        return None
    left, right = _within(town, same, seed)
    code, counts = np.unique(coded.patterns(left, right), return_counts=True)
    one_name = None if names is None else _pairs_of_one(names, town)
    return models.Near(name, same, of, unpacked(code, coded.compared), counts.astype(float), one_name)


def _within(town: np.ndarray, pairs: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places of one town: all of them, or as many as are enough, drawn by lot."""
    if pairs <= RANDOM_PAIRS:
        return blocked(Keys(np.arange(len(town)), {"town": (town + 1).astype("uint64")}), [("town",)])
    at = np.flatnonzero(town >= 0)
    at = at[np.argsort(town[at], kind="stable")]
    size = np.bincount(town[at])
    begin = np.cumsum(size) - size
    drawn, one, other = drawn_within(size, pairs, seed)
    return at[begin[drawn] + one], at[begin[drawn] + other]


def drawn_within(size: np.ndarray, pairs: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs within towns, drawn by lot from all of them: the town, and which of its records the two are.

    Parameters
    ----------
    size
        Of each town, how many records it has.
    pairs
        How many pairs all towns have.
    seed
        Of the lot.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(size), RANDOM_PAIRS, p=size * (size - 1.0) / (2 * pairs))
    one = rng.integers(0, size[drawn])
    other = rng.integers(0, size[drawn] - 1)
    other += other >= one
    return drawn, one, other


def _pairs_of_one(codes: np.ndarray, group: np.ndarray | None = None) -> tuple[float, float]:
    """How many pairs have one value, and how many have one at all; of those within groups where some are given."""
    if group is None:
        sizes = _sizes(codes)
        return float((sizes * (sizes - 1)).sum()) / 2, float(sizes.sum() * (sizes.sum() - 1)) / 2
    both = (codes >= 0) & (group >= 0)
    key = group[both] * (int(codes.max(initial=0)) + 1) + codes[both]
    sizes, all_ = np.unique(key, return_counts=True)[1].astype(float), _sizes(group[both])
    return float((sizes * (sizes - 1)).sum()) / 2, float((all_ * (all_ - 1)).sum()) / 2


def _whole_names(coded: Coded) -> np.ndarray | None:
    """A number for each first name with a surname, -1 where one is missing; None where they are not compared."""
    if not {"first", "last"} <= coded.codes.keys():
        return None
    first, last = (coded.codes[name].astype("int64") for name in ("first", "last"))
    told = np.full(len(first), -1)
    both = (first >= 0) & (last >= 0)
    told[both] = np.unique(first[both] * (last.max() + 1) + last[both], return_inverse=True)[1]
    return told


def _sizes(codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes[codes >= 0], minlength=1).astype(float)


def _common(coded: Coded) -> Common:
    counts, filled, averages = {}, {}, {}
    for name, codes in coded.codes.items():
        sizes = _sizes(codes)
        n = sizes.sum()
        counts[name] = np.where(codes >= 0, sizes[np.maximum(codes, 0)], 1.0)
        filled[name] = int(n)
        averages[name] = float(max((sizes * (sizes - 1)).sum(), 1.0) / max(n * (n - 1), 1.0))
    return Common(counts, filled, averages)


def rarity(
    model: models.Model, shown: np.ndarray, left: np.ndarray, right: np.ndarray, shares: Mapping[str, np.ndarray],
    counts: Mapping[str, np.ndarray], averages: Mapping[str, float], own: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """By how many bits are the values that pairs agree on rarer than those that strangers agree on by chance?

    Parameters
    ----------
    model
        Which says what is compared.
    shown
        The levels of the pairs.
    left, right
        Places of their records.
    shares, counts
        By column, of each record: what share of the records with a value, and how many, have its value.
    averages
        By column: how often two records with a value agree; `named`: how many records have a whole name.
    own
        How many records of one name one human has.

    Returns
    -------
    dict
        By kind of pair: the bits.
    """
    bits = {kind: np.zeros(len(shown)) for kind in ("strangers", *models.KIN)}
    for i, one in enumerate(model.compared):
        for j, level in enumerate(one.levels):
            if level.rare:
                at = np.flatnonzero(shown[:, i] == j)
                # of two spellings the commoner one counts
                share = np.maximum(shares[level.rare][left[at]], shares[level.rare][right[at]])
                told = np.log2(averages[level.rare] / share)
                for kind in bits:
                    # of all who are of one town, most are of the largest
                    is_counted = kind == "area" and one.name == model.town
                    if kind == "strangers" or is_counted or kind not in one.shared_by:
                        bits[kind][at] += told
    if "name_key" in counts:
        # some names go together more than others, which the model knows on average; as many records of that name as one
        # human has are taken for one human's
        order = [one.name for one in model.compared]
        at = np.flatnonzero((shown[:, order.index("first")] == 0) & (shown[:, order.index("last")] == 0))
        apart = shares["first"][left[at]] * shares["last"][left[at]]
        joint = np.maximum(counts["name_key"][left[at]] - own, 0) / max(averages["named"], 1)
        together = np.log2(np.maximum(joint / apart, 1.0) / model.namesakes.get("strangers", 1.0))
        for kind in bits:
            if kind != "home":
                bits[kind][at] -= together
    return bits


def splink_settings(model: models.Model) -> dict[str, Any]:
    """The model as Splink reads it (`Linker(records, settings)`): m is of one human, u of strangers.

    Parameters
    ----------
    model
        The model.
    """
    comparisons = as_splink(model.compared)
    for one, m, u in zip(comparisons, model.probabilities["same"], model.probabilities["strangers"], strict=True):
        levels = [level for level in one["comparison_levels"] if not level.get("is_null_level")]
        for level, a, b in zip(levels, m, u, strict=True):
            level["m_probability"], level["u_probability"] = float(a), float(b)
    total = sum(model.pairs.values())
    return {
        "link_type": "dedupe_only", "sql_dialect": "duckdb", "unique_id_column_name": "unique_id",
        "probability_two_random_records_match": model.pairs["same"] / total, "comparisons": comparisons,
        # the pairs are made before; Splink wants a rule all the same
        "blocking_rules_to_generate_predictions": ["l.unique_id = r.unique_id"],
    }  # fmt: skip


def filled_of(records: ir.Table) -> dict[str, int]:
    """How many records have a value, by column, and `unique_id`, how many there are.

    Parameters
    ----------
    records
        As for :func:`compare`.
    """
    names = [name for name in ("unique_id", *WORDS) if name in records.columns]
    row = records.aggregate(**{name: records[name].count() for name in names}).to_pandas().iloc[0]
    return {name: int(row[name]) for name in names}


def _no_edges() -> pd.DataFrame:
    return pd.DataFrame({"l": pd.Series(dtype="int64"), "r": pd.Series(dtype="int64"), "probability": pd.Series(dtype=float)})
