"""Features moved from one picture's Gaussian to another's, in closed form: a style without any optimizer.

Seen as points, a layer's activations have a mean and a covariance. Of all maps that give them those of the style, the
one that moves them least is affine (optimal transport between Gaussians; Mroueh 2020, Wasserstein Style Transfer,
equation 4; Li et al. 2017 whiten and colour instead, which turns features more than it must).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hasama.shapes import Activations
from hasama.style.methods.moments import ROWS, Moments

LEAST, NOISE = 1e-3, 1e-4
"""Of the mean variance, and of the mean square: added to the content's variances, so that nothing is blown up that
hardly varies, or varies by rounding alone."""
FLOOR = 1e-5
"""Of the largest eigenvalue: what is below counts as this."""


class Move(NamedTuple):
    """An affine map of activations: x -> matrix x + shift."""

    matrix: Tensor
    """[C, C]"""
    shift: Tensor
    """[C]"""

    def __call__(self, activations: Activations) -> Activations:
        """[1, C, h, w] -> the same, moved; in float32, whatever they are, and then as precise as they were."""
        x = activations.permute(0, 2, 3, 1)
        moved = torch.empty_like(x, memory_format=torch.contiguous_format)
        for some, made in zip(x.flatten(0, 2).split(ROWS), moved.flatten(0, 2).split(ROWS), strict=True):
            made.copy_(torch.addmm(self.shift, some.float(), self.matrix.T))
        return moved.permute(0, 3, 1, 2)


def transport(content: Moments, style: Moments, strength: float = 1.0) -> Move:
    """The map that gives the content's activations the style's mean and covariance.

    With covariances C and S it is x -> S^1/2 (S^1/2 C S^1/2)^-1/2 S^1/2 (x - mean) + mean of the style.

    Args:
        content: the moments of what is moved.
        style: those that it gets.
        strength: so much of the way, 0 to 1.
    """
    device = content.total.device
    content, style = (Moments(*(part.cpu().double() for part in each)) for each in (content, style))
    c, s = content.covariance, style.covariance
    eye = torch.eye(len(c), dtype=c.dtype)
    least = LEAST * c.diagonal().mean() + NOISE * content.gram.diagonal().mean() + torch.finfo(torch.float32).tiny
    c = c + least * eye
    half = root_of(s)
    way = half @ _power(half @ c @ half, -0.5) @ half
    matrix = strength * way + (1 - strength) * eye
    shift = content.mean.lerp(style.mean, strength) - matrix @ content.mean
    return Move(matrix.float().to(device), shift.float().to(device))


def together(moves: Sequence[Move], weights: Sequence[float]) -> Move:
    """The mean of several maps: what is painted in several styles at once.

    Args:
        moves: one for each style.
        weights: how much each counts, relative to the others.
    """
    shares = [weight / sum(weights) for weight in weights]
    pairs = list(zip(moves, shares, strict=True))
    return Move(
        torch.stack([move.matrix * share for move, share in pairs]).sum(0),
        torch.stack([move.shift * share for move, share in pairs]).sum(0),
    )


def root_of(covariance: Tensor) -> Tensor:
    """[C, C] in float64 -> its root, with `FLOOR` as the least of its eigenvalues."""
    return _power(covariance, 0.5)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    least = FLOOR * values[-1].clamp_min(torch.finfo(torch.float32).tiny)
    return (vectors * values.clamp_min(least.item()).pow(exponent)) @ vectors.T
