"""Enlarge one picture of any size, in tiles: the network needs bounded memory, and the picture is the same."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hasama.networks.enlarger import REACH
from hasama.shapes import Images

SIDE = 256
"""Pixels of a tile's side, without what it sees of its surroundings."""


class Tile(NamedTuple):
    """One tile of `enlarge_in_tiles`.

    Attributes:
        stage: what is being made.
        done: tiles up to now.
        total: tiles in all.
        picture: with the last tile the enlarged picture [1, C, H, W], if it is not written `into` an array.
    """

    stage: str
    done: int
    total: int
    picture: Tensor | None = None


@torch.no_grad()
def enlarge_in_tiles(
    enlarger: nn.Module, picture: Images, times: int, side: int = SIDE, into: np.ndarray | None = None
) -> Iterator[Tile]:
    """Double a picture once, twice or three times.

    Args:
        enlarger: from `hasama.networks.enlarger.shipped`, on the device where the tiles are to be made.
        picture: [1, C, H, W] in [-1, 1], on any device.
        times: 2, 4 or 8.
        side: of a tile; even, for the enlarger takes pairs of pixels.
        into: uint8 or uint16 [H, W, C], where the last doubling is rounded into: a quarter of the memory.

    Yields:
        A `Tile` after each; the last one has the picture.
    """
    device = next(enlarger.parameters()).device
    height, width = picture.shape[2:]
    sizes = [(height << k, width << k) for k in range(times.bit_length() - 1)]
    total = sum(len(_corners(*size, side)) for size in sizes)
    done = 0
    for number, (height, width) in enumerate(sizes):
        rounded = into if number == len(sizes) - 1 else None
        large = picture.new_empty(1, picture.shape[1], *((0, 0) if rounded is not None else (2 * height, 2 * width)))
        for y, x in _corners(height, width, side):
            top, left = max(0, y - REACH), max(0, x - REACH)
            seen = picture[:, :, top : y + side + REACH, left : x + side + REACH]
            bottom, right = min(y + side, height), min(x + side, width)
            made = enlarger(seen.to(device))[
                :, :, 2 * (y - top) : 2 * (bottom - top), 2 * (x - left) : 2 * (right - left)
            ]
            if rounded is not None:
                rounded[2 * y : 2 * bottom, 2 * x : 2 * right] = to_numbers(made, rounded.dtype)
            else:
                large[:, :, 2 * y : 2 * bottom, 2 * x : 2 * right] = made.to(picture.device)
            done += 1
            last = into is None and number == len(sizes) - 1 and done == total
            yield Tile("enlarging", done, total, large if last else None)
        picture = large


def to_numbers(values: Images, kind: np.dtype) -> np.ndarray:
    """One picture [1, C, H, W] in [-1, 1] as whole numbers [H, W, C], with 8 or 16 bits."""
    full = np.iinfo(kind).max
    return ((values.detach()[0] + 1) * (full / 2)).round().clamp(0, full).permute(1, 2, 0).cpu().numpy().astype(kind)


def _corners(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """(y, x) of every tile's upper left pixel."""
    return [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
