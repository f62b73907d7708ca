"""A GAN for few pictures and little time, after FastGAN (Liu et al. 2021).

Skip-layer excitation: small maps of the generator, early in its depth, decide how much each channel of much larger
ones counts, which gives the gradient a shorter way (section 3.1). The discriminator also reconstructs the reals from
its own small maps, so that it learns what is in a picture instead of learning the few pictures by heart (section
3.2). It is meant for DiffAugment: the recipe `fast`.

Departures: gated linear units follow batch normalisation as in the paper, but maps are convolved before they are
doubled, by linear interpolation, which leaves no grain; the discriminator has no normalisation but begins
with weights that keep the variance of the maps, for the relativistic objective with R1 and R2 (Huang et al. 2024),
where the paper has hinge loss, spectral and batch normalisation (with spectral normalisation alone its logits of
fakes and reals were the same after hundreds of steps); it gives one logit for each picture; it reconstructs the whole
picture at half its size, which is compared by the mean absolute difference, for the paper's perceptual distance needs
another network.
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.networks.layers import Conditioned, Projection, channels_at, doublings
from hasama.networks.pair import Extra, Pair
from hasama.shapes import Images, Labels, Latents, PerImage, Views, largest
from hasama.shares import drawn

Maps = Float[Tensor, "n _ _ _"]
"""Of several sizes and numbers of channels within one function."""
REACH = 4  # doublings between the maps that excite and those that are excited: 16 times as wide, as in the paper
KEPT = 1  # level of the maps that pictures are drawn again from: 8x8


@dataclass(frozen=True)
class Fast:
    """Sizes of the two networks.

    Attributes:
        width: channels of the maps at 64x64; see `channels_at`.
        latent_size: length of the random vector.
        reconstruction: weight of the discriminator's reconstruction of reals; 0 for none.
    """

    width: int = 32
    latent_size: int = 128
    reconstruction: float = 1.0

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """(height, width) that are a few pixels doubled several times."""
        steps, smallest = doublings(resolution, "fast")
        widths = [channels_at(self.width, level) for level in range(steps + 1)]

        def cost(discriminator: nn.Module, real: Views) -> PerImage:
            assert isinstance(discriminator, Discriminator)
            return self.reconstruction * discriminator.misdrawn(largest(real))

        return Pair(
            Generator(smallest, channels, classes, widths, self.latent_size),
            Discriminator(smallest, channels, classes, widths),
            self.latent_size,
            discriminator_extra=Extra("reconstruction", cost) if self.reconstruction else None,
        )


def gated(maps: Maps) -> Maps:
    """[N, 2 C, h, w] -> [N, C, h, w], one half gated by the other: Dauphin et al. 2017, eq. 1. (torch's own GLU has a
    gradient in another layout, which made the whole of the generator's turn half as slow again.)
    """
    linear, gate = maps.chunk(2, 1)
    return linear * torch.sigmoid(gate)


class Doubling(nn.Module):
    """[N, before, h, w] -> [N, after, 2h, 2w]: doubled, noise, normalised, gated."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, 2 * after, 3, padding=1, bias=False)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm2d(2 * after)

    def forward(self, maps: Maps) -> Maps:
        maps = F.interpolate(self.conv(maps), scale_factor=2, mode="bilinear", align_corners=False)
        if self.training:
            noise = drawn(partial(torch.randn, device=maps.device), len(maps), 1, *maps.shape[2:])
            maps = maps + (self.noise_strength * noise).to(maps.dtype)
        return gated(self.norm(maps))


class Excitation(nn.Module):
    """Small maps [N, F, h, w] -> how much each of C channels of large ones counts, [N, C, 1, 1]: figure 3."""

    def __init__(self, small: int, large: int, smallest: tuple[int, int]) -> None:
        super().__init__()
        self.smallest = smallest
        self.gather = nn.Conv2d(small, large, smallest)
        self.weigh = nn.Conv2d(large, large, 1)

    def forward(self, small: Maps) -> Maps:
        height, width = self.smallest
        pooled = F.avg_pool2d(small, (small.shape[2] // height, small.shape[3] // width))
        return torch.sigmoid(self.weigh(F.leaky_relu(self.gather(pooled), 0.1)))


class Generator(nn.Module):
    """Latents -> the smallest maps -> doublings, the large ones excited by small ones -> pictures."""

    def __init__(
        self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int], latent_size: int
    ) -> None:
        super().__init__()
        self.shape = (2 * widths[0], *smallest)
        self.conditioned = Conditioned(latent_size, classes)
        self.spread = nn.Linear(self.conditioned.features, math.prod(self.shape), bias=False)
        self.norm = nn.BatchNorm2d(2 * widths[0])
        self.doublings = nn.ModuleList(Doubling(a, b) for a, b in itertools.pairwise(widths))
        reach = min(REACH, len(widths) - 1)
        self.excitations = nn.ModuleDict(
            {str(to): Excitation(widths[to - reach], widths[to], smallest) for to in range(reach, len(widths))}
        )
        self.reach = reach
        self.to_rgb = nn.Conv2d(widths[-1], channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        spread = self.spread(self.conditioned(latents, labels)).unflatten(1, self.shape)
        maps = [gated(self.norm(spread.contiguous(memory_format=torch.channels_last)))]
        for level, doubling in enumerate(self.doublings, 1):
            large = doubling(maps[-1])
            if str(level) in self.excitations:
                large = large * self.excitations[str(level)](maps[level - self.reach])
            maps.append(large)
        return torch.tanh(self.to_rgb(maps[-1]))


class Halving(nn.Module):
    """[N, before, h, w] -> [N, after, h/2, w/2]: the sum of convolved and of averaged maps, figure 4."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(before, after, 4, 2, 1)
        self.conv = nn.Conv2d(after, after, 3, padding=1)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, maps: Maps) -> Maps:
        convolved = F.leaky_relu(self.conv(F.leaky_relu(self.halve(maps), 0.2)), 0.2)
        return (convolved + F.leaky_relu(self.skip(F.avg_pool2d(maps, 2)), 0.2)) * 0.5**0.5


class Discriminator(nn.Module):
    """Halvings from the picture inwards, one logit; and a decoder that draws the picture again."""

    def __init__(self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int]) -> None:
        super().__init__()
        self.from_rgb = nn.Conv2d(channels, widths[-2], 4, 2, 1)
        self.stages = nn.ModuleDict()  # named by their size, so that larger networks have them too
        for level in range(len(widths) - 2, 0, -1):
            self.stages[f"level{level}"] = Halving(widths[level], widths[level - 1])
        self.last = nn.Conv2d(widths[0], widths[0], 1)
        self.logit = nn.Conv2d(widths[0], 1, smallest)
        self.projection = Projection(widths[0], classes)
        drawn = len(widths) - 2  # level of what is drawn: half the picture's size
        kept = min(KEPT, drawn)
        self.draw = Drawing(widths[kept], channels, drawn - kept)
        self.kept = f"level{kept}"  # the stage whose input is kept for drawing
        for module in self.modules():  # He et al. 2015: nothing else keeps the variance from layer to layer
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, 0.2)

    def forward(self, images: Images, labels: Labels | None = None) -> Tensor:
        maps = self.inwards(images, None)
        features = F.leaky_relu(self.last(maps), 0.2)
        return self.logit(features).flatten() + self.projection(features.mean((2, 3)), labels)

    def inwards(self, images: Images, until: str | None) -> Maps:
        """The maps before the stage `until`, or after all."""
        maps = F.leaky_relu(self.from_rgb(images), 0.2)
        for name, stage in self.stages.items():
            if name == until:
                break
            maps = stage(maps)
        return maps

    def misdrawn(self, real: Images) -> PerImage:
        """The mean absolute difference between reals at half their size and what the maps of them tell: eq. 4."""
        again = self.draw(self.inwards(real, self.kept)).float()
        return (again - F.avg_pool2d(real, 2)).abs().mean((1, 2, 3))


class Drawing(nn.Module):
    """[N, C, h, w] -> pictures [N, channels, ...] doubled several times."""

    def __init__(self, width: int, channels: int, doublings: int) -> None:
        super().__init__()
        sizes = [max(8, width >> k) for k in range(doublings + 1)]
        self.doublings = nn.Sequential(
            *(
                nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
                for a, b in zip([width, *sizes[1:]], sizes[1:], strict=False)
            )
        )
        self.to_rgb = nn.Conv2d(sizes[-1] if doublings else width, channels, 3, padding=1)

    def forward(self, maps: Maps) -> Maps:
        return torch.tanh(self.to_rgb(self.doublings(maps)))
