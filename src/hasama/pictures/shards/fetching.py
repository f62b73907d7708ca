"""Shards from a server: whole files, kept on this machine's disk while there is room, fetched before they are needed.

`HASAMA_SHARDS_GB` is how much room they may take. Processes on one machine share what one of them has fetched.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock

from filelock import FileLock

from hasama.errors import HasamaError
from hasama.files import cannot_write, replacing
from hasama.pictures.shards.index import ShardError, Tar
from hasama.pictures.shards.open_tar import OpenTar

TIMEOUT_SECONDS = 30
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each further attempt."""
SHORT = 3
"""Of these, for a list of shards: it is asked for when a person has just typed an address."""
AT_ONCE = 4
"""Shards that are fetched at the same time."""
BLOCK = 1 << 20
USUAL_GB = 50.0
LARGEST_SHARD = 2**36
LARGEST_INDEX = 2**32
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""What a server answers that may have an answer a little later."""


class _LaterError(Exception):
    """It may work when it is tried again."""


def gigabytes(variable: str, usual: float) -> float:
    """The bytes that an environment variable gives in GB.

    Raises:
        HasamaError: it is no number.
    """
    told = os.environ.get(variable) or str(usual)
    try:
        value = float(told)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise HasamaError(f"{variable} takes a number of GB, such as {usual:g}; it is {told!r}.")
    return value * 1e9


class Fetched:
    """Shards as files of this machine. Those that are here anyway are taken where they are.

    Args:
        folder: for what is fetched.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked: dict[str, Future[OpenTar]] = {}
        self._lock, self._stop = Lock(), Event()
        self._pool: ThreadPoolExecutor | None = None
        self._users = 0

    def begin(self) -> None:
        """Somebody will ask for shards, and then `forget` them."""
        with self._lock:
            self._users += 1

    def ask(self, tars: Iterable[Tar]) -> None:
        """Have them fetched, without waiting."""
        for tar in tars:
            if tar.remote:
                self._future(tar)

    def get(self, tar: Tar) -> OpenTar:
        """The shard, once it is there.

        Raises:
            ShardError: the server does not give it, or gives another file; see `OpenTar`, too.
        """
        if not tar.remote:
            return OpenTar.at(Path(tar.place), tar)
        future = self._future(tar)
        early = future.done()
        try:
            return future.result()
        except ShardError:
            if not early:
                raise
            self._taken(tar)  # it failed a while ago, when it was not yet needed: the server may be back
            return self._future(tar).result()
        finally:
            self._taken(tar)

    def _taken(self, tar: Tar) -> None:
        with self._lock:
            self._asked.pop(tar.place, None)

    def _future(self, tar: Tar) -> "Future[OpenTar]":
        with self._lock:
            if tar.place not in self._asked:
                if self._pool is None:
                    self._pool, self._stop = ThreadPoolExecutor(AT_ONCE), Event()
                self._asked[tar.place] = self._pool.submit(fetch, tar, self.folder, self._stop)
            return self._asked[tar.place]

    def forget(self) -> None:
        """Fetch no more of what nobody waits for, if this is the last who does."""
        with self._lock:
            self._users -= 1
            left = self._users
        if left <= 0:
            self.stop()

    def stop(self) -> None:
        """Break off whatever is being fetched. Who asks later has it fetched anew."""
        with self._lock:
            self._stop.set()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool, self._asked = None, {}


def kept(tar: Tar, folder: Path) -> Path:
    """Where a shard of a server is, or would be, on this machine."""
    return folder / f"{hashlib.blake2b(f'{tar.place} {tar.sha256}'.encode(), digest_size=16).hexdigest()}.tar"


def fetch(tar: Tar, folder: Path, stop: Event | None = None) -> OpenTar:
    """A shard of a server, fetched if it is not here. It is opened at once, for others may need the room.

    Args:
        tar: its size and checksum count if they are known; a size of 0 is not.
        folder: for what is fetched.
        stop: set when nobody waits for it any longer.

    Raises:
        ShardError: the server does not give it, gives another file, or there is no room.
    """
    path = kept(tar, folder)
    try:
        gigabytes("HASAMA_SHARDS_GB", USUAL_GB)  # what is wrong with it is told before anything is fetched
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            for left in folder.glob(f".{path.name}.*"):  # by a process that was killed: nobody else writes it now
                left.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                file = path.open("rb", buffering=0)
                os.utime(path)  # what was used last is thrown away last
                return OpenTar(file, tar)
            with replacing(path) as temporary:
                download(tar, temporary, stop or Event())
                opened = OpenTar.at(temporary, tar)
            _make_room(folder, path)
            return opened
    except ShardError:
        raise
    except HasamaError as error:  # a full disk: it says nothing of the pictures
        raise ShardError(str(error)) from error
    except OSError as error:
        raise ShardError(
            f"{cannot_write(path, error)} HASAMA_CACHE names another place for the cache, and HASAMA_SHARDS_GB how "
            "much of it shards may take."
        ) from error


def _make_room(folder: Path, newest: Path) -> None:
    """Delete the shards that were not used for the longest time. Whoever has one open can still read it."""
    most, total = gigabytes("HASAMA_SHARDS_GB", USUAL_GB), 0
    for _, size, path in sorted(_stamped(folder), reverse=True):
        total += size
        if total > most and path != newest:
            with suppress(OSError):  # in use, on Windows
                path.unlink()


def _stamped(folder: Path) -> list[tuple[int, int, Path]]:
    found = []
    for path in folder.glob("[!.]*.tar"):
        with suppress(OSError):  # another process deleted it
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    return found


# --- one file -------------------------------------------------------------------------------------


def download(tar: Tar, path: Path, stop: Event) -> str:
    """Write a file of a server to `path`, trying again for a while; its SHA256.

    Raises:
        ShardError: the server does not give it, or it is not the file that it should be.
        OSError: it cannot be written.
    """
    for wait in (*WAITS, None):
        try:
            return _attempt(tar, path, stop)
        except _LaterError as error:
            if wait is None:
                raise ShardError(
                    f"Cannot fetch {tar.place}: {error} ({len(WAITS) + 1} attempts). Look whether the server is "
                    "there, and go on then."
                ) from error
            if stop.wait(wait):
                raise ShardError(f"{tar.place} is no longer needed.") from error
    raise AssertionError("the last attempt raises")


def _attempt(tar: Tar, path: Path, stop: Event) -> str:
    digest, done = hashlib.sha256(), 0
    most = tar.bytes or LARGEST_SHARD
    with path.open("wb") as file, _opened(tar.place) as reply:
        wanted = int(reply.headers.get("Content-Length") or tar.bytes)
        while not stop.is_set() and (block := _received(reply)):
            done += len(block)
            if done > most:
                break
            digest.update(block)
            file.write(block)
    if stop.is_set():
        raise ShardError(f"{tar.place} is no longer needed.")
    if done < wanted:
        raise _LaterError(f"the connection broke off after {done:,} of {wanted:,} bytes")
    if (tar.bytes and done != tar.bytes) or (tar.sha256 and digest.hexdigest() != tar.sha256):
        raise ShardError(
            f"{tar.place} is not the file that it should be: its size or its SHA256 differs from what the list of "
            "shards says. Nothing was kept. If the shards were written anew, start a new run."
        )
    return digest.hexdigest()


def _opened(address: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": "hasama"})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code in AGAIN:
            raise _LaterError(f"the server answers {error.code} {error.reason}") from error
        raise ShardError(f"Cannot fetch {address}: the server answers {error.code} {error.reason}.") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise ShardError(f"{address} is no address ({error}).") from error
    except (OSError, http.client.HTTPException) as error:
        raise _LaterError(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from error


def _received(reply: http.client.HTTPResponse) -> bytes:
    """The next block; a connection that breaks must not look like a full disk."""
    try:
        return reply.read(BLOCK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise _LaterError(f"{error or type(error).__name__}") from error


def text_at(address: str) -> str:
    """A small file of a server, as text.

    Raises:
        ShardError: the server does not give it, or it is no text.
    """
    for wait in (*WAITS[:SHORT], None):
        try:
            with _opened(address) as reply:
                blocks = []
                while block := _received(reply):
                    blocks.append(block)
                    if len(blocks) * BLOCK > LARGEST_INDEX:
                        raise ShardError(f"{address} is too large to be a list of shards.")
                return b"".join(blocks).decode()
        except _LaterError as error:
            if wait is None:
                raise ShardError(f"Cannot fetch {address}: {error} ({len(WAITS[:SHORT]) + 1} attempts).") from error
            time.sleep(wait)
        except UnicodeDecodeError as error:
            raise ShardError(f"{address} is no list of shards ({error}).") from error
    raise AssertionError("the last attempt raises")
