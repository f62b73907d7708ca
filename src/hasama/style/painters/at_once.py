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

from hasama.errors import HasamaError
from hasama.shapes import Images
from hasama.style.memory import SAFE, in_words, needs_in_words, process_bytes
from hasama.style.painters.painter import BORDER, REACH, STRIDE, WIDTH, Mix, Painter, Statistics, bordered
from hasama.style.subject import within

SIDE = 1024
"""Pixels of the longer side up to which a picture goes through in one piece, with statistics of its own."""
LOOK = 768
"""The same at which statistics of larger ones are taken, however small the tiles are, so that a painting does not
depend on the memory."""
SMALLEST = 64
"""Of a tile's sides, without what it sees of its surroundings."""
FOLLOWING = 0.9
"""Of a film's statistics, how much stays from picture to picture."""
WINDOW_BYTES = 450
"""For each pixel that goes through the network at once (measured)."""
THIN = 5
"""Channels as wide as which is all that does not depend on a painter's width (measured)."""
CANVAS_BYTES = 48
"""For each pixel of a picture: the bordered copy, the painting, and what its writing takes (measured)."""


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
    """Paint one picture; of the photo's share alone it stays as it is, which a painter learns but nearly.

    Args:
        painter: in evaluation mode, on the device where the work is to be done.
        photo: [1, 3, H, W] in [-1, 1], on any device.
        mix: [1, 1 + styles], from `mix_of`.
        side: of a tile, without what it sees of its surroundings.
        statistics: to use in place of the picture's own.

    Yields:
        A `Tile` after each; the last one has the painting.
    """
    if float(mix[0, 0]) == 1:
        yield Tile("painting", 1, 1, photo.cpu())
        return
    device = next(painter.parameters()).device
    mix = mix.to(device)
    height, width = photo.shape[2:]
    large = max(height, width) > side
    if large and statistics is None:
        statistics = statistics_of(painter, photo, mix)
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
def statistics_of(painter: Painter, photo: Images, mix: Mix) -> list[Statistics]:
    """What the normalisations see of a picture; of one that is larger than `SIDE`, made smaller to `LOOK`."""
    device = next(painter.parameters()).device
    height, width = photo.shape[2:]
    if max(height, width) > SIDE:
        photo = F.interpolate(photo, within(height, width, LOOK), mode="bilinear", antialias=True)
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
        budget: bytes for the whole process; None: any.
    """

    def __init__(self, painter: Painter, mix: Mix, budget: int | None = None) -> None:
        self.painter, self.mix, self.budget = painter, mix, budget
        self.side = SIDE
        self.statistics: list[Statistics] | None = None

    def paint(self, photo: Images) -> Images:
        """The next picture, [1, 3, H, W] in [-1, 1] -> the same.

        Raises:
            HasamaError: it is larger than the budget allows.
        """
        painter, mix = self.painter, self.mix
        if self.budget is not None and self.statistics is None:
            height, width = photo.shape[2:]
            self.side = side_within(painter, height, width, self.budget, process_bytes())
        statistics = self.statistics or statistics_of(painter, photo, mix)
        *_, last = paint_at_once(painter, photo, mix, self.side, statistics)
        seen = painter.statistics() if max(photo.shape[2:]) <= SIDE else statistics_of(painter, photo, mix)
        self.statistics = followed(statistics, seen)
        assert last.picture is not None
        return last.picture


def side_within(painter: Painter, height: int, width: int, budget: int, fixed: int) -> int:
    """The side of a tile with which painting a picture takes no more than a budget.

    Args:
        painter: its width counts.
        height: of the picture, in pixels.
        width: likewise.
        budget: bytes for the whole process.
        fixed: what it takes already, the picture among it.

    Raises:
        HasamaError: not even the smallest tiles fit; the message says what would.
    """

    def needed(height: int, width: int, side: int) -> int:
        longer = max(height, width)
        high, wide = within(height, width, longer if longer <= SIDE else LOOK)  # what statistics are taken from
        seen = max(high * wide, min(height, side + 2 * REACH) * min(width, side + 2 * REACH))
        share = (painter.width + THIN) / (WIDTH + THIN)
        return round(fixed + height * width * CANVAS_BYTES + seen * WINDOW_BYTES * share)

    sides = range(SIDE, SMALLEST - 1, -STRIDE)
    fitting = next((side for side in sides if needed(height, width, side) <= budget), None)
    if fitting is not None:
        return fitting
    sizes = range(max(height, width) // STRIDE * STRIDE, SMALLEST - 1, -STRIDE)
    smaller = (size for size in sizes if needed(*within(height, width, size), SMALLEST) <= SAFE * budget)
    instead = next((f", or paint smaller: --size {size} would fit" for size in smaller), "")
    least = needs_in_words(needed(height, width, SMALLEST))
    raise HasamaError(
        f"Painting {width}x{height} pixels with a painter needs about {least}, "
        f"and {in_words(budget)} may be taken. Give it more (--memory){instead}."
    )
