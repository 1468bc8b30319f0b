"""Who holds the book? One run at a time; a holder that died holds nothing."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from clientbook.faults import ClientbookError

FILE = "lock"


class HeldError(ClientbookError):
    """Another run holds the book."""

    exit_code = 4


@contextlib.contextmanager
def hold(store: Path, doing: str) -> Iterator[None]:
    """Hold a book's store while something rewrites it.

    Parameters
    ----------
    store
        The book's `store`; made if it is not there.
    doing
        What is done meanwhile, in a word or two, for whoever finds the book held.

    Raises
    ------
    HeldError
        Saying who holds it and since when. It is the operating system that keeps the lock: with the process that
        took it, however that ended, the lock is gone, and the next one takes it over.
    """
    store.mkdir(parents=True, exist_ok=True)
    with (store / FILE).open("a+", encoding="utf-8") as file:
        if not _take(file):
            raise HeldError(_told(store))
        file.seek(0)
        file.truncate()
        holder = {"doing": doing, "process": os.getpid(), "machine": socket.gethostname(), "since": _now()}
        file.write(json.dumps(holder))
        file.flush()
        try:
            yield
        finally:
            # the file stays: were it deleted, a process that just opened it would hold a lock that nobody sees
            file.seek(0)
            file.truncate()


def _told(store: Path) -> str:
    try:
        holder = json.loads((store / FILE).read_text(encoding="utf-8"))
        who = f"process {holder['process']} on {holder['machine']} ({holder['doing']}), since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process, which began this very moment"
    return f"The book {store.parent} is held by {who}. Wait until it ends, or stop it; nothing was done."


def _now() -> str:
    return dt.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def _take(file) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # beyond the text, which others must be able to read
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
