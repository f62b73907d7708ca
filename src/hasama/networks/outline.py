"""Build networks without memory and without weights, to check whether they can be built at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWS = {
    "normal_",
    "uniform_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "orthogonal_",
}


class _NoNumbers(TorchFunctionMode):
    """Functions that fill a weight with random numbers return it as it is.

    On the meta device there are no numbers, but torch 2.13 would import its compiler to draw none: a second or more.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def outline() -> Iterator[None]:
    """Inside, modules are made on the meta device, their weights undefined."""
    with torch.device("meta"), _NoNumbers():
        yield
