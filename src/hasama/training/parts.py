"""A batch that is taken in parts, one after the other: a large batch in the memory of a small one.

Gradients are sums over the pictures, so a turn goes through all parts before its optimizer steps, to the same result.
Fakes are not kept, but made anew for each turn, from the same random numbers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hasama.device import random_state, set_random_state
from hasama.networks.calling import snapshot
from hasama.shapes import Images, Labels, Views
from hasama.shares import in_parts
from hasama.training.game import Game, Turn

Draw = Callable[[Game, Images, Labels | None], tuple[Views, Views]]
"""(game, images, labels) -> what the discriminator is to see: reals and as many fakes."""


class Parts:
    """A step's batch.

    Args:
        game: whose rules say how many parts there are.
        images: this process's share of the batch [n, C, H, W].
        labels: theirs [n], where there are classes.
        draw: what makes the fakes, and shows the reals likewise.
    """

    def __init__(self, game: Game, images: Images, labels: Labels | None, draw: Draw) -> None:
        self.game, self.images, self.labels, self.draw = game, images, labels, draw
        self.device, self.count = images.device, _whole_parts(len(images), game.rules.accumulate)
        self.first = self.random_state()

    def through(self, turn: Callable[..., Any], begins: Tensor | None = None, keeps: bool = False) -> list[Any]:
        """A turn for each part; the optimizers step after the last.

        Args:
            turn: (real, fake, labels, images) -> what it tells.
            begins: the state at which the turn's random numbers begin. Default: they follow the fakes'.
            keeps: whether the statistics that the generator keeps of its batches may move.
        """
        told = []
        for number in in_parts(self.count):
            images = self.images[number :: self.count]
            labels = None if self.labels is None else self.labels[number :: self.count]
            self.set_random_state(self.first)
            put_back = snapshot(self.game.pair.generator)
            real, fake = self.draw(self.game, images, labels)
            if begins is not None:
                self.set_random_state(begins)
            told.append(turn(real, fake, labels, images))
            if not keeps:
                put_back()
        return told

    def random_state(self) -> Tensor:
        """Where the device's random numbers stand."""
        return random_state(self.device)

    def set_random_state(self, state: Tensor) -> None:
        """Go on with random numbers from there."""
        set_random_state(self.device, state)


def _whole_parts(images: int, most: int) -> int:
    """Into how many parts of equal size a batch divides, for pictures of smaller ones would count more.

    The last batch of a `DataLoader` may be short: it is then taken in more, of two pictures at least, or else in
    fewer; in one, if its number is a prime.
    """
    if images % most == 0:
        return most
    choices = (*range(most, images // 2 + 1), *range(most - 1, 1, -1))
    return next((n for n in choices if not images % n and images // n >= 2), 1)


def mean_turn(parts: list[Turn]) -> Turn:
    """What a turn did, from what it did for each part: means of all figures."""
    losses = [part.loss for part in parts if part.loss is not None]
    loss = torch.stack(losses).mean() if losses else None
    figures = {name: torch.stack([part.figures[name] for part in parts]).mean() for name in parts[0].figures}
    return Turn(loss, parts[0].learned, figures)
