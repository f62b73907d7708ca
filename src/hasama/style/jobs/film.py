"""A film, or an animation, painted picture by picture, each from the last, so that it does not flicker.

Ruder et al. 2016, Artistic Style Transfer for Videos: the last painting is carried along by the motion between the
two film pictures (`motion`). The next painting begins there, and the temporal loss keeps it there where there is
confidence in the motion.
"""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hasama.errors import HasamaError, missing_extra
from hasama.files import check_place, remove_leftovers, write_json
from hasama.names import fitting_name
from hasama.pictures.animation import Animation, is_animation, open_animation
from hasama.pictures.images import save_picture
from hasama.pictures.video import Timing, breaks_off, check_ending, for_ffmpeg, save_film
from hasama.style.canvas.canvas import Canvas
from hasama.style.canvas.colour import in_grey
from hasama.style.canvas.pictures import Picture, from_pixels, to_canvas
from hasama.style.finish import finished
from hasama.style.instant import learn_for_all
from hasama.style.jobs.job import Job, another_was_here, fingerprint, kept_as, make_room, open_styles, reported_mark
from hasama.style.jobs.motion import carried_along, laid_again, steadied
from hasama.style.masks import little_covered
from hasama.style.methods.objective import TemporalTarget
from hasama.style.painting import plan
from hasama.style.subject import Subject
from hasama.style.transfer import Frame, repaint
from hasama.tensor_files import load_state, save_state
from hasama.version import __version__

ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
"""Of the files that are films by their name. Animations are films by their content."""

FASTEST = 60.0
"""Pictures a second at most, of a film that does not say it."""

LEARNT_FROM = 6
"""Pictures of a film, from which `instant` learns how its features are moved."""

NOTE, BEGUN = "painting.json", "picture.part"
"""The file that says of which painting the pictures in a folder are, and where the one under way stands."""

SAVE_SECONDS = 60.0


class Film(NamedTuple):
    """A film's form."""

    path: Path
    width: int
    height: int
    fps: float
    length: int
    """About so many pictures."""
    animation: Animation | None = None
    """Its pictures may stand for different times, and be transparent."""

    @property
    def timing(self) -> Timing | None:
        """How long each picture stands; None: equally long."""
        return Timing(self.animation.durations, self.animation.plays) if self.animation else None

    def pictures(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3], of some animations [H, W, 4], one after another."""
        if self.animation:
            yield from self.animation.pictures()
            return
        import imageio_ffmpeg  # an extra

        # at an even rate, or a film whose pictures stand for different times would become slower
        frames = imageio_ffmpeg.read_frames(for_ffmpeg(self.path), output_params=["-r", f"{self.fps:g}"])
        try:
            next(frames)  # the form
            for frame in frames:
                yield np.frombuffer(frame, np.uint8).reshape(self.height, self.width, 3)
        except OSError as error:  # ffmpeg's words
            raise HasamaError(f"Cannot read the film {self.path}: it is broken, or no film at all.") from error
        finally:
            frames.close()


def is_film(path: Path) -> bool:
    """Whether a file is taken for a film: by its name, or because it is an animation."""
    return path.suffix.lower() in ENDINGS or is_animation(path)


def open_film(path: Path) -> Film:
    """The form of a film or an animation.

    Raises:
        HasamaError: it is missing or broken, or the extra `video` is not installed.
    """
    animated = is_animation(path)
    for package, name in (("imageio_ffmpeg", "imageio-ffmpeg"), ("cv2", "opencv-python-headless")):
        if find_spec(package) is None and not (animated and package == "imageio_ffmpeg"):
            raise missing_extra(name, "video", "Painting a film")
    if animated:
        form = open_animation(path)
        timing = Timing(form.durations, form.plays)
        return Film(path, form.width, form.height, timing.fps, len(form.durations), form)
    import imageio_ffmpeg  # an extra

    if not path.exists():
        raise HasamaError(f"There is no film at {path}.")
    try:
        reader = imageio_ffmpeg.read_frames(for_ffmpeg(path))
        form = next(reader)
        reader.close()
        width, height = form["size"]
        fps, seconds = form["fps"], form["duration"]
        length = round(seconds * fps)
        if not length:  # where no length or no rate is written down, as where a browser records
            length, seconds = (float(one or 0) for one in imageio_ffmpeg.count_frames_and_secs(for_ffmpeg(path)))
        fps = fps or min(max(1.0, length / seconds if seconds else 1.0), FASTEST)
    except Exception as error:  # ffmpeg's words, in many kinds of exceptions
        raise HasamaError(f"Cannot read the film {path}: it is broken, or no film at all.") from error
    return Film(path, width, height, fps, round(length) or 1)


class Painted(NamedTuple):
    """One step of a film: the frame of the picture that is being painted."""

    picture: int
    """Counted from 0."""
    pictures: int
    """About so many there are."""
    frame: Frame


def paint_film(job: Job, stop: Callable[[], bool] = lambda: False) -> Iterator[Painted]:
    """Paint every picture of a film; those that an earlier, stopped attempt painted are kept.

    They stand as single pictures in the folder `out.frames` until the film is written, with the film's sound; beside
    them, every minute and where it is stopped, stands the picture under way.

    Raises:
        HasamaError: see `stylize`; the film cannot be read; or the place cannot be written to.
    """
    check_ending(job.out)
    check_place(job.out)
    film = open_film(job.content)
    styles = open_styles(job.styles)
    mark, folder = film_fingerprint(job), frames_folder(job)
    subject: Subject | None = None
    before: Picture | None = None
    notice, index = "", 0
    for index, pixels in enumerate(film.pictures()):
        content = from_pixels(pixels)
        if subject is None:
            subject = plan(content, styles, job.recipe, job.machine)
            told = (kept_as(job, mark), _own_folder(folder, mark), little_covered(styles))
            notice = " ".join(filter(None, told))
            if job.recipe.at_once:
                subject = subject._replace(maps=learn_for_all(subject, _spread(film)))
        place = _place_of(folder, index)
        if not _is_whole(place):
            last = _opened(_place_of(folder, index - 1)) if index else None
            now, frame, saved = _for_picture(subject, content, before, last), None, time.monotonic()
            begun = _begun(folder, index)
            for frame in repaint(now, begun):
                yield Painted(index, max(film.length, index + 1), frame._replace(notice=frame.notice or notice))
                notice = ""
                if stop() or time.monotonic() - saved > SAVE_SECONDS:
                    _save(folder, index, frame)
                    saved = time.monotonic()
                if stop():
                    return
            picture = _picture_of(now, begun) if frame is None else frame.picture
            if job.recipe.at_once and before is not None and last is not None:
                steady = steadied(np.asarray(picture), last, opaque(before), opaque(content))
                picture = Image.fromarray(steady)
            save_picture(picture, place)
        before = content
    if subject is None:
        raise HasamaError(f"Cannot read the film {job.content}: there are no pictures in it.")
    _join(job, film, folder, index + 1, mark)


def _save(folder: Path, index: int, frame: Frame) -> None:
    """Where a picture stands, so that stopping or a kill costs none of it."""
    save_state(folder / BEGUN, {"hasama": __version__, "picture": index, "frame": frame.state_dict()})


def _begun(folder: Path, index: int) -> dict[str, Any] | None:
    """Where an earlier attempt at a picture stands; None where there is none, or nothing that can be read."""
    try:
        state = load_state(folder / BEGUN)
        return state["frame"] if (state["hasama"], state["picture"]) == (__version__, index) else None
    except Exception:  # not there, cut short, or no such file: the picture is painted from its beginning
        return None


def _picture_of(subject: Subject, begun: dict[str, Any] | None) -> Image.Image:
    """Of a picture that was saved after its last step."""
    assert begun is not None
    canvas = Canvas.from_state(begun["canvas"], subject.recipe, subject.device)
    return finished(subject, canvas.shown(), False).shown()


def _spread(film: Film) -> list[Picture]:
    """Some pictures from all over a film, from which maps are learnt that hold for all of it."""
    apart = max(1, math.ceil(film.length / LEARNT_FROM))
    chosen = itertools.islice(film.pictures(), apart // 2, None, apart)
    found = [from_pixels(pixels) for pixels in itertools.islice(chosen, LEARNT_FROM)]
    return found or [from_pixels(pixels) for pixels in itertools.islice(film.pictures(), 1)]


def _join(job: Job, film: Film, folder: Path, count: int, mark: str) -> None:
    """The film of the painted pictures, and its report; then the pictures go."""
    places = [_place_of(folder, number) for number in range(count)]
    make_room(job, mark)
    save_film(read_one_by_one(places), job.out, film.fps, sound=job.content, timing=film.timing)
    report: dict[str, Any] = {
        "content": str(job.content), "styles": [str(style.picture) for style in job.styles], "pictures": count,
        "fps": round(film.fps, 3), "seed": job.recipe.seed, "fingerprint": mark, "recipe": job.recipe.to_dict(),
    }  # fmt: skip
    if film.animation:
        report["durations"] = list(film.animation.durations)
    if notices := broken_off(film, count):
        report["notices"] = notices
    write_json(job.report, report)
    for place in [*places, folder / NOTE, folder / BEGUN]:
        place.unlink(missing_ok=True)
    remove_leftovers(folder)
    with suppress(OSError):  # something of the user's is in it
        folder.rmdir()


def broken_off(film: Film, count: int) -> list[str]:
    """What is told of a film of which only so many pictures could be read; nothing of one that is whole."""
    if film.animation or not breaks_off(film.path):
        return []
    return [f"{film.path} breaks off: {count} of about {film.length} pictures could be read."]


def frames_folder(job: Job) -> Path:
    """Where the painted pictures stand until the film is written."""
    return job.out.with_name(fitting_name(job.out.name, ".frames"))


def _place_of(folder: Path, index: int) -> Path:
    return folder / f"{index:06}.png"


def _is_whole(place: Path) -> bool:
    """Whether a picture was painted before, and can be read."""
    try:
        _opened(place)
    except OSError:  # of broken pictures, too
        return False
    return True


def read_one_by_one(places: Sequence[Path]) -> Iterator[Image.Image]:
    """One after another, so that few files are open at a time."""
    for place in places:
        with Image.open(place) as picture:
            yield picture.copy()


def film_fingerprint(job: Job) -> str:
    """What makes a painted film this film: the film's bytes and all that makes a painting."""
    nothing = Picture(np.zeros((1, 1, 3), np.uint8))
    with job.content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32] + fingerprint(job, nothing)


def film_is_done(job: Job) -> bool:
    """Whether the painted film is there, and was made from the same film and pictures by the same recipe."""
    mark = reported_mark(job)
    return mark is not None and job.content.is_file() and mark == film_fingerprint(job)


def _own_folder(folder: Path, mark: str) -> str:
    """Make the folder of single pictures; another painting's is set aside.

    Returns:
        What to tell of that.
    """
    note = folder / NOTE
    try:
        same = json.loads(note.read_text(encoding="utf-8")) == mark
    except (OSError, ValueError):
        same = False
    foreign = (one for one in folder.glob("*") if not one.name.startswith("."))
    if not same and not note.exists() and any(foreign):
        raise HasamaError(f"{folder} is in the way: the painted pictures go there. Move it, or choose another --out.")
    begun = not same and any((*folder.glob("[0-9]*.png"), *folder.glob(BEGUN)))
    told = another_was_here(folder) if begun else ""
    if not same:
        write_json(note, mark)
    return told


def opaque(picture: Picture) -> np.ndarray:
    """uint8 [H, W, 3], with mid-grey behind what is transparent."""
    if picture.alpha is None:
        return picture.pixels
    alpha = picture.alpha[..., None] / 255
    return (picture.pixels * alpha + 127.5 * (1 - alpha)).round().astype(np.uint8)


def _opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _for_picture(subject: Subject, content: Picture, before: Picture | None, last: np.ndarray | None) -> Subject:
    """The first picture is painted like any other; each other one starts from the last one's painting."""
    now = subject._replace(content=content)
    if before is None or last is None or now.recipe.at_once:
        return now
    height, width = now.sizes()[-1]
    carried, confidence = carried_along(opaque(before), opaque(content), last, height, width)
    if subject.recipe.keep_colour == "luminance":
        carried = in_grey(carried)
    carried = laid_again(carried, content)
    start = confidence * carried + (1 - confidence) * to_canvas(content, height, width)
    weight = subject.recipe.temporal_weight
    temporal_target = TemporalTarget(weight, carried.to(subject.device), confidence.to(subject.device))
    return now._replace(start_image=start, temporal_target=temporal_target)
