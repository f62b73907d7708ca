"""Stacked MNIST: pictures of three handwritten digits, and a small network that reads them to count the modes."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from safetensors import SafetensorError
from torch import nn

from hasama.device import pick_arithmetic
from hasama.errors import HasamaError
from hasama.generators.generator_file import TrainedGenerator
from hasama.generators.sampling import draw_latents, generate_all
from hasama.metrics.modes import (
    CHANNELS,
    FAR,
    STACK_SAMPLES,
    Coverage,
    Digits,
    Read,
    coverage_of_stacks,
    draw_stacks,
    stack,
)
from hasama.networks.pair import Pair
from hasama.networks.registry import build
from hasama.optimizers import Adam
from hasama.pictures.cache import open_pictures
from hasama.pictures.dataset import Batch, Pictures
from hasama.pictures.sources.download import cache_folder
from hasama.pictures.tensors import to_images
from hasama.recipe import Recipe
from hasama.shapes import Images, Pixels
from hasama.shares import own_random_numbers
from hasama.tensor_files import load_tensors, save_tensors

SIDE, EDGE = 28, 2
"""Pixels of a digit, and of the black edge around it that makes it 32."""

HELD_OUT = 0.1
ENOUGH = 0.985
"""The share of held-out digits that a reader must get right before modes are counted with it."""

EPOCHS, BATCH, RATE = 3, 128, 2e-3
READ_AT_ONCE = 500
LAYOUT = 1
"""Version of the network and its training; part of the cache's key."""


class DigitSet(NamedTuple):
    """uint8 digits [N, 32, 32] and what they are [N], 0 to 9."""

    pixels: Digits
    labels: Int[np.ndarray, " digits"]

    def digest(self) -> str:
        """Changes with every pixel and label."""
        told = hashlib.blake2b(self.pixels.tobytes(), digest_size=16)
        told.update(np.ascontiguousarray(self.labels, np.int64).tobytes())
        return told.hexdigest()


def open_digits(source: str) -> DigitSet:
    """The digits of a source with ten classes, 28x28, with a black edge.

    Raises:
        HasamaError: there is no such source, or it does not hold the ten digits as classes 0 to 9.
    """
    pictures: Pictures = open_pictures(source, Recipe(size=str(SIDE), colour="grey", labels=True))
    if pictures.labels is None or pictures.classes != tuple("0123456789"):
        there = ", ".join(pictures.classes[:12]) or "none"
        raise HasamaError(
            f"Stacked MNIST is made of digits in ten classes called 0 to 9; the classes of {source} are: {there}. "
            "Give  --source mnist  or an .npz file with `images` and `labels`."
        )
    pixels = pictures.take(np.arange(len(pictures)))[..., 0]
    return DigitSet(np.pad(pixels, ((0, 0), (EDGE, EDGE), (EDGE, EDGE))), pictures.labels)


# --- reading --------------------------------------------------------------------------------------


class Reader(nn.Module):
    """Grey 32x32 pictures [N, 1, 32, 32] -> logits [N, 10]: two convolutions and two layers (LeCun et al. 1998)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, 1, 2), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(16, 32, 5, 1, 2), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Linear(32 * 8 * 8, 128), nn.ReLU(inplace=True), nn.Linear(128, 10)),
        )

    def forward(self, images: Images) -> torch.Tensor:
        return self.layers(images)


class Learning(NamedTuple):
    """How far a reader's training is, 0 to 1; the last record holds the reader."""

    done: float
    reader: Reader | None = None


def learn_to_read(digits: DigitSet, device: torch.device | str = "cpu") -> Iterator[Learning]:
    """A reader of these digits: from the cache, or trained on nine tenths of them and tested on the held-out tenth.

    The same digits on the same machine give the same reader; torch's global generator is left as it was.

    Yields:
        A record after each step, and a last one with the reader on the device.

    Raises:
        HasamaError: it gets fewer than 98.5 % of the held-out ones right.
    """
    device = torch.device(device)
    place = cache_folder() / "readers" / f"{digits.digest()}-{LAYOUT}.safetensors"
    with own_random_numbers(0):
        reader = Reader().to(device)
    if not _taken_up(reader, place):
        order = np.random.Generator(np.random.Philox(0)).permutation(len(digits.labels))
        tried, learnt = np.split(order, [max(1, round(HELD_OUT * len(order)))])
        yield from _train(reader, digits, learnt, device)
        right = float((read_digits(reader, digits.pixels[tried]) == digits.labels[tried]).mean())
        if right < ENOUGH:
            raise HasamaError(
                f"A network that learnt {len(learnt)} of these digits reads only {right:.1%} of {len(tried)} others "
                f"right; {ENOUGH:.1%} are needed to count modes with it. Give more, or cleaner, digits by --source."
            )
        save_tensors(place, reader.state_dict(), {})
    yield Learning(1.0, reader.eval())


def _train(reader: Reader, digits: DigitSet, learnt: np.ndarray, device: torch.device) -> Iterator[Learning]:
    """Adam, its rate rising and falling once (Smith & Topin 2019), over a few epochs."""
    steps = max(1, EPOCHS * len(learnt) // BATCH)
    rng, arithmetic = np.random.Generator(np.random.Philox(1)), pick_arithmetic("auto", device)
    order = np.concatenate([rng.permutation(learnt) for _ in range(EPOCHS)])
    adam = Adam(reader.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps)
    reader.train()
    for step in range(steps):
        some = order[step * BATCH : (step + 1) * BATCH]
        with arithmetic():
            logits = reader(to_images(digits.pixels[some][..., None], device))
        adam.zero_grad()
        F.cross_entropy(logits.float(), torch.from_numpy(digits.labels[some]).to(device)).backward()
        adam.step()
        schedule.step()
        yield Learning((step + 1) / steps)


@torch.no_grad()
def read_digits(reader: Reader, pixels: Digits) -> Int[np.ndarray, " digits"]:
    """The class of each digit, 0 to 9."""
    device = next(reader.parameters()).device
    reader.eval()
    some = (pixels[first : first + READ_AT_ONCE, ..., None] for first in range(0, len(pixels), READ_AT_ONCE))
    return np.concatenate([reader(to_images(few, device)).argmax(1).cpu().numpy() for few in some])


def read_stacks(reader: Reader, pixels: Pixels) -> Read:
    """The class of each channel of each picture [n, 32, 32, 3]."""
    channels = pixels.transpose(0, 3, 1, 2).reshape(-1, *pixels.shape[1:3])  # [n, h, w, 3] -> [3 n, h, w]
    return read_digits(reader, channels).reshape(-1, CHANNELS)


def _taken_up(reader: Reader, place: Path) -> bool:
    """Give a reader the weights in the cache; False if there are none, or not all of them."""
    try:
        reader.load_state_dict(load_tensors(place)[0])
    except (OSError, SafetensorError, ValueError, RuntimeError):
        return False
    return True


# --- training -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stacks:
    """Digits in three channels, learnt by the recipe's own networks at 32x32.

    The whole recipe counts, except what is about pictures: size, fit, colour, mirror and labels.
    """

    digits: DigitSet
    reader: Reader

    def adapted(self, recipe: Recipe, kimg: float) -> Recipe:
        """The recipe in the form of the stacks: 32x32, colour, no mirroring and no classes."""
        form = {"size": str(self.digits.pixels.shape[1]), "colour": "rgb", "mirror": False, "labels": False}
        return recipe.but(**form).lasting(kimg)

    def pair(self, recipe: Recipe) -> Pair:
        """The recipe's own networks."""
        return build(recipe, CHANNELS)

    def batches(self, recipe: Recipe, device: torch.device, start: int = 0) -> Iterator[Batch]:
        """Stacks made as they are needed."""
        for first in itertools.count(start, recipe.batch):
            chosen = draw_stacks(len(self.digits.labels), recipe.seed, recipe.batch, first)
            yield Batch(to_images(stack(self.digits.pixels, chosen), device))

    def measure(self, generator: TrainedGenerator, seed: int) -> tuple[Coverage, np.ndarray]:
        """Count the modes of 26,000 generated pictures; the sample is the first 64 of them."""
        pixels = generate_all(generator, draw_latents(seed, STACK_SAMPLES, generator.latent_size))
        return coverage_of_stacks(read_stacks(self.reader, pixels)), pixels[:64]

    def floor(self, seed: int) -> Coverage:
        """26,000 stacks of real digits, read by the same reader; each digit is read only once."""
        read = read_digits(self.reader, self.digits.pixels)
        return coverage_of_stacks(read[draw_stacks(len(read), seed, STACK_SAMPLES, FAR)])
