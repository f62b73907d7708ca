"""Progress of long work in the terminal: bars, or plain lines. Everything here only consumes records."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from hasama.evaluation.coverage import CoverageProgress
    from hasama.evaluation.subject import EvaluationProgress
    from hasama.generators.enlarging import Tile
    from hasama.generators.projection import ProjectionStep
    from hasama.pictures.decoding import Scan
    from hasama.pictures.shards.writing import Writing
    from hasama.pictures.sources.download import DownloadProgress
    from hasama.recipe import Recipe
    from hasama.runs.folder import Run
    from hasama.style.jobs.film import Painted
    from hasama.style.painters.at_once import Tile as PaintedTile
    from hasama.style.painters.film_at_once import Painted as PaintedPicture
    from hasama.style.painters.teaching import Lesson
    from hasama.style.transfer import Frame
    from hasama.training.game import Record
    from hasama.tuning.floor import Floor
    from hasama.tuning.gammas import GammaTrial
from hasama.cli.terminal import LINE_SECONDS, REFRESH_SECONDS, WIDE, console, duration, errors, say

Stage = TypeVar(
    "Stage", bound="Scan | Writing | EvaluationProgress | GammaTrial | Tile | Floor | PaintedTile | PaintedPicture"
)


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


def watch_training(records: Iterator["Record"], recipe: "Recipe", start: int, run: "Run") -> Iterator["Record"]:
    """Pass the records on, showing images per second, time left and the losses: a bar, or plain lines.

    Args:
        records: from `fit`.
        recipe: for its length and batch.
        start: images seen before.
        run: whose log has the quality.
    """
    if console.is_terminal:
        yield from _bar(records, recipe, start, run)
    else:
        yield from _lines(records, recipe, start, run)


def watch_health(records: Iterator["Record"], run: "Run") -> Iterator["Record"]:
    """Pass the records on, and print new findings and what the autopilot does about them."""
    from hasama.files import size_of
    from hasama.runs.autopilot import ATTEMPTS, interventions

    told = {(finding["name"], finding.get("severity")) for finding in run.findings()}
    size, done = size_of(run.health_file), len(interventions(run)) if run.exists() else 0
    for record in records:
        if (now := size_of(run.health_file)) != size:
            size = now
            for one in interventions(run)[done:]:
                say(
                    f"autopilot: back to {one.back_to / 1000:g} kimg, because of {one.finding}, with\n  {one.flags}",
                    "bold",
                )
                told, done = set(), done + 1
            for finding in run.findings():
                if (name := (finding["name"], finding.get("severity"))) not in told:
                    told.add(name)
                    _tell(finding)
                    if done >= ATTEMPTS and finding.get("severity") == "serious":
                        say(f"autopilot: its {ATTEMPTS} attempts are used up; the run goes on as it is.", "bold")
        yield record


def _tell(finding: dict[str, Any]) -> None:
    """Print a finding: what, why, and the first remedy."""
    colours = {"serious": "bold red", "warning": "yellow"}
    say(
        f"[{finding.get('severity')}] {finding['name']} at {finding['images_seen'] / 1000:g} kimg: "
        f"{finding.get('explanation', '')}",
        colours.get(finding.get("severity", ""), "cyan"),
    )
    if remedies := finding.get("remedies"):
        say(f"  try  {remedies[0]['flags']}")


class _Rate(ProgressColumn):
    """Images per second over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "- images/s")


def _bar(records: Iterator["Record"], recipe: "Recipe", start: int, run: "Run") -> Iterator["Record"]:
    total, narrow, quality = recipe.images, console.width < WIDE, _LastLook(run)

    def told(images: int) -> str:
        return f"{images / 1000:.1f}/{recipe.kimg:g} kimg" if narrow else _seen(images, recipe)

    columns = (
        BarColumn(10 if narrow else 30), TextColumn("{task.percentage:.0f} % {task.fields[seen]}"), _Rate(),
        TimeRemainingColumn(compact=True), TextColumn("left {task.fields[losses]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, speed_estimate_period=30) as progress:
        task = progress.add_task("", total=total, completed=start, seen=told(start), losses="")
        drawn = 0.0
        for record in records:
            if time.monotonic() - drawn > REFRESH_SECONDS:
                done, losses = min(record.images_seen, total), _losses(record, narrow) + quality()
                progress.update(task, completed=done, seen=_aside(record) or told(record.images_seen), losses=losses)
                drawn = time.monotonic()
            yield record
            start = record.images_seen
        progress.update(task, completed=min(start, total), seen=told(start))


def _lines(records: Iterator["Record"], recipe: "Recipe", start: int, run: "Run") -> Iterator["Record"]:
    began = told = time.monotonic()
    seen, quality = start, _LastLook(run)
    for record in records:
        now = time.monotonic()
        if record.images_seen < seen or not record.shown:  # the autopilot went back; the enlarger learns
            start, began = record.images_seen - (recipe.batch if record.shown else 0), now
        seen = record.images_seen
        if now - told > LINE_SECONDS and not record.shown:
            say(f"{_aside(record)}  {_losses(record)}")
            told = now
        elif now - told > LINE_SECONDS and now > began:
            rate = (record.images_seen - start) / (now - began)
            left = max(0, recipe.images - record.images_seen) / rate
            say(
                f"{_seen(record.images_seen, recipe)}  {rate:,.0f} images/s  {duration(left)} left  "
                f"{_losses(record)}{quality()}"
            )
            told = now
        yield record


def _aside(record: "Record") -> str:
    """How far work is that is no part of the run's own length: a stage of half the size; the enlarger's learning."""
    if record.shown:
        return ""
    stage, done, total = (getattr(record, name, 0) for name in ("stage", "done", "total"))
    return (
        f"first {stage} pixels: {done / 1000:.1f}/{total / 1000:g} kimg" if total else f"enlarger: {stage} {done:.0%}"
    )


def _seen(images: int, recipe: "Recipe") -> str:
    """Both units of length: kimg and steps."""
    return f"{images / 1000:.1f}/{recipe.kimg:g} kimg (step {images // recipe.batch:,})"


def _losses(record: "Record", narrow: bool = False) -> str:
    """Every loss with its name, or where there is little room with its name's first letter: D and G."""
    figures = record.figures()
    losses = {name.removeprefix("loss_"): v for name, v in figures.items() if name.startswith("loss_")}
    return "  ".join(f"{name[0].upper() if narrow else name} {value:.3f}" for name, value in losses.items())


class _LastLook:
    """The last look at the quality, if there was one, from what the log has grown by."""

    def __init__(self, run: "Run") -> None:
        from hasama.runs.lines import NewLines

        self.new_lines, self.told = NewLines(run.log_file), ""

    def __call__(self) -> str:
        for line in self.new_lines():
            if line.get("kid") is not None:
                self.told = f"  KID {line['kid']:.3g}"
        return self.told


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
