"""Which real pictures are most like generated ones: beside each other they tell whether a generator copies."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from numpy import ndarray

from hasama.evaluation.evaluate import MOST_REALS, real_features
from hasama.evaluation.subject import EvaluationProgress, Subject
from hasama.generators.choosing import EXTRACTOR
from hasama.metrics.distances import TWINS_ARE_0_APART, Features
from hasama.metrics.intervals import stream
from hasama.perception.extractors import extract_features, extractor_named
from hasama.shapes import Pixels

APART_FROM = 1000
"""Real pictures whose nearest other one is sought."""


class Nearest(NamedTuple):
    """The real pictures that are most like each generated one.

    Attributes:
        pictures: for each one the nearest first.
        near: how far the nearest real picture is, in the median, where a real one's nearest other one is at 1: well
            below that, and they are copies. None: all real pictures are alike.
        stage: what is done, as of all records of progress.
        done: of this many parts,
        total: of so many.
    """

    pictures: UInt8[ndarray, "n k h w c"]
    near: float | None
    stage: str = "comparing"
    done: int = 1
    total: int = 1


def nearest_to(
    made: Pixels, place: Path, count: int, source: str | None = None, device: torch.device | str = "cpu"
) -> Iterator[EvaluationProgress | Nearest]:
    """Look for the real pictures whose features, by EfficientNet-Lite0, are the nearest (Euclidean distance).

    Args:
        made: generated pictures.
        place: the run's folder, the generator.safetensors or the base that they are of.
        count: how many real ones for each; all, if there are fewer.
        source: real pictures; None: those that the run was trained on, 50,000 of them at most.
        device: where to look.

    Yields:
        Records of progress; the last one is the result.

    Raises:
        HasamaError: there is no generator, or there are no such pictures.
    """
    pictures = yield from Subject.of(place, torch.device("cpu")).pictures(source)
    order = stream(0).permutation(pictures.at_hand)[:MOST_REALS]
    extractor = extractor_named(EXTRACTOR, device)
    reals = yield from real_features(extractor, pictures, order)
    distances = torch.cdist(torch.cat(list(extract_features(extractor, made))), reals)
    near, which = distances.topk(min(count, len(reals)), largest=False)
    apart = _apart(reals)
    found = pictures.take(order[which.flatten().numpy()])
    far = float(near[:, 0].median()) / apart if apart else None
    yield Nearest(found.reshape(*which.shape, *found.shape[1:]), far)


def _apart(reals: Features) -> float:
    """How far a real picture's nearest other one is, in the median; 0 where most have a twin, or there is but one."""
    if len(reals) < 2:
        return 0.0
    distances = torch.cdist(reals[:APART_FROM], reals, compute_mode=TWINS_ARE_0_APART)
    return float(distances.topk(2, largest=False).values[:, 1].median())
