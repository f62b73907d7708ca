"""Files that are either the old one or the new one, never half of each."""

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hasama.errors import HasamaError
from hasama.names import bytes_of, check_name, fitting_name, name_too_long

DURABLE_MODE = 0o666  # before the umask, as open() would give

LONGEST_ENDING = 20
"""Bytes of an ending that a temporary name keeps."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write to a temporary name beside `path`, then fsync and rename.

    If the block raises, or the process dies, `path` is what it was before.

    Raises:
        HasamaError: the folder cannot be written to or the disk is full; `path` is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        check_name(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        yield temporary
        _settle(temporary)
        temporary.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Give a file or folder that is in the way a name beside it that nothing has, for it may be somebody's work.

    Returns:
        The new name: NAME.old, or NAME-2.old and so on.
    """
    number, kept = 1, path.with_name(fitting_name(path.name, ".old"))
    while kept.exists():
        number += 1
        kept = path.with_name(fitting_name(path.name, f"-{number}.old"))
    path.replace(kept)
    return kept


def make_folder(folder: Path, named: str | Path | None = None) -> None:
    """Make a folder and those above it, unless it is there.

    Args:
        folder: to make.
        named: what the message is to call it; None: by its path.

    Raises:
        HasamaError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(named or folder, error) from error


def check_place(path: Path) -> None:
    """Before any work: can `path` be written?

    Raises:
        HasamaError: see `replacing`.
    """
    check_name(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        _temporary(path).unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


def _temporary(path: Path) -> Path:
    """A new, empty file beside `path`, hidden, with the same ending."""
    suffix = path.suffix if bytes_of(path.suffix) <= LONGEST_ENDING else ""
    prefix = f".{fitting_name(path.name, spare=2 + 8 + bytes_of(suffix))}."  # mkstemp adds 8 letters
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
    os.close(handle)
    return Path(name)


TEMPORARY = re.compile(r"\..*[^.](\.[^.]+)\.[a-z0-9_]{8}\1")
"""Names that `_temporary` gives, of files with an ending."""

A_TRAININGS = re.compile(
    r"\.(\d+\.png|(game|enlarging|\d+)\.pt|(generator|best|enlarger)\.safetensors)\.[a-z0-9_]+(\.\w+)?"
)
"""Such names of what a training alone writes, whatever follows the name."""


def remove_leftovers(folder: Path, idle: float = 0.0) -> None:
    """Delete temporary files of a process that was killed, here and in folders below; nobody else's hidden ones.

    Args:
        folder: that no other process of the kind has.
        idle: seconds for which nobody has written what is deleted, but what only a training writes: other commands
            may be at work here.
    """
    for file in folder.rglob(".*.*"):
        with suppress(OSError):
            known = TEMPORARY.fullmatch(file.name) and file.stat().st_mtime <= time.time() - idle
            if (known or A_TRAININGS.fullmatch(file.name)) and file.is_file():
                file.unlink()


IN_THE_WAY = {
    errno.EISDIR: "there is a folder of that name",
    errno.EEXIST: "a file is where a folder would have to be",
    errno.ENOTDIR: "a file is where a folder would have to be",
}
"""For which neither room nor permission is lacking."""


def cannot_write(path: str | Path, error: OSError) -> HasamaError:
    """The message for a full disk, a read-only folder, a folder where a file should be, a name that is too long."""
    if error.errno == errno.ENAMETOOLONG:
        return name_too_long(path)
    if error.errno in IN_THE_WAY:
        return HasamaError(f"Cannot write {path}: {IN_THE_WAY[error.errno]}; choose another place.")
    return HasamaError(
        f"Cannot write {path}: {error.strerror or error}. Nothing that was there before has been touched; "
        "free some space or choose another place with write permission."
    )


def _settle(path: Path) -> None:
    """Ask the operating system to have `path` (a file or a folder) on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if path.is_file():
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(handle, DURABLE_MODE & ~umask)  # mkstemp makes private files; people share these
        os.fsync(handle)
    finally:
        os.close(handle)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none. A file that is only added to has changed when this has."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def identity_of(file: Path) -> tuple[int, int] | None:
    """Which file a name stands for, None if for none. While a file is open no other has the same identity."""
    try:
        there = file.stat()
        return there.st_dev, there.st_ino
    except OSError:
        return None


def was_replaced(file: Path, identity: tuple[int, int] | None) -> bool:
    """Whether a name stands for another file than when it had this identity, if it had one; not if it is gone."""
    return identity is not None and identity_of(file) not in (identity, None)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        told = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        temporary.write_bytes(told.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; `what` names it in the error message.

    Raises:
        HasamaError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HasamaError(f"There is no {what} at {path}.") from None
    except OSError as error:
        raise HasamaError(f"Cannot read the {what} {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise HasamaError(
            f"The {what} {path} is damaged (not JSON: {error}): put a copy of it back, or delete it and begin anew."
        ) from error


def sha256_of(file: Path) -> str:
    """The checksum of a file.

    Raises:
        HasamaError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HasamaError(f"Cannot read {file}: {error.strerror or error}.") from error


def whole(archive: Path) -> Path:
    """The same path, once every file in this zip is what its checksum says: torch reads without comparing.

    Raises:
        ValueError: one is not, or it is no zip.
    """
    with zipfile.ZipFile(archive) as opened:
        if bad := opened.testzip():
            raise ValueError(f"{bad} has another checksum")
    return archive


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock file now. Any number can ask at once: a shared lock is enough to see that."""
    try:
        with lock.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or it cannot be read


@contextmanager
def plainly_named(file: Path) -> Iterator[Path]:
    """The file by a name in UTF-8: its own, or, for the time inside, that of a link to it.

    Python opens files of any name; safetensors, and torch where it maps a file into memory, want UTF-8.
    """
    try:
        str(file).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as place:
            link = Path(place) / f"file{file.suffix}"
            link.symlink_to(file.absolute())
            yield link
    else:
        yield file
