"""What style transfer minimises, against float64 formulas, double loops and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hasama.style.methods.losses import (
    REGULAR,
    STYLE_LOSSES,
    TINY,
    from_nothing,
    gram_distance,
    squared_error,
    total_variation,
    wasserstein_distance,
)
from hasama.style.methods.moments import Moments, moments

few = settings(max_examples=20)
LOSSES = sorted(STYLE_LOSSES)


def drawn(channels: int, places: int, seed: int, scale: float = 1.0) -> Tensor:
    """Correlated activations with a ReLU's zeros, [1, channels, places, 1]."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator) / channels**0.5 + torch.eye(channels)
    x = (mixing @ torch.randn(channels, places, generator=generator) + 0.5).relu() * scale
    return x[None, :, :, None]


def in_float64(x: Tensor) -> Moments:
    rows = x[0].flatten(1).double()
    return Moments(torch.tensor(float(rows.shape[1]), dtype=torch.float64), rows.sum(1), rows @ rows.T)


def gaussian(mean: Tensor, covariance: Tensor) -> Moments:
    """Moments with this mean and covariance, float64, of a mass that is not 1."""
    gram = covariance.double() + torch.outer(mean.double(), mean.double())
    return Moments(torch.tensor(7.0, dtype=torch.float64), 7 * mean.double(), 7 * gram)


def w2_by_scipy(canvas: Moments, target: Moments, regular: float) -> float:
    """|m - m'|^2 + tr (S + S' - 2 (S'^(1/2) S S'^(1/2))^(1/2)), per channel; S and S' with a longer diagonal."""
    ours, wanted = (np.asarray(one.covariance) + regular * np.eye(len(one.total)) for one in (canvas, target))
    root = np.real(scipy.linalg.sqrtm(wanted))
    common = np.real(np.trace(scipy.linalg.sqrtm(root @ ours @ root)))
    shift = np.square(np.asarray(canvas.mean) - np.asarray(target.mean)).sum()
    return float((shift + np.trace(ours) + np.trace(wanted) - 2 * common) / len(canvas.total))


def regular_of(target: Moments) -> float:
    return REGULAR * float(target.covariance.diagonal().mean()) + TINY


# --- style ----------------------------------------------------------------------------------------


@given(channels=st.integers(1, 9), seed=st.integers(0, 1000))
@few
def test_gram_is_the_mean_squared_difference_of_gram_matrices(channels: int, seed: int):
    canvas, target = drawn(channels, 30, seed), drawn(channels, 41, seed + 1)
    grams = [np.einsum("in,jn->ij", *[x[0, :, :, 0].double().numpy()] * 2) / x.shape[2] for x in (canvas, target)]
    wanted = sum((grams[0][i, j] - grams[1][i, j]) ** 2 for i in range(channels) for j in range(channels))
    ours = gram_distance(moments(target))(moments(canvas))
    assert float(ours) == pytest.approx(wanted / channels**2, rel=1e-4, abs=1e-9)


@given(channels=st.integers(1, 12), seed=st.integers(0, 1000), scale=st.sampled_from([0.01, 1.0, 30.0]))
@few
def test_wasserstein_is_the_formula_with_scipys_roots(channels: int, seed: int, scale: float):
    canvas, target = drawn(channels, 60, seed, scale), drawn(channels, 50, seed + 1, scale)
    exact = in_float64(canvas), in_float64(target)
    wanted = w2_by_scipy(*exact, regular_of(exact[1]))
    assert float(wasserstein_distance(exact[1])(exact[0])) == pytest.approx(wanted, rel=1e-6, abs=1e-9 * scale**2)
    ours = float(wasserstein_distance(moments(target))(moments(canvas)))
    assert ours == pytest.approx(wanted, rel=1e-3, abs=1e-5 * scale**2)


def with_spectrum(values: Tensor, seed: int) -> Moments:
    """Moments with these variances in some turned directions, and a mean."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator).double())[0]
    return gaussian(torch.rand(len(values), generator=generator), (turn * values.double()) @ turn.T)


SPECTRA = {
    "like a layer's": torch.logspace(-3, 2, 96),
    "nine tenths never vary": torch.cat([torch.zeros(86), torch.logspace(-2, 2, 10)]),
    "one direction alone": torch.cat([torch.zeros(95), torch.ones(1)]),
    "all alike": torch.ones(96),
}


@pytest.mark.parametrize("target", SPECTRA)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_cards_way_to_the_wasserstein_distance_is_float64s(target: str, seed: int):
    """Value and gradient, in float32 and without eigenvalues, of pairs that hardly vary in many directions."""
    aim = with_spectrum(SPECTRA[target], 0)
    for name, values in SPECTRA.items():
        canvas = with_spectrum(values, seed)
        found = []
        for kind, by_products in ((torch.float64, False), (torch.float32, True)):
            leaf = canvas.outer.to(kind, copy=True).requires_grad_()
            here = Moments(canvas.mass.to(kind), canvas.total.to(kind), leaf)
            value = wasserstein_distance(Moments(*(one.to(kind) for one in aim)), by_products)(here)
            value.backward()
            assert leaf.grad is not None
            found.append((value.detach().double(), leaf.grad.double()))
        (value, slope), (ours, our_slope) = found
        assert abs(ours - value) < 1e-4 * max(float(value), float(canvas.covariance.trace()) / len(values)), name
        of_a_trace = 1 / (float(canvas.mass) * len(values) ** 0.5)
        # variances ten million times apart are as far as float32 sees
        much = 0.1 if target == "one direction alone" else 0.01
        assert (our_slope - slope).norm() < much * slope.norm() + 1e-4 * of_a_trace, name


@pytest.mark.parametrize("flat", ["canvas", "target", "both"])
def test_a_cards_way_bears_what_is_flat(flat: str):
    far = drawn(24, 60, 1, 30.0)
    plain = moments(torch.full_like(far, 40.0))
    canvas, target = (plain if flat in (kind, "both") else moments(far) for kind in ("canvas", "target"))
    leaf = canvas.outer.clone().requires_grad_()
    value = wasserstein_distance(target, True)(canvas._replace(outer=leaf))
    value.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    exact = float(wasserstein_distance(target, False)(canvas))
    assert float(value.detach()) == pytest.approx(exact, rel=0.02, abs=0.1)


def test_what_regularises_wasserstein_hardly_changes_it():
    exact = in_float64(drawn(8, 90, 0)), in_float64(drawn(8, 80, 1))
    ours = float(wasserstein_distance(exact[1])(exact[0]))
    assert ours == pytest.approx(w2_by_scipy(*exact, 0), rel=0.02)


def test_wasserstein_of_independent_channels_is_known_by_hand():
    """(3 - 1)^2 and (1 - 2)^2 between standard deviations, (1 - 0)^2 between means: 6 / 2 channels."""
    canvas = gaussian(torch.tensor([1.0, 5.0]), torch.diag(torch.tensor([9.0, 1.0])))
    target = gaussian(torch.tensor([0.0, 5.0]), torch.diag(torch.tensor([1.0, 4.0])))
    assert float(wasserstein_distance(target)(canvas)) == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_moments_are_at_no_distance(loss: str):
    x = drawn(10, 200, 3)
    same, other = moments(x), moments(drawn(10, 200, 4))
    assert abs(float(STYLE_LOSSES[loss](same)(same))) < 1e-5 * float(STYLE_LOSSES[loss](same)(other))
    twice = moments(x.repeat(1, 1, 2, 1))  # the size of a picture is no part of its style
    assert abs(float(STYLE_LOSSES[loss](same)(twice))) < 1e-5 * float(STYLE_LOSSES[loss](same)(other))


@pytest.mark.parametrize("loss", LOSSES)
def test_distances_are_the_same_both_ways(loss: str):
    first, second = in_float64(drawn(8, 90, 5)), in_float64(drawn(8, 80, 6, 1.5))
    there, back = (float(STYLE_LOSSES[loss](a)(b)) for a, b in ((first, second), (second, first)))
    assert there == pytest.approx(back, rel={"gram": 1e-12, "wasserstein": 0.01}[loss])  # regularised by the target


@given(channels=st.integers(1, 8), shift=st.floats(-20, 20))
@few
def test_wasserstein_grows_with_the_square_of_a_shift(channels: int, shift: float):
    x = drawn(channels, 60, channels)
    direction = torch.linspace(-1, 1, channels) if channels > 1 else torch.ones(1)
    canvas, target = in_float64(x + shift * direction.view(1, -1, 1, 1)), in_float64(x)
    wanted = float((shift * direction.double()).square().sum()) / channels
    assert float(wasserstein_distance(target)(canvas)) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_differences(loss: str):
    target, canvas = in_float64(drawn(6, 70, 7)), in_float64(drawn(6, 50, 8))
    distance = STYLE_LOSSES[loss](target)

    def felt(total: Tensor, outer: Tensor) -> Tensor:
        return distance(Moments(canvas.mass, total, outer))

    leaves = (canvas.total.requires_grad_(), canvas.outer.requires_grad_())
    assert torch.autograd.gradcheck(felt, leaves, eps=1e-5, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("canvas", "target"),
    [
        (drawn(16, 3, 0), drawn(16, 3, 1)),
        (drawn(16, 3, 0), drawn(16, 3, 0)),
        (drawn(16, 1, 0), drawn(16, 1, 1)),
        (drawn(16, 100, 0), torch.zeros(1, 16, 4, 1)),
        (torch.zeros(1, 16, 4, 1), drawn(16, 100, 0)),
        (torch.zeros(1, 16, 4, 1), torch.zeros(1, 16, 4, 1)),
        (drawn(16, 9, 0, 1e4), drawn(16, 9, 1, 1e4)),
        (drawn(16, 3, 0, 1e4), torch.zeros(1, 16, 4, 1)),  # float32 leaves its covariance negative eigenvalues
        (drawn(16, 3, 0) + 1e3, drawn(16, 100, 1)),
    ],
    ids=[
        "few",
        "few and equal",
        "one",
        "target dead",
        "canvas dead",
        "both dead",
        "large",
        "few and large",
        "far off",
    ],
)
def test_degenerate_moments_have_finite_gradients(loss: str, canvas: Tensor, target: Tensor):
    leaf = canvas.clone().requires_grad_()
    value = STYLE_LOSSES[loss](moments(target))(moments(leaf))
    value.backward()
    assert value.isfinite()
    assert value.item() > -1e-6 * max(1.0, float(canvas.square().mean()))
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_leads_to_the_target(loss: str):
    """Down the gradient in activations: a hundred steps take away nine tenths of the distance."""
    target, x = moments(drawn(8, 60, 9)), drawn(8, 60, 10)
    distance = STYLE_LOSSES[loss](target)
    leaf = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        value = distance(moments(leaf))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.1 * losses[0]


# --- content --------------------------------------------------------------------------------------


def test_squared_error_is_a_sum_in_float32():
    canvas, target = drawn(5, 30, 11), drawn(5, 30, 12)
    wanted = (canvas.double() - target.double()).square().sum()
    torch.testing.assert_close(squared_error(canvas, target).double(), wanted, rtol=1e-6, atol=0)
    ones = torch.ones(1, 1, 100, 100, dtype=torch.bfloat16)
    assert float(squared_error(ones, 0 * ones)) == 10_000  # bfloat16 has no such number


# --- total variation ------------------------------------------------------------------------------


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def whole(images: Tensor) -> tuple[int, int, int, int]:
    return (0, images.shape[2], 0, images.shape[3])


def by_loops(images: Tensor) -> float:
    """2/3 of the squared difference of each pair of direct neighbours, 1/6 of each pair of diagonal ones."""
    values = images[0].double().numpy()
    channels, height, width = values.shape
    found = 0.0
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                for down, right, weight in ((0, 1, 2 / 3), (1, 0, 2 / 3), (1, 1, 1 / 6), (1, -1, 1 / 6)):
                    if y + down < height and 0 <= x + right < width:
                        found += weight * (values[channel, y, x] - values[channel, y + down, x + right]) ** 2
    return found


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (9, 12)])
def test_total_variation_is_a_sum_over_pairs(size: tuple[int, int]):
    images = picture(*size)
    assert float(total_variation(images, whole(images))) == pytest.approx(by_loops(images), rel=1e-5, abs=1e-9)


edges = st.lists(st.integers(1, 30), max_size=4)


@given(height=st.integers(1, 13), width=st.integers(1, 13), downs=edges, acrosses=edges)
@few
def test_boxes_that_tile_a_picture_add_up(height: int, width: int, downs: list[int], acrosses: list[int]):
    images = picture(height, width).double()
    rows = [0, *sorted({edge for edge in downs if edge < height}), height]
    columns = [0, *sorted({edge for edge in acrosses if edge < width}), width]
    added = sum(
        float(total_variation(images, (rows[i], rows[i + 1], columns[j], columns[j + 1])))
        for i in range(len(rows) - 1)
        for j in range(len(columns) - 1)
    )
    assert added == pytest.approx(by_loops(images), rel=1e-9)


def test_a_flat_picture_does_not_vary():
    assert float(total_variation(torch.full((1, 3, 8, 9), 0.7), (0, 8, 0, 9))) == 0


TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda images: images.transpose(2, 3),
    "mirrored": lambda images: images.flip(3),
    "upside down": lambda images: images.flip(2),
}


@pytest.mark.parametrize("turn", TURNS)
def test_turned_pictures_vary_as_much(turn: str):
    images, turned = picture(9, 12), TURNS[turn](picture(9, 12))
    there = float(total_variation(turned, whole(turned)))
    assert there == pytest.approx(float(total_variation(images, whole(images))), rel=1e-6)


def test_the_gradient_is_the_nine_point_laplacian():
    images = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    images[0, 0, 3, 3] = 1
    total_variation(images.requires_grad_(), (0, 7, 0, 7)).backward()
    assert images.grad is not None
    laplacian = torch.tensor([[1.0, 4, 1], [4, -20, 4], [1, 4, 1]], dtype=torch.float64) / 6
    torch.testing.assert_close(images.grad[0, 0, 2:5, 2:5], -2 * laplacian)
    assert float(images.grad.abs().sum()) == pytest.approx(float(2 * laplacian.abs().sum()))


def test_no_direction_is_preferred():
    """Waves of one length, whatever way they run, are smoothed alike; four neighbours alone differ by a hundredth."""
    down, across = torch.meshgrid(*[torch.arange(-4, 5, dtype=torch.float64)] * 2, indexing="ij")
    strengths = []
    for degrees in range(0, 91, 15):
        angle = math.radians(degrees)
        wave = torch.cos(0.5 * (down * math.sin(angle) + across * math.cos(angle)))[None, None]
        total_variation(wave.requires_grad_(), (0, 9, 0, 9)).backward()
        assert wave.grad is not None
        strengths.append(float(wave.grad[0, 0, 4, 4]))  # at the crest, far from the edges
    assert max(strengths) / min(strengths) - 1 < 1e-4


def test_pale_and_vivid_styles_are_as_strong():
    """Balanced, the style loss of a canvas is a share of how far an empty one would be: the same for any contrast."""
    seen = torch.rand(1, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    for scale in (0.1, 1.0, 10.0):
        wanted = moments(seen * scale)
        assert from_nothing(gram_distance(wanted), wanted) == pytest.approx(
            float(wanted.gram.square().mean()), rel=1e-5
        )
