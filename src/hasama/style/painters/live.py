"""Pictures of a camera painted as they come: networks are kept in memory, and each camera's statistics with them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from hasama.pictures.tensors import to_images, to_pixels
from hasama.style.painters.at_once import Following
from hasama.style.painters.painter import mix_of
from hasama.style.painters.painter_file import Taught, load_painter

NETWORKS_KEPT, CAMERAS_KEPT = 2, 8
Kept = TypeVar("Kept")


class Live:
    """Paints for several cameras, one picture at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.networks: OrderedDict[object, Taught] = OrderedDict()
        self.cameras: OrderedDict[object, Following] = OrderedDict()

    def paint(self, file: Path, camera: str, picture: Image.Image, strength: float) -> Image.Image:
        """A camera's next picture, painted: RGB, of the same size.

        Args:
            file: the network's, all of whose styles count alike.
            camera: a name of its own; its pictures share statistics that follow slowly, so that nothing flickers.
            picture: RGB.
            strength: 0 (as it is) to 1.

        Raises:
            HasamaError: the file is missing, damaged or something else.
        """
        with self.lock:
            key = file, file.stat().st_mtime_ns if file.exists() else 0  # it changes while it is taught
            # On the CPU, which every machine has.
            taught = _kept(self.networks, key, NETWORKS_KEPT, lambda: load_painter(file))
            mix = mix_of([1.0] * len(taught.styles), strength)
            following = _kept(
                self.cameras, (camera, key, strength), CAMERAS_KEPT, lambda: Following(taught.painter, mix)
            )
            return Image.fromarray(to_pixels(following.paint(to_images(np.array(picture)[None])))[0])


def _kept(known: OrderedDict[object, Kept], key: object, most: int, make: Callable[[], Kept]) -> Kept:
    """What is known by a key, made if it is not; what was asked for longest ago is forgotten."""
    if key not in known:
        known[key] = make()
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)
    return known[key]
