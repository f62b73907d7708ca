"""The notebooks are what the script builds, in both languages, and their code runs."""

import ast
import importlib.util
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")
pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[2]


def loaded() -> ModuleType:
    """scripts/make_notebooks.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "scripts/make_notebooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = loaded()
NAMES, LANGUAGES = maker.NAMES, [*maker.LANGUAGES]
EVERY = [(name, language) for name in NAMES for language in LANGUAGES]
KILOBYTES = 400
ENGLISH = {"the", "and", "is", "are", "with", "that", "which", "from", "not", "it", "you"}
"""Words that hardly any English sentence lacks, and no Kiswahili one has."""


def stored(name: str, language: str) -> Any:
    return nbformat.read(maker.place_of(name, language), 4)


def keys(name: str) -> list[str]:
    return [cell.source for cell in maker.source_cells(name) if cell.cell_type == "markdown"]


def prose(text: str) -> str:
    """Without code, links' targets, tags, and what stands in italics or brackets, where English terms may stand."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>|\*[^*]+\*|\([^)]*\)", " ", text, flags=re.DOTALL)
    return re.sub(r"'[^']*'", " ", text)


# --- text and code --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "language"), EVERY)
def test_the_notebooks_are_what_the_script_builds(name: str, language: str):
    built, found = maker.build(name, language), stored(name, language)
    assert [(c.id, c.cell_type, c.source) for c in found.cells] == [
        (c.id, c.cell_type, c.source) for c in built.cells
    ]
    assert found.metadata == built.metadata


@pytest.mark.parametrize(("name", "language"), EVERY)
def test_every_key_has_its_text_and_every_text_its_key(name: str, language: str):
    told = maker.texts(name, language)
    assert [*told] == keys(name)
    assert all(told.values())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_untranslated(name: str):
    english, swahili = (maker.texts(name, language) for language in ("en", "sw"))
    for key in english:
        assert swahili[key] != english[key], key
        assert not ENGLISH & {*re.findall(r"[a-z]+", prose(swahili[key]).lower())}, key
        assert 0.5 < len(swahili[key]) / len(english[key]) < 2, f"{key}: something is missing in one language"


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_show_the_same_code_words_and_numbers(name: str):
    """Numbers that were changed in one language only would tell two stories."""
    english, swahili = (maker.texts(name, language) for language in ("en", "sw"))
    for key in english:
        code, numbers = (
            [{*re.findall(pattern, text[key])} for text in (english, swahili)]
            for pattern in (r"`[^`\n]+`", r"(?<![\w.-])\d[\d.,]*\d")  # small numbers may be words
        )
        assert code[0] == code[1], key
        assert numbers[0] == numbers[1], key


def test_an_english_sentence_in_a_kiswahili_text_would_be_noticed():
    assert ENGLISH & {*re.findall(r"[a-z]+", prose("The loss falls.").lower())}
    assert not ENGLISH & {*re.findall(r"[a-z]+", prose("Hasara (the loss) hushuka kwa `the`.").lower())}


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "language"), EVERY)
def test_the_notebooks_have_been_run_and_are_small(name: str, language: str):
    assert maker.place_of(name, language).stat().st_size <= KILOBYTES * 1000
    code = maker.code_cells(stored(name, language))
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if any(kind.startswith("image/") for kind in output.get("data", {}))]
    assert len(pictures) >= 3
    assert not re.search(r"/(home|root|tmp|work)/", maker.place_of(name, language).read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_outputs(name: str):
    one, other = ([cell.outputs for cell in maker.code_cells(stored(name, language))] for language in ("en", "sw"))
    assert one == other


# --- running --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Cell by cell in this process, with next to no steps: quicker than a kernel for each."""
    if name == "gan_keras":
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        keras = pytest.importorskip("keras")
        if keras.backend.backend() != "torch":
            pytest.skip("Keras runs on another backend")
        request.addfinalizer(partial(keras.config.set_image_data_format, keras.config.image_data_format()))
    import matplotlib as mpl

    mpl.use("Agg")
    monkeypatch.setenv("HASAMA_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    shown: list[Any] = []
    space = {"__name__": "__main__", "display": lambda *what: shown.extend(what)}
    for cell in maker.code_cells(maker.build(name, "en")):
        tree = ast.parse(cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), space)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), space))
    assert len([one for one in shown if type(one).__name__ == "Image"]) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebooks_run_in_jupyter(name: str):
    """With all their steps, in a kernel of their own, as a reader runs them."""
    run = maker.executed(maker.build(name, "en"))
    assert all(cell.execution_count for cell in maker.code_cells(run))


def test_a_notebook_runs_in_jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The first cells of one, in a real kernel, by the function that makes what is shipped."""
    monkeypatch.setenv("HASAMA_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = maker.build("latent_space", "sw")
    notebook.cells = notebook.cells[:6]
    outputs = [output for cell in maker.code_cells(maker.executed(notebook)) for output in cell.outputs]
    assert any("image/jpeg" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
