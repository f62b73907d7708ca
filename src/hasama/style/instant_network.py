"""`instant` for some paintings as one network, of nothing but what other runtimes have: what is exported to ONNX.

It paints as `instant` does at its first two scales, in one piece. What it knows of the paintings is constant; a
photo's own moments are seen, and moved to the paintings', within the network.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hasama.perception.inverse import LEVELS, Inverse, load_inverse
from hasama.perception.vgg import VGG, Weights, stride_of
from hasama.shapes import Activations, Images
from hasama.style.instant import learnt_styles
from hasama.style.methods.moments import Moments
from hasama.style.methods.roots import inverse_root
from hasama.style.methods.swapping import (
    APART,
    GRAIN_SIDE,
    SIDE,
    SWAPPINGS,
    Patches,
    directions,
    grain,
    swapped_level,
)
from hasama.style.methods.transport import LEAST, NOISE, root_of
from hasama.style.subject import Subject

TINY = 1e-20
"""Added to a variance, which may be nothing at all: far below what counts, but not too little for float32."""
Length = Any
"""Of a side: a number, or what stands for it while the network is followed through torch."""


class Aim(NamedTuple):
    """What K styles have at one level."""

    mean: Tensor
    """[C], of all styles together."""
    halves: Tensor
    """[K, C, C], the roots of their covariances, made as large as 1: those of a plain colour are next to nothing."""
    weights: list[float]
    """How large each root was, times the style's share."""


class InstantNetwork(nn.Module):
    """Photos [1, 3, H, W] in [-1, 1], of any size from 8 pixels to a side, painted.

    Args:
        weights: VGG19's.
        inverse: what turns its features back.
        scales: {level: ...} of each of them, one or two.
        share: how large the first of two is, of the second: a numerator and a denominator.
        patches: of each scale; None: none are swapped.
        strength: 0 (the photo as it is) to 1.
    """

    grain: Tensor

    def __init__(
        self,
        weights: Weights,
        inverse: Inverse,
        scales: Sequence[dict[str, Aim]],
        share: tuple[int, int],
        patches: Sequence[Patches | None],
        strength: float,
    ) -> None:
        super().__init__()
        self.levels = [[level for level in LEVELS if level in aims] for aims in scales]
        self.network = VGG(weights, self.levels[0], quick=False)
        self.inverse, self.share, self.strength = inverse, share, strength
        self.weights = [{level: aim.weights for level, aim in aims.items()} for aims in scales]
        for scale, aims in enumerate(scales):
            for level, aim in aims.items():
                self.register_buffer(f"mean_{scale}_{level}", aim.mean)
                self.register_buffer(f"halves_{scale}_{level}", aim.halves)
        self.swapping: list[str | None] = [None] * len(scales)
        for scale, some in enumerate(patches):
            if some is not None:
                self.swapping[scale] = swapped_level(self.levels[scale])
                self.register_buffer(f"patches_{scale}", some.values.half())  # they are rounded for all the same
                self.register_buffer(f"patch_mean_{scale}", some.mean)
        self.register_buffer("grain", strength * grain())

    def forward(self, photos: Images) -> Tensor:
        if len(self.levels) == 1:
            return self.painted(photos, 0)
        small = _resized(photos, *(self.smaller(length) for length in photos.shape[2:]))
        lost = photos - _resized(small, *photos.shape[2:])
        larger = _resized(self.painted(small, 0), *photos.shape[2:])
        return self.painted((larger + lost).clamp(-1, 1), 1)

    def smaller(self, length: Length) -> Length:
        """A side at the first of two scales."""
        some, whole = self.share
        return (2 * length * some + whole - 1) // (2 * whole)

    def painted(self, image: Images, scale: int) -> Tensor:
        """Level by level."""
        height, width = image.shape[2:]
        levels = self.levels[scale]
        stride = stride_of(levels[0])
        rows, columns = (torch.arange(length) % GRAIN_SIDE for length in (height, width))
        image = (image + self.grain.index_select(1, rows).index_select(2, columns)).clamp(-1, 1)
        for level in levels:
            whole = _around(image, 0, *(stride * ((length + stride - 1) // stride) for length in (height, width)))
            maps = self.network(whole)[level]
            moved = self.moved(maps, scale, level)
            if level == self.swapping[scale]:
                like = self.swapped(moved.relu(), scale)
                moved = moved.lerp(like, SWAPPINGS[level].share * self.strength)
                moved = self.moved(moved.relu(), scale, level)
            made = self.inverse.picture(moved.relu(), level)
            if self.strength < 1:  # what turning back alone would lose
                made = (made + (1 - self.strength) * (whole - self.inverse.picture(maps, level))).clamp(-1, 1)
            image = _around(made, 0, height, width)
        return image

    def moved(self, maps: Activations, scale: int, level: str) -> Tensor:
        """Activations with the mean and covariance of the styles: see `transport`, whose formulas these are."""
        flat = maps[0].flatten(1)  # [C, N]
        mean = flat.mean(1, keepdim=True)
        centred = flat - mean
        covariance = centred @ centred.T / flat.shape[1]
        eye, halves = torch.eye(len(covariance)), getattr(self, f"halves_{scale}_{level}")
        least = LEAST * covariance.diagonal().mean() + NOISE * flat.square().mean() + TINY
        covariance = covariance + least * eye
        matrix = (1 - self.strength) * eye
        for weight, half in zip(self.weights[scale][level], halves.unbind(0), strict=True):
            way = half @ inverse_root(half @ covariance @ half) @ half
            matrix = matrix + self.strength * weight * way
        aim = mean.lerp(getattr(self, f"mean_{scale}_{level}")[:, None], self.strength)
        return (matrix @ centred + aim).view(maps.shape)

    def swapped(self, maps: Activations, scale: int) -> Tensor:
        """As `swapping.swapped` does; comparing is a convolution, whose kernels are the style's patches."""
        height, width = maps.shape[2:]
        values, mean = getattr(self, f"patches_{scale}").float(), getattr(self, f"patch_mean_{scale}")
        high, wide = ((length + APART - 1) // APART for length in (height, width))
        seen = _around(maps, 1, APART * high + 1, APART * wide + 1)
        likeness = F.conv2d(seen - mean[:, None, None], directions(values, mean), stride=APART)
        chosen = values[likeness[0].argmax(0)]  # [high, wide, 9, C]
        down = _laid(chosen.unflatten(2, (SIDE, SIDE)).permute(2, 0, 1, 3, 4))  # [2 high, wide, 3, C]
        across = _laid(down.permute(2, 1, 0, 3))  # [2 wide, 2 high, C]
        return _around(across.permute(2, 1, 0)[None], 0, height, width)


def _laid(parts: Tensor) -> Tensor:
    """Overlapping patches along one side, [3, n, ...] -> [2n, ...]; where two meet, their mean.

    A patch has one place before its own, and one after, where the next one's first lies.
    """
    before, own, after = parts.unbind(0)
    following = torch.cat([before[1:], after[-1:]])
    return torch.stack([own, (after + following) / 2], 1).flatten(0, 1)


def _around(images: Tensor, before: int, height: Length, width: Length) -> Tensor:
    """[1, C, H, W] -> [1, C, height, width], begun so many places outside; what lies outside is like the edge."""
    for dim, length in ((2, height), (3, width)):
        places = (torch.arange(length) - before).clamp(0, images.shape[dim] - 1)
        images = images.index_select(dim, places)
    return images


def _resized(images: Images, height: Length, width: Length) -> Tensor:
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True)


def instant_network(subject: Subject, weights: Weights, most: int) -> InstantNetwork:
    """The network for a subject's styles, on the CPU.

    Args:
        subject: from `plan`, by a recipe that paints at once; its content is but a size to paint at.
        weights: VGG19's.
        most: patches of a scale at most; 0: none are swapped.
    """
    sizes = subject.sizes()[:2]
    learnt = [learnt_styles(subject, scale) for scale in range(len(sizes))]
    total = sum(style.weight for style in subject.styles)
    shares = [style.weight / total for style in subject.styles]
    scales = [
        {level: _aim([one.moments[level] for one in styles], shares) for level in styles[0].moments}
        for styles, _ in learnt
    ]
    share = (max(sizes[0]), max(sizes[-1]))
    patches = [_at_most(found, most) for _, found in learnt]
    made = InstantNetwork(weights, load_inverse(), scales, share, patches, subject.recipe.strength)
    return made.eval().requires_grad_(False)


def _at_most(patches: Patches | None, most: int) -> Patches | None:
    """Evenly fewer, so that each style keeps its share."""
    if patches is None or most >= len(patches.values):
        return patches
    chosen = torch.arange(most) * len(patches.values) // max(1, most)
    return Patches.of(patches.values[chosen]) if most else None


def _aim(learnt: Sequence[Moments], shares: Sequence[float]) -> Aim:
    found = [Moments(*(part.cpu().double() for part in one)) for one in learnt]
    mean = torch.stack([one.mean * share for one, share in zip(found, shares, strict=True)]).sum(0)
    halves = [root_of(one.covariance) for one in found]
    sizes = [float(torch.linalg.matrix_norm(half, 2)) for half in halves]
    units = torch.stack([half / size for half, size in zip(halves, sizes, strict=True)])
    return Aim(mean.float(), units.float(), [size * share for size, share in zip(sizes, shares, strict=True)])
