"""Pictures ready to train on: decoded once into a memory map, then served in seeded, endless batches.

The cache holds `pixels.u8`, uint8 [N, H, W, C] without a header, and `about.json`, the report. A folder
with both under its final name is whole: it is built under another name and renamed at the end.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from filelock import FileLock
from PIL import Image

from hasama.download import cache_folder
from hasama.errors import HasamaError
from hasama.files import cannot_write
from hasama.images import LARGEST_PICTURE, MODES, as_channels, fit_picture, has_alpha, is_grey, to_images, why
from hasama.recipe import Colour, Fit, Recipe
from hasama.shapes import Images, Labels, Pixels
from hasama.sources import Entry, Source, open_source

A = TypeVar("A")
B = TypeVar("B")

LAYOUT = 1
"""Version of the cache's layout; part of every key, so that an older cache is simply not found."""

CROPS_MOST = 20_000
CROP_SHARE = 3  # a single picture's shorter side holds about three crops, so that each shows a part of the whole


class Form(NamedTuple):
    """The form that pictures are brought to; see the fields of the same names in `Recipe`."""

    resolution: tuple[int, int]
    fit: Fit = "crop"
    colour: Colour = "auto"
    labels: bool = False

    @classmethod
    def of(cls, recipe: Recipe) -> "Form":
        """What a recipe asks of its pictures."""
        return cls(recipe.resolution, recipe.fit, recipe.colour, recipe.labels)


class Scan(NamedTuple):
    """How far the reading of a source is: files done, of how many, what is being done."""

    done: int
    total: int
    stage: str


@dataclass
class Report:
    """What a scan found, in the words of `images.json`."""

    source: str
    found: int
    used: int
    resolution: tuple[int, int]
    channels: int
    fit: str
    key: str
    digest: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    crops: int = 0

    @property
    def copies(self) -> int:
        """How many pictures are there a second time, or more often."""
        return sum(len(group) - 1 for group in self.duplicates)

    def text(self) -> str:
        """The report for a person."""
        height, width = self.resolution
        colour = {1: "grey", 3: "RGB", 4: "RGBA"}[self.channels]
        lines = [f"{self.source}: {self.found} files, {self.used} pictures, {len(self.skipped)} skipped"]
        how = f"cut from it as {self.crops} random crops" if self.crops else f"fit by {self.fit}"
        lines.append(f"  form        {width} wide, {height} high, {colour}, {how}")
        by_reason = collections.defaultdict(list)
        for name, reason in self.skipped.items():
            by_reason[reason].append(name)
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            lines.append(f"  skipped     {len(names)} {reason}: {_few(names)}")
        if self.duplicates:
            lines.append(f"  duplicates  {self.copies} (kept), such as {_few(self.duplicates[0], 3, ' = ')}")
        if self.classes:
            lines.append("  classes     " + ", ".join(f"{name} ({count})" for name, count in self.classes.items()))
        return "\n".join(lines)


def _few(names: list[str], most: int = 5, between: str = ", ") -> str:
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures. `take(indices)` reads some of them as uint8 [n, H, W, C].

    `stored` is the cache's memory map; for a single picture it holds that one, and `corners` [N, 2] are
    the top left corners (y, x) of the crops. `chosen` are the numbers of those that these are, if not all.
    """

    stored: np.ndarray
    labels: np.ndarray | None
    report: Report
    corners: np.ndarray | None = None
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        if self.chosen is not None:
            return len(self.chosen)
        return len(self.stored if self.corners is None else self.corners)

    def take(self, indices: np.ndarray) -> Pixels:
        """The pictures of these numbers, 0 to len - 1, as a copy."""
        if self.chosen is not None:
            indices = self.chosen[indices]
        if self.corners is None:
            return np.asarray(self.stored[indices])
        height, width = self.report.resolution
        return np.stack([self.stored[0, y : y + height, x : x + width] for y, x in self.corners[indices]])

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the labels."""
        return tuple(self.report.classes)


HELD_MOST, HELD_LEAST = 256, 20


def hold_back(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures | None]:
    """The pictures to train on, and those to keep back: a random share of them, at most 256.

    None are kept back where they would be fewer than 20, which tell nothing, or are crops of one picture, which
    overlap.
    """
    count = min(HELD_MOST, int(share * len(pictures)))
    if count < HELD_LEAST or pictures.corners is not None:
        return pictures, None
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1)))).permutation(len(pictures))
    return _some_of(pictures, np.sort(order[count:])), _some_of(pictures, np.sort(order[:count]))


def _some_of(pictures: Pictures, numbers: np.ndarray) -> Pictures:
    labels = None if pictures.labels is None else pictures.labels[numbers]
    return dataclasses.replace(pictures, labels=labels, chosen=numbers)


# --- the cache ------------------------------------------------------------------------------------


def open_pictures(source: str, recipe: Recipe) -> Pictures:
    """The pictures of a source in the form that a recipe asks for, from the cache or by a scan.

    Args:
        source: a folder, zip, .npz or picture, or one of the built-in names.
        recipe: its size, fit, colour and labels count here.

    Raises:
        HasamaError: there is nothing there, nothing that can be used, or no room for the cache.
    """
    reading = Reading(source, Form.of(recipe))
    deque(reading.scan(), maxlen=0)
    return reading.pictures()


class Reading:
    """A source on its way into the cache: consume `scan()`, then ask for `pictures()`."""

    def __init__(self, source: str, form: Form) -> None:
        self.source = open_source(source)
        self.form = form
        self.key = _key(self.source, form)

    def scan(self) -> Iterator[Scan]:
        """Decode the source into the cache, unless it is there already; one record per file.

        Safe when several processes start at once: one scans, the others wait for it.
        """
        folder = cached(self.key)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if _whole(folder) is None:
                    with _building(folder) as unfinished:
                        yield from _write(self.source, self.form, self.key, unfinished)
        except OSError as error:
            hint = HasamaError(f"{cannot_write(folder, error)} HASAMA_CACHE names another place for the cache.")
            raise hint from error

    def pictures(self) -> Pictures:
        """The pictures, once `scan` has run to its end."""
        pictures = open_cached(self.key)
        if pictures is None:
            raise HasamaError(f"The cache {cached(self.key)} vanished while it was being used; start again.")
        return pictures


def open_cached(key: str) -> Pictures | None:
    """The pictures that the cache keeps under a key; None if there are none, or not all of them."""
    about = _whole(cached(key))
    if about is None:
        return None
    report = _report(about)
    shape = tuple(about["shape"])
    stored = np.memmap(cached(key) / "pixels.u8", np.uint8, mode="r", shape=shape)
    labels = None if about["labels"] is None else np.asarray(about["labels"], np.int64)
    corners = _corners(shape, report) if report.crops else None
    return Pictures(stored, labels, report, corners)


def cached(key: str) -> Path:
    """The cache's folder for a key."""
    return cache_folder() / "pictures" / key


def _key(source: Source, form: Form) -> str:
    listing = [(entry.name, entry.label, entry.stamp) for entry in source.entries]
    told = json.dumps([LAYOUT, source.crops, form, listing], ensure_ascii=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _whole(folder: Path) -> dict | None:
    """What `about.json` says, if the cache is whole."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        right_size = (folder / "pixels.u8").stat().st_size == int(np.prod(about["shape"]))
        right_labels = about["labels"] is None or len(about["labels"]) == about["shape"][0]
        return about if right_size and right_labels and _report(about) else None
    except (OSError, ValueError, LookupError, TypeError):
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


def _write(source: Source, form: Form, key: str, folder: Path) -> Iterator[Scan]:
    """Two parallel passes over the source: headers (which colours are there?), then pixels."""
    total = len(source.entries)
    report = Report(source.description, total, 0, form.resolution, 0, form.fit, key)
    kept: list[Entry] = []
    looks: list[str] = []
    peek = _or_reason(lambda entry: _look(entry, form))
    for done, (entry, look, reason) in enumerate(_in_parallel(peek, source.entries), 1):
        if look is not None:
            kept.append(entry)
            looks.append(look)
        else:
            report.skipped[entry.name] = reason
        yield Scan(done, total, "looking")
    report.channels = _channels(form.colour, looks)

    decode = _or_reason(lambda entry: _decode(entry, form, report.channels, source.crops))
    shape: tuple[int, ...] = (0, 0, 0, 0)
    used: list[Entry] = []
    with (folder / "pixels.u8").open("wb") as file:
        same = _SameBytes()
        for done, (entry, pixels, reason) in enumerate(_in_parallel(decode, kept), 1):
            if pixels is not None:
                same.add(entry.name, pixels)
                used.append(entry)
                shape = (len(used), *pixels.shape)
                file.write(pixels.tobytes())
            else:
                report.skipped[entry.name] = reason
            yield Scan(done, len(kept), "decoding")
        _settle(file)
    report.used = len(used)
    if not used:
        raise HasamaError(f"No picture in {source.description} can be used:\n{report.text()}")
    report.digest, report.duplicates = same.digest(), same.groups()
    labels = _number_labels(used, report, form.labels)
    if source.crops:
        report.crops = min(CROPS_MOST, (shape[1] - form.resolution[0] + 1) * (shape[2] - form.resolution[1] + 1))
    with (folder / "about.json").open("w", encoding="utf-8") as file:
        json.dump({"shape": shape, "labels": labels, "report": asdict(report)}, file)
        _settle(file)


def _settle(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _or_reason(work: Callable[[Entry], A]) -> Callable[[Entry], tuple[Entry, A | None, str]]:
    """Turn the errors of one entry into the reason why it is skipped."""

    def attempt(entry: Entry) -> tuple[Entry, A | None, str]:
        try:
            return entry, work(entry), ""
        except Exception as error:  # decoders of broken files raise nearly everything
            return entry, None, why(error)

    return attempt


def _in_parallel(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Map in threads (Pillow lets go of the interpreter's lock), in order, only a little ahead of the consumer."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting = iter(items)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(work, item) for item in itertools.islice(waiting, 4 * threads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(work, item) for item in itertools.islice(waiting, 1))


def _look(entry: Entry, form: Form) -> str:
    """'grey', 'alpha' or 'rgb', from the header alone."""
    if form.labels and entry.label is None:
        raise HasamaError("without a class (in no sub-folder)")
    if form.colour != "auto":
        return form.colour
    picture = entry.peek()
    return "alpha" if has_alpha(picture) else "grey" if is_grey(picture) else "rgb"


def _channels(colour: Colour, looks: list[str]) -> int:
    """How many channels the networks will see. auto: RGBA if most pictures have alpha, grey if all are grey."""
    if colour != "auto":
        return {"grey": 1, "rgb": 3, "rgba": 4}[colour]
    if 2 * looks.count("alpha") > len(looks):
        return 4
    return 1 if looks.count("grey") == len(looks) else 3


def _decode(entry: Entry, form: Form, channels: int, crops: bool) -> np.ndarray:
    """One picture as uint8 [H, W, C]."""
    picture = _large_enough(entry.open(None), form.resolution) if crops else entry.open(max(form.resolution))
    picture = as_channels(picture, channels)
    if not crops:
        picture = fit_picture(picture, form.resolution, form.fit)
    return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, len(MODES[channels]))


def _large_enough(picture: Image.Image, resolution: tuple[int, int]) -> Image.Image:
    """Scale a single picture so that crops of `resolution` fit into it and each shows a good part of it."""
    height, width = resolution
    room = min(picture.width / width, picture.height / height)
    scale = 1 / room if room < 1 else min(1.0, CROP_SHARE / room)
    size = max(height, round(picture.height * scale)), max(width, round(picture.width * scale))
    if size[0] * size[1] > LARGEST_PICTURE:
        raise HasamaError(f"too narrow ({picture.width}x{picture.height} pixels)")
    return fit_picture(picture, size, "stretch")


def _corners(shape: tuple[int, ...], report: Report) -> np.ndarray:
    """The same random corners [N, 2] whenever the same picture is opened."""
    height, width = report.resolution
    rng = np.random.Generator(np.random.Philox(key=0))
    highest = (shape[1] - height + 1, shape[2] - width + 1)
    return rng.integers((0, 0), highest, size=(report.crops, 2))


def _number_labels(used: list[Entry], report: Report, wanted: bool) -> list[int] | None:
    """Number the classes by name and count them; None where they are not wanted."""
    if not wanted:
        return None
    count = collections.Counter(str(entry.label) for entry in used)
    report.classes = {name: count[name] for name in sorted(count, key=_by_number)}
    numbers = {name: number for number, name in enumerate(report.classes)}
    return [numbers[str(entry.label)] for entry in used]


def _by_number(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)


class _SameBytes:
    """A digest of all pixels in order, and the groups of pictures whose pixels are the same."""

    def __init__(self) -> None:
        self.names: dict[bytes, list[str]] = {}
        self.all = hashlib.blake2b(digest_size=16)

    def add(self, name: str, pixels: np.ndarray) -> None:
        own = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        self.all.update(own)
        self.names.setdefault(own, []).append(name)

    def digest(self) -> str:
        return self.all.hexdigest()

    def groups(self) -> list[list[str]]:
        return [names for names in self.names.values() if len(names) > 1]


# --- batches --------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Real images [n, C, H, W] in [-1, 1], and their labels [n] where there are classes."""

    images: Images
    labels: Labels | None = None


def batches(
    pictures: Pictures,
    batch: int,
    seed: int,
    start: int = 0,
    mirror: bool = False,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Endless batches whose order is a function of (seed, epoch), from any starting image.

    Args:
        pictures: what to draw from; each epoch shows every picture once, and batches run on across epochs.
        batch: pictures per step in all processes together.
        seed: together with the epoch's number, decides the order and who is mirrored.
        start: how many images were seen before.
        mirror: flip each picture left to right with probability one half.
        device: where the tensors are put.
        rank: which of `world` processes this one is; it gets every `world`-th picture of each batch.
        world: number of processes.
    """
    epochs = _Epochs(len(pictures), seed)
    for first in itertools.count(start, batch):
        indices, flips = epochs.at(np.arange(first + rank, first + batch, world))
        pixels = pictures.take(indices)
        if mirror:
            pixels[flips] = pixels[flips, :, ::-1]
        labels = None if pictures.labels is None else torch.from_numpy(pictures.labels[indices]).to(device)
        yield Batch(to_images(pixels, device), labels)


class _Epochs:
    """The picture's number and its flip at every position of an endless sequence of shuffled epochs."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, -1

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epochs, places = np.divmod(positions, self.count)
        indices, flips = np.empty_like(positions), np.empty(positions.shape, bool)
        for epoch in np.unique(epochs):
            self._shuffle(int(epoch))
            here = epochs == epoch
            indices[here], flips[here] = self.order[places[here]], self.flips[places[here]]
        return indices, flips

    def _shuffle(self, epoch: int) -> None:
        if epoch != self.epoch:
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch))))
            self.epoch, self.order, self.flips = epoch, rng.permutation(self.count), rng.random(self.count) < 0.5
