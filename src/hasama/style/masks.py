"""Masks: where a style is painted, what of a style picture is learnt, and whether a mask leaves anything at all."""

from collections.abc import Sequence
from pathlib import Path

from hasama.errors import HasamaError
from hasama.shapes import Weighting
from hasama.style.canvas.pictures import read_mask
from hasama.style.canvas.regions import RegionMap, colour_name, read_regions
from hasama.style.subject import Style

DARK = 0.1
"""Brightness up to which a mask counts as black."""

LEAST_PIXELS = 4
"""Of the painted picture that a mask must cover, or it counts as black."""

LITTLE = 0.01
"""Of the picture that all masks cover together: what is less is worth a warning."""


def read_grey_mask(path: Path) -> Weighting:
    """A mask as weights: [H, W], 0 (black) to 1 (white).

    Raises:
        HasamaError: it cannot be read, or is coloured: a map of regions is no mask.
    """
    regions = read_regions(path)
    if regions is not None:
        raise HasamaError(
            f"The mask {path} is a coloured map ({colours_told(regions)}), not a grey mask. Convert it to grey "
            "(white: here); or, for regions, give it as the only --where, with a style for each of its colours."
        )
    return read_mask(path)


def read_map(path: Path) -> RegionMap:
    """A coloured map that was one when it was asked for.

    Raises:
        HasamaError: it is one no longer.
    """
    regions = read_regions(path)
    if regions is None:
        raise HasamaError(f"{path} is no coloured map any more.")
    return regions


def regions_of_styles(regions: RegionMap, path: Path, count: int) -> list[int]:
    """The numbers of the colours that so many styles get: all; or, if that does not fit, all but black.

    Raises:
        HasamaError: there are more or fewer colours than styles.
    """
    for numbers in (list(range(len(regions.colours))), regions.painted):
        if len(numbers) == count:
            return numbers
    styles = "1 style is" if count == 1 else f"{count} styles are"
    raise HasamaError(
        f"{path} is a coloured map of {len(regions.colours)} regions ({colours_told(regions)}), but {styles} given. "
        "Give a style for each colour, in this order (black may be left out, and then stays as it is); or convert it "
        "to grey, for a mask."
    )


def colours_told(regions: RegionMap, most: int = 6) -> str:
    """The colours of a map in words, in the order in which they first appear."""
    names = [colour_name(colour) for colour in regions.colours]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_masks(styles: Sequence[Style], height: int, width: int) -> None:
    """Before any painting: does every mask leave something?

    Args:
        styles: with their masks.
        height: of the painted picture, in pixels.
        width: likewise.

    Raises:
        HasamaError: one is no mask, or (nearly) black everywhere.
    """
    for number, style in enumerate(styles, 1):
        name = style.name or f"style {number}"
        for mask in (style.mask, style.where):
            if mask is not None and not (mask.ndim == 2 and mask.numel() and bool(mask.isfinite().all())):
                raise HasamaError("A mask is a tensor [H, W] of numbers from 0 to 1.")
        if style.where is not None and _is_black(style.where, height * width):
            raise HasamaError(
                f"The mask that says where {name} is painted (--where) is (nearly) black everywhere: it would be "
                "painted nowhere. White is where a style goes: choose another mask, or leave out this style."
            )
        if style.mask is not None and _is_black(style.mask, height * width):
            raise HasamaError(
                f"The mask of {name} (--style-mask): this style's mask is (nearly) black everywhere, and there is "
                "nothing left to learn from. White is what is learnt from: choose another mask, or none."
            )


def _is_black(mask: Weighting, pixels: int) -> bool:
    """Whether what is brighter than `DARK` covers less than a few of so many pixels."""
    covered = float((mask > DARK).float().mean())
    return covered < min(0.5, LEAST_PIXELS / pixels)


def little_covered(styles: Sequence[Style]) -> str:
    """What to tell where all masks together cover next to nothing of the picture; '' where they do not."""
    if not styles or any(style.where is None for style in styles):
        return ""
    share = sum(float(style.where.clamp(0, 1).mean()) for style in styles if style.where is not None)
    if share >= LITTLE:
        return ""
    return f"The masks cover {100 * share:.2g} % of the picture: the rest stays as it is."
