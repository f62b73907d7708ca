"""Train on data whose modes are known, then count the modes: the published protocols with any recipe's rules.

`cover` runs the loop `play` on other data: it yields a record after every step, the last one holds the result.
"""

import itertools
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from hasama.distributed import begin_alike, check_divisible, is_first
from hasama.errors import HasamaError
from hasama.evaluation.stacked_mnist import Stacks, learn_to_read, open_digits
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents
from hasama.metrics.modes import (
    CHANNELS,
    FAR,
    MIXTURES,
    Coverage,
    Mixture,
    as_images,
    as_points,
    coverage_of_points,
    draw_points,
)
from hasama.networks.architectures.fourier_points import FourierPointNetworks
from hasama.networks.architectures.points import PointNetworks
from hasama.networks.pair import Pair
from hasama.options import unknown_name
from hasama.pictures.dataset import Batch, shares_of
from hasama.pictures.sources.sources import download_first
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.shares import own_random_numbers
from hasama.training.game import Game, Record
from hasama.training.setup import loop_for, new_game

STACKED = "stacked-mnist"
GROUNDS = (*MIXTURES, STACKED)
"""What can be covered."""

KIMG = {"ring": 500.0, "grid": 2000.0, "hundred": 3584.0, STACKED: 700.0}
"""Length of a run where none is given; that of hundred is 7,000 steps, as in the published figures."""

POINT_GAMMA = 0.01
"""Weight of R1 and R2 for points, where the recipe gives none, for its own guess goes by the size of pictures.

Five times as much serves too, but leaves more points between the modes.
"""

POINT_BATCH = 100
"""Points per step, as in the protocol (Lin et al. 2018): a recipe's batch is one for pictures."""

HUNDRED_BATCH = 512
"""Points per step of hundred, a quarter of `particlegan`'s 2,048: enough, and four times as quick."""


class CoverageProgress(NamedTuple):
    """How far `cover` is.

    Attributes:
        stage: what is being done: reading, training or counting modes.
        done: how much of that stage is, 0 to 1.
        step: the record of the training step.
        found: what the generator covers; in the last record only, like the next two.
        floor: what as many real samples cover.
        sample: what was generated: points [n, 2] in the protocol's units, or the first 64 pictures,
            uint8 [64, H, W, 3].
    """

    stage: str
    done: float
    step: Record | None = None
    found: Coverage | None = None
    floor: Coverage | None = None
    sample: np.ndarray | None = None

    @property
    def losses(self) -> dict[str, float]:
        """Both networks' losses at this step; asking for them waits for the device."""
        figures = {} if self.step is None else self.step.figures()
        return {name.removeprefix("loss_"): value for name, value in figures.items() if name.startswith("loss_")}


class Ground(Protocol):
    """What is trained on: how a recipe is adapted to it, the networks, the real samples, the count of modes."""

    def adapted(self, recipe: Recipe, kimg: float) -> Recipe:
        """The recipe as it is used here."""
        ...

    def pair(self, recipe: Recipe) -> Pair:
        """The networks."""
        ...

    def batches(self, recipe: Recipe, device: torch.device, start: int = 0) -> Iterator[Batch]:
        """Real samples without end, each batch a function of (seed, images seen)."""
        ...

    def measure(self, generator: TrainedGenerator, seed: int) -> tuple[Coverage, np.ndarray]:
        """What a generator covers, and the sample in which it was counted."""
        ...

    def floor(self, seed: int) -> Coverage:
        """What as many real samples cover, none of which was trained on."""
        ...


SAVE_SECONDS = 120.0


def cover(
    what: str,
    recipe: Recipe,
    kimg: float | None = None,
    source: str = "mnist",
    device: torch.device | str = "cpu",
    kept: Run | None = None,
) -> Generator[CoverageProgress, None, None]:
    """Train on `what` by a recipe's rules, and count what the EMA generator covers at the end.

    Args:
        what: ring, grid, hundred or stacked-mnist.
        recipe: its rules, learning rates, EMA and seed count everywhere; see `Plane` and `Stacks` for the rest.
        kimg: the length. Default: see `KIMG`. The recipe's schedules, if it has any, run over all of it.
        source: stacked-mnist: the digits; see `open_digits`.
        device: where to train.
        kept: a folder in which the game is saved, every two minutes and when this generator is closed, and from
            which it goes on; the caller makes sure that it is a game of the same arguments.

    Several processes train it together (see `hasama.distributed`); only the first one counts.

    Raises:
        HasamaError: there is no such protocol or source, or the recipe cannot be used for it.
    """
    device = torch.device(device)
    check_ground(what)
    ground: Ground = PLANES[what] if what in PLANES else (yield from _open_stacks(source, device))
    recipe = ground.adapted(recipe, KIMG[what] if kimg is None else kimg)
    check_divisible(recipe.batch)
    game = new_game(ground.pair(recipe), recipe, device)
    if kept is not None and is_first():
        kept.load_game(game)
    begin_alike(game)
    loop = loop_for(recipe.architecture)(game, shares_of(ground.batches(recipe, device, game.images_seen)))
    with closing(_saved(loop, game, recipe.images, kept)) as steps:
        for step in steps:
            yield CoverageProgress("training", min(1.0, step.images_seen / recipe.images), step)
    if not is_first():
        return
    yield CoverageProgress("counting modes", 0.0)
    found, sample = ground.measure(
        TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, CHANNELS), recipe.seed
    )
    yield CoverageProgress("counting modes", 1.0, None, found, ground.floor(recipe.seed), sample)


def _saved(steps: Iterator[Record], game: Game, images: int, kept: Run | None) -> Generator[Record, None, None]:
    """The steps up to so many images; the game is saved now and then, at the end, and when this is closed."""
    saved, kept = time.monotonic(), kept if is_first() else None
    try:
        while game.images_seen < images:
            yield next(steps)
            if kept is not None and time.monotonic() - saved > SAVE_SECONDS:
                kept.save_game(game)
                saved = time.monotonic()
    except GeneratorExit:  # it is between two steps, so that both networks are at the same step
        if kept is not None:
            kept.save_game(game)
        raise
    if kept is not None:
        kept.save_game(game)


def check_ground(what: str) -> None:
    """Refuse an unknown name.

    Raises:
        HasamaError: it is one.
    """
    if what not in GROUNDS:
        raise HasamaError(unknown_name(what, GROUNDS, "protocol of mode coverage"))


# --- points ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """A mixture of Gaussians, learnt by two small networks of its own.

    Of the recipe count: objective, penalty and its weight (`POINT_GAMMA` if it gives none), learning rates, betas,
    schedules, EMA, balance, label smoothing, instance noise and seed. What is about pictures or their networks
    (architecture, size, width, latent_size, augment, spectral_norm, ...) does not; nor do batch, which is the
    ground's, and precision, for bfloat16 cannot tell apart points less than a 256th of their distance from the
    origin: it is always fp32.

    Attributes:
        mixture: what is learnt.
        networks: by which networks.
        batch: points per step.
    """

    mixture: Mixture
    networks: PointNetworks | FourierPointNetworks = PointNetworks()
    batch: int = POINT_BATCH

    def adapted(self, recipe: Recipe, kimg: float) -> Recipe:
        """A recipe for points that keeps the rules of this one.

        Raises:
            HasamaError: it is the recipe of a vae.
        """
        if recipe.architecture == "vae":
            raise HasamaError("A vae plays no game: choose another recipe for points.")
        kept = {name: getattr(recipe, name) for name in RULES}
        gamma = recipe.gamma
        if gamma is None and recipe.penalty in ("r1", "r2", "r1+r2"):
            gamma = POINT_GAMMA
        return Recipe(architecture="dense", precision="fp32", batch=self.batch, gamma=gamma, kimg=kimg, **kept)

    def pair(self, recipe: Recipe) -> Pair:
        """The same first weights for every recipe with the same seed."""
        with own_random_numbers(recipe.seed):
            return self.networks.build()

    def batches(self, recipe: Recipe, device: torch.device, start: int = 0) -> Iterator[Batch]:
        """Points as pictures of one pixel."""
        for first in itertools.count(start, recipe.batch):
            points = draw_points(self.mixture, recipe.seed, recipe.batch, first)
            yield Batch(as_images(points, self.mixture).to(device))

    @torch.no_grad()
    def measure(self, generator: TrainedGenerator, seed: int) -> tuple[Coverage, np.ndarray]:
        """As many of the generator's points as the mixture says."""
        device = next(generator.network.parameters()).device
        with generator.at_rest():
            images = generator.network(draw_latents(seed, self.mixture.samples, generator.latent_size).to(device))
        points = as_points(images, self.mixture)
        return coverage_of_points(points, self.mixture), points

    def floor(self, seed: int) -> Coverage:
        """As many real points."""
        return coverage_of_points(draw_points(self.mixture, seed, self.mixture.samples, FAR), self.mixture)


PLANES = {
    "ring": Plane(MIXTURES["ring"]),
    "grid": Plane(MIXTURES["grid"]),
    # The square is the data's. The octaves' periods are 8, 4, 2, 1 and 0.5 of the data's units, of which 1 is the
    # distance of two modes; `particlegan`'s critic has the last three.
    "hundred": Plane(MIXTURES["hundred"], FourierPointNetworks(5 / 4.5, 4.5 * math.pi / 4, 5), HUNDRED_BATCH),
}
"""How each mixture is learnt."""


RULES = (
    *("objective", "penalty", "penalty_every", "gamma_final", "generator_lr", "discriminator_lr", "lr_final"),
    *("generator_betas", "discriminator_betas", "balance", "skip_above", "critic_steps", "label_smoothing"),
    *("instance_noise", "instance_noise_kimg", "ema_kimg", "ema_rampup", "seed", "weight_decay"),
    *("penalty_sigma", "beta2_initial"),
)
"""The fields of a recipe that decide how points are learnt."""


# --- stacked digits -------------------------------------------------------------------------------


def _open_stacks(source: str, device: torch.device) -> Generator[CoverageProgress, None, Stacks]:
    """The digits and their reader, as a generator that returns the ground."""
    for one in download_first(source):
        yield CoverageProgress(f"downloading {one.name}", one.done / max(1, one.done, one.total))
    yield CoverageProgress("reading the digits", 0.0)
    digits = open_digits(source)
    reader = None
    for learning in learn_to_read(digits, device):
        yield CoverageProgress("learning to read them", learning.done)
        reader = learning.reader
    assert reader is not None
    return Stacks(digits, reader)
