"""A source decoded into a cache: two parallel passes over its files, headers first, then pixels."""

import collections
import concurrent.futures
import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.depth import Extremes, Ranges, choose_ranges, depth_of
from hasama.pictures.formats import UNPACK
from hasama.pictures.images import fit_picture, has_alpha, is_grey, prepared
from hasama.pictures.opening import LARGEST_PICTURE, passes, why
from hasama.pictures.report import CROPS_MOST, DARK, DeepFiles, Report
from hasama.pictures.shards.index import NO_CLASS, ShardError
from hasama.pictures.shards.members import COLOURS, Members, members_of
from hasama.pictures.shards.tars import NO_LABEL, digest_of
from hasama.pictures.sources.entries import Entry, Source
from hasama.recipe import Colour, Fit, Recipe

A = TypeVar("A")
B = TypeVar("B")

CROP_SHARE = 3  # a single picture's shorter side holds about three crops, so that each shows a part of the whole


CHANNELS = {"grey": 1, "rgb": 3, "rgba": 4}
"""Of each colour but `auto`, which goes by the pictures."""


class Form(NamedTuple):
    """The form that pictures are brought to; see the fields of the same names in `Recipe`."""

    resolution: tuple[int, int]
    fit: Fit = "crop"
    colour: Colour = "auto"
    labels: bool = False
    only: str = ""

    @classmethod
    def of(cls, recipe: Recipe) -> "Form":
        """What a recipe asks of its pictures."""
        return cls(recipe.resolution, recipe.fit, recipe.colour, recipe.labels, recipe.only)


class Scan(NamedTuple):
    """How far the reading of a source is: files done, of how many, what is being done."""

    done: int
    total: int
    stage: str


class Look(NamedTuple):
    """What a file's header says: 'grey', 'alpha' or 'rgb'; and its extreme values if it has more than 8 bits."""

    colour: str
    extremes: Extremes | None = None


def decode(source: Source, form: Form, key: str, folder: Path) -> Iterator[Scan]:
    """Two parallel passes over the source into a cache's folder.

    The first looks at the headers, and at the values of files of more than 8 bits: which colours are there, and which
    range have the values? The second decodes.

    Raises:
        HasamaError: no picture can be used.
    """
    report = Report(source.description, len(source.entries), 0, form.resolution, 0, form.fit, key, note=source.note)
    if source.shards:
        report.skipped |= source.shards.skipped
    found = yield from _look_at_all(source, form, report)
    kept = [entry for entry, look in zip(source.entries, found, strict=True) if look is not None]
    looks = [look for look in found if look is not None]
    _choose_channels(form.colour, looks, report)
    ranges = _ranges(looks, report)

    decode = _or_reason(lambda entry: _decode(entry, form, report.channels, source.crops, ranges))
    shape: tuple[int, ...] = (0, 0, 0, 0)
    used: list[Entry] = []
    with (folder / "pixels.u8").open("wb") as file:
        seen = _Seen()
        for done, (entry, pixels, reason) in enumerate(_in_parallel(decode, kept), 1):
            if pixels is not None:
                seen.add(entry.name, pixels)
                used.append(entry)
                shape = (len(used), *pixels.shape)
                file.write(pixels.tobytes())
            else:
                report.skipped[entry.name] = _reason(reason, source)
            yield Scan(done, len(kept), "decoding")
        _settle(file)
    seen.tell(report)
    if not used:
        raise HasamaError(f"No picture in {source.description} can be used:\n{report.text()}")
    if len(seen.names) == 1 and source.folder:
        report.only = str(source.folder / used[0].name)
    labels = _number_labels(used, report, form.labels)
    if source.crops:
        report.crops = min(CROPS_MOST, (shape[1] - form.resolution[0] + 1) * (shape[2] - form.resolution[1] + 1))
    with (folder / "about.json").open("w", encoding="utf-8") as file:
        json.dump({"shape": shape, "labels": labels, "report": asdict(report)}, file)
        _settle(file)


def survey(source: Source, form: Form, key: str, folder: Path) -> Iterator[Scan]:
    """What streaming needs to know of shards, into a cache's folder: what is where, which colours and classes.

    Of shards that Hasama wrote, nothing is read for it; of others the pictures' headers. Nothing is decoded, but for
    files of more than 8 bits.

    Raises:
        HasamaError: no picture can be used.
    """
    shards = source.shards
    assert shards is not None
    report = Report(source.description, len(source.entries), 0, form.resolution, 0, form.fit, key, note=source.note)
    report.streamed, report.skipped = len(shards.shards), dict(shards.skipped)
    members, looks = yield from _usable(source, form, report)
    if not len(members.shards):
        raise HasamaError(f"No picture in {source.description} can be used:\n{report.text()}")
    report.used = len(members.shards)
    _choose_channels(form.colour, looks, report)
    _ranges(looks, report)
    members, report.classes = members.numbered(shards.classes, _by_number) if form.labels else (members.bare(), {})
    report.digest = members.digest(json.dumps([digest_of(shards), form[:-1], source.only, report.channels]))
    members.save(folder)
    with (folder / "about.json").open("w", encoding="utf-8") as file:
        json.dump({"tars": [shard.tar for shard in shards.shards], "report": asdict(report)}, file)
        _settle(file)


def _usable(source: Source, form: Form, report: Report) -> Generator[Scan, None, tuple[Members, list[Look]]]:
    """The pictures of shards that can be used, and what is known of their headers."""
    assert source.shards is not None
    members = members_of(source.shards, source.only)
    if source.shards.channels is None:
        found = yield from _look_at_all(source, form, report)
        return members.some(np.array([look is not None for look in found])), [look for look in found if look]
    yield Scan(len(members.shards), len(members.shards), "looking")
    if form.labels:
        labelled = members.labels != NO_CLASS
        for number in np.flatnonzero(~labelled).tolist():
            report.skipped[source.entries[number].name] = f"without a class ({NO_LABEL})"
        members = members.some(labelled)
    return members, [Look(COLOURS[source.shards.channels])]


def _look_at_all(source: Source, form: Form, report: Report) -> Generator[Scan, None, list[Look | None]]:
    """The first pass: what each header says; None for a file that is skipped."""
    looks: list[Look | None] = []
    peek = _or_reason(lambda entry: _look(entry, form))
    for done, (entry, look, reason) in enumerate(_in_parallel(peek, source.entries), 1):
        looks.append(look)
        if look is None:
            report.skipped[entry.name] = _reason(reason, source)
        yield Scan(done, len(source.entries), "looking")
    return looks


def _reason(reason: str, source: Source) -> str:
    """Why a file is skipped; an archive among the files is told as what it is there."""
    if not reason.startswith("an archive ("):
        return reason
    return f"an archive inside the {'folder' if source.folder else 'archive'}: {UNPACK}"


def _ranges(looks: list[Look], report: Report) -> Ranges:
    """One range for all files of a depth; told in the report."""
    chosen = choose_ranges(look.extremes for look in looks if look.extremes is not None)
    for depth, (one, ends, files) in chosen.items():
        lowest, highest = (ends.lowest, ends.highest) if ends.lowest <= ends.highest else (0.0, 0.0)
        report.ranges[depth] = DeepFiles(
            files=files, lowest=lowest, highest=highest, black=one.black, white=one.white
        )
    return {depth: one for depth, (one, _, _) in chosen.items()}


def _settle(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _or_reason(work: Callable[[Entry], A]) -> Callable[[Entry], tuple[Entry, A | None, str]]:
    """Turn the errors of one entry into the reason why it is skipped; what may pass is none, for caches keep them."""

    def attempt(entry: Entry) -> tuple[Entry, A | None, str]:
        try:
            return entry, work(entry), ""
        except ShardError:
            raise
        except Exception as error:  # decoders of broken files raise nearly everything
            if passes(error):
                raise HasamaError(
                    f"{entry.name} cannot be read now ({why(error)}). That may pass, so nothing was decided without "
                    "it: give the command again, or take the file away."
                ) from error
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


def _look(entry: Entry, form: Form) -> Look:
    """From the header alone, but for files of more than 8 bits."""
    picture = entry.peek()
    if form.labels and entry.label is None:
        raise HasamaError(f"without a class ({entry.unlabelled})")
    colour = "alpha" if has_alpha(picture) else "grey" if is_grey(picture) else "rgb"
    return Look(colour, entry.extremes() if depth_of(picture) else None)


def _choose_channels(colour: Colour, looks: list[Look], report: Report) -> None:
    """How many channels the networks will see. auto: RGBA if most pictures have alpha, grey if all are grey."""
    if colour != "auto":
        report.channels = CHANNELS[colour]
        return
    count = collections.Counter(look.colour for look in looks)
    if 2 * count["alpha"] > len(looks):
        report.channels = 4
        return
    report.channels = 1 if count["grey"] == len(looks) else 3
    if count["alpha"]:
        told = f"{count['alpha']} of {len(looks)} can be transparent, and lie on white here: --colour rgba keeps it."
        report.note = f"{report.note} {told}".strip()


def _decode(entry: Entry, form: Form, channels: int, crops: bool, ranges: Ranges) -> np.ndarray:
    """One picture as uint8 [H, W, C]."""
    picture = entry.open(None if crops else max(form.resolution), ranges)
    if crops:
        picture = _large_enough(picture, form.resolution)
    return prepared(picture, channels, None if crops else form.resolution, form.fit)


def _large_enough(picture: Image.Image, resolution: tuple[int, int]) -> Image.Image:
    """Scale a single picture so that crops of `resolution` fit into it and each shows a good part of it."""
    height, width = resolution
    room = min(picture.width / width, picture.height / height)
    scale = 1 / room if room < 1 else min(1.0, CROP_SHARE / room)
    size = max(height, round(picture.height * scale)), max(width, round(picture.width * scale))
    if size[0] * size[1] > LARGEST_PICTURE:
        raise HasamaError(f"too narrow ({picture.width}x{picture.height} pixels)")
    return fit_picture(picture, size, "stretch")


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


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """What is seen of uint8 [H, W, C] on a white page: black drawings on nothing are not dark."""
    if pixels.shape[-1] < 4:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return (pixels[..., :3] * alpha + 255 * (255 - alpha)) // 255


class _Seen:
    """What is told of all pixels together: their digest, which pictures are the same, and how bright they are."""

    def __init__(self) -> None:
        self.names: dict[bytes, list[str]] = {}
        self.all = hashlib.blake2b(digest_size=16)
        self.dark = self.brightest = 0

    def add(self, name: str, pixels: np.ndarray) -> None:
        own = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        self.all.update(own)
        self.names.setdefault(own, []).append(name)
        highest = int(_on_white(pixels).max())
        self.dark += highest <= DARK
        self.brightest = max(self.brightest, highest)

    def tell(self, report: Report) -> None:
        groups = list(self.names.values())
        report.used, report.digest = sum(map(len, groups)), self.all.hexdigest()
        report.duplicates = [group for group in groups if len(group) > 1]
        report.dark, report.brightest = self.dark, self.brightest
