"""How the enlarger learns: pictures are made smaller and spoilt a little, and it is to undo both.

Five costs (the first three as SRGAN, Ledig et al. 2017, with later practice): the absolute difference; the
difference in what a frozen network sees; a discriminator of patches, relativistic (Jolicoeur-Martineau 2019; of the
enlarger's own loss the half that asks of fakes), so that strokes are sharp; that the enlarged picture made smaller is
the small one again; and that there is no lattice, the cheapest way for a network without noise to have as much grain
as real pictures. Gradients are clipped: without that a discriminator of patches blew such networks up.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hasama.device import Arithmetic, lay_out, pick_arithmetic
from hasama.networks.calling import frozen
from hasama.networks.enlarger import Enlarger, enlarge, smaller, with_four_channels
from hasama.networks.layers import binomial
from hasama.optimizers import Adam
from hasama.perception.efficientnet import EfficientNet, load_convolutions
from hasama.shapes import Images, Resized, Rgba, Scalar

STRIDES = (4, 8)
PERCEIVED, DECEIVED, CONSISTENT, REGULAR = 0.15, 0.01, 1.0, 3.0
"""Weights of the costs beside the absolute difference, which has 1."""
CLIP = 0.5


class Patches(nn.Module):
    """Images [N, 3, H, W] -> logits [N, 1, H / 4, W / 4]: whether the surroundings of each place are real."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.LeakyReLU(0.2)),
            nn.Conv2d(4 * width, 1, 1),
        )

    def forward(self, images: Images) -> Tensor:
        return self.layers(images)


class Enlarging(NamedTuple):
    """Who takes part: the enlarger, the discriminator of patches, their optimizers, and a frozen network.

    Attributes:
        rate: the enlarger's learning rate; the patches' is half of it.
        honest: the share of the training before the patches count; 0 for patches that have been taught before.
        arithmetic: what enlarger and patches run under, such as bfloat16 autocast; the costs are computed in float32.
    """

    enlarger: Enlarger
    patches: Patches
    optimizers: tuple[Adam, Adam]
    sees: EfficientNet
    rate: float
    honest: float
    arithmetic: Arithmetic

    @classmethod
    def of(
        cls,
        enlarger: Enlarger,
        patches: Patches,
        rate: float,
        honest: float = 0.0,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> "Enlarging":
        """To teach an enlarger, new or not."""
        for network in (enlarger, patches):
            lay_out(network.requires_grad_(True), torch.device(device))
        adams = (Adam(enlarger.parameters(), rate, (0.9, 0.99)), Adam(patches.parameters(), rate / 2, (0.0, 0.99)))
        sees = EfficientNet(load_convolutions()).to(device)
        return cls(enlarger, patches, adams, sees, rate, honest, pick_arithmetic(precision, torch.device(device)))

    def enlarge(self, small: Rgba, factor: int) -> Resized:
        """RGBA [N, 4, H, W] -> [N, 4, factor H, factor W] in float32."""
        with self.arithmetic():
            return enlarge(self.enlarger, small, factor).float()

    def judge(self, images: Images) -> Tensor:
        """The logits of the patches [N, 1, H / 4, W / 4] in float32."""
        with self.arithmetic():
            return self.patches(images).float()

    def parts(self) -> dict[str, Any]:
        """Everything that has a state."""
        names = ("enlarger", "patches", "enlarger_optimizer", "patches_optimizer")
        return dict(zip(names, (self.enlarger, self.patches, *self.optimizers), strict=True))

    def weights(self) -> dict[str, Tensor]:
        """Both networks' weights, as `load_part` takes them apart."""
        networks = {"enlarger": self.enlarger, "patches": self.patches}
        return {f"{part}.{name}": t for part, network in networks.items() for name, t in network.state_dict().items()}


class Pieces(NamedTuple):
    """What a step is taught on.

    Attributes:
        images: pieces of real pictures [N, C, H, W] in [-1, 1]; the sides are multiples of the factor.
        factor: they are made smaller by 2, 4 or 8, and enlarged again.
        fakes: small pieces of fakes [N, C, h, w], which are enlarged, too; or None.
    """

    images: Images
    factor: int
    fakes: Tensor | None = None


class EnlargingStep(NamedTuple):
    """One step of `learn_to_enlarge`: the costs, unweighted."""

    difference: Scalar
    perceived: Scalar
    deceived: Scalar
    consistent: Scalar
    regular: Scalar


def learn_to_enlarge(
    game: Enlarging, pieces: Iterable[Pieces], done: Callable[[], float], first: int = 0
) -> Iterator[EnlargingStep]:
    """Teach an enlarger.

    Args:
        game: who takes part.
        pieces: what it is taught on, step by step.
        done: which share of the training is over; at 1 it ends.
        first: the number of the first step: the rates rise over the first hundred.
    """
    for number, some in enumerate(pieces, first):
        if (share := done()) >= 1:
            return
        scale = min(1.0, (number + 1) / 100) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        for optimizer, rate in zip(game.optimizers, (game.rate, game.rate / 2), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        yield _step(game, some, share >= game.honest)


def _step(game: Enlarging, pieces: Pieces, deceives: bool) -> EnlargingStep:
    images, factor = with_four_channels(pieces.images), pieces.factor
    small = smaller(images, factor)
    large = game.enlarge(spoilt(small, images, factor), factor)
    shade = torch.rand(len(images), 3, 1, 1, device=images.device) * 2 - 1
    real, made = over(images, shade), over(large, shade)
    difference, perceived = faithful(game.sees, large, images, shade)
    consistent, regular = _inconsistency(large, small, factor), lattice(made, real)
    if pieces.fakes is not None:
        fakes = with_four_channels(pieces.fakes)
        enlarged = game.enlarge(fakes, factor)
        consistent = (consistent + _inconsistency(enlarged, fakes, factor)) / 2
        shade = torch.rand(len(fakes), 3, 1, 1, device=images.device) * 2 - 1
        made = over(enlarged, shade)
        plain = F.interpolate(over(fakes, shade), scale_factor=factor, mode="bicubic")
        regular = (regular + lattice(made, plain)) / 2
    loss = difference + PERCEIVED * perceived + CONSISTENT * consistent + REGULAR * regular
    deceived = torch.zeros((), device=images.device)
    if deceives:
        real, made = _moved(real, made)
        with frozen(game.patches):
            deceived = F.softplus(game.judge(real).mean() - game.judge(made)).mean()
            _descend(game.optimizers[0], loss + DECEIVED * deceived)
        there, here = game.judge(real), game.judge(made.detach())
        _descend(game.optimizers[1], F.softplus(here - there.mean()).mean() + F.softplus(here.mean() - there).mean())
    else:
        _descend(game.optimizers[0], loss)
    return EnlargingStep(*(cost.detach() for cost in (difference, perceived, deceived, consistent, regular)))


def faithful(network: EfficientNet, large: Rgba, images: Rgba, shade: Tensor) -> tuple[Scalar, Scalar]:
    """How much enlarged pictures differ from the real ones: absolutely, and to a frozen network. Both RGBA.

    Args:
        network: what sees them.
        large: the enlarged pictures [N, 4, H, W].
        images: the real ones [N, 4, H, W].
        shade: what both lie over where they are transparent [N, 3, 1, 1].
    """
    difference = (over(large, shade) - over(images, shade)).abs().mean() + (large[:, 3] - images[:, 3]).abs().mean()
    return difference, perceptual(network, over(large, shade), over(images, shade))


def _inconsistency(large: Tensor, small: Tensor, factor: int) -> Scalar:
    """How much an enlarged picture, made smaller again, differs from the small one (RGBA; premultiplied)."""
    black = torch.full((len(small), 3, 1, 1), -1.0, device=small.device)
    return (over(smaller(large, factor), black) - over(small, black)).abs().mean()


def lattice(made: Images, real: Images) -> Scalar:
    """How much of a regular grain of two pixels there is in one picture and not in the other.

    Signs that take turns along rows, columns or both make such a grain one colour, whose means over 8x8 places stay;
    of smooth differences and of grain without order little stays.
    """
    gap = made - real
    signs = [1 - torch.arange(side, device=gap.device) % 2 * 2 for side in gap.shape[2:]]
    down, across = signs[0][:, None], signs[1]
    means = (F.avg_pool2d(gap * turns, 8, 4).abs().mean() for turns in (down, across, down * across))
    return torch.stack([*means]).sum()


def _descend(optimizer: Adam, loss: Scalar) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], CLIP)
    optimizer.step()


def perceptual(network: EfficientNet, fake: Images, real: Images) -> Scalar:
    """How differently a frozen network sees two pictures (Johnson et al. 2016, eq. 2, by absolute differences).

    They are moved first.
    """
    fake, real = _moved(fake, real)
    with torch.no_grad():
        wanted = network.maps(real, STRIDES)
    found = network.maps(fake, STRIDES)
    return torch.stack([(found[s] - wanted[s]).abs().mean() / wanted[s].std() for s in STRIDES]).sum()


def _moved(one: Images, other: Images) -> tuple[Resized, Resized]:
    """Two pictures moved alike, by up to three pixels each way.

    What looks at them next strides by four, and pictures that stood still would get a pattern of its strides.
    """
    y, x = torch.randint(0, 4, (2,)).tolist()
    return one[:, :, y:, x:], other[:, :, y:, x:]


def over(images: Rgba, shade: Tensor) -> Tensor:
    """RGBA over a colour [N, 3, 1, 1]."""
    alpha = (images[:, 3:] + 1) / 2
    return images[:, :3] * alpha + shade * (1 - alpha)


def spoilt(small: Rgba, images: Resized, factor: int) -> Rgba:
    """As fakes are: half of the pictures stay clean; others get noise, blur, a grain of two pixels or stairs.

    Args:
        small: [N, 4, H, W].
        images: what they were made of [N, 4, factor H, factor W]: single pixels of these make stairs of edges.
        factor: 2, 4 or 8.
    """
    count, device = len(small), small.device
    kind = torch.randint(0, 8, (count, 1, 1, 1), device=device)
    strength = torch.rand(count, 1, 1, 1, device=device)
    colours = small[:, :3]
    noisy = colours + 0.1 * strength * torch.randn_like(colours)
    kernel = binomial(2, colours) / 4
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    blurred = torch.lerp(
        colours, F.conv2d(F.pad(colours, (1, 1, 1, 1), mode="replicate"), kernel, groups=3), strength
    )
    tints = torch.rand(count, 3, 1, 1, device=device)
    grainy = colours + 0.12 * strength * tints * _grain(small)
    y, x = torch.randint(0, factor, (2,)).tolist()
    stairs = torch.lerp(colours, images[:, :3, y::factor, x::factor], strength)
    for number, found in enumerate((noisy, blurred, grainy, stairs)):
        colours = torch.where(kind == number, found, colours)
    return torch.cat([colours.clamp(-1, 1), small[:, 3:]], 1)


def _grain(small: Rgba) -> Tensor:
    """[N, 1, H, W] of 1 and -1, which take turns along rows, along columns or along both."""
    along = torch.randint(1, 4, (len(small), 1, 1, 1), device=small.device)  # bit 0: down; bit 1: across
    y = torch.arange(small.shape[2], device=small.device)[:, None] * (along & 1)
    x = torch.arange(small.shape[3], device=small.device) * (along >> 1)
    return (y + x) % 2 * 2.0 - 1
