"""Teach VGG19 turned round, which ships with the package: `src/hasama/weights/inverse.safetensors`.

    python scripts/teach_inverse.py FOLDER --minutes 240 --state inverse.pt --out inverse.safetensors

FOLDER holds large pictures (any depth of sub-folders); NOTICE.md beside the weights says which they were. Minutes are
of the processor's time; it is killed and begun again at will: what is in --state goes on.

For a fifth of the time each block learns alone to undo VGG19's. Then all are taught together as they are used: the
features of one photograph are moved to the Gaussians of another, in changed colours, and what becomes of them is to
have the features that were asked for, and the other's moments at every level.
"""

import argparse
import itertools
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from photographs import clock, cut, pool_of
from torch import Tensor

from hasama.device import keep_memory
from hasama.generators.generator_file import save_tensors
from hasama.perception.inverse import LEVELS, Inverse
from hasama.perception.vgg import VGG, Features
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.images import to_images
from hasama.style.methods.moments import Moments, moments
from hasama.style.methods.transport import transport

SIDE, COUNT = 128, 4
STYLE_SIDE, STYLES = 256, 200
RATE, ALONE = 1.5e-3, 0.2
AGAIN = 4
"""Every so many steps blocks go on learning alone."""
REBUILT = 0.15
"""The share of steps in which a photograph is to come back as it was."""


def recoloured(images: Tensor, draw: random.Random) -> Tensor:
    """Every other batch with its colours mixed at random: there are few photographs, and paintings are like none."""
    if draw.random() < 0.5:
        mixing = torch.eye(3) * draw.uniform(0.4, 1.2) + 0.35 * torch.randn(3, 3)
        images = torch.einsum("ij,njhw->nihw", mixing, images) + 0.2 * torch.randn(1, 3, 1, 1)
    return images.clamp(-1, 1)


def drawn(pool: list[list[np.ndarray]], side: int, count: int, draw: random.Random) -> Tensor:
    images = to_images(np.stack([cut(pool, side, draw) for _ in range(count)]))
    return recoloured(images, draw).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def styles_of(pool: list[list[np.ndarray]], network: VGG) -> list[dict[str, Moments]]:
    """The moments of photographs, at every level."""
    found = []
    for number in range(STYLES):
        draw = random.Random(10**6 + number)
        torch.manual_seed(10**6 + number)
        features = network(drawn(pool, STYLE_SIDE, 1, draw))
        found.append({level: moments(features[level]) for level in LEVELS})
    return found


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean() / (wanted.square().mean() + 1e-6)


def alone(inverse: Inverse, features: Features, images: Tensor) -> Tensor:
    """How far each block is from undoing VGG19's."""
    wanted = [*(features[level] for level in LEVELS[1:]), images]
    return torch.stack([relative(inverse(features[a], a), b) for a, b in zip(LEVELS, wanted, strict=True)]).sum()


def moved(activations: Tensor, style: Moments, strength: float) -> Tensor:
    """Each picture by its own map, which counts as given: its gradient would be that of eigenvectors."""
    parts = []
    for one in activations.split(1):
        with torch.no_grad():
            move = transport(moments(one.detach()), style, strength)
        parts.append(move(one))
    return torch.cat(parts).relu()


def used(inverse: Inverse, network: VGG, features: Features, style: dict[str, Moments], strength: float) -> Tensor:
    """How far a painting is from the features that were asked for, and from the style's moments."""
    first = maps = moved(features[LEVELS[0]], style[LEVELS[0]], strength)
    for level, after in itertools.pairwise(LEVELS):
        maps = moved(inverse(maps, level), style[after], strength)
    images = inverse(maps, LEVELS[-1])
    found = network(images)
    loss = relative(found[LEVELS[0]], first) + 0.05 * (images.abs() - 1).relu().mean()
    if not strength:
        return loss + torch.stack([relative(found[level], features[level]) for level in LEVELS[1:]]).sum()
    for level in LEVELS:
        for one in found[level].split(1):
            seen, wanted = moments(one), style[level]
            apart = relative(seen.mean, wanted.mean) + relative(seen.covariance, wanted.covariance)
            loss = loss + strength * apart / (len(images) * len(LEVELS))
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=240.0, help="of processor time, over all sessions")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    inverse, network = Inverse().to(memory_format=torch.channels_last).train(), VGG(load_weights(), LEVELS)
    optimizer = torch.optim.AdamW(inverse.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    steps, spent = 0, 0.0
    if asked.state.exists():
        state = torch.load(asked.state, weights_only=True)
        inverse.load_state_dict(state["inverse"])
        optimizer.load_state_dict(state["optimizer"])
        steps, spent = state["steps"], state["spent"]
    large = [[size for size in sizes if min(size.shape[:2]) >= STYLE_SIDE] for sizes in pool_of(asked.folder)]
    pool = [sizes for sizes in large if sizes]
    styles = styles_of(pool, network)
    began, saved, told = clock(), time.monotonic(), []

    def minutes() -> float:
        return spent + (clock() - began) / 60

    def keep() -> None:
        parts = {"inverse": inverse.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(parts | {"steps": steps, "spent": minutes()}, asked.state.with_suffix(".new"))
        asked.state.with_suffix(".new").replace(asked.state)
        save_tensors(asked.out, {name: t.half() for name, t in inverse.state_dict().items()}, {"steps": steps})

    while (done := minutes() / asked.minutes) < 1:
        draw = random.Random(steps)
        torch.manual_seed(steps)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (steps + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        images = drawn(pool, SIDE, COUNT, draw)
        with torch.no_grad():
            features = network(images)
        if done < ALONE or steps % AGAIN == 0:
            loss = alone(inverse, features, images)
        else:
            strength = 0.0 if draw.random() < REBUILT else draw.uniform(0.4, 1)
            loss = used(inverse, network, features, draw.choice(styles), strength)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(inverse.parameters(), 1.0)
        optimizer.step()
        steps += 1
        told.append(loss.item())
        if steps % 50 == 0:
            print(steps, f"{minutes():.1f} min", f"{np.mean(told):.4f}", flush=True)
            told.clear()
        if time.monotonic() - saved > 120:
            keep()
            saved = time.monotonic()
    keep()


if __name__ == "__main__":
    main()
