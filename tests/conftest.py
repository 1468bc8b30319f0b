"""What several tests stand on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

# Files that take minutes, the longest first; they come after the others, so that what is wrong is mostly told soon.
LONG = (
    "test_made_company.py", "test_unattended.py", "test_spark.py", "test_whole_books.py", "test_nights.py", "test_forget.py",
    "test_runner.py", "test_reviewing.py", "test_content.py",
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin one after another while there is enough left to do beside them."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else -1)


@pytest.fixture(scope="session")
def small_book(tmp_path_factory) -> Path:
    """A copy of the small made book, without a store."""
    folder = tmp_path_factory.mktemp("books") / "small"
    shutil.copytree(ROOT / "tests" / "books" / "small", folder, ignore=shutil.ignore_patterns("store"))
    return folder


@pytest.fixture(scope="session")
def small_outcome(small_book, tmp_path_factory):
    """The small book after a whole run, and its report."""
    from clientbook import runner
    from clientbook.book import open_book

    return runner.run(open_book(small_book), out=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="session")
def tailor_book(tmp_path_factory) -> Path:
    """A copy of the made company that the notebooks are kept executed on, without a store."""
    folder = tmp_path_factory.mktemp("books") / "tailor"
    shutil.copytree(ROOT / "tests" / "books" / "tailor", folder, ignore=shutil.ignore_patterns("store"))
    return folder


@pytest.fixture(scope="session")
def tailor_outcome(tailor_book, tmp_path_factory):
    """The made company after a whole run, and its report."""
    from clientbook import runner
    from clientbook.book import open_book

    return runner.run(open_book(tailor_book), out=tmp_path_factory.mktemp("reports"))


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


def shared_data(name: str) -> Path:
    """A file of the shared data; the test is skipped where it is absent, which in CI is a failure."""
    path = SHARED / name
    if not path.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and in CI nothing may be skipped")
        pytest.skip(f"{path} is not there")
    return path
