"""From a canvas to the picture that people get."""

import torch

from hasama.shapes import Images, Weighting
from hasama.style.canvas.colour import (
    blended,
    colours_of,
    hues_matched,
    mixed,
    palette_of,
    recoloured,
    with_luminance,
)
from hasama.style.canvas.pictures import Picture, fitted_mask, to_canvas, to_output
from hasama.style.subject import Style, Subject, small_style


def finished(subject: Subject, image: torch.Tensor, sixteen_bits: bool) -> Picture:
    """A canvas as the picture that people get.

    The content's colours are put back if asked; where no style goes, the content stands as it was; alpha and profile
    are the content's.
    """
    image, (height, width) = image.cpu(), (image.shape[2], image.shape[3])
    if subject.recipe.keep_colour == "luminance":
        image = with_luminance(to_canvas(subject.content, height, width), image)
    elif subject.recipe.colours != "painted" and subject.recipe.keep_colour == "no":
        share = min(1.0, subject.recipe.strength) if subject.recipe.at_once else 1.0
        image = image.lerp(in_the_styles_colours(subject, image), share)
    places = [style.where for style in subject.styles if style.where is not None]
    if places and len(places) == len(subject.styles):
        painted = torch.stack([fitted_mask(place, height, width) for place in places]).sum(0).clamp_(max=1)
        image = to_canvas(subject.content, height, width).lerp_(image, painted)
    return to_output(image, subject.content, sixteen_bits)


def in_the_styles_colours(subject: Subject, image: Images) -> Images:
    """The painting in the colours of all styles that go everywhere, and of each of the others in its place."""
    height, width = image.shape[2:]
    everywhere = [style for style in subject.styles if style.where is None]
    whole = _coloured(subject, image, everywhere, None) if everywhere else image
    for style in subject.styles:
        if style.where is not None and float((where := fitted_mask(style.where, height, width)).sum()):
            whole = whole.lerp(_coloured(subject, image, [style], where), where)
    return whole


def _coloured(subject: Subject, image: Images, styles: list[Style], where: Weighting | None) -> Images:
    learnt = [small_style(style) for style in styles]
    weights = [style.weight for style in styles]
    if subject.recipe.colours == "hues":
        content = to_canvas(subject.content, *image.shape[2:])
        return hues_matched(image, content, blended([palette_of(*one) for one in learnt], weights), where)
    return recoloured(image, colours_of(image, where), mixed([colours_of(*one) for one in learnt], weights))
