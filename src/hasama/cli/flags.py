"""Flags made from the fields of a recipe, each of them optional: None means, as the preset has it."""

import dataclasses
import inspect
import os
import signal
import stat
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

from cyclopts import Group, Parameter

from hasama.cli.quiet import is_loud, started_by_torchrun
from hasama.errors import HasamaError
from hasama.options import typed

INTERRUPTED = 130
"""Exit code: stopped by Ctrl-C."""

ANOTHER_TURN = 75
"""Exit code: saved before it was done, and to be started again (EX_TEMPFAIL of sysexits.h)."""

USER_SIGNAL = getattr(signal, "SIGUSR1", None)
"""By which schedulers such as SLURM tell that a job's time is nearly over; Windows has none."""

SAME_WISH_SECONDS = 10.0

PARTLY = 1
"""Exit code: a part of the work could not be done."""

SHOWN_FIRST = "Most used"
"""The group of flags that people need first; it tells of which recipe the defaults are."""


def flags_of(
    recipe: Any, name: str, groups: Mapping[str, Sequence[str]], shown: Callable[[str, Any], str], told: str
) -> Any:
    """A dataclass of a recipe's fields, all of them None unless the user gives them.

    Args:
        recipe: whose values the help shows as defaults.
        name: of the dataclass.
        groups: the headings of the help, in order, and the fields under each.
        shown: (field's name, recipe) -> what the help says of its default.
        told: what stands under the first heading.
    """
    places = {
        field: Group(heading, help=told if heading == SHOWN_FIRST else "", sort_key=order)
        for order, (heading, fields) in enumerate(groups.items(), 10)
        for field in fields
    }
    by_name = {field.name: field for field in dataclasses.fields(recipe)}
    fields = [_optional(by_name[field], group, shown(field, recipe)) for field, group in places.items()]
    made = dataclasses.make_dataclass(name, fields, frozen=True)
    made.__module__ = __name__  # cyclopts looks into classes only if they are not from the standard library
    return made


def _optional(field: dataclasses.Field, group: Group, default: str) -> tuple[str, Any, Any]:
    """A field that is None unless it is given."""
    parameter = Parameter(
        help=field.metadata["help"] + (f" [{default}]" if default else ""),
        group=group,
        show_default=False,
        negative_iterable=(),
        negative_none=(),
    )
    kind: Any = field.type
    return field.name, Annotated[kind | None, parameter], dataclasses.field(default=None)


def with_flags(command: Callable[..., int], flags: Any) -> Callable[..., int]:
    """A command with other flags for its parameter `changes`, so that its help shows another recipe's defaults."""
    command = inspect.unwrap(command)  # a checker may stand around it
    assert isinstance(command, types.FunctionType)
    copy = types.FunctionType(
        command.__code__, command.__globals__, command.__name__, command.__defaults__, command.__closure__
    )
    copy.__kwdefaults__ = (command.__kwdefaults__ or {}) | {"changes": flags()}
    copy.__annotations__ = command.__annotations__ | {"changes": Annotated[flags, Parameter(name="*")]}
    copy.__doc__, copy.__module__ = command.__doc__, command.__module__
    return copy


def default_of(field: str, recipe: Any) -> str:
    """'default: 64'; nothing for None and for an empty text, which the help itself explains."""
    value = getattr(recipe, field)
    return "" if value is None or value == "" else f"default: {plain(value)}"


def plain(value: Any) -> str:
    """A value as it is typed: 1000.0 -> '1000', (0.0, 0.99) -> '0 0.99'."""
    return " ".join(map(typed, value if isinstance(value, tuple) else (value,)))


def given(changes: Any) -> dict[str, Any]:
    """The fields that the user gave."""
    return {name: value for name, value in vars(changes).items() if value is not None}


def use_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads.

    Raises:
        HasamaError: there can be no such number.
    """
    check_threads(threads)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def check_threads(threads: int | None) -> None:
    """Before any work.

    Raises:
        HasamaError: there can be no such number.
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise HasamaError(f"--threads must be between 1 and 1024; got {threads}.")


def told_of_notices(notices: Sequence[str]) -> int:
    """Say what a film lacks. Returns the exit code: 0, or `PARTLY` if something."""
    from hasama.cli.terminal import say  # start-up time

    for notice in notices:
        say(notice, "yellow")
    return PARTLY if notices else 0


def told_of_failures(total: int, failed: int, done: str) -> int:
    """Say how many of several could not be done, if any; the exit code that goes with it.

    Args:
        total: how many there were.
        failed: how many of them could not be done.
        done: what was done to the others: 'painted'.
    """
    from hasama.cli.terminal import say  # start-up time

    if failed:
        say(f"{total - failed} of {total} {done}; {failed} could not be.")
    return 0 if not failed else 2 if failed == total else PARTLY


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with what is true of the work now, for the person at the keyboard."""


@contextmanager
def telling_what_is_saved(tell: Callable[[], str]) -> Iterator[None]:
    """While the block runs, Ctrl-C ends with what `tell` then says.

    Raises:
        Stopped: Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(tell()) from error


class Wish:
    """Whether somebody asked to stop, and by which signal: call it to know."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.since = 0.0

    def __call__(self) -> bool:
        return self.signal is not None

    def note(self, number: int, frame: Any) -> None:
        """A signal has come. torchrun passes on what all processes have heard, too: that is the same wish.

        So is what a closed terminal sends, for a shell and the system both do; nobody reads what is said after it.
        """
        if number == signal.SIGHUP:
            _write_to_nobody()
        first = self.signal is None
        if first:
            self.signal, self.since = number, time.monotonic()
        if first and is_loud() and number != signal.SIGHUP:
            os.write(2, b"\nSaving after this step; once more to stop at once, without saving.\n")
        same = started_by_torchrun() and time.monotonic() - self.since <= SAME_WISH_SECONDS
        if not (first or same or number == signal.SIGHUP):
            raise KeyboardInterrupt

    def exit_code(self, requeue: bool = False) -> int:
        """For work that was saved before it was done.

        Args:
            requeue: whether a scheduler that ends the process is to give it another turn.
        """
        if self.signal == signal.SIGTERM:
            return ANOTHER_TURN if requeue else 0
        return ANOTHER_TURN if self.signal == USER_SIGNAL else INTERRUPTED


def _write_to_nobody() -> None:
    """From now on what is said goes nowhere: to write to a terminal that is gone is an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe is still read by somebody
                os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def asked_to_stop() -> Iterator[Wish]:
    """The first Ctrl-C, SIGTERM or SIGUSR1 asks to stop after this step; the second stops at once, unsaved.

    So does a terminal that is closed, or a connection that breaks off, unless it was told by `nohup` to go on.
    """
    wish = Wish()
    known = [number for number in (signal.SIGINT, signal.SIGTERM, USER_SIGNAL) if number is not None]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        known.append(signal.SIGHUP)
    before = {number: signal.signal(number, wish.note) for number in known}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
