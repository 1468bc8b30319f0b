"""What does every column of every table mean?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from clientbook.stage import Stage
from clientbook.tables import CANONICAL, Column, Table, clean_columns


@dataclass(frozen=True)
class Group:
    """Tables that belong together on the page.

    Parameters
    ----------
    title, lead
        What stands above them.
    tables
        Name of a table to what its row is and its columns: `column`, `type`, `unit`, `meaning`.
    figures
        Pictures as PNG, each with its alternative text.
    """

    title: str
    lead: str
    tables: dict[str, tuple[str, pd.DataFrame]]
    figures: tuple[tuple[bytes, str], ...] = ()


def groups(stages: Iterable[Stage], made: Path | None = None) -> list[Group]:
    """The data dictionary, as it stands on its page.

    Parameters
    ----------
    stages
        Whose tables are described.
    made
        The folder of a made company, whose truth is then described too.
    """
    described = {table.name: table for stage in stages for table in stage.tables}
    told = [
        Group(
            "What the sources deliver, cleaned",
            "A table is there where a source delivers it. Each begins with the source; beside an id that may belong to "
            "another source stands whose it is. Columns that a book maps and no table knows are kept as x_name.",
            {table.name: (table.meaning, _frame(clean_columns(table))) for table in CANONICAL.values()},
        ),
        Group(
            "What the notebooks write",
            "Times are UTC. Ids of customers and accounts are the book's own and last from run to run.",
            {name: (table.meaning, _frame(table.columns)) for name, table in sorted(described.items())},
        ),
    ]
    return [*told, _likeness(made), _truth()] if made is not None else told


def _frame(columns: Sequence[Column]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "column": [column.name for column in columns],
            "type": [column.kind for column in columns],
            "unit": [column.unit or ("the book's currency" if column.kind == "money" else "") for column in columns],
            "personal data": [column.personal.replace("_", " ") for column in columns],
            "meaning": [_meaning(column) for column in columns],
        }
    )


def _meaning(column: Column) -> str:
    allowed = f"; one of {', '.join(column.allowed)}" if column.allowed else ""
    return f"{column.meaning}{allowed}{'; required' if column.required else ''}"


def _truth() -> Group:
    from clientbook import demo

    rows = pd.DataFrame(demo.dictionary(), columns=["table", "column", "type", "unit", "meaning"])
    return Group(
        "The truth of the made company",
        "What a real company cannot know. No notebook reads it but to score itself.",
        {name: ("", part.drop(columns="table")) for name, part in rows.groupby("table", sort=False)},
    )


def _likeness(made: Path) -> Group:
    from clientbook import charts
    from clientbook.demo import likeness

    found = likeness.likeness(made)
    here = likeness.returned(made)
    quantiles = list(found.columns[2:])
    fig, axes = charts.figure(width=860, height=330, columns=3)
    with charts.look():
        for ax, (measure, part) in zip(axes, found.groupby("measure", sort=False), strict=True):
            for colour, row in zip(charts.PALETTE, part.itertuples(index=False), strict=False):
                ax.plot(quantiles, row[2:], color=colour, marker="o", markersize=3, label=row.company)
            ax.set_yscale("log")
            # powers of ten as words of TeX would be shown as they are
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.yaxis.set_minor_formatter("")
            ax.set_title(measure, loc="left", fontsize=10)
        axes[0].legend(frameon=False, fontsize=8)
    alt = "Three sets of curves, of the made company, CDNOW and Online Retail II, by quantile; the table has the numbers."
    return Group(
        "How close the made company is to real ones",
        f"Orders are what one customer bought on one day. Of what its shop sells, {here:.1%} comes back; at Online Retail II "
        f"{likeness.ONLINE_RETAIL_RETURNED:.1%} does.",
        {"Quantiles, by customer, by pair of orders, by order": ("", found)},
        ((charts.png(fig), alt),),
    )


def described(table: str, stages: Iterable[Stage]) -> Table | None:
    """The description of a table that a stage writes; None where no stage describes it.

    Parameters
    ----------
    table
        Its name.
    stages
        To look in.
    """
    return next((one for stage in stages for one in stage.tables if one.name == table), None)
