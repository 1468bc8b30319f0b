"""Letters that the typeface of figures does not have."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def number_unwritable(fig: Figure) -> dict[str, str]:
    """Which words can the figure not write, and which number stands there instead?

    Chinese, Japanese and Korean typefaces are too large to bring along, and one that only some machines have would make
    other pictures there. What a picture cannot say the page says below it, in the reader's own typeface.

    Parameters
    ----------
    fig
        Its words are changed.

    Returns
    -------
    dict
        Number, such as `[1]`, to the words in whose place it stands; empty where all can be written.
    """
    from matplotlib.text import Text

    numbers: dict[str, str] = {}

    def put(said: str) -> str:
        return _unwritable().sub(lambda found: numbers.setdefault(found[0], f"[{len(numbers) + 1}]"), said)

    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            names = [each.get_text() for each in axis.get_ticklabels()]
            # the words of ticks are written anew at each drawing
            if any(_unwritable().search(name) for name in names):
                axis.set_ticks(axis.get_majorticklocs(), [put(name) for name in names])
        if getattr(ax, "_report_below", None):
            ax._report_below = [put(name) for name in ax._report_below]
    for text in fig.findobj(Text):
        if text.get_text() != (changed := put(text.get_text())):
            text.set_text(changed)
    if head := getattr(fig, "_report_title", None):
        fig._report_title = tuple(put(said) for said in head)
    return {number: words for words, number in numbers.items()}


@lru_cache(maxsize=1)
def _unwritable() -> re.Pattern[str]:
    """Letters that the typeface lacks, with what stands between two of them."""
    from matplotlib.font_manager import findfont, get_font

    from clientbook.site.palette import STYLE

    known = sorted(get_font(findfont(STYLE["font.family"][0])).get_charmap())
    ranges, start = [], known[0]
    for this, following in zip(known, [*known[1:], 0x110000], strict=True):
        if following != this + 1:
            ranges.append((start, this))
            start = following
    written = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    # what is no letter at all, such as the end of a line, is left to the one who draws
    lacking = rf"[^{written}\s\x00-\x1f]"
    return re.compile(rf"{lacking}(?:[\s·]?{lacking})*")
