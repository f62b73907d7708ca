"""Which images of a batch are being computed, and their random numbers.

A batch can be shared out among processes (`hasama.distributed`), and one process can take its share in parts, one
after the other. Neither changes what is computed, but for rounding: random numbers are drawn for the whole batch,
from the same seed, and each part takes those of its images.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor
from torch.random import fork_rng


class Part(NamedTuple):
    """What is computed of a batch, at the moment: its images `first, first + every, ...`.

    Attributes:
        first: the number of the first image.
        every: the distance of two; 1: the whole batch.
        images: how many these are.
        number: which of this process's parts it is; after the last one the optimizers step.
        parts: how many there are, one after the other.
    """

    first: int = 0
    every: int = 1
    images: int = 0
    number: int = 0
    parts: int = 1

    def of(self, whole: Tensor, count: int) -> Tensor:
        """Those of these images. A batch of reals and fakes, or the like, has them in each of its blocks.

        Args:
            whole: one row for each image of the whole batch (or of its blocks).
            count: how many rows are wanted.
        """
        blocks = count // self.images if self.images and count % self.images == 0 else 1
        return whole.unflatten(0, (blocks, -1))[:, self.first :: self.every].flatten(0, 1)


_drawing = threading.RLock()


def _renew() -> None:
    """A forked process has none of the threads that might give the lock back."""
    global _drawing
    _drawing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def own_random_numbers(seed: int | None = None, cards: bool = False) -> Iterator[None]:
    """Inside, torch's global random numbers belong to this thread; afterwards they are as they were.

    torch has one global generator for all threads: two trainings at once would draw from each other's.

    Args:
        seed: of the numbers inside, any integer; None: they go on from where they are.
        cards: whether those of graphics cards are put back, too, which takes a while on each.
    """
    with _drawing, fork_rng() if cards else fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed % 2**63)
        yield


WHOLE = Part()
_part: ContextVar[Part] = ContextVar("part", default=WHOLE)


@contextmanager
def computing(part: Part) -> Iterator[None]:
    """Inside, this is computed of a batch."""
    before = _part.set(part)
    try:
        yield
    finally:
        _part.reset(before)


def part() -> Part:
    """What is computed of a batch, at the moment."""
    return _part.get()


def in_parts(count: int) -> Iterator[int]:
    """Take this process's share in `count` parts: inside each turn of the loop only that part counts.

    Yields:
        The number of the part; its images are `number, number + count, ...` of the share.
    """
    share = _part.get()
    for number in range(count):
        first, every = share.first + share.every * number, share.every * count
        with computing(Part(first, every, share.images // count, number, count)):
            yield number


def drawn(draw: Callable[..., Tensor], count: int, *rest: int) -> Tensor:
    """Random numbers for this part, [count, *rest], out of those for the whole batch: one row for each image.

    Args:
        draw: `torch.randn`, or another function of (rows, *rest).
        count: rows; with several blocks of images (reals, then fakes) one for each image of each block.
        rest: the shape of a row.
    """
    here = _part.get()
    return draw(count, *rest) if here.every == 1 else here.of(draw(count * here.every, *rest), count)


def noise_like(images: Tensor) -> Tensor:
    """Standard normal numbers for images [N, ...]: see `drawn`."""
    here = _part.get()
    if here.every == 1:
        return torch.randn_like(images)
    all_of_them = images.detach()[:1].expand(len(images) * here.every, *images.shape[1:])
    last = torch.channels_last if _by_channels(images) else torch.contiguous_format  # in whose order it draws
    return here.of(torch.randn_like(all_of_them, memory_format=last), len(images))


def _by_channels(images: Tensor) -> bool:
    return images.ndim == 4 and not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)
