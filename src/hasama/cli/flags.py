"""Flags made from the fields of a recipe, each of them optional: None means, as the preset has it."""

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Group, Parameter

from hasama.errors import HasamaError

INTERRUPTED = 130
"""Exit code: stopped by Ctrl-C."""

PARTLY = 1
"""Exit code: a part of the work could not be done."""


def flags_of(recipe: type, name: str) -> Any:
    """A dataclass of a recipe's fields, all of them None unless the user gives them."""
    group = Group("Recipe", help="What differs from the preset.", sort_key=9)
    fields = []
    for field in dataclasses.fields(recipe):
        default = "" if field.default is None else f" [default: {plain(field.default)}]"
        parameter = Parameter(
            help=field.metadata["help"] + default,
            group=group,
            show_default=False,
            negative_iterable=(),
            negative_none=(),
        )
        kind: Any = field.type
        fields.append((field.name, Annotated[kind | None, parameter], dataclasses.field(default=None)))
    made = dataclasses.make_dataclass(name, fields, frozen=True)
    made.__module__ = __name__  # cyclopts looks into classes only if they are not from the standard library
    return made


def plain(value: Any) -> str:
    """A value as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def given(changes: Any) -> dict[str, Any]:
    """The fields that the user gave."""
    return {name: value for name, value in vars(changes).items() if value is not None}


def use_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads.

    Raises:
        HasamaError: there can be no such number.
    """
    if threads is not None:
        import torch

        if not 1 <= threads <= 1024:
            raise HasamaError(f"--threads must be between 1 and 1024; got {threads}.")
        torch.set_num_threads(threads)


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C (or SIGTERM) asks to stop after this step; the second stops at once, unsaved."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        os.write(2, b"\nSaving after this step; once more to stop at once, without saving.\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
