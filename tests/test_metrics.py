"""KID, coverage and density against their definitions, written out; and what the network is shown."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import hasama.metrics as metrics
from hasama.errors import HasamaError
from hasama.features import VGG
from hasama.images import as_channels
from hasama.metrics import EXTRACTOR, LAYER, coverage, density, kid, squared_mmd, vgg_features
from narrow_vgg import narrow_weights

seeds = st.integers(0, 2**32 - 1)


def normal(count: int, size: int = 16, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator) + shift


@st.composite
def two_sets(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Small whole numbers, so that distances are often equal, and vectors often the same."""
    size = draw(st.integers(1, 3))
    values = st.integers(-3, 3).map(float)
    real, fake = (
        draw(arrays(np.float32, (draw(st.integers(*most)), size), elements=values)) for most in ((4, 9), (2, 7))
    )
    return torch.from_numpy(real), torch.from_numpy(fake)


# --- the definitions ------------------------------------------------------------------------------


def mmd_as_defined(real: torch.Tensor, fake: torch.Tensor) -> float:
    """Term by term."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    x, y = real.double().numpy(), fake.double().numpy()
    m, n = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


def inside_as_defined(real: torch.Tensor, fake: torch.Tensor, k: int) -> np.ndarray:
    """Whether each fake lies in each real's ball, by differences."""
    x, y = real.double().numpy(), fake.double().numpy()
    inside = np.zeros((len(x), len(y)), bool)
    for i in range(len(x)):
        others = sorted(float(np.square(x[i] - x[j]).sum()) for j in range(len(x)) if j != i)
        inside[i] = np.square(x[i] - y).sum(1) <= others[k - 1]
    return inside


@given(two_sets())
@settings(max_examples=60, deadline=None)
def test_the_distance_is_the_papers(sets: tuple[torch.Tensor, torch.Tensor]):
    real, fake = sets
    assert squared_mmd(real, fake) == pytest.approx(mmd_as_defined(real, fake), rel=1e-9, abs=1e-9)


@given(two_sets(), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_coverage_and_density_are_the_papers_with_ties_and_copies(sets: tuple[torch.Tensor, torch.Tensor], k: int):
    real, fake = sets
    inside = inside_as_defined(real, fake, k)
    assert coverage(real, fake, k) == inside.any(1).mean()
    assert density(real, fake, k) == pytest.approx(inside.sum() / (k * len(fake)), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 700, 2**22])
def test_a_few_rows_at_a_time_give_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "DISTANCES_AT_ONCE", at_once)
    real, fake = normal(90, 512, 1, 5.0), normal(70, 512, 2, 5.1)  # far from 0, where products lose digits
    inside = inside_as_defined(real, fake, 5)
    assert 0.3 < inside.any(1).mean() < 1
    assert coverage(real, fake) == inside.any(1).mean()
    assert density(real, fake) == inside.sum() / (5 * 70)


def test_by_hand():
    """Kernels: 1 within {0, 0}; (1 + 1)^3 = 8 within {1, 1}; 1 between: 1 + 8 - 2."""
    assert squared_mmd(torch.zeros(2, 1), torch.ones(2, 1)) == 7
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # balls to the nearest: 1, 1, 2 and 7 wide
    fake = torch.tensor([[1.5], [4.0], [30.0]])  # in that of 1 and 3; of 3 and 10; of none
    assert coverage(real, fake, 1) == 3 / 4
    assert density(real, fake, 1) == 4 / 3


# --- what the figures mean ------------------------------------------------------------------------


def test_kid_of_one_distribution_is_nothing_within_its_spread():
    found = [kid(normal(600, seed=2 * s), normal(600, seed=2 * s + 1), 20, 200) for s in range(6)]
    assert all(abs(mean) < 2 * deviation for mean, deviation in found)
    assert min(mean for mean, _ in found) < 0 < max(mean for mean, _ in found)  # unbiased


def test_kid_grows_with_the_difference_and_not_with_the_size_of_the_subsets():
    real = normal(1000)
    near, far = (normal(1000, seed=1, shift=shift) for shift in (0.3, 0.6))
    (a, a_spread), (b, _) = kid(real, near, 50, 300), kid(real, far, 50, 300)
    assert 3 * a_spread < a < b
    assert kid(real, near, 200, 40)[0] == pytest.approx(a, rel=0.15)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_distance_is_symmetric_and_blind_to_order(seed: int):
    real, fake = normal(30, 4, seed), normal(20, 4, seed + 1, 0.5)
    turned = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    whole = squared_mmd(real, fake)
    assert squared_mmd(fake, real) == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert squared_mmd(real[turned], fake) == pytest.approx(whole, rel=1e-9, abs=1e-12)
    assert coverage(real[turned], fake) == coverage(real, fake)
    assert density(real[turned], fake.flip(0)) == density(real, fake)


def test_kid_is_symmetric_and_blind_to_order_within_its_spread():
    real, fake = normal(800, seed=1), normal(800, seed=2, shift=0.4)
    mean, spread = kid(real, fake, 50, 200)
    for other in (kid(fake, real, 50, 200), kid(real.flip(0), fake, 50, 200), kid(real, fake, 50, 200, seed=1)):
        assert other[0] == pytest.approx(mean, abs=4 * spread / 50**0.5)
    assert kid(real, fake, 50, 200) == (mean, spread)


def test_subsets_of_a_few_pictures_still_differ():
    assert kid(normal(40), normal(30, seed=1, shift=1.0))[1] > 0
    assert np.isfinite(kid(normal(2), normal(3, seed=1), 5)).all()


@given(seed=seeds, k=st.integers(1, 5), copies=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_reals_cover_themselves_even_as_copies(seed: int, k: int, copies: int):
    real = normal(10, 3, seed).repeat(copies, 1)
    assert coverage(real, real, k) == 1


def test_as_many_good_fakes_cover_what_the_paper_expects():
    real, fake = normal(1500, 8, 1), normal(1500, 8, 2)
    assert coverage(real, fake) == pytest.approx(1 - 1 / 2**5, abs=0.015)
    assert density(real, fake) == pytest.approx(1, abs=0.05)


def test_a_collapsed_sample_is_dense_but_covers_little():
    real = normal(400, 8)
    collapsed = real[:3].repeat(50, 1) + 0.01 * normal(150, 8, 5)
    assert coverage(real, collapsed) < 0.2
    assert density(real, collapsed) > 0.8
    assert coverage(real, normal(400, 8, shift=30.0)) == density(real, normal(400, 8, shift=30.0)) == 0


def test_too_few_pictures_are_an_error():
    with pytest.raises(HasamaError, match="at least two pictures of each kind; here are 9 and 1"):
        kid(normal(9), normal(1))
    for figure in (coverage, density):
        with pytest.raises(HasamaError, match="Of 5 real and 9 generated pictures, no 5 neighbours"):
            figure(normal(5), normal(9))
        with pytest.raises(HasamaError, match="Of 9 real and 0 generated"):
            figure(normal(9), normal(0))


# --- features -------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of the same form, a thousand times as fast."""
    monkeypatch.setattr(metrics, "load_weights", narrow_weights)


def some_pixels(count: int, height: int = 64, width: int = 64, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


def test_the_real_network_gives_its_layers_mean_whatever_the_batches_are():
    pixels = some_pixels(5)
    features = vgg_features(pixels)
    assert (features.shape, features.dtype) == ((5, 512), torch.float32)
    assert features.min() >= 0
    network = VGG(metrics.load_weights(), ["relu5_1"], border="zeros")
    exact = network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)["relu5_1"].mean((2, 3))
    torch.testing.assert_close(features, exact, rtol=0.03, atol=0.03)  # bf16, where the machine has it
    cut = vgg_features(batch for batch in (pixels[:2], pixels[2:3], pixels[3:]))
    torch.testing.assert_close(cut, features, rtol=1e-2, atol=1e-2)
    assert LAYER in EXTRACTOR


@pytest.mark.usefixtures("narrow")
def test_large_batches_are_cut_and_small_ones_taken_as_they_come(monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    means = metrics._means
    monkeypatch.setattr(
        metrics, "_means", lambda network, images: (seen.append(len(images)), means(network, images))[1]
    )
    whole = vgg_features(some_pixels(70))
    assert seen == [64, 6]
    parts = vgg_features(iter([some_pixels(70)[:33], some_pixels(70)[33:]]))
    torch.testing.assert_close(parts, whole, rtol=1e-2, atol=1e-2)
    seen.clear()
    vgg_features(some_pixels(2, 512, 1024))
    assert seen == [1, 1]


@pytest.mark.usefixtures("narrow")
def test_no_pictures_give_no_features():
    def nothing() -> Iterator[np.ndarray]:
        yield from ()

    assert vgg_features(nothing()).shape == vgg_features(some_pixels(0)).shape == (0, 512)


@pytest.mark.usefixtures("narrow")
def test_grey_is_seen_as_grey_colour_and_alpha_on_white():
    grey = some_pixels(2, channels=1)
    assert torch.equal(vgg_features(grey), vgg_features(grey.repeat(3, 3)))
    clear = some_pixels(2, channels=4)
    on_white = [np.asarray(as_channels(Image.fromarray(picture), 3)) for picture in clear]
    torch.testing.assert_close(vgg_features(clear), vgg_features(np.stack(on_white)), rtol=0.02, atol=0.02)
    hidden = clear.copy()
    hidden[..., 3] = 0
    assert torch.equal(vgg_features(hidden), vgg_features(np.full((2, 64, 64, 3), 255, np.uint8)))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("size", "seen"),
    [((28, 28), (64, 64)), ((16, 40), (64, 160)), ((1, 3), (64, 192)), ((64, 90), (64, 90)), ((100, 70), (100, 70))],
)
def test_small_pictures_are_enlarged_and_keep_their_shape(
    size: tuple[int, int], seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    assert tuple(metrics._as_photographs(torch.zeros(2, 1, *size)).shape) == (2, 3, *seen)
    assert vgg_features(some_pixels(1, *size)).isfinite().all()
