"""Pictures as style transfer takes and gives them: 8 or 16 bits, colour profile and transparency kept."""

import errno
import io
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError

from hasama.errors import HasamaError, missing_extra
from hasama.files import replacing
from hasama.names import at_home, near_name
from hasama.pictures.depth import Range, Ranges
from hasama.pictures.images import has_alpha, picture_format, save_picture
from hasama.pictures.opening import check_size, eight_bits, identified, open_picture, to_srgb, upright, why
from hasama.shapes import Images, Weighting

DEEP_FORMATS = ("PNG", "TIFF")
"""Formats that hold 16 bits a channel."""

LEAST_SEEN = 1 / 256
"""An alpha from which a place has a colour of its own."""

PROFILE = "icc-profile-data"  # libvips's name for it
CUT_SHORT = ("trunc", "premature", "read error")  # in libvips's words

TIFF_BITS = 258  # the tag BitsPerSample


class Picture(NamedTuple):
    """A decoded picture, upright."""

    pixels: np.ndarray
    """[H, W, 3], uint8 or uint16."""
    alpha: np.ndarray | None = None
    """[H, W], the same type: 0 is transparent."""
    profile: bytes | None = None
    """The ICC profile that says what the numbers mean; None: sRGB."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def shown(self) -> Image.Image:
        """With its alpha as Pillow has it; of 8 bits a channel only."""
        return Image.fromarray(self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha]))

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits a channel."""
        return self.pixels.dtype == np.uint16


def read_picture(path: str | Path) -> Picture:
    """Open a picture in any format that Pillow reads, and PNG and TIFF with 16 bits a channel.

    EXIF orientation is applied. An RGB profile is kept; pictures in other colour spaces become sRGB.

    Raises:
        HasamaError: it is missing, not a picture, broken or gigantic; or has 16 bits without the extra `deep`.
    """
    path = at_home(path)
    try:
        with path.open("rb") as file, identified(file, path.name, False) as opened:
            check_size(*opened.size)
            profile = opened.info.get("icc_profile") or None
            if _bits(opened, path) == 16 and opened.mode in ("RGB", "RGBA", "I;16", "I;16B", "LA", "L", "I"):
                return _read_deep(path)
            opened.load()
            return _from_pillow(upright(opened), profile)
    except UnidentifiedImageError as error:
        if path.suffix.lower() in (".tif", ".tiff") and find_spec("pyvips"):
            with suppress(Exception):
                return _read_deep(path)  # some kinds of TIFF are beyond Pillow
        raise HasamaError(f"Cannot read the picture {path}: not a picture.") from error
    except HasamaError as error:
        raise HasamaError(f"Cannot read the picture {path}: {reason(error)}.") from error
    except FileNotFoundError:
        raise HasamaError(f"There is no picture at {path}.{near_name(path)}") from None
    except Exception as error:  # decoders of broken files raise nearly everything
        raise HasamaError(f"Cannot read the picture {path}: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Why a picture could not be read, without the words of the library that read it."""
    told = why(error)
    return "broken" if told.startswith("broken (") else told


def from_pixels(pixels: np.ndarray) -> Picture:
    """uint8 [H, W, 1, 3 or 4] as a picture."""
    alpha = pixels[..., 3] if pixels.shape[-1] == 4 else None
    return Picture(np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))), alpha)


def _from_pillow(picture: Image.Image, profile: bytes | None) -> Picture:
    ready = picture.mode == "RGB" and not has_alpha(picture)  # then no copy, of which a large photo has no room
    flat = picture if ready else eight_bits(picture)
    alpha = np.asarray(flat.getchannel("A")) if flat.mode == "RGBA" else None
    if profile and not _is_rgb(profile):
        source = picture.convert("L") if picture.mode in ("1", "LA") else picture
        flat, profile = eight_bits(to_srgb(source, profile)), None
    return Picture(np.asarray(flat if flat.mode == "RGB" else flat.convert("RGB")), alpha, profile)


def _bits(opened: Image.Image, path: Path) -> int:
    """Bits a channel, which Pillow's modes do not tell."""
    if opened.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if opened.format == "TIFF":
        bits = opened.tag_v2.get(TIFF_BITS, 8)  # type: ignore[attr-defined]
        kind = opened.tag_v2.get(339, 1)  # type: ignore[attr-defined]  # SampleFormat: 1 is unsigned integer
        whole = all(one == 1 for one in kind) if isinstance(kind, tuple) else kind == 1
        return (max(bits) if isinstance(bits, tuple) else bits) if whole else 8
    return 8


def _vips():
    try:
        import pyvips  # an extra
    except Exception as error:  # it raises OSError where its library is missing
        raise missing_extra("pyvips", "deep", "A picture with 16 bits a channel") from error
    return pyvips


def check_deep() -> None:
    """Before any work. Raises HasamaError if the extra for 16 bits a channel is missing."""
    _vips()


def _read_deep(path: Path) -> Picture:
    pyvips = _vips()
    try:
        image = pyvips.Image.new_from_buffer(path.read_bytes(), "", fail_on="truncated").autorot()
        check_size(image.width, image.height)
        found = image.get(PROFILE) if image.get_typeof(PROFILE) else None
        profile = found if isinstance(found, bytes) else None
        if profile and not _is_rgb(profile):
            image, profile = image.icc_transform("srgb", embedded=True, depth=16), None
        if image.interpretation in ("scrgb", "lab", "labs", "labq", "xyz", "cmyk"):
            image = image.colourspace("srgb")
        values = image.numpy()
    except pyvips.Error as error:
        raise HasamaError("truncated" if any(sign in str(error) for sign in CUT_SHORT) else "broken") from error
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype not in (np.uint8, np.uint16):
        raise HasamaError(f"its numbers are of a kind that is not read ({values.dtype})")
    alpha = values[..., -1] if values.shape[-1] in (2, 4) else None
    colours = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, -1)
    return Picture(np.ascontiguousarray(colours), alpha, profile)


# --- colour profiles ------------------------------------------------------------------------------


def _is_rgb(profile: bytes) -> bool:
    """Whether a profile is one for red, green and blue; the colour space stands at byte 16 of its header."""
    return profile[16:20] == b"RGB "


def in_space_of(picture: Picture, profile: bytes | None) -> Picture:
    """The same colours in another picture's numbers, so that a style's red is the content's red."""
    if picture.profile == profile:
        return picture
    small = eight_bit_pixels(picture.pixels)
    try:
        here, there = (
            ImageCms.ImageCmsProfile(io.BytesIO(one) if one else ImageCms.createProfile("sRGB"))
            for one in (picture.profile, profile)
        )
        converted = ImageCms.profileToProfile(Image.fromarray(small), here, there, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a damaged profile
    if converted is None:
        return picture
    alpha = None if picture.alpha is None else eight_bit_pixels(picture.alpha)
    return Picture(np.asarray(converted), alpha, profile)


def eight_bit_pixels(pixels: np.ndarray) -> np.ndarray:
    """uint16 -> uint8, rounded."""
    return (pixels / 257.0).round().astype(np.uint8) if pixels.dtype == np.uint16 else pixels


# --- tensors --------------------------------------------------------------------------------------


def to_canvas(picture: Picture, height: int, width: int) -> Images:
    """[1, 3, height, width] in [-1, 1], laid on the mean colour of what is seen; `to_output` takes it off again."""
    full = 65535.0 if picture.is_deep else 255.0
    image = torch.empty(1, 3, height, width)
    alpha, small = _opacities(picture, height, width)
    for channel in range(3):
        values = picture.pixels[..., channel].astype(np.float32)
        if alpha is None or small is None:
            there = _resize(values, height, width)
        else:  # premultiplied, or the colours of what cannot be seen bleed into the edges
            there = _resize(values * alpha, height, width) + (1 - small) * _mean(values, alpha, full)
        image[0, channel] = torch.from_numpy(there)
    return image.mul_(2 / full).sub_(1).clamp_(-1, 1)


def _opacities(picture: Picture, height: int, width: int) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Its alpha from 0 to 1, as it is and at another size, float32; None and None without."""
    if picture.alpha is None:
        return None, None
    alpha = picture.alpha.astype(np.float32)
    alpha /= 65535 if picture.is_deep else 255
    return alpha, _resize(alpha, height, width)


def opacity(picture: Picture, height: int, width: int) -> Weighting | None:
    """How opaque it is at another size, [H, W] from 0 to 1; None without transparency."""
    _, small = _opacities(picture, height, width)
    return None if small is None else torch.from_numpy(small).clamp_(0, 1)


def _mean(values: np.ndarray, alpha: np.ndarray, full: float) -> float:
    """Of a channel [H, W], where it can be seen; mid-grey, if that is nowhere."""
    whole = alpha.sum()
    return float((values * alpha).sum() / whole) if whole else full / 2


def to_values(picture: Picture) -> Images:
    """[1, 1 (grey), 3 or 4, H, W] in [-1, 1], at its own size; what is invisible gets the mean colour of the rest."""
    full = 65535.0 if picture.is_deep else 255.0
    colours = picture.pixels.astype(np.float32) / full
    if picture.alpha is None:
        grey = (picture.pixels[..., :1] == picture.pixels).all()
        values = colours[..., :1] if grey else colours
    else:
        seen = picture.alpha > 0
        colours[~seen] = colours[seen].mean(0) if seen.any() else 0.5
        values = np.dstack([colours, picture.alpha.astype(np.float32) / full])
    return torch.from_numpy(values).permute(2, 0, 1)[None] * 2 - 1


def _resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [H, W] -> [height, width]."""
    if values.shape == (height, width):
        return values
    return np.array(Image.fromarray(values).resize((width, height), Image.Resampling.LANCZOS))


AS_IT_IS: Ranges = {"16-bit": Range(0.0, 65535.0)}  # a mask's black and white, be it as dark as it may


def read_mask(path: str | Path) -> Weighting:
    """A grey picture as weights: [H, W], 0 (black) to 1 (white). Transparent counts as black.

    Raises:
        HasamaError: see `hasama.pictures.opening.open_picture`.
    """
    try:
        picture = open_picture(at_home(path), ranges=AS_IT_IS, profiled=False)
    except HasamaError as error:
        raise HasamaError(f"Cannot read the mask {path}: {reason(error)}.") from error
    grey = np.asarray(picture.convert("L"), np.float32) / 255
    if picture.mode == "RGBA":
        grey = grey * (np.asarray(picture.getchannel("A"), np.float32) / 255)
    return torch.from_numpy(grey)


def fitted_mask(mask: Weighting, height: int, width: int) -> torch.Tensor:
    """At another size, 0 to 1."""
    return torch.from_numpy(_resize(mask.numpy(), height, width)).clamp_(0, 1)


# --- files ----------------------------------------------------------------------------------------


def to_output(image: Images, content: Picture, deep: bool) -> Picture:
    """A painted canvas as a picture with the content's transparency and profile.

    Half-transparent places get the colour that looks as painted where the content's mean colour lies below them.
    """
    full, kind = (65535, np.uint16) if deep else (255, np.uint8)
    height, width = image.shape[2:]
    opaque = 65535 if content.is_deep else 255
    alpha, small = _opacities(content, height, width)
    shown = None if small is None else small >= LEAST_SEEN
    pixels = np.empty((height, width, 3), kind)
    for channel in range(3):
        values = image[0, channel].detach().float().cpu().add(1).mul_(full / 2).numpy()
        if alpha is not None and small is not None and shown is not None:
            below = _mean(content.pixels[..., channel].astype(np.float32), alpha, opaque) * (full / opaque)
            np.divide(values - below, small, out=values, where=shown)
            values[shown] += below
        pixels[..., channel] = values.round().clip(0, full).astype(kind)
    seen = None if small is None else (small * full).round().clip(0, full).astype(kind)
    return Picture(pixels, seen, content.profile)


def write_picture(picture: Picture, path: str | Path) -> None:
    """Save atomically in the format of the ending, with the colour profile.

    16 bits are kept in PNG and TIFF (extra `deep`), and rounded to 8 elsewhere.

    Raises:
        HasamaError: see `hasama.pictures.images.save_picture`.
    """
    path = Path(path)
    if picture.is_deep and picture_format(path) in DEEP_FORMATS and path.suffix.lower() != ".apng":
        _write_deep(picture, path)
        return
    pixels = eight_bit_pixels(picture.pixels)
    if picture.alpha is not None:
        pixels = np.dstack([pixels, eight_bit_pixels(picture.alpha)])
    save_picture(Image.fromarray(pixels), path, picture.profile)


def _write_deep(picture: Picture, path: Path) -> None:
    pyvips = _vips()
    values = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    image = pyvips.Image.new_from_array(values, interpretation="rgb16")
    if picture.profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, PROFILE, picture.profile)  # type: ignore[arg-type]
    with replacing(path) as temporary:
        try:
            packed = {} if path.suffix.lower() == ".png" else {"compression": "deflate"}
            temporary.write_bytes(image.write_to_buffer(path.suffix.lower(), **packed))
        except pyvips.Error as error:
            raise OSError(errno.EIO, "the picture could not be written to its end") from error
