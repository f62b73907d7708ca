"""Moving pictures: GIF and WebP by Pillow, MP4 by imageio-ffmpeg (an extra)."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hasama.errors import HasamaError, missing_extra
from hasama.files import replacing
from hasama.pictures.images import as_channels

ENDINGS = (".mp4", ".gif", ".webp")


def check_ending(path: Path) -> None:
    """Before any frame is painted: can this file be written here?

    Raises:
        HasamaError: an ending that is not one of `ENDINGS`, or MP4 without its extra.
    """
    if path.suffix.lower() not in ENDINGS:
        raise HasamaError(f"Cannot write a film called {path.name}: use one of the endings {', '.join(ENDINGS)}.")
    if path.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise missing_extra("imageio-ffmpeg", "video", "Writing MP4")


def save_film(frames: Iterable[Image.Image], path: str | Path, fps: float = 30, sound: Path | None = None) -> None:
    """Write the frames, which all have the same size, as an endless loop (GIF, WebP) or a film (MP4), atomically.

    Args:
        frames: at least one.
        path: where.
        fps: frames per second.
        sound: a film whose sound, if it has any, goes with an MP4.

    Raises:
        HasamaError: see `check_ending`; or the place cannot be written to.
    """
    path = Path(path)
    check_ending(path)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _mp4(frames, temporary, fps, sound)
        else:
            _pillow(list(frames), temporary, fps)


def _pillow(frames: list[Image.Image], path: Path, fps: float) -> None:
    if path.suffix.lower() == ".gif":  # FASTOCTREE: seconds instead of half a minute, and the only one for alpha
        frames = [frame.convert("RGBA").quantize(method=Image.Quantize.FASTOCTREE) for frame in frames]
    duration = 1000 / fps
    steps = [round((i + 1) * duration) - round(i * duration) for i in range(len(frames))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=steps, loop=0)


def _mp4(frames: Iterable[Image.Image], path: Path, fps: float, sound: Path | None) -> None:
    import imageio_ffmpeg  # an extra

    arrays = (_even(np.asarray(as_channels(frame, 3))) for frame in frames)
    first = next(arrays)
    more: dict[str, Any] = {"audio_path": str(sound), "audio_codec": "aac"} if sound and _has_sound(sound) else {}
    writer = imageio_ffmpeg.write_frames(
        str(path),
        first.shape[1::-1],
        fps=fps,  # type: ignore[arg-type]
        macro_block_size=1,
        quality=8,
        ffmpeg_log_level="error",
        **more,
    )
    writer.send(None)
    for frame in _chain(first, arrays):
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    if path.stat().st_size == 0:
        raise OSError(28, f"ffmpeg wrote nothing ({shutil.disk_usage(path.parent).free} bytes are free)")


def _has_sound(film: Path) -> bool:
    """Ffmpeg lists a film's streams on standard error when it is given nothing to do."""
    import imageio_ffmpeg  # an extra

    asked = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(film)]
    told = subprocess.run(asked, capture_output=True, text=True, errors="replace", check=False).stderr
    return "Audio:" in told


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _even(frame: np.ndarray) -> np.ndarray:
    """The usual colour format of films wants even sides: repeat the last row or column where one is odd."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
