"""What looking at the health costs: the time of a look as a share of the training between two looks.

    python benchmarks/health_cost.py [--threads 1] [--rounds 7]

Whole training steps of `hasama.play` and looks of `hasama.health.signals` in turns, processor time, medians. The
pictures are random: what a look costs does not depend on them. Wanted: less than 3 % at the default --health-kimg, in
runs of 100 kimg or more and in shorter ones.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import hasama
from hasama.device import keep_memory
from hasama.health.signals import Probe
from hasama.pictures.dataset import batches, hold_out
from hasama.runs.fitting import health_interval

CASES = {"dense": "28", "dcgan": "64", "stable": "64", "r3gan": "64", "stylegan": "64", "progressive": "64"}
STEPS = 4


def seconds(work: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cost(name: str, size: str, folder: Path, rounds: int) -> tuple[float, float, list[float]]:
    """(seconds a picture, seconds a look, the shares of the time that looks take, in long and in short runs)."""
    recipe = hasama.RECIPES[name].but(size=size, **({"grow_kimg": 0.0} if name == "progressive" else {}))
    source, side = folder / f"{size}.npz", int(size)
    if not source.exists():
        np.savez(source, images=np.random.default_rng(0).integers(0, 256, (2000, side, side, 3), np.uint8))
    training, held = hold_out(hasama.open_pictures(str(source), recipe), recipe.held_out, 0)
    probe, game = Probe(training, held), hasama.new_game(hasama.build(recipe, 3), recipe)
    loop = hasama.play(game, batches(training, recipe.batch, 0))

    def train() -> None:
        for _ in range(STEPS):
            next(loop)

    train()
    probe(game)
    times = [(seconds(train) / STEPS / recipe.batch, seconds(lambda: probe(game))) for _ in range(rounds)]
    picture, look = (statistics.median(column) for column in zip(*times, strict=True))
    intervals = [health_interval(recipe.but(kimg=kimg)) for kimg in (1000.0, 50.0)]
    return picture, look, [look / (interval * picture + look) for interval in intervals]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    print("| recipe | size | ms a picture | ms a look | pictures a look costs | share of the time | in short runs |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, size in CASES.items():
            picture, look, shares = cost(name, size, Path(folder), given.rounds)
            cells = [name, size, f"{1000 * picture:.2f}", f"{1000 * look:.0f}", f"{look / picture:.0f}"]
            print("|", " | ".join([*cells, *(f"{part:.1%}" for part in shares)]), "|", flush=True)


if __name__ == "__main__":
    main()
