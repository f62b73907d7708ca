"""Keeping the content's colours (Gatys et al. 2016, Preserving Color in Neural Artistic Style Transfer)."""

from typing import NamedTuple

import torch
from torch import Tensor

from hasama.shapes import Images

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the Y of YIQ (ITU-R BT.601)."""

LEAST_VARIANCE = 1e-4
"""Of colours in [-1, 1], so that a grey picture's colours can be divided by."""


class Colours(NamedTuple):
    """The mean [3] and the covariance [3, 3] of a picture's colours, float64."""

    mean: Tensor
    covariance: Tensor


def colours_of(images: Images) -> Colours:
    """Of a picture [1, 3, H, W]."""
    values = images[0].flatten(1).double()
    mean = values.mean(1)
    centred = values - mean[:, None]
    return Colours(mean, centred @ centred.T / values.shape[1])


def recoloured(images: Images, own: Colours, wanted: Colours) -> Images:
    """Colours moved so that their mean and covariance become the wanted ones, each as little as possible.

    The linear Monge-Kantorovitch map  S^(-1/2) (S^(1/2) T S^(1/2))^(1/2) S^(-1/2)  (Pitie & Kokaram 2007, eq. 4).
    """
    least = LEAST_VARIANCE * torch.eye(3, dtype=torch.float64)
    root = _power(own.covariance + least, 0.5)
    back = _power(own.covariance + least, -0.5)
    turn = back @ _power(root @ (wanted.covariance + least) @ root, 0.5) @ back
    shift = wanted.mean - turn @ own.mean
    moved = torch.einsum("ij,njhw->nihw", turn.to(images), images) + shift.to(images).view(1, 3, 1, 1)
    return moved.clamp_(-1, 1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-12) ** exponent @ vectors.T


def luminance(images: Images) -> Tensor:
    """[1, 3, H, W] -> [1, 1, H, W]."""
    return torch.einsum("c,nchw->nhw", images.new_tensor(LUMA), images)[:, None]


def in_grey(images: Images) -> Images:
    """The luminance in all three channels."""
    return luminance(images).expand(-1, 3, -1, -1).contiguous()


def relit(images: Images, own: Colours, wanted: Colours) -> Images:
    """In grey, with the mean and the spread of the luminance that are wanted."""
    weights = torch.tensor(LUMA, dtype=torch.float64)
    spread = ((weights @ wanted.covariance @ weights) / (weights @ own.covariance @ weights + LEAST_VARIANCE)).sqrt()
    moved = (in_grey(images) - float(weights @ own.mean)) * float(spread) + float(weights @ wanted.mean)
    return moved.clamp_(-1, 1)


def with_luminance(colours: Images, bright: Images) -> Images:
    """The hue of one picture and the luminance of another: adding the same to R, G and B leaves I and Q alone."""
    return (colours + (luminance(bright) - luminance(colours))).clamp_(-1, 1)
