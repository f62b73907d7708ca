"""Roots by products alone are those by eigenvalues, with the same floor."""

import pytest
import torch

from hasama.style.methods.roots import CUSHION, NEAR, UNDECIDED, factors, inverse_root
from hasama.style.methods.transport import FLOOR

SPECTRA = {
    "spread far below the floor": torch.logspace(-9, 0, 64),
    "around the floor": torch.cat([FLOOR * torch.linspace(0.2, 3, 63), torch.ones(1)]),
    "one alone": torch.cat([torch.zeros(63), torch.ones(1)]),
    "all alike": torch.ones(64),
    "many just below the largest": torch.cat([torch.full((255,), 0.95), torch.ones(1)]),
    "a single number": torch.ones(1),
}


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e8])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_inverse_root_has_the_floor_of_transport(name: str, size: float, kind: torch.dtype):
    values = SPECTRA[name].double()
    turn = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(1)).double()
    )[0]
    wanted = (turn * (size * values.clamp_min(FLOOR * values.max())).rsqrt()) @ turn.T
    made = inverse_root(((turn * values * size) @ turn.T).to(kind)).double()
    assert torch.linalg.matrix_norm(made - wanted, 2) < 0.03 * torch.linalg.matrix_norm(wanted, 2)
    above = values > 10 * FLOOR  # what lies there is far more exact
    kept = turn[:, above]
    assert torch.linalg.matrix_norm((made - wanted) @ kept, 2) < 0.01 * torch.linalg.matrix_norm(wanted @ kept, 2)


@pytest.mark.parametrize("least", [UNDECIDED, FLOOR**0.5, 0.5])
def test_steps_bring_all_to_one_and_none_near_zero(least: float):
    values = torch.cat([torch.logspace(float(torch.tensor(least).log10()), 0, 999), torch.tensor([1.0])]).double()
    found = list(factors(least))
    for factor in found:
        values = factor * values * (3 - (factor * values) ** 2) / 2
        assert values.min() > min(least, CUSHION)
    assert (values - 1).abs().max() < 2 * NEAR
    assert len(found) <= 20
