"""One picture painted into a file: resumed, kept up to date, reported."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from hasama.device import peak_bytes
from hasama.files import check_place, write_json
from hasama.pictures.images import picture_format
from hasama.style.canvas.canvas import Canvas
from hasama.style.canvas.formats import lost_in
from hasama.style.canvas.pictures import read_picture, write_picture
from hasama.style.finish import finished
from hasama.style.jobs.job import (
    Job,
    StyleSource,
    another_was_here,
    fingerprint,
    is_done,
    kept_as,
    make_room,
    open_styles,
)
from hasama.style.masks import little_covered
from hasama.style.painting import plan
from hasama.style.recipe import IDLE_AT_ONCE
from hasama.style.subject import Subject
from hasama.style.transfer import Frame, repaint
from hasama.tensor_files import load_state, save_state
from hasama.version import __version__

__all__ = ["Job", "StyleSource", "fingerprint", "is_done", "paint_file", "read_part"]

SAVE_SECONDS = 60.0
PREVIEW_SECONDS = 5.0

PART = {"hasama", "mark", "side", "threads", "seconds", "peak", "steps", "curve", "notices", "last", "frame"}
"""What a saved painting holds."""

CURVE_POINTS = 500
"""Losses that the report keeps at most."""


def paint_file(
    job: Job, stop: Callable[[], bool] = lambda: False, lost: Callable[[], bool] = lambda: False
) -> Iterator[Frame]:
    """Paint a job's picture into its file, going on where an earlier, killed or stopped attempt stands.

    Every minute everything is saved to `job.part`; it goes when the picture is there. Going on gives the picture
    that would have been, to the bit, on the same machine with as many threads.

    Args:
        job: what to paint, and where.
        stop: asked after every frame; when it says so, everything is saved.
        lost: asked before anything is written: whether another process paints it by now. Then this one stops.

    Raises:
        HasamaError: see `stylize`; or the place cannot be written to.
    """
    picture_format(job.out)
    check_place(job.out)
    content = job.ready or read_picture(job.content)
    styles = open_styles(job.styles)
    keeper = _Keeper(job, fingerprint(job, content))
    state = keeper.before()
    machine = job.machine
    subject = plan(content, styles, job.recipe, machine)
    if state:
        subject = subject._replace(side=min(state["side"], subject.side) if machine.memory else state["side"])
    else:
        told = (kept_as(job, keeper.mark), little_covered(styles), *lost_in(job.out, content, job.sixteen_bits))
        keeper.notices += filter(None, told)
    keeper.subject = subject
    frames = repaint(subject, state and state["frame"])
    last, greeting = None, f"Going on from {job.part}." if state else " ".join(keeper.notices)
    try:
        for last in frames:
            if lost():
                return
            keeper.note(last)
            yield last._replace(notice=last.notice or greeting)
            greeting = ""
            if stop():
                keeper.save(last)
                return
    except GeneratorExit:
        if last is not None and not lost():
            keeper.save(last)
        raise
    if not lost():
        keeper.finish(last)


class _Keeper:
    """Writes a painting's files: the state to go on from, the preview, the picture and its report."""

    def __init__(self, job: Job, mark: str) -> None:
        self.job, self.mark = job, mark
        self.subject: Subject | None = None
        self.began = self.saved = time.monotonic()
        self.previewed = 0.0
        self.seconds, self.peak, self.steps = 0.0, 0, 0
        self.curve: list[list[float]] = []
        self.notices: list[str] = []
        self.last: dict[str, Any] = {}

    def before(self) -> dict[str, Any] | None:
        """Where an earlier attempt at the same painting stands."""
        state = read_part(self.job.part)
        if state is None:
            return None
        if (state["mark"], state["hasama"]) != (self.mark, __version__):
            self.notices.append(another_was_here(self.job.part))
            return None
        self.seconds, self.peak, self.steps = state["seconds"], state["peak"], state["steps"]
        self.curve, self.notices, self.last = state["curve"], state["notices"], state["last"]
        if self.job.machine.threads is None:
            torch.set_num_threads(state["threads"])
        return state

    def note(self, frame: Frame) -> None:
        """Whatever is due after this frame."""
        self.steps += 1
        self.curve.append([frame.scale, frame.iteration, frame.total])
        if len(self.curve) > CURVE_POINTS:
            del self.curve[1::2]
        if frame.notice:
            self.notices.append(frame.notice)
        self.last = {"losses": frame.losses, "distances": frame.distances}
        now = time.monotonic()
        if now - self.saved > SAVE_SECONDS:
            self.save(frame)
        if self.job.preview and now - self.previewed > PREVIEW_SECONDS:
            self.preview(frame)

    def elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.began

    def save(self, frame: Frame) -> None:
        """Everything that going on needs."""
        assert self.subject is not None
        state = {
            "hasama": __version__, "mark": self.mark, "side": self.subject.side, "threads": torch.get_num_threads(),
            "seconds": self.elapsed(), "peak": max(self.peak, peak_bytes()), "steps": self.steps,
            "curve": self.curve, "notices": self.notices, "last": self.last, "frame": frame.state_dict(),
        }  # fmt: skip
        save_state(self.job.part, state)
        self.saved = time.monotonic()

    def preview(self, frame: Frame) -> None:
        assert self.subject is not None
        write_picture(finished(self.subject, frame.image, False), self.job.preview_file)
        self.previewed = time.monotonic()

    def finish(self, frame: Frame | None) -> None:
        """The picture, its report, and the end of what is no longer needed."""
        assert self.subject is not None
        if frame is None:  # it was saved after its last frame
            state = read_part(self.job.part)
            assert state is not None
            image = Canvas.from_state(state["frame"]["canvas"], self.job.recipe, self.subject.device).shown()
        else:
            image = frame.image
        content = self.subject.content
        deep = content.is_deep if self.job.sixteen_bits is None else self.job.sixteen_bits
        picture = finished(self.subject, image, deep)
        make_room(self.job, self.mark)
        write_picture(picture, self.job.out)
        if self.job.preview:
            write_picture(finished(self.subject, image, False), self.job.preview_file)
        write_json(self.job.report, self.told(image.shape[3], image.shape[2]))
        there = read_part(self.job.part)
        if there is None or there["mark"] == self.mark:  # and not another's, who paints into the same file
            self.job.part.unlink(missing_ok=True)

    def told(self, width: int, height: int) -> dict[str, Any]:
        """The report; of what is painted at once, without what only an optimizer has."""
        job, recipe = self.job, self.job.recipe
        assert self.subject is not None
        settings = recipe.to_dict()
        course = {
            "losses": self.last.get("losses", {}) | {"total": sum(self.last.get("losses", {}).values())},
            "distances": self.last.get("distances", {}),
            "curve": self.curve,
        }
        if recipe.at_once:
            settings = {name: value for name, value in settings.items() if name not in IDLE_AT_ONCE}
            course = {}
        return {
            "hasama": __version__,
            "fingerprint": self.mark,
            "content": str(job.content),
            "styles": [
                {
                    key: str(value) if isinstance(value, Path) else value
                    for key, value in style._asdict().items()
                    if key != "region" or value is not None
                }
                for style in job.styles
            ],
            "size": [width, height],
            "window": self.subject.side,
            "seed": recipe.seed,
            "iterations": self.steps,
            "seconds": round(self.elapsed(), 2),
            "peak_memory_mib": round(max(self.peak, peak_bytes()) / 2**20, 1),
            "threads": torch.get_num_threads(),
            "device": str(self.subject.device),
            "notices": self.notices,
            "recipe": settings,
            **course,
        }


def read_part(path: Path) -> dict[str, Any] | None:
    """Where a painting stands; None if there is nothing, or nothing that can be read."""
    try:
        state = load_state(path)
    except Exception:  # not there, cut short, or no such file: the picture is painted from the beginning
        return None
    sound = isinstance(state, dict) and set(state) >= PART and isinstance(state["frame"], dict)
    return state if sound and set(state["frame"]) >= {"scale", "iteration", "canvas"} else None
