"""What `instant` knows of a style: its moments at each level, and some of its patches."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hasama.style.canvas.tiles import cut_up
from hasama.style.methods.moments import Moments
from hasama.style.methods.swapping import SWAPPINGS, middles, patches_at
from hasama.style.methods.targets import add_moments, masks_for, tile_moments
from hasama.style.subject import Style, Subject, check_something_is_left, style_for, within

BASE = 512
"""Pixels to a side, by area, up to which a style is made as large as the canvas, even if it has fewer."""


class Learnt(NamedTuple):
    """What a style has at each level.

    Attributes:
        moments: {level: ...}
        patches: some patches of the level at which they are swapped, in random order, [M, 9, C]; none without one.
    """

    moments: dict[str, Moments]
    patches: Tensor


@torch.no_grad()
def learnt(subject: Subject, style: Style, height: int, width: int, swapped_at: str | None) -> Learnt:
    """From a style's picture, made as large as the canvas by area, but not larger than it is."""
    high, wide = style.picture.size
    factor = min(1.0, math.sqrt(max(high * wide, BASE**2) / (height * width)))
    image, mask = style_for(subject, style, *within(height, width, round(factor * max(height, width))))
    size, levels = (image.shape[2], image.shape[3]), list(subject.recipe.style)
    masks = None if mask is None else masks_for(mask, levels)
    added: dict[str, Moments] = {}
    numbers, patches = [], []
    wanted = None if swapped_at is None else middles(swapped_at, size, None if masks is None else masks[swapped_at])
    for tile in cut_up(*size, subject.side, subject.network.layers, subject.network.name, between=True):
        features = subject.network(tile.cut(image))  # `between`, for patches reach beyond their tile
        add_moments(added, {level: tile_moments(tile, features[level], level, masks) for level in levels})
        if swapped_at is not None and wanted is not None:
            places, found = patches_at(wanted, tile, swapped_at, features[swapped_at].float())
            numbers.append(places)
            patches.append(found)
    check_something_is_left(added)
    if swapped_at is None:
        return Learnt(added, image.new_empty(0, 0, 0))
    ordered = torch.cat(patches)[torch.cat(numbers).argsort()]  # however the picture was cut up
    order = torch.randperm(len(ordered), generator=torch.Generator().manual_seed(subject.recipe.seed % 2**63))
    return Learnt(added, ordered[order.to(ordered.device)][: SWAPPINGS[swapped_at].most])
