"""torch's optimizers, for whoever trains or paints anything here, without its compiler.

torch wraps its optimizers for torch.compile, which nothing here uses, and the wrappers import it: as long as
importing torch itself, before anything is trained or painted. These are the same methods without them.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, optim


class _Uncompiled(optim.Optimizer):
    add_param_group = unwrap(optim.Optimizer.add_param_group)
    zero_grad = unwrap(optim.Optimizer.zero_grad)
    state_dict = unwrap(optim.Optimizer.state_dict)
    load_state_dict = unwrap(optim.Optimizer.load_state_dict)


class Adam(_Uncompiled, optim.Adam):
    """torch's Adam (Kingma & Ba 2015, algorithm 1)."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; what a closure returns."""
        return unwrap(optim.Adam.step)(self, closure)


class SGD(_Uncompiled, optim.SGD):
    """torch's gradient descent."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; what a closure returns."""
        return unwrap(optim.SGD.step)(self, closure)


SHARE = 0.8
"""The root mean square of a step along a matrix, in units of the learning rate. Adam's is at most about 1."""
MOMENTUM = 0.5
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5: Jordan et al. 2024."""
TURNS = 3
"""How often. Theirs is five, after which singular values are 0.7 to 1.2. After three, small ones are less; pictures
are as good, for less time.
"""


class Muon(Adam):
    """Muon along matrices, Adam along all else.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": a matrix moves by its momentum with
    its singular values brought nearer to one. What a layer has seldom been asked for is then learnt as fast as what
    it is always asked for. Departures: little momentum, for the two players of a game chase each other; not
    Nesterov's; fewer turns; and a length that makes rates mean about what they are to Adam (Liu et al. 2025, "Muon is
    Scalable for LLM Training", eq. 4, who have a quarter of it).

    Args:
        matrices: weights of layers, of which the first dimension is one side and all others together are the other.
        others: all else that learns.
        options: Adam's.
    """

    def __init__(self, matrices: list[Tensor], others: list[Tensor], **options: Any) -> None:
        groups = [{"params": others, "matrices": False}, {"params": matrices, "matrices": True}]
        super().__init__([group for group in groups if group["params"]], **options)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Torch's for all optimizers: Adam's own wants of every weight to know how many steps it took."""
        optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; what a closure returns."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            told = super().step(closure)
        finally:  # a notebook's Ctrl-C, too
            self.param_groups = groups
        for group in groups:
            moving = [weight for weight in group["params"] if group["matrices"] and weight.grad is not None]
            for weight in moving:
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                slope = weight.grad.add(weight, alpha=group["weight_decay"])
                state["momentum_buffer"].lerp_(slope, 1 - MOMENTUM)
            for weight, step in zip(moving, self.steps_along(moving), strict=True):
                weight.sub_(step * group["lr"])
        return told

    def steps_along(self, weights: list[Tensor]) -> list[Tensor]:
        """The last steps along these matrices, in units of the rate; those of one shape are reckoned together."""
        steps: dict[Tensor, Tensor] = {}
        for alike in by_shape(weights):
            momenta = torch.stack([self.state[weight]["momentum_buffer"].flatten(1) for weight in alike])
            longest = max(momenta.shape[1:])
            turned = orthogonal(momenta) * (SHARE * longest**0.5)
            steps |= {weight: step.view_as(weight) for weight, step in zip(alike, turned, strict=True)}
        return [steps[weight] for weight in weights]


def by_shape(weights: list[Tensor]) -> list[list[Tensor]]:
    """The same, those of one shape together."""
    found: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        found.setdefault(weight.shape, []).append(weight)
    return [*found.values()]


def orthogonal(matrices: Float[Tensor, "n r c"], turns: int = TURNS) -> Float[Tensor, "n r c"]:
    """Each matrix with its singular values brought nearer to one, its directions as they were, by so many steps of
    Newton and Schulz's iteration. What is nothing stays nothing.
    """
    linear, cubic, quintic = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(turns):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.mT if tall else wide
