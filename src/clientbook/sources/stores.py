"""Files that lie in an object store, or wherever else fsspec reaches: brought to the scratch folder, then read as any file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clientbook.engine import Engine
from clientbook.faults import Fault, FaultError
from clientbook.sources.finding import counts, split

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Fetched:
    """Where does a file of a store lie now, and how does the user know it?

    Parameters
    ----------
    path
        In the scratch folder.
    shown
        Its address, without what the address may say after a `?`.
    """

    path: Path
    shown: str


def is_address(path: str) -> bool:
    """Is this an address such as `s3://bucket/orders/*.parquet`, and no file beside the book?"""
    return "://" in path


def fetch(engine: Engine, address: str, key: str = "") -> list[Fetched]:
    """Which files does an address mean, and where are they now?

    Parameters
    ----------
    engine
        Whose scratch folder takes them, until it is closed.
    address
        A file, a folder or a glob, in any store whose fsspec driver is installed (`s3://`, `gs://`, `abfs://`, …). Its
        credentials come from where the driver looks for them: the environment, or the machine's own role.
    key
        The place in ``clientbook.yaml``, for messages.

    Returns
    -------
    list of Fetched
        Sorted by name, at least one.

    Raises
    ------
    FaultError
        If no driver is installed, nothing is there, or the store does not answer; its own words are not quoted.
    """

    def fault(message: str, remedy: str) -> FaultError:
        return FaultError(Fault(message, remedy, key=key, file=address.partition("?")[0]))

    address, _ = split(address)
    try:
        import fsspec
    except ImportError:
        raise fault("Files of a store need fsspec.", "Install it: pip install 'clientbook[stores]'.") from None
    try:
        files, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError):
        protocol = address.partition("://")[0]
        raise fault(f"No driver for {protocol}:// is installed.", "Install the one that fsspec names for that store.") from None
    return _bring(engine, files, root, fault)


def _bring(engine: Engine, files, root: str, fault: Callable[[str, str], FaultError]) -> list[Fetched]:
    try:
        found = sorted(name for name in _named(files, root) if counts(PurePosixPath(name)))
        if not found:
            raise fault("No data file is there.", "Check the address; a folder or a glob such as *.parquet is an address too.")
        folder = engine.scratch / f"store-{engine.scratch_file('').name}"
        brought = []
        for number, name in enumerate(found):
            # two of one name in two folders stay two
            target = folder / f"{number:06d}" / PurePosixPath(name).name
            target.parent.mkdir(parents=True)
            with files.open(name, "rb") as remote, target.open("wb") as local:
                shutil.copyfileobj(remote, local, _BLOCK)
            brought.append(Fetched(target, files.unstrip_protocol(name)))
        return brought
    except FileNotFoundError:
        raise fault("The file is not there.", "Check the address.") from None
    except PermissionError:
        raise fault(
            "The store does not let this user read it.", "Give the user, or the machine's role, the right to read."
        ) from None
    except FaultError:
        raise
    except Exception as error:
        # every driver has errors of its own
        raise fault(f"The store does not answer ({type(error).__name__}).", "Check the address and the credentials.") from None


def _named(files, root: str) -> list[str]:
    if any(letter in root for letter in "*?["):
        return files.glob(root)
    return files.find(root, maxdepth=1) if files.isdir(root) else [root] if files.exists(root) else []
