"""Writing to the terminal: lines, errors, durations."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from hasama.cli.quiet import is_loud
from hasama.names import in_utf8


class _Terminal(Console):
    """A console whose reader may go away (`hasama train ... | head`): the work goes on without output."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


console = _Terminal(highlight=False, soft_wrap=True, quiet=not is_loud())
errors = _Terminal(stderr=True, highlight=False, soft_wrap=True)
LINE_SECONDS = 15.0  # between two lines where there is no terminal to draw a bar in
REFRESH_SECONDS = 0.25
WIDE = 120  # columns from which the bar spells everything out
meant: dict[str, str] = {}
"""Places that stand for something else, and what people are told in their place."""


def say(text: str, style: str | None = None) -> None:
    """A line for the user; nothing in it is taken for markup."""
    console.print(Text(as_meant(text), style=style or ""))


def complain(text: str) -> None:
    """A line on standard error."""
    errors.print(Text(f"hasama: {as_meant(text)}"))


def as_meant(text: str) -> str:
    """With what places stand for in their place, and escapes for bytes of names that are no UTF-8."""
    for place, name in meant.items():
        text = text.replace(place, name)
    return in_utf8(text)


def duration(seconds: float) -> str:
    """75 -> '1:15', 4000 -> '1:06:40'."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def told_of_graphs() -> Iterator[None]:
    """Inside, why the steps of a game are not recorded is told like everything else."""
    from hasama.training.graphs import CannotRecordWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", CannotRecordWarning)
        warnings.showwarning = lambda message, *_: say(str(message), "yellow")
        yield


def of_players(losses: dict[str, float]) -> dict[str, float]:
    """The two players' losses alone, as D and G; all of them where there are no such players."""
    names = {"D": "discriminator", "G": "generator"}
    return {short: losses[name] for short, name in names.items() if name in losses} or losses
