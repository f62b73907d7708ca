"""MSG-GAN: multi-scale gradients (Karnewar and Wang 2020).

The generator makes a picture at every size, and the discriminator takes all of them, each where its own maps have
that size: so gradients reach every layer at once, and nothing needs to grow. Reals are shown as a pyramid. The
layers are those of progressive growing, as in the paper's MSG-ProGAN; the pictures are joined to the maps by
concatenation (section 3, "phi simple").
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hasama.networks.architectures.progressive import ROOT2, Head, Maps, Start, Up
from hasama.networks.layers import channels_at, doublings, equalised
from hasama.networks.pair import Pair
from hasama.shapes import Images, Labels, Latents, Pyramid, Views


@dataclass(frozen=True)
class MSG:
    """Sizes of the two networks.

    Attributes:
        width: channels of the maps at 64x64; see `channels_at`.
        latent_size: length of the random vector.
    """

    width: int = 32
    latent_size: int = 128

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """(height, width) that are a few pixels doubled several times."""
        steps, smallest = doublings(resolution, "msg")
        widths = [channels_at(self.width, level) for level in range(steps + 1)]

        def view(real: Images) -> Pyramid:
            return pyramid(real, steps)

        generator = Generator(smallest, channels, classes, widths, self.latent_size)
        return Pair(generator, Discriminator(smallest, channels, classes, widths), self.latent_size, view)


def pyramid(real: Images, halvings: int) -> Pyramid:
    """The pictures, and halved again and again by the mean of 2x2 pixels; the largest first."""
    return (real, *(F.avg_pool2d(real, 2**level) for level in range(1, halvings + 1)))


class Generator(nn.Module):
    """While training it gives the pictures of all sizes, the largest first; otherwise only that."""

    def __init__(
        self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int], latent_size: int
    ) -> None:
        super().__init__()
        self.start = Start(latent_size, classes, widths[0], smallest)
        self.stages = nn.ModuleList(Up(a, b) for a, b in itertools.pairwise(widths))
        self.to_rgbs = nn.ModuleList(equalised(nn.Conv2d(width, channels, 1)) for width in widths)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Views:
        maps = [self.start(latents, labels)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        if not self.training:
            return self.to_rgbs[-1](maps[-1])
        return tuple(to_rgb(map_) for to_rgb, map_ in zip(self.to_rgbs, maps, strict=True))[::-1]


class Join(nn.Module):
    """The maps so far and the picture of their size -> maps half as high and wide."""

    def __init__(self, before: int, channels: int, after: int) -> None:
        super().__init__()
        self.conv = equalised(nn.Conv2d(before + channels, before, 3, padding=1), ROOT2)
        self.halve = equalised(nn.Conv2d(before, after, 4, 2, 1), ROOT2)

    def forward(self, maps: Maps, picture: Maps) -> Maps:
        maps = F.leaky_relu(self.conv(torch.cat([maps, picture.to(maps.dtype)], 1)), 0.2)
        return F.leaky_relu(self.halve(maps), 0.2)


class Discriminator(nn.Module):
    """A pyramid, the largest first -> logits. Stages are listed from the picture inwards."""

    def __init__(self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int]) -> None:
        super().__init__()
        steps = len(widths) - 1
        self.from_rgb = equalised(nn.Conv2d(channels, widths[-1], 1), ROOT2)
        self.stages = nn.ModuleDict()  # named by their size, so that larger networks have them too
        for level in range(steps, 0, -1):
            self.stages[f"level{level}"] = Join(widths[level], channels, widths[level - 1])
        self.last = equalised(nn.Conv2d(widths[0] + channels, widths[0], 1), ROOT2)
        self.head = Head(widths[0], smallest, classes)

    def forward(self, views: Pyramid, labels: Labels | None = None) -> Tensor:
        maps = F.leaky_relu(self.from_rgb(views[0]), 0.2)
        for stage, picture in zip(self.stages.values(), views, strict=False):
            maps = stage(maps, picture)
        joined = torch.cat([maps, views[-1].to(maps.dtype)], 1)
        return self.head(F.leaky_relu(self.last(joined), 0.2), labels)
