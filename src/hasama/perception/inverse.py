"""VGG19 turned round: small networks that turn its features back, block by block, into a picture.

Each goes from the first layer of a block to the first of the block before, which is twice as high and wide; the last
makes the picture. They are learnt once, from photographs (`scripts/teach_inverse.py`), and come with the package;
they never see a painting. Li et al. 2017 (Universal Style Transfer via Feature Transforms) have a network for each
level; here the coarser ones go on through the finer ones.

Nothing depends on the picture as a whole, so a picture may be made in tiles.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hasama.device import lay_out
from hasama.errors import HasamaError

WEIGHTS = Path(__file__).parents[1] / "weights" / "inverse.safetensors"
"""NOTICE.md beside it says what they were learnt from."""

LEVELS = ("relu4_1", "relu3_1", "relu2_1", "relu1_1")
"""From coarse to fine."""
REACH = {"relu4_1": 40, "relu3_1": 12, "relu2_1": 6, "relu1_1": 2}
"""Pixels, to each side, that a pixel depends on of what is turned back from a level (a test measures it)."""

Features = Float[Tensor, "n c h w"]
"""The output of one layer of VGG19 for several pictures."""


class Inverse(nn.Module):
    """Activations of one of `LEVELS` -> those of the next, and at the end the picture [N, 3, H, W] in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.relu4_1 = Block(512, 256, 128, 256, deep=True)
        self.relu3_1 = Block(256, 128, 64, 128)
        self.relu2_1 = Block(128, 64, 32, 64)
        self.relu1_1 = nn.Sequential(_convolution(64, 24), nn.SiLU(), _convolution(24, 3))

    def forward(self, activations: Features, level: str) -> Tensor:
        """From this level to what is one finer: [N, C, h, w] -> [N, C', 2h, 2w]; from relu1_1 the picture."""
        made = getattr(self, level)(activations)
        return made.clamp(-1, 1) if level == LEVELS[-1] and not self.training else made

    def picture(self, activations: Features, level: str) -> Tensor:
        """All the way from a level [N, C, h, w] to the picture [N, 3, H, W]."""
        for each in LEVELS[LEVELS.index(level) :]:
            activations = self(activations, each)
        return activations


class Block(nn.Module):
    """Most of the work is done before the doubling, where width is cheap."""

    def __init__(self, inside: int, width: int, thin: int, outside: int, deep: bool = False) -> None:
        super().__init__()
        self.inside = _convolution(inside, width, 1)
        self.first = _convolution(width, width)
        self.deep = nn.ModuleList([_convolution(width, width), _convolution(width, width)]) if deep else None
        self.second = _convolution(width, thin)
        self.out = _convolution(thin, outside, 1)

    def forward(self, x: Features) -> Tensor:
        x = F.silu(self.inside(x))
        x = x + F.silu(self.first(x))
        if self.deep is not None:
            x = x + self.deep[1](F.silu(self.deep[0](x)))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.out(F.silu(self.second(x)))


class Replicated(nn.Conv2d):
    """A convolution of 3x3 that sees the edge repeated beyond it.

    torch repeats an edge by copying all of the picture, which took longer than the convolution. So the whole is
    convolved with zeros around it, and the places along the four edges once more.
    """

    def forward(self, input: Features) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_exporting() or min(input.shape[2:]) < 2:
            return super().forward(input)
        made = F.conv2d(input, self.weight, self.bias, padding=1)
        for edge, dim, first, last in ((0, 2, 1, 0), (-1, 2, 0, 1), (0, 3, 1, 0), (-1, 3, 0, 1)):
            beside = input.narrow(dim, 0 if first else input.shape[dim] - 2, 2)
            more = (1, 1, first, last) if dim == 2 else (first, last, 1, 1)
            strip = F.pad(beside, more, mode="replicate")
            made.select(dim, edge).copy_(F.conv2d(strip, self.weight, self.bias).squeeze(dim))
        return made


def _convolution(inside: int, outside: int, size: int = 3) -> nn.Conv2d:
    if size == 1:
        return nn.Conv2d(inside, outside, 1)
    return Replicated(inside, outside, size, padding=1, padding_mode="replicate")


def load_inverse(path: Path = WEIGHTS) -> Inverse:
    """The networks that come with the package, in evaluation mode.

    Raises:
        HasamaError: the file is missing or damaged.
    """
    inverse = Inverse()
    try:
        inverse.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise HasamaError(f"{path} is missing or damaged; install hasama again.") from error
    lay_out(inverse, torch.device("cpu"))
    return inverse.eval().requires_grad_(False)
