"""A painter as an ONNX file: photos of any size and a mix of its styles go in, paintings come out."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hasama.errors import HasamaError
from hasama.files import cannot_write, check_place, replacing
from hasama.shapes import Images
from hasama.sharing.onnx_export import OPSET, TOLERANCE, check_onnx, difference, forget_this_machine, quietly
from hasama.style.painters.painter import BORDER, STRIDE, Mix, Painter, mix_of
from hasama.style.painters.painter_file import Taught
from hasama.style.painters.painter_header import KEY
from hasama.tensor_files import as_header

NAMES = ("photos", "mix")
TRACED = (72, 96)
CHECKED = ((64, 120), (8, 80), (160, 128))
"""(height, width) of the pictures with which the file is checked."""


class Form(NamedTuple):
    """How a network that paints photos is written, and held against torch.

    Attributes:
        names: of what it takes; what it gives is called `paintings`.
        sides: the height and width that it is told it may be given.
        given: (height, width) -> something to take.
        traced: the size with which it is followed through torch.
        checked: the sizes with which the file is.
        about: for the file's metadata.
        measure: of the absolute differences of a painting.
        tolerance: how much of that is let pass, of a range of 2.
    """

    names: Sequence[str]
    sides: tuple[Any, Any]
    given: Callable[[int, int], tuple[torch.Tensor, ...]]
    traced: tuple[int, int]
    checked: Sequence[tuple[int, int]]
    about: dict[str, Any]
    measure: Callable[[np.ndarray], float] = np.max
    tolerance: float = TOLERANCE


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
    styles = len(taught.styles)

    def given(height: int, width: int) -> tuple[torch.Tensor, ...]:
        return made_up_photo(height, width), mix_of([1.0] * styles, 0.7)

    height, width = (STRIDE * torch.export.Dim(name, min=1, max=4096) for name in ("rows", "columns"))
    about = {"styles": ["photo", *taught.styles], "sides": f"multiples of {STRIDE}"}
    form = Form(NAMES, (height, width), given, TRACED, CHECKED, about)
    return write_painting_network(_Whole(taught.painter).eval(), path, form)


def write_painting_network(network: nn.Module, path: Path, form: Form) -> float:
    """Write a network that paints, if onnxruntime paints with it what torch does.

    Args:
        network: on the CPU, in evaluation mode.
        path: of the `.onnx` file.
        form: what it takes.

    Returns:
        The largest difference between onnxruntime's paintings and torch's, as the form measures it.

    Raises:
        HasamaError: see `save_painter_onnx`.
    """
    check_onnx()
    check_place(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
            made = Path(place) / path.name
            with quietly():
                program = _traced(network, form)
                forget_this_machine(program.model)
                program.model.metadata_props[KEY] = as_header(form.about)
                program.save(made)
                given = [form.given(*size) for size in form.checked]
                most = difference(network, made, given, form.names, "paintings", form.measure)
            if not most <= form.tolerance:  # true for NaN, too
                raise HasamaError(f"onnxruntime's paintings differ from torch's by {most:.3g}: nothing was written.")
            with replacing(path) as temporary:
                made.replace(temporary)
    except OSError as error:
        raise cannot_write(path, error) from error
    return most


def made_up_photo(height: int, width: int) -> Images:
    """[1, 3, height, width] in [-1, 1]: noise, the same for each height."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


def _traced(network: nn.Module, form: Form) -> Any:
    others = [{} for _ in form.names[1:]]
    try:
        return torch.onnx.export(
            network,
            form.given(*form.traced),
            dynamo=True,
            opset_version=OPSET,
            input_names=form.names,
            output_names=["paintings"],
            dynamic_shapes=(dict(enumerate(form.sides, 2)), *others),
            verbose=False,
        )
    except Exception as error:  # the exporter raises many kinds of exceptions
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HasamaError(f"torch {torch.__version__} cannot export this painter to ONNX: {told}") from error
