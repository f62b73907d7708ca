"""Begin with the weights of another run or of a base (--init-from): transfer learning from pictures of the same or a
smaller size (Wang et al. 2018, "Transferring GANs").

Layers are named by the size of their maps, counted from the smallest, so a network for larger pictures finds in one
for smaller ones all but the layers next to the picture. Weights of another shape start from scratch, but a narrower
r3gan lives on within a wider one, which at first makes the same pictures (after Chen et al. 2016, "Net2Net"; zeros
in place of copies), and so it does in one for grey pictures, colours or transparency. The optimizers, the counters
and the augmentation's probability are the new run's own.
"""

import math
import re
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hasama.distributed import is_first
from hasama.errors import HasamaError
from hasama.generators.generator_file import widened
from hasama.networks.architectures import r3gan
from hasama.networks.enlarger import Enlarged
from hasama.networks.layers import Equalised
from hasama.networks.old_names import with_new_names
from hasama.networks.outline import outline
from hasama.networks.recoloured import recoloured
from hasama.networks.registry import build
from hasama.options import said, size_text
from hasama.pictures.dataset import Pictures, batches
from hasama.presets import half_size
from hasama.recipe import Recipe
from hasama.runs.bases import base_names, place_named
from hasama.runs.folder import Run
from hasama.training.distilling import BATCH, STEPS, Distilled, Networks, as_it_was, distil
from hasama.training.game import Game

OWN = ("growth.images_seen", "mean_path", ".count", ".total", ".squares")
"""Buffers that belong to the training that they are from, and are not taken over."""
WIDENED = (r3gan.Generator, r3gan.Discriminator)
"""Networks without norms across channels, so that channels can be added."""
SHAPES = ("latent_size", "resampling", "group_width")
"""Fields in which a run has to be like the one that it begins with, or layers of both do not fit."""


class Inheritance(NamedTuple):
    """The names of the weights that were taken over, and of those that start from scratch."""

    taken: list[str]
    fresh: list[str]


def check_init_from(recipe: Recipe, channels: int = 3, classes: int = 0) -> Inheritance:
    """Before any work: is there a run to begin with, and does it fit?

    Args:
        recipe: with `init_from`, or without.
        channels: of the pictures, if that is known.
        classes: how many; 0 for none.

    Returns:
        What will be taken over of the generator and of the discriminator.

    Raises:
        HasamaError: `init_from` is no run with a checkpoint, is of another architecture, or of larger pictures, or
            none of its weights would be taken over.
    """
    if not recipe.init_from:
        return Inheritance([], [])
    named, run = f"--init-from {recipe.init_from}", Run(place_named(recipe.init_from))
    if not run.exists():
        bases = f"The bases that come with Hasama: {', '.join(base_names())}."
        raise HasamaError(f"{named}: there is no run (no recipe.json). {bases}")
    other = run.recipe()
    if not run.checkpoint.exists():
        raise HasamaError(f"{named}: that run has no checkpoint (game.pt) yet.")
    if other.architecture != recipe.architecture:
        raise HasamaError(
            f"{named}: that run trains {other.architecture}, not {recipe.architecture}; weights can only be taken "
            f"over within an architecture. Try  hasama train ... {other.architecture} {named}"
        )
    if any(ours < theirs for ours, theirs in zip(recipe.game_resolution, other.game_resolution, strict=True)):
        sizes = [size_text(*one.game_resolution) for one in (other, recipe)]
        small = " (the small pictures of --enlarge)" if recipe.enlarge > 1 else ""
        raise HasamaError(
            f"{named}: that run makes {sizes[0]}, and this one would make {sizes[1]}{small}: weights can only be "
            "taken over for pictures of the same or a larger size."
        )
    state = {
        name: {key: t.to("meta") for key, t in part.items() if isinstance(t, Tensor)}
        for name, part in _networks_in(run.peek().get("game") or run.saved_game(), run).items()
        if isinstance(part, dict)
    }
    with outline():
        pair = build(recipe, channels, classes)
    networks = {"generator": _small(pair.generator), "discriminator": pair.discriminator}
    return _take_over(networks, state, pair.latent_size, recipe.init_from)


def beginning(recipe: Recipe, channels: int, classes: int) -> str:
    """What a run begins with, in a line: how much of it is lost, and what would keep it; '' if with nothing.

    Args:
        recipe: with `init_from`, or without.
        channels: of the pictures.
        classes: how many; 0 for none.

    Raises:
        HasamaError: see `check_init_from`.
    """
    if not (recipe.init_from and is_first()):  # which gives the weights to the others
        return ""
    told = f"\nIt begins with the weights of {recipe.init_from} (see inherited.json)."
    recipe = half_size(recipe) if recipe.small_kimg else recipe
    foreseen = check_init_from(recipe, channels, classes)
    own = Run(place_named(recipe.init_from)).recipe()
    taken, fresh = ([name for name in names if name.endswith("weight")] for names in foreseen)
    if anew := [name for name in fresh if not _begins_at_nothing(name, own)]:
        told += f" {len(anew)} of {len(taken) + len(fresh)} layers begin anew."
    if other := _other_shapes(own, recipe):
        told += f" It was trained with {', '.join(other)}: so would more of it be kept."
    return told


def _begins_at_nothing(name: str, own: Recipe) -> bool:
    """Whether a fresh weight changes nothing at first: of a modulation, an attention, or a block more than before."""
    block = re.match(r"generator\.stages\.\d+\.(\d+)\.", name)
    return (
        "modulation" in name or ".attention." in name or (block is not None and int(block[1]) >= own.generator_blocks)
    )


def _other_shapes(own: Recipe, recipe: Recipe) -> list[str]:
    """What the run to begin with was trained with, where the recipe has something else in which less of it fits."""
    found = [name for name in SHAPES if getattr(own, name) != getattr(recipe, name)]
    more = ("self_modulation", "pixel_noise", "generator_blocks", "generator_attention")
    found += [name for name in more if getattr(own, name) > getattr(recipe, name)]
    widens = recipe.architecture == "r3gan"
    if own.width > recipe.width or (own.width != recipe.width and not widens):
        found.append("width")
    told = [said(name, getattr(own, name)) for name in found]
    if widens and own.width_of_generator > recipe.width_of_generator:
        told.append(said("generator_width", own.width_of_generator))
    return told


def as_wide(recipe: Recipe, run: Run | None = None) -> Recipe:
    """A recipe that begins with another run, with a generator as wide as that run's, unless a width was asked for.

    Else most of a wider generator's weights would not fit.

    Args:
        recipe: with --init-from, or as it is.
        run: of the recipe, if there is one; once it has begun, its width is what it is.
    """
    if not recipe.init_from or recipe.generator_width is not None or recipe.architecture != "r3gan":
        return recipe
    if run is not None and run.exists():
        return recipe.but(generator_width=run.recipe().generator_width)
    other = Run(place_named(recipe.init_from))
    own = other.recipe() if other.exists() else recipe
    if (own.architecture, own.width) != (recipe.architecture, recipe.width):
        return recipe  # what does not fit, `check_init_from` explains
    wide = own.width_of_generator
    return recipe.but(generator_width=wide) if wide > recipe.width_of_generator else recipe


def inherit(game: Game, folder: str | Path) -> Inheritance:
    """Put the weights of the run in `folder` into a game that has not begun, wherever name and shape agree.

    Raises:
        HasamaError: its checkpoint is damaged, or nothing fits.
    """
    run = Run(place_named(folder))
    state = _networks_in(run.saved_game(), run)
    networks: dict[str, nn.Module] = {
        "generator": _small(game.pair.generator),
        "discriminator": game.bare_discriminator,
    }
    if game.ema is not None:
        networks["ema"] = _small(game.ema)
    if game.aid is not None and isinstance(state.get("heads"), dict):
        networks["heads"] = game.aid.heads
    return _take_over(networks, state, game.pair.latent_size, folder)


def learn_from_small(
    game: Game, recipe: Recipe, fresh: Collection[str], pictures: Pictures, stop: Callable[[], bool]
) -> Generator[Distilled, None, bool]:
    """Where a game has begun with networks for smaller pictures, let what is fresh learn what those do: see `distil`.

    Args:
        game: to which `inherit` has given its weights.
        recipe: of the run.
        fresh: the weights that it did not give.
        pictures: of the run, for the discriminator.
        stop: asked after each step.

    Returns:
        Whether it came to its end; also where there was nothing to learn.
    """
    run, steps = Run(place_named(recipe.init_from)), min(STEPS, recipe.images // recipe.batch // 10)
    own, pair = run.recipe(), game.pair
    networks = {"generator": _small(pair.generator), "discriminator": game.bare_discriminator}
    new = [
        weight
        for which, network in networks.items()
        for name, weight in _by_name(dict(network.named_parameters())).items()
        if f"{which}.{name}" in fresh
    ]
    if not (new and steps and own.latent_size == pair.latent_size) or own.game_resolution == recipe.game_resolution:
        return True
    small = as_it_was(own, pictures.report.channels, pair.classes, run.saved_game())
    if small is None:
        return True
    large, batch = Networks(**networks, new=new), min(BATCH, recipe.batch)
    reals = batches(pictures, batch, recipe.seed, mirror=recipe.mirror, device=new[0].device)
    return (yield from distil(game, large, small, reals, steps, recipe.seed, stop))


def _take_over(
    networks: dict[str, nn.Module], state: dict[str, Any], latent_size: int, folder: str | Path
) -> Inheritance:
    """Put a checkpoint's weights into networks, wherever name and shape agree."""
    taken, fresh = [], []
    for which, network in networks.items():
        ours = _by_name(network.state_dict())
        equal = {f"{name}.weight" for name, layer in network.named_modules() if _is_equalised(layer)}
        tensors = {name: one for name, one in _state_of(which, state).items() if isinstance(one, Tensor)}
        theirs = with_new_names(_by_name(tensors), ours)
        inputs = _inputs(network) if isinstance(network, WIDENED) else {}
        if inputs:
            theirs = recoloured(theirs, ours, transposed=inputs.get("to_rgb.weight") == 0)
        for name, tensor in ours.items():
            if name.endswith(OWN):
                continue
            other = theirs.get(name)
            if other is not None and other.shape != tensor.shape:
                if name in inputs:
                    other = _within(other, tensor, inputs[name])
                else:
                    other = _with_classes(other, tensor, latent_size)
                    if other is not None and name in equal:
                        other *= math.sqrt(2)  # it divides by the root of its inputs: there are twice as many
            if (
                other is not None
                and other.shape == tensor.shape
                and widened(other, tensor.dtype).dtype == tensor.dtype
            ):
                tensor.copy_(other)
                taken.append(f"{which}.{name}")
            else:
                fresh.append(f"{which}.{name}")
    if not any(name.endswith("weight") and not name.startswith("heads.") for name in taken):  # heads always fit
        raise HasamaError(f"--init-from {folder}: none of its weights fits these networks; is --width the same?")
    return Inheritance(taken, fresh)


def _inputs(network: nn.Module) -> dict[str, int | None]:
    """{weight: along which of its dimensions it takes what the layer before it made; None: along none}"""
    found: dict[str, int | None] = dict.fromkeys((name for name, _ in network.named_parameters()), None)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.ConvTranspose2d):
            found[f"{name}.weight"] = 0
        elif isinstance(layer, nn.Linear | nn.Embedding) or getattr(layer, "kernel_size", None) == (1, 1):
            found[f"{name}.weight"] = 1
    return _by_name(found)


def _within(narrow: Tensor, wide: Tensor, inputs: int | None) -> Tensor | None:
    """A narrower layer's weights within a wider one's first weights; what is new counts for nothing where the old
    layer goes on. None if it does not fit in.
    """
    if narrow.ndim != wide.ndim or any(a > b for a, b in zip(narrow.shape, wide.shape, strict=True)):
        return None
    if any(a != b for at, (a, b) in enumerate(zip(narrow.shape, wide.shape, strict=True)) if at not in (0, inputs)):
        return None  # other groups, another kernel, or another smallest picture
    whole, old = wide.to(narrow.dtype, copy=True), [slice(size) for size in narrow.shape]
    if inputs is not None:
        new = [*old]
        new[inputs] = slice(narrow.shape[inputs], None)
        whole[tuple(new)] = 0
    whole[tuple(old)] = narrow
    return whole


def _with_classes(other: Tensor, ours: Tensor, latent_size: int) -> Tensor | None:
    """A first layer [n, Z], or transposed [Z, n, h, w], for a network whose latents have a label appended: at first
    the label counts for nothing. None if it is something else.
    """
    inputs = 1 if other.ndim == 2 else 0
    wide = list(other.shape)
    if wide[inputs] != latent_size:
        return None
    wide[inputs] *= 2
    return _within(other, ours, inputs) if list(ours.shape) == wide else None


def _is_equalised(layer: nn.Module) -> bool:
    """Whether a layer's weights are scaled when they are used."""
    return is_parametrized(layer, "weight") and any(isinstance(one, Equalised) for one in layer.modules())


def _small(network: nn.Module) -> nn.Module:
    """A generator without the enlarger."""
    return network.generator if isinstance(network, Enlarged) else network


def _state_of(which: str, state: dict[str, Any]) -> dict[str, Any]:
    """A network's weights in a checkpoint; where there is no EMA generator, the generator's."""
    return state.get(which) or (which == "ema" and state.get("average")) or state["generator"]  # version 0.1.0


def _networks_in(state: Any, run: Run) -> dict[str, Any]:
    """A checkpoint's game, if there are networks in it."""
    if isinstance(state, dict) and all(
        isinstance(state.get(which), dict) for which in ("generator", "discriminator")
    ):
        return state
    raise HasamaError(f"--init-from {run.folder}: its checkpoint {run.checkpoint} is damaged (no networks in it).")


def _by_name(state: dict[str, Any]) -> dict[str, Any]:
    """A state's entries by the names that they have without parametrizations and augmentation around them."""
    named = {}
    for name, entry in state.items():
        name = re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name.removeprefix("discriminator."))
        name = name.removeprefix("generator.")  # within an enlarged one
        named[name] = entry
    return named
