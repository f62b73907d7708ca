"""Several processes: how fast they are beside threads, what the code costs one process, what to expect of many cards.

    python benchmarks/processes.py [--recipes r3gan vision-aided dcgan] [--rounds 5] [--before CHECKOUT/src]

First: two processes of one thread each against one process of two threads, the same batch, interleaved, medians of
images a second by the clock. Then, with --before: processor seconds of a step in one process with this code and with
that of another checkout, interleaved. Last: a table for 8, 64 and 512 graphics cards, each with the batch of one, by
the time t of a step on one card (`--card`, images a second by `benchmarks/gpu.py` without graphs) and the bytes of
both players' gradients. Nothing is hidden behind the arithmetic: a step of n cards takes
t + 2 (n - 1) / n bytes / bandwidth + 2 latency log2 n, for links of --bandwidth bytes a second and --latency seconds.
It is a calculation: nothing of it was measured.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

STEPS, WARM_UP = 12, 3

PLAY = """
import itertools, json, os, sys, time
import torch
from hasama.device import keep_memory
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.presets import RECIPES
from hasama.training.setup import loop_for, new_game
name, size, batch, threads, steps, warm, one = sys.argv[1:]
torch.set_num_threads(int(threads))
keep_memory()
world = int(os.environ.get("WORLD_SIZE", "1"))
def play():
    recipe = RECIPES[name].but(size=size, batch=int(batch))
    game = new_game(build(recipe, 3), recipe)
    mine = torch.rand(int(batch) // world, 3, *recipe.resolution) * 2 - 1
    loop = loop_for(recipe.architecture)(game, itertools.repeat(Batch(mine)))
    for _ in range(int(warm)):
        next(loop)
    clock = time.process_time if one == "cpu" else time.perf_counter
    each = []
    for _ in range(int(steps)):
        began = clock()
        next(loop)
        each.append(clock() - began)
    bytes_ = 4 * sum(p.numel() for network in game.pair[:2] for p in network.parameters())
    print(json.dumps([sorted(each)[len(each) // 2], bytes_]))
if world == 1:
    play()
else:
    from hasama.distributed import is_first, together
    with together():
        play()
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def played(
    world: int, threads: int, recipe: str, size: str, batch: int, clock: str, source: str
) -> tuple[float, int]:
    """Seconds of a step, and the bytes of both players' gradients."""
    port = str(free_port())
    begun = []
    for rank in range(world):
        where = {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": source}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": str(threads)}
        words = [sys.executable, "-c", PLAY, recipe, size, str(batch), str(threads), str(STEPS), str(WARM_UP), clock]
        begun.append(subprocess.Popen(words, env=os.environ | where | meeting, stdout=subprocess.PIPE, text=True))
    told = [json.loads(process.communicate()[0]) for process in begun]
    return told[0][0], told[0][1]


def compare(recipe: str, options: argparse.Namespace, here: str) -> None:
    threads, processes, ours, theirs = [], [], [], []
    gradients = 0
    for _ in range(options.rounds):
        one, gradients = played(1, 2, recipe, options.size, options.batch, "wall", here)
        two, _ = played(2, 1, recipe, options.size, options.batch, "wall", here)
        threads.append(options.batch / one)
        processes.append(options.batch / two)
        if options.before:
            ours.append(played(1, 1, recipe, options.size, options.batch, "cpu", here)[0])
            theirs.append(played(1, 1, recipe, options.size, options.batch, "cpu", options.before)[0])
    ratio = statistics.median(b / a for a, b in zip(threads, processes, strict=True))
    print(
        f"{recipe:14s} 1 process x 2 threads {statistics.median(threads):7.1f} images/s   2 x 1 "
        f"{statistics.median(processes):7.1f}   ratio {ratio:.2f}   gradients {gradients / 1e6:.2f} MB"
    )
    if options.before:
        cost = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{'':14s} one process, processor seconds of a step, with this code / before: {cost:.3f}")
    expect(recipe, gradients, options)


def expect(recipe: str, gradients: int, options: argparse.Namespace) -> None:
    """What to expect of many cards."""
    step = options.batch_of_a_card / options.card
    cells = []
    for cards in (8, 64, 512):
        sums = 2 * (cards - 1) / cards * gradients / options.bandwidth + 2 * options.latency * math.log2(cards)
        efficiency = step / (step + sums)
        cells.append(f"{cards}: {cards * options.card * efficiency:,.0f} images/s ({100 * efficiency:.0f} %)")
    print(f"{'':14s} calculated from {options.card:,.0f} images/s on one card   " + "   ".join(cells))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["r3gan", "vision-aided", "dcgan"])
    parser.add_argument("--size", default="64")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before")
    parser.add_argument("--card", type=float, default=1074.0)
    parser.add_argument("--batch-of-a-card", type=int, default=32)
    parser.add_argument("--bandwidth", type=float, default=25e9)
    parser.add_argument("--latency", type=float, default=2e-5)
    options = parser.parse_args()
    here = str(Path(__file__).parents[1] / "src")
    for recipe in options.recipes:
        compare(recipe, options, here)


if __name__ == "__main__":
    main()
