"""Remedies: what they change helps whatever the recipe was, and never does the opposite."""

from typing import Any

import pytest

from hasama.health.remedies import (
    against_collapse,
    against_discriminator,
    against_generator,
    against_standstill,
    against_swings,
    few_pictures,
    finer,
    rates_of,
    steady,
)
from hasama.presets import GENTLE, RECIPES, usual_rates_of, varied
from hasama.recipe import Recipe
from hasama.training.setup import check_looks


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


def as_asked(preset: str, **asked: Any) -> Recipe:
    """A preset with changes, at the rates that `hasama train` gives it by itself."""
    recipe = RECIPES[preset].but(**asked)
    return recipe.but(**usual_rates_of(RECIPES[preset], recipe))


@pytest.mark.parametrize(
    ("preset", "asked"),
    [
        ("r3gan", {"width": 64}),
        ("stylegan", {"width": 64}),
        ("vision-aided", {"width": 32}),
        ("r3gan", {"init_from": "portraits"}),
        ("vision-aided", {"init_from": "portraits", "width": 16}),
        ("stable", {}),
        ("stable", {"width": 128}),
        ("wgan-gp", {}),
    ],
)
def test_no_remedy_has_larger_rates_than_those_that_suit_the_networks(preset: str, asked: dict[str, Any]):
    """Wide networks dissolve by the preset's own rates, and those of a run that is begun with are forgotten."""
    recipe = as_asked(preset, **asked)
    for remedies in (against_collapse(recipe), against_swings(recipe), against_standstill(recipe)):
        for remedy in remedies:
            if preset != "wgan-gp" or remedy.changes.get("penalty") != "r1+r2":  # other rules have other rates
                for name in ("generator_lr", "discriminator_lr"):
                    assert remedy.changes.get(name, 0) <= getattr(recipe, name), remedy
    own = {"generator_lr": recipe.generator_lr, "discriminator_lr": recipe.discriminator_lr}
    assert against_generator(recipe)[0].changes == own  # nothing is changed by it, so that it is not advised
    if recipe.init_from:
        assert max(own.values()) <= GENTLE


def test_rates_go_with_the_networks_and_the_rules_that_they_belong_to():
    """Not those of the aid, which is r3gan's; nor those of `stable` without its rules."""
    for preset in ("dcgan", "lsgan", "stylegan"):
        recipe = as_asked(preset, vision_aid="efficientnet")
        assert rates_of(recipe) == rates_of(as_asked(preset))
    half = as_asked("dcgan", discriminator_norm="none", penalty="r1+r2")
    assert rates_of(half) == rates_of(as_asked("dcgan"))
    assert steady(half).changes["objective"] == "relativistic"
    assert steady(half).changes["generator_lr"] == half.generator_lr  # which is never raised
    slow = as_asked("dense").but(penalty="r1+r2", generator_lr=1e-5, discriminator_lr=1e-5)
    assert steady(slow).changes["generator_lr"] == 1e-5
    assert "discriminator_norm" not in steady(as_asked("dense")).changes  # which has none, so the run can go on
    assert steady(as_asked("dcgan")).changes["discriminator_norm"] == "none"
    assert against_discriminator(half)[0].changes["penalty"] == "r1+r2"


def test_the_steady_rules_never_raise_rates_that_were_asked_for():
    for preset in ("r3gan", "stylegan", "stable", "vision-aided"):
        recipe = RECIPES[preset].but(generator_lr=1e-5, discriminator_lr=2e-5)
        changes = steady(recipe).changes
        assert (changes["generator_lr"], changes["discriminator_lr"]) == (1e-5, 2e-5)
    assert steady(RECIPES["dcgan"]).changes["generator_lr"] == RECIPES["stable"].generator_lr  # which need more


@pytest.mark.parametrize("preset", sorted(set(RECIPES) - {"vae"}))
def test_networks_are_made_larger_only_where_they_can_begin_with_the_weights_that_they_began_with(preset: str):
    """Those of other architectures are refused by `check_init_from`, for none would be taken over."""
    recipe, smaller_steps = RECIPES[preset], {"generator_lr", "discriminator_lr"}
    if recipe.architecture == "r3gan":
        recipe = recipe.but(generator_blocks=6, generator_attention=True)
    larger = {"width": 2 * recipe.width}
    assert finer(recipe)[0].changes == larger
    begun = finer(recipe.but(init_from="portraits"))
    assert (begun[0].changes == larger) == (recipe.architecture == "r3gan")
    assert set(begun[-1].changes) == smaller_steps


@pytest.mark.parametrize("base", ["", "portraits"])
def test_a_generator_is_made_deeper_before_it_is_made_wider_and_never_shallower(base: str):
    shallow = RECIPES["r3gan"].but(init_from=base)
    assert finer(shallow)[0].changes == {"generator_blocks": 6, "generator_attention": True}
    assert finer(shallow.but(generator_attention=True))[0].changes == {"generator_blocks": 6}
    for blocks in (6, 7, 16):
        deep = shallow.but(generator_blocks=blocks)
        assert finer(deep)[0].changes == {"generator_attention": True}
        assert finer(deep.but(generator_attention=True))[0].changes == {"width": 2 * deep.width}


@pytest.mark.parametrize("sigma", [0.0, 0.01])
@pytest.mark.parametrize("preset", ["stable", "r3gan"])
def test_augmentation_is_advised_so_that_it_can_be(preset: str, sigma: float):
    """A penalty by differences compares two looks at the same picture."""
    recipe = RECIPES[preset].but(penalty_sigma=sigma, augment="none")
    changes = few_pictures(recipe)[0].changes
    assert changes["augment"] == "diffaugment"
    assert ("penalty_sigma" in changes) == (sigma > 0)
    check_looks(varied(recipe, changes))
