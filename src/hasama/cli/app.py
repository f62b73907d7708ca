"""The command: its functions, one for each thing people do, stand in `commands/`."""

import errno
import io
import shlex
import sys
import time
from contextlib import suppress
from typing import Any

from cyclopts import App, CycloptsError, CycloptsPanel, UnusedCliTokensError

from hasama.cli.commands.completion import answer, asked_by_shell, completion
from hasama.cli.commands.coverage import coverage
from hasama.cli.commands.images import images
from hasama.cli.commands.job import job
from hasama.cli.commands.report import remember_crash, report, version_text
from hasama.cli.commands.runs import doctor, evaluate, recipes, runs, stop
from hasama.cli.commands.style import style, style_flags
from hasama.cli.commands.suggest import suggest
from hasama.cli.commands.sweep import SWEEP_KIMG, sweep
from hasama.cli.commands.teach import invert, teach
from hasama.cli.commands.train import resume, train, training_flags
from hasama.cli.flags import INTERRUPTED, PARTLY, with_flags
from hasama.cli.generators.interpolate import interpolate
from hasama.cli.generators.latent import directions, mix
from hasama.cli.generators.project import enlarge, project
from hasama.cli.generators.sample import sample
from hasama.cli.generators.sharing import export, push, studio
from hasama.cli.quiet import hush_libraries, is_loud, several_processes
from hasama.cli.words import (
    asked_recipe,
    empty_name,
    misplaced_stream,
    of_a_new_run,
    of_several,
    understood,
    unquoted,
)
from hasama.errors import HasamaError, LostProcessError, short_of_memory
from hasama.presets import RECIPES
from hasama.style.recipe import STYLE_RECIPES

COMMANDS = (
    suggest, train, resume, doctor, evaluate, sweep, coverage, sample, interpolate, mix, directions, project, style,
    teach, invert, enlarge, export, push, images, runs, stop, recipes, studio, job, report, completion,
)  # fmt: skip

SMALLER = (
    "A smaller --size or --batch needs less; `hasama suggest` says what fits this machine, and `hasama style` keeps "
    "to --memory 2GB."
)

TOGETHER = {"train", "resume", "coverage", "teach", "evaluate"}
"""What several processes do together, started by torchrun."""


def make_app(shown_for: str | None = None) -> App:
    """The command with all its sub-commands.

    Args:
        shown_for: the recipe whose values the help shows as defaults; None: the recipe that is taken by default.
    """
    app = App(
        name="hasama",
        help="Train generative adversarial networks on your own pictures, and repaint pictures in the style of "
        "others, on one ordinary computer.",
        help_epilogue="Begin with:  hasama train digits demo   or   hasama style photo.jpg painting.jpg\n\n"
        "Exit codes: 0, all is done; 1, a part of the work could not be done; 2, nothing could be, and the message "
        "says what to put right; 130, stopped by Ctrl-C. (0, too, of what was asked to stop and is saved.)",
        version=version_text,
        suppress_keyboard_interrupt=False,  # or `main` would never hear of Ctrl-C
        error_formatter=_what_is_wrong,
    )
    for command in COMMANDS:
        if shown_for in RECIPES and command in (train, sweep):
            length = {"kimg": SWEEP_KIMG} if command is sweep else {}
            command = with_flags(command, training_flags(shown_for, **length))
        if shown_for in STYLE_RECIPES and command is style:
            command = with_flags(command, style_flags(shown_for))
        app.command(command)
    return app


def _what_is_wrong(error: CycloptsError) -> Any:
    """What the parser cannot read, as it tells it itself, but for words too many, which it calls unused tokens."""
    if isinstance(error, UnusedCliTokensError):
        asked = " ".join(("hasama", *(error.command_chain or ())))
        return CycloptsPanel(f"{asked} has no use for {shlex.join(error.unused_tokens or ())}:  {asked} --help")
    return CycloptsPanel(error)


app = make_app()


def main() -> None:
    """The entry point. Exit codes: see the end of `hasama --help`. What the user can put right has no traceback."""
    if shell := asked_by_shell():
        sys.stdout.writelines(f"{line}\n" for line in answer(app, shell, sys.argv[1:]))
        return
    _escape_what_cannot_be_told()
    words = understood(sys.argv[1:])
    if not {"--help", "-h", "--version"} & {*words}:
        hush_libraries()
    sys.exit(_run(words))


def _escape_what_cannot_be_told() -> None:
    """Letters that the encoding of the terminal lacks, such as those of a name under ASCII, end no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # of one that has become a pipe it asks for the place, after all is set
                stream.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int | None:
    """Run a command; what goes wrong in a way that the user can put right is told in a sentence."""
    try:
        if hint := misplaced_stream(words) or empty_name(words):
            raise HasamaError(hint)
        asked = asked_recipe(words)
        chosen = make_app(asked) if asked else app
        return _with_others(chosen, words) if several_processes() else chosen(words)
    except HasamaError as error:
        return _failed(error, words)
    except Exception as error:
        if told := short_of_memory(error):
            _complain(f"{told} {SMALLER}")
            return 2
        if not (isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG):
            return remember_crash(error, words)
        _complain(f"There can be nothing at {error.filename}: the name is too long.")
        return 2
    except SystemExit as ended:  # the parser has already said what it cannot read
        if ended.code and (hint := unquoted(words) or of_a_new_run(words) or of_several(words)):
            _complain(hint)
        raise
    except KeyboardInterrupt as stopped:
        if is_loud():
            _complain(f"stopped at once. {stopped}".rstrip())
        return INTERRUPTED


def _failed(error: HasamaError, words: list[str]) -> int:
    """Tell what went wrong, once; the exit code."""
    if error.told_here or (error.told_here is None and is_loud()):
        _complain("\n".join(filter(None, (str(error), unquoted(words)))))
    if several_processes():
        time.sleep(1)  # torchrun kills all when one ends, and others may be about to tell, or to ask who tells
    return PARTLY if isinstance(error, LostProcessError) else 2


def _with_others(chosen: App, words: list[str]) -> int | None:
    """Run a command in all the processes that torchrun started.

    Raises:
        HasamaError: the command is one for a single process.
    """
    if not {*words[:1]} & TOGETHER:
        raise HasamaError(
            f"hasama {' '.join(words[:1])} works in one process: start it without torchrun. Several can share "
            f"{', '.join(sorted(TOGETHER))}."
        )
    from hasama.cli.terminal import console
    from hasama.distributed import together

    heard = {} if is_loud() else {"console": console, "print_error": False}  # of wrong flags and --help, too, once
    with together():
        return chosen(words, **heard)


def _complain(text: str) -> None:
    from hasama.cli.terminal import complain  # start-up time

    complain(text)
