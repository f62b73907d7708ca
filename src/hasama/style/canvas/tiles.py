"""Cutting a picture into windows through which a network sees exactly what it sees in the whole picture."""

import math
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from hasama.perception.vgg import reach_of, stride_of


class Box(NamedTuple):
    """Pixels from `top` to before `bottom`, from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class Tile(NamedTuple):
    """A part of a picture, and the window around it that its activations depend on."""

    own: Box
    """Every pixel of the picture is one tile's own. Begins at multiples of the stride of the deepest layer."""
    window: Box
    """`own` with a halo, cut at the picture's edges: there the network pads as it pads the whole picture."""

    def cut(self, images: Tensor) -> Tensor:
        """The window's pixels of [1, C, H, W], a view."""
        return images[:, :, self.window.top : self.window.bottom, self.window.left : self.window.right]

    def inner(self) -> Box:
        """`own` as seen from the window."""
        return Box(
            self.own.top - self.window.top,
            self.own.bottom - self.window.top,
            self.own.left - self.window.left,
            self.own.right - self.window.left,
        )

    def part(self, activations: Tensor, layer: str) -> Tensor:
        """The tile's own activations among the window's: [1, C, h, w] -> [1, C, h', w'], a view."""
        if self.own == self.window:
            return activations  # a slice of everything would cost a copy in the backward pass
        stride, inner = stride_of(layer), self.inner()
        down = slice(inner.top // stride, inner.bottom // stride if self.own.bottom < self.window.bottom else None)
        across = slice(inner.left // stride, inner.right // stride if self.own.right < self.window.right else None)
        return activations[:, :, down, across]

    def place(self, layer: str, height: int, width: int) -> tuple[slice, slice]:
        """Where the tile's own activations lie in the whole layer of `height` x `width`."""
        stride = stride_of(layer)
        down = slice(
            self.own.top // stride, self.own.bottom // stride if self.own.bottom < self.window.bottom else height
        )
        across = slice(
            self.own.left // stride, self.own.right // stride if self.own.right < self.window.right else width
        )
        return down, across

    def seen(self, layer: str) -> tuple[slice, slice]:
        """Where the activations of the whole window lie in the layer."""
        stride, (top, bottom, left, right) = stride_of(layer), self.window
        return slice(top // stride, bottom // stride), slice(left // stride, right // stride)


def cut_up(
    height: int, width: int, side: int, layers: tuple[str, ...], network: str, between: bool = False
) -> list[Tile]:
    """As few and as equal tiles as windows of at most about `side` x `side` pixels allow.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        side: of a window, halo included; a picture within it stays in one piece.
        layers: whose activations must be exact.
        network: vgg16 or vgg19.
        between: whether activations are also interpolated.
    """
    return cut_with_halo(height, width, side, *halo_of(layers, network, between))


def cut_with_halo(height: int, width: int, side: int, stride: int, halo: int) -> list[Tile]:
    """The same for something else that goes over a picture.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        side: of a window, halo included; a picture within it stays in one piece.
        stride: tiles begin at multiples of it.
        halo: pixels around a tile that it depends on, a multiple of the stride.
    """
    downs = _edges(height, side, halo, stride)
    acrosses = _edges(width, side, halo, stride)
    return [
        Tile(
            Box(top, bottom, left, right),
            Box(max(0, top - halo), min(height, bottom + halo), max(0, left - halo), min(width, right + halo)),
        )
        for top, bottom in pairwise(downs)
        for left, right in pairwise(acrosses)
    ]


def halo_of(layers: tuple[str, ...], network: str, between: bool = False) -> tuple[int, int]:
    """(stride of the deepest layer, pixels around a tile that its activations depend on, a multiple of it).

    What is interpolated between activations also depends on the next one.
    """
    stride = max(map(stride_of, layers))
    reach = max(reach_of(layer, network) for layer in layers) + (stride if between else 0)
    return stride, stride * math.ceil(reach / stride)


def _edges(length: int, side: int, halo: int, stride: int) -> list[int]:
    """Where tiles begin, and the end."""
    if length <= side:
        return [0, length]
    room = max(stride, (side - 2 * halo) // stride * stride)
    count = math.ceil(length / room)
    edges = [round(length * index / count / stride) * stride for index in range(count)]
    return [*sorted(set(edges)), length]
