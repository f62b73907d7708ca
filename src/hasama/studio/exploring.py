"""Pictures of a trained generator for sliders: by seed, between seeds, along principal directions."""

import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hasama.errors import HasamaError
from hasama.evaluation.looks import choose_like
from hasama.generators.choosing import Choice
from hasama.generators.directions import Directions, find_directions
from hasama.generators.enlarging import enlarge_in_tiles
from hasama.generators.generator_file import TrainedGenerator, load_generator
from hasama.generators.projection_file import load_projection
from hasama.generators.sampling import (
    crossed,
    generate_from_w,
    interpolate,
    labels_for,
    latents_of_seeds,
    mean_w,
    slerp,
    to_w,
    truncate,
)
from hasama.networks.enlarger import Enlarged, shipped
from hasama.networks.pair import is_styled
from hasama.pictures.images import as_channels, png_of, to_picture
from hasama.pictures.tensors import to_images, to_pixels
from hasama.pictures.video import save_film
from hasama.runs.folder import Run
from hasama.runs.standing import chosen_generator
from hasama.studio.watching import changed, generator_named

KEPT = 2
"""Generators that are kept in memory."""
DIRECTIONS = 6
AMONG = 8
"""Seeds among which the one is looked for whose picture is the likeliest."""
Meant = Literal["seen", "kept", "printed"]
LARGEST_SEED = 2**31 - 1
ENLARGED_TO = 256
"""Pixels: a smaller picture is shown larger."""
LARGE = 1024
"""Pixels up to which the longer side grows where a picture is to be printed."""
SMALL = 48
"""Pixels up to which each is shown as a square."""
FRAMES, FPS = 90, 30


class Wish(NamedTuple):
    """Which picture is wanted.

    Attributes:
        seed: of the first corner.
        truncation: 0 to 1.5.
        label: a class by its name; None: the first.
        across: 0 to 1, from the seed to the next.
        down: 0 to 1, from the seed to the one after.
        along: how far along each direction, in standard deviations.
        other: a seed whose styles are mixed in; None: none is.
        layer: from which layer on.
    """

    seed: int = 0
    truncation: float = 1.0
    label: str | None = None
    across: float = 0.0
    down: float = 0.0
    along: tuple[float, ...] = ()
    other: int | None = None
    layer: int = 0

    @classmethod
    def of(cls, query: Any) -> "Wish":
        """From a query's words.

        Raises:
            HasamaError: one of them is no number, or beyond all reason.
        """
        try:
            wish = cls(
                int(query.get("seed", "0")),
                float(query.get("truncation", "1")),
                query.get("label") or None,
                float(query.get("across", "0")),
                float(query.get("down", "0")),
                tuple(float(part) for part in query.get("along", "").split(",") if part)[:DIRECTIONS],
                int(query["other"]) if query.get("other") else None,
                int(query.get("layer") or "0"),
            )
        except ValueError as error:
            raise HasamaError("A picture is asked for by numbers.") from error
        ranges = (
            (wish.truncation, 0, 2),
            (wish.across, 0, 1),
            (wish.down, 0, 1),
            (wish.layer, 0, 64),
            *((x, -20, 20) for x in wish.along),
        )
        seeds = (wish.seed, wish.other or 0)
        if not all(0 <= seed <= LARGEST_SEED for seed in seeds) or not all(
            least <= value <= most for value, least, most in ranges
        ):
            raise HasamaError(f"These numbers are out of range. Seeds go from 0 to {LARGEST_SEED}.")
        return wish


class Explorer:
    """Keeps the generators that were last looked at."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[tuple[str, int], _Loaded] = OrderedDict()

    def about(self, run: Run, which: str = "", projected: Path | None = None) -> dict[str, Any]:
        """Which of a run's generators it is, its classes, directions and size, and the class that a projection has.

        Args:
            run: whose generator.
            which: `best` or `last`; empty: as the command line decides (`chosen_generator`).
            projected: a file of `hasama project`.

        Raises:
            HasamaError: it has none yet, or it is damaged; or the projection is another generator's.
        """
        usual, told = chosen_generator(run)
        file = generator_named(run, which) if which else usual
        with self.lock:
            loaded = self._loaded(file)
            directions = loaded.directions
            return {
                "which": "best" if file == run.best else "last",
                "told": told,
                "classes": list(loaded.generator.classes),
                "directions": 0 if directions is None else len(directions.steps),
                "small": loaded.is_small(),
                "layers": loaded.layers,
                "label": load_projection(loaded.generator, projected).label if projected else None,
            }

    def picture(self, run: Run, query: Any, projected: Path | None = None, meant: Meant = "seen") -> bytes:
        """A PNG of what a query wishes (`Wish.of`).

        Args:
            run: whose generator.
            query: the wish.
            projected: a file of `hasama project` with the w to begin at, in place of the seed's.
            meant: to be seen, its pixels several times as large; to be kept, as it is made; to be printed, enlarged
                by a network, until the longer side would have more than `LARGE` pixels.

        Raises:
            HasamaError: see `about` and `Wish.of`; or the projection is another generator's.
        """
        wish = Wish.of(query)
        with self.lock:
            loaded, start = self._loaded(_wanted(run, query)), None
            if projected is not None:
                start, label, _ = load_projection(loaded.generator, projected)
                wish = wish._replace(label=wish.label or label)
            pixels = loaded.pixels(loaded.w_of(wish, start), wish)
            made = to_picture((loaded.large(pixels) if meant == "printed" else pixels)[0])
            return png_of(_shown(made) if meant == "seen" else made)

    def likeliest(self, run: Run, query: Any) -> int:
        """Of the seeds from a query's on the one whose picture looks most like real ones (`choose_like`).

        Raises:
            HasamaError: see `about` and `Wish.of`; or the run's pictures are gone.
        """
        wish = Wish.of(query)
        first = min(wish.seed, LARGEST_SEED - AMONG + 1)
        with self.lock:
            loaded = self._loaded(_wanted(run, query))
            latents = latents_of_seeds(range(first, first + AMONG), loaded.generator.latent_size)
            labels = loaded.labels(wish, AMONG)
            records = choose_like(run.folder, loaded.generator, latents, labels, AMONG, truncation=wish.truncation)
            return first + next(one.number for one in records if isinstance(one, Choice))

    def walk(self, run: Run, query: Any, stops: int = 4) -> bytes:
        """An MP4 that goes through some seeds and back to the first.

        Raises:
            HasamaError: see `about`; or the extra `video` is not installed.
        """
        wish = Wish.of(query)
        with self.lock, TemporaryDirectory(prefix="hasama-") as place:
            loaded = self._loaded(_wanted(run, query))
            latents = interpolate(wish.seed, stops, FRAMES, loaded.generator.latent_size)
            pixels = loaded.pixels(loaded.mixed(loaded.moved(loaded.w(latents, wish), wish), wish), wish)
            film = Path(place) / "walk.mp4"
            save_film((_shown(as_channels(to_picture(one), 3)) for one in pixels), film, FPS)
            return film.read_bytes()

    def _loaded(self, file: Path) -> "_Loaded":
        key = str(file), changed(file)
        if key not in self.kept:
            self.kept[key] = _Loaded(load_generator(file, "cpu"))
        self.kept.move_to_end(key)
        while len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        return self.kept[key]


def _wanted(run: Run, query: Any) -> Path:
    """The page says which it shows; whoever does not say gets what the command line takes."""
    which = query.get("which", "")
    return generator_named(run, which) if which else chosen_generator(run)[0]


class _Loaded:
    def __init__(self, generator: TrainedGenerator) -> None:
        self.generator = generator
        network = generator.network
        self.layers = network.style_layers if is_styled(network) else 0

    def is_small(self) -> bool:
        recipe = self.generator.recipe
        return recipe is not None and max(recipe.resolution) <= SMALL

    @cached_property
    def directions(self) -> Directions | None:
        """Of a generator without any, None."""
        try:
            return find_directions(self.generator, DIRECTIONS)
        except HasamaError:
            return None

    def w_of(self, wish: Wish, start: Tensor | None = None) -> Tensor:
        """[1, W] or, for each layer, [1, layers, W]: from the corners' latents, by great arcs across and then down.

        From a projection with styles, [1, W] or [1, layers, W], it goes straight to the other corners' styles, for
        nothing tells its latent.
        """
        seeds = [wish.seed, wish.seed + 1, wish.seed + 2, wish.seed + 3]
        a, b, c, d = latents_of_seeds(seeds, self.generator.latent_size)
        if start is None or not self.layers:
            a = a if start is None else start[0]
            latent = slerp(slerp(a, b, wish.across), slerp(c, d, wish.across), wish.down)
            return self.mixed(self.moved(self.w(latent[None], wish), wish), wish)
        others = self.w(torch.stack([b, c, d]), wish)
        b, c, d = (one if start.ndim == 2 else one[:, None] for one in others.split(1))
        w = torch.lerp(torch.lerp(start, b, wish.across), torch.lerp(c, d, wish.across), wish.down)
        return self.mixed(self.moved(w, wish), wish)

    def w(self, latents: Tensor, wish: Wish) -> Tensor:
        """Through the mapping, if there is one: [n, W]."""
        return to_w(self.generator, latents, self.labels(wish, len(latents)))

    def mixed(self, w: Tensor, wish: Wish) -> Tensor:
        """With another seed's styles from a layer on, [n, layers, W]; or as it is."""
        if wish.other is None or not self.layers:
            return w
        latents = latents_of_seeds([wish.other], self.generator.latent_size)
        taken = range(min(wish.layer, self.layers), self.layers)
        return crossed(w, self.moved(self.w(latents, wish), wish), taken, self.layers)

    def moved(self, w: Tensor, wish: Wish) -> Tensor:
        """Truncated, and then along the directions."""
        w = truncate(w, mean_w(self.generator), wish.truncation)
        if any(wish.along) and (directions := self.directions) is not None:
            for far, step in zip(wish.along, directions.steps, strict=False):
                w = w + far * step  # the same for all layers
        return w

    def pixels(self, w: Tensor, wish: Wish) -> Any:
        """uint8 [n, H, W, C]"""
        return np.concatenate(list(generate_from_w(self.generator, w, self.labels(wish, len(w)))))

    def large(self, pixels: Any) -> Any:
        """uint8 [1, H, W, C] -> the same 2, 4 or 8 times as large, or as it is: see `Explorer.picture`."""
        times = next((times for times in (8, 4, 2) if times * max(pixels.shape[1:3]) <= LARGE), 1)
        if times == 1:
            return pixels
        network = self.generator.network
        enlarger = network.enlarger if isinstance(network, Enlarged) else shipped()
        *_, last = enlarge_in_tiles(enlarger, to_images(pixels), times)
        assert last.picture is not None
        return to_pixels(last.picture)

    def labels(self, wish: Wish, count: int) -> Any:
        """Of one class, if there are any."""
        classes = self.generator.classes
        return labels_for(self.generator, count, wish.label or (classes[0] if classes else None))


def _shown(picture: Any) -> Any:
    times = max(1, ENLARGED_TO // max(picture.size))
    way = Image.Resampling.NEAREST if max(picture.size) <= SMALL else Image.Resampling.BICUBIC
    return picture.resize((picture.width * times, picture.height * times), way)
