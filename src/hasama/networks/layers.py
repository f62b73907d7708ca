"""The layers that several architectures use identically."""

import math
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hasama.distributed import gathered, mixes_with_others, ours, summed, whole
from hasama.errors import HasamaError
from hasama.options import ImpossibleSizeError
from hasama.shapes import Images, Labels, Latents
from hasama.shares import drawn

Layer = TypeVar("Layer", bound=nn.Module)

SMALLEST = 4  # side of the picture from which the first convolution grows, as in Radford et al. 2016
LEAKY_GAIN = math.sqrt(2 / 1.04)  # keeps the variance through a leaky ReLU of slope 0.2


def small_normal(module: nn.Module) -> None:
    """Weights from N(0, 0.02), BatchNorm's scale from N(1, 0.02): Radford et al. 2016, section 4."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def scaled(layer: Layer, gain: float = 1.0) -> Layer:
    """Weights from N(0, gain^2 / inputs), biases zero."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return layer


class WeighedPlaces(nn.Conv2d):
    """Maps [N, C, h, w], channels last, -> [N, C]: a depthwise convolution as large, which torch is slow at."""

    def __init__(self, channels: int, places: int | tuple[int, int]) -> None:
        super().__init__(channels, channels, places, groups=channels, bias=False)

    def forward(self, input: Images) -> Float[Tensor, "n features"]:
        return (input * self.weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)).sum((2, 3))


class Conditioned(nn.Module):
    """The latent with the label's embedding appended: Mirza and Osindero 2014. Without classes, the latent."""

    def __init__(self, latent_size: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_size) if classes else None
        self.features = latent_size * 2 if classes else latent_size

    def forward(self, latents: Latents, labels: Labels | None) -> Float[torch.Tensor, "n features"]:
        if self.embedding is None:
            return latents
        if labels is None:
            raise HasamaError("This generator has classes: it needs a label for every latent.")
        return torch.cat([latents, self.embedding(labels)], 1)


class Projection(nn.Module):
    """What the label adds to the logit, <embedding(y), features>: Miyato and Koyama 2018, eq. 3."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, features) if classes else None
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)  # at first the classes make no difference

    def forward(self, features: torch.Tensor, labels: Labels | None) -> torch.Tensor | float:
        if self.embedding is None or labels is None:
            return 0.0
        return (self.embedding(labels) * features).sum(1)


class Dropout(nn.Module):
    """Set each unit to zero with a probability while training: Srivastava et al. 2014, section 4.

    On the CPU, torch draws a mask number by number, which is 40 % of a dense GAN's step. Here one 64-bit draw
    serves eight units, each kept where its byte is large enough; so the probability is rounded to 1/256.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.silent = round(share * 256)  # of the 256 values of a byte

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.silent:
            return units
        kept = drawn(partial(self.bytes, units.device), *units.shape) >= self.silent
        return units * kept.to(units.dtype).mul_(256 / (256 - self.silent))

    def bytes(self, device: torch.device, *shape: int) -> Tensor:
        """Random bytes of this shape."""
        if device.type != "cpu":
            return torch.randint(256, shape, dtype=torch.uint8, device=device)
        values = math.prod(shape)
        draws = torch.empty(-(-values // 8), dtype=torch.int64).random_(-(2**63), None)
        return draws.view(torch.uint8)[:values].view(shape)


class Equalised(nn.Module):
    """A weight times a constant, so that Adam moves weights of all sizes alike: Karras et al. 2018, section 4.1."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


def equalised(layer: nn.Module, gain: float = 1.0, lr: float = 1.0) -> nn.Module:
    """Give a convolution or linear layer an equalised learning rate; weights from N(0, 1/lr), biases zero.

    As a parametrization, so that the layer stays torch's own, and spectral normalisation can follow it.

    Args:
        layer: with a `weight` [out, in, ...], and perhaps a `bias`.
        gain: standard deviation of the outputs for inputs of unit variance.
        lr: the learning rate relative to the other layers': Karras et al. 2019, appendix C.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    nn.init.normal_(weight, 0.0, 1 / lr)
    parametrize.register_parametrization(layer, "weight", Equalised(gain * lr / math.sqrt(weight[0].numel())))
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
        if lr != 1:
            parametrize.register_parametrization(layer, "bias", Equalised(lr))
    return layer


def normalise_spectrally(network: nn.Module) -> None:
    """Divide every convolution's and linear layer's weight by its largest singular value: Miyato et al. 2018, eq. 8.

    With one step of the power iteration each time the network is used while training.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if not layer.weight.is_meta and not layer.weight.any():
                nn.init.normal_(layer.weight, 0.0, 0.02)  # zeros have no direction to divide by
            nn.utils.parametrizations.spectral_norm(layer)


def pixel_norm(features: Tensor) -> Tensor:
    """Each place's feature vector [N, F, ...] brought to unit mean square: Karras et al. 2018, section 4.2."""
    wide = features.float()  # squares and their sum need more digits than bfloat16 has
    return (wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-8)).to(features.dtype)


class WholeBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) over the images of all processes.

    torch's own for several processes is for graphics cards only, and can be differentiated once.

    Args:
        norm: whose weights, statistics and names this takes over.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.momentum is not None
        self.eps, self.momentum = norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or not mixes_with_others():
            statistics = self.running_mean, self.running_var
            return F.batch_norm(features, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)
        wide = features.float()  # [N, F, ...]
        over = [0, *range(2, wide.ndim)]
        count = whole(wide.numel() // wide.shape[1])
        mean = summed(wide.sum(over, keepdim=True)) / count
        variance = summed((wide - mean).square().sum(over, keepdim=True)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scale = self.weight.view(mean.shape) * torch.rsqrt(variance + self.eps)
        return ((wide - mean) * scale + self.bias.view(mean.shape)).to(features.dtype)


def normalise_over_all(network: nn.Module) -> None:
    """Let a network's batch normalisations see the images of all processes."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, WholeBatchNorm(child))


class MinibatchStd(nn.Module):
    """One more channel: how much the pictures of a group differ. Karras et al. 2018, section 3.

    The discriminator recognises a collapsed generator by it. Groups of at most four, as in Karras et al. 2020; a
    batch that cannot be divided by four has larger or smaller ones.
    """

    def forward(self, features: Float[Tensor, "n f h w"]) -> Float[Tensor, "n more h w"]:
        height, width = features.shape[2:]
        deviation = group_std(features, (4, 3, 2, 5, 7)).mean((1, 2, 3))  # [N]
        plane = deviation[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([features, plane.to(features.dtype)], 1)


class MinibatchStds(nn.Module):
    """Features [N, F] -> [N]: a weighted sum of how much each of them differs in a group of pictures; 0 at first.

    `MinibatchStd` has the mean of them all. Told apart, rare kinds are missed, too: 1,000 kinds of stacked digits
    at a distance of 0.050 in place of 0.091 (docs/experiments/stacked-mnist.md). Groups of at most eight.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(features, 1, bias=False)  # row by row: a product makes unequal bits of equal rows
        nn.init.zeros_(self.weigh.weight)

    def forward(self, features: Float[Tensor, "n f"]) -> Float[Tensor, " n"]:
        return (group_std(features, tuple(range(8, 1, -1))) * self.weigh.weight[0].float()).sum(1).to(features.dtype)


def group_std(features: Float[Tensor, "n ..."], sizes: tuple[int, ...]) -> Tensor:
    """For each picture the standard deviations of its group's features, in float32; all processes' pictures count.

    Args:
        features: the groups are neighbours.
        sizes: of a group, the first that divides the batch counts; where none does, all of it is one group.
    """
    everyone = gathered(features.float())
    count = len(everyone)
    group = next((size for size in sizes if count % size == 0), count)
    variance = everyone.unflatten(0, (count // group, group)).var(1, correction=0)
    return ours(torch.sqrt(variance + 1e-8).repeat_interleave(group, 0))


def binomial(steps: int, like: Tensor) -> Float[Tensor, " taps"]:
    """A low-pass filter's taps, [1, 2, 1] for 2 steps and [1, 3, 3, 1] for 3; made on the device, without a copy."""
    place = torch.arange(steps + 1, dtype=like.dtype, device=like.device)
    return 1 + place * (steps - place)


def halvings(resolution: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """How often a picture is halved, and the (height, width) of the smallest map, in which the rest is rounded up.

    64x64 -> 4 and (4, 4). 28x28 -> 2 and (7, 7). 50x50 -> 3 and (7, 7), for 56x56 pixels cover it; see `map_sizes`.

    Raises:
        HasamaError: a side is shorter than 8, which leaves nothing to halve.
    """
    height, width = resolution
    if min(height, width) < 2 * SMALLEST:
        raise ImpossibleSizeError(
            f"dcgan and vae make pictures of at least {2 * SMALLEST} pixels a side, not {width}x{height}",
            (max(2 * SMALLEST, height), max(2 * SMALLEST, width)),
        )
    steps = (min(height, width) // SMALLEST).bit_length() - 1
    return steps, (-(-height // 2**steps), -(-width // 2**steps))


def map_sizes(resolution: tuple[int, int]) -> list[tuple[int, int]]:
    """The (height, width) of a generator's maps, from the smallest to the picture: each is doubled and then cut.

    Half of a side is rounded up, so that a doubled map has one row or column too many at most: 50x50 comes from 25,
    13 and 7. It is cut off at once, for later it would be two, four, eight. But where both sides are multiples of 8,
    only the picture is cut, to its middle (72x72 of 80x80, from 5, 10, 20 and 40), as such runs have always done.
    """
    steps, smallest = halvings(resolution)
    if not any(side % 8 for side in resolution):
        return [(smallest[0] << step, smallest[1] << step) for step in range(steps)] + [resolution]
    height, width = resolution
    return [(-(-height // 2**step), -(-width // 2**step)) for step in range(steps, -1, -1)]


def cut(images: Images, resolution: tuple[int, int]) -> Float[torch.Tensor, "n c height width"]:
    """The middle of the images, cut out at this (height, width); of one row or column too many the last goes."""
    height, width = resolution
    if images.shape[2:] == resolution:
        return images
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def widths(width: int, steps: int) -> list[int]:
    """Channels from the largest picture to the smallest: doubling from `width`, at most 8 times it."""
    return [width * min(2**step, 8) for step in range(steps)]


def doublings(resolution: tuple[int, int], architecture: str) -> tuple[int, tuple[int, int]]:
    """How often the smallest picture is doubled, and its exact (height, width): 64x96 (high) -> 4 and (4, 6).

    The shorter side of the smallest picture is 4 to 7 pixels.

    Raises:
        HasamaError: the sides are not doublings of whole numbers.
    """
    height, width = resolution
    steps = (min(height, width) // SMALLEST).bit_length() - 1
    if steps < 1 or height % 2**steps or width % 2**steps:
        raise ImpossibleSizeError(
            f"{architecture} makes pictures whose sides are a few pixels (4 to 7 the shorter one) doubled several "
            f"times, not {width}x{height}",
            _nearest_doubling(height, width),
        )
    return steps, (height >> steps, width >> steps)


def _nearest_doubling(height: int, width: int) -> tuple[int, int]:
    """The (height, width) of the picture nearest to this one that doublings can reach."""
    reached = []
    for steps in range(1, 11):
        sides = [max(SMALLEST, round(side / 2**steps)) for side in (height, width)]
        if min(sides) < 2 * SMALLEST:
            reached.append((sides[0] << steps, sides[1] << steps))
    return min(reached, key=lambda size: abs(size[0] - height) + abs(size[1] - width))


def channels_at(width: int, level: int) -> int:
    """Channels of the maps that have been doubled `level` times: `width` at 64x64, twice as many in maps half as big.

    At most 8 times and at least a quarter of `width`. They do not depend on the picture's size, so that a network for
    larger pictures can take over the layers of one for smaller ones.
    """
    return max(1, round(min(8.0, max(0.25, 2.0 ** (4 - level))) * width))
