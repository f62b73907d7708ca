"""Networks without numbers: as large as real ones, and made without torch's compiler."""

import subprocess
import sys

import pytest
import torch

from hasama.networks.outline import outline
from hasama.networks.registry import build
from hasama.presets import RECIPES


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_an_outline_has_the_shapes_of_the_networks(name: str):
    recipe = RECIPES[name].but(width=2, latent_size=4, size="32")
    pair = build(recipe, 3)
    with outline():
        drawn = build(recipe, 3)
    for one, other in ((pair.generator, drawn.generator), (pair.discriminator, drawn.discriminator)):
        assert [(key, value.shape) for key, value in other.state_dict().items()] == [
            (key, value.shape) for key, value in one.state_dict().items()
        ]
        assert all(value.is_meta for value in other.parameters())


def test_products_of_numbers_that_are_there_stay_as_they_are():
    there = torch.full((3, 1), 2.0)
    with outline():
        made = there * torch.ones(4, device="cpu") / 4
        drawn = torch.ones(5, 1) * torch.ones(3)
    assert made.tolist() == [[0.5] * 4] * 3
    assert (drawn.shape, drawn.is_meta) == ((5, 3), True)


def test_no_compiler_is_loaded():
    code = """
import sys
from hasama.networks.outline import outline
from hasama.networks.registry import build
from hasama.presets import RECIPES
for recipe in RECIPES.values():
    with outline():
        build(recipe, 3)
sys.exit(bool({"torch._dynamo", "sympy"} & {*sys.modules}))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
