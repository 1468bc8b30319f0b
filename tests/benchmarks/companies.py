"""Made companies that benchmarks judge on: made and run once, and taken as they are the next time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clientbook.book import open_book


def made(place: Path, seed: int, people: int, up_to: str) -> Path:
    """A made company with a run up to a notebook.

    Parameters
    ----------
    place
        Its folder.
    seed, people
        Of the company.
    up_to
        The notebook, such as `matching`.
    """
    call = [sys.executable, "-m", "clientbook.cli"]
    if not (place / "clientbook.yaml").is_file():
        made = ["demo", str(place), "--seed", str(seed), "--people", str(people)]
        subprocess.run([*call, *made], check=True, stdout=subprocess.DEVNULL)
    if not open_book(place).store.runs():
        run = ["run", str(place), "--only", up_to, "--out", str(place / "reports")]
        subprocess.run([*call, *run], check=True, stdout=subprocess.DEVNULL)
    return place
