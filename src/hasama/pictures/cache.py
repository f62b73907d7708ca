"""The cache of decoded pictures: each source is decoded once, into a memory map.

A cache holds `pixels.u8`, uint8 [N, H, W, C] without a header, and `about.json`, the report. A folder with both under
its final name is whole: it is built under another name and renamed at the end.

Shards whose pictures would need too much room are streamed: for them the cache holds only what is where.
`HASAMA_STREAM_GB` is how much is too much.
"""

import contextlib
import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from hasama.errors import HasamaError
from hasama.files import cannot_write, size_of
from hasama.names import as_source
from hasama.pictures.dataset import Pictures
from hasama.pictures.decoding import CHANNELS, Form, Scan, decode, survey
from hasama.pictures.depth import Range, Ranges
from hasama.pictures.formats import HEIF_ENDINGS
from hasama.pictures.report import Report
from hasama.pictures.shards.fetching import gigabytes
from hasama.pictures.shards.index import Tar
from hasama.pictures.shards.members import Members
from hasama.pictures.shards.streaming import Streamed, Wanted
from hasama.pictures.shards.tars import digest_of
from hasama.pictures.sources.chosen import only_classes
from hasama.pictures.sources.download import cache_folder
from hasama.pictures.sources.entries import Source, stamp_of
from hasama.pictures.sources.sharded import fetched
from hasama.pictures.sources.sources import open_source
from hasama.presets import as_recipe
from hasama.recipe import Recipe

LAYOUT = 6
"""Version of the cache's layout; part of every key, so that an older cache is simply not found.

2: one range for all files of more than 8 bits. 3, 4: colours by their profiles. 5: no bright rims beside
transparency. 6: no colours where all is clear; dark are those that are so on
white."""

STREAM_GB = 16.0
"""Shards whose decoded pictures would need more than this are streamed."""
NEAR = 10_000
"""Pictures on a server that are looked at in any order, at least: see `Pictures.at_hand`."""


# --- the cache ------------------------------------------------------------------------------------


def open_pictures(source: str | Path, recipe: Recipe | str) -> Pictures:
    """The pictures of a source in the form that a recipe asks for, from the cache or by a scan.

    Args:
        source: a folder, zip, tar, .npz or picture, or one of the built-in names.
        recipe: its size, fit, colour, labels and only count here; or the name of a preset.

    Raises:
        HasamaError: there is nothing there, nothing that can be used, or no room for the cache.
    """
    reading = Reading(as_source(source), Form.of(as_recipe(recipe)))
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


class Reading:
    """A source on its way into the cache: consume `scan()`, then ask for `pictures()`.

    Args:
        source: see `sources.open_source`.
        form: to which its pictures are brought.
        streamed: whether pictures in shards are streamed; None to go by their size. A run goes on as it began.

    Raises:
        HasamaError: there is nothing there; its classes are wanted and cannot be read; or there is no such class.
    """

    def __init__(self, source: str, form: Form, streamed: bool | None = None) -> None:
        self.source = only_classes(open_source(source), form.only)
        if form.labels and self.source.no_classes:
            raise HasamaError(self.source.no_classes)
        self.form = form
        self.streamed = self.source.shards is not None and (
            _is_too_large(self.source, form) if streamed is None else streamed
        )
        self.key = _key(self.source, form, self.streamed)

    def scan(self) -> Iterator[Scan]:
        """Decode the source into the cache, unless it is there already; one record per file.

        Of what is streamed, nothing is decoded.

        Safe when several processes start at once: one scans, the others wait for it.
        """
        folder = cached(self.key)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if _whole(folder) is None:
                    _check_room(folder.parent, self.room)
                    with _building(folder) as unfinished:
                        read = survey if self.streamed else decode
                        yield from read(self.source, self.form, self.key, unfinished)
        except OSError as error:
            hint = HasamaError(f"{cannot_write(folder, error)} HASAMA_CACHE names another place for the cache.")
            raise hint from error
        finally:
            self.source.finish()

    @property
    def room(self) -> int:
        """Bytes that its pictures take in the cache at least, if all can be read: nothing once they are there."""
        if self.streamed or _whole(cached(self.key)) is not None:
            return 0
        return _decoded(self.source, self.form, channels=1)

    def pictures(self) -> Pictures:
        """The pictures, once `scan` has run to its end."""
        pictures = open_cached(self.key)
        if pictures is None:
            raise HasamaError(f"The cache {cached(self.key)} vanished while it was being used; start again.")
        report = pictures.report  # the same files may have been read where they were called otherwise
        report.source = self.source.description
        if report.only and self.source.folder:
            name = next((one.name for one in self.source.entries if report.only.endswith(one.name)), report.only)
            report.only = str(self.source.folder / name)
        return pictures


def open_cached(key: str) -> Pictures | None:
    """The pictures that the cache keeps under a key; None if there are none, or not all of them."""
    about = _whole(cached(key))
    if about is None:
        return None
    report = _report(about)
    if report.streamed:
        return _streamed(about, report, Members.load(cached(key)))
    shape = tuple(about["shape"])
    stored = np.memmap(cached(key) / "pixels.u8", np.uint8, mode="r", shape=shape)
    labels = None if about["labels"] is None else np.asarray(about["labels"], np.int64)
    corners = _corners(shape, report) if report.crops else None
    return Pictures(stored, labels, report, corners)


def _streamed(about: dict, report: Report, members: Members) -> Pictures | None:
    """Pictures in shards; None if one that was on this machine is there no longer, or is another one."""
    tars, files = [Tar(*told) for told in about["tars"]], fetched()
    if not all(tar.remote or size_of(Path(tar.place)) == tar.bytes for tar in tars):
        return None
    ranges = cast(Ranges, {depth: Range(one["black"], one["white"]) for depth, one in report.ranges.items()})
    stored = Streamed(tars, members, Wanted(report.resolution, report.fit, report.channels, ranges), files)
    near = len(members.shards)
    if stored.remote and near > NEAR:
        near = int(np.searchsorted(members.shards, members.shards[NEAR], "right"))
    return Pictures(stored, members.labels, report, draw=stored.draw, near=near)


def _is_too_large(source: Source, form: Form) -> bool:
    """Whether shards are streamed, by the room that their decoded pictures would need."""
    own = source.shards.channels if source.shards is not None else None
    return _decoded(source, form, own or 3) > gigabytes("HASAMA_STREAM_GB", STREAM_GB)


def _decoded(source: Source, form: Form, channels: int) -> int:
    """Bytes of a source's pictures at the form's size; `channels` where the form leaves them to the pictures."""
    channels = CHANNELS.get(form.colour, channels)
    return len(source.entries) * int(np.prod(form.resolution)) * channels


def _check_room(place: Path, wanted: int) -> None:
    """Better now than after an hour of reading."""
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise HasamaError(
            f"At this size the pictures take at least {wanted / 1e9:.3g} GB in the cache, and {place} has "
            f"{free / 1e9:.3g} GB left: choose a smaller --size, or name another place by HASAMA_CACHE."
        )


def same_pictures(one: Pictures, other: Pictures) -> bool:
    """Whether the pixels and the classes are the same, in the same order, wherever the files come from."""
    if one.report.digest != other.report.digest or one.classes != other.classes:
        return False
    return one.labels is other.labels or np.array_equal(one.labels, other.labels)  # type: ignore[arg-type]


def share_pixels(one: Pictures, other: Pictures) -> None:
    """Let two caches of the same pixels be one file on the disk, where the disk can do that."""
    here, there = (cached(pictures.report.key) / "pixels.u8" for pictures in (one, other))
    with contextlib.suppress(OSError):
        if not here.samefile(there):
            link = here.with_suffix(".link")
            link.unlink(missing_ok=True)
            link.hardlink_to(there)
            link.replace(here)


def cached(key: str) -> Path:
    """The cache's folder for a key."""
    return cache_folder() / "pictures" / key


def _key(source: Source, form: Form, streamed: bool) -> str:
    wanted = form[:-1]  # without `only` as it was typed: source.only says what it means
    readable = find_spec("pillow_heif") and any(name.lower().endswith(HEIF_ENDINGS) for name in _names(source))
    readers = ["heif"] if readable else []
    if streamed and source.shards is not None:
        tars = [(*shard.tar, stamp_of(Path(shard.tar.place))) for shard in source.shards.shards]
        told = json.dumps([LAYOUT, "streamed", digest_of(source.shards), tars, wanted, *source.only, *readers])
    else:
        listing = [(entry.name, entry.label, entry.stamp) for entry in source.entries]
        told = json.dumps([LAYOUT, source.crops, wanted, listing, *source.only, *readers], ensure_ascii=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _names(source: Source) -> Iterator[str]:
    """Of its files; what is in shards that Hasama wrote has none."""
    if source.shards is not None:
        return (name for shard in source.shards.shards for name in shard.names)
    return (entry.name for entry in source.entries)


def _whole(folder: Path) -> dict | None:
    """What `about.json` says, if the cache is whole."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if _report(about).streamed:
            return about if len(Members.load(folder).shards) == about["report"]["used"] else None
        right_size = (folder / "pixels.u8").stat().st_size == int(np.prod(about["shape"]))
        right_labels = about["labels"] is None or len(about["labels"]) == about["shape"][0]
        return about if right_size and right_labels and _report(about) else None
    except (OSError, ValueError, LookupError, TypeError, BadZipFile):
        return None


def _report(about: dict) -> Report:
    return Report(**{**about["report"], "resolution": tuple(about["report"]["resolution"])})


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """A folder under another name that gets its own when all has gone well. The caller holds the lock."""
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _corners(shape: tuple[int, ...], report: Report) -> np.ndarray:
    """The same random corners [N, 2] whenever the same picture is opened."""
    height, width = report.resolution
    rng = np.random.Generator(np.random.Philox(key=0))
    highest = (shape[1] - height + 1, shape[2] - width + 1)
    return rng.integers((0, 0), highest, size=(report.crops, 2))
