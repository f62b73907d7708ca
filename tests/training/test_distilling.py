"""Larger networks begin as what the small ones are: what is new in them learns it, and nothing else moves."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import hasama
from command import make_pictures
from hasama.networks.calling import evaluating
from hasama.networks.pair import is_styled
from hasama.networks.registry import build
from hasama.pictures.dataset import Pictures, batches
from hasama.presets import RECIPES
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.transfer import inherit, learn_from_small
from hasama.training.distilling import Distilled, as_it_was
from hasama.training.game import Game
from hasama.training.setup import new_game

SMALL: dict[str, Any] = {
    "size": "16",
    "width": 8,
    "latent_size": 6,
    "batch": 6,
    "precision": "fp32",
    "kimg": 0.12,
    "ema_kimg": 1.0,
    "health_kimg": 0.0,
    "quality_kimg": 0.0,
    "sample_kimg": 9.0,
}


class Begun:
    """A game of larger pictures that has begun with a run of smaller ones."""

    def __init__(self, source: Path, run: Run, **changes: Any) -> None:
        self.run, own = run, run.recipe()
        self.recipe = own.but(**({"size": "32", "kimg": 6.0, "init_from": str(run.folder)} | changes))
        self.pictures: Pictures = hasama.open_pictures(str(source), self.recipe)
        self.classes, self.channels = len(self.pictures.classes), self.pictures.report.channels
        self.game: Game = new_game(build(self.recipe, self.channels, self.classes), self.recipe)
        self.fresh = inherit(self.game, run.folder).fresh

    def learns(self, most: int = 1000) -> Iterator[Distilled]:
        ends = iter(range(1, most + 1))
        return learn_from_small(self.game, self.recipe, self.fresh, self.pictures, lambda: next(ends) == most)

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies, by the names that `inherit` has for them."""
        networks = {"generator": self.game.pair.generator, "discriminator": self.game.bare_discriminator}
        if self.game.ema is not None:
            networks["ema"] = self.game.ema
        return {
            f"{which}.{name.removeprefix('generator.')}".replace(
                "parametrizations.weight.original", "weight"
            ).replace("parametrizations.bias.original", "bias"): one.detach().clone()
            for which, network in networks.items()
            for name, one in network.named_parameters()
        }

    @torch.no_grad()
    def differs(self) -> tuple[float, float]:
        """By how much from the small networks: pictures of latents, and judgements, that nothing was taught with."""
        small = as_it_was(self.run.recipe(), self.channels, self.classes, self.run.saved_game())
        assert small is not None
        latents = torch.randn(32, self.game.pair.latent_size, generator=torch.Generator().manual_seed(99))
        labels = [torch.arange(32) % self.classes] if self.classes else []
        wanted = small.generator(latents, *labels)
        mixes = is_styled(self.game.pair.generator)  # styles, at random, while it trains
        with evaluating(self.game.pair.generator) if mixes else nullcontext():
            made = self.game.generate(latents, *labels)
        assert isinstance(made, torch.Tensor)
        images, known = next(batches(self.pictures, 32, seed=7))
        real = self.game.pair.view(images)
        assert isinstance(real, torch.Tensor)
        some = [] if known is None else [known]
        smaller = F.interpolate(real, wanted.shape[2:], mode="area")
        judged = self.game.bare_discriminator(real, *some) - small.discriminator(smaller, *some)
        return float(F.mse_loss(made, F.interpolate(wanted, made.shape[2:]))), float(judged.square().mean())


def small_run(source: Path, folder: Path, recipe: Recipe) -> Run:
    for _ in hasama.train(source, recipe, folder):
        pass
    return Run(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("p") / "pictures", 40, side=40)


@pytest.fixture(scope="module")
def r3gan(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small_run(pictures, tmp_path_factory.mktemp("r") / "r3gan", RECIPES["r3gan"].but(**SMALL))


@pytest.mark.parametrize(
    ("preset", "changes", "more"),
    [
        ("r3gan", {"resampling": "filtered", "pixel_noise": True, "minibatch_std": True}, {}),
        ("r3gan", {"generator_blocks": 2, "generator_attention": True, "generator_optimizer": "muon"}, {}),
        ("r3gan", {"labels": True, "augment": "ada", "self_modulation": True}, {"size": "64", "enlarge": 2}),
        ("r3gan", {"precision": "bf16"}, {}),
        ("stylegan", {}, {}),
        ("fast", {}, {}),
        ("dcgan", {}, {}),
    ],
)
def test_pictures_and_judgements_become_those_of_the_small_networks(
    preset: str, changes: dict[str, Any], more: dict[str, Any], pictures: Path, tmp_path: Path
):
    run = small_run(pictures, tmp_path / "small", RECIPES[preset].but(**(SMALL | changes)))
    begun = Begun(pictures, run, **more)
    before, unlike = begun.weights(), begun.differs()
    records = list(begun.learns())
    assert len(records) == 100  # a tenth of the game's 1,000 steps
    assert records[-1].done == 1
    alike = begun.differs()
    assert alike[0] < unlike[0] / 2
    assert alike[1] < unlike[1] / 2
    moved = {name for name, one in begun.weights().items() if not torch.equal(one, before[name])}
    assert moved
    assert moved <= set(begun.fresh)  # what was learnt before stays as it was


def test_layers_that_the_game_keeps_as_they_are_learn_before_it(r3gan: Run, pictures: Path):
    """--freeze-d: with a run of smaller pictures these are new, and would stay random."""
    begun = Begun(pictures, r3gan, kimg=1.2, freeze_d=1)
    before, first = begun.weights(), begun.game.bare_discriminator.get_parameter("from_rgb.weight")
    assert not first.requires_grad
    list(begun.learns())
    assert not torch.equal(first, before["discriminator.from_rgb.weight"])
    assert not first.requires_grad


def test_a_run_of_which_only_its_weights_are_left_will_do(r3gan: Run, pictures: Path, tmp_path: Path):
    """`images.json` is gone, and what tells of it proposes to begin with such a run."""
    left = Run(tmp_path / "left")
    left.folder.mkdir()
    for file in ("recipe.json", "game.pt"):
        shutil.copy(r3gan.folder / file, left.folder)
    assert len(list(Begun(pictures, left, kimg=1.2).learns())) == 20


def test_the_ema_generator_has_what_the_generator_has_learnt(r3gan: Run, pictures: Path):
    begun = Begun(pictures, r3gan, kimg=1.2)
    before = begun.weights()
    assert len(list(begun.learns())) == 20
    now = begun.weights()
    new = [name.removeprefix("ema.") for name in begun.fresh if name.startswith("ema.") and name in before]
    assert new
    for name in new:
        assert torch.equal(now[f"ema.{name}"], now[f"generator.{name}"]), name
    assert any(not torch.equal(now[f"ema.{name}"], before[f"ema.{name}"]) for name in new)


def test_it_is_the_same_each_time_and_draws_from_nobody_elses_random_numbers(r3gan: Run, pictures: Path):
    both = []
    for number in range(2):
        torch.manual_seed(number)  # what others draw changes nothing
        begun, others = Begun(pictures, r3gan), torch.get_rng_state()
        list(begun.learns(5))
        assert torch.equal(torch.get_rng_state(), others)
        both.append(begun.weights())
    assert all(torch.equal(one, both[1][name]) for name, one in both[0].items())


def test_who_stops_it_is_told_that_it_did_not_end(r3gan: Run, pictures: Path):
    def ended(most: int) -> bool:
        records = Begun(pictures, r3gan).learns(most)
        while True:
            try:
                next(records)
            except StopIteration as end:
                return end.value

    assert ended(1000)
    assert not ended(3)


@pytest.mark.parametrize(
    "changes",
    [{"size": "16"}, {"kimg": 0.05}, {"latent_size": 5}, {"labels": True}, {"colour": "grey"}],
    ids=["as large", "short", "other latents", "classes", "grey"],
)
def test_where_nothing_can_be_learnt_so_nothing_moves(changes: dict[str, Any], r3gan: Run, pictures: Path):
    begun = Begun(pictures, r3gan, **changes)
    before = begun.weights()
    assert list(begun.learns()) == []
    assert all(torch.equal(one, before[name]) for name, one in begun.weights().items())


@pytest.mark.parametrize("preset", ["msg", "progressive"])
def test_who_is_shown_more_or_less_than_the_picture_learns_by_playing(preset: str, pictures: Path, tmp_path: Path):
    run = small_run(pictures, tmp_path / "small", RECIPES[preset].but(**SMALL))
    assert list(Begun(pictures, run).learns()) == []
