"""An executed notebook made into an article: title, answer, evidence, and the code one click away."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clientbook import ipynb
from clientbook.faults import Fault, FaultError
from clientbook.site.display import ROLE
from clientbook.site.sanitise import Tidier, pictures_without_words, plain

HERE = Path(__file__).parent

# What the page shows of an output that comes in several kinds; scripts and widgets never.
_KINDS = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain")
_PICTURES = frozenset({"image/svg+xml", "image/png", "image/jpeg"})
# the exporter holds the filters of the page that it makes
_rendering = threading.Lock()
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|(?<=[。！？])")


@dataclass(frozen=True)
class Article:
    """One page's contents, every piece of HTML fit for the page."""

    name: str
    title: str
    answer: str
    first_sentence: str
    body: str

    @property
    def label(self) -> str:
        """What is the page called in few words: ``04_value`` is "Value"?"""
        words = re.sub(r"^\d+[_-]*", "", self.name).replace("_", " ").replace("-", " ").strip()
        return (words or self.name).capitalize()


def read(name: str, path: Path) -> Article:
    """What does an executed notebook say?

    Parameters
    ----------
    name
        The page's name, such as ``04_value``.
    path
        The notebook, with its outputs.

    Raises
    ------
    FaultError
        If a picture has no alternative text, an output is an error, or the file is no notebook.
    """
    try:
        notebook = ipynb.read(path)
    except (OSError, ValueError) as error:
        raise FaultError(Fault("The executed notebook cannot be read.", "Run the book again.", file=path.name)) from error
    faults = list(_prepare(notebook, path.name))
    if faults:
        raise FaultError(faults)

    answer_source = _take_answer(notebook)
    tidier = Tidier()
    # The body is read first: the title is its first h1, and headings of the answer must not come before it.
    body = _body(notebook, tidier)
    answer = tidier.tidy(markdown(answer_source)) if answer_source else ""
    sentences = _SENTENCE.split(plain(answer)) if answer else [""]
    label = Article(name, "", "", "", "").label
    return Article(name, tidier.title or label, answer, sentences[0], body)


def markdown(source: str, attachments: dict[str, Any] | None = None) -> str:
    """What is this Markdown as HTML? It is not yet fit for a page.

    Formulas are left as written: without scripts nothing could set them, and money begins with a dollar sign.
    """
    for name, kinds in (attachments or {}).items():
        for kind, data in kinds.items():
            source = source.replace(f"attachment:{name}", f"data:{kind};base64,{data}")
    return _renderer()(source)


@cache
def _renderer():
    import mistune

    class Renderer(mistune.HTMLRenderer):
        # mistune lets no data: address through; pictures are checked by the tidier, which comes next.
        def safe_url(self, url: str) -> str:
            return url

    return mistune.create_markdown(renderer=Renderer(escape=False), plugins=["table", "strikethrough"])


def _prepare(notebook: Any, file: str):
    """Leave what the page shows, and yield every fault of it."""
    kept = []
    given = any("injected-parameters" in _tags(cell) for cell in notebook.cells)
    for position, cell in enumerate(notebook.cells, start=1):
        tags = _tags(cell)
        if "remove-cell" in tags or cell.cell_type not in {"code", "markdown"}:
            continue
        kept.append(cell)
        cell.metadata[ROLE] = {"code": _summary(tags, given)}
        if cell.cell_type == "markdown":
            attachments = cell.get("attachments", {})
            for _ in range(pictures_without_words(markdown(cell.source, attachments))):
                yield _no_words(file, position)
            continue
        yield from _prepare_outputs(cell, tags, file, position)
        if not cell.source.strip():
            cell.metadata[ROLE]["code"] = ""
    notebook.cells = kept


def _prepare_outputs(cell: Any, tags: set[str], file: str, position: int):
    outputs = []
    for output in cell.outputs:
        if output.output_type == "error":
            # Not its message: that may hold what the data holds.
            yield Fault(
                f"Cell {position} ended with an error ({output.get('ename', 'unknown')}).",
                "A report is made only of notebooks that ran through.",
                file=file,
            )
        if output.output_type not in {"display_data", "execute_result"} or "remove-output" in tags:
            continue  # Streams are warnings and progress: for the analyst, not for the reader.
        kind = next((kind for kind in _KINDS if kind in output.data), None)
        if kind is None:
            continue
        output.data = {kind: _joined(output.data[kind])}
        if kind in _PICTURES:
            words = output.metadata.get(kind, {}).get("alt") or cell.metadata.get("alt") or ""
            if not str(words).strip():
                yield _no_words(file, position)
            output.metadata = {**output.metadata, ROLE: {"alt": " ".join(str(words).split())}}
        elif kind in {"text/html", "text/markdown"}:
            html = output.data[kind] if kind == "text/html" else markdown(output.data[kind])
            for _ in range(pictures_without_words(html)):
                yield _no_words(file, position)
        outputs.append(output)
    cell.outputs = outputs


def _no_words(file: str, position: int) -> Fault:
    return Fault(
        f"A picture in cell {position} has no alternative text.",
        "Show figures with charts.show(fig, alt=…), or set alt in the cell's metadata.",
        file=file,
    )


def _joined(data: Any) -> str:
    return data if isinstance(data, str) else "".join(data)


def _tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _summary(tags: set[str], given: bool) -> str:
    """Under which words is a cell's code found? Under none if it is to be left out."""
    if tags & {"remove-input", "remove_input"}:
        return ""
    if "injected-parameters" in tags:
        return "Parameters of this run"
    if "parameters" in tags:
        return "Parameters’ defaults" if given else "Parameters of this run"
    return "Code"


def _take_answer(notebook: Any) -> str:
    """Take the first answer out of the flow: it stands right below the title."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.metadata.get(ROLE, {}).get("role") == "answer" and "text/markdown" in output.data:
                cell.outputs = [other for other in cell.outputs if other is not output]
                return output.data["text/markdown"]
    return ""


def _body(notebook: Any, tidier: Tidier) -> str:
    exporter = _exporter()
    with _rendering:
        exporter.register_filter("tidy", tidier.tidy)
        body, _ = exporter.from_notebook_node(notebook)
    return body.strip()


@cache
def _exporter():
    """One for all pages: it compiles its templates once."""
    with ipynb.importing():
        from nbconvert import HTMLExporter
    from nbconvert.exporters.templateexporter import TemplateExporter
    from nbconvert.filters import Highlight2HTML
    from traitlets.config import Config

    class Exporter(HTMLExporter):
        """Without the last look through the whole page for what our template and the tidier put right already."""

        def from_notebook_node(self, nb, resources=None, **told):
            lexer = nb.metadata.get("language_info", {}).get("pygments_lexer", "ipython3")
            self.register_filter("highlight_code", Highlight2HTML(pygments_lexer=lexer, parent=self))
            return TemplateExporter.from_notebook_node(self, nb, resources, **told)

    config = Config({"HTMLExporter": {"exclude_input_prompt": True, "exclude_output_prompt": True}})
    config.NbConvertBase.display_data_priority = list(_KINDS)
    exporter = Exporter(config=config, template_name="clientbook", extra_template_basedirs=[str(HERE / "templates")])
    exporter.register_filter("markdown", markdown)
    return exporter
