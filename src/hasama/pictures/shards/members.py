"""The pictures of shards that are used, as arrays: millions of them take little memory, and open at once."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hasama.pictures.shards.index import NO_CLASS, Shards

FILE = "members.npz"
COLOURS = {1: "grey", 3: "rgb", 4: "alpha"}
"""What the headers of pictures say that have so many channels."""


class Members(NamedTuple):
    """Which pictures there are, in the order of their shards.

    Attributes:
        shards: the number of each one's shard: int32 [N], rising.
        starts, sizes: of its bytes in there: int64 [N].
        labels: its class: int64 [N]; None where classes are not learnt.
    """

    shards: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray | None

    def some(self, which: np.ndarray) -> "Members":
        """Those for which bool [N] is true."""
        return Members(*(None if part is None else part[which] for part in self))  # type: ignore[arg-type]

    def bare(self) -> "Members":
        """Without classes."""
        return self._replace(labels=None)

    def numbered(self, classes: Sequence[str], in_order: Callable[[str], Any]) -> tuple["Members", dict[str, int]]:
        """With the classes that are there numbered from 0, and how many pictures each has.

        Args:
            classes: their names, by the numbers that they have.
            in_order: by what the names are sorted.
        """
        assert self.labels is not None
        counts = np.bincount(self.labels, minlength=len(classes))
        there = sorted(np.flatnonzero(counts).tolist(), key=lambda number: in_order(classes[number]))
        numbers = np.full(len(classes), NO_CLASS, np.int64)
        numbers[there] = np.arange(len(there))
        return self._replace(labels=numbers[self.labels]), {classes[old]: int(counts[old]) for old in there}

    def digest(self, told: str) -> str:
        """A checksum of all this and of what is `told`."""
        digest = hashlib.blake2b(told.encode("utf-8", "backslashreplace"), digest_size=16)
        for part in self:
            digest.update(b"" if part is None else part.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Into a folder that nobody reads yet."""
        arrays = {name: part for name, part in self._asdict().items() if part is not None}
        np.savez(folder / FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> "Members":
        """What `save` wrote; raises OSError, ValueError or LookupError if it is not there, or damaged."""
        with np.load(folder / FILE, allow_pickle=False) as loaded:
            labels = loaded["labels"] if "labels" in loaded.files else None
            found = cls(loaded["shards"], loaded["starts"], loaded["sizes"], labels)
        if len({len(part) for part in found if part is not None}) != 1:
            raise ValueError("lists of different lengths")
        return found


def members_of(shards: Shards, only: Sequence[str] = ()) -> Members:
    """All pictures of shards, or those of some classes.

    Args:
        shards: what is where.
        only: names of classes; empty for all.
    """
    parts = [(np.full(len(shard), at, np.int32), shard.starts, shard.sizes, shard.labels)
             for at, shard in enumerate(shards.shards)]  # fmt: skip
    members = Members(*map(np.concatenate, zip(*parts, strict=True)))
    if not only:
        return members
    return members.some(np.isin(members.labels, [shards.classes.index(name) for name in only]))  # type: ignore[arg-type]
