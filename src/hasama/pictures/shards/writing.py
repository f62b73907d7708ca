"""Pictures written as shards: `shard-000000.tar`, ... and `shards.json`, under their names only when all is there.

The pictures come in a random order that is always the same, so that each shard is a sample of all. The number of
shards is a power of two, or a multiple of 64, so that lanes (`shards.order`) consist of whole shards.
"""

import io
import itertools
import json
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from hasama.errors import HasamaError
from hasama.files import cannot_write, read_json, remove_leftovers, replacing, sha256_of, write_json
from hasama.names import fitting_name
from hasama.pictures.dataset import Pictures
from hasama.pictures.shards.index import NAME, NO_CLASS, Shard, Shards, Tar, as_json
from hasama.pictures.shards.plain_png import to_plain_png

BLOCK = 512
"""Bytes of a header in a tar; contents are rounded up to as many."""
TRIED = 64
"""Pictures that are written to see how large a shard would be."""
AT_ONCE = 64
MOST_MB = 100_000
EVEN = 64
PLAN = "plan.json"


class Writing(NamedTuple):
    """How far the writing of shards is: pictures done, of how many, and what is being done."""

    done: int
    total: int
    stage: str = "shards"


def check_shards(out: Path, megabytes: float) -> None:
    """Before any work.

    Raises:
        HasamaError: there is something at that place already, it has no name of its own, or no shard is so large.
    """
    if not out.name or out.name == "..":
        raise HasamaError(f"{out}: shards go into a new folder. Name one, such as {out / 'shards'}.")
    if not 0 < megabytes <= MOST_MB:
        raise HasamaError(f"--shard-mb takes more than 0 and at most {MOST_MB}; got {megabytes:g}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HasamaError(f"{out} is there already: choose another place for the shards, or delete it.")
    if out.is_mount():  # whose name nothing that is written beside it can get
        raise HasamaError(f"{out} is where a disk is mounted: name a folder within it, such as {out / 'shards'}.")


def write_shards(pictures: Pictures, out: Path, megabytes: float = 64.0) -> Iterator[Writing]:
    """Write pictures into shards of about so many megabytes; what was begun and killed is gone on with.

    Args:
        pictures: all that are to be written.
        out: the folder, which does not exist yet, or is empty.
        megabytes: of a shard, between 0.7 and 1.4 times as many.

    Yields:
        How far it is.

    Raises:
        HasamaError: the folder holds something, or cannot be written to.
    """
    check_shards(out, megabytes)
    unfinished = out.with_name(fitting_name(f".{out.name}", ".unfinished"))
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(unfinished.with_suffix(".lock")):
            check_shards(out, megabytes)  # another process may have written them while this one waited
            yield from _write(pictures, unfinished, out, megabytes)
        unfinished.with_suffix(".lock").unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error


def _write(pictures: Pictures, folder: Path, out: Path, megabytes: float) -> Iterator[Writing]:
    order = _order(pictures)
    bounds = _bounds(pictures, order, megabytes)
    report = pictures.report
    plan = {"digest": report.digest, "classes": report.classes, "bounds": bounds.tolist()}
    if not (folder / PLAN).exists() or read_json(folder / PLAN, "plan of shards") != plan:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_json(folder / PLAN, plan)
    remove_leftovers(folder)
    written = []
    for number, (first, end) in enumerate(itertools.pairwise(bounds.tolist())):
        path = folder / f"shard-{number:06d}.tar"
        if not path.exists():
            with replacing(path) as temporary:
                yield from _write_one(pictures, order[first:end], first, temporary)
        written.append(_shard(path, None if pictures.labels is None else pictures.labels[order[first:end]]))
        yield Writing(end, len(order))
    shards = Shards(written, pictures.classes, report.resolution, report.channels)
    with replacing(folder / NAME) as temporary:
        temporary.write_text(as_json(shards, source=report.source, fit=report.fit), encoding="utf-8")
    try:
        if out.exists():
            out.rmdir()  # it was empty
        folder.rename(out)
    except OSError as error:
        raise HasamaError(
            f"All shards are written, but {out} cannot be made of them: {error.strerror or error}. They are in "
            f"{folder}: take away what is in the way, and give the command again."
        ) from error
    (out / PLAN).unlink()


def _order(pictures: Pictures) -> np.ndarray:
    """At random; but what lies on a server can only be read as it comes."""
    if pictures.at_hand < len(pictures):
        return np.arange(len(pictures))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 3)))).permutation(len(pictures))


def _bounds(pictures: Pictures, order: np.ndarray, megabytes: float) -> np.ndarray:
    """Where shards begin and end in the order: all of nearly the same number of pictures."""
    tried = pictures.take(order[:TRIED])
    beside = 4 * BLOCK if pictures.labels is not None else 0
    each = np.mean([BLOCK + _rounded(len(to_plain_png(one))) + beside for one in tried])
    wanted = len(order) * each / (megabytes * 1e6)
    even = 2 ** round(np.log2(max(1.0, wanted))) if wanted <= EVEN else round(wanted / EVEN) * EVEN
    count = min(even, len(order))
    return np.arange(count + 1) * len(order) // count


def _write_one(pictures: Pictures, numbers: np.ndarray, first: int, path: Path) -> Iterator[Writing]:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive, ThreadPoolExecutor() as pool:
        for at in range(0, len(numbers), AT_ONCE):
            some = numbers[at : at + AT_ONCE]
            for key, (number, png) in enumerate(
                zip(some.tolist(), pool.map(to_plain_png, pictures.take(some)), strict=True), first + at
            ):
                _add(archive, f"{key:09d}.png", png)
                if pictures.labels is not None:
                    label = int(pictures.labels[number])
                    told = {"class": pictures.classes[label], "label": label}
                    _add(archive, f"{key:09d}.cls", str(label).encode())
                    _add(archive, f"{key:09d}.json", json.dumps(told).encode())
            yield Writing(first + at + len(some), len(pictures))


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file without a time or an owner: the same pictures make the same shards."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _shard(path: Path, labels: np.ndarray | None) -> Shard:
    """What is in a shard that was written, now or before a kill."""
    with tarfile.open(path, "r:") as archive:
        found = [(info.offset_data, info.size) for info in archive if info.name.endswith(".png")]
    starts, sizes = np.array(found, np.int64).reshape(-1, 2).T
    labels = np.full(len(found), NO_CLASS) if labels is None else labels
    return Shard(Tar(str(path), path.stat().st_size, sha256_of(path)), starts, sizes, labels)


def _rounded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
