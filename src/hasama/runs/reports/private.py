"""Takes out of a text what is nobody's business: where things lie, what they are called, whose machine it is."""

import getpass
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hasama.names import at_home

SHORTEST = 3
"""Letters of a name that is looked for anywhere in a text; shorter ones are found in paths alone."""
NOBODY = ("root", "user", "admin", "localhost", "runner", "ubuntu", "debian", "none")
"""Names of users and machines that tell nothing."""
OUR_FILES = re.compile(
    r"(recipe|images|autopilot|inherited|error|base|job)\.json|(log|health)\.jsonl|(game|enlarging)\.pt|loss\.png|"
    r"(generator|best|enlarger|inverse|look)\.safetensors|\d{9}\.(png|pt)"
)
"""Files that are called so on every machine."""
QUOTED = re.compile(r"""(?P<quote>['"])(?P<inside>[^'"\n]*[/\\.][^'"\n]*)(?P=quote)""")
ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
DRIVE = re.compile(r"""\b[A-Za-z]:\\[^\s'",;:)]*|\\\\[^\s'",;:)]+""")
PLACE = re.compile(r"""[^\s'",;:()=]*/[^\s'",;:()]*""")
FILE = re.compile(r"""[^\s'",;:()=/\\]+\.[A-Za-z][A-Za-z0-9]{1,11}\b""")
PLAIN = re.compile(r"\d+(\.\d+)?/\d+(\.\d+)?|[a-z]+/s|[a-z]{3}/[a-z]{2}")
"""What has a slash and is no path: 3/4, images/s, and/or."""


class Private:
    """What is to be taken out of texts.

    Args:
        names: {path or name: what is put in its place}, besides the home folder, the user's and the machine's name.
    """

    def __init__(self, names: dict[str, str] | None = None) -> None:
        self._names = names or {}
        known = {**self._names, **dict(_homes()), **dict(_people())}
        longest_first = sorted((name for name in known if name), key=len, reverse=True)
        self._known = [(_anywhere(name), known[name]) for name in longest_first]

    def also(self, names: dict[str, str]) -> "Private":
        """The same, and more names. All at once, for a short name may be a part of a long one."""
        return Private(self._names | names)

    def clean(self, text: str) -> str:
        """The text without paths, file names, addresses, and the names of people, machines and sources.

        A path with spaces is found where it is known or stands in quotes.
        """
        text = self.without_names(text)
        text = QUOTED.sub(self._quoted, text)
        text = ADDRESS.sub("ADDRESS", text)
        text = DRIVE.sub("PATH", text)
        text = PLACE.sub(self._place, text)
        return FILE.sub(self._file, text)

    def without_names(self, text: str) -> str:
        """The text without the paths and names that are known."""
        for pattern, instead in self._known:
            text = pattern.sub(instead, text)
        return text

    @staticmethod
    def _quoted(found: re.Match[str]) -> str:
        inside, quote = found["inside"], found["quote"]
        looks_like_one = "/" in inside or "\\" in inside or (FILE.search(inside) and not OUR_FILES.fullmatch(inside))
        return f"{quote}PATH{quote}" if looks_like_one and not PLAIN.fullmatch(inside) else found[0]

    @staticmethod
    def _place(found: re.Match[str]) -> str:
        last = found[0].rstrip(".").rpartition("/")[2]
        if PLAIN.fullmatch(found[0]) or found[0].strip("/") == "" or OUR_FILES.fullmatch(found[0]):
            return found[0]
        return f"PATH/{last}" if OUR_FILES.fullmatch(last) else "PATH"

    @staticmethod
    def _file(found: re.Match[str]) -> str:
        known = OUR_FILES.fullmatch(found[0]) or re.fullmatch(r"(hasama|torch|numpy|PIL|hidden)(\.\w+)+", found[0])
        return found[0] if known else f"FILE.{found[0].rpartition('.')[2]}"


def forms_of(path: str | Path, instead: str) -> dict[str, str]:
    """A path as people may write it, as it is without links, and its last part; each with what takes its place."""
    given = at_home(path)
    forms = {str(path): instead, str(given): instead, str(given.absolute()): instead}
    with suppress(OSError, RuntimeError):
        forms[str(given.resolve())] = instead
        forms[given.resolve().name] = instead
    return {name: instead for name in forms if len(name) >= SHORTEST}


def names_of(names: object, instead: str) -> dict[str, str]:
    """Names of pictures or classes, and the last part of each; of a damaged list those that are names."""
    names = [name for name in names if isinstance(name, str)] if isinstance(names, Iterable) else []
    found = {form for name in names for form in (name, name.rpartition("/")[2], name.rpartition("\\")[2])}
    return {name: instead for name in found if len(name) >= SHORTEST}


def _homes() -> Iterator[tuple[str, str]]:
    for home in {os.environ.get("HOME", ""), os.environ.get("USERPROFILE", ""), os.path.expanduser("~")}:  # noqa: PTH111
        if len(home) > 1:
            yield home, "~"
            with suppress(OSError, RuntimeError):
                yield str(Path(home).resolve()), "~"


def _people() -> Iterator[tuple[str, str]]:
    """The names of the user and of the machine."""
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME")}
    users |= {Path(home).name for home, _ in _homes()}
    with suppress(OSError, KeyError, ImportError):
        users.add(getpass.getuser())
    machines = {platform.node(), socket.gethostname(), os.environ.get("HOSTNAME", "")}
    machines |= {name.partition(".")[0] for name in machines}
    for names, instead in ((users, "USER"), (machines, "HOST")):
        yield from ((name, instead) for name in names if len(name) >= SHORTEST and name.lower() not in NOBODY)


def _anywhere(name: str) -> re.Pattern[str]:
    """A name as a word of its own, or inside a path, in whatever case."""
    before = r"(?<![^\W_])" if name[0].isalnum() else ""
    after = r"(?![^\W_])" if name[-1].isalnum() else ""
    return re.compile(before + re.escape(name) + after, re.IGNORECASE)
