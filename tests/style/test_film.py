"""Films: as many pictures as before, still where nothing moves, moved where something does, with their sound."""

import dataclasses
import json
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import refused
from easel import BRIEF_RECIPE, brief, hasama_here, lay_out, style_scene
from hasama.errors import HasamaError
from hasama.pictures.images import save_picture
from hasama.pictures.video import breaks_off, save_film
from hasama.style.canvas.pictures import from_pixels, to_canvas, to_output
from hasama.style.jobs.film import carried_along, frames_folder, open_film, paint_film
from hasama.style.jobs.motion import STEADY, laid_again, steadied
from hasama.style.jobs.painting_file import Job, StyleSource
from hasama.style.painting import stylize
from hasama.style.recipe import StyleRecipe

cv2 = pytest.importorskip("cv2")
imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

RECIPE = dataclasses.replace(BRIEF_RECIPE, size=64, smallest=64, first_iterations=12, frame_iterations=12)
QUICK = dataclasses.replace(RECIPE, size=32, smallest=32, first_iterations=4, frame_iterations=3)


def texture(height: int, width: int, seed: int, blur: float = 2.0) -> np.ndarray:
    """Soft coloured blobs: uint8 [height, width, 3]."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), blur)
    return ((soft - soft.min()) / (soft.max() - soft.min()) * 255).astype(np.uint8)


def film_of(path: Path, pictures: Iterable[np.ndarray], fps: float = 12) -> Path:
    save_film(map(Image.fromarray, pictures), path, fps)
    return path


def panning(count: int) -> list[np.ndarray]:
    """A camera that moves to the right by two pixels a picture."""
    wide = texture(48, 64 + 2 * count, seed=0)
    return [wide[:, 2 * index : 2 * index + 64] for index in range(count)]


def job_for(film: Path, recipe: StyleRecipe = QUICK, out: str = "out.mp4") -> Job:
    style_scene().save(film.parent / "s.png")
    return Job(film, (StyleSource(film.parent / "s.png"),), film.parent / out, recipe)


def painted(job: Job) -> list[np.ndarray]:
    """Paint a film: its pictures as they were before they were encoded."""
    last = {step.picture: np.asarray(step.frame.picture) for step in paint_film(job)}
    assert list(last) == list(range(len(last)))
    return list(last.values())


def decoded(path: Path) -> np.ndarray:
    """uint8 [pictures, H, W, 3] of a film file."""
    return np.stack(list(open_film(path).pictures()))


# --- the file -------------------------------------------------------------------------------------


def test_a_film_keeps_its_pictures_and_its_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    film_of(tmp_path / "clip.mp4", panning(3), fps=12)
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = hasama_here("style", "clip.mp4", "s.png", *brief(size=45, smallest=45, frame_iterations=2))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "clip--s.mp4"
    about = open_film(Path("clip--s.mp4"))
    assert (about.width, about.height) == (46, 34)  # 45x34, and the usual colour format wants even sides
    assert about.fps == 12
    pictures = decoded(Path("clip--s.mp4"))
    assert len(pictures) == 3
    told = json.loads(Path("clip--s.mp4.json").read_text())
    assert (told["pictures"], told["fps"], told["seed"]) == (3, 12, 0)
    assert StyleRecipe(**told["recipe"]).size == 45
    assert sorted(path.name for path in Path().iterdir()) == [
        "c.png", "clip--s.mp4", "clip--s.mp4.json", "clip.mp4", "s.png",
    ]  # fmt: skip


def test_a_painted_film_is_not_painted_again(tmp_path: Path):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(2)))
    command = ["style", job.content, tmp_path / "s.png", "--out", job.out]
    quick = brief(size=24, first_iterations=1, frame_iterations=1)
    assert hasama_here(*command, *quick).returncode == 0
    written = job.out.stat().st_mtime_ns
    again = hasama_here(*command, *quick)
    assert (again.returncode, again.stdout) == (0, f"{job.out} is already painted.\n")
    assert job.out.stat().st_mtime_ns == written


def test_what_is_encoded_is_what_was_painted(tmp_path: Path):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(2)))
    pictures = painted(job)
    difference = decoded(job.out).astype(float) - np.stack(pictures)
    assert np.abs(difference).mean() < 12  # colours at half the resolution, and quality 8


def test_a_film_s_sound_is_kept(tmp_path: Path):
    clip = tmp_path / "clip.mp4"
    film_of(tmp_path / "silent.mp4", panning(3), fps=6)
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", tmp_path / "silent.mp4", "-f", "lavfi", "-i", "sine=frequency=440:duration=0.5",
         "-c:v", "copy", "-c:a", "aac", clip],
        check=True,
    )  # fmt: skip

    def streams(path: Path) -> str:
        return subprocess.run([ffmpeg, "-i", path], capture_output=True, text=True, check=False).stderr

    for source, sounds in ((clip, True), (tmp_path / "silent.mp4", False)):
        assert ("Audio:" in streams(source)) == sounds
        job = job_for(source, dataclasses.replace(QUICK, first_iterations=1, frame_iterations=1))
        painted(job)
        assert ("Audio: aac" in streams(job.out)) == sounds
        assert len(decoded(job.out)) == 3
        job.out.unlink()


# --- stillness and motion -------------------------------------------------------------------------


def changes(pictures: list[np.ndarray]) -> float:
    """How much a picture differs from the one before, in the mean."""
    film = np.stack(pictures).astype(float)
    return float(np.abs(film[1:] - film[:-1]).mean())


def test_a_still_film_stays_still(tmp_path: Path):
    """A camera that stands, and whose sensor is noisy."""
    rng = np.random.default_rng(0)
    scene = texture(48, 64, seed=0)
    shots = [(scene + rng.normal(0, 6, scene.shape)).clip(0, 255).astype(np.uint8) for _ in range(3)]
    job = job_for(film_of(tmp_path / "clip.mp4", shots), RECIPE)
    held = changes(painted(job))
    free = changes(painted(job._replace(recipe=dataclasses.replace(RECIPE, temporal_weight=0.0))))
    anew = []
    for index, shot in enumerate(shots):
        Image.fromarray(shot).save(tmp_path / "shot.png")
        recipe = dataclasses.replace(RECIPE, start="noise", seed=index)
        *_, last = stylize(tmp_path / "shot.png", tmp_path / "s.png", recipe)
        anew.append(np.asarray(last.picture))
    assert held < free / 1.5
    assert held < changes(anew) / 4


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-3, 1), (0, 2)])
def test_a_painting_is_carried_along_with_a_known_motion(right: int, down: int):
    """The camera moves by so much: what is seen moves the other way, and new content comes in at that edge."""
    height, width, room = 48, 64, 10
    wide, paint = texture(height + 20, width + 20, 1), texture(height + 20, width + 20, 5, blur=3)

    def cut(whole: np.ndarray, x: int, y: int) -> np.ndarray:
        return whole[room + y : room + y + height, room + x : room + x + width]

    carried, confidence = carried_along(cut(wide, 0, 0), cut(wide, right, down), cut(paint, 0, 0), height, width)
    error = (carried[0].permute(1, 2, 0).numpy() + 1) * 127.5 - cut(paint, right, down)
    inside = (slice(8, -8), slice(8, -8))
    assert np.abs(error[inside]).max() <= 4
    assert np.abs(error[inside]).mean() < 0.5
    assert (confidence[inside] == 1).all()
    if right > 0:
        assert (confidence[:, -right:] == 0).all()
    if right < 0:
        assert (confidence[:, :-right] == 0).all()
    if down > 0:
        assert confidence[-down:].mean() < 0.3
    moved = np.abs(cut(paint, 0, 0)[inside].astype(float) - cut(paint, right, down)[inside]).mean()
    assert moved > 10 * np.abs(error[inside]).mean()  # standing still would not have done


def test_what_appears_is_not_trusted_and_the_rest_is(tmp_path: Path):
    before = texture(64, 96, 1)
    now = before.copy()
    now[20:44, 30:60] = 255 - now[20:44, 30:60]
    _, confidence = carried_along(before, now, before, 64, 96)
    assert confidence[24:40, 34:56].mean() < 0.35
    assert confidence[:, 75:].mean() > 0.95
    assert confidence[:, :15].mean() > 0.95


def test_a_cut_leaves_little_to_trust():
    _, confidence = carried_along(texture(64, 96, 1), texture(64, 96, 2), texture(64, 96, 3), 64, 96)
    assert confidence.mean() < 0.3


def test_paintings_may_be_larger_than_the_film_and_smaller_than_motion_needs():
    shot = texture(40, 60, 1)
    paint = texture(80, 120, 2)
    carried, confidence = carried_along(shot, shot, paint, 80, 120)
    assert confidence.mean() > 0.99
    assert torch.allclose((carried[0].permute(1, 2, 0) + 1) * 127.5, torch.from_numpy(paint).float(), atol=0.6)
    tiny = texture(16, 24, 2)
    carried, confidence = carried_along(shot, shot, tiny, 16, 24)  # no motion is looked for
    assert confidence.min() == 1
    assert torch.allclose((carried[0].permute(1, 2, 0) + 1) * 127.5, torch.from_numpy(tiny).float(), atol=1e-3)


@pytest.mark.parametrize("keep_colour", ["no", "luminance"])
def test_each_picture_begins_at_the_last_one_s_painting(keep_colour: str, tmp_path: Path):
    recipe = dataclasses.replace(QUICK, size=48, smallest=48, keep_colour=keep_colour)
    job = job_for(film_of(tmp_path / "clip.mp4", panning(3)), recipe)
    kept: dict[int, list[dict[str, float]]] = {}
    for step in paint_film(job):
        kept.setdefault(step.picture, []).append(step.frame.losses)
        assert step.pictures == 3
        assert step.frame.scales == (1 if step.picture else step.frame.scales)
    assert [len(losses) for losses in kept.values()] == [4, 3, 3]
    assert "temporal" not in kept[0][0]
    for number in (1, 2):
        assert kept[number][0]["temporal"] < 1e-6  # at the carried painting, or nowhere to be held to
        assert kept[number][-1]["temporal"] > 1e-6


def test_half_transparent_places_stay_where_they_are(tmp_path: Path):
    """What is painted loses its ground, and each picture begins at the last one's painting: they would run away."""
    still = np.dstack([texture(48, 64, seed=0), np.full((48, 64), 110, np.uint8)])
    still[:, :20, 3] = 255
    content = from_pixels(still)
    canvas = to_canvas(content, 40, 50)
    shown = to_output(canvas, content, False)
    again = laid_again(torch.from_numpy(shown.pixels).permute(2, 0, 1)[None] / 127.5 - 1, content)
    assert (again - canvas).abs().mean() < 0.004  # but for what is no colour, beside the edge of alpha
    frames = [Image.fromarray(still) for _ in range(5)]
    for number, frame in enumerate(frames):
        frame.putpixel((0, 0), (50 * number, 0, 0, 255))  # of pictures that are all alike one would be kept
    frames[0].save(
        tmp_path / "clip.webp", save_all=True, append_images=frames[1:], lossless=True, duration=[90, 80] * 2 + [70]
    )
    recipe = dataclasses.replace(QUICK, size=64, smallest=64, temporal_weight=100.0)
    pictures = painted(job_for(tmp_path / "clip.webp", recipe, "out.webp"))
    assert len(pictures) == 5
    assert pictures[0].shape[2] == 4
    spread = [float(one[20:, :, :3].std()) for one in pictures]
    assert spread[-1] < 1.2 * spread[0]  # 1.8 times where they run away, and most are black or white


# --- stopping and going on ------------------------------------------------------------------------


def test_a_stopped_film_goes_on_where_it_stands(tmp_path: Path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    clip = film_of(tmp_path / "clip.mp4", panning(3))
    jobs = []
    for name in ("whole", "stopped"):
        (tmp_path / name / "clip.mp4").write_bytes(clip.read_bytes())
        jobs.append(job_for(tmp_path / name / "clip.mp4"))
    whole, stopped = jobs
    painted(whole)

    steps: list[int] = []
    for step in paint_film(stopped, lambda: len(steps) == 9):  # 4 + 3, and 2 of the third picture
        steps.append(step.picture)
    assert steps == [0] * 4 + [1] * 3 + [2] * 2
    frames = stopped.out.with_name("out.mp4.frames")
    assert sorted(path.name for path in frames.glob("*.png")) == ["000000.png", "000001.png"]
    assert not stopped.out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in frames.glob("*.png")}
    rest = paint_film(stopped)
    first = next(rest)
    assert (first.picture, first.frame.iteration) == (2, 3)  # the third picture's first two steps are not lost
    assert {path.name: path.stat().st_mtime_ns for path in frames.glob("*.png")} == kept
    assert list(rest) == []
    assert np.array_equal(decoded(stopped.out), decoded(whole.out))
    assert not frames.exists()


@pytest.mark.parametrize("steps", [5, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 4, 7))])
def test_wherever_it_is_stopped_it_is_the_same_film(steps: int, tmp_path: Path):
    """Within a picture, and after a picture's last step, which is not known to be the last."""
    clip = film_of(tmp_path / "clip.mp4", panning(2))
    whole, stopped = job_for(clip, out="whole.mp4"), job_for(clip, out="stopped.mp4")
    painted(whole)
    seen: list[tuple[int, int]] = []
    while not stopped.out.exists():
        here = len(seen)
        for step in paint_film(stopped, lambda: len(seen) - here == steps):  # noqa: B023 (it is asked at once)
            seen.append((step.picture, step.frame.iteration))
    assert seen == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3)]  # no step twice
    assert np.array_equal(decoded(stopped.out), decoded(whole.out))


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_painted_picture_is_painted_anew(damage: bytes, tmp_path: Path):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(3)))
    for step in paint_film(job):
        if step.picture == 2:
            break
    (tmp_path / "out.mp4.frames" / "000001.png").write_bytes(damage)
    assert dict.fromkeys(step.picture for step in paint_film(job)) == {1: None, 2: None}
    assert len(decoded(job.out)) == 3


@pytest.mark.parametrize("damage", [b"", b"nonsense"])
def test_a_damaged_picture_under_way_is_painted_from_its_beginning(damage: bytes, tmp_path: Path):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(2)))
    list(paint_film(job, lambda: True))
    (tmp_path / "out.mp4.frames" / "picture.part").write_bytes(damage)
    assert next(paint_film(job)).frame.iteration == 1


def test_another_painting_s_pictures_are_not_taken(tmp_path: Path):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(2)))
    first = {step.picture for step in paint_film(job, lambda: True)}
    assert first == {0}
    folder = tmp_path / "out.mp4.frames"
    save_picture(Image.new("RGB", (32, 24), "red"), folder / "000000.png")
    assert next(paint_film(job)).picture == 1  # it counts as painted
    other = job._replace(recipe=dataclasses.replace(QUICK, seed=1))
    first = next(paint_film(other))
    assert first.picture == 0
    assert not (folder / "000000.png").exists()
    kept = tmp_path / "out.mp4.frames.old"  # it may be hours of work
    assert first.frame.notice == f"Another painting was under way here; it is kept as {kept}."
    assert (kept / "000000.png").exists()


def test_another_film_with_the_same_first_picture_is_another_painting(tmp_path: Path):
    """Many films begin in black."""
    clip, black = tmp_path / "clip.mp4", np.zeros((48, 64, 3), np.uint8)
    job = job_for(film_of(clip, [black, texture(48, 64, 1)]))
    for step in paint_film(job):
        if step.picture == 1:
            break
    assert next(paint_film(job)).picture == 1
    film_of(clip, [black, texture(48, 64, 2)])
    assert next(paint_film(job)).picture == 0


def test_ctrl_c_keeps_the_pictures_that_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = job_for(film_of(tmp_path / "clip.mp4", panning(3)))

    def save_and_interrupt(*all) -> None:
        save_picture(*all)
        signal.raise_signal(signal.SIGINT)

    command = ["style", job.content, tmp_path / "s.png", "--out", job.out, *brief(size=32, frame_iterations=3)]
    with monkeypatch.context() as patch:
        patch.setattr("hasama.style.jobs.film.save_picture", save_and_interrupt)
        done = hasama_here(*command)
    assert done.returncode == 130
    assert "To go on, give the same command again." in done.stdout
    assert [path.name for path in (tmp_path / "out.mp4.frames").glob("*.png")] == ["000000.png"]
    assert hasama_here(*command).returncode == 0
    assert len(decoded(job.out)) == 3


# --- refused --------------------------------------------------------------------------------------


def test_what_is_no_film_is_refused(tmp_path: Path):
    _, style = lay_out(tmp_path)
    clip = film_of(tmp_path / "clip.mp4", panning(2))
    (tmp_path / "text.mp4").write_text("Dear Sir,\nplease find attached no film at all.\n" * 20)
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.mov").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:400])
    (tmp_path / "picture.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(500))
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    sine = ["-f", "lavfi", "-i", "sine=duration=0.2", tmp_path / "sound.mp4"]
    subprocess.run([ffmpeg, "-v", "error", *sine], check=True)
    for name in ("text.mp4", "noise.mkv", "empty.mov", "cut.mp4", "picture.mp4", "sound.mp4"):
        done = hasama_here("style", tmp_path / name, style, "--out", tmp_path / "out.mp4", *brief())
        refused(done, f"Cannot read the film {tmp_path / name}")
    refused(hasama_here("style", tmp_path / "none.mp4", style), f"There is no film at {tmp_path / 'none.mp4'}")
    refused(hasama_here("style", clip, tmp_path / "none.png", *brief()), "There is no picture at")
    for ending in (".avi", ".png", ""):
        refused(
            hasama_here("style", clip, style, "--out", tmp_path / f"a{ending}"), "Cannot write a film called", ".mp4"
        )
    refused(hasama_here("style", clip, style, "--out", clip), "is one of the pictures to paint from")
    (tmp_path / "file").write_text("mine")
    refused(hasama_here("style", clip, style, "--out", tmp_path / "file" / "a.mp4", *brief()), "Cannot write")
    assert not list(tmp_path.glob("out.mp4*"))
    assert not list(tmp_path.glob("*.frames"))


def test_a_missing_extra_explains_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = film_of(tmp_path / "clip.mp4", panning(2))
    for package, name in (("cv2", "opencv-python-headless"), ("imageio_ffmpeg", "imageio-ffmpeg")):
        with monkeypatch.context() as patch:
            patch.setattr("hasama.style.jobs.film.find_spec", lambda asked, package=package: asked != package or None)
            with pytest.raises(HasamaError, match=rf"(?s){name}.*hasama\[video\]"):
                open_film(clip)


def test_a_film_that_breaks_off_is_painted_as_far_as_it_goes(tmp_path: Path):
    film_of(tmp_path / "whole.mkv.mp4", panning(6))
    clip = tmp_path / "clip.mkv"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, "-v", "error", "-i", tmp_path / "whole.mkv.mp4", "-g", "1", clip], check=True)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) * 2 // 3])
    job = job_for(clip, dataclasses.replace(QUICK, first_iterations=1, frame_iterations=1))
    pictures = painted(job)
    assert 1 <= len(pictures) < 6
    assert len(decoded(job.out)) == len(pictures)


def test_somebody_else_s_folder_is_left_alone(tmp_path: Path):
    lay_out(tmp_path)
    job = job_for(film_of(tmp_path / "film.mp4", panning(2)))
    folder = job.out.with_name(job.out.name + ".frames")
    folder.mkdir()
    (folder / "0001.png").write_bytes(b"mine")
    with pytest.raises(HasamaError, match="in the way"):
        next(paint_film(job))
    assert (folder / "0001.png").read_bytes() == b"mine"


def test_what_is_painted_at_once_is_held_to_the_last_painting_where_nothing_changed():
    picture, other = texture(64, 96, seed=0), texture(64, 96, seed=9)
    last, painting = texture(64, 96, seed=1), texture(64, 96, seed=2)
    held = steadied(painting, last, picture, picture)
    wanted = STEADY * last + (1 - STEADY) * painting.astype(float)
    assert np.abs(held - wanted)[4:-4, 4:-4].mean() < 2
    cut = steadied(painting, last, picture, other)  # another scene: little of the last painting may stay
    assert np.abs(cut.astype(int) - painting).mean() < 0.5 * np.abs(held.astype(int) - painting).mean()
    alpha = np.dstack([painting, np.full((64, 96), 7, np.uint8)])
    assert (steadied(alpha, last, picture, picture)[..., 3] == 7).all()


def test_it_is_carried_along_with_what_moves():
    wide, painted_wide = texture(64, 110, seed=0), texture(64, 110, seed=1)
    before, now = wide[:, 4:100], wide[:, :96]  # all moves by four pixels to the right
    held = steadied(np.zeros_like(now), painted_wide[:, 4:100], before, now)
    inside = np.abs(held - STEADY * painted_wide[:, :96].astype(float))[8:-8, 12:-12]
    assert np.median(inside) < 6


def ffmpeg(*words: object) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, words)], check=True)


def test_a_film_of_uneven_pictures_stays_as_long_as_it_is(tmp_path: Path):
    """As phones and screen recorders make them: a second of thirty, then three a second."""
    film = tmp_path / "uneven.mp4"
    uneven = "select='lt(n,30)+not(mod(n,10))'"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=30:d=5", "-vf", uneven, "-fps_mode", "vfr", film)
    opened = open_film(film)
    count = sum(1 for _ in opened.pictures())
    assert count / opened.fps == pytest.approx(5, abs=0.5)
    assert count == pytest.approx(opened.length, rel=0.2)


def test_a_film_that_does_not_say_how_long_it_is_is_counted(tmp_path: Path):
    film = tmp_path / "streamed.webm"
    with film.open("wb") as file:
        made = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=s=64x48:r=10:d=2",
        ]
        subprocess.run([*made, "-f", "webm", "-"], stdout=file, check=True)
    assert open_film(film).length == 20


def test_a_film_without_a_rate_is_counted(tmp_path: Path):
    """As a browser records: of a single picture, or of uneven ones, ffmpeg tells no frames a second."""
    film = tmp_path / "one.webm"
    make = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=0.1"]
    with film.open("wb") as file:
        subprocess.run([*make, "-fps_mode", "vfr", "-f", "webm", "-"], stdout=file, check=True)
    opened = open_film(film)
    assert opened.length == 1
    assert 1 <= opened.fps <= 60
    assert sum(1 for _ in opened.pictures()) >= 1
    broken = opened._replace(fps=0.0)  # what ffmpeg refuses is told in our words
    with pytest.raises(HasamaError, match="Cannot read the film"):
        list(broken.pictures())


@pytest.mark.parametrize("name", ["2024-05-01T12:30:00.mp4", "-dash.mp4", "100%.mp4"])
def test_films_of_any_name_are_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """Ffmpeg takes what stands before a colon for a protocol, and after a dash for an option."""
    monkeypatch.chdir(tmp_path)
    pictures = [Image.new("RGB", (32, 24), (20 * index, 80, 120)) for index in range(6)]
    save_film(pictures, tmp_path / "plain.mp4", 6)
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    opened = open_film(Path(name))
    assert sum(1 for _ in opened.pictures()) == 6
    assert not breaks_off(Path(name))
    save_film(pictures, Path("copy-of " + name), 6, sound=Path(name))
    assert open_film(Path("copy-of " + name)).length == 6


def test_what_was_left_over_among_the_painted_pictures_is_no_hindrance(tmp_path: Path):
    """Half a picture of a killed process goes; a file that a desktop hides is nobody's work."""
    lay_out(tmp_path)
    job = job_for(film_of(tmp_path / "film.mp4", panning(3)))
    folder = frames_folder(job)
    for frame in paint_film(job):
        if frame.picture == 1:
            (folder / ".000001.png.ab12cd34.png").write_bytes(b"half")
    assert not folder.exists()
    folder.mkdir()
    (folder / ".DS_Store").touch()
    other = job._replace(recipe=dataclasses.replace(job.recipe, seed=1))
    list(paint_film(other))
    assert (folder / ".DS_Store").exists()
