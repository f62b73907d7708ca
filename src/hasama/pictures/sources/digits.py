"""The built-in source `digits`, which needs neither a download nor another package.

1,797 handwritten digits of 8x8 pixels: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0. `digits.npz` beside this file
holds the test set's values as they are, 0 to 16; `digits.txt` says so to those who find it without this module.
"""

from pathlib import Path

import numpy as np

from hasama.pictures.sources.arrays import array_entries
from hasama.pictures.sources.entries import Source

DIGITS = Path(__file__).with_name("digits.npz")


def digits() -> Source:
    """The digits as greys from 0 to 255, with their labels."""
    with np.load(DIGITS, allow_pickle=False) as stored:
        levels, labels = stored["images"], stored["labels"]
    pixels = (levels[..., None] * (255.0 / 16.0)).round().astype(np.uint8)
    return Source("built-in digits", array_entries(pixels, labels, "digits"))
