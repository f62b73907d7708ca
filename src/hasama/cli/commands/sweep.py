"""hasama sweep: search for a better recipe."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import free_run_place, name_of, read_pictures
from hasama.cli.commands.train import AnyChanges, TrainingFlags
from hasama.cli.flags import INTERRUPTED, asked_to_stop, given, telling_what_is_saved, use_threads
from hasama.errors import HasamaError
from hasama.names import SPARE, at_home, fitting_name
from hasama.presets import DEFAULT, asked_recipe, recipe_named, train_command
from hasama.recipe import Recipe
from hasama.tuning.search_space import Space, search_space

if TYPE_CHECKING:
    from hasama.tuning.study import Outcome
    from hasama.tuning.sweep import Event, Sweep

SWEEP_KIMG = 30.0  # of a trial: enough to tell a rate that is far too high or low, and half an hour less than a run
TABLE_ROWS = 5


def sweep(
    source: str,
    recipe: str = DEFAULT,
    /,
    *,
    trials: int = 20,
    out: Path | None = None,
    storage: str | None = None,
    name: str | None = None,
    search: str | None = None,
    fakes: int = 500,
    patience: int = 120,
    device: str = "auto",
    threads: int | None = None,
    changes: AnyChanges = TrainingFlags(),  # noqa: B008 (frozen)
) -> int:
    """Search for better rates, penalty, batch and so on with many short runs; the same command again goes on.

    Start it in as many processes as you like, with the same command: they share the trials. A trial ends early if it
    is worse than the median of the complete ones had been, if the doctor finds something serious, or if it breaks
    down. The trial of a process that died is taken up by another. Ctrl-C saves and stops; `hasama stop` of a trial's
    folder ends that trial alone. Needs the extra `sweep`.

    Parameters
    ----------
    source
        As for `hasama train`.
    recipe
        The preset to begin with, which is also the first trial.
    trials
        How many there are to be, in all processes together.
    out
        The folder for the runs, sweep.png and best.json. Default: runs/sweep-SOURCE-RECIPE.
    storage
        The database that the processes share: a file for SQLite; a file that ends in .journal if machines share the
        folder (SQLite must not lie on NFS); or the URL of a database such as postgresql://user@host/base. Default:
        sweep.db in the folder.
    name
        The sweep's name in the database. Default: the folder's.
    search
        What to vary, such as generator_lr,gamma. Default: the fields that matter most with this recipe.
    fakes
        Generated pictures for each score (KID in VGG19 features).
    patience
        Seconds of silence after which a process counts as dead.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads of this process. Several processes on one machine should share its cores.
    changes
        What differs from the preset in all trials. --kimg is the length of a trial [default: 30].
    """
    check_numbers(trials, fakes, patience)
    final, trial, space = planned(recipe, given(changes), search)
    folder = at_home(out or usual_sweep_place(source, recipe))

    from hasama.tuning.storage import load_optuna, url_of

    load_optuna()
    use_threads(threads)

    from hasama.tuning.sweep import Sweep

    url = url_of(storage or str(folder / "sweep.db"))
    plan = Sweep(source, trial, space, folder, url, name or folder.name, trials, patience, final, fakes)
    kept = f"Trials that are done are kept in {folder}; the same command goes on."
    with telling_what_is_saved(lambda: kept if any(folder.glob("trial-*")) else "Nothing was saved."):
        return _sweep(plan, recipe, device)


def check_numbers(trials: int, fakes: int, patience: float) -> None:
    """Before any work.

    Raises:
        HasamaError: one is out of range.
    """
    if not (1 <= trials <= 100_000 and 20 <= fakes <= 100_000 and 2 <= patience <= 86_400):
        raise HasamaError("--trials takes 1 to 100000, --fakes 20 to 100000, --patience 2 to 86400 seconds.")


def planned(recipe: str, asked: Mapping[str, Any], search: str | None) -> tuple[Recipe, Recipe, dict[str, Space]]:
    """What a sweep is about: the recipe that is improved, that of a trial, and what varies.

    Args:
        recipe: the preset.
        asked: what differs from it.
        search: names of fields with commas between; None: those that matter most.

    Raises:
        HasamaError: there is no such preset or field, or a value is refused.
    """
    final = asked_recipe(recipe, {**asked, "kimg": recipe_named(recipe).kimg})
    kimg = asked.get("kimg", SWEEP_KIMG)
    trial = final.lasting(kimg).but(sample_kimg=asked.get("sample_kimg", kimg / 4), autopilot=False, small_kimg=0.0)
    trial = trial if "grow_kimg" not in asked else trial.but(grow_kimg=asked["grow_kimg"])
    names = None if search is None else [word.strip().replace("-", "_") for word in search.split(",") if word.strip()]
    return final, trial, search_space(trial, names)


def usual_sweep_place(source: str, recipe: str) -> Path:
    """Where a sweep is put that is given no other place."""
    return Path("runs") / fitting_name(f"sweep-{name_of(source)}", f"-{recipe}", SPARE)


def _sweep(plan: "Sweep", preset: str, device: str) -> int:
    from hasama.cli.progress import watch_download
    from hasama.cli.terminal import say
    from hasama.device import pick_device
    from hasama.files import check_place
    from hasama.pictures.cache import Reading
    from hasama.pictures.decoding import Form
    from hasama.pictures.sources.sources import download_first
    from hasama.runs.standing import check_buildable
    from hasama.tuning.study import open_memory
    from hasama.tuning.sweep import best_recipe, ranked, sweep
    from hasama.tuning.sweep_score import by_kid

    pick_device(device)
    watch_download(download_first(plan.source))
    reading = Reading(plan.source, Form.of(plan.recipe))  # before a folder is made for what cannot be
    check_place(plan.out / "best.json")
    check_buildable(plan.recipe)
    open_memory(plan.storage, plan.name, plan.out, plan.space, plan.trials, plan.patience, plan.recipe.seed)
    pictures = read_pictures(reading, quiet=False)
    say(pictures.report.text())
    say(_told(plan, preset))
    with asked_to_stop() as stop:
        score = by_kid(pictures, plan.fakes, plan.out, device)
        events = deque(_watch(sweep(plan, pictures, score, device, stop), plan), maxlen=1)
        interrupted = stop()
    found = events[0].found
    best = ranked(found)
    if best:
        _table(best[:TABLE_ROWS])
        place = free_run_place(plan.source, preset)
        say(
            f"  plot         {plan.out / 'sweep.png'}\n"
            f"  best recipe  {plan.out / 'best.json'}\n"
            f"Train with it:\n  {train_command(plan.source, best_recipe(plan, best[0]), preset, place)}"
        )
    if interrupted:
        say(f"\nStopped after {len(_ended(found))} of {plan.trials} trials. The same command goes on.")
        return INTERRUPTED
    if not best:
        raise HasamaError(
            f"All {len(_ended(found))} trials were pruned: see the reasons in {plan.out / 'sweep.png'}. Begin a new "
            "sweep from a steadier recipe (r3gan, stable) or with more pictures."
        )
    return 0


def _told(plan: "Sweep", preset: str) -> str:
    """What is about to happen."""
    return (
        f"Sweeping {preset} in {plan.out}: {plan.trials} trials of {plan.recipe.kimg:g} kimg, varying "
        f"{', '.join(plan.space)}. Ctrl-C saves and stops."
    )


def _ended(found: "Iterable[Outcome]") -> "list[Outcome]":
    return [one for one in found if one.state in ("complete", "pruned")]


def _watch(events: "Iterator[Event]", plan: "Sweep") -> "Iterator[Event]":
    """Pass the events on, showing those that matter; of a training now and then a line."""
    from hasama.cli.terminal import LINE_SECONDS, say

    told, number, waiting = time.monotonic(), 0, False
    for event in events:
        if event.kind == "step" and event.step is not None:
            if time.monotonic() - told > LINE_SECONDS:
                say(f"  trial {number}: {event.step.images_seen / 1000:.1f} kimg")
                told = time.monotonic()
        elif event.kind == "waiting":
            if not waiting:
                say("Waiting for other processes.")
            waiting = True
        elif event.outcome is not None:
            number, waiting = event.outcome.number, False
            say(_line(event.kind, event.outcome, plan.recipe.kimg))
        yield event


def _line(kind: str, one: "Outcome", kimg: float) -> str:
    """An event in words; `kimg` is a trial's length."""
    from hasama.tuning.sweep import RUNGS

    if kind == "begun":
        again = ", taken up again" if one.figures else ""
        return f"trial {one.number}{again}: {_parameters(one)}"
    figure = _figure(one)
    words = {
        "scored": f"KID x 1000 = {figure} at {RUNGS[max(one.figures, default=1) - 1] * kimg:g} kimg",
        "complete": f"complete, KID x 1000 = {figure}",
        "pruned": f"pruned: {one.reason}",
        "interrupted": "saved, to be taken up again",
        "lost": "another process has taken it over",
    }
    return f"  trial {one.number}: {words[kind]}"


def _figure(one: "Outcome") -> str:
    """KID x 1000 as it is told while a sweep goes and in its table."""
    return "-" if one.figure is None else f"{1000 * one.figure:,.1f}"


def _parameters(one: "Outcome") -> str:
    values = {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in one.parameters.items()}
    return "  ".join(f"{name} {value}" for name, value in values.items())


def _table(best: "list[Outcome]") -> None:
    """The best trials, a row each."""
    from rich.table import Table
    from rich.text import Text

    from hasama.cli.terminal import WIDE, console, say
    from hasama.perception.extractors import EXTRACTOR

    say(f"\nThe best trials (KID x 1000 in {EXTRACTOR}):", "bold")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("trial", "KID x 1000", *best[0].parameters):
        table.add_column(heading, justify="right", overflow="fold")
    for one in best:
        values: list[Any] = [one.number, _figure(one), *one.parameters.values()]
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in values))
    console.print(table, width=max(console.width, WIDE))
