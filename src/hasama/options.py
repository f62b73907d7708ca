"""Fields of a recipe: their defaults, help and ranges in one place; flags and messages are made from them.

This module does not import torch, so that `hasama --help` is quick.
"""

import dataclasses
import difflib
import math
import operator
import re
import shlex
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from hasama.errors import HasamaError

LARGEST_SIDE = 4096
"""Pixels of a picture's side, at most."""

SMALLEST_GAME = 8
"""Pixels of a side that every architecture takes, proposed for the small pictures of --enlarge."""
SMALLEST_ENLARGED = 8
"""Pixels of a side of what the enlarger can be taught on: a lattice is looked for in places of 8x8."""


def option(default: Any, help: str, least: float = -math.inf, most: float = math.inf) -> Any:
    """A field of the recipe with the sentence that explains it and the range it must keep to."""
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most})


def flag(name: str) -> str:
    """generator_lr -> --generator-lr"""
    return "--" + name.replace("_", "-")


def flags_of(changes: Mapping[str, Any]) -> list[str]:
    """What to type for fields of a recipe: {'size': '64', 'mirror': True} -> ['--size', '64', '--mirror'].

    None is a field's way of saying that nothing was given: it cannot be typed, and is left out.
    """
    words: list[str] = []
    for name, value in changes.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else "--no-" + flag(name)[2:])
        elif isinstance(value, str) and value.startswith("-"):
            words.append(f"{flag(name)}={value}")  # else it would be a flag itself
        elif value is not None:
            words += [flag(name), *map(typed, value if isinstance(value, (tuple, list)) else (value,))]
    return words


def said(name: str, value: object) -> str:
    """'--seed 0', '--no-mirror' or 'no --gamma': how a person would say a field's value."""
    return shlex.join(flags_of({name: value})) or f"no {flag(name)}"


def typed(value: object) -> str:
    """1000.0 -> '1000'; what six digits cannot tell is written out."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def unknown_name(name: str, known: Iterable[str], what: str) -> str:
    """'There is no recipe dcgna. Did you mean dcgan?', or the list of those there are."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)  # in Python somebody may give a number
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
    return f"There is no {what} called {name!r}. {hint}"


def check_fields(recipe: Any) -> None:
    """Hold every field of a dataclass of `option`s against its type and range.

    Numbers of NumPy become Python's.

    Raises:
        HasamaError: one is of the wrong kind or out of range.
    """
    for field in dataclasses.fields(recipe):
        given = getattr(recipe, field.name)
        value = given.item() if type(given).__module__ == "numpy" and getattr(given, "ndim", 1) == 0 else given
        if value is not given:
            object.__setattr__(recipe, field.name, value)  # it is frozen, but not yet handed out
        _check(field, value)


def whole_number(called: str, given: Any) -> int:
    """A number that somebody gives in Python, also NumPy's: 'frames', 16 -> 16.

    Raises:
        HasamaError: it is no whole number; one such as 2.0 is none either, as in a recipe.
    """
    try:
        return operator.index(given)
    except TypeError:
        raise HasamaError(f"The {called} must be a whole number; got {given!r}.") from None


def preset_named(name: str, presets: dict[str, Any], what: str) -> Any:
    """One of some presets.

    Raises:
        HasamaError: there is none of that name; the message offers the nearest.
    """
    try:
        return presets[name]
    except KeyError:
        raise HasamaError(unknown_name(name, presets, what)) from None


def parse_size(text: str) -> tuple[int, int]:
    """'64' -> (64, 64); '64x96' (width x height) -> (96, 64), the (height, width) of tensors."""
    match = re.fullmatch(r"(\d{1,6})(?:[xX×](\d{1,6}))?", text.strip())
    if not match:
        raise HasamaError(f"--size takes 64, or WIDTHxHEIGHT such as 64x96; got {text!r}.")
    width = int(match[1])
    height = int(match[2] or match[1])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise HasamaError(f"--size must lie between 1 and {LARGEST_SIDE} pixels a side; got {text}.")
    return height, width


def size_text(height: int, width: int) -> str:
    """The inverse of `parse_size`: (64, 64) -> '64', (96, 64) -> '64x96'."""
    return f"{width}x{height}" if width != height else f"{width}"


class ImpossibleSizeError(HasamaError):
    """Pictures of a size that an architecture cannot make.

    Args:
        what: what it can make.
        near: the (height, width) of what is nearest to the size that was asked for.
    """

    def __init__(self, what: str, near: tuple[int, int]) -> None:
        super().__init__(f"{what}: try --size {near[1]}x{near[0]}.")
        self.what, self.near = what, near

    def of_smaller_ones(self, times: int, why: str) -> "ImpossibleSizeError":
        """The same where the pictures are so many times smaller than `--size` says, and why they are."""
        height, width = self.near
        return ImpossibleSizeError(f"{self.what} ({why})", (height * times, width * times))


def smaller_size(text: str, times: int) -> tuple[int, int]:
    """The (height, width) of `parse_size`, so many times smaller: 1, 2, 4 or 8.

    Raises:
        HasamaError: another number of times, a side that it does not divide, or one that is too short to learn
            enlarging from; the message names the nearest size.
    """
    height, width = parse_size(text)
    if times not in (1, 2, 4, 8):
        raise HasamaError(f"--enlarge takes 1, 2, 4 or 8; got {times}.")
    if height % times or width % times:
        near = [max(SMALLEST_GAME, round(side / times)) * times for side in (height, width)]
        raise HasamaError(
            f"--enlarge {times} needs sides that are multiples of {times}: try --size {size_text(*near)}."
        )
    if times > 1 and min(height, width) < SMALLEST_ENLARGED:
        near = [max(SMALLEST_ENLARGED, side) for side in (height, width)]
        raise HasamaError(
            f"--enlarge learns from pictures of at least {SMALLEST_ENLARGED} pixels a side, not {width}x{height}: "
            f"try --size {size_text(*near)}, or leave out --enlarge."
        )
    return height // times, width // times


def _check(field: dataclasses.Field, value: Any) -> None:
    """Hold one value against its field's type and range."""
    if not _is_a(field.type, value):
        raise HasamaError(f"{flag(field.name)} takes {_in_words(field.type)}; got {value!r}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        least, most = field.metadata["least"], field.metadata["most"]
        if not (least <= value <= most and abs(value) <= sys.float_info.max):  # false for NaN, too
            bounds = f"at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
            bounds += "" if abs(value) <= sys.float_info.max else ", and finite"
            raise HasamaError(f"{flag(field.name)} must be {bounds}; got {value}.")


def _is_a(hint: Any, value: Any) -> bool:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in options and isinstance(value, str)
    if origin in (types.UnionType, typing.Union):
        return any(_is_a(one, value) for one in options)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(options) and all(map(_is_a, options, value))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _in_words(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(options)
    if origin in (types.UnionType, typing.Union):
        return _in_words(options[0])
    if origin is tuple:
        return "two numbers (in Python a tuple)"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[hint]
