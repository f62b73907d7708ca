"""Something to paint: crops of photos, or made-up scenes where nobody has any."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hasama.errors import HasamaError
from hasama.pictures.images import as_channels, is_picture_name
from hasama.pictures.opening import open_picture, why
from hasama.pictures.sources.sources import open_source
from hasama.shapes import Images
from hasama.style.jobs.batch import pictures_in

LARGEST_SIDE = 512
"""Pixels of the shorter side of a photo that is kept in memory."""
TRIES, PLAIN = 6, 0.15
"""A crop whose colours spread less is drawn anew, so often at most: of a sky a painter learns to fill voids."""
GRAIN = 0.01
"""Standard deviation; a picture goes from -1 to 1."""
LEAVES = 150
AT_MOST = 2000
"""Photos that are kept, evenly chosen from more."""


class Photos:
    """Photos, from which crops are cut.

    Args:
        place: a folder or zip of photos, or one photo.
        side: of a crop, in pixels.

    Raises:
        HasamaError: there is none that can be read.
    """

    def __init__(self, place: Path, side: int) -> None:
        self.side = side
        self.skipped: list[str] = []
        self.kept: list[Tensor] = []
        listed = _listed(place)
        self.listed = len(listed)
        for name, opened in listed[:: -(-len(listed) // AT_MOST)]:
            try:
                photo = as_channels(opened(), 3)
            except Exception as error:  # archives that are broken raise nearly everything, too
                self.skipped.append(f"{name}: {why(error)}")
                continue
            shorter = min(photo.size)
            wanted = max(side, min(shorter, LARGEST_SIDE))
            size = [max(side, round(length * wanted / shorter)) for length in photo.size]
            pixels = np.asarray(photo.resize((size[0], size[1])) if photo.size != tuple(size) else photo)
            self.kept.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        if not self.kept:
            raise HasamaError(f"No photo in {place} can be read: {self.skipped[0]}")

    def crops(self, count: int, random: torch.Generator) -> Images:
        """Random crops of all sizes, made as small as the smallest, half of them mirrored: [count, 3, side, side].

        In [-1, 1], with a trace of grain: the gradient of a normalisation is huge where there is one colour alone.
        """
        return torch.stack([self._crop(random) for _ in range(count)])

    def _crop(self, random: torch.Generator) -> Tensor:
        """One in which there is something to see, if the photos have any such."""
        crop = torch.empty(0)
        for _ in range(TRIES):
            photo = self.kept[_drawn(len(self.kept), random)]
            side = self.side + _drawn(min(photo.shape[1:]) - self.side + 1, random)
            y, x = (_drawn(length - side + 1, random) for length in photo.shape[1:])
            crop = photo[:, y : y + side, x : x + side].float() / 127.5 - 1
            if crop.std() > PLAIN:
                break
        crop = F.interpolate(crop[None], (self.side, self.side), mode="bilinear", antialias=True)[0]
        crop = crop.flip(2) if _drawn(2, random) else crop
        return (crop + GRAIN * torch.randn(crop.shape, generator=random)).clamp(-1, 1)


class Scenes:
    """Made-up scenes: leaves of all sizes, one over another, shaded and grained.

    The dead leaves model (Lee, Mumford & Huang 2001): edges, flat parts and a spectrum as in photographs.

    Args:
        side: of a scene, in pixels.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def crops(self, count: int, random: torch.Generator) -> Images:
        """New scenes: [count, 3, side, side] in [-1, 1]."""
        return torch.stack([self._scene(random) for _ in range(count)])

    def _scene(self, random: torch.Generator) -> Tensor:
        side = self.side
        y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
        numbers = torch.rand(LEAVES, 12, generator=random)
        palette = torch.rand(3, 6, generator=random) * 2 - 1  # a scene has few colours
        grey = 0.9 * torch.rand((), generator=random)  # and most scenes are not gaudy
        palette = palette.lerp(palette.mean(0).expand(3, -1), float(grey))
        scene = palette[:, :1, None] + 0.6 * (y - 0.5) * palette[:, 1:2, None]
        for one in numbers:
            radius = 0.06 / (0.02 + 0.98 * float(one[0])) ** 0.5  # small leaves are many, but they cover everything
            turn, flat = 6.283 * one[1], 0.3 + 0.7 * one[2]
            down, across = y - one[3] * 1.2 + 0.1, x - one[4] * 1.2 + 0.1
            along, beside = across * turn.cos() + down * turn.sin(), down * turn.cos() - across * turn.sin()
            if one[5] < 0.3:  # a box, else an ellipse
                inside = (along.abs() < radius) & (beside.abs() < radius * flat)
            else:
                inside = along.square() + (beside / flat).square() < radius**2
            colour = palette[:, int(one[6] * 6)][:, None] + 0.3 * (one[7:10] - 0.5)[:, None]
            shade = colour + (one[10] - 0.5) * along[inside] / radius
            grain = (float(one[11]) ** 3) * 0.4 * torch.randn(int(inside.sum()), generator=random)
            scene[:, inside] = shade + grain
        soft = F.avg_pool2d(F.pad(scene[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
        return scene.lerp(soft, float(torch.rand((), generator=random))).clamp(-1, 1)


def _listed(place: Path) -> list[tuple[str, Callable[[], Image.Image]]]:
    """(name, what decodes it) of each photo.

    Raises:
        HasamaError: there is none.
    """
    if place.suffix.lower() != ".zip":
        files = pictures_in(place) if place.is_dir() else [place]
        return [(str(file), partial(open_picture, file)) for file in files]
    entries = [one for one in open_source(str(place)).entries if is_picture_name(one.name)]
    if not entries:
        raise HasamaError(f"There are no pictures in {place}.")
    return [(one.name, one.open) for one in entries]


def _drawn(count: int, random: torch.Generator) -> int:
    return int(torch.randint(0, count, (), generator=random))
