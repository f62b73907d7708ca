"""Painting many pictures, shared with other processes, and with a taught painter, for `hasama style`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasama.cli.flags import INTERRUPTED, told_of_failures, told_of_notices
from hasama.cli.streams import is_a_streams
from hasama.errors import HasamaError

if TYPE_CHECKING:
    from collections.abc import Generator

    from hasama.claims import Claim, Holder
    from hasama.style.canvas.pictures import Picture
    from hasama.style.jobs.job import Job
    from hasama.style.jobs.shared import Turn
    from hasama.style.painters.painter import Mix
    from hasama.style.painters.painter_file import Taught

GREY_BYTES = 24
"""For each pixel of a painting that keeps its photo's colours: the photo in grey, and what puts the colours back."""

NAMED = 3
"""Pictures of other processes that are named at the end; the rest are counted."""


def told_of_turns(turns: "Generator[Turn, None, None]", jobs: Sequence["Job"], asked: Callable[[], bool]) -> int:
    """Tell what becomes of every job. What cannot be painted is told and passed over, unless it is the only one.

    Args:
        turns: of `share`.
        jobs: all of them.
        asked: whether someone wants to stop, and the job whose turn it was has perhaps but been saved.

    Returns:
        The exit code: 0, `PARTLY` if some could not be painted, 2 if none could, `INTERRUPTED`.

    Raises:
        HasamaError: the only job cannot be painted, or another process paints it.
    """
    from hasama.cli.terminal import complain, say
    from hasama.style.jobs.job import is_done

    others: dict[Path, Holder] = {}
    ended: set[Path] = set()
    failed = 0
    with closing(turns):
        for number, job, state, holder, error in turns:
            if error is not None:
                if len(jobs) == 1:
                    raise error
                complain(str(error))
                failed += 1
            if holder is not None and job.out not in others and len(jobs) > 1:
                say(f"[{number}/{len(jobs)}] {job.content}: {holder} is painting it")
            if state == "done":
                say(f"{job.out} is already painted.")
            if holder is not None:
                others[job.out] = holder
            else:
                others.pop(job.out, None)
                ended |= {job.out} if state != "painted" or not asked() or is_done(job) else set()
            if asked():
                break
    if asked() and len(ended) < len(jobs):
        lost = any(is_a_streams(job.out) for job in jobs)
        told = (
            "Stopped: of what goes to standard output nothing is kept. Name a file by --out to go on with it later."
        )
        say("\n" + (told if lost else "Saved. To go on, give the same command again."))
        return INTERRUPTED
    _tell_of_others(others, len(jobs))
    return told_of_failures(len(jobs) - len(others), failed, "painted")


def _tell_of_others(others: dict[Path, "Holder"], total: int) -> None:
    from hasama.cli.terminal import say

    if others and total == 1:
        ((place, holder),) = others.items()
        raise _painted_by(place, holder)
    if others:
        named = [f"{place} ({holder})" for place, holder in list(others.items())[:NAMED]]
        named += [f"{len(others) - NAMED} more"] if len(others) > NAMED else []
        say(
            f"{len(others)} of {total} are being painted by others: {', '.join(named)}. If one is killed, the same "
            "command again paints what it left."
        )


def _painted_by(place: Path, holder: "Holder | None") -> HasamaError:
    return HasamaError(
        f"{place}: {holder or 'another process'} is painting it. Wait for that, or choose another --out."
    )


@contextmanager
def held_alone(job: "Job") -> Iterator["Claim"]:
    """Claim what cannot be shared, a film, while the block runs.

    Raises:
        HasamaError: another process paints it, or has taken it over while this one slept.
    """
    from hasama.claims import claimed, holder_of

    with claimed(job.out) as claim:
        if claim is None:
            raise _painted_by(job.out, holder_of(job.out))
        yield claim
        if claim.lost:
            raise _painted_by(job.out, holder_of(job.out))


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
    from hasama.style.canvas.pictures import read_picture
    from hasama.style.jobs.job import reported_mark
    from hasama.style.jobs.shared import share

    taught, prepared = _opened(painter, jobs[0], mix)

    def done(job: "Job") -> bool:
        mark = reported_mark(job)
        return mark is not None and mark == _mark(job, job.ready or read_picture(job.content), prepared, size)

    def paint(number: int, job: "Job", claim: "Claim") -> None:
        _paint_one(taught, prepared, job, size)

    return told_of_turns(share(jobs, done, paint), jobs, lambda: False)


def _opened(painter: Path, job: "Job", mix: str | None) -> tuple["Taught", "Mix"]:
    from hasama.device import keep_memory, pick_device
    from hasama.style.painters.painter import mix_of
    from hasama.style.painters.painter_file import load_painter
    from hasama.style.recipe import parse_mix

    keep_memory(job.machine.memory is None)
    taught = load_painter(painter, pick_device(job.machine.device))
    try:
        weights = [1.0] * len(taught.styles) if mix is None else parse_mix(mix, len(taught.styles), some=True)
    except HasamaError as error:
        raise HasamaError(f"{error} {painter} holds {', '.join(taught.styles)}.") from error
    return taught, mix_of(weights, job.recipe.strength)


def _mark(job: "Job", content: "Picture", mix: "Mix", size: int) -> str:
    """What makes a painting by a taught painter this painting; the painter's file is the job's style."""
    from hasama.style.jobs.job import fingerprint

    known = fingerprint(job, content)
    return _mixed(f"{known} in sRGB" if content.profile else known, mix, size)


def _mixed(mark: str, mix: "Mix", size: int = 0) -> str:
    import hashlib

    told = repr((mark, [float(one) for one in mix[0]], size))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _paint_one(taught: "Taught", mix: "Mix", job: "Job", size: int) -> None:
    import time

    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.files import write_json
    from hasama.pictures.images import picture_format
    from hasama.style.canvas.colour import in_grey, with_luminance
    from hasama.style.canvas.formats import lost_in
    from hasama.style.canvas.pictures import in_space_of, read_picture, to_canvas, to_output, write_picture
    from hasama.style.jobs.job import kept_as, make_room
    from hasama.style.memory import process_bytes
    from hasama.style.painters.at_once import SIDE, paint_at_once, side_within
    from hasama.style.subject import within

    began = time.monotonic()
    picture_format(job.out)
    content = job.ready or read_picture(job.content)
    height, width = within(*content.size, size or max(content.size))
    lost = lost_in(job.out, content, job.sixteen_bits)  # before anything is painted that could not be written
    seen = in_space_of(content, None)  # a painter has learnt from numbers that are sRGB's, and makes such
    photo = to_canvas(seen, height, width)
    kept = job.recipe.keep_colour == "luminance"
    taken = process_bytes() + kept * GREY_BYTES * height * width
    side = side_within(taught.painter, height, width, job.machine.memory, taken) if job.machine.memory else SIDE
    tiles = watch_stages(paint_at_once(taught.painter, in_grey(photo) if kept else photo, mix, side))
    painted = next(tile.picture for tile in tiles if tile.picture is not None)
    painted = with_luminance(photo, painted) if kept else painted
    deep = content.is_deep if job.sixteen_bits is None else job.sixteen_bits
    mark = _mark(job, content, mix, size)
    lost = [note for note in (kept_as(job, mark), *lost) if note]
    make_room(job, mark)
    write_picture(to_output(painted, seen, deep), job.out)
    seconds = time.monotonic() - began
    report = {"fingerprint": mark, "size": [width, height], "notices": lost}
    write_json(job.report, report | _told(job, taught, mix, seconds))
    say(f"{job.out}  {width}x{height}, painted in {seconds:.1f} s")
    for note in lost:
        say(note, "yellow")


def film_with(painter: Path, job: "Job", mix: str | None, asked: Callable[[], bool]) -> int:
    """Paint a film or an animation with a taught painter. Stopped, nothing is left: it is quick."""
    import time

    from hasama.cli.progress import watch_stages
    from hasama.cli.terminal import say
    from hasama.files import write_json
    from hasama.names import fitting_name
    from hasama.style.jobs.film import broken_off, film_fingerprint, open_film
    from hasama.style.jobs.job import kept_as, make_room, reported_mark
    from hasama.style.painters.film_at_once import paint_film_at_once

    taught, prepared = _opened(painter, job, mix)
    mark = _mixed(film_fingerprint(job), prepared)
    if reported_mark(job) == mark:
        say(f"{job.out} is already painted.")
        return 0
    began, count = time.monotonic(), 0
    with held_alone(job) as claim:
        told, kept = kept_as(job, mark), job.recipe.keep_colour == "luminance"
        made = job.out.with_name(fitting_name(f".{job.out.stem}", f".new{job.out.suffix}")) if told else job.out
        film = paint_film_at_once(taught.painter, prepared, job.content, made, job.machine.memory, kept)
        for picture in watch_stages(film):
            count = picture.done
            if asked():
                say("\nStopped; nothing was written.")
                return INTERRUPTED
            if claim.lost:
                break
        if told:
            make_room(job, mark)
            made.replace(job.out)
            say(told, "yellow")
        write_json(job.report, {"fingerprint": mark} | _told(job, taught, prepared, time.monotonic() - began))
    say(f"{job.out}")
    return told_of_notices(broken_off(open_film(job.content), count))


def _told(job: "Job", taught: "Taught", mix: "Mix", seconds: float) -> dict[str, Any]:
    """A report's beginning."""
    from hasama.device import peak_bytes

    return {
        "content": str(job.content), "styles": list(taught.styles), "mix": [round(float(one), 4) for one in mix[0]],
        "seconds": round(seconds, 2), "peak_memory_mib": round(peak_bytes() / 2**20, 1),
    }  # fmt: skip
