"""The model card says what a generator was made from."""

import json
import shutil
from pathlib import Path

import pytest

from hasama.generators.generator_file import load_generator
from hasama.runs.bases import BASES
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
