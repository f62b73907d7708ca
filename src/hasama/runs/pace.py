"""How fast and how large a training is, by a few real steps of it."""

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from hasama.device import forget_peak, keep_memory, kind_of, peak_bytes
from hasama.distributed import agreed, check_divisible, team
from hasama.errors import short_of_memory
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate
from hasama.health.quality import is_looked_at
from hasama.health.signals import Probe
from hasama.networks.layers import SMALLEST
from hasama.networks.registry import build
from hasama.perception.extractors import extract_features, extractor_named, together
from hasama.pictures.dataset import Batch, Pictures, batches
from hasama.recipe import Recipe
from hasama.runs.fitting import health_interval
from hasama.runs.reports.plot import health_plot
from hasama.runs.reports.samples import sample_grid
from hasama.training.game import Game
from hasama.training.graphs import WARM_UPS, why_not
from hasama.training.setup import loop_for, new_game
from hasama.training.vision_aid import OBSERVED

WARM_UP = 2  # steps: the first ones choose algorithms and ask for memory
ASKED_EVERY = 10  # steps: a card that is asked at each one does nothing until the next
STEPS_LEAST = 3
SECONDS = 4.0


class Pace(NamedTuple):
    """What was measured.

    Attributes:
        images_per_second: over the timed steps; on the average of a whole training where networks grow.
        steps: how many those were.
        memory: peak bytes of this whole process, or on the GPU; None if the system does not say.
    """

    images_per_second: float
    steps: int
    memory: int | None

    @property
    def kimg_per_hour(self) -> float:
        """Thousands of images in an hour."""
        return 3.6 * self.images_per_second

    def hours(self, kimg: float) -> float:
        """How long so many thousands of images take."""
        return kimg / self.kimg_per_hour

    def kimg_within(self, hours: float) -> float:
        """How many thousands of images fit into so many hours, to two digits."""
        return two_digits_below(hours * self.kimg_per_hour)


def two_digits_below(value: float) -> float:
    """546.0 -> 540.0: a length that was rounded up would not fit."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / unit + 1e-9) * unit:.2g}")


def measure(
    recipe: Recipe, pictures: Pictures, device: torch.device, seconds: float | None = None, looks: bool = True
) -> Pace:
    """Train for a few seconds on real batches, and throw the result away.

    Args:
        recipe: how to train.
        pictures: of the recipe's form, or larger: they are then made smaller.
        device: where to train.
        seconds: of timed steps, by default `SECONDS`; a few more steps come before.
        looks: whether the health and the quality are looked at as a run does, for the memory that this takes.

    Raises:
        HasamaError: several processes cannot share the batch.
    """
    check_divisible(recipe.batch, recipe.accumulate)
    keep_memory()
    seconds = SECONDS if seconds is None else seconds
    forget_memory(device)
    channels, classes = pictures.report.channels, pictures.classes if recipe.labels else ()
    game = new_game(build(recipe, channels, len(classes)), recipe, device)
    here = team()
    shown = batches(pictures, recipe.batch, recipe.seed, 0, recipe.mirror, device, here.rank, here.world)
    steps = loop_for(recipe.architecture)(game, _fitted(shown, recipe))
    count, each = 0, []
    for share in _moments(recipe):
        game.images_seen = int(share * recipe.images)
        for _ in range(steps_until_recorded(game, recipe.batch) - 1):
            next(steps).figures()
        step = next(steps)
        step.figures()
        began, images, first = time.perf_counter(), 0, count
        while agreed(count < first + STEPS_LEAST or time.perf_counter() - began < seconds / len(_moments(recipe))):
            step = next(steps)
            images += step.shown
            count += 1
            if not kind_of(device).graphs or count % ASKED_EVERY == 0:
                step.figures()  # waits for the device
        step.figures()
        each.append((time.perf_counter() - began) / images)
    generator = TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, channels, classes)
    sample_grid(generator, recipe.seed)  # as a run does
    if looks:
        _look(game, recipe, generator, pictures)
    return Pace(len(each) / sum(each), count, peak_memory(device))


def _look(game: Game, recipe: Recipe, generator: TrainedGenerator, pictures: Pictures) -> None:
    """What beside its steps a run takes memory for: a look at the health, what the quality's sees at once, a plot."""
    device = next(game.pair.generator.parameters()).device
    if health_interval(recipe) and pictures.take(np.arange(1)).shape[1:3] == recipe.resolution:
        Probe(pictures, None, device, recipe.mirror)(game, recipe.architecture != "vae")
    if is_looked_at(recipe):
        extractor = extractor_named(recipe.quality_extractor, device)
        latents = draw_latents(0, together(extractor, *recipe.resolution), generator.latent_size)
        made = np.concatenate(list(generate(generator, latents, [0] * len(latents) if generator.classes else None)))
        next(extract_features(extractor, made))
    health_plot([{"images_seen": seen, "loss_generator": 0.0} for seen in (0, 1)], [])  # what draws is large


def fitting(recipe: Recipe, measured: Callable[[Recipe], Pace]) -> tuple[Recipe, Pace]:
    """The recipe with the largest batch, of its own and its halves, for which the memory suffices, and its pace.

    Args:
        recipe: how to train.
        measured: times some steps; if not even `SMALLEST` pictures fit, what it raises goes on to the caller.
    """
    while True:
        half = recipe.batch // 2
        try:
            return recipe, measured(recipe)
        except Exception as error:
            if short_of_memory(error) is None or half < SMALLEST:
                raise
        recipe = recipe.but(batch=half)


def widest(
    recipe: Recipe,
    pace: Pace,
    wider: Iterable[Recipe],
    measured: Callable[[Recipe], Pace],
    has_room: Callable[[Recipe, Pace], bool],
) -> tuple[Recipe, Pace]:
    """The last of the wider recipes before the first one for which there is no room, and its pace.

    Args:
        recipe: what is taken if there is none.
        pace: its own.
        wider: from the narrowest on.
        measured: times some steps.
        has_room: whether one that takes so long is wanted; one that runs out of memory never is.
    """
    for wide in wider:
        try:
            found = measured(wide)
        except Exception as error:
            if short_of_memory(error) is None:
                raise
            break
        if not has_room(wide, found):
            break
        recipe, pace = wide, found
    return recipe, pace


def _moments(recipe: Recipe) -> tuple[float, ...]:
    """At which shares of its length a training is timed: at several where networks grow, for small ones are quick."""
    return (0.1, 0.3, 0.5, 0.7, 0.9) if recipe.architecture == "progressive" else (0.0,)


def steps_until_recorded(game: Game, batch: int) -> int:
    """Steps before the timed ones: on an NVIDIA card until those of each kind are recorded (`training.graphs`)."""
    if not kind_of(next(game.pair.generator.parameters()).device).graphs or why_not(game):
        return WARM_UP
    of = game.rules.balance.generator_every
    lazy = ((game.pair.generator_extra, of), (game.pair.discriminator_extra, 1))  # at every so many-th of its steps
    every = (game.rules.penalty_every, of, *(extra.every * steps for extra, steps in lazy if extra is not None))
    observing = 0 if game.aid is None else math.ceil(OBSERVED / batch)
    return observing + (WARM_UPS + 2) * math.lcm(*every)


def _fitted(shown: Iterator[Batch], recipe: Recipe) -> Iterator[Batch]:
    for images, labels in shown:
        if tuple(images.shape[2:]) != recipe.resolution:
            images = F.interpolate(images, recipe.resolution, mode="area")
        yield Batch(images, labels if recipe.labels else None)


def forget_memory(device: torch.device) -> None:
    """Give back what an earlier measurement has left, or the peak of the next would hold it, too.

    On the GPU torch keeps freed memory to itself, above all that of a batch that did not fit.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    forget_peak()


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes so far: what torch had on the GPU, or this whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)  # with what recorded steps keep to themselves
    return peak_bytes() or None
