"""A finished report put in the place of the last one at once, so that no reader meets half of one."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_BUILDING, _FORMER = ".building-", ".former-"


@contextlib.contextmanager
def building(parent: Path, name: str) -> Iterator[Path]:
    """Where is a report built, so that it appears as ``parent/name`` only when it is whole?

    Parameters
    ----------
    parent
        The folder of the book's reports; it is made where it is missing.
    name
        The report's folder.

    Yields
    ------
    pathlib.Path
        An empty folder. When the block ends well it takes the name, whatever stood there before is
        deleted; when it raises, nothing of it is left.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{name}-", dir=parent))
    try:
        folder.chmod(0o777 & ~_umask())
        yield folder
        _flush(folder)
        swap_in(folder, parent / name)
    finally:
        # After an exchange this is the former report, after a failure the unfinished one.
        shutil.rmtree(folder, ignore_errors=True)


def swap_in(new: Path, place: Path) -> None:
    """Put a folder in its place; what stood there before lies at ``new`` or is gone afterwards."""
    if not os.path.lexists(place):
        new.rename(place)
    elif not _exchange(new, place):
        former = Path(tempfile.mkdtemp(prefix=_FORMER, dir=place.parent))
        place.rename(former / "report")
        try:
            new.rename(place)
        except OSError:
            (former / "report").rename(place)
            raise
        finally:
            shutil.rmtree(former, ignore_errors=True)


def point_latest(parent: Path) -> Path:
    """Which is the newest whole report? ``latest`` leads there afterwards.

    Parameters
    ----------
    parent
        The folder of the book's reports, each named by its date.

    Returns
    -------
    pathlib.Path
        The report that ``latest`` leads to.
    """
    newest = max(folder for folder in parent.iterdir() if _is_report(folder))
    latest = parent / "latest"
    if _takes_links(latest) and _link(newest.name, latest):
        return newest
    copy = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}latest-", dir=parent))
    try:
        copy.chmod(0o777 & ~_umask())
        shutil.copytree(newest, copy, dirs_exist_ok=True)
        swap_in(copy, latest)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return newest


def _takes_links(latest: Path) -> bool:
    return latest.is_symlink() or not latest.exists()


def _link(target: str, latest: Path) -> bool:
    if latest.is_symlink() and str(latest.readlink()) == target:
        return True
    beside = latest.with_name(f"{_BUILDING}link-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    try:
        # Relative, so that the whole folder can be carried elsewhere.
        beside.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError):
        return False
    beside.replace(latest)
    return True


def _is_report(folder: Path) -> bool:
    try:
        datetime.date.fromisoformat(folder.name)
    except ValueError:
        return False
    return (folder / "index.html").is_file()


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _flush(folder: Path) -> None:
    """Have the disk hold the pages before their name does: a power cut must not leave empty ones."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())


def _sweep(parent: Path, older_than: float = 86_400) -> None:
    """Delete what a killed build left behind; a day is longer than any build takes."""
    now = datetime.datetime.now().timestamp()
    for leftover in parent.glob(".*"):
        if leftover.name.startswith((_BUILDING, _FORMER)) and now - leftover.lstat().st_mtime > older_than:
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
