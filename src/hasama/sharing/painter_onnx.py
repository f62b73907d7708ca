"""A painter as an ONNX file: photos of any size and a mix of its styles go in, paintings come out."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hasama.errors import HasamaError
from hasama.files import cannot_write, check_place, replacing
from hasama.shapes import Images
from hasama.sharing.onnx_export import OPSET, TOLERANCE, check_onnx, difference, quietly
from hasama.style.painters.painter import BORDER, STRIDE, Mix, Painter, mix_of
from hasama.style.painters.painter_file import Taught
from hasama.style.painters.painter_header import KEY

NAMES = ("photos", "mix")
TRACED = (72, 96)
CHECKED = ((64, 120), (8, 80), (160, 128))
"""(height, width) of the pictures with which the file is checked."""


class _Whole(nn.Module):
    """Photos whose sides are multiples of eight, in one piece."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, photos: Images, mix: Mix) -> torch.Tensor:
        around = F.pad(photos, (BORDER, BORDER, BORDER, BORDER), mode="replicate")
        return self.painter.inside(around, mix)[:, :, BORDER:-BORDER, BORDER:-BORDER]


def save_painter_onnx(taught: Taught, path: Path) -> float:
    """Write it: `photos` [1, 3, H, W] in [-1, 1], sides multiples of eight, and `mix` [1, 1 + styles] -> `paintings`.

    The first number of the mix is the photo's own share. Statistics are the picture's own.

    Args:
        taught: from `load_painter`, on the CPU.
        path: of the `.onnx` file.

    Returns:
        The largest difference between onnxruntime's paintings and torch's, for sizes other than the one traced.

    Raises:
        HasamaError: an extra is missing, the exporter cannot do it, or the paintings differ by more than `TOLERANCE`.
    """
    check_onnx()
    check_place(path)
    network = _Whole(taught.painter).eval()
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
            made = Path(place) / path.name
            with quietly():
                program = _traced(network, len(taught.styles))
                about = {"styles": ["photo", *taught.styles], "sides": f"multiples of {STRIDE}"}
                program.model.metadata_props[KEY] = json.dumps(about, ensure_ascii=False)
                program.save(made)
                given = [_given(len(taught.styles), *size) for size in CHECKED]
                most = difference(network, made, given, NAMES, "paintings")
            if not most <= TOLERANCE:  # true for NaN, too
                raise HasamaError(f"onnxruntime's paintings differ from torch's by {most:.3g}: nothing was written.")
            with replacing(path) as temporary:
                made.replace(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error
    return most


def _traced(network: nn.Module, styles: int) -> Any:
    height, width = (STRIDE * torch.export.Dim(name, min=1, max=4096) for name in ("rows", "columns"))
    given = _given(styles, *TRACED)
    try:
        return torch.onnx.export(
            network,
            given,
            dynamo=True,
            opset_version=OPSET,
            input_names=NAMES,
            output_names=["paintings"],
            dynamic_shapes=({2: height, 3: width}, {}),
            verbose=False,
        )
    except Exception as error:  # the exporter raises many kinds of exceptions
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HasamaError(f"torch {torch.__version__} cannot export this painter to ONNX: {told}") from error


def _given(styles: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    photo = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1
    return photo, mix_of([1.0] * styles, 0.7)
