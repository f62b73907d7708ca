"""What small pictures are spoilt with before the enlarger sees them, and what enlarged ones may not have."""

import pytest
import torch
from torch import Tensor

from hasama.networks.enlarger import Enlarger, smaller
from hasama.training.enlarging import Enlarging, Patches, Pieces, lattice, learn_to_enlarge, spoilt
from reads import Reads


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Real ones, four times as large, and small ones; both RGBA."""
    torch.manual_seed(1)
    images = torch.rand(count, 4, 48, 64) * 1.2 - 0.6
    return smaller(images, 4), images


def test_half_of_them_stay_clean_and_alpha_always_does():
    small, images = pictures(400)
    found = spoilt(small, images, 4)
    same = (found == small).flatten(1).all(1).float().mean()
    assert 0.4 < same < 0.6
    torch.testing.assert_close(found[:, 3], small[:, 3], atol=0, rtol=0)


def test_no_number_is_copied_to_a_card():
    small, images = pictures(4)
    with Reads() as reads:
        spoilt(small, images, 4)
    assert reads.found == []


def test_a_grain_takes_turns_and_adds_nothing_in_the_mean():
    """Of pictures of one colour: noise apart, what is left is a grain along rows, along columns, or along both."""
    plain = torch.zeros(400, 4, 8, 12)
    torch.manual_seed(2)
    found = spoilt(plain, torch.zeros(400, 4, 16, 24), 2)[:, :3]
    rows, columns = (found.diff(dim=dim).abs().amax((1, 2, 3)) > 0 for dim in (2, 3))
    grainy = (found.abs() == found.abs()[:, :, :1, :1]).flatten(1).all(1) & (rows | columns)
    kinds = {(bool(r), bool(c)) for r, c in zip(rows[grainy], columns[grainy], strict=True)}
    assert kinds == {(True, False), (False, True), (True, True)}
    assert found[grainy].mean((2, 3)).abs().max() < 1e-6
    assert found[grainy].abs().max() <= 0.12


def test_stairs_are_single_pixels_of_the_real_picture():
    small, images = pictures(200)
    places = [(y, x) for y in range(4) for x in range(4)]
    found, towards = spoilt(small, images, 4)[:, :3] - small[:, :3], 0
    for y, x in places:
        way = images[:, :3, y::4, x::4] - small[:, :3]
        share = (found * way).sum((1, 2, 3)) / way.square().sum((1, 2, 3))
        rest = (found - share[:, None, None, None] * way).abs().amax((1, 2, 3))
        towards += int(((rest < 1e-5) & (share > 0.01)).sum())
    assert 10 < towards < 40  # one eighth of 200


def test_a_lattice_costs_and_a_grain_without_order_hardly_does():
    real = torch.rand(2, 3, 64, 96)
    y, x = torch.arange(64)[:, None] % 2, torch.arange(96) % 2
    for turns in (y + 0 * x, x + 0 * y, (y + x) % 2):
        grain = 0.05 * (1 - 2 * turns.float())
        assert float(lattice(real + grain, real)) == pytest.approx(0.05, rel=1e-4)
    assert float(lattice(real, real)) == 0
    brighter = torch.linspace(-0.3, 0.3, 96).expand(2, 3, 64, 96)
    assert float(lattice(real + brighter, real)) < 0.01
    disorder = 0.05 * torch.randn(2, 3, 64, 96)
    assert float(lattice(real + disorder, real)) < 0.02  # of three signs


@pytest.mark.parametrize("factor", [2, 4])
def test_in_bfloat16_it_learns_the_same(factor: int):
    """The costs of a few steps differ from those in float32 by roundings, and weights stay float32."""
    costs = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        game = Enlarging.of(Enlarger(8), Patches(8), 1e-3, precision=precision)
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        steps = learn_to_enlarge(game, [Pieces(images, factor)] * 4, lambda: 0.5)
        costs[precision] = torch.tensor([[float(cost) for cost in step] for step in steps])
        assert {tensor.dtype for tensor in game.weights().values()} == {torch.float32}
    torch.testing.assert_close(costs["bf16"], costs["fp32"], atol=2e-2, rtol=2e-2)
    assert not torch.equal(costs["bf16"], costs["fp32"])
