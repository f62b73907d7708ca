"""Tars in WebDataset's form, read by their headers: files with one name but for the ending belong together.

KEY.jpg and KEY.cls, KEY being all up to the first dot after the last slash, are a picture and its class. See
T. Breuel's WebDataset, https://github.com/webdataset/webdataset.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.formats import HEIF_ENDINGS
from hasama.pictures.shards.index import LARGEST_MEMBER, NO_CLASS, Shard, Shards, Tar

CLASS_ENDINGS = ("cls", "json")
"""Where a class is looked for, in this order."""
CLASS_FIELDS = ("class", "label", "cls")
LARGEST_CLASS = 2**20
"""Bytes of a file that says a class."""
NO_LABEL = "no .cls beside it"
BELOW_ZERO = re.compile(r"-[0-9]{1,9}")
"""In a .cls, the number of no class."""


class Part(NamedTuple):
    """A file in a tar: its name, where its bytes begin, and how many they are."""

    name: str
    start: int
    size: int


class Walked(NamedTuple):
    """What is in a tar: its pictures, the class of each in words (None: none), and what is left out, and why."""

    tar: Tar
    pictures: list[Part]
    classes: list[str | None]
    skipped: dict[str, str]


def walk(file: BinaryIO, tar: Tar, class_of: Callable[[object], str | None]) -> Walked:
    """The pictures of a tar, by one pass over its headers.

    Args:
        file: the open tar.
        tar: how it will be found again.
        class_of: the class that a label in a file means.

    Raises:
        HasamaError: it is compressed, damaged or cut short.
    """
    groups: dict[str, dict[str, Part]] = {}
    skipped: dict[str, str] = {}
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                vars(archive)["members"] = []  # or it would keep all that it has seen
                folder, slash, name = info.name.rpartition("/")
                key, _, ending = name.partition(".")
                if info.isdir() or not name or name.startswith("."):
                    continue
                if not info.isreg() or info.size > LARGEST_MEMBER:
                    skipped[info.name] = "gigantic" if info.isreg() else "no file"
                    continue
                group = groups.setdefault(folder + slash + key, {})
                group[ending.lower()] = Part(info.name, info.offset_data, info.size)
            _check_end(file, archive.offset)  # type: ignore[attr-defined]
            parted = [one for group in groups.values() for one in _parted(group)]
            found = [_sorted_out(group, skipped) for group in parted]
            pictures = [(picture, group) for picture, group in zip(found, parted, strict=True) if picture]
            classes = [_class(group, file, class_of) for _, group in pictures]
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise HasamaError(
            f"The shard {tar.place} is not a tar file, or is damaged ({error}). Fetch it again."
        ) from error
    except OSError as error:
        raise HasamaError(f"Cannot read the shard {tar.place}: {error.strerror or error}.") from error
    return Walked(tar, [picture for picture, _ in pictures], classes, skipped)


def _check_end(file: BinaryIO, offset: int) -> None:
    """`tarfile` takes the end of the file, or a damaged header, for the end of the tar."""
    file.seek(offset)
    block = file.read(512)
    if len(block) < 512 or block.strip(b"\0"):
        raise tarfile.ReadError("a header is damaged" if len(block) == 512 else "it is cut short")


def _parted(group: dict[str, Part]) -> list[dict[str, Part]]:
    """What belongs to one picture each: names may have points of their own, as a screenshot's `at 10.07.33.png`.

    Of WebDataset something of a group has a plain ending; where nothing has, each is a picture of its own.
    """
    if not all("." in ending for ending in group):
        return [group]
    parts: dict[str, dict[str, Part]] = {}
    for ending, part in group.items():
        stem, _, last = ending.rpartition(".")
        parts.setdefault(stem, {})[last] = part
    return list(parts.values())


def _sorted_out(group: dict[str, Part], skipped: dict[str, str]) -> Part | None:
    """The picture of a group: that with the shortest ending. Other files are skipped, but for classes."""
    pictures = sorted((e for e in group if f".{e.rpartition('.')[2]}" in PICTURES), key=lambda e: (e.count("."), e))
    for ending, part in group.items():
        if ending not in pictures[:1] and not (pictures and ending in CLASS_ENDINGS):
            skipped[part.name] = "a second picture of one name" if ending in pictures else "not a picture"
    return group[pictures[0]] if pictures else None


PICTURES = frozenset(Image.registered_extensions()).union(HEIF_ENDINGS) - {".pdf", ".ps", ".eps", ".mpg", ".mpeg"}


def _class(group: dict[str, Part], file: BinaryIO, class_of: Callable[[object], str | None]) -> str | None:
    """What the files beside a picture say of its class; None if they say nothing."""
    for ending in CLASS_ENDINGS:
        part = group.get(ending)
        if part is None or part.size > LARGEST_CLASS:
            continue
        file.seek(part.start)
        text = file.read(part.size).decode("utf-8", "replace").strip()
        label = class_in_json(text) if ending == "json" else int(text) if BELOW_ZERO.fullmatch(text) else text
        if label is not None and label != "":
            return class_of(label)
    return None


def class_in_json(text: str) -> object:
    """The label that a JSON file says of its picture; None if it says none."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    found = next((told[name] for name in CLASS_FIELDS if name in told), None)
    return found if isinstance(found, (str, int, float)) else None


def together(walked: list[Walked], in_order: Callable[[str], object]) -> Shards:
    """The tars as one source, the classes numbered through.

    Args:
        walked: the tars.
        in_order: by what the classes' names are sorted.
    """
    classes = sorted({name for one in walked for name in one.classes if name is not None}, key=in_order)  # type: ignore[arg-type]
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)} | {None: NO_CLASS}
    skipped = {f"{one.tar.name}/{name}": why for one in walked for name, why in one.skipped.items()}
    return Shards([_shard(one, numbers) for one in walked if one.pictures], tuple(classes), skipped=skipped)


def _shard(walked: Walked, numbers: dict[str | None, int]) -> Shard:
    starts, sizes = (np.array([part[at] for part in walked.pictures], np.int64) for at in (1, 2))
    labels = np.array([numbers[name] for name in walked.classes], np.int64)
    return Shard(walked.tar, starts, sizes, labels, [part.name for part in walked.pictures])


def digest_of(shards: Shards) -> str:
    """What changes when pictures change: the tars' checksums, or what their headers say where these are not known."""
    digest = hashlib.blake2b(digest_size=16)
    for shard in shards.shards:
        digest.update(f"{shard.tar.name} {shard.tar.bytes} {shard.tar.sha256}\n".encode())
        for part in (shard.starts, shard.sizes, shard.labels):
            digest.update(part.astype("<i8").tobytes())
    digest.update(repr(shards.classes).encode())
    return digest.hexdigest()
