"""What a training is given: bare tensors and a DataLoader's lists are batches, and what is wrong is said at once."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hasama.errors import HasamaError
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.training.reals import as_batches
from hasama.training.setup import loop_for, new_game

IMAGES, LABELS = torch.rand(8, 3, 8, 8) * 2 - 1, torch.arange(8) % 2


@pytest.mark.parametrize(
    ("given", "labelled"),
    [
        ([IMAGES], False),
        ([Batch(IMAGES, LABELS)], True),
        ([(IMAGES, LABELS)], True),
        ([[IMAGES]], False),
        ([IMAGES.double()], False),
        (DataLoader(TensorDataset(IMAGES), batch_size=8), False),
        (DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8), True),
    ],
)
def test_whatever_holds_images_is_a_batch(given: Iterable[Any], labelled: bool):
    (batch,) = as_batches(given)
    torch.testing.assert_close(batch.images, IMAGES, rtol=0, atol=0)
    assert (batch.labels is not None) == labelled


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ((IMAGES + 1) * 127.5, r"these are from .* to 2\d\d.*x / 127\.5 - 1"),
        (IMAGES * torch.nan, "from nan to nan"),
        (IMAGES / 0, "from -inf to inf"),
        (IMAGES.byte(), r"got uint8 \[8, 3, 8, 8\]"),
        (IMAGES[0], r"got float32 \[3, 8, 8\]"),
        (IMAGES[:0], r"got float32 \[0, 3, 8, 8\]"),
        (IMAGES.numpy(), "got ndarray"),
        ([], "got list"),
        ("a folder", "got str"),
        ((IMAGES, LABELS[:3]), r"got 8 images and labels \[3\]"),
        ((IMAGES, LABELS, LABELS), "got Tensor, Tensor, Tensor"),
        ((IMAGES, np.arange(8)), "got Tensor, ndarray"),
    ],
)
def test_what_is_no_batch_of_images_is_told(wrong: Any, told: str):
    with pytest.raises(HasamaError, match=rf"real images \[N, C, H, W\].*{told}"):
        next(as_batches([wrong]))


def test_of_later_batches_no_value_is_read():
    """On a graphics card it would have to be waited for."""
    assert len(list(as_batches([IMAGES, IMAGES * torch.nan]))) == 2


@pytest.mark.parametrize("preset", ["dcgan", "vae"])
def test_nothing_learns_from_what_is_no_batch(preset: str):
    recipe = RECIPES[preset].but(size="8", width=2, latent_size=4, batch=8, precision="fp32")
    game = new_game(build(recipe, 3), recipe)
    before = {name: value.clone() for name, value in game.pair.generator.state_dict().items()}
    with pytest.raises(HasamaError, match=r"x / 127\.5 - 1"):
        next(loop_for(recipe.architecture)(game, [Batch((IMAGES + 1) * 127.5)]))
    assert all(torch.equal(value, before[name]) for name, value in game.pair.generator.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 6, 10)], ids=str)
@pytest.mark.parametrize(
    ("preset", "accumulate"),
    [*itertools.product(["dcgan", "dense", "r3gan", "progressive", "msg", "stylegan"], [1, 2]), ("vae", 1)],
)
def test_reals_of_another_size_than_the_networks_make_are_told_of(
    preset: str, shape: tuple[int, int, int], accumulate: int
):
    """In torch's words, a weight had another size, or a kernel was too large, or a discriminator gave 100 logits."""
    recipe = RECIPES[preset].but(size="8", width=2, latent_size=4, batch=8, precision="fp32", accumulate=accumulate)
    game = new_game(build(recipe, 3), recipe)
    before = {name: value.clone() for name, value in game.pair.discriminator.state_dict().items()}
    with pytest.raises(HasamaError, match=r"real images \[C, H, W\] of .*, and the generator makes \[3, \d"):
        next(loop_for(recipe.architecture)(game, [Batch(torch.rand(8, *shape) * 2 - 1, None)]))
    assert all(torch.equal(value, before[name]) for name, value in game.pair.discriminator.state_dict().items())
