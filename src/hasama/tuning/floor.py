"""What enlarging loses: how far real pictures are from reals that were made smaller and enlarged again."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from hasama.metrics.distances import kid
from hasama.metrics.intervals import kid_interval, stream
from hasama.networks.enlarger import enlarge, shipped, smaller
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.dataset import Pictures
from hasama.pictures.tensors import to_images, to_pixels

ENLARGED, REALS, SUBSETS = 128, 256, 100
"""Few: at 256 pixels and more the network that sees them takes most of the time of `suggest`."""
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
    """

    stage: str
    done: int
    total: int
    kid: tuple[float, float, float] | None = None


def floor_of(pictures: Pictures, factor: int, extractor: Extractor) -> Iterator[Floor]:
    """The KID, as `evaluate` has it, between real pictures and others that were made smaller and enlarged again.

    Args:
        pictures: at their full size; where they are fewer than `LEAST`, there is nothing to tell.
        factor: 2, 4 or 8.
        extractor: the frozen network that sees them.

    Yields:
        Records, the last with the KID.
    """
    if len(pictures) < LEAST:
        return
    order = stream(0).permutation(pictures.at_hand)
    count = min(ENLARGED, len(order) // 2)
    chosen, others = order[:count], order[count : count + REALS]
    enlarger, made = shipped(), []
    for first in range(0, count, AT_ONCE):
        real = to_images(pictures.take(np.sort(chosen[first : first + AT_ONCE])))
        with torch.no_grad():
            made.append(to_pixels(enlarge(enlarger, smaller(real, factor), factor)))
        yield Floor("enlarging real pictures", min(first + AT_ONCE, count), count)
    seen = torch.zeros(0, extractor.width)
    for features in extract_features(extractor, chain(made, pictures.take_in_parts(others))):
        seen = torch.cat([seen, features])
        yield Floor("seeing what enlarging loses", len(seen), count + len(others))
    fakes, reals = seen[:count], seen[count:]
    size = min(len(reals), len(fakes)) // 2
    mean, deviation = kid(reals, fakes, SUBSETS, size)
    low, high = kid_interval(mean, deviation, SUBSETS, size, min(len(reals), len(fakes)))
    yield Floor("seeing what enlarging loses", len(seen), len(seen), (mean, low, high))
