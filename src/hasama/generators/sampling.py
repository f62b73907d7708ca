"""The space of latents: draw from it, paint from it, walk through it, cross two of its points.

A style-based generator (`models.pair.Styled`) first maps a latent z to an intermediate w, in which like lies near
like. The *w* of a picture are its w where there is one, and its z where there is none; everything below that
takes w takes either. The w of a style-based generator may also be a w for each layer.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.networks.pair import Styled
from hasama.options import unknown_name
from hasama.pictures.images import to_pixels
from hasama.shapes import Images, Labels, Latents, Pixels, Styles

GENERATED_AT_ONCE = 64

COARSE, MIDDLE = 4, 8
"""The layers that begin pictures of 16x16 and of 64x64, two for each size: Karras et al. 2019, figure 3."""

W = Latents | Styles
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


def generate(
    generator: TrainedGenerator, latents: Latents, labels: Labels | None = None, truncation: float = 1.0
) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for the latents, a batch at a time; see `truncate`."""
    mean = mean_w(generator)
    for some in in_batches(len(latents)):
        given = None if labels is None else labels[some]
        yield from generate_from_w(
            generator, truncate(to_w(generator, latents[some], given), mean, truncation), given
        )


def generate_all(
    generator: TrainedGenerator, latents: Latents, labels: Labels | None = None, truncation: float = 1.0
) -> Pixels:
    """`paint`, all in one array."""
    return np.concatenate(list(generate(generator, latents, labels, truncation)))


# --- w ----------------------------------------------------------------------------------------


def is_styled(network: nn.Module) -> TypeGuard[Styled]:
    """Whether it has the intermediate space. Not by isinstance, which from Python 3.12 on overlooks buffers."""
    return all(hasattr(network, name) for name in ("style_layers", "mean_style", "mapping", "synthesis"))


@torch.no_grad()
def to_w(generator: TrainedGenerator, latents: Latents, labels: Labels | None = None) -> Latents:
    """The w [N, W] of latents where the generator is style-based; of others the latents themselves."""
    network = generator.network
    if not is_styled(network):
        return latents
    device, found = device_of(generator), []
    with generator.at_rest():
        for some in in_batches(len(latents)):
            given = None if labels is None else labels[some].to(device)
            found.append(network.mapping(latents[some].to(device), given).cpu())
    return torch.cat(found)


def mean_w(generator: TrainedGenerator) -> Centre:
    """The middle of the w: the mean w over training, or the zero that latents are drawn around."""
    network = generator.network
    return network.mean_style.detach().cpu() if is_styled(network) else torch.zeros(generator.latent_size)


def truncate(w: W, mean: Centre, psi: float) -> W:
    """The truncation trick, mean + psi (w - mean): Karras et al. 2019, appendix B.

    Less than 1: more typical, less various. The mean is one for all classes. Where the w are z, this scales
    it; Brock et al. 2019, section 3.1, rather draw every number of it again that is too large, and so stay where the
    generator was trained. Here the same seed is to remain the same picture, only more or less so.
    """
    return torch.lerp(mean.expand_as(w), w, psi)


def synthesize(generator: TrainedGenerator, w: W, labels: Labels | None = None) -> Images:
    """Pictures as floats from w (one w goes to all layers) on the generator's device; differentiable."""
    network = generator.network
    with generator.at_rest():
        if is_styled(network):
            every_layer = w if w.ndim == 3 else w[:, None].expand(-1, network.style_layers, -1)
            return network.synthesis(every_layer)
        return network(w) if labels is None else network(w, labels)


@torch.no_grad()
def generate_from_w(generator: TrainedGenerator, w: W, labels: Labels | None = None) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for the w, a batch at a time. Labels count where the w are z."""
    device = device_of(generator)
    for some in in_batches(len(w)):
        given = None if labels is None else labels[some].to(device)
        yield to_pixels(synthesize(generator, w[some].to(device), given))


def device_of(generator: TrainedGenerator) -> torch.device:
    """Where the generator is."""
    return next(generator.network.parameters()).device


def in_batches(count: int) -> list[slice]:
    """The places of so many things, as many at a time as are painted at once."""
    return [slice(first, first + GENERATED_AT_ONCE) for first in range(0, count, GENERATED_AT_ONCE)]


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


def labels_for(generator: TrainedGenerator, count: int, name: str | None = None) -> Labels | None:
    """Labels [count] of one class, or of all in turn; None for a generator without classes.

    Raises:
        HasamaError: there is no such class, or there are no classes at all.
    """
    if not generator.classes:
        if name is not None:
            raise HasamaError("This generator was trained without classes: leave out --label.")
        return None
    if name is None:
        return torch.arange(count) % len(generator.classes)
    if name not in generator.classes:
        raise HasamaError(unknown_name(name, generator.classes, "class"))
    return torch.full((count,), generator.classes.index(name))


def labels_of_seeds(generator: TrainedGenerator, seeds: Sequence[int], name: str | None = None) -> Labels | None:
    """Labels of one class; or of a class for each seed, whatever other seeds there are."""
    labels = labels_for(generator, len(seeds), name)
    return labels if labels is None or name is not None else torch.tensor(seeds) % len(generator.classes)


# --- walking --------------------------------------------------------------------------------------


def interpolate(seed: int, stops: int, frames: int, size: int) -> Latents:
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
