"""The space of latents: draw from it, paint from it, walk through it."""

from collections.abc import Iterator

import numpy as np
import torch

from hasama.errors import HasamaError
from hasama.recipe import unknown_name
from hasama.shapes import Labels, Latents, Pixels
from hasama.weights import Painter

PAINT_AT_ONCE = 64


def draw_latents(seed: int, count: int, size: int, first: int = 0) -> Latents:
    """Standard normal latents [count, size]; the k-th depends on (seed, first + k) only.

    So the first 16 of 64 pictures are the 16 pictures of the same seed.
    """
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index)))).standard_normal(size, np.float32)
        for index in range(first, first + count)
    ]
    return torch.from_numpy(np.stack(rows))


def paint(painter: Painter, latents: Latents, labels: Labels | None = None) -> Iterator[Pixels]:
    """Pictures [n, H, W, C] for the latents, a batch at a time."""
    device = next(painter.network.parameters()).device
    for first in range(0, len(latents), PAINT_AT_ONCE):
        some = slice(first, first + PAINT_AT_ONCE)
        given = None if labels is None else labels[some].to(device)
        yield painter.paint(latents[some].to(device), given)


def paint_all(painter: Painter, latents: Latents, labels: Labels | None = None) -> Pixels:
    """`paint`, all in one array."""
    return np.concatenate(list(paint(painter, latents, labels)))


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
