"""Files that hold several pictures: which are animations, how long each picture stands, and what is transparent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hasama.errors import HasamaError
from hasama.pictures.animation import is_animation, only_first, open_animation, pictures_in_file
from hasama.pictures.video import Timing, save_film

DURATIONS = [40, 200, 90, 60]


def shots(count: int = 4, mode: str = "RGB") -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).convert(mode) for _ in range(count)]


def animation(path: Path, pictures: list[Image.Image] | None = None, **options: Any) -> Path:
    pictures = pictures or shots()
    options = {"duration": DURATIONS[: len(pictures)]} | options
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_animations_are_known_by_their_content(name: str, tmp_path: Path):
    path = animation(tmp_path / name)
    disguised = path.rename(tmp_path / "a.picture")
    assert is_animation(disguised)
    form = open_animation(disguised)
    assert (form.width, form.height, form.durations, form.has_alpha) == (30, 20, tuple(DURATIONS), False)
    pictures = list(form.pictures())
    assert [picture.shape for picture in pictures] == [(20, 30, 3)] * 4
    assert "holds 4 pictures (an animation): only the first is taken" in only_first(disguised)


def test_pages_previews_and_single_pictures_are_none(tmp_path: Path):
    animation(tmp_path / "pages.tiff")
    assert pictures_in_file(tmp_path / "pages.tiff") == (4, False)
    assert "holds 4 pages: only the first is taken" in only_first(tmp_path / "pages.tiff")
    shots()[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=shots()[1:2])
    (tmp_path / "text.gif").write_text("GIF89a, but not really")
    for name in ("one.gif", "one.png", "one.webp", "one.tiff", "one.jpg"):
        shots()[0].save(tmp_path / name)
    for path in (*tmp_path.glob("one.*"), tmp_path / "phone.jpg", tmp_path / "text.gif", tmp_path / "none.gif"):
        assert pictures_in_file(path) == (1, False)
        assert only_first(path) == ""


def test_a_png_s_picture_for_others_is_not_of_the_animation(tmp_path: Path):
    path = animation(tmp_path / "a.png", default_image=True, duration=DURATIONS[:3])
    form = open_animation(path)
    assert form.durations == tuple(DURATIONS[:3])
    assert np.array_equal(next(form.pictures()), np.asarray(shots()[1]))
    assert not is_animation(animation(tmp_path / "b.png", shots(2), default_image=True, duration=[50]))


def test_what_is_transparent_stays_so(tmp_path: Path):
    clear = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    clear.paste("red", (5, 5, 15, 15))
    other = clear.rotate(180)
    form = open_animation(animation(tmp_path / "a.webp", [clear, other], duration=[100, 100], lossless=True))
    assert form.has_alpha
    first, second = form.pictures()
    assert np.array_equal(first[..., 3], np.asarray(clear)[..., 3])
    assert np.array_equal(second[..., 3], np.asarray(other)[..., 3])


def test_a_picture_that_stands_for_no_time_stands_as_in_a_browser(tmp_path: Path):
    assert open_animation(animation(tmp_path / "a.gif", duration=[0, 10, 20, 30])).durations == (100, 100, 20, 30)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_how_often_it_is_shown_is_kept(name: str, plays: int, tmp_path: Path):
    save_film(shots(), tmp_path / name, timing=Timing(tuple(DURATIONS), plays))
    form = open_animation(tmp_path / name)
    assert (form.plays, form.durations) == (plays, tuple(DURATIONS))


@pytest.mark.parametrize(
    ("durations", "fps", "repeats"),
    [
        ((40, 200, 90, 60), 100, [4, 20, 9, 6]),
        ((100, 100, 100), 10, [1, 1, 1]),
        ((33, 33, 34), 30, [1, 1, 1]),
        ((500, 1000), 2, [1, 2]),
        ((33, 67, 33), 100, [3, 7, 3]),
        ((7,), 1000 / 7, [1]),
    ],
)
def test_films_have_one_rate(durations: tuple[int, ...], fps: float, repeats: list[int]):
    found = Timing(durations).repeats()
    assert found == (pytest.approx(fps), repeats)


def test_a_gif_s_hundredths_add_up(tmp_path: Path):
    save_film(shots(), tmp_path / "a.gif", timing=Timing((33, 33, 34, 35)))
    found = open_animation(tmp_path / "a.gif").durations
    assert set(found) <= {30, 40}
    assert abs(sum(found) - 135) <= 5


def test_an_animation_that_breaks_off_is_refused(tmp_path: Path):
    path = animation(tmp_path / "a.gif")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(HasamaError, match=r"Cannot read the film .*a\.gif: picture \d is (truncated|broken)"):
        open_animation(path)
    with pytest.raises(HasamaError, match="There is no film at"):
        open_animation(tmp_path / "none.gif")


@pytest.mark.parametrize("ending", ["webp", "apng"])
def test_sixty_pictures_a_second_stay_so(tmp_path: Path, ending: str):
    """Browsers slow only what stands for 10 ms or less."""
    made = [Image.new("RGB", (8, 8), (30 * index, 0, 0)) for index in range(6)]
    save_film(made, tmp_path / f"a.{ending}", 60)
    assert sum(open_animation(tmp_path / f"a.{ending}").durations) == pytest.approx(100, abs=3)
