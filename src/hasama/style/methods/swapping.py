"""Features swapped for a style's own, patch by patch (Chen & Schmidt 2016, Fast Patch-based Style Transfer).

Moments say how much of what there is in a style, not how it lies side by side. So each patch of 3x3 activations is
replaced in part by the most similar one of the style; where patches overlap, their mean counts. As in Sheng et al.
2018 (Avatar-Net) this is done to features that have the style's moments already, so that all of the style comes to
its turn.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.shapes import Activations, Images
from hasama.style.canvas.tiles import Tile
from hasama.style.methods.targets import layer_size

SIDE, APART = 3, 2
"""Of a patch, and from one patch to the next: every second place is enough, and a fourth of the work."""
AT_ONCE = 2048
"""Patches that are compared at once."""


class Swapping(NamedTuple):
    """How patches are swapped at a level: by how much, and for one of how many."""

    share: float
    most: int


SWAPPINGS = {"relu3_1": Swapping(0.6, 4096), "relu2_1": Swapping(0.5, 512)}
"""Of a scale's levels the first of these is the one at which patches are swapped. Coarser ones hold whole things."""
LEAST_MASK = 0.5
"""Of a style's mask, from which a patch is learnt from."""
GRAIN, GRAIN_SIDE = 0.05, 256
"""The deviation of the noise that a canvas gets before it is painted, and after how many pixels it repeats itself.
Without it all places of a plain ground choose the same patch, which is a weave; with it there are strokes."""


class Patches(NamedTuple):
    """A style's patches.

    Attributes:
        values: [M, 9, C], the nine places row by row.
        mean: [C], what is taken off before directions are compared.
        keys: [M, C, 3, 3], the directions.
    """

    values: Tensor
    mean: Tensor
    keys: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Patches":
        """From the patches alone, [M, 9, C]."""
        mean = values.mean((0, 1))
        return cls(values, mean, directions(values, mean))


def directions(values: Tensor, mean: Tensor) -> Tensor:
    """[M, 9, C] -> [M, C, 3, 3] of length 1: the kernels of the convolution that compares."""
    return F.normalize((values - mean).flatten(1), dim=1).unflatten(1, (SIDE, SIDE, -1)).permute(0, 3, 1, 2)


def middles(level: str, size: tuple[int, int], mask: Tensor | None) -> Tensor:
    """[h, w]: middles of patches, evenly spread over a picture's level, somewhat more than are wanted."""
    good = torch.zeros(layer_size(level, *size), dtype=torch.bool)
    good[1:-1, 1:-1] = True
    if mask is not None:
        good &= (mask >= min(LEAST_MASK, float(mask.max()))).cpu()
    apart = max(1, math.isqrt(int(good.sum()) // SWAPPINGS[level].most))
    spread = torch.zeros_like(good)
    spread[apart // 2 :: apart, apart // 2 :: apart] = True
    return good & spread if (good & spread).any() else good


def patches_at(wanted: Tensor, tile: Tile, level: str, activations: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the places that are a tile's own, [N], and the patches there, [N, 9, C]."""
    own, window = tile.place(level, *wanted.shape), tile.seen(level)
    rows, columns = wanted[own].nonzero(as_tuple=True)
    rows, columns = rows + own[0].start, columns + own[1].start
    around = torch.arange(SIDE * SIDE)
    down = (rows - window[0].start)[:, None] + around // SIDE - 1
    across = (columns - window[1].start)[:, None] + around % SIDE - 1
    places = (down * activations.shape[3] + across).to(activations.device)
    return rows * wanted.shape[1] + columns, activations[0].flatten(1).T[places]


def swapped(activations: Activations, patches: Patches) -> Activations:
    """Every second patch replaced by the one of the style that points in the most similar direction."""
    height, width = activations.shape[2:]
    high, wide = (-(-length // APART) for length in (height, width))
    more = (1, APART * wide - width, 1, APART * high - height)
    asked = F.pad(activations - patches.mean[:, None, None], more, mode="replicate")
    rows = max(1, AT_ONCE // wide)
    parts = (asked[:, :, APART * top : APART * (top + rows) + 1] for top in range(0, high, rows))
    best = torch.cat([F.conv2d(part, patches.keys, stride=APART)[0].argmax(0) for part in parts])
    made = activations.new_zeros(asked.shape[2], asked.shape[3], activations.shape[1])
    for place, values in enumerate(patches.values.unbind(1)):
        down, across = place // SIDE, place % SIDE
        made[down : down + APART * high : APART, across : across + APART * wide : APART] += values[best]
    made /= _times(high, made.device)[:, None, None] * _times(wide, made.device)[:, None]
    return made[1 : 1 + height, 1 : 1 + width].permute(2, 0, 1)[None]


def _times(count: int, device: torch.device) -> Tensor:
    """In how many of so many patches in a row each place lies: 1 at the ends and in the middles, 2 where two meet."""
    times = torch.ones(APART * count + 1, device=device)
    times[APART:-1:APART] = 2
    return times


def swapped_level(levels: Sequence[str]) -> str | None:
    """The one of a scale's levels at which patches are swapped; None if they are swapped at none."""
    return next((level for level in SWAPPINGS if level in levels), None)


def grain() -> Tensor:
    """[3, side, side]: always the same noise."""
    return GRAIN * torch.randn(3, GRAIN_SIDE, GRAIN_SIDE, generator=torch.Generator().manual_seed(0))


def with_grain(image: Images, strength: float) -> Images:
    """A canvas with noise."""
    height, width = image.shape[2:]
    times = (1, -(-height // GRAIN_SIDE), -(-width // GRAIN_SIDE))
    return (image + strength * grain().to(image.device).repeat(times)[:, :height, :width]).clamp(-1, 1)
