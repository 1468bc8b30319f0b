"""The notebooks say on the small made company what they are committed saying."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_notebooks_give_the_committed_outputs(tailor_book, tailor_outcome):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", "-n", "0"]
    command += ["--nbval-cell-timeout=300", str(ROOT / "notebooks")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"CLIENTBOOK_BOOK": str(tailor_book)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
