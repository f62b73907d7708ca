"""What do the recommended and the classic recipe cover, of data whose modes are known? The published protocols.

    python benchmarks/modes.py [--what ring grid] [--seeds 0-9] [--recipes r3gan dcgan] [--kimg KIMG]
    python benchmarks/modes.py --what hundred --seeds 0-2 [--recipes hundred]
    python benchmarks/modes.py --what stacked-mnist --seeds 0 [--source mnist-train.npz]

Prints a markdown table with the published figures beside. Each seed's result is kept in benchmarks/out/modes, and
every two minutes the game, so that the same command goes on where it was stopped. Wanted: 8 of 8 and 25 of 25 modes
and 95 % of high quality, the mean of ten seeds; 100 of 100 and 98.6 % in 7,000 steps (not reached); of stacked MNIST
990 modes or more.
"""

import argparse
import json
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

import hasama
from hasama.cli.arguments import numbers_of
from hasama.cli.flags import use_threads
from hasama.device import keep_memory, pick_device
from hasama.evaluation.coverage import GROUNDS, KIMG, cover
from hasama.files import read_json, write_json
from hasama.metrics.modes import MIXTURES, Coverage, mean_coverage, width_of_points
from hasama.presets import POINT_RECIPES, recipe_named
from hasama.runs.folder import Run

KEPT = Path(__file__).parent / "out" / "modes"

# Lin et al. 2018, tables 1 and 3; Huang et al. 2024, table 1; the first of stacked MNIST: Srivastava et al. 2017.
# hundred: the package's README and reports/e22-animation/README.md in its repository: one seed, 7,000 steps of 2,048.
PUBLISHED: dict[str, list[tuple[str, str, str, str]]] = {
    "ring": [
        ("GAN (PacGAN's table 1)", "6.3", "98.2 %", ""),
        ("PacGAN4", "7.8", "95.9 %", ""),
        ("VEEGAN", "8", "52.9 %", ""),
    ],
    "grid": [
        ("GAN (PacGAN's table 1)", "17.3", "94.8 %", ""),
        ("PacGAN4", "24.8", "93.6 %", ""),
        ("VEEGAN", "24.6", "40 %", ""),
    ],
    "hundred": [
        ("particlegan 0.9.4, e22: 20,000 learnt points and noise", "100", "98.5 %", ""),
        ("the same, rotated / staggered grid", "100", "98.6 / 98.3 %", ""),
    ],
    "stacked-mnist": [
        ("DCGAN (VEEGAN's protocol)", "99", "", "3.40"),
        ("PacDCGAN2", "1000", "", "0.06"),
        ("RpGAN + R1 + R2 (Huang et al. 2024)", "1000", "", "0.078"),
        ("R3GAN (Huang et al. 2024)", "1000", "", "0.029"),
    ],
}


def result_of(what: str, recipe: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One run's figures: kept ones, or those of a run that is made now."""
    kimg = KIMG[what] if given.kimg is None else given.kimg
    place = KEPT / f"{what}-{recipe}-{kimg:g}-{seed}.json"
    if place.exists():
        return read_json(place, "result")
    began = time.perf_counter()
    chosen = recipe_named(recipe, POINT_RECIPES).but(seed=seed)
    game = Run(place.with_suffix(""))
    with game.held():
        (last,) = deque(cover(what, chosen, kimg, given.source, pick_device(given.device), game), maxlen=1)
    assert last.found is not None
    assert last.floor is not None
    told = {"seconds": round(time.perf_counter() - began, 1), "version": hasama.__version__}
    told |= {"found": last.found.to_dict(), "floor": last.floor.to_dict()}
    if what in MIXTURES and last.sample is not None:
        told["width"] = width_of_points(last.sample, MIXTURES[what])
    write_json(place, told)
    shutil.rmtree(game.folder)
    print(f"{what} {recipe} seed {seed}: {json.dumps(told)}", flush=True)
    return told


def mean_of(rows: list[dict[str, Any]], name: str) -> Coverage:
    """The mean of some runs' figures; a divergence that was infinite stays so."""
    return mean_coverage([Coverage.from_dict(row[name]) for row in rows])


def line(name: str, found: Coverage, note: str = "") -> str:
    """A row of the table."""
    quality = "" if found.quality is None else f"{100 * found.quality:.1f} %"
    return f"| {name} | {found.modes:g} | {quality} | {found.kl:.4f} | {note} |"


def table(what: str, recipes: list[str], seeds: list[int], given: argparse.Namespace) -> str:
    """The floor, ours, and the published."""
    rows = {recipe: [result_of(what, recipe, seed, given) for seed in seeds] for recipe in recipes}
    lines = [f"| {what}, mean of {len(seeds)} | modes | high quality | KL | minutes, fewest modes, width in sigma |"]
    lines += ["|---|---|---|---|---|", line("real data (the floor)", mean_of(rows[recipes[0]], "floor"))]
    for recipe, found in rows.items():
        minutes = sum(row["seconds"] for row in found) / len(found) / 60
        note = f"{minutes:.1f}, {min(r['found']['modes'] for r in found):g}"
        if widths := [row["width"] for row in found if "width" in row]:
            note += f", {sum(widths) / len(widths):.2f}"
        lines.append(line(recipe, mean_of(found, "found"), note))
    return "\n".join([*lines, *(f"| *{' | '.join(row)} | published* |" for row in PUBLISHED[what])])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=GROUNDS, default=["ring", "grid"])
    parser.add_argument("--recipes", nargs="+", choices=[*POINT_RECIPES, *hasama.RECIPES])
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--kimg", type=float)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    use_threads(given.threads)
    keep_memory()
    for what in given.what:
        recipes = given.recipes or ([what] if what in POINT_RECIPES else ["r3gan", "dcgan"])
        print("\n" + table(what, recipes, numbers_of(given.seeds, "--seeds"), given) + "\n", flush=True)


if __name__ == "__main__":
    main()
