"""Shards as a source: a list of entries like any other, and the index by which pictures can be streamed instead."""

import bisect
import hashlib
import io
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import overload

from filelock import FileLock

from hasama.errors import HasamaError
from hasama.files import cannot_write, replacing, size_of
from hasama.pictures.shards.fetching import Fetched, fetch, kept, text_at
from hasama.pictures.shards.index import NO_CLASS, Shard, ShardError, Shards, Tar, as_json, from_json, is_address
from hasama.pictures.shards.open_tar import OpenTar
from hasama.pictures.shards.places import Place
from hasama.pictures.shards.tars import NO_LABEL, Walked, together, walk
from hasama.pictures.sources.arrays import class_name
from hasama.pictures.sources.chosen import by_number
from hasama.pictures.sources.download import DownloadProgress, cache_folder
from hasama.pictures.sources.entries import Entry, Source, printable, stamp_of


def shard_source(place: Place) -> Source:
    """The pictures in shards.

    Raises:
        HasamaError: a shard, or the list of them, is gone or damaged.
    """
    shards = _listed(place) if place.listed else _indexed(place)
    if not shards.shards:
        raise HasamaError(f"There is no picture in {place.name}.")
    files = fetched()
    return Source(place.name, ShardEntries(shards, files), shards=shards, finish=files.stop)


def fetched() -> Fetched:
    """The shards of servers that are on this machine."""
    return Fetched(_folder())


def _folder() -> Path:
    return cache_folder() / "shards"


class ShardEntries(Sequence[Entry]):
    """The pictures of shards as entries, each made when it is asked for: there may be many millions."""

    def __init__(self, shards: Shards, fetched: Fetched) -> None:
        self.shards, self.files = shards, _Files(shards, fetched)
        self.firsts = list(itertools.accumulate(map(len, shards.shards), initial=0))
        tars = [shard.tar for shard in shards.shards]
        self.stamps = [tar.sha256 or stamp_of(Path(tar.place)) for tar in tars]

    def __len__(self) -> int:
        return self.firsts[-1]

    def __iter__(self) -> Iterator[Entry]:
        for at, shard in enumerate(self.shards.shards):
            for number in range(len(shard)):
                yield self._entry(at, shard, number)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        at = bisect.bisect_right(self.firsts, index) - 1
        return self._entry(at, self.shards.shards[at], index - self.firsts[at])

    def _entry(self, at: int, shard: Shard, number: int) -> Entry:
        label = int(shard.labels[number])
        start, size = int(shard.starts[number]), int(shard.sizes[number])
        stamp = f"{start} {size} {self.stamps[at]}"
        return Entry(
            printable(shard.name_of(number)),
            None if label == NO_CLASS else self.shards.classes[label],
            stamp,
            partial(self.files.read, at, start, size),
            NO_LABEL,
        )


OPEN_MOST = 4


class _Files:
    """The last few shards that were read from; the one after them is fetched meanwhile."""

    def __init__(self, shards: Shards, fetched: Fetched) -> None:
        self.tars, self.fetched = [shard.tar for shard in shards.shards], fetched
        self.open: dict[int, OpenTar] = {}
        self.lock = Lock()
        self.failed: ShardError | None = None

    def read(self, at: int, start: int, size: int) -> io.BytesIO:
        """Some bytes of a shard."""
        with self.lock:
            if self.failed is not None:
                raise self.failed  # who waited need not try again
            if at not in self.open:
                while len(self.open) >= OPEN_MOST:
                    self.open.pop(next(iter(self.open)))
                self.fetched.ask(self.tars[at : at + 2])
                self.open[at] = self._opened(self.tars[at])
            opened = self.open[at]
        return io.BytesIO(opened.read(start, size))

    def _opened(self, tar: Tar) -> OpenTar:
        try:
            return self.fetched.get(tar)
        except ShardError as error:
            self.failed = error
            raise


# --- what is where --------------------------------------------------------------------------------


def _listed(place: Place) -> Shards:
    """What a `shards.json` says."""
    file = place.list_file
    try:
        text = text_at(file) if is_address(file) else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HasamaError(f"Cannot read {file}: {getattr(error, 'strerror', None) or error}.") from error
    shards = from_json(text, file, place.folder)
    for tar in (shard.tar for shard in shards.shards if not is_address(place.folder)):
        if (size := size_of(Path(tar.place))) != tar.bytes:
            raise HasamaError(
                f"The shard {tar.place} is not the one that {file} tells of: it has {size:,} bytes instead of "
                f"{tar.bytes:,}. Copy it again."
            )
    return shards


def _indexed(place: Place) -> Shards:
    """What is in tars that nobody has listed, read once and kept."""
    deque(index_first(place), maxlen=0)
    return from_json(_index_file(place).read_text(encoding="utf-8"), place.name, place.folder)


def index_first(place: Place) -> Iterator[DownloadProgress]:
    """List what is in tars, unless that is known; those of a server are fetched for it, one after another.

    Raises:
        HasamaError: a tar is damaged, or its server does not give it.
    """
    file = _index_file(place)
    if is_known(place):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):  # of several processes one lists, the others wait for it
            if not file.exists():
                yield from _index(place, file)
    except OSError as error:
        raise HasamaError(f"{cannot_write(file, error)} HASAMA_CACHE names another place for the cache.") from error


def is_known(place: Place) -> bool:
    """Whether what is in its tars is listed, or was read before."""
    return place.listed or _index_file(place).exists()


def _index(place: Place, file: Path) -> Iterator[DownloadProgress]:
    walked: list[Walked] = []
    for done, name in enumerate(place.tars, 1):
        walked.append(_walked(place.folder + name))
        if is_address(place.folder):
            yield DownloadProgress(place.name, done, len(place.tars))
    with replacing(file) as temporary:
        temporary.write_text(as_json(together(walked, by_number)), encoding="utf-8")
    if is_address(place.folder):  # only now, or whoever breaks off would fetch all of them again
        for one in walked:
            with suppress(FileNotFoundError):  # another process has just made room
                kept(Tar(one.tar.place, 0), _folder()).replace(kept(one.tar, _folder()))


WALKED = "3"
"""Version of what is known of others' tars. 2: points in names are no endings. 3: HEIC photos are pictures; 0.9
and -1 are no classes."""


def _index_file(place: Place) -> Path:
    here = not is_address(place.folder)
    stamps = [f"{name} {stamp_of(Path(place.folder, name)) if here else ''}" for name in place.tars]
    told = "\n".join([WALKED, place.folder, *stamps])
    return _folder() / f"{hashlib.blake2b(told.encode('utf-8', 'replace'), digest_size=16).hexdigest()}.json"


def _walked(where: str) -> Walked:
    """What is in a tar."""
    tar = Tar(where, 0)
    if not is_address(where):
        opened = OpenTar.at(Path(where), tar)
        with io.BufferedReader(opened.file) as file:
            return walk(file, Tar(where, opened.bytes), class_name)
    opened = fetch(tar, _folder())
    with io.BufferedReader(opened.file) as file:
        found = Tar(where, opened.bytes, hashlib.file_digest(file, "sha256").hexdigest())
        try:
            return walk(file, found, class_name)
        except HasamaError:
            kept(tar, _folder()).unlink(missing_ok=True)  # a page in its place, or half of it: fetched anew next time
            raise
