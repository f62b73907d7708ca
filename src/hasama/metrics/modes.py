"""Mode coverage: does a generator make everything that its data holds? The published protocols, as pure functions.

Mixtures of Gaussians in the plane, whose modes are known, and stacked MNIST, whose modes a classifier recognises:

- ring and grid: Srivastava et al. 2017 (VEEGAN), section 4.1; Lin et al. 2018 (PacGAN), section 4.1 and table 1.
- hundred: 10 x 10 Gaussians as the package `particlegan` 0.9.4 takes them (Garcia 2025, its problem `grid100`): a
  mode is found if 10 of 20,000 points lie within three standard deviations.
- stacked MNIST: Metz et al. 2017 (unrolled GANs), section 3.3.1; 26,000 samples as in Srivastava et al. 2017.

All draws are functions of (seed, position), so that a run that goes on from any position sees the same.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hasama.shapes import Images

Points = Float[ndarray, "n 2"]
"""Places in the plane, in the protocol's units."""

Centres = Float[ndarray, "modes 2"]
Counts = Int[ndarray, " modes"]
"""How many samples each mode has."""

Digits = UInt8[ndarray, "digits h w"]
Chosen = Int[ndarray, "n 3"]
"""The number of a digit for each channel of each picture."""
Read = Int[ndarray, "n 3"]
"""The digit that the classifier recognises in each channel, 0 to 9."""

NEAR = 3.0
"""Standard deviations from its mode within which a sample is of high quality."""
POINT_SAMPLES = 2_500
STACK_SAMPLES = 26_000
STACKED_MODES = 1_000
CHANNELS = 3

FAR = 2**62
"""A position that no run reaches: a generator has never learnt from the real samples from here on."""

# What a stream of random numbers is for, so that two streams of one seed never meet.
_POINTS, _STACKS = 1, 2


@dataclass(frozen=True)
class Coverage:
    """Which modes a sample of generated data covers.

    Attributes:
        modes: how many modes were found; the mean of several runs can be a fraction.
        of: how many there are.
        quality: share of the samples that are of high quality, 0 to 1; None for stacked MNIST, which has no centres.
        kl: KL(sample || equal shares) over the modes in nats, 0 at best.
        samples: how many were counted.
    """

    modes: float
    of: int
    quality: float | None
    kl: float
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them: an infinite divergence is null."""
        return asdict(self) | {"kl": self.kl if math.isfinite(self.kl) else None}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Coverage":
        """From what `to_dict` gave; other keys do not count."""
        own: dict[str, Any] = {field.name: told[field.name] for field in fields(cls)}
        own["kl"] = math.inf if own["kl"] is None else own["kl"]
        return cls(**own)


def mean_coverage(found: Sequence[Coverage]) -> Coverage:
    """Each figure's mean over several runs of one protocol, at least one."""
    quality = [one.quality for one in found if one.quality is not None]
    return Coverage(
        float(np.mean([one.modes for one in found])),
        found[0].of,
        float(np.mean(quality)) if quality else None,
        float(np.mean([one.kl for one in found])),
        found[0].samples,
    )


def divergence(counts: Counts) -> float:
    """KL(sample || equal shares) = sum of p log(p M) over the M modes, in nats: the reverse KL of Lin et al. 2018.

    Args:
        counts: samples of each mode; of at least one mode.
    """
    share = counts[counts > 0] / counts.sum()
    return max(0.0, float(np.sum(share * np.log(share * len(counts)))))


# --- points ---------------------------------------------------------------------------------------


class Mixture(NamedTuple):
    """Equal Gaussians in the plane.

    Attributes:
        centres: their means [modes, 2].
        sigma: their standard deviation in each direction.
        reach: the largest coordinate of a mean; points are divided by it before they go into the networks.
        samples: how many points are counted.
        enough: so many of high quality make a mode found.
    """

    centres: Centres
    sigma: float
    reach: float
    samples: int = POINT_SAMPLES
    enough: int = 1


def _ring(count: int = 8) -> Mixture:
    angles = 2 * math.pi * np.arange(count) / count
    return Mixture(np.stack([np.cos(angles), np.sin(angles)], 1), 0.01, 1.0)


def _grid() -> Mixture:
    ticks = np.arange(-4.0, 5.0, 2.0)
    return Mixture(np.stack(np.meshgrid(ticks, ticks, indexing="ij"), 2).reshape(-1, 2), 0.05, 4.0)


def _hundred() -> Mixture:
    ticks = np.arange(10) - 4.5
    return Mixture(np.stack(np.meshgrid(ticks, ticks, indexing="ij"), 2).reshape(-1, 2), 0.03, 4.5, 20_000, 10)


MIXTURES: dict[str, Mixture] = {"ring": _ring(), "grid": _grid(), "hundred": _hundred()}


def draw_points(mixture: Mixture, seed: int, count: int, first: int = 0) -> Points:
    """Real points [count, 2] from the position `first` on: a function of (seed, first)."""
    rng = _stream(_POINTS, seed, first)
    middles = mixture.centres[rng.integers(0, len(mixture.centres), count)]
    return middles + mixture.sigma * rng.standard_normal((count, 2))


def coverage_of_points(points: Points, mixture: Mixture) -> Coverage:
    """Count the modes of a mixture that points cover, as PacGAN's authors do (Lin et al. 2018, their `MetricLogger`).

    A point belongs to the nearest mode, and is of high quality less than 3 sigma from it: of real points
    1 - exp(-9/2) = 98.9 % are. A mode is found if one point of high quality belongs to it, or as many as are enough
    for the mixture. The divergence counts all points, of high quality or not, against equal shares; points that are
    not numbers belong to no mode, and if none is left, the divergence is infinite.
    """
    known = points[np.isfinite(points).all(1)]
    if not len(known):
        return Coverage(0, len(mixture.centres), 0.0, math.inf, len(points))
    distances = np.linalg.norm(known[:, None].astype(np.float64) - mixture.centres, axis=2)  # [n, modes]
    nearest, good = distances.argmin(1), distances.min(1) < NEAR * mixture.sigma
    total = len(mixture.centres)
    kl = divergence(np.bincount(nearest, minlength=total))
    found = np.bincount(nearest[good], minlength=total) >= mixture.enough
    return Coverage(int(found.sum()), total, int(good.sum()) / len(points), kl, len(points))


def width_of_points(points: Points, mixture: Mixture) -> float:
    """How wide the modes are in standard deviations of the data's: the share of high quality does not tell.

    The root mean square, over points of high quality and both directions, of what lies between a point and the mean
    of those that belong to its mode. Of real points it is 0.974, for those beyond 3 sigma are not counted; points
    that all lie on the modes' middles would be of high quality, and this 0. NaN if no point is of high quality.
    """
    distances = np.linalg.norm(points[:, None].astype(np.float64) - mixture.centres, axis=2)  # [n, modes]
    good = np.nan_to_num(distances.min(1), nan=math.inf) < NEAR * mixture.sigma
    nearest, points = distances[good].argmin(1), points[good]
    if not len(points):
        return math.nan
    squares = [((own := points[nearest == mode]) - own.mean(0)) ** 2 for mode in np.unique(nearest)]
    return math.sqrt(float(np.concatenate(squares).mean())) / mixture.sigma


def as_images(points: Points, mixture: Mixture) -> Images:
    """Points as the networks take them: "pictures" [n, 2, 1, 1], coordinates about -1 to 1."""
    return torch.from_numpy(points / mixture.reach).float()[:, :, None, None]


def as_points(images: Images, mixture: Mixture) -> Points:
    """The inverse of `as_images`, in float64."""
    return images.detach().cpu().double()[:, :, 0, 0].numpy() * mixture.reach


# --- stacked digits -------------------------------------------------------------------------------


def draw_stacks(digits: int, seed: int, count: int, first: int = 0) -> Chosen:
    """The number of the digit for each channel of each picture, from the position `first` on.

    Each of the three is drawn anew from all digits (Metz et al. 2017), as a function of (seed, first).
    """
    return _stream(_STACKS, seed, first).integers(0, digits, (count, CHANNELS))


def stack(digits: Digits, chosen: Chosen) -> UInt8[ndarray, "n h w 3"]:
    """The chosen digits as the red, green and blue of one picture."""
    return np.stack([digits[chosen[:, channel]] for channel in range(CHANNELS)], 3)


def modes_of(read: Read) -> Int[ndarray, " n"]:
    """The mode 0 to 999 of three digits read, red first: [2, 0, 7] is 207."""
    return read @ np.array([100, 10, 1])


def coverage_of_stacks(read: Read) -> Coverage:
    """Count which of the thousand modes occur among digits [n, 3] that a classifier read in each channel.

    A mode is found if one sample or more is read as it (Metz et al. 2017, section 3.3.1). The divergence is to equal
    shares. MNIST's digits are not quite equally many, and 26,000 samples are few for 1,000 modes: as many stacks of
    real digits have about 0.0235, of which 0.0043 come from the former.
    """
    counts = np.bincount(modes_of(read), minlength=STACKED_MODES)
    return Coverage(int((counts > 0).sum()), STACKED_MODES, None, divergence(counts), len(read))


def _stream(purpose: int, seed: int, first: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, first, purpose))))
