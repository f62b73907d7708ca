"""Progress of long work in the terminal: bars, or plain lines. Everything here only consumes records."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from hasama.evaluation.coverage import CoverageProgress
    from hasama.generators.projection import ProjectionStep
    from hasama.pictures.decoding import Scan
    from hasama.pictures.shards.writing import Writing
    from hasama.pictures.sources.download import DownloadProgress
    from hasama.style.jobs.film import Painted
    from hasama.style.painters.teaching import Lesson
    from hasama.style.transfer import Frame
from hasama.cli.terminal import LINE_SECONDS, REFRESH_SECONDS, console, duration, errors, say


@runtime_checkable
class Staged(Protocol):
    """A record of work in stages."""

    @property
    def stage(self) -> str:
        """What is being done."""
        ...

    @property
    def done(self) -> int:
        """How many of them."""
        ...

    @property
    def total(self) -> int:
        """Of how many."""
        ...


Stage = TypeVar("Stage", bound=Staged)


def watch_scan(scans: "Iterable[Scan] | Iterable[Writing]") -> None:
    """Show progress while a source is read into the cache, or written as shards."""
    for _ in watch_stages(scans):
        pass


def watch_download(records: Iterable["DownloadProgress"]) -> None:
    """A bar over bytes while something is downloaded, on standard error; nothing if there is nothing to download."""
    columns = (TextColumn("Downloading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=errors, transient=True) if errors.is_terminal else None
    tasks: dict[str, Any] = {}
    try:
        for record in records:
            if record.name not in tasks:
                tasks[record.name] = _begin_download(record, bar)
            if bar is not None:
                bar.update(tasks[record.name], completed=record.done)
    finally:
        if bar is not None:
            bar.stop()


def _begin_download(record: "DownloadProgress", bar: Progress | None) -> Any:
    """A line or, where there is a terminal, a bar of its own for a file."""
    if bar is None:
        errors.print(Text(f"Downloading {record.name}"))
        return None
    bar.start()
    return bar.add_task(record.name, total=record.total or None)


def watch_stages(records: Iterable[Stage]) -> Iterator[Stage]:
    """Pass the records on, with a bar for each stage; without a terminal a line now and then."""
    if not console.is_terminal:
        told = time.monotonic()
        for record in records:
            if time.monotonic() - told > LINE_SECONDS:
                say(f"{DOING.get(record.stage, record.stage)} {record.done}/{record.total}")
                told = time.monotonic()
            yield record
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(), console=console, transient=True,
    ) as progress:  # fmt: skip
        tasks: dict[str, Any] = {}
        for record in records:
            if record.stage not in tasks:
                tasks[record.stage] = progress.add_task(DOING.get(record.stage, record.stage), total=record.total)
            progress.update(tasks[record.stage], completed=record.done)
            yield record


DOING = {
    "looking": "looking at the pictures",
    "decoding": "decoding the pictures",
    "shards": "writing the shards",
}


# --- painting -------------------------------------------------------------------------------------


def watch_painting(frames: Iterator["Frame"]) -> Iterator["Frame"]:
    """Pass the frames on, showing the scale, the losses and the time left: a bar, or plain lines."""

    def told(frame: "Frame") -> str:
        height, width = frame.canvas.image.shape[2:]
        return (
            f"{width}x{height} (scale {frame.scale + 1} of {frame.scales}) step {frame.iteration}/{frame.iterations}"
        )

    yield from _watch(frames, lambda frame: frame.done, told, lambda frame: frame)


def watch_teaching(lessons: Iterator["Lesson"]) -> Iterator["Lesson"]:
    """The same for a painter that is taught."""

    def told(lesson: "Lesson") -> str:
        return f"{lesson.images_seen:,} of {lesson.total:,} crops"

    yield from _watch(lessons, lambda lesson: lesson.images_seen / lesson.total, told, lambda lesson: lesson)


def watch_film(steps: Iterator["Painted"]) -> Iterator["Painted"]:
    """The same for a film: a bar over its pictures."""

    def progress(step: "Painted") -> float:
        return (step.picture + step.frame.done) / step.pictures

    def told(step: "Painted") -> str:
        return f"picture {step.picture + 1} of {step.pictures}, step {step.frame.iteration}/{step.frame.iterations}"

    yield from _watch(steps, progress, told, lambda step: step.frame)


def watch_projecting(steps: Iterator["ProjectionStep"]) -> Iterator["ProjectionStep"]:
    """The same for a projection: the search for a picture's latent."""

    def progress(step: "ProjectionStep") -> float:
        return step.step / max(1, step.steps)

    yield from _watch(steps, progress, lambda step: f"step {step.step}/{step.steps}", lambda step: step)


def watch_covering(records: Iterator["CoverageProgress"], name: str) -> Iterator["CoverageProgress"]:
    """The same for a run of `hasama coverage`."""

    def told(record: "CoverageProgress") -> str:
        return f"{name}: {record.stage}"

    yield from _watch(records, lambda record: record.done, told, lambda record: record)


def _watch(
    records: Iterator[Any],
    progress: Callable[[Any], float],
    told: Callable[[Any], str],
    frame_of: Callable[[Any], "Frame | ProjectionStep | CoverageProgress | Lesson"],
) -> Iterator[Any]:
    """A bar over any records that have a progress; without a terminal a line now and then."""
    began = shown = time.monotonic()
    first: float | None = None
    columns = (
        BarColumn(20), TextColumn("{task.percentage:.0f} %"), TextColumn("{task.fields[doing]}"),
        TextColumn("{task.fields[left]} left"), TextColumn("{task.fields[losses]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
    task = bar.add_task("", total=1.0, doing="", left="-", losses="") if bar else None
    with bar or nullcontext():
        for record in records:
            now, done = time.monotonic(), progress(record)
            first = done if first is None else first
            every = REFRESH_SECONDS if bar else LINE_SECONDS
            if now - shown > every:
                left = duration((1 - done) * (now - began) / (done - first)) if done > first else "-"
                losses = _terms(frame_of(record).losses)
                if bar and task is not None:
                    bar.update(task, completed=done, doing=told(record), left=left, losses=losses)
                else:
                    say(f"{100 * done:.0f} %  {told(record)}  {left} left  {losses}")
                shown = now
            if notice := getattr(frame_of(record), "notice", ""):
                say(notice, "yellow")
            yield record


def _terms(losses: dict[str, float]) -> str:
    """The weighted sum of losses, and its terms; nothing where nothing is minimised."""
    if not losses:
        return ""
    terms = " + ".join(f"{name} {value:.4g}" for name, value in losses.items())
    return f"loss {sum(losses.values()):.4g} = {terms}"
