"""Crops of large pictures at several sizes, for the scripts that teach what ships."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

REDUCED = (2, 3, 4, 6, 8)
"""Every picture is taken at these fractions of its size: full size shows the camera's noise, not the scene."""
SMALLEST = 192
ALIKE = 8
"""Mean difference, of 255, below which two pictures are one in two sizes."""


def pool_of(folder: Path) -> list[list[np.ndarray]]:
    """Every picture of a folder, at its sizes."""
    pool: list[list[np.ndarray]] = []
    known: list[np.ndarray] = []
    files = [file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file)):  # the packages hold some in many sizes
        with Image.open(file) as opened:
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


def cut(pool: list[list[np.ndarray]], side: int, draw: random.Random) -> np.ndarray:
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
