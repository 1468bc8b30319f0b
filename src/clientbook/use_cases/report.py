"""What does the page on use cases say?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from clientbook.book import Goal
from clientbook.goals import best_fit
from clientbook.stage import KeyNumber
from clientbook.use_cases import catalogue, waiting
from clientbook.use_cases.found import Found

if TYPE_CHECKING:
    from clientbook.use_cases import Study

MOST_TO_START = 4
_COLUMNS = (
    "use_case", "goal", "owner", "team", "place", "start", "baseline", "policy", "baseline_margin", "policy_margin",
    "incremental_margin", "low", "high", "a_year", "from_new", "n", "days", "needs", "effort", "weeks", "method",
)  # fmt: skip


def table(found: Sequence[Found], goals: Sequence[Goal]) -> pd.DataFrame:
    """The public table `use_cases`: best first.

    Ranked by the part of the yearly gain that is sure, the lower end of its interval, for each week until it runs. To start
    with are those of the first four whose interval is above zero.

    Parameters
    ----------
    found
        The use cases as computed.
    goals
        The book's.
    """
    rows = []
    for one in found:
        case = catalogue.BY_NAME[one.use_case]
        served = best_fit(goals, case.campaign)
        rows.append(
            {
                "use_case": case.name, "goal": served.goal, "owner": served.owner or None, "team": case.team,
                "baseline": case.usual, "policy": case.new, "baseline_margin": one.baseline, "policy_margin": one.policy,
                "incremental_margin": one.gain, "low": one.low, "high": one.high, "a_year": one.a_year, "from_new": one.new,
                "n": one.n, "days": one.days, "needs": catalogue.say_needs(case), "effort": case.effort,
                "weeks": case.weeks, "method": one.method, "_sure": one.low * 365 / one.days / case.weeks,
            }
        )  # fmt: skip
    told = pd.DataFrame(rows, columns=[*_COLUMNS, "_sure"])
    told = told.sort_values(["_sure", "use_case"], ascending=[False, True], ignore_index=True)
    told["place"] = range(1, len(told) + 1)
    told["start"] = (told["low"] > 0) & (told["place"] <= MOST_TO_START)
    money = ["baseline_margin", "policy_margin", "incremental_margin", "low", "high", "a_year", "from_new"]
    return told.assign(**{name: told[name].astype(float).round(2) for name in money})[list(_COLUMNS)]


def overview_of(written: pd.DataFrame) -> pd.DataFrame:
    """The use cases beside each other, for the page.

    Parameters
    ----------
    written
        As from :func:`table`.
    """
    names = ["use_case", "goal", "owner", "team", "incremental_margin", "low", "high", "a_year", "from_new", "n", "days"]
    return written[names]


def what_it_takes(written: pd.DataFrame) -> pd.DataFrame:
    """What does each need, and what would it take to run it?

    Parameters
    ----------
    written
        As from :func:`table`.

    Returns
    -------
    pandas.DataFrame
        `needs` counts the columns of each table; which they are stands in the public table.
    """
    told = written[["use_case", "baseline", "policy", "needs", "effort", "weeks"]]
    return told.assign(needs=[", ".join(map(_counted, needs.split("; "))) for needs in told["needs"]])


def _counted(need: str) -> str:
    table, _, columns = need.partition(": ")
    n = columns.count(",") + 1
    return f"{table} ({n} {'column' if n == 1 else 'columns'})"


def to_start_with(written: pd.DataFrame) -> pd.DataFrame:
    """Those to start with, in their order.

    Parameters
    ----------
    written
        As from :func:`table`.
    """
    return written.loc[written["start"], ["place", "use_case", "team", "a_year", "weeks", "effort"]]


def say_best(written: pd.DataFrame) -> str:
    """In one sentence: which use case brings most in a year, and of how many can it be said that they pay?

    Parameters
    ----------
    written
        As from :func:`table`.
    """
    if written.empty:
        return "No use case can be computed from this book"
    sure = int((written["low"] > 0).sum())
    first = written.sort_values(["a_year", "use_case"], ascending=[False, True]).iloc[0]
    verb = "is" if sure == 1 else "are"
    return f"{sure} of {len(written)} use cases {verb} sure to pay; the largest is to {first['use_case']}"


def say_waiting(policies: pd.DataFrame) -> str:
    """In one sentence: does value at risk beat the spend of the last year?

    Parameters
    ----------
    policies
        Of serving scarce stock.
    """
    known = policies.set_index("policy")
    extra = known["extra"]
    value, spend, most = extra[waiting.BY_VALUE], extra[waiting.BY_SPEND], extra[waiting.FORESIGHT]
    if value <= 0:
        return "Serving by value at risk would have brought no more than first come, first served"
    share = f" and {value / most:.0%} of what knowing the future would" if most > 0 else ""
    # the interval of what it would have brought beyond the usual order
    unsure = ", which may be chance" if known.loc[waiting.BY_VALUE, "low"] <= 0 else ""
    sure = known.loc[waiting.BY_VALUE, "low"] > spend
    beside = "more than" if sure else "about as much as" if value > spend else "no more than"
    return f"Value at risk would have brought {beside} last year's spend{share}{unsure}"


def say_sources(sources: pd.DataFrame) -> str:
    """In one sentence: which sources earn their keep by these use cases?

    Parameters
    ----------
    sources
        The public table `source_worth`.
    """
    priced = sources[sources["cost_per_year"].notna()]
    if priced.empty:
        return "The book does not say what its sources cost"
    earns = priced.loc[priced["net"] > 0, "source"].tolist()
    if not earns:
        return "No source earns its yearly cost by these use cases alone"
    named = f"{', '.join(earns[:-1])} and {earns[-1]}" if len(earns) > 1 else earns[0]
    return f"By these use cases alone {named} {'earns its' if len(earns) == 1 else 'earn their'} yearly cost"


def say_columns(columns: pd.DataFrame) -> str:
    """In one sentence: how many columns does no decision use?

    Parameters
    ----------
    columns
        The public table `column_use`.
    """
    idle = columns[columns["decisions"] == 0]
    personal = int(idle["personal"].notna().sum())
    return f"No decision here uses {len(idle)} of {len(columns)} delivered columns; {personal} of them are personal data"


def answer(done: Study, written: pd.DataFrame, money: Callable[[float], str]) -> str:
    """What would acting on the data have earned? In a few sentences of Markdown.

    Parameters
    ----------
    done
        As from :func:`clientbook.use_cases.study`.
    written
        As from :func:`table`.
    money
        Writes an amount for people.
    """
    if written.empty:
        return "**This book has too little for any use case.** The page says what each would need."
    start = to_start_with(written)
    if len(start):
        names = "; ".join(f"{row.use_case} ({money(row.a_year)} a year)" for row in start.itertuples())
        first = f"**Start with: {names}.**"
    else:
        first = "**Of no use case can it be said that it would have paid: every interval includes zero.**"
    lines = [first, f"{say_best(written)}."]
    new = float(written["from_new"].sum())
    every = float(written["incremental_margin"].sum())
    # a loss with either would make it a share of nothing
    if every > 0 and 0 <= new <= every:
        lines.append(f"Of the extra margin {new / every:.0%} comes from customers won within a year, the rest from those there.")
    lines += [f"{say_sources(done.sources)}. {say_columns(done.columns)}."]
    if len(done.missing):
        lines.append(f"{len(done.missing)} more could not be computed: {', '.join(done.missing['use_case'])}.")
    return " ".join(lines)


def key_numbers(written: pd.DataFrame) -> list[KeyNumber]:
    """Which numbers of this stage are watched from run to run?

    Parameters
    ----------
    written
        As from :func:`table`.
    """
    if written.empty:
        return []
    first = written.iloc[0]
    scale = 365 / first["days"]
    return [
        KeyNumber("Use cases that are sure to pay", int((written["low"] > 0).sum()), "use cases", "up", n=len(written)),
        KeyNumber("Extra margin a year of the first use case", float(first["a_year"]), "money", "up", n=int(first["n"]),
                  low=round(float(first["low"] * scale), 2), high=round(float(first["high"] * scale), 2),
                  note=f"{first['use_case']}; tested on time already past"),
    ]  # fmt: skip
