"""What a machine is told so that it runs the book every night."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from clientbook import schedule
from clientbook.book import open_book
from clientbook.faults import UsageError


@pytest.fixture
def told(make_book):
    folder = make_book("name: 100% Wool\nsources: {a: {orders: {path: a.csv}}}\n", a__csv="person_id,ordered_at\n1,2026-01-01\n")
    spaced = folder.parent / "my book 5%"
    folder.rename(spaced)
    return spaced, schedule.told(open_book(spaced), "02:05", Path("/srv/reports"), "/opt/clientbook")


def unit(text: str, kind: str) -> str:
    return text.split(f".{kind}\n", 1)[1].split("# ---", 1)[0]


def test_systemd_runs_the_command_and_makes_up_for_a_night_missed(told, tmp_path):
    folder, text = told
    for kind in ("service", "timer"):
        parsed = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        parsed.optionxform = str
        parsed.read_string(unit(text, kind))
        if kind == "timer":
            assert parsed["Timer"]["Persistent"] == "true" and parsed["Timer"]["OnCalendar"] == "*-*-* 02:05:00"
        else:
            words = shlex.split(parsed["Service"]["ExecStart"].replace("%%", "%"))
            assert words[:3] == ["/opt/clientbook", "run", str(folder)] and "--quiet" in words


def test_crontab_and_airflow_call_the_same(told):
    folder, text = told
    cron = next(line for line in text.splitlines() if line.startswith("5 2 * * * "))
    words = shlex.split(cron.removeprefix("5 2 * * * ").replace("\\%", "%"))
    assert words[2] == str(folder)
    task = text.split("# --- or a task of an Airflow DAG\n")[1]
    call = compile(task, "task", "eval")
    given = eval(call, {"BashOperator": dict})
    assert shlex.split(given["bash_command"]) == words and given["skip_on_exit_code"] == 4


@pytest.mark.parametrize("at", ["25:00", "2", "02:60", "noon", "02:30:00"])
def test_no_time_of_day(told, at):
    with pytest.raises(UsageError, match="02:30"):
        schedule.told(open_book(told[0]), at, Path("r"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_time(told):
    assert subprocess.run(["systemd-analyze", "calendar", "*-*-* 02:05:00"], capture_output=True).returncode == 0
