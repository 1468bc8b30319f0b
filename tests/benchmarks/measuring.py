"""Seconds and peak memory of a piece of work in a process of its own, and a table of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Measured:
    """What a piece of work took.

    Parameters
    ----------
    seconds
        By the wall clock, with the start of the process.
    megabytes
        The most that the process and its children held at one time, sampled 20 times a second.
    printed
        What it printed.
    """

    seconds: float
    megabytes: float
    printed: str


def measure(command: Sequence[str], **options) -> Measured:
    """Run a command to its end and measure it.

    Raises
    ------
    RuntimeError
        If it does not exit with 0.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    watched, most = psutil.Process(process.pid), 0
    while process.poll() is None:
        held = 0
        for one in [watched, *_children(watched)]:
            try:
                held += one.memory_info().rss
            except psutil.Error:
                continue
        most = max(most, held)
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    printed = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{printed[-3000:]}")
    return Measured(seconds, most / 1e6, printed)


def measure_python(code: str, **options) -> Measured:
    """Run a piece of Python in a fresh process and measure it."""
    return measure([sys.executable, "-c", code], **options)


def show(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Print what was measured beside what was asked for."""
    print(f"\n{title}")
    width = max(len(row[0]) for row in rows)
    print(f"{'':{width}}  {'measured':>24}  asked for")
    for name, measured, asked in rows:
        print(f"{name:{width}}  {measured:>24}  {asked}")


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
