"""Who is who? Person records of all systems put together into customers, and customers into accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import Field

from clientbook.book import LABELS
from clientbook.book import Matching as Asked
from clientbook.engine import Engine
from clientbook.matching import (
    asking,
    blocking,
    clusters,
    incremental,
    overlap,
    pairs,
    reviewing,
    saved,
    spread,
    standard,
    uncertain,
)
from clientbook.matching import ids as lasting
from clientbook.matching import labels as told
from clientbook.matching.accounts import resolve
from clientbook.matching.ids import Before, before
from clientbook.matching.incremental import MODEL, Day
from clientbook.matching.labels import counts as answers
from clientbook.matching.labels import left_out
from clientbook.matching.labels import read as read_labels
from clientbook.matching.labels import say as say_labels
from clientbook.matching.report import (
    answer,
    by_system,
    by_systems,
    changes,
    close_calls,
    conflicts,
    counts,
    day_table,
    key_numbers,
    kinds,
    origins,
    parameters,
    rules,
    say_bound,
    say_conflicts,
    say_contradictions,
    say_day,
    say_method,
    say_odd,
    say_recall,
    say_systems,
    say_threshold,
    say_together,
    sizes,
    starts,
    system_overlap,
    thresholds,
    together,
    undecided,
    weight_range,
    weights,
)
from clientbook.matching.reviewing import estimates, say_estimates, say_followed
from clientbook.matching.scoring import say_score, score
from clientbook.matching.sitting import review_here
from clientbook.matching.uncertain import say_draws
from clientbook.stage import NothingToShow, Parameters, Stage
from clientbook.tables import CANONICAL, Column, Table

__all__ = [
    "MODEL", "STAGE", "Before", "Day", "Matched", "MatchingParameters", "answer", "answers", "before", "by_system",
    "by_systems", "changes", "close_calls", "conflicts", "counts", "day_table", "estimates", "key_numbers", "kinds",
    "left_out", "match", "model_to_keep", "origins", "parameters", "read_labels", "review_here", "rules", "say_bound",
    "say_conflicts", "say_contradictions", "say_day", "say_draws", "say_estimates", "say_followed", "say_labels",
    "say_method", "say_odd", "say_recall", "say_score", "say_systems", "say_threshold", "say_together", "score", "sizes",
    "starts", "system_overlap", "thresholds", "together", "undecided", "weight_range", "weights",
]  # fmt: skip

PERSONS = (
    "people", "aliases", "orders", "events", "messages", "opportunities", "opportunity_people", "cases", "surveys",
    "referrals", "consents", "preferences",
)  # fmt: skip


class MatchingParameters(Parameters):
    """What an analyst may change in `03_matching`."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="from this mean probability on records are put together; None: best expected F1"
    )
    precision: float | None = Field(
        None, gt=0, lt=1, description="so much of what is put together shall be right, as far as is known; None: best F1"
    )
    most_sharing: int = Field(25, ge=2, description="an e-mail, phone or number of people of more names is nobody's own")
    pairs_per_record: int = Field(10, ge=1, description="a blocking rule may make so many pairs a record, all six times")
    review_pairs: int = Field(500, ge=0, description="how many undecided pairs are laid out for a person")
    identity_draws: int = Field(20, ge=0, le=1_000, description="how many other plausible ways to put records together")
    seed: int = Field(1, ge=0, description="seed of the sample on which the model is trained")


def _golden(name: str) -> Column:
    column = CANONICAL["people"][name]
    return Column(name, column.kind, f"{column.meaning}, by the rule for the column", unit=column.unit, personal=column.personal)


_CUSTOMER = Column("customer_id", "id", "the customer; the same from run to run")
_ACCOUNT = Column("account_id", "id", "the account: a company, a household, or the customer alone")
_SOURCE = Column("source", "text", "the system")
_PERSON = Column("person_id", "id", "the person's id in its source", personal="id")
TABLES = (
    Table(
        "identities",
        "a person record, or an id that is only named by events, orders or the like, and whose it is",
        (
            _SOURCE,
            _PERSON,
            _CUSTOMER,
            Column(
                "probability", "number",
                "of the strongest tie to the customer's other records; 1 where there is none, or a rule ties it",
                unit="probability",
            ),
        ),
    ),
    Table(
        "customers",
        "a customer: one human being",
        (
            _CUSTOMER,
            *(
                _ACCOUNT if name == "account_id" else _golden(name)
                for name in (*standard.GOLDEN[:12], "job_title", "account_id", *standard.GOLDEN[13:])
            ),
            Column("sources", "text", "the systems that know the customer, in order, with commas between them"),
            Column("records", "number", "person records put together", unit="records"),
            Column("first_seen", "time", "when the first of the records was made"),
            *(
                Column(f"{what}_from", "text", f"the system that the {what.replace('_', ' ')} was taken from")
                for what in clusters.UNIT_OF
            ),
            Column(
                "conflicts", "text",
                "what the customer's records say differently, in order, with commas between; empty where nothing",
            ),
        ),
    ),
    Table(
        "resolved_accounts",
        "a company, a household, or a customer alone",
        (
            _ACCOUNT,
            Column("name", "text", "the company's name"),
            Column("domain", "text", "web domain"),
            Column("industry", "text", "industry"),
            Column("region", "text", "region, state or canton"),
            Column("country", "text", "country"),
            Column("parent_account_id", "id", "the account it belongs to"),
            Column("kind", "text", "company, household or single", allowed=("company", "household", "single")),
            Column("customers", "number", "customers who belong to it", unit="customers"),
        ),
    ),
    Table(
        "account_identities",
        "an account that a system delivers, or that its people or deals name, and the resolved account that it is",
        (_SOURCE, Column("source_account_id", "id", "the account's id in its source"), _ACCOUNT),
    ),
    Table(
        "review_pairs",
        "two records to ask a person about, in the order in which answers are worth most",
        (
            Column("turn", "number", "when it is asked: 1 first"),
            Column("customer_a", "id", "the first record's customer"),
            Column("customer_b", "id", "the second record's customer"),
            Column("source_a", "text", "the first record's system"),
            Column("person_id_a", "id", "the first record's id", personal="id"),
            Column("source_b", "text", "the second record's system"),
            Column("person_id_b", "id", "the second record's id", personal="id"),
            Column(
                "probability", "number", "that they are one human, by these two alone; empty where they were never compared",
                unit="probability",
            ),
            Column("match_weight", "number", "the same as the logarithm of its odds", unit="bits"),
            Column("reasons_for", "text", "what speaks for it, the strongest first"),
            Column("reasons_against", "text", "what speaks against it, the strongest first"),
            Column(
                "asked_for", "text", "as the answer may change much, or as the pair was drawn to estimate errors by",
                allowed=("gain", "estimate"),
            ),
            Column("stratum", "text", "what the pair was drawn from; kept with the answer"),
            Column("changes", "number", "pairs that change if the answer goes against the customers as they are", unit="pairs"),
            Column("chance", "number", "that it does", unit="probability"),
            Column("expected_gain", "number", "pairs expected to be put right by the answer", unit="pairs"),
        ),
    ),
    Table(
        "identity_changes",
        "records that went from one customer_id to another, in this run and those before",
        (
            Column("run_before", "text", "the run that the change was seen against"),
            Column("customer_id_before", "id", "the customer they were"),
            Column("customer_id", "id", "the customer they are"),
            Column("change", "text", "what happened", allowed=("merged", "split")),
            Column("records", "number", "how many of them", unit="records"),
        ),
    ),
    Table(
        "system_overlap",
        "a set of systems and how many customers exactly these know",
        (
            Column("systems", "text", "names, in order, with commas between them"),
            Column("n_systems", "number", "how many", unit="systems"),
            Column("customers", "number", "customers known to these and to no other", unit="customers"),
            Column("share", "number", "of all customers", unit="share"),
        ),
    ),
)  # fmt: skip

TABLES += (*overlap.TABLES, *incremental.TABLES, *uncertain.TABLES)

STAGE = Stage(
    name="matching",
    remembers=True,
    book_files=(LABELS,),
    uses=(*PERSONS, "accounts"),
    writes=tuple(table.name for table in TABLES),
    # what records are compared by, and what came of that; they are put into customers here
    on_spark=tuple(table.name for table in incremental.TABLES),
    shows="which records of the company's systems are one and the same person",
    parameters=MatchingParameters,
    tables=TABLES,
)


@dataclass(frozen=True)
class Matched:
    """Who is who in this book?

    Attributes
    ----------
    tables
        The public tables by name, ordered.
    scored
        Which pairs were compared, and how.
    left_out
        Values that were too common, or no such thing, to tell people apart by.
    origins
        As from :func:`origins`.
    conflicts
        As from :func:`conflicts`.
    clustered
        How the pairs became customers.
    contradictions
        Known links that were not followed, as they lead to several customers.
    day
        What came since the run before, and whether all was compared again.
    training
        What the next run goes on from, as plain data.
    settled
        Which answers of people are followed.
    followed
        What they changed and taught; None where there are none.
    numbered, records, apart
        Every record with its number, those with data as they are compared, and what rules out that two are one human.
    again
        With other answers: which are followed, what they change and teach, and what is to be asked next.
    """

    tables: Mapping[str, ir.Table]
    scored: pairs.Scored
    left_out: pd.DataFrame
    origins: pd.DataFrame
    conflicts: pd.DataFrame
    clustered: clusters.Clustered
    contradictions: int = 0
    day: Day = field(default_factory=lambda: Day(False))
    training: Mapping[str, Any] = field(default_factory=dict)
    settled: told.Settled | None = None
    followed: reviewing.Followed | None = None
    numbered: ir.Table | None = None
    records: ir.Table | None = None
    apart: clusters.Apart | None = None
    again: Callable[[pd.DataFrame], tuple[told.Settled, reviewing.Followed | None, pd.DataFrame]] | None = None


def match(
    tables: Mapping[str, ir.Table], engine: Engine, country: str, p: MatchingParameters, earlier: Before | None = None,
    asked: Asked | None = None, labels: pd.DataFrame | None = None, large: Engine | None = None,
    bring: Callable[[ir.Table | None], ir.Table | None] = lambda rows: rows,
) -> Matched:  # fmt: skip
    """Which person records are one customer, and which customers one account?

    Parameters
    ----------
    tables
        Clean tables by name; those that the book lacks are not there, or None.
    engine
        Where records are put into customers, and intermediate results of that are staged.
    country
        The book's, for telephone numbers.
    p
        The parameters.
    earlier
        What the run before said, so that ids last.
    asked
        What the book says of matching; a parameter goes before it.
    labels
        What people said about pairs, as from :func:`clientbook.matching.labels.read`.
    large
        Where the tables lie, and where records are written for comparison and pairs are made and compared; `engine` itself
        unless told. Where it is another, all is compared anew in each run.
    bring
        What lies there as a table of `engine`.

    Raises
    ------
    NothingToShow
        If no table names a person.
    """
    there = {name: rows for name, rows in tables.items() if rows is not None}
    if not there.keys() & set(PERSONS):
        raise NothingToShow(f"This book names no person. With one, this page would show {STAGE.shows}.")
    asked, large = asked or Asked(), large or engine
    numbers = large.number(standard.persons(there.items()), ["source", "person_id"], "unique_id")
    numbered = bring(numbers)
    n = _rows(numbered)
    carried = Day(False, incremental.NOBODY)
    if "people" in there:
        wanted = incremental.settings_of(country, p, asked)
        carried = Day(False, spread.WHY_ANEW) if large is not engine else incremental.carry_on(
            earlier.kept if earlier else None, there["people"], numbered, n, engine, country, p, asked.clean_sources, wanted
        )  # fmt: skip
    if isinstance(carried, incremental.Carried):
        records = incremental.whole(carried, there["people"], numbered, engine)
        apart = clusters.ruled_out(records, carried.scored.edges, asked.clean_sources, n)
        scored, alike, training, day = carried.scored, carried.clustered, carried.training, carried.day
    else:
        records, scored, apart, alike = _all_anew(there.get("people"), numbers, n, engine, country, p, asked, large, bring)
        training = {} if records is None else incremental.training_of(scored, alike, _rows(records), wanted)
        day = carried
    shared = pd.DataFrame(columns=["what", "records", "left_out"]) if records is None else standard.left_out(records)
    links, data = clusters.alias_edges(bring(there.get("aliases")), numbered), clusters.with_data(records, n)
    clustered, (tied, against) = alike, clusters.tie(alike.tied, links, data)
    seen = asking.see(scored.edges, tied, data, numbered)

    # by the threshold of the training: a run that goes on from it has no other
    way = {"threshold": training.get("threshold", alike.threshold), "unseen": training.get("unseen", alike.unseen)}

    def put_together(ruled: clusters.Apart) -> tuple[clusters.Clustered, pd.DataFrame, pd.DataFrame]:
        made = replace(clusters.cluster(scored.edges, n, **way, apart=ruled), why=alike.why, tried=alike.tried)
        return made, *clusters.tie(made.tied, links, data, ruled)

    def judge(answers: pd.DataFrame):
        settled, followed, made = told.settle(answers, numbered), None, (clustered, tied, against)
        if settled:
            held: list = []

            def put(ruled: clusters.Apart) -> np.ndarray:
                held[:] = put_together(ruled)
                return held[1]["first"].to_numpy("int64")

            followed = reviewing.follow(seen, settled, apart, put, scored.recall, p.seed)
            made = tuple(held)
        customer = made[1]["first"].to_numpy("int64")
        return settled, followed, reviewing.ask(seen, customer, settled, followed, p.review_pairs, p.seed), made

    settled, followed, to_ask, (clustered, tied, against) = judge(told.read(None) if labels is None else labels)
    known, changed = lasting.keep(clusters.identities(numbered, tied), earlier)
    known = engine.keep(known)
    golden = engine.keep(clusters.golden(known, records, asked.golden))
    deals = there["opportunities"].select("account_source", "account_id").distinct() if "opportunities" in there else None
    customers, resolved, identified = resolve(known, golden, records, bring(there.get("accounts")), engine, bring(deals))
    customers = engine.keep(customers.select(*[c.name for c in TABLES[1].columns]).order_by("customer_id"))
    drawn = uncertain.identity_draws(
        numbered, known, scored.edges, clustered, links, data, engine, apart=apart if followed is None else followed.apart,
        draws=p.identity_draws, seed=p.seed,
    )  # fmt: skip
    review = pairs.review(scored, to_ask, numbered, known)
    return Matched(
        {
            "identities": known,
            "customers": customers,
            "resolved_accounts": resolved,
            "account_identities": identified,
            "review_pairs": review,
            "identity_changes": changed,
            "system_overlap": system_overlap(customers),
            "identity_draws": drawn,
            # without the answers, which are read anew each time
            **incremental.left_for_next(records, scored, alike, engine),
        },
        scored,
        shared,
        origins(golden),
        conflicts(golden, asked.golden),
        clustered,
        len(against),
        day,
        training,
        settled,
        followed,
        numbered,
        records,
        apart,
        lambda answers: _again(judge(answers), scored, numbered, known),
    )


def _all_anew(
    people: ir.Table | None, numbered: ir.Table, n: int, engine: Engine, country: str, p: MatchingParameters, asked: Asked,
    large: Engine, bring: Callable[[ir.Table | None], ir.Table | None],
) -> tuple[ir.Table | None, pairs.Scored, clusters.Apart | None, clusters.Clustered]:  # fmt: skip
    """Every record written for comparison, the model trained, all pairs that a rule picks compared, and clustered."""
    records, scored, apart = None, pairs.nothing(), None
    if people is not None:
        records = standard.records(people, large, country, p.most_sharing, numbered)
        rules = asked.blocking_rules
        wanted: dict[str, Any] = {
            "pairs_per_record": p.pairs_per_record, "seed": p.seed,
            "columns": [blocking.ASKED[name] for name in asked.compare or ()],
            "asked": None if rules is None else [tuple(blocking.ASKED[name] for name in rule) for rule in rules],
        }  # fmt: skip
        if large is engine:
            scored = pairs.compare(records, engine, **wanted)
        else:
            scored = spread.compare(records, large, **wanted, bring=bring)
            records = engine.keep(bring(records).order_by("unique_id"))
        apart = clusters.ruled_out(records, scored.edges, asked.clean_sources, n)
    clustered = clusters.cluster(
        scored.edges, n, threshold=p.threshold or asked.threshold, precision=p.precision or asked.precision, apart=apart
    )
    return records, scored, apart, clustered


def _rows(rows: ir.Table) -> int:
    return int(rows.count().to_pyarrow().as_py())


def _again(judged, scored: pairs.Scored, numbered: ir.Table, known: ir.Table):
    settled, followed, to_ask, _ = judged
    return settled, followed, pairs.review(scored, to_ask, numbered, known).order_by("turn").to_pandas()


def model_to_keep(scored: pairs.Scored) -> dict[str, Any]:
    """The fitted model as plain data.

    Parameters
    ----------
    scored
        As in :class:`Matched`.

    Returns
    -------
    dict
        `method`, `rules` and, where one was trained, Splink's own `settings` with its m and u probabilities, rounded to
        nine decimals: the last ones depend on the number of threads; and the `model`, all that
        :func:`clientbook.matching.saved.load` needs to score any pair.
    """
    rules = scored.looked_at.astype("object").where(scored.looked_at.notna(), None).to_dict("records")
    told = {"method": scored.method, "rules": rules, "settings": saved.settings_of(scored.settings)}
    if scored.model is not None:
        told["model"] = saved.as_file(scored.model, scored.averages)
    return told
