"""Latents and what is done with them: draw them, generate pictures from them, interpolate, mix two of them.

A style-based generator (`hasama.networks.pair.Styled`) first maps a latent z to an intermediate latent w, in which
similar pictures lie near each other. Other generators have no w: for them, every function below that takes w takes
the latent z in its place. For a style-based generator w may be one vector, or one vector for each layer.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, as_generator
from hasama.networks.pair import is_styled
from hasama.options import unknown_name, whole_number
from hasama.pictures.dataset import Pictures
from hasama.pictures.tensors import to_pixels
from hasama.shapes import Images, Labels, Latents, Pixels, Styles

GENERATED_AT_ONCE = 64

COARSE, MIDDLE = 4, 8
"""The first styles of 16x16 and of 64x64; each size has two: Karras et al. 2019, figure 3. (In StyleGAN2 the style
before, which makes the smaller size's colours, makes the first maps of the next size, too: 2020, figure 2.)"""

W = Latents | Styles
Centre = Float[Tensor, " w"]


def draw_latents(seed: int, count: int, size: int, first: int = 0) -> Latents:
    """Standard normal latents [count, size]; the k-th depends on (seed, first + k) only.

    So the first 16 of 64 pictures are the 16 pictures of the same seed.

    Args:
        seed: at least 0.
        count: how many.
        size: length of each latent, the generator's `latent_size`.
        first: number of the first one.

    Raises:
        HasamaError: a number is below 0, or not whole.
    """
    seed, count, first = (
        whole_number(*one) for one in (("seed", seed), ("count", count), ("first latent's number", first))
    )
    if (size := whole_number("size of a latent", size)) < 0:
        raise HasamaError(f"The size of a latent is the generator's latent_size; got {size}.")
    if min(seed, count, first) < 0:
        raise HasamaError(f"Latents need a seed, a count and a first number from 0 up; got {seed}, {count}, {first}.")
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index)))).standard_normal(size, np.float32)
        for index in range(first, first + count)
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, size)


def latents_of_seeds(seeds: Sequence[int], size: int) -> Latents:
    """For each seed its first latent."""
    return torch.cat([draw_latents(seed, 1, size) for seed in seeds])


def generate(
    generator: TrainedGenerator, latents: Latents, labels: Any = None, truncation: float = 1.0
) -> Iterator[Pixels]:
    """Pictures for latents, a batch at a time.

    Args:
        generator: what makes them.
        latents: [n, Z], as `draw_latents` makes them.
        labels: the class of each picture [n], by number or by name; needed if the generator has classes.
        truncation: less than 1: more typical pictures, but less various; see `truncate`.

    Yields:
        uint8 arrays [some, H, W, C].

    Raises:
        HasamaError: the latents have another shape, or are not finite; or there are no such classes; or the
            truncation is no number.
    """
    latents, mean = as_generator(generator).as_latents(latents), mean_w(generator)
    psi = _psi(truncation)
    known = generator.classes or not isinstance(labels, torch.Tensor)  # one of the user's own may know other labels
    labels = generator.as_labels(labels, len(latents)) if known else labels
    for some in in_batches(len(latents)):
        given = None if labels is None else labels[some]
        yield from generate_from_w(generator, truncate(to_w(generator, latents[some], given), mean, psi), given)


def generate_all(
    generator: TrainedGenerator, latents: Latents, labels: Any = None, truncation: float = 1.0
) -> Pixels:
    """Pictures for latents, all in one array uint8 [n, H, W, C].

    Args:
        generator: what makes them.
        latents: [n, Z], as `draw_latents` makes them.
        labels: the class of each picture [n], by number or by name; needed if the generator has classes.
        truncation: less than 1: more typical pictures, but less various; see `truncate`.

    Raises:
        HasamaError: as `generate`.
    """
    made = list(generate(generator, latents, labels, truncation))
    return np.concatenate(made) if made else generator.generate(latents, labels)


def _psi(truncation: Any) -> float:
    """The truncation that somebody gives.

    Raises:
        HasamaError: it is no finite number.
    """
    try:
        psi = math.nan if isinstance(truncation, str) else float(truncation)
    except (TypeError, ValueError, RuntimeError):
        psi = math.nan
    if not math.isfinite(psi):
        raise HasamaError(f"The truncation must be a number, such as 0.7; got {truncation!r}.")
    return psi


# --- w ----------------------------------------------------------------------------------------


@torch.no_grad()
def to_w(generator: TrainedGenerator, latents: Latents, labels: Labels | None = None) -> Latents:
    """The w [N, W] of latents if the generator is style-based; else the latents themselves."""
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
    """The mean w over training; without a mapping network zero, the mean of the latents."""
    network = generator.network
    return network.mean_style.detach().cpu() if is_styled(network) else torch.zeros(generator.latent_size)


def truncate(w: W, mean: Centre, psi: float) -> W:
    """The truncation trick, mean + psi (w - mean): Karras et al. 2019, appendix B.

    Less than 1: more typical, less various. The mean is one for all classes. Without a mapping network this scales z;
    Brock et al. 2019, section 3.1, instead draw every number of z again that is too large, so that z stays likely.
    Here the same seed shall remain the same picture, only more or less typical.
    """
    return torch.lerp(mean.expand_as(w), w, psi)


def synthesize(generator: TrainedGenerator, w: W, labels: Labels | None = None) -> Images:
    """Pictures as floats from w (one w goes to all layers) on the generator's device; differentiable."""
    network = generator.network
    with generator.at_rest():
        if is_styled(network):
            return network.synthesis(for_each_layer(w, network.style_layers))
        return network(w) if labels is None else network(w, labels)


@torch.no_grad()
def generate_from_w(generator: TrainedGenerator, w: W, labels: Labels | None = None) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for w, a batch at a time. Labels count only without a mapping network."""
    device = device_of(generator)
    for some in in_batches(len(w)):
        given = None if labels is None else labels[some].to(device)
        yield to_pixels(synthesize(generator, w[some].to(device), given))


def for_each_layer(w: W, count: int) -> Styles:
    """The w of each of `count` layers [N, layers, W]: one for all is repeated."""
    return w if w.ndim == 3 else w[:, None].expand(-1, count, -1)


def device_of(generator: TrainedGenerator) -> torch.device:
    """Where the generator is."""
    return generator.device


def in_batches(count: int) -> list[slice]:
    """Slices of so many latents, each as long as what is generated at once."""
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
    rows: Float[Tensor, "rows w"] | Float[Tensor, "rows layers w"],
    columns: Float[Tensor, "columns w"],
    layers: Sequence[int],
    count: int,
) -> Float[Tensor, "cells layers w"]:
    """For every row, for every column: the row's w, but in these of the `count` layers the column's.

    Style mixing: Karras et al. 2019, section 3.1 and figure 3.
    """
    cells = for_each_layer(rows, count)[:, None].repeat(1, len(columns), 1, 1)
    cells[:, :, list(layers)] = columns[None, :, None]
    return cells.flatten(0, 1)  # [rows, columns, layers, W] -> [rows * columns, layers, W]


def midway(rows: Float[Tensor, "rows z"], columns: Float[Tensor, "columns z"]) -> Float[Tensor, "cells z"]:
    """For every row, for every column: the latent in the middle of the great arc between them."""
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


def labels_like(generator: TrainedGenerator, pictures: Pictures, order: np.ndarray, count: int) -> Labels | None:
    """Labels [count] in the proportions of these pictures, or of all classes in turn; None without classes.

    Args:
        generator: to be given them.
        pictures: which may have labels.
        order: the numbers [m] of those that count.
        count: how many.
    """
    if pictures.labels is None or not set(pictures.classes) <= set(generator.classes):
        return labels_for(generator, count)
    own = np.asarray([generator.classes.index(name) for name in pictures.classes], np.int64)
    ranked = np.sort(own[pictures.labels[order]])
    return torch.from_numpy(ranked[(np.arange(count) * len(ranked) + len(ranked) // 2) // count])


def labels_of_seeds(generator: TrainedGenerator, seeds: Sequence[int], name: str | None = None) -> Labels | None:
    """Labels of one class; or of a class for each seed, whatever other seeds there are."""
    labels = labels_for(generator, len(seeds), name)
    return labels if labels is None or name is not None else torch.tensor(seeds) % len(generator.classes)


# --- interpolating --------------------------------------------------------------------------------


def interpolate(seed: int, stops: int, frames: int, size: int) -> Latents:
    """Latents [frames, size] that go through `stops` random latents and back to the first: White 2016, section 2.1.

    Args:
        seed: of the random latents.
        stops: how many of them.
        frames: latents in all.
        size: length of each latent, the generator's `latent_size`.

    Raises:
        HasamaError: there are no stops or no frames, or a number is not whole.
    """
    stops, frames = whole_number("number of stops", stops), whole_number("number of frames", frames)
    if stops < 1 or frames < 1:
        raise HasamaError(f"An interpolation has at least one stop and one frame; got {stops} and {frames}.")
    return interpolate_through(draw_latents(seed, stops, size), frames)


def interpolate_through(points: W, frames: int, straight: bool = False) -> Tensor:
    """As many latents (or w) as frames, [frames, ...] as the points are, that go through these and back to the first.

    Args:
        points: [stops, Z]; or w of generators with styles, [stops, W] or [stops, layers, W].
        frames: how many.
        straight: along lines, as w lie (Karras et al. 2019, section 4.1); else along great arcs, for nearly all
            latents lie near a sphere (White 2016, section 2.1).
    """
    between = torch.lerp if straight else slerp
    stops, rows = len(points), []
    places = torch.arange(frames, dtype=torch.float32) * (stops / frames)
    for place in places.tolist():
        here = int(place) % stops
        rows.append(between(points[here], points[(here + 1) % stops], place - int(place)))
    return torch.stack(rows)


def slerp(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """The point at `share` of the great arc from start to end, with the lengths interpolated too."""
    cosine = torch.dot(start, end) / (start.norm() * end.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if not angle.sin().abs() >= 1e-6:  # NaN, too: a latent of zeros has no direction
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / angle.sin()
