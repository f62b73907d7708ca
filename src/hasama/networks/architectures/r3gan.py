"""R3GAN: residual networks without normalisation or tricks, for the relativistic objective with R1 and R2.

Huang et al. 2024, "The GAN is dead; long live the GAN!", config E. Blocks are 1x1 -> 3x3 grouped -> 1x1 around a
skip; the last convolution of each starts at zero (Zhang et al. 2019, Fixup), so that at first the networks are
shallow and the variance of the maps is that of the input. Groups can be as narrow as one channel (depthwise, Howard
et al. 2017, section 3.1).

Departures, all of them for the time that a CPU has: a stage of the discriminator has one block and the generator's as
many as asked for, where the paper has two in both. With `strided` resampling the largest maps are half as high and
wide as the picture, which a 4x4 convolution of stride 2 (transposed in the generator, and smooth at first) connects
with them, as in DCGAN; maps are halved by the mean of 2x2 places and doubled by linear interpolation. With `filtered`
resampling it is the paper's: maps of all sizes up to the picture's, which 1x1 convolutions connect with it; halved
and doubled with the filter [1, 2, 1].

And, if asked, noise for each pixel (Karras et al. 2019, section 3.2), but at the end only (`PixelNoise`);
self-modulation (`Modulation`); attention in the generator's small maps (`SelfAttention`); and a discriminator that
compares the pictures of a batch (`MinibatchStds`).
"""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.networks.attention import SelfAttention
from hasama.networks.layers import (
    LEAKY_GAIN,
    Conditioned,
    MinibatchStds,
    Projection,
    WeighedPlaces,
    binomial,
    channels_at,
    doublings,
    scaled,
)
from hasama.networks.pair import Pair
from hasama.shapes import Images, Labels, Latents
from hasama.shares import drawn

Smaller = Float[Tensor, "n c h/2 w/2"]
Larger = Float[Tensor, "n c 2*h 2*w"]

ATTENTIVE = (1, 2)
"""Doublings of the maps whose places attend to each other: about 8x8 and 16x16 places; with more it is dear."""

BEYOND = 0.05
"""How much counts, with `clip_output`, of what is blacker than black and whiter than white."""


@dataclass(frozen=True)
class R3GAN:
    """Sizes of the two networks.

    Attributes:
        width: channels of the maps at 64x64; see `channels_at`.
        latent_size: length of the random vector.
        resampling: how maps become larger and smaller, and how the largest are connected with the picture.
        group_width: channels that a 3x3 convolution mixes.
        pixel_noise: whether the generator's pictures get noise.
        generator_width: the generator's own width; None: the same.
        generator_blocks: residual blocks of the generator at each size; the discriminator has one.
        generator_attention: whether the places of the generator's small maps attend to each other.
        self_modulation: whether the latent scales the channels of all of the generator's maps.
        minibatch_std: whether the discriminator sees how much the pictures of a batch differ.
        clip_output: whether what lies beyond black and white hardly counts.
    """

    width: int = 32
    latent_size: int = 64
    resampling: Literal["strided", "filtered"] = "strided"
    group_width: int = 16
    pixel_noise: bool = False
    generator_width: int | None = None
    generator_blocks: int = 1
    generator_attention: bool = False
    self_modulation: bool = False
    minibatch_std: bool = False
    clip_output: bool = False

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """(height, width) that are a few pixels doubled several times."""
        steps, smallest = doublings(resolution, "r3gan")
        filtered = self.resampling == "filtered"

        def stages(width: int, blocks: int, attentive: tuple[int, ...] = ()) -> Stages:
            widths = [channels_at(width, level) for level in range(steps + filtered)]
            return Stages(widths, blocks, self.group_width, attentive)

        attentive = ATTENTIVE if self.generator_attention else ()
        making = stages(self.generator_width or self.width, self.generator_blocks, attentive)
        judging = stages(self.width, 1)
        extras = filtered, self.pixel_noise, self.self_modulation, self.clip_output
        return Pair(
            Generator(smallest, channels, classes, making, self.latent_size, *extras),
            Discriminator(smallest, channels, classes, judging, filtered, self.minibatch_std),
            self.latent_size,
        )


class Stages(NamedTuple):
    """The residual blocks of a network.

    Attributes:
        widths: channels of the maps of each size, the smallest first.
        blocks: at each size.
        group_width: channels that a 3x3 convolution mixes.
        attentive: sizes, as places in `widths`, whose maps attend to all of themselves.
    """

    widths: list[int]
    blocks: int
    group_width: int
    attentive: tuple[int, ...] = ()

    def at(self, level: int) -> nn.Sequential:
        """New blocks for the maps of one size, by their numbers, with attention in their midst if there is to be."""
        width, depth = self.widths[level], self.blocks * len(self.widths)
        found = nn.Sequential()
        for number in range(self.blocks):
            if level in self.attentive and number == self.blocks // 2:
                found.add_module("attention", SelfAttention(width))
            found.add_module(str(number), Block(width, depth, self.group_width))
        return found


class Block(nn.Module):
    """[N, C, h, w] -> the same: figure 4 (right) of the paper."""

    def __init__(self, width: int, blocks: int, group_width: int) -> None:
        super().__init__()
        inner = -(-2 * width // group_width) * group_width  # twice as many, in whole groups
        self.expand = nn.Conv2d(width, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // group_width)
        self.shrink = nn.Conv2d(inner, width, 1, bias=False)
        for layer in (self.expand, self.mix):
            scaled(layer, LEAKY_GAIN * blocks**-0.25)
        nn.init.zeros_(self.shrink.weight)

    def forward(self, maps: Images) -> Images:
        inner = F.leaky_relu(self.expand(maps), 0.2, inplace=True)
        return maps + self.shrink(F.leaky_relu(self.mix(inner), 0.2, inplace=True))


def smooth(layer: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """Kernels 4x4 that double by linear interpolation, each with one random weight of the size that it had.

    Kernels drawn place by place begin with a grain of two pixels, which a short training does not get rid of.
    """
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 5**0.5  # of the mean square 1
    with torch.no_grad():
        layer.weight.copy_(layer.weight[..., :1, :1] * row[:, None] * row)
    return layer


class Halved(nn.Module):
    """Maps [N, C, 2h, 2w] -> [N, C, h, w], filtered by [1, 2, 1] in either direction."""

    def forward(self, maps: Images) -> Smaller:
        return F.conv2d(maps, _filter(maps) / 16, stride=2, padding=1, groups=maps.shape[1])


class Doubled(nn.Module):
    """Maps [N, C, h, w] -> [N, C, 2h, 2w]: zeros between, then the filter [1, 2, 1] either way."""

    def forward(self, maps: Images) -> Larger:
        weight, groups = _filter(maps) / 4, maps.shape[1]
        return F.conv_transpose2d(maps, weight, stride=2, padding=1, output_padding=1, groups=groups)


def _filter(maps: Images) -> Tensor:
    """[C, 1, 3, 3], in the maps' arithmetic."""
    row = binomial(2, maps)  # 1, 2, 1
    return (row[:, None] * row).expand(maps.shape[1], 1, 3, 3)


class PixelNoise(nn.Module):
    """Maps [N, C, h, w] -> noise [N, channels, H, W] to add to the picture: a random number for each pixel, as strong
    in each channel as the maps say there; nothing at first.

    Paper and canvas have a grain. A generator that can only make it from the maps repeats a pattern. The strength is
    smooth, for strengths with places of their own would be a pattern again. In evaluation mode the numbers are always
    the same, so that the same latent is the same picture.
    """

    noise: Tensor

    def __init__(self, width: int, channels: int, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.strength = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.strength.weight)
        assert self.strength.bias is not None
        nn.init.zeros_(self.strength.bias)
        self.register_buffer("noise", torch.randn(1, 1, *resolution))

    def forward(self, maps: Images) -> Tensor:
        size, noise = self.noise.shape[2:], self.noise.to(maps.dtype)
        if self.training:
            noise = drawn(partial(torch.randn, dtype=maps.dtype, device=maps.device), len(maps), 1, *size)
        strength = self.strength(maps)
        if strength.shape[2:] != size:
            strength = F.interpolate(strength, scale_factor=2, mode="bilinear", align_corners=False)
        return strength * noise


class Modulation(nn.Module):
    """Maps [N, C, h, w], latents [N, Z] -> the maps, each channel times 1 + a linear function of the latent.

    Self-modulation: Chen et al. 2019, "On Self Modulation for Generative Adversarial Networks", eq. 1, without its
    normalisation, shift and hidden layer. The function begins as zero.

    What holds for a whole picture, such as its paper and its colours, would else have to be carried from the smallest
    maps on, through every convolution; in a short training all pictures then have the same.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Linear(features, width)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, maps: Images, latents: Latents) -> Images:
        return maps * (1 + self.scale(latents))[:, :, None, None]


def clipped(picture: Images) -> Images:
    """What lies beyond [-1, 1] counts a twentieth there, so that it still has a gradient.

    Saved pictures are cut there, and most of an icon is: transparent, or opaque, or white. To hit -1 everywhere a
    generator must have no noise at all; to lie somewhere below is easy.
    """
    inside = picture.clamp(-1, 1)
    return inside + BEYOND * (picture - inside)


class Generator(nn.Module):
    """A learnt smallest picture, weighted by the latent, then blocks and doublings."""

    def __init__(
        self,
        smallest: tuple[int, int],
        channels: int,
        classes: int,
        stages: Stages,
        latent_size: int,
        filtered: bool = False,
        pixel_noise: bool = False,
        self_modulation: bool = False,
        clip_output: bool = False,
    ) -> None:
        super().__init__()
        widths, self.clip_output = stages.widths, clip_output
        self.conditioned = Conditioned(latent_size, classes)
        self.weigh = scaled(nn.Linear(self.conditioned.features, widths[0], bias=False))
        self.basis = nn.Parameter(torch.randn(widths[0], *smallest))
        self.stages = nn.ModuleList(stages.at(level) for level in range(len(widths)))
        self.narrow = nn.ModuleList(scaled(nn.Conv2d(a, b, 1, bias=False)) for a, b in itertools.pairwise(widths))
        if filtered:
            self.to_rgb = scaled(nn.Conv2d(widths[-1], channels, 1))
        else:
            gain = 2 * (channels / widths[-1]) ** 0.5
            self.to_rgb = smooth(scaled(nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), gain))
        doublings = len(widths) - filtered
        resolution = (smallest[0] << doublings, smallest[1] << doublings)
        self.noise = PixelNoise(widths[-1], channels, resolution) if pixel_noise else None
        self.doubled = Doubled() if filtered else nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        modulated = widths[1:] if self_modulation else []
        self.modulations = nn.ModuleList(Modulation(self.conditioned.features, width) for width in modulated)
        self.last_modulation = Modulation(self.conditioned.features, widths[-1]) if self_modulation else None

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        features = self.conditioned(latents, labels)
        weights = self.weigh(features)
        maps = weights[:, :, None, None] * self.basis.to(weights.dtype)  # [N, Z] -> [N, C, 4, 4]
        maps = self.stages[0](maps.contiguous(memory_format=torch.channels_last))
        modulations = self.modulations or [None] * len(self.narrow)
        for narrow, stage, modulation in zip(self.narrow, self.stages[1:], modulations, strict=True):
            maps = self.doubled(narrow(maps))
            maps = stage(maps if modulation is None else modulation(maps, features))
        if self.last_modulation is not None:
            maps = self.last_modulation(maps, features)
        picture = self.to_rgb(maps)
        picture = picture if self.noise is None else picture + self.noise(maps)
        return clipped(picture) if self.clip_output else picture


class Discriminator(nn.Module):
    """The generator mirrored. Stages are listed from the picture inwards."""

    def __init__(
        self,
        smallest: tuple[int, int],
        channels: int,
        classes: int,
        stages: Stages,
        filtered: bool = False,
        minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        widths = stages.widths
        self.from_rgb = scaled(
            nn.Conv2d(channels, widths[-1], 1) if filtered else nn.Conv2d(channels, widths[-1], 4, 2, 1)
        )
        self.stages = nn.ModuleDict()  # named by their size, so that larger networks have them too
        for level in range(len(widths) - 1, -1, -1):
            inside = [*stages.at(level)]
            if level:  # half as high and wide
                halved = Halved() if filtered else nn.AvgPool2d(2)
                inside += [halved, scaled(nn.Conv2d(widths[level], widths[level - 1], 1, bias=False))]
            self.stages[f"level{level}"] = nn.Sequential(*inside)
        self.gather = scaled(WeighedPlaces(widths[0], smallest))
        self.logit = scaled(nn.Linear(widths[0], 1))
        self.projection = Projection(widths[0], classes)
        self.compare = MinibatchStds(widths[0]) if minibatch_std else None

    def forward(self, images: Images, labels: Labels | None = None) -> Tensor:
        maps = self.from_rgb(images)
        for stage in self.stages.values():
            maps = stage(maps)
        features = self.gather(maps)  # [N, C, 4, 4] -> [N, C]
        logits = self.logit(features).flatten() + self.projection(features, labels)
        return logits if self.compare is None else logits + self.compare(features)
