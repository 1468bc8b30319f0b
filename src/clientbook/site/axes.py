"""Axes, ticks and marks as every figure has them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clientbook.site import numbers
from clientbook.site.palette import GREY, INK, MUTED, PALETTE, WORDS, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The share of a figure's width that lies between its axes, and of a letter's width in its size; a leaning name's line.
_INSIDE, _LETTER, _LEANING = 0.82, 0.6, 22


def colours(count: int) -> list[str]:
    """Which colour has each of so many lines?"""
    return [PALETTE[i] if i < len(PALETTE) - 1 else GREY for i in range(count)]


def ticks(write: Callable[[Any], str]):
    """How are the ticks of an axis written?"""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: write(round(value, 12)))


def label(ax: Axes, xlabel: str, ylabel: str, y: Callable[[Any], str], x: Callable[[Any], str] | None = None) -> None:
    """Write what an axis shows and its ticks; faint lines guide the eye."""
    ax.set_xlabel(xlabel, loc="left")
    if ylabel:
        # Read without turning the head.
        ax.annotate(ylabel, (0, 1), (0, 8), "axes fraction", "offset points", va="bottom", color=MUTED, fontsize=9)
    ax.yaxis.set_major_formatter(ticks(y))
    if x is not None:
        ax.xaxis.set_major_formatter(ticks(x))
    ax.yaxis.grid(True)
    ax.spines["left"].set_visible(False)


def dates(ax: Axes) -> None:
    """Write few and short dates, so that they fit a phone as well."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def mark(ax: Axes, marks: Mapping[str, Any]) -> None:
    """Draw thin upright lines with words on them."""
    for words, place in marks.items():
        line = ax.axvline(place, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        # On the side where there is room for the words, on a phone too.
        low, high = ax.get_xlim()
        right = (line.get_xdata(orig=False)[0] - low) / (high - low) > 0.4
        ax.annotate(
            words,
            (place, 1),
            (-5 if right else 5, -4),
            ("data", "axes fraction"),
            "offset points",
            va="top",
            ha="right" if right else "left",
            color=INK,
        )


def name_ends(fig: Figure, ax: Axes, ends: list[tuple]) -> None:
    """Write each line's name at its end, moved apart where ends meet."""
    fig.draw_without_rendering()
    heights = [ax.transData.transform((0, value))[1] for _, value, _, _ in ends]
    gap, last = 14 * fig.dpi / 100, float("-inf")
    with look():
        for i in sorted(range(len(ends)), key=heights.__getitem__):
            place, value, name, colour = ends[i]
            height = max(heights[i], last + gap)
            last = height
            offset = (8, (height - heights[i]) * 72 / fig.dpi)
            ax.annotate(
                name,
                (place, value),
                offset,
                textcoords="offset points",
                va="center",
                color=WORDS.get(colour, colour),
                fontweight="bold",
            )


def bin_edges(values: Any, bins: int | Sequence[float]) -> Any:
    """Whole numbers get bins of whole numbers: no bar is taller because it holds one value more."""
    import numpy as np

    if not isinstance(bins, int):
        return np.asarray(bins, dtype=float)
    if not len(values):
        return np.array([0.0, 1.0])
    span = values.max() - values.min()
    if np.all(values == np.round(values)):
        step = max(1, int(np.ceil((span + 1) / bins)))
        return np.arange(values.min(), values.max() + step + 1, step) - 0.5
    return np.histogram_bin_edges(values, bins=bins)


def sparse_ticks(put: Callable, names: Sequence[Any], most: int) -> None:
    """Write as many names as there is room for."""
    step = max(1, -(-len(names) // most))
    chosen = range(0, len(names), step)
    put([i + 0.5 for i in chosen], [numbers.text(names[i]) for i in chosen])


def name_below(fig: Figure, ax: Axes) -> None:
    """Let the names below the axes be broken into lines as the figure's width asks, now and when it is drawn for a phone."""
    ax._report_below = [each.get_text() for each in ax.get_xticklabels()]
    fit_below(fig)


def fit_below(fig: Figure) -> None:
    """Break names below the axes into lines; where not even a word has room they lean."""
    for ax in fig.axes:
        names = getattr(ax, "_report_below", None)
        if not names:
            continue
        room = int(fig.get_size_inches()[0] * 72 * _INSIDE / len(names) / (9 * _LETTER))
        leans = max((len(word) for name in names for word in name.split()), default=0) > room
        broken = [textwrap.fill(name, _LEANING if leans else room, break_long_words=False) for name in names]
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if leans else {"rotation": 0, "ha": "center"}
        ax.set_xticks(ax.get_xticks(), broken, **turned)
