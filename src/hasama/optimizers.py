"""torch's optimizers, for whoever trains or paints anything here, without its compiler.

torch wraps its optimizers for torch.compile, which nothing here uses, and the wrappers import it: as long as
importing torch itself, before anything is trained or painted. These are the same methods without them.
"""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import optim


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
