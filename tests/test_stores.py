"""Files of an object store, by the store in memory that fsspec brings."""

from __future__ import annotations

import gzip

import fsspec
import pytest

from clientbook import sources
from clientbook.faults import FaultError


@pytest.fixture
def store():
    files = fsspec.filesystem("memory")
    for name, content in {
        "/shop/2024/a.csv": b"person_id,ordered_at\n007,2024-01-05\n",
        "/shop/2024/b.csv.gz": gzip.compress(b"person_id,ordered_at\n8,2024-01-06\n9,2024-01-07\n"),
        "/shop/2024/_SUCCESS": b"",
        "/shop/2025/a.csv": b"person_id,ordered_at\n10,2025-01-05\n",
    }.items():
        files.pipe(name, content)
    yield files
    files.rm("/shop", recursive=True)


@pytest.mark.parametrize(
    ("path", "people", "names"),
    [
        ("memory://shop/2024/a.csv", ["007"], ["2024/a.csv"]),
        ("memory://shop/2024", ["007", "8", "9"], ["2024/a.csv", "2024/b.csv.gz"]),
        ("memory://shop/*/*.csv", ["007", "10"], ["2024/a.csv", "2025/a.csv"]),
    ],
)
def test_a_file_a_folder_and_a_glob_are_read_like_files(store, engine, tmp_path, path, people, names):
    raw = sources.read(engine, tmp_path, path=path)
    assert raw.table.order_by("_arrival").to_pandas()["person_id"].tolist() == people
    assert [facts.path for facts in raw.files] == [f"memory:///shop/{name}" for name in names]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("memory://shop/2026", "No data file is there."),
        ("memory://shop/2024/c.csv", "No data file is there."),
        ("nosuch://shop/a.csv", "No driver for nosuch:// is installed."),
    ],
)
def test_what_is_not_there_is_told(store, engine, tmp_path, path, word):
    with pytest.raises(FaultError) as error:
        sources.read(engine, tmp_path, path=path, key="sources.shop.orders")
    (told,) = error.value.faults
    assert (told.message, told.key, told.file) == (word, "sources.shop.orders", path)


def test_what_a_driver_says_is_not_quoted(store, engine, tmp_path, monkeypatch):
    def refuse(*given, **more):
        raise RuntimeError("secret-token")

    monkeypatch.setattr(type(store), "_open", refuse)
    with pytest.raises(FaultError, match=r"does not answer \(RuntimeError\)") as error:
        sources.read(engine, tmp_path, path="memory://shop/2024/a.csv")
    assert "secret-token" not in str(error.value)
