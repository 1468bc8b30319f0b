"""Which pairs of records are worth a look, and how probable is it that each is one human?"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.engine import Engine

FEWEST_RECORDS = 500
FEWEST_PAIRS = 50
# A guess, as in Splink's own examples: exact rules find about so many of the pairs that there are.
RECALL_OF_EXACT_RULES = 0.7
UK_POSTCODE = r"^[A-Z]{1,2}[0-9][0-9A-Z]?[0-9][A-Z]{2}$"

WORDS = {
    "given_family": "name", "name": "name", "name_key": "name", "given": "first name", "family": "surname",
    "mail": "e-mail", "dialled": "phone", "born": "birth date", "zip": "postcode", "uk": "postcode", "place": "city",
    "firm": "company", "number": "shared number",
}  # fmt: skip

_ENDS = {"source": "source", "person_id": "person_id", "customer": "customer_id"}
_REVIEW = (
    "customer_a", "customer_b", "source_a", "person_id_a", "source_b", "person_id_b", "probability", "match_weight",
    "reasons_for", "reasons_against",
)  # fmt: skip

# Each with what it is narrowed to where it makes too many pairs.
RULES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("mail",),),
    (("dialled",),),
    (("number",),),
    (("name_key",), ("name_key", "zip"), ("name_key", "firm")),
    (("family", "born"),),
    (("given", "born"),),
    (("family", "zip"),),
    (("given", "zip"), ("given", "zip", "substr(family, 1, 1)")),
    (("born", "zip"), ("born", "place")),
    (("family", "firm"),),
    (
        ("substr(given, 1, 3)", "substr(family, 1, 4)"),
        ("substr(given, 1, 3)", "substr(family, 1, 4)", "substr(zip, 1, 2)"),
    ),
)
_TRAINING = (("given", "family"), ("mail",), ("born",), ("dialled",), ("number",), ("zip",))
_EXACT = (("mail", "name_key"), ("number",), ("dialled", "name_key"), ("name_key", "born"))
_TOO_FEW_TO_TRAIN = (("mail",), ("number",), ("dialled", "name_key"))


@dataclass(frozen=True)
class Scored:
    """Which pairs were compared, and what came of it?

    Attributes
    ----------
    edges
        `l`, `r` (record numbers), `probability`; pairs of .5 and more, ordered.
    looked_at
        A row a blocking rule: `rule` in words, `pairs` it would make, `used`, `why`.
    likely
        `l`, `r`, `probability`, `match_weight` and a `gamma_` and `mw_` column a comparison; as `edges`, an Ibis table.
    model
        The Splink model as plain data; empty where none was trained.
    method
        `splink`, `exact rules` or `none`.
    note
        A sentence for the reader.
    """

    edges: pd.DataFrame
    looked_at: pd.DataFrame
    likely: ir.Table | None = None
    model: dict[str, Any] = field(default_factory=dict)
    method: str = "none"
    note: str = ""


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


def compare(
    records: ir.Table, engine: Engine, *, pairs_per_record: int, max_training_pairs: float, seed: int
) -> Scored:
    """How probable is it that two records are one human, by Splink with its documented settings?

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with a number in `unique_id`.
    engine
        Splink works on its DuckDB.
    pairs_per_record
        A blocking rule that makes more pairs than so many a record is narrowed or left out.
    max_training_pairs
        Bound on the pairs that u and m are estimated on, each.
    seed
        Of the random sample for u.

    Returns
    -------
    Scored
        With fewer than 500 records nothing can be trained: then equal e-mail, shared number, or phone and name tie two
        records.
    """
    filled = _filled(records)
    n = filled.pop("unique_id")
    there = {name for name, count in filled.items() if count >= 2}
    most = max(pairs_per_record * n, 1_000)
    looked_at = choose_rules(records, there, most)
    rules = [expressions for expressions, used in zip(looked_at["rule"], looked_at["used"], strict=True) if used]
    told = looked_at.assign(rule=[say_rule(rule) for rule in looked_at["rule"]])
    comparisons = _comparisons(records, filled, n)
    if not rules:
        return Scored(_no_edges(), told, note="No column is there by which two records could be compared.")
    if n < FEWEST_RECORDS or len(comparisons) < 2:
        edges, told = _by_exact_rules(records, there)
        why = (
            f"{n:,} records are too few to train a model" if n < FEWEST_RECORDS else "One column alone trains no model"
        )
        return Scored(
            edges, told, method="exact rules",
            note=f"{why}: records with the same e-mail, the same shared number, or the same phone and name are one.",
        )  # fmt: skip
    return _splink(records, engine, there, rules, comparisons, told, most=max_training_pairs, seed=seed)


def _by_exact_rules(records: ir.Table, there: set[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ties of records that agree exactly, and which rules say so, as the blocking rules are told."""
    rules = [rule for rule in _TOO_FEW_TO_TRAIN if set(rule) <= there]
    told = [(say_rule(rule), count_pairs(records, rule), True, "") for rule in rules]
    return exact_pairs(records, rules), pd.DataFrame(told, columns=["rule", "pairs", "used", "why"])


def choose_rules(records: ir.Table, there: set[str], most: int) -> pd.DataFrame:
    """How many pairs would each blocking rule make, and which rules can be afforded?

    Parameters
    ----------
    records
        As for :func:`compare`.
    there
        Columns that are filled.
    most
        Bound on the pairs of one rule.

    Returns
    -------
    pandas.DataFrame
        `rule` (a tuple of expressions), `pairs`, `used`, `why`.
    """
    rows, used = [], set()
    for choices in RULES:
        possible = [rule for rule in choices if set(_columns(rule)) <= there]
        for rule in possible:
            if rule in used:
                continue
            pairs = count_pairs(records, rule)
            fits = pairs <= most
            rows.append((rule, pairs, fits, "" if fits else f"more than {most:,} pairs"))
            if fits:
                used.add(rule)
                break
    return pd.DataFrame(rows, columns=["rule", "pairs", "used", "why"])


def count_pairs(records: ir.Table, rule: Sequence[str]) -> int:
    """How many pairs agree on a rule? Counted without making them.

    Parameters
    ----------
    records
        As for :func:`compare`.
    rule
        Expressions, such as `("family", "substr(zip, 1, 2)")`.
    """
    keys = {f"k{i}": _expression(records, text) for i, text in enumerate(rule)}
    rows = records.select(**keys)
    for name in keys:
        rows = rows.filter(rows[name].notnull())
    blocks = rows.group_by(*keys).agg(n=rows.count())
    pairs = (blocks["n"] * (blocks["n"] - 1)).sum()
    return int((pairs.fill_null(0) / 2).to_pyarrow().as_py())


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


def review(scored: Scored, numbered: ir.Table, known: ir.Table, threshold: float, most: int) -> ir.Table:
    """Which undecided pairs should a person look at first?

    Parameters
    ----------
    scored
        As from :func:`compare`.
    numbered
        Records with their `unique_id`.
    known
        The table `identities`; pairs that others tied already are decided.
    threshold
        Of the probability from which a pair is taken for one.
    most
        How many.

    Returns
    -------
    ibis.expr.types.Table
        The public table `review_pairs`, nearest to the threshold first; its reasons are words, no values.
    """
    ends = numbered.inner_join(known.select("source", "person_id", "customer_id"), ["source", "person_id"])
    a, b = (
        ends.select(**{end: "unique_id"}, **{f"{kind}_{side}": name for kind, name in _ENDS.items()})
        for end, side in ("la", "rb")
    )
    rows = scored.edges if scored.likely is None else scored.likely
    if scored.likely is None:
        rows = ibis.memtable(
            scored.edges.assign(match_weight=0.0).head(0),
            schema=dict.fromkeys("lr", "int64") | dict.fromkeys(("probability", "match_weight"), "float64"),
        )
    rows = (
        rows.filter((rows["probability"] >= 0.5) & (rows["probability"] < threshold))
        .inner_join(a, "l")
        .inner_join(b, "r")
    )
    rows = (
        rows.filter(rows["customer_a"] != rows["customer_b"])
        .order_by(ibis.desc("probability"), "l", "r")
        .limit(most)
        .to_pandas()
    )
    reasons = [_reasons(row, scored.model) for row in rows.to_dict("records")]
    rows = rows.assign(reasons_for=[r[0] for r in reasons], reasons_against=[r[1] for r in reasons])
    schema = {name: "float64" if name in ("probability", "match_weight") else "string" for name in _REVIEW}
    return ibis.memtable(rows[list(_REVIEW)], schema=schema)


def _reasons(row: dict[str, Any], model: dict[str, Any]) -> tuple[str, str]:
    """What speaks for and against, the strongest first: a comparison's weight with what its value's rarity adds."""
    told = []
    for comparison in model["comparisons"]:
        name = comparison["output_column_name"]
        level = row[f"gamma_{name}"]
        if level < 0:
            continue
        weight = row[f"mw_{name}"] + row.get(f"mw_tf_adj_{name}", 0.0)
        best = sum(not each.get("is_null_level") for each in comparison["comparison_levels"]) - 1
        likeness = "same" if level == best else "different" if level == 0 else "similar"
        told.append((weight, f"{likeness} {WORDS.get(name, name)}"))
    told.sort(key=lambda item: (-abs(item[0]), item[1]))
    return "; ".join(text for weight, text in told if weight > 0), "; ".join(
        text for weight, text in told if weight <= 0
    )


def say_rule(rule: Sequence[str]) -> str:
    """A blocking rule in words.

    Parameters
    ----------
    rule
        Expressions.
    """
    said = []
    for text in rule:
        column = next(iter(_columns([text])))
        word = WORDS[column]
        if text.startswith("substr"):
            length = text.rstrip(")").rsplit(",", 1)[1].strip()
            word = f"first letter of {word}" if length == "1" else f"first {length} characters of {word}"
        said.append(word)
    return "same " + ", ".join(said)


def _splink(records, engine, there, rules, comparisons, told, *, most, seed) -> Scored:
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    logging.getLogger("splink").setLevel(logging.CRITICAL)
    api = DuckDBAPI(connection=engine.connection.con)
    columns = [name for name in WORDS if name in records.columns]
    path = engine.scratch_file(".parquet")
    engine.write_parquet(records.select("unique_id", *columns), path)
    frame = api.register(engine.read_parquet(path).get_name())
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[comparison for _, comparison in comparisons],
        blocking_rules_to_generate_predictions=[block_on(*rule) for rule in rules],
        retain_matching_columns=True,  # the levels, by which reasons are given, come with them
        retain_intermediate_calculation_columns=True,
        max_iterations=25,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linker = Linker(frame, settings, log_level=None, validate_settings=False)
        exact = [block_on(*rule) for rule in _EXACT if set(rule) <= there]
        if exact:
            linker.training.estimate_probability_two_random_records_match(exact, recall=RECALL_OF_EXACT_RULES)
        linker.training.estimate_u_using_random_sampling(max_pairs=most, seed=seed, num_chunks=1)
        try:
            for rule in training_rules(records, there, [set(used) for used, _ in comparisons]):
                linker.training.estimate_parameters_using_expectation_maximisation(
                    block_on(*rule), max_pairs=2 * most, estimate_without_term_frequencies=True
                )
        except ValueError:
            # with few true pairs a level that none of them shows is given no probability at all, and Splink stops
            edges, told = _by_exact_rules(records, there)
            note = (
                "So few records are the same human that no model can be trained on them: records with the same e-mail, "
                "the same shared number, or the same phone and name are one."
            )
            return Scored(edges, told, method="exact rules", note=note)
        predicted = linker.inference.predict(threshold_match_probability=0.5, warning_mode="never")
    scores = engine.connection.table(predicted.physical_name)
    kept = [name for name in scores.columns if name.startswith(("gamma_", "mw_"))]
    likely = scores.select(
        l=ibis.least(scores["unique_id_l"], scores["unique_id_r"]),
        r=ibis.greatest(scores["unique_id_l"], scores["unique_id_r"]),
        probability=scores["match_probability"].round(6),
        match_weight=scores["match_weight"].round(6),
        **{name: scores[name] for name in kept},
    )
    edges = likely.select("l", "r", "probability").order_by("l", "r").to_pandas()
    note = "Splink, trained on this book's own records, says how probable it is that two records are one human."
    return Scored(edges, told, likely, linker.misc.save_model_to_json(), "splink", note)


def training_rules(records: ir.Table, there: set[str], used: Sequence[set[str]]) -> list[tuple[str, ...]]:
    """On which pairs are the m probabilities of each comparison estimated?

    Parameters
    ----------
    records
        As for :func:`compare`.
    there
        Columns that are filled.
    used
        The columns of each comparison: what a rule asks for teaches nothing about them.

    Returns
    -------
    list of tuple
        As few rules as teach every comparison, each with pairs enough.
    """
    untaught, chosen = list(used), []
    for rule in _TRAINING:
        if not set(rule) <= there or not any(not columns & set(rule) for columns in untaught):
            continue
        if count_pairs(records, rule) < FEWEST_PAIRS:
            continue
        chosen.append(rule)
        untaught = [columns for columns in untaught if columns & set(rule)]
    return chosen


def _comparisons(records: ir.Table, filled: dict[str, int], n: int) -> list[tuple[tuple[str, ...], Any]]:
    import splink.comparison_library as cl

    enough = {name for name, count in filled.items() if count >= max(0.01 * n, 2)}
    found: list[tuple[tuple[str, ...], Any]] = []
    if {"given", "family"} <= enough:
        names = cl.ForenameSurnameComparison("given", "family", forename_surname_concat_col_name="name")
        found.append((("given", "family", "name"), names))
    elif "family" in enough:
        found.append((("family",), cl.NameComparison("family")))
    if "mail" in enough:
        # Splink's own comparison of e-mail addresses also counts resemblance. Addresses are made of names, so that it
        # would count the name twice; an address says something new where it is the same.
        found.append((("mail",), cl.ExactMatch("mail").configure(term_frequency_adjustments=True)))
    if "dialled" in enough:
        found.append((("dialled",), cl.ExactMatch("dialled").configure(term_frequency_adjustments=True)))
    if "born" in enough:
        levels = cl.DateOfBirthComparison("born", input_is_string=False).create_comparison_levels()
        # a day that many have, because a form or an archive puts it where none is known, says little
        levels[1].configure(tf_adjustment_column="born")
        dates = cl.CustomComparison(comparison_levels=levels, output_column_name="born")
        found.append((("born",), dates))
    if "zip" in enough:
        found.append((("zip",), _postcode(records)))
    if "place" in enough and not ("zip" in enough and _follows(records, "place", "zip")):
        found.append((("place",), cl.ExactMatch("place").configure(term_frequency_adjustments=True)))
    if "firm" in enough:
        found.append((("firm",), cl.ExactMatch("firm").configure(term_frequency_adjustments=True)))
    if "number" in enough:
        found.append((("number",), cl.ExactMatch("number")))
    return found


def _postcode(records: ir.Table):
    import splink.comparison_library as cl

    code = records["zip"]
    british = records.aggregate(share=code.re_search(UK_POSTCODE).cast("float64").mean()).to_pandas()["share"][0]
    if british < 0.5:
        return cl.ExactMatch("zip").configure(term_frequency_adjustments=True)
    # the blank between the halves, which the documented comparison asks for, was taken out for the rules
    return cl.PostcodeComparison("uk")


def _follows(records: ir.Table, what: str, of: str) -> bool:
    """Whether one column can be told from another: then it is no evidence of its own."""
    rows = records.filter(records[what].notnull() & records[of].notnull())
    pairs = rows.group_by(of, what).agg(n=rows.count())
    best = pairs.group_by(of).agg(best=pairs["n"].max(), n=pairs["n"].sum())
    sums = best.aggregate(best=best["best"].sum(), n=best["n"].sum(), values=best.count()).to_pandas().iloc[0]
    return bool(sums["n"] > 0) and bool(sums["best"] - sums["values"] > 0.8 * max(sums["n"] - sums["values"], 1))


def _filled(records: ir.Table) -> dict[str, int]:
    names = [name for name in ("unique_id", *WORDS) if name in records.columns]
    row = records.aggregate(**{name: records[name].count() for name in names}).to_pandas().iloc[0]
    return {name: int(row[name]) for name in names}


def _columns(rule: Iterable[str]) -> list[str]:
    return [text.partition("(")[2].partition(",")[0] if "(" in text else text for text in rule]


def _expression(records: ir.Table, text: str) -> ir.Value:
    column = records[_columns([text])[0]]
    if text.startswith("substr"):
        return column.substr(0, int(text.rstrip(")").rsplit(",", 1)[1]))
    return column


def _no_edges() -> pd.DataFrame:
    return pd.DataFrame(
        {"l": pd.Series(dtype="int64"), "r": pd.Series(dtype="int64"), "probability": pd.Series(dtype=float)}
    )
