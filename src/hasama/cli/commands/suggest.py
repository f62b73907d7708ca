"""hasama suggest: which recipe for these pictures on this machine?"""

import shlex
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

from hasama.cli.arguments import check_hours, free_run_place, read_pictures
from hasama.cli.flags import use_threads
from hasama.errors import HasamaError
from hasama.presets import train_command
from hasama.recipe import Recipe

GAMMA_KIMG = 10.0
"""Length of a trial of a gamma, where nobody says it."""

if TYPE_CHECKING:
    import torch

    from hasama.pictures.dataset import Pictures
    from hasama.runs.pace import Pace
    from hasama.tuning.suggest import Reason, Suggestion
    from hasama.tuning.survey import Machine


def suggest(
    source: str,
    /,
    *,
    hours: float = 1.0,
    size: str | None = None,
    gammas: str | None = None,
    gamma_kimg: float | None = None,
    only: str = "",
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
    gammas
        Weights of the gradient penalty to try in short trainings, such as 0.05,0.5,5: the best one depends on the
        pictures. Takes --gamma-kimg for each.
    gamma_kimg
        Length of each trial of --gammas. Default: 10.
    only
        Only these classes: their names, with commas between.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads.
    json
        Print the same as JSON, and nothing else.
    """
    check_hours(hours, least=0.01)
    tried = _numbers(gammas) if gammas is not None else ()
    if gamma_kimg is not None and gammas is None:
        raise HasamaError("--gamma-kimg is the length of the trials of --gammas: name weights to try, too.")
    gamma_kimg = GAMMA_KIMG if gamma_kimg is None else gamma_kimg
    if not 0.1 <= gamma_kimg <= 10_000:
        raise HasamaError(f"--gamma-kimg takes 0.1 to 10000; got {gamma_kimg:g}.")

    from hasama.device import pick_device

    place = pick_device(device)
    use_threads(threads)

    from hasama.cli.progress import watch_download
    from hasama.cli.terminal import say
    from hasama.pictures.cache import Reading
    from hasama.pictures.decoding import Form
    from hasama.pictures.sources.chosen import only_classes, tidy
    from hasama.pictures.sources.sources import download_first, open_source
    from hasama.tuning.suggest import choose_form
    from hasama.tuning.survey import read_headers, survey_machine

    machine = survey_machine(place)
    watch_download(download_first(source))
    headers = read_headers(only_classes(open_source(source), only))
    if headers is None:
        raise HasamaError(f"No file in {source} is a picture that can be read:  hasama images {shlex.quote(source)}")
    form, reasons = choose_form(headers, machine, size)
    form = form.but(only=tidy(only))
    pictures = read_pictures(Reading(source, Form.of(form)), quiet=json)
    if not json:
        say(pictures.report.text())
    told = _propose(source, form, reasons, pictures, machine, hours, (tried, gamma_kimg, json))
    for proposed in filter(None, (told, told["smaller"])):
        proposed["command"] += _as_timed(device, threads)
    if json:
        import json as writer

        say(writer.dumps(told, indent=2))
    else:
        _show(told, hours)
    return 0


def _propose(
    source: str,
    form: Recipe,
    reasons: "list[Reason]",
    pictures: "Pictures",
    machine: "Machine",
    hours: float,
    trials: tuple[tuple[float, ...], float, bool],
) -> dict[str, Any]:
    """The whole suggestion, as JSON can hold it."""
    import torch

    from hasama.generators.choosing import EXTRACTOR
    from hasama.perception.extractors import extractor_named
    from hasama.runs.enlarging import tuning_seconds
    from hasama.runs.pace import fitting, measure, widest
    from hasama.tuning.gammas import check_gammas
    from hasama.tuning.kinship import begun_anew, with_base
    from hasama.tuning.suggest import (
        choose_rest,
        enough,
        has_room,
        hours_of,
        smaller,
        wider,
        with_batch,
        with_length,
        with_stage,
        with_width,
    )
    from hasama.tuning.survey import look_at, warnings_about_machine

    looks, device = look_at(pictures), torch.device(machine.device)
    extractor = extractor_named(EXTRACTOR, device)
    plain = choose_rest(form, pictures, looks, machine)
    if trials[0]:
        check_gammas(trials[0], plain.recipe)
    suggestion = with_stage(with_base(plain, pictures, extractor), pictures.report)
    fits, pace = fitting(suggestion.recipe, lambda recipe: measure(recipe, pictures, device))
    if fits.batch == suggestion.recipe.batch:
        room = partial(has_room, machine=machine, hours=hours)
        seen = partial(measure, pictures=pictures, device=device, seconds=1.0)
        wide, pace = widest(fits, pace, wider(suggestion, machine), seen, room)
        suggestion = with_width(suggestion, wide)
    suggestion = with_batch(suggestion, fits.batch)
    if trials[0]:  # from nothing, by batches that fit
        suggestion = _with_gamma(suggestion, plain.recipe.but(batch=fits.batch), pictures, device, *trials)
    if suggestion.recipe.enlarge > 1:
        suggestion = _with_floor(suggestion, pictures, device, trials[2])
    tuning = tuning_seconds(with_length(suggestion, pace, hours).recipe, pictures, device)
    suggestion = with_length(suggestion, pace, hours, tuning / 3600)
    warnings = [*suggestion.warnings, *warnings_about_machine(pace, machine)]
    less, instead = suggestion.recipe, None
    while hours_of(less, pace) > hours and instead is None and (halved := smaller(less)):
        less = begun_anew(suggestion._replace(recipe=halved), plain.recipe, pictures, extractor).recipe
        quicker = measure(less, pictures, device, seconds=1.0)
        if hours_of(less, quicker) <= hours or smaller(less) is None:
            beside = tuning_seconds(less, pictures, device) / 3600
            taken = with_length(suggestion._replace(recipe=less, reasons=[]), quicker, hours, beside).recipe
            if hours_of(taken, quicker) < hours_of(suggestion.recipe, pace):
                instead = _cost(source, suggestion.preset, taken, quicker, tuning_seconds(taken, pictures, device))
    if pace.hours(enough(suggestion.preset)) > hours:
        warnings.append(f"{hours:g} h are too few for {suggestion.recipe.size} pixels on this machine.")
    return {
        **_cost(source, suggestion.preset, suggestion.recipe, pace, tuning),
        "reasons": [{"choice": one.choice, "why": one.why} for one in (*reasons, *suggestion.reasons)],
        "warnings": warnings,
        "smaller": instead,
        "cache_bytes": int(pictures.stored.nbytes),
        "pictures": looks._asdict() | ({} if isfinite(looks.mirrored) else {"mirrored": None}),
        "machine": machine._asdict(),
    }


def _as_timed(device: str, threads: int | None) -> str:
    """The flags with which a command is as quick as it was measured."""
    on = "" if device == "auto" else f" --device {shlex.quote(device)}"
    return on if threads is None else f"{on} --threads {threads}"


def _numbers(text: str) -> tuple[float, ...]:
    """'0.05,0.5,5' -> (0.05, 0.5, 5.0)"""
    try:
        numbers = tuple(float(word) for word in text.replace(" ", "").split(","))
    except ValueError:
        numbers = ()
    if len(set(numbers)) < 2 or not all(isfinite(number) and number > 0 for number in numbers):
        raise HasamaError(f"--gammas takes at least two different numbers above 0, such as 0.05,0.5,5; got {text!r}.")
    return numbers


def _with_gamma(
    suggestion: "Suggestion",
    tried: Recipe,
    pictures: "Pictures",
    device: "torch.device",
    gammas: tuple[float, ...],
    kimg: float,
    quiet: bool,
) -> "Suggestion":
    """The suggestion with the weight of the penalty that was best in short trainings."""
    from hasama.cli.progress import watch_stages
    from hasama.tuning.gammas import best_gamma, try_gammas
    from hasama.tuning.suggest import Reason

    records = try_gammas(tried, pictures, gammas, kimg, device)
    watched = records if quiet else watch_stages(records)
    found = {one.gamma: one.quality for one in watched if one.quality is not None}
    gamma, why = best_gamma(found, tried.penalty_weight)
    recipe = suggestion.recipe.but(gamma=gamma)
    return suggestion._replace(recipe=recipe, reasons=[*suggestion.reasons, Reason(f"gamma {gamma:g}", why)])


def _with_floor(suggestion: "Suggestion", pictures: "Pictures", device: "torch.device", quiet: bool) -> "Suggestion":
    """The suggestion with what enlarging loses."""
    from hasama.cli.progress import watch_stages
    from hasama.perception.extractors import extractor_named
    from hasama.tuning.floor import floor_of
    from hasama.tuning.suggest import Reason

    recipe = suggestion.recipe
    records = floor_of(pictures, recipe.enlarge, extractor_named(recipe.quality_extractor, device))
    last = next((one for one in (records if quiet else watch_stages(records)) if one.kid is not None), None)
    if last is None or last.kid is None:
        return suggestion
    kid, low, high = (max(0.0, figure) for figure in last.kid)
    why = (
        f"KID of {last.enlarged} real pictures made {recipe.enlarge} times smaller and enlarged again "
        f"(95 %: {low:.3g} to {high:.3g}, {recipe.quality_extractor}): "
        + ("no training gets below." if low else "of so few pictures it cannot be told from nothing.")
    )
    return suggestion._replace(reasons=[*suggestion.reasons, Reason(f"floor {kid:.3g}", why)])


def _cost(source: str, preset: str, recipe: Recipe, pace: "Pace", tuning: float) -> dict[str, Any]:
    """A recipe, its command, and its cost in time and memory; `tuning`: the seconds in which its enlarger learns."""
    from hasama.tuning.suggest import hours_of, length_of

    return {
        "command": train_command(source, recipe, preset, free_run_place(source, preset)),
        "preset": preset,
        "recipe": recipe.to_dict(),
        "images_per_second": round(pace.images_per_second, 2),
        "kimg_per_hour": round(pace.kimg_per_hour, 2),
        "length": length_of(recipe),
        "hours": round(hours_of(recipe, pace), 3),
        "enlarger_hours": round(tuning / 3600, 3),
        "memory_bytes": pace.memory,
        "timed_steps": pace.steps,
    }


def _show(told: dict[str, Any], hours: float) -> None:
    from hasama.cli.terminal import say

    machine = told["machine"]
    arithmetic = "bf16" if machine["bf16"] else "fp32"
    free = _gigabytes(machine["free_memory"])
    say(f"\nOn {machine['name']} (threads: {machine['threads']}, {arithmetic}, {free} of memory free)")
    for one in told["reasons"]:
        say(f"  {one['choice']:22} {one['why']}")
    for warning in told["warnings"]:
        say(warning, "yellow")
    longer = f"Longer than {hours:g} h, and worth it only with that time. " if told["hours"] > hours else ""
    say(
        f"\nTo expect, after {told['timed_steps']} timed steps (samples and checkpoints take a few per cent more):\n"
        f"  speed   {told['images_per_second']:,.0f} images/s, {told['kimg_per_hour']:,.0f} kimg an hour\n"
        f"  time    {_hours(told['hours'])} for {told['length']}{_before(told)}\n"
        f"  memory  {_gigabytes(told['memory_bytes'])} at the highest\n"
        f"  disk    {_gigabytes(told['cache_bytes'])} for the cache of pictures\n\n"
        f"{longer}Begin with:\n  {told['command']}"
    )
    if less := told["smaller"]:
        within = f"Within {hours:g} h rather" if less["hours"] <= hours else f"Quickest, if not within {hours:g} h,"
        say(
            f"\n{within} at {less['recipe']['size']} pixels ({_hours(less['hours'])} for "
            f"{less['length']}{_before(less)}):\n  {less['command']}"
        )


def _before(told: dict[str, Any]) -> str:
    """What comes before the game."""
    hours = told["enlarger_hours"]
    return f", after at most {_hours(hours)} of fine-tuning the enlarger" if hours else ""


def _gigabytes(count: int | None) -> str:
    if count is None:
        return "an unknown amount"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _hours(hours: float) -> str:
    from hasama.cli.terminal import duration

    return f"{duration(3600 * hours)} (h:mm:ss)" if hours >= 1 else f"{60 * hours:.1f} minutes"
