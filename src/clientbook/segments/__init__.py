"""Who are our customers today, and whom do we address for which goal?"""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Callable, Mapping, Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from pydantic import Field

from clientbook import consent, parsing
from clientbook.book import Goal
from clientbook.customers import with_customer
from clientbook.exact import total
from clientbook.goals import CAMPAIGNS, best_fit
from clientbook.segments import found, market
from clientbook.segments.found import as_model
from clientbook.segments.market import say_ideal
from clientbook.stage import KeyNumber, NothingToShow, Parameters, Stage
from clientbook.tables import STAGES, Column, Table

SCORES = 5
LIFECYCLES = ("visitor", "prospect", "new", "active", "at risk", "lapsed")
# The usual names of the cells of recency and frequency, each from 1 (worst) to 5.
SEGMENTS = (
    ("champions", (5, 5), (4, 5)),
    ("new customers", (5, 5), (1, 1)),
    ("potential loyalists", (4, 5), (2, 3)),
    ("loyal customers", (3, 4), (4, 5)),
    ("promising", (4, 4), (1, 1)),
    ("need attention", (3, 3), (3, 3)),
    ("about to sleep", (3, 3), (1, 2)),
    ("cannot lose them", (1, 2), (5, 5)),
    ("at risk", (1, 2), (3, 4)),
    ("hibernating", (1, 2), (1, 2)),
)
PROSPECTS = "prospects"
_COMPLAINT = "complaint"
_PROMOTER = 9


class SegmentsParameters(Parameters):
    """What an analyst may change in `07_segments`."""

    new_days: int = Field(90, ge=1, description="so many days after the first purchase a customer is new")
    lapsed_days: int = Field(365, ge=1, description="after so many days of silence a customer has lapsed")
    least_alive: float = Field(0.5, ge=0, le=1, description="a customer less likely to buy again than this is at risk")
    least_orders: int = Field(3, ge=1, description="personas are learned from customers with so many orders")
    seed: int = Field(1, ge=0, description="seed of the personas that are found")
    list_size: int = Field(5000, ge=1, description="how many customers a list holds at most, the best first")


STAGE = Stage(
    name="segments",
    uses=(
        "customers", "identities", "value", "orders", "stage_intervals", "consents", "messages",
        "cases", "surveys", "returns", "products", "events", "content", "opportunities", "opportunity_people",
        "resolved_accounts", "account_identities",
    ),
    writes=("segments", "personas", "targets", "campaigns", "ideal_customer", "missing_roles"),
    shows="who the customers are today, and a list of whom to address for each goal",
    parameters=SegmentsParameters,
    tables=(
        Table(
            "segments",
            "a customer as marketing sees them",
            (
                Column("customer_id", "id", "the customer"),
                Column("recency_score", "number", "fifth of the buyers by last purchase; 5 bought last", unit="1 to 5"),
                Column("frequency_score", "number", "fifth of the buyers by purchases; 5 bought most", unit="1 to 5"),
                Column("rf", "text", "both scores side by side; empty for those who never bought"),
                Column("days_silent", "number", "since the last purchase", unit="days"),
                Column("purchases", "number", "days with a purchase", unit="purchases"),
                Column("tier", "text", "tier of value, A to E; empty without one"),
                Column("stage", "text", "the stage of the journey that moved last and is open", allowed=STAGES),
                Column("topic", "text", "the topic of that journey"),
                Column("lifecycle", "text", "from first contact to silence", allowed=LIFECYCLES),
                Column("segment", "text", "the name of the cell of recency and frequency"),
                Column("clv", "money", "expected value, as in the table value"),
                Column("p_alive", "number", "probability of buying again, as in the table value", unit="probability"),
                Column("given_persona", "text", "the persona that the company gave; empty where none"),
                Column("found_persona", "text", "the persona found by behaviour; empty where too little is known"),
                Column("found_probability", "number", "that it is this one", unit="probability"),
                Column("tags", "text", "all of it in a few words, joined by semicolons"),
            ),
        ),
        Table(
            "personas",
            "a persona, as the company gave it or as it was found",
            (
                Column("persona", "text", "its name; `not given` for customers without one; found ones by what sets them apart"),
                Column("origin", "text", "`given` by the company, `found` by behaviour, or `none`"),
                Column("customers", "number", "who belong to it", unit="customers"),
                Column("share", "number", "of all customers", unit="share"),
                Column("buyers", "number", "of these with a purchase", unit="customers"),
                Column("mean_clv", "money", "mean expected value of its buyers"),
                Column("mean_orders", "number", "mean purchases of its buyers", unit="purchases"),
                Column("journey", "text", "the stage in which most of those who are on a way are"),
                Column("topic", "text", "the topic of most of these journeys"),
                Column("other", "text", "the found persona in which most of a given one are, or the other way round"),
                Column("overlap", "number", "how many of those known to both", unit="share"),
            ),
        ),
        Table(
            "targets",
            "a customer to address for a goal",
            (
                Column("goal", "text", "what the campaign is for", allowed=tuple(CAMPAIGNS)),
                Column("customer_id", "id", "the customer"),
                Column("consent", "text", "`given`; `unknown` where the book has no consents"),
                Column("channels", "text", "channels that marketing may use; empty where the book has no consents"),
                Column(
                    "expected_margin",
                    "money",
                    "what the customer is expected to bring, which is at stake and not what the campaign adds; of a "
                    "prospect, times the share of prospects who bought in the last months; empty where nothing tells",
                ),
                Column("reason", "text", "why the customer is on the list"),
                Column("served_goal", "text", "the goal of the book that it serves"),
                Column("owner", "text", "who answers for that goal; empty where nobody does"),
            ),
        ),
        Table(
            "campaigns",
            "a goal, and what its list comes to",
            (
                Column("goal", "text", "what the campaign is for", allowed=tuple(CAMPAIGNS)),
                Column("eligible", "number", "customers it is about, whatever they allow", unit="customers"),
                Column("customers", "number", "of these, those who may be written to", unit="customers"),
                Column("ready", "number", "their share", unit="share"),
                Column("expected_margin", "money", "what they are expected to bring, net"),
                Column("low", "money", "lower end of its 80 % interval"),
                Column("high", "money", "upper end"),
                Column("cost_to_reach", "money", "of a message each by the cheapest channel that they allow; empty: not known"),
                Column("served_goal", "text", "the goal of the book that it serves"),
                Column("owner", "text", "who answers for that goal; empty where nobody does"),
                Column("file", "text", "the list, in the book's `store/lists`"),
            ),
        ),
        Table(
            "ideal_customer",
            "a region, industry or role, and how often its deals are won",
            (
                Column("trait", "text", "region, industry or role at the table"),
                Column("value", "text", "which"),
                Column("deals", "number", "deals that were closed", unit="deals"),
                Column("won", "number", "of these, won", unit="share"),
                Column("low", "number", "lower end of its 95 % interval (Wilson)", unit="share"),
                Column("high", "number", "upper end", unit="share"),
                Column("verdict", "text", "wins more, wins less, as usual: by the interval and the share of all deals"),
                Column("accounts", "number", "companies of that kind in the book", unit="accounts"),
                Column("approached", "number", "of these, with a deal", unit="accounts"),
                Column("customers", "number", "of these, with a deal that was won", unit="accounts"),
            ),
        ),
        Table(
            "missing_roles",
            "an account in which somebody is missing who sits at the table when deals are won",
            (
                Column("account_id", "id", "the account"),
                Column("open_deals", "number", "open deals with it", unit="deals"),
                Column("deals", "number", "all deals with it", unit="deals"),
                Column("known", "text", "roles that are known"),
                Column("missing", "text", "roles that are not"),
            ),
        ),
    ),
)  # fmt: skip
# What is said of each customer before personas are found.
_OWN = STAGE.tables[0].names[:-4]


def histories(orders: ir.Table, identities: ir.Table | None, as_of: dt.date) -> ir.Table:
    """How often and how lately did each customer buy, where nobody has put a value on them?

    Parameters
    ----------
    orders, identities
        Clean orders, and who is who; the latter may be None.
    as_of
        The day of the run.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `frequency`, `recency`, `T` as in the table value, and `p_alive`, `clv`, `tier`, `loss_maker`
        that say nothing.
    """
    known = with_customer(orders, identities)
    bought = known.filter((known["quantity"] > 0) & (known["amount"].isnull() | (known["amount"] >= 0)))
    bought = bought.filter(bought["ordered_on"] < ibis.date(as_of.isoformat()))
    each = bought.group_by("customer_id").agg(
        days=bought["ordered_on"].nunique(), first=bought["ordered_on"].min(), last=bought["ordered_on"].max()
    )
    observed = ibis.date((as_of - dt.timedelta(days=1)).isoformat())
    return each.select(
        "customer_id",
        frequency=(each["days"] - 1).cast("int64"),
        recency=each["last"].delta(each["first"], unit="day").cast("int64"),
        T=observed.delta(each["first"], unit="day").cast("int64"),
        p_alive=ibis.null("float64"),
        clv=ibis.null("float64"),
        tier=ibis.null("string"),
        loss_maker=ibis.literal(False),
    )


def current_stages(stage_intervals: ir.Table, customers: ir.Table | None) -> ir.Table:
    """In which stage is each customer now?

    Of several open journeys the one that moved last counts, at one instant the one that is further on.

    Parameters
    ----------
    stage_intervals
        As `05_journeys` writes it; the filtered ones that are still open are used.
    customers
        Tells the account of a customer, whose journeys are theirs; None where there are none.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `stage`, `topic`; each customer once.
    """
    now = stage_intervals.filter((stage_intervals["method"] == "filtered") & stage_intervals["valid_to"].isnull())
    columns = ["stage", "topic", "valid_from"]
    own = now.filter(now["subject_type"] == "customer").select(*columns, customer_id="subject_id")
    if customers is not None:
        members = customers.filter(customers["account_id"].notnull()).select("customer_id", subject_id="account_id")
        theirs = now.filter(now["subject_type"] == "account").inner_join(members, "subject_id")
        own = own.union(theirs.select(*columns, "customer_id"))
    further = ibis.cases(*[(own["stage"] == name, n) for n, name in enumerate(STAGES)], else_=-1)
    first = ibis.row_number().over(group_by="customer_id", order_by=[ibis.desc("valid_from"), ibis.desc("further"), "topic"])
    ranked = own.mutate(further=further).mutate(_rank=first)
    return ranked.filter(ranked["_rank"] == 0).select("customer_id", "stage", "topic")


def segment(customers: ir.Table | None, value: ir.Table | None, stages: ir.Table | None, p: SegmentsParameters) -> ir.Table:
    """Who is each customer today?

    Recency and frequency are scored by fifths of the buyers; those who are equal get the same score.

    Parameters
    ----------
    customers
        As `03_matching` writes it; None means that only buyers are known.
    value
        As `04_value` writes it, or as from :func:`histories`; None where nobody bought.
    stages
        As from :func:`current_stages`; None without journeys.
    p
        The parameters.

    Returns
    -------
    ibis.expr.types.Table
        The table `segments` without personas, ordered by customer.

    Raises
    ------
    NothingToShow
        If there are neither customers nor purchases.
    """
    if customers is None and value is None:
        raise NothingToShow(f"This book has neither `customers` nor `orders`. With either, this page would show {STAGE.shows}.")
    buyers = _scored(value, p) if value is not None else None
    rows = customers.select("customer_id") if customers is not None else buyers.select("customer_id")
    if buyers is not None and customers is not None:
        # whoever bought is a customer, whatever matching was able to read
        rows = rows.union(buyers.select("customer_id"), distinct=True)
    if buyers is None:
        buyers = ibis.memtable([], schema=_BUYER)
    rows = rows.left_join(buyers, "customer_id").drop("customer_id_right")
    stages = ibis.memtable([], schema=_STAGED) if stages is None else stages
    rows = rows.left_join(stages, "customer_id").drop("customer_id_right")
    lifecycle = rows["lifecycle"].fill_null("prospect")
    unknown = None if customers is None else _unknown(customers)
    if unknown is not None:
        visitors = customers.filter(unknown).select("customer_id", _visits=ibis.literal(True))
        rows = rows.left_join(visitors, "customer_id").drop("customer_id_right")
        lifecycle = rows["lifecycle"].fill_null(rows["_visits"].fill_null(False).ifelse("visitor", "prospect"))
    told = rows.mutate(lifecycle=lifecycle, segment=rows["segment"].fill_null(PROSPECTS))
    return told.select(*_OWN).order_by("customer_id")


def _unknown(customers: ir.Table) -> ir.BooleanValue | None:
    """Is no more known of a customer than an id, such as a browser's? None where the table tells nothing else of anybody."""
    told = ("full_name", "given_name", "family_name", "email", "phone", "street", "external_id")
    known = [customers[name].notnull() for name in told if name in customers.columns]
    return ~ibis.or_(*known) if known else None


_BUYER = ibis.schema(
    {
        "customer_id": "string", "recency_score": "int64", "frequency_score": "int64", "rf": "string",
        "days_silent": "int64", "purchases": "int64", "tier": "string", "lifecycle": "string", "segment": "string",
        "clv": "float64", "p_alive": "float64",
    }
)  # fmt: skip
_STAGED = ibis.schema({"customer_id": "string", "stage": "string", "topic": "string"})


def _scored(value: ir.Table, p: SegmentsParameters) -> ir.Table:
    silent = value["T"] - value["recency"]
    rows = value.mutate(days_silent=silent, purchases=value["frequency"] + 1)
    rows = rows.mutate(
        recency_score=_fifth(rows["days_silent"], falling=True),
        frequency_score=_fifth(rows["purchases"], falling=False),
    )
    named = [
        (rows["recency_score"].between(*recency) & rows["frequency_score"].between(*frequency), name)
        for name, recency, frequency in SEGMENTS
    ]
    lifecycle = ibis.cases(
        (rows["days_silent"] > p.lapsed_days, "lapsed"),
        (rows["T"] < p.new_days, "new"),
        ((rows["p_alive"] < p.least_alive).fill_null(False), "at risk"),
        else_="active",
    )
    rf = rows["recency_score"].cast("string").concat(rows["frequency_score"].cast("string"))
    scored = rows.mutate(rf=rf, lifecycle=lifecycle, segment=ibis.cases(*named, else_="hibernating"))
    return scored.select(*[scored[name].cast(kind).name(name) for name, kind in _BUYER.items()])


def _fifth(column: ir.NumericColumn, *, falling: bool) -> ir.IntegerColumn:
    """From 1 to 5, equal numbers of rows in each as far as ties allow."""
    order = ibis.desc(column) if falling else ibis.asc(column)
    rank = ibis.percent_rank().over(order_by=order)
    return ((rank * SCORES).floor().cast("int64") + 1).clip(upper=SCORES)


def described(segments: ir.Table, members: ir.Table | None, customers: ir.Table | None) -> ir.Table:
    """Who is each customer today, with their personas and in a few words?

    Parameters
    ----------
    segments
        As from :func:`segment`.
    members
        As from :func:`clientbook.segments.found.belong`; None where no personas were found.
    customers
        With `persona`; None where there are none.

    Returns
    -------
    ibis.expr.types.Table
        The public table `segments`, ordered by customer.
    """
    rows = segments
    if customers is not None:
        given = customers.select("customer_id", given_persona="persona")
        rows = rows.left_join(given, "customer_id").drop("customer_id_right")
    else:
        rows = rows.mutate(given_persona=ibis.null("string"))
    if members is not None:
        rows = rows.left_join(members, "customer_id").drop("customer_id_right")
    else:
        rows = rows.mutate(found_persona=ibis.null("string"), found_probability=ibis.null("float64"))
    words = [
        rows["lifecycle"], rows["segment"].nullif(PROSPECTS), "tier " + rows["tier"],
        rows["stage"] + ibis.literal(" on ") + rows["topic"].fill_null("no topic"), rows["given_persona"],
        rows["found_persona"],
    ]  # fmt: skip
    tags = ibis.array(words).filter(lambda word: word.notnull()).join("; ")
    return rows.mutate(tags=tags).select(*STAGE.tables[0].names).order_by("customer_id")


def find_personas(
    tables: Mapping[str, ir.Table | None], zone: str, p: SegmentsParameters, engine
) -> tuple[found.Kinds | None, ir.Table | None]:
    """Which kinds of customers are there by what they do, and who belongs to which?

    Parameters
    ----------
    tables
        By name what the stage reads, None for what is not there.
    zone
        The book's.
    p
        The parameters.
    engine
        Where it is computed.

    Returns
    -------
    kinds, members
        As from :func:`clientbook.segments.found.find` and :func:`clientbook.segments.found.belong`; None where too few
        customers are known well enough.
    """
    cells = found.seen(tables, zone)
    if cells is None:
        return None, None
    cells = engine.keep(cells)
    kinds = found.find(cells, p.least_orders, p.seed)
    return kinds, engine.keep(found.belong(cells, kinds)) if kinds is not None else None


def agreement(members: ir.Table | None, customers: ir.Table | None) -> pd.DataFrame:
    """Who of each persona that the company gave belongs to which kind that was found?

    Parameters
    ----------
    members
        As from :func:`find_personas`.
    customers
        With `persona`; None where there are none.

    Returns
    -------
    pandas.DataFrame
        Shares of each given persona; rows are given, columns found; empty where there are not both.
    """
    if members is None or customers is None:
        return pd.DataFrame()
    return found.agreement(members, customers.select("customer_id", "persona"))


def agreement_map(shares: pd.DataFrame, *, finding: str):
    """How well do given and found personas agree? A heat map.

    Parameters
    ----------
    shares
        As from :func:`agreement`.
    finding
        Its title.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from clientbook import charts

    named = shares.rename(index=lambda name: str(name).replace("_", " "))
    # names that cross wide columns would run into each other
    named = named.set_axis([textwrap.fill(str(name), 14) for name in named.columns], axis=1)
    lines = max([1, *(name.count("\n") + 1 for name in named.columns)])
    fig, ax = charts.figure(height=90 if named.empty else 140 + 18 * lines + 34 * max(2, len(named)))
    with charts.look():
        if named.empty:
            ax.axis("off")
        else:
            import seaborn
            from matplotlib.colors import LinearSegmentedColormap

            seaborn.heatmap(
                named, ax=ax, vmin=0, vmax=1, annot=True, fmt=".0%", cbar=False, linewidths=1,
                cmap=LinearSegmentedColormap.from_list("ours", ["white", charts.BLUE]), annot_kws={"fontsize": 9},
            )  # fmt: skip
            ax.tick_params(axis="x", rotation=0, labelsize=9, length=0)
            ax.tick_params(axis="y", rotation=0, length=0)
    charts.title(ax, finding, "share of each given persona; rows are given, columns found")
    return fig


def say_agreement(shares: pd.DataFrame) -> str:
    """In one sentence: which given persona holds best?

    Parameters
    ----------
    shares
        As from :func:`agreement`.
    """
    if shares.empty:
        return "There are not both given and found personas to compare"
    most = shares.max(axis=1).sort_values(ascending=False, kind="stable")
    first, last = (str(name).replace("_", " ") for name in (most.index[0], most.index[-1]))
    return f"Of {first} {most.iloc[0]:.0%} are found together, of {last} {most.iloc[-1]:.0%}"


def say_personas(kinds: found.Kinds | None) -> str:
    """In one sentence: how many personas were found, and how stable are they?

    Parameters
    ----------
    kinds
        As from :func:`find_personas`.
    """
    if kinds is None:
        return "Personas as given; too little is known of too few customers to find others"
    return f"Personas; {len(kinds.names)} were found on {kinds.customers:,} customers, with a stability of {kinds.stability:.2f}"


def market_of(tables: Mapping[str, ir.Table | None], engine) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Which customers are we made for, and who in each account is missing?

    Parameters
    ----------
    tables
        By name what the stage reads, None for what is not there.
    engine
        Where it is computed.

    Returns
    -------
    ideal_customer, missing_roles : pandas.DataFrame
        The public tables; empty without opportunities.
    """
    if tables.get("opportunities") is None:
        return _empty(4), _empty(5)
    roles, accounts = tables.get("opportunity_people"), tables.get("resolved_accounts")
    closed = engine.keep(market.deals(tables["opportunities"], roles, accounts, tables.get("account_identities")))
    return market.ideal(closed, roles, accounts), market.missing_roles(closed, roles)


def _empty(number: int) -> pd.DataFrame:
    kinds = {"text": "str", "id": "str", "number": "float64", "money": "float64"}
    return pd.DataFrame({c.name: pd.Series(dtype=kinds[c.kind]) for c in STAGE.tables[number].columns})


def by_missing(missing: pd.DataFrame) -> pd.DataFrame:
    """In how many accounts is which role missing?

    Parameters
    ----------
    missing
        The public table `missing_roles`.

    Returns
    -------
    pandas.DataFrame
        `missing`, `accounts`, `with_open_deals`; the most frequent first.
    """
    each = missing.assign(missing=missing["missing"].str.split(", ")).explode("missing")
    told = each.groupby("missing", as_index=False).agg(
        accounts=("account_id", "nunique"), with_open_deals=("open_deals", lambda n: int((n > 0).sum()))
    )
    return told.sort_values(["accounts", "missing"], ascending=[False, True], ignore_index=True)


def personas(segments: ir.Table) -> pd.DataFrame:
    """Which personas are there, given and found, how many customers hold each, where are they, what do they bring?

    Parameters
    ----------
    segments
        As from :func:`described`.

    Returns
    -------
    pandas.DataFrame
        The public table `personas`: those given, then those without one, then those found; the largest first. Visitors,
        of whom nothing but an id is known, are not among those without one.
    """
    both = segments.group_by("given_persona", "found_persona").agg(n=segments.count()).to_pandas()
    parts = []
    for origin, name, other in (("given", "given_persona", "found_persona"), ("found", "found_persona", "given_persona")):
        rows = segments.filter(~((segments["lifecycle"] == "visitor") & segments[name].isnull()))
        each = rows.group_by(persona=rows[name]).agg(
            customers=rows.count(), buyers=rows["purchases"].notnull().sum(), clv=total(rows["clv"]),
            orders=rows["purchases"].sum().fill_null(0), valued=rows["clv"].count(),
            journey=rows["stage"].mode(), topic=rows["topic"].mode(),
        )  # fmt: skip
        told = each.order_by("persona").to_pandas()
        told["share"] = (told["customers"] / max(told["customers"].sum(), 1)).round(6)
        told["origin"] = origin
        if origin == "given":
            told.loc[told["persona"].isna(), "origin"] = "none"
            told["persona"] = told["persona"].fillna("not given")
        told = told[told["persona"].notna()]
        known = both[both[name].notna() & both[other].notna()]
        most = known.sort_values([name, "n", other], ascending=[True, False, True]).drop_duplicates(name).set_index(name)
        told["other"] = told["persona"].map(most[other]).astype(object)
        told["overlap"] = told["persona"].map(most["n"] / known.groupby(name)["n"].sum()).astype(float).round(6)
        parts.append(told.assign(_last=told["origin"] == "none").sort_values(
            ["_last", "customers", "persona"], ascending=[True, False, True]
        ))  # fmt: skip
    told = pd.concat(parts, ignore_index=True)
    told["mean_clv"] = (told["clv"] / told["valued"].where(told["valued"] > 0)).round(6)
    told["mean_orders"] = (told["orders"] / told["buyers"].where(told["buyers"] > 0)).round(6)
    return told[list(STAGE.tables[1].names)]


def conversion(segments: ir.Table, customers: ir.Table | None, as_of: dt.date, p: SegmentsParameters) -> tuple[float, int] | None:
    """What share of those who were known and had not bought some months ago has bought since?

    Parameters
    ----------
    segments
        As from :func:`segment`.
    customers
        With `first_seen`; None where there are none.
    as_of
        The day of the run.
    p
        `new_days` is the time in which they may have bought.

    Returns
    -------
    share, n : float, int
        The share, and of how many; None where nothing is known of the time when they became known.
    """
    if customers is None:
        return None
    origin = ibis.timestamp(*(as_of - dt.timedelta(days=p.new_days)).timetuple()[:6])
    known = customers.filter(customers["first_seen"] < origin).select("customer_id")
    rows = segments.inner_join(known, "customer_id")
    first = rows["lifecycle"] == "new"
    waited = rows.filter(first | (rows["lifecycle"] == "prospect"))
    sums = waited.aggregate(n=waited.count(), bought=(waited["lifecycle"] == "new").sum()).to_pandas().iloc[0]
    return (float(sums["bought"]) / int(sums["n"]), int(sums["n"])) if sums["n"] else None


def targets(
    segments: ir.Table,
    *,
    allowed: ir.Table | None,
    value: ir.Table | None,
    open_cases: ir.Table | None,
    opinions: ir.Table | None,
    prospect_margin: float | None,
    goals: Sequence[Goal] = (),
) -> ir.Table:
    """Whom do we address for which goal?

    Whoever has an open complaint, or sends back more than they buy, is on no list; where the book has consents, nor is
    anybody who does not allow marketing by any channel.

    Parameters
    ----------
    segments
        As from :func:`segment`.
    allowed
        As from :func:`clientbook.consent.reachable`; None where the book has no consents.
    value
        Tells the loss-makers; None without.
    open_cases
        `customer_id`, `complaint` of every customer with an open case; None without cases.
    opinions
        `customer_id`, `score` of the last answer of each; None without surveys.
    prospect_margin
        What a prospect is expected to bring, None where nothing tells.
    goals
        The book's.

    Returns
    -------
    ibis.expr.types.Table
        The public table `targets`, by goal, the largest margin first.
    """
    rows = segments
    if open_cases is not None:
        rows = rows.left_join(open_cases, "customer_id").drop("customer_id_right")
        rows = rows.filter(~rows["complaint"].fill_null(False))
        rows = rows.mutate(has_case=rows["complaint"].notnull()).drop("complaint")
    else:
        rows = rows.mutate(has_case=ibis.literal(False))
    if value is not None:
        losers = value.filter(value["loss_maker"]).select("customer_id")
        rows = rows.anti_join(losers, "customer_id")
    if opinions is not None:
        rows = rows.left_join(opinions.select("customer_id", "score"), "customer_id").drop("customer_id_right")
    else:
        rows = rows.mutate(score=ibis.null("float64"))
    if allowed is not None:
        rows = rows.inner_join(allowed, "customer_id").mutate(consent=ibis.literal("given"))
    else:
        rows = rows.mutate(channels=ibis.null("string"), consent=ibis.literal("unknown"))
    parts = [_campaign(rows, goal, goals, prospect_margin) for goal in CAMPAIGNS]
    told = ibis.union(*parts)
    return told.select(*STAGE.tables[2].names).order_by("goal", ibis.desc("expected_margin"), "customer_id")


def _campaign(rows: ir.Table, goal: str, goals: Sequence[Goal], prospect_margin: float | None) -> ir.Table:
    life, segment = rows["lifecycle"], rows["segment"]
    # without journeys nobody is in a stage, and nobody is held back for it
    interested = rows["stage"].isin(("research", "decide")) | rows["stage"].isnull()
    tier = rows["tier"].fill_null("none")
    valued = rows["tier"].isin(("A", "B", "C")) | rows["tier"].isnull()
    again = rows["purchases"] > 1
    liked = rows["score"].isnull() | (rows["score"] >= _PROMOTER)
    staged = rows["stage"].fill_null("none")
    chosen, reason = {
        "win": (
            (life == "prospect") & interested,
            ibis.literal("has not bought yet; stage ").concat(staged),
        ),
        "keep": (
            life.isin(("new", "active")) & valued,
            ibis.literal("tier ").concat(tier, ", ", life),
        ),
        "win back": (
            life.isin(("at risk", "lapsed")) & again,
            life.concat(", silent for ", rows["days_silent"].cast("string"), " days after ",
                        rows["purchases"].cast("string"), " purchases"),
        ),
        "expand": (
            (life == "active") & again & ~rows["tier"].fill_null("").isin(("A",)) & ~rows["has_case"],
            ibis.literal("buys regularly, tier ").concat(tier),
        ),
        "ask for a reference": (
            (life == "active") & liked & ~rows["has_case"]
            & (segment.isin(("champions", "loyal customers")) | (rows["stage"] == "recommend").fill_null(False)),
            segment.concat(
                rows["score"].isnull().ifelse(
                    ibis.literal(""), ibis.literal(", last score ").concat(rows["score"].cast("int64").cast("string"))
                )
            ),
        ),
    }[goal]  # fmt: skip
    served = best_fit(goals, goal)
    margin = rows["clv"] if goal != "win" else ibis.literal(prospect_margin, "float64")
    picked = rows.mutate(
        goal=ibis.literal(goal),
        expected_margin=margin.round(6),
        reason=reason,
        served_goal=ibis.literal(served.goal),
        owner=ibis.literal(served.owner or None, "string"),
    )
    return picked.filter(chosen.fill_null(False)).select(*STAGE.tables[2].names)


def open_cases(cases: ir.Table, identities: ir.Table | None) -> ir.Table:
    """Who waits for an answer, and do they complain?

    Parameters
    ----------
    cases, identities
        Clean cases, and who is who; the latter may be None.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `complaint`.
    """
    known = with_customer(cases.filter(cases["closed_at"].isnull()), identities)
    complains = known["reason"].fill_null("").lower().contains(_COMPLAINT)
    return known.group_by("customer_id").agg(complaint=complains.any())


def opinions(surveys: ir.Table, identities: ir.Table | None) -> ir.Table:
    """What did each customer answer last when asked whether they would recommend us?

    Parameters
    ----------
    surveys, identities
        Clean surveys, and who is who; the latter may be None.

    Returns
    -------
    ibis.expr.types.Table
        `customer_id`, `score`.
    """
    known = with_customer(surveys, identities)
    known = known.filter((known["metric"].lower() == "nps") & known["score"].notnull())
    last = ibis.row_number().over(group_by="customer_id", order_by=[ibis.desc("asked_at"), ibis.desc("arrival")])
    ranked = known.select("customer_id", "score", "asked_at", "arrival").mutate(_rank=last)
    return ranked.filter(ranked["_rank"] == 0).select("customer_id", "score")


def analyse(tables: Mapping[str, ir.Table | None], as_of: dt.date, p: SegmentsParameters) -> ir.Table:
    """Who are the customers today?

    Parameters
    ----------
    tables
        By name what the stage reads, None for what is not there.
    as_of
        The day of the run.
    p
        The parameters.

    Returns
    -------
    ibis.expr.types.Table
        The table `segments` without personas.

    Raises
    ------
    NothingToShow
        If there are neither customers nor purchases.
    """
    customers, value, orders = tables.get("customers"), tables.get("value"), tables.get("orders")
    if value is None and orders is not None:
        value = histories(orders, tables.get("identities"), as_of)
    intervals = tables.get("stage_intervals")
    stages = current_stages(intervals, customers) if intervals is not None else None
    return segment(customers, value, stages, p)


def choose_targets(
    segments: ir.Table,
    tables: Mapping[str, ir.Table | None],
    as_of: dt.date,
    zone: str,
    goals: Sequence[Goal],
    p: SegmentsParameters,
    allowing: bool = True,
) -> ir.Table:
    """Whom do we address for which goal, within what they allow on the day of the run?

    Parameters
    ----------
    segments
        As written.
    tables
        By name what the stage reads, None for what is not there.
    as_of, zone
        The day of the run, in the book's zone.
    goals
        The book's.
    p
        The parameters.
    allowing
        False asks whom each goal is about, whatever they allow; nobody may be written to by that.

    Returns
    -------
    ibis.expr.types.Table
        The public table `targets`.
    """
    identities, customers = tables.get("identities"), tables.get("customers")
    allowed = None
    if allowing and tables.get("consents") is not None:
        instant = parsing.utc(ibis.timestamp(*as_of.timetuple()[:6]), zone)
        by = consent.channels(tables["consents"], tables.get("messages"))
        allowed = consent.reachable(consent.in_force(tables["consents"], identities, instant, by))
    cases, surveys = tables.get("cases"), tables.get("surveys")
    rate = conversion(segments, customers, as_of, p)
    new = segments.filter(segments["lifecycle"] == "new").aggregate(clv=total(segments["clv"]), n=segments["clv"].count())
    sums = new.to_pandas().iloc[0] if rate else None
    margin = rate[0] * float(sums["clv"]) / int(sums["n"]) if rate and sums["n"] else None
    return targets(
        segments,
        allowed=allowed,
        value=tables.get("value"),
        open_cases=open_cases(cases, identities) if cases is not None else None,
        opinions=opinions(surveys, identities) if surveys is not None else None,
        prospect_margin=margin,
        goals=goals,
    )


def lists(targets: ir.Table, customers: ir.Table | None, p: SegmentsParameters) -> dict[str, pd.DataFrame]:
    """The lists to load, one a goal, with the addresses that may be used.

    Parameters
    ----------
    targets
        As written.
    customers
        With `email` and `phone`; None where there are none.
    p
        `list_size`.

    Returns
    -------
    dict of str to pandas.DataFrame
        By name of the file, such as `targets_keep`; a goal without anybody has an empty one, so that no older list
        stays in its place.
    """
    best = ibis.row_number().over(group_by="goal", order_by=[ibis.desc("expected_margin"), "customer_id"])
    ranked = targets.mutate(_rank=best)
    rows = ranked.filter(ranked["_rank"] < p.list_size)
    if customers is not None:
        contacts = customers.select("customer_id", "email", "phone")
        rows = rows.left_join(contacts, "customer_id").drop("customer_id_right")
        # an address stands here only for a channel that it may be used for
        unknown = rows["channels"].isnull()
        by_mail = unknown | rows["channels"].re_search(rf"\b(email|{consent.ANY_CHANNEL})\b")
        by_phone = unknown | rows["channels"].re_search(rf"\b(phone|sms|{consent.ANY_CHANNEL})\b")
        rows = rows.mutate(
            email=by_mail.ifelse(rows["email"], ibis.null("string")),
            phone=by_phone.ifelse(rows["phone"], ibis.null("string")),
        )
    told = rows.order_by("goal", "_rank").drop("_rank").to_pandas()
    return {f"targets_{goal.replace(' ', '_')}": told[told["goal"] == goal].reset_index(drop=True) for goal in CAMPAIGNS}


def by_lifecycle(segments: ir.Table) -> pd.DataFrame:
    """How many customers are where between first contact and silence, and what are they expected to bring?

    Returns
    -------
    pandas.DataFrame
        `lifecycle`, `customers`, `share`, `clv`; in the order of `LIFECYCLES`.
    """
    return _summed(segments, "lifecycle", LIFECYCLES)


def by_segment(segments: ir.Table) -> pd.DataFrame:
    """How many buyers has each segment, and what are they expected to bring?

    Returns
    -------
    pandas.DataFrame
        `segment`, `customers`, `share`, `clv`, `mean_clv`; the most valuable first.
    """
    told = _summed(segments.filter(segments["segment"] != PROSPECTS), "segment", [name for name, *_ in SEGMENTS])
    told["mean_clv"] = told["clv"] / told["customers"]
    return told.sort_values(["clv", "customers"], ascending=False, ignore_index=True, kind="stable")


def _summed(segments: ir.Table, name: str, order: Sequence[str]) -> pd.DataFrame:
    each = segments.group_by(name).agg(customers=segments.count(), clv=total(segments["clv"])).to_pandas()
    told = each.set_index(name).reindex([one for one in order if one in set(each[name])]).reset_index()
    told.insert(2, "share", told["customers"] / max(told["customers"].sum(), 1))
    return told


def grid(segments: ir.Table) -> pd.DataFrame:
    """How many buyers has each cell of recency and frequency?

    Returns
    -------
    pandas.DataFrame
        Counts; rows are fifths by frequency, the most frequent first, columns fifths by recency.
    """
    buyers = segments.filter(segments["rf"].notnull())
    counted = buyers.group_by("frequency_score", "recency_score").agg(n=buyers.count()).to_pandas()
    wide = counted.pivot_table(index="frequency_score", columns="recency_score", values="n", aggfunc="sum")
    wide = wide.reindex(index=range(SCORES, 0, -1), columns=range(1, SCORES + 1))
    return wide.rename_axis(index=None, columns=None)


def campaigns(targets: ir.Table, eligible: ir.Table, value: ir.Table | None, messages: ir.Table | None) -> pd.DataFrame:
    """How long is each list, what is at stake on it, how many of those meant may be written to, and at what cost?

    Parameters
    ----------
    targets
        As written.
    eligible
        The same without regard to consent.
    value
        Tells how sure each customer's value is; None without.
    messages
        Clean messages, for the cost of each channel; None without.

    Returns
    -------
    pandas.DataFrame
        The public table `campaigns`; all goals, also those without anybody.
    """
    rows = targets
    if value is not None and {"clv_low", "clv_high"} <= set(value.columns):
        worth = value.select("customer_id", half=(value["clv_high"] - value["clv_low"]) / 2)
        rows = rows.left_join(worth, "customer_id").drop("customer_id_right")
    else:
        rows = rows.mutate(half=ibis.null("float64"))
    cheapest = ibis.null("float64")
    if messages is not None and "cost" in messages.columns:
        each = messages.filter(messages["cost"].notnull() & messages["channel"].notnull())
        costs = each.group_by("channel").agg(cost=each["cost"].mean()).order_by("cost", "channel").to_pandas()
        any_of = [
            (rows["channels"].isnull() | rows["channels"].re_search(rf"\b({row.channel}|{consent.ANY_CHANNEL})\b"), row.cost)
            for row in costs.itertuples()
            if row.channel.isalnum()
        ]
        if any_of:
            cheapest = ibis.cases(*any_of, else_=ibis.null("float64"))
    rows = rows.mutate(cost=cheapest)
    each = rows.group_by("goal").agg(
        customers=rows.count(), expected_margin=total(rows["expected_margin"]), valued=rows["expected_margin"].count(),
        # what one customer brings says nothing of what another does, so their squares add up
        square=total(rows["half"] * rows["half"]), halves=rows["half"].count(), cost=total(rows["cost"]),
        priced=rows["cost"].count(), served_goal=rows["served_goal"].max(), owner=rows["owner"].max(),
    )  # fmt: skip
    told = each.to_pandas().set_index("goal").reindex(list(CAMPAIGNS)).reset_index()
    meant = eligible.group_by("goal").agg(eligible=eligible.count()).to_pandas().set_index("goal")["eligible"]
    told["customers"] = told["customers"].fillna(0).astype(int)
    told["eligible"] = told["goal"].map(meant).fillna(0).astype(int)
    told["ready"] = (told["customers"] / told["eligible"].where(told["eligible"] > 0)).round(6)
    known = (told["valued"] > 0) & (told["halves"] >= told["valued"])
    half = np.sqrt(told["square"].astype(float)).where(known)
    told["expected_margin"] = told["expected_margin"].where(told["valued"] > 0).astype(float).round(2)
    told["low"], told["high"] = (told["expected_margin"] - half).round(2), (told["expected_margin"] + half).round(2)
    told["cost_to_reach"] = told["cost"].where(told["priced"] > 0).astype(float).round(2)
    told["file"] = [f"targets_{goal.replace(' ', '_')}.csv" for goal in told["goal"]]
    return told[list(STAGE.tables[3].names)]


def say_lifecycle(told: pd.DataFrame) -> str:
    """In one sentence: how many customers still buy?"""
    counts = told.set_index("lifecycle")["customers"]
    buying, buyers = (
        sum(counts.get(name, 0) for name in ("new", "active")),
        counts.drop(["visitor", "prospect"], errors="ignore").sum(),
    )
    return f"{buying / buyers:.0%} of those who ever bought are new or active" if buyers else "Nobody has bought yet"


def say_segments(told: pd.DataFrame) -> str:
    """In one sentence: which segment is worth most?"""
    if told.empty or not told["clv"].sum():
        return "How many customers each segment holds"
    first = told.iloc[0]
    return (
        f"{first['segment'].capitalize()} are {first['share']:.0%} of the buyers and bring "
        f"{first['clv'] / told['clv'].sum():.0%} of the expected value"
    )


def say_grid(told: pd.DataFrame) -> str:
    """In one sentence: how many of the buyers who came most often have not come for long?"""
    often = told.loc[[SCORES, SCORES - 1]]
    silent = often[[1, 2]].sum().sum() / max(often.sum().sum(), 1)
    return f"Of the two fifths who bought most often, {silent:.0%} belong to the two fifths who were silent longest"


def answer(lifecycle: pd.DataFrame, goals: pd.DataFrame, *, consents: bool, money: Callable[[float], str]) -> str:
    """Who are the customers and whom do we address? In a few sentences of Markdown.

    Parameters
    ----------
    lifecycle
        As from :func:`by_lifecycle`.
    goals
        As from :func:`campaigns`.
    consents
        Whether the book says what customers allow.
    money
        Writes an amount for people.
    """
    counts = lifecycle.set_index("lifecycle")
    visitors = int(counts["customers"].get("visitor", 0))
    counts = counts.drop("visitor", errors="ignore")
    words = {"prospect": "have not bought yet", "new": "are new", "lapsed": "have lapsed"}
    told = ", ".join(f"{int(row['customers']):,} {words.get(name, f'are {name}')}" for name, row in counts.iterrows())
    stakes = goals.set_index("goal")
    ids = f" Of {visitors:,} visitors beside them no more is known than an id, such as a browser's." if visitors else ""
    ids += " Counted is who bought or of whom a name, an address or a number is known."
    listed = [
        f"{name} ({int(row['customers']):,}{f', {money(row.expected_margin)} at stake' if row.expected_margin > 0 else ''})"
        for name, row in stakes.iterrows()
        if row["customers"]
    ]
    lists = f" The lists to address, by goal: {'; '.join(listed)}." if listed else " Nobody can be put on a list."
    within = (
        " Everybody on them allows marketing by at least one channel."
        if consents
        else " **This book does not say who allows what: check before you write to anybody.**"
    )
    return f"**Of {int(counts['customers'].sum()):,} customers, {told}.**{ids}{lists}{within if listed else ''}"


def key_numbers(lifecycle: pd.DataFrame, goals: pd.DataFrame, *, consents: bool = True) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    lifecycle
        As from :func:`by_lifecycle`.
    goals
        As from :func:`campaigns`.
    consents
        Whether the book knows who allows what.
    """
    counts = lifecycle.set_index("lifecycle").drop("visitor", errors="ignore")
    n = int(counts["customers"].sum())
    buying = int(sum(counts["customers"].get(name, 0) for name in ("new", "active")))
    stakes = goals.set_index("goal")
    back = stakes.loc["win back"]
    allowed = " who may be written to" if consents else "; this book does not say who may be written to"
    counted = "of those who bought or of whom more than an id is known"
    numbers = [KeyNumber("New and active customers", buying, "customers", "up", n=n, note=counted)]
    if back["customers"] and back["expected_margin"]:
        numbers.append(
            KeyNumber("Expected from those to win back", round(float(back["expected_margin"]), 2), "money", "",
                      n=int(back["customers"]), note=f"customers at risk or lapsed{allowed}")
        )  # fmt: skip
    numbers.append(KeyNumber("Customers at risk", int(counts["customers"].get("at risk", 0)), "customers", "down", n=n))
    numbers.append(KeyNumber("Customers on the list to keep", int(stakes.loc["keep", "customers"]), "customers", "", n=n))
    return numbers


def score(
    segments: ir.Table,
    customers: ir.Table | None,
    identities: ir.Table | None,
    people: ir.Table | None,
    humans: ir.Table | None,
    worth: ir.Table | None,
) -> pd.DataFrame:
    """On a made company: how often are personas and lifecycle right, beside the naive rule?

    Parameters
    ----------
    segments, customers, identities
        What the stages say.
    people, humans, worth
        The truth: whose each record is, their persona, and whether they will still buy. None where there is none.

    Returns
    -------
    pandas.DataFrame
        `what`, `this_method`, `naive_rule`, `naive` (its words), `n`; empty without a truth.
    """
    columns = ["what", "this_method", "naive_rule", "naive", "n"]
    if people is None or humans is None or worth is None:
        return pd.DataFrame(columns=columns)
    records = people.select(person_source="source", person_id="person_id", human_id="human_id")
    owner = with_customer(records, identities).group_by("customer_id").agg(human_id=ibis._["human_id"].mode())
    told = []
    if customers is not None:
        truth = owner.inner_join(humans.select("human_id", true="persona"), "human_id")
        given = customers.filter(customers["persona"].notnull()).select("customer_id", "persona")
        rows = given.inner_join(truth, "customer_id").to_pandas()
        if len(rows):
            common = rows["true"].mode().iloc[0]
            right, naive = (rows["persona"] == rows["true"]).mean(), (rows["true"] == common).mean()
            told.append(("persona as given is the true one", right, naive, "everybody has the commonest", len(rows)))
        told += _found_score(segments, truth)
    buys = owner.inner_join(worth.select("human_id", "is_alive"), "human_id")
    rows = segments.filter(segments["purchases"].notnull()).inner_join(buys, "customer_id")
    rows = rows.select("lifecycle", "days_silent", "is_alive").to_pandas()
    if len(rows):
        right = (rows["lifecycle"].isin(["new", "active"]) == rows["is_alive"]).mean()
        naive = ((rows["days_silent"] <= 365) == rows["is_alive"]).mean()
        told.append(("new and active customers will buy again, others will not", right, naive,
                     "who bought in the last year will buy again", len(rows)))  # fmt: skip
    return pd.DataFrame(told, columns=columns)


def _found_score(segments: ir.Table, truth: ir.Table) -> list[tuple]:
    from sklearn.metrics import adjusted_rand_score

    rows = segments.filter(segments["found_persona"].notnull()).inner_join(truth.select("customer_id", "true"), "customer_id")
    rows = rows.order_by("customer_id").select("found_persona", "found_probability", "purchases", "tier", "true").to_pandas()
    told = []
    for words, some in (
        ("found personas of all with one", rows["true"].notna()),
        ("found personas of those with 3 purchases and more", rows["purchases"] >= 3),
        ("found personas of those with 8 purchases and more", rows["purchases"] >= 8),
    ):
        part = rows[some.fillna(False)]
        if len(part):
            right = adjusted_rand_score(part["true"], part["found_persona"])
            naive = adjusted_rand_score(part["true"], part["tier"].fillna("none"))
            told.append((f"{words} (adjusted Rand index)", right, naive, "personas by tier of value", len(part)))
    return told
