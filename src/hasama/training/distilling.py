"""Before networks that begin with smaller ones play: what is new in them learns to do what the smaller ones did.

The layers next to the picture fit no smaller picture, so they begin with random numbers, and through these all that
lies behind them is unlearnt, too, while the game teaches them. They are taught by the small networks instead, for a
moment and without a game: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network". That a larger network
begins as the function which a smaller one is, is after Chen et al. 2016, "Net2Net", which has exact rules for layers
that allow of them.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from hasama.device import exact_kernels, lay_out
from hasama.networks.calling import call, evaluating
from hasama.networks.old_names import with_new_names
from hasama.networks.pair import Pair, unchanged
from hasama.networks.registry import build
from hasama.optimizers import Adam
from hasama.options import size_text
from hasama.pictures.dataset import Batch
from hasama.recipe import Recipe
from hasama.shapes import Images, Labels, Scalar, largest
from hasama.shares import own_random_numbers
from hasama.training.game import Game, set_rate
from hasama.training.setup import has_batch_norm

STEPS = 200
"""At most, and at most a tenth of the game's."""
BATCH = 8
"""Fakes in a step, and as many reals: at most."""
RATE = 3e-3
"""At first; it falls to nothing."""


class Distilled(NamedTuple):
    """One step of `distil`.

    Attributes:
        images_seen: 0, for these steps are no part of the game.
        shown: 0, likewise.
        done: the share of the steps.
        generator: the mean squared difference of the pictures.
        discriminator: that of the discriminators' outputs.
    """

    images_seen: int
    shown: int
    done: float
    generator: Scalar
    discriminator: Scalar

    @property
    def aside(self) -> str:
        """Who learns what, beside the game, in words."""
        return "larger networks: learning from the small ones"

    def figures(self) -> dict[str, float]:
        """The differences, by name."""
        return {"loss_generator": self.generator.item(), "loss_discriminator": self.discriminator.item()}


class Networks(NamedTuple):
    """Those that play, as they make and judge the pictures of the game: without an enlarger, and unaugmented.

    Attributes:
        generator: latents [N, Z] (and labels [N]) -> images [N, C, H, W].
        discriminator: images (and labels) -> [N] or [N, K].
        new: the weights of both that are to learn.
    """

    generator: nn.Module
    discriminator: nn.Module
    new: list[nn.Parameter]


def as_it_was(own: Recipe, channels: int, classes: int, state: dict[str, Any]) -> Pair | None:
    """The networks of a checkpoint, frozen, as they make and judge the pictures of their game.

    Args:
        own: the recipe of that run.
        channels: of the pictures.
        classes: that they have, or 0.
        state: of the game, as `Game.state_dict` gives it.

    Returns:
        None where a discriminator judges more than a picture (msg), or less of it as it grows (progressive), or where
        the weights are not of such networks: they were for other channels or classes.
    """
    pair = build(own.but(size=size_text(*own.game_resolution), enlarge=1, small_kimg=0.0), channels, classes)
    if pair.view is not unchanged:
        return None
    for which, network in (("generator", pair.generator), ("discriminator", pair.discriminator)):
        ours = network.state_dict()
        tensors = {name: one for name, one in state[which].items() if isinstance(one, torch.Tensor)}
        bare = {name.removeprefix(f"{which}."): one for name, one in tensors.items()}  # enlarged, augmented
        theirs = with_new_names(bare, ours)
        if any(name not in theirs or theirs[name].shape != one.shape for name, one in ours.items()):
            return None
        network.load_state_dict({name: theirs[name] for name in ours})
        network.requires_grad_(False).eval()
    return pair


def distil(
    game: Game,
    large: Networks,
    small: Pair,
    batches: Iterable[Batch],
    steps: int,
    seed: int,
    stop: Callable[[], bool],
) -> Generator[Distilled, None, bool]:
    """Teach the new weights of a game's networks what the small networks do.

    Args:
        game: which has not begun.
        large: its networks.
        small: from `as_it_was`: those that the other weights are from. Its latents and classes are the game's.
        batches: real images [N, C, H, W], as for `hasama.training.turns.play`.
        steps: how many.
        seed: of the latents.
        stop: asked after each step.

    Yields:
        A `Distilled` after each step.

    Returns:
        Whether it came to its end. What was learnt before is kept nowhere: it begins anew then.

    Raises:
        HasamaError: with --exact, the device has no exact form of something.
    """
    for network in (small.generator, small.discriminator):
        lay_out(network, large.new[0].device)
    adam = Adam(large.new, RATE, betas=(0.9, 0.99))
    for number, (images, labels) in zip(range(steps), batches, strict=False):
        set_rate(adam, RATE * (1 + math.cos(math.pi * number / steps)) / 2)
        real = largest(game.pair.view(images))
        exact = exact_kernels(images.device, game.rules.exact)
        with own_random_numbers(seed + number), exact, game.arithmetic(), _learning(large.new):
            told = _differences(large, small, real, labels if small.classes else None)
            gradients = torch.autograd.grad(told[0] + told[1], large.new, allow_unused=True)  # some only play
        for weight, gradient in zip(large.new, gradients, strict=True):
            weight.grad = gradient
        adam.step()
        yield Distilled(0, 0, (number + 1) / steps, *(one.detach() for one in told))
        if stop():
            return False
    adam.zero_grad()
    _follow(game, {id(weight) for weight in large.new})
    return True


@contextmanager
def _learning(weights: list[nn.Parameter]) -> Iterator[None]:
    """Inside, they learn, also those that --freeze-d keeps as they are in the game: else these would stay random."""
    usual = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        yield
    finally:
        for weight, before in zip(weights, usual, strict=True):
            weight.requires_grad_(before)


@torch.no_grad()
def _follow(game: Game, new: set[int]) -> None:
    """What the generator has learnt, its EMA has, too."""
    if game.ema is not None:
        for mine, its in zip(game.ema.parameters(), game.pair.generator.parameters(), strict=True):
            if id(its) in new:
                mine.copy_(its)
        if has_batch_norm(game.ema):
            for mine, its in zip(game.ema.buffers(), game.pair.generator.buffers(), strict=True):
                mine.copy_(its)


def _differences(large: Networks, small: Pair, real: Images, labels: Labels | None) -> tuple[Scalar, Scalar]:
    """How much the larger pictures differ from the small ones, enlarged; and how much the judgements differ."""
    latents = torch.randn(len(real), small.latent_size).to(real.device)
    with torch.no_grad():
        made = call(small.generator, latents, labels).float()
    with _as_judged(large.generator):
        fake = call(large.generator, latents, labels).float()
    shown = torch.cat([real, fake.detach()])
    twice = None if labels is None else torch.cat([labels, labels])
    with torch.no_grad():
        wanted = call(small.discriminator, _resized(shown, made.shape[2:]), twice).float()
    with _as_judged(large.discriminator):
        judged = call(large.discriminator, shown, twice).float()
    return F.mse_loss(fake, _resized(made, fake.shape[2:])), F.mse_loss(judged, wanted)


def _resized(images: Images, size: torch.Size) -> torch.Tensor:
    """[N, C, *size]: the mean of places where it is smaller, linear interpolation where it is larger."""
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _as_judged(network: nn.Module) -> AbstractContextManager[None]:
    """Without dropout, mixed styles and new noise; but batch normalisation goes by the batch, as it will play."""
    return nullcontext() if has_batch_norm(network) else evaluating(network)
