"""How good a generator is: its pictures beside the real ones, through a frozen network.

`evaluate` yields how far it is; its last record holds the result. What the network makes of pictures is kept in the
cache, so that the same generator is judged again at once, and another one without a look at the real pictures.
"""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hasama.dataset import Pictures
from hasama.device import pick_device
from hasama.download import cache_folder
from hasama.errors import HasamaError
from hasama.extractors import Extractor, check_features, extractor_named, look
from hasama.figures import NEAR, RESAMPLES, Figure, figures_of, stream
from hasama.files import read_json, replacing, write_json
from hasama.latent import draw_latents, labels_for, paint
from hasama.metrics import Features
from hasama.run import Run
from hasama.shapes import Labels, Pixels
from hasama.subject import Judging, Subject, origin_of
from hasama.weights import Painter

LOOKS = 1
"""Version of what extractors do; part of every key, so that older features are simply not found."""

FEWEST, MOST_FAKES, MOST_REALS = 2 * (NEAR + 1), 1_000_000, 50_000
"""Pictures of a kind: in a half of the fewest each still has `NEAR` neighbours."""
USUAL = 5000


class Evaluation(NamedTuple):
    """The result.

    Attributes:
        extractor: the name of the network that the pictures were seen through.
        size: of the pictures, WIDTHxHEIGHT.
        width: of the features.
        figures: by name.
        origin: which generator and which pictures these are.
    """

    extractor: str
    size: str
    width: int
    figures: dict[str, Figure]
    origin: dict[str, dict[str, Any]]

    @property
    def real(self) -> int:
        """Real pictures in all."""
        return max(figure.real for figure in self.figures.values())

    @property
    def generated(self) -> int:
        """Generated pictures in all."""
        return max(figure.generated for figure in self.figures.values())

    def report(self) -> dict[str, Any]:
        """As `metrics.json` has it. The model card shows what stands in `figures`."""
        values = {name: figure.value for name, figure in self.figures.items()}
        head = {"extractor": self.extractor, "samples": self.generated, "size": self.size, "figures": values}
        return head | {"details": {name: f._asdict() for name, f in self.figures.items()}, "origin": self.origin}


Working = Generator[Judging, None, Features]
"""Records, and at the end features."""


def evaluate(
    run: str | Path,
    source: str | None = None,
    features: str = "vgg19",
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Iterator[Judging]:
    """Judge a generator by FID, KID, precision, recall, density and coverage, with intervals and a floor.

    FID and KID are of all real pictures (of 50,000 at most), the others of equal numbers. Classes are painted in the
    real pictures' proportions where these are known, else in turn.

    Args:
        run: a run's folder, or a generator.safetensors.
        source: other real pictures than those the run was trained on; needed with a generator.safetensors.
        features: 'vgg19', 'inception', or a local file of InceptionV3's weights.
        count: of generated pictures; None: as many as there are real ones, at most 5,000.
        seed: of the latents, and of everything drawn.
        device: 'auto', 'cpu', 'cuda', ...

    Yields:
        Records of progress; the last one holds the result.

    Raises:
        HasamaError: no generator, no pictures or too few, unknown features, damaged weights.
    """
    check_count(count, seed)
    check_features(features)
    place = pick_device(device)
    subject = Subject.of(Path(run).expanduser(), place)
    pictures = yield from subject.pictures(source)
    order = stream(0).permutation(len(pictures))[:MOST_REALS]
    if len(order) < FEWEST:
        raise HasamaError(f"{pictures.report.source} holds {len(order)} pictures; judging takes at least {FEWEST}.")
    extractor = extractor_named(features, place)
    count = count or max(FEWEST, min(USUAL, len(order)))
    reals = yield from _real_features(extractor, pictures, order)
    fakes = yield from _fake_features(
        extractor, subject, seed, _labels(subject.painter, pictures, order, count), count
    )
    figures = yield from _watched(figures_of(reals, fakes, seed))
    height, width = pictures.report.resolution
    origin = {"generator": subject.about(seed), "pictures": _about(pictures, source)}
    result = Evaluation(extractor.name, f"{width}x{height}", extractor.width, figures, origin)
    yield Judging("figures", RESAMPLES, RESAMPLES, result)


def _watched(work: Generator[int, None, dict[str, Figure]]) -> Generator[Judging, None, dict[str, Figure]]:
    while True:
        try:
            yield Judging("figures", next(work), RESAMPLES)
        except StopIteration as end:
            return end.value


def check_count(count: int | None, seed: int) -> None:
    """Before any work.

    Raises:
        HasamaError: one is out of range.
    """
    if (count is not None and not FEWEST <= count <= MOST_FAKES) or seed < 0:
        raise HasamaError(f"--count takes {FEWEST} to {MOST_FAKES}, --seed at least 0; got {count} and {seed}.")


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
    """What a report answers: the extractor, and which pictures the generated ones are compared with."""
    return report.get("extractor"), origin_of(report, "pictures").get("digest")


def _about(pictures: Pictures, source: str | None) -> dict[str, Any]:
    return {"digest": pictures.report.digest, "count": len(pictures), "of the training": source is None}


def _labels(painter: Painter, pictures: Pictures, order: np.ndarray, count: int) -> Labels | None:
    """Of `count` fakes: in the real pictures' proportions, or of all classes in turn; None without classes."""
    if pictures.labels is None or not set(pictures.classes) <= set(painter.classes):
        return labels_for(painter, count)
    own = np.asarray([painter.classes.index(name) for name in pictures.classes], np.int64)
    ranked = np.sort(own[pictures.labels[order]])
    return torch.from_numpy(ranked[(np.arange(count) * len(ranked) + len(ranked) // 2) // count])


# --- what the network sees ------------------------------------------------------------------------


def _real_features(extractor: Extractor, pictures: Pictures, order: np.ndarray) -> Working:
    """In an order that is random, but always the same: the first ones are a sample of all."""
    report = pictures.report
    form = (report.digest, report.resolution, report.channels, report.crops, len(order))
    batches = (pictures.take(order[first : first + 64]) for first in range(0, len(order), 64))
    return (yield from _kept(extractor, ("real", *form), batches, len(order), "real pictures"))


def _fake_features(extractor: Extractor, subject: Subject, seed: int, labels: Labels | None, count: int) -> Working:
    told = None if labels is None else hashlib.sha256(labels.numpy().tobytes()).hexdigest()

    def painted() -> Iterator[Pixels]:
        yield from paint(subject.painter, draw_latents(seed, count, subject.painter.latent_size), labels)

    what = ("fake", subject.sha256, seed, count, told)
    return (yield from _kept(extractor, what, painted(), count, "generated pictures"))


def _kept(extractor: Extractor, what: tuple[Any, ...], batches: Iterable[Pixels], count: int, stage: str) -> Working:
    """Features from the cache, or made of the batches and put there."""
    told = json.dumps([LOOKS, extractor.key, what])
    file = cache_folder() / "features" / f"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}.safetensors"
    known = _stored(file, (count, extractor.width))
    if known is not None:
        return known
    rows, done = [], 0
    yield Judging(stage, 0, count)
    for some in look(extractor, batches):
        rows.append(some)
        done += len(some)
        yield Judging(stage, done, count)
    found = torch.cat(rows)
    if not found.isfinite().all():
        raise HasamaError(f"What the network sees in the {stage} are no finite numbers: its weights are damaged.")
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
