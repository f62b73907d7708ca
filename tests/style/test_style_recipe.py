"""How a painting is asked for: layers, scales, presets, and every bad value refused by its flag's name."""

import dataclasses
import importlib.util
import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.errors import HasamaError
from hasama.options import flag
from hasama.perception.vgg import check_layers, layer_names
from hasama.style import recipe as module
from hasama.style.recipe import (
    LARGEST_FOR_LBFGS,
    STYLE_DEFAULTS,
    STYLE_PRESETS,
    STYLE_RECIPES,
    StyleRecipe,
    parse_layers,
    parse_mix,
    scale_sides,
    style_recipe_named,
)


def without_shape_checks() -> Any:
    """The module as users have it: in the tests beartype would refuse a wrong type before the recipe could."""
    spec = importlib.util.spec_from_file_location("style_recipe_as_users_have_it", module.__file__)
    assert spec
    assert spec.loader
    plain = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plain  # dataclasses looks its types up there
    spec.loader.exec_module(plain)
    return plain


PLAIN = without_shape_checks().StyleRecipe


# --- layers ---------------------------------------------------------------------------------------

weights = st.floats(1e-3, 1e3)


@given(
    st.dictionaries(st.sampled_from(layer_names("vgg19")), weights, min_size=1, max_size=5), st.sampled_from(",; ")
)
@settings(max_examples=25)
def test_layers_weights_become_shares_of_one(asked: dict[str, float], comma: str):
    comma = ", " if comma == ";" else comma
    found = parse_layers(comma.join(f"{layer}:{weight!r}" for layer, weight in asked.items()), "--style-layers")
    assert list(found) == list(asked)
    assert sum(found.values()) == pytest.approx(1)
    whole = sum(asked.values())
    for layer, weight in asked.items():
        assert found[layer] == pytest.approx(weight / whole)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("relu4_2", {"relu4_2": 1.0}),
        ("relu1_1:3,relu2_1", {"relu1_1": 0.75, "relu2_1": 0.25}),
        (" conv1_1 ,\n relu1_1 ", {"conv1_1": 0.5, "relu1_1": 0.5}),
        ("relu1_1:1,relu2_1:2,relu1_1:1", {"relu1_1": 0.5, "relu2_1": 0.5}),
        ("relu1_1:1e-3,relu2_1:3E-3", {"relu1_1": 0.25, "relu2_1": 0.75}),
    ],
)
def test_these_layers_read_so(text: str, wanted: dict[str, float]):
    assert parse_layers(text, "--style-layers") == pytest.approx(wanted)


BAD_LAYERS = [
    "", " ", ",", "relu1_1,", "relu1", "relu11_1", "pool1", "relu1_1:", "relu1_1:0", "relu1_1:-1", "relu1_1:1e999",
    "relu1_1:nan", "relu1_1:--1", "relu1_1:1.2.3", "RELU1_1", "relu1_1 :2", "relu1_1=2", "relu4_2;relu3_1",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_LAYERS)
@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
def test_layers_that_read_otherwise_are_refused_with_the_flag(text: str, name: str):
    with pytest.raises(HasamaError, match=flag(name)) as caught:
        PLAIN(**{name: text})
    assert repr(text) in str(caught.value)


@given(st.text(alphabet="relucnv0123456789_:.,e-+ ", max_size=16))
@settings(max_examples=25)
def test_any_text_is_layers_or_a_refusal(text: str):
    try:
        assert sum(parse_layers(text, "--style-layers").values()) == pytest.approx(1)
    except HasamaError as error:
        assert "--style-layers" in str(error)  # noqa: PT017 (either way is right)


# --- scales ---------------------------------------------------------------------------------------


@given(st.integers(16, 4000), st.integers(1, 32_768))
@settings(max_examples=25)
def test_scales_go_from_the_smallest_to_the_largest_by_at_most_the_root_of_two(smallest: int, largest: int):
    sides = scale_sides(smallest, largest)
    assert sides[-1] == largest
    assert sides[0] == min(smallest, largest)
    assert sides == sorted(set(sides))
    for before, after in pairwise(sides):
        assert after - 0.5 <= math.sqrt(2) * (before + 0.5)  # both are rounded to whole pixels
    if largest > smallest:  # and there are no more of them than it takes
        steps, ratio = len(sides) - 1, largest / smallest
        assert ratio ** (1 / steps) < 1.416
        assert steps == 1 or ratio ** (1 / (steps - 1)) > 1.414


@pytest.mark.parametrize(
    ("smallest", "largest", "wanted"),
    [
        (128, 512, [128, 181, 256, 362, 512]),
        (128, 256, [128, 181, 256]),
        (512, 512, [512]),
        (512, 100, [100]),
        (16, 17, [16, 17]),
        (32, 48, [32, 39, 48]),
    ],
)
def test_these_are_the_scales(smallest: int, largest: int, wanted: list[int]):
    assert scale_sides(smallest, largest) == wanted


def test_the_first_scale_takes_its_own_number_of_iterations():
    recipe = StyleRecipe(first_iterations=7, iterations=3)
    assert [recipe.iterations_at(scale) for scale in range(3)] == [7, 3, 3]


# --- presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STYLE_PRESETS)
def test_presets_are_valid_and_change_only_what_they_say(name: str):
    recipe = style_recipe_named(name)
    assert recipe is STYLE_RECIPES[name]
    assert recipe.to_dict() == STYLE_DEFAULTS | STYLE_PRESETS[name]
    assert all(STYLE_DEFAULTS[field] != value for field, value in STYLE_PRESETS[name].items())
    for network in ("vgg19", "vgg16"):
        assert check_layers([*recipe.content, *recipe.style], network)


def test_the_lesson_is_the_papers():
    """Gatys et al. 2016, sections 2 and 3: the layers, the start, the optimizer; one scale, whatever the size."""
    recipe = style_recipe_named("lesson")
    assert set(recipe.style) == {f"relu{block}_1" for block in range(1, 6)}
    assert recipe.content == {"relu4_2": 1.0}
    assert (recipe.optimizer, recipe.style_loss, recipe.start, recipe.pooling) == (
        "lbfgs",
        "gram",
        "noise",
        "average",
    )
    assert recipe.plateau == 0
    for size in (16, 512, 4096):
        assert scale_sides(recipe.smallest, size) == [size]


def test_left_to_itself_a_recipe_takes_lbfgs_up_to_a_megapixel():
    recipe = StyleRecipe(optimizer="auto")
    assert recipe.optimizer_at(1024, 1024) == "lbfgs"
    assert recipe.optimizer_at(1, LARGEST_FOR_LBFGS + 1) == "adam"
    for asked in ("lbfgs", "adam", "gradient-descent"):
        assert {StyleRecipe(optimizer=asked).optimizer_at(side, side) for side in (1, 5000)} == {asked}


def test_a_preset_that_is_misspelt_is_refused_with_the_nearest():
    with pytest.raises(HasamaError, match="lesson"):
        style_recipe_named("leson")
    with pytest.raises(HasamaError, match="best"):
        style_recipe_named("qqq")


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", dataclasses.fields(StyleRecipe), ids=lambda field: field.name)
def test_every_field_explains_itself_and_refuses_what_is_of_another_kind(field: dataclasses.Field):
    assert field.metadata["help"].endswith(".")
    for wrong in (None, [], object(), "maybe" if field.type is bool else True, b"no"):
        with pytest.raises(HasamaError, match=flag(field.name)):
            PLAIN(**{field.name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("size", -1), ("size", 32_769), ("size", 1.5), ("keep_colour", "yes"), ("style_scale", 0.0),
        ("style_scale", 21), ("style_loss", "adain"), ("content_weight", -0.1), ("style_weight", math.nan),
        ("tv_weight", math.inf), ("pooling", "mean"), ("border", "reflect"), ("optimizer", "sgd"),
        ("learning_rate", -1), ("learning_rate", math.inf), ("smallest", 15), ("first_iterations", 0),
        ("iterations", 0), ("plateau", 1.1), ("plateau", -0.1), ("average", 1.0), ("average", 0.99999),
        ("seed", -1), ("seed", 2**63), ("precision", "fp16"), ("temporal_weight", -1), ("frame_iterations", 0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_with_the_flag_and_themselves(name: str, wrong: Any):
    with pytest.raises(HasamaError, match=flag(name)) as caught:
        PLAIN(**{name: wrong})
    assert str(wrong) in str(caught.value)
    with pytest.raises(HasamaError, match=flag(name)):
        PLAIN().but(**{name: wrong})


def test_nothing_to_paint_is_refused():
    with pytest.raises(HasamaError, match=r"--content-weight 0 and --style-weight 0"):
        StyleRecipe(content_weight=0, style_weight=0)


def test_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(HasamaError, match="iterations"):
        StyleRecipe().but(iteration=3)


def test_what_goes_over_its_one_scale_twice_takes_iterations():
    assert STYLE_RECIPES["neighbour"].but(size=64, iterations=7).iterations == 7
    with pytest.raises(HasamaError, match="one scale"):
        STYLE_RECIPES["best"].but(size=64, iterations=7)


def test_a_copy_is_changed_and_the_recipe_is_not():
    recipe = StyleRecipe()
    assert recipe.but(size=64).size == 64
    assert recipe.size == STYLE_DEFAULTS["size"]
    assert recipe.but() == recipe
    assert StyleRecipe(**recipe.to_dict()) == recipe


def test_the_recipe_is_quick_to_import():
    """`--help` needs it, and torch takes seconds."""
    code = (
        "import sys, hasama.style.recipe; "
        "print([name for name in ('torch', 'numpy', 'PIL', 'pyvips') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("base", "changes", "told"),
    [
        ("neighbour", {"content_loss": "self-similarity"}, "--content-loss .* this recipe's --content-weight 0"),
        ("neighbour", {"content_layers": "relu3_1"}, "--content-layers .* this recipe's --content-weight 0"),
        ("neighbour", {"tv": "absolute"}, "--tv means nothing with this recipe's --tv-weight 0"),
        ("lesson", {"iterations": 500}, "There is but one scale, as long as --first-iterations"),
        ("best", {"iterations": 30, "size": 100}, "There is but one scale"),
        ("best", {"colours": "matched", "keep_colour": "luminance"}, "--colours means nothing with --keep-colour"),
    ],
)
def test_what_would_be_ignored_is_refused(base: str, changes: dict[str, Any], told: str):
    with pytest.raises(HasamaError, match=told):
        STYLE_RECIPES[base].but(**changes)


def test_what_a_recipe_has_by_itself_is_not_held_against_it():
    assert STYLE_RECIPES["neighbour"].but(keep_colour="luminance").colours == "matched"
    assert STYLE_RECIPES["lesson"].but(style_weight=0.0, content_layers="relu3_1").style_loss == "gram"
    changed = STYLE_RECIPES["neighbour"].but(content_weight=0.1, content_loss="self-similarity")
    assert changed.content_weight == 0.1
    assert STYLE_RECIPES["best"].but(iterations=30, size=0).iterations == 30  # a large content has several scales
    assert STYLE_RECIPES["lesson"].but(iterations=30, first_iterations=9).iterations == 30
    assert STYLE_RECIPES["best"].but(content_weight=0.0, content_layers="relu3_1").content_weight == 0  # asked for


@pytest.mark.parametrize(
    ("text", "count", "some", "shares"),
    [("2,1", 2, False, [2, 1]), ("1,0", 2, True, [1, 0]), (" .5 ", 1, False, [0.5]), ("1e6", 1, True, [1e6])],
)
def test_a_mix_is_read(text: str, count: int, some: bool, shares: list[float]):
    assert parse_mix(text, count, some) == shares


@pytest.mark.parametrize(
    ("text", "count", "some"),
    [
        *(("1,0", 2, False), ("0,0", 2, True), ("2,x", 2, True), ("1", 2, True), ("1,2,3", 2, False)),
        *(("nan,1", 2, True), ("inf", 1, True), ("-1,2", 2, True), ("1e7", 1, False), ("", 1, True)),
    ],
)
def test_other_mixes_are_refused(text: str, count: int, some: bool):
    with pytest.raises(HasamaError, match="--mix takes a"):
        parse_mix(text, count, some)
