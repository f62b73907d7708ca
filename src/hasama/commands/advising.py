"""hasama suggest, hasama sweep: which recipe for these pictures on this machine?"""

import shlex
import time
from collections import deque
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.commands.flags import INTERRUPTED, asked_to_stop, given, use_threads
from hasama.commands.looking import name_of
from hasama.commands.training import AnyChanges, TrainingFlags, usual_place
from hasama.errors import HasamaError
from hasama.recipe import RECIPES, Recipe, recipe_named, train_command
from hasama.sweep.search import search_space

if TYPE_CHECKING:
    from hasama.dataset import Pictures, Reading
    from hasama.pace import Pace
    from hasama.suggestion import Reason
    from hasama.survey import Machine
    from hasama.sweep.study import Outcome
    from hasama.sweep.sweeping import Event, Sweep

SWEEP_KIMG = 30.0  # of a trial: enough to tell a rate that is far too high or low, and half an hour less than a run
TABLE_ROWS = 5


# --- suggest --------------------------------------------------------------------------------------


def suggest(
    source: str,
    /,
    *,
    hours: float = 1.0,
    size: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    json: bool = False,
) -> int:
    """Look at the pictures and the machine, time a few steps, and propose a recipe with its command.

    Parameters
    ----------
    source
        As for `hasama train`.
    hours
        How long the training may take.
    size
        64, or WIDTHxHEIGHT such as 64x96, if you know what you want.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    json
        Print the same as JSON, and nothing else.
    """
    if not 0.01 <= hours <= 10_000:
        raise HasamaError(f"--hours takes 0.01 to 10000; got {hours:g}.")

    from hasama.device import pick_device

    place = pick_device(device)
    use_threads(threads)

    from hasama.dataset import Form, Reading
    from hasama.show import say
    from hasama.sources import open_source
    from hasama.suggestion import choose_form
    from hasama.survey import read_headers, survey_machine

    machine = survey_machine(place)
    headers = read_headers(open_source(source))
    if headers is None:
        raise HasamaError(f"No file in {source} is a picture that can be read:  hasama images {shlex.quote(source)}")
    form, reasons = choose_form(headers, machine, size)
    pictures = _read(Reading(source, Form.of(form)), quiet=json)
    if not json:
        say(pictures.report.text())
    told = _propose(source, form, reasons, pictures, machine, hours)
    if json:
        import json as writer

        say(writer.dumps(told, indent=2))
    else:
        _show(told, hours)
    return 0


def _read(reading: "Reading", quiet: bool) -> "Pictures":
    from hasama.show import watch_scan

    if quiet:
        deque(reading.scan(), maxlen=0)
    else:
        watch_scan(reading.scan())
    return reading.pictures()


def _propose(
    source: str, form: Recipe, reasons: "list[Reason]", pictures: "Pictures", machine: "Machine", hours: float
) -> dict[str, Any]:
    """All that is told, as JSON can hold it."""
    import torch

    from hasama.pace import measure
    from hasama.suggestion import choose_rest, enough, smaller, warnings_about_machine, with_length
    from hasama.survey import look_at

    looks, device = look_at(pictures), torch.device(machine.device)
    suggestion = choose_rest(form, pictures, looks)
    pace = measure(suggestion.recipe, pictures, device)
    suggestion = with_length(suggestion, pace, hours)
    warnings = [*suggestion.warnings, *warnings_about_machine(pace, machine)]
    less, instead = suggestion.recipe, None
    while pace.hours(less.kimg) > hours and instead is None and (halved := smaller(less)):
        less, quicker = halved, measure(halved, pictures, device, seconds=1.0)
        if quicker.hours(less.kimg) <= hours or smaller(less) is None:
            taken = with_length(suggestion._replace(recipe=less, reasons=[]), quicker, hours).recipe
            instead = _cost(source, suggestion.preset, taken, quicker)
    if pace.hours(enough(suggestion.preset)) > hours:
        warnings.append(f"{hours:g} h are too few for {suggestion.recipe.size} pixels on this machine.")
    return {
        **_cost(source, suggestion.preset, suggestion.recipe, pace),
        "reasons": [{"choice": one.choice, "why": one.why} for one in (*reasons, *suggestion.reasons)],
        "warnings": warnings,
        "smaller": instead,
        "cache_bytes": int(pictures.stored.nbytes),
        "pictures": looks._asdict() | ({} if isfinite(looks.mirrored) else {"mirrored": None}),
        "machine": machine._asdict(),
    }


def _cost(source: str, preset: str, recipe: Recipe, pace: "Pace") -> dict[str, Any]:
    """A recipe, its command, and what it takes."""
    return {
        "command": train_command(source, recipe, preset, _free_place(source, preset)),
        "preset": preset,
        "recipe": recipe.to_dict(),
        "images_per_second": round(pace.images_per_second, 2),
        "kimg_per_hour": round(pace.kimg_per_hour, 2),
        "hours": round(pace.hours(recipe.kimg), 3),
        "memory_bytes": pace.memory,
        "timed_steps": pace.steps,
    }


def _free_place(source: str, preset: str) -> Path | None:
    """The run's folder, if another run has that which the command would choose."""
    from hasama.run import free_name

    usual = usual_place(source, preset)
    return None if not usual.exists() else free_name(usual)


def _show(told: dict[str, Any], hours: float) -> None:
    from hasama.show import say

    machine = told["machine"]
    arithmetic = "bf16" if machine["bf16"] else "fp32"
    free = _gigabytes(machine["free_memory"])
    say(f"\nOn {machine['name']} (threads: {machine['threads']}, {arithmetic}, {free} of memory free)")
    for one in told["reasons"]:
        say(f"  {one['choice']:22} {one['why']}")
    for warning in told["warnings"]:
        say(warning, "yellow")
    say(
        f"\nTo expect, after {told['timed_steps']} timed steps (samples and checkpoints take a few per cent more):\n"
        f"  speed   {told['images_per_second']:,.0f} images/s, {told['kimg_per_hour']:,.0f} kimg an hour\n"
        f"  time    {_hours(told['hours'])} for {told['recipe']['kimg']:g} kimg\n"
        f"  memory  {_gigabytes(told['memory_bytes'])} at the highest\n"
        f"  disk    {_gigabytes(told['cache_bytes'])} for the cache of pictures\n\n"
        f"Begin with:\n  {told['command']}"
    )
    if less := told["smaller"]:
        within = f"Within {hours:g} h rather" if less["hours"] <= hours else f"Quickest, if not within {hours:g} h,"
        say(
            f"\n{within} at {less['recipe']['size']} pixels ({_hours(less['hours'])} for "
            f"{less['recipe']['kimg']:g} kimg):\n  {less['command']}"
        )


def _gigabytes(count: int | None) -> str:
    if count is None:
        return "an unknown amount"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _hours(hours: float) -> str:
    from hasama.show import duration

    return f"{duration(3600 * hours)} (h:mm:ss)" if hours >= 1 else f"{60 * hours:.1f} minutes"


# --- sweep ----------------------------------------------------------------------------------------


def sweep(
    source: str,
    recipe: str = "r3gan",
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
    is worse than the median, if the doctor finds something serious, or if it breaks down. The trial of a process that
    died is taken up by another. Ctrl-C saves and stops. Needs the extra `sweep`.

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
        Where the processes meet: a file for SQLite, or the URL of a database such as postgresql://user@host/base.
        Default: sweep.db in the folder.
    name
        The sweep's name in the database. Default: the folder's.
    search
        What to vary, such as generator_lr,gamma. Default: all that decides most with this recipe.
    fakes
        Pictures that each figure (KID in VGG19 features) is of.
    patience
        Seconds of silence after which a process counts as dead.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads of this process. Several processes on one machine should share its cores.
    changes
        What differs from the preset in all trials. --kimg is the length of a trial [default: 30].
    """
    if not (1 <= trials <= 100_000 and 20 <= fakes <= 100_000 and 2 <= patience <= 86_400):
        raise HasamaError("--trials takes 1 to 100000, --fakes 20 to 100000, --patience 2 to 86400 seconds.")
    asked = given(changes)
    final = recipe_named(recipe).but(**asked | {"kimg": RECIPES[recipe].kimg})
    kimg = asked.get("kimg", SWEEP_KIMG)
    trial = final.but(kimg=kimg, sample_kimg=asked.get("sample_kimg", kimg / 4), autopilot=False)
    names = None if search is None else [word.strip().replace("-", "_") for word in search.split(",") if word.strip()]
    space = search_space(trial, names)
    folder = (out or Path("runs") / f"sweep-{name_of(source)}-{recipe}").expanduser()

    from hasama.sweep.storage import load_optuna, url_of

    load_optuna()
    use_threads(threads)

    from hasama.sweep.sweeping import Sweep

    url = url_of(storage or str(folder / "sweep.db"))
    plan = Sweep(source, trial, space, folder, url, name or folder.name, trials, patience, final)
    return _sweep(plan, recipe, fakes, device)


def _sweep(plan: "Sweep", preset: str, fakes: int, device: str) -> int:
    from hasama.dataset import Form, Reading
    from hasama.device import pick_device
    from hasama.files import check_place
    from hasama.show import say
    from hasama.sweep.judging import by_kid
    from hasama.sweep.sweeping import best_recipe, ranked, sweep

    pick_device(device)
    reading = Reading(plan.source, Form.of(plan.recipe))  # before a folder is made for what cannot be
    check_place(plan.out / "best.json")
    pictures = _read(reading, quiet=False)
    say(pictures.report.text())
    say(_told(plan, preset))
    with asked_to_stop() as stop:
        judge = by_kid(pictures, fakes, plan.out, device)
        events = deque(_watch(sweep(plan, pictures, judge, device, stop), plan), maxlen=1)
        interrupted = stop()
    found = events[0].found
    best = ranked(found)
    if best:
        _table(best[:TABLE_ROWS])
        place = _free_place(plan.source, preset)
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
    from hasama.show import LINE_SECONDS, say

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
    from hasama.sweep.sweeping import RUNGS

    if kind == "begun":
        again = ", taken up again" if one.figures else ""
        return f"trial {one.number}{again}: {_parameters(one)}"
    figure = "-" if one.figure is None else f"{1000 * one.figure:,.1f}"
    words = {
        "judged": f"KID x 1000 = {figure} at {RUNGS[max(one.figures, default=1) - 1] * kimg:g} kimg",
        "complete": f"complete, KID x 1000 = {figure}",
        "pruned": f"pruned: {one.reason}",
        "interrupted": "saved, to be taken up again",
        "lost": "another process has taken it over",
    }
    return f"  trial {one.number}: {words[kind]}"


def _parameters(one: "Outcome") -> str:
    values = {name: f"{v:.3g}" if isinstance(v, float) else str(v) for name, v in one.parameters.items()}
    return "  ".join(f"{name} {value}" for name, value in values.items())


def _table(best: "list[Outcome]") -> None:
    """The best trials, a row each."""
    from rich.table import Table
    from rich.text import Text

    from hasama.extractors import EXTRACTOR
    from hasama.show import WIDE, console, say

    say(f"\nThe best trials (KID x 1000 in {EXTRACTOR}):", "bold")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("trial", "KID x 1000", *best[0].parameters):
        table.add_column(heading, justify="right", overflow="fold")
    for one in best:
        values: list[Any] = [one.number, 1000 * (one.figure or 0.0), *one.parameters.values()]
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in values))
    console.print(table, width=max(console.width, WIDE))
