"""Stripes of two pixels are measured by their amplitude, edges and noise are not, and a generator can be charged."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hasama.networks.registry import build
from hasama.presets import RECIPES
from hasama.shapes import largest
from hasama.training.rules.checkerboard import checkerboard
from hasama.training.setup import new_game
from hasama.training.turns import play

ROWS, COLUMNS = torch.arange(16)[:, None], torch.arange(16)[None]


def alternating(places: torch.Tensor, levels: float) -> torch.Tensor:
    """[1, 3, 16, 16]: so many levels of 255 to either side of grey."""
    signs = (1.0 - 2 * (places % 2)).expand(16, 16)
    return (signs * levels / 127.5).repeat(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("places", "share"), [(ROWS, 0.5), (COLUMNS, 0.5), (ROWS + COLUMNS, 1.0)], ids=["rows", "columns", "checks"]
)
def test_a_pattern_counts_by_its_amplitude(places: torch.Tensor, share: float):
    """Stripes in one of the two directions, checks in both."""
    slope = torch.linspace(-0.3, 0.3, 16).expand(1, 3, 16, 16)
    for levels in (0.5, 3.0, 20.0):
        assert checkerboard(alternating(places, levels) + slope).item() == pytest.approx(share * levels, rel=1e-4)


def test_what_does_not_go_on_does_not_count():
    flat = torch.zeros(1, 1, 16, 16)
    edge, line, dots, slope = flat.clone(), flat.clone(), flat.clone(), torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)
    edge[..., 7:], line[..., 7], dots[..., 4::4, 4::4] = 1, 1, 1
    for picture in (flat, edge, line, dots, slope, flat[..., :5, :5], torch.randn(2, 3, 4, 4)):
        assert checkerboard(picture).item() == pytest.approx(0, abs=1e-5)
    two, four = flat.clone(), flat.clone()
    two[..., 4:7], four[..., 4:11] = torch.tensor([1.0, 0, 1]), torch.tensor([1.0, 0, 1, 0, 1, 0, 1])
    assert 0 < 3 * checkerboard(two).item() < checkerboard(four).item()


@given(st.integers(0, 2**31), st.integers(6, 20), st.integers(6, 20))
def test_it_is_the_definition(seed: int, height: int, width: int):
    """By loops in float64."""
    x = np.random.default_rng(seed).uniform(-1, 1, (1, 1, height, width))
    means = []
    for picture in (x[0, 0], x[0, 0].T):
        found = []
        for row in picture.T:  # along the first dimension
            bends = [(row[i] - 2 * row[i + 1] + row[i + 2]) / 4 * 127.5 for i in range(len(row) - 2)]
            for first in range(len(bends) - 3):
                signed = [bend * (-1) ** i for i, bend in enumerate(bends[first : first + 4])]
                alike = all(one > 0 for one in signed) or all(one < 0 for one in signed)
                found.append(min(abs(one) for one in signed) if alike else 0.0)
        means.append(np.mean(found))
    assert checkerboard(torch.from_numpy(x).float()).item() == pytest.approx(np.mean(means), rel=1e-3, abs=1e-4)


@given(st.integers(0, 2**31), st.integers(6, 20), st.integers(6, 20))
def test_its_gradient_is_the_definitions(seed: int, height: int, width: int):
    """Of windows and their smallest, differentiated by torch in float64."""
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, 3, height, width))).requires_grad_()
    means = []
    for picture in (x, x.transpose(2, 3)):
        bends = picture.diff(n=2, dim=2) / 4 * 127.5
        windows = (bends * (-1.0) ** torch.arange(height if picture is x else width)[2:, None]).unfold(2, 4, 1)
        alike = windows.sign().sum(-1).abs() == 4
        means.append((windows.abs().amin(-1) * alike).mean())
    (wanted,) = torch.autograd.grad(torch.stack(means).mean(), x)
    mine = x.detach().float().requires_grad_()
    checkerboard(mine).backward()
    torch.testing.assert_close(mine.grad, wanted.float(), rtol=1e-4, atol=1e-6)


def test_its_gradient_leads_away_from_it():
    fakes = alternating(COLUMNS, 6.0).requires_grad_()
    checkerboard(fakes).backward()
    assert fakes.grad is not None
    moved = fakes - fakes.grad / fakes.grad.abs().max() * 2 / 127.5
    assert checkerboard(moved).item() < 0.9 * checkerboard(fakes).item()


def test_what_reals_have_costs_nothing():
    recipe = RECIPES["dcgan"].but(size="16", width=4, batch=8, precision="fp32", checkerboard_weight=9.0)
    told = []
    for levels in (0.0, 60.0):
        game = new_game(build(recipe, 3), recipe)
        reals = alternating(COLUMNS + ROWS, levels).repeat(8, 1, 1, 1)
        told.append(next(play(game, iter([reals]))).figures()["checkerboard"])
    assert told[0] > 0
    assert told[1] == 0


@pytest.mark.parametrize("name", ["r3gan", "msg", "progressive", "dcgan"])
def test_a_generator_that_is_charged_draws_less_of_it(name: str):
    """In every architecture, and for the generator alone."""
    recipe = RECIPES[name].but(
        size="16", width=4, latent_size=8, batch=8, precision="fp32", generator_lr=0.02, discriminator_lr=0.0,
        **({"grow_kimg": 0.0} if name == "progressive" else {}),
    )  # fmt: skip
    found = []
    for weight in (0.0, 20.0):
        game = new_game(build(recipe.but(checkerboard_weight=weight), 3), recipe.but(checkerboard_weight=weight))
        before = [one.clone() for one in game.bare_discriminator.parameters()]
        reals = torch.zeros(8, 3, 16, 16)
        steps = list(play(game, iter([reals] * 30)))
        assert ("checkerboard" in steps[-1].figures()) == bool(weight)
        with torch.no_grad():
            made = game.pair.generator(torch.randn(32, 8, generator=torch.Generator().manual_seed(0)))
        found.append(checkerboard(largest(made)).item())
        assert all(torch.equal(a, b) for a, b in zip(before, game.bare_discriminator.parameters(), strict=True))
    assert found[1] < 0.7 * found[0]
