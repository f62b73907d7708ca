"""How near generated pictures are to real ones: pure functions of what a frozen network makes of both.

A figure means nothing without the network that saw the pictures, their number and their size: never show one
without `EXTRACTOR`. Figures of other networks, such as Inception's, are not comparable with these.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hasama.device import gains_by_bf16
from hasama.errors import HasamaError
from hasama.features import VGG, load_weights
from hasama.images import to_images
from hasama.shapes import Images, Pixels

Features = Float[Tensor, "n f"]
Reals = Float[Tensor, "reals f"]
Fakes = Float[Tensor, "fakes f"]
"""Features of pictures, a row each; any number of pictures, in any order."""

Photographs = Float[Tensor, "n 3 height width"]
"""What the network was trained on: colour, opaque."""

# Why this one of relu3_1, relu4_1, relu5_1 and all three together: of 1,500 portraits against 1,500 others, its KID
# told apart shuffled quarters, blur, noise and missing pictures by the most standard deviations (quarters: 18 against
# 4, 8 and 8), and its x.y/F is about 1.6, so that the kernel's 1 counts and no few loud channels decide (it is 7 in
# relu3_1 and 126 in relu4_1, which would also rule any mixture).
LAYER = "relu5_1"
EXTRACTOR = "vgg19-relu5_1-mean"
"""What `vgg_features` sees pictures through, for every place where a figure is shown."""

SMALLEST = 64
"""Pixels of the shorter side below which pictures are enlarged: 4x4 places are left of 64x64 in `LAYER`."""
PIXELS_AT_ONCE = 64 * 64 * 64
DISTANCES_AT_ONCE = 2**22
TIE = 1e-12
"""Squared distances that differ by this share of the largest square of a feature vector's length are equal."""


def kid(real: Reals, fake: Fakes, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Kernel inception distance: the squared MMD, averaged over random subsets. Binkowski et al. 2018, section 4.

    Its expectation depends neither on `size` nor on the number of pictures, and is 0 for fakes that are as good as
    real; so it can be a little below 0.

    Args:
        real: features of real pictures.
        fake: features of generated ones.
        subsets: how many are drawn, each without repetition.
        size: pictures in each, of either kind; at most half of the fewer, so that subsets differ.
        seed: of the draw.

    Returns:
        The mean over the subsets, and the standard deviation of *one* subset's figure (not of the mean).

    Raises:
        HasamaError: fewer than two pictures of a kind.
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


def coverage(real: Reals, fake: Fakes, k: int = 5) -> float:
    """The share of reals that have a fake in their neighbourhood: Naeem et al. 2020, eq. 8.

    The neighbourhood is the ball to the k-th nearest other real, its surface included (so that a fake that *is* a
    real covers it, even one of which there are more than k copies). As many good fakes as reals reach 1 - 1/2^k.

    Raises:
        HasamaError: no more than k reals, or no fakes.
    """
    return sum(int(inside.any(1).sum()) for inside in _in_neighbourhoods(real, fake, k)) / len(real)


def density(real: Reals, fake: Fakes, k: int = 5) -> float:
    """In how many reals' neighbourhoods a fake lies on the average, over k: Naeem et al. 2020, eq. 7. Good fakes: 1.

    Raises:
        HasamaError: no more than k reals, or no fakes.
    """
    return sum(int(inside.sum()) for inside in _in_neighbourhoods(real, fake, k)) / (k * len(fake))


def _in_neighbourhoods(real: Tensor, fake: Tensor, k: int) -> Iterator[Tensor]:
    """Whether each fake lies in each real's ball: bool [some reals, fakes], a few reals at a time."""
    if not (1 <= k < len(real)) or not len(fake):
        raise HasamaError(f"Of {len(real)} real and {len(fake)} generated pictures, no {k} neighbours can be found.")
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre
    slack = TIE * max(_squares(real).max().item(), _squares(fake).max().item())
    for some in real.split(max(1, DISTANCES_AT_ONCE // max(len(real), len(fake)))):
        nearest = _distances(some, real).topk(k + 1, dim=1, largest=False).values  # the first of them is itself
        yield _distances(some, fake) <= nearest[:, -1:] + slack


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared, by products: |a|^2 - 2 a.b + |b|^2, ten times as fast as difference by difference.

    Equal distances come out a few last digits apart; hence `TIE`.
    """
    return torch.addmm(_squares(b), a, b.T, alpha=-2).add_(_squares(a)[:, None])


def _squares(a: Tensor) -> Tensor:
    return a.square().sum(1)


# --- what the pictures look like to a network -----------------------------------------------------


def vgg_features(pixels: Pixels | Iterable[Pixels], device: torch.device | str = "cpu") -> Features:
    """What VGG19 (Simonyan & Zisserman 2015) sees in pictures: the mean of each of relu5_1's 512 channels.

    Args:
        pixels: uint8 [N, H, W, C], or batches of such; grey, RGB, or RGBA, which is laid on white.
        device: where the network runs, in bfloat16 where that is faster.
    """
    device = torch.device(device)
    precision = torch.bfloat16 if gains_by_bf16(device) else torch.float32
    network = VGG(load_weights(), [LAYER], border="zeros", precision=precision).to(device)
    rows = [_means(network, to_images(some, device)) for some in _few_at_once(pixels)]
    return torch.cat(rows) if rows else torch.zeros(0, 512)


def _few_at_once(pixels: Pixels | Iterable[Pixels]) -> Iterator[Pixels]:
    """The same pictures, so many at once as the network has room for."""
    for batch in [pixels] if isinstance(pixels, np.ndarray) else pixels:
        count = max(1, PIXELS_AT_ONCE // max(SMALLEST**2, batch.shape[1] * batch.shape[2]))
        for first in range(0, len(batch), count):
            yield batch[first : first + count]


@torch.no_grad()
def _means(network: VGG, images: Images) -> Features:
    return network(_as_photographs(images))[LAYER].float().mean((2, 3)).cpu()


def _as_photographs(images: Images) -> Photographs:
    """In colour, opaque, and large enough for the network."""
    if images.shape[1] == 4:
        alpha = (images[:, 3:] + 1) / 2
        images = images[:, :3] * alpha + (1 - alpha)  # white is 1
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    height, width = images.shape[2:]
    factor = SMALLEST / min(height, width)
    if factor <= 1:
        return images
    size = (max(SMALLEST, round(height * factor)), max(SMALLEST, round(width * factor)))
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
