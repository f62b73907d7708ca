"""Adam, for whoever trains anything here."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch import optim


class Adam(optim.Adam):
    """torch's Adam (Kingma & Ba 2015, algorithm 1), that does not load torch's compiler at its first step.

    torch wraps its optimizers for torch.compile, which nothing here uses, and the wrappers import it: as long as
    importing torch itself, at the beginning of every training. These are the same methods without them.
    """

    add_param_group = unwrap(optim.Adam.add_param_group)
    zero_grad = unwrap(optim.Adam.zero_grad)
    state_dict = unwrap(optim.Adam.state_dict)
    load_state_dict = unwrap(optim.Adam.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; what a closure returns."""
        return unwrap(optim.Adam.step)(self, closure)
