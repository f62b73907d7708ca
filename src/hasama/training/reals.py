"""What a training is given, as batches: those of this package, bare tensors, and what a torch DataLoader gives."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from hasama.errors import HasamaError
from hasama.pictures.dataset import Batch

FARTHEST = 16.0
"""How far from 0 values may be: those of pictures are at most 1, and up to 255 where nobody has scaled them."""
Shown = Tensor | tuple[Tensor, ...]
"""`Views` of which it is not known yet whether those of reals and of fakes have the same channels."""
TAKEN = "Batches are tensors of real images [N, C, H, W], floats in [-1, 1], or (images, labels)"


def as_batches(given: Iterable[Any], classes: int | None = None) -> Iterator[Batch]:
    """Each as a `Batch`; of the first, the values are looked at, too.

    Args:
        given: `Batch`es, tensors [N, C, H, W], or lists and tuples of such a tensor and, perhaps, labels [N].
        classes: that the networks have; 0: labels are left out; None: they are not looked at.

    Raises:
        HasamaError: one of them is something else, or holds no pictures; or values of the first are not finite or
            far from [-1, 1], or its labels no classes.
    """
    for number, one in enumerate(given):
        images, labels = _as_batch(one)
        labels = None if classes == 0 else labels
        if number == 0 and labels is not None and classes:
            _check_classes(labels, classes)
        if number == 0 and not images.is_meta:
            lowest, highest = (float(end) for end in torch.aminmax(images.detach()))
            if not max(-lowest, highest) <= FARTHEST:  # nor NaN
                scaled = " A uint8 picture x is  x / 127.5 - 1." if highest > 1 and lowest >= 0 else ""
                raise HasamaError(f"{TAKEN}; these are from {lowest:g} to {highest:g}.{scaled}")
        yield Batch(images, labels)


def check_alike(real: Shown, fake: Shown) -> None:
    """Reals and fakes are of one size: by another, a discriminator would tell them apart, if it could take them.

    Args:
        real: [N, C, H, W] or a pyramid of them, as the discriminator is to see them.
        fake: likewise, from the generator.

    Raises:
        HasamaError: they differ in height, width, channels or the number of levels.
    """
    shapes = [[list(level.shape[1:]) for level in ((v,) if isinstance(v, Tensor) else v)] for v in (real, fake)]
    if shapes[0] != shapes[1]:
        shown, made = (" and ".join(str(level) for level in levels) for levels in shapes)
        raise HasamaError(
            f"The discriminator would be shown real images [C, H, W] of {shown}, and the generator makes {made}: "
            "build the networks for the size and the channels of the real images."
        )


def _check_classes(labels: Tensor, classes: int) -> None:
    whole = not labels.is_floating_point() and not labels.is_complex()
    if not whole or not (labels.min() >= 0 and labels.max() < classes):
        kind = str(labels.dtype).removeprefix("torch.")
        raise HasamaError(
            f"Labels are whole numbers from 0 to {classes - 1}, one for each picture; got {kind} {labels}."
        )


def _as_batch(one: Any) -> Batch:
    images, *more = one if isinstance(one, list | tuple) and one else [one]
    labels = more[0] if more else None
    if not isinstance(images, Tensor) or len(more) > 1 or not (labels is None or isinstance(labels, Tensor)):
        told = ", ".join(type(part).__name__ for part in (images, *more))
        raise HasamaError(f"{TAKEN}; got {told}.")
    if images.ndim != 4 or not images.numel() or not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise HasamaError(f"{TAKEN}; got {kind} {list(images.shape)}.")
    if labels is not None and labels.shape != images.shape[:1]:
        raise HasamaError(f"{TAKEN}; got {len(images)} images and labels {list(labels.shape)}.")
    return Batch(images if images.dtype == torch.float32 else images.float(), labels)
