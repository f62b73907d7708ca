"""Before a run begins: can such networks be built, do all processes begin with the same, does it still go on here?"""

import atexit
import os
from collections.abc import Generator
from inspect import GEN_RUNNING, getgeneratorstate
from pathlib import Path
from weakref import WeakKeyDictionary

from hasama.distributed import check_divisible, is_first, team, told_by_first
from hasama.errors import HasamaError
from hasama.networks.outline import outline
from hasama.networks.registry import build
from hasama.options import ImpossibleSizeError
from hasama.perception.efficientnet import weights_file
from hasama.pictures.dataset import Pictures
from hasama.presets import half_size
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.runs.standing import check_goes_with
from hasama.runs.transfer import check_init_from
from hasama.training.game import Record
from hasama.training.setup import check_looks, freeze_first

LIVE: "WeakKeyDictionary[Generator[Record], tuple[int, Path]]" = WeakKeyDictionary()
"""Sessions that somebody still has, each with its process and its run's folder."""


def end_idle_sessions(run: Run | None = None) -> None:
    """Save and end the sessions of a run, or of all, that were broken off while somebody still has their iterator.

    A name in a notebook keeps it, as does the traceback of an error; when Python ends, torch is gone before it is.
    """
    for session, (process, folder) in list(LIVE.items()):
        if (
            process == os.getpid()
            and getgeneratorstate(session) != GEN_RUNNING
            and (run is None or folder == run.folder.resolve())
        ):
            session.close()


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
