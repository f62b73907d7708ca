"""All figures of two sets of features, each with an interval and with the floor that a perfect generator would reach.

The intervals (95 %) cover the chance of which real and generated pictures were drawn, and nothing else: neither what
another training would give, nor the bias of a figure.
"""

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hasama.metrics.distances import Fakes, Features, Reals, fid, fid_with_deviation, kid
from hasama.metrics.neighbours import neighbourhoods

Interval = tuple[float, float]

NEAR, NEAR_OF_PRECISION = 5, 3
"""The k of density and coverage (Naeem et al. 2020), and of precision and recall (Kynkäänniemi et al. 2019)."""
SUBSETS, SUBSET = 100, 1000
RESAMPLES = 40
"""Subsets for one interval: their standard deviation is then known to a tenth or so."""

NORMAL_95 = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


class Figure(NamedTuple):
    """One figure.

    Attributes:
        value: of the generated pictures.
        low: lower end of its interval.
        high: upper end of its interval.
        floor: the same figure for one half of the real pictures against the other: about what a perfect generator
            would get. FID's is brought to the number of pictures of the figure (see `floor_of_fid`).
        real: how many real pictures were compared.
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

    The floor compares one half of the real pictures with the other; the half that stands for the generated pictures
    has no more pictures than there are generated ones.

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
    kids = kid(reals, fakes, SUBSETS, SUBSET, seed), kid(*floor, SUBSETS, SUBSET, seed)
    fids = fid_with_deviation(reals, fakes)
    paired = _equal(reals, fakes, seed)
    alike, floors = by_neighbours(*paired), by_neighbours(*_equal(*floor, seed))
    fewer = []
    for number in range(RESAMPLES):
        fewer.append(by_neighbours(*_subset(*paired, seed, number)))
        yield number + 1
    numbers, equal = (len(reals), len(fakes)), 2 * (min(len(reals), len(fakes)),)
    around = kid_interval(*kids[0], SUBSETS, SUBSET, equal[0])
    figures = {
        "fid": Figure(fids[0], *fid_interval(*fids), floor_of_fid(*floor, *numbers), *numbers),
        "kid": Figure(kids[0][0], *around, kids[1][0], *numbers),
    }
    for name, value in alike.items():
        around = jackknife_interval(value, [some[name] for some in fewer], _size(equal[0]), equal[0])
        if name in SHARES:
            around = wider(around, share_interval(value, equal[0]))
        figures[name] = Figure(value, *around, floors[name], *equal)
    return figures


def _equal(reals: Reals, fakes: Fakes, seed: int) -> tuple[Features, Features]:
    """Equal numbers of both."""
    fewer = min(len(reals), len(fakes))
    chosen = torch.from_numpy(stream(seed).permutation(len(fakes))[:fewer])  # the fakes may be sorted by class
    return reals[:fewer], fakes[chosen]


def by_neighbours(reals: Reals, fakes: Fakes) -> dict[str, float]:
    """The figures that neighbours decide; see `hasama.metrics.neighbours` for the equations."""
    covered, crowd = neighbourhoods(reals, fakes, NEAR)
    return {
        "precision": _mean(neighbourhoods(reals, fakes, NEAR_OF_PRECISION)[1] > 0),
        "recall": _mean(neighbourhoods(fakes, reals, NEAR_OF_PRECISION)[1] > 0),
        "density": _mean(crowd) / NEAR,
        "coverage": _mean(covered),
    }


SHARES = ("precision", "recall", "coverage")


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def floor_of_fid(one: Reals, other: Fakes, reals: int, fakes: int) -> float:
    """The FID that so many real and generated pictures would have if they were as alike as these two sets.

    For equal distributions FID is its bias alone, which is proportional to one over the number of pictures of each
    kind (Chong & Forsyth 2020, section 3; Binkowski et al. 2018, appendix D).
    """
    return fid(one, other) * (1 / reals + 1 / fakes) / (1 / len(one) + 1 / len(other))


# --- intervals ------------------------------------------------------------------------------------


def stream(seed: int, *place: int) -> np.random.Generator:
    """Random numbers that depend on these whole numbers only."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=place)))


def _size(count: int) -> int:
    """Real pictures, and as many generated ones, in a subset: half of them, at most `SUBSET`."""
    return min(count // 2, SUBSET)


def _subset(reals: Reals, fakes: Fakes, seed: int, number: int) -> tuple[Features, Features]:
    """Equal numbers of both, drawn without repetition: a picture that is there twice would be its own neighbour."""
    rng, size = stream(seed, number, 1), _size(len(reals))
    one, other = (torch.from_numpy(rng.permutation(len(rows))[:size]) for rows in (reals, fakes))
    return reals[one], fakes[other]


def jackknife_interval(value: float, fewer: list[float], size: int, count: int) -> Interval:
    """The interval of a figure that is at least 0, from random subsets: the delete-d jackknife (Shao & Wu 1989).

    Subsets of b of n pictures scatter by (n - b) / b times the variance of the figure of all n.

    Args:
        value: of all pictures.
        fewer: of subsets.
        size: real pictures, and as many generated ones, in each.
        count: the same in all.
    """
    aside = NORMAL_95 * float(np.std(fewer, ddof=1)) * math.sqrt(size / (count - size))
    return max(0.0, value - aside), value + aside


def share_interval(share: float, count: int) -> Interval:
    """The interval of a share of so many independent pictures: Wilson 1927. It has a width at 0 and at 1, too."""
    square = NORMAL_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    aside = NORMAL_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - aside), min(1.0, middle + aside)


def wider(one: Interval, other: Interval) -> Interval:
    """The smallest interval that holds both, between 0 and 1."""
    return max(0.0, min(one[0], other[0])), min(1.0, max(one[1], other[1]))


def fid_interval(value: float, deviation: float) -> Interval:
    """The interval of a FID, from its standard deviation (see `hasama.metrics.distances.fid_with_deviation`).

    The bias that FID has by the number of pictures stays in the figure and in the interval.
    """
    return max(0.0, value - NORMAL_95 * deviation), value + NORMAL_95 * deviation


def kid_interval(mean: float, deviation: float, subsets: int, size: int, fewer: int) -> Interval:
    """The interval of a KID, from the standard deviation over its subsets: the delete-d jackknife (Shao & Wu 1989).

    Subsets of b of n pictures scatter by (n - b) / b times the variance of the figure of all n, to which the chance
    of which subsets were drawn adds. Where there are more pictures of one kind, it is a little too wide.

    Args:
        mean: KID.
        deviation: of one subset's figure, as `hasama.metrics.distances.kid` returns it.
        subsets: how many.
        size: pictures in each as asked for; a subset holds at most half of the fewer.
        fewer: pictures of the kind of which there are fewer.
    """
    size = max(2, min(size, fewer // 2))
    aside = NORMAL_95 * deviation * math.sqrt(size / max(1, fewer - size) + 1 / subsets)
    return mean - aside, mean + aside
