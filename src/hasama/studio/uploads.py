"""What a browser sends: pictures, archives of them, masks. They get names of our own, and are only ever read."""

import asyncio
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from hasama.errors import HasamaError
from hasama.files import cannot_write
from hasama.names import LONGEST_NAME, fitting_name, shortened
from hasama.pictures.opening import open_picture

LARGEST = 4 * 2**30
"""Bytes of one request."""
MOST_FILES = 20_000
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".npz")
PIECE = 2**20


_SENT: ContextVar[list[Path] | None] = ContextVar("_SENT", default=None)


@contextmanager
def gone_if_refused() -> Iterator[None]:
    """What is sent while the block runs is removed again where the block refuses it."""
    sent: list[Path] = []
    before = _SENT.set(sent)
    try:
        yield
    except BaseException:  # faults of our own, too
        for place in sent:
            shutil.rmtree(place, ignore_errors=True)
        raise
    finally:
        _SENT.reset(before)


def bounded(request: Request, largest: int) -> Request:
    """A request of which no more can be read; also where nothing says beforehand how long it is.

    Raises:
        HTTPException: it says that it is larger than allowed. Reading it does so, too.
    """
    if int(request.headers.get("content-length") or 0) > largest:
        raise HTTPException(413, "That is too large.")
    taken, receive = 0, request.receive

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > largest:
            raise HTTPException(413, "That is too large.")
        return message

    request._receive = counted
    return request


async def form_of(request: Request, largest: int = LARGEST) -> FormData:
    """A request's form.

    Raises:
        HTTPException: it is larger than allowed, or no form.
    """
    return await bounded(request, largest).form(max_files=MOST_FILES, max_fields=2000)


def check_alone(files: Iterable[object], archives: str | tuple[str, ...], told: str) -> None:
    """Before anything is written: an archive comes alone. Raises HasamaError, with these words."""
    names = [str(getattr(file, "filename", "")).lower() for file in files]
    if len(names) > 1 and any(name.endswith(archives) for name in names):
        raise HasamaError(told)


def check_one_way(files: Iterable[object], other: str) -> None:
    """Before anything is written: of files that are sent and another way to name pictures one alone is taken.

    Args:
        files: parts of a form.
        other: what was filled in beside them; '': nothing.

    Raises:
        HasamaError: there are both.
    """
    sent = [str(file.filename) for file in files if isinstance(file, UploadFile) and file.filename]
    if sent and other:
        more = f" and {len(sent) - 1} more" if len(sent) > 1 else ""
        named = f"{shortened(sent[0])}{more}"
        raise HasamaError(f"Files were sent ({named}), and {shortened(other)} is chosen, too: take one of the two.")


async def kept(files: Iterable[object], folder: Path, endings: tuple[str, ...]) -> Path | None:
    """Write the files that were sent into a folder of their own.

    Args:
        files: parts of a form.
        folder: in which the new one is made.
        endings: of names that are taken.

    Returns:
        The folder; or, of a single file, the file; None if none was sent.

    Raises:
        HasamaError: one has another ending, or there is no room.
    """
    made = await _written(files, folder, endings)
    return None if not made else made[0] if len(made) == 1 else made[0].parent


async def _written(files: Iterable[object], folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """What `kept` writes, in the order in which it was sent."""
    sent = [file for file in files if isinstance(file, UploadFile) and file.filename]
    place = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    if sent and (noted := _SENT.get()) is not None:
        noted.append(place)
    made: list[Path] = []
    taken: set[str] = set()
    again: Counter[str] = Counter()
    for file in sent:
        name = Path(str(file.filename).replace("\\", "/")).name.replace("\0", "")
        ending = Path(name).suffix.lower()
        if ending not in endings:
            raise HasamaError(f"{name}: files that end in {', '.join(endings)} are taken.")
        stem = Path(name).stem.lstrip(".")[:LONGEST_NAME] or "picture"
        target = place / fitting_name(stem, ending)
        while target.name.casefold() in taken:  # where A.jpg and a.jpg are one file, too
            again[stem] += 1
            target = place / fitting_name(stem, f"-{again[stem] + 1}{ending}")
        taken.add(target.name.casefold())
        made.append(target)
        await asyncio.sleep(0)  # others are served, too, while many are written
        try:
            place.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as opened:
                while piece := await file.read(PIECE):
                    opened.write(piece)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)  # the part of it that was written
            raise cannot_write(target, error) from error
    return made


async def kept_pictures(files: Iterable[object], folder: Path, endings: tuple[str, ...] = PICTURES) -> list[Path]:
    """The same of pictures, in the order in which they were sent; each of them can be read.

    Raises:
        HasamaError: see `kept`; or one is no picture, or broken.
    """
    found = await _written(files, folder, endings)
    for file in found:
        try:
            await asyncio.to_thread(open_picture, file)
        except HasamaError as error:
            raise HasamaError(f"{file.name} cannot be read: {error}.") from error
    return found
