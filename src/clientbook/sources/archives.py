"""What lies in a gzip or an archive, taken out safely: never more than can be meant, nowhere but in scratch."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from clientbook.engine import Engine
from clientbook.faults import FaultError
from clientbook.sources.delivered import Request, closest
from clientbook.sources.finding import KNOWN, counts, format_of, is_archive

_CHUNK = 1 << 22
# Tables shrink to a third or a thirtieth, a constant column to a hundredth; a bomb to a thousandth, which is as far as
# zip and gzip go. A small archive may hold what fits into memory in any case.
MOST_TIMES = 200
ALWAYS_BYTES = 256 * 1024 * 1024
MOST_MEMBERS = 10_000
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """Which file in an archive is it, and how is it opened?"""

    name: str
    open: Callable[[], BinaryIO]


def contents(engine: Engine, request: Request, member: str | None) -> Iterator[Request]:
    """What is to be read of a delivered file? Itself, what its gzip holds, or the members of an archive in turn.

    What is taken out lies in the engine's scratch folder; it may be deleted once the next is asked for.

    Parameters
    ----------
    engine
        Whose scratch folder takes what is taken out.
    request
        The delivered file.
    member
        A name or a glob inside the archive. Default: every data file in it, which must be of one format.

    Raises
    ------
    FaultError
        The archive is cut, damaged, encrypted, a bomb, holds names that lead out of it, or no such member.
    """
    if not is_archive(request.path):
        yield _ungzipped(engine, request)
        return
    with _damage_told(request), _opened(engine, request) as members:
        allowed = _Allowance(request, request.path.stat().st_size)
        for one in _chosen(request, members, member):
            copy = engine.scratch_file("".join(PurePosixPath(one.name).suffixes[-2:]))
            with one.open() as stream, copy.open("wb") as out:
                sha256 = _copy(stream, out, allowed)
            inner = replace(
                request,
                path=copy,
                shown=f"{request.shown}!{one.name}",
                format=str(format_of(PurePosixPath(one.name))),
                sha256=sha256,
                content=sha256,
                bytes=copy.stat().st_size,
            )
            plain = _ungzipped(engine, inner)
            if plain.path != copy:
                copy.unlink()
            yield plain


class _Allowance:
    """How much may still come out of an archive?"""

    def __init__(self, request: Request, size: int):
        self._request = request
        self._left = max(ALWAYS_BYTES, MOST_TIMES * size)

    def spend(self, size: int) -> None:
        """Is that still within bounds?"""
        self._left -= size
        if self._left < 0:
            raise self._request.fault(
                f"The archive unpacks to more than {MOST_TIMES} times its size, as a bomb does; no table needs that.",
                "Unpack it yourself if you trust it, and deliver the files.",
            )


def _copy(stream: BinaryIO, out: BinaryIO, allowed: _Allowance) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        allowed.spend(len(chunk))
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


def _ungzipped(engine: Engine, request: Request) -> Request:
    size = request.path.stat().st_size
    if size == 0:
        raise request.fault("The file is empty.", "Deliver it again; at least the header is needed.")
    if request.path.suffix.lower() != ".gz":
        return request
    copy = engine.scratch_file(request.path.with_suffix("").suffix)
    with _damage_told(request), gzip.open(request.path, "rb") as stream, copy.open("wb") as out:
        content = _copy(stream, out, _Allowance(request, size))
    if copy.stat().st_size == 0:
        raise request.fault("The archive holds an empty file.", "Deliver it again; at least the header is needed.")
    return replace(request, path=copy, content=content)


@contextmanager
def _damage_told(request: Request) -> Iterator[None]:
    try:
        yield
    except FaultError:
        raise
    except EOFError:
        raise request.fault("The archive ends too early.", "Deliver it again; the transfer was cut.") from None
    except gzip.BadGzipFile:
        raise request.fault("The archive is damaged or no gzip.", "Deliver it again.") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError):
        raise request.fault("The archive is cut or damaged.", "Deliver it again.") from None
    except RuntimeError:  # what zipfile says of a member under a password
        raise request.fault("The archive is encrypted.", "Deliver it without a password.") from None
    except NotImplementedError:
        raise request.fault("The archive is packed in a way that is not known.", "Use plain zip or tar.gz.") from None


@contextmanager
def _opened(engine: Engine, request: Request) -> Iterator[list[Member]]:
    size = request.path.stat().st_size
    if size == 0:
        raise request.fault("The file is empty.", "Deliver it again.")
    if request.path.suffix.lower() == ".zip":
        with zipfile.ZipFile(request.path) as archive:
            entries = archive.infolist()
            _check_number(request, len(entries))
            links = [entry.filename for entry in entries if (entry.external_attr >> 28) == 0xA]
            _check_names(request, [entry.filename for entry in entries], links)
            yield [_of_zip(archive, entry) for entry in entries if not entry.is_dir()]
        return
    path = request.path
    if path.suffix.lower() in (".gz", ".tgz"):
        path = engine.scratch_file(".tar")
        with gzip.open(request.path, "rb") as stream, path.open("wb") as out:
            _copy(stream, out, _Allowance(request, size))
    try:
        _check_tar_end(request, path)
        with tarfile.open(path, "r:") as archive:
            entries = []
            for entry in archive:
                entries.append(entry)
                _check_number(request, len(entries))
            odd = [entry.name for entry in entries if not entry.isfile() and not entry.isdir()]
            _check_names(request, [entry.name for entry in entries], odd)
            yield [_of_tar(archive, entry) for entry in entries if entry.isfile()]
    finally:
        if path != request.path:
            path.unlink(missing_ok=True)


def _of_zip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    return Member(entry.filename, lambda: archive.open(entry))


def _of_tar(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Member:
    return Member(entry.name.removeprefix("./"), lambda: archive.extractfile(entry))


def _check_tar_end(request: Request, path: Path) -> None:
    """Is the end there? Python reads a tar that was cut between two members as one that has fewer."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - 1024))
        if size < 1024 or stream.read().strip(b"\0"):
            raise request.fault("The archive ends too early.", "Deliver it again; the transfer was cut.")


def _check_number(request: Request, number: int) -> None:
    if number > MOST_MEMBERS:
        raise request.fault(f"The archive has more than {MOST_MEMBERS:,} members.", "Deliver it in parts.")


def _check_names(request: Request, names: list[str], links: list[str]) -> None:
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _DRIVE.match(name):
            raise request.fault(
                f"The archive's member {name!r} would lie outside of its folder; such an archive is not opened.",
                "Have it packed with plain names.",
            )
    if links:
        raise request.fault(
            f"The archive's member {links[0]!r} is a link or a device, not a file; such an archive is not opened.",
            "Pack the file itself.",
        )
    files = [name for name in names if not name.endswith("/")]
    twice = next((name for name in files if files.count(name) > 1), None) if len(set(files)) < len(files) else None
    if twice:
        raise request.fault(f"The archive's member {twice!r} is there twice.", "Pack it once.")


def _chosen(request: Request, members: list[Member], wanted: str | None) -> list[Member]:
    usable = sorted((one for one in members if counts(PurePosixPath(one.name))), key=lambda one: one.name)
    listed = ", ".join(one.name for one in usable[:20]) + (f" and {len(usable) - 20} more" if len(usable) > 20 else "")
    if not usable:
        raise request.fault("The archive holds no data file.", f"Deliver {KNOWN}.")
    if wanted is not None:
        exact = [one for one in usable if one.name == wanted]
        chosen = exact or [one for one in usable if fnmatch.fnmatchcase(one.name, wanted)]
        if not chosen:
            near = closest(wanted, [one.name for one in usable])
            hint = f"Did you mean {near[0]}? " if near else ""
            raise request.fault(f"The archive has no member {wanted!r}.", f"{hint}It holds: {listed}.")
        usable = chosen
    formats = sorted({str(format_of(PurePosixPath(one.name))) for one in usable})
    if len(formats) > 1:
        raise request.fault(
            f"The archive holds files of several formats: {', '.join(formats)}.",
            f"Name what is meant by {request.shown}!*.{formats[0]} or a member's name. It holds: {listed}.",
        )
    return usable
