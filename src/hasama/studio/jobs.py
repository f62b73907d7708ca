"""Long work as child processes: `hasama train`, `hasama style` and the like, one after another in each lane.

A job is a folder with `job.json` and what the child prints. Children live on when the studio ends; when it comes back
it finds them by the number of their process. What waits, waits until a studio runs.
"""

import itertools
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from hasama.errors import HasamaError
from hasama.files import make_folder, write_json
from hasama.names import SPARE, fitting_name, preview_beside
from hasama.runs.reports.grids import mtime_of

LANES = {
    "train": "train", "resume": "train", "teach": "train", "style": "style", "suggest": "look", "images": "show",
    "project": "project",
}  # fmt: skip
"""{command: lane}; of each lane one job runs at a time."""
ENDED = ("done", "failed", "stopped")
STATES = ("waiting", "running", *ENDED)
INTERRUPTED = 130
"""Code of a child that was interrupted and has saved."""
SAVING = 120.0
"""Seconds that a child has to save itself before it is asked again to stop."""
LONGEST_WORDS = 64_000
"""Characters of what a child printed that are shown."""
FAILURES = ("hasama: ", "Traceback ")
"""How lines begin in which a child complains, of what it was asked for or of itself."""

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """Something that is to be done, is being done or was done.

    Attributes:
        folder: its own.
        words: after `hasama`.
        about: what its maker wants to know later.
        state: waiting, running, done, failed or stopped.
        made: when it was asked for, seconds since 1970.
        pid: of the child, once it was started.
        code: of the child, once it has ended; -1 where nobody saw it end, too.
    """

    folder: Path
    words: list[str]
    about: dict[str, Any]
    state: str
    made: float
    pid: int | None = None
    code: int | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def printed(self) -> Path:
        """What the child printed."""
        return self.folder / "out.txt"

    @property
    def complained(self) -> Path:
        """What the child printed to standard error."""
        return self.folder / "err.txt"

    @property
    def lane(self) -> str:
        return LANES[self.words[0]]

    @property
    def saving(self) -> bool:
        """Whether it was asked to stop so lately that it may still be busy with that."""
        return time.time() - float(self.about.get("stopping", 0)) <= SAVING

    @property
    def ended(self) -> float:
        """When it ended, as far as that is known, seconds since 1970."""
        with suppress(OSError):
            return float(self.about.get("ended") or (self.folder / "job.json").stat().st_mtime)
        return self.made

    def failed_last(self, *files: Path) -> bool:
        """Whether it failed, and nobody went on without it: none of the files is newer than its end."""
        return self.state == "failed" and not any(mtime_of(file) > self.ended * 1e9 for file in files)

    def complains(self) -> bool:
        """Whether it says that something failed: what is known of a child that nobody saw end."""
        return any(line.startswith(FAILURES) for line in _end_of(self.complained).splitlines())

    def said(self) -> str:
        """The end of what the child had to say."""
        parts = [_end_of(place) for place in (self.printed, self.complained)]
        return "\n".join(part.strip() for part in parts if part.strip())


class Jobs:
    """All jobs of a studio.

    Args:
        folder: where their folders are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.children: dict[str, subprocess.Popen] = {}
        self.ended: dict[str, Job] = {}  # they do not change any more, and are asked for again and again
        self.unsaved: dict[str, Job] = {}  # the disk is full, or cannot be written to any more

    def add(self, words: list[str], **about: Any) -> Job:
        """Ask for something; it begins when its lane is free.

        Raises:
            HasamaError: its folder cannot be written.
        """
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        job = Job(self.folder / name, words, about, "waiting", time.time())
        with self.lock:
            self._save(job)  # which makes the folder
        self.turn()
        return self.get(job.id) or job

    def get(self, name: str) -> Job | None:
        """A job by its name; None if there is none."""
        if not name or Path(name).name != name:
            return None
        if name in self.unsaved:
            return self.unsaved[name]
        if name in self.ended:
            return self.ended[name]
        try:
            kept = json.loads((self.folder / name / "job.json").read_text(encoding="utf-8"))
            job = Job(self.folder / name, **kept)
            whole = job.state in STATES and job.words[0] in LANES and isinstance(job.about, dict)
        except (OSError, ValueError, TypeError, LookupError):
            return None
        if not whole:
            return None
        if job.state in ENDED:
            self.ended[name] = job
        return job

    def free_place(self, folder: Path, stem: str, *endings: str) -> Path:
        """A name in a folder that neither is taken nor was promised to a job: STEM, STEM-2, ... and the first ending.

        Args:
            folder: where.
            stem: what it is to be called.
            endings: with none of them there may be a file.

        Raises:
            HasamaError: the folder cannot be made.
        """
        make_folder(folder)
        # Of those that have ended, too: pages show what they made.
        promised = {str(job.about["out"]) for job in self.all() if "out" in job.about}
        previews = {str(preview_beside(Path(out))) for out in promised}
        for number in itertools.count(1):
            tail = f"-{number}" if number > 1 else ""
            place = folder / fitting_name(stem, tail + endings[0], SPARE)
            own = {str(place), str(preview_beside(place))}
            there = any(place.with_suffix(ending).exists() for ending in endings) or preview_beside(place).exists()
            if not own & (promised | previews) and not there:
                return place
        raise AssertionError("there is always another number")

    def promised(self) -> set[Path]:
        """Folders that jobs will make which have not ended."""
        return {Path(job.about["place"]) for job in self.all() if job.state not in ENDED and job.about.get("place")}

    def of_place(self, place: Path) -> Job | None:
        """The newest job that makes a folder, or goes on there; None if there is none."""
        return next((job for job in self.all() if job.about.get("place") == str(place)), None)

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        if not self.folder.is_dir():
            return []
        found = [self.get(place.name) for place in self.folder.iterdir()]
        return sorted((job for job in found if job), key=lambda job: (job.made, job.id), reverse=True)

    def turn(self) -> None:
        """See who has ended, and begin what waits; while nothing can be written, what is known is kept in memory."""
        with self._alone():
            for job in list(self.unsaved.values()):
                self._keep(job)
            jobs = [self._looked_at(job) for job in reversed(self.all())]
            busy = {job.lane for job in jobs if job.state == "running"}
            for job in jobs:
                if job.state == "waiting" and job.lane not in busy:
                    busy.add(job.lane)
                    self._begin(job)

    def stop(self, job: Job) -> None:
        """Take it back if it waits; else ask the child to save and end, as Ctrl-C does.

        A second Ctrl-C would end it at once, unsaved: asked again soon, it is still busy with the first.
        """
        with self._alone():
            job = self._looked_at(self.get(job.id) or job)
            if job.state == "waiting":
                self._keep(job._replace(state="stopped"))
            elif job.state == "running" and job.pid and not job.saving:
                self._keep(job._replace(about=job.about | {"stopping": time.time()}))
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(job.pid, signal.SIGINT)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While the block runs no other thread, and no other studio over this folder, begins or ends a job."""
        with self.lock, ExitStack() as kept:
            if self.folder.is_dir():
                with suppress(OSError):  # nothing can be written there any more, by another studio neither
                    kept.enter_context(FileLock(self.folder / ".lock"))
            yield

    def _begin(self, job: Job) -> None:
        self._keep(job._replace(state="running"))  # whatever becomes of this studio, it is not begun twice
        command = [sys.executable, "-m", "hasama", *job.words]
        try:
            with job.printed.open("wb") as out, job.complained.open("wb") as err:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
        except (OSError, ValueError) as error:  # such as a NUL among the words
            self._keep(job._replace(state="failed", about=job.about | {"why": str(error)}))
            return
        self.children[job.id] = child
        self._keep(job._replace(state="running", pid=child.pid, about=job.about | {"started": _started(child.pid)}))

    def _looked_at(self, job: Job) -> Job:
        if job.state != "running":
            return job
        child = self.children.get(job.id)
        if job.pid is None and child is None:  # the studio was killed as it began it
            begun = job.printed.exists()
            job = job._replace(state="failed" if begun else "waiting")
            self._keep(job)
            return job
        code = child.poll() if child else None
        unseen = child is None and not _lives(job)  # it ended while no studio was there: what it left tells how
        if code is None and not unseen:
            return job
        self.children.pop(job.id, None)
        stopped = job.about.get("stopping") or code == INTERRUPTED
        lacking = not stopped and "out" in job.about and not Path(job.about["out"]).exists()
        well = not (job.complains() or lacking) if unseen else code in (0, INTERRUPTED)
        state = "failed" if not well else "stopped" if stopped else "done"
        end = max(map(mtime_of, (job.printed, job.complained))) / 1e9 if unseen else time.time()
        ended = job._replace(state=state, code=-1 if unseen else code, about=job.about | {"ended": end})
        self._keep(ended)
        return ended

    def _keep(self, job: Job) -> None:
        """Save it as soon as that is possible; until then it is known here."""
        told = job.id in self.unsaved
        self.unsaved[job.id] = job
        try:
            self._save(job)
        except HasamaError as error:
            if not told:
                log.warning("%s The studio goes on, and tries again.", error)
        else:
            del self.unsaved[job.id]

    def _save(self, job: Job) -> None:
        kept = job._asdict()
        del kept["folder"]
        write_json(job.folder / "job.json", kept)


def _started(pid: int) -> str:
    """When a process began, in the system's own words; numbers of processes are used again. '' if it has ended."""
    if not Path("/proc/self/stat").exists():  # as on macOS
        told = ["ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _lives(job: Job) -> bool:
    if job.pid is None or not (started := _started(job.pid)) or started != job.about.get("started"):
        return False
    try:
        os.kill(job.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end_of(place: Path) -> str:
    try:
        with place.open("rb") as opened:
            opened.seek(max(0, place.stat().st_size - LONGEST_WORDS))
            return opened.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
