"""How much of the machine's memory may one engine take?"""

from __future__ import annotations

import os
from pathlib import Path

MEMORY_VARIABLE = "CLIENTBOOK_MEMORY"
# Of a notebook that begins alone: what it may take once it has handed over to those that wait for it.
SHARED_VARIABLE = "CLIENTBOOK_SHARED_MEMORY"
# Python takes as much again beside an engine, and others use the machine too.
SHARE = 4
LEAST_BYTES = 1_000_000_000


def share(engines: int = 1) -> int:
    """What may one of several engines take that work side by side? In bytes.

    Parameters
    ----------
    engines
        How many there are at most.

    Returns
    -------
    int
        A quarter of the machine's memory, or of what its control group leaves, divided among them; 1 GB at least.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return max(total // SHARE // engines, LEAST_BYTES)
