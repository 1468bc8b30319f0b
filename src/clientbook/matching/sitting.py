"""Somebody answers: one pair of records after the other, in JupyterLab, by keyboard.

What is shown of people goes to the browser as messages that nobody keeps. It is never part of a widget's state or of an output,
so that it is in no notebook that is saved.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from clientbook.book import LABELS
from clientbook.faults import FaultError
from clientbook.matching.labels import ANSWERS, OPTIONAL, REQUIRED, read, write
from clientbook.matching.standard import last_said
from clientbook.stage import RUN_VARIABLE

if TYPE_CHECKING:
    from clientbook.matching import Matched
    from clientbook.stage import Step

# What is shown of a record, in this order, with its word.
SHOWN = {
    "full_name": "name", "given_name": "first name", "family_name": "surname", "birth_date": "birth date", "email": "e-mail",
    "phone": "phone", "street": "street", "postcode": "postcode", "city": "city", "country": "country", "company": "company",
    "job_title": "job title", "external_id": "shared number", "created_at": "made", "updated_at": "changed",
}  # fmt: skip
# After so many answers what they teach is worked out anew, and with it what is asked next.
AFRESH = 10
_KEYS = [*REQUIRED[:4]]


class Sitting:
    """A session of answering: what is asked, what was answered, and what it has changed so far.

    Parameters
    ----------
    folder
        The book's; each answer is in its `labels.csv` before the next pair is shown.
    questions
        As the table `review_pairs`, in order.
    values
        Told (source, person_id) pairs: what is known of each.
    again
        As in :class:`clientbook.matching.Matched`; None asks in the order given.
    now
        The clock.
    """

    def __init__(
        self, folder: Path, questions: pd.DataFrame, values: Callable[[Sequence[tuple[str, str]]], Mapping], again=None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ):  # fmt: skip
        self.folder, self._values, self._again, self._now = folder, values, again, now
        self._ahead = questions.to_dict("records")
        self._answered: list[tuple[dict, dict]] = []
        self._changed: tuple[int, int] | None = None

    @property
    def pair(self) -> dict[str, Any] | None:
        """The question that is open, a row of `review_pairs`; None where all were asked."""
        return self._ahead[0] if self._ahead else None

    def answer(self, answer: str) -> None:
        """Keep an answer about the open pair, and go on to the next; where it cannot be kept, the pair stays open.

        Parameters
        ----------
        answer
            `yes`, `no` or `unknown`.

        Raises
        ------
        FaultError, OSError
            If `labels.csv` is faulty, or cannot be written.
        """
        asked = self.pair
        if asked is None:
            return
        row = {name: asked[name] for name in _KEYS} | {
            "answer": answer, "labelled_at": self._now().isoformat(timespec="seconds"), "note": "",
            "stratum": asked["stratum"] or "",
        }  # fmt: skip
        labels = read(self.folder)
        write(self.folder, pd.concat([labels, pd.DataFrame([row])], ignore_index=True))
        # only what is in the file is answered
        self._ahead.pop(0)
        self._answered.append((asked, row))
        if len(self._answered) % AFRESH == 0:
            self._afresh()

    @property
    def turn(self) -> int:
        """How many answers of this session are kept."""
        return len(self._answered)

    def hear(self, what: str) -> None:
        """Do what somebody asks for.

        Parameters
        ----------
        what
            `yes`, `no`, `unknown` or `undo`; anything else is not heard.
        """
        if what == "undo":
            self.undo()
        elif what in ANSWERS:
            self.answer(what)

    def undo(self) -> None:
        """Take the last answer of this session back, and ask again."""
        if not self._answered:
            return
        asked, row = self._answered[-1]
        labels = read(self.folder)
        same = (labels[[*REQUIRED, *OPTIONAL]] == pd.Series(row)[[*REQUIRED, *OPTIONAL]]).all(axis=1)
        if same.any():
            write(self.folder, labels.drop(index=same[same].index[-1]))
        self._answered.pop()
        self._ahead.insert(0, asked)

    def _afresh(self) -> None:
        if self._again is not None:
            _, followed, questions = self._again(read(self.folder))
            self._ahead = questions.to_dict("records")
            self._changed = (0, 0) if followed is None else (followed.joined, followed.parted)

    def progress(self) -> str:
        """How far is it, and what have the answers changed so far? In a sentence or two."""
        kinds = [row["answer"] for _, row in self._answered]
        told = f"{len(kinds):,} answered ({kinds.count('yes'):,} yes, {kinds.count('no'):,} no, "
        told += f"{kinds.count('unknown'):,} don't know), {len(self._ahead):,} to go."
        if self._changed is not None:
            joined, parted = self._changed
            return f"{told} All answers so far: {joined:,} pairs of records more are one customer, {parted:,} are one no more."
        now = sum(_against(asked, row) for asked, row in self._answered)
        return f"{told} {now:,} of the answers go against the customers as they are."

    def shown(self) -> dict[str, Any]:
        """What a browser is told of the open pair; values of people are in it."""
        told: dict[str, Any] = {"progress": self.progress(), "turn": self.turn, "can_undo": self.turn > 0}
        asked = self.pair
        if asked is None:
            return told | {"pair": None}
        ends = [(asked[f"source_{side}"], asked[f"person_id_{side}"]) for side in "ab"]
        known = self._values(ends)
        one, other = (known.get(end, {}) for end in ends)
        names = [name for name in SHOWN if one.get(name) or other.get(name)]
        rows = [[SHOWN[name], one.get(name, ""), other.get(name, "")] for name in names]
        probability = asked["probability"]
        score = "never compared" if pd.isna(probability) else f"{probability:.1%}, {asked['match_weight']:+.1f} bits"
        now = "one customer now" if asked["customer_a"] == asked["customer_b"] else "two customers now"
        return told | {
            "pair": {
                "systems": [f"{source}, {person_id}" for source, person_id in ends], "rows": rows, "score": f"{score}; {now}",
                "for": [text for text in asked["reasons_for"].split("; ") if text],
                "against": [text for text in asked["reasons_against"].split("; ") if text],
            }
        }  # fmt: skip


def _against(asked: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return row["answer"] == ("no" if asked["customer_a"] == asked["customer_b"] else "yes")


def values_of(people: ir.Table | None) -> Callable[[Sequence[tuple[str, str]]], dict]:
    """What is known of records? A function of their keys.

    Parameters
    ----------
    people
        The clean table.
    """

    def look_up(ends: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
        if people is None:
            return {}
        wanted = pd.DataFrame(list(ends), columns=["source", "person_id"])
        wanted = ibis.memtable(wanted, schema=dict.fromkeys(wanted.columns, "string"))
        names = [name for name in SHOWN if name in people.columns]
        # of a record that was delivered twice what was compared, and no other
        theirs = people.semi_join(wanted, ["source", "person_id"])
        theirs = theirs.mutate(changed_at=ibis.coalesce(theirs["updated_at"], theirs["created_at"]))
        rows = last_said(theirs).select("source", "person_id", *names).to_pandas()
        return {
            (row["source"], row["person_id"]): {
                name: str(row[name]).removesuffix(" 00:00:00") for name in names if not pd.isna(row[name])
            }
            for row in rows.to_dict("records")
        }

    return look_up


def is_live() -> bool:
    """Does somebody sit at this notebook? A server of Jupyter started the kernel for them, and no run did."""
    return "JPY_SESSION_NAME" in os.environ and RUN_VARIABLE not in os.environ


def review_here(step: Step, matched: Matched, people: ir.Table | None) -> Any:
    """Ask whoever sits at this notebook in JupyterLab; nothing where nobody does.

    Parameters
    ----------
    step
        Of the notebook; its book keeps the answers.
    matched
        As from :func:`clientbook.matching.match`.
    people
        The clean table.

    Returns
    -------
    anywidget.AnyWidget or None
        Two records side by side, to be answered by keyboard.
    """
    if not is_live():
        return None
    questions = matched.tables["review_pairs"].order_by("turn").to_pandas()
    return widget(Sitting(step.book.folder, questions, values_of(people), matched.again))


def widget(sitting: Sitting) -> Any:
    """Two records side by side in a browser.

    Parameters
    ----------
    sitting
        What is asked, and where answers go.
    """
    import anywidget

    here = Path(__file__).parent

    class Review(anywidget.AnyWidget):
        _esm = (here / "sitting.js").read_text(encoding="utf-8")
        _css = (here / "sitting.css").read_text(encoding="utf-8")

        def __init__(self):
            super().__init__()
            self.on_msg(self._heard)

        def _heard(self, _, content: Mapping[str, Any], buffers: Any) -> None:
            # a key that was hit twice answers one pair, not the next one too
            turn, fault = sitting.turn, ""
            if content.get("turn") == turn:
                try:
                    sitting.hear(str(content.get("what")))
                except FaultError as error:
                    fault = str(error)
                except OSError as error:
                    fault = f"{LABELS} cannot be read or written: {error.strerror or type(error).__name__}."
                if fault and sitting.turn == turn:
                    fault = f"This was not kept. {fault}"
            self.send(sitting.shown() | {"fault": fault})

        def __repr__(self) -> str:
            return f"Answers go to {LABELS}"

    return Review()
