"""What `neighbour` compares a canvas with: the hypercolumns or activations of each group of styles."""

from collections.abc import Iterator

import torch
from torch import Tensor

from hasama.shapes import Images, Weighting
from hasama.style.canvas.canvas import resized
from hasama.style.canvas.pictures import fitted_mask
from hasama.style.canvas.tiles import Tile
from hasama.style.methods.matching import (
    GRID,
    MOST_ACTIVATIONS,
    MOST_COLUMNS,
    Bank,
    Columns,
    Split,
    assigned,
    columns,
    grid_size,
)
from hasama.style.methods.targets import Masks, layer_size, masks_for
from hasama.style.subject import Matches, Style, Subject, content_image, style_image, style_size

LEAST_MASK = 0.5
"""Of a style's mask, from which a place is learnt from."""
COLUMNS = "columns"


def columns_for(subject: Subject, height: int, width: int, began: Images | None) -> Matches:
    """The hypercolumns most like those of the content and, by `canvas_share`, of the canvas.

    Args:
        subject: what is painted.
        height: of the canvas.
        width: likewise.
        began: the canvas as it was when this scale began; None at the first scale, where the content alone counts.
    """
    recipe = subject.recipe
    query = content_image(subject, height, width).to(subject.device)
    if began is not None:  # with the content's finest forms, which the canvas has not got yet
        fine = query - resized(resized(query, max(1, height // 2), max(1, width // 2), "bilinear"), height, width)
        query = query.lerp((began.to(query) + fine).clamp_(-1, 1), recipe.canvas_share)

    def matches(group: list[Style], strength: float, where: Masks | None) -> Columns:
        rows, styles = _drawn(subject, group, height, width, {COLUMNS: MOST_COLUMNS})[COLUMNS]
        bank = Bank.of(rows, styles)
        found = [bank.candidates(some, centre, len(group)) for some, centre in _queries(subject, query)]
        together = torch.cat([one[0] for one in found], 1), torch.cat([one[1] for one in found], 1)
        flat = assigned(together, [style.weight for style in group])
        chosen = _laid_out(subject, flat, height, width)
        return Columns(bank, chosen, _weights(subject), strength, None if where is None else where[GRID])

    return matches


def split_for(subject: Subject, height: int, width: int) -> Matches:
    """The last pass: every layer for itself."""

    def matches(group: list[Style], strength: float, where: Masks | None) -> Split:
        layers = list(subject.recipe.style)
        drawn = _drawn(subject, group, height, width, dict.fromkeys(layers, MOST_ACTIVATIONS))
        banks = {layer: Bank.of(*drawn[layer]) for layer in layers}
        return Split(banks, height, width, subject.recipe.seed, strength, where)

    return matches


def _weights(subject: Subject) -> dict[str, float]:
    """{layer: weight}, 1 in the mean."""
    return {layer: share * len(subject.recipe.style) for layer, share in subject.recipe.style.items()}


def _queries(subject: Subject, image: Images) -> Iterator[tuple[Tensor, Tensor]]:
    """The hypercolumns of a picture, tile by tile, and their mean over the whole picture."""
    tiles = subject.tiles(*image.shape[2:])
    parts = (_columns_of(subject, tile, image) for tile in tiles)
    if len(tiles) == 1:
        (rows,) = parts
        yield rows, rows.mean(0)
        return
    total, count = torch.zeros(()), 0
    for rows in parts:  # once for the mean, once for the rows: all at once might not fit into the memory
        total, count = total + rows.sum(0), count + len(rows)
    for tile in tiles:
        yield _columns_of(subject, tile, image), total / count


@torch.no_grad()
def _columns_of(subject: Subject, tile: Tile, image: Images) -> Tensor:
    """A tile's own hypercolumns, [N, C]."""
    seen = tile.cut(image)
    levels = columns(subject.network(seen), _weights(subject), *seen.shape[2:])
    return torch.cat([tile.part(level, GRID)[0].flatten(1).T for level in levels.values()], 1)


def _laid_out(subject: Subject, flat: Tensor, height: int, width: int) -> Tensor:
    """A number for each hypercolumn, tile after tile, as a picture of them [h / 4, w / 4]."""
    whole = flat.new_empty(grid_size(height, width))
    first = 0
    for tile in subject.tiles(height, width):
        place = whole[tile.place(GRID, *whole.shape)]
        place.copy_(flat[first : first + place.numel()].view_as(place))
        first += place.numel()
    return whole


def _drawn(
    subject: Subject, group: list[Style], height: int, width: int, most: dict[str, int]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Random places of some styles: {layer: (rows [M, C], the style of each [M])}.

    Args:
        subject: what is painted.
        group: the styles; the more one weighs, the more of its places are taken.
        height: of the canvas.
        width: likewise.
        most: {layer, or COLUMNS: how many places of all styles together}.
    """
    drawn = torch.Generator().manual_seed(subject.recipe.seed % 2**63)
    turns = range(4 if subject.recipe.rotations else 1)
    usual = sum(style.weight for style in group)
    views = []  # (number of the style, its picture turned, which of its places are taken)
    for number, style in enumerate(group):
        size = style_size(subject, style, height, width)
        image = style_image(subject, style, *size)
        mask = None if style.mask is None else fitted_mask(style.mask, *size)
        for turn in turns:
            turned = None if mask is None else torch.rot90(mask, turn, (0, 1))
            view = torch.rot90(image, turn, (2, 3)).contiguous()
            counts = {name: max(1, round(count * style.weight / usual / len(turns))) for name, count in most.items()}
            taken = {
                name: _choice(name, (view.shape[2], view.shape[3]), turned, count, drawn)
                for name, count in counts.items()
            }
            views.append((number, view, taken))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    filled = dict.fromkeys(most, 0)
    for number, view, taken in views:
        for name, some, order in _rows_at(subject, view.to(subject.device), taken):
            if name not in found:  # all at once: pieces put together at the end would need twice the memory
                count = sum(int(places[name].sum()) for _, _, places in views)
                rows = some.new_empty(count, some.shape[1], dtype=subject.network.precision)
                found[name] = rows, torch.empty(count, dtype=torch.long, device=some.device)
            here = filled[name] + order
            found[name][0][here], found[name][1][here] = some.to(subject.network.precision), number
        filled = {name: first + int(taken[name].sum()) for name, first in filled.items()}
    return found


def _choice(
    name: str, picture: tuple[int, int], mask: Weighting | None, count: int, drawn: torch.Generator
) -> Tensor:
    """Which places of a layer are taken, as true and false [h, w]: at most so many, where the mask lets."""
    layer = GRID if name == COLUMNS else name
    size = layer_size(layer, *picture)
    here = torch.ones(size) if mask is None else masks_for(mask, [layer])[layer]
    allowed = torch.nonzero(here.flatten() >= min(LEAST_MASK, float(here.max()))).flatten()
    taken = torch.zeros(size[0] * size[1], dtype=torch.bool)
    taken[allowed[torch.randperm(len(allowed), generator=drawn)[:count]]] = True
    return taken.view(size)


@torch.no_grad()
def _rows_at(subject: Subject, image: Images, wanted: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The hypercolumns or activations of a picture at these places, tile by tile.

    Yields:
        The layer, rows [M, C], and how many of the places come before each: the same however the picture is cut.
    """
    for tile in subject.tiles(*image.shape[2:]):
        seen = tile.cut(image)
        features = subject.network(seen)
        for name, places in wanted.items():
            if name == COLUMNS:
                levels, layer = list(columns(features, _weights(subject), *seen.shape[2:]).values()), GRID
            else:
                levels, layer = [features[name]], name
            place = tile.place(layer, *places.shape)
            here = places[place].to(image.device)
            order = (places.flatten().cumsum(0) - 1).view_as(places)[place].to(image.device)[here]
            yield name, torch.cat([tile.part(level, layer)[0].permute(1, 2, 0)[here] for level in levels], 1), order
