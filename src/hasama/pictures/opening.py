"""Picture files opened: any format that Pillow reads, upright, in 8 bits, whatever their depth."""

import errno
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from hasama.errors import HasamaError
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
from hasama.pictures.formats import HEAD, HEIC, is_heif, raw_of, raw_photo, recognise
from hasama.pictures.images import has_alpha

LARGEST_PICTURE = 90_000_000
"""Pixels that are decoded at most; a file of a few kilobytes can claim to hold billions."""

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


PASSING = {
    errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENETDOWN, errno.EAGAIN, errno.ENODEV,
}  # fmt: skip
"""What a failing disk, a network's folder or a machine without room answers: another time it may be readable."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations of pictures that are stored lying down."""

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
    profiled: bool = True,
) -> Image.Image:
    """Decode the first frame of a picture as 8-bit L, RGB or RGBA, upright.

    Args:
        file: a path or an open binary file in any format that Pillow reads; HEIC with the extra `heif`.
        about: a side in pixels that is enough; large JPEGs then decode at an eighth, a quarter or half of
            their size, several times faster.
        ranges: which values are black and white in pictures of more than 8 bits; by their own values if None.
        name: the file's, which helps to say what it is if it is no picture.
        profiled: whether it has sRGB's colours by its profile, as photos of telephones need it; else its numbers are
            left as they are.

    Raises:
        HasamaError: it is not a picture, is broken, or is larger than `LARGEST_PICTURE`.
    """
    with _opened(file, name) as (stream, picture):
        if about is not None:
            picture.draft(None, (2 * about, 2 * about))
        check_size(*picture.size)
        depth, ppm = depth_of(picture), picture.format == "PPM"
        picture.load()
        profile = picture.info.get("icc_profile") if profiled else None
        if depth is not None and ranges is not None and picture.mode in COLOURS and depth in ranges:
            deep = upright(deep_colour(stream, picture, ranges[depth]), picture)
            return _in_srgb(deep, profile) if profile else eight_bits(deep)
        if ppm and picture.mode == "I":
            return eight_bits(picture.convert("I;16"), ranges)  # Pillow widens its 16 bits to 32
        return _in_srgb(upright(picture), profile, ranges) if profile else eight_bits(upright(picture), ranges)


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
        check_size(*picture.size)
        picture.load()
        return extremes_of(picture, depth)


@contextmanager
def _opened(file: str | Path | Stream, name: str | None) -> Iterator[tuple[Stream, Image.Image]]:
    """The open file, and the picture in it of which only the header is read. Errors become reasons (`why`)."""
    path = Path(file) if isinstance(file, (str, Path)) else None
    try:  # from an open file: of a path, Pillow maps some TIFFs into memory, and those it does not turn rightly
        with path.open("rb") if path else nullcontext(file) as stream:
            assert isinstance(stream, (io.BytesIO, io.BufferedReader))
            with identified(stream, name or (path.name if path else "")) as picture:
                yield stream, picture
    except Exception as error:  # decoders of broken files raise nearly everything
        raise HasamaError(why(error)) from error


def identified(stream: Stream, name: str, explains: bool = True) -> Image.Image:
    """Have Pillow open it; if it cannot, say what it is.

    Args:
        stream: at its beginning.
        name: the file's.
        explains: whether what Pillow does not know is told; else but raw photos, whose preview it would take for
            them, and telephones' photos, which an extra reads.

    Raises:
        HasamaError: it is of a known format that is not read.
        UnidentifiedImageError: it is not known.
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
        if (known := recognise(head, name)) is not None and (explains or known is HEIC):
            raise HasamaError(str(known)) from None
        raise
    if explains and isinstance(picture, ImageFile.StubImageFile) and (known := recognise(head, name)) is not None:
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


def check_size(width: int, height: int) -> None:
    """Before decoding.

    Raises:
        HasamaError: more pixels than `LARGEST_PICTURE`.
    """
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


def passes(error: BaseException | None) -> bool:
    """Whether a file could not be read for a reason that is not in it: a disk's or a network's, or no room."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in PASSING):
            return True
        error = error.__cause__
    return False


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) of a picture once it is turned as its EXIF orientation says."""
    turned = "exif" in picture.info and picture.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    return (picture.height, picture.width) if turned else picture.size


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


def _in_srgb(picture: Image.Image, profile: bytes, ranges: Ranges | None = None) -> Image.Image:
    """L, RGB or RGBA of 8 bits, by the profile; by that of sRGB itself nothing is changed."""
    flat = picture if picture.mode in ("CMYK", "LAB") else eight_bits(picture, ranges)
    if _is_srgb(profile):
        return eight_bits(flat)
    if flat.mode == "RGBA":
        shown = flat.convert("L" if profile[16:20] == b"GRAY" else "RGB")
        colours = to_srgb(shown, profile).convert("RGBA")
        colours.putalpha(flat.getchannel("A"))
        return colours
    colours = to_srgb(flat, profile)
    return colours.convert("L") if flat.mode == "L" else eight_bits(colours)


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """By its profile; one that is damaged or does not fit is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return converted or picture


@lru_cache(16)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile leaves colours as they are but for a rounding: nearly all are sRGB's, under many names."""
    if profile[16:20] != b"RGB ":
        return False
    steps = np.array([0, 64, 128, 192, 255], np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(25, 5, 3)
    return bool(np.abs(np.asarray(to_srgb(Image.fromarray(colours), profile), int) - colours).max() <= 2)


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
    if picture.mode == "La":
        picture = picture.convert("LA")  # Pillow has no other way out of grey that alpha has been multiplied into
    if has_alpha(picture):
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
