"""Database servers of the tests' own: Debian's packages, a free port, a folder that goes when they stop."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "s3cret-Pa55"


def _absent(name: str) -> None:
    told = f"{name} is not installed"
    pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def _as(user: str) -> list[str]:
    """Servers refuse to run as root."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def _stopping(process: subprocess.Popen, answers) -> Iterator[None]:
    try:
        deadline = time.monotonic() + 60
        while not answers():
            assert process.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server that serves one database; its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        _absent("PostgreSQL")
    programs, data, port = found[-1].parent, folder / "pg", free_port()
    data.mkdir(mode=0o700)
    who = _as("postgres")
    if who:
        shutil.chown(data, "postgres", "postgres")
        for parent in data.parents:
            if parent.owner() == "root" and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    secret = data / "password"
    secret.write_text(PASSWORD)
    if who:
        shutil.chown(secret, "postgres", "postgres")
    subprocess.run(
        [*who, programs / "initdb", "-D", data / "db", "-U", "reader", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
         "--locale=C.UTF-8", "--no-sync"],
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    command = [*who, programs / "postgres", "-D", data / "db", "-p", str(port), "-k", str(data), "-c", "fsync=off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
    with _stopping(process, lambda: subprocess.run(ready).returncode == 0):
        yield f"postgresql://reader:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """A server that serves one database; its URL."""
    server, installer = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin"), shutil.which("mariadb-install-db")
    if not (server and installer):
        _absent("MariaDB")
    data, port = folder / "maria", free_port()
    user = f"--user={'root' if os.geteuid() == 0 else os.environ.get('USER', '')}"
    subprocess.run(
        [installer, "--no-defaults", user, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, capture_output=True,
    )  # fmt: skip
    sockets = data / "server.sock"
    process = subprocess.Popen(
        [server, "--no-defaults", user, f"--datadir={data}", f"--socket={sockets}", f"--port={port}", "--bind-address=127.0.0.1",
         f"--pid-file={data}/server.pid"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = ["mariadb", "--no-defaults", f"--socket={sockets}", "-uroot"]
    with _stopping(process, lambda: subprocess.run([*client, "-e", "select 1"], capture_output=True).returncode == 0):
        script = f"create database shop character set utf8mb4; create user reader identified by '{PASSWORD}'; grant all on shop.* to reader;"
        subprocess.run([*client, "-e", script], check=True, capture_output=True)
        yield f"mysql://reader:{PASSWORD}@127.0.0.1:{port}/shop?charset=utf8mb4"
