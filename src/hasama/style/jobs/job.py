"""What is to be painted, as the command gets it: paths, a place, and what makes a painting this painting."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hasama.errors import HasamaError
from hasama.files import set_aside
from hasama.names import SPARE, at_home, fitting_name, preview_beside
from hasama.shapes import Weighting
from hasama.style.canvas.pictures import Picture, read_picture
from hasama.style.canvas.regions import RegionMap
from hasama.style.masks import read_grey_mask, read_map
from hasama.style.painting import Machine
from hasama.style.recipe import STARTS, StyleRecipe
from hasama.style.subject import Style


class StyleSource(NamedTuple):
    """Where a style comes from: paths."""

    picture: Path
    weight: float = 1.0
    mask: Path | None = None
    where: Path | None = None
    region: int | None = None
    """Where `where` is a coloured map: the number of this style's colour in it."""


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
    keeps: bool = False
    """Of a place that nobody named: whether another finished painting there is kept, under another name."""

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
        return preview_beside(self.out)


def open_styles(sources: Sequence[StyleSource]) -> list[Style]:
    """Read the styles' pictures and masks.

    Raises:
        HasamaError: one cannot be read.
    """
    maps = {source.where: read_map(source.where) for source in sources if source.where and source.region is not None}
    return [
        Style(
            read_picture(source.picture),
            source.weight,
            None if source.mask is None else read_grey_mask(source.mask),
            None if source.where is None else _where(source.where, source.region, maps),
            str(source.picture),
        )
        for source in sources
    ]


def _where(path: Path, region: int | None, maps: dict[Path, RegionMap]) -> Weighting:
    return read_grey_mask(path) if region is None else maps[path].mask(region)


def another_was_here(place: Path) -> str:
    """Set aside what another painting has left where this one's work is to stand.

    Returns:
        What to tell of it.
    """
    return f"Another painting was under way here; it is kept as {set_aside(place)}."


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
    if any(style.region is not None for style in job.styles):
        code.update(repr([style.region for style in job.styles]).encode())
    return code.hexdigest()[:32]


def _bytes(path: Path) -> bytes:
    try:
        return at_home(path).read_bytes()
    except OSError as error:
        raise HasamaError(f"Cannot read {path}: {error.strerror or error}.") from error


def reported_mark(job: Job) -> str | None:
    """The fingerprint of what stands in the job's place; None if nothing does, or nobody knows what."""
    try:
        return json.loads(job.report.read_text(encoding="utf-8"))["fingerprint"] if job.out.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def in_the_way(job: Job, mark: str) -> Job | None:
    """Another painting that stands in a place that nobody named, and is to be kept: as a job, under its new name.

    Args:
        job: what is to be painted.
        mark: its fingerprint; what has the same is this painting, and is replaced.
    """
    if not job.keeps or not job.out.exists() or reported_mark(job) == mark:
        return None
    number, kept = 2, job
    while kept.out.exists() or kept.report.exists():
        name = fitting_name(job.out.stem, f"-{number}{job.out.suffix}", SPARE)
        number, kept = number + 1, job._replace(out=job.out.with_name(name))
    return kept


def kept_as(job: Job, mark: str) -> str:
    """What to tell before the work of a painting that is in the way; nothing if none is."""
    kept = in_the_way(job, mark)
    return f"Another painting was here; it is kept as {kept.out}." if kept else ""


def make_room(job: Job, mark: str) -> None:
    """Just before a painting is written: give another one that stands there its new name."""
    if kept := in_the_way(job, mark):
        if job.report.exists():
            job.report.replace(kept.report)
        job.out.replace(kept.out)


def is_done(job: Job) -> bool:
    """Whether the job's picture is there, and was made from the same pictures by the same recipe."""
    mark = reported_mark(job)
    return mark is not None and mark == fingerprint(job, job.ready or read_picture(job.content))
