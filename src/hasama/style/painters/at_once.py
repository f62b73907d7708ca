"""Paint pictures of any size with a taught painter: in tiles that are exactly the whole, and films without flicker.

Normalisation looks at a picture as a whole. Its statistics are taken from the picture, made smaller where it is
large, and are then the same for every tile; in a film they follow the pictures slowly.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.shapes import Images
from hasama.style.painters.painter import BORDER, REACH, STRIDE, Mix, Painter, Statistics, bordered

SIDE = 768
"""Pixels of the longer side up to which a picture goes through the network in one piece."""
FOLLOWING = 0.9
"""Of a film's statistics, how much stays from picture to picture."""
WINDOW_BYTES = 450
"""For each pixel that goes through the network at once (measured)."""


class Tile(NamedTuple):
    """A tile is painted.

    Attributes:
        stage: what is being made.
        done: tiles so far.
        total: in all.
        picture: with the last the painting [1, 3, H, W] in [-1, 1], on the CPU; else None.
    """

    stage: str
    done: int
    total: int
    picture: Tensor | None = None


@torch.no_grad()
def paint_at_once(
    painter: Painter, photo: Images, mix: Mix, side: int = SIDE, statistics: list[Statistics] | None = None
) -> Iterator[Tile]:
    """Paint one picture.

    Args:
        painter: in evaluation mode, on the device where the work is to be done.
        photo: [1, 3, H, W] in [-1, 1], on any device.
        mix: [1, 1 + styles], from `mix_of`.
        side: of a tile, without what it sees of its surroundings.
        statistics: to use in place of the picture's own.

    Yields:
        A `Tile` after each; the last one has the painting.
    """
    device = next(painter.parameters()).device
    mix = mix.to(device)
    height, width = photo.shape[2:]
    large = max(height, width) > side
    if large and statistics is None:
        statistics = statistics_of(painter, photo, mix, side)
    whole = bordered(photo)
    made = whole.new_empty(1, 3, *whole.shape[2:], device="cpu")
    step = max(STRIDE, side // STRIDE * STRIDE) if large else max(whole.shape[2:])
    corners = [(y, x) for y in range(0, whole.shape[2], step) for x in range(0, whole.shape[3], step)]
    with painter.with_statistics(statistics) if statistics is not None else nullcontext():
        for done, (y, x) in enumerate(corners, 1):
            top, left = max(0, y - REACH), max(0, x - REACH)
            seen = whole[:, :, top : y + step + REACH, left : x + step + REACH].to(device)
            here = made[:, :, y : y + step, x : x + step]
            painted = painter.inside(seen, mix)[:, :, y - top :, x - left :]
            here.copy_(painted[:, :, : here.shape[2], : here.shape[3]])
            last = done == len(corners)
            yield Tile(
                "painting",
                done,
                len(corners),
                made[:, :, BORDER : BORDER + height, BORDER : BORDER + width] if last else None,
            )


@torch.no_grad()
def statistics_of(painter: Painter, photo: Images, mix: Mix, side: int = SIDE) -> list[Statistics]:
    """What the normalisations see of a picture that is made smaller to at most this side."""
    device = next(painter.parameters()).device
    factor = side / max(photo.shape[2:])
    if factor < 1:
        size = [max(1, round(length * factor)) for length in photo.shape[2:]]
        photo = F.interpolate(photo, size, mode="bilinear", antialias=True)
    painter.inside(bordered(photo).to(device), mix.to(device))
    return painter.statistics()


def followed(before: list[Statistics] | None, now: list[Statistics]) -> list[Statistics]:
    """A film's statistics after one more picture."""
    if before is None:
        return now
    return [
        (old[0].lerp(new[0], 1 - FOLLOWING), old[1].lerp(new[1], 1 - FOLLOWING))
        for old, new in zip(before, now, strict=True)
    ]


class Following:
    """Paints picture after picture of one film or camera, by statistics that follow slowly, one picture behind.

    So a picture goes through the network once, and what is painted does not flicker.

    Args:
        painter: in evaluation mode.
        mix: [1, 1 + styles], from `mix_of`.
    """

    def __init__(self, painter: Painter, mix: Mix) -> None:
        self.painter, self.mix = painter, mix
        self.statistics: list[Statistics] | None = None

    def paint(self, photo: Images) -> Images:
        """The next picture, [1, 3, H, W] in [-1, 1] -> the same."""
        painter, mix = self.painter, self.mix
        statistics = self.statistics or statistics_of(painter, photo, mix)
        *_, last = paint_at_once(painter, photo, mix, statistics=statistics)
        seen = painter.statistics() if max(photo.shape[2:]) <= SIDE else statistics_of(painter, photo, mix)
        self.statistics = followed(statistics, seen)
        assert last.picture is not None
        return last.picture


def side_within(budget: int, fixed: int) -> int:
    """The side of a tile for which this many bytes suffice, `fixed` of which are taken already."""
    window = int((max(0, budget - fixed) / WINDOW_BYTES) ** 0.5) - 2 * REACH
    return max(64, min(SIDE, window // STRIDE * STRIDE))
