"""The canvas at one scale: the picture that is optimised, its optimizer, and its moving average."""

from collections import deque
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hasama.device import kind_of
from hasama.optimizers import SGD, Adam
from hasama.shapes import Images
from hasama.style.canvas.lbfgs import LBFGS
from hasama.style.canvas.pyramid import PyramidAdam
from hasama.style.recipe import StyleRecipe

WINDOW = 20
"""Losses whose mean is compared with the mean of as many before, to find a plateau."""


TINY = 1e-30
"""So that no gradient can be divided by its length."""


class Canvas:
    """A picture in [-1, 1], its moving average, and the optimizer that moves it.

    Everything that has memory stands in `state_dict`, so that a painting resumed is the painting.
    """

    def __init__(self, image: Images, recipe: StyleRecipe, optimizer: str | None = None) -> None:
        self.recipe = recipe
        self.image = image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.kind = optimizer or recipe.optimizer_at(*self.image.shape[2:])
        self.optimizer = new_optimizer(self.kind, self.image, recipe)
        averages = recipe.averages(self.kind)
        self.average = torch.zeros_like(self.image, requires_grad=False) if averages else None
        self.steps = 0
        self.past: deque[float] = deque(maxlen=2 * WINDOW)
        """The last losses at this scale."""

    def step(self, gradient: Images, loss: float) -> None:
        """One step downhill; the canvas stays within black and white."""
        if self.kind == "gradient-descent":
            gradient = gradient / (gradient.square().mean().sqrt() + TINY)
        self.image.grad = gradient
        self.optimizer.step(lambda: loss)
        self.image.grad = None
        with torch.no_grad():
            if self.kind != "pyramid":  # whose bands would not follow
                self.image.clamp_(-1, 1)
            if self.average is not None:
                self.average.lerp_(self.image, 1 - self.recipe.average)
        self.steps += 1
        self.past.append(loss)

    def has_settled(self) -> bool:
        """Whether the last losses are, in the mean, hardly better than as many before."""
        if len(self.past) < 2 * WINDOW or not self.recipe.plateau:
            return False
        before, after = sum(list(self.past)[:WINDOW]), sum(list(self.past)[WINDOW:])
        return before - after < self.recipe.plateau * abs(before)

    @property
    def has_stalled(self) -> bool:
        """Whether L-BFGS finds no way on."""
        return isinstance(self.optimizer, LBFGS) and self.optimizer.has_stalled

    def shown(self) -> Images:
        """What a viewer gets: the average, unbiased as in Kingma & Ba 2015, section 3; or the canvas itself.

        L-BFGS's last step may yet be taken back: it shows the picture before, whose loss is known.
        """
        if isinstance(self.optimizer, LBFGS) and self.optimizer.before is not None:
            return self.optimizer.before[0].clone()
        if self.average is None or not self.steps:
            return self.image.detach().clamp(-1, 1)
        return (self.average / (1 - self.recipe.average**self.steps)).clamp_(-1, 1)

    def enlarged(self, height: int, width: int, optimizer: str | None = None) -> "Canvas":
        """The next scale's canvas: what was shown, with Adam's memory carried over (Crowson 2021)."""
        kind = optimizer or ("adam" if self.kind == "adam" else None)  # where L-BFGS stalled, Adam stays
        bigger = Canvas(resized(self.shown(), height, width).clamp_(-1, 1), self.recipe, kind)
        if isinstance(self.optimizer, torch.optim.Adam) and isinstance(bigger.optimizer, torch.optim.Adam):
            _carry_over(self.optimizer, bigger.optimizer, height, width)
        return bigger

    def with_optimizer(self, kind: str) -> "Canvas":
        """The picture that is shown, moved by another optimizer from now on."""
        return Canvas(self.shown(), self.recipe, kind)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        return {
            "image": self.image.detach(), "average": self.average, "steps": self.steps, "kind": self.kind,
            "past": list(self.past), "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any], recipe: StyleRecipe, device: torch.device) -> "Canvas":
        """The inverse of `state_dict`."""
        canvas = cls(state["image"].to(device), recipe, state["kind"])
        canvas.average = None if state["average"] is None else state["average"].to(device)
        canvas.steps = state["steps"]
        canvas.past.extend(state["past"])
        canvas.optimizer.load_state_dict(state["optimizer"])
        return canvas


def new_optimizer(kind: str, image: Tensor, recipe: StyleRecipe) -> torch.optim.Optimizer | LBFGS | PyramidAdam:
    """Adam (Kingma & Ba 2015), the same on a pyramid, L-BFGS (Liu & Nocedal 1989) or gradient descent on one tensor.

    Gradient descent goes along the normalised gradient, so that a learning rate means the same for every loss: the
    root mean square of a step.
    """
    if kind == "adam":
        return Adam([image], recipe.learning_rate, betas=(0.9, 0.99), fused=kind_of(image.device).fused_adam)
    if kind == "lbfgs":
        return LBFGS(image)
    if kind == "pyramid":
        return PyramidAdam(image, recipe.learning_rate)
    # without an optimizer (none) there is a canvas all the same, which nothing moves
    return SGD([image], recipe.learning_rate)


def _carry_over(before: torch.optim.Optimizer, after: torch.optim.Optimizer, height: int, width: int) -> None:
    """Adam's two moments, resampled; the second must not become negative where the filter overshoots."""
    for old, new in zip(before.state.values(), after.param_groups[0]["params"], strict=False):
        after.state[new] = {
            "step": old["step"].clone(),
            "exp_avg": resized(old["exp_avg"], height, width).contiguous(),
            "exp_avg_sq": resized(old["exp_avg_sq"], height, width, "bilinear").clamp_(min=0).contiguous(),
        }


def resized(images: Images, height: int, width: int, mode: str = "bicubic") -> Tensor:
    """[1, C, H, W] at another size, without aliasing."""
    if images.shape[2:] == (height, width):
        return images.detach().clone()
    return F.interpolate(images.detach(), (height, width), mode=mode, antialias=True)


def noise(height: int, width: int, seed: int) -> Images:
    """White noise around mid-grey, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(1, 3, height, width, generator=generator) * 0.5
    return drawn.clamp_(-1, 1)
