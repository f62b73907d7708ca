"""The score of a trial: how good its generator is, in one figure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from hasama.device import pick_device
from hasama.errors import HasamaError
from hasama.files import make_folder, replacing
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate
from hasama.metrics.distances import kid
from hasama.networks.registry import build
from hasama.perception.extractors import Extractor, extract_features, vgg19
from hasama.pictures.dataset import Pictures
from hasama.recipe import Recipe
from hasama.runs.folder import Run
from hasama.training.setup import new_game

Score = Callable[[TrainedGenerator], float]
"""The figure that a sweep minimises, of a generator."""

REALS_MOST = 1000
PICTURES_LEAST = 20


def generator_at_checkpoint(run: Run, recipe: Recipe, pictures: Pictures, device: torch.device) -> TrainedGenerator:
    """The EMA generator from the run's checkpoint, for the generator's file may be a step behind."""
    channels, classes = pictures.report.channels, pictures.classes
    game = new_game(build(recipe, channels, len(classes)), recipe, device)
    run.load_game(game)
    return TrainedGenerator(game.sampling_generator, recipe, game.pair.latent_size, channels, classes)


def by_kid(pictures: Pictures, fakes: int, out: Path, device: str = "auto") -> Score:
    """KID in VGG19 features (`hasama.perception.extractors.EXTRACTOR`) of pictures from the same latents each time.

    The features of the reals, at most `REALS_MOST`, are computed once, and kept in `out` for all processes.

    Raises:
        HasamaError: there are too few pictures.
    """
    if len(pictures) < PICTURES_LEAST:
        raise HasamaError(
            f"A sweep compares the distributions of real and generated pictures, for which {len(pictures)} pictures "
            f"are too few: it needs {PICTURES_LEAST} at least, and some hundreds for a useful score."
        )
    network = vgg19(pick_device(device))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(0)))
    chosen = rng.permutation(pictures.at_hand)[:REALS_MOST]
    real = _features_of_reals(pictures, np.sort(chosen), out, network)

    def score(generator: TrainedGenerator) -> float:
        latents = draw_latents(0, fakes, generator.latent_size)
        labels = None
        if generator.classes and pictures.labels is not None:  # the classes as frequent as among the reals
            labels = torch.from_numpy(pictures.labels[np.resize(chosen, fakes)])
        return kid(real, torch.cat(list(extract_features(network, generate(generator, latents, labels)))))[0]

    return score


def _features_of_reals(pictures: Pictures, chosen: np.ndarray, out: Path, network: Extractor) -> torch.Tensor:
    place = out / f"reals-{pictures.report.digest[:12]}.npy"
    make_folder(out)
    with FileLock(out / ".reals.lock"):
        if not place.exists():
            found = torch.cat(list(extract_features(network, pictures.take_in_parts(chosen))))
            with replacing(place) as temporary, temporary.open("wb") as file:
                np.save(file, found.numpy())
    return torch.from_numpy(np.load(place, allow_pickle=False))
