"""Features of pictures, extracted once and kept in the cache."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from hasama.distributed import agreed, is_first, rows_of_all, share_of, team
from hasama.errors import HasamaError
from hasama.evaluation.subject import EvaluationProgress
from hasama.files import check_place
from hasama.metrics.distances import Features
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.sources.download import cache_folder
from hasama.shapes import Pixels
from hasama.tensor_files import load_tensors, save_tensors

VERSION = 1
"""Raised when the extractors change; it is part of every key, so that older features are not found."""


Working = Generator[EvaluationProgress, None, Features]
"""Records, and at the end features."""


def cached_features(
    extractor: Extractor, what: tuple[Any, ...], batches: Callable[[slice], Iterable[Pixels]], count: int, stage: str
) -> Working:
    """Features from the cache, or extracted from pictures and put there; several processes share that work.

    Args:
        extractor: the network.
        what: which pictures these are.
        batches: makes those of a range of numbers, some at a time.
        count: how many there are.
        stage: what to call it.

    Raises:
        HasamaError: features are not finite, or the cache cannot be written to.
    """
    told = json.dumps([VERSION, extractor.key, what])
    file = cache_folder() / "features" / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.safetensors"
    known = _stored(file, (count, extractor.width)) if is_first() else None
    if agreed(known is not None):  # the first process needs the features, the others help to extract them
        return torch.zeros(0, extractor.width) if known is None else known
    if is_first():
        try:
            check_place(file)  # before the work
        except HasamaError as error:
            raise HasamaError(f"{error} HASAMA_CACHE names another place for the cache.") from error
    rows, done, share = [], 0, share_of(count)
    yield EvaluationProgress(stage, 0, count)
    for some in extract_features(extractor, batches(share)):
        rows.append(some)
        done += len(some) * team().world
        yield EvaluationProgress(stage, min(done, count), count)
    found = rows_of_all(torch.cat(rows), count)
    if not is_first():
        return found
    if not found.isfinite().all():
        raise HasamaError(f"The features of the {stage} are not finite numbers: the network's weights are damaged.")
    with suppress(HasamaError):  # no room any more: what was computed is good all the same
        save_tensors(file, {"features": found}, {})
    return found


def _stored(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """What the cache holds; None if it is nothing, or damaged."""
    try:
        found = load_tensors(file)[0]["features"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return found if tuple(found.shape) == shape and found.dtype == torch.float32 else None
