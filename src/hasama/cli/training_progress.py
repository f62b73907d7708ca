"""Watching a training in the terminal: how far it is, its losses, what the doctor finds. It only consumes records."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from hasama.cli.terminal import LINE_SECONDS, REFRESH_SECONDS, WIDE, console, duration, of_players, say
from hasama.errors import HasamaError, short_of_memory

if TYPE_CHECKING:
    from hasama.recipe import Recipe
    from hasama.runs.folder import Run
    from hasama.training.game import Record


def watch_run(records: Iterator["Record"], recipe: "Recipe", start: int, run: "Run") -> Iterator["Record"]:
    """Pass the steps of a run on, stage by stage, showing how far it is, and new findings.

    Args:
        records: from a session.
        recipe: of its last stage.
        start: images seen before, of its last stage.
        run: its folder.
    """
    from hasama.runs.session import Earlier

    stages = itertools.groupby(records, lambda record: record.run if isinstance(record, Earlier) else run)
    for stage, some in stages:
        if stage is run:
            if recipe.small_kimg and not start:
                say(f"Now {recipe.size} pixels.")
            yield from watch_health(watch_training(some, recipe, start, run), run)
            continue
        steps = (record.step for record in some if isinstance(record, Earlier))
        first = next(steps)
        begun = first.images_seen - first.shown
        yield from watch_health(watch_training(itertools.chain([first], steps), stage.recipe(), begun, stage), stage)


@contextmanager
def within_memory(run: "Run") -> Iterator[None]:
    """While a run is trained: where memory runs out, what is kept, and how to go on in less.

    Raises:
        HasamaError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        told = short_of_memory(error)
        if told is None or not run.exists():
            raise
        recipe, seen = run.recipe(), run.images_seen()
        parts = next(filter(partial(_can_be_parted, recipe), range(recipe.accumulate + 1, recipe.batch + 1)), None)
        kept = f"{run.folder} stands at {seen / 1000:g} kimg, where it was last saved." if seen else ""
        less = (
            "Begin anew with a smaller --size or narrower networks (--width)."
            if parts is None
            else f"In less memory, to the same result, it goes on with:\n  {run.how_to_go_on()} --accumulate {parts}"
        )
        raise HasamaError(" ".join(filter(None, (told, kept, less)))) from error


def _can_be_parted(recipe: "Recipe", parts: int) -> bool:
    """Whether its batches can be taken in so many parts, by as many processes as there are."""
    from hasama.distributed import team
    from hasama.presets import can_be

    return recipe.batch % (parts * team().world) == 0 and can_be(recipe, accumulate=parts)


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
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "- images/s", no_wrap=True)


def _bar(records: Iterator["Record"], recipe: "Recipe", start: int, run: "Run") -> Iterator["Record"]:
    total, narrow, quality = recipe.images, console.width < WIDE, _LastLook(run)

    def told(images: int) -> str:
        return _kimg(images, recipe) if narrow else _seen(images, recipe)

    columns = (
        BarColumn(4 if narrow else 30), TextColumn("{task.percentage:.0f} % {task.fields[seen]}"), _Rate(),
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
    """How far work is that is no part of the run's own length: what is learnt before the game."""
    return "" if record.shown else f"{getattr(record, 'aside', '')} {getattr(record, 'done', 0):.0%}"


def _seen(images: int, recipe: "Recipe") -> str:
    """Both units of length: kimg and steps."""
    return f"{_kimg(images, recipe)} (step {images // recipe.batch:,})"


def _kimg(images: int, recipe: "Recipe") -> str:
    """How much of the length; of a short one in single images."""
    return f"{images / 1000:.{1 if recipe.kimg >= 10 else 3}f}/{recipe.kimg:g} kimg"


def _losses(record: "Record", narrow: bool = False) -> str:
    """Every loss with its name; where there is little room, the players' alone, as the field's papers call them."""
    figures = record.figures()
    losses = {name.removeprefix("loss_"): v for name, v in figures.items() if name.startswith("loss_")}
    if not narrow:
        return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
    return " ".join(f"{name} {value:.2f}" for name, value in of_players(losses).items())


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
