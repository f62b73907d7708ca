"""Style transfer from Python: `stylize` opens, plans and yields frames."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hasama.device import keep_memory, pick_device
from hasama.errors import HasamaError
from hasama.perception.vgg_weights import load_weights
from hasama.style.canvas.pictures import Picture, in_space_of, read_picture
from hasama.style.instant import open_hand
from hasama.style.masks import check_masks
from hasama.style.memory import check_sources, pick_window, unasked_budget
from hasama.style.recipe import STARTS, StyleRecipe, style_recipe_named
from hasama.style.subject import Style, Subject, network_for
from hasama.style.transfer import Frame, repaint


class Machine(NamedTuple):
    """What the work is done with. Apart from `weights` it changes no more than the last bits of a picture."""

    device: str = "auto"
    memory: int | None = None
    """Bytes for the whole process; None: most of what is free."""
    weights: Path | None = None
    """The network's; None: the packaged VGG19."""
    threads: int | None = None
    """That somebody asked torch to take; None: what is gone on with takes as many as it was begun with."""


def stylize(
    content: str | Path | Picture,
    styles: str | Path | Style | Picture | Sequence[str | Path | Style | Picture],
    recipe: StyleRecipe | str = StyleRecipe(),  # noqa: B008 (frozen)
    machine: Machine = Machine(),  # noqa: B008 (immutable)
) -> Iterator[Frame]:
    """Paint a picture in the style of others; every frame holds the picture so far.

        for frame in stylize("cat.jpg", "starry-night.jpg"):
            print(frame.scale, frame.iteration, frame.total)
        frame.picture.save("painted.png")

    Args:
        content: what to paint.
        styles: one or several to learn from; a `Style` has a weight and masks, too.
        recipe: how; or the name of one of the recipes for styles.
        machine: with what.

    Raises:
        HasamaError: a picture cannot be read, the network has no such layer, or the memory does not suffice.
    """
    chosen = _several(styles)
    recipe = style_recipe_named(recipe) if isinstance(recipe, str) else recipe
    if not chosen:
        raise HasamaError("Name at least one picture to take the style from.")
    files = (str, Path, Picture)
    for kinds, ones in ((files, [content]), ((*files, Style), chosen), ((StyleRecipe,), [recipe])):
        for one in ones:
            if not isinstance(one, kinds):
                names = ", ".join(kind.__name__ for kind in kinds)
                raise HasamaError(f"stylize takes {names} here; got {type(one).__name__}.")
    picture = content if isinstance(content, Picture) else read_picture(content)
    ready = [_opened(style) for style in chosen]
    return repaint(plan(picture, ready, recipe, machine))


def _several(given: Any) -> list[Any]:
    """One or several, as a list; what is none of it is refused by its kind."""
    if isinstance(given, (str, Path, Style, Picture)) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _opened(style: Any) -> Style:
    """With its picture read; a `Style` may name a file, too."""
    whole = style if isinstance(style, Style) else Style(style)
    return whole if isinstance(whole.picture, Picture) else whole._replace(picture=read_picture(whole.picture))


def plan(content: Picture, styles: list[Style], recipe: StyleRecipe, machine: Machine = Machine()) -> Subject:  # noqa: B008
    """Everything that `repaint` needs, with the largest windows that the memory allows.

    Raises:
        HasamaError: see `stylize`.
    """
    for style in styles:
        if not 0 < style.weight < math.inf:
            raise HasamaError(f"A style's weight must be positive; got {style.weight}.")
    bounded = machine.memory is not None
    kept = not bounded and not recipe.by_place  # where keeping takes nearly a GB, for an eighth of the time
    keep_memory(kept)
    device = pick_device(machine.device)
    weights = load_weights(machine.weights)
    network = network_for(recipe, weights, device, quick=not bounded)
    hand = open_hand(weights, recipe, device, network) if recipe.start == "instant" else None
    start = None if recipe.start in STARTS else in_space_of(read_picture(recipe.start), content.profile)
    styles = [style._replace(picture=in_space_of(style.picture, content.profile)) for style in styles]
    subject = Subject(content, styles, recipe, network, device, 0, start, hand=hand)
    check_masks(styles, *subject.sizes()[-1])
    number = 2 if network.precision == torch.bfloat16 else 4
    shared = (len(styles), any(style.where is not None for style in styles))
    sizes = subject.sizes()
    budget = machine.memory or unasked_budget(device, *sizes[-1], recipe, number, *shared)
    about = (recipe, number, network.name, budget, kept, *shared)
    sides = {sizes[-1]: pick_window(*sizes[-1], *about, scales=sizes[:-1])}
    sides |= {size: pick_window(*size, *about) for size in sizes[:-1]}
    if machine.memory is not None:
        check_sources([content, *(style.picture for style in styles)], machine.memory)
    limits = [side for size, side in sides.items() if side < max(size)]  # others went through in one piece
    return subject._replace(side=min(limits, default=max(sides.values())))
