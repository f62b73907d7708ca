"""Progressive growing (Karras et al. 2018): training begins with tiny pictures, and larger layers fade in.

Each size is trained for `grow_kimg`, the first half of which the new layers fade in (figure 2 of the paper). The
level is a function of the images seen, so a resumed run grows at the same steps. Equalised learning rate, pixel
normalisation and the deviation in the batch are of the paper's sections 3 and 4.

Departures: doubling and a convolution are one transposed 4x4 convolution of stride 2, a convolution and halving one
4x4 convolution of stride 2 (as the authors' code fuses them, but with a learnt kernel); each size has two
convolutions in all.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.networks.layers import (
    Conditioned,
    MinibatchStd,
    Projection,
    channels_at,
    doublings,
    equalised,
    pixel_norm,
)
from hasama.networks.pair import Pair
from hasama.shapes import Images, Labels, Latents, Views

Maps = Float[Tensor, "n _ _ _"]
"""Of several sizes and numbers of channels within one function."""
ROOT2 = math.sqrt(2)


@dataclass(frozen=True)
class Progressive:
    """Sizes of the two networks and the pace of their growth.

    Attributes:
        width: channels of the maps at 64x64; see `channels_at`.
        latent_size: length of the random vector.
        grow_images: images that each size of pictures is trained for; 0: all layers from the beginning.
    """

    width: int = 32
    latent_size: int = 128
    grow_images: float = 20_000

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """(height, width) that are a few pixels doubled several times."""
        steps, smallest = doublings(resolution, "progressive")
        widths = [channels_at(self.width, level) for level in range(steps + 1)]
        generator = Generator(smallest, channels, classes, widths, self.latent_size, self.grow_images)
        discriminator = Discriminator(smallest, channels, classes, widths, self.grow_images)

        def grow(images_seen: int) -> None:
            for growth in (generator.growth, discriminator.growth):
                growth.images_seen.fill_(images_seen)

        def view(real: Images) -> Views:
            level, share = discriminator.growth.position()
            return faded_view(real, steps - level, share)

        return Pair(generator, discriminator, self.latent_size, view, grow)


class Growth(nn.Module):
    """How far a network has grown: a function of the images seen, which the EMA generator and files keep."""

    images_seen: Tensor

    def __init__(self, steps: int, grow_images: float) -> None:
        super().__init__()
        self.steps, self.grow_images = steps, grow_images
        self.settled: tuple[int, float] | None = None
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.int64))

    def position(self) -> tuple[int, float]:
        """The level of the largest open layers, from 0 on, and how far they have faded in, 0 to 1."""
        if self.settled is not None:
            return self.settled
        return grown(int(self.images_seen), self.steps, self.grow_images)

    def settle(self) -> None:
        """Keep the position as it is, as a number that exporters can follow."""
        self.settled = self.position()


def grown(images_seen: int, steps: int, grow_images: float) -> tuple[int, float]:
    """(level, share faded in) after so many images. At the end of each fade and of each level it is continuous."""
    if not grow_images or images_seen >= steps * grow_images + grow_images / 2:
        return steps, 1.0
    level = int(images_seen // grow_images)
    if level == 0:
        return 0, 1.0
    return level, min(1.0, (images_seen - level * grow_images) / (grow_images / 2))


def faded_view(real: Maps, halvings: int, share: float) -> Maps:
    """Reals as small as the open layers, and as blurred as the fakes are while new layers fade in: section 2."""
    small = F.avg_pool2d(real, 2**halvings) if halvings else real
    if share == 1:
        return small
    return torch.lerp(twice(F.avg_pool2d(small, 2)), small, share)


def twice(images: Maps) -> Maps:
    """Twice as high and wide, each pixel repeated."""
    return F.interpolate(images, scale_factor=2, mode="nearest")


class Up(nn.Module):
    """[N, before, h, w] -> [N, after, 2h, 2w]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        # A transposed convolution sums 4 of its 16 taps at each place, from `before` channels.
        gain = ROOT2 * math.sqrt(after * 16 / (before * 4))
        self.doubling = equalised(nn.ConvTranspose2d(before, after, 4, 2, 1), gain)
        self.conv = equalised(nn.Conv2d(after, after, 3, padding=1), ROOT2)

    def forward(self, maps: Maps) -> Maps:
        maps = pixel_norm(F.leaky_relu(self.doubling(maps), 0.2))
        return pixel_norm(F.leaky_relu(self.conv(maps), 0.2))


class Down(nn.Module):
    """[N, before, h, w] -> [N, after, h/2, w/2]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = equalised(nn.Conv2d(before, before, 3, padding=1), ROOT2)
        self.halve = equalised(nn.Conv2d(before, after, 4, 2, 1), ROOT2)

    def forward(self, maps: Maps) -> Maps:
        return F.leaky_relu(self.halve(F.leaky_relu(self.conv(maps), 0.2)), 0.2)


class Start(nn.Module):
    """Latents [N, Z] -> the smallest maps [N, C, h, w]."""

    def __init__(self, latent_size: int, classes: int, width: int, smallest: tuple[int, int]) -> None:
        super().__init__()
        self.conditioned = Conditioned(latent_size, classes)
        self.shape = (width, *smallest)
        self.spread = equalised(nn.Linear(self.conditioned.features, math.prod(self.shape)), ROOT2 / 4)
        self.conv = equalised(nn.Conv2d(width, width, 3, padding=1), ROOT2)

    def forward(self, latents: Latents, labels: Labels | None) -> Maps:
        maps = self.spread(pixel_norm(self.conditioned(latents, labels))).unflatten(1, self.shape)
        maps = pixel_norm(F.leaky_relu(maps.contiguous(memory_format=torch.channels_last), 0.2))
        return pixel_norm(F.leaky_relu(self.conv(maps), 0.2))


class Generator(nn.Module):
    """While training it gives pictures as small as its open layers; otherwise always of the full size."""

    def __init__(
        self,
        smallest: tuple[int, int],
        channels: int,
        classes: int,
        widths: list[int],
        latent_size: int,
        grow_images: float,
    ) -> None:
        super().__init__()
        self.growth = Growth(len(widths) - 1, grow_images)
        self.start = Start(latent_size, classes, widths[0], smallest)
        self.stages = nn.ModuleList(Up(a, b) for a, b in itertools.pairwise(widths))
        self.to_rgbs = nn.ModuleList(equalised(nn.Conv2d(width, channels, 1)) for width in widths)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        level, share = self.growth.position()
        maps = before = self.start(latents, labels)
        for stage in self.stages[:level]:
            before, maps = maps, stage(maps)
        picture = self.to_rgbs[level](maps).float()
        if share < 1:
            picture = torch.lerp(twice(self.to_rgbs[level - 1](before).float()), picture, share)
        if not self.training:
            for _ in range(self.growth.steps - level):
                picture = twice(picture)
        return picture


class Discriminator(nn.Module):
    """The generator mirrored: pictures of the size of its open layers -> logits. Listed from the picture inwards."""

    def __init__(
        self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int], grow_images: float
    ) -> None:
        super().__init__()
        steps = len(widths) - 1
        self.growth = Growth(steps, grow_images)
        self.stages = nn.ModuleDict()  # named by their size, so that larger networks have them too
        for level in range(steps, -1, -1):
            stage = nn.ModuleDict({"from_rgb": equalised(nn.Conv2d(channels, widths[level], 1), ROOT2)})
            if level:
                stage["down"] = Down(widths[level], widths[level - 1])
            self.stages[f"level{level}"] = stage
        self.head = Head(widths[0], smallest, classes)

    def forward(self, images: Images, labels: Labels | None = None) -> Tensor:
        level, share = self.growth.position()
        maps = self._from_rgb(images, level)
        for now in range(level, 0, -1):
            maps = self._stage(now)["down"](maps)
            if now == level and share < 1:
                maps = torch.lerp(self._from_rgb(F.avg_pool2d(images, 2), level - 1), maps, share)
        return self.head(maps, labels)

    def _stage(self, level: int) -> nn.ModuleDict:
        stage = self.stages[f"level{level}"]
        assert isinstance(stage, nn.ModuleDict)
        return stage

    def _from_rgb(self, images: Maps, level: int) -> Maps:
        return F.leaky_relu(self._stage(level)["from_rgb"](images), 0.2)


class Head(nn.Module):
    """The smallest maps [N, C, h, w] -> logits, with the deviation in the batch as one more channel."""

    def __init__(self, width: int, smallest: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.compare = MinibatchStd()
        self.conv = equalised(nn.Conv2d(width + 1, width, 3, padding=1), ROOT2)
        self.gather = equalised(nn.Conv2d(width, width, smallest), ROOT2)
        self.logit = equalised(nn.Linear(width, 1))
        self.projection = Projection(width, classes)

    def forward(self, maps: Maps, labels: Labels | None) -> Tensor:
        maps = F.leaky_relu(self.conv(self.compare(maps)), 0.2)
        features = F.leaky_relu(self.gather(maps), 0.2).flatten(1)  # [N, C, h, w] -> [N, C]
        return self.logit(features).flatten() + self.projection(features, labels)
