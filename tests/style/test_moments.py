"""Moments against float64, their gradient against autograd's, and that they add up."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hasama.style.methods.moments import ROWS, Moments, blend, moments

few = settings(max_examples=20)
sides = st.integers(1, 9)


def activations(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """[1, channels, height, width], never below nothing, in the layout that networks give."""
    drawn = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return (drawn + 0.3).relu().contiguous(memory_format=torch.channels_last)


def mask(height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(seed))


def by_numpy(x: Tensor, w: Tensor | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass, total and outer, one place after another, in float64."""
    channels, height, width = x.shape[1:]
    values = x[0].double().numpy()
    mass, total, outer = np.zeros(()), np.zeros(channels), np.zeros((channels, channels))
    for row in range(height):
        for column in range(width):
            here = values[:, row, column]
            weight = 1.0 if w is None else float(w[row, column])
            mass += weight
            total += weight * here
            outer += weight * np.outer(here, here)
    return mass, total, outer


def check(ours: Moments, wanted: tuple[np.ndarray, np.ndarray, np.ndarray], tolerance: float = 1e-5) -> None:
    for mine, right in zip(ours, wanted, strict=True):
        assert mine.dtype == torch.float32
        np.testing.assert_allclose(mine.numpy(), right, rtol=tolerance, atol=tolerance * max(1, np.abs(right).max()))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@given(channels=st.integers(1, 7), height=sides, width=sides)
@few
def test_moments_equal_sums_in_float64(
    precision: torch.dtype, weighted: bool, channels: int, height: int, width: int
):
    x = activations(channels, height, width).to(precision)
    w = mask(height, width) if weighted else None
    check(moments(x, w), by_numpy(x, w))


def test_gram_mean_and_covariance_are_numpys():
    x, w = activations(5, 8, 11), mask(8, 11)
    rows = x[0].flatten(1).double().numpy()
    for ours, weights in ((moments(x), np.ones(88)), (moments(x, w), w.flatten().double().numpy())):
        np.testing.assert_allclose(ours.mean.numpy(), np.average(rows, 1, weights), rtol=1e-5)
        np.testing.assert_allclose(ours.gram.numpy(), (rows * weights) @ rows.T / weights.sum(), rtol=1e-5)
        np.testing.assert_allclose(
            ours.covariance.numpy(), np.cov(rows, aweights=weights, ddof=0), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_many_places_lose_nothing(precision: torch.dtype, weighted: bool):
    """More than go through at once; in bfloat16 a sum of ones would stop at 256."""
    height, width = 2 * ROWS // 256 + 1, 257
    x = torch.ones(1, 2, height, width, dtype=precision)
    x[0, 1] = 0.0078125
    found = moments(x, torch.full((height, width), 0.5) if weighted else None)
    mass = height * width * (0.5 if weighted else 1)
    assert float(found.mass) == mass
    torch.testing.assert_close(found.total / mass, torch.tensor([1, 0.0078125]), rtol=1e-5, atol=0)
    wanted = torch.tensor([[1, 0.0078125], [0.0078125, 0.0078125**2]])
    torch.testing.assert_close(found.outer / mass, wanted, rtol=1e-5, atol=0)


def test_weights_of_zero_and_one_cut_out():
    x, w = activations(4, 10, 12), torch.zeros(10, 12)
    w[2:9, 3:7] = 1
    check(moments(x, w), by_numpy(x[:, :, 2:9, 3:7]))


@given(height=st.integers(2, 12), width=st.integers(1, 9), cut=st.integers(1, 11), weighted=st.booleans())
@few
def test_moments_of_parts_add_up(height: int, width: int, cut: int, weighted: bool):
    cut = 1 + cut % (height - 1) if height > 2 else 1
    x, w = activations(3, height, width), mask(height, width) if weighted else None
    above, below = (moments(x[:, :, rows], None if w is None else w[rows]) for rows in (slice(cut), slice(cut, None)))
    check(above.plus(below), by_numpy(x, w))


# --- the gradient ---------------------------------------------------------------------------------


def plainly(x: Tensor, w: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same sums, left to autograd."""
    rows = x[0].flatten(1)
    weights = torch.ones(rows.shape[1], dtype=x.dtype) if w is None else w.flatten().to(x.dtype)
    return (rows * weights).sum(1), torch.einsum("in,jn,n->ij", rows, rows, weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("direction", ["symmetric", "any"])
def test_the_gradient_is_autograds(direction: str, weighted: bool):
    x, w = activations(6, 7, 10), mask(7, 10) if weighted else None
    generator = torch.Generator().manual_seed(2)
    by_total, by_outer = torch.randn(6, generator=generator), torch.randn(6, 6, generator=generator)
    if direction == "symmetric":
        by_outer = by_outer + by_outer.T
    leaf = x.clone().requires_grad_()
    found = moments(leaf, w)
    felt = [(by_total * found.total).sum(), (by_outer * found.outer).sum()]
    exact = x.double().requires_grad_()
    total, outer = plainly(exact, w)
    wanted = [(by_total.double() * total).sum(), (by_outer.double() * outer).sum()]
    for ours, right in zip([*felt, sum(felt)], [*wanted, sum(wanted)], strict=True):  # by each, and by both
        assert isinstance(ours, Tensor)
        assert isinstance(right, Tensor)
        (mine,) = torch.autograd.grad(ours, leaf, retain_graph=True)
        (theirs,) = torch.autograd.grad(right, exact, retain_graph=True)
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_bfloat16_gets_a_gradient_of_its_own_kind(weighted: bool):
    x, w = activations(6, 7, 10).bfloat16(), mask(7, 10) if weighted else None
    leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    found = moments(leaf, w)
    (found.gram.square().sum() + found.mean.sum()).backward()
    total, outer = plainly(exact, w)
    mass = 70 if w is None else w.double().sum()
    ((outer / mass).square().sum() + (total / mass).sum()).backward()
    assert leaf.grad is not None
    assert exact.grad is not None
    assert leaf.grad.dtype == torch.bfloat16
    assert (leaf.grad - exact.grad).norm() < 0.02 * exact.grad.norm()


def test_activations_in_the_networks_layout_are_not_copied():
    def kept(x: Tensor) -> int:
        node = moments(x.requires_grad_()).outer.grad_fn
        return getattr(node, "saved_tensors")[0].data_ptr()  # noqa: B009

    assert kept(last := activations(5, 6, 7)) == last.data_ptr()
    assert kept(cut := activations(5, 6, 7)[:, :, 1:4, 2:5]) != cut.data_ptr()  # so this test can tell


# --- mixtures -------------------------------------------------------------------------------------


def test_a_blend_of_one_is_itself():
    one = moments(activations(4, 5, 6))
    mixed = blend([one], [7.0])
    for name in ("gram", "mean", "covariance"):
        torch.testing.assert_close(getattr(mixed, name), getattr(one, name))


@pytest.mark.parametrize("shares", [[3.0, 1.0], [0.3, 0.1], [1.0, 0.0]])
def test_a_blend_is_the_mixture_whatever_the_pictures_sizes(shares: list[float]):
    small, large = activations(4, 3, 5, seed=1), activations(4, 20, 21, seed=2)
    mixed = blend([moments(small), moments(large)], shares)
    first, second = (share / sum(shares) for share in shares)
    parts = [x[0].flatten(1).double() for x in (small, large)]
    mean = first * parts[0].mean(1) + second * parts[1].mean(1)
    gram = first * parts[0] @ parts[0].T / 15 + second * parts[1] @ parts[1].T / 420
    torch.testing.assert_close(mixed.mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mixed.gram.double(), gram, rtol=1e-5, atol=1e-6)
    assert float(mixed.mass) == 1


def test_a_blend_of_a_picture_with_itself_is_the_picture():
    one = moments(activations(4, 5, 6))
    torch.testing.assert_close(blend([one, one, one], [1.0, 2.0, 5.0]).covariance, one.covariance)
