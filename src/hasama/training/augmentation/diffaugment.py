"""DiffAugment: colour, translation and cutout. Zhao et al. 2020, section 3."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hasama.shapes import Images, Scalar
from hasama.shares import drawn
from hasama.training.augmentation.resample import ZEROS, Shifted, Vector, Whole, on_colours, sampled, vector


class Changes(NamedTuple):
    """What DiffAugment drew. `shift` and `hole` (its upper left corner) are down and right, in pixels of `size`."""

    brightness: Vector
    saturation: Vector
    contrast: Vector
    shift: Whole
    hole: Whole
    size: tuple[int, int]


def draw_changes(images: Images, probability: Scalar) -> Changes:
    """The ranges of Zhao et al. 2020, section 3, and of their code: every picture is changed, whatever p."""
    (n, _, h, w), device = images.shape, images.device

    def within(low: int, high: int) -> Tensor:
        return drawn(lambda n: torch.randint(low, high + 1, (n,), device=device), n)

    brightness, saturation, contrast = drawn(lambda n: torch.rand(3, n, device=device).T, n).T
    shift = [within(-(side // 8), side // 8) for side in (h, w)]
    hole = [within(0, side - side // 2 % 2) - side // 4 for side in (h, w)]  # its middle is anywhere in the picture
    return Changes(
        brightness - 0.5, 2 * saturation, contrast + 0.5, torch.stack(shift, 1), torch.stack(hole, 1), (h, w)
    )


def change(images: Images, drawn: Changes) -> Images:
    """DiffAugment's policy color, translation, cutout: Zhao et al. 2020, section 3.

    As in their code zeros, a middle grey, come in and fill the hole; here in alpha too. A coarser level is moved by
    the same part of its side, which may be a fraction of its pixels, and its mask is the box-downsampled mask. So
    where shift and hole fall between its pixels, it is the box-downsampled picture; elsewhere nearly so.
    """
    images = on_colours(lambda colour: tinge(colour, drawn), images)
    sides = (images.shape[2], images.shape[3])
    if sides == drawn.size:
        images = Shifted.apply(images, drawn.shift)  # pyright: ignore[reportAssignmentType]
    else:
        back = (-2 * drawn.shift / vector(*drawn.size, device=images.device)).flip(1)[:, :, None]
        eye = torch.eye(2, device=images.device).expand(len(images), 2, 2)
        images = sampled(images, torch.cat([eye, back], 2), ZEROS)
    rows, columns = (cover(drawn.hole[:, i], drawn.size[i], sides[i], images) for i in (0, 1))
    return images * (1 - rows[:, None, :, None] * columns[:, None, None])


def tinge(images: Images, drawn: Changes) -> Images:
    """Brightness added, saturation about each pixel's mean, contrast about each picture's, gathered into one sum."""
    known = (drawn.brightness, drawn.saturation, drawn.contrast)
    brightness, saturation, contrast = (number.to(images.dtype)[:, None, None, None] for number in known)
    grey = images.mean(1, keepdim=True)
    middle = grey.mean((2, 3), keepdim=True)  # of the picture; saturation does not change it
    base = (contrast - contrast * saturation) * grey + ((1 - contrast) * middle + brightness)
    return torch.addcmul(base, images, contrast * saturation)


def cover(start: Int[Tensor, " n"], whole: int, side: int, like: Images) -> Float[Tensor, "n side"]:
    """How much of each of the `side` pixels lies in a hole that is half as long as the picture."""
    first, last = (edge.to(like.dtype)[:, None] * (side / whole) for edge in (start, start + whole // 2))
    pixel = torch.arange(side, device=like.device)
    return (torch.minimum(last, pixel + 1) - torch.maximum(first, pixel)).clamp(min=0)
