"""The architectures, and how a recipe becomes a pair of networks."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from hasama.dataset import Batch
from hasama.game import Game, Record, play
from hasama.models.dcgan import DCGAN
from hasama.models.dense import Dense
from hasama.models.pair import Config, Pair
from hasama.models.vae import VAE, autoencode
from hasama.recipe import Recipe

Loop = Callable[[Game, Iterable[Batch]], Iterator[Record]]


class Entry(NamedTuple):
    """An architecture: how a recipe's fields become its config, and the loop that trains it."""

    config: Callable[[Recipe], Config]
    loop: Loop = play


ARCHITECTURES: dict[str, Entry] = {
    "dcgan": Entry(lambda r: DCGAN(r.width, r.latent_size, r.discriminator_norm)),
    "dense": Entry(lambda r: Dense(r.width, r.latent_size)),
    "vae": Entry(lambda r: VAE(r.width, r.latent_size), autoencode),
}


def build(recipe: Recipe, channels: int = 3, classes: int = 0) -> Pair:
    """The pair of networks that a recipe describes, with first weights drawn from its seed.

    Args:
        recipe: its architecture, size, width, latent_size and discriminator_norm count here.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        classes: number of classes; 0 for none.

    Raises:
        HasamaError: the architecture cannot make pictures of that size.
    """
    config = ARCHITECTURES[recipe.architecture].config(recipe)
    with torch.random.fork_rng():  # the caller's random numbers are none of our business
        torch.manual_seed(recipe.seed)
        return config.build(recipe.resolution, channels, classes)
