"""A discriminator on the maps of a frozen network: all that learns of it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hasama.distributed import summed, whole
from hasama.networks.layers import LEAKY_GAIN, Projection, WeighedPlaces, scaled
from hasama.shapes import Images, Labels, Logits, Maps, Resized

WIDTH, GROUP, PLACES = 64, 16, 4
"""Channels of a head, how many its 3x3 convolution mixes, and into how many places a side it divides a picture."""


class FeatureHeads(nn.Module):
    """Maps of several sizes -> the sum of a logit of each. Multi-scale heads: Sauer et al. 2021, section 3.2.

    Departures: theirs mix the maps by random projections across channels and scales first, and sum the heads' losses;
    here the logits are summed, and there is one loss of the sum, so that a head that is sure speaks for all.

    Args:
        widths: channels of the maps of each size.
        classes: how many; 0 for none.
    """

    def __init__(self, widths: Sequence[int], classes: int = 0) -> None:
        super().__init__()
        self.standards = nn.ModuleList(Standard(width) for width in widths)
        self.heads = nn.ModuleList(Head(width, classes) for width in widths)

    def forward(self, maps: Maps, labels: Labels | None = None) -> Logits:
        """Logits [N] of standardised maps [N, C, h, w] of each size."""
        logits = [head(level, labels) for head, level in zip(self.heads, maps, strict=True)]
        return torch.stack(logits).sum(0)

    def standardised(self, maps: Maps) -> Maps:
        """Every channel with about the mean 0 and the variance 1."""
        return tuple(standard(level) for standard, level in zip(self.standards, maps, strict=True))

    def observe(self, maps: Maps) -> None:
        """Take the maps of real pictures into the means and variances."""
        for standard, level in zip(self.standards, maps, strict=True):
            assert isinstance(standard, Standard)
            standard.observe(level)


class Head(nn.Module):
    """Maps [N, C, h, w] -> logit [N]. The last layer begins at zero, so that no head wins at first.

    4x4 places are weighed apart, channel by channel, so that it counts where in the picture something is seen. (With
    the mean place in their stead, parts of faces were right, and lay anywhere.)
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.narrow = scaled(nn.Conv2d(channels, WIDTH, 1), LEAKY_GAIN)
        self.mix = scaled(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH // GROUP), LEAKY_GAIN)
        self.gather = scaled(WeighedPlaces(WIDTH, PLACES))
        self.logit = nn.Linear(WIDTH, 1, bias=False)
        nn.init.zeros_(self.logit.weight)
        self.projection = Projection(WIDTH, classes)

    def forward(self, maps: Images, labels: Labels | None = None) -> Logits:
        maps = F.leaky_relu(self.mix(F.leaky_relu(self.narrow(maps), 0.2)), 0.2)
        features = self.gather(in_places(maps))  # [N, 64, h, w] -> [N, 64]
        return self.logit(features).flatten() + self.projection(features, labels)


def in_places(maps: Images) -> Resized:
    """Maps [N, C, h, w] as means of 4x4 places, which overlap where h and w do not divide.

    The derivative of torch's own is not exact on a graphics card: there its values are added in any order. Where
    exactness is asked for, the means are products with two matrices.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.adaptive_avg_pool2d(maps, PLACES)
    down, across = (
        F.adaptive_avg_pool1d(torch.eye(side, device=maps.device, dtype=maps.dtype), PLACES)
        for side in maps.shape[2:]
    )
    return torch.einsum("hp,nchw,wq->ncpq", down, maps, across)


class Standard(nn.Module):
    """Maps minus the mean of their channel, divided by its standard deviation, as observed: at first as they are.

    It is the scale on which a penalty on the gradient at the maps means the same for all channels and networks.
    """

    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(0.0))
        self.register_buffer("total", torch.zeros(1, channels, 1, 1))
        self.register_buffer("squares", torch.zeros(1, channels, 1, 1))

    @torch.no_grad()
    def observe(self, maps: Images) -> None:
        """Count these maps in."""
        self.count += whole(maps.numel() // maps.shape[1])
        self.total += summed(maps.sum((0, 2, 3), keepdim=True))
        self.squares += summed(maps.square().sum((0, 2, 3), keepdim=True))

    def forward(self, maps: Images) -> Images:
        places = self.count.clamp(min=1)
        mean = self.total / places
        variance = torch.where(self.count > 0, (self.squares / places - mean.square()).clamp(min=0), 1.0)
        return (maps - mean) / (variance.sqrt() + 1e-3)
