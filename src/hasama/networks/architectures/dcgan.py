"""DCGAN: a convolutional discriminator and a deconvolving generator (Radford et al. 2016)."""

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from hasama.networks.layers import Conditioned, Dropout, Projection, cut, halvings, map_sizes, small_normal, widths
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
        dropout: share of the units after each of the discriminator's halvings that is silenced while training.
    """

    width: int = 64
    latent_size: int = 100
    discriminator_norm: str = "batch"
    dropout: float = 0.0

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """Any (height, width) of at least 8. Odd maps are cut (`layers.map_sizes`) and halved (`Discriminator`).

        Raises:
            HasamaError: a side is shorter than 8 pixels.
        """
        batch_norm = self.discriminator_norm == "batch"
        return Pair(
            Generator(resolution, channels, classes, self.width, self.latent_size),
            Discriminator(resolution, channels, classes, self.width, batch_norm, self.dropout),
            self.latent_size,
        )


class Generator(nn.Module):
    """A latent, spread over the smallest map, then doubled by transposed convolutions (figure 1 of the paper).

    For pictures that are no doublings of it a slightly larger map is made, and cut: see `layers.map_sizes`.
    """

    def __init__(
        self, resolution: tuple[int, int], channels: int, classes: int, width: int, latent_size: int
    ) -> None:
        super().__init__()
        steps, smallest = halvings(resolution)
        inner = widths(width, steps)[::-1]
        self.sizes = map_sizes(resolution)
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
        maps = self.spread(seed)
        for double, size in zip(self.doublings, self.sizes[1:-1], strict=True):
            maps = cut(double(maps), size)
        return torch.tanh(cut(self.to_rgb(maps), self.sizes[-1]))


def doubling(before: int, after: int) -> nn.Sequential:
    """Twice the height and width."""
    return nn.Sequential(Double(before, after), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Discriminator(nn.Module):
    """Strided convolutions down to the smallest map, then one logit.

    Half of an odd side is rounded down: the 4x4 windows, every second place, cover the last row and column of an odd
    map too; it only has no padding beyond them.
    """

    def __init__(
        self,
        resolution: tuple[int, int],
        channels: int,
        classes: int,
        width: int,
        batch_norm: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        steps, _smallest = halvings(resolution)
        inner = widths(width, steps)
        last = (resolution[0] >> steps, resolution[1] >> steps)
        first = (nn.Conv2d(channels, inner[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), Dropout(dropout))
        further = (halving(a, b, batch_norm, dropout) for a, b in itertools.pairwise(inner))
        self.halvings = nn.Sequential(nn.Sequential(*first), *further)
        self.logit = nn.Conv2d(inner[-1], 1, last)
        self.projection = Projection(inner[-1], classes)
        self.apply(small_normal)

    def forward(self, images: Images, labels: Labels | None = None) -> torch.Tensor:
        features = self.halvings(images)
        return self.logit(features).flatten() + self.projection(features.sum((2, 3)), labels)  # [N, F, h, w] -> [N]


def halving(before: int, after: int, batch_norm: bool, dropout: float = 0.0) -> nn.Sequential:
    """Half the height and width, rounded down. No normalisation next to the picture: section 3 of the paper."""
    norm = nn.BatchNorm2d(after) if batch_norm else nn.Identity()
    convolution = Halve(before, after, bias=not batch_norm)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.2, inplace=True), Dropout(dropout))
