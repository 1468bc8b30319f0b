"""Which pairs of records are worth a look, and how probable is it that each is one human?"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching import model as models
from clientbook.matching.blocking import WORDS, blocked, choose_rules, count_pairs, say_rule
from clientbook.matching.comparing import Compared, as_splink, comparisons
from clientbook.matching.standard import stage

FEWEST_RECORDS = 500
# All rules together may make so many times the pairs of one.
RULES_TOGETHER = 6
# However many records there are, one rule makes no more.
MOST_PAIRS = 8_000_000
# So many random pairs say how often strangers agree.
RANDOM_PAIRS = 300_000
# Splink holds so many pairs with their levels at one time.
PAIRS_AT_ONCE = 5_000_000
# Odds against of over a thousand to one are not looked at again, however rare the values.
_HOPELESS = -10.0
# Starts of the training that must agree.
_STARTS = (0.9, 0.7)

_ENDS = {"source": "source", "person_id": "person_id", "customer": "customer_id"}
_REVIEW = (
    "customer_a", "customer_b", "source_a", "person_id_a", "source_b", "person_id_b", "probability", "match_weight",
    "reasons_for", "reasons_against",
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
        pd.DataFrame(columns=["rule", "pairs", "used", "why"]) if looked_at is None else looked_at,
        note=note,
    )


def compare(records: ir.Table, engine: Engine, *, pairs_per_record: int, seed: int) -> Scored:
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

    Returns
    -------
    Scored
        With fewer than 500 records nothing can be trained: then equal e-mail, shared number, or phone and name tie two
        records.
    """
    filled = _filled(records)
    n = filled.pop("unique_id")
    there = {name for name, count in filled.items() if count >= max(2, 0.01 * n)}
    if n < FEWEST_RECORDS:
        return _by_exact_rules(records, filled, f"{n:,} records are too few to train a model")
    compared = comparisons(filled, n)
    if len(compared) < 2:
        return _by_exact_rules(records, filled, "One column alone trains no model")
    per_rule = min(max(pairs_per_record * n, 5_000), MOST_PAIRS)
    looked_at = choose_rules(records, there, n, per_rule=per_rule, most=RULES_TOGETHER * per_rule)
    rules = [rule for rule, used in zip(looked_at["rule"], looked_at["used"], strict=True) if used]
    told = looked_at.assign(rule=[say_rule(rule) for rule in looked_at["rule"]])
    if not rules:
        return nothing("No two records agree on anything that few others agree on too.", told)
    return _splink(records, engine, rules, compared, told, n, seed)


def _by_exact_rules(records: ir.Table, filled: dict[str, int], why: str) -> Scored:
    rules = [rule for rule in _TOO_FEW_TO_TRAIN if all(filled.get(name, 0) >= 2 for name in rule)]
    told = [(say_rule(rule), count_pairs(records, rule), True, "") for rule in rules]
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
        `l`, `r`, `probability` 1: each record with the first of those it agrees with, which is all that clusters need.
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
    return edges.sort_values(["l", "r"], ignore_index=True)


def review(scored: Scored, numbered: ir.Table, known: ir.Table, most: int) -> ir.Table:
    """Which undecided pairs should a person look at first?

    Parameters
    ----------
    scored
        As from :func:`compare`.
    numbered
        Records with their `unique_id`.
    known
        The table `identities`; pairs that were put together are decided.
    most
        How many.

    Returns
    -------
    ibis.expr.types.Table
        The public table `review_pairs`: pairs of different customers, the most even odds first; its reasons are words,
        no values.
    """
    schema = {name: "float64" if name in ("probability", "match_weight") else "string" for name in _REVIEW}
    if scored.model is None or scored.levels is None or not most:
        empty = {name: pd.Series(dtype="float64" if kind == "float64" else "object") for name, kind in schema.items()}
        return ibis.memtable(pd.DataFrame(empty), schema=schema)
    ends = numbered.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
    frame = ends.select("unique_id", "source", "person_id", "customer_id").order_by("unique_id").to_pandas()
    customer = pd.factorize(frame["customer_id"])[0]
    place = np.full(int(frame["unique_id"].max()) + 1, -1)
    place[frame["unique_id"]] = np.arange(len(frame))
    left, right = (place[scored.edges[side].to_numpy()] for side in "lr")
    probability = scored.edges["probability"].to_numpy()
    open_ = np.flatnonzero((customer[left] != customer[right]) & (probability >= 0.1))
    evenness = np.abs(probability[open_] - 0.5)
    chosen = open_[np.lexsort((right[open_], left[open_], evenness))][:most]
    rows: dict[str, Any] = {}
    for side, at in (("a", left[chosen]), ("b", right[chosen])):
        for kind, name in _ENDS.items():
            rows[f"{kind}_{side}"] = frame[name].to_numpy()[at]
    rows["probability"] = probability[chosen]
    rows["match_weight"] = scored.match_weight[chosen].round(6)
    told = [reasons(scored.model, scored.levels[i]) for i in chosen]
    rows["reasons_for"], rows["reasons_against"] = ([one[i] for one in told] for i in (0, 1))
    return ibis.memtable(pd.DataFrame(rows)[list(_REVIEW)], schema=schema)


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


def _splink(
    records: ir.Table, engine: Engine, rules: Sequence[Sequence[str]], compared: Sequence[Compared], told: pd.DataFrame,
    n: int, seed: int,
) -> Scored:  # fmt: skip
    from splink import DuckDBAPI, Linker, SettingsCreator

    logging.getLogger("splink").setLevel(logging.CRITICAL)
    needed = {"unique_id", "guessed", "role", "root", "first_sound", "last_sound", "local", "house", "mail", "work"}
    columns = [name for name in records.columns if name in needed | {one.name for one in compared}]
    frame = stage(engine, records.select(*columns))
    api = DuckDBAPI(connection=engine.connection.con)
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=as_splink(compared),
        # the pairs are registered; Splink wants a rule all the same
        blocking_rules_to_generate_predictions=["l.unique_id = r.unique_id"],
        retain_matching_columns=True,  # the levels come with them
        retain_intermediate_calculation_columns=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linker = Linker(api.register(frame.get_name()), settings, log_level=None, validate_settings=False)

        def levels(pairs: ir.Table) -> ir.Table:
            linker.table_management.register_blocked_pairs_for_predict(api.register(pairs.get_name()))
            predicted = linker.inference.predict(warning_mode="never")
            rows = engine.connection.table(predicted.physical_name)
            kept = stage(engine, rows.select(
                l=ibis.least(rows["unique_id_l"], rows["unique_id_r"]),
                r=ibis.greatest(rows["unique_id_l"], rows["unique_id_r"]),
                code=_code(rows, compared),
            ))  # fmt: skip
            predicted.drop_table_from_database_and_remove_from_cache()
            return kept

        strangers, known = _strangers(records, engine, compared, levels, n, seed)
        pairs = blocked(records, rules, engine)
        many = int(pairs.count().to_pyarrow().as_py())
        parts = max(1, -(-many // PAIRS_AT_ONCE))
        if parts == 1:
            vectors = levels(pairs)
        else:
            share = [stage(engine, pairs.filter(pairs["join_key_l"] % parts == i)) for i in range(parts)]
            vectors = ibis.union(*[levels(one) for one in share])
    counted = vectors.group_by("code").agg(n=vectors.count()).order_by("code").to_pandas()
    patterns = _patterns(counted["code"].to_numpy(), compared)
    counts = counted["n"].to_numpy(float)
    total = n * (n - 1) / 2
    fitted = [models.fit(patterns, counts, compared, strangers, known, total, start=start) for start in _STARTS]
    model = fitted[0]
    if model.pairs["same"] < 1:
        return _by_exact_rules(records, _filled(records), "So few records are the same human that no model can be trained")
    weight, _ = models.score(model, patterns)
    hopeful = ibis.memtable(pd.DataFrame({"code": counted["code"], "w": weight})[weight > _HOPELESS])
    rows = vectors.inner_join(hopeful, "code").select("l", "r", "code").order_by("l", "r").to_pandas()
    shown = _patterns(rows["code"].to_numpy(), compared)
    left, right = rows["l"].to_numpy(), rows["r"].to_numpy()
    rarity = _rarity(records, compared, shown, left, right, 1 + 2 * model.pairs["same"] / n)
    weight, probability = models.score(model, shown, rarity["strangers"], {kind: rarity[kind] for kind in models.KIN})
    edges = pd.DataFrame({"l": left, "r": right, "probability": probability.round(6)})
    note = (
        "Splink compares the records level by level; a model trained on this book's own records says how probable it is "
        "that two are one human, and not kin or neighbours."
    )
    return Scored(
        edges, told, shown, weight, model, _with_probabilities(linker.misc.save_model_to_json(), model), "splink", note,
        odd(model, fitted[1:]),
    )  # fmt: skip


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


def _strangers(records, engine, compared, levels, n, seed) -> tuple[list[np.ndarray], list[float]]:
    """How often each level is seen among all pairs: equal values counted exactly, the others on random pairs."""
    rng = np.random.default_rng(seed)
    keys = records.select("unique_id").order_by("unique_id").to_pandas()["unique_id"].to_numpy()
    drawn = rng.integers(0, n, (RANDOM_PAIRS, 2))
    drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
    frame = pd.DataFrame({"join_key_l": keys[drawn[:, 0]], "join_key_r": keys[drawn[:, 1]], "match_key": "0"})
    random = levels(stage(engine, ibis.memtable(frame)))
    counted = random.group_by("code").agg(n=random.count()).order_by("code").to_pandas()
    patterns = _patterns(counted["code"].to_numpy(), compared)
    shares, known = [], []
    for i, one in enumerate(compared):
        seen = patterns[:, i] >= 0
        told = np.bincount(patterns[seen, i], weights=counted["n"].to_numpy()[seen], minlength=len(one.levels) + 1) + 0.5
        held = records.filter(records[one.name].notnull())
        sizes = held.group_by(one.name).agg(k=held.count())
        sums = sizes.aggregate(
            n=sizes["k"].sum().cast("int64"), same=(sizes["k"] * (sizes["k"] - 1)).sum().cast("int64")
        ).to_pandas().iloc[0]  # fmt: skip
        pairs = float(sums["n"]) * (float(sums["n"]) - 1)
        same = max(float(sums["same"]), 1.0) / max(pairs, 1.0)
        share = told / told.sum()
        share[1:] *= (1 - same) / share[1:].sum()
        share[0] = same
        shares.append(share)
        known.append(pairs / 2)
    return shares, known


def _rarity(records, compared, shown, left, right, own: float) -> dict[str, np.ndarray]:
    """By how many bits the values that pairs agree on are rarer than those that strangers agree on by chance."""
    columns = sorted({level.rare for one in compared for level in one.levels if level.rare})
    held = [records[name] for name in columns]
    names = "first" in columns and "last" in columns
    frame = records.select("unique_id", *held, *(["name_key"] if names else [])).order_by("unique_id").to_pandas()
    last = int(frame["unique_id"].max()) + 1
    bits = {kind: np.zeros(len(shown)) for kind in ("strangers", *models.KIN)}
    counts, shares, averages = {}, {}, {}
    for name in [*columns, *(["name_key"] if names else [])]:
        codes, _ = pd.factorize(frame[name])
        sizes = np.bincount(codes[codes >= 0]).astype(float)
        n = sizes.sum()
        counts[name] = np.ones(last)
        counts[name][frame["unique_id"]] = np.where(codes >= 0, np.concatenate([sizes, [1.0]])[codes], 1.0)
        shares[name] = counts[name] / max(n, 1)
        averages[name] = max((sizes * (sizes - 1)).sum(), 1.0) / max(n * (n - 1), 1.0)
    for i, one in enumerate(compared):
        for j, level in enumerate(one.levels):
            if level.rare:
                at = shown[:, i] == j
                # of two spellings the commoner one counts
                share = np.maximum(shares[level.rare][left[at]], shares[level.rare][right[at]])
                told = np.log2(averages[level.rare] / share)
                for kind in bits:
                    if kind == "strangers" or kind not in one.shared_by:
                        bits[kind][at] += told
    if names:
        # a first name and a surname that go together are shared by more people than each by itself would say; as many
        # records of that name as one human has are taken for one human's
        order = [one.name for one in compared]
        at = (shown[:, order.index("first")] == 0) & (shown[:, order.index("last")] == 0)
        apart = shares["first"][left[at]] * shares["last"][left[at]]
        joint = np.maximum(counts["name_key"][left[at]] - own, 0) / max(frame["name_key"].notna().sum(), 1)
        together = np.log2(np.maximum(joint / apart, 1.0))
        for kind in bits:
            if kind != "home":
                bits[kind][at] -= together
    return bits


def _code(rows: ir.Table, compared: Sequence[Compared]) -> ir.IntegerColumn:
    """All levels of a pair as one number."""
    code, place = ibis.literal(0, "int64"), 1
    for one in compared:
        code = code + (rows[f"gamma_{one.name}"].cast("int64") + 1) * place
        place *= len(one.levels) + 2
    return code


def _patterns(code: np.ndarray, compared: Sequence[Compared]) -> np.ndarray:
    """The levels that a number stands for, counted from the most alike."""
    rest, told = code.astype("int64"), np.empty((len(code), len(compared)), dtype=np.int8)
    for i, one in enumerate(compared):
        size = len(one.levels) + 2
        gamma = rest % size - 1
        told[:, i] = np.where(gamma < 0, -1, len(one.levels) - gamma)
        rest = rest // size
    return told


def _with_probabilities(settings: dict[str, Any], model: models.Model) -> dict[str, Any]:
    """Splink's settings with what was learned: m of one human, u of strangers."""
    strangers = model.probabilities["strangers"]
    for one, m, u in zip(settings["comparisons"], model.probabilities["same"], strangers, strict=True):
        levels = [level for level in one["comparison_levels"] if not level.get("is_null_level")]
        for level, a, b in zip(levels, m, u, strict=True):
            level["m_probability"], level["u_probability"] = float(a), float(b)
    total = sum(model.pairs.values())
    return settings | {"probability_two_random_records_match": model.pairs["same"] / total}


def _filled(records: ir.Table) -> dict[str, int]:
    names = [name for name in ("unique_id", *WORDS) if name in records.columns]
    row = records.aggregate(**{name: records[name].count() for name in names}).to_pandas().iloc[0]
    return {name: int(row[name]) for name in names}


def _no_edges() -> pd.DataFrame:
    return pd.DataFrame(
        {"l": pd.Series(dtype="int64"), "r": pd.Series(dtype="int64"), "probability": pd.Series(dtype=float)}
    )
