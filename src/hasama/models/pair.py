"""The contract between an architecture and the game."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import nn

from hasama.shapes import Images


def unchanged(real: Images) -> Images:
    """The default view: the discriminator is shown reals as they are."""
    return real


def never(images_seen: int) -> None:
    """The default growth: none."""


class Pair(NamedTuple):
    """Two networks that play against each other. Any two `nn.Module`s will do.

    Attributes:
        generator: latents [N, Z] (and labels [N], if there are classes) -> images [N, C, H, W] in [-1, 1].
        discriminator: images (and labels) -> logits [N] or [N, 1], large for real.
        latent_size: Z.
        view: how reals are shown to the discriminator (blurred, as a pyramid, ...).
        grow: told the images seen before every step; opens layers.
    """

    generator: nn.Module
    discriminator: nn.Module
    latent_size: int
    view: Callable[[Images], Any] = unchanged
    grow: Callable[[int], None] = never


class Config(Protocol):
    """An architecture: a frozen dataclass of its sizes that knows how to build itself."""

    def build(self, resolution: tuple[int, int], channels: int, classes: int = 0) -> Pair:
        """The pair for (height, width), channels and number of classes (0: none).

        Raises:
            HasamaError: it cannot make pictures of that size; the message names the nearest that it can.
        """
        ...
