"""Remedies: what they change helps whatever the recipe was, and never does the opposite."""

from typing import Any

import pytest

from hasama.health.remedies import against_discriminator, steady
from hasama.presets import RECIPES


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("dcgan", {}),
        ("dcgan", {"discriminator_lr": 5e-5}),
        ("stylegan", {"discriminator_lr": 1e-3}),
        ("r3gan", {"discriminator_lr": 1e-5}),
        ("dcgan", {"discriminator_lr": 0.01}),
    ],
)
def test_a_discriminator_that_is_too_strong_is_not_made_faster(preset: str, changes: dict[str, Any]):
    recipe = RECIPES[preset].but(**changes)
    last = against_discriminator(recipe)[-1]
    assert last.changes["discriminator_lr"] < recipe.discriminator_lr


@pytest.mark.parametrize(("size", "enlarge"), [("64", 1), ("256", 4), ("256", 2), ("128", 1)])
def test_the_steady_rules_have_the_weight_for_the_size_that_is_played(size: str, enlarge: int):
    recipe = RECIPES["r3gan"].but(size=size, enlarge=enlarge)
    assert steady(recipe.but(gamma=1.0)).changes["gamma"] == recipe.penalty_weight
    assert "gamma" not in steady(recipe).changes
