"""Decoded pictures, and the seeded, endless batches that are drawn from them."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from hasama.distributed import team
from hasama.pictures.report import Report
from hasama.pictures.tensors import to_images
from hasama.shapes import Images, Labels, Pixels


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures. `take(indices)` reads some of them as uint8 [n, H, W, C].

    `labels` [N] are there if classes are learnt; `report` is what the scan found. `stored` is the cache's memory map;
    for a single picture it holds that one, and `corners` [N, 2] are the top left corners (y, x) of the crops.
    `chosen` are the numbers of those that these are, if not all.
    """

    stored: np.ndarray
    labels: np.ndarray | None
    report: Report
    corners: np.ndarray | None = None
    chosen: np.ndarray | None = None

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
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1)))).permutation(len(pictures))
    return _some_of(pictures, np.sort(order[count:])), _some_of(pictures, np.sort(order[:count]))


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
    """Endless batches whose order is a function of (seed, epoch), from any starting image.

    Args:
        pictures: what to draw from; each epoch shows every picture once, and batches run on across epochs.
        batch: pictures per step in all processes together.
        seed: together with the epoch's number, decides the order and who is mirrored.
        start: how many images were seen before.
        mirror: flip each picture left to right with probability one half.
        device: where the tensors are put.
        rank: which of `world` processes this one is; it gets every `world`-th picture of each batch.
        world: number of processes.
    """
    epochs = _Epochs(len(pictures), seed)
    for first in itertools.count(start, batch):
        indices, flips = epochs.at(np.arange(first + rank, first + batch, world))
        pixels = pictures.take(indices)
        if mirror:
            pixels[flips] = pixels[flips, :, ::-1]
        labels = None if pictures.labels is None else torch.from_numpy(pictures.labels[indices]).to(device)
        yield Batch(to_images(pixels, device), labels)


def shares_of(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Of whole batches, the images and labels of this process, where several train together."""
    here = team()
    for images, labels in batches:
        yield Batch(*(all_ if all_ is None else all_[here.rank :: here.world] for all_ in (images, labels)))


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
