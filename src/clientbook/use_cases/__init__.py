"""What is our customer data worth: what would we have earned by acting on it?"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ibis.expr.types as ir
import pandas as pd
from pydantic import Field

from clientbook.book import Settings
from clientbook.stage import NothingToShow, Parameters, Stage
from clientbook.tables import CANONICAL, Column, Table
from clientbook.use_cases import catalogue, history, losses, messages, reach, retarget, scoring, waiting, worth
from clientbook.use_cases.catalogue import USE_CASES
from clientbook.use_cases.found import Found
from clientbook.use_cases.history import order_lines
from clientbook.use_cases.report import (
    answer,
    key_numbers,
    overview_of,
    say_best,
    say_columns,
    say_sources,
    say_waiting,
    table,
    to_start_with,
    what_it_takes,
)

__all__ = [
    "STAGE", "USE_CASES", "Found", "Study", "UseCasesParameters", "answer", "key_numbers", "order_lines", "overview_of",
    "say_best", "say_columns", "say_sources", "say_waiting", "score", "study", "table", "to_start_with", "what_it_takes",
]  # fmt: skip


class UseCasesParameters(Parameters):
    """What an analyst may change in `08_use_cases`."""

    holdout_days: int = Field(180, ge=14, description="how long before the run's day the decisions would have been taken")
    window_days: int = Field(30, ge=1, description="whoever ordered in so many days before the decision waits for a unit")
    stock_share: float = Field(0.6, gt=0, lt=1, description="share of them for whom there is one")
    call_share: float = Field(0.3, gt=0, lt=1, description="share of those with a late order who can be called")
    contact_share: float = Field(0.3, gt=0, lt=1, description="share of the customers who are written to again")
    loss_if_unserved: float = Field(
        0.1, ge=0, le=0.95, description="share of further purchases lost by waiting, where the book cannot say it"
    )
    saved_by_call: float = Field(0.5, ge=0, le=1, description="assumed share of that loss which a call in time undoes")
    interval: float = Field(0.95, gt=0, lt=1, description="how often the true extra margin shall lie in the interval")
    draws: int = Field(1000, ge=100, le=20_000, description="resampled sets of customers")
    seed: int = Field(1, ge=0, description="seed of the resampling")


STAGE = Stage(
    name="use_cases",
    needs=("orders",),
    uses=(
        "returns", "products", "identities", "deliveries", "events", "messages", "message_audit", "people", "aliases",
        "accounts", "content", "consents", "preferences", "cases", "opportunities", "opportunity_people", "surveys",
        "referrals",
    ),
    writes=("use_cases", "source_worth", "column_use"),
    shows="what acting on the customer data would have earned, tested on time already past",
    parameters=UseCasesParameters,
    tables=(
        Table(
            "use_cases",
            "a decision taken with customer data, beside the same decision without it",
            (
                Column("use_case", "text", "what is decided"),
                Column("goal", "text", "the goal that it serves, as the book calls it"),
                Column("owner", "text", "who answers for it; empty where nobody does"),
                Column("team", "text", "who would run it"),
                Column("place", "number", "place by what is sure of the yearly gain for a week of work", unit="place"),
                Column("start", "flag", "one of those to start with"),
                Column("baseline", "text", "the usual policy"),
                Column("policy", "text", "the new one"),
                Column("baseline_margin", "money", "margin in the time held out under the usual policy"),
                Column("policy_margin", "money", "the same under the new policy"),
                Column("incremental_margin", "money", "the difference"),
                Column("low", "money", "lower end of its interval"),
                Column("high", "money", "upper end of its interval"),
                Column("a_year", "money", "the difference of a year, were it decided so all the time"),
                Column("from_new", "money", "the part that comes from customers won within a year"),
                Column("n", "number", "customers or messages that the decision is about", unit="decisions"),
                Column("days", "number", "time in which the money is counted", unit="days"),
                Column("needs", "text", "tables and columns that it reads"),
                Column("effort", "text", "what it would take to run it"),
                Column("weeks", "number", "about how long until it runs", unit="weeks"),
                Column("method", "text", "how it was computed and what is assumed"),
            ),
        ),
        Table(
            "source_worth",
            "a source, and what the use cases would lose without it",
            (
                Column("source", "text", "the source"),
                Column("owner", "text", "who answers for it; empty where nobody does"),
                Column("cost_per_year", "money", "what it costs a year; empty where the book does not say"),
                Column("with_it", "money", "yearly gain of the use cases, with all sources"),
                Column("without_it", "money", "the same without this one"),
                Column("lost", "money", "the difference"),
                Column("net", "money", "that, less its cost"),
                Column("most_lost_in", "text", "the use case that would lose most"),
            ),
        ),
        Table(
            "column_use",
            "a delivered column, and the decisions that use it",
            (
                Column("table", "text", "the table"),
                Column("column", "text", "the column"),
                Column("source", "text", "the source that delivers it"),
                Column("owner", "text", "who answers for the source; empty where nobody does"),
                Column("personal", "text", "the kind of personal data; empty where it is none"),
                Column("filled", "number", "share of its rows with a value", unit="share"),
                Column("decisions", "number", "use cases that read it", unit="use cases"),
                Column("used_by", "text", "which, joined by commas"),
            ),
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Everything that the page on use cases shows.

    Parameters
    ----------
    found
        The use cases that could be computed.
    missing
        Those that could not, with what they would take: `use_case`, `why`.
    loss
        What waiting costs.
    sources, columns
        The public tables `source_worth` and `column_use`.
    reasons
        What wrong messages cost, by why they are wrong; None without messages.
    known
        What new customers bring beside those that are there.
    kept
        What scoring reads.
    """

    found: list[Found]
    missing: pd.DataFrame
    loss: losses.Loss
    sources: pd.DataFrame
    columns: pd.DataFrame
    reasons: pd.DataFrame | None
    known: pd.DataFrame
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, use_case: str) -> Found | None:
        return next((one for one in self.found if one.use_case == use_case), None)


def study(tables: Mapping[str, ir.Table | None], settings: Settings, as_of: dt.date, p: UseCasesParameters, engine) -> Study:
    """What would each use case have brought, what is each source worth, and which columns does nobody use?

    Parameters
    ----------
    tables
        By name what the stage reads, None for what is not there.
    settings
        The book's.
    as_of
        The day of the run.
    p
        The parameters.
    engine
        Where it is computed.
    """
    runs = _Decisions(tables, settings.timezone, as_of, p, engine)
    found, missing = {}, []
    for names, decide in runs.all():
        try:
            for one in decide(None, {}):
                found[one.use_case] = one
        except NothingToShow as why:
            missing += [(name, str(why)) for name in names]

    # without a source only the gain is asked for, not its interval
    runs.p = p.model_copy(update={"draws": 100})

    def again(source: str) -> dict[str, float]:
        left: dict[str, float] = {}
        for names, decide in runs.all():
            if any(name in found for name in names):
                try:
                    left |= {one.use_case: one.a_year for one in decide(source, found)}
                except NothingToShow:
                    continue
        return left

    sources = worth.leave_one_out(found, again, settings.sources)
    filled = {name: _filled(tables[name]) for name in CANONICAL if tables.get(name) is not None}
    order = {case.name: i for i, case in enumerate(USE_CASES)}
    return Study(
        sorted(found.values(), key=lambda one: order[one.use_case]),
        pd.DataFrame(missing, columns=["use_case", "why"]),
        runs.losses[1],
        sources,
        catalogue.column_use(filled, settings.sources),
        messages.by_reason(runs.told, as_of) if runs.told is not None else None,
        worth.new_and_known(runs.lines, as_of),
        {
            "told": runs.told,
            "timed": runs.timed,
            "wrong": runs.wrong,
            "coupons": runs.coupons(),
            "messages": tables.get("messages"),
        },
    )


class _Decisions:
    """Each decision, with all sources or as if one of them were not there."""

    def __init__(self, tables, zone, as_of, p, engine):
        self.tables, self.zone, self.as_of, self.p, self.engine = tables, zone, as_of, p, engine
        self.who = tables.get("identities")
        orders = tables["orders"]
        lines = order_lines(orders, tables.get("returns"), tables.get("products"), self.who, zone)
        self.lines = engine.keep(lines)
        self.origin = as_of - dt.timedelta(days=p.holdout_days)
        earlier = self.origin - dt.timedelta(days=p.holdout_days)
        otherwise = losses.assumed(p.loss_if_unserved)
        self.losses, self.seen_early = (otherwise, otherwise), otherwise
        if self._promised():
            waited = losses.counted(orders, tables["deliveries"], self.who, engine, zone)
            early, seen, today = (losses.measure(waited, day, p.loss_if_unserved) for day in (earlier, self.origin, as_of))
            self.losses, self.seen_early = (seen, today), early
        self.told = self.timed = self.wrong = None
        if self._sent():
            self.told = messages.sent(tables["messages"], tables["message_audit"], self.lines, orders, self.who, as_of, engine)
            self.wrong = self.told["verdict"] != messages.RIGHT
        self._kept: dict[str, Any] = {}

    def all(self):
        """Names of use cases, and the function that computes them."""
        return [
            ((catalogue.STOCK, catalogue.VIEW), self.serve), ((catalogue.RETARGET,), self.retarget),
            ((catalogue.WRONG,), self.stop), ((catalogue.LATE,), self.recover), ((catalogue.REACH,), self.reach),
        ]  # fmt: skip

    def serve(self, without, whole):
        """Scarce stock, and what of it the one view brings."""
        rows = self._once("queue", lambda: waiting.queue(self.lines, self.origin, self.p.window_days, self.p.holdout_days))
        rates = self._rates(self.origin)
        found = waiting.scarce(self._without_cost(rows, without), rates, self.losses, self.origin, self.p, without)
        if self.who is None:
            return found[:1]
        return found

    def recover(self, without, whole):
        """Late orders."""
        if not self._promised() or self._only_from("deliveries", without):
            raise NothingToShow("Deliveries with promised_at would tell which orders were late.")
        rows = self._once(
            "late",
            lambda: waiting.late_orders(
                self.lines, self.tables["orders"], self.tables["deliveries"], self.who, self.as_of, self.p, self.zone
            ),
        )
        start = self.origin - dt.timedelta(days=self.p.holdout_days)
        losses_then = (self.seen_early, self.losses[1])
        rows = self._without_cost(rows, without)
        return [waiting.recover(rows, self._rates(start), losses_then, self.as_of, self.p, without)]

    def retarget(self, without, whole):
        """By net value, not by revenue."""
        events = self.tables.get("events")
        if events is None:
            raise NothingToShow("Events …_treated and …_control of a mailing sent by lot would tell what writing adds.")
        rows = self._once("trial", lambda: retarget.trial(self.lines, events, self.who, self.as_of, self.zone))
        if without is not None and (rows["in_source"] == without).all():
            raise NothingToShow("The trial is that source's.")
        day = pd.Timestamp(rows["on"].iloc[0]).date()
        return [retarget.retarget(self._without_cost(rows, without), self._rates(day), self.p, without)]

    def stop(self, without, whole):
        """Wrong messages."""
        if self.told is None or self._only_from("messages", without):
            raise NothingToShow("Messages, and their audit, would tell what is sent wrongly.")
        unseen = {reason for reason, table in messages.REASONS.items() if self._only_from(table, without)}
        if without is not None and not unseen:
            return [whole[catalogue.WRONG]]
        return [messages.stop_wrong(self.told, self.as_of, self.p, frozenset(unseen))]

    def reach(self, without, whole):
        """By their own channel, at their own hour."""
        if self.told is None or self._only_from("messages", without):
            raise NothingToShow("Messages that were clicked would tell when customers answer.")
        found, self.timed = self._once("times", self._times)
        # what is not known of a customer's hours is lost in proportion
        share = 0.0 if without is None else float(self._once("told by", self._told_by).get(without, 0.0))
        return [dataclasses.replace(found, policy=found.policy - share * found.gain)]

    def _told_by(self):
        return reach.told_by(self.tables.get("events"))

    def _times(self):
        until = self.origin
        times = reach.own_times(self.tables.get("events"), self.told, self.tables["messages"], self.who, until, self.zone)
        channels = reach.own_channels(self.told, self.lines, until)
        return reach.reached(self.told, times, channels, self.as_of, self.p, self.zone, self.engine)

    def coupons(self):
        """Who orders where campaigns are told."""
        if self.told is None:
            return None
        orders = self.tables["orders"]
        told = orders.filter(orders["campaign"].notnull()).select("source").distinct()
        return self.lines.semi_join(told, "source").select("customer_id").distinct()

    def _once(self, name, compute):
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    def _rates(self, day):
        return self._once(f"rates {day}", lambda: history.active_rates(self.lines, day, self.p.holdout_days))

    def _promised(self) -> bool:
        deliveries = self.tables.get("deliveries")
        return deliveries is not None and {"promised_at", "delivered_at"} <= set(deliveries.columns)

    def _sent(self) -> bool:
        sent, audit = self.tables.get("messages"), self.tables.get("message_audit")
        return sent is not None and audit is not None and "campaign" in self.tables["orders"].columns

    def _sources(self, table: str) -> frozenset[str]:
        rows = self.tables.get(table)
        return self._once(
            f"sources {table}",
            lambda: frozenset() if rows is None else frozenset(rows.select("source").distinct().to_pandas()["source"]),
        )

    def _only_from(self, table: str, source: str | None) -> bool:
        return source is not None and self._sources(table) == {source}

    def _without_cost(self, rows: pd.DataFrame, source: str | None) -> pd.DataFrame:
        """Who does not know what goods cost takes revenue for margin."""
        if self.tables.get("products") is None or not self._only_from("products", source):
            return rows
        return rows.assign(earned=rows["spend"])


def _filled(table: ir.Table) -> pd.DataFrame:
    """How well does each source fill each column?"""
    names = [name for name in table.columns if name not in ("source", "file", "row", "arrival")]
    each = table.group_by("source").agg(_rows=table.count(), **{name: table[name].count() for name in names})
    wide = each.order_by("source").to_pandas()
    long = wide.melt(id_vars=["source", "_rows"], var_name="column", value_name="values")
    return long.assign(filled=long["values"] / long["_rows"]).rename(columns={"_rows": "rows"})


def score(
    done: Study, identities: ir.Table | None, truth: Mapping[str, ir.Table | None], p: UseCasesParameters, as_of, zone: str
) -> pd.DataFrame:
    """On a made company: what would each use case truly have brought, and does its interval hold that?

    Parameters
    ----------
    done
        As from :func:`study`.
    identities
        Who is who, by our own matching; None without.
    truth
        Tables of the truth by name, None for what is not there.
    p
        The parameters.
    as_of, zone
        The day of the run, in the book's zone.

    Returns
    -------
    pandas.DataFrame
        `use_case`, `extra`, `low`, `high`, `true_extra`, `inside`, `n`; empty without a truth.
    """
    kept = done.kept
    return scoring.score(
        done.found, kept["messages"], kept["told"], kept["timed"], kept["coupons"], identities, truth,
        wrong=kept["wrong"], as_of=as_of, saved_by_call=p.saved_by_call, zone=zone,
    )  # fmt: skip
