"""VGG with a handful of channels: every layer, stride and reach of the real one, at a thousandth of the work."""

import torch
from torch import Tensor

from hasama.perception.vgg import BLOCKS, Weights
from hasama.perception.vgg_weights import IMAGENET_MEAN, IMAGENET_STD

WIDTHS = (4, 6, 8, 8, 8)


def narrow_weights(network: str = "vgg19", widths: tuple[int, ...] = WIDTHS, seed: int = 0) -> Weights:
    """Random weights of He's size, so that deep layers still have something to say."""
    generator = torch.Generator().manual_seed(seed)
    convolutions: dict[str, tuple[Tensor, Tensor]] = {}
    channels = 3
    for block, (count, width) in enumerate(zip(BLOCKS[network], widths, strict=True), 1):
        for index in range(1, count + 1):
            weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
            bias = torch.randn(width, generator=generator) * 0.1
            convolutions[f"{block}_{index}"] = (weight, bias)
            channels = width
    return Weights(network, convolutions, IMAGENET_MEAN, IMAGENET_STD)


def soft_picture(height: int, width: int, seed: int = 0) -> Tensor:
    """[1, 3, height, width] in [-1, 1]: noise that is a little smoother than noise."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, 3, height + 2, width + 2, generator=generator) * 2 - 1
    return (0.5 * rough[:, :, 1:-1, 1:-1] + 0.5 * torch.nn.functional.avg_pool2d(rough, 3, 1)).clamp(-1, 1)
