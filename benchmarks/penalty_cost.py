"""What a gradient penalty costs: a turn and a whole step, with second derivatives by torch and by us.

    python benchmarks/penalty_cost.py [--size 64] [--rounds 5] [--recipes r3gan stable ...]

Processor seconds of one thread, interleaved, medians; the ratio is torch's over ours. `no penalty` is the turn
without one, as a floor. Both ways are exact: the tests compare their gradients.
"""

import argparse
import resource
import statistics
from collections.abc import Callable
from typing import Any

import torch

import hasama
from hasama.device import gains_by_bf16, keep_memory
from hasama.networks.registry import build
from hasama.recipe import Recipe
from hasama.training import stepping, turns
from hasama.training.game import Game
from hasama.training.rules.second_derivative import fast_second_derivatives
from hasama.training.setup import new_game


def used() -> float:
    """Processor seconds of this process."""
    times = resource.getrusage(resource.RUSAGE_SELF)
    return times.ru_utime + times.ru_stime


def seconds(work: Callable[[], Any]) -> float:
    start = used()
    work()
    return used() - start


def new(recipe: Recipe) -> tuple[Game, torch.Tensor]:
    """A game that has played two steps, and reals for the next."""
    game = new_game(build(recipe, 3), recipe)
    height, width = recipe.resolution
    reals = torch.rand(recipe.batch, 3, height, width) * 2 - 1
    reals = reals.contiguous(memory_format=torch.channels_last)
    game.pair.grow(10**9)
    step(game, reals, True)
    step(game, reals, True)
    return game, reals


def turn(game: Game, reals: torch.Tensor, ours: bool) -> float:
    """One turn of the discriminator."""
    stepping.begin(game)
    game.pair.grow(10**9)
    real, fake = game.pair.view(reals), turns.draw_fakes(game, len(reals), reals.device)
    turns.fast_second_derivatives = lambda wanted=True: fast_second_derivatives(ours and wanted)
    return seconds(lambda: turns.discriminator_turn(game, real, fake))


def step(game: Game, reals: torch.Tensor, ours: bool) -> float:
    """One whole step."""
    turns.fast_second_derivatives = lambda wanted=True: fast_second_derivatives(ours and wanted)
    return seconds(lambda: next(turns.play(game, [reals])))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipes", nargs="+", default=["r3gan", "stable", "msg", "fast", "progressive", "stylegan"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    arithmetic = "bf16" if gains_by_bf16(torch.device("cpu")) else "fp32 (no bf16 here)"
    print(f"torch {torch.__version__}; {arithmetic}; one thread; {asked.size} pixels")
    print("| recipe | no penalty, s | torch's, s | ours, s | turn: ratio | step: ratio |")
    print("|---" + "|---:" * 5 + "|")
    for name in asked.recipes:
        recipe = hasama.RECIPES[name].but(size=asked.size, penalty_every=1)
        game, reals = new(recipe)
        bare, _ = new(recipe.but(penalty="none", gamma=None, gamma_final=1.0))
        rows = [
            (turn(bare, reals, True), turn(game, reals, False), turn(game, reals, True),
             step(game, reals, False), step(game, reals, True))
            for _ in range(asked.rounds)
        ]  # fmt: skip
        none, theirs, ours, whole_theirs, whole_ours = map(statistics.median, zip(*rows, strict=True))
        ratios = f"{theirs / ours:.2f} | {whole_theirs / whole_ours:.2f}"
        print(f"| `{name}` | {none:.2f} | {theirs:.2f} | {ours:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
