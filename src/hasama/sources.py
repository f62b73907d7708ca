"""Where pictures come from: a folder, a zip, an .npz, one picture, or a built-in name.

A source is a list of entries that can each be opened by any thread; nothing is decoded here.
"""

import io
import os
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hasama.download import DOWNLOADS, fetch
from hasama.errors import HasamaError, missing_extra
from hasama.images import open_picture, to_picture

LARGEST_ENTRY = 2**30
"""Bytes of one file in a zip at most; a zip bomb unpacks to more."""


class Entry(NamedTuple):
    """One picture of a source: its name, its class if it has one, what changes when it changes, how to open it.

    `open(about)` decodes it (see `images.open_picture`); `peek()` reads only what the header says.
    """

    name: str
    label: str | None
    stamp: str
    open: Callable[[int | None], Image.Image]
    peek: Callable[[], Image.Image]


class Source(NamedTuple):
    """What the user named, and all it holds. `crops`: one picture, to be cut into many."""

    description: str
    entries: Sequence[Entry]
    crops: bool = False


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


def _open_path(path: Path) -> Source:
    if path.is_dir():
        return Source(f"folder {path}", _folder(path))
    if not path.is_file():
        raise HasamaError(f"{path} is neither a folder nor a file.")
    try:
        if path.suffix.lower() in (".npz", ".npy"):
            return Source(f"arrays {path}", _arrays(path))
        if zipfile.is_zipfile(path):
            return Source(f"zip {path}", _zip(path))
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error
    if path.suffix.lower() == ".zip":
        raise HasamaError(f"{path} is not a zip file, or is damaged.")
    return Source(f"picture {path}", [_file_entry(path, path.name, None)], crops=True)


# --- folder ---------------------------------------------------------------------------------------


def _folder(root: Path) -> list[Entry]:
    files = sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    names = [_printable(path.relative_to(root).as_posix()) for path in files]
    labels = _labels(names)
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


def _printable(name: str) -> str:
    """A file's name with control characters, and bytes that are no UTF-8, written as escapes."""
    return re.sub(r"[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: ascii(found[0])[1:-1], name)


def _file_entry(path: Path, name: str, label: str | None) -> Entry:
    def checked() -> Path:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise HasamaError("a folder that cannot be read")
        if not stat.S_ISREG(mode):
            raise HasamaError("not a file")  # opening a pipe or a device would wait for ever
        return path

    return Entry(name, label, _stamp(path), lambda about: open_picture(checked(), about), lambda: _peek(checked()))


def _stamp(path: Path) -> str:
    """What changes when a file changes. ctime, for copying and unpacking can set mtime to anything."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _peek(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as picture:
        return picture


def _labels(names: Sequence[str]) -> list[str | None]:
    """The class of each file: its first folder below the one that holds all pictures."""
    endings = Image.registered_extensions()
    parts = [name.split("/") for name in names]
    pictures = [p for p in parts if Path(p[-1]).suffix.lower() in endings] or parts  # a README is no picture
    depth = 0
    while pictures and all(len(p) > depth + 2 and p[depth] == pictures[0][depth] for p in pictures):
        depth += 1
    return [p[depth] if len(p) > depth + 1 else None for p in parts]


# --- zip ------------------------------------------------------------------------------------------


def _zip(path: Path) -> list[Entry]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise HasamaError(f"The zip {path} is damaged: {error}.") from error
    infos = {_zip_name(info): info for info in archive.infolist()}  # of two with one name the later counts
    names = sorted(name for name in infos if not name.endswith("/") and not _hidden(name))
    labels = _labels(names)
    lock = threading.Lock()
    return [_zip_entry(archive, lock, infos[name], name, label) for name, label in zip(names, labels, strict=True)]


def _zip_name(info: zipfile.ZipInfo) -> str:
    """With slashes, where old Windows programs wrote backslashes, and without a leading './'."""
    return _printable(info.filename.replace("\\", "/").removeprefix("./"))


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _zip_entry(
    archive: zipfile.ZipFile, lock: threading.Lock, info: zipfile.ZipInfo, name: str, label: str | None
) -> Entry:
    def unpacked() -> io.BytesIO:
        if info.file_size > LARGEST_ENTRY:
            raise HasamaError(f"gigantic ({info.file_size} bytes unpacked)")
        if info.flag_bits & 1:
            raise HasamaError("encrypted")
        try:
            with lock, archive.open(info) as packed:
                return io.BytesIO(packed.read(LARGEST_ENTRY))
        except Exception as error:  # a damaged zip raises zlib.error, BadZipFile, EOFError, ...
            raise HasamaError(f"damaged in the zip ({str(error).partition(' for file ')[0]})") from error

    stamp = f"{info.file_size} {info.CRC}"
    return Entry(name, label, stamp, lambda about: open_picture(unpacked(), about), lambda: _peek(unpacked()))


# --- arrays ---------------------------------------------------------------------------------------


def _arrays(path: Path) -> list[Entry]:
    images, labels = _load_arrays(path)
    images = _as_pixels(images, str(path))
    return array_entries(images, labels, _stamp(path))


def _load_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of pictures in an .npy or .npz file and its labels. Nothing in the file is executed."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            name = next((n for n in ("images", "x", "x_train", "arr_0") if n in loaded.files), None)
            if name is None:
                raise HasamaError(
                    f"{path} holds no array called `images` (it has {', '.join(loaded.files) or 'none'})."
                )
            labels = next((loaded[n] for n in ("labels", "y", "y_train", "arr_1") if n in loaded.files), None)
            return loaded[name], labels
    except HasamaError:
        raise
    except Exception as error:  # numpy, zip and header parsing raise nearly everything
        raise HasamaError(f"Cannot read the arrays in {path}: {error}.") from error


def _as_pixels(images: np.ndarray, where: str) -> np.ndarray:
    """Check that these are pictures, and bring them to [N, H, W, C]."""
    if images.dtype != np.uint8:
        raise HasamaError(f"The images in {where} are {images.dtype}; Hasama takes uint8 from 0 to 255.")
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim == 4 and images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        raise HasamaError(
            f"The images in {where} have the shape {list(images.shape)}; "
            "Hasama takes [N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels."
        )
    return images


def array_entries(images: np.ndarray, labels: np.ndarray | None, stamp: str) -> list[Entry]:
    """Entries for uint8 [N, H, W, C] in memory; labels [N] if there are any."""
    if labels is not None and labels.shape != images.shape[:1]:
        raise HasamaError(f"There are {len(images)} images but labels of shape {list(labels.shape)}.")
    names = None if labels is None else [str(label) for label in labels]

    def entry(index: int) -> Entry:
        def picture(about: int | None = None) -> Image.Image:
            return to_picture(images[index])

        return Entry(str(index), None if names is None else names[index], stamp, picture, picture)

    return [entry(index) for index in range(len(images))]


# --- built-in names -------------------------------------------------------------------------------


def _digits() -> Source:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin and Kaynak 1998), as scikit-learn ships them."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing_extra("scikit-learn", "demo", "The built-in source `digits`") from None
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8, 1) * (255.0 / 16.0)).round().astype(np.uint8)
    return Source("built-in digits", array_entries(pixels, labels, "digits"))


def _downloaded(name: str) -> Source:
    images, labels = fetch(name)
    return Source(f"built-in {name}", array_entries(_as_pixels(images, name), labels, name))


BUILT_IN: dict[str, Callable[[], Source]] = {
    "digits": _digits,
    **{name: (lambda name=name: _downloaded(name)) for name in DOWNLOADS},
}
