"""What every source of pictures is: a list of entries that any thread can open. Nothing is decoded here."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

LARGEST_ENTRY = 2**30
"""Bytes of one file in a zip at most; a zip bomb unpacks to more."""


class Entry(NamedTuple):
    """One picture of a source: its name, its class if it has one, what changes when it changes, how to open it.

    `open(about)` decodes it (see `images.open_picture`); `peek()` reads only what the header says.
    """

    name: str
    label: str | None
    stamp: str
    open: Callable[[int | None], Image.Image]
    peek: Callable[[], Image.Image]


class Source(NamedTuple):
    """What the user named, and all it holds. `crops`: one picture, to be cut into many."""

    description: str
    entries: Sequence[Entry]
    crops: bool = False


def printable(name: str) -> str:
    """A file's name with control characters, and bytes that are no UTF-8, written as escapes."""
    return re.sub(r"[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: ascii(found[0])[1:-1], name)


def stamp_of(path: Path) -> str:
    """What changes when a file changes. ctime, for copying and unpacking can set mtime to anything."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def peek(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as picture:
        return picture


def folder_labels(names: Sequence[str]) -> list[str | None]:
    """The class of each file: its first folder below the one that holds all pictures."""
    endings = Image.registered_extensions()
    parts = [name.split("/") for name in names]
    pictures = [p for p in parts if Path(p[-1]).suffix.lower() in endings] or parts  # a README is no picture
    depth = 0
    while pictures and all(len(p) > depth + 2 and p[depth] == pictures[0][depth] for p in pictures):
        depth += 1
    return [p[depth] if len(p) > depth + 1 else None for p in parts]


def is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
