"""Pictures of more than 8 bits a channel: which of their values are black and white.

Such files do not say it. A camera of 12 bits writes values up to 4095 into files of 16 bits; floats may go from 0 to
1, from 0 to 255 or from -1 to 1. One file alone cannot tell: so a scan looks at the values of all files of a dataset,
and one rule (`deep_range`) chooses one range for all of them.
"""

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

Depth = Literal["16-bit", "32-bit", "float"]

FLOAT_OVER = 1.05
"""Floats may be so much above a usual highest value, as after resizing; what is above becomes white."""
FEW_BITS = 32
"""Whole numbers below it would look black of 255: they are class numbers, or have few bits."""
PLAIN_FLOAT = 64.0
"""Floats whose highest value is between 1 and this are of no usual range."""
NOT_MEASURED = (-9999.0, -99999.0, -32767.0, -32768.0)
"""How maps and measurements write that there is no value, besides NaN and infinity."""
ABSURD = 1e30
"""And so are values beyond this."""


class Range(NamedTuple):
    """The values that become black (0) and white (255)."""

    black: float
    white: float


class Extremes(NamedTuple):
    """The lowest and the highest value of one file; infinite the wrong way round if it holds none."""

    depth: Depth
    lowest: float
    highest: float


Ranges = Mapping[Depth, Range]
Stream = io.BytesIO | io.BufferedReader
"""An open file."""


# --- the rule -------------------------------------------------------------------------------------


def deep_range(lowest: float, highest: float, floats: bool) -> Range:
    """The range of a dataset, or of a picture, from its lowest and highest value.

    Whole numbers: from 0 to the next 2^k - 1, k from 8 to 16, so that 10, 12 and 14 bits are found. Floats: 0 to 1
    or -1 to 1 if they lie within, or a little above; from 64 on as whole numbers. What fits none of these goes from
    0, or from the lowest value if that is negative, to the highest.

    Args:
        lowest: of all values; NaN, infinity and marks of missing values do not count.
        highest: likewise.
        floats: whether they are floats.
    """
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return Range(0.0, 1.0)
    if floats and lowest < -0.05 and max(-lowest, highest) <= FLOAT_OVER:
        return Range(-1.0, 1.0)
    white = _float_white(highest) if floats else _whole_white(highest)
    black = lowest if lowest < -0.05 * max(white, 0.0) else 0.0
    return Range(black, white if white > black else black + 1.0)


def _float_white(highest: float) -> float:
    if 1 / 8 <= highest <= FLOAT_OVER:
        return 1.0
    return highest if highest < PLAIN_FLOAT else _whole_white(highest, FLOAT_OVER)


def _whole_white(highest: float, over: float = 1.0) -> float:
    if highest <= 0:
        return highest
    bits = max(1, math.ceil(math.log2(highest / over + 1) - 1e-9))
    if bits > 16:
        return highest
    return 2.0 ** (bits if highest < FEW_BITS else max(8, bits)) - 1


def choose_ranges(found: Iterable[Extremes]) -> dict[Depth, tuple[Range, Extremes, int]]:
    """One range for each depth, with the extremes of all files of that depth, and how many these are."""
    ends: dict[Depth, tuple[Extremes, int]] = {}
    for one in found:
        before, count = ends.get(one.depth, (one, 0))
        both = Extremes(one.depth, min(before.lowest, one.lowest), max(before.highest, one.highest))
        ends[one.depth] = (both, count + 1)
    return {
        depth: (deep_range(both.lowest, both.highest, depth == "float"), both, count)
        for depth, (both, count) in sorted(ends.items())
    }


# --- one picture ----------------------------------------------------------------------------------


def depth_of(picture: Image.Image) -> Depth | None:
    """How deep a picture's file is, by its header alone; None for 8 bits and fewer."""
    if picture.mode == "F":
        return "float"
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        return "16-bit"
    if picture.mode == "I":
        return "32-bit"
    return "16-bit" if _is_deep_colour(picture) else None


def extremes_of(picture: Image.Image, depth: Depth) -> Extremes:
    """The lowest and highest value of a decoded picture of more than 8 bits. Transparency does not count.

    Args:
        picture: decoded.
        depth: `depth_of` it before it was decoded.
    """
    values = np.asarray(picture)
    if picture.mode in COLOURS:  # of which Pillow decodes the higher bytes
        return Extremes(depth, 256.0 * float(values[..., :3].min()), 256.0 * float(values[..., :3].max()) + 255.0)
    seen = values[_measured(values)]
    return (
        Extremes(depth, float(seen.min()), float(seen.max())) if seen.size else Extremes(depth, math.inf, -math.inf)
    )


def own_range(picture: Image.Image, depth: Depth) -> Range:
    """The range of a picture that belongs to no dataset.

    Of one file of 16 bits whose values are all below 256 nobody can say whether it is dark or has 8 bits; it stays
    dark.
    """
    _, lowest, highest = extremes_of(picture, depth)
    if depth == "16-bit" and highest < 256:
        return Range(0.0, 65535.0)
    return deep_range(lowest, highest, depth == "float")


def _measured(values: np.ndarray) -> np.ndarray:
    """Where there is a value: bool, of the same shape."""
    if values.dtype.kind == "u":
        return np.ones(values.shape, bool)
    with np.errstate(invalid="ignore"):
        return (np.abs(values.astype(np.float64)) < ABSURD) & ~np.isin(values, NOT_MEASURED)


def grey_of(values: np.ndarray, chosen: Range) -> np.ndarray:
    """uint8 of the same shape; what lies outside the range becomes black or white, and NaN black."""
    scaled = (values.astype(np.float64) - chosen.black) / (chosen.white - chosen.black) * 255.0
    return np.nan_to_num(np.clip(scaled, 0, 255)).round().astype(np.uint8)


# --- colour with 16 bits --------------------------------------------------------------------------

COLOURS = ("RGB", "RGBA")
"""Modes as which Pillow decodes the higher byte of each of 16 bits."""

OTHER_BYTE = {"B": "L", "L": "B", "N": "B"}
"""For Pillow's name of a file's byte order, the order by which it decodes the lower bytes instead."""


def _is_deep_colour(picture: Image.Image) -> bool:
    return picture.mode in COLOURS and any(";16" in _raw_mode(tile) for tile in getattr(picture, "tile", []))


def _raw_mode(tile: tuple) -> str:
    told = tile[3]
    told = told[0] if isinstance(told, tuple) and told else told
    return told if isinstance(told, str) else ""


def deep_colour(stream: Stream, high: Image.Image, chosen: Range) -> Image.Image:
    """A picture of 16 bits a channel in 8 bits, by a range; as Pillow has it where that is all 16 bits.

    Args:
        stream: the open file.
        high: the decoded picture, as Pillow gives it: the higher bytes, RGB or RGBA.
        chosen: the range.
    """
    if chosen == (0.0, 65535.0):
        return high
    values = np.asarray(high).astype(np.uint16) * np.uint16(256) + _lower_bytes(stream)
    pixels = grey_of(values, chosen)
    if high.mode == "RGBA" and values[..., 3].max() > chosen.white:  # opaque may be 65535 all the same
        pixels[..., 3] = np.asarray(high)[..., 3]
    return Image.fromarray(pixels)


def _lower_bytes(stream: Stream) -> np.ndarray:
    """uint8 [H, W, C]: the file once more, read as if its byte order were the other one."""
    stream.seek(0)
    with Image.open(stream) as picture:
        tiles = picture.tile  # type: ignore[attr-defined]
        if _raw_mode(tiles[0]) == "LA;16B":  # two channels of two bytes are read as four of one
            picture.tile = [tile._replace(args="RGBA") for tile in tiles]  # type: ignore[attr-defined]
            return np.asarray(picture)[..., [1, 1, 1, 3]]
        picture.tile = [_other_order(tile) for tile in tiles]  # type: ignore[attr-defined]
        return np.asarray(picture)


def _other_order(tile: Any) -> Any:
    raw = _raw_mode(tile)
    other = raw[:-1] + OTHER_BYTE.get(raw[-1:], raw[-1:])
    return tile._replace(args=(other, *tile[3][1:]) if isinstance(tile[3], tuple) else other)
