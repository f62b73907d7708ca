"""Every architecture x {grey, RGB, RGBA} x {square, not} x {classes, none}: the same promises for all of them."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator
from hasama.networks.registry import ARCHITECTURES, build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.sharing.onnx_export import save_onnx
from hasama.training.autoencoder import autoencode
from hasama.training.game import Game
from hasama.training.setup import new_game
from hasama.training.stepping import begin
from hasama.training.turns import discriminator_turn, draw_fakes, generator_turn, play

ARCHITECTURES_THAT_PLAY = [name for name in ARCHITECTURES if name != "vae"]
BATCH, CLASSES = 4, 3
SIZES = ("8", "8x16")
FORMS = [
    *itertools.product(ARCHITECTURES_THAT_PLAY, (1, 3, 4), SIZES, (0, CLASSES)),
    *itertools.product(("dcgan",), (1, 3, 4), ("14", "17x30"), (0, CLASSES)),  # odd maps, which are cut
]
every_form = pytest.mark.parametrize(("architecture", "channels", "size", "classes"), FORMS)


def meets_in_time(number: int) -> bool:
    """Half of each architecture's twelve forms, in which every two choices meet, such as grey and classes."""
    channels, size, classes = number // 4 % 3, number // 2 % 2, number % 2
    return (channels + size + classes) % 2 == 0


PAIRED = [pytest.param(*form, marks=() if meets_in_time(n) else pytest.mark.slow) for n, form in enumerate(FORMS)]
every_two_choices = pytest.mark.parametrize(("architecture", "channels", "size", "classes"), PAIRED)


def recipe_of(architecture: str, size: str, classes: int, **changes: Any) -> Recipe:
    """The preset, tiny. Progressive growing opens its second size after 10 images: in the third step of four."""
    small = {"size": size, "width": 2, "latent_size": 4, "batch": BATCH, "precision": "fp32", "labels": bool(classes)}
    grows = {"grow_kimg": 0.01} if architecture == "progressive" else {}
    return RECIPES[architecture].but(**(small | grows | changes))


def new(recipe: Recipe, channels: int, classes: int) -> Game:
    return new_game(build(recipe, channels, classes), recipe)


def batches(recipe: Recipe, channels: int, classes: int, first: int, steps: int) -> Iterator[Batch]:
    height, width = recipe.resolution
    for number in range(first, first + steps):
        rng = torch.Generator().manual_seed(number)
        images = torch.rand(BATCH, channels, height, width, generator=rng) * 2 - 1
        yield Batch(images, torch.randint(classes, (BATCH,), generator=rng) if classes else None)


def run(game: Game, recipe: Recipe, channels: int, classes: int, first: int, steps: int) -> list[Any]:
    return list(play(game, batches(recipe, channels, classes, first, steps)))


def flat(state: Any, path: str = "") -> dict[str, Any]:
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{path}/{key}").items()}
    if isinstance(state, list | tuple):
        return flat(dict(enumerate(state)), path)
    return {path: state.clone() if isinstance(state, torch.Tensor) else state}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    same = {k: torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k] for k, v in one.items()}
    return [key for key, equal in same.items() if not equal]


@every_form
def test_it_trains_and_each_stage_moves_one_player(architecture: str, channels: int, size: str, classes: int):
    recipe = recipe_of(architecture, size, classes)
    game = new(recipe, channels, classes)
    steps = run(game, recipe, channels, classes, 0, 2)
    assert all(np.isfinite(value) for step in steps for value in step.figures().values())
    ((images, labels),) = batches(recipe, channels, classes, 2, 1)
    begin(game)
    real, fake = game.pair.view(images), draw_fakes(game, BATCH, torch.device("cpu"), labels)
    for stage, turn in (("discriminator", discriminator_turn), ("generator", generator_turn)):
        before = {name: flat(part.state_dict()) for name, part in game.parts().items()}
        assert turn(game, real, fake, labels).learned
        for name, part in game.parts().items():
            moved = differing(before[name], flat(part.state_dict()))
            assert bool(moved) == name.startswith(stage), (stage, name)


@every_two_choices
def test_resuming_across_a_growth_step_is_bit_exact(architecture: str, channels: int, size: str, classes: int):
    recipe = recipe_of(architecture, size, classes)
    whole, first, resumed = (new(recipe, channels, classes) for _ in range(3))
    run(whole, recipe, channels, classes, 0, 5)
    run(first, recipe, channels, classes, 0, 2)
    resumed.load_state_dict(first.state_dict())
    run(resumed, recipe, channels, classes, 2, 3)
    assert whole.images_seen == 20
    assert differing(whole.state_dict(), resumed.state_dict()) == []


@every_two_choices
def test_a_saved_generator_paints_the_same(architecture: str, channels: int, size: str, classes: int, tmp_path: Path):
    recipe = recipe_of(architecture, size, classes)
    game = new(recipe, channels, classes)
    run(game, recipe, channels, classes, 0, 3)
    names = tuple(map(str, range(classes)))
    generator = TrainedGenerator(game.sampling_generator, recipe, recipe.latent_size, channels, names)
    latents = torch.randn(5, recipe.latent_size)
    labels = torch.arange(5) % classes if classes else None
    pixels = generator.generate(latents, labels)
    assert pixels.shape == (5, *recipe.resolution, channels)  # the full size, however far it has grown
    save_generator(generator, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    np.testing.assert_array_equal(again.generate(latents, labels), pixels)
    assert again.classes == names


QUICK = [(3, "8x16", 3), (3, "17x30", 3)]
# One form of each by default; the others are slow, for an export takes seconds.
ONNX = [pytest.param(*form, marks=() if form[1:] in QUICK else pytest.mark.slow) for form in FORMS]


@pytest.mark.usefixtures("onnx_operators_once")
@pytest.mark.parametrize(("architecture", "channels", "size", "classes"), ONNX)
def test_onnx_paints_the_same(architecture: str, channels: int, size: str, classes: int, tmp_path: Path):
    import onnxruntime

    recipe = recipe_of(architecture, size, classes)
    game = new(recipe, channels, classes)
    run(game, recipe, channels, classes, 0, 4)  # progressive: while the new layers fade in
    generator = TrainedGenerator(
        game.sampling_generator, recipe, recipe.latent_size, channels, tuple(map(str, range(classes)))
    )
    save_onnx(generator, tmp_path / "g.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx")
    for count in (1, 5):
        given = {"latents": torch.randn(count, recipe.latent_size)}
        if classes:
            given["labels"] = torch.arange(count) % classes
        (images,) = session.run(["images"], {name: tensor.numpy() for name, tensor in given.items()})
        with generator.at_rest(), torch.no_grad():
            wanted = generator.network(*given.values())
        np.testing.assert_allclose(np.asarray(images), wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize(("channels", "size"), list(itertools.product((1, 3, 4), ("14", "17x30"))))
def test_a_vae_learns_odd_sizes(channels: int, size: str):
    recipe = recipe_of("vae", size, 0)
    game = new(recipe, channels, 0)
    steps = list(autoencode(game, batches(recipe, channels, 0, 0, 2)))
    assert all(np.isfinite(value) for step in steps for value in step.figures().values())


@pytest.mark.parametrize("architecture", ["dcgan", "dense"])
@pytest.mark.parametrize(("channels", "size", "classes"), list(itertools.product((1, 3, 4), SIZES, (0, CLASSES))))
def test_dropout_and_weight_decay_resume_exactly(architecture: str, channels: int, size: str, classes: int):
    recipe = recipe_of(architecture, size, classes, discriminator_dropout=0.25, weight_decay=0.01)
    whole, first, resumed = (new(recipe, channels, classes) for _ in range(3))
    run(whole, recipe, channels, classes, 0, 3)
    run(first, recipe, channels, classes, 0, 2)
    resumed.load_state_dict(first.state_dict())
    run(resumed, recipe, channels, classes, 2, 1)
    assert differing(whole.state_dict(), resumed.state_dict()) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES_THAT_PLAY)
@pytest.mark.parametrize("penalty", ["r1", "r1+r2", "wgan-gp"])
@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
def test_spectral_norm_augmentation_and_penalties_go_together(architecture: str, penalty: str, augment: str):
    norm = {"discriminator_norm": "none"} if architecture == "dcgan" else {}
    changes = {"spectral_norm": True, "augment": augment, "penalty": penalty, **norm}
    recipe = recipe_of(architecture, "8", 0, **changes)
    game = new(recipe, 3, 0)
    run(game, recipe, 3, 0, 0, 3)
    ((images, _),) = batches(recipe, 3, 0, 3, 1)
    with torch.no_grad():
        said = game.discriminate(game.pair.view(images))
    assert said.isfinite().all()
    weights = [m for m in game.pair.discriminator.modules() if hasattr(m, "parametrizations")]
    assert weights
    for layer in weights:
        assert isinstance(layer.weight, torch.Tensor)
        matrix = layer.weight.flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2) < 2.5  # a few steps of the power iteration find it roughly


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES_THAT_PLAY if a not in ("dcgan", "dense")])
@pytest.mark.parametrize(("size", "nearest"), [("28", "28x28"), ("30", "32x32"), ("100x62", "96x64"), ("4", "8x8")])
def test_sizes_that_cannot_work_are_refused_with_one_that_can(architecture: str, size: str, nearest: str):
    if size == "28":  # 7 doubled twice
        build(recipe_of(architecture, size, 0))
        return
    with pytest.raises(HasamaError, match=f"not {size}.*try --size {nearest}") as caught:
        build(recipe_of(architecture, size, 0))
    build(recipe_of(architecture, str(caught.value).split()[-1].rstrip("."), 0))  # and that one can
