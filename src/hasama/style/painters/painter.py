"""A network that paints: a photo goes in, a painting comes out (Johnson et al. 2016), of several styles if need be.

After each convolution, maps are normalised picture by picture (instance normalisation, Ulyanov et al. 2016), and each
style has gains and shifts of its own for them (Dumoulin et al. 2017). Besides the taught styles there is one that
leaves the photo as it is; numbers between it and a style are a weaker style. Most of the work is done on maps a
fourth and an eighth as high and wide as the picture; doublings are nearest neighbours and a convolution (Odena et al.
2016). Beyond an edge convolutions see the edge repeated: of zeros a network learns where in a crop it is, and paints
frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.perception.inverse import Replicated
from hasama.shapes import Images
from hasama.style.painters.recipe import Padding

WIDTH = 32
BLOCKS = 3
"""Residual blocks at a fourth and at an eighth of the size."""
BORDER = 16
"""Pixels that are added around a picture, and taken away again: at an edge convolutions see zeros."""
STRIDE = 8
REACH = 160
"""Pixels around it that a painted pixel depends on, statistics apart (a test measures it)."""
EPSILON = 1e-5

Mix = Float[Tensor, "n styles"]
"""How much of each style a picture gets; the first is the photo itself."""
Maps = Float[Tensor, "n c h w"]
Statistics = tuple[Tensor, Tensor]
"""Mean and variance of each channel, [N or 1, C, 1, 1]."""


class StyleNorm(nn.Module):
    """Instance normalisation with a gain and a shift for each style.

    Attributes:
        fixed: statistics to use in place of the picture's own.
        last: the last picture's own statistics, also where others are used.
    """

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels))
        self.fixed: Statistics | None = None
        self.last: Statistics | None = None

    def forward(self, maps: Maps, mix: Mix) -> Maps:
        gain, shift = ((mix @ each)[:, :, None, None] for each in (self.gain, self.shift))
        alone = not torch.is_grad_enabled()  # then in place, for half the memory
        # By squares, of which torch's `var` makes forty times the work. What is seen does not depend on what is used:
        # a still camera's statistics stand still to the bit.
        own = maps.mean((2, 3), keepdim=True)
        if self.fixed:
            own = own.detach()  # what is subtracted is added again: nothing depends on it
        maps = maps.sub_(own) if alone else maps - own
        seen = own, maps.square().mean((2, 3), keepdim=True)
        self.last = None if self.training else seen
        mean, variance = self.fixed or seen
        scale = gain * (variance + EPSILON).rsqrt()
        shift = shift + (own - mean) * scale
        return maps.mul_(scale).add_(shift) if alone else maps * scale + shift


class Layer(nn.Module):
    """Convolution, normalisation and ReLU."""

    def __init__(
        self, inside: int, outside: int, styles: int, padding: Padding, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.convolution = _convolution(inside, outside, padding, stride, bias=False)
        self.norm, self.active = StyleNorm(outside, styles), active

    def forward(self, maps: Maps, mix: Mix) -> Tensor:
        maps = self.norm(self.convolution(maps), mix)
        return F.relu(maps, inplace=not torch.is_grad_enabled()) if self.active else maps


class Block(nn.Module):
    """Two layers beside an identity (He et al. 2016)."""

    def __init__(self, width: int, styles: int, padding: Padding) -> None:
        super().__init__()
        self.first = Layer(width, width, styles, padding)
        self.second = Layer(width, width, styles, padding, active=False)

    def forward(self, maps: Maps, mix: Mix) -> Maps:
        return maps + self.second(self.first(maps, mix), mix)


class Painter(nn.Module):
    """Photos [N, 3, H, W] in [-1, 1] and a mix [N, 1 + styles] -> paintings [N, 3, H, W] in [-1, 1].

    Args:
        styles: how many paintings it learns from.
        width: channels at half the size.
        padding: what convolutions see beyond an edge.
    """

    def __init__(self, styles: int, width: int = WIDTH, padding: Padding = "replicate") -> None:
        super().__init__()
        self.styles, self.width, self.padding = styles, width, padding
        kinds = styles + 1, padding
        half, fourth, eighth = width, 2 * width, 3 * width
        self.first = Layer(12, half, *kinds)
        self.down = nn.ModuleList([Layer(half, fourth, *kinds, 2), Layer(fourth, eighth, *kinds, 2)])
        self.fine = nn.ModuleList(Block(fourth, *kinds) for _ in range(BLOCKS))
        self.coarse = nn.ModuleList(Block(eighth, *kinds) for _ in range(BLOCKS))
        self.up = nn.ModuleList(
            [Layer(eighth, fourth, *kinds), Layer(fourth, half, *kinds), Layer(half, width // 2, *kinds)]
        )
        self.last = _convolution(width // 2, 3, padding)

    def forward(self, photos: Images, mix: Mix) -> Images:
        height, width = photos.shape[2:]
        painted = self.inside(bordered(photos), mix)
        return painted[:, :, BORDER : BORDER + height, BORDER : BORDER + width]

    def inside(self, photos: Images, mix: Mix) -> Images:
        """The same without the border; the sides must be multiples of eight."""
        half = self.first(F.pixel_unshuffle(photos, 2), mix)
        fourth = self.down[0](half, mix)
        maps = self.down[1](fourth, mix)
        for block in self.coarse:
            maps = block(maps, mix)
        maps = fourth + self.up[0](_doubled(maps), mix)
        for block in self.fine:
            maps = block(maps, mix)
        maps = half + self.up[1](_doubled(maps), mix)
        return torch.tanh(self.last(self.up[2](_doubled(maps), mix)))

    def norms(self) -> list[StyleNorm]:
        """All normalisations, in a fixed order."""
        return [module for module in self.modules() if isinstance(module, StyleNorm)]

    def statistics(self) -> list[Statistics]:
        """Those of the last picture, of every normalisation (in evaluation mode)."""
        return [norm.last for norm in self.norms() if norm.last is not None]

    @contextmanager
    def with_statistics(self, statistics: list[Statistics]) -> Iterator[None]:
        """Use these in place of a picture's own: so tiles fit together, and films do not flicker."""
        for norm, fixed in zip(self.norms(), statistics, strict=True):
            norm.fixed = fixed
        try:
            yield
        finally:
            for norm in self.norms():
                norm.fixed = None


def bordered(photos: Images) -> Tensor:
    """With `BORDER` pixels around, and as many more below and to the right as make the sides multiples of eight."""
    more = [(-side) % STRIDE for side in photos.shape[2:]]
    return F.pad(photos, (BORDER, BORDER + more[1], BORDER, BORDER + more[0]), mode="replicate")


def _convolution(inside: int, outside: int, padding: Padding, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    quick = padding == "replicate" and stride == 1
    kind = Replicated if quick else nn.Conv2d
    return kind(inside, outside, 3, stride, 1, bias=bias, padding_mode=padding)


def _doubled(maps: Maps) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def mix_of(weights: Sequence[float], strength: float = 1.0) -> Mix:
    """[1, 1 + styles]: relative weights of the styles at a strength; at 0 the photo stays as it is."""
    shares = torch.tensor(weights, dtype=torch.float32)
    return torch.cat([torch.tensor([1 - strength]), strength * shares / shares.sum()])[None]
