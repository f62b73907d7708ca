"""Every objective against its formula, written out anew with Python's own mathematics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hasama.errors import HasamaError
from hasama.training.rules.objectives import OBJECTIVES, accuracy, objective_named

# --- the papers' formulas, one logit at a time ----------------------------------------------------


def log_sigmoid(x: float) -> float:
    """log(1 / (1 + e^-x)), without overflow."""
    return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))


def cross_entropy(real: float, fake: float, target: float = 1.0) -> float:
    return -target * log_sigmoid(real) - (1 - target) * log_sigmoid(-real) - log_sigmoid(-fake)


FORMULAS = {
    "minimax": (cross_entropy, lambda r, f: log_sigmoid(-f)),
    "non-saturating": (cross_entropy, lambda r, f: -log_sigmoid(f)),
    "least-squares": (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    "hinge": (lambda r, f: max(0.0, 1 - r) + max(0.0, 1 + f), lambda r, f: -f),
    "wasserstein": (lambda r, f: f - r, lambda r, f: -f),
    "relativistic": (lambda r, f: -log_sigmoid(r - f), lambda r, f: -log_sigmoid(f - r)),
}

logits = st.one_of(
    st.floats(-30, 30), st.floats(-1e6, 1e6), st.sampled_from([-1e4, -100.0, 0.0, 0.5, 1.0, 100.0, 1e4])
)
pairs = st.lists(st.tuples(logits, logits), min_size=1, max_size=5)


def tensors(pairs: list[tuple[float, float]], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    real, fake = zip(*pairs, strict=True)
    return [torch.tensor(real, dtype=dtype), torch.tensor(fake, dtype=dtype)]


def test_every_objective_has_a_formula_here():
    assert FORMULAS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", OBJECTIVES)
@given(pairs=pairs)
@settings(max_examples=60)
def test_both_sides_equal_the_papers_formulas(name: str, pairs: list[tuple[float, float]]):
    real, fake = tensors(pairs)
    for ours, formula in zip(OBJECTIVES[name][:2], FORMULAS[name], strict=True):
        wanted = torch.tensor([formula(r, f) for r, f in pairs], dtype=torch.float64)
        torch.testing.assert_close(ours(real, fake), wanted, rtol=1e-9, atol=2e-9)  # softplus is linear from 20


@pytest.mark.parametrize("name", OBJECTIVES)
@given(pairs=pairs)
@settings(max_examples=30)
def test_float32_losses_and_gradients_are_finite_for_huge_logits(name: str, pairs: list[tuple[float, float]]):
    real, fake = (t.requires_grad_() for t in tensors(pairs, torch.float32))
    for loss in OBJECTIVES[name][:2]:
        value = loss(real, fake)
        given_gradients = torch.autograd.grad(value.sum(), (real, fake), allow_unused=True)
        assert value.isfinite().all()
        assert all(g.isfinite().all() for g in given_gradients if g is not None)


@given(pairs=pairs, smoothing=st.floats(0.01, 0.5))
@settings(max_examples=60)
def test_smoothing_lowers_the_target_of_reals_only(pairs: list[tuple[float, float]], smoothing: float):
    real, fake = tensors(pairs)
    target = 1 - smoothing
    for name in ("minimax", "non-saturating"):
        wanted = [cross_entropy(r, f, target) for r, f in pairs]
        ours = objective_named(name, smoothing).discriminator(real, fake)
        torch.testing.assert_close(ours, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=4e-9)
    ours = objective_named("least-squares", smoothing).discriminator(real, fake)
    wanted = [((r - target) ** 2 + f**2) / 2 for r, f in pairs]
    torch.testing.assert_close(ours, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_the_best_answer_to_smoothed_targets_is_the_target(smoothing: float):
    real = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    loss = objective_named("non-saturating", smoothing).discriminator
    at_target = torch.full((1,), math.log((1 - smoothing) / smoothing), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(at_target, real.detach()).sum(), at_target)
    assert abs(slope.item()) < 1e-12  # sigmoid(logit) = 1 - smoothing


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic"])
def test_objectives_without_a_target_refuse_smoothing(name: str):
    assert objective_named(name, 0.0) is OBJECTIVES[name]
    with pytest.raises(HasamaError, match=name):
        objective_named(name, 0.1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_generators_loss_falls_as_fakes_are_taken_for_real(name: str):
    real = torch.zeros(61)
    fake = torch.linspace(-3, 0.9, 61)  # least squares turns round at its target 1
    assert (OBJECTIVES[name].generator(real, fake).diff() < 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_discriminators_loss_falls_with_real_and_rises_with_fake_logits(name: str):
    still = torch.full((61,), 0.3)
    loss = OBJECTIVES[name].discriminator
    assert (loss(torch.linspace(-3, 0.9, 61), still).diff() < 0).all()
    assert (loss(still, torch.linspace(0.1, 0.9, 61)).diff() > 0).all()


def test_only_objectives_that_say_so_compare():
    fake = torch.randn(7)
    for objective in OBJECTIVES.values():
        depends = not torch.equal(objective.generator(torch.zeros(7), fake), objective.generator(torch.ones(7), fake))
        assert depends == objective.compares


def test_accuracy_counts_answers_on_the_right_side_of_the_boundary():
    real, fake = torch.tensor([2.0, 0.4, -1.0, 0.6]), torch.tensor([-2.0, 0.4, 1.0, 0.0])
    shares = {name: tuple(s.item() for s in accuracy(OBJECTIVES[name], real, fake)) for name in OBJECTIVES}
    assert shares["non-saturating"] == shares["minimax"] == shares["hinge"] == (0.75, 0.25)
    assert shares["least-squares"] == (0.5, 0.75)  # undecided at 1/2


def test_undecided_is_not_right():
    zeros = torch.zeros(3)
    assert [s.item() for s in accuracy(OBJECTIVES["hinge"], zeros, zeros)] == [0.0, 0.0]


@pytest.mark.parametrize("name", ["wasserstein", "relativistic"])
def test_without_a_boundary_the_larger_logit_must_be_the_reals(name: str):
    real, fake = torch.tensor([5.0, -7.0, 1.0, 3.0]), torch.tensor([4.0, -9.0, 2.0, 2.0])
    shifted = [s.item() for s in accuracy(OBJECTIVES[name], real + 100, fake + 100)]
    assert [s.item() for s in accuracy(OBJECTIVES[name], real, fake)] == shifted == [0.75, 0.75]
