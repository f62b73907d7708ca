"""Progressive growing and multi-scale gradients: the pace, the continuity of fades, what each level is shown."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.networks.architectures.msg import MSG, pyramid
from hasama.networks.architectures.progressive import Progressive, faded_view, grown
from hasama.networks.layers import MinibatchStd, MinibatchStds, channels_at, doublings, pixel_norm
from hasama.networks.pair import Pair
from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.shapes import largest
from hasama.training.setup import new_game
from hasama.training.stepping import begin
from hasama.training.turns import play


@given(images=st.integers(0, 10**6), steps=st.integers(1, 6), grow=st.floats(1, 1e5))
@settings(deadline=None)
def test_growth_never_goes_back_and_ends_whole(images: int, steps: int, grow: float):
    level, share = grown(images, steps, grow)
    later = grown(images + 1, steps, grow)
    assert 0 <= level <= steps
    assert 0 <= share <= 1
    assert later[0] > level or later[1] >= share
    assert grown(10**9, steps, grow) == (steps, 1.0)
    assert grown(images, steps, 0) == (steps, 1.0)


def test_each_size_is_trained_for_its_time_the_first_half_fading():
    told = [grown(images, 2, 100) for images in (0, 99, 100, 125, 150, 199, 200, 225, 250, 1000)]
    assert told == [(0, 1), (0, 1), (1, 0), (1, 0.5), (1, 1), (1, 1), (2, 0), (2, 0.5), (2, 1), (2, 1)]


def at(pair: Pair, images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The generator's pictures at full size, the discriminator's logits of what it would be shown, and that."""
    pair.grow(images)
    torch.manual_seed(0)
    latents, reals = torch.randn(4, pair.latent_size), torch.rand(4, 3, 16, 16) * 2 - 1
    pair.generator.eval()
    shown = largest(pair.view(reals))
    with torch.no_grad():
        return pair.generator(latents), pair.discriminator(shown), F.interpolate(shown, size=(16, 16))


@pytest.mark.parametrize("level", [1, 2])
def test_fading_in_is_continuous_at_both_ends(level: int):
    """At the moment when new layers open, and when they are whole, no value jumps further than at any other step."""
    pair = Progressive(width=4, latent_size=8, grow_images=1000).build((16, 16), 3)
    for moment in (level * 1000, level * 1000 + 500):
        before, after = at(pair, moment - 1), at(pair, moment)
        step_before, step_after = at(pair, moment - 2), at(pair, moment + 1)
        for old, new, older, newer in zip(before, after, step_before, step_after, strict=True):
            ordinary = max((old - older).abs().max().item(), (newer - new).abs().max().item(), 1e-5)
            assert (new - old).abs().max().item() <= 2 * ordinary
    halfway = at(pair, level * 1000 + 250)
    assert not torch.allclose(halfway[0], before[0])


def test_while_training_the_pictures_are_as_small_as_the_open_layers():
    pair = Progressive(width=4, latent_size=8, grow_images=100).build((16, 32), 1)
    sizes = []
    for images in (0, 100, 175, 200, 900):
        pair.grow(images)
        pair.generator.train()
        fake, real = pair.generator(torch.randn(2, 8)), largest(pair.view(torch.zeros(2, 1, 16, 32)))
        assert fake.shape == real.shape
        sizes.append(tuple(fake.shape[2:]))
    assert sizes == [(4, 8), (8, 16), (8, 16), (16, 32), (16, 32)]


def test_reals_are_as_blurred_as_fakes_while_fading_in():
    real = torch.rand(1, 1, 8, 8)
    assert torch.equal(faded_view(real, 0, 1.0), real)
    coarse = F.avg_pool2d(real, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(faded_view(real, 0, 0.0), coarse)
    torch.testing.assert_close(faded_view(real, 0, 0.25), 0.75 * coarse + 0.25 * real)
    torch.testing.assert_close(faded_view(real, 1, 1.0), F.avg_pool2d(real, 2))


def test_unopened_layers_do_not_move():
    recipe = RECIPES["progressive"].but(size="16", width=4, latent_size=4, batch=4, grow_kimg=100.0)
    pair = build(recipe, 3)
    game = new_game(pair, recipe)
    before = {name: tensor.clone() for name, tensor in pair.generator.state_dict().items()}
    list(play(game, iter([torch.zeros(4, 3, 16, 16)] * 2)))
    moved = {name for name, tensor in pair.generator.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("to_rgbs.0") for name in moved)
    assert not any(name.startswith(("stages", "to_rgbs.1", "to_rgbs.2")) for name in moved)


def test_the_step_grows_with_the_level():
    """What a step costs is counted in multiplications, which no neighbour on the machine can disturb."""
    from torch.utils.flop_counter import FlopCounterMode

    recipe = RECIPES["progressive"].but(size="32", width=4, latent_size=4, batch=4, grow_kimg=1.0, precision="fp32")
    costs = []
    for images in (0, 1800, 2800, 3800):
        game = new_game(build(recipe, 3), recipe)
        game.images_seen, game.steps = images, 1
        with FlopCounterMode(display=False) as counter:
            next(play(game, iter([torch.zeros(4, 3, 32, 32)])))
        costs.append(counter.get_total_flops())
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] / 8


# --- multi-scale gradients ------------------------------------------------------------------------


def test_a_pyramid_halves_by_the_mean():
    real = torch.arange(64.0).view(1, 1, 8, 8)
    whole, half, quarter = pyramid(real, 2)
    assert whole is real
    assert half[0, 0, 0, 0] == (0 + 1 + 8 + 9) / 4
    assert quarter.shape == (1, 1, 2, 2)
    torch.testing.assert_close(quarter, F.avg_pool2d(half, 2))


def test_gradients_reach_every_level_at_once():
    pair = MSG(width=4, latent_size=8).build((16, 16), 3)
    fakes = pair.generator(torch.randn(3, 8))
    assert [fake.shape[2] for fake in fakes] == [16, 8, 4]
    gradients = torch.autograd.grad(pair.discriminator(fakes).sum(), fakes)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    pair.generator.eval()
    assert torch.equal(pair.generator(torch.zeros(2, 8)), pair.generator(torch.zeros(2, 8)))
    assert pair.generator(torch.zeros(2, 8)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("objective", ["minimax", "least-squares", "hinge", "wasserstein", "relativistic"])
def test_msg_plays_by_any_objective(objective: Any):
    recipe = RECIPES["msg"].but(size="16", width=2, latent_size=4, batch=4, objective=objective)
    game = new_game(build(recipe, 3), recipe)
    (step,) = play(game, iter([torch.rand(4, 3, 16, 16)]))
    assert all(math.isfinite(value) for value in step.figures().values())


# --- the layers they share ------------------------------------------------------------------------


def test_pixel_norm_by_hand():
    maps = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(pixel_norm(maps), maps / math.sqrt(12.5))


def test_minibatch_std_tells_how_much_a_group_differs():
    alike = torch.ones(4, 2, 3, 3)
    compare = MinibatchStd()
    assert compare(alike)[:, 2].max() < 1e-3
    differing = alike * torch.tensor([0.0, 0.0, 2.0, 2.0])[:, None, None, None]
    torch.testing.assert_close(compare(differing)[:, 2], torch.ones(4, 3, 3))  # deviation of 0, 0, 2, 2
    two_groups = compare(torch.cat([alike, differing]))[:, 2, 0, 0]
    torch.testing.assert_close(two_groups, torch.tensor([1e-4] * 4 + [1.0] * 4))
    assert compare(torch.rand(11, 2, 3, 3)).shape == (11, 3, 3, 3)


def test_each_feature_tells_how_much_it_differs():
    torch.manual_seed(0)
    compare, features = MinibatchStds(3), torch.randn(24, 3)
    assert not compare(features).any()
    torch.nn.init.normal_(compare.weigh.weight)
    weights = compare.weigh.weight.double()[0]
    groups = features.double().view(3, 8, 3)  # neighbours, eight at a time
    wanted = (groups - groups.mean(1, keepdim=True)).square().mean(1).sqrt() @ weights
    torch.testing.assert_close(compare(features), wanted.repeat_interleave(8).float(), rtol=1e-5, atol=1e-5)
    for count, group in ((6, 6), (10, 5), (11, 11), (1, 1), (16, 8)):
        told = compare(torch.randn(count, 3))
        assert torch.equal(told[::group].repeat_interleave(group), told)
        assert len(told.unique()) == count // group


@given(height=st.integers(4, 7), width=st.integers(4, 60), steps=st.integers(1, 6))
@settings(deadline=None)
def test_whatever_is_doubled_is_recognised(height: int, width: int, steps: int):
    if width >= height:
        assert doublings((height << steps, width << steps), "x") == (steps, (height, width))


def test_channels_depend_on_the_level_not_on_the_pictures_size():
    assert [channels_at(32, level) for level in range(8)] == [256, 256, 128, 64, 32, 16, 8, 8]


def test_begin_lets_both_networks_grow_and_files_know_it():
    recipe = RECIPES["progressive"].but(size="16", width=2, latent_size=4, batch=4, grow_kimg=0.1)
    game = new_game(build(recipe, 3), recipe)
    game.images_seen = 130
    begin(game)
    assert game.pair.generator.state_dict()["growth.images_seen"] == 130
    assert game.pair.discriminator.state_dict()["growth.images_seen"] == 130
