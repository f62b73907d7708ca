"""FID, KID, coverage, density, precision and recall against their definitions, written out."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hasama.metrics.distances as metrics
import hasama.metrics.neighbours as neighbours
from hasama.errors import HasamaError
from hasama.metrics.distances import Moments, fid, frechet, in_their_span, kid, moments, squared_mmd
from hasama.metrics.neighbours import coverage, density, neighbourhoods, precision, recall

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
@settings(max_examples=60)
def test_the_distance_is_the_papers(sets: tuple[torch.Tensor, torch.Tensor]):
    real, fake = sets
    assert squared_mmd(real, fake) == pytest.approx(mmd_as_defined(real, fake), rel=1e-9, abs=1e-9)


@given(two_sets(), st.integers(1, 3))
@settings(max_examples=100)
def test_coverage_and_density_are_the_papers_with_ties_and_copies(sets: tuple[torch.Tensor, torch.Tensor], k: int):
    real, fake = sets
    inside = inside_as_defined(real, fake, k)
    assert coverage(real, fake, k) == inside.any(1).mean()
    assert density(real, fake, k) == pytest.approx(inside.sum() / (k * len(fake)), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 700, 2**22])
def test_a_few_rows_at_a_time_give_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbours, "DISTANCES_AT_ONCE", at_once)
    real, fake = normal(90, 512, 1, 5.0), normal(70, 512, 2, 5.1)  # far from 0, where products lose digits
    inside = inside_as_defined(real, fake, 5)
    assert 0.3 < inside.any(1).mean() < 1
    assert coverage(real, fake) == inside.any(1).mean()
    assert density(real, fake) == inside.sum() / (5 * 70)


@given(two_sets(), st.integers(1, 3))
@settings(max_examples=100)
def test_precision_and_recall_are_the_papers_with_ties_and_copies(sets: tuple[torch.Tensor, torch.Tensor], k: int):
    real, fake = sets
    fake = torch.cat([fake, fake + 1, real[:1]])  # more than k
    assert precision(real, fake, k) == inside_as_defined(real, fake, k).any(0).mean()
    assert recall(real, fake, k) == inside_as_defined(fake, real, k).any(0).mean()
    assert recall(real, fake, k) == precision(fake, real, k)
    covered, crowd = neighbourhoods(real, fake, k)
    assert covered.tolist() == inside_as_defined(real, fake, k).any(1).tolist()
    assert crowd.tolist() == inside_as_defined(real, fake, k).sum(0).tolist()


def test_by_hand():
    """Kernels: 1 within {0, 0}; (1 + 1)^3 = 8 within {1, 1}; 1 between: 1 + 8 - 2."""
    assert squared_mmd(torch.zeros(2, 1), torch.ones(2, 1)) == 7
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # balls to the nearest: 1, 1, 2 and 7 wide
    fake = torch.tensor([[1.5], [4.0], [30.0]])  # in that of 1 and 3; of 3 and 10; of none
    assert coverage(real, fake, 1) == 3 / 4
    assert density(real, fake, 1) == 4 / 3
    assert precision(real, fake, 1) == 2 / 3
    assert (
        recall(real, fake, 1) == 4 / 4
    )  # their balls are 2.5, 2.5 and 26 wide: 0, 1, 3 in the first; 10 in the last
    assert recall(real, fake[:2], 1) == 3 / 4


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
@settings(max_examples=10)
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
@settings(max_examples=20)
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
    with pytest.raises(HasamaError, match="Of 3 real and 9 generated pictures, no 3 neighbours"):
        precision(normal(3), normal(9))
    with pytest.raises(HasamaError, match="Of 9 real and 3 generated pictures, no 3 neighbours"):
        recall(normal(9), normal(3))
    with pytest.raises(HasamaError, match="Of 0 real and 9 generated"):
        recall(normal(0), normal(9))
    with pytest.raises(HasamaError, match="FID compares at least two pictures of each kind; here are 1 and 9"):
        fid(normal(1), normal(9))


# --- Fréchet --------------------------------------------------------------------------------------


def fid_as_defined(real: torch.Tensor, fake: torch.Tensor) -> float:
    """With the root of the matrix, made by Schur's decomposition."""
    x, y = real.double().numpy(), fake.double().numpy()
    c, d = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y))
    root = np.real(scipy.linalg.sqrtm(c @ d))
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c + d - 2 * root))


@given(seed=seeds, size=st.integers(1, 6))
@settings(max_examples=40)
def test_fid_is_the_papers(seed: int, size: int):
    real = normal(40, size, seed) @ normal(size, size, seed + 1)
    fake = normal(30, size, seed + 2, 0.5) @ normal(size, size, seed + 3)
    wanted = fid_as_defined(real, fake)
    assert fid(real, fake) == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    assert fid(fake, real) == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    assert fid(real.flip(0), fake) == pytest.approx(wanted, rel=1e-7, abs=1e-7)
    assert fid(3 * real - 1, 3 * fake - 1) == pytest.approx(9 * wanted, rel=1e-6, abs=1e-6)


def test_fid_by_hand():
    """One feature: (m - m')^2 + (s - s')^2. Here the means are 1 and 4, the deviations the roots of 2 and of 8."""
    assert fid(torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [6.0]])) == pytest.approx(9 + 2, rel=1e-14)
    one = Moments(torch.zeros(3, dtype=torch.float64), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()))
    other = Moments(torch.ones(3, dtype=torch.float64), torch.diag(torch.tensor([4.0, 4.0, 0.0]).double()))
    assert frechet(one, other) == pytest.approx(3 + 1 + 0 + 9, rel=1e-14)


def test_fid_of_fewer_pictures_than_features():
    """Two planes of few dimensions at right angles share nothing: the traces add up. And from itself it is 0."""
    plane, other = torch.zeros(20, 300), torch.zeros(30, 300)
    plane[:, :10], other[:, 10:25] = normal(20, 10, 1), normal(30, 15, 2)
    traces = sum(float(torch.var(rows.double(), 0).sum()) for rows in (plane, other))
    means = float((plane.double().mean(0) - other.double().mean(0)).square().sum())
    assert fid(plane, other) == pytest.approx(traces + means, rel=1e-9)
    few = normal(40, 300, 3)
    assert fid(few, few) == pytest.approx(0, abs=1e-9)
    assert fid(few, few + 1) == pytest.approx(300, rel=1e-6)
    assert fid(torch.ones(5, 4), torch.ones(6, 4)) == 0


def test_the_span_of_few_pictures_keeps_the_fid():
    real, fake = normal(20, 200, 1, 3.0), normal(30, 200, 2)
    small = in_their_span(real, fake)
    assert [rows.shape for rows in small] == [(20, 50), (30, 50)]
    in_all_dimensions = frechet(moments(real), moments(fake))
    assert fid(real, fake) == pytest.approx(in_all_dimensions, rel=1e-9)
    assert fid(real, fake) == pytest.approx(
        fid_as_defined(real, fake), rel=1e-4
    )  # whose root is of a singular matrix
    assert in_their_span(real[:, :50], fake[:, :50])[0].shape == (20, 50)


def test_fid_keeps_its_digits_far_from_zero_and_in_pieces(monkeypatch: pytest.MonkeyPatch):
    real, fake = normal(500, 12, 1), normal(400, 12, 2, 0.2)
    near = fid(real, fake)
    assert fid(real.double() + 4096, fake.double() + 4096) == pytest.approx(near, rel=1e-9)
    monkeypatch.setattr(metrics, "ROWS_AT_ONCE", 7)
    assert fid(real, fake) == pytest.approx(near, rel=1e-12)


def test_fid_is_biased_by_the_number_of_pictures_as_its_docstring_says():
    few, many = (fid(normal(n, 16, 1), normal(n, 16, 2)) for n in (100, 3000))
    assert few > 10 * many > 0
