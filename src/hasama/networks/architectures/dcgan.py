"""DCGAN: a convolutional discriminator and a deconvolving generator (Radford et al. 2016)."""

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from hasama.networks.layers import Conditioned, Projection, cut, halvings, small_normal, widths
from hasama.networks.pair import Pair
from hasama.networks.strided import Double, Halve
from hasama.shapes import Images, Labels, Latents


@dataclass(frozen=True)
class DCGAN:
    """Sizes of the two networks.

    Attributes:
        width: channels of the layer next to the picture; deeper layers have 2, 4, 8 times as many.
        latent_size: length of the random vector.
        discriminator_norm: 'batch' as in the paper, or 'none', which gradient penalties need.
    """

    width: int = 64
    latent_size: int = 100
    discriminator_norm: str = "batch"

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """Any (height, width) of multiples of 8."""
        return Pair(
            Generator(resolution, channels, classes, self.width, self.latent_size),
            Discriminator(resolution, channels, classes, self.width, self.discriminator_norm == "batch"),
            self.latent_size,
        )


class Generator(nn.Module):
    """A latent, spread over the smallest picture, then doubled by transposed convolutions (figure 1 of the paper)."""

    def __init__(
        self, resolution: tuple[int, int], channels: int, classes: int, width: int, latent_size: int
    ) -> None:
        super().__init__()
        steps, smallest = halvings(resolution)
        inner = widths(width, steps)[::-1]
        self.resolution = resolution
        self.conditioned = Conditioned(latent_size, classes)
        self.spread = nn.Sequential(
            nn.ConvTranspose2d(self.conditioned.features, inner[0], smallest, bias=False),
            nn.BatchNorm2d(inner[0]),
            nn.ReLU(inplace=True),
        )
        self.doublings = nn.Sequential(*map(doubling, inner, inner[1:]))
        self.to_rgb = nn.ConvTranspose2d(inner[-1], channels, 4, 2, 1, bias=False)
        self.apply(small_normal)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        seed = self.conditioned(latents, labels)[:, :, None, None]  # [N, Z] -> [N, Z, 1, 1]
        return torch.tanh(cut(self.to_rgb(self.doublings(self.spread(seed))), self.resolution))


def doubling(before: int, after: int) -> nn.Sequential:
    """Twice the height and width."""
    return nn.Sequential(Double(before, after), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Discriminator(nn.Module):
    """Strided convolutions down to the smallest picture, then one logit."""

    def __init__(
        self, resolution: tuple[int, int], channels: int, classes: int, width: int, batch_norm: bool
    ) -> None:
        super().__init__()
        steps, _smallest = halvings(resolution)
        inner = widths(width, steps)
        last = (resolution[0] >> steps, resolution[1] >> steps)
        first = nn.Sequential(nn.Conv2d(channels, inner[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
        self.halvings = nn.Sequential(first, *(halving(a, b, batch_norm) for a, b in itertools.pairwise(inner)))
        self.logit = nn.Conv2d(inner[-1], 1, last)
        self.projection = Projection(inner[-1], classes)
        self.apply(small_normal)

    def forward(self, images: Images, labels: Labels | None = None) -> torch.Tensor:
        features = self.halvings(images)
        return self.logit(features).flatten() + self.projection(features.sum((2, 3)), labels)  # [N, F, h, w] -> [N]


def halving(before: int, after: int, batch_norm: bool) -> nn.Sequential:
    """Half the height and width. No normalisation next to the picture: section 3 of the paper."""
    norm = nn.BatchNorm2d(after) if batch_norm else nn.Identity()
    return nn.Sequential(Halve(before, after, bias=not batch_norm), norm, nn.LeakyReLU(0.2, inplace=True))
