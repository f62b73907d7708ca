"""Augmentation of everything that the discriminator sees: DiffAugment and adaptive augmentation (ADA).

With few pictures a discriminator learns them by heart. Seeing them shifted, recoloured and cut, it cannot; and as
the fakes pass through the same transforms, the generator need not learn these. Zhao et al. 2020, section 3.2, eq. 4
and 5; Karras et al. 2020 ('Training generative adversarial networks with limited data'), section 2.1.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hasama.shapes import Images, Labels, Scalar, Views, each, largest

Vector = Float[Tensor, " n"]
Whole = Int[Tensor, "n 2"]
Placement = Float[Tensor, "n 2 3"]
"""For each image the affine map from a place in the new picture to the place in the old one that is shown there.

Places are (x, y) from -1 to 1, from edge to edge: the same numbers for every level of a pyramid."""

Mixture = Float[Tensor, "n 3 4"]
"""For each image the affine map from its colours to new ones."""

ZEROS, REFLECTION = 0, 2  # torch's numbers for what lies beyond the edges
STEPS = 4  # Karras et al. 2020, section 3: p moves once in four steps


class Augment(NamedTuple):
    """A family of random transforms.

    Attributes:
        draw: (the largest pictures, p) -> random numbers for each picture; they serve every level of a pyramid.
        apply: (pictures of one level, what was drawn) -> pictures, linear or affine in them.
        target: the share r_t that ADA steers to; None if p is 1 and stays.
        images: within how many images p could go from 0 to 1.
    """

    draw: Callable[[Images, Scalar], Any]
    apply: Callable[[Images, Any], Images]
    target: float | None = None
    images: float = 100_000


class Augmented(nn.Module):
    """A discriminator that sees everything, reals and fakes, through random transforms; in evaluation too.

    Penalties differentiate by the pictures before the transforms.
    """

    probability: Tensor
    leaning: Tensor
    shown: Tensor
    steps: Tensor

    def __init__(self, discriminator: nn.Module, augment: Augment) -> None:
        super().__init__()
        self.discriminator, self.augment = discriminator, augment
        self.register_buffer("probability", torch.tensor(1.0 if augment.target is None else 0.0))
        for running in ("leaning", "shown", "steps"):  # sums since p last moved; in buffers, to resume exactly
            self.register_buffer(running, torch.tensor(0.0))

    def forward(self, views: Views, labels: Labels | None = None) -> Tensor:
        """Logits of pictures, or of pyramids; one draw of transforms for all levels."""
        top = largest(views)
        with torch.autocast(top.device.type, enabled=False):  # places need more than bfloat16's 8 bits
            drawn = self.augment.draw(top, self.probability)
            views = each(lambda level: self.augment.apply(precise(level), drawn).to(level.dtype), views)
        return self.discriminator(views) if labels is None else self.discriminator(views, labels)

    @torch.no_grad()
    def adapt(self, right: Scalar, count: int) -> None:
        """Augment more if the discriminator is too sure of the reals, else less: Karras et al. 2020, section 3.

        The heuristic of overfitting is r_t = E[sign(D(x))] over the reals x of four steps (eq. 1). Departure: p stops
        at 1; theirs may go beyond, where it means no more. This never waits for the device.

        Args:
            right: the share of this step's reals that the discriminator took for real.
            count: how many reals those were.
        """
        if self.augment.target is None:
            return
        self.leaning += 2 * right.to(self.leaning) - 1
        self.shown += count
        self.steps += 1
        due = self.steps >= STEPS
        move = torch.sign(self.leaning / self.steps - self.augment.target) * self.shown / self.augment.images
        self.probability.copy_((self.probability + due * move).clamp(0, 1))
        for running in (self.leaning, self.shown, self.steps):
            running *= ~due


def augmented(discriminator: nn.Module, name: str, target: float = 0.6, images: float = 100_000) -> nn.Module:
    """The discriminator behind the transforms of that name in `AUGMENTS`; itself for 'none'.

    Args:
        discriminator: logits of pictures, or of pyramids.
        name: which transforms.
        target: ADA's r_t, Karras et al. 2020, section 3.
        images: within how many images ADA's p could go from 0 to 1. Theirs is 500,000; people's runs are shorter.
    """
    augment = AUGMENTS[name]
    if augment is None:
        return discriminator
    if augment.target is not None:
        augment = augment._replace(target=target, images=images)
    return Augmented(discriminator, augment)


def precise(images: Images) -> Images:
    """At least float32, and row by row: twice as fast here as the channels-last layout that convolutions prefer."""
    return (images if images.dtype == torch.float64 else images.float()).contiguous()


def on_colours(function: Callable[[Images], Images], images: Images) -> Images:
    """Recolour pictures, but not their alpha, the channel beyond grey or RGB."""
    count = 3 if images.shape[1] >= 3 else 1
    colour = function(images[:, :count])
    return torch.cat([colour, images[:, count:]], 1) if images.shape[1] > count else colour


# --- moving pictures: linear maps, and so their own derivatives -----------------------------------


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
        # given twice: the second time for the pictures' shape; their values only count in the grid's gradient
        return torch.ops.aten.grid_sampler_2d_backward(images, images, grid, 0, beyond, False, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return Sampled.apply(gradients[0], *ctx.saved_tensors, ctx.beyond, not ctx.transposed), None, None, None


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


# --- DiffAugment ----------------------------------------------------------------------------------


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
        return torch.randint(low, high + 1, (n,), device=device)

    brightness, saturation, contrast = torch.rand(3, n, device=device)
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
        back = (-2 * drawn.shift / torch.tensor(drawn.size, device=images.device)).flip(1)[:, :, None]
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


# --- adaptive augmentation ------------------------------------------------------------------------


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
    sides = torch.tensor([w, h], device=device)
    uniform = partial(torch.rand, device=device)
    normal = partial(torch.randn, device=device)
    choice = partial(torch.randint, size=(n,), device=device)

    def maybe(value: Tensor, neutral: float, chance: Tensor = probability) -> Tensor:
        yes = torch.rand(n, *[1] * (value.ndim - 1), device=device) < chance
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
    half = torch.tensor([size[1] / 2, size[0] / 2], device=moves.zoom.device)
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


AUGMENTS: dict[str, Augment | None] = {
    "none": None,
    "diffaugment": Augment(draw_changes, change),
    "ada": Augment(draw_transforms, transform, target=0.6),
}
