"""What R3GAN's penalties cost, and what growing saves against the full size throughout, as ratios in one run.

    python benchmarks/ladder_costs.py [--rounds 3]

Both sides of each pair run in turns in one process, whole steps at 64x64; medians of processor seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

import hasama
from hasama.device import keep_memory
from hasama.networks.architectures.progressive import grown

SIDE = 64


def pictures(batch: int) -> Iterator[torch.Tensor]:
    """The same random pictures for ever."""
    images = torch.rand(batch, 3, SIDE, SIDE) * 2 - 1
    while True:
        yield images


def stepper(recipe: hasama.Recipe, images_seen: int = 0) -> Callable[[int], float]:
    """A function that plays so many steps at that moment of a run, and tells the processor seconds of each image."""
    game = hasama.new_game(hasama.build(recipe, 3), recipe)
    game.images_seen = images_seen
    steps = hasama.play(game, pictures(recipe.batch))

    def run(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            game.images_seen = images_seen  # the level stays
            next(steps)
        return (time.process_time() - start) / (count * recipe.batch)

    run(1)
    return run


def medians(sides: dict[str, Callable[[int], float]], steps: int, rounds: int) -> dict[str, float]:
    """Processor seconds for each image, both sides in turns."""
    told: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            told[name].append(run(steps))
    return {name: statistics.median(seconds) for name, seconds in told.items()}


def penalties(rounds: int) -> None:
    """R1 and R2 at every step against none."""
    recipe = hasama.RECIPES["r3gan"]
    sides = {"r1+r2": recipe, "none": recipe.but(penalty="none", gamma_final=1.0)}
    found = medians({name: stepper(side) for name, side in sides.items()}, 8, rounds)
    rate = {name: 1 / seconds for name, seconds in found.items()}
    print(f"r3gan: {rate['r1+r2']:.1f} images a core-second with penalties, {rate['none']:.1f} without")
    print(f"  a step with penalties costs {found['r1+r2'] / found['none']:.2f} times one without")


def growing(rounds: int) -> None:
    """The preset's run, which grows, against the full size throughout, from the cost of a step at each level."""
    recipe, steps = hasama.RECIPES["progressive"], 4
    whole = recipe.images
    moments = {level: int((level + 0.75) * recipe.grow_kimg * 1000) for level in range(steps)} | {steps: whole}
    fades = {level: int((level + 0.25) * recipe.grow_kimg * 1000) for level in range(1, steps + 1)}
    sides = {f"{SIDE >> (steps - k)}": stepper(recipe, at) for k, at in moments.items()}
    sides |= {f"{SIDE >> (steps - k)} fading": stepper(recipe, at) for k, at in fades.items()}
    found = medians(sides, 4, rounds)
    for name, seconds in found.items():
        print(f"progressive {name:>9}: {1 / seconds:8.1f} images a core-second")
    total = 0.0
    for images in range(0, whole, recipe.batch):
        level, share = grown(images, steps, recipe.grow_kimg * 1000)
        total += recipe.batch * found[f"{SIDE >> (steps - level)}{' fading' if share < 1 else ''}"]
    full = whole * found[str(SIDE)]
    print(
        f"{recipe.kimg:g} kimg, each size for {recipe.grow_kimg:g}: {total / full:.2f} of the time of the full size"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    penalties(given.rounds)
    growing(given.rounds)


if __name__ == "__main__":
    main()
