"""A preset with what somebody asks for, and the command that asks for it."""

import math
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hasama
from hasama.cli.arguments import tell_rates
from hasama.errors import HasamaError
from hasama.presets import (
    POINT_RECIPES,
    RECIPES,
    STACK_RECIPES,
    as_recipe,
    asked_recipe,
    flags_of_difference,
    recipe_named,
    train_command,
)
from hasama.recipe import Recipe
from hasama.runs.folder import Run


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("architecture", ["dense", "vae", "progressive", "msg", "stylegan", "r3gan", "fast"])
def test_every_preset_takes_another_architecture(name: str, architecture: str):
    """What only the preset said, and the other architecture has no use for, is dropped."""
    assert asked_recipe(name, {"architecture": architecture}).architecture == architecture


def test_how_long_each_size_is_trained_for_is_in_the_command():
    """Of a preset that does not grow: or it would be a share of the length."""
    wanted = Recipe(architecture="progressive", kimg=500.0, grow_kimg=35.0)
    words = shlex.split(train_command("x", wanted, "dcgan"))[4:]
    changes = {
        "architecture": "progressive",
        "kimg": 500.0,
        "grow_kimg": float(words[words.index("--grow-kimg") + 1]),
    }
    assert asked_recipe("dcgan", changes).grow_kimg == 35.0


@pytest.mark.parametrize("field", ["kimg", "small_kimg"])
def test_lengths_that_cannot_be_counted_are_refused(field: str):
    with pytest.raises(HasamaError, match="must be at most 1e"):
        RECIPES["r3gan"].but(**{field: 1e306})


def test_what_is_asked_for_and_does_nothing_is_still_refused():
    with pytest.raises(HasamaError, match="--group-width means nothing without --architecture r3gan"):
        asked_recipe("vision-aided", {"architecture": "stylegan", "group_width": 4})
    with pytest.raises(HasamaError, match="--gamma means nothing without --penalty"):
        asked_recipe("dcgan", {"gamma": 1.0})


@pytest.mark.parametrize(
    ("name", "asked", "grows"),
    [
        ("progressive", {}, 35.0),
        ("progressive", {"kimg": 20.0}, 3.5),
        ("progressive", {"kimg": 20.0, "grow_kimg": 9.0}, 9.0),
        ("r3gan", {"architecture": "progressive", "kimg": 10.0}, 0.35),
        ("progressive", {"architecture": "r3gan", "kimg": 1.0}, 35.0),  # the default, which does nothing
    ],
)
def test_progressive_grows_in_the_same_share_of_any_length(name: str, asked: dict[str, Any], grows: float):
    assert asked_recipe(name, asked).grow_kimg == pytest.approx(grows)


def parsed(flags: list[str]) -> dict[str, Any]:
    """--kimg 5 --mirror -> {'kimg': 5.0, 'mirror': True}; enough for what is tried here."""
    found: dict[str, Any] = {}
    name = ""
    for word in flags:
        if word.startswith("--no-"):
            found[word[5:].replace("-", "_")] = False
        elif word.startswith("--"):
            found[name := word[2:].replace("-", "_")] = True
        else:
            found[name] = word if name in ("size", "init_from") else float(word)
    return {name: int(value) if name in ("batch", "seed", "width") else value for name, value in found.items()}


@settings(deadline=None)
@given(
    st.sampled_from(sorted(RECIPES)),
    st.floats(0.5, 5000).map(lambda x: float(f"{x:.3g}")),
    st.none() | st.floats(0.1, 500).map(lambda x: float(f"{x:.3g}")),
    st.booleans(),
    st.sampled_from(["", "portraits"]),
    st.none() | st.sampled_from([1e-5, 7e-4, 2e-3, 6e-3]),
    st.none() | st.sampled_from([8, 32, 96]),
)
def test_a_printed_command_means_the_recipe_that_it_was_printed_for(
    name: str, kimg: float, grow: float | None, mirror: bool, base: str, rate: float | None, width: int | None
):
    recipe = RECIPES[name].but(kimg=kimg, mirror=mirror)
    if width is not None:
        recipe = recipe.but(width=width)
    if base and recipe.architecture != "vae":
        recipe = recipe.but(init_from=base)
    if rate is not None:
        recipe = recipe.but(generator_lr=rate)
    if recipe.architecture == "progressive" and grow is not None:
        recipe = recipe.but(grow_kimg=grow)
    again = asked_recipe(name, parsed(flags_of_difference(recipe, RECIPES[name])))
    assert again.differences(recipe).keys() <= {"grow_kimg"}
    assert again.grow_kimg == pytest.approx(recipe.grow_kimg)


def test_what_begins_with_another_run_learns_gently_unless_somebody_asks_for_a_rate():
    recipe = asked_recipe("vision-aided", {"init_from": "portraits"})
    assert (recipe.generator_lr, recipe.discriminator_lr) == (7e-4, 7e-4)
    assert flags_of_difference(recipe, RECIPES["vision-aided"]) == ["--init-from", "portraits"]
    recipe = asked_recipe("vision-aided", {"init_from": "portraits", "discriminator_lr": 2e-3})
    assert (recipe.generator_lr, recipe.discriminator_lr) == (7e-4, 2e-3)
    assert "--discriminator-lr" in flags_of_difference(recipe, RECIPES["vision-aided"])
    assert asked_recipe("dcgan", {"init_from": "x"}).generator_lr == RECIPES["dcgan"].generator_lr  # gentle already
    assert asked_recipe("vision-aided", {"mirror": True}).generator_lr == RECIPES["vision-aided"].generator_lr
    fresh = RECIPES["vision-aided"].but(init_from="portraits")  # a fresh game's rates: they have to be said
    assert flags_of_difference(fresh, RECIPES["vision-aided"]).count("0.002") == 2


def test_wider_networks_learn_by_smaller_rates_unless_somebody_asks_for_others():
    usual = RECIPES["r3gan"]
    for width, share in ((8, 1), (16, 1), (32, 2), (48, 3), (64, 4)):
        recipe = asked_recipe("r3gan", {"width": width})
        wanted = float(f"{usual.generator_lr / math.sqrt(share):.3g}")
        assert (recipe.generator_lr, recipe.discriminator_lr) == (wanted, wanted)
        assert flags_of_difference(recipe, usual) == ([] if width == 16 else ["--width", str(width)])
    recipe = asked_recipe("r3gan", {"width": 64, "discriminator_lr": 1e-3})
    assert (recipe.generator_lr, recipe.discriminator_lr) == (5e-4, 1e-3)
    assert flags_of_difference(usual.but(width=64), usual).count("0.001") == 2  # the preset's have to be said
    assert asked_recipe("vision-aided", {"generator_width": 32}).generator_lr == 2e-3
    for name, rate in (("vision-aided", 7e-4), ("r3gan", 5e-4)):  # gentle is less, or gentle enough it is
        assert asked_recipe(name, {"width": 64, "init_from": "x"}).generator_lr == rate
    assert asked_recipe("dcgan", {"architecture": "fast", "width": 99}).generator_lr == RECIPES["dcgan"].generator_lr


def test_the_shortest_command_is_printed():
    assert shlex.split(train_command("p", Recipe(size="32")))[:4] == ["hasama", "train", "p", "dcgan"]


def test_train_tells_of_smaller_rates_where_a_new_run_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Run(tmp_path / "run")
    for asked, told in (
        ({"width": 64}, "0.0005 (generator) and 0.0005 (discriminator): networks 4 times as wide"),
        ({"width": 16}, ""),
        ({"width": 64, "generator_lr": 1e-3, "discriminator_lr": 1e-3}, ""),
    ):
        tell_rates(run, "r3gan", asked_recipe("r3gan", asked))
        assert (told in capsys.readouterr().out) if told else not capsys.readouterr().out


def test_in_python_a_presets_name_is_its_recipe(tmp_path: Path):
    short = as_recipe(RECIPES["dcgan"].but(size="16", width=4, kimg=0.2))
    assert as_recipe("dcgan") is RECIPES["dcgan"]
    assert short.width == 4
    with pytest.raises(HasamaError, match="Did you mean dcgan"):
        next(hasama.train("digits", "dcgna", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["hundred", "stacked-mnist"])
def test_recipes_for_known_modes_are_told_apart(name: str):
    with pytest.raises(HasamaError, match=f"hasama coverage {name}"):
        recipe_named(name)
    assert recipe_named(name, {**POINT_RECIPES, **STACK_RECIPES}).objective == "relativistic"
