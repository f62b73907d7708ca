"""On a graphics card: steps recorded as CUDA graphs, steps as they are, and the usual DCGAN; images a second.

    python benchmarks/gpu.py [--seconds 2] [--rounds 3] [--only dcgan r3gan]

    python benchmarks/gpu.py --exact

Pictures are random numbers on the card, so that only the steps are timed. Sides take turns; medians of the rounds.
"""

import argparse
import copy
import itertools
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import nn

import hasama
from hasama.device import lay_out
from hasama.networks.registry import build
from hasama.pictures.dataset import Batch
from hasama.runs.pace import steps_until_recorded
from hasama.training import turns
from hasama.training.graphs import as_graphs
from hasama.training.setup import new_game
from hasama.training.turns import play

CASES = {
    "dcgan, batch 128": ("dcgan", {"size": "64", "batch": 128}),
    "r3gan 64 px, batch 32": ("r3gan", {"size": "64", "batch": 32}),
    "r3gan 64 px, width 64, batch 64": ("r3gan", {"size": "64", "width": 64, "batch": 64}),
    "r3gan 128 px, width 32, batch 64": ("r3gan", {"size": "128", "width": 32, "batch": 64}),
    "vision-aided 64 px, batch 8": ("vision-aided", {"size": "64"}),
    "vision-aided 64 px, batch 32": ("vision-aided", {"size": "64", "batch": 32}),
    "vision-aided 64 px, width 32, groups of 16, batch 64":
        ("vision-aided", {"size": "64", "width": 32, "group_width": 16, "batch": 64}),
    "vision-aided 128 px, batch 32": ("vision-aided", {"size": "128", "batch": 32}),
    "stylegan 64 px, width 32, batch 64": ("stylegan", {"size": "64", "width": 32, "batch": 64}),
    "fast 128 px, batch 16": ("fast", {"size": "128", "batch": 16}),
}  # fmt: skip


def exactness(name: str, changes: dict) -> dict[bool, float]:
    """With --exact and without: by how much a weight differs at most after 20 + 20 steps from 40 in one go."""
    found = {}
    for exact in (True, False):
        recipe = hasama.RECIPES[name].but(**changes, exact=exact)
        drawn, side = torch.Generator().manual_seed(0), int(recipe.size)
        reals = [Batch(torch.rand(recipe.batch, 3, side, side, generator=drawn).cuda() * 2 - 1) for _ in range(40)]
        weights = []
        for parts in ([reals], [reals[:20], reals[20:]]):
            game = new_game(build(recipe, 3), recipe, "cuda")
            for part in parts:
                state = copy.deepcopy(game.state_dict())
                game = new_game(build(recipe, 3), recipe, "cuda")
                game.load_state_dict(state)
                deque(play(game, part), maxlen=0)
            weights.append(torch.cat([p.detach().flatten() for p in game.pair.generator.parameters()]))
        found[exact] = (weights[0] - weights[1]).abs().max().item()
    return found


def ours(name: str, changes: dict, recorded: bool, exact: bool = False) -> Iterator[int]:
    """Our own steps; how many pictures each showed."""
    recipe = hasama.RECIPES[name].but(**changes, exact=exact)
    game = new_game(build(recipe, 3), recipe, "cuda")
    side, batch = int(recipe.size), recipe.batch
    reals = itertools.repeat(Batch(torch.rand(batch, 3, side, side, device="cuda") * 2 - 1))
    turns.as_graphs = as_graphs if recorded else lambda game, work, kind: lambda *given: work(game, *given)
    steps = play(game, reals)
    first = next(steps).shown  # what `turns.as_graphs` is, is asked now
    deque(itertools.islice(steps, steps_until_recorded(game, batch) - 1), maxlen=0)
    yield first
    yield from (step.shown for step in steps)


def usual(batch: int) -> Iterator[int]:
    """The classic DCGAN example's step, in bfloat16 and channels last."""
    from dcgan_speed import LATENT, WIDTH

    w, last = WIDTH, torch.channels_last

    def up(a: int, b: int, stride: int, padding: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(a, b, 4, stride, padding, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]

    def down(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]

    generator = nn.Sequential(
        *up(LATENT, 8 * w, 1, 0), *up(8 * w, 4 * w, 2, 1), *up(4 * w, 2 * w, 2, 1), *up(2 * w, w, 2, 1),
        nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        *down(w, 2 * w), *down(2 * w, 4 * w), *down(4 * w, 8 * w), nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False),
    )  # fmt: skip
    for network in (generator, discriminator):
        lay_out(network, torch.device("cuda"))
    criterion = nn.BCEWithLogitsLoss()
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    real = (torch.rand(batch, 3, 64, 64, device="cuda") * 2 - 1).contiguous(memory_format=last)
    ones, zeros = torch.ones(batch, device="cuda"), torch.zeros(batch, device="cuda")

    def cost(images: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits = discriminator(images).view(-1)
        return criterion(logits.float(), wanted)

    while True:
        discriminator.zero_grad()
        cost(real, ones).backward()
        with torch.autocast("cuda", torch.bfloat16):
            fake = generator(torch.randn(batch, LATENT, 1, 1, device="cuda"))
        cost(fake.detach(), zeros).backward()
        adam_d.step()
        generator.zero_grad()
        cost(fake, ones).backward()
        adam_g.step()
        yield batch


def rate(steps: Iterator[int], seconds: float) -> float:
    """Images a second."""
    torch.cuda.synchronize()
    start, shown = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        shown += sum(itertools.islice(steps, 8))
        torch.cuda.synchronize()
    return shown / (time.perf_counter() - start)


def compared(sides: dict[str, Callable[[], Iterator[int]]], seconds: float, rounds: int) -> dict[str, float]:
    """The medians of all sides."""
    running = {name: make() for name, make in sides.items()}
    for steps in running.values():  # one after the other, for what is recorded is decided at the first step
        deque(itertools.islice(steps, 12), maxlen=0)
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, steps in running.items():
            found[name].append(rate(steps, seconds))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--exact", action="store_true", help="what --exact costs, and what it holds")
    given = parser.parse_args()
    warnings.simplefilter("always")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; images a second", flush=True)
    for case, (name, changes) in CASES.items():
        if not any(case.startswith(one) for one in given.only):
            continue
        sides: dict[str, Callable[[], Iterator[int]]] = {
            "recorded": lambda name=name, changes=changes: ours(name, changes, True),
            "as they are": lambda name=name, changes=changes: ours(name, changes, False),
        }
        if given.exact:
            sides["exact"] = lambda name=name, changes=changes: ours(name, changes, True, exact=True)
        if case.startswith("dcgan"):
            sides["the usual example"] = lambda: usual(128)
        try:
            if given.exact:
                held = exactness(name, changes)
                print(f"{case}, resumed: off by {held[True]:.2g} with --exact, {held[False]:.2g} without", flush=True)
            found = compared(sides, given.seconds, given.rounds)
        except (RuntimeError, hasama.HasamaError) as error:
            print(f"{case}: {error}", flush=True)
            continue
        told = ", ".join(f"{side} {value:,.0f}" for side, value in found.items())
        ratio = found["recorded"] / found["as they are"]
        print(f"{case}: {told}; {ratio:.2f} times; {torch.cuda.max_memory_reserved() / 2**30:.1f} GiB", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
