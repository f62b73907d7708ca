"""`hasama style` given what people give: animations, black masks, coloured maps, long names, broken pictures."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from command import hasama, refused
from easel import brief, hasama_here, lay_out, pixels_of, style_scene
from hasama.pictures.animation import open_animation
from hasama.style.jobs.film import open_film
from odd_files import scene

QUICK = {"size": 24, "smallest": 24, "first_iterations": 1, "iterations": 1, "frame_iterations": 1}
DURATIONS = (70, 140, 210)


def animated(path: Path, count: int = 3, **options: object) -> Path:
    shots = [scene(48, 32, seed=number) for number in range(count)]
    options = {"duration": list(DURATIONS[:count]), "loop": 0} | options
    shots[0].save(path, save_all=True, append_images=shots[1:], **options)  # pyright: ignore[reportArgumentType]
    return path


def style(*arguments: object, **changes: object) -> subprocess.CompletedProcess[str]:
    return hasama_here("style", *arguments, *brief(**QUICK | changes))


# --- animations -----------------------------------------------------------------------------------


@pytest.fixture
def needs_video() -> None:
    pytest.importorskip("cv2")
    pytest.importorskip("imageio_ffmpeg")


@pytest.mark.usefixtures("needs_video")
@pytest.mark.parametrize("content", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_an_animation_is_painted_as_a_film(content: str, tmp_path: Path):
    _, paint = lay_out(tmp_path)
    animated(tmp_path / content)
    for out in ("o.gif", "o.webp", "o.apng"):
        done = style(tmp_path / content, paint, "--out", tmp_path / out)
        assert (done.returncode, done.stderr) == (0, "")
        form = open_animation(tmp_path / out)
        assert (form.width, form.height, form.durations, form.plays) == (24, 16, DURATIONS, 0)
    assert style(tmp_path / content, paint, "--out", tmp_path / "o.mp4").returncode == 0
    film = open_film(tmp_path / "o.mp4")
    assert film.fps == pytest.approx(1000 / 70, rel=1e-3)
    assert len(list(film.pictures())) == 6  # each as often as its time asks for
    told = json.loads((tmp_path / "o.mp4.json").read_text())
    assert (told["pictures"], told["durations"]) == (3, list(DURATIONS))
    assert "already painted" in style(tmp_path / content, paint, "--out", tmp_path / "o.mp4").stdout


@pytest.mark.usefixtures("needs_video")
@pytest.mark.parametrize(("content", "out"), [("a.gif", "a--s.gif"), ("b.webp", "b--s.webp"), ("c.png", "c--s.webp")])
def test_an_animation_stays_one_if_nobody_says(
    content: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lay_out(tmp_path)
    animated(tmp_path / content)
    monkeypatch.chdir(tmp_path)
    assert style(content, "s.png").stdout == f"{out}\n"
    assert len(open_animation(tmp_path / out).durations) == 3
    assert not list(tmp_path.glob("*.frames"))


@pytest.mark.usefixtures("needs_video")
def test_a_transparent_animation_stays_transparent(tmp_path: Path):
    _, paint = lay_out(tmp_path)
    shots = []
    for number in range(2):
        shot = scene(48, 32, seed=number).convert("RGBA")
        alpha = Image.new("L", (48, 32), 0)
        ImageDraw.Draw(alpha).ellipse((8 * number, 2, 32 + 8 * number, 30), fill=255)
        shot.putalpha(alpha)
        shots.append(shot)
    shots[0].save(tmp_path / "a.webp", save_all=True, append_images=shots[1:], duration=100, lossless=True)
    assert style(tmp_path / "a.webp", paint, "--out", tmp_path / "o.webp", size=48, smallest=48).returncode == 0
    form = open_animation(tmp_path / "o.webp")
    assert form.has_alpha
    for shot, painted in zip(shots, form.pictures(), strict=True):
        assert np.abs(painted[..., 3].astype(int) - np.asarray(shot)[..., 3]).max() <= 8


def test_where_only_the_first_is_taken_it_is_said(tmp_path: Path):
    content, paint = lay_out(tmp_path)
    gif, pages = animated(tmp_path / "a.gif"), tmp_path / "pages.tiff"
    scene(24, 24).save(pages, save_all=True, append_images=[scene(24, 24, seed=1)])
    mask = tmp_path / "mask.gif"
    white = Image.new("L", (8, 8), 255)
    white.save(mask, save_all=True, append_images=[Image.new("L", (8, 8), 9)], duration=50)
    out = tmp_path / "o.png"
    one = style(gif, paint, "--out", out)
    assert one.returncode == 0
    assert f"{gif} holds 3 pictures (an animation): only the first is taken. To paint all:  --out" in one.stdout
    assert one.stdout.count("only the first") == 1
    two = style(content, gif, pages, "--out", out, "--where", mask, "--where", mask, "--start", pages)
    assert two.returncode == 0, two.stderr
    for path, what in ((gif, "3 pictures"), (pages, "2 pages"), (mask, "2 pictures")):
        assert two.stdout.count(f"{path} holds {what}") == 1
    assert "only the first" not in style(content, paint, "--out", out).stdout
    assert f"{pages} holds 2 pages: only the first is taken." in style(pages, paint, "--out", out).stdout


def test_an_animation_cannot_be_written_into_what_holds_none(tmp_path: Path):
    _, paint = lay_out(tmp_path)
    refused(style(animated(tmp_path / "a.gif"), paint, "--out", tmp_path / "o.avi"), "a film called o.avi", ".webp")


@pytest.mark.usefixtures("needs_video")
def test_a_broken_animation_is_refused(tmp_path: Path):
    _, paint = lay_out(tmp_path)
    path = animated(tmp_path / "a.gif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    refused(style(path, paint, "--out", tmp_path / "o.gif"), "Cannot read the film", "picture")
    assert not list(tmp_path.glob("o.gif*"))


# --- masks that are black, and maps ---------------------------------------------------------------


def specks() -> Image.Image:
    pixels = np.zeros((300, 300), np.uint8)
    pixels[::150, ::150] = 255
    return Image.fromarray(pixels)


BLACK = {
    "black": lambda: Image.new("L", (30, 20), 0),
    "nearly black": lambda: Image.new("L", (30, 20), 20),
    "specks": specks,
    "in colour": lambda: Image.new("RGB", (30, 20), (4, 2, 9)),
    "transparent": lambda: Image.new("RGBA", (30, 20), (255, 255, 255, 0)),
}


@pytest.mark.parametrize("name", BLACK)
@pytest.mark.parametrize("flag", ["--where", "--style-mask"])
def test_a_mask_that_leaves_nothing_is_refused_before_any_work(name: str, flag: str, tmp_path: Path):
    content, paint = lay_out(tmp_path)
    style_scene(seed=4).save(tmp_path / "t.png")
    BLACK[name]().save(tmp_path / "mask.png")
    masks = [flag, "none", flag, tmp_path / "mask.png"]
    done = style(content, paint, tmp_path / "t.png", *masks, "--out", tmp_path / "o.png", iterations=100_000)
    refused(done, "(nearly) black everywhere", flag, "t.png")
    assert not list(tmp_path.glob("o.png*"))


def test_masks_that_cover_little_are_told(tmp_path: Path):
    content, paint = lay_out(tmp_path)
    little = Image.new("L", (100, 100), 0)
    little.paste(255, (40, 40, 49, 49))
    little.save(tmp_path / "little.png")
    done = style(content, paint, "--where", tmp_path / "little.png", "--out", tmp_path / "o.png", size=48)
    assert done.returncode == 0, done.stderr
    assert "The masks cover 0.81 % of the picture: the rest stays as it is." in done.stdout
    both = [content, paint, paint, "--where", tmp_path / "little.png", "--where", "none", "--out", tmp_path / "p.png"]
    assert "The masks cover" not in style(*both, size=48).stdout


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A content, three styles, and maps of the left, the middle and the right third."""
    lay_out(tmp_path)
    for name in ("firebrick", "green", "navy"):
        Image.new("RGB", (40, 40), name).save(tmp_path / f"{name}.png")
    Image.new("RGB", (48, 32), "grey").save(tmp_path / "grey.png")
    regions = Image.new("RGB", (480, 320), (250, 220, 0))
    regions.paste("white", (160, 0, 320, 320))
    regions.paste((120, 0, 120), (320, 0, 480, 320))
    regions.resize((60, 40), Image.Resampling.LANCZOS).save(tmp_path / "map.png")
    regions.paste("black", (320, 0, 480, 320))
    regions.save(tmp_path / "black.png")
    return tmp_path


STRONG = {"optimizer": "lbfgs", "first_iterations": 25, "content_weight": 0.0, "size": 24}


def test_a_coloured_map_gives_each_colour_a_style(maps: Path):
    out, styles = maps / "o.png", [maps / f"{name}.png" for name in ("firebrick", "green", "navy")]
    once = ["--where", maps / "map.png"]
    done = style(maps / "grey.png", *styles, *once, "--out", out, **STRONG)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0] == f"{maps / 'map.png'}: a style for each colour, in the order in which the colours first appear"
    for line, words in zip(told[1:4], ("yellow #fadc00", "white #ffffff", "purple #780078"), strict=True):
        assert line.startswith(f"  {words}, 33 % of the picture: ")
    assert [line.rpartition(": ")[2] for line in told[1:4]] == list(map(str, styles))
    columns = pixels_of(out).astype(float).mean(0)
    assert [int(columns[x].argmax()) for x in (2, 12, 21)] == [0, 1, 2]
    again = style(maps / "grey.png", *styles, *once * 3, "--out", out, **STRONG)  # as often as there are styles
    assert "already painted" in again.stdout
    turned = style(maps / "grey.png", *styles[::-1], *once, "--out", out, **STRONG)
    assert "already painted" not in turned.stdout
    columns = pixels_of(out).astype(float).mean(0)
    assert [int(columns[x].argmax()) for x in (2, 12, 21)] == [2, 1, 0]


def test_black_may_stay_as_it_is(maps: Path):
    styles = [maps / "firebrick.png", maps / "navy.png"]
    out = maps / "o.png"
    done = style(maps / "grey.png", *styles, "--where", maps / "black.png", "--out", out, size=48, first_iterations=4)
    assert done.returncode == 0, done.stderr
    assert "black #000000, 33 % of the picture: stays as it is" in done.stdout
    painted = pixels_of(out)
    assert (painted[:, 36:] == 128).all()
    assert not (painted[:, :28] == 128).all()


def test_a_map_with_other_colours_is_refused_by_its_name(maps: Path):
    for count in (1, 2, 4):
        done = style(maps / "grey.png", *[maps / "s.png"] * count, "--where", maps / "map.png")
        refused(done, f"{maps / 'map.png'} is a coloured map of 3 regions", "yellow #fadc00", str(count))
    mixed = style(maps / "grey.png", *[maps / "s.png"] * 2, "--where", maps / "map.png", "--where", "none")
    refused(mixed, f"The mask {maps / 'map.png'} is a coloured map", "not a grey mask")
    masked = style(maps / "grey.png", maps / "s.png", "--style-mask", maps / "map.png")
    refused(masked, f"The mask {maps / 'map.png'} is a coloured map", "not a grey mask")
    assert not list(maps.glob("grey--*"))


# --- what cannot be done, in part -----------------------------------------------------------------


def test_a_style_among_many_that_is_broken(tmp_path: Path):
    content, paint = lay_out(tmp_path)
    (tmp_path / "styles").mkdir()
    paint.rename(tmp_path / "styles" / "good.png")
    (tmp_path / "styles" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    command = (content, tmp_path / "styles", "--out", tmp_path / "out")
    assert style(*command).returncode == 1
    assert style(*command).returncode == 1  # the good one is there already
    (tmp_path / "styles" / "good.png").unlink()
    assert style(*command).returncode == 2


@pytest.mark.usefixtures("needs_video")
def test_a_film_that_breaks_off_is_told(tmp_path: Path):
    import imageio_ffmpeg

    from hasama.pictures.video import save_film

    _, paint = lay_out(tmp_path)
    save_film([scene(48, 32, seed=number) for number in range(8)], tmp_path / "whole.mp4", 8)
    copy = ["-v", "error", "-i", tmp_path / "whole.mp4", "-g", "1", tmp_path / "cut.mkv"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *copy], check=True)
    whole = style(tmp_path / "cut.mkv", paint, "--out", tmp_path / "a.mp4")
    assert (whole.returncode, "breaks off" in whole.stdout) == (0, False)
    content = (tmp_path / "cut.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    cut = style(tmp_path / "cut.mkv", paint, "--out", tmp_path / "b.mp4")
    assert (cut.returncode, cut.stderr) == (1, "")
    assert f"{tmp_path / 'cut.mkv'} breaks off: " in cut.stdout


def test_the_exit_codes_are_told():
    help_text = " ".join(hasama_here("--help").stdout.split())
    assert "Exit codes: 0, all is done; 1, a part of the work could not be done; 2," in help_text


# --- no library's words ---------------------------------------------------------------------------


@pytest.mark.usefixtures("needs_video")
def test_a_turned_film_is_painted_upright_without_a_word(tmp_path: Path):
    import imageio_ffmpeg

    from hasama.pictures.video import save_film

    _, paint = lay_out(tmp_path)
    save_film([scene(48, 32, seed=number) for number in range(2)], tmp_path / "flat.mp4", 8)
    turn = ["-v", "error", "-display_rotation", "90", "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "t.mp4"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *turn], check=True)
    done = hasama("style", tmp_path / "t.mp4", paint, "--out", tmp_path / "o.mp4", *brief(**QUICK))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{tmp_path / 'o.mp4'}\n")
    film = open_film(tmp_path / "o.mp4")
    assert (film.width, film.height) == (16, 24)


def test_warnings_of_libraries_are_not_printed(tmp_path: Path):
    """Each of them in a process of its own, as a user has it."""
    content, paint = lay_out(tmp_path)
    with Image.open(content) as picture:
        picture.save(tmp_path / "odd.tif", compression="tiff_lzw")
    odd = (tmp_path / "odd.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(odd[: len(odd) // 2])
    done = hasama("style", tmp_path / "cut.tif", paint, "--out", tmp_path / "o.png", *brief(**QUICK))
    refused(done, "Cannot read the picture")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in ("Warning", "TIFF", "libtiff", "vips"):
        assert word not in done.stderr.replace("cut.tif", "")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("letters", [200, 225, 240, 251])
def test_default_names_of_long_names_are_cut(letters: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, paint = lay_out(tmp_path)
    content.rename(tmp_path / ("k" * letters + ".png"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = style(f"../{'k' * letters}.png", paint, "--preview")
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in Path().iterdir())
    assert len(names) == 3
    assert [name.endswith(ending) for name, ending in zip(names, ("-preview.png", ".png", ".json"), strict=True)]
    batch = style(tmp_path, "../s.png", "--out", "many")
    assert batch.returncode == 0, batch.stderr
    assert "already painted" in style(f"../{'k' * letters}.png", paint, "--preview").stdout


@pytest.mark.parametrize("letter", ["x", "ß", "画"])
def test_any_name_that_a_file_may_have_is_taken(letter: str, tmp_path: Path):
    content, paint = lay_out(tmp_path)
    out = tmp_path / (letter * (251 // len(letter.encode())) + ".png")
    done = style(content, paint, "--out", out, "--preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert out.exists()
    assert "already painted" in style(content, paint, "--out", out, "--preview").stdout


@pytest.mark.parametrize("place", ["--out={}.png", "--out={}/a.png", "--out={}"])
def test_longer_names_are_refused_before_the_work(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, paint = lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 256, "ü" * 130):
        done = style(content, paint, place.format(name), iterations=100_000)
        refused(done, "the name is too long")
        assert "space" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "s.png"]


@pytest.mark.parametrize(
    "command",
    ["style {} s.png", "style c.png {}", "sample {}", "project {} c.png", "doctor {}", "runs {}", "train {}"],
)
def test_no_argument_may_be_that_long(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = hasama_here(*command.format("n" * 300).split())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# --- values that begin with a minus sign ----------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("style a b c --mix -1,2", "--mix takes a positive number for each of the 2 styles, such as 2,1; got '-1,2'"),
        ("style a b --memory -2GB", "--memory takes an amount such as 2GB"),
        ("style a b --style-layers -relu1_1", "--style-layers takes layers"),
        ("style a b --out -o.xyz", "Cannot write a picture called -o.xyz"),
        ("sample a --seeds -1-3", "--seeds takes numbers such as 0-35"),
        ("sample a --seeds -1", "--seeds takes numbers such as 0-35"),
        ("mix a --rows -1-3", "--rows takes numbers"),
        ("mix a --columns -4,5", "--columns takes numbers"),
        ("directions a --reach -2", "--reach up to 100"),
        ("coverage ring --seeds -3-5", "--seeds takes numbers"),
        ("suggest a --hours -1", "--hours takes 0.01 to 10000"),
        ("train a --size -64x64", "--size takes 64, or WIDTHxHEIGHT"),
        ("train a --kimg -1", "--kimg"),
    ],
)
def test_a_value_with_a_minus_sign_is_refused_as_any_other(command: str, words: str):
    refused(hasama_here(*command.split()), words)


def test_what_follows_a_flag_without_a_value_is_still_missing():
    for command in ("style a b --mix --where none", "style a b --mix"):
        done = hasama_here(*command.split())
        assert done.returncode == 2
        assert "--mix" in done.stderr + done.stdout
    assert "Parameters" in hasama_here("style", "--preview", "-h").stdout
