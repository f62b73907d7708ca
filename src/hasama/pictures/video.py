"""Moving pictures: GIF, WebP and APNG by Pillow, MP4 by imageio-ffmpeg (an extra)."""

import errno
import math
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Full, Queue
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hasama.errors import HasamaError, missing_extra
from hasama.files import replacing
from hasama.pictures.images import as_channels, clear_or_opaque, has_alpha

ENDINGS = (".mp4", ".gif", ".webp", ".apng")

AHEAD = 8
"""Frames that wait to be encoded at most."""

GIF_FPS = 50
"""Frames per second that browsers show of a GIF: where more are asked for, they show ten."""

FINEST = 10
"""Milliseconds that a frame of an MP4 stands at least, where frames stand for different times."""

ALIKE = 2
"""Milliseconds by which the times of frames may differ and still be the same: 33, 33, 34."""


BT_709 = (
    "-vf", "scale=out_color_matrix=bt709:out_range=tv",
    "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv",
)  # fmt: skip
"""ITU-R BT.709's matrix, and the word of it in the file. Left to itself, ffmpeg takes BT.601's and says nothing, and
players take large films for BT.709: greens and reds are off."""


class Timing(NamedTuple):
    """How long the frames stand, where it is not the same for all."""

    durations: tuple[int, ...]
    """Milliseconds for each frame, positive."""
    plays: int = 0
    """How often an animation is shown; 0: for ever."""

    @property
    def fps(self) -> float:
        """Frames per second, in the mean."""
        return 1000 * len(self.durations) / sum(self.durations)

    def repeats(self) -> tuple[float, list[int]]:
        """(frames per second, how often each frame is written), where all written frames stand equally long."""
        if max(self.durations) - min(self.durations) <= ALIKE:
            return self.fps, [1] * len(self.durations)
        step = max(math.gcd(*self.durations), FINEST)
        ends = np.cumsum(self.durations) / step
        return 1000 / step, [max(1, round(end) - round(begin)) for begin, end in zip([0, *ends], ends, strict=False)]


def check_ending(path: Path) -> None:
    """Before any frame is painted: can this file be written here?

    Raises:
        HasamaError: an ending that is not one of `ENDINGS`, or MP4 without its extra.
    """
    if path.suffix.lower() not in ENDINGS:
        raise HasamaError(f"Cannot write a film called {path.name}: use one of the endings {', '.join(ENDINGS)}.")
    if path.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise missing_extra("imageio-ffmpeg", "video", "Writing MP4")


def save_film(
    frames: Iterable[Image.Image],
    path: str | Path,
    fps: float = 30,
    sound: Path | None = None,
    timing: Timing | None = None,
) -> None:
    """Write the frames, which all have the same size, as an animation (GIF, WebP, APNG) or a film (MP4), atomically.

    Args:
        frames: at least one.
        path: where.
        fps: frames per second.
        sound: a film whose sound, if it has any, goes with an MP4.
        timing: how long each frame stands, and how often an animation is shown. Without it all stand equally long,
            and an animation is shown for ever.

    Raises:
        HasamaError: see `check_ending`; or the place cannot be written to.
    """
    path = Path(path)
    check_ending(path)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            fps, repeats = timing.repeats() if timing else (fps, None)
            _mp4(_repeated(frames, repeats) if repeats else frames, temporary, fps, sound)
        else:
            _pillow(list(frames), temporary, fps, timing)


@contextmanager
def film_in_the_making(
    path: str | Path, fps: float = 30, sound: Path | None = None, timing: Timing | None = None
) -> Iterator[Callable[[Image.Image], None]]:
    """Write a film while its frames are made, in a thread: the block is given what takes the next frame.

    The film is there when the block has ended; if the block raises, it is what it was before.

    Args:
        path: see `save_film`, as for the rest.
        fps: frames per second.
        sound: a film whose sound goes with it.
        timing: how long each frame stands.

    Raises:
        HasamaError: see `save_film`; also where a frame is given after something went wrong.
    """
    frames: Queue[Image.Image | None] = Queue(AHEAD)
    lost = False

    def given() -> Iterator[Image.Image]:
        while (frame := frames.get()) is not None:
            yield frame
        if lost:
            raise _LostError

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(save_film, given(), path, fps, sound, timing)

        def send(frame: Image.Image | None) -> None:
            while not writing.done():
                with suppress(Full):
                    return frames.put(frame, timeout=0.2)
            return writing.result()  # says what went wrong

        try:
            yield send
        except BaseException:
            lost = True
            with suppress(HasamaError, _LostError):
                send(None)
                writing.result()
            raise
        send(None)
        writing.result()


class _LostError(Exception):
    """There will be no more frames, and no film."""


def _repeated(frames: Iterable[Image.Image], repeats: list[int]) -> Iterator[Image.Image]:
    for frame, count in zip(frames, repeats, strict=True):
        for _ in range(count):
            yield frame


def _pillow(frames: list[Image.Image], path: Path, fps: float, timing: Timing | None) -> None:
    gif, plays = path.suffix.lower() == ".gif", 0 if timing is None else timing.plays
    if timing is None:
        every = math.ceil(fps / GIF_FPS) if gif else 1
        ends = [1000 * min(first + every, len(frames)) / fps for first in range(0, len(frames), every)]
        frames = frames[::every]
    else:
        ends = np.cumsum(timing.durations).tolist()
    more: dict[str, Any] = {"loop": plays}
    if plays and gif:  # it holds how often it is shown again, or nothing
        more = {"loop": plays - 1} if plays > 1 else {}
    if gif:
        more["disposal"] = 2 if any(map(has_alpha, frames)) else 0  # or what is clear shows the frame before
        frames = [_of_palette(frame) for frame in frames]
    steps = _steps(ends, 10 if gif else 1)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=steps, **more)


def _of_palette(frame: Image.Image) -> Image.Image:
    """256 colours, one of them clear if there is transparency; FASTOCTREE: seconds instead of half a minute."""
    if not has_alpha(frame):
        return frame.convert("RGBA").quantize(method=Image.Quantize.FASTOCTREE)
    painted = clear_or_opaque(frame.convert("RGBA")).quantize(method=Image.Quantize.FASTOCTREE)
    alphas = (painted.getpalette("RGBA") or [])[3::4]
    if 0 in alphas:
        painted.info["transparency"] = alphas.index(0)
    return painted


def _steps(ends: list[float], unit: int) -> list[int]:
    """Milliseconds for each frame until these ends, in whole units, of which a GIF has hundredths of a second."""
    steps, last = [], 0
    for end in ends:
        steps.append(max(unit, round(end / unit) * unit - last))
        last += steps[-1]
    return steps


def _mp4(frames: Iterable[Image.Image], path: Path, fps: float, sound: Path | None) -> None:
    import imageio_ffmpeg  # an extra

    arrays = (_even(np.asarray(as_channels(frame, 3))) for frame in frames)
    first = next(arrays)
    more: dict[str, Any] = {}
    if sound and _has_sound(sound):
        more = {"audio_path": for_ffmpeg(sound), "audio_codec": "aac"}
    writer = imageio_ffmpeg.write_frames(
        str(path),
        first.shape[1::-1],
        fps=fps,  # type: ignore[arg-type]
        macro_block_size=1,
        quality=8,
        ffmpeg_log_level="quiet",
        output_params=[*BT_709],
        **more,
    )
    try:
        with closing(writer):  # also where no more frames come: ffmpeg must have ended before its file is removed
            writer.send(None)
            for frame in _chain(first, arrays):
                writer.send(np.ascontiguousarray(frame))
    except OSError as error:
        if error.errno is None:  # ffmpeg ended, and its words stand in the message
            raise OSError(errno.EIO, f"the film could not be encoded, {_free(path)}") from error
        raise
    if not path.stat().st_size or _read_through(path).returncode:  # ffmpeg may fail after it has taken the last frame
        raise OSError(errno.ENOSPC, f"the film could not be written to its end, {_free(path)}")


def _free(path: Path) -> str:
    return f"{shutil.disk_usage(path.parent).free} bytes are free"


def _has_sound(film: Path) -> bool:
    """Ffmpeg lists a film's streams on standard error when it is given nothing to do."""
    import imageio_ffmpeg  # an extra

    asked = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", for_ffmpeg(film)]
    told = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False).stderr
    return "Audio:" in told


def breaks_off(film: Path) -> bool:
    """Whether a film's file ends before the film does. It is read, but not decoded."""
    told = _read_through(film).stderr
    return any(sign in told for sign in CUT_SHORT)


def _read_through(film: Path) -> subprocess.CompletedProcess[str]:
    """What ffmpeg makes of a film that it reads to its end, and does not decode."""
    import imageio_ffmpeg  # an extra

    read = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", for_ffmpeg(film), "-map", "0:v:0", "-c", "copy"]
    return subprocess.run([*read, "-f", "null", "-"], capture_output=True, text=True, errors="replace", check=False)


def for_ffmpeg(film: Path) -> str:
    """A film's name as ffmpeg takes it, to which what stands before a colon is a protocol: 12:30.mp4."""
    return str(film.absolute())


CUT_SHORT = ("ended prematurely", "partial file")  # in ffmpeg's words


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _even(frame: np.ndarray) -> np.ndarray:
    """The usual colour format of films wants even sides: repeat the last row or column where one is odd."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
