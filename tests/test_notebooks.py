"""The notebooks as they are committed: opened by an analyst after a run, they give what stands in them."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict

import nbformat
import papermill
import pytest

from clientbook import forkserver, kernels, runner

NOTEBOOKS = runner.notebooks()
# What differs from one machine to the next: letters are drawn with the fonts that it has.
NOT_COMPARED = {"image/png", "image/jpeg"}


@pytest.fixture(scope="module")
def opened_book(tailor_book, tmp_path_factory):
    """A copy of the made company after a run, in which an analyst may write."""
    return shutil.copytree(tailor_book, tmp_path_factory.mktemp("opened") / "tailor")


class Watch:
    """What is told of a notebook at work, and of no interest here."""

    cell = cells = 0


def shown(cell) -> dict[str, list]:
    """What a cell shows, by kind, in its order; streams whole."""
    told = defaultdict(list)
    for output in cell.outputs:
        if output.output_type == "stream":
            told[output.name] = ["".join([*told[output.name], output.text])]
        elif output.output_type == "error":
            told["error"].append((output.ename, output.evalue))
        else:
            for kind, data in output.data.items():
                if kind not in NOT_COMPARED:
                    told[kind].append(data)
    return dict(told)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_gives_the_committed_outputs(notebook, opened_book, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLIENTBOOK")}
    papermill.execute_notebook(
        str(notebook.path), str(tmp_path / "done.ipynb"), engine_name=kernels.register(), kernel_name="python3", language="python",
        progress_bar=False, autosave_cell_every=0, execution_timeout=900,
        environment=environment | forkserver.ONE_THREAD | {"CLIENTBOOK_BOOK": str(opened_book)},
        folder=str(notebook.path.parent), progress=Watch(), changed=lambda: None, started=lambda kernel: None,
        later=[each.stage.name for each in NOTEBOOKS],
    )  # fmt: skip
    committed, executed = (nbformat.read(path, as_version=4) for path in (notebook.path, tmp_path / "done.ipynb"))
    cells = [[cell for cell in each.cells if cell.cell_type == "code"] for each in (committed, executed)]
    assert [cell.source for cell in cells[0]] == [cell.source for cell in cells[1]]
    differing = [i for i, pair in enumerate(zip(*cells, strict=True)) if shown(pair[0]) != shown(pair[1])]
    assert {i: (shown(cells[0][i]), shown(cells[1][i])) for i in differing} == {}
    assert sum(bool(cell.outputs) for cell in cells[1]) > 3
