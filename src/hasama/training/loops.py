"""Which loop trains which architecture."""

from collections.abc import Callable, Iterable, Iterator

from hasama.pictures.dataset import Batch
from hasama.training.autoencoder import autoencode
from hasama.training.game import Game, Record
from hasama.training.turns import play

Loop = Callable[[Game, Iterable[Batch]], Iterator[Record]]

LOOPS: dict[str, Loop] = {"vae": autoencode}
"""Architectures that are not trained adversarially."""


def loop_for(architecture: str) -> Loop:
    """The loop that trains an architecture: `play`, but for those in `LOOPS`."""
    return LOOPS.get(architecture, play)
