"""The slow proof: a GAN trained by the command paints digits that a classifier of real ones recognises."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from command import hasama
from hasama.generators.generator_file import load_generator
from hasama.generators.sampling import draw_latents, generate
from hasama.pictures.cache import open_pictures
from hasama.presets import RECIPES
from hasama.runs.folder import Run

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.slow
def test_the_demo_paints_all_ten_digits(tmp_path: Path):
    neighbors = pytest.importorskip("sklearn.neighbors")
    done = hasama("train", "digits", "demo", "--out", tmp_path / "run", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    real = open_pictures("digits", RECIPES["demo"].but(labels=True))
    flat = real.take(np.arange(len(real))).reshape(len(real), -1).astype(np.float32)
    reader = neighbors.KNeighborsClassifier(5).fit(flat, real.labels)

    generator = load_generator(Run(tmp_path / "run").generator)
    painted = np.concatenate(list(generate(generator, draw_latents(1, 1000, generator.latent_size))))
    painted = painted.reshape(1000, -1).astype(np.float32)
    certain = reader.predict_proba(painted).max(1)
    shares = np.bincount(reader.predict(painted), minlength=10) / 1000
    assert certain.mean() > 0.85
    assert shares.min() > 0.02
    apart = reader.kneighbors(painted, 1)[0]
    assert (apart > 1).all()  # none is a copy of a real one


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example))
    assert list((tmp_path / "runs").rglob("*.png"))
    assert len(example.read_text().splitlines()) <= 40
