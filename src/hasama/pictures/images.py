"""Pictures fitted, saved, and laid out in grids. No torch here: who only looks at pictures need not load it.

`pixels [N, H, W, C]` are uint8. C is 1 (grey), 3 (RGB) or 4 (RGBA, alpha not premultiplied).
"""

import io
import math
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.names import as_path
from hasama.options import whole_number
from hasama.pictures.formats import HEIF_ENDINGS

OPAQUE_FORMATS = ("JPEG", "MPO", "BMP", "DIB", "PPM")
"""Formats without transparency. (Pillow writes alpha into some of them, where nobody reads it.)"""

REFUSE_ALPHA = ("PCX", "EPS")
"""Formats in which Pillow writes nothing that has transparency."""

NOT_WHOLE = ("ICO", "ICNS", "SPIDER", "PALM", "XBM", "MSP", "BLP", "BUFR", "HDF5", "GRIB", "WMF")
"""Formats in which Pillow writes a picture smaller or without its colours, or not at all."""

STUBS = ("MPEG", "BUFR", "GRIB", "HDF5", "WMF")
"""Formats that Pillow knows by name only."""

HALF = 128
"""Of 255, rounded up."""

HUGE = 2**24
"""Pixels with alpha above which a picture is first made a few times smaller, for float32 takes four times as much."""

MODES: dict[int, Literal["L", "RGB", "RGBA"]] = {1: "L", 3: "RGB", 4: "RGBA"}


def has_picture_ending(path: Path | str) -> bool:
    """Whether a file of this name would be a picture; a telephone's photo always, whether or not its extra is there.

    Pillow knows their endings only once one has been opened, and what a folder is must not depend on that.
    """
    ending = PurePath(path).suffix.lower()
    return ending in HEIF_ENDINGS or ending in Image.registered_extensions()


def is_picture_name(path: Path | str) -> bool:
    """Whether a file of this name is read as a picture: no document, no film, and a telephone's photo, too."""
    ending = PurePath(path).suffix.lower()
    known = Image.registered_extensions().get(ending)
    return ending in HEIF_ENDINGS or (known in Image.OPEN and known not in STUBS)


def has_alpha(picture: Image.Image) -> bool:
    """Whether the picture's file says anything about transparency."""
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def is_grey(picture: Image.Image) -> bool:
    """Whether the picture's file can hold no colour."""
    return not has_alpha(picture) and (picture.mode in ("1", "L") or picture.mode.startswith(("I", "F")))


def as_channels(picture: Image.Image, channels: int) -> Image.Image:
    """Convert to L, RGB or RGBA; transparent parts become white where alpha is dropped."""
    mode = MODES[channels]
    if picture.mode == "RGBA" and mode != "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert(mode)


def fit_picture(picture: Image.Image, resolution: tuple[int, int], fit: str = "crop") -> Image.Image:
    """Resize to (height, width).

    Args:
        picture: L, RGB or RGBA.
        resolution: (height, width) in pixels.
        fit: 'crop' cuts the longer side at both ends, 'pad' adds black (or transparent) bars,
            'stretch' ignores the shape.
    """
    height, width = resolution
    if picture.size == (width, height):
        return picture
    return {"crop": _crop, "pad": _pad, "stretch": _stretch}[fit](picture, width, height)


def prepared(
    picture: Image.Image, channels: int, resolution: tuple[int, int] | None = None, fit: str = "crop"
) -> np.ndarray:
    """A picture as it is learnt from: uint8 [H, W, C].

    Args:
        picture: upright, of 8 bits.
        channels: 1, 3 or 4.
        resolution: (height, width) in pixels; None to leave its size.
        fit: see `fit_picture`.
    """
    picture = as_channels(picture, channels)
    if resolution is not None:
        picture = fit_picture(picture, resolution, fit)
    return nothing_hidden(np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels))


def nothing_hidden(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, C] without the colours of clear pixels, which nobody sees, and networks would learn."""
    if pixels.shape[-1] < 4 or pixels[..., 3].all():
        return pixels
    return np.where(pixels[..., 3:] == 0, 0, pixels).astype(np.uint8, copy=False)


def _stretch(picture: Image.Image, width: int, height: int) -> Image.Image:
    return _resized(picture, width, height, (0, 0, *picture.size))


def _resized(picture: Image.Image, width: int, height: int, box: tuple[float, float, float, float]) -> Image.Image:
    """A part of a picture at another size.

    Colours are weighed by alpha, or invisible ones of transparent parts bleed into the edges; in float32, for both
    overshoot where alpha jumps, and cut off each at 255 they gave opaque shapes a bright rim.
    """
    if picture.mode != "RGBA" or picture.getchannel("A").getextrema() == (255, 255):
        return picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if picture.width * picture.height > HUGE:
        by = max(1, int(min((box[2] - box[0]) / width, (box[3] - box[1]) / height) / 3))
        picture = picture.convert("RGBa").reduce(by).convert("RGBA")  # means of small squares overshoot nothing
        left, top, right, bottom = (side / by for side in box)
        box = (left, top, min(right, picture.width), min(bottom, picture.height))
    alpha = np.asarray(picture.getchannel("A"), np.float32) / 255

    def smaller(values: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.LANCZOS, box=box))

    seen = smaller(alpha)
    there = np.maximum(seen, 1e-6)
    bands = [smaller(np.asarray(picture.getchannel(name), np.float32) * alpha) / there for name in "RGB"]
    shown = np.dstack([*bands, 255 * seen]).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(nothing_hidden(shown))


def _crop(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(picture.width / width, picture.height / height)
    box_width, box_height = min(width * scale, picture.width), min(height * scale, picture.height)  # or a hair more
    left, top = (picture.width - box_width) / 2, (picture.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    return _resized(picture, width, height, box)


def _pad(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / picture.width, height / picture.height)
    inner = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Image.new(picture.mode, (width, height))
    canvas.paste(_stretch(picture, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def to_picture(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W, C] -> a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid(pixels: np.ndarray, columns: int | None = None, smallest: int = 64, gap: int = 2) -> Image.Image:
    """One picture of many, row by row.

    Args:
        pixels: uint8 [N, H, W, C], N at least 1.
        columns: as near to a square as possible if None; at most one for each picture.
        smallest: tiles are enlarged by a whole factor until their longer side has about so many pixels.
        gap: pixels between the tiles.

    Raises:
        HasamaError: there are no pictures, they are no uint8 [N, H, W, C], or a number is not whole or below what can
            be.
    """
    made = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.size
    if not made or pixels.shape[3] not in MODES:
        form = f"{pixels.dtype} {list(pixels.shape)}" if hasattr(pixels, "dtype") else type(pixels).__name__
        raise HasamaError(f"A grid is made of pixels, uint8 [N, H, W, C] with N at least 1; got {form}.")
    gap, smallest = whole_number("gap", gap), whole_number("smallest side", smallest)
    columns = None if columns is None else whole_number("number of columns", columns)
    if gap < 0 or (columns is not None and columns < 1):
        raise HasamaError(f"A grid has a gap of 0 or more, and a column or more; got {gap} and {columns}.")
    count, height, width, channels = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    factor = max(1, smallest // max(height, width))
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    tall, wide = height * factor + gap, width * factor + gap
    canvas = np.zeros((rows * tall + gap, columns * wide + gap, channels), np.uint8)
    for index, tile in enumerate(tiles):
        top, left = gap + index // columns * tall, gap + index % columns * wide
        canvas[top : top + tall - gap, left : left + wide - gap] = tile
    return to_picture(canvas)


def save_picture(picture: Image.Image, path: str | Path, profile: bytes | None = None) -> None:
    """Save atomically in the format that the name's ending says; alpha becomes white where a format has none.

    GIF, which has clear pixels and opaque ones, gets clear ones where alpha is less than half, and else white below.

    Args:
        picture: to be saved.
        path: where.
        profile: an ICC profile to go with it.

    Raises:
        HasamaError: an ending that Pillow cannot write, a picture that the format cannot hold, or a place that
            cannot be written to.
    """
    if not isinstance(picture, Image.Image):
        raise HasamaError(f"save_picture takes a picture of Pillow (see `grid`); got {type(picture).__name__}.")
    path = as_path(path)
    file_format = picture_format(path)
    if file_format in OPAQUE_FORMATS:
        picture = as_channels(picture, 1 if picture.mode == "L" else 3)
    if file_format == "QOI" and picture.mode == "L":
        picture = as_channels(picture, 3)
    if file_format == "GIF" and picture.mode == "RGBA":
        picture = clear_or_opaque(picture)
    options = {"icc_profile": profile} if profile else {}
    if file_format == "JPEG":
        options |= {"quality": 95}
    if file_format == "PNG":
        options |= {"compress_level": 4}  # of paintings as small as by 6, the usual, in half the time
    with replacing(path) as temporary:
        try:
            picture.save(temporary, format=file_format, **options)
        except Exception as error:  # encoders refuse modes and sizes with nearly everything
            if isinstance(error, OSError) and error.strerror:
                raise
            form = f"{picture.width}x{picture.height} pixels, {picture.mode}"
            raise HasamaError(
                f"Cannot write {path} ({form}) as {file_format}: {error}. Use another ending, such as .png."
            ) from error


def clear_or_opaque(picture: Image.Image) -> Image.Image:
    """RGBA without anything between."""
    white = as_channels(picture, 3).convert("RGBA")
    white.putalpha(picture.getchannel("A").point([255 * (alpha >= HALF) for alpha in range(256)]))
    return white


def png_of(picture: Image.Image) -> bytes:
    """A PNG's bytes, made quickly rather than small."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def picture_format(path: Path) -> str:
    """The name by which Pillow knows the format of `path`'s ending.

    Raises:
        HasamaError: Pillow cannot write it, or not as it is.
    """
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format in NOT_WHOLE:
        raise HasamaError(f"{path.name}: {file_format} cannot hold any picture. Use another ending, such as .png.")
    if file_format not in Image.SAVE:
        raise HasamaError(f"Cannot write a picture called {path.name}: use an ending such as .png, .jpg or .webp.")
    return file_format
