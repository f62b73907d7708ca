"""Crops of large pictures at several sizes, for the scripts that teach what ships."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from hasama.pictures.images import has_alpha

Pool = list[list[np.ndarray]]
"""Pictures, each at its sizes: uint8 [H, W, 3 or 4]."""
REDUCED = (2, 3, 4, 6, 8)
"""Every picture is taken at these fractions of its size: full size shows the camera's noise, not the scene."""
SMALLEST = 192
LONGEST, TAKEN = 600, 4
"""Of drawings: the longer side, and every which is taken, for they are all kept in memory."""
ALIKE = 8
"""Mean difference, of 255, below which two pictures are one in two sizes."""


def pool_of(folder: Path) -> Pool:
    """Every picture of a folder that is opaque, at its sizes."""
    pool: Pool = []
    known: list[np.ndarray] = []
    files = [file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file)):  # the packages hold some in many sizes
        with Image.open(file) as opened:
            if has_alpha(opened):
                continue
            picture = opened.convert("RGB")
        outline = np.asarray(picture.resize((16, 16), Image.Resampling.BOX), np.int16)
        if any(np.abs(outline - other).mean() < ALIKE for other in known):
            continue
        known.append(outline)
        picture.thumbnail((3000, 3000))
        sizes = [picture.reduce(by) for by in REDUCED if min(picture.size) // by >= SMALLEST]
        if sizes:
            pool.append([np.asarray(size) for size in sizes])
    return pool


def drawings_of(folder: Path) -> Pool:
    """The larger pictures of a folder that are transparent somewhere, no longer than `LONGEST`."""
    pool: Pool = []
    for file in sorted(folder.rglob("*.png"))[::TAKEN]:
        with Image.open(file) as opened:
            if min(opened.size) < SMALLEST or not has_alpha(opened):
                continue
            picture = opened.convert("RGBA")
        picture.thumbnail((LONGEST, LONGEST))
        if min(picture.size) >= SMALLEST:
            pool.append([np.asarray(picture)])
    return pool


def cut(pool: Pool, side: int, draw: random.Random) -> np.ndarray:
    """A crop: of two, the one with more to see."""
    found = []
    while len(found) < 2:
        picture = draw.choice(draw.choice(pool))
        if min(picture.shape[:2]) < side:
            continue
        y, x = (draw.randrange(length - side + 1) for length in picture.shape[:2])
        crop = picture[y : y + side, x : x + side]
        crop = np.rot90(crop, draw.randrange(4)) if draw.random() < 0.2 else crop
        found.append(crop[:, ::-1] if draw.random() < 0.5 else crop)
    return max(found, key=lambda crop: float(np.abs(np.diff(crop.astype(np.int16), axis=1)).mean()))
