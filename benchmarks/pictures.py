"""A folder of real JPEGs for the benchmarks: random 128x128 crops of scikit-learn's two photographs."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def make_jpegs(folder: Path, count: int = 2000, side: int = 128) -> Path:
    """Write `count` JPEGs into folder/all, unless they are there; give the folder."""
    inner = folder / "all"
    if inner.is_dir() and len(list(inner.iterdir())) == count:
        return folder
    inner.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    photographs = load_sample_images().images
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        size = int(rng.integers(side, 2 * side))
        top, left = (int(rng.integers(0, length - size)) for length in photograph.shape[:2])
        crop = Image.fromarray(photograph[top : top + size, left : left + size])
        crop.resize((side, side), Image.Resampling.LANCZOS).save(inner / f"{number:05d}.jpg", quality=90)
    return folder
