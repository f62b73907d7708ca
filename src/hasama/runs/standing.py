"""A run as it stands: can it begin, which of its generators is taken, and may a command go on with it?"""

import atexit
import math
import os
import shlex
import threading
from collections.abc import Collection, Generator
from inspect import GEN_SUSPENDED, getgeneratorstate
from pathlib import Path
from weakref import WeakKeyDictionary

import torch

from hasama.distributed import check_divisible, is_first, team, told_by_first
from hasama.errors import HasamaError, TakenOverError
from hasama.fields import BEFORE_THEY_WERE, follows_schedule
from hasama.files import identity_of, was_replaced, write_json
from hasama.generators import generator_file
from hasama.generators.generator_file import TrainedGenerator
from hasama.health.quality import clearly_better, kept_quality
from hasama.names import at_home
from hasama.networks.outline import outline
from hasama.networks.registry import build
from hasama.options import ImpossibleSizeError, flag, said
from hasama.perception.efficientnet import weights_file
from hasama.pictures.cache import Reading
from hasama.pictures.dataset import Pictures
from hasama.pictures.decoding import Form
from hasama.presets import half_size
from hasama.recipe import Recipe
from hasama.runs.autopilot import original_recipe
from hasama.runs.bases import place_named
from hasama.runs.folder import Run
from hasama.runs.transfer import check_init_from
from hasama.training.game import Record
from hasama.training.setup import check_looks, freeze_first

FREE = (
    *("kimg", "sample_kimg", "checkpoint_minutes", "health_kimg", "quality_kimg"),
    *("autopilot", "accumulate"),
)
"""Fields that a run may change. All but `kimg` change nothing of what a step does; it does where something falls over
the run's length: see `rising`.
"""


# --- going on -------------------------------------------------------------------------------------


def rising(run: Run, recipe: Recipe) -> str:
    """What to tell where a run is made longer and its rates fall over its length: at first they rise again."""
    old, seen = run.recipe(), run.images_seen()
    if not seen or recipe.schedule_images <= old.schedule_images or not follows_schedule(vars(recipe)):
        return ""
    then, now = (1 - (1 - recipe.lr_final) * (1 - math.cos(math.pi * min(1, seen / one.schedule_images))) / 2
                 for one in (old, recipe))  # fmt: skip
    rates = (
        f" The learning rates, which had fallen to {then:.0%}, rise to {now:.0%} of the first." if then < now else ""
    )
    return f"\nWhat changes over the run's length goes by the new one.{rates}"


def reconciled(run: Run, asked: Recipe, given: Collection[str]) -> Recipe:
    """The recipe with which `train` goes on with a run: the run's own, with a longer length if one was given.

    Raises:
        HasamaError: the command asks for something else than the run was started with.
    """
    own = run.recipe()
    older = {n for n, before in BEFORE_THEY_WERE.items() if n not in given and getattr(own, n) == before}
    if "grow_kimg" not in given and math.isclose(asked.grow_kimg, own.lasting(asked.kimg).grow_kimg):
        older.add("grow_kimg")  # which goes by the length
    pairs = original_recipe(run).differences(asked)
    different = {name: pair for name, pair in pairs.items() if name not in FREE and name not in older}
    if "init_from" in different and _has_moved(run, *different["init_from"]):
        del different["init_from"]
    if different:
        told = ", ".join(f"{said(name, here)} (now {said(name, there)})" for name, (here, there) in different.items())
        begun = run.images_seen() or run.small().images_seen()
        empty = "" if begun else " (nothing was saved in this one: its folder can be deleted)"
        raise HasamaError(
            f"{run.folder} was started with other settings: {told}. A run keeps its recipe. Go on with it by\n"
            f"  {run.how_to_go_on()}\nor choose another --out for a new run{empty}."
        )
    changes = {name: getattr(asked, name) for name in FREE if name in given}
    return own.but(**changes | {"kimg": max(own.kimg, changes.get("kimg", 0.0))})


def check_as_seen(run: Run, seen: Recipe | None, asked: Recipe) -> None:
    """Once the run is this process's own: is it still what the command has been checked against?

    Args:
        run: held.
        seen: its recipe when it was opened; None if there was no run.
        asked: the recipe of this session.

    Raises:
        HasamaError: another process has begun it, or gone on with it by another recipe, since then.
    """
    now = run.recipe() if run.exists() else None
    mine = WRITTEN.get(run.folder.resolve())  # an earlier session of the same opening
    if now != seen and mine != (asked, now):
        what = "begun a run in" if seen is None else "changed the recipe of"
        raise HasamaError(
            f"While this command was starting another one has {what} {run.folder}. Give the command again to go on "
            "with that run, or choose another --out."
        )


def _has_moved(run: Run, then: str, now: str) -> bool:
    """Whether what a run began with is only elsewhere: where machines come and go each mounts it at another place.

    It is not needed any more: the run has a checkpoint of its own.
    """
    begun = run.checkpoint.exists() or run.small().checkpoint.exists()
    return begun and Path(then).name == Path(now).name and not Path(then).exists()


def source_now(run: Run, source: str, recipe: Recipe) -> Reading | str | None:
    """What is at the run's source now, if its files may be others than when the run began; None if they are not.

    Raises:
        HasamaError: it is another source than the run's.
    """
    images = run.images()
    try:
        reading = Reading(source, Form.of(recipe), is_streamed(run))
        now = None if reading.key == images["key"] else reading
    except HasamaError as error:
        now = str(error)
    if now is not None and images["name"] not in (source, absolute(source)):
        raise HasamaError(
            f"{run.folder} is training on {images['name']}, not on {source}: choose another --out, or go on with  "
            f"{run.how_to_go_on()}"
        )
    return now


def absolute(source: str) -> str:
    """A path as a run notes it, whether or not there still is anything."""
    try:
        return str(at_home(source).resolve())
    except (OSError, RuntimeError):
        return source


def check_checkpoint(run: Run) -> None:
    """Before going on with a run.

    Raises:
        HasamaError: its checkpoint is gone, and the generator would be replaced by a new one.
    """
    if run.generator.exists() and not run.checkpoint.exists():
        raise HasamaError(
            f"{run.folder} has a trained generator, but no longer its checkpoint {run.checkpoint.name}: to go on "
            "would be to begin from nothing and to replace that generator. Start a new run with another --out."
        )


def read_again(run: Run, source: str, recipe: Recipe) -> Reading:
    """The run's pictures from their source, for the cache has them no longer."""
    try:
        return Reading(source, Form.of(recipe), is_streamed(run))
    except HasamaError as error:
        raise HasamaError(
            f"{error} {run.folder} began with the pictures there. If they have moved, name their new place:  "
            f"hasama train NEWPLACE ... --out {shlex.quote(str(run.folder))}"
        ) from error


def check_goes_with(recipe: Recipe, processes: int) -> None:
    """Raises HasamaError if so many processes cannot train by it together."""
    for name in ("autopilot", "small_kimg"):
        if processes > 1 and getattr(recipe, name):
            raise HasamaError(f"{flag(name)} works in one process; these are {processes}.")


def is_streamed(run: Run) -> bool:
    """Whether the run's pictures are streamed from shards, and so come in another order than from the cache.

    Args:
        run: one that exists.
    """
    return bool(run.images().get("streamed"))


class Place:
    """A run's folder as a session found it, whose lock it may hold: people delete and move what is being trained."""

    def __init__(self, run: Run) -> None:
        self.run, self.lock, self.recipe, self.images = run, identity_of(run.lock_file), run.recipe(), run.images()

    def check(self) -> None:
        """Raises HasamaError if the folder is gone, TakenOverError if another session has begun there."""
        self.check_ours()
        if self.lock and not self.run.exists() and not self.run.lock_file.exists():
            raise HasamaError(f"{self.run.folder} was deleted or moved while it was trained.")

    def check_ours(self) -> None:
        """Raises TakenOverError if another session has begun there."""
        if was_replaced(self.run.lock_file, self.lock):  # gone alone: hidden files are tidied away
            raise TakenOverError(f"{self.run.folder} was deleted or moved; another training has begun in its place.")

    def restore(self) -> None:
        """Before a checkpoint is saved: what else going on from it needs. Raises as `check_ours` does."""
        self.check_ours()
        if not self.run.exists():
            write_json(self.run.images_file, self.images)
            self.run.save_recipe(self.recipe)


# --- its generators -------------------------------------------------------------------------------


def best_is_better(run: Run) -> str | None:
    """How much better a run's best generator is than its last; None if it is not clearly better, or not there."""
    return clearly_better(run.best, run.log()) if run.best.exists() else None


def chosen_generator(run: Run) -> tuple[Path, str | None]:
    """The file of the best generator, and how much better it is; or, unless that is clear, of the last, and None.

    Raises:
        HasamaError: there is no run here, it is damaged, or it has saved no generator yet.
    """
    last, told = run.saved_generator(), best_is_better(run)
    return (run.best if told else last), told


def load_generator(place: str | Path | Run, device: torch.device | str = "cpu") -> TrainedGenerator:
    """The generator of a run, of a base or of a file.

    Args:
        place: a run or its folder, of which it is the one that `hasama sample` takes; the name of a base, such as
            'portraits'; or a `generator.safetensors`.
        device: where to put the network, a torch.device or its name; 'auto' is the best there is.

    Raises:
        HasamaError: there is none, or it is damaged or of a network built in Python; or there is no such device.
    """
    found = place.folder if isinstance(place, Run) else place_named(place)
    file = chosen_generator(Run(found))[0] if Run(found).exists() else found
    return generator_file.load_generator(file, device)


def seen_by(generator: Path, run: Run) -> int:
    """Images that a run had seen when it was this generator, the best or the last."""
    kept = kept_quality(generator)  # only the best one's header tells
    return run.images_seen() if kept is None else kept.images_seen


def is_unreadable(best: Path) -> bool:
    """Whether there is a file of a best generator, and it is damaged so that nobody knows how good it was."""
    return best.exists() and kept_quality(best) is None


# --- beginning ------------------------------------------------------------------------------------


LIVE: "WeakKeyDictionary[Generator[Record], tuple[int, int, Path]]" = WeakKeyDictionary()
"""Sessions that somebody still has, in the order in which they began: the process, the thread, the run's folder."""

WRITTEN: dict[Path, tuple[Recipe, Recipe]] = {}
"""Of each run that this process has had: the recipe that was asked for, and the one that the run had in the end."""


def end_idle_sessions(run: Run | None = None) -> None:
    """Save and end the sessions of a run, or of all, that were broken off while somebody still has their iterator.

    A name in a notebook keeps it, as does the traceback of an error; when Python ends, torch is gone before it is.
    What another thread has is its own affair, but at the end.

    Raises:
        HasamaError: one cannot be saved; the others are.
    """
    here, failed = (os.getpid(), threading.get_ident()), None
    for known in reversed(list(LIVE.keyrefs())):  # a stage of half the size before the run that it is a part of
        session = known()
        if session is None or getgeneratorstate(session) != GEN_SUSPENDED:
            continue
        process, thread, folder = LIVE[session]
        theirs = run is not None and (thread != here[1] or not folder.is_relative_to(run.folder.resolve()))
        if process == here[0] and not theirs:
            try:
                session.close()
            except Exception as error:  # a full disk, say
                failed = failed or error
    if failed is not None:
        raise failed


atexit.register(end_idle_sessions)


def same_for_all(recipe: Recipe, pictures: Pictures) -> Recipe:
    """The first process's recipe: others may have measured another length.

    Raises:
        HasamaError: several processes cannot train by it, or have other pictures.
    """
    if (world := team().world) == 1:
        return recipe
    check_divisible(recipe.batch, recipe.accumulate)
    check_goes_with(recipe, world)
    told = told_by_first(lambda: [recipe.to_dict(), pictures.report.digest])
    if told[1] != pictures.report.digest:
        raise HasamaError("The pictures here are not those of the first process: give all machines the same ones.")
    return Recipe.from_dict(told[0])


def check_buildable(recipe: Recipe) -> None:
    """Refuse what cannot work before any work: build the networks without memory.

    Raises:
        HasamaError: the architecture cannot make pictures of that size, no layer would be left to learn, the
            weights of --init-from do not fit, or see `check_looks`.
    """
    check_looks(recipe)
    with outline():
        freeze_first(build(recipe).discriminator, recipe.freeze_d)
        if recipe.small_kimg:
            _check_half_size(recipe)
    if recipe.vision_aid != "none":
        weights_file()
    if is_first():  # which gives the weights to the others
        check_init_from(recipe)


def _check_half_size(recipe: Recipe) -> None:
    """Refuse a stage of half the size that cannot be built, or cannot begin with the weights of --init-from."""
    half, begins = half_size(recipe), f"--small-kimg begins with half of --size {recipe.size}"
    try:
        build(half)
        if is_first():
            check_init_from(half)
    except ImpossibleSizeError as error:
        raise error.of_smaller_ones(2 * recipe.enlarge, begins) from error
    except HasamaError as error:
        raise HasamaError(f"{begins}, which is impossible: {error}") from error
