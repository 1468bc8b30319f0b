"""The sheet every figure is drawn on, its title, and how it reaches the reader."""

from __future__ import annotations

import base64
import html
import io
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from clientbook.site import axes, glyphs, words
from clientbook.site.palette import DENSITY, INK, MUTED, SCALE, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

WIDTH, HEIGHT = 860, 400
# A phone's, and how much taller a figure becomes on it.
NARROW, _TALLER = 350, 0.95
# Fills take a dozen; the rest are the edges of letters and lines, of which more make pages heavier and nothing clearer.
COLOURS = 64
_HEAD = "report-title"
# The average advance of the typeface's letters as a share of its size.
_BOLD, _REGULAR = 0.66, 0.57
_FINDING_STYLE = {"fontsize": 11, "fontweight": "bold", "color": INK, "linespacing": 1.2}
_DETAIL_STYLE = {"fontsize": 9, "color": MUTED, "linespacing": 1.3}


def figure(width: int = WIDTH, height: int = HEIGHT, columns: int = 1, rows: int = 1) -> tuple[Figure, Axes]:
    """On what is a figure drawn?

    Parameters
    ----------
    width, height
        In pixels of the page.
    columns, rows
        More than one gives an array of axes.

    Returns
    -------
    fig, ax
        Known to no global state: nothing is displayed until :func:`show` is called, and nothing leaks.
    """
    from matplotlib.figure import Figure

    with look():
        fig = Figure(figsize=(width / DENSITY, height / DENSITY), dpi=DENSITY, layout="constrained")
        ax = fig.subplots(rows, columns)
        fig.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    return fig, ax


def title(ax: Axes, finding: str, detail: str = "") -> None:
    """What does the figure say, and what is plotted?

    Parameters
    ----------
    ax
        The axes. Alone on its figure, the title spans the figure, else the axes.
    finding
        The finding as a sentence: "A tenth of the customers bring half of the value".
    detail
        What is plotted, its unit and n.
    """
    finding, detail = words.plain(finding), words.plain(detail)
    fig = ax.figure
    if sum(each.get_label() != "<colorbar>" for each in fig.axes) == 1:
        _head(fig, finding, detail)
        fig._report_title = (finding, detail)
        return
    width = ax.get_window_extent().width * 72 / fig.dpi
    with look():
        ax.set_title(_wrap(finding, width, 11, _BOLD), loc="left", pad=12 + bool(detail) * 16, **_FINDING_STYLE)
        ax.annotate(detail, (0, 1), (0, 10), "axes fraction", "offset points", va="bottom", **_DETAIL_STYLE)


def _head(fig: Figure, finding: str, detail: str) -> None:
    """Write the title over the whole figure and leave room for it; a former one goes."""
    for old in [each for each in fig.texts if each.get_gid() == _HEAD]:
        old.remove()
    width, height = (inches * 72 for inches in fig.get_size_inches())
    top = 3.0
    with look():
        for said, size, share, leading, style in (
            (finding, 13.0, _BOLD, 1.32, _FINDING_STYLE),
            (detail, 9.5, _REGULAR, 1.42, _DETAIL_STYLE),
        ):
            if not said:
                continue
            block = _wrap(said, width, size, share)
            fig.text(0.004, 1 - top / height, block, va="top", gid=_HEAD, **{**style, "fontsize": size})
            top += (block.count("\n") + 1) * size * leading + 3
        # however long the words are, something is left below them for the axes
        fig.get_layout_engine().set(rect=(0, 0, 1, max(1 - (top + 7) / height, 0.05)))


def _wrap(said: str, width: float, size: float, share: float) -> str:
    return "\n".join(textwrap.wrap(said, max(20, int(width / (size * share)))))


def png(fig: Figure, width: int | None = None) -> bytes:
    """What is the picture, byte by byte the same for the same figure?

    Parameters
    ----------
    fig
        The figure.
    width
        Drawn again for a page of so many pixels, not shrunk: its words stay readable.

    Returns
    -------
    bytes
        A PNG of few colours at twice the page's density, without a word on when and by what it was made.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    small = io.BytesIO()
    size, head = fig.get_size_inches(), getattr(fig, "_report_title", None)
    with look():
        try:
            if width:
                fig.set_size_inches(width / DENSITY, max(size[1] * _TALLER, 3.2 if size[1] > 1 else 1.8))
                _head(fig, *head)
                axes.fit_below(fig)
            fig.dpi = DENSITY * SCALE
            canvas = FigureCanvasAgg(fig)
            canvas.draw()
            drawn = np.array(canvas.buffer_rgba())
        finally:
            fig.dpi = DENSITY
            if width:
                fig.set_size_inches(size)
                _head(fig, *head)
                axes.fit_below(fig)
    # the highest level takes thrice as long as the one below it, for a fiftieth of the size
    _with_few_colours(drawn).save(small, format="png", compress_level=8)
    return small.getvalue()


def _with_few_colours(drawn: np.ndarray) -> Image:
    """The picture in its commonest colours, which stay as they are: what is between two at an edge takes the nearest."""
    import pandas as pd
    from PIL import Image

    high, wide, _ = drawn.shape
    dots = drawn.reshape(-1, 4).view("<u4").ravel() & 0xFFFFFF
    place, colours = pd.factorize(dots)
    common = np.lexsort((colours, -np.bincount(place)))[:COLOURS]
    parts = np.stack([colours & 255, colours >> 8 & 255, colours >> 16], axis=1).astype(np.int32)
    off = parts[:, None] - parts[common]
    nearest = np.square(off).sum(axis=2).argmin(axis=1).astype(np.uint8)
    few = Image.frombytes("P", (wide, high), nearest[place].tobytes())
    few.putpalette(parts[common].astype(np.uint8).tobytes())
    return few


def show(fig: Figure, alt: str) -> None:
    """How does a figure reach the reader, also one who cannot see it?

    Parameters
    ----------
    fig
        The figure; it is closed afterwards.
    alt
        What the figure shows, in a sentence or two with its main numbers.

    Raises
    ------
    ValueError
        If the alternative text is empty.
    """
    if not alt.strip():
        raise ValueError("a figure needs an alternative text: say what it shows, with its main numbers")
    from IPython.display import display

    alt = words.plain(alt)
    numbered = glyphs.number_unwritable(fig)
    data = png(fig)
    width, height = (round(inches * DENSITY) for inches in fig.get_size_inches())
    metadata = {"alt": " ".join(alt.split()), "width": width, "height": height}
    if getattr(fig, "_report_title", None) and width > NARROW:
        metadata["narrow"] = base64.b64encode(png(fig, NARROW)).decode("ascii")
    display({"image/png": data, "text/plain": alt}, metadata={"image/png": metadata}, raw=True)
    if numbered:
        told = f"In the figure {', '.join(f'{number} is {said}' for number, said in numbered.items())}."
        display({"text/html": f'<p class="table-note">{html.escape(told)}</p>', "text/plain": told}, raw=True)
    if "matplotlib.pyplot" in sys.modules:
        # Else a notebook shows a figure made with pyplot a second time.
        sys.modules["matplotlib.pyplot"].close(fig)
