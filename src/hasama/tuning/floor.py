"""What enlarging loses: how far real pictures are from reals that were made smaller and enlarged again."""

import time
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from hasama.metrics.distances import kid
from hasama.metrics.intervals import kid_interval, stream
from hasama.networks.enlarger import Enlarger, enlarge, shipped, smaller
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.dataset import Pictures
from hasama.pictures.tensors import to_images, to_pixels
from hasama.shapes import Pixels

ENLARGED, REALS, SUBSETS = 128, 256, 100
"""At most; twice as many reals as enlarged ones."""
SECONDS = 60.0
"""Where these would take longer, there are fewer: VGG19 needs four seconds for a picture of 512 pixels on a core
without bf16, and all of them would take half an hour."""
AT_ONCE = 16
LEAST = 40
"""Different pictures that are needed."""


class Floor(NamedTuple):
    """A look at the floor.

    Attributes:
        stage: what is done.
        done: pictures up to now.
        total: pictures in all.
        kid: with the last: the distance, and its interval of 95 %; else None.
        enlarged: of how many pictures that were enlarged.
    """

    stage: str
    done: int
    total: int
    kid: tuple[float, float, float] | None = None
    enlarged: int = 0


def floor_of(pictures: Pictures, factor: int, extractor: Extractor, seconds: float = SECONDS) -> Iterator[Floor]:
    """The KID, as `evaluate` has it, between real pictures and others that were made smaller and enlarged again.

    Args:
        pictures: at their full size; where they are fewer than `LEAST`, there is nothing to tell.
        factor: 2, 4 or 8.
        extractor: the frozen network that sees them.
        seconds: about so long it may take; but never fewer are enlarged than half of `LEAST`.

    Yields:
        Records, the last with the KID.
    """
    if len(pictures) < LEAST:
        return
    order = stream(0).permutation(pictures.at_hand)
    enlarger = shipped()
    affordable = int(seconds / _seconds_for_each(enlarger, pictures.take(order[:1]), factor, extractor))
    count = min(ENLARGED, len(order) // 2, max(LEAST // 2, affordable))
    chosen, others = order[:count], order[count : count + REALS * count // ENLARGED]
    made = []
    for first in range(0, count, AT_ONCE):
        made.append(_again(enlarger, pictures.take(np.sort(chosen[first : first + AT_ONCE])), factor))
        yield Floor("enlarging real pictures", min(first + AT_ONCE, count), count)
    seen = torch.zeros(0, extractor.width)
    for features in extract_features(extractor, chain(made, pictures.take_in_parts(others))):
        seen = torch.cat([seen, features])
        yield Floor("seeing what enlarging loses", len(seen), count + len(others))
    fakes, reals = seen[:count], seen[count:]
    size = min(len(reals), len(fakes)) // 2
    mean, deviation = kid(reals, fakes, SUBSETS, size)
    low, high = kid_interval(mean, deviation, SUBSETS, size, min(len(reals), len(fakes)))
    yield Floor("seeing what enlarging loses", len(seen), len(seen), (mean, low, high), count)


def _again(enlarger: Enlarger, pixels: Pixels, factor: int) -> Pixels:
    """The same pictures, made smaller and enlarged again."""
    with torch.no_grad():
        return to_pixels(enlarge(enlarger, smaller(to_images(pixels), factor), factor))


def _seconds_for_each(enlarger: Enlarger, real: Pixels, factor: int, extractor: Extractor) -> float:
    """What one enlarged picture and the reals that belong to it take, by this one."""
    began = time.perf_counter()
    made = _again(enlarger, real, factor)
    enlarged = time.perf_counter()
    list(extract_features(extractor, made))
    seen = time.perf_counter() - enlarged
    return enlarged - began + (1 + REALS / ENLARGED) * seen
