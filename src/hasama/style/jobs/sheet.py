"""A sheet of several pictures, each with its name below."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from hasama.pictures.images import as_channels
from hasama.pictures.opening import open_picture

SIDE = 320
"""Pixels of the longer side of a picture on the sheet, at most."""
LINE = 20
"""Pixels for a name."""
GAP = 8


class Tile(NamedTuple):
    """A picture on a sheet, and what stands below it."""

    name: str
    picture: Path


def sheet(tiles: Sequence[Tile], columns: int | None = None) -> Image.Image:
    """All pictures side by side on white, row by row, none larger than `SIDE`.

    Args:
        tiles: at least one.
        columns: as near to a square as possible if None.

    Raises:
        HasamaError: a picture cannot be read.
    """
    shown = [as_channels(open_picture(tile.picture), 3) for tile in tiles]
    for one in shown:
        one.thumbnail((SIDE, SIDE))
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    wide, high = max(one.width for one in shown) + GAP, max(one.height for one in shown) + LINE + GAP
    rows = math.ceil(len(tiles) / columns)
    whole = Image.new("RGB", (columns * wide + GAP, rows * high + GAP), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(size=LINE * 0.65)
    for number, (tile, one) in enumerate(zip(tiles, shown, strict=True)):
        left, top = GAP + number % columns * wide, GAP + number // columns * high
        whole.paste(one, (left, top))
        shorter = (text for text in _shorter(tile.name) if len(text) < 4 or pen.textlength(text, font) <= wide - GAP)
        pen.text((left, top + one.height + 2), next(shorter), "black", font)
    return whole


def _shorter(name: str) -> Iterator[str]:
    """A name in one line, then with less and less of its middle: content and style stand at its two ends."""
    name = " ".join(name.split())
    yield name
    for kept in range(len(name) - 1, 1, -1):
        yield f"{name[: kept // 2]}…{name[kept // 2 - kept :]}"
