"""What augmentations share: linear maps that move pictures, and a way to recolour them without their alpha."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hasama.shapes import Images, Views, each, largest

Vector = Float[Tensor, " n"]
Whole = Int[Tensor, "n 2"]
Placement = Float[Tensor, "n 2 3"]
"""For each image the affine map from a place in the new picture to the place in the old one that is shown there.

Places are (x, y) from -1 to 1, from edge to edge: the same numbers for every level of a pyramid."""

ZEROS, REFLECTION = 0, 2  # torch's numbers for what lies beyond the edges


class Sampled(torch.autograd.Function):
    """Pictures sampled bilinearly at given places, differentiable in the pictures as often as one likes.

    torch's grid_sample can be differentiated once only, too little for R1. But at fixed places it is a linear map:
    its derivative is the transposed map (every value is added to the pixels that it would have been sampled from),
    and the derivative of that is the map itself.
    """

    @staticmethod
    def forward(ctx: Any, images: Images, grid: Float[Tensor, "n h w 2"], beyond: int, transposed: bool) -> Images:
        ctx.save_for_backward(grid)
        ctx.beyond, ctx.transposed = beyond, transposed
        images = images.contiguous()  # twice as fast on gradients that come channels-last
        if not transposed:
            return torch.ops.aten.grid_sampler_2d(images, grid, 0, beyond, False)
        if torch.are_deterministic_algorithms_enabled():
            return spread(images, grid, beyond)
        # given twice: the second time for the pictures' shape; their values only count in the grid's gradient
        return torch.ops.aten.grid_sampler_2d_backward(images, images, grid, 0, beyond, False, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Sampled.apply(gradients[0], *ctx.saved_tensors, ctx.beyond, not ctx.transposed), None, None, None


def spread(images: Images, grid: Float[Tensor, "n h w 2"], beyond: int) -> Images:
    """The transpose of sampling, as `Sampled` has it, by an operation that has an exact form on a graphics card.

    torch's own adds values in any order there. The arithmetic of places is torch's (`grid_sample` without
    `align_corners`): pixel k reaches from k to k + 1, and a place is between the middles of four.
    """
    flat = images.flatten(2)
    sides = []
    for side, places in zip(reversed(images.shape[2:]), grid.flatten(1, 2).unbind(-1), strict=True):
        at = (places + 1) * side / 2  # from edge to edge: 0 to the side
        if beyond == REFLECTION:
            folded = at.abs().fmod(2 * side)
            at = (torch.where(folded > side, 2 * side - folded, folded) - 0.5).clamp(0, side - 1)
        else:
            at = at - 0.5
        first = at.floor()
        sides.append([(first, 1 + first - at), (first + 1, at - first)])
    h, w = images.shape[2:]
    summed = torch.zeros_like(flat)
    for (x, of_x), (y, of_y) in itertools.product(*sides):
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        weights = (of_x * of_y * inside)[:, None]
        pixels = (y.clamp(0, h - 1) * w + x.clamp(0, w - 1)).long()[:, None].expand_as(flat)
        summed.scatter_add_(2, pixels, flat * weights)
    return summed.view(images.shape)


class Shifted(torch.autograd.Function):
    """Pictures moved down and right by whole pixels; zeros come in. Three times as fast as `Sampled`.

    The transpose of a move is the move back.
    """

    @staticmethod
    def forward(ctx: Any, images: Images, by: Whole) -> Images:
        ctx.save_for_backward(by)
        h, w = images.shape[2:]
        # in a picture with one more pixel of zeros all around, whatever lies further away is taken from there
        rows = (torch.arange(1, h + 1, device=by.device) - by[:, :1]).clamp(0, h + 1)
        columns = (torch.arange(1, w + 1, device=by.device) - by[:, 1:]).clamp(0, w + 1)
        places = (rows[:, :, None] * (w + 2) + columns[:, None]).flatten(1)[:, None]
        framed = nn.functional.pad(images, (1, 1, 1, 1)).contiguous().flatten(2)
        return framed.gather(2, places.expand(-1, images.shape[1], -1)).view(images.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Shifted.apply(gradients[0], -ctx.saved_tensors[0]), None


def sampled(images: Images, placement: Placement, beyond: int) -> Images:
    """The pictures as placed. Exact for whole pixels of pictures whose sides are powers of two, else to rounding."""
    h, w = images.shape[2:]
    across, down, at = placement.to(images.dtype)[..., None].unbind(2)  # [N, 2, 1] each: the matrix's columns
    x, y = ((2 * torch.arange(side, device=images.device, dtype=images.dtype) + 1) / side - 1 for side in (w, h))
    grid = ((y * down + at)[..., None] + (x * across)[:, :, None]).permute(0, 2, 3, 1)  # [N, H, W, 2]
    return Sampled.apply(images, grid, beyond, False)  # pyright: ignore[reportReturnType]


def moved(images: Views, most: int) -> Views:
    """All pictures moved alike, down and right by 0 to `most` pixels drawn at random; the edge is repeated.

    A coarser level of a pyramid is moved by the same part of its side, rounded down.

    A discriminator that strides treats even and odd pixels differently, and so does its gradient: where it always
    sees a picture at the same place, the generator learns a grain of two pixels (Odena et al. 2016, "Deconvolution
    and Checkerboard Artifacts", on gradients). Moved about, no pixel is special.
    """
    if not most:
        return images
    device, whole = largest(images).device, largest(images).shape[2:]
    offsets = torch.randint(0, most + 1, (2, 1), device=device)

    def shifted(level: Images) -> Images:
        rows, columns = (
            (torch.arange(side, device=device) - by * side // most_of).clamp_min(0)
            for side, by, most_of in zip(level.shape[2:], offsets, whole, strict=True)
        )
        rows_first = level.permute(0, 2, 3, 1)  # so that what comes out has the channels-last layout
        return rows_first.index_select(1, rows).index_select(2, columns).permute(0, 3, 1, 2)

    return each(shifted, images)


def vector(*numbers: float, device: torch.device) -> Tensor:
    """These numbers, made on the device: a copy from the host would have to be waited for."""
    return torch.stack([torch.full((), number, device=device) for number in numbers])


def on_colours(function: Callable[[Images], Images], images: Images) -> Images:
    """Recolour pictures, but not their alpha, the channel beyond grey or RGB."""
    count = 3 if images.shape[1] >= 3 else 1
    colour = function(images[:, :count])
    return torch.cat([colour, images[:, count:]], 1) if images.shape[1] > count else colour
