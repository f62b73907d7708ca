"""What is evaluated: a generator, and the real pictures that it is compared with."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hasama.errors import HasamaError
from hasama.files import sha256_of
from hasama.generators.generator_file import TrainedGenerator, load_generator
from hasama.metrics.intervals import Figure
from hasama.names import as_source
from hasama.pictures.cache import Reading, open_cached
from hasama.pictures.dataset import Pictures
from hasama.pictures.decoding import Form
from hasama.pictures.opening import upright_size
from hasama.pictures.sources.chosen import classes_called
from hasama.pictures.sources.download import DownloadProgress
from hasama.pictures.sources.sources import download_first, open_source
from hasama.recipe import Colour
from hasama.runs.bases import is_base, place_named
from hasama.runs.folder import Run
from hasama.runs.standing import chosen_generator, is_streamed, seen_by

COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb", 4: "rgba"}


class EvaluationProgress(NamedTuple):
    """How far the evaluation is: what is being done, how many of how many; the last one holds the result."""

    stage: str
    done: int
    total: int
    result: "Evaluation | None" = None


class Subject(NamedTuple):
    """A generator, and the run that it is of; None for a file alone.

    Attributes:
        file: the generator's file; it may hold a later generator by now, if the run is being trained.
        generator: what was read from it.
        run: the run that it belongs to.
        sha256: of the file as it was read.
        images_seen: images that the run had seen when it was this generator.
        best: how much better it is than the run's last one, if that is why it was taken.
    """

    file: Path
    generator: TrainedGenerator
    run: Run | None
    sha256: str
    images_seen: int
    best: str | None = None

    @classmethod
    def of(cls, place: Path, device: torch.device) -> "Subject":
        """A run's folder, whose best generator is taken if it is clearly better than the last; a
        generator.safetensors; or a base.

        Raises:
            HasamaError: there is none of them, or it is damaged.
        """
        place = place_named(place)
        if not place.exists():
            raise HasamaError(f"There is no run and no generator at {place}.")
        if not place.is_dir():
            return _read_at_once(place, None, device)
        run = Run(place)
        file, best = chosen_generator(run)
        return _read_at_once(file, run, device)._replace(best=best)

    def pictures(self, source: str | None) -> Generator[EvaluationProgress, None, Pictures]:
        """Those of a source in the generator's form, or else those that the run was trained on.

        Raises:
            HasamaError: there are none, or they are others now.
        """
        if source is not None:
            yield from downloading(download_first(source))
            return (yield from _read(self._reading(source)))
        if self.run is None:
            raise HasamaError(
                f"{self.file} is a generator alone: say by --source which real pictures to compare with."
            )
        images = self.run.images()
        if is_base(self.run.folder):
            raise HasamaError(
                f"The base {self.run.folder.name} comes without its pictures ({images['name']}): say by --source "
                "which real pictures to compare with."
            )
        known = open_cached(images["key"])
        if known is not None and known.report.digest == images["digest"]:
            return known
        other = "Name the pictures to compare with by --source."
        try:
            reading = Reading(images["name"], Form.of(self.run.recipe()), is_streamed(self.run))
        except HasamaError as error:
            raise HasamaError(f"The pictures of {self.run.folder} are gone: {error} {other}") from error
        pictures = yield from _read(reading)
        if pictures.report.digest != images["digest"]:
            raise HasamaError(f"{images['name']} no longer holds what {self.run.folder} was trained on. {other}")
        return pictures

    def _reading(self, source: str) -> Reading:
        """The source in the form of the generated pictures; with classes if the generator knows all of them.

        If the run learnt some classes only, these; all of it if it has none of them, for its classes may be others.
        """
        recipe = self.run.recipe() if self.run else self.generator.recipe
        if recipe is None:
            raise HasamaError(f"{self.file} does not say how large its pictures are.")
        form = Form(recipe.resolution, recipe.fit, COLOURS[self.generator.channels])
        reading = Reading(source, form)
        only = classes_called(reading.source, recipe.only).classes
        names = set(only) or {entry.label for entry in reading.source.entries if entry.label is not None}
        labels = bool(names) and names <= set(self.generator.classes)
        return Reading(source, form._replace(labels=labels, only=",".join(only))) if labels or only else reading

    def about(self, seed: int) -> dict[str, Any]:
        """Which generator, at which time of its training, with which latents."""
        seen = {"images_seen": self.images_seen} if self.run else {}
        recipe = self.generator.recipe
        aided = {"vision_aid": recipe.vision_aid} if recipe and recipe.vision_aid != "none" else {}
        best = {"best": self.best} if self.best else {}
        return {"sha256": self.sha256, "seed": seed, **seen, **aided, **best}


def _read_at_once(file: Path, run: Run | None, device: torch.device) -> Subject:
    """A generator and the checksum of the file that it was read from, which a training may replace meanwhile."""

    def stands() -> tuple[str, int]:
        return sha256_of(file), seen_by(file, run) if run else 0

    before, generator = stands(), load_generator(file, device)
    while (after := stands()) != before:
        before, generator = after, load_generator(file, device)
    return Subject(file, generator, run, *after)


def holds_pictures(place: Path) -> bool:
    """Whether this is no run, base or generator, nor a folder of such, but a source of pictures."""
    if place.suffix == ".safetensors" or not place.exists():
        return False
    if place.is_dir() and any(
        found for name in ("recipe.json", "generator.safetensors") for found in place.rglob(name)
    ):
        return False  # whose sample grids and plots are no pictures that anybody means
    with suppress(HasamaError):
        return bool(open_source(as_source(str(place))).entries)
    return False


def pictures_made(place: str) -> Generator[EvaluationProgress, None, Pictures]:
    """Pictures that something else than Hasama has made, at the size of the first one.

    Raises:
        HasamaError: there are none that can be used.
    """
    first: tuple[int, int] | None = None
    for entry in open_source(as_source(place)).entries:
        with suppress(Exception):  # decoders of broken files raise nearly everything; what is skipped is told later
            first = upright_size(entry.peek())
            break
    if first is None:
        raise HasamaError(f"No picture in {place} can be read.")
    return (yield from _read(Reading(as_source(place), Form((first[1], first[0])))))


def real_ones_like(made: Pictures, source: str) -> Generator[EvaluationProgress, None, Pictures]:
    """Real pictures in the form of others.

    Raises:
        HasamaError: there are none.
    """
    yield from downloading(download_first(source))
    report = made.report
    return (yield from _read(Reading(source, Form(report.resolution, "crop", COLOURS[report.channels]))))


def origin_of(report: dict[str, Any], what: str) -> dict[str, Any]:
    """What a report in metrics.json says about its 'generator' or 'pictures'; empty if Hasama did not write it."""
    origin = report.get("origin")
    told = origin.get(what) if isinstance(origin, dict) else None
    return told if isinstance(told, dict) else {}


def helped_to_train(report: dict[str, Any]) -> bool:
    """Whether the network whose features a report is about was an aid in training the generator."""
    aid, extractor = origin_of(report, "generator").get("vision_aid"), report.get("extractor")
    return isinstance(aid, str) and isinstance(extractor, str) and extractor.startswith(aid)


def downloading(progress: Iterable[DownloadProgress]) -> Iterator[EvaluationProgress]:
    """A download's progress as ours, in kilobytes."""
    for one in progress:
        yield EvaluationProgress(f"downloading {one.name} (KB)", one.done // 1000, max(one.done, one.total) // 1000)


def _read(reading: Reading) -> Generator[EvaluationProgress, None, Pictures]:
    for scan in reading.scan():
        yield EvaluationProgress(scan.stage, scan.done, scan.total)
    return reading.pictures()


class Evaluation(NamedTuple):
    """The result.

    Attributes:
        extractor: the name of the network that extracted the features.
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
