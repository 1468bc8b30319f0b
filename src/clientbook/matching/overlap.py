"""Through which systems do customers come and go, how many are in one view, and what keeps the rest out of it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.engine import Engine
from clientbook.tables import CANONICAL, Column, Table, owner_column

TABLES = (
    Table(
        "system_flow",
        "a step of customers from the system that they appeared in to the next one that they appeared in",
        (
            Column("step", "number", "1 from the first system that a customer appeared in, 2 from the second, and so on"),
            Column("system_from", "text", "the system they come from"),
            Column("system_to", "text", "the next system they appeared in; empty where they appeared in no other"),
            Column("customers", "number", "how many", unit="customers"),
            Column("share", "number", "of all known customers who appeared anywhere", unit="share"),
            Column("days", "number", "median of the days between; empty where they appeared in no other", unit="days"),
        ),
    ),
)

# What ties two systems' records from itself.
_TIES = {"email_key": "email", "phone": "phone", "external_id": "external_id"}
_NOTHING, _NAME, _ALONE, _MET = (
    "only an id is known",
    "a name or an address, but no e-mail, phone or shared number",
    "its e-mail, phone or number stands in no other system",
    "another system holds the same e-mail, phone or number, but the rest speaks against it",
)
REASONS = (_NOTHING, _NAME, _ALONE, _MET)


def one_view(overlap: pd.DataFrame) -> pd.DataFrame:
    """How many customers are in one system, two, three and so on, and what share in so many at least?

    Parameters
    ----------
    overlap
        The table `system_overlap`.

    Returns
    -------
    pandas.DataFrame
        `n_systems`, `customers`, `share`, `at_least` (share of customers in so many or more); a row for each number up to
        the most, also where nobody is in so many.
    """
    if overlap.empty:
        return pd.DataFrame(columns=["n_systems", "customers", "share", "at_least"])
    counted = overlap.groupby("n_systems")["customers"].sum()
    counted = counted.reindex(range(1, int(counted.index.max()) + 1), fill_value=0).astype("int64")
    share = counted / counted.sum()
    # from the top, so that the first is 1 and not a sum of rounded parts
    at_least = counted[::-1].cumsum()[::-1] / counted.sum()
    return pd.DataFrame(
        {"n_systems": counted.index, "customers": counted.to_numpy(), "share": share.to_numpy(), "at_least": at_least.to_numpy()}
    )


def say_one_view(views: pd.DataFrame) -> str:
    """In one sentence: what share of the customers is in one view?

    Parameters
    ----------
    views
        As from :func:`one_view`.
    """
    if len(views) < 2:
        return "Every known customer is in one system alone, so there is nothing to see together"
    most = views.iloc[-1]
    return (
        f"{views['at_least'].iloc[1]:.0%} of the known customers are seen in one view of several systems; "
        f"{int(most['customers']):,} are in {int(most['n_systems'])} systems, the most of all"
    )


def stopped(identities: ir.Table, customers: ir.Table, people: ir.Table | None, engine: Engine) -> pd.DataFrame:
    """What keeps customers of one system alone out of a view with others?

    Parameters
    ----------
    identities, customers
        Public tables.
    people
        The clean table, or None.
    engine
        Where what the records hold is staged.

    Returns
    -------
    pandas.DataFrame
        `reason`, a column a system, `customers` and `share` (of all customers of one system); all `REASONS`, in their order.
        Of several reasons the last in that order counts: it is the nearest to a view. Who truly uses one system alone is
        among those whose address no other system holds.
    """
    single = customers.filter(~customers["sources"].contains(",")).select("customer_id", system="sources")
    records = identities.select("source", "person_id", "customer_id")
    if people is None:
        known = records.mutate(named=ibis.literal(False), tied=ibis.literal(False), met=ibis.literal(False))
    else:
        known = engine.keep(_known(records, people, engine))
    of = known.inner_join(single, "customer_id")
    each = of.group_by("customer_id", "system").agg(named=of["named"].any(), tied=of["tied"].any(), met=of["met"].any())
    reason = ibis.cases((each["met"], _MET), (each["tied"], _ALONE), (each["named"], _NAME), else_=_NOTHING)
    counted = each.group_by("system", reason=reason).agg(n=each.count()).to_pandas()
    wide = counted.pivot_table(index="reason", columns="system", values="n", aggfunc="sum", fill_value=0)
    wide = wide.reindex(list(REASONS), fill_value=0).astype("int64").rename_axis(columns=None)
    total = wide.sum(axis=1)
    return wide.assign(customers=total, share=total / max(int(total.sum()), 1)).reset_index()


def _known(records: ir.Table, people: ir.Table, engine: Engine) -> ir.Table:
    """Of each record: is there a name or an address, is there what ties systems, and does another system hold the same?"""
    ties = {column: kind for column, kind in _TIES.items() if column in people.columns}
    parts = [
        people.select("source", "person_id", kind=ibis.literal(kind), value=people[column].strip().lower())
        for column, kind in ties.items()
    ]
    every = ibis.union(*parts) if len(parts) > 1 else parts[0]
    every = engine.keep(every.filter(every["value"].notnull() & (every["value"] != "")))
    held = every.group_by("kind", "value").agg(systems=every["source"].nunique())
    both = every.inner_join(held, ["kind", "value"])
    tied = both.group_by("source", "person_id").agg(met=(both["systems"] > 1).any())
    told = [people[c].notnull() for c in ("full_name", "given_name", "family_name", "street", "postcode", "birth_date")]
    named = told[0]
    for one in told[1:]:
        named = named | one
    seen = people.group_by("source", "person_id").agg(named=named.any())
    joined = records.left_join(seen, ["source", "person_id"])
    joined = joined.select("source", "person_id", "customer_id", "named")
    joined = joined.left_join(tied, ["source", "person_id"])
    return joined.select(
        "customer_id",
        named=joined["named"].fill_null(False),
        tied=joined["met"].notnull(),
        met=joined["met"].fill_null(False),
    )


def say_stopped(reasons: pd.DataFrame) -> str:
    """In one sentence: what stops most of them?

    Parameters
    ----------
    reasons
        As from :func:`stopped`.
    """
    total = int(reasons["customers"].sum())
    if not total:
        return "No customer is known to one system alone"
    row = reasons.loc[reasons["customers"].idxmax()]
    return f"Of {total:,} known customers of one system alone, {row['share']:.0%} stay so because {row['reason']}"


def system_flow(
    identities: ir.Table, tables: Mapping[str, ir.Table | None], engine: Engine,
    bring: Callable[[ir.Table], ir.Table] = lambda rows: rows,
) -> pd.DataFrame:  # fmt: skip
    """How do customers move through the company's systems, by their first appearance in each?

    A system is the one whose ids a record has; a customer appears in it with the first row of any table that tells a time
    for one of their records there. Of systems that tell the same instant the first by name comes first.

    Parameters
    ----------
    identities
        The public table.
    tables
        Clean tables by name; None where the book lacks one.
    engine
        Where first appearances are staged.
    bring
        What was made where the tables lie, as a table of `engine`.

    Returns
    -------
    pandas.DataFrame
        The public table, by step and system; empty where no table tells a time.
    """
    names = [column.name for column in TABLES[0].columns]
    parts = []
    for name, rows in sorted(tables.items()):
        if rows is None or name not in CANONICAL or "person_id" not in rows.columns:
            continue
        owner = owner_column("person_id") if owner_column("person_id") in rows.columns else "source"
        at = CANONICAL[name].at or "created_at"
        if at in rows.columns:
            rows = rows.filter(rows["person_id"].notnull() & rows[at].notnull())
            parts.append(
                rows.group_by(source=rows[owner], person_id=rows["person_id"]).agg(first=rows[at].cast("timestamp").min())
            )
    if not parts:
        return pd.DataFrame(columns=names)
    seen = bring(ibis.union(*parts) if len(parts) > 1 else parts[0])
    joined = seen.inner_join(identities.select("source", "person_id", "customer_id"), ["source", "person_id"])
    firsts = engine.keep(joined.group_by("customer_id", "source").agg(first=joined["first"].min()))
    window = ibis.window(group_by="customer_id", order_by=["first", "source"])
    moved = firsts.select(
        "customer_id",
        step=(ibis.row_number().over(window) + 1).cast("int64"),
        system_from=firsts["source"],
        system_to=firsts["source"].lead().over(window),
        days=firsts["first"].lead().over(window).delta(firsts["first"], unit="day"),
    )
    counted = moved.group_by("step", "system_from", "system_to").agg(customers=moved.count(), days=moved["days"].median())
    told = counted.to_pandas()
    everybody = told.loc[told["step"] == 1, "customers"].sum()
    told["share"] = (told["customers"] / max(int(everybody), 1)).round(6)
    told["system_to"] = told["system_to"].astype("object").where(told["system_to"].notna(), None)
    told["days"] = told["days"].astype("float64")
    return told.sort_values(["step", "system_from", "system_to"], na_position="last", ignore_index=True)[names]


def commonest(flow: pd.DataFrame) -> pd.DataFrame:
    """Between which systems do most customers go?

    Parameters
    ----------
    flow
        As from :func:`system_flow`.

    Returns
    -------
    pandas.DataFrame
        `step`, `system_from`, `system_to`, `customers`, `share`, `days`; the most customers first, without those who went
        nowhere further.
    """
    on = flow[flow["system_to"].notna()]
    return on.sort_values(
        ["customers", "step", "system_from", "system_to"], ascending=[False, True, True, True], ignore_index=True
    )


def say_flow(flow: pd.DataFrame) -> str:
    """In one sentence: where do customers begin, and where do most go from there?

    Parameters
    ----------
    flow
        As from :func:`system_flow`.
    """
    if flow.empty:
        return "No table tells when anybody appeared"
    begun = flow[flow["step"] == 1].groupby("system_from")["customers"].sum().sort_index()
    start = f"{begun.idxmax()} is where more customers appear first than anywhere else ({begun.max() / begun.sum():.0%})"
    on = commonest(flow)
    if on.empty:
        return f"{start}; nobody appears in a second system"
    row = on.iloc[0]
    when = "within a day" if row["days"] < 1 else f"after {row['days']:,.0f} days"
    way = f"{row['system_from']} to {row['system_to']}: {int(row['customers']):,}"
    return f"{start}; the commonest way is from {way}, half of them {when}"


def draw_flow(flow: pd.DataFrame, most_steps: int = 3):
    """The ways of the customers as a map: systems by order of appearance, from left to right, and bands between them.

    Parameters
    ----------
    flow
        As from :func:`system_flow`.
    most_steps
        So many steps are drawn; a band is as wide as the customers who take it. Who goes nowhere further has no band.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    from clientbook import charts

    if flow.empty:
        return charts.bars(["customers"], [0], finding=say_flow(flow), detail="first appearances")
    names = sorted({*flow["system_from"], *flow["system_to"].dropna()})
    colour = {name: charts.PALETTE[i % len(charts.PALETTE)] for i, name in enumerate(names)}
    columns = min(most_steps, int(flow["step"].max()) - 1) + 1
    heights = {
        step: flow[flow["step"] == step].groupby("system_from")["customers"].sum().reindex(names, fill_value=0)
        for step in range(1, columns + 1)
    }
    whole = float(heights[1].sum())
    gap, wide = 0.03 * whole, 0.09
    base = {step: _stacked(heights[step], gap) for step in heights}
    fig, ax = charts.figure(height=440)
    with charts.look():
        out, into = ({step: dict(base[step]) for step in base} for _ in range(2))
        on = flow[flow["system_to"].notna() & (flow["step"] < columns)]
        for row in on.sort_values(["step", "system_to", "system_from"]).itertuples():
            x0, x1 = row.step - 1 + wide, row.step
            low, high = out[row.step][row.system_from], into[row.step + 1][row.system_to]
            out[row.step][row.system_from] += row.customers
            into[row.step + 1][row.system_to] += row.customers
            middle, n = (x0 + x1) / 2, row.customers
            corners = [(x0, low), (middle, low), (middle, high), (x1, high), (x1, high + n), (middle, high + n),
                       (middle, low + n), (x0, low + n), (x0, low)]  # fmt: skip
            codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
            ax.add_patch(PathPatch(Path(corners, codes), facecolor=colour[row.system_from], alpha=0.4, linewidth=0))
        for step, customers in heights.items():
            for name, n in customers[customers > 0].items():
                ax.add_patch(Rectangle((step - 1, base[step][name]), wide, n, color=colour[name], linewidth=0))
                # a sliver has no room for its name
                if n > 0.025 * whole:
                    words = f"{name} {n / whole:.0%}"
                    ax.text(step - 1 + wide + 0.02, base[step][name] + n / 2, words, va="center", fontsize=8.5, color=charts.INK)
        ax.set_xlim(-0.02, columns - 1 + 0.45)
        top = max(sum(heights[step]) + gap * len(names) for step in heights)
        ax.set_ylim(top, -gap)
        ax.set_xticks([step - 1 + wide / 2 for step in heights])
        ax.set_xticklabels([("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")[step - 1] if step <= 8
                            else str(step) for step in heights])  # fmt: skip
        ax.set_xlabel("systems in the order in which customers appeared in them")
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    charts.title(ax, say_flow(flow), "height: customers, share of all; who goes no further has no band")
    return fig


def _stacked(heights: pd.Series, gap: float) -> dict[str, float]:
    at, place = 0.0, {}
    for name, n in heights.items():
        place[name] = at
        at += float(n) + (gap if n else 0.0)
    return place
