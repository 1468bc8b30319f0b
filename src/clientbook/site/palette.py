"""One palette and one typeface for every figure, in force only while a figure is drawn."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import MappingProxyType

# Derived from Okabe and Ito's colours, which people with any kind of colour vision tell apart; the
# light ones are darkened a little so that they hold on white paper.
BLUE, ORANGE, GREEN, RED = "#1B6CA8", "#D98A00", "#00876C", "#C8501E"
PURPLE, SKY, GREY = "#A8598C", "#4FA3D1", "#8A949E"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)

INK, MUTED, RULE, QUIET = "#1C2733", "#55616D", "#D7DEE5", "#B9C7D3"

# For words in a line's colour: the light ones are too faint to be read.
WORDS = MappingProxyType({ORANGE: "#945E00", SKY: "#1F6F9E", GREY: "#55616D"})

# CSS pixels to an inch, and how many device pixels each becomes: sharp on today's screens and on paper.
DENSITY, SCALE = 100, 2
# From pale to dark: fewer than the colours that a figure keeps, so that each stays exact, and even steps in its legend.
SHADES = 48

STYLE = MappingProxyType(
    {
        # matplotlib brings this typeface along: a figure is the same, bit by bit, on every machine.
        "font.family": ["DejaVu Sans"],
        "font.size": 9.5,
        # A dollar sign is money, never mathematics.
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 9,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": "#E9EDF1",
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.major.pad": 6,
        "ytick.major.pad": 6,
        "lines.linewidth": 2.2,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "savefig.facecolor": "white",
    }
)


def look() -> AbstractContextManager:
    """In which context is a figure drawn so that it has our look?

    Global options are as they were afterwards. Use it around own drawing code in a notebook:
    ``with charts.look(): ax.annotate(…)``.
    """
    import matplotlib
    from cycler import cycler

    return matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=PALETTE)})
