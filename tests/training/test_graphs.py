"""A step as one CUDA graph is the step itself; and no step waits for the device."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from easel import hasama_here
from hasama.cli.arguments import advice_for_a_card
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.training.augmentation.augment import Augmented
from hasama.training.game import Game
from hasama.training.graphs import CannotRecordWarning, as_graphs, why_not
from hasama.training.setup import new_game
from hasama.training.turns import both_turns, kind_of_step, play
from reads import Reads

GANS = sorted(name for name, recipe in RECIPES.items() if recipe.architecture != "vae")
RECORDED = sorted(set(GANS) - {"gentle", "progressive"})
TINY: dict[str, Any] = {"size": "16", "width": 2, "latent_size": 4, "batch": 4, "precision": "fp32", "kimg": 0.1}
on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card with CUDA")


def game_of(name: str, device: str = "cpu", **changes: Any) -> Game:
    small = TINY | ({"size": "32"} if name in ("fast", "msg") else {})
    recipe = RECIPES[name].but(**small | changes)
    return new_game(build(recipe, 3), recipe, device)


def reals(game_size: int, steps: int, device: str = "cpu") -> list[Batch]:
    drawn = torch.Generator().manual_seed(7)
    return [Batch((torch.rand(4, 3, game_size, game_size, generator=drawn) * 2 - 1).to(device)) for _ in range(steps)]


def size_of(name: str) -> int:
    return 32 if name in ("fast", "msg") else 16


@pytest.mark.parametrize("augment", ["none", "ada", "diffaugment"])
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_is_read_from_the_device_between_two_reports(name: str, augment: str):
    game = game_of(name, augment=augment)
    steps = play(game, reals(size_of(name), 6))
    next(steps)
    with Reads() as reads:
        four = [next(steps) for _ in range(4)]
    assert reads.found == []
    with Reads() as reads:
        four[-1].figures()
    assert reads.found  # so that reads would be seen


class Inexact(TorchDispatchMode):
    """Notes what adds numbers in any order on a graphics card, by the list of `torch.use_deterministic_algorithms`.

    Bilinear enlarging is on it, too; where exactness is asked for torch itself takes another way there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        parts = ("adaptive_avg_pool", "adaptive_max_pool", "grid_sampler", "reflection_pad", "replication_pad")
        cubic = ("upsample_linear1d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa")
        if name.endswith("_backward") and any(part in name for part in (*parts, *cubic, "nll_loss2d", "max_unpool")):
            self.found.add(name)
        if name in ("put_", "histc", "bincount", "kthvalue", "median", "cumsum", "scatter_reduce", "resize_"):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("augment", ["none", "ada", "diffaugment"])
@pytest.mark.parametrize("name", GANS)
def test_where_exactness_is_asked_for_no_operation_of_a_step_is_inexact_on_a_card(
    name: str, augment: str, exactly: None
):
    game = game_of(name, augment=augment)
    if isinstance(game.pair.discriminator, Augmented):
        game.pair.discriminator.probability.fill_(1.0)
    with Inexact() as noted:
        list(play(game, reals(size_of(name), 3)))
    assert noted.found == set()


def test_an_inexact_operation_would_be_noted():
    with Inexact() as noted:
        list(play(game_of("vision-aided", augment="ada"), reals(16, 2)))
    assert noted.found >= {"_adaptive_avg_pool2d_backward", "grid_sampler_2d_backward"}


@pytest.mark.parametrize("name", ["vision-aided", "stylegan"])
def test_exact_operations_come_to_the_same_figures(name: str, exactly: None):
    def figures() -> list[float]:
        game = game_of(name, augment="ada")
        assert isinstance(game.pair.discriminator, Augmented)
        game.pair.discriminator.probability.fill_(1.0)
        steps = list(play(game, reals(size_of(name), 2)))  # small differences grow from step to step
        return list(steps[-1].figures().values())

    exact = figures()
    torch.use_deterministic_algorithms(False)
    assert figures() == pytest.approx(exact, rel=1e-3, abs=1e-4)


@on_a_card
@pytest.mark.parametrize("name", GANS)
def test_on_a_card_a_resumed_training_is_the_unbroken_one_to_the_bit(name: str):
    def after(*parts: int) -> dict[str, Any]:
        pictures, game = reals(size_of(name), 40, "cuda"), game_of(name, "cuda", exact=True, augment="ada")
        for first, last in itertools.pairwise(itertools.accumulate(parts, initial=0)):
            state = game.state_dict()
            game = game_of(name, "cuda", exact=True, augment="ada")
            game.load_state_dict(state)
            list(play(game, pictures[first:last]))
        return game.pair.generator.state_dict()

    whole, broken = after(40), after(20, 20)
    assert [key for key in whole if not torch.equal(whole[key], broken[key])] == []


def test_the_referee_that_asks_is_seen_to_read():
    game = game_of("dcgan", balance="skip-strong")
    with Reads() as reads:
        list(play(game, reals(16, 2)))
    assert reads.found


def test_what_cannot_be_recorded_says_why():
    assert "--balance" in (why_not(game_of("gentle")) or "")
    assert "--beta2-initial" in (why_not(game_of("r3gan", beta2_initial=0.9)) or "")
    assert all(why_not(game_of(name)) is None for name in RECORDED)


def test_without_a_card_a_step_is_the_step():
    game = game_of("dcgan")
    assert as_graphs(game, both_turns, kind_of_step).func is both_turns  # pyright: ignore[reportFunctionMemberAccess]


def test_steps_are_of_as_many_kinds_as_they_have_operations():
    def kinds(name: str, **changes: Any) -> set[Any]:
        game = game_of(name, **changes)
        found = set()
        for step in range(32):
            game.steps, game.images_seen = step, 4 * step
            found.add(kind_of_step(game))
        return found

    assert len(kinds("dcgan")) == 1
    assert len(kinds("wgan-gp", critic_steps=5)) == 2
    assert len(kinds("stylegan")) == 3  # with R1 at every 16th, with path lengths at every fourth, with neither
    assert len(kinds("dcgan", instance_noise=0.1, instance_noise_kimg=0.05)) == 2  # until it has faded


def told(game: Game, batches: list[Batch]) -> list[dict[str, float]]:
    return [step.figures() for step in play(game, batches)]


@on_a_card
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_steps_are_the_steps(name: str, monkeypatch: pytest.MonkeyPatch):
    """With rates, gamma, EMA and noise that move, over twenty steps, each with random numbers of its own.

    The rates are small, for a game blows rounding up within a few steps.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    changes: dict[str, Any] = {"instance_noise": 0.2, "instance_noise_kimg": 0.04, "augment": "ada", "jitter": 1}
    changes |= {"generator_lr": 1e-6, "discriminator_lr": 1e-6, "ema_kimg": 0.02}
    batches = reals(size_of(name), 20, "cuda")

    def played() -> tuple[Game, list[dict[str, float]]]:
        game = game_of(name, "cuda", **changes)
        assert game.ema is not None
        with torch.no_grad():
            for parameter in game.ema.parameters():
                parameter += 1  # so that it is seen how far the average moves
        return game, told(game, batches)

    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotRecordWarning)
        ours, recorded = played()
    monkeypatch.setattr("hasama.training.turns.as_graphs", lambda game, work, kind: lambda *given: work(game, *given))
    theirs, plain = played()
    for one, other in zip(recorded, plain, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=2e-3)
    assert len({step["loss_discriminator"] for step in recorded}) == 20  # no two steps drew the same
    assert (ours.images_seen, ours.steps) == (theirs.images_seen, theirs.steps)
    rates = [[float(player.param_groups[0]["lr"]) for player in game.optimizers] for game in (ours, theirs)]
    assert rates[0] == rates[1]
    for one, other in zip(ours.parts().values(), theirs.parts().values(), strict=True):
        for (path, tensor), (_, like) in zip(flat(one.state_dict()), flat(other.state_dict()), strict=True):
            assert torch.allclose(tensor.double(), like.double(), rtol=1e-2, atol=1e-4), path


def flat(state: Any, path: str = "") -> list[tuple[str, torch.Tensor]]:
    """All tensors of a state that are weights: an optimizer's moments of rounding are rounding."""
    if isinstance(state, torch.Tensor):
        return [(path, state)]
    if isinstance(state, dict) and "param_groups" not in state:
        return [found for name, value in state.items() for found in flat(value, f"{path}/{name}")]
    return []


@on_a_card
def test_a_step_that_cannot_be_recorded_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def asks(game: Game, images: Any, labels: Any = None) -> Any:
        float(images.mean())
        return both_turns(game, images, labels)

    monkeypatch.setattr("hasama.training.turns.both_turns", asks)
    game = game_of("dcgan", "cuda")
    with pytest.warns(CannotRecordWarning, match="not recorded"):
        figures = told(game, reals(16, 8, "cuda"))
    assert len(figures) == 8
    assert all(torch.tensor(list(step.values())).isfinite().all() for step in figures)


def test_the_command_says_why_steps_are_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As if this were a card: libraries' warnings are hushed, this one is not."""

    def refuses(game: Game, work: Any, kind: Any) -> Any:
        warnings.warn("Steps are not recorded as CUDA graphs: a reason.", CannotRecordWarning, stacklevel=2)
        return lambda *given: work(game, *given)

    monkeypatch.setattr("hasama.training.turns.as_graphs", refuses)
    words = ["train", "digits", "dcgan", "--size", "16", "--width", "4", "--batch", "4", "--steps", "2"]
    done = hasama_here(*words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "a reason." in done.stdout + done.stderr


@pytest.mark.parametrize(("kind", "batch", "told"), [("cuda", 8, True), ("cuda", 32, False), ("cpu", 8, False)])
def test_on_a_card_larger_batches_are_advised(kind: str, batch: int, told: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hasama.device.pick_device", lambda name: torch.device(kind))
    assert ("--batch 32" in (advice_for_a_card(RECIPES["r3gan"].but(batch=batch), "auto") or "")) is told
