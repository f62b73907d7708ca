"""InceptionV3 (Szegedy et al. 2016, table 1) as the Fréchet inception distance uses it, up to its last pooling.

The original weights of 2015, which published FIDs were measured with, need two
things that the later network does not have: average poolings that do not count their border, and a maximum pooling in
the very last block.

Not verified: figures with the original weights against published ones, which needs those weights. Verified: every
layer, by the same random weights in an independent implementation (Keras's, in the tests), but for that last maximum
pooling; and that each tensor of a state dict goes to its layer. Pictures are enlarged by plain bilinear interpolation
as in pytorch-fid; clean-fid (Parmar et al. 2022) and the original TensorFlow code resize otherwise, which alone moves
an FID.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.networks.outline import outline

SIDE = 299
WIDTH = 2048

Colours = Float[Tensor, "n 3 h w"]
Pool3 = Float[Tensor, "n 2048"]


class Layer(NamedTuple):
    """A convolution with batch normalisation and ReLU. Stride 2 has no border; stride 1 keeps the size."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Fork = tuple[Layer, Layer]
"""Two layers side by side with the same input."""
Branch = list[Layer | Fork]

WIDE, TALL, THREE, FIVE = (1, 7), (7, 1), (3, 3), (5, 5)

STEM = (
    Layer("Conv2d_1a_3x3", 32, THREE, 2),
    Layer("Conv2d_2a_3x3", 32, THREE),
    Layer("Conv2d_2b_3x3", 64, THREE),
    Layer("Conv2d_3b_1x1", 80),
    Layer("Conv2d_4a_3x3", 192, THREE),
)
UNPADDED = ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
POOLED = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
"""After which the size is halved by a maximum pooling."""


def _double(first: int, second: int, last_stride: int = 1) -> Branch:
    """Two 3x3 convolutions in place of one of 5x5."""
    names = [f"branch3x3dbl_{number}" for number in (1, 2, 3)]
    return [Layer(names[0], first), Layer(names[1], second, THREE), Layer(names[2], second, THREE, last_stride)]


def _coarse(pool: int) -> list[Branch]:
    """35x35 places: Szegedy et al. 2016, figure 5."""
    five: Branch = [Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, FIVE)]
    return [[Layer("branch1x1", 64)], five, _double(64, 96), [Layer("branch_pool", pool)]]


def _crossed(inner: int) -> list[Branch]:
    """17x17 places, 7x7 convolutions as 1x7 and 7x1: figure 6."""
    steps = ((inner, (1, 1)), (inner, WIDE), (192, TALL))
    single: Branch = [Layer(f"branch7x7_{n}", width, kernel) for n, (width, kernel) in enumerate(steps, 1)]
    steps = ((inner, (1, 1)), (inner, TALL), (inner, WIDE), (inner, TALL), (192, WIDE))
    double: Branch = [Layer(f"branch7x7dbl_{n}", width, kernel) for n, (width, kernel) in enumerate(steps, 1)]
    return [[Layer("branch1x1", 192)], single, double, [Layer("branch_pool", 192)]]


def _fanned() -> list[Branch]:
    """8x8 places, 3x3 convolutions as 1x3 beside 3x1: figure 7."""

    def fork(stem: str) -> Fork:
        return Layer(f"{stem}a", 384, (1, 3)), Layer(f"{stem}b", 384, (3, 1))

    double: Branch = [Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, THREE), fork("branch3x3dbl_3")]
    single: Branch = [Layer("branch3x3_1", 384), fork("branch3x3_2")]
    return [[Layer("branch1x1", 320)], single, double, [Layer("branch_pool", 192)]]


HALVING: dict[str, list[Branch]] = {
    "Mixed_6a": [[Layer("branch3x3", 384, THREE, 2)], _double(64, 96, 2)],
    "Mixed_7a": [
        [Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, THREE, 2)],
        [
            Layer("branch7x7x3_1", 192), Layer("branch7x7x3_2", 192, WIDE), Layer("branch7x7x3_3", 192, TALL),
            Layer("branch7x7x3_4", 192, THREE, 2),
        ],
    ],
}  # fmt: skip
"""Their third branch is a maximum pooling without weights."""

BLOCKS: dict[str, list[Branch]] = {
    "Mixed_5b": _coarse(32),
    "Mixed_5c": _coarse(64),
    "Mixed_5d": _coarse(64),
    "Mixed_6a": HALVING["Mixed_6a"],
    "Mixed_6b": _crossed(128),
    "Mixed_6c": _crossed(160),
    "Mixed_6d": _crossed(160),
    "Mixed_6e": _crossed(192),
    "Mixed_7a": HALVING["Mixed_7a"],
    "Mixed_7b": _fanned(),
    "Mixed_7c": _fanned(),
}
LAST = "Mixed_7c"
UNUSED = ".num_batches_tracked"


class Inception(nn.Module):
    """Frozen. Images [N, 3, H, W] in [-1, 1] of any size -> the means of the last 2048 channels [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for layer in STEM:
            self.add_module(layer.name, _Convolution(channels, layer, padded=layer.name not in UNPADDED))
            channels = layer.width
        for name, branches in BLOCKS.items():
            block = _Block(channels, branches, halves=name in HALVING, by_maximum=name == LAST)
            self.add_module(name, block)
            channels = block.width
        self.requires_grad_(False).eval()

    def forward(self, images: Colours) -> Pool3:
        return self.places(F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)).mean((2, 3))

    def places(self, x: Colours) -> Float[Tensor, "n 2048 _ _"]:
        """The last block's activations, for pictures of their own size."""
        for name, module in self.named_children():
            x = module(x)
            if name in POOLED:
                x = F.max_pool2d(x, 3, stride=2)
        return x


class _Convolution(nn.Module):
    def __init__(self, channels: int, layer: Layer, padded: bool = True) -> None:
        super().__init__()
        height, width = layer.kernel
        border = (height // 2, width // 2) if padded and layer.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, layer.width, layer.kernel, layer.stride, border, bias=False)
        self.bn = nn.BatchNorm2d(layer.width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


class _Block(nn.Module):
    """Branches side by side, the last one after a pooling."""

    def __init__(self, channels: int, branches: list[Branch], halves: bool, by_maximum: bool) -> None:
        super().__init__()
        self.branches, self.halves, self.by_maximum = branches, halves, by_maximum
        self.width = channels if halves else 0
        for branch in branches:
            inside = channels
            for step in branch:
                layers = [step] if isinstance(step, Layer) else step
                for layer in layers:
                    self.add_module(layer.name, _Convolution(inside, layer))
                inside = sum(layer.width for layer in layers)
            self.width += inside

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            return torch.cat([*(self._through(branch, x) for branch in self.branches), F.max_pool2d(x, 3, 2)], 1)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.by_maximum else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        *others, after_pooling = self.branches
        return torch.cat([*(self._through(branch, x) for branch in others), self._through(after_pooling, pooled)], 1)

    def _through(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, Layer):
                x = self.get_submodule(step.name)(x)
            else:
                x = torch.cat([self.get_submodule(layer.name)(x) for layer in step], 1)
        return x


def inception_of(stored: dict[str, Tensor], path: Path) -> Inception:
    """The network with a state dict's weights, named as torchvision and pytorch-fid name them.

    What stands after the last pooling, and batch normalisation's count of batches, may be there or not.

    Raises:
        HasamaError: another network's weights, or not all of them.
    """
    with outline():
        network = Inception()
    beside = ("fc.", "AuxLogits.")
    kept = {k: v for k, v in stored.items() if not k.startswith(beside) and not k.endswith(UNUSED)}
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith(UNUSED)}
    odd = sorted(wanted.keys() ^ kept.keys()) or [k for k, v in wanted.items() if v.shape != kept[k].shape]
    if odd:
        raise HasamaError(
            f"{path} does not hold InceptionV3 as torchvision or pytorch-fid save it: {odd[0]} is missing, too many, "
            f"or of another shape ({len(odd)} of {len(wanted)} tensors are)."
        )
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in kept.values()):
        raise HasamaError(f"{path} holds weights that are no finite numbers.")
    counts = {k: torch.zeros((), dtype=torch.int64) for k in network.state_dict() if k.endswith(UNUSED)}
    network.load_state_dict(counts | {k: v.float() for k, v in kept.items()}, strict=True, assign=True)
    return network
