"""Books that bring some tables only run to the end, and each page that cannot be made says why.

The real ones read `../shared/data`, as SOURCES.md there describes it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import ROOT, shared_data

import clientbook
from clientbook import runner
from clientbook.book import open_book


def steps(outcome) -> dict[str, dict]:
    """What became of every notebook, read from what the run left on disk."""
    return json.loads((outcome.run.folder / "run.json").read_text(encoding="utf-8"))["notebooks"]


def states(outcome) -> dict[str, str]:
    return {name: step["state"] for name, step in steps(outcome).items()}


def run(folder: Path):
    return runner.run(open_book(folder), out=folder.parent / "reports")


def linked(make_book, data: Path, table: str, columns: str) -> Path:
    folder = make_book(f"name: Real\nsources:\n  one:\n    {table}: {{path: {data.name}, columns: {columns}}}\n")
    (folder / data.name).symlink_to(data)
    return folder


def check(outcome, skipped: set[str]):
    told = states(outcome)
    assert {name for name, state in told.items() if state == "skipped"} == skipped
    assert set(told.values()) <= {"done", "skipped"}
    for name in skipped:
        why, page = steps(outcome)[name]["message"], (outcome.report / f"{name}.html").read_text(encoding="utf-8")
        assert why, name
        assert why.split("`")[0] in page, name


def test_purchases_alone_cdnow(tmp_path):
    folder = tmp_path / "cdnow"
    shutil.copytree(ROOT / "data" / "cdnow", folder, ignore=shutil.ignore_patterns("store"))
    check(run(folder), {"06_content"})


def test_purchases_alone_online_retail(tmp_path):
    data = shared_data("online_retail_II.parquet")
    folder = tmp_path / "online_retail"
    shutil.copytree(ROOT / "data" / "online_retail", folder, ignore=shutil.ignore_patterns("store"))
    (folder / data.name).symlink_to(data)
    outcome = run(folder)
    check(outcome, {"06_content"})
    assert clientbook.open(folder).run("latest").read("value").count().to_pandas() == 5_881


def test_people_alone_historical_figures(make_book):
    data = shared_data("historical_figures_with_errors_50k.parquet")
    columns = (
        "{person_id: unique_id, full_name: full_name, given_name: first_name, family_name: surname, "
        "birth_date: dob, postcode: postcode_fake, job_title: occupation}"
    )
    outcome = run(linked(make_book, data, "people", columns))
    check(outcome, {"04_value", "05_journeys", "06_content", "08_use_cases"})


def test_events_alone_bpi_2012(make_book):
    data = shared_data("bpic2012.parquet")
    columns = "{person_id: 'case:concept:name', event_name: 'concept:name', occurred_at: 'time:timestamp'}"
    check(run(linked(make_book, data, "events", columns)), {"04_value", "06_content", "08_use_cases"})


def test_messages_without_events(make_book):
    lines = ["id,who,sent,channel,topic,content"]
    lines += [f"m{i},p{i % 7},2026-0{1 + i % 6}-1{i % 9} 09:00,email,uniforms,c{i % 3}" for i in range(60)]
    folder = make_book(
        "name: Messages\nas_of: 2026-07-01\nsources:\n  mail:\n    messages:\n      path: sent.csv\n"
        "      columns: {message_id: id, person_id: who, sent_at: sent, channel: channel, topic: topic, content_id: content}\n",
        sent__csv="\n".join(lines) + "\n",
    )
    outcome = run(folder)
    told = states(outcome)
    assert told["06_content"] == "done"
    assert "failed" not in told.values()


def test_a_table_of_two_rows(make_book):
    folder = make_book(
        "name: Two\nas_of: 2026-07-01\nsources:\n  crm:\n    people:\n      path: people.csv\n",
        people__csv="person_id,full_name,email\n1,Ada Muster,ada@example.org\n2,Bo Muster,bo@example.org\n",
    )
    assert "failed" not in states(run(folder)).values()
