"""The documents are true: what they name exists, the drawing is the imports, and docstrings say what callers need."""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hasama
from hasama.errors import HasamaError
from hasama.metrics import distances, neighbours
from hasama.style.methods.losses import STYLE_LOSSES
from hasama.training.augmentation.ada import draw_transforms
from hasama.training.augmentation.diffaugment import draw_changes
from hasama.training.rules.objectives import OBJECTIVES
from hasama.training.rules.penalties import PENALTIES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/hasama"
DOCUMENTS = [ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md"]
GROUND = "ground"  # the modules beside the rooms


# --- what the documents name ----------------------------------------------------------------------


def code_spans(document: Path) -> list[str]:
    """What stands between single backticks."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def found(path: str) -> Path | None:
    """The file or folder of a path that begins at the root or at the package. NAME stands for any name."""
    if re.search(r"\b[A-Z]+\.py$", path):
        path = str(Path(path).parent)
    return next((place / path for place in (ROOT, SOURCE) if (place / path).exists()), None)


def defines(file: Path, dotted: str) -> bool:
    """Whether a module defines a name, or a class in it an attribute or a method."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for name in dotted.split("."):
        node = next((node for node in body if name in names_of(node)), None)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


def names_of(node: ast.AST) -> set[str]:
    """What a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {ast.unparse(node.target)}
    if isinstance(node, ast.Assign):
        return {ast.unparse(part) for target in node.targets for part in getattr(target, "elts", [target])}
    return set()


def all_names() -> set[str]:
    """Every name that the package defines, with arguments and fields."""
    nodes = [node for file in SOURCE.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    bound = set().union(*(names_of(node) for node in nodes))
    return bound | {node.arg for node in nodes if isinstance(node, ast.arg)}


def missing(document: Path) -> Iterator[str]:
    """The names in a document that do not exist."""
    known = all_names()
    in_a_run = (SOURCE / "runs/folder.py").read_text(encoding="utf-8")
    kinds: list[tuple[str, Callable[[str], Any]]] = [
        (r"[\w./-]+\.py:[\w.]+", defined),
        (r"[\w.-]+(/[\w.-]+)+/?|\.?[\w-]+\.(py|md|toml|txt)", found),
        (r"[\w-]+\.(json|jsonl|pt|safetensors|png)", in_a_run.__contains__),
        (r"[a-z]\w*(\.\w+)+", imported),
        (r"[A-Za-z_]\w*", lambda span: {span, span.lower()} & known or found(span)),
    ]
    for span in code_spans(document):
        exists = next((exists for pattern, exists in kinds if re.fullmatch(pattern, span)), None)
        if exists is not None and not exists(span):
            yield span


def defined(span: str) -> bool:
    """Whether there is what file.py:name says."""
    file, _, name = span.partition(":")
    place = found(file)
    return place is not None and place.is_file() and defines(place, name)


def imported(span: str) -> Any:
    """torch.load -> the function; None if there is none."""
    module, _, name = span.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_name_in_the_documents_exists(document: Path):
    beside = {"Trainer", ".venv", "runs/demo"}  # what we do not have, and what is only there after a command
    assert [name for name in missing(document) if name not in beside] == []
    assert len(code_spans(document)) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_in_the_documents_leads_somewhere(document: Path):
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_a_name_that_does_not_exist_would_be_noticed(tmp_path: Path):
    wrong = ["training/turns.py:plays", "training/turn.py:play", "networks/pair.py:Pair.looks", "tests/nowhere.py",
             "torch.lode", "Sloppy", "elsewhere.jsonl"]  # fmt: skip
    document = tmp_path / "page.md"
    document.write_text(
        "".join(f"`{name}` " for name in [*wrong, "training/turns.py:play", "networks/pair.py:Pair.view"])
    )
    assert list(missing(document)) == wrong


# --- the drawing ----------------------------------------------------------------------------------


def drawing() -> tuple[list[set[str]], set[tuple[str, str]]]:
    """The rooms of each floor, from above, and the arrows."""
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", DOCUMENTS[1].read_text(encoding="utf-8"), flags=re.DOTALL)
    floors = [
        set(inside.split()) for inside in re.findall(r"subgraph [^\n]*\n(.*?)\n    end", drawn, flags=re.DOTALL)
    ]
    return floors, set(re.findall(r"^ *(\w+) --> (\w+)$", drawn, flags=re.MULTILINE))


def rooms() -> set[str]:
    return {place.parent.name for place in SOURCE.glob("*/__init__.py")}


def imports() -> set[tuple[str, str]]:
    """(room, room that one of its files imports), whether at once, inside a function or for types only."""
    found = set()
    for file in SOURCE.glob("*/**/*.py"):
        room = file.relative_to(SOURCE).parts[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "hasama":
                modules = [f"hasama.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.startswith("hasama."):
                    other = module.split(".")[1]
                    found.add((room, other if other in rooms() else GROUND))
    return {(one, other) for one, other in found if one != other}


def reached(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows, and those that follow from several in a row."""
    while True:
        more = arrows | {(a, d) for a, b in arrows for c, d in arrows if b == c}
        if more == arrows:
            return arrows
        arrows = more


def test_the_drawing_has_the_rooms_that_there_are():
    floors, _ = drawing()
    assert sorted(room for floor in floors for room in floor) == sorted(rooms() | {GROUND})


def test_every_arrow_runs_down_and_is_an_import():
    floors, arrows = drawing()
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    assert [arrow for arrow in sorted(arrows) if floor_of[arrow[0]] >= floor_of[arrow[1]]] == []
    assert sorted(arrows - imports()) == []


def test_every_import_is_drawn_or_follows_from_what_is_drawn():
    _, arrows = drawing()
    assert sorted(imports() - reached(arrows)) == []


def test_no_arrow_follows_from_others():
    _, arrows = drawing()
    assert [arrow for arrow in sorted(arrows) if arrow in reached(arrows - {arrow})] == []


# --- docstrings of the public names ---------------------------------------------------------------


def public_callables() -> dict[str, Any]:
    """The functions and classes of `hasama.__all__`, and the public methods of these classes."""
    told = {name: getattr(hasama, name) for name in hasama.__all__}
    told = {name: value for name, value in told.items() if inspect.isfunction(value) or inspect.isclass(value)}
    methods = {
        f"{name}.{key}": getattr(value, "fget", None) or getattr(value, "__func__", value)
        for name, owner in told.items() if inspect.isclass(owner)
        for key, value in vars(owner).items()
        if not key.startswith("_") and isinstance(value, Callable | property | classmethod)
    }  # fmt: skip
    return told | methods


PUBLIC = public_callables()
FUNCTIONS = {name: inspect.unwrap(value) for name, value in PUBLIC.items() if not inspect.isclass(value)}
FREE = [name for name in FUNCTIONS if "." not in name]
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
TENSORS = ("Images", "Latents", "Labels", "Pixels", "Views", "Logits", "Tensor")


def words(text: str | None) -> set[str]:
    return set(re.findall(r"\w+", text or ""))


def raises(function: Any, owner: Any, deep: bool = True) -> bool:
    """Whether a function raises HasamaError, or calls one that does (or that says so)."""
    try:
        tree = ast.parse(_source(function))
    except (OSError, TypeError):
        return False
    known = getattr(function, "__globals__", {})
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = known.get(ast.unparse(node.exc.func))
            if called is HasamaError or typing.get_type_hints(called or int).get("return") is HasamaError:
                return True
        if deep and isinstance(node, ast.Call):
            callee = _callee(node.func, known, owner)
            if callee is not None and ("Raises:" in (callee.__doc__ or "") or raises(callee, owner, deep=False)):
                return True
    return False


def _source(function: Any) -> str:
    return textwrap.dedent(inspect.getsource(function))


def _callee(called: ast.expr, known: dict[str, Any], owner: Any) -> Any:
    """The function of the package that is called by its name, or as a method of the same class."""
    if isinstance(called, ast.Attribute) and ast.unparse(called.value) in ("self", "cls") and owner is not None:
        value = inspect.getattr_static(owner, called.attr, None)
        value = getattr(value, "__func__", value)
    else:
        value = known.get(ast.unparse(called))
    value = inspect.unwrap(value) if callable(value) else None
    ours = inspect.isfunction(value) and (value.__module__ or "").startswith("hasama")
    return value if ours else None


def test_the_public_names_have_docstrings():
    assert [name for name, value in PUBLIC.items() if not (value.__doc__ or "").strip()] == []
    assert len(FREE) > 15
    assert len(CLASSES) > 10


@pytest.mark.parametrize("name", FREE)
def test_every_argument_of_a_public_function_is_told(name: str):
    told = words(FUNCTIONS[name].__doc__)
    assert [argument for argument in inspect.signature(FUNCTIONS[name]).parameters if argument not in told] == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_field_of_a_public_class_is_told(name: str):
    """In the docstring, in a string below the field, or as the help of a recipe's field."""
    owner = CLASSES[name]
    told = words(owner.__doc__)
    (tree,) = ast.parse(_source(owner)).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told |= names_of(node)
    if dataclasses.is_dataclass(owner):
        told |= {field.name for field in dataclasses.fields(owner) if field.metadata.get("help")}
    fields = getattr(owner, "_fields", [field.name for field in getattr(owner, "__dataclass_fields__", {}).values()])
    assert [field for field in fields if field not in told] == []


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_functions_tell_the_errors_that_they_raise(name: str):
    owner = CLASSES.get(name.partition(".")[0])
    if isinstance(inspect.getattr_static(owner, name.rpartition(".")[2], None), property):
        return  # what it reads was checked when the object was made
    if raises(FUNCTIONS[name], owner):
        assert "Raises:" in (FUNCTIONS[name].__doc__ or "") or "Raises HasamaError" in (FUNCTIONS[name].__doc__ or "")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_functions_that_take_or_give_tensors_tell_their_shape(name: str):
    hints = inspect.getsource(FUNCTIONS[name]).partition('"""')[0]  # as they are written, before the docstring
    if words(hints) & set(TENSORS):
        assert re.search(r"\[[^\]]+\]", FUNCTIONS[name].__doc__ or "")


FORMULAS = [
    *(PUBLIC[name] for name in ("play", "autoencode", "interpolate", "project")),
    *(part for objective in OBJECTIVES.values() for part in (objective.discriminator, objective.generator)),
    *(penalty.cost for penalties in PENALTIES.values() for penalty in penalties),
    *STYLE_LOSSES.values(),
    *(distances.fid, distances.kid, distances.frechet, distances.squared_mmd),
    *(neighbours.coverage, neighbours.density, neighbours.precision),
    *(draw_transforms, draw_changes),
]


@pytest.mark.parametrize("function", FORMULAS, ids=lambda function: function.__name__)
def test_formulas_tell_their_source(function: Callable[..., Any]):
    assert re.search(r"\b(19|20)\d\d\b", function.__doc__ or "")
