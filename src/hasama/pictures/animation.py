"""Picture files that hold more than one picture: animations (GIF, WebP, APNG, AVIF, FLI), and pages (TIFF, ...)."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.opening import check_size, eight_bits, upright, why

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "FLI")
"""Pillow's names of the formats whose several pictures follow one another in time."""

ONE = ("MPO", "PSD", "JPEG")
"""Formats whose further pictures are previews, depth maps or layers of the first, which is the whole."""

USUAL = 100
"""Milliseconds that a picture stands if its file does not say, or says 10 or less: as in browsers."""

SHORTEST = 11


class Animation(NamedTuple):
    """The form of an animation."""

    path: Path
    width: int
    height: int
    durations: tuple[int, ...]
    """How long each picture stands, in milliseconds."""
    plays: int
    """How often it is shown; 0: for ever."""
    has_alpha: bool
    """Whether any pixel of any picture is transparent."""

    def pictures(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3], or [H, W, 4] if it `has_alpha`, one after another."""
        for picture in _decoded(self.path):
            yield np.asarray(picture.convert("RGBA" if self.has_alpha else "RGB"))


def pictures_in_file(path: Path) -> tuple[int, bool]:
    """How many pictures a file holds, and whether they are an animation; (1, False) if nobody can tell.

    Of a PNG that shows another picture where animations are not known, that one does not count.
    """
    try:
        about = path.stat()
    except OSError:
        return 1, False
    return _looked_at(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1024)
def _looked_at(path: Path, _changed: int, _bytes: int) -> tuple[int, bool]:
    """The same, once for each state of a file: a GIF must be read to its end to be counted."""
    try:
        with Image.open(path) as opened:
            count = _count(opened) - getattr(opened, "default_image", False)
            return (1, False) if opened.format in ONE else (count, count > 1 and opened.format in ANIMATED)
    except Exception:  # no picture, or a broken one: whoever reads it will say so
        return 1, False


def _count(opened: Image.Image) -> int:
    """How many pictures there are; of a broken file at least two if it goes on after the first."""
    try:
        return getattr(opened, "n_frames", 1)
    except Exception:  # as for all broken files
        opened.seek(1)
        return 2


def is_animation(path: Path) -> bool:
    """Whether a file is a film by its content, whatever its name: an animated GIF, WebP, PNG, AVIF or FLI."""
    return path.is_file() and pictures_in_file(path)[1]


def only_first(path: Path) -> str:
    """What to tell where one picture is wanted and the file holds several; '' if it holds one."""
    count, animated = pictures_in_file(path) if path.is_file() else (1, False)
    if count <= 1:
        return ""
    return f"{path} holds {count} {'pictures (an animation)' if animated else 'pages'}: only the first is taken."


def open_animation(path: Path) -> Animation:
    """Look at every picture of an animation.

    Raises:
        HasamaError: it is missing or gigantic, or one of its pictures is broken.
    """
    durations, plays, has_alpha, size = [], 0, False, (0, 0)
    try:
        for picture in _decoded(path):
            told = picture.info.get("duration") or 0
            durations.append(round(told) if told >= SHORTEST else USUAL)
            plays, size = _plays(picture), picture.size
            has_alpha = has_alpha or _is_transparent(picture)
    except FileNotFoundError:
        raise HasamaError(f"There is no film at {path}.") from None
    except Exception as error:  # decoders of broken files raise nearly everything
        told = "broken" if (told := why(error)).startswith("broken") else told  # not in the decoder's words
        raise HasamaError(f"Cannot read the film {path}: picture {len(durations) + 1} is {told}.") from error
    return Animation(path, *size, tuple(durations), plays, has_alpha)


def _decoded(path: Path) -> Iterator[Image.Image]:
    """Every picture as L, RGB or RGBA, upright, with the file's `info`."""
    with path.open("rb") as file, Image.open(file) as opened:
        check_size(*opened.size)
        first = int(getattr(opened, "default_image", False))
        plain = opened.format == "GIF" and "loop" not in opened.info
        for index in range(first, getattr(opened, "n_frames", 1)):
            opened.seek(index)
            opened.load()
            picture = eight_bits(upright(opened))
            picture.info = {"duration": opened.info.get("duration"), "format": opened.format}
            picture.info["loop"] = None if plain else opened.info.get("loop", 0)
            yield picture


def _plays(picture: Image.Image) -> int:
    """A GIF tells how often it is shown again; the other formats, how often it is shown."""
    loop = picture.info["loop"]
    if loop is None:
        return 1
    return loop + 1 if loop and picture.info["format"] == "GIF" else loop


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < 255).any())
