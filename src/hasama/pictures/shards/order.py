"""The order in which pictures of shards are shown: the same for any number of processes, each of which reads its own.

A position p of the endless sequence belongs to lane p mod L, where L divides the batch. So with a number of processes
that divides L, each process has lanes of its own, and therefore shards of its own.
"""

import bisect
import itertools
from typing import NamedTuple

import numpy as np

SNAP = 1 / 32
"""Of a lane's length: a lane ends with a shard where one ends so near."""
LANE, SHARD = (1,), (2,)
"""Kinds of random numbers, so that a lane and a shard of the same number have different ones."""


def divide(shards: np.ndarray, lanes: int) -> np.ndarray:
    """Where lanes of about equal length begin and end among pictures in the order of their shards: int64 [lanes + 1].

    A lane ends where a shard ends, if there is an end nearby. If not, a shard is shared by two lanes; else pictures
    of a short lane would be shown more often than others.

    Args:
        shards: the shard of each picture [N], rising.
        lanes: how many.
    """
    count = len(shards)
    ends = np.append(np.flatnonzero(np.diff(shards)) + 1, count)
    wanted = np.arange(1, lanes) * count / lanes
    after = np.searchsorted(ends, wanted)
    lower, upper = ends[np.maximum(after - 1, 0)], ends[after]
    nearest = np.where(np.abs(wanted - lower) < upper - wanted, lower, upper)
    inner = np.where(np.abs(nearest - wanted) <= SNAP * count / lanes, nearest, np.rint(wanted))
    return np.concatenate([[0], inner, [count]]).astype(np.int64)


class Piece(NamedTuple):
    """What a lane has of a shard: the shard, and the first and the end of its pictures, counted in `chosen`."""

    shard: int
    first: int
    end: int


class Lanes:
    """The picture's number and its flip at every position of the endless sequence, as a function of the seed.

    In a lane all pictures are shown once, then again in another order, and so on: its epochs. In an epoch the shards
    come in an order that is a function of (seed, lane, epoch), and the pictures of a shard in one of (seed, shard,
    epoch).

    Args:
        shards: the shard of each picture [N], rising.
        chosen: the numbers of the pictures that are shown [n], rising; None: all.
        batch: pictures of a batch in all processes together.
        seed: decides the order and who is mirrored.
    """

    def __init__(self, shards: np.ndarray, chosen: np.ndarray | None, batch: int, seed: int) -> None:
        self.seed = seed
        self.shown = shards if chosen is None else shards[chosen]
        most = min(batch, len(np.unique(self.shown)))
        for lanes in (one for one in range(most, 0, -1) if batch % one == 0):
            bounds = divide(shards, lanes)
            self.bounds = bounds if chosen is None else np.searchsorted(chosen, bounds)
            if (np.diff(self.bounds) > 0).all():
                break
        self.count = len(self.bounds) - 1
        self._sizes = np.diff(self.bounds)
        self._epochs = np.full(self.count, -1)
        self._order, self._flips = np.empty(len(self.shown), np.int64), np.empty(len(self.shown), bool)
        self._pieces: dict[int, list[Piece]] = {}
        self._ordered: dict[tuple[int, int], tuple[list[Piece], list[int]]] = {}

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers, counted in `chosen`, and the flips, at these positions [n]."""
        lanes, epochs, places = self._places(positions)
        indices, flips = np.empty(len(positions), np.int64), np.empty(len(positions), bool)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            for lane in np.unique(lanes[here & (self._epochs[lanes] != epoch)]):
                self._shuffle(int(lane), int(epoch))
            found = self.bounds[lanes[here]] + places[here]
            indices[here], flips[here] = self._order[found], self._flips[found]
        return indices, flips

    def following(self, positions: np.ndarray) -> list[int]:
        """The shards that come after those at these positions, each in its lane."""
        found: dict[int, None] = {}
        for lane, epoch, place in zip(*map(np.ndarray.tolist, self._places(positions)), strict=True):
            pieces, ends = self._in_order(lane, epoch)
            after = bisect.bisect_right(ends, place) + 1
            piece = pieces[after] if after < len(pieces) else self._in_order(lane, epoch + 1)[0][0]
            found[piece.shard] = None
        return list(found)

    def _places(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The lane, its epoch, and the place therein."""
        lanes = positions % self.count
        epochs, places = np.divmod(positions // self.count, self._sizes[lanes])
        return lanes, epochs, places

    def _shuffle(self, lane: int, epoch: int) -> None:
        """Lay out a lane's epoch."""
        at = int(self.bounds[lane])
        for piece in self._in_order(lane, epoch)[0]:
            rng, size = _random(SHARD, self.seed, piece.shard, epoch), piece.end - piece.first
            self._order[at : at + size] = piece.first + rng.permutation(size)
            self._flips[at : at + size] = rng.random(size) < 0.5
            at += size
        self._epochs[lane] = epoch
        self._ordered.pop((lane, epoch - 1), None)

    def _in_order(self, lane: int, epoch: int) -> tuple[list[Piece], list[int]]:
        """The lane's pieces as they come in an epoch, and where in it they end."""
        if (lane, epoch) in self._ordered:
            return self._ordered[lane, epoch]
        if lane not in self._pieces:
            first, end = int(self.bounds[lane]), int(self.bounds[lane + 1])
            cuts = np.flatnonzero(np.diff(self.shown[first:end])) + 1 + first
            firsts, ends = [first, *cuts.tolist()], [*cuts.tolist(), end]
            self._pieces[lane] = [Piece(int(self.shown[a]), a, b) for a, b in zip(firsts, ends, strict=True)]
        pieces = self._pieces[lane]
        order = _random(LANE, self.seed, lane, epoch).permutation(len(pieces))
        found = [pieces[number] for number in order]
        ends = list(itertools.accumulate(piece.end - piece.first for piece in found))
        self._ordered[lane, epoch] = found, ends
        return found, ends


def _random(kind: tuple[int, ...], *entropy: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy, spawn_key=kind)))
