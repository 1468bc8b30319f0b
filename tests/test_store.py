"""What a run leaves is whole or not there, has a number of its own, and stays for twelve runs."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clientbook import stage
from clientbook.faults import ClientbookError
from clientbook.privacy import redact
from clientbook.store import KEEP, Run, Store, whole, write_json

DAY = dt.date(2024, 6, 1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "book" / "store")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []


def make_run(store, day=DAY, ended_whole=True):
    return store.finish(store.start(day), whole=ended_whole)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_was_not_finished_leaves_the_old_one_and_nothing_else(tmp_path, error):
    target = tmp_path / "lists" / "a.csv"
    with whole(target) as draft:
        draft.write_text("old")
    with pytest.raises(error), whole(target) as draft:
        draft.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(target.parent) == ["a.csv"]


def test_while_a_file_is_written_its_place_holds_the_old_one(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with whole(target) as draft:
        draft.write_text("new")
        assert target.read_text() == "old"
        assert draft.parent == target.parent and draft.name.startswith(".")
    assert target.read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a.csv"):
        pass
    assert names(tmp_path) == []


def test_json_is_plain_and_numpy_numbers_stay_numbers(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"n": np.int64(3), "x": np.float32(0.5), "yes": np.bool_(True), "day": DAY, "path": Path("a/b"), "ö": "é"})
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told == {"n": 3, "x": 0.5, "yes": True, "day": "2024-06-01", "path": "a/b", "ö": "é"}
    assert "ö" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float64("nan"), np.float32("nan")])
def test_json_holds_nothing_that_is_no_number(tmp_path, bad):
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})
    with pytest.raises(ValueError):
        write_json(file, {"x": [bad]})
    assert json.loads(file.read_text()) == {"x": 1}
    assert names(tmp_path) == ["a.json"]


def test_runs_are_numbered_on_over_whole_failed_and_unfinished_ones(store):
    assert make_run(store).name == "2024-06-01.001"
    assert make_run(store, ended_whole=False).name == "2024-06-01.002"
    assert store.start(DAY).name == "2024-06-01.003"
    assert store.abandoned() == []
    # one run at a time holds the book: what was being built belonged to a run that was killed, and its number is free
    assert store.start(DAY).name == "2024-06-01.003"
    assert [run.name.rpartition("-2024")[0].startswith(".killed-") for run in store.abandoned()] == [True]
    assert store.start(dt.date(2024, 6, 2)).name == "2024-06-02.001"
    assert len(store.abandoned()) == 2
    for run in store.abandoned():
        store.finish(run, whole=False)
    assert store.abandoned() == []
    assert [run.name for run in store.runs()] == ["2024-06-01.001"]
    assert names(store.folder / "failed") == ["2024-06-01.002"]


def test_the_last_twelve_are_kept(store):
    for _ in range(KEEP + 3):
        make_run(store)
    assert KEEP == 12
    assert [run.name for run in store.runs()] == [f"2024-06-01.{n:03d}" for n in range(4, 16)]
    for _ in range(KEEP + 1):
        make_run(store, ended_whole=False)
    assert len(names(store.folder / "failed")) == KEEP
    assert len(store.runs()) == KEEP


def test_what_only_the_next_run_reads_stays_in_the_newest_whole_run_that_has_it(store):
    def with_tables(day, *tables, ended_whole=True):
        run = store.start(dt.date(2024, 6, day))
        for table in tables:
            path = run.folder / "tables" / f"{table}.parquet"
            path.mkdir() if table == "parts" else path.write_bytes(b"1")
            if table == "parts":
                (path / "part-0.parquet").write_bytes(b"1")
        return store.finish(run, whole=ended_whole)

    runs = [with_tables(1, "parts", "known"), with_tables(2, "passing", "known"), with_tables(3, "passing", "parts", "known")]
    failed, last = with_tables(4, "passing", "known", ended_whole=False), with_tables(5, "known")
    store.prune(["passing", "parts", "never"])
    assert [run.tables for run in (*runs, last)] == [("known",), ("known",), ("known", "parts", "passing"), ("known",)]
    assert failed.tables == ("known",)
    first = with_tables(1, "passing")
    store.prune(["passing"])
    assert first.tables == () and "passing" in runs[-1].tables
    failed = with_tables(6, "other", ended_whole=False)
    store.prune(["other"])
    assert failed.tables == ("other",), "no whole run has it: the next may go on from it"


def test_a_run_of_an_earlier_day_is_there_after_it_ended(store):
    for day in range(1, 13):
        make_run(store, dt.date(2024, 6, day))
    late = make_run(store, dt.date(2020, 1, 1))
    assert late.folder.is_dir()
    assert len(store.runs()) == KEEP
    assert store.runs()[0].name == "2020-01-01.001"
    assert store.run("latest").name == "2024-06-12.001"


def test_the_thousandth_run_comes_after_the_one_before(store):
    for number in (2, 998, 999):
        (store.folder / "runs" / f"2024-06-01.{number:03d}").mkdir(parents=True)
    assert make_run(store).name == "2024-06-01.1000"
    assert [run.name[-4:] for run in store.runs()] == [".002", ".998", ".999", "1000"]
    assert store.run("latest").name == "2024-06-01.1000"
    assert store.start(DAY).name == "2024-06-01.1001"


def test_strange_folders_are_no_runs(store):
    for name in ("notes", "2024-06-01", "2024-06-01.1", ".2024-06-01.001", "2024-06-01.001.bak"):
        (store.folder / "runs" / name).mkdir(parents=True)
    assert store.runs() == []
    assert make_run(store).name == "2024-06-01.001"


def test_an_unknown_run_is_told_with_those_that_there_are(store):
    with pytest.raises(ClientbookError, match="has no run yet"):
        store.run()
    with pytest.raises(ClientbookError, match="its runs: none"):
        store.run("2024-06-01.001")
    make_run(store)
    under_way = store.start(DAY)
    assert store.run(under_way.name) == Run(under_way.folder)
    assert store.run().name == "2024-06-01.001"
    for name in ("2024-06-01.009", "../runs/2024-06-01.001", "latest ", ""):
        with pytest.raises(ClientbookError, match=r"no run .*its runs: 2024-06-01\.001"):
            store.run(name)


def test_a_run_tells_its_day_its_tables_and_what_it_lacks(store):
    run = store.start(DAY)
    for name in ("value", "orders"):
        with whole(run.folder / "tables" / f"{name}.parquet") as draft:
            pd.DataFrame({"person_id": ["007", None]}).to_parquet(draft)
    write_json(run.folder / "models" / "bg.json", {"r": 0.25})
    assert (run.as_of, run.tables, run.info) == (DAY, ("orders", "value"), {})
    assert run.read("orders").to_pandas()["person_id"].tolist()[0] == "007"
    # who looks at a book joins what it holds
    assert run.read("orders").join(run.read("value"), "person_id").count().to_pandas() == 1
    # a bar would be drawn into what a command prints
    shown = run.read("orders").get_backend().raw_sql("SELECT current_setting('enable_progress_bar')").fetchone()
    assert shown == (False,)
    assert run.model("bg") == {"r": 0.25}
    assert run.record("cleaning") == {}
    with pytest.raises(ClientbookError, match=r"no table 'customers'; its tables: orders, value"):
        run.read("customers")
    with pytest.raises(ClientbookError, match="no model 'gg'"):
        run.model("gg")


def test_a_stage_that_cannot_import_a_library_does_not_say_that_it_is_not_there(monkeypatch):
    with pytest.raises(ClientbookError, match="no module"):
        stage.load_stage("abacus")

    def lacks(name):
        raise ModuleNotFoundError("No module named 'lifetimes'", name="lifetimes")

    monkeypatch.setattr(stage, "import_module", lacks)
    with pytest.raises(ModuleNotFoundError, match="lifetimes"):
        stage.load_stage("value")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Could not convert string 'Ann Lee' to INT64", "Could not convert string [value] to INT64"),
        ("could not convert string to float: 'Ann Lee'", "could not convert string to float: [value]"),
        ("invalid literal for int() with base 10: 'Ann'", "invalid literal for int() with base 10: [value]"),
        ("ask ann.o'lee@example.co.uk today", "ask [e-mail] today"),
        ("postgres://ann:secret@db/x failed", "[address] failed"),
        ("call +49 (30) 123-4567 or 0049301234567", "call [number] or [number]"),
        ("column 'Kd-Nr': the file has no such column.", "column 'Kd-Nr': the file has no such column."),
    ],
)
def test_messages_are_told_without_what_could_be_a_person(text, told):
    assert redact(text) == told


def test_a_long_message_is_redacted_in_time():
    # a pattern that looks at each letter from each letter on would take minutes
    began = dt.datetime.now()
    assert redact("a" * 200_000) == "a" * 200_000
    assert (dt.datetime.now() - began).total_seconds() < 20
