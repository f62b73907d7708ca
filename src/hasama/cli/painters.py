"""Painting with a taught painter, for `hasama style`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hasama.cli.flags import INTERRUPTED, told_of_failures
from hasama.errors import HasamaError

if TYPE_CHECKING:
    from hasama.style.jobs.job import Job
    from hasama.style.painters.painter import Mix
    from hasama.style.painters.painter_file import Taught


def paint_with(painter: Path, jobs: list["Job"], mix: str | None, size: int) -> int:
    """Paint pictures with a taught painter; what cannot be painted is told and passed over, unless it is alone.

    Args:
        painter: its file.
        jobs: what to paint, and where.
        mix: '2,1': how much of each of its styles; None: of all alike.
        size: of the longer side; 0: as large as it is.

    Returns:
        The exit code.
    """
    from hasama.cli.terminal import complain

    taught, prepared = _opened(painter, jobs[0], mix)
    failed = 0
    for job in jobs:
        try:
            _paint_one(taught, prepared, job, size)
        except HasamaError as error:
            if len(jobs) == 1:
                raise
            complain(str(error))
            failed += 1
    return told_of_failures(len(jobs), failed, "painted")


def _opened(painter: Path, job: "Job", mix: str | None) -> tuple["Taught", "Mix"]:
    from hasama.device import pick_device
    from hasama.style.painters.painter import mix_of
    from hasama.style.painters.painter_file import load_painter

    taught = load_painter(painter, pick_device(job.machine.device))
    names = ", ".join(taught.styles)
    try:
        weights = [1.0] * len(taught.styles) if mix is None else [float(part) for part in mix.split(",")]
    except ValueError:
        weights = []
    if len(weights) != len(taught.styles) or min(weights) < 0 or not 0 < sum(weights) < 1e9:
        raise HasamaError(f"--mix takes a number for each style of {painter}: {names}; got {mix!r}.")
    return taught, mix_of(weights, job.recipe.strength)


def _paint_one(taught: "Taught", mix: "Mix", job: "Job", size: int) -> None:
    import time

    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.files import write_json
    from hasama.pictures.images import picture_format
    from hasama.style.canvas.colour import in_grey, with_luminance
    from hasama.style.canvas.pictures import read_picture, to_canvas, to_output, write_picture
    from hasama.style.memory import peak_bytes, process_bytes
    from hasama.style.painters.at_once import SIDE, paint_at_once, side_within
    from hasama.style.subject import within

    began = time.monotonic()
    picture_format(job.out)
    content = job.ready or read_picture(job.content)
    height, width = within(*content.size, size or max(content.size))
    photo = to_canvas(content, height, width)
    kept = job.recipe.keep_colour == "luminance"
    side = side_within(job.machine.memory, process_bytes()) if job.machine.memory else SIDE
    tiles = watch_stages(paint_at_once(taught.painter, in_grey(photo) if kept else photo, mix, side))
    painted = next(tile.picture for tile in tiles if tile.picture is not None)
    painted = with_luminance(photo, painted) if kept else painted
    deep = content.is_deep if job.sixteen_bits is None else job.sixteen_bits
    write_picture(to_output(painted, content, deep), job.out)
    seconds = time.monotonic() - began
    report = {
        "content": str(job.content), "styles": list(taught.styles), "mix": [round(float(one), 4) for one in mix[0]],
        "size": [width, height], "seconds": round(seconds, 2), "peak_memory_mib": round(peak_bytes() / 2**20, 1),
    }  # fmt: skip
    write_json(job.report, report)
    say(f"{job.out}  {width}x{height}, painted in {seconds:.1f} s")


def film_with(painter: Path, job: "Job", mix: str | None, asked: Callable[[], bool]) -> int:
    """Paint a film or an animation with a taught painter. Stopped, nothing is left: it is quick."""
    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.style.painters.film_at_once import paint_film_at_once

    taught, prepared = _opened(painter, job, mix)
    for _ in watch_stages(paint_film_at_once(taught.painter, prepared, job.content, job.out)):
        if asked():
            say("\nStopped; nothing was written.")
            return INTERRUPTED
    say(f"{job.out}")
    return 0
