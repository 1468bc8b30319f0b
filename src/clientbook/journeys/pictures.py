"""What do the ways look like? Pictures that the other pages do not need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import charts
from clientbook.journeys.inference import SMOOTHED
from clientbook.journeys.stages import Ways
from clientbook.tables import STAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, OTHER, STILL = "left", "other", "still there"
# Light to dark along the way, so that the order is seen without colour too.
COLOURS = dict(zip(STAGES, ("#D9E6F2", "#9CC3DE", "#E8A33D", "#5B9A68", "#2C6E9B", "#123B5D"), strict=True)) | {
    LEFT: "#C9CED4", OTHER: "#E9ECEF", STILL: "#FFFFFF",
}  # fmt: skip


def turns(intervals: ir.Table, steps: int = 8) -> pd.DataFrame:
    """Which stage comes first, which next, and who leaves when? With hindsight.

    Parameters
    ----------
    intervals
        The public table `stage_intervals`.
    steps
        Stages to follow from the beginning of each journey.

    Returns
    -------
    pandas.DataFrame
        `step` (from 1), `stage`, `next` (a stage, `left` or `still there`), `n`.
    """
    rows = intervals.filter(intervals["method"] == SMOOTHED)
    along = ibis.window(group_by="journey_id", order_by="valid_from")
    rows = rows.mutate(step=ibis.row_number().over(along) + 1, after=rows["stage"].lead().over(along))
    rows = rows.filter(rows["step"] <= steps)
    ends = rows["valid_to"].isnull().ifelse(STILL, LEFT)
    counted = rows.group_by("step", "stage", next=rows["after"].fill_null(ends)).agg(n=rows.count())
    return counted.order_by("step", "stage", "next").to_pandas()


def paths(turned: pd.DataFrame, steps: int = 4, rare: float = 0.02) -> pd.DataFrame:
    """The flows of a Sankey diagram: which stage comes first, which next, and who leaves when?

    Parameters
    ----------
    turned
        As from :func:`turns`.
    steps
        To show.
    rare
        Of all journeys; smaller flows at a step go to `other`.

    Returns
    -------
    pandas.DataFrame
        `step` (from 1), `stage`, `next` (a stage, `other`, `left` or `still there`), `n`.
    """
    told = turned[turned["step"] <= steps]
    least = rare * told.loc[told["step"] == 1, "n"].sum()
    small = (told["n"] < least) & ~told["next"].isin([LEFT, STILL])
    told = told.assign(next=told["next"].where(~small, OTHER))
    return told.groupby(["step", "stage", "next"], as_index=False)["n"].sum()


def step_matrix(turned: pd.DataFrame) -> pd.DataFrame:
    """Of all journeys, what share is in which stage at their first, second, … stay, and what share has left by then?

    Parameters
    ----------
    turned
        As from :func:`turns`.

    Returns
    -------
    pandas.DataFrame
        Rows are the stages, `still there` (at an earlier stay) and `left`; a column for each step; columns add up to 1.
    """
    whole = turned.loc[turned["step"] == 1, "n"].sum()
    there = turned.pivot_table(index="stage", columns="step", values="n", aggfunc="sum", fill_value=0)
    there = there.reindex([stage for stage in STAGES if stage in there.index])
    gone = turned[turned["next"].isin([LEFT, STILL])]
    gone = gone.pivot_table(index="next", columns="step", values="n", aggfunc="sum", fill_value=0)
    # who ended at one step is gone from the next on
    gone = gone.reindex(index=[STILL, LEFT], columns=there.columns, fill_value=0).cumsum(axis=1)
    gone = gone.shift(1, axis=1).fillna(0)
    return pd.concat([there, gone]) / max(whole, 1)


def sankey(flows: pd.DataFrame, *, finding: str, detail: str = "") -> Figure:
    """How do journeys flow from stage to stage, and where do they leave?

    Parameters
    ----------
    flows
        As from :func:`paths`.
    finding, detail
        See :func:`clientbook.charts.title`.
    """
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    fig, ax = charts.figure(height=470)
    order = [*STAGES, OTHER, STILL, LEFT]
    steps = sorted(flows["step"].unique()) if len(flows) else []
    whole = flows.loc[flows["step"] == 1, "n"].sum() if len(flows) else 1
    with charts.look():
        heights = {}
        for step in [*steps, *(step + 1 for step in steps[-1:])]:
            out = flows[flows["step"] == step].groupby("stage")["n"].sum()
            into = flows[flows["step"] == step - 1].groupby("next")["n"].sum()
            size = {name: max(out.get(name, 0), into.get(name, 0)) / whole for name in order}
            at = 0.0
            for name in order:
                if size[name] > 0:
                    heights[step, name] = (at, size[name])
                    at += size[name] + 0.02
        filled_out: dict = {}
        filled_in: dict = {}
        for row in flows.itertuples():
            if (row.step, row.stage) not in heights or (row.step + 1, row.next) not in heights:
                continue
            share = row.n / whole
            a = heights[row.step, row.stage][0] + filled_out.get((row.step, row.stage), 0.0)
            b = heights[row.step + 1, row.next][0] + filled_in.get((row.step + 1, row.next), 0.0)
            filled_out[row.step, row.stage] = a + share - heights[row.step, row.stage][0]
            filled_in[row.step + 1, row.next] = b + share - heights[row.step + 1, row.next][0]
            left, right, middle = row.step + 0.08, row.step + 0.92, row.step + 0.5
            points = [(left, a), (middle, a), (middle, b), (right, b), (right, b + share), (middle, b + share),
                      (middle, a + share), (left, a + share), (left, a)]  # fmt: skip
            codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
            ax.add_patch(PathPatch(Path(points, codes), facecolor=COLOURS[row.stage], alpha=0.55, linewidth=0))
        for (step, name), (at, size) in heights.items():
            edge = charts.INK if name == STILL else "none"
            ax.add_patch(Rectangle((step - 0.08, at), 0.16, size, facecolor=COLOURS[name], edgecolor=edge, linewidth=0.6))
            if size > 0.03:
                ax.text(step, at + size / 2, f"{name}\n{size:.0%}", ha="center", va="center", fontsize=7.5,
                        color=charts.INK,
                        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8})  # fmt: skip
        ax.set_xlim(0.7, (steps[-1] + 1.3) if steps else 2)
        ax.set_ylim(max((at + size for at, size in heights.values()), default=1) + 0.01, -0.01)
        ax.set_xticks(
            [*steps, *(step + 1 for step in steps[-1:])],
            [f"stage {step}" for step in [*steps, *(s + 1 for s in steps[-1:])]],
        )
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    charts.title(ax, finding, detail)
    return fig


def say_paths(flows: pd.DataFrame) -> str:
    """In one sentence: how do journeys begin and how many leave at once?"""
    first = flows[flows["step"] == 1]
    if first.empty:
        return "No journey has been seen yet"
    begins = first.groupby("stage")["n"].sum()
    gone = first.loc[first["next"] == LEFT, "n"].sum() / first["n"].sum()
    most = f"{begins.idxmax()} ({begins.max() / begins.sum():.0%})"
    return f"More journeys begin in {most} than in any other stage, and {gone:.0%} end in the stage they began in"


def outlined(fig: Figure, shares: pd.DataFrame) -> Figure:
    """The transition heat map with its back moves outlined.

    Parameters
    ----------
    fig
        As from :func:`clientbook.charts.heatmap` of the shares.
    shares
        As from :func:`clientbook.journeys.transition_shares`.
    """
    from matplotlib.patches import Rectangle

    place = {stage: i for i, stage in enumerate(STAGES)}
    for row, stage in enumerate(shares.index):
        for column, after in enumerate(shares.columns):
            if place.get(after, 99) < place.get(stage, -1) and shares.iloc[row, column] > 0:
                fig.axes[0].add_patch(
                    Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, fill=False, edgecolor=charts.ORANGE, linewidth=2)
                )
    return fig


def sampled(intervals: ir.Table, many: int = 80, days: int = 365) -> pd.DataFrame:
    """Some journeys, each with its stages by day since it began; drawn evenly over all of more than one stage.

    Parameters
    ----------
    intervals
        The public table `stage_intervals`.
    many
        Journeys to draw.
    days
        To show of each.

    Returns
    -------
    pandas.DataFrame
        `journey` (a number), `stage`, `begins`, `ends` (days).
    """
    rows = intervals.filter(intervals["method"] == SMOOTHED)
    whole = rows.group_by("journey_id").agg(began=rows["valid_from"].min(), stays=rows.count())
    some = whole.filter(whole["stays"] > 1)
    # by a hash of the id: the same ones in every run, of no kind in particular
    some = some.order_by(some["journey_id"].hexdigest("md5"), "journey_id").limit(many)
    both = rows.inner_join(some, "journey_id").select("journey_id", "stage", "valid_from", "valid_to", "began").to_pandas()
    if both.empty:
        return pd.DataFrame(columns=["journey", "stage", "begins", "ends"])
    last = both["valid_to"].max()
    since = lambda column: (column - both["began"]).dt.total_seconds() / 86_400  # noqa: E731
    both = both.assign(begins=since(both["valid_from"]), ends=since(both["valid_to"].fillna(last)).clip(upper=days))
    both = both[both["begins"] < days]
    length = both.groupby("journey_id")["ends"].max().sort_values(kind="stable")
    both["journey"] = both["journey_id"].map({name: i for i, name in enumerate(length.index)})
    return both.sort_values(["journey", "begins"])[["journey", "stage", "begins", "ends"]].reset_index(drop=True)


def sequence_index(some: pd.DataFrame, *, finding: str, detail: str = "") -> Figure:
    """What do single journeys look like? A line each, its stages one after the other.

    Parameters
    ----------
    some
        As from :func:`sampled`.
    finding, detail
        See :func:`clientbook.charts.title`.
    """
    from matplotlib.collections import PolyCollection

    fig, ax = charts.figure(height=460)
    with charts.look():
        for stage in STAGES:
            rows = some[some["stage"] == stage]
            middle, left, right = (rows[name].to_numpy(dtype=float) for name in ("journey", "begins", "ends"))
            low, high = middle - 0.475, middle + 0.475
            corners = [[left, low], [right, low], [right, high], [left, high]]
            # one collection a stage: a patch for each stay takes a second to draw
            bars = PolyCollection(np.moveaxis(np.array(corners), 2, 0), facecolor=COLOURS[stage], linewidth=0, label=stage)
            ax.add_collection(bars)
        ax.autoscale_view()
        ax.set_yticks([])
        ax.set_xlabel("days since the journey began")
        ax.spines[["left"]].set_visible(False)
        ax.legend(loc="lower right", ncols=2, labelcolor=charts.INK)
    charts.title(ax, finding, detail)
    return fig


def commonest_persona(tables: Mapping[str, ir.Table | None]) -> str | None:
    """Which persona, as the company calls them, has the most customers? None where it calls none.

    Parameters
    ----------
    tables
        `customers`, where there are.
    """
    customers = tables.get("customers")
    if customers is None or "persona" not in customers.columns:
        return None
    known = customers.filter(customers["persona"].notnull())
    each = known.group_by("persona").agg(n=known.count()).order_by(ibis.desc("n"), "persona").limit(1).to_pandas()
    return None if each.empty else each["persona"].iloc[0]


def of_persona(ways: Ways, tables: Mapping[str, ir.Table | None], subject: str, persona: str | None) -> ir.Table:
    """The steps of the subjects of a persona; all steps for none.

    Parameters
    ----------
    ways
        As from :func:`clientbook.journeys.restaged`.
    tables
        `customers`.
    subject
        `account` (of which anybody is of the persona) or `customer`.
    persona
        As from :func:`commonest_persona`.
    """
    if persona is None:
        return ways.steps
    customers = tables["customers"]
    mine = customers.filter(customers["persona"] == persona).select(subject_id=f"{subject}_id").distinct()
    return ways.steps.semi_join(ways.lanes.semi_join(mine, "subject_id"), "lane")


def feeling(tables: Mapping[str, ir.Table | None], who: ir.Table, intervals: ir.Table, subject: str) -> pd.Series:
    """How content were they in each stage, where anybody asked? The mean score by stage, of the commonest metric.

    Parameters
    ----------
    tables
        `surveys`, where there are.
    who, intervals
        As above; whoever is on several journeys counts in the stage of each.
    subject
        `account` or `customer`.

    Returns
    -------
    pandas.Series
        By stage, in words: the mean, the metric and n.
    """
    surveys = tables.get("surveys")
    if surveys is None:
        return pd.Series(dtype="str")
    given = surveys.filter(surveys["score"].notnull()).inner_join(who, ["person_source", "person_id"])
    given = given.select("asked_at", "score", metric=given["metric"].lower(), subject_id=given[f"{subject}_id"])
    on = intervals.filter(intervals["method"] == SMOOTHED).select("subject_id", "stage", "valid_from", "valid_to")
    both = given.inner_join(on, "subject_id")
    both = both.filter(
        (both["valid_from"] <= both["asked_at"]) & (both["valid_to"].isnull() | (both["valid_to"] > both["asked_at"]))
    )
    each = both.group_by("stage", "metric").agg(n=both.count(), mean=both["score"].mean()).order_by("metric", "stage")
    told = each.to_pandas()
    if told.empty:
        return pd.Series(dtype="str")
    told = told[told["metric"] == told.groupby("metric")["n"].sum().idxmax()].set_index("stage")
    return pd.Series({row.Index: f"{row.metric} {row.mean:.1f} (n {row.n:,})" for row in told.itertuples()})


def persona_map(
    steps: ir.Table,
    told: pd.DataFrame,
    moments: pd.DataFrame,
    use: pd.DataFrame,
    felt: pd.Series,
    share: int = 3,
) -> pd.DataFrame:
    """What do they do at each stage, where, how do they feel, where does it hurt and where is the chance?

    Parameters
    ----------
    steps
        As from :func:`of_persona`.
    told
        The written table.
    moments
        The public table `moments`.
    use
        As from :func:`clientbook.journeys.touch_use`.
    felt
        As from :func:`feeling`.
    share
        Things to name in each field.

    Returns
    -------
    pandas.DataFrame
        The lanes of a journey map: a row a lane (`doing`, `touchpoint`, `feeling`, `pain`, `opportunity`), a column a
        stage.
    """
    known = steps.filter(steps["level"].notnull())
    counted = known.group_by("level", "code").agg(n=known.count()).to_pandas()
    counted["event_name"] = told["event_name"].reindex(counted["code"].astype(int)).to_numpy()
    counted["share"] = counted["n"] / counted.groupby("level")["n"].transform("sum")
    # what stands out at the stage, not what is common everywhere
    counted["lift"] = counted["share"] * np.log(
        (counted["share"] + 1e-9) / (counted.groupby("code")["n"].transform("sum") / counted["n"].sum())
    )
    words = {}
    for level, stage in enumerate(STAGES):
        mine = counted[counted["level"] == level].sort_values(["lift", "event_name"], ascending=[False, True])
        doing = [f"{row.event_name} ({row.share:.0%})" for row in mine.head(share).itertuples()]
        sure = moments[(moments["stage"] == stage) & (moments["q_value"] < 0.05)]
        pain = sure[sure["went_silent_low"] > 0].sort_values(["went_silent_effect", "event_name"], ascending=[False, True])
        chance = sure[sure["ordered_low"] > 0].sort_values(["ordered_effect", "event_name"], ascending=[False, True])
        # where a touchpoint serves the stage most, weighed by how much happens there
        there = use.assign(n=(use["events"] * use[stage]).fillna(0)).sort_values(["n", "touchpoint"], ascending=[False, True])
        there = there[there["n"] > 0].head(share)
        words[stage] = [
            ", ".join(doing) or "–",
            ", ".join(there["touchpoint"]) or "–",
            felt.get(stage, "nobody asked"),
            _effects(pain.head(share), "went_silent_effect", "fall silent"),
            _effects(chance.head(share), "ordered_effect", "order"),
        ]
    frame = pd.DataFrame(words, index=["doing", "touchpoint", "feeling", "pain", "opportunity"])
    return frame.rename_axis("lane").reset_index()


def _effects(moments: pd.DataFrame, effect: str, what: str) -> str:
    told = zip(moments["event_name"], moments[effect], strict=True)
    return ", ".join(f"{name} ({share * 100:+.0f} of 100 {what})" for name, share in told) or "–"


def swim_lanes(timeline: ir.Table, most: int = 8) -> pd.DataFrame:
    """One account with several heads: who of them did what when? The account whose members did the most together.

    Parameters
    ----------
    timeline
        The public table.
    most
        People to show.

    Returns
    -------
    pandas.DataFrame
        `person` (a number, no name), `occurred_at`, `kind`; of the last year that was seen.
    """
    known = timeline.filter(timeline["customer_id"].notnull() & timeline["account_id"].notnull())
    each = known.group_by("account_id", "customer_id").agg(n=known.count())
    # the third busiest head tells of a team; one robot does not
    rank = ibis.row_number().over(group_by="account_id", order_by=[ibis.desc("n"), "customer_id"])
    third = each.mutate(rank=rank).filter(lambda t: t["rank"] == 2).order_by(ibis.desc("n"), "account_id").limit(1).to_pandas()
    if third.empty:
        return pd.DataFrame(columns=["person", "occurred_at", "kind"])
    rows = known.filter(known["account_id"] == third["account_id"].iloc[0])
    rows = rows.select("customer_id", "occurred_at", "kind").order_by("occurred_at", "customer_id", "kind").to_pandas()
    rows = rows[rows["occurred_at"] > rows["occurred_at"].max() - pd.Timedelta(days=365)]
    busy = rows["customer_id"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:most]
    rows = rows[rows["customer_id"].isin(busy)]
    return rows.assign(person=rows["customer_id"].map({name: i + 1 for i, name in enumerate(busy)})).drop(columns="customer_id")


def swim(lanes: pd.DataFrame, *, finding: str, detail: str = "") -> Figure:
    """Who of an account did what when?

    Parameters
    ----------
    lanes
        As from :func:`swim_lanes`.
    finding, detail
        See :func:`clientbook.charts.title`.
    """
    people = sorted(lanes["person"].unique())
    fig, ax = charts.figure(height=130 + 36 * max(len(people), 3))
    marks = {"event": ("o", charts.BLUE), "order": ("D", charts.ORANGE), "message": ("v", charts.SKY), 
             "case": ("X", charts.RED),
             "opportunity": ("s", charts.GREEN), "referral": ("*", charts.PURPLE),
             "survey": ("P", charts.GREY)}  # fmt: skip
    with charts.look():
        for kind, (mark, colour) in marks.items():
            rows = lanes[lanes["kind"] == kind]
            if len(rows):
                ax.plot(
                    rows["occurred_at"],
                    rows["person"],
                    mark,
                    color=colour,
                    markersize=5,
                    linestyle="none",
                    label=kind,
                    alpha=0.8,
                )
        ax.set_yticks(people, [f"person {number}" for number in people])
        ax.set_ylim(max(people, default=1) + 0.6, 0.4)
        for label in ax.get_xticklabels():
            label.set_rotation(30)
        if len(lanes):
            fig.legend(loc="outside lower left", ncols=4, labelcolor=charts.INK)
    charts.title(ax, finding, detail)
    return fig
