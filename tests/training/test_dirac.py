"""The Dirac-GAN: the vector fields of the paper, and the paths that follow from them."""

import math

import pytest
import torch

from hasama.training.rules.dirac import Dirac
from hasama.training.rules.objectives import OBJECTIVES
from hasama.training.rules.penalties import PENALTIES

THETA = torch.tensor([0.0, 0.5, -1.5, 2.0], dtype=torch.float64)
PSI = torch.tensor([1.0, -0.7, 0.3, 0.0], dtype=torch.float64)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + (-x).exp())


@pytest.mark.parametrize(
    ("name", "theta", "psi"),
    [
        ("wasserstein", PSI, -THETA),
        ("minimax", PSI * sigmoid(THETA * PSI), -THETA * sigmoid(THETA * PSI)),  # eq. 5, with the real label 1
        ("non-saturating", PSI * sigmoid(-THETA * PSI), -THETA * sigmoid(THETA * PSI)),
        ("relativistic", PSI * sigmoid(-THETA * PSI), -THETA * sigmoid(THETA * PSI)),  # for D(0) = 0
    ],
)
def test_the_pulls_are_those_of_the_paper(name: str, theta: torch.Tensor, psi: torch.Tensor):
    found = Dirac(OBJECTIVES[name]).pulls(THETA, PSI)
    assert torch.allclose(found[0], theta)
    assert torch.allclose(found[1], psi)


@pytest.mark.parametrize(("penalty", "times"), [("none", 0), ("r1", 1), ("r2", 1), ("r1+r2", 2)])
def test_r1_and_r2_pull_the_slope_to_zero(penalty: str, times: int):
    """Section 4.1: gamma psi^2 / 2 on reals, the same on fakes."""
    _, psi = Dirac(OBJECTIVES["wasserstein"], penalty, gamma=0.3).pulls(THETA, PSI)
    assert torch.allclose(psi, -THETA - times * 0.3 * PSI)


def test_wgan_gp_pulls_the_slope_to_one():
    slopes = torch.tensor([0.5, 2.0], dtype=torch.float64)
    _, psi = Dirac(OBJECTIVES["wasserstein"], "wgan-gp", gamma=1.0).pulls(torch.ones_like(slopes), slopes)
    assert torch.allclose(psi, torch.tensor([-1.0 + 1, -1.0 - 2], dtype=torch.float64))


def test_instance_noise_is_the_mean_over_it():
    noisy = Dirac(OBJECTIVES["non-saturating"], noise=0.7).pulls(THETA, PSI)
    drawn = torch.randn(2, 400_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.7
    real, fake = PSI * drawn[0], PSI * (THETA + drawn[1])
    wanted = (drawn[0] * sigmoid(-real) - (THETA + drawn[1]) * sigmoid(fake)).mean(0)
    assert torch.allclose(noisy[1], wanted, atol=5e-3)
    assert torch.allclose(noisy[0], (PSI * sigmoid(-fake)).mean(0), atol=5e-3)


def distances(dirac: Dirac, **how: bool) -> list[float]:
    return dirac.path(1.0, 0.0, 0.1, 200, **how).norm(dim=1).tolist()


def test_steps_at_once_spiral_out_and_steps_in_turns_go_round():
    """Lemma 2.3 and 2.4: at once, each step of the Wasserstein game is sqrt(1 + rate^2) times as far away."""
    plain = Dirac(OBJECTIVES["wasserstein"])
    out = distances(plain, at_once=True)
    assert out[200] == pytest.approx((1 + 0.1**2) ** 100)
    around = distances(plain, at_once=False)
    assert max(around) < 1.1
    assert min(around) > 0.9


@pytest.mark.parametrize("at_once", [True, False])
def test_with_r1_the_game_ends_where_it_should(at_once: bool):
    assert distances(Dirac(OBJECTIVES["wasserstein"], "r1", gamma=1.0), at_once=at_once)[200] < 0.05
    assert distances(Dirac(OBJECTIVES["wasserstein"]), at_once=at_once)[200] > 0.9


def test_with_noise_it_ends_too():
    assert distances(Dirac(OBJECTIVES["non-saturating"], noise=1.5), at_once=False)[200] < 0.2


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_game_has_a_field_without_gaps(objective: str, penalty: str):
    grid = torch.linspace(-2, 2, 9, dtype=torch.float64)
    theta, psi = (one.flatten() for one in torch.meshgrid(grid, grid, indexing="ij"))
    found = torch.stack(Dirac(OBJECTIVES[objective], penalty, 0.5, 0.4).pulls(theta, psi))
    assert found.isfinite().all()
    assert math.isfinite(Dirac(OBJECTIVES[objective], penalty).path(0.5, 0.5, 0.1, 5, True).sum().item())
