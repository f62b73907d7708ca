"""Hasama: train generative adversarial networks on your own pictures.

import hasama

recipe = hasama.RECIPES["dcgan"].but(size="32", kimg=20)
for step in hasama.train("digits", recipe, "runs/digits"):
    print(step.images_seen, step.figures())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hasama.version import __version__


if TYPE_CHECKING:
    from hasama.dataset import Batch, Pictures, batches, open_pictures
    from hasama.errors import HasamaError
    from hasama.fitting import fit
    from hasama.game import Game, Step, Turn, new_game, play
    from hasama.images import grid, save_picture
    from hasama.latent import draw_latents, paint, walk
    from hasama.models.architectures import ARCHITECTURES, build
    from hasama.models.pair import Pair
    from hasama.models.vae import autoencode
    from hasama.projection import project
    from hasama.recipe import RECIPES, Recipe
    from hasama.run import Run
    from hasama.session import resume, train
    from hasama.style.painting import stylize
    from hasama.style.recipe import STYLE_RECIPES, StyleRecipe
    from hasama.style.transfer import Frame, Style
    from hasama.weights import Painter, load_generator, save_generator

# Public name -> its module, imported at first use, so that `import hasama` does not wait for torch. A module must not
# have a public name's name, or the import system would put it in that name's place: hence fitting.py and session.py.
_HOMES = {
    "ARCHITECTURES": "models.architectures",
    "Batch": "dataset",
    "Frame": "style.transfer",
    "Game": "game",
    "HasamaError": "errors",
    "Painter": "weights",
    "Pair": "models.pair",
    "Pictures": "dataset",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "Run": "run",
    "STYLE_RECIPES": "style.recipe",
    "Step": "game",
    "Style": "style.transfer",
    "StyleRecipe": "style.recipe",
    "Turn": "game",
    "autoencode": "models.vae",
    "batches": "dataset",
    "build": "models.architectures",
    "draw_latents": "latent",
    "fit": "fitting",
    "grid": "images",
    "load_generator": "weights",
    "new_game": "game",
    "open_pictures": "dataset",
    "paint": "latent",
    "play": "game",
    "project": "projection",
    "resume": "session",
    "save_generator": "weights",
    "save_picture": "images",
    "stylize": "style.painting",
    "train": "session",
    "walk": "latent",
}

__all__ = [
    "ARCHITECTURES", "RECIPES", "STYLE_RECIPES", "Batch", "Frame", "Game", "HasamaError", "Painter", "Pair",
    "Pictures", "Recipe", "Run", "Step", "Style", "StyleRecipe", "Turn", "autoencode", "batches", "build",
    "draw_latents", "fit", "grid", "load_generator", "new_game", "open_pictures", "paint", "play",
    "project", "resume", "save_generator", "save_picture", "stylize", "train", "walk",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hasama' has no attribute {name!r}")
    value = getattr(import_module(f"hasama.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
