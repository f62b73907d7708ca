"""A coloured map taken apart: each of its colours is a region of the picture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.opening import open_picture
from hasama.shapes import Weighting
from hasama.style.canvas.pictures import reason

LARGEST_MAP = 1024
"""Pixels of the longer side; a larger map is taken smaller, without mixing its colours."""

FLAT = 8
"""Steps of 255 by which neighbours of one colour may differ (JPEG)."""

APART = 48
"""The same, from which two colours are two."""

LEAST_SHARE = 1e-3
"""Of the map's pixels that a colour must have."""

COLOURED = 32
"""Difference between a pixel's strongest and weakest channel from which it has a colour."""

LEAST_COLOURED = 0.01
"""Of the pixels that must have one, or the map is a grey mask."""

MOST_COLOURS = 64
"""A picture that has more is a photograph."""

DARK = 25
"""Strongest channel up to which a colour is black."""

NAMES = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (255, 0, 0), "green": (0, 255, 0),
    "blue": (0, 0, 255), "yellow": (255, 255, 0), "cyan": (0, 255, 255), "magenta": (255, 0, 255),
    "orange": (255, 150, 0), "purple": (128, 0, 128), "brown": (140, 80, 30), "pink": (255, 180, 200),
    "dark red": (128, 0, 0), "dark green": (0, 128, 0), "dark blue": (0, 0, 128), "olive": (128, 128, 0),
    "teal": (0, 128, 128),
}  # fmt: skip


class RegionMap(NamedTuple):
    """A map's colours, in the order in which they first appear: row by row from the top, each from the left."""

    colours: list[tuple[int, int, int]]
    labels: np.ndarray
    """int [H, W]: the number of each pixel's colour; -1 where the map is transparent."""

    def mask(self, number: int) -> Weighting:
        """[H, W]: 1 where this colour is, 0 elsewhere."""
        return torch.from_numpy((self.labels == number).astype(np.float32))

    def share(self, number: int) -> float:
        """Of the picture that has this colour."""
        return float((self.labels == number).mean())

    @property
    def painted(self) -> list[int]:
        """The colours that are not black."""
        return [number for number, colour in enumerate(self.colours) if max(colour) > DARK]


def read_regions(path: Path) -> RegionMap | None:
    """The regions of a coloured map; None if the picture is grey, and so a mask.

    Pixels between two colours, as smooth edges have them, go to the nearest of the colours beside them.

    Raises:
        HasamaError: it cannot be read, or is coloured and yet no map of few even colours.
    """
    try:
        picture = open_picture(path, profiled=False)
    except HasamaError as error:
        raise HasamaError(f"Cannot read the mask {path}: {reason(error)}.") from error
    if picture.mode == "L":
        return None
    picture.thumbnail((LARGEST_MAP, LARGEST_MAP), Image.Resampling.NEAREST)
    pixels = np.asarray(picture.convert("RGB")).astype(np.int16)
    there = np.ones(pixels.shape[:2], bool)
    if picture.mode == "RGBA":
        there = np.asarray(picture.getchannel("A")) >= 128
    if not _is_coloured(pixels[there]):
        return None
    flat = _even(pixels, 2) & there
    found = _colours(pixels[flat])
    labels = np.where(flat, _nearest(pixels, found), -1) if found else np.full(flat.shape, -1)
    edges = _edges(found, labels, _even(pixels, 4) & there)
    labels[np.isin(labels, edges)] = -1
    if not found:
        raise HasamaError(
            f"The mask {path} is coloured, but is no map of a few even colours: {WANTED}, or convert it to grey."
        )
    labels = _spread(labels, pixels, np.array(found), there)
    numbers, first = np.unique(labels[labels >= 0], return_index=True)
    order = numbers[np.argsort(first)]
    places = np.full(len(found) + 1, -1)  # the last is for -1
    places[order] = np.arange(len(order))
    return RegionMap([found[number] for number in order.tolist()], places[labels])


WANTED = "give a grey picture (white: here), or a map with one even colour for each style"


def _is_coloured(pixels: np.ndarray) -> bool:
    """Of int [N, 3]: whether enough of them are not grey."""
    return bool(len(pixels)) and float((pixels.max(-1) - pixels.min(-1) > COLOURED).mean()) > LEAST_COLOURED


def _even(pixels: np.ndarray, side: int) -> np.ndarray:
    """Bool [H, W]: the pixels of squares that have one colour. Smooth edges have hardly any two pixels wide."""
    height, width = pixels.shape[:2]
    high, wide = min(side, height), min(side, width)
    shifts = [(y, x) for y in range(high) for x in range(wide)]
    tall, broad = height - high + 1, width - wide + 1
    most = least = pixels[:tall, :broad]
    for y, x in shifts:
        part = pixels[y : y + tall, x : x + broad]
        most, least = np.maximum(most, part), np.minimum(least, part)
    even = (most - least <= FLAT).all(-1)
    found = np.zeros((height, width), bool)
    for y, x in shifts:
        found[y : y + tall, x : x + broad] |= even
    return found


def _edges(colours: list[tuple[int, int, int]], labels: np.ndarray, solid: np.ndarray) -> list[int]:
    """The numbers of colours that are mixtures of two more frequent ones and are nowhere wide: enlarged edges."""
    values, found = np.array(colours, np.float64).reshape(-1, 3), []
    for number in range(2, len(colours)):
        if not (solid & (labels == number)).any() and _is_mixture(values[number], values[:number]):
            found.append(number)
    return found


def _is_mixture(colour: np.ndarray, others: np.ndarray) -> bool:
    """Whether a colour lies between two of the others: [3] and [N, 3]."""
    for one in others:
        way = others - one
        length = (way**2).sum(-1)
        along = ((colour - one) @ way.T / np.maximum(length, 1)).clip(0, 1)
        if (np.abs(one + along[:, None] * way - colour).max(-1)[length > 0] < APART / 2).any():
            return True
    return False


def _colours(pixels: np.ndarray) -> list[tuple[int, int, int]]:
    """The colours of even pixels, int [N, 3], the most frequent first; none if there are too many."""
    codes, counts = np.unique(pixels @ np.array([65536, 256, 1]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    codes, counts = codes[order], counts[order]
    values = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)
    found: list[tuple[int, int, int]] = []
    least = LEAST_SHARE * len(pixels)
    while len(codes):
        near = np.abs(values - values[0]).max(-1) < APART
        if counts[near].sum() >= least:
            red, green, blue = values[0].tolist()
            found.append((red, green, blue))
        if len(found) > MOST_COLOURS:
            return []
        values, counts, codes = values[~near], counts[~near], codes[~near]
    return found


def _nearest(pixels: np.ndarray, colours: list[tuple[int, int, int]]) -> np.ndarray:
    """Int [H, W]: the number of the nearest colour."""
    distances = np.stack([((pixels.astype(np.int32) - colour) ** 2).sum(-1) for colour in colours])
    return distances.argmin(0)


def _spread(labels: np.ndarray, pixels: np.ndarray, colours: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Give each pixel that has no label (-1) the one, of its neighbours', whose colour is nearest."""
    labels = labels.copy()
    while (open_ := (labels < 0) & there).any():
        padded = np.pad(labels, 1, constant_values=-1)
        around = [padded[1 + y : 1 + y + labels.shape[0], 1 + x : 1 + x + labels.shape[1]] for y, x in AROUND]
        beside = np.stack([part[open_] for part in around])
        far = np.where(beside < 0, np.inf, ((pixels[open_] - colours[beside]) ** 2.0).sum(-1))
        best = far.argmin(0)
        if np.isinf(far.min(0)).all():
            break  # islands in what is transparent
        here = np.take_along_axis(beside, best[None], 0)[0]
        labels[open_] = np.where(np.isinf(far.min(0)), -1, here)
    return labels


AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]


def colour_name(colour: tuple[int, int, int]) -> str:
    """(250, 5, 5) -> 'red #fa0505'."""
    near = min(NAMES, key=lambda name: sum((a - b) ** 2 for a, b in zip(NAMES[name], colour, strict=True)))
    return f"{near} #{''.join(f'{part:02x}' for part in colour)}"
