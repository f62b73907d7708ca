"""The colours of a painting: the content's (Gatys et al. 2016, Preserving Color in Neural Artistic Style Transfer),
the style's, or the content's hues in the style's colours (Kolkin et al. 2022, section 3.5).
"""

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.shapes import LUMA, Images, Weighting

LEAST_VARIANCE = 1e-4
"""Of colours in [-1, 1], so that a grey picture's colours can be divided by."""


class Colours(NamedTuple):
    """The mean [C] and the covariance [C, C] of a picture's colours, float64."""

    mean: Tensor
    covariance: Tensor


def colours_of(images: Images, mask: Weighting | None = None) -> Colours:
    """Of a picture [1, C, H, W]; with a mask [H, W] each pixel counts by it."""
    values = images[0].flatten(1).double()
    if mask is None:
        mean = values.mean(1)
        centred = values - mean[:, None]
        return Colours(mean, centred @ centred.T / values.shape[1])
    weights = mask.flatten().double() / mask.double().sum()
    mean = values @ weights
    centred = values - mean[:, None]
    return Colours(mean, centred * weights @ centred.T)


def mixed(parts: list[Colours], weights: list[float]) -> Colours:
    """The colours of several pictures together: of all their pixels, each counted by its picture's weight."""
    shares = [weight / sum(weights) for weight in weights]
    mean = torch.stack([share * one.mean for share, one in zip(shares, parts, strict=True)]).sum(0)
    squares = [
        share * (one.covariance + torch.outer(one.mean, one.mean)) for share, one in zip(shares, parts, strict=True)
    ]
    return Colours(mean, torch.stack(squares).sum(0) - torch.outer(mean, mean))


def recoloured(images: Images, own: Colours, wanted: Colours) -> Images:
    """Colours moved so that their mean and covariance become the wanted ones, each as little as possible.

    The linear Monge-Kantorovitch map  S^(-1/2) (S^(1/2) T S^(1/2))^(1/2) S^(-1/2)  (Pitie & Kokaram 2007, eq. 4).
    """
    return _moved(images, own, wanted, LEAST_VARIANCE).clamp_(-1, 1)


def _moved(images: Tensor, own: Colours, wanted: Colours, variance: float) -> Tensor:
    """The same for any number of channels; `variance` is added to both, so that what does not vary can be divided."""
    least = variance * torch.eye(len(own.mean), dtype=torch.float64)
    root = _power(own.covariance + least, 0.5)
    back = _power(own.covariance + least, -0.5)
    turn = back @ _power(root @ (wanted.covariance + least) @ root, 0.5) @ back
    shift = wanted.mean - turn @ own.mean
    return torch.einsum("ij,njhw->nihw", turn.to(images), images) + shift.to(images).view(1, -1, 1, 1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=1e-12) ** exponent @ vectors.T


def luminance(images: Images) -> Tensor:
    """[1, 3, H, W] -> [1, 1, H, W]."""
    return torch.einsum("c,nchw->nhw", images.new_tensor(LUMA), images)[:, None]


def in_grey(images: Images) -> Images:
    """The luminance in all three channels."""
    return luminance(images).expand(-1, 3, -1, -1).contiguous()


def relit(images: Images, own: Colours, wanted: Colours) -> Images:
    """In grey, with the mean and the spread of the luminance that are wanted."""
    weights = torch.tensor(LUMA, dtype=torch.float64)
    spread = ((weights @ wanted.covariance @ weights) / (weights @ own.covariance @ weights + LEAST_VARIANCE)).sqrt()
    moved = (in_grey(images) - float(weights @ own.mean)) * float(spread) + float(weights @ wanted.mean)
    return moved.clamp_(-1, 1)


def with_luminance(colours: Images, bright: Images) -> Images:
    """The hue of one picture and the luminance of another: adding the same to R, G and B leaves I and Q alone."""
    return (colours + (luminance(bright) - luminance(colours))).clamp_(-1, 1)


# --- hues of the content in the colours of a style ------------------------------------------------

CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
         (0.0883024619, 0.2817188376, 0.6299787005))  # fmt: skip
OPPONENT = ((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660))  # fmt: skip
"""Oklab (Ottosson 2020, bottosson.github.io/posts/oklab): linear sRGB -> cones -> cube roots -> lightness, a, b."""

LEAST_HUE_VARIANCE = 1e-6
EDGE = 10.0
"""How much a difference in lightness keeps hues apart when they are smoothed."""
SMOOTHINGS = 5


def to_oklab(images: Images) -> Images:
    """SRGB [1, 3, H, W] in [-1, 1] -> lightness (0 to 1), a (green to red), b (blue to yellow)."""
    level = ((images + 1) / 2).clamp(0, 1)
    linear = torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return _through(OPPONENT, _through(CONES, linear).clamp(min=0) ** (1 / 3))


def from_oklab(images: Images) -> Images:
    """The inverse of `to_oklab`; what no screen can show is cut off."""
    cones = _through(_inverse(OPPONENT), images) ** 3
    linear = _through(_inverse(CONES), cones).clamp(0, 1)
    level = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (level * 2 - 1).clamp_(-1, 1)


def _through(matrix: tuple[tuple[float, ...], ...], images: Images) -> Images:
    return torch.einsum("ij,njhw->nihw", images.new_tensor(matrix), images)


def _inverse(matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, torch.tensor(matrix, dtype=torch.float64).inverse().tolist()))


class Palette(NamedTuple):
    """What is taken from a style's colours, in Oklab."""

    hues: Colours
    """Of a and b."""
    lowest: Tensor
    """[3]: of lightness, a and b."""
    highest: Tensor
    """[3]"""


def palette_of(images: Images, mask: Weighting | None = None) -> Palette:
    """Of a picture [1, 3, H, W] in [-1, 1]; with a mask [H, W] of what is at least half in it."""
    lab = to_oklab(images)
    seen = lab.flatten(2)[0] if mask is None else lab[0][:, mask >= min(0.5, float(mask.max()))]
    return Palette(colours_of(lab[:, 1:], mask), seen.amin(1), seen.amax(1))


def blended(palettes: list[Palette], weights: list[float]) -> Palette:
    """The palette of several styles together."""
    return Palette(
        mixed([palette.hues for palette in palettes], weights),
        torch.stack([palette.lowest for palette in palettes]).amin(0),
        torch.stack([palette.highest for palette in palettes]).amax(0),
    )


def hues_matched(painting: Images, content: Images, palette: Palette, mask: Weighting | None = None) -> Images:
    """The painting's lightness with the content's hues, moved so that their mean and covariance are the style's; with
    a mask [H, W] those of its place.

    Hues are smoothed where lightness is even, so that they follow the painting's edges and not the content's.
    """
    low, high = (bound.to(painting).view(1, 3, 1, 1) for bound in (palette.lowest, palette.highest))
    lightness = to_oklab(painting)[:, :1].clamp(low[:, :1], high[:, :1])
    hues = to_oklab(content)[:, 1:]
    hues = _moved(hues, colours_of(hues, mask), palette.hues, LEAST_HUE_VARIANCE).clamp(low[:, 1:], high[:, 1:])
    for _ in range(SMOOTHINGS):
        hues = _smoothed(hues, lightness)
    return from_oklab(torch.cat([lightness, hues], 1))


def _smoothed(images: Tensor, guide: Tensor) -> Tensor:
    """The mean of 3x3 places, weighted by how alike the guide is there (bilateral: Tomasi & Manduchi 1998)."""
    height, width = images.shape[2:]
    around, guides = (F.pad(one, (1, 1, 1, 1), mode="replicate") for one in (images, guide))
    total, whole = torch.zeros_like(images), torch.zeros_like(guide)
    for y, x in product(range(3), range(3)):
        here = (slice(None), slice(None), slice(y, y + height), slice(x, x + width))
        weight = (-EDGE * (guides[here] - guide).abs()).exp()
        total.addcmul_(around[here], weight)
        whole.add_(weight)
    return total.div_(whole)
