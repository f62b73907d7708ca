"""Search for a better recipe: many short runs that differ in the sensitive parameters, compared by a score.

`sweep` is a generator of `Event`s. Each trial is an ordinary run folder, trained from rung to rung; at every rung the
EMA generator's pictures get a score, and a trial ends early if its score is worse than the median of the complete
trials' at that rung, if the doctor has a serious finding, if it breaks down, or if someone stops it alone. The state
of a trial is its run folder and its entry in the study (`study.py`), so that any process can take it up; it then is
the run that was never interrupted.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from hasama.device import pick_device
from hasama.errors import HasamaError, short_of_memory
from hasama.files import write_json
from hasama.health.quality import has_numbers
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.runs.fitting import crossed, log_interval, never
from hasama.runs.folder import Run
from hasama.runs.session import Opening
from hasama.runs.standing import check_buildable
from hasama.training.game import Record
from hasama.tuning.search_space import Space, middle, vary
from hasama.tuning.storage import beating, load_optuna
from hasama.tuning.study import (
    JUDGED_BY,
    Memory,
    Outcome,
    agree,
    conclude,
    finished,
    folder_number,
    give_back,
    open_memory,
    outcomes,
    take,
    worse_than_the_median,
)
from hasama.tuning.sweep_chart import plot_sweep
from hasama.tuning.sweep_score import Score, generator_at_checkpoint

if TYPE_CHECKING:
    from optuna import Trial

RUNGS = (0.125, 0.25, 0.5, 1.0)
"""Shares of a trial's length at which it gets a score: Jamieson & Talwalkar 2016 double likewise."""
POLL_SECONDS = 1.0
FAKES = 500
BROKE_DOWN = "Training broke down"  # how `fit` begins to say that a loss is no longer a number


class Sweep(NamedTuple):
    """What is swept, and where.

    Attributes:
        source: the pictures.
        recipe: of a trial, its length and seed included.
        space: see `search_space`.
        out: the folder for the runs, the plot and the best recipe.
        storage: the database's URL.
        name: of the study in it.
        trials: how many there are to be, of all processes together.
        patience: seconds of silence after which a process counts as dead.
        final: the recipe that the best parameters are put into, with the length that one would train for.
        fakes: the generated pictures that a trial is judged by.
    """

    source: str
    recipe: Recipe
    space: dict[str, Space]
    out: Path
    storage: str
    name: str
    trials: int
    patience: int
    final: Recipe
    fakes: int = FAKES


class Event(NamedTuple):
    """What has just happened.

    Attributes:
        kind: 'begun', 'step' (of training), 'scored', 'complete', 'pruned', 'interrupted', 'lost' (another process
            has taken the trial over), 'waiting' (for the last trials of other processes) or, always the last, 'over'.
        outcome: the trial as it stands.
        step: the record, for 'step'.
        found: all trials of all processes, for 'over'.
    """

    kind: Literal["begun", "step", "scored", "complete", "pruned", "interrupted", "lost", "waiting", "over"]
    outcome: Outcome | None = None
    step: Record | None = None
    found: tuple[Outcome, ...] = ()


class PrunedError(Exception):
    """Why a trial ends early."""


def sweep(
    plan: Sweep, pictures: Pictures, score: Score, device: str = "auto", stop: Callable[[], bool] = never
) -> Iterator[Event]:
    """Take trials until the sweep has all of them. Any number of processes may do so at once.

    Args:
        plan: what to do.
        pictures: those of the plan's source and recipe.
        score: the figure to minimise, of a generator; see `by_kid`.
        device: 'auto', 'cpu', 'cuda', ...
        stop: asked after every step; True saves and gives the trial back.

    Yields:
        An `Event` for whatever happens. Breaking off saves the run and gives the trial back.

    Raises:
        HasamaError: Optuna is missing, the database cannot be opened, or the sweep was begun with other terms.
    """
    check_buildable(plan.recipe)
    place = pick_device(device)
    memory = open_memory(
        plan.storage, plan.name, plan.out, plan.space, plan.trials, plan.patience, plan.recipe.seed
    )  # fmt: skip
    agree(memory, terms(plan, pictures), middle(plan.recipe, plan.space))
    failure = load_optuna().exceptions.StorageInternalError
    try:
        while not stop() and not finished(memory):
            trial = take(memory)
            if trial is None:
                yield Event("waiting")
                time.sleep(POLL_SECONDS)
                continue
            yield from attempt(plan, memory, trial, score, place, stop)
            keep_results(plan, memory)
    except failure as error:
        raise HasamaError(
            f"The sweep's storage failed: {str(error).splitlines()[0]} The runs in {plan.out} are kept; the same "
            "command goes on."
        ) from error
    yield Event("over", found=tuple(keep_results(plan, memory)))


def terms(plan: Sweep, pictures: Pictures) -> dict[str, Any]:
    """What all processes of a sweep must have in common."""
    return {
        "recipe": plan.recipe.to_dict(),
        "set of pictures": pictures.report.digest,
        "choice of parameters": {name: list(map(_flat, space)) for name, space in plan.space.items()},
        JUDGED_BY: plan.fakes,
    }


def _flat(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# --- one trial ------------------------------------------------------------------------------------


def attempt(
    plan: Sweep, memory: Memory, trial: "Trial", score: Score, device: torch.device, stop: Callable[[], bool]
) -> Iterator[Event]:
    """Train one trial and compute its scores, and write down how it ended."""
    number = folder_number(trial)
    run = Run(plan.out / f"trial-{number:04d}")

    def stands(kind: Any) -> Event:
        return Event(kind, next((one for one in outcomes(memory) if one.number == number), None))

    yield stands("begun")
    threads = torch.get_num_threads()
    reason, figure = "", None
    with beating(memory.study, trial, plan.patience):
        try:
            figure = yield from climb(plan, memory, trial, run, score, device, stop, stands)
        except PrunedError as error:
            reason = str(error)
        except BaseException:
            give_back(memory, trial)
            raise
        finally:
            torch.set_num_threads(threads)  # a run that is taken up sets those that it was begun with
        if figure is None and not reason:
            give_back(memory, trial)
            yield stands("interrupted")
        elif conclude(memory, trial, figure, reason):
            yield stands("pruned" if reason else "complete")
        else:
            yield stands("lost")


def climb(
    plan: Sweep, memory: Memory, trial: "Trial", run: Run, score: Score, device: torch.device,
    stop: Callable[[], bool], stands: Any,
) -> Generator[Event, None, float | None]:  # fmt: skip
    """Train from rung to rung, with a score at each; the last score, or None if someone asked to stop.

    Raises:
        PrunedError: the trial is not worth going on with.
    """
    optuna = load_optuna()
    while run.is_held():  # by the process that had the trial before, and was silent, but lives
        if stop():
            return None
        yield Event("waiting")
        time.sleep(POLL_SECONDS)
    opening = begin_or_resume(plan, trial, run)
    known = {one.number: one for one in trial.study.get_trials(deepcopy=False)}[trial.number].intermediate_values
    figure: float | None = None
    for rung, share in enumerate(RUNGS, 1):
        yield from train_to(opening, share * opening.recipe.images, str(device), stop)
        if stop():
            return None
        check_not_stopped(run, share * opening.recipe.images)
        if rung in known:
            figure = known[rung]
            continue
        generator = generator_at_checkpoint(opening.run, opening.recipe, opening.pictures(), device)
        figure = score(generator) if has_numbers(generator) else math.inf
        if not np.isfinite(figure):
            raise PrunedError("its pictures are no longer numbers")
        try:
            trial.report(figure, rung)
        except optuna.exceptions.UpdateFinishedTrialError:
            return figure  # another process has taken it over, which `conclude` finds
        yield stands("scored")
        if share < 1 and worse_than_the_median(memory, rung, figure):
            raise PrunedError(f"worse than the median at {share * opening.recipe.kimg:g} kimg")
    return figure


def begin_or_resume(plan: Sweep, trial: "Trial", run: Run) -> Opening:
    """The trial's run: a new one, or where the process before left it.

    Raises:
        HasamaError: a run stands in its place that is of another sweep.
    """
    wanted = drawn(plan, trial)
    if run.exists() and run.recipe().kimg != wanted.kimg:
        raise HasamaError(f"{run.folder} is of another sweep, of {run.recipe().kimg:g} kimg: choose another --out.")
    opening = Opening.of(plan.source, wanted, run, ())
    for _ in opening.scan():
        pass
    return opening


def drawn(plan: Sweep, trial: "Trial") -> Recipe:
    """The recipe with the trial's parameters.

    Raises:
        PrunedError: they contradict it, or cannot be built.
    """
    try:
        recipe = vary(plan.recipe, trial.params)
        check_buildable(recipe)
    except HasamaError as error:
        raise PrunedError(f"it cannot be so: {error}") from error
    return recipe


def train_to(opening: Opening, goal: float, device: str, stop: Callable[[], bool]) -> Iterator[Event]:
    """Train up to so many images, and save. Every part is a session of its own, for a resumed run is the same run.

    Raises:
        PrunedError: the doctor found something serious, the run broke down, or it needs more memory than there is.
    """
    run = opening.run
    diagnose(run)
    if run.images_seen() >= goal:
        return
    try:
        with closing(opening.session(device, stop)) as records:
            for record in records:
                yield Event("step", step=record)
                if crossed(record, log_interval(opening.recipe)):
                    diagnose(run)
                if record.images_seen >= goal:
                    break
    except HasamaError as error:
        if str(error).startswith(BROKE_DOWN):
            raise PrunedError("broke down: a loss was no longer a number") from error
        raise
    except Exception as error:
        if short_of_memory(error) is None:
            raise
        raise PrunedError("it needs more memory than there is") from error
    diagnose(run)


def check_not_stopped(run: Run, goal: float) -> None:
    """End the trial if someone stopped it alone, by its run's folder: the sweep goes on with the others.

    Raises:
        PrunedError: someone did.
    """
    seen = run.images_seen()
    if seen < goal or (run.stop_asked() and seen < run.recipe().images):
        raise PrunedError(f"stopped by hand at {seen / 1000:g} kimg")


def diagnose(run: Run) -> None:
    """End the trial if the doctor has a serious finding.

    Raises:
        PrunedError: something serious was found.
    """
    for finding in getattr(run, "findings", list)():
        if finding["severity"] == "serious":
            raise PrunedError(f"the doctor: {finding['name']} at {finding['images_seen'] / 1000:g} kimg")


# --- what is left behind --------------------------------------------------------------------------


def ranked(found: Iterable[Outcome]) -> list[Outcome]:
    """The complete trials, the best first."""
    return sorted((one for one in found if one.state == "complete"), key=lambda one: one.figure or 0.0)


def best_recipe(plan: Sweep, best: Outcome) -> Recipe:
    """The recipe to train with: the trial's parameters, the full length."""
    return vary(plan.final, best.parameters)


def keep_results(plan: Sweep, memory: Memory) -> list[Outcome]:
    """Write sweep.png and best.json as things stand."""
    with memory.lock():  # two processes that end trials at once shall not leave the older state
        found = outcomes(memory)
        plot_sweep(found, plan.space, plan.recipe.kimg, RUNGS, plan.out / "sweep.png")
        if best := ranked(found)[:1]:
            write_json(plan.out / "best.json", best_recipe(plan, best[0]).to_dict())
    return found
