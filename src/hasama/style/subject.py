"""What is painted: content image, style images and recipe, and the objective that they make at each size."""

import math
from typing import NamedTuple

import torch

from hasama.device import gains_by_bf16
from hasama.errors import HasamaError
from hasama.perception.vgg import VGG, Weights
from hasama.shapes import Images, Weighting
from hasama.style.canvas.canvas import noise
from hasama.style.canvas.colour import colours_of, in_grey, recoloured, relit, with_luminance
from hasama.style.canvas.pictures import Picture, fitted_mask, to_canvas, to_output
from hasama.style.canvas.tiles import cut_up
from hasama.style.methods.losses import STYLE_LOSSES, Distance, from_nothing
from hasama.style.methods.moments import Moments, blend
from hasama.style.methods.objective import Objective, Region, TemporalTarget
from hasama.style.methods.targets import activations_of, masks_for, style_moments
from hasama.style.recipe import StyleRecipe, scale_sides

COLOUR_SIDE = 512
"""Pixels of the longer side from which a picture's colours are taken."""


LEAST_COUNT = 1e-3
"""Of a mask's weights in a layer: what is below covers nothing."""


class Style(NamedTuple):
    """A picture to learn from, how much it counts, and where."""

    picture: Picture
    weight: float = 1.0
    """Relative to the other styles."""
    mask: Weighting | None = None
    """Which part of this picture is learnt from: [H, W] of any size, 0 to 1."""
    where: Weighting | None = None
    """Where on the canvas it is painted."""
    name: str = ""
    """What messages call it."""


class Subject(NamedTuple):
    """What is painted: everything that stays the same from scale to scale."""

    content: Picture
    styles: list[Style]
    recipe: StyleRecipe
    network: VGG
    """Cut after the last layer that the recipe uses."""
    device: torch.device
    side: int
    """Of the largest window that goes through the network at once, in pixels."""
    start: Picture | None = None
    """A picture to begin with, where the recipe names one."""
    start_image: Images | None = None
    """Films: the canvas to begin with, at its full size."""
    temporal_target: TemporalTarget | None = None
    """Films: the last painting, to which this one is held."""

    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) from the coarsest scale to the finest."""
        height, width = self.content.size
        largest = self.recipe.size or max(height, width)
        smallest = largest if self.temporal_target else self.recipe.smallest
        return [_within(height, width, side) for side in scale_sides(min(smallest, largest), largest)]


def _within(height: int, width: int, side: int) -> tuple[int, int]:
    """The same shape with this longer side."""
    factor = side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


# --- what is painted ------------------------------------------------------------------------------


def network_for(recipe: StyleRecipe, weights: Weights, device: torch.device) -> VGG:
    """The network whose features the recipe compares, on the device.

    Its numbers are bfloat16 where the recipe says so or, left to itself, where the machine gains by it. Moments,
    losses and the canvas are float32 either way.

    Raises:
        HasamaError: it has no such layer.
    """
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and gains_by_bf16(device))
    precision = torch.bfloat16 if bf16 else torch.float32
    return VGG(weights, used_layers(recipe), recipe.pooling, recipe.border, precision).to(device)


def used_layers(recipe: StyleRecipe) -> tuple[str, ...]:
    """The layers whose weight is not nothing."""
    content = recipe.content if recipe.content_weight else {}
    style = recipe.style if recipe.style_weight else {}
    return tuple(dict.fromkeys([*content, *style]))


def first_image(subject: Subject, height: int, width: int) -> Images:
    """What the canvas starts from: [1, 3, height, width] on the device."""
    recipe = subject.recipe
    if subject.start_image is not None:
        image = subject.start_image
    elif subject.start is not None:
        image = to_canvas(subject.start, height, width)
    elif recipe.start == "noise":
        image = noise(height, width, recipe.seed)
    elif recipe.start == "style":
        image = style_image(subject, subject.styles[0], height, width)
    else:
        image = content_image(subject, height, width)
    return (in_grey(image) if recipe.keep_colour == "luminance" else image).to(subject.device)


def content_image(subject: Subject, height: int, width: int) -> Images:
    """The content at one scale, in grey if only luminance is painted."""
    image = to_canvas(subject.content, height, width)
    return in_grey(image) if subject.recipe.keep_colour == "luminance" else image


def style_image(subject: Subject, style: Style, height: int, width: int) -> Images:
    """A style picture at some size, in the content's colours or in grey if those are to be kept."""
    image = to_canvas(style.picture, height, width)
    if subject.recipe.keep_colour == "no":
        return image
    own = colours_of(to_canvas(style.picture, *_within(*style.picture.size, COLOUR_SIDE)))
    wanted = colours_of(to_canvas(subject.content, *_within(*subject.content.size, COLOUR_SIDE)))
    if subject.recipe.keep_colour == "histogram":
        return recoloured(image, own, wanted)
    return relit(image, own, wanted)


def objective_for(subject: Subject, height: int, width: int) -> Objective:
    """All that the loss of a canvas of this size is made of: content, styles, smoothness, the last picture."""
    recipe, network, device = subject.recipe, subject.network, subject.device
    tiles = cut_up(height, width, subject.side, network.layers, network.name)
    content = {}
    if recipe.content_weight:
        image = content_image(subject, height, width).to(device)
        wanted = activations_of(network, tiles, image, list(recipe.content))
        for layer, share in recipe.content.items():
            empty = float(wanted[layer].float().square().mean()) if recipe.balance else 1.0
            content[layer] = (recipe.content_weight * share / (empty or 1.0), wanted[layer])
    regions = regions_for(subject, height, width) if recipe.style_weight else []
    return Objective(network, tiles, content, regions, recipe.tv_weight, subject.temporal_target)


def regions_for(subject: Subject, height: int, width: int) -> list[Region]:
    """One for all the styles that go everywhere, and one for each that has its own place.

    A region counts by its area, so that a style is as strong in its place as it would be everywhere.
    """
    recipe = subject.recipe
    shown = [style for style in subject.styles if style.where is None or float(style.where.max())]
    everywhere = [style for style in shown if style.where is None]
    groups = ([everywhere] if everywhere else []) + [[style] for style in shown if style.where is not None]
    usual = sum(style.weight for style in shown) / max(1, len(shown))
    regions = []
    for group in groups:
        masks, area = None, 1.0
        if group[0].where is not None:
            where = fitted_mask(group[0].where, height, width)
            masks = {layer: mask.to(subject.device) for layer, mask in masks_for(where, list(recipe.style)).items()}
            area = min(float(mask.mean()) for mask in masks.values())
            if any(float(mask.sum()) < LEAST_COUNT for mask in masks.values()):
                continue  # it covers nothing at this scale
        strength = area * sum(style.weight for style in group) / len(group) / usual
        regions.append(Region(distances_for(subject, group, strength, height, width), masks))
    return regions


def distances_for(
    subject: Subject, group: list[Style], strength: float, height: int, width: int
) -> dict[str, tuple[float, Distance]]:
    """{layer: (weight, distance from the mixture of these styles)}"""
    recipe = subject.recipe
    learnt = [moments_for(subject, style, height, width) for style in group]
    targets = {
        layer: blend([found[layer] for found in learnt], [style.weight for style in group]) for layer in recipe.style
    }
    distances = {layer: STYLE_LOSSES[recipe.style_loss](target) for layer, target in targets.items()}
    empty = 1.0
    if recipe.balance:
        empty = sum(share * from_nothing(distances[layer], targets[layer]) for layer, share in recipe.style.items())
    weight = recipe.style_weight * strength / (empty or 1.0)
    return {layer: (weight * share, distances[layer]) for layer, share in recipe.style.items()}


def moments_for(subject: Subject, style: Style, height: int, width: int) -> dict[str, Moments]:
    """What is to be learnt from a style picture, made as large as the canvas by area."""
    layers = list(subject.recipe.style)
    high, wide = style.picture.size
    factor = math.sqrt(height * width / (high * wide)) * subject.recipe.style_scale
    high, wide = max(1, round(high * factor)), max(1, round(wide * factor))
    image = style_image(subject, style, high, wide).to(subject.device)
    mask = None if style.mask is None else fitted_mask(style.mask, high, wide).to(subject.device)
    tiles = cut_up(high, wide, subject.side, subject.network.layers, subject.network.name)
    found = style_moments(subject.network, tiles, image, layers, mask)
    if any(float(part.mass) < LEAST_COUNT for part in found.values()):
        raise HasamaError("A style's mask is (nearly) black everywhere: there is nothing left to learn from.")
    return found


def finished(subject: Subject, image: torch.Tensor, sixteen_bits: bool) -> Picture:
    """A canvas as the picture that people get.

    The content's colours are put back if asked; where no style goes, the content stands as it was; alpha and profile
    are the content's.
    """
    image, (height, width) = image.cpu(), (image.shape[2], image.shape[3])
    if subject.recipe.keep_colour == "luminance":
        image = with_luminance(to_canvas(subject.content, height, width), image)
    places = [style.where for style in subject.styles if style.where is not None]
    if len(places) == len(subject.styles):
        painted = torch.stack([fitted_mask(place, height, width) for place in places]).sum(0).clamp_(max=1)
        image = to_canvas(subject.content, height, width).lerp_(image, painted)
    return to_output(image, subject.content, sixteen_bits)
