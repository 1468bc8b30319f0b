"""Does each source earn its keep, and what do customers that are new bring beside those that are there?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.book import Source
from clientbook.exact import total
from clientbook.use_cases import catalogue
from clientbook.use_cases.found import Found

WORTH_COLUMNS = ("source", "owner", "cost_per_year", "with_it", "without_it", "lost", "net", "most_lost_in")
# The one view is a part of serving by value: counted with it, it would be counted twice.
_COUNTED = (catalogue.STOCK, catalogue.RETARGET, catalogue.WRONG, catalogue.LATE, catalogue.REACH)


def leave_one_out(
    whole: Mapping[str, Found],
    again: Callable[[str], Mapping[str, float]],
    sources: Mapping[str, Source],
) -> pd.DataFrame:
    """What would be lost if a source were not there, beside what it costs a year?

    Parameters
    ----------
    whole
        The use cases with all sources, by name.
    again
        The yearly gain of each use case as if a source were not there.
    sources
        The book's.

    Returns
    -------
    pandas.DataFrame
        The public table `source_worth`, the largest loss first.
    """
    with_it = {name: one.a_year for name, one in whole.items() if name in _COUNTED}
    rows = []
    for name, source in sources.items():
        left = again(name)
        lost = {case: gain - left.get(case, 0.0) for case, gain in with_it.items()}
        most = max(lost, key=lambda case: lost[case]) if lost else None
        cost, sum_lost = source.cost_per_year, sum(lost.values())
        rows.append(
            {
                "source": name, "owner": source.owner or None, "cost_per_year": cost,
                "with_it": round(sum(with_it.values()), 6), "without_it": round(sum(with_it.values()) - sum_lost, 6),
                "lost": round(sum_lost, 6), "net": None if cost is None else round(sum_lost - cost, 6),
                "most_lost_in": most if most and lost[most] > 0 else None,
            }
        )  # fmt: skip
    told = pd.DataFrame(rows, columns=list(WORTH_COLUMNS))
    told = told.astype({name: "float64" for name in ("cost_per_year", "net")})
    return told.sort_values(["lost", "source"], ascending=[False, True], ignore_index=True)


def new_and_known(lines: ir.Table, as_of: dt.date, years: int = 3) -> pd.DataFrame:
    """How many customers were won in each year, and what did they bring beside those who were there?

    Parameters
    ----------
    lines
        As from :func:`clientbook.use_cases.history.order_lines`.
    as_of
        The day of the run; years are counted back from it.
    years
        How many.

    Returns
    -------
    pandas.DataFrame
        `year_to`, `won` (customers whose first purchase fell in it), `buyers`, `margin_new`, `margin_known`, `each_new`,
        `each_known` (margin of a buyer); the latest last.
    """
    bought = lines["returned_on"].isnull()
    first = lines.group_by("customer_id").agg(first=lines["day"].min(where=bought))
    rows = lines.inner_join(first.filter(first["first"].notnull()), "customer_id")
    # a year of 366 days is one too: the day of the run in each year, not so many days before it
    ends = [(pd.Timestamp(as_of) - pd.DateOffset(years=back)).date() for back in range(years + 1)]
    ago = lambda day: ibis.cases(*[(day >= end, n - 1) for n, end in enumerate(ends)], else_=years)  # noqa: E731
    rows = rows.mutate(ago=ago(rows["day"]), is_new=ago(rows["first"]) == ago(rows["day"]))
    rows = rows.filter((rows["ago"] >= 0) & (rows["ago"] < years))
    each = rows.group_by("ago", "is_new").agg(buyers=rows["customer_id"].nunique(), margin=total(rows["margin"]))
    frame = each.to_pandas().pivot_table(index="ago", columns="is_new", values=["buyers", "margin"], fill_value=0)
    frame = frame.reindex(columns=pd.MultiIndex.from_product([["buyers", "margin"], [True, False]]), fill_value=0)
    told = pd.DataFrame(
        {
            "year_to": [ends[int(ago)] for ago in frame.index],
            "won": frame[("buyers", True)].to_numpy(int),
            "buyers": (frame[("buyers", True)] + frame[("buyers", False)]).to_numpy(int),
            "margin_new": frame[("margin", True)].to_numpy(float),
            "margin_known": frame[("margin", False)].to_numpy(float),
        }
    )
    told["each_new"] = told["margin_new"] / told["won"].where(told["won"] > 0)
    told["each_known"] = told["margin_known"] / (told["buyers"] - told["won"]).where(told["buyers"] > told["won"])
    return told.sort_values("year_to", ignore_index=True)
