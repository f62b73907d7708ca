"""Two small networks for many narrow modes in the plane: both see a point's sines and cosines.

A plain network learns slow functions of a point first (Rahaman et al. 2019): of a hundred modes, each a thirtieth as
wide as their distance, it finds nothing in a thousand steps. Sines and cosines at octaves beside the coordinates put
fast functions within reach (Mildenhall et al. 2020, section 5.1; Tancik et al. 2020).

- The generator begins as the identity on a square: two normal numbers become a place in it, by the normal
  distribution function; a network moves the place. It sees two further normal numbers, from which it learns the width
  of the modes.
- The places are those of a lattice, each equally likely. A continuous generator makes connected points of connected
  places, and so leaves bridges of points between the modes (Khayatkhoei et al. 2018, section 3); between two places
  of a lattice it can jump.
- The discriminator is that of `hasama.networks.architectures.points`, with the sines and cosines beside the point.

What this takes for granted: the square is the data's, one of the octaves is the period of the grid, and a lattice of
40 places a side gives each of 10 x 10 modes 16 of them. (After 700 steps with 40 places 92 % were of high quality,
with 64, which do not divide by 10, 78 %; one seed each.) The package `particlegan`, with whose figures ours for a
hundred modes are compared, takes as much for granted: the same octave in its critic, and a generator that begins as
the identity on 20,000 points of the same square, to which noise of the data's width is added.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hasama.networks.architectures.points import Dense
from hasama.networks.layers import LEAKY_GAIN
from hasama.networks.pair import Pair
from hasama.shapes import Images, Latents

PLACE = 2
"""How many of the latent's numbers become the place; the others are the noise around it."""
STEEP = 2.0
"""Gain of the generator's hidden layers: tangents that are steep give narrow modes."""
QUIET = 0.1
"""Gain of the generator's last layer: at first a place hardly moves."""


@dataclass(frozen=True)
class FourierPointNetworks:
    """Sizes of the two networks; coordinates are about -1 to 1, as everywhere in the networks.

    Attributes:
        reach: half the side of the square in which the generator's places lie.
        places: of the lattice along each side.
        slowest: the lowest frequency in radians per unit; each further one is twice as high.
        octaves: how many frequencies there are.
        width: units of each hidden layer.
        depth: hidden layers of each network.
        latent_size: length of the random vector, at least 3.
    """

    reach: float
    slowest: float
    octaves: int
    places: int = 40
    width: int = 128
    depth: int = 3
    latent_size: int = 4

    def build(self, resolution: tuple[int, int] = (1, 1), channels: int = 2, classes: int = 0) -> Pair:
        """Two coordinates; there are neither larger pictures nor classes."""
        return Pair(Generator(self), Discriminator(self), self.latent_size)


class Waves(nn.Module):
    """Places with their sines and cosines beside them, [N, 2] -> [N, 2 + 4 * octaves]."""

    frequencies: Tensor

    def __init__(self, slowest: float, octaves: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", slowest * 2.0 ** torch.arange(octaves))
        self.features = 2 + 4 * octaves

    def forward(self, places: Tensor) -> Tensor:
        angles = (places[:, :, None] * self.frequencies).flatten(1)  # [N, 2] -> [N, 2 * octaves]
        return torch.cat([places, angles.sin(), angles.cos()], 1)


class Generator(nn.Module):
    """latent [N, L] -> a place and noise -> the place, moved: a point [N, 2, 1, 1]."""

    def __init__(self, sizes: FourierPointNetworks) -> None:
        super().__init__()
        self.reach, self.places = sizes.reach, sizes.places
        self.waves = Waves(sizes.slowest, sizes.octaves)
        self.layers = nn.Sequential()
        inputs = self.waves.features + sizes.latent_size - PLACE
        for _ in range(sizes.depth):
            self.layers.extend([Dense(inputs, sizes.width, STEEP), nn.Tanh()])
            inputs = sizes.width
        self.layers.append(Dense(inputs, 2, QUIET))

    def forward(self, latents: Latents) -> Images:
        share = (torch.erf(latents[:, :PLACE] / math.sqrt(2)) + 1) / 2  # uniform, 0 to 1
        number = (share * self.places).floor().clamp(0, self.places - 1)  # float32 has 1.0, too
        places = self.reach * ((2 * number + 1) / self.places - 1)  # the middles of the lattice's squares
        moves = self.layers(torch.cat([self.waves(places), latents[:, PLACE:]], 1))
        return (places + moves)[:, :, None, None]  # [N, 2] -> [N, 2, 1, 1]


class Discriminator(nn.Module):
    """Point [N, 2, 1, 1] -> hidden layers -> logit [N]."""

    def __init__(self, sizes: FourierPointNetworks) -> None:
        super().__init__()
        self.waves = Waves(sizes.slowest, sizes.octaves)
        inputs, gain = self.waves.features, math.sqrt(2) * LEAKY_GAIN  # the mean square of a sine is a half
        self.layers = nn.Sequential()
        for _ in range(sizes.depth):
            self.layers.extend([Dense(inputs, sizes.width, gain), nn.LeakyReLU(0.2)])
            inputs, gain = sizes.width, LEAKY_GAIN
        self.layers.append(Dense(inputs, 1, 1.0))

    def forward(self, images: Images) -> Tensor:
        return self.layers(self.waves(images.flatten(1))).flatten()  # [N, 2, 1, 1] -> [N, 2] -> [N]
