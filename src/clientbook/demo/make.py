"""The made company, into a folder: whole, or not at all."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .company import Company

AS_OF = datetime.date(2026, 7, 1)


def make(
    directory: str | os.PathLike,
    *,
    people: int = 20_000,
    seed: int = 1,
    as_of: datetime.date = AS_OF,
    progress: Callable[[str, float], None] | None = None,
) -> None:
    """Write the book of a made company, with its truth, into a folder.

    Parameters
    ----------
    directory : path
        Must be empty, absent, or an earlier made company (which is replaced).
    people : int
        Number of humans, at least 200.
    seed : int
        The same seed makes the same bytes.
    as_of : date
        The first day that the sources do not know; three years lie before it, and the truth knows twelve months after
        it.
    progress : callable, optional
        Called with a label and a fraction from 0 to 1.

    Raises
    ------
    ValueError
        Where the folder holds something else, or `people` is too small.
    """
    target = Path(directory).absolute()
    if people < 200:
        raise ValueError(f"a made company needs at least 200 people, not {people}")
    _refuse(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.making-{os.getpid()}")
    _sweep(target)
    beside.mkdir()
    company = Company(beside, people, seed, as_of, progress or (lambda label, fraction: None))
    try:
        company.write()
        company.files.close()
        if target.exists():
            old = target.with_name(f".{target.name}.old-{os.getpid()}")
            target.rename(old)
            beside.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.rename(target)
    finally:
        company.files.close()
        shutil.rmtree(beside, ignore_errors=True)


def _refuse(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file; a made company needs a folder")
    if target.exists() and any(target.iterdir()) and not (target / "truth" / "DATA_DICTIONARY.md").is_file():
        raise ValueError(f"{target} is not empty and no earlier made company; nothing was written")


def _sweep(target: Path) -> None:
    """Remove what a killed make has left beside the folder."""
    for left in [*target.parent.glob(f".{target.name}.making-*"), *target.parent.glob(f".{target.name}.old-*")]:
        process = left.name.rpartition("-")[2]
        if process.isdigit() and (int(process) == os.getpid() or not Path(f"/proc/{process}").exists()):
            shutil.rmtree(left, ignore_errors=True)
