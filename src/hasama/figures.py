"""All figures of two sets of features, how sure each is, and where a perfect generator would stand.

The intervals (95 %) tell the chance of which pictures were drawn, of either kind, and nothing else: neither that of
another training, nor what a figure is biased by.
"""

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hasama.metrics import Fakes, Reals, fid, frechet, in_their_span, kid, moments, neighbourhoods

Interval = tuple[float, float]

NEAR, NEAR_OF_PRECISION = 5, 3
"""The k of density and coverage (Naeem et al. 2020), and of precision and recall (Kynkäänniemi et al. 2019)."""
SUBSETS, SUBSET = 100, 1000
RESAMPLES = 40
"""FIDs for one interval: their standard deviation is then known to a tenth or so."""

NORMAL_95 = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


class Figure(NamedTuple):
    """One figure.

    Attributes:
        value: of the generated pictures.
        low: where its interval begins.
        high: where that ends.
        floor: of one half of the real pictures against the other: about what a perfect generator would get.
        real: how many real pictures it is of.
        generated: how many generated ones.
    """

    value: float
    low: float
    high: float
    floor: float
    real: int
    generated: int


def figures_of(reals: Reals, fakes: Fakes, seed: int = 0) -> Generator[int, None, dict[str, Figure]]:
    """FID and KID of all, and precision, recall, density and coverage of equal numbers.

    The floor has half the real pictures on each side, and on the generated ones' side no more than there are of them.

    Args:
        reals: features of real pictures in random order.
        fakes: of generated ones.
        seed: of everything drawn.

    Yields:
        How many of `RESAMPLES` are done; and at the end returns the figures by name.
    """
    yield 0
    half = len(reals) // 2
    floor = (reals[half:], reals[: min(half, len(fakes))])
    kids, fids = (kid(reals, fakes, SUBSETS, SUBSET, seed), kid(*floor, SUBSETS, SUBSET, seed)), fid(reals, fakes)
    alike = _by_neighbours(reals, fakes, seed)
    floors = {name: float(values.mean()) for name, values in _by_neighbours(*floor, seed).items()}
    resampled, spanned = [], in_their_span(reals, fakes)
    for number in range(RESAMPLES):
        resampled.append(resampled_fid(*spanned, seed, number))
        yield number + 1
    numbers, equal = (len(reals), len(fakes)), 2 * (min(len(reals), len(fakes)),)
    around = kid_interval(*kids[0], SUBSETS, SUBSET, equal[0])
    figures = {
        "fid": Figure(fids, *fid_interval(fids, resampled), fid(*floor), *numbers),
        "kid": Figure(kids[0][0], *around, kids[1][0], *numbers),
    }
    for name, values in alike.items():
        figures[name] = Figure(float(values.mean()), *mean_interval(values, seed), floors[name], *equal)
    return figures


def _by_neighbours(reals: Reals, fakes: Fakes, seed: int) -> dict[str, Float[Tensor, " n"]]:
    """Of equal numbers, for each picture a value whose mean is the figure; see `metrics` for the equations."""
    fewer = min(len(reals), len(fakes))
    chosen = torch.from_numpy(stream(seed).permutation(len(fakes))[:fewer])  # the fakes may be sorted by class
    reals, fakes = reals[:fewer], fakes[chosen]
    covered, crowd = neighbourhoods(reals, fakes, NEAR)
    return {
        "precision": (neighbourhoods(reals, fakes, NEAR_OF_PRECISION)[1] > 0).double(),
        "recall": (neighbourhoods(fakes, reals, NEAR_OF_PRECISION)[1] > 0).double(),
        "density": crowd.double() / NEAR,
        "coverage": covered.double(),
    }


# --- how sure they are ----------------------------------------------------------------------------


def stream(seed: int, *place: int) -> np.random.Generator:
    """Random numbers that depend on these whole numbers only."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=place)))


def mean_interval(values: Float[Tensor, " n"], seed: int = 0, resamples: int = 1000) -> Interval:
    """Of the mean of one value for each picture: the percentile bootstrap, Efron & Tibshirani 1993, 13.3.

    The pictures' values are drawn again with repetition. For precision, recall, density and coverage the
    neighbourhoods stay as they are, so what their own pictures owe to chance is not in it; and where all pictures
    agree, it has no width.
    """
    numbers, rng = values.double().numpy(), stream(seed)
    means = [numbers[rng.integers(0, len(numbers), len(numbers))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def resampled_fid(real: Reals, fake: Fakes, seed: int, number: int) -> float:
    """FID of as many pictures of either kind, drawn from these with repetition, for the `number`-th time."""
    rng = stream(seed, number)
    return frechet(*(moments(rows, _times(rng, len(rows))) for rows in (real, fake)))


def _times(rng: np.random.Generator, count: int) -> Tensor:
    """How often each of so many is drawn."""
    return torch.from_numpy(np.bincount(rng.integers(0, count, count), minlength=count))


def fid_interval(value: float, resampled: list[float]) -> Interval:
    """Around a FID, by the standard deviation of resampled ones (Efron & Tibshirani 1993, section 13.2).

    Not their percentiles: with pictures that repeat, their FIDs lie higher. The bias that FID has by the number of
    pictures stays in the figure and in the interval.
    """
    aside = NORMAL_95 * float(np.std(resampled, ddof=1))
    return max(0.0, value - aside), value + aside


def kid_interval(mean: float, deviation: float, subsets: int, size: int, fewer: int) -> Interval:
    """Around a KID, from the standard deviation of its subsets' figures: the delete-d jackknife (Shao & Wu 1989).

    Subsets of b of n pictures scatter by (n - b) / b times the variance of the figure of all n, to which the chance
    of which subsets were drawn adds. Where there are more pictures of one kind, it is a little too wide.

    Args:
        mean: KID.
        deviation: of one subset's figure, as `metrics.kid` tells it.
        subsets: how many.
        size: pictures in each that were asked for; they hold at most half of the fewer.
        fewer: pictures of the kind of which there are fewer.
    """
    size = max(2, min(size, fewer // 2))
    aside = NORMAL_95 * deviation * math.sqrt(size / max(1, fewer - size) + 1 / subsets)
    return mean - aside, mean + aside
