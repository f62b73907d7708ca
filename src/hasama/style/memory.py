"""How large a window may go through the network at once, so that a painting keeps to a budget of memory."""

import math
import re
import resource
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch

from hasama.device import free_memory, peak_bytes
from hasama.errors import HasamaError
from hasama.perception.vgg import stride_of
from hasama.style.canvas.lbfgs import HISTORY
from hasama.style.canvas.pictures import Picture
from hasama.style.canvas.tiles import halo_of
from hasama.style.methods.matching import AT_ONCE, MOST_ACTIVATIONS, MOST_COLUMNS, ROWS_AT_ONCE, STRIDE
from hasama.style.recipe import StyleRecipe, scale_sides
from hasama.style.subject import used_layers, within

COLOUR_BYTES = 12
"""Three float32 for each pixel."""

COPIES = {"none": 8.0, "adam": 4.0, "pyramid": 8.0, "gradient-descent": 2.0, "lbfgs": 8.0 + 2 * HISTORY}
"""Canvases that live at once: the picture, its gradient, and the optimizer's memory."""

WINDOW_BYTES = {2: 1400, 4: 2700}
"""Of the network's activations and their gradients for each pixel of a window, by bytes a number (measured)."""

AT_ONCE_BYTES = {2: 450, 4: 850}
"""The same of what paints at once: nothing is kept for gradients (measured)."""

MIXED_BYTES = {2: 650, 4: 50}
"""As much more where masks mix styles: that is done in float32, whatever the numbers are (measured)."""

COLUMN_COPIES = 4
"""How often a window's hypercolumns are there at once: the canvas's, the wanted ones, and what the gradient needs."""

SOURCE_BYTES, SOURCE_BYTES_WITH_ALPHA = 8, 16
"""For each pixel of a picture that is made smaller (measured)."""

KEPT = 1.4
"""Times as much where freed blocks are kept for speed (`hasama.device.keep_memory`): they do not always fit again."""

OVERHEAD = 192 * 2**20
"""What libraries take for their threads' work and what an allocator cannot reuse."""

SAFE = 0.95
"""Of a budget, what a proposal is to take: the process itself is not always as large."""

SHARE_OF_FREE = 0.7
"""Of the memory that is free, the part that is taken unasked."""

BY_PLACE = 1_700_000_000
"""Of windows, what `neighbour` takes unasked: 1024x1024 pixels are then four windows of 23 % more pixels in all."""

LARGEST_WINDOW = 1536
"""Windows beyond this side are no faster."""

CHANNELS = {1: 64, 2: 128, 4: 256, 8: 512, 16: 512}


def parse_memory(text: str) -> int:
    """'2GB' -> 2_000_000_000 bytes; also MB, KB, GiB, MiB, KiB.

    Raises:
        HasamaError: it reads otherwise.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if not match or not float(match[1]):
        raise HasamaError(f"--memory takes an amount such as 2GB or 800MB; got {text!r}.")
    base = 1024 if match[3] else 1000
    return round(float(match[1]) * base ** " kmgt".index(match[2] or " "))


def in_words(amount: float) -> str:
    """Bytes for people: 1.8 GB."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def needs_in_words(amount: float) -> str:
    """The same rounded up, so that whoever gives as much gives enough: the process is not always as large."""
    unit = 1e8 if amount > 990e6 else 1e6
    return in_words(math.ceil(1.01 * amount / unit) * unit)


def pick_window(
    height: int, width: int, recipe: StyleRecipe, number_bytes: int, network: str, budget: int, kept: bool = False,
    styles: int = 1, masked: bool = False, scales: Sequence[tuple[int, int]] = (),
) -> int:  # fmt: skip
    """The side in pixels of the largest window with which painting keeps to the budget.

    Args:
        height: of this scale, in pixels.
        width: likewise.
        recipe: its optimizer and layers count.
        number_bytes: 2 for bfloat16 activations, 4 for float32.
        network: vgg16 or vgg19.
        budget: bytes for the whole process.
        kept: whether freed blocks are kept.
        styles: how many there are.
        masked: whether styles go to places of their own.
        scales: (height, width) of the scales before it, which must fit as well.

    Raises:
        HasamaError: not even the smallest window fits; the message holds an estimate and what would fit.
    """
    stride, halo = halo_of(used_layers(recipe), network, recipe.by_place)
    smallest, largest = 3 * halo, min(max(height, width), max(LARGEST_WINDOW, 3 * halo))

    def needed(height: int, width: int, side: int = smallest) -> float:
        window = window_bytes(height, width, side, number_bytes, recipe, masked)
        fixed = fixed_bytes(height, width, recipe, number_bytes, styles, masked)
        return fixed + (KEPT if kept else 1) * window

    neediest = max(((height, width), *scales), key=lambda size: needed(*size))  # of L-BFGS not always the last
    if needed(*neediest) <= budget:
        fitting = (side for side in range(largest, smallest, -stride) if needed(height, width, side) <= budget)
        return next(fitting, min(smallest, largest))
    kind = "at once" if recipe.at_once else f"with {recipe.optimizer_at(*neediest)}"
    raise HasamaError(
        f"Painting {width}x{height} pixels {kind} needs about {needs_in_words(needed(*neediest))}, and "
        f"{in_words(budget)} may be taken. {_instead(height, width, recipe, budget, needed)}"
    )


def _instead(height: int, width: int, recipe: StyleRecipe, budget: int, needed: Callable[[int, int], float]) -> str:
    """What to do about it."""
    longer = max(height, width)
    for share, side in product((SAFE, 1.0), range(longer, 63, -16)):
        sides = scale_sides(min(recipe.smallest, side), side, recipe.scale_step)
        sizes = [within(height, width, one) for one in sides]
        if max(needed(*size) for size in sizes) <= share * budget:
            lighter = "" if recipe.optimizer_at(*sizes[-1]) != "lbfgs" else ", use --optimizer adam"
            return f"Give it more (--memory){lighter}, or paint smaller: --size {side} would fit."
    return "Give it more (--memory)."


def fixed_bytes(
    height: int, width: int, recipe: StyleRecipe, number_bytes: int, styles: int = 1, masked: bool = False
) -> int:
    """What does not depend on the window: the process, the canvases, the wanted content."""
    pixels = height * width
    kind = recipe.optimizer_at(height, width)
    copies = COPIES[kind] + recipe.averages(kind)
    content = recipe.content if recipe.content_weight else {}
    kept = sum(CHANNELS[stride_of(layer)] * number_bytes / stride_of(layer) ** 2 for layer in content)
    style = COLOUR_BYTES * max(0.0, recipe.style_scale**2 - 1)
    bank = bank_bytes(height, width, recipe, number_bytes, styles, masked) if recipe.by_place else 0
    return round(pixels * (copies * COLOUR_BYTES + kept + style)) + bank + process_bytes() + OVERHEAD


def check_sources(pictures: Sequence[Picture], budget: int) -> None:
    """Pictures are made as small as the canvas channel by channel, each in float32 at its own size.

    Raises:
        HasamaError: a large one needs more for that than may be taken.
    """
    for picture in pictures:
        pixels = int(np.prod(picture.size))
        needed = process_bytes() + pixels * (SOURCE_BYTES if picture.alpha is None else SOURCE_BYTES_WITH_ALPHA)
        if needed > budget:
            height, width = picture.size
            raise HasamaError(
                f"To make a picture of {width}x{height} pixels smaller takes about {needs_in_words(needed)}, and "
                f"{in_words(budget)} may be taken. Give it more (--memory), or make it smaller first."
            )


def bank_bytes(
    height: int, width: int, recipe: StyleRecipe, number_bytes: int, styles: int = 1, masked: bool = False
) -> int:
    """The activations of the styles that places are compared with.

    A style is as large as the canvas, and small ones have fewer places than are chosen at most; where styles go to
    places of their own, so many are chosen of each.
    """
    pixels = styles * (4 if recipe.rotations else 1) * height * width * recipe.style_scale**2
    choices = styles if masked else 1
    columns = min(choices * MOST_COLUMNS, pixels / STRIDE**2)
    whole = sum(CHANNELS[stride_of(layer)] for layer in recipe.style) * columns * number_bytes
    apart = sum(
        CHANNELS[stride_of(layer)] * min(choices * MOST_ACTIVATIONS, pixels / stride_of(layer) ** 2) * 4
        for layer in recipe.style
    )
    return round(max(whole, apart))


def window_bytes(
    height: int, width: int, side: int, number_bytes: int, recipe: StyleRecipe | None = None, masked: bool = False
) -> int:
    """What a window of this side takes while it goes through the network and back.

    With `neighbour` also its hypercolumns, those that are wanted, and their gradients, in float32; or, before that,
    the similarities that are computed at once, where these take more.
    """
    each, least = WINDOW_BYTES[number_bytes], 0
    if recipe is not None and recipe.at_once:
        each = AT_ONCE_BYTES[number_bytes] + masked * MIXED_BYTES[number_bytes]
    elif recipe is not None and recipe.by_place:
        each += COLUMN_COPIES * 4 * sum(CHANNELS[stride_of(layer)] for layer in recipe.style) // STRIDE**2
        least = 8 * min(AT_ONCE, ROWS_AT_ONCE * (height * width // STRIDE**2))
    return max(least, min(height, side) * min(width, side) * each)


def process_bytes() -> int:
    """What this process takes now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_bytes()


def unasked_budget(
    device: torch.device, height: int, width: int, recipe: StyleRecipe, number_bytes: int, styles: int = 1,
    masked: bool = False,
) -> int:  # fmt: skip
    """What may be taken where nobody says it, for a largest scale of that size; `neighbour` is modest."""
    budget = default_budget(device)
    if not recipe.by_place or device.type == "cuda":
        return budget
    return min(budget, fixed_bytes(height, width, recipe, number_bytes, styles, masked) + BY_PLACE)


def default_budget(device: torch.device) -> int:
    """A share of what is free, on the graphics card if that is where the work is done."""
    if device.type == "cuda":
        return process_bytes() + OVERHEAD + round(SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0])
    free = free_memory()
    return process_bytes() + round(SHARE_OF_FREE * free) if free is not None else 4 * 10**9
