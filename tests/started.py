"""Runs started as commands, and what they leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("CLIENTBOOK")}


def command(book: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "clientbook.cli", "run", str(book), "--out", str(out), *more]


def start(book: Path, out: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(book, out, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen, seconds: float = 300) -> tuple[int, str]:
    out, error = process.communicate(timeout=seconds)
    return process.returncode, out + error


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def half_files(store: Path) -> list[str]:
    """Whatever a writer had not finished: drafts, runs being built."""
    drafts = [path.name for path in store.rglob(".*") if path.is_file()]
    return drafts + [path.name for path in (store / "building").glob("*")]


def copy_of(book: Path, target: Path) -> Path:
    return shutil.copytree(book, target, ignore=shutil.ignore_patterns("store"))
