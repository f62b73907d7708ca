"""A film painted picture by picture, each from the last, and held where nothing moved, so that it does not flicker.

Ruder et al. 2016, Artistic Style Transfer for Videos: the last painting is carried along by the motion between the
two film pictures, is where the next begins, and stays wherever that motion can be trusted.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from hasama.errors import HasamaError, missing_extra
from hasama.files import check_place, fitting_name, write_json
from hasama.pictures.images import save_picture
from hasama.pictures.video import check_ending, save_film
from hasama.shapes import Images, Weighting
from hasama.style.canvas.colour import in_grey
from hasama.style.canvas.pictures import Picture, eight_bit_pixels, from_pixels, to_canvas
from hasama.style.methods.objective import TemporalTarget
from hasama.style.painting import plan
from hasama.style.painting_file import Job, fingerprint, open_styles, reported_mark
from hasama.style.subject import Subject, finished
from hasama.style.transfer import Frame, repaint

ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
"""What is taken for a film."""

NOTE = "painting.json"
"""Says whose pictures stand in a folder."""

ALIKE = 0.1
"""Difference of brightness, of the 2 between black and white, from which a film picture shows something else."""

SMALLEST_FLOW = 32
"""Pixels of the shorter side that the motion's pyramid needs."""


class Film(NamedTuple):
    """A film's form."""

    path: Path
    width: int
    height: int
    fps: float
    length: int
    """About so many pictures."""

    def pictures(self) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3], one after another."""
        import imageio_ffmpeg

        frames = imageio_ffmpeg.read_frames(str(self.path))
        next(frames)  # the form
        try:
            for frame in frames:
                yield np.frombuffer(frame, np.uint8).reshape(self.height, self.width, 3)
        finally:
            frames.close()


def open_film(path: Path) -> Film:
    """Look at a film.

    Raises:
        HasamaError: it is missing or broken, or the extra `video` is not installed.
    """
    for package, name in (("imageio_ffmpeg", "imageio-ffmpeg"), ("cv2", "opencv-python-headless")):
        if find_spec(package) is None:
            raise missing_extra(name, "video", "Painting a film")
    import imageio_ffmpeg

    if not path.exists():
        raise HasamaError(f"There is no film at {path}.")
    try:
        reader = imageio_ffmpeg.read_frames(str(path))
        form = next(reader)
        reader.close()
        width, height = form["size"]
    except Exception as error:  # ffmpeg's words, in many kinds of exceptions
        raise HasamaError(f"Cannot read the film {path}: it is broken, or no film at all.") from error
    return Film(path, width, height, form["fps"], max(1, round(form["duration"] * form["fps"])))


class Painted(NamedTuple):
    """One step of a film: the frame of the picture that is being painted."""

    picture: int
    """Counted from 0."""
    pictures: int
    """About so many there are."""
    frame: Frame


def paint_film(job: Job, stop: Callable[[], bool] = lambda: False) -> Iterator[Painted]:
    """Paint every picture of a film; those that an earlier, stopped attempt painted are kept.

    They stand as single pictures in the folder `out.frames` until the film is written, with the film's sound.

    Raises:
        HasamaError: see `stylize`; the film cannot be read; or the place cannot be written to.
    """
    check_ending(job.out)
    check_place(job.out)
    film = open_film(job.content)
    folder = job.out.with_name(fitting_name(job.out.name, ".frames"))
    styles = open_styles(job.styles)
    subject: Subject | None = None
    mark = film_fingerprint(job)
    before: np.ndarray | None = None
    index = 0
    for index, pixels in enumerate(film.pictures()):
        content = from_pixels(pixels)
        if subject is None:
            _own_folder(folder, mark)
            subject = plan(content, styles, job.recipe, job.machine)
        place = folder / f"{index:06}.png"
        if not place.exists():
            last = _opened(folder / f"{index - 1:06}.png") if index else None
            now = _for_picture(subject, content, before, last)
            frame = None
            for frame in repaint(now):
                yield Painted(index, max(film.length, index + 1), frame)
                if stop():
                    return
            assert frame is not None
            save_picture(Image.fromarray(eight_bit_pixels(finished(now, frame.image, False).pixels)), place)
        before = pixels
    if subject is None or before is None:
        raise HasamaError(f"Cannot read the film {job.content}: there are no pictures in it.")
    places = [folder / f"{number:06}.png" for number in range(index + 1)]
    save_film((Image.open(place) for place in places), job.out, film.fps, sound=job.content)
    write_json(
        job.report,
        {"content": str(job.content), "styles": [str(style.picture) for style in job.styles], "pictures": index + 1,
         "fps": film.fps, "seed": job.recipe.seed, "fingerprint": mark,
         "recipe": job.recipe.to_dict()},
    )  # fmt: skip
    for place in [*places, folder / NOTE]:
        place.unlink(missing_ok=True)
    with suppress(OSError):  # something of the user's is in it
        folder.rmdir()


def film_fingerprint(job: Job) -> str:
    """What makes a painted film this film: the film's bytes and all that makes a painting."""
    nothing = Picture(np.zeros((1, 1, 3), np.uint8))
    with job.content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32] + fingerprint(job, nothing)


def film_is_done(job: Job) -> bool:
    """Whether the painted film is there, and was made from the same film and pictures by the same recipe."""
    mark = reported_mark(job)
    return mark is not None and job.content.is_file() and mark == film_fingerprint(job)


def _own_folder(folder: Path, mark: str) -> None:
    """Make the folder of single pictures, or empty it if it is another painting's."""
    note = folder / NOTE
    try:
        same = json.loads(note.read_text(encoding="utf-8")) == mark
    except (OSError, ValueError):
        same = False
    if not same and not note.exists() and folder.exists() and any(folder.iterdir()):
        raise HasamaError(f"{folder} is in the way: the painted pictures go there. Move it, or choose another --out.")
    if not same:
        for old in folder.glob("[0-9]*.png"):
            old.unlink()
        write_json(note, mark)


def _opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def _for_picture(subject: Subject, content: Picture, before: np.ndarray | None, last: np.ndarray | None) -> Subject:
    """The first picture is painted like any other; each other one starts from the last one's painting."""
    now = subject._replace(content=content)
    if before is None or last is None:
        return now
    height, width = now.sizes()[-1]
    carried, confidence = carried_along(before, content.pixels, last, height, width)
    if subject.recipe.keep_colour == "luminance":
        carried = in_grey(carried)
    start = confidence * carried + (1 - confidence) * to_canvas(content, height, width)
    weight = subject.recipe.temporal_weight
    temporal_target = TemporalTarget(weight, carried.to(subject.device), confidence.to(subject.device))
    return now._replace(start_image=start, temporal_target=temporal_target)


def carried_along(
    before: np.ndarray, now: np.ndarray, painted: np.ndarray, height: int, width: int
) -> tuple[Images, Weighting]:
    """The last painting moved as the film moved, and where that can be trusted.

    Args:
        before: the last film picture, uint8 [H, W, 3].
        now: this film picture.
        painted: the last painting, uint8 [height, width, 3].
        height: of the paintings.
        width: likewise.

    Returns:
        [1, 3, height, width] in [-1, 1], and [height, width]: 1 where a place comes from where its motion says,
        there and back (Sundaram et al. 2010, equation 5), and looks the same; 0 elsewhere.
    """
    import cv2

    old, new = (
        cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
        for one in (before, now)
    )
    if min(height, width) < SMALLEST_FLOW:
        back = forth = np.zeros((height, width, 2), np.float32)
    else:
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        back, forth = flow.calc(new, old, None), flow.calc(old, new, None)  # type: ignore[call-overload]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    there_x, there_y = x + back[..., 0], y + back[..., 1]

    def fetch(image: np.ndarray) -> np.ndarray:
        return cv2.remap(image, there_x, there_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    around = back + fetch(forth)
    length = (back**2).sum(-1) + (fetch(forth) ** 2).sum(-1)
    inside = (there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1)
    alike = np.abs(fetch(old).astype(np.float32) - new) < ALIKE * 127.5
    trusted = inside & alike & ((around**2).sum(-1) <= 0.01 * length + 0.5)
    carried = torch.from_numpy(fetch(painted)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return carried, torch.from_numpy(trusted.astype(np.float32))
