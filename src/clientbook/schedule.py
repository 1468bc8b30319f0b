"""How does a machine run a book every night? The same command, said to systemd, cron and Airflow."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from clientbook.book import Book
from clientbook.faults import UsageError

# A night has eight hours; a cell that takes four will not end.
TIMEOUT_SECONDS = 4 * 3600


def told(book: Book, at: str, out: Path, command: str | None = None) -> str:
    """What is to be put where so that the book runs every night.

    Parameters
    ----------
    book
        Which.
    at
        When, as `02:30`, on the machine's clock.
    out
        Where reports go.
    command
        The `clientbook` to be called; default: that of the Python that runs this.

    Raises
    ------
    UsageError
        If `at` is no time of day.
    """
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if not match:
        raise UsageError(f"{at!r} is not a time of day; write it as 02:30.")
    hour, minute = int(match[1]), int(match[2])
    command = command or str(Path(sys.executable).with_name("clientbook"))
    name = "clientbook-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", book.name).strip("-") or "book")
    words = [command, "run", str(book.folder), "--out", str(out), "--quiet", "--timeout", str(TIMEOUT_SECONDS)]
    line = shlex.join(words)
    return "\n".join(
        [
            "Whichever you take: one run at a time holds the book (exit code 4 says who does), a failed run leaves the last",
            "good report with a banner, and the next run goes on from what was done. Exit codes: 0 done, 1 the book or its",
            "data, 2 wrong usage, 3 a notebook failed, 4 held. What it says on failure goes to the journal, to cron's mail",
            "or to Airflow's log, without personal data.",
            "",
            f"# --- systemd: ~/.config/systemd/user/{name}.service",
            "[Unit]",
            f"Description=Clientbook: {book.settings.name}".replace("%", "%%"),
            "",
            "[Service]",
            "Type=oneshot",
            f"ExecStart={_systemd(words)}",
            "# what stops a run, stops its kernels too",
            "KillMode=mixed",
            "TimeoutStopSec=10",
            "Nice=10",
            "",
            f"# --- systemd: ~/.config/systemd/user/{name}.timer",
            "[Unit]",
            f"Description=Clientbook, every night: {book.settings.name}".replace("%", "%%"),
            "",
            "[Timer]",
            f"OnCalendar=*-*-* {hour:02d}:{minute:02d}:00",
            "# a night in which the machine was off is made up for when it is on again",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
            f"# then: systemctl --user enable --now {name}.timer",
            "",
            "# --- or crontab -e (a night in which the machine was off is not made up for)",
            f"{minute} {hour} * * * {line.replace('%', chr(92) + '%')}",
            "",
            "# --- or a task of an Airflow DAG",
            "BashOperator(",
            f"    task_id={name!r},",
            f"    bash_command={line!r},",
            "    # 4: another run holds the book; there is nothing to do",
            "    skip_on_exit_code=4,",
            ")",
        ]
    )


def _systemd(words: list[str]) -> str:
    # a percent sign and a dollar are systemd's own
    quoted = [word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") for word in words]
    return " ".join(f'"{word}"' if re.search(r"[^\w./:=@%+,-]", word) else word for word in quoted)
