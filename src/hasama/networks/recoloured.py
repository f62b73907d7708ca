"""The layers beside the picture of an r3gan, for another number of channels: grey, colours, colours with alpha.

A picture of one kind is a linear function of a picture of another: grey is three equal colours, colours have a grey,
what has no alpha is opaque. So are the layers that make or take a picture, and the networks go on as they were.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from hasama.shapes import LUMA

KINDS = {1, 3, 4}
MAKES = ("to_rgb.weight", "to_rgb.bias", "noise.strength.weight", "noise.strength.bias")
"""A generator's weights with a dimension for the picture's channels."""
TAKES = ("from_rgb.weight", "from_rgb.bias")
"""A discriminator's; the bias has none, but what is opaque is a constant."""


def as_kind(old: int, new: int) -> tuple[Tensor, Tensor]:
    """A picture of `old` channels as one of `new`: the matrix [new, old] and what is added [new].

    Args:
        old: 1, 3 or 4.
        new: the same.
    """
    colours = torch.eye(3) if old != 1 else torch.ones(3, 1)  # [3, old without alpha]
    if new == 1:
        colours = torch.tensor([LUMA]) @ colours
    matrix = torch.zeros(new, old)
    matrix[: len(colours), : colours.shape[1]] = colours
    offset = torch.zeros(new)
    if new == 4:
        if old == 4:
            matrix[3, 3] = 1
        else:
            offset[3] = 1  # opaque
    return matrix, offset


def recoloured(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], transposed: bool) -> dict[str, Tensor]:
    """A network's weights, with those beside the picture for as many channels as ours have.

    A generator makes the same pictures in grey, or in three equal colours, or opaque, or without their alpha; a
    discriminator sees pictures as they would have been in the other kind. (At the borders, where the convolution sees
    zeros beside the picture, what was opaque is a little clear to it.)

    Args:
        theirs: weights by name.
        ours: those of the network that they are for, whose shapes count.
        transposed: whether its pictures are made by a transposed convolution, whose weights are [in, out, ...].
    """
    found = dict(theirs)
    for name in MAKES:
        along = 1 if transposed and name == "to_rgb.weight" else 0
        if name in theirs and name in ours and _is_other(theirs[name].shape[along], ours[name].shape[along]):
            old = _exact(theirs[name])
            matrix, offset = (one.to(old) for one in as_kind(old.shape[along], ours[name].shape[along]))
            found[name] = (old.movedim(along, -1) @ matrix.T).movedim(-1, along)
            if name == "to_rgb.bias":
                found[name] = found[name] + offset
    weight, bias = TAKES
    if weight in theirs and weight in ours and _is_other(theirs[weight].shape[1], ours[weight].shape[1]):
        old = _exact(theirs[weight])
        matrix, offset = (one.to(old) for one in as_kind(ours[weight].shape[1], old.shape[1]))
        found[weight] = (old.movedim(1, -1) @ matrix).movedim(-1, 1)
        found[bias] = _exact(theirs[bias]) + old.sum((2, 3)) @ offset
    return found


def _is_other(old: int, new: int) -> bool:
    return old != new and {old, new} <= KINDS


def _exact(weights: Tensor) -> Tensor:
    """Half precision, as bases have it, in single."""
    return weights.to(torch.promote_types(weights.dtype, torch.float32))
