"""Executes the notebooks in place on the small made company, as they are committed. Run it by hand after a change to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from clientbook import runner
from clientbook.book import open_book

HERE = Path(__file__).parent


def main() -> None:
    """Make a run of it, then execute each notebook as an analyst would who opens it."""
    with tempfile.TemporaryDirectory() as scratch:
        book = Path(scratch) / "tailor"
        shutil.copytree(HERE / "books" / "tailor", book, ignore=shutil.ignore_patterns("store"))
        runner.run(open_book(book), out=Path(scratch) / "reports")
        os.environ["CLIENTBOOK_BOOK"] = str(book)
        for notebook in runner.notebooks():
            content = nbformat.read(notebook.path, as_version=4)
            NotebookClient(content, kernel_name="python3").execute()
            for cell in content.cells:
                cell.metadata.pop("execution", None)
            content.metadata["language_info"] = {"name": "python"}
            nbformat.write(content, notebook.path)
            print(notebook.name)


if __name__ == "__main__":
    main()
