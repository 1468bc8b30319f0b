"""The rules of the house, kept by machine."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from clientbook import runner

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "clientbook"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STAGES = [path.stem.partition("_")[2] for path in NOTEBOOKS]
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
TOP_LEVEL = {
    "pyproject.toml", "README.md", "notebooks", "src", "reports", "data", "tests",
    "requirements.lock", "LICENSE", "CHANGELOG.md",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def code_cells(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_top_level_holds_what_it_may_and_nothing_else():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    found = {line.partition("/")[0] for line in tracked if line}
    assert {name for name in found if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_module_and_test(stage):
    assert (SOURCE / f"{stage}.py").is_file() or (SOURCE / stage / "__init__.py").is_file()
    assert (ROOT / "tests" / f"test_{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_stages_import_no_other_stage(stage):
    folder = SOURCE / stage
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{stage}.py"]
    others = {f"clientbook.{other}" for other in STAGES if other != stage}
    for file in files:
        found = {name for name in imports(file) for other in others if name == other or name.startswith(other + ".")}
        assert not found, f"{file.name} imports {found}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_define_nothing_and_have_short_cells(path):
    for source in code_cells(path):
        tree = ast.parse(source)
        defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)]
        assert not defined, source
        assert len(source.splitlines()) <= 15, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_begin_with_a_question_and_then_an_answer(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ") and cells[0].source.rstrip().endswith("?")
    assert "parameters" in cells[1].metadata["tags"]
    first_prose = next(i for i, cell in enumerate(cells[2:], 2) if cell.cell_type == "markdown")
    assert any("charts.answer(" in cell.source for cell in cells[2:first_prose])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameter_cells_have_the_defaults_of_the_module(path):
    namespace: dict = {}
    exec(code_cells(path)[0], namespace)
    stage = import_module(f"clientbook.{path.stem.partition('_')[2]}").STAGE
    given = {name: value for name, value in namespace.items() if not name.startswith("__")}
    assert given.pop("book") is None and given.pop("run") is None
    assert given == stage.parameters().model_dump()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_executed_and_without_personal_paths(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not re.search(r"/(home|root|work|tmp)/", path.read_text(encoding="utf-8"))


def test_order_follows_what_is_read_and_written():
    order = [notebook.stage for notebook in runner.notebooks()]
    written: set[str] = set()
    for stage in order:
        assert not set(stage.needs) - written, f"{stage.name} is executed before what it needs"
        written |= set(stage.writes)
    assert order[-1].name == "overview"


def public_functions():
    for path in MODULES:
        name = ".".join(["clientbook", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        module = import_module(name)
        for label, item in vars(module).items():
            if label.startswith("_") or getattr(item, "__module__", None) != name:
                continue
            if inspect.isfunction(item) or inspect.isclass(item):
                yield pytest.param(item, id=f"{name}.{label}")


@pytest.mark.parametrize("item", list(public_functions()))
def test_public_functions_have_docstrings_that_name_their_parameters(item):
    text = inspect.getdoc(item)
    assert text, "no docstring"
    assert text.splitlines()[0].rstrip().endswith((".", "?")), text.splitlines()[0]
    if inspect.isfunction(item) and item.__module__ != "clientbook.cli" and "Parameters\n" in text:
        section = text.split("Parameters\n", 1)[1]
        for name in inspect.signature(item).parameters:
            assert re.search(rf"(^|[ ,*`]){re.escape(name)}\b", section, re.M), f"{name} is not described"


def lock(path: str) -> dict[str, set[Version]]:
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ \\]+)", (ROOT / path).read_text(), re.M):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(Version(version))
    return found


@pytest.mark.parametrize(("path", "extras"), [("requirements.lock", ()), ("tests/requirements.lock", ("test", "spark"))])
def test_locks_satisfy_the_project(path, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    locked = lock(path)
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in locked, f"{name} is not in {path}"
        assert all(requirement.specifier.contains(v, prereleases=True) for v in locked[name]), requirement


def test_test_lock_agrees_with_the_run_time_lock():
    run_time, tests = lock("requirements.lock"), lock("tests/requirements.lock")
    assert {name: versions for name, versions in run_time.items() if tests.get(name) != versions} == {}


@pytest.mark.parametrize("path", ["requirements.lock", "tests/requirements.lock"])
def test_locks_hold_hashes_and_no_address(path):
    text = (ROOT / path).read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links", text)
    pins = re.findall(r"^[A-Za-z0-9_.-]+==.*(?:\n    --hash.*)+", text, re.M)
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9_.-]+==", text, re.M))


def test_the_wheel_brings_its_notebooks_and_works_from_any_folder(tmp_path):
    built = tmp_path / "built"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    brought = {path.name for path in (tmp_path / "installed" / "clientbook" / "notebooks").glob("*.ipynb")}
    assert brought == {path.name for path in NOTEBOOKS}
    (tmp_path / "elsewhere").mkdir()
    code = "import clientbook.runner as r; print(r.notebooks_folder()); print(len(r.notebooks()))"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert told == [str(tmp_path / "installed" / "clientbook" / "notebooks"), "10"]


def test_readme_has_the_two_lines():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    runs = [line for line in lines if "bin/clientbook run" in line and "venv" in line]
    tests = [line for line in lines if "bin/pytest" in line and "venv" in line]
    assert len(runs) == 1 and "-r requirements.lock" in runs[0]
    assert len(tests) == 1 and "-r tests/requirements.lock" in tests[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_who_looks_at_earlier_runs_or_at_other_stages_says_so(path):
    """The cache takes over what was computed from the same things, and knows them from the declaration alone."""
    code, stage = "\n".join(code_cells(path)), import_module(f"clientbook.{path.stem[3:]}").STAGE
    assert ("store.runs(" in code) <= stage.remembers
    assert ".run.record(" not in code and ".run.read(" not in code
    assert ("step.heard(" in code) <= bool(stage.hears)
