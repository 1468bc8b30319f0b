"""Which pairs of records are worth a look? All would be too many; what is never compared is never found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, product

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching.standard import stage

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

WORDS = {
    "name_key": "name", "first": "first name", "last": "surname", "root": "first name or its short form",
    "first_sound": "sound of first name", "last_sound": "sound of surname", "mail": "e-mail",
    "local": "e-mail before the @", "dialled": "phone", "born": "birth date", "zip": "postcode", "place": "city",
    "way": "street", "house": "house number", "firm": "company", "work": "e-mail's company", "number": "shared number", "extra": "further names",
    "job": "job title", "name": "name",
}  # fmt: skip
_PARTS = {"substr(born, 1, 4)": "birth year", "substr(born, 5, 4)": "birthday"}


def choose_rules(records: ir.Table, there: set[str], n: int, *, per_rule: float, most: float) -> pd.DataFrame:
    """Which blocking rules reach furthest at a bounded number of pairs?

    A rule asks for up to three things. It is used where it makes no more pairs than it may and no looser one is used:
    every rule that is, is as loose as it can be.

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`.
    there
        Columns that are filled.
    n
        How many records there are.
    per_rule
        Bound on the pairs of one rule.
    most
        Bound on the pairs of all; the costliest rules go first.

    Returns
    -------
    pandas.DataFrame
        `rule` (a tuple of expressions), `pairs`, `used`, `why`; the rules used, then those that would break a bound.
    """
    rows: list[tuple[tuple[str, ...], int, bool, str]] = []
    used: list[tuple[str, ...]] = []
    share = max(1, n // COUNT_ALL)
    place = {text: f"h{i}" for i, text in enumerate(_atoms(there))}
    keyed = records.select(**{name: _hashed(records, text) for text, name in place.items()}).cache()
    chance: dict[str, float] = {}
    try:
        for rule in _candidates(there):
            if any(_implies(rule, other) for other in used):
                continue
            pairs, filled = _count(keyed, [place[text] for text in rule], share)
            expected = filled * (filled - 1) / 2
            for text in rule:
                expected *= chance.get(text, 0.0)
            if len(rule) == 1:
                chance[rule[0]] = pairs / max(filled * (filled - 1) / 2, 1)
            why = ""
            if pairs > per_rule:
                why = f"more than {per_rule:,.0f} pairs"
            elif len(rule) > 1 and pairs < LEAST_LIFT * expected:
                why = "hardly more pairs than chance makes"
            rows.append((rule, pairs, not why, why))
            if not why and pairs:
                used.append(rule)
    finally:
        keyed.release()
    told = pd.DataFrame(rows, columns=["rule", "pairs", "used", "why"])
    told = told[told["pairs"] > 0]
    cheapest = told[told["used"]].sort_values("pairs", kind="stable")
    over = cheapest.index[cheapest["pairs"].cumsum() > most]
    told.loc[over, "used"] = False
    told.loc[over, "why"] = f"all rules together would make more than {most:,.0f} pairs"
    return told.sort_values(["used", "pairs"], ascending=[False, False], kind="stable", ignore_index=True)


def blocked(records: ir.Table, rules: Sequence[Sequence[str]], engine: Engine) -> ir.Table:
    """Every pair that agrees on a rule, once.

    Parameters
    ----------
    records
        As for :func:`choose_rules`, with `unique_id`.
    rules
        Each a choice of expressions.
    engine
        Where the pairs are kept.

    Returns
    -------
    ibis.expr.types.Table
        As Splink takes them: `join_key_l`, `join_key_r`, `match_key` (the number of the first rule that both agree on).
    """
    keys = {}
    for i, rule in enumerate(rules):
        columns = [_expression(records, text) for text in rule]
        whole = columns[0].notnull()
        for column in columns[1:]:
            whole = whole & column.notnull()
        joined = columns[0]
        for column in columns[1:]:
            joined = joined.concat("\x1f", column)
        keys[f"k{i}"] = whole.ifelse(joined.hash(), ibis.null("int64"))
    keyed = stage(engine, records.select("unique_id", **keys))
    found = []
    for i in range(len(rules)):
        rows = keyed.filter(keyed[f"k{i}"].notnull())
        left, right = rows.select(join_key_l="unique_id", a=f"k{i}"), rows.select(join_key_r="unique_id", b=f"k{i}")
        pairs = left.join(right, [left["a"] == right["b"], left["join_key_l"] < right["join_key_r"]])
        found.append(pairs.select("join_key_l", "join_key_r", rule=ibis.literal(i, "int8")))
    every = ibis.union(*found) if len(found) > 1 else found[0]
    once = every.group_by("join_key_l", "join_key_r").agg(match_key=every["rule"].min().cast("string"))
    return stage(engine, once)


def count_pairs(records: ir.Table, rule: Sequence[str]) -> int:
    """How many pairs agree on a rule? Counted without making them.

    Parameters
    ----------
    records
        As for :func:`choose_rules`.
    rule
        Expressions, such as `("last", "substr(zip, 1, 2)")`.
    """
    rows = records.select(**{f"h{i}": _hashed(records, text) for i, text in enumerate(rule)})
    return _count(rows, list(rows.columns), 1)[0]


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


def column_of(text: str) -> str:
    """The column that an expression reads.

    Parameters
    ----------
    text
        `last`, or `substr(last, 1, 4)`.
    """
    return text.partition("(")[2].partition(",")[0] if "(" in text else text


def _atoms(there: Iterable[str]) -> list[str]:
    return [text for choices in ATOMS.values() for text in choices if column_of(text) in there]


def _candidates(there: set[str]) -> list[tuple[str, ...]]:
    """Rules by how much they ask for, the loosest first."""
    groups = {name: [text for text in choices if column_of(text) in there] for name, choices in ATOMS.items()}
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


def _count(rows: ir.Table, columns: Sequence[str], share: int) -> tuple[int, int]:
    """Pairs that agree, and the records that have all that is asked for."""
    for name in columns:
        rows = rows.filter(rows[name].notnull())
    if share > 1:
        # a share of the blocks, whole; by a hash of all that the rule asks for
        key = rows[columns[0]].cast("string")
        for name in columns[1:]:
            key = key.concat(" ", rows[name].cast("string"))
        rows = rows.filter(key.hash() % share == 0)
    blocks = rows.group_by(*columns).agg(n=rows.count())
    n = blocks["n"].cast("int64")
    sums = blocks.aggregate(pairs=(n * (n - 1)).sum().cast("int64"), n=n.sum().cast("int64")).to_pandas().fillna(0).iloc[0]
    return int(sums["pairs"]) // 2 * share, int(sums["n"]) * share


def _hashed(records: ir.Table, text: str) -> ir.IntegerColumn:
    column = _expression(records, text)
    # an engine gives what is missing a hash too
    return column.notnull().ifelse(column.hash(), ibis.null("int64"))


def _expression(records: ir.Table, text: str) -> ir.StringColumn:
    column = records[column_of(text)]
    if text.startswith("substr"):
        start, length = (int(part) for part in text.rstrip(")").split(",")[1:])
        # what is shorter than the piece is no piece
        piece = column.substr(start - 1, length)
        return (piece.length() == length).ifelse(piece, ibis.null("string"))
    return column
