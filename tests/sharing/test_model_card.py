"""The model card says what a generator was made from."""

import json
import shutil
from pathlib import Path

import pytest

from command import hasama
from hasama.generators.generator_file import load_generator
from hasama.runs.bases import BASES, about_base
from hasama.runs.folder import Run
from hasama.sharing.model_card import Trained, model_card


def card(folder: Path, init_from: str) -> str:
    """The card of a run that began with these weights."""
    shutil.copytree(BASES / "portraits", folder)
    told = json.loads((folder / "recipe.json").read_text())
    told["recipe"]["init_from"] = init_from
    (folder / "recipe.json").write_text(json.dumps(told))
    file = folder / "generator.safetensors"
    return model_card(Trained(file, load_generator(file), Run(folder)))


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


def test_a_base_keeps_its_authors_and_its_licence(tmp_path: Path):
    """Which asks to be named: whoever shares a base need not look it up."""
    for given, expected in ((), "cc-by-sa-3.0"), (("--license", "mit"), "mit"):
        done = hasama("export", "digits", "--safetensors", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        text = (tmp_path / "digits-export" / "README.md").read_text()
        assert f"license: {expected}\n" in text
        (row,) = (line for line in text.splitlines() if line.startswith("| trained on"))
        assert f"{about_base('digits')['authors']}; CC BY-SA 3.0" in row
