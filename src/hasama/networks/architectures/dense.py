"""The lesson's first GAN: fully connected layers only (Goodfellow et al. 2014, section 5, with today's layers)."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import nn

from hasama.networks.layers import Conditioned, Dropout, Projection
from hasama.networks.pair import Pair
from hasama.shapes import Images, Labels, Latents


@dataclass(frozen=True)
class Dense:
    """Sizes of the two networks.

    Attributes:
        width: units of the generator's first layer; the next have 2 and 4 times as many (256, 512, 1024), and
            the discriminator has them in the other order.
        latent_size: length of the random vector.
        dropout: share of the discriminator's units that is silenced while training.
        discriminator_layers: its hidden layers; the last has `width` units, each before it twice as many.
        generator_norm: 'batch' as the lesson has it, with a momentum of 0.2, or 'none'.
    """

    width: int = 256
    latent_size: int = 100
    dropout: float = 0.3
    discriminator_layers: int = 3
    generator_norm: str = "none"

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """Any (height, width)."""
        shape = (channels, *resolution)
        return Pair(
            Generator(shape, classes, self.width, self.latent_size, self.generator_norm == "batch"),
            Discriminator(shape, classes, self.width, self.dropout, self.discriminator_layers),
            self.latent_size,
        )


class Generator(nn.Module):
    """latent -> width -> 2 width -> 4 width -> picture."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int, latent_size: int, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.shape = shape
        self.conditioned = Conditioned(latent_size, classes)
        self.layers = nn.Sequential()
        for before, after in itertools.pairwise((self.conditioned.features, width, 2 * width, 4 * width)):
            norm = [nn.BatchNorm1d(after, momentum=0.2)] if batch_norm else []
            self.layers.extend([nn.Linear(before, after), *norm, nn.LeakyReLU(0.2, inplace=True)])
        self.layers.extend([nn.Linear(4 * width, math.prod(shape)), nn.Tanh()])

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        return self.layers(self.conditioned(latents, labels)).unflatten(1, self.shape)  # [N, C*H*W] -> [N, C, H, W]


class Discriminator(nn.Module):
    """picture -> ... -> 4 width -> 2 width -> width -> logit, with dropout."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, dropout: float, layers: int) -> None:
        super().__init__()
        units = [math.prod(shape), *(width << step for step in reversed(range(layers)))]
        self.layers = nn.Sequential()
        for before, after in itertools.pairwise(units):
            self.layers.extend([nn.Linear(before, after), nn.LeakyReLU(0.2, inplace=True), Dropout(dropout)])
        self.logit = nn.Linear(width, 1)
        self.projection = Projection(width, classes)

    def forward(self, images: Images, labels: Labels | None = None) -> torch.Tensor:
        features = self.layers(images.flatten(1))  # [N, C, H, W] -> [N, C*H*W] -> [N, F]
        return self.logit(features).flatten() + self.projection(features, labels)
