"""How near generated pictures are to real ones: pure functions of their features.

A figure depends on the network that extracted the features, on the number of pictures and on their size: never show
one without the extractor's name (see `hasama.perception.extractors`). Figures of different extractors are not
comparable.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hasama.errors import HasamaError

Features = Float[Tensor, "n f"]
Reals = Float[Tensor, "reals f"]
Fakes = Float[Tensor, "fakes f"]
"""Features of pictures, a row each; any number of pictures, in any order."""


ROWS_AT_ONCE = 4096

TWINS_ARE_0_APART = "donot_use_mm_for_euclid_dist"
"""How `torch.cdist` is to compute: by products, as it does for more than 25 rows, the same row twice is not at 0."""


# --- Fréchet --------------------------------------------------------------------------------------


class Moments(NamedTuple):
    """A Gaussian: its mean [F] and its covariance [F, F], in float64."""

    mean: Tensor
    covariance: Tensor


def fid(real: Reals, fake: Fakes) -> float:
    """Fréchet inception distance: the squared distance of Gaussians fitted to both. Heusel et al. 2017, eq. 6.

    Biased by the number of pictures: of good fakes it is well above 0, the more so the fewer there are (Binkowski et
    al. 2018, appendix D), so that figures of other numbers are not comparable. From 0 up; in float64.

    Raises:
        HasamaError: there are fewer than two real or two generated pictures.
    """
    return fid_with_deviation(real, fake)[0]


def in_their_span(real: Reals, fake: Fakes) -> tuple[Tensor, Tensor]:
    """The same features in fewer dimensions, if there are fewer pictures than features; FID stays the same."""
    if len(real) + len(fake) >= real.shape[1]:
        return real, fake
    basis, _ = torch.linalg.qr(torch.cat([real, fake]).double().T)
    return real.double() @ basis, fake.double() @ basis


def moments(features: Features) -> Moments:
    """Mean and unbiased covariance."""
    count, parts = len(features), features.split(ROWS_AT_ONCE)
    mean = sum((rows.double().sum(0) for rows in parts), torch.zeros(features.shape[1], dtype=torch.float64)) / count
    products = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for rows in parts:
        apart = rows.double() - mean
        products.addmm_(apart.T, apart)
    return Moments(mean, products / (count - 1))


def frechet(one: Moments, other: Moments) -> float:
    """|m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)) of two Gaussians: Dowson & Landau 1982."""
    return transport(one, other).distance


class Transport(NamedTuple):
    """The Fréchet distance of two Gaussians, and how it changes with their covariances.

    Attributes:
        distance: at least 0.
        from_one: a factor A [F, F] of the optimal map A A^T from the first Gaussian to the second (Dowson & Landau
            1982), which is the derivative of 2 Tr (C C')^(1/2) by C.
        from_other: the same by C', of the map back.
    """

    distance: float
    from_one: Tensor
    from_other: Tensor


def transport(one: Moments, other: Moments) -> Transport:
    """Between two Gaussians.

    The matrix root is never computed: its trace is the sum of the roots of the eigenvalues of C^(1/2) C' C^(1/2),
    which are those of C C'. So covariances may be singular, as they are of fewer pictures than features.
    """
    values, vectors = torch.linalg.eigh(one.covariance)
    roots = _nothing_below_zero(values).sqrt()
    root = vectors * roots
    shared, turned = torch.linalg.eigh(root.T @ other.covariance @ root)
    shared = _nothing_below_zero(shared).sqrt()
    distance = (one.mean - other.mean).square().sum() + one.covariance.trace() + other.covariance.trace()
    there = (vectors * _inverse(roots)) @ (turned * shared.sqrt())
    back = root @ (turned * _inverse(shared.sqrt()))
    return Transport(max(0.0, (distance - 2 * shared.sum()).item()), there, back)


def _inverse(values: Tensor) -> Tensor:
    """One over each value, 0 of 0."""
    return torch.where(values > 0, 1 / values, 0.0)


def fid_with_deviation(real: Reals, fake: Fakes) -> tuple[float, float]:
    """FID, and its standard deviation by the chance of which real and which generated pictures were drawn.

    The infinitesimal jackknife (Jaeckel 1972; Efron & Tibshirani 1993, section 21.3): how the figure changes when one
    picture counts a little more, of which the squares add up. With e = x - m that change is, for a real picture,
    2 e.(m - m') + |e|^2 - e^T T e less its mean, T the map of `Transport`; for a generated one the same, mirrored. It
    takes one decomposition, where resampling takes one for each sample.

    Raises:
        HasamaError: there are fewer than two real or two generated pictures.
    """
    if min(len(real), len(fake)) < 2:
        raise HasamaError(f"FID compares at least two pictures of each kind; here are {len(real)} and {len(fake)}.")
    both = in_their_span(real, fake)
    one, other = (moments(rows) for rows in both)
    between = transport(one, other)
    gap, variance = one.mean - other.mean, 0.0
    for rows, mean, apart, factor in (
        (both[0], one.mean, gap, between.from_one),
        (both[1], other.mean, -gap, between.from_other),
    ):
        changes = torch.cat([_changes(some.double() - mean, apart, factor) for some in rows.split(ROWS_AT_ONCE)])
        variance += changes.var(correction=0).item() / len(rows)
    return between.distance, variance**0.5


def _changes(rows: Tensor, gap: Tensor, factor: Tensor) -> Tensor:
    """By how much each row changes the distance, but for a constant."""
    return 2 * (rows @ gap) + rows.square().sum(1) - (rows @ factor).square().sum(1)


def _nothing_below_zero(values: Tensor) -> Tensor:
    """Set to 0 what is not 0 by rounding only: the root of 1e-16 is 1e-8, and there may be thousands."""
    return values.where(values > len(values) * torch.finfo(values.dtype).eps * values.abs().max(), 0.0)


# --- kernel ---------------------------------------------------------------------------------------


def kid(real: Reals, fake: Fakes, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Kernel inception distance: the squared MMD, averaged over random subsets. Binkowski et al. 2018, section 4.

    Its expectation depends neither on `size` nor on the number of pictures, and is 0 for fakes that are as good as
    real; so it can be a little below 0.

    Args:
        real: features of real pictures.
        fake: features of generated ones.
        subsets: how many are drawn, each without repetition.
        size: real pictures, and as many generated ones, in each; at most half of the fewer, so that subsets differ.
        seed: of the draw.

    Returns:
        The mean over the subsets, and the standard deviation of *one* subset's figure (not of the mean).

    Raises:
        HasamaError: there are fewer than two real or two generated pictures.
    """
    fewer = min(len(real), len(fake))
    if fewer < 2:
        raise HasamaError(f"KID compares at least two pictures of each kind; here are {len(real)} and {len(fake)}.")
    size = max(2, min(size, fewer // 2))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    found = [squared_mmd(real[_some(rng, real, size)], fake[_some(rng, fake, size)]) for _ in range(subsets)]
    return float(np.mean(found)), float(np.std(found))


def _some(rng: np.random.Generator, features: Features, size: int) -> Tensor:
    return torch.from_numpy(rng.choice(len(features), size, replace=False))


def squared_mmd(real: Reals, fake: Fakes) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy: Binkowski et al. 2018, eq. 3 and 4.

    A picture is not compared with itself. In float64, for it is a small difference of large sums.
    """
    real, fake = real.double(), fake.double()
    return (_mean_of_others(_kernel(real, real)) + _mean_of_others(_kernel(fake, fake))).item() - (
        2 * _kernel(real, fake).mean().item()
    )


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(a.b / F + 1)^3 for each pair: Binkowski et al. 2018, section 4."""
    k = torch.addmm(torch.ones((), dtype=a.dtype), a, b.T, alpha=1 / a.shape[1])
    return k * k * k


def _mean_of_others(square: Tensor) -> Tensor:
    """The mean off the diagonal."""
    count = len(square)
    return (square.sum() - square.trace()) / (count * (count - 1))
