"""Pictures in archives: zip and tar, packed or not. Nothing is ever unpacked under a name that an archive gives."""

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hasama.errors import HasamaError
from hasama.pictures.sources.download import cache_folder
from hasama.pictures.sources.entries import LARGEST_ENTRY, Entry, is_hidden, printable, stamp_of

CHUNK = 2**20

# --- zip ------------------------------------------------------------------------------------------


def zip_entries(path: Path) -> list[Entry]:
    """All files in a zip, in the order of their names, without classes.

    Raises:
        HasamaError: it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise HasamaError(f"The zip {path} is damaged: {error}.") from error
    infos = {_tidy(info.filename): info for info in archive.infolist()}  # of two with one name the later counts
    names = sorted(name for name in infos if not name.endswith("/") and not is_hidden(name))
    lock = threading.Lock()
    return [_zip_entry(archive, lock, infos[name], name) for name in names]


def _zip_entry(archive: zipfile.ZipFile, lock: threading.Lock, info: zipfile.ZipInfo, name: str) -> Entry:
    return Entry(name, None, f"{info.file_size} {info.CRC}", partial(_unzipped, archive, lock, info))


def _tidy(name: str) -> str:
    """With slashes, where old Windows programs wrote backslashes, and without a leading './' or '/'."""
    return printable(name.replace("\\", "/").removeprefix("./").lstrip("/"))


def _unzipped(archive: zipfile.ZipFile, lock: threading.Lock, info: zipfile.ZipInfo) -> io.BytesIO:
    if info.file_size > LARGEST_ENTRY:
        raise HasamaError(f"gigantic ({info.file_size} bytes unpacked)")
    if info.flag_bits & 1:
        raise HasamaError("encrypted")
    try:
        with lock, archive.open(info) as packed:
            return io.BytesIO(packed.read(LARGEST_ENTRY))
    except Exception as error:  # a damaged zip raises zlib.error, BadZipFile, EOFError, ...
        raise HasamaError(f"damaged in the zip ({str(error).partition(' for file ')[0]})") from error


# --- tar ------------------------------------------------------------------------------------------

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
"""Names under which a file that is no tar is a damaged one."""
UNPACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""By the first bytes of a packed file."""

BOMB_BYTES, BOMB_SHARE = 2**34, 200
"""An archive that unpacks to more than these bytes, and to more than so many times its own size, is a bomb."""


class Member(NamedTuple):
    """A file in a tar: where its bytes lie once it is unpacked, how many, and their checksum (0 if not packed)."""

    start: int
    size: int
    checksum: int = 0
    refused: str = ""


def is_tar(path: Path) -> bool:
    """Whether it is a tar, packed or not, by what is in it."""
    try:
        with _unpacked(path) as stream:
            return stream.read(512)[257:262] == b"ustar"
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return False


def tar_entries(path: Path) -> list[Entry]:
    """All files in a tar, in the order of their names, without classes.

    A packed tar can only be read from its beginning. So it is read through once for the list; and if a file is
    opened, once more into a temporary file that has no name and vanishes with the process.

    Raises:
        HasamaError: it is damaged, or a bomb.
    """
    packed = is_packed(path)
    members = _list(path, packed)
    names = sorted(name for name in members if not is_hidden(name))
    whole = _Whole(path, packed)
    stamp = "" if packed else stamp_of(path)
    return [
        Entry(name, None, f"{one.size} {one.checksum} {one.start if stamp else ''} {stamp}", partial(whole.read, one))
        for name in names
        if (one := members[name])
    ]


def is_packed(path: Path) -> bool:
    """Whether a tar is compressed."""
    with path.open("rb") as file:
        return _unpacker(file) is not None


def _unpacker(file: io.BufferedIOBase) -> Any:
    head = file.read(6)
    return next((unpack for first, unpack in UNPACKERS.items() if head.startswith(first)), None)


def _unpacked(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        unpack = _unpacker(file)
    return unpack(path, "rb") if unpack else path.open("rb")  # type: ignore[return-value]


def _list(path: Path, packed: bool) -> dict[str, Member]:
    """The files by name; of two with one name the later counts. What is neither file nor link is left out."""
    found: dict[str, Member] = {}
    try:
        with _unpacked(path) as stream:
            limited = _Limited(stream, path)
            with tarfile.open(fileobj=limited, mode="r:") as archive:
                for info in archive:
                    if (member := _member(archive, info, packed, found)) is not None:
                        found[_tidy(info.name)] = member
                    vars(archive)["members"] = []  # or it would keep all that it has seen
            if not limited.last or limited.last.strip(b"\0"):  # tarfile takes either for the end, a block of zeros
                raise tarfile.ReadError("a header is damaged" if limited.last else "it is cut short")
            while packed and limited.read(CHUNK):
                pass  # to the end, where a file that is cut short shows
    except HasamaError:
        raise
    except Exception as error:  # a damaged one raises tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ...
        raise HasamaError(f"{path} is not a tar file, or is damaged ({error or type(error).__name__}).") from error
    return found


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, packed: bool, found: dict[str, Member]) -> Member | None:
    if info.islnk():
        return found.get(_tidy(info.linkname), Member(0, 0, refused="a link to nothing"))
    if info.issym() or info.issparse() or info.size > LARGEST_ENTRY:
        why = "a link" if info.issym() else "a sparse file" if info.issparse() else f"gigantic ({info.size} bytes)"
        return Member(0, 0, refused=why)
    if not info.isreg():
        return None
    checksum = 0
    if packed and (body := archive.extractfile(info)):
        for chunk in iter(partial(body.read, CHUNK), b""):
            checksum = zlib.crc32(chunk, checksum)
    return Member(info.offset_data, info.size, checksum)


class _Limited(io.RawIOBase):
    """A stream that is read up to the limit for bombs, and no farther. `last` is what was read last."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self.stream, self.path, self.last = stream, path, b""
        self.most = max(BOMB_BYTES, BOMB_SHARE * path.stat().st_size)

    def read(self, size: int = -1, /) -> bytes:
        self._check(self.stream.tell())
        self.last = self.stream.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0, /) -> int:
        while whence == 0 and offset - self.stream.tell() > CHUNK:
            self._check(self.stream.seek(self.stream.tell() + CHUNK))
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def _check(self, place: int) -> None:
        if place > self.most:
            raise HasamaError(
                f"{self.path} unpacks to more than {BOMB_SHARE} times its size. If you know what is in it, unpack it "
                "yourself, and name the folder."
            )


class _Whole:
    """The unpacked bytes of a tar, for any thread: of the file itself, or of a nameless copy made when first read."""

    def __init__(self, path: Path, packed: bool) -> None:
        self.path, self.packed, self.lock = path, packed, threading.Lock()
        self.file: io.BufferedIOBase | None = None
        self.failed = ""

    def read(self, member: Member) -> io.BytesIO:
        if member.refused:
            raise HasamaError(member.refused)
        with self.lock:
            file = self._opened()
            file.seek(member.start)
            data = file.read(member.size)
        if len(data) < member.size or (self.packed and zlib.crc32(data) != member.checksum):
            raise HasamaError("damaged in the tar")
        return io.BytesIO(data)

    def _opened(self) -> io.BufferedIOBase:
        if self.failed:
            raise HasamaError(self.failed)
        if self.file is None:
            try:
                self.file = self._copy() if self.packed else self.path.open("rb")
            except OSError as error:
                self.failed = (
                    f"no room to unpack the tar ({error.strerror or error}): HASAMA_CACHE names another place"
                )
                raise HasamaError(self.failed) from error
            weakref.finalize(self, self.file.close)
        return self.file

    def _copy(self) -> io.BufferedIOBase:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        copy = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this object
        with _unpacked(self.path) as stream:
            limited = _Limited(stream, self.path)
            for chunk in iter(partial(limited.read, CHUNK), b""):
                if chunk.count(0) == len(chunk):
                    copy.seek(len(chunk), io.SEEK_CUR)  # zeros need no room on the disk
                else:
                    copy.write(chunk)
            copy.truncate(copy.tell())
        return copy
