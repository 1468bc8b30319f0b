"""The commands: what they print, what they end with, and what they never say."""

from __future__ import annotations

import errno
import json
import os

import pytest

from clientbook import book, checking, cli

SOUND = "name: Made\nsources: {shop: {orders: {path: o.csv}}}\n"
ORDERS = "person_id,ordered_at,amount\n007,2024-01-05,5\n"
COMMANDS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)


def test_help_lists_every_command(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(name in out for name in ("run", "check", "lab")) and set(COMMANDS) >= {"run", "check", "lab"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_in_its_help(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"Example: clientbook {command}" in out


def test_the_help_of_run_tells_every_parameter(call):
    from clientbook import runner

    _, out, _ = call("run", "--help")
    names = [name for name, *_ in runner.describe_parameters(runner.notebooks())]
    assert names and all(name in out for name in names)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["chekc"], "No such command 'chekc'"),
        (["check", "--alll"], "No such option"),
        (["check", "a", "b"], "unexpected extra argument"),
        (["lab", "--port", "many"], "valid integer"),
        (["run", "--as-of"], "requires an argument"),
        (["run", "--as-of", "2024-02-30"], "write it as 2024-06-01"),
        (["run", "--as-of", "tomorrow"], "'tomorrow' is not a day"),
        (["run", "--engine", "abacus"], "There are: duckdb, spark"),
        (["run", "--only", "vlaue"], "There are: 01_cleaning, 02_profiling"),
        (["run", "-p", "value.horizon_days"], "write it as value.horizon_days=180"),
        (["run", "-p", "horizon_days=5"], "write it as value.horizon_days=180"),
        (["run", "-p", "value.=5"], "write it as value.horizon_days=180"),
        (["run", "-p", "vlaue.horizon_days=5"], "There is no notebook 'vlaue'"),
        (["run", "-p", "value.horizon=5"], "has no parameter 'horizon'; it has: "),
        (["run", "-p", "value.horizon_days=soon"], "value.horizon_days: "),
        (["run", "-p", "value.horizon_days=-1"], "value.horizon_days: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(call, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    code, out, complaint = call(*words)
    assert (code, out) == (2, "")
    assert told in complaint and "Traceback" not in complaint
    assert list(tmp_path.iterdir()) == [], "wrong usage makes nothing"


def test_no_command_shows_the_help(call):
    code, out, complaint = call()
    assert code == 2
    assert "check" in out + complaint and "Traceback" not in complaint


@pytest.mark.parametrize("inside", ["", "clientbook.yaml"])
def test_a_sound_book_is_checked_by_its_folder_or_its_file(call, make_book, inside):
    folder = make_book(SOUND, o__csv=ORDERS)
    code, out, complaint = call("check", folder / inside)
    assert (code, complaint) == (0, "")
    assert out.splitlines() == ["o.csv (shop.orders): 1 rows: 1 kept.", "Nothing is at fault."]
    assert sorted(path.name for path in folder.iterdir()) == ["clientbook.yaml", "o.csv"]


def test_rows_that_the_policy_bears_are_told_and_are_no_fault(call, make_book):
    rows = ORDERS + "".join(f"a{n},2024-01-05,5\n" for n in range(8)) + ",2024-01-05,5\n"
    folder = make_book(SOUND, o__csv=rows)
    code, out, complaint = call("check", folder)
    assert code == 1 and "1 fault.\nA book that can do without such rows says so in its policy" in complaint
    for limit, wanted in ((0.9, 0), (0.95, 1)):
        folder.joinpath("clientbook.yaml").write_text(SOUND + f"policy: [{{rule: rows that can be used, at_least: {limit}}}]\n")
        code, out, complaint = call("check", folder)
        assert code == wanted and "person_id is missing" in complaint
        assert ("Nothing is at fault: 1 row rejected, no more than the book's policy bears." in out) == (wanted == 0)
    folder.joinpath("clientbook.yaml").write_text(SOUND + "policy: [{rule: rows that can be used, at_least: 0.5}]\n")
    folder.joinpath("labels.csv").write_text("source_a,person_id_a,source_b,person_id_b,answer\nshop,a,shop,b,perhaps\n")
    code, _, complaint = call("check", folder)
    assert code == 1 and "1 fault; 1 row rejected beside, no more than the book's policy bears." in complaint


@pytest.mark.parametrize("command", ["check", "runs", "schedule"])
def test_who_only_looks_at_a_book_makes_none(call, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIENTBOOK_BOOK", raising=False)
    code, out, complaint = call(command)
    assert (code, out) == (2, "") and "clientbook demo" in complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EACCES, "right"), (errno.ENOSPC, "room"), (errno.EROFS, "another place"), (errno.EIO, "unforeseen")]
)
def test_a_disk_that_refuses_is_told_with_its_place_and_the_remedy(call, monkeypatch, tmp_path, number, told):
    def refuse(*args, **more):
        raise OSError(number, os.strerror(number), str(tmp_path / "kept"))

    monkeypatch.setattr(checking, "check", refuse)
    monkeypatch.setattr(book, "open_book", lambda folder: None)
    code, _, complaint = call("check", tmp_path)
    assert code == 1 and told in complaint and "Traceback" not in complaint
    assert (str(tmp_path / "kept") in complaint) == (told != "unforeseen")


def test_a_made_company_that_cannot_be_written_is_told(call, tmp_path):
    (tmp_path / "file").write_text("x")
    code, _, complaint = call("demo", tmp_path / "file" / "inside", "--people", 300)
    assert code == 2 and "cannot be written" in complaint and "Name another folder" in complaint


def test_a_folder_that_is_no_book_is_told(call, tmp_path):
    file = tmp_path / "o.csv"
    file.write_text(ORDERS)
    for path, told in ((tmp_path, "no clientbook.yaml"), (tmp_path / "gone", "no such folder"), (file, "is a file")):
        code, out, complaint = call("check", path)
        assert (code, out) == (1, "")
        assert told in complaint and str(path) in complaint


def test_every_fault_of_the_settings_is_told(call, make_book):
    code, _, complaint = call("check", make_book("nme: X\ncurrency: e\nsources: {shop: {ordrs: {path: a}}}\n"))
    assert code == 1
    assert {line.partition(":")[0] for line in complaint.splitlines()} == {"clientbook.yaml", "currency", "name", "sources.shop"}


def test_every_fault_of_the_data_is_told_on_a_line_of_its_own(call, make_book):
    content = (
        "person_id,ordered_at,amount\nAnn Lee,2024-02-30,1\n,2024-01-05,1\n<script>x</script>,2024-01-05,-5\nBo,2024-01-05,free\n"
    )
    folder = make_book(SOUND, o__csv=content)
    code, out, complaint = call("check", folder)
    assert code == 1
    assert sorted(complaint.splitlines()) == [
        "2 faults.",
        "A book that can do without such rows says so in its policy: {rule: rows that can be used, at_least: 0.98}.",
        "sources.shop.orders, o.csv, row 2, column 'ordered_at': ordered_at is not a valid time.",
        "sources.shop.orders, o.csv, row 3, column 'person_id': person_id is missing.",
    ]
    assert "o.csv (shop.orders): 4 rows: 1 kept, 1 returns, 2 rejected." in out
    assert "column 'amount': 1 cell will be emptied" in out
    assert not [word for word in ("Ann", "script", "free") if word in out + complaint]
    assert not (folder / "store").exists()


FILES = {
    "missing": ({}, "o.csv: The file is not there"),
    "empty": ({"o__csv": b""}, "o.csv: The file is empty"),
    "unreadable": ({"o__csv": b"\x00\x01\xff" * 40}, "o.csv"),
    "a folder without data": ({"o__csv": "person_id,amount\n1,2\n"}, "`ordered_at`, and no column is mapped"),
    "undecidable days": ({"o__csv": "person_id,ordered_at\n1,01/02/2024\n"}, "%m/%d/%Y"),
    "mixed types": ({"o__csv": "person_id,ordered_at\n1,2024-01-05\n2,5\n"}, "o.csv, row 3, column 'ordered_at'"),
    "a quote never closed": ({"o__csv": 'person_id,ordered_at\n1,"2024-01-05\n'}, "o.csv, row 2"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_input_ends_with_1_and_a_message_never_a_traceback(call, make_book, name):
    files, told = FILES[name]
    folder = make_book(SOUND, **files)
    code, _, complaint = call("check", folder)
    assert code == 1
    assert told in complaint and "Traceback" not in complaint
    assert not (folder / "store").exists()


def test_debug_shows_where_and_keeps_the_exit_code(call, make_book):
    code, _, complaint = call("check", make_book(SOUND), "--debug")
    assert code == 1
    assert "Traceback" in complaint and complaint.rstrip().splitlines()[-1].startswith("sources.shop.orders, o.csv")


def test_wrong_usage_is_wrong_usage_with_debug_too(call):
    code, _, complaint = call("run", "--as-of", "tomorrow", "--debug")
    assert code == 2
    assert "Traceback" in complaint and "'tomorrow' is not a day" in complaint


@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_told_without_what_it_may_quote(call, make_book, monkeypatch, debug):
    def fail(*args, **more):
        raise ValueError("Could not use the name 'Ann Lee'")

    monkeypatch.setattr(checking, "check", fail)
    code, _, complaint = call("check", make_book(SOUND), *(["--debug"] if debug else []))
    assert code == 1
    assert "ValueError" in complaint
    assert ("Ann Lee" in complaint, "Traceback" in complaint) == (debug, debug)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left on device"), 1)])
def test_being_stopped_is_no_accident(call, make_book, monkeypatch, error, code):
    def stop(*args, **more):
        raise error

    monkeypatch.setattr(checking, "check", stop)
    ended, _, complaint = call("check", make_book(SOUND))
    assert ended == code
    assert "Traceback" not in complaint
    assert "Stopped." in complaint or "No space left on device" in complaint


def test_what_could_not_become_a_report_is_told_before_the_work(call, make_book, tmp_path):
    folder = make_book(SOUND)
    (tmp_path / "outf").touch()
    code, _, complaint = call("run", folder, "--out", tmp_path / "outf" / "deeper")
    assert code == 2 and f"{tmp_path / 'outf'} is a file" in complaint
    code, _, complaint = call("run", folder, "--as-of", "2999-01-01", "--out", tmp_path / "reports")
    assert code == 2 and "2999-01-01 is still to come" in complaint
    assert not (folder / "store").exists()


def test_a_scheduler_hears_of_what_nobody_foresaw(call, make_book, monkeypatch, tmp_path):
    from clientbook import runner

    def fail(*args, **more):
        raise RuntimeError("of Ann Muster")

    monkeypatch.setattr(runner, "run", fail)
    code, out, _ = call("run", make_book(SOUND), "--json", "--out", tmp_path / "reports")
    assert code == 1 and json.loads(out) == {
        "state": "failed", "exit_code": 1, "message": "Something unforeseen happened (RuntimeError)."
    }  # fmt: skip


def test_lab_opens_the_notebooks_with_the_book(call, make_book, monkeypatch):
    asked = {}

    class StandIn:
        def __init__(self, command, env):
            asked.update(command=command, env=env)

        def wait(self):
            return 5

    monkeypatch.setattr(cli.subprocess, "Popen", StandIn)
    folder = make_book(SOUND)
    code, _, _ = call("lab", folder, "--no-browser", "--port", "9999")
    assert code == 5
    assert asked["env"]["CLIENTBOOK_BOOK"] == str(folder.resolve())
    assert {"--no-browser", "--port=9999"} <= set(asked["command"])
    assert any(word.startswith("--ServerApp.root_dir=") and word.endswith("notebooks") for word in asked["command"])
