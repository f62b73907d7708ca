"""StyleGAN2 (Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN") in plain torch.

A mapping network turns latents z into styles w; each convolution of the generator is modulated by a style; noise
gives random details; pictures are the sum of the colours that every size adds (skip generator); the
discriminator is residual. Style mixing and the truncation of w are of Karras et al. 2019 (StyleGAN).

Instead of a kernel of its own for each picture (convolutions with groups = batch), the maps are scaled before and
after a convolution that all pictures share, which is the same (section 2.2, "grouped convolutions" of the appendix)
and many times faster on a CPU; the low-pass filter is a depthwise convolution.

Departures: the classes' embedding is appended to the latent before it is normalised, and the discriminator gets
them by projection (Miyato and Koyama 2018), as elsewhere in this package.
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.distributed import mean_of_all
from hasama.networks.layers import (
    Conditioned,
    MinibatchStd,
    Projection,
    binomial,
    channels_at,
    doublings,
    equalised,
    pixel_norm,
)
from hasama.networks.pair import Extra, Pair
from hasama.shapes import Images, Labels, Latents, Styles
from hasama.shares import drawn, noise_like, part

WIDEST = 512  # channels at most, as in the paper
MAPPING_LR = 0.01  # relative learning rate of the mapping network: Karras et al. 2019, appendix C
MEAN_STYLE_KEEP = 0.995  # per step, of the moving average of w
MEAN_PATH_KEEP = 0.99  # per step, of the moving average of the path length: appendix B
PATH_EVERY = 4  # steps between two path length penalties
PATH_SHARE = 2  # on every so many-th picture of a batch only

Maps = Float[Tensor, "n _ _ _"]
"""Of several sizes and numbers of channels within one function."""


@dataclass(frozen=True)
class StyleGAN:
    """Sizes of the networks.

    Attributes:
        width: channels of the maps at 64x64; see `channels_at`. 512 is the paper's.
        latent_size: length of z and of w.
        mapping_layers: fully connected layers from z to w.
        style_mixing: share of the pictures in training that are made from two latents.
        path_length: weight of the path length penalty; 0 for none.
    """

    width: int = 64
    latent_size: int = 256
    mapping_layers: int = 8
    style_mixing: float = 0.9
    path_length: float = 2.0

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """(height, width) that are a few pixels doubled several times."""
        steps, smallest = doublings(resolution, "stylegan")
        widths = [min(WIDEST, channels_at(self.width, level)) for level in range(steps + 1)]
        mapping = Mapping(self.latent_size, classes, self.mapping_layers)
        generator = Generator(mapping, smallest, channels, widths, self.latent_size, self.style_mixing)
        extra = Extra("path_length", partial(path_length_cost, self.path_length), PATH_EVERY)
        return Pair(
            generator,
            Discriminator(smallest, channels, classes, widths),
            self.latent_size,
            generator_extra=extra if self.path_length else None,
        )


class Mapping(nn.Module):
    """Latents z [N, Z] -> w [N, Z]: Karras et al. 2019, figure 1."""

    def __init__(self, latent_size: int, classes: int, layers: int) -> None:
        super().__init__()
        self.conditioned = Conditioned(latent_size, classes)
        sizes = [self.conditioned.features] + [latent_size] * layers
        self.layers = nn.ModuleList(
            equalised(nn.Linear(a, b), math.sqrt(2), MAPPING_LR) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, latents: Latents, labels: Labels | None = None) -> Latents:
        style = pixel_norm(self.conditioned(latents, labels))
        for layer in self.layers:
            style = F.leaky_relu(layer(style), 0.2)
        return style.float()


class Modulated(nn.Module):
    """A convolution whose input channels each picture's style scales: section 2.2, eq. 1 to 3.

    maps [N, before, h, w], style [N, W] -> [N, after, h, w], or [N, after, 2h, 2w] if it doubles.

    Args:
        before, after: channels.
        size: of the kernel, 1 or 3.
        style_size: W.
        doubles: transposed with stride 2, then low-pass filtered.
        demodulates: whether the outputs are brought back to unit variance (not where colours are made).
    """

    def __init__(
        self, before: int, after: int, size: int, style_size: int, doubles: bool = False, demodulates: bool = True
    ) -> None:
        super().__init__()
        self.affine = equalised(nn.Linear(style_size, before))
        nn.init.ones_(self.affine.bias)  # pyright: ignore[reportArgumentType]
        self.conv = equalised(nn.Conv2d(before, after, size, padding=size // 2, bias=False))
        self.doubles, self.demodulates = doubles, demodulates

    def forward(self, maps: Maps, style: Latents) -> Maps:
        weight, scale = self.conv.weight, self.affine(style).float()  # [after, before, k, k], [N, before]
        assert isinstance(weight, Tensor)
        maps = maps * scale.to(maps.dtype)[:, :, None, None]
        if self.doubles:
            maps = F.conv_transpose2d(maps, weight.transpose(0, 1), stride=2)  # [N, after, 2h + 1, 2w + 1]
            maps = low_pass(maps, gain=4.0)
        else:
            maps = F.conv2d(maps, weight, padding=weight.shape[2] // 2)
        if not self.demodulates:
            return maps
        with torch.autocast(maps.device.type, enabled=False):
            size = torch.rsqrt(scale.square() @ weight.float().square().sum((2, 3)).t() + 1e-8)  # [N, after]
        return maps * size.to(maps.dtype)[:, :, None, None]


def low_pass(maps: Maps, gain: float = 1.0, stride: int = 1, pad: int = 1) -> Maps:
    """Each map filtered by [1, 3, 3, 1] along both axes, whose sum is `gain`: Karras et al. 2019, appendix C."""
    row = binomial(3, maps)  # 1, 3, 3, 1
    kernel = (row[:, None] * row * (gain / 64)).expand(maps.shape[1], 1, 4, 4)
    return F.conv2d(maps, kernel.contiguous(), stride=stride, padding=pad, groups=maps.shape[1])


def doubled(images: Maps) -> Maps:
    """Twice as high and wide. Linear interpolation is the filter [1, 3, 3, 1] in two phases."""
    return F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)


class StyledLayer(nn.Module):
    """A modulated convolution, noise, bias, leaky ReLU: figure 2d of the paper."""

    noise: Tensor

    def __init__(self, before: int, after: int, style_size: int, size: tuple[int, int], doubles: bool) -> None:
        super().__init__()
        self.conv = Modulated(before, after, 3, style_size, doubles)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))
        self.register_buffer("noise", torch.randn(1, 1, *size))  # in evaluation mode: always the same

    def forward(self, maps: Maps, style: Latents) -> Maps:
        maps = self.conv(maps, style)
        noise = self.noise
        if self.training:
            noise = drawn(partial(torch.randn, device=maps.device), len(maps), 1, *maps.shape[2:])
        added = noise * self.noise_strength + self.bias[:, None, None]
        return F.leaky_relu(maps + added.to(maps.dtype), 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    """Colours from maps, added to the picture so far: the skip generator, figure 7b."""

    def __init__(self, before: int, channels: int, style_size: int) -> None:
        super().__init__()
        self.conv = Modulated(before, channels, 1, style_size, demodulates=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Maps, style: Latents, picture: Maps | None) -> Maps:
        colours = self.conv(maps, style).float() + self.bias[:, None, None]
        return colours if picture is None else doubled(picture) + colours


class Generator(nn.Module):
    """Mapping and synthesis; it fulfils the protocol `Styled`."""

    mean_style: Tensor
    mean_path: Tensor

    def __init__(
        self,
        mapping: Mapping,
        smallest: tuple[int, int],
        channels: int,
        widths: list[int],
        style_size: int,
        style_mixing: float,
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.style_layers, self.style_mixing = 2 * len(widths), style_mixing
        self.start = nn.Parameter(torch.randn(1, widths[0], *smallest))
        self.layers, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            size = smallest[0] << level, smallest[1] << level
            if level:
                self.layers.append(StyledLayer(widths[level - 1], width, style_size, size, doubles=True))
            self.layers.append(StyledLayer(width, width, style_size, size, doubles=False))
            self.to_rgbs.append(ToRGB(width, channels, style_size))
        self.register_buffer("mean_style", torch.zeros(style_size))
        self.register_buffer("mean_path", torch.zeros(()))

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        style = self.mapping(latents, labels)
        styles = style[:, None].expand(-1, self.style_layers, -1)
        if self.training:
            with torch.no_grad():
                self.mean_style.lerp_(mean_of_all(style.mean(0)), _share(MEAN_STYLE_KEEP))
            styles = self.mixed(styles, labels)
        return self.synthesis(styles)

    def mixed(self, styles: Styles, labels: Labels | None) -> Styles:
        """Style mixing: some pictures take the styles from a random layer on from another latent."""
        count, layers, size = styles.shape
        normal, uniform = (partial(draw, device=styles.device) for draw in (torch.randn, torch.rand))
        other = self.mapping(drawn(normal, count, size), labels)
        cut = drawn(lambda n: torch.randint(1, layers, (n,), device=styles.device), count)
        cut = torch.where(drawn(uniform, count) >= self.style_mixing, layers, cut)
        taken = torch.arange(layers, device=styles.device) >= cut[:, None]  # [N, layers]
        return torch.where(taken[:, :, None], other[:, None], styles)

    def synthesis(self, styles: Styles) -> Images:
        maps = self.start.expand(styles.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        maps, picture = self.layers[0](maps, styles[:, 0]), None
        for level, to_rgb in enumerate(self.to_rgbs):
            if level:
                maps = self.layers[2 * level - 1](maps, styles[:, 2 * level - 1])
                maps = self.layers[2 * level](maps, styles[:, 2 * level])
            picture = to_rgb(maps, styles[:, 2 * level + 1], picture)
        assert picture is not None
        return picture


def path_length_cost(
    weight: float, generator: nn.Module, latents: Latents, labels: Labels | None
) -> Float[Tensor, " some"]:
    """Weight (|J_w^T y| - a)^2 for noise images y, a the moving average of the lengths: section 3.2, eq. 4."""
    assert isinstance(generator, Generator)
    some = slice(-(-len(latents) // PATH_SHARE))
    style = generator.mapping(latents[some], None if labels is None else labels[some])
    styles = style[:, None].expand(-1, generator.style_layers, -1).contiguous()
    images = generator.synthesis(styles)
    noise = noise_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * noise).sum(), styles, create_graph=True)
    lengths = gradient.float().square().sum(2).mean(1).sqrt()
    with torch.no_grad():
        generator.mean_path.lerp_(mean_of_all(lengths.mean()), _share(MEAN_PATH_KEEP))
    return weight * (lengths - generator.mean_path).square()


def _share(kept: float) -> float:
    """How far a mean moves, so that this share of it is kept in a step, however many parts the batch is taken in."""
    return 1 - kept ** (1 / part().parts)


class Residual(nn.Module):
    """[N, before, h, w] -> [N, after, h/2, w/2]: figure 7c."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = equalised(nn.Conv2d(before, before, 3, padding=1), math.sqrt(2))
        self.second = equalised(nn.Conv2d(before, after, 3, stride=2), math.sqrt(2))
        self.skip = equalised(nn.Conv2d(before, after, 1, bias=False))

    def forward(self, maps: Maps) -> Maps:
        inner = low_pass(F.leaky_relu(self.first(maps), 0.2), pad=2)  # [N, before, h + 1, w + 1]
        inner = F.leaky_relu(self.second(inner), 0.2)
        return (inner + self.skip(low_pass(maps, stride=2))) / math.sqrt(2)


class Discriminator(nn.Module):
    """Residual halvings, the deviation in the batch, two dense layers. Stages are listed from the picture inwards."""

    def __init__(self, smallest: tuple[int, int], channels: int, classes: int, widths: list[int]) -> None:
        super().__init__()
        last, root2 = widths[0], math.sqrt(2)
        self.from_rgb = equalised(nn.Conv2d(channels, widths[-1], 1), root2)
        levels = range(len(widths) - 1, 0, -1)  # named by their size, so that larger networks have them too
        self.stages = nn.ModuleDict({f"level{k}": Residual(widths[k], widths[k - 1]) for k in levels})
        self.compare = MinibatchStd()
        self.last = equalised(nn.Conv2d(last + 1, last, 3, padding=1), root2)
        self.gather = equalised(nn.Linear(last * smallest[0] * smallest[1], last), root2)
        self.logit = equalised(nn.Linear(last, 1))
        self.projection = Projection(last, classes)

    def forward(self, images: Images, labels: Labels | None = None) -> Tensor:
        maps = F.leaky_relu(self.from_rgb(images), 0.2)
        for stage in self.stages.values():
            maps = stage(maps)
        maps = F.leaky_relu(self.last(self.compare(maps)), 0.2)
        features = F.leaky_relu(self.gather(maps.flatten(1)), 0.2)  # [N, C, 4, 4] -> [N, C]
        return self.logit(features).flatten() + self.projection(features, labels)
