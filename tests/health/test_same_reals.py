"""Where all real pictures are the same one, no figure is divided by the distance between them."""

from pathlib import Path

import numpy as np
import pytest
from test_signals import a_game, played

import hasama
from hasama.health.checks import examine
from hasama.health.findings import History
from hasama.health.signals import Probe
from hasama.pictures.dataset import Pictures, hold_out

RATIOS = {"diversity", "distance", "repeats", "nearest", "unrest", "diversity_features"}


def opened(folder: Path, pixels: np.ndarray) -> Pictures:
    np.savez(folder / "same.npz", images=pixels)
    return hasama.open_pictures(str(folder / "same.npz"), hasama.Recipe(size="16"))


@pytest.mark.parametrize("count", [1, 2, 40, 500])
@pytest.mark.parametrize("flat", [False, True])
def test_figures_of_one_picture_stay_small(count: int, flat: bool, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    one = np.full_like(noise, 128) if flat else noise
    pictures = opened(tmp_path, np.repeat(one[None], count, 0))
    training, held = hold_out(pictures, 0.05, 0)
    figures = Probe(training, held)(played(a_game("dcgan"), pictures))
    assert not RATIOS & figures.keys()
    assert figures["spread_real"] == pytest.approx(0, abs=1e-4)
    assert all(np.isfinite(value) and abs(value) < 1e4 for value in figures.values()), figures


def test_the_checks_read_such_a_log():
    lines = [
        {"images_seen": 5000 * number, "spread_real": 0.0, "contrast_real": 0.5, "contrast": 0.5, "covered": 0.0}
        | {"loss_discriminator": 0.5, "loss_generator": 1.0, "accuracy_real": 1.0, "accuracy_fake": 1.0}
        | {"logit_real": 2.0, "logit_fake": -2.0}
        for number in range(1, 40)
    ]
    recipe = hasama.RECIPES["dcgan"].but(kimg=200.0)
    assert len(History(lines, recipe).looks) == 39
    found = {finding.name for finding in examine(lines, recipe, {"used": 1, "duplicates": []})}
    assert {"too-few", "all-alike"} <= found
    assert "dead-start" not in found
