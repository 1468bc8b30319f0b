"""How probable is it that two records are one human, where the records lie on many machines?

The same rules, levels and model as in :mod:`clientbook.matching.pairs`, and so the same pairs with the same weights; what
grows with the book stays where it lies. There are

- the records as they are written for comparison, and how many of them have each value;
- the pairs that blocking rules make: joins of the records with themselves;
- the levels on which each pair is alike and its weight, worked out by the same functions in the processes of the engine.

To this machine come counts (of the pairs of each rule, of the records of each town, of the pairs on each combination of
levels), from which the model is trained, and then the pairs that are not hopeless, which clustering needs all of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clientbook.engine import Engine
from clientbook.engine.duckdb import evaluator
from clientbook.faults import Fault, FaultError
from clientbook.matching import model as models
from clientbook.matching import pairs
from clientbook.matching.blocking import column_of, expression, is_drawn, worth
from clientbook.matching.comparing import Compared, comparisons, reads
from clientbook.matching.levels import Coded, unpacked

WHY_ANEW = "where records lie on several machines, all are compared in every run"
# More pairs than so many are not put into customers on one machine.
MOST_EDGES = 40_000_000
# Rules that are counted together.
_AT_ONCE = 24
# So many rules stand in one number, a bit each; as a float it is exact.
_BITS = 50
# Stands between values that are one key together, and in no value.
_BETWEEN = "\x1f"
# A first name and a surname together.
_WHOLE = "whole"
_WEIGHED = ("match_weight", "probability")
# Pairs that a rule picked, that are drawn from all, and from those of one town.
_PICKED, _ANY, _NEAR = range(3)


def compare(
    records: ir.Table, engine: Engine, *, pairs_per_record: int, seed: int, bring: Callable[[ir.Table], ir.Table],
    columns: Sequence[str] = (), asked: Sequence[Sequence[str]] | None = None,
) -> pairs.Scored:  # fmt: skip
    """How probable is it that two records are one human?

    Parameters
    ----------
    records, pairs_per_record, seed, columns, asked
        As for :func:`clientbook.matching.pairs.compare`.
    engine
        Where the records lie.
    bring
        What lies there as a table of this machine's.

    Raises
    ------
    FaultError
        More pairs may be one human than this machine puts into customers.
    """
    filled = pairs.filled_of(records)
    n = filled.pop("unique_id")
    compared = [one for one in comparisons(filled, n) if not columns or one.name in columns]
    if why := pairs.too_little(n, compared):
        return pairs.by_exact_rules(records, filled, why, count_pairs)
    asks = pairs.asked_for(filled, n, asked)
    far = Spread(records, engine, compared, asks, n)
    rules, looked_at = pairs.rules_of(far, pairs_per_record, asked)
    if not rules:
        return pairs.nothing(pairs.NO_RULE, looked_at)
    share = pairs.share_of(looked_at, rules)
    values = _Values(far)
    town = pairs.town_of({one.name: values.filled[one.name] for one in compared})
    if town is not None and values.pairs_of_one(town)[0] < 1:
        town = None
    picked = far.levels(far.pairs(rules, share).mutate(kind=ibis.literal(_PICKED)), len(rules))
    beside = [_as_pairs(*pairs.random_pairs(n, seed), _ANY)]
    if town is not None:
        beside.append(_within(far, town, values.pairs_of_one(town)[0], seed))
    drawn = far.levels(ibis.union(*beside) if len(beside) > 1 else beside[0], 0)
    codes = _counted(picked) | _counted(drawn)
    near = None
    if town is not None:
        near = models.Near(
            town, *values.pairs_of_one(town), unpacked(codes[_NEAR][0], compared), codes[_NEAR][1].astype(float),
            values.names_within(town),
        )  # fmt: skip
    of_strangers = pairs.strangers(*codes[_ANY], [values.pairs_of_one(one.name) for one in compared], compared)
    one_name = values.pairs_of_one(_WHOLE) if values.has_names else None
    fitted = pairs.fit(*codes[_PICKED], compared, *of_strangers, n, share, one_name=one_name, near=near)
    model = fitted[0]
    if model.pairs["same"] < 1:
        return pairs.by_exact_rules(records, pairs.filled_of(records), pairs.TOO_FEW_SAME, count_pairs)
    common = pairs.Common({}, values.filled, values.averages)
    scored = _weighed(picked, codes[_PICKED][0], model, values, n, len(rules), bring)
    likely = scored["probability"].to_numpy() >= 0.01
    found = pairs.found_by(rules, agreeing(scored[likely], len(rules)), scored["probability"].to_numpy()[likely])
    looked_at = pairs.with_finds(looked_at, found, share)
    if share > 1:
        looked_at, rules = pairs.only_worth(looked_at, rules, _worth(picked, scored, len(rules)))
        picked = far.levels(far.pairs(rules).mutate(kind=ibis.literal(_PICKED)), len(rules))
        scored = _weighed(picked, _counted(picked)[_PICKED][0], model, values, n, len(rules), bring)
    ids = bring(far.rows.select("at", "unique_id")).order_by("at").to_pyarrow()["unique_id"].to_numpy()
    code, weight = scored["code"].to_numpy("int64"), scored["match_weight"].to_numpy(float)
    edges = pd.DataFrame({side: ids[scored[side].to_numpy("int64")] for side in "lr"})
    edges["probability"] = scored["probability"].to_numpy(float).round(6)
    return pairs.scored_by(
        fitted, edges, looked_at, unpacked(code, compared), weight, code, rules, pairs.of_all(model, common, n),
        found["recall"], share,
    )  # fmt: skip


def count_pairs(records: ir.Table, rule: Sequence[str]) -> int:
    """How many pairs agree on a rule? Counted where the records lie.

    Parameters
    ----------
    records, rule
        As for :func:`clientbook.matching.blocking.count_pairs`.
    """
    return _counts(_by_rule(records.mutate(at=records["unique_id"]), [rule]), 1).get(0, (0, 0, 0))[0]


class Spread:
    """Records that lie on many machines, the pairs that rules make of them, and the levels of these.

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`, with `unique_id`.
    engine
        Where they lie.
    compared
        The comparisons.
    asks
        What rules may ask for.
    n
        How many records there are.
    """

    at_once = _AT_ONCE

    def __init__(self, records: ir.Table, engine: Engine, compared: Sequence[Compared], asks: Sequence[str], n: int):
        self.engine, self.compared, self.asks, self.n = engine, tuple(compared), tuple(asks), n
        self.read = dict.fromkeys(name for one in compared for name in reads(one))
        self.read |= dict.fromkeys(level.rare for one in compared for level in one.levels if level.rare)
        self.read |= dict.fromkeys(("mail", "guessed"))
        needed = [*self.read, *(column_of(text) for text in asks), "name_key"]
        self.rows = engine.number(records.select("unique_id", *dict.fromkeys(needed)), ["unique_id"], "at")

    def count(self, rules: Sequence[Sequence[str]], share: int) -> list[tuple[int, int]]:
        """As in :class:`clientbook.matching.blocking.Counts`."""
        told = _counts(_by_rule(self.rows, rules), share)
        return [told.get(i, (0, 0, 0))[:2] for i in range(len(rules))]

    def partnered(self, rules: Sequence[Sequence[str]]) -> list[int]:
        """As in :class:`clientbook.matching.blocking.Counts`."""
        told = _counts(_by_rule(self.rows, rules), 1)
        return [told.get(i, (0, 0, 0))[2] for i in range(len(rules))]

    def one_too_many(self, rules: Sequence[Sequence[str]], most: float, share: int) -> list[int]:
        """As in :class:`clientbook.matching.blocking.Counts`."""
        groups = _grouped(self.pairs(rules, share), len(rules))
        count, over = groups["n"].to_numpy(), []
        made = np.zeros(len(groups), dtype=bool)
        for place, agree in enumerate(agreeing(groups, len(rules))):
            if count[made | agree].sum() * share > most:
                over.append(place)
            else:
                made |= agree
        return over

    def pairs(self, rules: Sequence[Sequence[str]], share: int = 1) -> ir.Table:
        """Every pair that agrees on a rule, once.

        Parameters
        ----------
        rules, share
            As for :func:`clientbook.matching.blocking.blocked`.

        Returns
        -------
        ibis.expr.types.Table
            `l`, `r` (places, the smaller first), and on which rules the two agree, as :func:`agreeing` reads it.
        """
        every = self.engine.keep(_by_rule(self.rows, rules))
        first = every
        if share > 1:
            schema = pa.schema([("at", pa.int64())])
            first = every.semi_join(self.engine.in_parts(self.rows.select("at"), _drawn(share), schema), "at")
        other = every.view()
        same = [first["rule"] == other["rule"], first["key"] == other["key"], first["at"] < other["at"]]
        joined = first.join(other, same).select(l=first["at"], r=other["at"], rule=first["rule"])
        bit = (ibis.literal(2.0) ** (joined["rule"] % _BITS)).cast("int64")
        parts = {name: bit.sum(where=joined["rule"] // _BITS == i).fill_null(0) for i, name in enumerate(_names(len(rules)))}
        return self.engine.keep(joined.group_by("l", "r").agg(**parts))

    def levels(self, made: ir.Table, rules: int) -> ir.Table:
        """On which levels of likeness are pairs?

        Parameters
        ----------
        made
            `kind`, `l`, `r`, and on which of so many `rules` the two agree.
        rules
            How many.

        Returns
        -------
        ibis.expr.types.Table
            The same with `code`, as from :meth:`clientbook.matching.levels.Coded.patterns`.
        """
        carried = ["kind", "l", "r", *_names(rules)]
        both = made.select(*carried)
        for side in "lr":
            theirs = self.rows.select(at="at", **{f"{name}_{side}": name for name in self.read})
            both = both.inner_join(theirs, both[side] == theirs["at"]).drop("at")
        schema = pa.schema([(name, pa.int64()) for name in (*carried, "code")])
        return self.engine.in_parts(both, _coded_by(self.compared, tuple(self.read), carried), schema)


class _Values:
    """How common is each value, and how often do two records have the same?"""

    def __init__(self, far: Spread):
        self.far, rows = far, far.rows
        compared = {one.name for one in far.compared}
        self.has_names = {"first", "last"} <= compared
        rare = {level.rare for one in far.compared for level in one.levels if level.rare}
        self.names = [*dict.fromkeys([*(one.name for one in far.compared), *sorted(rare), "mail"])]
        columns = {name: rows[name] for name in self.names}
        if self.has_names:
            self.names.append("name_key")
            whole = rows["first"] + _BETWEEN + rows["last"]
            columns |= {"name_key": rows["name_key"], _WHOLE: whole}
            for town in pairs.TOWNS:
                if town in compared:
                    columns[f"{town} of names"] = whole.notnull().ifelse(rows[town], ibis.null("string"))
                    columns[f"{town} and name"] = rows[town] + _BETWEEN + whole
        long = rows.select("at", value=ibis.array(list(columns.values()))).unnest("value", offset="column")
        long = far.engine.keep(long.filter(long["value"].notnull()))
        self.sizes = far.engine.keep(long.group_by("column", "value").agg(n=long.count()))
        self.long = long
        n = self.sizes["n"]
        told = self.sizes.group_by("column").agg(filled=n.sum(), same=(n * (n - 1)).sum()).to_pandas().set_index("column")
        told = told.reindex(range(len(columns)), fill_value=0).astype("int64")
        self._told = {name: (int(told["same"][i]), int(told["filled"][i])) for i, name in enumerate(columns)}

    @property
    def filled(self) -> dict[str, int]:
        """By column, how many records have a value."""
        return {name: self._told[name][1] for name in self.names}

    @property
    def averages(self) -> dict[str, float]:
        """By column, how often two that have a value have the same."""
        told = {name: self._told[name] for name in self.names}
        return {name: float(max(same, 1.0) / max(filled * (filled - 1), 1.0)) for name, (same, filled) in told.items()}

    def pairs_of_one(self, name: str) -> tuple[float, float]:
        """How many pairs have one value, and how many have one at all."""
        same, filled = self._told[name]
        return float(same) / 2, float(filled * (filled - 1)) / 2

    def names_within(self, town: str) -> tuple[float, float] | None:
        """How many pairs of one town have one whole name, and how many have one at all."""
        if not self.has_names:
            return None
        return self.pairs_of_one(f"{town} and name")[0], self.pairs_of_one(f"{town} of names")[0]

    def of_records(self) -> ir.Table:
        """Of each record how many records have its value: `at`, and a column `n_…` each; null where it has none."""
        mine = self.long.filter(self.long["column"] < len(self.names)).inner_join(self.sizes, ["column", "value"])
        counts = {f"n_{name}": mine["n"].max(where=mine["column"] == i) for i, name in enumerate(self.names)}
        return self.far.engine.keep(mine.group_by("at").agg(**counts))


def _weighed(
    picked: ir.Table, codes: np.ndarray, model: models.Model, values: _Values, n: int, rules: int,
    bring: Callable[[ir.Table], ir.Table],
) -> pd.DataFrame:  # fmt: skip
    """Which pairs may be one human at all, and how probable is it? On this machine, in the order of their ends."""
    engine, counts = values.far.engine, values.of_records()
    carried = ["l", "r", *_names(rules), "code"]
    wanted = ibis.memtable(pd.DataFrame({"code": pairs.not_hopeless(model, codes)}), schema={"code": "int64"})
    both = picked.semi_join(wanted, "code").select(*carried)
    for side in "lr":
        theirs = counts.select(at="at", **{f"n_{name}_{side}": f"n_{name}" for name in values.names})
        both = both.left_join(theirs, both[side] == theirs["at"]).drop("at")
    schema = pa.schema([(name, pa.int64()) for name in carried] + [(name, pa.float64()) for name in _WEIGHED])
    work = _scored_by(model, tuple(values.names), values.filled, values.averages, n)
    found = engine.in_parts(both, work, schema)
    many = int(found.count().to_pyarrow().as_py())
    if many > MOST_EDGES:
        raise FaultError(
            Fault(
                f"{many:,} pairs of records may each be one human, and this machine puts {MOST_EDGES:,} into customers.",
                "Ask for fewer pairs: a smaller pairs_per_record, or blocking_rules of the book's own.",
            )
        )
    return bring(found).order_by("l", "r").to_pandas()


def _within(far: Spread, town: str, same: float, seed: int) -> ir.Table:
    """Pairs of one town: all of them, or as many as are enough, drawn by lot."""
    rows = far.rows.filter(far.rows[town].notnull()).select("at", town=town)
    if same <= pairs.RANDOM_PAIRS:
        other = rows.view()
        joined = rows.join(other, [rows["town"] == other["town"], rows["at"] < other["at"]])
        return joined.select(kind=ibis.literal(_NEAR, "int64"), l=rows["at"], r=other["at"])
    towns = rows.group_by("town").agg(n=rows.count(), first=rows["at"].min()).to_pandas().sort_values("first")
    drawn, one, other = pairs.drawn_within(towns["n"].to_numpy("int64"), same, seed)
    lots = pd.DataFrame({"town": towns["town"].to_numpy()[drawn], "one": one, "other": other})
    lots = ibis.memtable(lots, schema={"town": "string", "one": "int64", "other": "int64"})
    rank = ibis.row_number().over(ibis.window(group_by="town", order_by="at")).cast("int64")
    ranked = far.engine.keep(rows.mutate(rank=rank))
    for name, column in (("l", "one"), ("r", "other")):
        theirs = ranked.select(in_town="town", rank="rank", **{name: "at"})
        same = [lots["town"] == theirs["in_town"], lots[column] == theirs["rank"]]
        lots = lots.inner_join(theirs, same).drop("in_town", "rank")
    return lots.select(kind=ibis.literal(_NEAR, "int64"), l="l", r="r")


def _as_pairs(left: np.ndarray, right: np.ndarray, kind: int) -> ir.Table:
    return ibis.memtable(pd.DataFrame({"kind": kind, "l": left, "r": right}), schema=dict.fromkeys(("kind", "l", "r"), "int64"))


def _by_rule(rows: ir.Table, rules: Sequence[Sequence[str]]) -> ir.Table:
    """Of each record and rule the key that all that are alike by the rule share: `at`, `rule`, `key`."""
    keys = []
    for rule in rules:
        key = expression(rows, rule[0])
        for text in rule[1:]:
            # what is missing makes the whole missing
            key = key + _BETWEEN + expression(rows, text)
        keys.append(key)
    told = rows.select("at", key=ibis.array(keys)).unnest("key", offset="rule")
    return told.filter(told["key"].notnull())


def _counts(told: ir.Table, share: int) -> dict[int, tuple[int, int, int]]:
    """By rule: pairs that agree (told from one block in `share`), records that have all, and those with a partner."""
    key = told["key"] if share == 1 else (told["key"].hash() % share == 0).ifelse(told["key"], ibis.null("string"))
    sizes = told.group_by("rule", block=key).agg(n=told.count())
    n, within = sizes["n"], sizes["block"].notnull()
    counted = sizes.group_by("rule").agg(
        pairs=(n * (n - 1)).sum(where=within).fill_null(0), filled=n.sum(), partnered=n.sum(where=within & (n > 1)).fill_null(0)
    )
    rows = counted.to_pandas().astype("int64")
    return {
        rule: (made // 2 * share, filled, partnered)
        for rule, made, filled, partnered in rows[["rule", "pairs", "filled", "partnered"]].itertuples(index=False)
    }


def _names(rules: int) -> list[str]:
    return [f"rules_{i}" for i in range(-(-rules // _BITS))]


def agreeing(rows: pd.DataFrame, rules: int) -> list[np.ndarray]:
    """Of each rule, which pairs agree on it.

    Parameters
    ----------
    rows
        Of pairs, `rules_0` and so on.
    rules
        How many there are.
    """
    told = [rows[name].to_numpy("int64") for name in _names(rules)]
    return [(told[i // _BITS] >> (i % _BITS)) & 1 == 1 for i in range(rules)]


def _grouped(made: ir.Table, rules: int) -> pd.DataFrame:
    names = _names(rules)
    return made.group_by(names).agg(n=made.count()).to_pandas().sort_values(names, ignore_index=True)


def _worth(picked: ir.Table, scored: pd.DataFrame, rules: int) -> np.ndarray:
    """As :func:`clientbook.matching.blocking.worth_their_pairs`, by the groups of pairs that agree on the same rules."""
    names = _names(rules)
    expected = scored.groupby(names, as_index=False)["probability"].sum()
    groups = _grouped(picked, rules).merge(expected, on=names, how="left").fillna({"probability": 0.0})
    return worth(agreeing(groups, rules), groups["n"].to_numpy(float), groups["probability"].to_numpy(float))


def _counted(coded: ir.Table) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By kind of pair: distinct levels in order, and how many pairs have each."""
    told = coded.group_by("kind", "code").agg(n=coded.count()).to_pandas().sort_values(["kind", "code"])
    return {int(kind): (part["code"].to_numpy("int64"), part["n"].to_numpy("int64")) for kind, part in told.groupby("kind")}


def _drawn(share: int) -> Callable[[pa.Table], pa.Table]:
    def work(rows: pa.Table) -> pa.Table:
        return rows.filter(pa.array(is_drawn(rows["at"].to_numpy(), share)))

    return work


def _coded_by(compared: Sequence[Compared], columns: Sequence[str], carried: Sequence[str]) -> Callable[[pa.Table], pa.Table]:
    def work(rows: pa.Table) -> pa.Table:
        n = rows.num_rows
        sides = [rows.select([f"{name}_{side}" for name in columns]).rename_columns(list(columns)) for side in "lr"]
        coded = Coded(pa.concat_tables(sides).combine_chunks(), evaluator(), compared)
        code = coded.patterns(np.arange(n), np.arange(n, 2 * n))
        return rows.select(list(carried)).append_column("code", pa.array(code))

    return work


def _scored_by(
    model: models.Model, names: Sequence[str], filled: Mapping[str, int], averages: Mapping[str, float], n: int
) -> Callable[[pa.Table], pa.Table]:
    def work(rows: pa.Table) -> pa.Table:
        many = rows.num_rows
        sides = {name: [rows[f"n_{name}_{side}"].fill_null(1).to_numpy().astype(float) for side in "lr"] for name in names}
        common = pairs.Common({name: np.concatenate(told) for name, told in sides.items()}, dict(filled), dict(averages))
        code = rows["code"].to_numpy()
        *_, weight, probability = pairs.hopeful(model, common, np.arange(many), np.arange(many, 2 * many), code, n)
        told = rows.select([name for name in rows.column_names if not name.startswith("n_")])
        return told.append_column("match_weight", pa.array(weight)).append_column("probability", pa.array(probability))

    return work
