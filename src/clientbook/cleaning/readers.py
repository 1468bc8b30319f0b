"""What should stand in place of each distinct value of a column? Many are read in several processes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

from clientbook import workers
from clientbook.cleaning import standards
from clientbook.cleaning.standards import Standard

# What an export writes into an empty cell. A number such as 0 or -1 may be an id.
NO_IDS = frozenset({"n/a", "#n/a", "null", "(null)", "<null>", "nan", "none", "-", "--", "n.a.", "undefined"})

_NAMES = {"given_name": "given", "family_name": "family", "full_name": "whole"}
_BY_COLUMN = {
    "email": standards.email, "postcode": standards.postcode, "country": standards.country, "company": standards.company,
    "job_title": standards.job, "domain": standards.domain,
}  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """How is a value of this column read? Plain settings, so that another process can read with them.

    Parameters
    ----------
    table, column, kind
        The canonical names, and the column's kind.
    own, kept
        The book's own placeholders, and words that are none, in small letters.
    country, currency
        Of the book.
    sharp
        Whether the system writes a sharp s in streets.
    """

    table: str
    column: str
    kind: str
    own: frozenset[str]
    kept: frozenset[str]
    country: str
    currency: str
    sharp: bool = True

    def __call__(self, value: str, land: str | None = None) -> Standard:
        """The value as it should be.

        Parameters
        ----------
        value
            As delivered, without blanks around it.
        land
            The country that stands beside it, where that matters.
        """
        own, kept, name = self.own, self.kept, self.column
        if self.kind == "id":
            small = value.lower()
            is_none = small not in kept and (small in NO_IDS or small in own)
            return Standard(None, ("placeholder",)) if is_none else Standard(value)
        if name == "phone":
            return standards.phone(value, _land(land), self.country, own, kept)
        if name == "street":
            return standards.street(value, _land(land) or self.country, self.sharp, own, kept)
        if self.table == "people" and name in _NAMES:
            return standards.person_name(value, _NAMES[name], own, kept)
        if name == "name" and self.table == "accounts":
            return standards.company(value, own, kept)
        if name == "currency":
            return standards.currency(value, self.currency, own, kept)
        if name in _BY_COLUMN and (name != "domain" or self.table == "accounts"):
            return _BY_COLUMN[name](value, own, kept)
        return standards.words(value, own, kept)


class Changed(NamedTuple):
    """What a value becomes.

    Parameters
    ----------
    position
        Its place among the values.
    to
        What should stand there; None where nothing should.
    rules
        Why, with commas between; None where nothing was wrong.
    beside
        What goes to other columns, by their names.
    """

    position: int
    to: str | None
    rules: str | None
    beside: dict[str, str]


def changed(reader: Reader, cells: Sequence[tuple]) -> list[Changed]:
    """Which values become something else, or bring something beside?

    Parameters
    ----------
    reader
        How they are read.
    cells
        Distinct: the value, and what else it is read with.

    Returns
    -------
    list of Changed
        In the order of the values.
    """
    return workers.in_parts(partial(_changed, reader), cells)


def _changed(reader: Reader, cells: Sequence[tuple], start: int) -> list[Changed]:
    told = []
    is_name = reader.column in _NAMES
    for position, cell in enumerate(cells, start):
        found = reader(*cell)
        if found.value == cell[0] and not found.rules and not found.beside and not is_name:
            continue
        beside = dict(found.beside)
        if is_name and found.value:
            beside[f"{reader.column}_key"] = standards.latin_key(found.value, reader.column == "family_name")
        told.append(Changed(position, found.value, ", ".join(found.rules) or None, beside))
    return told


@lru_cache(maxsize=10_000)
def _land(text: str | None) -> str:
    found = standards.country(text) if text else None
    return found.value if found and found.value and len(found.value) == 2 else ""
