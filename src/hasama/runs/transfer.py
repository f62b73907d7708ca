"""Begin with another run's weights (--init-from): transfer learning from pictures of the same or a smaller size.

Layers are named by the size of their maps, counted from the smallest, so a network for larger pictures finds in one
for smaller ones all but the layers next to the picture. Weights of another shape start from scratch. The optimizers,
the counters and the augmentation's probability are the new run's own.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from hasama.errors import HasamaError
from hasama.networks.enlarger import Enlarged
from hasama.networks.old_names import with_new_names
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.training.game import Game

OWN = ("growth.images_seen", "mean_path", ".count", ".total", ".squares")
"""Buffers that belong to the training that they are from, and are not taken over."""


class Inheritance(NamedTuple):
    """The names of the weights that were taken over, and of those that start from scratch."""

    taken: list[str]
    fresh: list[str]


def check_init_from(recipe: Recipe) -> None:
    """Before any work: is there a run to begin with, and does it fit?

    Raises:
        HasamaError: `init_from` is no run with a checkpoint, is of another architecture, or of larger pictures.
    """
    if not recipe.init_from:
        return
    run = Run(recipe.init_from)
    if not run.exists():
        raise HasamaError(f"--init-from {run.folder}: there is no run (no recipe.json).")
    other = run.recipe()
    if not run.checkpoint.exists():
        raise HasamaError(f"--init-from {run.folder}: that run has no checkpoint (game.pt) yet.")
    if other.architecture != recipe.architecture:
        raise HasamaError(
            f"--init-from {run.folder}: that run trains {other.architecture}, not {recipe.architecture}; "
            "weights can only be taken over within an architecture. Try  "
            f"hasama train ... {other.architecture} --init-from {run.folder}"
        )
    if any(ours < theirs for ours, theirs in zip(recipe.game_resolution, other.game_resolution, strict=True)):
        raise HasamaError(
            f"--init-from {run.folder}: that run makes {other.size}, and this one would make {recipe.size}: weights "
            "can only be taken over for pictures of the same or a larger size."
        )


def inherit(game: Game, folder: str | Path) -> Inheritance:
    """Put the weights of the run in `folder` into a game that has not begun, wherever name and shape agree.

    Raises:
        HasamaError: its checkpoint is damaged, or nothing fits.
    """
    state = _saved(Run(folder))
    networks: dict[str, nn.Module] = {
        "generator": _small(game.pair.generator),
        "discriminator": game.bare_discriminator,
    }
    if game.ema is not None:
        networks["ema"] = _small(game.ema)
    if game.aid is not None and isinstance(state.get("heads"), dict):
        networks["heads"] = game.aid.heads
    taken, fresh = [], []
    for which, network in networks.items():
        ours = _by_name(network.state_dict())
        theirs = with_new_names(_by_name(_state_of(which, state)), ours)
        for name, tensor in ours.items():
            if name.endswith(OWN):
                continue
            other = theirs.get(name)
            if other is not None and other.shape == tensor.shape and other.dtype == tensor.dtype:
                tensor.copy_(other)
                taken.append(f"{which}.{name}")
            else:
                fresh.append(f"{which}.{name}")
    if not any(name.endswith("weight") and not name.startswith("heads.") for name in taken):  # heads always fit
        raise HasamaError(f"--init-from {folder}: none of its weights fits these networks; is --width the same?")
    return Inheritance(taken, fresh)


def _small(network: nn.Module) -> nn.Module:
    """A generator without the enlarger."""
    return network.generator if isinstance(network, Enlarged) else network


def _state_of(which: str, state: dict[str, Any]) -> dict[str, Any]:
    """A network's weights in a checkpoint; where there is no EMA generator, the generator's."""
    return state.get(which) or (which == "ema" and state.get("average")) or state["generator"]  # version 0.1.0


def _saved(run: Run) -> dict[str, Any]:
    """The checkpoint's game, if there are networks in it."""
    state = run.saved_game()
    if isinstance(state, dict) and all(
        isinstance(state.get(which), dict) for which in ("generator", "discriminator")
    ):
        return state
    raise HasamaError(f"--init-from {run.folder}: its checkpoint {run.checkpoint} is damaged (no networks in it).")


def _by_name(state: dict[str, Any]) -> dict[str, Tensor]:
    """A state's tensors by the names that they have without parametrizations and augmentation around them."""
    named = {}
    for name, tensor in state.items():
        name = re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name.removeprefix("discriminator."))
        name = name.removeprefix("generator.")  # within an enlarged one
        if isinstance(tensor, Tensor):
            named[name] = tensor
    return named
