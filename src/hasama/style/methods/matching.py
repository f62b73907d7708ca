"""Strokes where they belong: each place of the canvas takes after the place of a style that is most like it.

Neural Neighbor Style Transfer (Kolkin et al. 2022, arXiv 2203.13215). A *hypercolumn* is what a network says of a
place in all its layers at once, one for every four pixels. For each place of the content the nearest hypercolumn of
the styles is looked up once (`Bank.candidates`), and the canvas is moved until it has these (`Columns`). In the last
pass every layer looks up its own nearest activation, anew at each step, at some places (`Split`). Both losses are
sums over places, so that tiles add up to exactly the whole.

Departures: maps come to the grid of four pixels by averages and by linear interpolation with aligned areas, and in
the last pass activations are centred at the styles' mean, not also at the canvas's own, so that tiles are exact; a
style's places are a random choice if there are very many.
"""

from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hasama.device import fast_products
from hasama.perception.vgg import Features, stride_of
from hasama.pictures.tensors import to_device
from hasama.shapes import Activations, Scalar, Weighting
from hasama.style.canvas.tiles import Tile

STRIDE = 4
"""Pixels between two hypercolumns."""
GRID = "relu3_1"
"""A layer with as many places."""
AT_ONCE = 2**25
"""Similarities that are computed at once: 128 MB."""
ROWS_AT_ONCE = 2**13
SIDE = 48
"""Of the grid of places that are looked at in one step of the last pass, in one direction, and the root of how many
of the styles' places they are compared with. (The paper has 64 and all: four times the work and more, each step.)"""
MOST_COLUMNS = 32_768
"""Hypercolumns of the styles to choose from; of more a random choice."""
MOST_ACTIVATIONS = 16_384
"""The same of one layer's activations in the last pass."""
TINY = 1e-8

Rows = Float[Tensor, "n c"]
Choice = Int[Tensor, " n"]
Candidates = tuple[Float[Tensor, "k n"], Int[Tensor, "k n"]]
"""For each of K styles and each place the similarity of its most similar row, and that row."""
Level = Float[Tensor, "1 c h4 w4"]


def grid_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) of the hypercolumns of a picture of that size."""
    return max(1, height // STRIDE), max(1, width // STRIDE)


def columns(features: Features, weights: dict[str, float], height: int, width: int) -> dict[str, Level]:
    """The hypercolumns of a window, layer by layer: {layer: [1, C, height / 4, width / 4]}.

    Each layer is divided by its number of channels and multiplied by its weight.

    Args:
        features: of a window of height x width pixels.
        weights: {layer: weight}.
        height: in pixels.
        width: in pixels.
    """
    size = grid_size(height, width)
    return {
        layer: _to_grid(features[layer].float(), stride_of(layer), size) * (weight / features[layer].shape[1])
        for layer, weight in weights.items()
    }


def _to_grid(activations: Activations, stride: int, size: tuple[int, int]) -> Level:
    """Averages where a layer is finer than the grid, linear interpolation where it is coarser."""
    if stride < STRIDE:
        kernel = [min(STRIDE // stride, side) for side in activations.shape[2:]]
        activations = F.avg_pool2d(activations, kernel)
    elif stride > STRIDE:
        factor = stride // STRIDE
        activations = F.interpolate(activations, scale_factor=factor, mode="bilinear", align_corners=False)
    down, across = (max(0, wanted - side) for wanted, side in zip(size, activations.shape[2:], strict=True))
    if down or across:  # a remainder that pooling leaves out
        activations = F.pad(activations, (0, across, 0, down), mode="replicate")
    return activations[:, :, : size[0], : size[1]]


class Bank(NamedTuple):
    """Hypercolumns, or one layer's activations, of style pictures."""

    rows: Rows
    """[M, C], perhaps in bfloat16."""
    mean: Float[Tensor, " c"]
    norm: Float[Tensor, " m"]
    """The length of each row less the mean."""
    styles: Int[Tensor, " m"]
    """From which of the styles each row is."""

    @classmethod
    def of(cls, rows: Rows, styles: Int[Tensor, " m"]) -> "Bank":
        """A bank of these rows."""
        mean = rows.float().mean(0)
        norm = torch.cat([(part.float() - mean).norm(dim=1) for part in rows.split(4096)])
        return cls(rows, mean, norm.clamp(min=TINY), styles)

    def candidates(self, queries: Rows, centre: Float[Tensor, " c"], count: int = 1) -> Candidates:
        """For each query and style the row of the least centred cosine distance.

        Args:
            queries: [N, C].
            centre: what is subtracted from the queries.
            count: of the styles.
        """
        found = []
        for style in range(count):
            own = torch.nonzero(self.styles == style).flatten() if count > 1 else None
            found.append(self._best_of(queries, centre, own))
        return torch.stack([alike for alike, _ in found]), torch.stack([row for _, row in found])

    def _best_of(
        self, queries: Rows, centre: Float[Tensor, " c"], own: Int[Tensor, " k"] | None
    ) -> tuple[Float[Tensor, " n"], Choice]:
        """The greatest similarity to some of the rows, and which row it is.

        A block of rows at a time, as float32: similarities rounded to bfloat16 would be as near as each other.
        """
        which = torch.arange(len(self.rows), device=self.rows.device) if own is None else own
        best = queries.new_full((len(queries),), -torch.inf, dtype=torch.float32)
        where = which.new_zeros(len(queries))
        lossless = fast_products() if self.rows.dtype == torch.bfloat16 else nullcontext()
        with lossless:
            for block in which.split(ROWS_AT_ONCE):
                rows, norm = self.rows[block].float(), self.norm[block]
                for first in range(0, len(queries), AT_ONCE // ROWS_AT_ONCE):
                    here = slice(first, first + AT_ONCE // ROWS_AT_ONCE)
                    direction = F.normalize(queries[here].float() - centre, dim=1, eps=TINY)
                    alike = (direction @ rows.T).sub_((direction @ self.mean)[:, None]).div_(norm)
                    top = alike.max(1)
                    better = top.values > best[here]
                    best[here] = torch.where(better, top.values, best[here])
                    where[here] = torch.where(better, block[top.indices], where[here])
        return best, where


def assigned(candidates: Candidates, weights: list[float]) -> Choice:
    """One row for each place: the most similar one; with several styles each gets its share of the places."""
    alike, rows = candidates
    return rows[0] if len(rows) == 1 else rows.gather(0, shared(alike, weights)[None])[0]


def shared(alike: Float[Tensor, "k n"], weights: list[float]) -> Choice:
    """Which style takes each place: the most similar one, with an advantage for those that would get too little.

    The advantages are found step by step, until every style has its share of the places (a transport problem with
    one number for each style: the auction of Bertsekas 1988, simplified).

    Args:
        alike: similarity of each place to each style.
        weights: of the styles; relative.
    """
    wanted = torch.tensor(weights, dtype=torch.float64)
    wanted = (wanted / wanted.sum()).to(alike)
    advantage = torch.zeros_like(wanted)
    step = 0.5 * float(alike.max() - alike.min()) + TINY
    for _ in range(60):
        taken = (alike + advantage[:, None]).argmax(0)
        share = torch.bincount(taken, minlength=len(weights)) / alike.shape[1]
        if float((share - wanted).abs().max()) < 0.5 / alike.shape[1]:
            break
        advantage = advantage + step * (wanted - share)
        step *= 0.93
    return (alike + advantage[:, None]).argmax(0)


class Columns(NamedTuple):
    """The hypercolumns that are wanted at each place of the canvas."""

    bank: Bank
    chosen: Int[Tensor, "h4 w4"]
    """A row of the bank for each place."""
    weights: dict[str, float]
    """{layer: weight}"""
    weight: float
    """What the loss is multiplied by."""
    mask: Weighting | None = None
    """[h4, w4]: how much each place counts."""

    def losses(self, tile: Tile, features: Features, step: int) -> dict[str, Scalar]:
        """The tile's part of the mean cosine distance between the canvas's hypercolumns and the wanted ones."""
        del step  # the targets stand still
        inner = tile.window
        found = columns(features, self.weights, inner.bottom - inner.top, inner.right - inner.left)
        place = tile.place(GRID, *self.chosen.shape)
        chosen = self.chosen[place].flatten()
        dot, canvas, wanted, first = 0.0, 0.0, 0.0, 0
        for level in found.values():
            ours = _rows(tile.part(level, GRID))
            theirs = self.bank.rows[:, first : first + ours.shape[1]].index_select(0, chosen).to(ours)
            first += ours.shape[1]
            dot, canvas = dot + (ours * theirs).sum(1), canvas + ours.square().sum(1)
            wanted = wanted + theirs.square().sum(1)
        assert isinstance(dot, Tensor)
        assert isinstance(canvas, Tensor)
        distance = 1 - dot / (canvas * wanted + TINY**2).sqrt()
        count = self.chosen.numel() if self.mask is None else self.mask.sum().clamp(min=TINY)
        if self.mask is not None:
            distance = distance * self.mask[place].flatten()
        return {"columns": distance.sum() * (self.weight / count)}


class Split(NamedTuple):
    """The last pass: activations of each layer, of which every one of the canvas's takes the nearest."""

    banks: dict[str, Bank]
    height: int
    """Of the canvas, in pixels."""
    width: int
    seed: int
    weight: float
    masks: dict[str, Weighting] | None = None
    """{layer: how much each of its places counts}"""

    def losses(self, tile: Tile, features: Features, step: int) -> dict[str, Scalar]:
        """The tile's part of each layer's mean distance to the nearest, at the places of this step."""
        losses = {}
        drawn = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)
        for layer, bank in self.banks.items():
            stride = stride_of(layer)
            size = (max(1, self.height // stride), max(1, self.width // stride))
            apart = max(1, max(size) // SIDE)
            offset = [int(torch.randint(0, min(apart, side), (), generator=drawn)) for side in size]
            rows = torch.randperm(len(bank.rows), generator=drawn)[: SIDE * SIDE]
            rows = to_device(rows.numpy(), bank.rows.device)
            down, across = tile.place(layer, *size)
            first = [(begin - top) % apart for begin, top in zip(offset, (down.start, across.start), strict=True)]
            own = tile.part(features[layer], layer)[:, :, first[0] :: apart, first[1] :: apart]
            if not own.numel():
                continue
            ours = _rows(own.float()) - bank.mean
            some = Bank(bank.rows[rows], bank.mean, bank.norm[rows], bank.styles[rows])
            with torch.no_grad():
                chosen = some.candidates(ours, torch.zeros_like(bank.mean))[1][0]
                theirs = (some.rows[chosen].float() - bank.mean) / some.norm[chosen][:, None]
            distance = 1 - F.cosine_similarity(ours, theirs, dim=1, eps=TINY)
            count = len(range(offset[0], size[0], apart)) * len(range(offset[1], size[1], apart))
            if self.masks is not None:
                mask = self.masks[layer][offset[0] :: apart, offset[1] :: apart]
                count = mask.sum().clamp(min=TINY)
                here = self.masks[layer][down, across][first[0] :: apart, first[1] :: apart]
                distance = distance * here.flatten()
            losses[layer] = distance.sum() * (self.weight / len(self.banks) / count)
        return losses


def _rows(activations: Activations) -> Rows:
    """[1, C, h, w] -> [h w, C]"""
    return activations[0].flatten(1).T
