"""From a book to a run and a report, and what is left when a notebook fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from started import contents

from clientbook import runner
from clientbook.book import open_book
from clientbook.faults import ClientbookError, UsageError

KNOWN = runner.notebooks()


@pytest.fixture
def book(small_book, tmp_path):
    """A fresh copy of the small book."""
    folder = tmp_path / "fresh"
    shutil.copytree(small_book, folder, ignore=shutil.ignore_patterns("store"))
    return open_book(folder)


@pytest.fixture
def altered(tmp_path):
    """The notebooks, with the cell of `01_cleaning` replaced that comes after all is written."""

    def alter(source: str, *others: str) -> Path:
        folder = tmp_path / "notebooks"
        folder.mkdir()
        for name in ("01_cleaning", *others):
            shutil.copy(runner.notebooks_folder() / f"{name}.ipynb", folder)
        notebook = nbformat.read(folder / "01_cleaning.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        code[2].source = source
        nbformat.write(notebook, folder / "01_cleaning.ipynb")
        return folder

    return alter


def test_a_run_leaves_what_the_design_says(small_outcome):
    run = small_outcome.run
    assert run.name == "2024-01-01.001"
    assert {"orders", "returns", "rejected", "changes", "quality", "value", "value_backtest"} <= set(run.tables)
    assert {path.stem for path in (run.folder / "models").glob("*.json")} >= {"bg_nbd", "mbg_nbd", "gamma_gamma"}
    assert {path.stem for path in (run.folder / "notebooks").glob("*")} == {n.name for n in KNOWN}
    info = run.info
    assert info["state"] == "done" and info["shows_personal_data"] is False
    states = {name: step["state"] for name, step in info["notebooks"].items()}
    assert set(states.values()) <= {"done", "skipped"}
    assert {states[name] for name in ("00_overview", "01_cleaning", "04_value")} == {"done"}
    assert info["inputs"][0]["file"] == "orders.csv" and len(info["inputs"][0]["sha256"]) == 64
    row = info["rows"][0]
    assert row["rows_in"] == sum(row[k] for k in ("kept", "merged", "returns", "later", "suppressed", "rejected"))
    assert info["parameters"]["value"]["horizon_days"] == 365
    assert info["tables"]["value"]["rows"] == run.read("value").count().to_pandas()


def test_lists_lie_in_the_book(small_done):
    lines = (small_done / "small" / "store" / "lists" / "best_customers.csv").read_text().splitlines()
    assert lines[0].split(",")[:3] == ["customer_id", "source", "person_id"]
    assert lines[0].endswith("consent") and len(lines) == 101
    assert all(line.endswith("unknown") for line in lines[1:])


def test_lists_are_the_newest_runs_and_go_with_what_made_them(book, altered, tmp_path):
    folder, lists = altered("LISTS"), book.store.folder / "lists"
    text = (folder / "01_cleaning.ipynb").read_text(encoding="utf-8")

    def run(day: str, *names: str, skipped: bool = False) -> dict[str, str]:
        code = ["import pandas as pd", "from clientbook.stage import NothingToShow"]
        code += [f"step.write_list({name!r}, pd.DataFrame([{day!r}]))" for name in names]
        code += ["raise NothingToShow('nothing')"] if skipped else []
        (folder / "01_cleaning.ipynb").write_text(text.replace("LISTS", r"\n".join(code)), encoding="utf-8")
        runner.run(book, as_of=dt.date.fromisoformat(day), out=tmp_path / "reports", folder=folder)
        return {path.stem: path.read_text().split()[-1] for path in lists.glob("*.csv")}

    assert run("2024-01-01", "a", "b") == {"a": "2024-01-01", "b": "2024-01-01"}
    (lists / "own.csv").write_text("kept\nby hand\n")
    assert run("2023-06-01", "a", "c") == {"a": "2024-01-01", "b": "2024-01-01", "own": "hand"}
    assert run("2024-01-02", "a") == {"a": "2024-01-02", "own": "hand"}
    assert run("2024-01-02", skipped=True) == {"own": "hand"}


def test_pages_hold_no_id_of_the_source_and_no_path(small_outcome, small_done):
    lists = (small_done / "small" / "store" / "lists" / "best_customers.csv").read_text().splitlines()[1:]
    ids = {line.split(",")[2] for line in lists}
    for page in small_outcome.report.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not [person for person in ids if f">{person}<" in text], page.name
        assert str(small_done) not in text


def test_two_runs_give_the_same_bytes_though_one_has_notebooks_side_by_side(small_done, small_outcome, tmp_path, monkeypatch):
    shutil.copytree(small_done / "small", tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    seen = set()
    outcome = runner.run(
        open_book(tmp_path / "small"), out=Path("reports"), jobs=2, fresh=True, watch=lambda steps: seen.add(Path.cwd())
    )
    assert seen == {tmp_path}
    assert (tmp_path / outcome.report).is_relative_to(tmp_path / "reports") and (tmp_path / outcome.report).is_dir()
    runs = [small_outcome.run, outcome.run]
    assert [run.name for run in runs] == ["2024-01-01.001", "2024-01-01.002"]
    assert not any(step["reused"] for run in runs for step in run.info["notebooks"].values())
    for part in ("tables", "models", "lists"):
        one, other = (contents(run.folder / part) for run in runs)
        assert one and one.keys() == other.keys() and [name for name in one if one[name] != other[name]] == []


def test_what_matching_leaves_for_the_next_run_is_not_kept_twelve_times(book, tmp_path):
    passing = [table.name for n in KNOWN for table in n.stage.tables if table.for_next]
    assert passing == ["matching_records", "matching_edges"]
    runs = []
    for _ in range(3):
        runs.append(runner.run(book, only=["cleaning"], out=tmp_path / "out").run)
        for name in passing:
            shutil.copy(runs[-1].path("orders"), runs[-1].folder / "tables" / f"{name}.parquet")
    last = runner.run(book, only=["cleaning"], out=tmp_path / "out").run
    held = [set(passing) & set(run.tables) for run in (*runs, last)]
    assert held == [set(), set(), set(passing), set()] and all("orders" in run.tables for run in runs)


def test_a_failing_notebook_publishes_nothing_and_says_where(book, altered, tmp_path):
    folder = altered("1 / 0")
    with pytest.raises(runner.NotebookFailed, match=r"01_cleaning failed in cell 3 of \d+. ZeroDivisionError") as error:
        runner.run(book, out=tmp_path / "reports", folder=folder)
    assert error.value.exit_code == 3
    assert [page.name for page in (tmp_path / "reports").rglob("*.html")] == ["failure.html"]
    assert book.store.runs() == []
    failed = book.store.folder / "failed" / "2024-01-01.001"
    assert json.loads((failed / "run.json").read_text())["notebooks"]["01_cleaning"]["state"] == "failed"
    assert (failed / "notebooks" / "01_cleaning.ipynb").is_file()


def test_a_killed_kernel_is_a_failure_though_its_notebook_looks_whole(book, altered, tmp_path):
    folder = altered(
        "import os, pathlib, signal\n"
        "run = pathlib.Path(os.environ['CLIENTBOOK_BOOK'], 'store', 'building', os.environ['CLIENTBOOK_RUN'])\n"
        "for part in ('tables', 'models', 'lists', 'records'):\n"
        "    (run / part).mkdir(exist_ok=True)\n"
        "    (run / part / '.people.parquet.0a1b2c3d').write_text('half of somebody')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(runner.NotebookFailed, match="kernel died"):
        runner.run(book, out=tmp_path / "reports", folder=folder, personal=True)
    assert book.store.runs() == []
    failed = book.store.folder / "failed" / "2024-01-01.001"
    info = json.loads((failed / "run.json").read_text())
    assert info["state"] == "failed" and info["notebooks"]["01_cleaning"]["state"] == "failed"
    assert (failed / "notebooks" / "01_cleaning.ipynb").is_file() and not list(failed.rglob(".*")), "nothing half written"
    assert info["shows_personal_data"] is True


def test_an_earlier_report_stays_when_a_later_run_fails(book, altered, tmp_path):
    report = runner.run(book, out=tmp_path / "reports", only=["cleaning"]).report
    before = {page.name: page.read_bytes() for page in report.iterdir()}
    with pytest.raises(runner.NotebookFailed):
        runner.run(book, out=tmp_path / "reports", folder=altered("raise ValueError('ada@example.org')"))
    told = re.compile(rb"(?<=<!-- state -->).*?(?=<!-- /state -->)", re.DOTALL)
    after = {page.name: page.read_bytes() for page in report.iterdir()}
    assert {name: told.sub(b"", page) for name, page in after.items()} == before
    assert all(b"../failure.html" in told.search(page)[0] for page in after.values())
    page = (report.parent / "failure.html").read_text(encoding="utf-8")
    assert "ValueError" in page and "ada@" not in page and "the notebook&#39;s cell, line 1" in page
    runner.run(book, out=tmp_path / "reports", only=["cleaning"])
    assert not (report.parent / "failure.html").exists()
    assert not any(b"failure.html" in page.read_bytes() for page in report.iterdir())


def test_an_error_is_told_without_what_could_be_personal(book, altered, tmp_path):
    with pytest.raises(runner.NotebookFailed) as error:
        runner.run(book, out=tmp_path / "r", folder=altered("raise ValueError('ada@example.org +41 44 668 18 00')"))
    assert "ada@" not in str(error.value) and "668" not in str(error.value)
    assert "[e-mail]" in str(error.value)


def test_a_notebook_whose_tables_are_not_there_says_what_it_needs(make_book, tmp_path):
    book = open_book(
        make_book(
            "name: Pieces\nas_of: 2024-01-01\nsources: {web: {content: {path: content.csv}}}\n",
            content__csv="content_id,title\n1,How to fold a shirt\n",
        )
    )
    outcome = runner.run(book, out=tmp_path / "reports")
    steps = outcome.run.info["notebooks"]
    assert steps["04_value"]["state"] == "skipped"
    assert "orders" in steps["04_value"]["message"]
    page = (outcome.report / "04_value.html").read_text(encoding="utf-8")
    assert "This book has no" in page and "would show" in page
    assert "Traceback" not in page


def test_only_brings_what_is_needed():
    assert [n.name for n in runner.select(KNOWN, ["value"])] == ["01_cleaning", "03_matching", "04_value"]
    assert [n.name for n in runner.select(KNOWN, ["01_cleaning"])] == ["01_cleaning"]
    assert [n.name for n in runner.select(KNOWN, [])] == [n.name for n in KNOWN]
    with pytest.raises(UsageError, match="04_value"):
        runner.select(KNOWN, ["worth"])


def test_parameters_are_checked_before_anything_runs():
    assert runner.parse_parameters(["04_value.horizon_days=180"], KNOWN) == {"value": {"horizon_days": "180"}}
    for wrong in ("horizon_days=180", "value.horizon=180", "value.horizon_days=soon", "worth.x=1", "value.interval=2"):
        with pytest.raises(UsageError):
            runner.parse_parameters([wrong], KNOWN)


def test_a_parameter_reaches_the_notebook(book, tmp_path):
    outcome = runner.run(book, only=["value"], parameters={"value": {"horizon_days": 90}}, out=tmp_path / "reports")
    assert outcome.run.info["parameters"]["value"]["horizon_days"] == 90
    assert "next 90 days" in (outcome.report / "04_value.html").read_text(encoding="utf-8")


def test_progress_is_told(book, tmp_path):
    seen = []
    runner.run(
        book, only=["cleaning"], out=tmp_path / "reports", watch=lambda steps: seen.append((steps[0].state, steps[0].cell))
    )
    assert seen[0] == ("running", 0) and seen[-1][0] == "done"
    assert [cell for _, cell in seen] == sorted(cell for _, cell in seen)
    assert seen[-1][1] > 3


def test_no_kernel_and_no_socket_is_left(book, altered, tmp_path):
    sockets = Path(os.environ.get("TMPDIR", "/tmp"))
    with pytest.raises(runner.NotebookFailed):
        runner.run(book, out=tmp_path / "reports", folder=altered("1 / 0"))
    # other tests run kernels of their own beside this one
    assert not list(sockets.glob(f"clientbook-{os.getpid()}-*"))


def test_what_ran_beside_a_failure_was_stopped_and_did_not_fail(book, tmp_path, capfd):
    folder = Path(shutil.copytree(runner.notebooks_folder(), tmp_path / "beside"))
    for name, code in (("02_profiling", "import time\ntime.sleep(60)"), ("03_matching", "import time\ntime.sleep(4)\n1 / 0")):
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(code))
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with pytest.raises(runner.NotebookFailed, match=r"^03_matching failed"):
        runner.run(book, out=tmp_path / "reports", only=["profiling", "matching"], folder=folder, jobs=2)
    told = json.loads((book.store.folder / "failed" / "2024-01-01.001" / "run.json").read_text())["notebooks"]
    assert told["03_matching"]["state"] == "failed"
    assert (told["02_profiling"]["state"], told["02_profiling"]["message"]) == ("waiting", "stopped")
    # the libraries below tell of a dead kernel too, at length
    assert capfd.readouterr().err == ""


_UNTIL_PROFILED = """
import time
until = time.monotonic() + 200
while not step.has("column_profiles"):
    assert time.monotonic() < until
    time.sleep(0.1)
"""


def test_a_notebook_begins_when_what_it_reads_is_handed_over(book, altered, tmp_path):
    outcome = runner.run(book, out=tmp_path / "reports", folder=altered(_UNTIL_PROFILED, "02_profiling"), jobs=2)
    states = {name: (step["state"], step["reused"]) for name, step in outcome.run.info["notebooks"].items()}
    assert states == {"01_cleaning": ("done", None), "02_profiling": ("done", None)}
    # what had begun early is known by the same as what begins late
    again = runner.run(book, out=tmp_path / "reports", folder=tmp_path / "notebooks", jobs=1)
    assert {step["reused"] for step in again.run.info["notebooks"].values()} == {outcome.run.name}


_MEMORY = """
import os
limit = step.engine.connection.raw_sql("SELECT current_setting('memory_limit')").fetchone()[0]
step.record(took=[os.environ["CLIENTBOOK_MEMORY"], limit])
"""


def test_who_is_alone_takes_the_memory_of_all_until_it_hands_over(book, altered, tmp_path, monkeypatch):
    monkeypatch.delenv("CLIENTBOOK_MEMORY", raising=False)
    monkeypatch.setattr(runner, "share", lambda engines=1: 3_000_000_000 // engines)
    folder = altered(_MEMORY.replace("took", "left"), "02_profiling")
    for name, mark in (("01_cleaning", "step.hand_over(*step.stage.writes)\n"), ("02_profiling", "step = ")):
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and mark in cell.source)
        if name == "01_cleaning":
            cell.source = cell.source.replace(mark, _MEMORY + mark)
        else:
            cell.source += f"\n{_MEMORY}"
        nbformat.write(notebook, folder / f"{name}.ipynb")
    run = runner.run(book, out=tmp_path / "reports", folder=folder, jobs=2).run
    told = run.record("cleaning")
    assert told["took"] == ["3000000000B", "2.7 GiB"] and told["left"][1] == "1.3 GiB"
    assert run.record("profiling")["took"] == ["1500000000B", "1.3 GiB"]
    monkeypatch.setenv("CLIENTBOOK_MEMORY", "900MB")
    run = runner.run(book, out=tmp_path / "reports", folder=folder, jobs=2, fresh=True).run
    assert run.record("cleaning")["left"] == run.record("profiling")["took"] == ["900MB", "858.3 MiB"]


def test_who_reads_more_than_is_handed_over_waits_for_the_end(book, altered, tmp_path):
    folder = altered("step.hand_over('orders')", "02_profiling")
    text = (folder / "01_cleaning.ipynb").read_text(encoding="utf-8")
    (folder / "01_cleaning.ipynb").write_text(text.replace("step.hand_over(*step.stage.writes)", "pass"), encoding="utf-8")
    seen = []
    runner.run(
        book, out=tmp_path / "reports", folder=folder, jobs=2, watch=lambda steps: seen.append([step.state for step in steps])
    )
    assert ["running", "waiting"] in seen and ["done", "running"] in seen and ["running", "running"] not in seen


def test_what_is_written_after_handing_over_fails_the_run(book, altered, tmp_path):
    late = _UNTIL_PROFILED + 'step.write("orders", tables["orders"].limit(1))'
    with pytest.raises(ClientbookError, match=r"^01_cleaning wrote 'orders' when it had handed over to 02_profiling"):
        runner.run(book, out=tmp_path / "reports", folder=altered(late, "02_profiling"), jobs=2)
    assert not book.store.runs()
