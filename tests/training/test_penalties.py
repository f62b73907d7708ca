"""R1, R2 and WGAN-GP against closed forms and finite differences; their gradient reaches the weights."""

import pytest
import torch
from torch import nn

from hasama.shapes import largest
from hasama.training.rules.penalties import PENALTIES, between, squared_difference, squared_gradient, unit_gradient

SHAPE = (5, 3, 4, 2)  # images [N, C, H, W]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(SHAPE[1:], generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def test_a_linear_discriminator_has_the_gradient_w_everywhere(images: torch.Tensor, weights: torch.Tensor):
    said = (images * weights).flatten(1).sum(1)
    norm = weights.detach().square().sum().sqrt().item()
    torch.testing.assert_close(squared_gradient(images, said), torch.full((5,), norm**2 / 2))
    torch.testing.assert_close(unit_gradient(images, said), torch.full((5,), (norm - 1) ** 2))


def test_a_difference_of_a_linear_discriminator_is_one_direction_of_its_gradient():
    found = squared_difference(torch.tensor([1.0, 0.0]), torch.tensor([1.2, -0.3]), sigma=0.1)
    torch.testing.assert_close(found, torch.tensor([0.04 / 0.02, 0.09 / 0.02]))


def test_a_quadratic_discriminator_has_the_gradient_x(images: torch.Tensor):
    said = images.square().flatten(1).sum(1) / 2
    norms = images.detach().square().flatten(1).sum(1).sqrt()
    torch.testing.assert_close(squared_gradient(images, said), (norms**2 / 2).float())
    torch.testing.assert_close(unit_gradient(images, said), ((norms - 1) ** 2).float())


def discriminator() -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0))
    return layers.double()  # smooth, unlike ReLU


@pytest.mark.parametrize("penalty", [squared_gradient, unit_gradient])
def test_penalties_agree_with_finite_differences(images: torch.Tensor, penalty):
    judge, step = discriminator(), 1e-5
    eye = torch.eye(24, dtype=torch.float64).view(24, *SHAPE[1:])
    with torch.no_grad():
        slopes = torch.stack([(judge(images + step * e) - judge(images - step * e)) / (2 * step) for e in eye], 1)
    norms = slopes.square().sum(1).sqrt()
    wanted = norms**2 / 2 if penalty is squared_gradient else (norms - 1) ** 2
    torch.testing.assert_close(penalty(images, judge(images)), wanted.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", [squared_gradient, unit_gradient])
def test_the_penaltys_own_gradient_reaches_the_weights(images: torch.Tensor, penalty):
    """Double backward, against finite differences of the penalty in a weight."""
    judge = discriminator()
    weight = judge.get_parameter("0.weight")
    (slope,) = torch.autograd.grad(penalty(images, judge(images)).double().mean(), weight)
    step = 1e-3
    told = []
    for sign in (1, -1):
        moved = discriminator()
        with torch.no_grad():
            moved.get_parameter("0.weight")[1, 2, 0, 1] += sign * step
        told.append(penalty(images, moved(images)).double().mean().item())
    assert slope[1, 2, 0, 1].item() == pytest.approx((told[0] - told[1]) / (2 * step), rel=1e-2, abs=1e-5)
    assert slope.abs().max() > 1e-4


def test_one_images_penalty_does_not_depend_on_the_others(images: torch.Tensor):
    judge = discriminator()
    alone = images[:1].detach().requires_grad_()
    torch.testing.assert_close(
        squared_gradient(alone, judge(alone)), squared_gradient(images, judge(images))[:1], rtol=1e-6, atol=0
    )


def test_a_flat_discriminator_is_fined_by_wgan_gp_and_gives_no_nan(images: torch.Tensor):
    weights = torch.zeros(SHAPE[1:], dtype=torch.float64, requires_grad=True)
    fine = unit_gradient(images, (images * weights).flatten(1).sum(1))
    (slope,) = torch.autograd.grad(fine.sum(), weights)
    assert torch.equal(fine, torch.ones(5))
    assert slope.isfinite().all()


def test_between_takes_one_share_for_each_whole_image():
    torch.manual_seed(4)
    real, fake = torch.randn(200, 3, 4, 2, dtype=torch.float64), torch.randn(200, 3, 4, 2, dtype=torch.float64)
    shares = ((largest(between(real, fake)) - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares), rtol=1e-4, atol=1e-4)
    assert shares.min() > -1e-4
    assert shares.max() < 1 + 1e-4
    assert shares[:, 0].std() > 0.2  # uniform on [0, 1] has 0.289: not one share for the whole batch


def test_the_table_says_what_each_penalty_looks_at():
    seen = {name: [(p.on, p.cost) for p in penalties] for name, penalties in PENALTIES.items()}
    assert seen == {
        "none": [],
        "r1": [("real", squared_gradient)],
        "r2": [("fake", squared_gradient)],
        "r1+r2": [("real", squared_gradient), ("fake", squared_gradient)],
        "wgan-gp": [("between", unit_gradient)],
    }
