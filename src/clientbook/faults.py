"""What is wrong with a book or its data, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Where is it wrong, and how is it put right?

    Parameters
    ----------
    message
        What is wrong, in one sentence, without personal data.
    remedy
        What the user can do about it.
    key
        The place in ``clientbook.yaml``, such as ``sources.shop.orders.columns``.
    file
        The file as the user knows it: relative to the book where it lies in the book.
    row
        As a spreadsheet numbers it: a header is row 1. Parquet and JSON count records from 1.
    column
        The column's name as delivered.
    """

    message: str
    remedy: str = ""
    key: str = ""
    file: str = ""
    row: int | None = None
    column: str = ""

    def __str__(self) -> str:
        place = [self.key] if self.key else []
        place += [self.file] if self.file else []
        place += [f"row {self.row}"] if self.row is not None else []
        place += [f"column {self.column!r}"] if self.column else []
        where = f"{', '.join(place)}: " if place else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{remedy}"


class ClientbookError(Exception):
    """An error whose message is written for the user; the command prints it without a traceback."""

    exit_code = 1


class FaultError(ClientbookError):
    """The book or its data is at fault; ``faults`` lists every one that was found."""

    def __init__(self, faults: Iterable[Fault] | Fault):
        self.faults = [faults] if isinstance(faults, Fault) else list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UsageError(ClientbookError):
    """The command was called wrongly."""

    exit_code = 2
