"""One look for every figure, table and number of the report.

Nothing here changes a global option, and matplotlib is loaded only when a figure is drawn.
"""

from clientbook.site.display import answer, escape, key_numbers
from clientbook.site.figures import figure, png, show, title
from clientbook.site.numbers import SMALL_N, date, formatter, money, number, percent, quantity
from clientbook.site.palette import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    PURPLE,
    QUIET,
    RED,
    SKY,
    look,
)
from clientbook.site.plots import bars, calibration, heatmap, histogram, lines, scatter
from clientbook.site.tables import table

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "MUTED",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "QUIET",
    "RED",
    "SKY",
    "SMALL_N",
    "answer",
    "bars",
    "calibration",
    "date",
    "escape",
    "figure",
    "formatter",
    "heatmap",
    "histogram",
    "key_numbers",
    "lines",
    "look",
    "money",
    "number",
    "percent",
    "png",
    "quantity",
    "scatter",
    "show",
    "table",
    "title",
]
