"""What people name when they name shards: a folder with a `shards.json`, a folder of tars, a pattern, an address."""

import itertools
import math
import re
from pathlib import Path
from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.names import at_home
from hasama.pictures.images import has_picture_ending
from hasama.pictures.shards.index import NAME, is_address

ENDING = ".tar"
MOST_NAMES = 1_000_000
BRACES = re.compile(r"\{([^{}]*)\}")


class Place(NamedTuple):
    """Where shards are.

    Attributes:
        name: for people.
        folder: the beginning of the tars' names, with its slash.
        listed: whether there is a `shards.json` in that folder.
        tars: where there is none: the names of the tars, without the folder.
    """

    name: str
    folder: str
    listed: bool
    tars: tuple[str, ...] = ()

    @property
    def list_file(self) -> str:
        """The path or the address of the `shards.json`."""
        return self.folder + NAME


def is_pattern(name: str) -> bool:
    """Whether it names several tars of this machine at once: 'shards/{000..012}.tar'."""
    return not is_address(name) and name.endswith(ENDING) and BRACES.search(name) is not None


def shard_place(name: str) -> Place | None:
    """The shards that a name means; None if it means something else.

    Raises:
        HasamaError: it is an address of something else than shards, or a pattern that names nothing.
    """
    if is_address(name):
        return _on_server(name)
    path = at_home(name)
    if path.is_dir():
        return _in_folder(path)
    if path.name == NAME and path.is_file():
        return Place(f"shards {path.parent}", f"{path.parent}/", True)
    if is_pattern(name) and not path.exists():
        folder = f"{path.parent}/"
        tars = _of_one_folder(expanded(str(path)), name)
        missing = next((tar for tar in tars if not Path(folder, tar).is_file()), None)
        if missing is not None:
            raise HasamaError(f"{name} names {len(tars)} tars, and there is no {folder}{missing}.")
        return Place(f"shards {name}", folder, False, tars)
    return None


def _on_server(address: str) -> Place:
    folder, _, last = address.rpartition("/")
    if last == NAME:
        return Place(f"shards {address}", f"{folder}/", True)
    if last.endswith(ENDING):
        tars = _of_one_folder(expanded(address), address)
        return Place(f"shards {address}", f"{folder}/", False, tars)
    raise HasamaError(
        f"{address} is no address of shards: give that of a {NAME}, or of tars, such as "
        f"{folder}/{{000..012}}.tar, without a question mark"
    )


def _in_folder(folder: Path) -> Place | None:
    """A folder with a list of shards; or one in which tars lie, and no pictures beside them."""
    if (folder / NAME).is_file():
        return Place(f"shards {folder}", f"{folder}/", True)
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return None
    if any(has_picture_ending(path) or path.is_dir() for path in inside):
        return None
    tars = tuple(sorted(path.name for path in inside if path.name.endswith(ENDING)))
    return Place(f"shards {folder}", f"{folder}/", False, tars) if tars else None


def place_of_one(tar: Path) -> Place:
    """A single tar as shards."""
    return Place(f"tar {tar}", f"{tar.parent}/", False, (tar.name,))


# --- patterns -------------------------------------------------------------------------------------


def expanded(pattern: str) -> list[str]:
    """'{08..10}.tar' -> 08.tar, 09.tar, 10.tar; and '{a,b}' -> a, b.

    Raises:
        HasamaError: the braces hold neither.
    """
    parts = BRACES.split(pattern)  # outside and inside in turn
    choices = [_choices(part, pattern) if number % 2 else [part] for number, part in enumerate(parts)]
    if math.prod(map(len, choices)) > MOST_NAMES:
        raise HasamaError(f"{pattern} names more than {MOST_NAMES:,} files.")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _choices(inside: str, pattern: str) -> list[str]:
    if found := re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", inside):
        first, last = found.groups()
        if int(first) <= int(last) <= int(first) + MOST_NAMES:
            width = len(first) if first.startswith("0") else 0
            return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    elif "," in inside:
        return inside.split(",")
    raise HasamaError(f"Cannot read {{{inside}}} in {pattern}: braces take {{000..012}} or {{a,b}}.")


def _of_one_folder(paths: list[str], pattern: str) -> tuple[str, ...]:
    """The names, each once, without the folder.

    Raises:
        HasamaError: they are not all in one folder.
    """
    if len({path.replace("\\", "/").rpartition("/")[0] for path in paths}) > 1:
        raise HasamaError(f"{pattern} names tars in several folders: braces go into the tars' own names.")
    return tuple(dict.fromkeys(path.replace("\\", "/").rpartition("/")[2] for path in paths))
