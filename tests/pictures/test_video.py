"""Films: every frame is there, for as long as it should be, in every format; odd sizes and bad endings too."""

import errno
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from hasama.errors import HasamaError
from hasama.pictures.video import AHEAD, film_in_the_making, save_film


def frames(count: int = 7, size: tuple[int, int] = (33, 21), mode: str = "RGB") -> list[Image.Image]:
    """A grey that grows lighter, with a white square that moves."""
    made = []
    for index in range(count):
        frame = Image.new(
            mode, size, tuple([30 * index % 256] * 3 + [255])[: len(mode)] if len(mode) > 1 else 30 * index % 256
        )
        frame.paste(tuple([255] * 4)[: len(mode)] if len(mode) > 1 else 255, (index, index, index + 5, index + 5))
        made.append(frame)
    return made


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_loops(ending: str, mode: str, tmp_path: Path):
    save_film(iter(frames(mode=mode)), tmp_path / f"a{ending}", fps=24)
    with Image.open(tmp_path / f"a{ending}") as film:
        durations, greys = [], []
        for frame in ImageSequence.Iterator(film):
            greys.append(np.asarray(frame.convert("L"))[15, 30])
            durations.append(frame.info["duration"])
        assert film.info["loop"] == 0  # for ever
        assert film.size == (33, 21)
    assert len(greys) == 7
    assert np.allclose(greys, [30 * index for index in range(7)], atol=12)
    assert sum(durations) == pytest.approx(7 * 1000 / 24, abs=40)  # GIF counts in hundredths of a second


@pytest.mark.parametrize(("fps", "shown"), [(60, 60), (40, 80), (24, 48), (50, 100), (0.7, 2)])
def test_a_gif_lasts_as_long_as_it_should(fps: float, shown: int, tmp_path: Path):
    """Its frames stand for hundredths of a second, two at least, or browsers show them far more slowly."""
    count = round(2 * fps) + (fps < 1)
    save_film(iter(frames(count, size=(8, 8))), tmp_path / "a.gif", fps=fps)
    with Image.open(tmp_path / "a.gif") as film:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert sum(durations) == pytest.approx(count * 1000 / fps, abs=5)
    assert len(durations) == shown
    assert min(durations) >= 20


def test_mp4_with_odd_sides(tmp_path: Path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    save_film(iter(frames()), tmp_path / "a.mp4", fps=24)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    about = next(reader)
    assert about["size"] == (34, 22)
    assert about["fps"] == 24
    shown = [np.frombuffer(frame, np.uint8).reshape(22, 34, 3) for frame in reader]
    assert len(shown) == 7
    assert np.allclose([frame[15, 30].mean() for frame in shown], [30 * index for index in range(7)], atol=12)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".apng"])
def test_what_is_clear_in_a_frame_is_clear_in_the_film(tmp_path: Path, ending: str):
    """A red disc that wanders on nothing: neither the hidden colour nor the frame before is to be seen."""
    y, x = np.mgrid[:32, :40]
    made = []
    for index in range(4):
        pixels = np.full((32, 40, 4), (10, 200, 30, 0), np.uint8)
        pixels[(y - 16) ** 2 + (x - 8 - 8 * index) ** 2 < 30] = (220, 20, 20, 255)
        made.append(Image.fromarray(pixels))
    save_film(made, tmp_path / f"a{ending}", 10)
    with Image.open(tmp_path / f"a{ending}") as film:
        for wanted, frame in zip(made, ImageSequence.Iterator(film), strict=True):
            found, wanted = np.asarray(frame.convert("RGBA")), np.asarray(wanted)
            np.testing.assert_array_equal(found[..., 3], wanted[..., 3])
            inside = wanted[..., 3] > 0
            assert np.abs(found[inside].astype(int) - wanted[inside]).mean() <= 8  # of 256 colours, or of WebP


@pytest.mark.parametrize("size", [(64, 48), (1280, 720)])
def test_a_film_has_the_colours_that_players_take_it_for(tmp_path: Path, size: tuple[int, int]):
    """Luma by ITU-R BT.709, item 3.2, in 16 to 235, and the word of it: BT.601's luma of this green is 14 lower."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    save_film([Image.new("RGB", size, (30, 180, 90))] * 3, tmp_path / "a.mp4", 10)
    told = subprocess.run([ffmpeg, "-hide_banner", "-i", tmp_path / "a.mp4"], capture_output=True, text=True).stderr
    assert "yuv420p(tv, bt709" in told
    raw = [ffmpeg, "-v", "error", "-i", tmp_path / "a.mp4", "-frames:v", "1", "-f", "rawvideo", "-"]
    luma = subprocess.run(raw, capture_output=True, check=True).stdout[size[0] * size[1] // 2]
    assert abs(luma - (16 + 219 * (0.2126 * 30 + 0.7152 * 180 + 0.0722 * 90) / 255)) <= 1.5


def test_a_film_that_could_not_be_ended_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ffmpeg has taken all frames, and then the disk is full: it says nothing of it."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    save_film(frames(), tmp_path / "a.mp4", 10)
    old = (tmp_path / "a.mp4").read_bytes()
    real = imageio_ffmpeg.write_frames

    def cut_short(path: str, *rest, **more):
        try:
            yield from real(path, *rest, **more)
        finally:
            with Path(path).open("r+b") as file:
                file.truncate(len(old) // 2)

    monkeypatch.setattr(imageio_ffmpeg, "write_frames", cut_short)
    with pytest.raises(HasamaError, match="could not be written to its end"):
        save_film(frames(), tmp_path / "a.mp4", 10)
    assert (tmp_path / "a.mp4").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_a_film_that_breaks_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")

    def broken():
        yield from frames(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        save_film(broken(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


def test_bad_ending(tmp_path: Path):
    with pytest.raises(HasamaError, match=r"\.mp4, \.gif, \.webp"):
        save_film(frames(), tmp_path / "a.avi")


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_film_is_the_same_that_is_written_while_it_is_made(ending: str, tmp_path: Path):
    if ending == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    shots = frames(3 * AHEAD)
    save_film(iter(shots), tmp_path / f"a{ending}", fps=24)
    with film_in_the_making(tmp_path / f"b{ending}", fps=24) as take:
        for shot in shots:
            take(shot)
        assert not (tmp_path / f"b{ending}").exists()
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
@pytest.mark.parametrize("count", [0, 3, 3 * AHEAD])
def test_of_frames_that_break_off_there_is_no_film(count: int, ending: str, tmp_path: Path):
    if ending == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")

    def broken() -> None:
        with film_in_the_making(path) as take:
            for shot in frames(count):
                take(shot)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert not [one for one in threading.enumerate() if "ThreadPoolExecutor" in one.name]


def test_what_goes_wrong_with_the_writing_is_told_at_the_next_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hasama.pictures.video._mp4", full)
    monkeypatch.setattr("hasama.pictures.video.check_ending", lambda _: None)
    taken = []

    def made() -> None:
        with film_in_the_making(tmp_path / "a.mp4") as take:
            for shot in frames(5 * AHEAD):
                take(shot)
                taken.append(shot)

    with pytest.raises(HasamaError, match="No space left"):
        made()
    assert len(taken) <= AHEAD
    assert not list(tmp_path.iterdir())
