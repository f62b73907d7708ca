"""One picture painted into a file: resumed, kept up to date, reported."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hasama.errors import HasamaError
from hasama.files import check_place, fitting_name, replacing, write_json
from hasama.pictures.images import picture_format
from hasama.style.canvas.pictures import Picture, read_mask, read_picture, write_picture
from hasama.style.memory import peak_bytes
from hasama.style.painting import Machine, plan
from hasama.style.recipe import STARTS, StyleRecipe
from hasama.style.subject import Style, Subject, finished
from hasama.style.transfer import Frame, repaint
from hasama.version import __version__

SAVE_SECONDS = 60.0


PREVIEW_SECONDS = 5.0


PART = {"hasama", "mark", "side", "threads", "seconds", "peak", "steps", "curve", "notices", "last", "frame"}
"""What a saved painting holds."""


CURVE_POINTS = 500
"""Losses that the report keeps at most."""


class StyleSource(NamedTuple):
    """Where a style comes from: paths."""

    picture: Path
    weight: float = 1.0
    mask: Path | None = None
    where: Path | None = None


class Job(NamedTuple):
    """A picture to paint, as the command gets it."""

    content: Path
    styles: tuple[StyleSource, ...]
    out: Path
    recipe: StyleRecipe = StyleRecipe()
    machine: Machine = Machine()
    preview: bool = False
    sixteen_bits: bool | None = None
    """None: as the content has it."""
    ready: Picture | None = None
    """The content itself, where it is no file's."""

    @property
    def part(self) -> Path:
        """Where the work stands until it is done."""
        return self.out.with_name(fitting_name(self.out.name, ".part"))

    @property
    def report(self) -> Path:
        """What became of it."""
        return self.out.with_name(fitting_name(self.out.name, ".json"))

    @property
    def preview_file(self) -> Path:
        """The picture so far."""
        return self.out.with_name(fitting_name(self.out.stem, "-preview.png"))


def open_styles(sources: Sequence[StyleSource]) -> list[Style]:
    """Read the styles' pictures and masks.

    Raises:
        HasamaError: one cannot be read.
    """
    return [
        Style(
            read_picture(source.picture),
            source.weight,
            None if source.mask is None else read_mask(source.mask),
            None if source.where is None else read_mask(source.where),
        )
        for source in sources
    ]


# --- files ----------------------------------------------------------------------------------------


def paint_file(job: Job, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
    """Paint a job's picture into its file, going on where an earlier, killed or stopped attempt stands.

    Every minute everything is saved to `job.part`; it goes when the picture is there. Going on gives the picture
    that would have been, to the bit, on the same machine with as many threads.

    Args:
        job: what to paint, and where.
        stop: asked after every frame; when it says so, everything is saved.

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
    keeper.subject = subject
    frames = repaint(subject, state and state["frame"])
    last, greeting = None, f"Going on from {job.part}." if state else " ".join(keeper.notices)
    try:
        for last in frames:
            keeper.note(last)
            yield last._replace(notice=last.notice or greeting)
            greeting = ""
            if stop():
                keeper.save(last)
                return
    except GeneratorExit:
        if last is not None:
            keeper.save(last)
        raise
    keeper.finish(last)


class _Keeper:
    """The hand that writes a painting's files."""

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
            kept = self.job.part.with_name(fitting_name(self.job.part.name, ".old"))
            self.job.part.replace(kept)
            self.notices.append(f"Another painting was under way here; it is kept as {kept}.")
            return None
        self.seconds, self.peak, self.steps = state["seconds"], state["peak"], state["steps"]
        self.curve, self.notices, self.last = state["curve"], state["notices"], state["last"]
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
        with replacing(self.job.part) as temporary:
            torch.save(state, temporary)
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
            from hasama.style.canvas.canvas import Canvas

            image = Canvas.from_state(state["frame"]["canvas"], self.job.recipe, self.subject.device).shown()
        else:
            image = frame.image
        content = self.subject.content
        deep = content.is_deep if self.job.sixteen_bits is None else self.job.sixteen_bits
        write_picture(finished(self.subject, image, deep), self.job.out)
        if self.job.preview:
            write_picture(finished(self.subject, image, False), self.job.preview_file)
        write_json(self.job.report, self.told(image.shape[3], image.shape[2]))
        there = read_part(self.job.part)
        if there is None or there["mark"] == self.mark:  # and not another's, who paints into the same file
            self.job.part.unlink(missing_ok=True)

    def told(self, width: int, height: int) -> dict[str, Any]:
        """The report."""
        job, recipe = self.job, self.job.recipe
        assert self.subject is not None
        return {
            "hasama": __version__,
            "fingerprint": self.mark,
            "content": str(job.content),
            "styles": [
                {key: str(value) if isinstance(value, Path) else value for key, value in style._asdict().items()}
                for style in job.styles
            ],
            "size": [width, height],
            "window": self.subject.side,
            "seed": recipe.seed,
            "losses": self.last.get("losses", {}) | {"total": sum(self.last.get("losses", {}).values())},
            "distances": self.last.get("distances", {}),
            "iterations": self.steps,
            "seconds": round(self.elapsed(), 2),
            "peak_memory_mib": round(max(self.peak, peak_bytes()) / 2**20, 1),
            "threads": torch.get_num_threads(),
            "device": str(self.subject.device),
            "notices": self.notices,
            "recipe": recipe.to_dict(),
            "curve": self.curve,
        }


def fingerprint(job: Job, content: Picture) -> str:
    """What makes a painting this painting: every picture's bytes, the recipe and the network."""
    code = hashlib.sha256()
    fields = job.recipe.to_dict() | {"deep": job.sixteen_bits}
    code.update(json.dumps(fields, sort_keys=True).encode())
    code.update(repr((content.pixels.shape, content.pixels.dtype.str, content.alpha is None)).encode())
    code.update(content.pixels.tobytes() + (b"" if content.alpha is None else content.alpha.tobytes()))
    code.update(content.profile or b"")
    files = [path for style in job.styles for path in (style.picture, style.mask, style.where)]
    files += [job.machine.weights, None if job.recipe.start in STARTS else Path(job.recipe.start)]
    for path in files:
        code.update(b"-" if path is None else hashlib.sha256(_bytes(path)).digest())
    code.update(repr([style.weight for style in job.styles]).encode())
    return code.hexdigest()[:32]


def _bytes(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error


def read_part(path: Path) -> dict[str, Any] | None:
    """Where a painting stands; None if there is nothing, or nothing that can be read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # not there, cut short, or no such file: the picture is painted from the beginning
        return None
    whole = isinstance(state, dict) and set(state) >= PART and isinstance(state["frame"], dict)
    return state if whole and set(state["frame"]) >= {"scale", "iteration", "canvas"} else None


def reported_mark(job: Job) -> str | None:
    """The fingerprint of what stands in the job's place; None if nothing does, or nobody knows what."""
    try:
        return json.loads(job.report.read_text(encoding="utf-8"))["fingerprint"] if job.out.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_done(job: Job) -> bool:
    """Whether the job's picture is there, and was made from the same pictures by the same recipe."""
    mark = reported_mark(job)
    return mark is not None and mark == fingerprint(job, job.ready or read_picture(job.content))
