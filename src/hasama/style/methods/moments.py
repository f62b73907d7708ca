"""What style is, here: per layer the count, the sum and the sum of outer products of the features.

They add up over tiles, so the style of a picture of any size, and its exact gradient, need the memory of one tile.
"""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from hasama.device import fast_products
from hasama.shapes import Activations, Weighting

ROWS = 32_768
"""Activations that are widened to float32 at once."""


class Moments(NamedTuple):
    """Of activations x_i in R^C with weights w_i in [0, 1]: float32."""

    mass: Tensor
    """[]: the sum of w_i."""
    total: Tensor
    """[C]: the sum of w_i x_i."""
    outer: Tensor
    """[C, C]: the sum of w_i x_i x_i^T."""

    def plus(self, other: "Moments") -> "Moments":
        return Moments(self.mass + other.mass, self.total + other.total, self.outer + other.outer)

    @property
    def gram(self) -> Tensor:
        """[C, C]: the Gram matrix per activation, E[x x^T] (Gatys et al. 2016, equation 3, divided by the count)."""
        return self.outer / self.mass

    @property
    def mean(self) -> Tensor:
        """[C]"""
        return self.total / self.mass

    @property
    def covariance(self) -> Tensor:
        """[C, C]"""
        return self.gram - torch.outer(self.mean, self.mean)


def moments(activations: Activations, weights: Weighting | None = None) -> Moments:
    """The moments of one picture's or tile's activations in one layer; differentiable in the activations."""
    x = activations.permute(0, 2, 3, 1).flatten(0, 2)  # [N, C]: no copy of channels-last memory
    if weights is None:
        count = x.new_full((), len(x), dtype=torch.float32)  # made there: a number copied to a card is waited for
        return Moments(count, *_Sums.apply(x, None))
    w = weights.flatten()
    return Moments(w.sum(), *_Sums.apply(x, w))


class _Sums(torch.autograd.Function):
    """Sum and sum of outer products, with the backward pass written out.

    Both factors of an outer product are the same activation, so that one product with the symmetric part of the
    gradient does the work of the two that autograd would take.
    """

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, w)
        total = x.new_zeros(x.shape[1], dtype=torch.float32)
        outer = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32)
        lossless = fast_products() if x.dtype == torch.bfloat16 and w is None else nullcontext()
        with lossless:  # in float32, for bfloat16 sums would lose what small activations add
            for start in range(0, len(x), ROWS):
                rows = x[start : start + ROWS].float()
                weighted = rows if w is None else rows * w[start : start + ROWS, None]
                total += weighted.sum(0)
                outer.addmm_(weighted.T, rows)
        return total, outer

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (x, w), (by_total, by_outer) = ctx.saved_tensors, grads
        grad = torch.addmm(by_total.to(x.dtype), x, (by_outer + by_outer.T).to(x.dtype))
        return grad if w is None else grad * w[:, None].to(x.dtype), None


def blend(parts: list[Moments], shares: list[float]) -> Moments:
    """The moments of a mixture: what several styles together aim at. `shares` are relative."""
    shares = [share / sum(shares) for share in shares]
    total = torch.stack([part.mean * share for part, share in zip(parts, shares, strict=True)]).sum(0)
    outer = torch.stack([part.gram * share for part, share in zip(parts, shares, strict=True)]).sum(0)
    return Moments(torch.ones_like(parts[0].mass), total, outer)
