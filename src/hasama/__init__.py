"""Hasama: train generative adversarial networks on your own pictures.

import hasama

recipe = hasama.RECIPES["dcgan"].but(size="32", kimg=20)
for step in hasama.train("digits", recipe, "runs/digits"):
    print(step.images_seen, step.figures())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any
from warnings import warn

from hasama.version import __version__ as __version__

if TYPE_CHECKING:
    from hasama.errors import HasamaError
    from hasama.generators.generator_file import TrainedGenerator, save_generator
    from hasama.generators.projection import project
    from hasama.generators.sampling import draw_latents, generate, generate_all, interpolate
    from hasama.networks.pair import Pair
    from hasama.networks.registry import ARCHITECTURES, build
    from hasama.pictures.cache import open_pictures
    from hasama.pictures.dataset import Batch, Pictures, batches
    from hasama.pictures.images import grid, save_picture
    from hasama.presets import RECIPES
    from hasama.recipe import Recipe
    from hasama.runs.fitting import fit
    from hasama.runs.folder import Run
    from hasama.runs.session import resume, train
    from hasama.runs.standing import load_generator
    from hasama.style.painting import stylize
    from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
    from hasama.style.subject import Style
    from hasama.style.transfer import Frame
    from hasama.training.autoencoder import autoencode
    from hasama.training.game import Game, Step, Turn
    from hasama.training.setup import new_game
    from hasama.training.turns import play

# Public name -> its module, imported at first use, so that `import hasama` does not wait for torch. A room must not
# have a public name's name, or the import system would put it in that name's place.
_HOMES = {
    "ARCHITECTURES": "networks.registry",
    "Batch": "pictures.dataset",
    "Frame": "style.transfer",
    "Game": "training.game",
    "HasamaError": "errors",
    "Pair": "networks.pair",
    "Pictures": "pictures.dataset",
    "RECIPES": "presets",
    "Recipe": "recipe",
    "Run": "runs.folder",
    "STYLE_RECIPES": "style.recipe",
    "Step": "training.game",
    "Style": "style.subject",
    "StyleRecipe": "style.recipe",
    "TrainedGenerator": "generators.generator_file",
    "Turn": "training.game",
    "autoencode": "training.autoencoder",
    "batches": "pictures.dataset",
    "build": "networks.registry",
    "draw_latents": "generators.sampling",
    "fit": "runs.fitting",
    "generate": "generators.sampling",
    "generate_all": "generators.sampling",
    "grid": "pictures.images",
    "interpolate": "generators.sampling",
    "load_generator": "runs.standing",
    "new_game": "training.setup",
    "open_pictures": "pictures.cache",
    "play": "training.turns",
    "project": "generators.projection",
    "resume": "runs.session",
    "save_generator": "generators.generator_file",
    "save_picture": "pictures.images",
    "stylize": "style.painting",
    "train": "runs.session",
}

_RENAMED = {"Painter": "TrainedGenerator", "paint": "generate", "walk": "interpolate"}
"""Public names of version 0.1.0 -> what they are called now."""

__all__ = [
    "ARCHITECTURES", "RECIPES", "STYLE_RECIPES", "Batch", "Frame", "Game", "HasamaError", "Pair", "Pictures",
    "Recipe", "Run", "Step", "Style", "StyleRecipe", "TrainedGenerator", "Turn", "autoencode", "batches", "build",
    "draw_latents", "fit", "generate", "generate_all", "grid", "interpolate", "load_generator", "new_game",
    "open_pictures", "play", "project", "resume", "save_generator", "save_picture", "stylize", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warn(f"hasama.{name} is now hasama.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'hasama' has no attribute {name!r}")
    value = getattr(import_module(f"hasama.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
