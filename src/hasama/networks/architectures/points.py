"""Two small networks for points in the plane, for the protocols of `hasama.metrics.modes`.

A point is a "picture" of two channels and one pixel, [N, 2, 1, 1], so that they are trained like pictures.

The protocol's networks (Lin et al. 2018, section 4.1, and the authors' code) are a generator of four layers of 400
ReLUs with BatchNorm, from two normal numbers, and a discriminator of three layers of 200 maxout units of five pieces;
they are trained for 400,000 steps. The latent and the discriminator's depth here are theirs. Departures, all for the
time of one CPU core, in which there are a twentieth as many steps, or fewer:

- layers of 128 units, and no normalisation;
- the generator's five layers are of steep hyperbolic tangents, whose plateaus give narrow modes: of
  the grid's points two thirds were of high quality after 9,400 steps of 32, with leaky ReLUs a quarter (three layers
  each, one seed);
- the generator's weights move at twice the recipe's rate (as StyleGAN's mapping moves at a hundredth of it: Karras et
  al. 2019, appendix C);
- the first layers' units turn all over the plane, not only near the origin, from where they would spread slowly.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.networks.layers import LEAKY_GAIN
from hasama.networks.pair import Pair
from hasama.shapes import Images, Latents

STEEP = 2.0
"""Gain of the generator's layers; 1 would keep the tangents nearly straight."""
RATE = 2.0
"""The generator's learning rate, as a multiple of the recipe's."""
REACH = 4.0
"""How steep the units of the discriminator's first layer are, whose points reach 1 in each direction."""


@dataclass(frozen=True)
class PointNetworks:
    """Sizes of the two networks.

    Attributes:
        width: units of each hidden layer.
        generator_depth, discriminator_depth: how many hidden layers each has.
        latent_size: length of the random vector.
    """

    width: int = 128
    generator_depth: int = 5
    discriminator_depth: int = 3
    latent_size: int = 2

    def build(self, resolution: tuple[int, int] = (1, 1), channels: int = 2, classes: int = 0) -> Pair:
        """Two coordinates; there are neither larger pictures nor classes."""
        return Pair(
            Generator([self.latent_size, *[self.width] * self.generator_depth, 2]),
            Discriminator([2, *[self.width] * self.discriminator_depth, 1]),
            self.latent_size,
        )


class Dense(nn.Module):
    """A fully connected layer, [N, inputs] -> [N, outputs], whose weights move `rate` times as fast as others."""

    def __init__(self, inputs: int, outputs: int, gain: float, spread: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain / math.sqrt(inputs) / rate))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-spread, spread) / rate)

    def forward(self, features: Float[Tensor, "n inputs"]) -> Float[Tensor, "n outputs"]:
        return F.linear(features, self.weight * self.rate, self.bias * self.rate)


class Generator(nn.Module):
    """latent -> hidden layers -> point."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = _layers(sizes, nn.Tanh, (STEEP * math.sqrt(2), STEEP, 1.0), 2 * STEEP, RATE)

    def forward(self, latents: Latents) -> Images:
        return self.layers(latents)[:, :, None, None]  # [N, 2] -> [N, 2, 1, 1]


class Discriminator(nn.Module):
    """Point -> hidden layers -> logit."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.layers = _layers(sizes, lambda: nn.LeakyReLU(0.2), (REACH * LEAKY_GAIN, LEAKY_GAIN, 1.0), REACH)

    def forward(self, images: Images) -> Tensor:
        return self.layers(images.flatten(1)).flatten()  # [N, 2, 1, 1] -> [N, 2] -> [N]


def _layers(
    sizes: list[int],
    unit: Callable[[], nn.Module],
    gains: tuple[float, float, float],
    spread: float,
    rate: float = 1.0,
) -> nn.Sequential:
    """Dense layers with units between them.

    Args:
        sizes: the inputs, of each hidden layer, the outputs.
        unit: makes what stands after each layer but the last.
        gains: of the first layer, of those between, of the last.
        spread: the first layer's biases lie within.
        rate: see `Dense`.
    """
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for place, (before, after) in enumerate(itertools.pairwise(sizes)):
        gain = gains[0] if place == 0 else gains[2] if place == last else gains[1]
        layers += [Dense(before, after, gain, spread if place == 0 else 0.0, rate), unit()]
    return nn.Sequential(*layers[:-1])
