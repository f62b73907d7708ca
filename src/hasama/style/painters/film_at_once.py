"""Films and animations, painted picture by picture by a taught painter.

Its statistics follow the film slowly, one picture behind, so that a picture goes through the network once; and each
painting is held to the last one where the film's motion carries that along.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.video import check_ending, film_in_the_making
from hasama.style.canvas.colour import in_grey, with_luminance
from hasama.style.canvas.pictures import from_pixels, to_canvas, to_output
from hasama.style.jobs.film import opaque, open_film
from hasama.style.jobs.motion import steadied
from hasama.style.painters.at_once import Following
from hasama.style.painters.painter import Mix, Painter


class Painted(NamedTuple):
    """A picture of a film is painted.

    Attributes:
        stage: what is done.
        done: pictures so far.
        total: about so many there are.
    """

    stage: str
    done: int
    total: int


def paint_film_at_once(
    painter: Painter, mix: Mix, film: Path, out: Path, budget: int | None = None, keep_luminance: bool = False
) -> Iterator[Painted]:
    """Paint a film into another, with its sound and its times.

    Args:
        painter: in evaluation mode.
        mix: [1, 1 + styles], from `mix_of`.
        film: a film or an animation.
        out: .mp4, .gif, .webp or .apng. It is written when all is painted.
        budget: bytes for the whole process; None: any.
        keep_luminance: paint in grey and put the film's colours back.

    Yields:
        A record after each picture.

    Raises:
        HasamaError: the film cannot be read, the place cannot be written to, or its pictures need more memory.
    """
    check_ending(out)
    opened = open_film(film)
    with film_in_the_making(out, opened.fps, film, opened.timing) as take:
        following = Following(painter, mix, budget)
        before: tuple[np.ndarray, np.ndarray] | None = None
        count = 0
        for count, pixels in enumerate(opened.pictures(), 1):
            content = from_pixels(pixels)
            photo = to_canvas(content, *content.size)
            made = following.paint(in_grey(photo) if keep_luminance else photo)
            made = with_luminance(photo, made) if keep_luminance else made
            painted, shown = np.asarray(to_output(made, content, False).shown()), opaque(content)
            if before is not None:
                painted = steadied(painted, before[1][..., :3], before[0], shown)
            before = shown, painted
            take(Image.fromarray(painted))
            yield Painted("painting", count, max(opened.length, count))
        if not count:
            raise HasamaError(f"Cannot read the film {film}: there are no pictures in it.")
