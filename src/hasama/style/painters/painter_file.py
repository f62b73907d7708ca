"""A painter as a file: weights in half precision, and in the header what they are. Loading it executes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from safetensors import SafetensorError

from hasama.device import lay_out
from hasama.errors import HasamaError
from hasama.style.painters.painter import Painter
from hasama.style.painters.painter_header import KEY
from hasama.style.painters.recipe import BEFORE_THEY_WERE, Padding
from hasama.tensor_files import load_tensors, save_tensors
from hasama.version import __version__

MOST_STYLES, WIDEST = 1000, 1024


class Taught(NamedTuple):
    """A painter that is ready to paint.

    Attributes:
        painter: in evaluation mode.
        styles: the names of its styles.
    """

    painter: Painter
    styles: tuple[str, ...]


def save_painter(painter: Painter, styles: Sequence[str], path: Path, teaching: str | None = None) -> None:
    """Write it atomically.

    Args:
        painter: what is written.
        styles: the names of its styles.
        path: where.
        teaching: the mark of the teaching that it comes from (`TeachFolder.mark`).

    Raises:
        HasamaError: it cannot be written.
    """
    about = {
        "version": __version__, "styles": list(styles), "width": painter.width, "padding": painter.padding,
        **({} if teaching is None else {"teaching": teaching}),
    }  # fmt: skip
    save_tensors(path, {name: tensor.half() for name, tensor in painter.state_dict().items()}, about, KEY)


def load_painter(path: Path, device: torch.device | str = "cpu") -> Taught:
    """Read a painter.

    Raises:
        HasamaError: the file is missing, damaged or something else.
    """
    try:
        tensors, header = load_tensors(path)
        about = json.loads(header.get(KEY, "null"))
        styles, width, padding = about["styles"], about["width"], about.get("padding", BEFORE_THEY_WERE["padding"])
        named = (
            isinstance(styles, list) and 0 < len(styles) <= MOST_STYLES and all(isinstance(s, str) for s in styles)
        )
        if not named or type(width) is not int or not 0 < width <= WIDEST or padding not in get_args(Padding):
            raise ValueError("impossible styles, width or padding")
        with torch.device("meta"):
            painter = Painter(len(styles), width, padding)
        painter.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except FileNotFoundError:
        raise HasamaError(f"There is no painter at {path}.") from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        told = str(error).partition("\n")[0]
        raise HasamaError(f"{path} is not a painter that hasama teach made, or it is damaged: {told}") from error
    lay_out(painter.requires_grad_(False).eval(), torch.device(device))  # a fifth quicker
    return Taught(painter, tuple(styles))
