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
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from hasama.device import keep_memory
from hasama.generators.generator_file import save_tensors
from hasama.networks.enlarger import Enlarger
from hasama.pictures.images import to_images
from hasama.training.enlarging import Enlarging, Patches, Pieces, learn_to_enlarge

REDUCED = (2, 3, 4, 6, 8)
"""Every picture is taken at these fractions of its size: full size shows the camera's noise, not the scene."""
SMALLEST = 192
ALIKE = 8
"""Mean difference, of 255, below which two pictures are one in two sizes."""
CROPS = {2: (96, 8), 4: (128, 5), 8: (192, 2)}
"""{factor: (side of a crop, crops in a batch)}"""
FACTORS = (2, 2, 4, 2, 2, 8)
RATE, HONEST = 5e-4, 0.25
DRAWN = 0.15
"""The share of batches that are drawn, with transparency."""


def pool_of(folder: Path) -> list[list[np.ndarray]]:
    """Every picture of a folder, at its sizes."""
    pool: list[list[np.ndarray]] = []
    known: list[np.ndarray] = []
    files = [file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file)):  # the packages hold some in many sizes
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        outline = np.asarray(picture.resize((16, 16), Image.Resampling.BOX), np.int16)
        if any(np.abs(outline - other).mean() < ALIKE for other in known):
            continue
        known.append(outline)
        picture.thumbnail((3000, 3000))
        sizes = [picture.reduce(by) for by in REDUCED if min(picture.size) // by >= SMALLEST]
        if sizes:
            pool.append([np.asarray(size) for size in sizes])
    return pool


def cut(pool: list[list[np.ndarray]], side: int, draw: random.Random) -> np.ndarray:
    """A crop: of two, the one with more to see."""
    found = []
    while len(found) < 2:
        picture = draw.choice(draw.choice(pool))
        if min(picture.shape[:2]) < side:
            continue
        y, x = (draw.randrange(length - side + 1) for length in picture.shape[:2])
        crop = picture[y : y + side, x : x + side]
        crop = np.rot90(crop, draw.randrange(4)) if draw.random() < 0.2 else crop
        found.append(crop[:, ::-1] if draw.random() < 0.5 else crop)
    return max(found, key=lambda crop: float(np.abs(np.diff(crop.astype(np.int16), axis=1)).mean()))


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


def clock() -> float:
    """Processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
