"""The model card says what a generator was made from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from command import hasama
from easel import hasama_here
from hasama.generators.generator_file import load_generator
from hasama.runs.bases import BASES, about_base
from hasama.runs.folder import Run
from hasama.sharing import folder
from hasama.sharing.model_card import Trained, model_card


def card(place: Path, init_from: str) -> str:
    """The card of a run that began with these weights."""
    shutil.copytree(BASES / "portraits", place)
    told = json.loads((place / "recipe.json").read_text())
    told["recipe"]["init_from"] = init_from
    (place / "recipe.json").write_text(json.dumps(told))
    file = place / "generator.safetensors"
    return model_card(Trained(file, load_generator(file), Run(place)))


@pytest.mark.parametrize(
    ("init_from", "words"),
    [
        ("portraits", "CC BY-SA 4.0"),  # a licence that asks for the same of what is made from it
        ("/home/wanjiku/runs/secret", "the weights of another run"),
        ("", None),
    ],
)
def test_it_names_the_weights_that_the_training_began_with(init_from: str, words: str | None, tmp_path: Path):
    text = card(tmp_path / "run", init_from)
    row = [line for line in text.splitlines() if line.startswith("| began with")]
    assert bool(row) == bool(words)
    assert words is None or words in row[0]
    assert "wanjiku" not in text


def test_what_is_exported_is_one_generator_while_its_run_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(BASES / "digits", tmp_path / "run")
    run = Run(tmp_path / "run")
    before = run.generator.read_bytes()

    def card_while_it_saves(*given: Any, **named: Any) -> str:
        shutil.copyfile(BASES / "emoji" / "generator.safetensors", run.generator)
        return model_card(*given, **named)

    monkeypatch.setattr(folder, "model_card", card_while_it_saves)
    with run.held():
        done = hasama_here("export", run.folder, "--safetensors", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "generator.safetensors").read_bytes() == before != run.generator.read_bytes()


def test_a_base_keeps_its_authors_and_its_licence(tmp_path: Path):
    """Which asks to be named: whoever shares a base need not look it up."""
    for given, expected in ((), "cc-by-sa-3.0"), (("--license", "mit"), "mit"):
        done = hasama("export", "digits", "--safetensors", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / "digits-export" / "README.md").read_text()
        assert f"license: {expected}\n" in text
        (row,) = (line for line in text.splitlines() if line.startswith("| trained on"))
        assert f"{about_base('digits')['authors']}; CC BY-SA 3.0" in row
