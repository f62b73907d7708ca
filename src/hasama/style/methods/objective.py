"""The loss of a canvas and its gradient: in one go, or tile by tile to the same numbers in bounded memory."""

from typing import NamedTuple

import torch
from torch import Tensor

from hasama.perception.vgg import VGG, Features
from hasama.shapes import Images, Weighting
from hasama.style.canvas.tiles import Tile
from hasama.style.methods.losses import Distance, squared_error, total_variation
from hasama.style.methods.matching import Columns, Split
from hasama.style.methods.moments import Moments
from hasama.style.methods.similarity import SelfSimilarity
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
    """What a film's picture is held to: the last painting, carried along by the motion (Ruder et al. 2016)."""

    weight: float
    """Of the temporal loss."""
    wanted: Images
    """[1, 3, H, W]: the last painting, moved."""
    confidence: Weighting
    """[H, W]: how sure the motion is, 0 to 1."""


class Objective(NamedTuple):
    """All that the loss of a canvas of one size is made of."""

    network: VGG
    tiles: list[Tile]
    content: dict[str, tuple[float, Tensor]]
    """{layer: (weight, wanted activations [1, C, h, w])}"""
    regions: list[Region]
    tv_weight: float
    tv_absolute: bool = False
    """Absolute differences in place of squares."""
    temporal_target: TemporalTarget | None = None
    matches: tuple[Columns | Split, ...] = ()
    """Style losses that compare place by place."""
    likeness: dict[str, tuple[float, SelfSimilarity]] = {}  # noqa: RUF012 (never changed)
    """{layer: (weight, which places of the content are how like each other)}"""

    def weight_of(self, name: str) -> float:
        """What a layer's distance, such as 'style relu1_1', is multiplied by, in all regions together."""
        kind, _, layer = name.partition(" ")
        if kind == "content":
            return (self.content | self.likeness)[layer][0]
        return sum(region.distances[layer][0] for region in self.regions) + sum(
            one.weight / (len(one.banks) if isinstance(one, Split) else 1) for one in self.matches
        )


class LossAndGradient(NamedTuple):
    """The loss of a canvas, term by term, and its gradient."""

    losses: dict[str, float]
    """Weighted, by kind: content, style, tv, temporal. They add up to `total`."""
    layers: dict[str, float]
    """Weighted, by kind and layer: 'style relu1_1'."""
    distances: dict[str, float]
    """The same without their weights."""
    gradient: Images
    """[1, 3, H, W]: the derivative of the total by the canvas."""
    is_finite: bool = True
    """Whether the gradient is."""

    @property
    def total(self) -> float:
        return sum(self.losses.values())


def loss_and_gradient(objective: Objective, canvas: Images, step: int = 0) -> LossAndGradient:
    """The weighted sum of content, style, total variation (and temporal) loss, and its gradient.

    Gatys et al. 2016, equation 7. In one piece it reads like the lesson; in tiles the first pass adds up the
    moments without a gradient. The style loss is differentiated by the moments. The second pass carries this
    derivative, and the losses that are sums over places, back to the canvas. Both ways give the same numbers.

    Args:
        objective: what is wanted.
        canvas: [1, 3, H, W].
        step: how many steps were taken with this objective; the last pass of `neighbour` draws its places by it.
    """
    terms = _Terms(objective)
    if len(objective.tiles) == 1:
        leaf = canvas.detach().requires_grad_()
        features = objective.network(leaf)
        tile = objective.tiles[0]
        loss = _style(objective, _all_moments(objective, tile, features), terms)
        loss = loss + _likeness(objective, _places_of(objective, tile, features), terms)
        loss = loss + _local(objective, canvas, tile, leaf, features, terms, step)
        return terms.result(_gradient(loss, leaf))

    with torch.no_grad():
        added, rows = _first_pass(objective, canvas) if objective.regions or objective.likeness else ([], {})
    slopes = _slopes(objective, added, terms)
    pulls = _pulls(objective, rows, terms)
    gradient = torch.zeros_like(canvas)
    for tile in objective.tiles:
        leaf = tile.cut(canvas).detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        features = objective.network(leaf)
        loss = _local(objective, canvas, tile, leaf, features, terms, step)
        for slope, here in zip(slopes, _all_moments(objective, tile, features), strict=True):
            for layer in slope:
                loss = loss + _along(slope[layer], here[layer])
        for layer, pull in pulls.items():
            here, which = objective.likeness[layer][1].rows_of(tile, features, layer)
            loss = loss + (here * pull[which]).sum()
        del features
        tile.cut(gradient).add_(_gradient(loss, leaf))
    return terms.result(gradient)


def _gradient(loss: Tensor, leaf: Images) -> Images:
    """d(loss) / d(leaf): zero, where masks leave nothing that depends on it."""
    if loss.requires_grad:
        loss.backward()
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class _Terms:
    """Adds up what each term contributes."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.noted: list[tuple[str, Tensor]] = []

    def note(self, name: str, value: Tensor) -> Tensor:
        self.noted.append((name, value.detach()))
        return value

    def result(self, gradient: Images) -> LossAndGradient:
        """All numbers are read at once: a graphics card is waited for once an evaluation."""
        found = [gradient.isfinite().all().to(gradient), *(value.to(gradient.device) for _, value in self.noted)]
        is_finite, *values = torch.stack(found).tolist()
        layers: dict[str, float] = {}
        for (name, _), value in zip(self.noted, values, strict=True):
            layers[name] = layers.get(name, 0.0) + value
        losses: dict[str, float] = {}
        for name, value in layers.items():
            kind = name.partition(" ")[0]
            losses[kind] = losses.get(kind, 0.0) + value
        distances = {
            name: value / (self.objective.weight_of(name) or 1.0) for name, value in layers.items() if " " in name
        }
        return LossAndGradient(losses, layers, distances, gradient, bool(is_finite))


def _style(objective: Objective, found: list[dict[str, Moments]], terms: _Terms) -> Tensor:
    """The style loss of the canvas's moments, region by region and layer by layer."""
    loss = torch.zeros(())
    for region, here in zip(objective.regions, found, strict=True):
        for layer, (weight, distance) in region.distances.items():
            loss = loss + terms.note(f"style {layer}", weight * distance(here[layer]))
    return loss


def _slopes(objective: Objective, added: list[dict[str, Moments]], terms: _Terms) -> list[dict[str, Slope]]:
    """For each region and layer d(style loss) / d(sum) and d(style loss) / d(sum of outer products)."""
    leaves = [{layer: _leaf(found) for layer, found in here.items()} for here in added]
    loss = _style(objective, leaves, terms)
    if loss.requires_grad:
        loss.backward()
    return [{layer: (leaf.total.grad, leaf.outer.grad) for layer, leaf in here.items()} for here in leaves]


def _leaf(found: Moments) -> Moments:
    return Moments(found.mass, found.total.requires_grad_(), found.outer.requires_grad_())


def _along(slope: Slope, here: Moments) -> Tensor:
    """A tile's moments, weighted by the derivative of the style loss. The Gram loss does not depend on the mean."""
    loss = here.outer.new_zeros(())
    for direction, moment in zip(slope, (here.total, here.outer), strict=True):
        if direction is not None:
            loss = loss + (direction * moment).sum()
    return loss


def _all_moments(objective: Objective, tile: Tile, features: Features) -> list[dict[str, Moments]]:
    """For each region the moments of a tile's own activations."""
    return [
        {layer: tile_moments(tile, features[layer], layer, region.masks) for layer in region.distances}
        for region in objective.regions
    ]


def _first_pass(objective: Objective, canvas: Images) -> tuple[list[dict[str, Moments]], dict[str, Tensor]]:
    """Of the whole canvas: for each region its moments, and for each layer the places whose likeness counts."""
    added: list[dict[str, Moments]] = [{} for _ in objective.regions]
    rows: dict[str, Tensor] = {}
    for tile in objective.tiles:
        features = objective.network(tile.cut(canvas))
        here = _all_moments(objective, tile, features)
        for region, more in zip(added, here, strict=True):
            add_moments(region, more)
        for layer, (_, wanted) in objective.likeness.items():
            some, which = wanted.rows_of(tile, features, layer)
            if layer not in rows:
                rows[layer] = some.new_empty(len(wanted.places), some.shape[1])
            rows[layer][which] = some
    return added, rows


def _places_of(objective: Objective, tile: Tile, features: Features) -> dict[str, Tensor]:
    """The activations at the places whose likeness counts, if the tile is the whole canvas."""
    return {layer: wanted.rows_of(tile, features, layer)[0] for layer, (_, wanted) in objective.likeness.items()}


def _likeness(objective: Objective, rows: dict[str, Tensor], terms: _Terms) -> Tensor:
    """The content loss of those places, layer by layer."""
    loss = torch.zeros(())
    for layer, (weight, wanted) in objective.likeness.items():
        loss = loss + terms.note(f"content {layer}", weight * wanted.loss(rows[layer]))
    return loss


def _pulls(objective: Objective, rows: dict[str, Tensor], terms: _Terms) -> dict[str, Tensor]:
    """For each layer d(that loss) / d(activations at the places), [n, C]."""
    leaves = {layer: found.requires_grad_() for layer, found in rows.items()}
    loss = _likeness(objective, leaves, terms)
    if loss.requires_grad:
        loss.backward()
    return {layer: leaf.grad for layer, leaf in leaves.items() if leaf.grad is not None}


def _local(
    objective: Objective, canvas: Images, tile: Tile, leaf: Tensor, features: Features, terms: _Terms, step: int
) -> Tensor:
    """The losses that are sums over places: this tile's part of content loss, total variation and temporal loss."""
    loss = leaf.new_zeros(())
    for layer, (weight, wanted) in objective.content.items():
        down, across = tile.place(layer, *wanted.shape[2:])
        error = squared_error(tile.part(features[layer], layer), wanted[:, :, down, across])
        loss = loss + terms.note(f"content {layer}", weight / wanted.numel() * error)
    if objective.tv_weight:
        variation = total_variation(leaf, tile.inner(), objective.tv_absolute)
        loss = loss + terms.note("tv", objective.tv_weight / canvas.numel() * variation)
    if objective.temporal_target:
        loss = loss + terms.note("temporal", _temporal(objective.temporal_target, tile, leaf) / canvas.numel())
    for match in objective.matches:
        for name, value in match.losses(tile, features, step).items():
            loss = loss + terms.note(f"style {name}", value)
    return loss


def _temporal(temporal_target: TemporalTarget, tile: Tile, leaf: Images) -> Tensor:
    """The temporal loss: how far the canvas is from the last painting, carried along (Ruder et al. 2016, eq. 7)."""
    inner, own = tile.inner(), tile.own
    here = leaf[:, :, inner.top : inner.bottom, inner.left : inner.right]
    wanted = temporal_target.wanted[:, :, own.top : own.bottom, own.left : own.right]
    confidence = temporal_target.confidence[own.top : own.bottom, own.left : own.right]
    return temporal_target.weight * (confidence * (here - wanted).square()).sum()
