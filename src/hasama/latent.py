"""The space of latents: draw from it, paint from it, walk through it, cross two of its points.

A style-based generator (`models.pair.Styled`) first maps a latent z to an intermediate w, in which like lies near
like. The *codes* of a picture are its w where there is one, and its z where there is none; everything below that
takes codes takes either. The codes of a style-based generator may also be a w for each layer.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from hasama.errors import HasamaError
from hasama.images import to_pixels
from hasama.models.pair import Styled
from hasama.recipe import unknown_name
from hasama.shapes import Images, Labels, Latents, Pixels, Styles
from hasama.weights import Painter

PAINT_AT_ONCE = 64

COARSE, MIDDLE = 4, 8
"""The layers that begin pictures of 16x16 and of 64x64, two for each size: Karras et al. 2019, figure 3."""

SAMPLES = 10_000
"""Of w, that directions are found from. Of z, four times its numbers are enough: see `_evenly_spread`."""

Codes = Latents | Styles
Centre = Float[Tensor, " w"]


def draw_latents(seed: int, count: int, size: int, first: int = 0) -> Latents:
    """Standard normal latents [count, size]; the k-th depends on (seed, first + k) only.

    So the first 16 of 64 pictures are the 16 pictures of the same seed.
    """
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index)))).standard_normal(size, np.float32)
        for index in range(first, first + count)
    ]
    return torch.from_numpy(np.stack(rows))


def latents_of_seeds(seeds: Sequence[int], size: int) -> Latents:
    """For each seed its first latent."""
    return torch.cat([draw_latents(seed, 1, size) for seed in seeds])


def paint(
    painter: Painter, latents: Latents, labels: Labels | None = None, truncation: float = 1.0
) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for the latents, a batch at a time; see `truncate`."""
    centre = centre_of(painter)
    for some in _batches(len(latents)):
        given = None if labels is None else labels[some]
        yield from paint_codes(painter, truncate(codes_of(painter, latents[some], given), centre, truncation), given)


def paint_all(painter: Painter, latents: Latents, labels: Labels | None = None, truncation: float = 1.0) -> Pixels:
    """`paint`, all in one array."""
    return np.concatenate(list(paint(painter, latents, labels, truncation)))


# --- codes ----------------------------------------------------------------------------------------


def is_styled(network: nn.Module) -> TypeGuard[Styled]:
    """Whether it has the intermediate space. Not by isinstance, which from Python 3.12 on overlooks buffers."""
    return all(hasattr(network, name) for name in ("style_layers", "mean_style", "mapping", "synthesis"))


@torch.no_grad()
def codes_of(painter: Painter, latents: Latents, labels: Labels | None = None) -> Latents:
    """The w [N, W] of latents where the generator is style-based; of others the latents themselves."""
    network = painter.network
    if not is_styled(network):
        return latents
    device, found = device_of(painter), []
    with painter.at_rest():
        for some in _batches(len(latents)):
            given = None if labels is None else labels[some].to(device)
            found.append(network.mapping(latents[some].to(device), given).cpu())
    return torch.cat(found)


def centre_of(painter: Painter) -> Centre:
    """The middle of the codes: the mean w over training, or the zero that latents are drawn around."""
    network = painter.network
    return network.mean_style.detach().cpu() if is_styled(network) else torch.zeros(painter.latent_size)


def truncate(codes: Codes, centre: Centre, psi: float) -> Codes:
    """The truncation trick, centre + psi (codes - centre): Karras et al. 2019, appendix B.

    Less than 1: more typical, less various. The centre is one for all classes. Where the codes are z, this scales
    it; Brock et al. 2019, section 3.1, rather draw every number of it again that is too large, and so stay where the
    generator was trained. Here the same seed is to remain the same picture, only more or less so.
    """
    return torch.lerp(centre.expand_as(codes), codes, psi)


def images_of(painter: Painter, codes: Codes, labels: Labels | None = None) -> Images:
    """Pictures as floats from codes (one w goes to all layers) on the generator's device; differentiable."""
    network = painter.network
    with painter.at_rest():
        if is_styled(network):
            every_layer = codes if codes.ndim == 3 else codes[:, None].expand(-1, network.style_layers, -1)
            return network.synthesis(every_layer)
        return network(codes) if labels is None else network(codes, labels)


@torch.no_grad()
def paint_codes(painter: Painter, codes: Codes, labels: Labels | None = None) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for the codes, a batch at a time. Labels count where the codes are z."""
    device = device_of(painter)
    for some in _batches(len(codes)):
        given = None if labels is None else labels[some].to(device)
        yield to_pixels(images_of(painter, codes[some].to(device), given))


def device_of(painter: Painter) -> torch.device:
    """Where the generator is."""
    return next(painter.network.parameters()).device


def _batches(count: int) -> list[slice]:
    return [slice(first, first + PAINT_AT_ONCE) for first in range(0, count, PAINT_AT_ONCE)]


# --- mixing ---------------------------------------------------------------------------------------


def named_layers(name: str, count: int) -> range | None:
    """The layers called coarse, middle or fine, of `count`; None for another name.

    As Karras et al. 2019, section 3.1: up to 8x8, up to 32x32 and beyond, with two layers for each size. A generator
    too small to have anything beyond is cut into thirds.
    """
    ends = (0, COARSE, MIDDLE, count) if count > MIDDLE else (0, *(math.ceil(count * k / 3) for k in (1, 2)), count)
    names = ("coarse", "middle", "fine")
    return range(*ends[names.index(name) :][:2]) if name in names else None


def crossed(
    rows: Float[Tensor, "rows w"], columns: Float[Tensor, "columns w"], layers: Sequence[int], count: int
) -> Float[Tensor, "cells layers w"]:
    """For every row, for every column: the row's w, but in these of the `count` layers the column's.

    Style mixing: Karras et al. 2019, section 3.1 and figure 3.
    """
    cells = rows[:, None, None].repeat(1, len(columns), count, 1)
    cells[:, :, list(layers)] = columns[None, :, None]
    return cells.flatten(0, 1)  # [rows, columns, layers, W] -> [rows * columns, layers, W]


def midway(rows: Float[Tensor, "rows z"], columns: Float[Tensor, "columns z"]) -> Float[Tensor, "cells z"]:
    """For every row, for every column: the middle of the great arc between them."""
    return torch.stack([slerp(row, column, 0.5) for row in rows for column in columns])


# --- labels ---------------------------------------------------------------------------------------


def labels_for(painter: Painter, count: int, name: str | None = None) -> Labels | None:
    """Labels [count] of one class, or of all in turn; None for a generator without classes.

    Raises:
        HasamaError: there is no such class, or there are no classes at all.
    """
    if not painter.classes:
        if name is not None:
            raise HasamaError("This generator was trained without classes: leave out --label.")
        return None
    if name is None:
        return torch.arange(count) % len(painter.classes)
    if name not in painter.classes:
        raise HasamaError(unknown_name(name, painter.classes, "class"))
    return torch.full((count,), painter.classes.index(name))


def labels_of_seeds(painter: Painter, seeds: Sequence[int], name: str | None = None) -> Labels | None:
    """Labels of one class; or of a class for each seed, whatever other seeds there are."""
    labels = labels_for(painter, len(seeds), name)
    return labels if labels is None or name is not None else torch.tensor(seeds) % len(painter.classes)


# --- walking --------------------------------------------------------------------------------------


def walk(seed: int, stops: int, frames: int, size: int) -> Latents:
    """A closed walk through `stops` random latents with `frames` in all: [frames, size].

    Spherical interpolation, for nearly all latents lie near a sphere: White 2016, section 2.1.
    """
    points = draw_latents(seed, stops, size)
    places = torch.arange(frames, dtype=torch.float32) * (stops / frames)
    rows = []
    for place in places.tolist():
        here = int(place) % stops
        rows.append(slerp(points[here], points[(here + 1) % stops], place - int(place)))
    return torch.stack(rows)


def slerp(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """The point at `share` of the great arc from start to end, with the lengths interpolated too."""
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin().abs() < 1e-6:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / angle.sin()


# --- directions -----------------------------------------------------------------------------------


class Directions(NamedTuple):
    """Ways to go from any code, the one along which pictures differ most first."""

    steps: Float[Tensor, "count w"]
    """Each as long as the codes' standard deviation along it."""
    shares: Float[Tensor, " count"]
    """Of the variance of w; or, where there is none, of what the generator's first layer makes of z."""


@torch.no_grad()
def find_directions(painter: Painter, count: int, label: str | None = None, seed: int = 0) -> Directions:
    """Principal directions of the codes: GANSpace, Härkönen et al. 2020, sections 3.1 and 3.2.

    Of w the principal components themselves. The latents z vary alike in all directions, so there the components
    of the first layer's activations are carried back to z by linear regression.

    Args:
        painter: of whose codes.
        count: how many; no more than a code has numbers.
        label: of one class. Without it w of all classes is taken; of z the first, for z means the same in all.
        seed: of the sampled latents, and of the decomposition.

    Raises:
        HasamaError: there is no such class, or no layer that could tell.
    """
    if is_styled(painter.network):
        labels = labels_for(painter, SAMPLES, label)
        codes = codes_of(painter, draw_latents(seed, SAMPLES, painter.latent_size), labels)
        axes, sigmas, shares = _principal(codes, count, seed)
        return Directions(axes * sigmas[:, None], shares)
    latents = _evenly_spread(draw_latents(seed, 4 * painter.latent_size + 64, painter.latent_size))
    labels = labels_for(painter, len(latents), label or next(iter(painter.classes), None))
    seen = first_activations(painter, latents, labels)
    axes, sigmas, shares = _principal(seen, painter.latent_size, seed)
    places = (seen - seen.mean(0)) @ axes.T  # [N, axes]
    back = torch.linalg.lstsq(places, latents, driver="gelsd").solution  # [axes, Z]: z per unit along each axis
    return Directions((back * sigmas[:, None])[:count], shares[:count])


def _principal(rows: Float[Tensor, "n f"], count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Axes [count, F] of greatest variance, the standard deviations along them and the shares of all variance."""
    centred = rows - rows.mean(0)
    most = min(centred.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, strengths, axes = torch.pca_lowrank(centred, min(most, count + 16), center=False, niter=3)
    axes, variances = axes.T[:count], strengths[:count].square() / len(rows)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))  # an axis has no sign of its own
    return axes * largest.sign(), variances.sqrt(), variances / centred.square().sum(1).mean()


def _evenly_spread(latents: Latents) -> Latents:
    """Shifted and turned a little, so that they vary by exactly 1 in every direction.

    What a linear layer makes of them then has exactly the principal directions that endless samples would have.
    """
    centred = latents - latents.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ (axes / variances.sqrt()) @ axes.T


class _Enough(Exception):  # noqa: N818 (no error)
    """Nothing behind this layer is needed."""


def first_activations(painter: Painter, latents: Latents, labels: Labels | None = None) -> Float[torch.Tensor, "n f"]:
    """What the first layer whose output depends on z makes of the latents.

    Raises:
        HasamaError: there is no such layer, as in networks that are not torch's.
    """
    layer = _first_layer(painter, latents[:2], None if labels is None else labels[:1].repeat(2))
    rows: list[Tensor] = []

    def take(layer: nn.Module, given: Any, made: Tensor) -> None:
        rows.append(made.flatten(1).float().cpu())
        raise _Enough

    hook = layer.register_forward_hook(take)
    try:
        for some in _batches(len(latents)):
            with suppress(_Enough):
                list(paint_codes(painter, latents[some], None if labels is None else labels[some]))
    finally:
        hook.remove()
    return torch.cat(rows)


def _first_layer(painter: Painter, two: Latents, labels: Labels | None) -> nn.Module:
    """The first layer with weights whose output is not the same for two latents."""
    fired: list[nn.Module] = []

    def note(layer: nn.Module, given: Any, made: Any) -> None:
        if isinstance(made, Tensor) and len(made) == 2 and not torch.equal(made[0], made[1]):
            fired.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in painter.network.modules() if _has_weights(layer)]
    try:
        list(paint_codes(painter, two, labels))
    finally:
        for hook in hooks:
            hook.remove()
    if not fired:  # it does not look at them, or is not made of torch's modules
        raise HasamaError("No layer of this generator shows what it makes of the latents: it has no directions.")
    return fired[0]


def _has_weights(layer: nn.Module) -> bool:
    """Weights of its own, as they are or computed from others."""
    if isinstance(layer, ParametrizationList):
        return False
    own = [*layer.parameters(recurse=False), getattr(layer, "weight", None)]
    return any(isinstance(weight, Tensor) and weight.ndim > 1 for weight in own)
