"""hasama coverage: whether a recipe's generator makes everything that its data holds."""

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hasama.commands.flags import INTERRUPTED, use_threads
from hasama.commands.looking import numbers_of
from hasama.errors import HasamaError
from hasama.recipe import Recipe, recipe_named

if TYPE_CHECKING:
    import numpy as np

    from hasama.modes import Coverage

MOST_SEEDS = 1000
FIGURES, PICTURE = "coverage.json", "coverage.png"


def coverage(
    what: str,
    recipe: str = "r3gan",
    /,
    *,
    seeds: str = "0",
    kimg: float | None = None,
    source: str = "mnist",
    device: str = "auto",
    threads: int | None = None,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Count the modes that a recipe's generator covers, on data whose modes are known.

    ring: 8 Gaussians; grid: 25; of points the recipe's rules count, not its networks. stacked-mnist: 1,000 modes,
    three digits one over the other, with the recipe's own networks. The first row is the floor: what as many real
    samples cover. Ctrl-C ends it and shows the seeds that are done.

    Parameters
    ----------
    what
        ring, grid or stacked-mnist.
    recipe
        A preset: see `hasama recipes`.
    seeds
        A run with each of these, such as 0-9.
    kimg
        Length of a run in thousands of samples shown. Default: one that suits the data.
    source
        stacked-mnist: where the digits come from, in ten classes called 0 to 9: mnist, an .npz, a folder, a zip.
    device
        auto, cpu, cuda, ...
    threads
        CPU threads. Points need but one.
    out
        A folder for coverage.json and a picture of the first seed's sample.
    json
        Print the figures as JSON, and nothing else.
    """
    chosen = recipe_named(recipe)
    numbers = numbers_of(seeds, "--seeds")
    if len(numbers) > MOST_SEEDS:
        raise HasamaError(f"--seeds takes at most {MOST_SEEDS} seeds here; got {len(numbers)}.")
    if kimg is not None:
        chosen.but(kimg=kimg)  # refuses what is out of range
    _check_place(out)

    from hasama.covering import KIMG, check_ground
    from hasama.device import keep_memory, pick_device

    check_ground(what)
    use_threads(threads)
    keep_memory()
    place, length, ended = pick_device(device), KIMG[what] if kimg is None else kimg, []
    try:
        for number in numbers:
            ended.append(_run(what, chosen.but(seed=number), length, source, place, json))
            if out is not None:
                _keep(_told(what, recipe, length, ended), ended[0], what, out)
    except KeyboardInterrupt:
        if not ended:
            raise
    _tell(_told(what, recipe, length, ended), ended, json, out)
    return 0 if len(ended) == len(numbers) else INTERRUPTED


def _check_place(out: Path | None) -> None:
    """Before any work.

    Raises:
        HasamaError: nothing can be written there.
    """
    if out is not None:
        from hasama.files import check_place

        if out.exists() and not out.is_dir():
            raise HasamaError(f"Cannot write into {out}: it is no folder. Choose another --out.")
        check_place(out / FIGURES)


class _Ended(NamedTuple):
    """A run that is over: its seed, how long it took, what came of it."""

    seed: int
    seconds: float
    found: "Coverage"
    floor: "Coverage"
    sample: "np.ndarray"


def _run(what: str, recipe: Recipe, kimg: float, source: str, device: Any, quiet: bool) -> _Ended:
    """One seed, to the end."""
    from hasama.covering import cover
    from hasama.show import watch_covering

    began = time.monotonic()
    records = cover(what, recipe, kimg, source, device)
    (last,) = deque(records if quiet else watch_covering(records, f"{what}, seed {recipe.seed}"), maxlen=1)
    assert last.found is not None, "the last record has it all"
    assert last.floor is not None
    assert last.sample is not None
    return _Ended(recipe.seed, round(time.monotonic() - began, 1), last.found, last.floor, last.sample)


def _told(what: str, recipe: str, kimg: float, ended: list[_Ended]) -> dict[str, Any]:
    """All figures, as JSON can hold them."""
    from hasama import __version__
    from hasama.modes import mean_coverage

    return {
        "version": __version__,
        "what": what,
        "recipe": recipe,
        "kimg": kimg,
        "floor": mean_coverage([one.floor for one in ended]).to_dict(),
        "mean": mean_coverage([one.found for one in ended]).to_dict(),
        "seeds": [{"seed": one.seed, "seconds": one.seconds} | one.found.to_dict() for one in ended],
    }


def _keep(told: dict[str, Any], first: _Ended, what: str, out: Path) -> None:
    """The figures so far, and a picture of the first seed's sample."""
    from hasama.files import write_json
    from hasama.images import grid, save_picture
    from hasama.modes import MIXTURES
    from hasama.plot import plot_points

    write_json(out / FIGURES, told)
    if what in MIXTURES:
        plot_points(first.sample, MIXTURES[what], out / PICTURE)
    else:
        save_picture(grid(first.sample), out / PICTURE)


def _tell(told: dict[str, Any], ended: list[_Ended], as_json: bool, out: Path | None) -> None:
    """The table, or the JSON."""
    if as_json:
        import json

        print(json.dumps(told, indent=2))
        return
    from hasama.show import coverage_table, say

    coverage_table(told)
    if out is not None:
        say(f"{out / FIGURES}, {out / PICTURE}: the figures, and the sample of seed {ended[0].seed}")
