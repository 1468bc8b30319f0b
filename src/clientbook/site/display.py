"""What a notebook displays beside figures and tables: its answer, and its key numbers."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clientbook.site import numbers
from clientbook.site.words import inline

ROLE = "clientbook"
_SPECIAL = re.compile(r"[^\w\s,;:%£€°–—−…’‘“”]")


def escape(value: Any) -> str:
    """How is a value from the data written inside Markdown, so that it reads as it is and does nothing?

    Parameters
    ----------
    value
        Anything; a name such as ``*Ann* <script>`` comes out as those very characters.

    Returns
    -------
    str
        One line, every character that Markdown, HTML or formulas could take for theirs as an entity.
    """
    line = " ".join(numbers.text(value).split())
    line = _SPECIAL.sub(lambda m: f"&#{ord(m[0])};", line)
    return re.sub(r"_|^(?=\d)", lambda m: "&#95;" if m[0] else "", line)


@dataclass(frozen=True)
class Answer:
    """The answer of a page, as Markdown; the report sets it in a box below the title."""

    text: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        # A dollar sign is money here, never the beginning of a formula.
        source = self.text.replace("$", "&#36;")
        return {"text/markdown": source, "text/plain": self.text}, {ROLE: {"role": "answer"}}


def answer(text_markdown: str) -> Answer:
    """What does the page say, in two or three sentences, to somebody who reads nothing else?

    Parameters
    ----------
    text_markdown
        Markdown. Its first sentence also stands on the index. Put values from the data through
        :func:`escape`.

    Returns
    -------
    Answer
        Make it the last line of the cell after the parameters.
    """
    return Answer(text_markdown)


# Longer amounts, such as those in a currency without a sign, are written smaller: a card breaks no number in two.
LONG = 8


@dataclass(frozen=True)
class KeyNumbers:
    """A few numbers, each on a card."""

    cards: tuple[Mapping[str, Any], ...]

    def _repr_html_(self) -> str:
        return "".join(
            [
                '<dl class="cards">',
                *(
                    f'<div class="card"><dt>{html.escape(card["name"])}</dt>'
                    f'<dd class="{"value long" if len(card["value"]) > LONG else "value"}">'
                    f"{html.escape(card['value'])}{_unit(card['unit'])}</dd>"
                    + "".join(f'<dd class="note">{inline(note)}</dd>' for note in card["notes"])
                    + card["line"]
                    + "</div>"
                    for card in self.cards
                ),
                "</dl>",
            ]
        )

    def __repr__(self) -> str:
        return "\n".join(
            f"{card['name']}: {card['value']} {card['unit']}".rstrip()
            + (f" ({' · '.join(card['notes'])})" if card["notes"] else "")
            for card in self.cards
        )


def key_numbers(items: Iterable[Mapping[str, Any]]) -> KeyNumbers:
    """Which few numbers matter, and how sure are we of each?

    Parameters
    ----------
    items
        Mappings with ``name`` and ``value`` and, where known, ``unit`` (see ``charts.quantity``), ``note``,
        ``low`` and ``high`` (the interval), ``n`` (what it rests on) and ``past`` (pairs of day and value, oldest first,
        drawn as a small line).

    Returns
    -------
    KeyNumbers
        Displays as cards in a notebook and in the report.
    """
    return KeyNumbers(tuple(_card(item) for item in items))


def _unit(unit: str) -> str:
    return f' <span class="unit">{html.escape(unit)}</span>' if unit else ""


def _card(item: Mapping[str, Any]) -> dict[str, Any]:
    unit = str(item.get("unit") or "")
    notes = [str(item["note"])] if item.get("note") else []
    if item.get("low") is not None and item.get("high") is not None:
        low, high = numbers.quantity(item["low"], unit), numbers.quantity(item["high"], unit)
        notes.append(f"{low} to {high}")
    value = item.get("value")
    if item.get("n") is not None and item["n"] != value:
        notes.append(f"n{numbers.NO_BREAK}={numbers.NO_BREAK}{numbers.number(item['n'])}")
    if unit.lower() in str(item["name"]).lower():
        unit = ""
    shown = value if isinstance(value, str) else numbers.quantity(value, unit)
    # A unit in words stands smaller behind its number; a sign or a symbol is part of it.
    words = unit if shown.endswith(f"{numbers.NO_BREAK}{unit}") and len(unit) > 1 else ""
    shown = shown.removesuffix(f"{numbers.NO_BREAK}{unit}") if words else shown
    line = _line(item.get("past") or (), unit)
    return {"name": str(item["name"]), "value": shown, "unit": words, "notes": notes, "line": line}


def _line(past: Sequence[tuple[str, float]], unit: str) -> str:
    """A number's history as a line without axes: its ends are told in words."""
    if len(past) < 3:
        return ""
    values = [value for _, value in past]
    low, high = min(values), max(values)
    width, height, edge = 120.0, 28.0, 3.0
    across = (width - 2 * edge) / (len(values) - 1)
    up = (height - 2 * edge) / ((high - low) or 1)
    points = [(edge + i * across, height - edge - (value - low) * up) for i, value in enumerate(values)]
    words = (
        f"{len(past)} days with a run: {numbers.quantity(values[0], unit)} on {past[0][0]}, "
        f"{numbers.quantity(values[-1], unit)} on {past[-1][0]}, between {numbers.quantity(low, unit)} "
        f"and {numbers.quantity(high, unit)}"
    )
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<dd class="line"><svg role="img" aria-label="{html.escape(words)}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f'<polyline points="{drawn}"/><circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="2.5"/></svg></dd>'
    )
