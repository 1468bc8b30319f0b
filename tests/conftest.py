"""What several tests stand on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clientbook import lock

# Files that take minutes, the longest first; they come after the others, so that what is wrong is mostly told soon. Who works
# at the last two tests of a file is given the next one already, so those with few and long tests are not among the last.
LONG = (
    "test_spark.py", "test_made_company.py", "test_nights.py", "test_whole_books.py", "test_forget.py", "test_unattended.py",
    "test_notebooks.py", "test_reviewing.py", "test_content.py", "test_runner.py",
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin one after another while there is enough left to do beside them."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else -1)


@pytest.fixture(scope="session")
def small_book(tmp_path_factory) -> Path:
    """A copy of the small made book, without a store."""
    return _copied("small", tmp_path_factory.mktemp("books") / "small")


@pytest.fixture(scope="session")
def small_done(tmp_path_factory) -> Path:
    """A folder with the small book after a whole run, its `reports`, and the `notebooks`; nobody may change them."""
    return _made_once(tmp_path_factory, "small_done", lambda folder: _run("small", folder))


@pytest.fixture(scope="session")
def small_outcome(small_done):
    """The small book after a whole run, and its report."""
    return _outcome(small_done, "small")


@pytest.fixture(scope="session")
def tailor_done(tmp_path_factory) -> Path:
    """A folder as `small_done`, of the made company that the notebooks are kept executed on."""
    return _made_once(tmp_path_factory, "tailor_done", lambda folder: _run("tailor", folder))


@pytest.fixture(scope="session")
def tailor_book(tailor_done) -> Path:
    """The made company after a whole run; nobody may change it."""
    return tailor_done / "tailor"


@pytest.fixture(scope="session")
def tailor_outcome(tailor_done):
    """The made company after a whole run, and its report."""
    return _outcome(tailor_done, "tailor")


def _copied(name: str, folder: Path) -> Path:
    return shutil.copytree(ROOT / "tests" / "books" / name, folder, ignore=shutil.ignore_patterns("store"))


def _run(name: str, folder: Path) -> None:
    from clientbook import runner
    from clientbook.book import open_book

    _copied(name, folder / name)
    shutil.copytree(runner.notebooks_folder(), folder / "notebooks")
    runner.run(open_book(folder / name), out=folder / "reports", folder=folder / "notebooks")


def _outcome(done: Path, name: str):
    from clientbook import runner
    from clientbook.book import open_book

    return runner.Outcome(open_book(done / name).run("latest"), (done / "reports" / name / "latest").resolve())


def _made_once(factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the workers to need it makes, while those that need it too wait."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    place = factory.getbasetemp() if alone else factory.getbasetemp().parent
    folder, made = place / name, place / f"{name}.made"
    with contextlib.ExitStack() as held:
        while True:
            with contextlib.suppress(lock.HeldError):
                held.enter_context(lock.hold(place / f"{name}.lock", "made"))
                break
            time.sleep(0.2)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


@pytest.fixture
def engine(tmp_path):
    """An engine of its own for a test."""
    from clientbook import engine

    with engine.open("duckdb", scratch=tmp_path / "scratch") as opened:
        yield opened


@pytest.fixture
def make_book(tmp_path):
    """Writes a book of the given settings and files, and tells its folder."""

    def write(settings: str, **files: str | bytes) -> Path:
        folder = tmp_path / "book"
        folder.mkdir(exist_ok=True)
        (folder / "clientbook.yaml").write_text(settings, encoding="utf-8")
        for name, content in files.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return write


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls a command in this process: its exit code, what it printed, what it complained."""

    from clientbook import cli

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["clientbook", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in told]
        return ended.value.code, *plain

    return run


def shared_data(name: str) -> Path:
    """A file of the shared data; the test is skipped where it is absent, which in CI is a failure."""
    path = SHARED / name
    if not path.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and in CI nothing may be skipped")
        pytest.skip(f"{path} is not there")
    return path
