"""What streaming from shards costs beside the memory map: the time of training steps on the same pictures.

    python benchmarks/shards.py pictures.zip [--threads 1] [--rounds 7] [--steps 20]

The pictures are written as shards of 4 MB, in the form that is trained on. Both sides train a game of their own with
`hasama.play`, a few steps in turns, so that other work on the machine falls on both; medians over the rounds of their
ratio. Processor time counts what the decoding threads do, wall time only what the training waits for. Wanted: less
than 5 % at both.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import torch

import hasama
from hasama.device import keep_memory
from hasama.pictures.cache import Reading
from hasama.pictures.dataset import Pictures, batches, hold_out
from hasama.pictures.decoding import Form
from hasama.pictures.shards.writing import write_shards
from hasama.recipe import Recipe
from hasama.training.game import Record

CASES = (("r3gan", "64"), ("dcgan", "32"), ("dcgan", "64"))
SHARD_MB = 4.0


def opened(source: str, recipe: Recipe, streamed: bool) -> Pictures:
    """All pictures, in one way or the other."""
    reading = Reading(source, Form.of(recipe), streamed)
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


def training(source: str, recipe: Recipe, streamed: bool, device: torch.device) -> Iterator[Record]:
    """An endless training."""
    pictures, _ = hold_out(opened(source, recipe, streamed), recipe.held_out, 0)
    game = hasama.new_game(hasama.build(recipe, pictures.report.channels), recipe, device)
    return hasama.play(game, batches(pictures, recipe.batch, 0, 0, recipe.mirror, device))


def timed(steps: Iterator[Record], count: int) -> tuple[float, float]:
    """(wall, processor) seconds of some steps."""
    wall, own = time.perf_counter(), time.process_time()
    for _ in range(count - 1):
        next(steps)
    next(steps).figures()  # waits for the device
    return time.perf_counter() - wall, time.process_time() - own


def compare(name: str, size: str, source: str, device: torch.device, given: argparse.Namespace) -> list[str]:
    """A row of the table."""
    recipe = hasama.RECIPES[name].but(size=size)
    shards = str(Path(os.environ["HASAMA_CACHE"], f"shards-{size}"))
    if not Path(shards).exists():
        deque(write_shards(opened(source, recipe, False), Path(shards), SHARD_MB), maxlen=0)
    sides = [training(shards, recipe, streamed, device) for streamed in (False, True)]
    for side in sides:
        timed(side, 3)
    rounds = []
    for number in range(given.rounds):
        order = (0, 1) if number % 2 else (1, 0)
        times = {side: timed(sides[side], given.steps) for side in order}
        rounds.append([times[0], times[1]])
    mapped, streamed = (statistics.median(one[side][0] for one in rounds) for side in (0, 1))
    ratios = [statistics.median(one[1][kind] / one[0][kind] for one in rounds) for kind in (0, 1)]
    images = given.steps * recipe.batch
    return [name, size, f"{images / mapped:.4g}", f"{images / streamed:.4g}", *(f"{one:.3f}" for one in ratios)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", help="cases, such as r3gan-64")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    print("| recipe | size | images/s, memory map | images/s, shards | ratio of wall time | of processor time |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HASAMA_CACHE"] = folder
        for name, size in CASES:
            print(
                "|", " | ".join(compare(name, size, given.source, torch.device(given.device), given)), "|", flush=True
            )


if __name__ == "__main__":
    main()
