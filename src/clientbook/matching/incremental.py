"""What came since the run before, and what of that run still holds? Only records that are new or changed are compared.

A run leaves its records as they were written for comparison, the pairs that were not hopeless, and the trained model.
In the next run

1. a record whose content is the same keeps its pairs with all others whose content is the same;
2. a record that is new, or is delivered again with other content, is compared with all others by the same blocking
   rules and scored by the same model, so that a changed record has to earn its place again;
3. the pairs of a record that is gone are dropped;
4. groups of records that any of this touches are put into customers anew, at the same threshold; the others stay.

All is trained and compared anew where there is nothing to go on from, where parameters, settings, packages or this code
are others, where more than a fifth of the records came or changed since the last training, where a blocking rule would
make more pairs than it may, and where it is asked for.

What a full run would see and such a run does not, until the next training: how often strangers agree, and so the
weights; the threshold; a blocking rule that pays only now; which part of an old record's name is its surname, where what
came since would have turned it; and a value, such as an e-mail address, that too many share only now: from then on it
ties no new record, and the old ties stay.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa

from clientbook.engine import Engine, row_hash
from clientbook.matching import blocking, clusters, pairs, saved, standard
from clientbook.matching import model as models
from clientbook.matching.comparing import COMPARISONS, Compared, reads
from clientbook.matching.levels import Coded, unpacked
from clientbook.store import Run
from clientbook.tables import Column, Table

# Where more of the records came or changed since the training, it is done again.
MOST_SINCE = 0.2
MODEL = "matching_training"
NOBODY = "nobody is described"
# So many records are written for comparison in memory.
FEW = 50_000
# What of a delivered record is compared; where all of it is the same, the record is.
CONTENT = (
    "full_name", "given_name", "family_name", "email", "phone", "birth_date", "street", "city", "postcode", "company",
    "job_title", "external_id",
)  # fmt: skip
_DIGITS = 12
_FLAGS = ("guessed", "turned", "role")
_PERSONAL = {
    "given": "name", "family": "name", "first": "name", "last": "name", "root": "name", "first_sound": "name",
    "last_sound": "name", "initials": "name", "extra": "name", "name_key": "name", "mail": "email", "local": "email",
    "crowd_mail": "email", "dialled": "phone", "crowd_dialled": "phone", "born": "birth_date", "zip": "address",
    "place": "address", "way": "address", "house": "address", "number": "id", "crowd_number": "id",
}  # fmt: skip
_MEANING = {
    "domain": "domain of the e-mail address", "given": "first name, folded", "family": "surname, folded",
    "first": "first name in bare Latin letters", "last": "surname in bare Latin letters", "root": "what it is short for",
    "first_sound": "sound of the first name", "last_sound": "sound of the surname", "initials": "of both",
    "extra": "further words of the name", "name_key": "both parts in alphabetical order",
    "guessed": "the name was read from the e-mail address", "turned": "the parts of the name were put the other way round",
    "mail": "e-mail address", "local": "what stands before the @, where it is more than a name",
    "role": "the address is a function's", "work": "its domain, unless it gives addresses to anybody",
    "dialled": "phone as dialled from anywhere", "born": "birth date as eight digits", "zip": "postcode", "place": "city",
    "way": "street and house number", "house": "house number", "firm": "company without its legal form",
    "number": "shared number", "job": "job title", "crowd_mail": "an e-mail address that too many share",
    "crowd_dialled": "a phone that too many share", "crowd_number": "a number that too many share",
}  # fmt: skip
TABLES = (
    Table(
        "matching_records",
        "a person record as it was written for comparison, so that the next run need not do it again; kept in the newest alone",
        (
            Column("source", "text", "the system"),
            Column("person_id", "id", "the person's id in its source", personal="id"),
            Column("record_number", "number", "by which `matching_edges` names it"),
            Column("content", "number", "a hash of what was delivered of it, as far as it is compared"),
            *(
                Column(name, "flag" if name in _FLAGS else "text", f"for comparison: {_MEANING[name]}",
                       personal=_PERSONAL.get(name, ""))
                for name in standard.DERIVED
            ),
            Column("first_number", "number", "smallest number of those that it was put together with by likeness"),
            Column("together", "number", "how many these are", unit="records"),
            Column("probability", "number", "of its strongest tie to them; 1 where it is alone", unit="probability"),
        ),
        for_next=True,
    ),
    Table(
        "matching_edges",
        "two records that were compared and may be one human, so that the next run need not do it again; kept as long",
        (
            Column("record_number_a", "number", "the first record, as in `matching_records`"),
            Column("record_number_b", "number", "the second record"),
            Column("probability", "number", "that they are one human", unit="probability"),
            Column("match_weight", "number", "the same as the logarithm of its odds", unit="bits"),
            Column("pattern", "number", "the levels of likeness of all comparisons as one number"),
        ),
        for_next=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What did a run leave to go on from?

    Attributes
    ----------
    training
        As from :func:`training_of`.
    records, edges
        The tables `matching_records` and `matching_edges`.
    """

    training: dict[str, Any]
    records: ir.Table
    edges: ir.Table


@dataclass(frozen=True)
class Day:
    """Which records came, changed and went since the run before, and was all compared again?

    Attributes
    ----------
    carried
        Whether only what is new or changed was compared.
    why
        Why not, in words.
    new, changed, gone, same
        Records.
    compared, kept
        Pairs that were compared now, and pairs taken over.
    regrouped
        Records whose groups were put together anew.
    since
        Records that came or changed since the last training, as a share of those that it saw.
    """

    carried: bool
    why: str = ""
    new: int = 0
    changed: int = 0
    gone: int = 0
    same: int = 0
    compared: int = 0
    kept: int = 0
    regrouped: int = 0
    since: float = 0.0


@dataclass(frozen=True)
class Known:
    """What the run before left of each record, as far as numbers can tell it.

    Attributes
    ----------
    number, first, together, probability
        As in the table `matching_records`.
    source
        Its system.
    born
        The birth date as a number of eight digits, 0 where there is none.
    hashes
        By expression, as in :class:`clientbook.matching.blocking.Keys`.
    """

    number: np.ndarray
    first: np.ndarray
    together: np.ndarray
    probability: np.ndarray
    source: pa.ChunkedArray
    born: np.ndarray
    hashes: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Today:
    """Which records are which of the run before."""

    known: Known
    # of the numbers of the run before, those of now; -1 where a record is gone or changed
    place: np.ndarray
    # numbers of now
    fresh: np.ndarray
    # what is new or changed, written for comparison with all that is known in view; None where nothing is
    written: pa.Table | None
    # what blocking rules see of all records, in the order of their numbers
    keyed: blocking.Keys


@dataclass(frozen=True)
class Carried:
    """What is so today, of what was known and what came?

    Attributes
    ----------
    scored
        As from :func:`clientbook.matching.pairs.compare`.
    clustered
        As from :func:`clientbook.matching.clusters.cluster`.
    training
        For the next run.
    day
        What came.
    left, today
        What it was made of.
    """

    scored: pairs.Scored
    clustered: clusters.Clustered
    training: dict[str, Any]
    day: Day
    left: Kept
    today: _Today


def kept(run: Run, connection: Any) -> Kept | None:
    """What did a run leave to go on from? None where it left nothing.

    Parameters
    ----------
    run
        An earlier run.
    connection
        Of the engine that reads its tables.
    """
    if not {table.name for table in TABLES} <= set(run.tables) or not (run.folder / "models" / f"{MODEL}.json").is_file():
        return None
    training = run.model(MODEL)
    if not training.get("model"):
        return None
    return Kept(training, *(run.read(table.name, connection) for table in TABLES))


def settings_of(country: str, p: Any, asked: Any, *more: Any) -> str:
    """By what is one way of matching told from another? Whoever changes any of it wants all compared again.

    Parameters
    ----------
    country
        The book's.
    p
        The stage's parameters; how many pairs are laid out for review, and how many ways are drawn, is no matter.
    asked
        What the book says of matching.
    *more
        Whatever else the result rests on, as plain data.
    """
    given = p.model_dump(mode="json", exclude={"review_pairs", "identity_draws"})
    told = [country, given, asked.model_dump(mode="json"), _made_by(), *more]
    return hashlib.sha256(repr(told).encode()).hexdigest()


@lru_cache(maxsize=1)
def _made_by() -> str:
    here = Path(__file__).parent
    folders = (here, here.parent / "engine")
    read = [*sorted(path for one in folders for path in one.glob("*") if path.is_file()), here.parent / "parsing.py"]
    code = b"".join(path.read_bytes() for path in read)
    names = ("duckdb", "ibis-framework", "numpy", "scipy", "pandas", "splink", "phonenumbers", "anyascii")
    versions = [*map(metadata.version, names), platform.python_version()]
    return hashlib.sha256(code + repr(versions).encode()).hexdigest()


def training_of(scored: pairs.Scored, clustered: clusters.Clustered, n: int, settings: str) -> dict[str, Any]:
    """What must the next run know so that it need not train?

    Parameters
    ----------
    scored, clustered
        Of this run.
    n
        How many records the model saw.
    settings
        As from :func:`settings_of`.

    Returns
    -------
    dict
        Plain data without a value of anybody; nothing but `settings` where no model was trained.
    """
    if scored.model is None:
        return {"settings": settings, "model": None}
    model = scored.model
    return {
        "settings": settings,
        "records": n,
        "since": 0,
        "days": 0,
        "model": {
            "compared": [one.name for one in model.compared],
            "probabilities": {kind: [_digits(level) for level in levels] for kind, levels in model.probabilities.items()},
            "pairs": {kind: _digits(value) for kind, value in model.pairs.items()},
            "iterations": model.iterations, "converged": model.converged, "town": model.town,
            "namesakes": {kind: _digits(often) for kind, often in model.namesakes.items()},
        },
        "rules": [list(rule) for rule in scored.rules],
        "averages": {name: _digits(value) for name, value in scored.averages.items()},
        "looked_at": scored.looked_at.astype("object").where(scored.looked_at.notna(), None).to_dict("records"),
        "starts": scored.starts.to_dict("records"),
        "splink": saved.settings_of(scored.settings), "note": scored.note,
        "oddities": list(scored.oddities), "recall": scored.recall,
        "threshold": clustered.threshold, "unseen": _digits(clustered.unseen), "expected": clustered.expected,
        "tried": clustered.tried.to_dict("records"), "why": clustered.why, "cut": clustered.cut,
        "impossible": clustered.impossible,
    }  # fmt: skip


def left_for_next(
    records: ir.Table | None, scored: pairs.Scored, clustered: clusters.Clustered, engine: Engine
) -> dict[str, ir.Table]:
    """The tables that the next run goes on from; none where no model was trained.

    Parameters
    ----------
    records
        As from :func:`clientbook.matching.standard.records`.
    scored, clustered
        Of this run.
    engine
        Where intermediate results are staged.
    """
    if records is None or scored.model is None:
        return {}
    tied = clustered.tied
    sizes = np.bincount(tied["first"])
    put = tied.rename(columns={"first": "first_number"}).assign(together=sizes[tied["first"].to_numpy()])
    rows = records.inner_join(engine.keep(ibis.memtable(put), rows=len(put)), "unique_id")
    rows = rows.mutate(record_number=rows["unique_id"], content=_content(rows)).order_by("record_number")
    frame = scored.edges.rename(columns={"l": "record_number_a", "r": "record_number_b"})
    frame = frame.assign(match_weight=scored.match_weight.round(6), pattern=scored.patterns)
    return {
        TABLES[0].name: rows.select(*TABLES[0].names),
        TABLES[1].name: ibis.memtable(frame[list(TABLES[1].names)]),
    }


def carry_on(
    left: Kept | None, people: ir.Table, numbered: ir.Table, n: int, engine: Engine, country: str, p: Any,
    clean_sources: Sequence[str], settings: str,
) -> Carried | Day:  # fmt: skip
    """Who is who today, if only what came is compared?

    Parameters
    ----------
    left
        What the run before left, or None.
    people
        The clean table.
    numbered
        `source`, `person_id`, `unique_id` of all person records.
    n
        How many these are.
    engine
        Where intermediate results are staged.
    country, p
        The book's country, and the stage's parameters.
    clean_sources
        Systems that the book says hold nobody twice.
    settings
        As from :func:`settings_of`.

    Returns
    -------
    Carried or Day
        The day alone where all has to be compared again; it says why.
    """
    if left is None:
        return Day(False, "no run before left anything to go on from, or it was asked for")
    training = left.training
    if training["settings"] != settings:
        return Day(False, "the settings, the packages or the way of matching are others than in the run before")
    model, rules = _model(training["model"]), [tuple(rule) for rule in training["rules"]]
    known = known_of(left, rules)
    day, place, chosen = _today(left, known, people, numbered)
    fresh = chosen["unique_id"].to_numpy()
    since = (training["since"] + len(fresh)) / max(training["records"], 1)
    day = replace(day, since=round(since, 6))
    if since > MOST_SINCE:
        return replace(day, why=f"{since:.0%} of the records came or changed since the last training")
    written, keyed = written_of(left, known, place, people, chosen, engine, country, p.most_sharing)
    today = _Today(known, place, fresh, written, keyed)
    found = _compared(left, today, model, rules, engine, p.pairs_per_record)
    if found is None:
        return replace(day, why="a blocking rule would make more pairs than it may")
    new, compared = found
    old, bereft = _still_so(left, place)
    edges = _merged(old, new, n)
    clustered, regrouped = _regrouped(left, today, edges, bereft, n, clean_sources)
    day = replace(day, carried=True, compared=compared, kept=len(old), regrouped=regrouped)
    told = training | {"since": training["since"] + len(fresh), "days": training["days"] + 1}
    return Carried(_scored(edges, training, model, rules), clustered, told, day, left, today)


def known_of(left: Kept, rules: Sequence[Sequence[str]]) -> Known:
    """What did the run before leave of each record? All of it read at once.

    Parameters
    ----------
    left
        What it left.
    rules
        Blocking rules.
    """
    shared = (name for column in standard.CROWDED for name in (column, f"crowd_{column}"))
    texts = sorted({*_counted(left.training), *(text for rule in rules for text in rule), *shared, "name_key"})
    kept = left.records
    told = kept.select(
        "record_number", "first_number", "together", "probability", "source", born=kept["born"].cast("int64").fill_null(0),
        **blocking.hashed(kept, texts),
    ).to_pyarrow()  # fmt: skip
    numbers = (told[name].to_numpy() for name in ("record_number", "first_number", "together", "probability"))
    return Known(*numbers, told["source"], told["born"].to_numpy(), blocking.read_hashes(told, texts))


def _counted(training: Mapping[str, Any]) -> list[str]:
    """The columns of which it is told how many have the same value."""
    return sorted({*training["averages"]} - {*pairs.OF_ALL})


def _today(left: Kept, known: Known, people: ir.Table, numbered: ir.Table) -> tuple[Day, np.ndarray, pa.Table]:
    """What came, where each known record is now, and who is new or changed: `source`, `person_id`, `unique_id`, in order."""
    keys = ["source", "person_id"]
    now = people.select(
        *keys, "arrival", changed_at=ibis.coalesce(people["updated_at"], people["created_at"]), content=_content(people)
    )
    was = left.records.select(*keys, number="record_number", was="content")
    rows = now.inner_join(numbered, keys).left_join(was, keys)
    same = (rows["content"] == rows["was"]).fill_null(False)
    # who is as before need not be named
    named = {name: same.ifelse(ibis.null("string"), rows[name]) for name in keys}
    told = rows.select("unique_id", "number", "changed_at", "arrival", same=same, **named).to_pyarrow()
    ids = told["unique_id"].to_numpy()
    if len(np.unique(ids)) < len(ids):
        # as :func:`clientbook.matching.standard.last_said`
        at = told["changed_at"].cast("int64").fill_null(np.iinfo("int64").min).to_numpy()
        order = np.lexsort((told["arrival"].to_numpy(), at, ids))
        told = told.take(pa.array(order[np.r_[ids[order][1:] != ids[order][:-1], True]]))
        ids = told["unique_id"].to_numpy()
    number = told["number"].fill_null(-1).to_numpy()
    same = told["same"].to_numpy(zero_copy_only=False).astype(bool)
    place = np.full(known.number.max(initial=-1) + 1, -1, "int64")
    place[number[same]] = ids[same]
    seen = number >= 0
    day = Day(False, new=int((~seen).sum()), changed=int((seen & ~same).sum()), gone=len(known.number) - int(seen.sum()),
              same=int(same.sum()))  # fmt: skip
    fresh = np.flatnonzero(~same)
    return day, place, told.select([*keys, "unique_id"]).take(pa.array(fresh[np.argsort(ids[fresh])])).combine_chunks()


def written_of(
    left: Kept, known: Known, place: np.ndarray, people: ir.Table, chosen: pa.Table, engine: Engine, country: str,
    most_sharing: int,
) -> tuple[pa.Table | None, blocking.Keys]:  # fmt: skip
    """How are records that are new or changed written for comparison, with all that is known in view?

    Parameters
    ----------
    left, known
        What the run before left, and what :func:`known_of` read of it.
    place
        Of the numbers of the run before, those of now; -1 where a record is gone or changed.
    people
        The clean table.
    chosen
        `source`, `person_id` and `unique_id` of who is new or changed, in the order of their numbers.
    engine, country, most_sharing
        As for :func:`clientbook.matching.standard.records`.

    Returns
    -------
    written, keyed
        The columns of :func:`clientbook.matching.standard.few`, None where nothing came; and what blocking rules see of all
        records, in the order of their numbers.
    """
    here = place[known.number] >= 0
    old = blocking.Keys(place[known.number[here]], {text: column[here] for text, column in known.hashes.items()})
    if not len(chosen):
        return None, _in_order(old)
    before, texts = left.records, list(known.hashes)
    if not here.all():
        before = before.anti_join(_numbers(engine, record_number=known.number[~here]), "record_number")
    asked = engine.keep(ibis.memtable(chosen), rows=len(chosen))
    if len(chosen) > FEW:
        theirs = people.semi_join(asked, ["source", "person_id"])
        rows = standard.records(engine.keep(theirs), engine, country, most_sharing, asked, before)
        keyed = blocking.keys(rows, texts)
        return rows.select("unique_id", "source", *standard.DERIVED).to_pyarrow(), _in_order(old, keyed)
    rows = standard.few(people, engine, country, asked, before)
    keyed = blocking.keys(ibis.memtable(_in_memory(rows)), texts)
    too_many = {column: _too_many(old, keyed, column, most_sharing) for column in standard.CROWDED}
    for column, flags in too_many.items():
        keyed.hashes[column][flags] = 0
    return _in_memory(standard.without_crowds(rows, too_many)), _in_order(old, keyed)


def _in_memory(rows: pd.DataFrame) -> pa.Table:
    types = {"unique_id": pa.int64(), **dict.fromkeys(_FLAGS, pa.bool_())}
    # a column without a single value would be of no type
    schema = pa.schema([(name, types.get(name, pa.string())) for name in rows.columns])
    return pa.Table.from_pandas(rows, schema=schema, preserve_index=False)


def _too_many(old: blocking.Keys, new: blocking.Keys, column: str, most: int) -> np.ndarray:
    """Of each record that came, whether people of too many names have its value of a column."""
    mine, theirs = new.hashes[column], old.hashes[column]
    theirs = np.where(theirs != 0, theirs, old.hashes[f"crowd_{column}"])
    wanted = np.unique(mine[mine != 0])
    value, holder = [], []
    for keys, held, at in (
        (new, mine, np.flatnonzero(mine)), (old, theirs, blocking.members(theirs, theirs != 0, wanted)),
    ):  # fmt: skip
        value.append(np.searchsorted(wanted, held[at]))
        named = keys.hashes["name_key"][at]
        # who has no name holds it alone
        holder.append(np.where(named != 0, named, keys.ids[at].astype("uint64")))
    seen = np.unique(np.stack([np.concatenate(value).astype("uint64"), np.concatenate(holder)]), axis=1)[0]
    many = np.bincount(seen.astype("int64"), minlength=len(wanted) + 1) > most
    return (mine != 0) & many[np.searchsorted(wanted, mine)]


def _in_order(*parts: blocking.Keys) -> blocking.Keys:
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids)
    texts = parts[0].hashes
    return blocking.Keys(ids[order], {text: np.concatenate([part.hashes[text] for part in parts])[order] for text in texts})


def _read(left: Kept, today: _Today, engine: Engine, numbers: np.ndarray, columns: Sequence[str]) -> pa.Table:
    """What is known of some records, in the order of their numbers."""
    old = np.flatnonzero(np.isin(today.place, numbers))
    wanted = _numbers(engine, record_number=old)
    rows = left.records.semi_join(wanted, "record_number").select("record_number", *columns)
    told = rows.to_pyarrow()
    ids = today.place[told["record_number"].to_numpy()]
    told = told.drop_columns("record_number")
    if today.written is not None:
        new = today.written.filter(pa.array(np.isin(today.written["unique_id"].to_numpy(), numbers)))
        ids = np.concatenate([ids, new["unique_id"].to_numpy()])
        told = pa.concat_tables([told, new.select(columns).cast(told.schema)])
    return told.take(pa.array(np.argsort(ids)))


def _compared(
    left: Kept, today: _Today, model: models.Model, rules: Sequence[Sequence[str]], engine: Engine, pairs_per_record: int
) -> tuple[pd.DataFrame, int] | None:
    """Pairs of which one record at least is new or changed, and how many were compared; None where they are too many."""
    rare = {level.rare for one in model.compared for level in one.levels if level.rare}
    columns = sorted({*rare, *(name for one in model.compared for name in reads(one)), "mail", "guessed", "name_key"})
    training, keyed = left.training, today.keyed
    counted = _counted(training)
    fresh = np.isin(keyed.ids, today.fresh)
    bound = pairs.bound(len(keyed.ids), pairs_per_record)
    blocked = blocking.blocked_with(keyed, rules, fresh, per_rule=bound, most=pairs.RULES_TOGETHER * bound)
    if blocked is None:
        return None
    involved, where = np.unique(np.concatenate(blocked), return_inverse=True)
    one, other = where[: len(blocked[0])], where[len(blocked[0]) :]
    coded = Coded(_read(left, today, engine, keyed.ids[involved], columns), engine, model.compared)
    common = pairs.Common(
        {name: _how_many(keyed, name, involved) for name in counted},
        {name: int((keyed.hashes[name] != 0).sum()) for name in counted}, training["averages"],
    )  # fmt: skip
    code = coded.patterns(one, other)
    one, other, code, _, weight, probability = pairs.hopeful(model, common, one, other, code, training["records"])
    ends = keyed.ids[involved]
    found = pd.DataFrame({
        "l": ends[one], "r": ends[other], "probability": probability.round(6), "match_weight": weight, "pattern": code,
    })  # fmt: skip
    return found, len(blocked[0])


def _still_so(left: Kept, place: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The pairs of the run before that are still there, by the numbers of now; and the records that lost one."""
    told = left.edges.to_pyarrow()
    a, b = (place[told[f"record_number_{side}"].to_numpy()] for side in "ab")
    still = (a >= 0) & (b >= 0)
    frame = pd.DataFrame({"l": a[still], "r": b[still]})
    for name in ("probability", "match_weight", "pattern"):
        frame[name] = told[name].to_numpy()[still]
    ends = np.concatenate([a[~still], b[~still]])
    return frame, np.unique(ends[ends >= 0])


def _merged(old: pd.DataFrame, new: pd.DataFrame, n: int) -> pd.DataFrame:
    """Both in the order of their ends; each is so already."""
    a, b = (one["l"].to_numpy("int64") * n + one["r"].to_numpy("int64") for one in (old, new))
    at = np.searchsorted(a, b)
    return pd.DataFrame({name: np.insert(old[name].to_numpy(), at, new[name].to_numpy()) for name in old.columns})


def _scored(
    edges: pd.DataFrame, training: Mapping[str, Any], model: models.Model, rules: Sequence[tuple[str, ...]]
) -> pairs.Scored:
    pattern = edges["pattern"].to_numpy("int64")
    which, distinct = pd.factorize(pattern)
    looked_at = pd.DataFrame(training["looked_at"]).astype({"finds": float, "alone": float})
    return pairs.Scored(
        edges[["l", "r", "probability"]], looked_at, unpacked(distinct, model.compared)[which],
        edges["match_weight"].to_numpy(float), model, training["splink"], "splink", training["note"],
        tuple(training["oddities"]), training["recall"], pd.DataFrame(training["starts"]), pattern, tuple(rules),
        training["averages"],
    )  # fmt: skip


def _regrouped(
    left: Kept, today: _Today, edges: pd.DataFrame, bereft: np.ndarray, n: int, clean_sources: Sequence[str]
) -> tuple[clusters.Clustered, int]:
    """Groups that anything touches put together anew, the others as they were."""
    training, known = left.training, today.known
    here = today.place[known.number] >= 0
    head, together = known.first, known.together
    at, first = today.place[known.number[here]], today.place[head[here]]
    # whoever was put together with somebody who is no more, erased from what was kept too
    present = np.bincount(head[here], minlength=len(today.place))
    fewer = present[head[here]] != together[here]
    mine = clusters.touched(edges, n, np.concatenate([today.fresh, bereft, at[fewer]]))
    firsts, probability = np.arange(n), np.ones(n)
    firsts[at], probability[at] = np.where(first >= 0, first, at), known.probability[here]
    inside = np.isin(np.arange(n), mine)
    own = edges[inside[edges["l"].to_numpy()] & inside[edges["r"].to_numpy()]]
    theirs = own.assign(**{side: np.searchsorted(mine, own[side].to_numpy()) for side in "lr"})
    apart = _apart(today, mine, theirs, clean_sources)
    anew = clusters.cluster(
        theirs, len(mine), threshold=training["threshold"], apart=apart, unseen=training["unseen"]
    )  # fmt: skip
    firsts[mine], probability[mine] = mine[anew.tied["first"].to_numpy()], anew.tied["probability"]
    tied = pd.DataFrame({"unique_id": np.arange(n), "first": firsts, "probability": probability})
    return clusters.Clustered(
        tied, training["threshold"], training["expected"], training["cut"], training["impossible"],
        pd.DataFrame(training["tried"]), training["why"], training["unseen"],
    ), len(mine)  # fmt: skip


def _apart(today: _Today, mine: np.ndarray, edges: pd.DataFrame, clean_sources: Sequence[str]) -> clusters.Apart:
    known, written = today.known, today.written
    ids, sources, days = today.place[known.number], known.source, known.born
    if written is not None:
        ids = np.concatenate([ids, written["unique_id"].to_numpy()])
        sources = pa.chunked_array([*sources.chunks, *written["source"].cast(sources.type).chunks])
        days = np.concatenate([days, written["born"].cast("int64").fill_null(0).to_numpy()])
    # all whose groups are put together anew are described: a mere id has no pairs
    order = np.argsort(ids, kind="stable")
    at = order[np.searchsorted(ids, mine, sorter=order)]
    return clusters.apart_by(sources.take(pa.array(at)).to_numpy(), days[at], edges, clean_sources)


def whole(carried: Carried, people: ir.Table, numbered: ir.Table, engine: Engine) -> ir.Table:
    """All records as from :func:`clientbook.matching.standard.records`, of what was kept and what came.

    Parameters
    ----------
    carried
        As from :func:`carry_on`.
    people, numbered, engine
        As for it.
    """
    left, today = carried.left, carried.today
    at = np.flatnonzero(today.place >= 0)
    ids = _numbers(engine, record_number=at, unique_id=today.place[at])
    told = left.records.inner_join(ids, "record_number").select("unique_id", *standard.DERIVED)
    if today.written is not None:
        # of the engine's own, as in :func:`_numbers`
        new = ibis.memtable(today.written.select(list(told.columns)))
        told = told.union(engine.keep(new, rows=len(today.written)))
    rows = standard.newest(people).inner_join(numbered, ["source", "person_id"]).inner_join(told, "unique_id")
    return engine.keep(rows.order_by("unique_id"), rows=len(at) + len(today.fresh))


def _how_many(keyed: blocking.Keys, name: str, involved: np.ndarray) -> np.ndarray:
    """Of some records how many of all have the same value; 1 where it is missing."""
    column = keyed.hashes[name]
    mine = column[involved]
    wanted = np.unique(mine[mine != 0])
    held = column[blocking.members(column, column != 0, wanted)]
    counts = np.bincount(np.searchsorted(wanted, held), minlength=len(wanted) + 1).astype(float)
    return np.where(mine != 0, counts[np.searchsorted(wanted, mine)], 1.0)


def _numbers(engine: Engine, **numbers: np.ndarray) -> ir.Table:
    """Whole numbers as a table of the engine's own: what stays outside it cannot be filtered by every join."""
    rows = ibis.memtable(numbers, schema=dict.fromkeys(numbers, "int64"))
    return engine.keep(rows, rows=len(next(iter(numbers.values()))))


def _content(rows: ir.Table) -> ir.IntegerColumn:
    # half of an unsigned number is a signed one
    return (row_hash([rows[name] for name in CONTENT]) // 2).cast("int64")


def _digits(value: Any) -> Any:
    """Numbers without their last digits, which depend on how many threads added them up."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_digits(item) for item in value]
    return float(f"{float(value):.{_DIGITS}g}")


def _model(told: Mapping[str, Any]) -> models.Model:
    by_name = {one.name: one for one in COMPARISONS}
    compared: tuple[Compared, ...] = tuple(by_name[name] for name in told["compared"])
    probabilities = {kind: [np.array(level) for level in levels] for kind, levels in told["probabilities"].items()}
    return models.Model(
        compared, probabilities, dict(told["pairs"]), told["iterations"], told["converged"],
        namesakes=dict(told["namesakes"]), town=told["town"],
    )  # fmt: skip
