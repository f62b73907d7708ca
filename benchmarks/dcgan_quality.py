"""How good the pictures are after how long: the classic PyTorch DCGAN example's loop against our recipe.

    python benchmarks/dcgan_quality.py FOLDER [--core-minutes 60] [--share 12] [--recipe vision-aided]

FOLDER holds JPEGs. The classic side (`dcgan_speed.py`) trains for the core-minutes; ours for a `share`-th of them,
with the length that fits, so that rates fall within it. Each in its own process on one thread, by processor time, the
loader's workers included; the time of looking is not counted. Two networks judge 2,000 pictures of either, by KID
against 2,000 real ones; a network that helped to train one side is no judge of it, and its figure stands in brackets.
Grids are left in benchmarks/out/dcgan_quality.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

import hasama
from dcgan_speed import LATENT, SIDE, classic
from hasama.device import pick_device
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate_all, in_batches
from hasama.metrics.distances import kid
from hasama.networks.registry import build
from hasama.perception.extractors import extract_features, extractor_named
from hasama.pictures.dataset import Pictures, batches
from hasama.pictures.tensors import to_pixels
from hasama.presets import DEFAULT
from hasama.runs.pace import measure
from hasama.shapes import Pixels
from hasama.training.setup import new_game

OUT = Path(__file__).parent / "out" / "dcgan_quality"
COUNT, BATCH, LATENT_SEED = 2000, 128, 1


class Judges:
    """KID of a generator's pictures in two networks."""

    def __init__(self, pictures: Pictures) -> None:
        self.extractors = [extractor_named(name) for name in ("vgg19", "efficientnet")]
        order = np.random.default_rng(0).permutation(len(pictures))[:COUNT]
        self.reals = [
            torch.cat(list(extract_features(extractor, pictures.take_in_parts(order))))
            for extractor in self.extractors
        ]

    def __call__(self, pixels: Pixels, grid: Path) -> dict[str, float]:
        grid.parent.mkdir(parents=True, exist_ok=True)
        hasama.save_picture(hasama.grid(pixels[:64], 8), grid)
        return {
            extractor.name: round(kid(real, torch.cat(list(extract_features(extractor, pixels))))[0], 3)
            for extractor, real in zip(self.extractors, self.reals, strict=True)
        }


def core_minutes() -> float:
    """Of this process and its living and ended children."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    times = [process.cpu_times() for process in processes]
    own = times[0]
    return (sum(t.user + t.system for t in times) + own.children_user + own.children_system) / 60


def classic_side(folder: Path, minutes: float, looks: int, judges: Judges) -> Iterator[dict[str, Any]]:
    """The usual code, judged several times on the way."""
    began, looking, due = core_minutes(), 0.0, 1
    for step, generator in enumerate(classic(folder, BATCH), 1):
        spent = core_minutes() - began - looking
        if spent < due * minutes / looks:
            continue
        before = core_minutes()
        found = judges(classic_pictures(generator), OUT / f"classic-{due}.png")
        yield {"side": "classic", "core_minutes": round(spent, 1), "images": step * BATCH, **found}
        looking += core_minutes() - before
        due += 1
        if due > looks:
            return


@torch.no_grad()
def classic_pictures(generator: nn.Module) -> Pixels:
    """As the example draws its grids: the generator stays in training mode."""
    latents = draw_latents(LATENT_SEED, COUNT, LATENT)[:, :, None, None]
    return np.concatenate([to_pixels(generator(latents[some])) for some in in_batches(COUNT)])


def our_side(pictures: Pictures, name: str, minutes: float, judges: Judges) -> dict[str, Any]:
    """A preset, as `hasama train --hours` would have it."""
    recipe = hasama.RECIPES[name].but(size=str(SIDE))
    device = pick_device("cpu")
    recipe = recipe.lasting(measure(recipe, pictures, device).kimg_within(minutes / 60))
    game = new_game(build(recipe), recipe)
    began = core_minutes()
    for step in hasama.play(game, batches(pictures, recipe.batch, recipe.seed, 0, False, device)):
        if step.images_seen >= recipe.images:
            break
    spent = core_minutes() - began
    generator = TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, 3)
    pixels = generate_all(generator, draw_latents(LATENT_SEED, COUNT, generator.latent_size))
    found: dict[str, Any] = judges(pixels, OUT / f"{name}.png")
    for judge in found:
        if judge.startswith(recipe.vision_aid):
            found[judge] = f"({found[judge]})"
    return {"side": name, "core_minutes": round(spent, 1), "images": game.images_seen, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--core-minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, default=12.0)
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--recipe", default=DEFAULT)
    parser.add_argument("--only", choices=["classic", "ours"])
    given = parser.parse_args()
    if given.only is None:
        for side in ("ours", "classic"):
            subprocess.run([sys.executable, *sys.argv, "--only", side], check=True)
        return
    torch.set_num_threads(1)
    pictures = hasama.open_pictures(str(given.folder), hasama.RECIPES["dcgan"].but(size=str(SIDE)))
    judges = Judges(pictures)
    if given.only == "ours":
        print(json.dumps(our_side(pictures, given.recipe, given.core_minutes / given.share, judges)), flush=True)
    else:
        for look in classic_side(given.folder, given.core_minutes, given.looks, judges):
            print(json.dumps(look), flush=True)


if __name__ == "__main__":
    main()
