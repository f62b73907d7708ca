"""What is painted: content image, style images and recipe, and the objective that they make at each size."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from hasama.device import pick_precision
from hasama.errors import HasamaError
from hasama.perception.inverse import Inverse
from hasama.perception.vgg import VGG, Weights
from hasama.shapes import Images, Weighting
from hasama.style.canvas.canvas import noise
from hasama.style.canvas.colour import colours_of, in_grey, recoloured, relit
from hasama.style.canvas.pictures import Picture, fitted_mask, opacity, to_canvas
from hasama.style.canvas.tiles import Tile, cut_up
from hasama.style.methods.losses import STYLE_LOSSES, Distance, from_nothing
from hasama.style.methods.matching import GRID, Columns, Split
from hasama.style.methods.moments import Moments, blend
from hasama.style.methods.objective import Objective, Region, TemporalTarget
from hasama.style.methods.similarity import SelfSimilarity
from hasama.style.methods.swapping import Patches
from hasama.style.methods.targets import Masks, activations_of, masks_for, style_moments
from hasama.style.methods.transport import Move
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


Matches = Callable[[list[Style], float, Masks | None], Columns | Split]
"""The styles of one place, how much they count, and their masks -> what compares them with the canvas."""


class Hand(NamedTuple):
    """What paints at once (`instant`)."""

    networks: dict[str, VGG]
    """{level: cut after it}"""
    inverse: Inverse
    """Turns features back."""


class Maps(NamedTuple):
    """What `instant` does to a picture at one scale."""

    moves: dict[str, list[list[Move]]]
    """{level: in each round, for each place of the picture, its map}"""
    patches: list[Patches | None]
    """For each place those of its styles."""


Places = list[tuple[list[Style], float, Masks | None]]
"""Styles that go to the same place, how much they count, and where: a mask for each layer; None: everywhere."""


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
    hand: Hand | None = None
    """Where something is painted at once."""
    maps: Sequence[Maps] | None = None
    """Films painted at once: what all pictures share, for each scale."""

    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) from the coarsest scale to the finest; `neighbour` goes over the finest once more."""
        height, width = self.content.size
        largest = self.recipe.size or max(height, width)
        smallest = largest if self.temporal_target else self.recipe.smallest
        sides = scale_sides(min(smallest, largest), largest, self.recipe.scale_step)
        again = [largest] if self.recipe.by_place and self.recipe.style_weight else []
        return [within(height, width, side) for side in [*sides, *again]]

    def tiles(self, height: int, width: int) -> list[Tile]:
        """The windows in which a picture of this size goes through the network."""
        return cut_up(height, width, self.side, self.network.layers, self.network.name, self.recipe.by_place)


def within(height: int, width: int, side: int) -> tuple[int, int]:
    """The same shape with this longer side."""
    factor = side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


# --- what is painted ------------------------------------------------------------------------------


def network_for(recipe: StyleRecipe, weights: Weights, device: torch.device, quick: bool = True) -> VGG:
    """The network whose features the recipe compares, on the device.

    Its numbers are bfloat16 where the recipe says so or, left to itself, where the machine gains by it. Moments,
    losses and the canvas are float32 either way. `quick` is told of at `VGG`.

    Raises:
        HasamaError: it has no such layer.
    """
    precision = pick_precision(recipe.precision, device)
    return VGG(weights, used_layers(recipe), recipe.pooling, recipe.border, precision, quick).to(device)


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
    image = image if subject.start_image is not None else with_start_noise(subject, image)
    return (in_grey(image) if recipe.keep_colour == "luminance" else image).to(subject.device)


def with_start_noise(subject: Subject, image: Images) -> Images:
    """What a canvas starts from, as far on the way to noise as was asked for."""
    recipe = subject.recipe
    if not recipe.start_noise:
        return image
    return image.lerp(noise(image.shape[2], image.shape[3], recipe.seed).to(image), recipe.start_noise)


def content_image(subject: Subject, height: int, width: int) -> Images:
    """The content at one scale, in grey if only luminance is painted."""
    image = to_canvas(subject.content, height, width)
    return in_grey(image) if subject.recipe.keep_colour == "luminance" else image


def style_image(subject: Subject, style: Style, height: int, width: int) -> Images:
    """A style picture at some size, in the content's colours or in grey if those are to be kept."""
    image = to_canvas(style.picture, height, width)
    if subject.recipe.keep_colour == "no":
        return image
    own = colours_of(*small_style(style))
    wanted = colours_of(*small_style(Style(subject.content)))
    if subject.recipe.keep_colour == "histogram":
        return recoloured(image, own, wanted)
    return relit(image, own, wanted)


def small_style(style: Style) -> tuple[Images, Weighting | None]:
    """A style picture as small as its colours need, and how much each place counts: none where nothing is seen."""
    size = within(*style.picture.size, COLOUR_SIDE)
    counts = None if style.mask is None else fitted_mask(style.mask, *size)
    seen = opacity(style.picture, *size)
    if seen is not None and seen.any():
        counts = seen if counts is None or not (seen * counts).any() else seen * counts
    return to_canvas(style.picture, *size), counts


def objective_for(subject: Subject, height: int, width: int, matches: Matches | None = None) -> Objective:
    """All that the loss of a canvas of this size is made of: content, styles, smoothness, the last picture.

    Args:
        subject: what is painted.
        height: of the canvas.
        width: likewise.
        matches: where styles are compared place by place: makes that part of it.
    """
    recipe, network, device = subject.recipe, subject.network, subject.device
    tiles = subject.tiles(height, width)
    content, likeness = {}, {}
    if recipe.content_weight:
        image = content_image(subject, height, width).to(device)
        wanted = activations_of(network, tiles, image, list(recipe.content))
        for layer, share in recipe.content.items():
            if recipe.content_loss == "self-similarity":
                likeness[layer] = (recipe.content_weight * share, SelfSimilarity.of(wanted[layer], recipe.seed))
                continue
            empty = float(wanted[layer].float().square().mean()) if recipe.balance else 1.0
            content[layer] = (recipe.content_weight * share / (empty or 1.0), wanted[layer])
    regions, compared = [], []
    for group, strength, where in groups_of(subject, height, width):
        if matches is None:
            masks = where and {layer: where[layer] for layer in recipe.style}
            regions.append(Region(distances_for(subject, group, strength, height, width), masks))
        else:
            compared.append(matches(group, recipe.style_weight * strength, where))
    smooth = (recipe.tv_weight, recipe.tv == "absolute")
    return Objective(network, tiles, content, regions, *smooth, subject.temporal_target, tuple(compared), likeness)


def groups_of(subject: Subject, height: int, width: int) -> Iterator[tuple[list[Style], float, Masks | None]]:
    """All the styles that go everywhere, and one by one those that have their own place.

    A group counts by its area, so that a style is as strong in its place as it would be everywhere.

    Yields:
        The styles, how much they count, and where they go: a mask for each layer, and for the hypercolumns' grid.
    """
    recipe = subject.recipe
    styles = subject.styles if recipe.style_weight else []
    shown = [style for style in styles if style.where is None or float(style.where.max())]
    everywhere = [style for style in shown if style.where is None]
    groups = ([everywhere] if everywhere else []) + [[style] for style in shown if style.where is not None]
    usual = sum(style.weight for style in shown) / max(1, len(shown))
    for group in groups:
        masks, area = None, 1.0
        if group[0].where is not None:
            where = fitted_mask(group[0].where, height, width)
            layers = list(recipe.style) + [GRID] * recipe.by_place
            masks = {layer: mask.to(subject.device) for layer, mask in masks_for(where, layers).items()}
            area = min(float(mask.mean()) for mask in masks.values())
            if any(float(mask.sum()) < LEAST_COUNT for mask in masks.values()):
                continue  # it covers nothing at this scale
        strength = area * sum(style.weight for style in group) / len(group) / usual
        yield group, strength, masks


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


def style_size(subject: Subject, style: Style, height: int, width: int) -> tuple[int, int]:
    """(height, width) of a style's picture for a canvas of this size: as large by area, times --style-scale."""
    high, wide = style.picture.size
    factor = math.sqrt(height * width / (high * wide)) * subject.recipe.style_scale
    return max(1, round(high * factor)), max(1, round(wide * factor))


def style_for(subject: Subject, style: Style, height: int, width: int) -> tuple[Images, Weighting | None]:
    """A style's picture for a canvas of this size, and which part of it is learnt from, on the device."""
    size = style_size(subject, style, height, width)
    mask = None if style.mask is None else fitted_mask(style.mask, *size).to(subject.device)
    return style_image(subject, style, *size).to(subject.device), mask


def moments_for(subject: Subject, style: Style, height: int, width: int) -> dict[str, Moments]:
    """What is to be learnt from a style picture, made as large as the canvas by area."""
    image, mask = style_for(subject, style, height, width)
    tiles = subject.tiles(image.shape[2], image.shape[3])
    found = style_moments(subject.network, tiles, image, list(subject.recipe.style), mask)
    check_something_is_left(found)
    return found


def check_something_is_left(found: dict[str, Moments]) -> None:
    """Raises HasamaError if a style's mask has left nothing of it."""
    if any(float(part.mass) < LEAST_COUNT for part in found.values()):
        raise HasamaError("A style's mask is (nearly) black everywhere: there is nothing left to learn from.")
