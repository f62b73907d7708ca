"""What lies in which shard: the tar files, and of each picture in them where its bytes are, how many, and its class.

`shards.json` says it for shards that Hasama wrote. For other people's tars it is made once (`shards.tars`) and kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hasama.errors import HasamaError

NAME = "shards.json"
FORMAT = "hasama shards 1"
NO_CLASS = -1
LARGEST_MEMBER = 2**30
"""Bytes of one picture at most."""


def is_address(name: str) -> bool:
    """Whether it is on a server."""
    return name.lower().startswith(("http://", "https://"))


class ShardError(HasamaError):
    """A shard cannot be read: no single picture is to blame, so that none is skipped for it."""


class Tar(NamedTuple):
    """A shard as a file: where it is, and what tells whether it is still the same.

    Attributes:
        place: its path, or its address.
        bytes: its size.
        sha256: its checksum; empty if it is not known.
    """

    place: str
    bytes: int
    sha256: str = ""

    @property
    def remote(self) -> bool:
        """Whether it is on a server."""
        return is_address(self.place)

    @property
    def name(self) -> str:
        """For people: its own name, without the folder."""
        return self.place.replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard, and the pictures in it.

    Attributes:
        tar: the file.
        starts, sizes: where each picture's bytes begin, and how many they are: int64 [n].
        labels: the number of its class, or `NO_CLASS`: int64 [n].
        names: of the pictures; empty where they are numbered through.
    """

    tar: Tar
    starts: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def name_of(self, number: int) -> str:
        """The name of a picture in it, for people."""
        return f"{self.tar.name}/{self.names[number] if self.names else f'picture {number}.png'}"


@dataclass(frozen=True, eq=False)
class Shards:
    """All shards of a source; those without a picture are left out.

    Attributes:
        shards: in the order of their names.
        classes: the names of the classes, by their numbers.
        size: (height, width) of all pictures; None if it is not known.
        channels: 1, 3 or 4; None if it is not known, and pictures may differ.
        skipped: of what is in no picture's group, or is no picture: why.
    """

    shards: Sequence[Shard]
    classes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    channels: int | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def remote(self) -> bool:
        """Whether they are on a server."""
        return any(shard.tar.remote for shard in self.shards[:1])


# --- shards.json ----------------------------------------------------------------------------------


def as_json(shards: Shards, **about: Any) -> str:
    """As `shards.json` has it: compact, for a shard may hold a hundred thousand pictures.

    Args:
        shards: of which the places lose their folder.
        about: what else to say, for people.
    """
    told = {
        "format": FORMAT,
        **about,
        "pictures": len(shards),
        "size": shards.size,
        "channels": shards.channels,
        "classes": shards.classes,
        "skipped": shards.skipped,
        "shards": [_told(shard) for shard in shards.shards],
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=True)


def _told(shard: Shard) -> dict[str, Any]:
    told = {"name": shard.tar.name, "count": len(shard), "bytes": shard.tar.bytes, "sha256": shard.tar.sha256}
    told |= {"starts": shard.starts.tolist(), "sizes": shard.sizes.tolist(), "labels": shard.labels.tolist()}
    return told | ({"names": list(shard.names)} if shard.names else {})


def from_json(text: str, where: str, folder: str) -> Shards:
    """What a `shards.json` says. Nothing in it is believed: names are checked, and so are places inside the files.

    Args:
        text: the file's content.
        where: what to call it.
        folder: the beginning of the tars' places, with its slash.

    Raises:
        HasamaError: it is no such file, or is damaged.
    """
    try:
        told = json.loads(text)
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ValueError(f"it does not say that its format is {FORMAT!r}")
        classes = tuple(map(str, told["classes"]))
        shards = [_shard(one, folder, len(classes)) for one in told["shards"]]
        size = None if told["size"] is None else (int(told["size"][0]), int(told["size"][1]))
        if told["channels"] not in (1, 3, 4, None) or (size is not None and min(size) < 1):
            raise ValueError("a size or a number of channels that no picture has")
        skipped = {str(name): str(why) for name, why in told.get("skipped", {}).items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise HasamaError(
            f"{where} is damaged, or no list of shards ({error}). `hasama images SOURCE --shards FOLDER` writes one."
        ) from error
    return Shards([shard for shard in shards if len(shard)], classes, size, told["channels"], skipped)


def _shard(told: dict[str, Any], folder: str, classes: int) -> Shard:
    name, size = told["name"], int(told["bytes"])
    if not isinstance(name, str) or not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"the shard's name {name!r} is no name of a file")
    starts, sizes, labels = (np.asarray(told[key], np.int64) for key in ("starts", "sizes", "labels"))
    if not starts.shape == sizes.shape == labels.shape == (int(told["count"]),):
        raise ValueError(f"{name} has lists of different lengths")
    inside = (starts >= 0) & (sizes >= 0) & (sizes <= LARGEST_MEMBER) & (starts + sizes <= size)
    if not inside.all() or not ((labels >= NO_CLASS) & (labels < classes)).all():
        raise ValueError(f"{name} has pictures outside of the file, or of a class that there is not")
    names = tuple(map(str, told.get("names", ())))
    if names and len(names) != len(starts):
        raise ValueError(f"{name} has lists of different lengths")
    return Shard(Tar(folder + name, size, str(told["sha256"])), starts, sizes, labels, names)
