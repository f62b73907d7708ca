"""What every source of pictures is: a list of entries that any thread can open. Nothing is decoded here."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from hasama.pictures.depth import Extremes, Ranges
from hasama.pictures.images import has_picture_ending, to_picture
from hasama.pictures.opening import extremes_in, open_picture, peek_at
from hasama.pictures.shards.index import Shards

LARGEST_ENTRY = 2**30
"""Bytes of one file in an archive at most; a zip bomb unpacks to more."""


class Entry(NamedTuple):
    """One file of a source, which may be a picture.

    Attributes:
        name: below the source's folder, or in the archive.
        label: its class; None if it has none.
        stamp: what changes when the file changes.
        contents: a path, the file's bytes, or uint8 pixels [H, W, C]. May raise whatever reading raises.
        unlabelled: why it has no class, if it has none.
    """

    name: str
    label: str | None
    stamp: str
    contents: Callable[[], Path | io.BytesIO | np.ndarray]
    unlabelled: str = "in no sub-folder"

    def open(self, about: int | None = None, ranges: Ranges | None = None) -> Image.Image:
        """Decode it: see `images.open_picture`."""
        found = self.contents()
        return to_picture(found) if isinstance(found, np.ndarray) else open_picture(found, about, ranges, self.name)

    def peek(self) -> Image.Image:
        """What the header says, without decoding."""
        found = self.contents()
        return to_picture(found) if isinstance(found, np.ndarray) else peek_at(found, self.name)

    def extremes(self) -> Extremes | None:
        """The lowest and highest value, by decoding it; None for a picture of 8 bits."""
        found = self.contents()
        return None if isinstance(found, np.ndarray) else extremes_in(found, self.name)


class Source(NamedTuple):
    """What the user named, and all it holds.

    Attributes:
        description: for people.
        entries: its files, or its pictures.
        crops: it is one picture, to be cut into many.
        folder: the folder in which the entries' names are; None if they are in an archive or in arrays.
        no_classes: why its classes cannot be read, and what to do; empty if they can. It matters only to those who
            want classes.
        note: what the user should know of how it is read.
        aliases: other names of classes -> the classes' own names.
        only: the classes that these are, if not all: see `chosen.only_classes`.
        shards: if the entries are pictures in shards: what is where, without regard to `only`.
        finish: breaks off what is being fetched for entries that may be opened next, for none will be.
    """

    description: str
    entries: Sequence[Entry]
    crops: bool = False
    folder: Path | None = None
    no_classes: str = ""
    note: str = ""
    aliases: Mapping[str, str] = MappingProxyType({})
    only: tuple[str, ...] = ()
    shards: Shards | None = None
    finish: Callable[[], None] = lambda: None


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


def folder_labels(names: Sequence[str]) -> list[str | None]:
    """The class of each file: its first folder below the one that holds all pictures."""
    parts = [name.split("/") for name in names]
    pictures = [p for p in parts if has_picture_ending(p[-1])] or parts  # a README is no picture
    depth = 0
    while pictures and all(len(p) > depth + 2 and p[depth] == pictures[0][depth] for p in pictures):
        depth += 1
    return [p[depth] if len(p) > depth + 1 else None for p in parts]


def is_hidden(name: str) -> bool:
    """Whether a file in an archive is hidden, or is what macOS puts beside each file."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
