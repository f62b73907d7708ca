"""Decoded pictures, and the seeded, endless batches that are drawn from them."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from hasama.device import pick_device
from hasama.distributed import own
from hasama.errors import HasamaError
from hasama.options import whole_number
from hasama.pictures.report import Report
from hasama.pictures.tensors import to_device, to_images
from hasama.shapes import Images, Labels, Pixels


@runtime_checkable
class Stored(Protocol):
    """What `Pictures` needs of all pictures of a source: an array uint8 [N, H, W, C] that is read by numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, numbers: Any, /) -> Any: ...


class Drawn(NamedTuple):
    """Pictures of a batch: which they are [n], which are to be mirrored [n], and uint8 [n, H, W, C] of one's own."""

    indices: np.ndarray
    flips: np.ndarray
    pixels: Pixels


Draw = Callable[["Pictures", int, int, Iterator[np.ndarray]], Iterator[Drawn]]
"""(pictures, batch, seed, positions) -> what an endless shuffled sequence shows at these positions."""


def draw_at_once(pictures: "Pictures", batch: int, seed: int, positions: Iterator[np.ndarray]) -> Iterator[Drawn]:
    """The order is a function of (seed, epoch), and each epoch shows every picture once; nothing is read ahead.

    Args:
        pictures: what to draw from.
        batch: does not matter here.
        seed: see `batches`.
        positions: in the endless sequence, those of each batch.
    """
    epochs = _Epochs(len(pictures), seed)
    for at in positions:
        indices, flips = epochs.at(at)
        yield Drawn(indices, flips, pictures.take(indices))


@dataclass(frozen=True, repr=False)
class Pictures:
    """Decoded pictures. `take(indices)` reads some of them as uint8 [n, H, W, C].

    `labels` [N] are there if classes are learnt; `report` is what the scan found. `stored` is the cache's memory map,
    or shards that are read as they are needed; for a single picture it holds that one, and `corners` [N, 2] are the
    top left corners (y, x) of the crops. `chosen` are the numbers of those that these are, if not all, rising.
    `draw` is how batches are drawn. Of the stored ones the first `near` cost little to read in any order; None: all.
    """

    stored: np.ndarray | Stored
    labels: np.ndarray | None
    report: Report
    corners: np.ndarray | None = None
    chosen: np.ndarray | None = None
    draw: Draw = draw_at_once
    near: int | None = None

    def __repr__(self) -> str:
        height, width = self.report.resolution
        colour = {1: "grey", 3: "RGB", 4: "RGBA"}.get(self.report.channels, "no colour")
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Pictures({len(self)} of {self.report.source[:60]}: {width}x{height}, {colour}{classes})"

    def __len__(self) -> int:
        if self.chosen is not None:
            return len(self.chosen)
        return len(self.stored if self.corners is None else self.corners)

    def take(self, indices: np.ndarray) -> Pixels:
        """The pictures of these numbers, 0 to len - 1, as a copy: uint8 [n, H, W, C]."""
        if self.chosen is not None:
            indices = self.chosen[indices]
        if self.corners is None:
            return np.asarray(self.stored[indices])
        height, width = self.report.resolution
        return np.stack([self.stored[0, y : y + height, x : x + width] for y, x in self.corners[indices]])

    def take_in_parts(self, indices: np.ndarray, count: int = 64) -> Iterator[Pixels]:
        """The pictures of these numbers, at most `count` at a time: uint8 [n, H, W, C]."""
        for first in range(0, len(indices), count):
            yield self.take(indices[first : first + count])

    @property
    def at_hand(self) -> int:
        """How many, from the first, can be looked at in any order: all, but for those that lie on a server.

        Whoever looks at a sample draws it from these. Shards on a server would else all have to be fetched for it.
        """
        if self.near is None:
            return len(self)
        return self.near if self.chosen is None else int(np.searchsorted(self.chosen, self.near))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the labels."""
        return tuple(self.report.classes)


HELD_MOST, HELD_LEAST = 256, 20


def hold_out(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures | None]:
    """The pictures to train on, and those to keep back: a random share of them, at most 256.

    None are kept back where they would be fewer than 20, which tell nothing, or are crops of one picture, which
    overlap.
    """
    count = min(HELD_MOST, int(share * len(pictures)))
    if count < HELD_LEAST or pictures.corners is not None:
        return pictures, None
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1))))
    held = np.sort(rng.permutation(pictures.at_hand)[:count])
    return _some_of(pictures, np.delete(np.arange(len(pictures)), held)), _some_of(pictures, held)


def _some_of(pictures: Pictures, numbers: np.ndarray) -> Pictures:
    labels = None if pictures.labels is None else pictures.labels[numbers]
    return dataclasses.replace(pictures, labels=labels, chosen=numbers)


# --- batches --------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Real images [n, C, H, W] in [-1, 1], and their labels [n] where there are classes."""

    images: Images
    labels: Labels | None = None


def batches(
    pictures: Pictures,
    batch: int,
    seed: int,
    start: int = 0,
    mirror: bool = False,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Endless batches whose order is a function of (seed, position), from any starting image.

    Args:
        pictures: what to draw from; each epoch shows every picture once, and batches run on across epochs. (In shards
            that are streamed, each lane has epochs of its own: see `shards.order.Lanes`.)
        batch: pictures per step in all processes together.
        seed: together with the epoch's number, decides the order and who is mirrored.
        start: how many images were seen before.
        mirror: flip each picture left to right with probability one half.
        device: where the tensors are put.
        rank: which of `world` processes this one is; it gets every `world`-th picture of each batch.
        world: number of processes.

    Raises:
        HasamaError: a batch of nothing; a seed or a start below 0; a number that is not whole; a rank that is none
            of `world` processes; or no such device.
    """
    if not isinstance(pictures, Pictures):
        raise HasamaError(f"Batches are drawn from what hasama.open_pictures gives; got {type(pictures).__name__}.")
    batch, seed, start = (whole_number(*one) for one in (("batch", batch), ("seed", seed), ("start", start)))
    rank, world, device = whole_number("rank", rank), whole_number("number of processes", world), pick_device(device)
    if not 0 <= rank < world:
        raise HasamaError(f"The rank is one of 0 to world - 1; got {rank} of {world}.")
    if batch < 1 or seed < 0 or start < 0:
        raise HasamaError(f"A batch is 1 or more, seed and start are 0 or more; got {batch}, {seed} and {start}.")
    positions = (np.arange(first + rank, first + batch, world) for first in itertools.count(start, batch))

    def drawn() -> Iterator[Batch]:
        for indices, flips, pixels in pictures.draw(pictures, batch, seed, positions):
            if mirror:
                pixels[flips] = pixels[flips, :, ::-1]
            labels = None if pictures.labels is None else to_device(pictures.labels[indices], device)
            yield Batch(to_images(pixels, device), labels)

    return drawn()


def shares_of(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Of whole batches, the images and labels of this process, where several train together."""
    for images, labels in batches:
        yield Batch(own(images), None if labels is None else own(labels))


class _Epochs:
    """The picture's number and its flip at every position of an endless sequence of shuffled epochs."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, -1

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epochs, places = np.divmod(positions, self.count)
        indices, flips = np.empty_like(positions), np.empty(positions.shape, bool)
        for epoch in np.unique(epochs):
            self._shuffle(int(epoch))
            here = epochs == epoch
            indices[here], flips[here] = self.order[places[here]], self.flips[places[here]]
        return indices, flips

    def _shuffle(self, epoch: int) -> None:
        if epoch != self.epoch:
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch))))
            self.epoch, self.order, self.flips = epoch, rng.permutation(self.count), rng.random(self.count) < 0.5
