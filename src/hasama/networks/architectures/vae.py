"""The variational autoencoder (Kingma and Welling 2014): the baseline that GANs beat.

It has DCGAN's convolutions, so that what differs in the pictures is the way of learning. Its loop and its losses
are in `hasama.training.autoencoder`.
"""

import itertools
from dataclasses import dataclass

from torch import nn

from hasama.networks.architectures.dcgan import Generator, halving
from hasama.networks.layers import halvings, small_normal, widths
from hasama.networks.pair import Pair
from hasama.shapes import Images, Latents


@dataclass(frozen=True)
class VAE:
    """Sizes of the encoder and the decoder.

    Attributes:
        width: channels of the layer next to the picture.
        latent_size: length of the latent.
    """

    width: int = 64
    latent_size: int = 64

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """Any (height, width) of at least 8, as for a dcgan. The encoder takes the discriminator's place.

        Raises:
            HasamaError: a side is shorter than 8 pixels.
        """
        decoder = Generator(resolution, channels, 0, self.width, self.latent_size)
        return Pair(decoder, Encoder(resolution, channels, self.width, self.latent_size), self.latent_size)


class Encoder(nn.Module):
    """images [N, C, H, W] -> mean and log variance of the latent, [N, 2 Z]."""

    def __init__(self, resolution: tuple[int, int], channels: int, width: int, latent_size: int) -> None:
        super().__init__()
        steps, _ = halvings(resolution)
        inner = [channels, *widths(width, steps)]
        last = (resolution[0] >> steps, resolution[1] >> steps)
        self.halvings = nn.Sequential(*(halving(a, b, True) for a, b in itertools.pairwise(inner)))
        self.moments = nn.Conv2d(inner[-1], 2 * latent_size, last)
        self.apply(small_normal)

    def forward(self, images: Images) -> Latents:
        return self.moments(self.halvings(images)).flatten(1)
