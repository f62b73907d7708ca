"""Of several pictures the one that looks most like real ones to a frozen network: a look, and choosing by it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor

from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import generate_all
from hasama.metrics.distances import Features
from hasama.metrics.intervals import stream
from hasama.perception.extractors import Extractor, extract_features
from hasama.pictures.dataset import Pictures
from hasama.shapes import Labels, Latents
from hasama.tensor_files import KEY, load_tensors, save_tensors

SEEN = 200
"""Pictures that are looked at. Of 1,500 what is chosen is no better (docs/experiments/choosing.md)."""
EXTRACTOR = "efficientnet"
FILE = "look.safetensors"
"""In a run's folder, or a base's: what its pictures look like."""
AXES = 32
"""Directions in which the features of real pictures differ, at most; never more than half as many as pictures."""
LEAST = 1e-20
"""Of a variance, where all pictures are one: nearer is still more alike, and nothing is infinite in float32."""
AT_ONCE = 64
"""Pictures among which is chosen at once, at least."""


class Look(NamedTuple):
    """How a frozen network sees some pictures: a Gaussian of its features, of few axes and equal in all others.

    Probabilistic PCA, Tipping and Bishop 1999, equations 7 and 8.

    Attributes:
        mean: of the features.
        axes: along which they differ most, orthonormal.
        variances: along these.
        rest: the variance along every other direction, in the mean.
    """

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "q d"]
    variances: Float[Tensor, " q"]
    rest: Float[Tensor, ""]

    @classmethod
    def of(cls, features: Features) -> "Look":
        """That of pictures with these features [n, d], n at least 1."""
        count, width = features.shape
        mean = features.double().mean(0)
        axes = min(AXES, (count - 1) // 2, width - 1)
        _, values, directions = torch.linalg.svd(features.double() - mean, full_matrices=False)
        variances = values.square() / count
        rest = variances[axes:].sum() / (width - axes)
        return cls(*(one.float() for one in (mean, directions[:axes], variances[:axes], rest)))

    @property
    def spread(self) -> Float[Tensor, ""]:
        """The mean squared distance of features from their mean."""
        return self.variances.sum() + self.rest * (self.axes.shape[1] - len(self.axes))

    def likeness(self, features: Features) -> Float[Tensor, " n"]:
        """How much pictures with these features [n, d] look like those: the log-likelihood, but for a constant."""
        away = features - self.mean
        along = away @ self.axes.T
        across = (away.square().sum(1) - along.square().sum(1)).clamp(min=0)
        variances, rest = self.variances.clamp(min=LEAST), self.rest.clamp(min=LEAST)
        distance = (along.square() / variances).sum(1) + across / rest
        return -distance / 2


def looked_at(pictures: Pictures) -> Int[ndarray, " n"]:
    """The numbers of the pictures that say what all look like: some of them at random."""
    return stream(0).permutation(pictures.at_hand)[:SEEN]


def look_of(pictures: Pictures, extractor: Extractor) -> Look:
    """What pictures look like."""
    return Look.of(torch.cat(list(extract_features(extractor, pictures.take_in_parts(looked_at(pictures))))))


def save_look(look: Look, folder: Path, digest: str = "") -> None:
    """Write it into a run's folder, the axes in half precision.

    Args:
        look: of the run's pictures.
        folder: the run's.
        digest: which pictures these are, as images.json says; of a base it says nothing.

    Raises:
        HasamaError: that is impossible.
    """
    save_tensors(folder / FILE, {**look._asdict(), "axes": look.axes.half()}, {"digest": digest})


def load_look(folder: Path, digest: str = "") -> Look | None:
    """What lies in a run's folder; None if that is nothing, is damaged, or is of pictures with another digest."""
    try:
        tensors, header = load_tensors(folder / FILE)
        if json.loads(header[KEY])["digest"] != digest:
            return None
        return Look(**{name: tensor.float() for name, tensor in tensors.items()})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


class Choice(NamedTuple):
    """A picture that was chosen.

    Attributes:
        done: how many pictures are chosen with it.
        total: how many will be.
        number: which one of all that could have been chosen.
        picture: as `generate` makes them.
        stage: what is done, as of all records of progress.
    """

    done: int
    total: int
    number: int
    picture: UInt8[ndarray, "h w c"]
    stage: str = "choosing"


def choose(
    generator: TrainedGenerator,
    latents: Latents,
    labels: Labels | None,
    of: int,
    look: Look,
    extractor: Extractor,
    truncation: float = 1.0,
) -> Iterator[Choice]:
    """Of each `of` pictures, one after the other, the one that looks most like real ones.

    A generator's failures are mostly far from what the network knows of real pictures, so that the rest is better
    and, other than with truncation, nearly as various: docs/experiments/choosing.md has the figures.

    Args:
        generator: what makes them.
        latents: [n * of, Z].
        labels: the class of each of these; needed if the generator has classes.
        of: among how many, at least 1.
        look: of the real pictures, by the same extractor.
        extractor: the frozen network, which sees all pictures.
        truncation: as for `generate`.
    """
    total, at_once = len(latents) // of, max(1, AT_ONCE // of) * of
    for first in range(0, total * of, at_once):
        some = slice(first, min(first + at_once, total * of))
        made = generate_all(generator, latents[some], None if labels is None else labels[some], truncation)
        likeness = look.likeness(torch.cat(list(extract_features(extractor, made))))
        for group, best in enumerate(likeness.view(-1, of).argmax(1).tolist()):
            number = first + group * of + best
            yield Choice(number // of + 1, total, number, made[number - first])
