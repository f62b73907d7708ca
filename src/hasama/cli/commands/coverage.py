"""hasama coverage: how many modes of known data a recipe's generator covers."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hasama.cli.arguments import check_out_folder, numbers_of
from hasama.cli.flags import INTERRUPTED, asked_to_stop, telling_what_is_saved, use_threads
from hasama.errors import HasamaError
from hasama.fields import comparable
from hasama.presets import POINT_RECIPES, STACK_RECIPES, recipe_named
from hasama.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np

    from hasama.metrics.modes import Coverage
    from hasama.runs.folder import Run

MOST_SEEDS = 1000
DEFAULT_RECIPE = "r3gan"
FIGURES, PICTURE, SETTINGS = "coverage.json", "coverage.png", "settings.json"


def coverage(
    what: str,
    recipe: str | None = None,
    /,
    *,
    seeds: str = "0",
    kimg: float | None = None,
    source: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Count the modes that a recipe's generator covers, on data whose modes are known.

    ring: 8 Gaussians; grid: 25; hundred: 100; they use the recipe's rules, but not its networks. stacked-mnist: 1,000
    modes, three digits as red, green and blue, with the recipe's own networks. The first row is the floor: what as
    many real samples cover. Ctrl-C stops and shows the seeds that are done; with --out the same command goes on from
    there.

    Parameters
    ----------
    what
        ring, grid, hundred or stacked-mnist.
    recipe
        A preset: see `hasama recipes`; for points also hundred, for stacks stacked-mnist. Default: r3gan; of hundred
        and of stacked-mnist their own.
    seeds
        A run with each of these, such as 0-9.
    kimg
        Length of a run in thousands of samples shown. Default: one that suits the data.
    source
        stacked-mnist: where the digits come from, in ten classes called 0 to 9: an .npz, a folder, a zip, or mnist,
        which is the default.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads. All but stacked-mnist need only one.
    out
        A folder for coverage.json and a picture of the first seed's sample; checkpoints are saved in it, too.
    json
        Print the figures as JSON, and nothing else.
    """
    if recipe is None:
        recipe = what if what in POINT_RECIPES | STACK_RECIPES else DEFAULT_RECIPE
    chosen = recipe_named(recipe, STACK_RECIPES if what in STACK_RECIPES else POINT_RECIPES)
    numbers = numbers_of(seeds, "--seeds")
    if len(numbers) > MOST_SEEDS:
        raise HasamaError(f"--seeds takes at most {MOST_SEEDS} seeds here; got {len(numbers)}.")
    if kimg is not None:
        chosen.but(kimg=kimg)  # refuses what is out of range

    from hasama.device import keep_memory, pick_device
    from hasama.distributed import is_first
    from hasama.evaluation.coverage import KIMG, STACKED, check_ground

    check_ground(what)
    if source is not None and what != STACKED:
        raise HasamaError(f"--source is for {STACKED}: the points of {what} are drawn, not read.")
    use_threads(threads)
    keep_memory()
    place, length = pick_device(device), KIMG[what] if kimg is None else kimg
    asked = _Asked(what, recipe, length, (source or "mnist") if what == STACKED else None, json)
    if not is_first():
        return _beside(asked, chosen, place)
    if out is None:
        with telling_what_is_saved(lambda: "Nothing was saved: give a folder by --out to go on later."):
            return _all(asked, chosen, numbers, place)
    kept = f"What was saved stands in {out}; the same command goes on from there."
    with telling_what_is_saved(lambda: kept):
        return _all_kept(asked, chosen, numbers, place, out)


class _Asked(NamedTuple):
    """The settings that decide the figures, beside the seed; and whether only JSON is printed."""

    what: str
    recipe: str
    kimg: float
    source: str | None
    json: bool


class _Ended(NamedTuple):
    """A run that has ended: its seed, how long it took, its coverage; its sample, unless it was done before."""

    seed: int
    seconds: float
    found: "Coverage"
    floor: "Coverage"
    sample: "np.ndarray | None" = None


def _all(asked: _Asked, recipe: Recipe, numbers: list[int], device: Any) -> int:
    """All seeds; Ctrl-C ends it at once."""
    from hasama.distributed import told_by_first

    ended: list[_Ended] = []
    told_by_first(lambda: numbers)
    try:
        for number in numbers:
            if one := _run(asked, recipe.but(seed=number), device):
                ended.append(one)
    except KeyboardInterrupt:
        if not ended:
            raise
    _tell(asked, ended)
    return 0 if len(ended) == len(numbers) else INTERRUPTED


def _all_kept(asked: _Asked, recipe: Recipe, numbers: list[int], device: Any, out: Path) -> int:
    """All seeds that are not yet in a folder; Ctrl-C saves the one that is training."""
    from hasama.cli.terminal import say
    from hasama.distributed import told_by_first
    from hasama.runs.folder import Run

    done = _begun(asked, recipe, out)
    left = [number for number in numbers if number not in done]
    told_by_first(lambda: left)
    with asked_to_stop() as stop:
        for number in left:
            game = Run(out / f"seed-{number}")
            with game.held():
                one = _run(asked, recipe.but(seed=number), device, stop, game)
            if one is None:
                break
            done[number] = one
            _keep(asked, list(done.values()), one.sample if number == numbers[0] else None, out)
            shutil.rmtree(game.folder)
    ended = [done[number] for number in numbers if number in done]
    if ended:
        _tell(asked, ended)
    if not asked.json:
        if (out / PICTURE).exists():
            say(f"{out / FIGURES}, {out / PICTURE}: the figures, and the sample of one seed")
        if len(ended) < len(numbers):
            say(f"Stopped after {len(ended)} of {len(numbers)} seeds. The same command goes on.")
    return 0 if len(ended) == len(numbers) else INTERRUPTED


def _run(
    asked: _Asked, recipe: Recipe, device: Any, stop: Callable[[], bool] = lambda: False, kept: "Run | None" = None
) -> _Ended | None:
    """One seed, to the end; None if it was stopped before."""
    from hasama.cli.progress import watch_covering
    from hasama.distributed import agreed
    from hasama.evaluation.coverage import cover
    from hasama.files import read_json, write_json

    earlier = None if kept is None else kept.folder / "seconds.json"
    before = read_json(earlier, "time")["seconds"] if earlier and earlier.exists() else 0.0
    began, name = time.monotonic() - before, f"{asked.what}, seed {recipe.seed}"
    with closing(cover(asked.what, recipe, asked.kimg, asked.source or "", device, kept)) as records:
        for last in records if asked.json else watch_covering(records, name):
            if last.found is not None and last.floor is not None:
                return _Ended(recipe.seed, round(time.monotonic() - began, 1), last.found, last.floor, last.sample)
            if last.step is not None and agreed(stop()):
                break
    if earlier:
        write_json(earlier, {"seconds": time.monotonic() - began})
    return None


def _beside(asked: _Asked, recipe: Recipe, device: Any) -> int:
    """In a process that is not the first of several: train with it, until it has what it wants."""
    from hasama.distributed import agreed, told_by_first
    from hasama.evaluation.coverage import cover

    with asked_to_stop() as stop:
        for number in told_by_first(list):
            records = cover(asked.what, recipe.but(seed=number), asked.kimg, asked.source or "", device)
            with closing(records):
                for last in records:
                    if last.step is not None and agreed(stop()):
                        return 0
    return 0


def _begun(asked: _Asked, recipe: Recipe, out: Path) -> dict[int, _Ended]:
    """The folder, ready to be written to, and the seeds that are done in it.

    Raises:
        HasamaError: nothing can be written there; it is a training's, or holds figures of other settings, or damaged
            ones.
    """
    from hasama.files import check_place, read_json, write_json
    from hasama.metrics.modes import Coverage
    from hasama.pictures.images import is_picture_name
    from hasama.runs.folder import Run

    check_out_folder(out)
    check_place(out / FIGURES)
    if Run(out).exists():
        raise HasamaError(f"{out} is the folder of a training: choose another --out.")
    settings = asked._asdict() | {"recipe": recipe.but(seed=0).to_dict()}
    del settings["json"]
    file = out / SETTINGS
    if not file.exists():
        if others := [path.name for path in out.iterdir() if is_picture_name(path)] if out.exists() else []:
            raise HasamaError(f"{out} holds pictures ({', '.join(sorted(others)[:3])}): choose another --out.")
        write_json(file, settings)
    elif (before := _alike(read_json(file, "file of settings"))) != (now := _alike(settings)):
        other = next(
            (name for name in now if not isinstance(before, dict) or before.get(name) != now[name]), "version"
        )
        raise HasamaError(f"{out} holds the coverage of other settings ({other} differs): choose another --out.")
    if not (out / FIGURES).exists():
        return {}
    try:
        rows = read_json(out / FIGURES, "file of figures")["seeds"]
        figures = [(Coverage.from_dict(row), Coverage.from_dict(row["floor"])) for row in rows]
        ended = [_Ended(row["seed"], row["seconds"], *both) for row, both in zip(rows, figures, strict=True)]
    except (KeyError, TypeError) as error:
        raise HasamaError(f"The figures in {out / FIGURES} are damaged ({error}): choose another --out.") from error
    return {one.seed: one for one in ended}


def _alike(settings: Any) -> Any:
    """Settings that any version wrote, so that they can be compared."""
    from hasama.recipe import DEFAULTS

    if not isinstance(settings, dict):
        return settings
    return settings | {"recipe": comparable(settings.get("recipe"), DEFAULTS)}


def _told(asked: _Asked, ended: list[_Ended]) -> dict[str, Any]:
    """All figures, as JSON can hold them."""
    from hasama.metrics.modes import mean_coverage
    from hasama.version import __version__

    return {
        "version": __version__,
        "what": asked.what,
        "recipe": asked.recipe,
        "kimg": asked.kimg,
        "floor": mean_coverage([one.floor for one in ended]).to_dict(),
        "mean": mean_coverage([one.found for one in ended]).to_dict(),
        "seeds": [
            {"seed": one.seed, "seconds": one.seconds} | one.found.to_dict() | {"floor": one.floor.to_dict()}
            for one in ended
        ],
    }


def _keep(asked: _Asked, ended: list[_Ended], sample: "np.ndarray | None", out: Path) -> None:
    """The figures so far, and a picture of a sample."""
    from hasama.files import write_json
    from hasama.metrics.modes import MIXTURES
    from hasama.pictures.images import grid, save_picture
    from hasama.runs.reports.plot import plot_points

    write_json(out / FIGURES, _told(asked, ended))
    if sample is not None and asked.what in MIXTURES:
        plot_points(sample, MIXTURES[asked.what], out / PICTURE)
    elif sample is not None:
        save_picture(grid(sample), out / PICTURE)


def _tell(asked: _Asked, ended: list[_Ended]) -> None:
    """The table, or the JSON."""
    from hasama.cli.terminal import say

    told = _told(asked, ended)
    if asked.json:
        say(json.dumps(told, indent=2))
    else:
        _coverage_table(told)


def _coverage_table(told: dict[str, Any]) -> None:
    """The floor of real data, a row for each seed, and their mean."""
    from rich.table import Table

    from hasama.cli.terminal import console, duration, say

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "modes", "high quality", "KL", "time"):
        table.add_column(heading, justify="left" if not heading else "right")

    def add(name: str, row: dict[str, Any], style: str = "") -> None:
        quality = "-" if row["quality"] is None else f"{100 * row['quality']:.1f} %"
        kl = "infinite" if row["kl"] is None else f"{row['kl']:.4f}"
        seconds = duration(row["seconds"]) if "seconds" in row else ""
        table.add_row(name, f"{row['modes']:g} of {row['of']}", quality, kl, seconds, style=style)

    add("real data", told["floor"], "dim")
    for row in told["seeds"]:
        add(f"seed {row['seed']}", row)
    add(f"mean of {len(told['seeds'])}", told["mean"], "bold")
    say(f"{told['what']} by {told['recipe']}, {told['kimg']:g} kimg; {told['floor']['samples']:,} samples each")
    console.print(table)
