"""`hasama style` as people type it: what it paints, how it goes on, and everything that it refuses."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from command import TINY, Started, hasama, refused, run_code, start
from easel import STEPS, brief, hasama_here, lay_out, pixels_of, style_scene
from hasama.pictures.images import picture_format
from odd_files import claiming, encoded, scene

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def paint(*arguments: object, **changes: object) -> subprocess.CompletedProcess[str]:
    """A brief painting that must succeed."""
    done = hasama_here("style", *arguments, *brief(**changes))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


def told_by(out: Path) -> dict[str, Any]:
    """A painting's report."""
    return json.loads(out.with_name(out.name + ".json").read_text(encoding="utf-8"))


# --- one picture ----------------------------------------------------------------------------------


def test_one_picture_in_a_process_of_its_own_then_the_same_command_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lay_out(tmp_path)
    command = ["style", "c.png", "s.png", *brief()]
    done = hasama(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"c--s.png  48x32, {STEPS} steps in 0:0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c--s.png", "c--s.png.json", "c.png", "s.png"]
    out = tmp_path / "c--s.png"
    assert pixels_of(out).shape == (32, 48, 3)
    assert told_by(out)["threads"] == 1
    assert (out.stat().st_mode & 0o777) == (tmp_path / "c.png").stat().st_mode & 0o777

    before = out.stat()
    monkeypatch.chdir(tmp_path)
    again = hasama_here(*command)
    assert (again.returncode, again.stdout) == (0, "c--s.png is already painted.\n")
    assert out.stat().st_mtime_ns == before.st_mtime_ns
    first = out.read_bytes()
    anew = hasama_here(*command, "--seed", 1)  # another painting takes its place, and the first one is kept
    assert f"{STEPS} steps" in anew.stdout
    assert "Another painting was here; it is kept as c--s-2.png." in anew.stdout
    assert told_by(out)["seed"] == 1
    kept = tmp_path / "c--s-2.png"
    assert (kept.read_bytes(), told_by(kept)["seed"]) == (first, 0)
    assert hasama_here(*command, "--seed", 1).stdout == "c--s.png is already painted.\n"
    stopped = hasama_here(*command, "--seed", 3, "--style-weight", "nonsense")
    assert stopped.returncode == 2
    assert told_by(out)["seed"] == 1, "what is not painted takes no place"
    named = hasama_here(*command, "--seed", 2, "--out", out)  # a place that was named
    assert "kept as" not in named.stdout
    assert len(list(tmp_path.glob("c--s*.png"))) == 2


def test_the_default_name_holds_every_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, style = lay_out(tmp_path / "elsewhere")
    style_scene(seed=3).save(tmp_path / "elsewhere" / "t.png")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    paint(content, style, style.with_name("t.png"))
    assert sorted(path.name for path in Path().iterdir()) == ["c--s+t.png", "c--s+t.png.json"]


# --- Ctrl-C and worse -----------------------------------------------------------------------------

LONG = {"first_iterations": 40, "iterations": 10, "plateau": 0.0}

# A process that pauses at each step, so that it cannot be through before it is stopped.
SLOWLY = """
import time
import hasama.style.jobs.painting_file, hasama.style.transfer as transfer
loss_and_gradient = transfer.loss_and_gradient
transfer.loss_and_gradient = lambda *all: (time.sleep(0.04), loss_and_gradient(*all))[1]
{also}
from hasama.cli.app import main
main()
"""


def start_slowly(command: list[object], also: str = "") -> Started:
    return start(SLOWLY.format(also=also), *command, main=run_code, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    paint(*lay_out(folder), "--out", folder / "out.png", **LONG)
    return folder / "out.png"


def wait_for(path: Path, process: Started) -> None:
    """Until the process has written the file."""
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"no {path} after a minute"
        time.sleep(0.01)


def ends_as(uninterrupted: Path, out: Path, command: list[object]) -> None:
    """The same command again goes on, to the same picture."""
    assert out.with_name("out.png.part").exists()
    assert not out.exists()
    done = hasama_here(*command)
    assert done.returncode == 0, done.stderr
    assert f"Going on from {out}.part." in done.stdout
    assert np.array_equal(pixels_of(out), pixels_of(uninterrupted))
    assert told_by(out)["iterations"] == told_by(uninterrupted)["iterations"]
    assert not out.with_name("out.png.part").exists()


def test_ctrl_c_saves_and_the_same_command_goes_on_to_the_bit(uninterrupted: Path, tmp_path: Path):
    out = tmp_path / "out.png"
    command = ["style", *lay_out(tmp_path), "--out", out, "--preview", *brief(**LONG)]
    process = start_slowly(command)
    wait_for(tmp_path / "out-preview.png", process)  # it paints
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To go on, give the same command again." in said
    assert "Saving after this step; once more to stop at once" in complained
    assert "Traceback" not in complained
    ends_as(uninterrupted, out, command)


def test_killed_in_the_middle_it_goes_on_to_the_bit(uninterrupted: Path, tmp_path: Path):
    out = tmp_path / "out.png"
    command = ["style", *lay_out(tmp_path), "--out", out, *brief(**LONG)]
    process = start_slowly(command, "hasama.style.jobs.painting_file.SAVE_SECONDS = 0")
    wait_for(tmp_path / "out.png.part", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    ends_as(uninterrupted, out, command)


# --- pictures of every kind -----------------------------------------------------------------------


def test_a_deep_picture_stays_deep_and_keeps_its_profile(tmp_path: Path):
    pyvips = pytest.importorskip("pyvips")
    _, style = lay_out(tmp_path)
    rng = np.random.default_rng(0)
    image = pyvips.Image.new_from_array(rng.integers(0, 65536, (32, 48, 3), np.uint16), interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", PROFILE)
    image.write_to_file(str(tmp_path / "deep.png"))

    def bits(name: str) -> int:
        return (tmp_path / name).read_bytes()[24]  # of IHDR, the PNG's first chunk

    for name, depth in (("auto.png", "auto"), ("eight.png", "8")):
        paint(tmp_path / "deep.png", style, "--out", tmp_path / name, "--depth", depth)
    assert (bits("deep.png"), bits("auto.png"), bits("eight.png")) == (16, 16, 8)
    for name in ("auto.png", "eight.png"):
        with Image.open(tmp_path / name) as painted:
            assert painted.info["icc_profile"] == PROFILE
    deep = pyvips.Image.new_from_file(str(tmp_path / "auto.png")).numpy()
    assert len(np.unique(deep % 257)) > 200  # the lower byte says something of its own
    assert np.abs(deep / 257 - pixels_of(tmp_path / "eight.png")).max() <= 0.51  # the same painting


def test_depth_16_of_an_ordinary_picture(tmp_path: Path):
    pytest.importorskip("pyvips")
    paint(*lay_out(tmp_path), "--depth", 16, "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[24] == 16


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".tiff"])
def test_other_endings(ending: str, tmp_path: Path):
    out = tmp_path / f"a{ending}"
    paint(*lay_out(tmp_path), "--out", out, "--preview", size=24)
    with Image.open(out) as painted:
        assert (painted.format, painted.size) == (picture_format(out), (24, 16))
    assert (tmp_path / "a-preview.png").exists()


def test_grey_and_transparent_pictures(tmp_path: Path):
    content, style = lay_out(tmp_path)
    Image.open(content).convert("L").save(tmp_path / "grey.png")
    paint(tmp_path / "grey.png", style, "--out", tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png").shape == (32, 48, 3)

    alpha = np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)
    clear = Image.open(content)
    clear.putalpha(Image.fromarray(alpha))
    clear.save(tmp_path / "clear.png")
    paint(tmp_path / "clear.png", style, "--out", tmp_path / "b.png")
    painted = pixels_of(tmp_path / "b.png")
    assert np.array_equal(painted[..., 3], alpha)
    assert not np.array_equal(painted[..., :3], np.asarray(clear)[..., :3])


@pytest.mark.parametrize("size", [(1, 48), (48, 1), (1, 1)])
def test_pictures_one_pixel_wide(size: tuple[int, int], tmp_path: Path):
    _, style = lay_out(tmp_path)
    scene(*size).save(tmp_path / "thin.png")
    paint(tmp_path / "thin.png", style, "--out", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == ((48, 48) if size == (1, 1) else size)
    paint(style, tmp_path / "thin.png", "--out", tmp_path / "b.png", size=24, first_iterations=1)
    assert Image.open(tmp_path / "b.png").size == (24, 24)


def test_a_turned_photograph_is_painted_upright(tmp_path: Path):
    content, style = lay_out(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by a quarter clockwise"
    Image.open(content).save(tmp_path / "turned.png", exif=exif)
    Image.open(content).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    for name in ("turned", "upright"):
        paint(tmp_path / f"{name}.png", style, "--out", tmp_path / f"{name}-painted.png")
    turned = Image.open(tmp_path / "turned-painted.png")
    assert turned.size == (32, 48)
    assert turned.getexif().get(0x0112, 1) == 1
    assert np.array_equal(pixels_of(tmp_path / "turned-painted.png"), pixels_of(tmp_path / "upright-painted.png"))


# --- several styles, masks, colours, recipes ------------------------------------------------------


@pytest.fixture
def two_colours(tmp_path: Path) -> list[Path]:
    """A grey content, a red and a blue style, masks for the left and the right half, a half-red half-blue one."""
    made = {name: Image.new("RGB", (48, 32), name) for name in ("grey", "firebrick", "royalblue")}
    made["both"] = made["firebrick"].copy()
    made["both"].paste(made["royalblue"], (24, 0))
    left = Image.new("L", (48, 32), 0)
    left.paste(255, (0, 0, 16, 32))
    made["left"], made["right"] = left, left.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, picture in made.items():
        picture.save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in made]


STRONG = {"optimizer": "lbfgs", "first_iterations": 25, "content_weight": 0.0, "size": 24}


def redness(out: Path) -> np.ndarray:
    """Red less blue of each column."""
    pixels = pixels_of(out).astype(float)
    return (pixels[..., 0] - pixels[..., 2]).mean(0)


def test_styles_are_painted_where_their_masks_say(two_colours: list[Path], tmp_path: Path):
    grey, red, blue, _, left, right = two_colours
    out = tmp_path / "a.png"
    paint(grey, red, blue, "--out", out, "--where", left, "--where", right, **STRONG)
    columns = redness(out)
    assert columns[:7].min() > 40
    assert columns[-7:].max() < -40
    assert [style["where"] for style in told_by(out)["styles"]] == [str(left), str(right)]

    paint(grey, red, blue, "--out", out, "--where", right, "--where", "none", **STRONG)
    columns = redness(out)
    assert columns[-7:].mean() > columns[:7].mean() + 40  # blue is wanted everywhere, red on the right as well


def test_what_is_learnt_is_what_the_style_s_mask_leaves(two_colours: list[Path], tmp_path: Path):
    grey, _, _, both, left, right = two_colours
    for mask in (left, right):
        paint(grey, both, "--out", tmp_path / f"from-{mask.name}", "--style-mask", mask, **STRONG)
    assert redness(tmp_path / "from-left.png").mean() > 60
    assert redness(tmp_path / "from-right.png").mean() < -60


def test_the_mix_decides_how_much_each_style_counts(two_colours: list[Path], tmp_path: Path):
    grey, red, blue, *_ = two_colours
    found = {}
    for mix in ("9,1", "1,9"):
        out = tmp_path / f"{mix[0]}.png"
        paint(grey, red, blue, "--mix", mix, "--out", out, **STRONG)
        found[mix] = redness(out).mean()
    assert found["9,1"] > 60 > -60 > found["1,9"]
    assert [style["weight"] for style in told_by(tmp_path / "9.png")["styles"]] == [9.0, 1.0]


def test_luminance_keeps_every_pixel_s_hue(tmp_path: Path):
    content, style = lay_out(tmp_path)
    soft = Image.fromarray(90 + pixels_of(content) // 4)  # room above and below, so that little is clipped
    soft.save(tmp_path / "soft.png")
    paint(tmp_path / "soft.png", style, "--keep-colour", "luminance", "--out", tmp_path / "a.png")
    before, after = np.asarray(soft).astype(int), pixels_of(tmp_path / "a.png").astype(int)
    inside = (after > 0).all(-1) & (after < 255).all(-1)
    assert inside.mean() > 0.8
    for one, other in ((0, 1), (1, 2)):
        change = (after[..., one] - after[..., other]) - (before[..., one] - before[..., other])
        assert np.abs(change[inside]).max() <= 1
    assert np.abs(after - before).max() > 10  # it was painted


def test_histogram_gives_the_style_the_content_s_colours(tmp_path: Path):
    content, style = lay_out(tmp_path)
    wanted = pixels_of(content).reshape(-1, 3).mean(0)
    off = {}
    for keep in ("no", "histogram"):
        out = tmp_path / f"{keep}.png"
        paint(content, style, "--keep-colour", keep, "--start", "style", "--out", out)
        off[keep] = np.abs(pixels_of(out).reshape(-1, 3).mean(0) - wanted).max()
    assert off["histogram"] < off["no"] / 3


def test_a_painting_may_start_from_any_picture(tmp_path: Path):
    content, style = lay_out(tmp_path)
    Image.new("RGB", (10, 10), "green").save(tmp_path / "green.png")
    still = {"learning_rate": 0.0, "optimizer": "gradient-descent", "average": 0.0}
    paint(content, style, "--start", tmp_path / "green.png", "--out", tmp_path / "a.png", **still)
    assert (pixels_of(tmp_path / "a.png") == [0, 128, 0]).all()


def test_the_lesson_paints_in_one_scale_with_lbfgs(tmp_path: Path):
    out = tmp_path / "a.png"
    content, style = lay_out(tmp_path)
    flags = ["--recipe", "lesson", "--size", 48, "--first-iterations", 5, "--precision", "fp32", "--threads", 1]
    done = hasama_here("style", content, style, *flags, "--out", out)
    assert done.returncode == 0, done.stderr
    told = told_by(out)
    assert told["iterations"] == 5
    assert {point[0] for point in told["curve"]} == {0}
    recipe = told["recipe"]
    assert (recipe["optimizer"], recipe["style_loss"], recipe["start"]) == ("lbfgs", "gram", "noise")
    assert set(told["distances"]) == {"content relu4_2"} | {f"style relu{block}_1" for block in range(1, 6)}
    assert told["losses"]["total"] < told["curve"][0][2]


def test_recipes_lists_the_presets_for_painting():
    done = hasama_here("recipes")
    assert done.returncode == 0
    listed = done.stdout.partition("hasama style CONTENT STYLE --recipe ...")[2].partition("bases")[0].splitlines()
    assert [line.split()[0] for line in listed if line] == ["best", "lesson", "neighbour", "instant", "sketch"]
    lesson = next(line for line in listed if line.split()[:1] == ["lesson"])
    assert "--style-loss gram" in lesson
    assert "--optimizer lbfgs" in lesson


# --- a GAN's samples ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has hardly begun."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = hasama_here("train", pictures, *TINY, "--steps", 2, "--threads", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def test_samples_as_a_grid(run: Path, tmp_path: Path):
    _, style = lay_out(tmp_path)
    out = tmp_path / "grid.png"
    paint(run, style, "--samples", 3, "--out", out, size=0)
    assert Image.open(out).size == (32, 32)  # two by two of 16 pixels
    assert told_by(out)["content"] == str(run)
    assert "already painted" in paint(run, style, "--samples", 3, "--out", out, size=0).stdout
    again = paint(run / "generator.safetensors", style, "--samples", 2, "--out", tmp_path / "row.png", size=0)
    assert "row.png  32x16" in again.stdout


def test_samples_one_by_one_are_the_pictures_that_sample_makes(run: Path, tmp_path: Path):
    _, style = lay_out(tmp_path)
    hasama_here("sample", run, "--count", 2, "--seed", 5, "--device", "cpu", "--out", tmp_path / "plain")
    done = paint(run, style, "--samples", 2, "--seed", 5, "--out", tmp_path / "painted", size=16)
    assert "[2/2]" in done.stdout
    names = sorted(path.name for path in (tmp_path / "painted").glob("*.png"))
    assert names == ["seed5-000000--s.png", "seed5-000001--s.png"]
    for number, name in enumerate(names):
        plain = tmp_path / "plain" / f"seed5-{number:06}.png"
        paint(plain, style, "--seed", 5, "--out", tmp_path / f"{number}.png", size=16)
        assert np.array_equal(pixels_of(tmp_path / "painted" / name), pixels_of(tmp_path / f"{number}.png"))


def test_samples_that_cannot_be(run: Path, tmp_path: Path):
    _, style = lay_out(tmp_path)
    refused(hasama_here("style", run, style, "--samples", 0), "--samples takes 1 to")
    (tmp_path / "cut.safetensors").write_bytes((run / "generator.safetensors").read_bytes()[:-50])
    refused(hasama_here("style", tmp_path / "cut.safetensors", style), "not a readable safetensors file")


# --- refused --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, a style, and all that is wrong with others. Tests only read it."""
    folder = tmp_path_factory.mktemp("odd")
    content, _ = lay_out(folder)
    whole = content.read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("Dear Sir, please find attached no picture at all.\n" * 20)
    (folder / "letter").write_text("Dear Sir,\n")
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("L", (8, 8), 0).save(folder / "black.png")
    Image.new("L", (8, 8), 255).save(folder / "white.png")
    (folder / "folder").mkdir()
    (folder / "folder" / "one.png").write_bytes(whole)
    torch.save({"layer.weight": torch.zeros(3)}, folder / "other.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "noise.pth").write_bytes(bytes(range(256)) * 8)
    return folder


REFUSED = {
    "c.png": ["Name a picture to take the style from"],
    "": ["CONTENT"],
    "none.png s.png": ["There is no picture at none.png"],
    "none s.png": ["There is no picture at none"],
    "c.png none.png": ["There is no picture at none.png"],
    "c.png s.png none.png": ["There is no picture at none.png"],
    "cut.png s.png": ["Cannot read the picture cut.png", "truncated"],
    "c.png cut.png": ["Cannot read the picture cut.png", "truncated"],
    "text.png s.png": ["Cannot read the picture text.png", "not a picture"],
    "letter s.png": ["Cannot read the picture letter", "not a picture"],
    "c.png empty.jpg": ["Cannot read the picture empty.jpg"],
    "c.png s.png --start none.png": ["none.png"],
    "c.png s.png --recipe bset": ["Did you mean best?"],
    "c.png s.png --recipe dcgan": ["no recipe for painting", "best", "lesson", "sketch"],
    "c.png s.png --style-layers relu1_3": ["There is no layer of vgg19 called 'relu1_3'"],
    "c.png s.png --content-layers relu4_2:0": ["--content-layers takes layers with positive weights"],
    "c.png s.png --style-layers sky": ["--style-layers takes layers with positive weights"],
    "c.png s.png --size -1": ["--size", "32768"],
    "c.png s.png --size 48x32": ["--size"],
    "c.png s.png --size 40000": ["--size", "32768"],
    "c.png s.png --smallest 8": ["--smallest"],
    "c.png s.png --optimizer adm": ["--optimizer"],
    "c.png s.png --keep-colour yes": ["--keep-colour"],
    "c.png s.png --content-weight nan": ["--content-weight"],
    "c.png s.png --content-weight 0 --style-weight 0": ["nothing to paint"],
    "c.png s.png --average 1": ["--average"],
    "c.png s.png --iterations 0": ["--iterations"],
    "c.png s.png --seed -1": ["--seed"],
    "c.png s.png --no-such-flag": ["--no-such-flag"],
    "c.png s.png --mix 2,1": ["--mix takes a positive number for each of the 1 styles", "2,1"],
    "c.png s.png s.png --mix 2": ["each of the 2 styles"],
    "c.png s.png s.png --mix 2;1": ["--mix takes"],
    "c.png s.png s.png --mix 1,0": ["--mix takes"],
    "c.png s.png s.png --mix 1,-1": ["--mix takes"],
    "c.png s.png s.png --mix nan,1": ["--mix takes"],
    "c.png s.png s.png --where white.png": ["--where is given once for each of the 2 styles", "got 1"],
    "c.png s.png --where white.png --where none": ["--where is given once for each of the 1 styles", "got 2"],
    "c.png s.png --where text.png": ["Cannot read the mask text.png"],
    "c.png s.png --where cut.png": ["Cannot read the mask cut.png"],
    "c.png s.png --style-mask none.png": ["mask none.png"],
    "c.png s.png s.png --style-mask white.png": ["--style-mask is given once for each of the 2 styles"],
    "c.png s.png --style-mask black.png": ["mask is (nearly) black", "nothing left to learn"],
    "c.png s.png --memory lots": ["--memory takes an amount such as 2GB", "lots"],
    "c.png s.png --memory 0GB": ["--memory takes an amount"],
    "c.png s.png --memory -1GB": ["--memory"],
    "c.png s.png --memory 10MB": ["needs about", "10 MB may be taken", "--memory"],
    "c.png s.png --depth 16 --out a.jpg": [".jpg holds 8 bits a channel", ".png or .tiff"],
    "c.png s.png --depth 12": ["--depth"],
    "c.png s.png --out a.xyz": ["Cannot write a picture called a.xyz", ".png"],
    "c.png s.png --out letter/a.png": ["Cannot write letter/a.png"],
    "c.png s.png --out /proc/nowhere/a.png": ["Cannot write /proc/nowhere/a.png"],
    "c.png s.png --out " + "x" * 300 + ".png": ["Cannot write", "too long"],
    "c.png s.png --out c.png": ["c.png is one of the pictures to paint from"],
    "c.png s.png --out folder/../s.png": ["is one of the pictures to paint from"],
    "c.png s.png --where white.png --out white.png": ["is one of the pictures to paint from"],
    "c.png s.png --style-mask white.png --out white.png": ["is one of the pictures to paint from"],
    "c.png s.png --start white.png --out white.png": ["is one of the pictures to paint from"],
    "folder s.png --out a.png": ["A folder of pictures is painted into a folder", "a.png"],
    "c.png folder --out a.png": ["A folder of pictures is painted into a folder", "a.png"],
    "c.png s.png --weights none.pth": ["none.pth"],
    "c.png s.png --weights other.pth": ["not the VGG19 or VGG16", "layer.weight"],
    "c.png s.png --weights list.pth": ["no state dict"],
    "c.png s.png --weights noise.pth": ["noise.pth"],
    "c.png s.png --weights c.png": ["c.png"],
    "c.png s.png --device nonsense": ["'nonsense' cannot be used here", "--device cpu"],
    "c.png s.png --threads 0": ["--threads must be between"],
    "c.png s.png --threads many": ["--threads"],
}


@pytest.mark.parametrize("flags", REFUSED, ids=lambda flags: flags.replace("/", "|")[:60])
def test_refused_without_a_traceback_and_without_a_trace(
    flags: str, odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From a folder of links to what is odd, so that nothing can be harmed and everything new is seen."""
    for path in odd.iterdir():
        (tmp_path / path.name).symlink_to(path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    quick = ["--size", 24, "--first-iterations", 1] if "--size" not in flags else []
    refused(hasama_here("style", *flags.split(), *quick), *REFUSED[flags])
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_refused_in_a_process_of_its_own(tmp_path: Path):
    content, style = lay_out(tmp_path)
    refused(hasama("style", content), "Name a picture to take the style from")
    refused(hasama("style", content, style, "--no-such-flag"), "--no-such-flag")


@pytest.mark.parametrize("content", ["picture", "film"])
def test_samples_are_a_runs(content: str, tmp_path: Path):
    picture, style = lay_out(tmp_path)
    film = tmp_path / "film.gif"
    Image.open(picture).save(
        film, save_all=True, append_images=[Image.open(picture).transpose(Image.Transpose.ROTATE_180)]
    )
    given = picture if content == "picture" else film
    done = hasama_here("style", given, style, "--samples", 3, "--out", tmp_path / f"out{given.suffix}")
    assert (done.returncode, "--samples are a run's" in done.stderr) == (2, True)


def test_a_preview_that_would_be_written_over_an_input_is_refused(tmp_path: Path):
    content, style = lay_out(tmp_path)
    mine = content.rename(tmp_path / "out-preview.png")
    before = mine.read_bytes()
    done = hasama_here("style", mine, style, "--out", tmp_path / "out.png", "--preview", *brief(size=24))
    refused(done, "is one of the pictures to paint from")
    assert mine.read_bytes() == before


def test_a_picture_that_claims_to_be_gigantic_is_refused(tmp_path: Path):
    _, style = lay_out(tmp_path)
    (tmp_path / "bomb.png").write_bytes(claiming(50_000, 50_000))
    refused(hasama_here("style", tmp_path / "bomb.png", style), "gigantic")


def test_names_with_markup_and_spaces_are_told_as_they_are(tmp_path: Path):
    name = "two words [red]mark-up %s {0}.png"
    _, style = lay_out(tmp_path)
    (tmp_path / name).write_bytes(encoded(scene(24, 24), "PNG"))
    out = tmp_path / f"painted {name}"
    assert str(out) in paint(tmp_path / name, style, "--out", out, size=24).stdout
    refused(hasama_here("style", tmp_path / f"no {name}", style), f"no {name}")


def test_a_folder_is_painted_into_the_one_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, style = lay_out(tmp_path / "photos")
    style.rename(tmp_path / "s.png")
    monkeypatch.chdir(tmp_path)
    done = hasama_here("style", "photos", "s.png", "--out", ".", *brief())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c--s.png").exists()
    assert content.exists()
