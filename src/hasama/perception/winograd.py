"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin & Gray 2016, section 4.3).

A tile of 6x6 activations and a kernel are each seen at six points along each side; there a convolution is a product
for each pair of points, and all tiles and channels together are 36 products of matrices. On processors that have no
arithmetic of their own for convolutions in half precision, deep layers take half the time. The weights are frozen:
they get no gradient. The result differs from the plain one by rounding, some 1e-5 of the largest activation.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hasama.shapes import Images

LEAST_CHANNELS, MOST_CHANNELS = 128, 256
"""From so many on both sides, and on one of them: with fewer, turning tiles takes what the products save."""
LEAST_PLACES = 256
"""Activations from which it pays: the turned weights must be read for each product."""
TILES = 256
"""Turned at once: some megabytes, which stay in the processor's cache."""
PROCESSORS = ("AVX2", "AVX512")

# Lavin & Gray 2016, section 4.3: points 0, 1, -1, 2, -2 and infinity.
INPUT = torch.tensor([
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
], dtype=torch.float64)  # fmt: skip
KERNEL = torch.tensor([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
], dtype=torch.float64)  # fmt: skip
OUTPUT = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]).double()
TURN, TURN_KERNEL, TURN_BACK = (torch.kron(each, each).float() for each in (INPUT, KERNEL, OUTPUT))
"""Both directions at once: [36, 36], [36, 9], [16, 36]."""


class Kernels:
    """The frozen weights [O, I, 3, 3] of a convolution, turned when they are first needed: four times as many.

    Args:
        weight: float32 on the CPU.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self._turned: Tensor | None = None
        self._turned_back: Tensor | None = None

    @property
    def turned(self) -> Tensor:
        """[36, I, O]"""
        if self._turned is None:
            self._turned = _turned(self.weight)
        return self._turned

    @property
    def turned_back(self) -> Tensor:
        """[36, O, I]: of the way back, the convolution with kernels turned by 180 degrees."""
        if self._turned_back is None:
            self._turned_back = _turned(self.weight.transpose(0, 1).flip(2, 3))
        return self._turned_back


def suits(weight: Tensor) -> bool:
    """Whether convolutions with this weight [O, I, 3, 3] can be quicker so, on this processor."""
    few, many = sorted(weight.shape[:2])
    return (
        few >= LEAST_CHANNELS
        and many >= MOST_CHANNELS
        and weight.dtype == torch.float32
        and torch.backends.cpu.get_cpu_capability() in PROCESSORS
    )


def pays(x: Images) -> bool:
    """Whether they are for these activations."""
    places = x.shape[0] * x.shape[2] * x.shape[3]
    return (x.device.type, x.dtype) == ("cpu", torch.float32) and places >= LEAST_PLACES


def convolve(x: Images, kernels: Kernels, bias: Tensor) -> Tensor:
    """[N, I, H, W] -> [N, O, H, W], with zeros around; differentiable once, in x alone."""
    return _Winograd.apply(x, kernels, bias)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Kernels, bias: Tensor) -> Tensor:
        ctx.kernels = kernels
        return _convolved(x, kernels.turned, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grads
        return _convolved(grad, ctx.kernels.turned_back, None), None, None


def _turned(weight: Tensor) -> Tensor:
    made, channels = weight.shape[:2]
    return (TURN_KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, channels, made)


def _convolved(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    (count, channels, height, width), made = x.shape, kernels.shape[2]
    high, wide = -(-height // 4), -(-width // 4)  # tiles of 4x4 results
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + 4 * wide - width, 1, 1 + 4 * high - height))
    each, down, right, _ = padded.stride()
    whole = torch.empty((count, made, 4 * high, 4 * wide), dtype=x.dtype, memory_format=torch.channels_last)
    places = whole.permute(0, 2, 3, 1)
    for first, images, top, rows in _portions(count, high, wide):
        shape, strides = (6, 6, images, rows, wide, channels), (down, right, each, 4 * down, 4 * right, 1)
        tiles = padded.as_strided(shape, strides, first * each + 4 * top * down)
        products = torch.bmm((TURN @ tiles.reshape(36, -1)).view(36, -1, channels), kernels)
        found = (TURN_BACK @ products.view(36, -1)).view(4, 4, images, rows, wide, made)
        here = (
            places[first : first + images, 4 * top : 4 * (top + rows)].unflatten(1, (rows, 4)).unflatten(3, (wide, 4))
        )
        here.copy_(found.permute(2, 3, 0, 4, 1, 5))
    if bias is not None:
        whole += bias.view(1, -1, 1, 1)
    if (4 * high, 4 * wide) == (height, width):
        return whole
    return whole[:, :, :height, :width].clone(memory_format=torch.channels_last)  # what follows may change it


def _portions(count: int, high: int, wide: int) -> Iterator[tuple[int, int, int, int]]:
    """About `TILES` tiles at a time: (first image, images, first row of tiles, rows)."""
    rows = max(1, min(high, TILES // wide))
    images = max(1, TILES // (high * wide)) if rows == high else 1
    for first in range(0, count, images):
        for top in range(0, high, rows):
            yield first, min(images, count - first), top, min(rows, high - top)
