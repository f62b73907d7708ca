"""Penalties on the discriminator's gradient: pure functions of images and their logits, one number per image.

The weight gamma is the caller's. The gradient's norm is over all values of an image (channels and pixels; of a
pyramid, all its levels').
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch

from hasama.shapes import Logits, Maps, PerImage, Views, each, largest
from hasama.shares import drawn


def squared_gradient(images: Views | Maps, logits: Logits) -> PerImage:
    """|grad_x D(x)|^2 / 2: R1 on reals, R2 on fakes. Mescheder et al. 2018, eq. 9 and 10."""
    return _gradient(images, logits).square().sum(1) / 2


def squared_difference(logits: Logits, moved: Logits, sigma: float) -> PerImage:
    """|grad_x D(x)|^2 / 2 by finite differences: (D(x + sigma n) - D(x))^2 / (2 sigma^2) with n from N(0, 1).

    Lin et al. 2025 (adversarial post-training), eq. 5, with the weight of R1 and R2: for small sigma the expectation
    is theirs, but one draw of noise sees one direction, and bfloat16's rounding is of the size of small differences.

    Args:
        logits: D(x) [N].
        moved: D(x + sigma n) [N].
        sigma: the noise's standard deviation, in units of the images' range -1 to 1.
    """
    return (moved - logits).square() / (2 * sigma**2)


def unit_gradient(images: Views, logits: Logits) -> PerImage:
    """(|grad_x D(x)| - 1)^2 between reals and fakes. Gulrajani et al. 2017, eq. 3."""
    return (_gradient(images, logits).norm(dim=1) - 1).square()


def _gradient(images: Views | Maps, logits: Logits) -> torch.Tensor:
    """grad_x D(x) of each image, flattened to [N, C*H*W], itself differentiable."""
    gradients = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return torch.cat([gradient.flatten(1).float() for gradient in gradients], 1)


def between(real: Views, fake: Views) -> Views:
    """A random point on the line from each real to a fake, the same at every level of a pyramid.

    Gulrajani et al. 2017, algorithm 1, line 6.
    """
    first = largest(real)
    share = drawn(partial(torch.rand, device=first.device), len(first), *[1] * (first.ndim - 1))
    return each(lambda real, fake: fake + share * (real - fake), real, fake)


class Penalty(NamedTuple):
    """Which images a penalty is computed on, and the penalty itself."""

    on: Literal["real", "fake", "between"]
    cost: Callable[[Views, Logits], PerImage]


PENALTIES: dict[str, tuple[Penalty, ...]] = {
    "none": (),
    "r1": (Penalty("real", squared_gradient),),
    "r2": (Penalty("fake", squared_gradient),),
    "r1+r2": (Penalty("real", squared_gradient), Penalty("fake", squared_gradient)),
    "wgan-gp": (Penalty("between", unit_gradient),),
}
