"""hasama train, hasama resume."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hasama.cli.arguments import (
    HOURS_LEAST,
    advice_for_a_card,
    advice_on_size,
    check_hours,
    lasting,
    tell_rates,
    tell_room,
    usual_run_place,
)
from hasama.cli.flags import (
    asked_to_stop,
    default_of,
    flags_of,
    given,
    telling_what_is_saved,
    use_threads,
)
from hasama.cli.quiet import is_loud
from hasama.errors import HasamaError
from hasama.fields import GANS_ONLY, GROUPS, follows_schedule, needs
from hasama.options import flag, size_text
from hasama.presets import DEFAULT, RECIPES, asked_recipe
from hasama.recipe import Recipe


def training_flags(preset: str = DEFAULT, **changes: Any) -> Any:
    """The flags of `Recipe`, each of them optional; the help shows a preset's values, so changed, as defaults."""
    told = f"What differs from the recipe. The defaults, here and below, are those of {preset}."
    return flags_of(RECIPES[preset].but(**changes), "TrainingFlags", GROUPS, _shown_default, told)


def _shown_default(field: str, recipe: Recipe) -> str:
    """What the help says of a field: its default, or beside which others it does something."""
    if recipe.architecture == "vae" and field in GANS_ONLY:
        return "not for a vae"
    if needed := needs(field, vars(recipe)):
        return f"only with {needed}"
    if field == "schedule_kimg" and not follows_schedule(vars(recipe)):
        return "only with --lr-final or --gamma-final below 1, or --beta2-initial"
    return f"default: {recipe.penalty_weight:g}" if field == "gamma" else default_of(field, recipe)


TrainingFlags = training_flags()
if TYPE_CHECKING:
    AnyChanges = Any  # the flags of `Recipe`, each of them optional
else:
    AnyChanges = Annotated[TrainingFlags, Parameter(name="*")]


def train(
    source: str,
    recipe: str = DEFAULT,
    /,
    *,
    out: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    tensorboard: bool = False,
    steps: int | None = None,
    hours: float | None = None,
    requeue: bool = False,
    changes: AnyChanges = TrainingFlags(),  # noqa: B008 (frozen)
) -> int:
    """Train on pictures; or, with the same command again, go on where the run stands.

    Ctrl-C saves and stops.

    Parameters
    ----------
    source
        A folder, a zip or tar, an .npz of uint8 images, a Parquet file or a folder of them, a Hugging Face dataset
        (save_to_disk), shards (a folder, 'shards/{000..012}.tar', http://HOST/shards.json), one picture (random crops
        of it), or a built-in name: digits, mnist, fashion-mnist, cifar10.
    recipe
        A preset: see `hasama recipes`.
    out
        The run's folder. Default: runs/SOURCE-RECIPE.
    device
        auto, cpu, cuda, cuda:1, mps, ...
    threads
        CPU threads; a resumed run repeats bit for bit only with the same number.
    tensorboard
        Also write TensorBoard logs into the run's folder.
    steps
        The length in steps instead of kimg.
    hours
        The length, instead of kimg, as the time that it may take: some seconds of training first tell how many kimg
        this machine makes of it, and learning rates fall within them.
    requeue
        For schedulers: a run that SIGTERM ends before it is done has exit code 75, so that it is given another turn;
        without, 0. (SIGUSR1 always gives 75.)
    changes
        What differs from the preset.
    """
    asked = given(changes)
    chosen = chosen_recipe(recipe, asked, steps, hours)

    from hasama.cli.progress import watch_download
    from hasama.pictures.sources.sources import download_first
    from hasama.runs.folder import Run
    from hasama.runs.session import Opening

    run = Run(out or usual_run_place(source, recipe))
    _check_machine(device, threads, tensorboard)
    with telling_what_is_saved(lambda: _standing(run)):
        watch_download(download_first(source))
        opening = Opening.of(source, chosen, run, asked)._replace(threads=threads)
        tell_rates(run, recipe, chosen)
        return _train(opening, device, tensorboard, hours, asked, requeue)


def chosen_recipe(recipe: str, asked: dict[str, Any], steps: int | None, hours: float | None) -> Recipe:
    """The recipe that is asked for.

    Args:
        recipe: the preset.
        asked: what differs from it; gets `kimg` from `steps`.
        steps: the length in steps, if it was given so.
        hours: or as a time.

    Raises:
        HasamaError: there is no such preset, a value is refused, or the length is given twice.
    """
    _check_length(asked, steps, hours)
    if steps is not None:
        asked["kimg"] = steps * asked_recipe(recipe, asked).batch / 1000
    return asked_recipe(recipe, asked)


def _check_length(asked: dict[str, Any], steps: int | None, hours: float | None) -> None:
    """The length is given once, and makes sense."""
    lengths = {"steps": steps, "hours": hours, "kimg": asked.get("kimg")}
    given_as = [name for name, value in lengths.items() if value is not None]
    if len(given_as) > 1:
        raise HasamaError(f"Give the length once: {' or '.join(map(flag, given_as))}, not both.")
    if steps is not None and steps < 1:
        raise HasamaError(f"--steps must be at least 1; got {steps}.")
    if hours is not None:
        check_hours(hours, HOURS_LEAST)


def _standing(run: Any) -> str:
    """What is left of a training that was stopped at once."""
    if not (seen := run.images_seen()):
        if early := run.small().images_seen():
            return f"{run.small().folder} stands at {early / 1000:g} kimg. To go on:  {run.how_to_go_on()}"
        return "Nothing was saved yet: the same command begins anew."
    return f"The run stands at {seen / 1000:g} kimg, where it was last saved. To go on:  {run.how_to_go_on()}"


def resume(
    run: Path,
    /,
    *,
    kimg: float | None = None,
    accumulate: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    tensorboard: bool = False,
    requeue: bool = False,
) -> int:
    """Go on with a run where it stands.

    Parameters
    ----------
    run
        The run's folder.
    kimg
        A new length in thousands of images.
    accumulate
        Take each batch in so many parts: less memory. What mixes a batch's pictures (BatchNorm) then sees a part.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    tensorboard
        Also write TensorBoard logs.
    requeue
        For schedulers: see `hasama train --help`.
    """
    from hasama.runs.folder import Run
    from hasama.runs.session import Opening

    place = Run(run)
    changes = {"kimg": kimg, "accumulate": accumulate}
    recipe = place.recipe().but(**{name: value for name, value in changes.items() if value is not None})
    if kimg is not None and recipe.images < place.images_seen():
        raise HasamaError(f"{run} already has {place.images_seen() / 1000:g} kimg: --kimg takes a larger length.")
    _check_machine(device, threads, tensorboard)
    with telling_what_is_saved(lambda: _standing(place)):
        opening = Opening.resumed(place, recipe)._replace(threads=threads)
        return _train(opening, device, tensorboard, requeue=requeue)


def _check_machine(device: str, threads: int | None, tensorboard: bool) -> None:
    """Before any work: can this machine do what is asked?"""
    from hasama.device import pick_device

    pick_device(device)
    if tensorboard:
        from hasama.runs.tensorboard import check_installed

        check_installed()
    use_threads(threads)


def _train(
    opening: Any,
    device: str,
    tensorboard: bool,
    hours: float | None = None,
    asked: Mapping[str, Any] | None = None,
    requeue: bool = False,
) -> int:
    from hasama.cli.progress import watch_scan
    from hasama.cli.terminal import say, told_of_graphs
    from hasama.cli.training_progress import watch_run, within_memory
    from hasama.distributed import agreed, is_first
    from hasama.runs.tensorboard import to_tensorboard

    run = opening.run
    tell_room(opening.reading)
    watch_scan(opening.scan())
    if hours is not None and agreed(is_first() and not run.exists()):  # a run that exists keeps its length
        chosen = lasting(hours, opening.recipe, opening.pictures(), device)
        if asked and "grow_kimg" in asked:
            chosen = chosen.but(grow_kimg=asked["grow_kimg"])
        opening = opening._replace(recipe=chosen)
    recipe = opening.recipe
    if notice := opening.notice():
        say(notice, "yellow")
    start = run.images_seen()
    say(_told(opening, start))
    if not start:
        report = opening.pictures().report
        for warning in report.warnings():
            say(warning, "yellow")
        for advice in (advice_for_a_card(recipe, device), advice_on_size(recipe, report.crops)):
            if advice:
                say(advice)
    with within_memory(run), asked_to_stop() as stopping, told_of_graphs():
        records = opening.session(device, stopping)
        if tensorboard and is_loud():
            records = to_tensorboard(records, run, recipe)
        for _ in watch_run(records, recipe, start, run):
            pass
        code = stopping.exit_code(requeue) if stopping() else 0
    return _farewell(run, recipe, code)


def _told(opening: Any, start: int) -> str:
    """What is about to happen."""
    from hasama.runs.standing import rising
    from hasama.runs.transfer import beginning

    run, recipe = opening.run, opening.recipe
    if run.checkpoint.exists() and not run.peek():  # the session says what is wrong with it
        return f"Opening {run.folder}."
    if start >= recipe.images:
        return f"{run.folder} already has its {recipe.kimg:g} kimg."
    logged = run.log()[-1]["images_seen"] if run.log() else 0
    lost = f" What came after, up to {logged / 1000:g} kimg, was not saved, and is done again." * (logged > start)
    if start or lost:
        told = f"Going on with {run.folder} at {start / 1000:g} of {recipe.kimg:g} kimg.{lost}"
        return told + rising(run, recipe) + _piloted(run, recipe)
    pictures, steps = opening.pictures(), math.ceil(recipe.images / recipe.batch)
    aided = f", aided by {recipe.vision_aid}," if recipe.vision_aid != "none" else ""
    size = f"{steps:,} steps of {recipe.batch}{_shared_out()}"
    told = f"Training {recipe.architecture}{aided} into {run.folder}: {size}."
    begins = not run.small().checkpoint.exists()  # then what it began with may be gone, and is no longer needed
    like = beginning(recipe, pictures.report.channels, len(pictures.classes)) if begins else ""
    return f"{pictures.report.text()}\n{told} Ctrl-C saves and stops.{like}{_stages(run.small(), recipe)}"


def _stages(small: Any, recipe: Recipe) -> str:
    """What comes before the game: the enlarger's lessons; a stage of half the size, and where it stands."""
    size = size_text(*recipe.game_resolution)
    lessons = f"\nFirst an enlarger learns; the game is played at a size of {size}." if recipe.enlarge > 1 else ""
    stands = f" It stands at {early / 1000:g}." if (early := small.images_seen()) else ""
    half = f"\nFirst {recipe.small_kimg:g} kimg of pictures of half the size, into {small.folder}; then full size, at"
    return lessons + (f"{half} gentle learning rates.{stands}" if recipe.small_kimg else "")


def _shared_out() -> str:
    """How many processes train together, if they are several."""
    from hasama.distributed import team

    return f", shared out among {team().world} processes" if team().world > 1 else ""


def _piloted(run: Any, recipe: Recipe) -> str:
    """What stands of the autopilot."""
    if not recipe.autopilot:
        return ""
    from hasama.runs.autopilot import ATTEMPTS, interventions

    done = interventions(run)
    flags = f", with {' '.join(one.flags for one in done)}" if done else ""
    return f"\nThe autopilot is on: {len(done)} of {ATTEMPTS} attempts are used up{flags}."


def _best(run: Any) -> str:
    """Where the best generator is, if it is clearly better than the last."""
    from hasama.runs.standing import best_is_better

    return f"  better one   {run.best}: {told}\n" if (told := best_is_better(run)) else ""


def _farewell(run: Any, recipe: Recipe, code: int) -> int:
    from hasama.cli.terminal import say

    seen = run.images_seen()
    if seen < recipe.images:
        stands = f"{seen / 1000:g} of {recipe.kimg:g} kimg"
        if recipe.small_kimg and not run.checkpoint.exists():
            stands = f"{run.small().images_seen() / 1000:g} of {recipe.small_kimg:g} kimg of half the size"
        say(f"\nSaved at {stands}. To go on:\n  {run.how_to_go_on()}")
        return code
    plot = f"  loss plot    {run.loss_plot}\n" if run.loss_plot.exists() else ""  # of two lines in the log at least
    say(
        f"\nDone: {seen / 1000:g} kimg.\n"
        f"  sample grid  {run.sample_file(seen)}\n"
        f"{plot}"
        f"  model        {run.generator}\n"
        f"{_best(run)}"
        f"More pictures:  hasama sample {shlex.quote(str(run.folder))}\n"
        f"Train longer:   {run.how_to_go_on()} --kimg {2 * recipe.kimg:g}"
    )
    return 0
