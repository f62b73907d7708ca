"""Write a run as a base, which ships with the package: see `hasama.runs.bases`."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hasama.errors import HasamaError
from hasama.files import make_folder, write_json
from hasama.generators.generator_file import load_generator
from hasama.runs.folder import Run
from hasama.tensor_files import header_of, save_state, save_tensors

KEPT = ("generator", "discriminator", "heads")
"""The networks of a checkpoint that a base has. The generator is the EMA one, if there is one."""


def make_base(run: Run, folder: Path, about: dict[str, str]) -> None:
    """Write a run as a base, without its optimizers, its log, and where its pictures were.

    Args:
        run: with a checkpoint.
        folder: to write; its name is the base's.
        about: `pictures`, `authors` and `licence`, for `base.json`.

    Raises:
        HasamaError: there is no such run, its checkpoint is damaged, or the folder cannot be written.
    """
    recipe, images, state = run.recipe(), run.images(), run.saved_game()
    make_folder(folder)
    base = Run(folder)
    networks = {which: _halved(state[which]) for which in KEPT if isinstance(state.get(which), dict)}
    if isinstance(state.get("ema"), dict):
        networks["generator"] = _halved(state["ema"])
    save_state(base.checkpoint, {"threads": None, "game": {"images_seen": state["images_seen"], **networks}})
    generator = load_generator(run.saved_generator())
    header = json.loads(header_of(run.generator))
    save_tensors(
        base.generator, {name: half(tensor) for name, tensor in generator.network.state_dict().items()}, header
    )
    base.save_recipe(recipe.but(init_from="", autopilot=False))
    unknown = {"name": about["pictures"], "source": about["pictures"], "key": "", "digest": "", "duplicates": []}
    write_json(folder / "images.json", images | unknown | {"skipped": {}, "only": ""})
    write_json(folder / "base.json", about | {"kimg": state["images_seen"] / 1000})


def _halved(state: dict[str, Any]) -> dict[str, Tensor]:
    """A network's weights in half precision."""
    return {name: half(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}


def half(tensor: Tensor) -> Tensor:
    """A float tensor in half precision, if that holds its values; else as it is.

    Raises:
        HasamaError: a weight is not a number.
    """
    if not tensor.is_floating_point():
        return tensor.clone()
    if not tensor.isfinite().all():
        raise HasamaError("A weight of this run is not a number: it is no base for others.")
    return tensor.half() if tensor.abs().max() < torch.finfo(torch.half).max else tensor.clone()
