"""Which real pictures are most like generated ones: beside each other they tell whether a generator copies."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8

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
        pictures: for each one the nearest first; mirrored where that is what is near, and was trained on.
        near: how far the nearest real picture is, in the median, where a real one's nearest other one is at 1: well
            below that, and they are copies. None: all real pictures are alike.
        stage: what is done, as of all records of progress.
        done: of this many parts,
        total: of so many.
    """

    pictures: UInt8[np.ndarray, "n k h w c"]
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
    subject = Subject.of(place, torch.device("cpu"))
    pictures = yield from subject.pictures(source)
    recipe = subject.run.recipe() if subject.run else subject.generator.recipe
    mirror = recipe is not None and recipe.mirror
    order = stream(0).permutation(pictures.at_hand)[:MOST_REALS]
    extractor = extractor_named(EXTRACTOR, device)
    reals = yield from real_features(extractor, pictures, order)
    shown = [made, mirrored(made)] if mirror else [made]
    views = [torch.cat(list(extract_features(extractor, one))) for one in shown]
    distances, view = torch.cdist(torch.stack(views), reals, compute_mode=TWINS_ARE_0_APART).min(0)
    near, which = distances.topk(min(count, len(reals)), largest=False)
    turned = view.gather(1, which).flatten().numpy() == 1
    found = pictures.take(order[which.flatten().numpy()])
    found[turned] = mirrored(found[turned])
    some = order[:APART_FROM]
    own = [reals[: len(some)]]
    if mirror:
        own.append((yield from real_features(extractor, pictures, some, "mirrored real pictures", mirrored)))
    apart = _apart(torch.stack(own), reals)
    far = float(near[:, 0].median()) / apart if apart else None
    yield Nearest(found.reshape(*which.shape, *found.shape[1:]), far)


def mirrored(pictures: Pixels) -> Pixels:
    """The pictures with left and right exchanged, uint8 [n, H, W, C]."""
    return np.ascontiguousarray(pictures[:, :, ::-1])


def _apart(views: Float[torch.Tensor, "view m d"], reals: Features) -> float:
    """How far a real picture's nearest other one is, in the median; 0 where most have a twin, or there is but one.

    The first m real ones are looked at, in one view or, mirrored, in two.
    """
    if len(reals) < 2:
        return 0.0
    distances = torch.cdist(views, reals, compute_mode=TWINS_ARE_0_APART).amin(0)
    distances.fill_diagonal_(torch.inf)  # what is symmetric is its own mirror image, which is no other picture
    return float(distances.amin(1).median())
