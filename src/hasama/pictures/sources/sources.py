"""Where pictures come from: a folder, a zip or tar, arrays, tables, shards, one picture, or a built-in name.

A source is a list of entries that can each be opened by any thread; nothing is decoded here.
"""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from hasama.errors import HasamaError
from hasama.names import at_home, near_name
from hasama.pictures.formats import HEAD, ZIPS, recognise
from hasama.pictures.images import is_picture_name
from hasama.pictures.shards.index import is_address
from hasama.pictures.shards.places import Place, place_of_one, shard_place
from hasama.pictures.shards.tars import class_in_json
from hasama.pictures.sources.archives import TAR_ENDINGS, is_packed, is_tar, tar_entries, zip_entries
from hasama.pictures.sources.arrays import array_entries, as_pixels, npz_source
from hasama.pictures.sources.classes import with_classes
from hasama.pictures.sources.digits import digits
from hasama.pictures.sources.download import DOWNLOADS, DownloadProgress, download_missing, fetch
from hasama.pictures.sources.entries import Entry, Source, printable, stamp_of
from hasama.pictures.sources.parquet import table_source
from hasama.pictures.sources.sharded import index_first, is_known, shard_source
from hasama.pictures.sources.tables import tables_at


def open_source(name: str) -> Source:
    """Find out what `name` is and list it.

    Raises:
        HasamaError: there is nothing of that name, or it holds nothing.
    """
    try:
        path = at_home(name)
        shards = shard_place(name) if name else None
        exists = bool(name) and path.exists()
    except OSError as error:  # no permission, too long a name
        raise HasamaError(f"Cannot look for pictures at {name}: {error.strerror or error}.") from error
    if shards is not None:
        source = _of_one_tar(path, shards) or shard_source(shards)
    elif exists:
        source = _open_path(path)
    elif name in BUILT_IN:
        source = BUILT_IN[name]()
    else:
        raise HasamaError(
            f"There are no pictures at {name or repr(name)}: no such folder, zip, tar, .npz, shards or picture, "
            f"and it is none of the built-in names ({', '.join(BUILT_IN)}).{near_name(path)}"
        )
    if not source.entries:
        raise HasamaError(f"{source.description} holds no files.")
    return source


def download_first(name: str) -> Iterator[DownloadProgress]:
    """Download what `open_source` would else download without telling how far it is; nothing for most sources.

    Raises:
        HasamaError: see `download.fetch`, and `sharded.index_first`.
    """
    if name in DOWNLOADS and not Path(name).exists():
        yield from download_missing(name)
    elif is_address(name) and (shards := shard_place(name)) is not None:
        yield from index_first(shards)


SIDES = (".json", ".txt", ".cls")
"""Endings of what lies beside pictures in WebDataset, under their names."""
LOOKED_INTO = 100
"""So many of these are looked into at most for a class."""


def _of_one_tar(folder: Path, shards: Place) -> Source | None:
    """A folder with nothing but an ordinary tar is read as that tar, or classes by folders, and pictures with points
    in their names, would be lost; None if it is something else, or of WebDataset.
    """
    try:
        if len(shards.tars) != 1 or not folder.is_dir() or is_known(shards) or is_packed(folder / shards.tars[0]):
            return None
    except OSError:  # a link that leads nowhere, or no permission: told as of any shard
        return None
    source = _open_path(folder / shards.tars[0])
    if source.shards is not None:
        return None
    ordinary = any(entry.label or "." in PurePosixPath(entry.name).stem for entry in source.entries)
    return source if ordinary else None


def _is_of_webdataset(files: list[Entry]) -> bool:
    """Whether other files lie beside a tar's pictures under their names; where folders are classes already, only if
    they say some: else they are captions, and the like.
    """
    pictures = {_key(file.name) for file in files if is_picture_name(file.name)}
    beside = [file for file in files if file.name.lower().endswith(SIDES) and _key(file.name) in pictures]
    if not any(file.label for file in files):
        return bool(beside)
    return any(map(_says_class, beside[:LOOKED_INTO]))


def _key(name: str) -> str:
    """What files that belong together share: see `shards.tars`."""
    folder, slash, own = name.rpartition("/")
    return folder + slash + own.partition(".")[0]


def _says_class(file: Entry) -> bool:
    if not file.name.lower().endswith(".json"):
        return file.name.lower().endswith(".cls")
    try:
        found = file.contents()
    except (HasamaError, OSError):  # a link, or gigantic: it is told when it is read
        return False
    return isinstance(found, io.BytesIO) and class_in_json(found.read().decode("utf-8", "replace")) is not None


def _open_path(path: Path) -> Source:
    if (tables := tables_at(path)) is not None:
        return table_source(tables)
    if path.is_dir():
        files, trouble = with_classes(_folder(path))
        return Source(f"folder {path}", files, folder=path, no_classes=trouble)
    if not path.is_file():
        raise HasamaError(f"{path} is neither a folder nor a file.")
    try:
        return _open_file(path)
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error


def _open_file(path: Path) -> Source:
    if path.suffix.lower() in (".npz", ".npy"):
        return npz_source(path)
    if (
        not is_tar(path) and zipfile.is_zipfile(path) and path.suffix.lower() not in ZIPS
    ):  # one may end with the other
        files, trouble = with_classes(zip_entries(path))
        return Source(f"zip {path}", files, no_classes=trouble)
    if path.suffix.lower() == ".zip":
        raise HasamaError(f"{path} is not a zip file, or is damaged.")
    if is_tar(path) or path.name.lower().endswith(TAR_ENDINGS):
        files, trouble = with_classes(tar_entries(path))
        if not is_packed(path) and _is_of_webdataset(files):
            return shard_source(place_of_one(path))
        return Source(f"tar {path}", files, no_classes=trouble)
    with path.open("rb") as file:
        known = recognise(file.read(HEAD), path.name)
    if known is not None and known.kind != "picture":
        raise HasamaError(f"{path} is {known}.")
    return Source(f"picture {path}", [_file_entry(path, path.name)], crops=True, no_classes=ONE_PICTURE)


ONE_PICTURE = "One picture has no classes. To learn from random crops of it, leave out --labels and --only."


# --- folder ---------------------------------------------------------------------------------------


def _folder(root: Path) -> list[Entry]:
    files = sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    return [_file_entry(path, printable(path.relative_to(root).as_posix())) for path in files]


def _walk(root: Path) -> Iterator[Path]:
    """All files below, links followed but never round in circles.

    Hidden files and folders, and the folders of runs, are left out. Folders that cannot be listed come last, so
    that the report names them.
    """
    seen: set[str] = set()
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, followlinks=True, onerror=closed.append):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if {"recipe.json", "images.json"} <= set(files):
            folders.clear()  # a run that was made inside: its sample grids are no pictures to learn
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in files if not name.startswith("."))
    yield from (Path(error.filename) for error in closed)


def _file_entry(path: Path, name: str) -> Entry:
    def checked() -> Path:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise HasamaError("a folder that cannot be read")
        if not stat.S_ISREG(mode):
            raise HasamaError("not a file")  # opening a pipe or a device would wait for ever
        return path

    return Entry(name, None, stamp_of(path), checked)


# --- built-in names -------------------------------------------------------------------------------


def _downloaded(name: str) -> Source:
    images, labels = fetch(name)
    aliases = {word: str(number) for number, word in enumerate(DOWNLOADS[name].classes)}
    return Source(f"built-in {name}", array_entries(as_pixels(images, name), labels, name), aliases=aliases)


BUILT_IN: dict[str, Callable[[], Source]] = {
    "digits": digits,
    **{name: (lambda name=name: _downloaded(name)) for name in DOWNLOADS},
}
