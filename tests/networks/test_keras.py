"""Networks written in Keras 3, on its torch backend, play like any others."""

import copy
import os
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
if keras.backend.backend() != "torch":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

from keras import layers  # noqa: E402

from command import forked, run_code  # noqa: E402
from hasama.errors import HasamaError  # noqa: E402
from hasama.generators.generator_file import TrainedGenerator, load_generator, save_generator  # noqa: E402
from hasama.networks.pair import KerasNetwork, Pair, as_torch  # noqa: E402
from hasama.pictures.dataset import Batch  # noqa: E402
from hasama.recipe import Recipe  # noqa: E402
from hasama.training.game import Game  # noqa: E402
from hasama.training.setup import mixes_images, new_game  # noqa: E402
from hasama.training.stepping import begin, update_ema  # noqa: E402
from hasama.training.turns import discriminator_turn, draw_fakes, generator_turn, play  # noqa: E402

FIRST: dict[str, Any] = {"data_format": "channels_first"}


def generator() -> Any:
    """Latents [N, 4] -> images [N, 3, 8, 8], with BatchNormalization and Dropout."""
    return keras.Sequential([
        keras.Input((4,)), layers.Dense(8 * 16, use_bias=False), layers.BatchNormalization(), layers.ReLU(),
        layers.Reshape((8, 4, 4)), layers.Dropout(0.1, seed=1),
        layers.Conv2DTranspose(3, 4, 2, "same", activation="tanh", **FIRST),
    ])  # fmt: skip


def discriminator(norm: bool = True) -> Any:
    """A functional model: images [N, 3, 8, 8] -> logits [N, 1]."""
    images = keras.Input((3, 8, 8))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(6, 4, 2, "same", **FIRST)(images))
    x = layers.BatchNormalization(axis=1)(x) if norm else layers.GroupNormalization(2, axis=1)(x)
    return keras.Model(images, layers.Dense(1)(layers.Flatten()(x)))


def game(norm: bool = True, **changes: Any) -> Game:
    keras.utils.set_random_seed(0)
    recipe = Recipe(**({"size": "8", "batch": 6, "precision": "fp32"} | changes))
    return new_game(Pair(generator(), discriminator(norm), 4), recipe)


def pictures(steps: int, first: int = 0) -> list[torch.Tensor]:
    draws = (torch.Generator().manual_seed(number) for number in range(first, first + steps))
    return [torch.rand(6, 3, 8, 8, generator=draw) * 2 - 1 for draw in draws]


def values(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def moved(before: dict[str, torch.Tensor], network: torch.nn.Module) -> set[str]:
    """The kinds of weights that are not what they were: kernel, moving_mean, ..."""
    return {
        name.split("_", 1)[1]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }


STATISTICS = {"moving_mean", "moving_variance"}

# --- the game -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_keras_pair_trains(precision: str):
    ours = game(precision=precision)
    before = [values(network) for network in ours.pair[:2]]
    steps = list(play(ours, pictures(3)))
    assert [step.images_seen for step in steps] == [6, 12, 18]
    assert all(torch.tensor(list(step.figures().values())).isfinite().all() for step in steps)
    for was, network in zip(before, ours.pair[:2], strict=True):
        assert {"kernel", "bias", "gamma", "beta"} | STATISTICS <= moved(was, network)


def test_the_weights_that_learn_are_the_keras_networks_own():
    given = generator(), discriminator()
    before = [weight.copy() for weight in given[0].get_weights()]
    list(play(new_game(Pair(*given, 4), Recipe(size="8", batch=6)), pictures(1)))
    changes = [(a != b).any() for a, b in zip(before, given[0].get_weights(), strict=True)]
    assert all(changes)


def test_each_stage_moves_one_player():
    ours = game()
    list(play(ours, pictures(1)))
    begin(ours)
    (real,) = pictures(1)
    generator, its_discriminator = ours.pair[:2]
    was_generator, was_discriminator = values(generator), values(its_discriminator)
    fake = draw_fakes(ours, 6, real.device)
    assert moved(was_generator, generator) == STATISTICS | {"seed_generator_state"}  # of Dropout, in Keras
    was_generator = values(generator)
    generator_turn(ours, real, fake)
    assert moved(was_generator, generator) == {"kernel", "bias", "gamma", "beta"}
    assert moved(was_discriminator, its_discriminator) == set()
    was_generator = values(generator)
    discriminator_turn(ours, real, fake)
    assert moved(was_generator, generator) == set()
    assert moved(was_discriminator, its_discriminator) == {"kernel", "bias", "gamma", "beta"} | STATISTICS
    assert [p.requires_grad for p in its_discriminator.parameters()].count(False) == 2  # as before: the statistics


def test_training_mode_is_torchs():
    """Keras takes the mode as an argument, and without one would evaluate while training."""
    network = as_torch(generator())
    assert isinstance(network, KerasNetwork)
    latents = torch.randn(5, 4)
    before = values(network)
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(latents), network(latents))
        assert moved(before, network) == set()
        torch.testing.assert_close(network(latents)[:1], network(latents[:1]))
        assert not torch.allclose(network.train()(latents)[:2], network(latents[:2]))
    assert moved(before, network) >= STATISTICS


def test_keras_batch_normalisation_mixes_images():
    """Torch's list of modules does not name it."""
    assert mixes_images(as_torch(discriminator()))
    assert not mixes_images(as_torch(discriminator(norm=False)))
    pair = Pair(generator(), discriminator(), 4)
    with pytest.raises(HasamaError, match="BatchNorm mixes"):
        new_game(pair, Recipe(size="8", penalty="r1", discriminator_norm="none"))


@pytest.mark.parametrize("penalty", ["r1+r2", "wgan-gp"])
def test_penalties_differentiate_through_keras(penalty: str):
    ours = game(norm=False, penalty=penalty, discriminator_norm="none")
    assert not ours.mixes
    before = values(ours.pair.discriminator)
    figures = [step.figures() for step in play(ours, pictures(2))]
    assert all(told["penalty"] > 0 for told in figures)
    assert "kernel" in moved(before, ours.pair.discriminator)


class Labelled(keras.Model):
    """Keras hands several inputs over in a list."""

    def __init__(self, units: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.embed = layers.Embedding(3, 5)
        self.dense, self.shaped = layers.Dense(units), layers.Reshape(shape)

    def call(self, inputs: Any) -> Any:
        given, labels = inputs
        flat = keras.ops.reshape(given, (given.shape[0], -1))
        return self.shaped(self.dense(keras.ops.concatenate([flat, self.embed(labels)], 1)))


def test_labels_reach_keras_networks():
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    pair = Pair(Labelled(192, (3, 8, 8)), Labelled(1, (1,)), 4)
    pair.generator([torch.zeros(6, 4), labels])
    pair.discriminator([torch.zeros(6, 3, 8, 8), labels])
    ours = new_game(pair, Recipe(size="8", batch=6, ema_kimg=0.0))
    before = [values(network) for network in ours.pair[:2]]
    list(play(ours, [Batch(images, labels) for images in pictures(2)]))
    assert all("embeddings" in moved(was, network) for was, network in zip(before, ours.pair[:2], strict=True))


# --- memory ---------------------------------------------------------------------------------------


def test_a_copys_weights_stand_in_the_same_order():
    """Keras names some weights of a copy differently, and sorts by name: then the lists do not match."""
    theirs = generator()
    assert [p.shape for p in copy.deepcopy(theirs).parameters()] != [p.shape for p in theirs.parameters()]
    network = as_torch(theirs)
    twin = copy.deepcopy(network)
    assert [*twin.state_dict()] == [*network.state_dict()]
    ours, others = [*network.parameters()], [*twin.parameters()]
    assert all(map(torch.equal, ours, others))
    assert {p.data_ptr() for p in ours}.isdisjoint(p.data_ptr() for p in others)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        update_ema(twin, network, 1.0)
        latents = torch.randn(3, 4)
        torch.testing.assert_close(twin.eval()(latents), network.eval()(latents))


def test_the_ema_follows_a_keras_generator():
    ours = game(ema_kimg=0.001)  # a half-life of one image: nearly the generator itself
    list(play(ours, pictures(4)))
    assert ours.ema is not None
    latents = torch.randn(4, 4)
    ours.pair.generator.eval()
    with torch.no_grad():
        drift = (ours.ema(latents) - ours.pair.generator(latents)).abs().max()
    assert drift < 0.02
    assert not any(p.requires_grad for p in ours.ema.parameters())


def test_a_resumed_keras_game_is_the_uninterrupted_one():
    whole, first, resumed = game(), game(), game()
    list(play(whole, pictures(5)))
    list(play(first, pictures(3)))
    with torch.no_grad():
        for parameter in chain(resumed.pair.generator.parameters(), resumed.pair.discriminator.parameters()):
            parameter.zero_()
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    list(play(resumed, pictures(2, first=3)))
    for name in ("generator", "discriminator", "ema"):
        a, b = whole.parts()[name].state_dict(), resumed.parts()[name].state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name


def test_a_keras_generator_is_saved_in_the_order_of_its_weights(tmp_path: Path):
    ours = game()
    list(play(ours, pictures(2)))
    trained = TrainedGenerator(ours.sampling_generator, None, 4, 3)
    save_generator(trained, tmp_path / "g.safetensors")
    with pytest.raises(HasamaError, match="built in Python"):
        load_generator(tmp_path / "g.safetensors")
    twin = generator()
    tensors = load_file(tmp_path / "g.safetensors")
    for variable, name in zip(twin.variables, sorted(tensors), strict=True):
        variable.assign(tensors[name])
    latents = torch.randn(3, 4)
    assert (TrainedGenerator(twin, None, 4, 3).generate(latents) == trained.generate(latents)).all()


# --- refusals -------------------------------------------------------------------------------------


def test_a_keras_network_without_weights_is_refused():
    with pytest.raises(HasamaError, match=r"no weights yet: begin it with keras\.Input"):
        new_game(Pair(keras.Sequential([layers.Dense(3)]), discriminator(), 4), Recipe(size="8"))


class Unregistered(keras.Model):
    """Keras copies only what it can find by name."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(192)

    def call(self, inputs: Any) -> Any:
        return keras.ops.reshape(self.dense(inputs), (-1, 3, 8, 8))


def test_a_keras_class_that_cannot_be_copied_plays_without_the_average():
    network = Unregistered()
    network(torch.zeros(2, 4))
    pair = Pair(network, discriminator(), 4)
    with pytest.raises(HasamaError, match=r"register_keras_serializable.*ema_kimg=0"):
        new_game(pair, Recipe(size="8"))
    ours = new_game(pair, Recipe(size="8", batch=6, ema_kimg=0.0))
    assert [step.images_seen for step in play(ours, pictures(2))] == [6, 12]


def test_torch_networks_are_taken_as_they_are_and_keras_is_not_imported():
    network = torch.nn.Linear(2, 2)
    assert as_torch(network) is network
    code = "import sys, hasama.training.turns, hasama.networks.registry\n"
    assert forked(run_code, code + "sys.exit('keras' in sys.modules)").returncode == 0
