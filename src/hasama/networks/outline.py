"""Build networks without memory and without weights, to check whether they can be built at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
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


PRODUCTS = {"mul", "__mul__", "__rmul__", "div", "__truediv__", "true_divide"}


class _NoNumbers(TorchFunctionMode):
    """Functions that fill a weight with random numbers return it as it is; products have a shape and nothing else.

    On the meta device there are no numbers, but torch 2.13 would import its compiler to draw none, or to multiply
    none: a second or more.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("randn", "rand"):
            return torch.empty(*args, **{key: value for key, value in (kwargs or {}).items() if key != "generator"})
        if name in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        factors = [one for one in args if isinstance(one, torch.Tensor)]
        if name in PRODUCTS and not kwargs and all(one.is_meta for one in factors):
            shape = np.broadcast_shapes(*(tuple(one.shape) for one in factors))
            return torch.empty(shape, dtype=factors[0].dtype, device="meta")
        return func(*args, **(kwargs or {}))


@contextmanager
def outline() -> Iterator[None]:
    """Inside, modules are made on the meta device, their weights undefined."""
    with torch.device("meta"), _NoNumbers():
        yield
