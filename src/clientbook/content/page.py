"""What does the page show of the audit?"""

from __future__ import annotations

from collections.abc import Callable, Collection

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from clientbook import charts, doubts, parsing
from clientbook.book import ContactPolicy
from clientbook.content.actions import LEAVE
from clientbook.content.audit import REASONS, VERDICTS, as_count
from clientbook.content.mapping import say_grid
from clientbook.content.pressure import say_reach
from clientbook.stage import KeyNumber

MEANINGS = {
    "no_consent": "no consent in force for the purpose and channel",
    "open_complaint": "a complaint of the customer was open",
    "after_close": "content to help to decide, though the deal on its topic was over",
    "over_cap": "more than the cap to the account, or the customer, in the period",
    "over_preference": "another channel or topic, or more, than the customer asked for",
    "duplicate": "somebody of the account had got the same piece already",
    "wrong_topic": "the account has open deals, none on this topic",
    "wrong_stage": "neither for the stage the account was at nor for the one after",
}
# One colour a verdict: what was right stands back, what must never be stands out.
_COLOURS = dict(
    zip(
        VERDICTS,
        ("#8C1D18", charts.RED, charts.ORANGE, charts.PURPLE, "#E3B04B", charts.SKY, charts.BLUE, charts.GREEN,
         "#D7DEE5", "#EEF1F4"),
        strict=True,
    )
)  # fmt: skip
_BAR = 34


def shares(audited: ir.Table, by: str | None = None, zone: str = "UTC", most: int = 36) -> pd.DataFrame:
    """Which share of the messages has which verdict?

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`. Operational messages are not judged and not counted.
    by
        `sender`, `channel`, `message_type` or `month` (of sending, in the book's zone); None for all in one.
    zone
        The book's.
    most
        How many groups to tell: of months the last, else the largest.

    Returns
    -------
    pandas.DataFrame
        A row for each group: `n`, then a share for each verdict.
    """
    a = audited.filter(~audited["is_operational"])
    if by == "month":
        group = parsing.local(a["at"], zone).strftime("%Y-%m")
    else:
        group = ibis.literal("all messages") if by is None else a[by].fill_null("not known")
    each = a.group_by(group=group, verdict="verdict").agg(n=a.count()).to_pandas()
    wide = each.pivot_table(index="group", columns="verdict", values="n", aggfunc="sum")
    wide = wide.reindex(columns=list(VERDICTS[:-1])).fillna(0)
    n = wide.sum(axis=1).astype(int)
    wide = wide.div(n, axis=0)
    wide.insert(0, "n", n)
    wide = wide.sort_index().tail(most) if by == "month" else wide.sort_values("n", ascending=False, kind="stable").head(most)
    return wide.rename_axis(index=None, columns=None)


def reasons(audited: ir.Table, judged: Collection[str] = REASONS) -> pd.DataFrame:
    """How many messages were wrong for which reason?

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    judged
        The reasons that the book has tables for.

    Returns
    -------
    pandas.DataFrame
        `reason`, `meaning`, `messages` (a message may have several reasons), `share`, `verdicts` (for which it is the
        first reason), `n` (messages judged; 0 where the book cannot say).
    """
    a = audited.filter(~audited["is_operational"])
    told = a.aggregate(
        n=a.count(),
        **{f"{name}.held": a[name].cast("int64").sum() for name in REASONS},
        **{f"{name}.first": (a["verdict"] == name).cast("int64").sum() for name in REASONS},
        **{f"{name}.known": a[name].count() for name in REASONS},
    ).to_pandas().iloc[0]  # fmt: skip
    rows = pd.DataFrame(
        {
            "reason": list(REASONS),
            "meaning": [MEANINGS[name] for name in REASONS],
            "messages": [int(_or_zero(told[f"{name}.held"])) for name in REASONS],
            "verdicts": [int(_or_zero(told[f"{name}.first"])) for name in REASONS],
            "n": [int(told[f"{name}.known"]) if name in judged else 0 for name in REASONS],
        }
    )
    rows.insert(3, "share", rows["messages"] / rows["n"].where(rows["n"] > 0))
    return rows


def responses(audited: ir.Table) -> pd.DataFrame:
    """How were messages answered, by verdict?

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.

    Returns
    -------
    pandas.DataFrame
        `verdict`, `n`, the shares `opened`, `clicked`, `replied`, `unsubscribed`, and `low` and `high` of `clicked`
        (95 %, Wilson).
    """
    a = audited.filter(~audited["is_operational"])
    answers = ("opened", "clicked", "replied", "unsubscribed")
    each = a.group_by("verdict").agg(n=a.count(), **{name: as_count(a[name].sum()) for name in answers}).to_pandas()
    each = each.set_index("verdict").reindex([name for name in VERDICTS if name in set(each["verdict"])]).reset_index()
    n, hits = each["n"].to_numpy(float), each["clicked"].to_numpy(float)
    z = 1.959964
    middle, spread = hits + z * z / 2, z * np.sqrt(hits * (n - hits) / np.maximum(n, 1) + z * z / 4)
    each[list(answers)] = each[list(answers)].div(each["n"], axis=0).astype(float)
    return each.assign(low=(middle - spread) / (n + z * z), high=(middle + spread) / (n + z * z))


def draw_responses(told: pd.DataFrame):
    """Which share of the messages of each verdict was clicked? Bars with their intervals.

    Parameters
    ----------
    told
        Of :func:`responses`.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where there is nothing to draw.
    """
    if told.empty:
        return None
    return charts.bars(
        [name.replace("_", " ") for name in told["verdict"]], told["clicked"], low=told["low"], high=told["high"],
        finding=say_responses(told), detail="share clicked, with its 95 % interval", format="percent",
        highlight=["right"],
    )  # fmt: skip


def draw(wide: pd.DataFrame, finding: str, detail: str = ""):
    """How do the verdicts of groups compare? Bars of one length, parted by verdict.

    Parameters
    ----------
    wide
        Of :func:`shares`.
    finding, detail
        See :func:`clientbook.charts.title`.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where there is nothing to draw.
    """
    if wide.empty:
        return None
    names = [name for name in VERDICTS[:-1] if wide[name].sum() > 0]
    fig, ax = charts.figure(height=int(190 + min(_BAR, 760 / len(wide)) * max(3, len(wide))))
    with charts.look():
        places, start = np.arange(len(wide)), np.zeros(len(wide))
        for name in names:
            part = wide[name].to_numpy(float)
            ax.barh(places, part, left=start, height=0.72, color=_COLOURS[name], label=name.replace("_", " "))
            start = start + part
        room = len(wide) <= 20
        labels = [f"{group} ({charts.number(n)})" if room else str(group) for group, n in wide["n"].items()]
        ax.set_yticks(places, labels, color=charts.INK)
        ax.set_ylim(len(wide) - 0.5, -0.5)
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        ax.spines[["left", "bottom"]].set_visible(False)
        # below the axes, and narrow enough for a telephone
        handles, words = ax.get_legend_handles_labels()
        fig.legend(handles, words, loc="outside lower center", ncols=3, labelcolor=charts.INK, fontsize=8)
    charts.title(ax, finding, detail)
    return fig


def draw_reach(told: pd.DataFrame, policy: ContactPolicy):
    """How many messages does a cap per contact not see? Two curves, of accounts and of contacts.

    Parameters
    ----------
    told
        Of :func:`clientbook.content.pressure.reach`.
    policy
        The book's.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where nothing was sent.
    """
    if len(told) < 2:
        return None
    return charts.lines(
        told[["contacts", "accounts"]],
        x=told["messages"],
        format="percent",
        finding=say_reach(told, policy),
        detail="share that never got more than so many messages in such a time",
        xlabel=f"messages in {policy.period_days} days",
        ylabel="share",
        marks={"cap": policy.max_messages},
    )


def draw_grid(cells: pd.DataFrame):
    """Where is nothing to send? A heat map of pieces by topic and stage.

    Parameters
    ----------
    cells
        Of :func:`clientbook.content.mapping.grid`.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where no piece says what it is about and for whom.
    """
    if not cells.size:
        return None
    fig = charts.heatmap(
        cells, finding=say_grid(cells), detail="number of pieces; nothing to send: hatched", xlabel="stage", ylabel="topic"
    )
    # matplotlib takes a while to come, and most of this module does without it
    from matplotlib import patches

    ax = fig.axes[0]
    with charts.look():
        for row, column in zip(*np.nonzero(cells.to_numpy() == 0), strict=True):
            ax.add_patch(
                patches.Rectangle((column, row), 1, 1, fill=False, hatch="////", lw=0,
                                          edgecolor=charts.RED)
            )  # fmt: skip
    return fig


def draw_lanes(
    audited: ir.Table,
    account_id: str | None,
    zone: str,
    around: pd.Timestamp | None = None,
    days: int = 0,
    months: int = 6,
):
    """What did one account get, contact by contact? A lane for each, a mark for each message in its verdict's colour.

    Parameters
    ----------
    audited
        Of :func:`clientbook.content.audit.audit`.
    account_id
        Whose; None draws nothing.
    zone
        The book's.
    around, days
        The last day of a window of so many days, which is marked and stands in the middle; None takes the end.
    months
        How long a time is shown.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where nothing was sent to it. Contacts are numbered: the figure names nobody.
    """
    if account_id is None:
        return None
    a = audited.filter(audited["account_id"] == account_id, ~audited["is_operational"])
    local = parsing.local(a["at"], zone)
    rows = a.select("customer_id", "verdict", "arrival", "opened", at=local).order_by("at", "arrival").to_pandas()
    if rows.empty:
        return None
    last = rows["at"].max()
    if around is not None:
        last = min(last, pd.Timestamp(around) + pd.DateOffset(months=months // 2))
    rows = rows[(rows["at"] > last - pd.DateOffset(months=months)) & (rows["at"] <= last)]
    lanes = {customer: i for i, customer in enumerate(dict.fromkeys(rows["customer_id"]))}
    lanes = dict(list(lanes.items())[:12])
    rows = rows[rows["customer_id"].isin(lanes)]
    fig, ax = charts.figure(height=int(200 + 46 * max(2, len(lanes))))
    with charts.look():
        for verdict in VERDICTS[:-1]:
            part = rows[rows["verdict"] == verdict]
            if len(part):
                ax.scatter(part["at"], part["customer_id"].map(lanes), s=46, marker="|", linewidths=2.4,
                           color=_COLOURS[verdict] if verdict != "right" else charts.GREY,
                           label=verdict.replace("_", " "))  # fmt: skip
        if around is not None:
            end = pd.Timestamp(around) + pd.Timedelta(days=1)
            ax.axvspan(end - pd.Timedelta(days=days), end, color=charts.GREY, alpha=0.15, linewidth=0)
        ax.set_yticks(range(len(lanes)), [f"contact {i + 1}" for i in range(len(lanes))], color=charts.INK)
        ax.set_ylim(len(lanes) - 0.5, -0.5)
        ax.tick_params(axis="x", rotation=30)
        handles, words = ax.get_legend_handles_labels()
        fig.legend(handles, words, loc="outside lower center", ncols=3, labelcolor=charts.INK, fontsize=8)
    told = "each mark is a message, in the colour of its verdict"
    if len(rows):
        told += f"; {rows['at'].min():%Y-%m-%d} to {rows['at'].max():%Y-%m-%d}"
    charts.title(ax, say_lanes(rows), told)
    return fig


def say_lanes(rows: pd.DataFrame) -> str:
    """In one sentence: what did one account get?

    Parameters
    ----------
    rows
        Its messages, with `customer_id`, `verdict`, `opened`.
    """
    wrong = int((rows["verdict"] != "right").sum())
    return (
        f"{len(rows)} messages to {rows['customer_id'].nunique()} contacts, {wrong} of them wrong, "
        f"{int(rows['opened'].sum())} opened"
    )


def show(fig, alt: str, missing: str):
    """A figure, or a line that says that there is none.

    Parameters
    ----------
    fig
        A figure, or None.
    alt
        See :func:`clientbook.charts.show`.
    missing
        What there is none of.
    """
    if fig is None:
        return charts.table(pd.DataFrame(), caption=missing)
    return charts.show(fig, alt=alt)


def say_shares(wide: pd.DataFrame, what: str) -> str:
    """In one sentence: whose messages are right most and least often?

    Parameters
    ----------
    wide
        Of :func:`shares`.
    what
        What a group is: `team`, `channel`.
    """
    known = wide[wide["n"] >= charts.SMALL_N]
    if known.empty:
        return "There are too few messages to compare"
    low, high = known["right"].idxmin(), known["right"].idxmax()
    if low == high:
        return f"{known.loc[low, 'right']:.0%} of the messages were right"
    return (
        f"{known.loc[high, 'right']:.0%} of the messages of the {what} “{high}” were right, but "
        f"{known.loc[low, 'right']:.0%} of those of “{low}”"
    )


def say_months(wide: pd.DataFrame) -> str:
    """In one sentence: does it get better?

    Parameters
    ----------
    wide
        Of :func:`shares`, by month.
    """
    if len(wide) < 6:
        return "The share of messages that were right, month by month"
    early, late = ((part["right"] * part["n"]).sum() / part["n"].sum() for part in (wide.head(3), wide.tail(3)))
    if abs(late - early) < 0.01:
        return f"The share that was right stayed at {late:.0%}"
    way = "fell" if late < early else "rose"
    return f"The share that was right {way} from {early:.0%} in the first three months to {late:.0%} in the last three"


def say_responses(told: pd.DataFrame) -> str:
    """In one sentence: are right messages answered better?

    Parameters
    ----------
    told
        Of :func:`responses`.
    """
    clicked = told.set_index("verdict")["clicked"]
    if "right" not in clicked or len(clicked) < 2:
        return "There is nothing to compare"
    wrong = told[told["verdict"] != "right"]
    rate = (wrong["clicked"] * wrong["n"]).sum() / wrong["n"].sum()
    return f"{clicked['right']:.1%} of the messages that were right were clicked, {rate:.1%} of those that were not"


def say_doubts(audited: ir.Table | None, draws: ir.Table | None, identities: ir.Table | None) -> str:
    """In one sentence: how many verdicts rest on who is who? Empty where nothing was matched.

    Parameters
    ----------
    audited
        As from :func:`clientbook.content.audit.audit`; None where nothing was sent.
    draws, identities
        The tables `identity_draws` and `identities`.
    """
    return "" if audited is None else doubts.say(doubts.doubts(audited, draws, identities), "messages")


def answer(overall: pd.DataFrame, told: pd.DataFrame, next_steps: pd.DataFrame, money: Callable[[float], str]) -> str:
    """The page in two or three sentences of Markdown.

    Parameters
    ----------
    overall
        Of :func:`shares`, of all messages.
    told
        Of :func:`reasons`.
    next_steps
        Of :func:`clientbook.content.actions.counts`.
    money
        Writes an amount for people.
    """
    if overall.empty:
        return "**This book has content and no messages: what there is can be shown, not what was sent.**"
    row = overall.iloc[0]
    worst = told.sort_values("messages", ascending=False, kind="stable").iloc[0]
    words = [f"**{row['right']:.0%} of {row['n']:,.0f} messages were right when they were sent.**"]
    if worst["messages"]:
        words.append(f"The commonest fault: {worst['meaning']} ({worst['messages']:,.0f} messages, {worst['share']:.0%}).")
    sends = next_steps[next_steps["channel"].notna()]
    if len(next_steps):
        n, everybody = int(sends["customers"].sum()), int(next_steps["customers"].sum())
        calls = int(next_steps.loc[next_steps["channel"].isna() & (next_steps["action"] != LEAVE), "customers"].sum())
        called = f", {calls:,} should be called" if calls else ""
        words.append(
            f"Of {everybody:,} known customers {n:,} should be written to next, expected to bring "
            f"{money(float(sends['expected_margin'].sum()))}{called}; the others are left alone."
        )
    return " ".join(words)


def key_numbers(overall: pd.DataFrame, told: pd.DataFrame, next_steps: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    overall
        Of :func:`shares`, of all messages.
    told
        Of :func:`reasons`.
    next_steps
        Of :func:`clientbook.content.actions.counts`.
    """
    if overall.empty:
        return []
    n = int(overall["n"].iloc[0])
    sends = next_steps[next_steps["channel"].notna()] if len(next_steps) else next_steps
    numbers = [KeyNumber("Messages that were right", round(float(overall["right"].iloc[0]), 6), "share", "up", n=n)]
    by_reason = told.set_index("reason")
    if by_reason.loc["no_consent", "n"]:
        numbers.append(
            KeyNumber("Messages without consent", int(by_reason.loc["no_consent", "messages"]), "messages", "down", n=n)
        )
    numbers.append(KeyNumber("Messages over the cap", int(by_reason.loc["over_cap", "messages"]), "messages", "down", n=n))
    if len(next_steps):
        everybody = int(next_steps["customers"].sum())
        numbers.append(KeyNumber("Customers to write to next", int(sends["customers"].sum()), "customers", "", n=everybody))
        numbers.append(
            KeyNumber("Expected from next actions", round(float(sends["expected_margin"].sum()), 2), "money", "up",
                      n=everybody, note="a plain rule, not a forecast")
        )  # fmt: skip
    return numbers


def _or_zero(value) -> float:
    return 0.0 if pd.isna(value) else float(value)
