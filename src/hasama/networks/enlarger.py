"""A network that doubles pictures, and a generator whose pictures it enlarges.

Composition is learnt quickest on small pictures; strokes can be learnt once, from any pictures. So with `--enlarge`
the game is played on small pictures, and one network, which ships with the package, doubles what the generator makes,
once or more. As in SRGAN (Ledig et al. 2017) most of it works on the small picture, and sub-pixel convolution (Shi et
al. 2016) opens it at the end; what it adds to plain interpolation begins at nothing. Part of it works at half that
size (a small U-Net, Ronneberger et al. 2015), where width is cheap and a convolution reaches twice as far.

Nothing in it depends on the picture as a whole, so a picture may be enlarged in tiles.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.networks.calling import call
from hasama.networks.pair import Extra, Pair, is_styled
from hasama.shapes import Images, Labels, Latents, Resized, Rgba, Styles, Views, largest
from hasama.tensor_files import load_tensors

WEIGHTS = Path(__file__).parents[1] / "weights" / "enlarger.safetensors"
"""The enlarger that comes with the package; NOTICE.md beside it says what it was taught on."""

WIDTH = 48
INNER_BLOCKS = 3
AT_ONCE = 2**16
"""Pixels that are doubled at once: some 100 MB of maps."""
SOFT = 0.06
"""How far alpha, -1 to 1, is from clear and opaque where it is wholly soft: eight levels of 255."""
FLAT = 0.024
"""How much 3x3 pixels, of -1 to 1, may differ where what the network adds begins to count: three levels of 255."""
REACH = 20
"""Pixels of the small picture, to each side, that an enlarged pixel depends on (a test measures it)."""


class Block(nn.Module):
    """Two convolutions beside an identity (He et al. 2016), which it is at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        silence(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Enlarger(nn.Module):
    """Images [N, C, H, W] in [-1, 1], C of 1, 3 or 4 -> [N, C, 2H, 2W] in [-1, 1].

    It always works on four channels: grey goes through as three equal colours, what is opaque has an alpha of 1.

    Args:
        width: channels at the size of the small picture; twice as many at half of it.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.before = Block(width)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.inner = nn.Sequential(*[Block(2 * width) for _ in range(INNER_BLOCKS)])
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.after = Block(width)
        self.last = nn.Conv2d(width, 16, 3, padding=1)
        silence(self.last)

    def forward(self, images: Images) -> Resized:
        height, width = images.shape[2:]
        x = with_four_channels(images)
        x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")  # whole pairs of pixels
        y = self.before(self.first(x))
        inner = self.inner(self.down(y))
        y = self.after(y + F.pixel_shuffle(self.up(inner), 2))
        y = F.pixel_shuffle(self.last(F.silu(y)), 2) * _unlike(x) + F.interpolate(x, scale_factor=2, mode="bicubic")
        y = _with_true_alpha(y, x) if images.shape[1] == 4 else y
        return with_channels(y[:, :, : 2 * height, : 2 * width].clamp(-1, 1), images.shape[1])


def _unlike(small: Images) -> Tensor:
    """Pictures [N, C, H, W] -> [N, 1, 2H, 2W]: 0 where 3x3 pixels have one colour, 1 where they differ by `FLAT`.

    What ships adds a few levels of texture to plain paper and to the grounds of drawings, at each doubling again.
    """
    around = F.pad(small.detach(), (1, 1, 1, 1), mode="replicate")
    spread = (F.max_pool2d(around, 3, 1) + F.max_pool2d(-around, 3, 1)).amax(1, keepdim=True)
    return F.interpolate((spread / FLAT).clamp(0, 1), scale_factor=2, mode="bilinear")


def _with_true_alpha(large: Tensor, small: Rgba) -> Tensor:
    """An enlarged picture [N, 4, 2H, 2W] with interpolated alpha where the small one's [N, 4, H, W] has no edge.

    What ships was taught on icons, whose alpha is nearly everywhere clear or opaque: it made faint shadows clear. And
    where all around is opaque, whatever the colours, it stays so. Edges stay the network's own: there 3x3 pixels
    differ, and at least one of them is clear or opaque.
    """
    alpha = small[:, 3:]
    hardest = F.max_pool2d(F.pad(alpha.abs(), (1, 1, 1, 1), mode="replicate"), 3, 1)
    soft = F.interpolate(((1 - hardest) / SOFT).clamp(0, 1), scale_factor=2, mode="bilinear")
    smooth = F.interpolate(alpha, scale_factor=2, mode="bicubic")
    return torch.cat([large[:, :3], smooth.lerp(large[:, 3:], _unlike(alpha) * (1 - soft))], 1)


def silence(layer: nn.Conv2d) -> None:
    """Begin with an output of zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def enlarge(enlarger: nn.Module, images: Images, factor: int) -> Resized:
    """Images [N, C, H, W] -> [N, C, factor H, factor W], doubled as often as needed.

    Some at a time, for the maps of many large pictures would not fit into the memory.
    """
    for _ in range(factor.bit_length() - 1):
        count = max(1, AT_ONCE // (images.shape[2] * images.shape[3]))
        whole = torch.compiler.is_exporting()  # a file takes any number of pictures
        images = enlarger(images) if whole else torch.cat([enlarger(some) for some in images.split(count)])
    return images


def smaller(images: Images, factor: int) -> Resized:
    """Images [N, C, H, W] -> [N, C, H / factor, W / factor]: what `enlarge` undoes; sides must be multiples.

    By an antialiased cubic, and premultiplied where there is alpha, as pictures are made smaller when they are read.
    """
    if factor == 1:
        return images
    if images.shape[1] < 4:
        return _resized(images, factor).clamp(-1, 1)
    alpha = (images[:, 3:] + 1) / 2
    small = _resized(torch.cat([(images[:, :3] + 1) * alpha, alpha], 1), factor)
    covered = small[:, 3:]  # it overshoots as the colours do: cut off now, it would give opaque shapes a bright rim
    colours = small[:, :3] / covered.clamp_min(1e-3) - 1
    seen = torch.where(covered > 1e-3, colours, _resized(images[:, :3], factor))
    return torch.cat([seen, 2 * covered - 1], 1).clamp(-1, 1)


def _resized(images: Tensor, factor: int) -> Tensor:
    size = (images.shape[2] // factor, images.shape[3] // factor)
    return F.interpolate(images, size, mode="bicubic", antialias=True)


def with_four_channels(images: Images) -> Rgba:
    """Grey and RGB as RGBA, opaque."""
    colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
    alpha = images[:, 3:] if images.shape[1] == 4 else torch.ones_like(images[:, :1])
    return torch.cat([colours, alpha], 1)


def with_channels(images: Rgba, channels: int) -> Tensor:
    """RGBA as so many channels again: 1 is the mean of the colours."""
    return images[:, :3].mean(1, keepdim=True) if channels == 1 else images[:, :channels]


class Enlarged(nn.Module):
    """A generator of small pictures whose pictures are enlarged, but not while it trains.

    In training mode it gives what the generator gives, for the game is played on small pictures; in evaluation mode
    pictures at full size. The enlarger is frozen.

    Args:
        generator: of small pictures.
        enlarger: doubles pictures.
        factor: 2, 4 or 8.
    """

    def __init__(self, generator: nn.Module, enlarger: Enlarger, factor: int) -> None:
        super().__init__()
        self.generator: Any = generator
        self.enlarger, self.factor = enlarger.requires_grad_(False), factor

    def forward(self, latents: Latents, labels: Labels | None = None) -> Views:
        return self.shown(call(self.generator, latents, labels))

    def shown(self, small: Views) -> Views:
        """Small pictures as the game or as people are shown them."""
        return small if self.training else enlarge(self.enlarger, largest(small), self.factor)


class EnlargedStyled(Enlarged):
    """The same of a style-based generator (`hasama.networks.pair.Styled`)."""

    @property
    def style_layers(self) -> int:
        """How many layers take a style."""
        return self.generator.style_layers

    @property
    def mean_style(self) -> Tensor:
        """[W], the mean w."""
        return self.generator.mean_style

    def mapping(self, latents: Latents, labels: Labels | None = None) -> Latents:
        """Latents [N, Z] -> w [N, W]."""
        return self.generator.mapping(latents, labels)

    def synthesis(self, styles: Styles) -> Views:
        """A w for each layer [N, style_layers, W] -> images [N, C, H, W]."""
        return self.shown(self.generator.synthesis(styles))


def with_enlarger(pair: Pair, factor: int) -> Pair:
    """A pair for small pictures as one for pictures `factor` times as large: shown reals are made smaller."""
    generator = pair.generator
    kind = EnlargedStyled if is_styled(pair.generator) else Enlarged
    return pair._replace(
        generator=kind(generator, shipped(), factor),
        generator_extra=_of_the_small(pair.generator_extra),
        view=lambda images: pair.view(smaller(images, factor)),
        whole=lambda images: smaller(images, factor),
    )


def _of_the_small(extra: Extra | None) -> Extra | None:
    """A cost of a generator, for the enlarged one."""
    return extra and extra._replace(cost=lambda enlarged, *given: extra.cost(enlarged.generator, *given))


def shipped() -> Enlarger:
    """The enlarger that comes with the package.

    Raises:
        HasamaError: its file is damaged.
    """
    return load_enlarger(WEIGHTS)


def load_enlarger(path: Path) -> Enlarger:
    """Read an enlarger.safetensors.

    Raises:
        HasamaError: it is missing, damaged or something else.
    """
    enlarger = Enlarger()
    if not enlarger.first.weight.is_meta:  # else it is an outline, without memory
        load_part(enlarger, path, "enlarger")
    return enlarger


def load_part(network: nn.Module, path: Path, part: str) -> None:
    """Give a network the weights that a file has under this name: `enlarger`, or `patches` that judged it.

    Raises:
        HasamaError: the file is missing, damaged or something else.
    """
    named = f"{part}."
    try:
        tensors = {name: t.float() for name, t in load_tensors(path)[0].items() if name.startswith(named)}
        network.load_state_dict({name.removeprefix(named): tensor for name, tensor in tensors.items()})
    except RuntimeError as error:  # what torch says of it fills a page
        raise HasamaError(f"{path} is not a readable enlarger: its weights have other names or shapes.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise HasamaError(f"{path} is not a readable enlarger: {str(error).partition(chr(10))[0]}.") from error
