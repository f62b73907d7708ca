"""From a source and a recipe to a run: puts the parts of the package together, for the command and for Python."""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from warnings import warn

import torch

from hasama.device import keep_memory, pick_device
from hasama.distributed import agreed, begin_alike, is_first, team, together
from hasama.errors import HasamaError
from hasama.files import write_json
from hasama.generators.generator_file import TrainedGenerator
from hasama.health.quality import QualityProbe, is_looked_at, quality_interval
from hasama.health.signals import Probe
from hasama.names import as_source, at_home
from hasama.networks.registry import build
from hasama.perception.extractors import extractor_named
from hasama.pictures.cache import Reading, open_cached, same_pictures, share_pixels
from hasama.pictures.dataset import Pictures, batches, hold_out
from hasama.pictures.decoding import Form, Scan
from hasama.pictures.shards.places import is_pattern
from hasama.pictures.sources.chosen import tidy
from hasama.presets import as_recipe, half_size
from hasama.recipe import Recipe
from hasama.runs.autopilot import forget_later, in_force, piloted
from hasama.runs.bases import is_base
from hasama.runs.enlarging import fine_tune, finish, settle
from hasama.runs.fitting import Looks, fit, health_interval, never
from hasama.runs.folder import Run
from hasama.runs.reports.last_error import recorded
from hasama.runs.standing import (
    FREE,
    LIVE,
    WRITTEN,
    absolute,
    check_as_seen,
    check_buildable,
    check_checkpoint,
    end_idle_sessions,
    read_again,
    reconciled,
    same_for_all,
    source_now,
)
from hasama.runs.transfer import as_wide, inherit, learn_from_small
from hasama.training.game import Record
from hasama.training.setup import loop_for, new_game


def train(
    source: str | Path,
    recipe: Recipe | str,
    out: str | Path,
    device: torch.device | str = "auto",
    stop: Callable[[], bool] = never,
) -> Iterator[Record]:
    """Train on pictures into a run folder, or go on where the run in that folder stands.

    Args:
        source: a folder, zip, tar, .npz, picture, or built-in name.
        recipe: how to train, or the name of a preset.
        out: the run folder.
        device: 'auto', 'cpu', 'cuda', ..., or a torch.device.
        stop: asked after every step; True saves and ends.

    Yields:
        A record after every step (`Step` for a GAN). Breaking off saves the run.

    Raises:
        HasamaError: whatever the user can put right.
    """
    opening = Opening.of(as_source(source), as_recipe(recipe), Run(out))
    deque(opening.scan(), maxlen=0)
    if notice := opening.notice():
        warn(notice, stacklevel=2)
    yield from opening.session(device, stop)


def resume(
    out: str | Path, device: torch.device | str = "auto", stop: Callable[[], bool] = never
) -> Iterator[Record]:
    """Go on with a run where it stands; it *is* the run that was never interrupted.

    Args:
        out: the run folder.
        device: 'auto', 'cpu', 'cuda', ..., or a torch.device.
        stop: as in `train`.

    Yields:
        A record after every step, as `train` does. Breaking off saves the run.

    Raises:
        HasamaError: there is no run in that folder, it is damaged, or whatever else the user can put right.
    """
    opening = Opening.resumed(Run(out))
    deque(opening.scan(), maxlen=0)
    yield from opening.session(device, stop)


class Opening(NamedTuple):
    """A run about to start or to go on: consume `scan()`, then `session()`.

    Attributes:
        run: the folder.
        recipe: the recipe of this session.
        source: where the pictures are.
        reading: the source on its way into the cache; None if the cache already holds the run's pictures.
        source_now: the source as it is now, if its files have other times, names or sizes than when the run began:
            whether its pictures are others, too, is known when it has been read. Or why it cannot be read.
        threads: the CPU threads that the user asked for; None for those that the run had.
        seen: the run's recipe when it was opened; None of a new run.
    """

    run: Run
    recipe: Recipe
    source: str
    reading: Reading | None
    source_now: Reading | str | None = None
    threads: int | None = None
    seen: Recipe | None = None

    @classmethod
    def of(cls, source: str, recipe: Recipe, run: Run, given: Collection[str] = FREE) -> "Opening":
        """A new run, or one that was started by the same command. Checks all that can be checked without work."""
        source = _absolute(source)
        begin = recipe.init_from if is_base(recipe.init_from) else _absolute(recipe.init_from, run.exists())
        recipe = as_wide(recipe.but(init_from=begin, only=tidy(recipe.only)), run)
        if run.exists():
            return cls.resumed(run, reconciled(run, recipe, given), source)
        check_buildable(recipe)
        reading = Reading(source, Form.of(recipe))
        run.check_free()  # last, for it makes the folder
        return cls(run, recipe, source, reading)

    @classmethod
    def resumed(cls, run: Run, recipe: Recipe | None = None, source: str | None = None) -> "Opening":
        """A run that exists. Its own pictures are used even where the source has changed since."""
        seen = run.recipe()
        recipe = recipe or seen
        check_checkpoint(run)
        images = run.images()
        pictures = open_cached(images["key"])
        if pictures is None or pictures.report.digest != images["digest"]:
            again = read_again(run, source or images["name"], recipe)
            return cls(run, recipe, source or images["name"], again, seen=seen)
        now = None if source is None else source_now(run, source, recipe)
        return cls(run, recipe, images["name"], None, now, seen=seen)

    def scan(self) -> Iterator[Scan]:
        """Read the source into the cache, if need be."""
        if self.reading is not None:
            yield from self.reading.scan()
            if self.recipe.small_kimg and not self.run.exists():  # here it has a bar, and can be broken off
                if self.reading.pictures().report.crops:
                    raise HasamaError("--small-kimg is for many pictures: crops of one, of half the size, show less.")
                yield from Reading(self.source, Form.of(half_size(self.recipe))).scan()
        elif isinstance(self.source_now, Reading):
            with suppress(HasamaError):  # the run can go on without it: see `notice`
                yield from self.source_now.scan()

    def notice(self) -> str | None:
        """After `scan`: what the user should know of the source, if its pictures are no longer those of the run."""
        if self.source_now is None:
            return None
        own, now, what = self.pictures(), None, self.source_now
        if isinstance(self.source_now, Reading):
            now = open_cached(self.source_now.key)
            what = f"The files of {self.source} have changed since this run began, or are read otherwise by now."
        if now is not None and same_pictures(own, now):
            share_pixels(now, own)
            return None
        return (
            f"{what} The run goes on with the {own.report.used} pictures that it began with; for new ones start a "
            "new run with another --out."
        )

    def pictures(self) -> Pictures:
        """The run's pictures, after `scan`.

        Raises:
            HasamaError: they are no longer those that the run began with.
        """
        if self.reading is None:
            pictures = open_cached(self.run.images()["key"])
            if pictures is not None:
                return pictures
            raise HasamaError("The cache of pictures vanished while it was being used; start again.")
        pictures = self.reading.pictures()
        if self.run.exists() and pictures.report.digest != self.run.images()["digest"]:
            raise HasamaError(
                f"The pictures in {self.source} are not those that {self.run.folder} began with, and the cache "
                "no longer holds the old ones: a resumed run would not be the same run. Start a new one with another "
                "--out."
            )
        return pictures

    def session(self, device: torch.device | str = "auto", stop: Callable[[], bool] = never) -> Generator[Record]:
        """Train from where the run stands to the end, or until someone asks to stop; with others: `distributed`.

        Breaking off saves the run: at the latest when Python ends, or when the run is opened anew.
        """
        session = self._with_others(device, stop)
        LIVE[session] = (os.getpid(), threading.get_ident(), self.run.folder.resolve())
        return session

    def _with_others(self, device: torch.device | str, stop: Callable[[], bool]) -> Generator[Record]:
        end_idle_sessions(self.run)  # which have threads and a team of their own
        threads = torch.get_num_threads()
        try:
            with together():
                yield from self._alone_or_not(device, stop)
        finally:
            torch.set_num_threads(threads)

    def _alone_or_not(self, device: torch.device | str, stop: Callable[[], bool]) -> Iterator[Record]:
        keep_memory()
        alone = team().world == 1  # several have the threads that they were given, or would fight for the cores
        if alone and self.run.exists() and self.threads is None and (threads := self.run.threads()):
            torch.set_num_threads(threads)  # with another number of threads sums are added in another order
        place = pick_device(device)
        pictures = self.pictures()
        recipe = same_for_all(self.recipe, pictures)
        if not is_first():
            yield from _session(self.run, recipe, pictures, place, stop)
            return
        with self.run.held(), recorded(self.run.folder):
            check_as_seen(self.run, self.seen, self.recipe)
            self.run.clear_stop()
            if self.run.exists():
                self.run.save_recipe(recipe)
                self.run.save_images(pictures.report, self.source)
            else:
                self.run.create(recipe, pictures.report, self.source)
            try:
                if recipe.autopilot:
                    yield from piloted(self.run, lambda: _session(self.run, self.run.recipe(), pictures, place, stop))
                else:
                    yield from _session(self.run, recipe, pictures, place, stop)
            finally:
                with suppress(HasamaError):
                    WRITTEN[self.run.folder.resolve()] = (self.recipe, self.run.recipe())


def _session(
    run: Run, recipe: Recipe, pictures: Pictures, device: torch.device, stop: Callable[[], bool]
) -> Iterator[Record]:
    if recipe.small_kimg:
        small = run.small()
        if not run.checkpoint.exists() and not small.is_done():
            yield from _of_half_size(run, recipe, device, lambda: stop() or run.stop_asked())
            if not small.is_done():  # stopped
                return
        recipe = in_force(run, recipe)
    channels, classes = pictures.report.channels, pictures.classes
    training, held = hold_out(pictures, recipe.held_out, recipe.seed)
    game = new_game(build(recipe, channels, len(classes)), recipe, device)
    here, ready = team(), True
    if is_first():
        run.load_game(game)
        if recipe.init_from and not run.checkpoint.exists():
            inherited = inherit(game, recipe.init_from)
            write_json(run.inherited, inherited._asdict())
            ready = yield from learn_from_small(
                game, recipe, inherited.fresh, training, lambda: stop() or run.stop_asked()
            )
        run.cut_log(game.images_seen)
        forget_later(run, game.images_seen)
    if agreed(not ready):  # stopped before the game began
        return
    begin_alike(game)
    place = (game.images_seen, recipe.mirror, device, here.rank, here.world)
    steps = loop_for(recipe.architecture)(game, batches(training, recipe.batch, recipe.seed, *place))
    generator = TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, channels, classes)
    probe = Probe(training, held, device, recipe.mirror) if health_interval(recipe) and is_first() else None
    looks = _looks(recipe, training, device) if is_first() else None
    if recipe.enlarge > 1 and is_first():
        yield from fine_tune(run, recipe, training, held, game, stop)
    if agreed(is_first() and recipe.enlarge > 1 and not run.enlarger.exists()):  # stopped before the game began
        return
    yield from fit(run, game, steps, recipe, generator, stop, probe, looks)
    if recipe.enlarge > 1 and is_first():
        yield from finish(run, recipe, training, game, stop)
        settle(run, game, generator)


class Earlier(NamedTuple):
    """A step of the stage of half the size.

    Attributes:
        images_seen, shown: 0, for it is no part of the run's own length.
        run: the stage's.
        step: the record itself.
    """

    images_seen: int
    shown: int
    run: Run
    step: Record

    def figures(self) -> dict[str, float]:
        """The step's."""
        return self.step.figures()


def _of_half_size(run: Run, recipe: Recipe, device: torch.device, stop: Callable[[], bool]) -> Iterator[Earlier]:
    """A run of its own in the run's folder, until it has its length."""
    small, source = run.small(), run.images()["name"]
    if not small.exists() and source_now(run, source, recipe) is not None:
        raise HasamaError(
            f"The pictures in {source} have changed, or moved, since {run.folder} began. Nothing was learnt yet: "
            "delete that folder, and begin anew."
        )
    opening = Opening.of(source, half_size(recipe), small)
    deque(opening.scan(), maxlen=0)
    for step in opening.session(device, stop):
        yield Earlier(0, 0, small, step)


def _looks(recipe: Recipe, training: Pictures, device: torch.device) -> Looks | None:
    """How the quality is looked at; None where it is not: of one picture there is no KID."""
    if not is_looked_at(recipe) or training.at_hand < 2:
        return None
    extractor = extractor_named(recipe.quality_extractor, device)
    every = quality_interval(recipe, training.report.channels, len(training.classes), extractor)
    return Looks(QualityProbe(training, extractor), every) if every else None


def _absolute(source: str, is_path: bool = False) -> str:
    """A path that still means the same when the run is resumed from elsewhere; `is_path`: be it there or not."""
    try:
        there = is_path or at_home(source).exists() or is_pattern(source)
        return absolute(source) if source and there else source
    except (OSError, RuntimeError):  # a name too long, a loop of links: `open_source` has the words for it
        return source
