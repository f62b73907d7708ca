"""What streaming from shards costs beside the memory map: the time of training steps on the same pictures.

    python benchmarks/shards.py pictures.zip [--threads 1] [--rounds 7] [--steps 20]

The pictures are written as shards of 4 MB, in the form that is trained on. Both sides train a game of their own with
`hasama.play`, a few steps in turns, so that other work on the machine falls on both; medians over the rounds of their
ratio. Processor time counts what the decoding threads do, wall time only what the training waits for; on a machine
that has other work, too, it says little, and how long steps waited for their pictures says more. Wanted: less than
5 %.
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
from hasama.pictures.dataset import Batch, Pictures, batches, hold_out
from hasama.pictures.decoding import Form
from hasama.pictures.shards.writing import write_shards
from hasama.recipe import Recipe

CASES = (("r3gan", "64"), ("dcgan", "32"), ("dcgan", "64"))
SHARD_MB = 4.0


def opened(source: str, recipe: Recipe, streamed: bool) -> Pictures:
    """All pictures, in one way or the other."""
    reading = Reading(source, Form.of(recipe), streamed)
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


class Training:
    """An endless training; `waited` are the seconds that it waited for pictures."""

    def __init__(self, source: str, recipe: Recipe, streamed: bool, device: torch.device) -> None:
        pictures, _ = hold_out(opened(source, recipe, streamed), recipe.held_out, 0)
        game = hasama.new_game(hasama.build(recipe, pictures.report.channels), recipe, device)
        self.batches = batches(pictures, recipe.batch, 0, 0, recipe.mirror, device)
        self.steps, self.waited = hasama.play(game, self.shown()), 0.0

    def shown(self) -> Iterator[Batch]:
        """The batches."""
        while True:
            began = time.perf_counter()
            batch = next(self.batches)
            self.waited += time.perf_counter() - began
            yield batch

    def timed(self, count: int) -> tuple[float, float, float]:
        """(wall, processor, waiting) seconds of some steps."""
        wall, own, waited = time.perf_counter(), time.process_time(), self.waited
        for _ in range(count - 1):
            next(self.steps)
        next(self.steps).figures()  # waits for the device
        return time.perf_counter() - wall, time.process_time() - own, self.waited - waited


def compare(name: str, size: str, source: str, device: torch.device, given: argparse.Namespace) -> list[str]:
    """A row of the table."""
    recipe = hasama.RECIPES[name].but(size=size)
    shards = str(Path(os.environ["HASAMA_CACHE"], f"shards-{size}"))
    if not Path(shards).exists():
        deque(write_shards(opened(source, recipe, False), Path(shards), SHARD_MB), maxlen=0)
    sides = [Training(shards, recipe, streamed, device) for streamed in (False, True)]
    for side in sides:
        side.timed(3)
    rounds = []
    for number in range(given.rounds):
        order = (0, 1) if number % 2 else (1, 0)
        times = {side: sides[side].timed(given.steps) for side in order}
        rounds.append([times[0], times[1]])
    mapped, streamed = (statistics.median(one[side][0] for one in rounds) for side in (0, 1))
    ratios = [statistics.median(one[1][kind] / one[0][kind] for one in rounds) for kind in (0, 1)]
    waits = [statistics.median(one[side][2] / one[side][0] for one in rounds) for side in (0, 1)]
    rates = [f"{given.steps * recipe.batch / seconds:.4g}" for seconds in (mapped, streamed)]
    return [name, size, *rates, *(f"{one:.3f}" for one in ratios), *(f"{one:.2%}" for one in waits)]


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
    print("| recipe | size | images/s, map | shards | ratio of wall | of processor time | waited, map | shards |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HASAMA_CACHE"] = folder
        for name, size in (case for case in CASES if not given.only or "-".join(case) in given.only):
            print(
                "|", " | ".join(compare(name, size, given.source, torch.device(given.device), given)), "|", flush=True
            )


if __name__ == "__main__":
    main()
