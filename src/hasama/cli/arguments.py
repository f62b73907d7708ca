"""Arguments that several commands share: seeds, a truncation, a generator, a place for a picture, a length."""

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.errors import HasamaError
from hasama.names import SPARE, at_home, check_name, fitting_name, near_name, tensors_beside
from hasama.presets import recipe_named, usual_rates_of
from hasama.recipe import Recipe

if TYPE_CHECKING:
    from hasama.pictures.cache import Reading
    from hasama.pictures.dataset import Pictures
    from hasama.runs.folder import Run


MOST_NUMBERS = 100_000

WORTH_TELLING = 4e9
"""Bytes in the cache of which a person is told beforehand."""


def numbers_of(text: str, flag_name: str, most: int = 2**63 - 1) -> list[int]:
    """'1,5-7' -> [1, 5, 6, 7], from 0 to `most`, none twice.

    Raises:
        HasamaError: that is no such list.
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and len(first + last) < 40):
            raise HasamaError(f"{flag_name} takes numbers such as 0-35 or 1,5,9; got {text!r}.")
        low, high = int(first), int(last)
        if not low <= high <= most or high - low + len(numbers) >= MOST_NUMBERS:
            raise HasamaError(
                f"{flag_name} takes at most {MOST_NUMBERS:,} numbers from 0 to {most}, the lower first; got {text!r}."
            )
        numbers |= dict.fromkeys(range(low, high + 1))
    return list(numbers)


def check_truncation(truncation: float) -> None:
    """Refuse what is out of range.

    Raises:
        HasamaError: it is.
    """
    if not 0 <= truncation <= 2:
        raise HasamaError(f"--truncation takes 0 to 2; got {truncation:g}.")


def check_hours(hours: float, least: float) -> None:
    """How long a training may take.

    Raises:
        HasamaError: out of range.
    """
    if not least <= hours <= 10_000:
        raise HasamaError(f"--hours takes {least:g} to 10000; got {hours:g}.")


def generator_place(run: Path) -> Path:
    """Where the generator is that is called so: a run folder, a file or a base.

    Raises:
        HasamaError: nothing is called so.
    """
    from hasama.runs.bases import base_names, place_named

    place = place_named(run)
    if not place.exists():
        there = f"Bases, which are always there: {', '.join(base_names())}."
        raise HasamaError(f"There is no generator at {run}.{near_name(run)} {there}")
    return place


def open_generator(run: Path, device: str) -> Any:
    """The generator of a run folder, a file or a base: see `generator_file`.

    Raises:
        HasamaError: there is none, it is damaged, or there is no such device.
    """
    from hasama.device import pick_device
    from hasama.generators.generator_file import load_generator

    return load_generator(generator_file(run), pick_device(device))


def generator_file(run: Path) -> Path:
    """The file of that generator; of a run the best one's, if it is clearly better than the last, which is said.

    Raises:
        HasamaError: there is none.
    """
    from hasama.cli.terminal import say
    from hasama.runs.folder import Run
    from hasama.runs.standing import chosen_generator, is_unreadable

    run = generator_place(run)
    if not run.is_dir():
        return run
    folder = Run(run)
    file, told = chosen_generator(folder)
    if told:
        say(f"Taking the best generator of this run, {told}. For the last one give {folder.generator}.")
    elif is_unreadable(folder.best):
        say(f"The best generator of this run cannot be read ({folder.best}): taking the last.", "yellow")
    return file


def check_apart(pictures: Iterable[Path], targets: Iterable[Path], doing: str) -> None:
    """Before any work: no picture is replaced by what is made of it, or of another.

    Args:
        pictures: what is read.
        targets: what is to be written.
        doing: what the pictures are for, such as 'enlarge'.

    Raises:
        HasamaError: one of them is both.
    """
    taken = {os.path.realpath(picture) for picture in pictures}  # `resolve` raises where links go round
    for target in targets:
        if os.path.realpath(target) in taken:
            raise HasamaError(f"{target} is one of the pictures to {doing}: choose another --out.")


def beside(run: Path, name: str) -> Path:
    """A file in a run's folder, or beside a generator's file, or here for a base; a name that is too long is cut."""
    from hasama.runs.bases import is_base

    if is_base(run):
        return Path(f"{run}-{name}")
    file = Path(name)
    return (run if run.is_dir() else run.parent) / fitting_name(file.stem, file.suffix, SPARE)


def name_of(source: str) -> str:
    """What to call the things made from a source."""
    try:
        path = at_home(source).resolve()
        path = path.parent if path.name == "shards.json" else path  # whose folder has the better name
        return path.stem.removesuffix(".tar") or "pictures"
    except (OSError, RuntimeError):
        return "pictures"  # the source will be refused


def picture_place(out: Path | None, run: Path, name: str, folder: bool = False) -> Path:
    """Where a picture goes, checked before any work.

    Raises:
        HasamaError: it is not a picture's name, or nothing can be written there.
    """
    from hasama.files import check_place
    from hasama.pictures.images import picture_format

    out = out or beside(run, name)
    check_name(out)
    if folder and is_folders_name(out):
        check_out_folder(out)
        return out
    picture_format(out)
    generator_place(run)
    check_place(out)
    return out


def tensors_place(picture: Path, holds: str) -> Path:
    """The file of tensors beside a picture, checked before any work: it replaces only what is one itself.

    Args:
        picture: what is written beside it; `cats.png` for `cats.safetensors`.
        holds: the tensor that such a file has.

    Raises:
        HasamaError: a generator stands there, or anything else.
    """
    from safetensors import SafetensorError, safe_open

    from hasama.files import plainly_named

    file = tensors_beside(picture)
    try:
        with plainly_named(file) as plain, safe_open(plain, "pt") as opened:
            same = holds in opened.keys()  # noqa: SIM118 (it is no dict)
    except FileNotFoundError:
        return file
    except (OSError, SafetensorError):
        same = False
    if not same:
        raise HasamaError(f"{file} would be replaced, and is something else: give {picture} another name by --out.")
    return file


def is_folders_name(out: Path) -> bool:
    """Whether what is written to this name is a folder: it has no ending, or is one already, not called a picture."""
    if not (out.suffix and out.is_dir()):
        return not out.suffix
    from hasama.pictures.images import has_picture_ending

    return not has_picture_ending(out)


def check_out_folder(out: Path) -> None:
    """Before any work.

    Raises:
        HasamaError: something that is no folder stands there.
    """
    if out.exists() and not out.is_dir():
        raise HasamaError(f"Cannot write into {out}: it is no folder. Choose another --out.")


def usual_run_place(source: str, recipe: str) -> Path:
    """Where a run is put that is given no other place."""
    return Path("runs") / fitting_name(name_of(source), f"-{recipe}", SPARE)


def free_run_place(source: str, preset: str) -> Path | None:
    """Another folder for the run, if the one that the command would choose is taken; else None."""
    from hasama.runs.folder import free_name

    usual = usual_run_place(source, preset)
    return None if not usual.exists() else free_name(usual)


def read_pictures(reading: "Reading", quiet: bool) -> "Pictures":
    """Read a source into the cache, showing how far it is unless it should be quiet."""
    from hasama.cli.progress import watch_scan

    if quiet:
        deque(reading.scan(), maxlen=0)
    else:
        tell_room(reading)
        watch_scan(reading.scan())
    return reading.pictures()


def tell_room(reading: "Reading | None") -> None:
    """Say what the cache will grow by, where people would want to know it before."""
    from hasama.cli.terminal import say

    room = 0 if reading is None else reading.room
    if room >= WORTH_TELLING:
        say(
            f"Decoded at this size the pictures take {room / 1e9:.3g} GB or more in the cache "
            "(HASAMA_CACHE names its place)."
        )


# --- a training on this machine -------------------------------------------------------------------

HOURS_LEAST = 0.001


def tell_rates(run: "Run", preset: str, chosen: Recipe) -> None:
    """That a new run's networks are wider than the preset's, and learn by smaller rates."""
    from hasama.cli.terminal import say

    usual = recipe_named(preset)
    rates, wider = usual_rates_of(usual, chosen), chosen.width / usual.width
    own = {name: getattr(chosen, name) for name in rates}
    if wider > 1 and own == rates != usual_rates_of(usual, usual) and not run.exists():
        told = " and ".join(f"{rate:g} ({name.removesuffix('_lr')})" for name, rate in rates.items())
        say(f"Learning rates {told}: networks {wider:g} times as wide as the preset's learn by smaller ones.")


def advice_for_a_card(recipe: Recipe, device: str) -> str | None:
    """What would be better on a graphics card, if the training is on one: presets are made for two cores."""
    from hasama.device import pick_device
    from hasama.tuning.suggest import CARD_BATCH

    if pick_device(device).type != "cuda" or recipe.batch >= CARD_BATCH:
        return None
    return (
        f"On this graphics card a step takes about as long with {CARD_BATCH} pictures as with {recipe.batch}: "
        f"--batch {CARD_BATCH} shows more of them in the same time."
    )


def advice_on_size(recipe: Recipe, crops: int = 0) -> str | None:
    """That a stage of half the size would be better, if so."""
    from hasama.distributed import team
    from hasama.tuning.suggest import gains_by_a_stage

    if crops or team().world > 1 or recipe.small_kimg or not gains_by_a_stage(recipe):
        return None
    return (
        f"Pictures of {recipe.size} pixels are learnt quicker with half the size first, such as --small-kimg "
        f"{recipe.kimg:g}  (how much of each: hasama suggest)."
    )


def lasting(hours: float, recipe: Recipe, pictures: Any, device: str) -> Recipe:
    """The recipe with as many kimg as this machine makes in the time."""
    from hasama.cli.terminal import say
    from hasama.device import pick_device
    from hasama.presets import half_size
    from hasama.runs.enlarging import tuning_seconds
    from hasama.runs.pace import measure

    if recipe.small_kimg:
        first = measure(half_size(recipe), pictures, pick_device(device), looks=False).hours(recipe.small_kimg)
        if (hours := hours - first) < HOURS_LEAST:
            raise HasamaError(f"--small-kimg {recipe.small_kimg:g} takes {first:.2g} h alone: --hours is to be more.")
    pace = measure(recipe, pictures, pick_device(device), looks=False)
    chosen = recipe.lasting(pace.kimg_within(hours))
    if tuning := tuning_seconds(chosen, pictures, pick_device(device)) / 3600:  # the enlarger's, by the length
        chosen = recipe.lasting(pace.kimg_within(max(hours - tuning, hours / 2)))
    say(
        f"{pace.images_per_second:.3g} images/s: about {chosen.kimg:g} kimg in {hours:.3g} h"
        + (f", and the looks at the quality every {recipe.quality_kimg:g} kimg." if recipe.quality_kimg else ".")
    )
    return chosen
