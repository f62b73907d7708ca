"""The recipe: there and back through JSON, and a helpful refusal of whatever makes no sense."""

import dataclasses
import importlib.util
import json
import math
import subprocess
import sys
import typing
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama import recipe as module
from hasama.errors import HasamaError
from hasama.fields import (
    GANS_ONLY,
    KIMG_LEAST,
    MEANS_NOTHING_WITHOUT,
    comparable,
    idle_fields,
)
from hasama.networks.registry import ARCHITECTURES, build
from hasama.options import LARGEST_SIDE, SMALLEST_ENLARGED, flag, parse_size
from hasama.presets import PRESETS, RECIPES, recipe_named
from hasama.recipe import DEFAULTS, Recipe
from hasama.training.augmentation.augment import AUGMENTS
from hasama.training.rules.balance import BALANCES
from hasama.training.rules.objectives import OBJECTIVES
from hasama.training.rules.penalties import PENALTIES
from hasama.training.setup import loop_for, new_game


def without_shape_checks() -> Any:
    """The module as users have it: in the tests beartype would refuse a wrong type before the recipe could."""
    spec = importlib.util.spec_from_file_location("recipe_as_users_have_it", module.__file__)
    assert spec
    assert spec.loader
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    return plain


PLAIN = without_shape_checks().Recipe
FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}


def through_json(recipe: Recipe) -> Recipe:
    return Recipe.from_dict(json.loads(json.dumps(recipe.to_dict(), allow_nan=False)))


# --- there and back -------------------------------------------------------------------------------


def values(field: dataclasses.Field) -> st.SearchStrategy:
    """Whatever a field may hold, from its type and its range."""
    hint, least, most = field.type, field.metadata["least"], field.metadata["most"]
    if field.name == "size":
        side = st.integers(1, LARGEST_SIDE)
        return st.builds(str, side) | st.builds("{}x{}".format, side, side)
    if field.name == "enlarge":
        return st.sampled_from([1, 2, 4, 8])
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if (choices := typing.get_args(hint)) and typing.get_origin(choices[0]) is typing.Literal:
        return st.none() | st.sampled_from(typing.get_args(choices[0]))
    if hint is bool:
        return st.booleans()
    if hint is str:
        return st.sampled_from(["", "runs/other"])
    if hint in (int, int | None):
        whole = st.integers(int(least), int(most))
        return whole if hint is int else st.none() | whole
    if typing.get_origin(hint) is tuple:
        return st.tuples(*[st.floats(0, 1, exclude_max=True)] * 2)
    numbers = st.floats(least, min(most, 1e9)) | st.integers(math.ceil(least), math.floor(min(most, 1000)))
    return numbers if hint is float else st.none() | numbers


def rising(fields: dict[str, Any]) -> None:
    """Let beta2 rise, and the stage of half the size have a length."""
    if fields["beta2_initial"] is not None:
        lasts = [fields[f"{player}_betas"][1] for player in ("generator", "discriminator")]
        fields["beta2_initial"] = min(fields["beta2_initial"], *lasts)
    fields["small_kimg"] = fields["small_kimg"] and max(fields["small_kimg"], KIMG_LEAST)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any recipe that contradicts itself nowhere."""
    fields = {name: draw(values(field)) for name, field in FIELDS.items()}
    sides = parse_size(fields["size"])
    fields["enlarge"] = math.gcd(fields["enlarge"], *sides) if min(sides) >= SMALLEST_ENLARGED else 1
    if fields["objective"] not in ("minimax", "non-saturating", "least-squares"):
        fields["label_smoothing"] = 0.0
    if fields["penalty"] != "none":
        fields["discriminator_norm"] = "none"
    if fields["architecture"] == "vae":
        for name in GANS_ONLY:
            fields[name] = DEFAULTS[name]
    for name in idle_fields(fields):
        fields[name] = DEFAULTS[name]
    rising(fields)
    fields["accumulate"] = math.gcd(fields["accumulate"], fields["batch"])
    if fields["accumulate"] == fields["batch"] or fields["balance"] == "skip-strong":
        fields["accumulate"] = 1
    if fields["vision_aid"] == fields["quality_features"]:
        fields["quality_features"] = None
    if not fields["health_kimg"]:
        fields["autopilot"] = False
    return Recipe(**fields)


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_survives_json(name: str):
    assert through_json(RECIPES[name]) == RECIPES[name]


@given(recipe=recipes())
@settings(max_examples=100)
def test_every_recipe_survives_json(recipe: Recipe):
    again = through_json(recipe)
    assert again == recipe
    assert again.differences(recipe) == {}
    assert hash(again) == hash(recipe)


@given(one=recipes(), other=recipes())
@settings(max_examples=30)
def test_differences_are_what_turns_one_into_the_other(one: Recipe, other: Recipe):
    assert one.but(**{name: there for name, (_, there) in one.differences(other).items()}) == other


def test_absent_fields_take_their_defaults():
    assert Recipe.from_dict({}) == Recipe()
    assert Recipe.from_dict({"width": 8}) == Recipe().but(width=8)


def test_an_idle_field_with_another_versions_default_is_no_contradiction():
    """What was written down may hold a default that has changed since, in a field that decides nothing."""
    read = Recipe.from_dict({"architecture": "r3gan", "grow_kimg": 20.0, "schedule_kimg": 5.0, "skip_above": 0.7})
    assert read == Recipe(architecture="r3gan")
    assert Recipe.from_dict({"architecture": "progressive", "grow_kimg": 20.0}).grow_kimg == 20


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().width = 8  # pyright: ignore[reportAttributeAccessIssue]


# --- refusals -------------------------------------------------------------------------------------

WRONG_TYPE = [
    ("size", 64, "a text"),
    ("mirror", 1, "true or false"),
    ("labels", "yes", "true or false"),
    ("width", 64.0, "a whole number"),
    ("width", True, "a whole number"),
    ("batch", "64", "a whole number"),
    ("kimg", True, "a number"),
    ("kimg", None, "a number"),
    ("gamma", "ten", "a number"),
    ("generator_betas", [0.5, 0.9], "two numbers"),
    ("generator_betas", (0.5,), "two numbers"),
    ("discriminator_betas", (0.5, "0.9"), "two numbers"),
    ("objective", "wgan", "one of minimax, non-saturating"),
    ("architecture", ["dcgan"], "one of dcgan, dense, vae"),
    ("precision", "fp16", "one of auto, bf16, fp32"),
    ("fit", None, "one of crop, pad, stretch"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG_TYPE)
def test_a_value_of_the_wrong_kind_is_named_with_its_flag(name: str, value: Any, wanted: str):
    with pytest.raises(HasamaError) as caught:
        PLAIN(**{name: value})
    assert str(caught.value).startswith(f"{flag(name)} takes {wanted}")
    assert repr(value) in str(caught.value)


def numbers() -> list[str]:
    return [name for name, field in FIELDS.items() if field.type in (int, float, float | None)]


@pytest.mark.parametrize("name", numbers())
def test_numbers_out_of_range_are_refused_and_the_bounds_accepted(name: str):
    field = FIELDS[name]
    least, most = field.metadata["least"], field.metadata["most"]
    kind = int if field.type is int else float
    bad = [kind(least) - kind(1), *([kind(most) * 2 + kind(1)] if most < float("inf") else [])]
    bad += [] if kind is int else [float("nan"), float("inf"), float("-inf"), 10**400]
    for value in bad:
        with pytest.raises(HasamaError, match=f"^{flag(name)} must be (at least|between) .*; got "):
            PLAIN(**{name: value})
    needed, allowed = MEANS_NOTHING_WITHOUT.get(name, ("kimg", (1.0,)))
    beside = {"schedule_kimg": {"lr_final": 0.5}, "ada_final": {"objective": "relativistic"}}
    beside["accumulate"] = {"batch": 65536}
    beside["beta2_initial"] = {f"{player}_betas": (0.0, most) for player in ("generator", "discriminator")}
    beside["instance_noise_kimg"] = {"instance_noise": 0.1}
    norm = {"discriminator_norm": "none"} if needed != "architecture" or "dcgan" in allowed else {}
    company = {needed: allowed[0]} | norm | beside.get(name, {})
    for value in (least, most):
        if value != float("inf"):
            assert getattr(PLAIN(**company | {name: kind(value)}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "without"),
    [
        *[("gamma", 1.0, "--penalty"), ("skip_above", 0.6, "--balance"), ("critic_steps", 3, "--balance")],
        *[
            ("penalty_every", 2, "--penalty"),
            ("gamma_final", 0.1, "--penalty"),
            ("path_length", 1.0, "--architecture"),
        ],
        *[("grow_kimg", 9.0, "--architecture"), ("ada_target", 0.5, "--augment"), ("ada_kimg", 9.0, "--augment")],
        *[("mapping_layers", 2, "--architecture"), ("schedule_kimg", 9.0, "--lr-final")],
        *[("discriminator_layers", 2, "--architecture"), ("generator_norm", "batch", "--architecture")],
    ],
)
def test_a_number_that_would_do_nothing_is_refused(name: str, value: float | str, without: str):
    with pytest.raises(HasamaError, match=rf"^{flag(name)} means nothing without {without} "):
        PLAIN(**{name: value})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"instance_noise_kimg": 1.0}, "--instance-noise-kimg means nothing without --instance-noise above 0."),
        ({"ema_kimg": 0.0, "ema_rampup": 0.5}, "--ema-rampup means nothing without --ema-kimg above 0."),
        ({"penalty": "r1+r2", "gamma": 0.0, "gamma_final": 0.1}, "means nothing without --gamma above 0."),
        ({"penalty": "r1", "gamma": 0.0, "penalty_every": 4}, "means nothing without --gamma above 0."),
        ({"quality_features": "vgg19", "quality_kimg": 0.0}, "means nothing without --quality-kimg above 0."),
        ({"gamma": 1.0}, "--gamma means nothing without --penalty r1, r2, r1.r2 or wgan-gp."),
        ({"architecture": "r3gan", "discriminator_dropout": 0.5}, "without --architecture dcgan or dense."),
        ({"beta2_initial": 0.9995}, "--beta2-initial 0.9995 is more than the 0.999 of the betas"),
        ({"architecture": "r3gan", "small_kimg": 1e-4}, "--small-kimg must be 0 or at least 0.001; got 0.0001"),
    ],
)
def test_what_would_do_nothing_or_the_contrary_is_refused(fields: dict[str, Any], told: str):
    if fields.get("penalty"):
        fields = fields | {"discriminator_norm": "none"}
    with pytest.raises(HasamaError, match=told):
        PLAIN(**fields)


def test_what_does_nothing_in_an_older_recipe_is_forgotten():
    """It was accepted once, and the run goes on as it did."""
    old = DEFAULTS | {"architecture": "r3gan", "ema_kimg": 0.0, "ema_rampup": 0.5, "instance_noise_kimg": 1.0}
    assert Recipe.from_dict(old) == Recipe(architecture="r3gan", ema_kimg=0.0)


def test_what_steers_ada_depends_on_the_objective():
    with pytest.raises(HasamaError, match=r"--ada-target means nothing with --objective relativistic.*--ada-final"):
        RECIPES["r3gan"].but(augment="ada", ada_target=0.5)
    with pytest.raises(HasamaError, match="--ada-final means nothing without --objective relativistic"):
        PLAIN(augment="ada", ada_final=0.5)
    assert (
        RECIPES["r3gan"]
        .but(
            augment="ada",
            ada_final=0.5,
        )
        .ada_final
        == 0.5
    )
    assert PLAIN(augment="ada", ada_target=0.5).ada_target == 0.5


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.5, 1.0), (-0.1, 0.9), (float("nan"), 0.9), (0.5, float("inf"))])
@pytest.mark.parametrize("name", ["generator_betas", "discriminator_betas"])
def test_betas_lie_from_0_up_to_not_including_1(name: str, betas: tuple[float, float]):
    with pytest.raises(HasamaError, match=flag(name)):
        PLAIN(**{name: betas})


@pytest.mark.parametrize("make", [PLAIN.from_dict, lambda fields: PLAIN().but(**fields)])
def test_unknown_fields_are_refused_with_the_nearest_name(make):
    with pytest.raises(HasamaError, match=r"'generator_lrr'.*Did you mean generator_lr\?"):
        make({"generator_lrr": 1e-4})
    with pytest.raises(HasamaError, match=r"'zzz'. There are: size, enlarge, fit, .*checkpoint_minutes"):
        make({"zzz": 1})


@pytest.mark.parametrize("damaged", [[1, 2], "dcgan", None, 3])
def test_a_recipe_that_is_no_object_is_refused(damaged: Any):
    with pytest.raises(HasamaError, match="A recipe is an object"):
        PLAIN.from_dict(damaged)


CONTRADICTIONS = [
    *[({"label_smoothing": 0.1, "objective": o}, o) for o in ("hinge", "wasserstein", "relativistic")],
    *[({"penalty": p}, "--discriminator-norm none") for p in PENALTIES if p != "none"],
    ({"architecture": "vae", "objective": "hinge"}, "--objective"),
    ({"architecture": "vae", "penalty": "r1", "discriminator_norm": "none"}, "--penalty"),
    ({"architecture": "vae", "balance": "skip-strong"}, "--balance"),
    ({"architecture": "vae", "label_smoothing": 0.1}, "--label-smoothing"),
    ({"architecture": "vae", "instance_noise": 0.1}, "--instance-noise"),
    ({"architecture": "vae", "labels": True}, "--labels"),
    ({"architecture": "vae", "spectral_norm": True}, "--spectral-norm"),
    ({"architecture": "vae", "augment": "ada"}, "--augment"),
    ({"architecture": "vae", "freeze_d": 1}, "--freeze-d"),
    *[({"architecture": a, "discriminator_dropout": 0.1}, "--architecture dcgan") for a in ("vae", "r3gan")],
    ({"architecture": "vae", "vision_aid": "efficientnet"}, "--vision-aid"),
    ({"vision_aid": "efficientnet", "quality_features": "efficientnet"}, "judged by another"),
    *[({"only": names}, "--only takes the names") for names in (",", " ", " , ,")],
]


@pytest.mark.parametrize(("fields", "names"), CONTRADICTIONS)
def test_contradictions_are_refused_with_what_to_do(fields: dict[str, Any], names: str):
    with pytest.raises(HasamaError, match=names):
        Recipe(**fields)


def test_who_helps_to_train_does_not_judge():
    assert Recipe().quality_extractor == "efficientnet"
    assert Recipe(vision_aid="efficientnet").quality_extractor == "vgg19"
    assert Recipe(quality_features="vgg19").quality_extractor == "vgg19"


def test_changes_are_checked_too():
    with pytest.raises(HasamaError, match="--discriminator-norm none"):
        RECIPES["dcgan"].but(penalty="r1")
    assert RECIPES["dcgan"].but(penalty="r1", discriminator_norm="none").penalty == "r1"
    assert RECIPES["dense"].but(penalty="r1").penalty == "r1"  # it has no BatchNorm to mix the pictures


# --- sizes ----------------------------------------------------------------------------------------


@given(width=st.integers(1, LARGEST_SIDE), height=st.integers(1, LARGEST_SIDE), cross=st.sampled_from("xX×"))
@settings(deadline=None)
def test_a_size_is_width_times_height_and_a_resolution_the_other_way_round(width: int, height: int, cross: str):
    assert parse_size(f"{width}{cross}{height}") == (height, width)
    assert parse_size(f" {width} ") == (width, width)


@pytest.mark.parametrize("text", ["", "big", "64x", "x64", "64x64x3", "-64", "6.4", "64 x 64", "1e2", "9999999"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(HasamaError, match="--size takes 64, or WIDTHxHEIGHT"):
        Recipe(size=text)


@pytest.mark.parametrize("text", ["0", "0x64", "64x0", "4097", "64x4097"])
def test_impossible_sides_are_refused(text: str):
    with pytest.raises(HasamaError, match=f"--size must lie between 1 and {LARGEST_SIDE}"):
        Recipe(size=text)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "table"),
    [
        ("Architecture", ARCHITECTURES),
        ("Objective", OBJECTIVES),
        ("Penalty", PENALTIES),
        ("BalanceName", BALANCES),
        ("Augmentation", AUGMENTS),
    ],
)
def test_the_names_in_the_recipe_are_the_keys_of_the_tables(names: str, table: dict[str, Any]):
    assert typing.get_args(getattr(module, names)) == tuple(table)


def test_every_field_explains_itself():
    assert all(field.metadata["help"].endswith(".") for field in FIELDS.values())


def test_help_does_not_wait_for_torch():
    code = "import sys, hasama.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_show_only_differences(name: str):
    repeated = {field for field, value in PRESETS[name].items() if value == DEFAULTS[field]}
    assert repeated == set()
    assert RECIPES[name].differences(Recipe()).keys() == PRESETS[name].keys()


def test_a_misspelt_preset_is_told_the_nearest():
    assert recipe_named("wgan-gp") is RECIPES["wgan-gp"]
    with pytest.raises(HasamaError, match=r"no recipe called 'dcgna'. Did you mean dcgan\?"):
        recipe_named("dcgna")


def test_the_penaltys_weight_is_guessed_unless_given():
    r1 = Recipe(penalty="r1", discriminator_norm="none", size="64x32", batch=16)
    assert r1.penalty_weight == pytest.approx(0.0002 * 64 * 32 / 16)
    assert r1.but(gamma=0.5).penalty_weight == 0.5
    assert r1.but(gamma=0).penalty_weight == 0  # none at all is not "not given"
    assert RECIPES["wgan-gp"].penalty_weight == 10
    assert RECIPES["stable"].penalty_weight == RECIPES["r3gan"].penalty_weight == 5  # two penalties, at 64x64
    assert RECIPES["stable"].but(size="32x16").penalty_weight == 5
    assert RECIPES["stable"].but(size="128x64").penalty_weight == 10


def test_the_weight_of_the_penalty_at_the_features_grows_with_the_pictures_of_the_game():
    own = RECIPES["vision-aided"]
    assert own.vision_penalty_weight == own.but(size="32").vision_penalty_weight == 10
    assert own.but(size="128x96").vision_penalty_weight == 30
    assert own.but(size="256", enlarge=4).vision_penalty_weight == 10
    assert own.but(size="256", vision_gamma=0.0).vision_penalty_weight == 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_a_game_and_plays_two_steps(name: str):
    recipe = RECIPES[name].but(size="8", width=2, latent_size=4, batch=4, precision="fp32")
    game = new_game(build(recipe), recipe)
    before = [parameter.clone() for parameter in game.pair.discriminator.parameters()]
    torch.manual_seed(0)
    batches = [torch.rand(4, 3, 8, 8) * 2 - 1 for _ in range(2)]
    records = list(loop_for(recipe.architecture)(game, batches))  # pyright: ignore[reportArgumentType]
    assert [record.images_seen for record in records] == [4, 8]
    told = records[-1].figures()
    assert all(torch.tensor(value).isfinite() for value in told.values())
    assert any(key.startswith("loss_") for key in told)
    moved = [not torch.equal(a, b) for a, b in zip(before, game.pair.discriminator.parameters(), strict=True)]
    assert any(moved)


def test_stored_recipes_are_compared_by_all_that_they_say():
    """Another length or another rate is another recipe; what an older version did not know is not."""
    now = Recipe(kimg=5.0).to_dict()
    older = {name: value for name, value in now.items() if name not in ("jitter", "enlarge", "vision_aid")}
    assert comparable(older | {"quality_features": "efficientnet"}, DEFAULTS) == comparable(now, DEFAULTS)
    for changes in ({"kimg": 6.0}, {"health_kimg": 1.0}, {"generator_lr": 0.1}):
        assert comparable(now | changes, DEFAULTS) != comparable(now, DEFAULTS)
