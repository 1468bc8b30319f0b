"""The few kinds of figure that the pages need, each from plain arrays to a finished figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clientbook.site import axes, numbers
from clientbook.site.figures import figure, title
from clientbook.site.palette import BLUE, INK, MUTED, ORANGE, QUIET, SHADES, look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

LONGEST_NAME = 28


def bars(
    labels: Sequence[Any],
    values: ArrayLike,
    *,
    finding: str,
    detail: str = "",
    format: numbers.Format = "number",
    currency: str | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    highlight: Sequence[Any] = (),
    limit: int = 20,
) -> Figure:
    """How large is each of these? Horizontal bars, each with its number.

    Parameters
    ----------
    labels, values
        In the order to show, from the top.
    finding, detail
        See :func:`clientbook.charts.title`.
    format, currency
        How values are written.
    low, high
        Ends of an interval for each value.
    highlight
        Labels that the finding is about; the others turn quiet.
    limit
        Bars to draw; a last line says how many are left out.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    names = [numbers.text(label) for label in labels]
    left_out = max(0, len(names) - limit)
    names, values = names[:limit], values[:limit]
    write = numbers.formatter(format, currency)
    chosen = {numbers.text(label) for label in highlight}
    colours = [BLUE if not chosen or name in chosen else QUIET for name in names]
    if left_out:
        detail = f"{detail} · {numbers.number(left_out)} more left out".removeprefix(" · ")
    # on a phone a long name would leave no room for its bar
    names = [textwrap.fill(name, LONGEST_NAME) for name in names]
    rows = [1.0 + 0.5 * name.count("\n") for name in names]
    fig, ax = figure(height=int(96 + 30 * max(2.0, sum(rows))))
    with look():
        places = np.cumsum(rows) - np.asarray(rows) / 2 - 0.5
        ax.barh(places, np.nan_to_num(values), height=0.66, color=colours)
        ends, starts = values.copy(), values.copy()
        if low is not None and high is not None:
            starts = np.minimum(values, np.asarray(low, dtype=float)[:limit])
            ends = np.maximum(values, np.asarray(high, dtype=float)[:limit])
            ax.hlines(places, starts, ends, color=INK, linewidth=1.1)
        told = []
        for place, value, start, end in zip(places, values, starts, ends, strict=True):
            below = value < 0
            written = ax.annotate(
                write(value),
                (np.nan_to_num(start if below else end), place),
                (-6 if below else 6, 0),
                textcoords="offset points",
                va="center",
                ha="right" if below else "left",
                color=INK,
            )
            if below:
                told.append((start, written))
        ax.set_yticks(places, names, color=INK)
        ax.set_ylim(sum(rows) - 0.4, -0.6)
        ax.set_xticks([])
        ax.spines[["bottom", "left"]].set_visible(False)
        ax.axvline(0, color=MUTED, linewidth=0.8)
        ax.margins(x=0.12)
        if not (starts < 0).any():
            ax.set_xlim(left=0)
    title(ax, finding, detail)
    _make_room(fig, ax, told)
    return fig


def _make_room(fig: Figure, ax, told: Sequence[tuple[float, Any]]) -> None:
    """Numbers to the left of their bars must not stand in the bars' names: the axis begins where the longest begins."""
    if not told:
        return
    fig.canvas.draw()
    width, (left, right) = ax.get_window_extent().width, ax.get_xlim()
    for start, written in told:
        share = min(1.3 * written.get_window_extent().width / width, 0.5)
        left = min(left, (start - share * right) / (1 - share))
    ax.set_xlim(left=left)


def lines(
    frame: pd.DataFrame | Mapping[str, ArrayLike],
    *,
    finding: str,
    detail: str = "",
    x: ArrayLike | None = None,
    xlabel: str = "",
    ylabel: str = "",
    format: numbers.Format = "number",
    currency: str | None = None,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    marks: Mapping[str, Any] | None = None,
    zero: bool = True,
) -> Figure:
    """How does it move? One line for each column, its name at its end.

    Parameters
    ----------
    frame
        A column for each line over the frame's index; or a mapping, with ``x``.
    x, xlabel, ylabel
        The axis and what stands on it, with units.
    bands
        Name of a line to the low and high ends of its interval.
    marks
        Words to a place on the x axis, drawn as a thin upright line.
    zero
        Whether the axis begins at zero.
    finding, detail
        See :func:`clientbook.charts.title`.
    format, currency
        How values are written.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        # a series would be laid out by its own index, not by x
        frame = pd.DataFrame({name: np.asarray(values) for name, values in frame.items()}, index=x)
    if isinstance(frame.index, pd.PeriodIndex):
        frame = frame.set_axis(frame.index.to_timestamp())
    where = np.asarray(frame.index if x is None else x)
    write = numbers.on_axis(format, currency)
    fig, ax = figure()
    with look():
        ends = []
        for name, colour in zip(frame.columns, axes.colours(len(frame.columns)), strict=True):
            values = frame[name].to_numpy(dtype=float)
            ax.plot(where, values, color=colour)
            if bands and name in bands:
                low, high = (np.asarray(end, dtype=float) for end in bands[name])
                ax.fill_between(where, low, high, color=colour, alpha=0.14, linewidth=0)
            known = np.flatnonzero(np.isfinite(values))
            if len(known):
                ends.append((where[known[-1]], values[known[-1]], str(name), colour))
        if zero:
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        axes.label(ax, xlabel, ylabel, write)
        axes.mark(ax, marks or {})
        if isinstance(frame.index, pd.DatetimeIndex):
            axes.dates(ax)
    title(ax, finding, detail)
    if len(frame.columns) > 1:
        axes.name_ends(fig, ax, ends)
    return fig


def histogram(
    values: ArrayLike,
    *,
    finding: str,
    detail: str = "",
    xlabel: str = "",
    ylabel: str = "customers",
    bins: int | Sequence[float] = 40,
    format: numbers.Format = "number",
    currency: str | None = None,
    upto: float = 0.99,
    median: bool = True,
) -> Figure:
    """How are these spread?

    Parameters
    ----------
    values
        One for each case; missing ones are left out.
    upto
        The share of the values that the axis covers: a few giants would press all others together. What
        lies beyond is said in the detail.
    median
        Whether to mark the middle.
    xlabel, ylabel
        What stands on the axes, with units.
    bins
        How many, or their edges.
    finding, detail
        See :func:`clientbook.charts.title`.
    format, currency
        How values are written.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    write = numbers.formatter(format, currency)
    edge = np.quantile(values, upto, method="higher") if len(values) and upto < 1 else np.inf
    shown = values[values <= edge]
    if len(shown) < len(values):
        beyond = f"{numbers.number(len(values) - len(shown))} above {write(edge)} not shown"
        detail = f"{detail} · {beyond}".removeprefix(" · ")
    fig, ax = figure()
    with look():
        edges = axes.bin_edges(shown, bins)
        counts, edges = np.histogram(shown, bins=edges)
        ax.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.6)
        axes.label(ax, xlabel, ylabel, numbers.number, numbers.on_axis(format, currency))
        if median and len(values):
            axes.mark(ax, {f"median {write(np.median(values))}": float(np.median(values))})
    title(ax, finding, detail)
    return fig


def scatter(
    x: ArrayLike,
    y: ArrayLike,
    *,
    finding: str,
    detail: str = "",
    xlabel: str = "",
    ylabel: str = "",
    labels: Sequence[Any] | None = None,
    sizes: ArrayLike | None = None,
    formats: tuple[numbers.Format, numbers.Format] = ("number", "number"),
    currency: str | None = None,
) -> Figure:
    """How do two numbers of each case go together?

    Parameters
    ----------
    x, y
        One of each for each case.
    labels
        Words beside the points; for a dozen points at the most.
    sizes
        What a point's area stands for.
    formats
        How x and y are written.
    xlabel, ylabel
        What stands on the axes, with units.
    finding, detail
        See :func:`clientbook.charts.title`.
    currency
        ISO 4217 code for money.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    area = 26.0 if sizes is None else 12 + 388 * np.asarray(sizes, dtype=float) / max(np.nanmax(sizes), 1e-12)
    fig, ax = figure(height=460)
    with look():
        # Where points lie on each other, the dark shows how many.
        ax.scatter(x, y, s=area, color=BLUE, alpha=0.9 if len(x) < 50 else 0.25, linewidths=0)
        for label, across, up in zip(labels if labels is not None else (), x, y, strict=False):
            ax.annotate(numbers.text(label), (across, up), (7, 4), textcoords="offset points", color=INK)
        ax.margins(0.08)
        ax.xaxis.grid(True)
        axes.label(ax, xlabel, ylabel, *(numbers.on_axis(kind, currency) for kind in reversed(formats)))
    title(ax, finding, detail)
    return fig


def calibration(
    predicted: ArrayLike,
    actual: ArrayLike,
    *,
    finding: str,
    detail: str = "",
    groups: Sequence[Any] | None = None,
    grouping: str = "tenths of the customers, by prediction",
    what: str = "purchases per customer",
    naive: ArrayLike | None = None,
    model: str = "model",
    naive_name: str = "naive rule",
    format: numbers.Format = "number",
    currency: str | None = None,
) -> Figure:
    """Did it come as foretold? What was predicted for each group, beside what happened.

    Parameters
    ----------
    predicted, actual
        The mean of each group.
    groups, grouping
        The groups' names and what they are.
    what
        What is counted, with its unit.
    naive
        The naive rule's prediction for the same groups.
    model, naive_name
        What the lines are called.
    finding, detail
        See :func:`clientbook.charts.title`.
    format, currency
        How values are written.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np

    actual, predicted = np.asarray(actual, dtype=float), np.asarray(predicted, dtype=float)
    names = [numbers.text(group) for group in groups] if groups is not None else list(range(1, len(actual) + 1))
    places = np.arange(len(actual))
    series = [("actual", actual, INK, "o"), (model, predicted, BLUE, "o")]
    if naive is not None:
        series.append((naive_name, np.asarray(naive, dtype=float), ORANGE, "D"))
    fig, ax = figure()
    with look():
        # Bars for what happened, marks for what was said: the eye compares heights, not slopes.
        ax.bar(places, actual, width=0.7, color="#E3E8ED")
        for _, values, colour, mark in series[1:]:
            ax.plot(places, values, mark, color=colour, markersize=7, linestyle="none")
        ax.set_xticks(places, names)
        ax.set_ylim(bottom=0)
        axes.label(ax, grouping, what, numbers.on_axis(format, currency))
        handles = [("what happened", "s", "#CBD3DB"), (model, "o", BLUE), (naive_name, "D", ORANGE)]
        for name, mark, colour in handles[: len(series)]:
            ax.plot([], [], mark, color=colour, label=name, markersize=7)
        ax.legend(loc="best", ncols=1, handletextpad=0.3, labelcolor=INK)
    title(ax, finding, detail)
    return fig


def heatmap(
    frame: pd.DataFrame,
    *,
    finding: str,
    detail: str = "",
    xlabel: str = "",
    ylabel: str = "",
    format: numbers.Format = "number",
    currency: str | None = None,
    write_values: bool | None = None,
) -> Figure:
    """Where in a table of numbers is it high, where low?

    Parameters
    ----------
    frame
        Rows go down, columns across; missing values stay white.
    write_values
        Whether each field carries its number; by default where there is room.
    xlabel, ylabel
        What stands on the axes, with units.
    finding, detail
        See :func:`clientbook.charts.title`.
    format, currency
        How values are written.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    values = frame.to_numpy(dtype=float)
    write = numbers.formatter(format, currency)
    rows, columns = values.shape
    if not values.size:
        # the finding says why there is nothing to see
        fig, ax = figure(height=90)
        ax.set_axis_off()
        title(ax, finding, detail)
        return fig
    write_values = rows * columns <= 144 and columns <= 12 if write_values is None else write_values
    fig, ax = figure(height=int(min(560, 130 + (30 if write_values else 14) * max(rows, 6))))
    with look():
        shades = LinearSegmentedColormap.from_list("blues", ["#F2F6FA", "#8FBADB", BLUE, "#0B3B61"], N=SHADES)
        picture = ax.pcolormesh(values, cmap=shades, edgecolors="white", linewidth=1 if write_values else 0)
        ax.invert_yaxis()
        axes.sparse_ticks(ax.set_xticks, frame.columns, 12)
        axes.sparse_ticks(ax.set_yticks, frame.index, 30 if write_values else 14)
        axes.name_below(fig, ax)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.spines[:].set_visible(False)
        if write_values:
            middle = np.nanmin(values) + 0.5 * np.ptp(values[np.isfinite(values)]) if np.isfinite(values).any() else 0
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    colour = "white" if value > middle else INK
                    ax.text(column + 0.5, row + 0.5, write(value), ha="center", va="center", color=colour, fontsize=8.5)
        else:
            bar = fig.colorbar(picture, ax=ax, pad=0.02, aspect=30)
            bar.outline.set_visible(False)
            bar.ax.yaxis.set_major_formatter(axes.ticks(numbers.on_axis(format, currency)))
    title(ax, finding, detail)
    return fig
