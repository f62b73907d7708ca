"""Pictures: open any of them, fit them, turn them into tensors and back, save them and grids of them.

`images [N, C, H, W]` are floats in [-1, 1]; `pixels [N, H, W, C]` are uint8. C is 1 (grey), 3 (RGB) or
4 (RGBA, alpha not premultiplied).
"""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from hasama.errors import HasamaError
from hasama.files import replacing
from hasama.pictures.depth import (
    COLOURS,
    Extremes,
    Ranges,
    Stream,
    deep_colour,
    depth_of,
    extremes_of,
    grey_of,
    own_range,
)
from hasama.pictures.depth import (
    deep_range as deep_range,
)
from hasama.pictures.formats import HEAD, is_heif, raw_of, raw_photo, recognise
from hasama.shapes import Images, Pixels

LARGEST_PICTURE = 90_000_000
"""Pixels that are decoded at most; a file of a few kilobytes can claim to hold billions."""

MODES: dict[int, Literal["L", "RGB", "RGBA"]] = {1: "L", 3: "RGB", 4: "RGBA"}

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture of each EXIF orientation upright."""

DNG_VERSION = 50706
"""A TIFF tag that only raw photos have."""

# Pillow only warns between 89 and 179 megapixels; `open_picture` refuses by its own, lower-memory rule.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# And it warns of every oddity in a file's metadata, where the picture itself may be good.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_picture(
    file: str | Path | Stream,
    about: int | None = None,
    ranges: Ranges | None = None,
    name: str | None = None,
) -> Image.Image:
    """Decode the first frame of a picture as 8-bit L, RGB or RGBA, upright.

    Args:
        file: a path or an open binary file in any format that Pillow reads; HEIC with the extra `heif`.
        about: a side in pixels that is enough; large JPEGs then decode at an eighth, a quarter or half of
            their size, several times faster.
        ranges: which values are black and white in pictures of more than 8 bits; by their own values if None.
        name: the file's, which helps to say what it is if it is no picture.

    Raises:
        HasamaError: it is not a picture, is broken, or is larger than `LARGEST_PICTURE`.
    """
    with _opened(file, name) as (stream, picture):
        if about is not None:
            picture.draft(None, (2 * about, 2 * about))
        _check_size(picture)
        depth, ppm = depth_of(picture), picture.format == "PPM"
        picture.load()
        if depth is not None and ranges is not None and picture.mode in COLOURS and depth in ranges:
            return eight_bits(upright(deep_colour(stream, picture, ranges[depth]), picture))
        if ppm and picture.mode == "I":
            return eight_bits(picture.convert("I;16"), ranges)  # Pillow widens its 16 bits to 32
        return eight_bits(upright(picture), ranges)


def peek_at(file: Path | io.BytesIO, name: str | None = None) -> Image.Image:
    """What a picture's header says, without decoding it.

    Raises:
        HasamaError: it is not a picture.
    """
    with _opened(file, name) as (_, picture):
        return picture


def extremes_in(file: Path | io.BytesIO, name: str | None = None) -> Extremes | None:
    """The lowest and highest value of a picture of more than 8 bits, by decoding it; None for 8 bits.

    Raises:
        HasamaError: see `open_picture`.
    """
    with _opened(file, name) as (_, picture):
        depth = depth_of(picture)
        if depth is None:
            return None
        _check_size(picture)
        picture.load()
        return extremes_of(picture, depth)


@contextmanager
def _opened(file: str | Path | Stream, name: str | None) -> Iterator[tuple[Stream, Image.Image]]:
    """The open file, and the picture in it of which only the header is read. Errors become reasons (`why`)."""
    path = Path(file) if isinstance(file, (str, Path)) else None
    try:  # from an open file: of a path, Pillow maps some TIFFs into memory, and those it does not turn rightly
        with path.open("rb") if path else nullcontext(file) as stream:
            assert isinstance(stream, (io.BytesIO, io.BufferedReader))
            with _identified(stream, name or (path.name if path else "")) as picture:
                yield stream, picture
    except Exception as error:  # decoders of broken files raise nearly everything
        raise HasamaError(why(error)) from error


def _identified(stream: Stream, name: str) -> Image.Image:
    """Have Pillow open it; if it cannot, say what it is.

    Raises:
        HasamaError: it is of a known format that is not read.
    """
    start = stream.tell()
    head = stream.read(HEAD)
    stream.seek(start)
    if (raw := raw_of(head, name)) is not None:
        raise HasamaError(str(raw))
    if is_heif(head):
        _register_heif()
    try:
        picture = Image.open(stream)
    except UnidentifiedImageError:
        if (known := recognise(head, name)) is not None:
            raise HasamaError(str(known)) from None
        raise
    if isinstance(picture, ImageFile.StubImageFile) and (known := recognise(head, name)) is not None:
        raise HasamaError(str(known))  # Pillow knows it only by name
    if picture.format == "TIFF" and DNG_VERSION in picture.tag_v2:  # type: ignore[attr-defined]
        raise HasamaError(str(raw_photo("DNG")))
    return picture


@cache
def _register_heif() -> None:
    """Teach Pillow to read HEIC photos, if the extra is installed."""
    with suppress(ImportError):
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > LARGEST_PICTURE:
        raise HasamaError(f"gigantic ({width}x{height} pixels)")


def why(error: Exception) -> str:
    """Why a file could not be decoded, in a few words that many files share: no names, no paths."""
    if isinstance(error, HasamaError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return "gigantic"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    words = " ".join(str(error).split())
    if "Ghostscript" in words or "cannot find loader" in words:
        return "a drawing: export it as PNG first"
    return "truncated" if "truncated" in words.lower() else f"broken ({words or type(error).__name__})"


def upright(picture: Image.Image, origin: Image.Image | None = None) -> Image.Image:
    """Turned as its EXIF orientation says. Damaged EXIF says nothing; the picture may be good.

    Args:
        picture: to be turned.
        origin: the picture whose EXIF counts, if it is another one.
    """
    try:
        orientation = (origin or picture).getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as for all broken files
        return picture
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def eight_bits(picture: Image.Image, ranges: Ranges | None = None) -> Image.Image:
    """Any of Pillow's modes as L, RGB or RGBA; 16-bit and float greys are scaled, not clipped.

    Args:
        picture: decoded.
        ranges: which values are black and white; if None, `depth.deep_range` of this picture's own values decides.
    """
    if picture.mode.startswith(("I", "F")):
        depth = depth_of(picture) or "float"
        chosen = ranges[depth] if ranges is not None and depth in ranges else own_range(picture, depth)
        return Image.fromarray(grey_of(np.asarray(picture), chosen))
    if has_alpha(picture):
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


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
    mode = picture.mode
    if mode == "RGBA":  # premultiplied, or the invisible colours of transparent parts bleed into the edges
        picture = picture.convert("RGBa")
    picture = {"crop": _crop, "pad": _pad, "stretch": _stretch}[fit](picture, width, height)
    return picture.convert(mode)


def _stretch(picture: Image.Image, width: int, height: int) -> Image.Image:
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _crop(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(picture.width / width, picture.height / height)
    box_width, box_height = min(width * scale, picture.width), min(height * scale, picture.height)  # or a hair more
    left, top = (picture.width - box_width) / 2, (picture.height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    return picture.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _pad(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / picture.width, height / picture.height)
    inner = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Image.new(picture.mode, (width, height))
    canvas.paste(_stretch(picture, *inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def to_images(pixels: Pixels, device: torch.device | str = "cpu") -> Images:
    """uint8 [N, H, W, C] -> float [N, C, H, W] in [-1, 1], in the channels-last memory format."""
    on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return on_device.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_pixels(images: Images) -> Pixels:
    """Float [N, C, H, W] -> uint8 [N, H, W, C], values outside [-1, 1] clipped."""
    scaled = images.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_picture(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W, C] -> a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def grid(pixels: Pixels, columns: int | None = None, smallest: int = 64, gap: int = 2) -> Image.Image:
    """One picture of many, row by row.

    Args:
        pixels: uint8 [N, H, W, C], N at least 1.
        columns: as near to a square as possible if None.
        smallest: tiles are enlarged by a whole factor until their longer side has about so many pixels.
        gap: pixels between the tiles.
    """
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
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
    """Save atomically in the format that the name's ending says; alpha becomes white where JPEG has none.

    Args:
        picture: to be saved.
        path: where.
        profile: an ICC profile to go with it.

    Raises:
        HasamaError: an ending that Pillow cannot write, a picture that the format cannot hold, or a place that
            cannot be written to.
    """
    path = Path(path)
    file_format = picture_format(path)
    if file_format == "JPEG":
        picture = as_channels(picture, 1 if picture.mode == "L" else 3)
    options = {"icc_profile": profile} if profile else {}
    if file_format == "JPEG":
        options |= {"quality": 95}
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


def picture_format(path: Path) -> str:
    """The name by which Pillow knows the format of `path`'s ending.

    Raises:
        HasamaError: Pillow cannot write it.
    """
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise HasamaError(f"Cannot write a picture called {path.name}: use an ending such as .png, .jpg or .webp.")
    return file_format
