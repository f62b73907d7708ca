"""Claims: processes on any number of machines share the work in a folder, without a server.

Whoever makes something first puts a claim beside it, `.NAME.claim`, which says who that is. What is claimed is left
alone. The holder touches its claim every `BEAT_SECONDS`; a claim is dead

- at once, if it is of this machine and its process has ended (a process number that was given to another process
  since is told by when that one began);
- if it is of another machine, and has not been touched for `PATIENCE_SECONDS`. Both times are the file system's own
  (on NFS the server's), so that the machines' clocks do not matter.

**One winner.** The claim is written under a name of its own and then linked to its place: `link` fails where there is
something, on NFS too, and nobody ever reads half a claim. (An answer of the server that got lost makes the client ask
again and hear that its own link exists; the number of links tells.) Where links are unknown (FAT, some clouds), the
file is opened with O_EXCL. **One heir.** Two that find the same claim dead must not both replace it, and the second
must not replace what the first has just put there. So the right to replace a claim is itself claimed, under the dead
claim's token, which never comes again; with that right in hand one looks once more. Whoever dies holding the right
is inherited from in the same way.

Why not a lock of the kernel, as `filelock.FileLock` takes: on NFS it may hold on one machine only (`nolock`,
`local_lock`), and it does not say who has it. A lock file alone (`SoftFileLock`) outlives a holder that was killed.
"""

import errno
import json
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hasama.files import cannot_write
from hasama.names import fitting_name

BEAT_SECONDS = 30.0
PATIENCE_SECONDS = 300.0
"""Many beats, and well above the minute for which NFS may remember how old a file was."""

POLL_SECONDS = 0.05

TOKEN_BYTES = 8
SPARE = 8 * TOKEN_BYTES
"""Bytes left free in a claim's name, for the names that are made of it."""

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)
"""What file systems without links answer."""


class Holder(NamedTuple):
    """Who has a claim, as the claim itself says.

    Attributes:
        token: of this claim and no other.
        host: the machine's name, for people.
        machine: where the number of the process means something: this system since it was started, for this user.
        pid: the process.
        began: when the process began, by the system's own count.
        touched: when the claim was touched last, seconds since 1970 by the file system's clock.
    """

    token: str = ""
    host: str = ""
    machine: str = ""
    pid: int = 0
    began: str = ""
    touched: float = 0.0

    def __str__(self) -> str:
        """For messages."""
        if not self.pid:
            return "another process"
        return f"process {self.pid}" + ("" if self.host == socket.gethostname() else f" on {self.host}")


class Claim:
    """What this process has claimed.

    Attributes:
        lost: true once another has taken it over, as happens to a machine that slept. Then write nothing any more.
    """

    def __init__(self, file: Path, token: str) -> None:
        self.file, self.token, self.lost = file, token, False

    def beat(self) -> None:
        """Tell the others that this process lives, or find out that they believed it dead."""
        with suppress(OSError):  # a server that is away for a moment: the next beat will do
            there = _read(self.file)
            self.lost = there is None or there.token != self.token
            if not self.lost:
                os.utime(self.file)  # without a time of ours: the server sets its own


@contextmanager
def claimed(place: Path) -> Iterator[Claim | None]:
    """Claim what is to be written to `place` while the block runs; None if another has claimed it.

    Raises:
        HasamaError: the folder cannot be written to.
    """
    file = _file_of(place)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        token = _take(file)
    except OSError as error:
        raise cannot_write(place, error) from error
    if token is None:
        yield None
        return
    claim, over = Claim(file, token), threading.Event()

    def keep_on() -> None:
        while not (over.wait(BEAT_SECONDS) or claim.lost):
            claim.beat()

    thread = threading.Thread(target=keep_on, daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        over.set()
        thread.join()
        _leave(file, token)


@contextmanager
def waited_for(place: Path) -> Iterator[Claim]:
    """Claim `place` while the block runs, once whoever has claimed it is done: for what takes seconds.

    Raises:
        HasamaError: the folder cannot be written to.
    """
    while True:
        with claimed(place) as claim:
            if claim is not None:
                yield claim
                return
        time.sleep(POLL_SECONDS)


def holder_of(place: Path) -> Holder | None:
    """Who is at work on `place` now; None if nobody is."""
    try:
        there = _read(_file_of(place))
        return there if there is not None and _lives(there, place.parent) else None
    except OSError:  # the folder is gone, or cannot be written to: nobody works in it
        return None


def _file_of(place: Path) -> Path:
    return place.with_name(fitting_name(f".{place.name}", ".claim", SPARE))


# --- taking and leaving ---------------------------------------------------------------------------


def _take(file: Path) -> str | None:
    """The new claim's token; None if it is another's."""
    there = _read(file)
    token = secrets.token_hex(TOKEN_BYTES)
    if there is None:
        return token if _create(file, token) else None
    if _lives(there, file.parent):
        return None
    right = file.with_name(fitting_name(file.name, f".{there.token or 'unreadable'}"))
    held = _take(right)
    if held is None:
        return None
    try:
        now = _read(file)
        if now is None or now.token != there.token or _lives(now, file.parent):
            return None
        _written(file, token).replace(file)
        return token
    finally:
        _leave(right, held)


def _create(file: Path, token: str) -> bool:
    """Put a claim where there is none; False if there is one."""
    own = _written(file, token)
    try:
        os.link(own, file)
    except FileExistsError:
        return own.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_by_opening(file, own.read_bytes())
    finally:
        own.unlink()
    return True


def _create_by_opening(file: Path, told: bytes) -> bool:
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as opened:
        opened.write(told)
    return True


def _written(file: Path, token: str) -> Path:
    """A claim of this process under a name that nobody else uses."""
    own = file.with_name(fitting_name(file.name, f".{token}.new"))
    pid = os.getpid()
    told = {"token": token, "host": socket.gethostname(), "machine": _machine(), "pid": pid, "began": _began(pid)}
    try:
        own.write_text(json.dumps(told), encoding="utf-8")
    except OSError:
        own.unlink(missing_ok=True)  # a full disk has room for its name
        raise
    return own


def _leave(file: Path, token: str) -> None:
    """Remove a claim, unless it was taken over."""
    with suppress(OSError):  # the others will find it dead
        there = _read(file)
        if there is not None and there.token == token:
            file.unlink()


# --- who it is, and whether it lives --------------------------------------------------------------


def _read(file: Path) -> Holder | None:
    """What a claim says, None if there is none. (NFS asks the server anew about a file that is opened.)"""
    try:
        with file.open("rb") as opened:
            text, touched = opened.read(), os.fstat(opened.fileno()).st_mtime
    except FileNotFoundError:
        return None
    except PermissionError:  # another user's, who shows it to nobody
        return Holder(touched=file.stat().st_mtime)
    except OSError as error:
        if error.errno == errno.ESTALE:  # removed by another machine while it was read
            return None
        raise
    try:
        told = json.loads(text)
        return Holder(
            str(told["token"]), str(told["host"]), str(told["machine"]), int(told["pid"]), str(told["began"]), touched
        )
    except (ValueError, KeyError, TypeError):  # not written to its end
        return Holder(touched=touched)


def _lives(holder: Holder, folder: Path) -> bool:
    """Whether a claim in a folder is to be respected."""
    if holder.machine and holder.machine == _machine():
        return _began(holder.pid) == holder.began
    return _now(folder) - holder.touched < PATIENCE_SECONDS


def age_of(file: Path) -> float:
    """Seconds since a file was touched, by the clock of its file system; infinite if there is none."""
    try:
        with file.open("rb") as opened:  # NFS asks the server anew about a file that is opened
            return _now(file.parent) - os.fstat(opened.fileno()).st_mtime
    except FileNotFoundError:
        return math.inf


def _machine() -> str:
    """Which system since it was started, whose process numbers (a container has its own), and which user.

    Users may be hidden from each other. Empty where the system does not tell (macOS, Windows): there heartbeats do.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.getuid()}"
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process of this machine began, in ticks since the machine did; empty if there is none (any more)."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    ended = words[0] in "ZX"  # it waits for its parent to hear of it
    return "" if ended else words[19]


def _now(folder: Path) -> float:
    """The time by the clock of a folder's file system."""
    file = folder / f".{secrets.token_hex(TOKEN_BYTES)}.clock"
    try:
        file.touch()
        os.utime(file)
        return file.stat().st_mtime
    finally:
        file.unlink(missing_ok=True)
