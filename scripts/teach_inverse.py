"""Teach VGG19 turned round, which ships with the package: `src/hasama/weights/inverse.safetensors`.

    python scripts/teach_inverse.py FOLDER --minutes 240 --state inverse.pt --out inverse.safetensors

FOLDER holds large pictures (any depth of sub-folders); NOTICE.md beside the weights says which they were. Minutes are
of the processor's time; it is killed and begun again at will: what is in --state goes on.

Each step takes a level. Features of a photograph at this level are turned back into a picture: as they are, when the
photograph and its features are to come back; or, after a while, moved to the Gaussian of another photograph in
changed colours, when the features that were asked for are to be seen in the picture, and the other's moments at the
finer levels.
(To go from level to level without a picture between was tried first: the maps then blow up what the networks cannot
tell, docs/experiments/instant.md.)
"""

import math
import random

import numpy as np
import torch
from long_teaching import Teaching, asked
from photographs import cut, pool_of
from safetensors.torch import load_file
from torch import Tensor

from hasama.device import gains_by_bf16
from hasama.perception.inverse import LEVELS, Inverse
from hasama.perception.vgg import VGG, Features
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.tensors import to_images
from hasama.style.methods.moments import Moments, moments
from hasama.style.methods.transport import transport

SIDE, COUNT = 128, 4
STYLE_SIDE, STYLES = 256, 200
OFTEN = (4, 3, 2, 1)
"""How often each level is taken, from coarse to fine: coarse ones are harder."""
RATE, GENTLE, PLAIN, MOVED = 1e-3, 3e-4, 0.1, 0.6
"""The learning rate, that of a teaching which begins with weights, the share of the time in which nothing is moved,
and then the share of steps in which it is."""
MOST = 2.0
"""Of a distance of moments: a style of nearly one colour has next to none, from which every distance is large."""


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
        features = features_of(network, drawn(pool, STYLE_SIDE, 1, draw))
        found.append({level: moments(features[level]) for level in LEVELS})
    return found


def features_of(network: VGG, images: Tensor) -> Features:
    """What the network makes of pictures, in float32."""
    return {level: activations.float() for level, activations in network(images).items()}


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().mean() / (wanted.square().mean() + 1e-6)


def moved(activations: Tensor, style: Moments, strength: float) -> Tensor:
    """Each picture by its own map."""
    parts = [transport(moments(one), style, strength)(one) for one in activations.split(1)]
    return torch.cat(parts).relu()


def rebuilt(images: Tensor, made: Tensor, wanted: Features, found: Features) -> Tensor:
    """How far what was made is from the photographs, and their features from each other."""
    apart = [relative(found[level], wanted[level]) for level in wanted]
    return 2 * relative(made, images) + torch.stack(apart).sum()


def restyled(asked: Tensor, level: str, style: dict[str, Moments], strength: float, found: Features) -> Tensor:
    """How far the features are from those that were asked for, and at finer levels from the style's moments."""
    loss = relative(found[level], asked)
    for finer in LEVELS[LEVELS.index(level) + 1 :]:
        for one in found[finer].split(1):
            seen, wanted = moments(one), style[finer]
            apart = relative(seen.mean, wanted.mean) + relative(seen.covariance, wanted.covariance)
            loss = loss + 0.5 * strength * apart.clamp(max=MOST) / len(asked)
    return loss


def main() -> None:
    given = asked(__doc__)
    inverse, weights = Inverse().to(memory_format=torch.channels_last).train(), load_weights()
    if given.begin_with:
        inverse.load_state_dict({name: one.float() for name, one in load_file(given.begin_with).items()})
    plain, rate = (0.0, GENTLE) if given.begin_with else (PLAIN, RATE)
    precision = torch.bfloat16 if gains_by_bf16(torch.device("cpu")) else torch.float32
    quickly = torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16)
    networks = {level: VGG(weights, LEVELS[number:], precision=precision) for number, level in enumerate(LEVELS)}
    optimizer = torch.optim.AdamW(inverse.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-4)
    teaching = Teaching(given, {"inverse": inverse, "optimizer": optimizer}, inverse.state_dict)
    large = [[size for size in sizes if min(size.shape[:2]) >= STYLE_SIDE] for sizes in pool_of(given.folder)]
    pool = [sizes for sizes in large if sizes]
    styles = styles_of(pool, networks[LEVELS[0]])
    teaching.begin()
    while (done := teaching.done()) < 1:
        draw = random.Random(teaching.steps)
        torch.manual_seed(teaching.steps)
        for group in optimizer.param_groups:
            group["lr"] = (
                rate * min(1, (teaching.steps + 1) / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
            )
        images, level = drawn(pool, SIDE, COUNT, draw), draw.choices(LEVELS, OFTEN)[0]
        network = networks[level]
        with torch.no_grad():
            features = features_of(network, images)
            changed = done > plain and draw.random() < MOVED
            style, strength = draw.choice(styles), draw.uniform(0.3, 1)
            start = moved(features[level], style[level], strength) if changed else features[level]
        with quickly:
            made = inverse.picture(start, level).float()
        found = features_of(network, made)
        loss = restyled(start, level, style, strength, found) if changed else rebuilt(images, made, features, found)
        loss = loss + 0.05 * (made.abs() - 1).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(inverse.parameters(), 1.0)
        optimizer.step()
        teaching.step([loss.item()])
    teaching.keep()


if __name__ == "__main__":
    main()
