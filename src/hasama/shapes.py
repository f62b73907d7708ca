"""Shapes, named once. The tests check them at run time with jaxtyping and beartype."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey, as Pillow has it: the Y of YIQ (ITU-R BT.601)."""

Images = Float[Tensor, "n c h w"]
"""Pictures inside the networks, -1 (black) to 1 (white)."""

Resized = Float[Tensor, "n c _ _"]
"""The same pictures at another size."""

Rgba = Float[Tensor, "n 4 h w"]
"""Pictures inside the networks, with alpha: -1 (transparent) to 1 (opaque)."""

Pyramid = tuple[Float[Tensor, "n c _ _"], ...]
"""The same pictures at several sizes, the largest first."""

Views = Resized | Pyramid
"""What a discriminator takes: pictures, or a pyramid of them."""

Maps = tuple[Float[Tensor, "n _ _ _"], ...]
"""Activations of several layers for the same pictures."""

Pixels = UInt8[ndarray, "n h w c"]
"""Pictures on disk, 0 to 255."""

Latents = Float[Tensor, "n z"]
"""Standard normal vectors that the generator makes pictures from."""

Styles = Float[Tensor, "n layers style"]
"""What a style-based generator makes pictures from: a vector w for each of its layers."""

Logits = Float[Tensor, " n"]
"""The discriminator's output for each picture: large for real, small for fake."""

Labels = Int[Tensor, " n"]
"""The class of each picture, counted from 0."""

PerImage = Float[Tensor, " n"]
"""A loss or a penalty for each picture; the caller takes the mean."""

Scalar = Float[Tensor, ""]

Activations = Float[Tensor, "1 c h w"]
"""The output of one layer of a network for one picture."""

Weighting = Float[Tensor, "h w"]
"""How much each place of a picture or of a layer counts, 0 to 1."""


def each(function: Callable[..., Tensor], *views: Tensor | tuple[Tensor, ...]) -> Any:
    """Apply a function of pictures to every level of one or more `Views` alike."""
    if isinstance(views[0], Tensor):
        return function(*views)
    return tuple(function(*level) for level in zip(*views, strict=True))


def largest(views: Views) -> Images:
    """The pictures themselves."""
    return views if isinstance(views, Tensor) else views[0]
