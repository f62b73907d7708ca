"""Where pictures come from: a folder, a zip, an .npz, one picture, or a built-in name.

A source is a list of entries that can each be opened by any thread; nothing is decoded here.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hasama.errors import HasamaError
from hasama.pictures.archives import zip_entries
from hasama.pictures.arrays import array_entries, as_pixels, npz_entries
from hasama.pictures.digits import digits
from hasama.pictures.download import DOWNLOADS, DownloadProgress, download_missing, fetch
from hasama.pictures.entries import Entry, Source, folder_labels, peek, printable, stamp_of
from hasama.pictures.images import open_picture


def open_source(name: str) -> Source:
    """Find out what `name` is and list it.

    Raises:
        HasamaError: there is nothing of that name, or it holds nothing.
    """
    try:
        path = Path(name).expanduser()
        exists = bool(name) and path.exists()
    except (OSError, RuntimeError) as error:  # no permission, too long a name, no such user
        reason = getattr(error, "strerror", None) or error
        raise HasamaError(f"Cannot look for pictures at {name}: {reason}.") from error
    if exists:
        source = _open_path(path)
    elif name in BUILT_IN:
        source = BUILT_IN[name]()
    else:
        raise HasamaError(
            f"There are no pictures at {name}: no such folder, zip, .npz or picture, "
            f"and it is none of the built-in names ({', '.join(BUILT_IN)})."
        )
    if not source.entries:
        raise HasamaError(f"{source.description} holds no files.")
    return source


def download_first(name: str) -> Iterator[DownloadProgress]:
    """Download what a built-in source still lacks, so that `open_source` need not; nothing for other sources.

    Raises:
        HasamaError: see `download.fetch`.
    """
    if name in DOWNLOADS and not Path(name).exists():
        yield from download_missing(name)


def _open_path(path: Path) -> Source:
    if path.is_dir():
        return Source(f"folder {path}", _folder(path))
    if not path.is_file():
        raise HasamaError(f"{path} is neither a folder nor a file.")
    try:
        if path.suffix.lower() in (".npz", ".npy"):
            return Source(f"arrays {path}", npz_entries(path))
        if zipfile.is_zipfile(path):
            return Source(f"zip {path}", zip_entries(path))
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error
    if path.suffix.lower() == ".zip":
        raise HasamaError(f"{path} is not a zip file, or is damaged.")
    return Source(f"picture {path}", [_file_entry(path, path.name, None)], crops=True)


# --- folder ---------------------------------------------------------------------------------------


def _folder(root: Path) -> list[Entry]:
    files = sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    names = [printable(path.relative_to(root).as_posix()) for path in files]
    labels = folder_labels(names)
    return [_file_entry(*each) for each in zip(files, names, labels, strict=True)]


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


def _file_entry(path: Path, name: str, label: str | None) -> Entry:
    def checked() -> Path:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise HasamaError("a folder that cannot be read")
        if not stat.S_ISREG(mode):
            raise HasamaError("not a file")  # opening a pipe or a device would wait for ever
        return path

    return Entry(name, label, stamp_of(path), lambda about: open_picture(checked(), about), lambda: peek(checked()))


# --- built-in names -------------------------------------------------------------------------------


def _downloaded(name: str) -> Source:
    images, labels = fetch(name)
    return Source(f"built-in {name}", array_entries(as_pixels(images, name), labels, name))


BUILT_IN: dict[str, Callable[[], Source]] = {
    "digits": digits,
    **{name: (lambda name=name: _downloaded(name)) for name in DOWNLOADS},
}
