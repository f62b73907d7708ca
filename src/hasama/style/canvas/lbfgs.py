"""L-BFGS for pictures: limited-memory quasi-Newton steps in which coarse forms move before fine grain does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HISTORY = 20
"""Pairs of steps and gradient changes that are remembered, each pair with the memory of two canvases."""

FIRST_STEP = 0.01
"""Root mean square of the first step, when nothing is known of the curvature; white less black is 2."""

LARGEST_STEP = 0.3
"""The same, of any step: the model of the loss is good only nearby."""

WORSE = 1.5
"""Times the last loss from which a step is taken back."""

SHORTER = 0.25
"""How much of a step is tried after it was taken back."""

GIVE_UP = 6
"""Steps taken back one after another that mean that there is no way on from here."""

CURVATURE = 1e-10
"""Cosine between step and gradient change below which a pair tells nothing."""


class LBFGS:
    """Nocedal & Wright 2006, algorithm 7.4, one evaluation a step, on one picture [1, C, H, W] that stays in [-1, 1].

    Two things differ from the textbook (and from `torch.optim.LBFGS`). The first guess of the inverse Hessian is not
    a multiple of the identity but `1 / frequency`: the gradient of a network's features is mostly grain, while what
    is wanted lives in coarse forms, as in natural pictures, whose amplitudes fall so (Field 1987). And in place of a
    line search, a step that makes the loss much worse is taken back and tried shorter; steps end at black and white,
    and it is the step really taken that is remembered.
    """

    def __init__(self, image: Tensor, history: int = HISTORY) -> None:
        self.image, self.history = image, history
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.before: tuple[Tensor, Tensor] | None = None
        """The last accepted picture and its gradient."""
        self.loss = float("inf")
        self.taken_back = 0
        """Steps, one after another, that were."""

    @property
    def has_stalled(self) -> bool:
        """Whether no step from here is any good."""
        return self.taken_back >= GIVE_UP

    def step(self, closure: Callable[[], float]) -> None:
        """Move the picture, whose gradient stands in `image.grad`; `closure` tells its loss."""
        loss, gradient = closure(), self.image.grad
        assert gradient is not None
        with torch.no_grad():
            sound = loss <= WORSE * self.loss  # a NaN is less than nothing
            if self.before is not None and not sound:
                self.taken_back += 1
                self.image.copy_(self.before[0].lerp(self.image.nan_to_num(), SHORTER))
                return
            self._remember(gradient)
            self.before, self.loss, self.taken_back = (self.image.clone(), gradient.clone()), loss, 0
            self.image.add_(self._direction(gradient)).clamp_(-1, 1)

    def _remember(self, gradient: Tensor) -> None:
        if self.before is None:
            return
        step, change = self.image - self.before[0], gradient - self.before[1]
        if _dot(step, change) > CURVATURE * step.norm() * change.norm():
            self.steps.append(step)
            self.changes.append(change)
            del self.steps[: -self.history], self.changes[: -self.history]

    def _direction(self, gradient: Tensor) -> Tensor:
        """Downhill as the remembered curvature has it: the two loops. Its numbers stay on the device."""
        q = gradient.clone()
        curvatures = [_dot(step, change) for step, change in zip(self.steps, self.changes, strict=True)]
        memory = list(zip(self.steps, self.changes, curvatures, strict=True))
        shares = []
        for step, change, curvature in reversed(memory):
            shares.append(_dot(step, q) / curvature)
            q.addcmul_(change, shares[-1], value=-1)
        q = by_frequency(q)
        if memory:
            _, change, curvature = memory[-1]
            q.mul_(curvature / _dot(change, by_frequency(change)))
        else:
            q.mul_(FIRST_STEP / _length(q))
        for (step, change, curvature), share in zip(memory, reversed(shares), strict=True):
            q.addcmul_(step, share - _dot(change, q) / curvature)
        return q.mul_(-(LARGEST_STEP / _length(q)).clamp(max=1))

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers."""
        return {
            "steps": self.steps, "changes": self.changes, "before": self.before, "loss": self.loss,
            "taken_back": self.taken_back,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        device = self.image.device
        self.steps, self.changes = ([one.to(device) for one in state[name]] for name in ("steps", "changes"))
        before = state["before"]
        self.before = None if before is None else (before[0].to(device), before[1].to(device))
        self.loss, self.taken_back = state["loss"], state["taken_back"]


def by_frequency(gradient: Tensor) -> Tensor:
    """Divide each frequency by its distance from none (counted in cycles over the shorter side, plus one)."""
    height, width = gradient.shape[2:]
    down = torch.fft.fftfreq(height, device=gradient.device)[:, None]
    across = torch.fft.rfftfreq(width, device=gradient.device)[None]
    frequency = (down.square() + across.square()).sqrt() * min(height, width) + 1
    return torch.fft.irfft2(torch.fft.rfft2(gradient) / frequency, s=(height, width))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def _length(a: Tensor) -> Tensor:
    """The root mean square; 1 where there is nothing at all."""
    length = a.square().mean().sqrt()
    return length + (length == 0)
