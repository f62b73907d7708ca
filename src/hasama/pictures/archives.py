"""Pictures in archives."""

import io
import threading
import zipfile
from pathlib import Path

from hasama.errors import HasamaError
from hasama.pictures.entries import LARGEST_ENTRY, Entry, folder_labels, is_hidden, peek, printable
from hasama.pictures.images import open_picture

# --- zip ------------------------------------------------------------------------------------------


def zip_entries(path: Path) -> list[Entry]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise HasamaError(f"The zip {path} is damaged: {error}.") from error
    infos = {_zip_name(info): info for info in archive.infolist()}  # of two with one name the later counts
    names = sorted(name for name in infos if not name.endswith("/") and not is_hidden(name))
    labels = folder_labels(names)
    lock = threading.Lock()
    return [_zip_entry(archive, lock, infos[name], name, label) for name, label in zip(names, labels, strict=True)]


def _zip_name(info: zipfile.ZipInfo) -> str:
    """With slashes, where old Windows programs wrote backslashes, and without a leading './'."""
    return printable(info.filename.replace("\\", "/").removeprefix("./"))


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
    return Entry(name, label, stamp, lambda about: open_picture(unpacked(), about), lambda: peek(unpacked()))
