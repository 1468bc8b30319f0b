"""Kernels forked from a process that has imported everything: own environment, own end, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from clientbook import forkserver

pytestmark = pytest.mark.skipif(not forkserver.AVAILABLE, reason="forking after imports is safe on Linux alone")


@pytest.fixture(scope="module")
def server():
    opened = forkserver.ForkServer()
    yield opened
    opened.close()


@pytest.fixture
def kernel(server, tmp_path):
    """Starts kernels, and tells what an expression is in one."""
    started = []

    def start(later=(), **environment: str):
        file, _ = write_connection_file(str(tmp_path / f"k{len(started)}.json"))
        child = server.fork(["-f", file], {**os.environ, **environment}, str(tmp_path), later)
        client = BlockingKernelClient(connection_file=file)
        client.load_connection_file()
        client.start_channels()
        until = time.monotonic() + 60
        while True:
            try:
                client.wait_for_ready(timeout=60)
                break
            except RuntimeError:
                # on a busy machine a heart that beats late is taken for one that stopped
                if child.poll() is not None or time.monotonic() > until:
                    raise
        started.append((child, client))

        def ask(expression: str):
            told = client.execute_interactive("", user_expressions={"it": expression}, timeout=60, store_history=False)
            said = told["content"]["user_expressions"]["it"]
            return said["data"]["text/plain"] if said["status"] == "ok" else said["ename"]

        return child, ask

    yield start
    for child, client in started:
        client.stop_channels()
        if child.poll() is None:
            child.kill()
            child.wait(10)


def test_a_kernel_has_its_own_environment_folder_and_group(kernel, tmp_path):
    (first, ask), (second, ask_second) = kernel(COLOUR="red"), kernel(COLOUR="blue")
    assert first.pid != second.pid
    assert [each("__import__('os').environ['COLOUR']") for each in (ask, ask_second)] == ["'red'", "'blue'"]
    assert ask("__import__('os').getcwd()") == repr(str(tmp_path))
    assert ask("__import__('os').getpgrp() == __import__('os').getpid()") == "True"
    # nothing that one kernel does is seen by another
    ask("__import__('builtins').__dict__.update(left=1)")
    assert ask("left") == "1" and ask_second("left") == "NameError"


def test_what_is_imported_is_there_already(kernel):
    _, ask = kernel()
    assert (
        ask("all(n in __import__('sys').modules for n in ('clientbook.engine', 'ibis.backends.duckdb', 'matplotlib.figure'))")
        == "True"
    )
    assert ask("__import__('threading').active_count() < 20") == "True"


def test_what_the_next_stages_need_is_imported_while_a_kernel_runs(server, kernel):
    def loaded() -> set[str]:
        libraries = [library.path for library in psutil.Process(server._process.pid).memory_maps()]
        return {name for name in ("cluster", "ensemble") if any(f"/sklearn/{name}/" in path for path in libraries)}

    kernel()
    assert loaded() == set()
    kernel(later=["segments"])
    until = time.monotonic() + 60
    while not loaded() and time.monotonic() < until:
        time.sleep(0.2)
    assert loaded() == {"cluster"}


def test_a_matrix_is_worked_on_by_one_thread(kernel):
    _, ask = kernel()
    assert ask("{pool['num_threads'] for pool in __import__('threadpoolctl').threadpool_info()}") == "{1}"


def test_a_server_that_was_started_before_is_the_one_that_forks(tmp_path):
    server = forkserver.ForkServer()
    server.start()
    before = server._process.pid
    file, _ = write_connection_file(str(tmp_path / "k.json"))
    child = server.fork(["-f", file], dict(os.environ), str(tmp_path))
    assert server._process.pid == before and psutil.Process(child.pid).ppid() == before
    child.kill()
    child.wait(10)
    server.close()


def test_two_kernels_draw_different_random_numbers(kernel):
    assert kernel()[1]("__import__('random').random()") != kernel()[1]("__import__('random').random()")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_how_a_kernel_ended_is_known(kernel, number):
    child, _ = kernel()
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    os.kill(child.pid, number)
    assert child.wait(10) == child.poll() == -number
    child.send_signal(signal.SIGTERM)


def test_a_kernel_that_cannot_begin_says_so(server, tmp_path):
    child = server.fork(
        ["-f", str(tmp_path / "k.json"), "--no-such-option=1", "--ip"], dict(os.environ), str(tmp_path / "nowhere")
    )
    assert child.wait(60) != 0


def test_another_server_follows_one_that_died(tmp_path):
    server = forkserver.ForkServer()
    file, _ = write_connection_file(str(tmp_path / "k.json"))
    child = server.fork(["-f", file], dict(os.environ), str(tmp_path))
    os.kill(server._process.pid, signal.SIGKILL)
    # a kernel sees within a second or two that its parent is gone
    assert child.wait(10) == -signal.SIGKILL
    gone = time.monotonic() + 20
    while psutil.pid_exists(child.pid) and psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < gone:
        time.sleep(0.1)
    assert time.monotonic() < gone
    other, _ = write_connection_file(str(tmp_path / "other.json"))
    second = server.fork(["-f", other], dict(os.environ), str(tmp_path))
    assert second.poll() is None
    second.kill()
    second.wait(10)
    server.close()


def test_the_last_word_of_a_server_that_died_answers_nobody_else(tmp_path):
    server = forkserver.ForkServer()
    files = [write_connection_file(str(tmp_path / f"{i}.json"))[0] for i in range(3)]
    server.fork(["-f", files[0]], dict(os.environ), str(tmp_path))
    server._process.kill()
    server._process.wait()
    children = [server.fork(["-f", file], dict(os.environ), str(tmp_path)) for file in files[1:]]
    assert None not in children and children[0].pid != children[1].pid
    for child in children:
        assert child.poll() is None
        child.kill()
        assert child.wait(10) == -signal.SIGKILL
    server.close()


def test_nothing_is_left_when_its_process_is_killed(tmp_path):
    file, _ = write_connection_file(str(tmp_path / "k.json"))
    code = (
        "import json, os, sys, time\nfrom clientbook.forkserver import ForkServer\nserver = ForkServer()\n"
        f"child = server.fork(['-f', {file!r}], dict(os.environ), {str(tmp_path)!r})\n"
        "print(json.dumps([server._process.pid, child.pid]), flush=True)\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = json.loads(process.stdout.readline())
    process.kill()
    process.wait()
    gone = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < gone:
        time.sleep(0.1)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
