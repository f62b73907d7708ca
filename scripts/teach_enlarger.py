"""Teach the enlarger that ships with the package: `src/hasama/weights/enlarger.safetensors`.

    python scripts/teach_enlarger.py FOLDER --minutes 240 --state enlarger.pt --out enlarger.safetensors

FOLDER holds large pictures (any depth of sub-folders). The weights that ship were taught on the pictures of Debian's
packages gnome-backgrounds, mate-backgrounds, plasma-workspace-wallpapers and ukui-wallpapers, each taken at several
sizes, and on shapes and letters that this script draws. Minutes are of the processor's time; it is killed and begun
again at will: what is in --state goes on.
"""

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from photographs import clock, cut, pool_of
from PIL import Image, ImageDraw, ImageFont

from hasama.device import keep_memory
from hasama.generators.generator_file import save_tensors
from hasama.networks.enlarger import Enlarger
from hasama.pictures.tensors import to_images
from hasama.training.enlarging import Enlarging, Patches, Pieces, learn_to_enlarge

CROPS = {2: (96, 8), 4: (128, 5), 8: (192, 2)}
"""{factor: (side of a crop, crops in a batch)}"""
FACTORS = (2, 2, 4, 2, 2, 8)
RATE, HONEST = 5e-4, 0.25
DRAWN = 0.15
"""The share of batches that are drawn, with transparency."""


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


def crops(pool: list[list[np.ndarray]], first: int) -> Iterator[Pieces]:
    """Batches without end; the k-th depends on k alone, and so does the randomness of its step."""
    for number in itertools.count(first):
        draw = random.Random(number)
        torch.manual_seed(number)
        factor = FACTORS[number % len(FACTORS)]
        side, count = CROPS[factor]
        drawn = draw.random() < DRAWN
        batch = [drawing(side, draw) if drawn else cut(pool, side, draw) for _ in range(count)]
        yield Pieces(to_images(np.stack(batch)), factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=240.0, help="of processor time, over all sessions")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    game, steps, spent = Enlarging.of(Enlarger(), Patches(), RATE, HONEST), 0, 0.0
    if asked.state.exists():
        state = torch.load(asked.state, weights_only=True)
        for name, part in game.parts().items():
            part.load_state_dict(state[name])
        steps, spent = state["steps"], state["spent"]
    pool = pool_of(asked.folder)
    print(f"{len(pool)} pictures, {sum(p.numel() for p in game.enlarger.parameters())} weights", flush=True)
    began = clock()
    saved = time.monotonic()
    told: list[list[float]] = []

    def minutes() -> float:
        return spent + (clock() - began) / 60

    def keep() -> None:
        state = {name: part.state_dict() for name, part in game.parts().items()}
        torch.save(state | {"steps": steps, "spent": minutes()}, asked.state.with_suffix(".new"))
        asked.state.with_suffix(".new").replace(asked.state)
        save_tensors(asked.out, {name: t.half() for name, t in game.weights().items()}, {"steps": steps})

    for step in learn_to_enlarge(game, crops(pool, steps), lambda: minutes() / asked.minutes, steps):
        steps += 1
        told.append([float(figure) for figure in step])
        if steps % 50 == 0:
            print(steps, f"{minutes():.1f} min", *(f"{x:.4f}" for x in np.mean(told, 0)), flush=True)
            told.clear()
        if time.monotonic() - saved > 120:
            keep()
            saved = time.monotonic()
    keep()


if __name__ == "__main__":
    main()
