"""Teach the enlarger that ships with the package: `src/hasama/weights/enlarger.safetensors`.

    python scripts/teach_enlarger.py FOLDER --minutes 240 --state enlarger.pt --out enlarger.safetensors

FOLDER holds large pictures (any depth of sub-folders); PNGs that are transparent somewhere are taken as drawings. The
weights that ship were taught on the pictures of Debian's packages gnome-backgrounds, mate-backgrounds,
plasma-workspace-wallpapers and ukui-wallpapers, each taken at several sizes, on the drawings of openclipart-png, and
on shapes and letters that this script draws. Minutes are of the processor's time; it is killed and begun again at
will: what is in --state goes on. What ships was taught from nothing, and then --begin-with that, with --share 0.75.
"""

import itertools
import random
from collections.abc import Iterator

import numpy as np
import torch
from long_teaching import Teaching, asked
from photographs import Pool, cut, drawings_of, pool_of
from PIL import Image, ImageDraw, ImageFont

from hasama.networks.enlarger import Enlarger, load_part
from hasama.pictures.tensors import to_images
from hasama.training.enlarging import Enlarging, Patches, Pieces, learn_to_enlarge

CROPS = {2: (96, 8), 4: (128, 5), 8: (192, 2)}
"""{factor: (side of a crop, crops in a batch)}"""
FACTORS = (2, 2, 4, 2, 2, 8)
RATE, GENTLE, HONEST = 5e-4, 2e-4, 0.25
"""Rates from nothing and of what goes on; the share of the training before the patches count."""
DRAWN, CLIPPED = 0.1, 0.25
"""The shares of batches that are drawn here, and that are cut from drawings, both with transparency."""


def drawing(side: int, draw: random.Random) -> np.ndarray:
    """Shapes and letters on nothing, RGBA, drawn four times as large."""
    large = 4 * side
    picture = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for _ in range(draw.randint(2, 9)):
        colour = (*draw.choices(range(256), k=3), draw.choice((255, 255, 255, 160)))
        edge = (*draw.choices(range(256), k=3), 255)
        x, y = draw.randrange(-large // 8, large), draw.randrange(-large // 8, large)
        w, h = draw.randint(large // 16, large // 2), draw.randint(large // 16, large // 2)
        width = draw.randint(1, 14)
        match draw.randrange(6):
            case 0:
                pen.ellipse((x, y, x + w, y + h), colour, edge, width)
            case 1:
                pen.rounded_rectangle((x, y, x + w, y + h), draw.randint(0, 40), colour, edge, width)
            case 2:
                points = [(x + draw.randrange(w), y + draw.randrange(h)) for _ in range(draw.randint(3, 6))]
                pen.polygon(points, colour, edge)
            case 3:
                pen.line([(x + draw.randrange(w), y + draw.randrange(h)) for _ in range(4)], edge, width, "curve")
            case 4:
                pen.arc((x, y, x + w, y + h), draw.randrange(360), draw.randrange(360), edge, width)
            case _:
                text = "".join(draw.choice("abcdefghijkmnopqrstuvwxyzABCDEFGHKMNRST0123456789&?!") for _ in range(4))
                pen.text((x, y), text, colour, ImageFont.load_default(draw.randint(large // 12, large // 3)))
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def crops(pool: Pool, drawings: Pool, first: int) -> Iterator[Pieces]:
    """Batches without end; the k-th depends on k alone, and so does the randomness of its step."""
    for number in itertools.count(first):
        draw = random.Random(number)
        torch.manual_seed(number)
        factor = FACTORS[number % len(FACTORS)]
        side, count = CROPS[factor]
        lot = draw.random()
        taken = drawings if drawings and lot > 1 - CLIPPED else pool
        batch = [drawing(side, draw) if lot < DRAWN else cut(taken, side, draw) for _ in range(count)]
        yield Pieces(to_images(np.stack(batch)), factor)


def main() -> None:
    given = asked(__doc__)
    enlarger, patches = Enlarger(), Patches()
    if given.begin_with:
        load_part(enlarger, given.begin_with, "enlarger")
        load_part(patches, given.begin_with, "patches")
    game = Enlarging.of(enlarger, patches, *((GENTLE, 0.0) if given.begin_with else (RATE, HONEST)))
    teaching = Teaching(given, game.parts(), game.weights)
    pool, drawings = pool_of(given.folder), drawings_of(given.folder)
    weights = sum(p.numel() for p in game.enlarger.parameters())
    print(f"{len(pool)} pictures, {len(drawings)} drawings, {weights} weights", flush=True)
    teaching.begin()
    for step in learn_to_enlarge(game, crops(pool, drawings, teaching.steps), teaching.done, teaching.steps):
        teaching.step([float(figure) for figure in step])
    teaching.keep()


if __name__ == "__main__":
    main()
