"""Features swapped for a style's own, patch by patch (Chen & Schmidt 2016, Fast Patch-based Style Transfer).

Moments say how much of what there is in a style, not how it lies side by side. So each patch of 3x3 activations is
replaced in part by the most similar one of the style; where patches overlap, their mean counts. As in Sheng et al.
2018 (Avatar-Net) this is done to features that have the style's moments already, so that all of the style comes to
its turn.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.shapes import Activations

SIDE, APART = 3, 2
"""Of a patch, and from one patch to the next: every second place is enough, and a fourth of the work."""
AT_ONCE = 2048
"""Patches that are compared at once."""


class Patches(NamedTuple):
    """A style's patches.

    Attributes:
        values: [M, C * 9]
        mean: [C * 9], what is taken off before directions are compared.
        keys: [C * 9, M], the directions.
    """

    values: Tensor
    mean: Tensor
    keys: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Patches":
        """From the patches alone, [M, C * 9]."""
        channels = values.view(len(values), -1, SIDE * SIDE).mean((0, 2))
        mean = channels.repeat_interleave(SIDE * SIDE)
        return cls(values, mean, F.normalize(values - mean, dim=1).T.contiguous())


def patches_in(activations: Activations) -> Tensor:
    """All patches that lie within, [N, C * 9]; none if there is no room for one."""
    if min(activations.shape[2:]) < SIDE:
        return activations.new_empty(0, activations.shape[1] * SIDE * SIDE)
    return F.unfold(activations, SIDE)[0].T


def swapped(activations: Activations, patches: Patches) -> Activations:
    """Every second patch replaced by the one of the style that points in the most similar direction."""
    height, width = activations.shape[2:]
    more = [(-length) % APART for length in (height, width)]
    padded = F.pad(activations, (1, 1 + more[1], 1, 1 + more[0]), mode="replicate")
    asked = F.unfold(padded, SIDE, stride=APART)[0].T - patches.mean
    best = torch.cat([(part @ patches.keys).argmax(1) for part in asked.split(AT_ONCE)])
    size = (padded.shape[2], padded.shape[3])
    whole = F.fold(patches.values[best].T[None], size, SIDE, stride=APART)
    count = F.fold(torch.ones_like(asked[:, : SIDE * SIDE]).T[None], size, SIDE, stride=APART)
    made = whole / count.clamp_min(1)
    return made[:, :, 1 : 1 + height, 1 : 1 + width]
