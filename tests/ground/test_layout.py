"""The house plan: rooms of a readable size, each with its face; imports inside functions only for start-up time."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import hasama

SRC = Path(hasama.__file__).parent
ROOMS = sorted(path.parent for path in SRC.rglob("__init__.py") if path.parent != SRC)
MODULES = sorted(SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    """src/hasama/style/canvas -> hasama.style.canvas"""
    return ".".join(["hasama", *path.relative_to(SRC).with_suffix("").parts])


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_has_five_to_twelve_files_and_tells_what_it_is_for(room: Path):
    assert 5 <= len(list(room.glob("*.py"))) <= 12
    doc = importlib.import_module(name_of(room)).__doc__ or ""
    assert len(doc.split()) > 10
    for module, public in re.findall(r"`(\w+)\.(\w+)`", doc):  # its face exists
        assert hasattr(importlib.import_module(f"{name_of(room)}.{module}"), public), (module, public)
    if room.name not in ("commands", "architectures"):
        assert "Its face:" in doc


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_fits_an_afternoon_and_says_what_it_is(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 340
    assert ast.get_docstring(ast.parse(text))


def imports_in_functions(path: Path) -> list[tuple[int, str]]:
    """(line, import) of those that run only when a function does."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.append((node.lineno, "\n".join(lines[node.lineno - 1 : node.end_lineno])))
    return found


@pytest.mark.parametrize("path", [p for p in MODULES if SRC / "cli" not in p.parents], ids=name_of)
def test_an_import_inside_a_function_says_why(path: Path):
    """The command's functions do so by the rule that `hasama.cli.commands` tells; elsewhere each says it itself."""
    for number, line in imports_in_functions(path):
        assert "  # " in line, f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize("path", [p for p in MODULES if SRC / "cli" in p.parents], ids=name_of)
def test_the_command_imports_torch_only_in_functions(path: Path):
    slow = ("torch", "hasama.training", "hasama.networks", "hasama.generators", "hasama.runs", "hasama.evaluation")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.module.startswith(slow), node.module


def test_nothing_is_called_utils():
    assert not [path for path in MODULES if re.search(r"util|helper|manager|misc|common", path.stem)]


def test_tests_lie_in_the_rooms_of_what_they_test():
    tests = Path(__file__).parents[1]
    rooms = {path.name for path in SRC.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert {path.parent.name for path in tests.rglob("test_*.py")} == rooms | {"ground"}
