"""The transforms of adaptive augmentation (ADA), which `augment` steers: Karras et al. 2020, appendix B."""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hasama.shapes import Images, Scalar
from hasama.shares import drawn
from hasama.training.augmentation.resample import REFLECTION, Placement, Vector, on_colours, sampled, vector

Mixture = Float[Tensor, "n 3 4"]
"""For each image the affine map from its colours to new ones."""


class Moves(NamedTuple):
    """ADA's moves, in the order in which they are made. Lengths are (x, y) in pixels."""

    mirrored: Vector  # 1 or -1
    quarters: Vector  # of a turn
    whole: Float[Tensor, "n 2"]
    zoom: Vector
    before: Vector  # radians
    stretch: Vector  # of x; y shrinks by as much
    after: Vector
    fraction: Float[Tensor, "n 2"]


class Tones(NamedTuple):
    """ADA's changes of colour, in the order in which they are made."""

    brightness: Vector
    contrast: Vector
    luma: Vector  # 1 or -1
    hue: Vector  # radians
    saturation: Vector


class Transforms(NamedTuple):
    """What ADA drew."""

    placement: Placement
    mixture: Mixture


def draw_transforms(images: Images, probability: Scalar) -> Transforms:
    """ADA's pipeline 'bgc', pixel blitting, geometry and colour: Karras et al. 2020, appendix B.

    Departure: pictures that are not square are turned by two quarters or by none, not by one.
    """
    (n, _, h, w), device = images.shape, images.device
    sides = vector(w, h, device=device)
    uniform = partial(drawn, partial(torch.rand, device=device))
    normal = partial(drawn, partial(torch.randn, device=device))

    def choice(of: int) -> Tensor:
        return drawn(lambda n: torch.randint(of, (n,), device=device), n)

    def maybe(value: Tensor, neutral: float, chance: Tensor = probability) -> Tensor:
        yes = uniform(n, *[1] * (value.ndim - 1)) < chance
        return torch.where(yes, value, neutral)

    either = 1 - (1 - probability).sqrt()  # for each of two rotations: at least one is made with probability p
    moves = Moves(
        mirrored=maybe(1.0 - 2 * choice(2), 1),
        quarters=maybe(1.0 * choice(4) if h == w else 2.0 * choice(2), 0),
        whole=maybe(((2 * uniform(n, 2) - 1) / 8 * sides).round(), 0),
        zoom=maybe(2 ** (0.2 * normal(n)), 1),
        before=maybe(math.pi * (2 * uniform(n) - 1), 0, either),
        stretch=maybe(2 ** (0.2 * normal(n)), 1),
        after=maybe(math.pi * (2 * uniform(n) - 1), 0, either),
        fraction=maybe(normal(n, 2) / 8 * sides, 0),
    )
    tones = Tones(
        brightness=maybe(0.2 * normal(n), 0),
        contrast=maybe(2 ** (0.5 * normal(n)), 1),
        luma=maybe(1.0 - 2 * choice(2), 1),
        hue=maybe(math.pi * (2 * uniform(n) - 1), 0),
        saturation=maybe(2 ** normal(n), 1),
    )
    return Transforms(placement(moves, (h, w)), mixture(tones))


def transform(images: Images, drawn: Transforms) -> Images:
    """Move, then recolour. Karras et al. 2020, appendix B.

    Departures: bilinear sampling, without the wavelets that they enlarge and filter by, so a shrunk picture may alias
    and a turned one is softer, reals and fakes alike; and the reflection is about the edge, not the last pixel.
    """
    unmoved = (drawn.placement == torch.eye(2, 3, device=images.device)).all(2).all(1)[:, None, None, None]
    images = torch.where(unmoved, images, sampled(images, drawn.placement, REFLECTION))  # those without rounding
    return on_colours(lambda colour: mix(colour, drawn.mixture.to(images.dtype)), images)


def mix(images: Images, mixing: Mixture) -> Images:
    """New colours by the maps. A grey picture is taken for red = green = blue, and shows the mean of the new ones."""
    if images.shape[1] == 1:
        mean = mixing.mean(1, keepdim=True)
        return images * mean[..., :3].sum(2)[..., None, None] + mean[..., 3:, None]
    return torch.baddbmm(mixing[..., 3:], mixing[..., :3], images.flatten(2)).view(images.shape)


def placement(moves: Moves, size: tuple[int, int]) -> Placement:
    """All moves of each picture as one map from new places to old: their inverses, the last move's first."""
    half = vector(size[1] / 2, size[0] / 2, device=moves.zoom.device)
    ones = torch.ones_like(moves.zoom)
    shape = product(turn(-moves.before), scale(1 / moves.stretch, moves.stretch), turn(-moves.after))
    shape = shape / moves.zoom[:, None, None]
    blit = product(scale(moves.mirrored, ones), turn(-moves.quarters * (math.pi / 2)).round())
    offset = product(shape, moves.fraction[:, :, None]) + moves.whole[:, :, None]
    linear, offset = product(blit, shape), -product(blit, offset)
    # from pixels to halves of sides only now: turning those would shear what is not square
    return torch.cat([linear * half / half[:, None], offset / half[:, None]], 2)


def mixture(tones: Tones) -> Mixture:
    """All changes of each picture's colours as one map.

    Flip of luma, hue and saturation leave the axis of greys in place, so they are a number on that axis and a scaled
    turn (Rodrigues) about it, and commute.
    """
    known = (tones.luma, tones.contrast, tones.saturation, tones.brightness)
    luma, contrast, saturation, brightness = (number[:, None, None] for number in known)
    eye = torch.eye(3, device=luma.device)
    cosine, sine = (saturation * f(tones.hue)[:, None, None] for f in (torch.cos, torch.sin))
    across = (eye.roll(1, 0) - eye.roll(-1, 0)) / math.sqrt(3)  # the cross product with (1, 1, 1) / sqrt 3
    linear = cosine * eye + (luma - cosine) / 3 + sine * across
    return contrast * torch.cat([linear, (luma * brightness).expand(-1, 3, 1)], 2)


def turn(angle: Vector) -> Float[Tensor, "n 2 2"]:
    """Rotations, x towards y."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)


def scale(x: Vector, y: Vector) -> Float[Tensor, "n 2 2"]:
    """Scalings along the axes."""
    return torch.diag_embed(torch.stack([x, y], 1))


def product(first: Tensor, *others: Tensor) -> Tensor:
    """The product of matrices. In sums, for GPUs round matrix products to fewer bits where they may."""
    for other in others:
        first = (first[..., None] * other[..., None, :, :]).sum(-2)
    return first
