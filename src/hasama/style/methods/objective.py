"""The loss of a canvas and its gradient: in one go, or tile by tile to the same numbers in bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from hasama.perception.vgg import VGG, Features
from hasama.shapes import Images, Weighting
from hasama.style.canvas.tiles import Tile
from hasama.style.methods.losses import Distance, squared_error, total_variation
from hasama.style.methods.moments import Moments
from hasama.style.methods.targets import Masks, add_moments, tile_moments

Slope = tuple[Tensor | None, Tensor | None]
"""The derivatives of the style loss by a layer's moments: by the sum [C] and by the sum of outer products [C, C]."""


class Region(NamedTuple):
    """A part of the canvas and the style that is wanted there."""

    distances: dict[str, tuple[float, Distance]]
    """{layer: (weight, distance)}"""
    masks: Masks | None = None
    """None: the whole canvas."""


class TemporalTarget(NamedTuple):
    """What parts of a film's picture should keep temporal_target, and how temporal_target."""

    weight: float
    wanted: Images
    confidence: Weighting
    """Where `wanted` is known, 0 to 1."""


class Objective(NamedTuple):
    """Everything a canvas of one size is judged by."""

    network: VGG
    tiles: list[Tile]
    content: dict[str, tuple[float, Tensor]]
    """{layer: (weight, wanted activations [1, C, h, w])}"""
    regions: list[Region]
    tv_weight: float
    temporal_target: TemporalTarget | None = None

    def weight_of(self, name: str) -> float:
        """What a layer's distance, such as 'style relu1_1', is multiplied by, in all regions together."""
        kind, _, layer = name.partition(" ")
        if kind == "content":
            return self.content[layer][0]
        return sum(region.distances[layer][0] for region in self.regions)


class LossAndGradient(NamedTuple):
    """One evaluation."""

    losses: dict[str, float]
    """Weighted, by name; they add up to `total`."""
    layers: dict[str, float]
    """Weighted, by kind and layer: 'style relu1_1'."""
    distances: dict[str, float]
    """The same without their weights."""
    gradient: Images
    """Of the total by the canvas."""

    @property
    def total(self) -> float:
        return sum(self.losses.values())


def loss_and_gradient(objective: Objective, canvas: Images) -> LossAndGradient:
    """The weighted sum of content, style, total variation (and temporal) loss, and its gradient.

    Gatys et al. 2016, equation 7. In one piece it reads like the lesson; in tiles the first pass adds up the
    moments without a gradient, the style loss is differentiated by the moments, and the second pass carries
    that slope and the losses that are sums over pixels back to the canvas. Both give the same numbers.
    """
    tally = _LossTally(objective)
    if len(objective.tiles) == 1:
        leaf = canvas.detach().requires_grad_()
        seen = objective.network(leaf)
        tile = objective.tiles[0]
        loss = _style(objective, _all_moments(objective, tile, seen), tally)
        loss = loss + _local(objective, canvas, tile, leaf, seen, tally)
        return tally.evaluated(_gradient(loss, leaf))

    with torch.no_grad():
        added = _moments_of_tiles(objective, canvas)
    slopes = _slopes(objective, added, tally)
    gradient = torch.zeros_like(canvas)
    for tile in objective.tiles:
        leaf = tile.cut(canvas).detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        seen = objective.network(leaf)
        loss = _local(objective, canvas, tile, leaf, seen, tally)
        for slope, here in zip(slopes, _all_moments(objective, tile, seen), strict=True):
            for layer in slope:
                loss = loss + _along(slope[layer], here[layer])
        del seen
        tile.cut(gradient).add_(_gradient(loss, leaf))
    return tally.evaluated(gradient)


def _gradient(loss: Tensor, leaf: Images) -> Images:
    """d(loss) / d(leaf): nothing, where masks leave nothing that depends on it."""
    if loss.requires_grad:
        loss.backward()
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class _LossTally:
    """Adds up what each loss contributes."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.layers: dict[str, float] = {}

    def note(self, name: str, value: Tensor) -> Tensor:
        self.layers[name] = self.layers.get(name, 0.0) + value.item()
        return value

    def evaluated(self, gradient: Images) -> LossAndGradient:
        losses: dict[str, float] = {}
        for name, value in self.layers.items():
            kind = name.partition(" ")[0]
            losses[kind] = losses.get(kind, 0.0) + value
        distances = {
            name: value / (self.objective.weight_of(name) or 1.0)
            for name, value in self.layers.items()
            if " " in name
        }
        return LossAndGradient(losses, self.layers, distances, gradient)


def _style(objective: Objective, found: list[dict[str, Moments]], tally: _LossTally) -> Tensor:
    """The style loss of the canvas's moments, region by region and layer by layer."""
    loss = torch.zeros(())
    for region, here in zip(objective.regions, found, strict=True):
        for layer, (weight, distance) in region.distances.items():
            loss = loss + tally.note(f"style {layer}", weight * distance(here[layer]))
    return loss


def _slopes(objective: Objective, added: list[dict[str, Moments]], tally: _LossTally) -> list[dict[str, Slope]]:
    """For each region and layer d(style loss) / d(sum) and d(style loss) / d(sum of outer products)."""
    leaves = [{layer: _leaf(found) for layer, found in here.items()} for here in added]
    loss = _style(objective, leaves, tally)
    if loss.requires_grad:
        loss.backward()
    return [{layer: (leaf.total.grad, leaf.outer.grad) for layer, leaf in here.items()} for here in leaves]


def _leaf(found: Moments) -> Moments:
    return Moments(found.mass, found.total.requires_grad_(), found.outer.requires_grad_())


def _along(slope: Slope, here: Moments) -> Tensor:
    """A tile's moments, weighted by how the style loss feels them. The Gram loss does not feel the mean."""
    felt = here.outer.new_zeros(())
    for direction, moment in zip(slope, (here.total, here.outer), strict=True):
        if direction is not None:
            felt = felt + (direction * moment).sum()
    return felt


def _all_moments(objective: Objective, tile: Tile, seen: Features) -> list[dict[str, Moments]]:
    """For each region the moments of a tile's own activations."""
    return [
        {layer: tile_moments(tile, seen[layer], layer, region.masks) for layer in region.distances}
        for region in objective.regions
    ]


def _moments_of_tiles(objective: Objective, canvas: Images) -> list[dict[str, Moments]]:
    """For each region the moments of the whole canvas."""
    added: list[dict[str, Moments]] = [{} for _ in objective.regions]
    for tile in objective.tiles:
        here = _all_moments(objective, tile, objective.network(tile.cut(canvas)))
        for region, more in zip(added, here, strict=True):
            add_moments(region, more)
    return added


def _local(
    objective: Objective, canvas: Images, tile: Tile, leaf: Tensor, seen: Features, tally: _LossTally
) -> Tensor:
    """The losses that are sums over places: this tile's part of content, total variation and stillness."""
    loss = leaf.new_zeros(())
    for layer, (weight, wanted) in objective.content.items():
        down, across = tile.place(layer, *wanted.shape[2:])
        error = squared_error(tile.part(seen[layer], layer), wanted[:, :, down, across])
        loss = loss + tally.note(f"content {layer}", weight / wanted.numel() * error)
    if objective.tv_weight:
        variation = total_variation(leaf, tile.inner())
        loss = loss + tally.note("tv", objective.tv_weight / canvas.numel() * variation)
    if objective.temporal_target:
        loss = loss + tally.note("temporal", _moved(objective.temporal_target, tile, leaf) / canvas.numel())
    return loss


def _moved(temporal_target: TemporalTarget, tile: Tile, leaf: Images) -> Tensor:
    """How far the canvas is from the last picture of the film, carried along (Ruder et al. 2016, eq. 7)."""
    inner, own = tile.inner(), tile.own
    here = leaf[:, :, inner.top : inner.bottom, inner.left : inner.right]
    wanted = temporal_target.wanted[:, :, own.top : own.bottom, own.left : own.right]
    confidence = temporal_target.confidence[own.top : own.bottom, own.left : own.right]
    return temporal_target.weight * (confidence * (here - wanted).square()).sum()
