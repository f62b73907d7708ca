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
    subject = Subject.of(place, torch.device("cpu"))
    run = subject.run if source is None else None
    if run is not None and (known := load_look(run.folder, run.images()["digest"])) is not None:
        return known
    pictures = yield from subject.pictures(source)
    look = Look.of((yield from real_features(extractor, pictures, looked_at(pictures))))
    if run is not None:
        with suppress(HasamaError):
            save_look(look, run.folder, run.images()["digest"])
    return look
