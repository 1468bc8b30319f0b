"""The notebooks as they are committed: opened by an analyst after a run, they give what stands in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from conftest import ROOT

from clientbook import forkserver, runner


def test_notebooks_give_the_committed_outputs(tailor_book, tmp_path):
    book = shutil.copytree(tailor_book, tmp_path / "tailor")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q", "-n", "0"]
    command += ["--nbval-cell-timeout=300", *(str(notebook.path) for notebook in runner.notebooks())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLIENTBOOK")}
    environment |= forkserver.ONE_THREAD | {"CLIENTBOOK_BOOK": str(book)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
