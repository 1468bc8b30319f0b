"""Who is who? Person records of all systems put together into customers, and customers into accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd
from pydantic import Field

from clientbook.engine import Engine
from clientbook.matching import accounts as _accounts
from clientbook.matching import clusters, pairs, standard
from clientbook.stage import Parameters, Stage
from clientbook.tables import CANONICAL, Column, Table

PERSONS = ("people", "aliases", "orders", "events", "messages", "opportunities", "opportunity_people", "cases", "surveys",
           "referrals", "consents", "preferences")  # fmt: skip


class MatchingParameters(Parameters):
    """What an analyst may change in `03_matching`."""

    threshold: float = Field(0.95, gt=0.5, lt=1, description="from this probability on two records are one customer")
    most_sharing: int = Field(25, ge=2, description="an e-mail, phone or number that more records have is nobody's own")
    pairs_per_record: int = Field(30, ge=1, description="a blocking rule may make so many pairs a record")
    max_training_pairs: float = Field(1e6, ge=1e4, description="pairs on which the model is trained")
    review_pairs: int = Field(500, ge=0, description="how many undecided pairs are laid out for a person")
    seed: int = Field(1, ge=0, description="seed of the sample on which the model is trained")


_CUSTOMER = Column("customer_id", "id", "the customer")
TABLES = ()

STAGE = Stage(
    name="matching",
    uses=(*PERSONS, "accounts"),
    writes=("identities", "customers", "resolved_accounts", "account_identities", "review_pairs", "system_overlap"),
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
        Values that were too common to tell people apart.
    """

    tables: Mapping[str, ir.Table]
    scored: pairs.Scored
    left_out: pd.DataFrame


def match(tables: Mapping[str, ir.Table], engine: Engine, country: str, p: MatchingParameters) -> Matched:
    """Which person records are one customer, and which customers one account?

    Parameters
    ----------
    tables
        Clean tables by name; those that the book lacks are not there.
    engine
        Where intermediate results are staged.
    country
        The book's, for telephone numbers.
    p
        The parameters.
    """
    people = tables.get("people")
    numbered = _stage(engine, clusters.number(standard.persons(tables.items())))
    n = int(numbered.count().to_pyarrow().as_py())
    records, scored, left_out = None, pairs.Scored(pairs._no_edges(), pd.DataFrame(columns=["rule", "pairs", "used", "why"])), pd.DataFrame()
    if people is not None:
        records = standard.records(people, engine, country, p.most_sharing)
        left_out = standard.left_out(people, records)
        scored = pairs.compare(
            _stage(engine, records.inner_join(numbered, ["source", "person_id"]).order_by("unique_id")), engine,
            pairs_per_record=p.pairs_per_record, max_training_pairs=p.max_training_pairs, seed=p.seed,
        )  # fmt: skip
    edges = pd.concat([scored.edges, clusters.alias_edges(tables.get("aliases"), numbered)], ignore_index=True)
    known = _stage(engine, clusters.identities(numbered, clusters.components(edges, n, p.threshold)))
    golden = _stage(engine, clusters.golden(known, records).order_by("customer_id"))
    customers, resolved, identified = _accounts.resolve(known, golden, records, tables.get("accounts"))
    customers = _stage(engine, customers)
    return Matched(
        {
            "identities": known.order_by("source", "person_id"),
            "customers": customers,
            "resolved_accounts": resolved,
            "account_identities": identified,
        },
        scored,
        left_out,
    )


def _stage(engine: Engine, rows: ir.Table) -> ir.Table:
    path = engine.scratch_file(".parquet")
    engine.write_parquet(rows, path)
    return engine.read_parquet(path)
