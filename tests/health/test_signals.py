"""A probe measures what it says, and leaves no trace in the game."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hasama
from hasama.health.signals import Probe, _nearest, noting, project, sizes
from hasama.networks.registry import build
from hasama.optimizers import Muon
from hasama.pictures.dataset import Pictures, _some_of, hold_out
from hasama.presets import RECIPES
from hasama.training.game import Game


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(file, images=rng.integers(0, 256, (1200, 16, 16, 3), np.uint8))
    return hasama.open_pictures(str(file), hasama.Recipe(size="16"))


def a_game(architecture: str, **changes) -> Game:
    recipe = hasama.RECIPES[architecture].but(size="16", width=8, batch=8, latent_size=8, precision="fp32", **changes)
    torch.manual_seed(0)
    return hasama.new_game(build(recipe, 3), recipe)


def played(game: Game, pictures: Pictures, steps: int = 2) -> Game:
    loop = hasama.play(game, hasama.batches(pictures, 8, seed=0, start=game.images_seen))
    for _ in range(steps):
        next(loop)
    return game


@pytest.mark.parametrize("architecture", ["dcgan", "dense", "progressive", "msg", "stylegan", "r3gan", "fast"])
def test_it_leaves_no_trace(pictures: Pictures, architecture: str):
    training, held = hold_out(pictures, 0.05, 0)
    probe, game = Probe(training, held), played(a_game(architecture), pictures)
    before = copy.deepcopy(game.state_dict())
    modes = [module.training for module in game.pair.generator.modules()]
    figures = probe(game)
    assert all(np.isfinite(value) for value in figures.values()), figures
    assert_same(before, game.state_dict())
    assert modes == [module.training for module in game.pair.generator.modules()]
    assert all(p.requires_grad for p in game.pair.discriminator.parameters())
    assert probe(game) == figures  # nor in itself
    other = played(a_game(architecture), pictures)
    assert_same(played(game, pictures).state_dict(), played(other, pictures).state_dict())


def test_a_game_of_small_pictures_has_all_figures(pictures: Pictures):
    """With --enlarge: fakes are compared with reals as small as they are."""
    training, held = hold_out(pictures, 0.05, 0)
    large = Probe(training, held)(played(a_game("r3gan"), pictures))
    game = played(a_game("r3gan", enlarge=2), pictures)
    before = copy.deepcopy(game.state_dict())
    small = Probe(training, held)(game)
    assert small.keys() == large.keys()
    assert_same(before, game.state_dict())


def assert_same(one, other) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == other


class Painting(nn.Module):
    """A generator that paints given pictures, whatever the latents."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(latents)) % len(self.images)  # type: ignore[arg-type]
        return self.images[rows] + 0 * self.weight  # type: ignore[index]


def painting(images: torch.Tensor) -> Game:
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 8), nn.ReLU(), nn.Linear(8, 1))
    recipe = hasama.RECIPES["dcgan"].but(size="16", precision="fp32")
    return hasama.new_game(hasama.Pair(Painting(images), judge, 4), recipe)


def synthesize(pictures: Pictures, numbers: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures.take(numbers)).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("count", [2, 3, 5, 16, 32, 40, 300])
def test_few_pictures_are_covered_by_their_likes(pictures: Pictures, count: int):
    """To fill the batch, few pictures come again: what is its own nearest neighbour is covered by nothing."""
    some = synthesize(pictures, np.arange(count))
    few = Pictures(pictures.take(np.arange(count)), None, pictures.report)
    like = some + 0.001 * torch.randn(some.shape, generator=torch.Generator().manual_seed(0))
    assert Probe(few, None)(painting(like))["covered"] >= 0.99
    assert Probe(few, None)(painting(torch.ones(1, 3, 16, 16)))["covered"] < 0.5


def test_one_picture_for_all_latents(pictures: Pictures):
    figures = Probe(pictures, None)(painting(torch.zeros(1, 3, 16, 16)))
    assert figures["diversity"] == figures["diversity_features"] == figures["contrast"] == 0
    assert figures["repeats"] == 1
    assert figures["unrest"] == 0


def test_other_pictures_of_the_same_kind(pictures: Pictures):
    rng = np.random.default_rng(1)
    others = torch.from_numpy(rng.integers(0, 256, (128, 3, 16, 16))).float() / 127.5 - 1
    figures = Probe(pictures, None)(painting(others))
    assert figures["diversity"] == pytest.approx(1, abs=0.05)
    assert figures["contrast"] == pytest.approx(1, abs=0.05)
    assert figures["nearest"] == pytest.approx(1, abs=0.05)
    assert figures["repeats"] == 0
    assert figures["covered"] > 0.7
    assert abs(figures["distance"]) < 0.15


def test_colours_are_the_spread_of_the_mean_colours(pictures: Pictures):
    """Each picture's own mean, taken off and put back at half, halves it; what lies within a picture stays."""
    others = synthesize(pictures, np.arange(128))
    means, probe = others.mean((2, 3), keepdim=True), Probe(pictures, None)
    by_hand = float(means.flatten(1).double().var(0).sum().sqrt())
    real = probe.real.mean((2, 3)).double()
    wanted = by_hand / float((real - real.mean(0)).square().sum().div(len(real) - 1).sqrt())
    middle = means.mean(0)
    halved = others - (means - middle) / 2
    assert probe(painting(others))["colours"] == pytest.approx(wanted, rel=1e-4)
    assert probe(painting(halved))["colours"] == pytest.approx(wanted / 2, rel=1e-4)


def test_copies_of_the_training_pictures(pictures: Pictures):
    figures = Probe(pictures, None)(painting(synthesize(pictures, np.arange(200, 328))))
    assert figures["nearest"] == pytest.approx(0, abs=1e-3)
    assert figures["diversity"] == pytest.approx(1, abs=0.05)


def test_mirrored_copies_are_copies_where_pictures_are_shown_mirrored(pictures: Pictures):
    """Half of what a generator then learns by heart is mirrored: by the pictures as they are, that is new."""
    copies = synthesize(pictures, np.arange(200, 328))
    game = painting(torch.cat([copies[:40], copies[40:].flip(3)]))
    mirrored, usual = Probe(pictures, None, mirror=True), Probe(pictures, None)
    assert mirrored(game)["nearest"] == pytest.approx(0, abs=1e-3)
    assert usual(game)["nearest"] > 0.5
    others = painting(torch.rand(128, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1)
    assert mirrored(others)["nearest"] == pytest.approx(1, abs=0.05)  # reals are compared with mirrored ones, too
    assert mirrored.usual <= usual.usual


def test_a_mirrored_copy_that_is_held_back_does_not_hide_an_overfitting(pictures: Pictures):
    training = _some_of(pictures, np.arange(1000))
    turned = Pictures(training.take(np.arange(50))[:, :, ::-1].copy(), None, pictures.report)
    assert Probe(training, turned).held is not None
    assert Probe(training, turned, mirror=True).held is None
    unseen = Probe(training, _some_of(pictures, np.arange(1100, 1130)), mirror=True)
    assert unseen.held is not None
    assert len(unseen.held) == 30


def test_eight_pictures_over_and_over_repeat(pictures: Pictures):
    figures = Probe(pictures, None)(painting(synthesize(pictures, np.arange(8))))
    assert figures["repeats"] == 1
    assert figures["diversity"] == pytest.approx(7 / 8 * 128 / 127, abs=0.05)


def test_overfitting_is_the_share_of_the_way_from_reals_to_fakes(pictures: Pictures):
    training, held = hold_out(pictures, 0.05, 0)
    game = painting(torch.zeros(1, 3, 16, 16))
    figures = Probe(training, held)(game)
    gap = figures["logit_real"] - figures["logit_fake"]
    if gap > 0:
        assert figures["overfit"] == pytest.approx((figures["logit_real"] - figures["logit_held"]) / gap, abs=1e-6)


def test_the_projection_keeps_distances():
    images = torch.rand(64, 3, 16, 16) * 2 - 1
    true = torch.pdist(images.flatten(1)) / (3 * 16 * 16) ** 0.5
    kept = torch.pdist(project(images)) / 128**0.5
    assert float((kept / true).mean()) == pytest.approx(1, abs=0.05)
    assert float((kept / true).std()) < 0.1


def test_pictures_that_are_there_twice_are_judged_as_if_they_were_not(pictures: Pictures, tmp_path: Path):
    """Of copies the nearest other real is none away: by that measure nothing would ever be a copy."""
    pixels = pictures.take(np.arange(300))
    for name, images in (("once", pixels), ("twice", np.repeat(pixels, 2, 0))):
        np.savez(tmp_path / f"{name}.npz", images=images)
    once, twice = (
        Probe(hasama.open_pictures(str(tmp_path / f"{name}.npz"), hasama.Recipe(size="16")), None)
        for name in ("once", "twice")
    )
    assert once.usual > 0.1 * once.apart
    assert twice.usual == pytest.approx(once.usual, rel=0.05)


def test_a_copy_that_is_held_back_does_not_hide_an_overfitting(pictures: Pictures):
    training, unseen = _some_of(pictures, np.arange(1000)), _some_of(pictures, np.arange(1100, 1130))
    probe = Probe(training, _some_of(pictures, np.r_[0:50, 1100:1130]))
    assert probe.held is not None
    assert torch.equal(probe.held, synthesize(unseen, np.arange(30)))
    assert Probe(training, _some_of(pictures, np.r_[0:50, 1100:1110])).held is None


def test_what_compares_a_batch_is_not_what_the_logit_is_made_of():
    """Of 16 pictures there are 16 rows of features, and not one for each group that is compared."""
    recipe = RECIPES["r3gan"].but(size="16", width=4, minibatch_std=True)
    discriminator = build(recipe, 3).discriminator
    torch.manual_seed(0)
    with torch.no_grad(), noting(discriminator) as noted:
        discriminator(torch.randn(16, 3, 16, 16))
    assert len(torch.unique(noted[0], dim=0)) == 16


def test_copies_of_a_picture_are_not_its_nearest():
    rows = torch.tensor([[0.0], [0.0], [1.0], [3.0]])
    assert _nearest(rows, rows, skip_itself=True).tolist() == [0, 0, 1, 2]
    assert _nearest(rows, rows, skip_itself=True, copies=0.5).tolist() == [1, 1, 1, 2]
    assert _nearest(rows[:2], rows[:2], skip_itself=True, copies=0.5).tolist() == [math.inf, math.inf]


def test_the_nearest_is_not_oneself():
    rows = torch.tensor([[0.0], [1.0], [3.0]])
    assert _nearest(rows, rows, skip_itself=True).tolist() == [1, 1, 2]
    assert _nearest(rows, rows).tolist() == [0, 0, 0]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_update_is_what_the_optimizer_did(pictures: Pictures, decay: float, optimizer: str):
    sizes_and_rules = {"ema_kimg": 0.0, "weight_decay": decay, "generator_optimizer": optimizer}
    game = played(a_game("dense", **sizes_and_rules), pictures, steps=3)
    assert isinstance(game.optimizers.generator, Muon) == (optimizer == "muon")
    before = [p.detach().clone() for p in game.pair.generator.parameters()]
    played(game, pictures, steps=1)
    moved = torch.stack(
        [(p - b).norm() for p, b in zip(game.pair.generator.parameters(), before, strict=True)]
    ).norm()
    figures = sizes(game)
    assert figures["update_generator"] * figures["weights_generator"] == pytest.approx(moved.item(), rel=1e-3)
    gradients = [p.grad for p in game.pair.generator.parameters() if p.grad is not None]
    assert figures["gradient_generator"] == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()))


# --- pictures that are kept back ------------------------------------------------------------------


def test_pictures_kept_back_are_not_trained_on(pictures: Pictures):
    training, held = hold_out(pictures, 0.1, seed=3)
    assert held is not None
    assert (len(training), len(held)) == (1080, 120)
    rows = {bytes(row) for row in training.take(np.arange(1080)).reshape(1080, -1)}
    assert not rows & {bytes(row) for row in held.take(np.arange(120)).reshape(120, -1)}
    again, _ = hold_out(pictures, 0.1, seed=3)
    assert np.array_equal(again.take(np.arange(9)), training.take(np.arange(9)))
    assert len(hold_out(pictures, 0.5, 0)[1] or ()) == 256


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_none_are_kept_back_where_they_would_be_few(pictures: Pictures, share: float):
    training, held = hold_out(pictures, share, 0)
    assert held is None
    assert training is pictures
