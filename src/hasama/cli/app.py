"""The command: its functions, one for each thing people do, stand in `commands/`."""

import errno
import os
import re
import sys

from cyclopts import App

from hasama.cli.commands.coverage import coverage
from hasama.cli.commands.evaluate import evaluate
from hasama.cli.commands.latent import directions, mix
from hasama.cli.commands.project import project
from hasama.cli.commands.runs import doctor, images, recipes, runs, stop
from hasama.cli.commands.sample import interpolate, sample
from hasama.cli.commands.sharing import export, push
from hasama.cli.commands.style import style
from hasama.cli.commands.suggest import suggest
from hasama.cli.commands.sweep import sweep
from hasama.cli.commands.train import resume, train
from hasama.cli.flags import INTERRUPTED
from hasama.cli.quiet import hush_libraries
from hasama.errors import HasamaError
from hasama.options import flag
from hasama.recipe import RENAMED
from hasama.version import __version__

app = App(
    name="hasama",
    help="Train generative adversarial networks on your own pictures, and repaint pictures in the style of others, "
    "on one ordinary computer.",
    help_epilogue="Begin with:  hasama train digits demo   or   hasama style photo.jpg painting.jpg\n\n"
    "Exit codes: 0, all is done; 1, a part of the work could not be done; 2, nothing could be, and the message says "
    "what to put right; 130, stopped by Ctrl-C.",
    version=__version__,
    suppress_keyboard_interrupt=False,  # or `main` would never hear of Ctrl-C
)
for command in (
    suggest, train, resume, doctor, evaluate, sweep, coverage, sample, interpolate, mix, directions, project, style,
    export, push, images, runs, stop, recipes,
):  # fmt: skip
    app.command(command)


OLD_FLAGS = {flag(old): flag(new) for old, new in RENAMED.items()}


def _understood(word: str) -> str:
    """An old flag as it is called now; and ~ as the shell would have put it, had it not stood in --out=~/run."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return OLD_FLAGS.get(name, name) + equals + os.path.expanduser(value)  # noqa: PTH111 (Path would tidy it)


def _joined(words: list[str]) -> list[str]:
    """`--mix -1,2` as `--mix=-1,2`: what begins with one minus sign is a value, for no flag does but -h.

    Numbers are left alone: they are known as such, and some flags take two of them.
    """
    joined: list[str] = []
    for word in words:
        if joined and "--" not in joined and FLAG.fullmatch(joined[-1]) and _is_value(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


FLAG = re.compile(r"--[a-z][a-z0-9-]*")


def _is_value(word: str) -> bool:
    if not word.startswith("-") or word.startswith("--") or word in ("-", "-h"):
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def main() -> None:
    """The entry point. Exit codes: see the end of `hasama --help`. What the user can put right has no traceback."""
    hush_libraries()
    try:
        code = app(_joined([_understood(word) for word in sys.argv[1:]]))
    except HasamaError as error:
        from hasama.cli.terminal import complain

        complain(str(error))
        code = 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        from hasama.cli.terminal import complain

        complain(f"There can be nothing at {error.filename}: the name is too long.")
        code = 2
    except KeyboardInterrupt:
        from hasama.cli.terminal import complain

        complain("stopped at once. The work stands where it was last saved; the same command goes on from there.")
        code = INTERRUPTED
    sys.exit(code)
