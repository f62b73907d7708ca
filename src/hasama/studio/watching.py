"""What a run folder says, quickly, however long its log is: the state of now, and curves of some hundred points."""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from hasama.errors import HasamaError
from hasama.files import size_of
from hasama.pictures.sources.entries import printable
from hasama.runs.folder import Run, find_runs
from hasama.runs.lines import parsed
from hasama.runs.reports.grids import grids_of

TAIL = 64 * 1024
"""Bytes at a log's end in which its last lines are looked for."""
POINTS = 600
"""Lines that a curve is made of."""
WHOLE = 2**20
"""Bytes up to which a log is read as it is."""
QUALITY = b'"kid":'
LAST = 256
"""Bytes before the place up to which a log was read, by which it is known again."""
CURVES = ("loss_discriminator", "loss_generator", "kid", "kid_low", "kid_high")


def run_named(root: Path, name: str) -> Run:
    """A run by its path below the root.

    Raises:
        HasamaError: it lies elsewhere, or there is none.
    """
    place = inside(root, name)
    run = Run(place)
    if not run.exists():
        raise HasamaError(f"There is no run called {name}.")
    return run


def generator_named(run: Run, which: str) -> Path:
    """The file of a run's `best` generator, or of its `last`.

    Raises:
        HasamaError: there is none of that name (any more).
    """
    if which not in ("best", "last"):
        raise HasamaError("A training has a best generator and a last one.")
    file = run.saved_generator() if which == "last" else run.best
    if not file.is_file():
        raise HasamaError("This training has no best generator (any more): take the last one.")
    return file


def changed(file: Path) -> int:
    """When a generator's file was written, in nanoseconds.

    Raises:
        HasamaError: it has vanished.
    """
    try:
        return file.stat().st_mtime_ns
    except OSError as error:
        raise HasamaError(f"There is no generator at {file} any more.") from error


def inside(root: Path, name: str) -> Path:
    """A path below the root, wherever links in it lead.

    Raises:
        HasamaError: it leads out of the root.
    """
    try:
        place, whole = (root / name).resolve(), root.resolve()
        place.exists()  # raises, too, where a name is too long
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise HasamaError("There is no such file.") from error
    if not name or "\0" in name or not place.is_relative_to(whole) or place == whole:
        raise HasamaError("There is no such file.")
    return place


def all_runs(root: Path) -> list[dict[str, Any]]:
    """A line for each run, the newest first; of one that is broken, what is wrong with it."""
    if not root.is_dir():
        return []
    found = []
    for run in find_runs(root):
        name = run.folder.relative_to(root).as_posix()
        try:
            found.append(state_of(run, name))
        except HasamaError as error:
            found.append({"name": name, "status": "broken", "why": str(error), "recipe": None})
    return found


def state_of(run: Run, name: str) -> dict[str, Any]:
    """What there is to say of a run now.

    Raises:
        HasamaError: its recipe is damaged.
    """
    stage = run.stage()
    recipe, last = stage.recipe(), last_lines(stage.log_file)
    seen = last[-1]["images_seen"] if last else 0
    held = run.is_held()
    speed = speed_of(last)
    left = max(0, recipe.images - seen) / speed if held and speed else None
    small, done = stage is not run, seen >= recipe.images
    status = "training" if held else "finished" if done and not small else "paused" if seen else "begun"
    kid = next((_number(line["kid"]) for line in reversed(last) if "kid" in line), None)
    return {
        "name": name, "status": "stopping" if held and run.stop_asked() else status, "kimg": seen / 1000,
        "of_kimg": recipe.kimg, "done": min(1.0, seen / recipe.images) if recipe.images else 1.0,
        "images_per_second": speed, "seconds_left": left, "samples": grids_of(stage, seen), "kid": kid,
        "recipe": {"architecture": recipe.architecture, "size": recipe.size}, "small": small,
        "source": _source(run), "generator": run.generator.exists(),
    }  # fmt: skip


def curves_of(run: Run, points: int = POINTS) -> dict[str, list[Any]]:
    """The `curves_in` the log of a run's stage."""
    return curves_in(run.stage().log_file, CURVES, points)


def curves_in(log_file: Path, names: Sequence[str], points: int = POINTS) -> dict[str, list[Any]]:
    """{name: values}, beside `images_seen`; None where a line says nothing of it.

    Of a long log so many lines are read, from all over it, and all those that tell of the quality, which are few.
    """
    size = size_of(log_file)
    lines = _read(log_file, 0, size) if size <= WHOLE else _thinned(log_file, size, points)
    if size <= WHOLE and len(lines) > points:
        step = len(lines) / points
        kept = {int(number * step) for number in range(points)} | {len(lines) - 1}
        lines = [line for number, line in enumerate(lines) if number in kept or "kid" in line]
    found: dict[str, list[Any]] = {"images_seen": [line["images_seen"] for line in lines]}
    for name in names:
        values = [_number(line.get(name)) for line in lines]
        if any(value is not None for value in values):
            found[name] = values
    return found


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30
    return float(value) if good else None


def _thinned(file: Path, size: int, points: int) -> list[dict[str, Any]]:
    by_place: dict[int, dict[str, Any]] = {}
    with suppress(OSError), file.open("rb") as opened:
        for number in range(points):
            opened.seek(size * number // points)
            if number:
                opened.readline()
            place = opened.tell()
            if (line := parsed(opened.readline())) is not None:
                by_place[place] = line
        for place in _quality_of(file).update(opened):
            opened.seek(place)
            if (line := parsed(opened.readline())) is not None:
                by_place[place] = line
    last = last_lines(file)[-1:]
    seen = sorted([*by_place.values(), *last], key=lambda line: line["images_seen"])
    return [line for number, line in enumerate(seen) if not number or line is not seen[number - 1]]


class _Quality:
    """Where in a log the lines are that tell of the quality; asked again, it reads on where it was.

    Any number of threads can ask. A log that was cut, and may have grown again, is read anew.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.read, self.places, self.last = 0, list[int](), b""

    def update(self, opened: BinaryIO) -> list[int]:
        """Their beginnings, of the whole lines that there are now."""
        with self.lock:
            opened.seek(self.read - len(self.last))
            if opened.read(len(self.last)) != self.last:
                self.read, self.places = 0, []
            self._read_on(opened)
            opened.seek(max(0, self.read - LAST))
            self.last = opened.read(min(LAST, self.read))
            return list(self.places)

    def _read_on(self, opened: BinaryIO) -> None:
        opened.seek(self.read)
        rest = b""
        while piece := opened.read(2**20):
            text = rest + piece
            start = 0
            while (place := text.find(QUALITY, start)) >= 0:
                self.places.append(self.read + text.rfind(b"\n", 0, place) + 1)
                start = place + 1
            whole = text.rfind(b"\n") + 1
            self.places = [place for place in self.places if place < self.read + whole]  # no line that is cut off
            self.read, rest = self.read + whole, text[whole:]


@lru_cache(maxsize=32)
def _quality_of(file: Path) -> _Quality:
    return _Quality()


def last_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines at a log's end; none if there is no log."""
    size = size_of(file)
    return _read(file, max(0, size - TAIL), size)


def _read(file: Path, begin: int, end: int) -> list[dict[str, Any]]:
    """The whole lines between two places."""
    try:
        with file.open("rb") as opened:
            opened.seek(begin)
            if begin:
                opened.readline()
            text = opened.read(max(0, end - opened.tell()))
    except OSError:
        return []
    return [line for one in text.splitlines() if (line := parsed(one)) is not None]


def speed_of(lines: list[dict[str, Any]]) -> float | None:
    """Images a second, as the last lines have it; None if none of them tells."""
    rates = [line["images_per_second"] for line in lines[-20:] if _number(line.get("images_per_second"))]
    return sorted(rates)[len(rates) // 2] if rates else None


def _source(run: Run) -> str:
    with suppress(HasamaError):
        return printable(str(run.images()["name"]))
    return ""
