"""hasama images: what there is to train on, a preview of it, and the same as shards."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hasama.cli.arguments import name_of, tell_room
from hasama.errors import HasamaError
from hasama.names import SPARE, at_home, check_name, fitting_name
from hasama.recipe import Recipe

if TYPE_CHECKING:
    from hasama.pictures.dataset import Pictures

SHARD_MB = 64.0


def images(
    source: str,
    /,
    *,
    size: str = "64",
    fit: str = "crop",
    colour: str = "auto",
    labels: bool = False,
    only: str = "",
    out: Path | None = None,
    shards: Path | None = None,
    shard_mb: float | None = None,
) -> int:
    """Read pictures as training would: report what is there, and save a preview grid, or all of them as shards.

    Parameters
    ----------
    source
        A folder, a zip or tar, an .npz, a Parquet file, one picture, shards, or a built-in name.
    size
        64, or WIDTHxHEIGHT such as 64x96.
    fit
        crop, pad or stretch.
    colour
        auto, grey, rgb or rgba.
    labels
        Also read the classes.
    only
        Read these classes only: their names, with commas between.
    out
        The preview grid. Default: SOURCE-preview.png here; with --shards none.
    shards
        Also write the pictures, as training would see them, into this new folder, as WebDataset shards: tars of PNG
        files, and shards.json. Such a folder, here or on a server, is a source for training that need not fit into
        the cache.
    shard_mb
        Megabytes of a shard, about. Default: 64.
    """
    from hasama.cli.progress import watch_download, watch_scan
    from hasama.cli.terminal import say

    form = Recipe(size=size, fit=fit, colour=colour, labels=labels, only=only)  # pyright: ignore[reportArgumentType]
    if shard_mb is not None and shards is None:
        raise HasamaError("--shard-mb is the size of what --shards writes: name a folder for the shards, too.")
    shard_mb = SHARD_MB if shard_mb is None else shard_mb
    preview = out or (None if shards else _preview_place(source))

    from hasama.files import check_place
    from hasama.pictures.cache import Reading
    from hasama.pictures.decoding import Form
    from hasama.pictures.images import picture_format
    from hasama.pictures.shards.writing import check_shards
    from hasama.pictures.sources.sources import download_first

    if preview is not None:
        check_name(preview)
        picture_format(preview)
        _check_apart(preview, source)
        if shards is not None and preview.resolve().is_relative_to(shards.resolve()):
            raise HasamaError(f"{preview} lies in the folder of the shards: choose another --out.")
        check_place(preview)
    if shards is not None:
        check_name(shards)
        check_shards(shards, shard_mb)
    watch_download(download_first(source))
    reading = Reading(source, Form.of(form))
    tell_room(reading)
    watch_scan(reading.scan())
    pictures = reading.pictures()
    if preview is not None:
        _save_preview(pictures, preview)
    say(pictures.report.text() + (f"\n  preview     {preview}" if preview else ""))
    for warning in pictures.report.warnings():
        say(warning, "yellow")
    if shards is not None:
        _write_shards(pictures, shards, shard_mb)
    return 0


def _check_apart(preview: Path, source: str) -> None:
    """Before any work: no picture of the source is replaced by the preview.

    Raises:
        HasamaError: the preview is one of them, or the source itself.
    """
    try:
        place, there = preview.resolve(), at_home(source).resolve()
    except (OSError, RuntimeError):
        return  # the source will be refused
    if place == there or (preview.exists() and there.is_dir() and place.is_relative_to(there)):
        raise HasamaError(f"{preview} is a picture of {source}, and would be replaced: choose another --out.")


def _save_preview(pictures: "Pictures", place: Path) -> None:
    import numpy as np

    from hasama.pictures.images import grid, save_picture

    shown = np.random.default_rng(0).permutation(pictures.at_hand)[:64]
    save_picture(grid(pictures.take(np.sort(shown))), place)


def _write_shards(pictures: "Pictures", folder: Path, megabytes: float) -> None:
    from hasama.cli.progress import watch_scan
    from hasama.cli.terminal import say
    from hasama.pictures.shards.writing import write_shards

    watch_scan(write_shards(pictures, folder, megabytes))
    sizes = [path.stat().st_size for path in folder.glob("*.tar")]
    say(
        f"  shards      {folder}: {len(sizes)} of about {sum(sizes) / len(sizes) / 1e6:.3g} MB\n"
        f"To train on them:  hasama train {shlex.quote(str(folder))}"
    )


def _preview_place(source: str) -> Path:
    """Here; or beside the source where here is inside of it, or the preview would be one of its pictures."""
    name = fitting_name(name_of(source), "-preview.png", SPARE)
    try:
        folder = at_home(source).resolve()
        inside = folder.is_dir() and Path.cwd().is_relative_to(folder)
    except (OSError, RuntimeError):  # a loop of links, or a name too long: the source will be refused
        return Path(name)
    return folder.parent / name if inside else Path(name)
