"""What a canvas should have in each layer: a picture's activations, and a style's moments."""

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.perception.vgg import VGG, stride_of
from hasama.shapes import Images, Weighting
from hasama.style.canvas.tiles import Tile
from hasama.style.methods.moments import Moments, moments

Masks = dict[str, Tensor]
"""{layer: how much each of its places counts}"""


def tile_moments(tile: Tile, activations: Tensor, layer: str, masks: Masks | None) -> Moments:
    own = tile.part(activations, layer)
    if masks is None:
        return moments(own)
    return moments(own, masks[layer][tile.place(layer, *masks[layer].shape)])


def add_moments(whole: dict[str, Moments], part: dict[str, Moments]) -> None:
    """Add a tile's moments to those of the tiles before it."""
    for layer, found in part.items():
        whole[layer] = whole[layer].plus(found) if layer in whole else found


def activations_of(network: VGG, tiles: list[Tile], picture: Images, layers: list[str]) -> dict[str, Tensor]:
    """The whole picture's activations in some layers, computed tile by tile."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for tile in tiles:
            features = network(tile.cut(picture))
            for layer in layers:
                own = tile.part(features[layer], layer)
                if len(tiles) == 1:
                    found[layer] = own.clone()
                    continue
                size = layer_size(layer, *picture.shape[2:])
                if layer not in found:
                    shape = (1, own.shape[1], *size)
                    found[layer] = own.new_empty(shape).contiguous(memory_format=torch.channels_last)
                whole = found[layer]
                down, across = tile.place(layer, *size)
                whole[:, :, down, across] = own
    return found


def layer_size(layer: str, height: int, width: int) -> tuple[int, int]:
    """(h, w) of a layer for a picture of that size."""
    stride = stride_of(layer)
    return max(1, height // stride), max(1, width // stride)


def style_moments(
    network: VGG, tiles: list[Tile], picture: Images, layers: list[str], mask: Weighting | None = None
) -> dict[str, Moments]:
    """The moments of a style picture, computed tile by tile."""
    masks = None if mask is None else masks_for(mask, layers)
    added: dict[str, Moments] = {}
    with torch.no_grad():
        for tile in tiles:
            features = network(tile.cut(picture))
            add_moments(added, {layer: tile_moments(tile, features[layer], layer, masks) for layer in layers})
    return added


def masks_for(mask: Weighting, layers: list[str]) -> Masks:
    """A picture's mask as each layer sees it: averaged over what it pools."""
    masks, pooled, stride = {}, mask[None, None], 1
    for layer in sorted(layers, key=stride_of):
        while stride < stride_of(layer):
            pooled = F.avg_pool2d(pooled, (min(2, pooled.shape[2]), min(2, pooled.shape[3])))
            stride *= 2
        masks[layer] = pooled[0, 0]
    return masks
