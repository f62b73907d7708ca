"""How good a generator is: the features of its pictures are compared with those of real pictures.

`evaluate` yields records of progress; the last one holds the result. Features are kept in the cache, so that the same
generator is evaluated again at once, and another one without extracting the features of the real pictures again.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hasama.device import pick_device
from hasama.distributed import is_first
from hasama.errors import HasamaError
from hasama.evaluation.feature_cache import Working, cached_features
from hasama.evaluation.subject import (
    Evaluation,
    EvaluationProgress,
    Subject,
    downloading,
    holds_pictures,
    origin_of,
    pictures_made,
    real_ones_like,
)
from hasama.files import read_json, write_json
from hasama.generators.sampling import draw_latents, generate, labels_like
from hasama.metrics.intervals import NEAR, RESAMPLES, Figure, figures_of, stream
from hasama.names import as_source, at_home
from hasama.options import whole_number
from hasama.perception.extractors import Extractor, check_features, download_weights, extractor_named
from hasama.pictures.dataset import Pictures
from hasama.runs.folder import Run
from hasama.shapes import Labels, Pixels

FEWEST, MOST_FAKES, MOST_REALS = 2 * (NEAR + 1), 1_000_000, 50_000
"""Limits for the numbers of pictures: in one half of the fewest, each picture still has `NEAR` neighbours."""


USUAL = 5000


def evaluate(
    run: str | Path,
    source: str | Path | None = None,
    features: str = "vgg19",
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Iterator[EvaluationProgress]:
    """Evaluate a generator by FID, KID, precision, recall, density and coverage, with intervals and a floor.

    FID and KID are of all real pictures (of 50,000 at most), the others of equal numbers. Classes are generated in
    the real pictures' proportions where these are known, else in turn.

    Args:
        run: a run's folder, or a generator.safetensors; or, with a source, pictures that something else made: a
            folder, a zip, a tar or an .npz. They are taken as they are, all of the first one's size, to which the
            real ones are brought.
        source: other real pictures than those the run was trained on; needed with a generator.safetensors.
        features: 'vgg19', 'efficientnet', 'inception', or a local file of InceptionV3's weights.
        count: of generated pictures; None: as many as there are real ones, at most 5,000.
        seed: of the latents, and of everything drawn (of pictures that are there already: which are taken).
        device: 'auto', 'cpu', 'cuda', ...

    Yields:
        Records of progress; the last one holds the result (of several processes, that of the first one).

    Raises:
        HasamaError: no generator, no pictures or too few, unknown features, damaged weights.
    """
    check_count(count, seed)
    source = None if source is None else as_source(source)
    check_features(features)
    place, subject = pick_device(device), None
    if source is not None and holds_pictures(at_home(run)):
        made = yield from pictures_made(str(run))
        _check_enough(made)
        if (count or 0) > made.at_hand:
            raise HasamaError(f"{made.report.source} holds {made.at_hand} pictures, not --count {count}.")
        pictures = yield from real_ones_like(made, source)
    else:
        subject, made = Subject.of(at_home(run), place), None
        pictures = yield from subject.pictures(source)
    order = stream(0).permutation(pictures.at_hand)[:MOST_REALS]
    _check_enough(pictures)
    yield from downloading(download_weights(features))
    extractor = extractor_named(features, place)
    reals = yield from real_features(extractor, pictures, order)
    if subject is not None:
        count = count or max(FEWEST, min(USUAL, len(order)))
        labels = labels_like(subject.generator, pictures, order, count)
        fakes = yield from _fake_features(extractor, subject, seed, labels, count)
        origin = subject.about(seed)
    else:
        assert made is not None
        chosen = stream(seed).permutation(made.at_hand)[: count or MOST_REALS]
        fakes = yield from real_features(extractor, made, chosen, "generated pictures")
        origin = {"pictures": made.report.digest, "count": len(chosen)}
    if not is_first():
        return
    figures = yield from _watched(figures_of(reals, fakes, seed))
    height, width = pictures.report.resolution
    about = {"generator": origin, "pictures": _about(pictures, source)}
    result = Evaluation(extractor.name, f"{width}x{height}", extractor.width, figures, about)
    yield EvaluationProgress("figures", RESAMPLES, RESAMPLES, result)


def _check_enough(pictures: Pictures) -> None:
    if (there := pictures.at_hand) < FEWEST:
        raise HasamaError(f"{pictures.report.source} holds {there} pictures; evaluating takes at least {FEWEST}.")


def _watched(work: Generator[int, None, dict[str, Figure]]) -> Generator[EvaluationProgress, None, dict[str, Figure]]:
    while True:
        try:
            yield EvaluationProgress("figures", next(work), RESAMPLES)
        except StopIteration as end:
            return end.value


def check_count(count: int | None, seed: int) -> None:
    """Before any work.

    Raises:
        HasamaError: one is out of range, or no whole number.
    """
    count, seed = None if count is None else whole_number("number of pictures", count), whole_number("seed", seed)
    wrong = count if count is not None and not FEWEST <= count <= MOST_FAKES else seed if seed < 0 else None
    if wrong is not None:
        raise HasamaError(f"--count takes {FEWEST} to {MOST_FAKES}, --seed at least 0; got {wrong}.")


def save_report(run: Run, result: Evaluation) -> Path:
    """Put the result into the run's `metrics.json`, in place of an earlier one of the same extractor and pictures.

    Raises:
        HasamaError: what is there is damaged, or it cannot be written.
    """
    file = run.folder / "metrics.json"
    others = read_json(file, "metrics") if file.exists() else []
    others = others if isinstance(others, list) else [others]
    if not all(isinstance(report, dict) for report in others):
        raise HasamaError(f"The metrics {file} are damaged: delete them, and measure again.")
    new = result.report()
    write_json(file, [*(other for other in others if _asked(other) != _asked(new)), new])
    return file


def _asked(report: dict[str, Any]) -> tuple[Any, Any]:
    """What a report is about: the extractor, and the pictures that the generated ones are compared with."""
    return report.get("extractor"), origin_of(report, "pictures").get("digest")


def _about(pictures: Pictures, source: str | None) -> dict[str, Any]:
    return {"digest": pictures.report.digest, "count": len(pictures), "of the training": source is None}


# --- features -------------------------------------------------------------------------------------


def real_features(
    extractor: Extractor,
    pictures: Pictures,
    order: np.ndarray,
    called: str = "real pictures",
    view: Callable[[Pixels], Pixels] | None = None,
) -> Working:
    """Features of the real pictures in a random order that is always the same: the first are a sample of all.

    Args:
        extractor: the network.
        pictures: real ones.
        order: the numbers of those that count.
        called: what they are, for whoever waits.
        view: how to look at them, if not as they are; its name tells it apart.

    Raises:
        HasamaError: see `cached_features`.
    """
    report = pictures.report
    which = hashlib.sha256(order.tobytes()).hexdigest()
    form = (report.digest, report.resolution, report.channels, report.crops, which)

    def taken(share: slice) -> Iterator[Pixels]:
        parts = pictures.take_in_parts(order[share])
        return parts if view is None else map(view, parts)

    what = ("real", *form) if view is None else (f"real {view.__name__}", *form)
    return (yield from cached_features(extractor, what, taken, len(order), called))


def _fake_features(extractor: Extractor, subject: Subject, seed: int, labels: Labels | None, count: int) -> Working:
    told = None if labels is None else hashlib.sha256(labels.numpy().tobytes()).hexdigest()

    def generated(share: slice) -> Iterator[Pixels]:
        latents = draw_latents(seed, count, subject.generator.latent_size)[share]
        yield from generate(subject.generator, latents, None if labels is None else labels[share])

    what = ("fake", subject.sha256, seed, count, told)
    return (yield from cached_features(extractor, what, generated, count, "generated pictures"))
