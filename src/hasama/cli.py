"""The command: its functions, one for each thing people do, stand in `commands/`."""

import os
import sys

from cyclopts import App

from hasama import __version__
from hasama.commands.advising import suggest, sweep
from hasama.commands.covering import coverage
from hasama.commands.doctoring import doctor
from hasama.commands.exploring import directions, mix, project
from hasama.commands.flags import INTERRUPTED
from hasama.commands.judging import evaluate
from hasama.commands.looking import images, interpolate, recipes, runs, sample, stop
from hasama.commands.painting import style
from hasama.commands.sharing import export, push
from hasama.commands.training import resume, train
from hasama.errors import HasamaError

app = App(
    name="hasama",
    help="Train generative adversarial networks on your own pictures, and repaint pictures in the style of others, "
    "on one ordinary computer.",
    help_epilogue="Begin with:  hasama train digits demo   or   hasama style photo.jpg painting.jpg",
    version=__version__,
    suppress_keyboard_interrupt=False,  # or `main` would never hear of Ctrl-C
)
for command in (
    suggest, train, resume, doctor, evaluate, sweep, coverage, sample, interpolate, mix, directions, project, style,
    export, push, images, runs, stop, recipes,
):  # fmt: skip
    app.command(command)


def _at_home(word: str) -> str:
    """~ in a word as the shell would have put it, had it been a word of its own: in --out=~/run it stays."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return flag + equals + os.path.expanduser(value)  # noqa: PTH111 (Path would tidy what is no path)


def main() -> None:
    """The entry point. Exit code 2 for what the user can put right, without a traceback; 130 after Ctrl-C."""
    try:
        code = app([_at_home(word) for word in sys.argv[1:]])
    except HasamaError as error:
        from hasama.show import complain

        complain(str(error))
        code = 2
    except KeyboardInterrupt:
        from hasama.show import complain

        complain("stopped at once. The work stands where it was last saved; the same command goes on from there.")
        code = INTERRUPTED
    sys.exit(code)
