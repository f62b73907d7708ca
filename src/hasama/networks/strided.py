"""The two convolutions of DCGAN, 4x4 with stride 2 and padding 1: one halves pictures, its transpose doubles them.

They are `nn.Conv2d` and `nn.ConvTranspose2d`, but for one case: on small maps in bfloat16 on the CPU, oneDNN's
weight gradient runs at half the speed of the matrix product that it is. There `_Halving` and `_Doubling` spell
the product out, which makes a DCGAN's step a twelfth faster (benchmarks/dcgan_speed.py).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from hasama.shapes import Images

SMALL_MAP = 64  # places of the smaller map up to which the product is faster: 8x8, measured with 128 to 512 channels
SIDE = 4  # of the kernel

Small = Float[torch.Tensor, "n c h w"]
Large = Float[torch.Tensor, "n large_c large_h large_w"]  # twice as high and wide


class Halve(nn.Module):
    """[N, before, 2h, 2w] -> [N, after, h, w]; a last odd row or column counts too, without padding beyond it."""

    def __init__(self, before: int, after: int, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, SIDE, 2, 1, bias=bias)

    def forward(self, large: Large) -> Small:
        height, width = large.shape[2:]
        if height % 2 or width % 2 or not _product_is_faster(large, height * width // 4):
            return self.conv(large)
        small = _Halving.apply(large.bfloat16(), self.conv.weight.bfloat16())
        return small if self.conv.bias is None else small + self.conv.bias.bfloat16()[:, None, None]


class Double(nn.Module):
    """[N, before, h, w] -> [N, after, 2h, 2w]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(before, after, SIDE, 2, 1, bias=False)

    def forward(self, small: Small) -> Large:
        if not _product_is_faster(small, small.shape[2] * small.shape[3]):
            return self.conv(small)
        return _Doubling.apply(small.bfloat16(), self.conv.weight.bfloat16())


def _product_is_faster(images: Images, places: int) -> bool:
    return images.device.type == "cpu" and torch.is_autocast_enabled("cpu") and places <= SMALL_MAP


def _patches(large: Large) -> torch.Tensor:
    """The 4x4 patch around each place of the halved map: [N*h*w, 4*4*C], from sides that are even."""
    padded = F.pad(large.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # [N, 2h + 2, 2w + 2, C]
    _count, _height, _width, channels = padded.shape
    windows = padded.unfold(1, SIDE, 2).unfold(2, SIDE, 2)  # [N, h, w, C, 4, 4]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, SIDE * SIDE * channels)


def _rows(small: Small) -> torch.Tensor:
    """[N, C, h, w] -> [N*h*w, C]"""
    return small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])


def _kernel_gradient(small: Small, large: Large) -> torch.Tensor:
    """The sum of products of what a kernel connects: [small's channels, large's channels, 4, 4], as one product."""
    product = _rows(small).t() @ _patches(large)
    return product.view(small.shape[1], SIDE, SIDE, large.shape[1]).permute(0, 3, 1, 2)


class _Halving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, large: Large, weight: torch.Tensor) -> Small:
        ctx.save_for_backward(large, weight)
        kernel = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # a view where weights are channels-last
        flat = _patches(large) @ kernel.t()
        return flat.view(len(large), large.shape[2] // 2, large.shape[3] // 2, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Small) -> tuple[Large | None, torch.Tensor | None]:
        (gradient,), (large, weight) = gradients, ctx.saved_tensors
        back = F.conv_transpose2d(gradient, weight, None, 2, 1) if ctx.needs_input_grad[0] else None
        return back, _kernel_gradient(gradient, large) if ctx.needs_input_grad[1] else None


class _Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, small: Small, weight: torch.Tensor) -> Large:
        ctx.save_for_backward(small, weight)
        return F.conv_transpose2d(small, weight, None, 2, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Large) -> tuple[Small | None, torch.Tensor | None]:
        (gradient,), (small, weight) = gradients, ctx.saved_tensors
        back = F.conv2d(gradient, weight, None, 2, 1) if ctx.needs_input_grad[0] else None
        return back, _kernel_gradient(small, gradient) if ctx.needs_input_grad[1] else None
