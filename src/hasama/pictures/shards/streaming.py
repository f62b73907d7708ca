"""Pictures of shards, read and decoded when they are needed, by a few threads a little ahead of the training."""

import io
import itertools
import os
import warnings
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

import numpy as np

from hasama.errors import HasamaError
from hasama.pictures.dataset import Drawn, Pictures
from hasama.pictures.depth import Ranges
from hasama.pictures.images import nothing_hidden, prepared
from hasama.pictures.opening import open_picture
from hasama.pictures.shards.fetching import Fetched
from hasama.pictures.shards.index import ShardError, Tar
from hasama.pictures.shards.members import Members
from hasama.pictures.shards.open_tar import OpenTar
from hasama.pictures.shards.order import Lanes
from hasama.pictures.shards.plain_png import from_plain_png
from hasama.shapes import Pixels

THREADS_MOST = 8
AHEAD = 4
"""Batches that are ready or being read beside one for each thread."""
OPEN_MOST, OPEN_LEAST = 256, 4
"""Files that are open at once; systems allow a thousand. Of a server's shards no more than lanes need."""
CHUNK = 32


class BrokenPictureWarning(UserWarning):
    """A picture of a shard cannot be decoded, and another is shown in its place."""


class Wanted(NamedTuple):
    """The form to which pictures are brought: (height, width), how, 1, 3 or 4 channels, and see `depth.Ranges`."""

    resolution: tuple[int, int]
    fit: str
    channels: int
    ranges: Ranges


class Streamed:
    """An array uint8 [N, H, W, C] whose pictures are decoded when they are asked for.

    Args:
        tars: the shards.
        members: what is where.
        wanted: the form of the pictures.
        fetched: for shards of a server.
    """

    def __init__(self, tars: Sequence[Tar], members: Members, wanted: Wanted, fetched: Fetched) -> None:
        self.tars, self.members, self.wanted, self.fetched = tars, members, wanted, fetched
        self._open: OrderedDict[int, OpenTar] = OrderedDict()
        self._lock = Lock()
        self._open_most = OPEN_LEAST if self.remote else OPEN_MOST  # or deleted files would fill the disk

    def __len__(self) -> int:
        return len(self.members.shards)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W, C]."""
        return (len(self), *self.wanted.resolution, self.wanted.channels)

    @property
    def nbytes(self) -> int:
        """Of decoded pictures that are kept: none."""
        return 0

    def __getitem__(self, numbers: np.ndarray) -> Pixels:
        """The pictures of these numbers [n]: uint8 [n, H, W, C]. They are read in the order of the shards."""
        order = np.argsort(numbers, kind="stable")
        parts = [order[first : first + CHUNK] for first in range(0, len(order), CHUNK)]
        out = np.empty((len(order), *self.shape[1:]), np.uint8)
        if len(parts) <= 1:
            out[order] = self.read(numbers[order])
            return out
        with ThreadPoolExecutor(_threads()) as pool:
            for part, pixels in zip(parts, pool.map(lambda part: self.read(numbers[part]), parts), strict=True):
                out[part] = pixels
        return out

    def draw(self, pictures: Pictures, batch: int, seed: int, positions: Iterator[np.ndarray]) -> Iterator[Drawn]:
        """See `dataset.Draw`. Only shards of the lanes at these positions are opened, or fetched.

        Args:
            pictures: those of this array that are shown.
            batch: in all processes together; it decides the lanes.
            seed: decides the order.
            positions: of each batch.

        Raises:
            ShardError: a shard is gone, has changed, or is not given by its server.
        """
        lanes = Lanes(self.members.shards, pictures.chosen, batch, seed)
        pool, waiting = ThreadPoolExecutor(_threads()), deque[tuple[np.ndarray, np.ndarray, Future[Pixels]]]()

        def ask(at: np.ndarray) -> tuple[np.ndarray, np.ndarray, "Future[Pixels]"]:
            indices, flips = lanes.at(at)
            numbers = indices if pictures.chosen is None else pictures.chosen[indices]
            if self.remote:
                soon = [*np.unique(self.members.shards[numbers]).tolist(), *lanes.following(at)]
                self._open_most = max(self._open_most, min(OPEN_MOST, len(soon)))
                self.fetched.ask(self.tars[shard] for shard in soon if shard not in self._open)
            return indices, flips, pool.submit(self.read, numbers)

        self.fetched.begin()
        try:
            waiting.extend(map(ask, itertools.islice(positions, _threads() + AHEAD)))
            while waiting:
                indices, flips, pixels = waiting.popleft()
                yield Drawn(indices, flips, pixels.result())
                waiting.extend(map(ask, itertools.islice(positions, 1)))
        finally:
            pool.shutdown(wait=not self.remote, cancel_futures=True)  # a server may take its time
            self.fetched.forget()

    @property
    def remote(self) -> bool:
        """Whether the shards are on a server."""
        return any(tar.remote for tar in self.tars[:1])

    # --- one picture

    def read(self, numbers: np.ndarray) -> Pixels:
        """The pictures of these numbers, one after another: uint8 [n, H, W, C]."""
        out = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        for place, number in enumerate(numbers.tolist()):
            pixels = self._decoded(number)
            out[place] = self._instead(number) if pixels is None else pixels
        return out

    def _decoded(self, number: int) -> np.ndarray | None:
        """uint8 [H, W, C]; None for a picture that is broken."""
        members, wanted = self.members, self.wanted
        data = self._tar(int(members.shards[number])).read(int(members.starts[number]), int(members.sizes[number]))
        pixels = from_plain_png(data)
        if pixels is not None and pixels.shape == self.shape[1:]:
            return nothing_hidden(pixels)  # written before such colours were left out
        with suppress(HasamaError):  # what a broken picture gives
            picture = open_picture(io.BytesIO(data), max(wanted.resolution), wanted.ranges)
            return prepared(picture, wanted.channels, wanted.resolution, wanted.fit)
        return None

    def _instead(self, number: int) -> np.ndarray:
        """What is shown in place of a broken picture: the next whole one of its class in its shard, in any process.

        Raises:
            ShardError: there is none.
        """
        shards, labels = self.members.shards, self.members.labels
        first, end = np.searchsorted(shards, shards[number], "left"), np.searchsorted(shards, shards[number], "right")
        told = f"A picture in {self.tars[int(shards[number])].place}, at byte {int(self.members.starts[number])}, "
        for other in [*range(number + 1, end), *range(first, number)]:
            if labels is None or labels[other] == labels[number]:
                pixels = self._decoded(other)
                if pixels is not None:
                    warnings.warn(f"{told}is broken; another is shown in its place.", BrokenPictureWarning, 2)
                    return pixels
        raise ShardError(f"{told}is broken, and so are all others of its class in that shard.")

    def _tar(self, shard: int) -> OpenTar:
        """The shard's file, opened if it is not open."""
        with self._lock:
            if shard in self._open:
                self._open.move_to_end(shard)
                return self._open[shard]
        opened = self.fetched.get(self.tars[shard])
        with self._lock:
            self._open[shard] = opened
            while len(self._open) > self._open_most:
                self._open.popitem(last=False)
        return opened


def _threads() -> int:
    """Threads that decode."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(THREADS_MOST, cores)
