"""Try a few weights of the gradient penalty: gamma depends on the pictures, and no formula knows it.

Huang et al. 2024 begin with 0.05 on CIFAR-10, 1 on Stacked MNIST and 2 on FFHQ at 64x64, which are of about one size;
what StyleGAN2-ADA computes from pixels and batch is hundreds of times smaller. So short trainings that differ in
nothing else are compared by the quality of their pictures.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.health.quality import Quality, QualityProbe
from hasama.networks.registry import build
from hasama.perception.extractors import extractor_named
from hasama.pictures.dataset import Pictures, batches
from hasama.recipe import Recipe
from hasama.training.setup import new_game
from hasama.training.turns import play


class GammaTrial(NamedTuple):
    """How far a trial is: a record of `try_gammas`.

    Attributes:
        gamma: the weight that is tried.
        stage: in words, for a progress bar.
        done: images seen.
        total: images of a trial.
        quality: of its pictures; in the last record of each trial only.
    """

    gamma: float
    stage: str
    done: int
    total: int
    quality: Quality | None = None


def check_gammas(gammas: Sequence[float], recipe: Recipe) -> None:
    """Before any work.

    Raises:
        HasamaError: there are not two different ones, one is out of range, or the recipe has no penalty to weigh.
    """
    if len(set(gammas)) < 2:
        raise HasamaError("--gammas takes at least two different numbers, such as 0.05,0.5,5.")
    for gamma in gammas:
        recipe.but(gamma=gamma)  # which refuses what is out of range, and recipes without a penalty


def try_gammas(
    recipe: Recipe, pictures: Pictures, gammas: Sequence[float], kimg: float, device: torch.device | str = "cpu"
) -> Iterator[GammaTrial]:
    """Train for a short time with each weight, and look at the quality of what is then generated.

    Args:
        recipe: everything else.
        pictures: in its form.
        gammas: the weights to try.
        kimg: length of each trial.
        device: where to train.

    Yields:
        A record after every step; the last of each gamma holds the quality.

    Raises:
        HasamaError: see `check_gammas`.
    """
    check_gammas(gammas, recipe)
    device, images = torch.device(device), round(1000 * kimg)
    probe = QualityProbe(pictures, extractor_named(recipe.quality_extractor, device))
    for gamma in gammas:
        trial, channels, classes = recipe.but(gamma=gamma), pictures.report.channels, pictures.classes
        game = new_game(build(trial, channels, len(classes)), trial, device)
        stage = f"trying gamma {gamma:g}"
        for step in play(game, batches(pictures, trial.batch, trial.seed, 0, trial.mirror, device)):
            yield GammaTrial(gamma, stage, min(step.images_seen, images), images)
            if step.images_seen >= images:
                break
        generator = TrainedGenerator(game.sampling_generator, trial, game.pair.latent_size, channels, classes)
        yield GammaTrial(gamma, stage, images, images, probe(generator, game.images_seen))


def best_gamma(trials: dict[float, Quality], usual: float) -> tuple[float, str]:
    """The weight to take, and why: the usual one, unless another is clearly better.

    Args:
        trials: the quality by gamma.
        usual: the recipe's own weight, which stays where the trials cannot tell.
    """
    best = min(trials, key=lambda gamma: trials[gamma].kid)
    told = ", ".join(f"{gamma:g}: {quality.kid:.3g}" for gamma, quality in sorted(trials.items()))
    seen = f"KID after {max(q.images_seen for q in trials.values()) / 1000:g} kimg by gamma {told}"
    if not math.isfinite(trials[best].kid):
        return usual, f"{seen}; all of them broke down, and so the usual one is kept."
    if usual in trials and best != usual and not trials[best].is_clearly_better_than(trials[usual]):
        return usual, f"{seen}; {best:g} is not clearly better than the usual one."
    untried = "" if usual in trials else f"; the usual {usual:g} was not among them"
    return best, f"{seen}{untried}."
