"""The live experiments of the lessons: small, and done by the very functions that train and paint.

A portrait of the base that ships stands for somebody's picture.
"""

import math
import threading
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator, load_generator
from hasama.generators.sampling import draw_latents, generate_all
from hasama.networks.architectures.progressive import faded_view, twice
from hasama.perception.vgg import VGG, Features
from hasama.perception.vgg_weights import load_weights
from hasama.pictures.images import png_of, to_picture
from hasama.pictures.tensors import to_images, to_pixels
from hasama.recipe import Objective, Penalty
from hasama.runs.bases import place_named
from hasama.runs.folder import Run
from hasama.shapes import Images
from hasama.style.methods.moments import moments
from hasama.training.rules.dirac import Dirac
from hasama.training.rules.objectives import OBJECTIVES

SITTER = "portraits"
HALVINGS = 4
"""From the portrait's 64 pixels to the first picture's 4."""
SHOWN = 256
REACH, ARROWS, STEPS = 2.0, 15, 300
"""Of the phase portrait: numbers from -REACH to REACH, arrows a side, steps of the path."""
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
PATCHES = (4, 8, 16, 32, 64, 128)
"""Sides of patches, in pixels of a picture of 128."""


class Portrait(NamedTuple):
    """What the phase portrait of the Dirac-GAN shows."""

    game: Dirac
    theta: float
    psi: float
    rate: float
    at_once: bool

    @classmethod
    def of(cls, query: Any) -> "Portrait":
        """From a query's words.

        Raises:
            HasamaError: a word is no number, or is beyond all reason.
        """
        objective, penalty = query.get("objective", "minimax"), query.get("penalty", "none")
        if objective not in get_args(Objective) or penalty not in get_args(Penalty):
            raise HasamaError("There is no such objective or penalty.")
        gamma, noise = number(query, "gamma", 1.0, 0, 100), number(query, "noise", 0.0, 0, 5)
        theta, psi = number(query, "theta", 1.0, -REACH, REACH), number(query, "psi", 0.0, -REACH, REACH)
        rate = number(query, "rate", 0.1, 0.001, 1)
        return cls(Dirac(OBJECTIVES[objective], penalty, gamma, noise), theta, psi, rate, "at_once" in query)

    def told(self) -> dict[str, Any]:
        """Arrows [theta, psi, towards theta, towards psi], the longest 1 long; and the path, while it is in view."""
        ticks = torch.linspace(-REACH, REACH, ARROWS, dtype=torch.float64)
        theta, psi = (one.flatten() for one in torch.meshgrid(ticks, ticks, indexing="xy"))
        pulls = torch.stack(self.game.pulls(theta, psi))
        pulls = pulls / pulls.norm(dim=0).max().clamp_min(1e-9)
        path = self.game.path(self.theta, self.psi, self.rate, STEPS, self.at_once)
        seen = path[(path.abs() <= 2 * REACH).all(1).cumprod(0).bool()]
        return {
            "reach": REACH,
            "arrows": [[round(x, 4) for x in row] for row in torch.stack([theta, psi, *pulls], 1).tolist()],
            "path": [[round(x, 4) for x in row] for row in seen.tolist()],
            "ends": round(float(path[-1].norm()), 3) if bool(path[-1].isfinite().all()) else None,
        }


class Experiments:
    """Keeps the networks that the experiments need, once one has been asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.looked_at = lru_cache(4)(self._look)

    @cached_property
    def generator(self) -> TrainedGenerator:
        """Of the base."""
        return load_generator(Run(place_named(SITTER)).saved_generator(), "cpu")

    @cached_property
    def network(self) -> VGG:
        """That of style transfer."""
        return VGG(load_weights(), LAYERS)

    def growing(self, query: Any) -> bytes:
        """A PNG of what a growing discriminator is shown: `at` 0 is 4x4 pixels, 4 is all 64; between, layers fade in.

        Raises:
            HasamaError: `at` or `seed` is no such number.
        """
        at = number(query, "at", 0.0, 0, HALVINGS)
        level = math.ceil(at)
        with self.lock:
            shown = faded_view(self._portrait(_seed(query)), HALVINGS - level, 1.0 if at == level else at % 1)
        assert isinstance(shown, Tensor)
        while shown.shape[2] < SHOWN:
            shown = twice(shown)
        return png_of(to_picture(to_pixels(shown)[0]))

    def shuffled(self, query: Any) -> bytes:
        """A PNG of the portrait with its patches of `side` pixels in another order.

        Raises:
            HasamaError: `side` or `seed` is no such number.
        """
        with self.lock:
            return png_of(to_picture(to_pixels(twice(self._shuffled(_side(query), _seed(query))))[0]))

    def distances(self, query: Any) -> dict[str, float]:
        """How far the shuffled portrait is from the portrait, for Gram matrices and place by place.

        In percent of the portrait's own matrices and features, mean over the layers.

        Raises:
            HasamaError: `side` or `seed` is no such number.
        """
        side, seed = _side(query), _seed(query)
        with self.lock:
            own, here = self.looked_at(128, seed), self.looked_at(side, seed)
        return {"gram": _percent(_gram, own, here), "places": _percent(_same, own, here)}

    def _portrait(self, seed: int) -> Images:
        """[1, 3, 64, 64]"""
        latents = draw_latents(seed, 1, self.generator.latent_size)
        return to_images(generate_all(self.generator, latents))

    def _shuffled(self, side: int, seed: int) -> Images:
        """[1, 3, 128, 128]"""
        whole = F.interpolate(self._portrait(seed), scale_factor=2, mode="bicubic", align_corners=False)
        patches = F.unfold(whole, side, stride=side)
        order = np.random.Generator(np.random.Philox(seed)).permutation(patches.shape[2])
        return F.fold(patches[:, :, torch.from_numpy(order)], (128, 128), side, stride=side)

    @torch.no_grad()
    def _look(self, side: int, seed: int) -> Features:
        return self.network(self._shuffled(side, seed))


def _gram(activations: Tensor) -> Tensor:
    return moments(activations).gram


def _same(activations: Tensor) -> Tensor:
    return activations


def _percent(of: Callable[[Tensor], Tensor], own: Features, here: Features) -> float:
    """How far what is taken of the features has moved, as a part of what it was; the mean of the layers."""
    shares = [float((of(here[layer]) - of(own[layer])).norm() / of(own[layer]).norm()) for layer in LAYERS]
    return round(100 * sum(shares) / len(shares), 1)


def number(query: Any, name: str, default: float, least: float, most: float) -> float:
    """A number from a query.

    Raises:
        HasamaError: it is none, or is not from `least` to `most`.
    """
    try:
        found = float(query.get(name, default))
    except ValueError as error:
        raise HasamaError(f"{name} is a number.") from error
    if not least <= found <= most:
        raise HasamaError(f"{name} lies between {least:g} and {most:g}.")
    return found


def _seed(query: Any) -> int:
    return int(number(query, "seed", 20, 0, 10**6))


def _side(query: Any) -> int:
    side = int(number(query, "side", 16, 4, 128))
    if side not in PATCHES:
        raise HasamaError(f"Patches are {', '.join(map(str, PATCHES))} pixels wide.")
    return side
