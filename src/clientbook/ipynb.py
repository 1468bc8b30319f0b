"""How is a notebook read and written? By nbformat, imported without what costs seconds and serves nobody here."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GRAMMAR = "rfc3987_syntax"
_importing = threading.Lock()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """How are nbformat and papermill imported? One thread at a time, and without the grammar of web addresses.

    Two threads that import the same packages at one moment may each find half of them. And jsonschema, if it can, builds a
    grammar of internationalised addresses when it is imported, which takes ten times as long as all the rest; no schema of
    a notebook asks for it.
    """
    with _importing:
        if _GRAMMAR in sys.modules:
            yield
            return
        sys.modules[_GRAMMAR] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules[_GRAMMAR]


def read(path: Path) -> Any:
    """What does a notebook hold?

    Parameters
    ----------
    path
        A notebook of format 4, or of an older one.

    Returns
    -------
    nbformat.NotebookNode

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If the file is no notebook.
    """
    with importing():
        import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except nbformat.ValidationError as error:
        raise ValueError("the file is no notebook") from error


def write(notebook: Any, path: Path) -> None:
    """Where is a notebook kept? In a file that is overwritten if it is there."""
    import nbformat

    nbformat.write(notebook, path)
