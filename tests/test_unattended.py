"""Runs that nobody watches: what did not change is not done again, whatever dies leaves nothing half, one at a time."""

from __future__ import annotations

import ast
import gc
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import browser
import nbformat
import psutil
import pytest
from started import ENVIRONMENT, command, contents, copy_of, finish, half_files, start

from clientbook import cache, history, runner
from clientbook.book import open_book


def executed(outcome) -> set[str]:
    """The notebooks that were not taken over from an earlier run."""
    return {name for name, step in outcome.run.info["notebooks"].items() if not step["reused"]}


def kernels_of(book: Path) -> list[psutil.Process]:
    """Kernels at work for a book: they work in its folder, and nothing else of ours does."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(book) and re.search("ipykernel|forkserver", " ".join(process.cmdline())):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def again(small_done, tmp_path):
    """A copy of a book after one whole run, to be run again; files keep their times, as a backup would."""
    shutil.copytree(small_done, tmp_path / "again", symlinks=True)

    def run(**more):
        folder = tmp_path / "again"
        return runner.run(open_book(folder / "small"), out=folder / "reports", folder=folder / "notebooks", **more)

    run.folder = tmp_path / "again"
    return run


# --- What did not change -----------------------------------------------------------------------------------------


def test_nothing_changed_nothing_is_executed_and_all_is_there(again):
    first = open_book(again.folder / "small").run("latest")
    pages = {file: file.stat().st_mtime_ns for file in (again.folder / "small" / "store" / "pages").iterdir()}
    outcome = again()
    assert executed(outcome) == set()
    assert {file.name.partition("-")[0] for file in pages} == {"page", "dictionary"}
    assert {file: file.stat().st_mtime_ns for file in (again.folder / "small" / "store" / "pages").iterdir()} == pages
    assert outcome.run.tables == first.tables
    for table in first.tables:
        assert outcome.run.path(table).read_bytes() == first.path(table).read_bytes(), table
    assert outcome.run.info["key_numbers"] == first.info["key_numbers"]
    assert outcome.run.info["rows"] == first.info["rows"]
    assert [each["run"] for each in history.read(again.folder / "small" / "store")] == ["2024-01-01.001", "2024-01-01.002"]
    index = (outcome.report / "index.html").read_text(encoding="utf-8")
    assert "No key number changed." in index


def test_a_changed_text_executes_that_notebook_alone(again):
    path = again.folder / "notebooks" / "04_value.ipynb"
    notebook = nbformat.read(path, as_version=4)
    next(cell for cell in notebook.cells if cell.cell_type == "markdown").source += "\n\nA word more."
    nbformat.write(notebook, path)
    outcome = again()
    assert executed(outcome) == {"04_value"}
    assert "A word more." in (outcome.report / "04_value.html").read_text(encoding="utf-8")


def test_a_changed_parameter_executes_what_reads_its_tables(again):
    told = executed(again(parameters={"value": {"horizon_days": 90}}))
    assert {"04_value", "00_overview"} <= told
    assert not told & {"01_cleaning", "02_profiling", "03_matching", "05_journeys"}


def test_a_changed_file_or_setting_executes_cleaning(again):
    orders = again.folder / "small" / "orders.csv"
    orders.touch()
    assert executed(again(only=["cleaning"])) == set()
    orders.write_text(orders.read_text().rstrip("\n") + "\n" + orders.read_text().splitlines()[1].replace(";", ";", 1) + "\n")
    assert executed(again(only=["cleaning"])) == {"01_cleaning"}
    settings = again.folder / "small" / "clientbook.yaml"
    settings.write_text(settings.read_text() + "\ngoals:\n  - {goal: retain, owner: service}\n")
    assert executed(again(only=["cleaning"])) == {"01_cleaning"}


def test_fresh_executes_everything(again):
    assert executed(again(only=["cleaning"], fresh=True)) == {"01_cleaning"}


def test_a_table_that_was_changed_since_is_not_taken_over(again):
    path = open_book(again.folder / "small").run("latest").path("orders")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert executed(again(only=["cleaning"])) == {"01_cleaning"}


@pytest.mark.parametrize("links", [True, False])
def test_what_is_taken_over_is_there_before_it_is_handed_over(tmp_path, monkeypatch, links):
    files = ["notebooks/01_a.ipynb", "records/a.json", "tables/orders.parquet", "tables/people.parquet"]
    former, later = tmp_path / "former", tmp_path / "later"
    for name in files:
        (former / name).parent.mkdir(parents=True, exist_ok=True)
        (former / name).write_text("{}")
    told = {"state": "done", "message": "", "cells": 1, "seconds": 1.0, "run": "2024-01-01.001", "past": ""}
    done = cache.keep(former, "01_a", "key", files, **told)
    link, seen = cache.os.link, []

    def place(source: Path, target: Path) -> None:
        seen.append(target.relative_to(later).as_posix())
        if not links:
            raise OSError("Operation not supported")
        link(source, target)

    monkeypatch.setattr(cache.os, "link", place)
    cache.take_over(done, former, later, "01_a")
    assert sorted(seen) == files and seen[-1] == "records/a.json"
    assert cache.read_done(later, "01_a").is_whole(later) and set(contents(later)) == {*files, "steps/01_a.json"}


@pytest.mark.parametrize("name", ["cleaning", "matching", "value", "journeys", "governance"])
def test_the_code_of_a_stage_holds_all_that_it_imports(name):
    seen: set[str] = set()
    waiting = [f"clientbook.{name}"]
    while waiting:
        module = waiting.pop()
        for file in cache._files(module):
            if file.suffix == ".py" and str(file) not in seen:
                seen.add(str(file))
                waiting += cache._imported(file, module)
    code = f"import sys, clientbook.{name}\nprint(*[m.__file__ for n, m in sys.modules.items() if n.startswith('clientbook')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= seen


@pytest.mark.parametrize("notebook", runner.notebooks(), ids=lambda notebook: notebook.name)
def test_a_notebook_is_known_by_all_the_code_that_it_imports(notebook, again, monkeypatch):
    cells = [cell.source for cell in nbformat.read(notebook.path, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    names = {name for node in nodes if isinstance(node, ast.ImportFrom) for name in (node.module, *(
        f"{node.module}.{alias.name}" for alias in node.names
    ))} | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}  # fmt: skip
    imported = {file for name in names if name.partition(".")[0] == "clientbook" for file in cache._files(name)}
    assert imported
    book = open_book(again.folder / "small")
    run, fingerprints = book.store.run("latest"), cache.Fingerprints.of(book.store.folder)
    digests = {path.relative_to(run.folder).as_posix(): "" for path in run.folder.rglob("*.*")}

    def key(changed: Path | None) -> str:
        cache.code_of.cache_clear()
        monkeypatch.setattr(cache, "_code", lambda file: f"{file} {file == changed}")
        return cache.key(
            notebook.stage, notebook.path, run, book=book, parameters={}, fingerprints=fingerprints, digests=digests
        )  # fmt: skip

    before = key(None)
    assert [file.name for file in sorted(imported) if key(file) == before] == []
    cache.code_of.cache_clear()


def test_a_cell_that_is_no_python_imports_nothing(tmp_path):
    cells = ["%matplotlib inline\nfrom clientbook import charts", "%%bash\nimport (", "x = 1"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(book, tmp_path / "one.ipynb")
    assert cache.imported_by(tmp_path / "one.ipynb") == ("clientbook", "clientbook.charts")


def test_imports_are_found_line_by_line_as_in_the_whole_tree():
    def told(nodes) -> set[tuple]:
        return {(getattr(node, "module", ""), getattr(node, "level", 0), alias.name) for node in nodes for alias in node.names}

    odd = [
        "def f():\n    from clientbook import (  # (why)\n        a,\n        b as c,\n    )\n",
        "from clientbook.a import \\\n    b\nimport clientbook.c, \\\n    clientbook.d\n",
        '"""\nimport what is not one\n"""\nfrom . import a\nfrom ..b import *\n',
    ]
    for text in odd + [file.read_text(encoding="utf-8") for file in sorted(cache.PACKAGE.rglob("*.py"))]:
        tree = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert told(cache._imports(text)) == told(tree)


def test_threads_may_look_at_code_at_once():
    class Slow:
        """Garbage that lets other threads run while it is collected, which may happen in the midst of anything."""

        def __init__(self):
            self.itself = self

        def __del__(self):
            time.sleep(1e-3)

    def look(file: Path) -> tuple[str, ...]:
        Slow()
        return cache._imported(file, "clientbook." + file.stem)

    former = gc.get_threshold()
    gc.set_threshold(300, 2, 2)
    try:
        with ThreadPoolExecutor(4) as threads:
            files = sorted(cache.PACKAGE.glob("*.py"))
            cache._imported.cache_clear()
            assert len(list(threads.map(look, files))) == len(files)
    finally:
        gc.set_threshold(*former)


# --- What dies ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_a_dozen_moments_the_next_run_ends_as_if_nothing_had_been(small_book, small_outcome, tmp_path):
    whole = small_outcome
    book, draw = copy_of(small_book, tmp_path / "killed" / "small"), random.Random(20)
    reports = tmp_path / "killed" / "reports"
    for _ in range(12):
        process = start(book, reports)
        time.sleep(draw.uniform(0.3, 9.0))
        process.kill()
        process.communicate()
        for page in reports.rglob("*.html"):
            assert page.read_bytes().endswith(b"</html>\n")
    code, told = finish(start(book, reports))
    assert code == 0, told
    gone = time.monotonic() + 10
    while kernels_of(book) and time.monotonic() < gone:
        time.sleep(0.2)
    assert kernels_of(book) == []
    assert half_files(book / "store") == []
    run = open_book(book).run("latest")
    for part in ("tables", "models", "lists"):
        assert contents(run.folder / part) == contents(whole.run.folder / part), part
    ours, theirs = contents(reports / "small" / "latest"), contents(whole.report)
    # several may have ended well between two kills: numbers apart, the index also tells what changed since them
    name = re.compile(rb"\d{4}-\d\d-\d\d\.\d{3}")
    index = [name.sub(b"", pages.pop("index.html")) for pages in (ours, theirs)]
    assert {page: name.sub(b"", text) for page, text in ours.items()} == {
        page: name.sub(b"", text) for page, text in theirs.items()
    }
    cards = re.compile(rb'<dl class="cards">.*?</dl>', re.DOTALL)
    assert cards.search(index[0])[0] == cards.search(index[1])[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_within_seconds_and_leaves_no_kernel(small_book, tmp_path, number, code):
    book = copy_of(small_book, tmp_path / "book")
    process = start(book, tmp_path / "reports")
    deadline = time.monotonic() + 60
    while not kernels_of(book) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert kernels_of(book)
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(number)
    ended, told = finish(process, 30)
    assert (ended, time.monotonic() - began < 5) == (code, True)
    assert "Stopped" in told and "Traceback" not in told
    assert kernels_of(book) == []
    assert half_files(book / "store") == []
    assert [each["state"] for each in history.read(book / "store")] == ["failed"]
    assert not list(tmp_path.rglob("failure.html")), "who stops a run knows why it failed"


def altered(tmp_path: Path, source: str) -> Path:
    """A folder with one notebook, whose second cell is replaced."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(runner.notebooks_folder() / "01_cleaning.ipynb", as_version=4)
    [cell for cell in notebook.cells if cell.cell_type == "code"][2].source = source
    nbformat.write(notebook, folder / "01_cleaning.ipynb")
    return folder


@pytest.mark.parametrize(
    ("source", "kind", "word"),
    [
        ("import time\ntime.sleep(60)", "time", "longer than the 3 seconds"),
        ("raise MemoryError", "memory", "Memory ran out"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "killed", "crashed"),
    ],
)
def test_how_a_step_ended_is_told_apart(small_book, tmp_path, source, kind, word):
    book = copy_of(small_book, tmp_path / "book")
    with pytest.raises(runner.NotebookFailed, match=word) as error:
        runner.run(open_book(book), out=tmp_path / "reports", folder=altered(tmp_path, source), timeout=3)
    assert error.value.failure.kind == kind
    assert kernels_of(book) == []


def test_a_full_disk_is_told_and_leaves_the_last_good_report(small_book, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root may make a small disk")
    try:
        book = copy_of(small_book, disk / "book")
        assert finish(start(book, tmp_path / "reports", "--only", "cleaning"))[0] == 0
        before = contents(tmp_path / "reports" / "book" / "latest")
        free = psutil.disk_usage(str(disk)).free
        (disk / "ballast").write_bytes(b"\0" * max(free - 40_000, 0))
        code, told = finish(start(book, tmp_path / "reports", "--only", "value", "--fresh"))
        assert code in (1, 3) and "The disk is full" in told and "Free some space" in told, told
        assert "Traceback" not in told
        after = contents(tmp_path / "reports" / "book" / "latest")
        state = re.compile(rb"(?<=<!-- state -->).*?(?=<!-- /state -->)", re.DOTALL)
        assert {name: state.sub(b"", page) for name, page in after.items()} == before
        assert len(open_book(book).store.runs()) == 1
        (disk / "ballast").unlink()
        assert finish(start(book, tmp_path / "reports", "--only", "cleaning", "--fresh"))[0] == 0
        assert half_files(book / "store") == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- What the morning's reader finds -----------------------------------------------------------------------------


def test_the_failure_page_and_the_banner_in_a_browser(small_book, tmp_path):
    book = copy_of(small_book, tmp_path / "book")
    runner.run(open_book(book), out=tmp_path / "reports", only=["cleaning"])
    with pytest.raises(runner.NotebookFailed):
        runner.run(open_book(book), out=tmp_path / "reports", folder=altered(tmp_path, "1 / 0"))
    parent = tmp_path / "reports" / "book"
    for page in browser.open_pages(parent) + browser.open_pages(parent / "latest"):
        assert (page.requests, page.violations, page.overflow, page.ran) == ([], [], 0, []), page.name
    told = (parent / "failure.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in told and 'href="latest/index.html"' in told and "store/failed/2024-01-01.002" in told
    assert all('href="../failure.html"' in file.read_text(encoding="utf-8") for file in (parent / "latest").iterdir())


def test_machine_readable_for_a_scheduler(small_book, tmp_path):
    book = copy_of(small_book, tmp_path / "book")
    run = subprocess.run(
        command(book, tmp_path / "r", "--only", "cleaning", "--json"), capture_output=True, text=True, env=ENVIRONMENT
    )
    told = json.loads(run.stdout)
    assert (run.returncode, run.stderr, told["state"], told["exit_code"]) == (0, "", "done", 0)
    assert Path(told["report"]).is_file()
