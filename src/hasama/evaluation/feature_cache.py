"""Features of pictures, extracted once and kept in the cache."""

import hashlib
import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hasama.errors import HasamaError
from hasama.evaluation.subject import EvaluationProgress
from hasama.files import replacing
from hasama.metrics.distances import Features
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.sources.download import cache_folder
from hasama.shapes import Pixels

VERSION = 1
"""Raised when the extractors change; it is part of every key, so that older features are not found."""


Working = Generator[EvaluationProgress, None, Features]
"""Records, and at the end features."""


def cached_features(
    extractor: Extractor, what: tuple[Any, ...], batches: Iterable[Pixels], count: int, stage: str
) -> Working:
    """Features from the cache, or extracted from the batches and put there.

    Raises:
        HasamaError: features are not finite, or the cache cannot be written to.
    """
    told = json.dumps([VERSION, extractor.key, what])
    file = cache_folder() / "features" / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.safetensors"
    known = _stored(file, (count, extractor.width))
    if known is not None:
        return known
    rows, done = [], 0
    yield EvaluationProgress(stage, 0, count)
    for some in extract_features(extractor, batches):
        rows.append(some)
        done += len(some)
        yield EvaluationProgress(stage, done, count)
    found = torch.cat(rows)
    if not found.isfinite().all():
        raise HasamaError(f"The features of the {stage} are not finite numbers: the network's weights are damaged.")
    try:
        with replacing(file) as temporary:
            save_file({"features": found}, temporary)
    except HasamaError as error:
        raise HasamaError(f"{error} HASAMA_CACHE names another place for the cache.") from error
    return found


def _stored(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """What the cache holds; None if it is nothing, or damaged."""
    try:
        found = load_file(file)["features"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return found if tuple(found.shape) == shape and found.dtype == torch.float32 else None
