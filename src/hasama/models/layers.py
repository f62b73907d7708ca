"""The few parts that several architectures use identically."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from hasama.errors import HasamaError
from hasama.shapes import Images, Labels, Latents

SMALLEST = 4  # side of the picture from which the first convolution grows, as in Radford et al. 2016


def small_normal(module: nn.Module) -> None:
    """Weights from N(0, 0.02), BatchNorm's scale from N(1, 0.02): Radford et al. 2016, section 4."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


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
    """Silence each unit with a probability while training: Srivastava et al. 2014, section 4.

    On the CPU, torch draws a mask number by number, which is 40 % of a dense GAN's step. Here one 64-bit draw
    serves eight units, each kept where its byte is large enough; so the share is rounded to 1/256.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.silent = round(share * 256)  # of the 256 values of a byte

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.silent:
            return units
        if units.device.type != "cpu":
            return F.dropout(units, self.silent / 256)
        draws = torch.empty(-(-units.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: units.numel()].view(units.shape) >= self.silent
        return units * kept.to(units.dtype).mul_(256 / (256 - self.silent))


def halvings(resolution: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """How often a picture is halved, and the (height, width) of the smallest one, which may be slightly too large.

    64x64 -> 4 and (4, 4). 72x72 -> 4 and (5, 5): 80x80 pixels are made, of which `cut` keeps the middle.

    Raises:
        HasamaError: a side is not a multiple of 8.
    """
    height, width = resolution
    if height % 8 or width % 8:
        nearest = "x".join(str(max(8, round(side / 8) * 8)) for side in (width, height))
        raise HasamaError(
            f"dcgan and vae make pictures whose sides are multiples of 8, not {width}x{height}: try --size {nearest}."
        )
    steps = (min(height, width) // SMALLEST).bit_length() - 1
    return steps, (-(-height // 2**steps), -(-width // 2**steps))


def cut(images: Images, resolution: tuple[int, int]) -> Float[torch.Tensor, "n c height width"]:
    """The middle of the images."""
    height, width = resolution
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def widths(width: int, steps: int) -> list[int]:
    """Channels from the largest picture to the smallest: doubling from `width`, at most 8 times it."""
    return [width * min(2**step, 8) for step in range(steps)]
