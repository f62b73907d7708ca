"""Choosing by what the real pictures of a generator look like: that is kept in its run's folder, or seen now."""

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import torch

from hasama.errors import HasamaError
from hasama.evaluation.evaluate import real_features
from hasama.evaluation.subject import EvaluationProgress, Subject
from hasama.generators.choosing import EXTRACTOR, Choice, Look, choose, load_look, looked_at, save_look
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import device_of
from hasama.perception.extractors import Extractor, extractor_named
from hasama.runs.bases import place_named
from hasama.runs.folder import Run
from hasama.shapes import Labels, Latents


def choose_like(
    place: Path,
    generator: TrainedGenerator,
    latents: Latents,
    labels: Labels | None,
    of: int,
    source: str | None = None,
    truncation: float = 1.0,
) -> Iterator[EvaluationProgress | Choice]:
    """Of each `of` pictures the one that looks most like a source's, or those that a run or a base was trained on.

    Args:
        place: a run's folder, a generator.safetensors, or a base.
        generator: one of it.
        latents: see `choose`, as for the rest.
        labels: the class of each picture.
        of: among how many.
        source: real pictures.
        truncation: as for `generate`.

    Raises:
        HasamaError: there is no generator, or there are no such pictures.
    """
    extractor = extractor_named(EXTRACTOR, device_of(generator))
    look = yield from look_for(place, extractor, source)
    yield from choose(generator, latents, labels, of, look, extractor, truncation)


def look_for(
    place: Path, extractor: Extractor, source: str | None = None
) -> Generator[EvaluationProgress, None, Look]:
    """What those pictures look like. A run's look is kept in its folder, if that can be written to.

    Args:
        place: see `choose_like`.
        extractor: the frozen network that looks.
        source: real pictures.

    Raises:
        HasamaError: see `choose_like`.
    """
    folder = place_named(place)
    kept = source is None and folder.is_dir()
    digest = Run(folder).images()["digest"] if kept else ""
    if kept and (known := load_look(folder, digest)) is not None:
        return known
    pictures = yield from Subject.of(place, torch.device("cpu")).pictures(source)
    look = Look.of((yield from real_features(extractor, pictures, looked_at(pictures))))
    if kept:
        with suppress(HasamaError):
            save_look(look, folder, digest)
    return look
