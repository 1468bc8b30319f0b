"""How probable is it that two records are one human, by a model that a run left as a file?

The file holds all that the model knows, and nobody's values: what is compared on which levels, how often one human, kin,
neighbours and strangers show each, how many pairs of each kind there are, and how common values are on average. How common the
values of the given records are is counted in a book, and comes with the records, in columns `tf_…` as Splink has them; without
them no value counts as rarer than another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook.engine import Engine
from clientbook.matching import model as models
from clientbook.matching.comparing import Compared, Level
from clientbook.matching.levels import Coded, unpacked
from clientbook.matching.pairs import rarity

FORM = 2


@dataclass(frozen=True)
class Saved:
    """A model read from its file.

    Attributes
    ----------
    model
        As from :func:`clientbook.matching.model.fit`.
    averages
        By column: the share of pairs of records with a value that have the same one.
    own
        How many records of one name one human has.
    settings
        The same for Splink: m of one human, u of strangers, by level.
    """

    model: models.Model
    averages: Mapping[str, float]
    own: float
    settings: Mapping[str, Any]

    def score(self, records: ir.Table, pairs: pd.DataFrame, engine: Engine) -> pd.DataFrame:
        """How probable is it that two of these records are one human?

        Parameters
        ----------
        records
            Records as from :func:`clientbook.matching.standard.records`, with `unique_id`, and with how common their values
            are, as from :func:`frequencies`.
        pairs
            `l`, `r`: pairs of `unique_id`.
        engine
            Which says how alike two values are; the levels are in its SQL.

        Returns
        -------
        pandas.DataFrame
            `l`, `r`, `match_weight`, `probability`; `levels`, of each comparison (-1 where nothing can be said), and `rarity`,
            bits by which the values are rarer than average.
        """
        return self.told(records, pairs, engine)[0]

    def told(self, records: ir.Table, pairs: pd.DataFrame, engine: Engine) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """The same, with the bits of rarity by kind of pair.

        Parameters
        ----------
        records, pairs, engine
            As for :meth:`score`.
        """
        records = engine.keep(records.order_by("unique_id"))
        ids = records.select("unique_id").to_pyarrow()["unique_id"].to_numpy()
        coded = Coded(records, engine, self.model.compared)
        left, right = (np.searchsorted(ids, pairs[side].to_numpy()) for side in "lr")
        levels = unpacked(coded.patterns(left, right), self.model.compared)
        shares, counts = {}, {}
        for name in coded.codes:
            known = f"tf_{name}" in records.columns
            values = records.select(f"tf_{name}", f"n_{name}").to_pandas() if known else None
            average = self.averages.get(name, 1.0)
            shares[name] = values[f"tf_{name}"].fillna(average).to_numpy(float) if known else np.full(len(ids), average)
            counts[name] = values[f"n_{name}"].fillna(1).to_numpy(float) if known else np.full(len(ids), self.own)
        bits = rarity(self.model, levels, left, right, shares, counts, self.averages, self.own)
        weight, probability = models.score(self.model, levels, bits["strangers"], {kind: bits[kind] for kind in models.KIN})
        told = pairs[["l", "r"]].assign(match_weight=weight, probability=probability.round(6), levels=list(levels),
                                        rarity=bits["strangers"])  # fmt: skip
        return told, bits


def frequencies(records: ir.Table, model: models.Model, chosen: ir.Table | None = None) -> ir.Table:
    """Records with how common their values are among all records of the book.

    Parameters
    ----------
    records
        All of them, as from :func:`clientbook.matching.standard.records`.
    model
        Which says what is compared.
    chosen
        Those to tell it of, a few; without, all.

    Returns
    -------
    ibis.expr.types.Table
        With `tf_…` (share of the records with a value) and `n_…` (how many) for every column whose rarity counts.
    """
    named = sorted({level.rare for one in model.compared for level in one.levels if level.rare} | {"name_key"})
    named = [name for name in named if name in records.columns]
    if chosen is None:
        told = records
        for name in named:
            counted = records.group_by(**{f"v_{name}": name}).agg(**{f"n_{name}": records[name].count()})
            told = told.left_join(counted, told[name] == counted[f"v_{name}"]).drop(f"v_{name}")
        told = told.cross_join(records.aggregate(**{f"of_{name}": records[name].count() for name in named}))
    else:
        # all are read once, whatever is counted
        beside = chosen.select("unique_id", **{f"v_{name}": name for name in named}).cross_join(records.select(*named))
        counted = beside.group_by("unique_id").agg(
            **{f"n_{name}": beside[name].count(where=beside[name] == beside[f"v_{name}"]).nullif(0) for name in named},
            **{f"of_{name}": beside[name].count() for name in named},
        )
        told = chosen.left_join(counted, "unique_id").drop("unique_id_right")
    told = told.mutate(**{f"tf_{name}": told[f"n_{name}"] / told[f"of_{name}"] for name in named})
    return told.drop(*[f"of_{name}" for name in named])


def as_file(model: models.Model, averages: Mapping[str, float]) -> dict[str, Any]:
    """What a file says of a model, as plain data.

    Parameters
    ----------
    model, averages
        As in :class:`Saved`.

    Returns
    -------
    dict
        Numbers with nine digits that count: the last ones depend on the number of threads.
    """
    kinds = {
        kind: {
            "pairs": _short(model.pairs[kind]),
            "levels": {
                one.name: [_short(p) for p in levels]
                for one, levels in zip(model.compared, model.probabilities[kind], strict=True)
            },
        }
        for kind in models.KINDS
    }  # fmt: skip
    compared = [
        {"name": one.name, "word": one.word, "columns": list(one.columns), "shared_by": list(one.shared_by),
         "missing": one.missing, "levels": [level._asdict() for level in one.levels]}
        for one in model.compared
    ]  # fmt: skip
    return {
        "form": FORM, "sql_dialect": "duckdb", "compared": compared, "kinds": kinds, "town": model.town,
        "namesakes": {kind: _short(often) for kind, often in model.namesakes.items()},
        "averages": {name: _short(value) for name, value in averages.items()}, "iterations": model.iterations,
        "converged": model.converged,
    }  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.9g}")


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Splink's own settings as they are kept: rounded to nine decimals, without a name that it draws at random.

    Parameters
    ----------
    settings
        As in :class:`clientbook.matching.pairs.Scored`.
    """
    return _rounded({key: value for key, value in settings.items() if key != "linker_uid"})


def load(told: Mapping[str, Any]) -> Saved:
    """The model that a file holds: `run.model("matching")`, or what `json.load` gives of it.

    Parameters
    ----------
    told
        The file's content.

    Raises
    ------
    ValueError
        If it is of another form, or holds no trained model.
    """
    held = (told.get("model") if isinstance(told, Mapping) else None) or told
    if not isinstance(held, Mapping) or held.get("form") != FORM:
        raise ValueError("This file holds no model of matching that can be read: a run in which one was trained writes it.")
    compared = tuple(
        Compared(
            one["name"], one["word"], tuple(one["columns"]), tuple(Level(**level) for level in one["levels"]),
            tuple(one["shared_by"]), one["missing"],
        )
        for one in held["compared"]
    )  # fmt: skip
    probabilities = {kind: [np.array(said["levels"][one.name]) for one in compared] for kind, said in held["kinds"].items()}
    pairs = {kind: said["pairs"] for kind, said in held["kinds"].items()}
    model = models.Model(
        compared, probabilities, pairs, held["iterations"], held["converged"], namesakes=held["namesakes"], town=held["town"]
    )
    return Saved(model, held["averages"], held["averages"]["own"], told.get("settings", {}))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value
