"""`instant` for some paintings as an ONNX file: photos of any size go in, and come out painted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hasama.errors import HasamaError
from hasama.files import check_place
from hasama.perception.vgg_weights import load_weights
from hasama.sharing.onnx_export import check_onnx
from hasama.sharing.painter_onnx import Form, made_up_photo, write_painting_network
from hasama.style.canvas.pictures import from_pixels
from hasama.style.instant_network import instant_network
from hasama.style.methods.swapping import SWAPPINGS
from hasama.style.painting import Machine, plan
from hasama.style.recipe import STYLE_RECIPES
from hasama.style.subject import Style

MOST_PATCHES = SWAPPINGS["relu2_1"].most
LEAST_SIDE, LARGEST_SIDE = 8, 8192
"""Pixels: what the file is told that photos may have to a side."""
SMALLEST_SIZE, LARGEST_SIZE = 64, 512
"""Beyond the largest one `instant` paints in more than two scales, of which a network has but the first two."""
TRACED = (43, 61)
CHECKED = ((64, 48), (9, 40), (90, 121))
"""(height, width) of the pictures with which the file is checked."""
NEAR = 5e-3
"""Of a range of 2, in the mean: of noise, with which it is checked, some places have two patches nearly alike."""


def save_instant_onnx(
    styles: Sequence[Style],
    path: Path,
    strength: float = 1.0,
    size: int = LARGEST_SIZE,
    patches: int = MOST_PATCHES,
) -> float:
    """Write it: `photos` [1, 3, H, W] in [-1, 1], from 8 pixels to a side -> `paintings`, as large.

    Args:
        styles: what to paint like, by their weights.
        path: of the `.onnx` file.
        strength: 0 (the photo as it is) to 1.
        size: the longer side, in pixels, of the photos (4:3) for which it paints as `instant` does. Others are
            painted with strokes of the same size.
        patches: how many of the styles' patches are kept, which are most of the file; 0: none.

    Returns:
        The mean difference between onnxruntime's paintings and torch's, of the size where it is largest: where two
        patches are nearly alike, rounding alone chooses, so that single pixels say nothing.

    Raises:
        HasamaError: an extra is missing, a number is out of range, the exporter cannot do it, or paintings differ.
    """
    check_onnx()
    check_place(path)
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise HasamaError(f"--size takes {SMALLEST_SIZE} to {LARGEST_SIZE} pixels here; got {size}.")
    if not 0 <= patches <= MOST_PATCHES:
        raise HasamaError(f"--patches takes 0 to {MOST_PATCHES}; got {patches}.")
    recipe = STYLE_RECIPES["instant"].but(size=size, strength=strength, precision="fp32")
    canvas = from_pixels(np.zeros((round(size * 3 / 4), size, 3), np.uint8))
    subject = plan(canvas, list(styles), recipe, Machine(device="cpu"))
    network = instant_network(subject, load_weights(), patches)
    about = {
        "recipe": "instant",
        "styles": [Path(style.name).stem for style in styles],
        "weights": [style.weight for style in styles],
        "strength": strength,
        "size": size,
        "sides": f"{LEAST_SIDE} or more",
    }
    height, width = (torch.export.Dim(name, min=LEAST_SIDE, max=LARGEST_SIDE) for name in ("height", "width"))
    form = Form(["photos"], (height, width), _given, TRACED, CHECKED, about, np.mean, NEAR)
    return write_painting_network(network, path, form)


def _given(height: int, width: int) -> tuple[torch.Tensor]:
    return (made_up_photo(height, width),)
