"""Enlarge one picture of any size, in tiles: the network needs bounded memory, and the picture is the same."""

from collections.abc import Iterator
from typing import NamedTuple

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
        picture: with the last tile the enlarged picture [1, C, H, W]; else None.
    """

    stage: str
    done: int
    total: int
    picture: Tensor | None = None


@torch.no_grad()
def enlarge_in_tiles(enlarger: nn.Module, picture: Images, times: int, side: int = SIDE) -> Iterator[Tile]:
    """Double a picture once, twice or three times.

    Args:
        enlarger: from `hasama.networks.enlarger.shipped`, on the device where the tiles are to be made.
        picture: [1, C, H, W] in [-1, 1], on any device.
        times: 2, 4 or 8.
        side: of a tile; even, for the enlarger takes pairs of pixels.

    Yields:
        A `Tile` after each; the last one has the picture.
    """
    device = next(enlarger.parameters()).device
    height, width = picture.shape[2:]
    sizes = [(height << k, width << k) for k in range(times.bit_length() - 1)]
    total = sum(len(_corners(*size, side)) for size in sizes)
    done = 0
    for number, (height, width) in enumerate(sizes):
        large = picture.new_empty(1, picture.shape[1], 2 * height, 2 * width)
        for y, x in _corners(height, width, side):
            top, left = max(0, y - REACH), max(0, x - REACH)
            seen = picture[:, :, top : y + side + REACH, left : x + side + REACH]
            made = enlarger(seen.to(device)).to(picture.device)
            here = large[:, :, 2 * y : 2 * (y + side), 2 * x : 2 * (x + side)]
            here.copy_(made[:, :, 2 * (y - top) :, 2 * (x - left) :][:, :, : here.shape[2], : here.shape[3]])
            done += 1
            last = number == len(sizes) - 1 and done == total
            yield Tile("enlarging", done, total, large if last else None)
        picture = large


def _corners(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """(y, x) of every tile's upper left pixel."""
    return [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
