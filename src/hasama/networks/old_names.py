"""Names that weights had in files of version 0.1.0, before the networks took the words of the field."""

import itertools
from collections.abc import Collection, Mapping
from typing import TypeVar

V = TypeVar("V")

RENAMED = {"judge": ("logit", "head", "moments"), "paint": ("to_rgb",), "paints": ("to_rgbs",), "look": ("from_rgb",)}
"""Old part of a weight's name -> what it may be called now."""


def with_new_names(state: Mapping[str, V], known: Collection[str]) -> Mapping[str, V]:
    """A state dict in the names that a network has today, in the same order; what it does not know stays.

    >>> with_new_names({"judge.weight": 0, "look.bias": 1}, known=["logit.weight", "look.bias"])
    {'logit.weight': 0, 'look.bias': 1}
    """
    if all(name in known for name in state):
        return state
    return {name if name in known else _new(name, known): value for name, value in state.items()}


def _new(name: str, known: Collection[str]) -> str:
    choices = itertools.product(*(RENAMED.get(part, (part,)) for part in name.split(".")))
    return next((new for new in map(".".join, choices) if new in known), name)
