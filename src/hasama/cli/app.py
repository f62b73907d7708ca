"""The command: its functions, one for each thing people do, stand in `commands/`."""

import dataclasses
import itertools
import os
import sys
import typing
from collections.abc import Iterator, Sequence

from cyclopts import App

from hasama.cli.commands.coverage import coverage
from hasama.cli.commands.evaluate import evaluate
from hasama.cli.commands.latent import directions, mix
from hasama.cli.commands.project import project
from hasama.cli.commands.runs import doctor, images, recipes, runs, stop
from hasama.cli.commands.sample import interpolate, sample
from hasama.cli.commands.sharing import export, push
from hasama.cli.commands.style import style, style_flags
from hasama.cli.commands.suggest import suggest
from hasama.cli.commands.sweep import SWEEP_KIMG, sweep
from hasama.cli.commands.train import resume, train, training_flags
from hasama.cli.flags import INTERRUPTED, with_flags
from hasama.errors import HasamaError
from hasama.options import flag
from hasama.presets import RECIPES
from hasama.recipe import RENAMED, Recipe
from hasama.style.recipe import STYLE_RECIPES
from hasama.version import __version__

COMMANDS = (
    suggest, train, resume, doctor, evaluate, sweep, coverage, sample, interpolate, mix, directions, project, style,
    export, push, images, runs, stop, recipes,
)  # fmt: skip


def make_app(shown_for: str | None = None) -> App:
    """The command with all its sub-commands.

    Args:
        shown_for: the recipe whose values the help shows as defaults; None: the recipe that is taken by default.
    """
    app = App(
        name="hasama",
        help="Train generative adversarial networks on your own pictures, and repaint pictures in the style of "
        "others, on one ordinary computer.",
        help_epilogue="Begin with:  hasama train digits demo   or   hasama style photo.jpg painting.jpg",
        version=__version__,
        suppress_keyboard_interrupt=False,  # or `main` would never hear of Ctrl-C
    )
    for command in COMMANDS:
        if shown_for in RECIPES and command in (train, sweep):
            length = {"kimg": SWEEP_KIMG} if command is sweep else {}
            command = with_flags(command, training_flags(shown_for, **length))
        if shown_for in STYLE_RECIPES and command is style:
            command = with_flags(command, style_flags(shown_for))
        app.command(command)
    return app


def asked_recipe(words: Sequence[str]) -> str | None:
    """The recipe that a command line asks for help with: the second word of `train` and `sweep`, `style --recipe`."""
    if not {"--help", "-h"} & {*words} or not words:
        return None
    if words[0] == "style":
        named = [word for before, word in itertools.pairwise(words) if before == "--recipe"]
        named += [word.partition("=")[2] for word in words if word.startswith("--recipe=")]
        return named[-1] if named else None
    given = list(_positional(words[1:]))[:2] if words[0] in ("train", "sweep") else []
    return given[-1] if given and given[-1] in RECIPES else None  # alone, it is hardly meant as a source


def _positional(words: Sequence[str]) -> Iterator[str]:
    """The words that are neither a flag nor a flag's value."""
    kinds = {flag(field.name): field.type for field in dataclasses.fields(Recipe)}
    values = 0
    for word in words:
        if word.startswith("-"):
            kind = kinds.get(word, bool if word in SWITCHES or word.startswith("--no-") else str)
            values = 0 if "=" in word or kind is bool else 2 if typing.get_origin(kind) is tuple else 1
        elif values:
            values -= 1
        else:
            yield word


SWITCHES = ("--help", "-h", "--tensorboard", "--json")
app = make_app()


OLD_FLAGS = {flag(old): flag(new) for old, new in RENAMED.items()}


def _understood(word: str) -> str:
    """An old flag as it is called now; and ~ as the shell would have put it, had it not stood in --out=~/run."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return OLD_FLAGS.get(name, name) + equals + os.path.expanduser(value)  # noqa: PTH111 (Path would tidy it)


def main() -> None:
    """The entry point. Exit code 2 for what the user can put right, without a traceback; 130 after Ctrl-C."""
    try:
        words = [_understood(word) for word in sys.argv[1:]]
        asked = asked_recipe(words)
        code = (make_app(asked) if asked else app)(words)
    except HasamaError as error:
        from hasama.cli.terminal import complain

        complain(str(error))
        code = 2
    except KeyboardInterrupt as stopped:
        from hasama.cli.terminal import complain

        complain(f"stopped at once. {stopped}".rstrip())
        code = INTERRUPTED
    sys.exit(code)
