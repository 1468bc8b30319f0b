"""What went wrong in a step, in words for whoever finds it in the morning, and without anybody's data?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clientbook.memory import MEMORY_VARIABLE
from clientbook.privacy import redact

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"^File (?P<file>.+?):(?P<line>\d+), in (?P<name>[\w.<>]+)")
_CELL = re.compile(r"^Cell In\s?\[\d+\], line (?P<line>\d+)")
_OWN = frozenset({"ClientbookError", "FaultError", "UsageError", "UnreadableError"})
_MEMORY = frozenset({"MemoryError", "OutOfMemoryException", "_ArrayMemoryError", "ArrowMemoryError"})
_FULL = re.compile(r"No space left on device|Errno 28\b|[Dd]isk (is )?full|max_temp_directory_size", re.ASCII)
_KILLED, _CRASHED = -9, {-11: "crashed", -6: "gave up (abort)", -15: "was asked to end"}
_FRAMES = 12
_LESS_MEMORY = f"Close what else runs on the machine, or set {MEMORY_VARIABLE} (such as 2GB) so that more is done on disk."


@dataclass(frozen=True)
class Failure:
    """How a step failed.

    Parameters
    ----------
    kind
        `memory`, `disk`, `time`, `killed`, `data`, `code` or `stopped`.
    what
        One sentence or two.
    remedy
        What to do.
    frames
        Where in the code, the innermost last; file, line and function alone.
    """

    kind: str
    what: str
    remedy: str
    frames: tuple[str, ...] = ()


def of_exception(name: str, message: str, traceback: Sequence[str] = ()) -> Failure:
    """How did a cell's exception come about?

    Parameters
    ----------
    name
        Of the exception's class.
    message
        Its own; of one that is not ours, what it quotes is left out.
    traceback
        As IPython writes it, with colours.
    """
    frames = _frames(traceback)
    if name in _MEMORY:
        return Failure(
            "memory", "Memory ran out.",
            _LESS_MEMORY,
            frames,
        )  # fmt: skip
    if _FULL.search(message):
        return disk_full(frames)
    if name in _OWN:
        first, _, rest = str(message).strip().partition("\n")
        return Failure("data", redact(first)[:600], redact(rest)[:1200] or "Mend what it names, and run again.", frames)
    return Failure(
        "code", f"{name}: {without_values(_first_line(message))}",
        "The kept notebook shows the cell and the whole message: open it in JupyterLab. Where a step did well before, "
        "compare what was delivered since.",
        frames,
    )  # fmt: skip


def of_kernel(status: int | None) -> Failure:
    """How did a kernel end that nobody ended?

    Parameters
    ----------
    status
        Its exit status as `subprocess` tells it; None where it is not known.
    """
    if status == _KILLED or status is None:
        return Failure(
            "killed", "Its kernel died: it was killed, most often because memory ran out.",
            _LESS_MEMORY,
        )  # fmt: skip
    how = _CRASHED.get(status, f"ended with status {status}")
    return Failure("killed", f"Its kernel died: the process {how}.", "Run again; if it dies again, report it with this page.")


def of_time(seconds: int | None) -> Failure:
    """A cell took longer than is allowed."""
    told = f"than the {seconds:,} seconds that --timeout allows" if seconds else "than is allowed"
    return Failure("time", f"A cell took longer {told}.", "Allow more, or look what made it slow: more data, or less memory?")


def disk_full(frames: tuple[str, ...] = ()) -> Failure:
    """There is no room to write."""
    return Failure("disk", "The disk is full.", "Free some space on the disk that holds the book, and run again.", frames)


def stopped(how: str) -> Failure:
    """Somebody ended the run."""
    return Failure("stopped", f"The run was stopped ({how}).", "Run again: what was done is not done twice.")


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception of the runner's own says that there is no room to write."""
    return (isinstance(error, OSError) and error.errno == 28) or bool(_FULL.search(str(error)))


def without_values(message: str) -> str:
    """A foreign message without what it may quote from the data.

    Parameters
    ----------
    message
        One line. A quoted word stays if it is a word of Clientbook's own code, such as the name of a column.
    """
    told = re.sub(
        r"(['\"`])(.*?)\1",
        lambda quoted: quoted[0] if quoted[2] in _own_words() else f"{quoted[1]}…{quoted[1]}",
        redact(message),
    )
    return told[:400]


@cache
def _own_words() -> frozenset[str]:
    package = Path(__file__).parent
    # the made company's lists of names are no words of the code
    files = [f for f in package.rglob("*.py") if "demo" not in f.relative_to(package).parts and f.stem != "names"]
    return frozenset(re.findall(r"\b[a-z][a-z0-9]*_[a-z0-9_]+\b", "\n".join(f.read_text("utf-8") for f in files)))


def _frames(traceback: Sequence[str]) -> tuple[str, ...]:
    told = []
    for part in traceback:
        for line in _ANSI.sub("", part).splitlines():
            frame, cell = _FRAME.match(line.strip()), _CELL.match(line.strip())
            if frame:
                parts = Path(frame["file"]).parts
                # from the package's name on: where it is installed is nobody's business
                at = next((i for i in range(len(parts) - 1, -1, -1) if parts[i] in ("site-packages", "src")), len(parts) - 2)
                told.append(f"{'/'.join(parts[at + 1 :])}, line {frame['line']}, in {frame['name']}")
            elif cell:
                told.append(f"the notebook's cell, line {cell['line']}")
    return tuple(told[-_FRAMES:])


def _first_line(text: str) -> str:
    return next((line.strip() for line in str(text).splitlines() if line.strip()), "")
